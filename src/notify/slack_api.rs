//! Slack by its Web API, with the token of a bot: one message per incident, what follows in its thread, the first one recoloured when it
//! is over, and the chart as a file. What was posted is remembered beside the outbox, so that a restart goes on in the same thread.
//! Methods: <https://docs.slack.dev/reference/methods/chat.postMessage>, `chat.update`, `files.getUploadURLExternal`,
//! `files.completeUploadExternal`.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use url::Url;

use super::extras::{Chart, Extras, Image};
use super::http::{Ask, Said};
use super::render::{cut, one_line, state};
use super::slack::worded;
use super::template::Words;
use super::{Delivery, Notifier};
use crate::clock::SharedClock;
use crate::model::alerting::{Message, MessageKind, Outgoing};

/// Threads that are remembered in this process, beside the store.
const REMEMBERED: usize = 1000;
/// Errors that say who may not.
const AUTH: [&str; 12] = [
    "invalid_auth",
    "not_authed",
    "token_revoked",
    "token_expired",
    "account_inactive",
    "missing_scope",
    "not_allowed_token_type",
    "no_permission",
    "access_denied",
    "ekm_access_denied",
    "org_login_required",
    "two_factor_setup_required",
];
/// Errors that may pass.
const PASSING: [&str; 6] =
    ["fatal_error", "internal_error", "service_unavailable", "request_timeout", "team_added_to_org", "accesslimited"];
/// Errors that say that the first message, or its thread, is no longer there.
const GONE: [&str; 3] = ["thread_not_found", "message_not_found", "cannot_reply_to_message"];

/// What was posted of an incident: where its thread is, and how far the telling got. An attempt that is made again goes on from there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Posted {
    /// Id of the conversation, as Slack gave it.
    channel: String,
    /// The first message: its time is its id.
    ts: String,
    /// Number of the last message that was posted.
    told: u32,
    /// Number of the last message whose chart was uploaded.
    #[serde(default)]
    charted: u32,
}

/// Slack, as a bot.
pub(super) struct SlackBot {
    pub(super) api: Url,
    pub(super) token: String,
    /// Name (`#ops`) or id of the conversation.
    pub(super) conversation: String,
    pub(super) client: reqwest::Client,
    pub(super) clock: SharedClock,
    pub(super) timeout: Duration,
    /// What was posted by this process: stands in when the store cannot be asked.
    pub(super) posted: Mutex<BTreeMap<String, String>>,
}

#[async_trait]
impl Notifier for SlackBot {
    async fn send(&self, outgoing: &Outgoing) -> Delivery {
        self.send_with(outgoing, &Extras::default()).await
    }

    fn takes_charts(&self) -> bool {
        true
    }

    async fn send_with(&self, outgoing: &Outgoing, extras: &Extras) -> Delivery {
        match tokio::time::timeout(self.timeout, self.attempt(outgoing, extras)).await {
            Ok(Ok(delivery) | Err(delivery)) => delivery,
            Err(_) => {
                let patience = crate::model::units::format_duration(self.timeout);
                Delivery::Retry { class: "timeout", reason: format!("{} did not answer within {patience}", self.place()), after: None }
            }
        }
    }
}

impl SlackBot {
    fn place(&self) -> String {
        format!("Slack at {}", super::http::place(&self.api))
    }

