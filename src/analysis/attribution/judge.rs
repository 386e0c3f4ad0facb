//! Whether a resource explains a burst: how much of the harm its saturated seconds cover, how often it was saturated anyway, which of the
//! two came first, what happened at equal load without it, and what chance would have made of it.

use std::collections::BTreeMap;

use super::bursts::{Burst, Harmed};
use super::{Cause, Contrast, Harm, Resource, Second, Why};
use crate::analysis::numbers::{quantile, sorted};

/// Least share of the harm in seconds in which the resource was read.
const READ: f64 = 0.5;
/// Least share of the harm that a cause covers.
const COVERS: f64 = 0.5;
/// Seconds by which saturation may be read after the first harm: both are told by the second.
const LATE: i64 = 1;
/// Share of a burst's harm that marks its beginning: a stray failure before does not.
const BEGINS: f64 = 0.02;
/// Least times more harm with a cause than at equal load without it.
const TIMES: f64 = 3.0;
/// Fewest seconds without it that are worth comparing with.
const COMPARED: usize = 3;
/// Largest chance of such an overlap without a connection.
const CHANCE: f64 = 0.1;
/// Loads that differ by less than this factor count as equal.
const EQUAL: f64 = 1.25;
/// Of two resources whose evidence differs by less, neither is the better explanation.
const ALIKE: f64 = 0.1;
/// A queue of fewer is none that can be told from a shorter one.
const FEWEST_WAITING: f64 = 1.0;

/// What is said of one burst.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) burst: Burst,
    pub(super) cause: Option<Cause>,
    pub(super) others: Vec<(String, Why)>,
}

/// The evidence for one resource.
struct Evidence {
    cause: Cause,
    /// Share of the harm less the share of harmless seconds that it covers.
    score: f64,
}

/// Judges all resources; the best that stands up to it is the cause.
pub(super) fn judge(seconds: &[Second], harmed: &Harmed, burst: &Burst, resources: &[Resource], lag_s: u32) -> Judged {
    // Other bursts may have other causes: they do not speak for or against this one.
    let elsewhere = |second: u32| harmed.bursts.iter().any(|other| other != burst && other.contains(second));
    let stage: Vec<Second> = seconds.iter().filter(|second| !elsewhere(second.second)).copied().collect();
    let (mut standing, mut others) = (Vec::new(), Vec::new());
    for (index, resource) in resources.iter().enumerate().filter(|(_, resource)| !resource.seen.is_empty()) {
        let found = evidence(&stage, harmed, burst, (index, resource), lag_s).or_else(|why| {
            let queue = queueing(harmed, burst, resource).filter(|_| matches!(why, Why::Always(_) | Why::Throughout));
            let again = queue.and_then(|queue| evidence(&stage, harmed, burst, (index, &queue), lag_s).ok());
            // The second look at the same seconds has to be twice as clear.
            again.filter(|again| again.cause.p <= CHANCE / 2.0).ok_or(why)
        });
        match found {
            Ok(evidence) => standing.push(evidence),
            Err(why) => others.push((resource.name.clone(), why)),
        }
    }
    let near = |one: &Evidence, other: &Evidence| (one.score - other.score).abs() < ALIKE;
    // The best; of those that are about as good the one that was saturated first.
    let best = standing.iter().map(|one| one.score).fold(f64::NEG_INFINITY, f64::max);
    let chosen = (0..standing.len()).filter(|at| best - standing[*at].score < ALIKE).max_by_key(|at| standing[*at].cause.lead_s);
    let Some(chosen) = chosen else { return Judged { burst: *burst, cause: None, others } };
    let chosen = standing.swap_remove(chosen);
    let (alike, less): (Vec<Evidence>, Vec<Evidence>) = standing.into_iter().partition(|one| near(one, &chosen));
    others.extend(less.into_iter().map(|one| (one.cause.name, Why::Less)));
    let cause = Cause { alike: alike.into_iter().map(|one| one.cause.name).collect(), ..chosen.cause };
    Judged { burst: *burst, cause: Some(cause), others }
}

/// The resource as if it were saturated only where at least half as many waited for it as do in the harm. A pool is full for a while
/// before its queue is so long that callers give up: what it did not do then does not speak for it. `None` when its queue was no shorter
/// at other times, or is not read.
fn queueing(harmed: &Harmed, burst: &Burst, resource: &Resource) -> Option<Resource> {
    let inside = harmed.harm.range(burst.from..=burst.to).filter_map(|(second, _)| resource.seen.get(second)?.waiting);
    let waiting = sorted(&inside.collect::<Vec<f64>>());
    let least = if waiting.is_empty() { 0.0 } else { quantile(&waiting, 0.25) / 2.0 };
    if least < FEWEST_WAITING {
        return None;
    }
    let mut queue = resource.clone();
    for seen in queue.seen.values_mut() {
        seen.saturated &= seen.waiting.is_some_and(|waiting| waiting >= least);
    }
    (queue != *resource).then_some(queue)
}

