//! The server that `scripts/bench-load` loads: one thread, as little work per request as possible, HTTP/1.1 and HTTP/2 (prior
//! knowledge) on one port, both over TLS (ALPN, a certificate made at the start) on another. Not a server for anything else: it reads
//! what load generators send and nothing more.
//!
//!     cargo run --release --example bench_target [-- PORT]
//!
//! | path | answer |
//! | --- | --- |
//! | `/` | 13 bytes of text |
//! | `/json` | a JSON document with a token, for flows |
//! | `/grpc.health.v1.Health/Check` | HTTP/2: a message that says SERVING |
//! | `/tick` | as `/`, and the time of its arrival is noted |
//! | `/arrivals?rate=N` | how late the noted ones came for N a second, as JSON; forgets them |
//! | `/stall?ms=N` | answers at once; nothing else is answered for N ms |
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a tool for measurements: what fails ends it, and it says where it listens")]

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{Instant, sleep_until};
use tokio_rustls::TlsAcceptor;

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
        let (plain, secret, acceptor) = (listen(port), listen(0), acceptor());
        println!("{{\"port\": {}, \"tls_port\": {}}}", plain.local_addr().unwrap().port(), secret.local_addr().unwrap().port());
        let shared = Rc::<Shared>::default();
        let over_tls = shared.clone();
        tokio::task::spawn_local(async move {
            loop {
                let stream = accept(&secret).await;
                tokio::task::spawn_local(serve_tls(stream, acceptor.clone(), over_tls.clone()));
            }
        });
        loop {
            tokio::task::spawn_local(serve(accept(&plain).await, shared.clone()));
        }
    });
}

fn listen(port: u16) -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(([127, 0, 0, 1], port).into()).unwrap();
    // Thousands connect in the same moment.
    socket.listen(16 * 1024).unwrap()
}

async fn accept(listener: &TcpListener) -> TcpStream {
    let (stream, _) = listener.accept().await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// With a certificate that signs itself: generators are told not to look at it.
fn acceptor() -> TlsAcceptor {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

async fn serve(stream: TcpStream, shared: Rc<Shared>) {
    let mut first = [0; 3];
    // Whoever breaks off is a load generator that has ended.
    let Ok(peeked) = stream.peek(&mut first).await else { return };
    serve_either(stream, &first[..peeked] == b"PRI", shared).await;
}

async fn serve_tls(stream: TcpStream, acceptor: TlsAcceptor, shared: Rc<Shared>) {
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    serve_either(stream, http2, shared).await;
}

async fn serve_either(stream: impl AsyncRead + AsyncWrite + Unpin, http2: bool, shared: Rc<Shared>) {
    // As above.
    let _ = if http2 { serve_http2(stream, shared).await.map_err(drop) } else { serve_http1(stream, shared).await.map_err(drop) };
}

async fn serve_http1(mut stream: impl AsyncRead + AsyncWrite + Unpin, shared: Rc<Shared>) -> std::io::Result<()> {
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
        stream.flush().await?;
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

async fn serve_http2(stream: impl AsyncRead + AsyncWrite + Unpin, shared: Rc<Shared>) -> Result<(), h2::Error> {
    let mut connection = h2::server::Builder::new().max_concurrent_streams(1_000).handshake::<_, Bytes>(stream).await?;
    while let Some(request) = connection.accept().await {
        let (request, mut respond) = request?;
        let path = request.uri().path().as_bytes();
        if path.starts_with(b"/grpc.") {
            tokio::task::spawn_local(read(request.into_body()));
            serving(&mut respond)?;
            continue;
        }
        let told = shared.told(path);
        shared.be_still(path).await;
        let body = match told {
            Some(told) => Bytes::from(told),
            None if path.starts_with(b"/json") => Bytes::from_static(JSON.as_bytes()),
            None => Bytes::from_static(TEXT.as_bytes()),
        };
        respond.send_response(Response::new(()), false)?.send_data(body, true)?;
    }
    Ok(())
}

/// Reads a message to its end and forgets it.
async fn read(mut body: h2::RecvStream) {
    while let Some(Ok(data)) = body.data().await {
        if body.flow_control().release_capacity(data.len()).is_err() {
            return;
        }
    }
}

/// Answers a health check of gRPC: one message, field 1 is 1 (SERVING), then the status.
fn serving(respond: &mut h2::server::SendResponse<Bytes>) -> Result<(), h2::Error> {
    let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    let mut body = respond.send_response(head, false)?;
    body.send_data(Bytes::from_static(&[0, 0, 0, 0, 2, 8, 1]), false)?;
    body.send_trailers(HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))]))
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
