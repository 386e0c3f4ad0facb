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
/// Slow is so many times the lower quartile of all seconds, and at least so many seconds more.
const SLOWER: f64 = 2.5;
const SLOWER_S: f64 = 0.01;
/// Around seconds that are slow, those that are slow still: the square root of it (two thresholds, as Canny follows an edge; a target that
/// settles just below the first one is no faster).
const SLOWER_STILL: f64 = 1.6;
/// Fewest slow seconds of a burst.
const SLOW_SECONDS: usize = 3;
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
    let mut bursts = bursts(&harm);
    bursts.retain(|burst| burst.amount >= FEWEST.max(LEAST * all) && burst.amount >= LEAST * requests(burst) as f64);
    Harmed { kind: Harm::Failures, harm, bursts: largest(bursts), usual: Some(usual) }
}

fn slowness(seconds: &[Second]) -> Harmed {
    let times: Vec<f64> = seconds.iter().filter_map(|second| second.p95_s).collect();
    if times.is_empty() {
        return Harmed { kind: Harm::Slowness, harm: BTreeMap::new(), bursts: Vec::new(), usual: None };
    }
    let usual = quantile(&sorted(&times), 0.25);
    let slower = |times: f64| -> BTreeMap<u32, f64> {
        let slow = |second: &&Second| second.p95_s.is_some_and(|p95| p95 > times * usual && p95 > usual + SLOWER_S);
        seconds.iter().filter(slow).map(|second| (second.second, 1.0)).collect()
    };
    let mut harm = slower(SLOWER);
    let first = seconds.first().map_or(0, |second| second.second);
    let mut slow = bursts(&harm);
    slow.retain(|burst| burst.seconds >= SLOW_SECONDS && burst.to >= first + BEGINNING);
    let still = slower(SLOWER_STILL);
    let mut bursts = bursts(&still);
    bursts.retain(|burst| slow.iter().any(|slow| burst.contains(slow.from)));
    harm.extend(still.into_iter().filter(|(second, _)| bursts.iter().any(|burst| burst.contains(*second))));
    Harmed { kind: Harm::Slowness, harm, bursts: largest(bursts), usual: Some(usual) }
}

/// The largest bursts, in order; a long run may have any number.
fn largest(mut bursts: Vec<Burst>) -> Vec<Burst> {
    bursts.sort_by(|one, other| other.amount.total_cmp(&one.amount));
    bursts.truncate(MOST);
    bursts.sort_by_key(|burst| burst.from);
    bursts
}

fn bursts(harm: &BTreeMap<u32, f64>) -> Vec<Burst> {
    let mut bursts: Vec<Burst> = Vec::new();
    for (second, amount) in harm {
        match bursts.last_mut().filter(|last| second - last.to <= GAP + 1) {
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
