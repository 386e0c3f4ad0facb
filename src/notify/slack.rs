//! Slack through an incoming webhook, or by the token of a bot (`slack_api`): one attachment in the colour of the state, blocks inside, and a top-level text for
//! notifications and screen readers. Limits of Block Kit are kept by cutting at characters; method: docs/alerting.md.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::{Value as Json, json};
use url::Url;

use super::http::{Post, decode_url, place};
use super::render::{colour, cut, facts, one_line};
use super::slack_api::SlackBot;
use super::template::Words;
use super::{ChannelSettings, Delivery, Extras, Notifier, NotifyParts, Rate};
use crate::clock::SharedClock;
use crate::model::alerting::{Message, Outgoing};
use crate::registry::{Context, Decode, Kind, Node, Secret};

/// Longest plain text of a header block.
const HEADER_CHARS: usize = 150;
/// Longest text of a section.
const SECTION_CHARS: usize = 3000;
/// Longest text of a field.
const FIELD_CHARS: usize = 2000;
/// Most fields of a section.
const FIELDS: usize = 10;
/// Longest link that is shown.
const LINK_CHARS: usize = 1000;

/// The line in the table of kinds.
pub(super) const KIND: Kind<dyn ChannelSettings> =
    Kind { name: "slack", summary: "Slack, through an incoming webhook or as a bot.", decode, keys: SlackSettings::keys };

crate::settings! {
    /// Slack, through an incoming webhook or as a bot.
    pub struct SlackSettings titled "the Slack channel" {
        /// Address of the incoming webhook. Whoever has it can post: keep it in a file.
        webhook_url: secret Secret,
        /// Token of a bot (`xoxb-…`), instead of a webhook: one message an incident, what follows in its thread, charts as files.
        token: secret Secret,
        /// With a token: name (`#ops`) or id of the conversation.
        channel: optional String,
        /// With a token: where the Web API is.
        api_url: default String = "https://slack.com/api/".into(),
        /// Whether resolves are sent too.
        send_resolved: default bool = true,
        /// Longest time for one attempt.
        timeout: default Duration = Duration::from_secs(10),
    }
}

#[derive(Debug)]
struct Slack {
    settings: SlackSettings,
    host: String,
}

fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Arc<dyn ChannelSettings>> {
    let settings = SlackSettings::decode(node, cx)?;
    let given = |key: &str| node.get(key).or_else(|| node.get(&format!("{key}_file")));
    let Some(token) = given("token") else {
        if let Some(stray) = node.get("channel") {
            let hint = "a webhook leads to one channel by itself; with `token:` the channel can be chosen";
            cx.diagnostics.push("conflicting-keys", stray.span, "`channel` goes with `token`, not with a webhook", hint);
            return None;
        }
        let url = decode_url(node, "webhook_url", settings.webhook_url.as_ref(), "the Slack channel", cx)?;
        return Some(Arc::new(Slack { settings, host: place(&url) }));
    };
    if given("webhook_url").is_some() {
        let hint = "keep `webhook_url`, or `token` with `channel`";
        cx.diagnostics.push("conflicting-keys", token.span, "a Slack channel has a webhook or a token, not both", hint);
        return None;
    }
    if settings.channel.as_ref().is_none_or(|channel| channel.trim().is_empty()) {
        let hint = "add `channel: \"#ops\"`, or the channel's id";
        cx.diagnostics.push("missing-key", node.span, "the Slack channel has a `token` but no `channel`", hint);
        return None;
    }
    let fits = |token: &Secret| token.expose().trim().starts_with("xox") && token.expose().trim().chars().all(|c| c.is_ascii_graphic());
    if !settings.token.as_ref().is_some_and(fits) {
        let hint = "it is the \"Bot User OAuth Token\" of the app and begins with `xoxb-`";
        cx.diagnostics.push("bad-secret", token.span, "this is not a token of Slack", hint);
        return None;
    }
    let Some(api) = api_of(&settings) else {
        let span = node.get("api_url").map_or(node.span, |url| url.span);
        cx.diagnostics.push("bad-url", span, "`api_url` is not an http or https address", "write it whole: `https://slack.com/api/`");
        return None;
    };
    Some(Arc::new(Slack { settings, host: place(&api) }))
}

/// The address of the Web API, with a slash at its end.
fn api_of(settings: &SlackSettings) -> Option<Url> {
    let url = Url::parse(&format!("{}/", settings.api_url.trim().trim_end_matches('/'))).ok()?;
    (matches!(url.scheme(), "http" | "https") && url.has_host()).then_some(url)
}

