//! The reason why, on real parts: an HTTP and gRPC service with two pools on a real PostgreSQL that allows fewer connections than both
//! want. Its pools open connections as they need them and keep few, as those of many libraries do; what the server answers is what the
//! caller hears. The run must name the server, the second, the share, the message and the size; when the server allows more, the rerun is
//! clean and says what changed.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that failed")]

mod counter;
mod pprof;

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use http_body_util::StreamBody;
use hyper::body::Frame;
use plimsoll::model::analysed::CauseFound;
use plimsoll::model::finding::Finding;
use plimsoll::model::run::{Run, Verdict};
use plimsoll::store::{self, Store};
use sqlx::{Connection, Executor, PgConnection};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::servers::bed::{errors, finish};
use crate::servers::daemon::plimsoll;
use crate::servers::postgres::Postgres;
use crate::servers::{temp_dir, wait_until};

/// Connections that each pool may open, and keeps open without use.
const POOL: usize = 14;
const KEPT: usize = 8;
/// How long a request holds its connection.
const HOLD: Duration = Duration::from_millis(400);

/// A pool that says what the server says.
struct Pool {
    name: &'static str,
    url: Arc<Mutex<String>>,
    permits: Semaphore,
    idle: Mutex<VecDeque<PgConnection>>,
    in_use: AtomicU64,
    waiting: AtomicU64,
}

impl Pool {
    fn new(name: &'static str, url: Arc<Mutex<String>>) -> Self {
        let (permits, idle) = (Semaphore::new(POOL), Mutex::default());
        Self { name, url, permits, idle, in_use: AtomicU64::new(0), waiting: AtomicU64::new(0) }
    }

    /// One request: a connection, a query on it, and the connection back.
    async fn serve(&self) -> Result<(), String> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let permit = self.permits.acquire().await;
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        let _permit = permit.map_err(|error| error.to_string())?;
        let told = |error: sqlx::Error| error.as_database_error().map_or_else(|| error.to_string(), |error| error.message().to_owned());
        let idle = self.idle.lock().unwrap().pop_front();
        let mut connection = match idle {
            Some(connection) => connection,
            None => {
                let url = self.url.lock().unwrap().clone();
                PgConnection::connect(&url).await.map_err(told)?
            }
        };
        self.in_use.fetch_add(1, Ordering::SeqCst);
        let query = format!("SELECT pg_sleep({})", HOLD.as_secs_f64());
        let asked = connection.execute(sqlx::AssertSqlSafe(query)).await;
        self.in_use.fetch_sub(1, Ordering::SeqCst);
        asked.map_err(told)?;
        let surplus = {
            let mut idle = self.idle.lock().unwrap();
            if idle.len() < KEPT {
                idle.push_back(connection);
                None
            } else {
                Some(connection)
            }
        };
        if let Some(connection) = surplus {
            // Closed, whatever the server says to that.
            let _ = connection.close().await;
        }
        Ok(())
    }
}

/// The service.
struct Service {
    url: Arc<Mutex<String>>,
    sessions: Pool,
    events: Pool,
}

