//! Gathers what `analysis::attribution` asks of a run: its seconds, what was said of failures, and every resource that can be at its
//! limit; and tells what it answers, with the size that a full pool would need. Bounded in memory. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::super::summary::{duration_of, is_open};
use super::needs;
use super::pools::Pools;
use crate::analysis::attribution::finding::{Beside, of_attribution, slowness_beside};
use crate::analysis::attribution::{Attribution, Harm, Resource, Second, Seen, attribute};
use crate::model::alerting::Severity;
use crate::model::analysed::{CauseFound, NeedFound};
use crate::model::catalog::Catalog;
use crate::model::finding::{Evidence, Finding};
use crate::model::histogram::LatencyHistogram;
use crate::model::measure::Interval;
use crate::model::message::essence;
use crate::model::run::RunId;
use crate::model::series::Reading;
use crate::model::units::{Timestamp, format_percent};

pub(super) use crate::analysis::attribution::METHOD;

/// Seconds that are kept: eleven hours.
const MOST_SECONDS: usize = 40_000;
/// Different messages, and entries of messages by second.
const MOST_TEXTS: usize = 200;
const MOST_SAID: usize = 100_000;
/// Resources besides pools.
const MOST_RESOURCES: usize = 32;
/// Fewest answered requests of a second whose percentile means something.
const ANSWERED: u64 = 5;
/// Longest time after a saturated second in which a request may fail for it, in seconds.
const LONGEST_LAG: f64 = 10.0;

/// Metrics besides those of pools that tell that a resource is at its limit: from which value on, and what it is called.
const AT_LIMIT: &[(&str, f64, &str)] = &[
    ("process_descriptors_ratio", 0.99, "file descriptors"),
    ("cgroup_cpu_utilization", 0.98, "CPU limit"),
    ("cgroup_throttled", 0.25, "CPU quota"),
    ("cgroup_memory_ratio", 0.99, "memory limit"),
    ("redis_memory_ratio", 0.99, "memory of Redis"),
    ("pg_lock_waiting", 1.0, "row locks"),
    ("mysql_lock_waiting", 1.0, "row locks"),
];

/// One second of the load.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Load {
    pub(super) second: u32,
    pub(super) requests: u64,
    pub(super) failed: u64,
    p95_s: Option<f64>,
    /// Requests of open scenarios that were due.
    pub(super) open: f64,
    /// VUs.
    pub(super) vus: u64,
    /// Of them those of closed loops.
    pub(super) closed: u64,
    /// Requests of closed loops, and the seconds that they took together.
    pub(super) asked: u64,
    pub(super) answer_s: f64,
}

/// What was seen of a run so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Reasons {
    pub(super) seconds: Vec<Load>,
    /// The load of each scenario, second after second.
    loads: Vec<f32>,
    scenarios: usize,
    /// Examples of messages by fingerprint.
    texts: BTreeMap<String, (u16, String)>,
    /// Second, message, failures.
    said: Vec<(u32, u16, u64)>,
    failed: LatencyHistogram,
    others: BTreeMap<(String, &'static str), BTreeMap<u32, Seen>>,
}

/// What is told.
#[derive(Debug, Clone, Default)]
pub(super) struct Told {
    pub(super) findings: Vec<Finding>,
    pub(super) causes: Vec<CauseFound>,
    pub(super) needs: Vec<NeedFound>,
    /// Probe and name of the pools that are told of.
    pub(super) pools: BTreeSet<(String, String)>,
}

impl Told {
    /// Adds a need; of a pool that did harm more than once the largest stays.
    fn need(&mut self, need: NeedFound) {
        match self.needs.iter_mut().find(|known| (&known.probe, &known.pool) == (&need.probe, &need.pool)) {
            Some(known) if known.connections.value >= need.connections.value => {}
            Some(known) => *known = need,
            None => self.needs.push(need),
        }
    }
}

