//! When iterations start. Knows no protocol: it drives a `Workload`, counts every start, and folds into the thread's `Shard`.
//! `schedule` is pure; `open` and `closed` are the two drivers, which carry out the course of a scenario as it is decided. A new
//! executor is a schedule and, at most, a driver.

pub mod budget;
pub mod closed;
pub mod control;
pub mod open;
mod pacer;
pub mod schedule;
pub mod shard;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::model::profile::Scenario;
use budget::Budget;
use pacer::Pacer;
use schedule::Course;
use shard::SharedShard;

/// One iteration that is about to begin.
#[derive(Debug, Clone, Copy)]
pub struct Iteration {
    /// Number within the scenario, from 0, over all threads.
    pub number: u64,
    /// When it was due: response times count from here.
    pub intended: Instant,
    /// When it could begin: it was due, and there was a VU for it. How late the generator is counts from here.
    pub ready: Instant,
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
    /// Whether there is anything for another iteration of this VU to work with; asked before each one. A VU that loops and gets `false` is
    /// done; a start that is due by the clock is dropped.
    fn has_work(&self, _vu: &mut Self::Vu) -> bool {
        true
    }
    /// Runs one iteration. May be dropped in the middle when its time is up; what was in flight must then be counted.
    fn iterate(&self, vu: &mut Self::Vu, iteration: Iteration) -> impl Future<Output = IterationEnd>;
}

/// VUs that every thread has at least which takes starts that are due by the clock, if there are as many.
const FEWEST_VUS: u64 = 8;

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

    /// The part that this thread has in the starts of a scenario which only `vus` VUs can take; `None`: none. Few VUs stay together on
    /// few threads: a start that falls to a thread without a free VU is dropped, however many VUs of other threads are free. Which
    /// threads these are differs from scenario to scenario.
    pub fn of_starts(self, vus: u64, scenario: u16) -> Option<Self> {
        let count = self.count.min(vus / FEWEST_VUS).max(1);
        let index = (self.index + u64::from(scenario)) % self.count;
        (index < count).then_some(Self { index, count })
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
    /// When what is to start, as it is decided.
    pub course: watch::Receiver<Arc<Course>>,
    /// The iterations that all threads share, where the executor has such.
    pub budget: Option<Arc<Budget>>,
    /// Starts are timed to some microseconds; not under a paused clock.
    pub exact: bool,
    /// Stop starting; running iterations get the graceful stop.
    pub stop: CancellationToken,
    /// Stop now; running iterations are cut off.
    pub kill: CancellationToken,
}

impl Drive {
    /// Now, as an offset in the run.
    fn now(&self) -> Duration {
        Instant::now().saturating_duration_since(self.run_start)
    }

    /// Sleeps until an offset in the run, for ever when there is none; woken by a stop, or by a decision about the scenario.
    async fn sleep_until(&mut self, pacer: &Pacer, offset: Option<Duration>) {
        let at = self.run_start + offset.unwrap_or_default();
        tokio::select! {
            () = pacer.sleep_until(at), if offset.is_some() => {}
            () = decided(&mut self.course) => {}
            () = self.stop.cancelled() => {}
        }
    }
}

/// Returns when the course was decided anew; never when nobody can decide any more.
async fn decided(course: &mut watch::Receiver<Arc<Course>>) {
    if course.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Runs one scenario to its end on the current thread (inside a `LocalSet`).
pub async fn drive<W: Workload>(scenario: &Scenario, workload: Rc<W>, mut drive: Drive) {
    loop {
        let begin = drive.course.borrow_and_update().begin();
        if drive.stop.is_cancelled() {
            return;
        }
        if begin.is_some_and(|begin| begin <= drive.now()) {
            break;
        }
        drive.sleep_until(&Pacer::coarse(), begin).await;
    }
    if scenario.executor.is_open() {
        open::run(scenario, workload, drive).await;
    } else {
        closed::run(scenario, workload, drive).await;
    }
}

/// Waits until all iterations have ended by themselves, or until the graceful stop is over at `until` or the run is killed.
async fn grace(drive: &Drive, until: Instant, all_idle: impl Future<Output = ()>) {
    tokio::select! {
        () = all_idle => {}
        () = sleep_until(until) => {}
        () = drive.kill.cancelled() => {}
    }
}

/// Runs one iteration and counts it, also when it is cut off in the middle.
async fn counted<W: Workload>(workload: &W, vu: &mut W::Vu, iteration: Iteration, drive: &Drive) {
    let guard = shard::IterationGuard::begin(&drive.shard, drive.scenario, iteration.ready);
    let end = workload.iterate(vu, iteration).await;
    guard.end(end);
}
