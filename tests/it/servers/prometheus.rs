//! The real Prometheus: scrapes one address every second into a temporary folder, answers queries, and is gone when dropped.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails the test")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

use super::http::{Answer, ask, try_ask};

/// A running Prometheus.
pub(crate) struct Prometheus {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    _process: Child,
    _folder: tempfile::TempDir,
}

/// One value of one series.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

/// One series over time: seconds since the epoch and values.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Range {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) values: Vec<(f64, f64)>,
}

impl Prometheus {
    /// Starts one that scrapes `http://TARGET/metrics` every second as job `plimsoll`; returns when it answers.
    pub(crate) async fn scraping(target: SocketAddr) -> Self {
        let mut last = String::new();
        // The free port can be taken by somebody else before Prometheus binds it: then another is tried.
        for _ in 0..5 {
            match Self::try_start(target).await {
                Ok(started) => return started,
                Err(error) => last = error,
            }
        }
        panic!("Prometheus does not start: {last}");
    }

    async fn try_start(target: SocketAddr) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let config = folder.path().join("prometheus.yml");
        let text = format!(
            "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\nscrape_configs:\n  - job_name: plimsoll\n    static_configs:\n      - targets: ['{target}']\n"
        );
        std::fs::write(&config, text).map_err(|error| error.to_string())?;
        let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = free.map_err(|error| error.to_string())?;
        let log = std::fs::File::create(folder.path().join("log")).map_err(|error| error.to_string())?;
        let mut process = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("`prometheus` (Debian package prometheus) cannot be run: {error}"))?;
        for _ in 0..600 {
            if let Ok(Some(status)) = process.try_wait() {
                let log = std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
                return Err(format!("it ended with {status}: {log}"));
            }
            if try_ask(address, "GET", "/-/ready", "", "").await.is_ok_and(|answer| answer.status == 200) {
                return Ok(Self { address, _process: process, _folder: folder });
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err("it is not ready after a minute".into())
    }

    async fn api(&self, path: &str, query: &[(&str, &str)]) -> serde_json::Value {
        let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
        let header = "Content-Type: application/x-www-form-urlencoded\r\n";
        let answer: Answer = ask(self.address, "POST", &format!("/api/v1/{path}"), header, &form).await;
        let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(body["status"], "success", "{query:?}: {body}");
        body["data"]["result"].clone()
    }

    /// The result of an instant query now; a scalar is one sample without labels.
    pub(crate) async fn query(&self, expr: &str) -> Vec<Sample> {
        let result = self.api("query", &[("query", expr)]).await;
        let series = result.as_array().cloned().unwrap_or_default();
        series.iter().map(|one| Sample { labels: labels(one), value: number(&one["value"][1]) }).collect()
    }

    /// The only value of an instant query; `None` when there is none or several.
    pub(crate) async fn value(&self, expr: &str) -> Option<f64> {
        match self.query(expr).await.as_slice() {
            [one] => Some(one.value),
            _ => None,
        }
    }

    /// The result of a query over the last `span`, a value per `step`.
    pub(crate) async fn query_range(&self, expr: &str, span: Duration, step: Duration) -> Vec<Range> {
        let now = self.value("vector(time())").await.unwrap();
        let (start, end, step) = ((now - span.as_secs_f64()).to_string(), now.to_string(), step.as_secs_f64().to_string());
        let result = self.api("query_range", &[("query", expr), ("start", &start), ("end", &end), ("step", &step)]).await;
        let series = result.as_array().cloned().unwrap_or_default();
        let values = |one: &serde_json::Value| {
            one["values"].as_array().unwrap().iter().map(|pair| (pair[0].as_f64().unwrap(), number(&pair[1]))).collect()
        };
        series.iter().map(|one| Range { labels: labels(one), values: values(one) }).collect()
    }
}

fn labels(series: &serde_json::Value) -> BTreeMap<String, String> {
    let labels = series["metric"].as_object().unwrap();
    labels.iter().map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect()
}

fn number(text: &serde_json::Value) -> f64 {
    text.as_str().unwrap().parse().unwrap()
}
