//! What the unit tests of this folder are made of: catalogs, seconds and readings of runs that never were.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::catalog::{Catalog, PhaseWindow, ScenarioMeta, StepMeta};
use crate::model::failure::Reason;
use crate::model::histogram::LatencyHistogram;
use crate::model::measure::{Accounting, Interval, ScenarioInterval, StepInterval};
use crate::model::run::{Run, RunId, RunStatus, Trigger};
use crate::model::series::{Point, Reading};
use crate::model::units::Timestamp;

pub(super) fn phase(name: &str, from: u64, to: u64, ramp: bool) -> PhaseWindow {
    PhaseWindow { name: name.into(), start: Duration::from_secs(from), end: Duration::from_secs(to), ramp }
}

/// One open scenario `main` with one step.
pub(super) fn catalog(phases: &[PhaseWindow]) -> Catalog {
    let scenario = ScenarioMeta {
        name: "main".into(),
        executor: "ramping-arrival-rate".into(),
        open: true,
        tags: std::collections::BTreeMap::new(),
        phases: phases.to_vec(),
        start: Duration::ZERO,
        duration: phases.last().map_or(Duration::ZERO, |phase| phase.end),
    };
    let step = StepMeta { scenario: 0, name: "ask".into(), protocol: "http".into(), title: String::new(), checks: Vec::new() };
    Catalog { scenarios: vec![scenario], steps: vec![step], groups: Vec::new(), seed: None }
}

/// A second with so many requests of one iteration each, of which some failed, all answered within about `us` microseconds.
pub(super) fn second(second: u32, requests: u64, failed: u64, us: u64) -> Interval {
    // Spread by a fifth, the slowest last; no randomness, but no two seconds alike.
    let wave = u64::from(second * 7_919 % 31);
    let spread = |at: u64| us * (90 + 20 * at / requests.max(1)) / 100 + us * wave / 1000;
    let ok = requests - failed;
    let step = StepInterval {
        step: 0,
        ok,
        failures: if failed > 0 { [(Reason::Status(503), failed)].into() } else { BTreeMap::new() },
        response_ok: LatencyHistogram::from_us((0..ok).map(spread)),
        response_failed: LatencyHistogram::from_us((ok..requests).map(spread)),
        ..StepInterval::default()
    };
    let counts = Accounting { scheduled: requests, started: requests, completed: requests, ..Accounting::default() };
    let scenario = ScenarioInterval { scenario: 0, counts, vus: 5, vus_busy: 2, ..ScenarioInterval::default() };
    Interval { second, steps: [(0, step)].into(), scenarios: [(0, scenario)].into(), shards: 1, ..Interval::default() }
}

/// A reading of the probe `app`.
pub(super) fn reading(second: u32, points: Vec<Point>) -> Reading {
    Reading { target: "t".into(), probe: "app".into(), at: Timestamp(0), second: Some(second), points: Ok(points) }
}

/// A run with this catalog.
pub(super) fn run(catalog: Catalog) -> Run {
    Run {
        id: RunId("r".into()),
        profile: "p".into(),
        target: "t".into(),
        trigger: Trigger { by: "cli".into(), name: None },
        digest: String::new(),
        target_version: None,
        started_at: Timestamp(0),
        ended_at: None,
        status: RunStatus::Running,
        ended_by: None,
        verdict: None,
        reasons: Vec::new(),
        catalog,
        summary: None,
        thresholds: Vec::new(),
        controls: Vec::new(),
    }
}

/// Noise that repeats itself with the seed, about normal, of standard deviation 1.
pub(super) struct Noise(pub(super) u64);

impl Noise {
    pub(super) fn next(&mut self) -> f64 {
        let mut sum = -6.0;
        for _ in 0..12 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            sum += (self.0 >> 40) as f64 / (1_u64 << 24) as f64;
        }
        sum
    }
}
