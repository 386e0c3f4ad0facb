//! Evaluates a series expression second by second: measure, aggregate over the window, compare, and for how long.
//! Pure: time is what the caller says. Nothing measured is `None`, never 0.

use std::collections::VecDeque;

use super::{Aggregation, MetricKind, Series, Source, Threshold, tags_of};
use crate::model::catalog::Catalog;
use crate::model::histogram::LatencyHistogram;
use crate::model::measure::{Interval, ScenarioInterval, StepInterval};
use crate::model::run::{ThresholdResult, Verdict};
use crate::model::series::Point;
use crate::model::units::format_duration;

/// Measurements of some span of time, mergeable.
#[derive(Debug, Clone, PartialEq)]
pub enum Aggregate {
    /// Of a trend.
    Trend(LatencyHistogram),
    /// Of a rate: yes and all.
    Share(u64, u64),
    /// Of a counter: sum and the seconds it covers.
    Sum(f64, f64),
    /// Of a gauge: sum, readings, least, greatest, last.
    Level(f64, u64, f64, f64, f64),
}

impl Aggregate {
    fn merge(&mut self, other: &Self) {
        match (self, other) {
            (Self::Trend(a), Self::Trend(b)) => a.merge(b),
            (Self::Share(yes, all), Self::Share(y, a)) => {
                *yes += y;
                *all += a;
            }
            (Self::Sum(sum, seconds), Self::Sum(s, t)) => {
                *sum += s;
                *seconds += t;
            }
            (Self::Level(sum, count, min, max, last), Self::Level(s, c, lo, hi, l)) => {
                *sum += s;
                *count += c;
                *min = min.min(*lo);
                *max = max.max(*hi);
                *last = *l;
            }
            (Self::Trend(_) | Self::Share(..) | Self::Sum(..) | Self::Level(..), _) => {}
        }
    }

    /// The one number that `aggregation` takes of this; `None` when nothing was measured.
    pub fn value(&self, aggregation: Aggregation) -> Option<f64> {
        match (self, aggregation) {
            (Self::Trend(histogram), Aggregation::Quantile(quantile)) => histogram.quantile(quantile).map(|time| time.as_secs_f64()),
            (Self::Trend(histogram), Aggregation::Avg) => histogram.mean().map(|time| time.as_secs_f64()),
            (Self::Trend(histogram), Aggregation::Min) => histogram.min().map(|time| time.as_secs_f64()),
            (Self::Trend(histogram), Aggregation::Max) => histogram.max().map(|time| time.as_secs_f64()),
            (Self::Share(yes, all), _) => (*all > 0).then(|| *yes as f64 / *all as f64),
            (Self::Sum(sum, _), Aggregation::Count) => Some(*sum),
            (Self::Sum(sum, seconds), _) => (*seconds > 0.0).then(|| sum / seconds),
            (Self::Level(sum, count, ..), Aggregation::Avg) => (*count > 0).then(|| sum / *count as f64),
            (Self::Level(_, _, min, ..), Aggregation::Min) => Some(*min),
            (Self::Level(_, _, _, max, _), Aggregation::Max) => Some(*max),
            (Self::Level(_, _, _, _, last), _) => Some(*last),
            (Self::Trend(_), Aggregation::Count | Aggregation::Rate | Aggregation::Value) => None,
        }
    }
}

