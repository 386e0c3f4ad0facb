//! Leaks of a real target, found by the code that a run goes through: the demo target in a process of its own, asked and read for real, the
//! seconds counted faster than they pass. With the fault on it is found, and when the end comes is known; with it off nobody is alarmed.
//! Response times alone are drawn: what else the machine does while the tests run is no trend of the target. And a stored run is analysed again: by the program, over HTTP, and what an older version said is gone.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that failed")]

use std::collections::BTreeMap;
use std::time::Duration;

use plimsoll::app::{KINDS, http_client};
use plimsoll::clock::SystemClock;
use plimsoll::config;
use plimsoll::engine::findings::{Asked, Looked, Observed};
use plimsoll::model::alerting::Severity;
use plimsoll::model::analysed::{Resource, Sureness, TrendFound, TrendVerdict};
use plimsoll::model::catalog::{Catalog, PhaseWindow, ScenarioMeta, StepMeta};
use plimsoll::model::failure::Reason;
use plimsoll::model::finding::Finding;
use plimsoll::model::histogram::LatencyHistogram;
use plimsoll::model::measure::{Accounting, Interval, ScenarioInterval, StepInterval};
use plimsoll::model::run::{EndedBy, Run, RunId, RunStatus, Summary, Trigger, Verdict};
use plimsoll::model::series::{Point, Reading};
use plimsoll::model::threshold::parse_series;
use plimsoll::model::units::Timestamp;
use plimsoll::probe::{Probe, ProbeParts};
use plimsoll::store::SeriesBatch;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::servers::bed::{Bed, errors, finish, printed, with_token};
use crate::servers::daemon::plimsoll;
use crate::servers::http::try_ask;
use crate::servers::{Child, free_port, temp_dir, wait_for_port};

/// Seconds between two readings: as far apart as the bins of the analysis.
const READ_EVERY: u32 = 5;

/// A run under constant load from its first second on.
fn run(id: &str, seconds: u32) -> Run {
    let length = Duration::from_secs(seconds.into());
    let phase = PhaseWindow { name: "main".into(), start: Duration::ZERO, end: length, ramp: false };
    let scenario = ScenarioMeta {
        name: "users".into(),
        executor: "constant-arrival-rate".into(),
        open: true,
        tags: std::collections::BTreeMap::new(),
        phases: vec![phase],
        start: Duration::ZERO,
        duration: length,
    };
    let step = StepMeta { scenario: 0, name: "balance".into(), protocol: "http".into(), title: String::new(), checks: Vec::new() };
    Run {
        id: RunId(id.into()),
        profile: "soak".into(),
        target: "shop".into(),
        trigger: Trigger { by: "cli".into(), name: None },
        digest: "d".into(),
        target_version: None,
        started_at: Timestamp(1_700_000_000_000_000),
        ended_at: None,
        status: RunStatus::Running,
        ended_by: None,
        verdict: None,
        reasons: Vec::new(),
        catalog: Catalog { scenarios: vec![scenario], steps: vec![step], groups: Vec::new(), seed: None },
        summary: None,
        thresholds: Vec::new(),
        controls: Vec::new(),
    }
}

/// One second: how long each request took in microseconds, and how many failed besides.
fn interval(second: u32, took_us: Vec<u64>, failed: u64) -> Interval {
    let requests = took_us.len() as u64 + failed;
    let step = StepInterval {
        ok: took_us.len() as u64,
        failures: if failed > 0 { [(Reason::Status(503), failed)].into() } else { BTreeMap::new() },
        response_ok: LatencyHistogram::from_us(took_us),
        ..StepInterval::default()
    };
    let counts = Accounting { scheduled: requests, started: requests, completed: requests, ..Accounting::default() };
    let scenario = ScenarioInterval { counts, vus: 1, ..ScenarioInterval::default() };
    Interval { second, steps: [(0, step)].into(), scenarios: [(0, scenario)].into(), shards: 1, ..Interval::default() }
}

/// The demo target as a process of its own, and a probe that reads its page.
struct Target {
    _child: Child,
    _folder: tempfile::TempDir,
    address: std::net::SocketAddr,
    probe: Box<dyn Probe>,
    drawn: SmallRng,
}

