//! Mann-Kendall tests that try to allow for autocorrelation: Hamed & Rao (1998), Yue & Wang (2004) and trend-free pre-whitening
//! (Yue et al. 2002), as pymannkendall 1.4 computes them. They are here to be compared with: on realistic series without a leak they
//! cry 24 to 42 % of the time (docs/methods.md). A corrected variance can be negative; then there is a variance, but no z and no p.

use super::autocorrelation::autocorrelation;
use super::distribution::{normal_quantile, normal_two_sided};
use super::kendall::{MannKendall, mann_kendall, z_of};
use super::order::ranks;
use super::theil_sen::slope_per_index;
use super::{Unusable, usable};

/// Fewest values of these tests.
pub const FEWEST: usize = 4;

/// A Mann-Kendall test with another variance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Modified {
    /// Rising pairs minus falling pairs.
    pub s: i64,
    /// The corrected variance of S.
    pub variance: f64,
    /// S of all pairs.
    pub tau: f64,
    /// S in standard deviations and the two-sided p-value.
    pub outcome: Result<Outcome, Unusable>,
}

/// What a test comes to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// S in standard deviations, with the correction for continuity.
    pub z: f64,
    /// Two-sided p-value.
    pub p: f64,
}

impl Modified {
    fn of(plain: &MannKendall, factor: f64) -> Self {
        let variance = plain.variance * factor;
        let outcome = if variance < 0.0 || (variance <= 0.0 && plain.s != 0) {
            Err(Unusable::NegativeVariance)
        } else {
            let z = z_of(plain.s, variance);
            Ok(Outcome { z, p: normal_two_sided(z) })
        };
        Self { s: plain.s, variance, tau: plain.tau, outcome }
    }
}

/// The test of Hamed and Rao: the variance grows with those autocorrelations of the ranks, after the trend is taken out, that differ
/// from 0 at the level `alpha`. `lags`: how many are looked at; `None`: all. At least [`FEWEST`] values.
pub fn hamed_rao(values: &[f64], alpha: f64, lags: Option<usize>) -> Result<Modified, Unusable> {
    let (plain, flat) = prepare(values)?;
    let bound = normal_quantile(1.0 - alpha / 2.0)? / (values.len() as f64).sqrt();
    let Some(acf) = acf_or_constant(&ranks(&flat), lags)? else { return Ok(Modified::of(&plain, 1.0)) };
    let n = values.len() as f64;
    let sum: f64 = acf
        .iter()
        .enumerate()
        .skip(1)
        .filter(|(_, r)| r.abs() > bound)
        .map(|(lag, r)| (n - lag as f64) * (n - lag as f64 - 1.0) * (n - lag as f64 - 2.0) * r)
        .sum();
    Ok(Modified::of(&plain, 1.0 + 2.0 / (n * (n - 1.0) * (n - 2.0)) * sum))
}

/// The test of Yue and Wang: the variance grows with all autocorrelations of the values after the trend is taken out. With all lags
/// (`None`) these add up to little whatever the series, which is why it cries so often. At least [`FEWEST`] values.
pub fn yue_wang(values: &[f64], lags: Option<usize>) -> Result<Modified, Unusable> {
    let (plain, flat) = prepare(values)?;
    let Some(acf) = acf_or_constant(&flat, lags)? else { return Ok(Modified::of(&plain, 1.0)) };
    let n = values.len() as f64;
    let sum: f64 = acf.iter().enumerate().skip(1).map(|(lag, r)| (1.0 - lag as f64 / n) * r).sum();
    Ok(Modified::of(&plain, 1.0 + 2.0 * sum))
}

/// Trend-free pre-whitening: the trend is taken out, then the lag-one autocorrelation, the trend is put back, and what results is
/// tested. At least [`FEWEST`] values; a series that is a line has nothing to whiten.
pub fn trend_free_prewhitening(values: &[f64]) -> Result<MannKendall, Unusable> {
    let (_, flat) = prepare(values)?;
    let slope = slope_per_index(values)?;
    let r = autocorrelation(&flat, 1)?[1];
    let white: Vec<f64> = flat.windows(2).enumerate().map(|(at, pair)| pair[1] - pair[0] * r + (at + 1) as f64 * slope).collect();
    mann_kendall(&white)
}

/// The plain test, and the values without their trend.
fn prepare(values: &[f64]) -> Result<(MannKendall, Vec<f64>), Unusable> {
    usable(values, FEWEST)?;
    let plain = mann_kendall(values)?;
    let slope = slope_per_index(values)?;
    let flat = values.iter().enumerate().map(|(at, value)| value - (at + 1) as f64 * slope).collect();
    Ok((plain, flat))
}

/// The autocorrelations; `None` when nothing is left to correlate.
fn acf_or_constant(values: &[f64], lags: Option<usize>) -> Result<Option<Vec<f64>>, Unusable> {
    let most = values.len() - 1;
    match autocorrelation(values, lags.unwrap_or(most).min(most)) {
        Ok(acf) => Ok(Some(acf)),
        Err(Unusable::Constant) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_keeps_the_plain_variance() {
        let line: Vec<f64> = (0..30).map(f64::from).collect();
        let plain = mann_kendall(&line).unwrap();
        let modified = hamed_rao(&line, 0.05, None).unwrap();
        assert!((modified.variance - plain.variance).abs() < 1e-9 && modified.s == plain.s);
        assert_eq!(trend_free_prewhitening(&line), Err(Unusable::Constant));
        assert_eq!(hamed_rao(&[1.0, 2.0, 3.0], 0.05, None), Err(Unusable::TooFew { needed: 4, found: 3 }));
    }

    #[test]
    fn a_negative_variance_is_said_and_not_computed_with() {
        // Alternating values: the first autocorrelation of the ranks is almost -1.
        let values: Vec<f64> = (0..24).map(|at| f64::from(at) * 0.01 + f64::from(at % 2)).collect();
        let modified = hamed_rao(&values, 0.05, Some(1)).unwrap();
        assert!(modified.variance < 0.0, "{modified:?}");
        assert_eq!(modified.outcome, Err(Unusable::NegativeVariance));
    }

    proptest! {
        #[test]
        fn answers_any_series(values in prop::collection::vec(prop_oneof![-5.0..5.0_f64, Just(0.0), Just(1e99)], 0..50)) {
            for test in [hamed_rao(&values, 0.05, None), hamed_rao(&values, 0.05, Some(3)), yue_wang(&values, None)].into_iter().flatten() {
                prop_assert!(test.variance.is_finite() && test.tau.is_finite());
                if let Ok(Outcome { z, p }) = test.outcome {
                    prop_assert!(z.is_finite() && (0.0..=1.0).contains(&p));
                }
            }
        }
    }
}
