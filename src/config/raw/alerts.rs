//! `alerts:` as written: channels, routes, rules, and which of the default rules are off.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::telling::{RawDigest, RawTemplate};
use crate::model::alerting::{NoData, Severity};
use crate::registry::{Context, Decode, Entry, Named, Node, Section, Spanned};
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
        /// Times in which nobody is told of some alerts, by name; schedules may stand still meanwhile.
        maintenance: default Named<RawWindow>,
        /// Times in which a route that names them tells nothing, by name.
        mute_timings: default Named<RawTiming>,
        /// Alerts that others mute while these fire, by name. One with the name of a default one replaces it.
        inhibit: default Named<RawInhibit>,
        /// What a day or a week was, told without an alert, by name.
        digests: default Named<RawDigest>,
        /// Messages in your own words, by name.
        templates: default Named<RawTemplate>,
    }
}

settings! {
    /// Maintenance: from each instant of `cron` on for `duration`, or once, `from` … `to`.
    pub(crate) struct RawWindow titled "the maintenance window" {
        /// When it begins: five cron fields.
        cron: optional Spanned<String>,
        /// The time zone of `cron`; UTC, when it is not given.
        timezone: optional Spanned<String>,
        /// How long it lasts, with `cron`.
        duration: optional Spanned<Duration>,
        /// When it begins, once: `2026-11-21T02:00:00Z`.
        from: optional Spanned<String>,
        /// When it ends, once.
        to: optional Spanned<String>,
        /// Which alerts: `["target=shop", "pool=~a|b"]`. Without it: all.
        matching as "match": default Vec<Spanned<String>>,
        /// Whether schedules that `match` (by `schedule`, `profile`, `target`) start no runs meanwhile.
        pause_schedules: default bool = false,
    }
}

settings! {
    /// A time in which a route tells nothing: from each instant of `cron` on, for `duration`.
    pub(crate) struct RawTiming titled "the mute timing" {
        /// When it begins: five cron fields.
        cron: required Spanned<String>,
        /// The time zone of `cron`; UTC, when it is not given.
        timezone: optional Spanned<String>,
        /// How long it lasts.
        duration: required Spanned<Duration>,
    }
}

settings! {
    /// While an alert of `source` fires, nobody is told of those of `target`.
    pub(crate) struct RawInhibit titled "the inhibition" {
        /// Alerts that mute others: `["alertname=probe-down"]`.
        source: required Vec<Spanned<String>>,
        /// Alerts that are muted.
        target: required Vec<Spanned<String>>,
        /// Only where these labels of both are equal.
        equal: default Vec<Spanned<String>>,
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
        /// Further comparisons that must fit: `["pool=~main|side", "team!=bank"]`.
        matchers: default Vec<Spanned<String>>,
        /// Channels.
        send: required Vec<Spanned<String>>,
        /// Alerts that are equal in these labels are told of in one message; `[]`: all of the route. Without it: each by itself.
        group_by: optional Vec<Spanned<String>>,
        /// How long the first message waits for others to come along. 30 s when there is a `group_by`, else nothing.
        group_wait: optional Duration,
        /// Least time between two messages of a group, at least 10 s.
        group_interval: optional Spanned<Duration>,
        /// Least time between two reminders; as in `alerts`, when it is not given. `0s`: no reminders.
        repeat_interval: optional Duration,
        /// Mute timings in which this route tells nothing.
        mute: default Vec<Spanned<String>>,
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
    pub(crate) labels: Vec<(Spanned<String>, String)>,
}

fn named(entry: &Entry) -> Spanned<String> {
    Spanned { value: entry.key.clone(), span: entry.span }
}

impl Decode for RawMatch {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let mut section = Section::open(node, "`match`", cx)?;
        let severities = section.optional("severity", cx).unwrap_or_default();
        let labels = node.entries().iter().filter(|entry| entry.key != "severity");
        let labels = labels.filter_map(|entry| String::decode(&entry.node, cx).map(|value| (named(entry), value))).collect();
        Some(Self { severities, labels })
    }
    fn schema() -> Json {
        json!({"type": "object", "properties": {"severity": Vec::<Severity>::schema()}, "additionalProperties": String::schema()})
    }
}
