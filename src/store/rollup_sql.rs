//! Statement text of roll-ups and retention, the same for SQLite and PostgreSQL. The tables are made in `migrations/*/0004_rollups.sql`.

pub(super) const UNROLLED: &str = "SELECT num, id, started_at, status, rolled_seconds, catalog FROM runs \
    WHERE rolled = 0 AND num > $1 ORDER BY num LIMIT 1";
pub(super) const LAST_SECOND: &str = "SELECT second FROM intervals WHERE run = $1 ORDER BY at DESC LIMIT 1";
pub(super) const NEXT_SECOND: &str = "SELECT second FROM intervals WHERE run = $1 AND at >= $2 ORDER BY at LIMIT 1";
pub(super) const NEXT_READING: &str = "SELECT second FROM readings WHERE run = $1 AND second >= $2 ORDER BY second LIMIT 1";
pub(super) const LAST_READING: &str = "SELECT second FROM readings WHERE run = $1 AND second IS NOT NULL ORDER BY second DESC LIMIT 1";
/// Takes a piece: nobody else has rolled it up meanwhile, and nothing came late.
pub(super) const CLAIM: &str =
    "UPDATE runs SET rolled_seconds = $3, rolled = $4 WHERE num = $1 AND rolled_seconds = $2 AND rolled = 0 AND finest = 1";
/// What came late is rolled up again from the beginning of its hour, as long as the seconds are there.
pub(super) const LATE: &str = "UPDATE runs SET rolled = 0, \
    rolled_seconds = (CASE WHEN rolled_seconds < $2 THEN rolled_seconds ELSE $2 END) / 3600 * 3600 \
    WHERE num = $1 AND finest = 1 AND (rolled_seconds > $2 OR rolled = 1)";
pub(super) const LATE_READING: &str = "UPDATE probes SET rolled_until = $2 / 3600000000 * 3600000000 WHERE num = $1 AND rolled_until > $2";

pub(super) const CATALOG: &str = "SELECT catalog FROM runs WHERE num = $1";
pub(super) const FINEST: &str = "SELECT finest, rolled_seconds FROM runs WHERE num = $1";

macro_rules! span {
    () => {
        " WHERE run = $1 AND at >= $2 AND at < $3 AND resolution = $4"
    };
}
pub(super) const HEADS: &str = concat!("SELECT second, stall_us, cpu, shards, seconds, vus FROM rollups", span!(), " ORDER BY at");
pub(super) const STEPS: &str = concat!(
    "SELECT second, step, ok, failures, messages, response_ok, response_failed, service_ok, service_failed, waiting, blocked_us, dns_us, \
     connecting_us, tls_us, sending_us, waiting_us, receiving_us, bytes_sent, bytes_received, connections, checks, rare \
     FROM step_rollups",
    span!()
);
pub(super) const SCENARIOS: &str = concat!(
    "SELECT second, scenario, scheduled, started, completed, failed, interrupted, dropped, unsent, vus, vus_busy, with_failed_check, \
     broke_off, iteration_duration, dropped_wait, start_lag FROM scenario_rollups",
    span!()
);
pub(super) const GROUPS: &str = concat!("SELECT second, group_index, duration FROM group_rollups", span!());
pub(super) const FIGURES: &str =
    concat!("SELECT second, seconds, requests, failed, p50_us, p95_us, p99_us, vus, dropped FROM rollups", span!(), " ORDER BY at");
pub(super) const STEP_FIGURES: &str = "SELECT s.second, h.seconds, s.ok + s.failed, s.failed, s.p50_us, s.p95_us, s.p99_us, NULL, NULL \
    FROM step_rollups s JOIN rollups h ON h.run = s.run AND h.resolution = s.resolution AND h.at = s.at \
    WHERE s.run = $1 AND s.at >= $2 AND s.at < $3 AND s.resolution = $4 AND s.step = $5 ORDER BY s.at";

