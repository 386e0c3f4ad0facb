//! `profiles:` and `schedules:` as written, without the scenarios' executors and flows.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::Attempt;
use super::capture::RawCapture;
use super::flow::RawNodes;
use super::http::HttpKeys;
use super::retention::RawRetention;
use super::scenario::RawScenario;
use crate::model::alerting::Severity;
use crate::model::schedule::Overlap;
use crate::model::threshold::find_metric;
use crate::registry::{Context, Decode, Named, Node, Share, Spanned, Value};
use crate::settings;

settings! {
    /// A load profile.
    pub(crate) struct RawProfile titled "profile" {
        /// Target to load.
        target: required Spanned<String>,
        /// One line for people.
        description: optional String,
        /// Loads a production target on purpose.
        allow_production: default bool = false,
        /// What happens at the same time, by name.
        scenarios: required Spanned<Named<Attempt<RawScenario>>>,
        /// How setup, teardown and shared logins connect, and the scenarios that do not say it themselves. Without it setup, teardown and logins speak the version of HTTP that all scenarios speak, where that is one.
        http: optional HttpKeys,
        /// The seed of its random values; two runs with one seed draw the same. Without it every run has another one, which it tells.
        seed: optional Spanned<u64>,
        /// A flow that is walked once before the load, by one VU; its variables are `${setup.NAME}` in scenarios. Its requests are counted apart.
        setup: optional Spanned<RawNodes>,
        /// A flow that is walked once after the load, also when that was ended early. Its requests are counted apart.
        teardown: optional Spanned<RawNodes>,
        /// What is captured of the target during its runs.
        captures: default Vec<RawCapture>,
        /// What must hold for the run to pass.
        thresholds: default Vec<RawThreshold>,
        /// Share of starts that may be dropped or unsent before the run is invalid.
        max_undelivered: default Share = Share(0.01),
        /// How long its runs are kept, where that is not as in `storage:`.
        retention: optional RawRetention,
    }
}

/// A threshold: its text alone, or a mapping with `expr`.
#[derive(Debug, Clone)]
pub(crate) struct RawThreshold(pub(crate) ThresholdKeys);

settings! {
    /// A threshold with options.
    pub(crate) struct ThresholdKeys titled "the threshold" {
        /// What must hold: `http_req_duration: p(95) < 200ms`.
        expr: required Spanned<String>,
        /// A breach ends the run.
        abort_on_fail as "abortOnFail": default bool = false,
        /// No abort before this time after the start of the scenario that the selector names; of the run, when it names none.
        delay_abort_eval as "delayAbortEval": default Duration = Duration::from_secs(0),
        /// Seconds in which the load changes do not count.
        exclude_ramp as "excludeRamp": default bool = false,
        /// How bad a breach is.
        severity: default Severity = Severity::High,
    }
}

impl Decode for RawThreshold {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        match node.value {
            Value::Map(_) => match unquoted(node) {
                Some(text) => {
                    let hint = format!("write `\"{text}\"`");
                    cx.diagnostics.push(
                        "wrong-type",
                        node.span,
                        "a threshold stands in quotes: without them YAML takes it for a mapping",
                        hint,
                    );
                    None
                }
                None => ThresholdKeys::decode(node, cx).map(Self),
            },
            Value::Text(_) => Spanned::decode(node, cx).map(|expr| {
                Self(ThresholdKeys {
                    expr,
                    abort_on_fail: false,
                    delay_abort_eval: Duration::ZERO,
                    exclude_ramp: false,
                    severity: Severity::High,
                })
            }),
            Value::Null | Value::Bool(_) | Value::Number(..) | Value::List(_) => {
                cx.wrong_type(node, "a threshold such as `http_req_duration: p(95) < 200ms`, in quotes,")
            }
        }
    }
    fn schema() -> Json {
        json!({"anyOf": [{"type": "string", "examples": ["http_req_duration: p(95) < 200ms"]}, ThresholdKeys::schema()]})
    }
}

/// The text of a threshold that was written without quotes, so that its `:` made a mapping of it.
fn unquoted(node: &Node) -> Option<String> {
    let [entry] = node.entries() else { return None };
    let name = entry.key.split('{').next()?;
    let value = entry.node.scalar()?;
    find_metric(name).map(|_| format!("{}: {value}", entry.key))
}

settings! {
    /// When a profile runs.
    pub(crate) struct RawSchedule titled "schedule" {
        /// Profile to run.
        profile: optional Spanned<String>,
        /// Suite whose profiles run, one after the other where they share a target: a schedule `NAME/PROFILE` of each.
        suite: optional Spanned<String>,
        /// Cron expression of five fields (minute hour day month weekday), or six with seconds in front.
        cron: required Spanned<String>,
        /// IANA name of the time zone of `cron`: `Europe/Berlin`.
        timezone: optional Spanned<String>,
        /// Each instant is delayed by a random part of this.
        jitter: default Duration = Duration::from_secs(0),
        /// What happens when the target is being loaded already; `skip`, when it is not given.
        overlap: optional Overlap,
        /// What happens with an instant that passed while the daemon was down: `skip`, or `{ run_within: 4h }`.
        missed: optional RawMissed,
        /// Also run once when the daemon starts.
        run_at_start: default bool = false,
    }
}

/// `skip` or `{ run_within: TIME }`.
#[derive(Debug, Clone)]
pub(crate) struct RawMissed(pub(crate) Option<Duration>);

settings! {
    /// Runs once when the daemon is back in time.
    pub(crate) struct MissedKeys titled "`missed`" {
        /// How late a run may still begin.
        run_within: required Duration,
    }
}

impl Decode for RawMissed {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        if matches!(&node.value, Value::Text(word) if word == "skip") {
            return Some(Self(None));
        }
        if matches!(node.value, Value::Map(_)) {
            return MissedKeys::decode(node, cx).map(|keys| Self(Some(keys.run_within)));
        }
        cx.wrong_type(node, "`skip` or `{ run_within: 4h }`")
    }
    fn schema() -> Json {
        json!({"anyOf": [{"const": "skip"}, MissedKeys::schema()]})
    }
}
