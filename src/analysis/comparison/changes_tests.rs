//! What changed inside: pools, messages, statements and locks of two summaries, and the finding that is made of them.

use super::since::since;
use super::{Changes, Fate, LockFigure, changes};
use crate::model::database::{DatabaseWork, LockHeld, LockWait, LockWork, MOST_KEPT, StatementWork};
use crate::model::failure::Reason;
use crate::model::run::{EndedBy, MessageSummary, Run, RunId, SeriesSummary, StepSummary, Summary, Verdict};
use crate::model::sample;
use crate::model::units::Timestamp;

fn work(text: &str, calls: f64, rows: f64, blocks: f64) -> StatementWork {
    StatementWork { text: text.into(), calls, rows, seconds: calls / 100.0, blocks_hit: 0.0, blocks_read: blocks, temp_written: 0.0 }
}

fn database(statements: Vec<StatementWork>, waits: &[(&str, f64)], deadlocks: f64) -> DatabaseWork {
    let sum = |value: fn(&StatementWork) -> f64| statements.iter().map(value).sum::<f64>();
    let total = work("", sum(|one| one.calls), sum(|one| one.rows), sum(|one| one.blocks_read));
    let wait = |(what, seconds): &(&str, f64)| LockWait { what: (*what).into(), mode: "row".into(), seen: *seconds, seconds: *seconds };
    DatabaseWork {
        probe: "db".into(),
        database: "shop".into(),
        seconds: 60.0,
        total: Some(total),
        statements,
        tables: Vec::new(),
        blocked: Vec::new(),
        locks: Some(LockWork {
            deadlocks: Some(deadlocks),
            waits: waits.iter().map(wait).collect(),
            held: vec![LockHeld { mode: "ShareLock".into(), before: 0.0, after: deadlocks }],
        }),
        incomplete: Vec::new(),
    }
}

fn series(metric: &str, last: f64, saturated: u64) -> SeriesSummary {
    SeriesSummary {
        probe: "app".into(),
        metric: metric.into(),
        labels: [("pool".to_owned(), "main".to_owned())].into(),
        samples: 40,
        min: 0.0,
        mean: last,
        p95: last,
        max: last,
        last,
        saturated,
    }
}

/// A run of so many requests, of which some failed with the message, with a pool of this size.
fn run(id: &str, requests: u64, (failed, said): (u64, &str), pool: f64, databases: Vec<DatabaseWork>) -> Run {
    let told = MessageSummary {
        reason: Reason::Status(500),
        fingerprint: said.into(),
        count: failed,
        first: 3,
        last: 9,
        sample: format!("{{\"error\":\"{said}\"}}"),
    };
    let told = if failed > 0 { vec![told] } else { Vec::new() };
    let total = StepSummary { requests, failed, told, ..StepSummary::default() };
    let full = if failed > 0 { 30 } else { 0 };
    let series = vec![series("pool_utilization", 1.0, full), series("pool_limit", pool, 0), series("pool_in_use", 12.0, 0)];
    Run {
        id: RunId(id.into()),
        verdict: Some(if failed > 0 { Verdict::Fail } else { Verdict::Pass }),
        ended_by: Some(EndedBy::Completed),
        target_version: None,
        summary: Some(Summary { seconds: 60.0, total, series, databases, ..Summary::default() }),
        ..sample::finished()
    }
}

fn fates(changes: &Changes) -> Vec<(Option<&str>, Fate)> {
    changes.statements.iter().map(|row| (row.statement.as_deref(), row.fate)).collect()
}

#[test]
fn statements_are_compared_per_request() {
    let first = database(
        vec![work("a", 100.0, 100.0, 0.0), work("b", 50.0, 500.0, 0.0), work("gone", 10.0, 10.0, 0.0), work("d", 100.0, 100.0, 50.0)],
        &[],
        0.0,
    );
    // Twice the requests: `a` is the same, `b` finds more rows, `d` reads less.
    let second = database(
        vec![work("a", 200.0, 200.0, 0.0), work("b", 100.0, 3000.0, 0.0), work("new", 20.0, 20.0, 0.0), work("d", 200.0, 200.0, 10.0)],
        &[],
        0.0,
    );
    let (first, second) = (run("one", 100, (0, ""), 17.0, vec![first]), run("two", 200, (0, ""), 17.0, vec![second]));
    let found = changes(&first, &second).unwrap();
    let expected = [
        (None, Fate::More),
        (Some("a"), Fate::Same),
        (Some("d"), Fate::Fewer),
        (Some("b"), Fate::More),
        (Some("gone"), Fate::Gone),
        (Some("new"), Fate::New),
    ];
    assert_eq!(fates(&found), expected, "{found:#?}");
    let b = found.statements.iter().find(|row| row.statement.as_deref() == Some("b")).unwrap();
    assert!((b.first.unwrap().rows - 5.0).abs() < 1e-9 && (b.second.unwrap().rows - 15.0).abs() < 1e-9, "{b:?}");
    // Backwards, new is gone and gone is new.
    let back = changes(&second, &first).unwrap();
    assert!(fates(&back).contains(&(Some("new"), Fate::Gone)) && fates(&back).contains(&(Some("gone"), Fate::New)));
}

