//! What must hold of an answer. A wrong status, header or body makes the request a failure; a slow answer fails its check only:
//! latency is judged by thresholds (docs/methods.md, "What a failed request is").

use std::time::Duration;

use http::HeaderName;
use regex::bytes::Regex;
use serde_json::Value;

use super::Script;
use super::answer::Answer;
use super::compare::{Comparison, filled_in, texts, values};
use super::json::{Found, Paths};
use super::scope::Scope;
use crate::model::failure::Reason;
use crate::model::flow::{Check, CheckKind, Operator};
use crate::model::template::{Encoding, Template};

/// The checks of one step, ready to evaluate.
#[derive(Debug)]
pub(super) struct Checks {
    list: Vec<(String, Ready)>,
    /// Statuses that a status check allows; without one, see [`Checks::status_failure`].
    statuses: Option<Vec<u16>>,
    grpc_statuses: Option<Vec<u16>>,
    sides: RightSides,
}

/// What checks compare with where it has to be filled in, one template each.
#[derive(Debug, Default)]
pub(super) struct RightSides {
    templates: Vec<Template>,
}

/// What the checks of one request compare with, filled in; nothing, and no memory, where all of it is written out.
#[derive(Debug, Default)]
pub struct Wanted(Vec<Value>);

impl RightSides {
    /// The place that the template's value will have.
    fn place(&mut self, template: &Template) -> usize {
        self.templates.push(template.clone());
        self.templates.len() - 1
    }

    /// Fills all in: documents keep their types, anything else is a text.
    pub(super) fn fill(&self, scope: &mut Scope) -> Result<Wanted, Script> {
        let mut values = Vec::with_capacity(self.templates.len());
        for template in &self.templates {
            values.push(if template.encoding() == Encoding::Json {
                scope.value(template)?
            } else {
                let mut text = String::new();
                scope.render(template, &mut text)?;
                Value::String(text)
            });
        }
        Ok(Wanted(values))
    }
}

impl Wanted {
    fn text(&self, place: usize) -> &str {
        self.0.get(place).and_then(Value::as_str).unwrap_or_default()
    }
}

/// A check with what it needs compiled.
#[derive(Debug)]
pub(super) enum Ready {
    Status(Vec<u16>),
    GrpcStatus(Vec<u16>),
    DurationBelow(Duration),
    BodyIsJson,
    JsonExists(usize),
    Json(usize, Comparison<Value>),
    /// Path, how, and the place of what was filled in.
    FilledJson(usize, Operator, usize),
    Body(Regex),
    /// The body has this text.
    FilledBody(usize),
    BodySize(Operator, u64),
    Header(HeaderName, Option<Comparison<String>>),
    FilledHeader(HeaderName, Operator, usize),
}

/// What checks came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Bit i: check i did not hold.
    pub failed: u64,
    /// Why the request counts as failed; `None` when it does not.
    pub failure: Option<Reason>,
}

impl Checks {
    /// Prepares checks; `Err` names what cannot be read (configuration has refused that before).
    pub(super) fn new(checks: &[Check], paths: &mut Paths) -> Result<Self, String> {
        let list = Vec::with_capacity(checks.len());
        let mut prepared = Self { list, statuses: None, grpc_statuses: None, sides: RightSides::default() };
        for check in checks {
            let ready = Ready::new(&check.kind, paths, &mut prepared.sides).map_err(|error| format!("check `{}`: {error}", check.name))?;
            match &ready {
                Ready::Status(allowed) => prepared.statuses.get_or_insert_default().extend(allowed),
                Ready::GrpcStatus(allowed) => prepared.grpc_statuses.get_or_insert_default().extend(allowed),
                Ready::DurationBelow(_)
                | Ready::BodyIsJson
                | Ready::JsonExists(_)
                | Ready::Json(..)
                | Ready::FilledJson(..)
                | Ready::Body(_)
                | Ready::FilledBody(_)
                | Ready::BodySize(..)
                | Ready::Header(..)
                | Ready::FilledHeader(..) => {}
            }
            prepared.list.push((check.name.clone(), ready));
        }
        Ok(prepared)
    }

