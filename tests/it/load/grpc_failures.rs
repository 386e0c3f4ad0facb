//! Every way in which a gRPC call can fail has exactly one reason; what is no failure, such as a server that says goodbye, is not
//! counted as one.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that failed")]

use std::sync::Arc;
use std::time::Duration;

use plimsoll::model::failure::{Phase, Reason};
use plimsoll::model::request::Connections;
use plimsoll::protocol::grpc::{Call, GrpcExchange, GrpcPool};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::grpc::{Plan, certificate};
use super::grpc_misfits::{GOODBYE_AFTER, Kind, Misfits};
use crate::servers::free_port;

/// A call that the server answers with this misfit.
fn misfit(server: &Misfits, method: &'static str, name: &str) -> Plan {
    let mut plan = Plan::new(server.port, method, &[json!({"text": "a"})]);
    plan.metadata = vec![("misfit", name.into())];
    plan
}

/// Reason, and what people read about it.
fn failure(exchange: &GrpcExchange) -> (Option<Reason>, &str) {
    (exchange.outcome.failure.clone(), exchange.outcome.message.as_deref().unwrap_or_default())
}

#[tokio::test]
async fn every_bad_answer_has_exactly_one_reason() {
    let server = Misfits::start(Kind::Calls).await;
    for (name, reason, message) in [
        ("reset", Reason::Reset, "(as a gRPC status: 13 INTERNAL)"),
        ("refused-stream", Reason::Reset, "(as a gRPC status: 14 UNAVAILABLE)"),
        ("reset-protocol", Reason::Protocol, "unspecific protocol error"),
        ("reset-in-the-middle", Reason::Reset, "(as a gRPC status: 1 CANCELLED)"),
        ("vanish", Reason::ClosedEarly, "broken pipe"),
        ("no-trailers", Reason::Protocol, "the answer ended without a status"),
        ("truncated", Reason::ClosedEarly, "the answer ended in the middle of a message, 2 bytes before its end"),
        ("truncated-at-the-end", Reason::ClosedEarly, "in the middle of a message"),
        ("truncated-with-status", Reason::GrpcStatus(13), "status 13 INTERNAL"),
        ("too-large", Reason::BodyTooLarge, "a message of 2147483647 bytes is larger than 8388608 bytes"),
        ("no-message", Reason::Protocol, "the status is OK, but 0 messages came, not one"),
        ("two-messages", Reason::Protocol, "2 messages came, not one"),
        ("bad-flag", Reason::Protocol, "a message begins with the byte 7"),
        ("compressed", Reason::Protocol, "a message is compressed, although"),
        ("no-status", Reason::Protocol, "the answer ended without a status"),
        ("bad-status", Reason::Protocol, "`OK` is no status"),
        ("unknown-status", Reason::GrpcStatus(99), "status 99"),
        ("not-the-schema", Reason::Protocol, "the answer does not fit the schema"),
        ("empty", Reason::Protocol, "the answer has neither messages nor a status"),
        ("html", Reason::Protocol, "the answer is not gRPC: <html>welcome</html>"),
        ("proxy-503", Reason::GrpcStatus(14), "status 14 UNAVAILABLE: HTTP 503 Service Unavailable: no healthy upstream"),
        ("not-found", Reason::GrpcStatus(12), "status 12 UNIMPLEMENTED: HTTP 404 Not Found"),
        ("unauthorized", Reason::GrpcStatus(16), "HTTP 401 Unauthorized"),
        ("teapot", Reason::GrpcStatus(2), "HTTP 418 I'm a teapot: xxxxx"),
        ("status-only", Reason::GrpcStatus(5), "status 5 NOT_FOUND: no such café"),
        ("brotli", Reason::Decompress, "compressed by `br`"),
        ("bad-gzip", Reason::Decompress, "a message cannot be decompressed"),
    ] {
        let exchange = misfit(&server, "Unary", name).call().await;
        let (found, told) = failure(&exchange);
        assert_eq!(found.as_ref(), Some(&reason), "{name}: {told}");
        assert!(told.contains(message), "{name}: {told}");
        let status = if let Reason::GrpcStatus(code) = reason { Some(code) } else { None };
        assert_eq!(exchange.status, status, "{name}");
    }
}

