//! Where each library and exporter shows its pool on `/metrics`: one row per preset, in the selector grammar of `selector.rs`.
//! A table, no logic. A new row: fill it in, put a page of the real thing into tests/it/pages or mark it `Reported`. Method: docs/probes.md.

/// How far a preset has been checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    /// Against a page that the real library or exporter produced; the page is a test.
    Captured,
    /// Names read in the library's own source; the page in the tests was written by hand.
    Source,
    /// Names seen in other people's dashboards and documents only.
    Reported,
}

impl Checked {
    /// For the documentation.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Captured => "captured page",
            Self::Source => "source read",
            Self::Reported => "not verified",
        }
    }
}

/// One row: selectors as text, empty when the page does not have the figure.
#[derive(Debug, Clone, Copy)]
pub struct Preset {
    /// Name in the configuration.
    pub name: &'static str,
    /// Whose page it is.
    pub of: &'static str,
    /// Connections checked out.
    pub in_use: &'static str,
    /// Open and free.
    pub idle: &'static str,
    /// Configured maximum.
    pub limit: &'static str,
    /// Label of `in_use` that holds the maximum, for libraries that put it there.
    pub limit_label: &'static str,
    /// Callers that wait now.
    pub waiting: &'static str,
    /// Counter of waits.
    pub waits: &'static str,
    /// Counter of seconds waited.
    pub wait_seconds: &'static str,
    /// Counter of all acquisitions, waited or not, for libraries that do not count the waits alone.
    pub acquires: &'static str,
    /// Counter of waits that ended without a connection.
    pub timeouts: &'static str,
    /// Labels that tell one pool from another.
    pub labels: &'static [&'static str],
    /// The page is that of an exporter beside the database: its `process_*` figures are the exporter's own.
    pub exporter: bool,
    /// Looked for when no pool is configured.
    pub auto: bool,
    /// See [`Checked`].
    pub checked: Checked,
}

const NONE: Preset = Preset {
    name: "",
    of: "",
    in_use: "",
    idle: "",
    limit: "",
    limit_label: "",
    waiting: "",
    waits: "",
    wait_seconds: "",
    acquires: "",
    timeouts: "",
    labels: &[],
    exporter: false,
    auto: true,
    checked: Checked::Reported,
};

