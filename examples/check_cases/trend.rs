//! Cases of the kind `trend`: a series in time order, and what pymannkendall, scipy and numpy say of it. Of Mann and Kendall's test S must
//! be equal, everything else within one in a million. Where it is known whether the series leaks, the detector may not say that it does when
//! it does not; a leak that it does not see is noted. Where it is known when a limit was reached, the time has to be told within 25 % from
//! half-time on.

use plimsoll::analysis::leak::{Soak, Trend, Verdict, judge};
use plimsoll::analysis::stats::modified_kendall::{Modified, hamed_rao, trend_free_prewhitening, yue_wang};
use plimsoll::analysis::stats::{Unusable, autocorrelation, kendall, linear, theil_sen};

use super::case::Case;
use super::check::Check;

/// Share by which figures may differ.
const RELATIVE: f64 = 1e-6;
/// The references compute small p-values as 1 minus something: they have no digits below this.
const P_FLOOR: f64 = 1e-14;
/// Share by which a time to exhaustion may be wrong.
const TIME: f64 = 0.25;
/// Figures that are 0 but for rounding.
const TINY: f64 = 1e-12;

/// Compares the functions of `analysis::stats` with what other implementations say.
pub(crate) fn check(case: &Case) -> Result<Vec<Check>, String> {
    let read = |name: &str| case.column(name);
    let (times, values): (Vec<f64>, Vec<f64>) =
        read("t_s")?.into_iter().zip(read("value")?).filter_map(|(time, value)| time.zip(value)).unzip();
    let mut checks = Vec::new();
    if let Some(n) = case.number("/n") {
        checks.push(Check::number("n", Some(values.len() as f64), n, 0.0, 0.0));
    }
    mann_kendall(case, &values, &mut checks);
    let alpha = case.number("/alpha").unwrap_or(0.05);
    modified(case, "hamed_rao_all_lags", hamed_rao(&values, alpha, None), &mut checks);
    modified(case, "hamed_rao_lag3", hamed_rao(&values, alpha, Some(3)), &mut checks);
    modified(case, "yue_wang_all_lags", yue_wang(&values, None), &mut checks);
    if case.expected("/trend_free_prewhitening").is_some() {
        let test = trend_free_prewhitening(&values).map_err(|error| format!("trend-free pre-whitening: {error}"))?;
        plain(case, "trend_free_prewhitening", &test, &mut checks);
    }
    slopes(case, &times, &values, &mut checks);
    correlation(case, &values, &mut checks);
    verdict(case, &times, &values, &mut checks);
    exhaustion(case, &times, &values, &mut checks);
    Ok(checks)
}

/// One figure at a pointer below `expected`, if the case has it.
fn figure(case: &Case, pointer: &str, ours: Option<f64>, floor: f64, checks: &mut Vec<Check>) {
    if let Some(expected) = case.number(pointer) {
        checks.push(Check::number(&pointer[1..], ours, expected, RELATIVE, floor));
    }
}

fn mann_kendall(case: &Case, values: &[f64], checks: &mut Vec<Check>) {
    match kendall::mann_kendall(values) {
        Ok(test) => {
            plain(case, "mann_kendall", &test, checks);
            figure(case, "/kendall_tau_b/tau_b", test.tau_b, TINY, checks);
            figure(case, "/kendall_tau_b/p_exact", test.p_exact, P_FLOOR, checks);
        }
        Err(error) => checks.push(Check::fails("mann_kendall", &error.to_string(), "a test")),
    }
}

fn plain(case: &Case, name: &str, test: &kendall::MannKendall, checks: &mut Vec<Check>) {
    if let Some(s) = case.number(&format!("/{name}/S")) {
        checks.push(Check::number(&format!("{name}/S"), Some(test.s as f64), s, 0.0, 0.0));
    }
    figure(case, &format!("/{name}/var_S"), Some(test.variance), TINY, checks);
    figure(case, &format!("/{name}/z"), Some(test.z), TINY, checks);
    figure(case, &format!("/{name}/p"), Some(test.p), P_FLOOR, checks);
    figure(case, &format!("/{name}/tau"), Some(test.tau), TINY, checks);
}