impl ChannelSettings for Slack {
    fn connect(&self, parts: &NotifyParts) -> Result<Arc<dyn Notifier>, String> {
        if let (Some(token), Some(channel)) = (&self.settings.token, &self.settings.channel) {
            return Ok(Arc::new(SlackBot {
                api: api_of(&self.settings).ok_or("the address of the Slack API is unusable")?,
                token: token.expose().trim().to_owned(),
                conversation: channel.trim().to_owned(),
                client: parts.http.clone(),
                clock: parts.clock.clone(),
                timeout: self.settings.timeout,
                posted: Mutex::default(),
            }));
        }
        let url = self.settings.webhook_url.as_ref().and_then(|url| Url::parse(url.expose().trim()).ok());
        let url = url.ok_or("the address of the Slack webhook is unusable")?;
        Ok(Arc::new(SlackNotifier { url, client: parts.http.clone(), clock: parts.clock.clone(), timeout: self.settings.timeout }))
    }

    fn describe(&self) -> String {
        match &self.settings.channel {
            Some(channel) => format!("Slack {channel} at {}", self.host),
            None => format!("Slack webhook at {}", self.host),
        }
    }

    fn send_resolved(&self) -> bool {
        self.settings.send_resolved
    }

    // "1 per second; short bursts of more than one are allowed", per channel: docs.slack.dev/apis/web-api/rate-limits.
    fn rate(&self) -> Rate {
        Rate { burst: 1, per_second: 1.0 }
    }
}

struct SlackNotifier {
    url: Url,
    client: reqwest::Client,
    clock: SharedClock,
    timeout: Duration,
}

#[async_trait]
impl Notifier for SlackNotifier {
    async fn send(&self, outgoing: &Outgoing) -> Delivery {
        self.send_with(outgoing, &Extras::default()).await
    }

    async fn send_with(&self, outgoing: &Outgoing, extras: &Extras) -> Delivery {
        let headers: HeaderMap = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))].into_iter().collect();
        let body = worded(&outgoing.message, &extras.words).to_string().into_bytes();
        let post = Post { client: &self.client, url: &self.url, headers, body, timeout: self.timeout, secrets: Vec::new() };
        post.send("Slack", self.clock.now()).await
    }
}

/// The message in words of its own, when there are any.
pub(super) fn worded(message: &Message, words: &Words) -> Json {
    let mut payload = payload(message);
    let own = words.text.as_ref().map(|text| json!({"type": "section", "text": {"type": "mrkdwn", "text": mrkdwn_lines(text)}}));
    if let (Some(own), Some(blocks)) = (own, payload["attachments"][0]["blocks"].as_array_mut()) {
        // They stand in the place of the lines.
        blocks.retain(|block| block.get("fields").is_none());
        blocks.insert(2.min(blocks.len()), own);
    }
    payload
}

/// The words of a message: the payload of an incoming webhook, and of `chat.postMessage` but for where it goes.
pub(super) fn payload(message: &Message) -> Json {
    let headline = mrkdwn(&message.headline, SECTION_CHARS - 2);
    let mut blocks = vec![
        json!({"type": "header", "text": {"type": "plain_text", "text": cut(&one_line(&message.subject), HEADER_CHARS), "emoji": false}}),
        json!({"type": "section", "text": {"type": "mrkdwn", "text": format!("*{headline}*")}}),
    ];
    let fields: Vec<Json> = facts(message)
        .into_iter()
        .filter(|(_, value)| !is_link(value))
        .take(FIELDS)
        .map(|(key, value)| json!({"type": "mrkdwn", "text": field(key, value)}))
        .collect();
    if !fields.is_empty() {
        blocks.push(json!({"type": "section", "fields": fields}));
    }
    let links: Vec<String> = facts(message).into_iter().filter(|(_, value)| is_link(value)).map(|(key, url)| link(url, key)).collect();
    if !links.is_empty() {
        blocks.push(json!({"type": "section", "text": {"type": "mrkdwn", "text": links.join("  |  ")}}));
    }
    let footer = mrkdwn(&format!("Plimsoll, {}, incident {}", message.severity, message.incident), FIELD_CHARS);
    blocks.push(json!({"type": "context", "elements": [{"type": "mrkdwn", "text": footer}]}));
    let text = mrkdwn(&format!("{} ({})", message.headline, message.subject), SECTION_CHARS);
    json!({"text": text, "attachments": [{"color": colour(message), "fallback": text, "blocks": blocks}]})
}

fn field(key: &str, value: &str) -> String {
    let key = mrkdwn(key, 100);
    let value = mrkdwn(value, FIELD_CHARS - key.chars().count() - 3);
    format!("*{key}*\n{value}")
}

fn is_link(value: &str) -> bool {
    (value.starts_with("https://") || value.starts_with("http://")) && value.chars().count() <= LINK_CHARS
}

