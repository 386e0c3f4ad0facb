//! WebSockets against a real server of another implementation, the demo target, and servers that misbehave: what is said is heard,
//! figures are the wire's, and every failure has exactly one reason.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that failed")]

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::header::SET_COOKIE;
use plimsoll::model::failure::{Phase, Reason};
use plimsoll::model::measure::Outcome;
use plimsoll::model::request::{HttpOptions, TlsOptions};
use plimsoll::protocol::dial::{Dialer, Origin};
use plimsoll::protocol::dns::Dns;
use plimsoll::protocol::guard::Guard;
use plimsoll::protocol::http::{HttpClient, HttpPool};
use plimsoll::protocol::tls::Tls;
use plimsoll::protocol::websocket::{Closing, Heard, Opened, Opening, Payload, Socket};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::websocket_misfits::SocketMisfits;
use crate::demo::target;
use crate::servers::free_port;
use crate::servers::websocket::SocketServer;

/// Time enough on a busy machine for whatever answers at all.
pub(super) const AMPLE: Duration = Duration::from_secs(30);
/// Time that runs out.
pub(super) const SHORT: Duration = Duration::from_millis(300);

/// A server and the way to it.
pub(super) struct Target {
    origin: Origin,
    dialer: Dialer,
}

impl Target {
    pub(super) fn at(url: &str, tls: &TlsOptions) -> Self {
        let url = url.parse().unwrap();
        let guard = Guard::new(&[], Some(&url));
        Self { origin: Origin::of(&url).unwrap(), dialer: Dialer::new(Arc::new(guard), Tls::new(tls).unwrap(), Dns::default()) }
    }

    pub(super) fn plain(url: &str) -> Self {
        Self::at(url, &TlsOptions::default())
    }

    pub(super) fn of(server: &SocketServer) -> Self {
        Self::plain(&format!("ws://127.0.0.1:{}", server.port))
    }

    fn opening<'a>(&'a self, path: &'a str) -> Opening<'a> {
        Opening { origin: &self.origin, path, headers: &[], subprotocols: &[], max_message: 64 * 1024, timeout: AMPLE }
    }

    async fn open(&self, path: &str) -> Opened {
        Socket::open(&self.dialer, &self.opening(path)).await
    }

    pub(super) async fn socket(&self, path: &str) -> Socket {
        opened(self.open(path).await)
    }
}

fn opened(opened: Opened) -> Socket {
    assert_eq!((opened.outcome.failure, opened.outcome.message, opened.status), (None, None, Some(101)));
    opened.socket.unwrap()
}

/// Sends a text and waits for a message that has `part` in it.
pub(super) async fn ask(socket: &mut Socket, text: &str, part: &str, within: Duration) -> Heard {
    let mut wanted = |message: &[u8]| String::from_utf8_lossy(message).contains(part);
    socket.exchange(Some(Payload::Text(text)), Some(&mut wanted), within).await
}

/// Waits for a message that has `part` in it.
pub(super) async fn listen(socket: &mut Socket, part: &str, within: Duration) -> Heard {
    let mut wanted = |message: &[u8]| String::from_utf8_lossy(message).contains(part);
    socket.exchange(None, Some(&mut wanted), within).await
}

pub(super) fn text(heard: Heard) -> String {
    assert_eq!((heard.outcome.failure, heard.outcome.message), (None, None));
    String::from_utf8(heard.message.unwrap().to_vec()).unwrap()
}

pub(super) fn failure(outcome: Outcome) -> (Reason, String) {
    (outcome.failure.expect("a failure"), outcome.message.expect("a message"))
}

