//! The course of one scenario: what its profile says, and what was decided since by those who steer the run. From both follow the
//! start times and VU numbers at every moment, the same on every load thread and machine that knows the same decisions.
//! Moments (`Duration`) are offsets in the run unless they are said to be the profile's.
//!
//! The profile has a clock of its own, which stands while a run is paused or held. Between two decisions lies a *piece*: in it the
//! clock runs or stands, and the load is the profile's or a scaled one.

use std::time::Duration;

use super::climb::known_stages;
use super::starts::Starts;
use super::steps::VuSteps;
use super::windows;
use crate::model::catalog::PhaseWindow;
use crate::model::control::Scale;
use crate::model::profile::{Executor, Scenario, Spacing, Stage};
use crate::model::staircase::StairUnit;
use crate::model::units::Rate;

/// What the clock of the profile does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It runs, and so does the load.
    Running,
    /// It stands, the load goes on as it was.
    Held,
    /// It stands, and nothing starts.
    Paused,
}

/// How a scenario is steered from a moment on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// From when.
    pub at: Duration,
    /// What the clock does.
    pub mode: Mode,
    /// The load in place of the profile's; `None`: as the profile says.
    pub scale: Option<Scale>,
}

/// What a profile says, by the kind of its executor.
#[derive(Debug, Clone, PartialEq)]
enum Levels {
    Vus(VuSteps),
    Starts(Starts),
}

/// A stretch of the run between two decisions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Piece {
    pub(super) from: Duration,
    /// `None`: nobody knows yet.
    pub(super) to: Option<Duration>,
    pub(super) mode: Mode,
    scale: Option<Scale>,
    /// What the profile's clock says at `from`.
    pub(super) at: Duration,
    /// Starts due before `from`, with their fraction.
    before: f64,
    /// As many starts were due before as the profile says: then its exact start times hold.
    on_profile: bool,
}

impl Piece {
    /// When the profile's clock, which runs in this piece, says `offset`.
    pub(super) fn moment(&self, offset: Duration) -> Duration {
        self.from + offset.saturating_sub(self.at)
    }

    /// What the profile's clock says at `moment`, which lies in this piece.
    fn clock_at(&self, moment: Duration) -> Duration {
        match self.mode {
            Mode::Running => self.at + moment.saturating_sub(self.from),
            Mode::Held | Mode::Paused => self.at,
        }
    }
}

/// The course of one scenario.
#[derive(Debug, Clone, PartialEq)]
pub struct Course {
    levels: Levels,
    /// Phases in the time of the profile.
    pub(super) phases: Vec<PhaseWindow>,
    /// The stages of a climb so far, and what they count.
    climb: Option<(StairUnit, Vec<Stage>)>,
    /// When the profile ends, by its own clock; `None`: not decided yet.
    length: Option<Duration>,
    /// Most VUs that scaling may reach.
    most_vus: Option<u64>,
    /// How starts are spread.
    spacing: Spacing,
    /// It waits for another scenario, or did.
    waits: bool,
    /// How long its clock runs before it begins.
    delay: Duration,
    /// From when its clock counts; `None`: not known yet, because it waits for another scenario.
    origin: Option<Duration>,
    changes: Vec<Change>,
    pieces: Vec<Piece>,
}

impl Course {
    /// The course of a scenario about which nothing was decided yet.
    pub fn new(scenario: &Scenario) -> Self {
        let executor = &scenario.executor;
        let (levels, most_vus) = match executor {
            Executor::ConstantVus { .. } | Executor::RampingVus { .. } | Executor::SharedIterations { .. } | Executor::Staircase(_) => {
                (VuSteps::of(executor), None)
            }
            Executor::PerVuIterations { vus, .. } => (VuSteps::of(executor), Some(*vus)),
            Executor::ExternallyControlled { max_vus, .. } => (VuSteps::of(executor), Some(*max_vus)),
            Executor::ConstantArrivalRate { .. } | Executor::RampingArrivalRate { .. } => (None, None),
        };
        let levels = match (levels, Starts::of(executor)) {
            (None, Some(starts)) => Levels::Starts(starts),
            (steps, _) => Levels::Vus(steps.unwrap_or_default()),
        };
        let (climb, length) = match executor {
            Executor::Staircase(stairs) => {
                let stages = known_stages(stairs);
                let length = (!stairs.is_decided_on_the_way()).then(|| length_of(&stages));
                (Some((stairs.unit, stages)), length)
            }
            Executor::ConstantVus { .. }
            | Executor::RampingVus { .. }
            | Executor::ConstantArrivalRate { .. }
            | Executor::RampingArrivalRate { .. }
            | Executor::PerVuIterations { .. }
            | Executor::SharedIterations { .. }
            | Executor::ExternallyControlled { .. } => (None, Some(executor.duration())),
        };
        let mut course = Self {
            levels,
            phases: windows::of_profile(executor),
            climb,
            length,
            most_vus,
            spacing: scenario.spacing,
            waits: scenario.start_after.is_some(),
            delay: scenario.start_time,
            origin: scenario.start_after.is_none().then_some(Duration::ZERO),
            changes: Vec::new(),
            pieces: Vec::new(),
        };
        course.cut();
        course
    }

