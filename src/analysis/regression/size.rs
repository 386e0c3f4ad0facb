//! How big a change is: the Hodges-Lehmann shift (the median of all differences between a night after and a night before), with an interval
//! from resampling whole nights. Few nights resampled look surer than they are; the interval is never narrower than Student's t with
//! the scatter of the nights before allows.

use super::reference::Reference;
use crate::analysis::numbers::{Span, bootstrap, median_in_place, resample, t_quantile};

/// Most nights on each side that are compared: the nearest.
const MOST: usize = 20;
/// Resamples.
const ROUNDS: usize = 300;
/// Confidence of the interval.
pub(super) const CONFIDENCE: f64 = 0.95;
/// The same nights always give the same interval.
const SEED: u64 = 0x9E37_79B9_7F4A_7C15;

/// Shift from the nights before to those after, with its interval. Both sides have at least one night.
pub(super) fn shift(before: &[f64], after: &[f64], reference: &Reference) -> (f64, Span) {
    let before = &before[before.len().saturating_sub(MOST)..];
    let after = &after[..after.len().min(MOST)];
    let center = hodges_lehmann(before, after);
    let reach = t_quantile((1.0 - CONFIDENCE) / 2.0, reference.freedom) * reference.error(after.len());
    let drawn = bootstrap(ROUNDS, CONFIDENCE, SEED, |dice| Some(hodges_lehmann(&resample(before, dice), &resample(after, dice))));
    let drawn = drawn.unwrap_or(Span { low: center, high: center });
    (center, Span { low: drawn.low.min(center - reach), high: drawn.high.max(center + reach) })
}

/// Median of all differences.
pub(super) fn hodges_lehmann(before: &[f64], after: &[f64]) -> f64 {
    let mut differences: Vec<f64> = after.iter().flat_map(|new| before.iter().map(move |old| new - old)).collect();
    median_in_place(&mut differences)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shift_lies_in_its_interval_which_narrows_with_nights() {
        let level = |from: f64, count: usize| -> Vec<f64> { (0..count).map(|at| from + [0.0, 2.0, -1.0, 1.0, -2.0][at % 5]).collect() };
        let before = level(100.0, 20);
        let reference = Reference::of(&before, 0.5);
        let width = |nights: usize| {
            let (center, span) = shift(&before, &level(110.0, nights), &reference);
            assert!((center - 10.0).abs() < 1.1 && span.contains(10.0), "{nights}: {center} {span:?}");
            span.high - span.low
        };
        assert!(width(3) > 3.0 && width(20) < width(3));
        assert_eq!(shift(&before, &[110.0], &reference), shift(&before, &[110.0], &reference));
    }
}