    async fn attempt(&self, outgoing: &Outgoing, extras: &Extras) -> Result<Delivery, Delivery> {
        let message = &outgoing.message;
        let before = self.recall(outgoing, extras).await?;
        let posted = match before {
            Some(posted) if posted.told >= message.seq => posted,
            Some(posted) => match self.reply(&posted, outgoing, &extras.words).await? {
                Some(()) => self.keep(outgoing, extras, Posted { told: message.seq, ..posted }).await,
                // Somebody deleted the first message: this one takes its place.
                None => self.keep(outgoing, extras, self.begin(outgoing, &extras.words).await?).await,
            },
            None => self.keep(outgoing, extras, self.begin(outgoing, &extras.words).await?).await,
        };
        let mut detail = format!("Slack {} ({})", one_line(&self.conversation), posted.channel);
        match &extras.chart {
            Chart::Drawn(image) if posted.charted < message.seq => match self.upload(&posted, message, image).await {
                Ok(()) => {
                    self.keep(outgoing, extras, Posted { charted: message.seq, ..posted.clone() }).await;
                }
                // The message is there; for want of a picture it is not told again.
                Err(why) => detail.push_str(&format!("; without its chart: {why}")),
            },
            Chart::Missing(why) => detail.push_str(&format!("; without a chart: {why}")),
            Chart::Drawn(_) | Chart::None => {}
        }
        if message.seq > 1
            && let Some(why) = self.recolour(&posted, message, &extras.words).await?
        {
            detail.push_str(&format!("; its first message stays as it was: {why}"));
        }
        Ok(Delivery::Delivered(detail))
    }

    /// The first message of an incident.
    async fn begin(&self, outgoing: &Outgoing, words: &Words) -> Result<Posted, Delivery> {
        let mut body = worded(&outgoing.message, words);
        body["channel"] = json!(self.conversation);
        body["metadata"] = metadata(outgoing);
        let answer = self.call("chat.postMessage", &body).await.map_err(Refused::into_delivery)?;
        let text = |key: &str| answer[key].as_str().map(str::to_owned);
        let (Some(ts), Some(channel)) = (text("ts"), text("channel")) else {
            let reason = format!("{} took the message but did not say where it stands", self.place());
            return Err(Delivery::GiveUp { class: "client_error", reason });
        };
        Ok(Posted { channel, ts, told: outgoing.message.seq, charted: 0 })
    }

    /// A message in the thread of the first one; `None` when there is no such thread any more. The end is shown in the conversation, too.
    async fn reply(&self, posted: &Posted, outgoing: &Outgoing, words: &Words) -> Result<Option<()>, Delivery> {
        let mut body = worded(&outgoing.message, words);
        body["channel"] = json!(posted.channel);
        body["thread_ts"] = json!(posted.ts);
        body["metadata"] = metadata(outgoing);
        if state(outgoing.message.kind) == "resolved" {
            body["reply_broadcast"] = json!(true);
        }
        match self.call("chat.postMessage", &body).await {
            Ok(_) => Ok(Some(())),
            Err(refused) if GONE.contains(&refused.word.as_str()) => Ok(None),
            Err(refused) => Err(refused.delivery),
        }
    }

    /// Gives the first message the words and the colour of how things are now. `Some`: why it cannot be changed; that is no failure, for
    /// the message itself has been told.
    async fn recolour(&self, posted: &Posted, message: &Message, words: &Words) -> Result<Option<String>, Delivery> {
        // A reminder changes nothing about the colour; the words of the fire stay.
        if message.kind == MessageKind::Reminder {
            return Ok(None);
        }
        let mut body = worded(message, words);
        body["channel"] = json!(posted.channel);
        body["ts"] = json!(posted.ts);
        match self.call("chat.update", &body).await {
            Ok(_) => Ok(None),
            Err(Refused { delivery: Delivery::GiveUp { reason, .. }, .. }) => Ok(Some(reason)),
            Err(refused) => Err(refused.delivery),
        }
    }

