//! Where very many histograms are added up: a count per bucket up to the highest that came, so that adding one costs as much as it has
//! buckets, however many were added before. Exact, as merging is.

use super::{LatencyHistogram, packed};

/// A sum of histograms.
#[derive(Debug, Clone, Default)]
pub struct Dense {
    counts: Vec<u64>,
}

impl Dense {
    /// Adds all of `other`.
    pub fn add(&mut self, other: &LatencyHistogram) {
        let Some((highest, _)) = other.buckets.last() else { return };
        if self.counts.len() <= *highest as usize {
            // At most 24 thousand buckets: 190 kB.
            self.counts.resize(*highest as usize + 1, 0);
        }
        for (index, count) in &other.buckets {
            self.counts[*index as usize] += count;
        }
    }

    /// Adds what [`LatencyHistogram::read`] would read, without making a histogram of it; `None` when the bytes are none, or counts no
    /// number holds: the sum then holds anything.
    pub fn read(&mut self, bytes: &[u8], beside: Option<&LatencyHistogram>) -> Option<()> {
        if !bytes.first().is_some_and(|first| packed::is_form(*first)) {
            self.add(&LatencyHistogram::from_v2(bytes)?);
            return Some(());
        }
        let counts = &mut self.counts;
        packed::each(bytes, beside.map(|beside| beside.buckets.as_slice()), |index, count| {
            let index = index as usize;
            if counts.len() <= index {
                counts.resize(index + 1, 0);
            }
            counts[index] = counts[index].checked_add(count)?;
            Some(())
        })
    }

    /// Adds all of another sum.
    pub fn add_sum(&mut self, other: &Self) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
    }

    /// The sum so far.
    pub fn sum(&self) -> LatencyHistogram {
        let counts = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        LatencyHistogram { buckets: counts.map(|(index, count)| (index as u32, *count)).collect() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::histogram::HIGHEST_US;

    proptest! {
        #[test]
        fn adding_up_is_merging(all in prop::collection::vec(prop::collection::vec(1..=HIGHEST_US, 0..40), 0..8)) {
            let (mut dense, mut merged) = (Dense::default(), LatencyHistogram::default());
            for one in all.into_iter().map(LatencyHistogram::from_us) {
                dense.add(&one);
                merged.merge(&one);
                prop_assert_eq!(&dense.sum(), &merged);
            }
        }

        /// In whatever form they come, as if each were read before it is added.
        #[test]
        fn adding_up_bytes_is_adding_up_what_they_tell(
            all in prop::collection::vec(prop::collection::vec((1..2_000_000_u64, 0..60_u64, 1..4_usize), 1..120), 1..6)
        ) {
            let (mut dense, mut half, mut merged) = (Dense::default(), Dense::default(), LatencyHistogram::default());
            for one in all {
                let beside = LatencyHistogram::from_us(one.iter().flat_map(|(us, _, times)| std::iter::repeat_n(*us, *times)));
                let shorter = |(us, less, times): &(u64, u64, usize)| std::iter::repeat_n(us.saturating_sub(*less), *times);
                let near = LatencyHistogram::from_us(one.iter().flat_map(shorter));
                for (bytes, told) in [
                    (beside.to_packed(), &beside),
                    (near.to_packed_beside(&beside), &near),
                    (beside.to_packed_beside(&beside), &beside),
                    (near.to_v2(), &near),
                ] {
                    prop_assert_eq!(dense.read(&bytes, Some(&beside)), Some(()));
                    merged.merge(told);
                    half.add(told);
                }
            }
            prop_assert_eq!(&dense.sum(), &merged);
            dense.add_sum(&half);
            half.add_sum(&half.clone());
            prop_assert_eq!(dense.sum(), half.sum());
        }

        #[test]
        fn damaged_bytes_are_refused_as_reading_refuses_them(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let beside = LatencyHistogram::from_us((0..30).map(|number| number * 997));
            for first in 0..=4 {
                let packed: Vec<u8> = std::iter::once(first).chain(bytes.iter().copied()).collect();
                let (mut read, mut dense) = (LatencyHistogram::default(), Dense::default());
                let expected = read.read(&packed, Some(&beside));
                prop_assert_eq!(dense.read(&packed, Some(&beside)), expected);
                if expected.is_some() {
                    prop_assert_eq!(dense.sum(), read);
                }
            }
        }
    }

    #[test]
    fn what_is_more_than_a_number_holds_is_refused() {
        let most = [1, 11, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        let mut dense = Dense::default();
        assert_eq!(dense.read(&most, None), Some(()));
        assert_eq!(dense.read(&most, None), None);
    }
}
