//! A run as lists show it: without the names, figures and judgements of each step, which are a hundred times as much.

use super::{EndedBy, Run, RunId, RunStatus, Summary, Trigger, Verdict};
use crate::model::units::Timestamp;

/// One line of a list of runs; the fields are those of [`Run`].
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the fields are those of `Run`")]
pub struct RunLine {
    pub id: RunId,
    pub profile: String,
    pub target: String,
    pub trigger: Trigger,
    pub digest: String,
    pub target_version: Option<String>,
    pub started_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    pub status: RunStatus,
    pub ended_by: Option<EndedBy>,
    pub verdict: Option<Verdict>,
    pub reasons: Vec<String>,
    /// The figures that lists show, once it ended.
    pub headline: Option<Headline>,
}

/// What lists show of a summary.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Headline {
    /// Length in seconds.
    pub seconds: f64,
    /// Requests that ended.
    pub requests: u64,
    /// Of them failed.
    pub failed: u64,
    /// Requests a second.
    pub per_second: f64,
    /// 95th percentile of the duration of all steps together, in microseconds.
    pub p95_us: Option<u64>,
    /// Highest pool utilization, over all pools.
    pub pool_peak: Option<f64>,
}

impl Headline {
    /// From a whole summary.
    pub fn of(summary: &Summary) -> Self {
        let total = &summary.total;
        let pools = summary.series.iter().filter(|one| one.metric == "pool_utilization").map(|one| one.max);
        Self {
            seconds: summary.seconds,
            requests: total.requests,
            failed: total.failed,
            per_second: total.per_second,
            p95_us: total.duration.map(|duration| duration.p95_us),
            pool_peak: pools.reduce(f64::max),
        }
    }
}

impl From<&Run> for RunLine {
    fn from(run: &Run) -> Self {
        Self {
            id: run.id.clone(),
            profile: run.profile.clone(),
            target: run.target.clone(),
            trigger: run.trigger.clone(),
            digest: run.digest.clone(),
            target_version: run.target_version.clone(),
            started_at: run.started_at,
            ended_at: run.ended_at,
            status: run.status,
            ended_by: run.ended_by,
            verdict: run.verdict,
            reasons: run.reasons.clone(),
            headline: run.summary.as_ref().map(Headline::of),
        }
    }
}
