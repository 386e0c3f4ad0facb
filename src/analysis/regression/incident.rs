//! All metrics of a night together: changes that happened at the same night are one incident, told with its most significant metric first;
//! among the suspects of a night, with many metrics, one in twenty may be false (Benjamini & Hochberg 1995).

use super::metric::Metric;
use super::{Change, Judgement, State};
use crate::analysis::stats::multiple::benjamini_hochberg;

/// Share of false ones among suspects.
const FALSE_SHARE: f64 = 0.05;

/// A metric and what its history says. `subject` tells metrics of the same name apart: a step, a pool.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// What was measured.
    pub metric: &'static Metric,
    /// Of what, if not of the whole run.
    pub subject: Option<String>,
    /// What is known of it.
    pub judgement: Judgement,
}

/// Changes of several metrics at the same night.
#[derive(Debug, Clone, PartialEq)]
pub struct Incident {
    /// First night of the new level, of the most significant metric.
    pub index: usize,
    /// Index into what was judged, and the change; the most significant first.
    pub changes: Vec<(usize, Change)>,
}

impl Incident {
    /// True when at least one metric changed for the worse.
    pub fn is_regression(&self) -> bool {
        self.changes.iter().any(|(_, change)| change.worse)
    }
}

/// What a night brought.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tonight {
    /// Changes that tonight confirmed, grouped by the night at which they happened.
    pub incidents: Vec<Incident>,
    /// Metrics that are suspect to the bad side after correction for their number, the most significant first: run again.
    pub suspects: Vec<usize>,
    /// Metrics with too few nights.
    pub learning: Vec<usize>,
}

/// Puts the metrics of a night together. All histories have the same nights.
pub fn tonight(judged: &[Judged]) -> Tonight {
    let mut fresh: Vec<(usize, Change)> = Vec::new();
    for (at, metric) in judged.iter().enumerate() {
        if let (State::Confirmed { .. }, Some(change)) = (&metric.judgement.state, metric.judgement.changes.last()) {
            fresh.push((at, *change));
        }
    }
    fresh.sort_by(|one, other| one.1.p_value.total_cmp(&other.1.p_value));
    let mut incidents: Vec<Incident> = Vec::new();
    for (at, change) in fresh {
        match incidents.iter_mut().find(|incident| incident.changes.iter().any(|(_, other)| same_night(other, &change))) {
            Some(incident) => incident.changes.push((at, change)),
            None => incidents.push(Incident { index: change.index, changes: vec![(at, change)] }),
        }
    }
    let learning = (0..judged.len()).filter(|at| matches!(judged[*at].judgement.state, State::Learning { .. })).collect();
    Tonight { incidents, suspects: suspects(judged), learning }
}

/// Two changes may be of one night when the nights that they may have happened at overlap.
fn same_night(one: &Change, other: &Change) -> bool {
    one.likely.0 <= other.likely.1 && other.likely.0 <= one.likely.1
}

fn suspects(judged: &[Judged]) -> Vec<usize> {
    let asked: Vec<(usize, f64)> = judged.iter().enumerate().filter_map(|(at, metric)| Some((at, metric.judgement.p_worse?))).collect();
    let adjusted = benjamini_hochberg(&asked.iter().map(|(_, p)| *p).collect::<Vec<_>>());
    let is_suspect = |at: usize| matches!(judged[at].judgement.state, State::Suspect { worse: true, .. });
    let mut found: Vec<(usize, f64)> =
        asked.into_iter().zip(adjusted).filter(|((at, _), q)| *q <= FALSE_SHARE && is_suspect(*at)).map(|(asked, _)| asked).collect();
    found.sort_by(|one, other| one.1.total_cmp(&other.1));
    found.into_iter().map(|(at, _)| at).collect()
}
