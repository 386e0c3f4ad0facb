//! What must hold of an answer. A wrong status or a wrong body makes the request a failure; a slow answer fails its check only:
//! latency is judged by thresholds (docs/methods.md, "What a failed request is").

use std::time::Duration;

use serde_json_path::JsonPath;

use crate::model::failure::Reason;
use crate::model::flow::{Check, CheckKind};

/// The checks of one step, ready to evaluate.
#[derive(Debug)]
pub struct Checks {
    list: Vec<Ready>,
    needs_body: bool,
    needs_json: bool,
    /// Statuses that a status check allows; without one, 200 to 399.
    statuses: Option<Vec<u16>>,
}

#[derive(Debug)]
struct Ready {
    name: String,
    kind: CheckKind,
    path: Option<JsonPath>,
}

/// An answer as checks see it.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// HTTP status.
    pub status: u16,
    /// `http_req_duration`.
    pub duration: Duration,
    /// The body, when `needs_body` asked for it.
    pub body: &'a [u8],
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
    /// Prepares checks; `Err` names a JSON path that cannot be read (configuration has refused those before).
    pub fn new(checks: &[Check]) -> Result<Self, String> {
        let mut ready = Vec::with_capacity(checks.len());
        let mut statuses: Option<Vec<u16>> = None;
        for check in checks {
            let path = match &check.kind {
                CheckKind::JsonExists(path) | CheckKind::Json(path, ..) => {
                    Some(JsonPath::parse(path).map_err(|error| format!("`{path}`: {error}"))?)
                }
                CheckKind::Status(allowed) => {
                    statuses.get_or_insert_default().extend(allowed);
                    None
                }
                CheckKind::GrpcStatus(_)
                | CheckKind::DurationBelow(_)
                | CheckKind::BodyIsJson
                | CheckKind::BodyContains(_)
                | CheckKind::BodyMatches(_)
                | CheckKind::BodySize(..)
                | CheckKind::Header(..) => None,
            };
            ready.push(Ready { name: check.name.clone(), kind: check.kind.clone(), path });
        }
        let needs_body = checks.iter().any(|check| check.kind.needs_body());
        let needs_json =
            checks.iter().any(|check| matches!(check.kind, CheckKind::BodyIsJson | CheckKind::JsonExists(_) | CheckKind::Json(..)));
        Ok(Self { list: ready, needs_body, needs_json, statuses })
    }

    /// Whether the body must be kept.
    pub fn needs_body(&self) -> bool {
        self.needs_body
    }

    /// Bits of all checks: what a request without an answer has failed.
    pub fn all(&self) -> u64 {
        if self.list.len() >= 64 { u64::MAX } else { (1 << self.list.len()) - 1 }
    }

    /// Evaluates all checks.
    pub fn evaluate(&self, answer: Answer<'_>) -> Checked {
        let json: Option<serde_json::Value> = if self.needs_json { serde_json::from_slice(answer.body).ok() } else { None };
        let status_ok = match &self.statuses {
            Some(allowed) => allowed.contains(&answer.status),
            None => (200..400).contains(&answer.status),
        };
        let mut checked = Checked { failed: 0, failure: (!status_ok).then_some(Reason::Status(answer.status)) };
        for (index, check) in self.list.iter().enumerate() {
            if check.holds(answer, json.as_ref()) {
                continue;
            }
            checked.failed |= 1 << index.min(63);
            if check.kind.needs_body() && checked.failure.is_none() {
                checked.failure = Some(Reason::Check(check.name.clone()));
            }
        }
        checked
    }
}

impl Ready {
    fn holds(&self, answer: Answer<'_>, json: Option<&serde_json::Value>) -> bool {
        let found = || json.zip(self.path.as_ref()).and_then(|(json, path)| path.query(json).first());
        match &self.kind {
            CheckKind::Status(allowed) => allowed.contains(&answer.status),
            CheckKind::DurationBelow(limit) => answer.duration < *limit,
            CheckKind::BodyIsJson => json.is_some(),
            CheckKind::JsonExists(_) => found().is_some(),
            CheckKind::Json(_, _, wanted) => found().is_some_and(|value| value == wanted),
            CheckKind::BodyContains(text) => contains(answer.body, text.as_bytes()),
            CheckKind::GrpcStatus(_) | CheckKind::BodyMatches(_) | CheckKind::BodySize(..) | CheckKind::Header(..) => false,
        }
    }
}

fn contains(body: &[u8], text: &[u8]) -> bool {
    text.is_empty() || body.windows(text.len()).any(|window| window == text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::flow::Operator;

    fn check(kind: CheckKind) -> Check {
        Check { name: format!("{kind:?}"), kind }
    }

    fn answer(status: u16, ms: u64, body: &'static str) -> Answer<'static> {
        Answer { status, duration: Duration::from_millis(ms), body: body.as_bytes() }
    }

    #[test]
    fn a_wrong_status_or_body_fails_the_request_a_slow_answer_only_its_check() {
        let checks = Checks::new(&[
            check(CheckKind::Status(vec![200])),
            check(CheckKind::DurationBelow(Duration::from_millis(200))),
            check(CheckKind::BodyIsJson),
        ])
        .unwrap();
        assert_eq!(checks.evaluate(answer(200, 20, "{}")), Checked { failed: 0, failure: None });
        assert_eq!(checks.evaluate(answer(200, 300, "{}")), Checked { failed: 0b010, failure: None });
        assert_eq!(checks.evaluate(answer(500, 300, "{}")), Checked { failed: 0b011, failure: Some(Reason::Status(500)) });
        assert_eq!(checks.evaluate(answer(200, 20, "oops")).failure, Some(Reason::Check("BodyIsJson".into())));
        assert_eq!(checks.all(), 0b111);
    }

    #[test]
    fn without_a_status_check_200_to_399_is_expected() {
        let checks = Checks::new(&[]).unwrap();
        assert_eq!(checks.evaluate(answer(302, 1, "")).failure, None);
        assert_eq!(checks.evaluate(answer(404, 1, "")).failure, Some(Reason::Status(404)));
    }

    #[test]
    fn looks_into_json() {
        let exists = Checks::new(&[check(CheckKind::JsonExists("$.user.id".into()))]).unwrap();
        assert_eq!(exists.evaluate(answer(200, 1, r#"{"user":{"id":null}}"#)).failed, 0);
        assert_eq!(exists.evaluate(answer(200, 1, r#"{"user":{}}"#)).failed, 1);
        let equals = Checks::new(&[check(CheckKind::Json("$.ok".into(), Operator::Equal, true.into()))]).unwrap();
        assert_eq!(equals.evaluate(answer(200, 1, r#"{"ok":true}"#)).failed, 0);
        assert_eq!(equals.evaluate(answer(200, 1, r#"{"ok":"true"}"#)).failed, 1);
        let text = Checks::new(&[check(CheckKind::BodyContains("clients".into()))]).unwrap();
        assert_eq!(text.evaluate(answer(200, 1, "too many clients already")).failed, 0);
        assert!(Checks::new(&[check(CheckKind::JsonExists("nope[".into()))]).is_err());
    }
}
