//! What people ask of the daemon: start, cancel, steer, stop everything, read the configuration again. Each gets an answer at once;
//! steering is answered by the run itself.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::super::admission::Waiting;
use super::super::alerting::AlertWish;
use super::super::findings::{NotAnalysed, analyse};
use super::super::handle::{Command, Refusal};
use super::super::history::historian::RERUN;
use super::super::kill_switch::going_on;
use super::super::prober::Prober;
use super::super::reload::{same_instants, say_what_needs_a_restart};
use super::super::runner::{EndRequest, RunNews};
use super::super::steer::Steer;
use super::super::upkeep;
use super::Daemon;
use crate::model::audit::Deed;
use crate::model::control::{Action, ControlEntry, Standstill};
use crate::model::retention::Pin;
use crate::model::run::{EndedBy, RunId, Trigger};
use crate::model::schedule::{Schedule, TickOutcome};
use crate::model::units::Timestamp;
use crate::store::{Store, StoreResult};

/// Runs that are analysed again at one time.
const MOST_CHORES: usize = 2;
/// Things that people told and that are on their way to the database at one time.
const MOST_WISHES: usize = 32;
/// How long they wait for that.
const WISH_PATIENCE: Duration = Duration::from_secs(15);
/// How long the answer to a kill switch waits for its record: a database that hangs is given up for the spool sooner.
const KEPT_WITHIN: Duration = Duration::from_secs(3);

impl Daemon {
    pub(super) fn command(&mut self, command: Command) {
        match command {
            // Whoever asked may have gone; the deed is done all the same.
            Command::Start(profile, trigger, answer) => self.start_by_command(profile, trigger, answer),
            Command::Cancel(id, by, answer) => {
                let found = self.cancel(&id, &by, &format!("cancelled by {by}"));
                let _ = answer.send(if found { Ok(()) } else { Err(not_going_on(&id)) });
            }
            Command::Control(id, steer, answer) => self.control(&id, steer, answer),
            Command::StopAll(by, hold, answer) => {
                let stopped = self.standing_by().map_or_else(|| Ok(self.stop_all(&by, hold)), Err);
                self.answer_stop(answer, stopped);
            }
            Command::Resume(by, answer) => {
                let resumed = self.standing_by().map_or_else(|| self.resume(&by), Err);
                self.answer_when_kept(answer, resumed);
            }
            Command::Analyse(id, answer) => self.analyse(id, answer),
            Command::Rerun(profile, after, answer) => {
                let _ = answer.send(self.rerun(profile, &after));
            }
            Command::Suite(suite, trigger, answer) => {
                let _ = answer.send(self.run_suite(&suite, &trigger));
            }
            Command::Deploy(deploy, answer) => {
                if self.setup.targets.contains_key(&deploy.target) {
                    self.store_wish("record_deploy", answer, move |store| async move { store.record_deploy(&deploy).await });
                } else {
                    let _ = answer.send(Err(Refusal::Unknown(format!("there is no target `{}`", deploy.target))));
                }
            }
            Command::Pin(profile, pinned, answer) => self.store_wish("pin_baseline", answer, move |store| async move {
                match &pinned {
                    Some(pinned) => store.pin_baseline(pinned).await,
                    None => store.unpin_baseline(&profile).await.map(drop),
                }
            }),
            Command::Keep(id, pin, answer) => self.keep(id, pin, answer),
            Command::Alerting(wish) => match self.standing_by() {
                Some(refusal) => wish.refuse(refusal),
                None => self.hand_on(wish),
            },
            Command::Reload(answer) => {
                let _ = answer.send(self.reload());
            }
            Command::Note(deed) => self.note(*deed),
        }
    }

    /// Remembers what somebody asked for, in the log and in the database.
    fn note(&self, deed: Deed) {
        let deed = Deed { at: self.parts.clock.now(), ..deed };
        let (by, what, object, detail, refused) = (&deed.by, deed.what.as_str(), &deed.object, &deed.detail, deed.refused.as_deref());
        tracing::info!(target: "plimsoll::audit", by, what, object, detail, refused, "somebody asked for something");
        self.parts.writer.deed(deed);
    }

    /// Hands a wish on to alerting, which answers it.
    fn hand_on(&self, wish: AlertWish) {
        if let Err(refused) = self.parts.runner.news.try_send(RunNews::Asked(wish))
            && let RunNews::Asked(wish) = refused.into_inner()
        {
            wish.refuse(Refusal::NotNow("alerting is busy; try again in a moment".into()));
        }
    }

