//! What the load threads of a run share about its scenarios: the course of each as it was last decided, and iterations that
//! all its VUs take from. Whoever steers the run publishes a new course; its decisions lie a little in the future, so that all
//! threads know them when they take effect, and switch at the same moment.

use std::sync::Arc;
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
}

impl Controls {
    /// The scenarios as their profile says.
    pub fn new(scenarios: &[Scenario]) -> Self {
        let joint = |scenario: &Scenario| Joint {
            course: watch::Sender::new(Arc::new(Course::new(scenario))),
            budget: budget_of(&scenario.executor),
        };
        Self { scenarios: scenarios.iter().map(joint).collect() }
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
