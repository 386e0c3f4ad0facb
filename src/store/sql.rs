//! Statement text, the same for SQLite and PostgreSQL: `$1` placeholders, upserts, `RETURNING`. Only leasing has two forms.
//! The tables are made in `migrations/` and explained in docs/storage.md.

/// Which of `runs r` are listed, in three forms: a filter that may be absent would hide the index for the one that is there.
macro_rules! listed {
    ($select:expr) => {
        [
            listed!($select, "($1 IS NULL OR r.profile = $1) AND ($2 IS NULL OR r.target = $2)"),
            listed!($select, "r.profile = $1 AND ($2 IS NULL OR r.target = $2)"),
            listed!($select, "($1 IS NULL OR r.profile = $1) AND r.target = $2"),
        ]
    };
    ($select:expr, $which:literal) => {
        concat!(
            $select,
            " WHERE ",
            $which,
            " AND ($3 IS NULL OR r.status = $3) AND ($4 IS NULL OR r.verdict = $4) AND r.started_at < $5 \
             ORDER BY r.started_at DESC, r.num DESC LIMIT $6"
        )
    };
}

macro_rules! run_columns {
    () => {
        "id, profile, target, trigger_by, trigger_name, digest, target_version, started_at, ended_at, status, ended_by, verdict, reasons, \
         catalog, summary, thresholds, controls"
    };
}

macro_rules! outbox_columns {
    () => {
        "num, id, channel, message, state, attempts, created_at, not_before, leased_until, done_at, detail"
    };
}

/// A message is due when it waits, nobody has it, and no earlier one of its incident and channel waits.
macro_rules! lease {
    ($locking:literal) => {
        concat!(
            "WITH due AS MATERIALIZED (SELECT o.num AS due_num FROM outbox o WHERE o.state = 'waiting' AND o.not_before <= $1 \
             AND (o.leased_until IS NULL OR o.leased_until <= $1) AND ($5 IS NULL OR o.channel = $5) AND NOT EXISTS (SELECT 1 FROM outbox e WHERE e.state = 'waiting' \
             AND e.incident = o.incident AND e.channel = o.channel AND (e.seq < o.seq OR (e.seq = o.seq AND e.num < o.num))) \
             ORDER BY o.num LIMIT $3",
            $locking,
            ") UPDATE outbox SET leased_until = $2, owner = $4 FROM due WHERE num = due_num RETURNING ",
            outbox_columns!()
        )
    };
}

pub(super) const PING: &str = "UPDATE store_meta SET pings = pings + 1 WHERE id = 1";
pub(super) const VERSION: &str = "SELECT max(version) FROM _sqlx_migrations";

pub(super) const INSERT_RUN: &str = concat!(
    "INSERT INTO runs (",
    run_columns!(),
    ", owner) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)"
);
pub(super) const UPDATE_RUN: &str = "UPDATE runs SET profile = $2, target = $3, trigger_by = $4, trigger_name = $5, digest = $6, \
    target_version = $7, ended_at = $8, status = $9, ended_by = $10, verdict = $11, reasons = $12, catalog = $13, summary = $14, \
    thresholds = $15, controls = $16 WHERE id = $1";
pub(super) const LOAD_BEGINS: &str = "UPDATE runs SET started_at = $2 WHERE id = $1 AND status = 'running' \
    AND NOT EXISTS (SELECT 1 FROM intervals WHERE run = num)";
