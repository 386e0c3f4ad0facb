//! What is not written yet, in its order: first what is in the spool, then what is in memory. While the store takes everything, the
//! spool is empty; when it does not, memory is emptied into the spool, so that a killed process loses the last moment only.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::KEPT;
use super::record::Write;
use crate::engine::spool::{Spool, SpoolError, SpoolPlace};
use crate::metrics::Metrics;

/// Where the next writes come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Memory,
    Spool,
}

/// What is not written yet.
pub(super) struct Backlog {
    memory: VecDeque<Write>,
    spool: Option<Spool>,
    place: Option<SpoolPlace>,
    /// The spool cannot be written; said once.
    broken: bool,
    /// Seconds and readings that could not be kept, or were given up.
    pub(super) lost: Arc<AtomicU64>,
    metrics: Arc<Metrics>,
}

impl Backlog {
    pub(super) fn new(place: Option<SpoolPlace>, metrics: Arc<Metrics>) -> Self {
        let lost = Arc::new(AtomicU64::new(0));
        Self { memory: VecDeque::new(), spool: None, place, broken: false, lost, metrics }
    }

    /// What another process has left.
    pub(super) fn of(spool: Spool, metrics: Arc<Metrics>) -> Self {
        Self { spool: Some(spool), ..Self::new(None, metrics) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.memory.is_empty() && self.spooled() == 0
    }

    /// How much is not written.
    pub(super) fn len(&self) -> u64 {
        self.memory.len() as u64 + self.spooled()
    }

    /// Records and bytes in the spool.
    pub(super) fn in_spool(&self) -> (u64, u64) {
        (self.spooled(), self.spool.as_ref().filter(|spool| !spool.is_empty()).map_or(0, Spool::bytes))
    }

    fn spooled(&self) -> u64 {
        self.spool.as_ref().map_or(0, Spool::len)
    }

    /// Where what is kept is, for people.
    pub(super) fn whereabouts(&self) -> String {
        match &self.spool {
            Some(spool) if !spool.is_empty() => spool.path().display().to_string(),
            Some(_) | None => "memory".into(),
        }
    }

    /// Keeps something in memory; drops the oldest series when there is too much, then the oldest records of instants. Ends of runs are
    /// not dropped for want of room: there are few, because a run that cannot be stored does not start.
    pub(super) fn keep(&mut self, write: Write) {
        self.memory.push_back(write);
        if self.memory.len() <= KEPT {
            return;
        }
        let oldest = self.memory.iter().position(Write::is_series);
        let small = |write: &Write| matches!(write, Write::Tick(_) | Write::RunChange(_) | Write::Findings(..));
        let oldest = oldest.or_else(|| self.memory.iter().position(small));
        if let Some(write) = oldest.and_then(|oldest| self.memory.remove(oldest)) {
            self.count_lost(&write);
        }
    }

    /// Empties memory into the spool, as far as that takes it; returns how much it took. What finds no room there is lost and counted.
    pub(super) fn spill(&mut self) -> usize {
        let mut taken = 0;
        if self.memory.is_empty() || !self.open_spool() {
            return taken;
        }
        let mut left = std::mem::take(&mut self.memory);
        while let Some(write) = left.pop_front() {
            let (Some(spool), Ok(bytes)) = (&mut self.spool, write.to_bytes()) else {
                self.count_lost(&write);
                continue;
            };
            match spool.push(&bytes, !write.is_series()) {
                Ok(()) => taken += 1,
                Err(SpoolError::Full { limit }) => {
                    self.count_lost(&write);
                    self.say_broken(&SpoolError::Full { limit });
                }
                Err(error @ SpoolError::Io { .. }) => {
                    left.push_front(write);
                    self.say_broken(&error);
                    break;
                }
            }
        }
        self.memory = left;
        self.show();
        taken
    }

    fn open_spool(&mut self) -> bool {
        let Some(place) = &self.place else { return false };
        if self.spool.is_some() {
            return true;
        }
        match Spool::create(place) {
            Ok(spool) => self.spool = Some(spool),
            Err(error) => self.say_broken(&error),
        }
        self.spool.is_some()
    }

    fn say_broken(&mut self, error: &SpoolError) {
        if !std::mem::replace(&mut self.broken, true) {
            tracing::error!(%error, "what the store does not take cannot all be kept in the spool");
        }
    }

    /// The oldest things that can be written together, up to `most`: a stretch of series, or one other thing. What cannot be read back is lost.
    pub(super) fn next(&mut self, most: usize) -> Option<(Source, Vec<Write>)> {
        while self.spooled() > 0 {
            let records = self.spool.as_mut().map(|spool| spool.peek(most)).unwrap_or(Ok(Vec::new()));
            let parsed = records.map(|records| records.iter().map(|record| Write::from_bytes(record)).collect::<Vec<_>>());
            match parsed {
                Ok(mut parsed) => {
                    let good = parsed.iter().position(Result::is_err).unwrap_or(parsed.len());
                    if good == 0 {
                        tracing::error!("a record of the spool cannot be understood; it is given up");
                        self.give_up_spooled(1);
                        continue;
                    }
                    let writes = parsed.drain(..good).flatten().collect();
                    return Some((Source::Spool, stretch(writes)));
                }
                Err(error) => {
                    tracing::error!(%error, lost = self.spooled(), "the spool cannot be read; what is in it is given up");
                    self.give_up_spooled(self.spooled());
                }
            }
        }
        let count = match self.memory.front()? {
            first if first.is_series() => self.memory.iter().take(most).take_while(|write| write.is_series()).count(),
            _ => 1,
        };
        Some((Source::Memory, self.memory.iter().take(count).cloned().collect()))
    }

    /// Passes over the oldest so many things of a source, which are written.
    pub(super) fn done(&mut self, source: Source, count: usize) {
        match source {
            Source::Memory => drop(self.memory.drain(..count.min(self.memory.len()))),
            Source::Spool => {
                let result = self.spool.as_mut().map_or(Ok(()), |spool| spool.done(count));
                if let Err(error) = result {
                    // They are written again after the next start; that changes nothing.
                    tracing::error!(%error, "the spool cannot be shortened");
                }
                self.broken = self.broken && self.spooled() > 0;
                self.show();
            }
        }
    }

    /// Gives up the oldest thing.
    pub(super) fn give_up(&mut self, source: Source, write: &Write) {
        self.count_lost(write);
        self.done(source, 1);
    }

    fn give_up_spooled(&mut self, count: u64) {
        self.lost.fetch_add(count, Ordering::Relaxed);
        self.metrics.intervals_lost(count);
        let cleared = match &mut self.spool {
            Some(spool) if count == 1 => spool.done(1),
            Some(spool) => spool.clear(),
            None => Ok(()),
        };
        if cleared.is_err() {
            self.spool = None;
        }
        self.show();
    }

    fn count_lost(&self, write: &Write) {
        if write.is_series() {
            self.lost.fetch_add(1, Ordering::Relaxed);
            self.metrics.intervals_lost(1);
        } else {
            self.metrics.record_lost(write.kind());
            if let Write::Tick(tick) = write {
                tracing::error!(?tick, "what became of an instant could not be stored and is lost");
            } else {
                tracing::error!(kind = write.kind(), "a record could not be stored and is lost");
            }
        }
    }

    fn show(&self) {
        self.metrics.spooled(self.spooled(), self.spool.as_ref().map_or(0, Spool::bytes));
    }

    /// Ends of runs that are only in memory, and how many things are.
    pub(super) fn only_in_memory(&self) -> (usize, Vec<&str>) {
        let ends = self.memory.iter().filter_map(|write| if let Write::RunEnd(run, _) = write { Some(run.id.0.as_str()) } else { None });
        (self.memory.len(), ends.collect())
    }

    /// Leaves the spool: it is removed when nothing is in it.
    pub(super) fn close(&mut self) {
        let Some(spool) = self.spool.take() else { return };
        let closed = if spool.is_empty() { spool.remove() } else { spool.sync() };
        if let Err(error) = closed {
            tracing::warn!(%error, "the spool could not be closed in order");
        }
    }
}

/// The first stretch of series, or the first other thing.
fn stretch(mut writes: Vec<Write>) -> Vec<Write> {
    let series = writes.iter().take_while(|write| write.is_series()).count();
    writes.truncate(series.max(1));
    writes
}
