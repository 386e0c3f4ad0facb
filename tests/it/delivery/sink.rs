//! A receiver of webhooks that can be down, slow, refuse, and break off in the middle of its answer; and a page of metrics whose pools
//! are full or empty as the test wants. Both keep to 127.0.0.1 and end with their guard.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value as Json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What goes wrong with one request. Whether it counts as arrived is what a receiver would say that has read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trouble {
    /// Nothing is read.
    Down,
    /// The answer comes after the sender has given up.
    Slow,
    /// 429 with Retry-After.
    Busy,
    /// 500.
    Broken,
    /// Read, and the connection ends before the answer.
    NoAnswer,
    /// Read, and the connection ends in the middle of the answer.
    HalfAnswer,
}

impl Trouble {
    pub(super) const ALL: [Self; 6] = [Self::Down, Self::Slow, Self::Busy, Self::Broken, Self::NoAnswer, Self::HalfAnswer];

    fn name(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Slow => "slow",
            Self::Busy => "429",
            Self::Broken => "500",
            Self::NoAnswer => "closes without answer",
            Self::HalfAnswer => "closes mid-answer",
        }
    }
}

/// A message that was read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Arrived {
    pub(super) id: String,
    pub(super) incident: String,
    pub(super) kind: String,
    pub(super) body: Json,
}

#[derive(Default)]
struct Kept {
    arrived: Mutex<Vec<Arrived>>,
    troubles: Mutex<VecDeque<Trouble>>,
    had: Mutex<BTreeMap<&'static str, u32>>,
    down: AtomicBool,
    refused: AtomicU32,
}

/// The receiver.
pub(super) struct Sink {
    port: u16,
    kept: Arc<Kept>,
    _tasks: JoinSet<()>,
}

impl Sink {
    pub(super) async fn start() -> Self {
        let kept = Arc::new(Kept::default());
        let shared = kept.clone();
        let (port, tasks) = serve(move |stream| answer(stream, shared.clone())).await;
        Self { port, kept, _tasks: tasks }
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook", self.port)
    }

    /// The next requests run into these, one each.
    pub(super) fn expect(&self, troubles: &[Trouble]) {
        self.kept.troubles.lock().unwrap().extend(troubles);
    }

    /// From now on nothing is read, or everything is.
    pub(super) fn down(&self, down: bool) {
        self.kept.down.store(down, Ordering::SeqCst);
    }

    /// Requests that came while it was down.
    pub(super) fn refused(&self) -> u32 {
        self.kept.refused.load(Ordering::SeqCst)
    }

    /// Everything that was read, in order.
    pub(super) fn arrived(&self) -> Vec<Arrived> {
        self.kept.arrived.lock().unwrap().clone()
    }

    /// What went wrong, how often.
    pub(super) fn troubles(&self) -> BTreeMap<&'static str, u32> {
        self.kept.had.lock().unwrap().clone()
    }
}

/// Serves each connection by itself on a free port.
async fn serve<F: Future<Output = ()> + Send + 'static>(handle: impl Fn(TcpStream) -> F + Send + 'static) -> (u16, JoinSet<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut open = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            open.spawn(handle(stream));
            while open.try_join_next().is_some() {}
        }
    });
    (port, tasks)
}

/// Head and body of one request; `None` when it broke off.
async fn read(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let text = String::from_utf8_lossy(&bytes[..head]).into_owned();
    let length = text.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok()).unwrap_or(0);
    while bytes.len() < head + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    Some((text, bytes[head..].to_vec()))
}

async fn answer(mut stream: TcpStream, kept: Arc<Kept>) {
    loop {
        if kept.down.load(Ordering::SeqCst) {
            kept.refused.fetch_add(1, Ordering::SeqCst);
            return;
        }
        let Some((head, body)) = read(&mut stream).await else { return };
        if kept.down.load(Ordering::SeqCst) {
            kept.refused.fetch_add(1, Ordering::SeqCst);
            return;
        }
        let trouble = kept.troubles.lock().unwrap().pop_front();
        if let Some(trouble) = trouble {
            *kept.had.lock().unwrap().entry(trouble.name()).or_default() += 1;
        }
        let close = "Connection: close\r\nContent-Length: 0\r\n\r\n";
        match trouble {
            Some(Trouble::Down) => return,
            Some(Trouble::Busy) => {
                let _ = stream.write_all(format!("HTTP/1.1 429 Too Many Requests\r\nRetry-After: 2\r\n{close}").as_bytes()).await;
                return;
            }
            Some(Trouble::Broken) => {
                let _ = stream.write_all(format!("HTTP/1.1 500 Internal Server Error\r\n{close}").as_bytes()).await;
                return;
            }
            Some(Trouble::Slow | Trouble::NoAnswer | Trouble::HalfAnswer) | None => {}
        }
        note(&kept, &head, &body);
        match trouble {
            Some(Trouble::Slow) => tokio::time::sleep(Duration::from_secs(6)).await,
            Some(Trouble::NoAnswer) => return,
            Some(Trouble::HalfAnswer) => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Le").await;
                return;
            }
            Some(Trouble::Down | Trouble::Busy | Trouble::Broken) | None => {}
        }
        if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.is_err() {
            return;
        }
    }
}

/// Keeps what was read: a message of ours, or the alerts of a message of Alertmanager.
fn note(kept: &Kept, head: &str, body: &[u8]) {
    let body: Json = serde_json::from_slice(body).unwrap_or_default();
    let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
    let mut arrived = kept.arrived.lock().unwrap();
    if body["plimsoll"].is_object() {
        let id = head.lines().find_map(|line| line.strip_prefix("webhook-id: ")).unwrap_or_default().to_owned();
        let ours = &body["plimsoll"];
        arrived.push(Arrived { id, incident: text(&ours["incident"]), kind: text(&ours["kind"]), body });
        return;
    }
    for alert in body["alerts"].as_array().into_iter().flatten() {
        let (incident, kind) = (text(&alert["labels"]["pool"]), text(&alert["status"]));
        arrived.push(Arrived { id: format!("{incident} {kind}"), incident, kind, body: Json::Null });
    }
}

/// A page of metrics with so many pools.
pub(super) struct Pools {
    port: u16,
    _tasks: JoinSet<()>,
}

impl Pools {
    pub(super) async fn start(count: usize, full: Arc<AtomicBool>) -> Self {
        let (port, tasks) = serve(move |stream| page(stream, count, full.clone())).await;
        Self { port, _tasks: tasks }
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/metrics", self.port)
    }
}

async fn page(mut stream: TcpStream, count: usize, full: Arc<AtomicBool>) {
    while read(&mut stream).await.is_some() {
        let used = if full.load(Ordering::SeqCst) { 10 } else { 1 };
        let mut body = String::new();
        for (name, value) in [("in_use", used), ("idle", 0), ("max_open", 10)] {
            body.push_str(&format!("# TYPE go_sql_{name}_connections gauge\n"));
            for number in 0..count {
                body.push_str(&format!("go_sql_{name}_connections{{db_name=\"p{number:03}\"}} {value}\n"));
            }
        }
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n";
        let answer = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}
