//! Errors of the API: `{"error": {"code": …, "message": …}}` with a stable code. Messages hold no secrets and no internals.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::engine::handle::Refusal;

/// An answer that is not the one asked for.
#[derive(Debug)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) message: String,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    pub(super) fn storage() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "storage_unavailable", "the database cannot be read at present")
    }

    pub(super) fn unknown_run(id: &str) -> Self {
        let id: String = id.chars().take(80).collect();
        Self::new(StatusCode::NOT_FOUND, "unknown_run", format!("there is no run `{id}`"))
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let (status, code) = match &refusal {
            Refusal::Unknown(_) => (StatusCode::NOT_FOUND, "unknown"),
            Refusal::NotNow(_) => (StatusCode::CONFLICT, "not_now"),
            Refusal::BadRequest(_) => (StatusCode::BAD_REQUEST, "bad_request"),
            Refusal::BadConfiguration(_) => (StatusCode::UNPROCESSABLE_ENTITY, "bad_configuration"),
            Refusal::Storage(_) => (StatusCode::SERVICE_UNAVAILABLE, "storage_unavailable"),
            Refusal::Stopped => (StatusCode::SERVICE_UNAVAILABLE, "stopped"),
        };
        Self::new(status, code, refusal.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = Json(json!({ "error": { "code": self.code, "message": self.message } }));
        let mut response = (self.status, body).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"plimsoll\""));
        }
        response
    }
}
