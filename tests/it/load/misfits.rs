//! A server that answers by path, well or badly: every way in which an HTTP/1.1 server can behave towards a load generator.
//! Speaks bytes, no library, so that it can also say what no library would.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that failed")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// The server; it ends when this is dropped.
pub(crate) struct Misfits {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    requests: AtomicU64,
    answers: AtomicU64,
    connections: AtomicU64,
    still: watch::Sender<bool>,
}

/// What becomes of a connection after an answer.
#[derive(PartialEq)]
enum After {
    Keep,
    /// Close in an orderly way.
    Close,
    /// Send RST.
    Reset,
    /// Answer nothing more, but stay.
    Hang,
    /// Read one more request, then close without answering it.
    Doom,
}

impl Misfits {
    /// Starts it on a free port.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            requests: AtomicU64::new(0),
            answers: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            still: watch::Sender::new(false),
        });
        let mut tasks = JoinSet::new();
        let all = shared.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                all.connections.fetch_add(1, Ordering::Relaxed);
                connections.spawn(serve(stream, all.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, shared, _tasks: tasks }
    }

    /// `http://HOST:PORT`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Requests that were read.
    pub(crate) fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// Answers that were written, with what came after them.
    pub(crate) fn answers(&self) -> u64 {
        self.shared.answers.load(Ordering::Relaxed)
    }

    /// Connections that were accepted.
    pub(crate) fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Stands still for so long: reads requests and answers none. Returns how long it really was.
    pub(crate) async fn stand_still(&self, time: Duration) -> Duration {
        let began = Instant::now();
        self.shared.still.send_replace(true);
        sleep(time).await;
        self.shared.still.send_replace(false);
        began.elapsed()
    }
}

async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let mut doomed = false;
    let mut rest = Vec::new();
    while let Some((method, path)) = read_request(&mut stream, &mut rest).await {
        shared.requests.fetch_add(1, Ordering::Relaxed);
        if doomed {
            if let Some(time) = path.strip_prefix("/wait/") {
                sleep(Duration::from_millis(time.parse().unwrap())).await;
            }
            return;
        }
        let mut moving = shared.still.subscribe();
        moving.wait_for(|still| !still).await.unwrap();
        let answered = answer(&mut stream, &method, &path).await;
        shared.answers.fetch_add(1, Ordering::Relaxed);
        match answered {
            Ok(After::Keep) => {}
            Ok(After::Doom) => doomed = true,
            Ok(After::Reset) => {
                // What was written must have arrived before RST throws it away.
                sleep(Duration::from_millis(50)).await;
                stream.set_zero_linger().unwrap();
                return;
            }
            Ok(After::Hang) => std::future::pending().await,
            Ok(After::Close) | Err(_) => return,
        }
    }
}

