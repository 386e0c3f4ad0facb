//! Which level of a staircase comes next, and the stages that lead to it. Up level by level; between the last level that passed and
//! the first that did not, the gap is halved until it is as narrow as asked for (bisection).

use std::time::Duration;

use crate::model::profile::Stage;
use crate::model::staircase::{JUDGING, REST, Staircase};

/// A climb on its way.
#[derive(Debug, Clone, PartialEq)]
pub struct Climb {
    levels: Vec<f64>,
    stop_on_fail: bool,
    resolution: Option<f64>,
    /// Levels of the plan that were begun.
    begun: usize,
    present: f64,
    passed: Option<f64>,
    failed: Option<f64>,
}

impl Climb {
    /// A climb on its first level.
    pub fn new(stairs: &Staircase) -> Self {
        Self {
            present: stairs.levels.first().copied().unwrap_or(0.0),
            levels: stairs.levels.clone(),
            stop_on_fail: stairs.stop_on_fail,
            resolution: stairs.resolution,
            begun: 1,
            passed: None,
            failed: None,
        }
    }

    /// The level that is held now.
    pub fn present(&self) -> f64 {
        self.present
    }

    /// The highest level that passed.
    pub fn passed(&self) -> Option<f64> {
        self.passed
    }

    /// The lowest level that did not pass.
    pub fn failed(&self) -> Option<f64> {
        self.failed
    }

    /// Takes what the present level came to, and goes to the next; `None`: the climb is over.
    pub fn judged(&mut self, pass: bool) -> Option<f64> {
        let present = self.present;
        if pass {
            self.passed = Some(self.passed.map_or(present, |passed| passed.max(present)));
        } else {
            self.failed = Some(self.failed.map_or(present, |failed| failed.min(present)));
        }
        let next = match self.failed.filter(|_| self.stop_on_fail) {
            Some(failed) => self.between(failed),
            None => {
                self.begun += 1;
                self.levels.get(self.begun - 1).copied()
            }
        };
        self.present = next.unwrap_or(present);
        next
    }

    /// The middle of the last gap, on the grid of the resolution; `None` when it is narrow enough or nothing is searched for.
    fn between(&self, failed: f64) -> Option<f64> {
        let (passed, resolution) = (self.passed?, self.resolution?);
        let steps = (failed - passed) / resolution;
        if steps <= 1.0 + 1e-9 {
            return None;
        }
        Some(passed + resolution * (steps / 2.0 + 1e-9).floor().max(1.0))
    }
}

/// How the climb leaves a level.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Leaving {
    /// The level.
    pub level: f64,
    /// For how long it went on after it was held to its end, until it was judged.
    pub judged_for: Duration,
    /// The level was too much: the target may recover.
    pub rests: bool,
}

/// The stages that leave a level (none before the first), lead to the next and hold it; none after the last.
pub fn stages_to(stairs: &Staircase, leaving: Option<Leaving>, next: Option<f64>) -> Vec<Stage> {
    let mut stages = Vec::with_capacity(5);
    let mut add = |duration: Duration, target: f64, name: String| stages.push(Stage { duration, target, name: Some(name) });
    if let Some(leaving) = leaving {
        add(leaving.judged_for, leaving.level, JUDGING.into());
        if let Some(next) = next {
            if leaving.rests && !stairs.rest.is_zero() {
                add(Duration::ZERO, 0.0, REST.into());
                add(stairs.rest, 0.0, REST.into());
            }
            // Without a ramp it is a jump.
            add(stairs.ramp, next, stairs.ramp_name(next));
        }
    }
    if let Some(next) = next {
        add(stairs.hold, next, stairs.level_name(next));
    }
    stages
}

