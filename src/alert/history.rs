//! The last verdicts of each profile, for rules such as `verdict == fail for 3 runs`. Runs that came to no verdict (cancelled before
//! anything could be judged) neither continue nor break a row.

use std::collections::{BTreeMap, VecDeque};

use crate::model::analysed::CapacityFound;
use crate::model::run::{Run, RunId, Verdict};

/// Verdicts kept per profile; more than any sensible rule asks for.
const KEPT: usize = 1000;

/// Runs whose capacity is remembered, and how many of them a run is compared with.
const CAPACITIES: usize = 50;
const COMPARED: usize = 7;

/// Verdicts of one profile, oldest first.
#[derive(Debug, Default)]
struct ProfileHistory {
    target: String,
    runs: VecDeque<(RunId, Verdict)>,
    /// Capacity of runs that climbed, with the digest of what they ran.
    capacities: VecDeque<(RunId, String, f64)>,
}

/// Verdicts by profile.
#[derive(Debug, Default)]
pub(super) struct History(BTreeMap<String, ProfileHistory>);

/// How one profile stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) profile: String,
    /// Target of its newest run.
    pub(super) target: String,
    /// Its newest run.
    pub(super) run: RunId,
    /// What that came to.
    pub(super) came_to: Verdict,
    /// How many of the newest runs, in a row, came to what was asked for.
    pub(super) row: u32,
    /// How many runs are known.
    pub(super) known: u32,
}

impl History {
    /// Adds a run that ended, as the newest of its profile; the same run again, or one without a verdict, changes nothing.
    pub(super) fn add(&mut self, run: &Run) {
        let Some(verdict) = run.verdict else { return };
        let profile = self.0.entry(run.profile.clone()).or_default();
        if profile.runs.iter().any(|(id, _)| *id == run.id) {
            return;
        }
        profile.target.clone_from(&run.target);
        profile.runs.push_back((run.id.clone(), verdict));
        if profile.runs.len() > KEPT {
            profile.runs.pop_front();
        }
        let capacity = run.summary.as_ref().and_then(|summary| summary.analysed.capacity.as_ref()).and_then(CapacityFound::number);
        let sound = matches!(verdict, Verdict::Pass | Verdict::Fail);
        if let Some(capacity) = capacity.filter(|capacity| sound && *capacity > 0.0) {
            profile.capacities.push_back((run.id.clone(), run.digest.clone(), capacity));
            if profile.capacities.len() > CAPACITIES {
                profile.capacities.pop_front();
            }
        }
    }

    /// Capacity of a run, the median of that of the runs of the same content before it, and how many they were; `None` when there is
    /// nothing to compare.
    pub(super) fn capacity(&self, profile: &str, run: &RunId) -> Option<(f64, f64, usize)> {
        let known = &self.0.get(profile)?.capacities;
        let at = known.iter().position(|(id, ..)| id == run)?;
        let (_, digest, capacity) = &known[at];
        let before = known.iter().take(at).rev().filter(|(_, other, _)| other == digest).take(COMPARED);
        let mut before: Vec<f64> = before.map(|(.., capacity)| *capacity).collect();
        before.sort_by(f64::total_cmp);
        let (low, high) = (before.get(before.len().checked_sub(1)? / 2)?, before.get(before.len() / 2)?);
        Some((*capacity, low.midpoint(*high), before.len()))
    }

    /// How every profile stands that `selects` says yes to (profile, target), counting runs whose verdict is `wanted`.
    pub(super) fn standings(&self, selects: impl Fn(&str, &str) -> bool, wanted: impl Fn(Verdict) -> bool) -> Vec<Standing> {
        let chosen = self.0.iter().filter(|(profile, known)| selects(profile, &known.target));
        chosen
            .filter_map(|(profile, known)| {
                let (run, came_to) = known.runs.back()?.clone();
                let row = known.runs.iter().rev().take_while(|(_, verdict)| wanted(*verdict)).count();
                let [row, all] = [row, known.runs.len()].map(|count| u32::try_from(count).unwrap_or(u32::MAX));
                Some(Standing { profile: profile.clone(), target: known.target.clone(), run, came_to, row, known: all })
            })
            .collect()
    }
}