#[test]
fn a_statement_that_may_be_below_those_that_are_kept_is_not_called_new() {
    let many: Vec<StatementWork> = (0..MOST_KEPT).map(|n| work(&format!("s{n}"), 100.0, 1.0, 0.0)).collect();
    let (full, short) = (database(many, &[], 0.0), database(vec![work("other", 100.0, 1.0, 0.0)], &[], 0.0));
    let found = changes(&run("one", 100, (0, ""), 1.0, vec![full]), &run("two", 100, (0, ""), 1.0, vec![short])).unwrap();
    assert!(fates(&found).contains(&(Some("other"), Fate::CannotTell)), "{found:#?}");
    assert!(fates(&found).contains(&(Some("s3"), Fate::Gone)), "{found:#?}");
}

#[test]
fn locks_are_compared_by_waits_deadlocks_and_what_is_held() {
    let first = database(Vec::new(), &[("orders", 30.0), ("stock", 10.0), ("rare", 1.0)], 0.0);
    let second = database(Vec::new(), &[("orders", 3.0), ("stock", 11.0), ("bots", 40.0)], 5.0);
    let found = changes(&run("one", 100, (0, ""), 1.0, vec![first]), &run("two", 100, (0, ""), 1.0, vec![second])).unwrap();
    let told: Vec<_> = found.locks.iter().map(|row| (row.lock.as_str(), row.figure, row.fate)).collect();
    let waited = LockFigure::Waited;
    let expected = [
        ("bots, row", waited, Fate::New),
        ("orders, row", waited, Fate::Fewer),
        ("stock, row", waited, Fate::Same),
        ("rare, row", waited, Fate::Same),
        ("deadlocks", LockFigure::Deadlocks, Fate::New),
        ("ShareLock", LockFigure::Held, Fate::New),
    ];
    assert_eq!(told, expected, "{found:#?}");
}

#[test]
fn the_run_before_is_told_with_what_went_and_came() {
    let before = run("before", 1000, (300, "sorry, too many clients already"), 17.0, Vec::new());
    let now = run("now", 1100, (0, ""), 60.0, vec![]);
    let found = since(&before, &now, Timestamp(5)).unwrap();
    assert_eq!(
        found.title,
        "Since the run before (before, fail): requests failed: 0 of 1100 (before 300 of 1000, 30 %); failures 'sorry, too many clients already': \
         gone (0, before 300); pool `main`: 60 connections, full in 0 of 40 readings (before 17, full in 30 of 40 readings)."
    );
    assert_eq!((found.kind.as_str(), found.run.0.as_str(), found.evidence.len()), ("changed_since", "now", 3));
    let back = since(&now, &before, Timestamp(5)).unwrap();
    assert!(back.title.contains("failures 'sorry, too many clients already': new (300, before 0)"), "{}", back.title);
    // The same twice is nothing to tell; nor is a run that somebody broke off.
    assert_eq!(since(&before, &before, Timestamp(5)), None);
    let cut = Run { ended_by: Some(EndedBy::Cancelled), ..before };
    assert_eq!(since(&cut, &now, Timestamp(5)), None);
}

#[test]
fn statements_and_locks_that_changed_are_told() {
    let first = database(vec![work("SELECT a", 100.0, 100.0, 0.0), work("SELECT cached", 100.0, 100.0, 100.0)], &[], 0.0);
    let second = database(vec![work("SELECT a", 1000.0, 1000.0, 0.0), work("SELECT cached", 100.0, 100.0, 0.0)], &[("orders", 40.0)], 0.0);
    let found = since(&run("one", 100, (0, ""), 9.0, vec![first]), &run("two", 100, (0, ""), 9.0, vec![second]), Timestamp(5)).unwrap();
    let told: Vec<_> = found.evidence.iter().map(|one| (one.name.as_str(), one.value.as_str())).collect();
    let expected = [
        ("requests failed", "0 of 100 (before 0 of 100, 0 %)"),
        ("statement `SELECT a`", "10 calls, 10 rows a request (before 1 calls, 1 rows a request)"),
        ("waits for the lock orders, row", "new (40 s, before 0 s)"),
    ];
    assert_eq!(told, expected);
}
