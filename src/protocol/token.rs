//! Tokens for client credentials (OAuth 2, RFC 6749, 4.4): one request to the token endpoint, over the target's own dialer, so that
//! the guard is asked; and when the next one is due. Who hands the tokens to the VUs is the caller's affair. No secret is ever told.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use tokio::time::sleep;
use url::form_urlencoded;

use super::dial::{Broken, Dialer};
use super::http::{Call, HttpClient, HttpPool, Keep, Outline, Prepared};
use super::redact::shown;
use crate::model::failure::Reason;
use crate::model::request::{Connections, Cookies, Hidden, HttpOptions, HttpVersion, TokenSource};

/// How long a token endpoint may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Largest answer of a token endpoint, bytes.
const MOST_ANSWER: u64 = 64 * 1024;
/// A token is asked for again when this part of its life is left …
const LEFT: u32 = 5;
/// … but not earlier than so long before its end.
const EARLIEST: Duration = Duration::from_secs(60);
/// Least time between two requests, however short tokens live.
const LEAST: Duration = Duration::from_secs(1);
/// Longest wait between attempts that failed.
const LONGEST: Duration = Duration::from_secs(60);

/// A token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// What goes behind `Bearer`.
    pub value: Hidden<String>,
    /// How long it is good, counted from now; `None`: the endpoint does not say.
    pub expires_after: Option<Duration>,
}

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenFailure {
    /// The one reason.
    pub reason: Reason,
    /// In plain words, with the endpoint, without secrets.
    pub message: String,
    /// True when asking again will hardly help: the client is refused, the endpoint is not allowed.
    pub lasting: bool,
}

impl fmt::Display for TokenFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Asks one token endpoint, again and again; each time over a new connection, because it is asked seldom. Lives on one thread.
pub struct TokenFetcher {
    client: HttpClient,
    request: Prepared,
    /// The endpoint, for people.
    place: String,
    /// What an answer must not give away.
    secrets: Vec<String>,
}

impl TokenFetcher {
    /// For client credentials; `Err` says what cannot be asked. A login flow is walked by a VU, not fetched.
    pub fn new(source: &TokenSource, dialer: &Dialer) -> Result<Self, String> {
        let TokenSource::ClientCredentials { token_url, client_id, client_secret: Hidden(secret), scope, audience, in_body } = source
        else {
            return Err("a login flow has no token endpoint".into());
        };
        let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        for (name, value) in [("scope", scope), ("audience", audience)] {
            form.extend_pairs(value.iter().map(|value| (name, value)));
        }
        // RFC 6749, 2.3.1: both are encoded as in a form before they are put together.
        let pair = BASE64_STANDARD.encode(format!("{}:{}", encoded(client_id), encoded(secret)));
        let mut headers = vec![("Accept", "application/json".to_owned()), ("Content-Type", "application/x-www-form-urlencoded".to_owned())];
        if *in_body {
            form.append_pair("client_id", client_id).append_pair("client_secret", secret);
        } else {
            headers.push(("Authorization", format!("Basic {pair}")));
        }
        let headers: Vec<(String, String)> = headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let options = HttpOptions {
            version: HttpVersion::Http1,
            connections: Connections::PerRequest,
            cookies: Cookies::None,
            max_body: MOST_ANSWER,
            ..HttpOptions::default()
        };
        let request = Prepared::new(Outline {
            method: "POST",
            origin: token_url,
            path: Some(&token_url[url::Position::BeforePath..url::Position::AfterQuery]),
            headers: &headers,
            rendered: &[],
            body: form.finish().into(),
            keep: Keep { body: true, ..Keep::default() },
            // A secret goes where it was meant to go.
            redirects: 0,
            timeout: PATIENCE,
            options: &options,
        })?;
        Ok(Self {
            client: HttpClient::new(HttpPool::new(dialer, &options)),
            request,
            place: format!("{}://{}", token_url.scheme(), &token_url[url::Position::BeforeHost..url::Position::AfterPath]),
            secrets: [secret.clone(), encoded(secret), pair].into_iter().filter(|secret| !secret.is_empty()).collect(),
        })
    }

    /// Asks once.
    pub async fn fetch(&mut self) -> Result<Token, TokenFailure> {
        let exchange = self.client.send(&self.request, Call::default()).await;
        let fetched = match (exchange.outcome.failure, exchange.status) {
            (None, Some(200)) => self.granted(&exchange.body),
            (None, status) => Err(self.refused(status.unwrap_or_default(), &exchange.body)),
            (Some(reason), _) => Err(Broken(reason, exchange.outcome.message.unwrap_or_default())),
        };
        fetched.map_err(|Broken(reason, text)| {
            let refused = matches!(reason, Reason::Status(status) if (400..500).contains(&status) && !matches!(status, 408 | 425 | 429));
            let lasting = refused || reason == Reason::BlockedByGuard;
            TokenFailure { reason, message: format!("no token from {}: {text}", self.place), lasting }
        })
    }

