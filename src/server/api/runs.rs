//! Runs: list, one with everything, its seconds, start and cancel.

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::auth::Bearer;
use super::super::error::ApiError;
use super::super::load::{self, MAX_SECONDS};
use super::super::{Parts, stored};
use crate::engine::handle::LiveRun;
use crate::model::run::{Run, RunId, RunStatus, Trigger, Verdict};
use crate::model::threshold::{METRICS, Source};
use crate::model::units::Timestamp;
use crate::report::{finding_json, run_json, run_row_json};
use crate::store::RunFilter;

/// Most runs in one answer.
const MAX_RUNS: u32 = 500;
/// Most findings in one answer.
const MAX_FINDINGS: u32 = 500;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct ListQuery {
    profile: Option<String>,
    target: Option<String>,
    status: Option<String>,
    verdict: Option<String>,
    before: Option<String>,
    limit: Option<u32>,
}

/// Reads a word of a choice, or says which there are.
fn word<T: Copy>(text: Option<&str>, name: &str, parse: fn(&str) -> Option<T>, known: &[&str]) -> Result<Option<T>, ApiError> {
    let Some(text) = text else { return Ok(None) };
    parse(text).map(Some).ok_or_else(|| ApiError::bad_request(format!("`{name}` is one of {}", known.join(", "))))
}

impl ListQuery {
    fn filter(&self) -> Result<RunFilter, ApiError> {
        let status: Vec<&str> = RunStatus::ALL.iter().map(|status| status.as_str()).collect();
        let verdict: Vec<&str> = Verdict::ALL.iter().map(|verdict| verdict.as_str()).collect();
        let before = self.before.as_deref().map(|text| {
            Timestamp::parse(text).ok_or_else(|| ApiError::bad_request("`before` is an RFC 3339 time such as 2026-11-21T02:00:00Z"))
        });
        Ok(RunFilter {
            profile: self.profile.clone(),
            target: self.target.clone(),
            status: word(self.status.as_deref(), "status", RunStatus::parse, &status)?,
            verdict: word(self.verdict.as_deref(), "verdict", Verdict::parse, &verdict)?,
            before: before.transpose()?,
            limit: self.limit.unwrap_or(50).clamp(1, MAX_RUNS),
        })
    }
}

pub(in super::super) async fn list(
    State(parts): State<Parts>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let Query(query) = query.map_err(|rejection| ApiError::bad_request(rejection.body_text()))?;
    let filter = query.filter()?;
    let runs = stored(parts.store.run_lines(&filter)).await?;
    let next = if runs.len() == filter.limit as usize { runs.last().map(|run| run.started_at) } else { None };
    let rows: Vec<Value> = runs.iter().map(run_row_json).collect();
    Ok(Json(json!({ "runs": rows, "next_before": next })))
}

pub(super) async fn find(parts: &Parts, id: &str) -> Result<Run, ApiError> {
    stored(parts.store.run(id)).await?.ok_or_else(|| ApiError::unknown_run(id))
}

pub(in super::super) async fn show(State(parts): State<Parts>, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    let run = find(&parts, &id).await?;
    let findings = stored(parts.store.findings(Some(&run.id), 100)).await?;
    let status = parts.engine.status();
    let going = status.running.iter().find(|live| live.id == run.id);
    let (live, steered) = (going.and_then(|live| live.progress.as_ref()), going.map(|live| live.steered.as_str()));
    let findings: Vec<Value> = findings.iter().map(finding_json).collect();
    Ok(Json(json!({ "run": run_json(&run), "findings": findings, "live": live, "steered": steered })))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct IntervalQuery {
    from: Option<u32>,
    to: Option<u32>,
}

pub(in super::super) async fn intervals(
    State(parts): State<Parts>,
    Path(id): Path<String>,
    query: Result<Query<IntervalQuery>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let Query(query) = query.map_err(|rejection| ApiError::bad_request(rejection.body_text()))?;
    let run = find(&parts, &id).await?;
    let from = query.from.unwrap_or(0);
    let end = load::seconds_of(&parts, &run);
    let to = query.to.unwrap_or(end).min(end).max(from).min(from.saturating_add(MAX_SECONDS));
    if query.to.is_some_and(|to| to < from) {
        return Err(ApiError::bad_request("`to` is before `from`"));
    }
    let series = load::series(&parts, &run, from, to).await?;
    let mut probes = Vec::new();
    for metric in probe_metrics(&run) {
        probes.extend(load::readings(&parts, &run, metric, from, to).await?);
    }
    Ok(Json(json!({ "run": run.id, "from": from, "to": to, "series": series, "probes": probes })))
}

/// Probe metrics of a run: those it summarised, or all known ones while it is going on.
pub(super) fn probe_metrics(run: &Run) -> Vec<&'static str> {
    let known = METRICS.iter().filter(|metric| metric.source == Source::Probe).map(|metric| metric.name);
    match &run.summary {
        Some(summary) => known.filter(|name| summary.series.iter().any(|one| one.metric == *name)).collect(),
        None => known.collect(),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct StartRequest {
    profile: String,
}

pub(in super::super) async fn start(
    State(parts): State<Parts>,
    Bearer(token): Bearer,
    request: Result<Json<StartRequest>, JsonRejection>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let Json(request) = request.map_err(|rejection| ApiError::new(rejection.status(), "bad_request", rejection.body_text()))?;
    let trigger = Trigger { by: "api".into(), name: Some(token) };
    let id = parts.engine.start_run(&request.profile, trigger).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "id": id, "url": format!("/api/v1/runs/{id}") }))))
}

/// The whole id of a run that is to be steered. One that is going on is known to the engine even when the store is away; the only one,
/// and its beginning or end, are enough.
pub(in super::super) async fn going(parts: &Parts, id: &str) -> Result<RunId, ApiError> {
    let status = parts.engine.status();
    let fits = |live: &&LiveRun| live.id.0 == id;
    let only = || (id == "last" && status.running.len() == 1).then(|| status.running.first()).flatten();
    match status.running.iter().find(fits).or_else(only) {
        Some(live) => Ok(live.id.clone()),
        None => Ok(find(parts, id).await?.id),
    }
}

pub(in super::super) async fn cancel(
    State(parts): State<Parts>,
    Bearer(token): Bearer,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let id = going(&parts, &id).await?;
    parts.engine.cancel_run(&id, &format!("api token {token}")).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "id": id, "cancelled": true }))))
}

/// What analysis says of a run, in words and as numbers.
pub(in super::super) async fn findings(State(parts): State<Parts>, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    let run = find(&parts, &id).await?;
    let findings = stored(parts.store.findings(Some(&run.id), MAX_FINDINGS)).await?;
    let analysed = run.summary.as_ref().map(|summary| &summary.analysed);
    Ok(Json(json!({ "id": run.id, "findings": findings.iter().map(finding_json).collect::<Vec<_>>(), "analysed": analysed })))
}

/// Analyses a run that has ended again.
pub(in super::super) async fn analyse(
    State(parts): State<Parts>,
    Bearer(token): Bearer,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let id = find(&parts, &id).await?.id;
    let findings = parts.engine.analyse_run(&id).await?;
    tracing::info!(run_id = %id, token, findings, "a run was analysed again over HTTP");
    Ok(Json(json!({ "id": id, "findings": findings, "url": format!("/api/v1/runs/{id}/findings") })))
}
