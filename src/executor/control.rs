//! What the load threads of a run share about its scenarios: the course of each as it was last decided, and iterations that
//! all its VUs take from. Whoever steers the run publishes a new course; its decisions lie a little in the future, so that all
//! threads know them when they take effect, and switch at the same moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use super::budget::Budget;
use super::schedule::Course;
use crate::model::profile::{Executor, Scenario};

/// How far in the future a decision takes effect: more than a load thread needs to hear of it.
pub const LEAD: Duration = Duration::from_millis(100);

/// The scenarios of a run, in the order of its profile.
#[derive(Debug)]
pub struct Controls {
    scenarios: Vec<Joint>,
}

/// What the threads share of one scenario.
#[derive(Debug)]
struct Joint {
    course: watch::Sender<Arc<Course>>,
    budget: Option<Arc<Budget>>,
    /// Load threads that have not ended their part of it.
    going: AtomicUsize,
    /// The scenarios that wait for its end.
    followers: Vec<usize>,
}

impl Controls {
    /// The scenarios as their profile says, for so many load threads.
    pub fn new(scenarios: &[Scenario], threads: usize) -> Self {
        let waits_for = |other: &Scenario, index: usize| other.start_after == Some(index);
        let joint = |(index, scenario): (usize, &Scenario)| Joint {
            course: watch::Sender::new(Arc::new(Course::new(scenario))),
            budget: budget_of(&scenario.executor),
            going: AtomicUsize::new(threads),
            followers: scenarios.iter().enumerate().filter(|(_, other)| waits_for(other, index)).map(|(other, _)| other).collect(),
        };
        Self { scenarios: scenarios.iter().enumerate().map(joint).collect() }
    }

    /// Number of scenarios.
    pub fn len(&self) -> usize {
        self.scenarios.len()
    }

    /// True when there is no scenario.
    pub fn is_empty(&self) -> bool {
        self.scenarios.is_empty()
    }

    /// The present course of a scenario; `None`: there is no such scenario.
    pub fn course(&self, scenario: usize) -> Option<Arc<Course>> {
        self.scenarios.get(scenario).map(|joint| joint.course.borrow().clone())
    }

    /// The course of a scenario and what becomes of it; `None`: there is no such scenario.
    pub fn follow(&self, scenario: usize) -> Option<watch::Receiver<Arc<Course>>> {
        self.scenarios.get(scenario).map(|joint| joint.course.subscribe())
    }

    /// The iterations that the VUs of a scenario share, if they do.
    pub fn budget(&self, scenario: usize) -> Option<Arc<Budget>> {
        self.scenarios.get(scenario).and_then(|joint| joint.budget.clone())
    }

    /// A load thread has ended its part of a scenario, at this offset in the run. With the last part those begin that wait for it.
    pub fn ended(&self, scenario: usize, now: Duration) {
        let Some(joint) = self.scenarios.get(scenario) else { return };
        if joint.going.fetch_sub(1, Ordering::AcqRel) == 1 {
            joint.followers.iter().for_each(|follower| self.decide(*follower, |course| course.begin_at(now + LEAD)));
        }
    }

    /// Decides something about a scenario and tells all threads.
    pub fn decide(&self, scenario: usize, decision: impl FnOnce(&mut Course)) {
        if let Some(joint) = self.scenarios.get(scenario) {
            joint.course.send_modify(|course| decision(Arc::make_mut(course)));
        }
    }
}

fn budget_of(executor: &Executor) -> Option<Arc<Budget>> {
    match executor {
        Executor::SharedIterations { iterations, .. } => Some(Arc::new(Budget::new(*iterations))),
        Executor::ConstantVus { .. }
        | Executor::RampingVus { .. }
        | Executor::ConstantArrivalRate { .. }
        | Executor::RampingArrivalRate { .. }
        | Executor::PerVuIterations { .. }
        | Executor::ExternallyControlled { .. }
        | Executor::Staircase(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::profile::{Spacing, WhenBusy};
    use crate::model::request::HttpOptions;

    #[test]
    fn with_the_last_part_of_a_scenario_those_begin_that_wait_for_it() {
        let scenario = |name: &str, start_after| Scenario {
            name: name.into(),
            executor: Executor::ConstantVus { vus: 1, duration: Duration::from_secs(1) },
            start_time: Duration::ZERO,
            start_after,
            spacing: Spacing::Even,
            when_busy: WhenBusy::Drop,
            graceful_stop: Duration::ZERO,
            pace: None,
            tags: std::collections::BTreeMap::new(),
            data: Vec::new(),
            http: HttpOptions::default(),
            flow: Vec::new(),
        };
        let controls = Controls::new(&[scenario("one", None), scenario("two", Some(0)), scenario("three", Some(1))], 2);
        let begins = || (0..3).map(|index| controls.course(index).unwrap().begin()).collect::<Vec<_>>();
        let after = |ms: u64| Some(Duration::from_millis(ms) + LEAD);
        controls.ended(0, Duration::from_millis(1_000));
        assert_eq!(begins(), [Some(Duration::ZERO), None, None]);
        controls.ended(0, Duration::from_millis(1_200));
        assert_eq!(begins(), [Some(Duration::ZERO), after(1_200), None]);
        controls.ended(1, Duration::from_millis(3_000));
        controls.ended(1, Duration::from_millis(2_900));
        assert_eq!(begins(), [Some(Duration::ZERO), after(1_200), after(2_900)]);
    }
}
