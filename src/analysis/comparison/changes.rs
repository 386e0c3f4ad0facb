//! What changed inside of a target between two whole runs, from their summaries: sizes of pools, what servers said of failures, what their
//! databases did per request, and what was waited for there. Two summaries have no error bars: what differs by more than a tenth is told
//! as more or fewer, and waits, which are added up from readings, only when they differ by half.

use std::collections::BTreeMap;

use serde::Serialize;

use super::estimate::SAME;
use super::failures::{EXPECTED, Fate};
use crate::choice;
use crate::model::database::{DatabaseWork, LockWork, MOST_KEPT, StatementWork};
use crate::model::failure::Reason;
use crate::model::message::essence;
use crate::model::run::{MessageSummary, Run, Summary};

/// Waits that differ by less than this share are called the same.
const WAITS: f64 = 0.5;
/// Seconds of waiting below which nothing is said: one session that one reading saw.
const LEAST_WAITED: f64 = 1.5;
/// Rows, calls and blocks per request below which a difference is none.
const LEAST_WORK: f64 = 0.05;
/// Rows of each kind.
const MOST: usize = 40;

/// A pool in one run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PoolSeen {
    /// Its size; `None`: not told.
    pub limit: Option<f64>,
    /// Most in use.
    pub most: Option<f64>,
    /// Readings in which it was full.
    pub full: u64,
    /// Readings.
    pub readings: u64,
}

/// A pool in both runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PoolRow {
    /// Probe that read it.
    pub probe: String,
    /// Its name.
    pub pool: String,
    /// In the first run.
    pub first: PoolSeen,
    /// In the second.
    pub second: PoolSeen,
}

/// What was said of failures in both runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MessageRow {
    /// Why they failed.
    pub reason: Reason,
    /// What was said, without what stands around it.
    pub said: String,
    /// Failures of the first run.
    pub first: u64,
    /// Failures of the second.
    pub second: u64,
    /// What became of it.
    pub fate: Fate,
}

/// What a statement did for one request of the load.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PerRequest {
    /// Executions.
    pub calls: f64,
    /// Rows returned or changed.
    pub rows: f64,
    /// Blocks that were not in the cache.
    pub blocks_read: f64,
    /// Mean time of an execution in seconds.
    pub mean_s: f64,
    /// Share of the time of all statements.
    pub of_all: f64,
}

/// A statement in both runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StatementRow {
    /// Probe that took the snapshots.
    pub probe: String,
    /// Its text; `None`: all statements together.
    pub statement: Option<String>,
    /// In the first run; `None`: it is not among those that took most time.
    pub first: Option<PerRequest>,
    /// In the second.
    pub second: Option<PerRequest>,
    /// What became of it.
    pub fate: Fate,
}

choice! {
    /// What is compared of a lock.
    pub enum LockFigure {
        /// Seconds that sessions waited, together.
        Waited = "waited",
        /// Deadlocks.
        Deadlocks = "deadlocks",
        /// Locks of this mode that were held when the run had ended.
        Held = "held_after",
    }
}

/// A lock in both runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LockRow {
    /// Probe that saw it.
    pub probe: String,
    /// What is locked, with the mode that was wanted; the mode of what is held.
    pub lock: String,
    /// Which figure.
    pub figure: LockFigure,
    /// In the first run.
    pub first: f64,
    /// In the second.
    pub second: f64,
    /// What became of it, waits and deadlocks per request.
    pub fate: Fate,
}

/// What changed inside.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Changes {
    /// Pools that both runs read.
    pub pools: Vec<PoolRow>,
    /// What was said of failures.
    pub messages: Vec<MessageRow>,
    /// Statements, most time first; all together at the head of each probe.
    pub statements: Vec<StatementRow>,
    /// Locks.
    pub locks: Vec<LockRow>,
    /// What is not the whole truth, one sentence each.
    pub notes: Vec<String>,
}

/// What changed from `first` to `second`; `None` when one of them has no figures.
pub fn changes(first: &Run, second: &Run) -> Option<Changes> {
    let (a, b) = (first.summary.as_ref()?, second.summary.as_ref()?);
    let mut changes = Changes { pools: pools(a, b), messages: messages(a, b), ..Changes::default() };
    for before in &a.databases {
        let Some(after) = b.databases.iter().find(|other| other.probe == before.probe) else { continue };
        let requests = (a.total.requests as f64, b.total.requests as f64);
        changes.statements.extend(statements((before, after), requests));
        changes.locks.extend(locks((before, after), requests));
        for (name, work) in [("first", before), ("second", after)] {
            changes.notes.extend(work.incomplete.iter().map(|why| format!("`{}` of the {name} run: {why}", work.probe)));
        }
    }
    Some(changes)
}

