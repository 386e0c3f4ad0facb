//! Probes against real pages: captured ones served over HTTP, the demo target with its pool exhausted, and processes of this machine.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that failed")]

mod hostile;
mod local;
mod postgres;
mod servers;
mod told;
mod versions;

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use plimsoll::clock::SystemClock;
use plimsoll::model::series::Point;
use plimsoll::probe::presets::{Checked, PRESETS};
use plimsoll::probe::{KINDS, Probe, ProbeError, ProbeParts, describe_points};
use plimsoll::registry::{Context, Entry, Node, Span, Surroundings, Value, decode_kind};
use serde_json::{Value as Json, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::demo::{client, requests, target, until};

struct Nothing;
impl Surroundings for Nothing {
    fn read_secret_file(&self, _path: &str) -> Result<String, String> {
        Err("there are no files here".into())
    }
    fn resolve_path(&self, path: &str) -> String {
        path.into()
    }
}

fn node(json: &Json) -> Node {
    let value = match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => Value::Number(number.as_f64().unwrap(), number.to_string()),
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(items) => Value::List(items.iter().map(node).collect()),
        Json::Object(map) => {
            let entry = |(key, value): (&String, &Json)| Entry { key: key.clone(), span: Span::default(), node: node(value) };
            Value::Map(map.iter().map(entry).collect())
        }
    };
    Node { span: Span::default(), value }
}

/// Opens a probe the way the configuration does.
fn open(keys: &Json) -> Box<dyn Probe> {
    let mut cx = Context::new(&Nothing);
    let settings = decode_kind(&node(keys), "probe", KINDS, &mut cx);
    assert!(cx.diagnostics.is_empty(), "{:?}", cx.diagnostics);
    settings.unwrap().1.open(&ProbeParts { http: client(), clock: Arc::new(SystemClock) })
}

fn figures(points: &[Point]) -> BTreeMap<String, f64> {
    points.iter().map(|point| (point.metric.clone(), point.value)).collect()
}

#[track_caller]
fn is(figures: &BTreeMap<String, f64>, name: &str, expected: f64) {
    let value = figures.get(name).unwrap_or_else(|| panic!("no {name} in {figures:?}"));
    assert!((value - expected).abs() < 1e-9, "{name} is {value}, not {expected}");
}

/// Reads until there is a reading: servers that just started or came back need a moment.
async fn until_read(probe: &mut dyn Probe) -> Vec<Point> {
    let mut last = None;
    for _ in 0..600 {
        match probe.read().await {
            Ok(points) => return points,
            Err(error) => last = Some(error),
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("no reading: {last:?}");
}

/// A server of one page, which can be changed.
struct PageServer {
    url: String,
    page: Arc<Mutex<String>>,
    _task: JoinSet<()>,
}

impl PageServer {
    async fn start(page: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/metrics", listener.local_addr().unwrap());
        let page = Arc::new(Mutex::new(page.to_owned()));
        let serve = async |State(page): State<Arc<Mutex<String>>>| page.lock().unwrap().clone();
        let router = Router::new().route("/metrics", axum::routing::get(serve)).with_state(page.clone());
        let mut task = JoinSet::new();
        task.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, page, _task: task }
    }
}

/// What the probe makes of a captured page without being told anything about it, as a person would see it.
async fn shown(page: &str) -> String {
    let server = PageServer::start(page).await;
    let points = open(&json!({"type": "prometheus", "url": server.url})).read().await.unwrap();
    describe_points(&points)
}

#[tokio::test]
async fn captured_pages_are_read_without_settings() {
    insta::assert_snapshot!("go_sql", shown(include_str!("pages/go-sql.txt")).await);
    insta::assert_snapshot!("hikaricp", shown(include_str!("pages/hikaricp.txt")).await);
    insta::assert_snapshot!("otel", shown(include_str!("pages/otel.txt")).await);
    insta::assert_snapshot!("node_postgres", shown(include_str!("pages/node-postgres.txt")).await);
    insta::assert_snapshot!("postgres", shown(include_str!("pages/postgres.txt")).await);
    insta::assert_snapshot!("mysql", shown(include_str!("pages/mysql.txt")).await);
    insta::assert_snapshot!("sqlalchemy", shown(include_str!("pages/sqlalchemy.txt")).await);
    insta::assert_snapshot!("psycopg_pool", {
        let server = PageServer::start(include_str!("pages/psycopg-pool.txt")).await;
        let keys = json!({"type": "prometheus", "url": server.url, "pools": [{"preset": "psycopg-pool"}]});
        describe_points(&open(&keys).read().await.unwrap())
    });
    insta::assert_snapshot!("redis", shown(include_str!("pages/redis.txt")).await);
}

#[test]
fn what_is_called_captured_has_its_page_and_the_documentation_says_so() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/pages");
    let documentation = include_str!("../../docs/probes.md");
    for preset in PRESETS {
        let row = format!("| `{}` | {} | {} |", preset.name, preset.of, preset.checked.as_str());
        assert!(documentation.contains(&row), "docs/probes.md lacks the row\n{row}");
        if preset.checked == Checked::Captured {
            let page = std::fs::read_to_string(format!("{folder}/{}.txt", preset.name)).unwrap();
            assert!(page.starts_with("# Captured from "), "{}: the page does not name its source", preset.name);
        }
    }
}

