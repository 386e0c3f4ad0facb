//! The whole judgement of a run against the history of its profile: which runs can be compared, what each metric says, what is told.
//! Everything of the run as a whole is judged by the rules as they stand; steps are many, so that each needs stronger evidence, in
//! proportion to their number.

use std::collections::{BTreeMap, BTreeSet};

use super::comparable::{Comparable, Night, comparable};
use super::deploy::Marker;
use super::finding::{Context, of_incident, of_suspect};
use super::incident::{Judged, Tonight, tonight};
use super::{Change, Counts, History, Judgement, Rules, State, judge, judge_failures, metric};
use crate::analysis::numbers::{mad, median};
use crate::model::finding::Finding;
use crate::model::history::PastRun;
use crate::model::threshold::Unit;
use crate::model::units::Timestamp;

/// Nights for which a confirmed regression is spoken of; after them its level is the one that nights are compared with.
pub const FRESH: usize = 14;

/// Metrics of single steps that are judged.
const OF_STEPS: [&str; 3] = ["p50", "p95", "error_rate"];

/// A run judged against the history of its profile.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PastJudged {
    /// The runs that were compared, oldest first, and those that were left out.
    pub comparable: Comparable,
    /// Every metric that the run has.
    pub judged: Vec<Judged>,
    /// All of them together.
    pub tonight: Tonight,
    /// What is told.
    pub findings: Vec<Finding>,
}

/// From a stored run: its numbers as flat names, `p95` of the whole and `p95 scenario/step` of a part.
fn night(run: &PastRun) -> Night {
    let mut values = BTreeMap::new();
    for (subject, own) in run.numbers.iter().flat_map(|numbers| &numbers.values) {
        values.extend(own.iter().map(|(metric, value)| (key(metric, subject), *value)));
    }
    let counts = run.numbers.as_ref().and_then(|numbers| numbers.requests.get("")).map(|found| counts_of(*found));
    Night {
        run: run.id.clone(),
        at: run.started_at,
        digest: run.digest.clone(),
        target: run.target.clone(),
        version: run.version.clone(),
        runner: None,
        ended_by: run.ended_by,
        verdict: run.verdict,
        values,
        counts,
    }
}

fn key(metric: &str, subject: &str) -> String {
    if subject.is_empty() { metric.into() } else { format!("{metric} {subject}") }
}

fn counts_of((failed, requests): (u64, u64)) -> Counts {
    Counts { failed, requests }
}

/// The runs of `past` that can be compared with `run`, oldest first, itself the last.
pub fn comparable_runs(past: &[PastRun], run: &PastRun) -> Comparable {
    let mut nights: Vec<Night> = past.iter().filter(|other| other.id != run.id).map(night).collect();
    nights.push(night(run));
    comparable(nights, &night(run))
}

/// Judges `run` against `past` (any order; may hold the run itself). `markers` are deploys of its target.
pub fn judge_run(past: &[PastRun], run: &PastRun, markers: &[Marker], rules: &Rules, at: Timestamp) -> PastJudged {
    let found = comparable_runs(past, run);
    if found.nights.last().is_none_or(|last| last.run != run.id) {
        // The run itself cannot be compared with anything: it was cut short, or the generator was unfit.
        return PastJudged { comparable: found, ..PastJudged::default() };
    }
    let judged = every_metric(&found, past, run, rules);
    let together = tonight(&judged);
    let context = Context { run: &run.id, at, nights: &found.nights, left_out: found.left_out.len() };
    let mut findings: Vec<Finding> =
        together.incidents.iter().filter_map(|incident| of_incident(&context, &judged, incident, markers)).collect();
    findings.extend(together.suspects.iter().filter_map(|at| of_suspect(&context, judged.get(*at)?)));
    PastJudged { comparable: found, judged, tonight: together, findings }
}