#[tokio::test]
async fn a_bad_answer_does_not_spoil_the_connection_for_the_next_call() {
    let server = Misfits::start(Kind::Calls).await;
    let plans: Vec<Plan> =
        ["reset", "too-large", "truncated", "html", "teapot", "none"].iter().map(|name| misfit(&server, "Unary", name)).collect();
    let calls = async {
        let mut client = plans[0].client(&GrpcPool::default());
        let mut statuses = Vec::new();
        for plan in &plans {
            statuses.push(client.call(&plan.ready(), Call::default()).await.status);
        }
        statuses
    };
    let statuses = tokio::task::LocalSet::new().run_until(calls).await;
    assert_eq!(statuses, [None, None, None, None, Some(2), Some(0)]);
    assert_eq!(server.connections(), 1);
    // A call that is refused is made again, but not for ever, and the connection is not to blame.
    let refused = misfit(&server, "Unary", "refused-stream").calls(2).await;
    assert!(refused.iter().all(|exchange| exchange.outcome.failure == Some(Reason::Reset)), "{refused:?}");
    assert_eq!((server.connections(), server.refused()), (2, 4));
}

#[tokio::test]
async fn time_runs_out_in_a_phase() {
    let server = Misfits::start(Kind::Calls).await;
    let silent = Misfits::start(Kind::Silent).await;
    let mut large = misfit(&server, "Unary", "silence");
    // More than the server's window, which it does not open again.
    large.messages = vec![json!({"text": "x".repeat(1 << 20)})];
    for (mut plan, phase) in [
        (misfit(&server, "Unary", "silence"), Phase::Waiting),
        (misfit(&server, "Unary", "half-silence"), Phase::Receiving),
        (large, Phase::Sending),
        (misfit(&silent, "Unary", "none"), Phase::Waiting),
    ] {
        plan.timeout = Duration::from_millis(300);
        let exchange = plan.call().await;
        assert_eq!(failure(&exchange), (Some(Reason::Timeout(phase)), "no answer within 300 ms"));
        let phases = exchange.outcome.phases;
        assert!(phases.service_time() >= Duration::from_millis(100), "{phases:?}");
    }
    // A call that would end by itself, too: a server that has not even answered has not been found well.
    let mut lasting = misfit(&server, "Download", "silence");
    lasting.stream.lasting = Some(Duration::from_millis(300));
    let exchange = lasting.call().await;
    assert_eq!(failure(&exchange), (Some(Reason::Timeout(Phase::Waiting)), "the server said nothing within 300 ms"));
    // A connection from which nothing comes may be dead: the next call opens another.
    let mut plan = misfit(&silent, "Unary", "none");
    plan.timeout = Duration::from_millis(100);
    assert!(plan.calls(3).await.iter().all(|exchange| exchange.outcome.connected));
}

#[tokio::test]
async fn connections_fail_for_one_reason() {
    for (kind, reasons, message) in [
        // A peer that closes before it has read everything may be seen as a reset: that is what its system sends.
        (Kind::Closes, &[Reason::ClosedEarly, Reason::Reset][..], ""),
        (Kind::Resets, &[Reason::Reset], ""),
        (Kind::Http1, &[Reason::Protocol], ""),
        (Kind::Garbage, &[Reason::Protocol], ""),
        (Kind::HalfFrame, &[Reason::ClosedEarly, Reason::Reset], ""),
        (Kind::AlwaysGoodbye, &[Reason::ClosedEarly], "(as a gRPC status: 14 UNAVAILABLE)"),
        (Kind::Calm, &[Reason::Reset], "excessive load"),
    ] {
        let server = Misfits::start(kind).await;
        let exchange = misfit(&server, "Unary", "none").call().await;
        let (reason, told) = failure(&exchange);
        assert!(reason.as_ref().is_some_and(|reason| reasons.contains(reason)), "{kind:?}: {reason:?} {told}");
        assert!(told.contains(message), "{kind:?}: {told}");
        assert_eq!((server.connections(), exchange.outcome.connected), (1, true), "{kind:?}: a new connection is not tried again");
    }
    let exchange = Plan::new(free_port(), "Unary", &[json!({})]).call().await;
    assert_eq!(failure(&exchange).0, Some(Reason::ConnectRefused));
}

