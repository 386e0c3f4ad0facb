//! Probe `pgbouncer`: asks PgBouncer's own console (database `pgbouncer`, a user of `stats_users`) for its pools, over one connection.
//! The console speaks the simple protocol only and its columns vary by version: they are read by name. It takes no connection of a pool.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value as Json;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, PgConnection};
use tokio::time::Instant;

use super::address::Address;
use super::one_connection::{Failed, Link, OneConnection, Opened};
use super::postgres::simple::{self, Row};
use super::rates::Rates;
use super::{Probe, ProbeError, ProbeParts, ProbeSettings};
use crate::model::series::Point;
use crate::registry::{Context, Decode, KeyDoc, Kind, Node, Secret};
use crate::settings;

/// The line of this kind in the table of probes.
pub(super) const KIND: Kind<dyn ProbeSettings> = Kind {
    name: "pgbouncer",
    summary: "Asks PgBouncer's console: server connections of each pool, who waits, and clients of their limit.",
    decode: |node, cx| PgbouncerSettings::decode(node, cx).map(|settings| Arc::new(settings) as Arc<dyn ProbeSettings>),
    keys: PgbouncerSettings::keys,
};

/// The database that is the console.
const CONSOLE: &str = "pgbouncer";
/// What is asked in one reading.
const COMMANDS: [&str; 5] = ["SHOW POOLS", "SHOW DATABASES", "SHOW STATS_TOTALS", "SHOW LISTS", "SHOW CONFIG"];
/// The pool of those who are connected to PgBouncer itself.
const CLIENTS: &str = "clients";

settings! {
    /// Asks PgBouncer's console.
    struct PgbouncerKeys titled "the probe" {
        /// Address with a user of `stats_users`: `postgres://stats:…@host:6432`.
        url: secret Secret,
        /// Time for a whole reading.
        timeout: default Duration = Duration::from_secs(2),
    }
}

/// The settings, read.
#[derive(Debug, Clone)]
pub struct PgbouncerSettings {
    address: Address,
    timeout: Duration,
}

impl PgbouncerSettings {
    /// The keys of the settings, for the schema and the reference.
    pub fn keys() -> Vec<KeyDoc> {
        PgbouncerKeys::keys()
    }
}

impl Decode for PgbouncerSettings {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let keys = PgbouncerKeys::decode(node, cx)?;
        let address = Address::decode(node, keys.url, &["postgres", "postgresql"], "postgres://user:password@host:6432", cx)?;
        if let Err(error) = PgConnectOptions::from_url(address.url()) {
            let hint = "parameters are those of libpq: `?sslmode=require`";
            cx.diagnostics.push("bad-url", node.span, format!("{address} cannot be used: {error}"), hint);
            return None;
        }
        Some(Self { address, timeout: keys.timeout })
    }

    fn schema() -> Json {
        PgbouncerKeys::schema()
    }
}

impl ProbeSettings for PgbouncerSettings {
    fn open(&self, _parts: &ProbeParts) -> Box<dyn Probe> {
        let line = OneConnection::new(Console { address: self.address.clone() }, self.timeout);
        Box::new(PgbouncerProbe { line, rates: Rates::default() })
    }

    fn describe(&self) -> String {
        self.address.to_string()
    }
}

/// An open probe.
struct PgbouncerProbe {
    line: OneConnection<Console>,
    rates: Rates,
}

#[async_trait]
impl Probe for PgbouncerProbe {
    async fn read(&mut self) -> Result<Vec<Point>, ProbeError> {
        let rows = self.line.ask(()).await?;
        points(&rows, &mut self.rates, Instant::now())
    }
}

/// How the console is talked to.
struct Console {
    address: Address,
}

#[async_trait]
impl Link for Console {
    type Connection = PgConnection;
    type Question = ();
    /// The rows of each command.
    type Answer = Vec<Vec<Row>>;

    async fn connect(&self) -> Result<Opened<PgConnection, Vec<Vec<Row>>>, ProbeError> {
        let at = |error: ProbeError| ProbeError { detail: format!("{}: {}", self.address, error.detail), ..error };
        let options = PgConnectOptions::from_url(self.address.url()).map_err(|error| at(simple::failed(&error).error))?;
        match simple::connect(options.database(CONSOLE)).await {
            Ok(connection) => Ok(Opened::Connection(connection)),
            Err(error) => {
                let said = error.as_database_error().map(sqlx::error::DatabaseError::message).unwrap_or_default();
                // PgBouncer has one code for most of what it refuses.
                let refused = ["not allowed", "no such user", "auth", "password"].iter().any(|word| said.contains(word));
                let reason = if refused { Some("permission") } else { None };
                let ProbeError { reason: other, detail } = at(simple::failed(&error).error);
                Err(ProbeError { reason: reason.unwrap_or(other), detail })
            }
        }
    }

