//! What production leaves of the capacity of targets: `GET /api/v1/headroom`.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::super::Parts;
use super::super::error::ApiError;
use super::super::headroom::left;

pub(in super::super) async fn show(State(parts): State<Parts>) -> Result<Json<Value>, ApiError> {
    Ok(Json(json!({ "headroom": left(&parts).await? })))
}
