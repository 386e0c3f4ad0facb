//! Safe, peak, breaking: which level each of them is, what stands against the next, and how far the truth may lie from the level.

use super::beyond::{Estimate, estimates};
use super::bottleneck::Bottleneck;
use super::criteria::{Criterion, Outcome};
use super::{Judged, Level, Plan};
use crate::analysis::numbers::{Span, bootstrap, median, resample};

/// Levels with a throughput of this share of the highest do as much as it.
const AS_MUCH: f64 = 0.98;
/// Windows that tell an interval of the throughput.
const WINDOWS: usize = 6;
const ROUNDS: usize = 400;
const CONFIDENCE: f64 = 0.95;
const SEED: u64 = 0x1234_5678_9ABC_DEF1;

/// The highest level that meets everything that is asked of a safe one, no lower level having missed it.
#[derive(Debug, Clone, PartialEq)]
pub struct Safe {
    /// Index of the level.
    pub at: usize,
    /// Its load.
    pub load: f64,
    /// From it to the first level that missed something; the upper end is infinite when none did.
    pub interval: Span,
    /// What that level missed.
    pub missed: Vec<Criterion>,
    /// Loads of levels at which too little was measured to say.
    pub unsure: Vec<f64>,
}

/// The highest throughput.
#[derive(Debug, Clone, PartialEq)]
pub struct Peak {
    /// Index of the lowest level that does as much.
    pub at: usize,
    /// Its load.
    pub load: f64,
    /// Successful requests a second.
    pub throughput: f64,
    /// 95 % interval of that, from the windows of the level; `None` with fewer than six.
    pub interval: Option<Span>,
    /// True when more load was tried and brought no more; otherwise the peak lies at this level or beyond.
    pub reached: bool,
}

/// From where on it breaks.
#[derive(Debug, Clone, PartialEq)]
pub enum Breaking {
    /// It broke in the test.
    Measured {
        /// Index of the first level that broke.
        at: usize,
        /// Its load.
        load: f64,
        /// From the level before to this one.
        interval: Span,
        /// What gave way.
        broken: Vec<Criterion>,
    },
    /// It did not; the loads are estimates.
    Beyond {
        /// Highest load that was tested.
        tested: f64,
        /// What would give way, the first first; empty when nothing can be said.
        estimates: Vec<Estimate>,
    },
}

pub(super) fn safe(levels: &[Judged]) -> Option<Safe> {
    let missed = |level: &Judged| !level.broken.is_empty() || level.criteria.iter().any(|criterion| criterion.outcome == Outcome::Missed);
    let met = |level: &Judged| level.criteria.iter().all(|criterion| criterion.outcome == Outcome::Met);
    let end = levels.iter().position(missed).unwrap_or(levels.len());
    let at = levels[..end].iter().rposition(met)?;
    let next = levels.get(end);
    let mut against: Vec<Criterion> = next.map(|next| next.criteria.clone()).unwrap_or_default();
    against.retain(|criterion| criterion.outcome == Outcome::Missed);
    if against.is_empty() {
        against = next.map(|next| next.broken.clone()).unwrap_or_default();
    }
    Some(Safe {
        at,
        load: levels[at].load,
        interval: Span { low: levels[at].load, high: next.map_or(f64::INFINITY, |next| next.load) },
        missed: against,
        unsure: levels[..end].iter().filter(|level| !met(level)).map(|level| level.load).collect(),
    })
}

pub(super) fn peak(levels: &[&Level]) -> Option<Peak> {
    let of = |level: &Level| {
        let windows: Vec<f64> = level.windows.iter().map(|window| window.throughput).filter(|value| value.is_finite()).collect();
        if windows.len() < WINDOWS { (level.throughput, None) } else { (median(&windows), Some(windows)) }
    };
    let best = levels.iter().map(|level| of(level).0).fold(0.0, f64::max);
    let at = levels.iter().position(|level| of(level).0 >= AS_MUCH * best)?;
    let (throughput, windows) = of(levels[at]);
    let interval = windows.and_then(|windows| bootstrap(ROUNDS, CONFIDENCE, SEED, |dice| Some(median(&resample(&windows, dice)))));
    let reached = levels.last().is_some_and(|last| last.load > levels[at].load);
    Some(Peak { at, load: levels[at].load, throughput, interval, reached })
}

pub(super) fn breaking(levels: &[&Level], judged: &[Judged], bottlenecks: &[Bottleneck], plan: &Plan) -> Option<Breaking> {
    let tested = judged.last()?.load;
    let Some(at) = judged.iter().position(|level| !level.broken.is_empty()) else {
        return Some(Breaking::Beyond { tested, estimates: estimates(levels, bottlenecks, plan) });
    };
    let below = at.checked_sub(1).map_or(0.0, |below| judged[below].load);
    let load = judged[at].load;
    Some(Breaking::Measured { at, load, interval: Span { low: below, high: load }, broken: judged[at].broken.clone() })
}