impl Series {
    /// What one second of a run says about this series; `None` when it says nothing. With `exclude_ramp`, seconds in which the load changes say nothing.
    pub fn measure(&self, catalog: &Catalog, interval: &Interval, points: &[Point], exclude_ramp: bool) -> Option<Aggregate> {
        let counts_now = |scenario: u16| {
            let Some(meta) = catalog.scenarios.get(usize::from(scenario)) else { return false };
            let phase = meta.phase_at(interval.second);
            self.selector.get("phase").is_none_or(|wanted| phase.is_some_and(|phase| phase.name == *wanted))
                && !(exclude_ramp && phase.is_none_or(|phase| phase.ramp))
                && self.selector.get("scenario").is_none_or(|wanted| meta.name == *wanted)
                && self.own_tags().all(|(tag, value)| meta.tags.get(tag) == Some(value))
        };
        match self.metric.source {
            Source::Step => self.measure_steps(catalog, interval, &counts_now),
            Source::Scenario => self.measure_scenarios(interval, &counts_now),
            Source::Group => self.measure_groups(catalog, interval, &counts_now),
            Source::History => None,
            Source::Probe => {
                let filtered = exclude_ramp || self.selector.contains_key("phase");
                let any = !filtered || (0..catalog.scenarios.len()).any(|index| counts_now(index as u16));
                any.then(|| self.measure_points(points)).flatten()
            }
        }
    }

    /// The scenarios, by index, that the selector names: by their name, a tag of their own, or a step of theirs. `None`: none in particular.
    pub fn scenarios(&self, catalog: &Catalog) -> Option<Vec<u16>> {
        let (name, step) = (self.selector.get("scenario"), self.selector.get("step"));
        if name.is_none() && step.is_none() && self.own_tags().next().is_none() {
            return None;
        }
        let has_step = |index: u16, wanted: &String| catalog.steps.iter().any(|step| step.scenario == index && step.name == *wanted);
        let selected = catalog.scenarios.iter().zip(0_u16..).filter(|(meta, index)| {
            name.is_none_or(|wanted| meta.name == *wanted)
                && step.is_none_or(|wanted| has_step(*index, wanted))
                && self.own_tags().all(|(tag, value)| meta.tags.get(tag) == Some(value))
        });
        Some(selected.map(|(_, index)| index).collect())
    }

    /// Selectors by labels that scenarios have of their own. Labels of readings are the probe's.
    fn own_tags(&self) -> impl Iterator<Item = (&String, &String)> {
        let known = tags_of(self.metric.source);
        self.selector.iter().filter(move |(tag, _)| !known.is_empty() && !known.contains(&tag.as_str()))
    }

    /// What readings of probes say about this series.
    pub fn measure_points(&self, points: &[Point]) -> Option<Aggregate> {
        let mut found: Option<Aggregate> = None;
        for point in points.iter().filter(|point| self.selects(point)) {
            let level = Aggregate::Level(point.value, 1, point.value, point.value, point.value);
            match &mut found {
                Some(aggregate) => aggregate.merge(&level),
                None => found = Some(level),
            }
        }
        found
    }

    /// Whether a reading belongs to this series (the tags `phase`, `profile` and `scenario` are not the reading's).
    pub fn selects(&self, point: &Point) -> bool {
        point.metric == self.metric.name
            && self
                .selector
                .iter()
                .filter(|(tag, _)| !matches!(tag.as_str(), "phase" | "profile" | "scenario"))
                .all(|(tag, value)| point.labels.get(tag) == Some(value))
    }

    fn measure_steps(&self, catalog: &Catalog, interval: &Interval, counts_now: &dyn Fn(u16) -> bool) -> Option<Aggregate> {
        let wanted_step = self.selector.get("step");
        let mut found = None;
        for (index, meta) in catalog.steps.iter().enumerate() {
            if wanted_step.is_some_and(|wanted| meta.name != *wanted) || !self.metric.counts(&meta.protocol) || !counts_now(meta.scenario) {
                continue;
            }
            let open = catalog.scenarios.get(usize::from(meta.scenario)).is_some_and(|scenario| scenario.open);
            let nothing = StepInterval::default();
            let step = interval.steps.get(&(index as u16)).unwrap_or(&nothing);
            add(&mut found, self.of_step(step, open));
        }
        if matches!(self.metric.name, "http_req_duration" | "grpc_req_duration" | "ws_connecting" | "response_time") {
            for (index, scenario) in &interval.scenarios {
                // What a dropped start would have sent first is what had to wait: those waits belong to that step.
                let counts = catalog
                    .first_step(*index)
                    .is_some_and(|(_, step)| self.metric.counts(&step.protocol) && wanted_step.is_none_or(|wanted| step.name == *wanted));
                if catalog.is_open(*index) && counts && counts_now(*index) && !scenario.dropped_wait.is_empty() {
                    add(&mut found, Aggregate::Trend(scenario.dropped_wait.clone()));
                }
            }
        }
        found
    }

