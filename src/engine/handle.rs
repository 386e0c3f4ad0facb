//! How the rest of the program speaks to the engine: commands with answers, and a status that is always fresh.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::alerting::AlertWish;
use super::setup::Setup;
use super::steer::Steer;
use crate::model::alerting::{AlertInstance, Message};
use crate::model::audit::{Deed, DeedKind};
use crate::model::channel::ChannelHealth;
use crate::model::control::{ControlEntry, Standstill};
use crate::model::history::{Deploy, Pinned};
use crate::model::muting::{Ack, Silence, show_matchers};
pub use crate::model::progress::{PoolNow, Progress};
use crate::model::retention::Pin;
use crate::model::run::{Run, RunId, Trigger};
use crate::model::storage::Lost;
use crate::model::units::Timestamp;

/// Most characters of a refusal that are noted; the whole text is in the answer and in the log.
const LONGEST_REFUSAL: usize = 500;

/// Why the engine did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such profile or run.
    #[error("{0}")]
    Unknown(String),
    /// The target is being loaded, the environment forbids it, the daemon stops …
    #[error("{0}")]
    NotNow(String),
    /// What is asked for means nothing.
    #[error("{0}")]
    BadRequest(String),
    /// The configuration is invalid; the last good one stays.
    #[error("{0}")]
    BadConfiguration(String),
    /// The database does not take it; nothing is changed.
    #[error("{0}")]
    Storage(String),
    /// The engine has ended.
    #[error("the engine has stopped")]
    Stopped,
}

/// What can be asked of the engine.
#[derive(Debug)]
pub enum Command {
    /// Start a run of a profile now.
    Start(String, Trigger, oneshot::Sender<Result<RunId, Refusal>>),
    /// End a run early; the second field says who.
    Cancel(RunId, String, oneshot::Sender<Result<(), Refusal>>),
    /// Steer a run.
    Control(RunId, Steer, oneshot::Sender<Result<ControlEntry, Refusal>>),
    /// End every run now; the first field says who. With `true` nothing starts until `Resume`.
    StopAll(String, bool, oneshot::Sender<Result<Vec<RunId>, Refusal>>),
    /// Let load start again; the field says who.
    Resume(String, oneshot::Sender<Result<(), Refusal>>),
    /// Analyse a run that has ended again; the answer is how many findings there are.
    Analyse(RunId, oneshot::Sender<Result<usize, Refusal>>),
    /// Run a profile again because this run lies apart; waits for its target.
    Rerun(String, RunId, oneshot::Sender<Result<(), Refusal>>),
    /// Run the profiles of a suite, one after the other where they share a target; the second field says who asks. The answer is which.
    Suite(String, Trigger, oneshot::Sender<Result<Vec<String>, Refusal>>),
    /// Remember that something was deployed to a target.
    Deploy(Deploy, oneshot::Sender<Result<(), Refusal>>),
    /// Remember the run that a profile is compared with, or forget it.
    Pin(String, Option<Pinned>, oneshot::Sender<Result<(), Refusal>>),
    /// Keep a run whatever its age, or no longer.
    Keep(RunId, Option<Pin>, oneshot::Sender<Result<(), Refusal>>),
    /// Silence alerts, or take care of an incident.
    Alerting(AlertWish),
    /// Read the configuration again.
    Reload(oneshot::Sender<Result<(), Refusal>>),
    /// Remember what somebody asked for and what came of it; the daemon says when.
    Note(Box<Deed>),
}

/// A run that is going on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LiveRun {
    /// Identity.
    pub id: RunId,
    /// Profile.
    pub profile: String,
    /// Target.
    pub target: String,
    /// Start.
    pub started_at: Timestamp,
    /// Latest second; `None` before the first.
    pub progress: Option<Progress>,
    /// How it is steered at present, in words; empty when it goes by its profile.
    pub steered: String,
}

/// A schedule and when it fires next.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NextFire {
    /// Schedule.
    pub schedule: String,
    /// Profile.
    pub profile: String,
    /// Cron text with time zone.
    pub cron: String,
    /// Next instant, jitter included.
    pub at: Option<Timestamp>,
}

/// How the engine is.
#[derive(Debug, Clone, Default)]
pub struct EngineStatus {
    /// The configuration in force.
    pub setup: Arc<Setup>,
    /// When the daemon started.
    pub started_at: Timestamp,
    /// Runs going on.
    pub running: Vec<LiveRun>,
    /// Profiles that wait for their target.
    pub queued: Vec<String>,
    /// Next fires, soonest first.
    pub next: Vec<NextFire>,
    /// Alerts that are pending, firing or without data.
    pub alerts: Vec<AlertInstance>,
    /// Why the store cannot be written at present; `None` when it can.
    pub storage_error: Option<String>,
    /// When the scheduler last ticked.
    pub scheduler_tick: Option<Timestamp>,
    /// Outcome of the last reload: when, and the error if it failed.
    pub last_reload: Option<(Timestamp, Option<String>)>,
    /// Messages that wait to be sent.
    pub outbox_waiting: u64,
    /// How the channels fare that anything was sent to.
    pub channels: Vec<ChannelHealth>,
    /// True once the daemon was told to stop.
    pub stopping: bool,
    /// All load is stopped, and nothing starts.
    pub standstill: Option<Standstill>,
    /// Another daemon is in charge of the database, and who; `None` when this one is.
    pub standing_by: Option<String>,
    /// What could not be stored since the start.
    pub lost: Lost,
}

