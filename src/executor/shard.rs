//! What one load thread has measured in the current second: recorders and counts, no lock, handed over once a second.
//! Belongs to its thread; merging with other threads' shards is `Interval::merge`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::IterationEnd;
use crate::model::failure::Reason;
use crate::model::histogram::Recorder;
use crate::model::measure::{Accounting, CheckCount, Interval, Outcome, PhaseSums, ScenarioInterval, StepInterval};
use crate::model::message::Messages;

/// A shard shared by the VUs of one thread.
pub type SharedShard = Rc<RefCell<Shard>>;

/// The fold of one thread.
#[derive(Default)]
pub struct Shard {
    steps: Vec<StepShard>,
    scenarios: Vec<ScenarioShard>,
    groups: Vec<Recorder>,
}

#[derive(Default)]
struct StepShard {
    touched: bool,
    ok: u64,
    failures: BTreeMap<Reason, u64>,
    messages: BTreeMap<Reason, Messages>,
    response_ok: Recorder,
    service_ok: Recorder,
    waiting: Recorder,
    /// Made at the first failure: most steps never need them.
    failed: Option<Box<(Recorder, Recorder)>>,
    phases: PhaseSums,
    bytes_sent: u64,
    bytes_received: u64,
    connections: u64,
    resent: u64,
    unheard: u64,
    unanswered: u64,
    checks: Vec<CheckCount>,
}

#[derive(Default)]
struct ScenarioShard {
    counts: Accounting,
    vus: u64,
    busy: u64,
    with_failed_check: u64,
    broke_off: BTreeMap<Reason, u64>,
    duration: Recorder,
    dropped_wait: Recorder,
    start_lag: Recorder,
}

impl Shard {
    /// A shard for a catalog with so many steps, scenarios and groups; `checks` is the number of checks of each step.
    pub fn new(checks: &[usize], scenarios: usize, groups: usize) -> SharedShard {
        let steps = checks.iter().map(|count| StepShard { checks: vec![CheckCount::default(); *count], ..StepShard::default() });
        let steps = steps.collect();
        let scenarios = (0..scenarios).map(|_| ScenarioShard::default()).collect();
        let groups = (0..groups).map(|_| Recorder::default()).collect();
        Rc::new(RefCell::new(Self { steps, scenarios, groups }))
    }

    /// Records how long going through a group took.
    pub fn group(&mut self, group: u16, took: Duration) {
        if let Some(recorder) = self.groups.get_mut(usize::from(group)) {
            recorder.record(took);
        }
    }

    /// Counts one request. `response` is the time from the intended start; bit i of `failed_checks` says that check i did not hold
    /// (without an answer all of them failed). A redirect on the way is a request whose checks nobody made: `None`.
    pub fn request(&mut self, step: u16, outcome: &Outcome, response: Duration, failed_checks: Option<u64>) {
        let Some(fold) = self.steps.get_mut(usize::from(step)) else { return };
        fold.touched = true;
        let service = outcome.phases.service_time();
        match &outcome.failure {
            None => {
                fold.ok += 1;
                fold.response_ok.record(response);
                fold.service_ok.record(service);
                fold.waiting.record(outcome.phases.waiting);
            }
            Some(reason) => {
                if let Some(count) = fold.failures.get_mut(reason) {
                    *count += 1;
                } else {
                    fold.failures.insert(reason.clone(), 1);
                }
                if let Some(messages) = fold.messages.get_mut(reason) {
                    messages.add(outcome.message.as_deref());
                } else {
                    fold.messages.entry(reason.clone()).or_default().add(outcome.message.as_deref());
                }
                if reason.has_answer() {
                    let (failed_response, failed_service) = &mut **fold.failed.get_or_insert_with(Box::default);
                    failed_response.record(response);
                    failed_service.record(service);
                    fold.waiting.record(outcome.phases.waiting);
                }
            }
        }
        fold.phases.add(&outcome.phases);
        fold.bytes_sent += outcome.bytes_sent;
        fold.bytes_received += outcome.bytes_received;
        fold.connections += u64::from(outcome.connected);
        fold.resent += u64::from(outcome.resent);
        fold.unheard += u64::from(outcome.unheard);
        let Some(failed_checks) = failed_checks else { return };
        for (index, check) in fold.checks.iter_mut().enumerate() {
            if failed_checks & (1 << index.min(63)) == 0 {
                check.passed += 1;
            } else {
                check.failed += 1;
            }
        }
    }

    /// Counts messages that a WebSocket dropped after its last step.
    pub fn unheard(&mut self, step: u16, messages: u32) {
        if let Some(fold) = self.steps.get_mut(usize::from(step)).filter(|_| messages > 0) {
            fold.touched = true;
            fold.unheard += u64::from(messages);
        }
    }

    /// Counts a session whose good-bye the server did not answer.
    pub fn unanswered(&mut self, step: u16) {
        if let Some(fold) = self.steps.get_mut(usize::from(step)) {
            fold.touched = true;
            fold.unanswered += 1;
        }
    }

    /// Counts starts that were due: `started` is counted by the iteration itself.
    pub fn scheduled(&mut self, scenario: u16, count: u64) {
        self.with(scenario, |fold| fold.counts.scheduled += count);
    }

