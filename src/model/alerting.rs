//! The vocabulary of alerting: severities, rules, states, transitions, and the message that is told. Logic is in `alert/`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Labels;
use super::muting::{Ack, Matcher};
use super::run::RunId;
use super::threshold::{Bound, Condition};
use super::units::Timestamp;
use crate::choice;

choice! {
    /// How bad.
    #[derive(PartialOrd, Ord)]
    pub enum Severity {
        /// For the record.
        Low = "low",
        /// In working hours.
        Medium = "medium",
        /// Today.
        High = "high",
        /// Now.
        Critical = "critical",
    }
}

choice! {
    /// What an alert without data does.
    pub enum NoData {
        /// Fires as "no data".
        Alert = "alert",
        /// Keeps its state.
        Keep = "keep",
        /// Counts as fine.
        Ok = "ok",
    }
}

/// An alert rule.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Name.
    pub name: String,
    /// What is bad: the rule is active while this holds.
    pub when: Condition,
    /// Once firing, stays firing until this holds (hysteresis); without it, until `when` no longer holds.
    pub recover: Option<Bound>,
    /// How bad.
    pub severity: Severity,
    /// Where to read what to do.
    pub runbook: Option<String>,
    /// Added to the alert's labels.
    pub labels: Labels,
    /// Stays firing this long after the condition ended.
    pub keep_firing_for: Duration,
    /// See [`NoData`].
    pub no_data: NoData,
    /// How long there may be no data before `no_data` applies.
    pub no_data_after: Duration,
}

choice! {
    /// State of one alert (a rule with one set of labels).
    pub enum AlertState {
        /// The condition does not hold.
        Inactive = "inactive",
        /// It holds, not yet for long enough.
        Pending = "pending",
        /// It has held for long enough; an incident is open.
        Firing = "firing",
        /// Nothing is measured.
        NoData = "no_data",
    }
}

/// One alert: a rule with one set of labels, as stored between evaluations and across restarts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlertInstance {
    /// Rule and labels in one text; the key.
    pub fingerprint: String,
    /// Rule.
    pub rule: String,
    /// Labels, with `alertname` and `severity`.
    pub labels: Labels,
    /// State.
    pub state: AlertState,
    /// Since when in this state.
    pub since: Timestamp,
    /// Since when the condition has held without a break; stays until the incident closes. `None` when it does not hold, and in an
    /// incident that is only about missing data.
    pub active_since: Option<Timestamp>,
    /// Since when it has not held although firing; for `keep_firing_for`.
    pub clear_since: Option<Timestamp>,
    /// When it was last evaluated with data.
    pub last_data: Option<Timestamp>,
    /// Value at the last evaluation, base units.
    pub value: Option<f64>,
    /// The value with its unit, for people.
    pub shown: String,
    /// Open incident.
    pub incident: Option<String>,
    /// When the open incident opened.
    #[serde(default)]
    pub opened_at: Option<Timestamp>,
    /// Channels that were told of the open incident; its reminders and its resolve go there, whatever the routes say by then.
    #[serde(default)]
    pub told: Vec<String>,
    /// Why nobody is told of the open incident at present: who silenced it and until when, or which window or alert mutes it.
    #[serde(default)]
    pub muted: Option<String>,
    /// Who takes care of the open incident.
    #[serde(default)]
    pub acked: Option<Ack>,
    /// Messages written for the open incident so far.
    pub messages: u32,
    /// When the last message of the open incident was written.
    pub last_message: Option<Timestamp>,
    /// Run that was going on when it fired.
    pub run: Option<RunId>,
}

/// A change of state, with its reason; the history of an alert is the list of these.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Transition {
    /// The alert.
    pub fingerprint: String,
    /// Rule.
    pub rule: String,
    /// Incident that the change belongs to, when one is open.
    pub incident: Option<String>,
    /// Before.
    pub from: AlertState,
    /// After.
    pub to: AlertState,
    /// When.
    pub at: Timestamp,
    /// Why: "pool_utilization max 100 % > 80 % for 12s".
    pub reason: String,
    /// Value, base units.
    pub value: Option<f64>,
}

