//! Seconds with harm, put together into bursts. What goes wrong all the time, at the same rate, is no burst.

use std::collections::BTreeMap;

use super::{Harm, Second};
use crate::analysis::numbers::{median, quantile, sorted};

/// Seconds without harm that do not end a burst.
const GAP: u32 = 3;
/// Fewest failures of a burst, and least share of its requests.
const FEWEST: f64 = 5.0;
const LEAST: f64 = 0.01;
/// A second is harmed when more than so many times the usual share fails.
const MORE: f64 = 3.0;
/// Slow is so many times the lower quartile of all seconds, and at least so many seconds more. Twice as long is what people notice and
/// what a queue as long as the service itself does; the floor keeps fast targets from being called slow for what a scheduler does.
const SLOWER: f64 = 2.0;
const SLOWER_S: f64 = 0.01;
/// Around seconds that are slow, those that are slow still (two thresholds, as Canny follows an edge; a target that settles just below the
/// first one is no faster).
const SLOWER_STILL: f64 = std::f64::consts::SQRT_2;
/// Where response times swing it takes more: so many standard deviations above the middle of the quiet seconds, below which the lower
/// quartile lies by the last number.
const DEVIATIONS: f64 = 3.5;
const DEVIATIONS_STILL: f64 = 2.5;
const MIDDLE: f64 = 0.674;
/// Seconds between two that are compared to see how response times swing: neighbours are alike.
const APART: usize = 5;
/// Lower quartile of the difference of two independent normal numbers, in their standard deviation. That quartile, as the seconds in
/// which nothing is wrong may be the lesser part of a run.
const QUARTER: f64 = 0.4506;
/// Fewest differences that tell how response times swing.
const DIFFERENCES: usize = 8;
/// Fewest slow seconds of a burst.
const SLOW_SECONDS: usize = 3;
/// Largest number of such bursts that would be expected if the single slow seconds of the run fell together by chance: pauses of a garbage
/// collector every few seconds are no slow target.
const BY_CHANCE: f64 = 0.01;
/// Most bursts that are explained.
const MOST: usize = 20;
/// Seconds at the beginning in which connections are opened and caches are cold: slowness that is over by then means nothing.
const BEGINNING: u32 = 5;

/// Seconds of harm that belong together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Burst {
    pub(super) from: u32,
    pub(super) to: u32,
    /// Seconds with harm.
    pub(super) seconds: usize,
    pub(super) amount: f64,
}

impl Burst {
    pub(super) fn contains(&self, second: u32) -> bool {
        (self.from..=self.to).contains(&second)
    }
}

/// All harm of one kind.
#[derive(Debug, Clone)]
pub(super) struct Harmed {
    pub(super) kind: Harm,
    /// Harm by second; seconds without are absent.
    pub(super) harm: BTreeMap<u32, f64>,
    pub(super) bursts: Vec<Burst>,
    /// What is usual: the share that fails all the time, or the response time.
    pub(super) usual: Option<f64>,
}

impl Harmed {
    pub(super) fn is(&self, second: u32) -> bool {
        self.harm.contains_key(&second)
    }

    /// The harm of a second.
    pub(super) fn of(&self, second: u32) -> f64 {
        self.harm.get(&second).copied().unwrap_or(0.0)
    }
}

pub(super) fn harmed(seconds: &[Second], harm: Harm) -> Harmed {
    match harm {
        Harm::Failures => failures(seconds),
        Harm::Slowness => slowness(seconds),
    }
}

fn failures(seconds: &[Second]) -> Harmed {
    let share = |second: &Second| second.failed as f64 / second.requests.max(1) as f64;
    let busy = || seconds.iter().filter(|second| second.requests > 0);
    let shares: Vec<f64> = busy().map(share).collect();
    let failing = busy().filter(|second| second.failed > 0).count();
    // Only when failures are always there; otherwise a burst that is longer than half of the run would be the usual.
    let usual = if failing * 10 >= shares.len() * 9 { quantile(&sorted(&shares), 0.25).min(median(&shares)) } else { 0.0 };
    let excess = |second: &&Second| second.failed > 0 && share(second) > MORE * usual;
    let mut harm: BTreeMap<u32, f64> =
        busy().filter(excess).map(|second| (second.second, second.failed as f64 - usual * second.requests as f64)).collect();
    if harm.is_empty() {
        // They fail evenly: that is to be explained as a whole.
        harm = busy().filter(|second| second.failed > 0).map(|second| (second.second, second.failed as f64)).collect();
    }
    let requests = |burst: &Burst| seconds.iter().filter(|second| burst.contains(second.second)).map(|second| second.requests).sum::<u64>();
    let all: f64 = harm.values().sum();
    let mut bursts = bursts(&harm, GAP);
    bursts.retain(|burst| burst.amount >= FEWEST.max(LEAST * all) && burst.amount >= LEAST * requests(burst) as f64);
    Harmed { kind: Harm::Failures, harm, bursts: largest(bursts), usual: Some(usual) }
}

