//! Every Prometheus metric of Plimsoll: name, help, unit and labels stand in this file and nowhere else.
//! `metrics/record.rs` records into them, `metrics/readings.rs` and `metrics/durations.rs` show what the crate's own types cannot.
//! Live gauges vanish when a run ends, so that Prometheus marks them stale; figures of the last run stay. Reference: docs/metrics.md.

mod analysis;
mod durations;
mod history;
mod own;
mod readings;
mod record;
mod seed;
mod storage;

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus::{CounterVec, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry, TextEncoder};

use durations::Durations;
pub use history::RegressionFigure;
use readings::Readings;
pub use seed::Known;

/// What `/metrics` answers as its content type; Prometheus 3 refuses a page without a valid one.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Most different sets of step labels before new ones are counted as `other`.
pub const MAX_STEP_SERIES: usize = 1000;

/// Label value that stands for everything beyond [`MAX_STEP_SERIES`].
pub const OTHER: &str = "other";

/// A metric as it is declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Definition {
    /// Name, with its unit.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Labels.
    pub labels: &'static [&'static str],
    /// What it counts or shows.
    pub help: &'static str,
}

macro_rules! families {
    ($( $kind:ident $field:ident = $name:literal [$($label:literal),*] $help:literal; )*) => {
        /// The families that the prometheus crate keeps for us.
        struct Families { $( $field: families!(@type $kind), )* }

        impl Families {
            fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
                Ok(Self { $( $field: {
                    let family = families!(@new $kind, $name, $help, &[$($label),*])?;
                    registry.register(Box::new(family.clone()))?;
                    family
                }, )* })
            }
        }

        const DECLARED: &[Definition] =
            &[$( Definition { name: $name, kind: families!(@kind $kind), labels: &[$($label),*], help: $help } ),*];
    };
    (@type counter) => { IntCounterVec };
    (@type seconds) => { CounterVec };
    (@type gauge) => { GaugeVec };
    (@type histogram) => { HistogramVec };
    (@kind seconds) => { "counter" };
    (@kind $kind:ident) => { stringify!($kind) };
    (@new counter, $name:literal, $help:literal, $labels:expr) => { IntCounterVec::new(Opts::new($name, $help), $labels) };
    (@new seconds, $name:literal, $help:literal, $labels:expr) => { CounterVec::new(Opts::new($name, $help), $labels) };
    (@new gauge, $name:literal, $help:literal, $labels:expr) => { GaugeVec::new(Opts::new($name, $help), $labels) };
    (@new histogram, $name:literal, $help:literal, $labels:expr) => {
        HistogramVec::new(HistogramOpts::new($name, $help).buckets(SELF_BUCKETS.to_vec()), $labels)
    };
}

