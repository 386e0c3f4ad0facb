//! Makes every series that the configuration names appear before anything happens, with 0, so that the first increase is seen;
//! and forgets those that a reload took away.

use std::collections::{BTreeMap, BTreeSet};

use super::Metrics;
use super::record::{FAILURE_CLASSES, NOTIFICATION_CLASSES, labels_of, remove_where};
use crate::model::alerting::{AlertState, Rule};
use crate::model::flow::steps_of;
use crate::model::histogram::LatencyHistogram;
use crate::model::profile::Profile;
use crate::model::run::Verdict;
use crate::model::schedule::{Schedule, TickOutcome};
use crate::model::threshold::Unit;

/// What the configuration names, as far as metrics need it.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// Profiles by name.
    pub profiles: &'a BTreeMap<String, Profile>,
    /// Schedules by name.
    pub schedules: &'a BTreeMap<String, Schedule>,
    /// Alert rules.
    pub rules: &'a [Rule],
    /// Targets and the names of their probes.
    pub probes: &'a [(String, Vec<String>)],
    /// Channels' names.
    pub channels: &'a [String],
}

impl Metrics {
    /// Makes the series of everything in `known` appear with 0 and forgets profiles and targets that are not in it.
    /// Called at the start and after each reload; figures of what stays are kept.
    pub fn seed(&self, known: &Known<'_>) {
        self.forget_unknown(known);
        for profile in known.profiles.values() {
            self.seed_profile(profile);
        }
        let families = &self.families;
        for schedule in known.schedules.keys() {
            for outcome in TickOutcome::ALL {
                families.schedule_ticks.with_label_values(&[schedule, outcome.as_str()]);
            }
        }
        for rule in known.rules {
            for state in [AlertState::Pending, AlertState::Firing, AlertState::NoData] {
                families.alerts.with_label_values(&[rule.name.as_str(), rule.severity.as_str(), state.as_str()]);
            }
        }
        for (target, probes) in known.probes {
            for probe in probes {
                families.probe_duration.with_label_values(&[target, probe]);
                for reason in super::record::PROBE_CLASSES {
                    families.probe_errors.with_label_values(&[target, probe, *reason]);
                }
            }
        }
        for channel in known.channels {
            families.notifications_sent.with_label_values(&[channel]);
            for reason in NOTIFICATION_CLASSES {
                families.notifications_failed.with_label_values(&[channel, *reason]);
                families.notifications_dropped.with_label_values(&[channel, *reason]);
            }
        }
    }

    fn seed_profile(&self, profile: &Profile) {
        let families = &self.families;
        let name = profile.name.as_str();
        families.runs_started.with_label_values(&[name]);
        families.runs_active.with_label_values(&[name]);
        for verdict in Verdict::ALL.iter().map(|verdict| verdict.as_str()).chain(["none"]) {
            families.runs_ended.with_label_values(&[name, verdict]);
        }
        for scenario in &profile.scenarios {
            let mut steps = Vec::new();
            steps.extend(steps_of(&scenario.flow).into_iter().map(|step| step.name.as_str()));
            let labels = [name, scenario.name.as_str()];
            for family in self.accounting() {
                family.with_label_values(&labels);
            }
            families.iterations_with_failed_check.with_label_values(&labels);
            for step in steps {
                let labels = self.step_labels(name, &scenario.name, step);
                self.durations.add(&labels, &LatencyHistogram::default());
                for family in self.step_counters() {
                    family.with_label_values(&labels);
                }
                for reason in FAILURE_CLASSES {
                    families.requests_failed.with_label_values(&[&labels[0], &labels[1], &labels[2], *reason]);
                }
            }
        }
        for family in [&families.threshold_seconds, &families.threshold_ratio] {
            remove_where(family, &[("profile", name)]);
        }
        for threshold in &profile.thresholds {
            let family = match threshold.series.metric.unit {
                Unit::Time => &families.threshold_seconds,
                Unit::Ratio => &families.threshold_ratio,
                Unit::Bytes | Unit::Count => continue,
            };
            family.with_label_values(&[name, threshold.text.as_str()]).set(threshold.series.bound.value);
        }
    }

    fn forget_unknown(&self, known: &Known<'_>) {
        let gone: BTreeSet<String> =
            labels_of(&self.families.runs_started, "profile").into_iter().filter(|name| !known.profiles.contains_key(name)).collect();
        for profile in gone {
            self.forget_profile(&profile);
        }
        let gone: BTreeSet<String> = labels_of(&self.families.probe_duration, "target")
            .into_iter()
            .filter(|name| !known.probes.iter().any(|(target, _)| target == name))
            .collect();
        for target in gone {
            self.forget_target(&target);
        }
        for (target, probes) in known.probes {
            let gone = labels_of(&self.families.probe_duration, "probe").into_iter().filter(|probe| !probes.contains(probe));
            for probe in gone.collect::<BTreeSet<String>>() {
                self.forget_probe(target, &probe);
            }
        }
    }
}
