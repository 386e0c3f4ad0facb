//! PagerDuty, through its Events API v2: trigger, acknowledge and resolve under the incident's own id, so that a message that comes
//! twice is one alert there. What was over before it could be told is triggered and resolved in one attempt; method: docs/alerting.md.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use url::Url;

use super::http::{Post, place};
use super::render::{cut, one_line};
use super::{ChannelSettings, Delivery, Notifier, NotifyParts, Rate};
use crate::clock::SharedClock;
use crate::model::alerting::{Message, MessageKind, Outgoing, Severity};
use crate::registry::{Context, Decode, Kind, Node, Secret, WebUrl};

/// Where events go, unless the settings say otherwise.
const EVENTS: &str = "https://events.pagerduty.com/v2/enqueue";
/// Characters of an integration key.
const KEY_CHARS: usize = 32;
/// Longest summary.
const SUMMARY_CHARS: usize = 1024;
/// Longest key that an alert is recognised by.
const DEDUP_CHARS: usize = 255;
/// Largest event.
const EVENT_BYTES: usize = 512_000;
/// Longest text of a field or link.
const FIELD_CHARS: usize = 1024;

/// The line in the table of kinds.
pub(super) const KIND: Kind<dyn ChannelSettings> =
    Kind { name: "pagerduty", summary: "PagerDuty, through its Events API v2.", decode, keys: PagerDutySettings::keys };

crate::settings! {
    /// PagerDuty, through its Events API v2.
    pub struct PagerDutySettings titled "the PagerDuty channel" {
        /// Integration key of the service, 32 characters. Whoever has it can page: keep it in a file.
        routing_key: secret Secret,
        /// Where events go; `https://events.pagerduty.com/v2/enqueue` when not given. Accounts in Europe: `https://events.eu.pagerduty.com/v2/enqueue`.
        url: optional WebUrl,
        /// Whether resolves are sent too.
        send_resolved: default bool = true,
        /// Longest time for one attempt.
        timeout: default Duration = Duration::from_secs(10),
    }
}

/// The settings, checked.
#[derive(Debug, Clone)]
struct PagerDuty {
    key: Secret,
    url: Url,
    send_resolved: bool,
    timeout: Duration,
}

fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Arc<dyn ChannelSettings>> {
    let settings = PagerDutySettings::decode(node, cx)?;
    let key = decode_key(node, settings.routing_key, cx)?;
    let url = settings.url.map(|url| url.0).or_else(|| Url::parse(EVENTS).ok())?;
    Some(Arc::new(PagerDuty { key, url, send_resolved: settings.send_resolved, timeout: settings.timeout }))
}

/// The integration key; reports a missing one and one that PagerDuty would refuse.
fn decode_key(node: &Node, key: Option<Secret>, cx: &mut Context<'_>) -> Option<Secret> {
    let Some(given) = node.get("routing_key").or(node.get("routing_key_file")) else {
        let hint = "add `routing_key_file:` or `routing_key:` with the integration key of the service (Events API v2)";
        cx.diagnostics.push("missing-key", node.span, "the PagerDuty channel lacks the key `routing_key`", hint);
        return None;
    };
    let key = Secret::new(key?.expose().trim());
    if key.expose().len() == KEY_CHARS && key.expose().chars().all(|c| c.is_ascii_alphanumeric()) {
        return Some(key);
    }
    let hint = "an integration key of the Events API v2 has 32 letters and digits; it stands under the service's integrations";
    cx.diagnostics.push("bad-secret", given.span, "this is no integration key of PagerDuty", hint);
    None
}

impl ChannelSettings for PagerDuty {
    fn connect(&self, parts: &NotifyParts) -> Result<Arc<dyn Notifier>, String> {
        Ok(Arc::new(PagerDutyNotifier { settings: self.clone(), client: parts.http.clone(), clock: parts.clock.clone() }))
    }

    fn takes_digests(&self) -> bool {
        false
    }

    fn describe(&self) -> String {
        format!("PagerDuty at {}", place(&self.url))
    }

    fn send_resolved(&self) -> bool {
        self.send_resolved
    }

    // Documented is only that 429 is answered beyond some rate per key; two a second stay below what was ever documented.
    fn rate(&self) -> Rate {
        Rate { burst: 10, per_second: 2.0 }
    }
}

