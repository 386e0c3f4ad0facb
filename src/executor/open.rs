//! The open driver: starts are due by the clock. A start takes the VU that was free last; with none free a VU is made, up to
//! `maxVUs`; with none left the start is dropped at once, as in k6, and counted. When a VU is free again, the dropped starts are
//! recorded as response times of at least the wait they met (censored values), so that a stall cannot hide behind too few VUs.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::schedule::Starts;
use super::{Drive, Iteration, Workload, counted, grace};
use crate::model::profile::{Executor, Scenario, VuPool};

/// A start that is due may be issued so long after the regular end: the timer's own lateness must not lose it.
const LATE: Duration = Duration::from_millis(100);

/// What the driver and its VUs share.
struct Shared {
    /// Free VUs, the one that was free last on top: the fewest connections stay warm.
    idle: RefCell<Vec<Rc<Desk>>>,
    /// First and last number (within this part) of the starts dropped since a VU was last free.
    dropped: Cell<Option<(u64, u64)>>,
    busy: Cell<u64>,
    all_idle: Notify,
    starts: Starts,
    begin: Instant,
}

/// Where a VU waits for its next iteration.
struct Desk {
    next: Cell<Option<Iteration>>,
    bell: Notify,
}

/// Runs an open scenario to its end.
pub(super) async fn run<W: Workload>(scenario: &Scenario, workload: Rc<W>, drive: Drive, begin: Instant) {
    let (Some(starts), Some(pool)) = (Starts::of(&scenario.executor), pool_of(&scenario.executor)) else { return };
    let Some(part) = drive.part.of_starts(pool.max.max(1)) else { return };
    let drive = Drive { part, ..drive };
    let end = begin + scenario.executor.duration();
    let shared =
        Rc::new(Shared { idle: RefCell::default(), dropped: Cell::new(None), busy: Cell::new(0), all_idle: Notify::new(), starts, begin });
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
    let local = issue_all(&mut vus, end).await;
    count_unsent(&shared, &drive, local, end);
    let busy = async {
        while shared.busy.get() > 0 {
            shared.all_idle.notified().await;
        }
    };
    grace(&drive, Instant::now() + scenario.graceful_stop, busy).await;
    shared.flush_dropped(&drive);
    for task in &vus.tasks {
        task.abort();
    }
    for task in vus.tasks {
        let _ = task.await;
    }
    // Starts that were given to a VU that never got to begin them.
    let given = vus.desks.iter().filter(|desk| desk.next.take().is_some()).count();
    drive.shard.borrow_mut().unsent(drive.scenario, given as u64);
    drive.shard.borrow_mut().vus(drive.scenario, 0);
}

fn pool_of(executor: &Executor) -> Option<VuPool> {
    match executor {
        Executor::ConstantArrivalRate { vus, .. } | Executor::RampingArrivalRate { vus, .. } => Some(*vus),
        Executor::ConstantVus { .. }
        | Executor::RampingVus { .. }
        | Executor::PerVuIterations { .. }
        | Executor::SharedIterations { .. } => None,
    }
}

/// Issues every start of this part when it is due; returns the first number (within this part) that was not issued.
async fn issue_all<W: Workload>(vus: &mut Vus<W>, end: Instant) -> u64 {
    let mut local = 0;
    let drive = vus.drive.clone();
    while let Some(offset) = vus.shared.starts.start_of(drive.part.number(local)) {
        let due = vus.shared.begin + offset;
        let now = Instant::now();
        if drive.stop.is_cancelled() || now > end + LATE {
            break;
        }
        if due > now {
            tokio::select! {
                () = sleep_until(due) => {}
                () = drive.stop.cancelled() => break,
            }
            continue;
        }
        vus.start(local, Iteration { number: drive.part.number(local), intended: due });
        local += 1;
        if local % 64 == 0 {
            // A generator that is behind must still let its VUs run.
            tokio::task::yield_now().await;
        }
    }
    local
}

/// Starts that were due by now (or by the end) and were not issued.
fn count_unsent(shared: &Shared, drive: &Drive, first: u64, end: Instant) {
    let until = Instant::now().min(end);
    let mut unsent = 0;
    while shared.starts.start_of(drive.part.number(first + unsent)).is_some_and(|offset| shared.begin + offset <= until) {
        unsent += 1;
    }
    let mut shard = drive.shard.borrow_mut();
    shard.scheduled(drive.scenario, unsent);
    shard.unsent(drive.scenario, unsent);
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
    fn start(&mut self, local: u64, iteration: Iteration) {
        let scenario = self.drive.scenario;
        self.drive.shard.borrow_mut().scheduled(scenario, 1);
        let free = self.shared.idle.borrow_mut().pop();
        let desk = match free {
            Some(desk) => desk,
            None if (self.tasks.len() as u64) < self.max => self.make(),
            None => {
                self.drive.shard.borrow_mut().dropped(scenario, 1);
                let first = self.shared.dropped.get().map_or(local, |(first, _)| first);
                self.shared.dropped.set(Some((first, local)));
                return;
            }
        };
        self.shared.busy.set(self.shared.busy.get() + 1);
        desk.next.set(Some(iteration));
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
        let Some((first, last)) = self.dropped.take() else { return };
        let now = Instant::now();
        let mut shard = drive.shard.borrow_mut();
        for local in first..=last {
            if let Some(offset) = self.starts.start_of(drive.part.number(local)) {
                shard.dropped_wait(drive.scenario, now.saturating_duration_since(self.begin + offset));
            }
        }
    }
}