    fn of_step(&self, step: &StepInterval, open: bool) -> Aggregate {
        let both = |ok: &LatencyHistogram, failed: &LatencyHistogram| {
            let mut all = ok.clone();
            all.merge(failed);
            Aggregate::Trend(all)
        };
        match self.metric.name {
            "requests" | "http_reqs" | "grpc_reqs" | "ws_sessions" | "ws_msgs" => Aggregate::Sum(step.requests() as f64, 1.0),
            "requests_failed" | "http_req_failed" | "grpc_req_failed" | "ws_failed" => Aggregate::Share(step.failed(), step.requests()),
            "http_req_duration" | "grpc_req_duration" if open => both(&step.response_ok, &step.response_failed),
            "response_time" | "ws_connecting" => both(&step.response_ok, &step.response_failed),
            "http_req_waiting" => Aggregate::Trend(step.waiting.clone()),
            "checks" => {
                let passed: u64 = step.checks.iter().map(|check| check.passed).sum();
                Aggregate::Share(passed, passed + step.checks.iter().map(|check| check.failed).sum::<u64>())
            }
            "data_sent" => Aggregate::Sum(step.bytes_sent as f64, 1.0),
            "data_received" => Aggregate::Sum(step.bytes_received as f64, 1.0),
            _ => both(&step.service_ok, &step.service_failed),
        }
    }

    fn measure_groups(&self, catalog: &Catalog, interval: &Interval, counts_now: &dyn Fn(u16) -> bool) -> Option<Aggregate> {
        let wanted = self.selector.get("group");
        let mut found = None;
        for (index, duration) in &interval.groups {
            let Some(meta) = catalog.groups.get(usize::from(*index)) else { continue };
            if wanted.is_none_or(|wanted| meta.name == *wanted) && counts_now(meta.scenario) {
                add(&mut found, Aggregate::Trend(duration.clone()));
            }
        }
        found
    }

    fn measure_scenarios(&self, interval: &Interval, counts_now: &dyn Fn(u16) -> bool) -> Option<Aggregate> {
        let mut found = None;
        for scenario in interval.scenarios.values().filter(|scenario| counts_now(scenario.scenario)) {
            add(&mut found, self.of_scenario(scenario));
        }
        found
    }

    fn of_scenario(&self, scenario: &ScenarioInterval) -> Aggregate {
        let counts = &scenario.counts;
        match self.metric.name {
            "iterations" => Aggregate::Sum(counts.completed as f64, 1.0),
            "iteration_duration" => Aggregate::Trend(scenario.iteration_duration.clone()),
            "iterations_with_failed_check" => Aggregate::Share(scenario.with_failed_check, counts.completed + counts.failed),
            "dropped_iterations" => Aggregate::Sum(counts.dropped as f64, 1.0),
            "dropped_iterations_rate" => Aggregate::Share(counts.dropped + counts.unsent, counts.scheduled),
            "start_lag" => Aggregate::Trend(scenario.start_lag.clone()),
            _ => {
                let vus = scenario.vus as f64;
                Aggregate::Level(vus, 1, vus, vus, vus)
            }
        }
    }
}

/// Adds measurements of another step or scenario of the same second: counts add up, the covered seconds do not.
fn add(found: &mut Option<Aggregate>, more: Aggregate) {
    match (found.as_mut(), more) {
        (Some(Aggregate::Sum(sum, _)), Aggregate::Sum(other, _)) => *sum += other,
        (Some(Aggregate::Level(sum, _, min, max, last)), Aggregate::Level(other, ..)) => {
            // Levels of several scenarios at one moment add up (VUs).
            *sum += other;
            (*min, *max, *last) = (*sum, *sum, *sum);
        }
        (Some(all), more) => all.merge(&more),
        (None, more) => *found = Some(more),
    }
}

