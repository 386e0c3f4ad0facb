//! `pause:` as written: a time, or a mapping that names a distribution.

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::model::flow::Pause;
use crate::registry::{Context, Decode, Node, Spanned, Value};
use crate::settings;

settings! {
    /// Think time.
    pub(crate) struct PauseKeys titled "`pause`" {
        /// A time such as `1s`, or a distribution.
        pause: required RawPause,
    }
}

settings! {
    /// Think time from a distribution: one of the keys.
    pub(crate) struct RandomPause titled "`pause`" {
        /// Evenly between two bounds: `[500ms, 2s]`.
        uniform: optional Spanned<Vec<Duration>>,
        /// Around a mean, never below zero.
        normal: optional NormalKeys,
        /// Exponential with this mean, as between the visits of people who do not know of each other.
        exponential: optional Spanned<Duration>,
    }
}

settings! {
    /// A normal distribution.
    pub(crate) struct NormalKeys titled "`normal`" {
        /// Its middle.
        mean: required Duration,
        /// Its standard deviation.
        deviation: required Duration,
    }
}

/// `pause:`.
#[derive(Debug, Clone)]
pub(crate) struct RawPause(pub(crate) Pause);

impl Decode for RawPause {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        if !matches!(node.value, Value::Map(_)) {
            return Duration::decode(node, cx).map(|time| Self(Pause::Fixed(time)));
        }
        let before = cx.diagnostics.0.len();
        let keys = RandomPause::decode(node, cx)?;
        if cx.diagnostics.0.len() > before {
            return None;
        }
        match (keys.uniform, keys.normal, keys.exponential) {
            (Some(uniform), None, None) => {
                if let [from, to] = uniform.value[..]
                    && from <= to
                {
                    return Some(Self(Pause::Uniform(from, to)));
                }
                let message = "a pause lies between a least and a greatest time";
                cx.diagnostics.push("out-of-range", uniform.span, message, "write `[500ms, 2s]`");
                None
            }
            (None, Some(normal), None) => Some(Self(Pause::Normal(normal.mean, normal.deviation))),
            (None, None, Some(mean)) => Some(Self(Pause::Exponential(mean.value))),
            (None, None, None) => {
                cx.diagnostics.push("missing-key", node.span, "a pause has a length", "write `1s`, or `{ uniform: [500ms, 2s] }`");
                None
            }
            _ => {
                let message = "a pause follows one distribution: `uniform`, `normal` or `exponential`";
                cx.diagnostics.push("conflicting-keys", node.span, message, "keep one of them");
                None
            }
        }
    }
    fn schema() -> Json {
        json!({"anyOf": [Duration::schema(), RandomPause::schema()]})
    }
}
