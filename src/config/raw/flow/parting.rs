//! `close:` and `closed:` as written: with which code a WebSocket is closed, and with which codes it may be (RFC 6455, 7.4).

use serde_json::{Value as Json, json};

use crate::config::raw::text::Fillable;
use crate::registry::{Context, Decode, Node, Spanned, Value};
use crate::settings;

/// Closing without a word about why.
const NORMAL: u16 = 1000;

settings! {
    /// How a WebSocket is closed.
    pub(crate) struct CloseKeys titled "`close`" {
        /// Status code: 1000, or 3000 to 4999. Without it: 1000.
        code: optional Spanned<u16>,
        /// Reason that the server is told, at most 123 bytes.
        reason: optional Spanned<Fillable>,
    }
}

/// `close:`.
#[derive(Debug, Clone)]
pub(crate) struct RawClose {
    /// Status code.
    pub(crate) code: u16,
    /// Reason.
    pub(crate) reason: Option<Spanned<Fillable>>,
}

impl Decode for RawClose {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let (code, reason) = if matches!(node.value, Value::Number(..)) {
            (Some(Spanned::<u16>::decode(node, cx)?), None)
        } else if matches!(node.value, Value::Map(_)) {
            let before = cx.diagnostics.0.len();
            let keys = CloseKeys::decode(node, cx)?;
            if cx.diagnostics.0.len() > before {
                return None;
            }
            (keys.code, keys.reason)
        } else {
            return cx.wrong_type(node, "a code such as `1000`, or a mapping such as `{ code: 4001, reason: done }`");
        };
        if let Some(code) = code.as_ref().filter(|code| code.value != NORMAL && !(3000..=4999).contains(&code.value)) {
            let message = format!("a client does not close with {}", code.value);
            cx.diagnostics.push("out-of-range", code.span, message, "write 1000, or a code of your own from 3000 to 4999");
            return None;
        }
        Some(Self { code: code.map_or(NORMAL, |code| code.value), reason })
    }
    fn schema() -> Json {
        json!({"anyOf": [code(), CloseKeys::schema()]})
    }
}

/// `closed:`, empty for `any`.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawClosed(pub(crate) Vec<u16>);

impl Decode for RawClosed {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        if matches!(&node.value, Value::Text(word) if word == "any") {
            return Some(Self::default());
        }
        if !matches!(node.value, Value::Number(..) | Value::List(_)) {
            return cx.wrong_type(node, "`any`, a code such as `1000`, or a list of them");
        }
        let codes = Vec::<Spanned<u16>>::decode(node, cx)?;
        if codes.is_empty() {
            return cx.wrong_type(node, "at least one code, or `any`");
        }
        if let Some(code) = codes.iter().find(|code| !can_come(code.value)) {
            let message = format!("no server closes with {}", code.value);
            let hint = "write 1000 to 1003, 1005 (a frame without a code), 1007 to 1013, or 3000 to 4999";
            cx.diagnostics.push("out-of-range", code.span, message, hint);
            return None;
        }
        Some(Self(codes.into_iter().map(|code| code.value).collect()))
    }
    fn schema() -> Json {
        json!({"anyOf": [{"const": "any"}, code(), {"type": "array", "items": code(), "minItems": 1}]})
    }
}

/// The schema of a code.
fn code() -> Json {
    json!({"type": "integer", "minimum": 1000, "maximum": 4999})
}

/// Codes that a close frame may have, and the one that stands for none. Others are a broken rule, whoever sends them.
fn can_come(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1005 | 1007..=1013 | 3000..=4999)
}
