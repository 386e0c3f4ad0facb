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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::analysed::{CapacityRow, LevelOutcome};

    fn one(load: f64, outcome: LevelOutcome, p95_s: Option<f64>, missed: &[&str]) -> LevelFound {
        let missed = missed.iter().map(|&text| text.to_owned()).collect();
        let met = vec!["p95 20ms, limit 2s".to_owned()];
        LevelFound { load, seconds: 105.0, per_second: load / 60.0, p95_s, failed: 0.001_234, outcome, met, missed }
    }

    #[test]
    fn a_load_line_is_two_tables() {
        let table =
            [("starts/min", "500", "1,000", "> 1,000 (estimated 1,240, 1,110 to 1,400)"), ("pool `main`", "8 of 20", "18 of 20", "-")];
        let row = |(name, safe, peak, breaking): &(&str, &str, &str, &str)| CapacityRow {
            name: (*name).into(),
            safe: (*safe).into(),
            peak: (*peak).into(),
            breaking: (*breaking).into(),
        };
        let found = CapacityFound {
            scenario: "chat".into(),
            unit: "starts/min".into(),
            from_ramp: false,
            safe: Some(500.0),
            unsafe_from: Some(600.0),
            peak: Some(1_000.0),
            peak_per_second: Some(16.7),
            peak_reached: false,
            breaking: None,
            breaking_estimate: None,
            per_second: None,
            bottlenecks: Vec::new(),
            levels: vec![
                one(500.0, LevelOutcome::Safe, Some(0.02), &[]),
                one(600.0, LevelOutcome::Unsafe, Some(2.4), &["p95 2.4s, limit 2s"]),
                one(1_000.0, LevelOutcome::Broken, None, &["broken: 6 % failed, limit 5 %"]),
            ],
            table: table.iter().map(row).collect(),
        };
        insta::assert_snapshot!(load_line(&found));
    }
}
