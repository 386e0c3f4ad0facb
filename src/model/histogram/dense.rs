//! Where very many histograms are added up: a count per bucket up to the highest that came, so that adding one costs as much as it has
//! buckets, however many were added before. Exact, as merging is.

use super::LatencyHistogram;

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
    }
}