impl Reasons {
    /// Adds one second; they come in order.
    pub(super) fn interval(&mut self, catalog: &Catalog, interval: &Interval) {
        if self.seconds.len() >= MOST_SECONDS {
            return;
        }
        let mut load = Load { second: interval.second, ..Load::default() };
        let mut duration = LatencyHistogram::default();
        for step in interval.steps.values() {
            load.requests += step.requests();
            load.failed += step.failed();
            let open = is_open(catalog, step.step);
            load.open += if open { step.requests() as f64 } else { 0.0 };
            let took = duration_of(step, open);
            if !open && let Some(mean) = took.mean() {
                // Those that were not answered are taken to have lasted as long.
                load.asked += step.requests();
                load.answer_s += mean.as_secs_f64() * step.requests() as f64;
            }
            duration.merge(&took);
            self.failed.merge(&step.response_failed);
            for (print, said) in step.messages.values().flat_map(|messages| &messages.by) {
                self.said(interval.second, print, &said.sample, said.count);
            }
        }
        let (mut scheduled, mut started) = (0, 0);
        self.scenarios = catalog.scenarios.len();
        for (index, meta) in catalog.scenarios.iter().enumerate() {
            let now = interval.scenarios.get(&(index as u16));
            load.vus += now.map_or(0, |now| now.vus);
            load.closed += now.map_or(0, |now| if meta.open { 0 } else { now.vus });
            if meta.open {
                scheduled += now.map_or(0, |now| now.counts.scheduled);
                started += now.map_or(0, |now| now.counts.started);
            }
            let offered = now.map_or(0, |now| if meta.open { now.counts.scheduled } else { now.vus });
            self.loads.push(offered as f32);
        }
        // Starts that were dropped would have made requests, too.
        load.open *= if started > 0 { (scheduled as f64 / started as f64).max(1.0) } else { 1.0 };
        load.p95_s = duration.quantile(0.95).filter(|_| duration.count() >= ANSWERED).map(|time| time.as_secs_f64());
        self.seconds.push(load);
    }

    fn said(&mut self, second: u32, print: &str, sample: &str, count: u64) {
        if sample.is_empty() || count == 0 || self.said.len() >= MOST_SAID {
            return;
        }
        let next = self.texts.len();
        let known = self.texts.get(print).map(|(index, _)| *index);
        let index = known.or_else(|| {
            let index = u16::try_from(next).ok().filter(|_| next < MOST_TEXTS)?;
            self.texts.insert(print.to_owned(), (index, sample.to_owned()));
            Some(index)
        });
        self.said.extend(index.map(|index| (second, index, count)));
    }

    /// Adds one reading.
    pub(super) fn reading(&mut self, reading: &Reading) {
        let (Ok(points), Some(second)) = (&reading.points, reading.second) else { return };
        for point in points {
            let Some((_, limit, name)) = AT_LIMIT.iter().find(|(metric, ..)| *metric == point.metric) else { continue };
            let key = (reading.probe.clone(), *name);
            if self.others.len() >= MOST_RESOURCES && !self.others.contains_key(&key) {
                continue;
            }
            let seen = self.others.entry(key).or_default().entry(second).or_default();
            seen.saturated |= point.value >= *limit;
        }
    }

    /// The seconds as the method wants them.
    fn course(&self) -> Vec<Second> {
        let mut most = vec![0.0_f32; self.scenarios];
        for load in self.loads.chunks_exact(self.scenarios.max(1)) {
            most.iter_mut().zip(load).for_each(|(most, load)| *most = most.max(*load));
        }
        let counted = most.iter().filter(|most| **most > 0.0).count().max(1) as f64;
        let share = |load: &[f32]| {
            let shares = load.iter().zip(&most).filter(|(_, most)| **most > 0.0).map(|(load, most)| f64::from(load / most));
            shares.sum::<f64>() / counted
        };
        let loads = self.loads.chunks_exact(self.scenarios.max(1));
        let each = self.seconds.iter().zip(loads);
        each.map(|(load, offered)| Second {
            second: load.second,
            requests: load.requests,
            failed: load.failed,
            p95_s: load.p95_s,
            load: share(offered),
        })
        .collect()
    }

    /// What explains the failures and slow seconds of the run.
    pub(super) fn told(&self, run: &RunId, at: Timestamp, pools: &Pools) -> Told {
        let (keys, resources) = self.resources(pools);
        let lag = self.failed.quantile(0.95).map_or(0.0, |time| time.as_secs_f64().ceil());
        let lag_s = 1 + lag.min(LONGEST_LAG) as u32;
        let found = attribute(&self.course(), &resources, lag_s);
        let mut told = Told::default();
        for one in &found {
            let key = one.cause.as_ref().and_then(|cause| keys.get(cause.resource)).and_then(Option::as_ref);
            if found.iter().any(|other| is_the_same(one, other)) {
                continue;
            }
            let need = key.and_then(|key| needs::of(self, pools, key, one.cause.as_ref().map(|cause| (cause.from, cause.to))));
            let said = if one.harm == Harm::Failures { self.said_between(one.from, one.to) } else { None };
            told.causes.push(cause_found(one, said.as_ref()));
            let beside = Beside { said, need: need.as_ref().map(|need| (needs::sentence(need), needs::evidence(need))) };
            let mut finding = of_attribution(run, at, one, key.is_some(), &beside);
            let slow = found.iter().filter(|other| is_the_same(other, one)).filter_map(|other| Some((other, other.cause.as_ref()?)));
            finding.evidence.extend(slow.map(|(other, cause)| slowness_beside(other, cause)));
            if let Some(key) = key {
                take_over(&mut finding, one, key, pools);
                told.pools.insert(key.clone());
            }
            told.findings.push(finding);
            if let Some(need) = need {
                told.need(need);
            }
        }
        told
    }

