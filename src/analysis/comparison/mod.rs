//! Two runs, or two phases of runs, figure by figure: ratio with its interval, and "worse", "better", "same" or "cannot tell"; failure
//! reasons that are new or gone; and what speaks against comparing them. How sure a figure is comes from two things: blocks of time
//! within each run, drawn again and again, and the scatter between runs of the same thing, without which two runs of the same build
//! differ "significantly" in every second case (docs/analysis-over-time.md). Needs 5 blocks on each side.

mod changes;
#[cfg(test)]
mod changes_tests;
mod draw;
mod estimate;
mod failures;
mod rows;
mod side;
pub mod since;
#[cfg(test)]
mod tests;
mod warnings;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::choice;
use crate::model::run::RunId;
use crate::model::threshold::Unit;

pub use changes::{Changes, LockFigure, LockRow, MessageRow, PerRequest, PoolRow, PoolSeen, StatementRow, changes};
pub use estimate::{Estimate, SAME};
pub use failures::{Fate, ReasonRow};
pub use side::{Block, NoSuchPart, Part, SeriesKey, Side, Steps};

/// Name and version of the method.
pub const METHOD: &str = "blocks/1";

/// Scatter between runs of the same thing that is assumed where it is not known, as a share.
pub const ASSUMED_SCATTER: f64 = 0.03;

choice! {
    /// What a figure, or all of them, come to.
    pub enum Outcome {
        /// For the worse, beyond doubt and worth telling.
        Worse = "worse",
        /// For the better, likewise.
        Better = "better",
        /// Something without a good or a bad side changed.
        Changed = "changed",
        /// No change by more than a tenth, beyond doubt.
        Same = "same",
        /// The doubt is larger than the difference.
        CannotTell = "cannot_tell",
    }
}

/// Which direction is bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Latency, failures, memory.
    HigherIsWorse,
    /// Throughput.
    LowerIsWorse,
    /// Idle connections, a limit.
    Neither,
}

/// What is known of the scatter between runs of the same profile on the same target.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scatter {
    /// Comparable runs it was taken from.
    pub runs: usize,
    /// Relative standard deviation by figure: `p50`, `p95`, `p99`, `throughput`, `error_rate`.
    pub relative: BTreeMap<String, f64>,
}

/// One figure on both sides.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Of what: `scenario/step`, a probe's series; `None`: of all steps together.
    pub subject: Option<String>,
    /// `p50`, `p95`, `p99`, `throughput`, `error_rate`, the metric of a series.
    pub figure: String,
    /// What it is measured in.
    #[serde(skip)]
    pub unit: Unit,
    /// The first side's, in base units; `None`: not measured.
    pub first: Option<f64>,
    /// The second side's.
    pub second: Option<f64>,
    /// Second over first, with its interval.
    pub ratio: Option<Estimate>,
    /// Second minus first, with its interval.
    pub difference: Option<Estimate>,
    /// What it comes to.
    pub outcome: Outcome,
}

/// Something that speaks against the comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// Stable word: `other_profile`, `other_target`, `generator_unfit` …
    pub kind: &'static str,
    /// One sentence.
    pub text: String,
    /// True when the figures of the two do not mean the same.
    pub grave: bool,
}

/// What is compared, for people and machines.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Named {
    /// The run, or the newest of several.
    pub run: RunId,
    /// Profile.
    pub profile: String,
    /// Target.
    pub target: String,
    /// Version that the target told.
    pub version: Option<String>,
    /// The phase, or what else stands behind the figures: `last 7 runs`.
    pub part: Option<String>,
    /// Seconds that were measured.
    pub seconds: u32,
}

/// Two sides compared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// What is compared with.
    pub first: Named,
    /// What is compared.
    pub second: Named,
    /// What all figures come to; cannot tell when something grave speaks against comparing.
    pub outcome: Outcome,
    /// One sentence.
    pub sentence: String,
    /// What speaks against it.
    pub warnings: Vec<Warning>,
    /// Figures: all steps first, then each step, then probe series.
    pub rows: Vec<Row>,
    /// Failure reasons.
    pub reasons: Vec<ReasonRow>,
    /// What changed inside of the target; `None` when not two whole runs are compared.
    pub changes: Option<Changes>,
    /// Where the doubt comes from, one sentence.
    pub doubt: String,
    /// Name and version of the method.
    pub method: &'static str,
}

