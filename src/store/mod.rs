//! Remembers runs, series, ticks, findings, alerts and outgoing messages: one trait, SQLite and PostgreSQL behind it.
//! Only `engine` writes; `server` and `cli` read. sqlx is named only here, in the database probes and in the demo.
//! A new backend: one file here, its migrations beside, and the conformance suite passes.

mod alerts;
mod archive;
mod ask;
mod audit;
mod bundles;
mod captures;
pub mod care;
mod dialect;
mod history;
mod journal;
mod latencies;
mod lines;
mod owners;
mod portable;
mod postgres;
mod rare;
mod readings;
mod retention;
mod retention_sql;
mod rollup;
mod rollup_sql;
mod runs;
mod schema;
mod series;
mod shared;
mod space;
mod sql;
mod sqlite;
mod telling;

use std::sync::Arc;
use std::time::Duration;

pub use archive::{Archive, FigureQuery, Kept, ReadingQuery, ReadingSeries, ReadingSpan, Window};
use async_trait::async_trait;
pub use audit::Audit;
pub use owners::{CHARGE, Loading, Owner, Ownership, Seen};
pub use portable::Counts;
pub use retention::Batch;
pub use space::Returned;
pub use telling::Telling;

use crate::model::alerting::{AlertInstance, OutboxState, Outgoing, Transition};
use crate::model::capture::Captured;
use crate::model::control::Standstill;
use crate::model::finding::Finding;
use crate::model::history::{Deploy, NightNumbers, PastRun, Pinned};
use crate::model::measure::Interval;
use crate::model::muting::AlertThread;
use crate::model::run::{Run, RunId, RunLine, RunStatus, Verdict};
use crate::model::schedule::Tick;
use crate::model::series::Reading;
use crate::model::units::Timestamp;

/// Why the store could not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database is locked or overloaded; trying again can help.
    #[error("the database is busy: {0}")]
    Busy(String),
    /// The database cannot be reached; trying again later can help.
    #[error("the database cannot be reached: {0}")]
    Gone(String),
    /// No space is left.
    #[error("the database is full: {0}")]
    Full(String),
    /// The row exists already.
    #[error("already stored: {0}")]
    Duplicate(String),
    /// The schema was written by a newer program.
    #[error("the database has schema version {found}, this program knows up to {known}: use the newer program, or restore a backup")]
    TooNew {
        /// Version in the database.
        found: i64,
        /// Newest version known here.
        known: i64,
    },
    /// The address or the file is not usable as a store.
    #[error("the database cannot be opened: {0}")]
    Unusable(String),
    /// Stored data cannot be understood.
    #[error("stored data is damaged: {0}")]
    Corrupt(String),
    /// The answer would be more than is held in memory at once; nothing was cut off.
    #[error("more than {0} rows at once: ask for a shorter span, or for a coarser resolution")]
    TooMany(usize),
    /// This process was in charge, and another one is by now: what it decides is not based on what happened since.
    #[error("another daemon is in charge of the database by now")]
    NotInCharge,
    /// Anything else.
    #[error("the database refused: {0}")]
    Other(String),
}

impl StoreError {
    /// True when the same call may succeed later.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Busy(_) | Self::Gone(_) | Self::Full(_))
    }
}

/// Result of a store call.
pub type StoreResult<T> = Result<T, StoreError>;

/// Most readings, figures or spans of readings in one answer.
pub const MOST_ROWS: usize = 200_000;
/// Most seconds, or longer spans, with their histograms in one answer.
pub const MOST_SECONDS: usize = 3_600;

/// Which runs to list.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    /// Only of this profile.
    pub profile: Option<String>,
    /// Only of this target.
    pub target: Option<String>,
    /// Only in this state.
    pub status: Option<RunStatus>,
    /// Only with this verdict.
    pub verdict: Option<Verdict>,
    /// Only those that started before.
    pub before: Option<Timestamp>,
    /// At most so many; 0 = 50.
    pub limit: u32,
}

/// Which probe readings to read.
#[derive(Debug, Clone, Default)]
pub struct ReadingFilter {
    /// Of this run; else of the time span.
    pub run: Option<RunId>,
    /// Of this target.
    pub target: Option<String>,
    /// Of this metric.
    pub metric: Option<String>,
    /// From this moment on.
    pub from: Option<Timestamp>,
    /// Before this moment.
    pub to: Option<Timestamp>,
}

/// What one second of everything adds to the store; written in one transaction.
#[derive(Debug, Clone, Default)]
pub struct SeriesBatch {
    /// Intervals of runs.
    pub intervals: Vec<(RunId, Interval)>,
    /// Readings, with the run that was going on.
    pub readings: Vec<(Option<RunId>, Reading)>,
}

