//! A scenario as written: common keys, and the keys of the executor it names. A key of another executor is refused by saying
//! whose it is. Names and defaults are k6's; rates carry their unit, or `timeUnit` gives it.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::Attempt;
use super::auth::RawAuth;
use super::data::DataKeys;
use super::flow::RawNodes;
use super::http::HttpKeys;
use super::staircase::StaircaseKeys;
use crate::model::units::{Rate, parse_rate};
use crate::registry::{Context, Decode, KeyDoc, Named, Node, Spanned, Value, object_schema, suggest};
use crate::{choice, settings};

choice! {
    /// When iterations start.
    pub(crate) enum ExecutorName {
        /// A fixed number of VUs loop.
        ConstantVus = "constant-vus",
        /// The number of VUs follows stages.
        RampingVus = "ramping-vus",
        /// Starts at a fixed rate, whatever the answers do.
        ConstantArrivalRate = "constant-arrival-rate",
        /// Starts at a rate that follows stages.
        RampingArrivalRate = "ramping-arrival-rate",
        /// Every VU does a number of iterations.
        PerVuIterations = "per-vu-iterations",
        /// VUs share a number of iterations: faster ones do more.
        SharedIterations = "shared-iterations",
        /// A number of VUs that is changed while they loop: `plimsoll control`, or the API.
        ExternallyControlled = "externally-controlled",
        /// The load climbs in levels, each held and judged.
        Staircase = "staircase",
    }
}

choice! {
    /// How starts are spread whose rate is given.
    pub(crate) enum ArrivalsName {
        /// As evenly as the rate allows.
        Even = "even",
        /// At random with the same mean rate: the gaps are exponential.
        Poisson = "poisson",
    }
}

choice! {
    /// What becomes of a start that is due while no VU is free.
    pub(crate) enum WhenBusyName {
        /// It is dropped and counted.
        Drop = "drop",
        /// It waits for a VU.
        Queue = "queue",
    }
}

settings! {
    /// Keys of every scenario.
    pub(crate) struct CommonKeys titled "scenario" {
        /// When iterations start.
        executor: required ExecutorName,
        /// What one iteration does.
        flow: required Spanned<RawNodes>,
        /// Rows that iterations take values from, by name: `${NAME.COLUMN}`.
        data: default Named<Attempt<DataKeys>>,
        /// How requests prove who asks, instead of what the target says: `none`, a name from the target's `identities`, or a mapping.
        auth: optional Spanned<RawAuth>,
        /// How its VUs connect.
        http: optional HttpKeys,
        /// Offset from the start of the run, or with `startAfter` from the end of that scenario.
        start_time as "startTime": default Duration = Duration::from_secs(0),
        /// Begins once the last iteration of this scenario has ended.
        start_after as "startAfter": optional Spanned<String>,
        /// How long running iterations may go on after the end.
        graceful_stop as "gracefulStop": default Duration = Duration::from_secs(30),
        /// Least time between the starts of two iterations of one VU: `30s` makes two a minute. Only for executors with VUs.
        pace: optional Spanned<Duration>,
        /// Labels of its own, that thresholds and rules select by: `http_req_failed{team:checkout}: rate < 1%`.
        tags: default Named<String>,
    }
}

settings! {
    /// A fixed number of VUs loop.
    pub(crate) struct ConstantVusKeys titled "scenario" {
        /// Number of VUs.
        vus: default u64 = 1,
        /// How long.
        duration: required Spanned<Duration>,
    }
}

settings! {
    /// The number of VUs follows stages.
    pub(crate) struct RampingVusKeys titled "scenario" {
        /// VUs at the start.
        start_vus as "startVUs": default u64 = 1,
        /// One after the other.
        stages: required Spanned<Vec<VuStage>>,
        /// How long a VU that is ramped down may finish its iteration.
        graceful_ramp_down as "gracefulRampDown": default Duration = Duration::from_secs(30),
    }
}

settings! {
    /// A stage: by its end there are `target` VUs.
    pub(crate) struct VuStage titled "the stage" {
        /// How long; `0s` = at once.
        duration: required Duration,
        /// VUs at its end.
        target: required u64,
        /// Name for phases of thresholds.
        name: optional Spanned<String>,
    }
}

settings! {
    /// Starts at a fixed rate, whatever the answers do.
    pub(crate) struct ConstantRateKeys titled "scenario" {
        /// Starts: `500/s`, `200/min`.
        rate: required Spanned<RawRate>,
        /// How long.
        duration: required Spanned<Duration>,
        /// Unit of rates without one.
        time_unit as "timeUnit": optional Spanned<Duration>,
        /// VUs made before the start.
        pre_allocated_vus as "preAllocatedVUs": required Spanned<u64>,
        /// VUs made when needed, up to this. Without it: `preAllocatedVUs`.
        max_vus as "maxVUs": optional Spanned<u64>,
        /// How the starts are spread: `even`, or `poisson`, at random as of many users who do not know each other.
        arrivals: default ArrivalsName = ArrivalsName::Even,
        /// Of the random numbers of `poisson`: the same seed gives the same starts in every run. Without it: one that follows from the scenario's name.
        seed: optional Spanned<u64>,
        /// What becomes of a start that is due while no VU is free: `drop` counts it, as k6 does; `queue` lets it wait, and its response time counts the wait.
        when_busy as "whenBusy": default WhenBusyName = WhenBusyName::Drop,
    }
}

