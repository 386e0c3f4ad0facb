//! A PostgreSQL server at one moment: its sessions, who waits for whose lock, and the statements that take most of its time. Over one
//! connection of its own, which lives for a few seconds; it changes nothing and waits for no lock. Values in statements are taken out.

use serde_json::{Value as Json, json};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _, Row as _};

use super::capture::Taken;
use crate::model::message::fingerprint;

/// What every statement of it may take in the server.
const GUARD: &str = "SET statement_timeout = '3s'; SET lock_timeout = '200ms'; SET idle_in_transaction_session_timeout = '5s'; \
    SET default_transaction_read_only = on";
const SERVER: &str = "SELECT json_build_object('version', current_setting('server_version'), 'max_connections', \
    current_setting('max_connections')::int, 'reserved', current_setting('superuser_reserved_connections')::int, 'clients', (SELECT \
    count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'), 'at', clock_timestamp())::text";
const BY_STATE: &str = "SELECT coalesce(json_agg(t), '[]')::text FROM (SELECT datname AS database, usename AS \"user\", application_name AS \
    application, coalesce(state, 'none') AS state, wait_event_type, wait_event, count(*) AS sessions, \
    round(extract(epoch FROM max(clock_timestamp() - xact_start))::numeric, 3) AS oldest_transaction_s FROM pg_stat_activity \
    WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 7 DESC LIMIT 100) t";
const SESSIONS: &str = "SELECT coalesce(json_agg(t), '[]')::text FROM (SELECT pid, usename AS \"user\", application_name AS application, \
    client_addr, state, wait_event_type, wait_event, round(extract(epoch FROM clock_timestamp() - xact_start)::numeric, 3) AS \
    transaction_s, round(extract(epoch FROM clock_timestamp() - state_change)::numeric, 3) AS in_state_s, left(query, 1000) AS query \
    FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() \
    ORDER BY (state = 'idle'), xact_start NULLS LAST LIMIT 200) t";
const LOCKS: &str = "SELECT coalesce(json_agg(t), '[]')::text FROM (SELECT a.pid, a.usename AS \"user\", a.application_name AS application, \
    round(extract(epoch FROM clock_timestamp() - a.state_change)::numeric, 3) AS waits_s, pg_blocking_pids(a.pid) AS blocked_by, \
    left(a.query, 1000) AS query FROM pg_stat_activity a WHERE a.wait_event_type = 'Lock' AND cardinality(pg_blocking_pids(a.pid)) > 0 \
    ORDER BY 4 DESC LIMIT 50) t";
// The column was renamed with version 13.
const STATEMENTS: &str = "SELECT coalesce(json_agg(t), '[]')::text FROM (SELECT calls, rows, round(total_exec_time::numeric, 1) AS total_ms, \
    round(mean_exec_time::numeric, 3) AS mean_ms, shared_blks_hit, shared_blks_read, temp_blks_written, left(query, 1000) AS query \
    FROM pg_stat_statements ORDER BY total_exec_time DESC LIMIT 30) t";

/// Host, port and database, without user and password.
pub(super) fn describe(url: &str) -> String {
    match url::Url::parse(url) {
        Ok(url) => format!("postgres://{}:{}{}", url.host_str().unwrap_or("?"), url.port().unwrap_or(5432), url.path()),
        Err(_) => "postgres".into(),
    }
}

/// Takes it. Errors hold no password.
pub(super) async fn take(url: &str, limit: u64) -> Result<Taken, String> {
    let options: PgConnectOptions = url.parse().map_err(|_| "the address cannot be used".to_owned())?;
    let options = options.application_name("plimsoll-capture").disable_statement_logging();
    let mut connection = options.connect().await.map_err(|error| told(&error))?;
    let snapshot = whole(&mut connection).await;
    // The snapshot is there; what becomes of the connection does not matter.
    let _ = connection.close().await;
    let data = serde_json::to_vec_pretty(&snapshot?).map_err(|error| error.to_string())?;
    if data.len() as u64 > limit {
        return Err(format!("it is larger than {}", crate::model::units::format_bytes(limit as f64)));
    }
    Ok(Taken { content_type: "application/json".into(), extension: "json", data })
}

async fn whole(connection: &mut PgConnection) -> Result<Json, String> {
    sqlx::raw_sql(GUARD).execute(&mut *connection).await.map_err(|error| told(&error))?;
    let mut snapshot = json!({ "server": part(connection, SERVER).await? });
    for (name, statement) in [("sessions_by_state", BY_STATE), ("sessions", SESSIONS), ("blocked", LOCKS), ("statements", STATEMENTS)] {
        // One part that cannot be had does not spoil the others.
        snapshot[name] = part(connection, statement).await.unwrap_or_else(|why| json!({ "absent": why }));
    }
    Ok(snapshot)
}

async fn part(connection: &mut PgConnection, statement: &'static str) -> Result<Json, String> {
    let row = sqlx::raw_sql(statement).fetch_one(&mut *connection).await.map_err(|error| told(&error))?;
    let text: String = row.try_get(0).map_err(|error| told(&error))?;
    let mut part: Json = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    for row in part.as_array_mut().into_iter().flatten() {
        if let Some(query) = row.get("query").and_then(Json::as_str).map(fingerprint) {
            row["query"] = query.into();
        }
    }
    Ok(part)
}

/// What the server says, else what went wrong.
fn told(error: &sqlx::Error) -> String {
    error.as_database_error().map_or_else(|| error.to_string(), |error| error.message().to_owned())
}
