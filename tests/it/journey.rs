//! The whole journey with the real program and real servers: a schedule fires, load fills a pool, the real Prometheus sees it, a
//! threshold fails, an alert fires, the mail and the Slack message arrive, the load goes, the resolve follows in the same thread.
//! On SQLite and on PostgreSQL; and again with the daemon killed between the decision and the sending.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that failed")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use plimsoll::clock::{Clock, SystemClock};
use plimsoll::demo::{self, Settings};
use plimsoll::model::run::RunId;
use plimsoll::store::{self, Store};
use serde_json::Value as Json;
use tokio::time::Instant;

use crate::grafana;
use crate::servers::daemon::Daemon;
use crate::servers::hook::HookSink;
use crate::servers::postgres::Postgres;
use crate::servers::prometheus::Prometheus;
use crate::servers::smtp::{PASSWORD, SmtpSink, USER};
use crate::servers::{free_port, temp_dir, wait_until};

/// Metrics that this journey has no data for: go-sql pools tell neither waiting callers nor timeouts.
const ABSENT: [&str; 2] = ["plimsoll_pool_waiting", "plimsoll_pool_timeouts"];
/// Longer than a run, its alert and its resolve take on a busy machine.
const LONG: Duration = Duration::from_secs(120);

/// A target whose 20 connections are too few for 60 users: each request holds one for 100 ms.
async fn target() -> demo::Running {
    let settings = Settings { pool: 20, hold: Duration::from_millis(100), acquire_timeout: Duration::from_secs(30), ..Settings::default() };
    demo::start(settings).await.unwrap()
}

struct Wiring<'a> {
    folder: &'a Path,
    /// How long the run takes.
    duration: &'a str,
    target: &'a demo::Running,
    storage: String,
    smtp_port: u16,
    ca_file: PathBuf,
    slack: String,
}

/// Writes the configuration; the schedule fires once, a few seconds from now.
fn configure(wiring: &Wiring<'_>) -> PathBuf {
    let at = SystemClock.now().plus(Duration::from_secs(4)).to_utc();
    let cron = at.format("%-S %-M %-H %-d %-m *");
    let (storage, target, ca_file, slack) =
        (&wiring.storage, wiring.target.url("").trim_end_matches('/').to_owned(), wiring.ca_file.display(), &wiring.slack);
    let (smtp_port, duration) = (wiring.smtp_port, wiring.duration);
    let text = format!(
        r#"
storage: {{ url: "{storage}" }}
server: {{ listen: "127.0.0.1:0" }}
targets:
  shop:
    base_url: {target}
    idle_interval: 1s
    probes:
      app: {{ type: prometheus, url: "{target}/metrics", pools: [{{ preset: go-sql }}] }}
profiles:
  rush:
    target: shop
    scenarios:
      users:
        executor: constant-vus
        vus: 60
        duration: {duration}
        flow:
          - step: balance
            get: /api/v1/wallet/balance
            check: {{ status: 200, "json $.cents": exists }}
    thresholds:
      - "http_req_failed: rate < 1%"
      - "http_req_duration: p(95) < 60s"
      - "pool_utilization{{pool:main}}: max < 80% over 5s"
schedules:
  once: {{ profile: rush, cron: "{cron}", timezone: UTC, missed: {{ run_within: 2m }} }}
alerts:
  defaults: {{ pool-nearly-full: off, requests-failing: off, runs-failing: off }}
  channels:
    ops:
      type: email
      to: [ops@example.org]
      smtp: {{ host: 127.0.0.1, port: {smtp_port}, tls: starttls, user: {USER}, password: {PASSWORD}, ca_file: "{ca_file}", server_name: localhost, timeout: 50s }}
    chat: {{ type: slack, webhook_url: "{slack}" }}
  rules:
    pool-full: {{ when: "pool_utilization: max > 80% over 3s for 2s", recover: "< 50%", severity: critical }}
"#
    );
    let path = wiring.folder.join("plimsoll.yaml");
    std::fs::write(&path, text).unwrap();
    path
}

/// The only run, once it is in this state.
async fn run_in_state(daemon: &Daemon, status: &str) -> Json {
    wait_until(&format!("a run that is {status}"), LONG, async || {
        let runs = daemon.api("/runs").await;
        runs["runs"].as_array()?.iter().find(|run| run["status"] == status).cloned()
    })
    .await
}

