//! The seconds of a run cut into stretches of one load each (by the phases of its catalog and by what people did to it), with what the
//! load did in each, and its course in short slots. Bounded in memory. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::summary::{duration_of, is_open};
use crate::model::catalog::{Catalog, PhaseWindow};
use crate::model::histogram::LatencyHistogram;
use crate::model::measure::{Interval, ScenarioInterval};
use crate::model::staircase::{JUDGING, REST};

/// Length of a slot in seconds.
pub(super) const SLOT: u32 = 5;
/// Slots that are kept: 28 hours.
const MOST_SLOTS: usize = 20_000;
/// A value of the response time stands for at least so many seconds and requests.
const MINUTE: u32 = 60;
const ENOUGH: u64 = 1_000;
/// Stretches that are kept.
const MOST_STRETCHES: usize = 500;
/// Pieces of a ramp, in seconds.
pub(super) const PIECE: u32 = 30;
/// What is left out at the beginning of a level, at most so many seconds and this share of it: the target has to settle.
const SETTLE: (f64, f64) = (15.0, 0.2);

/// A few seconds of the load.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Slot {
    /// First second.
    pub(super) at: u32,
    /// Seconds in it that were measured.
    pub(super) seconds: u32,
    pub(super) requests: u64,
    pub(super) failed: u64,
    pub(super) p95_s: Option<f64>,
}

/// A minute or more of the load within one stretch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Minute {
    /// Middle.
    pub(super) at: f64,
    pub(super) p95_s: Option<f64>,
    /// Share of requests that failed.
    pub(super) failed: f64,
}

/// What one scenario did in a stretch.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct ScenarioLoad {
    vus: u64,
    pub(super) scheduled: u64,
    pub(super) iterations: u64,
    pub(super) requests: u64,
}

impl ScenarioLoad {
    /// Mean number of VUs.
    pub(super) fn vus(&self, seconds: u32) -> f64 {
        self.vus as f64 / f64::from(seconds.max(1))
    }
}

/// What the phases of the scenarios are in a second: name and start; and the piece of a ramp.
type Phases = Vec<Option<(String, Duration)>>;

/// Seconds in a row with one load.
#[derive(Debug, Clone, Default)]
pub(super) struct Stretch {
    phases: Phases,
    piece: Option<u32>,
    /// First second, and first after it.
    pub(super) from: u32,
    pub(super) to: u32,
    /// No scenario changes its load, and at least one is going on.
    pub(super) steady: bool,
    /// Nothing below counts before this second.
    pub(super) settled: u32,
    /// Seconds that count.
    pub(super) seconds: u32,
    pub(super) scenarios: BTreeMap<u16, ScenarioLoad>,
    pub(super) requests: u64,
    pub(super) failed: u64,
    pub(super) duration: LatencyHistogram,
}

impl Stretch {
    /// Name of the phase of a scenario.
    pub(super) fn phase(&self, scenario: usize) -> Option<&str> {
        self.phases.get(scenario)?.as_ref().map(|(name, _)| name.as_str())
    }

    /// A piece of a ramp.
    pub(super) fn is_piece(&self) -> bool {
        self.piece.is_some()
    }

    /// Seconds from the first to the last.
    pub(super) fn length(&self) -> u32 {
        self.to.saturating_sub(self.from)
    }
}

/// The seconds of a run.
#[derive(Debug, Clone, Default)]
pub(super) struct Timeline {
    pub(super) stretches: Vec<Stretch>,
    pub(super) slots: Vec<Slot>,
    pub(super) minutes: Vec<Minute>,
    /// The slot and the minute that are being filled.
    slot: (Slot, LatencyHistogram),
    minute: Filling,
    /// Stretches that were too many to be kept.
    full: bool,
}

/// A minute that is being filled.
#[derive(Debug, Clone, Default)]
struct Filling {
    from: u32,
    seconds: u32,
    requests: u64,
    failed: u64,
    duration: LatencyHistogram,
}

impl Timeline {
    /// Adds one second; they come in order. `steered` says that somebody changed the load in this second.
    pub(super) fn second(&mut self, catalog: &Catalog, interval: &Interval, steered: bool) {
        let mut duration = LatencyHistogram::default();
        let (mut requests, mut failed) = (0, 0);
        for step in interval.steps.values() {
            duration.merge(&duration_of(step, is_open(catalog, step.step)));
            requests += step.requests();
            failed += step.failed();
        }
        for (index, scenario) in &interval.scenarios {
            if catalog.scenarios.get(usize::from(*index)).is_some_and(|meta| meta.open) {
                duration.merge(&scenario.dropped_wait);
            }
        }
        self.slot(interval.second, requests, failed, &duration);
        let begins = self.stretch(catalog, interval.second, steered);
        if begins {
            self.minute = Filling { from: interval.second, ..Filling::default() };
        }
        let Some(stretch) = self.stretches.last_mut().filter(|_| !self.full) else { return };
        stretch.to = interval.second + 1;
        if interval.second >= stretch.settled {
            stretch.seconds += 1;
            stretch.requests += requests;
            stretch.failed += failed;
            stretch.duration.merge(&duration);
            stretch.loads(catalog, interval);
        }
        if stretch.steady {
            self.minute(interval.second, requests, failed, &duration);
        }
    }

