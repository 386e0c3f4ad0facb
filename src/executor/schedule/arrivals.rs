//! Which starts of an open scenario are one load thread's, in order: thread `index` of `count` takes every start whose number
//! leaves that remainder. A cursor: it can be kept and replayed, so that no list of starts is ever needed.
//! Poisson arrivals: the n-th start is due when the area under the rate reaches the sum of n exponential gaps of mean 1 (the
//! time-rescaling theorem), so that they follow every ramp and decision that even ones follow.

use std::time::Duration;

use super::course::Course;
use crate::model::profile::Spacing;
use crate::model::random::SplitMix;

/// The starts of one thread, from the next one on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Arrivals {
    number: u64,
    step: u64,
    random: Option<Gaps>,
}

/// The gaps drawn so far.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Gaps {
    source: SplitMix,
    /// Their sum: the area under the rate at which the next start is due.
    area: f64,
}

impl Gaps {
    fn draw(&mut self, times: u64) {
        for _ in 0..times {
            self.area -= self.source.unit().ln();
        }
    }
}

impl Arrivals {
    /// All starts of thread `index` of `count`.
    pub fn new(index: u64, count: u64, spacing: Spacing) -> Self {
        let random = match spacing {
            Spacing::Even => None,
            Spacing::Poisson { seed } => {
                let mut gaps = Gaps { source: SplitMix::new(seed), area: 0.0 };
                gaps.draw(index + 1);
                Some(gaps)
            }
        };
        Self { number: index, step: count.max(1), random }
    }

    /// Number of the next start, over all threads.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// When the next start is due; `None`: there is none, as far as is decided.
    pub fn due(&self, course: &Course) -> Option<Duration> {
        match &self.random {
            None => course.start_of(self.number),
            Some(gaps) => course.moment_of(gaps.area),
        }
    }

    /// Goes on to the start after it.
    pub fn advance(&mut self) {
        self.number += self.step;
        if let Some(gaps) = &mut self.random {
            gaps.draw(self.step);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::schedule::{Change, Mode};
    use crate::model::profile::{Executor, Scenario, Stage, VuPool, WhenBusy};
    use crate::model::units::Rate;

    const SEED: Spacing = Spacing::Poisson { seed: 42 };

    fn course(executor: Executor) -> Course {
        Course::new(&Scenario {
            name: "main".into(),
            executor,
            start_time: Duration::ZERO,
            start_after: None,
            spacing: SEED,
            when_busy: WhenBusy::Drop,
            graceful_stop: Duration::ZERO,
            pace: None,
            tags: std::collections::BTreeMap::new(),
            data: Vec::new(),
            http: crate::model::request::HttpOptions::default(),
            flow: Vec::new(),
        })
    }

    fn constant(per_second: f64, seconds: u64) -> Course {
        let vus = VuPool { pre_allocated: 1, max: 1 };
        course(Executor::ConstantArrivalRate { rate: Rate::per_second(per_second), duration: Duration::from_secs(seconds), vus })
    }

    fn all(course: &Course, index: u64, count: u64) -> Vec<(u64, Duration)> {
        let mut next = Arrivals::new(index, count, course.spacing());
        let mut found = Vec::new();
        while let Some(due) = next.due(course) {
            found.push((next.number(), due));
            next.advance();
        }
        found
    }

    #[test]
    fn the_gaps_are_exponential_and_the_same_for_the_same_seed() {
        let course = constant(50.0, 2_000);
        let starts = all(&course, 0, 1);
        assert_eq!(starts, all(&course, 0, 1));
        let gaps: Vec<f64> = starts.windows(2).map(|pair| pair[1].1.saturating_sub(pair[0].1).as_secs_f64()).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        // An exponential distribution: its standard deviation is its mean, and exp(-1) of it lies above the mean.
        assert!((mean - 0.02).abs() < 0.02 * 0.02, "{mean}");
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.03, "{}", variance.sqrt() / mean);
        let above = gaps.iter().filter(|gap| **gap > mean).count() as f64 / gaps.len() as f64;
        assert!((above - (-1.0_f64).exp()).abs() < 0.01, "{above}");
    }

    #[test]
    fn threads_share_the_starts_of_one() {
        let course = constant(20.0, 60);
        let mut shared: Vec<(u64, Duration)> = (0..3).flat_map(|index| all(&course, index, 3)).collect();
        shared.sort_unstable();
        assert_eq!(shared, all(&course, 0, 1));
    }

    #[test]
    fn they_follow_a_ramp_and_what_is_decided() {
        let vus = VuPool { pre_allocated: 1, max: 1 };
        let stages = vec![Stage { duration: Duration::from_secs(100), target: 100.0, name: None }];
        let mut course = course(Executor::RampingArrivalRate { start_rate: Rate::per_second(0.0), stages, vus });
        let within = |course: &Course, from: u64, to: u64| {
            all(course, 0, 1).iter().filter(|(_, due)| (from..to).contains(&due.as_secs())).count() as f64
        };
        // The area under the ramp: 5,000 in all, a quarter of them in its first half.
        assert!((within(&course, 0, 100) - 5_000.0).abs() < 4.0 * 5_000.0_f64.sqrt());
        assert!((within(&course, 0, 50) - 1_250.0).abs() < 4.0 * 1_250.0_f64.sqrt());
        course.change(Change { at: Duration::from_secs(50), mode: Mode::Paused, scale: None });
        course.change(Change { at: Duration::from_secs(150), mode: Mode::Running, scale: None });
        assert!(within(&course, 50, 150).abs() < 0.5, "{}", within(&course, 50, 150));
        assert!((within(&course, 150, 200) - 3_750.0).abs() < 4.0 * 3_750.0_f64.sqrt());
    }
}
