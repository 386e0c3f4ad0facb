//! The task that judges alert rules: hears runs and readings, decides once a second, and stores each decision with its messages in
//! one transaction before anyone is told. A decision that the store does not take is kept and written first when it does.

mod beside;
mod wishes;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::duty::Duty;
use super::fail_point::FailPoint;
use super::handle::Event;
use super::prober::Taken;
use super::runner::RunNews;
use super::setup::Setup;
use super::time_scale;
use super::windows::{SHOWN_FOR, quiet};
use super::writer::WriterView;
use crate::alert::{Alerts, Channel, ITSELF, Instants, Policy, RunContext, StorageWatch, outgoing};
use crate::clock::SharedClock;
use crate::metrics::Metrics;
use crate::model::Labels;
use crate::model::alerting::{AlertInstance, AlertState};
use crate::model::channel::ChannelHealth;
use crate::model::muting::Silence;
use crate::model::schedule::TickOutcome;
use crate::model::series::Point;
use crate::store::{AlertChange, RunFilter, Store, StoreResult};
pub use wishes::AlertWish;

/// Runs of each profile whose verdicts are read at the start.
const RUNS_REMEMBERED: u32 = 50;
/// How often a decision is refused before it is given up, once the refusal is about the decision and not about the database.
const REFUSALS: u32 = 30;

/// What the task works with.
pub struct AlertingParts {
    /// Where decisions are kept.
    pub store: Arc<dyn Store>,
    /// The wall clock.
    pub clock: SharedClock,
    /// For alert states.
    pub metrics: Arc<Metrics>,
    /// For everyone who looks on.
    pub events: broadcast::Sender<Event>,
    /// What runs do.
    pub news: mpsc::Receiver<RunNews>,
    /// What probes read.
    pub readings: mpsc::Receiver<Taken>,
    /// The configuration in force.
    pub setup: watch::Receiver<Arc<Setup>>,
    /// Alerts that are not inactive, for status and pages.
    pub active: watch::Sender<Vec<AlertInstance>>,
    /// Start of the links in messages.
    pub link_base: watch::Receiver<Option<String>>,
    /// How the database takes data.
    pub writer: WriterView,
    /// Whether this daemon is in charge: the others judge nothing.
    pub duty: watch::Receiver<Duty>,
    /// How the channels fare.
    pub channels: watch::Receiver<Vec<ChannelHealth>>,
    /// Where tests let the process die.
    pub fail_point: FailPoint,
}

/// Who is told what, by the configuration.
pub fn policy_of(setup: &Setup) -> Policy {
    let channel =
        |(name, spec): (&String, &crate::notify::ChannelSpec)| Channel { name: name.clone(), send_resolved: spec.settings.send_resolved() };
    Policy {
        routes: setup.routes.clone(),
        channels: setup.channels.iter().map(channel).collect(),
        repeat_interval: setup.repeat_interval,
        inhibit: setup.inhibit.clone(),
    }
}

/// Whether what an alert speaks of is still there: an alert about a probe that was taken away is resolved, not left without data.
fn is_configured(setup: &Setup, labels: &Labels) -> bool {
    if labels.get("target").is_some_and(|name| name == ITSELF) && labels.get("profile").is_some_and(|name| name == ITSELF) {
        return true;
    }
    let target = labels.get("target").map(|name| setup.targets.get(name));
    let probe_gone = |name: &String| target.flatten().is_some_and(|target| target.probes.iter().all(|probe| probe.name != *name));
    !(matches!(target, Some(None))
        || labels.get("probe").is_some_and(probe_gone)
        || labels.get("schedule").is_some_and(|name| !setup.schedules.contains_key(name))
        || labels.get("channel").is_some_and(|name| !setup.channels.contains_key(name))
        || labels.get("profile").is_some_and(|name| !setup.profiles.contains_key(name)))
}

/// Where people read more: the page of the alert's run, or the start page.
fn link_to(base: Option<&str>, instance: &AlertInstance) -> Option<String> {
    let base = base?.trim_end_matches('/');
    Some(instance.run.as_ref().map_or_else(|| format!("{base}/"), |run| format!("{base}/runs/{run}")))
}

