//! An HTTP/2 server that answers gRPC calls badly: by the metadata `misfit`, in every way that a server, a proxy or a network can.
//! What h2 would not say is written as bytes.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that failed")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use h2::Reason;
use h2::server::SendResponse;
use http::{HeaderMap, Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// How long a server waits before it says goodbye to a call.
pub(super) const GOODBYE_AFTER: std::time::Duration = std::time::Duration::from_millis(200);

/// The server; it ends when this is dropped.
pub(super) struct Misfits {
    pub(super) port: u16,
    connections: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
}

/// What a connection does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    /// HTTP/2; each call says what becomes of it.
    Calls,
    /// Closes at once.
    Closes,
    /// Sends RST at once.
    Resets,
    /// Answers in HTTP/1.1.
    Http1,
    /// Begins well, then sends what is no frame.
    Garbage,
    /// Sends half a frame, then closes.
    HalfFrame,
    /// Takes what comes and says nothing.
    Silent,
    /// The first connection answers one call, and says goodbye when the second is on its way, which it has not begun with. Others behave.
    Goodbye,
    /// Says goodbye to the first call of every connection.
    AlwaysGoodbye,
    /// Ends the connection with an error while a call is running.
    Calm,
}

impl Misfits {
    pub(super) async fn start(kind: Kind) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicU64::new(0));
        let refused = Arc::new(AtomicU64::new(0));
        let (count, refusals) = (connections.clone(), refused.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut serving = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let number = count.fetch_add(1, Ordering::SeqCst);
                serving.spawn(serve(stream, kind, number, refusals.clone()));
            }
        });
        Self { port, connections, refused, _tasks: tasks }
    }

    /// Connections so far.
    pub(super) fn connections(&self) -> u64 {
        self.connections.load(Ordering::SeqCst)
    }

    /// Calls that were refused so far.
    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::SeqCst)
    }
}

async fn serve(mut stream: TcpStream, kind: Kind, number: u64, refused: Arc<AtomicU64>) {
    match kind {
        Kind::Calls => calls(stream, &refused).await,
        Kind::Closes => {}
        Kind::Resets => stream.set_zero_linger().unwrap(),
        Kind::Http1 => stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await.unwrap(),
        Kind::Garbage => {
            stream.write_all(&frame(4, 0, 0, b"")).await.unwrap();
            stream.write_all(&[0xff; 100]).await.unwrap();
            wait_for_end(&mut stream).await;
        }
        Kind::HalfFrame => {
            stream.write_all(&frame(4, 0, 0, b"")).await.unwrap();
            read_headers(&mut stream, 1).await;
            stream.write_all(&frame(1, 4, 1, b"\x88")[..9]).await.unwrap();
        }
        Kind::Silent => wait_for_end(&mut stream).await,
        Kind::Goodbye if number > 0 => calls(stream, &refused).await,
        Kind::Goodbye => {
            stream.write_all(&frame(4, 0, 0, b"")).await.unwrap();
            read_headers(&mut stream, 1).await;
            stream.write_all(&good_answer(1)).await.unwrap();
            read_headers(&mut stream, 3).await;
            tokio::time::sleep(GOODBYE_AFTER).await;
            stream.write_all(&goaway(1, 0)).await.unwrap();
        }
        Kind::AlwaysGoodbye => {
            stream.write_all(&frame(4, 0, 0, b"")).await.unwrap();
            read_headers(&mut stream, 1).await;
            stream.write_all(&goaway(0, 0)).await.unwrap();
            wait_for_end(&mut stream).await;
        }
        Kind::Calm => {
            stream.write_all(&frame(4, 0, 0, b"")).await.unwrap();
            read_headers(&mut stream, 1).await;
            stream.write_all(&goaway(0, Reason::ENHANCE_YOUR_CALM.into())).await.unwrap();
            wait_for_end(&mut stream).await;
        }
    }
}

async fn wait_for_end(stream: &mut TcpStream) {
    let mut buffer = [0; 1024];
    while matches!(stream.read(&mut buffer).await, Ok(1..)) {}
}

/// A frame: type, flags, stream, payload (RFC 9113, 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn goaway(last: u32, code: u32) -> Vec<u8> {
    frame(7, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat())
}

/// A header that is not indexed (RFC 7541, 6.2.2).
fn header(name: &str, value: &str) -> Vec<u8> {
    [&[0, name.len() as u8][..], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat()
}

/// An empty message and OK.
fn good_answer(stream: u32) -> Vec<u8> {
    let head = [&b"\x88"[..], &header("content-type", "application/grpc")].concat();
    [frame(1, 4, stream, &head), frame(0, 0, stream, &[0; 5]), frame(1, 5, stream, &header("grpc-status", "0"))].concat()
}

/// Reads frames, after the preface, until the headers of this stream came.
async fn read_headers(stream: &mut TcpStream, wanted: u32) {
    if wanted == 1 {
        let mut preface = [0; 24];
        stream.read_exact(&mut preface).await.unwrap();
    }
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        stream.read_exact(&mut payload).await.unwrap();
        if head[3] == 1 && head[5..9] == wanted.to_be_bytes() {
            return;
        }
    }
}

