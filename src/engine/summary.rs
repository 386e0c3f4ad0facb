//! Folds a run's intervals and readings into its summary, second by second, so that memory does not grow with requests. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::told::Told;
use crate::model::Labels;
use crate::model::analysed::Analysed;
use crate::model::catalog::Catalog;
use crate::model::histogram::LatencyHistogram;
use crate::model::measure::{Accounting, Interval, ScenarioInterval, StepInterval};
use crate::model::run::{GeneratorSummary, GroupSummary, LatencySummary, ScenarioSummary, SeriesSummary, StepSummary, Summary};
use crate::model::series::Reading;

/// A utilization at or above this counts as saturated.
const SATURATED: f64 = 0.99;

/// A load thread that uses so much of a core in a second has used it up.
const SATURATED_CORE: f64 = 0.95;
/// A thread that sees so late what is ready has measured itself.
const LATE_LOOP: Duration = Duration::from_millis(50);

/// The fold of one run.
#[derive(Debug, Default)]
pub struct Fold {
    steps: BTreeMap<u16, StepInterval>,
    scenarios: BTreeMap<u16, ScenarioInterval>,
    vus_max: BTreeMap<u16, u64>,
    groups: BTreeMap<u16, LatencyHistogram>,
    /// Values of each probe series, in order.
    series: BTreeMap<(String, String, Labels), Vec<f64>>,
    probe_errors: BTreeMap<String, (u64, String)>,
    stall: Duration,
    cpu: Option<f64>,
    threads: u32,
    /// Seconds in which a load thread used its core up; those of them in which it was late; how late at most.
    saturated: (u32, u32, Duration),
    recent: VecDeque<LatencyHistogram>,
    told: Told,
    /// Intervals that could not be stored.
    pub intervals_lost: u64,
}

impl Fold {
    /// Adds one second.
    pub fn interval(&mut self, catalog: &Catalog, interval: &Interval) {
        let mut whole = Interval {
            steps: std::mem::take(&mut self.steps),
            scenarios: std::mem::take(&mut self.scenarios),
            groups: std::mem::take(&mut self.groups),
            ..Interval::default()
        };
        whole.merge(interval);
        (self.steps, self.scenarios, self.groups) = (whole.steps, whole.scenarios, whole.groups);
        for (index, scenario) in &interval.scenarios {
            let most = self.vus_max.entry(*index).or_default();
            *most = (*most).max(scenario.vus);
        }
        self.told.second(interval);
        self.stall = self.stall.max(interval.generator_stall);
        if interval.generator_busiest.is_some_and(|busiest| busiest >= SATURATED_CORE) {
            let (seconds, late, most) = self.saturated;
            let lag = interval.generator_stall;
            self.saturated = (seconds + 1, late + u32::from(lag > LATE_LOOP), most.max(lag));
        }
        self.cpu = match (self.cpu, interval.generator_cpu) {
            (Some(sum), Some(more)) => Some(sum + more),
            (one, other) => one.or(other),
        };
        self.threads = self.threads.max(interval.shards);
        let mut now = LatencyHistogram::default();
        for step in interval.steps.values() {
            now.merge(&duration_of(step, is_open(catalog, step.step)));
        }
        for (index, scenario) in &interval.scenarios {
            if catalog.is_open(*index) {
                now.merge(&scenario.dropped_wait);
            }
        }
        self.recent.push_back(now);
        if self.recent.len() > 5 {
            self.recent.pop_front();
        }
    }

    /// Adds one reading of a probe.
    pub fn reading(&mut self, reading: &Reading) {
        match &reading.points {
            Ok(points) => {
                for point in points {
                    let key = (reading.probe.clone(), point.metric.clone(), point.labels.clone());
                    self.series.entry(key).or_default().push(point.value);
                }
            }
            Err(reason) => {
                let errors = self.probe_errors.entry(reading.probe.clone()).or_default();
                *errors = (errors.0 + 1, reason.clone());
            }
        }
    }

