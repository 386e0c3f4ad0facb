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
use crate::model::units::Timestamp;

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

/// What a header makes of a cookie.
enum Set<'a> {
    Value(&'a [u8]),
    Gone,
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
            let failure = match (extract.from.take(answer, paths, json, || scope.now()), &extract.default) {
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
    /// What the answer has, at this moment.
    fn take<'a>(&self, answer: &Answer<'a>, paths: &Paths, json: Option<&'a Found>, now: impl Fn() -> Timestamp) -> Option<Taken<'a>> {
        match self {
            Self::Json(path) => json.and_then(|found| paths.get(*path, found)).map(Taken::Value),
            Self::Header(name) => answer.headers.get(name).map(|value| Taken::Text(value.as_bytes())),
            Self::Cookie(name) => {
                let now = now();
                let own = answer.headers.get_all(http::header::SET_COOKIE).iter();
                match answer.set_cookies.iter().chain(own).filter_map(|value| cookie(value, name, now)).last()? {
                    Set::Value(value) => Some(Taken::Text(value)),
                    Set::Gone => None,
                }
            }
            Self::Regex(pattern) => {
                // All that matches only where there is no group: a group that took no part has found nothing.
                let group = usize::from(pattern.captures_len() > 1);
                pattern.captures(answer.body)?.get(group).map(|group| Taken::Text(group.as_bytes()))
            }
        }
    }
}

/// What a `set-cookie` header makes of the cookie of this name (RFC 6265, 5.2 and 5.3): its value, or nothing where it takes the cookie
/// away. `None`: it is about another cookie.
fn cookie<'v>(header: &'v HeaderValue, name: &str, now: Timestamp) -> Option<Set<'v>> {
    let mut parts = header.as_bytes().split(|byte| *byte == b';');
    let pair = |part: &'v [u8]| {
        let equals = part.iter().position(|byte| *byte == b'=')?;
        Some((part[..equals].trim_ascii(), part[equals + 1..].trim_ascii()))
    };
    let (own, value) = pair(parts.next()?)?;
    if own != name.as_bytes() {
        return None;
    }
    let attributes: Vec<(&[u8], &[u8])> = parts.filter_map(pair).collect();
    let attribute = |name: &str| {
        let found = attributes.iter().rev().find(|(own, _)| own.eq_ignore_ascii_case(name.as_bytes()));
        found.and_then(|(_, value)| std::str::from_utf8(value).ok())
    };
    let over = match attribute("max-age").and_then(|age| age.parse::<i64>().ok()) {
        Some(age) => age <= 0,
        None => attribute("expires").and_then(expiry).is_some_and(|moment| moment <= now),
    };
    Some(if over || value.is_empty() { Set::Gone } else { Set::Value(value) })
}

/// The moment of an `Expires` attribute; servers write its date with spaces or with dashes.
fn expiry(text: &str) -> Option<Timestamp> {
    let moment = chrono::DateTime::parse_from_rfc2822(&text.replace('-', " ")).ok()?;
    Some(Timestamp(moment.timestamp_micros()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderMap;
    use serde_json::json;

    use super::*;
    use crate::flow::answer::Judge;
    use crate::flow::check::Wanted;
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
        Judge::new(&[], extracts).unwrap().judge(&answer, &Wanted::default(), scope).failure
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
    fn a_group_that_took_no_part_and_a_cookie_that_is_taken_away_are_nothing() {
        let token = [extract("token", ExtractFrom::Regex("token=([a-z]+)|error".into()))];
        let mut scope = scope();
        assert_eq!(applied(&token, &[], &[], b"token=abc", &mut scope), None);
        assert_eq!(scope.variable("token"), Some(&json!("abc")));
        let nothing = Reason::Extract("token: nothing matches token=([a-z]+)|error".into());
        assert_eq!((applied(&token, &[], &[], b"an error", &mut scope), scope.variable("token")), (Some(nothing), None));
        let session = [extract("sid", ExtractFrom::Cookie("sid".into()))];
        for (set, value) in [
            ("sid=a; Max-Age=60", Some("a")),
            ("sid=a; Max-Age=0", None),
            ("sid=; max-age=0; Path=/", None),
            ("sid=a; Max-Age=-1; Expires=Wed, 21 Oct 2099 07:28:00 GMT", None),
            ("sid=a; Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT", Some("a")),
            ("sid=a; Expires=Thu, 01 Jan 1970 00:00:00 GMT", None),
            ("sid=a; expires=Thu, 01-Jan-1970 00:00:00 GMT", None),
            ("sid=a; Expires=Wed, 21 Oct 2099 07:28:00 GMT", Some("a")),
            ("sid=a; Expires=0", Some("a")),
            ("sid=", None),
        ] {
            let reason = applied(&session, &[], &["sid=earlier", set], b"", &mut scope);
            assert_eq!(scope.variable("sid"), value.map(|value| json!(value)).as_ref(), "{set}");
            assert_eq!(reason, value.is_none().then(|| Reason::Extract("sid: no cookie sid is set".into())), "{set}");
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