#[tokio::test]
async fn counters_of_two_captured_pages_become_rates() {
    let server = PageServer::start(include_str!("pages/go-sql.txt")).await;
    let mut probe = open(&json!({"type": "prometheus", "url": server.url, "pools": [{"preset": "go-sql", "name": "orders"}]}));
    let first = figures(&probe.read().await.unwrap());
    is(&first, "pool_utilization", 1.0);
    assert!(!first.contains_key("pool_waits") && !first.contains_key("process_cpu"), "{first:?}");
    *server.page.lock().unwrap() = include_str!("pages/go-sql-later.txt").into();
    let second = figures(&probe.read().await.unwrap());
    is(&second, "pool_utilization", 0.8);
    // Between the pages the three waits ended, none began: seconds were waited, but the mean is of no wait.
    is(&second, "pool_waits", 0.0);
    assert!(!second.contains_key("pool_wait_time"), "{second:?}");
    assert!(second["process_cpu"] >= 0.0);
    // The service began anew: its counters are lower than before.
    *server.page.lock().unwrap() = "go_sql_in_use_connections{db_name=\"orders\"} 1\ngo_sql_wait_count_total{db_name=\"orders\"} 2\n\
         go_sql_wait_duration_seconds_total{db_name=\"orders\"} 0.5\nprocess_cpu_seconds_total 0.001\n"
        .into();
    let third = figures(&probe.read().await.unwrap());
    assert!(third["pool_waits"] > 0.0 && third["process_cpu"] >= 0.0, "{third:?}");
    is(&third, "pool_wait_time", 0.25);
}

