//! What tests of the whole program share: a folder, a demo target, a configuration put together from parts, and the store that it names.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that failed")]

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use plimsoll::demo::{self, Settings};
use plimsoll::model::run::{Run, RunId, RunStatus};
use plimsoll::store::{self, RunFilter, Store};
use tempfile::TempDir;

use super::daemon::Daemon;
use super::http::{Answer, try_ask};
use super::{temp_dir, wait_until};

/// Longer than anything here takes on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(120);
/// The token `ci` of every configuration here, as a header line.
pub(crate) const TOKEN: &str = "Authorization: Bearer let-me-in-please\r\n";
const TOKEN_SHA256: &str = "57f03a923bca2c5f747433c4f4d0cc1a2e65e27f51fca5946f740c376b366d33";

/// A folder with a configuration, and a target to load.
pub(crate) struct Bed {
    pub(crate) folder: TempDir,
    pub(crate) target: demo::Running,
    /// Address of the store.
    pub(crate) storage: String,
}

impl Bed {
    /// On SQLite, with a target that answers at once.
    pub(crate) async fn new() -> Self {
        Self::with(Settings { hold: Duration::from_millis(5), ..Settings::default() }).await
    }

    /// On SQLite, with this target.
    pub(crate) async fn with(target: Settings) -> Self {
        let folder = temp_dir();
        std::fs::write(folder.path().join("tokens.yaml"), format!("ci: {TOKEN_SHA256}\n")).unwrap();
        let storage = format!("sqlite://{}/plimsoll.db", folder.path().display());
        Self { folder, target: demo::start(target).await.unwrap(), storage }
    }

    /// Where the configuration stands.
    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("plimsoll.yaml")
    }

    /// Writes the configuration: the target `shop`, and what `rest` adds.
    pub(crate) fn configure(&self, rest: &str) -> PathBuf {
        let target = self.target_url();
        let storage = &self.storage;
        let text = format!(
            r#"
storage: {{ url: "{storage}" }}
server: {{ listen: "127.0.0.1:0", tokens_file: tokens.yaml }}
targets:
  shop:
    base_url: {target}
    idle_interval: 1s
    probes:
      app: {{ type: prometheus, url: "{target}/metrics", pools: [{{ preset: go-sql }}] }}
{rest}
"#
        );
        std::fs::write(self.config(), text).unwrap();
        self.config()
    }

    /// Address of the target, without the last slash.
    pub(crate) fn target_url(&self) -> String {
        self.target.url("").trim_end_matches('/').to_owned()
    }

    /// Starts the daemon on the configuration.
    pub(crate) async fn serve(&self) -> Daemon {
        Daemon::start(self.folder.path(), &self.config()).await
    }

    /// The store, opened beside the daemon.
    pub(crate) async fn store(&self) -> Arc<dyn Store> {
        store::open(&self.storage).await.unwrap()
    }
}

/// A profile: two users for this long, on a target.
pub(crate) fn profile(name: &str, target: &str, duration: &str) -> String {
    format!(
        r"
  {name}:
    target: {target}
    scenarios:
      users:
        executor: constant-vus
        vus: 2
        duration: {duration}
        gracefulStop: 1s
        flow: [{{ step: balance, get: /api/v1/wallet/balance, check: {{ status: 200 }} }}, {{ pause: 50ms }}]
"
    )
}

/// Runs a command to its end without holding up the servers of the test.
pub(crate) async fn finish(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// What a command printed on standard error.
pub(crate) fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What a command printed on standard output.
pub(crate) fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// All runs, newest first.
pub(crate) async fn runs(store: &dyn Store) -> Vec<Run> {
    store.runs(&RunFilter { limit: 500, ..RunFilter::default() }).await.unwrap()
}

/// The newest run, once it is in this state.
pub(crate) async fn run_that_is(store: &dyn Store, status: RunStatus) -> Run {
    wait_until(&format!("a run that is {status}"), LONG, async || {
        let filter = RunFilter { status: Some(status), ..RunFilter::default() };
        store.runs(&filter).await.ok()?.into_iter().next()
    })
    .await
}

/// A run that is going on and has stored this many seconds.
pub(crate) async fn run_with_seconds(store: &dyn Store, seconds: usize) -> Run {
    wait_until(&format!("a run with {seconds} seconds in the database"), LONG, async || {
        let filter = RunFilter { status: Some(RunStatus::Running), ..RunFilter::default() };
        let run = store.runs(&filter).await.ok()?.into_iter().next()?;
        (store.intervals(&run.id, 0, 10_000).await.ok()?.len() >= seconds).then_some(run)
    })
    .await
}

/// Sends a request with the token.
pub(crate) async fn with_token(daemon: &Daemon, method: &str, path: &str, body: &str) -> Answer {
    try_ask(daemon.address, method, path, &format!("{TOKEN}Content-Type: application/json\r\n"), body).await.unwrap()
}

/// Starts a run over the API; returns its id.
pub(crate) async fn start_run(daemon: &Daemon, profile: &str) -> RunId {
    let answer = with_token(daemon, "POST", "/api/v1/runs", &format!("{{\"profile\": \"{profile}\"}}")).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    RunId(answer.json()["id"].as_str().unwrap().to_owned())
}

/// The value of the first line of `/metrics` that begins so; `None` when there is none.
pub(crate) async fn metric(daemon: &Daemon, start: &str) -> Option<f64> {
    let page = daemon.try_get("/metrics").await?;
    assert_eq!(page.status, 200, "/metrics answers whatever happens");
    page.body.lines().find(|line| line.starts_with(start))?.rsplit(' ').next()?.parse().ok()
}

/// Every second of a finished run is there once, and they add up to its summary.
pub(crate) async fn assert_nothing_is_lost(store: &dyn Store, id: &RunId) {
    let run = store.run(&id.0).await.unwrap().unwrap();
    let summary = run.summary.unwrap_or_else(|| panic!("{id} has no summary"));
    let intervals = store.intervals(id, 0, 10_000).await.unwrap();
    let seconds: Vec<u32> = intervals.iter().map(|interval| interval.second).collect();
    let whole: Vec<u32> = (0..seconds.len() as u32).collect();
    assert_eq!(seconds, whole, "seconds of {id} are missing");
    assert_eq!(summary.intervals_lost, 0);
    let requests: u64 =
        intervals.iter().flat_map(|interval| interval.steps.values()).map(plimsoll::model::measure::StepInterval::requests).sum();
    assert_eq!(requests, summary.total.requests);
    assert!(requests > 0);
}