/// What happens, as it happens.
#[derive(Debug, Clone)]
pub enum Event {
    /// A run began.
    RunStarted(Box<Run>),
    /// One second of a run.
    Progress(RunId, Box<Progress>),
    /// Somebody steered a run.
    Controlled(RunId, Box<ControlEntry>),
    /// A run ended and is stored.
    RunEnded(Box<Run>),
    /// A message was decided (and stored).
    Decided(Box<Message>),
    /// A message arrived: channel, kind and rule, where it went.
    Delivered(String, Box<Message>, String),
    /// A message could not be delivered this time: channel, why, when it is tried again (`None`: given up).
    NotDelivered(String, String, Option<Duration>),
}

/// A handle on the running engine; cheap to clone.
#[derive(Clone)]
pub struct EngineHandle {
    commands: mpsc::Sender<Command>,
    status: watch::Receiver<Arc<EngineStatus>>,
    events: broadcast::Sender<Event>,
}

impl EngineHandle {
    /// Puts a handle together; `engine` and tests do.
    pub fn new(commands: mpsc::Sender<Command>, status: watch::Receiver<Arc<EngineStatus>>, events: broadcast::Sender<Event>) -> Self {
        Self { commands, status, events }
    }

    /// How the engine is now.
    pub fn status(&self) -> Arc<EngineStatus> {
        self.status.borrow().clone()
    }

    /// What happens from now on. A slow reader loses events, never slows the engine.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Starts a run of `profile` now.
    pub async fn start_run(&self, profile: &str, trigger: Trigger) -> Result<RunId, Refusal> {
        let (answer, wait) = oneshot::channel();
        let asked = asked(&who(&trigger), DeedKind::RunStart, profile, "");
        let answered = self.ask(Command::Start(profile.into(), trigger, answer), wait).await;
        self.noted(asked, answered, |id| format!("run {id}"))
    }

    /// Ends a run early.
    pub async fn cancel_run(&self, id: &RunId, by: &str) -> Result<(), Refusal> {
        let (answer, wait) = oneshot::channel();
        let answered = self.ask(Command::Cancel(id.clone(), by.into(), answer), wait).await;
        self.noted(asked(by, DeedKind::RunCancel, &id.0, ""), answered, |()| String::new())
    }

    /// Steers a run that is going on.
    pub async fn control_run(&self, id: &RunId, steer: Steer) -> Result<ControlEntry, Refusal> {
        let (answer, wait) = oneshot::channel();
        let asked = asked(&steer.by, DeedKind::RunControl, &id.0, steer.action.as_str());
        let answered = self.ask(Command::Control(id.clone(), steer, answer), wait).await;
        self.noted(asked, answered, |entry| format!("{} at second {:.0}", entry.what(), entry.second))
    }

    /// Ends every run now; with `hold` nothing starts until [`EngineHandle::resume`]. Returns the runs that were going on.
    pub async fn stop_all(&self, by: &str, hold: bool) -> Result<Vec<RunId>, Refusal> {
        let (answer, wait) = oneshot::channel();
        let asked = asked(by, DeedKind::Stop, "", if hold { "hold" } else { "" });
        let answered = self.ask(Command::StopAll(by.into(), hold, answer), wait).await;
        let held = if hold { ", nothing starts until somebody resumes" } else { "" };
        self.noted(asked, answered, |runs| format!("{} ended{held}", counted(runs.len(), "run")))
    }

    /// Lets load start again.
    pub async fn resume(&self, by: &str) -> Result<(), Refusal> {
        let (answer, wait) = oneshot::channel();
        let answered = self.ask(Command::Resume(by.into(), answer), wait).await;
        self.noted(asked(by, DeedKind::Resume, "", ""), answered, |()| String::new())
    }

    /// Analyses a run that has ended again, with the methods of this program; returns how many findings there are.
    pub async fn analyse_run(&self, id: &RunId) -> Result<usize, Refusal> {
        let (answer, wait) = oneshot::channel();
        self.ask(Command::Analyse(id.clone(), answer), wait).await
    }

    /// Runs `profile` again because `after` lies apart from its history, as soon as its target is free.
    pub async fn rerun(&self, profile: &str, after: &RunId) -> Result<(), Refusal> {
        let (answer, wait) = oneshot::channel();
        self.ask(Command::Rerun(profile.into(), after.clone(), answer), wait).await
    }

    /// Runs the profiles of `suite` as soon as their targets are free; returns them.
    pub async fn run_suite(&self, suite: &str, trigger: Trigger) -> Result<Vec<String>, Refusal> {
        let (answer, wait) = oneshot::channel();
        let asked = asked(&who(&trigger), DeedKind::RunStart, suite, "");
        let answered = self.ask(Command::Suite(suite.into(), trigger, answer), wait).await;
        self.noted(asked, answered, |profiles| format!("suite of {}", profiles.join(", ")))
    }