/// The stages of a climb as far as they are known before it begins: all of them when nothing is decided on the way, else the first
/// level.
pub(super) fn known_stages(stairs: &Staircase) -> Vec<Stage> {
    let levels = if stairs.is_decided_on_the_way() { 1 } else { stairs.levels.len() };
    let mut stages = Vec::new();
    let mut present = None;
    for level in stairs.levels.iter().take(levels) {
        stages.extend(stages_to(stairs, present, Some(*level)));
        present = Some(Leaving { level: *level, judged_for: Duration::ZERO, rests: false });
    }
    stages
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::staircase::StairUnit;

    fn stairs(levels: &[f64], stop_on_fail: bool, resolution: Option<f64>) -> Staircase {
        Staircase {
            unit: StairUnit::Vus,
            levels: levels.to_vec(),
            hold: Duration::from_secs(60),
            ramp: Duration::from_secs(10),
            rest: Duration::from_secs(5),
            gate: Vec::new(),
            stop_on_fail,
            resolution,
            must_reach: None,
        }
    }

    /// The levels that are climbed when the target holds up to `capacity`.
    fn climbed(stairs: &Staircase, capacity: f64) -> (Vec<f64>, Climb) {
        let mut climb = Climb::new(stairs);
        let mut levels = vec![climb.present()];
        while let Some(next) = climb.judged(climb.present() <= capacity) {
            levels.push(next);
        }
        (levels, climb)
    }

    #[test]
    fn it_goes_no_higher_than_the_first_level_that_fails() {
        let (levels, climb) = climbed(&stairs(&[50.0, 100.0, 150.0, 200.0], true, None), 120.0);
        assert_eq!(levels, [50.0, 100.0, 150.0]);
        assert_eq!((climb.passed(), climb.failed()), (Some(100.0), Some(150.0)));
        let (levels, climb) = climbed(&stairs(&[50.0, 100.0, 150.0, 200.0], false, None), 120.0);
        assert_eq!((levels.len(), climb.passed(), climb.failed()), (4, Some(100.0), Some(150.0)));
        let (levels, climb) = climbed(&stairs(&[50.0, 100.0], true, Some(1.0)), 400.0);
        assert_eq!((levels, climb.passed(), climb.failed()), (vec![50.0, 100.0], Some(100.0), None));
    }

    #[test]
    fn the_last_gap_is_halved_down_to_the_resolution() {
        let (levels, climb) = climbed(&stairs(&[50.0, 100.0, 150.0], true, Some(10.0)), 127.0);
        assert_eq!(levels, [50.0, 100.0, 150.0, 120.0, 130.0]);
        assert_eq!((climb.passed(), climb.failed()), (Some(120.0), Some(130.0)));
        // Nothing passed: there is no gap to search in.
        assert_eq!(climbed(&stairs(&[50.0, 100.0], true, Some(10.0)), 10.0).0, [50.0]);
        // A gap that the resolution does not divide evenly.
        let (levels, climb) = climbed(&stairs(&[50.0, 65.0], true, Some(10.0)), 62.0);
        assert_eq!((levels, climb.passed(), climb.failed()), (vec![50.0, 65.0, 60.0], Some(60.0), Some(65.0)));
    }

    #[test]
    fn stages_lead_from_level_to_level() {
        let stairs = stairs(&[50.0, 100.0], false, None);
        let names = |stages: &[Stage]| stages.iter().map(|one| one.name.clone().unwrap()).collect::<Vec<_>>();
        assert_eq!(names(&known_stages(&stairs)), ["level-50", "judging", "ramp-100", "level-100"]);
        let leaving = Leaving { level: 50.0, judged_for: Duration::from_secs(2), rests: false };
        let next = stages_to(&stairs, Some(leaving), Some(75.0));
        assert_eq!(names(&next), ["judging", "ramp-75", "level-75"]);
        assert_eq!(next.iter().map(|stage| stage.target as u64).collect::<Vec<_>>(), [50, 75, 75]);
        let next = stages_to(&stairs, Some(Leaving { rests: true, ..leaving }), Some(40.0));
        assert_eq!(names(&next), ["judging", "rest", "rest", "ramp-40", "level-40"]);
        assert_eq!(next.iter().map(|stage| stage.target as u64).collect::<Vec<_>>(), [50, 0, 0, 40, 40]);
        assert_eq!(names(&stages_to(&stairs, Some(leaving), None)), ["judging"]);
    }

    proptest! {
        #[test]
        fn a_search_ends_with_a_gap_as_narrow_as_asked_for(
            first in 1_u32..100, steps in prop::collection::vec(1_u32..200, 1..12), resolution in 1_u32..40, capacity in 0_u32..2_000,
        ) {
            let mut level = f64::from(first);
            let mut levels = vec![level];
            for step in steps {
                level += f64::from(step);
                levels.push(level);
            }
            let stairs = stairs(&levels, true, Some(f64::from(resolution)));
            let (climbed, climb) = climbed(&stairs, f64::from(capacity));
            let time = stairs.hold * climbed.len() as u32 + stairs.ramp * (climbed.len() as u32 - 1);
            prop_assert!(time <= stairs.longest(), "{:?}", climbed);
            prop_assert!(climb.passed().is_none_or(|passed| passed <= f64::from(capacity)));
            prop_assert!(climb.failed().is_none_or(|failed| failed > f64::from(capacity)));
            if let (Some(passed), Some(failed)) = (climb.passed(), climb.failed()) {
                prop_assert!(failed - passed <= f64::from(resolution) + 1e-6, "{} {}", passed, failed);
            }
            // No level is climbed twice: their names would not tell them apart.
            let mut sorted: Vec<u64> = climbed.iter().map(|level| level.to_bits()).collect();
            sorted.sort_unstable();
            sorted.dedup();
            prop_assert_eq!(sorted.len(), climbed.len());
        }
    }
}
