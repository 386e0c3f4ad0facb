//! One reading of a PostgreSQL server: the statements, which differ by version (13 to 17 and later), and the figures made of their rows.
//! Cheap on purpose: no table is looked at, no size is added up, and blockers are asked for of a few sessions only.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::simple::Row;
use super::waits::{WAITS, Waits};
use crate::model::database::WaitCounts;
use crate::model::series::Point;
use crate::probe::rates::{Rates, push};

/// Oldest version that is known, as `server_version_num`.
const OLDEST: u32 = 130_000;

/// What depends on the version of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Server {
    version: u32,
}

/// A session that is being opened has its place already, and is not in `pg_stat_activity` before it is let in (until version 18); what it holds
/// is the lock on its own transaction. All locks are looked at for that, but only once half of the places are taken.
const CAPACITY: &str = "SELECT current_setting('max_connections') AS most, current_setting('superuser_reserved_connections') AS superuser, \
     COALESCE(NULLIF(current_setting('reserved_connections', true), ''), '0') AS reserved, count(*) AS backends, \
     CASE WHEN count(*) * 2 >= current_setting('max_connections')::int THEN (SELECT count(DISTINCT l.pid) FROM pg_locks l \
     WHERE l.locktype = 'virtualxid' AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.pid = l.pid)) ELSE 0 END AS opening \
     FROM pg_stat_activity WHERE backend_type = 'client backend'";

const STATES: &str = "SELECT COALESCE(state, 'unknown') AS state, count(*) AS sessions, \
     EXTRACT(EPOCH FROM max(clock_timestamp() - xact_start)) AS oldest, \
     count(*) FILTER (WHERE wait_event_type = 'Lock') AS waiting, \
     EXTRACT(EPOCH FROM max(clock_timestamp() - state_change) FILTER (WHERE wait_event_type = 'Lock')) AS waits_for \
     FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() GROUP BY 1";

const CLIENTS: &str = "SELECT COALESCE(datname, '') AS datname, COALESCE(usename, '') AS usename, COALESCE(application_name, '') AS app, \
     count(*) AS sessions FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() \
     GROUP BY 1, 2, 3 ORDER BY 4 DESC, 1, 2, 3 LIMIT 10";

/// Finding out who blocks a session takes locks of the server itself: it is asked of the ten that wait longest.
const BLOCKERS: &str = "WITH waiting AS MATERIALIZED (SELECT pid FROM pg_stat_activity \
     WHERE wait_event_type = 'Lock' AND backend_type = 'client backend' ORDER BY state_change LIMIT 10), \
     blocked AS (SELECT pid, unnest(pg_blocking_pids(pid)) AS blocker FROM waiting) \
     SELECT CASE WHEN blocked.blocker = 0 THEN 'prepared transaction' ELSE COALESCE(a.usename, '') END AS usename, \
     COALESCE(a.application_name, '') AS app, count(DISTINCT blocked.pid) AS sessions \
     FROM blocked LEFT JOIN pg_stat_activity a ON a.pid = blocked.blocker GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT 5";

const WAL: &str = "SELECT wal_bytes FROM pg_stat_wal";
const CHECKPOINTS: &str =
    "SELECT checkpoints_timed AS timed, checkpoints_req AS requested, buffers_checkpoint AS blocks FROM pg_stat_bgwriter";
const CHECKPOINTS_17: &str = "SELECT num_timed AS timed, num_requested AS requested, buffers_written AS blocks FROM pg_stat_checkpointer";

impl Server {
    /// A server of this version; `Err` says why it cannot be read.
    pub(super) fn new(version: u32) -> Result<Self, String> {
        if version < OLDEST {
            return Err(format!("the server is PostgreSQL {}; 13 and later can be read", version / 10_000));
        }
        Ok(Self { version })
    }

    fn is(self, major: u32) -> bool {
        self.version >= major * 10_000
    }

