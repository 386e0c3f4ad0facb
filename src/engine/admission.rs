//! Whether a run may start now: one run at a time per target, and the schedule's policy when the target is taken. Pure.

use crate::model::control::Standstill;
use crate::model::run::{RunId, Trigger};
use crate::model::schedule::{Overlap, Schedule, TickOutcome};
use crate::model::units::Timestamp;

/// A wish for a run, which may have to wait for its target.
pub(super) struct Waiting {
    pub(super) profile: String,
    pub(super) trigger: Trigger,
    /// The schedule and its instant, when one made the wish.
    pub(super) tick: Option<(String, Timestamp)>,
    /// Why it is started, once it is.
    pub(super) why: String,
    /// When it is tried again: another process loads its target, and does not tell when it is done.
    pub(super) not_before: Option<Timestamp>,
}

impl Waiting {
    /// Whether this schedule made it.
    pub(super) fn is_of(&self, schedule: &Schedule) -> bool {
        self.tick.as_ref().is_some_and(|(name, _)| *name == schedule.name)
    }
}

/// What is done with a wish for a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// Start it.
    Start,
    /// Let it wait until the target is free.
    Queue(String),
    /// Do not run it.
    Skip(String),
    /// Cancel this run, then start.
    Replace(RunId, String),
}

impl Admission {
    /// How the instant of the schedule is recorded.
    pub fn outcome(&self) -> TickOutcome {
        match self {
            Self::Start => TickOutcome::Started,
            Self::Queue(_) | Self::Replace(..) => TickOutcome::Queued,
            Self::Skip(_) => TickOutcome::Skipped,
        }
    }
}

/// How the target is taken.
#[derive(Debug, Clone, Default)]
pub struct Occupancy {
    /// The run that is going on.
    pub running: Option<RunId>,
    /// The same profile waits already.
    pub queued_already: bool,
    /// The daemon was told to stop.
    pub stopping: bool,
    /// All load was stopped, and nothing starts.
    pub standstill: Option<Standstill>,
}

/// Decides by the policy; the reason is stored with the instant.
pub fn admit(overlap: Overlap, target: &str, occupancy: &Occupancy) -> Admission {
    if occupancy.stopping {
        return Admission::Skip("the daemon is stopping".into());
    }
    if let Some(standstill) = &occupancy.standstill {
        return Admission::Skip(standstill.to_string());
    }
    let Some(running) = &occupancy.running else { return Admission::Start };
    let busy = format!("run {running} is loading target `{target}`");
    match overlap {
        Overlap::Skip => Admission::Skip(busy),
        Overlap::Queue if occupancy.queued_already => Admission::Skip(format!("{busy}, and this profile waits already")),
        Overlap::Queue => Admission::Queue(busy),
        Overlap::Replace => Admission::Replace(running.clone(), format!("replaced run {running}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_run_at_a_time_per_target() {
        let free = Occupancy::default();
        let busy = Occupancy { running: Some(RunId("r1".into())), ..Occupancy::default() };
        let waiting = Occupancy { queued_already: true, ..busy.clone() };
        let stopping = Occupancy { stopping: true, ..Occupancy::default() };
        let at = Timestamp(1_700_000_000_000_000);
        let standstill = Occupancy { standstill: Some(Standstill { at, by: "ann".into() }), ..Occupancy::default() };
        let still = "all load was stopped by ann at 2023-11-14T22:13:20.000Z; nothing starts until `plimsoll resume`".to_owned();
        let reason = "run r1 is loading target `shop`".to_owned();
        for (overlap, occupancy, expected) in [
            (Overlap::Skip, &free, Admission::Start),
            (Overlap::Skip, &busy, Admission::Skip(reason.clone())),
            (Overlap::Queue, &busy, Admission::Queue(reason.clone())),
            (Overlap::Queue, &waiting, Admission::Skip(format!("{reason}, and this profile waits already"))),
            (Overlap::Replace, &busy, Admission::Replace(RunId("r1".into()), "replaced run r1".into())),
            (Overlap::Replace, &standstill, Admission::Skip(still)),
            (Overlap::Replace, &stopping, Admission::Skip("the daemon is stopping".into())),
        ] {
            assert_eq!(admit(overlap, "shop", occupancy), expected);
        }
    }
}
