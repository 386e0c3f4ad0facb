//! Digests: at each instant of their clock, what happened since the last one is written into the outbox under an id that is that of the
//! period. So it is told once, also after a crash and by whichever daemon is in charge. What is in it: `alert/digest.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::calendar::last_instant;
use super::duty::Duty;
use super::headroom;
use super::setup::Setup;
use crate::alert::{CapacityTold, DigestFacts, HeadroomTold, IncidentTold, MissedInstant, addressed, digest_id, digest_message};
use crate::analysis::median;
use crate::analysis::regression::flaky::flips;
use crate::clock::SharedClock;
use crate::metrics::Metrics;
use crate::model::alerting::{AlertState, Message, Transition};
use crate::model::digest::Digest;
use crate::model::history::PastRun;
use crate::model::schedule::TickOutcome;
use crate::model::units::Timestamp;
use crate::store::{AlertChange, ReadingFilter, RunFilter, Store, StoreResult};

/// How often it is looked whether a digest is due.
const EVERY: Duration = Duration::from_secs(15);
/// A digest that could not be written so long after its instant is not written any more: the next one is near.
const LATE: Duration = Duration::from_secs(12 * 3600);
/// Runs of a profile that are looked at.
const RUNS: u32 = 3_000;
/// Runs by which flips are counted and capacities are compared.
const RECENT: usize = 50;
/// Instants and changes of alerts that are looked at.
const RECORDS: u32 = 5_000;

/// What it works with.
pub struct DigestParts {
    /// Runs, records, and the outbox.
    pub store: Arc<dyn Store>,
    /// The wall clock.
    pub clock: SharedClock,
    /// For errors of the store.
    pub metrics: Arc<Metrics>,
    /// The configuration in force.
    pub setup: watch::Receiver<Arc<Setup>>,
    /// Only who is in charge writes.
    pub duty: watch::Receiver<Duty>,
    /// Start of the links in messages.
    pub link_base: watch::Receiver<Option<String>>,
}

/// What a digest speaks of.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Names of all profiles.
    pub profiles: Vec<String>,
    /// Targets of which it is known how much load production puts on them.
    pub targets: Vec<String>,
}

impl Known {
    /// Everything that the configuration names.
    pub fn of(setup: &Setup) -> Self {
        Self { profiles: setup.profiles.keys().cloned().collect(), targets: setup.production.keys().cloned().collect() }
    }
}

