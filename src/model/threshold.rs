//! One grammar for run thresholds, phase gates, guards and alert rules: what it says (here), how it is read (`parse`),
//! how it is evaluated second by second (`evaluate`). A threshold states what must hold, an alert rule what is bad.

mod evaluate;
mod found;
mod parse;
mod probed;

use std::time::Duration;

use super::Labels;
use super::alerting::Severity;
use super::run::Verdict;
use super::units::{format_bytes, format_duration, format_percent, trim_decimal};

pub use evaluate::{Aggregate, Evaluator, Judged, threshold_result};
pub use found::Found;
pub use parse::{ParseError, REGRESSIONS, parse_bound, parse_condition, parse_series};

/// What a metric measures, which decides the unit a bound must carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Seconds; written `200ms`.
    Time,
    /// 0 to 1; written `80%`.
    Ratio,
    /// Bytes; written `2GiB`.
    Bytes,
    /// A plain number.
    Count,
}

/// How single measurements become one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// A distribution: `p(95)`, `avg`, `min`, `max`, `med`.
    Trend,
    /// A sum: `count`, `rate` (per second).
    Counter,
    /// A share of yes among yes and no: `rate`.
    Rate,
    /// A level that is read: `avg`, `min`, `max`, `value` (the last).
    Gauge,
}

/// Where a metric comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Figures of requests, selectable by `step` and `scenario`.
    Step,
    /// Figures of iterations, selectable by `scenario`.
    Scenario,
    /// Durations of groups, selectable by `group` and `scenario`.
    Group,
    /// A reading of a probe, selectable by its labels.
    Probe,
    /// What a run comes to against the history of its profile, once it has ended; for alert rules only.
    History,
}

/// The tags by which every series of a source can be selected; scenarios can have further ones of their own. Empty for readings, whose
/// labels are the probe's own.
pub fn tags_of(source: Source) -> &'static [&'static str] {
    match source {
        Source::Step => &["step", "scenario", "phase", "profile", "target"],
        Source::Scenario => &["scenario", "phase", "profile", "target"],
        Source::Group => &["group", "scenario", "phase", "profile", "target"],
        Source::Probe => &[],
        Source::History => &["of", "metric", "profile", "target"],
    }
}

/// A metric that thresholds and rules can speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Name, k6's where k6 has one.
    pub name: &'static str,
    /// See [`MetricKind`].
    pub kind: MetricKind,
    /// See [`Unit`].
    pub unit: Unit,
    /// See [`Source`].
    pub source: Source,
    /// Of a step's figures: the protocols whose steps count, as the catalog of a run calls them; empty: all.
    pub protocols: &'static [&'static str],
    /// One line for the reference.
    pub help: &'static str,
}

impl Metric {
    /// Whether figures of steps with this protocol belong to it.
    pub fn counts(&self, protocol: &str) -> bool {
        self.protocols.is_empty() || self.protocols.contains(&protocol)
    }
}

const fn metric(name: &'static str, kind: MetricKind, unit: Unit, source: Source, help: &'static str) -> Metric {
    Metric { name, kind, unit, source, protocols: &[], help }
}

/// A metric of steps that speak some protocols only.
const fn of(protocols: &'static [&'static str], name: &'static str, kind: MetricKind, unit: Unit, help: &'static str) -> Metric {
    Metric { name, kind, unit, source: Source::Step, protocols, help }
}

const HTTP: &[&str] = &["http"];
const GRPC: &[&str] = &["grpc"];
const OPENING: &[&str] = &["websocket"];
const MESSAGES: &[&str] = &["message"];
const SOCKETS: &[&str] = &["websocket", "message"];

/// Every metric, in the order of the reference.
pub const METRICS: &[Metric] = &JOINED;

