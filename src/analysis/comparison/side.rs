//! One side of a comparison: a run, or a part of it, folded into blocks of time. Blocks are what is drawn again and again to know how
//! sure a figure is (requests within a block depend on each other, blocks nearly do not), so that only counts and histograms of at
//! most 60 blocks are kept, however long the run was.

use std::collections::BTreeMap;

use crate::model::Labels;
use crate::model::catalog::Catalog;
use crate::model::failure::Reason;
use crate::model::histogram::LatencyHistogram;
use crate::model::measure::{Interval, StepInterval};
use crate::model::run::{EndedBy, Run, RunId, Verdict};
use crate::model::series::Reading;

/// Blocks that a side is cut into, where it is long enough: at least so many, so that there is something to draw from.
const LEAST_BLOCKS: u32 = 20;
/// At most so many; longer sides have longer blocks.
const MOST_BLOCKS: u32 = 60;
/// Blocks of this length are nearly independent of each other.
pub(super) const INDEPENDENT_S: u32 = 60;

/// A part of a run: the seconds of a phase, of a scenario, or all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its name as asked for; `None`: the whole run.
    pub name: Option<String>,
    /// Only steps of this scenario.
    scenario: Option<u16>,
    /// First second and the one after the last, ascending.
    windows: Vec<(u32, u32)>,
}

/// The run has no such part; the field lists those it has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("run {run} has no phase `{name}`; it has {}", if .known.is_empty() { "none".to_owned() } else { .known.join(", ") })]
pub struct NoSuchPart {
    /// The run.
    pub run: RunId,
    /// What was asked for.
    pub name: String,
    /// Phases and scenarios that there are.
    pub known: Vec<String>,
}

impl Part {
    /// The part of a run with this name: a phase (of whichever scenario), a scenario, or `scenario/phase`; `None`: the whole run.
    pub fn of(run: &Run, name: Option<&str>) -> Result<Self, NoSuchPart> {
        let end = run.summary.as_ref().map_or(u32::MAX, |summary| (summary.seconds.ceil() as u32).max(1));
        let Some(name) = name else { return Ok(Self { name: None, scenario: None, windows: vec![(0, end)] }) };
        let whole = |windows| Self { name: Some(name.to_owned()), scenario: None, windows };
        let windows = phases(&run.catalog, None, name);
        if !windows.is_empty() {
            return Ok(whole(windows));
        }
        for (index, scenario) in run.catalog.scenarios.iter().enumerate() {
            let windows = if scenario.name == name {
                vec![seconds(scenario.start.as_secs_f64(), (scenario.start + scenario.duration).as_secs_f64())]
            } else {
                let phase = name.strip_prefix(&scenario.name).and_then(|rest| rest.strip_prefix('/'));
                phase.map(|phase| phases(&run.catalog, Some(index), phase)).unwrap_or_default()
            };
            if !windows.is_empty() {
                return Ok(Self { scenario: Some(index as u16), ..whole(windows) });
            }
        }
        let scenarios = run.catalog.scenarios.iter();
        let mut known: Vec<String> =
            scenarios.flat_map(|one| one.phases.iter().map(|phase| phase.name.clone()).chain([one.name.clone()])).collect();
        known.sort_unstable();
        known.dedup();
        Err(NoSuchPart { run: run.id.clone(), name: name.into(), known })
    }

    /// The seconds from the first to the last of the part.
    pub fn span(&self) -> (u32, u32) {
        (self.windows.iter().map(|(from, _)| *from).min().unwrap_or(0), self.windows.iter().map(|(_, to)| *to).max().unwrap_or(0))
    }

    /// How many seconds the part has before this one; `None` when it is not of the part.
    fn position(&self, second: u32) -> Option<u32> {
        let inside = self.windows.iter().any(|(from, to)| (*from..*to).contains(&second));
        inside.then(|| self.windows.iter().map(|(from, to)| second.min(*to).saturating_sub(*from)).sum())
    }

    fn length(&self) -> u32 {
        self.windows.iter().map(|(from, to)| to.saturating_sub(*from)).fold(0, u32::saturating_add)
    }
}

/// The windows of all phases with a name, overlapping ones joined.
fn phases(catalog: &Catalog, scenario: Option<usize>, name: &str) -> Vec<(u32, u32)> {
    let scenarios = catalog.scenarios.iter().enumerate().filter(|(index, _)| scenario.is_none_or(|only| only == *index));
    let found = scenarios.flat_map(|(_, one)| one.phases.iter().filter(|phase| phase.name == name));
    let mut windows: Vec<(u32, u32)> = found.map(|phase| seconds(phase.start.as_secs_f64(), phase.end.as_secs_f64())).collect();
    windows.sort_unstable();
    let mut joined: Vec<(u32, u32)> = Vec::new();
    for (from, to) in windows {
        match joined.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            Some(_) | None => joined.push((from, to)),
        }
    }
    joined
}

/// A second belongs to what its middle lies in.
fn seconds(start: f64, end: f64) -> (u32, u32) {
    ((start - 0.5).ceil().max(0.0) as u32, (end - 0.5).ceil().max(0.0) as u32)
}

/// What happened to a step (or to all) in one block of time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Block {
    /// Requests that ended.
    pub requests: u64,
    /// Those that failed.
    pub failed: u64,
    /// What thresholds call `http_req_duration`.
    pub duration: LatencyHistogram,
}