    /// Remembers that something was deployed to a target.
    pub async fn deploy(&self, deploy: Deploy) -> Result<(), Refusal> {
        let (answer, wait) = oneshot::channel();
        let asked = asked(&deploy.by, DeedKind::Deploy, &deploy.target, &deploy.version);
        let answered = self.ask(Command::Deploy(deploy, answer), wait).await;
        self.noted(asked, answered, |()| String::new())
    }

    /// Remembers the run that `profile` is compared with (it has to be stored), or that it has none any more.
    pub async fn pin(&self, profile: &str, pinned: Option<Pinned>, by: &str) -> Result<(), Refusal> {
        let (answer, wait) = oneshot::channel();
        let run = pinned.as_ref().map_or_else(|| "none".to_owned(), |pinned| format!("run {}", pinned.run));
        let answered = self.ask(Command::Pin(profile.into(), pinned, answer), wait).await;
        self.noted(asked(by, DeedKind::BaselinePin, profile, &run), answered, |()| String::new())
    }

    /// Keeps a stored run whatever its age, or no longer.
    pub async fn keep_run(&self, id: &RunId, pin: Option<Pin>, by: &str) -> Result<(), Refusal> {
        let (answer, wait) = oneshot::channel();
        let answered = self.ask(Command::Keep(id.clone(), pin, answer), wait).await;
        self.noted(asked(by, DeedKind::RunKeep, &id.0, pin.map_or("no longer", Pin::as_str)), answered, |()| String::new())
    }

    /// Silences alerts; it is stored when this returns.
    pub async fn silence(&self, silence: Silence) -> Result<Silence, Refusal> {
        let (answer, wait) = oneshot::channel();
        let detail = format!("{} until {}: {}", show_matchers(&silence.matchers), silence.ends_at, silence.comment);
        let asked = asked(&silence.author, DeedKind::SilenceAdd, &silence.id, &detail);
        let answered = self.ask(Command::Alerting(AlertWish::Silence(Box::new(silence), answer)), wait).await;
        self.noted(asked, answered, |_| String::new())
    }

    /// Ends a silence now.
    pub async fn expire_silence(&self, id: &str, by: &str) -> Result<Silence, Refusal> {
        let (answer, wait) = oneshot::channel();
        let answered = self.ask(Command::Alerting(AlertWish::Expire(id.into(), by.into(), answer)), wait).await;
        self.noted(asked(by, DeedKind::SilenceExpire, id, ""), answered, |silence| show_matchers(&silence.matchers))
    }

    /// Notes that somebody takes care of an incident; returns which ones are meant.
    pub async fn acknowledge(&self, incident: &str, ack: Ack) -> Result<Vec<String>, Refusal> {
        let (answer, wait) = oneshot::channel();
        let asked = asked(&ack.by, DeedKind::Acknowledge, incident, &ack.comment);
        let answered = self.ask(Command::Alerting(AlertWish::Acknowledge(incident.into(), ack, answer)), wait).await;
        self.noted(asked, answered, |incidents| incidents.join(", "))
    }

    /// Reads the configuration again; the last good one stays when it is invalid.
    pub async fn reload(&self, by: &str) -> Result<(), Refusal> {
        let (answer, wait) = oneshot::channel();
        let answered = self.ask(Command::Reload(answer), wait).await;
        self.noted(asked(by, DeedKind::Reload, "", ""), answered, |()| String::new())
    }

    /// Lets the daemon remember what was asked and answered; `came` says what came of it.
    fn noted<T>(&self, mut deed: Deed, answered: Result<T, Refusal>, came: impl FnOnce(&T) -> String) -> Result<T, Refusal> {
        match &answered {
            Ok(value) => {
                let came = came(value);
                let parts: Vec<&str> = [deed.detail.as_str(), came.as_str()].into_iter().filter(|part| !part.is_empty()).collect();
                deed.detail = parts.join("; ");
            }
            Err(refusal) => deed.refused = Some(refusal.to_string().chars().take(LONGEST_REFUSAL).collect()),
        }
        if let Err(error) = self.commands.try_send(Command::Note(Box::new(deed))) {
            tracing::error!(%error, "what somebody asked for is not noted: the daemon is busy or gone");
        }
        answered
    }

    async fn ask<T>(&self, command: Command, wait: oneshot::Receiver<Result<T, Refusal>>) -> Result<T, Refusal> {
        self.commands.send(command).await.map_err(|_| Refusal::Stopped)?;
        wait.await.unwrap_or(Err(Refusal::Stopped))
    }
}

fn asked(by: &str, what: DeedKind, object: &str, detail: &str) -> Deed {
    Deed { at: Timestamp::default(), by: by.to_owned(), what, object: object.to_owned(), detail: detail.to_owned(), refused: None }
}

/// Who starts runs with this trigger.
fn who(trigger: &Trigger) -> String {
    trigger.name.as_ref().map_or_else(|| trigger.by.clone(), |name| format!("{} token {name}", trigger.by))
}

/// "1 run", "3 runs".
pub(super) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
