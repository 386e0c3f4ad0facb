//! A webhook of the user's own: the body has Alertmanager's shape (version 4), so that existing receivers work, plus a `plimsoll`
//! object; signed after Standard Webhooks (standardwebhooks.com) when a secret is given. The id of the message is the idempotency key.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use url::Url;

use super::http::{Post, decode_url, place};
use super::render::state;
use super::{ChannelSettings, Delivery, Notifier, NotifyParts};
use crate::clock::SharedClock;
use crate::model::Labels;
use crate::model::alerting::{Message, MessageAlert, Outgoing};
use crate::model::units::Timestamp;
use crate::registry::{Context, Decode, Kind, Named, Node, Secret};

/// The line in the table of kinds.
pub(super) const KIND: Kind<dyn ChannelSettings> = Kind {
    name: "webhook",
    summary: "An HTTP endpoint of your own, with the body that Alertmanager would send.",
    decode,
    keys: WebhookSettings::keys,
};

crate::settings! {
    /// An HTTP endpoint of your own, with the body that Alertmanager would send.
    pub struct WebhookSettings titled "the webhook channel" {
        /// Where to post.
        url: secret Secret,
        /// Signs each message after Standard Webhooks: `whsec_` and base64. Several, separated by spaces, while a key is exchanged.
        secret: secret Secret,
        /// Headers to add, such as `Authorization`.
        headers: default Named<Secret>,
        /// Whether resolves are sent too.
        send_resolved: default bool = true,
        /// Longest time for one attempt.
        timeout: default Duration = Duration::from_secs(10),
    }
}

/// The settings, checked.
struct Webhook {
    url: Url,
    keys: Vec<Vec<u8>>,
    headers: HeaderMap,
    send_resolved: bool,
    timeout: Duration,
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let headers: Vec<&HeaderName> = self.headers.keys().collect();
        f.debug_struct("Webhook")
            .field("host", &place(&self.url))
            .field("keys", &self.keys.len())
            .field("headers", &headers)
            .finish_non_exhaustive()
    }
}

fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Arc<dyn ChannelSettings>> {
    let settings = WebhookSettings::decode(node, cx)?;
    let url = decode_url(node, "url", settings.url.as_ref(), "the webhook channel", cx);
    let keys = decode_keys(node, settings.secret.as_ref(), cx);
    let headers = decode_headers(&settings.headers, cx);
    let (url, keys, headers) = (url?, keys?, headers?);
    Some(Arc::new(Webhook { url, keys, headers, send_resolved: settings.send_resolved, timeout: settings.timeout }))
}

/// The signing keys; none without a secret.
fn decode_keys(node: &Node, secret: Option<&Secret>, cx: &mut Context<'_>) -> Option<Vec<Vec<u8>>> {
    let Some(secret) = secret else {
        // A secret that was given but could not be read has been reported; sending unsigned instead would be wrong.
        let given = node.get("secret").is_some() || node.get("secret_file").is_some();
        return (!given).then(Vec::new);
    };
    let keys: Option<Vec<Vec<u8>>> = secret
        .expose()
        .split_whitespace()
        .map(|word| STANDARD.decode(word.strip_prefix("whsec_").unwrap_or(word)).ok().filter(|key| !key.is_empty()))
        .collect();
    if let Some(keys) = keys.filter(|keys| !keys.is_empty()) {
        return Some(keys);
    }
    let span = node.get("secret").or(node.get("secret_file")).map_or(node.span, |node| node.span);
    let hint = "write `whsec_` and at least 24 random bytes in base64, as from `openssl rand -base64 24`";
    cx.diagnostics.push("bad-secret", span, "the webhook's secret is not base64", hint);
    None
}

pub(super) fn decode_headers(named: &Named<Secret>, cx: &mut Context<'_>) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    let mut fine = true;
    for (name, value) in named.iter() {
        let ours = name.value.to_ascii_lowercase().starts_with("webhook-");
        match (HeaderName::try_from(name.value.as_str()), HeaderValue::try_from(value.expose())) {
            (Ok(key), Ok(mut value)) if !ours => {
                value.set_sensitive(true);
                headers.append(key, value);
            }
            _ => {
                let (message, hint) =
                    (format!("`{}` cannot be a header here", name.value), "letters, digits and dashes; `webhook-…` are ours");
                cx.diagnostics.push("bad-header", name.span, message, hint);
                fine = false;
            }
        }
    }
    fine.then_some(headers)
}

impl ChannelSettings for Webhook {
    fn connect(&self, parts: &NotifyParts) -> Result<Arc<dyn Notifier>, String> {
        Ok(Arc::new(WebhookNotifier {
            url: self.url.clone(),
            keys: self.keys.clone(),
            headers: self.headers.clone(),
            timeout: self.timeout,
            client: parts.http.clone(),
            clock: parts.clock.clone(),
        }))
    }

    fn describe(&self) -> String {
        format!("webhook at {}", place(&self.url))
    }

    fn send_resolved(&self) -> bool {
        self.send_resolved
    }
}

struct WebhookNotifier {
    url: Url,
    keys: Vec<Vec<u8>>,
    headers: HeaderMap,
    timeout: Duration,
    client: reqwest::Client,
    clock: SharedClock,
}