    fn slot(&mut self, second: u32, requests: u64, failed: u64, duration: &LatencyHistogram) {
        let at = second - second % SLOT;
        if self.slot.0.at != at || self.slot.0.seconds == 0 {
            self.close_slot();
            self.slot.0.at = at;
        }
        let (slot, histogram) = &mut self.slot;
        slot.seconds += 1;
        slot.requests += requests;
        slot.failed += failed;
        histogram.merge(duration);
    }

    fn close_slot(&mut self) {
        let (mut slot, histogram) = std::mem::take(&mut self.slot);
        if slot.seconds > 0 && self.slots.len() < MOST_SLOTS {
            slot.p95_s = histogram.quantile(0.95).map(|time| time.as_secs_f64());
            self.slots.push(slot);
        }
    }

    fn minute(&mut self, second: u32, requests: u64, failed: u64, duration: &LatencyHistogram) {
        let filling = &mut self.minute;
        filling.seconds += 1;
        filling.requests += requests;
        filling.failed += failed;
        filling.duration.merge(duration);
        if filling.seconds >= MINUTE && filling.requests >= ENOUGH {
            let p95_s = filling.duration.quantile(0.95).map(|time| time.as_secs_f64());
            let at = f64::from(filling.from).midpoint(f64::from(second + 1));
            self.minutes.push(Minute { at, p95_s, failed: filling.failed as f64 / filling.requests as f64 });
            self.minute = Filling { from: second + 1, ..Filling::default() };
        }
    }

    /// Goes on with the present stretch or begins another; true when it begins one.
    fn stretch(&mut self, catalog: &Catalog, second: u32, steered: bool) -> bool {
        let now: Vec<Option<&PhaseWindow>> = catalog.scenarios.iter().map(|scenario| scenario.phase_at(second)).collect();
        let ramp = now.iter().flatten().find(|phase| phase.ramp);
        let piece = ramp.map(|ramp| second.saturating_sub(ramp.start.as_secs() as u32) / PIECE);
        let phases: Phases = now.iter().map(|phase| phase.map(|phase| (phase.name.clone(), phase.start))).collect();
        if !steered && self.stretches.last().is_some_and(|last| last.phases == phases && last.piece == piece) {
            return false;
        }
        if self.stretches.len() >= MOST_STRETCHES {
            self.full = true;
            return false;
        }
        let idle = |phase: &&PhaseWindow| phase.name == JUDGING || phase.name == REST;
        let going = || now.iter().flatten().copied();
        let steady = going().count() > 0 && ramp.is_none() && !going().any(|phase| idle(&phase));
        let planned = going().map(|phase| phase.end.as_secs_f64() - f64::from(second)).fold(f64::INFINITY, f64::min);
        let settle = if steady { SETTLE.0.min(SETTLE.1 * planned.max(0.0)) } else { 0.0 };
        let settled = second + settle.ceil() as u32;
        self.stretches.push(Stretch { phases, piece, from: second, to: second, steady, settled, ..Stretch::default() });
        true
    }

    /// The slots so far, the one that is being filled included.
    pub(super) fn all_slots(&self) -> Vec<Slot> {
        let mut whole = Self { slots: self.slots.clone(), slot: self.slot.clone(), ..Self::default() };
        whole.close_slot();
        whole.slots
    }

    /// The longest stretch of constant load.
    pub(super) fn longest(&self) -> Option<&Stretch> {
        self.stretches.iter().filter(|stretch| stretch.steady).max_by_key(|stretch| stretch.length())
    }
}

impl Stretch {
    fn loads(&mut self, catalog: &Catalog, interval: &Interval) {
        for (index, ScenarioInterval { vus, counts, .. }) in &interval.scenarios {
            let load = self.scenarios.entry(*index).or_default();
            load.vus += vus;
            load.scheduled += counts.scheduled;
            load.iterations += counts.completed + counts.failed;
        }
        for step in interval.steps.values() {
            let owner = catalog.steps.get(usize::from(step.step)).map(|meta| meta.scenario);
            if let Some(owner) = owner {
                self.scenarios.entry(owner).or_default().requests += step.requests();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{catalog, phase, second};
    use super::*;

    #[test]
    fn stretches_follow_phases_pieces_of_ramps_and_people() {
        let catalog = catalog(&[phase("up", 0, 60, true), phase("hold", 60, 160, false), phase("judging", 160, 170, false)]);
        let mut timeline = Timeline::default();
        for at in 0..170 {
            timeline.second(&catalog, &second(at, 10, 0, 20_000), at == 100);
        }
        let told: Vec<(u32, u32, bool)> = timeline.stretches.iter().map(|one| (one.from, one.to, one.steady)).collect();
        assert_eq!(told, [(0, 30, false), (30, 60, false), (60, 100, true), (100, 160, true), (160, 170, false)]);
        let hold = timeline.longest().unwrap();
        assert_eq!((hold.from, hold.phase(0), hold.seconds, hold.requests), (100, Some("hold"), 48, 480));
    }

    #[test]
    fn a_minute_stands_for_a_thousand_requests() {
        let catalog = catalog(&[phase("hold", 0, 600, false)]);
        let mut timeline = Timeline::default();
        (0..600).for_each(|at| timeline.second(&catalog, &second(at, 10, 1, 20_000), false));
        assert_eq!(timeline.minutes.len(), 6, "100 s each");
        assert!((timeline.minutes[0].at - 50.0).abs() < 1e-9 && (timeline.minutes[0].failed - 0.1).abs() < 1e-9);
        assert_eq!(timeline.all_slots().len(), 120);
        assert_eq!(timeline.all_slots()[119].requests, 50);
    }
}
