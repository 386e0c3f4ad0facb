//! A run: its identity, life, verdict and summary, as stores keep it and every face of the program shows it.

mod line;

use std::collections::BTreeMap;
use std::fmt;

pub use line::{Headline, RunLine};
use serde::{Deserialize, Serialize};

use super::Labels;
use super::analysed::Analysed;
use super::catalog::Catalog;
use super::control::ControlEntry;
use super::database::DatabaseWork;
use super::failure::Reason;
use super::measure::Accounting;
use super::staircase::ClimbSummary;
use super::units::Timestamp;
use crate::choice;

/// Identity of a run, readable and sortable within a profile: `20261121-020000-soak-7k3f`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub String);

impl RunId {
    /// From the start, the profile and a random number.
    pub fn new(at: Timestamp, profile: &str, random: u32) -> Self {
        const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
        let tail: String = (0..4).map(|position| char::from(DIGITS[(random >> (position * 5)) as usize & 31])).collect();
        Self(format!("{}-{profile}-{tail}", at.to_utc().format("%Y%m%d-%H%M%S")))
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

choice! {
    /// Where a run is in its life.
    pub enum RunStatus {
        /// Load is being sent.
        Running = "running",
        /// It ended by itself, by an abort or by a cancel; see `ended_by`.
        Finished = "finished",
        /// The daemon died while it was going on.
        Interrupted = "interrupted",
    }
}

choice! {
    /// Why a run ended.
    pub enum EndedBy {
        /// All scenarios came to their end.
        Completed = "completed",
        /// A threshold with `abortOnFail` failed.
        Threshold = "threshold",
        /// A guard of the target.
        Guard = "guard",
        /// Somebody cancelled it, or a newer run replaced it.
        Cancelled = "cancelled",
        /// The daemon or the command was told to stop.
        Signal = "signal",
        /// Its setup failed, so that no load was sent.
        Setup = "setup",
        /// The daemon died.
        Crash = "crash",
    }
}

choice! {
    /// What a run or a threshold comes to. Never a bool: nothing measured is not "passed".
    pub enum Verdict {
        /// Everything that was asked for holds.
        Pass = "pass",
        /// At least one threshold does not hold.
        Fail = "fail",
        /// Nothing was measured that could be judged.
        NoData = "no_data",
        /// The load that was asked for was not delivered; nothing can be said about the target.
        Invalid = "invalid",
    }
}

/// Who started a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    /// `schedule`, `api`, `cli`, `demo`, or `rerun` after a run that lies apart from its history.
    pub by: String,
    /// Name of the schedule or of the token.
    pub name: Option<String>,
}

/// A run as stored: first written when it starts, completed when it ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Identity.
    pub id: RunId,
    /// Profile that was run.
    pub profile: String,
    /// Target that was loaded.
    pub target: String,
    /// Who asked for it.
    pub trigger: Trigger,
    /// Digest of the profile's content.
    pub digest: String,
    /// Version that the target told, if it did.
    pub target_version: Option<String>,
    /// Start on the wall clock: offset 0 of all series.
    pub started_at: Timestamp,
    /// End, once it ended.
    pub ended_at: Option<Timestamp>,
    /// Where it is.
    pub status: RunStatus,
    /// Why it ended, once it ended.
    pub ended_by: Option<EndedBy>,
    /// Verdict, once it ended; stays empty for a run that was cancelled or interrupted before anything could be judged.
    pub verdict: Option<Verdict>,
    /// Why this verdict and this end, one sentence each.
    pub reasons: Vec<String>,
    /// Names behind the numbers in its series.
    pub catalog: Catalog,
    /// Figures, once it ended.
    pub summary: Option<Summary>,
    /// Threshold results, once it ended.
    pub thresholds: Vec<ThresholdResult>,
    /// What was done to it while it was going on, in order.
    #[serde(default)]
    pub controls: Vec<ControlEntry>,
}

