//! A demo target in a process of its own whose runs are counted faster than they pass: each second asks it for real, at once, as often as
//! the run has load; its page is read for real. Response times are drawn around what the target is told to take (and it is checked
//! that it takes no less): how fast the machine is while the tests run is no trend of the target.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that failed")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use plimsoll::app::{KINDS, http_client};
use plimsoll::clock::SystemClock;
use plimsoll::config;
use plimsoll::engine::findings::Observed;
use plimsoll::model::catalog::{Catalog, PhaseWindow, ScenarioMeta, StepMeta};
use plimsoll::model::failure::Reason;
use plimsoll::model::histogram::LatencyHistogram;
use plimsoll::model::measure::{Accounting, Interval, ScenarioInterval, StepInterval};
use plimsoll::model::run::{EndedBy, Run, RunId, RunStatus, Trigger, Verdict};
use plimsoll::model::series::Reading;
use plimsoll::model::units::Timestamp;
use plimsoll::probe::{Probe, ProbeParts};
use plimsoll::store::SeriesBatch;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::time::Instant;

use crate::servers::daemon::plimsoll;
use crate::servers::http::try_ask;
use crate::servers::{Child, free_port, temp_dir, wait_for_port};

/// Seconds between two readings: as far apart as the bins of the analysis.
const READ_EVERY: u32 = 5;

/// The demo target, and a probe that reads its page.
pub(super) struct Target {
    _child: Child,
    _folder: tempfile::TempDir,
    address: SocketAddr,
    probe: Box<dyn Probe>,
    /// How long it holds a connection, and how much longer it was told to.
    hold: Duration,
    slow: Duration,
}

impl Target {
    pub(super) async fn start(pool: u32, hold: Duration) -> Self {
        let (folder, port) = (temp_dir(), free_port());
        let (pool, port_text, hold_ms) = (pool.to_string(), port.to_string(), hold.as_millis().to_string());
        let mut command = plimsoll(&["demo-target", "--port", &port_text, "--pool", &pool, "--hold-ms", &hold_ms]);
        let child = Child::spawn("demo-target", folder.path(), &mut command);
        wait_for_port("the demo target", port).await;
        let config = folder.path().join("plimsoll.yaml");
        let text = format!(
            "storage: {{ url: 'sqlite::memory:' }}\ntargets:\n  shop:\n    base_url: http://127.0.0.1:{port}\n    probes:\n      \
             app: {{ type: prometheus, url: 'http://127.0.0.1:{port}/metrics', pools: [{{ preset: go-sql }}] }}\n"
        );
        std::fs::write(&config, text).unwrap();
        let setup = config::load(&config, &KINDS).unwrap_or_else(|report| panic!("{report}"));
        let parts = ProbeParts { http: http_client().unwrap(), clock: Arc::new(SystemClock) };
        let probe = setup.targets["shop"].probes[0].settings.open(&parts);
        Self { _child: child, _folder: folder, address: ([127, 0, 0, 1], port).into(), probe, hold, slow: Duration::ZERO }
    }

    /// Switches a fault on, such as `{"memory_leak_bytes": 1000}`.
    pub(super) async fn fault(&mut self, change: &serde_json::Value) {
        let json = "Content-Type: application/json\r\n";
        let answer = try_ask(self.address, "POST", "/faults", json, &change.to_string()).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        if let Some(slow) = change["slow_ms"].as_u64() {
            self.slow = Duration::from_millis(slow);
        }
    }

    /// So many requests at once: how many were answered with 200, and with 503.
    async fn ask(&self, requests: u32) -> (u64, u64) {
        let began = Instant::now();
        let asked = (0..requests).map(|_| try_ask(self.address, "GET", "/api/v1/wallet/balance", "", ""));
        let answers: Vec<u16> = join_all(asked).await.into_iter().map(|answer| answer.unwrap().status).collect();
        let of = |status: u16| answers.iter().filter(|answer| **answer == status).count() as u64;
        assert_eq!(of(200) + of(503), u64::from(requests), "{answers:?}");
        assert!(of(200) == 0 || began.elapsed() >= self.hold + self.slow, "the target is not as slow as it was told to be");
        (of(200), of(503))
    }
}