    /// The statements of one reading, one answer each, in the order that [`Figures::points`] reads them.
    pub(super) fn reading(self) -> String {
        let lost = if self.is(14) { "sessions_abandoned + sessions_fatal + sessions_killed" } else { "NULL::bigint" };
        let database = format!(
            "SELECT xact_commit, xact_rollback, blks_read, blks_hit, tup_returned, tup_inserted + tup_updated + tup_deleted AS written, \
             temp_bytes, deadlocks, {lost} AS lost FROM pg_stat_database WHERE datname = current_database()"
        );
        let wal = if self.is(14) { WAL } else { "SELECT NULL::bigint AS wal_bytes" };
        let checkpoints = if self.is(17) { CHECKPOINTS_17 } else { CHECKPOINTS };
        [CAPACITY, STATES, CLIENTS, BLOCKERS, &database, wal, checkpoints, WAITS].join("; ")
    }
}

/// Makes figures of rows; remembers counters and the limit.
#[derive(Debug, Default)]
pub(super) struct Figures {
    rates: Rates,
    limit: Option<f64>,
    waits: Waits,
}

impl Figures {
    /// The figures of one reading.
    pub(super) fn points(&mut self, answers: &[Vec<Row>], at: Instant) -> Vec<Point> {
        let rows = |statement: usize| answers.get(statement).map_or(&[][..], Vec::as_slice);
        let mut points = Vec::new();
        if let Some(row) = rows(0).first() {
            self.capacity(row, &mut points);
        }
        states(rows(1), &mut points);
        for row in rows(2) {
            let labels = [("database", "datname"), ("user", "usename"), ("application", "app")];
            points.extend(labelled("pg_clients", row, &labels));
        }
        for row in rows(3) {
            points.extend(labelled("pg_blocked", row, &[("user", "usename"), ("application", "app")]));
        }
        if let Some(row) = rows(4).first() {
            self.database(row, at, &mut points);
        }
        let wal = rows(5).first().and_then(|row| row.number("wal_bytes"));
        push(&mut points, "pg_wal_written", self.rates.rate("wal", at, wal));
        if let Some(row) = rows(6).first() {
            for kind in ["timed", "requested"] {
                let rate = self.rates.rate(kind, at, row.number(kind));
                points.extend(rate.map(|rate| Point::new("pg_checkpoints", rate).with("kind", kind)));
            }
            push(&mut points, "pg_checkpoint_blocks", self.rates.rate("blocks", at, row.number("blocks")));
        }
        self.waits.add(rows(7), at);
        points
    }

    /// Waits for locks that readings have seen so far.
    pub(super) fn waits(&self) -> BTreeMap<(String, String), WaitCounts> {
        self.waits.so_far()
    }

    /// The server as a pool: every session takes one of its places, idle or not.
    fn capacity(&mut self, row: &Row, points: &mut Vec<Point>) {
        let kept_back = row.number("superuser").zip(row.number("reserved")).map(|(superuser, reserved)| superuser + reserved);
        self.limit = row.number("most").zip(kept_back).map(|(most, kept_back)| most - kept_back).filter(|limit| *limit > 0.0);
        let in_use = row.number("backends").map(|backends| backends + row.number("opening").unwrap_or(0.0));
        let mut add =
            |metric: &str, value: Option<f64>| points.extend(value.map(|value| Point::new(metric, value).with("pool", "postgres")));
        add("pool_utilization", in_use.zip(self.limit).map(|(in_use, limit)| in_use / limit));
        add("pool_in_use", in_use);
        add("pool_limit", self.limit);
    }

