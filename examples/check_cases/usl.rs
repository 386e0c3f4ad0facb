//! Cases of the kind `usl`: throughput at a number of concurrent users, the coefficients that scipy finds (within one in ten thousand) and
//! those that were published (within one in a hundred).

use plimsoll::analysis::usl::{Coefficient, fit};
use serde_json::Value;

use super::case::Case;
use super::check::Check;

const OF_SCIPY: f64 = 1e-4;
const OF_PUBLISHED: f64 = 1e-2;
/// Coefficients that are 0 but for rounding.
const TINY: f64 = 1e-9;

/// Compares a fitted curve.
pub(crate) fn check(case: &Case) -> Result<Vec<Check>, String> {
    let points: Vec<(f64, f64)> =
        case.column("n")?.into_iter().zip(case.column("throughput")?).filter_map(|(n, throughput)| n.zip(throughput)).collect();
    let found = fit(&points).map_err(|error| error.to_string())?;
    let mut checks = Vec::new();
    for (name, coefficient) in [("alpha", found.alpha), ("beta", found.beta), ("gamma", found.gamma)] {
        of_scipy(case, name, &coefficient, &mut checks);
        if let Some(published) = case.truth(&format!("/{name}")).and_then(Value::as_f64) {
            checks.push(Check::number(&format!("published {name}"), Some(coefficient.value), published, OF_PUBLISHED, TINY));
        }
    }
    for (pointer, ours) in [
        ("/sigma", Some(found.sigma)),
        ("/r2", Some(found.r_squared)),
        ("/peak/n", found.peak().map(|peak| peak.n)),
        ("/peak/throughput", found.peak().map(|peak| peak.throughput)),
        ("/limit_throughput_amdahl", found.limit()),
    ] {
        if let Some(expected) = case.number(pointer) {
            checks.push(Check::number(&pointer[1..], ours, expected, OF_SCIPY, 0.0));
        }
    }
    Ok(checks)
}

fn of_scipy(case: &Case, name: &str, ours: &Coefficient, checks: &mut Vec<Check>) {
    if let Some(expected) = case.number(&format!("/{name}")) {
        checks.push(Check::number(name, Some(ours.value), expected, OF_SCIPY, TINY));
    }
    // Errors and intervals hang on the curvature, which the two take by different steps.
    if let Some(expected) = case.number(&format!("/se/{name}")) {
        checks.push(Check::number(&format!("{name}, error"), ours.error, expected, 1e-2, 0.0));
    }
    for (end, at) in [("low", 0), ("high", 1)] {
        if let (Some(expected), Some(width)) = (case.number(&format!("/ci95_t/{name}/{at}")), case.number(&format!("/se/{name}"))) {
            let span = ours.interval.map(|span| if at == 0 { span.low } else { span.high });
            checks.push(Check::number(&format!("{name}, {end} end"), span, expected, OF_SCIPY, 0.03 * width));
        }
    }
}