/// The state of a resource by second, as far as it was read: saturated now or within the lag before.
fn covered(stage: &[Second], resource: &Resource, lag_s: u32) -> BTreeMap<u32, bool> {
    let state = |second: u32| {
        let mut within = resource.seen.range(second.saturating_sub(lag_s)..=second).peekable();
        within.peek()?;
        let saturated = within.any(|(_, seen)| seen.saturated);
        // Not saturated is known of a second that was read itself.
        (saturated || resource.seen.contains_key(&second)).then_some(saturated)
    };
    stage.iter().filter_map(|second| Some((second.second, state(second.second)?))).collect()
}

fn evidence(stage: &[Second], harmed: &Harmed, burst: &Burst, (index, resource): (usize, &Resource), lag_s: u32) -> Result<Evidence, Why> {
    if !resource.seen.values().any(|seen| seen.saturated) {
        return Err(Why::Never);
    }
    let covered = covered(stage, resource, lag_s);
    let inside: Vec<(f64, Option<bool>)> = stage
        .iter()
        .filter(|second| burst.contains(second.second))
        .map(|second| (harmed.of(second.second), covered.get(&second.second).copied()))
        .collect();
    let sum =
        |wanted: &dyn Fn(Option<bool>) -> bool| inside.iter().filter(|(_, state)| wanted(*state)).fold(0.0, |sum, (harm, _)| sum + harm);
    let (known, with) = (sum(&|state| state.is_some()), sum(&|state| state == Some(true)));
    if known < READ * burst.amount || known <= 0.0 {
        return Err(Why::Unread);
    }
    let share = with / known;
    if share < COVERS {
        return Err(Why::Covers(share));
    }
    let (lead_s, onset) = lead(harmed, burst, resource, lag_s).ok_or(Why::Covers(share))?;
    if lead_s < -LATE {
        return Err(Why::Later(-lead_s));
    }
    let time = share_of(covered.values().copied());
    if covered.values().all(|saturated| *saturated) {
        return Err(Why::Throughout);
    }
    let harmless = share_of(covered.iter().filter(|(second, _)| !harmed.is(**second)).map(|(_, state)| *state));
    let p = chance(stage, harmed, burst, &covered, share);
    if p > CHANCE {
        return Err(Why::Always(harmless));
    }
    let contrast = contrast(stage, harmed, &covered, (lead_s < 0).then_some(onset));
    if let Some(contrast) = contrast.filter(|contrast| contrast.with < TIMES * contrast.without) {
        return Err(Why::SameWithout(contrast));
    }
    let cause = around((index, resource), burst, onset);
    Ok(Evidence { score: share - harmless, cause: Cause { share, time, lead_s, contrast, p, ..cause } })
}

fn share_of(states: impl Iterator<Item = bool>) -> f64 {
    let (all, saturated) = states.fold((0_u32, 0_u32), |(all, saturated), state| (all + 1, saturated + u32::from(state)));
    f64::from(saturated) / f64::from(all.max(1))
}

/// Seconds by which saturation came before the harm, and the second from which on it lasted.
fn lead(harmed: &Harmed, burst: &Burst, resource: &Resource, lag_s: u32) -> Option<(i64, u32)> {
    let mut so_far = 0.0;
    let begins = harmed.harm.range(burst.from..=burst.to).find(|(_, harm)| {
        so_far += **harm;
        so_far >= BEGINS * burst.amount
    });
    let begins = *begins?.0;
    let mut saturated = resource.seen.range(burst.from.saturating_sub(lag_s)..=burst.to).filter(|(_, seen)| seen.saturated);
    let first = *saturated.next()?.0;
    // Back to where this saturation began.
    let before = resource.seen.range(..first).rev().take_while(|(_, seen)| seen.saturated).last();
    let onset = before.map_or(first, |(second, _)| *second);
    Some((i64::from(begins) - i64::from(onset), onset))
}

/// What the resource was like from the beginning of its saturation to the end of the burst.
fn around((index, resource): (usize, &Resource), burst: &Burst, onset: u32) -> Cause {
    let span = || resource.seen.range(onset..=burst.to.max(onset));
    let saturated = || span().filter(|(_, seen)| seen.saturated);
    let most = |value: fn(&super::Seen) -> Option<f64>| saturated().filter_map(|(_, seen)| value(seen)).reduce(f64::max);
    let to = saturated().next_back().map_or(onset, |(second, _)| *second);
    Cause {
        resource: index,
        name: resource.name.clone(),
        from: onset,
        to,
        seconds: saturated().count(),
        read: resource.seen.range(onset..=to).count(),
        share: 0.0,
        time: 0.0,
        lead_s: 0,
        contrast: None,
        p: 1.0,
        used: most(|seen| seen.used),
        limit: most(|seen| seen.limit),
        waiting: most(|seen| seen.waiting),
        alike: Vec::new(),
    }
}