/// A decision about alerts: state, history and messages, written in one transaction before anyone is told.
#[derive(Debug, Clone, Default)]
pub struct AlertChange {
    /// Instances to insert or replace.
    pub instances: Vec<AlertInstance>,
    /// Fingerprints to forget.
    pub forgotten: Vec<String>,
    /// History entries to add.
    pub transitions: Vec<Transition>,
    /// Messages to send.
    pub messages: Vec<Outgoing>,
    /// Threads to insert or replace.
    pub threads: Vec<AlertThread>,
    /// Threads to forget.
    pub threads_forgotten: Vec<String>,
}

/// What became of an attempt to send.
#[derive(Debug, Clone, PartialEq)]
pub struct Settlement {
    /// The message.
    pub id: String,
    /// New state: sent, dropped, or waiting for another attempt.
    pub state: OutboxState,
    /// Next attempt not before; for `waiting`.
    pub not_before: Timestamp,
    /// Now.
    pub at: Timestamp,
    /// Where it went, or why not.
    pub detail: String,
}

/// Figures about the outbox for `/metrics`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OutboxStats {
    /// Messages that wait.
    pub waiting: u64,
    /// When the oldest of them was written.
    pub oldest: Option<Timestamp>,
}

/// Opens the store at `url`, `sqlite://PATH`, `sqlite::memory:` or `postgres://USER:PASSWORD@HOST:PORT/DATABASE`, and makes its
/// schema current. Errors never show the password.
pub async fn open(url: &str) -> StoreResult<Arc<dyn Store>> {
    let (scheme, rest) = url.split_once(':').unwrap_or(("", url));
    match scheme {
        "sqlite" => sqlite::open(rest.strip_prefix("//").unwrap_or(rest)).await,
        "postgres" | "postgresql" => postgres::open(url).await,
        _ => Err(StoreError::Unusable("the address must begin with `sqlite://` (a file) or `postgres://` (a server)".into())),
    }
}

/// The database that an address means, without user and password: what is kept for it elsewhere is marked so. `None` for one in memory.
pub fn name_of(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once(':').unwrap_or(("", url));
    match scheme {
        "sqlite" => Some(rest.strip_prefix("//").unwrap_or(rest)).filter(|path| *path != ":memory:").map(Into::into),
        _ => postgres::name_of(url),
    }
}

/// The memory of the daemon. Every call is one transaction; every promise is a test of the conformance suite.
/// A `limit` of 0 means 50. Lists without a limit of the caller's are of what is few by its nature (what is open, waits, or belongs to one run
/// or incident), or they are bounded: then more than that is [`StoreError::TooMany`], and nothing is cut off.
#[async_trait]
pub trait Store: Archive + Ownership + Telling + Audit {
    /// Succeeds when the store can be written.
    async fn ping(&self) -> StoreResult<()>;
    /// Waits for the work under way and ends all connections; later calls fail. What was acknowledged is kept without it, too.
    async fn close(&self) {}

    /// Writes a run that begins. `Duplicate` when the id exists.
    async fn start_run(&self, run: &Run) -> StoreResult<()>;
    /// Replaces everything about a run but its id and its start, from which its series are counted. Fails when it is not stored.
    async fn update_run(&self, run: &Run) -> StoreResult<()>;
    /// Moves offset 0 of a run that is stored as running and has no series yet: its setup took time.
    async fn load_begins(&self, run: &RunId, at: Timestamp) -> StoreResult<()>;
    /// Marks every run that is stored as running, and whose process is not enlisted, as interrupted (`ended_by` crash, ended at its last interval or `at`), and returns their ids.
    async fn interrupt_orphans(&self, at: Timestamp) -> StoreResult<Vec<RunId>>;
    /// The run with this id, or the only run whose id starts or ends with it; `last` is the newest. `None` also when several fit.
    async fn run(&self, id: &str) -> StoreResult<Option<Run>>;
    /// Runs, newest first, with everything about each: for few.
    async fn runs(&self, filter: &RunFilter) -> StoreResult<Vec<Run>>;
    /// The same as lists show them.
    async fn run_lines(&self, filter: &RunFilter) -> StoreResult<Vec<RunLine>> {
        Ok(self.runs(filter).await?.iter().map(RunLine::from).collect())
    }

    /// Adds intervals and readings. The same second of a run again replaces it, so does the same moment of a probe. All or nothing:
    /// fails when a run is not stored. Points that are not finite are left out.
    async fn append(&self, batch: &SeriesBatch) -> StoreResult<()>;
    /// Intervals of a run with `from <= second < to`, ascending; at most [`MOST_SECONDS`] that are stored.
    async fn intervals(&self, run: &RunId, from: u32, to: u32) -> StoreResult<Vec<Interval>>;
    /// Readings, ascending in time; at most [`MOST_ROWS`]. Failed readings are included unless a metric is asked for; then only its points
    /// are.
    async fn readings(&self, filter: &ReadingFilter) -> StoreResult<Vec<Reading>>;
    /// Shows the same one by one, however many they are: they are never in memory together.
    async fn each_reading(&self, filter: &ReadingFilter, take: &mut (dyn FnMut(Reading) + Send)) -> StoreResult<()> {
        self.readings(filter).await?.into_iter().for_each(take);
        Ok(())
    }

