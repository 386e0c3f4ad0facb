//! A snapshot of a PostgreSQL database: its statements (extension pg_stat_statements), tables, and who waits for whom. Taken before and
//! after a run, never in a reading. Texts of statements are fetched of few, and only at the end: loading them all can take a minute.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Session;
use super::simple::{self, Row};
use crate::model::database::{BlockedSession, DatabaseSnapshot, LockCounts, MOST_KEPT, StatementCounts, StatementKey, TableCounts, grown};
use crate::model::units::Timestamp;
use crate::probe::one_connection::Failed;

const DATABASE: &str = "SELECT current_database() AS database, COALESCE(stats_reset::text, '') AS began, deadlocks FROM pg_stat_database \
     WHERE datname = current_database()";
const EXTENSION: &str = "SELECT quote_ident(n.nspname) AS schema, extversion AS version FROM pg_extension e \
     JOIN pg_namespace n ON n.oid = e.extnamespace WHERE extname = 'pg_stat_statements'";
const TABLES: &str = "SELECT schemaname || '.' || relname AS name, seq_scan, seq_tup_read, COALESCE(idx_scan, 0) AS idx_scan, \
     n_tup_ins + n_tup_upd + n_tup_del AS written, n_dead_tup FROM pg_stat_user_tables \
     ORDER BY seq_tup_read + COALESCE(idx_scan, 0) + n_tup_ins + n_tup_upd + n_tup_del DESC LIMIT 500";
const BLOCKED: &str = "WITH waiting AS MATERIALIZED (SELECT pid, usename, application_name, state_change, left(query, 200) AS query \
     FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND backend_type = 'client backend' ORDER BY state_change LIMIT 5) \
     SELECT w.usename || ' ' || w.application_name AS who, EXTRACT(EPOCH FROM clock_timestamp() - w.state_change) AS seconds, w.query, \
     (SELECT string_agg(DISTINCT b.usename || ' ' || b.application_name, ', ') FROM pg_stat_activity b WHERE b.pid = ANY(pg_blocking_pids(w.pid))) \
     AS by FROM waiting w";
/// Locks that others hold in this database; every lock of the server is looked at, once before and once after a run.
const HELD: &str = "SELECT mode, count(*) AS held FROM pg_locks WHERE granted AND pid <> pg_backend_pid() \
     AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) GROUP BY 1";
/// Statements of this database; those of the probe's own role are not the load's.
const OURS_NOT: &str = "dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) \
     AND userid <> (SELECT oid FROM pg_roles WHERE rolname = current_user)";

/// Takes one. With the snapshot from before, the texts of the statements that did most since are fetched too.
pub(super) async fn take(session: &mut Session, at: Timestamp, before: Option<Arc<DatabaseSnapshot>>) -> Result<DatabaseSnapshot, Failed> {
    let connection = &mut session.connection;
    let answers = simple::ask(connection, [DATABASE, EXTENSION, TABLES, BLOCKED, HELD].join("; ")).await?;
    let rows = |statement: usize| answers.get(statement).map_or(&[][..], Vec::as_slice);
    let text = |row: Option<&Row>, column: &str| row.and_then(|row| row.text(column)).unwrap_or_default();
    let mut snapshot = DatabaseSnapshot {
        database: text(rows(0).first(), "database"),
        at,
        statements: Err("the extension pg_stat_statements is not in this database; CREATE EXTENSION pg_stat_statements;".into()),
        forgotten: (0.0, String::new()),
        texts: BTreeMap::new(),
        tables: rows(2).iter().filter_map(|row| Some((row.text("name")?, table(row)))).collect(),
        began: text(rows(0).first(), "began"),
        blocked: rows(3).iter().map(blocked).collect(),
        locks: LockCounts {
            held: rows(4).iter().filter_map(|row| Some((row.text("mode")?, row.number("held")?))).collect(),
            deadlocks: rows(0).first().and_then(|row| row.number("deadlocks")),
            // The probe adds what its readings saw.
            waits: BTreeMap::new(),
        },
    };
    let Some(extension) = rows(1).first() else { return Ok(snapshot) };
    let (schema, version) = (text(Some(extension), "schema"), version_of(&text(Some(extension), "version")));
    if version < (1, 8) {
        snapshot.statements = Err("the extension pg_stat_statements is older than 1.8; ALTER EXTENSION pg_stat_statements UPDATE;".into());
        return Ok(snapshot);
    }
    snapshot.statements = match simple::ask(&mut session.connection, statements(&schema)).await {
        Ok(answers) => Ok(answers.iter().flatten().filter_map(statement).collect()),
        Err(failed) if failed.broken => return Err(failed),
        Err(failed) => Err(failed.error.detail),
    };
    if snapshot.statements.is_ok() && version >= (1, 9) {
        let sql = format!("SELECT dealloc, COALESCE(stats_reset::text, '') AS reset FROM {schema}.pg_stat_statements_info");
        let answers = simple::ask(&mut session.connection, sql).await?;
        let info = answers.iter().flatten().next();
        snapshot.forgotten = (info.and_then(|row| row.number("dealloc")).unwrap_or(0.0), text(info, "reset"));
    }
    if let Some(before) = before {
        let most: Vec<String> = grown(&before, &snapshot).iter().take(MOST_KEPT).map(|(key, _)| key.query.to_string()).collect();
        if !most.is_empty() {
            snapshot.texts = texts(session, &schema, &most.join(", ")).await?;
        }
    }
    Ok(snapshot)
}

