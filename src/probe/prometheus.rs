//! Probe `prometheus`: fetches a `/metrics` page of the target or of an exporter and turns it into pool, process and custom figures.
//! Never follows more than the page it was given, never reads more than `max_size`; a page without what was asked for is an error, not zeros.
//! Presets, selectors and definitions: docs/probes.md.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use http::header::{ACCEPT, HeaderValue};
use tokio::time::Instant;

use super::exposition::Page;
use super::fetch::{Fetch, Headers, PageUrl};
use super::pools::{Pool, PoolReader, increase};
use super::selector::Selector;
use super::{Probe, ProbeError, ProbeParts, ProbeSettings, replicas};
use crate::model::series::Point;
use crate::registry::{ByteSize, Context, Decode, Kind, Named, Node, Secret};
use crate::settings;

/// The line of this kind in the table of probes.
pub(super) const KIND: Kind<dyn ProbeSettings> = Kind {
    name: "prometheus",
    summary: "Scrapes a Prometheus metrics page: connection pools by preset or selector, the process, numbers of your own.",
    decode: |node, cx| checked(node, cx).map(|settings| Arc::new(settings) as Arc<dyn ProbeSettings>),
    keys: PrometheusSettings::keys,
};

settings! {
    /// Scrapes a Prometheus metrics page.
    pub struct PrometheusSettings titled "the probe" {
        /// Address of the page.
        url: optional PageUrl,
        /// Instead of `url`: the addresses of several replicas, whose figures become one (sums, and the worst).
        urls: optional Vec<PageUrl>,
        /// Time for the whole answer.
        timeout: default Duration = Duration::from_secs(2),
        /// Pools to read. When not given, every preset whose figures are on the page.
        pools: optional Vec<Pool>,
        /// Numbers of your own, by name; each a selector. They become the metric `custom` with the label `name`.
        metrics: default Named<Selector>,
        /// Headers of the request.
        headers: default Headers,
        /// Token for `Authorization: Bearer`.
        bearer: secret Secret,
        /// Read memory, CPU, descriptors and threads of the process; when not given: unless the page is that of a database exporter.
        process: optional bool,
        /// Largest page that is read.
        max_size: default ByteSize = ByteSize(16 << 20),
    }
}

/// The settings, with one page or several replicas.
fn checked(node: &Node, cx: &mut Context<'_>) -> Option<PrometheusSettings> {
    let settings = PrometheusSettings::decode(node, cx)?;
    let (code, message, hint) = match (&settings.url, settings.urls.as_deref()) {
        (Some(_), None) | (None, Some([_, ..])) => return Some(settings),
        (Some(_), Some(_)) => ("conflicting-keys", "both `url` and `urls` are given", "keep one of them"),
        // What was given and could not be read has been reported already.
        (None, None) if node.get("url").is_some() || node.get("urls").is_some() => return None,
        (None, None | Some([])) => {
            ("missing-key", "the probe lacks the key `url`", "add `url: http://host:port/metrics`, or `urls:` with those of replicas")
        }
    };
    cx.diagnostics.push(code, node.span, message, hint);
    None
}

impl PrometheusSettings {
    fn pages(&self) -> impl Iterator<Item = &PageUrl> {
        self.url.iter().chain(self.urls.iter().flatten())
    }
}

impl ProbeSettings for PrometheusSettings {
    fn open(&self, parts: &ProbeParts) -> Box<dyn Probe> {
        let mut headers = self.headers.with_bearer(self.bearer.as_ref());
        let formats = "text/plain;version=0.0.4, application/openmetrics-text;version=1.0.0;q=0.5, */*;q=0.1";
        headers.entry(ACCEPT).or_insert(HeaderValue::from_static(formats));
        let fetch = Fetch { http: parts.http.clone(), headers, timeout: self.timeout, max_size: self.max_size };
        let replica = |url: &PageUrl| Replica {
            url: url.clone(),
            fetch: fetch.clone(),
            settings: self.clone(),
            pools: PoolReader::new(self.pools.clone()),
            cpu: None,
        };
        Box::new(PrometheusProbe { replicas: self.pages().map(replica).collect() })
    }

