//! The number of VUs of closed executors over time. Offsets are those of the profile, from the start of the scenario.

use std::time::Duration;

use super::climb::known_stages;
use crate::model::profile::{Executor, Stage};
use crate::model::staircase::StairUnit;

/// The number of VUs over time of a closed executor, as steps: from each offset on, so many.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VuSteps {
    steps: Vec<(Duration, u64)>,
}

impl VuSteps {
    /// The steps of an executor; `None` for an open one.
    pub fn of(executor: &Executor) -> Option<Self> {
        match executor {
            Executor::ConstantVus { vus, .. }
            | Executor::PerVuIterations { vus, .. }
            | Executor::SharedIterations { vus, .. }
            | Executor::ExternallyControlled { vus, .. } => Some(Self { steps: vec![(Duration::ZERO, *vus)] }),
            Executor::RampingVus { start_vus, stages, .. } => Some(Self::ramping(*start_vus, stages)),
            Executor::ConstantArrivalRate { .. } | Executor::RampingArrivalRate { .. } => None,
            Executor::Staircase(stairs) => match stairs.unit {
                StairUnit::Vus => Some(Self::ramping(stairs.levels.first().map_or(0, |level| *level as u64), &known_stages(stairs))),
                StairUnit::Rate { .. } => None,
            },
        }
    }

    /// A number that follows stages, and stays at its last level.
    pub(super) fn ramping(start_vus: u64, stages: &[Stage]) -> Self {
        Self { steps: ramp_steps(start_vus, stages) }
    }

    /// VUs that are wanted at `offset`.
    pub fn vus_at(&self, offset: Duration) -> u64 {
        let after = self.steps.partition_point(|(at, _)| *at <= offset);
        if after == 0 { 0 } else { self.steps[after - 1].1 }
    }

    /// The first change after `offset`.
    pub fn next_change(&self, offset: Duration) -> Option<Duration> {
        self.steps.get(self.steps.partition_point(|(at, _)| *at <= offset)).map(|(at, _)| *at)
    }
}

/// Up from S to T over D ending at E: the count reaches n at E - D(T-n)/(T-S). Down: n becomes n-1 at E - D(n-1-T)/(S-T).
fn ramp_steps(start_vus: u64, stages: &[Stage]) -> Vec<(Duration, u64)> {
    let mut steps = vec![(Duration::ZERO, start_vus)];
    let (mut from, mut begin) = (start_vus, 0_u128);
    for stage in stages {
        let (to, length) = (stage.target as u64, stage.duration.as_nanos());
        let end = begin + length;
        let span = u128::from(from.abs_diff(to));
        // `left` changes are still to come when the count becomes `count`.
        let mut change = |count: u64, left: u64| {
            let at = if length == 0 { end } else { end - length * u128::from(left) / span };
            steps.push((Duration::from_nanos(u64::try_from(at).unwrap_or(u64::MAX)), count));
        };
        if length == 0 {
            if from != to {
                change(to, 0);
            }
        } else if to > from {
            (from + 1..=to).for_each(|count| change(count, to - count));
        } else {
            (to..from).rev().for_each(|count| change(count, count - to));
        }
        (from, begin) = (to, end);
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ramping_vus_matches_the_golden_vector() {
        let stages = [(2, 6), (5, 1), (4, 5), (4, 1), (3, 4), (2, 4), (0, 1), (3, 1)];
        let stages = stages
            .into_iter()
            .map(|(seconds, target)| Stage { duration: Duration::from_secs(seconds), target: f64::from(target), name: None })
            .collect();
        let executor = Executor::RampingVus { start_vus: 4, stages, graceful_ramp_down: Duration::ZERO };
        let steps = VuSteps::of(&executor).unwrap();
        let counts: Vec<u64> = (0..=18).map(|second| steps.vus_at(Duration::from_secs(second))).collect();
        assert_eq!(counts, [4, 5, 6, 5, 4, 3, 2, 1, 2, 3, 4, 5, 4, 3, 2, 1, 2, 3, 4]);
        assert_eq!(steps.vus_at(Duration::from_secs(20)), 1);
    }
}