    async fn ask(&self, connection: &mut PgConnection, (): ()) -> Result<Vec<Vec<Row>>, Failed> {
        let mut all = Vec::new();
        for command in COMMANDS {
            let answers = simple::ask(connection, command.into()).await?;
            all.push(answers.into_iter().flatten().collect());
        }
        Ok(all)
    }
}

/// The figures of one reading.
fn points(answers: &[Vec<Row>], rates: &mut Rates, at: Instant) -> Result<Vec<Point>, ProbeError> {
    let rows = |command: usize| answers.get(command).map_or(&[][..], Vec::as_slice);
    let mut points = Vec::new();
    for row in rows(0) {
        let (Some(database), Some(user)) = (row.text("database"), row.text("user")) else {
            return Err(ProbeError {
                reason: "parse",
                detail: "SHOW POOLS has no columns `database` and `user`: is this PgBouncer?".into(),
            });
        };
        if database == CONSOLE {
            continue;
        }
        let settings = rows(1).iter().find(|settings| settings.text("name").as_deref() == Some(&database));
        pool(row, settings, &format!("{database}/{user}"), &mut points);
    }
    for row in rows(2) {
        let Some(database) = row.text("database").filter(|database| database != CONSOLE) else { continue };
        statistics(row, &database, rates, at, &mut points);
    }
    let value = |command: usize, key: &str, of: &str, column: &str| {
        rows(command).iter().find(|row| row.text(key).as_deref() == Some(of)).and_then(|row| row.number(column))
    };
    let (used, most) = (value(3, "list", "used_clients", "items"), value(4, "key", "max_client_conn", "value"));
    let mut add = |metric: &str, value: Option<f64>| points.extend(value.map(|value| Point::new(metric, value).with("pool", CLIENTS)));
    add("pool_in_use", used);
    add("pool_limit", most);
    add("pool_utilization", used.zip(most).filter(|(_, most)| *most > 0.0).map(|(used, most)| used / most));
    Ok(points)
}

/// One pool: connections to the server that a client holds (or that are being prepared for one) of those that may be opened.
fn pool(row: &Row, settings: Option<&Row>, name: &str, points: &mut Vec<Point>) {
    let sum = |columns: &[&str]| columns.iter().filter_map(|column| row.number(column)).sum::<f64>();
    let in_use = row.number("sv_active").map(|_| sum(&["sv_active", "sv_tested", "sv_login", "sv_active_cancel", "sv_being_canceled"]));
    let idle = row.number("sv_idle").map(|_| sum(&["sv_idle", "sv_used"]));
    let limit = settings.and_then(|settings| {
        let reserve = settings.number("reserve_pool").or_else(|| settings.number("reserve_pool_size")).unwrap_or(0.0);
        Some(settings.number("pool_size")? + reserve)
    });
    let longest = row.number("maxwait").map(|seconds| seconds + row.number("maxwait_us").unwrap_or(0.0) / 1e6);
    let mut add = |metric: &str, value: Option<f64>| points.extend(value.map(|value| Point::new(metric, value).with("pool", name)));
    add("pool_utilization", in_use.zip(limit).filter(|(_, limit)| *limit > 0.0).map(|(in_use, limit)| in_use / limit));
    add("pool_in_use", in_use);
    add("pool_idle", idle);
    add("pool_limit", limit);
    add("pool_waiting", row.number("cl_waiting"));
    add("pool_wait_longest", longest);
}

/// What one database did since the former reading. Times are microseconds. Waits are not counted, only their time: the mean is over
/// transactions, waited or not.
fn statistics(row: &Row, database: &str, rates: &mut Rates, at: Instant, points: &mut Vec<Point>) {
    let number = |name: &str| row.number(name).or_else(|| row.number(&format!("total_{name}")));
    let (transactions, queries) = (number("xact_count"), number("query_count"));
    let seconds = |name: &str| number(name).map(|us| us / 1e6);
    let key = |name: &str| format!("{database}/{name}");
    let figures = [
        ("pgbouncer_transactions", rates.rate(&key("transactions"), at, transactions)),
        ("pgbouncer_queries", rates.rate(&key("queries"), at, queries)),
        ("pgbouncer_query_time", rates.mean(&key("query"), at, seconds("query_time"), queries)),
        ("pool_wait_time", rates.mean(&key("wait"), at, seconds("wait_time"), transactions)),
    ];
    let found = figures.into_iter().filter_map(|(metric, value)| Some(Point::new(metric, value?).with("pool", database)));
    points.extend(found);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::probe::tests::{decode, diagnostics};

    #[test]
    fn the_address_is_checked_and_shown_without_its_user() {
        let settings: PgbouncerSettings = decode(&json!({"url": "postgres://stats:geheim@pool:6432"}));
        assert_eq!(settings.describe(), "postgres://pool:6432");
        assert!(diagnostics::<PgbouncerSettings>(&json!({"url": "redis://x"}))[0].starts_with("bad-url"));
    }
}
