//! The end of a WebSocket: closed by us or by the server, as a flow wants it, against a real server of another implementation and
//! servers that misbehave; and what the real program counts of it.

use std::time::Duration;

use plimsoll::model::failure::{Phase, Reason};
use plimsoll::model::request::TlsOptions;
use plimsoll::model::run::Verdict;
use plimsoll::protocol::websocket::{Closing, Leaving, Payload, Socket};
use tokio::time::sleep;

use super::program::Plan;
use super::websocket::{AMPLE, SHORT, Target, ask, failure, listen, text};
use super::websocket_misfits::SocketMisfits;
use crate::servers::websocket::SocketServer;

const LEAVING: Leaving<'_> = Leaving { code: 4001, reason: "grüß dich", step: "leave" };
/// What every step finds after that one.
const LEFT: &str = "the socket was closed by the step `leave`";

/// Keeps a socket alive until its end was seen.
async fn until_ended(socket: &mut Socket) {
    while socket.is_open() {
        socket.during(sleep(Duration::from_millis(5))).await;
    }
}

#[tokio::test]
async fn we_close_with_a_code_and_a_reason_and_wait_for_the_server() {
    for tls in [false, true] {
        let server = SocketServer::start(tls).await;
        let options =
            TlsOptions { ca: if tls { vec![server.certificate.clone().into_bytes()] } else { Vec::new() }, ..TlsOptions::default() };
        let target = Target::at(&format!("{}://127.0.0.1:{}", if tls { "wss" } else { "ws" }, server.port), &options);
        let mut socket = target.socket("/farewell").await;
        let outcome = socket.leave(LEAVING, AMPLE).await;
        assert_eq!((&outcome.failure, &outcome.message), (&None, &None));
        // A header of 2 bytes, 4 of mask, 2 of code, and the reason.
        assert_eq!((outcome.bytes_sent, outcome.bytes_received >= 4), (8 + 11, true), "{outcome:?}");
        assert!(outcome.phases.waiting > Duration::ZERO && outcome.phases.receiving.is_zero(), "{outcome:?}");
        // No step can be done after it, and nothing is sent.
        let again = socket.leave(LEAVING, AMPLE).await;
        assert_eq!((again.bytes_sent, again.phases.waiting), (0, Duration::ZERO));
        let closed = (Reason::ClosedEarly, LEFT.to_owned());
        assert_eq!(failure(again), closed);
        assert_eq!(failure(ask(&mut socket, "hello", "", AMPLE).await.outcome), closed);
        assert_eq!(failure(listen(&mut socket, "", AMPLE).await.outcome), closed);
        assert_eq!(failure(socket.hear_out(None, &[], AMPLE).await), closed);
        assert!(!socket.is_open());
        assert_eq!(socket.close().await, Closing::Over);
        server.wait_for(r#"{"closed": 4001, "reason": "gr\u00fc\u00df dich"}"#).await;
    }
}

#[tokio::test]
async fn what_the_server_had_closed_cannot_be_closed() {
    let server = SocketServer::start(false).await;
    let target = Target::of(&server);
    for attended in [true, false] {
        let mut socket = target.socket("/part").await;
        assert_eq!(socket.exchange(Some(Payload::Text("4003 kicked")), None, AMPLE).await.outcome.failure, None);
        if attended {
            until_ended(&mut socket).await;
        } else {
            // It has come, but nobody has read it.
            for _ in 0..3 {
                listen(&mut socket, "news", AMPLE).await;
            }
            let outcome = socket.hear_out(None, &[1000], AMPLE).await;
            assert_eq!(failure(outcome), (Reason::ClosedEarly, "the server closed the socket: 4003 kicked; expected: 1000".into()));
        }
        let outcome = socket.leave(LEAVING, AMPLE).await;
        assert_eq!((outcome.bytes_sent, failure(outcome)), (0, (Reason::ClosedEarly, "the server closed the socket: 4003 kicked".into())));
    }
}

#[tokio::test]
async fn the_server_closes_and_that_is_right() {
    let server = SocketServer::start(false).await;
    let target = Target::of(&server);
    for (codes, fine) in [(&[][..], true), (&[4003], true), (&[1000, 4003], true), (&[1000, 1001], false)] {
        // As the answer to a message of the same step: other messages are passed over.
        let mut socket = target.socket("/part").await;
        let outcome = socket.hear_out(Some(Payload::Text("4003 kicked")), codes, AMPLE).await;
        assert!(outcome.bytes_sent > 11 && outcome.phases.waiting > Duration::ZERO, "{outcome:?}");
        if fine {
            assert_eq!((outcome.failure, outcome.message), (None, None));
        } else {
            let expected = "the server closed the socket: 4003 kicked; expected: 1000 or 1001";
            assert_eq!(failure(outcome), (Reason::ClosedEarly, expected.into()));
        }
        assert_eq!(failure(listen(&mut socket, "", AMPLE).await.outcome).0, Reason::ClosedEarly);
        assert_eq!(socket.close().await, Closing::Over);

        // By itself, since the step before: seen while the VU thought, and met at once.
        let mut socket = target.socket("/part").await;
        assert_eq!(socket.exchange(Some(Payload::Text("4003 kicked")), None, AMPLE).await.outcome.failure, None);
        until_ended(&mut socket).await;
        let outcome = socket.hear_out(None, codes, AMPLE).await;
        assert_eq!((outcome.bytes_sent, outcome.failure.is_none()), (0, fine), "{:?}", outcome.message);
        // An end is told of once.
        let again = failure(socket.hear_out(None, codes, AMPLE).await);
        assert_eq!(again, (Reason::ClosedEarly, "the server closed the socket: 4003 kicked".into()));
    }
    // An earlier end is no answer to a message.
    let mut socket = target.socket("/part").await;
    assert_eq!(socket.exchange(Some(Payload::Text("4003 kicked")), None, AMPLE).await.outcome.failure, None);
    until_ended(&mut socket).await;
    let outcome = socket.hear_out(Some(Payload::Text("4003 again")), &[], AMPLE).await;
    assert_eq!((outcome.bytes_sent, failure(outcome)), (0, (Reason::ClosedEarly, "the server closed the socket: 4003 kicked".into())));
    // What had come before the end can be heard before it is asked for.
    let mut socket = target.socket("/part").await;
    assert_eq!(socket.exchange(Some(Payload::Text("1000")), None, AMPLE).await.outcome.failure, None);
    until_ended(&mut socket).await;
    assert_eq!(text(listen(&mut socket, "", AMPLE).await), r#"{"type": "news", "number": 0}"#);
    assert_eq!(socket.hear_out(None, &[1000], AMPLE).await.failure, None);
}

#[tokio::test]
async fn a_good_bye_that_is_not_answered_has_one_reason() {
    let server = SocketMisfits::start().await;
    let target = Target::plain(&format!("ws://{}", server.address));
    for (path, reason, message) in [
        ("/reset", Reason::Reset, "Connection reset by peer"),
        ("/cut", Reason::ClosedEarly, "the connection was closed without a close frame"),
        ("/cut-in-frame", Reason::ClosedEarly, "the connection was closed without a close frame"),
        ("/bad-close", Reason::Protocol, "WebSocket protocol error: Invalid close sequence"),
        ("/unknown-opcode", Reason::Protocol, "WebSocket protocol error"),
        ("/invalid-utf8", Reason::Protocol, "a text message is not valid UTF-8"),
        ("/too-large", Reason::BodyTooLarge, "a message of 1048576 bytes or more; at most 65536 are taken"),
    ] {
        let mut socket = target.socket(path).await;
        let (got, text) = failure(socket.leave(LEAVING, AMPLE).await);
        assert_eq!((got, text.starts_with(message)), (reason, true), "{path}: {text}");
        assert_eq!(failure(ask(&mut socket, "hello", "", AMPLE).await.outcome), (Reason::ClosedEarly, LEFT.into()), "{path}");
        assert_eq!(socket.close().await, Closing::Over);
    }
    for (path, others) in [("/silence", false), ("/half-and-silence", false), ("/chatter", true)] {
        let mut socket = target.socket(path).await;
        let outcome = socket.leave(LEAVING, SHORT).await;
        assert!(outcome.phases.waiting >= SHORT / 2, "{outcome:?}");
        let (reason, text) = failure(outcome);
        assert_eq!(reason, Reason::Timeout(Phase::Waiting), "{path}");
        assert!(text.starts_with("the server did not close the socket within 300 ms") && text.ends_with("messages") == others, "{text}");
        // It stays closed: nothing more is said.
        assert_eq!(failure(ask(&mut socket, "hello", "", AMPLE).await.outcome), (Reason::ClosedEarly, LEFT.into()), "{path}");
        assert_eq!(socket.close().await, Closing::Over);
    }
    // What the server still says is passed over; that it does not cut the connection afterwards is not our failure.
    for path in ["/late-farewell", "/silent-farewell", "/closed", "/closed-silently"] {
        let mut socket = target.socket(path).await;
        let outcome = socket.leave(LEAVING, AMPLE).await;
        assert_eq!((outcome.failure, outcome.message), (None, None), "{path}");
        assert_eq!(socket.close().await, Closing::Over);
    }
    // What is stuck before it keeps the close frame back.
    let mut socket = target.socket("/unread").await;
    let large = vec![0_u8; 32 << 20];
    let stuck = socket.exchange(Some(Payload::Binary(&large)), None, SHORT).await;
    assert_eq!(failure(stuck.outcome).0, Reason::Timeout(Phase::Sending));
    let outcome = socket.leave(LEAVING, SHORT).await;
    assert!(outcome.phases.waiting.is_zero());
    assert_eq!(failure(outcome), (Reason::Timeout(Phase::Sending), "the close frame could not be sent within 300 ms".into()));
}

#[tokio::test]
async fn an_end_that_was_not_wanted_or_does_not_come_has_one_reason() {
    let server = SocketMisfits::start().await;
    let target = Target::plain(&format!("ws://{}", server.address));
    let hello = Some(Payload::Text("hello"));
    for (path, codes, reason, message) in [
        ("/closed", &[1000][..], Reason::ClosedEarly, "the server closed the socket: 1001 service restarts; expected: 1000"),
        ("/closed-silently", &[1000], Reason::ClosedEarly, "the server closed the socket without a code (1005); expected: 1000"),
        ("/cut", &[], Reason::ClosedEarly, "the connection was closed without a close frame; expected: any close frame"),
        ("/cut-in-message", &[1000], Reason::ClosedEarly, "the connection was closed without a close frame; expected: 1000"),
        ("/reset", &[], Reason::Reset, "Connection reset by peer"),
        ("/bad-close", &[], Reason::Protocol, "WebSocket protocol error: Invalid close sequence"),
        ("/masked", &[], Reason::Protocol, "WebSocket protocol error: Received a masked frame from server"),
        ("/too-large", &[], Reason::BodyTooLarge, "a message of 1048576 bytes or more; at most 65536 are taken"),
    ] {
        let mut socket = target.socket(path).await;
        let (got, text) = failure(socket.hear_out(hello, codes, AMPLE).await);
        assert_eq!((got, text.starts_with(message)), (reason, true), "{path}: {text}");
        assert_eq!(failure(socket.hear_out(None, codes, AMPLE).await).0, Reason::ClosedEarly, "{path}");
    }
    for (path, codes) in [("/closed", &[][..]), ("/closed", &[1001]), ("/closed-silently", &[]), ("/closed-silently", &[1005])] {
        let mut socket = target.socket(path).await;
        let outcome = socket.hear_out(hello, codes, AMPLE).await;
        assert_eq!((outcome.failure, outcome.message), (None, None), "{path} {codes:?}");
    }
    for (path, others) in [("/silence", false), ("/chatter", true), ("/flood", true)] {
        let mut socket = target.socket(path).await;
        let (reason, text) = failure(socket.hear_out(hello, &[], SHORT).await);
        assert_eq!(reason, Reason::Timeout(Phase::Waiting), "{path}");
        assert!(text.starts_with("the server did not close the socket within 300 ms") && text.ends_with("messages") == others, "{text}");
        // It is still there.
        assert!(socket.is_open());
    }
    let mut socket = target.socket("/unread").await;
    let large = vec![0_u8; 32 << 20];
    let outcome = socket.hear_out(Some(Payload::Binary(&large)), &[], SHORT).await;
    assert_eq!(failure(outcome), (Reason::Timeout(Phase::Sending), "the message could not be sent within 300 ms".into()));
}

#[tokio::test]
async fn a_server_may_close_before_it_has_read_everything() {
    let server = SocketMisfits::start().await;
    let target = Target::plain(&format!("ws://{}", server.address));
    let large = vec![0_u8; 32 << 20];
    for path in ["/too-much", "/too-much-and-reset"] {
        let mut socket = target.socket(path).await;
        let outcome = socket.hear_out(Some(Payload::Binary(&large)), &[1009], AMPLE).await;
        assert_eq!((outcome.failure, outcome.message), (None, None), "{path}");
        // Where it was not wanted, its own words are told, not that the pipe broke.
        let mut socket = target.socket(path).await;
        let heard = socket.exchange(Some(Payload::Binary(&large)), Some(&mut |_| true), AMPLE).await;
        assert_eq!(failure(heard.outcome), (Reason::ClosedEarly, "the server closed the socket: 1009 too big".into()), "{path}");
    }
}

#[tokio::test]
async fn a_session_whose_good_bye_is_not_answered_is_counted() {
    let server = SocketMisfits::start().await;
    // The good-bye is the message that the server answers in its way, or not at all.
    let session = |name: &str, path: &str, steps: &str| format!("{{ step: {name}, websocket: {path}, do: [{steps}] }}");
    let flow = [
        session("silent", "/silence", ""),
        session("chatty", "/chatter", ""),
        session("cut", "/cut", ""),
        session("answered", "/silent-farewell", ""),
        session("wanted", "/silence", "{ step: leave, close: 1000, timeout: 300ms }"),
        session("broken", "/closed", "{ step: say, send: hello, expect: any }"),
    ];
    let scenarios = format!("{{ users: {{ executor: per-vu-iterations, vus: 1, iterations: 1, flow: [{}] }} }}", flow.join(", "));
    let base_url = format!("http://{}", server.address);
    let done = Plan { base_url: &base_url, target: "", scenarios: &scenarios, profile: "", top: "" }.run().await;
    let summary = done.run.summary.unwrap();
    let unanswered: Vec<(&str, u64)> = summary.steps.iter().map(|step| (step.step.as_str(), step.unanswered)).collect();
    let expected = [("silent", 1), ("chatty", 1), ("cut", 1), ("answered", 0), ("wanted", 0), ("leave", 0), ("broken", 0), ("say", 0)];
    assert_eq!((unanswered.as_slice(), summary.total.unanswered), (&expected[..], 3));
    // No request failed by it.
    assert_eq!((summary.total.requests, summary.total.failed), (8, 2), "{:?}", summary.total.reasons);
}

#[tokio::test]
async fn a_flow_ends_its_sessions_as_it_wants() {
    let server = SocketServer::start(false).await;
    let long = "x".repeat(124);
    let session = |name: &str, path: &str, steps: &str| format!("{{ step: {name}, websocket: {path}, do: [{steps}] }}");
    let flow = [
        session("farewell", "/farewell", "{ step: leave, close: { code: 4001, reason: \"user ${vu}\" } }"),
        session("bye", "/bye", "{ step: plainly, close: 1000 }"),
        session("kicked", "/part", "{ step: kick, send: \"4003 ${vu}\", closed: [1000, 4003] }"),
        session("other", "/part", "{ step: wrong, send: \"4003 no\", closed: 1000 }"),
        session("late", "/part", "{ step: said, send: 1000 }, { step: later, closed: any }"),
        session("again", "/bye", "{ repeat: 2, do: [{ step: twice, close: 1000 }] }"),
    ];
    let scenarios = format!(
        "{{ users: {{ executor: per-vu-iterations, vus: 1, iterations: 1, flow: [{}] }}, \
            wordy: {{ executor: per-vu-iterations, vus: 1, iterations: 1, flow: [{{ set: {{ long: {long} }} }}, {}] }} }}",
        flow.join(", "),
        session("wordy", "/bye", "{ step: too-long, close: { reason: \"${long}\" } }"),
    );
    let base_url = format!("http://127.0.0.1:{}", server.port);
    let done = Plan { base_url: &base_url, target: "", scenarios: &scenarios, profile: "", top: "" }.run().await;
    // What a flow cannot fill in is nobody's result.
    done.assert(98, Some(Verdict::Invalid));
    server.wait_for(r#"{"closed": 4001, "reason": "user 1"}"#).await;
    let summary = done.run.summary.unwrap();
    for (name, requests, reasons) in [
        ("leave", 1, vec![]),
        ("plainly", 1, vec![]),
        ("kick", 1, vec![]),
        ("wrong", 1, vec![(Reason::ClosedEarly, 1)]),
        ("later", 1, vec![]),
        ("twice", 2, vec![(Reason::ClosedEarly, 1)]),
        ("too-long", 1, vec![(Reason::Script("the reason of `close` is longer than 123 bytes".into()), 1)]),
    ] {
        let step = summary.steps.iter().find(|step| step.step == name).unwrap();
        assert_eq!((step.requests, step.reasons.clone().into_iter().collect::<Vec<_>>()), (requests, reasons), "{name}");
    }
    let said = |name: &str| summary.steps.iter().find(|step| step.step == name).unwrap().messages[&Reason::ClosedEarly].clone();
    assert_eq!(said("wrong"), "the server closed the socket: 4003 no; expected: 1000");
    assert_eq!(said("twice"), "the socket was closed by the step `twice`");
}
