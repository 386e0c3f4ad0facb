//! A flow as written: steps, choices and pauses, each a mapping whose keys decide what it is; requests with one method key;
//! checks whose key says what is looked at. JSON paths are parsed here, addresses are put together in resolve.

use std::time::Duration;

use serde_json::{Value as Json, json};
use serde_json_path::JsonPath;

use crate::model::flow::{Check, CheckKind, Operator, Pause};
use crate::model::units::{format_duration, parse_duration};
use crate::registry::{Context, Decode, Entry, Named, Node, Secret, Span, Spanned, Value, suggest};
use crate::settings;

/// A node of a flow.
#[derive(Debug, Clone)]
pub(crate) enum RawFlow {
    /// One request.
    Step(Box<StepKeys>),
    /// One of several flows.
    Choose(ChooseKeys),
    /// Think time.
    Pause(Pause),
}

settings! {
    /// A step: one request. Exactly one of the method keys says what is requested.
    pub(crate) struct StepKeys titled "step" {
        /// Name for figures and thresholds.
        step: required Spanned<String>,
        /// Address to GET: a path below the target's `base_url`, or a whole address.
        get: optional Spanned<String>,
        /// Address to POST to.
        post: optional Spanned<String>,
        /// Address to PUT to.
        put: optional Spanned<String>,
        /// Address to PATCH.
        patch: optional Spanned<String>,
        /// Address to DELETE.
        delete: optional Spanned<String>,
        /// Address to ask by HEAD.
        head: optional Spanned<String>,
        /// Address to ask by OPTIONS.
        options: optional Spanned<String>,
        /// Headers, by name.
        headers: default Named<String>,
        /// Body, sent as JSON with `content-type: application/json`.
        json: optional Spanned<Node>,
        /// Body, sent as it stands.
        body: optional Spanned<String>,
        /// Token, sent as `authorization: Bearer TOKEN`.
        bearer: secret Secret,
        /// What must hold of the answer.
        check: default RawChecks,
        /// Longest time for the whole request.
        timeout: default Duration = Duration::from_secs(60),
    }
}

settings! {
    /// One of several flows, drawn by weight.
    pub(crate) struct ChooseKeys titled "`choose`" {
        /// The flows to choose from.
        choose: required Spanned<Vec<Branch>>,
    }
}

settings! {
    /// A flow to choose.
    pub(crate) struct Branch titled "the choice" {
        /// How often, compared with the others.
        weight: required Spanned<f64>,
        /// What then happens.
        flow as "do": required Vec<RawFlow>,
    }
}

settings! {
    /// Think time.
    pub(crate) struct PauseKeys titled "`pause`" {
        /// A time such as `1s`, or `{ uniform: [500ms, 2s] }`: evenly between two bounds.
        pause: required RawPause,
    }
}

settings! {
    /// Think time between two bounds.
    pub(crate) struct UniformKeys titled "`pause`" {
        /// Least and greatest time.
        uniform: required Spanned<Vec<Duration>>,
    }
}

/// `pause:`.
#[derive(Debug, Clone)]
pub(crate) struct RawPause(Pause);

impl Decode for RawPause {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        if !matches!(node.value, Value::Map(_)) {
            return Duration::decode(node, cx).map(|time| Self(Pause::Fixed(time)));
        }
        let keys = UniformKeys::decode(node, cx)?;
        if let [from, to] = keys.uniform.value[..]
            && from <= to
        {
            return Some(Self(Pause::Uniform(from, to)));
        }
        cx.diagnostics.push("out-of-range", keys.uniform.span, "a pause lies between a least and a greatest time", "write `[500ms, 2s]`");
        None
    }
    fn schema() -> Json {
        json!({"anyOf": [Duration::schema(), UniformKeys::schema()]})
    }
}

/// What a node of a flow can be, by the key that says so.
const NODES: [&str; 3] = ["step", "choose", "pause"];
/// Keys of a step that name the method.
pub(crate) const METHODS: [&str; 7] = ["get", "post", "put", "patch", "delete", "head", "options"];

impl Decode for RawFlow {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let Value::Map(entries) = &node.value else { return cx.wrong_type(node, "a mapping with `step`, `choose` or `pause`") };
        let found: Vec<&Entry> = entries.iter().filter(|entry| NODES.contains(&entry.key.as_str())).collect();
        match found[..] {
            [one] => match one.key.as_str() {
                "step" => {
                    cx.name = one.node.scalar();
                    StepKeys::decode(node, cx).map(|keys| Self::Step(Box::new(keys)))
                }
                "choose" => ChooseKeys::decode(node, cx).map(Self::Choose),
                _ => PauseKeys::decode(node, cx).map(|keys| Self::Pause(keys.pause.0)),
            },
            [] => {
                no_node(entries, node.span, cx);
                None
            }
            [first, second, ..] => {
                let message = format!("`{}` and `{}` cannot stand in one node of a flow", first.key, second.key);
                cx.diagnostics.push("conflicting-keys", second.span, message, "begin a new node with `-`");
                None
            }
        }
    }
    fn schema() -> Json {
        json!({"$ref": "#/$defs/flow"})
    }
}

