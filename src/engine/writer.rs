//! The one writer of series: gathers a second's intervals and readings into one transaction, and keeps what the database does
//! not take, within a bound, until it does. What could not be kept is counted and said; a run never stops or waits for its storage.
//! What the database refuses for its own sake, again and again, is given up, so that it does not hold up everything behind it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval};

use crate::metrics::Metrics;
use crate::model::control::Standstill;
use crate::model::finding::Finding;
use crate::model::measure::Interval;
use crate::model::run::{Run, RunId};
use crate::model::schedule::Tick;
use crate::model::series::Reading;
use crate::store::{SeriesBatch, Store, StoreError, StoreResult};

/// Seconds of series that are kept while the database is away: half an hour of a run with one probe.
const KEPT: usize = 3_600;
/// Items in one transaction.
const BATCH: usize = 512;
/// How often something that the database refuses is tried before it is given up; about once a second.
const REFUSALS: u32 = 3;

/// Something to write.
enum Write {
    Interval(RunId, Arc<Interval>),
    Reading(Option<RunId>, Arc<Reading>),
    RunEnd(Box<Run>, Vec<Finding>),
    /// What was found of a run that goes on.
    Findings(RunId, Vec<Finding>),
    /// What changed about a run that goes on.
    RunChange(Box<Run>),
    Tick(Box<Tick>),
    /// Whether all load stands still.
    Standstill(Option<Standstill>),
    Flush(oneshot::Sender<()>),
}

impl Write {
    /// Part of a series: one of many, and the first to go when there is too much.
    fn is_series(&self) -> bool {
        matches!(self, Self::Interval(..) | Self::Reading(..))
    }
}

/// Hands things to the writer.
#[derive(Clone)]
pub struct Writer {
    queue: mpsc::Sender<Write>,
    metrics: Arc<Metrics>,
    lost: Arc<AtomicU64>,
    trouble: watch::Receiver<Option<String>>,
}

impl Writer {
    /// Starts the writer on `tasks`; it ends when all handles are gone and everything that can be written is.
    pub fn start(store: Arc<dyn Store>, metrics: Arc<Metrics>, tasks: &mut tokio::task::JoinSet<&'static str>) -> Self {
        // Room for what comes while one call of the store takes as long as it may.
        let (queue, receiver) = mpsc::channel(KEPT);
        let (trouble_sender, trouble) = watch::channel(None);
        let lost = Arc::new(AtomicU64::new(0));
        let task = Task {
            store,
            metrics: metrics.clone(),
            pending: VecDeque::new(),
            batch: BATCH,
            refusals: 0,
            lost: lost.clone(),
            trouble: trouble_sender,
        };
        tasks.spawn(async move {
            task.run(receiver).await;
            "writer"
        });
        Self { queue, metrics, lost, trouble }
    }

    /// Adds one second of a run; never waits.
    pub fn interval(&self, run: &RunId, interval: Arc<Interval>) {
        self.put(Write::Interval(run.clone(), interval));
    }

    /// Adds a reading; never waits.
    pub fn reading(&self, run: Option<RunId>, reading: Arc<Reading>) {
        self.put(Write::Reading(run, reading));
    }

    /// Writes what became of an instant of a schedule; never waits.
    pub fn tick(&self, tick: Tick) {
        self.metrics.tick(&tick);
        if let Err(mpsc::error::TrySendError::Full(Write::Tick(tick)) | mpsc::error::TrySendError::Closed(Write::Tick(tick))) =
            self.queue.try_send(Write::Tick(Box::new(tick)))
        {
            let (outcome, reason) = (tick.outcome, tick.reason);
            tracing::error!(schedule = tick.schedule, %outcome, reason, "what became of an instant could not be stored");
        }
    }

    /// Writes what changed about a run that goes on; never waits.
    pub fn run_changed(&self, run: &Run) {
        if self.queue.try_send(Write::RunChange(Box::new(run.clone()))).is_err() {
            tracing::warn!(run_id = %run.id, "a change of a run could not be stored; its end will be");
        }
    }