    /// The scenario that this one waits for has ended: its clock counts from `moment`. Nothing for one that waits no more.
    pub fn begin_at(&mut self, moment: Duration) {
        if self.origin.is_none() {
            self.origin = Some(moment);
            self.cut();
        }
    }

    /// How starts are spread.
    pub fn spacing(&self) -> Spacing {
        self.spacing
    }

    /// Adds a decision. One that is older than the last is taken at the moment of the last; a scale of another kind is none.
    pub fn change(&mut self, change: Change) {
        let at = self.changes.last().map_or(change.at, |last| change.at.max(last.at));
        self.changes.retain(|other| other.at < at);
        self.changes.push(Change { at, scale: change.scale.filter(|scale| self.takes(*scale)), ..change });
        self.cut();
    }

    /// Whether such a scale means something here: VUs for closed executors, rates for open ones.
    pub fn takes(&self, scale: Scale) -> bool {
        match scale {
            Scale::Factor(factor) => factor > 0.0,
            Scale::Vus(_) => matches!(self.levels, Levels::Vus(_)),
            Scale::Rate(_) => matches!(self.levels, Levels::Starts(_)),
        }
    }

    /// Adds stages to a climb; `ends` when they are the last. Nothing for other executors.
    pub fn extend(&mut self, more: &[Stage], ends: bool) {
        let Some((unit, stages)) = &mut self.climb else { return };
        stages.extend_from_slice(more);
        let first = stages.first().map_or(0.0, |stage| stage.target);
        self.levels = match *unit {
            StairUnit::Vus => Levels::Vus(VuSteps::ramping(first as u64, stages)),
            StairUnit::Rate { per, .. } => Levels::Starts(Starts::ramping(Rate { count: first, per }, stages, ends)),
        };
        self.phases = windows::of_climb(stages, ends);
        self.length = ends.then(|| length_of(stages));
        self.cut();
    }

    /// How much of its clock the stages of a climb take that are decided so far.
    pub fn climbed(&self) -> Duration {
        self.climb.as_ref().map_or(Duration::ZERO, |(_, stages)| length_of(stages))
    }

    /// The first moment at which the profile's clock says `offset`; `None`: it is not known when.
    pub fn when(&self, offset: Duration) -> Option<Duration> {
        let piece = self.pieces.iter().find(|piece| {
            let reached = piece.to.map_or(Duration::MAX, |to| piece.clock_at(to));
            piece.mode == Mode::Running && piece.at <= offset && offset <= reached
        });
        piece.map(|piece| piece.moment(offset))
    }

    /// True when the load was another than the profile's at some moment of `from..to`.
    pub fn is_scaled_within(&self, from: Duration, to: Duration) -> bool {
        let scaled = |piece: &&Piece| piece.scale.is_some_and(|scale| scale != Scale::Factor(1.0)) && piece.mode != Mode::Paused;
        self.pieces.iter().filter(scaled).any(|piece| piece.from < to && piece.to.is_none_or(|end| from < end))
    }

    /// How it is steered since the last decision.
    pub fn latest(&self) -> Change {
        self.changes.last().copied().unwrap_or(Change { at: Duration::ZERO, mode: Mode::Running, scale: None })
    }

    /// Most VUs that scaling may reach, where the executor has a bound.
    pub fn most_vus(&self) -> Option<u64> {
        self.most_vus
    }

    /// True when something was decided about it, or will have to be, after it began.
    pub fn is_decided_on_the_way(&self) -> bool {
        !self.changes.is_empty() || self.climb.is_some() || self.waits
    }

