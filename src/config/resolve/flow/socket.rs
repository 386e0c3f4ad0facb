//! WebSocket sessions: how they are opened, and what is said on them.

use super::Scope;
use super::address::Schemes;
use crate::config::raw::flow::step::{ExchangeStep, RawStep, SocketStep};
use crate::config::raw::text::Fillable;
use crate::config::resolve::Resolver;
use crate::model::flow::FlowNode;
use crate::model::request::{Message, SocketExchange, SocketRequest};
use crate::model::template::Encoding;
use crate::registry::{Node, Spanned, Value};

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
        if scope.socket {
            let message = format!("step `{}` opens a WebSocket within another", keys.step.value.0);
            self.mistake("conflicting-keys", keys.step.span, message, "put it after the first, not below its `do`");
            return None;
        }
        scope.socket = true;
        let flow = self.nodes(&keys.flow, scope);
        scope.socket = false;
        flow
    }

    /// What is said and heard on the open WebSocket.
    pub(super) fn exchange(&mut self, keys: &ExchangeStep, scope: &Scope<'_>) -> Option<SocketExchange> {
        if !scope.socket {
            let message = format!("step `{}` speaks where no WebSocket is open", keys.step.value.0);
            self.mistake("no-websocket", keys.step.span, message, "put it below `do` of a step with `websocket: /path`");
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
        let expect = match &keys.expect {
            Some(expect) => Some(self.expected(&expect.value.0, scope)?),
            None => None,
        };
        Some(SocketExchange { send, expect })
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
