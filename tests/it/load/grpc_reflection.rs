//! The schema that a server tells about itself: of grpcio, which has reflection in the old version only, and what is said when a
//! server does not offer it, does not have the service, or cannot be asked.

use std::time::Duration;

use plimsoll::model::failure::{Phase, Reason};
use plimsoll::model::request::GrpcRequest;
use plimsoll::protocol::grpc::schema::Schema;
use plimsoll::protocol::grpc::{Call, GrpcPool, Ready, ReflectionError, reflect};
use serde_json::json;

use super::grpc::{AMPLE, Plan, Server, echo};
use super::grpc_misfits::{Kind, Misfits};
use crate::servers::free_port;

/// Asks the server of a plan for the services of these requests.
pub(super) async fn ask(plan: &Plan, requests: &[&GrpcRequest]) -> Result<Schema, ReflectionError> {
    let asking = async { reflect(&mut plan.client(&GrpcPool::default()), requests, plan.timeout).await };
    tokio::task::LocalSet::new().run_until(asking).await
}

#[tokio::test]
async fn a_schema_that_was_told_is_as_good_as_one_from_files() {
    let server = Server::start(&["--reflection"]).await;
    let message = json!({"text": "a", "at": "2026-01-31T12:00:00Z"});
    let plan = Plan::new(server.port, "Talk", &[message.clone(), message]);
    let request = plan.request();
    let schema = ask(&plan, &[&request, &request]).await.unwrap();
    assert_eq!(schema.services(), echo().services());
    let method = schema.method("test.v1.Echo", "Talk").unwrap();
    assert_eq!(method.kind(), "bidirectional");
    assert_eq!(method.misfits(&json!({"txt": 1}))[0].hint, "did you mean `text`?");
    let ready = Ready::new(&request, method, &plan.options, AMPLE, true).unwrap();
    let call = async { plan.client(&GrpcPool::default()).call(&ready, Call::default()).await };
    let exchange = tokio::task::LocalSet::new().run_until(call).await;
    assert_eq!((exchange.outcome.failure, exchange.received), (None, 2));
}

#[tokio::test]
async fn a_server_without_reflection_is_told_apart() {
    let server = Server::start(&[]).await;
    let plan = Plan::new(server.port, "Unary", &[json!({})]);
    let error = ask(&plan, &[&plan.request()]).await.unwrap_err();
    assert_eq!(error, ReflectionError::Absent(format!("127.0.0.1:{}", server.port)));
    assert!(error.to_string().contains("offers no server reflection; switch it on there, or name the `.proto` files in `proto`"));
    // What is no gRPC server at all says so by HTTP.
    let misfits = Misfits::start(Kind::Calls).await;
    let mut plan = Plan::new(misfits.port, "Unary", &[json!({})]);
    plan.metadata = vec![("misfit", "not-found".into())];
    assert_eq!(ask(&plan, &[&plan.request()]).await.unwrap_err(), ReflectionError::Absent(format!("127.0.0.1:{}", misfits.port)));
}

#[tokio::test]
async fn a_service_that_the_server_does_not_have_is_told_with_those_that_it_has() {
    let server = Server::start(&["--reflection"]).await;
    let plan = Plan::new(server.port, "Unary", &[json!({})]);
    let unknown = GrpcRequest { service: "test.v1.Ecko".into(), ..plan.request() };
    let error = ask(&plan, &[&plan.request(), &unknown]).await.unwrap_err();
    let told = format!("127.0.0.1:{} does not have the service `test.v1.Ecko`; did you mean `test.v1.Echo`?", server.port);
    assert_eq!(error.to_string(), told);
}

#[tokio::test]
async fn a_server_that_cannot_be_asked_is_told_with_the_reason() {
    let refused = Plan::new(free_port(), "Unary", &[json!({})]);
    let error = ask(&refused, &[&refused.request()]).await.unwrap_err();
    assert!(matches!(&error, ReflectionError::Failed { reason: Reason::ConnectRefused, .. }), "{error}");
    assert!(error.to_string().contains("could not be asked for its schema (connect_refused)"), "{error}");

    let misfits = Misfits::start(Kind::Calls).await;
    for (misfit, reason) in [
        ("silence", Some(Reason::Timeout(Phase::Waiting))),
        ("unauthorized", Some(Reason::GrpcStatus(16))),
        ("reset", Some(Reason::Reset)),
        // OK, but what it says is no answer.
        ("none", None),
        ("not-the-schema", None),
    ] {
        let mut plan = Plan::new(misfits.port, "Unary", &[json!({})]);
        (plan.metadata, plan.timeout) = (vec![("misfit", misfit.into())], Duration::from_secs(2));
        let error = ask(&plan, &[&plan.request()]).await.unwrap_err();
        match (&error, reason) {
            (ReflectionError::Failed { reason, .. }, Some(expected)) => assert_eq!(*reason, expected, "{misfit}"),
            (ReflectionError::Unusable { .. }, None) => {}
            _ => panic!("{misfit}: {error}"),
        }
    }
}
