//! What is measured: the sample of one request, and the interval of one second that samples are folded into.
//! Intervals merge exactly, whichever thread or machine they come from. The accounting identities live here.

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::failure::Reason;
use super::histogram::LatencyHistogram;
use super::message::Messages;

/// How long each part of a request took; zero when the part did not happen (a reused connection connects in no time).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Phases {
    /// Waiting for a free connection.
    pub blocked: Duration,
    /// Name lookup.
    pub dns: Duration,
    /// TCP connect.
    pub connecting: Duration,
    /// TLS handshake.
    pub tls: Duration,
    /// Writing the request.
    pub sending: Duration,
    /// From the last byte sent to the first byte received.
    pub waiting: Duration,
    /// Reading the answer.
    pub receiving: Duration,
}

impl Phases {
    /// k6's `http_req_duration`: sending + waiting + receiving.
    pub fn service_time(&self) -> Duration {
        self.sending + self.waiting + self.receiving
    }
}

/// What became of one request, as protocols return it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// `None` when it succeeded.
    pub failure: Option<Reason>,
    /// Status line and first bytes of the body or error text of a failed request, secrets redacted; at most 500 characters.
    pub message: Option<String>,
    /// Durations of its parts.
    pub phases: Phases,
    /// Bytes written.
    pub bytes_sent: u64,
    /// Bytes read.
    pub bytes_received: u64,
    /// True when a connection was opened for it.
    pub connected: bool,
    /// How often it was sent again because the server had closed a kept connection, or had not begun with it. What that took is in
    /// the phases.
    pub resent: u32,
    /// Messages that a WebSocket has dropped since the step before: nobody listened, and more came than are kept.
    pub unheard: u32,
}

/// Sums over requests of the durations of their parts, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of `Phases`, summed")]
pub struct PhaseSums {
    pub blocked_us: u64,
    pub dns_us: u64,
    pub connecting_us: u64,
    pub tls_us: u64,
    pub sending_us: u64,
    pub waiting_us: u64,
    pub receiving_us: u64,
}

impl PhaseSums {
    /// Adds one request.
    pub fn add(&mut self, phases: &Phases) {
        let us = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.blocked_us += us(phases.blocked);
        self.dns_us += us(phases.dns);
        self.connecting_us += us(phases.connecting);
        self.tls_us += us(phases.tls);
        self.sending_us += us(phases.sending);
        self.waiting_us += us(phases.waiting);
        self.receiving_us += us(phases.receiving);
    }
}

impl AddAssign for PhaseSums {
    fn add_assign(&mut self, other: Self) {
        self.blocked_us += other.blocked_us;
        self.dns_us += other.dns_us;
        self.connecting_us += other.connecting_us;
        self.tls_us += other.tls_us;
        self.sending_us += other.sending_us;
        self.waiting_us += other.waiting_us;
        self.receiving_us += other.receiving_us;
    }
}

/// How often a check held and did not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckCount {
    /// Held.
    pub passed: u64,
    /// Did not hold.
    pub failed: u64,
}

/// One second of one step. Requests belong to the second in which they ended.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StepInterval {
    /// Index in the catalog.
    pub step: u16,
    /// Requests that succeeded.
    pub ok: u64,
    /// Requests that failed, by reason; the sum is the number of failures.
    pub failures: BTreeMap<Reason, u64>,
    /// What was said of them, by reason: as many as failed, with examples. Empty in what the first versions stored.
    pub messages: BTreeMap<Reason, Messages>,
    /// From the intended start to the end, of successful requests.
    pub response_ok: LatencyHistogram,
    /// The same of failed requests that were answered.
    pub response_failed: LatencyHistogram,
    /// Sending + waiting + receiving, of successful requests.
    pub service_ok: LatencyHistogram,
    /// The same of failed requests that were answered.
    pub service_failed: LatencyHistogram,
    /// Time to first byte after sending, of all answered requests.
    pub waiting: LatencyHistogram,
    /// Sums of the durations of the parts.
    pub phases: PhaseSums,
    /// Bytes written.
    pub bytes_sent: u64,
    /// Bytes read.
    pub bytes_received: u64,
    /// Connections opened.
    pub connections: u64,
    /// Requests that were sent again because the server had closed a kept connection, or had not begun with them.
    #[serde(default)]
    pub resent: u64,
    /// Messages of WebSockets that were dropped because nobody listened.
    #[serde(default)]
    pub unheard: u64,
    /// Sessions on WebSockets whose good-bye the server did not answer.
    #[serde(default)]
    pub unanswered: u64,
    /// Per check of the step, in the catalog's order.
    pub checks: Vec<CheckCount>,
}

