//! Why requests failed or became slow: for each burst of harm, which resource was saturated in those seconds and which came first, with
//! the evidence for it; or that no resource that was read explains it. A resource must be at its limit, or have callers waiting, to be
//! looked at at all: one that merely rises with the load is not. It must cover the harm, begin before it, not be saturated just as much
//! without harm, and there must be less harm at equal load without it. The method and its doubts: docs/analysis.md.

mod bursts;
pub mod finding;
mod judge;
#[cfg(test)]
mod noise;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

/// Name and version of the method.
pub const METHOD: &str = "attribution/2";
/// Fewest seconds of a run that can be judged.
const SECONDS: usize = 5;

/// One second of the load.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Second {
    /// Second of the run.
    pub second: u32,
    /// Requests that ended.
    pub requests: u64,
    /// Of these failed.
    pub failed: u64,
    /// 95th percentile of the response times in seconds; `None` when too few were answered.
    pub p95_s: Option<f64>,
    /// Load that was offered, as a share of the most that was: what the target has no hand in (VUs, starts that were due).
    pub load: f64,
}

/// What was read of a resource in one second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Seen {
    /// At its limit, or somebody had to wait for it.
    pub saturated: bool,
    /// In use.
    pub used: Option<f64>,
    /// How much there is.
    pub limit: Option<f64>,
    /// Callers waiting.
    pub waiting: Option<f64>,
}

/// A resource, second by second; a second in which it was not read is absent, and counts neither for nor against it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Resource {
    /// As sentences name it: "pool `main`".
    pub name: String,
    /// What was read.
    pub seen: BTreeMap<u32, Seen>,
}

/// What is to be explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// Requests that failed, beyond those that fail all the time.
    Failures,
    /// Seconds in which responses were slow.
    Slowness,
}

/// Harm at equal load, with and without the resource saturated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Contrast {
    /// Harm per request (of failures) or second (of slowness) with it.
    pub with: f64,
    /// The same without it.
    pub without: f64,
    /// Seconds without it that are compared.
    pub seconds: usize,
}

/// A resource that explains harm.
#[derive(Debug, Clone, PartialEq)]
pub struct Cause {
    /// Index in the list of resources.
    pub resource: usize,
    /// Its name.
    pub name: String,
    /// First and last second in which it was saturated around the harm.
    pub from: u32,
    /// See `from`.
    pub to: u32,
    /// Seconds in which it was saturated between the two, and in which it was read.
    pub seconds: usize,
    /// See `seconds`.
    pub read: usize,
    /// Share of the harm that falls into saturated seconds, or the few after them.
    pub share: f64,
    /// Share of the seconds of the run in which it was saturated, counted the same way.
    pub time: f64,
    /// Seconds by which it was saturated before the harm began; negative when it was read as such only afterwards.
    pub lead_s: i64,
    /// Harm at equal load with and without it; `None` when there is nothing to compare with.
    pub contrast: Option<Contrast>,
    /// Chance of so much overlap if the two had nothing to do with each other.
    pub p: f64,
    /// Most in use, its limit, most waiting in those seconds.
    pub used: Option<f64>,
    /// See `used`.
    pub limit: Option<f64>,
    /// See `used`.
    pub waiting: Option<f64>,
    /// Others that were saturated in about the same seconds: they cannot be told from it.
    pub alike: Vec<String>,
}

/// Why a resource is not the cause.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Why {
    /// It was never saturated.
    Never,
    /// It was hardly read in those seconds.
    Unread,
    /// It covers only this share of the harm.
    Covers(f64),
    /// It was saturated just as much without harm: this share of the seconds.
    Always(f64),
    /// It was saturated in every second in which it was read: there is nothing to compare with.
    Throughout,
    /// It was saturated only so many seconds after the harm had begun.
    Later(i64),
    /// At equal load without it there was about as much harm.
    SameWithout(Contrast),
    /// Another resource explains the harm better.
    Less,
}

