//! What production leaves of the capacity of targets, as the engine told it last: for the overview and the API.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::error::ApiError;
use super::{Parts, stored};
use crate::model::units::Timestamp;
use crate::store::ReadingFilter;

/// The engine tells it every ten minutes; what is older is not shown.
const FRESH: Duration = Duration::from_secs(30 * 60);
/// Further away than this nothing is foretold.
const FARTHEST_S: f64 = 100.0 * 365.0 * 86_400.0;

/// What is left of one resource of a target.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Left {
    /// Target.
    pub(super) target: String,
    /// Resource; `safe load`: of the target as a whole.
    pub(super) resource: String,
    /// When it was told.
    pub(super) at: Timestamp,
    /// Share of the capacity that is free.
    pub(super) free: f64,
    /// Requests a second that are safe.
    pub(super) capacity: Option<f64>,
    /// Requests a second that production makes at its peak.
    pub(super) load: Option<f64>,
    /// When it is used up at the present growth; `None`: no growth is certain.
    pub(super) runs_out: Option<Timestamp>,
    /// Earliest end of the interval.
    pub(super) earliest: Option<Timestamp>,
    /// Latest end; `None`: it may be never.
    pub(super) latest: Option<Timestamp>,
}

/// Everything that is known now, by target and resource; the target as a whole stands first.
pub(super) async fn left(parts: &Parts) -> Result<Vec<Left>, ApiError> {
    let mut all: BTreeMap<(String, bool, String), Left> = BTreeMap::new();
    if parts.engine.status().setup.production.is_empty() {
        return Ok(Vec::new());
    }
    let from = parts.clock.now().minus(FRESH);
    for metric in ["headroom", "headroom_capacity", "headroom_load", "headroom_time", "headroom_time_low", "headroom_time_high"] {
        let filter = ReadingFilter { metric: Some(metric.into()), from: Some(from), ..ReadingFilter::default() };
        for reading in stored(parts.store.readings(&filter)).await? {
            let moment = |seconds: f64| {
                let seconds = (0.0..FARTHEST_S).contains(&seconds).then_some(seconds)?;
                Some(reading.at.plus(Duration::from_secs_f64(seconds)))
            };
            for point in reading.points.iter().flatten().filter(|point| point.metric == metric) {
                let Some(resource) = point.labels.get("resource") else { continue };
                let key = (reading.target.clone(), resource != WHOLE, resource.clone());
                if metric == "headroom" {
                    // Readings come in their order: the last one counts, whole.
                    let (target, resource) = (reading.target.clone(), resource.clone());
                    all.insert(key, Left { target, resource, at: reading.at, free: point.value, ..Left::default() });
                    continue;
                }
                let Some(left) = all.get_mut(&key).filter(|left| left.at == reading.at) else { continue };
                match metric {
                    "headroom_capacity" => left.capacity = Some(point.value),
                    "headroom_load" => left.load = Some(point.value),
                    "headroom_time" => left.runs_out = moment(point.value),
                    "headroom_time_low" => left.earliest = moment(point.value),
                    _ => left.latest = moment(point.value),
                }
            }
        }
    }
    Ok(all.into_values().collect())
}

/// The resource that stands for the target as a whole.
const WHOLE: &str = "safe load";