#[async_trait]
impl Notifier for WebhookNotifier {
    async fn send(&self, outgoing: &Outgoing) -> Delivery {
        let now = self.clock.now();
        let body = payload(outgoing).to_string().into_bytes();
        let mut headers = self.headers.clone();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in [("webhook-id", outgoing.id.clone()), ("webhook-timestamp", unix_seconds(now).to_string())] {
            let Ok(value) = HeaderValue::try_from(value) else {
                return Delivery::GiveUp { class: "client_error", reason: "the message's id cannot be a header".into() };
            };
            headers.insert(name, value);
        }
        if let Some(signatures) = sign(&self.keys, &outgoing.id, unix_seconds(now), &body) {
            headers.insert("webhook-signature", signatures);
        }
        let post = Post { client: &self.client, url: &self.url, headers, body, timeout: self.timeout, secrets: Vec::new() };
        post.send("webhook", now).await
    }
}

fn unix_seconds(at: Timestamp) -> i64 {
    at.0.div_euclid(1_000_000)
}

/// `v1,base64(HMAC-SHA256(key, id.timestamp.body))` for each key; `None` without keys.
fn sign(keys: &[Vec<u8>], id: &str, timestamp: i64, body: &[u8]) -> Option<HeaderValue> {
    let signatures: Vec<String> = keys
        .iter()
        .filter_map(|key| {
            let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
            mac.update(format!("{id}.{timestamp}.").as_bytes());
            mac.update(body);
            Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
        })
        .collect();
    if signatures.is_empty() { None } else { HeaderValue::try_from(signatures.join(" ")).ok() }
}

/// Alertmanager's body for one alert, and ours. The same in every attempt.
fn payload(outgoing: &Outgoing) -> Json {
    let message = &outgoing.message;
    // A digest is nothing that is open.
    let status = if matches!(state(message.kind), "resolved" | "digest") { "resolved" } else { "firing" };
    let mut annotations = json!({"summary": message.headline, "description": description(message)});
    if let Some(runbook) = &message.runbook {
        annotations["runbook_url"] = runbook.as_str().into();
    }
    let link = message.link.as_deref().unwrap_or_default();
    json!({
        "version": "4",
        "groupKey": format!("{{}}:{{incident=\"{}\"}}", message.incident),
        "truncatedAlerts": 0,
        "status": status,
        "receiver": outgoing.channel,
        "groupLabels": {"alertname": message.rule},
        "commonLabels": message.labels,
        "commonAnnotations": annotations,
        "externalURL": link,
        "alerts": alerts(message, status, &annotations),
        "plimsoll": {
            "id": outgoing.id,
            "incident": message.incident,
            "kind": message.kind,
            "seq": message.seq,
            "severity": message.severity,
            "rule": message.rule,
            "subject": message.subject,
            "headline": message.headline,
            "lines": message.lines.iter().map(|(key, value)| json!({"name": key, "value": value})).collect::<Vec<_>>(),
            "started_at": message.started_at,
            "ended_at": message.ended_at,
            "at": message.at,
            "link": message.link,
            "runbook": message.runbook,
            "alerts": message.alerts,
        },
    })
}

/// One entry, or those of a group.
fn alerts(message: &Message, status: &str, annotations: &Json) -> Vec<Json> {
    // Alertmanager's way of saying "not yet".
    let end = |at: Option<Timestamp>| at.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), |at| at.to_string());
    if message.alerts.is_empty() {
        return vec![json!({
            "status": status,
            "labels": message.labels,
            "annotations": annotations,
            "startsAt": message.started_at.to_string(),
            "endsAt": end(message.ended_at),
            "generatorURL": message.link.clone().unwrap_or_default(),
            "fingerprint": short_hash(&message.labels),
        })];
    }
    let one = |alert: &MessageAlert| {
        json!({
            "status": if alert.ended_at.is_some() { "resolved" } else { "firing" },
            "labels": alert.labels,
            "annotations": { "summary": alert.subject, "description": alert.said },
            "startsAt": alert.started_at.to_string(),
            "endsAt": end(alert.ended_at),
            "generatorURL": alert.link.clone().unwrap_or_default(),
            "fingerprint": short_hash(&alert.labels),
        })
    };
    message.alerts.iter().map(one).collect()
}

pub(super) fn description(message: &Message) -> String {
    let lines: Vec<String> = message.lines.iter().map(|(key, value)| format!("{key}: {value}")).collect();
    lines.join("\n")
}

/// Sixteen hex digits that are the same for the same labels.
fn short_hash(labels: &Labels) -> String {
    let mut hash = Sha256::new();
    for (key, value) in labels {
        hash.update(format!("{key}\0{value}\0"));
    }
    let mut text = String::new();
    for byte in hash.finalize().iter().take(8) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::render::tests::sample;
    use super::*;
    use crate::model::alerting::MessageKind;

    #[test]
    fn the_payload_of_fire_and_resolve() {
        insta::assert_json_snapshot!("webhook_fired", payload(&sample(MessageKind::Fired)));
        let resolved = payload(&sample(MessageKind::Resolved));
        assert_eq!(
            (resolved["status"].as_str(), resolved["alerts"][0]["endsAt"].as_str()),
            (Some("resolved"), Some("2026-11-21T02:06:24.000Z"))
        );
        for kind in MessageKind::ALL {
            assert_eq!(payload(&sample(*kind))["plimsoll"]["kind"], kind.as_str());
        }
    }

    /// The example of the specification's reference libraries.
    #[test]
    fn signs_as_standard_webhooks_does() {
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature =
            sign(std::slice::from_ref(&key), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#).unwrap();
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(sign(&[key.clone(), key], "a", 1, b"").unwrap().to_str().unwrap().split(' ').count(), 2);
        assert_eq!(sign(&[], "a", 1, b""), None);
    }
}