#[tokio::test]
async fn selectors_and_numbers_of_ones_own() {
    let page = "db{state=\"used\"} 6\ndb{state=\"idle\"} 2\ndb_max 8\nqueue{q=\"a\"} 3\nqueue{q=\"b\"} 4\n";
    let server = PageServer::start(page).await;
    let mut probe = open(&json!({
        "type": "prometheus", "url": server.url,
        "pools": [{"name": "main", "in_use": "db{state=\"used\"}", "idle": "db{state=\"idle\"}", "limit": "db_max"}],
        "metrics": {"queued": "queue", "longest": "max(queue)"},
    }));
    insta::assert_snapshot!(describe_points(&probe.read().await.unwrap()), @r#"
    pool_utilization{pool="main"}  75 %
    pool_in_use{pool="main"}       6
    pool_idle{pool="main"}         2
    pool_limit{pool="main"}        8
    custom{name="queued"}          7
    custom{name="longest"}         4
    "#);
}

#[tokio::test]
async fn the_exhausted_pool_of_the_demo_target_is_seen() {
    let (client, target) = (client(), target(5, 600_000).await);
    let mut probe = open(&json!({
        "type": "prometheus", "url": target.url("/metrics"),
        "pools": [{"preset": "go-sql", "waiting": "demo_pool_waiting", "timeouts": "demo_pool_timeouts_total"}],
    }));
    let idle = figures(&probe.read().await.unwrap());
    is(&idle, "pool_utilization", 0.0);
    is(&idle, "pool_limit", 5.0);
    is(&idle, "pool_waiting", 0.0);

    let held = requests(&client, &target, "/api/v1/wallet/balance", 60);
    until(&target, |pool| pool.in_use == 5 && pool.waiting == 55).await;
    let points = probe.read().await.unwrap();
    assert!(points.iter().filter(|point| point.metric.starts_with("pool_")).all(|point| point.labels["pool"] == "main"));
    let full = figures(&points);
    is(&full, "pool_utilization", 1.0);
    is(&full, "pool_in_use", 5.0);
    is(&full, "pool_idle", 0.0);
    is(&full, "pool_waiting", 55.0);
    // The waits have begun, none has ended: a rate, but no mean yet.
    assert!(full["pool_waits"] > 0.0 && !full.contains_key("pool_wait_time"), "{full:?}");
    assert!(full["process_memory"] > 0.0 && full["process_threads"] > 0.0 && full["process_descriptors_ratio"] > 0.0, "{full:?}");

    drop(held);
    until(&target, |pool| pool.in_use == 0 && pool.waiting == 0).await;
    let after = figures(&probe.read().await.unwrap());
    is(&after, "pool_utilization", 0.0);
    is(&after, "pool_timeouts", 0.0);
    is(&after, "pool_wait_time", target.pool().waited.as_secs_f64() / 55.0);
    target.stop().await;
}

#[tokio::test]
async fn every_failure_has_its_reason_and_no_numbers() {
    let target = target(2, 0).await;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let page = PageServer::start("").await;
    let cases: Vec<(Json, &str, &str)> = vec![
        (json!({"url": format!("http://{nobody}/metrics")}), "connect", "onnection refused"),
        (json!({"url": target.url("/slow?ms=60000"), "timeout": "100ms"}), "timeout", "did not answer within 100ms"),
        (json!({"url": target.url("/nowhere")}), "status", "404"),
        (json!({"url": target.url("/status/500")}), "status", "500"),
        (json!({"url": target.url("/")}), "parse", "is not a metrics page: line 1: the value is not a number"),
        (json!({"url": target.url("/bytes?n=2000"), "max_size": "1kB"}), "parse", "more than"),
        (json!({"url": target.url("/metrics"), "pools": [{"preset": "hikaricp"}]}), "missing", "hikaricp_connections_active"),
        (json!({"url": target.url("/metrics"), "metrics": {"x": "gone"}}), "missing", "`gone` (metric `x`)"),
        (json!({"url": page.url}), "missing", "neither a known pool nor figures of the process"),
        (json!({"url": page.url, "process": true}), "missing", "none of the `process_"),
    ];
    for (mut keys, reason, detail) in cases {
        keys["type"] = "prometheus".into();
        let error: ProbeError = open(&keys).read().await.unwrap_err();
        assert_eq!(error.reason, reason, "{keys}: {error}");
        assert!(error.detail.contains(detail), "{keys}: {error}");
        assert!(!error.detail.contains("ms=60000"), "the query may hold a secret: {error}");
    }
    target.stop().await;
}

#[tokio::test]
async fn a_page_cut_off_in_the_middle_is_no_page() {
    let (client, target) = (client(), target(2, 0).await);
    let mut probe = open(&json!({"type": "prometheus", "url": target.url("/metrics")}));
    probe.read().await.unwrap();
    client.post(target.url("/faults")).json(&json!({"truncated_body": 1.0})).send().await.unwrap();
    let error = probe.read().await.unwrap_err();
    assert!(["connect", "parse"].contains(&error.reason), "{error}");
    client.delete(target.url("/faults")).send().await.unwrap();
    probe.read().await.unwrap();
    target.stop().await;
}

#[tokio::test]
async fn headers_and_token_are_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/metrics", listener.local_addr().unwrap());
    let serve = async |headers: axum::http::HeaderMap| {
        let sent = headers["authorization"] == "Bearer geheim" && headers["x-tenant"] == "shop";
        format!("sent {}\n", u8::from(sent))
    };
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(listener, Router::new().route("/metrics", axum::routing::get(serve))).await.unwrap() });
    let keys = json!({"type": "prometheus", "url": url, "bearer": "geheim", "headers": {"X-Tenant": "shop"}, "metrics": {"sent": "sent"}});
    is(&figures(&open(&keys).read().await.unwrap()), "custom", 1.0);
}

