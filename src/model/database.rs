//! What a database did during a run: two snapshots of its counters and their difference, per statement, table and lock. Pure. Statements
//! that were forgotten meanwhile make the difference incomplete, and it says so.

mod locks;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::units::Timestamp;

pub use locks::{LockCounts, LockHeld, LockWait, LockWork, WaitCounts};

/// Which statement: role, database and the server's own number for its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StatementKey {
    /// Role.
    pub user: i64,
    /// Database.
    pub database: i64,
    /// Number of the text with its constants taken out.
    pub query: i64,
}

/// Counters of one statement since the server's statistics began.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct StatementCounts {
    /// Executions.
    pub calls: f64,
    /// Rows returned or changed.
    pub rows: f64,
    /// Time, in seconds.
    pub seconds: f64,
    /// Blocks that were in the cache.
    pub blocks_hit: f64,
    /// Blocks that were not.
    pub blocks_read: f64,
    /// Blocks of temporary files written.
    pub temp_written: f64,
}

/// Counters of one table.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct TableCounts {
    /// Scans of the whole table.
    pub scans: f64,
    /// Rows that these read.
    pub scanned_rows: f64,
    /// Scans of its indexes.
    pub index_scans: f64,
    /// Rows inserted, updated, deleted.
    pub written: f64,
    /// Rows that are dead and not yet cleaned up; no counter.
    pub dead: f64,
}

/// Who waits for whom at the moment of a snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BlockedSession {
    /// Role and application that wait.
    pub who: String,
    /// Role and application that hold the lock.
    pub by: String,
    /// For how long, in seconds.
    pub seconds: f64,
    /// The statement that waits, cut.
    pub statement: String,
}

/// A moment of a database.
#[derive(Debug, Clone, PartialEq)]
pub struct DatabaseSnapshot {
    /// Name of the database.
    pub database: String,
    /// When, by our clock.
    pub at: Timestamp,
    /// Statements, or why there are none.
    pub statements: Result<BTreeMap<StatementKey, StatementCounts>, String>,
    /// What changes when statements are forgotten: how often some were dropped, and when all were.
    pub forgotten: (f64, String),
    /// Texts of statements, where they were asked for.
    pub texts: BTreeMap<i64, String>,
    /// Tables by name.
    pub tables: BTreeMap<String, TableCounts>,
    /// When the statistics of the database began.
    pub began: String,
    /// Who waits for whom now.
    pub blocked: Vec<BlockedSession>,
    /// Locks.
    pub locks: LockCounts,
}

/// What one statement did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatementWork {
    /// Its text with constants taken out; empty when it is not known.
    pub text: String,
    /// Executions.
    pub calls: f64,
    /// Rows returned or changed.
    pub rows: f64,
    /// Time, in seconds.
    pub seconds: f64,
    /// Blocks found in the cache.
    pub blocks_hit: f64,
    /// Blocks that were not.
    pub blocks_read: f64,
    /// Blocks of temporary files written.
    pub temp_written: f64,
}

/// What happened in one table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TableWork {
    /// Schema and name.
    pub table: String,
    /// Scans of the whole table.
    pub scans: f64,
    /// Rows that these read.
    pub scanned_rows: f64,
    /// Scans of its indexes.
    pub index_scans: f64,
    /// Rows inserted, updated, deleted.
    pub written: f64,
    /// Dead rows at the end.
    pub dead: f64,
}

/// What a database did between two snapshots.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DatabaseWork {
    /// The probe that took the snapshots.
    pub probe: String,
    /// Name of the database.
    pub database: String,
    /// Seconds between the snapshots.
    pub seconds: f64,
    /// Sums over all statements, those that are not listed included.
    pub total: Option<StatementWork>,
    /// Statements that took most time, most first.
    pub statements: Vec<StatementWork>,
    /// Tables that were scanned or written most.
    pub tables: Vec<TableWork>,
    /// Who waited for whom when the run ended.
    pub blocked: Vec<BlockedSession>,
    /// What happened to its locks; `None`: not measured (as by earlier versions).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locks: Option<LockWork>,
    /// What is missing, one sentence each; empty: nothing.
    pub incomplete: Vec<String>,
}

