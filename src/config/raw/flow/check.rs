//! `check:` and `expect:` as written: each entry one check, whose key says what is looked at and whose value what must be seen.
//! JSON paths and regular expressions are tried here; whether a check fits its request is looked at in resolve.

use serde_json::{Value as Json, json};
use serde_json_path::JsonPath;

use super::super::text::{placeholder, unescaped};
use crate::model::flow::{Check, CheckKind, Operator};
use crate::model::template::{Encoding, Template, TemplateError};
use crate::model::units::{format_duration, parse_bytes, parse_duration};
use crate::registry::{Context, Decode, Entry, Node, Span, Spanned, Value};

/// Most checks of one request.
const MOST_CHECKS: usize = 64;

/// A check and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RawCheck {
    /// The check.
    pub(crate) check: Check,
    /// Its key as written.
    pub(crate) key: Spanned<String>,
    /// Its value as written.
    pub(crate) value: Node,
}

/// `check:`.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawChecks(pub(crate) Vec<RawCheck>);

/// `expect:`, empty for `any`.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawExpect(pub(crate) Vec<RawCheck>);

/// The keys of `check`, for messages.
const CHECKS: [&str; 7] = ["status", "grpc_status", "duration", "body", "body_contains", "body_matches", "body_size"];
/// The codes of gRPC, by number.
const GRPC: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
impl Decode for RawChecks {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            return cx.wrong_type(node, "a mapping such as `{ status: 200, duration: < 200ms }`");
        };
        if entries.len() > MOST_CHECKS {
            let message = format!("{} checks of one answer", entries.len());
            cx.diagnostics.push("out-of-range", node.span, message, format!("at most {MOST_CHECKS} can be counted"));
        }
        let read = |entry: &Entry, cx: &mut Context<'_>| {
            let check = check(entry, cx)?;
            Some(RawCheck { check, key: Spanned { value: entry.key.clone(), span: entry.span }, value: entry.node.clone() })
        };
        Some(Self(entries.iter().filter_map(|entry| read(entry, cx)).collect()))
    }
    fn schema() -> Json {
        json!({"$ref": "#/$defs/check"})
    }
}

impl RawChecks {
    /// The schema that `$defs/check` holds; every kind of step has it.
    pub(crate) fn definition() -> Json {
        let status = json!({"type": "integer", "minimum": 100, "maximum": 599});
        let code = json!({"anyOf": [{"enum": GRPC}, {"type": "integer", "minimum": 0, "maximum": 16}]});
        let list = |one: &Json| json!([one, {"type": "array", "items": one}]);
        json!({
            "type": "object",
            "properties": {
                "status": {"anyOf": list(&status), "description": "HTTP status that the answer must have, or a list."},
                "grpc_status": {"anyOf": list(&code), "description": "gRPC status that the answer must have, or a list."},
                "duration": {"type": "string", "pattern": "^< ?[0-9]", "description": "`http_req_duration` is below this.", "examples": ["< 200ms"]},
                "body": {"const": "json", "description": "The body is valid JSON."},
                "body_contains": {"type": ["string", "number"], "description": "The body contains this text."},
                "body_matches": {"type": "string", "format": "regex", "description": "The body matches this regular expression."},
                "body_size": {"type": "string", "description": "Size of the body, after decompression.", "examples": ["< 10kB"]},
            },
            "patternProperties": {
                "^json \\$": {"description": "`exists`, the value that the JSON path must find, or a comparison such as `> 5`."},
                "^header ": {"description": "`exists`, the value of the header, or a comparison such as `!= MISS`."},
            },
            "additionalProperties": false,
        })
    }
}

impl Decode for RawExpect {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        if matches!(&node.value, Value::Text(word) if word == "any") {
            return Some(Self::default());
        }
        if !matches!(node.value, Value::Map(_)) {
            return cx.wrong_type(node, "`any`, or a mapping such as `{ \"json $.type\": echo }`");
        }
        RawChecks::decode(node, cx).map(|checks| Self(checks.0))
    }
    fn schema() -> Json {
        json!({"anyOf": [{"const": "any"}, RawChecks::schema()]})
    }
}

