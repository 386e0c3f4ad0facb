//! Finds sudden falls: of a saw-tooth at each collection of garbage, of anything at a restart.

use crate::analysis::stats::linear::mix;
use crate::analysis::stats::order::{mad_of, median_of};

/// Samples of the running median: spikes of up to two samples do not count.
const SMOOTH: usize = 5;
/// Steps over which a fall may be spread.
const WIDTH: usize = 3;
/// A fall is deeper than so many usual steps.
const DEEP: f64 = 6.0;

/// A sudden fall.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Fall {
    /// Index of the last sample before it.
    pub(super) after: usize,
    /// How far it falls.
    pub(super) depth: f64,
}

/// All sudden falls, in the order of time: far beyond the usual steps of a copy without spikes.
pub(super) fn falls(values: &[f64]) -> Vec<Fall> {
    let smooth = running_median(values);
    if smooth.len() <= WIDTH {
        return vec![];
    }
    let steps: Vec<f64> = smooth.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let mut usual = mad_of(&steps);
    if usual <= 0.0 {
        // Most steps are the same: those that are not 0 tell the scatter, or at least the size.
        let moving: Vec<f64> = steps.iter().copied().filter(|step| step.abs() > 0.0).collect();
        usual = mad_of(&moving);
        if usual <= 0.0 {
            usual = median_of(moving.iter().map(|step| step.abs()));
        }
    }
    if usual <= 0.0 {
        return vec![];
    }
    // A running median smears one fall over several steps: the sum of three steps is looked at, and the steepest of a group kept.
    let wide: Vec<f64> = smooth.windows(WIDTH + 1).map(|part| part[WIDTH] - part[0]).collect();
    let bound = -DEEP * mad_of(&wide).max(usual);
    let deep: Vec<usize> = (0..wide.len()).filter(|at| wide[*at] < bound).collect();
    deep.chunk_by(|a, b| b - a <= WIDTH).map(|group| steepest(values, &smooth, group)).collect()
}

/// Falls after which the values stay down: the median of what comes next lies below that of what was, by far more than both scatter.
pub(super) fn lasting_falls(values: &[f64]) -> Vec<Fall> {
    let reach = (values.len() / 24).max(SMOOTH);
    let lasting = |fall: &Fall| {
        let before = &values[(fall.after + 1).saturating_sub(reach)..=fall.after];
        let after = &values[fall.after + 1..(fall.after + 1 + reach).min(values.len())];
        if before.len() < SMOOTH || after.len() < SMOOTH {
            return None;
        }
        let depth = median_of(before.iter().copied()) - median_of(after.iter().copied());
        (depth > 4.0 * mad_of(before).max(mad_of(after))).then_some(Fall { after: fall.after, depth })
    };
    falls(values).iter().filter_map(lasting).collect()
}

/// The values without their straight line.
pub(super) fn detrended(values: &[f64]) -> Vec<f64> {
    let smooth = running_median(values);
    let one = vec![1.0; smooth.len()];
    let index: Vec<f64> = (0..smooth.len()).map(|at| at as f64).collect();
    mix(&[&one, &index], &smooth).map_or_else(|_| smooth.clone(), |mix| mix.residuals)
}

/// The running median over five neighbours; the ends, where they would reach out, stay as they are.
fn running_median(values: &[f64]) -> Vec<f64> {
    let mut smooth = values.to_vec();
    for (at, window) in values.windows(SMOOTH).enumerate() {
        let mut five = [window[0], window[1], window[2], window[3], window[4]];
        five.sort_unstable_by(f64::total_cmp);
        smooth[at + SMOOTH / 2] = five[SMOOTH / 2];
    }
    smooth
}

/// The steepest step of a group of falling places.
fn steepest(values: &[f64], smooth: &[f64], group: &[usize]) -> Fall {
    let (first, last) = (group[0], group[group.len() - 1]);
    let end = (last + WIDTH + 1).min(values.len());
    let step = |at: &usize| values[at + 1] - values[*at];
    let after = (first..end.saturating_sub(1)).min_by(|a, b| step(a).total_cmp(&step(b))).unwrap_or(first);
    let before = smooth[after.saturating_sub(WIDTH)..=after].iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let next = smooth[after + 1..(after + 5).min(smooth.len())].iter().copied().fold(f64::INFINITY, f64::min);
    Fall { after, depth: if next.is_finite() { (before - next).max(0.0) } else { 0.0 } }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ripple(at: usize) -> f64 {
        (at * 7 % 5) as f64
    }

    #[test]
    fn a_restart_is_a_lasting_fall_and_a_spike_is_none() {
        let restarted: Vec<f64> = (0..100).map(|at| if at < 60 { 500.0 } else { 300.0 } + ripple(at)).collect();
        let found = lasting_falls(&restarted);
        assert_eq!((found.len(), found[0].after), (1, 59));
        assert!((found[0].depth - 200.0).abs() < 5.0);
        let spike: Vec<f64> = (0..100).map(|at| if (60..62).contains(&at) { 900.0 } else { 300.0 } + ripple(at)).collect();
        assert_eq!(falls(&spike), []);
        let plateau: Vec<f64> = (0..100).map(|at| if (40..50).contains(&at) { 900.0 } else { 300.0 } + ripple(at)).collect();
        assert_eq!(falls(&plateau).len(), 1);
        assert_eq!(falls(&[1.0; 50]), []);
    }

    proptest! {
        #[test]
        fn any_series_can_be_looked_at(values in prop::collection::vec(prop_oneof![-5.0..5.0_f64, Just(0.0), Just(1e100), Just(-1e100)], 0..60)) {
            for fall in falls(&values).into_iter().chain(lasting_falls(&values)) {
                prop_assert!(fall.after + 1 < values.len() && fall.depth >= 0.0 && fall.depth.is_finite());
            }
        }
    }
}
