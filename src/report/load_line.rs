//! The load line of a run as text: the table that people make by hand, and every level with what it met.

use super::text::{latency, plain, row, table};
use crate::model::analysed::{CapacityFound, LevelFound};
use crate::model::units::{format_percent, trim_decimal};

/// The table of safe, peak and breaking load, and below it the levels.
pub(super) fn load_line(found: &CapacityFound) -> String {
    let mut rows = vec![row(["", "safe", "peak", "breaking"])];
    rows.extend(found.table.iter().map(|one| [&one.name, &one.safe, &one.peak, &one.breaking].map(|cell| plain(cell, 80)).to_vec()));
    let mut text = table(&rows, 4);
    text.push('\n');
    let mut rows = vec![row([found.unit.as_str(), "", "requests/s", "p95", "failed", "why"])];
    rows.extend(found.levels.iter().map(level));
    text.push_str(&table(&rows, 6));
    text
}

fn level(level: &LevelFound) -> Vec<String> {
    vec![
        trim_decimal(level.load, 1),
        level.outcome.as_str().to_owned(),
        trim_decimal(level.per_second, 2),
        latency(level.p95_s.map(|seconds| (seconds * 1e6) as u64)),
        share(level.failed),
        plain(&why(level), 200),
    ]
}

/// What stood against the level, or what it met.
pub fn why(level: &LevelFound) -> String {
    if level.missed.is_empty() { level.met.join(", ") } else { level.missed.join(", ") }
}

/// A share with two decimals at most.
pub fn share(value: f64) -> String {
    format_percent((value * 1e4).round() / 1e4)
}