fn check(entry: &Entry, cx: &mut Context<'_>) -> Option<Check> {
    let node = &entry.node;
    match entry.key.as_str() {
        "status" => statuses(node, cx),
        "grpc_status" => grpc_statuses(node, cx),
        "duration" => duration_below(node, cx),
        "body" if node.scalar().as_deref() == Some("json") => Some(Check { name: "body is JSON".into(), kind: CheckKind::BodyIsJson }),
        "body" => cx.wrong_type(node, "`json` (or use `body_contains: TEXT`)"),
        "body_contains" => {
            let part = right_side(Template::parse(&String::decode(node, cx)?, Encoding::Plain), node, cx)?;
            Some(Check { name: format!("body contains {:?}", part.source()), kind: CheckKind::BodyContains(part) })
        }
        "body_matches" => {
            let text = fixed_pattern(&String::decode(node, cx)?, node, cx)?;
            Some(Check { name: format!("body matches {text:?}"), kind: CheckKind::BodyMatches(text) })
        }
        "body_size" => body_size(node, cx),
        key => match key.split_once(' ') {
            Some(("json", path)) => json_check(path.trim(), entry, cx),
            Some(("header", name)) => header_check(name.trim(), entry, cx),
            _ => {
                let hint = crate::registry::nearest(key, CHECKS).map_or_else(
                    || {
                        let known: Vec<String> = CHECKS.iter().map(|check| format!("`{check}`")).collect();
                        format!("known: {}, `json $.path`, `header NAME`", known.join(", "))
                    },
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

fn grpc_statuses(node: &Node, cx: &mut Context<'_>) -> Option<Check> {
    let list = Vec::<Spanned<String>>::decode(node, cx)?;
    if list.is_empty() {
        return cx.wrong_type(node, "at least one status");
    }
    let mut codes = Vec::new();
    for status in &list {
        let by_number = status.value.parse::<usize>().ok().filter(|code| *code < GRPC.len());
        let Some(code) = by_number.or_else(|| GRPC.iter().position(|name| *name == status.value)) else {
            let hint = crate::registry::suggest(&status.value, GRPC);
            cx.diagnostics.push("unknown-word", status.span, format!("`{}` is no status of gRPC", status.value), hint);
            return None;
        };
        codes.push(code);
    }
    let words: Vec<&str> = codes.iter().map(|code| GRPC[*code]).collect();
    let name = format!("grpc_status is {}", words.join(" or "));
    Some(Check { name, kind: CheckKind::GrpcStatus(codes.into_iter().map(|code| code as u16).collect()) })
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

fn body_size(node: &Node, cx: &mut Context<'_>) -> Option<Check> {
    let text = String::decode(node, cx)?;
    let (operator, size) = Operator::strip(&text).unwrap_or((Operator::Equal, text.trim()));
    if matches!(operator, Operator::Contains | Operator::Matches) {
        return cx.wrong_type(node, "a size such as `< 10kB`");
    }
    match parse_bytes(size) {
        Ok(bytes) => Some(Check { name: format!("body size {operator} {size}"), kind: CheckKind::BodySize(operator, bytes) }),
        Err(error) => cx.wrong_unit(node, error),
    }
}

fn json_check(path: &str, entry: &Entry, cx: &mut Context<'_>) -> Option<Check> {
    json_path(path, entry.span, cx)?;
    if entry.node.scalar().as_deref() == Some("exists") {
        return Some(Check { name: format!("json {path} exists"), kind: CheckKind::JsonExists(path.into()) });
    }
    let node = &entry.node;
    let (operator, right) = match &node.value {
        Value::Text(text) => match Operator::strip(text) {
            Some((operator, right)) => (operator, compared_with(operator, right, node, cx)?),
            None => (Operator::Equal, right_side(Template::of_json(&Json::from(text.as_str())), node, cx)?),
        },
        Value::Null | Value::Bool(_) | Value::Number(..) | Value::List(_) | Value::Map(_) => {
            (Operator::Equal, right_side(Template::of_json(&node.to_json()), node, cx)?)
        }
    };
    Some(Check { name: format!("json {path} {operator} {}", right.source()), kind: CheckKind::Json(path.into(), operator, right) })
}

/// The right side of a comparison, with its type; `<` and `>` compare numbers.
fn compared_with(operator: Operator, right: &str, node: &Node, cx: &mut Context<'_>) -> Option<Template> {
    if right.is_empty() {
        return cx.wrong_type(node, &format!("a value after `{operator}`"));
    }
    match operator {
        Operator::Matches => {
            let text = Json::from(fixed_pattern(right, node, cx)?).to_string();
            Some(Template::literal(text, Encoding::Json))
        }
        Operator::Contains | Operator::Equal | Operator::NotEqual => right_side(Template::of_json(&typed(right)), node, cx),
        Operator::Below | Operator::AtMost | Operator::Above | Operator::AtLeast => {
            let value = typed(right);
            if value.is_number() || placeholder(right).is_some() {
                return right_side(Template::of_json(&value), node, cx);
            }
            cx.wrong_type(node, &format!("a number after `{operator}`"))
        }
    }
}

/// What is compared with; in resolve the names in it are looked up.
fn right_side(read: Result<Template, TemplateError>, node: &Node, cx: &mut Context<'_>) -> Option<Template> {
    read.map_err(|error| cx.diagnostics.push("bad-template", node.span, error.message, error.hint)).ok()
}

/// A regular expression behind `matches`.
fn fixed_pattern(text: &str, node: &Node, cx: &mut Context<'_>) -> Option<String> {
    if let Some(found) = placeholder(text) {
        let message = format!("`{found}` cannot be filled in here: a regular expression is the same in every iteration");
        cx.diagnostics.push("unknown-variable", node.span, message, "compare with `==` or `contains`, or write `$${` for a literal `${`");
        return None;
    }
    pattern(&unescaped(text), node.span, cx)
}

fn header_check(name: &str, entry: &Entry, cx: &mut Context<'_>) -> Option<Check> {
    header_name(name, entry.span, cx)?;
    let node = &entry.node;
    let text = String::decode(node, cx)?;
    if text == "exists" {
        return Some(Check { name: format!("header {name} exists"), kind: CheckKind::Header(name.into(), None) });
    }
    let (operator, right) = match Operator::strip(&text) {
        Some((Operator::Matches, right)) if !right.is_empty() => {
            (Operator::Matches, Template::literal(fixed_pattern(right, node, cx)?, Encoding::Plain))
        }
        // The same rules as for JSON; a header's value is a text, whatever it looks like.
        Some((operator, right)) => {
            compared_with(operator, right, node, cx)?;
            (operator, right_side(Template::parse(right, Encoding::Plain), node, cx)?)
        }
        None => (Operator::Equal, right_side(Template::parse(&text, Encoding::Plain), node, cx)?),
    };
    let name_of_check = format!("header {name} {operator} {:?}", right.source());
    Some(Check { name: name_of_check, kind: CheckKind::Header(name.into(), Some((operator, right))) })
}

/// What a text would be, had it been written plainly: a number, truth value or null; in quotes a text.
fn typed(text: &str) -> Json {
    let quoted = |mark: char| text.strip_prefix(mark).and_then(|rest| rest.strip_suffix(mark));
    if let Some(inner) = quoted('"').or_else(|| quoted('\'')) {
        return inner.into();
    }
    match text {
        "true" => true.into(),
        "false" => false.into(),
        "null" => Json::Null,
        _ => match (text.parse::<i64>(), text.parse::<f64>()) {
            (Ok(number), _) => number.into(),
            (Err(_), Ok(number)) if number.is_finite() => number.into(),
            _ => text.into(),
        },
    }
}

/// The text, if it is a JSON path.
pub(crate) fn json_path(path: &str, span: Span, cx: &mut Context<'_>) -> Option<String> {
    match JsonPath::parse(path) {
        Ok(_) => Some(path.to_owned()),
        Err(error) => {
            let message = format!("`{path}` is not a JSON path: {error}");
            cx.diagnostics.push("bad-json-path", span, message, "write a path of RFC 9535 such as `$.items[0].id`");
            None
        }
    }
}

/// The text, if it is a regular expression.
pub(crate) fn pattern(text: &str, span: Span, cx: &mut Context<'_>) -> Option<String> {
    match regex::Regex::new(text) {
        Ok(_) => Some(text.to_owned()),
        Err(error) => {
            let why = error.to_string();
            let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ");
            let message = format!("`{text}` is not a regular expression: {why}");
            cx.diagnostics.push("bad-pattern", span, message, "escape a literal sign by `\\`, and quote it by `'…'`");
            None
        }
    }
}

/// The text, if it can name a header.
pub(crate) fn header_name(name: &str, span: Span, cx: &mut Context<'_>) -> Option<String> {
    if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
        cx.diagnostics.push("bad-header", span, format!("`{name}` is not the name of a header"), "use letters, digits and `-`");
        return None;
    }
    Some(name.to_owned())
}
