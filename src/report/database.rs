//! What the databases of a target did during a run: statements by their time, per request where there were requests, tables and locks. The
//! same rows for the terminal and the page.

use super::text::{count, decimal, plain, row, table};
use crate::model::database::{DatabaseWork, LockHeld, LockWait, LockWork, StatementWork};
use crate::model::units::format_percent;

/// Statements that are shown.
const STATEMENTS: usize = 10;
/// Tables that are shown.
const TABLES: usize = 8;

/// A table: titles of the columns, how many of them stand on the left, and the rows.
pub struct Shown {
    /// Titles.
    pub titles: Vec<String>,
    /// Rows, as many cells as titles.
    pub rows: Vec<Vec<String>>,
    /// Columns that are text.
    pub left: usize,
}

/// Statements by the time they took. `requests`: those of the run.
pub fn statements(work: &DatabaseWork, requests: u64) -> Shown {
    let titles = row(["statement", "calls", "per request", "rows per request", "blocks read per request", "mean", "of all time"]);
    let per_request = |value: f64| if requests == 0 { super::ABSENT.to_owned() } else { decimal(Some(value / requests as f64), 2) };
    let all = work.total.as_ref().map(|total| total.seconds).filter(|seconds| *seconds > 0.0);
    let cells = |name: String, one: &StatementWork| {
        vec![
            name,
            count(one.calls as u64),
            per_request(one.calls),
            per_request(one.rows),
            per_request(one.blocks_read),
            format!("{} ms", decimal(Some(one.seconds / one.calls.max(1.0) * 1000.0), 3)),
            all.map_or_else(|| super::ABSENT.to_owned(), |all| format_percent(one.seconds / all)),
        ]
    };
    let name = |one: &StatementWork| if one.text.is_empty() { "(text not known)".to_owned() } else { plain(&one.text, 90) };
    let mut rows: Vec<Vec<String>> = work.statements.iter().take(STATEMENTS).map(|one| cells(name(one), one)).collect();
    if let Some(total) = work.total.as_ref().filter(|_| !rows.is_empty()) {
        rows.push(cells("all statements".into(), total));
    }
    Shown { titles, rows, left: 1 }
}

/// Tables by what was read and written.
pub fn tables(work: &DatabaseWork, requests: u64) -> Shown {
    let titles = row(["table", "full scans", "rows scanned per request", "index scans", "written", "dead rows"]);
    let cells = |one: &crate::model::database::TableWork| {
        let per_request = (requests > 0).then(|| one.scanned_rows / requests as f64);
        vec![
            plain(&one.table, 60),
            count(one.scans as u64),
            decimal(per_request, 2),
            count(one.index_scans as u64),
            count(one.written as u64),
            count(one.dead as u64),
        ]
    };
    Shown { titles, rows: work.tables.iter().take(TABLES).map(cells).collect(), left: 1 }
}

/// Locks that were waited for.
pub fn locks(work: &DatabaseWork, requests: u64) -> Shown {
    let titles = row(["lock", "wanted", "waited together", "per request", "sessions seen waiting"]);
    let cells = |one: &LockWait| {
        let per_request = (requests > 0).then(|| one.seconds / requests as f64 * 1000.0);
        vec![
            plain(&one.what, 60),
            plain(&one.mode, 40),
            format!("{} s", decimal(Some(one.seconds), 1)),
            per_request.map_or_else(|| super::ABSENT.to_owned(), |each| format!("{} ms", decimal(Some(each), 3))),
            count(one.seen as u64),
        ]
    };
    let waits = work.locks.as_ref().map_or(&[][..], |locks| &locks.waits);
    Shown { titles, rows: waits.iter().map(cells).collect(), left: 2 }
}

