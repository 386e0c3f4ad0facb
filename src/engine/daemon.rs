//! The event loop: ticks, commands and ended runs come in; runs are admitted, started, queued, replaced; nothing blocks it.
//! What became of every instant of every schedule is stored with its reason. What people ask for is in `commands`.

mod commands;
mod duty;
mod missed;
mod places;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::admission::{Admission, Occupancy, Waiting, admit};
use super::calendar;
use super::captures::{Busy, CaptureParts, Captures};
use super::duty::Duty;
use super::handle::{Command, EngineStatus, Event, LiveRun, NextFire, Refusal};
use super::launch::{Launch, Launched, new_run};
use super::leases::{Leases, place_of};
use super::prober::{ActiveRun, ActiveRuns, Prober, ProberParts};
use super::runner::{EndRequest, Order, RunnerParts};
use super::scheduler::Ticker;
use super::setup::Setup;
use super::steer::SteerOrder;
use super::taps::Taps;
use super::writer::Writer;
use crate::clock::SharedClock;
use crate::metrics::Metrics;
use crate::model::alerting::AlertInstance;
use crate::model::channel::ChannelHealth;
use crate::model::control::Standstill;
use crate::model::run::{EndedBy, RunId, Trigger};
use crate::model::schedule::{Schedule, Tick, TickOutcome};
use crate::model::units::Timestamp;
use crate::probe::ProbeParts;
use crate::store::{OutboxStats, Store};

/// Instants that are counted after downtime.
const MISSED_LIMIT: usize = 1_000;
/// Latest instants of a schedule in which those are looked for that waited when the daemon died.
const RECENT_TICKS: u32 = 100;
/// An instant that comes up later than this (the machine slept) counts as missed.
const LATE: Duration = Duration::from_secs(120);
/// Wishes to steer a run that may wait for it.
const STEERS: usize = 16;

/// Reads the configuration again.
pub type Loader = Box<dyn Fn() -> Result<Setup, String> + Send + Sync>;

/// What the daemon works with.
pub struct DaemonParts {
    /// The memory.
    pub store: Arc<dyn Store>,
    /// The wall clock.
    pub clock: SharedClock,
    /// Figures.
    pub metrics: Arc<Metrics>,
    /// Writer of series.
    pub writer: Writer,
    /// What runs are given.
    pub runner: RunnerParts,
    /// For opening probes and asking versions.
    pub probe: ProbeParts,
    /// Where probe tasks deliver.
    pub prober: ProberParts,
    /// Which targets are loaded.
    pub active: watch::Sender<ActiveRuns>,
    /// Readings for runs.
    pub taps: Taps,
    /// For reloads.
    pub loader: Loader,
    /// The configuration in force.
    pub setup: watch::Sender<Arc<Setup>>,
    /// Status for everyone.
    pub status: watch::Sender<Arc<EngineStatus>>,
    /// Events for everyone.
    pub events: broadcast::Sender<Event>,
    /// Alerts that are not inactive.
    pub alerts: watch::Receiver<Vec<AlertInstance>>,
    /// Figures of the outbox.
    pub outbox: watch::Receiver<OutboxStats>,
    /// How the channels fare.
    pub channels: watch::Receiver<Vec<ChannelHealth>>,
    /// Whether this daemon is in charge of the database.
    pub duty: watch::Receiver<Duty>,
    /// Seeds of runs and jitter, 0 to 1 and whole.
    pub random: Box<dyn FnMut() -> u64 + Send>,
}

struct Running {
    id: RunId,
    /// What of its target one run loads at a time; see `leases`.
    place: String,
    started_at: Timestamp,
    end: watch::Sender<Option<EndRequest>>,
    steers: mpsc::Sender<SteerOrder>,
}

struct Planned {
    due: Timestamp,
    fires: Timestamp,
}