/// What became of one kind of harm with one cause, or with none.
#[derive(Debug, Clone, PartialEq)]
pub struct Attribution {
    /// What is explained.
    pub harm: Harm,
    /// First and last second of it.
    pub from: u32,
    /// See `from`.
    pub to: u32,
    /// Seconds with harm.
    pub seconds: usize,
    /// Failures in them, or seconds that were slow.
    pub amount: f64,
    /// Share of all failures of the run, or of all slow seconds.
    pub of_all: f64,
    /// Response times: of the slow seconds, and before (lower quartile); `None` of failures.
    pub p95_s: Option<(f64, f64)>,
    /// The resource that explains it.
    pub cause: Option<Cause>,
    /// The others, and why not.
    pub others: Vec<(String, Why)>,
}

/// Explains what can be. `lag_s` is how many seconds after a saturated one a request that suffered from it may end. Without a resource
/// nothing is said.
pub fn attribute(seconds: &[Second], resources: &[Resource], lag_s: u32) -> Vec<Attribution> {
    if seconds.len() < SECONDS || resources.iter().all(|resource| resource.seen.is_empty()) {
        return Vec::new();
    }
    let mut all = Vec::new();
    for harm in [Harm::Failures, Harm::Slowness] {
        let harmed = bursts::harmed(seconds, harm);
        let mut found: Vec<(Option<usize>, Vec<judge::Judged>)> = Vec::new();
        for burst in &harmed.bursts {
            let judged = judge::judge(seconds, &harmed, burst, resources, lag_s);
            let cause = judged.cause.as_ref().map(|cause| cause.resource);
            match found.iter_mut().find(|(known, _)| *known == cause) {
                Some((_, same)) => same.push(judged),
                None => found.push((cause, vec![judged])),
            }
        }
        all.extend(found.into_iter().filter_map(|(_, judged)| together(harm, judged, &harmed, seconds)));
    }
    all
}

/// Bursts with the same cause become one.
fn together(harm: Harm, judged: Vec<judge::Judged>, harmed: &bursts::Harmed, seconds: &[Second]) -> Option<Attribution> {
    let total: f64 = harmed.harm.values().sum();
    let amount: f64 = judged.iter().map(|one| one.burst.amount).sum();
    let slow = judged.iter().flat_map(|one| seconds.iter().filter(|second| one.burst.contains(second.second) && harmed.is(second.second)));
    let worst = slow.filter_map(|second| second.p95_s).reduce(f64::max);
    let (from, to) = (judged.iter().map(|one| one.burst.from).min()?, judged.iter().map(|one| one.burst.to).max()?);
    let count = judged.iter().map(|one| one.burst.seconds).sum();
    let mut judged = judged.into_iter();
    let first = judged.next()?;
    let (mut cause, others, mut weight) = (first.cause, first.others, first.burst.amount);
    for one in judged {
        if let (Some(all), Some(more)) = (&mut cause, one.cause) {
            all.add(&more, weight, one.burst.amount);
        }
        weight += one.burst.amount;
    }
    Some(Attribution {
        harm,
        from,
        to,
        seconds: count,
        amount,
        of_all: if total > 0.0 { amount / total } else { 1.0 },
        p95_s: if harm == Harm::Slowness { worst.zip(harmed.usual) } else { None },
        cause,
        others,
    })
}

impl Cause {
    /// Adds what it did to another burst. The doubt is that of the burst that is explained worst.
    fn add(&mut self, other: &Self, weight: f64, added: f64) {
        let most = |one: Option<f64>, other: Option<f64>| one.into_iter().chain(other).reduce(f64::max);
        self.from = self.from.min(other.from);
        self.to = self.to.max(other.to);
        self.seconds += other.seconds;
        self.read += other.read;
        self.share = (self.share * weight + other.share * added) / (weight + added).max(f64::MIN_POSITIVE);
        self.lead_s = self.lead_s.min(other.lead_s);
        self.contrast = self.contrast.or(other.contrast);
        self.p = self.p.max(other.p);
        self.used = most(self.used, other.used);
        self.limit = most(self.limit, other.limit);
        self.waiting = most(self.waiting, other.waiting);
    }
}
