//! `grpc.health.v1.Health`: the service is well as long as it answers, as `/api/v1/health` says with a query.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::routing::post;
use futures_util::{Stream, stream};
use tonic::Status;

use super::messages::{Health, HealthCheckRequest, HealthCheckResponse};
use super::{Method, wire};
use crate::demo::api::App;

/// Services that are known; the empty name is the server as a whole.
const KNOWN: [&str; 2] = ["", "events.v1.Events"];

pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route(
            "/grpc.health.v1.Health/Check",
            post(async |request: Request| wire::<HealthCheckResponse, HealthCheckRequest>().unary(Method(check), request).await),
        )
        .route(
            "/grpc.health.v1.Health/Watch",
            post(async |request: Request| wire::<HealthCheckResponse, HealthCheckRequest>().server_streaming(Method(watch), request).await),
        )
}

fn known(asked: &HealthCheckRequest) -> bool {
    KNOWN.contains(&asked.service.as_str())
}

async fn check(asked: HealthCheckRequest) -> Result<HealthCheckResponse, Status> {
    if known(&asked) {
        return Ok(HealthCheckResponse { status: Health::Serving as i32 });
    }
    Err(Status::not_found(format!("there is no service `{}`", asked.service)))
}

/// The state now; it never changes while the server lives.
async fn watch(asked: HealthCheckRequest) -> Result<impl Stream<Item = Result<HealthCheckResponse, Status>> + use<>, Status> {
    let status = if known(&asked) { Health::Serving } else { Health::ServiceUnknown };
    let now = stream::iter([Ok(HealthCheckResponse { status: status as i32 })]);
    Ok(stream::StreamExt::chain(now, stream::pending()))
}
