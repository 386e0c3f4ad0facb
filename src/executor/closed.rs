//! The closed driver: VUs that loop, as many as the course of the scenario wants, endlessly or for a number of iterations
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
use super::{Drive, Iteration, Workload, counted, decided, grace};
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
    orders: Rc<Orders>,
    work: Work,
    /// Iterations that the VU has started so far, over all its lives.
    rounds: Rc<Cell<u64>>,
    task: JoinHandle<()>,
    /// While finishing: when it is cut off.
    cut_at: Option<Instant>,
}

impl Slot {
    /// There is nothing more that it could start.
    fn is_done(&self) -> bool {
        self.work.is_done() || self.orders.out_of_work.get()
    }
}

/// What a VU is told.
struct Orders {
    wanted: Cell<bool>,
    /// The VU has said that there is nothing more for it to work with.
    out_of_work: Cell<bool>,
    /// Rings when something changes for a VU that waits.
    bell: Notify,
}

/// What the VUs of one thread share.
struct Yard {
    /// No iteration starts from here on; `None`: not known yet.
    end: Cell<Option<Instant>>,
    /// No iteration starts at present.
    paused: Cell<bool>,
    /// When the driver next changes something: a VU that is free then lets it go first.
    change: Cell<Option<Instant>>,
    /// VUs that exist.
    count: Cell<u64>,
    /// Rings when a VU ends.
    gone: Notify,
}

