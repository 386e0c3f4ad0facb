//! Probe `mysql`: asks a MySQL or MariaDB server for its connections, its counters and its open transactions, over one connection.
//! It never writes and never waits for locks. A server that refuses us because it is full has answered: it is full.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::TryStreamExt;
use serde_json::Value as Json;
use sqlx::mysql::{MySqlConnectOptions, MySqlRow};
use sqlx::{AssertSqlSafe, ConnectOptions as _, MySqlConnection, Row as _};
use tokio::time::Instant;

use super::address::Address;
use super::one_connection::{Failed, Link, OneConnection, Opened};
use super::rates::{Rates, push};
use super::{Probe, ProbeError, ProbeParts, ProbeSettings};
use crate::model::series::Point;
use crate::registry::{Context, Decode, KeyDoc, Kind, Node, Secret};
use crate::settings;

/// The line of this kind in the table of probes.
pub(super) const KIND: Kind<dyn ProbeSettings> = Kind {
    name: "mysql",
    summary: "Asks a MySQL or MariaDB server: connections of their limit, counters, locks and open transactions.",
    decode: |node, cx| MysqlSettings::decode(node, cx).map(|settings| Arc::new(settings) as Arc<dyn ProbeSettings>),
    keys: MysqlSettings::keys,
};

/// Most rows of one question.
const MOST_ROWS: usize = 5_000;
const STATUS: &str = "SHOW GLOBAL STATUS WHERE Variable_name IN ('Threads_connected', 'Threads_running', 'Aborted_clients', \
     'Aborted_connects', 'Connection_errors_max_connections', 'Questions', 'Slow_queries', 'Innodb_rows_read', \
     'Innodb_buffer_pool_read_requests', 'Innodb_buffer_pool_reads', 'Created_tmp_disk_tables', 'Innodb_row_lock_waits')";
const LIMIT: &str = "SHOW GLOBAL VARIABLES WHERE Variable_name = 'max_connections'";
/// Needs the privilege PROCESS, which is why it is asked before anything else.
const TRANSACTIONS: &str = "SELECT 'waiting', COALESCE(SUM(trx_state = 'LOCK WAIT'), 0) FROM information_schema.innodb_trx \
     UNION ALL SELECT 'oldest', MAX(TIMESTAMPDIFF(SECOND, trx_started, NOW())) FROM information_schema.innodb_trx";

settings! {
    /// Asks a MySQL or MariaDB server.
    struct MysqlKeys titled "the probe" {
        /// Address: `mysql://plimsoll:…@host:3306`. The user needs the privilege PROCESS.
        url: secret Secret,
        /// Time for a whole reading, and for each statement in the server.
        timeout: default Duration = Duration::from_secs(2),
    }
}

/// The settings, read.
#[derive(Debug, Clone)]
pub struct MysqlSettings {
    address: Address,
    timeout: Duration,
}

impl MysqlSettings {
    /// The keys of the settings, for the schema and the reference.
    pub fn keys() -> Vec<KeyDoc> {
        MysqlKeys::keys()
    }
}

impl Decode for MysqlSettings {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let keys = MysqlKeys::decode(node, cx)?;
        let address = Address::decode(node, keys.url, &["mysql", "mariadb"], "mysql://user:password@host:3306", cx)?;
        if let Err(error) = MySqlConnectOptions::from_url(address.url()) {
            let hint = "parameters are such as `?ssl-mode=VERIFY_CA&ssl-ca=ca.pem`";
            cx.diagnostics.push("bad-url", node.span, format!("{address} cannot be used: {error}"), hint);
            return None;
        }
        Some(Self { address, timeout: keys.timeout })
    }

    fn schema() -> Json {
        MysqlKeys::schema()
    }
}

impl ProbeSettings for MysqlSettings {
    fn open(&self, _parts: &ProbeParts) -> Box<dyn Probe> {
        let line = OneConnection::new(Server { address: self.address.clone(), timeout: self.timeout }, self.timeout);
        Box::new(MysqlProbe { line, rates: Rates::default(), limit: None })
    }

    fn describe(&self) -> String {
        self.address.to_string()
    }
}

/// An open probe.
struct MysqlProbe {
    line: OneConnection<Server>,
    rates: Rates,
    limit: Option<f64>,
}

/// What the server answers.
enum Answer {
    /// Names and numbers of all questions.
    Numbers(HashMap<String, f64>),
    /// It takes no more connections.
    Full,
}

