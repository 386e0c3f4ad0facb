//! The daemon's first number: how much of each target's safe capacity, as it was last measured, is left at the load that production puts on
//! it, and when it will be used up. Looked at every ten minutes and told as readings of a probe `headroom`: stored, shown on `/metrics`
//! and asked by alert rules like those of any probe.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::duty::Duty;
use super::prober::Taken;
use super::setup::{ProductionLoad, Setup};
use crate::analysis::headroom::{Day, headroom};
use crate::clock::SharedClock;
use crate::model::analysed::CapacityFound;
use crate::model::run::RunStatus;
use crate::model::series::{Point, Reading};
use crate::model::units::Timestamp;
use crate::store::{ReadingFilter, RunFilter, Store, StoreResult};

/// Time between two looks.
const EVERY: Duration = Duration::from_secs(600);
/// Days that are looked at.
const DAYS: i64 = 28;
/// Length of a day in microseconds.
const DAY: i64 = 86_400_000_000;
/// Readings are asked for in pieces of this length.
const PIECE: Duration = Duration::from_secs(21_600);
/// Runs among which the last one with a capacity is looked for.
const RUNS: u32 = 200;
/// Share of a day's readings that its peak is not below: a single one is no load.
const PEAK: f64 = 0.99;
/// The probe that the readings are told of.
pub const PROBE: &str = "headroom";

/// What it works with.
pub struct HeadroomParts {
    /// Runs and readings.
    pub store: Arc<dyn Store>,
    /// The wall clock.
    pub clock: SharedClock,
    /// The configuration in force.
    pub setup: watch::Receiver<Arc<Setup>>,
    /// Takes the readings.
    pub readings: mpsc::Sender<Taken>,
    /// Only who is in charge looks.
    pub duty: watch::Receiver<Duty>,
}

