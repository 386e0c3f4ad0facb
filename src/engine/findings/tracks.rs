//! Series of a run as analysis wants them: what probes read of resources, in bins that become wider as the run becomes longer, so that
//! memory is bounded. Notices restarts of the target. Pure.

use std::collections::BTreeMap;

use crate::model::Labels;
use crate::model::analysed::Resource;
use crate::model::series::{Point, Reading};

/// Width of the first bins, in seconds.
const WIDTH: u32 = 5;
/// Most bins of a series; beyond it two become one.
const MOST_BINS: usize = 2_000;
/// Most series of a run; a target may show any number of pools and replicas.
const MOST_TRACKS: usize = 64;
/// Memory that falls to less than this share between two readings, while counters begin anew or after a reading that failed, is that
/// of another process.
const RESTARTED: f64 = 0.8;
/// Numbers of one's own; only the one called [`IN_FLIGHT`] is followed.
const CUSTOM: &str = "custom";
/// Requests that the target says are inside it.
const IN_FLIGHT: &str = "in_flight";
/// Restarts that are remembered.
const MOST_RESTARTS: usize = 50;

/// What limits a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LimitedBy {
    /// Another metric with the same labels.
    Metric(&'static str),
    /// A metric that is the share in use.
    Share(&'static str),
    /// Nothing that is read.
    Nothing,
}

/// A metric that is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Followed {
    metric: &'static str,
    /// The resource that may leak; `None`: needed for the load line only.
    resource: Option<Resource>,
    limit: LimitedBy,
}

/// Every metric that is followed.
const FOLLOWED: &[Followed] = &[
    Followed { metric: "process_memory", resource: Some(Resource::Memory), limit: LimitedBy::Nothing },
    Followed { metric: "process_descriptors", resource: Some(Resource::Descriptors), limit: LimitedBy::Share("process_descriptors_ratio") },
    Followed { metric: "process_threads", resource: Some(Resource::Threads), limit: LimitedBy::Nothing },
    Followed { metric: "pool_in_use", resource: Some(Resource::Connections), limit: LimitedBy::Metric("pool_limit") },
    Followed { metric: "pool_waiting", resource: Some(Resource::Queue), limit: LimitedBy::Nothing },
    Followed { metric: "process_cpu", resource: None, limit: LimitedBy::Nothing },
    Followed { metric: "pool_wait_time", resource: None, limit: LimitedBy::Nothing },
    Followed { metric: "cgroup_memory", resource: None, limit: LimitedBy::Share("cgroup_memory_ratio") },
    Followed { metric: CUSTOM, resource: None, limit: LimitedBy::Nothing },
];

/// Which series.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) metric: &'static str,
    pub(super) probe: String,
    /// Without target and probe.
    pub(super) labels: Labels,
}

/// Readings of some seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Bin {
    at: u32,
    sum: f64,
    count: u32,
}

/// One series in bins of equal width.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Track {
    width: u32,
    bins: Vec<Bin>,
    limit: Option<f64>,
}

impl Default for Track {
    fn default() -> Self {
        Self { width: WIDTH, bins: Vec::new(), limit: None }
    }
}

impl Track {
    /// Adds a reading; those of a second may come in any order.
    pub(super) fn push(&mut self, second: u32, value: f64) {
        let at = second / self.width;
        let place = self.bins.partition_point(|bin| bin.at < at);
        match self.bins.get_mut(place).filter(|bin| bin.at == at) {
            Some(bin) => {
                bin.sum += value;
                bin.count += 1;
            }
            None => self.bins.insert(place, Bin { at, sum: value, count: 1 }),
        }
        if self.bins.len() > MOST_BINS {
            self.widen();
        }
    }

    fn widen(&mut self) {
        self.width *= 2;
        let mut wider: Vec<Bin> = Vec::with_capacity(self.bins.len() / 2 + 1);
        for bin in self.bins.drain(..) {
            let at = bin.at / 2;
            match wider.last_mut().filter(|last| last.at == at) {
                Some(last) => {
                    last.sum += bin.sum;
                    last.count += bin.count;
                }
                None => wider.push(Bin { at, ..bin }),
            }
        }
        self.bins = wider;
    }

    /// Middle second and mean of each bin that lies within `from <= second < to`.
    pub(super) fn samples(&self, from: f64, to: f64) -> Vec<(f64, f64)> {
        let width = f64::from(self.width);
        let begin = |bin: &&Bin| f64::from(bin.at) * width;
        let inside = self.bins.iter().filter(|bin| begin(bin) >= from && begin(bin) + width <= to);
        inside.map(|bin| (begin(&bin) + width / 2.0, bin.sum / f64::from(bin.count.max(1)))).collect()
    }

    /// Mean of the readings between two seconds.
    pub(super) fn mean(&self, from: f64, to: f64) -> Option<f64> {
        let samples = self.samples(from, to);
        (!samples.is_empty()).then(|| samples.iter().map(|(_, value)| value).sum::<f64>() / samples.len() as f64)
    }
}