    /// `http_req_duration` of the last five seconds.
    pub fn recent(&self) -> LatencyHistogram {
        let mut all = LatencyHistogram::default();
        self.recent.iter().for_each(|second| all.merge(second));
        all
    }

    /// Accounting of all scenarios together.
    pub fn accounting(&self) -> Accounting {
        let mut all = Accounting::default();
        self.scenarios.values().for_each(|scenario| all += scenario.counts);
        all
    }

    /// The first failures that nothing is told of; a bug in Plimsoll.
    pub fn untold(&self) -> Option<&str> {
        self.told.breach()
    }

    /// Requests and failures so far.
    pub fn requests(&self) -> (u64, u64) {
        self.steps.values().fold((0, 0), |(requests, failed), step| (requests + step.requests(), failed + step.failed()))
    }

    /// The summary of what was added; `seconds` is the length of the run.
    pub fn summary(&self, catalog: &Catalog, seconds: f64) -> Summary {
        let told = |(index, step): (&u16, &StepInterval)| {
            let (told, told_beyond) = self.told.of(*index);
            let waits = self.dropped_before(catalog, *index);
            StepSummary { told, told_beyond, ..step_summary(catalog, step, waits, seconds) }
        };
        let steps = self.steps.iter().map(told).collect();
        Summary {
            seconds,
            total: self.total(catalog, seconds),
            steps,
            scenarios: self.scenarios.values().map(|scenario| self.scenario(catalog, scenario)).collect(),
            groups: self.groups.iter().filter_map(|(index, duration)| group_summary(catalog, *index, duration)).collect(),
            series: self.series.iter().map(|((probe, metric, labels), values)| series_summary(probe, metric, labels, values)).collect(),
            probe_errors: self.probe_errors.clone(),
            generator: GeneratorSummary {
                stall_max_us: self.stall.as_micros() as u64,
                cpu_cores: self.cpu.map(|cpu| cpu / seconds.max(1e-9)),
                threads: self.threads,
                saturated_seconds: self.saturated.0,
                late_seconds: self.saturated.1,
                late_max_us: u32::try_from(self.saturated.2.as_micros()).unwrap_or(u32::MAX),
            },
            intervals_lost: self.intervals_lost,
            climbs: Vec::new(),
            data_ended: Vec::new(),
            databases: Vec::new(),
            analysed: Analysed::default(),
        }
    }

    /// How long the starts waited that were dropped, if this step is what they would have begun with; see [`Catalog::first_step`].
    fn dropped_before(&self, catalog: &Catalog, step: u16) -> Option<&LatencyHistogram> {
        let scenario = catalog.steps.get(usize::from(step))?.scenario;
        let first = catalog.first_step(scenario)?.0 == step && catalog.is_open(scenario);
        first.then(|| self.scenarios.get(&scenario).map(|scenario| &scenario.dropped_wait)).flatten()
    }

    fn total(&self, catalog: &Catalog, seconds: f64) -> StepSummary {
        let mut all = StepInterval::default();
        let mut duration = LatencyHistogram::default();
        let mut checks: BTreeMap<String, crate::model::measure::CheckCount> = BTreeMap::new();
        for step in self.steps.values() {
            duration.merge(&duration_of(step, is_open(catalog, step.step)));
            let names = catalog.steps.get(usize::from(step.step)).map(|meta| meta.checks.as_slice()).unwrap_or_default();
            for (name, count) in names.iter().zip(&step.checks) {
                let sum = checks.entry(name.clone()).or_default();
                sum.passed += count.passed;
                sum.failed += count.failed;
            }
            all.merge(&StepInterval { checks: Vec::new(), ..step.clone() });
        }
        for (index, scenario) in &self.scenarios {
            if catalog.scenarios.get(usize::from(*index)).is_some_and(|meta| meta.open) {
                duration.merge(&scenario.dropped_wait);
                all.response_ok.merge(&scenario.dropped_wait);
            }
        }
        let (told, told_beyond) = self.told.all();
        StepSummary { told, told_beyond, checks, ..figures(&all, &duration, seconds) }
    }