/// A step in all blocks.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Steps {
    /// One per block of the side, also where nothing happened.
    pub blocks: Vec<Block>,
    /// Failures by reason.
    pub reasons: BTreeMap<Reason, u64>,
}

impl Steps {
    /// Requests that ended.
    pub fn requests(&self) -> u64 {
        self.blocks.iter().map(|block| block.requests).sum()
    }

    /// Those that failed.
    pub fn failed(&self) -> u64 {
        self.blocks.iter().map(|block| block.failed).sum()
    }
}

/// A probe series: its readings by block.
pub type SeriesKey = (String, String, Labels);

/// A run or a part of it, ready to be compared.
#[derive(Debug, Clone, PartialEq)]
pub struct Side {
    /// The run.
    pub run: RunId,
    /// Its profile.
    pub profile: String,
    /// Digest of the profile's content.
    pub digest: String,
    /// Target that was loaded.
    pub target: String,
    /// Version that the target told.
    pub version: Option<String>,
    /// Why it ended; `None` while it goes on.
    pub ended_by: Option<EndedBy>,
    /// What it came to.
    pub verdict: Option<Verdict>,
    /// Seconds that could not be stored.
    pub lost: u64,
    /// The part that is compared.
    pub part: Part,
    /// Length of a block.
    pub block_s: u32,
    /// Seconds that were measured in each block.
    pub measured_s: Vec<u32>,
    /// All steps together.
    pub total: Steps,
    /// By scenario and step.
    pub steps: BTreeMap<(String, String), Steps>,
    /// Values of probe series, by block.
    pub series: BTreeMap<SeriesKey, Vec<Vec<f64>>>,
    /// Sum of the VUs of all seconds.
    pub vus: u64,
    /// Starts that were due.
    pub scheduled: u64,
}

impl Side {
    /// A side without seconds; add them with [`Side::interval`] and [`Side::reading`].
    pub fn new(run: &Run, part: Part) -> Self {
        let length = part.length();
        let length = if length == u32::MAX { 0 } else { length };
        let block_s = (length / LEAST_BLOCKS).clamp(1, INDEPENDENT_S).max(length.div_ceil(MOST_BLOCKS));
        let blocks = length.div_ceil(block_s).max(1) as usize;
        Self {
            run: run.id.clone(),
            profile: run.profile.clone(),
            digest: run.digest.clone(),
            target: run.target.clone(),
            version: run.target_version.clone(),
            ended_by: run.ended_by,
            verdict: run.verdict,
            lost: run.summary.as_ref().map_or(0, |summary| summary.intervals_lost),
            part,
            block_s,
            measured_s: vec![0; blocks],
            total: Steps { blocks: vec![Block::default(); blocks], ..Steps::default() },
            steps: BTreeMap::new(),
            series: BTreeMap::new(),
            vus: 0,
            scheduled: 0,
        }
    }

    /// Seconds that were measured.
    pub fn seconds(&self) -> u32 {
        self.measured_s.iter().sum()
    }

    fn block_of(&self, second: u32) -> Option<usize> {
        let block = (self.part.position(second)? / self.block_s) as usize;
        (block < self.measured_s.len()).then_some(block)
    }

    /// Adds one second; one outside of the part is left out.
    pub fn interval(&mut self, catalog: &Catalog, interval: &Interval) {
        let Some(at) = self.block_of(interval.second) else { return };
        self.measured_s[at] += 1;
        let wanted = |scenario: u16| self.part.scenario.is_none_or(|only| only == scenario);
        for (index, scenario) in interval.scenarios.iter().filter(|(index, _)| wanted(**index)) {
            self.vus += scenario.vus;
            self.scheduled += scenario.counts.scheduled;
            if catalog.scenarios.get(usize::from(*index)).is_some_and(|meta| meta.open) {
                self.total.blocks[at].duration.merge(&scenario.dropped_wait);
            }
        }
        for (index, step) in &interval.steps {
            let Some(meta) = catalog.steps.get(usize::from(*index)).filter(|meta| wanted(meta.scenario)) else { continue };
            let Some(scenario) = catalog.scenarios.get(usize::from(meta.scenario)) else { continue };
            let blocks = self.measured_s.len();
            let own = self.steps.entry((scenario.name.clone(), meta.name.clone())).or_default();
            own.blocks.resize(blocks, Block::default());
            for steps in [own, &mut self.total] {
                add(steps, at, step, scenario.open);
            }
        }
    }

    /// Adds one reading; one outside of the part is left out.
    pub fn reading(&mut self, reading: &Reading) {
        let (Ok(points), Some(at)) = (&reading.points, reading.second.and_then(|second| self.block_of(second))) else { return };
        let blocks = self.measured_s.len();
        for point in points.iter().filter(|point| point.value.is_finite()) {
            let key = (reading.probe.clone(), point.metric.clone(), point.labels.clone());
            self.series.entry(key).or_insert_with(|| vec![Vec::new(); blocks])[at].push(point.value);
        }
    }
}

fn add(steps: &mut Steps, at: usize, step: &StepInterval, open: bool) {
    let (ok, failed) = if open { (&step.response_ok, &step.response_failed) } else { (&step.service_ok, &step.service_failed) };
    let block = &mut steps.blocks[at];
    block.requests += step.requests();
    block.failed += step.failed();
    block.duration.merge(ok);
    block.duration.merge(failed);
    for (reason, count) in &step.failures {
        *steps.reasons.entry(reason.clone()).or_default() += count;
    }
}