    /// The chart as a file in the thread.
    async fn upload(&self, posted: &Posted, message: &Message, image: &Image) -> Result<(), String> {
        let why = |refused: Refused| match refused.delivery {
            Delivery::Retry { reason, .. } | Delivery::GiveUp { reason, .. } | Delivery::Delivered(reason) => reason,
        };
        let name = format!("chart-{}-{}.png", message.incident, message.seq);
        let alt = cut(&image.alt, 1000);
        let size = image.png.len().to_string();
        let form = [("filename", name.as_str()), ("length", &size), ("alt_txt", &alt)];
        let place = self.form("files.getUploadURLExternal", &form).await.map_err(why)?;
        let (Some(address), Some(file)) = (place["upload_url"].as_str(), place["file_id"].as_str()) else {
            return Err("Slack gave no place for it".into());
        };
        let address = Url::parse(address).map_err(|_| "Slack gave an unusable place for it".to_owned())?;
        // A place without TLS is taken only from an API without.
        if address.scheme() != "https" && address.scheme() != self.api.scheme() {
            return Err("Slack gave a place for it that is not encrypted".into());
        }
        let headers = [(CONTENT_TYPE, HeaderValue::from_static("image/png"))].into_iter().collect();
        // The address is the permission: the token stays here.
        self.ask(&address, headers, image.png.clone()).await.map_err(|refused| why(refused.into()))?;
        let files = json!([{"id": file, "title": cut(&one_line(&message.subject), 200)}]).to_string();
        let form = [("files", files.as_str()), ("channel_id", &posted.channel), ("thread_ts", &posted.ts)];
        self.form("files.completeUploadExternal", &form).await.map_err(why)?;
        Ok(())
    }

    async fn call(&self, method: &str, body: &Json) -> Result<Json, Refused> {
        self.method(method, "application/json; charset=utf-8", body.to_string().into_bytes()).await
    }

    /// Some methods take forms only.
    async fn form(&self, method: &str, pairs: &[(&str, &str)]) -> Result<Json, Refused> {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        self.method(method, "application/x-www-form-urlencoded", body.into_bytes()).await
    }

    async fn method(&self, method: &str, content_type: &'static str, body: Vec<u8>) -> Result<Json, Refused> {
        let unusable = |what: &str| Refused::from(Delivery::GiveUp { class: "client_error", reason: format!("{what} is unusable") });
        let url = self.api.join(method).map_err(|_| unusable("the address of the Slack API"))?;
        let mut token = HeaderValue::from_str(&format!("Bearer {}", self.token)).map_err(|_| unusable("the token for Slack"))?;
        token.set_sensitive(true);
        let headers: HeaderMap = [(CONTENT_TYPE, HeaderValue::from_static(content_type)), (AUTHORIZATION, token)].into_iter().collect();
        let said = self.ask(&url, headers, body).await.map_err(Refused::from)?;
        let place = format!("{} ({method})", self.place());
        judge(&place, &said)
    }

    async fn ask(&self, url: &Url, headers: HeaderMap, body: Vec<u8>) -> Result<Said, Delivery> {
        let secrets = vec![self.token.as_str()];
        Ask { client: &self.client, url, headers, body, secrets }.send("Slack", self.clock.now()).await
    }

