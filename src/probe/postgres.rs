//! Probe `postgres`: asks a PostgreSQL server who holds its connections, who waits for whom, and what its counters say, over one
//! connection that is opened before the load and held. It never writes, never waits for locks, and never asks twice at a time.
//! A server that refuses us because it is full has answered: it is full. Meaning of the figures: docs/probes.md.

mod reading;
pub(in crate::probe) mod simple;
mod snapshot;
mod waits;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value as Json;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, PgConnection};
use tokio::time::Instant;

use self::reading::{Figures, Server};
use self::simple::Row;
use super::address::Address;
use super::one_connection::{Failed, Link, OneConnection, Opened};
use super::{Probe, ProbeError, ProbeParts, ProbeSettings};
use crate::clock::SharedClock;
use crate::model::database::DatabaseSnapshot;
use crate::model::series::Point;
use crate::model::units::Timestamp;
use crate::registry::{Context, Decode, KeyDoc, Kind, Node, Secret};
use crate::settings;

/// The line of this kind in the table of probes.
pub(super) const KIND: Kind<dyn ProbeSettings> = Kind {
    name: "postgres",
    summary: "Asks a PostgreSQL server: connections, who holds them, who waits for whose lock, what its counters say.",
    decode: |node, cx| PostgresSettings::decode(node, cx).map(|settings| Arc::new(settings) as Arc<dyn ProbeSettings>),
    keys: PostgresSettings::keys,
};

/// Schemes of addresses.
const SCHEMES: &[&str] = &["postgres", "postgresql"];

settings! {
    /// Asks a PostgreSQL server.
    struct PostgresKeys titled "the probe" {
        /// Address with user and database: `postgres://plimsoll:…@host:5432/shop`. The user needs the role `pg_monitor`.
        url: secret Secret,
        /// Time for a whole reading, and for each statement in the server.
        timeout: default Duration = Duration::from_secs(2),
    }
}

/// The settings, read.
#[derive(Debug, Clone)]
pub struct PostgresSettings {
    address: Address,
    options: Arc<Hidden>,
    timeout: Duration,
}

/// Options with the password in them, which is not shown.
struct Hidden(PgConnectOptions);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<options>")
    }
}

impl PostgresSettings {
    /// The keys of the settings, for the schema and the reference.
    pub fn keys() -> Vec<KeyDoc> {
        PostgresKeys::keys()
    }
}

impl Decode for PostgresSettings {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let keys = PostgresKeys::decode(node, cx)?;
        let address = Address::decode(node, keys.url, SCHEMES, "postgres://user:password@host:5432/database", cx)?;
        match PgConnectOptions::from_url(address.url()) {
            Ok(options) => Some(Self { address, options: Arc::new(Hidden(options)), timeout: keys.timeout }),
            Err(error) => {
                let hint = "parameters are those of libpq: `?sslmode=verify-full&sslrootcert=ca.pem`";
                cx.diagnostics.push("bad-url", node.span, format!("{address} cannot be used: {error}"), hint);
                None
            }
        }
    }

    fn schema() -> Json {
        PostgresKeys::schema()
    }
}

impl ProbeSettings for PostgresSettings {
    fn open(&self, parts: &ProbeParts) -> Box<dyn Probe> {
        let link = Monitor { address: self.address.clone(), options: self.options.0.clone(), timeout: self.timeout };
        Box::new(PostgresProbe { line: OneConnection::new(link, self.timeout), figures: Figures::default(), clock: parts.clock.clone() })
    }

    fn describe(&self) -> String {
        self.address.to_string()
    }

    fn takes_snapshots(&self) -> bool {
        true
    }
}

/// An open probe.
struct PostgresProbe {
    line: OneConnection<Monitor>,
    figures: Figures,
    clock: SharedClock,
}

#[async_trait]
impl Probe for PostgresProbe {
    async fn read(&mut self) -> Result<Vec<Point>, ProbeError> {
        match self.line.ask(Question::Reading).await? {
            Answer::Rows(rows) => Ok(self.figures.points(&rows, Instant::now())),
            Answer::Full => Ok(self.figures.full()),
            Answer::Snapshot(_) => Err(ProbeError { reason: "parse", detail: "a snapshot is no reading".into() }),
        }
    }

    async fn snapshot(&mut self, before: Option<Arc<DatabaseSnapshot>>) -> Result<Option<DatabaseSnapshot>, ProbeError> {
        match self.line.ask(Question::Snapshot(self.clock.now(), before)).await? {
            Answer::Snapshot(mut snapshot) => {
                snapshot.locks.waits = self.figures.waits();
                Ok(Some(*snapshot))
            }
            Answer::Rows(_) | Answer::Full => {
                Err(ProbeError { reason: "connect", detail: "the server has no connection left for us".into() })
            }
        }
    }
}