/// Writes what is due until `stop`.
pub async fn run(parts: DigestParts, stop: CancellationToken) {
    let mut every = interval(EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut written = BTreeSet::new();
    loop {
        tokio::select! {
            _ = every.tick() => {}
            () = stop.cancelled() => return,
        }
        if !parts.duty.borrow().in_charge {
            continue;
        }
        let setup = parts.setup.borrow().clone();
        let link = parts.link_base.borrow().clone();
        let known = Known::of(&setup);
        for digest in &setup.digests {
            let done = write_due(parts.store.as_ref(), &known, digest, (parts.clock.now(), link.as_deref()), &mut written);
            let done = tokio::select! { done = done => done, () = stop.cancelled() => return };
            if let Err(error) = done {
                tracing::warn!(%error, digest = digest.name, "a digest cannot be written yet; it is tried again");
                parts.metrics.storage_error("digest");
            }
        }
    }
}

/// Writes the digest whose instant was last, unless it is written, too old, or there was nothing to tell of before. `written` are ids that
/// need not be looked at any more. Says whether it wrote.
pub async fn write_due(
    store: &dyn Store,
    known: &Known,
    digest: &Digest,
    (now, link): (Timestamp, Option<&str>),
    written: &mut BTreeSet<String>,
) -> StoreResult<bool> {
    let Some((from, to)) = period(digest, now).filter(|(_, to)| now.since(*to) < LATE) else { return Ok(false) };
    let id = digest_id(digest, to);
    if written.contains(&id) {
        return Ok(false);
    }
    for channel in &digest.send {
        if !store.messages_of(&id, channel).await?.is_empty() {
            written.insert(id);
            return Ok(false);
        }
    }
    // A daemon that was set up after the instant has nothing to tell of the time before.
    let before = RunFilter { before: Some(to), limit: 1, ..RunFilter::default() };
    if store.run_lines(&before).await?.is_empty() && store.ticks(None, 1).await?.iter().all(|tick| tick.due >= to) {
        written.insert(id);
        return Ok(false);
    }
    let message = message_of(store, known, digest, (from, to), link).await?;
    let messages = digest.send.iter().map(|channel| addressed(&message, channel, now)).collect();
    store.commit_alerts(&AlertChange { messages, ..AlertChange::default() }).await?;
    tracing::info!(digest = digest.name, id, "a digest is written");
    written.insert(id);
    Ok(true)
}

/// The digest as it would be written now: of what happened since its last instant.
pub async fn preview(store: &dyn Store, setup: &Setup, digest: &Digest, now: Timestamp) -> StoreResult<Message> {
    let from = last_instant(&digest.cron, digest.timezone, now).unwrap_or(now);
    message_of(store, &Known::of(setup), digest, (from, now), None).await
}

/// The last two instants of a digest: what happened between them is told.
fn period(digest: &Digest, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
    let to = last_instant(&digest.cron, digest.timezone, now)?;
    let from = last_instant(&digest.cron, digest.timezone, to.minus(Duration::from_secs(1)))?;
    Some((from, to))
}

async fn message_of(
    store: &dyn Store,
    known: &Known,
    digest: &Digest,
    period: (Timestamp, Timestamp),
    link: Option<&str>,
) -> StoreResult<Message> {
    let facts = facts(store, known, period).await?;
    let link = link.map(|base| format!("{}/", base.trim_end_matches('/')));
    Ok(digest_message(digest, &facts, period, link))
}

/// Everything that the store knows of a period.
async fn facts(store: &dyn Store, known: &Known, (from, to): (Timestamp, Timestamp)) -> StoreResult<DigestFacts> {
    let mut facts = DigestFacts::default();
    for profile in &known.profiles {
        let past = store.past_runs(profile, Some(to), RUNS).await?;
        let of_period = past.iter().filter(|run| run.started_at >= from);
        facts.runs.extend(of_period.map(|run| (profile.clone(), run.verdict)));
        facts.capacity.extend(capacity(profile, &past, from));
        let recent = past.get(..RECENT).unwrap_or(&past);
        let flips = flips(recent);
        // A profile that did not run is not flaky today.
        if flips.is_flaky() && past.first().is_some_and(|run| run.started_at >= from) {
            facts.flaky.push((profile.clone(), flips.flips, flips.pairs));
        }
    }
    let ticks = store.ticks(None, RECORDS).await?;
    let missed = ticks.into_iter().rev().filter(|tick| tick.due >= from && tick.due < to);
    let missed = missed.filter(|tick| matches!(tick.outcome, TickOutcome::Missed | TickOutcome::Refused));
    facts.missed = missed.map(|tick| MissedInstant { schedule: tick.schedule, due: tick.due, reason: tick.reason }).collect();
    let findings = store.findings(None, RECORDS).await?;
    let found = findings.into_iter().filter(|finding| finding.kind == "regression" && finding.at >= from && finding.at < to);
    facts.regressions = found.map(|finding| format!("{} (run {})", finding.title.trim_end_matches('.'), finding.run)).collect();
    facts.incidents = incidents(&store.transitions(None, RECORDS).await?, (from, to));
    for target in &known.targets {
        facts.headroom.extend(headroom_of(store, target, (from, to)).await?);
    }
    Ok(facts)
}

/// The last capacity of the period against the median of those before it.
fn capacity(profile: &str, past: &[PastRun], from: Timestamp) -> Option<CapacityTold> {
    let number = |run: &PastRun| run.numbers.as_ref()?.values.get("")?.get("capacity").copied();
    let (index, per_second) = past.iter().enumerate().find_map(|(index, run)| Some((index, number(run)?)))?;
    let newest = past.get(index).filter(|run| run.started_at >= from)?;
    // Another load or another target is no former run.
    let alike = |run: &&PastRun| run.digest == newest.digest && run.target == newest.target;
    let before: Vec<f64> = past.iter().skip(index + 1).filter(alike).filter_map(number).take(RECENT).collect();
    Some(CapacityTold { profile: profile.to_owned(), per_second, before: (!before.is_empty()).then(|| (median(&before), before.len())) })
}

/// Incidents that were open in the period, those that opened last first.
fn incidents(transitions: &[Transition], (from, to): (Timestamp, Timestamp)) -> Vec<IncidentTold> {
    let mut found: BTreeMap<&str, IncidentTold> = BTreeMap::new();
    // Oldest first.
    for change in transitions.iter().rev().filter(|change| change.at < to) {
        let Some(incident) = &change.incident else { continue };
        let open = || IncidentTold { rule: change.rule.clone(), opened_at: change.at, closed_at: None };
        let told = found.entry(incident).or_insert_with(open);
        told.closed_at = matches!(change.to, AlertState::Inactive).then_some(change.at);
    }
    let mut all: Vec<IncidentTold> = found.into_values().filter(|told| told.closed_at.is_none_or(|closed| closed >= from)).collect();
    all.sort_by_key(|told| std::cmp::Reverse(told.opened_at));
    all
}

/// What is left of a target by its last reading, of the resource that has least.
async fn headroom_of(store: &dyn Store, target: &str, (from, to): (Timestamp, Timestamp)) -> StoreResult<Option<HeadroomTold>> {
    let filter = ReadingFilter { target: Some(target.to_owned()), from: Some(from), to: Some(to), ..ReadingFilter::default() };
    let mut readings = store.readings(&ReadingFilter { metric: Some("headroom".into()), ..filter.clone() }).await?;
    readings.retain(|reading| reading.probe == headroom::PROBE);
    let Some(last) = readings.last() else { return Ok(None) };
    let points = last.points.iter().flatten().filter(|point| point.metric == "headroom");
    let Some(least) = points.min_by(|one, other| one.value.total_cmp(&other.value)) else { return Ok(None) };
    let resource = least.labels.get("resource").cloned().unwrap_or_default();
    let until = Some(Timestamp(last.at.0 + 1));
    let times = ReadingFilter { metric: Some("headroom_time".into()), from: Some(last.at), to: until, ..filter };
    let times = store.readings(&times).await?;
    let own = times.iter().flat_map(|reading| reading.points.iter().flatten());
    let left = own.filter(|point| point.labels.get("resource") == Some(&resource)).map(|point| point.value).next_back();
    let left = left.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    Ok(Some(HeadroomTold { target: target.to_owned(), resource, free: least.value, left }))
}

#[cfg(test)]
#[path = "digests_tests.rs"]
mod tests;
