//! The numbers that a run is remembered by from night to night: one robust number per metric, so that one bad minute does not make a
//! bad night. Latencies are medians over blocks of the run (20 to 60 of at most a minute each, longer in long runs); throughput is the
//! median of what the blocks delivered; memory and pools are their highest; the capacity is the highest level of a staircase that passed.

use std::collections::BTreeMap;

use crate::analysis::comparison::{Side, Steps};
use crate::analysis::numbers::{is_number, median};
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
        let told: Vec<String> = labels.values().cloned().collect();
        let subject = if told.is_empty() { probe.clone() } else { format!("{probe} {}", told.join(" ")) };
        let highest = blocks.iter().flatten().copied().reduce(f64::max);
        put(subject, highest.map(|value| (name.to_owned(), value)).into_iter().collect());
    }
    for climb in summary.iter().flat_map(|summary| &summary.climbs) {
        let highest = climb.passed.map(|value| ("capacity".to_owned(), value));
        put(climb.scenario.clone(), highest.into_iter().collect());
    }
    let counted = |steps: &Steps| (steps.failed(), steps.requests());
    found.requests.insert(String::new(), counted(&side.total));
    found.requests.extend(side.steps.iter().map(|((scenario, step), steps)| (format!("{scenario}/{step}"), counted(steps))));
    found.requests.retain(|_, (_, requests)| *requests > 0);
    found
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