    fn scenario(&self, catalog: &Catalog, scenario: &ScenarioInterval) -> ScenarioSummary {
        ScenarioSummary {
            scenario: catalog.scenarios.get(usize::from(scenario.scenario)).map(|meta| meta.name.clone()).unwrap_or_default(),
            counts: scenario.counts,
            with_failed_check: scenario.with_failed_check,
            broke_off: scenario.broke_off.clone(),
            censored: scenario.dropped_wait.count(),
            vus_max: self.vus_max.get(&scenario.scenario).copied().unwrap_or(0),
            iteration_duration: LatencySummary::of(&scenario.iteration_duration),
            start_lag: LatencySummary::of(&scenario.start_lag),
        }
    }
}

fn group_summary(catalog: &Catalog, index: u16, duration: &LatencyHistogram) -> Option<GroupSummary> {
    let meta = catalog.groups.get(usize::from(index))?;
    let scenario = catalog.scenarios.get(usize::from(meta.scenario))?.name.clone();
    Some(GroupSummary { scenario, group: meta.name.clone(), duration: LatencySummary::of(duration)? })
}

/// Figures of one step with its names.
fn step_summary(catalog: &Catalog, step: &StepInterval, waits: Option<&LatencyHistogram>, seconds: f64) -> StepSummary {
    let meta = catalog.steps.get(usize::from(step.step));
    let scenario = meta.and_then(|meta| catalog.scenarios.get(usize::from(meta.scenario)));
    let mut summary = match waits.filter(|waits| !waits.is_empty()) {
        Some(waits) => {
            let mut waited = step.clone();
            waited.response_ok.merge(waits);
            figures(&waited, &duration_of(&waited, true), seconds)
        }
        None => figures(step, &duration_of(step, is_open(catalog, step.step)), seconds),
    };
    summary.scenario = scenario.map(|scenario| scenario.name.clone()).unwrap_or_default();
    summary.step = meta.map(|meta| meta.name.clone()).unwrap_or_default();
    summary.checks = meta.map(|meta| meta.checks.iter().cloned().zip(step.checks.iter().copied()).collect()).unwrap_or_default();
    summary
}

pub(super) fn is_open(catalog: &Catalog, step: u16) -> bool {
    let scenario = catalog.steps.get(usize::from(step)).map(|meta| usize::from(meta.scenario));
    scenario.and_then(|scenario| catalog.scenarios.get(scenario)).is_some_and(|scenario| scenario.open)
}

/// `http_req_duration`: response time in open scenarios, service time in closed ones; answered requests.
pub(super) fn duration_of(step: &StepInterval, open: bool) -> LatencyHistogram {
    let (ok, failed) = if open { (&step.response_ok, &step.response_failed) } else { (&step.service_ok, &step.service_failed) };
    let mut all = ok.clone();
    all.merge(failed);
    all
}

fn figures(step: &StepInterval, duration: &LatencyHistogram, seconds: f64) -> StepSummary {
    let both = |ok: &LatencyHistogram, failed: &LatencyHistogram| {
        let mut all = ok.clone();
        all.merge(failed);
        LatencySummary::of(&all)
    };
    StepSummary {
        scenario: String::new(),
        step: String::new(),
        requests: step.requests(),
        per_second: if seconds > 0.0 { step.requests() as f64 / seconds } else { 0.0 },
        failed: step.failed(),
        reasons: step.failures.clone(),
        messages: step.messages.iter().filter_map(|(reason, said)| Some((reason.clone(), said.most()?.to_owned()))).collect(),
        told: Vec::new(),
        told_beyond: 0,
        duration: LatencySummary::of(duration),
        response: both(&step.response_ok, &step.response_failed),
        service: both(&step.service_ok, &step.service_failed),
        waiting: LatencySummary::of(&step.waiting),
        checks: BTreeMap::new(),
        bytes_sent: step.bytes_sent,
        bytes_received: step.bytes_received,
        connections: step.connections,
        resent: step.resent,
        unheard: step.unheard,
        unanswered: step.unanswered,
    }
}