/// What the server is asked.
enum Question {
    /// One reading.
    Reading,
    /// A snapshot at this moment; with the one from before, texts as well.
    Snapshot(Timestamp, Option<Arc<DatabaseSnapshot>>),
}

/// What it answers.
enum Answer {
    /// The rows of each statement.
    Rows(Vec<Vec<Row>>),
    /// It has no connection left, for us neither.
    Full,
    /// A snapshot.
    Snapshot(Box<DatabaseSnapshot>),
}

/// A connection and what is known of the server behind it.
struct Session {
    connection: PgConnection,
    server: Server,
}

/// How the server is talked to.
struct Monitor {
    address: Address,
    options: PgConnectOptions,
    timeout: Duration,
}

impl Monitor {
    /// What every session begins with: it may not take long, not wait for locks, and not write.
    fn guards(&self) -> String {
        let limit = self.timeout.as_millis().max(1);
        format!(
            "SET statement_timeout = {limit}; SET lock_timeout = 200; SET idle_in_transaction_session_timeout = 5000; \
             SET default_transaction_read_only = on; \
             SELECT current_user AS me, current_setting('server_version_num') AS version, \
             pg_has_role(current_user, 'pg_read_all_stats', 'MEMBER') AS may"
        )
    }

    /// Whether the server is full, as opposed to a limit that is ours alone (of the role).
    fn is_full(error: &sqlx::Error) -> bool {
        let ours = error.as_database_error().is_some_and(|said| said.message().contains("for role"));
        simple::code_of(error) == "53300" && !ours
    }
}

#[async_trait]
impl Link for Monitor {
    type Connection = Session;
    type Question = Question;
    type Answer = Answer;

    async fn connect(&self) -> Result<Opened<Session, Answer>, ProbeError> {
        let mut connection = match simple::connect(self.options.clone()).await {
            Ok(connection) => connection,
            Err(error) if Self::is_full(&error) => return Ok(Opened::Answer(Answer::Full)),
            Err(error) => {
                let ProbeError { reason, detail } = simple::failed(&error).error;
                return Err(ProbeError { reason, detail: format!("{}: {detail}", self.address) });
            }
        };
        let answers = simple::ask(&mut connection, self.guards()).await.map_err(|failed| failed.error)?;
        let who = answers.iter().flatten().next();
        let (Some(me), Some(version)) = (who.and_then(|row| row.text("me")), who.and_then(|row| row.number("version"))) else {
            return Err(ProbeError { reason: "parse", detail: format!("{} does not tell its version", self.address) });
        };
        if !who.is_some_and(|row| row.is("may")) {
            let detail = format!("`{me}` may not see what others do; as superuser: GRANT pg_monitor TO \"{}\";", me.replace('"', "\"\""));
            return Err(ProbeError { reason: "permission", detail });
        }
        let server = Server::new(version as u32).map_err(|detail| ProbeError { reason: "missing", detail })?;
        Ok(Opened::Connection(Session { connection, server }))
    }

    async fn ask(&self, session: &mut Session, question: Question) -> Result<Answer, Failed> {
        match question {
            Question::Reading => {
                let rows = simple::ask(&mut session.connection, session.server.reading()).await?;
                Ok(Answer::Rows(rows))
            }
            Question::Snapshot(at, before) => snapshot::take(session, at, before).await.map(Box::new).map(Answer::Snapshot),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::probe::tests::{decode, diagnostics};

    #[test]
    fn the_address_is_checked_and_its_password_never_shown() {
        let settings: PostgresSettings = decode(&json!({"url": "postgres://plimsoll:geheim@db:5433/shop?sslmode=require"}));
        assert_eq!(settings.describe(), "postgres://db:5433/shop");
        assert!(!format!("{settings:?}").contains("geheim"), "{settings:?}");
        for (keys, found) in [
            (json!({}), "missing-key: the probe lacks the key `url`"),
            (json!({"url": "mysql://ann:geheim@db/shop"}), "bad-url: this is not an address that begins with `postgres://`"),
            (json!({"url": "geheim"}), "bad-url"),
            (json!({"url": "postgres://ann:geheim@db/shop?sslmode=nonsense"}), "bad-url: postgres://db/shop cannot be used"),
            (json!({"url": "postgres://db/shop", "timeout": 3}), "missing-unit"),
        ] {
            let diagnostics = diagnostics::<PostgresSettings>(&keys);
            assert!(diagnostics[0].starts_with(found), "{keys}: {diagnostics:?}");
            assert!(!format!("{diagnostics:?}").contains("geheim"), "{diagnostics:?}");
        }
    }
}
