//! HTTP/2: requests side by side on shared connections, and every way in which a stream or a connection can end.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that failed")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use h2::server::SendResponse;
use h2::{Reason as H2Reason, RecvStream};
use plimsoll::model::failure::{Phase, Reason};
use plimsoll::model::request::{Connections, HttpOptions, HttpVersion};
use plimsoll::protocol::http::{Headers, HttpClient};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::asker::{Ask, Ways, answer, failure, on_a_load_thread};
use super::grpc_misfits::{GOODBYE_AFTER, Kind, Misfits};
use super::notepad::{Notepad, text};

/// A server that answers by path; it ends when this is dropped.
struct Server {
    address: SocketAddr,
    counts: Arc<Counts>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct Counts {
    connections: AtomicU64,
    requests: AtomicU64,
    at_once: AtomicU64,
    most_at_once: AtomicU64,
}

/// What a connection does after a request.
enum After {
    Keep,
    /// GOAWAY with this code, at once.
    Abrupt(H2Reason),
    /// GOAWAY once everything is answered.
    Graceful,
    /// Close the socket.
    Close,
}

impl Server {
    /// With so many streams at once per connection.
    async fn start(streams: u32) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let (address, counts) = (listener.local_addr().unwrap(), Arc::<Counts>::default());
        let (mut tasks, all) = (JoinSet::new(), counts.clone());
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                all.connections.fetch_add(1, Ordering::Relaxed);
                open.spawn(serve(stream, streams, all.clone()));
            }
        });
        Self { address, counts, _tasks: tasks }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn connections(&self) -> u64 {
        self.counts.connections.load(Ordering::Relaxed)
    }
}

async fn serve(stream: TcpStream, streams: u32, counts: Arc<Counts>) {
    let mut builder = h2::server::Builder::new();
    let Ok(mut connection) = builder.max_concurrent_streams(streams).handshake::<_, Bytes>(stream).await else { return };
    let mut answers = JoinSet::new();
    while let Some(Ok((request, respond))) = connection.accept().await {
        counts.requests.fetch_add(1, Ordering::Relaxed);
        let path = request.uri().path().to_owned();
        answers.spawn(answer_to(path.clone(), request.into_body(), respond, counts.clone()));
        match after(&path) {
            After::Keep => {}
            After::Graceful => connection.graceful_shutdown(),
            After::Abrupt(reason) => connection.abrupt_shutdown(reason),
            After::Close => {
                // What was answered has to be on its way.
                let _ = tokio::time::timeout(Duration::from_millis(100), connection.accept()).await;
                return;
            }
        }
    }
}

fn after(path: &str) -> After {
    match path {
        "/goaway" => After::Graceful,
        "/calm" => After::Abrupt(H2Reason::ENHANCE_YOUR_CALM),
        "/bye" => After::Abrupt(H2Reason::NO_ERROR),
        "/close" | "/half" => After::Close,
        _ => After::Keep,
    }
}

