//! Small arithmetic that the methods for nights, load lines and recoveries share, for values known to be numbers: order statistics
//! and scatter without a `Result`, an interval, a seeded bootstrap. What needs care is in `stats`.

use super::stats::LARGEST;

/// Makes the median absolute deviation of normal noise its standard deviation.
const MAD_SCALE: f64 = 1.4826;

/// Whether a value is one that can be calculated with.
pub(super) fn is_number(value: f64) -> bool {
    value.is_finite() && value.abs() <= LARGEST
}

/// Middle value; of an even number the mean of the two in the middle. 0 of none: callers ask of something.
pub(super) fn median(values: &[f64]) -> f64 {
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
        assert!((variance(&[1.0, 2.0, 3.0], 1) - 1.0).abs() < 1e-12 && variance(&[1.0], 1).abs() < 1e-12);
    }
}
