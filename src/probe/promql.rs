//! Probe `promql`: asks a Prometheus server (or what speaks its API) by PromQL, for numbers that it has gathered already. Each query must
//! come to one number: a query without a series is `missing`, one with several is a mistake of the query, never a sum behind one's back.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;

use super::fetch::{Fetch, Headers, PageUrl, beginning};
use super::{Probe, ProbeError, ProbeParts, ProbeSettings};
use crate::model::series::Point;
use crate::registry::{ByteSize, Context, Decode, Kind, Named, Node, Secret};
use crate::settings;

/// The line of this kind in the table of probes.
pub(super) const KIND: Kind<dyn ProbeSettings> = Kind {
    name: "promql",
    summary: "Asks a Prometheus server by PromQL: numbers of your own, and pools.",
    decode: |node, cx| checked(node, cx).map(|settings| Arc::new(settings) as Arc<dyn ProbeSettings>),
    keys: PromqlSettings::keys,
};

settings! {
    /// A pool, each figure by a query that comes to one number.
    pub struct QueriedPool titled "the pool" {
        /// The pool's name in figures and alerts.
        name: required String,
        /// Connections checked out.
        in_use: required String,
        /// Configured maximum.
        limit: optional String,
        /// Open connections that are not checked out.
        idle: optional String,
        /// Callers that wait for a connection now.
        waiting: optional String,
        /// Waits that began, per second: `sum(rate(…[1m]))`.
        waits: optional String,
        /// Mean seconds of a wait.
        wait_time: optional String,
        /// Waits that ended without a connection, per second.
        timeouts: optional String,
    }
}

settings! {
    /// Asks a Prometheus server.
    pub struct PromqlSettings titled "the probe" {
        /// Address of the server, without `/api/v1/query`.
        url: required PageUrl,
        /// Queries by name. They become the metric `custom` with the label `name`.
        queries: default Named<String>,
        /// Pools.
        pools: default Vec<QueriedPool>,
        /// Time for each answer.
        timeout: default Duration = Duration::from_secs(2),
        /// Headers of the request.
        headers: default Headers,
        /// Token for `Authorization: Bearer`.
        bearer: secret Secret,
        /// Largest answer that is read.
        max_size: default ByteSize = ByteSize(1 << 20),
    }
}

/// The settings, with at least one query.
fn checked(node: &Node, cx: &mut Context<'_>) -> Option<PromqlSettings> {
    let settings = PromqlSettings::decode(node, cx)?;
    if settings.queries.0.is_empty() && settings.pools.is_empty() && node.get("queries").is_none() && node.get("pools").is_none() {
        let hint = "add `queries:` with `name: sum(rate(http_requests_total[1m]))`";
        cx.diagnostics.push("missing-key", node.span, "the probe lacks the key `queries` or `pools`", hint);
        return None;
    }
    Some(settings)
}

/// One query and what its number is called.
#[derive(Debug, Clone)]
struct Query {
    point: Point,
    text: String,
}

impl PromqlSettings {
    fn all(&self) -> Vec<Query> {
        let custom = |(name, text): (&crate::registry::Spanned<String>, &String)| Query {
            point: Point::new("custom", 0.0).with("name", &name.value),
            text: text.clone(),
        };
        let mut all: Vec<Query> = self.queries.iter().map(custom).collect();
        for pool in &self.pools {
            let figures = [
                ("pool_in_use", Some(&pool.in_use)),
                ("pool_limit", pool.limit.as_ref()),
                ("pool_idle", pool.idle.as_ref()),
                ("pool_waiting", pool.waiting.as_ref()),
                ("pool_waits", pool.waits.as_ref()),
                ("pool_wait_time", pool.wait_time.as_ref()),
                ("pool_timeouts", pool.timeouts.as_ref()),
            ];
            let asked = figures.into_iter().filter_map(|(metric, text)| text.map(|text| (metric, text)));
            all.extend(asked.map(|(metric, text)| Query { point: Point::new(metric, 0.0).with("pool", &pool.name), text: text.clone() }));
        }
        all
    }
}

impl ProbeSettings for PromqlSettings {
    fn open(&self, parts: &ProbeParts) -> Box<dyn Probe> {
        let headers = self.headers.with_bearer(self.bearer.as_ref());
        let fetch = Fetch { http: parts.http.clone(), headers, timeout: self.timeout, max_size: self.max_size };
        let mut url = self.url.clone();
        if let Ok(mut path) = url.0.path_segments_mut() {
            path.pop_if_empty().extend(["api", "v1", "query"]);
        }
        Box::new(PromqlProbe { fetch, url, queries: self.all() })
    }