/// The daemon.
pub struct Daemon {
    parts: DaemonParts,
    commands: mpsc::Receiver<Command>,
    setup: Arc<Setup>,
    planned: BTreeMap<String, Planned>,
    running: BTreeMap<String, Running>,
    queue: VecDeque<Waiting>,
    runs: JoinSet<(String, Launched)>,
    leases: Arc<Leases>,
    /// What is done beside the runs.
    chores: JoinSet<()>,
    prober: Option<Prober>,
    /// CPU profiles that are being taken.
    busy: Busy,
    started_at: Timestamp,
    last_tick: Option<Timestamp>,
    last_reload: Option<(Timestamp, Option<String>)>,
    stopping: bool,
    standstill: Option<Standstill>,
    /// What of that the database had when it was last looked at.
    held: Option<Standstill>,
    /// The last time that everything was stopped, as far as this process has acted on it.
    last_stop: Option<Standstill>,
    in_charge: bool,
}

/// A chore that broke off has not answered; whoever waits for it was told that.
fn say_broken(done: Result<(), tokio::task::JoinError>) {
    if let Err(error) = done {
        tracing::error!(%error, "a task of the daemon broke off; this is a bug in Plimsoll");
    }
}

impl Daemon {
    /// A daemon that follows `setup`.
    pub fn new(parts: DaemonParts, commands: mpsc::Receiver<Command>) -> Self {
        let setup = parts.setup.borrow().clone();
        let leases = Arc::new(Leases::new(parts.store.clone()));
        let started_at = parts.clock.now();
        Self {
            parts,
            commands,
            setup,
            planned: BTreeMap::new(),
            running: BTreeMap::new(),
            queue: VecDeque::new(),
            runs: JoinSet::new(),
            leases,
            chores: JoinSet::new(),
            prober: None,
            busy: Busy::default(),
            started_at,
            last_tick: None,
            last_reload: None,
            stopping: false,
            standstill: None,
            held: None,
            last_stop: None,
            in_charge: false,
        }
    }

    /// Runs until `stop`, then lets runs end within the drain time; `stop_now` ends that wait.
    pub async fn run(mut self, mut ticker: Ticker, stop: CancellationToken, stop_now: CancellationToken) {
        self.follow_duty(true).await;
        self.publish();
        loop {
            tokio::select! {
                Some(()) = ticker.ticks.recv() => self.tick(),
                Some(command) = self.commands.recv() => self.command(command),
                Some(ended) = self.runs.join_next() => self.run_ended(ended),
                Some(done) = self.chores.join_next() => say_broken(done),
                Ok(()) = self.parts.duty.changed() => self.follow_duty(false).await,
                () = stop.cancelled() => break,
            }
            self.publish();
        }
        self.stop(&stop_now).await;
        ticker.stop().await;
    }

    async fn stop(&mut self, stop_now: &CancellationToken) {
        tracing::info!(running = self.running.len(), "stopping: no new runs; running ones are ended");
        self.stopping = true;
        let now = self.parts.clock.now();
        for waiting in std::mem::take(&mut self.queue) {
            self.record_waiting(&waiting, TickOutcome::Skipped, "the daemon stopped while it waited", now);
        }
        let drain = self.setup.load.drain;
        for running in self.running.values() {
            running.end.send_replace(Some(EndRequest {
                by: EndedBy::Signal,
                who: "the daemon was told to stop".into(),
                drain,
                asked_by: None,
            }));
        }
        self.publish();
        while !self.running.is_empty() {
            tokio::select! {
                Some(ended) = self.runs.join_next() => self.run_ended(ended),
                Some(command) = self.commands.recv() => self.command(command),
                () = stop_now.cancelled() => {
                    for running in self.running.values() {
                        let who = "the daemon was told to stop at once".into();
                        running.end.send_replace(Some(EndRequest { by: EndedBy::Signal, who, drain: Duration::ZERO, asked_by: None }));
                    }
                    let all = async { while self.runs.join_next().await.is_some() {} };
                    let _ = tokio::time::timeout(Duration::from_secs(3), all).await;
                    break;
                }
            }
            self.publish();
        }
        self.prober = None;
    }

