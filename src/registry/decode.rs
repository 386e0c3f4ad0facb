//! From nodes to typed settings, gathering every mistake: the `Decode` trait, sections with required, optional and
//! default keys, and the `settings!` and `choice!` macros that also yield the JSON Schema and the reference documentation.
//! Pure: the environment and secret files are reached through `Surroundings`, which `config` provides.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::diagnostic::{Diagnostics, suggest};
use super::node::{Named, Node, Secret, Span, Spanned, Value};
use crate::model::network::names_metadata_service;
use crate::model::units::{Rate, UnitError, format_duration, parse_bytes, parse_duration, parse_percent, parse_rate, trim_decimal};

/// What decoding needs of the world outside the file.
pub trait Surroundings {
    /// The text of a secret file, relative to the configuration's folder; `Err` says why it cannot be read.
    fn read_secret_file(&self, path: &str) -> Result<String, String>;
    /// A path written in the configuration, made absolute relative to the configuration's folder.
    fn resolve_path(&self, path: &str) -> String;
}

/// What is carried along while decoding: the mistakes so far, and the world outside.
pub struct Context<'a> {
    /// All mistakes found so far.
    pub diagnostics: Diagnostics,
    /// Secret files and paths.
    pub surroundings: &'a dyn Surroundings,
    /// The user's name for the section that is opened next; it completes the section's title.
    pub name: Option<String>,
}

impl<'a> Context<'a> {
    /// A context without mistakes.
    pub fn new(surroundings: &'a dyn Surroundings) -> Self {
        Self { diagnostics: Diagnostics::default(), surroundings, name: None }
    }

    /// Reports that `node` is not `expected`, and returns `None`.
    pub fn wrong_type<T>(&mut self, node: &Node, expected: &str) -> Option<T> {
        self.diagnostics.push(
            "wrong-type",
            node.span,
            format!("expected {expected}, found {}", node.shape()),
            format!("write {expected} here"),
        );
        None
    }

    /// Reports a quantity that could not be read, and returns `None`.
    pub fn wrong_unit<T>(&mut self, node: &Node, error: UnitError) -> Option<T> {
        self.diagnostics.push(error.code, node.span, error.message, error.hint);
        None
    }
}

/// A type that can be read from a configuration node.
pub trait Decode: Sized {
    /// Reads the value. `None` means that at least one mistake was reported.
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self>;
    /// The JSON Schema of what `decode` accepts.
    fn schema() -> Json;
}

/// A mapping being read key by key; keys that nobody asks for are reported by `finish`.
pub struct Section<'n> {
    node: &'n Node,
    known: Vec<&'static str>,
    /// What the section is called in messages: "profile `soak`".
    title: String,
}

impl<'n> Section<'n> {
    /// Opens a mapping; reports and returns `None` when the node is none. Nothing at all counts as an empty mapping.
    /// Below a mapping from names the title is completed by the name: "profile `soak`".
    pub fn open(node: &'n Node, title: impl Into<String>, cx: &mut Context<'_>) -> Option<Self> {
        let title = match cx.name.take() {
            Some(name) => format!("{} `{name}`", title.into()),
            None => title.into(),
        };
        match node.value {
            Value::Map(_) | Value::Null => Some(Self { node, known: Vec::new(), title }),
            Value::Bool(_) | Value::Number(..) | Value::Text(_) | Value::List(_) => cx.wrong_type(node, "a mapping"),
        }
    }

