//! `alerts:` as written: channels, routes, rules, and which of the default rules are off.

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::model::alerting::{NoData, Severity};
use crate::registry::{Context, Decode, Named, Node, Section, Spanned};
use crate::{choice, settings};

choice! {
    /// Whether a default rule is on.
    pub(crate) enum Switch {
        /// It is.
        On = "on",
        /// It is not.
        Off = "off",
    }
}

settings! {
    /// Who is told what.
    pub(crate) struct RawAlerts titled "the alerts" {
        /// Where messages can go, by name; `type` chooses the kind.
        channels: default Named<Node>,
        /// Which channels get which messages: the first route that matches. Without routes every channel gets everything.
        routes: default Vec<RawRoute>,
        /// Alert rules, by name. A rule with the name of a default rule replaces it.
        rules: default Named<RawRule>,
        /// Switches default rules: `{ pool-nearly-full: off }`.
        defaults: default Named<Spanned<Switch>>,
        /// Least time between two messages about one open incident.
        repeat_interval: default Duration = Duration::from_secs(14_400),
    }
}

settings! {
    /// An alert rule: what is bad, how bad, and when it is over.
    pub(crate) struct RawRule titled "rule" {
        /// What is bad: `pool_utilization: max > 80% over 1m for 3m`, or `verdict{profile:soak} == fail for 2 runs`.
        when: required Spanned<String>,
        /// Once firing, it is over only when this holds: `< 70%`. Without it: when `when` no longer holds.
        recover: optional Spanned<String>,
        /// How bad.
        severity: default Severity = Severity::High,
        /// Where to read what to do.
        runbook: optional String,
        /// Added to the alert's labels.
        labels: default Named<String>,
        /// Stays firing this long after the condition ended.
        keep_firing_for: default Duration = Duration::from_secs(0),
        /// What happens when nothing is measured.
        no_data: default NoData = NoData::Keep,
        /// How long there may be no data before `no_data` applies.
        no_data_after: default Duration = Duration::from_secs(300),
    }
}

settings! {
    /// A route: which messages go to which channels.
    pub(crate) struct RawRoute titled "the route" {
        /// What must be equal: `severity` (one or several), and labels. Without it: everything.
        matching as "match": optional RawMatch,
        /// Channels.
        send: required Vec<Spanned<String>>,
        /// Go on to the next route after this one matched.
        carry_on as "continue": default bool = false,
    }
}

/// `match:` of a route: `severity` and labels of the user's choice.
#[derive(Debug, Clone)]
pub(crate) struct RawMatch {
    /// Empty: all.
    pub(crate) severities: Vec<Severity>,
    /// Name and value.
    pub(crate) labels: Vec<(String, String)>,
}

impl Decode for RawMatch {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let mut section = Section::open(node, "`match`", cx)?;
        let severities = section.optional("severity", cx).unwrap_or_default();
        let labels = node.entries().iter().filter(|entry| entry.key != "severity");
        let labels = labels.filter_map(|entry| String::decode(&entry.node, cx).map(|value| (entry.key.clone(), value))).collect();
        Some(Self { severities, labels })
    }
    fn schema() -> Json {
        json!({"type": "object", "properties": {"severity": Vec::<Severity>::schema()}, "additionalProperties": String::schema()})
    }
}
