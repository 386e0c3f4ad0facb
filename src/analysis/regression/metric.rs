//! The numbers that a night is remembered by: which direction of each is bad, and from which difference on it is worth telling.

use crate::model::threshold::Unit;

/// Which direction is bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Worse {
    /// Latency, memory, failures.
    Higher,
    /// Throughput, capacity.
    Lower,
}

impl Worse {
    /// Whether a difference is for the worse.
    pub fn is(self, difference: f64) -> bool {
        match self {
            Self::Higher => difference > 0.0,
            Self::Lower => difference < 0.0,
        }
    }
}

/// A number that every night has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metric {
    /// Stable name.
    pub name: &'static str,
    /// As people call it.
    pub label: &'static str,
    /// What it is measured in.
    pub unit: Unit,
    /// Which direction is bad.
    pub worse: Worse,
    /// Least change worth telling, as a share of the level before.
    pub least_relative: f64,
    /// Least change worth telling, in base units.
    pub least_absolute: f64,
    /// Scatter between nights below which none is believed, in base units.
    pub resolution: f64,
}

impl Metric {
    /// Whether going from one level to another is worth telling.
    pub fn matters(&self, from: f64, to: f64) -> bool {
        let difference = (to - from).abs();
        difference > self.least_relative * from.abs() && difference >= self.least_absolute
    }
}

const fn higher(name: &'static str, label: &'static str, unit: Unit, least_relative: f64, least_absolute: f64) -> Metric {
    Metric { name, label, unit, worse: Worse::Higher, least_relative, least_absolute, resolution: 0.0 }
}

/// A whole number: less than half of one is no scatter.
const fn count(name: &'static str, label: &'static str, least_relative: f64) -> Metric {
    Metric { resolution: 0.5, ..higher(name, label, Unit::Count, least_relative, 1.0) }
}

const fn lower(name: &'static str, label: &'static str, unit: Unit, least_relative: f64) -> Metric {
    Metric { name, label, unit, worse: Worse::Lower, least_relative, least_absolute: 0.0, resolution: 0.0 }
}

/// The numbers of a night, in the order of reports. Latencies are medians over the windows of the run; memory, connections and the pool are
/// their highest; `memory_slope` is bytes an hour under steady load; `recovery` is the time after a spike.
pub const METRICS: &[Metric] = &[
    higher("p50", "median response time", Unit::Time, 0.03, 0.000_5),
    higher("p95", "response time p95", Unit::Time, 0.03, 0.000_5),
    higher("p99", "response time p99", Unit::Time, 0.05, 0.001),
    lower("throughput", "throughput", Unit::Count, 0.03),
    higher("error_rate", "share of failed requests", Unit::Ratio, 0.05, 0.001),
    count("pool_peak", "most connections in use", 0.05),
    higher("memory_peak", "highest memory", Unit::Bytes, 0.03, 1_048_576.0),
    higher("memory_slope", "growth of memory per hour", Unit::Bytes, 0.1, 1_048_576.0),
    lower("capacity", "capacity", Unit::Count, 0.03),
    higher("recovery", "time to recovery", Unit::Time, 0.1, 5.0),
];

/// The metric called `name`.
pub fn find(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.name == name)
}

#[cfg(test)]
mod tests {
    #[test]
    fn rules_can_speak_of_every_metric() {
        assert_eq!(super::METRICS.iter().map(|metric| metric.name).collect::<Vec<_>>(), crate::model::threshold::REGRESSIONS);
    }
}
