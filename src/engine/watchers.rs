//! The thresholds and guards of one run, followed second by second. A threshold must hold; a guard's condition is what is bad. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::Labels;
use crate::model::catalog::Catalog;
use crate::model::measure::Interval;
use crate::model::run::{ThresholdResult, Verdict};
use crate::model::series::{Point, Reading};
use crate::model::threshold::{Evaluator, Judged, Series, Source, Threshold, threshold_result};

/// One expression, followed for each series that it selects: with several pools, one full pool is not hidden behind an empty one.
#[derive(Debug)]
struct Followed {
    series: Series,
    exclude_ramp: bool,
    /// By the labels of the probe's series; figures of requests and iterations stand under no labels.
    groups: BTreeMap<Labels, Evaluator>,
}

impl Followed {
    fn new(series: &Series, exclude_ramp: bool) -> Self {
        Self { series: series.clone(), exclude_ramp, groups: BTreeMap::new() }
    }

    /// Takes one second; returns the judgements it led to.
    fn interval(&mut self, catalog: &Catalog, interval: &Interval) -> Vec<(Labels, Judged)> {
        let at = f64::from(interval.second);
        if self.series.metric.source == Source::Probe {
            for evaluator in self.groups.values_mut() {
                evaluator.push(at, None);
            }
            return Vec::new();
        }
        let measured = self.series.measure(catalog, interval, &[], self.exclude_ramp);
        vec![(Labels::new(), self.group(Labels::new()).push(at, measured))]
    }

    /// Takes one reading; returns the judgements it led to.
    fn reading(&mut self, catalog: &Catalog, second: u32, points: &[Point]) -> Vec<(Labels, Judged)> {
        if self.series.metric.source != Source::Probe {
            return Vec::new();
        }
        let moment = Interval { second, ..Interval::default() };
        let mut judged = Vec::new();
        for point in points {
            if let Some(measured) = self.series.measure(catalog, &moment, std::slice::from_ref(point), self.exclude_ramp) {
                let labels = point.labels.clone();
                judged.push((labels.clone(), self.group(labels).push(f64::from(second), Some(measured))));
            }
        }
        judged
    }

    fn group(&mut self, labels: Labels) -> &mut Evaluator {
        let series = &self.series;
        self.groups.entry(labels).or_insert_with(|| Evaluator::new(series.clone(), true))
    }

    fn is_broken(&self) -> bool {
        self.groups.values().any(Evaluator::is_broken)
    }
}

/// One guard, and since when its condition has held without a break, by series.
#[derive(Debug)]
struct Guard {
    text: String,
    followed: Followed,
    since: BTreeMap<Labels, f64>,
}

impl Guard {
    /// Whether the condition has held for as long as the guard asks.
    fn trips(&mut self, at: f64, judged: Vec<(Labels, Judged)>) -> bool {
        let hold = self.followed.series.hold.unwrap_or_default().as_secs_f64();
        let mut trips = false;
        for (labels, judged) in judged {
            match judged.holds {
                Some(true) => trips |= at - *self.since.entry(labels).or_insert(at) >= hold,
                Some(false) => {
                    self.since.remove(&labels);
                }
                None => {}
            }
        }
        trips
    }
}

/// All conditions of a run.
#[derive(Debug)]
pub struct Watchers {
    thresholds: Vec<(Threshold, Followed)>,
    guards: Vec<Guard>,
    second: u32,
    /// The threshold with `abortOnFail` that is broken, and whose time has come.
    abort: Option<usize>,
    tripped: Option<usize>,
    /// Guards look on from this second on.
    guards_from: f64,
}

impl Watchers {
    /// Follows these thresholds and guards.
    pub fn new(thresholds: &[Threshold], guards: &[(String, Series)]) -> Self {
        let follow = |threshold: &Threshold| (threshold.clone(), Followed::new(&threshold.series, threshold.exclude_ramp));
        let guard = |(text, series): &(String, Series)| Guard {
            text: text.clone(),
            followed: Followed::new(series, false),
            since: BTreeMap::new(),
        };
        Self {
            thresholds: thresholds.iter().map(follow).collect(),
            guards: guards.iter().map(guard).collect(),
            second: 0,
            abort: None,
            tripped: None,
            guards_from: 0.0,
        }
    }