#[async_trait]
impl Probe for MysqlProbe {
    async fn read(&mut self) -> Result<Vec<Point>, ProbeError> {
        match self.line.ask(()).await? {
            Answer::Numbers(numbers) => {
                self.limit = numbers.get("max_connections").copied().filter(|limit| *limit > 0.0);
                points(&numbers, self.limit, &mut self.rates, Instant::now())
            }
            Answer::Full => Ok(pool(self.limit, self.limit, Some(1.0))),
        }
    }
}

/// How the server is talked to.
struct Server {
    address: Address,
    timeout: Duration,
}

impl Server {
    fn failed(&self, error: &sqlx::Error) -> Failed {
        if let Some(said) = error.as_database_error().and_then(|said| said.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>()) {
            let (reason, broken) = match said.number() {
                1044 | 1045 | 1142 | 1227 | 1698 => ("permission", false),
                1049 => ("missing", false),
                1205 | 1969 | 3024 => ("timeout", false),
                1040 | 1053 | 1203 | 1226 => ("connect", true),
                _ => ("parse", false),
            };
            let hint = if said.number() == 1227 { "; as administrator: GRANT PROCESS ON *.* TO the user of the probe" } else { "" };
            let detail = format!("{}: {} ({}){hint}", self.address, said.message(), said.number());
            return Failed { error: ProbeError { reason, detail }, broken };
        }
        let reason = if matches!(error, sqlx::Error::Io(_) | sqlx::Error::Tls(_)) { "connect" } else { "parse" };
        Failed::broken(ProbeError { reason, detail: format!("{}: {error}", self.address) })
    }

    /// Whether the server is full, as opposed to a limit of our user alone.
    fn is_full(error: &sqlx::Error) -> bool {
        let said = error.as_database_error().and_then(|said| said.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>());
        said.is_some_and(|said| said.number() == 1040)
    }

    /// The rows of one statement, as name and value.
    async fn pairs(&self, connection: &mut MySqlConnection, sql: String) -> Result<Vec<(String, String)>, Failed> {
        let mut stream = sqlx::raw_sql(AssertSqlSafe(sql)).fetch(connection);
        let mut pairs = Vec::new();
        while let Some(row) = stream.try_next().await.map_err(|error| self.failed(&error))? {
            if pairs.len() >= MOST_ROWS {
                let detail = format!("more than {MOST_ROWS} rows where fewer were asked for");
                return Err(Failed::broken(ProbeError { reason: "parse", detail }));
            }
            let text = |row: &MySqlRow, at: usize| row.try_get_unchecked::<Option<String>, _>(at).ok().flatten();
            if let (Some(name), Some(value)) = (text(&row, 0), text(&row, 1)) {
                pairs.push((name, value));
            }
        }
        Ok(pairs)
    }
}

#[async_trait]
impl Link for Server {
    type Connection = MySqlConnection;
    type Question = ();
    type Answer = Answer;

    async fn connect(&self) -> Result<Opened<MySqlConnection, Answer>, ProbeError> {
        let options = MySqlConnectOptions::from_url(self.address.url()).map_err(|error| self.failed(&error).error)?;
        let options = options.pipes_as_concat(false).no_engine_substitution(false).timezone(None).statement_cache_capacity(0);
        let mut connection = match options.disable_statement_logging().connect().await {
            Ok(connection) => connection,
            Err(error) if Self::is_full(&error) => return Ok(Opened::Answer(Answer::Full)),
            Err(error) => return Err(self.failed(&error).error),
        };
        let version = self.pairs(&mut connection, "SELECT 'version', VERSION()".into()).await.map_err(|failed| failed.error)?;
        let is_mariadb = version.iter().any(|(_, version)| version.contains("MariaDB"));
        // The one counts in seconds, the other in milliseconds.
        let limit = if is_mariadb {
            format!("SET SESSION max_statement_time = {}", self.timeout.as_secs_f64().max(0.001))
        } else {
            format!("SET SESSION max_execution_time = {}", self.timeout.as_millis().max(1))
        };
        for guard in [
            limit.as_str(),
            "SET SESSION lock_wait_timeout = 1",
            "SET SESSION innodb_lock_wait_timeout = 1",
            "SET SESSION TRANSACTION READ ONLY",
        ] {
            self.pairs(&mut connection, guard.into()).await.map_err(|failed| failed.error)?;
        }
        self.pairs(&mut connection, TRANSACTIONS.into()).await.map_err(|failed| failed.error)?;
        Ok(Opened::Connection(connection))
    }

