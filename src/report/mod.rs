//! One run as text, JSON and pictures: pure rendering, the same numbers for terminal, page and mail.
//! A number that was not measured is shown as `-`, never as 0. Reads no clock, does no I/O.

mod canvas;
mod captures;
pub mod changes;
pub mod chart;
pub mod comparison;
pub mod database;
pub mod history;
mod lines;
mod load_line;
pub mod picture;
mod rare;
pub mod series;
mod summary;
mod text;

pub use captures::captures_table;
pub use lines::{message_text, progress_line, runs_table};
pub use load_line::{share as level_share, why as level_why};
pub use rare::rare;
pub use summary::{analysis_text, summary_text};
pub use text::{count, decimal, latency, share};

use serde_json::{Value, json};

use crate::model::finding::Finding;
use crate::model::run::{Run, RunLine};

/// What stands where a number was not measured.
pub const ABSENT: &str = "-";

/// A whole run as JSON, the shape of `/api/v1/runs/{id}` without its findings.
pub fn run_json(run: &Run) -> Value {
    // A run is plain data with text keys: serde_json cannot refuse it; should it ever, the identity is still told.
    serde_json::to_value(run).unwrap_or_else(|error| json!({ "id": run.id, "error": error.to_string() }))
}

/// A run in one line of a list: identity, life, verdict and the figures that lists show.
pub fn run_row_json(run: &RunLine) -> Value {
    let headline = run.headline;
    json!({
        "id": run.id,
        "profile": run.profile,
        "target": run.target,
        "target_version": run.target_version,
        "trigger": run.trigger,
        "status": run.status,
        "ended_by": run.ended_by,
        "verdict": run.verdict,
        "reasons": run.reasons,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "seconds": headline.map(|headline| headline.seconds),
        "requests": headline.map(|headline| headline.requests),
        "requests_failed": headline.map(|headline| headline.failed),
        "requests_per_second": headline.map(|headline| headline.per_second),
        "p95_us": headline.and_then(|headline| headline.p95_us),
        "pool_peak_ratio": headline.and_then(|headline| headline.pool_peak),
    })
}

/// Whether a finding is only for the record: its figures are not worth a line each.
pub fn is_quiet(finding: &Finding) -> bool {
    matches!(finding.kind.as_str(), "no_leak" | "leak_unknown")
}

/// A finding as JSON.
pub fn finding_json(finding: &Finding) -> Value {
    json!({
        "kind": finding.kind,
        "run": finding.run,
        "severity": finding.severity,
        "title": finding.title,
        "evidence": finding.evidence,
        "method": finding.method,
        "at": finding.at,
    })
}

#[cfg(test)]
mod tests;
