//! The classic histogram of request durations, folded from HDR histograms at the moment they are recorded.
//! A bucket of ours holds exactly the HDR buckets that end at or below its bound (HDR: 3 significant digits), so that a latency is
//! never counted under a bound it exceeds.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Histogram, Metric, MetricFamily, MetricType};

use super::{REQUEST_DURATION, locked};
use crate::model::histogram::LatencyHistogram;

/// Upper bounds in microseconds: 1 ms to 60 s, in steps of 1.3 to 2.5.
const BOUNDS_US: &[u64] = &[
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 75_000, 100_000, 150_000, 200_000, 300_000, 400_000, 500_000, 750_000, 1_000_000,
    1_500_000, 2_000_000, 3_000_000, 4_000_000, 5_000_000, 7_500_000, 10_000_000, 15_000_000, 30_000_000, 60_000_000,
];

/// Folded latencies of one set of labels.
#[derive(Debug, Clone)]
struct Folded {
    /// Per bound, not cumulative; the last one is beyond all bounds.
    counts: Vec<u64>,
    sum_seconds: f64,
}

/// The collector; clones share their content.
#[derive(Debug, Clone)]
pub(super) struct Durations {
    desc: Desc,
    folded: Arc<Mutex<BTreeMap<[String; 3], Folded>>>,
}

impl Default for Durations {
    fn default() -> Self {
        let labels = REQUEST_DURATION.labels.iter().map(ToString::to_string).collect();
        let desc = Desc::new(REQUEST_DURATION.name.into(), REQUEST_DURATION.help.into(), labels, std::collections::HashMap::new())
            .expect("the name and the labels are constants that every test of this file uses");
        Self { desc, folded: Arc::default() }
    }
}

impl Durations {
    /// Adds all latencies of `histogram` under profile, scenario and step; an empty one makes the series appear.
    pub(super) fn add(&self, labels: &[String; 3], histogram: &LatencyHistogram) {
        let mut folded = locked(&self.folded);
        let entry = folded.entry(labels.clone()).or_insert_with(|| Folded { counts: vec![0; BOUNDS_US.len() + 1], sum_seconds: 0.0 });
        for (highest_us, count) in histogram.iter_us() {
            let bucket = BOUNDS_US.partition_point(|bound| *bound < highest_us);
            entry.counts[bucket] += count;
        }
        if let Some(mean) = histogram.mean() {
            entry.sum_seconds += mean.as_secs_f64() * histogram.count() as f64;
        }
    }

    /// Forgets everything of a profile.
    pub(super) fn forget_profile(&self, profile: &str) {
        locked(&self.folded).retain(|labels, _| labels[0] != profile);
    }
}

fn metric(labels: &[String; 3], folded: &Folded) -> Metric {
    let mut cumulative = 0;
    let mut buckets = Vec::with_capacity(BOUNDS_US.len());
    for (bound, count) in BOUNDS_US.iter().zip(&folded.counts) {
        cumulative += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound as f64 / 1e6);
        bucket.set_cumulative_count(cumulative);
        buckets.push(bucket);
    }
    let mut histogram = Histogram::default();
    histogram.set_sample_count(folded.counts.iter().sum());
    histogram.set_sample_sum(folded.sum_seconds);
    histogram.set_bucket(buckets);
    let names = REQUEST_DURATION.labels.iter().copied();
    let mut metric = Metric::from_label(super::readings::pairs(names.zip(labels.iter().map(String::as_str))));
    metric.set_histogram(histogram);
    metric
}

impl Collector for Durations {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let folded = locked(&self.folded).clone();
        let mut family = MetricFamily::default();
        family.set_name(REQUEST_DURATION.name.into());
        family.set_help(REQUEST_DURATION.help.into());
        family.set_field_type(MetricType::HISTOGRAM);
        family.set_metric(folded.iter().map(|(labels, folded)| metric(labels, folded)).collect());
        vec![family]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels() -> [String; 3] {
        ["soak".into(), "main".into(), "browse".into()]
    }

    fn cumulative(durations: &Durations) -> (Vec<u64>, u64, f64) {
        let families = durations.collect();
        let histogram = families[0].get_metric()[0].get_histogram();
        let buckets = histogram.get_bucket().iter().map(Bucket::cumulative_count).collect();
        (buckets, histogram.get_sample_count(), histogram.get_sample_sum())
    }

    proptest! {
        #[test]
        fn every_bucket_counts_what_the_load_histogram_counts(seconds in prop::collection::vec(prop::collection::vec(1..120_000_000_u64, 0..50), 1..5)) {
            let durations = Durations::default();
            let mut whole = LatencyHistogram::default();
            for latencies in seconds {
                let histogram = LatencyHistogram::from_us(latencies);
                durations.add(&labels(), &histogram);
                whole.merge(&histogram);
            }
            let (buckets, count, _) = cumulative(&durations);
            prop_assert_eq!(count, whole.count());
            for (bound, counted) in BOUNDS_US.iter().zip(buckets) {
                prop_assert_eq!(counted, whole.count_at_most(std::time::Duration::from_micros(*bound)));
            }
        }
    }

    #[test]
    fn the_sum_is_in_seconds_and_a_forgotten_profile_is_gone() {
        let durations = Durations::default();
        durations.add(&labels(), &LatencyHistogram::from_us([500_000, 1_500_000]));
        let (_, count, sum) = cumulative(&durations);
        assert_eq!(count, 2);
        assert!((sum - 2.0).abs() < 0.002, "{sum}");
        durations.forget_profile("soak");
        assert!(durations.collect()[0].get_metric().is_empty());
    }
}