impl Side {
    fn named(&self) -> Named {
        Named {
            run: self.run.clone(),
            profile: self.profile.clone(),
            target: self.target.clone(),
            version: self.version.clone(),
            part: self.part.name.clone(),
            seconds: self.seconds(),
        }
    }
}

/// Compares `second` with `first`.
pub fn compare(first: &Side, second: &Side, scatter: Option<&Scatter>) -> Comparison {
    let warnings = warnings::warnings(first, second);
    let within_one = first.run == second.run;
    let paired = !within_one && first.digest == second.digest && first.part.name == second.part.name;
    let context = rows::Context { paired, scatter: scatter.filter(|known| known.runs >= rows::LEAST_RUNS), within_one };
    let rows = rows::rows(first, second, &context);
    let reasons = failures::reasons((&first.total, &first.steps), (&second.total, &second.steps), rows::OF_MANY);
    let grave = warnings.iter().any(|warning| warning.grave);
    let outcome = overall(&rows, &reasons, grave);
    let sentence = sentence(&rows, &reasons, outcome, grave);
    let doubt = doubt(first, second, &context);
    Comparison {
        first: first.named(),
        second: second.named(),
        outcome,
        sentence,
        warnings,
        rows,
        reasons,
        changes: None,
        doubt,
        method: METHOD,
    }
}

/// The worst that any figure comes to.
pub fn overall(rows: &[Row], reasons: &[ReasonRow], grave: bool) -> Outcome {
    let any = |outcome: Outcome| rows.iter().any(|row| row.outcome == outcome);
    let worse_reason = reasons.iter().any(|row| matches!(row.fate, Fate::New | Fate::More));
    let whole = || rows.iter().filter(|row| row.subject.is_none());
    if grave {
        Outcome::CannotTell
    } else if any(Outcome::Worse) || worse_reason {
        Outcome::Worse
    } else if any(Outcome::Better) {
        Outcome::Better
    } else if whole().count() > 0 && whole().all(|row| row.outcome == Outcome::Same) {
        Outcome::Same
    } else {
        Outcome::CannotTell
    }
}

/// The comparison in one sentence: what got worse first, by how much.
pub fn sentence(rows: &[Row], reasons: &[ReasonRow], outcome: Outcome, grave: bool) -> String {
    if grave {
        return "The two cannot be compared; the figures are for reading only.".into();
    }
    let of = |wanted: Outcome| rows.iter().filter(move |row| row.outcome == wanted).map(rows::in_words);
    let listed = |mut told: Vec<String>| {
        let more = told.len().saturating_sub(3);
        told.truncate(3);
        if more > 0 {
            told.push(format!("{more} more"));
        }
        told.join(", ")
    };
    let new = reasons.iter().filter(|row| row.fate == Fate::New).map(|row| format!("failures `{}` are new", row.reason));
    let risen = reasons.iter().filter(|row| row.fate == Fate::More).map(|row| format!("more failures `{}`", row.reason));
    let (worse, better) = (of(Outcome::Worse).chain(new).chain(risen).collect::<Vec<_>>(), of(Outcome::Better).collect::<Vec<_>>());
    match outcome {
        Outcome::Worse if better.is_empty() => format!("Worse: {}.", listed(worse)),
        Outcome::Worse => format!("Worse: {}. Better: {}.", listed(worse), listed(better)),
        Outcome::Better => format!("Better: {}.", listed(better)),
        Outcome::Same => "The same: no figure of all steps together changed by more than a tenth.".into(),
        Outcome::Changed | Outcome::CannotTell => {
            "Cannot tell: no change stands out of the doubt, and larger ones cannot be ruled out.".into()
        }
    }
}

fn doubt(first: &Side, second: &Side, context: &rows::Context) -> String {
    let blocks = if context.paired { "drawn in pairs" } else { "drawn apart" };
    let within = format!("Intervals from blocks of {} s and {} s, {blocks}", first.block_s, second.block_s);
    if context.within_one {
        return format!("{within}; both are of one run, so that the scatter between runs plays no part.");
    }
    match context.scatter {
        Some(scatter) => format!("{within}, and from the scatter between {} comparable runs.", scatter.runs),
        None => format!(
            "{within}, and from a scatter of {} % between runs that is assumed: there are too few comparable runs to know it.",
            ASSUMED_SCATTER * 100.0
        ),
    }
}
