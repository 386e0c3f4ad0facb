//! Makes the catalog of a run from its profile, and keeps it true while the run is steered: the names behind the numbers in
//! intervals. Pure.

use std::time::Duration;

use crate::executor::schedule::Course;
use crate::model::catalog::{Catalog, GroupMeta, ScenarioMeta, StepMeta};
use crate::model::flow::{groups_of, steps_of};
use crate::model::profile::{Profile, Scenario, begins};

/// The catalog of a profile. Steps are numbered across scenarios, depth first within each.
pub fn catalog_of(profile: &Profile) -> Catalog {
    let mut catalog = Catalog::default();
    for ((index, scenario), begin) in profile.scenarios.iter().enumerate().zip(begins(&profile.scenarios)) {
        catalog.scenarios.push(scenario_of(scenario, &Course::new(scenario), begin.latest));
        catalog.steps.extend(steps_of(&scenario.flow).into_iter().map(|step| StepMeta {
            scenario: index as u16,
            name: step.name.clone(),
            protocol: step.request.protocol().into(),
            title: step.request.title(),
            checks: step.checks.iter().map(|check| check.name.clone()).collect(),
        }));
        let groups = groups_of(&scenario.flow).into_iter();
        catalog.groups.extend(groups.map(|name| GroupMeta { scenario: index as u16, name: name.to_owned() }));
    }
    catalog
}

/// What a catalog says of a scenario whose course is this. Where its begin or its end is not known yet, it is the latest that the
/// profile allows.
pub(super) fn scenario_of(scenario: &Scenario, course: &Course, latest: Duration) -> ScenarioMeta {
    let start = course.begin().unwrap_or(latest);
    let longest = start + scenario.executor.duration();
    ScenarioMeta {
        name: scenario.name.clone(),
        executor: scenario.executor.name().into(),
        open: scenario.executor.is_open(),
        tags: scenario.tags.clone(),
        phases: course.windows(),
        start,
        duration: course.end().unwrap_or(longest).saturating_sub(start),
    }
}

/// Ends at `end` what was to go on when a run ended.
pub(super) fn cut(scenario: &mut ScenarioMeta, end: Duration) {
    scenario.phases.retain(|phase| phase.start < end);
    for phase in &mut scenario.phases {
        phase.end = phase.end.min(end);
    }
    scenario.duration = scenario.duration.min(end.saturating_sub(scenario.start));
}

/// Indexes of the first step and of the first group of each scenario.
pub fn firsts(catalog: &Catalog) -> Vec<(u16, u16)> {
    let before = |owners: &mut dyn Iterator<Item = u16>, scenario: usize| owners.filter(|owner| usize::from(*owner) < scenario).count();
    (0..catalog.scenarios.len())
        .map(|scenario| {
            let steps = before(&mut catalog.steps.iter().map(|step| step.scenario), scenario);
            (steps as u16, before(&mut catalog.groups.iter().map(|group| group.scenario), scenario) as u16)
        })
        .collect()
}