/// Runs a closed scenario to its end.
pub(super) async fn run<W: Workload>(scenario: &Scenario, workload: Rc<W>, mut drive: Drive) {
    let mut vus = Vus::new(scenario, workload, drive.clone());
    let budget = drive.budget.clone();
    let used_up = async {
        match budget {
            Some(budget) => budget.used_up().await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(used_up);
    let mut waits = true;
    loop {
        let course = drive.course.borrow_and_update().clone();
        let (offset, now) = (drive.now(), Instant::now());
        let end = course.end().map(|end| drive.run_start + end);
        vus.announce(course.is_paused_at(offset), end);
        if drive.stop.is_cancelled() || end.is_some_and(|end| now >= end) {
            break;
        }
        vus.adjust(drive.part.share(course.vus_at(offset)) as usize, now);
        if vus.are_done() {
            break;
        }
        let cut = vus.slots.iter().filter_map(|slot| slot.cut_at);
        let next = cut.chain(course.next_change(offset).map(|change| drive.run_start + change)).min();
        vus.yard.change.set(next);
        tokio::select! {
            () = sleep_until(next.unwrap_or(now)), if next.is_some() => {}
            () = decided(&mut drive.course) => {}
            () = drive.stop.cancelled() => {}
            () = vus.yard.gone.notified() => {}
            () = &mut used_up, if waits => waits = false,
        }
    }
    vus.count_dropped();
    let now = Instant::now();
    let hard_end = vus.yard.end.get().map_or(now, |end| end.min(now)) + scenario.graceful_stop;
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
    fn new(scenario: &Scenario, workload: Rc<W>, drive: Drive) -> Self {
        let ramp_down = match &scenario.executor {
            Executor::RampingVus { graceful_ramp_down, .. } => *graceful_ramp_down,
            Executor::ConstantVus { .. }
            | Executor::ConstantArrivalRate { .. }
            | Executor::RampingArrivalRate { .. }
            | Executor::PerVuIterations { .. }
            | Executor::SharedIterations { .. }
            | Executor::ExternallyControlled { .. }
            | Executor::Staircase(_) => scenario.graceful_stop,
        };
        let yard = Rc::new(Yard {
            end: Cell::new(None),
            paused: Cell::new(false),
            change: Cell::new(None),
            count: Cell::new(0),
            gone: Notify::new(),
        });
        Self { workload, drive, yard, pace: scenario.pace, ramp_down, executor: scenario.executor.clone(), slots: Vec::new() }
    }

    /// Tells all VUs whether the scenario is paused and when it ends.
    fn announce(&self, paused: bool, end: Option<Instant>) {
        let changed = (self.yard.paused.replace(paused) != paused, self.yard.end.replace(end) != end);
        if changed != (false, false) {
            self.slots.iter().for_each(|slot| slot.orders.bell.notify_one());
        }
    }

    /// Makes the first `wanted` VUs run and the others finish; cuts off those whose grace is over.
    fn adjust(&mut self, wanted: usize, now: Instant) {
        for index in 0..self.slots.len() {
            let slot = &mut self.slots[index];
            if index < wanted {
                slot.cut_at = None;
                slot.orders.wanted.set(true);
                if slot.task.is_finished() && !slot.is_done() {
                    let (work, rounds) = (slot.work.clone(), slot.rounds.clone());
                    self.slots[index] = self.spawn(index as u64, work, rounds);
                }
            } else if slot.orders.dismiss() {
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
        let orders = Rc::new(Orders { wanted: Cell::new(true), out_of_work: Cell::new(false), bell: Notify::new() });
        let vu = Looping {
            workload: self.workload.clone(),
            drive: self.drive.clone(),
            orders: orders.clone(),
            work: work.clone(),
            rounds: rounds.clone(),
            yard: self.yard.clone(),
            pace: self.pace,
        };
        let task = tokio::task::spawn_local(vu.run(self.drive.part.number(local)));
        Slot { orders, work, rounds, task, cut_at: None }
    }

    /// True when there is nothing left to start and nothing going on: of executors that only time ends, when no VU has anything more to
    /// work with.
    fn are_done(&self) -> bool {
        let out_of_work = !self.slots.is_empty() && self.slots.iter().all(Slot::is_done);
        let all_started = match (&self.executor, &self.drive.budget) {
            (Executor::PerVuIterations { .. }, _) => self.slots.iter().all(Slot::is_done),
            (_, Some(budget)) => budget.is_used_up() || out_of_work,
            (_, None) => out_of_work,
        };
        all_started && self.slots.iter().all(|slot| slot.task.is_finished())
    }

    /// Iterations that were not started by the deadline.
    fn count_dropped(&self) {
        let own = |slot: &Slot| if let Work::Own(left) = &slot.work { left.replace(0) } else { 0 };
        let shared = self.drive.budget.as_ref().map_or(0, |budget| budget.take_rest());
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
            slot.orders.dismiss();
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

impl Orders {
    /// Tells a VU that it is no longer wanted; `false` when it knows already.
    fn dismiss(&self) -> bool {
        let was_wanted = self.wanted.replace(false);
        if was_wanted {
            self.bell.notify_one();
        }
        was_wanted
    }
}

/// A VU that loops until it is not wanted, has no work left or the regular end is reached.
struct Looping<W: Workload> {
    workload: Rc<W>,
    drive: Drive,
    orders: Rc<Orders>,
    work: Work,
    rounds: Rc<Cell<u64>>,
    yard: Rc<Yard>,
    pace: Option<Duration>,
}

impl<W: Workload> Looping<W> {
    async fn run(self, number: u64) {
        let _alive = Alive::new(&self.yard, &self.drive);
        let mut vu = self.workload.vu(number);
        let mut due = Instant::now();
        while let Some(intended) = self.turn(due).await {
            if !self.workload.has_work(&mut vu) {
                self.orders.out_of_work.set(true);
                break;
            }
            if !self.work.take() {
                break;
            }
            self.drive.shard.borrow_mut().scheduled(self.drive.scenario, 1);
            // Numbers are unique within the VU; those of different VUs are told apart by the VU's number in the upper half.
            let iteration = Iteration { number: (number << 32) | self.rounds.get(), intended, ready: intended };
            self.rounds.set(self.rounds.get() + 1);
            counted(&*self.workload, &mut vu, iteration, &self.drive).await;
            let now = Instant::now();
            due = match self.pace {
                Some(pace) if !self.work.is_done() => (intended + pace).max(now),
                Some(_) | None => now,
            };
            if due > now {
                continue;
            }
            if self.yard.change.get().is_some_and(|change| change <= now) {
                tokio::task::yield_now().await;
            } else {
                // A flow that never waits must not keep the thread from its other work; one that waits for answers has let others run.
                tokio::task::coop::consume_budget().await;
            }
        }
    }

    /// Waits until the iteration that is due at `due` may start; returns when it was to, or `None` when it may not any more.
    async fn turn(&self, mut due: Instant) -> Option<Instant> {
        loop {
            let (now, paused, end) = (Instant::now(), self.yard.paused.get(), self.yard.end.get());
            if !self.orders.wanted.get() || self.drive.stop.is_cancelled() || end.is_some_and(|end| now >= end) {
                return None;
            }
            if due <= now && !paused {
                return Some(due);
            }
            // A VU that has nothing more to start stays until the end: one that ends before is taken for one that is to be made anew.
            let next = if due > now { Some(end.map_or(due, |end| due.min(end))) } else { end };
            tokio::select! {
                () = sleep_until(next.unwrap_or(now)), if next.is_some() => {}
                () = self.orders.bell.notified() => {}
                () = self.drive.stop.cancelled() => {}
            }
            if paused {
                // What would have been due in a pause is due after it.
                due = due.max(Instant::now());
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
