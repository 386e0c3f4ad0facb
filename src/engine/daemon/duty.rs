//! What changes for the daemon when it comes in charge of the database, and when another one does: who stands by plans nothing, reads
//! no probes and starts nothing. Coming in charge is like a start: what passed meanwhile is recorded, or made up for.

use super::Daemon;
use crate::engine::duty::Duty;
use crate::engine::handle::Refusal;
use crate::engine::prober::Prober;
use crate::model::control::Standstill;

impl Daemon {
    /// Takes up the work, or lays it down. `first` at the start of the process.
    pub(super) async fn follow_duty(&mut self, first: bool) {
        let Duty { in_charge, stopped, held, .. } = self.parts.duty.borrow_and_update().clone();
        self.hear_of_hold(held);
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

    /// Follows what is held in the database: somebody may have changed it past this daemon. Only a change there counts, because what
    /// this one was told itself is on its way there.
    fn hear_of_hold(&mut self, held: Option<Standstill>) {
        if held == self.held {
            return;
        }
        let before = std::mem::replace(&mut self.held, held);
        match &self.held {
            Some(standstill) if self.standstill.as_ref() != Some(standstill) => {
                tracing::warn!("{standstill}");
                self.standstill.clone_from(&self.held);
            }
            None if self.standstill.is_some() && self.standstill == before => {
                tracing::warn!("load may start again: the database holds nothing any more");
                self.standstill = None;
            }
            Some(_) | None => {}
        }
    }

    /// Why nothing is started here at present.
    pub(super) fn standing_by(&self) -> Option<Refusal> {
        self.parts.duty.borrow().standing_by().map(Refusal::NotNow)
    }
}