const JOINED: [Metric; GENERAL.len() + probed::PROBED.len()] = {
    let mut joined = [GENERAL[0]; GENERAL.len() + probed::PROBED.len()];
    let mut at = 0;
    while at < joined.len() {
        joined[at] = if at < GENERAL.len() { GENERAL[at] } else { probed::PROBED[at - GENERAL.len()] };
        at += 1;
    }
    joined
};

/// What is not of one kind of probe.
const GENERAL: &[Metric] = &[
    of(HTTP, "http_reqs", MetricKind::Counter, Unit::Count, "HTTP requests that ended."),
    of(HTTP, "http_req_failed", MetricKind::Rate, Unit::Ratio, "Share of HTTP requests that failed."),
    of(
        HTTP,
        "http_req_duration",
        MetricKind::Trend,
        Unit::Time,
        "Response time of answered requests: from the intended start in open scenarios, sending + waiting + receiving in closed ones.",
    ),
    of(HTTP, "http_req_waiting", MetricKind::Trend, Unit::Time, "Time to the first byte, of answered requests."),
    of(GRPC, "grpc_reqs", MetricKind::Counter, Unit::Count, "gRPC calls that ended."),
    of(GRPC, "grpc_req_failed", MetricKind::Rate, Unit::Ratio, "Share of gRPC calls that failed."),
    of(GRPC, "grpc_req_duration", MetricKind::Trend, Unit::Time, "The same as `http_req_duration`, of gRPC calls."),
    of(OPENING, "ws_sessions", MetricKind::Counter, Unit::Count, "WebSockets that were opened, well or not."),
    of(
        OPENING,
        "ws_connecting",
        MetricKind::Trend,
        Unit::Time,
        "From when a WebSocket was due until it was open: DNS, connecting, TLS and the upgrade.",
    ),
    of(MESSAGES, "ws_msgs", MetricKind::Counter, Unit::Count, "Steps on open WebSockets that ended: a message sent, expected, or both."),
    of(
        MESSAGES,
        "ws_msg_duration",
        MetricKind::Trend,
        Unit::Time,
        "From the beginning of such a step until the expected message was there.",
    ),
    of(SOCKETS, "ws_failed", MetricKind::Rate, Unit::Ratio, "Share of openings and of steps on open WebSockets that failed."),
    metric("requests", MetricKind::Counter, Unit::Count, Source::Step, "Requests that ended, whatever their protocol."),
    metric("requests_failed", MetricKind::Rate, Unit::Ratio, Source::Step, "Share of requests that failed, whatever their protocol."),
    metric("response_time", MetricKind::Trend, Unit::Time, Source::Step, "From the intended start to the end, of answered requests."),
    metric("service_time", MetricKind::Trend, Unit::Time, Source::Step, "Sending + waiting + receiving, of answered requests."),
    metric("checks", MetricKind::Rate, Unit::Ratio, Source::Step, "Share of checks that held."),
    metric("data_sent", MetricKind::Counter, Unit::Bytes, Source::Step, "Bytes written."),
    metric("data_received", MetricKind::Counter, Unit::Bytes, Source::Step, "Bytes read."),
    metric("iterations", MetricKind::Counter, Unit::Count, Source::Scenario, "Iterations that completed."),
    metric("iteration_duration", MetricKind::Trend, Unit::Time, Source::Scenario, "Duration of completed iterations."),
    metric(
        "iterations_with_failed_check",
        MetricKind::Rate,
        Unit::Ratio,
        Source::Scenario,
        "Share of ended iterations with at least one failed check or request.",
    ),
    metric("group_duration", MetricKind::Trend, Unit::Time, Source::Group, "How long going through a group took, its pauses included."),
    metric("dropped_iterations", MetricKind::Counter, Unit::Count, Source::Scenario, "Starts that found no free VU."),
    metric(
        "dropped_iterations_rate",
        MetricKind::Rate,
        Unit::Ratio,
        Source::Scenario,
        "Share of scheduled starts that were dropped or unsent.",
    ),
    metric("start_lag", MetricKind::Trend, Unit::Time, Source::Scenario, "How late iterations began."),
    metric("vus", MetricKind::Gauge, Unit::Count, Source::Scenario, "VUs that exist."),
    metric("pool_utilization", MetricKind::Gauge, Unit::Ratio, Source::Probe, "Connections checked out of the configured maximum."),
    metric("pool_in_use", MetricKind::Gauge, Unit::Count, Source::Probe, "Connections checked out."),
    metric("pool_idle", MetricKind::Gauge, Unit::Count, Source::Probe, "Open connections not checked out."),
    metric("pool_limit", MetricKind::Gauge, Unit::Count, Source::Probe, "Configured maximum of connections."),
    metric("pool_waiting", MetricKind::Gauge, Unit::Count, Source::Probe, "Callers waiting for a connection."),
    metric("pool_waits", MetricKind::Gauge, Unit::Count, Source::Probe, "Waits for a connection that began, per second."),
    metric("pool_wait_time", MetricKind::Gauge, Unit::Time, Source::Probe, "Mean wait for a connection of those that waited."),
    metric("pool_timeouts", MetricKind::Gauge, Unit::Count, Source::Probe, "Waits that ended without a connection, per second."),
    metric("process_memory", MetricKind::Gauge, Unit::Bytes, Source::Probe, "Resident memory of the process."),
    metric("process_cpu", MetricKind::Gauge, Unit::Ratio, Source::Probe, "CPU of the process; 100 % is one core."),
    metric("process_descriptors", MetricKind::Gauge, Unit::Count, Source::Probe, "Open file descriptors of the process."),
    metric("process_descriptors_ratio", MetricKind::Gauge, Unit::Ratio, Source::Probe, "Open file descriptors of their limit."),
    metric("process_threads", MetricKind::Gauge, Unit::Count, Source::Probe, "Threads of the process."),
    metric("probe_up", MetricKind::Gauge, Unit::Count, Source::Probe, "1 when the probe could be read, 0 when not."),
    metric("headroom", MetricKind::Gauge, Unit::Ratio, Source::Probe, "Share of a target's safe capacity that production leaves free."),
    metric("headroom_capacity", MetricKind::Gauge, Unit::Count, Source::Probe, "That capacity, in requests a second."),
    metric("headroom_load", MetricKind::Gauge, Unit::Count, Source::Probe, "Load of production at its peak, in requests a second."),
    metric("headroom_time", MetricKind::Gauge, Unit::Time, Source::Probe, "Time until it is used up at the present growth."),
    metric("headroom_time_low", MetricKind::Gauge, Unit::Time, Source::Probe, "Lower end of the interval of that time."),
    metric(
        "headroom_time_high",
        MetricKind::Gauge,
        Unit::Time,
        Source::Probe,
        "Upper end of the interval of that time; absent without one.",
    ),
    metric(
        "custom",
        MetricKind::Gauge,
        Unit::Count,
        Source::Probe,
        "A number from a selector of your own, told apart by the label `name`.",
    ),
    metric(
        "regression",
        MetricKind::Gauge,
        Unit::Ratio,
        Source::History,
        "How much worse a metric of the run is since its last confirmed change of level, as a share; of shares of failures in points; 0 when it is not.",
    ),
];

