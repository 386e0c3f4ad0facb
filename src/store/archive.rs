//! What is done with series once they are stored: rolled up, asked for at any resolution, kept for so long and no longer.
//! `Store` includes it. Answers are bounded: long spans come at a coarse resolution, or piece by piece.

use async_trait::async_trait;

use super::StoreResult;
use super::dialect::Dialect;
use super::shared::SqlStore;
use super::{Batch, Returned, ask, retention, rollup, space};
use crate::model::Labels;
use crate::model::measure::Interval;
use crate::model::retention::{KeptRun, Pin, Removal};
use crate::model::rollup::{Figures, ReadingRoll, Resolution, Rolled};
use crate::model::run::RunId;
use crate::model::units::Timestamp;

/// What is left of a run's series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// The finest resolution; `None` = nothing any more.
    pub finest: Option<Resolution>,
    /// Seconds of the run that are rolled up; what comes after them is added up when it is asked for.
    pub rolled_seconds: u32,
}

/// Which figures of a run to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FigureQuery {
    /// The run.
    pub run: RunId,
    /// One step by its index in the catalog; `None` = all together.
    pub step: Option<u16>,
    /// Length of the spans.
    pub resolution: Resolution,
    /// Spans that begin at this second or later (its span included).
    pub from: u32,
    /// Spans that begin before this second.
    pub to: u32,
}

/// Which readings of a run to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadingQuery {
    /// The run.
    pub run: RunId,
    /// The metric: `pool_utilization`.
    pub metric: String,
    /// Length of the spans.
    pub resolution: Resolution,
    /// Spans that begin at this second or later (its span included).
    pub from: u32,
    /// Spans that begin before this second.
    pub to: u32,
}

/// One series of a probe, on the clock of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadingSeries {
    /// Probe.
    pub probe: String,
    /// Labels.
    pub labels: Labels,
    /// Spans with readings, ascending.
    pub spans: Vec<ReadingSpan>,
}

/// Readings of a series in one span.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReadingSpan {
    /// First second of the span.
    pub second: u32,
    /// The readings.
    pub roll: ReadingRoll,
}

/// A part of a run, added up.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// First second.
    pub from: u32,
    /// First second after it.
    pub to: u32,
    /// The sum; its percentiles are those of all requests in the window.
    pub sum: Rolled,
}

impl Window {
    /// The sum as an interval that begins with the window.
    pub fn interval(&self) -> &Interval {
        &self.sum.interval
    }
}

/// The part of the store that keeps series small and answers fast. Every promise is a test of the conformance suite.
#[async_trait]
pub trait Archive: Send + Sync {
    /// Rolls up what is complete, at most `pieces` (a piece is five minutes of a run), each in its own transaction; returns how many
    /// were done. Fewer than asked for: nothing is left.
    async fn roll_up(&self, pieces: u32) -> StoreResult<u32>;

    /// What is left of a run's series; `None` when the run is not stored.
    async fn kept(&self, run: &RunId) -> StoreResult<Option<Kept>>;
    /// Figures for charts, ascending; at most [`MOST_ROWS`](super::MOST_ROWS). What is not rolled up yet is added up from seconds. None finer than what is kept.
    async fn figures(&self, query: &FigureQuery) -> StoreResult<Vec<Figures>>;
    /// Readings of a metric on the clock of a run, by probe and labels; at most [`MOST_ROWS`](super::MOST_ROWS) spans. What is not rolled up yet is added up from readings.
    async fn reading_series(&self, query: &ReadingQuery) -> StoreResult<Vec<ReadingSeries>>;
    /// Spans with their histograms that begin at `from <= second < to`, ascending; at most [`MOST_SECONDS`](super::MOST_SECONDS).
    async fn rolled(&self, run: &RunId, resolution: Resolution, from: u32, to: u32) -> StoreResult<Vec<Rolled>>;
    /// `from <= second < to` added up, exactly, from the coarsest spans that fit in. Where the seconds at its edges are not kept any
    /// more, the window is widened to whole spans. `None` when nothing of it is stored.
    async fn merged(&self, run: &RunId, from: u32, to: u32) -> StoreResult<Option<Window>>;

