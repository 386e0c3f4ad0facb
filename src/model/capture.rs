//! What was captured of a target while it was loaded: profiles, pages, snapshots of a database, what a program said. Kept with the run.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::units::{Timestamp, format_duration};

/// Most captures of a run.
pub const MOST: usize = 20;
/// Most bytes of all captures of a run.
pub const MOST_BYTES: u64 = 64 << 20;

/// When something is captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// At this time of the run.
    At(Duration),
    /// When a threshold is broken, or the condition of a guard holds, for the first time.
    FirstBreach,
    /// When the load is highest.
    Peak,
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(time) => write!(f, "at {}", format_duration(*time)),
            Self::FirstBreach => f.write_str("at the first breach"),
            Self::Peak => f.write_str("at the peak of the load"),
        }
    }
}

/// One capture, without what was captured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Captured {
    /// Its number within the run, from 1.
    pub number: u32,
    /// Name in the configuration.
    pub name: String,
    /// `pprof`, `url`, `postgres` or `command`.
    pub kind: String,
    /// What was asked, without secrets.
    pub what: String,
    /// Why then: "at 15m", "at the first breach (`http_req_failed: rate < 1%`)".
    pub why: String,
    /// Second of the run in which it began.
    pub second: u32,
    /// When it began.
    pub at: Timestamp,
    /// Milliseconds that it took.
    pub took_ms: u64,
    /// Media type of the content.
    pub content_type: String,
    /// A name for the file.
    pub file: String,
    /// Bytes of the content; 0 when it failed.
    pub bytes: u64,
    /// Why there is none.
    pub error: Option<String>,
}
