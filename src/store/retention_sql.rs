//! Statement text of retention and space. Deletions go by stretches of time, so that each is small on both databases.

/// The run that a profile is compared with is kept like one that somebody pinned.
pub(super) const KEPT_RUNS: &str = "SELECT id, profile, started_at, ended_at, rolled, finest, \
    COALESCE(pinned, (SELECT 'baseline' FROM baselines b WHERE b.run = runs.id LIMIT 1)), status FROM runs \
    WHERE num > COALESCE((SELECT num FROM runs WHERE id = $1), 0) ORDER BY num LIMIT $2";
pub(super) const PIN: &str = "UPDATE runs SET pinned = $2 WHERE id = $1";
pub(super) const PINNED: &str =
    "SELECT COALESCE(pinned, (SELECT 'baseline' FROM baselines b WHERE b.run = runs.id LIMIT 1)) FROM runs WHERE id = $1";
/// Only what nobody has pinned, or begun to roll up again, since the plan was made.
pub(super) const STATE: &str = "SELECT finest, rolled FROM runs WHERE num = $1 AND pinned IS NULL AND status <> 'running' \
    AND NOT EXISTS (SELECT 1 FROM baselines b WHERE b.run = runs.id)";
pub(super) const COARSER: &str = "UPDATE runs SET finest = $2 WHERE num = $1";
pub(super) const DELETE_RUN: &str = "DELETE FROM runs WHERE num = $1";

/// Seconds that are stored, and those that roll-ups hold.
pub(super) const SECONDS: &str = "SELECT count(*) FROM intervals WHERE run = $1";
pub(super) const ROLLED_SECONDS: &str = "SELECT CAST(COALESCE(sum(seconds), 0) AS BIGINT) FROM rollups WHERE run = $1 AND resolution = 10";
pub(super) const ROLL_AGAIN: &str = "UPDATE runs SET rolled = 0, rolled_seconds = 0 WHERE num = $1";

pub(super) const FIRST_SECOND: &str = "SELECT min(at) FROM intervals WHERE run = $1";
pub(super) const FIRST_READING: &str = "SELECT min(at) FROM readings WHERE run = $1";
pub(super) const DELETE_SECONDS: [&str; 4] = [
    "DELETE FROM step_intervals WHERE run = $1 AND at >= $2 AND at < $3",
    "DELETE FROM scenario_intervals WHERE run = $1 AND at >= $2 AND at < $3",
    "DELETE FROM group_intervals WHERE run = $1 AND at >= $2 AND at < $3",
    "DELETE FROM intervals WHERE run = $1 AND at >= $2 AND at < $3",
];
pub(super) const DELETE_READINGS: &str = "DELETE FROM readings WHERE run = $1 AND at >= $2 AND at < $3";
pub(super) const FIRST_SPAN: &str = "SELECT min(at) FROM rollups WHERE run = $1 AND resolution = $2";
pub(super) const FIRST_READING_SPAN: &str = "SELECT min(at) FROM reading_rollups WHERE run = $1 AND resolution = $2";

pub(super) const DELETE_IDLE_READINGS: &str = "DELETE FROM readings WHERE probe = $1 AND at >= $2 AND at < $3 AND run IS NULL";
pub(super) const KEPT_SINCE: &str = "UPDATE probes SET kept_since = $2 WHERE num = $1";
pub(super) const DELETE_IDLE_SPANS: &str = "DELETE FROM reading_rollups WHERE run = 0 AND resolution = $1 AND at >= $2 AND at < $3";

/// The newest of a schedule says from when on instants were missed.
pub(super) const DELETE_TICKS: &str = "DELETE FROM ticks WHERE (schedule, due) IN (SELECT t.schedule, t.due FROM ticks t WHERE t.due < $1 \
    AND t.due < (SELECT max(n.due) FROM ticks n WHERE n.schedule = t.schedule) ORDER BY t.due LIMIT $2)";
pub(super) const DELETE_TRANSITIONS: &str = "DELETE FROM alert_transitions WHERE num IN (SELECT t.num FROM alert_transitions t \
    WHERE t.at < $1 AND NOT EXISTS (SELECT 1 FROM alert_instances a WHERE a.fingerprint = t.fingerprint AND a.incident = t.incident) \
    ORDER BY t.at LIMIT $2)";
pub(super) const DELETE_MESSAGES: &str = "DELETE FROM outbox WHERE num IN (SELECT o.num FROM outbox o WHERE o.created_at < $1 \
    AND o.state <> 'waiting' AND COALESCE(o.done_at, o.created_at) < $1 \
    AND NOT EXISTS (SELECT 1 FROM alert_instances a WHERE a.incident = o.incident) ORDER BY o.created_at LIMIT $2)";

pub(super) const AUTO_VACUUM: &str = "PRAGMA auto_vacuum";
pub(super) const PAGE_SIZE: &str = "PRAGMA page_size";
pub(super) const FREE_PAGES: &str = "PRAGMA freelist_count";
pub(super) const VACUUM_STEP: &str = "PRAGMA incremental_vacuum(1000)";
pub(super) const VACUUM_FROM_NOW_ON: &str = "PRAGMA auto_vacuum = INCREMENTAL";
pub(super) const VACUUM: &str = "VACUUM";

pub(super) const PARTITION_AHEAD: &str = "SELECT plimsoll_partition_ahead($1, $2)";
pub(super) const PARTITIONS: &str = "SELECT parent, named, starts, ends FROM series_partitions WHERE ends <= $1 ORDER BY starts, parent";
/// The earliest reading between runs that is not rolled up.
pub(super) const FIRST_UNROLLED: &str = "SELECT min(r.at) FROM probes p JOIN readings r ON r.probe = p.num AND r.at >= p.rolled_until \
    WHERE r.run IS NULL AND r.points IS NOT NULL AND r.at < $1";
pub(super) const DROP_PARTITION: &str = "SELECT plimsoll_drop_partition($1, $2)";