    fn database(&mut self, row: &Row, at: Instant, points: &mut Vec<Point>) {
        for (metric, column) in [
            ("pg_commits", "xact_commit"),
            ("pg_rollbacks", "xact_rollback"),
            ("pg_rows_read", "tup_returned"),
            ("pg_rows_written", "written"),
            ("pg_blocks_read", "blks_read"),
            ("pg_temp_written", "temp_bytes"),
            ("pg_deadlocks", "deadlocks"),
            ("pg_sessions_lost", "lost"),
        ] {
            push(points, metric, self.rates.rate(column, at, row.number(column)));
        }
        push(points, "pg_cache_hits", self.rates.share("cache", at, row.number("blks_hit"), row.number("blks_read")));
    }

    /// What is known when the server has no connection left for us: that it is full, and how many it has if it told us before.
    pub(super) fn full(&self) -> Vec<Point> {
        let add = |metric: &str, value: f64| Point::new(metric, value).with("pool", "postgres");
        let mut points = vec![add("pool_utilization", 1.0)];
        if let Some(limit) = self.limit {
            points.extend([add("pool_in_use", limit), add("pool_limit", limit)]);
        }
        points
    }
}

/// Sessions by state, and what waits for locks over all states.
fn states(rows: &[Row], points: &mut Vec<Point>) {
    let mut by_state = BTreeMap::from([("active", 0.0), ("idle", 0.0), ("idle in transaction", 0.0)]);
    let (mut waiting, mut longest, mut oldest) = (0.0, None, None);
    for row in rows {
        let state = match row.text("state").as_deref() {
            Some("active") => "active",
            Some("idle") => "idle",
            Some("idle in transaction" | "idle in transaction (aborted)") => "idle in transaction",
            Some(_) | None => "other",
        };
        *by_state.entry(state).or_default() += row.number("sessions").unwrap_or(0.0);
        waiting += row.number("waiting").unwrap_or(0.0);
        longest = greater(longest, row.number("waits_for"));
        oldest = greater(oldest, row.number("oldest"));
    }
    points.extend(by_state.into_iter().map(|(state, count)| Point::new("pg_connections", count).with("state", state)));
    push(points, "pg_lock_waiting", Some(waiting));
    push(points, "pg_lock_wait", longest.map(|seconds| seconds.max(0.0)));
    push(points, "pg_oldest_transaction", oldest.map(|seconds| seconds.max(0.0)));
}

fn greater(former: Option<f64>, now: Option<f64>) -> Option<f64> {
    former.map_or(now, |former| Some(now.map_or(former, |now| former.max(now))))
}

/// `sessions` of a row under labels that stand in its columns.
fn labelled(metric: &str, row: &Row, labels: &[(&str, &str)]) -> Option<Point> {
    let point = Point::new(metric, row.number("sessions")?);
    Some(labels.iter().fold(point, |point, (label, column)| point.with(label, row.text(column).unwrap_or_default())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_is_asked_for_what_it_has() {
        assert!(Server::new(120_019).unwrap_err().contains("PostgreSQL 12"));
        let thirteen = Server::new(130_016).unwrap().reading();
        assert!(!thirteen.contains("pg_stat_wal") && !thirteen.contains("sessions_abandoned"), "{thirteen}");
        for version in [140_000, 150_018, 160_004] {
            let sql = Server::new(version).unwrap().reading();
            assert!(sql.contains("pg_stat_wal") && sql.contains("sessions_killed") && sql.contains("pg_stat_bgwriter"), "{sql}");
        }
        let seventeen = Server::new(170_002).unwrap().reading();
        assert!(seventeen.contains("pg_stat_checkpointer") && !seventeen.contains("pg_stat_bgwriter"), "{seventeen}");
    }

    #[test]
    fn a_full_server_that_never_told_its_limit_is_full_all_the_same() {
        let points = Figures::default().full();
        assert_eq!(points, [Point::new("pool_utilization", 1.0).with("pool", "postgres")]);
        let known = Figures { limit: Some(97.0), ..Figures::default() }.full();
        assert_eq!(known.iter().map(|point| point.value).collect::<Vec<_>>(), [1.0, 97.0, 97.0]);
    }
}