#[tokio::test]
async fn what_is_said_comes_back_plain_and_over_tls() {
    for tls in [false, true] {
        let server = SocketServer::start(tls).await;
        let origin = format!("{}://127.0.0.1:{}", if tls { "wss" } else { "ws" }, server.port);
        let options =
            TlsOptions { ca: if tls { vec![server.certificate.clone().into_bytes()] } else { Vec::new() }, ..TlsOptions::default() };
        let target = Target::at(&origin, &options);
        let opened = Socket::open(&target.dialer, &Opening { max_message: 1 << 20, ..target.opening("/echo") }).await;
        let (outcome, phases) = (&opened.outcome, opened.outcome.phases);
        assert_eq!((&outcome.failure, opened.status, outcome.connected), (&None, Some(101), true), "{outcome:?}");
        assert!(
            phases.connecting > Duration::ZERO && phases.waiting > Duration::ZERO && (phases.tls > Duration::ZERO) == tls,
            "{phases:?}"
        );
        assert!(outcome.bytes_sent > 100 && outcome.bytes_received > 100, "{outcome:?}");
        assert_eq!(opened.headers["upgrade"], "websocket");
        let mut socket = opened.socket.unwrap();

        let heard = ask(&mut socket, "grüß dich", "", AMPLE).await;
        let (outcome, phases) = (&heard.outcome, heard.outcome.phases);
        // Text of 11 bytes: a header of 2, and 4 bytes of mask on the way out.
        assert_eq!((outcome.bytes_sent, outcome.bytes_received, outcome.connected), (17, 13, false));
        assert!(phases.waiting > Duration::ZERO && phases.connecting.is_zero() && phases.receiving.is_zero(), "{phases:?}");
        assert_eq!(text(heard), "grüß dich");

        let bytes = (0..200_000_u32).map(|number| number as u8).collect::<Vec<u8>>();
        let heard = socket.exchange(Some(Payload::Binary(&bytes)), Some(&mut |_| true), AMPLE).await;
        assert_eq!((heard.outcome.failure, heard.message.unwrap().to_vec()), (None, bytes));
        assert_eq!(text(ask(&mut socket, "", "", AMPLE).await), "");
        assert!(socket.is_open());
        assert_eq!(socket.close().await, Closing::Answered);
    }
}

#[tokio::test]
async fn fragments_are_put_together() {
    let server = SocketServer::start(false).await;
    let mut socket = Target::of(&server).socket("/pieces").await;
    for said in ["one two three", "grüß dich", "x"] {
        assert_eq!(text(ask(&mut socket, said, "", AMPLE).await), said);
    }
}

#[tokio::test]
async fn headers_and_subprotocols_are_sent_and_a_refusal_is_shown() {
    let server = SocketServer::start(false).await;
    let target = Target::of(&server);
    let subprotocols = ["v2".to_owned(), "v1".to_owned()];
    let headers = [("Authorization", "Bearer s3cr3t-value"), ("Cookie", "session=1; a=2"), ("Origin", "https://shop.example")];
    let special = Opening { headers: &headers, subprotocols: &subprotocols, ..target.opening("/headers?a=b%20c") };
    let mut socket = opened(Socket::open(&target.dialer, &special).await);
    let seen: Value = serde_json::from_str(&text(listen(&mut socket, "", AMPLE).await)).unwrap();
    assert_eq!((&seen["path"], &seen["subprotocol"]), (&json!("/headers?a=b%20c"), &json!("v2")));
    for (name, value) in
        [("authorization", headers[0].1), ("cookie", headers[1].1), ("origin", headers[2].1), ("host", target.origin.authority().as_str())]
    {
        assert_eq!(seen["headers"][name], value, "{seen}");
    }

    let refused = Socket::open(&target.dialer, &Opening { headers: &headers, ..target.opening("/refuse") }).await;
    assert_eq!((refused.status, refused.socket.is_none()), (Some(403), true));
    assert!(refused.outcome.phases.waiting > Duration::ZERO);
    assert_eq!(failure(refused.outcome), (Reason::Status(403), "status 403: no entry for <redacted>".into()));
    let none = ["v3".to_owned()];
    let refused = Socket::open(&target.dialer, &Opening { subprotocols: &none, ..target.opening("/echo") }).await;
    assert_eq!(failure(refused.outcome).0, Reason::Protocol);
}

