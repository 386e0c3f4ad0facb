//! From samples to few, nearly independent points: one floor per cycle of a saw-tooth (memory between collections of garbage),
//! otherwise medians of blocks of equal time.

use serde::{Deserialize, Serialize};

use super::fall::{detrended, falls};
use crate::analysis::stats::order::{mad_of, median_of};

/// Most points.
const MOST: usize = 48;
/// Fewest falls that make a saw-tooth.
const FEWEST_FALLS: usize = 4;
/// Fewest cycles whose floors can be judged.
pub(super) const FEWEST_CYCLES: usize = 5;
/// How many samples are taken together when a saw-tooth is not seen in single ones.
const COARSER: [usize; 2] = [3, 9];
/// Fewest samples that may be left then.
const FEWEST_COARSE: usize = 200;

/// Points in the order of time.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Points {
    /// Seconds.
    pub(super) times: Vec<f64>,
    /// Values.
    pub(super) values: Vec<f64>,
}

impl Points {
    pub(super) fn len(&self) -> usize {
        self.times.len()
    }

    /// Seconds from the first to the last point.
    pub(super) fn span(&self) -> f64 {
        self.times.last().zip(self.times.first()).map_or(0.0, |(last, first)| last - first)
    }

    /// Places of the points from 0 (the first) to 1 (the last).
    pub(super) fn places(&self) -> Vec<f64> {
        let (first, span) = (self.times.first().copied().unwrap_or(0.0), self.span().max(f64::MIN_POSITIVE));
        self.times.iter().map(|time| (time - first) / span).collect()
    }

    /// Those at or after a moment.
    pub(super) fn since(&self, moment: f64) -> Self {
        let from = self.times.partition_point(|time| *time < moment);
        self.part(from, self.len())
    }

    /// Those from one index to before another.
    pub(super) fn part(&self, from: usize, to: usize) -> Self {
        Self { times: self.times[from..to].to_vec(), values: self.values[from..to].to_vec() }
    }

    /// Each `width` neighbours as one.
    pub(super) fn taken_together(&self, width: usize) -> Self {
        let mut coarse = Self::default();
        for from in (0..self.len()).step_by(width.max(1)) {
            coarse.push_group(self, from, (from + width.max(1)).min(self.len()));
        }
        coarse
    }

    fn push(&mut self, time: f64, value: f64) {
        self.times.push(time);
        self.values.push(value);
    }

    /// Adds a point for some neighbouring ones: their mean time, their median.
    fn push_group(&mut self, of: &Self, from: usize, to: usize) {
        let time = of.times[from..to].iter().sum::<f64>() / (to - from) as f64;
        self.push(time, median_of(of.values[from..to].iter().copied()));
    }
}

/// What a point stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Envelope {
    /// The floor of one cycle of a saw-tooth.
    CycleFloors,
    /// The median of a block of time.
    BlockMedians,
}

/// The points of a stretch, and how high the teeth above them are (0: no teeth).
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reduced {
    pub(super) points: Points,
    pub(super) envelope: Envelope,
    pub(super) teeth: f64,
}

/// Reduces samples in ascending time.
pub(super) fn reduce(samples: &Points) -> Reduced {
    let coarser = COARSER.into_iter().filter(|width| samples.len() / width >= FEWEST_COARSE).map(|width| samples.taken_together(width));
    for samples in std::iter::once(samples.clone()).chain(coarser) {
        let teeth = teeth(&samples.values);
        let floors = floors(&samples, &teeth);
        if floors.len() >= FEWEST_CYCLES {
            let teeth = height(&samples, &teeth);
            return Reduced { points: thin(floors), envelope: Envelope::CycleFloors, teeth };
        }
    }
    Reduced { points: blocks(samples), envelope: Envelope::BlockMedians, teeth: 0.0 }
}

/// Indexes after which a saw-tooth falls: at least four falls, deep against the whole spread; otherwise none.
fn teeth(values: &[f64]) -> Vec<usize> {
    let falls = falls(values);
    if falls.len() < FEWEST_FALLS {
        return vec![];
    }
    let depth = falls.iter().map(|fall| fall.depth).sum::<f64>() / falls.len() as f64;
    if depth > 1.2 * mad_of(&detrended(values)) { falls.into_iter().map(|fall| fall.after).collect() } else { vec![] }
}

/// One point per cycle: the time of its least value, the median of its three lowest. The first cycle is not whole and left out.
fn floors(samples: &Points, teeth: &[usize]) -> Points {
    let starts: Vec<usize> = teeth.iter().map(|at| at + 1).chain([samples.len()]).collect();
    let mut floors = Points::default();
    for cycle in starts.windows(2).map(|pair| pair[0]..pair[1]).filter(|cycle| cycle.len() >= 2) {
        let mut order: Vec<usize> = cycle.collect();
        order.sort_by(|a, b| samples.values[*a].total_cmp(&samples.values[*b]));
        let lowest = order.iter().take(3).map(|at| samples.values[*at]);
        floors.push(samples.times[order[0]], median_of(lowest));
    }
    floors
}

