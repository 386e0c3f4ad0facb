//! When iterations start. Knows no protocol: it drives a `Workload`, counts every start, and folds into the thread's `Shard`.
//! `schedule` is pure; `open` and `closed` are the two drivers. A new executor is a schedule and, at most, a driver.

pub mod budget;
pub mod closed;
pub mod open;
pub mod schedule;
pub mod shard;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::model::profile::{Executor, Scenario};
use budget::Budget;
use shard::SharedShard;

/// One iteration that is about to begin.
#[derive(Debug, Clone, Copy)]
pub struct Iteration {
    /// Number within the scenario, from 0, over all threads.
    pub number: u64,
    /// When it was due: response times count from here.
    pub intended: Instant,
}

/// How an iteration ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IterationEnd {
    /// It went through its whole flow.
    Completed {
        /// At least one check or request failed.
        with_failed_check: bool,
    },
    /// It broke off.
    Failed,
}

/// What iterations do. One value per scenario and load thread; VUs live on that thread.
pub trait Workload: 'static {
    /// State of one VU: connections, random numbers, buffers.
    type Vu: 'static;
    /// Makes a VU; `number` is its index within the scenario, over all threads.
    fn vu(&self, number: u64) -> Self::Vu;
    /// Runs one iteration. May be dropped in the middle when its time is up; what was in flight must then be counted.
    fn iterate(&self, vu: &mut Self::Vu, iteration: Iteration) -> impl Future<Output = IterationEnd>;
}

/// This thread's part of the load: thread `index` of `count` takes every start and every VU whose number leaves that remainder.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    /// From 0.
    pub index: u64,
    /// At least 1.
    pub count: u64,
}

impl Part {
    /// The whole load.
    pub const WHOLE: Self = Self { index: 0, count: 1 };

    /// How many of `total` things are this part's.
    pub fn share(self, total: u64) -> u64 {
        (total + self.count - 1 - self.index) / self.count
    }

    /// The part that this thread has in starts which only `vus` VUs can take: a thread without a VU gets none (`None`), or it would
    /// drop every start that falls to it while other threads have VUs to spare.
    pub fn of_starts(self, vus: u64) -> Option<Self> {
        (self.index < vus).then_some(Self { count: self.count.min(vus), ..self })
    }

    /// Number of this part's `local`-th thing.
    pub fn number(self, local: u64) -> u64 {
        local * self.count + self.index
    }
}

/// What a driver needs besides the workload.
#[derive(Clone)]
pub struct Drive {
    /// Index of the scenario in the catalog.
    pub scenario: u16,
    /// Offset 0 of the run.
    pub run_start: Instant,
    /// This thread's part.
    pub part: Part,
    /// Where everything is counted.
    pub shard: SharedShard,
    /// The iterations that all threads share, where the executor has such.
    pub budget: Option<Arc<Budget>>,
    /// Stop starting; running iterations get the graceful stop.
    pub stop: CancellationToken,
    /// Stop now; running iterations are cut off.
    pub kill: CancellationToken,
}

/// Runs one scenario to its end on the current thread (inside a `LocalSet`).
pub async fn drive<W: Workload>(scenario: &Scenario, workload: Rc<W>, drive: Drive) {
    let begin = drive.run_start + scenario.start_time;
    tokio::select! {
        () = tokio::time::sleep_until(begin) => {}
        () = drive.stop.cancelled() => return,
    }
    match &scenario.executor {
        Executor::ConstantVus { .. }
        | Executor::RampingVus { .. }
        | Executor::PerVuIterations { .. }
        | Executor::SharedIterations { .. } => closed::run(scenario, workload, drive, begin).await,
        Executor::ConstantArrivalRate { .. } | Executor::RampingArrivalRate { .. } => open::run(scenario, workload, drive, begin).await,
    }
}

/// The iterations that the load threads of a scenario share, where its executor has such.
pub fn budget_of(executor: &Executor) -> Option<Arc<Budget>> {
    match executor {
        Executor::SharedIterations { iterations, .. } => Some(Arc::new(Budget::new(*iterations))),
        Executor::ConstantVus { .. }
        | Executor::RampingVus { .. }
        | Executor::ConstantArrivalRate { .. }
        | Executor::RampingArrivalRate { .. }
        | Executor::PerVuIterations { .. } => None,
    }
}

/// Waits until all iterations have ended by themselves, or until the graceful stop is over at `until` or the run is killed.
async fn grace(drive: &Drive, until: Instant, all_idle: impl Future<Output = ()>) {
    tokio::select! {
        () = all_idle => {}
        () = tokio::time::sleep_until(until) => {}
        () = drive.kill.cancelled() => {}
    }
}

/// Runs one iteration and counts it, also when it is cut off in the middle.
async fn counted<W: Workload>(workload: &W, vu: &mut W::Vu, iteration: Iteration, drive: &Drive) {
    let guard = shard::IterationGuard::begin(&drive.shard, drive.scenario, iteration.intended);
    let end = workload.iterate(vu, iteration).await;
    guard.end(end);
}
