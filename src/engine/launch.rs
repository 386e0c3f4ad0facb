//! The start of a run, away from the event loop: asks the target for its version, writes the run's first row, records what became of
//! the instant, answers whoever asked, and only then lets the load begin. What cannot be stored is not loaded.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::admission::Waiting;
use super::catalog::catalog_of;
use super::ground::{Laid, lay};
use super::handle::Refusal;
use super::history::compare::run_before;
use super::leases::{Leases, place_of};
use super::runner::{Order, RunNews, RunnerParts, TickNews, execute};
use super::setup::TargetSetup;
use crate::model::catalog::Catalog;
use crate::model::profile::Profile;
use crate::model::run::{Run, RunId, RunStatus, Trigger};
use crate::model::schedule::{Tick, TickOutcome};
use crate::model::units::Timestamp;
use crate::probe::{ProbeParts, version};
use crate::protocol::dial::Dialer;
use crate::protocol::dns::Dns;
use crate::protocol::guard::Guard;
use crate::protocol::tls::Tls;
use crate::store::{Store, StoreError};

/// The row of a run that begins, with the seed of its random values.
pub(super) fn new_run(profile: &Profile, id: RunId, trigger: Trigger, now: Timestamp, seed: u64) -> Run {
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
        catalog: Catalog { seed: Some(seed), ..catalog_of(profile) },
        summary: None,
        thresholds: Vec::new(),
        controls: Vec::new(),
    }
}

/// What became of a start.
pub(super) enum Launched {
    /// The run, which has ended.
    Ran(Box<Run>),
    /// Nothing was started, and nothing is left to do.
    Nothing,
    /// Another process loads the target, as the sentence says.
    Busy(Box<Waiting>, String),
}

/// The part of a start that talks to the store and the target, away from the loop.
pub(super) struct Launch {
    pub(super) store: Arc<dyn Store>,
    pub(super) leases: Arc<Leases>,
    pub(super) probe: ProbeParts,
    pub(super) runner: RunnerParts,
    pub(super) tick: Option<(String, Timestamp)>,
    pub(super) why: String,
    pub(super) answer: Option<oneshot::Sender<Result<RunId, Refusal>>>,
}

/// How long a host of production may take to be looked up.
const LOOKUP: Duration = Duration::from_secs(5);

/// What opens connections to a target; `Err` says what of its settings cannot be used, or that it is production by another name. What the
/// hosts of production targets resolve to now is not loaded without the profile's opt-in, whatever name leads there later.
async fn dialer(setup: &TargetSetup, allow_production: bool, dns: Dns) -> Result<Dialer, String> {
    let target = &setup.target;
    let mut guard = Guard::new(&target.allow, target.base_url.as_ref());
    if !allow_production {
        for production in &setup.production {
            let Some((host, port)) = parts_of(&production.host) else { continue };
            let what =
                format!("an address of the production target `{}`, and the profile has no `allow_production: true`", production.target);
            for address in look_up(&dns, &host).await {
                guard.deny(address, port, &what);
            }
        }
        // Said before any load; what changes afterwards is blocked request by request.
        for host in if setup.production.is_empty() { Vec::new() } else { target.hosts() } {
            let Some((name, port)) = parts_of(&host) else { continue };
            let denied = look_up(&dns, &name).await.into_iter().find_map(|address| Some((address, guard.refuses(address, port)?)));
            if let Some((address, why)) = denied {
                return Err(format!("{host} leads to {address}, which is not loaded: {why}"));
            }
        }
    }
    Ok(Dialer::new(Arc::new(guard), Tls::new(&target.tls)?, dns))
}

/// Host without brackets, and port.
fn parts_of(host: &str) -> Option<(String, u16)> {
    let (name, port) = host.rsplit_once(':')?;
    Some((name.trim_matches(['[', ']']).to_owned(), port.parse().ok()?))
}

/// The addresses of a host now; none when it cannot be looked up.
async fn look_up(dns: &Dns, host: &str) -> Vec<IpAddr> {
    if let Ok(address) = host.parse() {
        return vec![address];
    }
    match tokio::time::timeout(LOOKUP, dns.resolve(host, Duration::ZERO)).await {
        Ok(Ok(addresses)) => addresses,
        Ok(Err(error)) => {
            tracing::warn!(host, %error, "where this host leads is not known");
            Vec::new()
        }
        Err(_) => {
            tracing::warn!(host, "where this host leads is not known: no answer");
            Vec::new()
        }
    }
}

