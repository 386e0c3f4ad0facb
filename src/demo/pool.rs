//! The database of the demo target and its bounded connection pool, with exact counts of who holds and who waits.
//! The pool is sqlx's own and really blocks; the counts are taken around it, because sqlx gives connections back a moment late.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection, Sqlite, SqliteConnection};
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;

/// Why a request did not get a connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum AcquireError {
    /// None came free in time.
    #[error("sorry, too many clients already")]
    Exhausted,
    /// The database itself failed.
    #[error("{0}")]
    Database(#[from] sqlx::Error),
}

/// The pool at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolSnapshot {
    /// Configured maximum.
    pub limit: u32,
    /// Connections checked out or promised to the next in the queue; leaked ones included.
    pub in_use: u64,
    /// Connections that are open and free.
    pub idle: u64,
    /// Connections that are open, as sqlx counts them.
    pub open: u64,
    /// Requests that wait for a connection now.
    pub waiting: u64,
    /// Requests that ever had to wait.
    pub waits: u64,
    /// Time that they waited together.
    pub waited: Duration,
    /// Waits that ended without a connection.
    pub timeouts: u64,
    /// Connections that were never given back.
    pub leaked: u64,
}

#[derive(Debug, Default)]
struct Counts {
    in_use: AtomicU64,
    waiting: AtomicU64,
    waits: AtomicU64,
    waited_ns: AtomicU64,
    timeouts: AtomicU64,
    /// Connections handed out since the leak was switched on.
    handed_out: AtomicU64,
}

/// A connection that is checked out. Dropping it gives it back.
pub(super) struct Lease {
    connection: PoolConnection<Sqlite>,
    counts: Arc<Counts>,
}