impl StepInterval {
    /// Requests that failed.
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// Says which failure was not told of, or twice, or `None`. A breach is a bug in Plimsoll.
    pub fn breach(&self) -> Option<String> {
        let told = |reason: &Reason| self.messages.get(reason).map_or(0, Messages::count);
        let untold = self.failures.iter().find(|(reason, count)| told(reason) != **count);
        let invented = self.messages.iter().find(|(reason, messages)| messages.count() > 0 && !self.failures.contains_key(reason));
        untold
            .map(|(reason, count)| format!("{count} failed with `{reason}`, {} of them are told of", told(reason)))
            .or_else(|| invented.map(|(reason, messages)| format!("{} are told of with `{reason}`, none failed", messages.count())))
    }

    /// All requests.
    pub fn requests(&self) -> u64 {
        self.ok + self.failed()
    }

    /// Adds another shard's or second's figures of the same step; exact.
    pub fn merge(&mut self, other: &Self) {
        self.merge_counts(other);
        for (mine, theirs) in self.latencies_mut().into_iter().zip(other.latencies()) {
            mine.merge(theirs);
        }
    }

    /// Its histograms, always in this order: response time of those that succeeded and that failed, service time likewise, waiting.
    pub fn latencies(&self) -> [&LatencyHistogram; 5] {
        [&self.response_ok, &self.response_failed, &self.service_ok, &self.service_failed, &self.waiting]
    }

    /// The same to be changed.
    pub fn latencies_mut(&mut self) -> [&mut LatencyHistogram; 5] {
        [&mut self.response_ok, &mut self.response_failed, &mut self.service_ok, &mut self.service_failed, &mut self.waiting]
    }

    /// Adds everything but the histograms.
    pub fn merge_counts(&mut self, other: &Self) {
        self.ok += other.ok;
        for (reason, count) in &other.failures {
            *self.failures.entry(reason.clone()).or_default() += count;
        }
        for (reason, message) in &other.messages {
            self.messages.entry(reason.clone()).or_default().merge(message);
        }
        self.phases += other.phases;
        self.bytes_sent += other.bytes_sent;
        self.bytes_received += other.bytes_received;
        self.connections += other.connections;
        self.resent += other.resent;
        self.unheard += other.unheard;
        self.unanswered += other.unanswered;
        if self.checks.len() < other.checks.len() {
            self.checks.resize(other.checks.len(), CheckCount::default());
        }
        for (mine, theirs) in self.checks.iter_mut().zip(&other.checks) {
            mine.passed += theirs.passed;
            mine.failed += theirs.failed;
        }
    }
}

/// Where iterations went. Nothing vanishes:
/// `scheduled = started + dropped + unsent` and `started = completed + failed + interrupted + running`, `running` being 0 at the end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accounting {
    /// Starts that were due.
    pub scheduled: u64,
    /// Iterations that began.
    pub started: u64,
    /// Iterations that went through their whole flow (their requests may have failed).
    pub completed: u64,
    /// Iterations that broke off because a template or an extraction failed.
    pub failed: u64,
    /// Iterations cut off by the hard deadline or an abort.
    pub interrupted: u64,
    /// Starts that found no free VU.
    pub dropped: u64,
    /// Starts that were due but had not been issued when the scenario ended.
    pub unsent: u64,
}

impl AddAssign for Accounting {
    fn add_assign(&mut self, other: Self) {
        self.scheduled += other.scheduled;
        self.started += other.started;
        self.completed += other.completed;
        self.failed += other.failed;
        self.interrupted += other.interrupted;
        self.dropped += other.dropped;
        self.unsent += other.unsent;
    }
}

impl Accounting {
    /// Says which identity is broken at the end of a run, or `None`. A breach is a bug in Plimsoll.
    pub fn breach(&self) -> Option<String> {
        if self.scheduled != self.started + self.dropped + self.unsent {
            return Some(format!(
                "scheduled {} is not started {} + dropped {} + unsent {}",
                self.scheduled, self.started, self.dropped, self.unsent
            ));
        }
        if self.started != self.completed + self.failed + self.interrupted {
            return Some(format!(
                "started {} is not completed {} + failed {} + interrupted {}",
                self.started, self.completed, self.failed, self.interrupted
            ));
        }
        None
    }
}

