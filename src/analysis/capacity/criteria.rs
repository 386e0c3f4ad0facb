//! What a level of load has to meet to be safe, and what it means that it broke. Every criterion has its figure and its limit. Few requests
//! without a failure do not prove a budget: then a criterion is neither met nor missed.

use super::{Judged, Level, Plan, Used, Window};
use crate::analysis::numbers::mean;
use crate::analysis::queueing::Little;
use crate::analysis::stats::distribution::normal_quantile;
use crate::analysis::stats::gls;

/// Least share of the offered load that a stable level delivers, and below which it is broken.
const DELIVERED: f64 = 0.98;
const BROKEN_DELIVERED: f64 = 0.95;
/// Share of the highest throughput below which a higher load is past its peak.
const RETROGRADE: f64 = 0.95;
/// Confidence of the bound on the share of failures.
const CONFIDENCE: f64 = 0.95;
/// Fewest windows that tell whether a level is steady.
const WINDOWS: usize = 6;
/// p-value of a trend within a level, and the growth over the level from which on it counts.
const TREND_P: f64 = 0.01;
const GROWTH: f64 = 0.05;
/// Growth of the wait from the first third of a level to the last, and a wait that is worth looking at, in seconds.
const WAIT_GROWTH: f64 = 1.5;
const LEAST_WAIT_S: f64 = 0.001;

/// What a criterion is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Throughput as a share of the offered load.
    Delivered,
    /// Response time that grows while the load stays: growth over the level, as a share.
    Steady,
    /// Wait for a connection in the last third of the level, as a multiple of that in the first third.
    Waits,
    /// 95th percentile of the response time, in seconds.
    P95,
    /// Share of failed requests; for being safe its upper bound.
    Failed,
    /// Share of a resource in use.
    Utilisation(String),
    /// So much of a resource in use, in its unit.
    InUse(String),
    /// Throughput as a share of the highest at a lower load.
    Retrograde,
}

/// Whether a criterion is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is.
    Met,
    /// It is not.
    Missed,
    /// Too little was measured to say.
    Unsure,
}

/// A figure and its limit.
#[derive(Debug, Clone, PartialEq)]
pub struct Criterion {
    /// What it is about.
    pub what: What,
    /// The figure.
    pub measured: f64,
    /// What it was held against.
    pub limit: f64,
    /// What it comes to.
    pub outcome: Outcome,
}

impl Criterion {
    fn new(what: What, measured: f64, limit: f64, met: bool) -> Self {
        Self { what, measured, limit, outcome: if met { Outcome::Met } else { Outcome::Missed } }
    }
}

/// Judges one level; `lower` are the levels with less load, `best` is the highest throughput of all.
pub(super) fn judge(level: &Level, lower: &[&Level], best: f64, plan: &Plan) -> Judged {
    let little = level.in_flight.zip(level.mean_s).map(|(inside, mean_s)| {
        let ended = level.throughput / (1.0 - level.failed_share()).max(1e-9);
        Little { inside, expected: ended * mean_s }
    });
    Judged { load: level.load, criteria: safe(level, plan), broken: broken(level, lower, best, plan), little }
}

fn safe(level: &Level, plan: &Plan) -> Vec<Criterion> {
    let mut criteria = Vec::new();
    if let Some((share, limit)) = delivered(level, DELIVERED) {
        criteria.push(Criterion::new(What::Delivered, share, limit, share >= limit));
    }
    if let Some(growth) = growth(&level.windows) {
        criteria.push(Criterion::new(What::Steady, growth, GROWTH, growth <= GROWTH));
    }
    if let Some(growth) = wait_growth(&level.windows) {
        criteria.push(Criterion::new(What::Waits, growth, WAIT_GROWTH, growth <= WAIT_GROWTH));
    }
    if let (Some(limit), Some(p95)) = (plan.p95_s, level.p95_s) {
        criteria.push(Criterion::new(What::P95, p95, limit, p95 < limit));
    }
    if level.requests > 0 {
        let bound = upper_bound(level.failed, level.requests);
        let outcome = match (bound <= plan.failed, level.failed_share() <= plan.failed) {
            (true, _) => Outcome::Met,
            (false, true) => Outcome::Unsure,
            (false, false) => Outcome::Missed,
        };
        criteria.push(Criterion { what: What::Failed, measured: bound, limit: plan.failed, outcome });
    }
    criteria.extend(level.resources.iter().filter_map(|used| resource(used, plan)));
    criteria
}

fn resource(used: &Used, plan: &Plan) -> Option<Criterion> {
    if let Some((name, most)) = plan.most.iter().find(|(name, _)| *name == used.resource) {
        return Some(Criterion::new(What::InUse(name.clone()), used.used, *most, used.used < *most));
    }
    let share = used.used / used.limit;
    share.is_finite().then(|| Criterion::new(What::Utilisation(used.resource.clone()), share, plan.utilisation, share <= plan.utilisation))
}