impl Lease {
    /// The connection, to run a query on.
    pub(super) fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }

    /// Gives the connection back and waits until the pool has it, so that the next request does not wait for the bookkeeping.
    async fn give_back(mut self) {
        let returned = self.connection.return_to_pool();
        drop(self);
        returned.await;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Before sqlx frees the place, so that the count never exceeds the limit.
        self.counts.in_use.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Counts a wait from its begin to its end, also when the request is given up in between.
struct Waiting {
    counts: Arc<Counts>,
    since: Instant,
}

impl Waiting {
    fn begin(counts: &Arc<Counts>) -> Self {
        counts.waiting.fetch_add(1, Ordering::SeqCst);
        counts.waits.fetch_add(1, Ordering::SeqCst);
        Self { counts: counts.clone(), since: Instant::now() }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.counts.waiting.fetch_sub(1, Ordering::SeqCst);
        let waited = u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.counts.waited_ns.fetch_add(waited, Ordering::SeqCst);
    }
}

/// The database and its pool.
pub(super) struct Database {
    options: SqliteConnectOptions,
    acquire_timeout: Duration,
    current: RwLock<SqlitePool>,
    counts: Arc<Counts>,
    leaked: Mutex<Vec<Lease>>,
    /// Pools that were replaced and close when their last connection comes back.
    closing: TaskTracker,
}

impl Database {
    /// Makes and fills the database in `folder`.
    pub(super) async fn create(folder: &Path, limit: u32, users: u32, acquire_timeout: Duration) -> Result<Self, sqlx::Error> {
        let options = SqliteConnectOptions::new()
            .filename(folder.join("demo.db"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Off)
            .busy_timeout(Duration::from_secs(5));
        let mut connection = SqliteConnection::connect_with(&options).await?;
        fill(&mut connection, users.max(1)).await?;
        connection.close().await?;
        let current = RwLock::new(open(&options, limit));
        let (counts, leaked, closing) = (Arc::default(), Mutex::default(), TaskTracker::new());
        Ok(Self { options, acquire_timeout, current, counts, leaked, closing })
    }

    fn current(&self) -> SqlitePool {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes a connection; waits for one while all are taken.
    pub(super) async fn acquire(&self) -> Result<Lease, AcquireError> {
        let deadline = Instant::now() + self.acquire_timeout;
        let mut waiting = None;
        loop {
            let pool = self.current();
            if let Some(connection) = pool.try_acquire() {
                return Ok(self.lease(connection));
            }
            // With room below the limit a connection is opened; that is work, not waiting.
            if waiting.is_none() && pool.size() >= pool.options().get_max_connections() {
                waiting = Some(Waiting::begin(&self.counts));
            }
            match timeout_at(deadline, pool.acquire()).await {
                Ok(Ok(connection)) => return Ok(self.lease(connection)),
                // The pool was replaced meanwhile: wait on its successor.
                Ok(Err(sqlx::Error::PoolClosed)) if !self.current().is_closed() => {}
                Ok(Err(sqlx::Error::PoolTimedOut)) | Err(_) => {
                    self.counts.timeouts.fetch_add(1, Ordering::SeqCst);
                    return Err(AcquireError::Exhausted);
                }
                Ok(Err(error)) => return Err(error.into()),
            }
        }
    }

    fn lease(&self, connection: PoolConnection<Sqlite>) -> Lease {
        self.counts.in_use.fetch_add(1, Ordering::SeqCst);
        Lease { connection, counts: self.counts.clone() }
    }

    /// Gives a connection back, except every `leak_every`th (0: none), which is kept for ever.
    pub(super) async fn give_back(&self, lease: Lease, leak_every: u64) {
        if leak_every > 0 && (self.counts.handed_out.fetch_add(1, Ordering::SeqCst) + 1).is_multiple_of(leak_every) {
            self.leaked.lock().unwrap_or_else(PoisonError::into_inner).push(lease);
        } else {
            lease.give_back().await;
        }
    }

    /// Gives back every leaked connection, as a restart of the service would.
    pub(super) fn mend_leak(&self) {
        self.leaked.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Replaces the pool by one of another size. Connections in use stay until they are given back; leaked ones end with the old pool.
    pub(super) fn resize(&self, limit: u32) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.options().get_max_connections() == limit {
            return;
        }
        let former = std::mem::replace(&mut *current, open(&self.options, limit));
        drop(current);
        self.mend_leak();
        self.closing.spawn(async move { former.close().await });
    }

    /// The pool now.
    pub(super) fn snapshot(&self) -> PoolSnapshot {
        let pool = self.current();
        let count = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        let limit = pool.options().get_max_connections();
        let (taken, queue) = (count(&self.counts.in_use), count(&self.counts.waiting));
        // sqlx promises a connection that comes back to the first in the queue at once, and that one picks it up a moment later.
        // As in Go, whose pool hands it over directly, it is in use meanwhile and nobody waits for it.
        let promised = queue.min(u64::from(limit).saturating_sub(taken));
        PoolSnapshot {
            limit,
            in_use: taken + promised,
            idle: (pool.num_idle() as u64).saturating_sub(promised),
            open: u64::from(pool.size()),
            waiting: queue - promised,
            waits: count(&self.counts.waits),
            waited: Duration::from_nanos(count(&self.counts.waited_ns)),
            timeouts: count(&self.counts.timeouts),
            leaked: self.leaked.lock().unwrap_or_else(PoisonError::into_inner).len() as u64,
        }
    }

    /// Closes every pool once all connections are back.
    pub(super) async fn close(&self) {
        self.mend_leak();
        self.current().close().await;
        self.closing.close();
        self.closing.wait().await;
    }
}

fn open(options: &SqliteConnectOptions, limit: u32) -> SqlitePool {
    SqlitePoolOptions::new()
        .max_connections(limit.max(1))
        .min_connections(0)
        // Longer than any wait of ours, which ends the wait itself.
        .acquire_timeout(Duration::from_secs(3600))
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .connect_lazy_with(options.clone())
}

async fn fill(connection: &mut SqliteConnection, users: u32) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(
        "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT NOT NULL);
         CREATE TABLE wallets (user_id INTEGER PRIMARY KEY, cents INTEGER NOT NULL, currency TEXT NOT NULL);
         CREATE TABLE cards (user_id INTEGER PRIMARY KEY, last_four TEXT NOT NULL, network TEXT NOT NULL);
         CREATE TABLE bots (user_id INTEGER PRIMARY KEY, enabled INTEGER NOT NULL);
         CREATE TABLE transactions (id INTEGER PRIMARY KEY, user_id INTEGER NOT NULL, cents INTEGER NOT NULL, note TEXT NOT NULL);
         CREATE INDEX transactions_of_user ON transactions (user_id, id);
         CREATE TABLE sessions (token TEXT PRIMARY KEY, name TEXT NOT NULL, until_ms INTEGER);
         CREATE TABLE events (id INTEGER PRIMARY KEY, user TEXT NOT NULL, kind INTEGER NOT NULL, amount INTEGER NOT NULL);
         CREATE INDEX events_of_user ON events (user, id);
         CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT NOT NULL UNIQUE);",
    )
    .execute(&mut *connection)
    .await?;
    let numbers = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)";
    for insert in [
        "INSERT INTO users SELECT i, 'user-' || i, 'user-' || i || '@example.org' FROM n",
        "INSERT INTO wallets SELECT i, 100000 + i, 'EUR' FROM n",
        "INSERT INTO cards SELECT i, printf('%04d', i % 10000), 'demo' FROM n",
        "INSERT INTO bots SELECT i, 0 FROM n",
        "INSERT INTO transactions (user_id, cents, note) SELECT n.i, 100 * t.value, 'payment ' || t.value \
         FROM n, (SELECT value FROM json_each('[1,2,3,4,5,6,7,8,9,10]')) t",
    ] {
        // SQLite wants the `WITH` before the `INSERT`. Both are constants of this function.
        let statement = sqlx::AssertSqlSafe(format!("{numbers} {insert}"));
        sqlx::query(statement).bind(users).execute(&mut *connection).await?;
    }
    Ok(())
}
