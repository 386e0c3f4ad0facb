//! The store on an SQL database, whichever: transactions, and the `Store` trait handed on to one file per subject
//! (`runs`, `series`, `readings`, `journal`, `alerts`). Writers and readers have pools of their own, so that a long
//! question never holds up the writing of a second.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use sqlx::pool::Pool;
use sqlx::{Arguments, Transaction};

use super::dialect::{Columns, Dialect, ErrorKind, Value};
use super::readings::SeriesKeys;
use super::{
    AlertChange, OutboxStats, Owner, ReadingFilter, RunFilter, SeriesBatch, Settlement, Store, StoreError, StoreResult, alerts, captures,
    history, journal, lines, owners, readings, rollup, runs, series, sql,
};
use crate::model::alerting::{AlertInstance, OutboxState, Outgoing, Transition};
use crate::model::capture::Captured;
use crate::model::control::Standstill;
use crate::model::finding::Finding;
use crate::model::history::{Deploy, NightNumbers, PastRun, Pinned};
use crate::model::measure::Interval;
use crate::model::run::{Run, RunId, RunLine};
use crate::model::schedule::Tick;
use crate::model::series::Reading;
use crate::model::units::Timestamp;

/// Longest wait for the answer to a statement. The databases give up before (busy and statement timeouts); this is for a
/// connection whose other end is silently gone.
const PATIENCE: Duration = Duration::from_secs(45);

/// Rows that are returned when a limit of 0 is asked for.
const DEFAULT_LIMIT: u32 = 50;

/// `limit`, or the default for 0.
pub(super) fn limit_or_default(limit: u32) -> Value<'static> {
    Value::from(if limit == 0 { DEFAULT_LIMIT } else { limit })
}

/// A store in an SQL database.
pub(super) struct SqlStore<D: Dialect> {
    write: Pool<D>,
    read: Pool<D>,
    pub(super) place: String,
    series_keys: SeriesKeys,
    /// In whose name is written.
    owner: Mutex<Option<Owner>>,
}

impl<D: Dialect> SqlStore<D> {
    /// A store on open pools (which may be the same); `place` names the database in errors, without secrets.
    pub(super) fn new(write: Pool<D>, read: Pool<D>, place: String) -> Self {
        Self { write, read, place, series_keys: SeriesKeys::default(), owner: Mutex::default() }
    }

    /// From now on is written in the name of `owner`.
    pub(super) fn belongs_to(&self, owner: Owner) {
        *self.owner.lock().unwrap_or_else(PoisonError::into_inner) = Some(owner);
    }

    /// In whose name is written; `None` before it has enlisted.
    pub(super) fn owner(&self) -> Option<Owner> {
        self.owner.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A transaction that writes.
    pub(super) async fn writing(&self) -> StoreResult<Tx<'_, D>> {
        Tx::begin(&self.write, D::BEGIN_WRITE, &self.place).await
    }

    /// Runs statements that no transaction may hold, on the one connection that writes; they take as long as they take.
    pub(super) async fn alone(&self, statements: &[&'static str]) -> StoreResult<()> {
        let failed = |error| store_error::<D>(&self.place, &error);
        let mut connection = self.write.acquire().await.map_err(failed)?;
        for statement in statements {
            D::execute(&mut connection, statement, arguments::<D>(&[])?).await.map_err(failed)?;
        }
        Ok(())
    }

    /// A transaction that reads one state of the database; it ends when it is dropped.
    pub(super) async fn reading(&self) -> StoreResult<Tx<'_, D>> {
        Tx::begin(&self.read, D::BEGIN_READ, &self.place).await
    }
}

