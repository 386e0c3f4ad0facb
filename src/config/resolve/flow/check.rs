//! Whether the checks and extractions of a step fit what it sends: a gRPC call has no HTTP status, a message no headers, and a
//! redirect that is followed is never seen.

use super::Scope;
use crate::config::raw::flow::check::RawCheck;
use crate::config::raw::flow::step::RawStep;
use crate::config::resolve::Resolver;
use crate::model::flow::{CheckKind, ExtractFrom};
use crate::registry::Spanned;

/// What can be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Http,
    Grpc,
    /// The answer to the request that opens a WebSocket.
    Opened,
    /// A message that came.
    Message,
    /// A message that is waited for.
    Awaited,
}

impl Answer {
    fn what(self) -> &'static str {
        match self {
            Self::Http => "an HTTP request",
            Self::Grpc => "a gRPC call",
            Self::Opened => "opening a WebSocket",
            Self::Message => "a message on a WebSocket",
            Self::Awaited => "a message that is waited for",
        }
    }

    fn has_status(self) -> bool {
        matches!(self, Self::Http | Self::Opened)
    }

    fn has_headers(self) -> bool {
        matches!(self, Self::Http | Self::Grpc | Self::Opened)
    }

    fn has_cookies(self) -> bool {
        matches!(self, Self::Http | Self::Opened)
    }

    fn has_body(self) -> bool {
        self != Self::Opened
    }
}

/// Redirects that are followed when there is a `location`.
const FOLLOWED: [u16; 5] = [301, 302, 303, 307, 308];

impl Resolver<'_> {
    /// Reports checks and extractions that can never hold.
    pub(super) fn check_fit(&mut self, raw: &RawStep, scope: &Scope<'_>) -> bool {
        let answer = match raw {
            RawStep::Http(_) => Answer::Http,
            RawStep::Grpc(_) => Answer::Grpc,
            RawStep::Socket(_) => Answer::Opened,
            RawStep::Exchange(keys) => {
                if keys.expect.is_none() && !(raw.checks().is_empty() && raw.extracts().0.is_empty()) {
                    let message = format!("step `{}` waits for no message that could be looked at", keys.step.value.0);
                    let parts = keys.close.is_some() || keys.closed.is_some();
                    let hint = if parts { "the end of a socket is no message" } else { "add `expect: any`, or what the message must be" };
                    self.mistake("missing-key", keys.step.span, message, hint);
                    return false;
                }
                Answer::Message
            }
        };
        let checks =
            raw.checks().iter().fold(true, |fine, check| self.check_fits(check, answer) & self.right_side_known(check, scope) & fine);
        let redirects = if let RawStep::Http(keys) = raw { keys.redirects.unwrap_or(scope.redirects) } else { 0 };
        let reachable = raw.checks().iter().fold(true, |fine, check| self.check_redirect(check, redirects) & fine);
        let extracts =
            raw.extracts().iter().fold(true, |fine, (name, extract)| self.extract_fits(name, &extract.value.from, answer) & fine);
        checks && reachable && extracts
    }

    /// Reports a check that such an answer cannot be asked for.
    fn check_fits(&mut self, check: &RawCheck, answer: Answer) -> bool {
        let (fits, hint) = match check.check.kind {
            CheckKind::Status(_) => {
                (answer.has_status(), if answer == Answer::Grpc { "write `grpc_status: OK`" } else { "check the body" })
            }
            CheckKind::GrpcStatus(_) => {
                (answer == Answer::Grpc, if answer.has_status() { "write `status: 200`" } else { "check the body" })
            }
            CheckKind::DurationBelow(_) => (answer != Answer::Awaited, "write `timeout: 5s` for the step"),
            CheckKind::Header(..) => (answer.has_headers(), "check the body"),
            CheckKind::BodyIsJson
            | CheckKind::JsonExists(_)
            | CheckKind::Json(..)
            | CheckKind::BodyContains(_)
            | CheckKind::BodyMatches(_)
            | CheckKind::BodySize(..) => (answer.has_body(), "check `status` or a header"),
        };
        if !fits {
            let message = format!("`{}` cannot be checked of {}", check.key.value, answer.what());
            self.mistake("key-of-another-request", check.key.span, message, hint);
        }
        fits
    }

    /// Reports names that nothing sets in what a check compares with. It is filled in before the request is sent, so that what the step
    /// itself takes from its answer is not among them.
    fn right_side_known(&mut self, check: &RawCheck, scope: &Scope<'_>) -> bool {
        let is_filled_in = check.check.kind.right_side().is_some_and(|right| right.constant().is_none());
        !is_filled_in || self.texts_of(&check.value, scope)
    }

    /// Reports a status that is never seen, because the redirect is followed.
    fn check_redirect(&mut self, check: &RawCheck, redirects: u32) -> bool {
        let CheckKind::Status(allowed) = &check.check.kind else { return true };
        let Some(status) = allowed.iter().find(|status| FOLLOWED.contains(status)).filter(|_| redirects > 0) else { return true };
        let message = format!("a {status} is followed, so that it is never the answer");
        self.mistake("impossible-check", check.value.span, message, "add `redirects: 0` to the step, to look at the redirect itself");
        false
    }

    fn extract_fits(&mut self, name: &Spanned<String>, from: &ExtractFrom, answer: Answer) -> bool {
        let (fits, what) = match from {
            ExtractFrom::Json(_) | ExtractFrom::Regex(_) => (answer.has_body(), "body"),
            ExtractFrom::Header(_) => (answer.has_headers(), "headers"),
            ExtractFrom::Cookie(_) => (answer.has_cookies(), "cookies"),
        };
        if !fits {
            let message = format!("`{}` cannot be taken from there: {} has no {what}", name.value, answer.what());
            let hint = if answer.has_body() { "take it from the body: `$.path`" } else { "take it from a header: `{ header: NAME }`" };
            self.mistake("key-of-another-request", name.span, message, hint);
        }
        fits
    }

    /// What a message must be, so that it is the one that was waited for.
    pub(super) fn expected(&mut self, checks: &[RawCheck], scope: &Scope<'_>) -> Option<Vec<CheckKind>> {
        let fine =
            checks.iter().fold(true, |fine, check| self.check_fits(check, Answer::Awaited) & self.right_side_known(check, scope) & fine);
        fine.then(|| checks.iter().map(|check| check.check.kind.clone()).collect())
    }
}