fn statements(schema: &str) -> String {
    format!(
        "SELECT userid, dbid, queryid, sum(calls) AS calls, sum(rows) AS rows, sum(total_exec_time) / 1000 AS seconds, \
         sum(shared_blks_hit) AS hit, sum(shared_blks_read) AS read, sum(temp_blks_written) AS temp \
         FROM {schema}.pg_stat_statements(false) WHERE queryid IS NOT NULL AND {OURS_NOT} GROUP BY 1, 2, 3"
    )
}

/// The texts of these statements. When that takes too long there are none, and the numbers are as good as before.
async fn texts(session: &mut Session, schema: &str, queries: &str) -> Result<BTreeMap<i64, String>, Failed> {
    let sql = format!(
        "SELECT queryid, left(query, 2000) AS query FROM {schema}.pg_stat_statements(true) WHERE queryid IN ({queries}) AND {OURS_NOT}"
    );
    match simple::ask(&mut session.connection, sql).await {
        Ok(answers) => {
            let pair = |row: &Row| Some((row.text("queryid")?.parse().ok()?, one_line(&row.text("query")?)));
            Ok(answers.iter().flatten().filter_map(pair).collect())
        }
        Err(failed) if failed.broken => Err(failed),
        Err(_) => Ok(BTreeMap::new()),
    }
}

/// A statement without line breaks and runs of blanks.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `1.10` as numbers.
fn version_of(text: &str) -> (u32, u32) {
    let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
    (major.parse().unwrap_or(0), minor.parse().unwrap_or(0))
}

fn statement(row: &Row) -> Option<(StatementKey, StatementCounts)> {
    let whole = |column: &str| row.text(column)?.parse::<i64>().ok();
    let number = |column: &str| row.number(column).unwrap_or(0.0);
    let key = StatementKey { user: whole("userid")?, database: whole("dbid")?, query: whole("queryid")? };
    let counts = StatementCounts {
        calls: number("calls"),
        rows: number("rows"),
        seconds: number("seconds"),
        blocks_hit: number("hit"),
        blocks_read: number("read"),
        temp_written: number("temp"),
    };
    Some((key, counts))
}

fn table(row: &Row) -> TableCounts {
    let number = |column: &str| row.number(column).unwrap_or(0.0);
    TableCounts {
        scans: number("seq_scan"),
        scanned_rows: number("seq_tup_read"),
        index_scans: number("idx_scan"),
        written: number("written"),
        dead: number("n_dead_tup"),
    }
}

fn blocked(row: &Row) -> BlockedSession {
    let text = |column: &str| one_line(&row.text(column).unwrap_or_default());
    BlockedSession { who: text("who"), by: text("by"), seconds: row.number("seconds").unwrap_or(0.0).max(0.0), statement: text("query") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbers() {
        assert!(version_of("1.10") > version_of("1.9") && version_of("1.7") < (1, 8) && version_of("x") < (1, 8));
    }
}
