//! Runs that are kept whatever their age.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::auth::Bearer;
use super::super::error::ApiError;
use super::super::{Parts, stored};
use super::runs::find;
use crate::model::retention::Pin;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct KeepRequest {
    /// `pinned`, when it is not given, or `baseline`.
    #[serde(rename = "as")]
    word: Option<String>,
}

pub(in super::super) async fn show(State(parts): State<Parts>, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    let id = find(&parts, &id).await?.id;
    let pin = stored(parts.store.pinned(&id)).await?;
    Ok(Json(json!({ "run": id, "pin": pin.map(Pin::as_str) })))
}

pub(in super::super) async fn keep(
    State(parts): State<Parts>,
    Bearer(token): Bearer,
    Path(id): Path<String>,
    request: Result<Json<KeepRequest>, JsonRejection>,
) -> Result<Json<Value>, ApiError> {
    let Json(request) = request.map_err(|rejection| ApiError::new(rejection.status(), "bad_request", rejection.body_text()))?;
    let pin = match request.word.as_deref() {
        None => Pin::Pinned,
        Some(word) => Pin::parse(word).ok_or_else(|| ApiError::bad_request("`as` is `pinned` or `baseline`"))?,
    };
    set(&parts, &id, Some(pin), &token).await
}

pub(in super::super) async fn release(
    State(parts): State<Parts>,
    Bearer(token): Bearer,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    set(&parts, &id, None, &token).await
}

async fn set(parts: &Parts, id: &str, pin: Option<Pin>, token: &str) -> Result<Json<Value>, ApiError> {
    let id = find(parts, id).await?.id;
    parts.engine.keep_run(&id, pin, &format!("api token {token}")).await?;
    let word = pin.map(Pin::as_str);
    tracing::info!(run_id = %id, token, pin = word.unwrap_or("none"), "how long a run is kept was changed over HTTP");
    Ok(Json(json!({ "run": id, "pin": word })))
}
