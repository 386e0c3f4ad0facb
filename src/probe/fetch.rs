//! One page of text over HTTP, for the probes that read pages: an address that is shown without secrets, headers, a time limit, a size.
//! Redirects are those of the program's client; whatever does not come as asked for has a reason.

use std::fmt;
use std::time::Duration;

use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value as Json, json};

use super::ProbeError;
use crate::model::units::{format_bytes, format_duration};
use crate::registry::{ByteSize, Context, Decode, Named, Node, Secret, WebUrl};

/// Longest part of an answer that is shown when it was not what was asked for, in characters.
const SHOWN: usize = 200;

/// The address of a page. Shown without user, password and query.
#[derive(Clone, PartialEq, Eq)]
pub struct PageUrl(pub(super) url::Url);

impl PageUrl {
    /// Wraps an address.
    pub fn new(url: url::Url) -> Self {
        Self(url)
    }
}

impl fmt::Display for PageUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.0.clone();
        shown.set_query(None);
        shown.set_fragment(None);
        // Both fail for addresses without a host only; those were refused when the configuration was read.
        let _ = shown.set_username("");
        let _ = shown.set_password(None);
        f.write_str(shown.as_str())
    }
}

impl fmt::Debug for PageUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

impl Decode for PageUrl {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        WebUrl::decode(node, cx).map(|url| Self(url.0))
    }
    fn schema() -> Json {
        WebUrl::schema()
    }
}

/// Headers of a request; their values are treated as secrets.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Headers(pub(super) HeaderMap);

impl Decode for Headers {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let named = Named::<Secret>::decode(node, cx)?;
        let mut headers = HeaderMap::new();
        for (name, value) in named.iter() {
            match (HeaderName::from_bytes(name.value.as_bytes()), HeaderValue::from_str(value.expose())) {
                (Ok(key), Ok(mut value)) => {
                    value.set_sensitive(true);
                    headers.append(key, value);
                }
                _ => cx.diagnostics.push(
                    "bad-header",
                    name.span,
                    format!("`{}` is not a header that can be sent", name.value),
                    "a header's name has letters, digits and `-`; its value has no line breaks",
                ),
            }
        }
        Some(Self(headers))
    }
    fn schema() -> Json {
        json!({"type": "object", "additionalProperties": Secret::schema()})
    }
}

impl Headers {
    /// With a token, unless `authorization` is given already.
    #[must_use]
    pub(super) fn with_bearer(&self, token: Option<&Secret>) -> HeaderMap {
        let mut headers = self.0.clone();
        if let Some(token) = token
            && let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
        {
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        headers
    }
}

/// How a page is asked for.
#[derive(Debug, Clone)]
pub(super) struct Fetch {
    /// The program's client.
    pub(super) http: reqwest::Client,
    /// Sent with the request.
    pub(super) headers: HeaderMap,
    /// For the whole answer.
    pub(super) timeout: Duration,
    /// Largest answer.
    pub(super) max_size: ByteSize,
}

impl Fetch {
    /// The text of a page.
    pub(super) async fn text(&self, url: &PageUrl) -> Result<String, ProbeError> {
        self.limited(url, self.http.get(url.0.clone())).await
    }

    /// The answer to a form, whatever it asks for.
    pub(super) async fn post(&self, url: &PageUrl, form: String) -> Result<String, ProbeError> {
        let request = self.http.post(url.0.clone()).header(http::header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        self.limited(url, request.body(form)).await
    }

    async fn limited(&self, url: &PageUrl, request: reqwest::RequestBuilder) -> Result<String, ProbeError> {
        match tokio::time::timeout(self.timeout, self.answer(url, request)).await {
            Ok(text) => text,
            Err(_) => {
                let detail = format!("{url} did not answer within {}", format_duration(self.timeout));
                Err(ProbeError { reason: "timeout", detail })
            }
        }
    }

    async fn answer(&self, url: &PageUrl, request: reqwest::RequestBuilder) -> Result<String, ProbeError> {
        let mut answer = request.headers(self.headers.clone()).send().await.map_err(|error| network(url, error))?;
        if answer.status() != reqwest::StatusCode::OK {
            return Err(ProbeError { reason: "status", detail: format!("{url} answered {}", answer.status()) });
        }
        let most = usize::try_from(self.max_size.0).unwrap_or(usize::MAX);
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| network(url, error))? {
            if body.len() + chunk.len() > most {
                let size = format_bytes(self.max_size.0 as f64);
                return Err(ProbeError { reason: "parse", detail: format!("{url} answered more than {size} (`max_size`)") });
            }
            body.extend_from_slice(&chunk);
        }
        String::from_utf8(body).map_err(|_| ProbeError { reason: "parse", detail: format!("{url} did not answer with UTF-8 text") })
    }
}

/// The beginning of a text in one line, for messages.
pub(super) fn beginning(text: &str) -> String {
    let line: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN).collect();
    if text.trim().chars().count() > SHOWN { format!("{line} …") } else { line }
}

/// What went wrong on the way, without the address that reqwest would print (it may hold secrets).
fn network(url: &PageUrl, error: reqwest::Error) -> ProbeError {
    let reason = if error.is_timeout() {
        "timeout"
    } else if error.is_decode() {
        "parse"
    } else {
        "connect"
    };
    let error = error.without_url();
    let mut detail = format!("{url}: {error}");
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        detail.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    ProbeError { reason, detail }
}
