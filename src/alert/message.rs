//! From a decision to what a person reads: one subject for the whole incident, a headline with the state, at most eight lines.
//! The same for every channel; how it looks there is the channel's (`notify`).

use super::alerts::head_of;
use super::fingerprint::group_labels;
use super::reason::plain_time;
use super::spoken::spoken;
use super::{Told, ToldAlert};
use crate::model::Labels;
use crate::model::alerting::{AlertInstance, AlertState, Message, MessageAlert, MessageKind, Severity};
use crate::model::units::Timestamp;

/// Where people read more about an alert: the page of its run, or of the alert; `None` when there is none.
pub type Links<'a> = &'a dyn Fn(&AlertInstance) -> Option<String>;

/// Longest subject in characters; mail programs and Slack cut what is longer.
const SUBJECT_CHARS: usize = 140;
/// Keys of lines that can be left out.
const WHERE: &str = "Where";
const RUN: &str = "Run";
/// Most lines of a message; page and runbook come after them.
const LINES: usize = 8;

/// Writes the message of a decision. `None` when it speaks of nothing.
pub fn compose(told: &Told, links: Links<'_>) -> Option<Message> {
    match &told.group {
        None => told.alerts.first().map(|alert| of_one(told, alert, links)),
        Some(labels) => Some(of_group(told, labels, links)),
    }
}

/// A message about one incident.
fn of_one(told: &Told, told_alert: &ToldAlert, links: Links<'_>) -> Message {
    let alert = &told_alert.instance;
    let at = told.at;
    let started_at = alert.opened_at.unwrap_or(at);
    let ended_at = told_alert.ended_at;
    let lasted = plain_time(ended_at.unwrap_or(at).since(started_at));
    let said = said(told_alert, at);
    let headline = match told_alert.kind {
        MessageKind::Fired => format!("Fired: {said}"),
        MessageKind::Reminder | MessageKind::Changed => format!("Still firing after {lasted}: {said}"),
        MessageKind::Resolved => format!("Resolved after {lasted}: {said}"),
        MessageKind::FiredAndResolved => format!("Fired and resolved within {lasted}: {said}"),
        MessageKind::Acknowledged => format!("Acknowledged by {}: {said}", acked_by(alert)),
        MessageKind::Test => format!("Test: {said}"),
        MessageKind::Digest => said,
    };
    Message {
        incident: told.incident.clone(),
        kind: told_alert.kind,
        seq: told.seq,
        severity: severity(alert),
        rule: alert.rule.clone(),
        subject: subject(&alert.rule, &group_labels(&alert.fingerprint, &alert.rule)),
        headline,
        lines: lines(told_alert, started_at),
        labels: alert.labels.clone(),
        started_at,
        at,
        ended_at,
        link: links(alert),
        runbook: told_alert.rule.as_ref().and_then(|rule| rule.runbook.clone()),
        run: alert.run.clone(),
        alerts: Vec::new(),
    }
}

/// A message about several incidents: what changed first, then what is open still.
fn of_group(told: &Told, labels: &Labels, links: Links<'_>) -> Message {
    let alerts: Vec<MessageAlert> = told.alerts.iter().map(|alert| member(alert, told.at, links)).collect();
    let open = |alert: &&MessageAlert| alert.ended_at.is_none();
    let worst = alerts.iter().filter(open).map(|alert| alert.severity).max().or_else(|| alerts.iter().map(|alert| alert.severity).max());
    let rule = alerts.first().map(|alert| alert.rule.clone()).filter(|rule| alerts.iter().all(|alert| alert.rule == *rule));
    let common = alerts.split_first().map(|(first, rest)| {
        let shared = |(key, value): &(&String, &String)| rest.iter().all(|alert| alert.labels.get(*key) == Some(*value));
        first.labels.iter().filter(shared).map(|(key, value)| (key.clone(), value.clone())).collect()
    });
    let runbook = told.alerts.first().and_then(|alert| alert.rule.as_ref()?.runbook.clone());
    let same_runbook = |alert: &ToldAlert| alert.rule.as_ref().and_then(|rule| rule.runbook.as_ref()) == runbook.as_ref();
    let is_over = ends(told.kind);
    Message {
        incident: told.incident.clone(),
        kind: told.kind,
        seq: told.seq,
        severity: worst.unwrap_or(Severity::High),
        rule: rule.unwrap_or_else(|| "alerts".into()),
        subject: subject("alerts", labels),
        headline: group_headline(told, &alerts),
        lines: group_lines(&alerts),
        labels: common.unwrap_or_default(),
        started_at: told.opened_at,
        at: told.at,
        ended_at: is_over.then_some(told.at),
        link: alerts.iter().find_map(|alert| alert.link.clone()),
        runbook: runbook.clone().filter(|_| told.alerts.iter().all(same_runbook)),
        run: None,
        alerts,
    }
}

fn member(told: &ToldAlert, at: Timestamp, links: Links<'_>) -> MessageAlert {
    let alert = &told.instance;
    MessageAlert {
        incident: alert.incident.clone().unwrap_or_default(),
        kind: told.kind,
        rule: alert.rule.clone(),
        severity: severity(alert),
        subject: subject(&alert.rule, &group_labels(&alert.fingerprint, &alert.rule)),
        said: said(told, at),
        labels: alert.labels.clone(),
        started_at: alert.opened_at.unwrap_or(at),
        ended_at: told.ended_at,
        link: links(alert),
        run: alert.run.clone(),
    }
}