    fn describe(&self) -> String {
        self.url.to_string()
    }
}

/// An open probe.
struct PromqlProbe {
    fetch: Fetch,
    url: PageUrl,
    queries: Vec<Query>,
}

#[async_trait]
impl Probe for PromqlProbe {
    async fn read(&mut self) -> Result<Vec<Point>, ProbeError> {
        let mut points = Vec::new();
        // One after the other: the server is asked by one connection at a time.
        for query in &self.queries {
            let form = url::form_urlencoded::Serializer::new(String::new()).append_pair("query", &query.text).finish();
            let answer = self.fetch.post(&self.url, form).await.map_err(|error| explain(error, &query.text))?;
            let value = number(&answer).map_err(|(reason, why)| ProbeError { reason, detail: format!("`{}` {why}", query.text) })?;
            points.push(Point { value, ..query.point.clone() });
        }
        let figure = |points: &[Point], metric: &str, of: &Point| {
            points.iter().find(|point| point.metric == metric && point.labels == of.labels).map(|point| point.value)
        };
        let utilizations: Vec<Point> = points
            .iter()
            .filter(|point| point.metric == "pool_in_use")
            .filter_map(|in_use| {
                let limit = figure(&points, "pool_limit", in_use).filter(|limit| *limit > 0.0)?;
                Some(Point { metric: "pool_utilization".into(), labels: in_use.labels.clone(), value: in_use.value / limit })
            })
            .collect();
        points.extend(utilizations);
        Ok(points)
    }
}

/// A query that the server refuses has status 400 or 422.
fn explain(error: ProbeError, query: &str) -> ProbeError {
    match error.reason {
        "status" => ProbeError { detail: format!("{} to `{query}`", error.detail), ..error },
        _ => error,
    }
}

#[derive(Debug, Deserialize)]
struct Answer {
    data: Data,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data {
    Vector(Vec<Series>),
    Scalar((f64, String)),
    Matrix(serde::de::IgnoredAny),
    String(serde::de::IgnoredAny),
}

#[derive(Debug, Deserialize)]
struct Series {
    value: (f64, String),
}

/// The one number of an answer; otherwise a reason and what is wrong with it.
fn number(answer: &str) -> Result<f64, (&'static str, String)> {
    let parsed: Answer =
        serde_json::from_str(answer).map_err(|_| ("parse", format!("was not answered as Prometheus does: {}", beginning(answer))))?;
    let text = match &parsed.data {
        Data::Scalar((_, text)) => text,
        Data::Vector(series) => match series.as_slice() {
            [one] => &one.value.1,
            [] => return Err(("missing", "has no series at present".into())),
            more => return Err(("parse", format!("gives {} series; put `sum(…)` or `max(…)` around it", more.len()))),
        },
        Data::Matrix(_) | Data::String(_) => return Err(("parse", "does not give a number; a range needs `rate(…)` or the like".into())),
    };
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        Ok(_) | Err(_) => Err(("missing", format!("gives {}, which is no number", beginning(text)))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_is_one_number_or_a_reason() {
        let answer = |data: serde_json::Value| number(&json!({"status": "success", "data": data}).to_string());
        let one = json!({"metric": {}, "value": [1.5, "42.5"]});
        assert_eq!(answer(json!({"resultType": "vector", "result": [one]})), Ok(42.5));
        assert_eq!(answer(json!({"resultType": "scalar", "result": [1.5, "7"]})), Ok(7.0));
        for (data, reason, why) in [
            (json!({"resultType": "vector", "result": []}), "missing", "no series"),
            (json!({"resultType": "vector", "result": [one, one]}), "parse", "2 series"),
            (json!({"resultType": "vector", "result": [{"metric": {}, "value": [1, "NaN"]}]}), "missing", "NaN"),
            (json!({"resultType": "matrix", "result": []}), "parse", "rate(…)"),
            (json!({"resultType": "vector"}), "parse", "as Prometheus does"),
            (json!("nonsense"), "parse", "as Prometheus does"),
        ] {
            let (found, text) = answer(data.clone()).unwrap_err();
            assert!(found == reason && text.contains(why), "{data}: {found} {text}");
        }
    }
}