/// The usual height of a tooth: median over the cycles of highest minus lowest value.
fn height(samples: &Points, teeth: &[usize]) -> f64 {
    let starts: Vec<usize> = teeth.iter().map(|at| at + 1).chain([samples.len()]).collect();
    median_of(starts.windows(2).filter(|pair| pair[1] > pair[0]).map(|pair| {
        let cycle = &samples.values[pair[0]..pair[1]];
        cycle.iter().copied().fold(f64::NEG_INFINITY, f64::max) - cycle.iter().copied().fold(f64::INFINITY, f64::min)
    }))
}

/// At most [`MOST`] points: neighbours are taken together.
fn thin(points: Points) -> Points {
    let n = points.len();
    if n <= MOST {
        return points;
    }
    let mut thin = Points::default();
    let mut from = 0;
    for group in 0..MOST {
        let to = from + n / MOST + usize::from(group < n % MOST);
        thin.push_group(&points, from, to);
        from = to;
    }
    thin
}

/// Medians of blocks of equal time, four samples each or more; of few samples, the samples.
fn blocks(samples: &Points) -> Points {
    let n = samples.len();
    let count = if n >= 32 { MOST.min(n / 4) } else { n };
    let mut blocks = Points::default();
    let (Some(first), span) = (samples.times.first(), samples.span().max(f64::MIN_POSITIVE)) else { return blocks };
    let block_of = |time: f64| (((time - first) / span * count as f64) as usize).min(count - 1);
    let mut from = 0;
    while from < n {
        let block = block_of(samples.times[from]);
        let to = from + samples.times[from..].iter().take_while(|time| block_of(**time) == block).count();
        blocks.push_group(samples, from, to);
        from = to;
    }
    blocks
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    fn points(values: Vec<f64>) -> Points {
        Points { times: (0..values.len()).map(|at| at as f64 * 10.0).collect(), values }
    }

    /// A tooth of `length` samples up to 90, on a floor that rises by `rise` a sample; a little ripple.
    fn saw(n: usize, length: usize, rise: f64) -> Vec<f64> {
        (0..n).map(|at| 100.0 + (at % length) as f64 * 90.0 / length as f64 + rise * at as f64 + (at * 7 % 5) as f64 * 0.3).collect()
    }

    #[test]
    fn a_saw_tooth_becomes_its_floors() {
        let reduced = reduce(&points(saw(300, 20, 0.1)));
        assert_eq!((reduced.envelope, reduced.points.len()), (Envelope::CycleFloors, 14));
        assert!((reduced.teeth - 87.0).abs() < 3.0, "{}", reduced.teeth);
        let slopes: Vec<f64> = reduced.points.values.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(slopes.iter().all(|rise| (1.0..3.0).contains(rise)), "{slopes:?}");
        // A fall that is spread over many samples is seen in a coarser series.
        let sluggish: Vec<f64> = (0..3600).map(|at| f64::from(if at % 200 < 180 { at % 200 } else { (200 - at % 200) * 9 })).collect();
        assert_eq!(reduce(&points(sluggish)).envelope, Envelope::CycleFloors);
    }

    #[test]
    fn everything_else_becomes_blocks() {
        let mut random = SmallRng::seed_from_u64(1);
        let noise: Vec<f64> = (0..400).map(|_| random.random_range(0.0..100.0)).collect();
        let reduced = reduce(&points(noise));
        assert_eq!((reduced.envelope, reduced.points.len(), reduced.teeth), (Envelope::BlockMedians, 48, 0.0));
        assert_eq!(reduce(&points(vec![1.0; 25])).points.len(), 25);
        assert_eq!(reduce(&Points::default()).points.len(), 0);
        assert_eq!(reduce(&Points { times: vec![5.0; 50], values: vec![1.0; 50] }).points.len(), 1);
    }

    #[test]
    fn blocks_are_of_equal_time_whatever_the_rate() {
        // 10 s apart, then 1 s apart.
        let times: Vec<f64> = (0..60).map(|at| f64::from(at) * 10.0).chain((0..600).map(|at| 600.0 + f64::from(at))).collect();
        let values = vec![1.0; times.len()];
        let blocks = blocks(&Points { times, values });
        let apart: Vec<f64> = blocks.times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(apart.iter().all(|apart| (15.0..36.0).contains(apart)), "{apart:?}");
    }
}