    /// Writes what was found of a run that goes on; never waits.
    pub fn findings(&self, run: &RunId, findings: Vec<Finding>) {
        if self.queue.try_send(Write::Findings(run.clone(), findings)).is_err() {
            tracing::warn!(run_id = %run, "what was found of a run could not be stored; what is found at its end will be");
        }
    }

    /// Writes whether all load stands still; never waits.
    pub fn standstill(&self, standstill: Option<Standstill>) {
        if self.queue.try_send(Write::Standstill(standstill)).is_err() {
            tracing::error!("it could not be stored whether all load stands still: a restart will not know");
        }
    }

    /// Writes the end of a run, after everything that came before it.
    pub async fn run_ended(&self, run: Run, findings: Vec<Finding>) {
        if self.queue.send(Write::RunEnd(Box::new(run), findings)).await.is_err() {
            tracing::error!("the end of a run could not be stored: the writer has ended");
        }
    }

    /// Waits until everything handed over so far has been tried, at most so long; says whether that was in time.
    pub async fn flush(&self, limit: Duration) -> bool {
        let (done, wait) = oneshot::channel();
        let flushed = async { self.queue.send(Write::Flush(done)).await.is_ok() && wait.await.is_ok() };
        tokio::time::timeout(limit, flushed).await.unwrap_or(false)
    }

    /// Intervals and readings lost so far.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Why the store cannot be written at present.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.borrow().clone()
    }

    fn put(&self, write: Write) {
        if self.queue.try_send(write).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
            self.metrics.intervals_lost(1);
        }
    }
}

struct Task {
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    pending: VecDeque<Write>,
    /// Items in the next transaction: one by one after a refusal, to find the one that is refused.
    batch: usize,
    /// How often the first of `pending` was refused.
    refusals: u32,
    lost: Arc<AtomicU64>,
    trouble: watch::Sender<Option<String>>,
}

