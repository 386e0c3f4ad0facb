//! What the system under test says while it is loaded. One file per kind; each owns its settings.
//! A new probe: one file, its `mod` line, one line in `KINDS`, an example, a test on a captured page or a real server.
//! A number that could not be read is absent or an error, never 0. A probe never holds more than one connection.

pub mod address;
pub mod capture;
pub mod cgroup;
pub mod command;
pub mod detect;
pub mod exposition;
pub mod fetch;
pub mod http_json;
pub mod mysql;
mod one_connection;
pub mod pgbouncer;
pub mod pools;
pub mod postgres;
mod postgres_snapshot;
pub mod presets;
pub mod process;
pub mod prometheus;
pub mod promql;
mod rates;
pub mod redis;
mod replicas;
pub mod selector;
pub mod version;

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use crate::clock::SharedClock;
use crate::model::database::DatabaseSnapshot;
use crate::model::series::Point;
use crate::model::threshold::{find_metric, show_unit};
use crate::model::units::trim_decimal;
use crate::registry::Kind;

/// Every kind of probe, in the order of the reference.
pub static KINDS: &[Kind<dyn ProbeSettings>] = &[
    prometheus::KIND,
    promql::KIND,
    postgres::KIND,
    pgbouncer::KIND,
    mysql::KIND,
    redis::KIND,
    process::KIND,
    cgroup::KIND,
    http_json::KIND,
    command::KIND,
];

/// Why a reading failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct ProbeError {
    /// Class for the metric label: `connect`, `timeout`, `status`, `parse`, `missing`, `permission`.
    pub reason: &'static str,
    /// What happened, for people; no secrets.
    pub detail: String,
}

/// A probe that is open. It is read by one task; a tick that would overlap the former reading is skipped by the engine.
#[async_trait]
pub trait Probe: Send {
    /// Takes one reading. Bounded in time by the engine as well as by itself. Counters become rates against the former reading.
    async fn read(&mut self) -> Result<Vec<Point>, ProbeError>;
    /// What a database has done so far, of probes that can tell ([`ProbeSettings::takes_snapshots`]). With the snapshot from before,
    /// the texts of the statements that did most since are told as well.
    async fn snapshot(&mut self, _before: Option<Arc<DatabaseSnapshot>>) -> Result<Option<DatabaseSnapshot>, ProbeError> {
        Ok(None)
    }
}

/// What probes need of the program.
#[derive(Clone)]
pub struct ProbeParts {
    /// HTTP client with our timeouts.
    pub http: reqwest::Client,
    /// The wall clock.
    pub clock: SharedClock,
}

/// The settings of one probe, as its kind reads them.
pub trait ProbeSettings: Debug + Send + Sync {
    /// Makes the probe. Does not connect yet.
    fn open(&self, parts: &ProbeParts) -> Box<dyn Probe>;
    /// What it looks at, for people, without secrets: `http://127.0.0.1:8080/metrics`.
    fn describe(&self) -> String;
    /// Whether the probe can tell what a database did during a run.
    fn takes_snapshots(&self) -> bool {
        false
    }
}

/// A named probe of a target.
#[derive(Debug, Clone)]
pub struct ProbeSpec {
    /// Name in the configuration.
    pub name: String,
    /// Its kind: `prometheus`.
    pub kind: &'static str,
    /// Its settings.
    pub settings: Arc<dyn ProbeSettings>,
}

/// One line per number, for people who try a probe: `pool_utilization{pool="main"}  75 %`.
pub fn describe_points(points: &[Point]) -> String {
    let lines: Vec<(String, String)> = points.iter().map(|point| (series_name(point), shown(point))).collect();
    let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let padded: Vec<String> = lines.iter().map(|(name, value)| format!("{name:<width$}  {value}")).collect();
    padded.join("\n")
}

fn series_name(point: &Point) -> String {
    let labels: Vec<String> = point.labels.iter().map(|(label, value)| format!("{label}={value:?}")).collect();
    if labels.is_empty() { point.metric.clone() } else { format!("{}{{{}}}", point.metric, labels.join(",")) }
}

