//! What the small numbers in intervals stand for: the scenarios, phases and steps of one run, stored with the run.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::units::duration_micros;

/// Scenarios and steps of a run; intervals refer to them by index.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Catalog {
    /// In the order of the profile.
    pub scenarios: Vec<ScenarioMeta>,
    /// In the order of the profile, across scenarios; a name may occur once per scenario.
    pub steps: Vec<StepMeta>,
    /// Groups that are timed as a whole, in the order of the profile, across scenarios.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupMeta>,
    /// The seed of the run's random values; `None` of runs from before it was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

impl Catalog {
    /// The first step of a scenario, with its index: what a start that was dropped would have sent first, and so what had to wait.
    pub fn first_step(&self, scenario: u16) -> Option<(u16, &StepMeta)> {
        let found = self.steps.iter().enumerate().find(|(_, step)| step.scenario == scenario);
        found.map(|(index, step)| (index as u16, step))
    }

    /// True when the starts of this scenario are due by the clock.
    pub fn is_open(&self, scenario: u16) -> bool {
        self.scenarios.get(usize::from(scenario)).is_some_and(|meta| meta.open)
    }
}

/// One scenario of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScenarioMeta {
    /// Name in the profile.
    pub name: String,
    /// The executor's name: `constant-vus`.
    pub executor: String,
    /// True when starts are due by the clock (arrival rate), so that thresholds look at response time.
    pub open: bool,
    /// Labels of its own, that thresholds and rules can select by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Stages in run time.
    pub phases: Vec<PhaseWindow>,
    /// Start of the scenario after the start of the run.
    #[serde(with = "duration_micros")]
    pub start: Duration,
    /// Regular duration: no iteration starts after `start + duration`.
    #[serde(with = "duration_micros")]
    pub duration: Duration,
}

/// A stage of a scenario as a window of run time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PhaseWindow {
    /// The stage's name, or `stage-1`, `stage-2`, …; `main` for executors without stages.
    pub name: String,
    /// First moment.
    #[serde(with = "duration_micros")]
    pub start: Duration,
    /// First moment after it.
    #[serde(with = "duration_micros")]
    pub end: Duration,
    /// True when the load changes during the stage.
    pub ramp: bool,
}

/// One step of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepMeta {
    /// Index of its scenario.
    pub scenario: u16,
    /// Name in the profile.
    pub name: String,
    /// `http`, `grpc`, `websocket` (opening one) or `message` (on an open one).
    pub protocol: String,
    /// Method and path as written, for people.
    pub title: String,
    /// Names of its checks; counts refer to them by index.
    pub checks: Vec<String>,
}

/// One group of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupMeta {
    /// Index of its scenario.
    pub scenario: u16,
    /// Name in the profile.
    pub name: String,
}

impl ScenarioMeta {
    /// The stage that the second `[second, second+1)` of the run belongs to: the one at its middle.
    pub fn phase_at(&self, second: u32) -> Option<&PhaseWindow> {
        let middle = Duration::from_millis(u64::from(second) * 1000 + 500);
        self.phases.iter().find(|phase| phase.start <= middle && middle < phase.end)
    }
}
