//! Microsoft Teams, through the webhook of a workflow ("When a Teams webhook request is received"): one adaptive card. All text stands
//! in text runs, which know no Markdown, so that a name with `_` or `[` stays as it is. Limits and method: docs/alerting.md.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::{Value as Json, json};
use url::Url;

use super::http::{Post, decode_url, place};
use super::render::{cut, facts, one_line, state};
use super::{ChannelSettings, Delivery, Notifier, NotifyParts, Rate};
use crate::clock::SharedClock;
use crate::model::alerting::{Message, Outgoing, Severity};
use crate::registry::{Context, Decode, Kind, Node, Secret};

/// Largest body that Teams takes is 28 KB; some of it goes to what the workflow adds.
const BODY_BYTES: usize = 24_000;
/// Longest texts, from what one wants to what always fits.
const TEXT_CHARS: [usize; 3] = [1000, 300, 60];
/// Longest link that is shown.
const LINK_CHARS: usize = 1000;

/// The line in the table of kinds.
pub(super) const KIND: Kind<dyn ChannelSettings> =
    Kind { name: "teams", summary: "Microsoft Teams, through the webhook of a workflow.", decode, keys: TeamsSettings::keys };

crate::settings! {
    /// Microsoft Teams, through the webhook of a workflow.
    pub struct TeamsSettings titled "the Teams channel" {
        /// Address of the workflow's webhook. Whoever has it can post: keep it in a file.
        webhook_url: secret Secret,
        /// Whether resolves are sent too.
        send_resolved: default bool = true,
        /// Longest time for one attempt.
        timeout: default Duration = Duration::from_secs(10),
    }
}

#[derive(Debug)]
struct Teams {
    settings: TeamsSettings,
    host: String,
}

fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Arc<dyn ChannelSettings>> {
    let settings = TeamsSettings::decode(node, cx)?;
    let url = decode_url(node, "webhook_url", settings.webhook_url.as_ref(), "the Teams channel", cx)?;
    Some(Arc::new(Teams { settings, host: place(&url) }))
}

impl ChannelSettings for Teams {
    fn connect(&self, parts: &NotifyParts) -> Result<Arc<dyn Notifier>, String> {
        let url = self.settings.webhook_url.as_ref().and_then(|url| Url::parse(url.expose().trim()).ok());
        let url = url.ok_or("the address of the Teams workflow is unusable")?;
        Ok(Arc::new(TeamsNotifier { url, client: parts.http.clone(), clock: parts.clock.clone(), timeout: self.settings.timeout }))
    }

    fn describe(&self) -> String {
        format!("Teams workflow at {}", self.host)
    }

    fn send_resolved(&self) -> bool {
        self.settings.send_resolved
    }

    // Teams takes no more than four a second of all that write to a channel.
    fn rate(&self) -> Rate {
        Rate { burst: 1, per_second: 1.0 }
    }
}

struct TeamsNotifier {
    url: Url,
    client: reqwest::Client,
    clock: SharedClock,
    timeout: Duration,
}

#[async_trait]
impl Notifier for TeamsNotifier {
    async fn send(&self, outgoing: &Outgoing) -> Delivery {
        let headers: HeaderMap = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))].into_iter().collect();
        let body = body(&outgoing.message);
        let post = Post { client: &self.client, url: &self.url, headers, body, timeout: self.timeout, secrets: Vec::new() };
        post.send("Teams", self.clock.now()).await
    }
}

/// The payload as bytes, its texts as long as fits.
fn body(message: &Message) -> Vec<u8> {
    let mut body = Vec::new();
    for chars in TEXT_CHARS {
        body = payload(message, chars).to_string().into_bytes();
        if body.len() <= BODY_BYTES {
            break;
        }
    }
    body
}