    /// Adds findings; those of the same run and method are replaced. Fails when the run is not stored.
    async fn save_findings(&self, run: &RunId, findings: &[Finding]) -> StoreResult<()>;
    /// Replaces the findings of a run that were made by these methods, whatever their version (`leak/1` stands for `leak/2` too), and
    /// by those of `findings`, by the latter. Fails when the run is not stored.
    async fn replace_findings(&self, run: &RunId, methods: &[&str], findings: &[Finding]) -> StoreResult<()>;
    /// Findings, newest first; of one run or of all.
    async fn findings(&self, run: Option<&RunId>, limit: u32) -> StoreResult<Vec<Finding>>;

    /// Writes what was captured during a run; the same number again replaces it. Fails when the run is not stored.
    async fn save_capture(&self, run: &RunId, captured: &Captured, content: Option<&[u8]>) -> StoreResult<()>;
    /// What was captured during a run, in order, without the contents.
    async fn captures(&self, run: &RunId) -> StoreResult<Vec<Captured>>;
    /// One capture with its content; empty when it failed.
    async fn capture(&self, run: &RunId, number: u32) -> StoreResult<Option<(Captured, Vec<u8>)>>;

    /// Adds the record of one instant of a schedule. The same schedule and instant again replaces it, unless it names the run that was
    /// started for it, or another process than this one is in charge.
    async fn record_tick(&self, tick: &Tick) -> StoreResult<()>;
    /// Records, newest first; of one schedule or of all.
    async fn ticks(&self, schedule: Option<&str>, limit: u32) -> StoreResult<Vec<Tick>>;

    /// Writes the numbers that a run is remembered by; those that were there are replaced. Fails when the run is not stored, or a number
    /// is not finite.
    async fn save_night(&self, run: &RunId, numbers: &NightNumbers) -> StoreResult<()>;
    /// Runs of a profile that started before a moment, newest first, with the numbers that are stored.
    async fn past_runs(&self, profile: &str, before: Option<Timestamp>, limit: u32) -> StoreResult<Vec<PastRun>>;
    /// Adds a deploy of a target.
    async fn record_deploy(&self, deploy: &Deploy) -> StoreResult<()>;
    /// Deploys, newest first; of one target or of all.
    async fn deploys(&self, target: Option<&str>, limit: u32) -> StoreResult<Vec<Deploy>>;
    /// Makes a run the one that its profile is compared with. Fails when it is not stored.
    async fn pin_baseline(&self, pinned: &Pinned) -> StoreResult<()>;
    /// Forgets which run a profile is compared with; says whether there was one.
    async fn unpin_baseline(&self, profile: &str) -> StoreResult<bool>;
    /// The run that a profile is compared with.
    async fn baseline(&self, profile: &str) -> StoreResult<Option<Pinned>>;

    /// Whether all load stands still.
    async fn standstill(&self) -> StoreResult<Option<Standstill>>;
    /// Remembers that all load stands still, or that it does not any more.
    async fn set_standstill(&self, standstill: Option<&Standstill>) -> StoreResult<()>;

    /// When everything was stopped last, and by whom; every process ends its own runs then.
    async fn last_stop(&self) -> StoreResult<Option<Standstill>>;
    /// Remembers that everything was stopped.
    async fn record_stop(&self, stop: &Standstill) -> StoreResult<()>;

    /// All alert instances.
    async fn alerts(&self) -> StoreResult<Vec<AlertInstance>>;
    /// Writes a decision: state, history and messages, all or nothing. A message whose id exists is left as it is.
    async fn commit_alerts(&self, change: &AlertChange) -> StoreResult<()>;
    /// History, newest first; of one alert or of all.
    async fn transitions(&self, fingerprint: Option<&str>, limit: u32) -> StoreResult<Vec<Transition>>;

    /// Takes up to `limit` waiting messages that are due and not leased, and leases them to the caller. Of one incident and channel
    /// only the earliest that is not done is ever given out, so that a resolve never overtakes its fire.
    async fn lease_messages(&self, now: Timestamp, lease: Duration, limit: u32) -> StoreResult<Vec<Outgoing>>;
    /// Records the outcome of an attempt (counts it, but for `merged`) and gives the lease back. A message that is done stays as it is.
    /// Fails when it is not stored.
    async fn settle_message(&self, settlement: &Settlement) -> StoreResult<()>;
    /// Messages, newest first; in one state or all.
    async fn messages(&self, state: Option<OutboxState>, limit: u32) -> StoreResult<Vec<Outgoing>>;
    /// Of each incident the last message that arrived at this channel: while the incident is open, and its resolve when that arrived at
    /// `since` or later.
    async fn told(&self, channel: &str, since: Timestamp) -> StoreResult<Vec<Outgoing>>;
    /// How much is waiting.
    async fn outbox_stats(&self) -> StoreResult<OutboxStats>;
}
