//! WebSocket sessions: how they are opened, what is said on them, and how they end.

use super::Scope;
use super::address::Schemes;
use crate::config::raw::flow::step::{ExchangeStep, RawStep, SocketStep};
use crate::config::raw::text::Fillable;
use crate::config::resolve::Resolver;
use crate::model::flow::FlowNode;
use crate::model::request::{Message, Request, SocketExchange, SocketParting, SocketRequest};
use crate::model::template::{Encoding, Template};
use crate::protocol::websocket::MOST_REASON;
use crate::registry::{Node, Spanned, Value};

/// The WebSocket where a flow stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::config::resolve) enum Line {
    /// There is none.
    None,
    /// It is open, as far as is known.
    Open,
    /// A step of this name has closed it, or waited until the server did.
    Closed(String),
}

impl Line {
    /// After a step that ends it.
    fn closed_by(&self, step: &str) -> Self {
        match self {
            Self::None => Self::None,
            Self::Open | Self::Closed(_) => Self::Closed(step.to_owned()),
        }
    }
}

impl Resolver<'_> {
    /// The request that opens a WebSocket.
    pub(super) fn connect(&mut self, raw: &RawStep, keys: &SocketStep, scope: &mut Scope<'_>) -> Option<SocketRequest> {
        let address = self.address(&keys.websocket, Schemes::Socket, scope);
        let headers = self.headers(&keys.headers, scope);
        let auth = self.step_auth(raw, headers.as_deref().unwrap_or_default(), scope);
        for name in &keys.subprotocols {
            // RFC 6455, 4.1: a token, as the name of a header is.
            if http::HeaderName::from_bytes(name.value.0.as_bytes()).is_err() {
                let message = format!("`{}` is not the name of a subprotocol", name.value.0);
                self.mistake("bad-header", name.span, message, "use letters, digits, `-`, `.` and `_`");
                return None;
            }
        }
        let subprotocols = keys.subprotocols.iter().map(|name| name.value.0.clone()).collect();
        Some(SocketRequest { address: address?, headers: headers?, subprotocols, auth: auth.ok()? })
    }

    /// What is done while a WebSocket is open.
    pub(super) fn session(&mut self, keys: &SocketStep, scope: &mut Scope<'_>) -> Option<Vec<FlowNode>> {
        if scope.socket != Line::None {
            let message = format!("step `{}` opens a WebSocket within another", keys.step.value.0);
            self.mistake("conflicting-keys", keys.step.span, message, "put it after the first, not below its `do`");
            return None;
        }
        scope.socket = Line::Open;
        let flow = self.nodes(&keys.flow, scope);
        scope.socket = Line::None;
        flow
    }

    /// What is done on the open WebSocket.
    pub(super) fn on_socket(&mut self, keys: &ExchangeStep, scope: &mut Scope<'_>) -> Option<Request> {
        self.check_open(keys, scope);
        if keys.close.is_some() || keys.closed.is_some() {
            scope.socket = scope.socket.closed_by(&keys.step.value.0);
        }
        self.check_one(keys)?;
        if let Some(close) = &keys.close {
            let reason = match &close.value.reason {
                Some(reason) => self.reason(reason, scope)?,
                None => Template::literal(String::new(), Encoding::Plain),
            };
            return Some(Request::Part(SocketParting::Close { code: close.value.code, reason }));
        }
        let send = match (&keys.send, &keys.send_file) {
            (Some(_), Some(file)) => {
                self.mistake("conflicting-keys", file.span, "a message is a text or a file: `send` or `send_file`", "keep one of them");
                return None;
            }
            (Some(send), None) => Some(self.message(send, scope)?),
            (None, Some(file)) => Some(Message::Binary(self.bytes(file)?)),
            (None, None) => None,
        };
        if let Some(closed) = &keys.closed {
            return Some(Request::Part(SocketParting::Closed { send, codes: closed.value.0.clone() }));
        }
        let expect = match &keys.expect {
            Some(expect) => Some(self.expected(&expect.value.0, scope)?),
            None => None,
        };
        Some(Request::Exchange(SocketExchange { send, expect }))
    }

    /// Reports a step where no socket is open.
    fn check_open(&mut self, keys: &ExchangeStep, scope: &Scope<'_>) {
        let name = &keys.step.value.0;
        match &scope.socket {
            Line::Open => {}
            Line::None => {
                let message = format!("step `{name}` speaks where no WebSocket is open");
                self.mistake("no-websocket", keys.step.span, message, "put it below `do` of a step with `websocket: /path`");
            }
            Line::Closed(step) => {
                let message = format!("step `{name}` finds the WebSocket closed by step `{step}`");
                self.mistake("no-websocket", keys.step.span, message, format!("put it before `{step}`, or open another socket"));
            }
        }
    }

    /// Reports a step that would be several things at once.
    fn check_one(&mut self, keys: &ExchangeStep) -> Option<()> {
        let sends = keys.send.as_ref().map(|send| send.span).or(keys.send_file.as_ref().map(|file| file.span));
        let (expect, close, closed) =
            (keys.expect.as_ref().map(|key| key.span), keys.close.as_ref().map(|key| key.span), keys.closed.as_ref().map(|key| key.span));
        let name = &keys.step.value.0;
        let (span, message, hint) = match (expect, closed, close, sends) {
            (Some(_), Some(span), _, _) => {
                (span, "waits for a message (`expect`) and for the end (`closed`)", "let a step of its own wait for the message, before it")
            }
            (Some(span), _, Some(_), _) => (span, "closes the socket, and expects a message", "let a step before it wait for the message"),
            (_, Some(span), Some(_), _) => {
                (span, "closes the socket, and waits for the server to close it", "keep one of them: `close` waits, too")
            }
            (_, _, Some(_), Some(span)) => (span, "closes the socket, and sends a message", "send it in a step before it"),
            (_, _, _, _) => return Some(()),
        };
        self.mistake("conflicting-keys", span, format!("step `{name}` {message}"), hint);
        None
    }

    /// The reason that the server is told; what is filled in is measured when it is known.
    fn reason(&mut self, text: &Spanned<Fillable>, scope: &Scope<'_>) -> Option<Template> {
        let reason = self.fill(text, Encoding::Plain, scope)?;
        if let Some(bytes) = reason.constant().map(str::len).filter(|bytes| *bytes > MOST_REASON) {
            let message = format!("a reason of {bytes} bytes");
            self.mistake("out-of-range", text.span, message, format!("a close frame holds at most {MOST_REASON} bytes of UTF-8"));
            return None;
        }
        Some(reason)
    }

    /// A text as it stands; anything else as JSON.
    fn message(&mut self, node: &Spanned<Node>, scope: &Scope<'_>) -> Option<Message> {
        let text = match &node.value.value {
            Value::Text(text) => self.fill(&Spanned { value: Fillable(text.clone()), span: node.span }, Encoding::Plain, scope),
            Value::Null | Value::Bool(_) | Value::Number(..) | Value::List(_) | Value::Map(_) => self.document(&node.value, scope),
        };
        text.map(Message::Text)
    }
}