    /// Counts starts that found no free VU.
    pub fn dropped(&mut self, scenario: u16, count: u64) {
        self.with(scenario, |fold| fold.counts.dropped += count);
    }

    /// Counts starts that were due but not issued.
    pub fn unsent(&mut self, scenario: u16, count: u64) {
        self.with(scenario, |fold| fold.counts.unsent += count);
    }

    /// Records a dropped start as a response time of at least `waited`.
    pub fn dropped_wait(&mut self, scenario: u16, waited: Duration) {
        self.with(scenario, |fold| fold.dropped_wait.record(waited));
    }

    /// Notes why an iteration broke off between requests; the iteration itself is counted at its end.
    pub fn broke_off(&mut self, scenario: u16, reason: Reason) {
        self.with(scenario, |fold| *fold.broke_off.entry(reason).or_default() += 1);
    }

    /// Sets the number of VUs that exist on this thread.
    pub fn vus(&mut self, scenario: u16, vus: u64) {
        self.with(scenario, |fold| fold.vus = vus);
    }

    fn with(&mut self, scenario: u16, change: impl FnOnce(&mut ScenarioShard)) {
        if let Some(fold) = self.scenarios.get_mut(usize::from(scenario)) {
            change(fold);
        }
    }

    /// Takes everything since the last call as the interval of `second`. Levels (VUs) stay.
    pub fn take(&mut self, second: u32) -> Interval {
        let mut interval = Interval { second, shards: 1, ..Interval::default() };
        for (index, fold) in self.steps.iter_mut().enumerate().filter(|(_, fold)| fold.touched) {
            interval.steps.insert(index as u16, fold.take(index as u16));
        }
        for (index, fold) in self.scenarios.iter_mut().enumerate() {
            let taken = fold.take(index as u16);
            if taken.vus > 0 || taken.vus_busy > 0 || taken.counts != Accounting::default() || !taken.dropped_wait.is_empty() {
                interval.scenarios.insert(index as u16, taken);
            }
        }
        for (index, recorder) in self.groups.iter_mut().enumerate().filter(|(_, recorder)| !recorder.is_empty()) {
            interval.groups.insert(index as u16, recorder.take());
        }
        interval
    }
}

impl StepShard {
    fn take(&mut self, step: u16) -> StepInterval {
        self.touched = false;
        let (response_failed, service_failed) = self.failed.as_mut().map(|failed| (failed.0.take(), failed.1.take())).unwrap_or_default();
        StepInterval {
            step,
            ok: std::mem::take(&mut self.ok),
            failures: std::mem::take(&mut self.failures),
            messages: std::mem::take(&mut self.messages),
            response_ok: self.response_ok.take(),
            response_failed,
            service_ok: self.service_ok.take(),
            service_failed,
            waiting: self.waiting.take(),
            phases: std::mem::take(&mut self.phases),
            bytes_sent: std::mem::take(&mut self.bytes_sent),
            bytes_received: std::mem::take(&mut self.bytes_received),
            connections: std::mem::take(&mut self.connections),
            resent: std::mem::take(&mut self.resent),
            unheard: std::mem::take(&mut self.unheard),
            unanswered: std::mem::take(&mut self.unanswered),
            checks: self.checks.iter_mut().map(std::mem::take).collect(),
        }
    }
}

impl ScenarioShard {
    fn take(&mut self, scenario: u16) -> ScenarioInterval {
        ScenarioInterval {
            scenario,
            counts: std::mem::take(&mut self.counts),
            vus: self.vus,
            vus_busy: self.busy,
            with_failed_check: std::mem::take(&mut self.with_failed_check),
            broke_off: std::mem::take(&mut self.broke_off),
            iteration_duration: self.duration.take(),
            dropped_wait: self.dropped_wait.take(),
            start_lag: self.start_lag.take(),
        }
    }
}

/// Counts one iteration from its start to its end; dropped before `end`, it counts as interrupted.
pub struct IterationGuard<'a> {
    shard: &'a SharedShard,
    scenario: u16,
    began: Instant,
    ended: bool,
}

impl<'a> IterationGuard<'a> {
    /// Counts the start and how late it was after `ready`.
    pub fn begin(shard: &'a SharedShard, scenario: u16, ready: Instant) -> Self {
        let began = Instant::now();
        shard.borrow_mut().with(scenario, |fold| {
            fold.counts.started += 1;
            fold.busy += 1;
            fold.start_lag.record(began.saturating_duration_since(ready));
        });
        Self { shard, scenario, began, ended: false }
    }

    /// Counts the end.
    pub fn end(mut self, end: IterationEnd) {
        self.ended = true;
        let took = self.began.elapsed();
        self.shard.borrow_mut().with(self.scenario, |fold| {
            fold.busy -= 1;
            match end {
                IterationEnd::Completed { with_failed_check } => {
                    fold.counts.completed += 1;
                    fold.with_failed_check += u64::from(with_failed_check);
                    fold.duration.record(took);
                }
                IterationEnd::Failed => {
                    fold.counts.failed += 1;
                    fold.with_failed_check += 1;
                }
            }
        });
    }
}

impl Drop for IterationGuard<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.shard.borrow_mut().with(self.scenario, |fold| {
                fold.busy -= 1;
                fold.counts.interrupted += 1;
            });
        }
    }
}