    async fn recall(&self, outgoing: &Outgoing, extras: &Extras) -> Result<Option<Posted>, Delivery> {
        let incident = &outgoing.message.incident;
        let own = self.posted.lock().unwrap_or_else(PoisonError::into_inner).get(incident).cloned();
        let kept = match (own, &extras.memory) {
            (Some(own), _) => Some(own),
            (None, Some(memory)) => memory.recall().await.map_err(|why| {
                let reason = format!("what was posted before cannot be read: {why}");
                Delivery::Retry { class: "server_error", reason, after: None }
            })?,
            (None, None) => None,
        };
        // What cannot be understood was written by a later version: a thread of its own is better than silence.
        Ok(kept.and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// Remembers, in this process and in the store; what the store does not take now it is given with the next message.
    async fn keep(&self, outgoing: &Outgoing, extras: &Extras, posted: Posted) -> Posted {
        let text = serde_json::to_string(&posted).unwrap_or_default();
        {
            let mut all = self.posted.lock().unwrap_or_else(PoisonError::into_inner);
            while all.len() >= REMEMBERED {
                // Ids begin with the time of their incident: the first is the oldest.
                all.pop_first();
            }
            all.insert(outgoing.message.incident.clone(), text.clone());
        }
        if let Some(memory) = &extras.memory
            && let Err(error) = memory.keep(&text).await
        {
            tracing::warn!(error, incident = outgoing.message.incident, "where a message stands in Slack could not be stored");
        }
        posted
    }
}

/// What tells a message that came twice: the id of the notification, invisible to people.
fn metadata(outgoing: &Outgoing) -> Json {
    let incident = &outgoing.message.incident;
    json!({"event_type": "plimsoll_notification", "event_payload": {"id": outgoing.id, "incident": incident, "seq": outgoing.message.seq}})
}

/// A call that was not done: Slack's word for it, if it said one, and what follows.
#[derive(Debug)]
struct Refused {
    word: String,
    delivery: Delivery,
}

impl Refused {
    fn into_delivery(self) -> Delivery {
        self.delivery
    }
}

impl From<Delivery> for Refused {
    fn from(delivery: Delivery) -> Self {
        Self { word: String::new(), delivery }
    }
}

/// What an answer means: Slack says 200 also when it refuses, and `ok` whether it did.
fn judge(place: &str, said: &Said) -> Result<Json, Refused> {
    let answer: Json = serde_json::from_slice(&said.body).unwrap_or_default();
    if answer["ok"] == json!(true) {
        return Ok(answer);
    }
    let Some(word) = answer["error"].as_str().map(|word| cut(&one_line(word), 80)) else {
        let reason = format!("{place} gave an answer that is not Slack's");
        return Err(Delivery::Retry { class: "server_error", reason, after: said.after }.into());
    };
    let needed = answer["needed"].as_str().map(|scope| format!(" (needs `{}`)", cut(&one_line(scope), 80))).unwrap_or_default();
    let hint = match word.as_str() {
        "not_in_channel" | "channel_not_found" => ": invite the app into the channel, or write the channel's id",
        _ => "",
    };
    let reason = format!("{place} refused: {word}{needed}{hint}");
    let delivery = if word == "ratelimited" || word == "rate_limited" {
        Delivery::Retry { class: "rate_limited", reason, after: said.after }
    } else if PASSING.contains(&word.as_str()) {
        Delivery::Retry { class: "server_error", reason, after: said.after }
    } else if AUTH.contains(&word.as_str()) {
        Delivery::GiveUp { class: "auth", reason }
    } else {
        Delivery::GiveUp { class: "client_error", reason }
    };
    Err(Refused { word, delivery })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(body: &str) -> Said {
        Said { body: body.as_bytes().to_vec(), after: Some(Duration::from_secs(7)) }
    }

    #[test]
    fn slack_says_200_and_means_what_is_in_it() {
        for (word, again, class) in [
            ("ratelimited", true, "rate_limited"),
            ("internal_error", true, "server_error"),
            ("invalid_auth", false, "auth"),
            ("missing_scope", false, "auth"),
            ("channel_not_found", false, "client_error"),
            ("is_archived", false, "client_error"),
            ("a_word_of_next_year", false, "client_error"),
        ] {
            let refused = judge("Slack", &said(&format!("{{\"ok\":false,\"error\":\"{word}\"}}"))).unwrap_err();
            let found = match &refused.delivery {
                Delivery::Retry { class, after, .. } => {
                    assert_eq!(*after, Some(Duration::from_secs(7)));
                    (true, *class)
                }
                Delivery::GiveUp { class, .. } => (false, *class),
                Delivery::Delivered(_) => panic!("{word}"),
            };
            assert_eq!((found, refused.word.as_str()), ((again, class), word));
        }
        assert_eq!(judge("Slack", &said("{\"ok\":true,\"ts\":\"1.2\"}")).unwrap()["ts"], "1.2");
        let strange = judge("Slack", &said("<html>")).unwrap_err();
        assert!(matches!(strange.delivery, Delivery::Retry { class: "server_error", .. }));
    }

    #[test]
    fn a_scope_that_is_missing_is_named() {
        let refused = judge("Slack", &said(r#"{"ok":false,"error":"missing_scope","needed":"files:write"}"#)).unwrap_err();
        assert!(format!("{refused:?}").contains("missing_scope (needs `files:write`)"));
    }
}
