//! Order statistics: medians, quantiles, the median absolute deviation, ranks.

use std::cmp::Ordering;

use super::{Unusable, usable};

/// Makes the median absolute deviation of normal noise its standard deviation.
pub const MAD_TO_SIGMA: f64 = 1.4826;

/// The values in ascending order.
pub fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted
}

/// The middle value, or the mean of the two in the middle.
pub fn median(values: &[f64]) -> Result<f64, Unusable> {
    usable(values, 1)?;
    Ok(median_in_place(&mut values.to_vec()))
}

/// The median of values that are known to be usable; reorders them. 0 when there are none.
pub(crate) fn median_in_place(values: &mut [f64]) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let middle = values.len() / 2;
    let even = values.len().is_multiple_of(2);
    let (below, upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    if even { f64::midpoint(below.iter().copied().fold(f64::NEG_INFINITY, f64::max), *upper) } else { *upper }
}

/// The median of usable values that stay as they are.
pub(crate) fn median_of(values: impl IntoIterator<Item = f64>) -> f64 {
    median_in_place(&mut values.into_iter().collect::<Vec<_>>())
}

/// The value below which a share `quantile` (0 to 1) lies, interpolated between neighbours (Hyndman & Fan 1996, type 7).
pub fn quantile(values: &[f64], quantile: f64) -> Result<f64, Unusable> {
    usable(values, 1)?;
    if !(0.0..=1.0).contains(&quantile) {
        return Err(Unusable::Parameter);
    }
    Ok(quantile_of_sorted(&sorted(values), quantile))
}

/// The same of sorted, usable values; 0 when there are none.
pub(crate) fn quantile_of_sorted(sorted: &[f64], quantile: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let place = quantile * last as f64;
    let below = (place.floor() as usize).min(last);
    let above = (below + 1).min(last);
    sorted[below] + (place - below as f64) * (sorted[above] - sorted[below])
}

/// The median absolute deviation from the median, times [`MAD_TO_SIGMA`]: a standard deviation that outliers do not move.
pub fn mad(values: &[f64]) -> Result<f64, Unusable> {
    usable(values, 1)?;
    Ok(mad_of(values))
}

/// The same of usable values; 0 when there are none.
pub(crate) fn mad_of(values: &[f64]) -> f64 {
    let middle = median_of(values.iter().copied());
    MAD_TO_SIGMA * median_of(values.iter().map(|value| (value - middle).abs()))
}

/// True for equal numbers; 0 and -0 are equal.
pub(crate) fn same(a: f64, b: f64) -> bool {
    a.partial_cmp(&b) == Some(Ordering::Equal)
}

/// Ranks from 1, ties share the mean of theirs. Usable values only.
pub(crate) fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_unstable_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut from = 0;
    for group in order.chunk_by(|a, b| same(values[*a], values[*b])) {
        let rank = from as f64 + f64::midpoint(1.0, group.len() as f64);
        for at in group {
            ranks[*at] = rank;
        }
        from += group.len();
    }
    ranks
}

/// Sizes of the groups of equal values, those of one value left out. Usable values only.
pub(crate) fn ties(values: &[f64]) -> Vec<usize> {
    sorted(values).chunk_by(|a, b| same(*a, *b)).map(<[f64]>::len).filter(|size| *size > 1).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn medians_and_quantiles_by_hand() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Ok(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Ok(2.5));
        assert_eq!(quantile(&[1.0, 2.0, 3.0, 4.0], 0.25), Ok(1.75));
        assert_eq!(mad(&[1.0, 2.0, 3.0, 4.0, 100.0]), Ok(MAD_TO_SIGMA));
        assert_eq!(ranks(&[5.0, 1.0, 5.0, 0.0]), [3.5, 2.0, 3.5, 1.0]);
        assert_eq!(ties(&[5.0, 1.0, 5.0, 0.0, 1.0, 5.0]), [2, 3]);
    }

    #[test]
    fn refuses_what_is_no_number() {
        assert_eq!(median(&[]), Err(Unusable::TooFew { needed: 1, found: 0 }));
        assert_eq!(median(&[1.0, f64::NAN]), Err(Unusable::NotFinite { at: 1 }));
        assert_eq!(mad(&[f64::INFINITY]), Err(Unusable::NotFinite { at: 0 }));
        assert_eq!(quantile(&[1.0], 1.5), Err(Unusable::Parameter));
        assert_eq!(quantile(&[1.0], f64::NAN), Err(Unusable::Parameter));
    }

    proptest! {
        #[test]
        fn the_median_is_the_middle_quantile(values in prop::collection::vec(-1e6..1e6_f64, 1..60)) {
            let (median, quantile) = (median(&values).unwrap(), quantile(&values, 0.5).unwrap());
            prop_assert!((median - quantile).abs() <= 1e-9 * median.abs().max(1.0));
            let below = values.iter().filter(|value| **value <= median).count();
            prop_assert!(2 * below >= values.len());
        }

        #[test]
        fn ranks_add_up(values in prop::collection::vec(-3..3_i32, 1..60)) {
            let values: Vec<f64> = values.into_iter().map(f64::from).collect();
            let n = values.len() as f64;
            prop_assert!((ranks(&values).iter().sum::<f64>() - n * (n + 1.0) / 2.0).abs() < 1e-9);
        }
    }
}
