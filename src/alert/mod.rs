//! Alerting as pure logic: rules, what was measured, the previous state and the time go in; changes of state, each with its reason,
//! and messages come out. No clock, no I/O, no logging; the engine stores a decision before anyone is told. Method: docs/alerting.md.
//!
//! `alerts` keeps the instances and feeds them, `group` turns measurements into inputs, `machine` is the table of states,
//! `reason`, `message` and `digest` write for people, `route` and `outgoing` say which channel gets what, `threads` when, `quiet` what not.

mod alerts;
mod digest;
mod example;
mod fingerprint;
mod group;
mod history;
mod machine;
mod merged;
mod message;
mod outgoing;
#[cfg(test)]
mod properties;
mod quiet;
mod reason;
mod route;
mod spoken;
mod storage;
#[cfg(test)]
mod telling_properties;
#[cfg(test)]
mod telling_tests;
mod threads;
mod trial;

use std::time::Duration;

use crate::model::Labels;
use crate::model::alerting::{AlertInstance, MessageKind, Route, Rule, Transition};
use crate::model::catalog::Catalog;
use crate::model::muting::{AlertThread, Inhibit};
use crate::model::run::{Run, RunId};
use crate::model::threshold::Condition;
use crate::model::units::Timestamp;

pub use alerts::{Alerts, Instants, NotAcked};
pub use digest::{CapacityTold, DigestFacts, HeadroomTold, IncidentTold, MissedInstant, digest_id, digest_message};
pub use example::{example_message, example_of};
pub use fingerprint::{fingerprint, group_labels};
pub use group::fixed_labels;
pub use merged::{merged, merged_group};
pub use message::{Links, compose, test_message};
pub use outgoing::{addressed, outgoing};
pub use quiet::{OpenWindow, Quiet};
pub use route::channels_for;
pub use storage::StorageWatch;
pub use trial::{
    Expectation, Sample, Trial, TrialSeries, judge_trial, parse_series as parse_trial_series, parse_values as parse_trial_values,
};

/// The daemon as a target of its own probe: rules with `target:plimsoll` speak of it.
pub const ITSELF: &str = "plimsoll";

/// The run that measurements belong to.
#[derive(Debug, Clone, Copy)]
pub struct RunContext<'a> {
    /// Identity.
    pub id: &'a RunId,
    /// Profile.
    pub profile: &'a str,
    /// Target.
    pub target: &'a str,
    /// Names behind the numbers of its intervals.
    pub catalog: &'a Catalog,
}

impl<'a> RunContext<'a> {
    /// The context of a stored run.
    pub fn of(run: &'a Run) -> Self {
        Self { id: &run.id, profile: &run.profile, target: &run.target, catalog: &run.catalog }
    }
}

/// A channel as far as alerting needs to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// Name in the configuration.
    pub name: String,
    /// Whether resolves are sent too.
    pub send_resolved: bool,
}

/// Who is told what, and how often.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// In the order of the configuration.
    pub routes: Vec<Route>,
    /// All channels.
    pub channels: Vec<Channel>,
    /// Least time between two messages of one open incident, unless its route says otherwise; zero: no reminders.
    pub repeat_interval: Duration,
    /// Alerts that say nothing new while others fire.
    pub inhibit: Vec<Inhibit>,
}

/// Something to tell, before it is written out for a channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// What the message stands under: the incident, or the id of the group.
    pub incident: String,
    /// Number of the message there, from 1.
    pub seq: u32,
    /// Fired, still firing, resolved.
    pub kind: MessageKind,
    /// When the first incident there opened.
    pub opened_at: Timestamp,
    /// When it was decided.
    pub at: Timestamp,
    /// Channels to tell.
    pub channels: Vec<String>,
    /// Of a group: the labels that its alerts share by the route.
    pub group: Option<Labels>,
    /// What it speaks of: one alert, or those of the group with what changed first.
    pub alerts: Vec<ToldAlert>,
}

/// What is told of one alert.
#[derive(Debug, Clone, PartialEq)]
pub struct ToldAlert {
    /// The alert when it was decided; its incident, value and run are those to speak of.
    pub instance: AlertInstance,
    /// Fired, still firing, resolved.
    pub kind: MessageKind,
    /// Why, one sentence.
    pub reason: String,
    /// Why it was muted until now.
    pub after: Option<String>,
    /// When its incident closed.
    pub ended_at: Option<Timestamp>,
    /// The rule; `None` when it no longer exists.
    pub rule: Option<RuleNote>,
    /// The limit of the pool that the alert speaks of, by its latest reading.
    pub capacity: Option<f64>,
    /// What others know of it, as lines of the message: the likely cause, what changed before.
    pub beside: Vec<(String, String)>,
}

/// What a message says about its rule.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleNote {
    /// The limit as a sentence part: "> 80 % for 10s".
    pub limit: String,
    /// Where to read what to do.
    pub runbook: Option<String>,
    /// The metric that the rule looks at; `None` for verdicts.
    pub metric: Option<&'static str>,
    /// How it is aggregated: `p(95)`, `max`.
    pub aggregation: String,
}

impl RuleNote {
    /// What a message says about `rule`.
    pub fn of(rule: &Rule) -> Self {
        let (metric, aggregation) = match &rule.when {
            Condition::Series(series) => (Some(series.metric.name), series.aggregation.text()),
            Condition::Verdict { .. } | Condition::Found(_) => (None, String::new()),
        };
        Self { limit: reason::limit(rule), runbook: rule.runbook.clone(), metric, aggregation }
    }
}

/// What has to be stored and told: all or nothing, in one transaction.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Decision {
    /// Instances that changed.
    pub instances: Vec<AlertInstance>,
    /// Fingerprints to forget.
    pub forgotten: Vec<String>,
    /// History.
    pub transitions: Vec<Transition>,
    /// Messages, in the order in which they were decided.
    pub messages: Vec<Told>,
    /// Threads that changed.
    pub threads: Vec<AlertThread>,
    /// Threads to forget.
    pub threads_forgotten: Vec<String>,
}

impl Decision {
    /// True when there is nothing to store.
    pub fn is_empty(&self) -> bool {
        let quiet = self.instances.is_empty() && self.forgotten.is_empty() && self.transitions.is_empty() && self.messages.is_empty();
        quiet && self.threads.is_empty() && self.threads_forgotten.is_empty()
    }
}
