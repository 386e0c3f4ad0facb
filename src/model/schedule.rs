//! When profiles run: schedules and what became of each of their instants.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::run::RunId;
use super::units::Timestamp;
use crate::choice;

choice! {
    /// What happens when a schedule fires while the target is being loaded.
    pub enum Overlap {
        /// The new run does not happen.
        Skip = "skip",
        /// The new run waits for its turn.
        Queue = "queue",
        /// The running run is cancelled, the new one starts.
        Replace = "replace",
    }
}

/// What happens with an instant that passed while the daemon was down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missed {
    /// Recorded as missed.
    Skip,
    /// Run once when the daemon is back within this time.
    RunWithin(Duration),
}

/// A schedule.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// Name in the configuration.
    pub name: String,
    /// Profile to run.
    pub profile: String,
    /// Five or six cron fields.
    pub cron: String,
    /// IANA name.
    pub timezone: chrono_tz::Tz,
    /// Each instant is delayed by a random part of this.
    pub jitter: Duration,
    /// See [`Overlap`].
    pub overlap: Overlap,
    /// See [`Missed`].
    pub missed: Missed,
    /// Also run once when the daemon starts (the demo does).
    pub run_at_start: bool,
}

choice! {
    /// What became of an instant of a schedule.
    pub enum TickOutcome {
        /// A run was started.
        Started = "started",
        /// A run waits for the target.
        Queued = "queued",
        /// Nothing ran, by the overlap policy or because the daemon was stopping.
        Skipped = "skipped",
        /// The daemon was down.
        Missed = "missed",
        /// The run could not be started.
        Refused = "refused",
    }
}

/// The record of one instant of a schedule: for every run that did not happen, the reason.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tick {
    /// Schedule.
    pub schedule: String,
    /// Profile.
    pub profile: String,
    /// The instant that cron gave (without jitter).
    pub due: Timestamp,
    /// When it was decided.
    pub decided: Timestamp,
    /// What was decided.
    pub outcome: TickOutcome,
    /// Why.
    pub reason: String,
    /// The run, when there is one.
    pub run: Option<RunId>,
}