/// What is known of a probe's process.
#[derive(Debug, Clone, Default)]
struct Life {
    memory: Option<f64>,
    /// The last reading failed.
    failed: bool,
    /// CPU, a rate between two readings of the same process, was read.
    rated: bool,
    restarts: Vec<f64>,
}

/// All series of a run.
#[derive(Debug, Clone, Default)]
pub(super) struct Tracks {
    tracks: BTreeMap<Key, Track>,
    lives: BTreeMap<String, Life>,
}

impl Tracks {
    /// Adds a reading.
    pub(super) fn reading(&mut self, reading: &Reading) {
        let Some(second) = reading.second else { return };
        let life = self.lives.entry(reading.probe.clone()).or_default();
        match &reading.points {
            Ok(points) => {
                life.reading(second, points);
                for followed in FOLLOWED {
                    for point in points.iter().filter(|point| point.metric == followed.metric && point.value.is_finite()) {
                        self.point(*followed, &reading.probe, second, point, points);
                    }
                }
            }
            Err(_) => life.failed = true,
        }
    }

    fn point(&mut self, followed: Followed, probe: &str, second: u32, point: &Point, all: &[Point]) {
        if followed.metric == CUSTOM && point.labels.get("name").is_none_or(|name| name != IN_FLIGHT) {
            return;
        }
        let labels = point.labels.iter().filter(|(name, _)| !matches!(name.as_str(), "target" | "probe"));
        let labels = labels.map(|(name, value)| (name.clone(), value.clone())).collect();
        let key = Key { metric: followed.metric, probe: probe.into(), labels };
        if self.tracks.len() >= MOST_TRACKS && !self.tracks.contains_key(&key) {
            return;
        }
        let track = self.tracks.entry(key).or_default();
        track.push(second, point.value);
        let beside =
            |metric: &str| all.iter().find(|other| other.metric == metric && other.labels == point.labels).map(|other| other.value);
        let limit = match followed.limit {
            LimitedBy::Metric(metric) => beside(metric),
            LimitedBy::Share(metric) => beside(metric).filter(|share| *share > 0.0).map(|share| point.value / share),
            LimitedBy::Nothing => None,
        };
        track.limit = limit.filter(|limit| limit.is_finite() && *limit > 0.0).or(track.limit);
    }

    /// Series of resources that may leak, with their limits as they were last read.
    pub(super) fn resources(&self) -> impl Iterator<Item = (&Key, Resource, &Track, Option<f64>)> {
        let resource = |key: &Key| FOLLOWED.iter().find(|followed| followed.metric == key.metric).and_then(|followed| followed.resource);
        let container = self.container();
        self.tracks.iter().filter_map(move |(key, track)| {
            let resource = resource(key)?;
            let limit = track.limit.or_else(|| container.filter(|_| resource == Resource::Memory));
            Some((key, resource, track, limit))
        })
    }

    /// Memory limit of the target's container, when there is one container.
    fn container(&self) -> Option<f64> {
        let mut groups = self.of("cgroup_memory");
        groups.next().filter(|_| groups.next().is_none()).and_then(|(_, track)| track.limit)
    }

    /// Mean of the requests that the target itself says are inside it, where a probe reads a number of one's own called `in_flight`; those
    /// of several replicas together.
    pub(super) fn in_flight(&self, from: f64, to: f64) -> Option<f64> {
        self.of(CUSTOM).filter_map(|(_, track)| track.mean(from, to)).reduce(|sum, other| sum + other)
    }

    /// Series of one metric.
    pub(super) fn of(&self, metric: &str) -> impl Iterator<Item = (&Key, &Track)> {
        self.tracks.iter().filter(move |(key, _)| key.metric == metric)
    }

    /// Seconds at which the process behind a probe was started anew.
    pub(super) fn restarts(&self, probe: &str) -> Vec<f64> {
        self.lives.get(probe).map(|life| life.restarts.clone()).unwrap_or_default()
    }
}

