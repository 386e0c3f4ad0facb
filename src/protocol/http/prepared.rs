//! Requests: what never changes of a step, encoded once, and what was rendered for one call. A call in which nothing was rendered goes
//! over the wire as the bytes that were prepared.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};
use tokio::time::Instant;

use super::coding::ACCEPTED;
use super::exchange::{Interest, Keep};
use super::http1::Message;
use crate::model::failure::Reason;
use crate::model::request::{Connections, Cookies, HttpOptions};
use crate::protocol::dial::{Broken, Origin};
use crate::protocol::redact::{secrets_of, shown};

/// What is known of a step's request before it is rendered.
#[derive(Debug)]
pub struct Outline<'a> {
    /// Upper-case method.
    pub method: &'a str,
    /// Scheme, host and port; the rest is not looked at.
    pub origin: &'a url::Url,
    /// Path and query, when they are always the same.
    pub path: Option<&'a str>,
    /// Headers that are always the same.
    pub headers: &'a [(String, String)],
    /// Names of the headers that every call brings.
    pub rendered: &'a [&'a str],
    /// The body, when it is always the same; empty: none.
    pub body: Bytes,
    /// What is kept of an answer.
    pub keep: Keep,
    /// Redirects that are followed; 0: a 3xx is the answer.
    pub redirects: u32,
    /// Longest time for the whole request, redirects included.
    pub timeout: Duration,
    /// How the scenario connects.
    pub options: &'a HttpOptions,
}

/// A request that is ready to be sent again and again.
#[derive(Debug)]
pub struct Prepared {
    pub(super) method: Method,
    pub(super) origin: Arc<Origin>,
    path: Option<String>,
    headers: Vec<Header>,
    /// `Host` and `:authority`; `None` when calls bring it.
    host: Option<HeaderValue>,
    /// A `Cookie` header is among the headers or comes with calls.
    pub(super) sets_cookie: bool,
    pub(super) body: Bytes,
    /// The lines of `Host` and of the headers.
    lines: Vec<u8>,
    /// Request line, headers and empty line of a call in which nothing is rendered.
    head: Option<Vec<u8>>,
    pub(super) interest: Interest,
    pub(super) redirects: u32,
    pub(super) timeout: Duration,
    /// Credentials that it sends: hidden wherever an answer repeats them.
    secrets: Vec<String>,
}

#[derive(Debug)]
struct Header {
    /// As the author wrote it.
    written: String,
    name: HeaderName,
    value: HeaderValue,
}

/// What was rendered for one request. `Call::default()` sends what was prepared.
#[derive(Debug, Clone, Copy, Default)]
pub struct Call<'a> {
    /// Now, when the caller has just looked.
    pub now: Option<Instant>,
    /// Another origin than the step's; the guard is asked about it.
    pub origin: Option<&'a Origin>,
    /// Path and query.
    pub path: Option<&'a str>,
    /// Further headers.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body.
    pub body: Option<&'a [u8]>,
}

/// Headers with credentials: not sent where a redirect leads, if that is another origin, nor from there on.
const CARRIERS: [&str; 6] = ["authorization", "proxy-authorization", "cookie", "x-api-key", "api-key", "x-auth-token"];
/// Headers that describe a body, and go with it.
const OF_BODY: [&str; 4] = ["content-type", "content-encoding", "content-language", "content-location"];

const NO_TRANSFER_ENCODING: &str = "`Transfer-Encoding` cannot be set: bodies are sent with their length";

fn is_one_of(name: &str, list: &[&str]) -> bool {
    list.iter().any(|known| name.eq_ignore_ascii_case(known))
}