/// Every preset, in the order of the reference.
pub const PRESETS: &[Preset] = &[
    Preset {
        name: "go-sql",
        of: "Go database/sql, DBStatsCollector of client_golang",
        in_use: "go_sql_in_use_connections",
        idle: "go_sql_idle_connections",
        limit: "go_sql_max_open_connections",
        waits: "go_sql_wait_count_total",
        wait_seconds: "go_sql_wait_duration_seconds_total",
        labels: &["db_name"],
        checked: Checked::Captured,
        ..NONE
    },
    Preset {
        name: "go-sqlstats",
        of: "Go database/sql, dlmiddlecote/sqlstats",
        in_use: "go_sql_stats_connections_in_use",
        idle: "go_sql_stats_connections_idle",
        limit: "go_sql_stats_connections_max_open",
        waits: "go_sql_stats_connections_waited_for",
        wait_seconds: "go_sql_stats_connections_blocked_seconds",
        labels: &["db_name"],
        checked: Checked::Source,
        ..NONE
    },
    Preset {
        name: "gorm",
        of: "GORM's prometheus plugin",
        in_use: "gorm_dbstats_in_use",
        idle: "gorm_dbstats_idle",
        limit: "gorm_dbstats_max_open_connections",
        waits: "gorm_dbstats_wait_count",
        wait_seconds: "gorm_dbstats_wait_duration / 1e9",
        labels: &["db_name"],
        checked: Checked::Source,
        ..NONE
    },
    Preset {
        name: "pgxpool",
        of: "Go pgx, IBM/pgxpoolprometheus",
        in_use: "pgxpool_acquired_conns",
        idle: "pgxpool_idle_conns",
        limit: "pgxpool_max_conns",
        waits: "pgxpool_empty_acquire",
        wait_seconds: "pgxpool_empty_acquire_wait_time_ns / 1e9",
        timeouts: "pgxpool_canceled_acquire_count",
        labels: &["db_name"],
        checked: Checked::Source,
        ..NONE
    },
    Preset {
        name: "hikaricp",
        of: "HikariCP through Micrometer (Spring Boot)",
        in_use: "hikaricp_connections_active",
        idle: "hikaricp_connections_idle",
        limit: "hikaricp_connections_max",
        waiting: "hikaricp_connections_pending",
        wait_seconds: "hikaricp_connections_acquire_seconds_sum",
        acquires: "hikaricp_connections_acquire_seconds_count",
        timeouts: "hikaricp_connections_timeout_total",
        labels: &["pool"],
        checked: Checked::Source,
        ..NONE
    },
    Preset {
        name: "hikaricp-simple",
        of: "HikariCP through the Prometheus simpleclient",
        in_use: "hikaricp_active_connections",
        idle: "hikaricp_idle_connections",
        limit: "hikaricp_max_connections",
        waiting: "hikaricp_pending_threads",
        labels: &["pool"],
        checked: Checked::Source,
        ..NONE
    },
    Preset {
        name: "spring-jdbc",
        of: "Tomcat JDBC and DBCP2 through Spring Boot",
        in_use: "jdbc_connections_active",
        idle: "jdbc_connections_idle",
        limit: "jdbc_connections_max",
        labels: &["name"],
        // Spring shows HikariCP under these names too; it would be counted twice.
        auto: false,
        checked: Checked::Source,
        ..NONE
    },
    Preset {
        name: "r2dbc",
        of: "R2DBC pool through Micrometer",
        in_use: "r2dbc_pool_acquired_connections",
        idle: "r2dbc_pool_idle_connections",
        limit: "r2dbc_pool_max_allocated_connections",
        waiting: "r2dbc_pool_pending_connections",
        labels: &["name"],
        checked: Checked::Source,
        ..NONE
    },
    Preset {
        name: "agroal",
        of: "Agroal (Quarkus); `limit` must be given",
        in_use: "agroal_active_count",
        idle: "agroal_available_count",
        waiting: "agroal_awaiting_count",
        wait_seconds: "agroal_blocking_time_total_milliseconds / 1000",
        acquires: "agroal_acquire_count_total",
        labels: &["datasource"],
        checked: Checked::Source,
        ..NONE
    },
    Preset {
        name: "vertx",
        of: "Vert.x pools through Micrometer",
        in_use: "vertx_pool_in_use",
        limit_label: "max_pool_size",
        waiting: "vertx_pool_queue_pending",
        wait_seconds: "vertx_pool_queue_time_seconds_sum",
        acquires: "vertx_pool_queue_time_seconds_count",
        labels: &["pool_type", "pool_name"],
        ..NONE
    },
    Preset {
        name: "otel",
        of: "OpenTelemetry semantic conventions from 1.26",
        in_use: "db_client_connection_count{db_client_connection_state=\"used\"}",
        idle: "db_client_connection_count{db_client_connection_state=\"idle\"}",
        limit: "db_client_connection_max",
        waiting: "db_client_connection_pending_requests",
        wait_seconds: "db_client_connection_wait_time_seconds_sum",
        acquires: "db_client_connection_wait_time_seconds_count",
        timeouts: "db_client_connection_timeouts_total",
        labels: &["db_client_connection_pool_name"],
        checked: Checked::Captured,
        ..NONE
    },
    Preset {
        name: "otel-old",
        of: "OpenTelemetry before 1.26 (JVM agent, Npgsql)",
        in_use: "db_client_connections_usage{state=\"used\"}",
        idle: "db_client_connections_usage{state=\"idle\"}",
        limit: "db_client_connections_max",
        waiting: "db_client_connections_pending_requests",
        wait_seconds: "db_client_connections_wait_time_milliseconds_sum / 1000",
        acquires: "db_client_connections_wait_time_milliseconds_count",
        timeouts: "db_client_connections_timeouts_total",
        labels: &["pool_name"],
        checked: Checked::Source,
        ..NONE
    },
    Preset {
        name: "sqlalchemy",
        of: "SQLAlchemy through OpenTelemetry's instrumentation; `limit` must be given",
        // The exporter for Python puts the unit behind the name.
        in_use: "db_client_connections_usage_connections{state=\"used\"}",
        idle: "db_client_connections_usage_connections{state=\"idle\"}",
        labels: &["pool_name"],
        checked: Checked::Captured,
        ..NONE
    },
    Preset {
        name: "activerecord",
        of: "Rails ActiveRecord, discourse/prometheus_exporter",
        in_use: "active_record_connection_pool_busy + active_record_connection_pool_dead?",
        idle: "active_record_connection_pool_idle",
        limit: "active_record_connection_pool_size",
        waiting: "active_record_connection_pool_waiting",
        labels: &["pool_name"],
        checked: Checked::Source,
        ..NONE
    },
    Preset {
        name: "prisma",
        of: "Prisma's metrics preview; `limit` must be given",
        in_use: "prisma_pool_connections_busy",
        idle: "prisma_pool_connections_idle",
        waiting: "prisma_client_queries_wait",
        wait_seconds: "prisma_client_queries_wait_histogram_ms_sum / 1000",
        acquires: "prisma_client_queries_wait_histogram_ms_count",
        checked: Checked::Source,
        ..NONE
    },
    Preset {
        name: "node-postgres",
        of: "node-postgres, @christiangalsterer/node-postgres-prometheus-exporter",
        in_use: "pg_pool_active_connections",
        idle: "pg_pool_idle_connections",
        limit: "pg_pool_max",
        waiting: "pg_pool_waiting_connections",
        labels: &["host", "database"],
        checked: Checked::Captured,
        ..NONE
    },
    Preset {
        name: "psycopg-pool",
        of: "psycopg_pool's get_stats() under its own names",
        in_use: "pool_size - pool_available",
        idle: "pool_available",
        limit: "pool_max",
        waiting: "requests_waiting",
        waits: "requests_queued",
        wait_seconds: "requests_wait_ms / 1000",
        timeouts: "requests_errors",
        auto: false,
        checked: Checked::Captured,
        ..NONE
    },
    Preset {
        name: "pgbouncer",
        of: "pgbouncer_exporter",
        in_use: "pgbouncer_pools_server_active_connections{database!=\"pgbouncer\"} + pgbouncer_pools_server_testing_connections? \
                 + pgbouncer_pools_server_login_connections? + pgbouncer_pools_server_active_cancel_connections? \
                 + pgbouncer_pools_server_being_canceled_connections?",
        idle: "pgbouncer_pools_server_idle_connections + pgbouncer_pools_server_used_connections?",
        limit: "pgbouncer_databases_pool_size + pgbouncer_databases_reserve_pool?",
        waiting: "pgbouncer_pools_client_waiting_connections",
        labels: &["database", "user"],
        exporter: true,
        checked: Checked::Source,
        ..NONE
    },
    Preset {
        name: "pgcat",
        of: "PgCat",
        in_use: "pgcat_pools_sv_active",
        idle: "pgcat_pools_sv_idle",
        limit: "pgcat_databases_pool_size",
        waiting: "pgcat_pools_cl_waiting",
        labels: &["pool", "user"],
        checked: Checked::Source,
        ..NONE
    },
    Preset {
        name: "postgres",
        of: "postgres_exporter: backends of the whole server",
        // Every backend takes a place of max_connections, idle or not.
        in_use: "pg_stat_activity_count",
        limit: "pg_settings_max_connections - pg_settings_superuser_reserved_connections",
        labels: &["server"],
        exporter: true,
        checked: Checked::Captured,
        ..NONE
    },
    Preset {
        name: "mysql",
        of: "mysqld_exporter: connections of the whole server",
        in_use: "mysql_global_status_threads_connected",
        limit: "mysql_global_variables_max_connections",
        timeouts: "mysql_global_status_connection_errors_total{error=\"max_connections\"}",
        exporter: true,
        checked: Checked::Captured,
        ..NONE
    },
    Preset {
        name: "redis",
        of: "redis_exporter: clients of the whole server",
        in_use: "redis_connected_clients",
        limit: "redis_config_maxclients",
        timeouts: "redis_rejected_connections_total",
        exporter: true,
        checked: Checked::Captured,
        ..NONE
    },
    Preset {
        name: "tomcat-threads",
        of: "Tomcat's worker threads, as a pool",
        in_use: "tomcat_threads_busy_threads",
        limit: "tomcat_threads_config_max_threads",
        labels: &["name"],
        auto: false,
        checked: Checked::Source,
        ..NONE
    },
];

/// The preset called `name`.
pub fn find(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::selector::Selector;

    #[test]
    fn every_selector_of_the_table_can_be_read() {
        for preset in PRESETS {
            assert!(!preset.in_use.is_empty(), "{}", preset.name);
            for text in [
                preset.in_use,
                preset.idle,
                preset.limit,
                preset.waiting,
                preset.waits,
                preset.wait_seconds,
                preset.acquires,
                preset.timeouts,
            ] {
                assert!(text.is_empty() || Selector::parse(text).is_ok(), "{}: {text}", preset.name);
            }
            assert!(preset.waits.is_empty() || preset.acquires.is_empty(), "{}: one or the other divides", preset.name);
        }
    }

    #[test]
    fn names_are_unique() {
        for preset in PRESETS {
            assert_eq!(PRESETS.iter().filter(|other| other.name == preset.name).count(), 1, "{}", preset.name);
        }
    }
}
