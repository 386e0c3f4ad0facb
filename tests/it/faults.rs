//! Signals, reloads and commands on the real program, and what it does when its target, its mail server or its store fails in mid-run:
//! the run goes on, what cannot be stored is kept or counted, and nobody is told that all is well.
#![expect(clippy::unwrap_used, reason = "a step that fails, fails the test")]

mod commands;
mod storage;
mod told;

use std::time::Duration;

use plimsoll::demo::Settings;
use plimsoll::model::alerting::{AlertState, OutboxState};
use plimsoll::model::run::{EndedBy, RunStatus, Verdict};
use serde_json::Value as Json;

use crate::servers::bed::{Bed, LONG, errors, finish, profile, run_that_is, run_with_seconds, start_run};
use crate::servers::daemon::plimsoll;
use crate::servers::http::ask;
use crate::servers::smtp::{PASSWORD, SmtpSink, USER};
use crate::servers::{closed_port, free_port, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_down_never_passes() {
    let bed = Bed::new().await;
    let closed = closed_port();
    let nobody = closed.port;
    bed.configure(&format!(
        "  gone: {{ base_url: \"http://127.0.0.1:{nobody}\" }}\nprofiles:{}    thresholds: [\"http_req_duration: p(95) < 5s\"]",
        profile("short", "gone", "2s")
    ));
    let config = bed.config();
    let output = finish(plimsoll(&["run", "short", "--config", config.to_str().unwrap()])).await;
    let run = run_that_is(&*bed.store().await, RunStatus::Finished).await;
    assert!(matches!(run.verdict, Some(Verdict::Fail | Verdict::NoData)), "{run:?}");
    assert!(matches!(output.status.code(), Some(98 | 99)), "{:?} {}", output.status, errors(&output));
    assert!(run.reasons.iter().any(|reason| reason.contains("connect_refused")), "{:?}", run.reasons);
}

/// A pool of one that ten users fill, and a rule that notices at once.
async fn full_pool(channel: &str) -> Bed {
    let bed =
        Bed::with(Settings { pool: 1, hold: Duration::from_millis(100), acquire_timeout: Duration::from_secs(30), ..Settings::default() })
            .await;
    let profiles = profile("crowd", "shop", "10m").replace("vus: 2", "vus: 10");
    bed.configure(&format!(
        r#"
profiles:{profiles}
alerts:
  defaults: {{ pool-nearly-full: off, requests-failing: off, runs-failing: off, probe-down: off, storage-failing: off }}
  channels:
    ops: {channel}
  rules:
    pool-full: {{ when: "pool_utilization: max > 80% over 3s for 1s", recover: "< 50%", severity: critical }}
"#
    ));
    bed
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_waits_for_its_server_even_through_a_restart() {
    let port = free_port();
    let channel = format!(
        "{{ type: email, to: [ops@example.org], smtp: {{ host: 127.0.0.1, port: {port}, tls: starttls, user: {USER}, password: {PASSWORD}, ca_file: ca.pem, server_name: localhost, timeout: 50s }} }}"
    );
    let bed = full_pool(&channel).await;
    let ca = bed.folder.path().join("ca.pem");
    std::fs::copy(SmtpSink::start(&[]).await.ca_file(), &ca).unwrap();
    let daemon = bed.serve().await;
    let store = bed.store().await;
    start_run(&daemon, "crowd").await;
    let waiting = wait_until("a mail that could not be sent twice", LONG, async || {
        store.messages(None, 10).await.ok()?.into_iter().find(|message| message.attempts >= 2)
    })
    .await;
    assert_eq!(waiting.state, OutboxState::Waiting);
    assert!(!waiting.detail.is_empty());
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code().await, Some(0));
    let kept = store.messages(None, 10).await.unwrap();
    assert!(kept.iter().any(|message| message.id == waiting.id && message.state == OutboxState::Waiting), "{kept:?}");

    let smtp = SmtpSink::start_on(port, &[]).await;
    std::fs::copy(smtp.ca_file(), &ca).unwrap();
    let daemon = bed.serve().await;
    smtp.story().await;
    let told = wait_until("both messages to be settled", LONG, async || {
        let messages = store.messages(Some(OutboxState::Waiting), 10).await.ok()?;
        messages.is_empty().then_some(store.messages(None, 10).await.ok()?)
    })
    .await;
    assert!(told.iter().all(|message| matches!(message.state, OutboxState::Sent | OutboxState::Merged)), "{told:?}");
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_kill_9_the_run_is_interrupted_and_a_firing_alert_is_not_fired_again() {
    let bed = full_pool("{ type: file, format: json, path: told.jsonl }").await;
    let told = || -> Vec<Json> {
        let text = std::fs::read_to_string(bed.folder.path().join("told.jsonl")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    // Connections that are never given back keep the pool full, whoever loads it.
    let address = bed.target_url().trim_start_matches("http://").parse().unwrap();
    let leaked = ask(address, "POST", "/faults", "Content-Type: application/json\r\n", "{\"connection_leak_every\": 1}").await;
    assert_eq!(leaked.status, 200, "{leaked:?}");
    let daemon = bed.serve().await;
    let store = bed.store().await;
    let id = start_run(&daemon, "crowd").await;
    wait_until("the alert to be told", LONG, async || (told().len() == 1).then_some(())).await;
    run_with_seconds(&*store, 3).await;
    daemon.kill().await;
    let before = store.alerts().await.unwrap();
    assert_eq!(before.iter().map(|alert| alert.state).collect::<Vec<_>>(), [AlertState::Firing]);

    let daemon = bed.serve().await;
    let run = store.run(&id.0).await.unwrap().unwrap();
    assert_eq!((run.status, run.ended_by, run.verdict), (RunStatus::Interrupted, Some(EndedBy::Crash), None));
    assert!(!run.reasons.is_empty() && run.ended_at.is_some(), "{run:?}");
    assert!(daemon.output().contains("marked as interrupted"), "{}", daemon.output());
    let again = start_run(&daemon, "crowd").await;
    run_with_seconds(&*store, 3).await;
    let alerts = wait_until("the alert to be judged again", LONG, async || {
        let alerts = daemon.api("/alerts").await;
        let firing = alerts["alerts"].as_array()?.iter().find(|alert| alert["state"] == "firing")?.clone();
        Some(firing)
    })
    .await;
    assert_eq!(alerts["incident"].as_str(), before[0].incident.as_deref(), "the incident stays open: {alerts}");
    assert_eq!(told().len(), 1, "{:?}", told());
    let cancelled = crate::servers::bed::with_token(&daemon, "POST", &format!("/api/v1/runs/{again}/cancel"), "").await;
    assert_eq!(cancelled.status, 202);
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code().await, Some(0));
    let fired = store.transitions(None, 100).await.unwrap();
    assert_eq!(fired.iter().filter(|change| change.to == AlertState::Firing).count(), 1, "{fired:#?}");
}
