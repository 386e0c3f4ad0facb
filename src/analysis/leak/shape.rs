//! What kind of growth it is: a staircase, or a slope that becomes steeper.

use super::points::Points;
use crate::analysis::stats::autocorrelation::{autocorrelation, effective_size};
use crate::analysis::stats::distribution::t_above;
use crate::analysis::stats::linear::mix;
use crate::analysis::stats::order::median_of;

/// Fewest and most levels of a staircase.
const LEVELS: std::ops::RangeInclusive<usize> = 3..=8;
/// By how much a staircase has to be better than a line (Bayesian information criterion).
const BETTER: f64 = 10.0;
/// A step is at least so many times the scatter on the levels.
const STEEP: f64 = 4.0;
/// Share of the growth that the bend has to make up.
const BENDS: f64 = 0.5;

/// True when the values are better described by a few levels, each above the one before, than by a line. The levels are the best ones that
/// there are (dynamic programming over all ways to cut).
pub(super) fn is_staircase(points: &Points) -> bool {
    let (values, n) = (&points.values, points.len());
    let Ok(straight) = mix(&[&vec![1.0; n], &points.places()], values) else { return false };
    if n < 2 * LEVELS.start() {
        return false;
    }
    let count = n as f64;
    let range = values.iter().copied().fold(f64::NEG_INFINITY, f64::max) - values.iter().copied().fold(f64::INFINITY, f64::min);
    let floor = (range * 1e-6).powi(2) * count;
    let criterion = |squares: f64, parameters: usize| count * (squares.max(floor) / count).ln() + parameters as f64 * count.ln();
    let line = criterion(straight.squares, 2);
    let best = best_levels(values)
        .into_iter()
        .map(|(squares, cuts)| (criterion(squares, 2 * cuts.len() + 1), squares, cuts))
        .min_by(|a, b| a.0.total_cmp(&b.0));
    let Some((staircase, squares, cuts)) = best else { return false };
    let scatter = (squares.max(floor) / count).sqrt();
    staircase + BETTER < line && rises(values, &cuts).iter().all(|rise| *rise > 0.0) && median_of(rises(values, &cuts)) > STEEP * scatter
}

/// True when the values bend upwards beyond chance (t-test of the square of time, 1 %), so far that the slope at the end is at least half
/// again that of the whole.
pub(super) fn is_accelerating(points: &Points) -> bool {
    let place = points.places();
    let square: Vec<f64> = place.iter().map(|place| place * place).collect();
    let Ok(curve) = mix(&[&vec![1.0; points.len()], &place, &square], &points.values) else { return false };
    let (straight, bent) = (curve.weights[1], curve.weights[2]);
    let count = points.len();
    let phi = autocorrelation(&curve.residuals, 1).map_or(0.0, |acf| acf[1]).clamp(0.0, 0.9);
    let freedom = effective_size(count, phi) - 3.0;
    if freedom < 1.0 || bent < BENDS * (straight + bent) || bent <= 0.0 {
        return false;
    }
    match curve.error(2, curve.squares / freedom) {
        Some(error) if error > 0.0 => t_above(bent / error, freedom) < 0.01,
        Some(_) | None => true,
    }
}

/// How far each level lies above the one before.
fn rises(values: &[f64], cuts: &[usize]) -> Vec<f64> {
    let borders: Vec<usize> = [0].into_iter().chain(cuts.iter().copied()).chain([values.len()]).collect();
    let levels: Vec<f64> = borders.windows(2).map(|pair| median_of(values[pair[0]..pair[1]].iter().copied())).collect();
    levels.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

/// For each number of levels the least squares around them, and where they are cut.
fn best_levels(values: &[f64]) -> Vec<(f64, Vec<usize>)> {
    let n = values.len();
    let mean = values.iter().sum::<f64>() / n as f64;
    let (mut sums, mut squares) = (vec![0.0], vec![0.0]);
    for (at, value) in values.iter().map(|value| value - mean).enumerate() {
        sums.push(sums[at] + value);
        squares.push(squares[at] + value * value);
    }
    let around = |from: usize, to: usize| {
        let sum: f64 = sums[to] - sums[from];
        (squares[to] - squares[from] - sum * sum / (to - from) as f64).max(0.0)
    };
    // best[to]: least squares of the values before `to` on so many levels, and where the last level begins.
    let mut best: Vec<(f64, usize)> = (0..=n).map(|to| (if to == 0 { 0.0 } else { around(0, to) }, 0)).collect();
    let mut begins: Vec<Vec<usize>> = vec![vec![0; n + 1]];
    let mut found = Vec::new();
    for levels in 2..=(*LEVELS.end()).min(n) {
        let longest = |to: usize| {
            let ends = (levels - 1..to).map(|from| (best[from].0 + around(from, to), from));
            ends.min_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or((f64::INFINITY, 0))
        };
        let next: Vec<(f64, usize)> = (0..=n).map(longest).collect();
        best = next;
        begins.push(best.iter().map(|(_, from)| *from).collect());
        if LEVELS.contains(&levels) {
            let mut cuts = Vec::new();
            let mut to = n;
            for level in (1..levels).rev() {
                to = begins[level][to];
                cuts.push(to);
            }
            cuts.reverse();
            found.push((best[n].0, cuts));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn staircase(value: impl Fn(i32) -> f64) -> bool {
        let values = (0..48).map(|at| value(at) + f64::from(at * 31 % 7) * 0.3).collect();
        is_staircase(&Points { times: (0..48).map(f64::from).collect(), values })
    }

    #[test]
    fn stairs_and_slopes() {
        assert!(staircase(|at| 100.0 + 20.0 * f64::from(at / 10)));
        assert!(staircase(|at| 100.0 + if at > 5 { 10.0 } else { 0.0 } + if at > 30 { 30.0 } else { 0.0 }));
        assert!(!staircase(|at| 100.0 + 2.0 * f64::from(at)));
        assert!(!staircase(|at| 100.0 + 0.05 * f64::from(at * at)));
        assert!(!staircase(|_| 100.0));
        assert!(!is_staircase(&Points::default()));
        assert!(!is_staircase(&Points { times: vec![1.0, 2.0, 3.0], values: vec![1.0, 5.0, 9.0] }));
        assert!(!is_staircase(&Points { times: (0..30).map(f64::from).collect(), values: vec![1.0; 30] }));
    }

    #[test]
    fn bends() {
        let bends = |value: fn(f64) -> f64| {
            let values = (0..48).map(|at| value(f64::from(at)) + f64::from(at * 31 % 7) * 0.3).collect();
            is_accelerating(&Points { times: (0..48).map(f64::from).collect(), values })
        };
        assert!(bends(|at| 0.02 * at * at));
        assert!(bends(|at| (at - 24.0).max(0.0)));
        assert!(!bends(|at| at));
        assert!(!bends(f64::sqrt));
        assert!(!bends(|at| at + 0.001 * at * at));
        assert!(!bends(|_| 5.0));
        assert!(!is_accelerating(&Points::default()));
    }

    #[test]
    fn the_cuts_are_where_the_levels_change() {
        let values: Vec<f64> = (0..30).map(|at| f64::from(at / 10)).collect();
        assert_eq!(best_levels(&values)[0], (0.0, vec![10, 20]));
    }
}
