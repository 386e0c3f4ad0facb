//! The slope of Theil (1950) and Sen (1968): the median of the slopes between all pairs, with Sen's interval from the order statistics.
//! Up to 29 % of the values may be outliers. Real times are used, so that gaps do no harm.

use super::distribution::normal_quantile;
use super::kendall::mann_kendall;
use super::order::{median_in_place, median_of};
use super::{Unusable, finite, usable_pairs};

/// Most values: their pairs have to fit into memory (100 MB).
pub const MOST: usize = 5000;

/// A slope with its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slope {
    /// Values per unit of time.
    pub slope: f64,
    /// Value at time 0 of the line with this slope: median of the values minus slope times the median of the times (Conover).
    pub intercept: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// The slopes between all pairs of points, in ascending order.
#[derive(Debug, Clone)]
pub struct PairSlopes(Vec<f64>);

impl PairSlopes {
    /// Of at least 2 points at no less than 2 different times; points at the same time make no pair.
    pub fn new(times: &[f64], values: &[f64]) -> Result<Self, Unusable> {
        let mut slopes = pair_slopes(times, values)?;
        slopes.sort_unstable_by(f64::total_cmp);
        Ok(Self(slopes))
    }

    /// The median of the slopes.
    pub fn median(&self) -> f64 {
        let middle = self.0.len() / 2;
        if self.0.len().is_multiple_of(2) { f64::midpoint(self.0[middle - 1], self.0[middle]) } else { self.0[middle] }
    }

    /// Interval for a `confidence` (0 to 1) when S of Mann and Kendall has this variance: the order statistics number
    /// (N -+ z sqrt(variance)) / 2, with scipy's index convention.
    pub fn interval(&self, variance: f64, confidence: f64) -> Result<(f64, f64), Unusable> {
        let z = normal_quantile(f64::midpoint(1.0, confidence))?;
        let last = self.0.len() - 1;
        let reach = z * variance.max(0.0).sqrt();
        if reach.is_nan() {
            return Err(Unusable::Parameter);
        }
        let count = self.0.len() as f64;
        // numpy rounds halves to even.
        let low = ((count - reach) / 2.0).round_ties_even() - 1.0;
        let high = f64::midpoint(count, reach).round_ties_even();
        Ok((self.0[(low.max(0.0) as usize).min(last)], self.0[(high.max(0.0) as usize).min(last)]))
    }
}

fn pair_slopes(times: &[f64], values: &[f64]) -> Result<Vec<f64>, Unusable> {
    usable_pairs(times, values, 2)?;
    if times.len() > MOST {
        return Err(Unusable::TooMany { most: MOST, found: times.len() });
    }
    let mut slopes = Vec::with_capacity(times.len() * (times.len() - 1) / 2);
    for (at, (time, value)) in times.iter().zip(values).enumerate() {
        for (earlier, before) in times[..at].iter().zip(values) {
            let apart = time - earlier;
            if apart.abs() > 0.0 {
                slopes.push(finite((value - before) / apart)?);
            }
        }
    }
    if slopes.is_empty() { Err(Unusable::NoTime) } else { Ok(slopes) }
}

/// The slope and its interval for a `confidence` such as 0.95; values taken for independent.
pub fn theil_sen(times: &[f64], values: &[f64], confidence: f64) -> Result<Slope, Unusable> {
    let slopes = PairSlopes::new(times, values)?;
    let (low, high) = slopes.interval(mann_kendall(values)?.variance, confidence)?;
    let slope = slopes.median();
    Ok(Slope { slope, intercept: finite(intercept(times, values, slope))?, low, high })
}

/// The slope alone, in values per unit of time.
pub fn slope(times: &[f64], values: &[f64]) -> Result<f64, Unusable> {
    Ok(median_in_place(&mut pair_slopes(times, values)?))
}

/// The slope alone of values one unit of time apart.
pub fn slope_per_index(values: &[f64]) -> Result<f64, Unusable> {
    slope(&(0..values.len()).map(|at| at as f64).collect::<Vec<_>>(), values)
}

fn intercept(times: &[f64], values: &[f64], slope: f64) -> f64 {
    median_of(values.iter().copied()) - slope * median_of(times.iter().copied())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn by_hand() {
        // Slopes of the pairs: 1, 1, 1, 31, 16, 11 (an outlier at the end).
        let found = theil_sen(&[0.0, 1.0, 2.0, 3.0], &[0.0, 1.0, 2.0, 33.0], 0.95).unwrap();
        assert_eq!((found.slope, found.low, found.high), (6.0, 1.0, 31.0));
        assert_eq!(slope_per_index(&[5.0, 4.0, 3.0, 99.0, 1.0]), Ok(-1.0));
        assert_eq!(theil_sen(&[1.0, 1.0], &[1.0, 2.0], 0.95), Err(Unusable::NoTime));
        assert_eq!(theil_sen(&[1.0], &[1.0, 2.0], 0.95), Err(Unusable::Lengths { left: 1, right: 2 }));
        assert_eq!(theil_sen(&[1.0, 2.0], &[1.0, 2.0], 1.0), Err(Unusable::Parameter));
        assert_eq!(slope(&[0.0, 1e-300], &[0.0, 1e90]), Err(Unusable::OutOfRange));
        assert_eq!(slope_per_index(&vec![0.0; MOST + 1]), Err(Unusable::TooMany { most: MOST, found: MOST + 1 }));
    }

    proptest! {
        #[test]
        fn the_interval_holds_the_slope_and_follows_a_line(
            values in prop::collection::vec(-1e3..1e3_f64, 2..60), added in -10.0..10.0_f64
        ) {
            let times: Vec<f64> = (0..values.len()).map(|at| at as f64 * 10.0).collect();
            let found = theil_sen(&times, &values, 0.95).unwrap();
            prop_assert!(found.low <= found.slope && found.slope <= found.high);
            let tilted: Vec<f64> = values.iter().zip(&times).map(|(value, time)| value + added * time).collect();
            let moved = theil_sen(&times, &tilted, 0.95).unwrap();
            prop_assert!((moved.slope - found.slope - added).abs() < 1e-6);
        }
    }
}