    /// The raw node under `key`; the key counts as known from now on. A key with no value counts as absent.
    pub fn node(&mut self, key: &'static str) -> Option<&'n Node> {
        self.known.push(key);
        self.node.get(key).filter(|node| node.value != Value::Null)
    }

    /// The value under `key`; reports when it is missing or wrong.
    pub fn required<T: Decode>(&mut self, key: &'static str, cx: &mut Context<'_>) -> Option<T> {
        if let Some(node) = self.node(key) {
            return T::decode(node, cx);
        }
        cx.diagnostics.push("missing-key", self.node.span, format!("{} lacks the key `{key}`", self.title), format!("add `{key}:`"));
        None
    }

    /// The value under `key`, `None` when it is absent (or wrong, which is reported).
    pub fn optional<T: Decode>(&mut self, key: &'static str, cx: &mut Context<'_>) -> Option<T> {
        self.node(key).and_then(|node| T::decode(node, cx))
    }

    /// A secret given as `key` or as `key_file`; reports when both are given or the file cannot be read.
    pub fn secret(&mut self, key: &'static str, key_file: &'static str, cx: &mut Context<'_>) -> Option<Secret> {
        let plain = self.node(key);
        let Some(file) = self.node(key_file) else {
            return plain.and_then(|node| Secret::decode(node, cx));
        };
        if plain.is_some() {
            cx.diagnostics.push("conflicting-keys", file.span, format!("both `{key}` and `{key_file}` are given"), "keep one of them");
            return None;
        }
        let path = String::decode(file, cx)?;
        match cx.surroundings.read_secret_file(&path) {
            Ok(text) => Some(Secret::new(text.trim_end_matches(['\r', '\n']))),
            Err(why) => {
                cx.diagnostics.push(
                    "unreadable-secret",
                    file.span,
                    format!("the secret file `{path}` cannot be read: {why}"),
                    "check the path and its permissions",
                );
                None
            }
        }
    }

    /// Reports every key that nobody asked for.
    pub fn finish(self, cx: &mut Context<'_>) {
        for entry in self.node.entries() {
            if !self.known.contains(&entry.key.as_str()) {
                cx.diagnostics.push(
                    "unknown-key",
                    entry.span,
                    format!("unknown key `{}` in {}", entry.key, self.title),
                    suggest(&entry.key, self.known.iter().copied()),
                );
            }
        }
    }
}

impl Decode for String {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        match node.scalar() {
            Some(text) => Some(text),
            None => cx.wrong_type(node, "a text"),
        }
    }
    fn schema() -> Json {
        json!({"type": ["string", "number", "boolean"]})
    }
}

impl Decode for bool {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        if let Value::Bool(value) = node.value { Some(value) } else { cx.wrong_type(node, "true or false") }
    }
    fn schema() -> Json {
        json!({"type": "boolean"})
    }
}

impl Decode for f64 {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        if let Value::Number(value, _) = node.value
            && value.is_finite()
        {
            return Some(value);
        }
        cx.wrong_type(node, "a number")
    }
    fn schema() -> Json {
        json!({"type": "number"})
    }
}

/// Reads a whole number no larger than `max`.
fn whole_number(node: &Node, max: u64, cx: &mut Context<'_>) -> Option<u64> {
    let Value::Number(value, text) = &node.value else { return cx.wrong_type(node, "a whole number") };
    match text.replace('_', "").parse::<u64>() {
        Ok(number) if number <= max => Some(number),
        Ok(_) => {
            cx.diagnostics.push("out-of-range", node.span, format!("`{text}` is too large"), format!("at most {max}"));
            None
        }
        Err(_) => {
            let hint = if *value < 0.0 { "write 0 or more" } else { "write a number without a fraction" };
            cx.diagnostics.push("out-of-range", node.span, format!("`{text}` is not a whole number of 0 or more"), hint);
            None
        }
    }
}

macro_rules! whole_numbers {
    ($($ty:ty),*) => {$(
        impl Decode for $ty {
            fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
                whole_number(node, u64::from(<$ty>::MAX), cx).and_then(|number| Self::try_from(number).ok())
            }
            fn schema() -> Json {
                json!({"type": "integer", "minimum": 0})
            }
        }
    )*};
}
whole_numbers!(u8, u16, u32, u64);

impl Decode for Duration {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let Some(text) = node.scalar() else { return cx.wrong_type(node, "a time such as `30s`") };
        parse_duration(&text).map_or_else(|error| cx.wrong_unit(node, error), Some)
    }
    fn schema() -> Json {
        json!({"type": ["string", "integer"], "pattern": "^(0|([0-9._]+ ?(us|ms|s|m|min|h|d|w) ?)+)$", "examples": ["30s", "1m30s"]})
    }
}