fn message_id(mail: &Json) -> String {
    mail["headers"]["Message-ID"].as_str().unwrap().to_owned()
}

/// The fire and the resolve of one incident, as mails.
fn assert_thread(mails: &[Json]) {
    let (fired, resolved) = (&mails[0], &mails[1]);
    assert_eq!(fired["tls"], true, "{fired}");
    assert_eq!(fired["headers"]["X-Plimsoll-State"], "firing");
    assert_eq!(resolved["headers"]["X-Plimsoll-State"], "resolved");
    assert_eq!(resolved["headers"]["In-Reply-To"], message_id(fired));
    assert!(resolved["headers"]["References"].as_str().unwrap().contains(&message_id(fired)));
    let subject = fired["headers"]["Subject"].as_str().unwrap();
    assert_eq!(resolved["headers"]["Subject"], format!("Re: {subject}"));
    assert!(subject.contains("main") && !subject.to_lowercase().contains("fired"), "{subject}");
}

async fn journey(storage: String, folder: &Path) {
    let target = target().await;
    let smtp = SmtpSink::start(&[]).await;
    let hook = HookSink::start(&[]).await;
    let wiring = Wiring {
        folder,
        // Every query of the dashboards has to be asked once while it goes on.
        duration: "25s",
        target: &target,
        storage: storage.clone(),
        smtp_port: smtp.port,
        ca_file: smtp.ca_file(),
        slack: hook.url("/slack"),
    };
    let config = configure(&wiring);
    let daemon = Daemon::start(folder, &config).await;
    let prometheus = Prometheus::scraping(daemon.address).await;
    let store = store::open(&storage).await.unwrap();

    let running = run_in_state(&daemon, "running").await;
    let id = RunId(running["id"].as_str().unwrap().to_owned());
    assert_eq!(store.run(&id.0).await.unwrap().unwrap().status.as_str(), "running");
    let seen = wait_until("intervals in the database", LONG, async || {
        let intervals = store.intervals(&id, 0, 10_000).await.ok()?;
        (!intervals.is_empty()).then_some(intervals.len())
    })
    .await;
    let still = store.run(&id.0).await.unwrap().unwrap();
    assert_eq!(still.status.as_str(), "running", "{seen} intervals were stored only after the run");
    wait_until("the real Prometheus to see a full pool", LONG, async || {
        let value = prometheus.value("max_over_time(plimsoll_pool_utilization_ratio{target=\"shop\",pool=\"main\"}[1m])").await?;
        (value >= 1.0).then_some(())
    })
    .await;
    dashboards_show_the_journey(&daemon, &prometheus).await;
    let run = run_in_state(&daemon, "finished").await;
    assert_eq!(run["verdict"], "fail", "{run}");
    let whole = store.run(&id.0).await.unwrap().unwrap();
    let failed: Vec<&str> =
        whole.thresholds.iter().filter(|result| result.verdict.as_str() == "fail").map(|result| result.text.as_str()).collect();
    assert_eq!(failed, ["pool_utilization{pool:main}: max < 80% over 5s"]);

    let mails = smtp.wait_for(2).await;
    assert_thread(&mails);
    let posts = hook.wait_for(2).await;
    let body: Json = serde_json::from_str(posts[0]["body"].as_str().unwrap()).unwrap();
    assert!(body["text"].is_string() && body["attachments"][0]["blocks"].is_array(), "{body}");
    // Everything that happened, in its order, on the daemon's own clock.
    let history = store.transitions(None, 50).await.unwrap();
    let moment = |state: &str| history.iter().rev().find(|change| change.to.as_str() == state).map(|change| change.at).unwrap();
    let (fired, resolved) = (moment("firing"), history.iter().find(|change| change.from.as_str() == "firing").unwrap().at);
    assert!(whole.started_at < fired && fired < resolved, "{history:?}");
    check_the_books(&*store, &id).await;
    live_series_are_gone(&prometheus).await;
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code().await, Some(0));
    target.stop().await;
}