/// The state of a condition at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judged {
    /// The aggregated value; `None` when nothing was measured.
    pub actual: Option<f64>,
    /// Whether the comparison holds now; `None` when nothing was measured.
    pub holds: Option<bool>,
}

/// Follows one series over time. Time is seconds on any axis that does not go back.
#[derive(Debug, Clone)]
pub struct Evaluator {
    series: Series,
    total: Option<Aggregate>,
    window: VecDeque<(f64, Aggregate)>,
    first: Option<f64>,
    now: f64,
    /// A window counts only once it is full (thresholds); alert rules look at what there is.
    full_windows: bool,
    /// Since when it is broken now, and the worst value since.
    breaking: Option<(f64, f64)>,
    breached: Option<(f64, f64)>,
    /// The value that was judged last: what a window held before what it looks at (a stage) was over.
    last: Option<f64>,
}

impl Evaluator {
    /// `full_windows`: a window shorter than asked for is not judged (until `finish`).
    pub fn new(series: Series, full_windows: bool) -> Self {
        Self {
            series,
            total: None,
            window: VecDeque::new(),
            first: None,
            now: 0.0,
            full_windows,
            breaking: None,
            breached: None,
            last: None,
        }
    }

    /// The expression that is followed.
    pub fn series(&self) -> &Series {
        &self.series
    }

    /// Takes the measurements up to `at` (nothing for a moment without any) and judges.
    pub fn push(&mut self, at: f64, measured: Option<Aggregate>) -> Judged {
        self.now = self.now.max(at);
        if let Some(measured) = measured {
            self.first.get_or_insert(at);
            if self.series.window.is_some() {
                self.window.push_back((at, measured));
            } else if self.series.metric.source == Source::Probe && self.series.hold.is_some() {
                // "max < 80% for 10s" speaks of the readings of ten seconds, not of the greatest reading since the start.
                self.total = Some(measured);
            } else {
                match &mut self.total {
                    Some(total) => total.merge(&measured),
                    None => self.total = Some(measured),
                }
            }
        }
        if let Some(window) = self.series.window {
            let from = self.now - window.as_secs_f64();
            while self.window.front().is_some_and(|(at, _)| *at <= from) {
                self.window.pop_front();
            }
        }
        let judged = self.judge(!self.full_windows);
        self.follow(judged);
        judged
    }

    /// The state now; with `partial`, also of a window that is not full.
    pub fn judge(&self, partial: bool) -> Judged {
        let actual = match self.series.window {
            None => self.total.as_ref().and_then(|total| total.value(self.series.aggregation)),
            Some(window) => {
                let covered = self.first.map_or(0.0, |first| self.now - first + 1.0);
                if !partial && covered < window.as_secs_f64() {
                    None
                } else {
                    let mut items = self.window.iter().map(|(_, aggregate)| aggregate);
                    items.next().cloned().and_then(|mut all| {
                        items.for_each(|item| all.merge(item));
                        all.value(self.series.aggregation)
                    })
                }
            }
        };
        Judged { actual, holds: actual.map(|actual| self.series.bound.op.holds(actual, self.series.bound.value)) }
    }

    /// Keeps track of how long the condition has not held.
    fn follow(&mut self, judged: Judged) {
        let (Some(actual), Some(holds)) = (judged.actual, judged.holds) else {
            // Without data nothing is known: a breach neither goes on nor ends.
            return;
        };
        self.last = Some(actual);
        if holds {
            self.breaking = None;
            return;
        }
        let op = self.series.bound.op;
        let (since, worst) = self.breaking.map_or((self.now, actual), |(since, worst)| (since, op.worse(worst, actual)));
        self.breaking = Some((since, worst));
        let long_enough = self.series.hold.is_none_or(|hold| self.now - since >= hold.as_secs_f64());
        let lasting = self.series.window.is_some() || self.series.hold.is_some();
        if lasting && long_enough {
            self.breached = Some(self.breached.map_or((since, worst), |(first, before)| (first, op.worse(before, worst))));
        }
    }

