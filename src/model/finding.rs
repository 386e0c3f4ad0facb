//! What analysis concludes: a claim with its evidence, made by a named method, never a bare verdict.

use serde::{Deserialize, Serialize};

use super::alerting::Severity;
use super::run::RunId;
use super::units::Timestamp;

/// A conclusion about a run or a history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Stable kind: `pool_exhausted`, `generator_late`, later `leak`, `regression` …
    pub kind: String,
    /// The run it speaks of.
    pub run: RunId,
    /// How bad.
    pub severity: Severity,
    /// One sentence for people, with figures and units.
    pub title: String,
    /// The figures that the sentence rests on.
    pub evidence: Vec<Evidence>,
    /// Method and its version, so that old findings can be told from new ones.
    pub method: String,
    /// When it was made.
    pub at: Timestamp,
}

/// One figure behind a finding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// What it is: "seconds at 100 %".
    pub name: String,
    /// The figure as text with its unit.
    pub value: String,
}