impl Decode for Rate {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let Some(text) = node.scalar() else { return cx.wrong_type(node, "a rate such as `50/s`") };
        parse_rate(&text).map_or_else(|error| cx.wrong_unit(node, error), Some)
    }
    fn schema() -> Json {
        json!({"type": "string", "pattern": "^[0-9._]+ ?/ ?.+$", "examples": ["50/s", "200/min"]})
    }
}

/// A size in bytes, written `2GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteSize(pub u64);

impl Decode for ByteSize {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let Some(text) = node.scalar() else { return cx.wrong_type(node, "a size such as `2GiB`") };
        parse_bytes(&text).map_or_else(|error| cx.wrong_unit(node, error), |bytes| Some(Self(bytes)))
    }
    fn schema() -> Json {
        json!({"type": "string", "pattern": "^[0-9._]+ ?([kKMGT]i?)?B$", "examples": ["512MiB", "2GiB"]})
    }
}

/// A share between 0 and 1, written `80%`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share(pub f64);

impl Decode for Share {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let Some(text) = node.scalar() else { return cx.wrong_type(node, "a percentage such as `80%`") };
        parse_percent(&text).map_or_else(|error| cx.wrong_unit(node, error), |share| Some(Self(share)))
    }
    fn schema() -> Json {
        json!({"type": "string", "pattern": "^[0-9.]+ ?%$", "examples": ["80%"]})
    }
}

impl Decode for Secret {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        String::decode(node, cx).map(Self::new)
    }
    fn schema() -> Json {
        json!({"type": "string"})
    }
}

/// A path, made absolute relative to the configuration's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePath(pub String);

impl Decode for FilePath {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let text = String::decode(node, cx)?;
        Some(Self(cx.surroundings.resolve_path(&text)))
    }
    fn schema() -> Json {
        json!({"type": "string"})
    }
}

/// An absolute http or https address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebUrl(pub url::Url);

impl Decode for WebUrl {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let text = String::decode(node, cx)?;
        match url::Url::parse(&text) {
            Ok(url) if url.host_str().is_some_and(names_metadata_service) => {
                let message = "this is a cloud metadata service, which is never asked";
                cx.diagnostics.push("host-not-allowed", node.span, message, "name the service that is meant");
                None
            }
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Some(Self(url)),
            _ => {
                cx.diagnostics.push(
                    "bad-url",
                    node.span,
                    format!("`{text}` is not an http or https address"),
                    "write it whole: `http://host:port/path`",
                );
                None
            }
        }
    }
    fn schema() -> Json {
        json!({"type": "string", "format": "uri", "pattern": "^https?://"})
    }
}

impl<T: Decode> Decode for Spanned<T> {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        T::decode(node, cx).map(|value| Self { value, span: node.span })
    }
    fn schema() -> Json {
        T::schema()
    }
}

/// The node itself, undecoded: request bodies, messages.
impl Decode for Node {
    fn decode(node: &Node, _cx: &mut Context<'_>) -> Option<Self> {
        Some(node.clone())
    }
    fn schema() -> Json {
        json!(true)
    }
}

impl<T: Decode> Decode for Box<T> {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        T::decode(node, cx).map(Self::new)
    }
    fn schema() -> Json {
        T::schema()
    }
}

/// A list; a single value stands for a list of one.
impl<T: Decode> Decode for Vec<T> {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let Value::List(items) = &node.value else { return T::decode(node, cx).map(|one| vec![one]) };
        // Every item is read before giving up, so that all mistakes are reported.
        let read: Vec<Option<T>> = items.iter().map(|item| T::decode(item, cx)).collect();
        read.into_iter().collect()
    }
    fn schema() -> Json {
        json!({"anyOf": [{"type": "array", "items": T::schema()}, T::schema()]})
    }
}

