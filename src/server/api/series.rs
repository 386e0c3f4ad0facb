//! The series of a run at a resolution that is chosen or fits: figures of all steps or of one, and readings on the same clock.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::error::ApiError;
use super::super::load::{self, CHART_POINTS};
use super::super::{Parts, stored};
use super::runs::{find, probe_metrics};
use crate::model::rollup::Resolution;
use crate::model::run::Run;
use crate::store::{FigureQuery, ReadingQuery, ReadingSeries};

/// Most points of a series in one answer.
const MAX_POINTS: u32 = 10_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct SeriesQuery {
    from: Option<u32>,
    to: Option<u32>,
    resolution: Option<String>,
    points: Option<u32>,
    scenario: Option<String>,
    step: Option<String>,
    metric: Option<String>,
}

pub(in super::super) async fn series(
    State(parts): State<Parts>,
    Path(id): Path<String>,
    query: Result<Query<SeriesQuery>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let Query(query) = query.map_err(|rejection| ApiError::bad_request(rejection.body_text()))?;
    let run = find(&parts, &id).await?;
    let from = query.from.unwrap_or(0);
    let to = query.to.unwrap_or_else(|| load::seconds_of(&parts, &run)).max(from);
    if query.to.is_some_and(|to| to < from) {
        return Err(ApiError::bad_request("`to` is before `from`"));
    }
    let resolution = resolution(&parts, &run, &query, to - from).await?;
    let step = query.step.as_deref().map(|step| step_index(&run, query.scenario.as_deref(), step)).transpose()?;
    let figures = FigureQuery { run: run.id.clone(), step, resolution, from, to };
    let figures = stored(parts.store.figures(&figures)).await?;
    let metrics = match &query.metric {
        Some(metric) => vec![metric.as_str()],
        None => probe_metrics(&run),
    };
    let mut probes: Vec<Value> = Vec::new();
    for metric in metrics {
        let query = ReadingQuery { run: run.id.clone(), metric: metric.to_owned(), resolution, from, to };
        probes.extend(stored(parts.store.reading_series(&query)).await?.iter().map(|one| probe(metric, one)));
    }
    Ok(Json(json!({ "run": run.id, "from": from, "to": to, "resolution": resolution, "series": figures, "probes": probes })))
}

/// What was asked for, or what fits.
async fn resolution(parts: &Parts, run: &Run, query: &SeriesQuery, seconds: u32) -> Result<Resolution, ApiError> {
    let points = query.points.unwrap_or(CHART_POINTS).clamp(1, MAX_POINTS);
    let Some(word) = query.resolution.as_deref().filter(|word| *word != "auto") else {
        return load::resolution(parts, run, seconds, points).await;
    };
    let Some(resolution) = Resolution::parse(word) else {
        return Err(ApiError::bad_request("`resolution` is one of auto, 1s, 10s, 1m, 1h"));
    };
    if seconds.div_ceil(resolution.seconds()) > MAX_POINTS {
        return Err(ApiError::bad_request(format!("more than {MAX_POINTS} points: ask for a shorter span, or a coarser resolution")));
    }
    Ok(resolution)
}

fn step_index(run: &Run, scenario: Option<&str>, step: &str) -> Result<u16, ApiError> {
    let of_scenario = |index: u16| run.catalog.scenarios.get(usize::from(index)).map(|one| one.name.as_str());
    let fits = |one: &crate::model::catalog::StepMeta| one.name == step && (scenario.is_none() || of_scenario(one.scenario) == scenario);
    let found = run.catalog.steps.iter().position(fits).and_then(|index| u16::try_from(index).ok());
    found.ok_or_else(|| ApiError::bad_request(format!("the run has no step `{step}`")))
}

fn probe(metric: &str, one: &ReadingSeries) -> Value {
    let span = |span: &crate::store::ReadingSpan| {
        let roll = span.roll;
        json!({ "second": span.second, "samples": roll.samples, "min": roll.min, "mean": roll.mean(), "max": roll.max, "last": roll.last })
    };
    let spans: Vec<Value> = one.spans.iter().map(span).collect();
    json!({ "probe": one.probe, "metric": metric, "labels": one.labels, "spans": spans })
}
