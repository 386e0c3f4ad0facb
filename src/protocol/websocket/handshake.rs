//! The opening handshake of a WebSocket (RFC 6455, 4.1): the upgrade request as bytes, the answer as it comes off the connection, and
//! whether that answer may be believed. Our own rather than tungstenite's, which refuses `Connection: keep-alive, Upgrade`, keeps no
//! more of a refusal than came with its head, and knows no cookies.

use bytes::BytesMut;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::frames::reason_of_io;
use crate::model::failure::Reason;

/// Largest head of an answer, bytes.
const MOST_HEAD: usize = 64 * 1024;
/// Most headers of an answer.
const MOST_HEADERS: usize = 128;
/// Bytes of a refusal's body that are read for people.
const SHOWN: usize = 1024;

/// An upgrade request, ready to be written, and what its answer must prove.
#[derive(Debug)]
pub(super) struct Upgrade<'r> {
    pub(super) head: Vec<u8>,
    accept: String,
    subprotocols: &'r [String],
}

/// The answer to an upgrade request.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    /// What came behind the head: the first frames, or the begin of a body.
    pub(super) rest: BytesMut,
}

impl<'r> Upgrade<'r> {
    /// Puts the request together; `Err` says what cannot be sent. `key` is random, in base 64.
    pub(super) fn new(
        authority: &str,
        path: &str,
        headers: &[(&str, &str)],
        subprotocols: &'r [String],
        key: &str,
    ) -> Result<Self, String> {
        let path = PathAndQuery::try_from(path).map_err(|error| format!("the path `{path}`: {error}"))?;
        let mut head = Vec::with_capacity(512);
        let mut line = |parts: &[&[u8]]| {
            for part in parts {
                head.extend_from_slice(part);
            }
            head.extend_from_slice(b"\r\n");
        };
        line(&[b"GET ", path.as_str().as_bytes(), b" HTTP/1.1"]);
        let is_given = |name: &str| headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name));
        if !is_given("host") {
            line(&[b"Host: ", authority.as_bytes()]);
        }
        line(&[b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ", key.as_bytes()]);
        if !subprotocols.is_empty() {
            line(&[b"Sec-WebSocket-Protocol: ", subprotocols.join(", ").as_bytes()]);
        }
        if !is_given("user-agent") {
            line(&[b"User-Agent: plimsoll/", env!("CARGO_PKG_VERSION").as_bytes()]);
        }
        for (name, value) in headers {
            let valid = HeaderName::try_from(*name).map_err(|_| format!("`{name}` is no name of a header"))?;
            HeaderValue::try_from(*value).map_err(|_| format!("the header `{valid}` has a character that may not be sent"))?;
            line(&[name.as_bytes(), b": ", value.as_bytes()]);
        }
        line(&[]);
        Ok(Self { head, accept: derive_accept_key(key.as_bytes()), subprotocols })
    }

    /// Whether the answer opens a WebSocket as it was asked for; `Err` says what is wrong with it.
    pub(super) fn verify(&self, answer: &Answer) -> Result<(), String> {
        let header = |name: HeaderName| answer.headers.get(name).and_then(|value| value.to_str().ok());
        if !header(header::UPGRADE).is_some_and(|value| value.eq_ignore_ascii_case("websocket")) {
            return Err("the answer does not upgrade to `websocket`".into());
        }
        if !has_token(&answer.headers, &header::CONNECTION, "upgrade") {
            return Err("the answer has no `Connection: Upgrade`".into());
        }
        if header(header::SEC_WEBSOCKET_ACCEPT) != Some(self.accept.as_str()) {
            return Err("`Sec-WebSocket-Accept` is not the answer to our key".into());
        }
        if answer.headers.contains_key(header::SEC_WEBSOCKET_EXTENSIONS) {
            return Err("the server uses an extension that was not offered".into());
        }
        match header(header::SEC_WEBSOCKET_PROTOCOL) {
            None if self.subprotocols.is_empty() => Ok(()),
            // As browsers do: who names subprotocols cannot go on without one.
            None => Err(format!("the server takes none of the subprotocols {}", self.subprotocols.join(", "))),
            Some(chosen) if self.subprotocols.iter().any(|offered| offered == chosen) => Ok(()),
            Some(chosen) => Err(format!("the server takes the subprotocol `{chosen}`, which was not offered")),
        }
    }
}

/// Whether one of the values of a header has this token in its list.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case(token))
}

