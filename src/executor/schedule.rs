//! When iterations start, as pure functions of the profile: k6's rules, computed exactly, never by adding up rounded periods.
//! Nothing here knows clocks, VUs or threads; several machines asking for the same start get the same answer.
//! Rules and golden vectors: docs/methods.md ("Executors"), after k6's `lib/executor` and vegeta's pacer.

use std::time::Duration;

use crate::model::catalog::PhaseWindow;
use crate::model::profile::{Executor, Stage};
use crate::model::units::Rate;

/// The start times of an open executor. `start_of(n)` for n = 0, 1, 2 … never decreases; `None` when there is no n-th start.
#[derive(Debug, Clone, PartialEq)]
pub enum Starts {
    /// Iteration k starts at `k * per / count`, the first at 0, the last before the end.
    Constant {
        /// The rate.
        rate: Rate,
        /// Regular duration.
        duration: Duration,
    },
    /// Iteration n (from 1) starts when the area under the rate reaches n; the last may fall on the very end.
    Ramping(Vec<Ramp>),
}

/// One stage of a ramping rate. Rates are starts per nanosecond, times nanoseconds from the start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ramp {
    from: f64,
    to: f64,
    start: f64,
    length: f64,
    /// Area under the rate before this stage.
    done: f64,
}

impl Ramp {
    fn area(&self) -> f64 {
        self.length * f64::midpoint(self.from, self.to)
    }

    /// Nanoseconds into the stage at which `rest` more starts are due.
    /// from*x + (to-from)*x^2 / (2*length) = rest, solved for x; the root's argument clamped at 0.
    fn reach(&self, rest: f64) -> f64 {
        let (from, to, length) = (self.from, self.to, self.length);
        if (from - to).abs() <= f64::EPSILON * from.max(to) {
            return rest / to;
        }
        let root = (length * (from * from * length + 2.0 * rest * (to - from))).max(0.0).sqrt();
        (from * length - root) / (from - to)
    }
}

impl Starts {
    /// The start times of an executor; `None` for a closed one.
    pub fn of(executor: &Executor) -> Option<Self> {
        match executor {
            Executor::ConstantVus { .. }
            | Executor::RampingVus { .. }
            | Executor::PerVuIterations { .. }
            | Executor::SharedIterations { .. } => None,
            Executor::ConstantArrivalRate { rate, duration, .. } => Some(Self::Constant { rate: *rate, duration: *duration }),
            Executor::RampingArrivalRate { start_rate, stages, .. } => {
                let per = start_rate.per.as_nanos() as f64;
                let (mut from, mut start, mut done) = (start_rate.count / per, 0.0, 0.0);
                let mut ramps = Vec::with_capacity(stages.len());
                for stage in stages {
                    let ramp = Ramp { from, to: stage.target / per, start, length: stage.duration.as_nanos() as f64, done };
                    (from, start, done) = (ramp.to, start + ramp.length, done + ramp.area());
                    ramps.push(ramp);
                }
                Some(Self::Ramping(ramps))
            }
        }
    }

    /// Offset of the n-th start (n from 0) from the start of the scenario.
    pub fn start_of(&self, n: u64) -> Option<Duration> {
        match self {
            Self::Constant { rate, duration } => {
                let at = constant_start(*rate, n)?;
                (at < *duration).then_some(at)
            }
            Self::Ramping(ramps) => {
                let wanted = (n + 1) as f64;
                // A start that falls on a boundary belongs to the stage before it; rounding may not lose the last one.
                let ramp = ramps.iter().find(|ramp| ramp.done + ramp.area() + 1e-9 >= wanted && ramp.length > 0.0)?;
                let into = ramp.reach(wanted - ramp.done).clamp(0.0, ramp.length);
                Some(Duration::from_nanos((ramp.start + into) as u64))
            }
        }
    }
}

