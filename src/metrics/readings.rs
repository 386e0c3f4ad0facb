//! Readings of probes as gauges: the latest of each probe, with whatever labels it has. A failed reading takes the former away,
//! so that a number that was not measured is absent. Bounded per probe; what is beyond is counted, not shown.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Gauge, LabelPair, Metric, MetricFamily, MetricType};

use super::{Definition, READINGS, locked};
use crate::model::series::Point;

/// Most numbers of one probe that are shown.
const MAX_POINTS: usize = 200;

/// The latest numbers by target and probe.
type Latest = BTreeMap<(String, String), Vec<Point>>;

/// The collector; clones share their content.
#[derive(Debug, Clone)]
pub(super) struct Readings {
    descs: Vec<Desc>,
    latest: Arc<Mutex<Latest>>,
}

impl Default for Readings {
    fn default() -> Self {
        let descs = READINGS
            .iter()
            .map(|(_, Definition { name, labels, help, .. })| {
                let labels = labels.iter().map(ToString::to_string).collect();
                Desc::new((*name).into(), (*help).into(), labels, std::collections::HashMap::new())
                    .expect("names and labels are constants that every test of this file uses")
            })
            .collect();
        Self { descs, latest: Arc::default() }
    }
}

impl Readings {
    /// Replaces what a probe read; returns how many numbers are too many to be shown.
    pub(super) fn replace(&self, target: &str, probe: &str, points: &[Point]) -> usize {
        let kept = points.iter().filter(|point| point.value.is_finite()).take(MAX_POINTS).cloned().collect();
        locked(&self.latest).insert((target.into(), probe.into()), kept);
        points.len().saturating_sub(MAX_POINTS)
    }

    /// Forgets what a probe read.
    pub(super) fn remove(&self, target: &str, probe: &str) {
        locked(&self.latest).remove(&(target.to_owned(), probe.to_owned()));
    }

    /// Forgets everything of a target.
    /// Forgets what one probe read.
    pub(super) fn forget_probe(&self, target: &str, probe: &str) {
        locked(&self.latest).retain(|(of, by), _| of != target || by != probe);
    }

    pub(super) fn forget_target(&self, target: &str) {
        locked(&self.latest).retain(|(of, _), _| of != target);
    }
}

/// Label pairs in the order of their names, as the text format's readers like them.
pub(super) fn pairs<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<LabelPair> {
    let mut pairs: Vec<LabelPair> = labels
        .map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name(name.into());
            pair.set_value(value.into());
            pair
        })
        .collect();
    pairs.sort_by(|a, b| a.name().cmp(b.name()));
    pairs
}

/// A label name of a reading as Prometheus accepts it, never one of ours.
fn label_name(name: &str) -> String {
    let mut clean: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
    if clean.is_empty() || clean.starts_with(|c: char| c.is_ascii_digit()) || clean.starts_with("__") {
        clean.insert_str(0, "label_");
    }
    if matches!(clean.as_str(), "target" | "probe" | "le" | "quantile") {
        clean.insert_str(0, "exported_");
    }
    clean
}

fn family(definition: &Definition, values: BTreeMap<BTreeMap<String, String>, f64>) -> MetricFamily {
    let metrics = values
        .into_iter()
        .map(|(labels, value)| {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            let mut metric = Metric::from_label(pairs(labels.iter().map(|(name, value)| (name.as_str(), value.as_str()))));
            metric.set_gauge(gauge);
            metric
        })
        .collect();
    let mut family = MetricFamily::default();
    family.set_name(definition.name.into());
    family.set_help(definition.help.into());
    family.set_field_type(MetricType::GAUGE);
    family.set_metric(metrics);
    family
}

impl Collector for Readings {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let latest = locked(&self.latest).clone();
        let mut families = Vec::new();
        for (metric, definition) in READINGS {
            let mut values = BTreeMap::new();
            for ((target, probe), points) in &latest {
                for point in points.iter().filter(|point| point.metric == *metric) {
                    let mut labels: BTreeMap<String, String> =
                        point.labels.iter().map(|(name, value)| (label_name(name), value.clone())).collect();
                    labels.insert("target".into(), target.clone());
                    labels.insert("probe".into(), probe.clone());
                    values.insert(labels, point.value);
                }
            }
            if !values.is_empty() {
                families.push(family(definition, values));
            }
        }
        families
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::threshold::{METRICS, Source};

    #[test]
    fn every_metric_of_probes_is_shown() {
        for metric in METRICS.iter().filter(|metric| metric.source == Source::Probe && metric.name != "probe_up") {
            assert!(READINGS.iter().any(|(name, _)| *name == metric.name), "{} is not shown on /metrics", metric.name);
        }
    }

    #[test]
    fn strange_labels_become_valid_ones_and_never_hide_ours() {
        for (name, clean) in [
            ("pool", "pool"),
            ("db.name", "db_name"),
            ("9", "label_9"),
            ("target", "exported_target"),
            ("", "label_"),
            ("__x", "label___x"),
        ] {
            assert_eq!(label_name(name), clean);
        }
    }

    #[test]
    fn the_same_series_twice_is_shown_once() {
        let readings = Readings::default();
        let twice = [Point::new("pool_in_use", 1.0).with("pool", "main"), Point::new("pool_in_use", 2.0).with("pool", "main")];
        assert_eq!(readings.replace("shop", "db", &twice), 0);
        let families = readings.collect();
        assert_eq!((families.len(), families[0].get_metric().len()), (1, 1));
        readings.remove("shop", "db");
        assert!(readings.collect().is_empty());
    }

    #[test]
    fn too_many_numbers_are_counted_not_shown() {
        let readings = Readings::default();
        let many: Vec<Point> = (0..250).map(|n| Point::new("custom", 1.0).with("name", n.to_string())).collect();
        assert_eq!(readings.replace("shop", "page", &many), 50);
        assert_eq!(readings.collect()[0].get_metric().len(), MAX_POINTS);
    }
}
