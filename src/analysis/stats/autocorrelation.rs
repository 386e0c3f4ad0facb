//! How much a value resembles the one before it, and how many independent values a series is worth.

use super::order::same;
use super::{Unusable, usable};

/// Autocorrelation at the lags 0 to `lags`, the biased estimate (divided by n; Box & Jenkins), which never exceeds 1.
pub fn autocorrelation(values: &[f64], lags: usize) -> Result<Vec<f64>, Unusable> {
    usable(values, 2)?;
    if lags >= values.len() {
        return Err(Unusable::TooFew { needed: lags + 1, found: values.len() });
    }
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let centred: Vec<f64> = values.iter().map(|value| value - mean).collect();
    let whole: f64 = centred.iter().map(|value| value * value).sum();
    if whole <= f64::MIN_POSITIVE || values.iter().all(|value| same(*value, values[0])) {
        return Err(Unusable::Constant);
    }
    Ok((0..=lags).map(|lag| centred.iter().zip(&centred[lag..]).map(|(a, b)| a * b).sum::<f64>() / whole).collect())
}

/// How many independent values carry as much about the mean as `n` with the lag-one autocorrelation `phi` of an AR(1) process:
/// n (1 - phi) / (1 + phi), at least 1 and at most n.
pub fn effective_size(n: usize, phi: f64) -> f64 {
    let phi = if phi.is_nan() { 0.0 } else { phi.clamp(-1.0, 1.0) };
    (n as f64 * (1.0 - phi) / (1.0 + phi)).clamp(1.0_f64.min(n as f64), n as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let acf = autocorrelation(&[1.0, 2.0, 3.0, 4.0], 2).unwrap();
        assert!((acf[1] - 0.25).abs() < 1e-12 && (acf[2] + 0.3).abs() < 1e-12, "{acf:?}");
        assert_eq!(autocorrelation(&[2.0; 9], 3), Err(Unusable::Constant));
        assert_eq!(autocorrelation(&[2.0, 3.0], 2), Err(Unusable::TooFew { needed: 3, found: 2 }));
    }

    #[test]
    fn correlated_values_count_less() {
        assert!((effective_size(90, 0.8) - 10.0).abs() < 1e-9);
        assert!((effective_size(90, -0.5) - 90.0).abs() < 1e-9);
        assert!((effective_size(90, 1.0) - 1.0).abs() < 1e-9);
        assert!((effective_size(90, f64::NAN) - 90.0).abs() < 1e-9);
        assert!(effective_size(0, 0.3).abs() < 1e-9);
    }
}
