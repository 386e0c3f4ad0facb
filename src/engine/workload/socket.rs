//! WebSocket steps: opens a socket, says and hears messages on the innermost one, closes it. While a VU thinks, its sockets are kept alive.

use std::pin::Pin;

use tokio::time::Instant;

use super::flight::{Flight, Landing};
use super::http::{authorize, no_headers};
use super::ready::{ReadyConnect, ReadyExchange, ReadyParting};
use super::{FlowVu, FlowWorkload};
use crate::engine::ground::Tokens;
use crate::flow::Script;
use crate::flow::answer::Answer;
use crate::flow::check::Wanted;
use crate::flow::scope::Scope;
use crate::model::failure::Reason;
use crate::model::measure::Outcome;
use crate::model::request::{Message, SocketParting};
use crate::protocol::dial::Origin;
use crate::protocol::http::address;
use crate::protocol::websocket::{Leaving, MOST_REASON, Opening, Payload, Socket};

/// Does something else while all sockets are kept alive.
pub(super) async fn keeping<T>(sockets: &mut [(u16, Socket)], other: impl Future<Output = T>) -> T {
    match sockets {
        [] => other.await,
        [(_, only)] => only.during(other).await,
        [(_, outer), inner @ ..] => {
            let inner: Pin<Box<dyn Future<Output = T>>> = Box::pin(keeping(inner, other));
            outer.during(inner).await
        }
    }
}

/// Does something with a VU while its sockets, laid aside for so long, are kept alive.
pub(super) async fn beside<T>(vu: &mut FlowVu, other: impl AsyncFnOnce(&mut FlowVu) -> T) -> T {
    let mut sockets = std::mem::take(&mut vu.sockets);
    let done = keeping(&mut sockets, other(vu)).await;
    sockets.append(&mut vu.sockets);
    vu.sockets = sockets;
    done
}

/// Adds the cookies of the jar to the headers of an opening: a request has one `Cookie` header (RFC 6265, 5.4), the author's before them.
fn add_cookies(headers: &mut Vec<(String, String)>, cookies: Option<String>) {
    let Some(cookies) = cookies else { return };
    match headers.iter_mut().find(|(name, _)| name.eq_ignore_ascii_case("cookie")) {
        Some((_, own)) => {
            own.push_str("; ");
            own.push_str(&cookies);
        }
        None => headers.push(("cookie".into(), cookies)),
    }
}

/// An opening, filled in.
struct Filled {
    origin: Origin,
    path: String,
    headers: Vec<(String, String)>,
}

/// The address as it is connected to: `wss://…` is a request to `https://…`.
fn web_address(text: &str) -> String {
    let rest = text.strip_prefix("ws").filter(|rest| rest.starts_with("://") || rest.starts_with("s://"));
    rest.map_or_else(|| text.to_owned(), |rest| format!("http{rest}"))
}

fn fill(step: &ReadyConnect, scope: &mut Scope, tokens: &Tokens) -> Result<Filled, Script> {
    let mut path = String::new();
    scope.render(&step.path, &mut path)?;
    let mut origin = None;
    if step.anywhere {
        (origin, path) = address(&web_address(&path)).map_err(Script)?;
    }
    let mut headers = Vec::with_capacity(step.headers.len() + 1);
    for (name, template) in &step.headers {
        let mut value = String::new();
        scope.render(template, &mut value)?;
        headers.push((name.clone(), value));
    }
    if let Some(auth) = &step.auth {
        let mut value = String::new();
        authorize(auth, scope, tokens, &mut value)?;
        headers.push(("authorization".into(), value));
    }
    Ok(Filled { origin: origin.unwrap_or_else(|| step.origin.clone()), path, headers })
}

impl FlowWorkload {
    /// Opens the socket of a session.
    pub(super) async fn connect(&self, vu: &mut FlowVu, index: u16, step: &ReadyConnect, intended: Instant) -> Landing {
        let mut flight = Flight::new(self, index, &step.judge, intended);
        let Filled { origin, path, mut headers } = match flight.expect(&mut vu.scope).and_then(|()| fill(step, &mut vu.scope, &self.tokens))
        {
            Ok(filled) => filled,
            Err(script) => return flight.not_sent(script),
        };
        add_cookies(&mut headers, vu.http.cookies_for(&origin, &path));
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let opening = Opening {
            origin: &origin,
            path: &path,
            headers: &headers,
            subprotocols: &step.subprotocols,
            max_message: usize::try_from(self.options.max_body).unwrap_or(usize::MAX),
            timeout: step.timeout,
        };
        let mut opened = Socket::open(&self.dialer, &opening).await;
        let ended = Instant::now();
        vu.http.keep_cookies(&origin, &path, &opened.headers);
        let outcome = std::mem::take(&mut opened.outcome);
        let Some(socket) = opened.socket.take() else { return flight.crash(&outcome, ended) };
        vu.sockets.push((index, socket));
        let duration = outcome.phases.service_time();
        let answer = Answer { status: opened.status, grpc_status: None, duration, headers: &opened.headers, set_cookies: &[], body: &[] };
        flight.land(outcome, ended, &answer, &mut vu.scope, || None)
    }