pub(super) const RUN_BY_ID: &str = concat!("SELECT ", run_columns!(), " FROM runs WHERE id = $1");
pub(super) const RUN_BY_PART: &str = concat!(
    "SELECT ",
    run_columns!(),
    " FROM runs WHERE length(id) > length($1) AND (substr(id, 1, length($1)) = $1 OR substr(id, length(id) - length($1) + 1) = $1) LIMIT 2"
);
pub(super) const RUN_LAST: &str = concat!("SELECT ", run_columns!(), " FROM runs ORDER BY started_at DESC, num DESC LIMIT 1");
pub(super) const RUNS: [&str; 3] = listed!(concat!("SELECT ", run_columns!(), " FROM runs r"));
/// Columns of `runs` up to `reasons` only: what comes after them is large.
pub(super) const RUN_LINES: [&str; 3] = listed!(
    "SELECT r.id, r.profile, r.target, r.trigger_by, r.trigger_name, r.digest, r.target_version, r.started_at, r.ended_at, r.status, \
     r.ended_by, r.verdict, r.reasons, h.seconds, h.requests, h.failed, h.per_second, h.p95_us, h.pool_peak FROM runs r \
     LEFT JOIN headlines h ON h.run = r.num"
);
pub(super) const SAVE_HEADLINE: &str = "INSERT INTO headlines (run, seconds, requests, failed, per_second, p95_us, pool_peak) \
    SELECT num, $2, $3, $4, $5, $6, $7 FROM runs WHERE id = $1 ON CONFLICT (run) DO UPDATE SET seconds = excluded.seconds, \
    requests = excluded.requests, failed = excluded.failed, per_second = excluded.per_second, p95_us = excluded.p95_us, \
    pool_peak = excluded.pool_peak";
pub(super) const DELETE_HEADLINE: &str = "DELETE FROM headlines WHERE run = (SELECT num FROM runs WHERE id = $1)";
/// Runs that were written without one: by an older program, in an export.
pub(super) const WITHOUT_HEADLINE: &str =
    "SELECT id, summary FROM runs r WHERE summary IS NOT NULL AND NOT EXISTS (SELECT 1 FROM headlines h WHERE h.run = r.num) LIMIT 100";
pub(super) const RUN_KEY: &str = "SELECT num, started_at FROM runs WHERE id = $1";
pub(super) const ORPHANS: &str = "SELECT r.num, r.id, r.reasons, (SELECT max(i.at) FROM intervals i WHERE i.run = r.num) FROM runs r \
    WHERE r.status = 'running' AND (r.owner IS NULL OR NOT EXISTS (SELECT 1 FROM owners o WHERE o.id = r.owner)) ORDER BY r.num";
pub(super) const INTERRUPT: &str =
    "UPDATE runs SET status = 'interrupted', ended_by = 'crash', ended_at = $2, reasons = $3 WHERE num = $1 AND status = 'running'";

pub(super) const INSERT_INTERVAL: &str = "INSERT INTO intervals (run, at, second, stall_us, cpu, shards) \
    VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (run, at) DO NOTHING";
pub(super) const DELETE_INTERVAL: &str = "DELETE FROM intervals WHERE run = $1 AND at = $2";
pub(super) const DELETE_STEPS: &str = "DELETE FROM step_intervals WHERE run = $1 AND at = $2";
pub(super) const DELETE_SCENARIOS: &str = "DELETE FROM scenario_intervals WHERE run = $1 AND at = $2";
pub(super) const INSERT_STEP: &str = "INSERT INTO step_intervals (run, at, second, step, ok, failed, failures, messages, response_ok, \
    response_failed, service_ok, service_failed, waiting, blocked_us, dns_us, connecting_us, tls_us, sending_us, waiting_us, \
    receiving_us, bytes_sent, bytes_received, connections, checks, rare) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, \
    $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25)";
pub(super) const INSERT_SCENARIO: &str = "INSERT INTO scenario_intervals (run, at, second, scenario, scheduled, started, completed, \
    failed, interrupted, dropped, unsent, vus, vus_busy, with_failed_check, broke_off, iteration_duration, dropped_wait, start_lag) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)";
pub(super) const DELETE_GROUPS: &str = "DELETE FROM group_intervals WHERE run = $1 AND at = $2";
pub(super) const INSERT_GROUP: &str = "INSERT INTO group_intervals (run, at, second, group_index, duration) VALUES ($1, $2, $3, $4, $5)";
pub(super) const GROUPS: &str = "SELECT second, group_index, duration FROM group_intervals WHERE run = $1 AND at >= $2 AND at < $3";
pub(super) const INTERVALS: &str =
    "SELECT second, stall_us, cpu, shards FROM intervals WHERE run = $1 AND at >= $2 AND at < $3 ORDER BY at";