settings! {
    /// Starts at a rate that follows stages.
    pub(crate) struct RampingRateKeys titled "scenario" {
        /// Rate at the start. Without it: none.
        start_rate as "startRate": optional Spanned<RawRate>,
        /// One after the other.
        stages: required Spanned<Vec<RateStage>>,
        /// Unit of rates without one.
        time_unit as "timeUnit": optional Spanned<Duration>,
        /// VUs made before the start.
        pre_allocated_vus as "preAllocatedVUs": required Spanned<u64>,
        /// VUs made when needed, up to this. Without it: `preAllocatedVUs`.
        max_vus as "maxVUs": optional Spanned<u64>,
        /// How the starts are spread: `even`, or `poisson`, at random as of many users who do not know each other.
        arrivals: default ArrivalsName = ArrivalsName::Even,
        /// Of the random numbers of `poisson`: the same seed gives the same starts in every run. Without it: one that follows from the scenario's name.
        seed: optional Spanned<u64>,
        /// What becomes of a start that is due while no VU is free: `drop` counts it, as k6 does; `queue` lets it wait, and its response time counts the wait.
        when_busy as "whenBusy": default WhenBusyName = WhenBusyName::Drop,
    }
}

settings! {
    /// A stage: by its end the rate is `target`.
    pub(crate) struct RateStage titled "the stage" {
        /// How long; `0s` = at once.
        duration: required Duration,
        /// Rate at its end.
        target: required Spanned<RawRate>,
        /// Name for phases of thresholds.
        name: optional Spanned<String>,
    }
}

settings! {
    /// Every VU does a number of iterations.
    pub(crate) struct PerVuKeys titled "scenario" {
        /// Number of VUs.
        vus: default u64 = 1,
        /// Iterations of each VU.
        iterations: default u64 = 1,
        /// No iteration starts after it; what was not started by then counts as dropped.
        max_duration as "maxDuration": default Duration = Duration::from_secs(600),
    }
}

settings! {
    /// VUs share a number of iterations: faster ones do more.
    pub(crate) struct SharedKeys titled "scenario" {
        /// Number of VUs.
        vus: default u64 = 1,
        /// Iterations in all, at least as many as VUs.
        iterations: default u64 = 1,
        /// No iteration starts after it; what was not started by then counts as dropped.
        max_duration as "maxDuration": default Duration = Duration::from_secs(600),
    }
}

settings! {
    /// A number of VUs that is changed while they loop.
    pub(crate) struct ControlledKeys titled "scenario" {
        /// VUs at the start.
        vus: default u64 = 1,
        /// Most VUs. Without it: `vus`.
        max_vus as "maxVUs": optional Spanned<u64>,
        /// How long; a pause and a hold make it longer.
        duration: required Spanned<Duration>,
    }
}

/// A rate: with its unit, or a number whose unit is `timeUnit`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum RawRate {
    /// `50/s`.
    Whole(Rate),
    /// `50`.
    Bare(f64),
}

impl Decode for RawRate {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        match &node.value {
            Value::Number(value, _) if *value >= 0.0 => Some(Self::Bare(*value)),
            Value::Text(text) => parse_rate(text).map_or_else(|error| cx.wrong_unit(node, error), |rate| Some(Self::Whole(rate))),
            Value::Number(..) | Value::Null | Value::Bool(_) | Value::List(_) | Value::Map(_) => {
                cx.wrong_type(node, "a rate such as `50/s`")
            }
        }
    }
    fn schema() -> Json {
        json!({"anyOf": [Rate::schema(), {"type": "number", "minimum": 0, "description": "Only together with `timeUnit`."}]})
    }
}

/// The keys of an executor with their values.
#[derive(Debug, Clone)]
pub(crate) enum RawExecutor {
    /// constant-vus
    ConstantVus(ConstantVusKeys),
    /// ramping-vus
    RampingVus(RampingVusKeys),
    /// constant-arrival-rate
    ConstantRate(ConstantRateKeys),
    /// ramping-arrival-rate
    RampingRate(RampingRateKeys),
    /// per-vu-iterations
    PerVu(PerVuKeys),
    /// shared-iterations
    Shared(SharedKeys),
    /// externally-controlled
    Controlled(ControlledKeys),
    /// staircase
    Staircase(Box<StaircaseKeys>),
}

