//! The closed driver: VUs that loop, as many as the steps of `schedule::VuSteps` want, endlessly or for a number of iterations
//! each or in all. A VU that is ramped down finishes its iteration within its grace, and is taken again if it is wanted while
//! finishing.
//!
//! State of one VU, and what each change of the wanted number does:
//!
//! | state     | wanted again        | no longer wanted               | iteration ended   | its grace is over     |
//! |-----------|---------------------|--------------------------------|-------------------|-----------------------|
//! | absent    | spawned: running    | –                              | –                 | –                     |
//! | running   | –                   | finishing, grace starts        | next iteration    | –                     |
//! | finishing | running (reused)    | –                              | ends: absent      | cut off: absent       |

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::budget::Budget;
use super::schedule::VuSteps;
use super::{Drive, Iteration, Workload, counted, grace};
use crate::model::profile::{Executor, Scenario};

/// How many iterations a VU has before it.
#[derive(Clone)]
enum Work {
    /// As many as time allows.
    Endless,
    /// So many of its own.
    Own(Rc<Cell<u64>>),
    /// As many as it gets of those that all VUs share.
    Shared(Arc<Budget>),
}

impl Work {
    /// Takes one iteration; `false` when there is none.
    fn take(&self) -> bool {
        match self {
            Self::Endless => true,
            Self::Own(left) => {
                let taken = left.get().checked_sub(1);
                left.set(taken.unwrap_or(0));
                taken.is_some()
            }
            Self::Shared(budget) => budget.take(),
        }
    }

    fn is_done(&self) -> bool {
        match self {
            Self::Endless => false,
            Self::Own(left) => left.get() == 0,
            Self::Shared(budget) => budget.is_used_up(),
        }
    }
}

/// One VU as the driver sees it.
struct Slot {
    wanted: Rc<Cell<bool>>,
    work: Work,
    /// Iterations that the VU has started so far, over all its lives.
    rounds: Rc<Cell<u64>>,
    task: JoinHandle<()>,
    /// While finishing: when it is cut off.
    cut_at: Option<Instant>,
}

/// What the VUs of one thread share.
struct Yard {
    /// No iteration starts from here on.
    end: Instant,
    /// VUs that exist.
    count: Cell<u64>,
    /// Rings when a VU ends.
    gone: Notify,
}

