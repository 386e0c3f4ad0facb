//! gRPC calls against a real server of another family (grpcio): unary and all streams, metadata, deadlines, statuses, compression,
//! TLS, connections. What the answer says is compared with what was sent.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that failed")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use plimsoll::model::failure::{Phase, Reason};
use plimsoll::model::measure::Outcome;
use plimsoll::model::request::{Auth, Connections, GrpcRequest, GrpcSchema, GrpcStream, Hidden, HttpOptions, TlsOptions};
use plimsoll::model::template::{Encoding, Template};
use plimsoll::protocol::dial::Dialer;
use plimsoll::protocol::dns::Dns;
use plimsoll::protocol::grpc::schema::{self, Schema};
use plimsoll::protocol::grpc::{Call, GrpcClient, GrpcExchange, GrpcPool, Ready};
use plimsoll::protocol::guard::Guard;
use plimsoll::protocol::tls::Tls;
use prost_reflect::prost::Message;
use serde_json::{Value, json};

use crate::servers::{Child, python, reported_port, temp_dir};

/// Time enough on a busy machine for whatever answers at all.
pub(super) const AMPLE: Duration = Duration::from_secs(60);

pub(super) fn proto() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/echo.proto")
}

pub(super) fn echo() -> Schema {
    schema::load(&[proto()], &[]).unwrap()
}

/// A certificate for 127.0.0.1 that vouches for itself, and its key.
pub(super) fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

/// A grpcio server; it ends with the guard.
pub(super) struct Server {
    pub(super) port: u16,
    _folder: tempfile::TempDir,
    _child: Child,
}

impl Server {
    /// Starts one; `options` as in the head of grpc_server.py.
    pub(super) async fn start(options: &[&str]) -> Self {
        let folder = temp_dir();
        let descriptors = protox::compile([proto()], [proto().parent().unwrap()]).unwrap();
        std::fs::write(folder.path().join("descriptors"), descriptors.encode_to_vec()).unwrap();
        let mut command = Command::new(python());
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/grpc_server.py"));
        command.arg("0").arg(folder.path().join("descriptors")).args(options);
        let child = Child::spawn("grpc_server", folder.path(), &mut command);
        let port = reported_port("the gRPC server", &child).await;
        Self { port, _folder: folder, _child: child }
    }
}

/// Calls of one method.
pub(super) struct Plan {
    pub(super) url: String,
    pub(super) method: &'static str,
    pub(super) messages: Vec<Value>,
    pub(super) metadata: Vec<(&'static str, String)>,
    pub(super) auth: Option<Auth>,
    pub(super) stream: GrpcStream,
    pub(super) timeout: Duration,
    pub(super) options: HttpOptions,
    pub(super) tls: TlsOptions,
    /// The answer is wanted as JSON.
    pub(super) keep: bool,
}

impl Plan {
    pub(super) fn new(port: u16, method: &'static str, messages: &[Value]) -> Self {
        Self {
            url: format!("http://127.0.0.1:{port}"),
            method,
            messages: messages.to_vec(),
            metadata: Vec::new(),
            auth: None,
            stream: GrpcStream::default(),
            timeout: AMPLE,
            options: HttpOptions::default(),
            tls: TlsOptions::default(),
            keep: true,
        }
    }

    pub(super) fn request(&self) -> GrpcRequest {
        let literal = |value: &Value| Template::literal(value.to_string(), Encoding::Json);
        let metadata = self.metadata.iter().map(|(name, value)| ((*name).into(), Template::literal(value, Encoding::Header)));
        GrpcRequest {
            origin: self.url.parse().unwrap(),
            service: "test.v1.Echo".into(),
            method: self.method.into(),
            schema: GrpcSchema::Files(vec![proto()], Vec::new()),
            messages: self.messages.iter().map(literal).collect(),
            metadata: metadata.collect(),
            auth: self.auth.clone(),
            stream: self.stream,
        }
    }