/// A scenario.
#[derive(Debug, Clone)]
pub(crate) struct RawScenario {
    /// Keys of every scenario.
    pub(crate) common: CommonKeys,
    /// Keys of its executor.
    pub(crate) executor: RawExecutor,
}

impl ExecutorName {
    /// The keys that this executor has besides the common ones.
    pub(crate) fn keys(self) -> Vec<KeyDoc> {
        match self {
            Self::ConstantVus => ConstantVusKeys::keys(),
            Self::RampingVus => RampingVusKeys::keys(),
            Self::ConstantArrivalRate => ConstantRateKeys::keys(),
            Self::RampingArrivalRate => RampingRateKeys::keys(),
            Self::PerVuIterations => PerVuKeys::keys(),
            Self::SharedIterations => SharedKeys::keys(),
            Self::ExternallyControlled => ControlledKeys::keys(),
            Self::Staircase => StaircaseKeys::keys(),
        }
    }

    fn decode_keys(self, node: &Node, cx: &mut Context<'_>) -> Option<RawExecutor> {
        match self {
            Self::ConstantVus => ConstantVusKeys::decode(node, cx).map(RawExecutor::ConstantVus),
            Self::RampingVus => RampingVusKeys::decode(node, cx).map(RawExecutor::RampingVus),
            Self::ConstantArrivalRate => ConstantRateKeys::decode(node, cx).map(RawExecutor::ConstantRate),
            Self::RampingArrivalRate => RampingRateKeys::decode(node, cx).map(RawExecutor::RampingRate),
            Self::PerVuIterations => PerVuKeys::decode(node, cx).map(RawExecutor::PerVu),
            Self::SharedIterations => SharedKeys::decode(node, cx).map(RawExecutor::Shared),
            Self::ExternallyControlled => ControlledKeys::decode(node, cx).map(RawExecutor::Controlled),
            Self::Staircase => StaircaseKeys::decode(node, cx).map(|keys| RawExecutor::Staircase(Box::new(keys))),
        }
    }
}

impl Decode for RawScenario {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let Value::Map(entries) = &node.value else { return cx.wrong_type(node, "a mapping") };
        let name = cx.name.clone();
        let common_keys: Vec<&str> = CommonKeys::keys().iter().map(|key| key.key).collect();
        let chosen = node.get("executor").and_then(Node::scalar).and_then(|word| ExecutorName::parse(&word));
        let own_keys: Vec<&str> = chosen.map(|chosen| chosen.keys().iter().map(|key| key.key).collect()).unwrap_or_default();

        let (mut common, mut own) = (Vec::new(), Vec::new());
        for entry in entries {
            if common_keys.contains(&entry.key.as_str()) {
                common.push(entry.clone());
            } else if own_keys.contains(&entry.key.as_str()) {
                own.push(entry.clone());
            } else if let Some(chosen) = chosen {
                let known = common_keys.iter().chain(&own_keys).copied();
                foreign_key(&entry.key, entry.span, chosen, known, name.as_deref(), cx);
            }
        }
        let common = CommonKeys::decode(&Node { span: node.span, value: Value::Map(common) }, cx);
        cx.name = name;
        // Also when a common key is wrong, so that all mistakes are told.
        let chosen = common.as_ref().map(|common| common.executor).or(chosen);
        let executor = chosen.and_then(|chosen| chosen.decode_keys(&Node { span: node.span, value: Value::Map(own) }, cx));
        cx.name = None;
        Some(Self { common: common?, executor: executor? })
    }

    fn schema() -> Json {
        let variants: Vec<Json> = ExecutorName::ALL
            .iter()
            .map(|executor| {
                let mut keys = CommonKeys::keys();
                if let Some(first) = keys.first_mut() {
                    first.schema = json!({"const": executor.as_str()});
                }
                keys.extend(executor.keys());
                object_schema("A scenario: when iterations start, and what they do.", &keys)
            })
            .collect();
        json!({"oneOf": variants})
    }
}

fn foreign_key<'a>(
    key: &str,
    span: crate::registry::Span,
    chosen: ExecutorName,
    known: impl Iterator<Item = &'a str> + Clone,
    name: Option<&str>,
    cx: &mut Context<'_>,
) {
    let owners: Vec<String> = ExecutorName::ALL
        .iter()
        .filter(|executor| executor.keys().iter().any(|doc| doc.key == key))
        .map(|executor| format!("`{executor}`"))
        .collect();
    if owners.is_empty() {
        let scenario = name.map_or_else(|| "the scenario".to_owned(), |name| format!("scenario `{name}`"));
        cx.diagnostics.push("unknown-key", span, format!("unknown key `{key}` in {scenario}"), suggest(key, known));
    } else {
        let message = format!("`{chosen}` has no key `{key}`");
        cx.diagnostics.push("key-of-another-executor", span, message, format!("it belongs to {}", owners.join(" and ")));
    }
}