    /// When it begins; `None`: not known yet.
    pub fn begin(&self) -> Option<Duration> {
        self.pieces.first().map(|piece| piece.from)
    }

    /// Its regular end: nothing starts from here on; `None`: not known yet.
    pub fn end(&self) -> Option<Duration> {
        self.pieces.last().and_then(|piece| piece.to)
    }

    /// True when nothing may start at `moment` although the scenario goes on.
    pub fn is_paused_at(&self, moment: Duration) -> bool {
        self.piece_at(moment).is_some_and(|piece| piece.mode == Mode::Paused)
    }

    /// What the profile's clock says at `moment`; `None` before the begin and after the end.
    pub fn clock_at(&self, moment: Duration) -> Option<Duration> {
        self.piece_at(moment).map(|piece| piece.clock_at(moment))
    }

    /// The load in place of the profile's at `moment`.
    pub fn scale_at(&self, moment: Duration) -> Option<Scale> {
        self.piece_at(moment).and_then(|piece| piece.scale)
    }

    /// VUs that are wanted at `moment`: none before the begin and after the end, and always none for open executors.
    pub fn vus_at(&self, moment: Duration) -> u64 {
        let (Levels::Vus(steps), Some(piece)) = (&self.levels, self.piece_at(moment)) else { return 0 };
        let vus = steps.vus_at(piece.clock_at(moment));
        let scaled = piece.scale.map_or(vus, |scale| scale.of_vus(vus));
        self.most_vus.map_or(scaled, |most| scaled.min(most))
    }

    /// Starts a second that are wanted at `moment`; `None` for closed executors.
    pub fn rate_at(&self, moment: Duration) -> Option<f64> {
        let Levels::Starts(starts) = &self.levels else { return None };
        let piece = self.piece_at(moment).filter(|piece| piece.mode != Mode::Paused);
        Some(piece.map_or(0.0, |piece| rate(starts, piece, piece.clock_at(moment)) * 1e9))
    }

    /// The first moment after `moment` at which the number of VUs may change, or a pause begins or ends; `None`: not known.
    pub fn next_change(&self, moment: Duration) -> Option<Duration> {
        let next = self.pieces.get(self.pieces.partition_point(|piece| piece.from <= moment)).map(|piece| piece.from);
        let next = next.or_else(|| self.end().filter(|end| *end > moment));
        let step = self.piece_at(moment).filter(|piece| piece.mode == Mode::Running).and_then(|piece| {
            let Levels::Vus(steps) = &self.levels else { return None };
            steps.next_change(piece.clock_at(moment)).map(|offset| piece.moment(offset))
        });
        next.into_iter().chain(step).min()
    }

    /// Moment of the n-th start (n from 0), evenly spaced; `None`: there is none, as far as is decided.
    pub fn start_of(&self, n: u64) -> Option<Duration> {
        let Levels::Starts(starts) = &self.levels else { return None };
        let area = n as f64 + starts.first();
        // A start that falls on a boundary comes before it where the rate ramps, after it where it is constant.
        self.reach(area, Some(n), starts.first() > 0.0)
    }

    /// Moment at which `area` starts are due, with their fraction; `None`: never, as far as is decided.
    pub fn moment_of(&self, area: f64) -> Option<Duration> {
        self.reach(area, None, false)
    }

    /// `n` is the number of the start when the profile's exact start times are wanted; `inclusive`: it may fall on the end of a piece.
    fn reach(&self, area: f64, n: Option<u64>, inclusive: bool) -> Option<Duration> {
        let Levels::Starts(starts) = &self.levels else { return None };
        let is_before = |piece: &Piece| if inclusive { piece.before + 1e-9 < area } else { piece.before <= area };
        // The last piece that begins before the start is due: those after it have more starts behind them.
        let after = self.pieces.partition_point(is_before);
        let piece = self.pieces.get(after.checked_sub(1)?)?;
        let moment = match (piece.mode, piece.scale, n) {
            (Mode::Paused, ..) => return None,
            (Mode::Running, None, Some(n)) if piece.on_profile => piece.moment(starts.start_of(n)?),
            (Mode::Running, None, _) => piece.moment(starts.reach(starts.area_at(piece.at) + area - piece.before)?),
            (Mode::Running, Some(Scale::Factor(factor)), _) => {
                piece.moment(starts.reach(starts.area_at(piece.at) + (area - piece.before) / factor)?)
            }
            (Mode::Running | Mode::Held, ..) => {
                let rate = rate(starts, piece, piece.at);
                let nanos = ((area - piece.before) / rate).clamp(0.0, 1e18);
                (rate > 0.0).then(|| piece.from + Duration::from_nanos(nanos as u64))?
            }
        };
        let Some(to) = piece.to else { return Some(moment) };
        let fits = if inclusive { moment <= to } else { moment < to };
        // Rounding can carry a start beyond the end of its piece, but not beyond that of the scenario.
        if fits { Some(moment) } else { (after < self.pieces.len()).then_some(to) }
    }