struct PagerDutyNotifier {
    settings: PagerDuty,
    client: reqwest::Client,
    clock: SharedClock,
}

#[async_trait]
impl Notifier for PagerDutyNotifier {
    async fn send(&self, outgoing: &Outgoing) -> Delivery {
        let actions = actions(outgoing.message.kind);
        if actions.is_empty() {
            return Delivery::GiveUp { class: "client_error", reason: "PagerDuty takes alerts, and a digest is none".into() };
        }
        // Together no longer than one attempt may take.
        let timeout = self.settings.timeout / u32::try_from(actions.len()).unwrap_or(1).max(1);
        let mut done = Delivery::Delivered(String::new());
        for action in actions {
            let Some(body) = event(&outgoing.message, action, self.settings.key.expose()) else {
                let reason = "the message is larger than PagerDuty takes".to_owned();
                return Delivery::GiveUp { class: "client_error", reason };
            };
            let headers: HeaderMap = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))].into_iter().collect();
            let secrets = vec![self.settings.key.expose()];
            let post = Post { client: &self.client, url: &self.settings.url, headers, body, timeout, secrets };
            done = post.send("PagerDuty", self.clock.now()).await;
            if !matches!(done, Delivery::Delivered(_)) {
                // Tried again as a whole; the alert is still open there, and a trigger with its key changes nothing.
                return done;
            }
        }
        done
    }
}

/// What is asked of PagerDuty, in order. A resolve of what it never saw would be dropped there without a word, so that is triggered
/// first; a test leaves nothing open.
fn actions(kind: MessageKind) -> &'static [&'static str] {
    match kind {
        MessageKind::Fired | MessageKind::Reminder | MessageKind::Changed => &["trigger"],
        MessageKind::Acknowledged => &["acknowledge"],
        MessageKind::Resolved => &["resolve"],
        MessageKind::FiredAndResolved | MessageKind::Test => &["trigger", "resolve"],
        MessageKind::Digest => &[],
    }
}

/// PagerDuty's word for a severity.
fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Low => "info",
        Severity::Medium => "warning",
        Severity::High => "error",
        Severity::Critical => "critical",
    }
}

/// An event as bytes, within the limit: details go first, then links. `None` when even the rest is too large.
fn event(message: &Message, action: &str, key: &str) -> Option<Vec<u8>> {
    let mut event = payload(message, action, key);
    for part in ["custom_details", "links"] {
        if event.to_string().len() <= EVENT_BYTES {
            break;
        }
        if let Some(payload) = event["payload"].as_object_mut() {
            payload.remove(part);
        }
        if let Some(event) = event.as_object_mut() {
            event.remove(part);
        }
    }
    let bytes = event.to_string().into_bytes();
    (bytes.len() <= EVENT_BYTES).then_some(bytes)
}

/// The body of one event.
fn payload(message: &Message, action: &str, key: &str) -> Json {
    let mut event = json!({"routing_key": key, "event_action": action, "dedup_key": dedup_key(&message.incident)});
    if action != "trigger" {
        return event;
    }
    let summary = cut(&one_line(&format!("{} ({})", message.headline, message.subject)), SUMMARY_CHARS);
    let source = message.labels.get("target").map_or("Plimsoll", String::as_str);
    event["payload"] = json!({
        "summary": summary,
        "source": cut(&one_line(source), FIELD_CHARS),
        "severity": severity(message.severity),
        "timestamp": message.at.to_string(),
        "class": cut(&one_line(&message.rule), FIELD_CHARS),
        "custom_details": details(message),
    });
    if let Some(pool) = message.labels.get("pool").or(message.labels.get("probe")) {
        event["payload"]["component"] = cut(&one_line(pool), FIELD_CHARS).into();
    }
    event["client"] = "Plimsoll".into();
    let page = message.link.as_deref().filter(|url| is_link(url));
    if let Some(url) = page {
        event["client_url"] = url.into();
    }
    let runbook = message.runbook.as_deref().filter(|url| is_link(url));
    let links: Vec<Json> = [("Page", page), ("Runbook", runbook)]
        .into_iter()
        .filter_map(|(text, url)| url.map(|href| json!({"href": href, "text": text})))
        .collect();
    if !links.is_empty() {
        event["links"] = links.into();
    }
    event
}

