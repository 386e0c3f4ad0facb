//! The one writer of series: gathers what comes within half a second into one transaction, and keeps what the database does not take,
//! within bounds, in a file (`spool`), until it does. What could not be kept is counted and said; a run never stops or waits for its
//! storage. What the database refuses for its own sake, again and again, is given up, so that it does not hold up everything behind it.

mod backlog;
mod record;
mod task;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use self::backlog::Backlog;
use self::record::{Handed, Write};
use self::task::Task;
use super::spool::SpoolPlace;
use crate::metrics::Metrics;
use crate::model::audit::Deed;
use crate::model::control::Standstill;
use crate::model::finding::Finding;
use crate::model::measure::Interval;
use crate::model::run::{Run, RunId};
use crate::model::schedule::Tick;
use crate::model::series::Reading;
use crate::model::storage::Writing;
use crate::store::Store;

pub use self::task::take_over;

/// Seconds of series that are kept in memory when there is no spool: half an hour of a run with one probe.
const KEPT: usize = 3_600;

/// Hands things to the writer.
#[derive(Clone)]
pub struct Writer {
    queue: mpsc::Sender<Handed>,
    metrics: Arc<Metrics>,
    lost: Arc<AtomicU64>,
    trouble: watch::Receiver<Option<String>>,
    kept: watch::Receiver<Kept>,
}

/// What the database did not take at first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Kept {
    /// Records that wait.
    waiting: u64,
    /// Bytes of them in the spool.
    bytes: u64,
    /// Records that were written after they had waited.
    late: u64,
}

/// Looks at the writer without holding it: it may end all the same.
pub struct WriterView {
    trouble: watch::Receiver<Option<String>>,
    kept: watch::Receiver<Kept>,
    metrics: Arc<Metrics>,
}

impl WriterView {
    /// How the database takes what it is given. Losses are those of the whole process, with what was left in spools and refused.
    pub fn look(&self) -> Writing {
        let Kept { waiting, bytes, late } = *self.kept.borrow();
        Writing { trouble: self.trouble.borrow().clone(), waiting, bytes, late, lost: self.metrics.lost().all() }
    }
}

impl Writer {
    /// Starts the writer on `tasks`; it ends when all handles are gone and everything that can be written is. Without a place for a spool
    /// it keeps in memory what the store does not take.
    pub fn start(
        store: Arc<dyn Store>,
        metrics: Arc<Metrics>,
        spool: Option<SpoolPlace>,
        tasks: &mut tokio::task::JoinSet<&'static str>,
    ) -> Self {
        // Room for what comes while one call of the store takes as long as it may.
        let (queue, receiver) = mpsc::channel(KEPT);
        let (trouble_sender, trouble) = watch::channel(None);
        let backlog = Backlog::new(spool, metrics.clone());
        let lost = backlog.lost.clone();
        let (kept_sender, kept) = watch::channel(Kept::default());
        let task = Task::new(store, metrics.clone(), backlog, trouble_sender, kept_sender);
        tasks.spawn(async move {
            task.run(receiver).await;
            "writer"
        });
        Self { queue, metrics, lost, trouble, kept }
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
        if let Err(tick) = self.try_put(Write::Tick(Box::new(tick))) {
            self.metrics.record_lost(tick.kind());
            tracing::error!(?tick, "what became of an instant could not be stored");
        }
    }

    /// Writes what changed about a run that goes on; never waits.
    pub fn run_changed(&self, run: &Run) {
        if let Err(change) = self.try_put(Write::RunChange(Box::new(run.clone()))) {
            self.metrics.record_lost(change.kind());
            tracing::warn!(run_id = %run.id, "a change of a run could not be stored; its end will be");
        }
    }

    /// Writes what was found of a run that goes on; never waits.
    pub fn findings(&self, run: &RunId, findings: Vec<Finding>) {
        if let Err(findings) = self.try_put(Write::Findings(run.clone(), findings)) {
            self.metrics.record_lost(findings.kind());
            tracing::warn!(run_id = %run, "what was found of a run could not be stored; what is found at its end will be");
        }
    }