impl Answer {
    /// Reads the head of an answer; answers before the answer (100, 103) are passed over.
    pub(super) async fn read(io: &mut (impl AsyncRead + Unpin)) -> Result<Self, (Reason, String)> {
        let mut bytes = BytesMut::with_capacity(1024);
        loop {
            if let Some(answer) = parse(&mut bytes)? {
                if answer.status == 101 || answer.status >= 200 {
                    return Ok(Self { rest: bytes, ..answer });
                }
                continue;
            }
            if bytes.len() > MOST_HEAD {
                return Err((Reason::Protocol, format!("the head of the answer is larger than {MOST_HEAD} bytes")));
            }
            match io.read_buf(&mut bytes).await {
                Ok(0) => return Err((Reason::ClosedEarly, "the connection was closed before the answer".into())),
                Ok(_) => {}
                Err(error) => return Err((reason_of_io(&error), error.to_string())),
            }
        }
    }

    /// The first bytes of a refusal's body, for people. What cannot be read is left out: the reason is known.
    pub(super) async fn body(&mut self, io: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
        let chunked = has_token(&self.headers, &header::TRANSFER_ENCODING, "chunked");
        let length = self.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let enough = |rest: &BytesMut| match length {
            Some(length) if !chunked => rest.len() >= SHOWN.min(length),
            _ => rest.len() >= SHOWN || (chunked && rest.ends_with(b"0\r\n\r\n")),
        };
        while !enough(&self.rest) && io.read_buf(&mut self.rest).await.is_ok_and(|read| read > 0) {}
        let shown = &self.rest[..self.rest.len().min(SHOWN)];
        if chunked { unchunked(shown) } else { shown[..shown.len().min(length.unwrap_or(SHOWN))].to_vec() }
    }
}

/// Takes the head of an answer off the bytes, if it is all there.
fn parse(bytes: &mut BytesMut) -> Result<Option<Answer>, (Reason, String)> {
    let mut lines = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut head = httparse::Response::new(&mut lines);
    let wrong = |error: &dyn std::fmt::Display| (Reason::Protocol, format!("the answer is not HTTP: {error}"));
    let httparse::Status::Complete(size) = head.parse(bytes).map_err(|error| wrong(&error))? else { return Ok(None) };
    let mut headers = HeaderMap::with_capacity(head.headers.len());
    for line in head.headers.iter() {
        let name = HeaderName::try_from(line.name).map_err(|error| wrong(&error))?;
        headers.append(name, HeaderValue::from_bytes(line.value).map_err(|error| wrong(&error))?);
    }
    let status = head.code.unwrap_or_default();
    drop(bytes.split_to(size));
    Ok(Some(Answer { status, headers, rest: BytesMut::new() }))
}