fn broken(level: &Level, lower: &[&Level], best: f64, plan: &Plan) -> Vec<Criterion> {
    let mut criteria = Vec::new();
    if let Some((share, limit)) = delivered(level, BROKEN_DELIVERED) {
        criteria.push(Criterion::new(What::Delivered, share, limit, share >= limit));
    }
    let failed = level.failed_share();
    criteria.push(Criterion::new(What::Failed, failed, plan.broken_failed, failed <= plan.broken_failed));
    if let (Some(limit), Some(p95)) = (plan.broken_p95_s, level.p95_s) {
        criteria.push(Criterion::new(What::P95, p95, limit, p95 < limit));
    }
    let before = lower.iter().map(|level| level.throughput).fold(0.0, f64::max);
    // Past the peak: the highest throughput was reached with less load.
    if before > 0.0 && before >= best {
        let share = level.throughput / before;
        criteria.push(Criterion::new(What::Retrograde, share, RETROGRADE, share > RETROGRADE));
    }
    criteria.retain(|criterion| criterion.outcome == Outcome::Missed);
    criteria
}

/// Share of the offered load that was delivered, and the limit for it, lowered by what chance among few arrivals may take (95 %).
fn delivered(level: &Level, limit: f64) -> Option<(f64, f64)> {
    let offered = level.offered.filter(|offered| *offered > 0.0)?;
    let arrivals = (offered * level.seconds).max(0.0);
    let chance = if arrivals > 0.0 { normal_quantile(CONFIDENCE).unwrap_or(1.645) / arrivals.sqrt() } else { 0.0 };
    Some((level.throughput / offered, (limit - chance).max(0.0)))
}

/// Upper end of the one-sided interval of Wilson (1927) for a share.
pub(super) fn upper_bound(failed: u64, requests: u64) -> f64 {
    let (count, z) = (requests.max(1) as f64, normal_quantile(CONFIDENCE).unwrap_or(1.645));
    let share = failed.min(requests) as f64 / count;
    let reach = z * (share * (1.0 - share) / count + z * z / (4.0 * count * count)).sqrt();
    (share + z * z / (2.0 * count) + reach) / (1.0 + z * z / count)
}

/// Growth of the response time over a level, as a share; 0 when there is no trend (`stats::gls`), `None` with too few windows.
fn growth(windows: &[Window]) -> Option<f64> {
    let logs: Vec<f64> = windows.iter().filter_map(|window| window.p95_s).filter(|p95| *p95 > 0.0).map(f64::ln).collect();
    if logs.len() < WINDOWS {
        return None;
    }
    let times: Vec<f64> = (0..logs.len()).map(|at| at as f64).collect();
    let trend = gls::trend(&times, &logs).ok()?;
    let rises = trend.p < TREND_P && trend.slope > 0.0;
    Some(if rises { (trend.slope * (logs.len() - 1) as f64).exp_m1() } else { 0.0 })
}

/// A queue at exactly its capacity grows like the root of time, which a straight line misses: the last third against the first.
fn wait_growth(windows: &[Window]) -> Option<f64> {
    let waits: Vec<f64> = windows.iter().filter_map(|window| window.wait_s).filter(|wait| wait.is_finite()).collect();
    if waits.len() < WINDOWS {
        return None;
    }
    let third = waits.len() / 3;
    let (first, last) = (mean(&waits[..third]), mean(&waits[waits.len() - third..]));
    Some(if last < LEAST_WAIT_S { 1.0 } else { last / first.max(LEAST_WAIT_S / WAIT_GROWTH) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_wilsons() {
        for (failed, requests, expected) in [(0, 1000, 0.002_698_2), (10, 1000, 0.016_601), (1000, 1000, 1.0), (0, 0, 0.730_1)] {
            let bound = upper_bound(failed, requests);
            assert!((bound - expected).abs() < 1e-4, "{failed} of {requests}: {bound}");
        }
    }

    #[test]
    fn a_level_that_drifts_is_not_steady() {
        let windows = |p95: &dyn Fn(usize) -> f64, wait: &dyn Fn(usize) -> f64| -> Vec<Window> {
            (0..12).map(|at| Window { throughput: 1.0, p95_s: Some(p95(at)), wait_s: Some(wait(at)) }).collect()
        };
        let noise = |at: usize| 0.1 * [1.0, 1.04, 0.97, 1.02, 0.99][at % 5];
        let flat = windows(&noise, &|_| 0.02);
        assert_eq!(growth(&flat), Some(0.0));
        assert!((wait_growth(&flat).unwrap() - 1.0).abs() < 1e-9);
        let drifting = windows(&|at| noise(at) * (1.0 + 0.05 * at as f64), &|at| 0.02 * (1.0 + at as f64).sqrt());
        assert!(growth(&drifting).unwrap() > 0.3 && wait_growth(&drifting).unwrap() > 1.5);
        // Waits of microseconds are no queue.
        assert!(wait_growth(&windows(&noise, &|at| 1e-6 * (1.0 + at as f64))).unwrap() <= 1.5);
        assert_eq!((growth(&flat[..5]), wait_growth(&flat[..5])), (None, None));
    }

    #[test]
    fn few_requests_without_failure_prove_nothing() {
        let outcome = |failed, requests| {
            let level = Level { requests, failed, ..Level::default() };
            judge(&level, &[], 0.0, &Plan { failed: 0.005, ..Plan::default() }).criteria[0].outcome
        };
        assert_eq!((outcome(0, 100), outcome(0, 1000), outcome(10, 1000)), (Outcome::Unsure, Outcome::Met, Outcome::Missed));
    }
}
