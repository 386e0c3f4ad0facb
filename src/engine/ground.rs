//! What a run stands on before its load begins: schemas looked up, tokens obtained, the setup walked; and its teardown afterwards. All of it
//! on threads of its own, so that neither the daemon nor the load waits for it. Its requests are not among the run's figures.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::LocalSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::cap::RateCap;
use super::workload::{FlowWorkload, Places, Plan};
use crate::clock::SharedClock;
use crate::executor::shard::Shard;
use crate::executor::{Iteration, IterationEnd, Workload};
use crate::flow::data::{RunData, ScenarioData};
use crate::flow::scope::Scope;
use crate::model::failure::Reason;
use crate::model::flow::{FlowNode, Step, groups_of, steps_of};
use crate::model::measure::StepInterval;
use crate::model::profile::Profile;
use crate::model::request::{GrpcRequest, GrpcSchema, Hidden, HttpOptions, Request, TokenSource};
use crate::model::units::Rate;
use crate::protocol::dial::Dialer;
use crate::protocol::grpc::{GrpcClient, GrpcPool, Method, reflect, schema};
use crate::protocol::token::{Token, TokenFailure, TokenFetcher, keep};

/// Longest time for everything before the load.
const SETUP_LIMIT: Duration = Duration::from_secs(300);
/// Longest time for each question to a server about its schema.
const REFLECTION_LIMIT: Duration = Duration::from_secs(10);
/// Longest time for the teardown.
const TEARDOWN_LIMIT: Duration = Duration::from_secs(60);

/// What the flows of a run stand on. Cheap to clone.
#[derive(Clone)]
pub struct Ground {
    /// Opens connections, with the target's guard and TLS.
    pub dialer: Dialer,
    /// Counts and the setup's variables.
    pub data: Arc<RunData>,
    /// The gRPC methods that its steps call.
    pub methods: Methods,
    /// The tokens that VUs share.
    pub tokens: Tokens,
    /// The target's limit on requests a second.
    pub cap: Option<Arc<RateCap>>,
    /// How the flows connect that are walked once.
    pub http: HttpOptions,
}

/// gRPC methods by what names them.
#[derive(Clone, Default)]
pub struct Methods(Arc<BTreeMap<(String, String, String), Method>>);

impl Methods {
    /// The method that a request calls.
    pub fn find(&self, request: &GrpcRequest) -> Option<Method> {
        self.0.get(&key(request)).cloned()
    }
}

fn key(request: &GrpcRequest) -> (String, String, String) {
    let source = match &request.schema {
        GrpcSchema::Files(files, includes) => format!("{files:?} {includes:?}"),
        GrpcSchema::Reflection => request.origin.to_string(),
    };
    (source, request.service.clone(), request.method.clone())
}

/// The present tokens of a run's sources.
#[derive(Clone, Default)]
pub struct Tokens(Arc<Vec<RwLock<Option<Arc<str>>>>>);

impl Tokens {
    fn of(sources: usize) -> Self {
        Self(Arc::new((0..sources).map(|_| RwLock::default()).collect()))
    }

    /// The token of a source; `None` while there is none.
    pub fn current(&self, source: u16) -> Option<Arc<str>> {
        self.0.get(usize::from(source))?.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, source: usize, token: &Token) {
        if let Some(place) = self.0.get(source) {
            *place.write().unwrap_or_else(PoisonError::into_inner) = Some(token.value.0.as_str().into());
        }
    }
}

/// Ground that is laid. Tokens are kept fresh until it is dropped.
pub struct Laid {
    /// For the load threads.
    pub ground: Ground,
    /// What people should know of the setup, one sentence each.
    pub notes: Vec<String>,
    /// Ends the thread that keeps tokens fresh.
    _keeper: Option<DropGuard>,
}

/// Lays the ground of a run; `Err` says in one sentence why no load can be sent.
pub async fn lay(profile: &Arc<Profile>, (dialer, limit): (Dialer, Option<Rate>), seed: u64, clock: SharedClock) -> Result<Laid, String> {
    let tokens = Tokens::of(profile.tokens.len());
    let (data, cap, http) = (RunData::new(seed, clock), limit.map(RateCap::new).map(Arc::new), profile.http.clone());
    let ground = Ground { dialer, data, methods: Methods::default(), tokens, cap, http };
    if !needs_ground(profile) {
        return Ok(Laid { ground, notes: Vec::new(), _keeper: None });
    }
    let (done, end) = (CancellationToken::new(), CancellationToken::new());
    let (tell, told) = oneshot::channel();
    let (profile, stop) = (profile.clone(), end.clone());
    on_thread("setup", move || async move {
        let laid = timeout(SETUP_LIMIT, laying(&profile, ground)).await;
        let laid = laid.unwrap_or_else(|_| Err(format!("the setup was not over after {} s", SETUP_LIMIT.as_secs())));
        let keeping = laid.is_ok();
        // Whoever waited may have given the run up.
        let _ = tell.send(laid);
        if keeping && !profile.tokens.is_empty() {
            stop.cancelled().await;
        }
        done.cancel();
    })?;
    let keeper = end.drop_guard();
    let (ground, notes) = told.await.map_err(|_| "the setup broke off; this is a bug in Plimsoll".to_owned())??;
    Ok(Laid { ground, notes, _keeper: Some(keeper) })
}

