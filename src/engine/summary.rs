//! Folds a run's intervals and readings into its summary, second by second, so that memory does not grow with requests. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::model::Labels;
use crate::model::catalog::Catalog;
use crate::model::histogram::LatencyHistogram;
use crate::model::measure::{Accounting, Interval, ScenarioInterval, StepInterval};
use crate::model::run::{GeneratorSummary, LatencySummary, ScenarioSummary, SeriesSummary, StepSummary, Summary};
use crate::model::series::Reading;

/// A utilization at or above this counts as saturated.
const SATURATED: f64 = 0.99;

/// The fold of one run.
#[derive(Debug, Default)]
pub struct Fold {
    steps: BTreeMap<u16, StepInterval>,
    scenarios: BTreeMap<u16, ScenarioInterval>,
    vus_max: BTreeMap<u16, u64>,
    /// Values of each probe series, in order.
    series: BTreeMap<(String, String, Labels), Vec<f64>>,
    probe_errors: BTreeMap<String, (u64, String)>,
    stall: Duration,
    cpu: Option<f64>,
    seconds: u32,
    threads: u32,
    recent: VecDeque<LatencyHistogram>,
    /// Intervals that could not be stored.
    pub intervals_lost: u64,
}

impl Fold {
    /// Adds one second.
    pub fn interval(&mut self, catalog: &Catalog, interval: &Interval) {
        let mut whole =
            Interval { steps: std::mem::take(&mut self.steps), scenarios: std::mem::take(&mut self.scenarios), ..Interval::default() };
        whole.merge(interval);
        (self.steps, self.scenarios) = (whole.steps, whole.scenarios);
        for (index, scenario) in &interval.scenarios {
            let most = self.vus_max.entry(*index).or_default();
            *most = (*most).max(scenario.vus);
        }
        self.stall = self.stall.max(interval.generator_stall);
        self.cpu = match (self.cpu, interval.generator_cpu) {
            (Some(sum), Some(more)) => Some(sum + more),
            (one, other) => one.or(other),
        };
        self.seconds = self.seconds.max(interval.second + 1);
        self.threads = self.threads.max(interval.shards);
        let mut now = LatencyHistogram::default();
        for step in interval.steps.values() {
            now.merge(&duration_of(step, is_open(catalog, step.step)));
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

    /// Requests and failures so far.
    pub fn requests(&self) -> (u64, u64) {
        self.steps.values().fold((0, 0), |(requests, failed), step| (requests + step.requests(), failed + step.failed()))
    }

    /// The summary of what was added; `seconds` is the length of the run.
    pub fn summary(&self, catalog: &Catalog, seconds: f64) -> Summary {
        let steps = self.steps.values().map(|step| step_summary(catalog, step, seconds)).collect();
        Summary {
            seconds,
            total: self.total(catalog, seconds),
            steps,
            scenarios: self.scenarios.values().map(|scenario| self.scenario(catalog, scenario)).collect(),
            series: self.series.iter().map(|((probe, metric, labels), values)| series_summary(probe, metric, labels, values)).collect(),
            probe_errors: self.probe_errors.clone(),
            generator: GeneratorSummary {
                stall_max_us: self.stall.as_micros() as u64,
                cpu_cores: self.cpu.map(|cpu| cpu / seconds.max(1e-9)),
                threads: self.threads,
            },
            intervals_lost: self.intervals_lost,
        }
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
        StepSummary { checks, ..figures(&all, &duration, seconds) }
    }

    fn scenario(&self, catalog: &Catalog, scenario: &ScenarioInterval) -> ScenarioSummary {
        ScenarioSummary {
            scenario: catalog.scenarios.get(usize::from(scenario.scenario)).map(|meta| meta.name.clone()).unwrap_or_default(),
            counts: scenario.counts,
            with_failed_check: scenario.with_failed_check,
            censored: scenario.dropped_wait.count(),
            vus_max: self.vus_max.get(&scenario.scenario).copied().unwrap_or(0),
            iteration_duration: LatencySummary::of(&scenario.iteration_duration),
            start_lag: LatencySummary::of(&scenario.start_lag),
        }
    }
}

/// Figures of one step with its names.
fn step_summary(catalog: &Catalog, step: &StepInterval, seconds: f64) -> StepSummary {
    let meta = catalog.steps.get(usize::from(step.step));
    let scenario = meta.and_then(|meta| catalog.scenarios.get(usize::from(meta.scenario)));
    let mut summary = figures(step, &duration_of(step, is_open(catalog, step.step)), seconds);
    summary.scenario = scenario.map(|scenario| scenario.name.clone()).unwrap_or_default();
    summary.step = meta.map(|meta| meta.name.clone()).unwrap_or_default();
    summary.checks = meta.map(|meta| meta.checks.iter().cloned().zip(step.checks.iter().copied()).collect()).unwrap_or_default();
    summary
}

fn is_open(catalog: &Catalog, step: u16) -> bool {
    let scenario = catalog.steps.get(usize::from(step)).map(|meta| usize::from(meta.scenario));
    scenario.and_then(|scenario| catalog.scenarios.get(scenario)).is_some_and(|scenario| scenario.open)
}

/// `http_req_duration`: response time in open scenarios, service time in closed ones; answered requests.
fn duration_of(step: &StepInterval, open: bool) -> LatencyHistogram {
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
        messages: step.messages.clone(),
        duration: LatencySummary::of(duration),
        response: both(&step.response_ok, &step.response_failed),
        service: both(&step.service_ok, &step.service_failed),
        waiting: LatencySummary::of(&step.waiting),
        checks: BTreeMap::new(),
        bytes_sent: step.bytes_sent,
        bytes_received: step.bytes_received,
        connections: step.connections,
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