impl Service {
    async fn start(tasks: &mut JoinSet<()>) -> (Arc<Self>, SocketAddr) {
        let url = Arc::new(Mutex::new(String::new()));
        let pools = (Pool::new("sessions", url.clone()), Pool::new("events", url.clone()));
        let service = Arc::new(Self { url, sessions: pools.0, events: pools.1 });
        let router = Router::new()
            .route("/session", get(session))
            .route("/events.v1.Events/Record", post(record))
            .route("/metrics", get(metrics))
            .route("/debug/pprof/goroutine", get(async || vec![0x1f_u8, 0x8b, 8, 0, 1, 2, 3]))
            .with_state(service.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
        (service, address)
    }

    /// From now on it works with this server, or with what became of it.
    fn use_server(&self, url: String) {
        *self.url.lock().unwrap() = url;
        for pool in [&self.sessions, &self.events] {
            pool.idle.lock().unwrap().clear();
        }
    }
}

async fn session(State(service): State<Arc<Service>>) -> Response {
    match service.sessions.serve().await {
        Ok(()) => "{\"session\":1}".into_response(),
        Err(said) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{{\"error\":\"{said}\"}}")).into_response(),
    }
}

/// A gRPC call: an empty message, or a status.
async fn record(State(service): State<Arc<Service>>) -> Response {
    let (frames, status) = match service.events.serve().await {
        Ok(()) => (vec![Frame::data(Bytes::from_static(&[0; 5]))], ("0", String::new())),
        Err(said) => (Vec::new(), ("14", said)),
    };
    let mut trailers = axum::http::HeaderMap::new();
    trailers.insert("grpc-status", status.0.parse().unwrap());
    trailers.insert("grpc-message", status.1.replace(' ', "%20").parse().unwrap());
    let frames = frames.into_iter().chain([Frame::trailers(trailers)]).map(Ok::<_, std::io::Error>);
    let body = Body::new(StreamBody::new(futures_util::stream::iter(frames)));
    ([("content-type", "application/grpc")], body).into_response()
}

/// The pools.
async fn metrics(State(service): State<Arc<Service>>) -> String {
    let mut text = String::new();
    for pool in [&service.sessions, &service.events] {
        let waiting = pool.waiting.load(Ordering::SeqCst);
        writeln!(text, "app_pool_in_use{{pool=\"{}\"}} {}", pool.name, pool.in_use.load(Ordering::SeqCst)).unwrap();
        writeln!(text, "app_pool_waiting{{pool=\"{}\"}} {waiting}", pool.name).unwrap();
        writeln!(text, "app_pool_limit{{pool=\"{}\"}} {POOL}", pool.name).unwrap();
    }
    text
}

fn configuration(address: SocketAddr, database: &str, watcher: &str, port: u16) -> String {
    format!(
        r#"
storage: {{ url: "sqlite://plimsoll.db" }}
server: {{ listen: "127.0.0.1:0" }}
targets:
  game:
    base_url: http://{address}
    allow: ["127.0.0.1:{port}"]
    probes:
      app:
        type: prometheus
        url: http://{address}/metrics
        pools:
          - {{ name: sessions, in_use: 'app_pool_in_use{{pool="sessions"}}', waiting: 'app_pool_waiting{{pool="sessions"}}', limit: 'app_pool_limit{{pool="sessions"}}' }}
          - {{ name: events, in_use: 'app_pool_in_use{{pool="events"}}', waiting: 'app_pool_waiting{{pool="events"}}', limit: 'app_pool_limit{{pool="events"}}' }}
      database: {{ type: postgres, url: "{watcher}" }}
profiles:
  rush:
    target: game
    captures:
      - {{ name: database, at: 2s, postgres: "{database}" }}
      - {{ name: pools, when: first breach, url: "http://{address}/metrics" }}
      - {{ name: goroutines, when: peak, pprof: "http://{address}", profile: goroutine }}
      - {{ name: absent, at: 3s, url: "http://{address}/nothing-here" }}
    scenarios:
      events:
        executor: constant-arrival-rate
        rate: 20/s
        duration: 45s
        preAllocatedVUs: 40
        maxVUs: 200
        flow:
          - step: event
            grpc: {{ call: events.v1.Events/Record, proto: events.proto, message: {{ user: anna, kind: KIND_LOGIN, amount: 1 }} }}
            check: {{ grpc_status: OK }}
      sessions:
        executor: constant-vus
        startTime: 12s
        vus: 13
        duration: 14s
        flow: [{{ step: session, get: /session }}, {{ pause: 100ms }}]
    thresholds:
      - "requests_failed: rate < 1%"
"#
    )
}

/// Runs the profile with the real program; the run as it is stored.
async fn rush(folder: &std::path::Path, store: &dyn Store) -> Run {
    let config = folder.join("plimsoll.yaml");
    let mut command = plimsoll(&["run", "rush", "--config", config.to_str().unwrap()]);
    let command = command.current_dir(folder);
    let mut child = crate::servers::Child::spawn("rush", folder, command);
    wait_until("the end of the run", Duration::from_secs(300), async || child.status()).await;
    let run = store.run("last").await.unwrap();
    run.unwrap_or_else(|| panic!("{}", child.output()))
}

/// A server that counts statements, with the role `watcher` for the probe. The probe's own connection takes one of its places, too.
async fn server(allows: u32) -> (Postgres, String) {
    let server = Postgres::with(&options(allows)).await;
    server.admin("CREATE ROLE watcher LOGIN PASSWORD 'geheim'; GRANT pg_monitor TO watcher; CREATE EXTENSION pg_stat_statements").await;
    let url = format!("postgres://watcher:geheim@127.0.0.1:{}/postgres", server.port());
    (server, url)
}

fn options(allows: u32) -> String {
    format!("-c max_connections={allows} -c superuser_reserved_connections=0 -c shared_preload_libraries=pg_stat_statements")
}

/// What the program prints.
async fn printed(folder: &std::path::Path, arguments: &[&str]) -> String {
    let mut command = plimsoll(arguments);
    command.args(["--config", "plimsoll.yaml"]).current_dir(folder);
    let output = finish(command).await;
    assert!(output.status.success(), "{arguments:?}: {}", errors(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_names_the_server_that_was_full_and_a_larger_one_is_clean() {
    let (mut database, watcher) = server(17).await;
    let mut tasks = JoinSet::new();
    let (service, address) = Service::start(&mut tasks).await;
    let folder = temp_dir();
    std::fs::copy("config/examples/challenge/events.proto", folder.path().join("events.proto")).unwrap();
    let text = configuration(address, &database.admin_url("postgres"), &watcher, database.port());
    std::fs::write(folder.path().join("plimsoll.yaml"), text).unwrap();
    let store = store::open(&format!("sqlite://{}/plimsoll.db", folder.path().display())).await.unwrap();

    service.use_server(database.url("postgres"));
    let run = rush(folder.path(), &*store).await;
    let summary = run.summary.as_ref().unwrap();
    let findings = store.findings(Some(&run.id), 50).await.unwrap();
    let all = format!("{:#?}\n{findings:#?}\n{:#?}\n{:#?}", run.reasons, summary.analysed, summary.series);
    // Every failure is told of, and most of them in the server's words.
    let total = &summary.total;
    // On a machine that has much else to do the load may be late: then the run is invalid, and its failures are explained all the same.
    let late = run.verdict == Some(Verdict::Invalid);
    assert!(late || run.verdict == Some(Verdict::Fail), "{all}");
    assert_eq!(total.told.iter().map(|one| one.count).sum::<u64>() + total.told_beyond, total.failed, "{all}");
    assert!(late || run.reasons.iter().any(|reason| reason.contains("sorry, too many clients already")), "{all}");
    assert!(total.said().is_some_and(|said| said.contains("sorry, too many clients already")), "{all}");
    // What was full, since when, how much of it that explains, and what would be enough.
    // On a machine that has much else to do, the service's own pools may fill up too.
    let of_server = |finding: &&Finding| finding.kind == "pool_exhausted" && finding.title.contains("pool `postgres` was full");
    let found = findings.iter().find(of_server).unwrap_or_else(|| panic!("{all}"));
    assert!(found.title.contains("pool `postgres` was full (17 of 17"), "{all}");
    assert!(found.title.contains("'sorry, too many clients already'") && found.title.contains("Needed at this load: about "), "{all}");
    let by_server = |cause: &&CauseFound| cause.harm == "failures" && cause.resource.as_deref() == Some("pool `postgres`");
    let cause = summary.analysed.causes.iter().find(by_server).unwrap_or_else(|| panic!("{all}"));
    assert!(cause.share.unwrap() > 0.8, "{all}");
    assert!(cause.full_from_s.is_some_and(|from| (11..=17).contains(&from)), "{all}");
    let need = summary.analysed.needs.iter().find(|need| need.pool == "postgres").unwrap_or_else(|| panic!("{all}"));
    assert!(need.connections.value > 17.0 && need.connections.value < 60.0 && need.rule_of_thumb.is_some(), "{all}");
    assert!(!findings.iter().any(|finding| finding.kind == "changed_since"), "there is no run before: {all}");
    captured(&*store, &run).await;

    // The same with room.
    database.stop();
    database.set_options(&options(60));
    database.start().await;
    service.use_server(database.url("postgres"));
    let again = rush(folder.path(), &*store).await;
    let findings = store.findings(Some(&again.id), 50).await.unwrap();
    assert_eq!(again.summary.as_ref().unwrap().total.failed, 0, "{:#?}\n{findings:#?}", again.reasons);
    assert!(!findings.iter().any(|finding| of_server(&finding)), "{findings:#?}");
    what_changed(folder.path(), (&run, &again), &findings).await;
    tasks.shutdown().await;
}

/// The clean run says what changed, and so does the comparison.
async fn what_changed(folder: &std::path::Path, (before, after): (&Run, &Run), findings: &[Finding]) {
    let failed = before.summary.as_ref().unwrap().total.failed;
    let changed = findings.iter().find(|finding| finding.kind == "changed_since").unwrap_or_else(|| panic!("{findings:#?}"));
    let verdict = before.verdict.map_or("", Verdict::as_str);
    assert!(changed.title.starts_with(&format!("Since the run before ({}, {verdict}): requests failed: 0 of ", before.id)), "{changed:#?}");
    let told = |name: &str| {
        let found = changed.evidence.iter().find(|one| one.name == name);
        found.unwrap_or_else(|| panic!("{name}: {changed:#?}")).value.clone()
    };
    let gone = told("failures 'sorry, too many clients already'");
    assert!(gone.starts_with("gone (0, before "), "{changed:#?}");
    let pool = told("pool `postgres`");
    assert!(pool.starts_with("60 connections, full in 0 of ") && pool.contains("(before 17, full in "), "{changed:#?}");
    for arguments in [&["show", "last"][..], &["show", &after.id.0]] {
        let shown = printed(folder, arguments).await;
        assert!(shown.contains("Since the run before (") && shown.contains("pool `postgres`: 60 connections"), "{shown}");
    }
    let text = printed(folder, &["compare", &before.id.0, &after.id.0]).await;
    for part in ["\nPools\n", "larger", "\nWhat was said of failures\n", "gone", "\nStatements, per request\n", "SELECT pg_sleep($1)"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let json: serde_json::Value = serde_json::from_str(&printed(folder, &["compare", &before.id.0, &after.id.0, "--json"]).await).unwrap();
    let changes = &json["changes"];
    let of = |list: &str, key: &str, value: &str| {
        let found = changes[list].as_array().unwrap().iter().find(|one| one[key] == value);
        found.unwrap_or_else(|| panic!("{list} {value}: {changes:#}")).clone()
    };
    let pool = of("pools", "pool", "postgres");
    assert_eq!((pool["first"]["limit"].as_f64(), pool["second"]["limit"].as_f64()), (Some(17.0), Some(60.0)), "{changes:#}");
    let said = of("messages", "fate", "gone");
    assert!(said["first"].as_u64().is_some_and(|first| first <= failed) && said["second"] == 0, "{changes:#}");
    // Each request that is served runs it once: of those that fail none does.
    let sleep = of("statements", "statement", "SELECT pg_sleep($1)");
    let calls = ["first", "second"].map(|side| sleep[side]["calls"].as_f64().unwrap());
    assert!(calls[0] < 0.95 && (0.9..1.1).contains(&calls[1]), "{changes:#}");
}

/// What was asked for is attached, and what could not be had says why.
async fn captured(store: &dyn Store, run: &Run) {
    let captures = store.captures(&run.id).await.unwrap();
    let of = |name: &str| captures.iter().find(|one| one.name == name).unwrap_or_else(|| panic!("{captures:#?}"));
    assert_eq!(of("absent").error.as_deref(), Some("the answer is 404 Not Found"));
    for name in ["database", "pools", "goroutines"] {
        assert_eq!((of(name).error.as_deref(), of(name).bytes > 0), (None, true), "{captures:#?}");
    }
    assert!(of("pools").why.starts_with("at the first breach (`requests_failed") && of("pools").second >= 11, "{captures:#?}");
    let (_, snapshot) = store.capture(&run.id, of("database").number).await.unwrap().unwrap();
    let snapshot: serde_json::Value = serde_json::from_slice(&snapshot).unwrap();
    assert_eq!(snapshot["server"]["max_connections"], 17, "{snapshot:#}");
    assert!(snapshot["sessions"].as_array().is_some_and(|sessions| !sessions.is_empty()), "{snapshot:#}");
    assert!(!snapshot.to_string().contains(Postgres::PASSWORD), "no secret");
}