    /// Plans every schedule; what passed while the daemon was down is recorded, and made up for where the schedule asks for it.
    async fn plan_after_start(&mut self, first: bool) {
        let now = self.parts.clock.now();
        self.standstill = self.parts.store.standstill().await.unwrap_or_else(|error| {
            tracing::error!(%error, "it is not known whether all load was stopped before; it may start");
            None
        });
        if let Some(standstill) = &self.standstill {
            tracing::warn!("{standstill}");
        }
        let schedules: Vec<Schedule> = self.setup.schedules.values().cloned().collect();
        for schedule in schedules {
            let ticks = self.parts.store.ticks(Some(&schedule.name), RECENT_TICKS).await.unwrap_or_else(|error| {
                tracing::error!(%error, schedule = schedule.name, "it is not known when this schedule last fired");
                Vec::new()
            });
            for waited in ticks.iter().filter(|tick| tick.outcome == TickOutcome::Queued) {
                let reason = "the daemon died while it waited for its target".to_owned();
                self.record(&schedule, waited.due, TickOutcome::Missed, reason, None, now);
            }
            if let Some((due, count)) =
                ticks.first().map(|tick| tick.due).and_then(|last| calendar::missed_between(&schedule, last, now, MISSED_LIMIT))
            {
                self.missed(&schedule, due, count, now);
            }
            self.plan(&schedule, now);
            if schedule.run_at_start && first {
                self.fire(&schedule, now, "at the start of the daemon");
            }
        }
    }

    fn missed(&mut self, schedule: &Schedule, due: Timestamp, count: usize, now: Timestamp) {
        let many = match count {
            0 | 1 => String::new(),
            _ if count >= MISSED_LIMIT => format!(" ({MISSED_LIMIT} instants or more passed)"),
            _ => format!(" ({count} instants passed)"),
        };
        if calendar::runs_late(schedule.missed, due, now) {
            self.fire(schedule, due, &format!("made up for: the daemon was down at {due}{many}"));
        } else {
            let reason = format!("the daemon was not running at {due}{many}");
            self.tell_missed(&schedule.name, &schedule.profile, count.max(1) as u32, &reason);
            self.record(schedule, due, TickOutcome::Missed, reason, None, now);
        }
    }

    fn plan(&mut self, schedule: &Schedule, after: Timestamp) {
        let Some(due) = calendar::next_after(schedule, after) else {
            self.planned.remove(&schedule.name);
            return;
        };
        let random = (self.parts.random)() as f64 / u64::MAX as f64;
        let fires = calendar::with_jitter(schedule, due, random);
        self.planned.insert(schedule.name.clone(), Planned { due, fires });
    }

    /// Once a second: fires what is due, instant by instant, so that each has its record.
    fn tick(&mut self) {
        let now = self.parts.clock.now();
        self.last_tick = Some(now);
        let due = |planned: &BTreeMap<String, Planned>| {
            let first = planned.iter().filter(|(_, planned)| planned.fires <= now).min_by_key(|(_, planned)| planned.fires);
            first.map(|(name, planned)| (name.clone(), planned.due, planned.fires))
        };
        while let Some((name, due, fires)) = due(&self.planned) {
            let Some(schedule) = self.setup.schedules.get(&name).cloned() else {
                self.planned.remove(&name);
                continue;
            };
            let lag = now.since(fires);
            self.parts.metrics.scheduler_lag(lag);
            if lag > LATE {
                let (last, count) = calendar::missed_between(&schedule, due, now, MISSED_LIMIT).unwrap_or((due, 0));
                self.missed(&schedule, last, count + 1, now);
                self.plan(&schedule, now);
            } else {
                self.fire(&schedule, due, "on schedule");
                self.plan(&schedule, due);
            }
        }
        self.start_waiting();
        self.tidy_leases(now);
    }