/// A message with one adaptive card, no text longer than `chars`.
fn payload(message: &Message, chars: usize) -> Json {
    let is_link = |url: &str| (url.starts_with("https://") || url.starts_with("http://")) && url.chars().count() <= LINK_CHARS;
    let tone = tone(message);
    let badge = format!("{} · {}", state(message.kind).to_uppercase(), message.severity);
    let mut body = vec![json!({
        "type": "Container",
        "style": tone,
        "bleed": true,
        "items": [
            text(&[run(&badge, chars, &json!({"size": "Small", "weight": "Bolder", "color": colour(tone)}))]),
            text(&[run(&message.headline, chars, &json!({"size": "Large", "weight": "Bolder"}))]),
            text(&[run(&message.subject, chars, &json!({"isSubtle": true}))]),
        ],
    })];
    let (links, lines): (Vec<_>, Vec<_>) = facts(message).into_iter().partition(|(_, value)| is_link(value));
    for (key, value) in lines {
        body.push(json!({
            "type": "RichTextBlock",
            "spacing": "Small",
            "inlines": [run(&format!("{}: ", cut(key, chars)), chars + 2, &json!({"weight": "Bolder"})), run(value, chars, &json!({}))],
        }));
    }
    let footer = format!("Plimsoll, incident {}", message.incident);
    body.push(text(&[run(&footer, chars, &json!({"size": "Small", "isSubtle": true}))]));
    let actions: Vec<Json> = links
        .into_iter()
        .take(6)
        .map(|(title, url)| json!({"type": "Action.OpenUrl", "title": cut(&one_line(title), 60), "url": url}))
        .collect();
    json!({
        "type": "message",
        "summary": cut(&one_line(&message.headline), chars),
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "fallbackText": cut(&one_line(&message.headline), chars),
                "msteams": {"width": "full"},
                "body": body,
                "actions": actions,
            },
        }],
    })
}

/// A block of text that is shown as it is.
fn text(inlines: &[Json]) -> Json {
    json!({"type": "RichTextBlock", "inlines": inlines})
}

/// One run of text, with its looks.
fn run(text: &str, chars: usize, looks: &Json) -> Json {
    let mut run = looks.clone();
    run["type"] = "TextRun".into();
    run["text"] = cut(&one_line(text), chars).into();
    run
}

/// Red for what is bad, yellow for what can wait, green for what is over, blue for tests, in the card's words.
fn tone(message: &Message) -> &'static str {
    match (state(message.kind), message.severity) {
        ("resolved", _) => "good",
        ("test" | "digest", _) => "accent",
        (_, Severity::Low | Severity::Medium) => "warning",
        (_, Severity::High | Severity::Critical) => "attention",
    }
}

/// The colour of text that goes with a tone: Teams' own library writes it with a capital.
fn colour(tone: &str) -> &'static str {
    match tone {
        "good" => "Good",
        "accent" => "Accent",
        "warning" => "Warning",
        _ => "Attention",
    }
}

#[cfg(test)]
mod tests {
    use super::super::render::tests::sample;
    use super::*;
    use crate::model::alerting::MessageKind;

    #[test]
    fn the_card_of_every_kind() {
        insta::assert_json_snapshot!("teams_fired", payload(&sample(MessageKind::Fired).message, TEXT_CHARS[0]));
        for kind in MessageKind::ALL {
            let message = sample(*kind).message;
            let card = &payload(&message, TEXT_CHARS[0])["attachments"][0]["content"];
            let head = &card["body"][0];
            assert!(head["items"][1]["inlines"][0]["text"].as_str().unwrap().starts_with(kind.as_str()));
            let expected = match state(*kind) {
                "resolved" => "good",
                "test" | "digest" => "accent",
                _ => "attention",
            };
            assert_eq!(head["style"], expected, "{kind}");
        }
    }

    #[test]
    fn a_message_that_is_too_long_is_cut_until_it_fits() {
        let mut message = sample(MessageKind::Fired).message;
        let long = "ä\"<&>\n".repeat(5000);
        (message.subject, message.headline, message.incident) = (long.clone(), long.clone(), long.clone());
        message.lines = (0..30).map(|_| (long.clone(), long.clone())).collect();
        message.link = Some(format!("http://x/{long}"));
        message.runbook = Some(format!("http://x/{}", "y".repeat(900)));
        let body = body(&message);
        assert!(body.len() <= BODY_BYTES, "{}", body.len());
        let card: Json = serde_json::from_slice(&body).unwrap();
        let actions = card["attachments"][0]["content"]["actions"].as_array().unwrap();
        assert_eq!(actions.len(), 1, "a link that is too long is no button: {actions:?}");
    }

    #[test]
    fn the_address_is_not_shown() {
        let settings = TeamsSettings {
            webhook_url: Some(Secret::new("https://flow.example.org/workflows/xyz?sig=xyz")),
            send_resolved: true,
            timeout: Duration::from_secs(1),
        };
        let teams = Teams { settings, host: "flow.example.org".into() };
        assert!(!format!("{teams:?} {}", teams.describe()).contains("xyz"));
    }
}