/// A link; what would end it early is percent-encoded.
fn link(url: &str, title: &str) -> String {
    let url = one_line(url).replace('<', "%3C").replace('>', "%3E").replace('|', "%7C").replace(' ', "%20").replace('&', "&amp;");
    format!("<{url}|{}>", mrkdwn(title, 75))
}

/// The same of several lines.
fn mrkdwn_lines(text: &str) -> String {
    let mut left = SECTION_CHARS;
    let mut lines = Vec::new();
    for line in text.lines() {
        if left < 2 {
            break;
        }
        let line = mrkdwn(line, left - 1);
        left -= line.chars().count() + 1;
        lines.push(line);
    }
    lines.join("\n")
}

/// Text with `& < >` escaped, at most `limit` characters after that, never cut within an escape.
fn mrkdwn(text: &str, limit: usize) -> String {
    let mut escaped = String::new();
    let mut length = 0;
    let mut fits = String::new();
    for c in text.chars() {
        let piece = match c {
            '&' => "&amp;".to_owned(),
            '<' => "&lt;".to_owned(),
            '>' => "&gt;".to_owned(),
            c if c.is_control() => " ".to_owned(),
            c => c.to_string(),
        };
        length += piece.chars().count();
        escaped.push_str(&piece);
        if length < limit {
            fits.clone_from(&escaped);
        }
        if length > limit {
            return format!("{fits}…");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::super::render::tests::sample;
    use super::*;
    use crate::model::alerting::MessageKind;

    #[test]
    fn the_payload_of_every_kind() {
        insta::assert_json_snapshot!("slack_fired", payload(&sample(MessageKind::Fired).message));
        for kind in MessageKind::ALL {
            let payload = payload(&sample(*kind).message);
            assert!(payload["text"].as_str().unwrap().starts_with(kind.as_str()));
        }
        let resolved = payload(&sample(MessageKind::Resolved).message);
        assert_eq!(resolved["attachments"][0]["color"], "#2eb886");
    }

    #[test]
    fn texts_are_cut_at_characters_and_never_within_an_escape() {
        for (text, limit, expected) in [
            ("abc", 3, "abc"),
            ("abcd", 3, "ab…"),
            ("a & b", 9, "a &amp; b"),
            ("a & b", 8, "a &amp;…"),
            ("a & b", 7, "a …"),
            ("ääää", 3, "ää…"),
            ("<!channel>", 50, "&lt;!channel&gt;"),
        ] {
            let cut = mrkdwn(text, limit);
            assert_eq!(cut, expected, "{text} {limit}");
            assert!(cut.chars().count() <= limit);
        }
    }

    #[test]
    fn limits_hold_for_a_message_that_breaks_them_all() {
        let mut message = sample(MessageKind::Fired).message;
        let long = "ä<&>".repeat(3000);
        (message.subject, message.headline) = (long.clone(), long.clone());
        message.lines = (0..30).map(|_| (long.clone(), long.clone())).collect();
        message.link = Some(format!("http://x/{long}"));
        let payload = payload(&message);
        let blocks = payload["attachments"][0]["blocks"].as_array().unwrap();
        let length = |value: &Json| value.as_str().map_or(0, |text| text.chars().count());
        assert_eq!(length(&blocks[0]["text"]["text"]), HEADER_CHARS);
        assert!(length(&blocks[1]["text"]["text"]) <= SECTION_CHARS);
        let fields = blocks[2]["fields"].as_array().unwrap();
        assert!(fields.len() <= FIELDS && fields.iter().all(|field| length(&field["text"]) <= FIELD_CHARS));
        assert!(length(&payload["text"]) <= SECTION_CHARS);
    }

    #[test]
    fn words_of_the_users_own_stand_in_the_place_of_the_lines() {
        let words = Words { text: Some(format!("one <!channel>\n{}", "long ".repeat(2000))), html: None };
        let payload = worded(&sample(MessageKind::Fired).message, &words);
        let blocks = payload["attachments"][0]["blocks"].as_array().unwrap();
        assert!(blocks.iter().all(|block| block.get("fields").is_none()));
        let text = blocks[2]["text"]["text"].as_str().unwrap();
        assert!(text.starts_with("one &lt;!channel&gt;\nlong ") && text.chars().count() <= SECTION_CHARS, "{}", text.chars().count());
    }

    #[test]
    fn the_address_is_not_shown() {
        let settings = SlackSettings {
            webhook_url: Some(Secret::new("https://hooks.slack.com/services/T0/B0/xyz")),
            token: None,
            channel: None,
            api_url: String::new(),
            send_resolved: true,
            timeout: Duration::from_secs(1),
        };
        let slack = Slack { settings, host: "hooks.slack.com".into() };
        assert!(!format!("{slack:?} {}", slack.describe()).contains("xyz"));
    }
}
