//! Recoveries after a spike: 95th percentiles every 5 seconds, 5 minutes of baseline, one minute of spike, 14 minutes after it, in ten kinds
//! whose truth is known: the first time from which on the undisturbed curve is within 10 % of the baseline.

use std::io;

use plimsoll::analysis::recovery::{Bad, Reading, Rules, Spike, State, recovery};
use rand::RngExt;

use crate::goal::{Goals, dice, line, noise, quantile};

const STEP: f64 = 5.0;
const END: f64 = 1200.0;
const SPIKE: Spike = Spike { from_s: 300.0, to_s: 360.0 };
const BASE: f64 = 120.0;

/// Exponential decays, queues that drain, nothing at all, never back, a plateau, a relapse, a short jump.
const KINDS: [&str; 10] = ["exp10", "exp40", "exp120", "drain60", "drain240", "none", "never", "partial", "rebound", "instant"];

fn clean(kind: &str, at: f64) -> f64 {
    let since = at - SPIKE.to_s;
    if at >= SPIKE.from_s && since < 0.0 {
        return match kind {
            "none" => BASE,
            "instant" => 2.0 * BASE,
            _ => BASE * (1.0 + 4.0 * (at - SPIKE.from_s) / (SPIKE.to_s - SPIKE.from_s)),
        };
    }
    if since < 0.0 {
        return BASE;
    }
    match kind {
        "exp10" | "exp40" | "exp120" => BASE * (1.0 + 4.0 * (-since / kind[3..].parse().unwrap_or(1.0)).exp()),
        "drain60" | "drain240" => BASE * (1.0 + 4.0 * (1.0 - since / kind[5..].parse().unwrap_or(1.0)).max(0.0)),
        "never" => 1.6 * BASE,
        "partial" => BASE * (1.25 + 3.75 * (-since / 20.0).exp()),
        "rebound" if since > 120.0 && since < 240.0 => 1.8 * BASE,
        "rebound" => BASE * (1.0 + 4.0 * (-since / 10.0).exp()),
        _ => BASE,
    }
}

/// Seconds after the spike; `None`: never.
fn truth(kind: &str) -> Option<f64> {
    let times: Vec<f64> = (0..((END - SPIKE.to_s) * 2.0) as u32).map(|at| SPIKE.to_s + 0.5 * f64::from(at)).collect();
    match times.iter().rposition(|at| clean(kind, *at) > 1.1 * BASE + 1e-9) {
        None => Some(0.0),
        Some(last) => times.get(last + 1).map(|at| at - SPIKE.to_s),
    }
}

fn measured(kind: &str, run: u64) -> Vec<Reading> {
    let mut dice = dice(kind, run);
    let count = (END / STEP) as usize;
    let shocks = noise(&mut dice, count, 0.5);
    let reading = |(at, shock): (usize, f64)| {
        let at_s = at as f64 * STEP;
        let blip = if dice.random::<f64>() < 0.03 { 1.6 + 1.4 * dice.random::<f64>() } else { 1.0 };
        Reading { at_s, value: Some(clean(kind, at_s) * (0.1 * shock).exp() * blip), requests: None }
    };
    shocks.into_iter().enumerate().map(reading).collect()
}

/// For comparison: the first value within 10 % of the baseline's median.
fn first_below(readings: &[Reading]) -> Option<f64> {
    let before: Vec<f64> = readings.iter().filter(|one| one.at_s >= 60.0 && one.at_s < SPIKE.from_s).filter_map(|one| one.value).collect();
    let limit = 1.1 * quantile(&before, 0.5);
    readings.iter().find(|one| one.at_s >= SPIKE.to_s && one.value.is_some_and(|value| value <= limit)).map(|one| one.at_s - SPIKE.to_s)
}

pub(crate) fn run(runs: u64, goals: &mut Goals) -> io::Result<()> {
    line(&format!("\nRecoveries: {} kinds, {runs} runs each\n", KINDS.len()))?;
    line(&format!(
        "{:<10}{:>8}{:>14}{:>16}{:>14}{:>24}",
        "kind", "truth", "median error", "90 % within", "flag right", "first below: flag right"
    ))?;
    for kind in KINDS {
        let truth = truth(kind);
        let (mut errors, mut right, mut naive) = (Vec::new(), 0_u64, 0_u64);
        for run in 0..runs {
            let readings = measured(kind, run);
            let found = match recovery(&readings, SPIKE, Bad::High, &Rules::default()).state {
                State::Recovered { after_s } => Some(after_s),
                State::StaysWorse { .. } | State::Inconclusive(_) => None,
            };
            right += u64::from(found.is_some() == truth.is_some());
            naive += u64::from(first_below(&readings).is_some() == truth.is_some());
            errors.extend(found.zip(truth).map(|(found, truth)| found - truth));
        }
        let sizes: Vec<f64> = errors.iter().map(|error| error.abs()).collect();
        let share = |count: u64| count as f64 / runs.max(1) as f64;
        let shown = |value: f64| if value.is_finite() { format!("{value:.0} s") } else { "-".into() };
        line(&format!(
            "{kind:<10}{:>8}{:>14}{:>16}{:>14}{:>24}",
            truth.map_or_else(|| "never".into(), |truth| format!("{truth:.0} s")),
            shown(quantile(&errors, 0.5)),
            shown(quantile(&sizes, 0.9)),
            format!("{:.1} %", 100.0 * share(right)),
            format!("{:.1} %", 100.0 * share(naive)),
        ))?;
        goals.at_least(&format!("G10 said rightly whether it recovered, {kind}"), share(right), 0.98);
        if let Some(truth) = truth
            && !sizes.is_empty()
        {
            let limit = if kind == "exp120" { (0.25 * truth).max(45.0) } else { 45.0 };
            goals.at_most(&format!("G10 90 % of errors in seconds, {kind}"), quantile(&sizes, 0.9), limit);
        }
    }
    Ok(())
}
