//! Mann & Whitney's U (1947): does one sample tend to be larger than another? Exact for small samples without ties, else the normal
//! approximation with the corrections for ties and continuity, as scipy. With the shift between the samples by Hodges & Lehmann (1963).
//! Values within one night are not independent: between nights this is no alarm (docs/methods.md).

use super::distribution::normal_two_sided;
use super::order::{median_in_place, ranks, ties};
use super::{Unusable, usable};

/// Largest smaller sample for which the exact distribution is used, as scipy.
const MOST_EXACT: usize = 8;
/// Largest larger sample for which the exact distribution is used.
const MOST_EXACT_OTHER: usize = 200;
/// Most pairs for which the shift is computed.
const MOST_PAIRS: usize = 10_000_000;

/// Two samples compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RankSum {
    /// Pairs in which the value of the second sample is larger, ties counting one half.
    pub u: f64,
    /// Two-sided p-value.
    pub p: f64,
    /// True when `p` is exact.
    pub exact: bool,
    /// Probability that a value of the second sample is larger than one of the first.
    pub superiority: f64,
    /// Median of all differences second minus first; `None` beyond ten million pairs.
    pub shift: Option<f64>,
}

/// Compares two samples of at least one value each.
pub fn mann_whitney(first: &[f64], second: &[f64]) -> Result<RankSum, Unusable> {
    usable(first, 1)?;
    usable(second, 1)?;
    let (m, n) = (first.len(), second.len());
    let together: Vec<f64> = second.iter().chain(first).copied().collect();
    let rank_sum: f64 = ranks(&together)[..n].iter().sum();
    let u = rank_sum - (n * (n + 1)) as f64 / 2.0;
    let pairs = m as f64 * n as f64;
    let ties = ties(&together);
    let exact = ties.is_empty() && m.min(n) <= MOST_EXACT && m.max(n) <= MOST_EXACT_OTHER;
    let extreme = u.max(pairs - u);
    let p = if exact {
        (2.0 * exact_at_least(m, n, extreme as usize)).min(1.0)
    } else {
        let total = (m + n) as f64;
        let tied: f64 = ties.iter().map(|size| (*size as f64).powi(3) - *size as f64).sum();
        let variance = pairs / 12.0 * (total + 1.0 - tied / (total * (total - 1.0)).max(1.0));
        if variance > 0.0 { normal_two_sided((extreme - pairs / 2.0 - 0.5).max(0.0) / variance.sqrt()) } else { 1.0 }
    };
    let shift = (m * n <= MOST_PAIRS).then(|| {
        let mut differences: Vec<f64> = second.iter().flat_map(|b| first.iter().map(move |a| b - a)).collect();
        median_in_place(&mut differences)
    });
    Ok(RankSum { u, p, exact, superiority: u / pairs, shift })
}

/// Probability of a U of at least `extreme` when both samples come from one population: counts of the ways, as shares, by the
/// recurrence of Mann and Whitney over the size of the second sample.
fn exact_at_least(m: usize, n: usize, extreme: usize) -> f64 {
    // ways[j][u]: share of the orders of i values of one and j of the other sample with this U.
    let (m, n) = (m.min(n), m.max(n));
    let mut ways: Vec<Vec<f64>> = (0..=m).map(|_| vec![1.0]).collect();
    for i in 1..=n {
        let mut next: Vec<Vec<f64>> = vec![vec![1.0]];
        for j in 1..=m {
            let total = (i + j) as f64;
            // The largest value belongs to the sample of i with probability i / (i + j), and then beats j values of the other.
            let mut shares = vec![0.0; i * j + 1];
            for (u, share) in ways[j].iter().enumerate() {
                shares[u + j] += share * i as f64 / total;
            }
            for (u, share) in next[j - 1].iter().enumerate() {
                shares[u] += share * j as f64 / total;
            }
            next.push(shares);
        }
        ways = next;
    }
    ways[m].iter().skip(extreme).sum::<f64>().clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Figures of scipy.stats.mannwhitneyu 1.17.
    #[test]
    fn agrees_with_scipy() {
        let near = |ours: f64, scipy: f64| assert!((ours - scipy).abs() < 1e-9, "{ours} {scipy}");
        let males = [19.0, 22.0, 16.0, 29.0, 24.0];
        let females = [20.0, 11.0, 17.0, 12.0];
        let found = mann_whitney(&females, &males).unwrap();
        assert_eq!((found.u, found.exact, found.shift), (17.0, true, Some(7.0)));
        near(found.p, 0.111_111_111_111_111);
        let tied =
            mann_whitney(&[1.0, 2.0, 2.0, 3.0, 4.0, 4.0, 4.0, 5.0, 6.0], &[2.0, 4.0, 5.0, 6.0, 7.0, 7.0, 8.0, 9.0, 9.0, 9.0]).unwrap();
        assert_eq!((tied.u, tied.exact), (77.5, false));
        near(tied.p, 0.008_359_552_884_026_102);
    }

    #[test]
    fn needs_a_value_on_each_side() {
        assert_eq!(mann_whitney(&[], &[1.0]), Err(Unusable::TooFew { needed: 1, found: 0 }));
        assert_eq!(mann_whitney(&[2.0; 20], &[2.0; 20]).map(|found| found.p), Ok(1.0));
    }

    proptest! {
        #[test]
        fn is_symmetric(a in prop::collection::vec(-5.0..5.0_f64, 1..20), b in prop::collection::vec(-5.0..5.0_f64, 1..20)) {
            let (there, back) = (mann_whitney(&a, &b).unwrap(), mann_whitney(&b, &a).unwrap());
            prop_assert!((there.p - back.p).abs() < 1e-9 && (0.0..=1.0).contains(&there.p));
            prop_assert!((there.superiority + back.superiority - 1.0).abs() < 1e-9);
            prop_assert!((there.shift.unwrap() + back.shift.unwrap()).abs() < 1e-9);
        }
    }
}
