//! The numbers that a run is remembered by from night to night: one robust number per metric, so that one bad minute does not make a
//! bad night. Latencies are medians over blocks of the run (20 to 60 of at most a minute each, longer in long runs); throughput is the
//! median of what the blocks delivered; memory and pools are their highest, and the growth of
//! memory what the leak analysis found; the capacity is the highest level of a staircase that passed; the recovery is the slowest figure's.

use std::collections::BTreeMap;

use crate::analysis::comparison::{Side, Steps};
use crate::analysis::numbers::{is_number, median};
use crate::model::Labels;
use crate::model::analysed::{Analysed, RecoveryFound, RecoveryState, Resource};
use crate::model::history::NightNumbers;
use crate::model::run::Summary;

/// Name and version of the method.
pub const METHOD: &str = "night/1";

/// Fewest requests of a block whose percentiles count.
const LEAST_REQUESTS: u64 = 20;

const QUANTILES: [(&str, f64); 3] = [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)];

/// The numbers of a run; `side` is the whole of it.
pub fn numbers(side: &Side, summary: Option<&Summary>) -> NightNumbers {
    let mut found = NightNumbers { method: METHOD.into(), ..NightNumbers::default() };
    let mut put = |subject: String, values: BTreeMap<String, f64>| {
        let values: BTreeMap<String, f64> = values.into_iter().filter(|(_, value)| is_number(*value)).collect();
        if !values.is_empty() {
            found.values.entry(subject).or_default().extend(values);
        }
    };
    put(String::new(), of_steps(side, &side.total));
    for ((scenario, step), steps) in &side.steps {
        put(format!("{scenario}/{step}"), of_steps(side, steps));
    }
    for ((probe, metric, labels), blocks) in &side.series {
        let name = match metric.as_str() {
            "pool_in_use" => "pool_peak",
            "process_memory" => "memory_peak",
            _ => continue,
        };
        let subject = named(probe, labels);
        let highest = blocks.iter().flatten().copied().reduce(f64::max);
        put(subject, highest.map(|value| (name.to_owned(), value)).into_iter().collect());
    }
    for climb in summary.iter().flat_map(|summary| &summary.climbs) {
        let highest = climb.passed.map(|value| ("capacity".to_owned(), value));
        put(climb.scenario.clone(), highest.into_iter().collect());
    }
    for (subject, metric, value) in summary.iter().flat_map(|summary| concluded(&summary.analysed)) {
        put(subject, BTreeMap::from([(metric.to_owned(), value)]));
    }
    let counted = |steps: &Steps| (steps.failed(), steps.requests());
    found.requests.insert(String::new(), counted(&side.total));
    found.requests.extend(side.steps.iter().map(|((scenario, step), steps)| (format!("{scenario}/{step}"), counted(steps))));
    found.requests.retain(|_, (_, requests)| *requests > 0);
    found
}

/// What the analysis of the run itself gives: subject, metric, number.
fn concluded(analysed: &Analysed) -> Vec<(String, &'static str, f64)> {
    let mut found = Vec::new();
    for trend in analysed.trends.iter().filter(|trend| trend.resource == Resource::Memory) {
        let subject = trend.probe.as_ref().map_or_else(String::new, |probe| named(probe, &trend.labels));
        found.extend(trend.per_hour.map(|per_hour| (subject, "memory_slope", per_hour.value)));
    }
    // One figure that was not back leaves the night without a number: its finding says so.
    let after = |found: &RecoveryFound| found.after_s.filter(|_| found.state == RecoveryState::Recovered);
    let back: Option<Vec<f64>> = analysed.recoveries.iter().map(after).collect();
    found.extend(back.and_then(|back| back.into_iter().reduce(f64::max)).map(|slowest| (String::new(), "recovery", slowest)));
    found
}

/// A probe's series: `app main`.
fn named(probe: &str, labels: &Labels) -> String {
    let told: Vec<String> = labels.values().cloned().collect();
    if told.is_empty() { probe.to_owned() } else { format!("{probe} {}", told.join(" ")) }
}

fn of_steps(side: &Side, steps: &Steps) -> BTreeMap<String, f64> {
    let mut found = BTreeMap::new();
    let filled: Vec<_> = steps.blocks.iter().filter(|block| block.duration.count() >= LEAST_REQUESTS).collect();
    for (name, quantile) in QUANTILES {
        let of_block = |block: &&crate::analysis::comparison::Block| block.duration.quantile(quantile).map(|found| found.as_secs_f64());
        let values: Vec<f64> = filled.iter().filter_map(of_block).collect();
        if values.is_empty() {
            // Too few requests for blocks: the percentile of all of them.
            let mut all = crate::model::histogram::LatencyHistogram::default();
            steps.blocks.iter().for_each(|block| all.merge(&block.duration));
            found.extend(all.quantile(quantile).map(|value| (name.to_owned(), value.as_secs_f64())));
        } else {
            found.insert(name.into(), median(&values));
        }
    }
    let rates: Vec<f64> = steps
        .blocks
        .iter()
        .zip(&side.measured_s)
        .filter(|(_, seconds)| **seconds > 0)
        .map(|(block, seconds)| block.requests as f64 / f64::from(*seconds))
        .collect();
    if !rates.is_empty() && steps.requests() > 0 {
        found.insert("throughput".into(), median(&rates));
        found.insert("error_rate".into(), steps.failed() as f64 / steps.requests() as f64);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::analysed::{Ranged, TrendFound, TrendVerdict};

    fn of(recoveries: &[(RecoveryState, Option<f64>)]) -> Vec<(String, &'static str, f64)> {
        let recovery = |(state, after_s): &(RecoveryState, Option<f64>)| RecoveryFound {
            what: "p95".into(),
            state: *state,
            after_s: *after_s,
            worst: None,
            spike_from_s: 0.0,
            spike_to_s: 9.0,
        };
        let trend = |resource, probe: Option<&str>, per_hour| TrendFound {
            resource,
            probe: probe.map(str::to_owned),
            labels: Labels::new(),
            verdict: TrendVerdict::NoLeak,
            sureness: None,
            per_hour,
            limit: None,
            exhausted_in_s: None,
            detectable: None,
            detectable_per_hour: None,
            from_s: 0.0,
            to_s: 60.0,
            title: String::new(),
        };
        let slope = Ranged::new(2e6, 1e6, 3e6);
        let trends = vec![
            trend(Resource::Memory, Some("app"), slope),
            trend(Resource::Memory, Some("other"), None),
            trend(Resource::P95, None, slope),
        ];
        concluded(&Analysed { trends, capacity: None, recoveries: recoveries.iter().map(recovery).collect(), ..Analysed::default() })
    }

    #[test]
    fn growth_of_memory_and_the_slowest_recovery_are_remembered() {
        let found = of(&[(RecoveryState::Recovered, Some(4.0)), (RecoveryState::Recovered, Some(9.0))]);
        assert_eq!(found, [("app".into(), "memory_slope", 2e6), (String::new(), "recovery", 9.0)]);
        for unknown in [(RecoveryState::StaysWorse, None), (RecoveryState::Unknown, None)] {
            let found = of(&[(RecoveryState::Recovered, Some(4.0)), unknown]);
            assert_eq!(found, [("app".into(), "memory_slope", 2e6)], "what was not measured has no number");
        }
    }
}