    /// Analyses a stored run again, beside everything else.
    fn analyse(&mut self, id: RunId, answer: oneshot::Sender<Result<usize, Refusal>>) {
        if self.chores.len() >= MOST_CHORES {
            let _ = answer.send(Err(Refusal::NotNow("other runs are being analysed; try again in a moment".into())));
            return;
        }
        let (store, now) = (self.parts.store.clone(), self.parts.clock.now());
        self.chores.spawn(async move {
            let outcome = match store.run(&id.0).await {
                Ok(Some(run)) => match analyse(store.as_ref(), &run, now).await {
                    Ok((_, looked)) => Ok(looked.findings.len()),
                    Err(NotAnalysed::Store(error)) => Err(Refusal::NotNow(error.to_string())),
                    Err(error @ (NotAnalysed::GoingOn(_) | NotAnalysed::Nothing(_))) => Err(Refusal::NotNow(error.to_string())),
                },
                Ok(None) => Err(Refusal::Unknown(format!("there is no run `{id}`"))),
                Err(error) => Err(Refusal::NotNow(error.to_string())),
            };
            // Whoever asked may have gone; the deed is done all the same.
            let _ = answer.send(outcome);
        });
    }

    /// Writes something that somebody told, beside everything else; they hear of it when it is in the database, or that it is not.
    fn store_wish<F>(
        &mut self,
        operation: &'static str,
        answer: oneshot::Sender<Result<(), Refusal>>,
        write: impl FnOnce(Arc<dyn Store>) -> F,
    ) where
        F: Future<Output = StoreResult<()>> + Send + 'static,
    {
        if self.chores.len() >= MOST_WISHES {
            let _ = answer.send(Err(Refusal::Storage("too much waits for the database; try again in a moment".into())));
            return;
        }
        let (written, metrics) = (write(self.parts.store.clone()), self.parts.metrics.clone());
        self.chores.spawn(async move {
            let outcome = match timeout(WISH_PATIENCE, written).await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) if error.is_passing() => Err(Refusal::Storage(format!("nothing was stored, try again later: {error}"))),
                Ok(Err(error)) => Err(Refusal::NotNow(format!("nothing was stored: {error}"))),
                Err(_) => {
                    Err(Refusal::Storage(format!("the database did not answer within {} s; try again later", WISH_PATIENCE.as_secs())))
                }
            };
            if outcome.is_err() {
                metrics.storage_error(operation);
            }
            // Whoever asked may have gone; the deed is done all the same.
            let _ = answer.send(outcome);
        });
    }

    /// Answers once what was done is in the database, or in the spool while that is away: a process that is killed then knows it again.
    fn answer_when_kept<T: Send + 'static>(&mut self, answer: oneshot::Sender<Result<T, Refusal>>, done: Result<T, Refusal>) {
        let writer = self.parts.writer.clone();
        self.chores.spawn(async move {
            if done.is_ok() && !writer.flush(KEPT_WITHIN).await {
                tracing::error!("it is not stored yet whether all load stands still");
            }
            // Whoever asked may have gone; the deed is done all the same.
            let _ = answer.send(done);
        });
    }

    /// The same for the kill switch, with the runs of other processes, which end as soon as these see it.
    fn answer_stop(&mut self, answer: oneshot::Sender<Result<Vec<RunId>, Refusal>>, mut done: Result<Vec<RunId>, Refusal>) {
        let (writer, store) = (self.parts.writer.clone(), self.parts.store.clone());
        self.chores.spawn(async move {
            if let Ok(stopped) = &mut done {
                if !writer.flush(KEPT_WITHIN).await {
                    tracing::error!("it is not stored yet that everything was stopped: other processes do not know");
                }
                match timeout(KEPT_WITHIN, going_on(&*store)).await {
                    Ok(Ok(others)) => stopped.extend(others.into_iter().filter(|id| !stopped.contains(id)).collect::<Vec<_>>()),
                    Ok(Err(_)) | Err(_) => tracing::warn!("it is not known what other processes were running"),
                }
            }
            // Whoever asked may have gone; the deed is done all the same.
            let _ = answer.send(done);
        });
    }

    /// Keeps a stored run, or no longer, beside everything else.
    fn keep(&mut self, id: RunId, pin: Option<Pin>, answer: oneshot::Sender<Result<(), Refusal>>) {
        if self.chores.len() >= MOST_CHORES {
            let _ = answer.send(Err(Refusal::NotNow("other runs are being looked at; try again in a moment".into())));
            return;
        }
        let store = self.parts.store.clone();
        self.chores.spawn(async move {
            let outcome = match upkeep::pin(store.as_ref(), &id, pin).await {
                Ok(true) => Ok(()),
                Ok(false) => Err(Refusal::Unknown(format!("there is no run `{id}`"))),
                Err(error) => Err(Refusal::NotNow(error.to_string())),
            };
            // Whoever asked may have gone; the deed is done all the same.
            let _ = answer.send(outcome);
        });
    }

    fn start_by_command(&mut self, profile: String, trigger: Trigger, answer: oneshot::Sender<Result<RunId, Refusal>>) {
        let refusal = match (self.setup.profiles.get(&profile), &self.standstill) {
            (None, _) => Some(Refusal::Unknown(format!("there is no profile `{profile}`"))),
            (Some(_), _) if !self.in_charge => self.standing_by(),
            (Some(_), _) if self.stopping => Some(Refusal::NotNow("the daemon is stopping".into())),
            (Some(_), Some(standstill)) => Some(Refusal::NotNow(standstill.to_string())),
            (Some(found), None) => self
                .loading(&found.target)
                .map(|running| Refusal::NotNow(format!("run {} is loading target `{}`; cancel it or wait", running.id, found.target))),
        };
        match refusal {
            Some(refusal) => {
                let _ = answer.send(Err(refusal));
            }
            None => self.start(Waiting { profile, trigger, tick: None, why: "on request".into(), not_before: None }, Some(answer)),
        }
    }

    /// Lets a profile run once more as soon as its target is free; what the profile waits for already is enough.
    fn rerun(&mut self, profile: String, after: &RunId) -> Result<(), Refusal> {
        if !self.setup.profiles.contains_key(&profile) {
            return Err(Refusal::Unknown(format!("there is no profile `{profile}`")));
        }
        if self.stopping {
            return Err(Refusal::NotNow("the daemon is stopping".into()));
        }
        if let Some(standstill) = &self.standstill {
            return Err(Refusal::NotNow(standstill.to_string()));
        }
        if self.queue.iter().any(|waiting| waiting.profile == profile) {
            return Err(Refusal::NotNow(format!("`{profile}` waits for its target already")));
        }
        let trigger = Trigger { by: RERUN.into(), name: Some(after.0.clone()) };
        let why = format!("run {after} lies apart from its history");
        self.queue.push_back(Waiting { profile, trigger, tick: None, why, not_before: None });
        self.start_waiting();
        Ok(())
    }

    /// Lets each profile of a suite run as soon as its target is free; what waits for its turn already is enough.
    fn run_suite(&mut self, suite: &str, trigger: &Trigger) -> Result<Vec<String>, Refusal> {
        let Some(found) = self.setup.suites.get(suite) else {
            return Err(Refusal::Unknown(format!("there is no suite `{suite}`")));
        };
        if let Some(refusal) = self.standing_by().filter(|_| !self.in_charge) {
            return Err(refusal);
        }
        if self.stopping {
            return Err(Refusal::NotNow("the daemon is stopping".into()));
        }
        if let Some(standstill) = &self.standstill {
            return Err(Refusal::NotNow(standstill.to_string()));
        }
        let profiles = found.profiles();
        for profile in &profiles {
            if !self.queue.iter().any(|waiting| waiting.profile == *profile) {
                let why = format!("part of suite `{suite}`");
                let (profile, trigger) = (profile.clone(), trigger.clone());
                self.queue.push_back(Waiting { profile, trigger, tick: None, why, not_before: None });
            }
        }
        self.start_waiting();
        Ok(profiles)
    }

    /// Ends a run early; `why` stands among its reasons.
    pub(super) fn cancel(&mut self, id: &RunId, by: &str, why: &str) -> bool {
        let Some(running) = self.running.values().find(|running| running.id == *id) else { return false };
        let request = EndRequest { by: EndedBy::Cancelled, who: why.into(), drain: Duration::ZERO, asked_by: Some(by.into()) };
        running.end.send_replace(Some(request));
        true
    }

    /// Hands a wish on to the run, which answers it.
    fn control(&mut self, id: &RunId, steer: Steer, answer: oneshot::Sender<Result<ControlEntry, Refusal>>) {
        let Some(running) = self.running.values().find(|running| running.id == *id) else {
            let _ = answer.send(Err(not_going_on(id)));
            return;
        };
        if steer.action == Action::Stop {
            let at = self.parts.clock.now();
            let second = at.since(running.started_at).as_secs_f64();
            let entry = ControlEntry { at, second, by: steer.by.clone(), action: Action::Stop, scale: None, scenario: None };
            self.cancel(id, &steer.by, &format!("stopped by {}", steer.by));
            let _ = answer.send(Ok(entry));
            return;
        }
        if let Err(refused) = running.steers.try_send((steer, answer)) {
            let (_, answer) = refused.into_inner();
            let _ = answer.send(Err(Refusal::NotNow(format!("run {id} does not listen at present"))));
        }
    }

    /// The kill switch: ends every run, forgets what waits, and with `hold` lets nothing start.
    fn stop_all(&mut self, by: &str, hold: bool) -> Vec<RunId> {
        let now = self.parts.clock.now();
        let running: Vec<RunId> = self.running.values().map(|running| running.id.clone()).collect();
        tracing::warn!(by, hold, runs = running.len(), "everything is stopped");
        for id in &running {
            self.cancel(id, by, &format!("everything was stopped by {by}"));
        }
        self.forget_waiting(by, now);
        if hold {
            self.standstill = Some(Standstill { at: now, by: by.into() });
            self.parts.writer.standstill(self.standstill.clone());
        }
        let stop = Standstill { at: now, by: by.into() };
        self.last_stop = Some(stop.clone());
        self.parts.writer.stop(stop);
        running
    }

    fn forget_waiting(&mut self, by: &str, now: Timestamp) {
        for waiting in std::mem::take(&mut self.queue) {
            self.record_waiting(&waiting, TickOutcome::Skipped, &format!("everything was stopped by {by} while it waited"), now);
        }
    }

    /// Ends every run when another process of this database was told to stop everything, or somebody wrote so past all daemons; what
    /// this one was told is done already.
    pub(super) fn hear_of_stop(&mut self, stop: Option<Standstill>) {
        let Some(stop) = stop.filter(|stop| self.last_stop.as_ref() != Some(stop)) else { return };
        let by = stop.by.clone();
        self.last_stop = Some(stop);
        let running: Vec<RunId> = self.running.values().map(|running| running.id.clone()).collect();
        tracing::warn!(by, runs = running.len(), "everything was stopped by way of another process");
        for id in &running {
            self.cancel(id, &by, &format!("everything was stopped by {by}"));
        }
        self.forget_waiting(&by, self.parts.clock.now());
    }

    fn resume(&mut self, by: &str) -> Result<(), Refusal> {
        if self.standstill.take().is_none() {
            return Err(Refusal::NotNow("nothing is held: schedules run as ever".into()));
        }
        tracing::warn!(by, "load may start again");
        self.parts.writer.standstill(None);
        Ok(())
    }

    /// Reads the configuration again; running runs keep the profile they began with.
    fn reload(&mut self) -> Result<(), Refusal> {
        let now = self.parts.clock.now();
        match (self.parts.loader)() {
            Ok(setup) => {
                let before = std::mem::replace(&mut self.setup, Arc::new(setup));
                say_what_needs_a_restart(&before, &self.setup);
                self.setup.seed(&self.parts.metrics);
                self.parts.setup.send_replace(self.setup.clone());
                self.prober = self.in_charge.then(|| Prober::start(self.setup.targets.values(), &self.parts.prober));
                // An instant that is due already and waits for its jitter, or for the next tick, is not forgotten.
                let same = |name: &String| before.schedules.get(name).zip(self.setup.schedules.get(name)).is_some_and(same_instants);
                self.planned.retain(|name, _| same(name));
                let schedules: Vec<Schedule> = self.setup.schedules.values().cloned().collect();
                for schedule in &schedules {
                    if self.in_charge && !self.planned.contains_key(&schedule.name) {
                        self.plan(schedule, now);
                    }
                }
                self.parts.metrics.config_reload(true, now);
                self.last_reload = Some((now, None));
                tracing::info!("the configuration was read again");
                Ok(())
            }
            Err(error) => {
                tracing::error!(error, "the configuration is invalid; the last good one stays in force");
                self.parts.metrics.config_reload(false, now);
                self.last_reload = Some((now, Some(error.clone())));
                Err(Refusal::BadConfiguration(error))
            }
        }
    }
}

fn not_going_on(id: &RunId) -> Refusal {
    Refusal::Unknown(format!("run {id} is not going on"))
}
