//! A request from its intended start to its count: judged, then counted exactly once, also when it is cut off in the middle.

use std::time::Duration;

use tokio::time::Instant;

use super::super::cap::RateCap;
use super::FlowWorkload;
use crate::flow::Script;
use crate::flow::answer::{Answer, Judge};
use crate::flow::check::Wanted;
use crate::flow::scope::Scope;
use crate::model::failure::Reason;
use crate::model::measure::Outcome;

/// How a request landed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Landing {
    /// The request, or a check of it, failed.
    pub(super) failed: bool,
    /// A template or an extraction failed: the iteration cannot go on.
    pub(super) broke: bool,
    /// When it was over.
    pub(super) ended: Instant,
}

impl Landing {
    /// Of a step that does not exist.
    pub(super) fn lost() -> Self {
        Self { failed: true, broke: true, ended: Instant::now() }
    }

    /// The two together.
    pub(super) fn and(self, other: Self) -> Self {
        Self { failed: self.failed || other.failed, broke: self.broke || other.broke, ended: self.ended.max(other.ended) }
    }
}

/// A request on its way; dropped before it landed, it counts as interrupted.
pub(super) struct Flight<'w> {
    workload: &'w FlowWorkload,
    index: u16,
    judge: &'w Judge,
    intended: Instant,
    /// What its checks compare with.
    wanted: Wanted,
    landed: bool,
}

impl<'w> Flight<'w> {
    pub(super) fn new(workload: &'w FlowWorkload, index: u16, judge: &'w Judge, intended: Instant) -> Self {
        Self { workload, index, judge, intended, wanted: Wanted::default(), landed: false }
    }

    /// Fills in what the checks compare with, before anything is sent.
    pub(super) fn expect(&mut self, scope: &mut Scope) -> Result<(), Script> {
        self.wanted = self.judge.wanted(scope)?;
        Ok(())
    }

    /// It was not due before: it was held back by the target's limit.
    pub(super) fn due_at(&mut self, moment: Instant) {
        self.intended = moment;
    }

    /// When it was due.
    pub(super) fn intended(&self) -> Instant {
        self.intended
    }

    /// The target's limit on requests a second.
    pub(super) fn cap(&self) -> Option<&RateCap> {
        self.workload.cap.as_deref()
    }

    /// Counts a redirect on the way; `first` says that it began when the request was due.
    pub(super) fn hop(&self, outcome: &Outcome, response: Duration) {
        self.count(outcome, response, None);
    }

    /// Counts a request that was answered, as its checks and extractions judge it. `message` is asked for when it failed by them.
    pub(super) fn land(
        mut self,
        mut outcome: Outcome,
        ended: Instant,
        answer: &Answer<'_>,
        scope: &mut Scope,
        message: impl FnOnce() -> Option<String>,
    ) -> Landing {
        self.landed = true;
        let checked = self.judge.judge(answer, &self.wanted, scope);
        let broke = checked.failure.as_ref().is_some_and(Reason::breaks_off);
        if checked.failure.is_some() && outcome.message.is_none() {
            outcome.message = message();
        } else if checked.failure.is_none() {
            outcome.message = None;
        }
        outcome.failure = checked.failure;
        let failed = outcome.failure.is_some() || checked.failed != 0;
        self.count(&outcome, ended.saturating_duration_since(self.intended), Some(checked.failed));
        Landing { failed, broke, ended }
    }

    /// Counts a request that got no whole answer: all its checks failed.
    pub(super) fn crash(mut self, outcome: &Outcome, ended: Instant) -> Landing {
        self.landed = true;
        self.count(outcome, ended.saturating_duration_since(self.intended), Some(self.judge.all()));
        Landing { failed: true, broke: outcome.failure.as_ref().is_some_and(Reason::breaks_off), ended }
    }

    /// Counts a request that could not be put together.
    pub(super) fn not_sent(self, script: Script) -> Landing {
        let outcome = Outcome { failure: Some(script.into()), ..Outcome::default() };
        self.crash(&outcome, Instant::now())
    }

    fn count(&self, outcome: &Outcome, response: Duration, failed_checks: Option<u64>) {
        let step = self.workload.places.step + self.index;
        self.workload.shard.borrow_mut().request(step, outcome, response, failed_checks);
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if !self.landed {
            let outcome = Outcome { failure: Some(Reason::Interrupted), ..Outcome::default() };
            self.count(&outcome, self.intended.elapsed(), Some(self.judge.all()));
        }
    }
}
