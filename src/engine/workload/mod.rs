//! Joins a flow with the protocols: what one iteration of a scenario does, request by request, each counted in the thread's shard.
//! `ready` prepares steps once, `http`, `grpc` and `socket` render and send them, `flight` counts what became of them.

mod flight;
mod grpc;
mod http;
mod ready;
mod socket;

use std::rc::Rc;
use std::sync::Arc;

use tokio::time::{Instant, sleep, sleep_until};

use self::flight::Landing;
use self::http::Parallel;
use self::ready::{ReadyStep, ready_steps};
use super::cap::RateCap;
use super::ground::{Ground, Tokens};
use crate::executor::shard::SharedShard;
use crate::executor::{Iteration, IterationEnd, Workload};
use crate::flow::data::ScenarioData;
use crate::flow::scope::Scope;
use crate::flow::walk::{Next, NumberedFlow, Walk};
use crate::model::flow::{Feeder, FlowNode};
use crate::model::request::{Connections, Cookies, HttpOptions};
use crate::protocol::dial::Dialer;
use crate::protocol::grpc::{GrpcClient, GrpcPool};
use crate::protocol::http::{HttpClient, HttpPool};
use crate::protocol::websocket::{Closing, Socket};

/// A flow to be joined: a scenario's, or the setup's.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    /// Name of the scenario.
    pub name: &'a str,
    /// What an iteration does.
    pub flow: &'a [FlowNode],
    /// Rows that it takes values from.
    pub data: &'a [Feeder],
    /// How its VUs connect.
    pub http: &'a HttpOptions,
    /// Response times count from the intended start of the iteration.
    pub open: bool,
}

/// Where a flow's figures go: indexes in the catalog.
#[derive(Debug, Clone, Copy, Default)]
pub struct Places {
    /// The scenario.
    pub scenario: u16,
    /// Its first step.
    pub step: u16,
    /// Its first group.
    pub group: u16,
}

/// The iterations of one flow on one load thread.
pub struct FlowWorkload {
    flow: NumberedFlow,
    steps: Vec<ReadyStep>,
    places: Places,
    open: bool,
    pool: Rc<HttpPool>,
    grpc: GrpcPool,
    dialer: Dialer,
    options: HttpOptions,
    tokens: Tokens,
    data: Arc<ScenarioData>,
    cap: Option<Arc<RateCap>>,
    shard: SharedShard,
}

/// One VU: its connections and what it knows.
pub struct FlowVu {
    http: HttpClient,
    /// Further clients, for requests at the same time.
    siblings: Vec<HttpClient>,
    /// Made with the first call.
    grpc: Option<GrpcClient>,
    /// Open sockets, the innermost last, with the steps that opened them.
    sockets: Vec<(u16, Socket)>,
    /// What it knows.
    pub scope: Scope,
    rendered: http::Rendered,
    /// Since when it is within each group.
    groups: Vec<Option<Instant>>,
}

impl FlowWorkload {
    /// Prepares every step; `Err` says which cannot be sent.
    pub fn new(plan: Plan<'_>, places: Places, data: Arc<ScenarioData>, ground: &Ground, shard: SharedShard) -> Result<Rc<Self>, String> {
        let steps = ready_steps(plan.flow, plan.http, ground)?;
        Ok(Rc::new(Self {
            flow: NumberedFlow::new(plan.flow)?,
            steps,
            places,
            open: plan.open,
            pool: HttpPool::new(&ground.dialer, plan.http),
            grpc: GrpcPool::default(),
            dialer: ground.dialer.clone(),
            options: plan.http.clone(),
            tokens: ground.tokens.clone(),
            data,
            cap: ground.cap.clone(),
            shard,
        }))
    }

    /// Sends the request of a step; `intended` is when it was due. Sockets that are open are kept alive meanwhile.
    async fn step(&self, vu: &mut FlowVu, index: u16, intended: Instant) -> Landing {
        if vu.sockets.is_empty() {
            return self.send_step(vu, index, intended).await;
        }
        // Apart, so that a flow without sockets has no room for it.
        Box::pin(async {
            let Some(step @ (ReadyStep::Exchange(_) | ReadyStep::Part(_))) = self.steps.get(usize::from(index)) else {
                return socket::beside(vu, async |vu| self.send_step(vu, index, intended).await).await;
            };
            let held_back = socket::keeping(&mut vu.sockets, self.is_held_back()).await;
            let intended = if held_back && !self.open { Instant::now() } else { intended };
            self.send_ready(vu, index, step, intended).await
        })
        .await
    }

    /// Sends the requests of steps that go out together.
    async fn parallel(&self, vu: &mut FlowVu, parallel: Parallel<'_>) -> Landing {
        if vu.sockets.is_empty() {
            return parallel.send(vu).await;
        }
        Box::pin(socket::beside(vu, async |vu| parallel.send(vu).await)).await
    }

    /// Sends the request of a step.
    async fn send_step(&self, vu: &mut FlowVu, index: u16, intended: Instant) -> Landing {
        let Some(step) = self.steps.get(usize::from(index)) else { return Landing::lost() };
        // A VU that loops was not due before it was let through.
        let intended = if self.is_held_back().await && !self.open { Instant::now() } else { intended };
        self.send_ready(vu, index, step, intended).await
    }

