//! What changed since the run before, as a finding at the end of a run: failures that came or went with their message, pools of another
//! size, statements and locks that are new, gone, or more or fewer per request. Nothing is said when nothing of that changed.

use super::changes::{Changes, LockFigure, LockRow, MessageRow, PerRequest, PoolRow, StatementRow, changes};
use super::failures::Fate;
use crate::model::alerting::Severity;
use crate::model::finding::{Evidence, Finding};
use crate::model::run::{EndedBy, Run, StepSummary, Verdict};
use crate::model::units::{Timestamp, format_percent, trim_decimal};

/// Name and version of the method.
pub const METHOD: &str = "since/1";
/// Share of all time below which a statement is not worth a sentence.
const LEAST_TIME: f64 = 0.01;
/// Sentences of the title; the others are evidence.
const TOLD: usize = 4;
/// Longest statement in a sentence.
const STATEMENT: usize = 80;

/// Whether a run can be what another one is held against: it was not cut off from outside, and something was measured.
pub fn is_comparable(run: &Run) -> bool {
    let ended = matches!(run.ended_by, Some(EndedBy::Completed | EndedBy::Threshold | EndedBy::Guard));
    ended && run.summary.as_ref().is_some_and(|summary| summary.total.requests > 0)
}

/// The finding `changed_since` about `run` and the one before; `None` when nothing changed that is worth telling.
pub fn since(before: &Run, run: &Run, at: Timestamp) -> Option<Finding> {
    if !is_comparable(before) || !is_comparable(run) {
        return None;
    }
    let changes = changes(before, run)?;
    let mut told = sentences(before, run, &changes);
    if told.is_empty() {
        return None;
    }
    let failed = failures(&before.summary.as_ref()?.total, &run.summary.as_ref()?.total);
    told.insert(0, Evidence { name: "requests failed".into(), value: failed });
    let shown: Vec<String> = told.iter().take(TOLD + 1).map(|one| format!("{}: {}", one.name, one.value)).collect();
    let verdict = |run: &Run| run.verdict.map_or("no verdict", Verdict::as_str).replace('_', " ");
    let title = format!("Since the run before ({}, {}): {}.", before.id, verdict(before), shown.join("; "));
    Some(Finding {
        kind: "changed_since".into(),
        run: run.id.clone(),
        severity: Severity::Low,
        title,
        evidence: told,
        method: METHOD.into(),
        at,
    })
}

fn sentences(before: &Run, run: &Run, changes: &Changes) -> Vec<Evidence> {
    let mut told = Vec::new();
    let mut tell = |name: String, value: String| told.push(Evidence { name, value });
    // The same words under several reasons (a status, a gRPC status) are one sentence.
    let mut words: Vec<(String, Fate, u64, u64)> = Vec::new();
    for row in changes.messages.iter().filter(|row| matters(row.fate)) {
        match words.iter_mut().find(|(known, fate, ..)| *known == said(row) && *fate == row.fate) {
            Some((_, _, first, second)) => (*first, *second) = (*first + row.first, *second + row.second),
            None => words.push((said(row), row.fate, row.first, row.second)),
        }
    }
    for (said, became, first, second) in words {
        tell(format!("failures '{said}'"), format!("{} ({second}, before {first})", fate(became)));
    }
    for row in changes.pools.iter().filter(|row| resized(row)) {
        tell(format!("pool `{}`", row.pool), pool(row));
    }
    if before.target_version != run.target_version {
        let version = |run: &Run| run.target_version.clone().unwrap_or_else(|| "not told".into());
        tell("version".into(), format!("{} (before {})", version(run), version(before)));
    }
    let often = |row: &&StatementRow| {
        let time = row.first.into_iter().chain(row.second).map(|one| one.of_all).fold(0.0, f64::max);
        row.statement.is_some() && time >= LEAST_TIME && matters(row.fate) && by_calls_or_rows(row)
    };
    for row in changes.statements.iter().filter(often) {
        tell(format!("statement `{}`", short(row.statement.as_deref().unwrap_or_default())), statement(row));
    }
    for row in changes.locks.iter().filter(|row| matters(row.fate) && row.figure != LockFigure::Held) {
        tell(lock_name(row), lock(row));
    }
    told
}

/// Blocks that are read depend on what is in the cache: they are in the comparison, and no sentence of their own.
fn by_calls_or_rows(row: &StatementRow) -> bool {
    let (Some(a), Some(b)) = (row.first, row.second) else { return true };
    let differs = |a: f64, b: f64| (b - a).abs() > super::estimate::SAME * a.max(b);
    differs(a.calls, b.calls) || differs(a.rows, b.rows)
}

fn matters(fate: Fate) -> bool {
    match fate {
        Fate::New | Fate::Gone | Fate::More | Fate::Fewer => true,
        Fate::Same | Fate::CannotTell => false,
    }
}

fn fate(fate: Fate) -> &'static str {
    match fate {
        Fate::New => "new",
        Fate::Gone => "gone",
        Fate::More => "more",
        Fate::Fewer => "fewer",
        Fate::Same => "as before",
        Fate::CannotTell => "too few to tell",
    }
}

fn said(row: &MessageRow) -> String {
    if row.said.is_empty() { row.reason.to_string() } else { row.said.clone() }
}

fn failures(before: &StepSummary, now: &StepSummary) -> String {
    let share = |total: &StepSummary| format_percent(total.failed as f64 / total.requests.max(1) as f64);
    format!("{} of {} (before {} of {}, {})", now.failed, now.requests, before.failed, before.requests, share(before))
}

fn resized(row: &PoolRow) -> bool {
    matches!((row.first.limit, row.second.limit), (Some(first), Some(second)) if (first - second).abs() > 0.5)
}

fn pool(row: &PoolRow) -> String {
    let number = |value: Option<f64>| value.map_or_else(|| "?".into(), |value| trim_decimal(value, 0));
    let full = |seen: &super::changes::PoolSeen| format!("full in {} of {} readings", seen.full, seen.readings);
    format!("{} connections, {} (before {}, {})", number(row.second.limit), full(&row.second), number(row.first.limit), full(&row.first))
}

fn statement(row: &StatementRow) -> String {
    let number = |value: f64| trim_decimal(value, 2);
    let told = |one: &PerRequest| format!("{} calls, {} rows a request", number(one.calls), number(one.rows));
    match (&row.first, &row.second) {
        (Some(first), Some(second)) => format!("{} (before {})", told(second), told(first)),
        (None, Some(second)) => format!("new ({})", told(second)),
        (Some(first), None) => format!("gone (before {})", told(first)),
        (None, None) => String::new(),
    }
}

fn lock_name(row: &LockRow) -> String {
    match row.figure {
        LockFigure::Waited => format!("waits for the lock {}", row.lock),
        LockFigure::Deadlocks => "deadlocks".into(),
        LockFigure::Held => format!("locks held after the run, {}", row.lock),
    }
}

fn lock(row: &LockRow) -> String {
    let number = |value: f64| match row.figure {
        LockFigure::Waited => format!("{} s", trim_decimal(value, 1)),
        LockFigure::Deadlocks | LockFigure::Held => trim_decimal(value, 0),
    };
    format!("{} ({}, before {})", fate(row.fate), number(row.second), number(row.first))
}

/// A statement of at most so many characters.
fn short(text: &str) -> String {
    match text.char_indices().nth(STATEMENT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