/// The state of alerts and the history of verdicts, from the store.
async fn restored(parts: &AlertingParts) -> StoreResult<(Alerts, Vec<Silence>)> {
    let setup = parts.setup.borrow().clone();
    let stored = parts.store.alerts().await?;
    let threads = parts.store.alert_threads().await?;
    let silences = parts.store.silences(parts.clock.now().minus(SHOWN_FOR)).await?;
    let mut alerts = Alerts::new(setup.rules.clone(), stored, policy_of(&setup)).with_threads(threads);
    // By profile: a profile that runs every minute would crowd out the one that runs at night.
    for profile in setup.profiles.keys() {
        let filter = RunFilter { profile: Some(profile.clone()), limit: RUNS_REMEMBERED, ..RunFilter::default() };
        let mut runs = parts.store.runs(&filter).await?;
        // A run in fast motion was a trial, not the profile.
        runs.retain(|run| !time_scale::is_scaled(&run.digest));
        alerts.seed_history(&runs);
    }
    for schedule in setup.schedules.values() {
        let target = setup.profiles.get(&schedule.profile).map(|profile| profile.target.as_str()).unwrap_or_default();
        // Newest first: those after the last run.
        let ticks = parts.store.ticks(Some(&schedule.name), RUNS_REMEMBERED).await?;
        let after = ticks.iter().take_while(|tick| tick.outcome != TickOutcome::Started);
        let missed = after.filter(|tick| matches!(tick.outcome, TickOutcome::Missed | TickOutcome::Refused)).count() as u32;
        alerts.seed_missed(&Instants { schedule: &schedule.name, profile: &schedule.profile, target }, missed);
    }
    alerts.retain(|labels| is_configured(&setup, labels));
    Ok((alerts, silences))
}

/// The alerting task.
pub struct Alerting {
    parts: AlertingParts,
    alerts: Alerts,
    silences: Vec<Silence>,
    unsaved: VecDeque<AlertChange>,
    refusals: u32,
    /// In charge, and the state of alerts is that of the store.
    judging: bool,
    /// Kept beside the alerts: what happened while nothing could be judged is told later.
    storage: StorageWatch,
}

impl Alerting {
    /// Restores the state of alerts and the history of verdicts from the store.
    pub async fn restore(parts: AlertingParts) -> StoreResult<Self> {
        let (alerts, silences) = restored(&parts).await?;
        let judging = parts.duty.borrow().in_charge;
        Ok(Self { parts, alerts, silences, unsaved: VecDeque::new(), refusals: 0, judging, storage: StorageWatch::default() })
    }

