//! Made-up runs, written into a real store second by second as the engine would.

use std::time::Duration;

use plimsoll::model::Labels;
use plimsoll::model::catalog::{Catalog, PhaseWindow, ScenarioMeta, StepMeta};
use plimsoll::model::failure::Reason;
use plimsoll::model::histogram::LatencyHistogram;
use plimsoll::model::measure::{Accounting, Interval, ScenarioInterval, StepInterval};
use plimsoll::model::run::{EndedBy, Run, RunId, RunStatus, Summary, Trigger, Verdict};
use plimsoll::model::series::{Point, Reading};
use plimsoll::model::units::Timestamp;
use plimsoll::store::{SeriesBatch, Store};

pub(crate) const SECONDS: u32 = 60;
pub(crate) const DAY_US: i64 = 86_400_000_000;
/// 2026-10-01T02:00:00Z
const FIRST: i64 = 1_790_820_000_000_000;

/// A night of the profile `soak` on the target `shop`.
#[derive(Debug, Clone)]
pub(crate) struct Night {
    pub(crate) day: i64,
    /// Median latency in microseconds; in the phase `warm` times `warm`.
    pub(crate) level: f64,
    pub(crate) warm: f64,
    pub(crate) rate: u64,
    pub(crate) failed: u64,
    pub(crate) version: &'static str,
    pub(crate) digest: &'static str,
    pub(crate) target: &'static str,
    pub(crate) verdict: Verdict,
    pub(crate) ended_by: EndedBy,
    pub(crate) profile: &'static str,
}

impl Default for Night {
    fn default() -> Self {
        Self {
            day: 0,
            level: 20_000.0,
            warm: 1.0,
            rate: 30,
            failed: 0,
            version: "1.4.2",
            digest: "d1",
            target: "shop",
            verdict: Verdict::Pass,
            ended_by: EndedBy::Completed,
            profile: "soak",
        }
    }
}

pub(crate) fn start_of(day: i64) -> Timestamp {
    Timestamp(FIRST + day * DAY_US)
}

/// Noise between nights, as a share: twelve values that repeat.
pub(crate) fn noise(day: i64) -> f64 {
    [0.0, 0.011, -0.008, 0.004, -0.013, 0.009, -0.003, 0.014, -0.010, 0.002, 0.007, -0.006][day.rem_euclid(12) as usize]
}

impl Night {
    pub(crate) fn id(&self) -> RunId {
        RunId(format!("{}-{}-{:04}", start_of(self.day).to_utc().format("%Y%m%d-%H%M%S"), self.profile, self.day))
    }

    pub(crate) fn run(&self) -> Run {
        let window = |name: &str, from: u32, to: u32| PhaseWindow {
            name: name.into(),
            start: Duration::from_secs(from.into()),
            end: Duration::from_secs(to.into()),
            ramp: false,
        };
        let scenario = ScenarioMeta {
            name: "users".into(),
            executor: "constant-vus".into(),
            open: false,
            tags: std::collections::BTreeMap::new(),
            phases: vec![window("cold", 0, SECONDS / 2), window("warm", SECONDS / 2, SECONDS)],
            start: Duration::ZERO,
            duration: Duration::from_secs(SECONDS.into()),
        };
        let step = |name: &str| StepMeta { scenario: 0, name: name.into(), protocol: "http".into(), title: name.into(), checks: vec![] };
        let started_at = start_of(self.day);
        Run {
            id: self.id(),
            profile: self.profile.into(),
            target: self.target.into(),
            trigger: Trigger { by: "schedule".into(), name: Some("nightly".into()) },
            digest: self.digest.into(),
            target_version: Some(self.version.into()),
            started_at,
            ended_at: Some(started_at.plus(Duration::from_secs(SECONDS.into()))),
            status: RunStatus::Finished,
            ended_by: Some(self.ended_by),
            verdict: Some(self.verdict),
            reasons: vec![],
            catalog: Catalog { scenarios: vec![scenario], steps: vec![step("browse"), step("pay")], groups: vec![], seed: None },
            summary: Some(Summary { seconds: f64::from(SECONDS), ..Summary::default() }),
            thresholds: vec![],
            controls: vec![],
        }
    }

    /// The same latencies each night, around its level: what differs between nights is what the night says.
    fn second(&self, second: u32) -> Interval {
        let level = self.level * if second < SECONDS / 2 { 1.0 } else { self.warm };
        let latencies = |of: u64| {
            let shape = |at: u64| 0.6 + 1.2 * (at * 7 + u64::from(second) * 3 % 29 % of.max(1)) as f64 % of as f64 / of.max(1) as f64;
            LatencyHistogram::from_us((0..of).map(|at| (level * shape(at)) as u64))
        };
        let step = |step: u16, failed: u64| StepInterval {
            step,
            ok: self.rate - failed,
            failures: if failed > 0 { [(Reason::Status(503), failed)].into() } else { [].into() },
            service_ok: latencies(self.rate - failed),
            ..StepInterval::default()
        };
        let counts = Accounting { scheduled: self.rate, started: self.rate, completed: self.rate, ..Accounting::default() };
        Interval {
            second,
            shards: 1,
            steps: [(0, step(0, 0)), (1, step(1, self.failed))].into(),
            scenarios: [(0, ScenarioInterval { counts, vus: 10, ..ScenarioInterval::default() })].into(),
            ..Interval::default()
        }
    }

    /// Writes the run with all its seconds and readings.
    pub(crate) async fn write(&self, store: &dyn Store) -> Run {
        self.write_as(store, self.run()).await
    }

    /// The same, with another row of the run.
    pub(crate) async fn write_as(&self, store: &dyn Store, run: Run) -> Run {
        store.start_run(&run).await.unwrap();
        let batch = SeriesBatch {
            intervals: (0..SECONDS).map(|second| (run.id.clone(), self.second(second))).collect(),
            readings: (0..SECONDS).step_by(5).map(|second| (Some(run.id.clone()), self.reading(second))).collect(),
        };
        store.append(&batch).await.unwrap();
        run
    }

    fn reading(&self, second: u32) -> Reading {
        let labels: Labels = [("pool".to_owned(), "main".to_owned())].into();
        let points = vec![
            Point { metric: "pool_in_use".into(), labels, value: 6.0 + f64::from(second % 2) },
            Point::new("process_memory", 200.0 * 1_048_576.0),
        ];
        let at = start_of(self.day).plus(Duration::from_secs(second.into()));
        Reading { target: self.target.into(), probe: "app".into(), at, second: Some(second), points: Ok(points) }
    }
}
