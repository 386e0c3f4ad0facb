//! Student's t for two samples: with one variance (Student 1908) and with two (Welch 1947).

use super::distribution::t_two_sided;
use super::{Unusable, finite, usable};

/// Two means compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TTest {
    /// Mean of the second sample minus mean of the first.
    pub difference: f64,
    /// Its standard error.
    pub error: f64,
    /// Difference in standard errors.
    pub t: f64,
    /// Degrees of freedom.
    pub freedom: f64,
    /// Two-sided p-value.
    pub p: f64,
}

/// Mean and variance (divided by n - 1) of at least 2 values.
pub fn moments(values: &[f64]) -> Result<(f64, f64), Unusable> {
    usable(values, 2)?;
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / (n - 1.0);
    Ok((mean, finite(variance)?))
}

/// Student's test: both samples have one variance. Each at least 2 values.
pub fn student(first: &[f64], second: &[f64]) -> Result<TTest, Unusable> {
    let ((a, va), (b, vb)) = (moments(first)?, moments(second)?);
    let (m, n) = (first.len() as f64, second.len() as f64);
    let freedom = m + n - 2.0;
    let pooled = ((m - 1.0) * va + (n - 1.0) * vb) / freedom;
    test(b - a, pooled * (m.recip() + n.recip()), freedom)
}

/// Welch's test: each sample has a variance of its own. `sizes` are how many independent values each is worth (for autocorrelated
/// ones see `autocorrelation::effective_size`); `None`: as many as there are.
pub fn welch(first: &[f64], second: &[f64], sizes: Option<(f64, f64)>) -> Result<TTest, Unusable> {
    let ((a, va), (b, vb)) = (moments(first)?, moments(second)?);
    let (m, n) = sizes.unwrap_or((first.len() as f64, second.len() as f64));
    if !(m >= 1.0 && n >= 1.0) {
        return Err(Unusable::Parameter);
    }
    let (ea, eb) = (va / m, vb / n);
    let weight = |error: f64, size: f64| error * error / (size - 1.0).max(0.1);
    let together = weight(ea, m) + weight(eb, n);
    let freedom = if together > 0.0 { ((ea + eb) * (ea + eb) / together).max(1.0) } else { (m + n - 2.0).max(1.0) };
    test(b - a, ea + eb, freedom)
}

fn test(difference: f64, variance: f64, freedom: f64) -> Result<TTest, Unusable> {
    let (difference, error) = (finite(difference)?, finite(variance.max(0.0).sqrt())?);
    // Two constant samples: different for certain, or the same.
    if error <= f64::MIN_POSITIVE {
        return if difference.abs() > 0.0 { Err(Unusable::Constant) } else { Ok(TTest { difference, error, t: 0.0, freedom, p: 1.0 }) };
    }
    let t = finite(difference / error)?;
    Ok(TTest { difference, error, t, freedom: finite(freedom)?, p: t_two_sided(t, freedom) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Figures of scipy.stats.ttest_ind 1.17.
    #[test]
    fn agrees_with_scipy() {
        let near = |ours: f64, scipy: f64| assert!((ours - scipy).abs() < 1e-9, "{ours} {scipy}");
        let (a, b) = ([1.0, 2.0, 4.0, 3.0, 2.5], [3.0, 6.0, 5.0, 9.0]);
        let student = student(&a, &b).unwrap();
        near(student.t, 2.630_233_574_223_164);
        near(student.p, 0.033_901_103_542_228_96);
        let welch = welch(&a, &b, None).unwrap();
        near(welch.t, 2.414_039_396_301_674_4);
        near(welch.p, 0.073_867_239_322_340_2);
    }

    #[test]
    fn constant_samples() {
        assert_eq!(student(&[1.0; 4], &[1.0; 4]).map(|found| found.p), Ok(1.0));
        assert_eq!(student(&[1.0; 4], &[2.0; 4]), Err(Unusable::Constant));
        assert_eq!(welch(&[1.0], &[2.0, 3.0], None), Err(Unusable::TooFew { needed: 2, found: 1 }));
        assert_eq!(welch(&[1.0, 2.0], &[2.0, 3.0], Some((0.0, 2.0))), Err(Unusable::Parameter));
    }

    proptest! {
        #[test]
        fn answers_any_samples(
            a in prop::collection::vec(prop_oneof![-5.0..5.0_f64, Just(1e99), Just(0.0)], 0..9),
            b in prop::collection::vec(prop_oneof![-5.0..5.0_f64, Just(-1e99), Just(0.0)], 0..9),
        ) {
            for test in [student(&a, &b), welch(&a, &b, None)].into_iter().flatten() {
                prop_assert!(test.t.is_finite() && test.freedom >= 1.0 && (0.0..=1.0).contains(&test.p), "{:?}", test);
            }
        }
    }
}