    /// Judges until `stop`, then stores what is left.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut every_second = interval(Duration::from_secs(1));
        every_second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                Ok(()) = self.parts.duty.changed() => self.judging = false,
                Some(news) = self.parts.news.recv() => self.take(news).await,
                Some((_, reading)) = self.parts.readings.recv() => self.read(&reading),
                Ok(()) = self.parts.setup.changed() => self.reconfigure(),
                // Before the tick, which is always due while the database is away.
                () = stop.cancelled() => break,
                _ = every_second.tick() => self.decide().await,
            }
        }
        while let Ok(news) = self.parts.news.try_recv() {
            self.take(news).await;
        }
        self.decide().await;
    }

    async fn take(&mut self, news: RunNews) {
        match news {
            RunNews::Asked(wish) => self.asked(wish).await,
            RunNews::Started(_)
            | RunNews::Second(..)
            | RunNews::Looked(..)
            | RunNews::Ended(_)
            | RunNews::Missed(_)
            | RunNews::Own(_)
            | RunNews::Judged { .. } => self.hear(&news),
        }
    }

    fn hear(&mut self, news: &RunNews) {
        let now = self.parts.clock.now();
        match news {
            RunNews::Started(run) => {
                self.alerts.run_started(&RunContext::of(run), now);
                if let Some(schedule) = run.trigger.name.as_deref().filter(|_| run.trigger.by == "schedule") {
                    self.alerts.observe_start(&Instants { schedule, profile: &run.profile, target: &run.target }, now);
                }
            }
            RunNews::Missed(tick) => {
                let instants = Instants { schedule: &tick.schedule, profile: &tick.profile, target: &tick.target };
                self.alerts.observe_missed(&instants, tick.count, &tick.reason, now);
            }
            RunNews::Asked(_) => {}
            RunNews::Second(run, interval) => self.alerts.observe_interval(&RunContext::of(run), interval, now),
            RunNews::Looked(run, trends) => self.alerts.observe_trends(&RunContext::of(run), trends, now),
            RunNews::Own(trends) => self.alerts.observe_itself(trends, now),
            RunNews::Ended(run) => self.alerts.run_ended(run, now),
            RunNews::Judged { run, target, points } => self.alerts.observe_judgement(run, target, points, now),
        }
    }

    fn read(&mut self, reading: &crate::model::series::Reading) {
        let up = Point::new("probe_up", f64::from(u8::from(reading.points.is_ok())))
            .with("target", &reading.target)
            .with("probe", &reading.probe);
        self.alerts.observe_points(&reading.target, &[up], reading.at);
        if let Ok(points) = &reading.points {
            self.alerts.observe_points(&reading.target, points, reading.at);
        }
    }

    fn reconfigure(&mut self) {
        let setup = self.parts.setup.borrow_and_update().clone();
        self.alerts.replace_rules(setup.rules.clone(), policy_of(&setup));
        self.alerts.retain(|labels| is_configured(&setup, labels));
    }

    /// True when this daemon is in charge. One that comes in charge begins with what the other one has stored.
    async fn may_judge(&mut self) -> bool {
        if !self.parts.duty.borrow().in_charge {
            self.unsaved.clear();
            return false;
        }
        if !self.judging {
            match restored(&self.parts).await {
                Ok((alerts, silences)) => (self.alerts, self.silences, self.judging) = (alerts, silences, true),
                Err(error) => {
                    tracing::warn!(%error, "the state of alerts cannot be read; nothing is judged until it can");
                    self.parts.metrics.storage_error("alerts");
                }
            }
        }
        self.judging
    }

    async fn decide(&mut self) {
        let now = self.parts.clock.now();
        self.storage.look(&self.parts.writer.look(), now);
        if !self.may_judge().await {
            return;
        }
        self.alerts.observe_storage(&mut self.storage, now);
        let channels = self.parts.channels.borrow().clone();
        self.alerts.observe_channels(&channels, now);
        self.tidy_silences();
        let setup = self.parts.setup.borrow().clone();
        self.alerts.keep_quiet(quiet(&setup, &self.silences, now));
        let mut decision = self.alerts.judge(now);
        if !decision.is_empty() {
            beside::add(&self.parts.store, &setup, &mut decision.messages, now).await;
            let base = self.parts.link_base.borrow().clone();
            let link = |instance: &AlertInstance| link_to(base.as_deref(), instance);
            let messages = outgoing(&decision, now, &link);
            for transition in &decision.transitions {
                tracing::info!(rule = transition.rule, from = %transition.from, to = %transition.to, reason = transition.reason, "alert changed");
            }
            self.unsaved.push_back(AlertChange {
                instances: decision.instances,
                forgotten: decision.forgotten,
                transitions: decision.transitions,
                messages,
                threads: decision.threads,
                threads_forgotten: decision.threads_forgotten,
            });
        }
        self.save().await;
        let active: Vec<AlertInstance> =
            self.alerts.instances().filter(|instance| instance.state != AlertState::Inactive).cloned().collect();
        self.parts.metrics.alerts(&active);
        self.parts.active.send_replace(active);
    }

    /// Stores decisions in the order in which they were made.
    async fn save(&mut self) {
        while let Some(change) = self.unsaved.front() {
            let speaks = !change.messages.is_empty();
            if speaks {
                self.parts.fail_point.reached("before-commit");
            }
            if let Err(error) = self.parts.store.commit_alerts(change).await {
                tracing::error!(%error, waiting = self.unsaved.len(), "an alert decision is not stored yet; nobody is told before it is");
                self.parts.metrics.storage_error("commit_alerts");
                self.refusals += 1;
                if error.is_passing() || self.refusals < REFUSALS {
                    return;
                }
                // Refused again and again for its own sake: everything behind it would wait for ever.
                tracing::error!(%error, change = ?change, "an alert decision is given up: the store refuses it");
                self.unsaved.pop_front();
                self.refusals = 0;
                continue;
            }
            if speaks {
                self.parts.fail_point.reached("after-commit");
            }
            self.refusals = 0;
            let change = self.unsaved.pop_front().unwrap_or_default();
            let mut told: Option<(String, u32)> = None;
            for message in change.messages.into_iter().map(|outgoing| outgoing.message) {
                let key = (message.incident.clone(), message.seq);
                if told.as_ref() != Some(&key) {
                    told = Some(key);
                    // Nobody may be looking on; that is fine.
                    let _ = self.parts.events.send(Event::Decided(Box::new(message)));
                }
            }
        }
    }
}
