//! The demo target is what everything else is tested against, so it must be what it says: the pool blocks, the counts are exact,
//! every fault acts and stops.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that failed")]

mod accounts;
mod sockets;

use std::collections::BTreeMap;
use std::sync::Once;
use std::time::Duration;

use plimsoll::demo::{self, Running, Settings};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// Longer than anything that works takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// An HTTP client for tests.
pub(crate) fn client() -> Client {
    static PROVIDER: Once = Once::new();
    // Another test of this binary may have installed it already.
    PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    Client::builder().timeout(PATIENCE).build().unwrap()
}

/// A demo target with a small pool that is held for `hold_ms`.
pub(crate) async fn target(pool: u32, hold_ms: u64) -> Running {
    let settings = Settings { pool, hold: Duration::from_millis(hold_ms), acquire_timeout: PATIENCE, ..Settings::default() };
    demo::start(settings).await.unwrap()
}

/// Waits until `holds` is true of the target's pool.
pub(crate) async fn until(target: &Running, holds: impl Fn(&demo::PoolSnapshot) -> bool) {
    let reached = timeout(PATIENCE, async {
        while !holds(&target.pool()) {
            sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(reached.await.is_ok(), "never came to be: {:?}", target.pool());
}

/// Starts so many requests for `path`; each yields its status.
pub(crate) fn requests(client: &Client, target: &Running, path: &str, count: usize) -> JoinSet<Option<StatusCode>> {
    let mut all = JoinSet::new();
    for _ in 0..count {
        let request = client.get(target.url(path));
        all.spawn(async move { request.send().await.ok().map(|answer| answer.status()) });
    }
    all
}

async fn statuses(all: JoinSet<Option<StatusCode>>) -> BTreeMap<u16, usize> {
    let mut counts = BTreeMap::new();
    for status in all.join_all().await {
        *counts.entry(status.map_or(0, |status| status.as_u16())).or_default() += 1;
    }
    counts
}

async fn switch(client: &Client, target: &Running, faults: Value) {
    let answer = client.post(target.url("/faults")).json(&faults).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
}

async fn clear(client: &Client, target: &Running) {
    assert_eq!(client.delete(target.url("/faults")).send().await.unwrap().status(), 200);
}

async fn get(client: &Client, target: &Running, path: &str) -> reqwest::Result<(u16, String)> {
    let answer = client.get(target.url(path)).send().await?;
    let status = answer.status().as_u16();
    Ok((status, answer.text().await?))
}

/// The value of one line of `/metrics`.
async fn metric(client: &Client, target: &Running, name: &str) -> f64 {
    let (status, page) = get(client, target, "/metrics").await.unwrap();
    assert_eq!(status, 200);
    let line = page.lines().find(|line| line.starts_with(&format!("{name}{{")) || line.starts_with(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in {page}")).rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn every_route_answers() {
    let (client, target) = (client(), target(4, 1).await);
    for (path, key) in [
        ("/api/v1/health", "database"),
        ("/api/v1/wallet/balance", "cents"),
        ("/api/v1/transactions", "transactions"),
        ("/api/v1/users/profile", "email"),
        ("/api/v1/cards", "cards"),
        ("/api/user/performance", "profit_cents"),
        ("/api/posts/feed", "posts"),
        ("/api/posts/feed?cache=off", "posts"),
        ("/slow?ms=1", "waited_ms"),
    ] {
        let answer = client.get(target.url(path)).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.headers()["x-version"].to_str().unwrap()), (200, env!("CARGO_PKG_VERSION")), "{path}");
        let body: Value = answer.json().await.unwrap();
        assert!(!body[key].is_null(), "{path}: {body}");
    }
    for (path, body, status, key) in [
        ("/api/v1/transfer", json!({"to": "x", "cents": 100}), 200, "id"),
        ("/api/v1/transfer", json!({"to": "x", "cents": -1}), 400, "error"),
        ("/api/login", json!({"user": "ann", "password": "x"}), 200, "token"),
        ("/api/login", json!({"user": "ann", "password": ""}), 401, "error"),
        ("/api/users", json!({"name": "Ann", "email": "ann@example.org"}), 201, "id"),
        ("/api/users", json!({"name": "Ann", "email": "ann@example.org"}), 409, "error"),
        ("/api/users", json!({"name": "Ann", "email": "ann"}), 400, "error"),
        ("/api/bot/enable", json!({}), 200, "enabled"),
        ("/api/bot/disable", json!({}), 200, "enabled"),
        ("/faults", json!({"slow": 1}), 400, "error"),
    ] {
        let answer = client.post(target.url(path)).json(&body).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{path}");
        let answer: Value = answer.json().await.unwrap();
        assert!(!answer[key].is_null(), "{path}: {answer}");
    }
    assert_eq!(get(&client, &target, "/status/418").await.unwrap().0, 418);
    assert_eq!(get(&client, &target, "/bytes?n=100000").await.unwrap().1.len(), 100_000);
    assert_eq!(get(&client, &target, "/nowhere").await.unwrap().0, 404);
    assert_eq!(get(&client, &target, "/").await.unwrap().1, "Plimsoll demo target\n");
    let page = client.get(target.url("/metrics")).send().await.unwrap();
    assert_eq!(page.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let page = page.text().await.unwrap();
    assert!(page.contains("http_requests_total{code=\"418\",method=\"GET\",path=\"/status/{code}\"} 1\n"), "{page}");
    assert!(page.contains("http_requests_total{code=\"404\",method=\"GET\",path=\"other\"} 1\n"), "{page}");
    target.stop().await;
}

#[tokio::test]
async fn the_pool_blocks_and_its_counts_are_exact() {
    let (client, target) = (client(), target(3, 10_000).await);
    let held = requests(&client, &target, "/api/v1/wallet/balance", 8);
    until(&target, |pool| pool.in_use == 3 && pool.waiting == 5).await;
    let pool = target.pool();
    assert_eq!((pool.open, pool.idle, pool.waits, pool.limit), (3, 0, 5, 3), "{pool:?}");
    // The page answers without a connection.
    assert!((metric(&client, &target, "go_sql_in_use_connections").await - 3.0).abs() < 0.1);
    assert!((metric(&client, &target, "demo_pool_waiting").await - 5.0).abs() < 0.1);
    // Clients that go away free what they hold.
    drop(held);
    until(&target, |pool| pool.in_use == 0 && pool.waiting == 0 && pool.idle == pool.open).await;
    assert!(target.pool().waited > Duration::ZERO);
    target.stop().await;
}

#[tokio::test]
async fn everybody_is_served_in_the_end_and_nothing_is_counted_twice() {
    let (client, target) = (client(), target(4, 5).await);
    let all = requests(&client, &target, "/api/v1/transactions", 80);
    assert_eq!(statuses(all).await, BTreeMap::from([(200, 80)]));
    let pool = target.pool();
    assert_eq!((pool.in_use, pool.waiting, pool.timeouts), (0, 0, 0), "{pool:?}");
    assert!(pool.open <= 4 && pool.idle == pool.open && pool.waits <= 80, "{pool:?}");
    target.stop().await;
}

#[tokio::test]
async fn who_waits_too_long_is_told_so() {
    let settings = Settings { pool: 1, hold: PATIENCE, acquire_timeout: Duration::from_millis(50), ..Settings::default() };
    let (client, target) = (client(), demo::start(settings).await.unwrap());
    // The first request opens the connection, which may take longer than anybody waits on a busy machine: it tries again.
    let (holder, url) = (client.clone(), target.url("/api/v1/health"));
    let mut held = JoinSet::new();
    held.spawn(async move { while holder.get(&url).send().await.is_ok_and(|answer| answer.status() == 503) {} });
    until(&target, |pool| pool.in_use == 1).await;
    let before = target.pool().timeouts;
    let (status, body) = get(&client, &target, "/api/v1/health").await.unwrap();
    assert_eq!((status, body.as_str()), (503, r#"{"error":"sorry, too many clients already"}"#));
    assert_eq!(target.pool().timeouts, before + 1);
    drop(held);
    target.stop().await;
}

#[tokio::test]
async fn stopping_cuts_holds_short() {
    let (client, target) = (client(), target(2, 600_000).await);
    let held = requests(&client, &target, "/api/v1/health", 2);
    until(&target, |pool| pool.in_use == 2).await;
    timeout(PATIENCE, target.stop()).await.unwrap();
    assert_eq!(statuses(held).await, BTreeMap::from([(200, 2)]));
}

#[tokio::test]
async fn a_port_in_use_is_said() {
    let target = target(1, 1).await;
    let error = demo::start(Settings { listen: target.addr, ..Settings::default() }).await.err().unwrap();
    assert!(error.to_string().starts_with(&format!("cannot listen on {}", target.addr)), "{error}");
    target.stop().await;
}

#[tokio::test]
async fn fault_slow_holds_the_connection_longer() {
    let (client, target) = (client(), target(1, 0).await);
    switch(&client, &target, json!({"slow_ms": 300})).await;
    let start = Instant::now();
    assert_eq!(get(&client, &target, "/api/v1/health").await.unwrap().0, 200);
    assert!(start.elapsed() >= Duration::from_millis(300));
    switch(&client, &target, json!({"slow_ms": 600_000})).await;
    let held = requests(&client, &target, "/api/v1/health", 1);
    until(&target, |pool| pool.in_use == 1).await;
    drop(held);
    clear(&client, &target).await;
    // Would take ten minutes if the fault were still there.
    assert_eq!(get(&client, &target, "/api/v1/health").await.unwrap().0, 200);
    target.stop().await;
}

#[tokio::test]
async fn fault_pool_changes_the_size_under_load() {
    let (client, target) = (client(), target(2, 10_000).await);
    let held = requests(&client, &target, "/api/v1/health", 6);
    until(&target, |pool| pool.in_use == 2 && pool.waiting == 4).await;
    switch(&client, &target, json!({"pool": 10})).await;
    // Those that waited go on on the larger pool.
    until(&target, |pool| pool.limit == 10 && pool.in_use == 6 && pool.waiting == 0).await;
    clear(&client, &target).await;
    assert_eq!(target.pool().limit, 2);
    drop(held);
    until(&target, |pool| pool.in_use == 0).await;
    let again = requests(&client, &target, "/api/v1/health", 5);
    until(&target, |pool| pool.in_use == 2 && pool.waiting == 3).await;
    drop(again);
    target.stop().await;
}

#[tokio::test]
async fn fault_memory_leak_grows_and_is_given_back() {
    let (client, target) = (client(), target(4, 0).await);
    let before = metric(&client, &target, "process_resident_memory_bytes").await;
    switch(&client, &target, json!({"memory_leak_bytes": 4 << 20})).await;
    assert_eq!(statuses(requests(&client, &target, "/status/200", 16)).await, BTreeMap::from([(200, 16)]));
    switch(&client, &target, json!({"memory_leak_bytes": 0})).await;
    let leaked = metric(&client, &target, "demo_leaked_bytes").await;
    assert!((leaked - 64.0 * 1_048_576.0).abs() < 1.0, "{leaked}");
    // Other tests of this process use and free memory, too: most of it must be there.
    let grown = metric(&client, &target, "process_resident_memory_bytes").await - before;
    assert!(grown > 32.0 * 1_048_576.0, "{grown}");
    clear(&client, &target).await;
    assert!(metric(&client, &target, "demo_leaked_bytes").await < 1.0);
    target.stop().await;
}

#[tokio::test]
async fn fault_connection_leak_exhausts_the_pool() {
    let (client, target) = (client(), target(3, 0).await);
    switch(&client, &target, json!({"connection_leak_every": 2})).await;
    for expected in [0, 1, 1, 2, 2, 3] {
        assert_eq!(get(&client, &target, "/api/v1/health").await.unwrap().0, 200);
        until(&target, |pool| pool.leaked == expected && pool.in_use == expected).await;
    }
    let starving = requests(&client, &target, "/api/v1/health", 1);
    until(&target, |pool| pool.waiting == 1).await;
    switch(&client, &target, json!({"connection_leak_every": 0})).await;
    assert_eq!(target.pool().leaked, 3);
    clear(&client, &target).await;
    assert_eq!(statuses(starving).await, BTreeMap::from([(200, 1)]));
    until(&target, |pool| pool.leaked == 0 && pool.in_use == 0).await;
    target.stop().await;
}

#[tokio::test]
async fn fault_errors_hit_an_exact_share_of_a_path() {
    let (client, target) = (client(), target(4, 0).await);
    switch(&client, &target, json!({"errors": [{"prefix": "/status", "status": 500, "share": 0.25}]})).await;
    assert_eq!(statuses(requests(&client, &target, "/status/200", 40)).await, BTreeMap::from([(200, 30), (500, 10)]));
    assert_eq!(statuses(requests(&client, &target, "/", 4)).await, BTreeMap::from([(200, 4)]));
    clear(&client, &target).await;
    assert_eq!(statuses(requests(&client, &target, "/status/200", 40)).await, BTreeMap::from([(200, 40)]));
    target.stop().await;
}

#[tokio::test]
async fn fault_stall_holds_everything_and_ends_by_itself_or_by_hand() {
    let (client, target) = (client(), target(4, 0).await);
    switch(&client, &target, json!({"stall_ms": 400})).await;
    let start = Instant::now();
    assert_eq!(statuses(requests(&client, &target, "/metrics", 3)).await, BTreeMap::from([(200, 3)]));
    assert!(start.elapsed() >= Duration::from_millis(350), "{:?}", start.elapsed());

    switch(&client, &target, json!({"stall_ms": 600_000})).await;
    let left = client.get(target.url("/faults")).send().await.unwrap().json::<Value>().await.unwrap();
    assert!((1..=600_000).contains(&left["stall_ms"].as_u64().unwrap()), "{left}");
    let mut stalled = requests(&client, &target, "/", 1);
    assert!(timeout(Duration::from_millis(200), stalled.join_next()).await.is_err(), "answered in a stall");
    clear(&client, &target).await;
    assert_eq!(statuses(stalled).await, BTreeMap::from([(200, 1)]));
    target.stop().await;
}

#[tokio::test]
async fn fault_dependency_is_refused_and_comes_back() {
    let (client, target) = (client(), target(4, 0).await);
    switch(&client, &target, json!({"dependency_down": true})).await;
    let becomes = async |wanted: u16| {
        timeout(PATIENCE, async {
            loop {
                let (status, body) = get(&client, &target, "/api/v1/cards").await.unwrap();
                if status == wanted {
                    return body;
                }
                sleep(Duration::from_millis(10)).await;
            }
        })
        .await
        .unwrap()
    };
    let body = becomes(502).await;
    assert!(body.contains("Connection refused"), "{body}");
    assert_eq!(get(&client, &target, "/api/v1/wallet/balance").await.unwrap().0, 200);
    clear(&client, &target).await;
    becomes(200).await;
    target.stop().await;
}

#[tokio::test]
async fn fault_refuse_closes_connections_without_an_answer() {
    let (client, target) = (client(), target(4, 0).await);
    switch(&client, &target, json!({"refuse": 1.0})).await;
    let error = get(&client, &target, "/").await.unwrap_err();
    assert!(error.is_request() && !error.is_timeout(), "{error:?}");
    clear(&client, &target).await;
    assert_eq!(get(&client, &target, "/").await.unwrap().0, 200);
    target.stop().await;
}

#[tokio::test]
async fn fault_slow_body_sends_the_head_at_once_and_the_body_in_pieces() {
    let (client, target) = (client(), target(4, 0).await);
    switch(&client, &target, json!({"slow_body_ms": 500})).await;
    let start = Instant::now();
    let (status, body) = get(&client, &target, "/bytes?n=1000").await.unwrap();
    assert_eq!((status, body.len()), (200, 1000));
    assert!(start.elapsed() >= Duration::from_millis(500), "{:?}", start.elapsed());

    switch(&client, &target, json!({"slow_body_ms": 600_000})).await;
    // The head is here although the body takes ten minutes.
    let answer = timeout(PATIENCE, client.get(target.url("/bytes?n=1000")).send()).await.unwrap().unwrap();
    assert_eq!(answer.status(), 200);
    drop(answer);
    clear(&client, &target).await;
    assert_eq!(get(&client, &target, "/bytes?n=1000").await.unwrap().1.len(), 1000);
    target.stop().await;
}

#[tokio::test]
async fn fault_truncated_body_ends_in_the_middle() {
    let (client, target) = (client(), target(4, 0).await);
    switch(&client, &target, json!({"truncated_body": 1.0})).await;
    let answer = client.get(target.url("/bytes?n=1000")).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.content_length()), (200, Some(1000)));
    assert!(answer.bytes().await.is_err());
    clear(&client, &target).await;
    assert_eq!(get(&client, &target, "/bytes?n=1000").await.unwrap().1.len(), 1000);
    target.stop().await;
}
