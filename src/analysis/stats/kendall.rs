//! The Mann-Kendall test for a monotonic trend (Mann 1945, Kendall 1975): S counts the pairs that rise minus those that fall. It
//! ignores the spacing of the values, and takes them for independent: by itself it is no leak alarm (docs/methods.md).

use super::distribution::normal_two_sided;
use super::order::ties;
use super::{Unusable, usable};

/// Most values for which the exact distribution is used.
const MOST_EXACT: usize = 60;

/// The Mann-Kendall statistics of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MannKendall {
    /// Number of values.
    pub n: usize,
    /// Rising pairs minus falling pairs.
    pub s: i64,
    /// Variance of S when there is no trend, with the correction for ties.
    pub variance: f64,
    /// S in standard deviations, with the correction for continuity.
    pub z: f64,
    /// Two-sided p-value by the normal approximation.
    pub p: f64,
    /// S of all pairs: Kendall's tau-a.
    pub tau: f64,
    /// Kendall's tau-b, in which ties do not count; `None` when all values are the same.
    pub tau_b: Option<f64>,
    /// Exact two-sided p-value; only without ties and for at most 60 values.
    pub p_exact: Option<f64>,
}

/// The test of Mann and Kendall on values in the order of time; at least 2.
pub fn mann_kendall(values: &[f64]) -> Result<MannKendall, Unusable> {
    usable(values, 2)?;
    let n = values.len();
    let (s, ties) = (score(values), ties(values));
    let variance = variance(n, &ties);
    let z = z_of(s, variance);
    let pairs = (n * (n - 1)) as f64 / 2.0;
    let tied: f64 = ties.iter().map(|size| (size * (size - 1)) as f64 / 2.0).sum();
    Ok(MannKendall {
        n,
        s,
        variance,
        z,
        p: normal_two_sided(z),
        tau: s as f64 / pairs,
        tau_b: (tied < pairs).then(|| s as f64 / (pairs * (pairs - tied)).sqrt()),
        p_exact: (ties.is_empty() && n <= MOST_EXACT).then(|| exact_p(n, s)),
    })
}

/// S in standard deviations, one pair nearer to 0 (continuity); 0 when nothing varies.
pub fn z_of(s: i64, variance: f64) -> f64 {
    if s == 0 || variance.is_nan() || variance <= 0.0 { 0.0 } else { (s - s.signum()) as f64 / variance.sqrt() }
}

/// Variance of S for `n` values with groups of ties of these sizes.
fn variance(n: usize, ties: &[usize]) -> f64 {
    let term = |count: usize| {
        let count = count as f64;
        count * (count - 1.0) * (2.0 * count + 5.0)
    };
    (term(n) - ties.iter().map(|size| term(*size)).sum::<f64>()) / 18.0
}

/// S of usable values, by merge sort: n log n comparisons.
pub(crate) fn score(values: &[f64]) -> i64 {
    let (mut left, mut spare) = (values.to_vec(), values.to_vec());
    let falling = count_falling(&mut left, &mut spare) as i64;
    let n = values.len() as i64;
    let tied: i64 = ties(values).into_iter().map(|size| (size * (size - 1) / 2) as i64).sum();
    n * (n - 1) / 2 - tied - 2 * falling
}

/// Sorts the values; returns the number of pairs of which the later was smaller.
fn count_falling(values: &mut [f64], spare: &mut [f64]) -> u64 {
    let n = values.len();
    if n < 2 {
        return 0;
    }
    let middle = n / 2;
    let mut falling = {
        let (left, right) = values.split_at_mut(middle);
        let (left_spare, right_spare) = spare.split_at_mut(middle);
        count_falling(left, left_spare) + count_falling(right, right_spare)
    };
    let (mut a, mut b) = (0, middle);
    for slot in spare.iter_mut() {
        if b == n || (a < middle && values[a] <= values[b]) {
            *slot = values[a];
            a += 1;
        } else {
            *slot = values[b];
            falling += (middle - a) as u64;
            b += 1;
        }
    }
    values.copy_from_slice(spare);
    falling
}

/// Probability of an S at least this far from 0 among all orders of `n` different values, each equally likely (Kendall 1975). The
/// number of orders with k falling pairs is built up value by value, as a share of all of them.
fn exact_p(n: usize, s: i64) -> f64 {
    let pairs = n * (n - 1) / 2;
    let mut shares = vec![0.0_f64; pairs + 1];
    shares[0] = 1.0;
    for count in 2..=n {
        // A value that joins `count - 1` others falls below 0 to `count - 1` of them: a running sum of the former shares.
        let mut window = 0.0;
        let former = shares.clone();
        for falling in 0..=(count * (count - 1) / 2) {
            window += former[falling];
            if falling >= count {
                window -= former[falling - count];
            }
            shares[falling] = window / count as f64;
        }
    }
    let fewest = (pairs as i64 - s.abs()) / 2;
    let tail: f64 = shares.iter().take(fewest as usize + 1).sum();
    (2.0 * tail).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn by_hand() {
        let rising = mann_kendall(&[1.0, 2.0, 3.0, 4.0]).unwrap();
        // 24 orders, two of them with |S| = 6.
        assert_eq!((rising.s, rising.tau, rising.tau_b), (6, 1.0, Some(1.0)));
        assert!((rising.variance - 156.0 / 18.0).abs() < 1e-12 && (rising.p_exact.unwrap() - 2.0 / 24.0).abs() < 1e-12);
        let tied = mann_kendall(&[1.0, 2.0, 2.0, 3.0]).unwrap();
        assert_eq!((tied.s, tied.p_exact), (5, None));
        assert!((tied.variance - (156.0 - 18.0) / 18.0).abs() < 1e-12);
    }

    #[test]
    fn a_constant_series_has_no_trend() {
        let flat = mann_kendall(&[7.0; 40]).unwrap();
        assert_eq!((flat.s, flat.variance, flat.z, flat.p, flat.tau_b), (0, 0.0, 0.0, 1.0, None));
        assert_eq!(mann_kendall(&[1.0]), Err(Unusable::TooFew { needed: 2, found: 1 }));
        assert_eq!(mann_kendall(&[1.0, f64::NAN, 2.0]), Err(Unusable::NotFinite { at: 1 }));
    }

    proptest! {
        #[test]
        fn s_is_the_sum_over_all_pairs(values in prop::collection::vec(-20..20_i32, 2..80)) {
            let values: Vec<f64> = values.into_iter().map(f64::from).collect();
            let mut s = 0;
            for (at, later) in values.iter().enumerate() {
                for earlier in &values[..at] {
                    s += i64::from(later > earlier) - i64::from(later < earlier);
                }
            }
            let test = mann_kendall(&values).unwrap();
            prop_assert_eq!(test.s, s);
            prop_assert!((0.0..=1.0).contains(&test.p) && test.z.is_finite() && test.variance >= 0.0);
            let backwards: Vec<f64> = values.into_iter().rev().collect();
            prop_assert_eq!(mann_kendall(&backwards).unwrap().s, -s);
        }

        #[test]
        fn the_exact_p_is_near_the_normal_one(seed in prop::collection::vec(-1e3..1e3_f64, 40..60)) {
            let test = mann_kendall(&seed).unwrap();
            prop_assert!((test.p_exact.unwrap() - test.p).abs() < 0.02);
        }
    }
}
