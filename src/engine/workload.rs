//! Joins a flow with HTTP: what one iteration of a scenario does, request by request, each counted in the thread's shard.

use std::rc::Rc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::time::Instant;

use crate::executor::shard::SharedShard;
use crate::executor::{Iteration, IterationEnd, Workload};
use crate::flow::check::{Answer, Checks};
use crate::flow::walk::{Next, NumberedFlow};
use crate::model::failure::Reason;
use crate::model::flow::steps_of;
use crate::model::measure::Outcome;
use crate::model::profile::Scenario;
use crate::protocol::dial::Dialer;
use crate::protocol::http::{Exchange, HttpClient, Prepared};

/// The iterations of one scenario on one load thread.
pub struct HttpWorkload {
    flow: NumberedFlow,
    steps: Vec<ReadyStep>,
    /// Index of the scenario's first step in the catalog.
    first_step: u16,
    /// True when response times count from the intended start of the iteration.
    open: bool,
    dialer: Dialer,
    shard: SharedShard,
    seed: u64,
}

struct ReadyStep {
    request: Prepared,
    checks: Checks,
}

/// One VU: its connections and its random numbers.
pub struct HttpVu {
    client: HttpClient,
    random: SmallRng,
}

impl HttpWorkload {
    /// Prepares every step; `Err` says which cannot be sent.
    pub fn new(scenario: &Scenario, first_step: u16, dialer: Dialer, shard: SharedShard, seed: u64) -> Result<Rc<Self>, String> {
        let mut steps = Vec::new();
        for step in steps_of(&scenario.flow) {
            let explain = |error: String| format!("step `{}` cannot be sent: {error}", step.name);
            let checks = Checks::new(&step.checks).map_err(explain)?;
            let Some(request) = step.http() else { continue };
            let request = Prepared::new(request, step.timeout, checks.needs_body()).map_err(explain)?;
            steps.push(ReadyStep { request, checks });
        }
        let flow = NumberedFlow::new(&scenario.flow);
        let dialer = dialer.with_dns_ttl(scenario.http.dns_ttl);
        Ok(Rc::new(Self { flow, steps, first_step, open: scenario.executor.is_open(), dialer, shard, seed }))
    }

    /// Sends one request and counts it; returns whether it or one of its checks failed.
    async fn request(&self, vu: &mut HttpVu, index: u16, intended: Instant) -> bool {
        let Some(step) = self.steps.get(usize::from(index)) else { return true };
        let flight = Flight { workload: self, step: index, intended, landed: false };
        let exchange = vu.client.send(&step.request).await;
        flight.land(exchange, step)
    }
}

impl Workload for HttpWorkload {
    type Vu = HttpVu;

    fn vu(&self, number: u64) -> HttpVu {
        HttpVu {
            client: HttpClient::new(self.dialer.clone()),
            random: SmallRng::seed_from_u64(self.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        }
    }

    async fn iterate(&self, vu: &mut HttpVu, iteration: Iteration) -> IterationEnd {
        let mut with_failed_check = false;
        // Only the first request was due at the iteration's intended start; each later one is due when the one before it (and the
        // thinking after it) is over. A late start therefore makes the whole iteration late once, not every request again.
        let mut intended = if self.open { iteration.intended } else { Instant::now() };
        let mut walk = self.flow.walk();
        while let Some(next) = walk.next(&mut vu.random) {
            match next {
                Next::Pause(time) => tokio::time::sleep(time).await,
                Next::Step(index, _) => with_failed_check |= self.request(vu, index, intended).await,
            }
            intended = Instant::now();
        }
        IterationEnd::Completed { with_failed_check }
    }
}

/// A request on its way; dropped before it landed, it counts as interrupted.
struct Flight<'w> {
    workload: &'w HttpWorkload,
    step: u16,
    intended: Instant,
    landed: bool,
}

impl Flight<'_> {
    /// Judges and counts the answer; returns whether the request or a check failed.
    fn land(mut self, mut exchange: Exchange, step: &ReadyStep) -> bool {
        self.landed = true;
        let mut failed_checks = step.checks.all();
        if let Some(status) = exchange.status.filter(|_| exchange.outcome.failure.is_none()) {
            let answer = Answer { status, duration: exchange.outcome.phases.service_time(), body: &exchange.body };
            let checked = step.checks.evaluate(answer);
            failed_checks = checked.failed;
            if let Some(reason) = checked.failure {
                exchange.outcome.message = Some(step.request.message_of(status, &exchange.body));
                exchange.outcome.failure = Some(reason);
            }
        }
        let failed = exchange.outcome.failure.is_some() || failed_checks != 0;
        self.count(&exchange.outcome, self.intended.elapsed(), failed_checks);
        failed
    }

    fn count(&self, outcome: &Outcome, response: Duration, failed_checks: u64) {
        let step = self.workload.first_step + self.step;
        self.workload.shard.borrow_mut().request(step, outcome, response, failed_checks);
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if !self.landed {
            let outcome = Outcome { failure: Some(Reason::Interrupted), ..Outcome::default() };
            let failed_checks = self.workload.steps.get(usize::from(self.step)).map_or(0, |step| step.checks.all());
            self.count(&outcome, self.intended.elapsed(), failed_checks);
        }
    }
}
