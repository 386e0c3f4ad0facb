//! What a run was asked to hold, as analysis uses it: the limits that thresholds, guards and gates set on resources and response times.
//! From the profile while the run goes on, from what is stored with it afterwards. Pure.

use std::collections::BTreeMap;

use crate::model::alerting::Severity;
use crate::model::analysed::Resource;
use crate::model::profile::{Executor, Profile};
use crate::model::run::Run;
use crate::model::staircase::StairUnit;
use crate::model::threshold::{Aggregation, Comparison, Series, parse_series};

/// Everything that was asked.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    series: Vec<(Series, Severity)>,
    /// Unit of time of an open scenario's load: `min` and 60.
    pub(super) units: BTreeMap<String, (String, f64)>,
}

impl Asked {
    /// By a profile and the guards of its target.
    pub fn of_profile(profile: &Profile, guards: &[(String, Series)]) -> Self {
        let mut asked = Self::default();
        let own = profile.thresholds.iter().map(|threshold| (threshold.series.clone(), threshold.severity));
        asked.series.extend(own);
        asked.series.extend(guards.iter().map(|(_, series)| (series.clone(), Severity::Critical)));
        for scenario in &profile.scenarios {
            let per = match &scenario.executor {
                Executor::ConstantArrivalRate { rate, .. } => Some(rate.per),
                Executor::RampingArrivalRate { start_rate, .. } => Some(start_rate.per),
                Executor::Staircase(stairs) => {
                    asked.series.extend(stairs.gate.iter().map(|threshold| (threshold.series.clone(), threshold.severity)));
                    match stairs.unit {
                        StairUnit::Rate { per, .. } => Some(per),
                        StairUnit::Vus => None,
                    }
                }
                Executor::ConstantVus { .. }
                | Executor::RampingVus { .. }
                | Executor::PerVuIterations { .. }
                | Executor::SharedIterations { .. }
                | Executor::ExternallyControlled { .. } => None,
            };
            if let Some(per) = per {
                let shown = crate::model::units::Rate { count: 1.0, per }.to_string();
                asked.units.insert(scenario.name.clone(), (shown.trim_start_matches('1').into(), per.as_secs_f64()));
            }
        }
        asked
    }

    /// By these bounds alone.
    pub fn of_bounds(series: Vec<(Series, Severity)>) -> Self {
        Self { series, ..Self::default() }
    }

    /// By a run that was stored: its thresholds, the gates of its staircases, and the unit that its load line was told in.
    pub fn of_run(run: &Run) -> Self {
        let climbs = run.summary.iter().flat_map(|summary| &summary.climbs);
        let gates = climbs.clone().flat_map(|climb| climb.levels.iter().flat_map(|level| &level.gate));
        let all = run.thresholds.iter().chain(gates);
        let series = all.filter_map(|result| Some((parse_series(&result.text).ok()?, result.severity))).collect();
        let mut units: BTreeMap<String, (String, f64)> =
            climbs.filter_map(|climb| Some((climb.scenario.clone(), unit(&climb.unit)?))).collect();
        if let Some(capacity) = run.summary.as_ref().and_then(|summary| summary.analysed.capacity.as_ref()) {
            units.extend(unit(capacity.unit.trim_start_matches("starts")).map(|unit| (capacity.scenario.clone(), unit)));
        }
        Self { series, units }
    }

    /// The lowest upper bound on a resource, when it has no limit of its own.
    pub(super) fn limit_of(&self, resource: Resource) -> Option<f64> {
        let metric = |name: &str| match resource {
            Resource::Memory => name == "process_memory",
            Resource::Connections => name == "pool_in_use",
            Resource::Descriptors => name == "process_descriptors",
            Resource::Threads => name == "process_threads",
            Resource::Queue => name == "pool_waiting",
            Resource::P95 => is_duration(name),
            Resource::Errors => is_failed(name),
        };
        let quantile = |series: &Series| resource != Resource::P95 || is_p95(series);
        self.upper(|series| metric(series.metric.name) && quantile(series)).map(|(bound, _)| bound).reduce(f64::min)
    }

    /// Bounds on the 95th percentile of all requests, with their severities.
    pub(super) fn p95(&self) -> Vec<(f64, Severity)> {
        self.upper(|series| is_duration(series.metric.name) && is_p95(series)).collect()
    }

    /// Bounds on the share of failed requests.
    pub(super) fn failed(&self) -> Vec<(f64, Severity)> {
        self.upper(|series| is_failed(series.metric.name)).collect()
    }

    /// The lowest upper bound on a metric of probes.
    pub(super) fn most(&self, metric: &str) -> Option<f64> {
        self.upper(|series| series.metric.name == metric).map(|(bound, _)| bound).reduce(f64::min)
    }

    /// Upper bounds of series that speak of the whole run or of its phases, not of one step.
    fn upper(&self, wanted: impl Fn(&Series) -> bool) -> impl Iterator<Item = (f64, Severity)> {
        let about_all = |series: &Series| !["step", "group"].iter().any(|tag| series.selector.contains_key(*tag));
        let below = |series: &Series| matches!(series.bound.op, Comparison::Less | Comparison::LessOrEqual);
        let fits = move |(series, _): &&(Series, Severity)| about_all(series) && below(series) && wanted(series);
        self.series.iter().filter(fits).map(|(series, severity)| (series.bound.value, *severity))
    }
}

fn is_duration(metric: &str) -> bool {
    matches!(metric, "http_req_duration" | "grpc_req_duration" | "response_time")
}

fn is_failed(metric: &str) -> bool {
    matches!(metric, "http_req_failed" | "grpc_req_failed" | "requests_failed")
}

fn is_p95(series: &Series) -> bool {
    matches!(series.aggregation, Aggregation::Quantile(quantile) if (quantile - 0.95).abs() < 1e-9)
}

/// `/min` and its seconds; `None` when it is no unit of time.
fn unit(text: &str) -> Option<(String, f64)> {
    let per = crate::model::units::parse_rate(&format!("1{text}")).ok()?.per;
    Some((text.to_owned(), per.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(texts: &[&str]) -> Asked {
        let series = texts.iter().map(|text| (parse_series(text).unwrap(), Severity::High)).collect();
        Asked { series, units: BTreeMap::new() }
    }

    #[test]
    fn limits_come_from_upper_bounds_on_the_whole() {
        let asked = asked(&[
            "http_req_duration{phase:hundred}: p(95) < 4s",
            "http_req_duration{phase:ten}: p(95) < 2s",
            "http_req_duration{step:slow}: p(95) < 1ms",
            "http_req_duration: p(99) < 1s",
            "http_req_failed: rate < 1%",
            "process_memory: max < 2GiB over 30s",
            "requests: rate > 5/s",
        ]);
        assert_eq!(asked.limit_of(Resource::P95), Some(2.0));
        assert_eq!(asked.limit_of(Resource::Memory), Some(2.0 * 1_073_741_824.0));
        assert_eq!((asked.limit_of(Resource::Threads), asked.most("pool_in_use")), (None, None));
        assert_eq!(asked.p95().len(), 2);
        assert_eq!(asked.failed(), [(0.01, Severity::High)]);
    }

    #[test]
    fn units_of_time_are_read_back() {
        assert_eq!((unit("/min"), unit("/s"), unit("VUs")), (Some(("/min".into(), 60.0)), Some(("/s".into(), 1.0)), None));
    }
}