/// Statements and tables that are kept.
pub const MOST_KEPT: usize = 20;

/// The statements whose time grew most, most first: key and growth. Of a statement that is new, everything is growth.
pub fn grown(before: &DatabaseSnapshot, after: &DatabaseSnapshot) -> Vec<(StatementKey, StatementCounts)> {
    let (Ok(before), Ok(after)) = (&before.statements, &after.statements) else { return Vec::new() };
    let growth = |key: &StatementKey, now: &StatementCounts| {
        let was = before.get(key).copied().unwrap_or_default();
        // Fewer calls than before: it was forgotten and seen again, and what it shows came since.
        let was = if now.calls < was.calls { StatementCounts::default() } else { was };
        let less = |now: f64, was: f64| (now - was).max(0.0);
        StatementCounts {
            calls: less(now.calls, was.calls),
            rows: less(now.rows, was.rows),
            seconds: less(now.seconds, was.seconds),
            blocks_hit: less(now.blocks_hit, was.blocks_hit),
            blocks_read: less(now.blocks_read, was.blocks_read),
            temp_written: less(now.temp_written, was.temp_written),
        }
    };
    let mut grown: Vec<(StatementKey, StatementCounts)> = after.iter().map(|(key, now)| (*key, growth(key, now))).collect();
    grown.retain(|(_, growth)| growth.calls > 0.0);
    grown.sort_by(|(_, a), (_, b)| b.seconds.total_cmp(&a.seconds));
    grown
}

/// What happened between two snapshots of the same database.
pub fn difference(probe: &str, before: &DatabaseSnapshot, after: &DatabaseSnapshot) -> DatabaseWork {
    let grown = grown(before, after);
    let work = |text: String, growth: &StatementCounts| StatementWork {
        text,
        calls: growth.calls,
        rows: growth.rows,
        seconds: growth.seconds,
        blocks_hit: growth.blocks_hit,
        blocks_read: growth.blocks_read,
        temp_written: growth.temp_written,
    };
    let total = grown.iter().fold(StatementCounts::default(), |sum, (_, growth)| StatementCounts {
        calls: sum.calls + growth.calls,
        rows: sum.rows + growth.rows,
        seconds: sum.seconds + growth.seconds,
        blocks_hit: sum.blocks_hit + growth.blocks_hit,
        blocks_read: sum.blocks_read + growth.blocks_read,
        temp_written: sum.temp_written + growth.temp_written,
    });
    let text = |key: &StatementKey| after.texts.get(&key.query).cloned().unwrap_or_default();
    DatabaseWork {
        probe: probe.into(),
        database: after.database.clone(),
        seconds: after.at.since(before.at).as_secs_f64(),
        total: (before.statements.is_ok() && after.statements.is_ok()).then(|| work(String::new(), &total)),
        statements: grown.iter().take(MOST_KEPT).map(|(key, growth)| work(text(key), growth)).collect(),
        tables: tables(before, after),
        blocked: after.blocked.clone(),
        locks: Some(locks::difference(&before.locks, &after.locks)),
        incomplete: missing(before, after),
    }
}

fn tables(before: &DatabaseSnapshot, after: &DatabaseSnapshot) -> Vec<TableWork> {
    let growth = |(name, now): (&String, &TableCounts)| {
        let was = before.tables.get(name).copied().unwrap_or_default();
        let less = |now: f64, was: f64| if now < was { now } else { now - was };
        TableWork {
            table: name.clone(),
            scans: less(now.scans, was.scans),
            scanned_rows: less(now.scanned_rows, was.scanned_rows),
            index_scans: less(now.index_scans, was.index_scans),
            written: less(now.written, was.written),
            dead: now.dead,
        }
    };
    let mut tables: Vec<TableWork> = after.tables.iter().map(growth).collect();
    tables.retain(|table| table.scans + table.index_scans + table.written > 0.0);
    let weight = |table: &TableWork| table.scanned_rows + table.written + table.index_scans;
    tables.sort_by(|a, b| weight(b).total_cmp(&weight(a)));
    tables.truncate(MOST_KEPT);
    tables
}

