//! The faces of a running daemon over HTTP: health, `/metrics`, the JSON API and pages.
//! Reads the store and the engine's status; changes nothing by itself, commands go to the engine. axum is named only here and in `demo`.
//! Every answer is bounded in time and size. Reference: docs/api.md.

mod api;
mod auth;
mod error;
mod headroom;
mod health;
mod load;
mod pages;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::clock::SharedClock;
use crate::engine::handle::EngineHandle;
use crate::metrics::{self, Metrics};
use crate::store::{Store, StoreError, StoreResult};
use error::ApiError;

/// Longest time for one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest time for one call of the store.
const STORE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long open connections may go on after the shutdown began.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);
/// Largest body of a request.
const MAX_BODY: usize = 64 * 1024;

/// What the server shows and where it sends commands.
#[derive(Clone)]
pub struct ServerParts {
    /// Finished runs, series, alerts.
    pub store: Arc<dyn Store>,
    /// What is going on, and commands.
    pub engine: EngineHandle,
    /// The page of `/metrics`.
    pub metrics: Arc<Metrics>,
    /// Now, for "in 3m" and readiness.
    pub clock: SharedClock,
}

type Parts = Arc<ServerParts>;

/// Serves until `shutdown` is cancelled and open requests are done, at most five seconds later. Fails when the listener fails.
pub async fn serve(listener: TcpListener, parts: ServerParts, shutdown: CancellationToken) -> std::io::Result<()> {
    let router = router(Arc::new(parts));
    let stop = shutdown.clone();
    let serving = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
    let grace = async {
        shutdown.cancelled().await;
        tokio::time::sleep(SHUTDOWN_GRACE).await;
    };
    tokio::select! {
        result = serving.into_future() => result,
        () = grace => Ok(()),
    }
}

fn router(parts: Parts) -> Router {
    Router::new()
        .route("/", get(pages::home))
        .route("/runs/{id}", get(pages::run))
        .route("/runs/{id}/control", get(pages::control::run).post(pages::control::steer))
        .route("/compare", get(pages::compare::compare))
        .route("/profiles/{name}", get(pages::history::profile))
        .route("/suites/{name}", get(pages::history::suite))
        .route("/itself", get(pages::itself::itself))
        .route("/stop", get(pages::control::everything).post(pages::control::stop))
        .route("/silences", get(pages::muting::silences).post(pages::muting::change))
        .route("/style.css", get(pages::style))
        .route("/-/healthy", get(health::healthy))
        .route("/-/ready", get(health::ready))
        .route("/healthz", get(health::healthy))
        .route("/readyz", get(health::ready))
        .route("/-/reload", post(api::reload))
        .route("/metrics", get(metrics_page))
        .nest("/api/v1", api::router())
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn(guard))
        .with_state(parts)
}

async fn metrics_page(State(parts): State<Parts>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], parts.metrics.render())
}

async fn not_found(State(parts): State<Parts>, uri: Uri) -> Response {
    if uri.path().starts_with("/api/") || uri.path().starts_with("/-/") {
        return ApiError::new(StatusCode::NOT_FOUND, "not_found", "there is nothing at this address; see docs/api.md").into_response();
    }
    pages::not_found(&parts, "There is no page at this address.")
}

async fn wrong_method() -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this address does not answer to this method")
}

/// Pages load nothing but our own style sheet, run no script, send their forms nowhere else and cannot be framed.
const HEADERS: [(HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Bounds every request in time and puts the security headers on every answer.
async fn guard(request: Request, next: Next) -> Response {
    let mut response = match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", "the answer took too long").into_response(),
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// A call of the store, bounded in time; a failure is logged here, once, and told as "not available".
async fn stored<T>(call: impl Future<Output = StoreResult<T>>) -> Result<T, ApiError> {
    match tokio::time::timeout(STORE_TIMEOUT, call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error @ StoreError::TooMany(_))) => Err(ApiError::new(StatusCode::BAD_REQUEST, "too_many", error.to_string())),
        Ok(Err(error)) => {
            tracing::warn!(%error, "the store did not answer a request");
            Err(ApiError::storage())
        }
        Err(_) => {
            tracing::warn!(timeout_s = STORE_TIMEOUT.as_secs(), "the store took too long for a request");
            Err(ApiError::storage())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_that_would_be_too_large_is_for_who_asks_to_change() {
        let refused = stored(async { StoreResult::<()>::Err(StoreError::TooMany(5)) }).await.unwrap_err();
        assert_eq!((refused.status, refused.code), (StatusCode::BAD_REQUEST, "too_many"));
        assert!(refused.message.contains("shorter span"), "{}", refused.message);
        let away = stored(async { StoreResult::<()>::Err(StoreError::Gone("away".into())) }).await.unwrap_err();
        assert_eq!((away.status, away.code), (StatusCode::SERVICE_UNAVAILABLE, "storage_unavailable"));
    }
}
