//! `extract:` as written: where a variable is taken from. JSON paths and regular expressions are tried here.

use serde_json::{Value as Json, json};

use super::check::{header_name, json_path, pattern};
use crate::config::raw::text::Fixed;
use crate::model::flow::{Extract, ExtractFrom};
use crate::registry::{Context, Decode, Node, Spanned, Value};
use crate::settings;

settings! {
    /// Where a variable is taken from: one of `json`, `header`, `cookie`, `regex`.
    pub(crate) struct ExtractKeys titled "`extract`" {
        /// A JSON path (RFC 9535) into the body: the first value that it finds, with its type. `name: $.path` is short for `name: { json: $.path }`.
        json: optional Spanned<Fixed>,
        /// A response header, or metadata of gRPC: the first of the name.
        header: optional Spanned<Fixed>,
        /// A cookie that the answer sets.
        cookie: optional Spanned<Fixed>,
        /// A regular expression over the body: its first group, or all of it.
        regex: optional Spanned<Fixed>,
        /// Value when nothing is found, instead of a failure.
        default: optional Node,
    }
}

/// Where a variable is taken from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RawExtract {
    /// Where from.
    pub(crate) from: ExtractFrom,
    /// Value when nothing is found.
    pub(crate) default: Option<Json>,
}

impl RawExtract {
    /// As a step has it.
    pub(crate) fn named(&self, variable: &str) -> Extract {
        Extract { variable: variable.to_owned(), from: self.from.clone(), default: self.default.clone() }
    }
}

impl Decode for RawExtract {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        if let Value::Text(path) = &node.value {
            if !path.starts_with('$') {
                let hint = format!("write `$.{path}`, or `{{ header: {path} }}`, `{{ cookie: {path} }}`");
                cx.diagnostics.push("bad-json-path", node.span, format!("`{path}` is not a JSON path"), hint);
                return None;
            }
            json_path(path, node.span, cx)?;
            return Some(Self { from: ExtractFrom::Json(path.clone()), default: None });
        }
        let before = cx.diagnostics.0.len();
        let keys = ExtractKeys::decode(node, cx)?;
        let given = [("json", keys.json), ("header", keys.header), ("cookie", keys.cookie), ("regex", keys.regex)];
        let mut given = given.into_iter().filter_map(|(key, text)| text.map(|text| (key, text)));
        let found = given.next();
        if let Some((key, second)) = given.next() {
            let message = format!("a variable is taken from one place, and `{key}` is another");
            cx.diagnostics.push("conflicting-keys", second.span, message, "keep one of them");
            return None;
        }
        let Some((key, text)) = found else {
            if cx.diagnostics.0.len() == before {
                let message = "an extraction says where to look";
                cx.diagnostics.push("missing-key", node.span, message, "add one of `json:`, `header:`, `cookie:`, `regex:`");
            }
            return None;
        };
        let value = text.value.0;
        let from = match key {
            "json" => ExtractFrom::Json(json_path(&value, text.span, cx)?),
            "header" => ExtractFrom::Header(header_name(&value, text.span, cx)?),
            "cookie" => ExtractFrom::Cookie(value),
            _ => ExtractFrom::Regex(pattern(&value, text.span, cx)?),
        };
        Some(Self { from, default: keys.default.map(|default| default.to_json()) })
    }
    fn schema() -> Json {
        json!({"anyOf": [{"type": "string", "pattern": "^\\$", "examples": ["$.token"]}, ExtractKeys::schema()]})
    }
}