impl Target {
    async fn start(pool: u32) -> Self {
        let (folder, port) = (temp_dir(), free_port());
        let (pool, port_text) = (pool.to_string(), port.to_string());
        let mut command = plimsoll(&["demo-target", "--port", &port_text, "--pool", &pool, "--hold-ms", "0"]);
        let child = Child::spawn("demo-target", folder.path(), &mut command);
        wait_for_port("the demo target", port).await;
        let config = folder.path().join("plimsoll.yaml");
        let text = format!(
            "storage: {{ url: 'sqlite::memory:' }}\ntargets:\n  shop:\n    base_url: http://127.0.0.1:{port}\n    probes:\n      \
             app: {{ type: prometheus, url: 'http://127.0.0.1:{port}/metrics', pools: [{{ preset: go-sql }}] }}\n"
        );
        std::fs::write(&config, text).unwrap();
        let setup = config::load(&config, &KINDS).unwrap_or_else(|report| panic!("{report}"));
        let parts = ProbeParts { http: http_client().unwrap(), clock: std::sync::Arc::new(SystemClock) };
        let probe = setup.targets["shop"].probes[0].settings.open(&parts);
        Self { _child: child, _folder: folder, address: ([127, 0, 0, 1], port).into(), probe, drawn: SmallRng::seed_from_u64(7) }
    }

    /// Switches faults, or all off.
    async fn faults(&self, change: Option<&str>) {
        let method = if change.is_some() { "POST" } else { "DELETE" };
        let answer = try_ask(self.address, method, "/faults", "Content-Type: application/json\r\n", change.unwrap_or("")).await.unwrap();
        assert!(answer.status < 300, "{answer:?}");
    }

    /// One second of the run: so many requests, and a reading when it is time for one. Returns how many failed.
    async fn second(&mut self, observed: &mut Observed, run: &Run, second: u32, requests: u32) -> u64 {
        let (mut took, mut failed) = (Vec::new(), 0);
        for _ in 0..requests {
            let answer = try_ask(self.address, "GET", "/api/v1/wallet/balance", "", "").await.unwrap();
            match answer.status {
                // 20 ms, and up to 10 ms more in no order.
                200 => took.push(self.drawn.random_range(20_000..30_000)),
                503 => failed += 1,
                status => panic!("{status}: {answer:?}"),
            }
        }
        observed.interval(&run.catalog, &[], &interval(second, took, failed));
        if second.is_multiple_of(READ_EVERY) {
            let points = self.probe.read().await.map_err(|error| error.to_string());
            let (target, probe) = ("shop".into(), "app".into());
            observed.reading(&Reading { target, probe, at: run.started_at, second: Some(second), points });
        }
        failed
    }

    /// What the page shows of one metric.
    async fn shows(&mut self, metric: &str) -> f64 {
        let points = self.probe.read().await.unwrap();
        points.iter().find(|point| point.metric == metric).unwrap_or_else(|| panic!("{metric} in {points:?}")).value
    }
}

fn of(looked: &Looked, resource: Resource) -> &TrendFound {
    looked.analysed.trends.iter().find(|trend| trend.resource == resource).unwrap_or_else(|| panic!("{resource}: {looked:#?}"))
}