#[tokio::test]
async fn a_call_that_the_server_has_not_begun_with_is_made_again() {
    let server = Misfits::start(Kind::Goodbye).await;
    let exchanges = misfit(&server, "Unary", "none").calls(3).await;
    assert!(exchanges.iter().all(|exchange| exchange.status == Some(0) && exchange.outcome.failure.is_none()), "{exchanges:?}");
    assert_eq!(exchanges.iter().map(|exchange| exchange.outcome.connected).collect::<Vec<_>>(), [true, true, false]);
    assert_eq!(server.connections(), 2);
    assert_eq!(exchanges.iter().map(|exchange| exchange.outcome.resent).collect::<Vec<_>>(), [0, 1, 0]);
    assert!(exchanges[1].outcome.phases.service_time() >= GOODBYE_AFTER, "{:?}", exchanges[1].outcome);
}

#[tokio::test]
async fn a_goodbye_lets_running_calls_end_and_new_ones_go_elsewhere() {
    let server = Misfits::start(Kind::Calls).await;
    let exchanges = misfit(&server, "Unary", "leave").calls(10).await;
    assert!(exchanges.iter().all(|exchange| exchange.status == Some(0)), "{exchanges:?}");
    assert_eq!(server.connections(), 10);

    // One of many calls on a shared connection is cut off with it: each has one reason, none is lost.
    let mut plan = misfit(&server, "Unary", "silence");
    plan.options.connections = Connections::Shared;
    let (silent, ready) = (&plan, &plan.ready());
    let vanish = misfit(&server, "Unary", "vanish").ready();
    let together = async {
        let pool = GrpcPool::default();
        let mut others = Vec::new();
        for _ in 0..5 {
            others.push(async { silent.client(&pool).call(ready, Call::default()).await });
        }
        let cut = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            silent.client(&pool).call(&vanish, Call::default()).await
        };
        tokio::join!(futures_util::future::join_all(others), cut)
    };
    let (others, cut) = tokio::task::LocalSet::new().run_until(together).await;
    for exchange in others.iter().chain([&cut]) {
        assert_eq!(failure(exchange).0, Some(Reason::ClosedEarly), "{exchange:?}");
    }
    assert_eq!(server.connections(), 11);
}

#[tokio::test]
async fn a_target_that_is_not_allowed_is_never_connected_to() {
    let server = Misfits::start(Kind::Calls).await;
    let plan = misfit(&server, "Unary", "none");
    let elsewhere = Plan::new(1, "Unary", &[]);
    let call = async { elsewhere.client(&GrpcPool::default()).call(&plan.ready(), Call::default()).await };
    let exchange = tokio::task::LocalSet::new().run_until(call).await;
    assert_eq!(failure(&exchange).0, Some(Reason::BlockedByGuard));
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn what_a_template_filled_in_wrongly_is_the_scripts_fault() {
    let server = Misfits::start(Kind::Calls).await;
    let plan = misfit(&server, "Unary", "none");
    let line_break = "two\nlines".to_owned();
    let call = Call { authorization: Some(&line_break), ..Call::default() };
    let exchange =
        tokio::task::LocalSet::new().run_until(async { plan.client(&GrpcPool::default()).call(&plan.ready(), call).await }).await;
    assert_eq!(
        failure(&exchange),
        (Some(Reason::Script("metadata".into())), "the value of `authorization` holds a character that metadata cannot")
    );
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_tls_server_that_does_not_speak_http2_is_no_grpc_server() {
    let (cert, key) = certificate();
    let chain = vec![rustls_pem(&cert)];
    let key = rustls::pki_types::pem::PemObject::from_pem_slice(key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_no_client_auth().with_single_cert(chain, key).unwrap();
    config.alpn_protocols = Vec::new();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let mut plan = Plan::new(listener.local_addr().unwrap().port(), "Unary", &[Value::Object(serde_json::Map::new())]);
    plan.url = plan.url.replace("http:", "https:");
    plan.tls.ca = vec![cert.into_bytes()];
    let accept = async {
        let (stream, _) = listener.accept().await.unwrap();
        acceptor.accept(stream).await
    };
    let (exchange, _stream) = tokio::join!(plan.call(), accept);
    assert_eq!(failure(&exchange), (Some(Reason::Protocol), "the server does not speak HTTP/2: it did not choose `h2` by ALPN"));
}

fn rustls_pem(text: &str) -> rustls::pki_types::CertificateDer<'static> {
    rustls::pki_types::pem::PemObject::from_pem_slice(text.as_bytes()).unwrap()
}