/// Why the difference is not the whole truth.
fn missing(before: &DatabaseSnapshot, after: &DatabaseSnapshot) -> Vec<String> {
    let mut missing = Vec::new();
    if let Some(why) = after.statements.as_ref().err().or(before.statements.as_ref().err()) {
        missing.push(format!("statements were not counted: {why}"));
    } else {
        if after.forgotten.1 != before.forgotten.1 {
            missing.push("the statistics of statements were reset meanwhile: what came before that is missing".into());
        }
        let dropped = after.forgotten.0 - before.forgotten.0;
        if dropped > 0.0 {
            missing.push(format!(
                "the server forgot rare statements {dropped} times meanwhile (pg_stat_statements.max): their part is missing"
            ));
        }
    }
    if after.began != before.began {
        missing.push("the statistics of the database were reset meanwhile: tables and deadlocks show what came since".into());
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: StatementKey = StatementKey { user: 10, database: 5, query: 77 };

    fn snapshot(second: i64, statements: &[(i64, f64, f64)]) -> DatabaseSnapshot {
        let counts = |calls: f64, seconds: f64| StatementCounts { calls, rows: calls * 2.0, seconds, ..StatementCounts::default() };
        DatabaseSnapshot {
            database: "shop".into(),
            at: Timestamp(second * 1_000_000),
            statements: Ok(statements
                .iter()
                .map(|(query, calls, seconds)| (StatementKey { query: *query, ..KEY }, counts(*calls, *seconds)))
                .collect()),
            forgotten: (0.0, "monday".into()),
            texts: BTreeMap::from([(77, "SELECT 1".into())]),
            tables: BTreeMap::new(),
            began: "monday".into(),
            blocked: Vec::new(),
            locks: LockCounts::default(),
        }
    }

    #[test]
    fn statements_are_counted_by_what_they_grew() {
        let before = snapshot(0, &[(77, 100.0, 5.0), (78, 10.0, 1.0), (79, 50.0, 9.0)]);
        let after = snapshot(60, &[(77, 300.0, 7.0), (78, 10.0, 1.0), (79, 20.0, 4.0), (80, 5.0, 0.5)]);
        let work = difference("db", &before, &after);
        let rows: Vec<(&str, f64, f64)> = work.statements.iter().map(|one| (one.text.as_str(), one.calls, one.seconds)).collect();
        // 78 did nothing, 79 was forgotten and seen again, 80 is new.
        assert_eq!(rows, [("", 20.0, 4.0), ("SELECT 1", 200.0, 2.0), ("", 5.0, 0.5)]);
        let total = work.total.unwrap();
        assert!((total.calls - 225.0).abs() < 1e-9 && (total.rows - 450.0).abs() < 1e-9, "{total:?}");
        assert!((work.seconds - 60.0).abs() < 1e-9 && work.incomplete.is_empty());
    }

    #[test]
    fn what_was_forgotten_is_said() {
        let before = snapshot(0, &[(77, 100.0, 5.0)]);
        let mut after = snapshot(60, &[(77, 300.0, 7.0)]);
        after.forgotten = (3.0, "monday".into());
        assert!(difference("db", &before, &after).incomplete[0].contains("forgot rare statements 3 times"));
        after.forgotten = (0.0, "tuesday".into());
        assert!(difference("db", &before, &after).incomplete[0].contains("were reset"));
        after.statements = Err("pg_stat_statements is not installed".into());
        let work = difference("db", &before, &after);
        assert!(work.total.is_none() && work.statements.is_empty());
        assert_eq!(work.incomplete, ["statements were not counted: pg_stat_statements is not installed"]);
    }

    #[test]
    fn tables_show_how_they_were_read() {
        let (mut before, mut after) = (snapshot(0, &[]), snapshot(1, &[]));
        let counts = |scans: f64, rows: f64| TableCounts { scans, scanned_rows: rows, ..TableCounts::default() };
        before.tables = BTreeMap::from([("public.a".into(), counts(5.0, 500.0)), ("public.b".into(), counts(1.0, 1.0))]);
        after.tables = BTreeMap::from([("public.a".into(), counts(8.0, 800.0)), ("public.b".into(), counts(1.0, 1.0))]);
        let work = difference("db", &before, &after);
        assert_eq!(work.tables.len(), 1);
        assert!((work.tables[0].scanned_rows - 300.0).abs() < 1e-9);
    }
}
