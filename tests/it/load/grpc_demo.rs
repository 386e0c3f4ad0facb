//! The gRPC side of the demo target, called through its own reflection (version 1): every method, the pool that it shares with the HTTP
//! side, and every fault that acts on calls.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that failed")]

use std::path::Path;
use std::time::Duration;

use plimsoll::demo::{self, Faults, Running, Settings};
use plimsoll::model::failure::{Phase, Reason};
use plimsoll::model::request::{GrpcRequest, GrpcSchema, GrpcStream};
use plimsoll::model::template::{Encoding, Template};
use plimsoll::protocol::grpc::schema::{self, Schema};
use plimsoll::protocol::grpc::{Call, GrpcExchange, GrpcPool, Ready};
use serde_json::{Value, json};

use super::grpc::{AMPLE, Plan};
use super::grpc_reflection::ask;
use crate::demo::{client, until};

/// A demo target, and the schema that it tells.
struct Target {
    running: Running,
    schema: Schema,
}

impl Target {
    async fn start(pool: u32, hold_ms: u64) -> Self {
        let (hold, acquire_timeout) = (Duration::from_millis(hold_ms), Duration::from_millis(300));
        let running = demo::start(Settings { pool, hold, acquire_timeout, ..Settings::default() }).await.unwrap();
        let plan = Plan::new(running.addr.port(), "", &[]);
        let [events, health] = ["events.v1.Events", "grpc.health.v1.Health"].map(|service| request(&plan, service, "", &[]));
        let schema = ask(&plan, &[&events, &health]).await.unwrap();
        Self { running, schema }
    }

    fn plan(&self) -> Plan {
        Plan::new(self.running.addr.port(), "", &[])
    }

    fn ready(&self, plan: &Plan, service: &str, method: &str, messages: &[Value]) -> Ready {
        let known = self.schema.method(service, method).unwrap();
        Ready::new(&request(plan, service, method, messages), known, &plan.options, plan.timeout, true).unwrap()
    }

    async fn call(&self, method: &str, messages: &[Value]) -> GrpcExchange {
        self.call_within(AMPLE, "events.v1.Events", method, messages).await
    }

    async fn call_within(&self, timeout: Duration, service: &str, method: &str, messages: &[Value]) -> GrpcExchange {
        let plan = Plan { timeout, ..self.plan() };
        let ready = self.ready(&plan, service, method, messages);
        let call = async { plan.client(&GrpcPool::default()).call(&ready, Call::default()).await };
        tokio::task::LocalSet::new().run_until(call).await
    }

