//! The database goes away in mid-run, and the process with it: what it did not take waits in the spool, within its bound.
#![expect(clippy::unwrap_used, reason = "a step that fails, fails the test")]

use std::path::PathBuf;

use plimsoll::model::run::{EndedBy, RunStatus};

use crate::servers::bed::{Bed, LONG, assert_nothing_is_lost, metric, profile, run_that_is, run_with_seconds, start_run};
use crate::servers::postgres::Postgres;
use crate::servers::wait_until;

/// Files in the spool's folder.
fn spools(bed: &Bed) -> Vec<PathBuf> {
    std::fs::read_dir(bed.folder.path().join("spool")).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// A daemon on a PostgreSQL of its own.
async fn bed_on(cluster: &Postgres, duration: &str, storage: &str) -> Bed {
    let mut bed = Bed::new().await;
    bed.storage = cluster.database().await;
    bed.configure(&format!("profiles:{}", profile("patient", "shop", duration)));
    let text = std::fs::read_to_string(bed.config()).unwrap();
    std::fs::write(bed.config(), text.replace("storage: { ", &format!("storage: {{ {storage}"))).unwrap();
    bed
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_spooled_survives_the_process_and_is_stored_by_the_next() {
    let cluster = Postgres::private().await;
    let bed = bed_on(&cluster, "10m", "").await;
    let daemon = bed.serve().await;
    let store = bed.store().await;
    let id = start_run(&daemon, "patient").await;
    run_with_seconds(&*store, 2).await;
    cluster.stop();
    wait_until("six records in the spool", LONG, async || metric(&daemon, "plimsoll_spool_records").await.filter(|count| *count >= 6.0))
        .await;
    let shown = metric(&daemon, "plimsoll_run_elapsed_seconds").await.unwrap() as u32;
    daemon.kill().await;
    assert_eq!(spools(&bed).len(), 1);
    cluster.start().await;
    let daemon = bed.serve().await;
    assert_eq!(spools(&bed), [] as [PathBuf; 0], "{}", daemon.output());
    let run = store.run(&id.0).await.unwrap().unwrap();
    assert_eq!((run.status, run.ended_by), (RunStatus::Interrupted, Some(EndedBy::Crash)));
    let seconds: Vec<u32> = store.intervals(&id, 0, 10_000).await.unwrap().iter().map(|interval| interval.second).collect();
    assert_eq!(seconds, (0..seconds.len() as u32).collect::<Vec<_>>(), "seconds are missing");
    assert!(seconds.len() as u32 + 2 >= shown, "{} seconds are stored, {shown} were shown", seconds.len());
    let last = run.started_at.plus(std::time::Duration::from_secs(seconds.len() as u64));
    assert_eq!(run.ended_at, Some(last), "it ended with the last second that was in the spool");
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_ends_without_its_database_is_stored_whole_after_a_restart() {
    let cluster = Postgres::private().await;
    let bed = bed_on(&cluster, "6s", "").await;
    let daemon = bed.serve().await;
    let store = bed.store().await;
    let id = start_run(&daemon, "patient").await;
    run_with_seconds(&*store, 1).await;
    cluster.stop();
    wait_until("the end of the run", LONG, async || {
        metric(&daemon, "plimsoll_runs_ended_total{profile=\"patient\",verdict=\"pass\"}").await.filter(|count| *count > 0.0)
    })
    .await;
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code().await, Some(0));
    assert_eq!(spools(&bed).len(), 1);
    cluster.start().await;
    assert_eq!(store.run(&id.0).await.unwrap().unwrap().status, RunStatus::Running);
    let daemon = bed.serve().await;
    let run = run_that_is(&*store, RunStatus::Finished).await;
    assert_eq!(run.id, id);
    assert_nothing_is_lost(&*store, &id).await;
    assert_eq!(spools(&bed), [] as [PathBuf; 0]);
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_the_bound_is_counted_and_said() {
    let cluster = Postgres::private().await;
    let bed = bed_on(&cluster, "25s", "spool: elsewhere, spool_limit: 4KiB, ").await;
    let daemon = bed.serve().await;
    let store = bed.store().await;
    let id = start_run(&daemon, "patient").await;
    run_with_seconds(&*store, 1).await;
    cluster.stop();
    wait_until("something to be lost", LONG, async || metric(&daemon, "plimsoll_intervals_lost_total").await.filter(|count| *count >= 3.0))
        .await;
    let bytes = metric(&daemon, "plimsoll_spool_bytes").await.unwrap();
    assert!(bytes > 0.0 && bytes <= 4_096.0, "{bytes}");
    assert!(bed.folder.path().join("elsewhere").is_dir());
    let output = daemon.output();
    assert!(output.contains("the spool is full: 4096 bytes, the setting `spool_limit`"), "{output}");
    cluster.start().await;
    let run = run_that_is(&*store, RunStatus::Finished).await;
    assert_eq!(run.id, id);
    let lost = run.summary.unwrap().intervals_lost;
    assert!(lost >= 3, "{lost}");
    let seconds = store.intervals(&id, 0, 10_000).await.unwrap();
    assert!(!seconds.is_empty() && seconds.len() < 25, "{}", seconds.len());
    assert_eq!(metric(&daemon, "plimsoll_spool_records").await, Some(0.0), "everything that was kept is stored");
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code().await, Some(0));
}