/// A mapping from the user's own names; names that fail are left out after being reported.
impl<T: Decode> Decode for Named<T> {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        if node.value == Value::Null {
            return Some(Self::default());
        }
        let Value::Map(entries) = &node.value else { return cx.wrong_type(node, "a mapping from names") };
        let mut named = Vec::new();
        for entry in entries {
            cx.name = Some(entry.key.clone());
            let value = T::decode(&entry.node, cx);
            cx.name = None;
            if let Some(value) = value {
                named.push((Spanned { value: entry.key.clone(), span: entry.span }, value));
            }
        }
        Some(Self(named))
    }
    fn schema() -> Json {
        json!({"type": "object", "additionalProperties": T::schema()})
    }
}

/// One key of a settings section, as the schema and the reference documentation show it.
#[derive(Debug, Clone)]
pub struct KeyDoc {
    /// The key as written in the file.
    pub key: &'static str,
    /// First paragraph of its documentation.
    pub doc: String,
    /// True when it must be given.
    pub required: bool,
    /// The default as text, when there is one.
    pub default: Option<&'static str>,
    /// JSON Schema of the value.
    pub schema: Json,
}

/// The JSON Schema of an object with these keys; unknown keys are refused.
pub fn object_schema(doc: &str, keys: &[KeyDoc]) -> Json {
    let mut properties = serde_json::Map::new();
    for key in keys {
        let mut schema = key.schema.clone();
        if let Json::Object(map) = &mut schema {
            let text = match key.default {
                Some(default) => format!("{} Default: {}.", key.doc, readable_default(default)),
                None => key.doc.clone(),
            };
            map.insert("description".into(), text.into());
        }
        properties.insert(key.key.into(), schema);
    }
    let required: Vec<&str> = keys.iter().filter(|key| key.required).map(|key| key.key).collect();
    let mut schema = json!({"type": "object", "description": doc, "additionalProperties": false, "properties": properties});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

/// A default as people write it in the file: `Duration::from_secs(30)` is `30s`, `"utf-8".into()` is `utf-8`.
pub fn readable_default(code: &str) -> String {
    // `stringify!` may put what is long on several lines.
    let code = code.split_whitespace().collect::<Vec<_>>().join(" ");
    let placed = code.strip_prefix("Spanned { value: ").and_then(|rest| rest.split_once(", span:"));
    let code = placed.map_or(code.as_str(), |(value, _)| value);
    let inner = |prefix: &str| code.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(')'));
    if let Some(seconds) = inner("Duration::from_secs(").and_then(|text| text.replace('_', "").parse().ok()) {
        return format_duration(Duration::from_secs(seconds));
    }
    if let Some(millis) = inner("Duration::from_millis(").and_then(|text| text.replace('_', "").parse().ok()) {
        return format_duration(Duration::from_millis(millis));
    }
    if let Some(share) = inner("Share(").and_then(|text| text.parse::<f64>().ok()) {
        return format!("{}%", trim_decimal(share * 100.0, 2));
    }
    if let Some((count, shift)) = inner("ByteSize(").and_then(|text| text.split_once(" << ")) {
        let unit = match shift {
            "10" => "KiB",
            "20" => "MiB",
            _ => "GiB",
        };
        return format!("{count}{unit}");
    }
    match code.strip_prefix('"').and_then(|rest| rest.split_once('"')) {
        Some((text, _)) => text.to_owned(),
        None => words(code.rsplit("::").next().unwrap_or(code)),
    }
}

/// The name of a variant as a word: `PerVu` is `per-vu`.
fn words(name: &str) -> String {
    let mut words = String::with_capacity(name.len());
    for (at, c) in name.char_indices() {
        if c.is_ascii_uppercase() && at > 0 {
            words.push('-');
        }
        words.push(c.to_ascii_lowercase());
    }
    words
}

/// Joins the lines of a doc comment into one paragraph.
pub fn join_doc(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ").trim().to_owned()
}

/// A place that nobody knows, for values that no file gave.
pub const NOWHERE: Span = Span { file: 0, line: 0, column: 0, len: 0 };
