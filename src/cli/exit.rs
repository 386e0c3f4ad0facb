//! Every exit code of the program, in one place; docs/operations.md lists them.

use crate::model::run::{EndedBy, Run, Verdict};

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It did what was asked; a run passed.
    Passed,
    /// Anything that has no code of its own.
    Failed,
    /// A run is invalid, or nothing was measured.
    InvalidOrNoData,
    /// A threshold failed.
    ThresholdsFailed,
    /// The configuration is invalid.
    ConfigurationInvalid,
    /// Interrupted by a signal.
    Interrupted,
    /// A guard or `abortOnFail` ended the run although no threshold failed.
    Aborted,
}

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Passed => 0,
            Self::Failed => 1,
            Self::InvalidOrNoData => 98,
            Self::ThresholdsFailed => 99,
            Self::ConfigurationInvalid => 104,
            Self::Interrupted => 105,
            Self::Aborted => 108,
        }
    }

    /// What a finished run comes to.
    pub fn of(run: &Run) -> Self {
        let threshold_failed = run.thresholds.iter().any(|threshold| threshold.verdict == Verdict::Fail);
        match (run.ended_by, run.verdict) {
            (Some(EndedBy::Signal), _) => Self::Interrupted,
            (_, Some(Verdict::Invalid | Verdict::NoData)) => Self::InvalidOrNoData,
            (Some(EndedBy::Guard | EndedBy::Threshold), _) if !threshold_failed => Self::Aborted,
            (_, Some(Verdict::Fail)) => Self::ThresholdsFailed,
            (_, Some(Verdict::Pass)) => Self::Passed,
            (Some(_) | None, None) => Self::Failed,
        }
    }
}