/// Upper bounds in seconds of the histograms about Plimsoll itself.
const SELF_BUCKETS: &[f64] = &[0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

families! {
    // Load, counted since the daemon started.
    counter requests = "plimsoll_requests_total" ["profile", "scenario", "step"] "Requests that ended, of all protocols.";
    counter requests_failed = "plimsoll_requests_failed_total" ["profile", "scenario", "step", "reason"] "Requests that failed, by class of reason.";
    counter checks = "plimsoll_checks_total" ["profile", "scenario", "step"] "Checks that were made.";
    counter checks_failed = "plimsoll_checks_failed_total" ["profile", "scenario", "step"] "Checks that did not hold.";
    counter sent_bytes = "plimsoll_sent_bytes_total" ["profile", "scenario", "step"] "Bytes written.";
    counter received_bytes = "plimsoll_received_bytes_total" ["profile", "scenario", "step"] "Bytes read.";
    counter connections_opened = "plimsoll_connections_opened_total" ["profile", "scenario", "step"] "Connections opened.";
    counter requests_resent = "plimsoll_requests_resent_total" ["profile", "scenario", "step"] "Requests sent again because the server had closed a kept connection, or had not begun with them.";
    counter messages_unheard = "plimsoll_messages_unheard_total" ["profile", "scenario", "step"] "Messages of WebSockets that were dropped because nobody listened.";
    counter closings_unanswered = "plimsoll_closings_unanswered_total" ["profile", "scenario", "step"] "Sessions on WebSockets whose good-bye the server did not answer.";
    counter iterations_scheduled = "plimsoll_iterations_scheduled_total" ["profile", "scenario"] "Starts that were due.";
    counter iterations_started = "plimsoll_iterations_started_total" ["profile", "scenario"] "Iterations that began.";
    counter iterations_completed = "plimsoll_iterations_completed_total" ["profile", "scenario"] "Iterations that went through their whole flow.";
    counter iterations_failed = "plimsoll_iterations_failed_total" ["profile", "scenario"] "Iterations that broke off because a template or an extraction failed.";
    counter iterations_interrupted = "plimsoll_iterations_interrupted_total" ["profile", "scenario"] "Iterations cut off by the end of the run.";
    counter iterations_dropped = "plimsoll_iterations_dropped_total" ["profile", "scenario"] "Starts that found no free VU.";
    counter iterations_unsent = "plimsoll_iterations_unsent_total" ["profile", "scenario"] "Starts that were due but not issued when the scenario ended.";
    counter iterations_with_failed_check = "plimsoll_iterations_with_failed_check_total" ["profile", "scenario"] "Ended iterations with at least one failed check or request.";
    // Runs.
    counter runs_started = "plimsoll_runs_started_total" ["profile"] "Runs that began.";
    counter runs_ended = "plimsoll_runs_ended_total" ["profile", "verdict"] "Runs that ended, by verdict; `none` when nothing could be judged.";
    gauge runs_active = "plimsoll_runs_active" ["profile"] "Runs going on.";
    // Live figures: only while a run is going on.
    gauge run_active_vus = "plimsoll_run_active_vus" ["profile", "scenario"] "VUs that exist in the running run.";
    gauge run_busy_vus = "plimsoll_run_busy_vus" ["profile", "scenario"] "VUs in the middle of an iteration in the running run.";
    gauge run_requests_per_second = "plimsoll_run_requests_per_second" ["profile"] "Requests that ended in the last second of the running run.";
    gauge run_failed_requests_per_second = "plimsoll_run_failed_requests_per_second" ["profile"] "Requests that failed in the last second of the running run.";
    gauge run_request_duration_p95 = "plimsoll_run_request_duration_p95_seconds" ["profile"] "95th percentile of the request duration over the last 5 s of the running run.";
    gauge run_elapsed = "plimsoll_run_elapsed_seconds" ["profile"] "Seconds of the running run that are over.";
    gauge run_planned = "plimsoll_run_planned_seconds" ["profile"] "Regular length of the running run.";
    gauge generator_stall = "plimsoll_generator_stall_seconds" ["profile"] "Longest time in the last second of the running run for which a load thread did not turn.";
    seconds generator_cpu = "plimsoll_generator_cpu_seconds_total" [] "CPU time that the load threads used.";
    // The last run of each profile: kept until the next one ends.
    gauge last_run_info = "plimsoll_last_run_info" ["profile", "target", "run_id", "verdict"] "Identity of the last run that ended; always 1.";
    gauge last_run_start = "plimsoll_last_run_start_timestamp_seconds" ["profile"] "When the latest run began.";
    gauge last_run_end = "plimsoll_last_run_end_timestamp_seconds" ["profile"] "When the last run that ended did so.";
    gauge last_run_seconds = "plimsoll_last_run_duration_seconds" ["profile"] "Length of the last run.";
    gauge last_run_verdict = "plimsoll_last_run_verdict" ["profile", "verdict"] "1 for the verdict of the last run, 0 for the others.";
    gauge last_run_thresholds = "plimsoll_last_run_thresholds" ["profile"] "Thresholds of the last run.";
    gauge last_run_thresholds_failed = "plimsoll_last_run_thresholds_failed" ["profile"] "Thresholds of the last run that did not hold.";
    gauge last_run_requests = "plimsoll_last_run_requests" ["profile"] "Requests of the last run.";
    gauge last_run_rate = "plimsoll_last_run_requests_per_second" ["profile"] "Requests a second over the last run.";
    gauge last_run_failed_ratio = "plimsoll_last_run_requests_failed_ratio" ["profile"] "Share of the last run's requests that failed.";
    gauge last_run_checks_failed_ratio = "plimsoll_last_run_checks_failed_ratio" ["profile"] "Share of the last run's checks that did not hold.";
    gauge last_run_iterations_failed_check_ratio = "plimsoll_last_run_iterations_with_failed_check_ratio" ["profile"] "Share of the last run's ended iterations with at least one failed check or request.";
    gauge last_run_p50 = "plimsoll_last_run_request_duration_p50_seconds" ["profile"] "Median of the last run's request durations.";
    gauge last_run_p95 = "plimsoll_last_run_request_duration_p95_seconds" ["profile"] "95th percentile of the last run's request durations.";
    gauge last_run_p99 = "plimsoll_last_run_request_duration_p99_seconds" ["profile"] "99th percentile of the last run's request durations.";
    gauge last_run_step_requests = "plimsoll_last_run_step_requests" ["profile", "scenario", "step"] "Requests of a step in the last run.";
    gauge last_run_step_failed_ratio = "plimsoll_last_run_step_requests_failed_ratio" ["profile", "scenario", "step"] "Share of a step's requests that failed in the last run.";
    gauge last_run_step_p50 = "plimsoll_last_run_step_request_duration_p50_seconds" ["profile", "scenario", "step"] "Median of a step's request durations in the last run.";
    gauge last_run_step_p95 = "plimsoll_last_run_step_request_duration_p95_seconds" ["profile", "scenario", "step"] "95th percentile of a step's request durations in the last run.";
    gauge last_run_step_p99 = "plimsoll_last_run_step_request_duration_p99_seconds" ["profile", "scenario", "step"] "99th percentile of a step's request durations in the last run.";
    gauge last_run_dropped = "plimsoll_last_run_iterations_dropped" ["profile"] "Starts of the last run that found no free VU.";
    gauge last_run_pool_peak = "plimsoll_last_run_pool_utilization_peak_ratio" ["profile", "probe", "pool"] "Highest pool utilization that was read in the last run.";
    gauge last_run_pool_saturated = "plimsoll_last_run_pool_saturated_readings" ["profile", "probe", "pool"] "Readings of the last run in which the pool was full (99 % or more).";
    // What analysis says of the last run of each profile.
    gauge leak_confidence = "plimsoll_leak_confidence_level" ["profile", "probe", "resource", "pool"] "How sure a leak is: 0 none is seen, 1 possible, 2 likely, 3 certain; absent when the data do not answer.";
    gauge leak_growth = "plimsoll_leak_growth_per_hour" ["profile", "probe", "resource", "pool"] "Growth of a resource that leaks per hour, in its base unit; of `p95` as a share.";
    gauge leak_exhaustion = "plimsoll_leak_exhaustion_seconds" ["profile", "probe", "resource", "pool"] "Time from the end of what was judged until a leak reaches its limit.";
    gauge capacity_load = "plimsoll_capacity_load" ["profile", "scenario", "unit", "kind"] "The load line of the last run that climbed: `safe`, `peak`, `breaking` and `breaking_estimated` load in the unit of the label.";
    gauge capacity_rate = "plimsoll_capacity_requests_per_second" ["profile"] "Capacity in successful requests a second: of the first bottleneck where its law is known, else the peak that was measured.";
    // The last run of each profile against the history of the profile.
    gauge history_runs = "plimsoll_history_runs" ["profile"] "Runs that the last run was compared with, itself included.";
    gauge history_left_out = "plimsoll_history_runs_left_out" ["profile"] "Runs that the last run was not compared with: another profile content or target, cut short, generator unfit.";
    gauge regression = "plimsoll_regression_ratio" ["profile", "metric", "of"] "How much worse the metric is since its last confirmed change of level, as a share (of shares of failures in points); 0 when it is not.";
    gauge regression_suspected = "plimsoll_regression_suspected" ["profile", "metric", "of"] "1 when the last run alone lies apart to the bad side, else 0.";
    // What was asked for.
    gauge threshold_seconds = "plimsoll_threshold_limit_seconds" ["profile", "threshold"] "Right side of a threshold on a time, as configured.";
    gauge threshold_ratio = "plimsoll_threshold_limit_ratio" ["profile", "threshold"] "Right side of a threshold on a share, as configured.";
    // Schedules.
    counter schedule_ticks = "plimsoll_schedule_ticks_total" ["schedule", "outcome"] "Instants of a schedule, by what became of them.";
    gauge schedule_last_due = "plimsoll_schedule_last_due_timestamp_seconds" ["schedule"] "The last instant of a schedule that was decided.";
    histogram scheduler_lag = "plimsoll_scheduler_lag_seconds" [] "How late the scheduler woke up.";
    // Probes.
    gauge probe_up = "plimsoll_probe_up" ["target", "probe"] "1 when the last reading of the probe succeeded, else 0.";
    counter probe_errors = "plimsoll_probe_errors_total" ["target", "probe", "reason"] "Readings that failed.";
    histogram probe_duration = "plimsoll_probe_duration_seconds" ["target", "probe"] "How long a reading took.";
    // Alerts and messages.
    gauge alerts = "plimsoll_alerts" ["rule", "severity", "state"] "Alerts by state.";
    counter notifications_sent = "plimsoll_notifications_sent_total" ["channel"] "Messages that arrived.";
    counter notifications_failed = "plimsoll_notifications_failed_total" ["channel", "reason"] "Attempts to send that failed and are tried again.";
    counter notifications_dropped = "plimsoll_notifications_dropped_total" ["channel", "reason"] "Messages that were given up.";
    gauge outbox_pending = "plimsoll_outbox_pending" [] "Messages that wait to be sent.";
    gauge outbox_oldest = "plimsoll_outbox_oldest_timestamp_seconds" [] "When the oldest waiting message was written; absent when none waits.";
    // The daemon itself.
    gauge config_successful = "plimsoll_config_last_reload_successful" [] "1 when the last reading of the configuration succeeded, else 0.";
    gauge config_success_at = "plimsoll_config_last_reload_success_timestamp_seconds" [] "When the configuration in force was read.";
    counter storage_errors = "plimsoll_storage_errors_total" ["operation"] "Calls of the store that failed.";
    counter intervals_lost = "plimsoll_intervals_lost_total" [] "Seconds of runs that could not be stored.";
    counter records_lost = "plimsoll_records_lost_total" ["kind"] "Other records that could not be stored: `tick` is what became of an instant of a schedule.";
    gauge spool_records = "plimsoll_spool_records" [] "Records that wait in the spool for the database.";
    gauge spool_bytes = "plimsoll_spool_bytes" [] "Size of the spool.";
    gauge own_memory = "plimsoll_process_resident_memory_bytes" [] "Resident memory of the daemon, as it is stored every minute and judged.";
    gauge own_cpu = "plimsoll_process_cpu_cores" [] "CPU of the daemon in cores, as it is stored every minute.";
    gauge own_descriptors = "plimsoll_process_open_fds" [] "Open file descriptors of the daemon, as they are stored every minute and judged.";
    gauge own_threads = "plimsoll_process_threads" [] "Threads of the daemon, as they are stored every minute and judged.";
    gauge in_charge = "plimsoll_in_charge" [] "1 when this daemon is in charge of the database, 0 when it stands by.";
    counter series_overflow = "plimsoll_series_overflow_total" [] "Times that figures were counted under `other` because there are too many series.";
    gauge build_info = "plimsoll_build_info" ["version"] "Version of Plimsoll; always 1.";
}

/// The histogram of request durations, fed from the load's own histograms.
const REQUEST_DURATION: Definition = Definition {
    name: "plimsoll_request_duration_seconds",
    kind: "histogram",
    labels: &["profile", "scenario", "step"],
    help: "Duration of answered requests: from the intended start in open scenarios, sending + waiting + receiving in closed ones. Starts that were dropped count with their waits, at the scenario's first step.",
};

const fn shown(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Definition {
    Definition { name, kind: "gauge", labels, help }
}

const POOL: &[&str] = &["target", "probe", "pool"];
const PROCESS: &[&str] = &["target", "probe"];

const HEADROOM: &[&str] = &["target", "probe", "resource"];

/// How readings of probes are shown: the metric of the model and the gauge. Further labels of a reading are added as they are.
const READINGS: &[(&str, Definition)] = &[
    ("pool_utilization", shown("plimsoll_pool_utilization_ratio", POOL, "Connections checked out of the configured maximum.")),
    ("pool_in_use", shown("plimsoll_pool_in_use_connections", POOL, "Connections checked out.")),
    ("pool_idle", shown("plimsoll_pool_idle_connections", POOL, "Open connections that are not checked out.")),
    ("pool_limit", shown("plimsoll_pool_max_connections", POOL, "Configured maximum of connections.")),
    ("pool_waiting", shown("plimsoll_pool_waiting_callers", POOL, "Callers waiting for a connection.")),
    ("pool_waits", shown("plimsoll_pool_waits_per_second", POOL, "Waits for a connection that began, per second.")),
    ("pool_wait_time", shown("plimsoll_pool_wait_seconds", POOL, "Mean wait for a connection of those that waited.")),
    ("pool_timeouts", shown("plimsoll_pool_timeouts_per_second", POOL, "Waits that ended without a connection, per second.")),
    ("process_memory", shown("plimsoll_target_process_resident_memory_bytes", PROCESS, "Resident memory of the process.")),
    ("process_cpu", shown("plimsoll_target_process_cpu_cores", PROCESS, "CPU of the process in cores.")),
    ("process_descriptors", shown("plimsoll_target_process_open_fds", PROCESS, "Open file descriptors of the process.")),
    (
        "process_descriptors_ratio",
        shown("plimsoll_target_process_fds_utilization_ratio", PROCESS, "Open file descriptors of the process of their limit."),
    ),
    ("process_threads", shown("plimsoll_target_process_threads", PROCESS, "Threads of the process.")),
    (
        "pool_utilization_worst",
        shown("plimsoll_pool_utilization_worst_ratio", POOL, "Of several replicas: utilization of the fullest pool."),
    ),
    ("pool_wait_longest", shown("plimsoll_pool_wait_longest_seconds", POOL, "Longest wait for a connection of those that wait now.")),
    (
        "pg_connections",
        shown(
            "plimsoll_pg_connections",
            &["target", "probe", "state"],
            "PostgreSQL: client sessions by what they do (`state`), the probe's own not counted.",
        ),
    ),
    (
        "pg_clients",
        shown(
            "plimsoll_pg_client_connections",
            &["target", "probe", "database", "user", "application"],
            "PostgreSQL: sessions of the clients that have most of them.",
        ),
    ),
    (
        "pg_oldest_transaction",
        shown("plimsoll_pg_oldest_transaction_seconds", PROCESS, "PostgreSQL: age of the oldest open transaction of a client."),
    ),
    ("pg_lock_waiting", shown("plimsoll_pg_lock_waiting_sessions", PROCESS, "PostgreSQL: sessions that wait for a lock.")),
    (
        "pg_lock_wait",
        shown("plimsoll_pg_lock_wait_longest_seconds", PROCESS, "PostgreSQL: longest wait for a lock of those that wait now."),
    ),
    (
        "pg_blocked",
        shown(
            "plimsoll_pg_blocked_sessions",
            &["target", "probe", "user", "application"],
            "PostgreSQL: sessions, of the ten that wait longest, that a client (`user`, `application`) holds up.",
        ),
    ),
    ("pg_commits", shown("plimsoll_pg_commits_per_second", PROCESS, "PostgreSQL: transactions committed in the database, per second.")),
    ("pg_rollbacks", shown("plimsoll_pg_rollbacks_per_second", PROCESS, "PostgreSQL: transactions rolled back, per second.")),
    ("pg_rows_read", shown("plimsoll_pg_rows_read_per_second", PROCESS, "PostgreSQL: rows that scans went through, per second.")),
    (
        "pg_rows_written",
        shown("plimsoll_pg_rows_written_per_second", PROCESS, "PostgreSQL: rows inserted, updated and deleted, per second."),
    ),
    ("pg_blocks_read", shown("plimsoll_pg_blocks_read_per_second", PROCESS, "PostgreSQL: blocks that were not in its cache, per second.")),
    (
        "pg_cache_hits",
        shown("plimsoll_pg_cache_hits_ratio", PROCESS, "PostgreSQL: share of blocks found in its cache since the former reading."),
    ),
    (
        "pg_temp_written",
        shown("plimsoll_pg_temp_written_bytes_per_second", PROCESS, "PostgreSQL: temporary files written, bytes per second."),
    ),
    ("pg_deadlocks", shown("plimsoll_pg_deadlocks_per_second", PROCESS, "PostgreSQL: deadlocks, per second.")),
    (
        "pg_sessions_lost",
        shown(
            "plimsoll_pg_sessions_lost_per_second",
            PROCESS,
            "PostgreSQL: sessions that were abandoned, killed or ended by an error, per second (from 14).",
        ),
    ),
    (
        "pg_wal_written",
        shown("plimsoll_pg_wal_written_bytes_per_second", PROCESS, "PostgreSQL: write-ahead log, bytes per second (from 14)."),
    ),
    (
        "pg_checkpoints",
        shown(
            "plimsoll_pg_checkpoints_per_second",
            &["target", "probe", "kind"],
            "PostgreSQL: checkpoints, `timed` and `requested`, per second.",
        ),
    ),
    (
        "pg_checkpoint_blocks",
        shown("plimsoll_pg_checkpoint_blocks_per_second", PROCESS, "PostgreSQL: blocks written by checkpoints, per second."),
    ),
    ("pgbouncer_queries", shown("plimsoll_pgbouncer_queries_per_second", POOL, "PgBouncer: queries, per second (`pool` is the database).")),
    (
        "pgbouncer_transactions",
        shown("plimsoll_pgbouncer_transactions_per_second", POOL, "PgBouncer: transactions, per second (`pool` is the database)."),
    ),
    (
        "pgbouncer_query_time",
        shown(
            "plimsoll_pgbouncer_query_seconds",
            POOL,
            "PgBouncer: mean time of a query since the former reading (`pool` is the database).",
        ),
    ),
    ("mysql_running", shown("plimsoll_mysql_running_threads", PROCESS, "MySQL: sessions that execute something now.")),
    ("mysql_queries", shown("plimsoll_mysql_queries_per_second", PROCESS, "MySQL: statements, per second.")),
    (
        "mysql_slow_queries",
        shown("plimsoll_mysql_slow_queries_per_second", PROCESS, "MySQL: statements slower than `long_query_time`, per second."),
    ),
    ("mysql_rows_read", shown("plimsoll_mysql_rows_read_per_second", PROCESS, "MySQL: rows read by InnoDB, per second.")),
    (
        "mysql_cache_hits",
        shown(
            "plimsoll_mysql_cache_hits_ratio",
            PROCESS,
            "MySQL: share of InnoDB's page reads that found the page in memory since the former reading.",
        ),
    ),
    ("mysql_disk_tables", shown("plimsoll_mysql_disk_tables_per_second", PROCESS, "MySQL: temporary tables on disk, per second.")),
    ("mysql_lock_waiting", shown("plimsoll_mysql_lock_waiting_sessions", PROCESS, "MySQL: sessions that wait for a row lock of InnoDB.")),
    ("mysql_lock_waits", shown("plimsoll_mysql_lock_waits_per_second", PROCESS, "MySQL: waits for row locks that began, per second.")),
    (
        "mysql_oldest_transaction",
        shown("plimsoll_mysql_oldest_transaction_seconds", PROCESS, "MySQL: age of the oldest open InnoDB transaction."),
    ),
    (
        "mysql_aborted",
        shown(
            "plimsoll_mysql_aborted_per_second",
            &["target", "probe", "kind"],
            "MySQL: sessions that broke off (`clients`) and connections that failed (`connects`), per second.",
        ),
    ),
    ("redis_blocked", shown("plimsoll_redis_blocked_clients", PROCESS, "Redis: clients that wait in a blocking command.")),
    ("redis_commands", shown("plimsoll_redis_commands_per_second", PROCESS, "Redis: commands, per second.")),
    ("redis_memory", shown("plimsoll_redis_used_memory_bytes", PROCESS, "Redis: memory of its data.")),
    (
        "redis_memory_ratio",
        shown("plimsoll_redis_memory_utilization_ratio", PROCESS, "Redis: memory of its data of `maxmemory`; absent without such a limit."),
    ),
    ("redis_evictions", shown("plimsoll_redis_evictions_per_second", PROCESS, "Redis: keys thrown out for want of memory, per second.")),
    ("redis_hits", shown("plimsoll_redis_hits_ratio", PROCESS, "Redis: share of look-ups that found their key since the former reading.")),
    ("redis_slow_commands", shown("plimsoll_redis_slow_commands", PROCESS, "Redis: entries of its log of slow commands.")),
    ("cgroup_cpu", shown("plimsoll_cgroup_cpu_cores", PROCESS, "CPU of the group of processes; 100 % is one core.")),
    (
        "cgroup_cpu_utilization",
        shown("plimsoll_cgroup_cpu_utilization_ratio", PROCESS, "CPU of the group of its limit; absent without a limit."),
    ),
    (
        "cgroup_throttled",
        shown("plimsoll_cgroup_throttled_ratio", PROCESS, "Share of scheduling periods in which the group was held back by its CPU limit."),
    ),
    ("cgroup_memory", shown("plimsoll_cgroup_memory_bytes", PROCESS, "Memory of the group, file cache included.")),
    (
        "cgroup_memory_ratio",
        shown("plimsoll_cgroup_memory_utilization_ratio", PROCESS, "Memory of the group of its limit; absent without a limit."),
    ),
    (
        "cgroup_memory_working_ratio",
        shown(
            "plimsoll_cgroup_memory_working_utilization_ratio",
            PROCESS,
            "Memory of the group of its limit, without file cache that is not in use; absent without a limit.",
        ),
    ),
    (
        "cgroup_memory_events",
        shown(
            "plimsoll_cgroup_memory_events_per_second",
            &["target", "probe", "event"],
            "Times the group met a memory limit (`event`: `high`, `max`, `oom`, `oom_kill`), per second.",
        ),
    ),
    (
        "cgroup_pressure",
        shown(
            "plimsoll_cgroup_pressure_ratio",
            &["target", "probe", "resource", "kind"],
            "Share of time in which `some` or all (`full`) tasks of the group waited for a `resource`: cpu, memory, io.",
        ),
    ),
    ("probe_time", shown("plimsoll_probe_reading_seconds", PROCESS, "How long the reading took: what the probe costs the target at most.")),
    ("headroom", shown("plimsoll_headroom_ratio", HEADROOM, "Share of a target's safe capacity that production leaves free.")),
    ("headroom_capacity", shown("plimsoll_headroom_capacity_requests_per_second", HEADROOM, "The safe capacity that was measured last.")),
    ("headroom_load", shown("plimsoll_headroom_load_requests_per_second", HEADROOM, "The load of production at its peak.")),
    ("headroom_time", shown("plimsoll_headroom_exhausted_seconds", HEADROOM, "Seconds until it is used up at the present growth.")),
    ("headroom_time_low", shown("plimsoll_headroom_exhausted_low_seconds", HEADROOM, "Lower end of the interval of that time.")),
    ("headroom_time_high", shown("plimsoll_headroom_exhausted_high_seconds", HEADROOM, "Upper end of the interval of that time.")),
    ("custom", shown("plimsoll_target_custom", &["target", "probe", "name"], "A number from a selector of your own.")),
];

/// What the crate's process collector shows of the daemon itself, on Linux.
const PROCESS_OF_DAEMON: &[Definition] = &[
    Definition { name: "process_cpu_seconds_total", kind: "counter", labels: &[], help: "CPU time of the daemon." },
    shown("process_open_fds", &[], "Open file descriptors of the daemon."),
    shown("process_max_fds", &[], "Limit of the daemon's file descriptors."),
    shown("process_virtual_memory_bytes", &[], "Virtual memory of the daemon."),
    shown("process_resident_memory_bytes", &[], "Resident memory of the daemon."),
    shown("process_start_time_seconds", &[], "When the daemon started."),
    shown("process_threads", &[], "Threads of the daemon."),
];

/// Every metric that `/metrics` can show, for the reference and the tests of dashboards.
pub fn definitions() -> impl Iterator<Item = &'static Definition> {
    DECLARED.iter().chain([&REQUEST_DURATION]).chain(READINGS.iter().map(|(_, definition)| definition)).chain(PROCESS_OF_DAEMON)
}

/// What Plimsoll shows to Prometheus. Shared by the engine, which records, and the server, which renders.
/// Recording takes short locks only; rendering never waits for the engine or the store.
pub struct Metrics {
    registry: Registry,
    families: Families,
    durations: Durations,
    readings: Readings,
    /// Step label sets seen so far, for the bound.
    steps: Mutex<BTreeSet<[String; 3]>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Metrics without any figures, in a registry of their own.
    pub fn new() -> Self {
        let registry = Registry::new();
        let families =
            Families::register(&registry).expect("names and labels are constants that `every_family_can_be_registered` registers");
        let metrics = Self { durations: Durations::default(), readings: Readings::default(), registry, families, steps: Mutex::default() };
        metrics.register(Box::new(metrics.durations.clone()));
        metrics.register(Box::new(metrics.readings.clone()));
        #[cfg(target_os = "linux")]
        metrics.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()));
        metrics.families.build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1.0);
        metrics.families.outbox_pending.with_label_values::<&str>(&[]).set(0.0);
        for counter in [&metrics.families.intervals_lost, &metrics.families.series_overflow] {
            counter.with_label_values::<&str>(&[]).inc_by(0);
        }
        for kind in storage::RECORD_KINDS {
            metrics.families.records_lost.with_label_values(&[kind]);
        }
        metrics.spooled(0, 0);
        metrics.families.generator_cpu.with_label_values::<&str>(&[]).inc_by(0.0);
        metrics.families.scheduler_lag.with_label_values::<&str>(&[]);
        metrics
    }

    fn register(&self, collector: Box<dyn prometheus::core::Collector>) {
        if let Err(error) = self.registry.register(collector) {
            tracing::error!(%error, "metrics cannot be registered");
        }
    }

    /// The page as text format 0.0.4; send it as [`CONTENT_TYPE`].
    pub fn render(&self) -> String {
        let families = self.registry.gather();
        let mut page = String::with_capacity(16 * 1024);
        if let Err(error) = TextEncoder::new().encode_utf8(&families, &mut page) {
            tracing::error!(%error, "the metrics page is incomplete");
        }
        page
    }
}

/// The guard of a lock, also when a former holder panicked: figures stay usable.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
