//! Makes the catalog of a run from its profile: the names behind the numbers in intervals. Pure.

use crate::executor::schedule::phases;
use crate::model::catalog::{Catalog, ScenarioMeta, StepMeta};
use crate::model::flow::steps_of;
use crate::model::profile::Profile;

/// The catalog of a profile. Steps are numbered across scenarios, depth first within each.
pub fn catalog_of(profile: &Profile) -> Catalog {
    let mut catalog = Catalog::default();
    for (index, scenario) in profile.scenarios.iter().enumerate() {
        catalog.scenarios.push(ScenarioMeta {
            name: scenario.name.clone(),
            executor: scenario.executor.name().into(),
            open: scenario.executor.is_open(),
            phases: phases(&scenario.executor, scenario.start_time),
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
    }
    catalog
}

/// Index of the first step of each scenario.
pub fn first_steps(catalog: &Catalog) -> Vec<u16> {
    (0..catalog.scenarios.len())
        .map(|scenario| catalog.steps.iter().take_while(|step| usize::from(step.scenario) < scenario).count() as u16)
        .collect()
}