    /// Sends the request of a step whose turn it is.
    async fn send_ready(&self, vu: &mut FlowVu, index: u16, step: &ReadyStep, intended: Instant) -> Landing {
        match step {
            ReadyStep::Http(step) => self.http(vu, index, step, intended).await,
            ReadyStep::Grpc(step) => self.grpc(vu, index, step, intended).await,
            ReadyStep::Connect(step) => self.connect(vu, index, step, intended).await,
            ReadyStep::Exchange(step) => self.exchange(vu, index, step, intended).await,
            ReadyStep::Part(step) => self.part(vu, index, step, intended).await,
        }
    }

    /// Waits for its turn by the target's limit on requests a second; true when it had to.
    async fn is_held_back(&self) -> bool {
        match &self.cap {
            Some(cap) => cap.turn().await,
            None => false,
        }
    }

    /// Does one thing of the walk that is no step.
    async fn between(&self, vu: &mut FlowVu, next: &Next<'_>, begin: Instant) {
        match next {
            Next::Pause(time) if time.is_zero() => tokio::task::coop::consume_budget().await,
            Next::Pause(time) => socket::keeping(&mut vu.sockets, sleep(*time)).await,
            Next::PaceUntil(time) => socket::keeping(&mut vu.sockets, sleep_until(begin + *time)).await,
            Next::Close(index) => {
                if vu.sockets.last().is_some_and(|(own, _)| own == index)
                    && let Some((_, mut socket)) = vu.sockets.pop()
                {
                    let step = self.places.step + index;
                    self.shard.borrow_mut().unheard(step, socket.take_unheard());
                    if socket.close().await == Closing::Unanswered {
                        self.shard.borrow_mut().unanswered(step);
                    }
                }
            }
            Next::GroupBegin(group) => {
                if let Some(since) = vu.groups.get_mut(usize::from(*group)) {
                    *since = Some(Instant::now());
                }
            }
            Next::GroupEnd(group) => {
                if let Some(since) = vu.groups.get_mut(usize::from(*group)).and_then(Option::take) {
                    self.shard.borrow_mut().group(self.places.group + group, since.elapsed());
                }
            }
            Next::Step(..) | Next::Parallel(..) | Next::Connect(..) => {}
        }
    }

    /// Makes of a VU what it is at the beginning of an iteration.
    fn renew(&self, vu: &mut FlowVu) {
        // Left over when an iteration was cut off.
        vu.sockets.clear();
        if self.options.cookies == Cookies::PerIteration {
            vu.http.forget_cookies();
        }
        if self.options.connections == Connections::PerIteration {
            vu.http.hang_up();
            vu.siblings.iter_mut().for_each(HttpClient::hang_up);
            vu.grpc = None;
        }
    }

    /// Takes note of how a request landed; what it could not take from its answer breaks the iteration off.
    fn landed(landing: Landing, walk: &mut Walk<'_>, so_far: &mut SoFar, now: &mut Instant) {
        so_far.with_failed_check |= landing.failed;
        if landing.broke {
            so_far.broke = true;
            walk.abandon();
        }
        *now = landing.ended;
    }
}

/// What an iteration has come to so far.
#[derive(Default)]
struct SoFar {
    with_failed_check: bool,
    broke: bool,
}

impl Workload for FlowWorkload {
    type Vu = FlowVu;

    fn vu(&self, number: u64) -> FlowVu {
        FlowVu {
            http: HttpClient::new(self.pool.clone()),
            siblings: Vec::new(),
            grpc: None,
            sockets: Vec::new(),
            scope: Scope::new(self.data.clone(), number),
            rendered: http::Rendered::default(),
            groups: vec![None; self.flow.groups()],
        }
    }

    fn has_work(&self, vu: &mut FlowVu) -> bool {
        vu.scope.set_rows_aside()
    }

    async fn iterate(&self, vu: &mut FlowVu, iteration: Iteration) -> IterationEnd {
        let begin = Instant::now();
        // Only the first request was due at the iteration's intended start; each later one is due when the one before it (and the
        // thinking after it) is over. A late start therefore makes the whole iteration late once, not every request again.
        let mut intended = if self.open { iteration.intended } else { begin };
        let mut so_far = SoFar::default();
        let mut walk = self.flow.walk();
        self.renew(vu);
        vu.scope.begin_iteration(iteration.number);
        loop {
            let next = match walk.next(&mut vu.scope) {
                Ok(Some(next)) => next,
                Ok(None) => break,
                Err(script) => {
                    so_far.broke = true;
                    self.shard.borrow_mut().broke_off(self.places.scenario, script.into());
                    continue;
                }
            };
            match next {
                Next::Step(index, _) => {
                    let landing = self.step(vu, index, intended).await;
                    Self::landed(landing, &mut walk, &mut so_far, &mut intended);
                }
                Next::Connect(index, _) => {
                    let landing = self.step(vu, index, intended).await;
                    let open = vu.sockets.last().is_some_and(|(own, _)| *own == index);
                    Self::landed(landing, &mut walk, &mut so_far, &mut intended);
                    if !open {
                        walk.skip_session();
                    }
                }
                Next::Parallel(first, steps) => {
                    let parallel = Parallel { workload: self, first, count: steps.len() as u16, intended };
                    let landing = self.parallel(vu, parallel).await;
                    Self::landed(landing, &mut walk, &mut so_far, &mut intended);
                }
                Next::Pause(_) | Next::PaceUntil(_) | Next::Close(_) | Next::GroupBegin(_) | Next::GroupEnd(_) => {
                    self.between(vu, &next, begin).await;
                    if !matches!(next, Next::GroupBegin(_) | Next::GroupEnd(_)) {
                        intended = Instant::now();
                    }
                }
            }
        }
        if so_far.broke { IterationEnd::Failed } else { IterationEnd::Completed { with_failed_check: so_far.with_failed_check } }
    }
}
