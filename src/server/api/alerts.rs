//! Alerts with their history and messages, findings, and who did what.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::error::ApiError;
use super::super::{Parts, stored};
use crate::model::run::RunId;
use crate::report::finding_json;

/// Entries of history and messages in one answer.
const MAX_ENTRIES: u32 = 500;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EntryQuery {
    limit: Option<u32>,
    run: Option<String>,
}

impl EntryQuery {
    fn limit(&self) -> u32 {
        self.limit.unwrap_or(50).clamp(1, MAX_ENTRIES)
    }
}

/// All alerts, the newest changes, and the newest messages with what became of them.
pub(super) async fn alerts(State(parts): State<Parts>, query: Result<Query<EntryQuery>, QueryRejection>) -> Result<Json<Value>, ApiError> {
    let Query(query) = query.map_err(|rejection| ApiError::bad_request(rejection.body_text()))?;
    let alerts = stored(parts.store.alerts()).await?;
    let transitions = stored(parts.store.transitions(None, query.limit())).await?;
    let messages = stored(parts.store.messages(None, query.limit())).await?;
    let outbox = stored(parts.store.outbox_stats()).await?;
    Ok(Json(json!({
        "alerts": alerts,
        "transitions": transitions,
        "outbox": { "waiting": outbox.waiting, "oldest": outbox.oldest, "messages": messages },
    })))
}

pub(super) async fn findings(
    State(parts): State<Parts>,
    query: Result<Query<EntryQuery>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let Query(query) = query.map_err(|rejection| ApiError::bad_request(rejection.body_text()))?;
    let run = query.run.clone().map(RunId);
    let findings = stored(parts.store.findings(run.as_ref(), query.limit())).await?;
    Ok(Json(json!({ "findings": findings.iter().map(finding_json).collect::<Vec<_>>() })))
}

/// What people asked of the daemon, newest first.
pub(super) async fn audit(State(parts): State<Parts>, query: Result<Query<EntryQuery>, QueryRejection>) -> Result<Json<Value>, ApiError> {
    let Query(query) = query.map_err(|rejection| ApiError::bad_request(rejection.body_text()))?;
    Ok(Json(json!({ "deeds": stored(parts.store.deeds(query.limit())).await? })))
}