fn is_link(url: &str) -> bool {
    (url.starts_with("https://") || url.starts_with("http://")) && url.chars().count() <= FIELD_CHARS
}

/// What stands below the summary: the lines, the labels, and the alerts of a group.
fn details(message: &Message) -> Json {
    let mut details: serde_json::Map<String, Json> =
        message.lines.iter().map(|(key, value)| (key.clone(), Json::from(value.as_str()))).collect();
    details.insert("incident".into(), message.incident.as_str().into());
    details.insert("labels".into(), json!(message.labels));
    if !message.alerts.is_empty() {
        let alerts = message.alerts.iter().map(|alert| json!({"kind": alert.kind, "subject": alert.subject, "said": alert.said}));
        details.insert("alerts".into(), alerts.collect());
    }
    details.into()
}

/// The incident's id, which PagerDuty recognises the alert by; one that is too long stands as its hash.
fn dedup_key(incident: &str) -> String {
    if incident.chars().count() <= DEDUP_CHARS {
        return incident.to_owned();
    }
    Sha256::digest(incident.as_bytes()).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::super::render::tests::sample;
    use super::*;

    const KEY: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn the_events_of_every_kind() {
        insta::assert_json_snapshot!("pagerduty_fired", payload(&sample(MessageKind::Fired).message, "trigger", KEY));
        for (kind, expected) in [
            (MessageKind::Fired, &["trigger"][..]),
            (MessageKind::Reminder, &["trigger"]),
            (MessageKind::Changed, &["trigger"]),
            (MessageKind::Acknowledged, &["acknowledge"]),
            (MessageKind::Resolved, &["resolve"]),
            (MessageKind::FiredAndResolved, &["trigger", "resolve"]),
            (MessageKind::Test, &["trigger", "resolve"]),
        ] {
            assert_eq!(actions(kind), expected, "{kind}");
            let message = sample(kind).message;
            for action in actions(kind) {
                let event = payload(&message, action, KEY);
                assert_eq!((&event["event_action"], &event["dedup_key"]), (&json!(action), &json!(message.incident)), "{kind}");
                assert_eq!(event.get("payload").is_some(), *action == "trigger", "{kind}");
            }
        }
    }

    #[test]
    fn severities_are_those_that_pagerduty_has() {
        let words: Vec<&str> = Severity::ALL.iter().map(|word| severity(*word)).collect();
        assert_eq!(words, ["info", "warning", "error", "critical"]);
    }

    #[test]
    fn limits_hold_for_a_message_that_breaks_them_all() {
        let mut message = sample(MessageKind::Fired).message;
        let long = "ä\"\n".repeat(10_000);
        (message.subject, message.headline, message.incident) = (long.clone(), long.clone(), long.clone());
        let whole = event(&message, "trigger", KEY).unwrap();
        let whole: Json = serde_json::from_slice(&whole).unwrap();
        assert_eq!(whole["payload"]["summary"].as_str().unwrap().chars().count(), SUMMARY_CHARS);
        assert_eq!(whole["dedup_key"].as_str().unwrap().len(), 64, "a hash");
        assert_eq!(whole["payload"]["custom_details"]["Value"], "100 %");
        message.lines = (0..10).map(|n| (format!("key {n}"), long.clone())).collect();
        message.labels.insert("pool".into(), long);
        let bytes = event(&message, "trigger", KEY).unwrap();
        let event: Json = serde_json::from_slice(&bytes).unwrap();
        assert!(bytes.len() <= EVENT_BYTES);
        assert!(event["payload"].get("custom_details").is_none(), "the details are dropped first");
        assert_eq!(event["links"].as_array().unwrap().len(), 2, "and nothing more than needed");
    }

    #[test]
    fn the_key_is_not_shown() {
        let settings =
            PagerDuty { key: Secret::new(KEY), url: Url::parse(EVENTS).unwrap(), send_resolved: true, timeout: Duration::from_secs(1) };
        assert!(!format!("{settings:?} {}", settings.describe()).contains(KEY));
    }
}