#[tokio::test]
async fn our_own_process_is_read_by_pid_and_by_port() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for keys in [json!({"type": "process", "pid": std::process::id()}), json!({"type": "process", "port": port})] {
        let mut probe = open(&keys);
        let first = figures(&probe.read().await.unwrap());
        assert!(first["process_memory"] > 1e6 && first["process_threads"] >= 1.0 && first["process_descriptors"] > 3.0, "{first:?}");
        assert!(first["process_descriptors_ratio"] > 0.0 && !first.contains_key("process_cpu"), "{first:?}");
        let used = timeout(Duration::from_secs(30), async {
            loop {
                std::hint::black_box((0..2_000_000_u64).map(std::hint::black_box).sum::<u64>());
                let used = figures(&probe.read().await.unwrap())["process_cpu"];
                if used > 0.0 {
                    return used;
                }
            }
        });
        assert!(used.await.unwrap() > 0.0);
    }
    drop(listener);
    let error = open(&json!({"type": "process", "port": port})).read().await.unwrap_err();
    assert_eq!(error.reason, "missing", "{error}");
}

#[tokio::test]
async fn a_process_that_ended_is_missing_and_one_that_came_back_is_found() {
    // A copy of `sleep` under another name is a program of that name, however long.
    let folder = tempfile::tempdir().unwrap();
    let name = format!("plimsoll-probe-test-sleeper-{}", std::process::id());
    let program = folder.path().join(&name);
    std::fs::copy("/bin/sleep", &program).unwrap();
    let start = || Command::new(&program).arg("600").spawn().unwrap();
    let mut probe = open(&json!({"type": "process", "name": name}));
    assert_eq!(probe.read().await.unwrap_err().reason, "missing");

    let mut sleeper = start();
    let mut by_pid = open(&json!({"type": "process", "pid": sleeper.id()}));
    timeout(Duration::from_secs(30), async {
        while probe.read().await.is_err() {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
    assert!(figures(&probe.read().await.unwrap()).contains_key("process_cpu"));
    by_pid.read().await.unwrap();

    sleeper.kill().unwrap();
    // Not reaped yet: a zombie has ended all the same.
    timeout(Duration::from_secs(30), async {
        while by_pid.read().await.is_ok() {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
    let error = by_pid.read().await.unwrap_err();
    assert_eq!(error.to_string(), format!("missing: process {} has ended", sleeper.id()));
    assert_eq!(probe.read().await.unwrap_err().reason, "missing");
    sleeper.wait().unwrap();

    let mut successor = start();
    let found = timeout(Duration::from_secs(30), async {
        loop {
            match probe.read().await {
                Ok(points) => return figures(&points),
                Err(_) => sleep(Duration::from_millis(10)).await,
            }
        }
    });
    // A new process has no former reading.
    assert!(!found.await.unwrap().contains_key("process_cpu"));
    successor.kill().unwrap();
    successor.wait().unwrap();
}