impl Task {
    async fn run(mut self, mut receiver: mpsc::Receiver<Write>) {
        let mut every_second = interval(Duration::from_secs(1));
        every_second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = every_second.tick() => self.write_pending().await,
                write = receiver.recv() => match write {
                    Some(Write::Flush(done)) => {
                        self.write_pending().await;
                        // The one who asked may have given up waiting.
                        let _ = done.send(());
                    }
                    Some(write @ (Write::RunEnd(..) | Write::Findings(..) | Write::RunChange(_) | Write::Tick(_) | Write::Standstill(_))) => {
                        self.keep(write);
                        self.write_pending().await;
                    }
                    Some(write) => self.keep(write),
                    None => {
                        self.write_pending().await;
                        return self.say_what_is_left();
                    }
                },
            }
        }
    }

    fn say_what_is_left(&self) {
        let runs: Vec<&str> = self
            .pending
            .iter()
            .filter_map(|write| if let Write::RunEnd(run, _) = write { Some(run.id.0.as_str()) } else { None })
            .collect();
        if !self.pending.is_empty() {
            let runs = runs.join(", ");
            tracing::error!(lost = self.pending.len(), ends_of_runs = runs, "the store did not take everything before the end");
        }
    }

    /// Keeps something until it is written; drops the oldest series when there is too much, then the oldest records of instants. Ends
    /// of runs are not dropped for want of room: there are few, because a run that cannot be stored does not start.
    fn keep(&mut self, write: Write) {
        self.pending.push_back(write);
        if self.pending.len() <= KEPT {
            return;
        }
        let oldest = self.pending.iter().position(Write::is_series);
        let oldest = oldest
            .or_else(|| self.pending.iter().position(|write| matches!(write, Write::Tick(_) | Write::RunChange(_) | Write::Findings(..))));
        if let Some(oldest) = oldest {
            if oldest == 0 {
                self.refusals = 0;
            }
            self.lose(oldest);
        }
    }

    fn lose(&mut self, index: usize) {
        if self.pending.remove(index).is_some_and(|write| write.is_series()) {
            self.lost.fetch_add(1, Ordering::Relaxed);
            self.metrics.intervals_lost(1);
        }
    }

    /// Writes as much as the store takes.
    async fn write_pending(&mut self) {
        while let Some(first) = self.pending.front() {
            let written = match first {
                Write::RunEnd(run, findings) => self.store.end_run(run, super::findings::METHODS, findings).await.map(|()| 1),
                Write::Findings(run, findings) => self.store.save_findings(run, findings).await.map(|()| 1),
                Write::RunChange(run) => self.store.update_run(run).await.map(|()| 1),
                Write::Standstill(standstill) => self.store.set_standstill(standstill.as_ref()).await.map(|()| 1),
                Write::Tick(tick) => self.store.record_tick(tick).await.map(|()| 1),
                Write::Interval(..) | Write::Reading(..) | Write::Flush(_) => self.write_batch().await,
            };
            match written {
                Ok(count) => {
                    self.pending.drain(..count);
                    self.refusals = 0;
                    self.batch = (self.batch * 2).min(BATCH);
                    self.say(None);
                }
                Err(error) => {
                    self.metrics.storage_error("append");
                    self.say(Some(&error.to_string()));
                    if !self.give_up(&error) {
                        return;
                    }
                }
            }
        }
    }

    /// After a refusal that is about the data and not about the database: looks for the item, and gives it up after some tries. True
    /// when there is something else to try at once.
    fn give_up(&mut self, error: &StoreError) -> bool {
        if !matches!(error, StoreError::Other(_) | StoreError::Corrupt(_) | StoreError::Duplicate(_)) {
            return false;
        }
        let series = self.pending.front().is_some_and(Write::is_series);
        if series && self.batch > 1 {
            self.batch = 1;
            return true;
        }
        self.refusals += 1;
        if self.refusals < REFUSALS {
            return false;
        }
        tracing::error!(%error, "the store refuses something again and again; it is given up");
        self.refusals = 0;
        self.lose(0);
        true
    }

    /// Writes the series before the next other thing in one transaction; returns how many.
    async fn write_batch(&self) -> StoreResult<usize> {
        let mut batch = SeriesBatch::default();
        for write in self.pending.iter().take(self.batch) {
            match write {
                Write::Interval(run, interval) => batch.intervals.push((run.clone(), Interval::clone(interval))),
                Write::Reading(run, reading) => batch.readings.push((run.clone(), Reading::clone(reading))),
                Write::RunEnd(..) | Write::Findings(..) | Write::RunChange(_) | Write::Tick(_) | Write::Standstill(_) | Write::Flush(_) => {
                    break;
                }
            }
        }
        self.store.append(&batch).await?;
        Ok(batch.intervals.len() + batch.readings.len())
    }

    /// Says once when storing fails and once when it works again.
    fn say(&self, trouble: Option<&str>) {
        self.trouble.send_if_modified(|before| {
            let changed = before.is_some() != trouble.is_some();
            if changed {
                match trouble {
                    Some(error) => tracing::error!(error, kept = self.pending.len(), "the store does not take data; it is kept in memory"),
                    None => tracing::info!("the store takes data again"),
                }
            }
            let differs = before.as_deref() != trouble;
            *before = trouble.map(str::to_owned);
            differs
        });
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;

    use super::super::launch::new_run;
    use super::*;
    use crate::model::profile::Profile;
    use crate::model::run::{RunStatus, Trigger};
    use crate::model::schedule::TickOutcome;
    use crate::model::units::Timestamp;
    use crate::store;

    const START: Timestamp = Timestamp(1_700_000_000_000_000);

    fn second(second: u32) -> Arc<Interval> {
        Arc::new(Interval { second, shards: 1, ..Interval::default() })
    }

    fn run(id: &str) -> Run {
        let profile = Profile {
            name: "p".into(),
            target: "t".into(),
            description: None,
            allow_production: false,
            setup: Vec::new(),
            teardown: Vec::new(),
            tokens: Vec::new(),
            scenarios: Vec::new(),
            thresholds: Vec::new(),
            max_undelivered: 0.05,
            notes: Vec::new(),
            digest: String::new(),
        };
        new_run(&profile, RunId(id.into()), Trigger { by: "api".into(), name: None }, START)
    }

    fn tick() -> Tick {
        let (schedule, profile) = ("s".to_owned(), "p".to_owned());
        let (outcome, reason) = (TickOutcome::Skipped, "because".to_owned());
        Tick { schedule, profile, due: START, decided: START, outcome, reason, run: None }
    }

    async fn seconds(store: &dyn Store, id: &str) -> Vec<u32> {
        store.intervals(&RunId(id.into()), 0, 1_000).await.unwrap().iter().map(|interval| interval.second).collect()
    }

    /// A writer whose store has the run `a`.
    async fn writer(tasks: &mut JoinSet<&'static str>) -> (Writer, Arc<dyn Store>) {
        let store = store::open("sqlite::memory:").await.unwrap();
        store.start_run(&run("a")).await.unwrap();
        (Writer::start(store.clone(), Arc::new(Metrics::new()), tasks), store)
    }

    #[tokio::test]
    async fn what_came_before_the_end_of_a_run_is_stored_before_it() {
        let mut tasks = JoinSet::new();
        let (writer, store) = writer(&mut tasks).await;
        for at in 0..3 {
            writer.interval(&RunId("a".into()), second(at));
        }
        writer.tick(tick());
        writer.run_ended(Run { status: RunStatus::Finished, ..run("a") }, Vec::new()).await;
        assert!(writer.flush(Duration::from_secs(30)).await);
        assert_eq!(seconds(&*store, "a").await, [0, 1, 2]);
        assert_eq!(store.ticks(Some("s"), 10).await.unwrap(), [tick()]);
        assert_eq!(store.run("a").await.unwrap().unwrap().status, RunStatus::Finished);
        assert_eq!((writer.lost(), writer.trouble()), (0, None));
    }

    #[tokio::test]
    async fn what_the_store_refuses_does_not_hold_up_the_rest() {
        let mut tasks = JoinSet::new();
        let (writer, store) = writer(&mut tasks).await;
        writer.interval(&RunId("a".into()), second(0));
        writer.interval(&RunId("nobody's".into()), second(0));
        writer.interval(&RunId("a".into()), second(1));
        writer.run_ended(run("nobody's"), Vec::new()).await;
        writer.interval(&RunId("a".into()), second(2));
        while seconds(&*store, "a").await != [0, 1, 2] {
            assert!(writer.flush(Duration::from_secs(30)).await);
        }
        assert_eq!(writer.lost(), 1);
        assert!(writer.flush(Duration::from_secs(30)).await);
        assert_eq!(writer.trouble(), None);
    }

    #[tokio::test]
    async fn of_too_much_the_oldest_seconds_go_and_are_counted() {
        let store = store::open("sqlite::memory:").await.unwrap();
        let (trouble, _) = watch::channel(None);
        let lost = Arc::new(AtomicU64::new(0));
        let metrics = Arc::new(Metrics::new());
        let pending = VecDeque::new();
        let mut task = Task { store, metrics, pending, batch: BATCH, refusals: 0, lost: lost.clone(), trouble };
        task.keep(Write::RunEnd(Box::new(run("a")), Vec::new()));
        task.keep(Write::Tick(Box::new(tick())));
        for at in 0..KEPT as u32 + 8 {
            task.keep(Write::Interval(RunId("b".into()), second(at)));
        }
        assert_eq!((task.pending.len(), lost.load(Ordering::Relaxed)), (KEPT, 10));
        assert!(matches!(task.pending[0], Write::RunEnd(..)) && matches!(task.pending[1], Write::Tick(_)));
        assert!(matches!(&task.pending[2], Write::Interval(_, oldest) if oldest.second == 10));
    }
}
