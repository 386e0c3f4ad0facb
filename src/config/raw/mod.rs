//! The mirror of the file: what may stand where, before names are looked up and limits compared (that is resolve).
//! Only decoding: every key has its type, its documentation and thereby its JSON Schema here. Kinds of probes and channels stay
//! nodes; their tables decode them.

pub(crate) mod alerts;
pub(crate) mod auth;
pub(crate) mod capture;
pub(crate) mod data;
pub(crate) mod flow;
pub(crate) mod history;
pub(crate) mod http;
pub(crate) mod profile;
pub(crate) mod retention;
pub(crate) mod scenario;
pub(crate) mod service;
pub(crate) mod staircase;
pub(crate) mod target;
pub(crate) mod telling;
pub(crate) mod text;

use crate::registry::{Context, Decode, Node};
use crate::settings;

/// A value that may be wrong: `None` when a mistake in it was reported. Keeps a wrong entry from looking like an absent one.
#[derive(Debug, Clone)]
pub(crate) struct Attempt<T>(pub(crate) Option<T>);

impl<T: Decode> Decode for Attempt<T> {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        Some(Self(T::decode(node, cx)))
    }
    fn schema() -> serde_json::Value {
        T::schema()
    }
}

settings! {
    /// A Plimsoll configuration: what may be loaded, with what, when, and who is told. One file, or a folder of files that are merged.
    pub(crate) struct RawConfig titled "the configuration" {
        /// Programs may be run on this machine to see how a target does (`command` in probes and captures).
        allow_commands: default bool = false,
        /// Systems that may be loaded, by name.
        targets: default crate::registry::Named<target::RawTarget>,
        /// Load profiles, by name.
        profiles: default crate::registry::Named<profile::RawProfile>,
        /// When profiles run, by name.
        schedules: default crate::registry::Named<profile::RawSchedule>,
        /// Rules, channels and routes of alerts.
        alerts: optional alerts::RawAlerts,
        /// Where runs are kept.
        storage: optional service::RawStorage,
        /// The HTTP server: pages, API, `/metrics`.
        server: optional service::RawServer,
        /// Logs.
        log: optional service::RawLog,
        /// Load generation.
        load: optional service::RawLoad,
        /// What a run is compared with once it has ended.
        history: optional history::RawHistory,
        /// What passes only after passes in a row, by name.
        gates: default crate::registry::Named<history::RawGate>,
        /// Tests with one verdict and one report, by name.
        suites: default crate::registry::Named<history::RawSuite>,
    }
}