/// One second of one scenario.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ScenarioInterval {
    /// Index in the catalog.
    pub scenario: u16,
    /// What happened to iterations in this second.
    pub counts: Accounting,
    /// VUs that exist at the end of the second.
    pub vus: u64,
    /// VUs in the middle of an iteration at the end of the second.
    pub vus_busy: u64,
    /// Iterations that ended in this second with at least one failed check or request.
    pub with_failed_check: u64,
    /// Why iterations broke off between requests: a variable, a condition or a loop that failed. What broke off at a request is that
    /// request's failure.
    pub broke_off: BTreeMap<Reason, u64>,
    /// Durations of iterations that completed.
    pub iteration_duration: LatencyHistogram,
    /// Dropped starts as censored response times: at least as long as until a VU was free again.
    pub dropped_wait: LatencyHistogram,
    /// How late iterations began, because of the generator or for want of a VU.
    pub start_lag: LatencyHistogram,
}

impl ScenarioInterval {
    /// Adds another shard's figures of the same second; exact.
    pub fn merge(&mut self, other: &Self) {
        self.counts += other.counts;
        self.vus += other.vus;
        self.vus_busy += other.vus_busy;
        self.with_failed_check += other.with_failed_check;
        for (reason, count) in &other.broke_off {
            *self.broke_off.entry(reason.clone()).or_default() += count;
        }
        self.iteration_duration.merge(&other.iteration_duration);
        self.dropped_wait.merge(&other.dropped_wait);
        self.start_lag.merge(&other.start_lag);
    }

    /// Its histograms, always in this order: duration of iterations, wait of dropped starts, lag of starts.
    pub fn latencies_mut(&mut self) -> [&mut LatencyHistogram; 3] {
        [&mut self.iteration_duration, &mut self.dropped_wait, &mut self.start_lag]
    }
}

/// One second of a run: everything that ended in it, per step and per scenario. Sparse: steps without requests are absent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Second of the run, from 0.
    pub second: u32,
    /// Steps with requests in this second, by index.
    pub steps: BTreeMap<u16, StepInterval>,
    /// Scenarios that are going on, by index.
    pub scenarios: BTreeMap<u16, ScenarioInterval>,
    /// Durations of the groups that were gone through in this second, pauses included, by index.
    pub groups: BTreeMap<u16, LatencyHistogram>,
    /// Longest time in this second for which a load thread's event loop did not turn.
    pub generator_stall: Duration,
    /// CPU seconds that the load threads used in this second; `None` where it cannot be measured.
    pub generator_cpu: Option<f64>,
    /// CPU seconds of the load thread that used most in this second. Known while the run goes on, and not stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generator_busiest: Option<f64>,
    /// Number of load threads merged into this interval.
    pub shards: u32,
}

impl Interval {
    /// Adds another shard's figures of the same second; exact.
    pub fn merge(&mut self, other: &Self) {
        for (index, step) in &other.steps {
            self.steps.entry(*index).or_insert_with(|| StepInterval { step: *index, ..StepInterval::default() }).merge(step);
        }
        for (index, scenario) in &other.scenarios {
            self.scenarios
                .entry(*index)
                .or_insert_with(|| ScenarioInterval { scenario: *index, ..ScenarioInterval::default() })
                .merge(scenario);
        }
        for (index, group) in &other.groups {
            self.groups.entry(*index).or_default().merge(group);
        }
        self.generator_stall = self.generator_stall.max(other.generator_stall);
        self.generator_cpu = match (self.generator_cpu, other.generator_cpu) {
            (Some(a), Some(b)) => Some(a + b),
            (one, other) => one.or(other),
        };
        self.generator_busiest = match (self.generator_busiest, other.generator_busiest) {
            (Some(a), Some(b)) => Some(a.max(b)),
            (one, other) => one.or(other),
        };
        self.shards += other.shards;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_add_up_to_failures_after_merging() {
        let one = StepInterval { ok: 3, failures: [(Reason::Status(500), 2)].into(), ..StepInterval::default() };
        let mut both = StepInterval { ok: 1, failures: [(Reason::Status(500), 1), (Reason::Reset, 4)].into(), ..StepInterval::default() };
        both.merge(&one);
        assert_eq!((both.ok, both.failed(), both.requests()), (4, 7, 11));
        assert_eq!(both.failures[&Reason::Status(500)], 3);
    }

    #[test]
    fn a_broken_identity_is_named() {
        let mut counts = Accounting { scheduled: 10, started: 8, dropped: 2, completed: 8, ..Accounting::default() };
        assert_eq!(counts.breach(), None);
        counts.completed = 7;
        assert_eq!(counts.breach().unwrap(), "started 8 is not completed 7 + failed 0 + interrupted 0");
        counts.scheduled = 11;
        assert!(counts.breach().unwrap().starts_with("scheduled 11"));
    }
}
