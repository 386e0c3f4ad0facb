//! The keys of a staircase as written. Whether it climbs in VUs or in a rate is told by its levels: `50` or `50/s`.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::scenario::{ArrivalsName, WhenBusyName};
use crate::model::units::{Rate, parse_rate};
use crate::registry::{Context, Decode, Node, Spanned, Value};
use crate::{choice, settings};

choice! {
    /// How the limit is narrowed down.
    pub(crate) enum Search {
        /// The gap between the last level that passed and the first that did not is halved, again and again.
        Bisect = "bisect",
    }
}

settings! {
    /// The load climbs in levels, each held and judged.
    pub(crate) struct StaircaseKeys titled "scenario" {
        /// Lowest level: `50` are VUs, `50/s` is a rate.
        from: optional Spanned<RawLevel>,
        /// Highest level.
        to: optional Spanned<RawLevel>,
        /// How much higher each level is than the one before.
        step: optional Spanned<RawLevel>,
        /// The levels one by one, ascending, instead of `from`, `to` and `step`.
        levels: optional Spanned<Vec<Spanned<RawLevel>>>,
        /// How long each level is held.
        hold: required Spanned<Duration>,
        /// How long the way from one level to the next takes.
        ramp: default Duration = Duration::from_secs(0),
        /// How long nothing is sent after a level that did not pass, before the search goes on.
        rest: default Duration = Duration::from_secs(5),
        /// What must hold while a level is held for it to be passed, in the grammar of thresholds. Figures are those of this scenario unless a selector says otherwise.
        gate: default Vec<Spanned<String>>,
        /// Goes no higher than the first level that does not pass.
        stop_on_fail as "stopOnFail": default bool = true,
        /// Searches between the last level that passed and the first that did not.
        search: optional Spanned<Search>,
        /// How narrow the gap between them becomes.
        resolution: optional Spanned<RawLevel>,
        /// The run fails when this level did not pass. Without it a level that fails ends the climb and no more.
        must_reach as "mustReach": optional Spanned<RawLevel>,
        /// VUs made before the start, for rates.
        pre_allocated_vus as "preAllocatedVUs": optional Spanned<u64>,
        /// VUs made when needed, up to this, for rates. Without it: `preAllocatedVUs`.
        max_vus as "maxVUs": optional Spanned<u64>,
        /// For rates, how the starts are spread: without it `even`, or `poisson`, at random as of many users who do not know each other.
        arrivals: optional Spanned<ArrivalsName>,
        /// Of the random numbers of `poisson`: the same seed gives the same starts in every run. Without it: one that follows from the scenario's name.
        seed: optional Spanned<u64>,
        /// For rates, what becomes of a start that is due while no VU is free: `drop`, as without it, counts it, as k6 does; `queue` lets it wait, and its response time counts the wait.
        when_busy as "whenBusy": optional Spanned<WhenBusyName>,
    }
}

/// A level.
#[derive(Debug, Clone, Copy)]
pub(crate) enum RawLevel {
    /// `50`.
    Vus(u64),
    /// `50/s`.
    Rate(Rate),
}

impl Decode for RawLevel {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        match &node.value {
            Value::Number(value, _) if *value >= 0.0 && value.fract().abs() < f64::EPSILON => Some(Self::Vus(*value as u64)),
            Value::Text(text) => parse_rate(text).map_or_else(|error| cx.wrong_unit(node, error), |rate| Some(Self::Rate(rate))),
            Value::Number(..) | Value::Null | Value::Bool(_) | Value::List(_) | Value::Map(_) => {
                cx.wrong_type(node, "a number of VUs such as `50`, or a rate such as `50/s`")
            }
        }
    }
    fn schema() -> Json {
        json!({"anyOf": [{"type": "integer", "minimum": 0}, Rate::schema()]})
    }
}