#[tokio::test]
async fn other_messages_are_passed_over_and_an_answer_is_never_older_than_its_question() {
    let server = SocketServer::start(false).await;
    let mut socket = Target::of(&server).socket("/chatty").await;
    assert_eq!(text(listen(&mut socket, "welcome", AMPLE).await), r#"{"type": "welcome"}"#);
    assert_eq!(text(ask(&mut socket, "first", "first", AMPLE).await), "first");
    // Only said: the answers are heard later, one by one.
    let said = socket.exchange(Some(Payload::Text("second")), None, AMPLE).await;
    assert_eq!((said.outcome.failure, said.outcome.bytes_sent, said.message), (None, 12, None));
    assert!(said.outcome.phases.waiting.is_zero());
    for number in 0..3 {
        assert_eq!(text(listen(&mut socket, "", AMPLE).await), format!(r#"{{"type": "news", "number": {number}}}"#));
    }
    assert_eq!(text(listen(&mut socket, "", AMPLE).await), "second");
    // Said, and everything has come before the next question, whether it was read meanwhile or not: none of it is the answer.
    for (said, line, attended) in [("third", r#"{"said": "third"}"#, false), ("fourth", r#"{"said": "fourth"}"#, true)] {
        assert_eq!(socket.exchange(Some(Payload::Text(said)), None, AMPLE).await.outcome.failure, None);
        let come = server.wait_for(line);
        if attended {
            socket.during(come).await;
        } else {
            come.await;
        }
        let mut any_echo = |message: &[u8]| !message.starts_with(b"{");
        let answer = socket.exchange(Some(Payload::Text("last")), Some(&mut any_echo), AMPLE).await;
        assert_eq!(text(answer), "last");
    }
}

#[tokio::test]
async fn pings_are_answered_while_something_is_waited_for_and_while_nothing_is() {
    let server = SocketServer::start(false).await;
    let target = Target::of(&server);
    let mut asking = target.socket("/pings").await;
    for said in ["one", "two"] {
        assert_eq!(text(ask(&mut asking, said, said, AMPLE).await), said);
    }
    // Pings are answered while the VU does something else. The messages between them wait for it, in order, up to a bound; beyond it
    // the oldest are dropped, and counted.
    let mut idle = target.socket("/keepalive").await;
    let mut second = target.socket("/keepalive").await;
    assert_eq!(text(idle.during(listen(&mut second, "\"ping\": 1400", AMPLE)).await), r#"{"ping": 1400}"#);
    let first = listen(&mut idle, "", AMPLE).await;
    let unheard = first.outcome.unheard;
    assert_eq!(text(first), format!(r#"{{"ping": {}}}"#, unheard + 1));
    for number in unheard + 2..=1500 {
        assert_eq!(text(listen(&mut idle, "", AMPLE).await), format!(r#"{{"ping": {number}}}"#));
    }
    // Its end was seen while nobody listened; what came before it is heard first.
    while second.is_open() {
        second.during(sleep(Duration::from_millis(5))).await;
    }
    assert_eq!(text(listen(&mut second, "1500", AMPLE).await), r#"{"ping": 1500}"#);
    assert_eq!(failure(listen(&mut second, "", AMPLE).await.outcome).0, Reason::ClosedEarly);
}

#[tokio::test]
async fn closing_is_said_by_both_sides() {
    let server = SocketServer::start(false).await;
    let target = Target::of(&server);
    assert_eq!(target.socket("/bye").await.close().await, Closing::Answered);
    server.wait_for(r#"{"closed": 1000}"#).await;

    // Closed by the server while an answer is waited for: one failure with its reason. Whatever is tried after it fails, too.
    let mut closed = target.socket("/close").await;
    let expected = "the server closed the socket: 1011 out of order; token=<redacted>";
    assert_eq!(failure(ask(&mut closed, "hello", "hello", AMPLE).await.outcome), (Reason::ClosedEarly, expected.into()));
    let again = ask(&mut closed, "hello", "hello", AMPLE).await.outcome;
    assert_eq!((again.bytes_sent, again.phases.waiting), (0, Duration::ZERO));
    assert_eq!(failure(again), (Reason::ClosedEarly, expected.into()));
    assert!(!closed.is_open());
    assert_eq!(closed.close().await, Closing::Over);

    // Closed while nobody listened: the next exchange fails.
    let mut closed = target.socket("/close").await;
    assert_eq!(closed.exchange(Some(Payload::Text("hello")), None, AMPLE).await.outcome.failure, None);
    while closed.is_open() {
        closed.during(sleep(Duration::from_millis(5))).await;
    }
    assert_eq!(failure(ask(&mut closed, "hello", "hello", AMPLE).await.outcome).0, Reason::ClosedEarly);
}

#[tokio::test]
async fn the_demo_target_speaks_websocket() {
    let target = target(2, 0).await;
    let mut socket = Target::plain(&target.url("/")).socket("/ws").await;
    assert_eq!(text(listen(&mut socket, "welcome", AMPLE).await), r#"{"type":"welcome"}"#);
    for seq in 1..100 {
        let answer: Value = serde_json::from_str(&text(ask(&mut socket, r#"{"type":"hello"}"#, "echo", AMPLE).await)).unwrap();
        assert_eq!(answer, json!({"type": "echo", "seq": seq, "message": {"type": "hello"}}));
    }
    assert_eq!(socket.close().await, Closing::Answered);
    target.stop().await;
}

#[tokio::test]
async fn the_cookies_of_the_vu_go_along() {
    let server = SocketServer::start(false).await;
    let target = Target::of(&server);
    let client = HttpClient::new(HttpPool::new(&target.dialer, &HttpOptions::default()));
    assert_eq!(client.cookies_for(&target.origin, "/headers"), None);
    let answer = HeaderMap::from_iter([(SET_COOKIE, "session=1; Path=/headers".parse().unwrap()), (SET_COOKIE, "a=2".parse().unwrap())]);
    client.keep_cookies(&target.origin, "/login", &answer);
    let cookies = client.cookies_for(&target.origin, "/headers").unwrap();
    let headers = [("Cookie", cookies.as_str())];
    let mut socket = opened(Socket::open(&target.dialer, &Opening { headers: &headers, ..target.opening("/headers") }).await);
    let seen: Value = serde_json::from_str(&text(listen(&mut socket, "", AMPLE).await)).unwrap();
    let sent = seen["headers"]["cookie"].as_str().unwrap();
    assert!(["session=1; a=2", "a=2; session=1"].contains(&sent), "{sent}");
    assert_eq!(client.cookies_for(&target.origin, "/other"), Some("a=2".into()));
}

#[tokio::test]
async fn a_socket_that_cannot_be_opened_has_one_reason() {
    let server = SocketMisfits::start().await;
    let target = Target::plain(&format!("ws://{}", server.address));
    for (path, reason, message) in [
        ("/open/forbidden", Reason::Status(403), r#"status 403: {"error":"no","password":"<redacted>"}"#),
        ("/open/moved", Reason::Status(302), "status 302"),
        ("/open/plain", Reason::Status(200), "status 200"),
        ("/open/wrong-key", Reason::Protocol, "`Sec-WebSocket-Accept` is not the answer to our key"),
        ("/open/no-upgrade", Reason::Protocol, "the answer does not upgrade to `websocket`"),
        ("/open/extension", Reason::Protocol, "the server uses an extension that was not offered"),
        ("/open/subprotocol", Reason::Protocol, "the server takes the subprotocol `x`, which was not offered"),
        ("/open/garbage", Reason::Protocol, "the answer is not HTTP: invalid HTTP version"),
        ("/open/close", Reason::ClosedEarly, "the connection was closed before the answer"),
        ("/open/half-head", Reason::ClosedEarly, "the connection was closed before the answer"),
        ("/open/reset", Reason::Reset, "Connection reset by peer (os error 104)"),
        ("/open/silence", Reason::Timeout(Phase::Waiting), "the socket was not open within 2000 ms"),
        ("/open/slow-head", Reason::Timeout(Phase::Receiving), "the socket was not open within 2000 ms"),
        ("/open/a b", Reason::Script("request".into()), "the path `/open/a b`: invalid uri character"),
    ] {
        let failed = Socket::open(&target.dialer, &Opening { timeout: Duration::from_secs(2), ..target.opening(path) }).await;
        assert!(failed.socket.is_none(), "{path}");
        let (got, text) = failure(failed.outcome);
        assert_eq!((got, text.starts_with(message)), (reason, true), "{path}: {text}");
    }

    let refused = Target::plain(&format!("ws://127.0.0.1:{}", free_port()));
    assert_eq!(failure(refused.open("/").await.outcome).0, Reason::ConnectRefused);
    assert_eq!(failure(Target::plain("ws://nowhere.invalid").open("/").await.outcome).0, Reason::Dns);
    let blocked = Socket::open(&refused.dialer, &target.opening("/")).await.outcome;
    assert_eq!((blocked.connected, failure(blocked).0), (false, Reason::BlockedByGuard));
    // A certificate that nobody vouches for; and TLS spoken to a server that does not speak it.
    let tls = SocketServer::start(true).await;
    for (address, path) in [(format!("127.0.0.1:{}", tls.port), "/echo"), (server.address.to_string(), "/open/close")] {
        assert_eq!(failure(Target::plain(&format!("wss://{address}")).open(path).await.outcome).0, Reason::Tls);
    }
}

#[tokio::test]
async fn an_exchange_that_fails_has_one_reason() {
    let server = SocketMisfits::start().await;
    let target = Target::plain(&format!("ws://{}", server.address));
    for (path, reason, message) in [
        ("/reset", Reason::Reset, "Connection reset by peer"),
        ("/cut", Reason::ClosedEarly, "the connection was closed without a close frame"),
        ("/cut-in-frame", Reason::ClosedEarly, "the connection was closed without a close frame"),
        ("/cut-in-message", Reason::ClosedEarly, "the connection was closed without a close frame"),
        ("/closed", Reason::ClosedEarly, "the server closed the socket: 1001 service restarts"),
        ("/closed-silently", Reason::ClosedEarly, "the server closed the socket"),
        ("/bad-close", Reason::Protocol, "WebSocket protocol error: Invalid close sequence"),
        ("/too-large", Reason::BodyTooLarge, "a message of 1048576 bytes or more; at most 65536 are taken"),
        ("/too-large-for-anybody", Reason::BodyTooLarge, "a message of 18446744073709551615 bytes"),
        ("/too-large-in-fragments", Reason::BodyTooLarge, "a message of 65625 bytes or more"),
        ("/unknown-opcode", Reason::Protocol, "WebSocket protocol error"),
        ("/reserved-bits", Reason::Protocol, "WebSocket protocol error: Reserved bits are non-zero"),
        ("/masked", Reason::Protocol, "WebSocket protocol error: Received a masked frame from server"),
        ("/no-begin", Reason::Protocol, "WebSocket protocol error: Continue frame but nothing to continue"),
        ("/invalid-utf8", Reason::Protocol, "a text message is not valid UTF-8"),
        ("/half-a-letter", Reason::Protocol, "a text message is not valid UTF-8"),
        ("/flood", Reason::BodyTooLarge, "100000 messages came, and none was the expected one"),
    ] {
        let mut socket = target.socket(path).await;
        let heard = ask(&mut socket, "hello", "hello", AMPLE).await;
        assert!(heard.message.is_none(), "{path}");
        let (got, text) = failure(heard.outcome);
        assert_eq!((got, text.starts_with(message)), (reason, true), "{path}: {text}");
        // It is over; the next exchange does not fail for the same thing again.
        if path != "/flood" {
            assert_eq!(failure(ask(&mut socket, "hello", "hello", AMPLE).await.outcome), (Reason::ClosedEarly, text), "{path}");
        }
    }
    for (path, others) in [("/silence", false), ("/half-and-silence", false), ("/chatter", true)] {
        let mut socket = target.socket(path).await;
        let heard = ask(&mut socket, "hello", "hello", SHORT).await;
        assert!(heard.outcome.phases.waiting >= SHORT / 2, "{:?}", heard.outcome);
        let (reason, text) = failure(heard.outcome);
        assert_eq!(reason, Reason::Timeout(Phase::Waiting), "{path}");
        assert!(text.starts_with("the expected message did not come within 300 ms") && text.ends_with("others") == others, "{text}");
        // The socket is still there, and closing it does not wait for ever.
        assert!(socket.is_open());
        assert_eq!(socket.close().await, Closing::Unanswered);
    }
    let mut socket = target.socket("/unread").await;
    let large = vec![0_u8; 32 << 20];
    let heard = socket.exchange(Some(Payload::Binary(&large)), Some(&mut |_| true), SHORT).await;
    assert!(heard.outcome.phases.waiting.is_zero());
    assert_eq!(failure(heard.outcome), (Reason::Timeout(Phase::Sending), "the message could not be sent within 300 ms".into()));
}