/// Method and path of the next request, its body read and forgotten; `None` at the end of the connection.
async fn read_request(stream: &mut TcpStream, rest: &mut Vec<u8>) -> Option<(String, String)> {
    let end = loop {
        if let Some(at) = rest.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(rest).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(rest.drain(..end).collect()).unwrap();
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    let mut words = head.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    // These do not read bodies.
    while !matches!(path.as_str(), "/deaf" | "/refuse-upload") && rest.len() < length.unwrap_or(0) {
        if stream.read_buf(rest).await.ok()? == 0 {
            return None;
        }
    }
    rest.drain(..length.unwrap_or(0).min(rest.len()));
    Some((method, path))
}

fn plain(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

async fn answer(stream: &mut TcpStream, method: &str, path: &str) -> std::io::Result<After> {
    if let Some(time) = path.strip_prefix("/wait/") {
        sleep(Duration::from_millis(time.parse().unwrap())).await;
        stream.write_all(plain("200 OK", r#"{"ok":true}"#).as_bytes()).await?;
        return Ok(After::Keep);
    }
    if path == "/big" {
        let size = 9 * 1024 * 1024;
        stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n").as_bytes()).await?;
        stream.write_all(&vec![b'1'; size]).await?;
        return Ok(After::Keep);
    }
    let (text, after) = if path.starts_with("/well/") { good(method, path) } else { bad(path) };
    for piece in text.split_inclusive('\u{1}') {
        // A pause where the text has one, so that the peer sees what came before.
        stream.write_all(piece.trim_end_matches('\u{1}').as_bytes()).await?;
        if piece.ends_with('\u{1}') {
            sleep(Duration::from_millis(5)).await;
        }
    }
    Ok(after)
}

fn good(method: &str, path: &str) -> (String, After) {
    let body = r#"{"ok":true}"#;
    match path {
        "/well/plain" if method == "HEAD" => ("HTTP/1.1 200 OK\r\nContent-Length: 4711\r\n\r\n".into(), After::Keep),
        "/well/plain" => (plain("200 OK", body), After::Keep),
        "/well/chunked" => {
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"ok\"\r\n\u{1}6\r\n:true}\r\n\u{1}0\r\n\r\n".into(), After::Keep)
        }
        "/well/until-close" => (format!("HTTP/1.1 200 OK\r\n\r\n{body}"), After::Close),
        "/well/old" => (format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()), After::Close),
        "/well/no-content" => ("HTTP/1.1 204 No Content\r\n\r\n".into(), After::Keep),
        // The length is the one that a 200 would have had; there is no body.
        "/well/not-modified" => ("HTTP/1.1 304 Not Modified\r\nContent-Length: 4711\r\n\r\n".into(), After::Keep),
        "/well/moved" => ("HTTP/1.1 302 Found\r\nLocation: /well/plain\r\nContent-Length: 0\r\n\r\n".into(), After::Keep),
        "/well/hints" => {
            let hints = "HTTP/1.1 100 Continue\r\n\r\n\u{1}HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n\u{1}";
            (format!("{hints}{}", plain("200 OK", body)), After::Keep)
        }
        "/well/then-closed" => (plain("200 OK", body), After::Close),
        "/well/then-chatty" => (format!("{}\u{1}hello", plain("200 OK", body)), After::Keep),
        "/well/then-doomed" => (plain("200 OK", body), After::Doom),
        other => panic!("unknown path {other}"),
    }
}

fn bad(path: &str) -> (String, After) {
    match path {
        "/reset" => ("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf".into(), After::Reset),
        "/reset-at-once" => (String::new(), After::Reset),
        "/close" => (String::new(), After::Close),
        "/half" => ("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf".into(), After::Close),
        "/half-chunked" => ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n".into(), After::Close),
        "/half-head" => ("HTTP/1.1 200 OK\r\nContent-Le".into(), After::Close),
        "/garbage" => ("SSH-2.0-OpenSSH_9.9\r\n\r\n".into(), After::Hang),
        "/chatty" => (format!("{}hello", plain("200 OK", "{}")), After::Hang),
        "/drip" => (format!("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{}", "x\u{1}".repeat(50_000)), After::Keep),
        "/refuse-upload" => (plain("413 Content Too Large", "too large"), After::Hang),
        "/bad-chunk" => ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n".into(), After::Hang),
        "/no-body" => ("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n".into(), After::Hang),
        "/slow-head" => ("HTTP/1.1 200 OK\r\nContent-Le".into(), After::Hang),
        "/silence" | "/deaf" => (String::new(), After::Hang),
        "/400" => (plain("400 Bad Request", r#"{"error": "no such card", "password": "hunter2"}"#), After::Keep),
        "/500" => (plain("500 Internal Server Error", "sorry, too many clients\n already; Authorization: Basic dXNlcjpwdw=="), After::Keep),
        "/not-json" => (plain("200 OK", "<html>"), After::Keep),
        "/null" => (plain("200 OK", r#"{"ok":null}"#), After::Keep),
        other => panic!("unknown path {other}"),
    }
}