impl Life {
    /// A process that is another: less memory at once, and either no rate of CPU where there was one (its counters began anew) or a
    /// reading that failed before.
    fn reading(&mut self, second: u32, points: &[Point]) {
        let read = |metric: &str| points.iter().find(|point| point.metric == metric).map(|point| point.value);
        let (memory, rated) = (read("process_memory"), read("process_cpu").is_some());
        let anew = self.failed || (self.rated && !rated);
        if let (Some(before), Some(now)) = (self.memory, memory)
            && anew
            && now < RESTARTED * before
            && self.restarts.len() < MOST_RESTARTS
        {
            self.restarts.push(f64::from(second));
        }
        self.memory = memory.or(self.memory);
        self.rated = rated;
        self.failed = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::units::Timestamp;

    #[test]
    fn bins_become_wider_so_that_memory_is_bounded() {
        let mut track = Track::default();
        for second in 0..100_000 {
            track.push(second, f64::from(second));
        }
        assert!(track.bins.len() <= MOST_BINS, "{}", track.bins.len());
        assert_eq!(track.width, 80);
        let samples = track.samples(0.0, 100_000.0);
        assert!(samples.iter().all(|(time, value)| (time - value - 0.5).abs() < 1e-6), "{:?}", &samples[..3]);
    }

    #[test]
    fn only_whole_bins_within_the_span_count() {
        let mut track = Track::default();
        (0..30).for_each(|second| track.push(second, 1.0));
        track.push(3, 7.0);
        assert_eq!(track.samples(2.0, 17.0), [(7.5, 1.0), (12.5, 1.0)]);
        assert_eq!(track.samples(0.0, 5.0), [(2.5, 2.0)]);
        assert_eq!((track.mean(5.0, 30.0), track.mean(40.0, 50.0)), (Some(1.0), None));
    }

    fn reading(second: u32, points: &[(&str, f64)]) -> Reading {
        let points = points.iter().map(|(metric, value)| Point::new(metric, *value)).collect();
        Reading { target: "t".into(), probe: "app".into(), at: Timestamp(0), second: Some(second), points: Ok(points) }
    }

    #[test]
    fn a_restart_is_told_from_a_collection_of_garbage() {
        let mut tracks = Tracks::default();
        tracks.reading(&reading(0, &[("process_memory", 500.0), ("process_cpu", 0.5)]));
        // Garbage was collected: the process is the same.
        tracks.reading(&reading(1, &[("process_memory", 200.0), ("process_cpu", 0.5)]));
        tracks.reading(&reading(2, &[("process_memory", 500.0), ("process_cpu", 0.5)]));
        // Counters begin anew.
        tracks.reading(&reading(3, &[("process_memory", 100.0)]));
        tracks.reading(&reading(4, &[("process_memory", 300.0), ("process_cpu", 0.5)]));
        // It could not be read, and came back smaller.
        tracks.reading(&Reading { points: Err("connect: refused".into()), ..reading(5, &[]) });
        tracks.reading(&reading(6, &[("process_memory", 90.0)]));
        // It could not be read, and came back as it was.
        tracks.reading(&Reading { points: Err("timeout".into()), ..reading(7, &[]) });
        tracks.reading(&reading(8, &[("process_memory", 91.0)]));
        assert_eq!(tracks.restarts("app"), [3.0, 6.0]);
        assert!(tracks.restarts("other").is_empty());
    }

    #[test]
    fn limits_are_read_beside_the_resource() {
        let mut tracks = Tracks::default();
        let points = [("pool_in_use", 3.0), ("pool_limit", 20.0), ("process_descriptors", 50.0), ("process_descriptors_ratio", 0.05)];
        tracks.reading(&reading(0, &points));
        let limits: Vec<(Resource, Option<f64>)> = tracks.resources().map(|(_, resource, _, limit)| (resource, limit)).collect();
        assert_eq!(limits, [(Resource::Connections, Some(20.0)), (Resource::Descriptors, Some(1000.0))]);
    }

    #[test]
    fn the_limit_of_the_only_container_is_that_of_the_memory() {
        let mut tracks = Tracks::default();
        tracks.reading(&reading(0, &[("process_memory", 100.0), ("cgroup_memory", 120.0), ("cgroup_memory_ratio", 0.25)]));
        let limits = |tracks: &Tracks| tracks.resources().map(|(_, _, _, limit)| limit).collect::<Vec<_>>();
        assert_eq!(limits(&tracks), [Some(480.0)]);
        let other = reading(0, &[("cgroup_memory", 10.0), ("cgroup_memory_ratio", 0.1)]);
        tracks.reading(&Reading { probe: "database".into(), ..other });
        assert_eq!(limits(&tracks), [None], "whose limit it is cannot be told");
    }

    #[test]
    fn of_numbers_of_ones_own_only_the_requests_in_flight_are_followed() {
        let mut tracks = Tracks::default();
        for second in 0..10 {
            let mut reading = reading(second, &[]);
            let point = |name: &str, value| Point::new("custom", value).with("name", name);
            reading.points = Ok(vec![point("in_flight", 4.0 + f64::from(second % 2)), point("carts", 9.0)]);
            tracks.reading(&reading);
        }
        assert_eq!((tracks.of(CUSTOM).count(), tracks.in_flight(0.0, 10.0)), (1, Some(4.5)));
        assert_eq!(Tracks::default().in_flight(0.0, 10.0), None);
    }

    #[test]
    fn the_number_of_series_is_bounded() {
        let mut tracks = Tracks::default();
        for pool in 0..200 {
            let mut reading = reading(0, &[]);
            reading.points = Ok(vec![Point::new("pool_in_use", 1.0).with("pool", format!("p{pool}"))]);
            tracks.reading(&reading);
        }
        assert_eq!(tracks.resources().count(), MOST_TRACKS);
    }
}