/// What one threshold came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ThresholdResult {
    /// The threshold as written.
    pub text: String,
    /// Pass, fail or no data.
    pub verdict: Verdict,
    /// The value that decided, in base units; `None` when there was none.
    pub actual: Option<f64>,
    /// The same with its unit, for people: `212 ms`.
    pub shown: String,
    /// One sentence: what was asked, what was, by how much.
    pub reason: String,
    /// Severity of a breach.
    pub severity: super::alerting::Severity,
    /// Second of the run in which it first failed.
    pub first_breach: Option<u32>,
}

/// Percentiles of a set of latencies, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct LatencySummary {
    pub count: u64,
    pub min_us: u64,
    pub mean_us: u64,
    pub p50_us: u64,
    pub p75_us: u64,
    pub p90_us: u64,
    pub p95_us: u64,
    pub p99_us: u64,
    pub max_us: u64,
}

impl LatencySummary {
    /// The percentiles of `histogram`; `None` when it is empty.
    pub fn of(histogram: &super::histogram::LatencyHistogram) -> Option<Self> {
        let us = |duration: std::time::Duration| duration.as_micros() as u64;
        let at = |quantile| histogram.quantile(quantile).map(us);
        Some(Self {
            count: histogram.count(),
            min_us: us(histogram.min()?),
            mean_us: us(histogram.mean()?),
            p50_us: at(0.5)?,
            p75_us: at(0.75)?,
            p90_us: at(0.9)?,
            p95_us: at(0.95)?,
            p99_us: at(0.99)?,
            max_us: us(histogram.max()?),
        })
    }
}

/// Figures of one step, or of all steps together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StepSummary {
    /// Scenario; empty in the total.
    pub scenario: String,
    /// Step; empty in the total.
    pub step: String,
    /// Requests that ended.
    pub requests: u64,
    /// Requests a second over the run.
    pub per_second: f64,
    /// Requests that failed.
    pub failed: u64,
    /// Failures by reason; the sum is `failed`.
    pub reasons: BTreeMap<Reason, u64>,
    /// One message per reason, that which came most often.
    pub messages: BTreeMap<Reason, String>,
    /// What was said of the failures, most often first; with `told_beyond` as many as `failed`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub told: Vec<MessageSummary>,
    /// Failures that said something else still: too many different things were said for all to be kept.
    #[serde(default)]
    pub told_beyond: u64,
    /// What thresholds call `http_req_duration`: response time in open scenarios, service time in closed ones; answered requests only.
    pub duration: Option<LatencySummary>,
    /// From the intended start; answered requests, in the total also dropped starts.
    pub response: Option<LatencySummary>,
    /// Sending + waiting + receiving.
    pub service: Option<LatencySummary>,
    /// Time to first byte.
    pub waiting: Option<LatencySummary>,
    /// Checks by name.
    pub checks: BTreeMap<String, super::measure::CheckCount>,
    /// Bytes written.
    pub bytes_sent: u64,
    /// Bytes read.
    pub bytes_received: u64,
    /// Connections opened.
    pub connections: u64,
    /// Requests that were sent again because the server had closed a kept connection, or had not begun with them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub resent: u64,
    /// Messages of WebSockets that were dropped because nobody listened.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unheard: u64,
    /// Sessions on WebSockets whose good-bye the server did not answer with a close frame, within 2 s.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unanswered: u64,
}

fn is_zero<N: Default + PartialEq>(count: &N) -> bool {
    *count == N::default()
}

impl StepSummary {
    /// What the server said of failures most often: "3064 of 3180 failed requests say `sorry, too many clients already` (status_500)".
    /// `None` when it said nothing.
    pub fn said(&self) -> Option<String> {
        let most = self.told.iter().find(|one| !one.sample.is_empty())?;
        let said = super::message::essence(&most.sample);
        Some(format!("{} of {} failed requests say `{said}` ({})", most.count, self.failed, most.reason))
    }
}

