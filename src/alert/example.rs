//! Made-up messages, one of each kind: what templates are tried on before they are used, and what `plimsoll alerts preview` shows when
//! nothing has happened yet.

use std::time::Duration;

use super::message::show_time;
use crate::model::alerting::{Message, MessageKind, Rule, Severity};
use crate::model::run::RunId;
use crate::model::units::Timestamp;

/// How long the example's incident lasts.
const LASTED: Duration = Duration::from_secs(192);

/// An example of a kind, as it would be written at `at`.
pub fn example_message(kind: MessageKind, at: Timestamp) -> Message {
    let started_at = at.minus(LASTED);
    let ended = matches!(kind, MessageKind::Resolved | MessageKind::FiredAndResolved);
    let said = "pool `main` of shop at 100 % of 20 for 3m12s";
    let headline = match kind {
        MessageKind::Fired => format!("Fired: {said}"),
        MessageKind::Reminder | MessageKind::Changed => format!("Still firing after 3m12s: {said}"),
        MessageKind::Resolved => "Resolved after 3m12s: pool `main` of shop at 41 % of 20".into(),
        MessageKind::FiredAndResolved => format!("Fired and resolved within 3m12s: {said}"),
        MessageKind::Acknowledged => format!("Acknowledged by ann: {said}"),
        MessageKind::Digest => "Daily digest: 3 of 4 runs passed, 1 incident".into(),
        MessageKind::Test => format!("Test: {said}"),
    };
    let lines = [
        ("Value", "100 %".to_owned()),
        ("Limit", "> 80 % over 1m for 3m, until < 70 %".into()),
        ("Since", show_time(started_at)),
        (
            "Likely cause",
            "From second 41 to 233 pool `main` was full (20 of 20, 31 waiting). 99 % of all failures fall into these seconds.".into(),
        ),
        ("Changed", format!("version 1.5.0 was deployed 33m before, {}", show_time(started_at.minus(Duration::from_secs(1_980))))),
        ("Where", "pool `main` of shop (probe app)".into()),
        ("Rule", "pool-nearly-full (high)".into()),
        ("Run", "20261121T020000-soak-7k3f".into()),
    ];
    let labels = [("alertname", "pool-nearly-full"), ("severity", "high"), ("target", "shop"), ("probe", "app"), ("pool", "main")];
    Message {
        incident: format!("{}-pool-nearly-full-3f9a", started_at.to_utc().format("%Y%m%dT%H%M%S")),
        kind,
        seq: if kind == MessageKind::Fired { 1 } else { 2 },
        severity: Severity::High,
        rule: "pool-nearly-full".into(),
        subject: "pool-nearly-full: pool `main` of shop (probe app)".into(),
        headline,
        lines: lines.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
        labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        started_at,
        at,
        ended_at: ended.then_some(at),
        link: Some("http://127.0.0.1:9611/runs/20261121T020000-soak-7k3f".into()),
        runbook: Some("https://wiki.example.org/pools".into()),
        run: Some(RunId("20261121T020000-soak-7k3f".into())),
        alerts: Vec::new(),
    }
}

/// The same as one of `rule` would look: its name, severity, labels, limit and runbook; the figures are made up.
pub fn example_of(rule: &Rule, kind: MessageKind, at: Timestamp) -> Message {
    let mut message = example_message(kind, at);
    let limit = super::RuleNote::of(rule).limit;
    message.rule.clone_from(&rule.name);
    message.severity = rule.severity;
    message.runbook.clone_from(&rule.runbook);
    message.labels.extend(rule.labels.clone());
    message.labels.insert("alertname".into(), rule.name.clone());
    message.labels.insert("severity".into(), rule.severity.as_str().into());
    message.incident = message.incident.replace("pool-nearly-full", &rule.name);
    message.subject = message.subject.replace("pool-nearly-full", &rule.name);
    for (key, value) in &mut message.lines {
        match key.as_str() {
            "Limit" => value.clone_from(&limit),
            "Rule" => *value = format!("{} ({})", rule.name, rule.severity),
            _ => {}
        }
    }
    message
}