    /// Bits of all checks: what a request without an answer has failed.
    pub(super) fn all(&self) -> u64 {
        if self.list.len() >= 64 { u64::MAX } else { (1 << self.list.len()) - 1 }
    }

    /// What they compare with, filled in.
    pub(super) fn wanted(&self, scope: &mut Scope) -> Result<Wanted, Script> {
        self.sides.fill(scope)
    }

    /// Evaluates all checks; `json` is what their paths found, `None` when the body is no JSON.
    pub(super) fn evaluate(&self, answer: &Answer<'_>, paths: &Paths, json: Option<&Found>, wanted: &Wanted) -> Checked {
        let mut checked = Checked { failed: 0, failure: self.status_failure(answer) };
        for (index, (name, check)) in self.list.iter().enumerate() {
            if check.holds(answer, paths, json, wanted) {
                continue;
            }
            checked.failed |= 1 << index.min(63);
            if checked.failure.is_none() && !matches!(check, Ready::DurationBelow(_)) {
                checked.failure = Some(Reason::Check(name.clone()));
            }
        }
        checked
    }

    /// The failure that the status itself is. Expected without a check: 200 to 399, and 101, which only the handshake of a WebSocket
    /// gets; of gRPC: OK.
    fn status_failure(&self, answer: &Answer<'_>) -> Option<Reason> {
        let expected = |status: u16| match &self.statuses {
            Some(allowed) => allowed.contains(&status),
            None => (200..400).contains(&status) || status == 101,
        };
        let grpc_expected = |status: u16| self.grpc_statuses.as_ref().map_or(status == 0, |allowed| allowed.contains(&status));
        let status = answer.status.filter(|status| !expected(*status)).map(Reason::Status);
        status.or_else(|| answer.grpc_status.filter(|status| !grpc_expected(*status)).map(Reason::GrpcStatus))
    }
}

impl Ready {
    /// Prepares a check; what has to be filled in is added to `sides`.
    pub(super) fn new(kind: &CheckKind, paths: &mut Paths, sides: &mut RightSides) -> Result<Self, String> {
        Ok(match kind {
            CheckKind::Status(allowed) => Self::Status(allowed.clone()),
            CheckKind::GrpcStatus(allowed) => Self::GrpcStatus(allowed.clone()),
            CheckKind::DurationBelow(limit) => Self::DurationBelow(*limit),
            CheckKind::BodyIsJson => Self::BodyIsJson,
            CheckKind::JsonExists(path) => Self::JsonExists(paths.add(path)?),
            CheckKind::Json(path, operator, right) => match right.constant() {
                Some(text) => {
                    let right = serde_json::from_str(text).map_err(|error| format!("`{text}` is no JSON: {error}"))?;
                    Self::Json(paths.add(path)?, Comparison::json(*operator, right)?)
                }
                None => Self::FilledJson(paths.add(path)?, fillable(*operator)?, sides.place(right)),
            },
            CheckKind::BodyContains(part) => match part.constant() {
                Some(text) => Self::Body(body_pattern(&regex::escape(text))?),
                None => Self::FilledBody(sides.place(part)),
            },
            CheckKind::BodyMatches(pattern) => Self::Body(body_pattern(pattern)?),
            CheckKind::BodySize(Operator::Contains | Operator::Matches, _) => return Err("a size is a number".into()),
            CheckKind::BodySize(operator, bytes) => Self::BodySize(*operator, *bytes),
            CheckKind::Header(name, None) => Self::Header(header_name(name)?, None),
            CheckKind::Header(name, Some((operator, right))) => match right.constant() {
                Some(text) => Self::Header(header_name(name)?, Some(Comparison::text(*operator, text)?)),
                None => Self::FilledHeader(header_name(name)?, fillable(*operator)?, sides.place(right)),
            },
        })
    }

