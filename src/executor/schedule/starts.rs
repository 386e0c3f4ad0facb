//! The start times of open executors: the n-th start of a constant or ramping rate, and how many starts are due by a moment.
//! Offsets are those of the profile, from the start of the scenario.

use std::time::Duration;

use super::climb::known_stages;
use crate::model::profile::{Executor, Stage};
use crate::model::staircase::StairUnit;
use crate::model::units::Rate;

/// How long the last level of a plan lasts whose end is not decided yet: longer than any run.
const OPEN_END: Duration = Duration::from_secs(10 * 365 * 86_400);

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

    /// Rate and area at so many nanoseconds into the stage.
    fn at(&self, into: f64) -> (f64, f64) {
        let rate = if self.length > 0.0 { self.from + (self.to - self.from) * into / self.length } else { self.to };
        (rate, into * f64::midpoint(self.from, rate))
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
            | Executor::SharedIterations { .. }
            | Executor::ExternallyControlled { .. } => None,
            Executor::Staircase(stairs) => match stairs.unit {
                StairUnit::Vus => None,
                StairUnit::Rate { per, .. } => {
                    let start = Rate { count: stairs.levels.first().copied().unwrap_or(0.0), per };
                    Some(Self::ramping(start, &known_stages(stairs), !stairs.is_decided_on_the_way()))
                }
            },
            Executor::ConstantArrivalRate { rate, duration, .. } => Some(Self::Constant { rate: *rate, duration: *duration }),
            Executor::RampingArrivalRate { start_rate, stages, .. } => Some(Self::ramping(*start_rate, stages, true)),
        }
    }

    /// A rate that follows stages. One that does not end stays at its last level.
    pub(super) fn ramping(start_rate: Rate, stages: &[Stage], ends: bool) -> Self {
        let per = start_rate.per.as_nanos() as f64;
        let (mut from, mut start, mut done) = (start_rate.count / per, 0.0, 0.0);
        let mut ramps = Vec::with_capacity(stages.len() + 1);
        let last = (!ends).then(|| (OPEN_END, stages.last().map_or(start_rate.count, |stage| stage.target)));
        for (duration, target) in stages.iter().map(|stage| (stage.duration, stage.target)).chain(last) {
            let ramp = Ramp { from, to: target / per, start, length: duration.as_nanos() as f64, done };
            (from, start, done) = (ramp.to, start + ramp.length, done + ramp.area());
            ramps.push(ramp);
        }
        Self::Ramping(ramps)
    }

    /// Offset of the n-th start (n from 0) from the start of the scenario.
    pub fn start_of(&self, n: u64) -> Option<Duration> {
        match self {
            Self::Constant { rate, duration } => {
                let at = constant_start(*rate, n)?;
                (at < *duration).then_some(at)
            }
            Self::Ramping(_) => self.reach((n + 1) as f64),
        }
    }

    /// Area under the rate that the first start waits for: none for a constant rate, one for a ramping one.
    pub(super) fn first(&self) -> f64 {
        match self {
            Self::Constant { .. } => 0.0,
            Self::Ramping(_) => 1.0,
        }
    }

    /// Moment at which the area under the rate reaches `area`; `None` when it never does.
    pub(super) fn reach(&self, area: f64) -> Option<Duration> {
        let nanos = match self {
            Self::Constant { rate, duration } => {
                let at = area * rate.per.as_nanos() as f64 / rate.count;
                (rate.count > 0.0 && at < duration.as_nanos() as f64).then_some(at)?
            }
            Self::Ramping(ramps) => {
                // A start that falls on a boundary belongs to the stage before it; rounding may not lose the last one.
                let after = ramps.partition_point(|ramp| ramp.done + ramp.area() + 1e-9 < area);
                let ramp = ramps.get(after..)?.iter().find(|ramp| ramp.length > 0.0)?;
                ramp.start + ramp.reach(area - ramp.done).clamp(0.0, ramp.length)
            }
        };
        Some(Duration::from_nanos(nanos as u64))
    }

    /// Starts that are due by `offset`, with their fraction.
    pub(super) fn area_at(&self, offset: Duration) -> f64 {
        let offset = offset.as_nanos() as f64;
        match self {
            Self::Constant { rate, duration } => offset.min(duration.as_nanos() as f64) * rate.count / rate.per.as_nanos() as f64,
            Self::Ramping(ramps) => Self::ramp_at(ramps, offset).map_or(0.0, |ramp| {
                let into = (offset - ramp.start).clamp(0.0, ramp.length);
                ramp.done + ramp.at(into).1
            }),
        }
    }

    /// Starts a nanosecond at `offset`.
    pub(super) fn rate_at(&self, offset: Duration) -> f64 {
        match self {
            Self::Constant { rate, .. } => rate.count / rate.per.as_nanos() as f64,
            Self::Ramping(ramps) => {
                let offset = offset.as_nanos() as f64;
                Self::ramp_at(ramps, offset).map_or(0.0, |ramp| ramp.at((offset - ramp.start).clamp(0.0, ramp.length)).0)
            }
        }
    }

    /// The stage at a moment: of several that begin then, the last.
    fn ramp_at(ramps: &[Ramp], offset: f64) -> Option<&Ramp> {
        ramps.get(ramps.partition_point(|ramp| ramp.start <= offset).saturating_sub(1))
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
