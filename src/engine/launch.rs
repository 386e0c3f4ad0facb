//! The start of a run, away from the event loop: asks the target for its version, writes the run's first row, records what became of
//! the instant, answers whoever asked, and only then lets the load begin. What cannot be stored is not loaded.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::catalog::catalog_of;
use super::handle::Refusal;
use super::runner::{Order, RunnerParts, execute};
use crate::model::profile::Profile;
use crate::model::run::{Run, RunId, RunStatus, Trigger};
use crate::model::schedule::{Tick, TickOutcome};
use crate::model::units::Timestamp;
use crate::probe::{ProbeParts, version};
use crate::store::Store;

/// The row of a run that begins.
pub(super) fn new_run(profile: &Profile, id: RunId, trigger: Trigger, now: Timestamp) -> Run {
    Run {
        id,
        profile: profile.name.clone(),
        target: profile.target.clone(),
        trigger,
        digest: profile.digest.clone(),
        target_version: None,
        started_at: now,
        ended_at: None,
        status: RunStatus::Running,
        ended_by: None,
        verdict: None,
        reasons: profile.notes.clone(),
        catalog: catalog_of(profile),
        summary: None,
        thresholds: Vec::new(),
    }
}

/// The part of a start that talks to the store and the target, away from the loop.
pub(super) struct Launch {
    pub(super) store: Arc<dyn Store>,
    pub(super) probe: ProbeParts,
    pub(super) runner: RunnerParts,
    pub(super) tick: Option<(String, Timestamp)>,
    pub(super) why: String,
    pub(super) answer: Option<oneshot::Sender<Result<RunId, Refusal>>>,
}

impl Launch {
    /// Stores the row of the run, records the instant, answers whoever asked, and executes the run; `None` when it could not be stored.
    pub(super) async fn run(self, mut order: Order) -> Option<Run> {
        order.run.target_version = version::ask(&self.probe, &order.target.target).await;
        // The question may have taken seconds: offset 0 of the series is now.
        order.run.started_at = self.runner.clock.now();
        let stored = self.store.start_run(&order.run).await;
        let id = order.run.id.clone();
        let (outcome, reason, run) = match &stored {
            Ok(()) => (TickOutcome::Started, self.why.clone(), Some(id.clone())),
            Err(error) => (TickOutcome::Refused, format!("the run could not be stored, so nothing was loaded: {error}"), None),
        };
        if let Some((schedule, due)) = &self.tick {
            let tick = Tick {
                schedule: schedule.clone(),
                profile: order.run.profile.clone(),
                due: *due,
                decided: self.runner.clock.now(),
                outcome,
                reason: reason.clone(),
                run,
            };
            self.runner.writer.tick(tick);
        }
        if let Some(answer) = self.answer {
            // Whoever asked may have gone.
            let _ = answer.send(stored.as_ref().map(|()| id).map_err(|_| Refusal::NotNow(reason.clone())));
        }
        if let Err(error) = stored {
            self.runner.metrics.storage_error("start_run");
            tracing::error!(%error, profile = order.run.profile, "a run could not be stored, so nothing was loaded");
            return None;
        }
        Some(execute(order, self.runner).await)
    }
}
