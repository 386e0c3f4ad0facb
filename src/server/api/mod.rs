//! The JSON API, version 1. Reading is open; whatever changes something needs a token. No answer holds a secret.

mod alerts;
mod captures;
pub(super) mod compare;
mod configuration;
pub(super) mod control;
mod headroom;
pub(super) mod history;
pub(super) mod itself;
pub(super) mod muting;
mod pins;
pub(super) mod runs;
mod series;

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::routing::{delete, get, patch, post};
use serde_json::{Value, json};

use super::Parts;
use super::auth::Bearer;
use super::error::ApiError;

pub(super) fn router() -> Router<Parts> {
    Router::new()
        .route("/runs", get(runs::list).post(runs::start))
        .route("/runs/{id}", get(runs::show).delete(runs::cancel))
        .route("/runs/{id}/cancel", post(runs::cancel))
        .route("/runs/{id}/control", patch(control::control))
        .route("/stop", get(control::standstill).post(control::stop))
        .route("/resume", post(control::resume))
        .route("/runs/{id}/findings", get(runs::findings))
        .route("/runs/{id}/analyse", post(runs::analyse))
        .route("/runs/{id}/captures", get(captures::list))
        .route("/runs/{id}/captures/{number}", get(captures::one))
        .route("/runs/{id}/intervals", get(runs::intervals))
        .route("/runs/{id}/series", get(series::series))
        .route("/runs/{id}/pin", get(pins::show).put(pins::keep).delete(pins::release))
        .route("/itself", get(itself::show))
        .route("/profiles", get(configuration::profiles))
        .route("/targets", get(configuration::targets))
        .route("/schedules", get(configuration::schedules))
        .route("/compare", get(compare::compare))
        .route("/profiles/{name}/history", get(history::history))
        .route("/profiles/{name}/baseline", get(history::baseline).put(history::pin).delete(history::unpin))
        .route("/targets/{name}/deploys", get(history::deploys).post(history::deploy))
        .route("/suites/{name}", get(history::suite))
        .route("/suites/{name}/runs", post(history::run_suite))
        .route("/headroom", get(headroom::show))
        .route("/gates", get(history::gates))
        .route("/alerts", get(alerts::alerts))
        .route("/silences", get(muting::list).post(muting::add))
        .route("/silences/{id}", delete(muting::expire))
        .route("/incidents/{id}/ack", post(muting::acknowledge))
        .route("/findings", get(alerts::findings))
        .route("/audit", get(alerts::audit))
}

/// Reads the configuration again.
pub(super) async fn reload(State(parts): State<Parts>, Bearer(by): Bearer) -> Result<Json<Value>, ApiError> {
    parts.engine.reload(&format!("api token {by}")).await?;
    tracing::info!(by, "configuration reloaded over HTTP");
    Ok(Json(json!({ "reloaded": true })))
}
