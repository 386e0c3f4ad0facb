//! Which candidates are changes: the segments beside a point are compared as a careful person would. Outliers are pulled in, neighbours
//! that resemble each other count for less, a segment that happens to be quiet gets no credit for it, and the levels must differ by more
//! than the scatter. The weakest point is dropped and all are asked again, until every one stands (docs/methods.md).

use super::{ChangePoint, Rules};
use crate::analysis::numbers::{mad, mean, median, median_in_place, variance};
use crate::analysis::stats::distribution::t_above;

/// Autocorrelation beyond this is not believed.
const MOST_ALIKE: f64 = 0.8;
/// Share of the noise that a segment's own scatter is taken to have at least, for pulling in outliers.
const LEAST_SCATTER: f64 = 0.3;

/// Keeps of the candidates those that stand; `values` are numbers.
pub(super) fn verify(values: &[f64], candidates: &[usize], rules: &Rules) -> Vec<ChangePoint> {
    let noise = noise(values);
    let middle = median(values).abs();
    let last = values.len().saturating_sub(rules.segment);
    let mut kept: Vec<usize> = candidates.iter().copied().filter(|at| (rules.segment..=last).contains(at)).collect();
    loop {
        let borders: Vec<usize> = [0].into_iter().chain(kept.iter().copied()).chain([values.len()]).collect();
        let share = independent_share(values, &borders, noise);
        let points: Vec<ChangePoint> = borders
            .windows(3)
            .map(|part| compare(&values[part[0]..part[1]], &values[part[1]..part[2]], part[1], noise, share, rules))
            .collect();
        let fails = |point: &ChangePoint| {
            point.p_value > rules.p_value || point.effect < rules.effect || (point.after - point.before).abs() < rules.relative * middle
        };
        let weaker = |one: &ChangePoint, other: &ChangePoint| {
            one.p_value > other.p_value || one.p_value >= other.p_value && one.effect < other.effect
        };
        let failing = (0..points.len()).filter(|at| fails(&points[*at]));
        let Some(weakest) = failing.reduce(|worst, at| if weaker(&points[at], &points[worst]) { at } else { worst }) else {
            return points;
        };
        kept.remove(weakest);
    }
}

/// Standard deviation of the noise from night to night, from the differences of neighbours: levels that change do not disturb it.
pub(super) fn noise(values: &[f64]) -> f64 {
    let mut steps: Vec<f64> = values.windows(2).map(|pair| (pair[1] - pair[0]).abs()).collect();
    let noise = median_in_place(&mut steps) / 0.6745 / std::f64::consts::SQRT_2;
    if noise > 0.0 { noise } else { (variance(values, 0).sqrt() * 0.1).max(1e-12) }
}

/// Share of the values that count as independent, from the autocorrelation inside the segments.
fn independent_share(values: &[f64], borders: &[usize], noise: f64) -> f64 {
    let (mut together, mut total) = (0.0, 0.0);
    for part in borders.windows(2) {
        let segment = &values[part[0]..part[1]];
        let (middle, spread) = (median(segment), mad(segment).max(LEAST_SCATTER * noise));
        let off: Vec<f64> = segment.iter().map(|value| (value - middle).clamp(-3.0 * spread, 3.0 * spread)).collect();
        together += off.windows(2).map(|pair| pair[0] * pair[1]).sum::<f64>();
        total += off.iter().map(|value| value * value).sum::<f64>();
    }
    let alike = if total > 0.0 { (together / total).clamp(0.0, MOST_ALIKE) } else { 0.0 };
    (1.0 - alike) / (1.0 + alike)
}

/// Winsorises: values far from the median are pulled to the edge.
fn pulled_in(segment: &[f64], rules: &Rules, noise: f64) -> Vec<f64> {
    let (middle, reach) = (median(segment), rules.winsor * mad(segment).max(LEAST_SCATTER * noise).max(1e-12));
    segment.iter().map(|value| value.clamp(middle - reach, middle + reach)).collect()
}

/// Welch's t between two segments with as many values as are independent and a floor under the variance.
fn compare(left: &[f64], right: &[f64], index: usize, noise: f64, share: f64, rules: &Rules) -> ChangePoint {
    let (before, after) = (median(left), median(right));
    let unknown = ChangePoint { index, p_value: 1.0, effect: 0.0, before, after, nights_before: left.len(), nights_after: right.len() };
    if left.len().min(right.len()) < rules.segment {
        return unknown;
    }
    let (one, other) = (pulled_in(left, rules, noise), pulled_in(right, rules, noise));
    let floor = (rules.floor * noise).powi(2);
    let (spread_one, spread_other) = (variance(&one, 1).max(floor), variance(&other, 1).max(floor));
    let (n, m) = ((one.len() as f64 * share).max(1.5), (other.len() as f64 * share).max(1.5));
    let (part_one, part_other) = (spread_one / n, spread_other / m);
    let error = part_one + part_other;
    let freedom = error.powi(2) / (part_one.powi(2) / (n - 1.0).max(1.0) + part_other.powi(2) / (m - 1.0).max(1.0));
    let t = (mean(&other) - mean(&one)).abs() / error.sqrt();
    let effect = (after - before).abs() / f64::midpoint(spread_one, spread_other).sqrt().max(1e-12);
    ChangePoint { p_value: 2.0 * t_above(t, freedom.max(2.0)), effect, ..unknown }
}
