//! Servers that are none, or mean harm: garbage, silence, floods, lengths that lie. Every probe answers with a reason and no number, in
//! bounded time, and over one connection at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::open;

/// What a server says to everybody who comes.
#[derive(Debug, Clone, Copy)]
enum Manner {
    /// Accepts and says nothing.
    Silent,
    /// These bytes at once, then silence.
    Says(&'static [u8]),
    /// These bytes for ever.
    Floods(&'static [u8]),
    /// Closes at once.
    Closes,
}

/// A server of bad manners, and the most connections it ever had at one time.
struct Rude {
    port: u16,
    most: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

impl Rude {
    async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (seen, mut task) = (most.clone(), JoinSet::new());
        task.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                seen.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                let now = now.clone();
                open.spawn(async move {
                    match manner {
                        Manner::Silent => {}
                        Manner::Says(bytes) => _ = stream.write_all(bytes).await,
                        Manner::Floods(bytes) => while stream.write_all(bytes).await.is_ok() {},
                        Manner::Closes => {
                            now.fetch_sub(1, Ordering::SeqCst);
                            return;
                        }
                    }
                    let mut sink = [0; 1024];
                    while stream.read(&mut sink).await.is_ok_and(|read| read > 0) {}
                    now.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { port, most, _task: task }
    }
}

/// A probe of each kind that asks servers, at this port.
fn probes(port: u16) -> Vec<Json> {
    let at = |scheme: &str, rest: &str| format!("{scheme}://ann:geheim@127.0.0.1:{port}{rest}");
    let http = format!("http://127.0.0.1:{port}/");
    let probes = vec![
        json!({"type": "postgres", "url": at("postgres", "/shop")}),
        json!({"type": "postgres", "url": at("postgres", "/shop?sslmode=disable")}),
        json!({"type": "pgbouncer", "url": at("postgres", "?sslmode=disable")}),
        json!({"type": "mysql", "url": at("mysql", "/shop")}),
        json!({"type": "mysql", "url": at("mysql", "/shop?ssl-mode=disabled")}),
        json!({"type": "redis", "url": at("redis", "")}),
        json!({"type": "prometheus", "url": http}),
        json!({"type": "promql", "url": http, "queries": {"x": "up"}}),
        json!({"type": "http_json", "url": http, "values": {"x": "$.x"}}),
    ];
    let impatient = |mut keys: Json| {
        keys["timeout"] = "300ms".into();
        keys
    };
    probes.into_iter().map(impatient).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_a_server_says_is_a_number_or_a_panic() {
    let manners = [
        Manner::Silent,
        Manner::Closes,
        Manner::Says(b"\r\n"),
        Manner::Says(b"hello, who are you?\r\n"),
        // A message of PostgreSQL whose length is less than itself, and one of two gigabytes.
        Manner::Says(b"R\0\0\0\0"),
        Manner::Says(b"R\x7f\xff\xff\xff"),
        Manner::Says(b"Z\0\0\0\x03"),
        // A packet of MySQL of sixteen megabytes, an empty one, and a greeting that ends too early.
        Manner::Says(b"\xff\xff\xff\0"),
        Manner::Says(b"\0\0\0\0"),
        Manner::Says(b"\x04\0\0\0\x0a8.0"),
        // A text of Redis that never ends, one of negative length, one nested.
        Manner::Says(b"$99999999999\r\n"),
        Manner::Says(b"$-1\r\n"),
        Manner::Says(b"*3\r\n$1\r\n"),
        Manner::Says(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"),
        Manner::Says(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\xff\xfe"),
        Manner::Floods(b"0123456789abcdef"),
        Manner::Floods(b"\0\0\0\0\0\0\0\0"),
        Manner::Floods(b"\xff\xff\xff\xff\xff\xff\xff\xff"),
        Manner::Floods(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\nmetric 1\n"),
    ];
    for manner in manners {
        for keys in probes(0) {
            let server = Rude::start(manner).await;
            let keys: Json = serde_json::from_str(&keys.to_string().replace("127.0.0.1:0", &format!("127.0.0.1:{}", server.port))).unwrap();
            let mut probe = open(&keys);
            for _ in 0..2 {
                let read = timeout(Duration::from_secs(60), probe.read()).await.expect("every reading ends");
                let error = read.expect_err(&format!("{keys} read something of {manner:?}"));
                let known = ["connect", "timeout", "status", "parse", "missing", "permission"].contains(&error.reason);
                assert!(known && !error.detail.contains("geheim") && error.detail.len() < 2_000, "{keys} {manner:?}: {error}");
            }
            drop(probe);
            assert!(
                server.most.load(Ordering::SeqCst) <= 2,
                "{keys} {manner:?}: {} connections at once",
                server.most.load(Ordering::SeqCst)
            );
        }
    }
}