    /// Runs in the order in which they were stored, after this one; at most `limit`.
    async fn kept_runs(&self, after: Option<&RunId>, limit: u32) -> StoreResult<Vec<KeptRun>>;
    /// Keeps a run whatever its age, or no longer; false when it is not stored.
    async fn pin(&self, run: &RunId, pin: Option<Pin>) -> StoreResult<bool>;
    /// Why a run is kept whatever its age.
    async fn pinned(&self, run: &RunId) -> StoreResult<Option<Pin>>;
    /// Removes a bounded part of what a plan names; to be called until it is done. What was pinned or came late since the plan was made
    /// stays, and so do seconds that roll-ups do not hold.
    async fn remove(&self, removal: &Removal) -> StoreResult<Batch>;
    /// Makes what rows of the coming weeks need, and returns how many partitions that were. Nothing on SQLite.
    async fn prepare_partitions(&self, now: Timestamp) -> StoreResult<u64>;
    /// Drops the partitions in which everything is to go by this plan, and returns how many. Nothing on SQLite.
    async fn drop_partitions(&self, plan: &[Removal]) -> StoreResult<u64>;
    /// Gives free space back, in small steps and a bounded amount. PostgreSQL does so by itself.
    async fn give_back(&self) -> StoreResult<Returned>;
    /// Writes a SQLite file anew, so that it is as small as can be and shrinks by itself from now on. Nobody can write meanwhile.
    async fn compact(&self) -> StoreResult<()>;
}

#[async_trait]
impl<D: Dialect> Archive for SqlStore<D> {
    async fn roll_up(&self, pieces: u32) -> StoreResult<u32> {
        rollup::work(self, pieces).await
    }

    async fn kept(&self, run: &RunId) -> StoreResult<Option<Kept>> {
        Ok(ask::kept(&mut self.reading().await?, run).await?.map(|(_, kept)| kept))
    }

    async fn figures(&self, query: &FigureQuery) -> StoreResult<Vec<Figures>> {
        ask::figures(&mut self.reading().await?, query).await
    }

    async fn reading_series(&self, query: &ReadingQuery) -> StoreResult<Vec<ReadingSeries>> {
        ask::readings(&mut self.reading().await?, query).await
    }

    async fn rolled(&self, run: &RunId, resolution: Resolution, from: u32, to: u32) -> StoreResult<Vec<Rolled>> {
        ask::rolled(&mut self.reading().await?, run, resolution, from, to).await
    }

    async fn merged(&self, run: &RunId, from: u32, to: u32) -> StoreResult<Option<Window>> {
        ask::merged(&mut self.reading().await?, run, from, to).await
    }

    async fn kept_runs(&self, after: Option<&RunId>, limit: u32) -> StoreResult<Vec<KeptRun>> {
        retention::kept_runs(&mut self.reading().await?, after, limit).await
    }

    async fn pin(&self, run: &RunId, pin: Option<Pin>) -> StoreResult<bool> {
        let mut tx = self.writing().await?;
        let found = retention::pin(&mut tx, run, pin).await?;
        tx.commit().await?;
        Ok(found)
    }

    async fn pinned(&self, run: &RunId) -> StoreResult<Option<Pin>> {
        retention::pinned(&mut self.reading().await?, run).await
    }

    async fn remove(&self, removal: &Removal) -> StoreResult<Batch> {
        retention::remove(self, removal).await
    }

    async fn prepare_partitions(&self, now: Timestamp) -> StoreResult<u64> {
        space::prepare_partitions(self, now).await
    }

    async fn drop_partitions(&self, plan: &[Removal]) -> StoreResult<u64> {
        space::drop_partitions(self, plan).await
    }

    async fn give_back(&self) -> StoreResult<Returned> {
        space::give_back(self).await
    }

    async fn compact(&self) -> StoreResult<()> {
        space::compact(self).await
    }
}