    async fn ask(&self, connection: &mut MySqlConnection, (): ()) -> Result<Answer, Failed> {
        let mut numbers = HashMap::new();
        for sql in [STATUS, LIMIT, TRANSACTIONS] {
            let pairs = self.pairs(connection, sql.into()).await?;
            numbers.extend(pairs.into_iter().filter_map(|(name, value)| Some((name, value.parse::<f64>().ok()?))));
        }
        Ok(Answer::Numbers(numbers))
    }
}

/// The server as a pool: every session takes one of its places, idle or not.
fn pool(in_use: Option<f64>, limit: Option<f64>, utilization: Option<f64>) -> Vec<Point> {
    let figures = [("pool_utilization", utilization), ("pool_in_use", in_use), ("pool_limit", limit)];
    figures.into_iter().filter_map(|(metric, value)| Some(Point::new(metric, value?).with("pool", "mysql"))).collect()
}

/// The figures of one reading.
fn points(numbers: &HashMap<String, f64>, limit: Option<f64>, rates: &mut Rates, at: Instant) -> Result<Vec<Point>, ProbeError> {
    let number = |name: &str| numbers.get(name).copied().filter(|number| number.is_finite());
    let Some(in_use) = number("Threads_connected") else {
        return Err(ProbeError { reason: "parse", detail: "SHOW GLOBAL STATUS has no `Threads_connected`".into() });
    };
    let mut points = pool(Some(in_use), limit, limit.map(|limit| in_use / limit));
    let refused = rates.rate("refused", at, number("Connection_errors_max_connections"));
    points.extend(refused.map(|refused| Point::new("pool_timeouts", refused).with("pool", "mysql")));
    push(&mut points, "mysql_running", number("Threads_running"));
    for (metric, name) in [
        ("mysql_queries", "Questions"),
        ("mysql_slow_queries", "Slow_queries"),
        ("mysql_rows_read", "Innodb_rows_read"),
        ("mysql_disk_tables", "Created_tmp_disk_tables"),
        ("mysql_lock_waits", "Innodb_row_lock_waits"),
    ] {
        push(&mut points, metric, rates.rate(name, at, number(name)));
    }
    // Requests count every page, reads those that had to be fetched.
    let (all, missed) = (number("Innodb_buffer_pool_read_requests"), number("Innodb_buffer_pool_reads"));
    let all = rates.growth("requests", at, all);
    let missed = rates.growth("reads", at, missed);
    let hits = all.zip(missed).filter(|((all, _), _)| *all > 0.0).map(|((all, _), (missed, _))| (1.0 - missed / all).clamp(0.0, 1.0));
    push(&mut points, "mysql_cache_hits", hits);
    for (kind, name) in [("clients", "Aborted_clients"), ("connects", "Aborted_connects")] {
        let rate = rates.rate(name, at, number(name));
        points.extend(rate.map(|rate| Point::new("mysql_aborted", rate).with("kind", kind)));
    }
    push(&mut points, "mysql_lock_waiting", number("waiting"));
    push(&mut points, "mysql_oldest_transaction", number("oldest"));
    Ok(points)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_server_is_1_with_or_without_its_limit() {
        assert_eq!(pool(None, None, Some(1.0)).len(), 1);
        assert_eq!(pool(Some(9.0), Some(9.0), Some(1.0)).iter().map(|point| point.value).collect::<Vec<_>>(), [1.0, 9.0, 9.0]);
    }

    #[test]
    fn hits_are_what_was_not_fetched() {
        let (mut rates, start) = (Rates::default(), Instant::now());
        let reading = |requests: f64, reads: f64| {
            HashMap::from([
                ("Threads_connected".to_owned(), 2.0),
                ("Innodb_buffer_pool_read_requests".to_owned(), requests),
                ("Innodb_buffer_pool_reads".to_owned(), reads),
            ])
        };
        points(&reading(100.0, 10.0), Some(4.0), &mut rates, start).unwrap();
        let read = points(&reading(200.0, 35.0), Some(4.0), &mut rates, start + Duration::from_secs(1)).unwrap();
        assert!(read.contains(&Point::new("mysql_cache_hits", 0.75)), "{read:?}");
        assert!(read.contains(&Point::new("pool_utilization", 0.5).with("pool", "mysql")), "{read:?}");
        assert_eq!(points(&HashMap::new(), None, &mut rates, start).unwrap_err().reason, "parse");
    }
}