impl Prepared {
    /// Checks and encodes; `Err` says what cannot be sent.
    pub fn new(outline: Outline<'_>) -> Result<Self, String> {
        let Outline { method, origin, path, headers, rendered, body, keep, redirects, timeout, options } = outline;
        let origin = Origin::of(origin).ok_or("the address has no host")?;
        let method: Method = method.parse().map_err(|_| format!("`{method}` is not a method"))?;
        let path = match path {
            Some(path) => Some(valid_path(path).ok_or_else(|| format!("`{path}` is not a path that can be sent"))?),
            None => None,
        };
        let brings = |name: &str| rendered.iter().any(|known| known.eq_ignore_ascii_case(name));
        if brings("transfer-encoding") {
            return Err(NO_TRANSFER_ENCODING.into());
        }
        let host = HeaderValue::try_from(origin.authority()).map_err(|_| "the host cannot be sent")?;
        let mut prepared = Self {
            method,
            origin: Arc::new(origin),
            path: path.map(str::to_owned),
            headers: Vec::new(),
            host: if brings("host") { None } else { Some(host) },
            sets_cookie: brings("cookie"),
            body,
            lines: Vec::new(),
            head: None,
            interest: Interest {
                body: keep.body,
                body_limit: usize::try_from(options.max_body).unwrap_or(usize::MAX),
                headers: keep.headers,
                for_jar: options.cookies != Cookies::None,
                location: redirects > 0,
            },
            redirects,
            timeout,
            secrets: secrets_of(headers.iter().map(|(name, value)| (name.as_str(), value.as_str()))),
        };
        prepared.take_headers(headers, rendered, options)?;
        prepared.encode_lines();
        if let Some(path) = prepared.path.as_deref().filter(|_| rendered.is_empty()) {
            let (origin, call) = (prepared.origin.clone(), Call::default());
            let leg = Leg {
                origin: &origin,
                path,
                method: &prepared.method,
                body: &prepared.body,
                foreign: false,
                bodiless: false,
                call: &call,
                cookie: None,
            };
            let mut head = Vec::new();
            prepared.encode(&leg, &mut head);
            prepared.head = Some(head);
        }
        Ok(prepared)
    }

