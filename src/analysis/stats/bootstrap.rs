//! How sure a percentile, or the difference of two, is: by drawing blocks of time again and again (block bootstrap, Künsch 1989).
//! Requests within a block are not independent, blocks of a minute nearly are; drawing single requests would make the interval far too
//! narrow. It says how sure one run is of its percentile, not how much runs differ (docs/methods.md).

use rand::{Rng, RngExt};

use super::{Unusable, order};
use crate::model::histogram::LatencyHistogram;

/// Fewest blocks on each side.
pub const FEWEST_BLOCKS: usize = 5;
/// Fewest and most rounds of drawing.
const ROUNDS: std::ops::RangeInclusive<usize> = 100..=100_000;

/// A figure in seconds with its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// What was measured.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// How to draw.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drawing {
    /// The percentile, 0 to 1.
    pub quantile: f64,
    /// Share of the drawn figures that the interval holds, such as 0.95.
    pub confidence: f64,
    /// How often to draw, 100 to 100 000.
    pub rounds: usize,
}

/// A percentile in seconds with its interval; one histogram per block of time.
pub fn quantile(blocks: &[LatencyHistogram], drawing: Drawing, random: &mut impl Rng) -> Result<Interval, Unusable> {
    let table = Table::new(blocks, drawing)?;
    let figures = (0..drawing.rounds).map(|_| table.draw(random)).collect();
    interval(table.whole(), figures, drawing.confidence)
}

/// The percentile of `second` minus that of `first`, in seconds, with its interval; one histogram per block of time.
pub fn quantile_difference(
    first: &[LatencyHistogram],
    second: &[LatencyHistogram],
    drawing: Drawing,
    random: &mut impl Rng,
) -> Result<Interval, Unusable> {
    let (first, second) = (Table::new(first, drawing)?, Table::new(second, drawing)?);
    let figures = (0..drawing.rounds).map(|_| second.draw(random) - first.draw(random)).collect();
    interval(second.whole() - first.whole(), figures, drawing.confidence)
}

fn interval(value: f64, mut figures: Vec<f64>, confidence: f64) -> Result<Interval, Unusable> {
    if !(confidence > 0.0 && confidence < 1.0) {
        return Err(Unusable::Parameter);
    }
    figures.sort_unstable_by(f64::total_cmp);
    let tail = (1.0 - confidence) / 2.0;
    let (low, high) = (order::quantile_of_sorted(&figures, tail), order::quantile_of_sorted(&figures, 1.0 - tail));
    Ok(Interval { value, low: low.min(value), high: high.max(value) })
}

/// Counts of each block over all buckets that occur: rows are blocks.
struct Table {
    /// Highest latency of each bucket in seconds, ascending.
    latencies: Vec<f64>,
    blocks: Vec<Vec<u64>>,
    quantile: f64,
}

impl Table {
    fn new(blocks: &[LatencyHistogram], drawing: Drawing) -> Result<Self, Unusable> {
        if !(0.0..=1.0).contains(&drawing.quantile) || !ROUNDS.contains(&drawing.rounds) {
            return Err(Unusable::Parameter);
        }
        let filled: Vec<&LatencyHistogram> = blocks.iter().filter(|block| !block.is_empty()).collect();
        if filled.len() < FEWEST_BLOCKS {
            return Err(Unusable::TooFew { needed: FEWEST_BLOCKS, found: filled.len() });
        }
        let mut buckets: Vec<u64> = filled.iter().flat_map(|block| block.iter_us().map(|(us, _)| us)).collect();
        buckets.sort_unstable();
        buckets.dedup();
        let blocks = filled
            .iter()
            .map(|block| {
                let mut counts = vec![0; buckets.len()];
                for (us, count) in block.iter_us() {
                    if let Ok(at) = buckets.binary_search(&us) {
                        counts[at] += count;
                    }
                }
                counts
            })
            .collect();
        let latencies = buckets.iter().map(|us| *us as f64 / 1e6).collect();
        Ok(Self { latencies, blocks, quantile: drawing.quantile })
    }