/// Looks again and again until `stop`.
pub async fn run(parts: HeadroomParts, stop: CancellationToken) {
    let mut every = interval(EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut peaks = Peaks::default();
    loop {
        tokio::select! {
            _ = every.tick() => {}
            () = stop.cancelled() => return,
        }
        if !parts.duty.borrow().in_charge {
            continue;
        }
        let setup = parts.setup.borrow().clone();
        for (target, load) in &setup.production {
            let now = parts.clock.now();
            let reading = tokio::select! {
                reading = look(&*parts.store, &mut peaks, target, load, now) => reading,
                () = stop.cancelled() => return,
            };
            let points = match reading {
                Ok(points) => points,
                Err(error) => Err(format!("storage: {error}")),
            };
            let reading = Reading { target: target.clone(), probe: PROBE.into(), at: now, second: None, points };
            if parts.readings.send((None, Arc::new(reading))).await.is_err() {
                return;
            }
        }
    }
}

/// Peaks of days that are over, by target: they do not change.
#[derive(Debug, Default)]
pub struct Peaks(BTreeMap<(String, i64), Option<f64>>);

/// The points of one target; `Err` within says why there are none.
pub async fn look(
    store: &dyn Store,
    peaks: &mut Peaks,
    target: &str,
    load: &ProductionLoad,
    now: Timestamp,
) -> StoreResult<Result<Vec<Point>, String>> {
    let Some(capacity) = last_capacity(store, target).await? else {
        return Ok(Err("missing: no run on this target has measured a capacity yet".into()));
    };
    let today = now.0.div_euclid(DAY);
    let mut days = Vec::new();
    for day in today - DAYS + 1..=today {
        let key = (target.to_owned(), day);
        let known = peaks.0.get(&key).copied().filter(|_| day < today);
        let peak = match known {
            Some(peak) => peak,
            None => peak_of(store, target, load, day).await?,
        };
        peaks.0.insert(key, peak);
        days.extend(peak.map(|peak| Day { day: day as f64, peak }));
    }
    peaks.0.retain(|(_, day), _| *day > today - DAYS);
    let points = points(&capacity, &days, target);
    Ok(if points.is_empty() { Err(format!("missing: nothing was read of `{}`", load.metric)) } else { Ok(points) })
}

/// The capacity that was measured last.
async fn last_capacity(store: &dyn Store, target: &str) -> StoreResult<Option<CapacityFound>> {
    let filter = RunFilter { target: Some(target.into()), status: Some(RunStatus::Finished), limit: RUNS, ..RunFilter::default() };
    let runs = store.runs(&filter).await?;
    Ok(runs.into_iter().find_map(|run| run.summary?.analysed.capacity))
}

/// The highest load of a day outside of runs, which are ours and not production's.
async fn peak_of(store: &dyn Store, target: &str, load: &ProductionLoad, day: i64) -> StoreResult<Option<f64>> {
    let end = Timestamp((day + 1) * DAY);
    let mut from = Timestamp(day * DAY);
    let mut values: Vec<f64> = Vec::new();
    while from < end {
        let to = from.plus(PIECE).min(end);
        let filter = ReadingFilter {
            target: Some(target.into()),
            metric: Some(load.metric.clone()),
            from: Some(from),
            to: Some(to),
            ..ReadingFilter::default()
        };
        for reading in store.readings(&filter).await?.iter().filter(|reading| reading.second.is_none() && reading.probe == load.probe) {
            let fits = |point: &&Point| load.labels.iter().all(|(name, value)| point.labels.get(name) == Some(value));
            // Several series, such as replicas, bear the load together.
            let sum = reading.points.iter().flatten().filter(fits).map(|point| point.value).reduce(|one, other| one + other);
            values.extend(sum);
        }
        from = to;
    }
    values.sort_by(f64::total_cmp);
    let rank = (values.len() as f64 * PEAK).ceil() as usize;
    Ok(values.get(rank.saturating_sub(1)).copied())
}

/// The points: of the safe level of the load line as a whole, and of each resource that has a capacity.
fn points(capacity: &CapacityFound, days: &[Day], target: &str) -> Vec<Point> {
    let safe = capacity.safe.and_then(|safe| capacity.levels.iter().find(|level| (level.load - safe).abs() <= 0.0));
    let mut capacities: Vec<(&str, f64)> = safe.map(|level| ("safe load", level.per_second)).into_iter().collect();
    let of_resources = capacity.bottlenecks.iter();
    capacities.extend(of_resources.filter_map(|one| Some((one.resource.as_str(), one.per_second?.value))));
    let mut points = Vec::new();
    for (resource, capacity) in capacities {
        let Some(found) = headroom(capacity, days) else { continue };
        let mut add = |metric: &str, value: f64| {
            points.push(Point::new(metric, value).with("resource", resource).with("target", target).with("probe", PROBE));
        };
        add("headroom", found.free);
        add("headroom_capacity", capacity);
        add("headroom_load", found.load);
        if let Some((left, span)) = found.days {
            let seconds = |days: f64| days * 86_400.0;
            add("headroom_time", seconds(left));
            add("headroom_time_low", seconds(span.low));
            if span.high.is_finite() {
                add("headroom_time_high", seconds(span.high));
            }
        }
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::analysed::{Analysed, BottleneckFound, LevelFound, LevelOutcome, Ranged};
    use crate::model::run::Summary;
    use crate::model::sample;
    use crate::store::{self, SeriesBatch};

    const NOW: Timestamp = Timestamp(1_700_000_000_000_000);

    fn capacity() -> CapacityFound {
        let level = |load: f64, outcome| LevelFound {
            load,
            seconds: 60.0,
            per_second: load * 10.0,
            p95_s: None,
            failed: 0.0,
            outcome,
            met: Vec::new(),
            missed: Vec::new(),
        };
        let bottleneck = BottleneckFound { resource: "pool main".into(), utilization: 0.9, per_second: Ranged::new(400.0, 380.0, 420.0) };
        CapacityFound {
            scenario: "users".into(),
            unit: "VUs".into(),
            from_ramp: false,
            safe: Some(20.0),
            unsafe_from: Some(40.0),
            peak: Some(40.0),
            peak_per_second: Some(400.0),
            peak_reached: true,
            breaking: None,
            breaking_estimate: None,
            per_second: None,
            bottlenecks: vec![bottleneck],
            levels: vec![level(20.0, LevelOutcome::Safe), level(40.0, LevelOutcome::Unsafe)],
            table: Vec::new(),
        }
    }

    fn reading(at: Timestamp, value: f64, second: Option<u32>) -> Reading {
        let points = Ok(vec![Point::new("custom", value).with("name", "rps"), Point::new("custom", 9e9).with("name", "other")]);
        Reading { target: sample::running().target, probe: "edge".into(), at, second, points }
    }

    #[tokio::test]
    async fn what_production_leaves_of_the_last_capacity() {
        let store = store::open("sqlite::memory:").await.unwrap();
        let run = sample::finished();
        let load = ProductionLoad { probe: "edge".into(), metric: "custom".into(), labels: [("name".to_owned(), "rps".to_owned())].into() };
        let mut peaks = Peaks::default();
        let none = look(&*store, &mut peaks, &run.target, &load, NOW).await.unwrap();
        assert_eq!(none, Err("missing: no run on this target has measured a capacity yet".into()));
        let analysed = Analysed { capacity: Some(capacity()), ..Analysed::default() };
        let run = crate::model::run::Run { summary: Some(Summary { analysed, ..Summary::default() }), ..run };
        store.start_run(&run).await.unwrap();
        let none = look(&*store, &mut peaks, &run.target, &load, NOW).await.unwrap();
        assert_eq!(none, Err("missing: nothing was read of `custom`".into()));
        // Twenty days, 100/s and 2/s more each day; while a run goes on the load is ours.
        let mut readings = Vec::new();
        for day in 0..20_i64 {
            let at = Timestamp(NOW.0 - day * DAY);
            readings.extend((0..4).map(|n| (None, reading(Timestamp(at.0 - n * 60_000_000), 138.0 - 2.0 * day as f64, None))));
            readings.push((Some(run.id.clone()), reading(Timestamp(at.0 - 600_000_000), 5_000.0, Some(3))));
        }
        store.append(&SeriesBatch { intervals: Vec::new(), readings }).await.unwrap();
        let points = look(&*store, &mut Peaks::default(), &run.target, &load, NOW).await.unwrap().unwrap();
        let of = |metric: &str, resource: &str| {
            let found = points.iter().find(|point| point.metric == metric && point.labels["resource"] == resource);
            found.unwrap_or_else(|| panic!("{metric} {resource}: {points:#?}")).value
        };
        assert!((of("headroom", "safe load") - 0.31).abs() < 1e-9 && (of("headroom", "pool main") - 0.655).abs() < 1e-9);
        assert!((of("headroom_time", "safe load") / 86_400.0 - 31.0).abs() < 0.5);
        assert!((of("headroom_capacity", "safe load") - 200.0).abs() < 1e-9 && (of("headroom_load", "safe load") - 138.0).abs() < 1e-9);
        assert!(of("headroom_time_low", "safe load") < of("headroom_time", "safe load"));
    }
}