/// Harm per request, or per second, with and without it, over seconds of equal load (Mantel and Haenszel's weights). `late`: it was read
/// as saturated from this second on, after the harm had begun.
fn contrast(stage: &[Second], harmed: &Harmed, covered: &BTreeMap<u32, bool>, late: Option<u32>) -> Option<Contrast> {
    #[derive(Default)]
    struct Stratum {
        with: (f64, f64),
        without: (f64, f64),
        seconds: usize,
    }
    let mut strata: BTreeMap<i32, Stratum> = BTreeMap::new();
    for second in stage.iter().filter(|second| second.load > 0.0) {
        let Some(saturated) = covered.get(&second.second) else { continue };
        if late.is_some_and(|onset| second.second < onset && i64::from(second.second) + LATE >= i64::from(onset)) {
            // The harm began in the second before the reading: it may have been saturated by then, so that second says nothing.
            continue;
        }
        let stratum = strata.entry((second.load.ln() / EQUAL.ln()).round() as i32).or_default();
        let exposed = match harmed.kind {
            Harm::Failures => second.requests as f64,
            Harm::Slowness => 1.0,
        };
        let side = if *saturated { &mut stratum.with } else { &mut stratum.without };
        *side = (side.0 + harmed.of(second.second), side.1 + exposed);
        stratum.seconds += usize::from(!saturated);
    }
    let both = || strata.values().filter(|stratum| stratum.with.1 > 0.0 && stratum.without.1 > 0.0);
    let seconds: usize = both().map(|stratum| stratum.seconds).sum();
    if seconds < COMPARED {
        return None;
    }
    let weight = |stratum: &Stratum| stratum.with.1 * stratum.without.1 / (stratum.with.1 + stratum.without.1);
    let weights: f64 = both().map(weight).sum();
    let rate = |side: fn(&Stratum) -> (f64, f64)| {
        both().map(|stratum| weight(stratum) * side(stratum).0 / side(stratum).1).sum::<f64>() / weights.max(f64::MIN_POSITIVE)
    };
    let contrast = Contrast { with: rate(|stratum| stratum.with), without: rate(|stratum| stratum.without), seconds };
    // Loads without harm on either side say nothing of it.
    Some(contrast).filter(|contrast| contrast.with > 0.0 || contrast.without > 0.0)
}

/// Share of all shifts of the resource's course against the load's that cover as much of the harm, and begin as near to its beginning:
/// neighbouring seconds are alike, so that counting them one by one would find a connection everywhere.
fn chance(stage: &[Second], harmed: &Harmed, burst: &Burst, covered: &BTreeMap<u32, bool>, share: f64) -> f64 {
    let n = stage.len();
    let states: Vec<Option<bool>> = stage.iter().map(|second| covered.get(&second.second).copied()).collect();
    let harm: Vec<(usize, f64)> = stage
        .iter()
        .enumerate()
        .filter(|(_, second)| burst.contains(second.second) && harmed.is(second.second))
        .map(|(at, second)| (at, harmed.of(second.second)))
        .collect();
    let Some((begins, _)) = harm.first().copied() else { return 1.0 };
    let as_much = |shift: usize| {
        let (mut with, mut known) = (0.0, 0.0);
        for (at, harm) in &harm {
            let state = states[(at + shift) % n];
            known += if state.is_some() { *harm } else { 0.0 };
            with += if state == Some(true) { *harm } else { 0.0 };
        }
        known > 0.0 && with / known >= share - 1e-9
    };
    let near = away(&states, begins).unwrap_or(n);
    // Of a long run a thousand shifts tell enough.
    let step = (n / 1000).max(1);
    let shifts = (0..n).step_by(step);
    let count = shifts.clone().count().max(1);
    let fits = |shift: &usize| away(&states, (begins + shift) % n).is_some_and(|away| away <= near) && as_much(*shift);
    shifts.filter(fits).count() as f64 / count as f64
}

/// Seconds between the beginning of harm and that of the saturation around it, or of the next one; `None` when there is none.
fn away(states: &[Option<bool>], begins: usize) -> Option<usize> {
    let n = states.len();
    let at = |back: usize| states[(begins + n - back % n) % n];
    if at(0) == Some(false) {
        return (1..n).find(|ahead| states[(begins + ahead) % n] == Some(true));
    }
    // Seconds that were not read end nothing.
    let before = (1..n).take_while(|back| at(*back) != Some(false)).filter(|back| at(*back) == Some(true)).last();
    before.or((at(0) == Some(true)).then_some(0))
}