pub(super) const STEPS: &str = "SELECT second, step, ok, failures, messages, response_ok, response_failed, service_ok, service_failed, \
    waiting, blocked_us, dns_us, connecting_us, tls_us, sending_us, waiting_us, receiving_us, bytes_sent, bytes_received, connections, \
    checks, rare FROM step_intervals WHERE run = $1 AND at >= $2 AND at < $3";
pub(super) const SCENARIOS: &str = "SELECT second, scenario, scheduled, started, completed, failed, interrupted, dropped, unsent, vus, \
    vus_busy, with_failed_check, broke_off, iteration_duration, dropped_wait, start_lag FROM scenario_intervals \
    WHERE run = $1 AND at >= $2 AND at < $3";

pub(super) const PROBE_KEY: &str = "INSERT INTO probes (target, name) VALUES ($1, $2) \
    ON CONFLICT (target, name) DO UPDATE SET name = excluded.name RETURNING num";
pub(super) const SERIES_KEY: &str = "INSERT INTO series (probe, metric, labels) VALUES ($1, $2, $3) \
    ON CONFLICT (probe, metric, labels) DO UPDATE SET metric = excluded.metric RETURNING num";
pub(super) const SAVE_READING: &str = "INSERT INTO readings (probe, at, run, second, points, error) VALUES ($1, $2, $3, $4, $5, $6) \
    ON CONFLICT (probe, at) DO UPDATE SET run = excluded.run, second = excluded.second, points = excluded.points, error = excluded.error";
pub(super) const SERIES: &str = "SELECT s.num, s.metric, s.labels FROM series s JOIN probes p ON p.num = s.probe \
    WHERE ($1 IS NULL OR p.target = $1) AND ($2 IS NULL OR s.metric = $2)";
// CROSS JOIN, because SQLite keeps its order: probes are few, and readings are then found by (probe, at).
macro_rules! readings {
    ($from:literal, $and:literal) => {
        concat!(
            "SELECT p.target, p.name, r.at, r.second, r.points, r.error FROM ",
            $from,
            " WHERE r.probe = p.num AND ($1 IS NULL OR p.target = $1) AND ($2 IS NULL OR EXISTS (SELECT 1 FROM series s WHERE \
             s.probe = p.num AND s.metric = $2)) AND r.at >= $3 AND r.at < $4",
            $and,
            " ORDER BY r.at, p.target, p.name"
        )
    };
}
pub(super) const READINGS: &str = readings!("probes p CROSS JOIN readings r", "");
pub(super) const READINGS_OF_RUN: &str = readings!("readings r CROSS JOIN probes p", " AND r.run = $5");

pub(super) const DELETE_FINDINGS: &str = "DELETE FROM findings WHERE run = $1 AND method = $2";
pub(super) const DELETE_FINDINGS_OF_ALL_VERSIONS: &str =
    "DELETE FROM findings WHERE run = $1 AND (method = $2 OR substr(method, 1, length($3)) = $3)";
pub(super) const INSERT_FINDING: &str =
    "INSERT INTO findings (run, kind, severity, title, evidence, method, at) VALUES ($1, $2, $3, $4, $5, $6, $7)";
pub(super) const FINDINGS: &str = "SELECT r.id, f.kind, f.severity, f.title, f.evidence, f.method, f.at FROM findings f \
    JOIN runs r ON r.num = f.run WHERE ($1 IS NULL OR r.id = $1) ORDER BY f.at DESC, f.num LIMIT $2";

