//! Steering: one run, or all load at once. Whoever may start a run may do this.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::Parts;
use super::super::auth::Bearer;
use super::super::error::ApiError;
use super::runs::going;
use crate::engine::steer::Steer;
use crate::model::control::{Action, Scale};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct ControlRequest {
    action: Action,
    /// `50%`, `2x`, `20` or `50/s`, for `scale`.
    to: Option<String>,
    scenario: Option<String>,
}

impl ControlRequest {
    /// Reads the amount; `by` is the name of a token.
    pub(in super::super) fn steer(self, by: &str) -> Result<Steer, ApiError> {
        let scale = self.to.as_deref().map(Scale::parse).transpose().map_err(ApiError::bad_request)?;
        Ok(Steer { action: self.action, scale, scenario: self.scenario, by: format!("api token {by}") })
    }
}

fn unreadable(rejection: &JsonRejection) -> ApiError {
    ApiError::new(rejection.status(), "bad_request", rejection.body_text())
}

pub(in super::super) async fn control(
    State(parts): State<Parts>,
    Bearer(token): Bearer,
    Path(id): Path<String>,
    request: Result<Json<ControlRequest>, JsonRejection>,
) -> Result<Json<Value>, ApiError> {
    let Json(request) = request.map_err(|rejection| unreadable(&rejection))?;
    let steer = request.steer(&token)?;
    let id = going(&parts, &id).await?;
    let entry = parts.engine.control_run(&id, steer).await?;
    Ok(Json(json!({ "id": id, "what": entry.what(), "entry": entry })))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct StopRequest {
    /// Nothing starts until somebody resumes.
    #[serde(default)]
    hold: bool,
}

pub(in super::super) async fn stop(
    State(parts): State<Parts>,
    Bearer(token): Bearer,
    request: Result<Option<Json<StopRequest>>, JsonRejection>,
) -> Result<Json<Value>, ApiError> {
    let request = request.map_err(|rejection| unreadable(&rejection))?;
    let hold = request.is_some_and(|Json(request)| request.hold);
    let stopped = parts.engine.stop_all(&format!("api token {token}"), hold).await?;
    Ok(Json(json!({ "stopped": stopped, "hold": hold })))
}

pub(in super::super) async fn resume(State(parts): State<Parts>, Bearer(token): Bearer) -> Result<Json<Value>, ApiError> {
    parts.engine.resume(&format!("api token {token}")).await?;
    Ok(Json(json!({ "resumed": true })))
}

/// Whether all load stands still, since when and by whom.
pub(in super::super) async fn standstill(State(parts): State<Parts>) -> Json<Value> {
    Json(json!({ "standstill": parts.engine.status().standstill }))
}