    /// True when, seen as something that must hold, it is broken now for as long as `for` says. This is what `abortOnFail` asks.
    pub fn is_broken(&self) -> bool {
        self.breached.is_some()
            || self.breaking.is_some_and(|(since, _)| self.series.hold.is_none_or(|hold| self.now - since >= hold.as_secs_f64()))
    }

    /// Second in which it was first broken for good, and the worst value since.
    pub fn breach(&self) -> Option<(f64, f64)> {
        self.breached
    }
}

/// What a threshold came to at the end of a run.
pub fn threshold_result(threshold: &Threshold, evaluator: &Evaluator) -> ThresholdResult {
    let series = &threshold.series;
    let judged = evaluator.judge(true);
    let breach = evaluator.breach();
    let actual = breach.map(|(_, value)| value).or(judged.actual).or(evaluator.last);
    let asked = format!("{} {}", series.bound.op.as_str(), series.show(series.bound.value));
    let name = format!("{}{} {}", series.metric.name, selector_text(series), series.aggregation.text());
    let (verdict, reason) = match (actual, breach, judged.holds) {
        (None, ..) => (Verdict::NoData, format!("{name}: nothing was measured, asked for {asked}")),
        (Some(actual), Some((since, _)), _) => {
            let hold = series.hold.map(|hold| format!(" for {}", format_duration(hold))).unwrap_or_default();
            let how = series.bound.op.way();
            (
                Verdict::Fail,
                format!(
                    "{name} was {how}{} from second {since:.0} on{hold}, asked for {asked}{}",
                    series.show(actual),
                    by_how_much(series, actual)
                ),
            )
        }
        (Some(actual), None, Some(false)) if series.hold.is_none() => {
            (Verdict::Fail, format!("{name} is {}, asked for {asked}{}", series.show(actual), by_how_much(series, actual)))
        }
        (Some(actual), None, _) => (Verdict::Pass, format!("{name} is {}, asked for {asked}", series.show(actual))),
    };
    ThresholdResult {
        text: threshold.text.clone(),
        verdict,
        actual,
        shown: actual.map_or_else(|| "no data".into(), |actual| series.show(actual)),
        reason,
        severity: threshold.severity,
        first_breach: breach.map(|(since, _)| since.max(0.0) as u32),
    }
}

/// `{step:claim}`, so that a reason says of what it speaks; nothing without a selector.
fn selector_text(series: &Series) -> String {
    let tags: Vec<String> = series.selector.iter().map(|(tag, value)| format!("{tag}:{value}")).collect();
    if tags.is_empty() { String::new() } else { format!("{{{}}}", tags.join(",")) }
}