async fn answer_to(path: String, mut body: RecvStream, mut respond: SendResponse<Bytes>, counts: Arc<Counts>) {
    let head = |status: u16| http::Response::builder().status(status).header("x-kept", "yes").body(()).unwrap();
    match path.as_str() {
        "/reset" => respond.send_reset(H2Reason::INTERNAL_ERROR),
        "/unruly" => respond.send_reset(H2Reason::PROTOCOL_ERROR),
        "/refused" => respond.send_reset(H2Reason::REFUSED_STREAM),
        "/torn" | "/half" | "/slow" => {
            let mut stream = respond.send_response(head(200), false).unwrap();
            stream.send_data("half".into(), false).unwrap();
            tokio::time::sleep(Duration::from_millis(30)).await;
            if path == "/torn" {
                stream.send_reset(H2Reason::CANCEL);
            }
            std::future::pending::<()>().await;
        }
        "/echo" => {
            let mut stream = respond.send_response(head(200), false).unwrap();
            while let Some(Ok(piece)) = body.data().await {
                body.flow_control().release_capacity(piece.len()).unwrap();
                stream.send_data(piece, false).unwrap();
            }
            stream.send_data(Bytes::new(), true).unwrap();
        }
        "/lies" => {
            let lying = http::Response::builder().header("content-length", "100").body(()).unwrap();
            respond.send_response(lying, false).unwrap().send_data("short".into(), true).unwrap();
        }
        "/wait" => {
            let at_once = counts.at_once.fetch_add(1, Ordering::Relaxed) + 1;
            counts.most_at_once.fetch_max(at_once, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(50)).await;
            counts.at_once.fetch_sub(1, Ordering::Relaxed);
            respond.send_response(head(200), false).unwrap().send_data("waited".into(), true).unwrap();
        }
        "/silence" | "/calm" | "/bye" | "/close" => std::future::pending().await,
        other => {
            let text = Bytes::from(format!("it is {other}"));
            respond.send_response(head(if other == "/500" { 500 } else { 200 }), false).unwrap().send_data(text, true).unwrap();
        }
    }
}

fn ways(connections: Connections) -> Ways {
    Ways { options: HttpOptions { version: HttpVersion::Http2, connections, ..HttpOptions::default() }, ..Ways::default() }
}

#[tokio::test]
async fn requests_and_answers_are_as_over_http1() {
    let server = Server::start(100).await;
    let ways = ways(Connections::PerVu);
    on_a_load_thread(async {
        let mut client = HttpClient::new(ways.pool(&[server.address.to_string()]));
        let mut ask = Ask::new("GET", &server.url("/x"), &ways).header("X-A", "1").header("Connection", "keep-alive");
        ask.keep.headers = Headers::Named(vec!["x-kept".parse().unwrap()]);
        let first = ask.by(&mut client).await;
        assert_eq!((answer(&first), first.headers["x-kept"].as_bytes()), ((200, "it is /x".into()), b"yes".as_slice()));
        let again = ask.by(&mut client).await;
        assert!(first.outcome.connected && !again.outcome.connected);
        assert!(again.outcome.bytes_sent > 9 && again.outcome.bytes_received > 9 + 8, "{:?}", again.outcome);
        let phases = again.outcome.phases;
        assert!(!phases.waiting.is_zero() && phases.connecting.is_zero(), "{phases:?}");
        assert_eq!(answer(&Ask::new("GET", &server.url("/500"), &ways).by(&mut client).await).0, 500);
        let mut upload = Ask::new("POST", &server.url("/echo"), &ways);
        upload.body = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect::<Vec<u8>>().into();
        let exchange = upload.by(&mut client).await;
        assert!(exchange.outcome.failure.is_none() && exchange.body == upload.body, "{:?}", exchange.outcome);
        assert_eq!(server.connections(), 1);
    })
    .await;
}

