//! The levels of load that a run held, as `analysis::capacity` wants them: of the scenario that climbed, in the unit of its load, with
//! what the target's resources did meanwhile. Without levels the pieces of a long ramp have to do. Pure.

use super::asked::Asked;
use super::timeline::{PIECE, SLOT, Slot, Stretch, Timeline};
use super::tracks::{Key, Track, Tracks};
use crate::analysis::capacity::{Kind, Level, Used, Window};
use crate::model::analysed::Resource;
use crate::model::catalog::Catalog;
use crate::model::run::Run;

/// Fewest levels, and fewest pieces of a ramp.
const LEVELS: usize = 3;
const PIECES: usize = 6;
/// Fewest seconds of a level that count.
const SECONDS: u32 = 20;
/// A level is higher than the one before by at least this share.
const HIGHER: f64 = 0.02;

/// What a run climbed.
#[derive(Debug, Clone)]
pub(super) struct Ladder {
    pub(super) scenario: String,
    /// `VUs`, `starts/min`.
    pub(super) unit: String,
    /// The levels are pieces of a ramp.
    pub(super) from_ramp: bool,
    pub(super) levels: Vec<Level>,
}

/// A scenario whose loads are read.
struct Reading<'a> {
    catalog: &'a Catalog,
    scenario: usize,
    /// Seconds of the unit of an open load.
    per: f64,
}

/// The levels of the scenario that climbed most; `None` when none climbed.
pub(super) fn ladder(run: &Run, timeline: &Timeline, tracks: &Tracks, asked: &Asked) -> Option<Ladder> {
    let held = |stretch: &&Stretch| stretch.steady && stretch.seconds >= SECONDS && stretch.requests > 0;
    let piece = |stretch: &&Stretch| stretch.is_piece() && stretch.length() >= PIECE && stretch.requests > 0;
    let of = |wanted: &dyn Fn(&&Stretch) -> bool, fewest: usize| {
        let stretches: Vec<&Stretch> = timeline.stretches.iter().filter(wanted).collect();
        let found = (0..run.catalog.scenarios.len()).map(|scenario| climbed(run, &stretches, scenario, asked));
        // The first of those with most levels.
        found
            .enumerate()
            .filter(|(_, levels)| levels.len() >= fewest)
            .max_by_key(|(scenario, levels)| (levels.len(), usize::MAX - scenario))
    };
    let (from_ramp, (scenario, climbed)) = match of(&held, LEVELS) {
        Some(levels) => (false, levels),
        None => (true, of(&piece, PIECES)?),
    };
    let meta = run.catalog.scenarios.get(scenario)?;
    let unit = match asked.units.get(&meta.name) {
        Some((unit, _)) if meta.open => format!("starts{unit}"),
        Some(_) | None if meta.open => "starts/s".into(),
        Some(_) | None => "VUs".into(),
    };
    let slots = timeline.all_slots();
    let per_iteration = requests_per_iteration(&run.catalog, &climbed);
    let level = |(stretch, load): &(&Stretch, f64)| level(stretch, *load, &slots, tracks, asked, per_iteration.as_deref());
    Some(Ladder { scenario: meta.name.clone(), unit, from_ramp, levels: climbed.iter().map(level).collect() })
}

/// The stretches in which a scenario had more load than ever before, with that load. A staircase with a gate searches up and down, with a
/// rest before each level: there every level counts.
fn climbed<'a>(run: &Run, stretches: &[&'a Stretch], scenario: usize, asked: &Asked) -> Vec<(&'a Stretch, f64)> {
    let Some(meta) = run.catalog.scenarios.get(scenario) else { return Vec::new() };
    let per = asked.units.get(&meta.name).map_or(1.0, |(_, seconds)| *seconds);
    let reading = Reading { catalog: &run.catalog, scenario, per };
    let searches = meta.executor == "staircase";
    let mut climbed: Vec<(&Stretch, f64)> = Vec::new();
    for stretch in stretches.iter().filter(|stretch| stretch.phase(scenario).is_some()) {
        let load = reading.load(stretch);
        let apart = |(_, other): &(&Stretch, f64)| (load - other).abs() > HIGHER * other;
        let above = |(_, other): &(&Stretch, f64)| load > other * (1.0 + HIGHER);
        let new = if searches { climbed.iter().all(apart) } else { climbed.iter().all(above) };
        if load > 0.0 && new {
            climbed.push((stretch, load));
        }
    }
    climbed
}

impl Reading<'_> {
    /// The load of the scenario in its unit, to three digits.
    fn load(&self, stretch: &Stretch) -> f64 {
        let Some(load) = stretch.scenarios.get(&(self.scenario as u16)) else { return 0.0 };
        let open = self.catalog.scenarios.get(self.scenario).is_some_and(|meta| meta.open);
        let value = if open { load.scheduled as f64 / f64::from(stretch.seconds.max(1)) * self.per } else { load.vus(stretch.seconds) };
        three_digits(value)
    }
}

