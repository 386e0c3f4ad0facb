//! What the system under test says while it is loaded. One file per kind; each owns its settings.
//! A new probe: one file, its `mod` line, one line in `KINDS`, an example, a test on a captured page or a real server.
//! A number that could not be read is absent or an error, never 0. A probe never holds more than one connection.

pub mod exposition;
pub mod pools;
pub mod presets;
pub mod process;
pub mod prometheus;
pub mod selector;
pub mod version;

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use crate::clock::SharedClock;
use crate::model::series::Point;
use crate::model::threshold::{find_metric, show_unit};
use crate::model::units::trim_decimal;
use crate::registry::Kind;

/// Every kind of probe, in the order of the reference.
pub static KINDS: &[Kind<dyn ProbeSettings>] = &[prometheus::KIND, process::KIND];

/// Why a reading failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct ProbeError {
    /// Class for the metric label: `connect`, `timeout`, `status`, `parse`, `missing`, `permission`.
    pub reason: &'static str,
    /// What happened, for people; no secrets.
    pub detail: String,
}

/// A probe that is open. It is read by one task; a tick that would overlap the former reading is skipped by the engine.
#[async_trait]
pub trait Probe: Send {
    /// Takes one reading. Bounded in time by the engine as well as by itself. Counters become rates against the former reading.
    async fn read(&mut self) -> Result<Vec<Point>, ProbeError>;
}

/// What probes need of the program.
#[derive(Clone)]
pub struct ProbeParts {
    /// HTTP client with our timeouts.
    pub http: reqwest::Client,
    /// The wall clock.
    pub clock: SharedClock,
}

/// The settings of one probe, as its kind reads them.
pub trait ProbeSettings: Debug + Send + Sync {
    /// Makes the probe. Does not connect yet.
    fn open(&self, parts: &ProbeParts) -> Box<dyn Probe>;
    /// What it looks at, for people, without secrets: `http://127.0.0.1:8080/metrics`.
    fn describe(&self) -> String;
}

/// A named probe of a target.
#[derive(Debug, Clone)]
pub struct ProbeSpec {
    /// Name in the configuration.
    pub name: String,
    /// Its kind: `prometheus`.
    pub kind: &'static str,
    /// Its settings.
    pub settings: Arc<dyn ProbeSettings>,
}

/// One line per number, for people who try a probe: `pool_utilization{pool="main"}  75 %`.
pub fn describe_points(points: &[Point]) -> String {
    let lines: Vec<(String, String)> = points.iter().map(|point| (series_name(point), shown(point))).collect();
    let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let padded: Vec<String> = lines.iter().map(|(name, value)| format!("{name:<width$}  {value}")).collect();
    padded.join("\n")
}

fn series_name(point: &Point) -> String {
    let labels: Vec<String> = point.labels.iter().map(|(label, value)| format!("{label}={value:?}")).collect();
    if labels.is_empty() { point.metric.clone() } else { format!("{}{{{}}}", point.metric, labels.join(",")) }
}

fn shown(point: &Point) -> String {
    let value = match find_metric(&point.metric) {
        Some(metric) => show_unit(metric.unit, point.value),
        None => trim_decimal(point.value, 3),
    };
    match point.metric.as_str() {
        "pool_limit" if point.value <= 0.0 => "none (the pool is not bounded, so there is no utilization)".into(),
        "pool_waits" | "pool_timeouts" => format!("{value} /s"),
        _ => value,
    }
}
