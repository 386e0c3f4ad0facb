//! The scalability law: do its intervals hold the truth as often as they say? Curves with known coefficients and normal noise, measured at
//! the seven points of SPEC SDM91 (Gunther 2007).

use std::io;

use plimsoll::analysis::usl::{Coefficient, fit};

use crate::goal::{Goals, dice, line, noise};

const NS: [f64; 7] = [1.0, 18.0, 36.0, 72.0, 108.0, 144.0, 216.0];
/// alpha, beta, gamma; standard deviation of the noise.
const CURVES: [(&str, [f64; 3], f64); 3] = [
    ("SPEC SDM91", [0.027_728_5, 0.000_104_4, 89.995], 40.0),
    ("little contention", [0.05, 0.000_5, 20.0], 4.0),
    ("much contention", [0.3, 0.000_1, 100.0], 3.0),
];
/// What R's `usl` takes for the 95 % interval (qt(0.95, n - 1)) in standard errors, for n = 7.
const OF_R: f64 = 1.943;

pub(crate) fn run(runs: u64, goals: &mut Goals) -> io::Result<()> {
    line(&format!("\nScalability law: {runs} curves each, share of 95 % intervals that hold the truth\n"))?;
    line(&format!("{:<20}{:>10}{:>10}{:>10}{:>28}", "curve", "alpha", "beta", "gamma", "as R's usl: alpha beta gamma"))?;
    for (name, truth, sd) in CURVES {
        let (mut held, mut of_r, mut fitted) = ([0_u64; 3], [0_u64; 3], 0_u64);
        for run in 0..runs {
            let shocks = noise(&mut dice(name, run), NS.len(), 0.0);
            let curve = |n: f64| truth[2] * n / (1.0 + truth[0] * (n - 1.0) + truth[1] * n * (n - 1.0));
            let points: Vec<(f64, f64)> = NS.iter().zip(shocks).map(|(n, shock)| (*n, curve(*n) + sd * shock)).collect();
            let Ok(found) = fit(&points) else { continue };
            fitted += 1;
            let coefficients: [Coefficient; 3] = [found.alpha, found.beta, found.gamma];
            for (at, (coefficient, truth)) in coefficients.into_iter().zip(truth).enumerate() {
                held[at] += u64::from(coefficient.interval.is_some_and(|span| span.contains(truth)));
                of_r[at] += u64::from(coefficient.error.is_some_and(|error| (coefficient.value - truth).abs() <= OF_R * error));
            }
        }
        let percent = |count: u64| 100.0 * count as f64 / fitted.max(1) as f64;
        let naive = of_r.map(|count| format!("{:.0} %", percent(count))).join("  ");
        line(&format!("{name:<20}{:>8.1} %{:>8.1} %{:>8.1} %{naive:>28}", percent(held[0]), percent(held[1]), percent(held[2])))?;
        goals.at_least(&format!("G9 fits, {name}, share"), fitted as f64 / runs.max(1) as f64, 1.0);
        for (coefficient, count) in ["alpha", "beta", "gamma"].into_iter().zip(held) {
            goals.at_least(&format!("G9 coverage in percent, {name}, {coefficient}"), percent(count), 93.0);
            goals.at_most(&format!("G9 coverage in percent, {name}, {coefficient}"), percent(count), 97.0);
        }
    }
    Ok(())
}
