//! One POST of one message: bounded in time, no redirects, the answer turned into `Delivery`. The address is a secret: it is named
//! by its host only, in results as well as in errors.

use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderMap, StatusCode};
use url::Url;

use super::Delivery;
use super::render::{cut, one_line};
use crate::model::units::Timestamp;
use crate::registry::{Context, Node, Secret};

/// Most bytes of an answer that are read.
const ANSWER_BYTES: usize = 4096;
/// Most bytes of an answer that says what became of a message.
const ANSWER_IN_FULL: usize = 1 << 20;
/// A value in the query of an address that is as long counts as a secret.
const SECRET_BYTES: usize = 16;
/// Most characters of an answer that are shown.
const ANSWER_CHARS: usize = 200;

/// Reads the address of a channel. Reports a missing or unusable one, without printing it.
pub(super) fn decode_url(node: &Node, key: &str, secret: Option<&Secret>, title: &str, cx: &mut Context<'_>) -> Option<Url> {
    let (plain, file) = (node.get(key), node.get(&format!("{key}_file")));
    let Some(place) = plain.or(file) else {
        let hint = format!("add `{key}:` or `{key}_file:`");
        cx.diagnostics.push("missing-key", node.span, format!("{title} lacks the key `{key}`"), hint);
        return None;
    };
    match Url::parse(secret?.expose().trim()) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Some(url),
        Ok(_) | Err(_) => {
            let hint = "write it whole: `https://host/path`";
            cx.diagnostics.push("bad-url", place.span, format!("`{key}` is not an http or https address"), hint);
            None
        }
    }
}

/// Host and port, for people; path, query and user stay secret.
pub(super) fn place(url: &Url) -> String {
    let host = url.host_str().unwrap_or("unknown host");
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// What to send.
pub(super) struct Post<'a> {
    pub(super) client: &'a reqwest::Client,
    pub(super) url: &'a Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    pub(super) timeout: Duration,
    /// What a receiver must not be quoted with, besides the address.
    pub(super) secrets: Vec<&'a str>,
}

impl Post<'_> {
    /// Makes one attempt; `what` names the receiver in the result, `now` is for Retry-After dates.
    pub(super) async fn send(self, what: &str, now: Timestamp) -> Delivery {
        let place = format!("{what} at {}", place(self.url));
        let patience = crate::model::units::format_duration(self.timeout);
        match tokio::time::timeout(self.timeout, self.attempt(&place, now)).await {
            Ok(delivery) => delivery,
            Err(_) => Delivery::Retry { class: "timeout", reason: format!("{place} did not answer within {patience}"), after: None },
        }
    }

    async fn attempt(self, place: &str, now: Timestamp) -> Delivery {
        let request = self.client.post(self.url.clone()).headers(self.headers).body(self.body);
        match request.send().await {
            Ok(mut answer) => {
                let status = answer.status();
                let after = answer.headers().get(http::header::RETRY_AFTER).and_then(|value| value.to_str().ok());
                let after = after.and_then(|text| retry_after(text, now));
                let body = if status.is_success() { String::new() } else { read(&mut answer).await };
                // A receiver may echo the address in its answer.
                let body = cut(&hide(&body, self.url, &self.secrets), ANSWER_CHARS);
                classify(status, after, &body, place)
            }
            Err(error) => {
                let class = if error.is_timeout() { "timeout" } else { "network" };
                Delivery::Retry {
                    class,
                    reason: format!("{place} cannot be reached: {}", hide(&chain(&error.without_url()), self.url, &self.secrets)),
                    after: None,
                }
            }
        }
    }
}

/// A question whose answer is read: for receivers that say in it what became of a message.
pub(super) struct Ask<'a> {
    pub(super) client: &'a reqwest::Client,
    pub(super) url: &'a Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    /// What a receiver must not be quoted with, besides the address.
    pub(super) secrets: Vec<&'a str>,
}

/// An answer of success.
#[derive(Debug)]
pub(super) struct Said {
    /// What stands in it, so many bytes at most.
    pub(super) body: Vec<u8>,
    /// Its Retry-After.
    pub(super) after: Option<Duration>,
}

impl Ask<'_> {
    /// Asks once; `what` names the receiver in errors, `now` is for Retry-After dates. The caller limits the time.
    pub(super) async fn send(self, what: &str, now: Timestamp) -> Result<Said, Delivery> {
        let place = format!("{what} at {}", place(self.url));
        let request = self.client.post(self.url.clone()).headers(self.headers).body(self.body);
        let mut answer = request.send().await.map_err(|error| {
            let class = if error.is_timeout() { "timeout" } else { "network" };
            let why = hide(&chain(&error.without_url()), self.url, &self.secrets);
            Delivery::Retry { class, reason: format!("{place} cannot be reached: {why}"), after: None }
        })?;
        let status = answer.status();
        let after = answer.headers().get(http::header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let after = after.and_then(|text| retry_after(text, now));
        if !status.is_success() {
            let body = cut(&hide(&read(&mut answer).await, self.url, &self.secrets), ANSWER_CHARS);
            return Err(classify(status, after, &body, &place));
        }
        let mut body = Vec::new();
        loop {
            match answer.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() <= ANSWER_IN_FULL => body.extend_from_slice(&chunk),
                Ok(Some(_) | None) => break,
                Err(error) => {
                    let why = hide(&chain(&error.without_url()), self.url, &self.secrets);
                    return Err(Delivery::Retry { class: "network", reason: format!("{place} broke off its answer: {why}"), after });
                }
            }
        }
        Ok(Said { body, after })
    }
}

