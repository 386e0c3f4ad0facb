//! What is written: made up, latencies from a log-normal distribution, the same minute again and again, so that making it is not measured.

use std::collections::BTreeMap;
use std::time::Duration;

use plimsoll::engine::summary::Fold;
use plimsoll::model::catalog::{Catalog, ScenarioMeta, StepMeta};
use plimsoll::model::histogram::LatencyHistogram;
use plimsoll::model::measure::{Accounting, Interval, ScenarioInterval, StepInterval};
use plimsoll::model::run::{Run, RunId, RunStatus, Trigger, Verdict};
use plimsoll::model::series::{Point, Reading};
use plimsoll::model::units::Timestamp;
use plimsoll::store::{SeriesBatch, Store};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Series of a probe's reading: of a pool and of a process.
const METRICS: [&str; 8] = [
    "pool_utilization",
    "pool_in_use",
    "pool_idle",
    "pool_waiting",
    "process_memory",
    "process_cpu",
    "process_threads",
    "process_open_files",
];

/// A run that can be written, a minute of it made.
pub(crate) struct Made {
    pub(crate) run: Run,
    seconds: u32,
    minute: Vec<Interval>,
}

impl Made {
    /// A run of so many steps with so many requests a second each.
    pub(crate) fn new(profile: &str, started_at: Timestamp, seconds: u32, steps: u16, per_second: f64) -> Self {
        let mut random = StdRng::seed_from_u64(1);
        let minute = (0..60).map(|at| second(at, steps, per_second, &mut random)).collect();
        let run = Run {
            id: RunId::new(started_at, profile, 4_711),
            profile: profile.into(),
            target: profile.into(),
            trigger: Trigger { by: "schedule".into(), name: Some("nightly".into()) },
            digest: "sha256:1f".into(),
            target_version: None,
            started_at,
            ended_at: None,
            status: RunStatus::Running,
            ended_by: None,
            verdict: None,
            reasons: Vec::new(),
            catalog: catalog(steps),
            summary: None,
            thresholds: Vec::new(),
            controls: Vec::new(),
        };
        Self { run, seconds, minute }
    }

    /// The run when it has ended. Its summary is of a minute: as large as that of a longer one.
    pub(crate) fn ended(&self) -> Run {
        let mut fold = Fold::default();
        for (second, interval) in self.minute.iter().enumerate() {
            fold.interval(&self.run.catalog, interval);
            fold.reading(&reading(&self.run.target, self.run.started_at, Some(second as u32)));
        }
        let summary = Some(fold.summary(&self.run.catalog, f64::from(self.seconds)));
        let ended_at = Some(self.run.started_at.plus(Duration::from_secs(self.seconds.into())));
        Run { status: RunStatus::Finished, verdict: Some(Verdict::Pass), ended_at, summary, ..self.run.clone() }
    }

    /// Writes it second by second, each a transaction, with a reading each; its end is left open.
    pub(crate) async fn write(&self, store: &dyn Store) {
        store.start_run(&self.run).await.unwrap();
        for second in 0..self.seconds {
            let interval = Interval { second, ..self.minute[second as usize % self.minute.len()].clone() };
            let at = self.run.started_at.plus(Duration::from_secs(second.into()));
            let readings = vec![(Some(self.run.id.clone()), reading(&self.run.target, at, Some(second)))];
            store.append(&SeriesBatch { intervals: vec![(self.run.id.clone(), interval)], readings }).await.unwrap();
        }
    }

    /// Requests of all its seconds.
    pub(crate) fn requests(&self) -> u64 {
        let of = |second: u32| self.minute[second as usize % self.minute.len()].steps.values().map(StepInterval::requests).sum::<u64>();
        (0..self.seconds).map(of).sum()
    }
}

/// A reading of a target, with or without a run's second.
pub(crate) fn reading(target: &str, at: Timestamp, second: Option<u32>) -> Reading {
    let number = (at.0 / 1_000_000 % 97) as f64;
    let points = METRICS.iter().enumerate().map(|(index, metric)| Point::new(metric, number * (index as f64 + 0.37))).collect();
    Reading { target: target.into(), probe: "app".into(), at, second, points: Ok(points) }
}

fn catalog(steps: u16) -> Catalog {
    let scenario = ScenarioMeta {
        name: "users".into(),
        executor: "constant-vus".into(),
        open: false,
        tags: BTreeMap::new(),
        phases: Vec::new(),
        start: Duration::ZERO,
        duration: Duration::from_secs(60),
    };
    let step = |index| StepMeta {
        scenario: 0,
        name: format!("step-{index}"),
        protocol: "http".into(),
        title: format!("GET /api/v1/step-{index}"),
        checks: Vec::new(),
    };
    Catalog { scenarios: vec![scenario], steps: (0..steps).map(step).collect(), groups: Vec::new(), seed: None }
}

/// A latency around 20 ms with a long tail, in microseconds.
fn latency(random: &mut StdRng) -> u64 {
    let normal = (0..12).map(|_| random.random::<f64>()).sum::<f64>() - 6.0;
    (20_000.0 * (normal * 0.5).exp()) as u64
}

fn second(second: u32, steps: u16, per_second: f64, random: &mut StdRng) -> Interval {
    // Less than one a second is one in some seconds.
    let requests = ((f64::from(second) + 1.0) * per_second).floor() - (f64::from(second) * per_second).floor();
    let mut step = |index| {
        let service: Vec<u64> = (0..requests as u64).map(|_| latency(random)).collect();
        // In closed scenarios both times are one (docs/methods.md); of the service time sending and reading take tens of microseconds.
        let all = LatencyHistogram::from_us(service.iter().copied());
        let waiting = LatencyHistogram::from_us(service.iter().map(|us| us - random.random_range(15..60_u64)));
        StepInterval {
            step: index,
            ok: requests as u64,
            response_ok: all.clone(),
            service_ok: all,
            waiting,
            bytes_sent: 20_000,
            bytes_received: 400_000,
            ..StepInterval::default()
        }
    };
    let used = if requests > 0.0 { steps } else { 0 };
    let steps = (0..used).map(&mut step).map(|step| (step.step, step)).collect();
    let counts = Accounting { scheduled: 100, started: 100, completed: 100, ..Accounting::default() };
    let iterations = LatencyHistogram::from_us((0..20).map(|_| latency(random) * 10));
    let scenario = ScenarioInterval { counts, vus: 50, vus_busy: 40, iteration_duration: iterations, ..ScenarioInterval::default() };
    Interval { second, steps, scenarios: [(0, scenario)].into(), shards: 1, generator_cpu: Some(0.4), ..Interval::default() }
}
