//! Makes the catalog of a run from its profile: the names behind the numbers in intervals. Pure.

use crate::executor::schedule::Course;
use crate::model::catalog::{Catalog, GroupMeta, ScenarioMeta, StepMeta};
use crate::model::flow::{groups_of, steps_of};
use crate::model::profile::Profile;

/// The catalog of a profile. Steps are numbered across scenarios, depth first within each.
pub fn catalog_of(profile: &Profile) -> Catalog {
    let mut catalog = Catalog::default();
    for (index, scenario) in profile.scenarios.iter().enumerate() {
        catalog.scenarios.push(ScenarioMeta {
            name: scenario.name.clone(),
            executor: scenario.executor.name().into(),
            open: scenario.executor.is_open(),
            phases: Course::new(scenario).windows(),
            start: scenario.start_time,
            duration: scenario.executor.duration(),
        });
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