#[tokio::test]
async fn every_end_of_a_stream_or_a_connection_has_one_reason() {
    let server = Server::start(100).await;
    let ways = ways(Connections::PerVu);
    on_a_load_thread(async {
        let allow = [server.address.to_string()];
        for (path, reason, message) in [
            ("/reset", Reason::Reset, "unexpected internal error"),
            ("/refused", Reason::Reset, "refused stream"),
            ("/torn", Reason::Reset, "no longer needed"),
            ("/unruly", Reason::Protocol, "unspecific protocol error"),
            ("/calm", Reason::Reset, "excessive load"),
            ("/bye", Reason::ClosedEarly, ""),
            ("/close", Reason::ClosedEarly, "connection closed"),
            ("/half", Reason::ClosedEarly, "connection closed"),
            ("/lies", Reason::Protocol, "protocol error"),
            ("/silence", Reason::Timeout(Phase::Waiting), "no answer within 1000 ms"),
            ("/slow", Reason::Timeout(Phase::Receiving), "no answer within 1000 ms"),
        ] {
            // On a connection that was opened for it, and on one that was kept.
            for (kept, method) in [(false, "POST"), (true, "POST"), (false, "GET"), (true, "GET")] {
                let mut client = HttpClient::new(ways.pool(&allow));
                if kept {
                    assert_eq!(answer(&Ask::new("GET", &server.url("/x"), &ways).by(&mut client).await).0, 200);
                }
                let mut ask = Ask::new(method, &server.url(path), &ways);
                ask.timeout = Duration::from_secs(if matches!(reason, Reason::Timeout(_)) { 1 } else { 30 });
                let exchange = ask.by(&mut client).await;
                let (failed_for, text) = failure(&exchange);
                assert_eq!((failed_for, exchange.status), (Some(reason.clone()), None), "{method} {path} {kept}: {text}");
                assert!(text.contains(message), "{path}: {text}");
                // And the next request finds a way.
                assert_eq!(answer(&Ask::new("GET", &server.url("/y"), &ways).by(&mut client).await).0, 200, "{path} {kept}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_the_server_leaves_is_no_failure_for_who_may_ask_again() {
    let server = Server::start(100).await;
    let ways = ways(Connections::PerVu);
    on_a_load_thread(async {
        let mut client = HttpClient::new(ways.pool(&[server.address.to_string()]));
        for _ in 0..5 {
            // Answered in full, then GOAWAY.
            assert_eq!(answer(&Ask::new("GET", &server.url("/goaway"), &ways).by(&mut client).await).0, 200);
            assert_eq!(answer(&Ask::new("GET", &server.url("/x"), &ways).by(&mut client).await).0, 200);
        }
        assert!((5..=10).contains(&server.connections()), "{}", server.connections());
    })
    .await;
}

#[tokio::test]
async fn who_does_not_speak_http2_is_found_out() {
    let plain = Notepad::start(|_| text(200, "")).await;
    let garbage = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let ways = ways(Connections::PerVu);
    on_a_load_thread(async {
        let mut client = HttpClient::new(ways.pool(&[plain.host(), garbage.local_addr().unwrap().to_string()]));
        // This one closes without a word.
        let (reason, text) = failure(&Ask::new("GET", &plain.url("/"), &ways).by(&mut client).await);
        assert_eq!(reason, Some(Reason::ClosedEarly), "{text}");
        let url = format!("http://{}/", garbage.local_addr().unwrap());
        let ask = Ask::new("GET", &url, &ways);
        let speak = async {
            let (mut stream, _) = garbage.accept().await.unwrap();
            stream.write_all(&[b'x'; 1_000]).await.unwrap();
            stream
        };
        let (exchange, _stream) = tokio::join!(ask.by(&mut client), speak);
        assert_eq!(failure(&exchange).0, Some(Reason::Protocol), "{exchange:?}");
    })
    .await;
}

/// Sends 60 requests at once through clients of one pool; returns connections and the most that the server saw at once.
async fn at_once(connections: Connections, streams: u32) -> (u64, u64) {
    let server = Server::start(streams).await;
    let ways = ways(connections);
    on_a_load_thread(async {
        let pool = ways.pool(&[server.address.to_string()]);
        let ask = Ask::new("GET", &server.url("/wait"), &ways);
        for _ in 0..2 {
            let mut clients: Vec<HttpClient> = (0..60).map(|_| HttpClient::new(pool.clone())).collect();
            let exchanges = join_all(clients.iter_mut().map(|client| ask.by(client))).await;
            assert!(exchanges.iter().all(|exchange| answer(exchange) == (200, "waited".into())));
            let sent: u64 = exchanges.iter().map(|exchange| exchange.outcome.bytes_sent).sum();
            assert!(sent > 60 * 9, "{sent}");
        }
    })
    .await;
    assert_eq!(server.counts.requests.load(Ordering::Relaxed), 120);
    (server.connections(), server.counts.most_at_once.load(Ordering::Relaxed))
}

#[tokio::test]
async fn a_shared_connection_carries_many_requests_at_once() {
    assert_eq!(at_once(Connections::Shared, 100).await, (1, 60));
    // More than a connection may carry: as many connections as that takes.
    let (connections, most) = at_once(Connections::Shared, 10).await;
    assert!((6..=12).contains(&connections) && most > 10, "{connections} connections, {most} at once");
    let (connections, most) = at_once(Connections::PerVu, 100).await;
    assert_eq!((connections, most), (120, 60));
}

#[tokio::test]
async fn a_request_that_the_server_has_not_begun_with_is_sent_again_whatever_it_does() {
    let ways = ways(Connections::PerVu);
    on_a_load_thread(async {
        for method in ["POST", "GET"] {
            let server = Misfits::start(Kind::Goodbye).await;
            let host = format!("127.0.0.1:{}", server.port);
            let ask = Ask::new(method, &format!("http://{host}/"), &ways);
            let mut client = HttpClient::new(ways.pool(&[host]));
            let exchanges = [ask.by(&mut client).await, ask.by(&mut client).await, ask.by(&mut client).await];
            let told = exchanges.iter().map(|exchange| (answer(exchange).0, exchange.outcome.resent, exchange.outcome.connected));
            assert_eq!(told.collect::<Vec<_>>(), [(200, 0, true), (200, 1, true), (200, 0, false)], "{method}");
            assert_eq!(server.connections(), 2);
            // The time of the first sending is the request's, too.
            assert!(exchanges[1].outcome.phases.service_time() >= GOODBYE_AFTER, "{:?}", exchanges[1].outcome);
        }
        // A server that refuses is asked three times on a connection that is well, and one that always says goodbye once on a new one.
        let server = Server::start(100).await;
        let mut client = HttpClient::new(ways.pool(&[server.address.to_string()]));
        assert_eq!(answer(&Ask::new("GET", &server.url("/x"), &ways).by(&mut client).await).0, 200);
        let refused = Ask::new("POST", &server.url("/refused"), &ways).by(&mut client).await;
        assert_eq!((failure(&refused).0, refused.outcome.resent), (Some(Reason::Reset), 2));
        assert_eq!((server.connections(), server.counts.requests.load(Ordering::Relaxed)), (1, 4));
        for (kind, reason) in [(Kind::AlwaysGoodbye, Reason::ClosedEarly), (Kind::Calm, Reason::Reset)] {
            let server = Misfits::start(kind).await;
            let host = format!("127.0.0.1:{}", server.port);
            let exchange = Ask::new("GET", &format!("http://{host}/"), &ways).by(&mut HttpClient::new(ways.pool(&[host]))).await;
            assert_eq!((failure(&exchange).0, exchange.outcome.resent, server.connections()), (Some(reason), 0, 1), "{kind:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn what_a_vu_does_at_the_same_time_shares_its_connection() {
    let ways = ways(Connections::PerVu);
    for connected in [true, false] {
        let server = Server::start(100).await;
        on_a_load_thread(async {
            let mut client = HttpClient::new(ways.pool(&[server.address.to_string()]));
            if connected {
                assert_eq!(answer(&Ask::new("GET", &server.url("/x"), &ways).by(&mut client).await).0, 200);
            }
            let mut siblings: Vec<HttpClient> = (0..6).map(|_| client.sibling()).collect();
            let ask = Ask::new("GET", &server.url("/wait"), &ways);
            for _ in 0..2 {
                let exchanges = join_all(siblings.iter_mut().map(|sibling| ask.by(sibling))).await;
                assert!(exchanges.iter().all(|exchange| answer(exchange) == (200, "waited".into())));
            }
            assert_eq!(answer(&Ask::new("GET", &server.url("/x"), &ways).by(&mut client).await).0, 200);
            assert_eq!((server.connections(), server.counts.most_at_once.load(Ordering::Relaxed)), (1, 6));
            // A new user has a connection of its own.
            client.hang_up();
            assert_eq!(answer(&ask.by(&mut siblings[0]).await).0, 200);
            assert_eq!(server.connections(), 2);
        })
        .await;
    }
}
