//! Small arithmetic that the methods for nights, load lines and recoveries share, for values known to be numbers: order statistics
//! and scatter without a `Result`, an interval, a seeded bootstrap. What needs care is in `stats`.

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use super::stats::{LARGEST, distribution};

/// Makes the median absolute deviation of normal noise its standard deviation.
const MAD_SCALE: f64 = 1.4826;

/// Whether a value is one that can be calculated with.
pub(super) fn is_number(value: f64) -> bool {
    value.is_finite() && value.abs() <= LARGEST
}

/// Middle value; of an even number the mean of the two in the middle. 0 of none: callers ask of something.
pub(crate) fn median(values: &[f64]) -> f64 {
    median_in_place(&mut values.to_vec())
}

/// The same without a copy; the order of the values is lost.
pub(super) fn median_in_place(values: &mut [f64]) -> f64 {
    let half = values.len() / 2;
    if values.is_empty() {
        return 0.0;
    }
    let even = values.len().is_multiple_of(2);
    let (below, middle, _) = values.select_nth_unstable_by(half, f64::total_cmp);
    let middle = *middle;
    if !even {
        return middle;
    }
    below.iter().copied().reduce(f64::max).map_or(middle, |lower| lower.midpoint(middle))
}

/// Standard deviation as the median absolute deviation from the median tells it (that of normal noise).
pub(super) fn mad(values: &[f64]) -> f64 {
    let middle = median(values);
    let mut off: Vec<f64> = values.iter().map(|value| (value - middle).abs()).collect();
    MAD_SCALE * median_in_place(&mut off)
}

/// Arithmetic mean; 0 of none.
pub(super) fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

/// Mean squared deviation with `lost` degrees of freedom taken off: 0 for a population, 1 for a sample. 0 when nothing is left.
pub(super) fn variance(values: &[f64], lost: usize) -> f64 {
    if values.len() <= lost {
        return 0.0;
    }
    let middle = mean(values);
    values.iter().map(|value| (value - middle).powi(2)).sum::<f64>() / (values.len() - lost) as f64
}

/// Empirical quantile with linear interpolation (R's type 7); 0 of none. `sorted` ascends.
pub(super) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let at = share.clamp(0.0, 1.0) * last as f64;
    let below = at.floor();
    let (low, high) = (sorted[below as usize], sorted[(below as usize + 1).min(last)]);
    low + (high - low) * (at - below)
}

/// Sorted ascending.
pub(super) fn sorted(values: &[f64]) -> Vec<f64> {
    let mut values = values.to_vec();
    values.sort_unstable_by(f64::total_cmp);
    values
}

/// The t of `freedom` degrees that is exceeded with probability `tail`; 0 when there is none.
pub(super) fn t_quantile(tail: f64, freedom: f64) -> f64 {
    distribution::t_quantile(1.0 - tail, freedom).unwrap_or(0.0)
}

/// How alike neighbours are: lag-1 autocorrelation of values around `middle`; 0 when they do not vary.
pub(super) fn lag_one(values: &[f64], middle: f64) -> f64 {
    let total: f64 = values.iter().map(|value| (value - middle).powi(2)).sum();
    let pairs: f64 = values.windows(2).map(|pair| (pair[0] - middle) * (pair[1] - middle)).sum();
    if total > 0.0 { pairs / total } else { 0.0 }
}

/// Rounded to three digits that count.
pub(super) fn significant(value: f64) -> f64 {
    if value.abs() < f64::MIN_POSITIVE || !value.is_finite() {
        return 0.0;
    }
    let scale = 10_f64.powi(2 - value.abs().log10().floor() as i32);
    if scale.is_finite() && scale > 0.0 { (value * scale).round() / scale } else { value }
}

/// An interval: what is said with its confidence to lie between two numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span {
    /// Lower end.
    pub low: f64,
    /// Upper end; infinite when nothing limits it.
    pub high: f64,
}

impl Span {
    /// Whether the number lies within, ends included.
    pub fn contains(&self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }
}

/// The middle share `level` of what `statistic` comes to on `rounds` resamples; each call of `statistic` gets the generator and draws its
/// own resample. The same seed gives the same interval. `None` when fewer than half of the rounds came to a number.
pub(super) fn bootstrap(
    rounds: usize,
    level: f64,
    seed: u64,
    mut statistic: impl FnMut(&mut Xoshiro256PlusPlus) -> Option<f64>,
) -> Option<Span> {
    let mut dice = Xoshiro256PlusPlus::seed_from_u64(seed);
    let drawn: Vec<f64> = (0..rounds).filter_map(|_| statistic(&mut dice)).filter(|value| value.is_finite()).collect();
    if drawn.len() * 2 < rounds.max(1) {
        return None;
    }
    let drawn = sorted(&drawn);
    let outside = (1.0 - level) / 2.0;
    Some(Span { low: quantile(&drawn, outside), high: quantile(&drawn, 1.0 - outside) })
}

/// As many values as `values` has, drawn from it with replacement.
pub(super) fn resample(values: &[f64], dice: &mut Xoshiro256PlusPlus) -> Vec<f64> {
    (0..values.len()).map(|_| values[dice.random_range(0..values.len())]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_statistics_of_few_values() {
        for (values, middle, spread) in
            [(&[][..], 0.0, 0.0), (&[3.0], 3.0, 0.0), (&[4.0, 1.0], 2.5, 1.4826 * 1.5), (&[5.0, 1.0, 2.0, 9.0, 2.0], 2.0, 1.4826)]
        {
            assert!((median(values) - middle).abs() < 1e-12 && (mad(values) - spread).abs() < 1e-12, "{values:?}");
        }
        assert!((quantile(&[1.0, 2.0, 4.0], 0.75) - 3.0).abs() < 1e-12);
        assert!((variance(&[1.0, 2.0, 3.0], 1) - 1.0).abs() < 1e-12 && variance(&[1.0], 1).abs() < 1e-12);
    }

    #[test]
    fn three_digits_count() {
        for (value, expected) in [(0.201_49, 0.201), (-98_765.0, -98_800.0), (0.0, 0.0), (1e-320, 0.0), (f64::NAN, 0.0), (5.0, 5.0)] {
            assert!((significant(value) - expected).abs() < 1e-9, "{value}");
        }
    }

    #[test]
    fn a_bootstrap_is_repeatable_and_holds_the_mean() {
        let values: Vec<f64> = (0..40).map(f64::from).collect();
        let span = |seed| bootstrap(400, 0.95, seed, |dice| Some(mean(&resample(&values, dice)))).unwrap();
        assert_eq!(span(7), span(7));
        assert!(span(7).contains(19.5) && span(7).low > 14.0 && span(7).high < 25.0);
        assert_eq!(bootstrap(10, 0.95, 1, |_| None), None);
    }
}
