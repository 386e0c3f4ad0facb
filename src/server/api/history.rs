//! What is made of many runs: a profile's history, deploys of a target, the pinned run, gates and suites.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::auth::Bearer;
use super::super::error::ApiError;
use super::super::{Parts, stored};
use crate::engine::history::suites::{gate_result, suite_result};
use crate::engine::history::view::{HistoryView, view};
use crate::model::history::{Deploy, Pinned};
use crate::model::run::Trigger;
use crate::model::suite::SuiteResult;
use crate::model::units::Timestamp;

/// Deploys in one answer.
const DEPLOYS: u32 = 100;
/// Longest version, in characters.
const LONGEST: usize = 100;

fn unknown(what: &str, name: &str) -> ApiError {
    let name: String = name.chars().take(80).collect();
    ApiError::new(StatusCode::NOT_FOUND, "unknown", format!("there is no {what} `{name}`"))
}

/// The history of a configured profile.
pub(in super::super) async fn history_of(parts: &Parts, profile: &str) -> Result<HistoryView, ApiError> {
    let setup = parts.engine.status().setup.clone();
    if !setup.profiles.contains_key(profile) {
        return Err(unknown("profile", profile));
    }
    stored(view(parts.store.as_ref(), &setup, profile, parts.clock.now())).await
}

pub(in super::super) async fn history(State(parts): State<Parts>, Path(profile): Path<String>) -> Result<Json<Value>, ApiError> {
    let view = history_of(&parts, &profile).await?;
    Ok(Json(serde_json::to_value(view).unwrap_or_default()))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct DeployRequest {
    version: String,
    /// RFC 3339; now, when it is not given.
    at: Option<String>,
}

pub(in super::super) async fn deploy(
    State(parts): State<Parts>,
    Bearer(token): Bearer,
    Path(target): Path<String>,
    request: Result<Json<DeployRequest>, JsonRejection>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let Json(request) = request.map_err(|rejection| ApiError::new(rejection.status(), "bad_request", rejection.body_text()))?;
    let version: String = request.version.trim().chars().filter(|c| !c.is_control()).take(LONGEST).collect();
    if version.is_empty() {
        return Err(ApiError::bad_request("`version` says what was deployed; it is empty"));
    }
    let at = match request.at.as_deref() {
        None => parts.clock.now(),
        Some(text) => {
            Timestamp::parse(text).ok_or_else(|| ApiError::bad_request("`at` is an RFC 3339 time such as 2026-11-21T02:00:00Z"))?
        }
    };
    let deploy = Deploy { target, version, at, by: format!("api token {token}") };
    parts.engine.deploy(deploy.clone()).await?;
    Ok((StatusCode::CREATED, Json(json!(deploy))))
}

pub(in super::super) async fn deploys(State(parts): State<Parts>, Path(target): Path<String>) -> Result<Json<Value>, ApiError> {
    let deploys = stored(parts.store.deploys(Some(&target), DEPLOYS)).await?;
    Ok(Json(json!({ "target": target, "deploys": deploys })))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct PinRequest {
    run: String,
}

pub(in super::super) async fn pin(
    State(parts): State<Parts>,
    Bearer(token): Bearer,
    Path(profile): Path<String>,
    request: Result<Json<PinRequest>, JsonRejection>,
) -> Result<Json<Value>, ApiError> {
    let Json(request) = request.map_err(|rejection| ApiError::new(rejection.status(), "bad_request", rejection.body_text()))?;
    let run = stored(parts.store.run(&request.run)).await?.ok_or_else(|| ApiError::unknown_run(&request.run))?;
    if run.profile != profile {
        return Err(ApiError::bad_request(format!("run {} is of profile `{}`", run.id, run.profile)));
    }
    let pinned = Pinned { profile: profile.clone(), run: run.id, at: parts.clock.now(), by: format!("api token {token}") };
    parts.engine.pin(&profile, Some(pinned.clone()), &pinned.by).await?;
    Ok(Json(json!(pinned)))
}

pub(in super::super) async fn unpin(
    State(parts): State<Parts>,
    Bearer(token): Bearer,
    Path(profile): Path<String>,
) -> Result<Json<Value>, ApiError> {
    parts.engine.pin(&profile, None, &format!("api token {token}")).await?;
    Ok(Json(json!({ "profile": profile, "run": null })))
}

pub(in super::super) async fn baseline(State(parts): State<Parts>, Path(profile): Path<String>) -> Result<Json<Value>, ApiError> {
    let pinned = stored(parts.store.baseline(&profile)).await?;
    Ok(Json(json!({ "profile": profile, "baseline": pinned })))
}

/// What a configured suite comes to.
pub(in super::super) async fn result_of(parts: &Parts, name: &str) -> Result<SuiteResult, ApiError> {
    let setup = parts.engine.status().setup.clone();
    let suite = setup.suites.get(name).ok_or_else(|| unknown("suite", name))?;
    Ok(suite_result(parts.store.as_ref(), suite).await?)
}

pub(in super::super) async fn suite(State(parts): State<Parts>, Path(name): Path<String>) -> Result<Json<Value>, ApiError> {
    Ok(Json(serde_json::to_value(result_of(&parts, &name).await?).unwrap_or_default()))
}

pub(in super::super) async fn run_suite(
    State(parts): State<Parts>,
    Bearer(token): Bearer,
    Path(name): Path<String>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let trigger = Trigger { by: "api".into(), name: Some(token) };
    let profiles = parts.engine.run_suite(&name, trigger).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "suite": name, "profiles": profiles, "url": format!("/api/v1/suites/{name}") }))))
}

pub(in super::super) async fn gates(State(parts): State<Parts>) -> Result<Json<Value>, ApiError> {
    let setup = parts.engine.status().setup.clone();
    let mut found = Vec::new();
    for gate in setup.gates.values() {
        found.push(stored(gate_result(parts.store.as_ref(), gate)).await?);
    }
    Ok(Json(json!({ "gates": found })))
}