/// Walks the teardown; returns what people should know of it.
pub async fn tear_down(profile: &Arc<Profile>, ground: Ground) -> Option<String> {
    if profile.teardown.is_empty() {
        return None;
    }
    let (tell, told) = oneshot::channel();
    let profile = profile.clone();
    let began = on_thread("teardown", move || async move {
        let walked = timeout(TEARDOWN_LIMIT, walk_once("teardown", &profile.teardown, &ground, |_| Ok(()))).await;
        let walked = walked.unwrap_or_else(|_| Err(format!("it was not over after {} s", TEARDOWN_LIMIT.as_secs())));
        // As above.
        let _ = tell.send(walked.map(|(requests, ())| requests));
    });
    let walked = match began {
        Ok(()) => told.await.unwrap_or_else(|_| Err("it broke off; this is a bug in Plimsoll".into())),
        Err(error) => Err(error),
    };
    Some(match walked {
        Ok(requests) => format!("the teardown went through ({requests} requests)"),
        Err(why) => format!("the teardown failed: {why}"),
    })
}

fn needs_ground(profile: &Profile) -> bool {
    !profile.setup.is_empty() || !profile.tokens.is_empty() || !calls_of(profile).is_empty()
}

/// Runs something on a thread of its own, which has a runtime of its own.
fn on_thread<F: Future<Output = ()>>(name: &str, work: impl FnOnce() -> F + Send + 'static) -> Result<(), String> {
    let unable = |error: std::io::Error| format!("the {name} cannot be run: {error}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(unable)?;
    let thread = std::thread::Builder::new().name(name.to_owned());
    let running = thread.spawn(move || {
        LocalSet::new().block_on(&runtime, work());
        // A name lookup that hangs cannot be cancelled; nobody waits for it.
        runtime.shutdown_background();
    });
    running.map(drop).map_err(unable)
}

async fn laying(profile: &Arc<Profile>, mut ground: Ground) -> Result<(Ground, Vec<String>), String> {
    ground.methods = look_up(profile, &ground.dialer).await?;
    for (index, source) in profile.tokens.iter().enumerate() {
        first_token(index, source, &ground).await?;
    }
    let mut notes = Vec::new();
    if !profile.setup.is_empty() {
        let variables = |scope: &mut Scope| Ok(scope.variables().map(|(name, value)| (name.to_owned(), value.clone())).collect::<Vec<_>>());
        let (requests, variables) =
            walk_once("setup", &profile.setup, &ground, variables).await.map_err(|why| format!("the setup failed: {why}"))?;
        ground.data.set_setup(variables);
        notes.push(format!("the setup went through ({requests} requests)"));
    }
    Ok((ground, notes))
}

/// Every gRPC request of a profile, wherever it stands.
fn calls_of(profile: &Profile) -> Vec<&GrpcRequest> {
    let logins = profile.tokens.iter().filter_map(|source| match source {
        TokenSource::Login { flow, .. } => Some(flow),
        TokenSource::ClientCredentials { .. } => None,
    });
    let flows = profile.scenarios.iter().map(|scenario| &scenario.flow).chain([&profile.setup, &profile.teardown]).chain(logins);
    flows
        .flat_map(|flow| steps_of(flow))
        .filter_map(|step| match &step.request {
            Request::Grpc(request) => Some(request),
            Request::Http(_) | Request::Connect(_) | Request::Exchange(_) | Request::Part(_) => None,
        })
        .collect()
}

async fn look_up(profile: &Profile, dialer: &Dialer) -> Result<Methods, String> {
    let mut methods = BTreeMap::new();
    for request in calls_of(profile) {
        let key = key(request);
        if methods.contains_key(&key) {
            continue;
        }
        let of = |error: &dyn std::fmt::Display| format!("the schema of `{}/{}`: {error}", request.service, request.method);
        let found = match &request.schema {
            GrpcSchema::Files(files, includes) => schema::load(files, includes).map_err(|error| of(&error))?,
            GrpcSchema::Reflection => {
                let mut client = GrpcClient::new(dialer.clone(), &HttpOptions::default(), &GrpcPool::default());
                reflect(&mut client, &[request], REFLECTION_LIMIT).await.map_err(|error| of(&error))?
            }
        };
        methods.insert(key, found.method(&request.service, &request.method).map_err(|error| of(&error))?);
    }
    Ok(Methods(Arc::new(methods)))
}

/// Obtains the first token of a source, and keeps it fresh from then on.
async fn first_token(index: usize, source: &TokenSource, ground: &Ground) -> Result<(), String> {
    let (first, got) = oneshot::channel();
    let (tokens, mut first) = (ground.tokens.clone(), Some(first));
    let tell = move |fetched: Result<Token, TokenFailure>| {
        match (&fetched, &first) {
            (Ok(token), _) => tokens.set(index, token),
            (Err(failure), None) => tracing::warn!(%failure, "a token of the run could not be renewed; the one before is used on"),
            (Err(_), Some(_)) => {}
        }
        if let Some(first) = first.take() {
            // Nobody waits when the setup took too long.
            let _ = first.send(fetched.map(drop));
        }
    };
    match source {
        TokenSource::ClientCredentials { .. } => {
            let mut fetcher = TokenFetcher::new(source, &ground.dialer).map_err(|error| format!("no token: {error}"))?;
            tokio::task::spawn_local(async move { keep(async || fetcher.fetch().await, tell).await });
        }
        TokenSource::Login { flow, token, refresh } => {
            let (flow, token, refresh, ground) = (flow.clone(), token.clone(), *refresh, ground.clone());
            let log_in = async move || {
                let value = |scope: &mut Scope| {
                    let mut text = String::new();
                    scope.render(&token, &mut text).map(|()| text).map_err(|script| script.to_string())
                };
                match walk_once("login", &flow, &ground, value).await {
                    Ok((_, value)) => Ok(Token { value: Hidden(value), expires_after: refresh }),
                    Err(message) => Err(TokenFailure { reason: Reason::Script("login".into()), message, lasting: false }),
                }
            };
            tokio::task::spawn_local(async move { keep(log_in, tell).await });
        }
    }
    match got.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(failure)) => Err(format!("no token could be obtained: {failure}")),
        Err(_) => Err("no token could be obtained".into()),
    }
}