pub(super) const DELETE_SPANS: [&str; 5] = [
    concat!("DELETE FROM rollups", span!()),
    concat!("DELETE FROM step_rollups", span!()),
    concat!("DELETE FROM scenario_rollups", span!()),
    concat!("DELETE FROM group_rollups", span!()),
    concat!("DELETE FROM reading_rollups", span!()),
];
pub(super) const INSERT_HEAD: &str = "INSERT INTO rollups (run, resolution, at, second, seconds, stall_us, cpu, shards, requests, failed, \
    vus, dropped, p50_us, p95_us, p99_us) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)";
pub(super) const INSERT_STEP: &str = "INSERT INTO step_rollups (run, at, second, step, ok, failed, failures, messages, response_ok, \
    response_failed, service_ok, service_failed, waiting, blocked_us, dns_us, connecting_us, tls_us, sending_us, waiting_us, \
    receiving_us, bytes_sent, bytes_received, connections, checks, rare, resolution, p50_us, p95_us, p99_us) VALUES ($1, $2, $3, $4, $5, \
    $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29)";
pub(super) const INSERT_SCENARIO: &str = "INSERT INTO scenario_rollups (run, at, second, scenario, scheduled, started, completed, failed, \
    interrupted, dropped, unsent, vus, vus_busy, with_failed_check, broke_off, iteration_duration, dropped_wait, start_lag, resolution) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)";
pub(super) const INSERT_GROUP: &str =
    "INSERT INTO group_rollups (run, at, second, group_index, duration, resolution) VALUES ($1, $2, $3, $4, $5, $6)";

pub(super) const RUN_READINGS: &str =
    "SELECT second, points FROM readings WHERE run = $1 AND second >= $2 AND second < $3 AND points IS NOT NULL ORDER BY at";
pub(super) const READING_SPANS: &str = concat!(
    "SELECT series, at, samples, min_value, max_value, sum_value, last_value FROM reading_rollups",
    span!(),
    " ORDER BY at, series"
);
pub(super) const INSERT_READING: &str = "INSERT INTO reading_rollups (run, resolution, at, series, samples, min_value, max_value, \
    sum_value, last_value) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";

pub(super) const PROBES: &str = "SELECT num, rolled_until, kept_since FROM probes ORDER BY num";
pub(super) const NEWEST_READING: &str = "SELECT max(at) FROM readings WHERE probe = $1";
pub(super) const FIRST_READING_SINCE: &str = "SELECT min(at) FROM readings WHERE probe = $1 AND at >= $2";
pub(super) const CLAIM_PROBE: &str = "UPDATE probes SET rolled_until = $3 WHERE num = $1 AND rolled_until = $2";
pub(super) const IDLE_READINGS: &str = "SELECT at, points FROM readings WHERE probe = $1 AND at >= $2 AND at < $3 AND run IS NULL \
    AND points IS NOT NULL ORDER BY at";
pub(super) const IDLE_SPANS: &str = "SELECT series, at, samples, min_value, max_value, sum_value, last_value FROM reading_rollups \
    WHERE run = 0 AND at >= $2 AND at < $3 AND resolution = $4 AND series IN (SELECT num FROM series WHERE probe = $1) \
    ORDER BY at, series";
pub(super) const DELETE_IDLE_SPANS: &str = "DELETE FROM reading_rollups WHERE run = 0 AND at >= $2 AND at < $3 AND resolution = $4 \
    AND series IN (SELECT num FROM series WHERE probe = $1)";

pub(super) const SERIES_OF_METRIC: &str =
    "SELECT s.num, p.name, s.labels FROM series s JOIN probes p ON p.num = s.probe WHERE s.metric = $1";
pub(super) const READING_SPANS_OF_METRIC: &str = concat!(
    "SELECT series, at, samples, min_value, max_value, sum_value, last_value FROM reading_rollups",
    span!(),
    " AND series IN (SELECT num FROM series WHERE metric = $5) ORDER BY at, series"
);