/// The metric called `name`.
pub fn find_metric(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.name == name)
}

/// How many measurements become one number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Aggregation {
    /// `p(95)`: 0.95.
    Quantile(f64),
    /// Mean.
    Avg,
    /// Least.
    Min,
    /// Greatest.
    Max,
    /// A sum.
    Count,
    /// Share (of a rate metric) or per second (of a counter).
    Rate,
    /// The last reading.
    Value,
}

impl Aggregation {
    /// As written.
    pub fn text(self) -> String {
        match self {
            Self::Quantile(quantile) => format!("p({})", trim_decimal(quantile * 100.0, 3)),
            Self::Avg => "avg".into(),
            Self::Min => "min".into(),
            Self::Max => "max".into(),
            Self::Count => "count".into(),
            Self::Rate => "rate".into(),
            Self::Value => "value".into(),
        }
    }
}

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
}

impl Comparison {
    /// As written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Equal => "==",
            Self::NotEqual => "!=",
        }
    }

    /// Whether `left OP right` holds.
    pub fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
            Self::Equal => (left - right).abs() <= f64::EPSILON * left.abs().max(right.abs()).max(1.0),
            Self::NotEqual => !Self::Equal.holds(left, right),
        }
    }

    /// Of two values that break it the one that is further off; the earlier one where there is no further.
    pub fn worse(self, earlier: f64, later: f64) -> f64 {
        match self {
            Self::Less | Self::LessOrEqual => earlier.max(later),
            Self::Greater | Self::GreaterOrEqual => earlier.min(later),
            Self::Equal | Self::NotEqual => earlier,
        }
    }

    /// Which way values get worse: words before the worst of several.
    fn way(self) -> &'static str {
        match self {
            Self::Less | Self::LessOrEqual => "up to ",
            Self::Greater | Self::GreaterOrEqual => "down to ",
            Self::Equal | Self::NotEqual => "",
        }
    }
}

