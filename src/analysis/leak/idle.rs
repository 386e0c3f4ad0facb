//! Two proofs that are stronger than any trend in a single soak: what is retained after the load is gone, and a slope that stands out
//! from those of the nights before.

use serde::{Deserialize, Serialize};

use super::LEAST_GROWTH;
use crate::analysis::stats::autocorrelation::{autocorrelation, effective_size};
use crate::analysis::stats::distribution::t_above;
use crate::analysis::stats::order::{mad_of, median_of};
use crate::analysis::stats::t_test::welch;
use crate::analysis::stats::{Unusable, usable};

/// Fewest samples without load before, and after.
pub const FEWEST_IDLE: usize = 10;
/// Fewest nights before tonight.
pub const FEWEST_NIGHTS: usize = 7;
/// Highest chance of a false alarm.
const ALPHA: f64 = 0.002;

/// What was retained.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Retained {
    /// Median before the load.
    pub head: f64,
    /// Median after it.
    pub tail: f64,
    /// After minus before.
    pub retained: f64,
    /// Chance of a difference like this without a cause.
    pub p: f64,
    /// True when something was retained: more than chance, than 1 % of the level and than the noise.
    pub significant: bool,
}

/// Compares the values without load before a soak (after the warm-up) with those after it (after a collection of garbage, and long enough
/// for idle connections to be closed). Each at least [`FEWEST_IDLE`] samples; autocorrelation is allowed for. A cache that was filled
/// by the first requests is retained too: after a warm-up with the same requests it is not.
pub fn retained(head: &[f64], tail: &[f64]) -> Result<Retained, Unusable> {
    usable(head, FEWEST_IDLE)?;
    usable(tail, FEWEST_IDLE)?;
    let (before, after) = (median_of(head.iter().copied()), median_of(tail.iter().copied()));
    let retained = after - before;
    let p = match welch(head, tail, Some((worth(head), worth(tail)))) {
        Ok(test) if test.t > 0.0 => t_above(test.t, test.freedom),
        // Both are constant, and differ.
        Err(Unusable::Constant) if retained > 0.0 => 0.0,
        Ok(_) | Err(Unusable::Constant) => 1.0,
        Err(error) => return Err(error),
    };
    let least = (LEAST_GROWTH * before.abs()).max(mad_of(head)).max(mad_of(tail));
    Ok(Retained { head: before, tail: after, retained, p, significant: p < ALPHA && retained > least })
}

/// How many independent samples these are worth.
fn worth(values: &[f64]) -> f64 {
    let phi = autocorrelation(values, 1).map_or(0.0, |acf| acf[1]);
    // The estimate is too low by about (1 + 3 phi) / n (Kendall 1954).
    let phi = phi + (1.0 + 3.0 * phi) / values.len() as f64;
    effective_size(values.len(), phi.clamp(0.0, 0.95)).max(2.0)
}

/// Tonight's slope against those of the nights before.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Differential {
    /// Median slope of the nights before.
    pub usual: f64,
    /// Their scatter.
    pub scatter: f64,
    /// Tonight's slope minus the usual one.
    pub excess: f64,
    /// Chance of an excess like this without a cause.
    pub p: f64,
    /// True when it stands out.
    pub significant: bool,
}

/// Compares tonight's slope with those of at least [`FEWEST_NIGHTS`] nights before, whose build did not leak (Matias et al. 2014: fewer
/// false alarms than any test of a single run, because what every night does is no news). One-sided t-test of a new value, with median
/// and median absolute deviation.
pub fn differential(tonight: f64, before: &[f64]) -> Result<Differential, Unusable> {
    usable(&[tonight], 1)?;
    usable(before, FEWEST_NIGHTS)?;
    let (usual, scatter) = (median_of(before.iter().copied()), mad_of(before));
    let excess = tonight - usual;
    let nights = before.len() as f64;
    let error = scatter * (1.0 + nights.recip()).sqrt();
    let p = if error > f64::MIN_POSITIVE {
        t_above(excess / error, nights - 1.0)
    } else if excess > 0.0 {
        // More than half of the nights had the very same slope: there is no scatter to measure by.
        return Err(Unusable::Constant);
    } else {
        1.0
    };
    Ok(Differential { usual, scatter, excess, p, significant: p < ALPHA && excess > 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn idle(level: f64) -> Vec<f64> {
        (0..60).map(|at| level + f64::from(at * 37 % 11) * 0.5).collect()
    }

    #[test]
    fn what_is_retained_is_told() {
        let found = retained(&idle(100.0), &idle(130.0)).unwrap();
        assert!(found.significant && (found.retained - 30.0).abs() < 1e-9, "{found:?}");
        assert!(!retained(&idle(100.0), &idle(100.0)).unwrap().significant);
        assert!(!retained(&idle(130.0), &idle(100.0)).unwrap().significant);
        // Less than 1 % is not worth a word.
        assert!(!retained(&[1000.0; 60], &[1004.0; 60]).unwrap().significant);
        assert!(retained(&[1000.0; 60], &[1040.0; 60]).unwrap().significant);
    }

    #[test]
    fn autocorrelated_samples_prove_less() {
        let slow = |level: f64| (0..60).map(|at| level + 10.0 * (f64::from(at) / 9.0).sin()).collect::<Vec<_>>();
        assert!(!retained(&slow(100.0), &slow(109.0)).unwrap().significant);
    }

    #[test]
    fn a_night_that_stands_out() {
        let nights = [1.0, 1.2, 0.9, 1.1, 1.0, 0.8, 1.05, 0.95];
        assert!(differential(3.0, &nights).unwrap().significant);
        assert!(!differential(1.3, &nights).unwrap().significant);
        assert!(!differential(-9.0, &nights).unwrap().significant);
        assert_eq!(differential(1.0, &nights[..5]), Err(Unusable::TooFew { needed: 7, found: 5 }));
        assert_eq!(differential(f64::NAN, &nights), Err(Unusable::NotFinite { at: 0 }));
        assert_eq!(differential(2.0, &[1.0; 9]), Err(Unusable::Constant));
    }
}
