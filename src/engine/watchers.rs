//! The thresholds and guards of one run, followed second by second. A threshold must hold; a guard's condition is what is bad. Pure.

use crate::model::catalog::Catalog;
use crate::model::measure::Interval;
use crate::model::run::ThresholdResult;
use crate::model::series::Reading;
use crate::model::threshold::{Evaluator, Series, Source, Threshold, threshold_result};

/// One guard, and since when its condition has held without a break.
#[derive(Debug)]
struct Guard {
    text: String,
    evaluator: Evaluator,
    since: Option<f64>,
}

/// All conditions of a run.
#[derive(Debug)]
pub struct Watchers {
    thresholds: Vec<(Threshold, Evaluator)>,
    guards: Vec<Guard>,
    second: u32,
    tripped: Option<usize>,
}

impl Watchers {
    /// Follows these thresholds and guards.
    pub fn new(thresholds: &[Threshold], guards: &[(String, Series)]) -> Self {
        let follow = |threshold: &Threshold| (threshold.clone(), Evaluator::new(threshold.series.clone(), true));
        Self { thresholds: thresholds.iter().map(follow).collect(), guards: guards.iter().map(guard).collect(), second: 0, tripped: None }
    }

    /// Takes one second of the run.
    pub fn interval(&mut self, catalog: &Catalog, interval: &Interval) {
        self.second = interval.second;
        let at = f64::from(interval.second);
        for (threshold, evaluator) in &mut self.thresholds {
            let measured = match evaluator.series().metric.source {
                Source::Step | Source::Scenario => evaluator.series().measure(catalog, interval, &[], threshold.exclude_ramp),
                Source::Probe => None,
            };
            evaluator.push(at, measured);
        }
        for index in 0..self.guards.len() {
            let series = self.guards[index].evaluator.series();
            let measured = match series.metric.source {
                Source::Step | Source::Scenario => series.measure(catalog, interval, &[], false),
                Source::Probe => None,
            };
            self.push_guard(index, at, measured);
        }
    }

    /// Takes one reading of a probe.
    pub fn reading(&mut self, catalog: &Catalog, reading: &Reading) {
        let (Ok(points), Some(second)) = (&reading.points, reading.second) else { return };
        let moment = Interval { second, ..Interval::default() };
        let at = f64::from(second);
        for (threshold, evaluator) in &mut self.thresholds {
            if evaluator.series().metric.source == Source::Probe
                && let Some(measured) = evaluator.series().measure(catalog, &moment, points, threshold.exclude_ramp)
            {
                evaluator.push(at, Some(measured));
            }
        }
        for index in 0..self.guards.len() {
            let series = self.guards[index].evaluator.series();
            if series.metric.source == Source::Probe
                && let Some(measured) = series.measure(catalog, &moment, points, false)
            {
                self.push_guard(index, at, Some(measured));
            }
        }
    }

    fn push_guard(&mut self, index: usize, at: f64, measured: Option<crate::model::threshold::Aggregate>) {
        let guard = &mut self.guards[index];
        match guard.evaluator.push(at, measured).holds {
            Some(true) => {
                let since = *guard.since.get_or_insert(at);
                let hold = guard.evaluator.series().hold.unwrap_or_default();
                if at - since >= hold.as_secs_f64() {
                    self.tripped.get_or_insert(index);
                }
            }
            Some(false) => guard.since = None,
            None => {}
        }
    }

    /// The guard that tripped first.
    pub fn tripped_guard(&self) -> Option<&str> {
        self.tripped.map(|index| self.guards[index].text.as_str())
    }

    /// The first threshold with `abortOnFail` that is broken now.
    pub fn abort(&self) -> Option<&str> {
        let late_enough = |threshold: &Threshold| f64::from(self.second) >= threshold.delay_abort_eval.as_secs_f64();
        self.thresholds
            .iter()
            .find(|(threshold, evaluator)| threshold.abort_on_fail && late_enough(threshold) && evaluator.is_broken())
            .map(|(threshold, _)| threshold.text.as_str())
    }

    /// What each threshold came to.
    pub fn results(&self) -> Vec<ThresholdResult> {
        self.thresholds.iter().map(|(threshold, evaluator)| threshold_result(threshold, evaluator)).collect()
    }
}

fn guard((text, series): &(String, Series)) -> Guard {
    Guard { text: text.clone(), evaluator: Evaluator::new(series.clone(), true), since: None }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::alerting::Severity;
    use crate::model::run::Verdict;
    use crate::model::series::Point;
    use crate::model::threshold::parse_series;
    use crate::model::units::Timestamp;

    fn threshold(text: &str, abort: bool) -> Threshold {
        let series = parse_series(text).unwrap();
        let severity = Severity::High;
        Threshold {
            text: text.into(),
            series,
            abort_on_fail: abort,
            delay_abort_eval: Duration::from_secs(2),
            exclude_ramp: false,
            severity,
        }
    }

    fn reading(second: u32, value: f64) -> Reading {
        let points = Ok(vec![Point::new("pool_utilization", value).with("pool", "main")]);
        Reading { target: "t".into(), probe: "p".into(), at: Timestamp(0), second: Some(second), points }
    }

    #[test]
    fn a_probe_threshold_aborts_after_its_delay() {
        let mut watchers = Watchers::new(&[threshold("pool_utilization{pool:main}: max < 80%", true)], &[]);
        let catalog = Catalog::default();
        for second in 0..2 {
            watchers.reading(&catalog, &reading(second, 1.0));
            watchers.interval(&catalog, &Interval { second, ..Interval::default() });
            assert_eq!(watchers.abort(), None);
        }
        watchers.interval(&catalog, &Interval { second: 2, ..Interval::default() });
        assert_eq!(watchers.abort(), Some("pool_utilization{pool:main}: max < 80%"));
        assert_eq!(watchers.results()[0].verdict, Verdict::Fail);
    }

    #[test]
    fn a_guard_trips_on_what_is_bad() {
        let guard = ("pool_utilization: min > 97% over 3s".to_owned(), parse_series("pool_utilization: min > 97% over 3s").unwrap());
        let mut watchers = Watchers::new(&[], std::slice::from_ref(&guard));
        for (second, value) in [1.0, 0.5, 1.0, 1.0].into_iter().enumerate() {
            watchers.reading(&Catalog::default(), &reading(second as u32, value));
            assert_eq!(watchers.tripped_guard(), None, "second {second}");
        }
        watchers.reading(&Catalog::default(), &reading(4, 1.0));
        assert_eq!(watchers.tripped_guard(), Some(guard.0.as_str()));
    }
}