fn slowness(seconds: &[Second]) -> Harmed {
    let times: Vec<f64> = seconds.iter().filter_map(|second| second.p95_s).collect();
    if times.is_empty() {
        return Harmed { kind: Harm::Slowness, harm: BTreeMap::new(), bursts: Vec::new(), usual: None };
    }
    let usual = quantile(&sorted(&times), 0.25);
    let slower = |factor: f64| -> BTreeMap<u32, f64> {
        let slow = |second: &&Second| second.p95_s.is_some_and(|p95| p95 > factor * usual && p95 > usual + SLOWER_S);
        seconds.iter().filter(slow).map(|second| (second.second, 1.0)).collect()
    };
    let swing = swing(&times);
    let least = |times: f64, deviations: f64| times.max(((deviations + MIDDLE) * swing).exp());
    let mut harm = slower(least(SLOWER, DEVIATIONS));
    let slow = slow_bursts(seconds, &harm);
    let still = slower(least(SLOWER_STILL, DEVIATIONS_STILL));
    let mut bursts = bursts(&still, GAP);
    bursts.retain(|burst| slow.iter().any(|slow| burst.contains(slow.from)));
    harm.extend(still.into_iter().filter(|(second, _)| bursts.iter().any(|burst| burst.contains(*second))));
    Harmed { kind: Harm::Slowness, harm, bursts: largest(bursts), usual: Some(usual) }
}

/// Slow seconds that belong together: neither the beginning of the run nor single ones that fell together.
fn slow_bursts(seconds: &[Second], harm: &BTreeMap<u32, f64>) -> Vec<Burst> {
    let first = seconds.first().map_or(0, |second| second.second);
    let measured = |burst: &Burst| seconds.iter().filter(|second| burst.contains(second.second) && second.p95_s.is_some()).count();
    let (single, lasting): (Vec<Burst>, Vec<Burst>) = bursts(harm, 0).into_iter().partition(|burst| burst.seconds < SLOW_SECONDS);
    let sum = |bursts: &[Burst]| bursts.iter().map(|burst| burst.seconds).sum::<usize>();
    let often = sum(&single) as f64 / seconds.len().saturating_sub(sum(&lasting)).max(1) as f64;
    // So many slow ones in a window that begins and ends with one, anywhere in the run: n · C(w - 2, k - 2) · p^k.
    let expected = |burst: &Burst| {
        let (slow, window) = (burst.seconds, measured(burst).max(burst.seconds));
        let ways: f64 = (0..slow - 2).map(|at| (window - 2 - at) as f64 / (at + 1) as f64).product();
        seconds.len() as f64 * ways * often.powi(i32::try_from(slow).unwrap_or(i32::MAX))
    };
    let mut slow = bursts(harm, GAP);
    slow.retain(|burst| burst.seconds >= SLOW_SECONDS && burst.to >= first + BEGINNING && expected(burst) <= BY_CHANCE);
    slow
}

/// Standard deviation of the logarithm of a response time, by what it differs from the one some seconds before: a step from fast to slow is
/// few differences of many, and neither it nor single spikes count. 0 when there are too few.
fn swing(times: &[f64]) -> f64 {
    let logs: Vec<f64> = times.iter().filter(|time| **time > 0.0).map(|time| time.ln()).collect();
    let differences: Vec<f64> = logs.windows(APART + 1).map(|span| (span[APART] - span[0]).abs()).collect();
    if differences.len() < DIFFERENCES { 0.0 } else { quantile(&sorted(&differences), 0.25) / QUARTER }
}

/// The largest bursts, in order; a long run may have any number.
fn largest(mut bursts: Vec<Burst>) -> Vec<Burst> {
    bursts.sort_by(|one, other| other.amount.total_cmp(&one.amount));
    bursts.truncate(MOST);
    bursts.sort_by_key(|burst| burst.from);
    bursts
}

/// Seconds with no more than `gap` without harm between them.
fn bursts(harm: &BTreeMap<u32, f64>, gap: u32) -> Vec<Burst> {
    let mut bursts: Vec<Burst> = Vec::new();
    for (second, amount) in harm {
        match bursts.last_mut().filter(|last| second - last.to <= gap + 1) {
            Some(last) => {
                last.to = *second;
                last.seconds += 1;
                last.amount += amount;
            }
            None => bursts.push(Burst { from: *second, to: *second, seconds: 1, amount: *amount }),
        }
    }
    bursts
}
