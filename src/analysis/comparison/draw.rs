//! How sure a ratio of two sides is: their blocks are drawn again and again (block bootstrap, Künsch 1989) and the ratio taken of each
//! draw. Where both sides went through the same schedule their blocks are drawn in pairs, so that the shape of the load, which they
//! share, does not count as doubt.

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use super::side::Steps;
use crate::analysis::numbers::{quantile, sorted};

/// Rounds of drawing.
const ROUNDS: usize = 300;
/// Fewest blocks with something in them on each side.
pub(super) const FEWEST: usize = 5;
/// The same runs always give the same interval.
const SEED: u64 = 0x5851_F42D_4C95_7F2D;

/// What is drawn from: one value per block that can be drawn, and how a draw becomes a figure.
pub(super) trait Drawn {
    /// Number of blocks.
    fn len(&self) -> usize;
    /// The figures of some blocks together, one per figure asked for; NaN where there is none.
    fn figures(&self, blocks: &[usize]) -> Vec<f64>;
}

/// The interval of `combine(first, second)` per figure, from the draws; `None` where too little was measured.
pub(super) fn drawn(
    (first, second): (&dyn Drawn, &dyn Drawn),
    paired: bool,
    confidence: f64,
    combine: impl Fn(f64, f64) -> f64,
) -> Vec<Option<(f64, f64)>> {
    let all: Vec<usize> = (0..first.len()).collect();
    let mut values: Vec<Vec<f64>> = vec![Vec::with_capacity(ROUNDS); first.figures(&all).len()];
    if first.len() < FEWEST || second.len() < FEWEST {
        return vec![None; values.len()];
    }
    let mut dice = Xoshiro256PlusPlus::seed_from_u64(SEED);
    let shared = first.len().min(second.len());
    for _ in 0..ROUNDS {
        let mut draw = |from: usize| -> Vec<usize> { (0..from).map(|_| dice.random_range(0..from)).collect() };
        let (a, b) = if paired {
            let both = draw(shared);
            (both.clone(), both)
        } else {
            (draw(first.len()), draw(second.len()))
        };
        for (at, (a, b)) in first.figures(&a).into_iter().zip(second.figures(&b)).enumerate() {
            values[at].extend(Some(combine(a, b)).filter(|value| value.is_finite()));
        }
    }
    let tail = (1.0 - confidence) / 2.0;
    let ends = |drawn: Vec<f64>| {
        let drawn = sorted(&drawn);
        (drawn.len() * 2 >= ROUNDS).then(|| (quantile(&drawn, tail), quantile(&drawn, 1.0 - tail)))
    };
    values.into_iter().map(ends).collect()
}

/// Latencies: each block as counts over the buckets that occur.
pub(super) struct Latencies<'q> {
    seconds: Vec<f64>,
    blocks: Vec<Vec<u64>>,
    quantiles: &'q [f64],
}

impl<'q> Latencies<'q> {
    /// Of the blocks `keep` of a step.
    pub(super) fn new(steps: &Steps, keep: &[usize], quantiles: &'q [f64]) -> Self {
        let kept = || keep.iter().filter_map(|at| steps.blocks.get(*at));
        let mut buckets: Vec<u64> = kept().flat_map(|block| block.duration.iter_us().map(|(us, _)| us)).collect();
        buckets.sort_unstable();
        buckets.dedup();
        let blocks = kept().map(|block| {
            let mut counts = vec![0; buckets.len()];
            for (us, count) in block.duration.iter_us() {
                if let Ok(at) = buckets.binary_search(&us) {
                    counts[at] += count;
                }
            }
            counts
        });
        let blocks = blocks.collect();
        Self { seconds: buckets.iter().map(|us| *us as f64 / 1e6).collect(), blocks, quantiles }
    }
}

impl Drawn for Latencies<'_> {
    fn len(&self) -> usize {
        self.blocks.len()
    }

    fn figures(&self, blocks: &[usize]) -> Vec<f64> {
        let mut sum = vec![0_u64; self.seconds.len()];
        for block in blocks.iter().filter_map(|at| self.blocks.get(*at)) {
            sum.iter_mut().zip(block).for_each(|(total, count)| *total += count);
        }
        let total: u64 = sum.iter().sum();
        let of = |quantile: f64| {
            let wanted = ((quantile * total as f64).ceil() as u64).max(1);
            let mut seen = 0;
            let found = self.seconds.iter().zip(&sum).find(|(_, count)| {
                seen += **count;
                seen >= wanted
            });
            found.map_or(f64::NAN, |(seconds, _)| *seconds)
        };
        self.quantiles.iter().map(|quantile| of(*quantile)).collect()
    }
}

/// A weighted mean: each block is (sum, weight).
pub(super) struct Means(pub(super) Vec<(f64, f64)>);

impl Drawn for Means {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn figures(&self, blocks: &[usize]) -> Vec<f64> {
        let (sum, weight) =
            blocks.iter().filter_map(|at| self.0.get(*at)).fold((0.0, 0.0), |(sum, weight), (value, own)| (sum + value, weight + own));
        vec![if weight > 0.0 { sum / weight } else { f64::NAN }]
    }
}

/// The greatest of the blocks.
pub(super) struct Peaks(pub(super) Vec<f64>);

impl Drawn for Peaks {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn figures(&self, blocks: &[usize]) -> Vec<f64> {
        vec![blocks.iter().filter_map(|at| self.0.get(*at)).copied().fold(f64::NAN, f64::max)]
    }
}