/// "2 fired, 1 resolved, 3 still firing since 2026-11-21 02:03:12 UTC".
fn group_headline(told: &Told, alerts: &[MessageAlert]) -> String {
    let count = |kind: MessageKind| alerts.iter().filter(|alert| alert.kind == kind).count();
    let many = |number: usize| if number == 1 { "1 alert".to_owned() } else { format!("{number} alerts") };
    let lasted = plain_time(told.at.since(told.opened_at));
    match told.kind {
        MessageKind::Fired if count(MessageKind::Fired) == alerts.len() => format!("Fired: {}", many(alerts.len())),
        MessageKind::Reminder => format!("Still firing after {lasted}: {}", many(alerts.len())),
        MessageKind::Resolved => format!("Resolved after {lasted}: {}, none is left", many(alerts.len())),
        MessageKind::FiredAndResolved => format!("Fired and resolved within {lasted}: {}", many(alerts.len())),
        MessageKind::Fired | MessageKind::Changed | MessageKind::Acknowledged | MessageKind::Digest | MessageKind::Test => {
            let words = [
                (MessageKind::Fired, "fired"),
                (MessageKind::Resolved, "resolved"),
                (MessageKind::FiredAndResolved, "fired and resolved"),
                (MessageKind::Acknowledged, "acknowledged"),
                (MessageKind::Reminder, "still firing"),
            ];
            let counted = words.into_iter().map(|(kind, word)| (count(kind), word)).filter(|(number, _)| *number > 0);
            let parts: Vec<String> = counted.map(|(number, word)| format!("{number} {word}")).collect();
            let word = if told.kind == MessageKind::Fired { "Fired" } else { "Changed" };
            format!("{word}: {}", parts.join(", "))
        }
    }
}

/// One line an alert; those that do not fit are counted.
pub(super) fn group_lines(alerts: &[MessageAlert]) -> Vec<(String, String)> {
    let word = |kind: MessageKind| match kind {
        MessageKind::Fired => "Fired",
        MessageKind::Resolved => "Resolved",
        MessageKind::FiredAndResolved => "Fired and resolved",
        MessageKind::Acknowledged => "Acknowledged",
        MessageKind::Reminder | MessageKind::Changed | MessageKind::Digest | MessageKind::Test => "Still firing",
    };
    let line = |alert: &MessageAlert| (word(alert.kind).to_owned(), format!("{} - {}", alert.subject, alert.said));
    if alerts.len() <= LINES {
        return alerts.iter().map(line).collect();
    }
    let more = ("More".to_owned(), format!("{} further alerts", alerts.len() - (LINES - 1)));
    alerts.iter().take(LINES - 1).map(line).chain([more]).collect()
}

/// What happened, one sentence.
fn said(told: &ToldAlert, at: Timestamp) -> String {
    let said = spoken(told, at).unwrap_or_else(|| told.reason.clone());
    let said = match &told.after {
        Some(muted) if told.ended_at.is_none() => format!("{said} (until now: {})", head_of(muted)),
        Some(_) | None => said,
    };
    match &told.instance.acked {
        Some(ack) if told.kind == MessageKind::Acknowledged && !ack.comment.is_empty() => format!("{said} ({})", ack.comment),
        Some(_) | None => said,
    }
}

fn acked_by(alert: &AlertInstance) -> &str {
    alert.acked.as_ref().map_or("somebody", |ack| ack.by.as_str())
}

fn severity(alert: &AlertInstance) -> Severity {
    alert.labels.get("severity").and_then(|word| Severity::parse(word)).unwrap_or(Severity::High)
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
        run: None,
        alerts: Vec::new(),
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

/// How bad, against which limit, since when, why, what changed, where: eight at most, so that page and runbook still fit into ten.
fn lines(told: &ToldAlert, started_at: Timestamp) -> Vec<(String, String)> {
    let (alert, rule, ended_at) = (&told.instance, told.rule.as_ref(), told.ended_at);
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
    lines.extend(told.beside.iter().map(|(key, value)| (key.as_str(), value.clone())));
    lines.push((WHERE, place(&group_labels(&alert.fingerprint, &alert.rule))));
    let severity = alert.labels.get("severity").map(|word| format!(" ({word})")).unwrap_or_default();
    lines.push(("Rule", format!("{}{severity}", alert.rule)));
    if let Some(run) = &alert.run {
        lines.push((RUN, run.0.clone()));
    }
    if let Some(ack) = &alert.acked {
        lines.push(("Taken by", format!("{} at {}", ack.by, show_time(ack.at))));
    }
    lines.retain(|(_, value)| !value.is_empty());
    // What is said elsewhere goes first: the place stands in the subject, the run in the link.
    for said_elsewhere in [WHERE, RUN] {
        if lines.len() > LINES {
            lines.retain(|(key, _)| *key != said_elsewhere);
        }
    }
    lines.into_iter().take(LINES).map(|(key, value)| (key.to_owned(), value)).collect()
}

/// `2026-11-21 02:03:12 UTC`.
pub(super) fn show_time(at: Timestamp) -> String {
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