    fn piece_at(&self, moment: Duration) -> Option<&Piece> {
        let piece = self.pieces.get(self.pieces.partition_point(|piece| piece.from <= moment).checked_sub(1)?)?;
        piece.to.is_none_or(|to| moment < to).then_some(piece)
    }

    pub(super) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// Cuts the run into pieces anew.
    fn cut(&mut self) {
        self.pieces.clear();
        let Some(origin) = self.origin else { return };
        let first = self.changes.iter().rfind(|change| change.at <= origin);
        let mut state = Change { at: origin, ..first.copied().unwrap_or(Change { at: origin, mode: Mode::Running, scale: None }) };
        let later: Vec<Change> = self.changes.iter().filter(|change| change.at > origin).copied().collect();
        // How long the clock still has to run before the scenario begins.
        let mut delay = self.delay;
        let (mut at, mut before, mut on_profile) = (Duration::ZERO, 0.0, true);
        for next in later.into_iter().map(Some).chain([None]) {
            let (mut from, to) = (state.at, next.map(|next| next.at));
            let runs = state.mode == Mode::Running;
            if !delay.is_zero() || self.pieces.is_empty() {
                let waited = if runs { to.map_or(delay, |to| to.saturating_sub(from).min(delay)) } else { Duration::ZERO };
                delay -= waited;
                from += waited;
            }
            if delay.is_zero() && to.is_none_or(|to| from < to) && (runs || !self.pieces.is_empty()) {
                let end = self.length.filter(|_| runs).map(|length| from + length.saturating_sub(at));
                let over = end.is_some_and(|end| to.is_none_or(|to| end <= to));
                let piece = Piece { from, to: if over { end } else { to }, mode: state.mode, scale: state.scale, at, before, on_profile };
                on_profile &= (runs && piece.scale.is_none()) || piece.mode == Mode::Paused;
                if let (Some(to), Levels::Starts(starts)) = (piece.to, &self.levels) {
                    before = starts_by(starts, &piece, to, on_profile);
                    at = piece.clock_at(to);
                } else if let Some(to) = piece.to {
                    at = piece.clock_at(to);
                }
                self.pieces.push(piece);
                if over {
                    return;
                }
            }
            if let Some(next) = next {
                state = next;
            }
        }
    }
}

fn length_of(stages: &[Stage]) -> Duration {
    stages.iter().map(|stage| stage.duration).sum()
}

/// Starts a nanosecond when the profile's clock says `at`.
fn rate(starts: &Starts, piece: &Piece, at: Duration) -> f64 {
    let rate = starts.rate_at(at);
    piece.scale.map_or(rate, |scale| scale.of_rate_per_ns(rate))
}

/// Starts due by `to`, the end of a piece. While all went by the profile, it is the area that the profile says, exactly.
fn starts_by(starts: &Starts, piece: &Piece, to: Duration, on_profile: bool) -> f64 {
    let ns = to.saturating_sub(piece.from).as_nanos() as f64;
    let area = |factor: f64| (starts.area_at(piece.clock_at(to)) - starts.area_at(piece.at)) * factor;
    match (piece.mode, piece.scale) {
        (Mode::Paused, _) => piece.before,
        (Mode::Running, None) if on_profile => starts.area_at(piece.clock_at(to)),
        (Mode::Running, None) => piece.before + area(1.0),
        (Mode::Running, Some(Scale::Factor(factor))) => piece.before + area(factor),
        (Mode::Running | Mode::Held, _) => piece.before + ns * rate(starts, piece, piece.at),
    }
}

#[cfg(test)]
#[path = "course_tests.rs"]
mod tests;
