//! From a decision to what a person reads: one subject for the whole incident, a headline with the state, at most eight lines.
//! The same for every channel; how it looks there is the channel's (`notify`).

use super::fingerprint::group_labels;
use super::reason::plain_time;
use super::spoken::spoken;
use super::{RuleNote, Told};
use crate::model::Labels;
use crate::model::alerting::{AlertInstance, AlertState, Message, MessageKind, Severity};
use crate::model::units::Timestamp;

/// Where people read more about an alert: the page of its run, or of the alert; `None` when there is none.
pub type Links<'a> = &'a dyn Fn(&AlertInstance) -> Option<String>;

/// Longest subject in characters; mail programs and Slack cut what is longer.
const SUBJECT_CHARS: usize = 140;

/// Writes the message of a decision that was made at `at`.
pub fn compose(told: &Told, at: Timestamp, links: Links<'_>) -> Message {
    let alert = &told.instance;
    let started_at = alert.opened_at.unwrap_or(at);
    let lasted = plain_time(at.since(started_at));
    let said = spoken(told, at).unwrap_or_else(|| told.reason.clone());
    let headline = match told.kind {
        MessageKind::Fired => format!("Fired: {said}"),
        MessageKind::Reminder => format!("Still firing after {lasted}: {said}"),
        MessageKind::Resolved => format!("Resolved after {lasted}: {said}"),
        MessageKind::FiredAndResolved => {
            format!("Fired and resolved within {lasted}, while this channel could not be reached: {said}")
        }
        MessageKind::Test => format!("Test: {said}"),
    };
    let severity = alert.labels.get("severity").and_then(|word| Severity::parse(word)).unwrap_or(Severity::High);
    Message {
        incident: alert.incident.clone().unwrap_or_default(),
        kind: told.kind,
        seq: alert.messages,
        severity,
        rule: alert.rule.clone(),
        subject: subject(&alert.rule, &group_labels(&alert.fingerprint, &alert.rule)),
        headline,
        lines: lines(alert, told.rule.as_ref(), started_at, ends(told.kind).then_some(at)),
        labels: alert.labels.clone(),
        started_at,
        at,
        ended_at: ends(told.kind).then_some(at),
        link: links(alert),
        runbook: told.rule.as_ref().and_then(|rule| rule.runbook.clone()),
    }
}

/// A message that shows what a channel looks like, for `plimsoll notify test`.
pub fn test_message(channel: &str, at: Timestamp) -> Message {
    Message {
        incident: format!("{}-test", at.to_utc().format("%Y%m%dT%H%M%S%6f")),
        kind: MessageKind::Test,
        seq: 1,
        severity: Severity::Low,
        rule: "test".into(),
        subject: format!("Plimsoll test message for channel {channel}"),
        headline: "Test: if you read this, the channel works".into(),
        lines: vec![
            ("Channel".into(), channel.into()),
            ("Value".into(), "100 %".into()),
            ("Limit".into(), "> 80 % for 10s".into()),
            ("Sent".into(), show_time(at)),
        ],
        labels: [("alertname", "test"), ("severity", "low")].map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        started_at: at,
        at,
        ended_at: None,
        link: None,
        runbook: None,
    }
}

fn ends(kind: MessageKind) -> bool {
    matches!(kind, MessageKind::Resolved | MessageKind::FiredAndResolved)
}

/// Rule and place, the same as long as the incident lasts: "pool-nearly-full: pool `main` of shop (probe app)".
fn subject(rule: &str, labels: &Labels) -> String {
    let place = place(labels);
    let text = if place.is_empty() { rule.to_owned() } else { format!("{rule}: {place}") };
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().count() <= SUBJECT_CHARS {
        return text;
    }
    text.chars().take(SUBJECT_CHARS - 1).chain(['…']).collect()
}

/// Where it is: "pool `main` of shop (probe app)".
fn place(labels: &Labels) -> String {
    const FIRST: [&str; 6] = ["pool", "step", "scenario", "phase", "profile", "name"];
    let head: Vec<String> = FIRST.iter().filter_map(|key| labels.get(*key).map(|value| format!("{key} `{value}`"))).collect();
    let rest: Vec<String> = labels
        .iter()
        .filter(|(key, _)| !FIRST.contains(&key.as_str()) && *key != "target")
        .map(|(key, value)| format!("{key} {value}"))
        .collect();
    let target = labels.get("target").map(|target| if head.is_empty() { target.clone() } else { format!("of {target}") });
    let tail = (!rest.is_empty()).then(|| format!("({})", rest.join(", ")));
    let parts = [(!head.is_empty()).then(|| head.join(", ")), target, tail];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// Value, limit, since, until, rule, place, run: eight at most, so that page and runbook still fit into ten.
fn lines(alert: &AlertInstance, rule: Option<&RuleNote>, started_at: Timestamp, ended_at: Option<Timestamp>) -> Vec<(String, String)> {
    let value = match (alert.state, alert.value) {
        (AlertState::NoData, Some(_)) => format!("no data (the last was {})", alert.shown),
        (AlertState::NoData, None) => "no data".into(),
        (AlertState::Inactive | AlertState::Pending | AlertState::Firing, _) => alert.shown.clone(),
    };
    let mut lines = vec![("Value", value)];
    if let Some(rule) = rule {
        lines.push(("Limit", rule.limit.clone()));
    }
    lines.push(("Since", show_time(started_at)));
    if let Some(ended_at) = ended_at {
        lines.push(("Until", format!("{} ({})", show_time(ended_at), plain_time(ended_at.since(started_at)))));
    }
    lines.push(("Where", place(&group_labels(&alert.fingerprint, &alert.rule))));
    let severity = alert.labels.get("severity").map(|word| format!(" ({word})")).unwrap_or_default();
    lines.push(("Rule", format!("{}{severity}", alert.rule)));
    if let Some(run) = &alert.run {
        lines.push(("Run", run.0.clone()));
    }
    lines.into_iter().filter(|(_, value)| !value.is_empty()).map(|(key, value)| (key.to_owned(), value)).collect()
}

/// `2026-11-21 02:03:12 UTC`.
fn show_time(at: Timestamp) -> String {
    at.to_utc().format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_subject_says_rule_and_place_and_nothing_that_changes() {
        for (pairs, expected) in [
            (&[("pool", "main"), ("probe", "app"), ("target", "shop")][..], "r: pool `main` of shop (probe app)"),
            (&[("profile", "soak"), ("step", "login"), ("target", "shop")][..], "r: step `login`, profile `soak` of shop"),
            (&[("probe", "app"), ("target", "shop")][..], "r: shop (probe app)"),
            (&[][..], "r"),
        ] {
            assert_eq!(subject("r", &labels(pairs)), expected);
        }
    }

    #[test]
    fn a_subject_is_one_line_of_bounded_length() {
        let long = subject("r", &labels(&[("pool", &"ä\r\nBcc: x".repeat(50))]));
        assert_eq!(long.chars().count(), SUBJECT_CHARS);
        assert!(!long.contains(['\r', '\n']));
    }
}
