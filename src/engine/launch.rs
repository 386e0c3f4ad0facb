//! The start of a run, away from the event loop: asks the target for its version, writes the run's first row, records what became of
//! the instant, answers whoever asked, and only then lets the load begin. What cannot be stored is not loaded.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::catalog::catalog_of;
use super::ground::{Laid, lay};
use super::handle::Refusal;
use super::history::compare::run_before;
use super::runner::{Order, RunNews, RunnerParts, TickNews, execute};
use crate::model::profile::{Profile, Target};
use crate::model::run::{Run, RunId, RunStatus, Trigger};
use crate::model::schedule::{Tick, TickOutcome};
use crate::model::units::Timestamp;
use crate::probe::{ProbeParts, version};
use crate::protocol::dial::Dialer;
use crate::protocol::dns::Dns;
use crate::protocol::guard::Guard;
use crate::protocol::tls::Tls;
use crate::store::{Store, StoreError};

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
        controls: Vec::new(),
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

/// What opens connections to a target; `Err` says what of its settings cannot be used.
fn dialer(target: &Target) -> Result<Dialer, String> {
    let guard = Arc::new(Guard::new(&target.allow, target.base_url.as_ref()));
    Ok(Dialer::new(guard, Tls::new(&target.tls)?, Dns::default()))
}

impl Launch {
    /// Lays the ground, unless the run is ended meanwhile. Offset 0 of the series is when that is done.
    async fn lay(&self, order: &mut Order) -> Result<Laid, String> {
        let dialer = dialer(&order.target.target)?;
        let mut end = order.end.clone();
        let ended = async {
            // A sender that is gone asks for nothing.
            if end.wait_for(Option::is_some).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let began = self.runner.clock.now();
        let laid = tokio::select! {
            laid = lay(&order.profile, (dialer, order.target.target.limits.rate), order.seed, self.runner.clock.clone()) => laid?,
            () = ended => return Err("the run was ended during its setup".into()),
        };
        let now = self.runner.clock.now();
        if now != began && (!laid.notes.is_empty() || !order.profile.tokens.is_empty()) {
            match self.store.load_begins(&order.run.id, now).await {
                Ok(()) => order.run.started_at = now,
                Err(error) => tracing::warn!(run_id = %order.run.id, %error, "the series of the run begin with its setup"),
            }
        }
        Ok(laid)
    }

    fn record(&self, run: &Run, schedule: &str, due: Timestamp, outcome: TickOutcome, reason: String, started: Option<RunId>) -> Tick {
        let (schedule, profile) = (schedule.to_owned(), run.profile.clone());
        Tick { schedule, profile, due, decided: self.runner.clock.now(), outcome, reason, run: started }
    }

    /// Stores the row of the run, records the instant, answers whoever asked, and executes the run; `None` when it could not be stored.
    pub(super) async fn run(mut self, mut order: Order) -> Option<Run> {
        order.run.target_version = version::ask(&self.probe, &order.target.target).await;
        // The question may have taken seconds: offset 0 of the series is now.
        order.run.started_at = self.runner.clock.now();
        let id = order.run.id.clone();
        let stored = match &self.tick {
            None => self.store.start_run(&order.run).await,
            Some((schedule, due)) => {
                let tick = self.record(&order.run, schedule, *due, TickOutcome::Started, self.why.clone(), Some(id.clone()));
                self.store.start_due(&order.run, &tick).await
            }
        };
        if let (Some((schedule, due)), Err(StoreError::Duplicate(_))) = (&self.tick, &stored) {
            tracing::info!(schedule, %due, "another daemon has started the run of this instant");
            return None;
        }
        if let (Some((schedule, due)), Err(StoreError::NotInCharge)) = (&self.tick, &stored) {
            // This process was held up; who is in charge since decides what becomes of the instant.
            tracing::info!(schedule, %due, "another daemon is in charge by now, and this instant is its own");
            return None;
        }
        let (outcome, reason, run) = match &stored {
            Ok(()) => (TickOutcome::Started, self.why.clone(), Some(id.clone())),
            Err(error) => (TickOutcome::Refused, format!("the run could not be stored, so nothing was loaded: {error}"), None),
        };
        if let Some((schedule, due)) = &self.tick {
            self.runner.writer.tick(self.record(&order.run, schedule, *due, outcome, reason.clone(), run));
        }
        if let Some(answer) = self.answer.take() {
            // Whoever asked may have gone.
            let _ = answer.send(stored.as_ref().map(|()| id).map_err(|_| Refusal::NotNow(reason.clone())));
        }
        if let Err(error) = stored {
            self.runner.metrics.storage_error("start_run");
            tracing::error!(%error, profile = order.run.profile, "a run could not be stored, so nothing was loaded");
            if let Some((schedule, _)) = &self.tick {
                let (schedule, profile, target) = (schedule.clone(), order.run.profile.clone(), order.run.target.clone());
                let news = RunNews::Missed(TickNews { schedule, profile, target, count: 1, reason });
                // Alerting ends before the daemon only when everything does.
                let _ = self.runner.news.send(news).await;
            }
            return None;
        }
        let before = run_before(&*self.store, &order.run).await.map(Arc::new);
        let laid = self.lay(&mut order).await;
        Some(execute(order, laid, before, self.runner).await)
    }
}