    /// Every resource, with probe and name of those that are pools.
    fn resources(&self, pools: &Pools) -> (Vec<Option<(String, String)>>, Vec<Resource>) {
        let mut keys = Vec::new();
        let mut resources = Vec::new();
        let several = pools.all().map(|((_, pool), _)| pool).collect::<BTreeSet<_>>().len() < pools.all().count();
        for ((probe, pool), seconds) in pools.all() {
            let seen = |one: &crate::analysis::pool::PoolSecond| Seen {
                saturated: one.is_exhausted(),
                used: one.in_use,
                limit: one.limit.filter(|limit| *limit > 0.0),
                waiting: one.waiting,
            };
            let name = if several { format!("pool `{pool}` (probe {probe})") } else { format!("pool `{pool}`") };
            keys.push(Some((probe.clone(), pool.clone())));
            resources.push(Resource { name, seen: seconds.iter().map(|one| (one.second, seen(one))).collect() });
        }
        for ((probe, name), seen) in &self.others {
            keys.push(None);
            resources.push(Resource { name: format!("{name} of `{probe}`"), seen: seen.clone() });
        }
        (keys, resources)
    }

    /// What was said most often between two seconds, and the share of the failures that say it.
    fn said_between(&self, from: u32, to: u32) -> Option<(String, f64)> {
        let mut counts: BTreeMap<u16, u64> = BTreeMap::new();
        for (_, index, count) in self.said.iter().filter(|(second, ..)| (from..=to).contains(second)) {
            *counts.entry(*index).or_default() += count;
        }
        let (most, count) = counts.into_iter().max_by_key(|(index, count)| (*count, u16::MAX - index))?;
        let failed: u64 = self.seconds.iter().filter(|load| (from..=to).contains(&load.second)).map(|load| load.failed).sum();
        let (_, sample) = self.texts.values().find(|(index, _)| *index == most)?;
        Some((essence(sample), count as f64 / failed.max(count).max(1) as f64))
    }
}

/// Slowness that failures explain with the same resource in the same seconds: it is what failures look like before they fail.
fn is_the_same(slow: &Attribution, failed: &Attribution) -> bool {
    let both = slow.harm == Harm::Slowness && failed.harm == Harm::Failures;
    let causes = slow.cause.as_ref().zip(failed.cause.as_ref()).filter(|_| both);
    causes.is_some_and(|(one, other)| one.resource == other.resource && one.from <= other.to && other.from <= one.to)
}

/// What else is known of a pool that did harm: its probe, when it was full in the whole run, and, where it made requests slow, the share of
/// the failures that fall into that time. It is told once, so that nothing of it may be lost.
fn take_over(finding: &mut Finding, one: &Attribution, key: &(String, String), pools: &Pools) {
    finding.evidence.insert(0, Evidence { name: "probe".into(), value: key.0.clone() });
    let Some(full) = pools.full(key) else { return };
    if one.cause.as_ref().is_some_and(|cause| (cause.from, cause.to) != (full.from, full.to)) {
        let value = format!("{} of {} readings, from second {} to {}", full.seconds, full.readings, full.from, full.to);
        finding.evidence.insert(1, Evidence { name: "full, or waited for, in the whole run".into(), value });
    }
    let Some(share) = full.failures_share.filter(|share| one.harm == Harm::Slowness && *share > 0.0) else { return };
    finding.evidence.insert(1, Evidence { name: "failures in full seconds".into(), value: format_percent(share) });
    if share > 0.5 {
        finding.severity = finding.severity.max(Severity::High);
        let share = format_percent((share * 100.0).round() / 100.0);
        finding.title.push_str(&format!(" {share} of all failures fall into seconds in which it was full."));
    }
}

fn cause_found(one: &Attribution, said: Option<&(String, f64)>) -> CauseFound {
    let cause = one.cause.as_ref();
    CauseFound {
        harm: match one.harm {
            Harm::Failures => "failures".into(),
            Harm::Slowness => "slowness".into(),
        },
        resource: cause.map(|cause| cause.name.clone()),
        from_s: one.from,
        to_s: one.to,
        full_from_s: cause.map(|cause| cause.from),
        full_to_s: cause.map(|cause| cause.to),
        share: cause.map(|cause| cause.share * one.of_all),
        time: cause.map(|cause| cause.time),
        lead_s: cause.map(|cause| cause.lead_s),
        chance: cause.map(|cause| cause.p),
        said: said.map(|(said, _)| said.clone()),
    }
}
