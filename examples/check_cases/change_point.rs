//! Cases of the kind `change_point`: a history, and what Apache Otava 0.8.0 says of it with three settings. Its change points, the
//! candidates and the first split of the whole history must be equal, its p-values and means within one in a million.

use plimsoll::analysis::change_point::{OtavaReport, OtavaSettings, best_split, otava};
use serde_json::Value;

use super::case::Case;
use super::check::Check;

const RELATIVE: f64 = 1e-6;
/// Deviations that are 0 but for rounding.
const TINY: f64 = 1e-12;

/// Compares Otava's method as it is done here with Otava.
pub(crate) fn check(case: &Case) -> Result<Vec<Check>, String> {
    let values: Vec<f64> = case.column("value")?.into_iter().flatten().collect();
    let mut checks = Vec::new();
    for name in ["otava_default", "otava_min5pct", "otava_p1e-5"] {
        let at = |field: &str| format!("/otava/{name}/{field}");
        let Some(expected) = case.expected(&at("change_points")).and_then(Value::as_array) else { continue };
        let default = OtavaSettings::default();
        let settings = OtavaSettings {
            window: case.number(&at("window_len")).map_or(default.window, |window| window as usize),
            max_p: case.number(&at("max_pvalue")).unwrap_or(default.max_p),
            min_magnitude: case.number(&at("min_magnitude")).unwrap_or(default.min_magnitude),
            ..default
        };
        let report = otava(&values, &settings);
        points(name, &report, expected, &mut checks);
        if let Some(weak) = case.expected(&at("weak_indexes")) {
            let agrees = *weak == serde_json::json!(report.weak);
            checks.push(Check::new(&format!("{name}/weak_indexes"), &format!("{:?}", report.weak), &weak.to_string(), agrees));
        }
    }
    if let (Some(index), Some(strength)) =
        (case.number("/otava/first_candidate_full_series/index"), case.number("/otava/first_candidate_full_series/qhat"))
    {
        let split = best_split(&values);
        checks.push(Check::number("first split", split.map(|split| split.index as f64), index, 0.0, 0.0));
        checks.push(Check::number("its strength", split.map(|split| split.strength), strength, RELATIVE, 0.0));
    }
    Ok(checks)
}

fn points(name: &str, report: &OtavaReport, expected: &[Value], checks: &mut Vec<Check>) {
    let theirs: Vec<u64> = expected.iter().filter_map(|point| point.get("index").and_then(Value::as_u64)).collect();
    let ours: Vec<u64> = report.points.iter().map(|point| point.index as u64).collect();
    checks.push(Check::new(&format!("{name}/indexes"), &format!("{ours:?}"), &format!("{theirs:?}"), ours == theirs));
    for (point, expected) in report.points.iter().zip(expected) {
        let figures = [
            ("pvalue", point.p_value, 0.0),
            ("mean_before", point.mean_before, TINY),
            ("mean_after", point.mean_after, TINY),
            ("std_before_ddof0", point.sd_before, TINY),
            ("std_after_ddof0", point.sd_after, TINY),
        ];
        for (field, ours, floor) in figures {
            if let Some(expected) = expected.get(field).and_then(Value::as_f64) {
                checks.push(Check::number(&format!("{name}/{}/{field}", point.index), Some(ours), expected, RELATIVE, floor));
            }
        }
    }
}
