//! What every request of the demo target passes: counting, the version header, and the faults that act on whole requests.
//! `/faults` itself is never hit by a fault, so that every fault can be switched off.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::{Value, json};

use super::api::{App, ROUTES};
use super::faults::{Active, Faults};
use super::rpc;
use super::wire::Wire;

/// Pieces that a slow body is sent in.
const PIECES: u32 = 10;
/// Time for hyper to send what it holds.
const FLUSH: Duration = Duration::from_millis(20);
/// No answer of ours is larger.
const LARGEST_BODY: usize = 128 << 20;

/// Decides what becomes of a request.
pub(super) async fn front(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let in_flight = InFlight::begin(&app);
    let mut answer = if path == "/faults" { next.run(request).await } else { troubled(&app, &path, request, next).await };
    drop(in_flight);
    app.metrics.answered(method.as_str(), route(&path), answer.status().as_u16());
    if let Ok(version) = HeaderValue::from_str(&app.settings.version) {
        answer.headers_mut().insert(HeaderName::from_static("x-version"), version);
    }
    answer
}

/// Counts a request as in flight, also when its client goes away in the middle.
struct InFlight(Arc<App>);

impl InFlight {
    fn begin(app: &Arc<App>) -> Self {
        app.metrics.in_flight.inc();
        Self(app.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.metrics.in_flight.dec();
    }
}

/// The route of a path, for counting: never more names than there are routes.
fn route(path: &str) -> &'static str {
    let known = ROUTES.iter().chain(rpc::METHODS).find(|route| **route == path).copied();
    known.unwrap_or(if path.starts_with("/status/") { "/status/{code}" } else { "other" })
}

async fn troubled(app: &Arc<App>, path: &str, request: Request, next: Next) -> Response {
    app.stall().await;
    let active = app.board.active();
    if active.refuses() {
        if let Some(ConnectInfo(wire)) = request.extensions().get::<ConnectInfo<Wire>>() {
            wire.cut();
        }
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let is_call = rpc::is_call(&request);
    if let Some(status) = active.error_for(path) {
        if is_call {
            return rpc::refusal(status);
        }
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        return (status, Json(json!({"error": "a fault is switched on"}))).into_response();
    }
    app.board.leak_memory(active.faults.memory_leak_bytes);
    let answer = next.run(request).await;
    // A stall that began meanwhile holds back what is ready, too.
    app.stall().await;
    spoil_body(app, &active, answer, is_call).await
}

/// Sends the body slowly, or only half of it. The messages of a gRPC call come at their own pace: they are not slowed.
async fn spoil_body(app: &Arc<App>, active: &Active, answer: Response, is_call: bool) -> Response {
    // The answer that opens a WebSocket has no body; its messages are spoilt where they are sent.
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        return answer;
    }
    let slow = if is_call { Duration::ZERO } else { Duration::from_millis(active.faults.slow_body_ms) };
    let truncate = active.truncates();
    if slow.is_zero() && !truncate {
        return answer;
    }
    let (mut parts, body) = answer.into_parts();
    let Ok(whole) = to_bytes(body, LARGEST_BODY).await else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    if !is_call {
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(whole.len()));
    }
    let sent = if truncate { whole.slice(..whole.len() / 2) } else { whole };
    let step = sent.len().div_ceil(PIECES as usize).max(1);
    let app = app.clone();
    let pieces = stream::unfold((sent, truncate), move |(mut left, truncate)| {
        let app = app.clone();
        async move {
            if left.is_empty() {
                if !truncate {
                    return None;
                }
                // What was written must be out before the connection ends, or the client sees no answer at all.
                app.pause(FLUSH).await;
                return Some((Err(std::io::Error::from(std::io::ErrorKind::ConnectionAborted)), (left, false)));
            }
            app.pause(slow / PIECES).await;
            let piece: Bytes = left.split_to(step.min(left.len()));
            Some((Ok(piece), (left, truncate)))
        }
    });
    Response::from_parts(parts, Body::from_stream(pieces))
}

/// `GET /faults`.
pub(super) async fn show_faults(State(app): State<Arc<App>>) -> Json<Faults> {
    Json(app.board.shown())
}

/// `POST /faults`: replaces the keys that are named.
pub(super) async fn change_faults(State(app): State<Arc<App>>, Json(change): Json<Value>) -> Response {
    match app.board.shown().changed(&change) {
        Ok(faults) => {
            app.database.resize(faults.pool.unwrap_or(app.settings.pool));
            app.board.set(faults);
            Json(app.board.shown()).into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, Json(json!({"error": error}))).into_response(),
    }
}

/// `DELETE /faults`: everything is well again, and what leaked comes back, as after a restart.
pub(super) async fn clear_faults(State(app): State<Arc<App>>) -> Json<Faults> {
    app.board.set(Faults::default());
    app.board.free_memory();
    app.database.resize(app.settings.pool);
    app.database.mend_leak();
    Json(app.board.shown())
}