    fn take_headers(&mut self, headers: &[(String, String)], rendered: &[&str], options: &HttpOptions) -> Result<(), String> {
        for (written, value) in headers {
            let name: HeaderName = written.parse().map_err(|_| format!("`{written}` is not the name of a header"))?;
            let value = HeaderValue::from_bytes(value.as_bytes())
                .map_err(|_| format!("the value of the header `{written}` has characters that cannot be sent"))?;
            if name == http::header::HOST {
                self.host = Some(value);
            } else if name == http::header::TRANSFER_ENCODING {
                return Err(NO_TRANSFER_ENCODING.into());
            } else if name != http::header::CONTENT_LENGTH {
                self.sets_cookie |= name == http::header::COOKIE;
                self.headers.push(Header { written: written.clone(), name, value });
            }
        }
        let mut unless_set = |name: HeaderName, written: &str, value: &'static str| {
            let set = self.headers.iter().any(|header| header.name == name) || is_one_of(name.as_str(), rendered);
            if !set {
                self.headers.push(Header { written: written.into(), name, value: HeaderValue::from_static(value) });
            }
        };
        unless_set(http::header::USER_AGENT, "User-Agent", concat!("plimsoll/", env!("CARGO_PKG_VERSION")));
        if options.compression {
            unless_set(http::header::ACCEPT_ENCODING, "Accept-Encoding", ACCEPTED);
        }
        if options.connections == Connections::PerRequest {
            unless_set(http::header::CONNECTION, "Connection", "close");
        }
        Ok(())
    }

    fn encode_lines(&mut self) {
        let mut lines = Vec::new();
        if let Some(host) = &self.host {
            push_line(&mut lines, "Host", host.as_bytes());
        }
        for header in &self.headers {
            push_line(&mut lines, &header.written, header.value.as_bytes());
        }
        self.lines = lines;
    }

    /// What goes where: the call as it is, or what a redirect has made of it. `Err` says what cannot be sent.
    pub(super) fn leg<'l>(&'l self, call: &'l Call<'l>, hop: Option<&'l Hop>) -> Result<Leg<'l>, Broken> {
        if let Some(hop) = hop {
            let body = if hop.bodiless { &[] } else { call.body.unwrap_or(&self.body) };
            return Ok(Leg {
                origin: &hop.origin,
                path: &hop.path,
                method: &hop.method,
                body,
                foreign: hop.foreign,
                bodiless: hop.bodiless,
                call,
                cookie: None,
            });
        }
        let unsendable = |what: &str, why: &str| Broken(Reason::Script(what.into()), format!("{what} {why}"));
        let path = match call.path {
            Some(path) => {
                valid_path(path).ok_or_else(|| unsendable("path", "has characters that cannot be sent, or does not begin with /"))?
            }
            None => self.path.as_deref().ok_or_else(|| unsendable("path", "was not rendered"))?,
        };
        if let Some((name, _)) = call.headers.iter().find(|(_, value)| !is_field_value(value.as_bytes())) {
            return Err(unsendable(&format!("header {name}"), "has characters that cannot be sent"));
        }
        let body = call.body.unwrap_or(&self.body);
        Ok(Leg {
            origin: call.origin.unwrap_or(&self.origin),
            path,
            method: &self.method,
            body,
            foreign: false,
            bodiless: false,
            call,
            cookie: None,
        })
    }

    /// The request as HTTP/1.1 says it; `buffer` is used unless it is the one that was prepared.
    pub(super) fn message<'m>(&'m self, leg: &Leg<'m>, buffer: &'m mut Vec<u8>) -> Message<'m> {
        let is_head = leg.method == Method::HEAD;
        if leg.is_as_prepared(self)
            && let Some(head) = &self.head
        {
            return Message { head, body: leg.body, is_head };
        }
        buffer.clear();
        self.encode(leg, buffer);
        Message { head: buffer, body: leg.body, is_head }
    }

    fn encode(&self, leg: &Leg<'_>, head: &mut Vec<u8>) {
        for piece in [leg.method.as_str(), " ", leg.path, " HTTP/1.1\r\n"] {
            head.extend_from_slice(piece.as_bytes());
        }
        if *leg.origin == *self.origin && !leg.bodiless && (leg.cookie.is_none() || !self.sets_cookie) {
            head.extend_from_slice(&self.lines);
            leg.call.headers.iter().for_each(|(name, value)| push_line(head, name, value.as_bytes()));
        } else {
            if let Some(host) = self.host_for(leg) {
                push_line(head, "Host", host.as_bytes());
            }
            self.headers_of(leg).for_each(|(name, value)| push_line(head, name, value));
        }
        if let Some(cookie) = leg.cookie {
            push_line(head, "Cookie", cookie.as_bytes());
        }
        if !leg.body.is_empty() || matches!(*leg.method, Method::POST | Method::PUT | Method::PATCH) {
            head.extend_from_slice(b"Content-Length: ");
            push_number(head, leg.body.len());
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
    }

    /// `Host` and `:authority` of a leg; `None`: a header of the call says it.
    pub(super) fn host_for(&self, leg: &Leg<'_>) -> Option<HeaderValue> {
        if *leg.origin == *self.origin {
            return self.host.clone();
        }
        HeaderValue::try_from(leg.origin.authority()).ok()
    }

    /// The headers of a leg but for host, cookies of the jar and length: without credentials for another origin, and without what
    /// describes a body that is not sent.
    pub(super) fn headers_of<'l>(&'l self, leg: &'l Leg<'l>) -> impl Iterator<Item = (&'l str, &'l [u8])> {
        let own = self.headers.iter().map(|header| (header.written.as_str(), header.value.as_bytes()));
        let brought = leg.call.headers.iter().map(|(name, value)| (*name, value.as_bytes()));
        let other_host = *leg.origin != *self.origin;
        own.chain(brought).filter(move |(name, _)| {
            !(leg.foreign && is_one_of(name, &CARRIERS)
                || leg.bodiless && is_one_of(name, &OF_BODY)
                || leg.cookie.is_some() && name.eq_ignore_ascii_case("cookie")
                || other_host && name.eq_ignore_ascii_case("host"))
        })
    }

    /// The `Cookie` header that the author has set, for this leg.
    pub(super) fn own_cookie<'l>(&'l self, leg: &'l Leg<'l>) -> Option<&'l str> {
        let (_, value) = self.headers_of(leg).find(|(name, _)| self.sets_cookie && name.eq_ignore_ascii_case("cookie"))?;
        std::str::from_utf8(value).ok()
    }

    /// True when asking twice does no harm (RFC 9110, 9.2.2): after a kept connection broke, only such a request is asked again
    /// although it may have arrived.
    pub(super) fn is_idempotent(&self) -> bool {
        self.method.is_idempotent()
    }

    /// The status and the first characters of a failed answer's body, on one line, secrets redacted, also those of the call.
    pub fn message_of(&self, status: u16, body: &[u8], call: &Call<'_>) -> String {
        let mut secrets = secrets_of(call.headers.iter().copied());
        secrets.extend_from_slice(&self.secrets);
        let text = shown(body, &secrets);
        if text.is_empty() { format!("status {status}") } else { format!("status {status}: {text}") }
    }
}

