//! The server that `scripts/bench-load` loads: one thread, as little work per request as possible, HTTP/1.1 and HTTP/2 (prior
//! knowledge) on one port. Not a server for anything else: it reads what load generators send and nothing more.
//!
//!     cargo run --release --example bench_target [-- PORT]
//!
//! | path | answer |
//! | --- | --- |
//! | `/` | 13 bytes of text |
//! | `/json` | a JSON document with a token, for flows |
//! | `/tick` | as `/`, and the time of its arrival is noted |
//! | `/arrivals?rate=N` | how late the noted ones came for N a second, as JSON; forgets them |
//! | `/stall?ms=N` | answers at once; nothing else is answered for N ms |
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a tool for measurements: what fails ends it, and it says where it listens")]

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep_until};

const TEXT: &str = "Hello, world!";
const JSON: &str = r#"{"ok":true,"token":"dGhlIHRva2VuIG9mIHRoaXMgdXNlcg","user":{"id":4711,"name":"ann"},"items":[{"id":1,"price":12.5},{"id":2,"price":3}]}"#;

#[derive(Default)]
struct Shared {
    arrivals: RefCell<Vec<Instant>>,
    still_until: Cell<Option<Instant>>,
}

fn main() {
    let port = std::env::args().nth(1).map_or(0, |port| port.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(([127, 0, 0, 1], port).into()).unwrap();
        // Thousands connect in the same moment.
        let listener = socket.listen(16 * 1024).unwrap();
        println!("{{\"port\": {}}}", listener.local_addr().unwrap().port());
        let shared = Rc::<Shared>::default();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            tokio::task::spawn_local(serve(stream, shared.clone()));
        }
    });
}

async fn serve(stream: TcpStream, shared: Rc<Shared>) {
    let mut first = [0; 3];
    // Whoever breaks off is a load generator that has ended.
    let Ok(peeked) = stream.peek(&mut first).await else { return };
    let _ = if &first[..peeked] == b"PRI" {
        serve_http2(stream, shared).await.map_err(drop)
    } else {
        serve_http1(stream, shared).await.map_err(drop)
    };
}

async fn serve_http1(mut stream: TcpStream, shared: Rc<Shared>) -> std::io::Result<()> {
    let plain = format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n{TEXT}", TEXT.len());
    let json = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{JSON}", JSON.len());
    let mut buffer = Vec::with_capacity(8 * 1024);
    loop {
        let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
            continue;
        };
        let all = end + 4 + content_length(&buffer[..end]);
        while buffer.len() < all {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
        let path = buffer.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        let told = shared.told(path);
        shared.be_still(path).await;
        let answer = match &told {
            Some(told) => &format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{told}", told.len()),
            None if path.starts_with(b"/json") => &json,
            None => &plain,
        };
        stream.write_all(answer.as_bytes()).await?;
        buffer.drain(..all);
    }
}

/// The length of the body that follows a head; 0 for most.
fn content_length(head: &[u8]) -> usize {
    if head.starts_with(b"GET ") {
        return 0;
    }
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok()).unwrap_or(0)
}

async fn serve_http2(stream: TcpStream, shared: Rc<Shared>) -> Result<(), h2::Error> {
    let mut connection = h2::server::Builder::new().max_concurrent_streams(1_000).handshake::<_, Bytes>(stream).await?;
    while let Some(request) = connection.accept().await {
        let (request, mut respond) = request?;
        let path = request.uri().path().as_bytes();
        let told = shared.told(path);
        shared.be_still(path).await;
        let body = match told {
            Some(told) => Bytes::from(told),
            None if path.starts_with(b"/json") => Bytes::from_static(JSON.as_bytes()),
            None => Bytes::from_static(TEXT.as_bytes()),
        };
        respond.send_response(http::Response::new(()), false)?.send_data(body, true)?;
    }
    Ok(())
}

impl Shared {
    /// What is answered to one of the paths that are for the measurement itself; notes arrivals.
    fn told(&self, path: &[u8]) -> Option<String> {
        if path.starts_with(b"/tick") {
            self.arrivals.borrow_mut().push(Instant::now());
            return None;
        }
        if let Some(rate) = number(path, "/arrivals?rate=") {
            return Some(lateness(&self.arrivals.take(), rate as f64));
        }
        if let Some(ms) = number(path, "/stall?ms=") {
            self.still_until.set(Some(Instant::now() + Duration::from_millis(ms)));
            return Some("still".into());
        }
        None
    }

    async fn be_still(&self, path: &[u8]) {
        if let Some(until) = self.still_until.get()
            && !path.starts_with(b"/stall")
        {
            sleep_until(until).await;
            self.still_until.set(None);
        }
    }
}

fn number(path: &[u8], before: &str) -> Option<u64> {
    std::str::from_utf8(path.strip_prefix(before.as_bytes())?).ok()?.parse().ok()
}

/// How much later than a grid of `rate` a second requests arrived. The grid goes through the earliest of those before (each as early
/// as its number allows), so that a start that never came does not make the later ones late.
fn lateness(arrivals: &[Instant], rate: f64) -> String {
    let Some(begin) = arrivals.first() else { return r#"{"count": 0}"#.into() };
    let mut earliest = f64::MAX;
    let mut late: Vec<f64> = Vec::with_capacity(arrivals.len());
    for (number, arrival) in arrivals.iter().enumerate() {
        let offset = (*arrival - *begin).as_secs_f64() - number as f64 / rate;
        earliest = earliest.min(offset);
        late.push((offset - earliest) * 1e6);
    }
    // The first second finds the grid.
    let mut late = late.split_off((rate as usize).min(late.len() / 2));
    late.sort_by(f64::total_cmp);
    let at = |share: f64| late[((late.len() - 1) as f64 * share) as usize];
    format!(r#"{{"count": {}, "p50_us": {:.0}, "p99_us": {:.0}, "max_us": {:.0}}}"#, arrivals.len(), at(0.5), at(0.99), at(1.0))
}
