//! Two runs, or two phases, compared: `GET /api/v1/compare?a=RUN[:PHASE]&b=RUN[:PHASE]`.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use super::super::Parts;
use super::super::error::ApiError;
use crate::analysis::comparison::Comparison;
use crate::engine::history::baselines::compare_any;
use crate::engine::history::compare::{CannotCompare, SideName};
use crate::report::comparison::comparison_json;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct CompareQuery {
    pub(in super::super) a: Option<String>,
    pub(in super::super) b: Option<String>,
}

impl From<CannotCompare> for ApiError {
    fn from(error: CannotCompare) -> Self {
        match &error {
            CannotCompare::UnknownRun(_) => Self::new(StatusCode::NOT_FOUND, "unknown_run", error.to_string()),
            CannotCompare::UnknownPart(_) => Self::new(StatusCode::NOT_FOUND, "unknown_phase", error.to_string()),
            CannotCompare::NoRun => Self::bad_request(error.to_string()),
            CannotCompare::NoBaseline(_) | CannotCompare::NoNumbers(_) | CannotCompare::NoNights(_) => {
                Self::new(StatusCode::NOT_FOUND, "nothing_to_compare_with", error.to_string())
            }
            CannotCompare::NotEnded(_) => Self::new(StatusCode::CONFLICT, "not_ended", error.to_string()),
            CannotCompare::Store(error) => {
                tracing::warn!(%error, "the store did not answer a comparison");
                Self::storage()
            }
        }
    }
}

/// Compares what two query values name.
pub(in super::super) async fn compared(parts: &Parts, a: &str, b: &str) -> Result<Comparison, ApiError> {
    let side = |text: &str| text.trim().parse::<SideName>().map_err(ApiError::bad_request);
    Ok(compare_any(parts.store.as_ref(), &side(a)?, &side(b)?).await?)
}

pub(in super::super) async fn compare(
    State(parts): State<Parts>,
    query: Result<Query<CompareQuery>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let Query(query) = query.map_err(|rejection| ApiError::bad_request(rejection.body_text()))?;
    let (Some(a), Some(b)) = (query.a, query.b) else {
        return Err(ApiError::bad_request("`a` and `b` name the two runs, as in `?a=RUN&b=RUN:PHASE`"));
    };
    Ok(Json(comparison_json(&compared(&parts, &a, &b).await?)))
}