/// Deadlocks, and locks that were held at one end of the run and not at the other.
fn of_locks(locks: &LockWork) -> Vec<String> {
    let number = |value: f64| decimal(Some(value), 0);
    let dead = locks.deadlocks.filter(|dead| *dead > 0.0).map(|dead| match dead {
        1.0 => "1 deadlock".to_owned(),
        dead => format!("{} deadlocks", number(dead)),
    });
    let other = |one: &&LockHeld| (one.before - one.after).abs() > 0.5;
    let held =
        locks.held.iter().filter(other).map(|one| format!("{} {} before, {} after", one.mode, number(one.before), number(one.after)));
    let held: Vec<String> = held.collect();
    dead.into_iter().chain((!held.is_empty()).then(|| format!("locks held: {}", plain(&held.join("; "), 200)))).collect()
}

/// Deadlocks and held locks, who waited for whom when the run ended, and what is missing: one sentence each.
pub fn notes(work: &DatabaseWork) -> Vec<String> {
    let blocked = work.blocked.iter().map(|one| {
        let by = if one.by.is_empty() { "somebody" } else { &one.by };
        format!("{} had waited {} s for {by}: {}", one.who.trim(), decimal(Some(one.seconds), 1), plain(&one.statement, 80))
    });
    let locks = work.locks.iter().flat_map(of_locks);
    work.incomplete.iter().map(|why| plain(why, 300)).chain(locks).chain(blocked).collect()
}

/// The section of a run's text.
pub(super) fn databases(works: &[DatabaseWork], requests: u64) -> String {
    let mut text = String::new();
    for work in works {
        let name = if work.database.is_empty() { String::new() } else { format!(" ({})", plain(&work.database, 40)) };
        text.push_str(&format!("  {}{name}\n", plain(&work.probe, 40)));
        for shown in [statements(work, requests), tables(work, requests), locks(work, requests)] {
            if !shown.rows.is_empty() {
                let rows: Vec<Vec<String>> = [vec![shown.titles], shown.rows].concat();
                text.push_str(&table(&rows, shown.left));
            }
        }
        for note in notes(work) {
            text.push_str(&format!("  note: {note}\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_per_request_and_what_is_missing_is_said() {
        let one = |text: &str, calls: f64, seconds: f64| StatementWork {
            text: text.into(),
            calls,
            rows: calls * 3.0,
            seconds,
            blocks_hit: 0.0,
            blocks_read: 50.0,
            temp_written: 0.0,
        };
        let work = DatabaseWork {
            probe: "database".into(),
            database: "shop".into(),
            seconds: 60.0,
            total: Some(one("", 400.0, 4.0)),
            statements: vec![one("SELECT * FROM orders WHERE id = $1", 300.0, 3.0), one("", 100.0, 1.0)],
            tables: Vec::new(),
            blocked: Vec::new(),
            locks: Some(LockWork {
                deadlocks: Some(1.0),
                waits: vec![LockWait { what: "orders".into(), mode: "row".into(), seen: 12.0, seconds: 12.5 }],
                held: vec![
                    LockHeld { mode: "AccessShareLock".into(), before: 1.0, after: 1.0 },
                    LockHeld { mode: "ExclusiveLock".into(), before: 0.0, after: 2.0 },
                ],
            }),
            incomplete: vec!["the server forgot rare statements 3 times meanwhile".into()],
        };
        insta::assert_snapshot!(databases(&[work], 100), @r"
          database (shop)
          statement                           calls  per request  rows per request  blocks read per request   mean  of all time
          SELECT * FROM orders WHERE id = $1    300            3                 9                      0.5  10 ms         75 %
          (text not known)                      100            1                 3                      0.5  10 ms         25 %
          all statements                        400            4                12                      0.5  10 ms        100 %
          lock    wanted  waited together  per request  sessions seen waiting
          orders  row              12.5 s       125 ms                     12
          note: the server forgot rare statements 3 times meanwhile
          note: 1 deadlock
          note: locks held: ExclusiveLock 0 before, 2 after
        ");
        let nothing = DatabaseWork {
            probe: "database".into(),
            database: String::new(),
            seconds: 0.0,
            total: None,
            statements: Vec::new(),
            tables: Vec::new(),
            blocked: Vec::new(),
            locks: None,
            incomplete: vec!["no snapshot could be taken before the run: timeout".into()],
        };
        insta::assert_snapshot!(databases(&[nothing], 0), @r"
          database
          note: no snapshot could be taken before the run: timeout
        ");
    }
}
