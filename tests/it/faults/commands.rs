//! Signals, reloads, and commands over the API.

use std::time::Duration;

use plimsoll::demo::Settings;
use plimsoll::model::run::{EndedBy, RunStatus};

use crate::servers::bed::{
    Bed, LONG, assert_nothing_is_lost, errors, finish, metric, profile, run_that_is, run_with_seconds, start_run, with_token,
};
use crate::servers::daemon::plimsoll;
use crate::servers::http::ask;
use crate::servers::wait_until;

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_in_mid_run_lets_iterations_end_and_stores_the_run() {
    let bed = Bed::with(Settings { hold: Duration::from_millis(300), ..Settings::default() }).await;
    // More time to end than any of them takes on a busy machine.
    let profile = profile("endless", "shop", "10m").replace("gracefulStop: 1s", "gracefulStop: 50s");
    bed.configure(&format!("load: {{ drain: 50s }}\nprofiles:{profile}"));
    let daemon = bed.serve().await;
    let store = bed.store().await;
    let id = start_run(&daemon, "endless").await;
    run_with_seconds(&*store, 2).await;
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code().await, Some(0));
    let run = store.run(&id.0).await.unwrap().unwrap();
    assert_eq!((run.status, run.ended_by), (RunStatus::Finished, Some(EndedBy::Signal)), "{run:?}");
    assert!(run.reasons.iter().any(|reason| reason == "the daemon was told to stop"), "{:?}", run.reasons);
    assert_nothing_is_lost(&*store, &id).await;
    let counts = run.summary.unwrap().scenarios[0].counts;
    assert_eq!((counts.breach(), counts.interrupted), (None, 0), "iterations may end within the drain: {counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_sigterm_does_not_wait() {
    let bed = Bed::new().await;
    bed.configure(&format!(
        "load: {{ drain: 1h }}\nprofiles:{}",
        profile("endless", "shop", "10m").replace("gracefulStop: 1s", "gracefulStop: 1h")
    ));
    let daemon = bed.serve().await;
    let store = bed.store().await;
    let id = start_run(&daemon, "endless").await;
    run_with_seconds(&*store, 1).await;
    let address = bed.target_url().trim_start_matches("http://").parse().unwrap();
    // From now on requests take longer than the test may.
    let slow = ask(address, "POST", "/faults", "Content-Type: application/json\r\n", "{\"slow_ms\": 600000}").await;
    assert_eq!(slow.status, 200, "{slow:?}");
    wait_until("the load to stand still", LONG, async || {
        let intervals = store.intervals(&id, 0, 10_000).await.ok()?;
        intervals.last()?.steps.values().all(|step| step.requests() == 0).then_some(())
    })
    .await;
    daemon.signal("TERM");
    let ready = wait_until("the daemon to be stopping", LONG, async || {
        daemon.try_get("/-/ready").await.filter(|ready| ready.body.contains("stopping"))
    })
    .await;
    assert_eq!(ready.status, 503, "{ready:?}");
    let late = with_token(&daemon, "POST", "/api/v1/runs", "{\"profile\": \"endless\"}").await;
    assert_eq!((late.status, late.code().as_str()), (409, "not_now"));
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code().await, Some(0));
    let run = store.run(&id.0).await.unwrap().unwrap();
    assert_eq!((run.status, run.ended_by), (RunStatus::Finished, Some(EndedBy::Signal)), "{run:?}");
    assert!(run.summary.unwrap().scenarios[0].counts.interrupted > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_takes_what_is_valid_and_keeps_the_last_good_one_otherwise() {
    let bed = Bed::new().await;
    let profiles = format!("profiles:{}", profile("short", "shop", "1s"));
    let schedule = |name: &str| format!("{profiles}\nschedules: {{ {name}: {{ profile: short, cron: \"0 0 1 1 *\" }} }}");
    bed.configure(&schedule("first"));
    let daemon = bed.serve().await;
    let in_force = async || daemon.api("/schedules").await["schedules"][0]["name"].as_str().map(str::to_owned);
    let ready = async || daemon.try_get("/-/ready").await.unwrap();
    assert_eq!(in_force().await.as_deref(), Some("first"));
    wait_until("the daemon to be ready", LONG, async || (ready().await.status == 200).then_some(())).await;

    bed.configure(&schedule("second"));
    daemon.signal("HUP");
    wait_until("the second schedule", LONG, async || (in_force().await.as_deref() == Some("second")).then_some(())).await;
    assert!(ready().await.body.contains("[+] configuration: reloaded"), "{:?}", ready().await);

    bed.configure(&(schedule("third") + "\nnonsense: 1"));
    daemon.signal("HUP");
    wait_until("the refusal", LONG, async || ready().await.body.contains("reload failed").then_some(())).await;
    assert_eq!(in_force().await.as_deref(), Some("second"));
    assert_eq!(ready().await.status, 200, "a bad file is no reason to be not ready");
    assert_eq!(metric(&daemon, "plimsoll_config_last_reload_successful").await, Some(0.0));
    let log = daemon.output();
    assert!(log.contains("the last good one stays in force") && log.contains("nonsense"), "{log}");

    let refused = with_token(&daemon, "POST", "/-/reload", "").await;
    assert_eq!((refused.status, refused.code().as_str()), (422, "bad_configuration"));
    let stranger = ask(daemon.address, "POST", "/-/reload", "", "").await;
    assert_eq!(stranger.status, 401);
    bed.configure(&schedule("fourth"));
    let taken = with_token(&daemon, "POST", "/-/reload", "").await;
    assert_eq!(taken.status, 200, "{taken:?}");
    assert_eq!(in_force().await.as_deref(), Some("fourth"));
    assert_eq!(metric(&daemon, "plimsoll_config_last_reload_successful").await, Some(1.0));
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_a_reload_brings_fires() {
    let bed = Bed::new().await;
    let profiles = format!("profiles:{}", profile("endless", "shop", "10m"));
    bed.configure(&profiles);
    let daemon = bed.serve().await;
    let store = bed.store().await;
    let id = start_run(&daemon, "endless").await;
    run_with_seconds(&*store, 1).await;
    bed.configure(&format!(
        "{profiles}\nalerts: {{ channels: {{ box: {{ type: file }} }}, rules: {{ some-load: {{ when: \"http_reqs: rate > 0.1/s over 2s\", severity: low }} }} }}"
    ));
    daemon.signal("HUP");
    wait_until("the new rule to fire", LONG, async || {
        let alerts = daemon.api("/alerts").await;
        alerts["alerts"].as_array()?.iter().any(|alert| alert["rule"] == "some-load" && alert["state"] == "firing").then_some(())
    })
    .await;
    // The run went on with the profile that it began with.
    assert_eq!(store.run(&id.0).await.unwrap().unwrap().status, RunStatus::Running);
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_started_and_cancelled_with_a_token_only() {
    let bed = Bed::new().await;
    bed.configure(&format!("profiles:{}", profile("endless", "shop", "10m")));
    let daemon = bed.serve().await;
    let store = bed.store().await;
    let body = "{\"profile\": \"endless\"}";
    for headers in ["", "Authorization: Bearer wrong\r\n", "Authorization: Basic bGV0LW1lLWluLXBsZWFzZQ==\r\n"] {
        let answer = ask(daemon.address, "POST", "/api/v1/runs", &format!("{headers}Content-Type: application/json\r\n"), body).await;
        assert_eq!(answer.status, 401, "{headers}: {answer:?}");
    }
    let unknown = with_token(&daemon, "POST", "/api/v1/runs", "{\"profile\": \"endles\"}").await;
    assert_eq!((unknown.status, unknown.code().as_str()), (404, "unknown"));
    let id = start_run(&daemon, "endless").await;
    let busy = with_token(&daemon, "POST", "/api/v1/runs", body).await;
    assert_eq!((busy.status, busy.code().as_str()), (409, "not_now"));
    assert!(busy.body.contains(&id.0) && busy.body.contains("shop"), "{busy:?}");
    run_with_seconds(&*store, 1).await;
    let stranger = ask(daemon.address, "POST", &format!("/api/v1/runs/{id}/cancel"), "", "").await;
    assert_eq!(stranger.status, 401);
    let cancelled = with_token(&daemon, "POST", &format!("/api/v1/runs/{id}/cancel"), "").await;
    assert_eq!(cancelled.status, 202, "{cancelled:?}");
    let run = run_that_is(&*store, RunStatus::Finished).await;
    assert_eq!((run.ended_by, run.verdict), (Some(EndedBy::Cancelled), None));
    assert_eq!((run.trigger.by.as_str(), run.trigger.name.as_deref()), ("api", Some("ci")));
    assert!(run.reasons.iter().any(|reason| reason == "cancelled by api token ci"), "{:?}", run.reasons);
    let again = with_token(&daemon, "POST", &format!("/api/v1/runs/{id}/cancel"), "").await;
    assert_eq!(again.status, 404, "{again:?}");
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_daemon_on_the_same_port_is_refused_and_harms_nothing() {
    let bed = Bed::new().await;
    bed.configure(&format!("profiles:{}", profile("endless", "shop", "10m")));
    let daemon = bed.serve().await;
    let store = bed.store().await;
    let id = start_run(&daemon, "endless").await;
    run_with_seconds(&*store, 1).await;
    let address = daemon.address.to_string();
    let text = std::fs::read_to_string(bed.config()).unwrap().replace("127.0.0.1:0\"", &format!("{address}\""));
    let second = bed.folder.path().join("second.yaml");
    std::fs::write(&second, text).unwrap();
    let output = finish(plimsoll(&["serve", "--config", second.to_str().unwrap()])).await;
    assert_eq!(output.status.code(), Some(1));
    insta::assert_snapshot!("port_in_use", errors(&output).replace(&address, "ADDRESS"));
    assert_eq!(store.run(&id.0).await.unwrap().unwrap().status, RunStatus::Running, "the run of the first daemon goes on");
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_address_needs_tokens() {
    let bed = Bed::new().await;
    bed.configure(&format!("profiles:{}", profile("short", "shop", "1s")));
    let text = std::fs::read_to_string(bed.config()).unwrap();
    std::fs::write(bed.config(), text.replace("\"127.0.0.1:0\", tokens_file: tokens.yaml", "\"0.0.0.0:0\"")).unwrap();
    let output = finish(plimsoll(&["serve", "--config", bed.config().to_str().unwrap()])).await;
    assert_eq!(output.status.code(), Some(104));
    assert!(errors(&output).contains("insecure-listen"), "{}", errors(&output));
}
