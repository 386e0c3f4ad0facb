//! Silences, and who takes care of an incident. Reading is open; whoever may start a run may silence.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::super::auth::Bearer;
use super::super::error::ApiError;
use super::super::{Parts, stored};
use crate::engine::windows::SHOWN_FOR;
use crate::model::muting::{Ack, Matcher, Silence};
use crate::model::units::{Timestamp, parse_duration};

/// Longest comment and author, in characters.
const LONGEST: usize = 500;

fn unreadable(rejection: &JsonRejection) -> ApiError {
    ApiError::new(rejection.status(), "bad_request", rejection.body_text())
}

/// A text of bounded length, without control characters.
fn plain(text: &str) -> String {
    text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect()
}

/// What a silence is asked for with.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct SilenceRequest {
    pub(in super::super) matchers: Vec<String>,
    pub(in super::super) comment: String,
    /// Who wants it; the name of the token stands behind it.
    #[serde(default)]
    pub(in super::super) author: String,
    /// `2h`; or `ends_at`.
    pub(in super::super) duration: Option<String>,
    pub(in super::super) starts_at: Option<String>,
    pub(in super::super) ends_at: Option<String>,
}

impl SilenceRequest {
    /// The silence that is meant; `by` is who asks, as known from the token.
    pub(in super::super) fn silence(&self, by: &str, now: Timestamp) -> Result<Silence, ApiError> {
        let time = |text: &str| {
            Timestamp::parse(text)
                .ok_or_else(|| ApiError::bad_request(format!("`{}` is no RFC 3339 time such as 2026-11-21T02:00:00Z", plain(text))))
        };
        let starts_at = self.starts_at.as_deref().map(time).transpose()?.unwrap_or(now);
        let ends_at = match (&self.duration, &self.ends_at) {
            (Some(duration), None) => starts_at.plus(length(duration)?),
            (None, Some(text)) => time(text)?,
            (Some(_), Some(_)) | (None, None) => return Err(ApiError::bad_request("say how long: `duration` (such as `2h`) or `ends_at`")),
        };
        let matchers: Result<Vec<Matcher>, String> = self.matchers.iter().map(|text| Matcher::parse(text)).collect();
        let author = plain(&self.author);
        let author = if author.is_empty() { by.to_owned() } else { format!("{author} ({by})") };
        let mut silence = Silence {
            id: String::new(),
            matchers: matchers.map_err(ApiError::bad_request)?,
            author,
            comment: plain(&self.comment),
            created_at: now,
            starts_at,
            ends_at,
            ended_by: None,
        };
        silence.id = id_of(&silence);
        Ok(silence)
    }
}

fn length(text: &str) -> Result<Duration, ApiError> {
    parse_duration(text).map_err(|error| ApiError::bad_request(format!("`duration`: {}; {}", error.message, error.hint)))
}

/// Eight digits that tell it from others.
fn id_of(silence: &Silence) -> String {
    let digest = Sha256::digest(serde_json::to_string(silence).unwrap_or_default());
    digest.iter().take(4).fold(String::new(), |id, byte| format!("{id}{byte:02x}"))
}

/// A silence with its state.
pub(in super::super) fn shown(silence: &Silence, now: Timestamp) -> Value {
    let mut value = json!(silence);
    value["state"] = silence.state(now).into();
    value
}

pub(super) async fn list(State(parts): State<Parts>) -> Result<Json<Value>, ApiError> {
    let now = parts.clock.now();
    let silences = stored(parts.store.silences(now.minus(SHOWN_FOR))).await?;
    Ok(Json(json!({ "silences": silences.iter().map(|silence| shown(silence, now)).collect::<Vec<_>>() })))
}

pub(super) async fn add(
    State(parts): State<Parts>,
    Bearer(token): Bearer,
    request: Result<Json<SilenceRequest>, JsonRejection>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let Json(request) = request.map_err(|rejection| unreadable(&rejection))?;
    let now = parts.clock.now();
    let silence = parts.engine.silence(request.silence(&format!("api token {token}"), now)?).await?;
    Ok((StatusCode::CREATED, Json(shown(&silence, now))))
}

pub(super) async fn expire(State(parts): State<Parts>, Bearer(token): Bearer, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    let silence = parts.engine.expire_silence(&id, &format!("api token {token}")).await?;
    Ok(Json(shown(&silence, parts.clock.now())))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct AckRequest {
    #[serde(default)]
    comment: String,
    #[serde(default)]
    author: String,
}

pub(super) async fn acknowledge(
    State(parts): State<Parts>,
    Bearer(token): Bearer,
    Path(incident): Path<String>,
    request: Result<Option<Json<AckRequest>>, JsonRejection>,
) -> Result<Json<Value>, ApiError> {
    let request = request.map_err(|rejection| unreadable(&rejection))?.map(|Json(request)| request).unwrap_or_default();
    let author = plain(&request.author);
    let by = if author.is_empty() { format!("api token {token}") } else { format!("{author} (api token {token})") };
    let ack = Ack { by, at: parts.clock.now(), comment: plain(&request.comment) };
    let incidents = parts.engine.acknowledge(&incident, ack.clone()).await?;
    Ok(Json(json!({ "incidents": incidents, "acked": ack })))
}
