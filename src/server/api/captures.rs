//! What was captured during a run: the list, and one content as it came. It is handed out as a file: nothing of it runs in a browser.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::super::error::ApiError;
use super::super::{Parts, stored};
use super::runs::find;

pub(in super::super) async fn list(State(parts): State<Parts>, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    let run = find(&parts, &id).await?;
    let captures = stored(parts.store.captures(&run.id)).await?;
    Ok(Json(json!({ "id": run.id, "captures": captures })))
}

pub(in super::super) async fn one(State(parts): State<Parts>, Path((id, number)): Path<(String, u32)>) -> Result<Response, ApiError> {
    let run = find(&parts, &id).await?;
    let none = || ApiError::new(StatusCode::NOT_FOUND, "not_found", format!("run {} has no capture {number}", run.id));
    let (captured, content) = stored(parts.store.capture(&run.id, number)).await?.ok_or_else(none)?;
    if let Some(error) = captured.error {
        return Err(ApiError::new(StatusCode::NOT_FOUND, "not_found", format!("capture {number} failed: {error}")));
    }
    // What a target calls its content is not repeated to browsers but for plain text.
    let kind = match captured.content_type.split(';').next().unwrap_or_default().trim() {
        "text/plain" => "text/plain; charset=utf-8",
        "application/json" => "application/json",
        _ => "application/octet-stream",
    };
    let name: String = captured.file.chars().filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).collect();
    let place = HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")).unwrap_or(HeaderValue::from_static("attachment"));
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static(kind)), (header::CONTENT_DISPOSITION, place)], content).into_response())
}