    fn describe(&self) -> String {
        self.pages().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }
}

/// An open probe.
struct PrometheusProbe {
    replicas: Vec<Replica>,
}

/// One page and what is remembered of it.
struct Replica {
    url: PageUrl,
    fetch: Fetch,
    settings: PrometheusSettings,
    pools: PoolReader,
    /// CPU seconds at the former reading.
    cpu: Option<(Instant, f64)>,
}

#[async_trait]
impl Probe for PrometheusProbe {
    async fn read(&mut self) -> Result<Vec<Point>, ProbeError> {
        let readings = join_all(self.replicas.iter_mut().map(Replica::read)).await;
        // A sum without one of the replicas would be wrong: the first that fails is why there is none.
        let mut readings = readings.into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(match readings.len() {
            1 => readings.pop().unwrap_or_default(),
            _ => replicas::combine(&readings),
        })
    }
}

impl Replica {
    async fn read(&mut self) -> Result<Vec<Point>, ProbeError> {
        let text = self.fetch.text(&self.url).await?;
        self.points(&text, Instant::now())
    }

    /// The figures of a page that was read at `at`.
    fn points(&mut self, text: &str, at: Instant) -> Result<Vec<Point>, ProbeError> {
        let url = &self.url;
        let page =
            Page::parse(text).map_err(|error| ProbeError { reason: "parse", detail: format!("{url} is not a metrics page: {error}") })?;
        let reading = self.pools.read(&page, at)?;
        let mut points = reading.points;
        for (name, selector) in self.settings.metrics.iter() {
            let Some(value) = selector.value(&page, &[]) else {
                let detail = format!("the page has no finite number for `{}` (metric `{}`)", selector.text(), name.value);
                return Err(ProbeError { reason: "missing", detail });
            };
            points.push(Point::new("custom", value).with("name", &name.value));
        }
        if self.settings.process.unwrap_or(!reading.exporter) {
            let found = process_points(&page, at, &mut self.cpu);
            if found.is_empty() && self.settings.process == Some(true) {
                let detail = format!("{url} has none of the `process_…` figures");
                return Err(ProbeError { reason: "missing", detail });
            }
            points.extend(found);
        }
        // The first reading of a page that has counters only has no figures yet, and is none the worse for it.
        if points.is_empty() && self.cpu.is_none() {
            let detail = format!("{url} has neither a known pool nor figures of the process; name what to read in `pools` or `metrics`");
            return Err(ProbeError { reason: "missing", detail });
        }
        Ok(points)
    }
}

/// The figures of the process behind the page, by the names of the official client libraries, of Micrometer and of the JVM and Go runtimes.
pub(super) fn process_points(page: &Page<'_>, at: Instant, cpu: &mut Option<(Instant, f64)>) -> Vec<Point> {
    let first = |names: &[&str]| {
        let mut values = names.iter().flat_map(|name| page.named(name)).map(|sample| sample.value);
        values.next().filter(|value| value.is_finite() && *value >= 0.0)
    };
    let mut points = Vec::new();
    let mut push = |metric: &str, value: Option<f64>| points.extend(value.map(|value| Point::new(metric, value)));
    push("process_memory", first(&["process_resident_memory_bytes"]));
    let seconds_used = first(&["process_cpu_seconds_total"]);
    if let Some((former_at, former)) = *cpu {
        let passed = at.saturating_duration_since(former_at).as_secs_f64();
        let used = increase(Some(former), seconds_used).filter(|_| passed > 0.0);
        push("process_cpu", used.map(|used| used / passed));
    }
    *cpu = seconds_used.map(|used| (at, used));
    let descriptors = first(&["process_open_fds", "process_files_open_files"]);
    let most = first(&["process_max_fds", "process_files_max_files"]).filter(|&most| most > 0.0);
    push("process_descriptors", descriptors);
    push("process_descriptors_ratio", descriptors.zip(most).map(|(open, most)| open / most));
    push("process_threads", first(&["process_threads", "go_threads", "jvm_threads_live_threads"]));
    points
}
