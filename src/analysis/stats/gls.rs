//! The t-test of a trend whose noise is autocorrelated: generalised least squares with AR(1) noise, cut over to a random walk near a
//! unit root. The bias of the estimated autocorrelation is taken out (Kendall 1954, Marriott & Pope 1954), the cut at 1 - n^-1/2 is
//! that of Perron & Yabu (J. Econometrics 2009), whose test is valid whether the noise wanders or not.

use super::distribution::t_two_sided;
use super::linear::{line, mix};
use super::{Unusable, finite, usable_pairs};

/// Fewest points.
pub const FEWEST: usize = 5;

/// A trend and how sure it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trend {
    /// Values per unit of time.
    pub slope: f64,
    /// Its standard error.
    pub slope_error: f64,
    /// Two-sided p-value of no trend.
    pub p: f64,
    /// Lag-one autocorrelation of the noise, bias taken out, 0 to 1; 1: taken for a random walk.
    pub phi: f64,
}

/// The test on at least [`FEWEST`] points in the order of time. A flat series has the p-value 1, a perfect line the p-value 0.
pub fn trend(times: &[f64], values: &[f64]) -> Result<Trend, Unusable> {
    usable_pairs(times, values, FEWEST)?;
    let n = times.len();
    let count = n as f64;
    let step = (times[n - 1] - times[0]) / (count - 1.0);
    if step <= 0.0 || step.is_subnormal() {
        return Err(Unusable::NoTime);
    }
    // In steps of the mean spacing.
    let at: Vec<f64> = times.iter().map(|time| (time - times[0]) / step).collect();
    let straight = line(&at, values)?;
    let noise: Vec<f64> = at.iter().zip(values).map(|(at, value)| value - straight.intercept - straight.slope * at).collect();
    let before: f64 = noise[..n - 1].iter().map(|u| u * u).sum();
    let size: f64 = values.iter().map(|value| value * value).sum();
    if before <= 1e-18 * size.max(f64::MIN_POSITIVE) {
        let flat = straight.slope.abs() <= 1e-9 * size.sqrt() / count;
        return Ok(Trend { slope: finite(straight.slope / step)?, slope_error: 0.0, p: if flat { 1.0 } else { 0.0 }, phi: 0.0 });
    }
    let raw = noise.windows(2).map(|pair| pair[0] * pair[1]).sum::<f64>() / before;
    // Of five points nothing is learnt about autocorrelation.
    let phi = if n > FEWEST { (raw + (2.0 + 4.0 * raw) / count).max(0.0) } else { 0.0 };
    let (slope, error, phi) = if phi >= 1.0 - count.sqrt().recip() { random_walk(values) } else { prais_winsten(&at, values, phi)? };
    let t = if error > 0.0 {
        slope / error
    } else if slope == 0.0 {
        0.0
    } else {
        f64::INFINITY
    };
    Ok(Trend { slope: finite(slope / step)?, slope_error: finite(error / step)?, p: t_two_sided(t, count - 2.0), phi })
}

/// Slope, its error and phi when the noise is a sum of shocks: the mean of the differences.
fn random_walk(values: &[f64]) -> (f64, f64, f64) {
    let steps: Vec<f64> = values.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let n = steps.len() as f64;
    let mean = steps.iter().sum::<f64>() / n;
    let variance = steps.iter().map(|step| (step - mean) * (step - mean)).sum::<f64>() / (n - 1.0);
    (mean, (variance / n).sqrt(), 1.0)
}

/// Slope, its error and phi when the noise is AR(1) with this phi: least squares on quasi-differences, the first point kept.
fn prais_winsten(at: &[f64], values: &[f64], phi: f64) -> Result<(f64, f64, f64), Unusable> {
    let first = (1.0 - phi * phi).sqrt();
    let difference = |series: &[f64]| -> Vec<f64> {
        std::iter::once(first * series[0]).chain(series.windows(2).map(|pair| pair[1] - phi * pair[0])).collect()
    };
    let one = difference(&vec![1.0; at.len()]);
    let (time, target) = (difference(at), difference(values));
    let mix = mix(&[&one, &time], &target)?;
    let variance = mix.squares / (at.len() as f64 - 2.0);
    Ok((mix.weights[1], mix.error(1, variance).unwrap_or(0.0), phi))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn times(n: usize) -> Vec<f64> {
        (0..n).map(|at| at as f64 * 10.0).collect()
    }

    #[test]
    fn lines_walks_and_flats() {
        let perfect: Vec<f64> = times(30).iter().map(|time| 5.0 + 0.25 * time).collect();
        let found = trend(&times(30), &perfect).unwrap();
        assert!(found.p < 1e-12 && (found.slope - 0.25).abs() < 1e-9, "{found:?}");
        assert_eq!(trend(&times(30), &[3.0; 30]).map(|found| found.p), Ok(1.0));
        // A sum of shocks of either sign is no trend, and is seen to be a walk.
        let mut level = 0.0;
        let walk: Vec<f64> = (0..64_u32)
            .map(|at| {
                level += if (at * at / 7) % 2 == 0 { 1.0 } else { -1.0 };
                level
            })
            .collect();
        let found = trend(&times(64), &walk).unwrap();
        assert!(found.phi > 0.85 && found.p > 0.05, "{found:?}");
        assert_eq!(trend(&times(4), &[1.0; 4]), Err(Unusable::TooFew { needed: 5, found: 4 }));
        assert_eq!(trend(&[1.0; 8], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]), Err(Unusable::NoTime));
    }

    proptest! {
        #[test]
        fn answers_any_series(values in prop::collection::vec(prop_oneof![-5.0..5.0_f64, Just(0.0), Just(1e99), Just(1e-300)], 6..60)) {
            if let Ok(found) = trend(&times(values.len()), &values) {
                prop_assert!(found.slope.is_finite() && found.slope_error.is_finite());
                prop_assert!((0.0..=1.0).contains(&found.p) && (0.0..=1.0).contains(&found.phi));
            }
        }
    }
}
