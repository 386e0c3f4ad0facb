//! `kill -9` at random moments, on both databases: of the series at most the last two seconds are lost, and never the start of a run,
//! a finding, a change of an alert or a message. `scripts/prove-crash` does it many times.
#![expect(clippy::unwrap_used, reason = "a step that fails, fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use plimsoll::model::alerting::AlertState;
use plimsoll::model::run::{RunId, RunStatus};
use plimsoll::store::Store;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value as Json;

use crate::servers::bed::{Bed, LONG, profile, run_that_is, runs, start_run};
use crate::servers::daemon::Daemon;
use crate::servers::postgres::Postgres;
use crate::servers::wait_until;

/// Seconds of a run that a killed process may lose.
const MAY_BE_LOST: u64 = 2;

/// What a daemon has shown to somebody: none of it may be gone after its death.
#[derive(Default, Debug)]
struct Shown {
    /// Seconds of each run.
    seconds: BTreeMap<String, u64>,
    /// Runs that have ended, and how.
    ended: BTreeMap<String, String>,
    /// Incidents that are open.
    incidents: BTreeSet<String>,
}

impl Shown {
    async fn look(&mut self, daemon: &Daemon) -> Option<()> {
        let runs: Json = daemon.try_get("/api/v1/runs").await.filter(|answer| answer.status == 200)?.json();
        for run in runs["runs"].as_array().into_iter().flatten() {
            let id = run["id"].as_str()?;
            if run["status"] == "finished" {
                self.ended.insert(id.into(), run["verdict"].to_string());
            } else if run["status"] == "running" {
                let page: Json = daemon.try_get(&format!("/api/v1/runs/{id}")).await?.json();
                let seconds = page["live"]["second"].as_u64().map_or(0, |second| second + 1);
                self.seconds.insert(id.into(), seconds);
            }
        }
        let alerts: Json = daemon.try_get("/api/v1/alerts").await.filter(|answer| answer.status == 200)?.json();
        for alert in alerts["alerts"].as_array().into_iter().flatten().filter(|alert| alert["state"] == "firing") {
            self.incidents.extend(alert["incident"].as_str().map(str::to_owned));
        }
        Some(())
    }
}

/// What is in the mailbox, in its order.
fn told(bed: &Bed) -> Vec<String> {
    let text = std::fs::read_to_string(bed.folder.path().join("box.jsonl")).unwrap_or_default();
    let id = |line: &str| serde_json::from_str::<Json>(line).ok()?["id"].as_str().map(str::to_owned);
    text.lines().filter_map(id).collect()
}

async fn assert_nothing_shown_is_gone(store: &dyn Store, shown: &Shown) {
    for (id, seconds) in &shown.seconds {
        let run = store.run(id).await.unwrap().unwrap_or_else(|| panic!("the start of {id} is lost"));
        assert_ne!(run.status, RunStatus::Running, "{id} is marked");
        let stored = store.intervals(&RunId(id.clone()), 0, 100_000).await.unwrap();
        let numbers: Vec<u32> = stored.iter().map(|interval| interval.second).collect();
        assert_eq!(numbers, (0..numbers.len() as u32).collect::<Vec<_>>(), "{id} has gaps");
        assert!(stored.len() as u64 + MAY_BE_LOST >= *seconds, "{id}: {} of {seconds} seconds are stored", stored.len());
    }
    for (id, verdict) in &shown.ended {
        let run = store.run(id).await.unwrap().unwrap();
        let found = serde_json::to_value(run.verdict).unwrap().to_string();
        assert_eq!((run.status, &found), (RunStatus::Finished, verdict), "{id}");
    }
    let transitions = store.transitions(None, 10_000).await.unwrap();
    for incident in &shown.incidents {
        let fired = transitions.iter().filter(|change| change.incident.as_ref() == Some(incident) && change.to == AlertState::Firing);
        assert_eq!(fired.count(), 1, "the incident {incident}");
    }
}

/// Every decided message is told, once, or twice where its sender was killed before it could take note.
async fn assert_messages_arrive(bed: &Bed, store: &dyn Store, kills: usize) {
    let messages = store.messages(None, 10_000).await.unwrap();
    let all: BTreeSet<String> = messages.into_iter().map(|message| message.id).collect();
    wait_until("every message to be told", LONG, async || {
        let told: BTreeSet<String> = told(bed).into_iter().collect();
        all.is_subset(&told).then_some(())
    })
    .await;
    let told = told(bed);
    let once: BTreeSet<&String> = told.iter().collect();
    assert!(told.len() - once.len() <= kills, "{told:?}");
    assert!(once.iter().all(|id| all.contains(*id)), "nothing is told that is not stored: {told:?}");
}