    /// Writes whether all load stands still; never waits.
    pub fn standstill(&self, standstill: Option<Standstill>) {
        if let Err(standstill) = self.try_put(Write::Standstill(standstill)) {
            self.metrics.record_lost(standstill.kind());
            tracing::error!("it could not be stored whether all load stands still: a restart will not know");
        }
    }

    /// Writes that everything was stopped; never waits.
    pub fn stop(&self, stop: Standstill) {
        if let Err(stop) = self.try_put(Write::Stop(stop)) {
            self.metrics.record_lost(stop.kind());
            tracing::error!("it could not be stored that everything was stopped: other processes on this database do not know");
        }
    }

    /// Writes what somebody did; never waits.
    pub fn deed(&self, deed: Deed) {
        if let Err(deed) = self.try_put(Write::Deed(Box::new(deed))) {
            self.metrics.record_lost(deed.kind());
            tracing::error!(?deed, "what somebody did could not be stored");
        }
    }

    /// Writes the end of a run, after everything that came before it.
    pub async fn run_ended(&self, run: Run, findings: Vec<Finding>) {
        if self.queue.send(Handed::Write(Write::RunEnd(Box::new(run), findings))).await.is_err() {
            tracing::error!("the end of a run could not be stored: the writer has ended");
        }
    }