fn no_node(entries: &[Entry], span: Span, cx: &mut Context<'_>) {
    let near = entries.iter().find(|entry| crate::registry::nearest(&entry.key, NODES).is_some());
    if let Some(entry) = near {
        let message = format!("unknown key `{}` in a flow", entry.key);
        cx.diagnostics.push("unknown-key", entry.span, message, suggest(&entry.key, NODES));
    } else if entries.iter().any(|entry| METHODS.contains(&entry.key.as_str())) {
        cx.diagnostics.push("missing-key", span, "a request lacks its name", "add `step: NAME`");
    } else {
        cx.diagnostics.push("missing-key", span, "a node of a flow says what it is", "begin it with `step:`, `choose:` or `pause:`");
    }
}

impl RawFlow {
    /// The schema that `$defs/flow` holds; flows contain flows.
    pub(crate) fn definition() -> Json {
        json!({"oneOf": [StepKeys::schema(), ChooseKeys::schema(), PauseKeys::schema()]})
    }
}

/// `check:`, each entry one check.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawChecks(pub(crate) Vec<Check>);

/// The keys of `check`, for messages.
const CHECKS: [&str; 4] = ["status", "duration", "body", "body_contains"];

impl Decode for RawChecks {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            return cx.wrong_type(node, "a mapping such as `{ status: 200, duration: < 200ms }`");
        };
        let read: Vec<Option<Check>> = entries.iter().map(|entry| check(entry, cx)).collect();
        read.into_iter().collect::<Option<Vec<Check>>>().map(Self)
    }
    fn schema() -> Json {
        let status = json!({"type": "integer", "minimum": 100, "maximum": 599});
        json!({
            "type": "object",
            "properties": {
                "status": {"anyOf": [status, {"type": "array", "items": status}], "description": "Status that the answer must have, or a list."},
                "duration": {"type": "string", "pattern": "^< ?[0-9]", "description": "`http_req_duration` is below this.", "examples": ["< 200ms"]},
                "body": {"const": "json", "description": "The body is valid JSON."},
                "body_contains": {"type": "string", "description": "The body contains this text."},
            },
            "patternProperties": {"^json \\$": {"description": "`exists`, or the value that the JSON path must find."}},
            "additionalProperties": false,
        })
    }
}

fn check(entry: &Entry, cx: &mut Context<'_>) -> Option<Check> {
    let node = &entry.node;
    match entry.key.as_str() {
        "status" => statuses(node, cx),
        "duration" => duration_below(node, cx),
        "body" if node.scalar().as_deref() == Some("json") => Some(Check { name: "body is JSON".into(), kind: CheckKind::BodyIsJson }),
        "body" => cx.wrong_type(node, "`json` (or use `body_contains: TEXT`)"),
        "body_contains" => {
            let text = String::decode(node, cx)?;
            Some(Check { name: format!("body contains {text:?}"), kind: CheckKind::BodyContains(text) })
        }
        key => match key.strip_prefix("json ") {
            Some(path) => json_check(path.trim(), entry, cx),
            None => {
                let hint = crate::registry::nearest(key, CHECKS).map_or_else(
                    || "known: `status`, `duration`, `body`, `body_contains`, `json $.path`".into(),
                    |near| format!("did you mean `{near}`?"),
                );
                cx.diagnostics.push("unknown-key", entry.span, format!("unknown check `{key}`"), hint);
                None
            }
        },
    }
}

fn statuses(node: &Node, cx: &mut Context<'_>) -> Option<Check> {
    let list = Vec::<Spanned<u16>>::decode(node, cx)?;
    if list.is_empty() {
        return cx.wrong_type(node, "at least one status");
    }
    for status in &list {
        if !(100..600).contains(&status.value) {
            let message = format!("{} is no HTTP status", status.value);
            cx.diagnostics.push("out-of-range", status.span, message, "a status lies between 100 and 599");
            return None;
        }
    }
    let words: Vec<String> = list.iter().map(|status| status.value.to_string()).collect();
    let kind = CheckKind::Status(list.iter().map(|status| status.value).collect());
    Some(Check { name: format!("status is {}", words.join(" or ")), kind })
}

fn duration_below(node: &Node, cx: &mut Context<'_>) -> Option<Check> {
    let text = String::decode(node, cx)?;
    let Some(bound) = text.trim().strip_prefix('<').filter(|rest| !rest.starts_with('=')) else {
        return cx.wrong_type(node, "an upper bound such as `< 200ms`");
    };
    match parse_duration(bound.trim()) {
        Ok(time) => Some(Check { name: format!("duration < {}", format_duration(time)), kind: CheckKind::DurationBelow(time) }),
        Err(mut error) => {
            error.hint = error.hint.replace("write `", "write `< ").replace("or `", "or `< ");
            cx.wrong_unit(node, error)
        }
    }
}

fn json_check(path: &str, entry: &Entry, cx: &mut Context<'_>) -> Option<Check> {
    if let Err(error) = JsonPath::parse(path) {
        let message = format!("`{path}` is not a JSON path: {error}");
        cx.diagnostics.push("bad-json-path", entry.span, message, "write a path of RFC 9535 such as `$.items[0].id`");
        return None;
    }
    if entry.node.scalar().as_deref() == Some("exists") {
        return Some(Check { name: format!("json {path} exists"), kind: CheckKind::JsonExists(path.into()) });
    }
    let value = entry.node.to_json();
    Some(Check { name: format!("json {path} == {value}"), kind: CheckKind::Json(path.into(), Operator::Equal, value) })
}