/// A test with a corrected variance. Where the reference has no p, its variance is negative, and ours has to say so.
fn modified(case: &Case, name: &str, test: Result<Modified, Unusable>, checks: &mut Vec<Check>) {
    if case.expected(&format!("/{name}")).is_none() {
        return;
    }
    let test = match test {
        Ok(test) => test,
        Err(error) => return checks.push(Check::fails(name, &error.to_string(), "a test")),
    };
    if let Some(s) = case.number(&format!("/{name}/S")) {
        checks.push(Check::number(&format!("{name}/S"), Some(test.s as f64), s, 0.0, 0.0));
    }
    figure(case, &format!("/{name}/var_S"), Some(test.variance), TINY, checks);
    figure(case, &format!("/{name}/tau"), Some(test.tau), TINY, checks);
    if case.number(&format!("/{name}/p")).is_some() {
        figure(case, &format!("/{name}/z"), test.outcome.ok().map(|outcome| outcome.z), TINY, checks);
        figure(case, &format!("/{name}/p"), test.outcome.ok().map(|outcome| outcome.p), P_FLOOR, checks);
    } else {
        let agrees = test.outcome == Err(Unusable::NegativeVariance);
        checks.push(Check::new(&format!("{name}/p"), &format!("{:?}", test.outcome), "negative variance", agrees));
    }
}

fn slopes(case: &Case, times: &[f64], values: &[f64], checks: &mut Vec<Check>) {
    figure(case, "/sens_slope_per_index/slope", theil_sen::slope_per_index(values).ok(), TINY, checks);
    for (name, confidence) in [("theil_sen_95", 0.95), ("theil_sen_90", 0.90)] {
        let found = theil_sen::theil_sen(times, values, confidence).ok();
        figure(case, &format!("/{name}/slope_per_s"), found.map(|found| found.slope), TINY, checks);
        figure(case, &format!("/{name}/intercept_at_t0"), found.map(|found| found.intercept), TINY, checks);
        figure(case, &format!("/{name}/lo_per_s"), found.map(|found| found.low), TINY, checks);
        figure(case, &format!("/{name}/hi_per_s"), found.map(|found| found.high), TINY, checks);
    }
    let line = linear::line(times, values).ok();
    figure(case, "/ols/slope_per_s", line.map(|line| line.slope), TINY, checks);
    figure(case, "/ols/intercept", line.map(|line| line.intercept), TINY, checks);
    figure(case, "/ols/p", line.map(|line| line.p), 1e-300, checks);
    figure(case, "/ols/r2", line.map(|line| line.r_squared), TINY, checks);
    figure(case, "/ols/stderr", line.map(|line| line.slope_error), TINY, checks);
}

fn correlation(case: &Case, values: &[f64], checks: &mut Vec<Check>) {
    let acf = autocorrelation::autocorrelation(values, 3).ok();
    for lag in 0..3 {
        let ours = acf.as_ref().map(|acf| acf[lag + 1]);
        figure(case, &format!("/acf_raw_1_2_3/{lag}"), ours, TINY, checks);
    }
}

fn judged(times: &[f64], values: &[f64], limit: Option<f64>) -> Trend {
    let samples = times.iter().copied().zip(values.iter().copied()).collect();
    judge(&Soak { samples, limit, ..Soak::default() })
}

/// What the detector says, against what is true.
fn verdict(case: &Case, times: &[f64], values: &[f64], checks: &mut Vec<Check>) {
    let Some(leaks) = case.truth("/leak").and_then(serde_json::Value::as_bool) else { return };
    let trend = judged(times, values, None);
    let said = format!("{:?}", trend.verdict);
    let right = leaks == (trend.verdict == Verdict::Leak);
    if right || !leaks {
        checks.push(Check::new("verdict", &said, "no leak", right));
    } else {
        let smallest = trend.detectable.map_or("nothing could be shown".into(), |growth| format!("{growth:.3} would have shown"));
        checks.push(Check::noted("verdict", &format!("{said} ({smallest})"), "Leak"));
    }
}

/// The time to a limit that was reached, told at twenty moments from half-time on. Reached means 98 % of it: a full resource does not
/// go on growing as before.
fn exhaustion(case: &Case, times: &[f64], values: &[f64], checks: &mut Vec<Check>) {
    let number = |pointer: &str| case.truth(pointer).and_then(serde_json::Value::as_f64);
    let (Some(limit), Some(_)) = (number("/limit").map(|limit| 0.98 * limit), number("/exhausted_at_s")) else { return };
    let Some(reached) = times.iter().zip(values).find(|(_, value)| **value >= limit).map(|(time, _)| *time) else { return };
    for moment in (0..20).map(|step| reached * (0.5 + 0.025 * f64::from(step))) {
        let until = times.partition_point(|time| *time <= moment);
        let Some(last) = until.checked_sub(1).map(|last| times[last]) else { continue };
        let told = judged(&times[..until], &values[..until], Some(limit)).exhaustion.map(|found| found.hours * 3600.0);
        checks.push(Check::number(&format!("time to the limit, told at {moment} s"), told, reached - last, TIME, 0.0));
    }
}
