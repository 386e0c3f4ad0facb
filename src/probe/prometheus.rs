//! Probe `prometheus`: fetches a `/metrics` page of the target or of an exporter and turns it into pool, process and custom figures.
//! Never follows more than the page it was given, never reads more than `max_size`; a page without what was asked for is an error, not zeros.
//! Presets, selectors and definitions: docs/probes.md.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value as Json, json};
use tokio::time::Instant;

use super::exposition::Page;
use super::pools::{Pool, PoolReader, increase};
use super::selector::Selector;
use super::{Probe, ProbeError, ProbeParts, ProbeSettings};
use crate::model::series::Point;
use crate::registry::{ByteSize, Context, Decode, Kind, Named, Node, Secret, WebUrl};
use crate::settings;

/// The line of this kind in the table of probes.
pub(super) const KIND: Kind<dyn ProbeSettings> = Kind {
    name: "prometheus",
    summary: "Scrapes a Prometheus metrics page: connection pools by preset or selector, the process, numbers of your own.",
    decode: |node, cx| PrometheusSettings::decode(node, cx).map(|settings| Arc::new(settings) as Arc<dyn ProbeSettings>),
    keys: PrometheusSettings::keys,
};

settings! {
    /// Scrapes a Prometheus metrics page.
    pub struct PrometheusSettings titled "the probe" {
        /// Address of the page.
        url: required PageUrl,
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

/// The address of a page. Shown without user, password and query.
#[derive(Clone, PartialEq, Eq)]
pub struct PageUrl(url::Url);

impl PageUrl {
    /// Wraps an address.
    pub fn new(url: url::Url) -> Self {
        Self(url)
    }
}

impl fmt::Display for PageUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.0.clone();
        shown.set_query(None);
        shown.set_fragment(None);
        // Both fail for addresses without a host only; those were refused when the configuration was read.
        let _ = shown.set_username("");
        let _ = shown.set_password(None);
        f.write_str(shown.as_str())
    }
}

impl fmt::Debug for PageUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

impl Decode for PageUrl {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        WebUrl::decode(node, cx).map(|url| Self(url.0))
    }
    fn schema() -> Json {
        WebUrl::schema()
    }
}

/// Headers of a request; their values are treated as secrets.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Headers(HeaderMap);

impl Decode for Headers {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let named = Named::<Secret>::decode(node, cx)?;
        let mut headers = HeaderMap::new();
        for (name, value) in named.iter() {
            match (HeaderName::from_bytes(name.value.as_bytes()), HeaderValue::from_str(value.expose())) {
                (Ok(key), Ok(mut value)) => {
                    value.set_sensitive(true);
                    headers.append(key, value);
                }
                _ => cx.diagnostics.push(
                    "bad-header",
                    name.span,
                    format!("`{}` is not a header that can be sent", name.value),
                    "a header's name has letters, digits and `-`; its value has no line breaks",
                ),
            }
        }
        Some(Self(headers))
    }
    fn schema() -> Json {
        json!({"type": "object", "additionalProperties": Secret::schema()})
    }
}

impl ProbeSettings for PrometheusSettings {
    fn open(&self, parts: &ProbeParts) -> Box<dyn Probe> {
        let mut headers = self.headers.0.clone();
        let formats = "text/plain;version=0.0.4, application/openmetrics-text;version=1.0.0;q=0.5, */*;q=0.1";
        headers.entry(ACCEPT).or_insert(HeaderValue::from_static(formats));
        if let Some(token) = &self.bearer
            && let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
        {
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        Box::new(PrometheusProbe {
            http: parts.http.clone(),
            headers,
            settings: self.clone(),
            pools: PoolReader::new(self.pools.clone()),
            cpu: None,
        })
    }

    fn describe(&self) -> String {
        self.url.to_string()
    }
}

/// An open probe.
struct PrometheusProbe {
    http: reqwest::Client,
    headers: HeaderMap,
    settings: PrometheusSettings,
    pools: PoolReader,
    /// CPU seconds at the former reading.
    cpu: Option<(Instant, f64)>,
}

#[async_trait]
impl Probe for PrometheusProbe {
    async fn read(&mut self) -> Result<Vec<Point>, ProbeError> {
        let limit = self.settings.timeout;
        let text = match tokio::time::timeout(limit, self.fetch()).await {
            Ok(text) => text?,
            Err(_) => {
                let detail = format!("{} did not answer within {}", self.settings.url, crate::model::units::format_duration(limit));
                return Err(ProbeError { reason: "timeout", detail });
            }
        };
        self.points(&text, Instant::now())
    }
}

impl PrometheusProbe {
    /// The text of the page.
    async fn fetch(&self) -> Result<String, ProbeError> {
        let url = &self.settings.url;
        let request = self.http.get(url.0.clone()).headers(self.headers.clone());
        let mut answer = request.send().await.map_err(|error| network(url, error))?;
        if answer.status() != reqwest::StatusCode::OK {
            return Err(ProbeError { reason: "status", detail: format!("{url} answered {}", answer.status()) });
        }
        let most = usize::try_from(self.settings.max_size.0).unwrap_or(usize::MAX);
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| network(url, error))? {
            if body.len() + chunk.len() > most {
                let size = crate::model::units::format_bytes(self.settings.max_size.0 as f64);
                return Err(ProbeError { reason: "parse", detail: format!("{url} answered more than {size} (`max_size`)") });
            }
            body.extend_from_slice(&chunk);
        }
        String::from_utf8(body).map_err(|_| ProbeError { reason: "parse", detail: format!("{url} did not answer with UTF-8 text") })
    }

    /// The figures of a page that was read at `at`.
    fn points(&mut self, text: &str, at: Instant) -> Result<Vec<Point>, ProbeError> {
        let url = &self.settings.url;
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

/// What went wrong on the way, without the address that reqwest would print (it may hold secrets).
fn network(url: &PageUrl, error: reqwest::Error) -> ProbeError {
    let reason = if error.is_timeout() {
        "timeout"
    } else if error.is_decode() {
        "parse"
    } else {
        "connect"
    };
    let error = error.without_url();
    let mut detail = format!("{url}: {error}");
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        detail.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    ProbeError { reason, detail }
}

/// The figures of the process behind the page, by the names of the official client libraries, of Micrometer and of the JVM and Go runtimes.
fn process_points(page: &Page<'_>, at: Instant, cpu: &mut Option<(Instant, f64)>) -> Vec<Point> {
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
