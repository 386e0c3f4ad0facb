//! What the daemon's own resources do: its stored readings of a week, judged by the detector that judges runs.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::super::error::ApiError;
use super::super::{Parts, stored};
use crate::engine::own::judged;
use crate::model::analysed::TrendFound;

/// Judges what is stored now.
pub(in super::super) async fn trends(parts: &Parts) -> Result<Vec<TrendFound>, ApiError> {
    stored(judged(parts.store.as_ref(), parts.clock.now())).await
}

pub(in super::super) async fn show(State(parts): State<Parts>) -> Result<Json<Value>, ApiError> {
    Ok(Json(json!({ "trends": trends(&parts).await? })))
}