fn pools(a: &Summary, b: &Summary) -> Vec<PoolRow> {
    let seen = |summary: &Summary| -> BTreeMap<(String, String), PoolSeen> {
        let full = summary.series.iter().filter(|one| one.metric == "pool_utilization");
        let beside = |probe: &str, pool: &str, metric: &str| {
            let same = |one: &&crate::model::run::SeriesSummary| {
                one.metric == metric && one.probe == probe && one.labels.get("pool").is_some_and(|name| name == pool)
            };
            summary.series.iter().find(same)
        };
        full.filter_map(|one| {
            let pool = one.labels.get("pool")?;
            let seen = PoolSeen {
                limit: beside(&one.probe, pool, "pool_limit").map(|limit| limit.last),
                most: beside(&one.probe, pool, "pool_in_use").map(|in_use| in_use.max),
                full: one.saturated,
                readings: one.samples,
            };
            Some(((one.probe.clone(), pool.clone()), seen))
        })
        .collect()
    };
    let second = seen(b);
    let both = seen(a).into_iter().filter_map(|(key, first)| Some((second.get(&key).copied()?, key, first)));
    both.map(|(second, (probe, pool), first)| PoolRow { probe, pool, first, second }).take(MOST).collect()
}

fn messages(a: &Summary, b: &Summary) -> Vec<MessageRow> {
    let told = |summary: &Summary| -> BTreeMap<(Reason, String), MessageSummary> {
        summary.total.told.iter().map(|one| ((one.reason.clone(), one.fingerprint.clone()), one.clone())).collect()
    };
    let (first, second) = (told(a), told(b));
    let mut keys: Vec<_> = first.keys().chain(second.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    let row = |key: &(Reason, String)| {
        let (one, other) = (first.get(key), second.get(key));
        let count = |told: Option<&MessageSummary>| told.map_or(0, |told| told.count);
        let sample = other.or(one).map(|told| told.sample.as_str()).unwrap_or_default();
        // What is not told may be among what was too much to be told apart.
        let complete = (a.total.told_beyond == 0, b.total.told_beyond == 0);
        let fate = fate_of_counts((count(one), count(other)), (a.total.requests, b.total.requests), complete);
        MessageRow { reason: key.0.clone(), said: essence(sample), first: count(one), second: count(other), fate }
    };
    let mut rows: Vec<MessageRow> = keys.into_iter().map(row).collect();
    rows.sort_by_key(|row| (matches!(row.fate, Fate::Same | Fate::CannotTell), std::cmp::Reverse(row.first.max(row.second))));
    rows.truncate(MOST);
    rows
}

/// Of counts in so many requests: new and gone where as many would have been expected that their absence means something, else whether
/// their share at least doubled or halved.
fn fate_of_counts((a, b): (u64, u64), (in_a, in_b): (u64, u64), (a_complete, b_complete): (bool, bool)) -> Fate {
    let (share_a, share_b) = (a as f64 / in_a.max(1) as f64, b as f64 / in_b.max(1) as f64);
    match (a, b) {
        (0, _) if a_complete && share_b * in_a as f64 >= EXPECTED => Fate::New,
        (_, 0) if b_complete && share_a * in_b as f64 >= EXPECTED => Fate::Gone,
        (0, _) | (_, 0) => Fate::CannotTell,
        _ if share_b > 2.0 * share_a => Fate::More,
        _ if share_a > 2.0 * share_b => Fate::Fewer,
        _ => Fate::Same,
    }
}

fn statements((before, after): (&DatabaseWork, &DatabaseWork), requests: (f64, f64)) -> Vec<StatementRow> {
    let (Some(all_before), Some(all_after)) = (&before.total, &after.total) else { return Vec::new() };
    let per = |work: &StatementWork, all: &StatementWork, requests: f64| {
        let each = |value: f64| value / requests.max(1.0);
        PerRequest {
            calls: each(work.calls),
            rows: each(work.rows),
            blocks_read: each(work.blocks_read),
            mean_s: work.seconds / work.calls.max(1.0),
            of_all: if all.seconds > 0.0 { work.seconds / all.seconds } else { 0.0 },
        }
    };
    let told = |work: &DatabaseWork, all: &StatementWork, requests: f64| -> BTreeMap<String, PerRequest> {
        let mut told: BTreeMap<String, StatementWork> = BTreeMap::new();
        for one in work.statements.iter().filter(|one| !one.text.is_empty()) {
            // The same text of several roles.
            let Some(known) = told.get_mut(&one.text) else {
                told.insert(one.text.clone(), one.clone());
                continue;
            };
            known.calls += one.calls;
            known.rows += one.rows;
            known.seconds += one.seconds;
            known.blocks_read += one.blocks_read;
        }
        told.into_iter().map(|(text, work)| (text, per(&work, all, requests))).collect()
    };
    let (first, second) = (told(before, all_before, requests.0), told(after, all_after, requests.1));
    // All statements are listed, with their texts; else an absent one may be there and have taken less time than others.
    let complete = |work: &DatabaseWork| work.statements.len() < MOST_KEPT && work.statements.iter().all(|one| !one.text.is_empty());
    let (first_complete, second_complete) = (complete(before), complete(after));
    let mut texts: Vec<&String> = first.keys().chain(second.keys()).collect();
    texts.sort_unstable();
    texts.dedup();
    let row = |text: &String| {
        let (one, other) = (first.get(text).copied(), second.get(text).copied());
        let fate = match (one, other) {
            (Some(one), Some(other)) => fate_of_work(&one, &other),
            (None, Some(_)) if first_complete => Fate::New,
            (Some(_), None) if second_complete => Fate::Gone,
            _ => Fate::CannotTell,
        };
        StatementRow { probe: after.probe.clone(), statement: Some(text.clone()), first: one, second: other, fate }
    };
    let mut rows: Vec<StatementRow> = texts.into_iter().map(row).collect();
    let weight = |row: &StatementRow| row.first.into_iter().chain(row.second).map(|one| one.of_all).fold(0.0, f64::max);
    rows.sort_by(|a, b| weight(b).total_cmp(&weight(a)));
    rows.truncate(MOST);
    let (one, other) = (per(all_before, all_before, requests.0), per(all_after, all_after, requests.1));
    let fate = fate_of_work(&one, &other);
    rows.insert(0, StatementRow { probe: after.probe.clone(), statement: None, first: Some(one), second: Some(other), fate });
    rows
}

/// By calls; where these are the same by rows, and then by blocks that were read.
fn fate_of_work(a: &PerRequest, b: &PerRequest) -> Fate {
    for (a, b) in [(a.calls, b.calls), (a.rows, b.rows), (a.blocks_read, b.blocks_read)] {
        if (b - a).abs() > SAME * a.max(b) && (b - a).abs() >= LEAST_WORK {
            return if b > a { Fate::More } else { Fate::Fewer };
        }
    }
    Fate::Same
}

fn locks((before, after): (&DatabaseWork, &DatabaseWork), requests: (f64, f64)) -> Vec<LockRow> {
    let (Some(a), Some(b)) = (&before.locks, &after.locks) else { return Vec::new() };
    let row = |lock: String, figure: LockFigure, first: f64, second: f64, fate: Fate| LockRow {
        probe: after.probe.clone(),
        lock,
        figure,
        first,
        second,
        fate,
    };
    let waited = |work: &LockWork| -> BTreeMap<String, f64> {
        work.waits.iter().map(|wait| (format!("{}, {}", wait.what, wait.mode), wait.seconds)).collect()
    };
    let (first, second) = (waited(a), waited(b));
    let mut rows = Vec::new();
    let keys: std::collections::BTreeSet<&String> = first.keys().chain(second.keys()).collect();
    for key in keys {
        let [one, other] = [&first, &second].map(|waited| waited.get(key).copied().unwrap_or(0.0));
        rows.push(row(key.clone(), LockFigure::Waited, one, other, fate_of_waits((one, other), requests)));
    }
    rows.sort_by(|a, b| b.first.max(b.second).total_cmp(&a.first.max(a.second)));
    if let (Some(one), Some(other)) = (a.deadlocks, b.deadlocks)
        && one + other > 0.0
    {
        let fate = fate_of_counts((one as u64, other as u64), (requests.0 as u64, requests.1 as u64), (true, true));
        rows.push(row("deadlocks".into(), LockFigure::Deadlocks, one, other, fate));
    }
    let held = |work: &LockWork| -> BTreeMap<String, f64> { work.held.iter().map(|one| (one.mode.clone(), one.after)).collect() };
    let (first, second) = (held(a), held(b));
    for mode in first.keys().chain(second.keys()).collect::<std::collections::BTreeSet<_>>() {
        let [one, other] = [&first, &second].map(|held| held.get(mode).copied().unwrap_or(0.0));
        if (one - other).abs() > 0.5 {
            let fate = match (one, other) {
                (0.0, _) => Fate::New,
                (_, 0.0) => Fate::Gone,
                _ if other > one => Fate::More,
                _ => Fate::Fewer,
            };
            rows.push(row(mode.clone(), LockFigure::Held, one, other, fate));
        }
    }
    rows.truncate(MOST);
    rows
}

fn fate_of_waits((a, b): (f64, f64), requests: (f64, f64)) -> Fate {
    if a.max(b) < LEAST_WAITED {
        return Fate::Same;
    }
    let (each_a, each_b) = (a / requests.0.max(1.0), b / requests.1.max(1.0));
    if a <= 0.0 {
        Fate::New
    } else if b <= 0.0 {
        Fate::Gone
    } else if each_b > each_a * (1.0 + WAITS) {
        Fate::More
    } else if each_a > each_b * (1.0 + WAITS) {
        Fate::Fewer
    } else {
        Fate::Same
    }
}
