//! What changes for the daemon when it comes in charge of the database, and when another one does: who stands by plans nothing, reads
//! no probes and starts nothing. Coming in charge is like a start: what passed meanwhile is recorded, or made up for.

use super::Daemon;
use crate::engine::duty::Duty;
use crate::engine::handle::Refusal;
use crate::engine::prober::Prober;

impl Daemon {
    /// Takes up the work, or lays it down. `first` at the start of the process.
    pub(super) async fn follow_duty(&mut self, first: bool) {
        let Duty { in_charge, stopped, .. } = self.parts.duty.borrow_and_update().clone();
        self.hear_of_stop(stopped);
        if in_charge == self.in_charge {
            return;
        }
        self.in_charge = in_charge;
        if in_charge {
            self.prober = Some(Prober::start(self.setup.targets.values(), &self.parts.prober));
            self.plan_after_start(first).await;
        } else {
            // Runs that are going on go on: they belong to this process until they end.
            self.prober = None;
            self.planned.clear();
            self.queue.clear();
        }
    }

    /// Why nothing is started here at present.
    pub(super) fn standing_by(&self) -> Option<Refusal> {
        self.parts.duty.borrow().standing_by().map(Refusal::NotNow)
    }
}