/// What an error of sqlx means, with the database's name before its text.
pub(super) fn store_error<D: Dialect>(place: &str, error: &sqlx::Error) -> StoreError {
    use sqlx::Error::{
        BeginFailed, ColumnDecode, Configuration, Database, Decode, InvalidSavePointStatement, Io, PoolClosed, PoolTimedOut, Protocol, Tls,
        WorkerCrashed,
    };
    if let Database(database) = error {
        let kind = database.code().map_or(StoreError::Other as ErrorKind, |code| D::error_kind(&code));
        return kind(format!("{place}: {}", database.message()));
    }
    if let Io(error) = error {
        return StoreError::Gone(format!("{place}: {error}"));
    }
    let kind: ErrorKind = if matches!(error, WorkerCrashed | PoolClosed | BeginFailed | InvalidSavePointStatement | Protocol(_)) {
        StoreError::Gone
    } else if matches!(error, PoolTimedOut) {
        StoreError::Busy
    } else if matches!(error, Configuration(_) | Tls(_)) {
        StoreError::Unusable
    } else if matches!(error, ColumnDecode { .. } | Decode(_)) {
        StoreError::Corrupt
    } else {
        StoreError::Other
    };
    kind(format!("{place}: {error}"))
}

/// A transaction with the shared statements; rolled back unless it is committed.
pub(super) struct Tx<'s, D: Dialect> {
    inner: Transaction<'static, D>,
    place: &'s str,
}

impl<'s, D: Dialect> Tx<'s, D> {
    async fn begin(pool: &Pool<D>, statement: &'static str, place: &'s str) -> StoreResult<Self> {
        let inner = pool.begin_with(statement).await.map_err(|error| {
            // A full pool means that others hold all connections; a pool with room could not connect.
            if matches!(error, sqlx::Error::PoolTimedOut) && pool.size() < pool.options().get_max_connections() {
                return StoreError::Gone(format!("{place}: no connection could be opened"));
            }
            store_error::<D>(place, &error)
        })?;
        Ok(Self { inner, place })
    }

    /// Makes everything that was done lasting.
    pub(super) async fn commit(self) -> StoreResult<()> {
        let place = self.place;
        within(place, self.inner.commit()).await?.map_err(|error| store_error::<D>(place, &error))
    }