    /// Says and hears something on the innermost socket.
    pub(super) async fn exchange(&self, vu: &mut FlowVu, index: u16, step: &ReadyExchange, intended: Instant) -> Landing {
        let mut flight = Flight::new(self, index, &step.judge, intended);
        let mut text = String::new();
        let filled = flight.expect(&mut vu.scope).and_then(|()| {
            say(step.send.as_ref(), &mut vu.scope, &mut text)?;
            step.expect.as_ref().map_or_else(|| Ok(Wanted::default()), |expect| expect.wanted(&mut vu.scope))
        });
        let awaited = match filled {
            Ok(awaited) => awaited,
            Err(script) => return flight.not_sent(script),
        };
        let Some((_, socket)) = vu.sockets.last_mut() else { return flight.crash(&not_open(), Instant::now()) };
        let mut wanted = step.expect.as_ref().map(|expect| |message: &[u8]| expect.is_met_by(message, &awaited));
        let wanted = wanted.as_mut().map(|wanted| wanted as &mut dyn FnMut(&[u8]) -> bool);
        let heard = socket.exchange(payload(step.send.as_ref(), &text), wanted, step.timeout).await;
        let ended = Instant::now();
        if heard.outcome.failure.is_some() {
            return flight.crash(&heard.outcome, ended);
        }
        let duration = heard.outcome.phases.service_time();
        let (headers, body) = (no_headers(), heard.message.unwrap_or_default());
        let answer = Answer { status: None, grpc_status: None, duration, headers: &headers, set_cookies: &[], body: &body };
        flight.land(heard.outcome, ended, &answer, &mut vu.scope, || None)
    }

    /// Closes the innermost socket, or waits until the server does.
    pub(super) async fn part(&self, vu: &mut FlowVu, index: u16, step: &ReadyParting, intended: Instant) -> Landing {
        let flight = Flight::new(self, index, &step.judge, intended);
        let mut text = String::new();
        let filled = match &step.parting {
            SocketParting::Close { reason, .. } => vu.scope.render(reason, &mut text).and_then(|()| {
                let fits = text.len() <= MOST_REASON;
                fits.then_some(()).ok_or_else(|| Script(format!("the reason of `close` is longer than {MOST_REASON} bytes")))
            }),
            SocketParting::Closed { send, .. } => say(send.as_ref(), &mut vu.scope, &mut text),
        };
        if let Err(script) = filled {
            return flight.not_sent(script);
        }
        let Some((_, socket)) = vu.sockets.last_mut() else { return flight.crash(&not_open(), Instant::now()) };
        let outcome = match &step.parting {
            SocketParting::Close { code, .. } => socket.leave(Leaving { code: *code, reason: &text, step: &step.name }, step.timeout).await,
            SocketParting::Closed { send, codes } => socket.hear_out(payload(send.as_ref(), &text), codes, step.timeout).await,
        };
        let ended = Instant::now();
        if outcome.failure.is_some() {
            return flight.crash(&outcome, ended);
        }
        let (headers, duration) = (no_headers(), outcome.phases.service_time());
        let answer = Answer { status: None, grpc_status: None, duration, headers: &headers, set_cookies: &[], body: &[] };
        flight.land(outcome, ended, &answer, &mut vu.scope, || None)
    }
}

/// Fills in the text of a message, if it is one.
fn say(message: Option<&Message>, scope: &mut Scope, text: &mut String) -> Result<(), Script> {
    match message {
        Some(Message::Text(template)) => scope.render(template, text),
        Some(Message::Binary(_)) | None => Ok(()),
    }
}

/// A message, `text` being what it was filled in with.
fn payload<'a>(message: Option<&'a Message>, text: &'a str) -> Option<Payload<'a>> {
    message.map(|message| match message {
        Message::Text(_) => Payload::Text(text),
        Message::Binary(bytes) => Payload::Binary(bytes),
    })
}

/// What a step comes to where no socket is.
fn not_open() -> Outcome {
    Outcome { failure: Some(Reason::ClosedEarly), message: Some("no socket is open".into()), ..Outcome::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_opening_has_one_cookie_header() {
        let all = |own: &[(&str, &str)], jar: Option<&str>| {
            let mut headers: Vec<_> = own.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
            add_cookies(&mut headers, jar.map(str::to_owned));
            headers.iter().map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>()
        };
        assert_eq!(all(&[("X", "1"), ("Cookie", "own=1")], Some("a=2; b=3")), ["X: 1", "Cookie: own=1; a=2; b=3"]);
        assert_eq!(all(&[("X", "1")], Some("a=2")), ["X: 1", "cookie: a=2"]);
        assert_eq!(all(&[("cookie", "own=1")], None), ["cookie: own=1"]);
    }

    #[test]
    fn the_address_of_a_socket_is_one_of_the_web() {
        for (text, web) in [
            ("wss://chat.internal/ws?room=1", "https://chat.internal/ws?room=1"),
            ("ws://chat.internal:8080/ws", "http://chat.internal:8080/ws"),
            ("https://chat.internal/ws", "https://chat.internal/ws"),
            ("/ws", "/ws"),
            ("ws", "ws"),
            ("wsx://a/b", "wsx://a/b"),
        ] {
            assert_eq!(web_address(text), web);
        }
    }
}
