//! The open driver: starts are due by the clock. A start takes the VU that was free last; with none free a VU is made, up to
//! `maxVUs`; with none left the start is dropped at once, as in k6, and counted, or waits, as the scenario says. When a VU is free
//! again, the dropped starts are recorded as response times of at least the wait they met (censored values), so that a stall cannot
//! hide behind too few VUs; a start that waited counts its wait itself.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::pacer::Pacer;
use super::schedule::{Arrivals, Course};
use super::{Drive, Iteration, Workload, counted, grace};
use crate::model::profile::{Scenario, WhenBusy};

/// A start that is due may be issued so long after the regular end: the timer's own lateness must not lose it.
const LATE: Duration = Duration::from_millis(100);

/// What the driver and its VUs share.
struct Shared {
    /// The course as last heard of.
    course: RefCell<Arc<Course>>,
    /// Free VUs, the one that was free last on top: the fewest connections stay warm.
    idle: RefCell<Vec<Rc<Desk>>>,
    when_busy: WhenBusy,
    /// Starts that wait for a VU, one after the other.
    waiting: Cell<Option<Starts>>,
    /// Starts dropped since a VU was last free.
    dropped: Cell<Option<Starts>>,
    busy: Cell<u64>,
    all_idle: Notify,
}

/// Starts of this part in a row.
#[derive(Clone, Copy)]
struct Starts {
    first: Arrivals,
    count: u64,
}

impl Starts {
    /// These, and the one after them.
    fn and(before: Option<Self>, start: Arrivals) -> Self {
        let before = before.unwrap_or(Self { first: start, count: 0 });
        Self { count: before.count + 1, ..before }
    }
}

/// Where a VU waits for its next iteration.
struct Desk {
    next: Cell<Option<Iteration>>,
    bell: Notify,
}

/// Runs an open scenario to its end.
pub(super) async fn run<W: Workload>(scenario: &Scenario, workload: Rc<W>, mut drive: Drive) {
    let Some(pool) = scenario.executor.pool() else { return };
    let Some(part) = drive.part.of_starts(pool.max, drive.scenario) else { return };
    drive.part = part;
    let shared = Rc::new(Shared {
        course: RefCell::new(drive.course.borrow().clone()),
        idle: RefCell::default(),
        when_busy: scenario.when_busy,
        waiting: Cell::new(None),
        dropped: Cell::new(None),
        busy: Cell::new(0),
        all_idle: Notify::new(),
    });
    let mut vus = Vus {
        workload,
        drive: drive.clone(),
        shared: shared.clone(),
        tasks: Vec::new(),
        desks: Vec::new(),
        max: drive.part.share(pool.max),
    };
    for _ in 0..drive.part.share(pool.pre_allocated) {
        let desk = vus.make();
        shared.idle.borrow_mut().push(desk);
    }
    let next = vus.issue_all().await;
    vus.count_unsent(next);
    vus.drop_waiting();
    vus.finish(scenario.graceful_stop).await;
}

struct Vus<W: Workload> {
    workload: Rc<W>,
    drive: Drive,
    shared: Rc<Shared>,
    tasks: Vec<JoinHandle<()>>,
    desks: Vec<Rc<Desk>>,
    max: u64,
}

impl<W: Workload> Vus<W> {
    /// Issues every start of this part when it is due, until the regular end; returns the first that was not issued.
    async fn issue_all(&mut self) -> Arrivals {
        let mut next = Arrivals::new(self.drive.part.index, self.drive.part.count, self.shared.course.borrow().spacing());
        let pacer = if self.drive.exact { Pacer::exact() } else { Pacer::coarse() };
        let mut in_a_row = 0_u32;
        let mut course = self.shared.course.borrow().clone();
        let mut look = true;
        loop {
            if std::mem::take(&mut look) || self.drive.course.has_changed().unwrap_or(false) {
                course = self.drive.course.borrow_and_update().clone();
                self.shared.course.replace(course.clone());
            }
            let (now, end, due) = (self.drive.now(), course.end(), next.due(&course));
            let is_late = end.is_some_and(|end| now > end + LATE);
            let is_over = due.is_none() && end.is_some_and(|end| now >= end);
            if self.drive.stop.is_cancelled() || is_late || is_over {
                return next;
            }
            match due.filter(|due| *due <= now) {
                Some(due) => {
                    self.start(next, self.drive.run_start + due);
                    next.advance();
                    in_a_row += 1;
                    if in_a_row.is_multiple_of(64) {
                        // A generator that is behind must still let its VUs run.
                        tokio::task::yield_now().await;
                    }
                }
                None => {
                    self.drive.sleep_until(&pacer, due.or(end)).await;
                    look = true;
                }
            }
        }
    }

    /// Starts that were due by now (or by the end) and were not issued.
    fn count_unsent(&self, mut next: Arrivals) {
        let course = self.shared.course.borrow();
        let until = course.end().unwrap_or(Duration::MAX).min(self.drive.now());
        let mut unsent = 0;
        while next.due(&course).is_some_and(|due| due <= until) {
            next.advance();
            unsent += 1;
        }
        let mut shard = self.drive.shard.borrow_mut();
        shard.scheduled(self.drive.scenario, unsent);
        shard.unsent(self.drive.scenario, unsent);
    }

    /// Nothing starts any more: what still waits for a VU never got one.
    fn drop_waiting(&self) {
        if let Some(waiting) = self.shared.waiting.take() {
            self.drive.shard.borrow_mut().dropped(self.drive.scenario, waiting.count);
            self.shared.dropped.set(Some(waiting));
        }
    }