pub(super) const SAVE_TICK: &str = "INSERT INTO ticks (schedule, due, profile, decided, outcome, reason, run) \
    VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (schedule, due) DO UPDATE SET profile = excluded.profile, \
    decided = excluded.decided, outcome = excluded.outcome, reason = excluded.reason, run = excluded.run \
    WHERE (ticks.run IS NULL OR ticks.run = excluded.run) \
    AND ($9 IS NULL OR NOT EXISTS (SELECT 1 FROM leases l WHERE l.name = $8 AND l.owner <> $9))";
pub(super) const TICKS: &str = "SELECT schedule, profile, due, decided, outcome, reason, run FROM ticks \
    WHERE ($1 IS NULL OR schedule = $1) ORDER BY due DESC, schedule LIMIT $2";

pub(super) const STANDSTILL: &str = "SELECT at, by_whom FROM standstill WHERE id = 1";
pub(super) const SAVE_STANDSTILL: &str = "INSERT INTO standstill (id, at, by_whom) VALUES (1, $1, $2) \
    ON CONFLICT (id) DO UPDATE SET at = excluded.at, by_whom = excluded.by_whom";
pub(super) const LAST_STOP: &str = "SELECT at, by_whom FROM stops WHERE id = 1";
pub(super) const SAVE_STOP: &str = "INSERT INTO stops (id, at, by_whom) VALUES (1, $1, $2) \
    ON CONFLICT (id) DO UPDATE SET at = excluded.at, by_whom = excluded.by_whom";
pub(super) const DELETE_STANDSTILL: &str = "DELETE FROM standstill";

pub(super) const ALERTS: &str = "SELECT fingerprint, rule, labels, state, since, active_since, clear_since, last_data, value, shown, \
    incident, opened_at, told, messages, last_message, run, muted, acked FROM alert_instances ORDER BY fingerprint";
pub(super) const SAVE_ALERT: &str = "INSERT INTO alert_instances (fingerprint, rule, labels, state, since, active_since, clear_since, \
    last_data, value, shown, incident, opened_at, told, messages, last_message, run, muted, acked) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18) \
    ON CONFLICT (fingerprint) DO UPDATE SET rule = excluded.rule, labels = excluded.labels, state = excluded.state, \
    since = excluded.since, active_since = excluded.active_since, clear_since = excluded.clear_since, last_data = excluded.last_data, \
    value = excluded.value, shown = excluded.shown, incident = excluded.incident, opened_at = excluded.opened_at, told = excluded.told, messages = excluded.messages, \
    last_message = excluded.last_message, run = excluded.run, muted = excluded.muted, acked = excluded.acked";
pub(super) const FORGET_ALERT: &str = "DELETE FROM alert_instances WHERE fingerprint = $1";
pub(super) const INSERT_TRANSITION: &str = "INSERT INTO alert_transitions (fingerprint, rule, incident, from_state, to_state, at, reason, \
    value) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
pub(super) const TRANSITIONS: &str = "SELECT fingerprint, rule, incident, from_state, to_state, at, reason, value FROM alert_transitions \
    WHERE ($1 IS NULL OR fingerprint = $1) ORDER BY at DESC, num DESC LIMIT $2";

pub(super) const INSERT_MESSAGE: &str = "INSERT INTO outbox (id, channel, incident, seq, message, state, attempts, created_at, \
    not_before, leased_until, done_at, detail) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT (id) DO NOTHING";
pub(super) const LEASE_SQLITE: &str = lease!("");
pub(super) const LEASE_POSTGRES: &str = lease!(" FOR UPDATE OF o SKIP LOCKED");
pub(super) const SETTLE: &str = "UPDATE outbox SET state = $2, attempts = attempts + $3, \
    not_before = CASE WHEN $2 = 'waiting' THEN $4 ELSE not_before END, leased_until = NULL, done_at = $5, detail = $6 \
    WHERE id = $1 AND state = 'waiting'";
pub(super) const MESSAGE_EXISTS: &str = "SELECT count(*) FROM outbox WHERE id = $1";
pub(super) const MESSAGES: &str =
    concat!("SELECT ", outbox_columns!(), " FROM outbox WHERE ($1 IS NULL OR state = $1) ORDER BY created_at DESC, num DESC LIMIT $2");
