//! Many tests at once: Holm (1979) bounds the chance of a single false alarm among them, Benjamini & Hochberg (1995) the share of false
//! ones among those that are flagged.

/// Holm's adjusted p-values, in the order given: flag those below the level that all tests together may have. NaN counts as 1.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let order = ascending(p);
    let mut adjusted = vec![1.0; p.len()];
    let mut highest = 0.0_f64;
    for (rank, at) in order.iter().enumerate() {
        highest = highest.max((clean(p[*at]) * (p.len() - rank) as f64).min(1.0));
        adjusted[*at] = highest;
    }
    adjusted
}

/// Benjamini and Hochberg's adjusted p-values (q-values), in the order given: among those below 0.05 about one in twenty is false. NaN
/// counts as 1.
pub fn benjamini_hochberg(p: &[f64]) -> Vec<f64> {
    let order = ascending(p);
    let mut adjusted = vec![1.0; p.len()];
    let mut lowest = 1.0_f64;
    for (rank, at) in order.iter().enumerate().rev() {
        lowest = lowest.min(clean(p[*at]) * (p.len() as f64 / (rank + 1) as f64));
        adjusted[*at] = lowest;
    }
    adjusted
}

fn clean(p: f64) -> f64 {
    if p.is_nan() { 1.0 } else { p.clamp(0.0, 1.0) }
}

fn ascending(p: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| clean(p[*a]).total_cmp(&clean(p[*b])));
    order
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Figures of R's p.adjust.
    #[test]
    fn agrees_with_r() {
        let near = |ours: Vec<f64>, theirs: [f64; 4]| assert!(ours.iter().zip(theirs).all(|(a, b)| (a - b).abs() < 1e-12), "{ours:?}");
        let p = [0.01, 0.04, 0.03, 0.005];
        near(holm(&p), [0.03, 0.06, 0.06, 0.02]);
        near(benjamini_hochberg(&p), [0.02, 0.04, 0.04, 0.02]);
        assert_eq!(holm(&[f64::NAN, 0.01]), [1.0, 0.02]);
        assert!(holm(&[]).is_empty() && benjamini_hochberg(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn adjusted_values_are_no_smaller_and_keep_the_order(p in prop::collection::vec(0.0..=1.0_f64, 1..30)) {
            for adjusted in [holm(&p), benjamini_hochberg(&p)] {
                for (a, (raw, own)) in p.iter().zip(&adjusted).enumerate() {
                    prop_assert!(own >= raw && *own <= 1.0);
                    for (other, theirs) in p.iter().zip(&adjusted).skip(a) {
                        prop_assert!((raw - other) * (own - theirs) >= 0.0);
                    }
                }
            }
            prop_assert!(holm(&p).iter().zip(benjamini_hochberg(&p)).all(|(holm, bh)| *holm >= bh - 1e-12));
        }
    }
}