    /// Runs a statement; returns the number of rows it changed.
    pub(super) async fn execute(&mut self, sql: &'static str, values: &[Value<'_>]) -> StoreResult<u64> {
        let arguments = arguments::<D>(values)?;
        let done = within(self.place, D::execute(&mut self.inner, sql, arguments)).await?;
        done.map_err(|error| store_error::<D>(self.place, &error))
    }

    /// Runs a query and shows each row to `read`, as they come: they are never in memory together. An error of `read` ends it.
    pub(super) async fn each(
        &mut self,
        sql: &'static str,
        values: &[Value<'_>],
        mut read: impl FnMut(&mut Columns<'_, D>) -> StoreResult<()> + Send,
    ) -> StoreResult<()> {
        let arguments = arguments::<D>(values)?;
        let mut rows = D::fetch(&mut self.inner, sql, arguments);
        while let Some(row) = within(self.place, rows.next()).await? {
            let row = row.map_err(|error| store_error::<D>(self.place, &error))?;
            read(&mut Columns::new(&row)).map_err(|error| placed(self.place, error))?;
        }
        Ok(())
    }

    /// Runs a query and makes something of each row; for few.
    pub(super) async fn list<T: Send>(
        &mut self,
        sql: &'static str,
        values: &[Value<'_>],
        read: impl FnMut(&mut Columns<'_, D>) -> StoreResult<T> + Send,
    ) -> StoreResult<Vec<T>> {
        self.at_most(usize::MAX, sql, values, read).await
    }

    /// The same; more rows than `most` are an error, for no answer is cut off without a word.
    pub(super) async fn at_most<T: Send>(
        &mut self,
        most: usize,
        sql: &'static str,
        values: &[Value<'_>],
        mut read: impl FnMut(&mut Columns<'_, D>) -> StoreResult<T> + Send,
    ) -> StoreResult<Vec<T>> {
        let mut list = Vec::new();
        self.each(sql, values, |row| {
            room(list.len(), most)?;
            list.push(read(row)?);
            Ok(())
        })
        .await?;
        Ok(list)
    }

    /// Runs a statement that was put together, of names from the database's catalog only.
    pub(super) async fn execute_made(&mut self, sql: String, values: &[Value<'_>]) -> StoreResult<u64> {
        let arguments = arguments::<D>(values)?;
        let done = within(self.place, D::execute_made(&mut self.inner, sql, arguments)).await?;
        done.map_err(|error| store_error::<D>(self.place, &error))
    }

    /// Runs a query that was put together, of names from the database's catalog only; `read` is shown each row.
    pub(super) async fn list_made(
        &mut self,
        sql: String,
        mut read: impl FnMut(&mut Columns<'_, D>) -> StoreResult<()> + Send,
    ) -> StoreResult<()> {
        let mut rows = D::fetch_made(&mut self.inner, sql);
        while let Some(row) = within(self.place, rows.next()).await? {
            let row = row.map_err(|error| store_error::<D>(self.place, &error))?;
            read(&mut Columns::new(&row)).map_err(|error| placed(self.place, error))?;
        }
        Ok(())
    }

    /// The first row of a query.
    pub(super) async fn first<T>(
        &mut self,
        sql: &'static str,
        values: &[Value<'_>],
        read: impl FnOnce(&mut Columns<'_, D>) -> StoreResult<T> + Send,
    ) -> StoreResult<Option<T>> {
        let arguments = arguments::<D>(values)?;
        let mut rows = D::fetch(&mut self.inner, sql, arguments);
        let Some(row) = within(self.place, rows.next()).await? else { return Ok(None) };
        let row = row.map_err(|error| store_error::<D>(self.place, &error))?;
        read(&mut Columns::new(&row)).map_err(|error| placed(self.place, error)).map(Some)
    }

    /// The whole number in the first row of a query; `None` for NULL or no row.
    pub(super) async fn maybe<T: TryFrom<i64> + Send>(&mut self, sql: &'static str, values: &[Value<'_>]) -> StoreResult<Option<T>> {
        #[expect(clippy::redundant_closure_for_method_calls, reason = "the bare method is not general over the row's lifetime")]
        let number = self.first(sql, values, |row| row.opt_number()).await?;
        Ok(number.flatten())
    }

    /// The whole number in the first row of a query.
    pub(super) async fn number(&mut self, sql: &'static str, values: &[Value<'_>]) -> StoreResult<i64> {
        #[expect(clippy::redundant_closure_for_method_calls, reason = "the bare method is not general over the row's lifetime")]
        let number = self.first(sql, values, |row| row.int()).await?;
        number.ok_or_else(|| StoreError::Other(format!("{}: a statement returned no row", self.place)))
    }
}

/// Fails when there are `most` already.
pub(super) fn room(there: usize, most: usize) -> StoreResult<()> {
    if there < most { Ok(()) } else { Err(StoreError::TooMany(most)) }
}

/// Adds the database's name to what is wrong with its data.
fn placed(place: &str, error: StoreError) -> StoreError {
    if let StoreError::Corrupt(text) = &error {
        return StoreError::Corrupt(format!("{place}: {text}"));
    }
    error
}

async fn within<T>(place: &str, work: impl Future<Output = T>) -> StoreResult<T> {
    tokio::time::timeout(PATIENCE, work).await.map_err(|_| StoreError::Gone(format!("{place}: no answer within {} s", PATIENCE.as_secs())))
}

pub(super) fn arguments<D: Dialect>(values: &[Value<'_>]) -> StoreResult<D::Arguments> {
    let mut arguments = D::Arguments::default();
    arguments.reserve(values.len(), values.len() * 8);
    for value in values {
        D::bind(&mut arguments, value).map_err(|error| StoreError::Other(error.to_string()))?;
    }
    Ok(arguments)
}

/// JSON of something we made ourselves.
pub(super) fn json<T: serde::Serialize + ?Sized>(value: &T) -> StoreResult<String> {
    serde_json::to_string(value).map_err(|error| StoreError::Other(format!("cannot be written as JSON: {error}")))
}

#[async_trait]
impl<D: Dialect> Store for SqlStore<D> {
    async fn ping(&self) -> StoreResult<()> {
        let mut tx = self.writing().await?;
        if tx.execute(sql::PING, &[]).await? == 0 {
            return Err(StoreError::Corrupt(format!("{}: table store_meta is empty", self.place)));
        }
        tx.commit().await
    }

    async fn close(&self) {
        self.read.close().await;
        self.write.close().await;
    }

    async fn start_run(&self, run: &Run) -> StoreResult<()> {
        let mut tx = self.writing().await?;
        runs::start(&mut tx, run, self.owner().as_ref()).await?;
        tx.commit().await
    }

    async fn update_run(&self, run: &Run) -> StoreResult<()> {
        let mut tx = self.writing().await?;
        runs::update(&mut tx, run).await?;
        tx.commit().await
    }

    async fn load_begins(&self, run: &RunId, at: Timestamp) -> StoreResult<()> {
        let mut tx = self.writing().await?;
        runs::load_begins(&mut tx, run, at).await?;
        tx.commit().await
    }

    async fn interrupt_orphans(&self, at: Timestamp) -> StoreResult<Vec<RunId>> {
        let mut tx = self.writing().await?;
        let ids = runs::interrupt_orphans(&mut tx, at).await?;
        tx.commit().await?;
        Ok(ids)
    }

    async fn run(&self, id: &str) -> StoreResult<Option<Run>> {
        runs::find(&mut self.reading().await?, id).await
    }

    async fn runs(&self, filter: &RunFilter) -> StoreResult<Vec<Run>> {
        runs::list(&mut self.reading().await?, filter).await
    }

    async fn run_lines(&self, filter: &RunFilter) -> StoreResult<Vec<RunLine>> {
        lines::list(&mut self.reading().await?, filter).await
    }

    async fn append(&self, batch: &SeriesBatch) -> StoreResult<()> {
        let mut tx = self.writing().await?;
        let mut run_keys = runs::Keys::default();
        let mut came = rollup::Came::default();
        for (run, interval) in &batch.intervals {
            let key = run_keys.of(&mut tx, run).await?;
            series::save(&mut tx, key, interval).await?;
            came.second(key.num, interval.second);
        }
        let mut new_keys = self.series_keys.begin();
        for (run, reading) in &batch.readings {
            let run = match run {
                Some(run) => Some(run_keys.of(&mut tx, run).await?.num),
                None => None,
            };
            let probe = readings::save(&mut tx, &mut new_keys, run, reading).await?;
            came.reading(run, probe, reading);
        }
        came.note(&mut tx).await?;
        tx.commit().await?;
        self.series_keys.learn(new_keys);
        Ok(())
    }

    async fn intervals(&self, run: &RunId, from: u32, to: u32) -> StoreResult<Vec<Interval>> {
        series::list(&mut self.reading().await?, run, from, to).await
    }

    async fn readings(&self, filter: &ReadingFilter) -> StoreResult<Vec<Reading>> {
        readings::list(&mut self.reading().await?, filter).await
    }

    async fn each_reading(&self, filter: &ReadingFilter, take: &mut (dyn FnMut(Reading) + Send)) -> StoreResult<()> {
        let mut show = |reading| {
            take(reading);
            Ok(())
        };
        readings::each(&mut self.reading().await?, filter, &mut show).await
    }

    async fn save_findings(&self, run: &RunId, findings: &[Finding]) -> StoreResult<()> {
        let mut tx = self.writing().await?;
        journal::save_findings(&mut tx, run, findings).await?;
        tx.commit().await
    }

    async fn replace_findings(&self, run: &RunId, methods: &[&str], findings: &[Finding]) -> StoreResult<()> {
        let mut tx = self.writing().await?;
        journal::replace_findings(&mut tx, run, methods, findings).await?;
        tx.commit().await
    }

    async fn findings(&self, run: Option<&RunId>, limit: u32) -> StoreResult<Vec<Finding>> {
        journal::findings(&mut self.reading().await?, run, limit).await
    }

    async fn save_capture(&self, run: &RunId, captured: &Captured, content: Option<&[u8]>) -> StoreResult<()> {
        let mut tx = self.writing().await?;
        captures::save(&mut tx, run, captured, content).await?;
        tx.commit().await
    }

    async fn captures(&self, run: &RunId) -> StoreResult<Vec<Captured>> {
        captures::list(&mut self.reading().await?, run).await
    }

    async fn capture(&self, run: &RunId, number: u32) -> StoreResult<Option<(Captured, Vec<u8>)>> {
        captures::one(&mut self.reading().await?, run, number).await
    }

    async fn record_tick(&self, tick: &Tick) -> StoreResult<()> {
        let mut tx = self.writing().await?;
        journal::save_tick(&mut tx, tick, self.owner().as_ref()).await?;
        tx.commit().await
    }

    async fn ticks(&self, schedule: Option<&str>, limit: u32) -> StoreResult<Vec<Tick>> {
        journal::ticks(&mut self.reading().await?, schedule, limit).await
    }

    async fn save_night(&self, run: &RunId, numbers: &NightNumbers) -> StoreResult<()> {
        let mut tx = self.writing().await?;
        history::save_night(&mut tx, run, numbers).await?;
        tx.commit().await
    }

    async fn past_runs(&self, profile: &str, before: Option<Timestamp>, limit: u32) -> StoreResult<Vec<PastRun>> {
        history::past_runs(&mut self.reading().await?, profile, before, limit).await
    }

    async fn record_deploy(&self, deploy: &Deploy) -> StoreResult<()> {
        let mut tx = self.writing().await?;
        history::record_deploy(&mut tx, deploy).await?;
        tx.commit().await
    }

    async fn deploys(&self, target: Option<&str>, limit: u32) -> StoreResult<Vec<Deploy>> {
        history::deploys(&mut self.reading().await?, target, limit).await
    }

    async fn pin_baseline(&self, pinned: &Pinned) -> StoreResult<()> {
        let mut tx = self.writing().await?;
        history::pin(&mut tx, pinned).await?;
        tx.commit().await
    }

    async fn unpin_baseline(&self, profile: &str) -> StoreResult<bool> {
        let mut tx = self.writing().await?;
        let was = history::unpin(&mut tx, profile).await?;
        tx.commit().await?;
        Ok(was)
    }

    async fn baseline(&self, profile: &str) -> StoreResult<Option<Pinned>> {
        history::pinned(&mut self.reading().await?, profile).await
    }

    async fn standstill(&self) -> StoreResult<Option<Standstill>> {
        journal::standstill(&mut self.reading().await?).await
    }

    async fn set_standstill(&self, standstill: Option<&Standstill>) -> StoreResult<()> {
        let mut tx = self.writing().await?;
        journal::save_standstill(&mut tx, standstill).await?;
        tx.commit().await
    }

    async fn last_stop(&self) -> StoreResult<Option<Standstill>> {
        journal::last_stop(&mut self.reading().await?).await
    }

    async fn record_stop(&self, stop: &Standstill) -> StoreResult<()> {
        let mut tx = self.writing().await?;
        journal::save_stop(&mut tx, stop).await?;
        tx.commit().await
    }

    async fn alerts(&self) -> StoreResult<Vec<AlertInstance>> {
        alerts::list(&mut self.reading().await?).await
    }

    async fn commit_alerts(&self, change: &AlertChange) -> StoreResult<()> {
        let mut tx = self.writing().await?;
        owners::check_charge(&mut tx, self.owner().as_ref()).await?;
        alerts::commit(&mut tx, change).await?;
        tx.commit().await
    }

    async fn transitions(&self, fingerprint: Option<&str>, limit: u32) -> StoreResult<Vec<Transition>> {
        alerts::transitions(&mut self.reading().await?, fingerprint, limit).await
    }

    async fn lease_messages(&self, now: Timestamp, lease: Duration, limit: u32) -> StoreResult<Vec<Outgoing>> {
        let mut tx = self.writing().await?;
        let messages = alerts::lease(&mut tx, now, lease, limit, self.owner().as_ref().map(|owner| owner.id.as_str()), None).await?;
        tx.commit().await?;
        Ok(messages)
    }

    async fn settle_message(&self, settlement: &Settlement) -> StoreResult<()> {
        let mut tx = self.writing().await?;
        alerts::settle(&mut tx, settlement).await?;
        tx.commit().await
    }

    async fn messages(&self, state: Option<OutboxState>, limit: u32) -> StoreResult<Vec<Outgoing>> {
        alerts::messages(&mut self.reading().await?, state, limit).await
    }

    async fn told(&self, channel: &str, since: Timestamp) -> StoreResult<Vec<Outgoing>> {
        alerts::told(&mut self.reading().await?, channel, since).await
    }

    async fn outbox_stats(&self) -> StoreResult<OutboxStats> {
        alerts::stats(&mut self.reading().await?).await
    }
}