pub(super) const MESSAGES_OF: &str =
    concat!("SELECT ", outbox_columns!(), " FROM outbox WHERE incident = $1 AND channel = $2 ORDER BY seq, num");
/// With whether its incident, or the thread of its group, is open.
pub(super) const TOLD: &str = concat!(
    "SELECT ",
    outbox_columns!(),
    ", CAST(CASE WHEN EXISTS (SELECT 1 FROM alert_instances a WHERE a.incident = o.incident) \
     OR EXISTS (SELECT 1 FROM alert_threads t WHERE t.id = o.incident) THEN 1 ELSE 0 END AS BIGINT) AS is_open FROM outbox o \
     WHERE channel = $1 AND state = 'sent' AND (done_at >= $2 OR EXISTS (SELECT 1 FROM alert_instances a WHERE a.incident = o.incident) \
     OR EXISTS (SELECT 1 FROM alert_threads t WHERE t.id = o.incident)) ORDER BY incident, seq, num"
);
pub(super) const OUTBOX_STATS: &str = "SELECT count(*), min(created_at) FROM outbox WHERE state = 'waiting'";

/// Times by the database's clock, in microseconds.
macro_rules! owners {
    ($now:literal) => {
        concat!("SELECT id, host, pid, process, started_at, heartbeat, ", $now, " FROM owners ORDER BY id")
    };
}
macro_rules! beat {
    ($now:literal) => {
        concat!(
            "INSERT INTO owners (id, host, pid, process, started_at, heartbeat) VALUES ($1, $2, $3, $4, $5, ",
            $now,
            ") ON CONFLICT (id) DO UPDATE SET heartbeat = excluded.heartbeat"
        )
    };
}
macro_rules! hold {
    ($now:literal) => {
        concat!(
            "INSERT INTO leases (name, owner, since) VALUES ($1, $2, ",
            $now,
            ") ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, since = excluded.since \
             WHERE NOT EXISTS (SELECT 1 FROM owners o WHERE o.id = leases.owner)"
        )
    };
}
macro_rules! sqlite_now {
    ($statement:ident) => {
        $statement!("CAST(unixepoch('subsec') * 1000000 AS INTEGER)")
    };
}
macro_rules! postgres_now {
    ($statement:ident) => {
        $statement!("CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)")
    };
}
pub(super) const OWNERS_SQLITE: &str = sqlite_now!(owners);
pub(super) const OWNERS_POSTGRES: &str = postgres_now!(owners);
pub(super) const BEAT_SQLITE: &str = sqlite_now!(beat);
pub(super) const BEAT_POSTGRES: &str = postgres_now!(beat);
pub(super) const HOLD_SQLITE: &str = sqlite_now!(hold);
pub(super) const HOLD_POSTGRES: &str = postgres_now!(hold);
pub(super) const HOLDER: &str =
    "SELECT l.owner, o.host, o.pid, o.started_at FROM leases l LEFT JOIN owners o ON o.id = l.owner WHERE l.name = $1";
pub(super) const HELD_BY_OTHERS: &str = "SELECT count(*) FROM leases WHERE name = $1 AND owner <> $2";
pub(super) const DISMISS: &str = "DELETE FROM owners WHERE id = $1 AND heartbeat = $2";
pub(super) const RESIGN: &str = "DELETE FROM owners WHERE id = $1";
pub(super) const FREE_LEASES: &str = "DELETE FROM leases WHERE owner = $1";
pub(super) const RELEASE: &str = "DELETE FROM leases WHERE name = $1 AND owner = $2";
pub(super) const LOADS: &str =
    "SELECT id, target, started_at FROM runs WHERE owner = $1 AND status = 'running' ORDER BY started_at DESC, id DESC LIMIT 100";
pub(super) const FREE_MESSAGES: &str = "UPDATE outbox SET leased_until = NULL WHERE owner = $1 AND state = 'waiting'";