impl Launch {
    /// Lays the ground, unless the run is ended meanwhile. Offset 0 of the series is when that is done.
    async fn lay(&self, order: &mut Order) -> Result<Laid, String> {
        let dialer = dialer(&order.target, order.profile.allow_production, Dns::default()).await?;
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

    /// Takes the target for this process, stores the row of the run, records the instant, answers whoever asked, and executes the run.
    pub(super) async fn run(mut self, order: Order) -> Launched {
        let (leases, place) = (self.leases.clone(), place_of(&order.target.target));
        match leases.take(&order.target.target).await {
            Ok(None) => {
                let ran = Box::pin(self.with_lease(order)).await;
                leases.give_back(&place).await;
                ran.map_or(Launched::Nothing, |run| Launched::Ran(Box::new(run)))
            }
            Ok(Some(who)) => self.busy(&order, who),
            // What cannot be asked for cannot be stored either: that path tells everybody.
            Err(error) => {
                self.not_stored(&order.run, &error).await;
                Launched::Nothing
            }
        }
    }

    /// The target is loaded by another process: whoever asked is told, a schedule decides by its policy.
    fn busy(&mut self, order: &Order, who: String) -> Launched {
        if let Some(answer) = self.answer.take() {
            let hint = "wait until it has ended, or end it (Ctrl-C there, or `plimsoll stop` when a daemon runs it)";
            // Whoever asked may have gone.
            let _ = answer.send(Err(Refusal::NotNow(format!("{who}, and its limits hold for one process at a time; {hint}"))));
            return Launched::Nothing;
        }
        if order.end.borrow().is_some() {
            return Launched::Nothing;
        }
        let (profile, trigger) = (order.run.profile.clone(), order.run.trigger.clone());
        let waiting = Waiting { profile, trigger, tick: self.tick.take(), why: std::mem::take(&mut self.why), not_before: None };
        Launched::Busy(Box::new(waiting), who)
    }

    /// The run could not be stored, so nothing is loaded: the instant is refused, whoever asked and alerting are told.
    async fn not_stored(&mut self, run: &Run, error: &StoreError) {
        let reason = format!("the run could not be stored, so nothing was loaded: {error}");
        if let Some((schedule, due)) = &self.tick {
            self.runner.writer.tick(self.record(run, schedule, *due, TickOutcome::Refused, reason.clone(), None));
        }
        if let Some(answer) = self.answer.take() {
            // Whoever asked may have gone.
            let _ = answer.send(Err(Refusal::NotNow(reason.clone())));
        }
        self.runner.metrics.storage_error("start_run");
        tracing::error!(%error, profile = run.profile, "a run could not be stored, so nothing was loaded");
        if let Some((schedule, _)) = &self.tick {
            let (schedule, profile, target) = (schedule.clone(), run.profile.clone(), run.target.clone());
            let news = RunNews::Missed(TickNews { schedule, profile, target, count: 1, reason });
            // Alerting ends before the daemon only when everything does.
            let _ = self.runner.news.send(news).await;
        }
    }

    async fn with_lease(mut self, mut order: Order) -> Option<Run> {
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
        if let Err(error) = stored {
            self.not_stored(&order.run, &error).await;
            return None;
        }
        if let Some((schedule, due)) = &self.tick {
            self.runner.writer.tick(self.record(&order.run, schedule, *due, TickOutcome::Started, self.why.clone(), Some(id.clone())));
        }
        if let Some(answer) = self.answer.take() {
            // Whoever asked may have gone.
            let _ = answer.send(Ok(id));
        }
        let before = run_before(&*self.store, &order.run).await.map(Arc::new);
        let laid = self.lay(&mut order).await;
        Some(execute(order, laid, before, self.runner).await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::setup::ProductionHost;
    use crate::model::profile::{Limits, Target};
    use crate::model::request::TlsOptions;

    fn staging() -> TargetSetup {
        let target = Target {
            name: "staging".into(),
            base_url: Some("http://shop.internal:8080".parse().unwrap()),
            environment: "staging".into(),
            allow: Vec::new(),
            limits: Limits::default(),
            version: None,
            tls: TlsOptions::default(),
        };
        let production = vec![ProductionHost { target: "live".into(), host: "shop.example:443".into() }];
        TargetSetup { target, production, probes: Vec::new(), guards: Vec::new(), idle_interval: Duration::from_secs(15) }
    }

    /// `shop.example` leads to 10.0.0.9, `shop.internal` to this address.
    fn names(internal: &'static str) -> Dns {
        Dns::new(Arc::new(move |host| {
            let address = if host == "shop.example" { "10.0.0.9" } else { internal };
            Box::pin(async move { Ok(address.parse().into_iter().collect()) })
        }))
    }

    #[tokio::test]
    async fn a_name_that_leads_to_production_is_not_loaded_without_the_opt_in() {
        let refused = dialer(&staging(), false, names("10.0.0.9")).await.err().unwrap();
        assert!(refused.contains("shop.internal:8080 leads to 10.0.0.9") && refused.contains("`live`"), "{refused}");
        assert!(dialer(&staging(), true, names("10.0.0.9")).await.is_ok());
        assert!(dialer(&staging(), false, names("10.0.0.8")).await.is_ok());
    }

    #[tokio::test]
    async fn production_that_cannot_be_looked_up_stops_nobody() {
        let nowhere = Dns::new(Arc::new(|_| Box::pin(async { Err(std::io::Error::other("no such host")) })));
        assert!(dialer(&staging(), false, nowhere).await.is_ok());
    }
}
