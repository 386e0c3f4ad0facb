//! The task behind the writer: one transaction at a time on its way to the store, while what comes meanwhile is taken in. When that
//! transaction takes long, or fails, everything that waits goes to the spool, and is tried again every half second.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

use super::Kept;
use super::backlog::{Backlog, Source};
use super::record::{Handed, Write};
use crate::engine::findings::METHODS;
use crate::engine::spool::{Spool, SpoolPlace};
use crate::metrics::Metrics;
use crate::model::measure::Interval;
use crate::model::series::Reading;
use crate::store::{SeriesBatch, Store, StoreError, StoreResult};

/// How long things are gathered, and how often is tried again.
const GATHER: Duration = Duration::from_millis(500);
/// A transaction that takes longer does not keep the rest in memory.
const SLOW: Duration = Duration::from_secs(1);
/// Items in one transaction.
const BATCH: usize = 512;
/// How often something that the database refuses is tried before it is given up.
const REFUSALS: u32 = 3;
/// Longest wait for the store at the end.
const LAST_TRY: Duration = Duration::from_secs(12);

/// A transaction on its way.
struct OnTheWay {
    source: Source,
    /// So many of them, from memory, are in the spool by now, in front.
    spilled: usize,
    writes: Arc<Vec<Write>>,
    began: Instant,
    result: BoxFuture<'static, StoreResult<()>>,
}

/// The writer's task.
pub(super) struct Task {
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    backlog: Backlog,
    /// Items in the next transaction: one by one after a refusal, to find the one that is refused.
    batch: usize,
    /// How often the oldest thing was refused.
    refusals: u32,
    /// The store may be asked: not before the next tick after it failed.
    may_try: bool,
    flushes: Vec<oneshot::Sender<()>>,
    trouble: watch::Sender<Option<String>>,
    kept: watch::Sender<Kept>,
}

impl Task {
    pub(super) fn new(
        store: Arc<dyn Store>,
        metrics: Arc<Metrics>,
        backlog: Backlog,
        trouble: watch::Sender<Option<String>>,
        kept: watch::Sender<Kept>,
    ) -> Self {
        Self { store, metrics, backlog, batch: BATCH, refusals: 0, may_try: false, flushes: Vec::new(), trouble, kept }
    }

    pub(super) async fn run(mut self, mut receiver: mpsc::Receiver<Handed>) {
        let mut every = interval(GATHER);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut on_the_way: Option<OnTheWay> = None;
        loop {
            if on_the_way.is_none() && self.may_try {
                on_the_way = self.begin();
            }
            if on_the_way.is_none() {
                self.answer_flushes();
            }
            tokio::select! {
                result = outcome(&mut on_the_way), if on_the_way.is_some() => {
                    if let Some(sent) = on_the_way.take() {
                        self.ended(&sent, result);
                    }
                }
                handed = receiver.recv() => match handed {
                    Some(Handed::Write(write)) => self.take(write),
                    Some(Handed::Flush(done)) => {
                        self.flushes.push(done);
                        self.may_try = true;
                    }
                    None => return self.end(on_the_way).await,
                },
                _ = every.tick() => {
                    self.may_try = true;
                    let slow = on_the_way.as_ref().is_some_and(|sent| sent.began.elapsed() > SLOW);
                    if slow || self.trouble.borrow().is_some() {
                        self.spill(on_the_way.as_mut());
                    }
                    self.show(0);
                }
            }
        }
    }

    fn take(&mut self, write: Write) {
        // What is not series is written at once, unless the store has just failed.
        self.may_try |= !write.is_series() && self.trouble.borrow().is_none();
        self.backlog.keep(write);
    }

    /// Everything that waits goes to the spool, with what is on its way from memory in front.
    fn spill(&mut self, on_the_way: Option<&mut OnTheWay>) {
        let taken = self.backlog.spill();
        if let Some(sent) = on_the_way
            && sent.source == Source::Memory
        {
            sent.spilled = sent.writes.len().min(sent.spilled + taken);
        }
    }

    /// Begins to write the oldest things.
    fn begin(&mut self) -> Option<OnTheWay> {
        let Some((source, writes)) = self.backlog.next(self.batch) else {
            self.may_try = false;
            return None;
        };
        let writes = Arc::new(writes);
        let (store, sent) = (self.store.clone(), writes.clone());
        Some(OnTheWay { source, spilled: 0, writes, began: Instant::now(), result: Box::pin(async move { apply(&*store, &sent).await }) })
    }

    fn ended(&mut self, sent: &OnTheWay, result: StoreResult<()>) {
        let Err(error) = result else {
            self.backlog.done(Source::Spool, sent.spilled);
            self.backlog.done(sent.source, sent.writes.len() - sent.spilled);
            self.refusals = 0;
            self.batch = (self.batch * 2).min(BATCH);
            let late = if sent.source == Source::Spool || self.trouble.borrow().is_some() { sent.writes.len() } else { sent.spilled };
            self.say(None);
            return self.show(late as u64);
        };
        self.metrics.storage_error("append");
        let again = self.give_up(&error, sent);
        self.may_try = again;
        if error.is_passing() {
            self.spill(None);
        }
        self.say(Some(&error.to_string()));
        self.show(0);
    }

    /// Shows what waits, and that so many more were written after they had waited.
    fn show(&self, late: u64) {
        let (spooled, bytes) = self.backlog.in_spool();
        let waiting = if self.trouble.borrow().is_some() { self.backlog.len() } else { spooled };
        self.kept.send_if_modified(|kept| {
            let before = std::mem::replace(kept, Kept { waiting, bytes, late: kept.late + late });
            before != *kept
        });
    }