    pub(super) fn ready(&self) -> Ready {
        let method = echo().method("test.v1.Echo", self.method).unwrap();
        Ready::new(&self.request(), method, &self.options, self.timeout, self.keep).unwrap()
    }

    pub(super) fn client(&self, pool: &GrpcPool) -> GrpcClient {
        let url: url::Url = self.url.parse().unwrap();
        let guard = Guard::new(&[], Some(&url));
        let dialer = Dialer::new(Arc::new(guard), Tls::new(&self.tls).unwrap(), Dns::default());
        GrpcClient::new(dialer, &self.options, pool)
    }

    /// So many calls of one VU, one after the other.
    pub(super) async fn calls(&self, times: usize) -> Vec<GrpcExchange> {
        let ready = self.ready();
        let calls = async {
            let mut client = self.client(&GrpcPool::default());
            let mut exchanges = Vec::new();
            for _ in 0..times {
                exchanges.push(client.call(&ready, Call::default()).await);
            }
            exchanges
        };
        tokio::task::LocalSet::new().run_until(calls).await
    }

    pub(super) async fn call(&self) -> GrpcExchange {
        self.calls(1).await.remove(0)
    }
}

/// The answer as JSON of a call that must have succeeded.
fn answer(exchange: &GrpcExchange) -> Value {
    assert_eq!((exchange.outcome.failure.as_ref(), exchange.status), (None, Some(0)), "{exchange:?}");
    serde_json::from_slice(&exchange.body).unwrap()
}

/// What became of the calls that were not OK.
fn outcomes(exchanges: &[GrpcExchange]) -> Vec<&Outcome> {
    exchanges.iter().filter(|exchange| exchange.status != Some(0)).map(|exchange| &exchange.outcome).collect()
}

#[tokio::test]
async fn a_unary_call_and_its_answer() {
    let server = Server::start(&[]).await;
    let message = json!({"text": "grüße", "count": 3, "at": "2026-01-31T12:00:00Z", "numbers": {"a": 7}, "mood": "MOOD_GOOD"});
    let plan = Plan::new(server.port, "Unary", std::slice::from_ref(&message));
    let exchanges = plan.calls(3).await;
    for (index, exchange) in exchanges.iter().enumerate() {
        let body = answer(exchange);
        // 64-bit numbers are numbers, names are those of the JSON mapping, defaults are there.
        assert_eq!((body["text"].as_str(), body["count"].as_u64()), (Some("grüße"), Some(1)), "{body}");
        assert_eq!(body["request"]["statusText"], "", "{body}");
        for (key, value) in message.as_object().unwrap() {
            assert_eq!(&body["request"][key], value, "{body}");
        }
        let remaining = body["remainingMs"].as_u64().unwrap();
        assert!(remaining > 0 && remaining <= AMPLE.as_millis() as u64, "{remaining}");
        assert_eq!(body["metadata"]["user-agent"], concat!("plimsoll/", env!("CARGO_PKG_VERSION")));
        assert_eq!(
            (exchange.received, &exchange.headers["x-first"], &exchange.headers["x-bytes-bin"]),
            (1, &"yes".parse().unwrap(), &"AP8".parse().unwrap())
        );
        assert_eq!((&exchange.trailers["x-last"], &exchange.trailers["grpc-status"]), (&"3".parse().unwrap(), &"0".parse().unwrap()));
        // One connection for all calls; every part of a call was measured, and every byte counted.
        let outcome = &exchange.outcome;
        assert_eq!(outcome.connected, index == 0);
        assert!(outcome.phases.waiting > Duration::ZERO && outcome.phases.connecting.is_zero() == (index > 0), "{outcome:?}");
        assert!(outcome.bytes_sent > 50 && outcome.bytes_received > 50, "{outcome:?}");
    }
}

#[tokio::test]
async fn all_kinds_of_streams() {
    let server = Server::start(&[]).await;
    let text = |text: &str| json!({"text": text, "count": 3});
    let down = Plan::new(server.port, "Download", &[text("a")]).call().await;
    assert_eq!(answer(&down).as_array().unwrap().iter().map(|reply| reply["count"].as_i64().unwrap()).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(down.received, 3);
    let none = Plan::new(server.port, "Download", &[json!({})]).call().await;
    assert_eq!((answer(&none), none.received), (json!([]), 0));

    let up = Plan::new(server.port, "Upload", &[text("a"), text("b"), text("c")]).call().await;
    let body = answer(&up);
    assert_eq!((body["count"].as_i64(), body["text"].as_str(), up.received), (Some(3), Some("c"), 1));
    let nothing = Plan::new(server.port, "Upload", &[]).call().await;
    assert_eq!(answer(&nothing)["count"], 0);

    let talk = Plan::new(server.port, "Talk", &[text("a"), text("b")]).call().await;
    assert_eq!(answer(&talk).as_array().unwrap().iter().map(|reply| reply["text"].as_str().unwrap()).collect::<Vec<_>>(), ["a", "b"]);
}

#[tokio::test]
async fn streams_larger_than_every_window_pass_both_ways_at_once() {
    let server = Server::start(&[]).await;
    // 16 MiB out and back: far more than the windows, so both sides must give them back while they send.
    let big = json!({"text": "x".repeat(256 << 10)});
    let mut plan = Plan::new(server.port, "Talk", &vec![big; 64]);
    plan.keep = false;
    let exchange = plan.call().await;
    assert_eq!((exchange.outcome.failure.as_ref(), exchange.status, exchange.received), (None, Some(0), 64), "{:?}", exchange.outcome);
    assert!(exchange.outcome.bytes_sent > 16 << 20 && exchange.outcome.bytes_received > 32 << 20, "{:?}", exchange.outcome);
    assert!(exchange.body.is_empty());
}

#[tokio::test]
async fn metadata_and_credentials_arrive() {
    let server = Server::start(&[]).await;
    let mut plan = Plan::new(server.port, "Unary", &[json!({})]);
    plan.metadata = vec![("X-Tenant", "blue".into()), ("x-key-bin", "AP8=".into())];
    plan.auth = Some(Auth::Bearer(Hidden(Template::literal("abc", Encoding::Header))));
    let body = answer(&plan.call().await);
    let seen = &body["metadata"];
    assert_eq!((&seen["x-tenant"], &seen["x-key-bin"], &seen["authorization"]), (&json!("blue"), &json!("AP8="), &json!("Bearer abc")));
    let of_the_call = async {
        let mut client = plan.client(&GrpcPool::default());
        client.call(&plan.ready(), Call { authorization: Some("Bearer other"), ..Call::default() }).await
    };
    let exchange = tokio::task::LocalSet::new().run_until(of_the_call).await;
    assert_eq!(answer(&exchange)["metadata"]["authorization"], "Bearer other");
}

#[tokio::test]
async fn what_templates_filled_in_takes_the_type_of_its_field() {
    let server = Server::start(&[]).await;
    let plan = Plan::new(server.port, "Upload", &[json!({})]);
    let open = |text: &str, encoding| Template::parse(text, encoding).unwrap();
    let request = GrpcRequest {
        messages: vec![
            open(r#"{"text": "constant"}"#, Encoding::Json),
            open(r#"{"text": "${seq}", "count": "${n}", "mood": "${mood}"}"#, Encoding::Json),
        ],
        metadata: vec![("x-id".into(), open("${id}", Encoding::Header)), ("x-tenant".into(), open("blue", Encoding::Header))],
        ..plan.request()
    };
    let ready = Ready::new(&request, echo().method("test.v1.Echo", "Upload").unwrap(), &plan.options, AMPLE, true).unwrap();
    assert_eq!((ready.open_messages().collect::<Vec<_>>(), ready.open_metadata().collect::<Vec<_>>()), (vec![1], vec![0]));
    let calls = async {
        let mut client = plan.client(&GrpcPool::default());
        let mut exchanges = Vec::new();
        for message in [r#"{"text": 7, "count": "3", "mood": "1"}"#, r#"{"text": {}}"#, "{"] {
            let (messages, metadata) = ([message.to_owned()], ["a".to_owned()]);
            exchanges.push(client.call(&ready, Call { messages: &messages, metadata: &metadata, authorization: None }).await);
        }
        exchanges.push(client.call(&ready, Call::default()).await);
        exchanges
    };
    let mut exchanges = tokio::task::LocalSet::new().run_until(calls).await;
    let body = answer(&exchanges[0]);
    assert_eq!((&body["count"], &body["text"], &body["request"]["mood"]), (&json!(2), &json!("7"), &json!("MOOD_GOOD")));
    assert_eq!((&body["metadata"]["x-id"], &body["metadata"]["x-tenant"]), (&json!("a"), &json!("blue")));
    let metadata = exchanges[0].take_metadata();
    assert_eq!((&metadata["x-first"], &metadata["x-last"]), (&"yes".parse().unwrap(), &"3".parse().unwrap()));
    for (exchange, what, message) in [
        (&exchanges[1], "message", "message 1 does not fit: invalid type: map, expected a string"),
        (&exchanges[2], "message", "message 1 does not fit: EOF while parsing an object at line 1 column 1"),
        (&exchanges[3], "metadata", "0 values of metadata were filled in, not 1"),
    ] {
        assert_eq!(exchange.outcome.failure, Some(Reason::Script(what.into())));
        assert_eq!(exchange.outcome.message.as_deref(), Some(message));
    }
}

#[tokio::test]
async fn every_status_is_its_own_reason() {
    let server = Server::start(&[]).await;
    for code in 1..=16_u16 {
        let message = json!({"status": code, "status_text": "sorry, 100% füll\npassword=hunter2"});
        let exchange = Plan::new(server.port, "Unary", &[message]).call().await;
        assert_eq!((exchange.outcome.failure.clone(), exchange.status), (Some(Reason::GrpcStatus(code)), Some(code)), "{exchange:?}");
        assert_eq!(exchange.message, "sorry, 100% füll\npassword=hunter2");
        let told = exchange.outcome.message.unwrap();
        assert!(told.starts_with(&format!("status {code} ")) && told.ends_with(": sorry, 100% füll password=<redacted>"), "{told}");
    }
}

#[tokio::test]
async fn a_stream_that_fails_in_the_middle_has_the_status_as_its_reason() {
    let server = Server::start(&[]).await;
    let messages = [json!({"text": "a"}), json!({"text": "b"}), json!({"status": 8, "status_text": "enough"}), json!({"text": "d"})];
    let talk = Plan::new(server.port, "Talk", &messages).call().await;
    assert_eq!((talk.outcome.failure, talk.received), (Some(Reason::GrpcStatus(8)), 2));
    // The server ends before everything was sent.
    let many: Vec<Value> = std::iter::once(json!({"status": 3})).chain((0..200).map(|_| json!({"text": "x".repeat(10_000)}))).collect();
    let up = Plan::new(server.port, "Upload", &many).call().await;
    assert_eq!(up.outcome.failure, Some(Reason::GrpcStatus(3)), "{:?}", up.outcome);
}

#[tokio::test]
async fn a_deadline_is_told_and_kept() {
    let server = Server::start(&[]).await;
    for method in ["Unary", "Upload", "Talk", "Download"] {
        let mut plan = Plan::new(server.port, method, &[json!({"sleep_ms": 20_000, "text": "late"})]);
        plan.timeout = Duration::from_millis(300);
        let exchanges = plan.calls(2).await;
        for exchange in &exchanges {
            // The server sends its initial metadata before it sleeps.
            assert_eq!(exchange.outcome.failure, Some(Reason::Timeout(Phase::Receiving)), "{method}: {exchange:?}");
            assert_eq!(exchange.outcome.message.as_deref(), Some("no answer within 300 ms"));
            assert_eq!(exchange.status, None);
        }
        // One call that is given up does not take the connection with it.
        assert!(!exchanges[1].outcome.connected, "{method}: {exchanges:?}");
    }
}

#[tokio::test]
async fn compressed_answers_are_read_and_messages_have_a_limit() {
    let server = Server::start(&[]).await;
    let mut plan = Plan::new(server.port, "Download", &[json!({"gzip": true, "size": 100_000, "count": 2})]);
    plan.options.compression = true;
    let exchange = plan.call().await;
    let body = answer(&exchange);
    assert_eq!(body[1]["text"].as_str().unwrap(), "x".repeat(100_000));
    assert_eq!(body[1]["metadata"]["grpc-accept-encoding"], Value::Null, "{}", body[1]["metadata"]);
    assert!(exchange.outcome.bytes_received < 50_000, "{:?}", exchange.outcome);
    plan.options.max_body = 99_999;
    assert_eq!(plan.call().await.outcome.failure, Some(Reason::BodyTooLarge));
    for keep in [true, false] {
        let mut plan = Plan::new(server.port, "Unary", &[json!({"size": 100_000})]);
        (plan.options.max_body, plan.keep) = (99_999, keep);
        let exchange = plan.call().await;
        assert_eq!((exchange.outcome.failure, exchange.status), (Some(Reason::BodyTooLarge), None));
    }
}

#[tokio::test]
async fn connections_are_kept_shared_or_new() {
    let server = Server::start(&["--streams", "4"]).await;
    let mut plan = Plan::new(server.port, "Unary", &[json!({"sleep_ms": 200})]);
    plan.options.connections = Connections::PerRequest;
    assert!(plan.calls(3).await.iter().all(|exchange| exchange.outcome.connected && exchange.status == Some(0)));

    plan.options.connections = Connections::Shared;
    let (plan, ready) = (&plan, &plan.ready());
    let together = async {
        let pool = GrpcPool::default();
        let call = async || plan.client(&pool).call(ready, Call::default()).await;
        let first = call().await;
        (first, futures_util::future::join_all((0..12).map(|_| call())).await)
    };
    let (first, together) = tokio::task::LocalSet::new().run_until(together).await;
    assert!(first.outcome.connected && first.status == Some(0), "{first:?}");
    assert!(together.iter().all(|exchange| exchange.status == Some(0) && !exchange.outcome.connected), "{:?}", outcomes(&together));
    // The server takes four calls at a time: the others wait for their turn, and that is not the server's time.
    let blocked = together.iter().filter(|exchange| exchange.outcome.phases.blocked > Duration::ZERO).count();
    assert_eq!(blocked, 8);
    let slowest = together.iter().max_by_key(|exchange| exchange.outcome.phases.blocked).unwrap();
    assert!(slowest.outcome.phases.blocked >= Duration::from_millis(350), "{slowest:?}");
}

#[tokio::test]
async fn a_server_that_says_goodbye_is_left_without_a_failure() {
    let server = Server::start(&["--max-age", "300"]).await;
    let plan = Plan::new(server.port, "Unary", &[json!({"sleep_ms": 20})]);
    let exchanges = plan.calls(100).await;
    assert!(exchanges.iter().all(|exchange| exchange.status == Some(0)), "{:?}", outcomes(&exchanges));
    let connections = exchanges.iter().filter(|exchange| exchange.outcome.connected).count();
    assert!(connections > 1 && connections < 50, "{connections}");
}

#[tokio::test]
async fn calls_go_over_tls() {
    let folder = temp_dir();
    let (cert, key) = certificate();
    let paths = ["cert.pem", "key.pem"].map(|name| folder.path().join(name));
    std::fs::write(&paths[0], &cert).unwrap();
    std::fs::write(&paths[1], key).unwrap();
    let server = Server::start(&["--tls", paths[0].to_str().unwrap(), paths[1].to_str().unwrap()]).await;
    let mut plan = Plan::new(server.port, "Unary", &[json!({"text": "a"})]);
    plan.url = plan.url.replace("http://", "https://");
    plan.tls.ca = vec![cert.into_bytes()];
    let exchange = plan.call().await;
    assert_eq!(answer(&exchange)["text"], "a");
    assert!(exchange.outcome.phases.tls > Duration::ZERO);
    // Nobody vouches for the server.
    plan.tls.ca.clear();
    assert_eq!(plan.call().await.outcome.failure, Some(Reason::Tls));
    // The server expects TLS, or the client does.
    plan.url = plan.url.replace("https://", "http://");
    let plain = plan.call().await.outcome.failure;
    assert!(matches!(plain, Some(Reason::ClosedEarly | Reason::Reset | Reason::Protocol)), "{plain:?}");
    let server = Server::start(&[]).await;
    plan.url = format!("https://127.0.0.1:{}", server.port);
    assert_eq!(plan.call().await.outcome.failure, Some(Reason::Tls));
}

#[tokio::test]
async fn a_stream_without_end_is_over_when_enough_has_come() {
    let server = Server::start(&[]).await;
    let endless = || Plan::new(server.port, "Download", &[json!({"count": 1_000_000_000, "text": "a"})]);
    let mut taking = endless();
    taking.stream.take = Some(5);
    // One connection carries them all: letting go of a call does not harm it.
    let exchanges = taking.calls(3).await;
    for (number, exchange) in exchanges.iter().enumerate() {
        let counts: Vec<_> = answer(exchange).as_array().unwrap().iter().map(|reply| reply["count"].as_u64()).collect();
        assert_eq!((counts, exchange.received), ((1..=5).map(Some).collect(), 5));
        assert_eq!((exchange.outcome.connected, exchange.headers["x-first"].as_bytes()), (number == 0, b"yes".as_slice()));
    }
    let mut lasting = endless();
    (lasting.stream.lasting, lasting.keep) = (Some(Duration::from_millis(500)), false);
    let exchange = lasting.call().await;
    assert_eq!((exchange.outcome.failure.as_ref(), exchange.status), (None, Some(0)), "{exchange:?}");
    assert!(exchange.received > 0 && exchange.outcome.phases.service_time() >= Duration::from_millis(500), "{exchange:?}");
    // Messages need not come, and a stream that ends by itself before is judged by its status.
    let mut idle = Plan::new(server.port, "Talk", &[json!({"sleep_ms": 30_000})]);
    idle.stream.lasting = Some(Duration::from_secs(2));
    let exchange = idle.call().await;
    assert_eq!((answer(&exchange), exchange.received), (json!([]), 0));
    let mut short = Plan::new(server.port, "Download", &[json!({"count": 2})]);
    short.stream = GrpcStream { take: Some(5), lasting: Some(Duration::from_secs(30)), every: None };
    let exchange = short.call().await;
    assert_eq!((exchange.status, exchange.received, exchange.trailers["x-last"].as_bytes()), (Some(0), 2, b"2".as_slice()));
    short.messages = vec![json!({"count": 2, "status": 5})];
    assert_eq!(short.call().await.status, Some(5));
    // Without its own end the call runs into its timeout.
    let mut late = endless();
    (late.timeout, late.keep) = (Duration::from_millis(500), false);
    assert_eq!(late.call().await.outcome.failure, Some(Reason::Timeout(Phase::Receiving)));
}

#[tokio::test]
async fn messages_of_a_stream_go_out_in_their_time() {
    let server = Server::start(&[]).await;
    for method in ["Upload", "Talk"] {
        let mut plan = Plan::new(server.port, method, &[json!({"text": "a"}), json!({"text": "b"}), json!({"text": "c"})]);
        plan.stream.every = Some(Duration::from_millis(300));
        let exchange = plan.call().await;
        let phases = exchange.outcome.phases;
        assert!(phases.service_time() >= Duration::from_millis(600), "{method}: {phases:?}");
        let answers = answer(&exchange);
        let last = answers.as_array().and_then(|list| list.last()).unwrap_or(&answers);
        assert_eq!((&last["text"], last["count"].as_u64()), (&json!("c"), Some(3)), "{method}");
    }
}