fn off_by(told: f64, truth: f64) -> f64 {
    (told / truth - 1.0).abs()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_memory_leak_is_found_and_its_end_is_known() {
    const REQUESTS: u32 = 3;
    const LEAKS: f64 = 100_000.0;
    const LIMIT: f64 = 1_073_741_824.0;
    let mut target = Target::start(20).await;
    let (run, mut observed) = (run("leaking", 600), Observed::default());
    target.faults(Some("{\"memory_leak_bytes\": 100000}")).await;
    for second in 0..600 {
        assert_eq!(target.second(&mut observed, &run, second, REQUESTS).await, 0);
    }
    let asked = Asked::of_bounds(vec![(parse_series("process_memory: max < 1GiB").unwrap(), Severity::High)]);
    let looked = observed.look(&run, &asked, Timestamp(0));
    let memory = of(&looked, Resource::Memory);
    assert_eq!(memory.verdict, TrendVerdict::Leak, "{memory:#?}");
    assert!(memory.sureness >= Some(Sureness::Likely), "{memory:#?}");
    let per_hour = f64::from(REQUESTS) * LEAKS * 3600.0;
    assert!(off_by(memory.per_hour.unwrap().value, per_hour) < 0.2, "{memory:#?}");
    let truth = (LIMIT - target.shows("process_memory").await) / per_hour * 3600.0;
    let told = memory.exhausted_in_s.unwrap();
    assert!(off_by(told.value, truth) < 0.2, "{truth} s are left: {memory:#?}");
    assert!(told.low <= truth && told.high.is_none_or(|high| high >= truth), "{truth} s are left: {memory:#?}");
    // Nothing else leaks.
    for resource in [Resource::Connections, Resource::Descriptors, Resource::Threads, Resource::P95, Resource::Errors] {
        assert_ne!(of(&looked, resource).verdict, TrendVerdict::Leak, "{looked:#?}");
    }
    assert_eq!((looked.findings[0].kind.as_str(), looked.findings[0].severity), ("leak", Severity::High));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaked_connections_are_found_and_the_pool_is_full_when_it_was_said() {
    let mut target = Target::start(60).await;
    let (run, mut observed) = (run("leaking", 900), Observed::default());
    // One in thirty seconds.
    target.faults(Some("{\"connection_leak_every\": 60}")).await;
    for second in 0..900 {
        assert_eq!(target.second(&mut observed, &run, second, 2).await, 0);
    }
    let looked = observed.look(&run, &Asked::default(), Timestamp(0));
    let connections = of(&looked, Resource::Connections);
    assert_eq!((connections.verdict, connections.limit), (TrendVerdict::Leak, Some(60.0)), "{connections:#?}");
    let told = connections.exhausted_in_s.unwrap();
    // And now it goes on until the pool is full and the first request is refused.
    let mut after = observed.clone();
    let mut full = 900;
    while target.second(&mut after, &run, full, 2).await == 0 {
        full += 1;
        assert!(full < 4_000, "the pool never fills");
    }
    let truth = f64::from(full) - 900.0;
    assert!(off_by(told.value, truth) < 0.2, "it was full after {truth} s: {connections:#?}");
    assert!(told.low <= truth && told.high.is_none_or(|high| high >= truth), "it was full after {truth} s: {connections:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_soaks_of_a_healthy_target_alarm_nobody() {
    let mut target = Target::start(20).await;
    target.faults(None).await;
    // A process that has just started still takes what memory it needs: the method leaves that out of a run of real length.
    let mut warm = Observed::default();
    for second in 0..100 {
        assert_eq!(target.second(&mut warm, &run("warm", 100), second, 5).await, 0);
    }
    for soak in 0..10 {
        let (run, mut observed) = (run("healthy", 360), Observed::default());
        for second in 0..360 {
            assert_eq!(target.second(&mut observed, &run, second, 2).await, 0);
        }
        let looked = observed.look(&run, &Asked::default(), Timestamp(0));
        let leaks: Vec<&TrendFound> = looked.analysed.trends.iter().filter(|trend| trend.verdict == TrendVerdict::Leak).collect();
        assert!(leaks.is_empty(), "soak {soak}: {leaks:#?}");
        assert!(looked.findings.iter().all(|finding| finding.severity == Severity::Low), "soak {soak}: {:#?}", looked.findings);
        // It was really judged: every resource has its line, and says how small a leak would have shown.
        let memory = of(&looked, Resource::Memory);
        assert!(memory.verdict == TrendVerdict::Unknown || memory.detectable.is_some(), "soak {soak}: {memory:#?}");
    }
}

/// Forty minutes in the store, 60 MiB an hour leaking, with what an older version of the method said of it.
async fn stored(bed: &Bed) -> RunId {
    let store = bed.store().await;
    let mut run = run("20261121-020000-soak-7k3f", 2_400);
    store.start_run(&run).await.unwrap();
    for page in 0..8_u32 {
        let mut batch = SeriesBatch::default();
        for second in page * 300..page * 300 + 300 {
            let spread = (0..30).map(|at| 20_000 + at * 100 + u64::from(second * 31 % 17) * 40).collect();
            batch.intervals.push((run.id.clone(), interval(second, spread, 0)));
            let noise = f64::from(second * 7_919 % 101) / 25.0;
            let memory = (300.0 + f64::from(second) / 60.0 + noise) * 1_048_576.0;
            let at = run.started_at.plus(Duration::from_secs(second.into()));
            let points = Ok(vec![Point::new("process_memory", memory).with("target", "shop").with("probe", "app")]);
            batch
                .readings
                .push((Some(run.id.clone()), Reading { target: "shop".into(), probe: "app".into(), at, second: Some(second), points }));
        }
        store.append(&batch).await.unwrap();
    }
    run.status = RunStatus::Finished;
    run.ended_by = Some(EndedBy::Completed);
    run.ended_at = Some(run.started_at.plus(Duration::from_secs(2_400)));
    run.verdict = Some(Verdict::Pass);
    run.summary = Some(Summary { seconds: 2_400.0, ..Summary::default() });
    store.update_run(&run).await.unwrap();
    let old = Finding {
        kind: "no_leak".into(),
        run: run.id.clone(),
        severity: Severity::Low,
        title: "What an older version said.".into(),
        evidence: Vec::new(),
        method: "leak-gls-mk/0".into(),
        at: run.started_at,
    };
    let other = Finding { method: "nights/1".into(), title: "What another method said.".into(), ..old.clone() };
    store.save_findings(&run.id, &[old, other]).await.unwrap();
    run.id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stored_run_is_analysed_again() {
    let bed = Bed::new().await;
    let config = bed.configure("");
    let id = stored(&bed).await;
    let config = config.to_str().unwrap().to_owned();
    let output = finish(plimsoll(&["analyse", "7k3f", "--config", &config])).await;
    let said = printed(&output);
    assert_eq!(output.status.code(), Some(0), "{said}{}", errors(&output));
    assert!(said.contains("Memory of `app` grows by") && said.contains("a leak, certain"), "{said}");
    assert!(said.contains("p95 of the response time"), "{said}");
    let store = bed.store().await;
    let findings = store.findings(Some(&id), 50).await.unwrap();
    assert!(findings.iter().any(|finding| finding.kind == "leak" && finding.method.starts_with("leak-gls-mk/")), "{findings:#?}");
    assert!(findings.iter().all(|finding| finding.method != "leak-gls-mk/0"), "an older version is replaced: {findings:#?}");
    assert!(findings.iter().any(|finding| finding.method == "nights/1"), "another method's stays: {findings:#?}");
    let count = findings.len();
    // Once more over HTTP: the same, not twice as much.
    let daemon = bed.serve().await;
    let path = format!("/api/v1/runs/{id}/analyse");
    assert_eq!(try_ask(daemon.address, "POST", &path, "", "").await.unwrap().status, 401);
    let answer = with_token(&daemon, "POST", &path, "").await;
    assert_eq!((answer.status, answer.json()["findings"].as_u64()), (200, Some(count as u64 - 1)), "{answer:?}");
    let found = daemon.api(&format!("/runs/{id}/findings")).await;
    assert_eq!(found["findings"].as_array().unwrap().len(), count, "{found}");
    let memory = found["analysed"]["trends"].as_array().unwrap().iter().find(|trend| trend["resource"] == "memory").unwrap().clone();
    assert_eq!((memory["verdict"].as_str(), memory["sureness"].as_str()), (Some("leak"), Some("certain")), "{memory}");
    let page = daemon.try_get(&format!("/runs/{id}")).await.unwrap();
    assert!(page.body.contains("a leak, certain"), "the page shows it");
    assert_eq!(with_token(&daemon, "POST", "/api/v1/runs/nobody/analyse", "").await.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_analysed_is_said() {
    let bed = Bed::new().await;
    let config = bed.configure("").to_str().unwrap().to_owned();
    let store = bed.store().await;
    let mut empty = run("20261121-020000-soak-aaaa", 60);
    empty.status = RunStatus::Finished;
    store.start_run(&empty).await.unwrap();
    store.start_run(&run("20261121-030000-soak-bbbb", 60)).await.unwrap();
    for (which, message) in [("aaaa", "nothing is stored of the seconds"), ("bbbb", "is going on"), ("cccc", "there is no run `cccc`")] {
        let output = finish(plimsoll(&["analyse", which, "--config", &config])).await;
        assert_eq!(output.status.code(), Some(1), "{which}");
        assert!(errors(&output).contains(message), "{which}: {}", errors(&output));
    }
}