    /// After a refusal that is about the data and not about the database: looks for the item, and gives it up after some tries. True
    /// when there is something else to try at once.
    fn give_up(&mut self, error: &StoreError, sent: &OnTheWay) -> bool {
        if !matches!(error, StoreError::Other(_) | StoreError::Corrupt(_) | StoreError::Duplicate(_)) {
            return false;
        }
        if sent.writes.len() > 1 {
            self.batch = 1;
            return true;
        }
        self.refusals += 1;
        if self.refusals < REFUSALS {
            return false;
        }
        tracing::error!(%error, "the store refuses something again and again; it is given up");
        self.refusals = 0;
        if let Some(write) = sent.writes.first() {
            self.backlog.give_up(if sent.spilled > 0 { Source::Spool } else { sent.source }, write);
        }
        true
    }

    fn answer_flushes(&mut self) {
        for done in self.flushes.drain(..) {
            // The one who asked may have given up waiting.
            let _ = done.send(());
        }
    }

    /// Writes what can be written, and leaves the rest in the spool.
    async fn end(mut self, mut on_the_way: Option<OnTheWay>) {
        let deadline = Instant::now() + LAST_TRY;
        if self.trouble.borrow().is_some() {
            self.spill(on_the_way.as_mut());
        }
        self.may_try = true;
        while let Some(mut sent) = on_the_way.take().or_else(|| if self.may_try { self.begin() } else { None }) {
            match timeout_at(deadline, &mut sent.result).await {
                Ok(result) => self.ended(&sent, result),
                Err(_) => break,
            }
        }
        self.backlog.spill();
        let (count, runs) = self.backlog.only_in_memory();
        if count > 0 {
            let runs = runs.join(", ");
            tracing::error!(lost = count, ends_of_runs = runs, "the store did not take everything before the end");
        } else if !self.backlog.is_empty() {
            let (kept, file) = (self.backlog.len(), self.backlog.whereabouts());
            tracing::warn!(kept, file, "the store did not take everything before the end; the next start writes the rest");
        }
        self.backlog.close();
        self.answer_flushes();
    }

    /// Says once when storing fails and once when it works again.
    fn say(&self, trouble: Option<&str>) {
        self.trouble.send_if_modified(|before| {
            let changed = before.is_some() != trouble.is_some();
            if changed {
                match trouble {
                    Some(error) => {
                        let (kept, place) = (self.backlog.len(), self.backlog.whereabouts());
                        tracing::error!(error, kept, place, "the store does not take data; it is kept until it does");
                    }
                    None => tracing::info!(waiting = self.backlog.len(), "the store takes data again"),
                }
            }
            let differs = before.as_deref() != trouble;
            *before = trouble.map(str::to_owned);
            differs
        });
    }
}

async fn outcome(on_the_way: &mut Option<OnTheWay>) -> StoreResult<()> {
    match on_the_way {
        Some(sent) => (&mut sent.result).await,
        None => std::future::pending().await,
    }
}

/// Writes a stretch of series in one transaction, or one other thing.
async fn apply(store: &dyn Store, writes: &[Write]) -> StoreResult<()> {
    let mut batch = SeriesBatch::default();
    for write in writes {
        match write {
            Write::Interval(run, interval) => batch.intervals.push((run.clone(), Interval::clone(interval))),
            Write::Reading(run, reading) => batch.readings.push((run.clone(), Reading::clone(reading))),
            Write::RunEnd(run, findings) => return store.end_run(run, METHODS, findings).await,
            Write::Findings(run, findings) => return store.save_findings(run, findings).await,
            Write::RunChange(run) => return store.update_run(run).await,
            Write::Standstill(standstill) => return store.set_standstill(standstill.as_ref()).await,
            Write::Stop(stop) => return store.record_stop(stop).await,
            Write::Tick(tick) => return store.record_tick(tick).await,
            Write::Deploy(deploy) => return store.record_deploy(deploy).await,
            Write::Pin(_, Some(pinned)) => return store.pin_baseline(pinned).await,
            Write::Pin(profile, None) => return store.unpin_baseline(profile).await.map(drop),
            Write::Deed(deed) => return store.record_deed(deed).await,
        }
    }
    store.append(&batch).await
}

/// Writes what processes that are gone have left in their spools. `Err` when the store does not take it at present; the rest stays there.
/// Returns how much was written and how much the store refused for its own sake.
pub async fn take_over(store: &Arc<dyn Store>, metrics: &Arc<Metrics>, place: &SpoolPlace) -> StoreResult<(u64, u64)> {
    let (spools, odd) = Spool::left_behind(place);
    for text in odd {
        tracing::error!("{text}");
    }
    let (mut written, mut refused) = (0, 0);
    for spool in spools {
        let path = spool.path().display().to_string();
        let mut backlog = Backlog::of(spool, metrics.clone());
        let mut batch = BATCH;
        while let Some((source, writes)) = backlog.next(batch) {
            match apply(&**store, &writes).await {
                Ok(()) => {
                    written += writes.len() as u64;
                    backlog.done(source, writes.len());
                    batch = (batch * 2).min(BATCH);
                }
                Err(error) if error.is_passing() => return Err(error),
                Err(_) if writes.len() > 1 => batch = 1,
                Err(error) => {
                    tracing::error!(%error, path, "the store refuses something that was left in a spool; it is given up");
                    refused += 1;
                    if let Some(write) = writes.first() {
                        backlog.give_up(source, write);
                    }
                }
            }
        }
        backlog.close();
    }
    Ok((written, refused))
}
