//! The one writer of series: gathers a second's intervals and readings into one transaction, and keeps what the database does
//! not take, within a bound, until it does. What could not be kept is counted and said; a run never stops for its storage.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval};

use crate::metrics::Metrics;
use crate::model::finding::Finding;
use crate::model::measure::Interval;
use crate::model::run::{Run, RunId};
use crate::model::series::Reading;
use crate::store::{SeriesBatch, Store, StoreResult};

/// Seconds of series that are kept while the database is away: half an hour of a run with one probe.
const KEPT: usize = 3_600;
/// Items in one transaction.
const BATCH: usize = 512;

/// Something to write.
enum Write {
    Interval(RunId, Arc<Interval>),
    Reading(Option<RunId>, Arc<Reading>),
    RunEnd(Box<Run>, Vec<Finding>),
    Flush(oneshot::Sender<()>),
}

/// Hands things to the writer.
#[derive(Clone)]
pub struct Writer {
    queue: mpsc::Sender<Write>,
    lost: Arc<AtomicU64>,
    trouble: watch::Receiver<Option<String>>,
}

impl Writer {
    /// Starts the writer on `tasks`; it ends when all handles are gone and everything that can be written is.
    pub fn start(store: Arc<dyn Store>, metrics: Arc<Metrics>, tasks: &mut tokio::task::JoinSet<&'static str>) -> Self {
        let (queue, receiver) = mpsc::channel(1_024);
        let (trouble_sender, trouble) = watch::channel(None);
        let lost = Arc::new(AtomicU64::new(0));
        let task = Task { store, metrics, pending: VecDeque::new(), lost: lost.clone(), trouble: trouble_sender };
        tasks.spawn(async move {
            task.run(receiver).await;
            "writer"
        });
        Self { queue, lost, trouble }
    }

    /// Adds one second of a run.
    pub async fn interval(&self, run: &RunId, interval: Arc<Interval>) {
        self.put(Write::Interval(run.clone(), interval)).await;
    }

    /// Adds a reading.
    pub async fn reading(&self, run: Option<RunId>, reading: Arc<Reading>) {
        self.put(Write::Reading(run, reading)).await;
    }

    /// Writes the end of a run, after everything that came before it.
    pub async fn run_ended(&self, run: Run, findings: Vec<Finding>) {
        self.put(Write::RunEnd(Box::new(run), findings)).await;
    }

    /// Waits until everything handed over so far has been tried, at most so long; says whether that was in time.
    pub async fn flush(&self, limit: Duration) -> bool {
        let (done, wait) = oneshot::channel();
        self.put(Write::Flush(done)).await;
        tokio::time::timeout(limit, wait).await.is_ok_and(|answer| answer.is_ok())
    }

    /// Intervals and readings lost so far.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Why the store cannot be written at present.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.borrow().clone()
    }

    async fn put(&self, write: Write) {
        if self.queue.send(write).await.is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

struct Task {
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    pending: VecDeque<Write>,
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
                    Some(write @ Write::RunEnd(..)) => {
                        self.keep(write);
                        self.write_pending().await;
                    }
                    Some(write) => self.keep(write),
                    None => {
                        self.write_pending().await;
                        return;
                    }
                },
            }
        }
    }

    /// Keeps something until it is written; drops the oldest series when there is too much. The end of a run is never dropped.
    fn keep(&mut self, write: Write) {
        self.pending.push_back(write);
        if self.pending.len() > KEPT
            && let Some(oldest) = self.pending.iter().position(|write| !matches!(write, Write::RunEnd(..)))
        {
            self.pending.remove(oldest);
            self.lost.fetch_add(1, Ordering::Relaxed);
            self.metrics.intervals_lost(1);
        }
    }

    /// Writes as much as the store takes.
    async fn write_pending(&mut self) {
        while !self.pending.is_empty() {
            let written = if let Some(Write::RunEnd(run, findings)) = self.pending.front() {
                self.write_end(run, findings).await.map(|()| 1)
            } else {
                self.write_batch().await
            };
            match written {
                Ok(count) => {
                    self.pending.drain(..count);
                    self.say(None);
                }
                Err(error) => {
                    self.metrics.storage_error("append");
                    self.say(Some(&error.to_string()));
                    return;
                }
            }
        }
    }

    async fn write_end(&self, run: &Run, findings: &[Finding]) -> StoreResult<()> {
        self.store.update_run(run).await?;
        self.store.save_findings(&run.id, findings).await
    }

    /// Writes the series before the next end of a run in one transaction; returns how many.
    async fn write_batch(&self) -> StoreResult<usize> {
        let mut batch = SeriesBatch::default();
        for write in self.pending.iter().take(BATCH) {
            match write {
                Write::Interval(run, interval) => batch.intervals.push((run.clone(), Interval::clone(interval))),
                Write::Reading(run, reading) => batch.readings.push((run.clone(), Reading::clone(reading))),
                Write::RunEnd(..) | Write::Flush(_) => break,
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