    /// RFC 6749, 5.1.
    fn granted(&self, body: &[u8]) -> Result<Token, Broken> {
        let wrong = |what: &str| Broken(Reason::Protocol, what.into());
        let answer: Value = serde_json::from_slice(body).map_err(|_| wrong("the answer is not JSON"))?;
        let value = answer["access_token"].as_str().ok_or_else(|| wrong("the answer has no `access_token`"))?;
        if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(wrong("`access_token` has a character that may not stand in a header, or none at all"));
        }
        if let Some(kind) = answer["token_type"].as_str().filter(|kind| !kind.eq_ignore_ascii_case("bearer")) {
            return Err(wrong(&format!("`token_type` is `{}`; only Bearer is understood", shown(kind.as_bytes(), &self.secrets))));
        }
        let told = answer.get("expires_in").filter(|told| !told.is_null());
        let expires_after = told.map(|told| seconds(told).ok_or_else(|| wrong("`expires_in` is no number of seconds"))).transpose()?;
        Ok(Token { value: Hidden(value.to_owned()), expires_after })
    }

    /// RFC 6749, 5.2; of another answer the first characters.
    fn refused(&self, status: u16, body: &[u8]) -> Broken {
        let answer: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = match answer["error"].as_str() {
            Some(error) => [error, answer["error_description"].as_str().unwrap_or_default()].join(" ").into_bytes(),
            None => body.to_vec(),
        };
        Broken(Reason::Status(status), format!("status {status}: {}", shown(&text, &self.secrets)).trim_end_matches([' ', ':']).to_owned())
    }
}

fn seconds(told: &Value) -> Option<Duration> {
    let seconds = told.as_f64().or_else(|| told.as_str()?.trim().parse().ok())?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// When a token is asked for again: while a fifth of its life is left, at most a minute before its end.
pub fn renew_after(expires_after: Duration) -> Duration {
    expires_after.saturating_sub((expires_after / LEFT).min(EARLIEST)).max(LEAST)
}

/// How long to wait after so many failures in a row (1, 2, 4 … seconds, at most a minute); a lasting one is tried again seldom.
pub fn retry_after(failures: u32, lasting: bool) -> Duration {
    if lasting { LONGEST } else { LEAST.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST) }
}

/// Keeps a token fresh: fetches, tells, waits, for ever. `tell` hears every token and every failure; while there is none, the token
/// before is still good as long as it said. Ends when a token does not say how long it is good: then it is good for the run.
pub async fn keep(mut fetch: impl AsyncFnMut() -> Result<Token, TokenFailure>, mut tell: impl FnMut(Result<Token, TokenFailure>)) {
    let mut failures = 0_u32;
    loop {
        let fetched = fetch().await;
        let wait = match &fetched {
            Ok(token) => {
                failures = 0;
                token.expires_after.map(renew_after)
            }
            Err(failure) => {
                failures = failures.saturating_add(1);
                Some(retry_after(failures, failure.lasting))
            }
        };
        tell(fetched);
        match wait {
            Some(wait) => sleep(wait).await,
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use tokio::time::Instant;

    use super::*;

    fn token(expires_after: Option<u64>) -> Token {
        Token { value: Hidden("t".into()), expires_after: expires_after.map(Duration::from_secs) }
    }

    fn failure(lasting: bool) -> TokenFailure {
        TokenFailure { reason: Reason::Status(503), message: "no token".into(), lasting }
    }

    #[test]
    fn a_token_is_renewed_before_its_end_and_failures_back_off() {
        for (life_ms, after_ms) in [(3_600_000, 3_540_000), (300_000, 240_000), (60_000, 48_000), (5000, 4000), (1000, 1000), (0, 1000)] {
            assert_eq!(renew_after(Duration::from_millis(life_ms)).as_millis(), after_ms, "{life_ms}");
        }
        let waits: Vec<u64> = (1..=8).map(|failures| retry_after(failures, false).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!((retry_after(u32::MAX, false).as_secs(), retry_after(1, true).as_secs()), (60, 60));
    }

    #[tokio::test(start_paused = true)]
    async fn keeping_asks_in_time_and_again_after_failures() {
        let script = [
            Ok(token(Some(100))),
            Err(failure(false)),
            Err(failure(false)),
            Err(failure(true)),
            Ok(token(Some(5))),
            Err(failure(false)),
            Ok(token(None)),
        ];
        let (began, mut answers) = (Instant::now(), script.into_iter());
        let (asked, told) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
        let fetch = async || {
            asked.borrow_mut().push(began.elapsed().as_secs());
            answers.next().unwrap()
        };
        keep(fetch, |news| told.borrow_mut().push(news.is_ok())).await;
        // 100 s of life: after 80. Failures: 1 and 2 s, a lasting one 60. 5 s: after 4. The count of failures began anew.
        assert_eq!(*asked.borrow(), [0, 80, 81, 83, 143, 147, 148]);
        assert_eq!(*told.borrow(), [true, false, false, false, true, false, true]);
    }

    #[test]
    fn seconds_come_as_numbers_and_texts() {
        for (told, ms) in
            [("3600", Some(3_600_000)), ("1.5", Some(1500)), ("\"60\"", Some(60_000)), ("-1", None), ("\"soon\"", None), ("1e300", None)]
        {
            let told = serde_json::from_str(told).unwrap();
            assert_eq!(seconds(&told).map(|time| time.as_millis()), ms, "{told}");
        }
    }
}
