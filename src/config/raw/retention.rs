//! `retention:` of the storage and of profiles as written.

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::registry::{Context, Decode, Node, Spanned, Value};
use crate::settings;

settings! {
    /// How long what is kept, counted from the end of a run. A coarser resolution stays at least as long as every finer one. Runs that are
    /// pinned keep everything.
    pub(crate) struct RawRetention titled "the retention" {
        /// Seconds as they were measured: a time, or `forever`. Without it: `7d`.
        second as "1s": optional RawKeep,
        /// The same, added up to ten seconds. Without it: `30d`.
        ten_seconds as "10s": optional RawKeep,
        /// Added up to minutes. Without it: `180d`.
        minute as "1m": optional RawKeep,
        /// Added up to hours. Without it: `forever`.
        hour as "1h": optional RawKeep,
        /// Most runs of each profile, or `all`; the oldest go, with everything about them. Without it: 5000.
        runs: optional Spanned<RawCount>,
    }
}

settings! {
    /// How long records are kept that are neither series nor runs, counted from when they were written.
    pub(crate) struct RawRecords titled "the records" {
        /// What became of the instants of schedules: a time, or `forever`. Without it: `400d`. The newest of each schedule stays.
        ticks: optional RawKeep,
        /// Changes of alerts, with their reasons. Without it: `400d`. What belongs to an open incident stays.
        alerts: optional RawKeep,
        /// Messages that were sent or given up. Without it: `90d`. What belongs to an open incident stays.
        messages: optional RawKeep,
    }
}

/// A time, or `forever`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RawKeep(pub(crate) Option<Duration>);

impl Decode for RawKeep {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        if matches!(&node.value, Value::Text(word) if word == "forever") {
            return Some(Self(None));
        }
        Duration::decode(node, cx).map(|keep| Self(Some(keep)))
    }
    fn schema() -> Json {
        json!({"anyOf": [{"const": "forever"}, Duration::schema()]})
    }
}

/// A number of runs, or `all`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RawCount(pub(crate) Option<u32>);

impl Decode for RawCount {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        if matches!(&node.value, Value::Text(word) if word == "all") {
            return Some(Self(None));
        }
        u32::decode(node, cx).map(|count| Self(Some(count)))
    }
    fn schema() -> Json {
        json!({"anyOf": [{"const": "all"}, u32::schema()]})
    }
}
