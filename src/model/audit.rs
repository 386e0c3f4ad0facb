//! Who did what to the daemon: an entry for everything that somebody asked of it, done or refused. Entries are only ever added.

use serde::{Deserialize, Serialize};

use super::units::Timestamp;
use crate::choice;

choice! {
    /// What somebody asked for.
    pub enum DeedKind {
        /// Start a run, or the runs of a suite.
        RunStart = "run.start",
        /// End a run early.
        RunCancel = "run.cancel",
        /// Steer a run: scale, pause, resume, hold, stop.
        RunControl = "run.control",
        /// Keep a run whatever its age, or no longer.
        RunKeep = "run.keep",
        /// End every run, and perhaps let nothing start.
        Stop = "stop",
        /// Let load start again.
        Resume = "resume",
        /// Silence alerts.
        SilenceAdd = "silence.add",
        /// End a silence.
        SilenceExpire = "silence.expire",
        /// Take care of an incident.
        Acknowledge = "ack",
        /// Choose the run that a profile is compared with, or none.
        BaselinePin = "baseline.pin",
        /// Tell of a deploy.
        Deploy = "deploy",
        /// Read the configuration again.
        Reload = "reload",
    }
}

/// Something that somebody asked for, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deed {
    /// When it was answered.
    pub at: Timestamp,
    /// Who: `api token ci`, `ann (page token ops)`, `signal HUP`.
    pub by: String,
    /// What.
    pub what: DeedKind,
    /// The run, silence, incident or profile that it was about; empty for everything.
    pub object: String,
    /// What was asked for in detail, and what came of it.
    pub detail: String,
    /// Why it was refused; `None` when it was done.
    pub refused: Option<String>,
}