/// A comparison with a value in base units.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bound {
    /// The comparison.
    pub op: Comparison,
    /// Right side: seconds, ratio, bytes, count or events a second.
    pub value: f64,
}

/// `metric{tag:value}: aggregation op value [over WINDOW] [for DURATION]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// What is measured.
    pub metric: &'static Metric,
    /// Which series of it: every tag must be equal.
    pub selector: Labels,
    /// How measurements become one number.
    pub aggregation: Aggregation,
    /// What the number is compared with.
    pub bound: Bound,
    /// Only the last so much time counts; `None`: everything since the start.
    pub window: Option<Duration>,
    /// How long without a break.
    pub hold: Option<Duration>,
}

impl Series {
    /// A value of this series for people: `212 ms`, `7.1 %`, `53 /s`.
    pub fn show(&self, value: f64) -> String {
        if self.metric.kind == MetricKind::Counter && self.aggregation == Aggregation::Rate {
            return match self.metric.unit {
                Unit::Bytes => format!("{}/s", format_bytes(value)),
                Unit::Time | Unit::Ratio | Unit::Count => format!("{}/s", trim_decimal(value, 2)),
            };
        }
        show_unit(self.metric.unit, value)
    }
}

/// A value in base units for people.
pub fn show_unit(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Time => format_duration(Duration::try_from_secs_f64(value.max(0.0)).unwrap_or_default()),
        Unit::Ratio => format_percent(value),
        Unit::Bytes => format_bytes(value),
        Unit::Count => trim_decimal(value, 2),
    }
}

/// A condition of an alert rule.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// Over live and last-run figures and probe readings.
    Series(Series),
    /// `verdict{profile:soak} == fail for 2 runs`: the last so many runs all came to (or not to) this.
    Verdict {
        /// `profile`, `target`.
        selector: Labels,
        /// True for `==`, false for `!=`.
        equal: bool,
        /// The verdict.
        verdict: Verdict,
        /// Runs in a row.
        runs: u32,
    },
    /// `leak(memory) at least likely`, `capacity drop > 5%`: what analysis concludes of a run; `storage failing`: of the program itself.
    Found(Found),
}

/// A threshold of a profile.
#[derive(Debug, Clone, PartialEq)]
pub struct Threshold {
    /// As written.
    pub text: String,
    /// What must hold.
    pub series: Series,
    /// A breach ends the run.
    pub abort_on_fail: bool,
    /// No abort before this time of the run.
    pub delay_abort_eval: Duration,
    /// Seconds in which the load changes do not count.
    pub exclude_ramp: bool,
    /// How bad a breach is.
    pub severity: Severity,
}