fn series_summary(probe: &str, metric: &str, labels: &Labels, values: &[f64]) -> SeriesSummary {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |quantile: f64| {
        let rank = (quantile * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(f64::NAN)
    };
    SeriesSummary {
        probe: probe.into(),
        metric: metric.into(),
        labels: labels.clone(),
        samples: values.len() as u64,
        min: at(0.0),
        mean: values.iter().sum::<f64>() / values.len().max(1) as f64,
        p95: at(0.95),
        max: at(1.0),
        last: values.last().copied().unwrap_or(f64::NAN),
        saturated: if metric.ends_with("utilization") { values.iter().filter(|value| **value >= SATURATED).count() as u64 } else { 0 },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::catalog::{ScenarioMeta, StepMeta};
    use crate::model::failure::Reason;
    use crate::model::measure::CheckCount;
    use crate::model::series::Point;
    use crate::model::units::Timestamp;

    /// An open scenario with step 0 and a closed one with step 1; each step has the checks `a` and `b`.
    fn catalog() -> Catalog {
        let scenario = |name: &str, open| ScenarioMeta {
            name: name.into(),
            executor: String::new(),
            open,
            tags: std::collections::BTreeMap::new(),
            phases: vec![],
            start: Duration::ZERO,
            duration: Duration::from_secs(60),
        };
        let step = |scenario| StepMeta {
            scenario,
            name: format!("step-{scenario}"),
            protocol: "http".into(),
            title: String::new(),
            checks: vec!["a".into(), "b".into()],
        };
        Catalog {
            scenarios: vec![scenario("open", true), scenario("closed", false)],
            steps: vec![step(0), step(1)],
            groups: vec![],
            seed: None,
        }
    }

    /// One request: how long it took from its intended start, how long on the wire, and how it failed.
    type Request = (u64, u64, Option<Reason>);

    fn reasons() -> impl Strategy<Value = Option<Reason>> {
        prop_oneof![
            3 => Just(None),
            1 => Just(Some(Reason::Status(500))),
            1 => Just(Some(Reason::Reset)),
            1 => Just(Some(Reason::Check("a".into()))),
        ]
    }

    fn step_interval(step: u16, requests: &[Request]) -> StepInterval {
        let mut interval = StepInterval { step, checks: vec![CheckCount::default(); 2], ..StepInterval::default() };
        for (response, service, failure) in requests {
            let (response, service) = (LatencyHistogram::from_us([*response]), LatencyHistogram::from_us([*service]));
            interval.bytes_sent += 10;
            match failure {
                None => {
                    interval.ok += 1;
                    interval.response_ok.merge(&response);
                    interval.service_ok.merge(&service);
                    interval.checks.iter_mut().for_each(|check| check.passed += 1);
                }
                Some(reason) => {
                    *interval.failures.entry(reason.clone()).or_default() += 1;
                    interval.messages.entry(reason.clone()).or_default().add(Some(&reason.to_string()));
                    if reason.has_answer() {
                        interval.response_failed.merge(&response);
                        interval.service_failed.merge(&service);
                    }
                    interval.checks.iter_mut().for_each(|check| check.failed += 1);
                }
            }
        }
        interval
    }

    /// What one thread saw in one second: requests of both steps, waits of dropped starts, VUs.
    type Second = ([Vec<Request>; 2], Vec<u64>, u64);

    fn seconds() -> impl Strategy<Value = Vec<Second>> {
        let request = (1_u64..5_000_000, 1_u64..5_000_000, reasons());
        let requests = prop::array::uniform2(prop::collection::vec(request, 0..6));
        prop::collection::vec((requests, prop::collection::vec(1_u64..5_000_000, 0..4), 0_u64..50), 1..12)
    }

    fn interval(second: u32, (requests, dropped, vus): &Second) -> Interval {
        let mut interval = Interval { second, shards: 1, generator_cpu: Some(0.25), ..Interval::default() };
        for (step, requests) in requests.iter().enumerate().filter(|(_, requests)| !requests.is_empty()) {
            interval.steps.insert(step as u16, step_interval(step as u16, requests));
        }
        let started: u64 = requests.iter().map(|requests| requests.len() as u64).sum();
        let dropped_wait = LatencyHistogram::from_us(dropped.iter().copied());
        let counts = Accounting {
            scheduled: started + dropped_wait.count(),
            started,
            completed: started,
            dropped: dropped_wait.count(),
            ..Accounting::default()
        };
        interval.scenarios.insert(0, ScenarioInterval { counts, vus: *vus, dropped_wait, ..ScenarioInterval::default() });
        interval
    }

    fn folded<'i>(intervals: impl IntoIterator<Item = &'i Interval>) -> Fold {
        let mut fold = Fold::default();
        intervals.into_iter().for_each(|interval| fold.interval(&catalog(), interval));
        fold
    }

    proptest! {
        #[test]
        fn the_summary_is_the_sum_of_the_seconds(seconds in seconds()) {
            let intervals: Vec<Interval> = seconds.iter().enumerate().map(|(second, what)| interval(second as u32, what)).collect();
            let summary = folded(&intervals).summary(&catalog(), 10.0);
            let all: Vec<(usize, &Request)> =
                seconds.iter().flat_map(|(steps, ..)| steps.iter().enumerate().flat_map(|(step, list)| list.iter().map(move |one| (step, one)))).collect();
            let answered = |request: &Request| request.2.as_ref().is_none_or(Reason::has_answer);
            let dropped: Vec<u64> = seconds.iter().flat_map(|(_, dropped, _)| dropped.iter().copied()).collect();
            let latency = |values: Vec<u64>| LatencySummary::of(&LatencyHistogram::from_us(values));
            for step in &summary.steps {
                let own: Vec<&Request> = all.iter().filter(|(index, _)| step.step == format!("step-{index}")).map(|(_, one)| *one).collect();
                prop_assert_eq!(step.requests as usize, own.len());
                prop_assert_eq!(step.failed as usize, own.iter().filter(|one| one.2.is_some()).count());
                prop_assert_eq!(step.reasons.values().sum::<u64>(), step.failed);
                prop_assert_eq!(step.told.iter().map(|one| one.count).sum::<u64>() + step.told_beyond, step.failed);
                let responses: Vec<u64> = own.iter().filter(|one| answered(one)).map(|one| one.0).collect();
                let services: Vec<u64> = own.iter().filter(|one| answered(one)).map(|one| one.1).collect();
                // What was dropped would have begun with the open scenario's only step.
                let waited = if step.scenario == "open" { dropped.as_slice() } else { &[] };
                let responses = responses.into_iter().chain(waited.iter().copied()).collect();
                prop_assert_eq!((step.response, step.service), (latency(responses), latency(services)));
                // Thresholds look at what users felt where starts come by the clock, at the wire where users wait for answers.
                prop_assert_eq!(step.duration, if step.scenario == "open" { step.response } else { step.service });
            }
            let total = &summary.total;
            prop_assert_eq!(total.requests as usize, all.len());
            prop_assert_eq!(total.bytes_sent as usize, all.len() * 10);
            prop_assert_eq!(total.checks.values().map(|check| check.passed + check.failed).sum::<u64>(), total.requests * 2);
            let felt = all.iter().filter(|(_, one)| answered(one)).map(|(_, one)| one.0).chain(dropped.iter().copied()).collect();
            prop_assert_eq!(total.response, latency(felt));
            let judged = all.iter().filter(|(_, one)| answered(one)).map(|(step, one)| if *step == 0 { one.0 } else { one.1 });
            prop_assert_eq!(total.duration, latency(judged.chain(dropped.iter().copied()).collect()));
            prop_assert_eq!(summary.scenarios[0].counts.breach(), None);
            prop_assert_eq!(summary.scenarios[0].censored as usize, dropped.len());
            prop_assert_eq!(summary.scenarios[0].vus_max, seconds.iter().map(|second| second.2).max().unwrap_or(0));
        }

        #[test]
        fn it_does_not_matter_how_seconds_were_spread_over_threads(seconds in seconds()) {
            // The same seconds, told by one thread each, and merged pairwise before they are folded.
            let intervals: Vec<Interval> = seconds.iter().enumerate().map(|(at, what)| interval(at as u32 / 2, what)).collect();
            let merged: Vec<Interval> = intervals.chunks(2).map(|pair| {
                let mut whole = Interval { second: pair[0].second, ..Interval::default() };
                for one in pair {
                    whole.merge(one);
                }
                whole
            }).collect();
            let (apart, together) = (folded(&intervals).summary(&catalog(), 5.0), folded(&merged).summary(&catalog(), 5.0));
            prop_assert_eq!((apart.total, apart.steps), (together.total, together.steps));
            prop_assert_eq!(apart.scenarios[0].counts, together.scenarios[0].counts);
        }
    }

    #[test]
    fn what_was_not_measured_is_absent() {
        let nothing = Fold::default().summary(&catalog(), 0.0);
        assert_eq!((nothing.total.duration, nothing.total.response, nothing.generator.cpu_cores), (None, None, None));
        assert!(nothing.steps.is_empty() && nothing.scenarios.is_empty() && nothing.series.is_empty());
        assert_eq!(nothing.total.per_second.to_bits(), 0.0_f64.to_bits());
    }

    #[test]
    fn the_recent_latency_forgets_after_five_seconds() {
        let second = |at: u32, us: u64| interval(at, &([vec![(us, us, None)], vec![]], vec![], 1));
        let fold = folded(&(0..6).map(|at| second(at, if at == 0 { 4_000_000 } else { 1_000 })).collect::<Vec<_>>());
        assert_eq!((fold.recent().count(), fold.recent().max()), (5, Some(Duration::from_millis(1))));
        // Nothing is sent while all VUs wait: the waits of dropped starts are what is felt now.
        let stalled = folded(&[interval(0, &([vec![], vec![]], vec![2_000_000], 1))]);
        assert_eq!((stalled.recent().count(), stalled.recent().max().map(|max| max.as_secs())), (1, Some(2)));
    }

    #[test]
    fn a_second_counts_as_late_when_a_thread_had_no_cpu_left_and_its_loop_was_behind() {
        let second = |at: u32, busiest: f64, lag: u64| {
            let thread = |cpu: f64, lag: u64| Interval {
                second: at,
                shards: 1,
                generator_cpu: Some(cpu),
                generator_busiest: Some(cpu),
                generator_stall: Duration::from_millis(lag),
                ..Interval::default()
            };
            // The other thread idles: together they are never at their limit.
            let mut both = thread(0.1, 1);
            both.merge(&thread(busiest, lag));
            both
        };
        let fold = folded(&[second(0, 0.5, 400), second(1, 0.96, 20), second(2, 0.99, 51), second(3, 0.94, 90), second(4, 1.2, 70)]);
        let generator = fold.summary(&catalog(), 5.0).generator;
        assert_eq!((generator.saturated_seconds, generator.late_seconds, generator.late_max_us), (3, 2, 70_000));
    }

    #[test]
    fn a_series_keeps_its_extremes_and_how_often_it_was_saturated() {
        let mut fold = Fold::default();
        let reading =
            |second: u32, points| Reading { target: "t".into(), probe: "p".into(), at: Timestamp(0), second: Some(second), points };
        for (second, value) in [0.2, 1.0, 0.99, 0.5].into_iter().enumerate() {
            fold.reading(&reading(second as u32, Ok(vec![Point::new("pool_utilization", value).with("pool", "main")])));
        }
        fold.reading(&reading(4, Err("first".into())));
        fold.reading(&reading(5, Err("refused".into())));
        let summary = fold.summary(&catalog(), 6.0);
        let series = &summary.series[0];
        assert_eq!((series.samples, series.saturated), (4, 2));
        assert_eq!([series.min, series.p95, series.max, series.last].map(f64::to_bits), [0.2, 1.0, 1.0, 0.5].map(f64::to_bits));
        assert_eq!(summary.probe_errors["p"], (2, "refused".to_owned()));
    }
}
