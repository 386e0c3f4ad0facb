//! Gathers, second by second, what analysis wants to know of a run, and asks it at the end. Bounded by the run's length.

use std::collections::BTreeMap;

use crate::analysis::pool::{FullPool, PoolSecond, full_pool};
use crate::model::alerting::Severity;
use crate::model::finding::{Evidence, Finding};
use crate::model::measure::Interval;
use crate::model::run::RunId;
use crate::model::series::Reading;
use crate::model::units::{Timestamp, format_percent, trim_decimal};

/// What was seen of a run so far.
#[derive(Debug, Default)]
pub struct Observed {
    failures: Vec<(u32, u64)>,
    pools: BTreeMap<(String, String), Vec<PoolSecond>>,
}

impl Observed {
    /// Adds one second.
    pub fn interval(&mut self, interval: &Interval) {
        let failed: u64 = interval.steps.values().map(crate::model::measure::StepInterval::failed).sum();
        if failed > 0 {
            self.failures.push((interval.second, failed));
        }
    }

    /// Adds one reading.
    pub fn reading(&mut self, reading: &Reading) {
        let (Ok(points), Some(second)) = (&reading.points, reading.second) else { return };
        let mut pools: BTreeMap<&str, PoolSecond> = BTreeMap::new();
        for point in points {
            let Some(pool) = point.labels.get("pool") else { continue };
            let seen = pools.entry(pool).or_insert(PoolSecond { second, utilization: f64::NAN, ..PoolSecond::default() });
            match point.metric.as_str() {
                "pool_utilization" => seen.utilization = seen.utilization.max(point.value),
                "pool_in_use" => seen.in_use = Some(point.value),
                "pool_limit" => seen.limit = Some(point.value),
                "pool_waiting" => seen.waiting = Some(point.value),
                "pool_waits" => seen.waits = Some(point.value),
                _ => {}
            }
        }
        for (pool, seen) in pools.into_iter().filter(|(_, seen)| seen.utilization.is_finite()) {
            self.pools.entry((reading.probe.clone(), pool.into())).or_default().push(seen);
        }
    }

    /// What analysis finds.
    pub fn findings(&self, run: &RunId, at: Timestamp) -> Vec<Finding> {
        let mut findings = Vec::new();
        for ((probe, pool), seconds) in &self.pools {
            if let Some(full) = full_pool(seconds, &self.failures) {
                findings.push(pool_finding(run, at, probe, pool, &full));
            }
        }
        findings
    }
}

fn pool_finding(run: &RunId, at: Timestamp, probe: &str, pool: &str, full: &FullPool) -> Finding {
    let number = |value: Option<f64>| value.map_or_else(|| "?".into(), |value| trim_decimal(value, 0));
    let size = format!("{} of {}", number(full.in_use), number(full.limit));
    let mut title = format!("From second {} to {} pool `{pool}` was full ({size}", full.from, full.to);
    if let Some(waiting) = full.waiting.filter(|waiting| *waiting > 0.0) {
        title.push_str(&format!(", {} waiting", trim_decimal(waiting, 0)));
    }
    title.push_str(").");
    let mut evidence = vec![
        Evidence { name: "probe".into(), value: probe.into() },
        Evidence { name: "seconds full".into(), value: format!("{} of {} readings", full.seconds, full.readings) },
    ];
    if let Some(share) = full.failures_share {
        title.push_str(&format!(" {} of all failures fall into these seconds.", format_percent((share * 100.0).round() / 100.0)));
        evidence.push(Evidence { name: "failures in full seconds".into(), value: format_percent(share) });
    }
    let severity = if full.failures_share.is_some_and(|share| share > 0.5) { Severity::High } else { Severity::Medium };
    Finding { kind: "pool_exhausted".into(), run: run.clone(), severity, title, evidence, method: "pool-full/1".into(), at }
}
