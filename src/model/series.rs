//! What probes read: named numbers with labels at a moment. A number that was not measured is absent, never 0.

use serde::{Deserialize, Serialize};

use super::Labels;
use super::units::Timestamp;

/// One number that a probe read. Names are those that thresholds use (`model::threshold::METRICS`): `pool_utilization`, `process_memory` …
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Metric name.
    pub metric: String,
    /// What tells this series from others of the metric: `pool`, `replica` …; the probe's name and target are added by the engine.
    pub labels: Labels,
    /// The number, finite, in base units (seconds, bytes, ratio 0-1).
    pub value: f64,
}

impl Point {
    /// A number without labels.
    pub fn new(metric: &str, value: f64) -> Self {
        Self { metric: metric.into(), labels: Labels::new(), value }
    }

    /// The same with one more label.
    #[must_use]
    pub fn with(mut self, label: &str, value: impl Into<String>) -> Self {
        self.labels.insert(label.into(), value.into());
        self
    }
}

/// One reading of one probe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// Target that the probe belongs to.
    pub target: String,
    /// Name of the probe in the configuration.
    pub probe: String,
    /// When it was taken.
    pub at: Timestamp,
    /// Second of the run, when a run was going on.
    pub second: Option<u32>,
    /// The numbers, or why there are none.
    pub points: Result<Vec<Point>, String>,
}
