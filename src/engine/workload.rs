//! Joins a flow with HTTP: what one iteration of a scenario does, request by request, each counted in the thread's shard.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::executor::shard::SharedShard;
use crate::executor::{Iteration, IterationEnd, Workload};
use crate::flow::answer::{Answer, Judge};
use crate::flow::data::ScenarioData;
use crate::flow::scope::Scope;
use crate::flow::walk::{Next, NumberedFlow};
use crate::model::failure::Reason;
use crate::model::flow::steps_of;
use crate::model::measure::Outcome;
use crate::model::profile::Scenario;
use crate::model::request::{Body, HttpOptions, HttpRequest};
use crate::protocol::dial::Dialer;
use crate::protocol::http::{Call, Exchange, HttpClient, HttpPool, Keep, Outline, Prepared};

/// The iterations of one scenario on one load thread.
pub struct HttpWorkload {
    flow: NumberedFlow,
    steps: Vec<ReadyStep>,
    /// Index of the scenario's first step in the catalog.
    first_step: u16,
    /// True when response times count from the intended start of the iteration.
    open: bool,
    pool: Rc<HttpPool>,
    shard: SharedShard,
    data: Arc<ScenarioData>,
}

struct ReadyStep {
    request: Prepared,
    judge: Judge,
}

/// One VU: its connections and what it knows.
pub struct HttpVu {
    client: HttpClient,
    scope: Scope,
}

impl HttpWorkload {
    /// Prepares every step; `Err` says which cannot be sent.
    pub fn new(
        scenario: &Scenario,
        first_step: u16,
        dialer: Dialer,
        shard: SharedShard,
        data: Arc<ScenarioData>,
    ) -> Result<Rc<Self>, String> {
        let mut steps = Vec::new();
        for step in steps_of(&scenario.flow) {
            let explain = |error: String| format!("step `{}` cannot be sent: {error}", step.name);
            let judge = Judge::new(&step.checks, &step.extracts).map_err(explain)?;
            let Some(request) = step.http() else { continue };
            let request = prepare(request, step.timeout, judge.needs_body(), &scenario.http).map_err(explain)?;
            steps.push(ReadyStep { request, judge });
        }
        let flow = NumberedFlow::new(&scenario.flow)?;
        let pool = HttpPool::new(&dialer, &scenario.http);
        Ok(Rc::new(Self { flow, steps, first_step, open: scenario.executor.is_open(), pool, shard, data }))
    }

    /// Sends one request and counts it; returns whether it or one of its checks failed.
    async fn request(&self, vu: &mut HttpVu, index: u16, intended: Instant) -> bool {
        let Some(step) = self.steps.get(usize::from(index)) else { return true };
        let flight = Flight { workload: self, step: index, intended, landed: false };
        let exchange = vu.client.send(&step.request, Call::default()).await;
        flight.land(exchange, step, &mut vu.scope)
    }
}

/// A request whose templates are all constant, as it is sent.
fn prepare(request: &HttpRequest, timeout: Duration, body: bool, options: &HttpOptions) -> Result<Prepared, String> {
    let headers: Vec<(String, String)> = request.headers.iter().map(|(name, value)| (name.clone(), value.source())).collect();
    let content = match &request.body {
        Body::Text(text) => Bytes::from(text.source()),
        Body::Bytes(bytes) => bytes.clone(),
        Body::Empty | Body::Multipart(_) => Bytes::new(),
    };
    Prepared::new(Outline {
        method: &request.method,
        origin: &request.address.origin,
        path: Some(&request.address.path.source()),
        headers: &headers,
        rendered: &[],
        body: content,
        keep: Keep { body, ..Keep::default() },
        redirects: request.redirects.unwrap_or(options.redirects),
        timeout,
        options,
    })
}

impl Workload for HttpWorkload {
    type Vu = HttpVu;

    fn vu(&self, number: u64) -> HttpVu {
        HttpVu { client: HttpClient::new(self.pool.clone()), scope: Scope::new(self.data.clone(), number) }
    }

    async fn iterate(&self, vu: &mut HttpVu, iteration: Iteration) -> IterationEnd {
        let mut with_failed_check = false;
        // Only the first request was due at the iteration's intended start; each later one is due when the one before it (and the
        // thinking after it) is over. A late start therefore makes the whole iteration late once, not every request again.
        let mut intended = if self.open { iteration.intended } else { Instant::now() };
        let begin = intended;
        let mut walk = self.flow.walk();
        vu.scope.begin_iteration(iteration.number);
        loop {
            match walk.next(&mut vu.scope) {
                Ok(Some(Next::Pause(time))) => tokio::time::sleep(time).await,
                Ok(Some(Next::PaceUntil(time))) => tokio::time::sleep_until(begin + time).await,
                Ok(Some(Next::Step(index, _))) => with_failed_check |= self.request(vu, index, intended).await,
                Ok(Some(Next::GroupBegin(_) | Next::GroupEnd(_))) => {}
                Ok(Some(Next::Parallel(..) | Next::Connect(..) | Next::Close(_))) | Err(_) => return IterationEnd::Failed,
                Ok(None) => return IterationEnd::Completed { with_failed_check },
            }
            intended = Instant::now();
        }
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
    fn land(mut self, mut exchange: Exchange, step: &ReadyStep, scope: &mut Scope) -> bool {
        self.landed = true;
        let mut failed_checks = step.judge.all();
        if let Some(status) = exchange.status.filter(|_| exchange.outcome.failure.is_none()) {
            let duration = exchange.outcome.phases.service_time();
            let headers = http::HeaderMap::new();
            let answer =
                Answer { status: Some(status), grpc_status: None, duration, headers: &headers, set_cookies: &[], body: &exchange.body };
            let checked = step.judge.judge(&answer, scope);
            failed_checks = checked.failed;
            if let Some(reason) = checked.failure {
                exchange.outcome.message = Some(step.request.message_of(status, &exchange.body, &Call::default()));
                exchange.outcome.failure = Some(reason);
            }
        }
        let failed = exchange.outcome.failure.is_some() || failed_checks != 0;
        self.count(&exchange.outcome, self.intended.elapsed(), failed_checks);
        failed
    }

    fn count(&self, outcome: &Outcome, response: Duration, failed_checks: u64) {
        let step = self.workload.first_step + self.step;
        self.workload.shard.borrow_mut().request(step, outcome, response, Some(failed_checks));
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if !self.landed {
            let outcome = Outcome { failure: Some(Reason::Interrupted), ..Outcome::default() };
            let failed_checks = self.workload.steps.get(usize::from(self.step)).map_or(0, |step| step.judge.all());
            self.count(&outcome, self.intended.elapsed(), failed_checks);
        }
    }
}
