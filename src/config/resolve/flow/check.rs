//! Whether the checks and extractions of a step fit what it sends: a gRPC call has no HTTP status, a message no headers, and a
//! redirect that is followed is never seen.

use super::Scope;
use crate::config::raw::flow::check::RawCheck;
use crate::config::raw::flow::step::RawStep;
use crate::config::resolve::Resolver;
use crate::model::flow::{CheckKind, ExtractFrom};
use crate::registry::Spanned;

/// What an answer of some kind has.
struct Answer {
    /// "a gRPC call".
    what: &'static str,
    status: bool,
    grpc_status: bool,
    headers: bool,
    cookies: bool,
    body: bool,
    duration: bool,
}

const HTTP: Answer = Answer {
    what: "an HTTP request",
    status: true,
    grpc_status: false,
    headers: true,
    cookies: true,
    body: true,
    duration: true,
};
const GRPC: Answer = Answer {
    what: "a gRPC call",
    status: false,
    grpc_status: true,
    headers: true,
    cookies: false,
    body: true,
    duration: true,
};
const OPENED: Answer = Answer {
    what: "opening a WebSocket",
    status: true,
    grpc_status: false,
    headers: true,
    cookies: true,
    body: false,
    duration: true,
};
const MESSAGE: Answer = Answer {
    what: "a message on a WebSocket",
    status: false,
    grpc_status: false,
    headers: false,
    cookies: false,
    body: true,
    duration: true,
};

/// Redirects that are followed when there is a `location`.
const FOLLOWED: [u16; 5] = [301, 302, 303, 307, 308];

impl Resolver<'_> {
    /// Reports checks and extractions that can never hold.
    pub(super) fn check_fit(&mut self, raw: &RawStep, scope: &Scope<'_>) -> bool {
        let answer = match raw {
            RawStep::Http(_) => &HTTP,
            RawStep::Grpc(_) => &GRPC,
            RawStep::Socket(_) => &OPENED,
            RawStep::Exchange(keys) => {
                if keys.expect.is_none() && !(raw.checks().is_empty() && raw.extracts().0.is_empty()) {
                    let message = format!("step `{}` waits for no message that could be looked at", keys.step.value.0);
                    self.mistake("missing-key", keys.step.span, message, "add `expect: any`, or what the message must be");
                    return false;
                }
                &MESSAGE
            }
        };
        let checks = raw.checks().iter().fold(true, |fine, check| self.check_fits(check, answer) & fine);
        let redirects = if let RawStep::Http(keys) = raw { keys.redirects.unwrap_or(scope.redirects) } else { 0 };
        let reachable = raw.checks().iter().fold(true, |fine, check| self.check_redirect(check, redirects) & fine);
        let extracts = raw.extracts().iter().fold(true, |fine, (name, extract)| self.extract_fits(name, &extract.value.from, answer) & fine);
        checks && reachable && extracts
    }

    /// Reports a check that such an answer cannot be asked for.
    fn check_fits(&mut self, check: &RawCheck, answer: &Answer) -> bool {
        let (fits, hint) = match check.check.kind {
            CheckKind::Status(_) => (answer.status, if answer.grpc_status { "write `grpc_status: OK`" } else { "check the body" }),
            CheckKind::GrpcStatus(_) => (answer.grpc_status, if answer.status { "write `status: 200`" } else { "check the body" }),
            CheckKind::DurationBelow(_) => (answer.duration, "write `timeout: 5s` for the step"),
            CheckKind::Header(..) => (answer.headers, "check the body"),
            CheckKind::BodyIsJson
            | CheckKind::JsonExists(_)
            | CheckKind::Json(..)
            | CheckKind::BodyContains(_)
            | CheckKind::BodyMatches(_)
            | CheckKind::BodySize(..) => (answer.body, "check `status` or a header"),
        };
        if !fits {
            let message = format!("`{}` cannot be checked of {}", check.key.value, answer.what);
            self.mistake("key-of-another-request", check.key.span, message, hint);
        }
        fits
    }

    /// Reports a status that is never seen, because the redirect is followed.
    fn check_redirect(&mut self, check: &RawCheck, redirects: u32) -> bool {
        let CheckKind::Status(allowed) = &check.check.kind else { return true };
        let Some(status) = allowed.iter().find(|status| FOLLOWED.contains(status)).filter(|_| redirects > 0) else { return true };
        let message = format!("a {status} is followed, so that it is never the answer");
        self.mistake("impossible-check", check.value, message, "add `redirects: 0` to the step, to look at the redirect itself");
        false
    }

    fn extract_fits(&mut self, name: &Spanned<String>, from: &ExtractFrom, answer: &Answer) -> bool {
        let (fits, what) = match from {
            ExtractFrom::Json(_) | ExtractFrom::Regex(_) => (answer.body, "a body"),
            ExtractFrom::Header(_) => (answer.headers, "headers"),
            ExtractFrom::Cookie(_) => (answer.cookies, "cookies"),
        };
        if !fits {
            let message = format!("`{}` cannot be taken from there: {} has no {what}", name.value, answer.what);
            let hint = if answer.body { "take it from the body: `$.path`" } else { "take it from a header: `{ header: NAME }`" };
            self.mistake("key-of-another-request", name.span, message, hint);
        }
        fits
    }

    /// What a message must be, so that it is the one that was waited for.
    pub(super) fn expected(&mut self, checks: &[RawCheck]) -> Option<Vec<CheckKind>> {
        let arrived = Answer { what: "a message that is waited for", duration: false, ..MESSAGE };
        let fine = checks.iter().fold(true, |fine, check| self.check_fits(check, &arrived) & fine);
        fine.then(|| checks.iter().map(|check| check.check.kind.clone()).collect())
    }
}