/// What a redirect has made of a call.
#[derive(Debug)]
pub(super) struct Hop {
    pub(super) origin: Origin,
    pub(super) path: String,
    pub(super) method: Method,
    /// Another origin than the author's has been on the way.
    pub(super) foreign: bool,
    /// The body is not sent again.
    pub(super) bodiless: bool,
}

/// A request as it goes to one origin.
#[derive(Clone, Copy)]
pub(super) struct Leg<'a> {
    pub(super) origin: &'a Origin,
    pub(super) path: &'a str,
    pub(super) method: &'a Method,
    pub(super) body: &'a [u8],
    /// A redirect has led it to another origin than the author's, or over one.
    pub(super) foreign: bool,
    pub(super) bodiless: bool,
    pub(super) call: &'a Call<'a>,
    /// Value of the `Cookie` header, when the jar has something to say.
    pub(super) cookie: Option<&'a str>,
}

impl Leg<'_> {
    fn is_as_prepared(&self, request: &Prepared) -> bool {
        let call = self.call;
        std::ptr::eq(self.origin, &raw const *request.origin)
            && self.cookie.is_none()
            && call.path.is_none()
            && call.headers.is_empty()
            && call.body.is_none()
    }

    /// `Host`, when the call brings it.
    pub(super) fn brought_host(&self) -> Option<&str> {
        self.call.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("host")).map(|(_, value)| *value)
    }

    /// The body as it was prepared, when it is that.
    pub(super) fn shared_body(&self, request: &Prepared) -> Bytes {
        if self.call.body.is_none() && !self.bodiless { request.body.clone() } else { Bytes::copy_from_slice(self.body) }
    }
}

fn push_line(lines: &mut Vec<u8>, name: &str, value: &[u8]) {
    for piece in [name.as_bytes(), b": ", value, b"\r\n"] {
        lines.extend_from_slice(piece);
    }
}

fn push_number(text: &mut Vec<u8>, number: usize) {
    if number >= 10 {
        push_number(text, number / 10);
    }
    text.push(b'0' + (number % 10) as u8);
}

/// A path and query without its fragment, if it can stand in a request line.
fn valid_path(path: &str) -> Option<&str> {
    let path = path.split('#').next().unwrap_or_default();
    let starts = path.starts_with('/') || path == "*";
    (starts && path.bytes().all(|byte| byte.is_ascii_graphic())).then_some(path)
}

/// Whether these bytes can be the value of a header (RFC 9110, 5.5).
fn is_field_value(value: &[u8]) -> bool {
    value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~' | 0x80..))
}

/// Reads a rendered address: a whole one gives its origin, any other stays with the step's.
pub fn address(text: &str) -> Result<(Option<Origin>, String), String> {
    if text.starts_with('/') {
        return Ok((None, text.to_owned()));
    }
    if !text.contains("://") {
        return Ok((None, format!("/{text}")));
    }
    let url = url::Url::parse(text).map_err(|error| format!("`{text}` is not an address: {error}"))?;
    let origin = Origin::of(&url).filter(|_| matches!(url.scheme(), "http" | "https"));
    let origin = origin.ok_or_else(|| format!("`{text}` is not an address of http or https"))?;
    Ok((Some(origin), url[url::Position::BeforePath..url::Position::AfterQuery].to_owned()))
}

#[cfg(test)]
#[path = "prepared_tests.rs"]
mod tests;
