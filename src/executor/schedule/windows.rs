//! Phases: the stages of an executor as windows, in the time of its profile and in that of the run. A pause is a window of its
//! own; a stage that is held becomes longer, and while it is held its load does not change.

use std::time::Duration;

use super::climb::known_stages;
use super::course::{Course, Mode};
use crate::model::catalog::PhaseWindow;
use crate::model::profile::{Executor, Stage};
use crate::model::staircase::JUDGING;

/// Name of the window in which a run is paused.
pub(super) const PAUSED: &str = "paused";
/// End of a window that nobody knows yet: a year.
const UNKNOWN: Duration = Duration::from_secs(365 * 86_400);

/// The phases of an executor in the time of its profile.
pub(super) fn of_profile(executor: &Executor) -> Vec<PhaseWindow> {
    match executor {
        Executor::ConstantVus { .. }
        | Executor::ConstantArrivalRate { .. }
        | Executor::PerVuIterations { .. }
        | Executor::SharedIterations { .. }
        | Executor::ExternallyControlled { .. } => {
            vec![PhaseWindow { name: "main".into(), start: Duration::ZERO, end: executor.duration(), ramp: false }]
        }
        Executor::RampingVus { start_vus, stages, .. } => of_stages(*start_vus as f64, stages),
        Executor::RampingArrivalRate { start_rate, stages, .. } => of_stages(start_rate.count, stages),
        Executor::Staircase(stairs) => of_climb(&known_stages(stairs), !stairs.is_decided_on_the_way()),
    }
}

/// The phases of a climb. While the next level is not decided, it goes on at the last.
pub(super) fn of_climb(stages: &[Stage], ends: bool) -> Vec<PhaseWindow> {
    let mut windows = of_stages(stages.first().map_or(0.0, |stage| stage.target), stages);
    if let Some(last) = windows.last().filter(|_| !ends) {
        let (start, end) = (last.end, last.end + UNKNOWN);
        windows.push(PhaseWindow { name: JUDGING.into(), start, end, ramp: false });
    }
    windows
}

fn of_stages(mut from: f64, stages: &[Stage]) -> Vec<PhaseWindow> {
    let mut begin = Duration::ZERO;
    let mut windows = Vec::with_capacity(stages.len());
    for (index, stage) in stages.iter().enumerate() {
        let name = stage.name.clone().unwrap_or_else(|| format!("stage-{}", index + 1));
        let end = begin + stage.duration;
        windows.push(PhaseWindow { name, start: begin, end, ramp: (stage.target - from).abs() > f64::EPSILON });
        (begin, from) = (end, stage.target);
    }
    windows
}

impl Course {
    /// When a phase of the profile is over; `None`: there is no such phase, or it is not known when.
    pub fn end_of_phase(&self, name: &str) -> Option<Duration> {
        self.phases.iter().rfind(|phase| phase.name == name).and_then(|phase| self.when(phase.end))
    }

    /// The phases in the time of the run, as far as they are known; the last one may be open.
    pub fn windows(&self) -> Vec<PhaseWindow> {
        let mut windows: Vec<PhaseWindow> = Vec::new();
        for piece in self.pieces() {
            let end = piece.to.unwrap_or(piece.from.max(UNKNOWN));
            match piece.mode {
                Mode::Paused => push(&mut windows, PAUSED, (piece.from, end), true),
                Mode::Held => {
                    let phase = self.phases.iter().find(|phase| phase.start <= piece.at && piece.at < phase.end);
                    if let Some(phase) = phase {
                        push(&mut windows, &phase.name, (piece.from, end), false);
                    }
                }
                Mode::Running => {
                    // From the time of the profile to that of the run, cut to the piece.
                    let real = |offset: Duration| piece.moment(offset).min(end);
                    for phase in self.phases.iter().filter(|phase| phase.end > piece.at) {
                        push(&mut windows, &phase.name, (real(phase.start), real(phase.end)), phase.ramp);
                    }
                }
            }
        }
        windows
    }
}

/// Adds a window unless it is empty; what goes on is made longer.
fn push(windows: &mut Vec<PhaseWindow>, name: &str, (start, end): (Duration, Duration), ramp: bool) {
    if start >= end {
        return;
    }
    match windows.last_mut() {
        Some(last) if last.end == start && last.name == name && last.ramp == ramp => last.end = end,
        Some(_) | None => windows.push(PhaseWindow { name: name.into(), start, end, ramp }),
    }
}