choice! {
    /// What a message says.
    pub enum MessageKind {
        /// An incident opened.
        Fired = "fired",
        /// It is still open.
        Reminder = "reminder",
        /// It closed.
        Resolved = "resolved",
        /// It opened and closed before the channel was told, or while it could not be reached.
        FiredAndResolved = "fired_and_resolved",
        /// Somebody takes care of it.
        Acknowledged = "acknowledged",
        /// Of a group: some incidents opened or closed, others are open still.
        Changed = "changed",
        /// What a day or a week was; no incident at all.
        Digest = "digest",
        /// Sent by `plimsoll notify test`.
        Test = "test",
    }
}

/// What is told, the same for every channel; each channel renders it its own way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Identity of the incident, stable from fire to resolve: the thread.
    pub incident: String,
    /// Fired, resolved …
    pub kind: MessageKind,
    /// Number of the message within the incident, from 1.
    pub seq: u32,
    /// How bad.
    pub severity: Severity,
    /// Rule.
    pub rule: String,
    /// One line without state: "pool `main` of shop at 100 % of 20". The same for every message of an incident.
    pub subject: String,
    /// What a person reads first: "Fired: …" / "Resolved after 3m12s: …".
    pub headline: String,
    /// At most ten lines: value, limit, since when, run, cause.
    pub lines: Vec<(String, String)>,
    /// Labels of the alert.
    pub labels: Labels,
    /// When the incident opened.
    pub started_at: Timestamp,
    /// When this was decided.
    pub at: Timestamp,
    /// When it closed, for a resolve.
    pub ended_at: Option<Timestamp>,
    /// Page of the run or alert.
    pub link: Option<String>,
    /// Where to read what to do.
    pub runbook: Option<String>,
    /// Run that was going on when it fired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// Of a group: what became of each of its alerts, those that changed first. Empty when the message is about one incident.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alerts: Vec<MessageAlert>,
}

/// One alert in the message of a group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MessageAlert {
    /// Its incident.
    pub incident: String,
    /// What is said of it: fired, reminder (it is open still), resolved …
    pub kind: MessageKind,
    /// Rule.
    pub rule: String,
    /// How bad.
    pub severity: Severity,
    /// Rule and place.
    pub subject: String,
    /// What happened, one sentence.
    pub said: String,
    /// Labels.
    pub labels: Labels,
    /// When its incident opened.
    pub started_at: Timestamp,
    /// When it closed.
    pub ended_at: Option<Timestamp>,
    /// Its page.
    pub link: Option<String>,
    /// Run that was going on when it fired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
}

choice! {
    /// Where an outgoing message is.
    pub enum OutboxState {
        /// To be sent at `not_before`.
        Waiting = "waiting",
        /// Delivered.
        Sent = "sent",
        /// Given up.
        Dropped = "dropped",
        /// Replaced by a merged message before it was sent.
        Merged = "merged",
    }
}

/// A message on its way to one channel, stored in the same transaction as the transition that caused it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outgoing {
    /// Stable id, the same in every attempt: `<incident>-<seq>-<channel>`.
    pub id: String,
    /// Channel's name.
    pub channel: String,
    /// What is told.
    pub message: Message,
    /// Where it is.
    pub state: OutboxState,
    /// Attempts so far.
    pub attempts: u32,
    /// When it was written.
    pub created_at: Timestamp,
    /// Not to be sent before.
    pub not_before: Timestamp,
    /// Leased by a sender until then.
    pub leased_until: Option<Timestamp>,
    /// When it was delivered or given up.
    pub done_at: Option<Timestamp>,
    /// Result of the last attempt: where it went, or why it did not.
    pub detail: String,
}

/// Which channels get which messages.
#[derive(Debug, Clone, Default)]
pub struct Route {
    /// Severities that match; empty = all.
    pub severities: Vec<Severity>,
    /// Labels that must be equal.
    pub labels: Labels,
    /// Further comparisons that must fit.
    pub matchers: Vec<Matcher>,
    /// Channels.
    pub send: Vec<String>,
    /// Alerts that are equal in these labels are told of together; `None`: each by itself.
    pub group_by: Option<Vec<String>>,
    /// How long the first message waits for others to come along.
    pub group_wait: Duration,
    /// Least time between two messages of a group.
    pub group_interval: Duration,
    /// Least time between two reminders; `None`: as for all routes.
    pub repeat_interval: Option<Duration>,
    /// Mute timings by name: while one is on, this route tells nothing.
    pub mute: Vec<String>,
    /// Go on to the next route after a match.
    pub carry_on: bool,
}