    /// A schedule fires: start, queue, skip or replace, and record which.
    fn fire(&mut self, schedule: &Schedule, due: Timestamp, why: &str) {
        let now = self.parts.clock.now();
        let trigger = Trigger { by: "schedule".into(), name: Some(schedule.name.clone()) };
        let tick = Some((schedule.name.clone(), due));
        let mut waiting = Waiting { profile: schedule.profile.clone(), trigger, tick, why: why.into(), not_before: None };
        let Some(target) = self.setup.profiles.get(&schedule.profile).map(|profile| profile.target.clone()) else {
            let reason = format!("there is no profile `{}`", schedule.profile);
            self.tell_missed(&schedule.name, &schedule.profile, 1, &reason);
            self.record(schedule, due, TickOutcome::Refused, reason, None, now);
            return;
        };
        if let Some(reason) = self.paused(schedule, &target, now) {
            tracing::info!(schedule = schedule.name, reason, "a run does not happen");
            self.record(schedule, due, TickOutcome::Skipped, reason, None, now);
            return;
        }
        let occupancy = Occupancy {
            running: self.loading(&target).map(|running| running.id.clone()),
            queued_already: self.queue.iter().any(|other| other.profile == schedule.profile),
            stopping: self.stopping,
            standstill: self.standstill.clone(),
        };
        let admission = admit(schedule.overlap, &target, &occupancy);
        let outcome = admission.outcome();
        match admission {
            Admission::Start => self.start(waiting, None),
            Admission::Skip(reason) => {
                tracing::warn!(schedule = schedule.name, reason, "a run does not happen");
                // A target that is loaded already is no reason to worry; a standstill that was forgotten is.
                if self.standstill.is_some() && !self.stopping {
                    self.tell_missed(&schedule.name, &schedule.profile, 1, &reason);
                }
                self.record(schedule, due, outcome, reason, None, now);
            }
            Admission::Queue(reason) => {
                waiting.why = format!("waited until the target was free: {reason}");
                self.record(schedule, due, outcome, reason, None, now);
                self.queue.push_back(waiting);
            }
            Admission::Replace(old, reason) => {
                let by = format!("schedule `{}`", schedule.name);
                self.cancel(&old, &by, &format!("{by} replaced it"));
                // The newest instant replaces those that still wait for the same run to end.
                let (older, others) = std::mem::take(&mut self.queue).into_iter().partition(|other: &Waiting| other.is_of(schedule));
                self.queue = others;
                for other in older {
                    self.record_waiting(&other, TickOutcome::Skipped, &format!("replaced by the instant {due} while it waited"), now);
                }
                waiting.why.clone_from(&reason);
                self.record(schedule, due, outcome, reason, None, now);
                self.queue.push_front(waiting);
            }
        }
    }

    /// Starts a run. Its row is written first; if that fails, nothing is loaded and the reason is recorded.
    fn start(&mut self, wish: Waiting, answer: Option<oneshot::Sender<Result<RunId, Refusal>>>) {
        let Some(profile) = self.setup.profiles.get(&wish.profile).cloned() else { return };
        let Some(target) = self.setup.targets.get(&profile.target).cloned() else { return };
        let now = self.parts.clock.now();
        let id = RunId::new(now, &profile.name, (self.parts.random)() as u32);
        let (end, end_receiver) = watch::channel(None);
        let (steers, steers_receiver) = mpsc::channel(STEERS);
        let place = place_of(&target.target);
        self.running.insert(profile.target.clone(), Running { id: id.clone(), place, started_at: now, end, steers });
        let readings = self.parts.taps.open(&profile.target);
        // Short, because people copy it, and whole in any reader of JSON.
        let seed = profile.seed.unwrap_or_else(|| (self.parts.random)() >> 32);
        let run = new_run(&profile, id, wish.trigger, now, seed);
        let live = LiveRun {
            id: run.id.clone(),
            profile: run.profile.clone(),
            target: run.target.clone(),
            started_at: now,
            progress: None,
            steered: String::new(),
        };
        self.parts.runner.live.lock().unwrap_or_else(PoisonError::into_inner).insert(run.id.clone(), live);
        let (active, target_name, run_id) = (self.parts.active.clone(), profile.target.clone(), run.id.clone());
        let began = Box::new(move |start| {
            active.send_modify(|active| {
                active.insert(target_name, ActiveRun { id: run_id, start });
            });
        });
        let (profile, threads) = (Arc::new(profile), self.setup.load.threads);
        let specs = self.setup.captures.get(&profile.name).cloned().unwrap_or_default();
        let parts = CaptureParts { store: self.parts.store.clone(), probe: self.parts.probe.clone(), busy: self.busy.clone() };
        let captures = Captures::new(run.id.clone(), specs, parts);
        let order = Order { run, profile, target, threads, seed, end: end_receiver, steers: steers_receiver, readings, captures, began };
        let launch = Launch {
            store: self.parts.store.clone(),
            leases: self.leases.clone(),
            probe: self.parts.probe.clone(),
            runner: self.parts.runner.clone(),
            tick: wish.tick,
            why: wish.why,
            answer,
        };
        let key = order.profile.target.clone();
        self.runs.spawn(async move { (key, Box::pin(launch.run(order)).await) });
    }