async fn calls(stream: TcpStream, refused: &AtomicU64) {
    let mut connection = h2::server::handshake(stream).await.unwrap();
    let mut answering = JoinSet::new();
    while let Some(Ok((request, respond))) = connection.accept().await {
        match misfit(&request) {
            // The server is gone in the middle of an answer.
            "vanish" => {
                let mut respond = respond;
                let mut body = respond.send_response(head(), false).unwrap();
                body.send_data(message(b"")[..2].to_vec().into(), false).unwrap();
                let flushed = async { while connection.accept().await.is_some() {} };
                _ = tokio::time::timeout(std::time::Duration::from_millis(200), flushed).await;
                return;
            }
            "refused-stream" => {
                refused.fetch_add(1, Ordering::SeqCst);
                let mut respond = respond;
                respond.send_reset(Reason::REFUSED_STREAM);
            }
            "leave" => {
                connection.graceful_shutdown();
                answering.spawn(answer(request, respond));
            }
            _ => _ = answering.spawn(answer(request, respond)),
        }
    }
}

fn misfit<T>(request: &Request<T>) -> &str {
    request.headers().get("misfit").map_or("none", |value| value.to_str().unwrap())
}

fn head() -> Response<()> {
    Response::builder().header("content-type", "application/grpc").body(()).unwrap()
}

fn http(status: u16, kind: &str) -> Response<()> {
    Response::builder().status(status).header("content-type", kind).body(()).unwrap()
}

fn message(payload: &[u8]) -> Vec<u8> {
    [&[0], &(payload.len() as u32).to_be_bytes()[..], payload].concat()
}

fn trailers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

/// Headers, these bytes, and these trailers.
fn whole(respond: &mut SendResponse<Bytes>, bytes: &[u8], end: &[(&'static str, &'static str)]) {
    let mut body = respond.send_response(head(), false).unwrap();
    body.send_data(bytes.to_vec().into(), false).unwrap();
    body.send_trailers(trailers(end)).unwrap();
}

/// Headers and these bytes, which are the end.
fn without_trailers(respond: &mut SendResponse<Bytes>, head: Response<()>, bytes: &[u8]) {
    let mut body = respond.send_response(head, false).unwrap();
    body.send_data(bytes.to_vec().into(), true).unwrap();
}

async fn answer(request: Request<h2::RecvStream>, mut respond: SendResponse<Bytes>) {
    const OK: &[(&str, &str)] = &[("grpc-status", "0")];
    let well = message(b"");
    let respond = &mut respond;
    match misfit(&request) {
        "none" | "leave" => whole(respond, &well, OK),
        "reset" => respond.send_reset(Reason::INTERNAL_ERROR),
        "reset-protocol" => respond.send_reset(Reason::PROTOCOL_ERROR),
        "reset-in-the-middle" => {
            let mut body = respond.send_response(head(), false).unwrap();
            body.send_data(well[..3].to_vec().into(), false).unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            body.send_reset(Reason::CANCEL);
        }
        "no-trailers" => without_trailers(respond, head(), &well),
        "truncated" => whole(respond, &message(b"abc")[..6], OK),
        "truncated-at-the-end" => without_trailers(respond, head(), &message(b"abc")[..6]),
        "truncated-with-status" => whole(respond, &message(b"abc")[..6], &[("grpc-status", "13")]),
        "too-large" => whole(respond, &[0, 0x7f, 0xff, 0xff, 0xff, 1], OK),
        "no-message" => whole(respond, b"", OK),
        "two-messages" => whole(respond, &[well.clone(), well].concat(), OK),
        "bad-flag" => whole(respond, b"\x07\0\0\0\0", OK),
        "compressed" => whole(respond, b"\x01\0\0\0\0", OK),
        "no-status" => whole(respond, &well, &[("x-other", "1")]),
        "bad-status" => whole(respond, &well, &[("grpc-status", "OK")]),
        "unknown-status" => whole(respond, &well, &[("grpc-status", "99")]),
        "not-the-schema" => whole(respond, &message(&[0xff; 4]), OK),
        "empty" => drop(respond.send_response(head(), true).unwrap()),
        "html" => without_trailers(respond, http(200, "text/html"), b"<html>welcome</html>"),
        "proxy-503" => without_trailers(respond, http(503, "text/plain"), b"no healthy upstream"),
        "not-found" => drop(respond.send_response(http(404, "text/plain"), true).unwrap()),
        "unauthorized" => drop(respond.send_response(http(401, "text/plain"), true).unwrap()),
        "teapot" => without_trailers(respond, http(418, "text/plain"), &[b'x'; 5000]),
        "status-only" => {
            let mut response = head();
            response.headers_mut().extend(trailers(&[("grpc-status", "5"), ("grpc-message", "no%20such%20caf%C3%A9")]));
            respond.send_response(response, true).unwrap();
        }
        "brotli" => {
            let mut response = head();
            response.headers_mut().insert("grpc-encoding", "br".parse().unwrap());
            without_trailers(respond, response, b"\x01\0\0\0\0");
        }
        "bad-gzip" => {
            let mut response = head();
            response.headers_mut().insert("grpc-encoding", "gzip".parse().unwrap());
            without_trailers(respond, response, b"\x01\0\0\0\x03abc");
        }
        "half-silence" => {
            let _body = respond.send_response(head(), false).unwrap();
            std::future::pending::<()>().await;
        }
        // Neither answers nor reads.
        "silence" => std::future::pending().await,
        other => panic!("there is no misfit `{other}`"),
    }
}