/// The first bytes of an answer; what cannot be read is left out.
async fn read(answer: &mut reqwest::Response) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < ANSWER_BYTES {
        match answer.chunk().await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) | Err(_) => break,
        }
    }
    one_line(String::from_utf8_lossy(&bytes).trim()).trim().to_owned()
}

/// What an answer means: 408, 425, 429 and 5xx may pass, everything else but success will not.
fn classify(status: StatusCode, after: Option<Duration>, body: &str, place: &str) -> Delivery {
    if status.is_success() {
        return Delivery::Delivered(place.to_owned());
    }
    let said = if body.is_empty() { String::new() } else { format!(": {body}") };
    let reason = format!("{place} answered {status}{said}");
    match status.as_u16() {
        429 => Delivery::Retry { class: "rate_limited", reason, after },
        408 | 425 => Delivery::Retry { class: "timeout", reason, after },
        500.. => Delivery::Retry { class: "server_error", reason, after },
        401 | 403 => Delivery::GiveUp { class: "auth", reason },
        300..=399 => Delivery::GiveUp { class: "client_error", reason: format!("{reason}; redirects are not followed") },
        _ => Delivery::GiveUp { class: "client_error", reason },
    }
}

/// Reads a Retry-After: seconds, or a date.
fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(Timestamp(i64::try_from(date.as_micros()).ok()?).since(now))
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(&format!(": {next}"));
        }
        cause = error.source();
    }
    text
}

/// The text without anything of the address that may be secret, and without other secrets.
fn hide(text: &str, url: &Url, secrets: &[&str]) -> String {
    let mut text = text.replace(url.as_str(), "<address>");
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        text = text.replace(secret, "<secret>");
    }
    for secret in [url.path(), url.query().unwrap_or_default(), url.password().unwrap_or_default()] {
        if secret.len() > 1 {
            text = text.replace(secret, "<secret>");
        }
    }
    // A signature or key in the query, quoted by itself; short values are words such as a version.
    let raw = url.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('=').map(|(_, value)| value.to_owned()));
    let decoded = url.query_pairs().map(|(_, value)| value.into_owned());
    for value in raw.chain(decoded).filter(|value| value.len() >= SECRET_BYTES) {
        text = text.replace(&value, "<secret>");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_whether_trying_again_can_help() {
        for (status, retry, class) in [
            (400, false, "client_error"),
            (401, false, "auth"),
            (403, false, "auth"),
            (404, false, "client_error"),
            (410, false, "client_error"),
            (308, false, "client_error"),
            (408, true, "timeout"),
            (425, true, "timeout"),
            (429, true, "rate_limited"),
            (500, true, "server_error"),
            (503, true, "server_error"),
        ] {
            let (again, found) = match classify(StatusCode::from_u16(status).unwrap(), None, "no", "there") {
                Delivery::Retry { class, .. } => (true, class),
                Delivery::GiveUp { class, .. } => (false, class),
                Delivery::Delivered(_) => panic!("{status}"),
            };
            assert_eq!((again, found), (retry, class), "{status}");
        }
        assert_eq!(classify(StatusCode::ACCEPTED, None, "", "there"), Delivery::Delivered("there".into()));
    }

    #[test]
    fn reads_retry_after_in_seconds_and_as_a_date() {
        let now = Timestamp::parse("2026-11-21T02:00:00Z").unwrap();
        for (text, expected) in [
            ("30", Some(30)),
            (" 0 ", Some(0)),
            ("Sat, 21 Nov 2026 02:01:30 GMT", Some(90)),
            ("Sat, 21 Nov 2026 01:00:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ] {
            assert_eq!(retry_after(text, now), expected.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn an_address_is_named_by_its_host_only() {
        let url = Url::parse("https://user:hunter2@hooks.example.org:8443/services/T0/B0/xyz?key=abc").unwrap();
        assert_eq!(place(&url), "hooks.example.org:8443");
        let text = hide(
            "error for https://user:hunter2@hooks.example.org:8443/services/T0/B0/xyz?key=abc, /services/T0/B0/xyz, key=abc",
            &url,
            &[],
        );
        assert!(!text.contains("xyz") && !text.contains("abc"), "{text}");
    }

    #[test]
    fn neither_a_signature_nor_a_key_is_quoted() {
        let url = Url::parse("https://flow.example.org/invoke?api-version=2016-06-01&sig=abc%2Bdefghijklmnopq-9").unwrap();
        let text = hide("sig abc%2Bdefghijklmnopq-9 or abc+defghijklmnopq-9, key k1k1, version 2016-06-01", &url, &["k1k1", ""]);
        assert_eq!(text, "sig <secret> or <secret>, key <secret>, version 2016-06-01");
    }
}