    fn run_ended(&mut self, ended: Result<(String, Launched), tokio::task::JoinError>) {
        let mut busy = None;
        let target = match ended {
            Ok((target, launched)) => {
                match launched {
                    Launched::Ran(run) => {
                        tracing::info!(run_id = %run.id, verdict = run.verdict.map_or("none", |verdict| verdict.as_str()), "run ended");
                    }
                    Launched::Nothing => {}
                    Launched::Busy(waiting, who) => busy = Some((*waiting, who)),
                }
                target
            }
            Err(error) => {
                // Which run it was is not known any more: the one whose task is gone.
                tracing::error!(%error, "a run's task broke off; this is a bug in Plimsoll");
                let gone = self.running.iter().find(|(_, running)| running.end.is_closed()).map(|(target, _)| target.clone());
                let Some(target) = gone else { return };
                if let Some(place) = self.running.get(&target).map(|running| running.place.clone()) {
                    let leases = self.leases.clone();
                    self.chores.spawn(async move { leases.give_back(&place).await });
                }
                target
            }
        };
        if let Some(running) = self.running.remove(&target) {
            self.parts.runner.live.lock().unwrap_or_else(PoisonError::into_inner).remove(&running.id);
        }
        self.parts.taps.close(&target);
        self.parts.active.send_modify(|active| {
            active.remove(&target);
        });
        if let Some((waiting, who)) = busy {
            self.taken_elsewhere(waiting, &who);
        }
        if !self.stopping {
            self.start_waiting();
        }
    }

    fn record(&mut self, schedule: &Schedule, due: Timestamp, outcome: TickOutcome, reason: String, run: Option<RunId>, now: Timestamp) {
        let (schedule, profile) = (schedule.name.clone(), schedule.profile.clone());
        self.parts.writer.tick(Tick { schedule, profile, due, decided: now, outcome, reason, run });
    }

    fn publish(&self) {
        let live = self.parts.runner.live.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        let mut next: Vec<NextFire> = self
            .setup
            .schedules
            .values()
            .map(|schedule| NextFire {
                schedule: schedule.name.clone(),
                profile: schedule.profile.clone(),
                cron: format!("{} {}", schedule.cron, schedule.timezone),
                at: self.planned.get(&schedule.name).map(|planned| planned.fires),
            })
            .collect();
        next.sort_by_key(|fire| fire.at.unwrap_or(Timestamp(i64::MAX)));
        self.parts.status.send_replace(Arc::new(EngineStatus {
            setup: self.setup.clone(),
            started_at: self.started_at,
            running: live,
            queued: self.queue.iter().map(|waiting| waiting.profile.clone()).collect(),
            next,
            alerts: self.parts.alerts.borrow().clone(),
            storage_error: self.parts.writer.trouble(),
            scheduler_tick: self.last_tick,
            last_reload: self.last_reload.clone(),
            outbox_waiting: self.parts.outbox.borrow().waiting,
            channels: self.parts.channels.borrow().clone(),
            stopping: self.stopping,
            standstill: self.standstill.clone(),
            standing_by: self.parts.duty.borrow().standing_by(),
            lost: self.parts.metrics.lost(),
        }));
    }
}
