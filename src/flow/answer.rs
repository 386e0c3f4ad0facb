//! An answer, and what becomes of it: checked and taken apart in one go, its body read once for both.

use std::cell::RefCell;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use super::Script;
use super::check::{Checked, Checks, Ready, RightSides, Wanted};
use super::extract::Extracts;
use super::json::{Found, Paths};
use super::scope::Scope;
use crate::model::failure::Reason;
use crate::model::flow::{Check, CheckKind, Extract, ExtractFrom};

/// An answer as checks and extractions see it: of a request, a call, or a message of a WebSocket.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// HTTP status, if it has one.
    pub status: Option<u16>,
    /// gRPC status, if it has one.
    pub grpc_status: Option<u16>,
    /// `http_req_duration`.
    pub duration: Duration,
    /// Headers or metadata, when `needs_headers` asked for them.
    pub headers: &'a HeaderMap,
    /// `set-cookie` headers of redirects that were followed on the way, in order; those of the answer itself are in `headers`.
    pub set_cookies: &'a [HeaderValue],
    /// The body, decompressed, when `needs_body` asked for it.
    pub body: &'a [u8],
}

/// The checks and extractions of one step, ready. One per step and load thread.
#[derive(Debug)]
pub struct Judge {
    checks: Checks,
    extracts: Extracts,
    paths: Paths,
    needs_json: bool,
    needs_body: bool,
    needs_headers: bool,
    /// What the last body had at the paths; kept for its memory.
    found: RefCell<Found>,
}

impl Judge {
    /// Prepares the checks and extractions of a step; `Err` names what cannot be read (configuration has refused that before).
    pub fn new(checks: &[Check], extracts: &[Extract]) -> Result<Self, String> {
        let mut paths = Paths::default();
        let prepared = Checks::new(checks, &mut paths)?;
        let takes = Extracts::new(extracts, &mut paths)?;
        let from = |wanted: fn(&ExtractFrom) -> bool| extracts.iter().any(|extract| wanted(&extract.from));
        let is_json = |kind: &CheckKind| matches!(kind, CheckKind::BodyIsJson | CheckKind::JsonExists(_) | CheckKind::Json(..));
        Ok(Self {
            needs_json: checks.iter().any(|check| is_json(&check.kind)) || from(|from| matches!(from, ExtractFrom::Json(_))),
            needs_body: checks.iter().any(|check| check.kind.needs_body())
                || from(|from| matches!(from, ExtractFrom::Json(_) | ExtractFrom::Regex(_))),
            needs_headers: checks.iter().any(|check| check.kind.needs_headers())
                || from(|from| matches!(from, ExtractFrom::Header(_) | ExtractFrom::Cookie(_))),
            checks: prepared,
            extracts: takes,
            paths,
            found: RefCell::default(),
        })
    }

    /// Whether the body must be kept.
    pub fn needs_body(&self) -> bool {
        self.needs_body
    }

    /// Whether the headers must be kept.
    pub fn needs_headers(&self) -> bool {
        self.needs_headers
    }

    /// Bits of all checks: what a request without an answer has failed.
    pub fn all(&self) -> u64 {
        self.checks.all()
    }

    /// What the checks of a request compare with, filled in before it is sent: so it is what was known then, whatever other requests bring
    /// meanwhile. A template that fails is the failure of the request.
    pub fn wanted(&self, scope: &mut Scope) -> Result<Wanted, Script> {
        self.checks.wanted(scope)
    }

    /// Evaluates all checks, and sets the variables that the answer has something for, whatever the checks came to. A request has one
    /// reason for its failure: its status, else the first check that fails it, else the first extraction that found nothing.
    pub fn judge(&self, answer: &Answer<'_>, wanted: &Wanted, scope: &mut Scope) -> Checked {
        let mut found = self.found.borrow_mut();
        let is_json = self.needs_json && self.paths.read(answer.body, &mut found);
        let json = is_json.then_some(&*found);
        let mut checked = self.checks.evaluate(answer, &self.paths, json, wanted);
        if let Err(script) = self.extracts.apply(answer, &self.paths, json, scope) {
            checked.failure.get_or_insert(Reason::Extract(script.0));
        }
        checked
    }
}

/// What a message must be to be the expected one: all of these checks hold. Used where no figures are kept per check.
#[derive(Debug)]
pub struct Expectation {
    checks: Vec<Ready>,
    sides: RightSides,
    paths: Paths,
    needs_json: bool,
    found: RefCell<Found>,
}

impl Expectation {
    /// Prepares the checks; `Err` names what cannot be read.
    pub fn new(kinds: &[CheckKind]) -> Result<Self, String> {
        let (mut paths, mut sides) = (Paths::default(), RightSides::default());
        let checks: Vec<Ready> = kinds.iter().map(|kind| Ready::new(kind, &mut paths, &mut sides)).collect::<Result<_, _>>()?;
        let needs_json = checks.iter().any(Ready::needs_json);
        Ok(Self { checks, sides, paths, needs_json, found: RefCell::default() })
    }

    /// What a message is compared with, filled in.
    pub fn wanted(&self, scope: &mut Scope) -> Result<Wanted, Script> {
        self.sides.fill(scope)
    }

    /// Whether all hold of a message; checks of statuses and headers never do.
    pub fn is_met_by(&self, message: &[u8], wanted: &Wanted) -> bool {
        let mut found = self.found.borrow_mut();
        let is_json = self.needs_json && self.paths.read(message, &mut found);
        let headers = HeaderMap::new();
        let answer =
            Answer { status: None, grpc_status: None, duration: Duration::ZERO, headers: &headers, set_cookies: &[], body: message };
        self.checks.iter().all(|check| check.holds(&answer, &self.paths, is_json.then_some(&*found), wanted))
    }
}