fn shown(point: &Point) -> String {
    let value = match find_metric(&point.metric) {
        Some(metric) => show_unit(metric.unit, point.value),
        None => trim_decimal(point.value, 3),
    };
    match point.metric.as_str() {
        "pool_limit" if point.value <= 0.0 => "none (the pool is not bounded, so there is no utilization)".into(),
        "pool_waits" | "pool_timeouts" => format!("{value} /s"),
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::registry::{Context, Decode, Entry, Node, Span, Surroundings, Value, decode_kind};

    struct Nothing;
    impl Surroundings for Nothing {
        fn read_secret_file(&self, _path: &str) -> Result<String, String> {
            Err("there are no files here".into())
        }
        fn resolve_path(&self, path: &str) -> String {
            path.into()
        }
    }

    /// A configuration node from JSON, as the YAML loader would make it.
    fn node(json: &Json) -> Node {
        let value = match json {
            Json::Null => Value::Null,
            Json::Bool(value) => Value::Bool(*value),
            Json::Number(number) => Value::Number(number.as_f64().unwrap(), number.to_string()),
            Json::String(text) => Value::Text(text.clone()),
            Json::Array(items) => Value::List(items.iter().map(node).collect()),
            Json::Object(map) => {
                let entry = |(key, value): (&String, &Json)| Entry { key: key.clone(), span: Span::default(), node: node(value) };
                Value::Map(map.iter().map(entry).collect())
            }
        };
        Node { span: Span::default(), value }
    }

    /// Settings that are right.
    pub(super) fn decode<T: Decode>(keys: &Json) -> T {
        let mut cx = Context::new(&Nothing);
        let settings = T::decode(&node(keys), &mut cx);
        assert!(cx.diagnostics.is_empty(), "{:?}", cx.diagnostics);
        settings.unwrap()
    }

    /// What is wrong with settings: `code: message (hint)`.
    pub(super) fn diagnostics<T: Decode>(keys: &Json) -> Vec<String> {
        let mut cx = Context::new(&Nothing);
        assert!(T::decode(&node(keys), &mut cx).is_none() || !cx.diagnostics.is_empty(), "{keys} is right");
        cx.diagnostics.0.iter().map(|mistake| format!("{}: {} ({})", mistake.code, mistake.message, mistake.hint)).collect()
    }

    #[test]
    fn a_probe_is_found_by_its_kind_and_shows_no_secret() {
        let mut cx = Context::new(&Nothing);
        let keys = json!({
            "type": "prometheus",
            "url": "http://user:geheim@127.0.0.1:9/metrics?token=geheim",
            "headers": {"X-Key": "geheim"},
            "bearer": "geheim",
        });
        let (kind, settings) = decode_kind(&node(&keys), "probe", KINDS, &mut cx).unwrap();
        assert_eq!((kind, settings.describe().as_str()), ("prometheus", "http://127.0.0.1:9/metrics"));
        assert!(!format!("{settings:?}").contains("geheim"), "{settings:?}");
    }

    #[test]
    fn numbers_are_shown_with_their_units() {
        let points = [
            Point::new("pool_utilization", 0.75).with("pool", "main"),
            Point::new("pool_limit", 0.0).with("pool", "main"),
            Point::new("pool_waits", 12.5).with("pool", "main"),
            Point::new("pool_wait_time", 0.0042).with("pool", "main"),
            Point::new("process_memory", 52_428_800.0),
            Point::new("custom", 3.0).with("name", "queue \"a\""),
        ];
        insta::assert_snapshot!(describe_points(&points), @r#"
        pool_utilization{pool="main"}  75 %
        pool_limit{pool="main"}        none (the pool is not bounded, so there is no utilization)
        pool_waits{pool="main"}        12.5 /s
        pool_wait_time{pool="main"}    4.2ms
        process_memory                 50 MiB
        custom{name="queue \"a\""}     3
        "#);
    }

    #[test]
    fn every_figure_of_a_probe_is_a_metric_that_thresholds_know() {
        for name in [
            "pool_utilization",
            "pool_in_use",
            "pool_idle",
            "pool_limit",
            "pool_waiting",
            "pool_waits",
            "pool_wait_time",
            "pool_timeouts",
            "process_memory",
            "process_cpu",
            "process_descriptors",
            "process_descriptors_ratio",
            "process_threads",
            "custom",
        ] {
            assert!(find_metric(name).is_some(), "{name}");
        }
    }
}