    /// The percentile of all blocks together.
    fn whole(&self) -> f64 {
        self.of(self.blocks.iter())
    }

    /// The percentile of as many blocks as there are, drawn with replacement.
    fn draw(&self, random: &mut impl Rng) -> f64 {
        let drawn: Vec<usize> = (0..self.blocks.len()).map(|_| random.random_range(0..self.blocks.len())).collect();
        self.of(drawn.iter().map(|at| &self.blocks[*at]))
    }

    fn of<'a>(&self, blocks: impl Iterator<Item = &'a Vec<u64>>) -> f64 {
        let mut sum = vec![0_u64; self.latencies.len()];
        for block in blocks {
            for (total, count) in sum.iter_mut().zip(block) {
                *total = total.saturating_add(*count);
            }
        }
        let total = sum.iter().fold(0_u64, |total, count| total.saturating_add(*count));
        let wanted = ((self.quantile * total as f64).ceil() as u64).max(1);
        let mut seen = 0_u64;
        for (latency, count) in self.latencies.iter().zip(&sum) {
            seen = seen.saturating_add(*count);
            if seen >= wanted {
                return *latency;
            }
        }
        self.latencies.last().copied().unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    const P95: Drawing = Drawing { quantile: 0.95, confidence: 0.95, rounds: 500 };

    /// `count` blocks of 200 latencies around `level` milliseconds; each block is a little off by itself.
    fn blocks(count: usize, level: f64, seed: u64) -> Vec<LatencyHistogram> {
        let mut random = SmallRng::seed_from_u64(seed);
        (0..count)
            .map(|_| {
                let own = level * random.random_range(0.95..1.05);
                LatencyHistogram::from_us((0..200).map(|_| (own * random.random_range(500.0..1500.0)) as u64))
            })
            .collect()
    }

    #[test]
    fn a_difference_that_is_there_is_outside_of_the_interval_of_none() {
        let mut random = SmallRng::seed_from_u64(1);
        let same = quantile_difference(&blocks(30, 20.0, 2), &blocks(30, 20.0, 3), P95, &mut random).unwrap();
        assert!(same.low <= 0.0 && same.high >= 0.0, "{same:?}");
        let slower = quantile_difference(&blocks(30, 20.0, 2), &blocks(30, 26.0, 3), P95, &mut random).unwrap();
        assert!(slower.low > 0.005 && slower.high < 0.013 && slower.low < slower.value && slower.value < slower.high, "{slower:?}");
    }

    #[test]
    fn the_measured_figure_is_the_histograms_own() {
        let blocks = blocks(10, 20.0, 4);
        let mut together = LatencyHistogram::default();
        for block in &blocks {
            together.merge(block);
        }
        let found = quantile(&blocks, P95, &mut SmallRng::seed_from_u64(5)).unwrap();
        assert_eq!(Some(found.value), together.quantile(0.95).map(|latency| latency.as_secs_f64()));
    }

    #[test]
    fn says_what_it_cannot_answer() {
        let mut random = SmallRng::seed_from_u64(1);
        let some = blocks(6, 20.0, 2);
        let empty = vec![LatencyHistogram::default(); 9];
        assert_eq!(quantile_difference(&some, &empty, P95, &mut random), Err(Unusable::TooFew { needed: 5, found: 0 }));
        for drawing in [
            Drawing { quantile: 1.5, ..P95 },
            Drawing { quantile: f64::NAN, ..P95 },
            Drawing { confidence: 1.0, ..P95 },
            Drawing { rounds: 0, ..P95 },
        ] {
            assert_eq!(quantile(&some, drawing, &mut random), Err(Unusable::Parameter), "{drawing:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20))]
        #[test]
        fn the_interval_holds_the_measured_figure(seed in 0..1000_u64, share in 0.0..=1.0_f64) {
            let drawing = Drawing { quantile: share, rounds: 100, ..P95 };
            let found = quantile(&blocks(8, 5.0, seed), drawing, &mut SmallRng::seed_from_u64(seed)).unwrap();
            prop_assert!(found.low <= found.value && found.value <= found.high && found.low > 0.0);
        }
    }
}