    /// Waits until everything handed over so far has been tried, at most so long; says whether that was in time.
    pub async fn flush(&self, limit: Duration) -> bool {
        let (done, wait) = oneshot::channel();
        let flushed = async { self.queue.send(Handed::Flush(done)).await.is_ok() && wait.await.is_ok() };
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

    /// For those who watch over the storage.
    pub fn view(&self) -> WriterView {
        WriterView { trouble: self.trouble.clone(), kept: self.kept.clone(), metrics: self.metrics.clone() }
    }

    /// Gives back what finds no room.
    fn try_put(&self, write: Write) -> Result<(), Write> {
        match self.queue.try_send(Handed::Write(write)) {
            Err(mpsc::error::TrySendError::Full(Handed::Write(write)) | mpsc::error::TrySendError::Closed(Handed::Write(write))) => {
                Err(write)
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn put(&self, write: Write) {
        if self.try_put(write).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
            self.metrics.intervals_lost(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;

    use super::super::launch::new_run;
    use super::backlog::Source;
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
            http: crate::model::request::HttpOptions::default(),
            seed: None,
            setup: Vec::new(),
            teardown: Vec::new(),
            tokens: Vec::new(),
            scenarios: Vec::new(),
            thresholds: Vec::new(),
            max_undelivered: 0.05,
            notes: Vec::new(),
            digest: String::new(),
        };
        new_run(&profile, RunId(id.into()), Trigger { by: "api".into(), name: None }, START, 7)
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
        (Writer::start(store.clone(), Arc::new(Metrics::new()), None, tasks), store)
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

    #[test]
    fn of_too_much_the_oldest_seconds_go_and_are_counted() {
        let mut backlog = Backlog::new(None, Arc::new(Metrics::new()));
        backlog.keep(Write::RunEnd(Box::new(run("a")), Vec::new()));
        backlog.keep(Write::Tick(Box::new(tick())));
        for at in 0..KEPT as u32 + 8 {
            backlog.keep(Write::Interval(RunId("b".into()), second(at)));
        }
        assert_eq!((backlog.len(), backlog.lost.load(Ordering::Relaxed)), (KEPT as u64, 10));
        assert_eq!(backlog.spill(), 0, "there is no spool");
        for (wanted, count) in [("RunEnd", 1), ("Tick", 1), ("Interval(RunId(\"b\"), Interval { second: 10,", 512)] {
            let (source, writes) = backlog.next(512).unwrap();
            assert!(format!("{:?}", writes[0]).starts_with(wanted), "{:?}", writes[0]);
            assert_eq!((source, writes.len()), (Source::Memory, count));
            backlog.done(source, count);
        }
    }

    fn place(folder: &tempfile::TempDir, limit: u64) -> SpoolPlace {
        SpoolPlace { folder: folder.path().into(), limit, database: "memory".into(), name: "this".into() }
    }

    #[test]
    fn what_is_spilled_comes_first_and_what_finds_no_room_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let mut backlog = Backlog::new(Some(place(&folder, 1_000)), Arc::new(Metrics::new()));
        for at in 0..100 {
            backlog.keep(Write::Interval(RunId("b".into()), second(at)));
        }
        backlog.keep(Write::RunEnd(Box::new(run("b")), Vec::new()));
        let kept = backlog.spill();
        let lost = backlog.lost.load(Ordering::Relaxed);
        assert!(lost > 0 && lost < 100, "{lost}");
        assert_eq!(kept as u64, 101 - lost);
        backlog.keep(Write::Interval(RunId("c".into()), second(0)));
        let mut seen = Vec::new();
        while let Some((source, writes)) = backlog.next(3) {
            seen.extend(writes.iter().map(|write| (source, write.is_series())));
            backlog.done(source, writes.len());
        }
        let spooled = kept - 1;
        assert_eq!(seen[..spooled], vec![(Source::Spool, true); spooled]);
        assert_eq!(seen[spooled..], [(Source::Spool, false), (Source::Memory, true)]);
        assert!(backlog.is_empty());
        backlog.close();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "an empty spool is removed");
    }

    #[tokio::test]
    async fn what_a_process_left_is_stored_and_what_is_refused_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let place = place(&folder, 1 << 20);
        let metrics = Arc::new(Metrics::new());
        let mut backlog = Backlog::new(Some(place.clone()), metrics.clone());
        for at in 0..3 {
            backlog.keep(Write::Interval(RunId("a".into()), second(at)));
            backlog.keep(Write::Interval(RunId("nobody's".into()), second(at)));
        }
        backlog.keep(Write::RunEnd(Box::new(Run { status: RunStatus::Finished, ..run("a") }), Vec::new()));
        backlog.keep(Write::Tick(Box::new(tick())));
        assert_eq!(backlog.spill(), 8);
        let store = store::open("sqlite::memory:").await.unwrap();
        store.start_run(&run("a")).await.unwrap();
        assert_eq!(take_over(&store, &metrics, &place).await.unwrap(), (0, 0), "it is in use");
        drop(backlog);
        assert_eq!(take_over(&store, &metrics, &place).await.unwrap(), (5, 3));
        assert_eq!(seconds(&*store, "a").await, [0, 1, 2]);
        assert_eq!(store.run("a").await.unwrap().unwrap().status, RunStatus::Finished);
        assert_eq!(store.ticks(Some("s"), 10).await.unwrap(), [tick()]);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(metrics.render().contains("plimsoll_intervals_lost_total 3"));
    }

    #[test]
    fn records_of_instants_that_find_no_room_are_counted() {
        let metrics = Arc::new(Metrics::new());
        let mut backlog = Backlog::new(None, metrics.clone());
        for _ in 0..KEPT + 3 {
            backlog.keep(Write::Tick(Box::new(tick())));
        }
        assert_eq!((backlog.len(), metrics.lost().ticks, metrics.lost().all()), (KEPT as u64, 3, 3));
        backlog.give_up(Source::Memory, &Write::RunChange(Box::new(run("a"))));
        assert_eq!((metrics.lost().ticks, metrics.lost().records), (3, 1));
        let shown = metrics.render();
        for line in ["plimsoll_records_lost_total{kind=\"tick\"} 3", "plimsoll_records_lost_total{kind=\"run_change\"} 1"] {
            assert!(shown.contains(line), "{shown}");
        }
    }

    /// What the database refuses for its own sake is given up, and that is told.
    #[tokio::test]
    async fn a_record_that_is_refused_is_counted_as_lost() {
        let mut tasks = JoinSet::new();
        let store = store::open("sqlite::memory:").await.unwrap();
        let metrics = Arc::new(Metrics::new());
        let writer = Writer::start(store, metrics.clone(), None, &mut tasks);
        writer.run_ended(run("nobody's"), Vec::new()).await;
        while metrics.lost().records == 0 {
            assert!(writer.flush(Duration::from_secs(30)).await);
        }
        assert_eq!((metrics.lost().records, writer.view().look().lost), (1, 1));
    }
}