    async fn switch(&self, faults: Value) {
        let answer = client().post(self.running.url("/faults")).json(&faults).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    async fn mend(&self) {
        let shown: Faults = client().delete(self.running.url("/faults")).send().await.unwrap().json().await.unwrap();
        assert_eq!(shown, Faults::default());
    }
}

fn request(plan: &Plan, service: &str, method: &str, messages: &[Value]) -> GrpcRequest {
    GrpcRequest {
        origin: plan.url.parse().unwrap(),
        service: service.into(),
        method: method.into(),
        schema: GrpcSchema::Reflection,
        messages: messages.iter().map(|message| Template::literal(message.to_string(), Encoding::Json)).collect(),
        metadata: Vec::new(),
        auth: None,
        stream: GrpcStream::default(),
    }
}

fn body(exchange: &GrpcExchange) -> Value {
    assert_eq!((exchange.outcome.failure.as_ref(), exchange.status), (None, Some(0)), "{:?}", exchange.outcome);
    serde_json::from_slice(&exchange.body).unwrap()
}

#[tokio::test]
async fn every_method_does_what_it_says() {
    let target = Target::start(5, 1).await;
    let event = |user: &str, amount: i64| json!({"user": user, "kind": "KIND_STAT_UPDATE", "amount": amount, "labels": {"a": "b"}});
    let recorded = target.call("Record", &[event("ann", 5)]).await;
    assert_eq!(body(&recorded), json!({"id": 1, "user": "ann"}));
    assert_eq!(recorded.headers["x-version"], env!("CARGO_PKG_VERSION"));
    let uploaded = target.call("Upload", &[event("ann", 6), event("bob", 7)]).await;
    assert_eq!(body(&uploaded), json!({"count": 2, "amount": 13}));
    let watched = body(&target.call("Watch", &[json!({"user": "ann", "count": 3, "every_ms": 1})]).await);
    let told: Vec<(&str, i64)> =
        watched.as_array().unwrap().iter().map(|event| (event["kind"].as_str().unwrap(), event["amount"].as_i64().unwrap())).collect();
    assert_eq!(told, [("KIND_STAT_UPDATE", 6), ("KIND_STAT_UPDATE", 5), ("KIND_LOGIN", 0)]);
    let said = body(&target.call("Chat", &[event("a", 1), event("b", 2)]).await);
    assert_eq!((said[0]["user"].as_str(), said[1]["amount"].as_i64(), said.as_array().unwrap().len()), (Some("a"), Some(2), 2));
    let refused = target.call("Record", &[event("ann", -1)]).await;
    assert_eq!((refused.outcome.failure, refused.message.as_str()), (Some(Reason::GrpcStatus(3)), "`amount` must not be negative"));

    let health = target.call_within(AMPLE, "grpc.health.v1.Health", "Check", &[json!({"service": "events.v1.Events"})]).await;
    assert_eq!(body(&health), json!({"status": "SERVING"}));
    let unknown = target.call_within(AMPLE, "grpc.health.v1.Health", "Check", &[json!({"service": "x"})]).await;
    assert_eq!(unknown.outcome.failure, Some(Reason::GrpcStatus(5)));
    let watch = target.call_within(Duration::from_secs(1), "grpc.health.v1.Health", "Watch", &[json!({})]).await;
    assert_eq!((watch.outcome.failure, watch.received), (Some(Reason::Timeout(Phase::Receiving)), 1));
    let page = client().get(target.running.url("/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(page.contains(r#"http_requests_total{code="200",method="POST",path="/events.v1.Events/Record"} 2"#), "{page}");
    target.running.stop().await;
}

#[tokio::test]
async fn the_example_is_the_schema_that_is_served() {
    let target = Target::start(5, 1).await;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples/challenge/events.proto");
    let schema = schema::load(&[file], &[]).unwrap();
    for method in ["Record", "Upload", "Watch", "Chat"] {
        let both = [&schema, &target.schema].map(|schema| schema.method("events.v1.Events", method).unwrap().kind());
        assert_eq!(both[0], both[1]);
    }
    // A method that the server does not have.
    let text = "syntax = \"proto3\"; package events.v1; service Events { rpc Forget(E) returns (E); } message E {}";
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("more.proto"), text).unwrap();
    let known = schema::load(&[folder.path().join("more.proto")], &[]).unwrap().method("events.v1.Events", "Forget").unwrap();
    let plan = target.plan();
    let ready = Ready::new(&request(&plan, "events.v1.Events", "Forget", &[json!({})]), known, &plan.options, AMPLE, false).unwrap();
    let call = async { plan.client(&GrpcPool::default()).call(&ready, Call::default()).await };
    let exchange = tokio::task::LocalSet::new().run_until(call).await;
    assert_eq!(exchange.outcome.failure, Some(Reason::GrpcStatus(12)), "{:?}", exchange.outcome);
}

#[tokio::test]
async fn calls_hold_connections_of_the_pool() {
    let target = Target::start(2, 20_000).await;
    let plan = target.plan();
    let ready = target.ready(&plan, "events.v1.Events", "Record", &[json!({"user": "a"})]);
    let calls = async {
        let call = async || plan.client(&GrpcPool::default()).call(&ready, Call::default()).await;
        let holding = async { tokio::join!(call(), call()) };
        let third = async {
            until(&target.running, |pool| pool.in_use == 2).await;
            call().await
        };
        tokio::select! {
            _ = holding => panic!("the pool is not held"),
            third = third => third,
        }
    };
    let third = tokio::task::LocalSet::new().run_until(Box::pin(calls)).await;
    assert_eq!(third.outcome.failure, Some(Reason::GrpcStatus(14)));
    assert_eq!(third.outcome.message.as_deref(), Some("status 14 UNAVAILABLE: sorry, too many clients already"));
    // Callers that go away give their connections back.
    until(&target.running, |pool| pool.in_use == 0).await;
}

#[tokio::test]
async fn faults_act_on_calls() {
    let target = Target::start(5, 1).await;
    let events = [json!({"user": "a"})];
    target.switch(json!({"errors": [{"prefix": "/events.v1.Events/Record", "status": 500, "share": 0.5}]})).await;
    let mut failed = Vec::new();
    for _ in 0..4 {
        failed.push(target.call("Record", &events).await.outcome.failure);
    }
    assert_eq!(failed, [None, Some(Reason::GrpcStatus(14)), None, Some(Reason::GrpcStatus(14))]);
    assert_eq!(target.call("Chat", &events).await.outcome.failure, None);

    target.mend().await;
    target.switch(json!({"slow_ms": 200})).await;
    let slow = target.call("Record", &events).await.outcome;
    assert!(slow.failure.is_none() && slow.phases.waiting >= Duration::from_millis(200), "{slow:?}");

    target.mend().await;
    target.switch(json!({"truncated_body": 1})).await;
    assert_eq!(target.call("Record", &events).await.outcome.failure, Some(Reason::Reset));

    target.mend().await;
    target.switch(json!({"refuse": 1})).await;
    let refused = target.call("Record", &events).await.outcome;
    assert!(matches!(refused.failure, Some(Reason::ClosedEarly | Reason::Reset)), "{refused:?}");

    target.mend().await;
    target.switch(json!({"stall_ms": 60_000})).await;
    let stalled = target.call_within(Duration::from_secs(1), "events.v1.Events", "Record", &events).await.outcome;
    assert_eq!(stalled.failure, Some(Reason::Timeout(Phase::Waiting)));
    target.mend().await;
    assert_eq!(target.call("Record", &events).await.outcome.failure, None);
}