/// What was said of failures, over a whole run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageSummary {
    /// Why they failed.
    pub reason: Reason,
    /// The message without numbers, ids, addresses and quoted values; empty when nothing was said.
    pub fingerprint: String,
    /// Failures.
    pub count: u64,
    /// Second of the first of them.
    pub first: u32,
    /// Second of the last.
    pub last: u32,
    /// The message of one of them, secrets redacted.
    pub sample: String,
}

/// Figures of one scenario.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ScenarioSummary {
    /// Name.
    pub scenario: String,
    /// Where iterations went.
    pub counts: Accounting,
    /// Iterations with at least one failed check or request.
    pub with_failed_check: u64,
    /// Why iterations broke off between requests.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub broke_off: BTreeMap<Reason, u64>,
    /// Dropped starts counted as censored response times.
    pub censored: u64,
    /// Most VUs at one time.
    pub vus_max: u64,
    /// Durations of completed iterations.
    pub iteration_duration: Option<LatencySummary>,
    /// How late iterations began.
    pub start_lag: Option<LatencySummary>,
}

/// How long going through a group took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupSummary {
    /// Scenario.
    pub scenario: String,
    /// Name.
    pub group: String,
    /// Durations, pauses included, of those who went through all of it.
    pub duration: LatencySummary,
}

/// What a probe series did during a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeriesSummary {
    /// Probe.
    pub probe: String,
    /// Metric: `pool_utilization`.
    pub metric: String,
    /// Labels of the series.
    pub labels: Labels,
    /// Readings.
    pub samples: u64,
    /// Least.
    pub min: f64,
    /// Mean.
    pub mean: f64,
    /// Value that 95 % of the readings do not exceed.
    pub p95: f64,
    /// Greatest.
    pub max: f64,
    /// Last.
    pub last: f64,
    /// Readings at or above 99 % of capacity, for utilizations; else 0.
    pub saturated: u64,
}

/// Figures of a whole run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Length in seconds, from the start to the last sample.
    pub seconds: f64,
    /// All steps together.
    pub total: StepSummary,
    /// Each step.
    pub steps: Vec<StepSummary>,
    /// Each scenario.
    pub scenarios: Vec<ScenarioSummary>,
    /// Each group that somebody went through.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupSummary>,
    /// Each probe series.
    pub series: Vec<SeriesSummary>,
    /// Readings that failed, per probe, with the last reason.
    pub probe_errors: BTreeMap<String, (u64, String)>,
    /// The generator's own health.
    pub generator: GeneratorSummary,
    /// Intervals that could not be stored (the database was gone or slow for too long).
    pub intervals_lost: u64,
    /// How high each staircase with a gate came.
    #[serde(default)]
    pub climbs: Vec<ClimbSummary>,
    /// Data that came to their end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data_ended: Vec<DataEnd>,
    /// What the databases of its target did, where probes can tell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub databases: Vec<DatabaseWork>,
    /// What analysis concluded.
    #[serde(default, skip_serializing_if = "Analysed::is_empty")]
    pub analysed: Analysed,
}

/// Data of a scenario that came to their end, so that VUs ended with them or starts were dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataEnd {
    /// Scenario.
    pub scenario: String,
    /// Name of the data.
    pub data: String,
    /// How many rows they have.
    pub rows: u64,
}

impl DataEnd {
    /// One sentence for people.
    pub fn sentence(&self) -> String {
        let Self { scenario, data, rows } = self;
        format!("the data `{data}` of `{scenario}` came to their end: all {rows} rows were used, and `at_end` says `stop`")
    }
}

/// How fit the load generator was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct GeneratorSummary {
    /// Longest time for which a load thread did not turn, in microseconds.
    pub stall_max_us: u64,
    /// Mean CPU of the load threads in cores; `None` where it cannot be measured.
    pub cpu_cores: Option<f64>,
    /// Load threads.
    pub threads: u32,
    /// Seconds in which a load thread used its core up.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub saturated_seconds: u32,
    /// Those of them in which it was late to see what was ready, so that response times are not the target's.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub late_seconds: u32,
    /// How late it was at most in a second in which it used its core up, in microseconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub late_max_us: u32,
}