    /// Lets iterations end within the graceful stop, then cuts off the rest.
    async fn finish(self, graceful_stop: Duration) {
        let Self { drive, shared, tasks, desks, .. } = self;
        let busy = async {
            while shared.busy.get() > 0 {
                shared.all_idle.notified().await;
            }
        };
        let end = shared.course.borrow().end().unwrap_or(Duration::MAX).min(drive.now());
        grace(&drive, drive.run_start + end + graceful_stop, busy).await;
        shared.flush_dropped(&drive);
        for task in &tasks {
            task.abort();
        }
        for task in tasks {
            let _ = task.await;
        }
        // Starts that were given to a VU that never got to begin them.
        let given = desks.iter().filter(|desk| desk.next.take().is_some()).count();
        drive.shard.borrow_mut().unsent(drive.scenario, given as u64);
        drive.shard.borrow_mut().vus(drive.scenario, 0);
    }

    /// Makes a VU that waits at its desk.
    fn make(&mut self) -> Rc<Desk> {
        let desk = Rc::new(Desk { next: Cell::new(None), bell: Notify::new() });
        let number = self.drive.part.number(self.tasks.len() as u64);
        self.desks.push(desk.clone());
        let (workload, drive, shared, own) = (self.workload.clone(), self.drive.clone(), self.shared.clone(), desk.clone());
        self.tasks.push(tokio::task::spawn_local(async move {
            let mut vu = workload.vu(number);
            loop {
                let Some(iteration) = own.next.take() else {
                    own.bell.notified().await;
                    continue;
                };
                if workload.has_work(&mut vu) {
                    counted(&*workload, &mut vu, iteration, &drive).await;
                } else {
                    drive.shard.borrow_mut().dropped(drive.scenario, 1);
                }
                shared.free(&own, &drive);
            }
        }));
        self.drive.shard.borrow_mut().vus(self.drive.scenario, self.tasks.len() as u64);
        desk
    }

    /// Gives a start to a VU, or lets it wait for one, or drops it.
    fn start(&mut self, start: Arrivals, intended: Instant) {
        let scenario = self.drive.scenario;
        self.drive.shard.borrow_mut().scheduled(scenario, 1);
        self.shared.after_a_pause(&self.drive);
        let free = self.shared.idle.borrow_mut().pop();
        let desk = match free {
            Some(desk) => desk,
            None if (self.tasks.len() as u64) < self.max => self.make(),
            None => {
                match self.shared.when_busy {
                    WhenBusy::Queue => self.shared.waiting.set(Some(Starts::and(self.shared.waiting.get(), start))),
                    WhenBusy::Drop => {
                        self.drive.shard.borrow_mut().dropped(scenario, 1);
                        self.shared.dropped.set(Some(Starts::and(self.shared.dropped.get(), start)));
                    }
                }
                return;
            }
        };
        self.shared.busy.set(self.shared.busy.get() + 1);
        desk.next.set(Some(Iteration { number: start.number(), intended, ready: intended }));
        desk.bell.notify_one();
    }
}

impl Shared {
    /// A VU has ended its iteration: it takes the start that waits longest, or is free; and the dropped starts know what they would
    /// have waited.
    fn free(&self, desk: &Rc<Desk>, drive: &Drive) {
        self.flush_dropped(drive);
        if let Some(iteration) = self.longest_waiting(drive) {
            desk.next.set(Some(iteration));
            return;
        }
        self.busy.set(self.busy.get() - 1);
        self.idle.borrow_mut().push(desk.clone());
        if self.busy.get() == 0 {
            self.all_idle.notify_one();
        }
    }

    /// Takes the start that waits longest, unless nothing may start now.
    fn longest_waiting(&self, drive: &Drive) -> Option<Iteration> {
        let Starts { mut first, count } = self.waiting.get()?;
        let (course, now) = (self.course.borrow(), drive.now());
        if course.is_paused_at(now) || drive.stop.is_cancelled() || course.end().is_some_and(|end| end <= now) {
            return None;
        }
        // As for dropped starts: one that was moved by a decision waited no time that is known.
        let due = first.due(&course).unwrap_or(now).min(now);
        let number = first.number();
        first.advance();
        self.waiting.set((count > 1).then_some(Starts { first, count: count - 1 }));
        Some(Iteration { number, intended: drive.run_start + due, ready: Instant::now() })
    }

    /// Gives waiting starts to VUs that became free while nothing might start.
    fn after_a_pause(&self, drive: &Drive) {
        while self.waiting.get().is_some() {
            let Some(desk) = self.idle.borrow_mut().pop() else { return };
            let Some(iteration) = self.longest_waiting(drive) else {
                self.idle.borrow_mut().push(desk);
                return;
            };
            self.busy.set(self.busy.get() + 1);
            desk.next.set(Some(iteration));
            desk.bell.notify_one();
        }
    }

    fn flush_dropped(&self, drive: &Drive) {
        let Some(Starts { first: mut start, count }) = self.dropped.take() else { return };
        let (course, now) = (self.course.borrow(), drive.now());
        let mut shard = drive.shard.borrow_mut();
        for _ in 0..count {
            // A decision can have moved a start that was dropped in the same moment: it waited no time that is known.
            let due = start.due(&course).unwrap_or(now);
            shard.dropped_wait(drive.scenario, now.saturating_sub(due));
            start.advance();
        }
    }
}