    /// Takes one second of the run.
    pub fn interval(&mut self, catalog: &Catalog, interval: &Interval) {
        self.second = interval.second;
        for (_, followed) in &mut self.thresholds {
            followed.interval(catalog, interval);
        }
        self.abort = self.thresholds.iter().position(|(threshold, followed)| {
            let from = begin_of(threshold, catalog) + threshold.delay_abort_eval;
            threshold.abort_on_fail && f64::from(self.second) >= from.as_secs_f64() && followed.is_broken()
        });
        self.guard(f64::from(interval.second), |followed| followed.interval(catalog, interval));
    }

    /// Takes one reading of a probe.
    pub fn reading(&mut self, catalog: &Catalog, reading: &Reading) {
        let (Ok(points), Some(second)) = (&reading.points, reading.second) else { return };
        for (_, followed) in &mut self.thresholds {
            followed.reading(catalog, second, points);
        }
        self.guard(f64::from(second), |followed| followed.reading(catalog, second, points));
    }

    fn guard(&mut self, at: f64, judge: impl Fn(&mut Followed) -> Vec<(Labels, Judged)>) {
        if at < self.guards_from {
            return;
        }
        for (index, guard) in self.guards.iter_mut().enumerate() {
            let judged = judge(&mut guard.followed);
            if guard.trips(at, judged) {
                self.tripped.get_or_insert(index);
            }
        }
    }

    /// A condition that is crossed now: a threshold that does not hold, or a guard's that does, however short.
    pub fn first_broken(&self) -> Option<&str> {
        let threshold = self.thresholds.iter().find(|(_, followed)| followed.is_broken()).map(|(threshold, _)| threshold.text.as_str());
        let guard = || self.guards.iter().find(|guard| !guard.since.is_empty()).map(|guard| guard.text.as_str());
        threshold.or_else(guard).or_else(|| self.tripped_guard())
    }

    /// The guard that tripped first.
    pub fn tripped_guard(&self) -> Option<&str> {
        self.tripped.map(|index| self.guards[index].text.as_str())
    }

    /// The load was made less because a guard tripped: all guards forget what they saw, and judge anew what they see from `second` on.
    pub fn guards_anew(&mut self, second: f64) {
        (self.tripped, self.guards_from) = (None, second);
        for guard in &mut self.guards {
            guard.followed.groups.clear();
            guard.since.clear();
        }
    }

    /// The first threshold with `abortOnFail` that is broken now, `delayAbortEval` after what it selects began.
    pub fn abort(&self) -> Option<&str> {
        self.abort.map(|index| self.thresholds[index].0.text.as_str())
    }

    /// What each threshold came to: of several series, the one that failed first, else the first.
    pub fn results(&self) -> Vec<ThresholdResult> {
        self.thresholds.iter().map(|(threshold, followed)| result(threshold, followed)).collect()
    }
}

/// When the scenarios began that a threshold selects, the last of them; the run, when it selects none in particular.
fn begin_of(threshold: &Threshold, catalog: &Catalog) -> Duration {
    let selected = threshold.series.scenarios(catalog);
    let starts = selected.into_iter().flatten().filter_map(|index| catalog.scenarios.get(usize::from(index)));
    starts.map(|scenario| scenario.start).max().unwrap_or_default()
}

