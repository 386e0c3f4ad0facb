//! Cases of the kind `recovery`: response times before, during and after a spike whose truth is known. Recovered or not must be right, the time
//! within 45 s or a quarter; the figures of the reference estimator are compared where they mean the same.

use plimsoll::analysis::recovery::{Bad, Reading, Rules, Spike, State, recovery};
use serde_json::Value;

use super::case::Case;
use super::check::Check;

const SECONDS: f64 = 45.0;
const SHARE: f64 = 0.25;
/// The reference takes the plain median of the baseline, here it is that of the rolling median.
const FIGURES: f64 = 0.1;
/// Small excesses are noise.
const EXCESS_S: f64 = 60.0;

/// Compares a recovery.
pub(crate) fn check(case: &Case) -> Result<Vec<Check>, String> {
    let truth = |pointer: &str| case.truth(pointer).and_then(Value::as_f64);
    let spike = Spike {
        from_s: truth("/spike_start_s").ok_or("no start of the spike")?,
        to_s: truth("/spike_end_s").ok_or("no end of the spike")?,
    };
    let readings: Vec<Reading> = case
        .column("t_s")?
        .into_iter()
        .zip(case.column("p95_ms")?)
        .filter_map(|(at_s, value)| Some(Reading { at_s: at_s?, value, requests: None }))
        .collect();
    let found = recovery(&readings, spike, Bad::High, &Rules::default());
    let after_s = match found.state {
        State::Recovered { after_s } => Some(after_s),
        State::StaysWorse { .. } | State::Inconclusive(_) => None,
    };
    let recovered = case.truth("/recovered").and_then(Value::as_bool).ok_or("no truth")?;
    let told = format!("{:?}", found.state);
    let mut checks = vec![Check::new("recovered", &told, &recovered.to_string(), after_s.is_some() == recovered)];
    if let Some(truth) = truth("/true_recovery_s") {
        checks.push(Check::number("recovery in seconds", after_s, truth, SHARE, SECONDS));
    }
    let figures = [
        ("/baseline_median_ms", Some(found.baseline), 0.0),
        ("/peak_ratio_median3", found.worst, 0.0),
        ("/excess_area_ratio_seconds", found.excess_s(), EXCESS_S),
    ];
    for (pointer, ours, floor) in figures {
        if let Some(expected) = case.number(pointer) {
            checks.push(Check::number(&pointer[1..], ours, expected, FIGURES, floor));
        }
    }
    Ok(checks)
}