    /// True when it looks at the body as JSON.
    pub(super) fn needs_json(&self) -> bool {
        matches!(self, Self::BodyIsJson | Self::JsonExists(_) | Self::Json(..) | Self::FilledJson(..))
    }

    /// Whether it holds; `wanted` is what was filled in.
    pub(super) fn holds(&self, answer: &Answer<'_>, paths: &Paths, json: Option<&Found>, wanted: &Wanted) -> bool {
        let find = |path: usize| json.and_then(|found| paths.get(path, found));
        let header = |name: &HeaderName| answer.headers.get(name).and_then(|value| std::str::from_utf8(value.as_bytes()).ok());
        match self {
            Self::Status(allowed) => answer.status.is_some_and(|status| allowed.contains(&status)),
            Self::GrpcStatus(allowed) => answer.grpc_status.is_some_and(|status| allowed.contains(&status)),
            Self::DurationBelow(limit) => answer.duration < *limit,
            Self::BodyIsJson => json.is_some(),
            Self::JsonExists(path) => find(*path).is_some(),
            Self::Json(path, comparison) => find(*path).is_some_and(|value| comparison.holds(value)),
            Self::FilledJson(path, operator, right) => {
                find(*path).zip(wanted.0.get(*right)).is_some_and(|(left, right)| filled_in(left, *operator, right))
            }
            Self::Body(pattern) => pattern.is_match(answer.body),
            Self::FilledBody(part) => contains(answer.body, wanted.text(*part)),
            Self::BodySize(operator, bytes) => values(&Value::from(answer.body.len()), *operator, &Value::from(*bytes)),
            Self::Header(name, None) => answer.headers.contains_key(name),
            Self::Header(name, Some(comparison)) => header(name).is_some_and(|text| comparison.holds(text)),
            Self::FilledHeader(name, operator, right) => header(name).is_some_and(|text| texts(text, *operator, wanted.text(*right))),
        }
    }
}

/// The operator, unless what is behind it must be known before.
fn fillable(operator: Operator) -> Result<Operator, String> {
    match operator {
        Operator::Matches => Err("a regular expression cannot hold a placeholder".into()),
        Operator::Equal
        | Operator::NotEqual
        | Operator::Below
        | Operator::AtMost
        | Operator::Above
        | Operator::AtLeast
        | Operator::Contains => Ok(operator),
    }
}

/// Whether the body has this part.
fn contains(body: &[u8], part: &str) -> bool {
    match std::str::from_utf8(body) {
        Ok(text) => text.contains(part),
        Err(_) => part.is_empty() || body.windows(part.len()).any(|window| window == part.as_bytes()),
    }
}

/// Compiles a regular expression over bytes; the error names it.
pub(super) fn body_pattern(text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|error| format!("`{text}` is not a regular expression: {error}"))
}

