//! What is remembered of runs beyond their own pages: the numbers that a run is compared by from night to night, deploys of targets,
//! and the run that a profile is measured against.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::run::{EndedBy, Run, RunId, RunStatus, Trigger, Verdict};
use super::units::Timestamp;

/// The numbers that a run is remembered by, made by a named method.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct NightNumbers {
    /// Name and version of the method, so that numbers that mean something else are told apart.
    pub method: String,
    /// By subject (empty: the whole run; `scenario/step`; a probe's series), then by metric, in base units.
    pub values: BTreeMap<String, BTreeMap<String, f64>>,
    /// Failed and all requests, by subject.
    pub requests: BTreeMap<String, (u64, u64)>,
}

/// A run as its profile's history knows it, with its numbers when they are stored.
#[derive(Debug, Clone, PartialEq)]
pub struct PastRun {
    /// Identity.
    pub id: RunId,
    /// Profile.
    pub profile: String,
    /// Digest of the profile's content.
    pub digest: String,
    /// Target that was loaded.
    pub target: String,
    /// Version that the target told.
    pub version: Option<String>,
    /// Who asked for it.
    pub trigger: Trigger,
    /// Start.
    pub started_at: Timestamp,
    /// Where it is in its life.
    pub status: RunStatus,
    /// Why it ended.
    pub ended_by: Option<EndedBy>,
    /// What it came to.
    pub verdict: Option<Verdict>,
    /// Its numbers.
    pub numbers: Option<NightNumbers>,
}

impl PastRun {
    /// A run without numbers.
    pub fn of(run: &Run) -> Self {
        Self {
            id: run.id.clone(),
            profile: run.profile.clone(),
            digest: run.digest.clone(),
            target: run.target.clone(),
            version: run.target_version.clone(),
            trigger: run.trigger.clone(),
            started_at: run.started_at,
            status: run.status,
            ended_by: run.ended_by,
            verdict: run.verdict,
            numbers: None,
        }
    }
}

/// A deploy that somebody told of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deploy {
    /// Target.
    pub target: String,
    /// A version, a commit, a word.
    pub version: String,
    /// When.
    pub at: Timestamp,
    /// Who told of it.
    pub by: String,
}

/// The run that a profile is compared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pinned {
    /// Profile.
    pub profile: String,
    /// Run.
    pub run: RunId,
    /// When it was pinned.
    pub at: Timestamp,
    /// By whom.
    pub by: String,
}