/// A stretch of the profile: name, seconds, requests a second, and whether the load changes in it.
pub(super) type Phase = (&'static str, u32, u32, bool);

/// A run that is going on.
pub(super) struct Watched {
    pub(super) run: Run,
    pub(super) observed: Observed,
    pub(super) batch: SeriesBatch,
    dice: SmallRng,
    phases: Vec<Phase>,
    second: u32,
    /// How much slower than usual this run is, as a share: the scatter between runs.
    pub(super) level: f64,
}

impl Watched {
    /// A run of these phases that began at `at`; `seed` is that of its response times.
    pub(super) fn new(id: &str, phases: &[Phase], at: Timestamp, seed: u64) -> Self {
        let mut from = 0;
        let windows = phases.iter().map(|(name, seconds, _, ramp)| {
            let (start, end) = (from, from + seconds);
            from = end;
            let seconds = |seconds: u32| Duration::from_secs(seconds.into());
            PhaseWindow { name: (*name).into(), start: seconds(start), end: seconds(end), ramp: *ramp }
        });
        let phases_of = windows.collect();
        let scenario = ScenarioMeta {
            name: "users".into(),
            executor: "ramping-arrival-rate".into(),
            open: true,
            tags: BTreeMap::new(),
            phases: phases_of,
            start: Duration::ZERO,
            duration: Duration::from_secs(from.into()),
        };
        let step = StepMeta { scenario: 0, name: "balance".into(), protocol: "http".into(), title: String::new(), checks: Vec::new() };
        let run = Run {
            id: RunId(id.into()),
            profile: "night".into(),
            target: "shop".into(),
            trigger: Trigger { by: "schedule".into(), name: Some("nightly".into()) },
            digest: "d".into(),
            target_version: None,
            started_at: at,
            ended_at: None,
            status: RunStatus::Running,
            ended_by: None,
            verdict: None,
            reasons: Vec::new(),
            catalog: Catalog { scenarios: vec![scenario], steps: vec![step], groups: Vec::new(), seed: None },
            summary: None,
            thresholds: Vec::new(),
            controls: Vec::new(),
        };
        let (observed, batch, dice) = (Observed::default(), SeriesBatch::default(), SmallRng::seed_from_u64(seed));
        Self { run, observed, batch, dice, phases: phases.to_vec(), second: 0, level: 1.0 }
    }

    /// Goes through the next phase; false when there is none.
    pub(super) async fn phase(&mut self, target: &mut Target) -> bool {
        let mut before = 0;
        let next = self.phases.iter().find(|(_, seconds, ..)| {
            before += seconds;
            before > self.second
        });
        let Some((_, _, requests, _)) = next.copied() else { return false };
        while self.second < before {
            self.one_second(target, requests).await;
        }
        true
    }

    async fn one_second(&mut self, target: &mut Target, requests: u32) {
        let (ok, failed) = target.ask(requests).await;
        let told = (target.hold + target.slow).as_secs_f64() * 1e6 * self.level;
        // A tail as response times have one.
        let took = (0..ok).map(|_| (told * (1.0 + 0.04 * -(1.0 - self.dice.random::<f64>()).ln())) as u64);
        let step = StepInterval {
            ok,
            failures: if failed > 0 { [(Reason::Status(503), failed)].into() } else { BTreeMap::new() },
            response_ok: LatencyHistogram::from_us(took),
            ..StepInterval::default()
        };
        let all = ok + failed;
        let counts = Accounting { scheduled: all, started: all, completed: all, ..Accounting::default() };
        let scenario = ScenarioInterval { counts, vus: requests.into(), ..ScenarioInterval::default() };
        let second = self.second;
        let interval = Interval { second, steps: [(0, step)].into(), scenarios: [(0, scenario)].into(), shards: 1, ..Interval::default() };
        self.observed.interval(&self.run.catalog, &[], &interval);
        self.batch.intervals.push((self.run.id.clone(), interval));
        if second.is_multiple_of(READ_EVERY) {
            let points = target.probe.read().await.map_err(|error| error.to_string());
            let at = self.run.started_at.plus(Duration::from_secs(second.into()));
            let reading = Reading { target: "shop".into(), probe: "app".into(), at, second: Some(second), points };
            self.observed.reading(&reading);
            self.batch.readings.push((Some(self.run.id.clone()), reading));
        }
        self.second += 1;
    }

    /// The run has ended.
    pub(super) fn end(&mut self) {
        self.run.status = RunStatus::Finished;
        self.run.ended_by = Some(EndedBy::Completed);
        self.run.ended_at = Some(self.run.started_at.plus(Duration::from_secs(self.second.into())));
        self.run.verdict = Some(Verdict::Pass);
    }

    /// Seconds so far.
    pub(super) fn seconds(&self) -> u32 {
        self.second
    }
}