/// The text of a chunked body as far as it goes.
fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Ok(httparse::Status::Complete((line, size))) = httparse::parse_chunk_size(bytes) {
        let chunk = &bytes[line..];
        let size = usize::try_from(size).unwrap_or(usize::MAX).min(chunk.len());
        if size == 0 {
            break;
        }
        whole.extend_from_slice(&chunk[..size]);
        bytes = chunk[size..].strip_prefix(b"\r\n").unwrap_or_default();
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of RFC 6455, 1.3, and what it must be answered with.
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    async fn answer(text: &str) -> Result<Answer, (Reason, String)> {
        Answer::read(&mut text.as_bytes()).await
    }

    #[test]
    fn the_request_is_that_of_the_rfc() {
        let subprotocols = ["chat".to_owned(), "superchat".to_owned()];
        let headers = [("Origin", "http://example.com"), ("Cookie", "session=1")];
        let upgrade = Upgrade::new("server.example.com", "/chat?a=b", &headers, &subprotocols, KEY).unwrap();
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            String::from_utf8(upgrade.head).unwrap(),
            format!(
                "GET /chat?a=b HTTP/1.1\r\nHost: server.example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Protocol: chat, superchat\r\n\
                 User-Agent: plimsoll/{version}\r\nOrigin: http://example.com\r\nCookie: session=1\r\n\r\n"
            )
        );
        assert_eq!(upgrade.accept, ACCEPT);
    }

    #[test]
    fn own_headers_replace_ours_and_cannot_add_lines() {
        let upgrade = Upgrade::new("a", "/", &[("HOST", "b"), ("user-agent", "c")], &[], KEY).unwrap();
        let head = String::from_utf8(upgrade.head).unwrap();
        assert_eq!((head.matches("Host").count(), head.matches("User-Agent").count()), (0, 0), "{head}");
        for (path, headers, error) in [
            ("/", [("X-A", "1\r\nX-B: 2")], "the header `x-a` has a character that may not be sent"),
            ("/", [("X A", "1")], "`X A` is no name of a header"),
            ("/a b", [("X-A", "1")], "the path `/a b`: invalid uri character"),
        ] {
            assert_eq!(Upgrade::new("a", path, &headers, &[], KEY).unwrap_err(), error);
        }
    }

    #[tokio::test]
    async fn only_a_right_answer_opens_a_socket() {
        let right =
            format!("HTTP/1.1 101 X\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Accept: {ACCEPT}\r\n");
        let verdict = async |extra: &str, offered: &[String], from: &str, to: &str| {
            let answer = answer(&format!("{}{extra}\r\n", right.replace(from, to))).await.unwrap();
            Upgrade::new("a", "/", &[], offered, KEY).unwrap().verify(&answer)
        };
        assert_eq!(verdict("", &[], "", "").await, Ok(()));
        let v1 = ["v1".to_owned(), "v2".to_owned()];
        assert_eq!(verdict("Sec-WebSocket-Protocol: v2\r\n", &v1, "", "").await, Ok(()));
        for (extra, offered, from, to, error) in [
            ("", &[][..], "Accept: s", "Accept: S", "`Sec-WebSocket-Accept` is not the answer to our key"),
            ("", &[], "Sec-WebSocket-Accept", "X", "`Sec-WebSocket-Accept` is not the answer to our key"),
            ("", &[], "Upgrade: WebSocket", "Upgrade: h2c", "the answer does not upgrade to `websocket`"),
            ("", &[], ", Upgrade", "", "the answer has no `Connection: Upgrade`"),
            ("Sec-WebSocket-Extensions: permessage-deflate\r\n", &[], "", "", "the server uses an extension that was not offered"),
            ("", &v1, "", "", "the server takes none of the subprotocols v1, v2"),
            ("Sec-WebSocket-Protocol: v3\r\n", &v1, "", "", "the server takes the subprotocol `v3`, which was not offered"),
        ] {
            assert_eq!(verdict(extra, offered, from, to).await, Err(error.into()));
        }
    }

    #[tokio::test]
    async fn answers_are_read_to_their_end() {
        let early = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 101 X\r\nSet-Cookie: a=1\r\n\r\n\u{1}\u{2}";
        let opened = answer(early).await.unwrap();
        assert_eq!((opened.status, &opened.headers["set-cookie"], &opened.rest[..]), (101, &"a=1".parse().unwrap(), &b"\x01\x02"[..]));
        for (text, reason) in [
            ("", Reason::ClosedEarly),
            ("HTTP/1.1 101", Reason::ClosedEarly),
            ("SSH-2.0-OpenSSH_9.9\r\n\r\n", Reason::Protocol),
            (&format!("HTTP/1.1 101 X\r\n{}", "X-A: 1\r\n".repeat(10_000)), Reason::Protocol),
            (&format!("HTTP/1.1 101 X\r\nX-A: {}", "a".repeat(100_000)), Reason::Protocol),
        ] {
            assert_eq!(answer(text).await.unwrap_err().0, reason, "{text:.40}");
        }
    }

    #[tokio::test]
    async fn the_body_of_a_refusal_is_shown() {
        let whole = "HTTP/1.1 403 Forbidden\r\n";
        for (rest, shown) in [
            ("Content-Length: 4\r\n\r\nno!!HTTP/1.1", "no!!"),
            ("Transfer-Encoding: chunked\r\n\r\n3\r\nno \r\n5\r\nentry\r\n0\r\n\r\n", "no entry"),
            ("Transfer-Encoding: chunked\r\n\r\n30\r\ncut off", "cut off"),
            ("\r\nuntil the end", "until the end"),
            ("Content-Length: 100\r\n\r\ncut", "cut"),
            ("\r\n", ""),
        ] {
            let text = format!("{whole}{rest}");
            let mut io = text.as_bytes();
            let mut answer = Answer::read(&mut io).await.unwrap();
            assert_eq!(String::from_utf8(answer.body(&mut io).await).unwrap(), shown, "{rest}");
        }
    }
}