async fn survives_kills(mut bed: Bed, storage: Option<String>, kills: usize, seed: u64) {
    if let Some(storage) = storage {
        bed.storage = storage;
    }
    bed.configure(&format!(
        r#"
profiles:{}{}
schedules: {{ often: {{ profile: short, cron: "*/3 * * * * *", timezone: UTC, overlap: skip }} }}
alerts:
  channels: {{ box: {{ type: file, path: box.jsonl, format: json }} }}
  rules: {{ some-load: {{ when: "http_reqs: rate > 0.1/s over 1s", severity: high }} }}
"#,
        profile("short", "shop", "2s"),
        profile("long", "shop", "10m"),
    ));
    let store = bed.store().await;
    let mut random = SmallRng::seed_from_u64(seed);
    let mut shown = Shown::default();
    for kill in 0..kills {
        let daemon = bed.serve().await;
        assert_nothing_shown_is_gone(&*store, &shown).await;
        if kill % 2 == 1 {
            // Every other time a long run: the schedule's are skipped meanwhile.
            let ask = || crate::servers::bed::with_token(&daemon, "POST", "/api/v1/runs", "{\"profile\": \"long\"}");
            wait_until("the target to be free", LONG, async || (ask().await.status == 202).then_some(())).await;
        }
        let wait = Duration::from_millis(random.random_range(1_000..9_000));
        let until = tokio::time::Instant::now() + wait;
        while tokio::time::Instant::now() < until {
            shown.look(&daemon).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        daemon.kill().await;
    }
    let daemon = bed.serve().await;
    assert_nothing_shown_is_gone(&*store, &shown).await;
    assert_messages_arrive(&bed, &*store, kills).await;
    let all = runs(&*store).await;
    let of_ticks: Vec<_> = store.ticks(Some("often"), 10_000).await.unwrap().into_iter().filter_map(|tick| tick.run).collect();
    let of_schedule = all.iter().filter(|run| run.trigger.by == "schedule").map(|run| run.id.clone()).collect::<BTreeSet<_>>();
    assert_eq!(of_ticks.into_iter().collect::<BTreeSet<_>>(), of_schedule, "a run and its instant are stored together");
    assert!(shown.seconds.values().any(|seconds| *seconds > 0) && !shown.incidents.is_empty(), "something was shown: {shown:?}");
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code().await, Some(0));
}

#[expect(clippy::disallowed_methods, reason = "the number of kills is chosen by scripts/prove-crash")]
fn kills() -> (usize, u64) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    (number("PLIMSOLL_KILLS").unwrap_or(5) as usize, number("PLIMSOLL_KILL_SEED").unwrap_or(20_261_121))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_daemon_loses_nothing_it_has_shown_on_sqlite() {
    let (kills, seed) = kills();
    survives_kills(Bed::new().await, None, kills, seed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_daemon_loses_nothing_it_has_shown_on_postgres() {
    let (kills, seed) = kills();
    survives_kills(Bed::new().await, Some(Postgres::fresh_database().await), kills, seed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn findings_are_stored_with_the_end_of_their_run() {
    // A run whose pool is full all the time has a finding; its end and the finding are one transaction.
    let bed = Bed::with(plimsoll::demo::Settings { pool: 1, hold: Duration::from_millis(30), ..plimsoll::demo::Settings::default() }).await;
    let crowd = profile("crowd", "shop", "5s").replace("vus: 2", "vus: 20");
    bed.configure(&format!("profiles:{crowd}"));
    let daemon = bed.serve().await;
    let store = bed.store().await;
    let id = start_run(&daemon, "crowd").await;
    let run = run_that_is(&*store, RunStatus::Finished).await;
    let findings = store.findings(Some(&id), 50).await.unwrap();
    daemon.kill().await;
    assert!(run.id == id && !findings.is_empty(), "{findings:?}");
    assert_eq!(bed.store().await.findings(Some(&id), 50).await.unwrap(), findings);
}