/// One VU walks a flow once. Returns the number of requests and what `finish` takes from it; `Err` says which request failed, and why.
async fn walk_once<T>(
    name: &str,
    flow: &[FlowNode],
    ground: &Ground,
    finish: impl FnOnce(&mut Scope) -> Result<T, String>,
) -> Result<(u64, T), String> {
    let steps = steps_of(flow);
    let checks: Vec<usize> = steps.iter().map(|step| step.checks.len()).collect();
    let shard = Shard::new(&checks, 1, groups_of(flow).len());
    let plan = Plan { name, flow, data: &[], http: &ground.http, open: false };
    let data = ScenarioData::new(ground.data.clone(), name, false, &[]);
    let workload = FlowWorkload::new(plan, Places::default(), data, ground, shard.clone())?;
    let mut vu = workload.vu(0);
    let now = Instant::now();
    let end = workload.iterate(&mut vu, Iteration { number: 0, intended: now, ready: now }).await;
    let interval = shard.borrow_mut().take(0);
    let failed = interval.steps.iter().find_map(|(index, figures)| failure_of(steps.get(usize::from(*index))?, figures));
    if let Some(why) = failed {
        return Err(why);
    }
    if end == IterationEnd::Failed {
        let why = interval.scenarios.get(&0).and_then(|scenario| scenario.broke_off.keys().next().map(Reason::to_string));
        return Err(why.unwrap_or_else(|| "it broke off".into()));
    }
    let requests = interval.steps.values().map(StepInterval::requests).sum();
    Ok((requests, finish(&mut vu.scope)?))
}

/// What went wrong with a step, if anything did.
fn failure_of(step: &Step, figures: &StepInterval) -> Option<String> {
    if let Some(reason) = figures.failures.keys().next() {
        let message = figures.messages.get(reason).and_then(|said| said.most()).map(|message| format!(" ({message})")).unwrap_or_default();
        return Some(format!("step `{}`: {reason}{message}", step.name));
    }
    let (check, _) = step.checks.iter().zip(&figures.checks).find(|(_, count)| count.failed > 0)?;
    Some(format!("step `{}`: the check `{}` does not hold", step.name, check.name))
}