/// The name of a header; the error names it.
pub(super) fn header_name(name: &str) -> Result<HeaderName, String> {
    name.parse().map_err(|_| format!("`{name}` is not the name of a header"))
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};
    use serde_json::json;

    use super::*;
    use crate::flow::answer::{Expectation, Judge};
    use crate::flow::testing::scope;
    use crate::model::flow::{Extract, ExtractFrom};

    fn check(kind: CheckKind) -> Check {
        Check { name: format!("{kind:?}"), kind }
    }

    fn literal(text: &str) -> Template {
        Template::literal(text, Encoding::Plain)
    }

    fn document(value: &Value) -> Template {
        Template::of_json(value).unwrap()
    }

    fn judge(kinds: &[CheckKind]) -> Judge {
        Judge::new(&kinds.iter().cloned().map(check).collect::<Vec<_>>(), &[]).unwrap()
    }

    fn answer<'a>(headers: &'a HeaderMap, status: u16, ms: u64, body: &'a str) -> Answer<'a> {
        let (duration, body) = (Duration::from_millis(ms), body.as_bytes());
        Answer { status: Some(status), grpc_status: None, duration, headers, set_cookies: &[], body }
    }

    fn judged(judge: &Judge, status: u16, ms: u64, body: &'static str) -> Checked {
        judge.judge(&answer(&HeaderMap::new(), status, ms, body), &Wanted::default(), &mut scope())
    }

    #[test]
    fn a_wrong_status_or_body_fails_the_request_a_slow_answer_only_its_check() {
        let judge = judge(&[CheckKind::Status(vec![200]), CheckKind::DurationBelow(Duration::from_millis(200)), CheckKind::BodyIsJson]);
        assert_eq!(judged(&judge, 200, 20, "{}"), Checked { failed: 0, failure: None });
        assert_eq!(judged(&judge, 200, 300, "{}"), Checked { failed: 0b010, failure: None });
        assert_eq!(judged(&judge, 500, 300, "{}"), Checked { failed: 0b011, failure: Some(Reason::Status(500)) });
        assert_eq!(judged(&judge, 200, 20, "oops").failure, Some(Reason::Check("BodyIsJson".into())));
        assert_eq!(judge.all(), 0b111);
    }

    #[test]
    fn without_a_status_check_200_to_399_is_expected() {
        let judge = judge(&[]);
        for (status, failure) in [(200, None), (302, None), (101, None), (100, Some(100)), (404, Some(404)), (500, Some(500))] {
            assert_eq!(judged(&judge, status, 1, "").failure, failure.map(Reason::Status));
        }
        assert!(!judge.needs_body() && !judge.needs_headers());
    }

    #[test]
    fn a_grpc_status_is_reported_as_itself() {
        let headers = HeaderMap::new();
        let of = |status| Answer { grpc_status: Some(status), ..answer(&headers, 200, 1, "") };
        let plain = judge(&[]);
        assert_eq!(plain.judge(&of(0), &Wanted::default(), &mut scope()).failure, None);
        assert_eq!(plain.judge(&of(14), &Wanted::default(), &mut scope()).failure, Some(Reason::GrpcStatus(14)));
        let expected = judge(&[CheckKind::GrpcStatus(vec![5])]);
        assert_eq!(expected.judge(&of(5), &Wanted::default(), &mut scope()), Checked { failed: 0, failure: None });
        assert_eq!(expected.judge(&of(0), &Wanted::default(), &mut scope()), Checked { failed: 1, failure: Some(Reason::GrpcStatus(0)) });
        let missing = expected.judge(&answer(&headers, 200, 1, ""), &Wanted::default(), &mut scope());
        assert_eq!(missing.failure, Some(Reason::Check("GrpcStatus([5])".into())));
    }

    #[test]
    fn looks_into_the_body() {
        let json = |operator, value| CheckKind::Json("$.n".into(), operator, document(&value));
        for (kind, good, bad) in [
            (CheckKind::JsonExists("$.user.id".into()), r#"{"user":{"id":null}}"#, r#"{"user":{}}"#),
            (json(Operator::Equal, json!(true)), r#"{"n":true}"#, r#"{"n":"true"}"#),
            (json(Operator::AtLeast, json!(5)), r#"{"n":5.0}"#, r#"{"n":"9"}"#),
            (json(Operator::NotEqual, json!(5)), r#"{"n":6}"#, r#"{"m":6}"#),
            (json(Operator::Contains, json!("b")), r#"{"n":["a","b"]}"#, r#"{"n":["a"]}"#),
            (json(Operator::Matches, json!("^a+$")), r#"{"n":"aa"}"#, r#"{"n":"ab"}"#),
            (CheckKind::JsonExists("$.a[?@.b == 1]".into()), r#"{"a":[{"b":1}]}"#, r#"{"a":[{"b":2}]}"#),
            (CheckKind::BodyContains(literal("many (clients")), "too many (clients already", "too many clients"),
            (CheckKind::BodyContains(literal("")), "", "-"),
            (CheckKind::BodyMatches("^<html>.*</html>$".into()), "<html>ü</html>", "<html>"),
            (CheckKind::BodySize(Operator::Above, 3), "1234", "123"),
            (CheckKind::BodySize(Operator::Equal, 0), "", "1"),
        ] {
            let name = format!("{kind:?}");
            let judge = judge(&[kind]);
            assert!(judge.needs_body());
            assert_eq!(judged(&judge, 200, 1, good), Checked { failed: 0, failure: None }, "{name}");
            if bad != "-" {
                assert_eq!(judged(&judge, 200, 1, bad), Checked { failed: 1, failure: Some(Reason::Check(name)) });
            }
        }
    }

    #[test]
    fn looks_at_headers() {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/json; charset=utf-8"));
        headers.append("x-left", HeaderValue::from_static("10"));
        headers.append("x-left", HeaderValue::from_static("1"));
        headers.insert("x-odd", HeaderValue::from_bytes(b"\xff").unwrap());
        for (name, comparison, holds) in [
            ("Content-Type", None, true),
            ("etag", None, false),
            ("content-type", Some((Operator::Contains, "json")), true),
            ("content-type", Some((Operator::Matches, "^text/")), false),
            ("x-left", Some((Operator::Above, "9")), true),
            ("etag", Some((Operator::NotEqual, "x")), false),
            ("x-odd", None, true),
            ("x-odd", Some((Operator::NotEqual, "x")), false),
        ] {
            let kind = CheckKind::Header(name.into(), comparison.map(|(operator, right)| (operator, literal(right))));
            let judge = judge(&[kind]);
            assert!(judge.needs_headers() && !judge.needs_body());
            let checked = judge.judge(&answer(&headers, 200, 1, ""), &Wanted::default(), &mut scope());
            assert_eq!((checked.failed == 0, checked.failure.is_none()), (holds, holds), "{name} {comparison:?}");
        }
    }

    #[test]
    fn a_request_has_one_reason_the_status_first_then_checks_then_extractions() {
        let checks = [check(CheckKind::BodyIsJson)];
        let extracts = [Extract { variable: "id".into(), from: ExtractFrom::Json("$.id".into()), default: None }];
        let judge = Judge::new(&checks, &extracts).unwrap();
        assert_eq!(judged(&judge, 500, 1, "oops").failure, Some(Reason::Status(500)));
        assert_eq!(judged(&judge, 200, 1, "oops").failure, Some(Reason::Check("BodyIsJson".into())));
        assert_eq!(judged(&judge, 200, 1, "{}").failure, Some(Reason::Extract("id: nothing at $.id".into())));
        let mut scope = scope();
        let checked = judge.judge(&answer(&HeaderMap::new(), 500, 1, "{\"id\": 5}"), &Wanted::default(), &mut scope);
        assert_eq!((checked.failure, scope.variable("id")), (Some(Reason::Status(500)), Some(&json!(5))));
    }

    #[test]
    fn what_is_compared_with_is_filled_in_for_each_request() {
        let template = |text: &str| Template::parse(text, Encoding::Plain).unwrap();
        let json = |operator, right: &str| CheckKind::Json("$.id".into(), operator, document(&json!(right)));
        let headers = HeaderMap::from_iter([(HeaderName::from_static("x-user"), HeaderValue::from_static("ann 7"))]);
        for (kind, good, bad) in [
            (json(Operator::Equal, "${id}"), r#"{"id":7}"#, r#"{"id":8}"#),
            (json(Operator::Equal, "${cell}"), r#"{"id":7}"#, r#"{"id":8}"#),
            (json(Operator::Equal, "${id}"), r#"{"id":"7"}"#, r#"{"id":"8"}"#),
            (json(Operator::Equal, "u-${id}"), r#"{"id":"u-7"}"#, r#"{"id":"u-8"}"#),
            (json(Operator::Above, "${cell}"), r#"{"id":10}"#, r#"{"id":7}"#),
            (json(Operator::Contains, "${id}"), r#"{"id":[6,7]}"#, r#"{"id":[6]}"#),
            (CheckKind::Json("$.id".into(), Operator::Equal, document(&json!({"n": "${id}"}))), r#"{"id":{"n":7}}"#, r#"{"id":{"n":8}}"#),
            (CheckKind::BodyContains(template("<b>${id}.")), "<b>7.5</b>", "<b>7</b>"),
        ] {
            let judge = judge(std::slice::from_ref(&kind));
            let mut scope = scope();
            scope.set("id", json!(7));
            scope.set_text("cell", "7");
            let wanted = judge.wanted(&mut scope).unwrap();
            let of = |body| answer(&headers, 200, 1, body);
            assert_eq!(judge.judge(&of(good), &wanted, &mut scope).failure, None, "{kind:?}");
            assert_eq!(judge.judge(&of(bad), &wanted, &mut scope).failure, Some(Reason::Check(format!("{kind:?}"))));
        }
        let named = judge(&[CheckKind::Header("x-user".into(), Some((Operator::Equal, template("${nick} 7"))))]);
        let mut scope = scope();
        assert_eq!(named.wanted(&mut scope).unwrap_err().to_string(), "`${nick}` is not set");
        for (name, holds) in [("ann", true), ("bob", false)] {
            scope.set_text("nick", name);
            let wanted = named.wanted(&mut scope).unwrap();
            assert_eq!(named.judge(&answer(&headers, 200, 1, ""), &wanted, &mut scope).failed == 0, holds, "{name}");
        }
        let fixed = judge(&[json(Operator::Equal, "7"), CheckKind::BodyContains(literal("7"))]);
        assert!(fixed.wanted(&mut scope).unwrap().0.is_empty(), "a text without variables costs nothing");
    }

    #[test]
    fn an_awaited_message_can_be_that_of_an_own_number() {
        let expectation = Expectation::new(&[CheckKind::Json("$.id".into(), Operator::Equal, document(&json!("${id}")))]).unwrap();
        let mut scope = scope();
        assert!(expectation.wanted(&mut scope).is_err());
        scope.set("id", json!(7));
        let wanted = expectation.wanted(&mut scope).unwrap();
        assert!(expectation.is_met_by(br#"{"id":7}"#, &wanted) && !expectation.is_met_by(br#"{"id":6}"#, &wanted));
    }

    #[test]
    fn an_expected_message_is_one_for_which_all_holds() {
        let kinds = [CheckKind::Json("$.type".into(), Operator::Equal, document(&json!("done"))), CheckKind::BodySize(Operator::Below, 20)];
        let expectation = Expectation::new(&kinds).unwrap();
        assert!(expectation.is_met_by(br#"{"type":"done"}"#, &Wanted::default()));
        assert!(!expectation.is_met_by(br#"{"type":"busy"}"#, &Wanted::default()));
        assert!(!expectation.is_met_by(br#"{"type":"done","n":1}"#, &Wanted::default()));
        assert!(!expectation.is_met_by(b"done", &Wanted::default()));
        assert!(Expectation::new(&[]).unwrap().is_met_by(b"anything", &Wanted::default()));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (kind, error) in [
            (CheckKind::JsonExists("nope[".into()), "`nope[` is not a JSON path"),
            (CheckKind::BodyMatches("(".into()), "`(` is not a regular expression"),
            (CheckKind::BodySize(Operator::Contains, 1), "a size is a number"),
            (CheckKind::Header("a b".into(), None), "`a b` is not the name of a header"),
            (CheckKind::Header("a".into(), Some((Operator::Matches, literal("[")))), "`[` is not a regular expression"),
            (CheckKind::Json("$".into(), Operator::Matches, document(&json!(1))), "`matches` needs a regular expression, not 1"),
        ] {
            let found = Judge::new(&[check(kind)], &[]).unwrap_err();
            assert!(found.contains(error), "{found}");
        }
    }
}
