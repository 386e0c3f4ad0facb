//! A store that does not take data is told by an alert: when it is back, with what became of everything.

use std::time::Duration;

use plimsoll::model::alerting::{AlertState, OutboxState, Outgoing, Transition};
use plimsoll::model::run::RunStatus;
use plimsoll::store::Store;
use sqlx::{Connection, Executor, SqliteConnection};

use crate::servers::bed::{Bed, LONG, metric, profile, run_that_is, run_with_seconds, start_run};
use crate::servers::daemon::Daemon;
use crate::servers::postgres::Postgres;
use crate::servers::wait_until;

/// The default rule with less patience.
const ALERTS: &str = r#"
alerts:
  defaults: { pool-nearly-full: off, requests-failing: off, runs-failing: off, probe-down: off }
  channels: { box: { type: file, path: box.jsonl, format: json } }
  rules: { storage-failing: { when: "storage failing for 3s", severity: critical } }
"#;

fn configure(bed: &Bed, duration: &str, storage: &str) {
    bed.configure(&format!("profiles:{}{ALERTS}", profile("patient", "shop", duration)));
    let text = std::fs::read_to_string(bed.config()).unwrap();
    std::fs::write(bed.config(), text.replace("storage: { ", &format!("storage: {{ {storage}"))).unwrap();
}

async fn wait_for_fire(daemon: &Daemon) {
    wait_until("the alert to fire", LONG, async || {
        metric(daemon, "plimsoll_alerts{rule=\"storage-failing\",severity=\"critical\",state=\"firing\"}")
            .await
            .filter(|count| *count > 0.0)
    })
    .await;
}

/// The fire and the resolve, with their messages, once they are told.
async fn told(store: &dyn Store) -> (Vec<Transition>, Vec<Outgoing>) {
    wait_until("the alert to be told", LONG, async || {
        let mut changes = store.transitions(None, 100).await.ok()?;
        let messages = store.messages(None, 100).await.ok()?;
        let done = |message: &Outgoing| matches!(message.state, OutboxState::Sent | OutboxState::Merged);
        changes.sort_by_key(|change| change.at);
        (changes.len() >= 2 && messages.len() >= 2 && messages.iter().all(done)).then_some((changes, messages))
    })
    .await
}

async fn stop(daemon: Daemon) {
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_was_away_is_told_with_what_was_kept_and_written() {
    let cluster = Postgres::private().await;
    let mut bed = Bed::new().await;
    bed.storage = cluster.database().await;
    configure(&bed, "60s", "");
    let daemon = bed.serve().await;
    let store = bed.store().await;
    start_run(&daemon, "patient").await;
    run_with_seconds(&*store, 2).await;
    cluster.stop();
    wait_for_fire(&daemon).await;
    assert!(!bed.folder.path().join("box.jsonl").exists(), "nobody is told before it is recorded");
    cluster.start().await;
    let (changes, messages) = told(&*store).await;
    assert_eq!(changes.iter().map(|change| change.to).collect::<Vec<_>>(), [AlertState::Firing, AlertState::Inactive], "{changes:#?}");
    let (fired, resolved) = (&changes[0].reason, &changes[1].reason);
    assert!(fired.contains("the database has not taken data since") && fired.contains("0 lost"), "{fired}");
    assert!(resolved.contains("records were kept and written, 0 lost"), "{resolved}");
    assert!(changes[1].at.since(changes[0].at) > Duration::ZERO && !fired.contains(Postgres::PASSWORD), "{fired}");
    assert!(messages.iter().any(|message| message.message.headline.contains(resolved.as_str())), "{messages:#?}");
    assert!(messages.iter().all(|message| message.message.rule == "storage-failing"));
    assert!(bed.folder.path().join("box.jsonl").exists());
    stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn seconds_that_found_no_room_are_told_with_their_number() {
    let bed = Bed::new().await;
    configure(&bed, "40s", "spool_limit: 4KiB, ");
    let daemon = bed.serve().await;
    let store = bed.store().await;
    start_run(&daemon, "patient").await;
    run_with_seconds(&*store, 1).await;
    let mut other = SqliteConnection::connect(&bed.storage).await.unwrap();
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    let lost = wait_until("something to be lost", LONG, async || {
        metric(&daemon, "plimsoll_intervals_lost_total").await.filter(|count| *count >= 2.0)
    })
    .await;
    wait_for_fire(&daemon).await;
    other.execute("ROLLBACK").await.unwrap();
    let (changes, _) = told(&*store).await;
    let total = metric(&daemon, "plimsoll_intervals_lost_total").await.unwrap();
    assert!(total >= lost && changes[1].reason.ends_with(&format!("{total} lost")), "{total}: {changes:#?}");
    run_that_is(&*store, RunStatus::Finished).await;
    stop(daemon).await;
}
