//! Tells the metrics what the configuration names, so that every series is there before anything happens.

use super::setup::Setup;
use crate::metrics::{Known, Metrics};

/// Makes every series that `setup` names appear with 0, and forgets those that it no longer names.
pub fn seed(metrics: &Metrics, setup: &Setup) {
    let probes: Vec<(String, Vec<String>)> =
        setup.targets.iter().map(|(name, target)| (name.clone(), target.probes.iter().map(|probe| probe.name.clone()).collect())).collect();
    let channels: Vec<String> = setup.channels.keys().cloned().collect();
    metrics.seed(&Known {
        profiles: &setup.profiles,
        schedules: &setup.schedules,
        rules: &setup.rules,
        probes: &probes,
        channels: &channels,
    });
}