/// Every query of the Grafana dashboards has had data by the end of the run, but for what this journey does not have.
async fn dashboards_show_the_journey(daemon: &Daemon, prometheus: &Prometheus) {
    let mut silent = grafana::all_expressions();
    silent.retain(|(_, expr)| !ABSENT.iter().any(|metric| expr.contains(metric)));
    let mut ended: Option<Instant> = None;
    // What the last run came to appears after its end, with the next scrapes.
    while !silent.is_empty() && ended.is_none_or(|ended| ended.elapsed() < Duration::from_secs(20)) {
        let empty = grafana::empty(prometheus, &silent).await;
        silent.retain(|(place, expr)| empty.contains(&format!("{place}: {expr}")));
        if daemon.api("/runs").await["runs"][0]["status"] == "finished" {
            ended.get_or_insert_with(Instant::now);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(silent.is_empty(), "no data from the daemon for: {silent:#?}");
}

/// What was stored second by second adds up to the summary.
async fn check_the_books(store: &dyn Store, id: &RunId) {
    let run = store.run(&id.0).await.unwrap().unwrap();
    let summary = run.summary.unwrap();
    let intervals = store.intervals(id, 0, 10_000).await.unwrap();
    let requests: u64 =
        intervals.iter().flat_map(|interval| interval.steps.values()).map(plimsoll::model::measure::StepInterval::requests).sum();
    assert_eq!(requests, summary.total.requests);
    assert_eq!(summary.total.reasons.values().sum::<u64>(), summary.total.failed);
    for scenario in &summary.scenarios {
        assert_eq!(scenario.counts.breach(), None);
        assert!(scenario.counts.completed > 0, "{:?}", scenario.counts);
    }
    assert!(store.findings(Some(id), 10).await.unwrap().iter().any(|finding| finding.kind == "pool_exhausted"));
}

/// Live gauges vanish when the run ends; what the last run came to stays.
async fn live_series_are_gone(prometheus: &Prometheus) {
    wait_until("live series to vanish", LONG, async || prometheus.query("plimsoll_run_active_vus").await.is_empty().then_some(())).await;
    assert_eq!(prometheus.query("plimsoll_last_run_info{profile=\"rush\",verdict=\"fail\"}").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_fires_the_pool_fills_the_alert_arrives_and_resolves_on_sqlite() {
    let folder = temp_dir();
    journey(format!("sqlite://{}/plimsoll.db", folder.path().display()), folder.path()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_fires_the_pool_fills_the_alert_arrives_and_resolves_on_postgres() {
    let folder = temp_dir();
    journey(Postgres::fresh_database().await, folder.path()).await;
}

/// The daemon is killed after it has decided to fire and before it could tell anyone.
async fn killed_between_fired_and_sent(storage: String, folder: &Path) {
    let target = target().await;
    let ca = SmtpSink::start(&[]).await;
    let hook = HookSink::start(&[]).await;
    let smtp_port = free_port();
    // It is killed long before it ends.
    let (duration, ca_file) = ("10m", folder.join("ca.pem"));
    let wiring = Wiring { folder, duration, target: &target, storage: storage.clone(), smtp_port, ca_file, slack: hook.url("/slack") };
    std::fs::copy(ca.ca_file(), folder.join("ca.pem")).unwrap();
    let config = configure(&wiring);
    let daemon = Daemon::start(folder, &config).await;
    let store = store::open(&storage).await.unwrap();
    let mail = wait_until("a mail that could not be sent", LONG, async || {
        let messages = store.messages(None, 50).await.ok()?;
        messages.into_iter().find(|message| message.channel == "ops" && message.attempts > 0)
    })
    .await;
    assert_eq!(mail.state.as_str(), "waiting");
    let killed_in_mid_run = run_in_state(&daemon, "running").await;
    daemon.kill().await;

    let smtp = SmtpSink::start_on(smtp_port, &[]).await;
    std::fs::copy(smtp.ca_file(), folder.join("ca.pem")).unwrap();
    let daemon = Daemon::start(folder, &config).await;
    let interrupted = run_in_state(&daemon, "interrupted").await;
    assert_eq!(interrupted["id"], killed_in_mid_run["id"]);
    // Both in one mail, where the next attempt comes after the end.
    let mails = smtp.story().await;
    if mails.len() > 1 {
        assert_thread(&mails);
    }
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code().await, Some(0));
    target.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_was_decided_arrives_after_kill_9_and_so_does_its_resolve_on_sqlite() {
    let folder = temp_dir();
    killed_between_fired_and_sent(format!("sqlite://{}/plimsoll.db", folder.path().display()), folder.path()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_was_decided_arrives_after_kill_9_and_so_does_its_resolve_on_postgres() {
    let folder = temp_dir();
    killed_between_fired_and_sent(Postgres::fresh_database().await, folder.path()).await;
}