/// ": 6 % over" for a bound that is not zero.
fn by_how_much(series: &Series, actual: f64) -> String {
    let bound = series.bound.value;
    if bound <= 0.0 || series.metric.kind == MetricKind::Rate && bound >= 1.0 {
        return String::new();
    }
    let change = (actual - bound) / bound * 100.0;
    if change.abs() > 999.0 {
        return format!(": {:.0} times as much", actual / bound);
    }
    format!(": {} % {}", crate::model::units::trim_decimal(change.abs(), 1), if change > 0.0 { "over" } else { "under" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::alerting::Severity;
    use crate::model::threshold::parse_series;
    use std::time::Duration;

    fn gauge(value: f64) -> Aggregate {
        Aggregate::Level(value, 1, value, value, value)
    }

    fn threshold(text: &str) -> Threshold {
        Threshold {
            text: text.into(),
            series: parse_series(text).unwrap(),
            abort_on_fail: false,
            delay_abort_eval: Duration::ZERO,
            exclude_ramp: false,
            severity: Severity::High,
        }
    }

    fn run(text: &str, values: &[Option<f64>]) -> ThresholdResult {
        let threshold = threshold(text);
        let mut evaluator = Evaluator::new(threshold.series.clone(), true);
        for (second, value) in values.iter().enumerate() {
            evaluator.push(second as f64, value.map(gauge));
        }
        threshold_result(&threshold, &evaluator)
    }

    #[test]
    fn nothing_measured_is_no_data_not_a_pass() {
        let result = run("pool_utilization: max < 80%", &[None, None]);
        assert_eq!((result.verdict, result.actual), (Verdict::NoData, None));
        assert_eq!(result.reason, "pool_utilization max: nothing was measured, asked for < 80 %");
    }

    #[test]
    fn a_window_forgets_and_a_breach_is_kept() {
        let mut values = vec![Some(0.5); 10];
        values[3] = Some(0.9);
        assert_eq!(run("pool_utilization: max < 80%", &values).verdict, Verdict::Fail);
        let failed = run("pool_utilization: max < 80% over 2s", &values);
        assert_eq!((failed.verdict, failed.first_breach), (Verdict::Fail, Some(3)));
        assert_eq!(run("pool_utilization: avg < 80% over 5s", &values).verdict, Verdict::Pass);
    }

    #[test]
    fn the_worst_is_told_with_the_second_from_which_on_it_was_broken() {
        let values: Vec<_> = [0.5, 0.9, 0.95, 1.0, 0.85, 0.3, 0.88].map(Some).into();
        let failed = run("pool_utilization: max < 80% over 1s", &values);
        assert_eq!((failed.actual, failed.first_breach), (Some(1.0), Some(1)));
        assert_eq!(failed.reason, "pool_utilization max was up to 100 % from second 1 on, asked for < 80 %: 25 % over");
        let failed = run("pool_utilization: value > 86% over 1s for 1s", &values);
        assert_eq!((failed.actual, failed.first_breach), (Some(0.3), Some(4)), "{}", failed.reason);
        assert!(failed.reason.starts_with("pool_utilization value was down to 30 % from second 4 on for 1s"), "{}", failed.reason);
    }

    #[test]
    fn what_a_window_saw_of_a_stage_counts_after_the_stage() {
        let held = run("pool_utilization: max < 80% over 2s", &[Some(0.5), Some(0.6), Some(0.7), None, None, None, None]);
        assert_eq!((held.verdict, held.actual), (Verdict::Pass, Some(0.7)));
        let broken = run("pool_utilization: max < 80% over 2s", &[Some(0.5), Some(0.9), Some(0.7), None, None, None, None]);
        assert_eq!((broken.verdict, broken.actual), (Verdict::Fail, Some(0.9)));
    }

    #[test]
    fn for_demands_a_breach_without_a_break() {
        let values: Vec<_> = [0.9, 0.9, 0.5, 0.9, 0.9, 0.9, 0.9, 0.5].map(Some).into();
        assert_eq!(run("pool_utilization: value < 80% over 1s for 4s", &values).verdict, Verdict::Pass);
        let failed = run("pool_utilization: value < 80% over 1s for 3s", &values);
        assert_eq!((failed.verdict, failed.first_breach), (Verdict::Fail, Some(3)));
    }

    #[test]
    fn a_run_shorter_than_the_window_is_judged_by_what_there_is() {
        assert_eq!(run("pool_utilization: max < 80% over 1m", &[Some(0.9), Some(0.2)]).verdict, Verdict::Fail);
    }

    #[test]
    fn says_of_what_it_speaks() {
        let result = run("pool_utilization{pool:main, probe:app}: max < 80%", &[]);
        assert_eq!(result.reason, "pool_utilization{pool:main,probe:app} max: nothing was measured, asked for < 80 %");
    }

    /// A second of a run with a step of each protocol, two requests each, of which the named one fails.
    fn second(failing: &str) -> (Catalog, Interval) {
        let mut catalog = Catalog::default();
        let mut interval = Interval::default();
        catalog.scenarios.push(crate::model::catalog::ScenarioMeta {
            name: "s".into(),
            executor: "constant-arrival-rate".into(),
            open: true,
            tags: std::collections::BTreeMap::new(),
            phases: Vec::new(),
            start: Duration::ZERO,
            duration: Duration::from_secs(1),
        });
        for (index, protocol) in ["http", "grpc", "websocket", "message"].into_iter().enumerate() {
            catalog.steps.push(crate::model::catalog::StepMeta {
                scenario: 0,
                name: protocol.into(),
                protocol: protocol.into(),
                title: String::new(),
                checks: Vec::new(),
            });
            let mut step = StepInterval { step: index as u16, ok: 1, ..StepInterval::default() };
            step.response_ok = LatencyHistogram::from_us([10_000 * (index as u64 + 1)]);
            step.service_ok = LatencyHistogram::from_us([1000 * (index as u64 + 1)]);
            if protocol == failing {
                step.failures.insert(crate::model::failure::Reason::Reset, 1);
            } else {
                step.ok += 1;
            }
            interval.steps.insert(index as u16, step);
        }
        let dropped_wait = LatencyHistogram::from_us([3_000_000]);
        interval.scenarios.insert(0, ScenarioInterval { dropped_wait, ..ScenarioInterval::default() });
        (catalog, interval)
    }

    fn measured(text: &str, failing: &str) -> Option<f64> {
        let (catalog, interval) = second(failing);
        let series = parse_series(text).unwrap();
        series.measure(&catalog, &interval, &[], false).and_then(|aggregate| aggregate.value(series.aggregation))
    }

    #[test]
    fn a_metric_counts_the_requests_of_its_protocol() {
        for (text, value) in [
            ("http_reqs: count > 0", 2.0),
            ("grpc_reqs: count > 0", 2.0),
            ("ws_sessions: count > 0", 2.0),
            ("ws_msgs: count > 0", 2.0),
            ("requests: count > 0", 8.0),
            ("http_req_failed: rate < 1%", 0.0),
            ("grpc_req_failed: rate < 1%", 0.5),
            ("ws_failed: rate < 1%", 0.0),
            ("requests_failed: rate < 1%", 0.125),
        ] {
            assert!(measured(text, "grpc").is_some_and(|found| (found - value).abs() < 1e-9), "{text}: {:?}", measured(text, "grpc"));
        }
        assert_eq!(measured("http_reqs{step:grpc}: count > 0", ""), None, "a step of another protocol has none");
        let near = |text: &str, wanted: f64| measured(text, "").is_some_and(|found| (found - wanted).abs() < wanted * 0.01);
        // In an open scenario from the intended start; a message has no intended start of its own.
        assert!(near("grpc_req_duration: max < 1s", 0.020) && near("ws_connecting: max < 1s", 0.030));
        assert!(near("ws_msg_duration: max < 1s", 0.004) && near("grpc_req_duration{step:grpc}: max < 1s", 0.020));
        // A start that was dropped would have begun with the scenario's first request: its wait counts there, and only there.
        assert!(near("http_req_duration: max < 1s", 3.0) && near("http_req_duration{step:http}: max < 1s", 3.0));
        assert!(near("response_time{step:http}: max < 1s", 3.0) && near("response_time{step:grpc}: max < 1s", 0.020));
        assert!(near("service_time{step:http}: max < 1s", 0.001), "what was not sent has no service time");
    }

    #[test]
    fn says_by_how_much() {
        let result = run("pool_utilization: max < 80%", &[Some(1.0)]);
        assert_eq!(result.reason, "pool_utilization max is 100 %, asked for < 80 %: 25 % over");
    }
}