/// `k * per / count`, in whole nanoseconds, exact for whole counts.
fn constant_start(rate: Rate, k: u64) -> Option<Duration> {
    if rate.count <= 0.0 {
        return None;
    }
    if rate.count.fract().abs() < f64::EPSILON && rate.count < 1e15 {
        let nanos = u128::from(k) * rate.per.as_nanos() / (rate.count as u128);
        return u64::try_from(nanos).ok().map(Duration::from_nanos);
    }
    Some(Duration::from_nanos((k as f64 * rate.per.as_nanos() as f64 / rate.count) as u64))
}

/// The number of VUs over time of a closed executor, as steps: from each offset on, so many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VuSteps {
    steps: Vec<(Duration, u64)>,
}

impl VuSteps {
    /// The steps of an executor; `None` for an open one.
    pub fn of(executor: &Executor) -> Option<Self> {
        match executor {
            Executor::ConstantVus { vus, .. } | Executor::PerVuIterations { vus, .. } | Executor::SharedIterations { vus, .. } => {
                Some(Self { steps: vec![(Duration::ZERO, *vus)] })
            }
            Executor::RampingVus { start_vus, stages, .. } => Some(Self { steps: ramp_steps(*start_vus, stages) }),
            Executor::ConstantArrivalRate { .. } | Executor::RampingArrivalRate { .. } => None,
        }
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

/// The stages of an executor as windows of run time, `start` being the scenario's own offset.
pub fn phases(executor: &Executor, start: Duration) -> Vec<PhaseWindow> {
    let (stages, mut from) = match executor {
        Executor::ConstantVus { .. }
        | Executor::ConstantArrivalRate { .. }
        | Executor::PerVuIterations { .. }
        | Executor::SharedIterations { .. } => {
            return vec![PhaseWindow { name: "main".into(), start, end: start + executor.duration(), ramp: false }];
        }
        Executor::RampingVus { start_vus, stages, .. } => (stages, *start_vus as f64),
        Executor::RampingArrivalRate { start_rate, stages, .. } => (stages, start_rate.count),
    };
    let mut begin = start;
    let mut windows = Vec::with_capacity(stages.len());
    for (index, stage) in stages.iter().enumerate() {
        let name = stage.name.clone().unwrap_or_else(|| format!("stage-{}", index + 1));
        let end = begin + stage.duration;
        windows.push(PhaseWindow { name, start: begin, end, ramp: (stage.target - from).abs() > f64::EPSILON });
        (begin, from) = (end, stage.target);
    }
    windows
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::profile::VuPool;

    fn stage(seconds: f64, target: f64) -> Stage {
        Stage { duration: Duration::from_secs_f64(seconds), target, name: None }
    }

    fn ramping_rate(start: f64, per: Duration, stages: Vec<Stage>) -> Starts {
        let vus = VuPool { pre_allocated: 1, max: 1 };
        Starts::of(&Executor::RampingArrivalRate { start_rate: Rate { count: start, per }, stages, vus }).unwrap()
    }

    fn all(starts: &Starts) -> Vec<u64> {
        (0..).map_while(|n| starts.start_of(n)).map(|at| at.as_millis() as u64).collect()
    }

    #[test]
    fn ramping_vus_matches_the_golden_vector() {
        let stages = [(2, 6), (5, 1), (4, 5), (4, 1), (3, 4), (2, 4), (0, 1), (3, 1)];
        let stages = stages.into_iter().map(|(seconds, target)| stage(f64::from(seconds), f64::from(target))).collect();
        let executor = Executor::RampingVus { start_vus: 4, stages, graceful_ramp_down: Duration::ZERO };
        let steps = VuSteps::of(&executor).unwrap();
        let counts: Vec<u64> = (0..=18).map(|second| steps.vus_at(Duration::from_secs(second))).collect();
        assert_eq!(counts, [4, 5, 6, 5, 4, 3, 2, 1, 2, 3, 4, 5, 4, 3, 2, 1, 2, 3, 4]);
        assert_eq!(steps.vus_at(Duration::from_secs(20)), 1);
    }

    #[test]
    fn ramping_arrival_rate_matches_the_golden_vectors() {
        let stages = || vec![stage(5.0, 1.0), stage(1.0, 1.0), stage(5.0, 0.0)];
        let starts = ramping_rate(0.0, Duration::from_secs(1), stages());
        assert_eq!(all(&starts), [3162, 4472, 5500, 6527, 7837, 11000]);
        let starts = ramping_rate(0.0, Duration::from_secs(1) / 3, stages());
        let expected = [1825, 2581, 3162, 3651, 4082, 4472, 4830, 5166, 5499, 5833, 6169, 6527, 6917, 7348, 7837, 8418, 9174, 10999];
        assert_eq!(all(&starts), expected);
    }

    #[test]
    fn constant_rate_does_not_drift() {
        let starts = Starts::Constant { rate: Rate::per_second(3.0), duration: Duration::from_secs(3600 * 24 * 30) };
        assert_eq!(starts.start_of(0), Some(Duration::ZERO));
        assert_eq!(starts.start_of(3 * 86_400 * 7), Some(Duration::from_secs(86_400 * 7)));
        assert_eq!(starts.start_of(1), Some(Duration::from_nanos(333_333_333)));
        let starts = Starts::Constant { rate: Rate::per_second(10.0), duration: Duration::from_secs(10) };
        assert_eq!(all(&starts).len(), 100);
    }

    #[test]
    fn phases_are_named_and_know_ramps() {
        let stages = vec![Stage { name: Some("up".into()), ..stage(5.0, 10.0) }, stage(5.0, 10.0)];
        let executor = Executor::RampingVus { start_vus: 1, stages, graceful_ramp_down: Duration::ZERO };
        let windows = phases(&executor, Duration::from_secs(2));
        assert_eq!((windows[0].name.as_str(), windows[0].ramp, windows[0].start), ("up", true, Duration::from_secs(2)));
        assert_eq!((windows[1].name.as_str(), windows[1].ramp, windows[1].end), ("stage-2", false, Duration::from_secs(12)));
    }

    fn stages() -> impl Strategy<Value = Vec<Stage>> {
        prop::collection::vec((0.5..20.0_f64, 0.0..50.0_f64), 1..5)
            .prop_map(|stages| stages.into_iter().map(|(seconds, target)| stage(seconds, target)).collect())
    }

    proptest! {
        #[test]
        fn start_times_never_decrease_and_follow_the_area(start in 0.0..50.0_f64, stages in stages()) {
            let starts = ramping_rate(start, Duration::from_secs(1), stages.clone());
            let times: Vec<Duration> = (0..).map_while(|n| starts.start_of(n)).collect();
            prop_assert!(times.windows(2).all(|pair| pair[0] <= pair[1]));
            let (mut from, mut end, mut area) = (start, 0.0, 0.0);
            for stage in &stages {
                end += stage.duration.as_secs_f64();
                area += stage.duration.as_secs_f64() * f64::midpoint(from, stage.target);
                from = stage.target;
                let before = times.iter().filter(|at| at.as_secs_f64() <= end + 1e-6).count() as f64;
                prop_assert!((before - area).abs() <= 1.0 + 1e-6, "{} starts, area {}", before, area);
            }
        }

        #[test]
        fn splitting_a_stage_changes_no_start(start in 0.0..50.0_f64, stages in stages()) {
            let whole = ramping_rate(start, Duration::from_secs(1), stages.clone());
            let mut from = start;
            let mut halves = Vec::new();
            for one in &stages {
                let half = one.duration / 2;
                halves.push(Stage { duration: half, target: f64::midpoint(from, one.target), name: None });
                halves.push(Stage { duration: one.duration.saturating_sub(half), target: one.target, name: None });
                from = one.target;
            }
            let split = ramping_rate(start, Duration::from_secs(1), halves);
            for n in 0..50 {
                match (whole.start_of(n), split.start_of(n)) {
                    (Some(a), Some(b)) => prop_assert!(a.abs_diff(b) < Duration::from_micros(50), "{:?} {:?}", a, b),
                    (a, b) => prop_assert_eq!(a.is_none(), b.is_none()),
                }
            }
        }
    }
}