/// Runs a closed scenario to its end.
pub(super) async fn run<W: Workload>(scenario: &Scenario, workload: Rc<W>, drive: Drive, begin: Instant) {
    let Some(steps) = VuSteps::of(&scenario.executor) else { return };
    let end = begin + scenario.executor.duration();
    let mut vus = Vus::new(scenario, workload, drive.clone(), end);
    let used_up = async {
        match &drive.budget {
            Some(budget) => budget.used_up().await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(used_up);
    let mut waits = true;
    loop {
        let now = Instant::now();
        if now >= end || drive.stop.is_cancelled() {
            break;
        }
        let offset = now - begin;
        vus.adjust(drive.part.share(steps.vus_at(offset)) as usize, now);
        if vus.are_done() {
            break;
        }
        let cut = vus.slots.iter().filter_map(|slot| slot.cut_at).min();
        let next = steps.next_change(offset).map_or(end, |change| (begin + change).min(end));
        tokio::select! {
            () = sleep_until(cut.map_or(next, |cut| cut.min(next))) => {}
            () = drive.stop.cancelled() => {}
            () = vus.yard.gone.notified() => {}
            () = &mut used_up, if waits => waits = false,
        }
    }
    vus.count_dropped();
    let hard_end = Instant::now().min(end) + scenario.graceful_stop;
    vus.finish(hard_end).await;
    drive.shard.borrow_mut().vus(drive.scenario, 0);
}

struct Vus<W: Workload> {
    workload: Rc<W>,
    drive: Drive,
    yard: Rc<Yard>,
    pace: Option<Duration>,
    /// How long a VU that is no longer wanted may finish its iteration.
    ramp_down: Duration,
    executor: Executor,
    slots: Vec<Slot>,
}

impl<W: Workload> Vus<W> {
    fn new(scenario: &Scenario, workload: Rc<W>, drive: Drive, end: Instant) -> Self {
        let ramp_down = match &scenario.executor {
            Executor::RampingVus { graceful_ramp_down, .. } => *graceful_ramp_down,
            Executor::ConstantVus { .. }
            | Executor::ConstantArrivalRate { .. }
            | Executor::RampingArrivalRate { .. }
            | Executor::PerVuIterations { .. }
            | Executor::SharedIterations { .. } => scenario.graceful_stop,
        };
        let yard = Rc::new(Yard { end, count: Cell::new(0), gone: Notify::new() });
        Self { workload, drive, yard, pace: scenario.pace, ramp_down, executor: scenario.executor.clone(), slots: Vec::new() }
    }

    /// Makes the first `wanted` VUs run and the others finish; cuts off those whose grace is over.
    fn adjust(&mut self, wanted: usize, now: Instant) {
        for index in 0..self.slots.len() {
            let slot = &mut self.slots[index];
            if index < wanted {
                slot.cut_at = None;
                slot.wanted.set(true);
                if slot.task.is_finished() && !slot.work.is_done() {
                    let (work, rounds) = (slot.work.clone(), slot.rounds.clone());
                    self.slots[index] = self.spawn(index as u64, work, rounds);
                }
            } else if slot.wanted.replace(false) {
                slot.cut_at = Some(now + self.ramp_down);
            } else if slot.cut_at.is_some_and(|cut| cut <= now) {
                slot.task.abort();
                slot.cut_at = None;
            }
        }
        while self.slots.len() < wanted {
            let slot = self.spawn(self.slots.len() as u64, self.work(), Rc::default());
            self.slots.push(slot);
        }
    }

    /// The work of a new VU.
    fn work(&self) -> Work {
        match (&self.executor, &self.drive.budget) {
            (Executor::PerVuIterations { iterations, .. }, _) => Work::Own(Rc::new(Cell::new(*iterations))),
            (_, Some(budget)) => Work::Shared(budget.clone()),
            (_, None) => Work::Endless,
        }
    }

    fn spawn(&self, local: u64, work: Work, rounds: Rc<Cell<u64>>) -> Slot {
        let wanted = Rc::new(Cell::new(true));
        let vu = Looping {
            workload: self.workload.clone(),
            drive: self.drive.clone(),
            wanted: wanted.clone(),
            work: work.clone(),
            rounds: rounds.clone(),
            yard: self.yard.clone(),
            pace: self.pace,
        };
        let task = tokio::task::spawn_local(vu.run(self.drive.part.number(local)));
        Slot { wanted, work, rounds, task, cut_at: None }
    }

    /// True when there is nothing left to start and nothing going on: never for executors that only time ends.
    fn are_done(&self) -> bool {
        let all_started = match (&self.executor, &self.drive.budget) {
            (Executor::PerVuIterations { .. }, _) => self.slots.iter().all(|slot| slot.work.is_done()),
            (_, Some(budget)) => budget.is_used_up(),
            (_, None) => false,
        };
        all_started && self.slots.iter().all(|slot| slot.task.is_finished())
    }

    /// Iterations that were not started by the deadline.
    fn count_dropped(&self) {
        let own = |slot: &Slot| if let Work::Own(left) = &slot.work { left.replace(0) } else { 0 };
        let shared = self.drive.budget.as_ref().filter(|_| !self.are_done()).map_or(0, |budget| budget.take_rest());
        let mut dropped = self.slots.iter().map(own).sum::<u64>() + shared;
        if let Executor::PerVuIterations { vus, iterations, .. } = self.executor {
            // Those of VUs that were never made.
            dropped += self.drive.part.share(vus).saturating_sub(self.slots.len() as u64) * iterations;
        }
        let mut shard = self.drive.shard.borrow_mut();
        shard.scheduled(self.drive.scenario, dropped);
        shard.dropped(self.drive.scenario, dropped);
    }

    /// Lets iterations end until `hard_end`, then cuts off the rest.
    async fn finish(&mut self, hard_end: Instant) {
        for slot in &self.slots {
            slot.wanted.set(false);
        }
        let slots = &mut self.slots;
        let all_idle = async {
            for slot in slots {
                let _ = (&mut slot.task).await;
            }
        };
        grace(&self.drive, hard_end, all_idle).await;
        for slot in &mut self.slots {
            slot.task.abort();
            if !slot.task.is_finished() {
                let _ = (&mut slot.task).await;
            }
        }
    }
}

/// A VU that loops until it is not wanted, has no work left or the regular end is reached.
struct Looping<W: Workload> {
    workload: Rc<W>,
    drive: Drive,
    wanted: Rc<Cell<bool>>,
    work: Work,
    rounds: Rc<Cell<u64>>,
    yard: Rc<Yard>,
    pace: Option<Duration>,
}

impl<W: Workload> Looping<W> {
    /// Whether an iteration that is due at `intended` may start.
    fn goes_on(&self, intended: Instant) -> bool {
        self.wanted.get() && !self.drive.stop.is_cancelled() && intended < self.yard.end
    }

    async fn run(self, number: u64) {
        let _alive = Alive::new(&self.yard, &self.drive);
        let mut vu = self.workload.vu(number);
        let mut intended = Instant::now();
        while self.goes_on(intended) && self.work.take() {
            self.drive.shard.borrow_mut().scheduled(self.drive.scenario, 1);
            // Numbers are unique within the VU; those of different VUs are told apart by the VU's number in the upper half.
            let iteration = Iteration { number: (number << 32) | self.rounds.get(), intended };
            self.rounds.set(self.rounds.get() + 1);
            counted(&*self.workload, &mut vu, iteration, &self.drive).await;
            let now = Instant::now();
            intended = match self.pace {
                Some(pace) if !self.work.is_done() => (intended + pace).max(now),
                Some(_) | None => now,
            };
            if intended > now {
                tokio::select! {
                    () = sleep_until(intended.min(self.yard.end)) => {}
                    () = self.drive.stop.cancelled() => {}
                }
            } else {
                // A flow that never waits must not keep the thread from its other work.
                tokio::task::yield_now().await;
            }
        }
    }
}

/// Keeps the number of VUs in the shard, also when a VU is cut off.
struct Alive {
    yard: Rc<Yard>,
    drive: Drive,
}

impl Alive {
    fn new(yard: &Rc<Yard>, drive: &Drive) -> Self {
        let alive = Self { yard: yard.clone(), drive: drive.clone() };
        alive.change(1);
        alive
    }

    fn change(&self, by: i64) {
        self.yard.count.set(self.yard.count.get().saturating_add_signed(by));
        self.drive.shard.borrow_mut().vus(self.drive.scenario, self.yard.count.get());
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.change(-1);
        self.yard.gone.notify_one();
    }
}
