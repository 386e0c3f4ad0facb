//! The closed driver: VUs that loop, as many as the steps of `schedule::VuSteps` want. A VU that is ramped down finishes its
//! iteration within `gracefulRampDown`, and is taken again if it is wanted while finishing.
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
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::schedule::VuSteps;
use super::{Drive, Iteration, Workload, counted, grace};
use crate::model::profile::{Executor, Scenario};

/// One VU as the driver sees it.
struct Slot {
    wanted: Rc<Cell<bool>>,
    task: JoinHandle<()>,
    /// While finishing: when it is cut off.
    cut_at: Option<Instant>,
}

/// Runs a closed scenario to its end.
pub(super) async fn run<W: Workload>(scenario: &Scenario, workload: Rc<W>, drive: Drive, begin: Instant) {
    let Some(steps) = VuSteps::of(&scenario.executor) else { return };
    let ramp_down = match &scenario.executor {
        Executor::RampingVus { graceful_ramp_down, .. } => *graceful_ramp_down,
        Executor::ConstantVus { .. } | Executor::ConstantArrivalRate { .. } | Executor::RampingArrivalRate { .. } => Duration::ZERO,
    };
    let end = begin + scenario.executor.duration();
    let count = Rc::new(Cell::new(0_u64));
    let spawn = |local: u64| {
        let wanted = Rc::new(Cell::new(true));
        let vu = Looping {
            workload: workload.clone(),
            drive: drive.clone(),
            wanted: wanted.clone(),
            end,
            pace: scenario.pace,
            count: count.clone(),
        };
        let task = tokio::task::spawn_local(vu.run(drive.part.number(local)));
        Slot { wanted, task, cut_at: None }
    };
    let mut slots: Vec<Slot> = Vec::new();
    loop {
        let now = Instant::now();
        if now >= end || drive.stop.is_cancelled() {
            break;
        }
        let offset = now - begin;
        let wanted = drive.part.share(steps.vus_at(offset)) as usize;
        adjust(&mut slots, wanted, now, ramp_down, &spawn);
        let cut = slots.iter().filter_map(|slot| slot.cut_at).min();
        let next = steps.next_change(offset).map_or(end, |change| (begin + change).min(end));
        tokio::select! {
            () = sleep_until(cut.map_or(next, |cut| cut.min(next))) => {}
            () = drive.stop.cancelled() => {}
        }
    }
    for slot in &slots {
        slot.wanted.set(false);
    }
    let all_idle = async {
        for slot in &mut slots {
            let _ = (&mut slot.task).await;
        }
    };
    grace(&drive, scenario.graceful_stop, all_idle).await;
    for slot in &mut slots {
        slot.task.abort();
        if !slot.task.is_finished() {
            let _ = (&mut slot.task).await;
        }
    }
    drive.shard.borrow_mut().vus(drive.scenario, 0);
}

/// Makes the first `wanted` VUs run and the others finish; cuts off those whose grace is over.
fn adjust(slots: &mut Vec<Slot>, wanted: usize, now: Instant, ramp_down: Duration, spawn: &dyn Fn(u64) -> Slot) {
    for (index, slot) in slots.iter_mut().enumerate() {
        if index < wanted {
            if slot.task.is_finished() {
                *slot = spawn(index as u64);
            }
            slot.wanted.set(true);
            slot.cut_at = None;
        } else if slot.wanted.replace(false) {
            slot.cut_at = Some(now + ramp_down);
        } else if slot.cut_at.is_some_and(|cut| cut <= now) {
            slot.task.abort();
            slot.cut_at = None;
        }
    }
    while slots.len() < wanted {
        slots.push(spawn(slots.len() as u64));
    }
}

/// A VU that loops until it is not wanted or the regular end is reached.
struct Looping<W: Workload> {
    workload: Rc<W>,
    drive: Drive,
    wanted: Rc<Cell<bool>>,
    end: Instant,
    pace: Option<Duration>,
    /// VUs that exist on this thread.
    count: Rc<Cell<u64>>,
}

impl<W: Workload> Looping<W> {
    async fn run(self, number: u64) {
        let _alive = Alive::new(&self.count, &self.drive);
        let mut vu = self.workload.vu(number);
        let mut intended = Instant::now();
        let mut round = 0;
        while self.wanted.get() && intended < self.end {
            self.drive.shard.borrow_mut().scheduled(self.drive.scenario, 1);
            // Numbers are unique within the VU; those of different VUs are told apart by the VU's number in the upper half.
            let iteration = Iteration { number: (number << 32) | round, intended };
            counted(&*self.workload, &mut vu, iteration, &self.drive).await;
            round += 1;
            let now = Instant::now();
            intended = match self.pace {
                Some(pace) => (intended + pace).max(now),
                None => now,
            };
            if intended > now {
                tokio::select! {
                    () = sleep_until(intended.min(self.end)) => {}
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
    count: Rc<Cell<u64>>,
    drive: Drive,
}

impl Alive {
    fn new(count: &Rc<Cell<u64>>, drive: &Drive) -> Self {
        let alive = Self { count: count.clone(), drive: drive.clone() };
        alive.change(1);
        alive
    }

    fn change(&self, by: i64) {
        self.count.set(self.count.get().saturating_add_signed(by));
        self.drive.shard.borrow_mut().vus(self.drive.scenario, self.count.get());
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.change(-1);
    }
}
