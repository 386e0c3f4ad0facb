//! Takes values out of an answer into variables. Finding nothing is a failure with its reason, unless there is a default; the variable is
//! then not set, so that no later step goes on with an old value.

use http::{HeaderName, HeaderValue};
use regex::bytes::Regex;
use serde_json::Value;

use super::Script;
use super::answer::Answer;
use super::check::{body_pattern, header_name};
use super::json::{Found, Paths};
use super::scope::Scope;
use crate::model::flow::{Extract, ExtractFrom};

/// The extractions of one step, ready to apply.
#[derive(Debug)]
pub(super) struct Extracts {
    list: Vec<Ready>,
}

#[derive(Debug)]
struct Ready {
    variable: String,
    from: From,
    default: Option<Value>,
    /// What a failure says: `token: nothing at $.token`.
    nothing: String,
}

#[derive(Debug)]
enum From {
    Json(usize),
    Header(HeaderName),
    Cookie(String),
    Regex(Regex),
}

/// What was found, where it lies.
#[derive(Clone, Copy)]
enum Taken<'a> {
    Value(&'a Value),
    Text(&'a [u8]),
}

impl Extracts {
    /// Prepares extractions; `Err` names what cannot be read (configuration has refused that before).
    pub(super) fn new(extracts: &[Extract], paths: &mut Paths) -> Result<Self, String> {
        let mut ready = |extract: &Extract| {
            let (from, nothing) = match &extract.from {
                ExtractFrom::Json(path) => (From::Json(paths.add(path)?), format!("nothing at {path}")),
                ExtractFrom::Header(name) => (From::Header(header_name(name)?), format!("there is no header {name}")),
                ExtractFrom::Cookie(name) => (From::Cookie(name.clone()), format!("no cookie {name} is set")),
                ExtractFrom::Regex(text) => (From::Regex(body_pattern(text)?), format!("nothing matches {text}")),
            };
            let nothing = format!("{}: {nothing}", extract.variable);
            Ok(Ready { variable: extract.variable.clone(), from, default: extract.default.clone(), nothing })
        };
        let list: Result<_, String> =
            extracts.iter().map(|extract| ready(extract).map_err(|error: String| format!("`{}`: {error}", extract.variable))).collect();
        Ok(Self { list: list? })
    }

    /// Sets the variables that are found, all of them also when one is not; the first that is not is the failure. `json` is `None`
    /// when the body is no JSON.
    pub(super) fn apply(&self, answer: &Answer<'_>, paths: &Paths, json: Option<&Found>, scope: &mut Scope) -> Result<(), Script> {
        let mut outcome = Ok(());
        for extract in &self.list {
            let failure = match (extract.from.take(answer, paths, json), &extract.default) {
                (Some(taken), _) => extract.keep(taken, scope).err(),
                (None, Some(default)) => {
                    scope.set(&extract.variable, default.clone());
                    None
                }
                (None, None) => Some(extract.nothing(json.is_some())),
            };
            if let Some(script) = failure {
                scope.unset(&extract.variable);
                outcome = outcome.and(Err(script));
            }
        }
        outcome
    }
}

impl Ready {
    fn keep(&self, taken: Taken<'_>, scope: &mut Scope) -> Result<(), Script> {
        match taken {
            Taken::Value(Value::String(text)) => scope.set_text(&self.variable, text),
            Taken::Value(value) => scope.set(&self.variable, value.clone()),
            Taken::Text(bytes) => {
                let text = std::str::from_utf8(bytes).map_err(|_| Script(format!("{}: what was found is not UTF-8", self.variable)))?;
                scope.set_text(&self.variable, text);
            }
        }
        Ok(())
    }

    fn nothing(&self, is_json: bool) -> Script {
        match self.from {
            From::Json(_) if !is_json => Script(format!("{}: the body is not JSON", self.variable)),
            From::Json(_) | From::Header(_) | From::Cookie(_) | From::Regex(_) => Script(self.nothing.clone()),
        }
    }
}

impl From {
    fn take<'a>(&self, answer: &Answer<'a>, paths: &Paths, json: Option<&'a Found>) -> Option<Taken<'a>> {
        match self {
            Self::Json(path) => json.and_then(|found| paths.get(*path, found)).map(Taken::Value),
            Self::Header(name) => answer.headers.get(name).map(|value| Taken::Text(value.as_bytes())),
            Self::Cookie(name) => {
                let own = answer.headers.get_all(http::header::SET_COOKIE).iter();
                answer.set_cookies.iter().chain(own).filter_map(|value| cookie(value, name)).last().map(Taken::Text)
            }
            Self::Regex(pattern) => {
                let groups = pattern.captures(answer.body)?;
                groups.get(1).or_else(|| groups.get(0)).map(|group| Taken::Text(group.as_bytes()))
            }
        }
    }
}

/// The value of a cookie that a `set-cookie` header sets, if it is the one of this name (RFC 6265, 5.2).
fn cookie<'v>(header: &'v HeaderValue, name: &str) -> Option<&'v [u8]> {
    let pair = header.as_bytes().split(|byte| *byte == b';').next()?;
    let equals = pair.iter().position(|byte| *byte == b'=')?;
    (pair[..equals].trim_ascii() == name.as_bytes()).then(|| pair[equals + 1..].trim_ascii())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderMap;
    use serde_json::json;

    use super::*;
    use crate::flow::answer::Judge;
    use crate::flow::testing::scope;
    use crate::model::failure::Reason;

    fn extract(variable: &str, from: ExtractFrom) -> Extract {
        Extract { variable: variable.into(), from, default: None }
    }

    /// What the extractions come to over an answer with these headers, `set-cookie` of redirects before it, and this body.
    fn applied(extracts: &[Extract], headers: &[(&'static str, &[u8])], before: &[&str], body: &[u8], scope: &mut Scope) -> Option<Reason> {
        let pair = |(name, value): &(&'static str, &[u8])| (HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
        let headers: HeaderMap = headers.iter().map(pair).collect();
        let set_cookies: Vec<HeaderValue> = before.iter().map(|value| value.parse().unwrap()).collect();
        let (status, duration) = (Some(200), Duration::ZERO);
        let answer = Answer { status, grpc_status: None, duration, headers: &headers, set_cookies: &set_cookies, body };
        Judge::new(&[], extracts).unwrap().judge(&answer, scope).failure
    }

    #[test]
    fn takes_values_from_everywhere() {
        let extracts = [
            extract("id", ExtractFrom::Json("$.user.id".into())),
            extract("tags", ExtractFrom::Json("$.user.tags".into())),
            extract("first", ExtractFrom::Json("$..name".into())),
            extract("trace", ExtractFrom::Header("X-Trace".into())),
            extract("sid", ExtractFrom::Cookie("sid".into())),
            extract("csrf", ExtractFrom::Regex("\"csrf\": *\"([a-z]+)\"".into())),
            extract("all", ExtractFrom::Regex("c[a-z]+f".into())),
        ];
        let headers: [(&str, &[u8]); 4] =
            [("x-trace", b"t1"), ("x-trace", b"t2"), ("set-cookie", b"sid=one; Path=/; HttpOnly"), ("set-cookie", b" sid = two=2 ;Secure")];
        let body = br#"{"user": {"id": 7, "tags": ["a"], "name": "ann"}, "csrf": "abc"}"#;
        let mut scope = scope();
        assert_eq!(applied(&extracts, &headers, &["sid=zero", "other=1"], body, &mut scope), None);
        let set: Vec<(String, Value)> = scope.variables().map(|(name, value)| (name.to_owned(), value.clone())).collect();
        let expected = [
            ("id", json!(7)),
            ("tags", json!(["a"])),
            ("first", json!("ann")),
            ("trace", json!("t1")),
            ("sid", json!("two=2")),
            ("csrf", json!("abc")),
            ("all", json!("csrf")),
        ];
        assert_eq!(set, expected.map(|(name, value)| (name.to_owned(), value)));
        let cookie = [extract("sid", ExtractFrom::Cookie("sid".into()))];
        assert_eq!(applied(&cookie, &[], &["sid=early", "sid=late; Path=/", "sidney=x"], b"", &mut scope), None);
        assert_eq!(scope.variable("sid"), Some(&json!("late")));
    }

    #[test]
    fn finding_nothing_is_a_failure_with_its_reason_and_unsets_the_variable() {
        for (from, body, reason) in [
            (ExtractFrom::Json("$.token".into()), &b"{}"[..], "token: nothing at $.token"),
            (ExtractFrom::Json("$.token".into()), b"oops", "token: the body is not JSON"),
            (ExtractFrom::Header("X-Token".into()), b"", "token: there is no header X-Token"),
            (ExtractFrom::Cookie("t".into()), b"", "token: no cookie t is set"),
            (ExtractFrom::Regex("a(b)".into()), b"ac", "token: nothing matches a(b)"),
            (ExtractFrom::Regex("a(?-u:.)".into()), b"a\xff", "token: what was found is not UTF-8"),
        ] {
            let mut scope = scope();
            scope.set_text("token", "old");
            let extracts = [extract("token", from), extract("later", ExtractFrom::Regex("^".into()))];
            assert_eq!(applied(&extracts, &[], &[], body, &mut scope), Some(Reason::Extract(reason.into())));
            assert_eq!((scope.variable("token"), scope.variable("later")), (None, Some(&json!(""))), "{reason}");
        }
    }

    #[test]
    fn a_default_stands_in_for_what_is_not_there() {
        let mut scope = scope();
        let next = Extract { default: Some(Value::Null), ..extract("next", ExtractFrom::Json("$.next".into())) };
        assert_eq!(applied(std::slice::from_ref(&next), &[], &[], b"{\"next\": \"/2\"}", &mut scope), None);
        assert_eq!(scope.variable("next"), Some(&json!("/2")));
        assert_eq!(applied(&[next], &[], &[], b"{}", &mut scope), None);
        assert_eq!(scope.variable("next"), Some(&Value::Null));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (from, error) in [
            (ExtractFrom::Json("token".into()), "`token`: `token` is not a JSON path"),
            (ExtractFrom::Header("a b".into()), "`token`: `a b` is not the name of a header"),
            (ExtractFrom::Regex("(".into()), "`token`: `(` is not a regular expression"),
        ] {
            let found = Judge::new(&[], &[extract("token", from)]).unwrap_err();
            assert!(found.starts_with(error), "{found}");
        }
    }
}