fn result(threshold: &Threshold, followed: &Followed) -> ThresholdResult {
    let results = followed.groups.values().map(|evaluator| threshold_result(threshold, evaluator));
    let rank = |result: &ThresholdResult| match result.verdict {
        Verdict::Fail => (0, result.first_breach.unwrap_or(u32::MAX)),
        Verdict::Pass | Verdict::Invalid => (1, 0),
        Verdict::NoData => (2, 0),
    };
    results.min_by_key(rank).unwrap_or_else(|| threshold_result(threshold, &Evaluator::new(threshold.series.clone(), true)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::alerting::Severity;
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
    fn the_delay_counts_from_the_start_of_the_scenario_that_is_selected() {
        use crate::model::catalog::{ScenarioMeta, StepMeta};
        let scenario = |name: &str, start| ScenarioMeta {
            name: name.into(),
            executor: String::new(),
            open: true,
            tags: BTreeMap::new(),
            phases: Vec::new(),
            start: Duration::from_secs(start),
            duration: Duration::from_secs(60),
        };
        let step = |scenario| StepMeta {
            scenario,
            name: format!("step-{scenario}"),
            protocol: "http".into(),
            title: String::new(),
            checks: Vec::new(),
        };
        let scenarios = vec![scenario("early", 0), scenario("late", 10)];
        let catalog = Catalog { scenarios, steps: vec![step(0), step(1)], groups: Vec::new(), seed: None };
        // Each is broken from the first second on, and is to be asked 2 s after its scenario began.
        for (text, first) in [
            ("dropped_iterations: count < 0", 2),
            ("dropped_iterations{scenario:early}: count < 0", 2),
            ("dropped_iterations{scenario:late}: count < 0", 12),
            ("http_reqs{step:step-1}: count < 0", 12),
        ] {
            let mut watchers = Watchers::new(&[threshold(text, true)], &[]);
            let mut aborted = None;
            for second in 0..20 {
                let mut interval = Interval { second, ..Interval::default() };
                for index in 0..2_u16 {
                    let one = crate::model::measure::ScenarioInterval { scenario: index, ..Default::default() };
                    interval.scenarios.insert(index, one);
                }
                watchers.interval(&catalog, &interval);
                if aborted.is_none() {
                    aborted = watchers.abort().map(|_| second);
                }
            }
            assert_eq!(aborted, Some(first), "{text}");
        }
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

    #[test]
    fn a_guard_that_made_the_load_less_looks_anew() {
        let guard = ("pool_utilization: value > 97%".to_owned(), parse_series("pool_utilization: value > 97%").unwrap());
        let mut watchers = Watchers::new(&[], std::slice::from_ref(&guard));
        watchers.reading(&Catalog::default(), &reading(3, 1.0));
        assert!(watchers.tripped_guard().is_some());
        watchers.guards_anew(8.0);
        for second in 4..8 {
            watchers.reading(&Catalog::default(), &reading(second, 1.0));
            assert_eq!(watchers.tripped_guard(), None, "second {second}");
        }
        watchers.reading(&Catalog::default(), &reading(8, 1.0));
        assert!(watchers.tripped_guard().is_some());
    }

    #[test]
    fn a_full_pool_is_not_hidden_behind_an_empty_one() {
        let mut watchers = Watchers::new(&[threshold("pool_utilization: value < 80%", false)], &[]);
        let points = |main: f64| {
            Ok(vec![Point::new("pool_utilization", main).with("pool", "main"), Point::new("pool_utilization", 0.1).with("pool", "spare")])
        };
        for second in 0..3 {
            watchers.reading(&Catalog::default(), &Reading { points: points(0.95), ..reading(second, 0.0) });
        }
        let result = &watchers.results()[0];
        assert_eq!((result.verdict, result.actual), (Verdict::Fail, Some(0.95)));
    }

    #[test]
    fn for_without_over_speaks_of_readings_in_a_row() {
        let mut watchers = Watchers::new(&[threshold("pool_utilization: max < 80% for 3s", false)], &[]);
        for (second, value) in [0.9, 0.2, 0.9, 0.9, 0.2, 0.2, 0.2].into_iter().enumerate() {
            watchers.reading(&Catalog::default(), &reading(second as u32, value));
        }
        assert_eq!(watchers.results()[0].verdict, Verdict::Pass);
    }
}
