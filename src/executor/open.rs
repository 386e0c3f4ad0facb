//! The open driver: starts are due by the clock. A start takes the VU that was free last; with none free a VU is made, up to
//! `maxVUs`; with none left the start is dropped at once, as in k6, and counted. When a VU is free again, the dropped starts are
//! recorded as response times of at least the wait they met (censored values), so that a stall cannot hide behind too few VUs.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::schedule::{Arrivals, Course};
use super::{Drive, Iteration, Workload, counted, grace};
use crate::model::profile::Scenario;

/// A start that is due may be issued so long after the regular end: the timer's own lateness must not lose it.
const LATE: Duration = Duration::from_millis(100);

/// What the driver and its VUs share.
struct Shared {
    /// The course as last heard of.
    course: RefCell<Arc<Course>>,
    /// Free VUs, the one that was free last on top: the fewest connections stay warm.
    idle: RefCell<Vec<Rc<Desk>>>,
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

/// Where a VU waits for its next iteration.
struct Desk {
    next: Cell<Option<Iteration>>,
    bell: Notify,
}

/// Runs an open scenario to its end.
pub(super) async fn run<W: Workload>(scenario: &Scenario, workload: Rc<W>, mut drive: Drive) {
    let Some(pool) = scenario.executor.pool() else { return };
    let Some(part) = drive.part.of_starts(pool.max.max(1)) else { return };
    drive.part = part;
    let shared = Rc::new(Shared {
        course: RefCell::new(drive.course.borrow().clone()),
        idle: RefCell::default(),
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
        let mut next = Arrivals::new(self.drive.part.index, self.drive.part.count);
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
                    self.drive.sleep_until(due.or(end)).await;
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
                counted(&*workload, &mut vu, iteration, &drive).await;
                shared.free(&own, &drive);
            }
        }));
        self.drive.shard.borrow_mut().vus(self.drive.scenario, self.tasks.len() as u64);
        desk
    }

    /// Gives a start to a VU, or drops it.
    fn start(&mut self, start: Arrivals, intended: Instant) {
        let scenario = self.drive.scenario;
        self.drive.shard.borrow_mut().scheduled(scenario, 1);
        let free = self.shared.idle.borrow_mut().pop();
        let desk = match free {
            Some(desk) => desk,
            None if (self.tasks.len() as u64) < self.max => self.make(),
            None => {
                self.drive.shard.borrow_mut().dropped(scenario, 1);
                let dropped = self.shared.dropped.get().unwrap_or(Starts { first: start, count: 0 });
                self.shared.dropped.set(Some(Starts { count: dropped.count + 1, ..dropped }));
                return;
            }
        };
        self.shared.busy.set(self.shared.busy.get() + 1);
        desk.next.set(Some(Iteration { number: start.number(), intended }));
        desk.bell.notify_one();
    }
}

impl Shared {
    /// A VU has ended its iteration: it is free, and so the dropped starts know what they would have waited.
    fn free(&self, desk: &Rc<Desk>, drive: &Drive) {
        self.flush_dropped(drive);
        self.busy.set(self.busy.get() - 1);
        self.idle.borrow_mut().push(desk.clone());
        if self.busy.get() == 0 {
            self.all_idle.notify_one();
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
