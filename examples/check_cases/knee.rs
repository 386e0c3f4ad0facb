//! Cases of the kind `knee`: a curve, and the knees that the Python package kneed sees in it.

use plimsoll::analysis::knee::{Shape, knee};
use serde_json::Value;

use super::case::Case;
use super::check::Check;

/// Compares the knees for every sensitivity that the case has.
pub(crate) fn check(case: &Case) -> Result<Vec<Check>, String> {
    let points: Vec<(f64, f64)> = case.column("x")?.into_iter().zip(case.column("y")?).filter_map(|(x, y)| x.zip(y)).collect();
    let word = |pointer: &str| case.expected(pointer).and_then(Value::as_str).unwrap_or_default();
    let shape = match (word("/curve"), word("/direction")) {
        ("concave", "increasing") => Shape::ConcaveIncreasing,
        ("convex", "increasing") => Shape::ConvexIncreasing,
        ("concave", "decreasing") => Shape::ConcaveDecreasing,
        ("convex", "decreasing") => Shape::ConvexDecreasing,
        (curve, direction) => return Err(format!("a {curve} {direction} curve is not known")),
    };
    let knees = case.expected("/kneedle").and_then(Value::as_object).ok_or("no knees")?;
    let compared = knees.iter().map(|(name, expected)| {
        let sensitivity: f64 = name.trim_start_matches("S=").parse().map_err(|_| format!("no sensitivity: {name}"))?;
        let ours = knee(&points, shape, sensitivity);
        Ok(match expected.get("knee").and_then(Value::as_f64) {
            Some(expected) => Check::number(name, ours, expected, 1e-6, 0.0),
            None => Check::new(name, &format!("{ours:?}"), "None", ours.is_none()),
        })
    });
    compared.collect()
}