fn three_digits(value: f64) -> f64 {
    if value <= 0.0 || !value.is_finite() {
        return 0.0;
    }
    let unit = 10.0_f64.powi(value.log10().floor() as i32 - 2);
    // Twice, so that 500 is not 499.99999.
    (((value / unit).round() * unit) * 1e6).round() / 1e6
}

/// Requests that one iteration of each scenario makes, by its lowest level; `None` when a scenario is closed: its target sets the pace.
fn requests_per_iteration(catalog: &Catalog, climbed: &[(&Stretch, f64)]) -> Option<Vec<f64>> {
    let (lowest, _) = climbed.iter().min_by(|one, other| one.1.total_cmp(&other.1))?;
    let of = |(index, meta): (usize, &crate::model::catalog::ScenarioMeta)| {
        let load = lowest.scenarios.get(&(index as u16)).copied().unwrap_or_default();
        meta.open.then(|| load.requests as f64 / load.iterations.max(1) as f64)
    };
    catalog.scenarios.iter().enumerate().map(of).collect()
}

fn level(stretch: &Stretch, load: f64, slots: &[Slot], tracks: &Tracks, asked: &Asked, per_iteration: Option<&[f64]>) -> Level {
    let seconds = f64::from(stretch.seconds.max(1));
    let (from, to) = (f64::from(stretch.settled), f64::from(stretch.to));
    let inside = |slot: &&Slot| slot.at >= stretch.settled && slot.at + SLOT <= stretch.to;
    let due = |per_iteration: &[f64]| {
        let each = stretch.scenarios.iter().filter_map(|(index, load)| Some((load, per_iteration.get(usize::from(*index))?)));
        each.map(|(load, requests)| load.scheduled as f64 * requests).sum::<f64>() / seconds
    };
    Level {
        load,
        seconds,
        offered: per_iteration.map(due).filter(|offered| *offered > 0.0),
        requests: stretch.requests,
        failed: stretch.failed,
        throughput: stretch.requests.saturating_sub(stretch.failed) as f64 / seconds,
        p95_s: stretch.duration.quantile(0.95).map(|time| time.as_secs_f64()),
        mean_s: stretch.duration.mean().map(|time| time.as_secs_f64()),
        in_flight: tracks.in_flight(from, to),
        resources: resources(tracks, asked, from, to),
        windows: slots.iter().filter(inside).map(|slot| window(slot, tracks)).collect(),
    }
}

fn window(slot: &Slot, tracks: &Tracks) -> Window {
    let (from, to) = (f64::from(slot.at), f64::from(slot.at + SLOT));
    let waits = tracks.of("pool_wait_time").filter_map(|(_, track)| track.mean(from, to));
    Window {
        throughput: slot.requests.saturating_sub(slot.failed) as f64 / f64::from(slot.seconds.max(1)),
        p95_s: slot.p95_s,
        wait_s: waits.reduce(f64::max),
    }
}

/// What was in use of everything that has a limit: of its own, or one that was asked for.
fn resources(tracks: &Tracks, asked: &Asked, from: f64, to: f64) -> Vec<Used> {
    let mut used = Vec::new();
    for (key, resource, track, limit) in tracks.resources() {
        let kind = match resource {
            Resource::Connections => Kind::Servers,
            Resource::Memory | Resource::Descriptors => Kind::Store,
            Resource::Threads | Resource::Queue | Resource::P95 | Resource::Errors => continue,
        };
        let limit = limit.or_else(|| asked.limit_of(resource));
        used.extend(of_track(resource_name(tracks, key), kind, track, limit, from, to));
    }
    for (key, track) in tracks.of("process_cpu") {
        used.extend(of_track(resource_name(tracks, key), Kind::Servers, track, asked.most("process_cpu"), from, to));
    }
    used
}

fn of_track(resource: String, kind: Kind, track: &Track, limit: Option<f64>, from: f64, to: f64) -> Option<Used> {
    Some(Used { resource, kind, used: track.mean(from, to)?, limit: limit? })
}

/// "pool `main`", "memory of `app`"; with the probe when two probes read a pool of one name.
pub(super) fn resource_name(tracks: &Tracks, key: &Key) -> String {
    let replica: Vec<&str> = key.labels.iter().filter(|(name, _)| *name != "pool").map(|(_, value)| value.as_str()).collect();
    let replica = if replica.is_empty() { String::new() } else { format!(" {}", replica.join(" ")) };
    match (key.labels.get("pool"), key.metric) {
        (Some(pool), _) => {
            let twice = tracks.of(key.metric).any(|(other, _)| other.labels == key.labels && other.probe != key.probe);
            if twice { format!("pool `{pool}`{replica} ({})", key.probe) } else { format!("pool `{pool}`{replica}") }
        }
        (None, "process_memory") => format!("memory of `{}`{replica}", key.probe),
        (None, "process_cpu") => format!("CPU of `{}`{replica}", key.probe),
        (None, "process_descriptors") => format!("descriptors of `{}`{replica}", key.probe),
        (None, _) => format!("connections of `{}`{replica}", key.probe),
    }
}
