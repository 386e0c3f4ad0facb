//! `history:`, `gates:` and `suites:` as written: what is made of many runs.

use std::time::Duration;

use crate::model::alerting::Severity;
use crate::model::analysed::Resource;
use crate::registry::{Named, Share, Spanned};
use crate::settings;

settings! {
    /// What a run is compared with once it has ended.
    pub(crate) struct RawHistory titled "the history" {
        /// Runs of the same profile that a run is compared with, at most.
        runs: optional Spanned<u16>,
        /// Re-runs of a profile within 24 hours, at most, when one run lies apart from its history; `0`: none.
        reruns: optional u16,
    }
}

settings! {
    /// Passes only when the newest runs of a profile all passed.
    pub(crate) struct RawGate titled "gate" {
        /// Profile whose runs count.
        profile: required Spanned<String>,
        /// Passes in a row that are needed.
        passes: required Spanned<u16>,
    }
}

settings! {
    /// Several tests with one verdict and one report.
    pub(crate) struct RawSuite titled "suite" {
        /// One line for people.
        description: optional String,
        /// Share of the tests that must pass. Tests of critical priority must pass whatever it says.
        pass: default Share = Share(1.0),
        /// What is asked, by name.
        tests: required Spanned<Named<RawTest>>,
    }
}

settings! {
    /// What the latest run of a profile must come to: its verdict, unless one of `holds`, `compare`, `recovers` and `steady` says what.
    pub(crate) struct RawTest titled "test" {
        /// Profile whose latest run counts.
        profile: required Spanned<String>,
        /// How much it matters.
        priority: default Severity = Severity::Medium,
        /// What must hold over the run, in the grammar of thresholds: `http_reqs{step:feed}: rate > 50/s`.
        holds: optional Spanned<String>,
        /// Two phases of the run, and what the ratio of a figure must be.
        compare: optional Spanned<RawPhases>,
        /// After the spike of the run every figure must be back within this time: `5s`.
        recovers: optional Spanned<Duration>,
        /// Resources that must not leak: `[memory, connections]`.
        steady: optional Spanned<Vec<Resource>>,
    }
}

settings! {
    /// A figure in one phase over the same figure in another.
    pub(crate) struct RawPhases titled "the comparison" {
        /// The phase that is looked at: a stage, a scenario, or `scenario/stage`.
        phase: required Spanned<String>,
        /// The phase it is compared with.
        with: required Spanned<String>,
        /// `p50`, `p95`, `p99`, `throughput`, or a metric of a probe.
        figure: default String = "p95".into(),
        /// Only this step.
        step: optional String,
        /// What must hold of the ratio, as in `< 50%`.
        ratio: required Spanned<String>,
    }
}