fn every_metric(found: &Comparable, past: &[PastRun], run: &PastRun, rules: &Rules) -> Vec<Judged> {
    let Some(last) = found.nights.last() else { return Vec::new() };
    let days = found.days();
    let is_step = |subject: &str| run.numbers.as_ref().is_some_and(|numbers| !subject.is_empty() && numbers.requests.contains_key(subject));
    let steps: BTreeSet<&str> =
        last.values.keys().filter_map(|name| name.split_once(' ')).map(|(_, subject)| subject).filter(|subject| is_step(subject)).collect();
    let many = steps.len().max(1) as f64;
    let stricter = Rules { suspect_p: rules.suspect_p / many, confirm_p: rules.confirm_p / many, ..*rules };
    let mut judged = Vec::new();
    for name in last.values.keys() {
        let (metric, subject) = name.split_once(' ').map_or((name.as_str(), None), |(metric, subject)| (metric, Some(subject)));
        let Some(metric) = metric::find(metric) else { continue };
        let step = subject.is_some_and(is_step);
        if step && !OF_STEPS.contains(&metric.name) {
            continue;
        }
        let rules = if step { &stricter } else { rules };
        let values = found.values(name);
        let history = History { values: &values, days: &days, borders: &found.borders };
        let judgement = if metric.name == "error_rate" {
            judge_failures(&failures(found, past, run, subject.unwrap_or_default()), &history, metric, rules)
        } else {
            judge(&history, metric, rules)
        };
        judged.push(Judged { metric, subject: subject.map(str::to_owned), judgement });
    }
    judged
}

/// Failed and all requests of every night.
fn failures(found: &Comparable, past: &[PastRun], run: &PastRun, subject: &str) -> Vec<Option<Counts>> {
    let by_run: BTreeMap<&str, &PastRun> = past.iter().chain([run]).map(|run| (run.id.0.as_str(), run)).collect();
    let of = |night: &Night| by_run.get(night.run.0.as_str())?.numbers.as_ref()?.requests.get(subject).map(|found| counts_of(*found));
    found.nights.iter().map(of).collect()
}

/// A regression that is spoken of: confirmed, the newest change of its metric, and fresh.
pub fn standing(judgement: &Judgement, nights: usize) -> Option<&Change> {
    judgement.changes.last().filter(|change| change.worse && change.confirmed_at + FRESH >= nights)
}

/// How large a standing regression is, for alerts: a share of the level before, for shares of failures in points (0.01 is one point); 0
/// when there is none; `None` while nothing can be said.
pub fn regression_of(judged: &Judged, nights: usize) -> Option<f64> {
    match judged.judgement.state {
        State::NotMeasured | State::Learning { .. } => return None,
        State::Steady | State::Suspect { .. } | State::Confirmed { .. } => {}
    }
    let Some(change) = standing(&judged.judgement, nights) else { return Some(0.0) };
    if judged.metric.unit == Unit::Ratio {
        return Some(change.shift.abs());
    }
    // From nothing to something is as large as it gets.
    Some(change.relative().map_or(1.0, f64::abs))
}

/// Relative scatter of each metric between comparable runs, level by level: robust, of the runs since the last confirmed change. Only of
/// metrics with at least four runs.
pub fn scatter(past: &[PastRun], run: &PastRun) -> (usize, BTreeMap<String, f64>) {
    const LEAST: usize = 4;
    const MOST: usize = 30;
    let found = comparable_runs(past, run);
    let mut relative = BTreeMap::new();
    for metric in metric::METRICS {
        let values: Vec<f64> = found.values(metric.name).into_iter().filter(|value| value.is_finite()).collect();
        let newest = &values[values.len().saturating_sub(MOST)..];
        let middle = median(newest);
        if newest.len() >= LEAST && middle > 0.0 {
            // Differences of neighbours do not see a change of level, the deviation from the median does.
            let steps: Vec<f64> = newest.windows(2).map(|pair| pair[1] - pair[0]).collect();
            let by_steps = mad(&steps) / std::f64::consts::SQRT_2;
            relative.insert(metric.name.to_owned(), by_steps.max(0.005 * middle) / middle);
        }
    }
    (found.nights.len(), relative)
}
