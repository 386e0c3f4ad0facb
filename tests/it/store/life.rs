//! Promises about opening, closing and what lies beneath.

use plimsoll::model::schedule::TickOutcome;
use plimsoll::store::{AlertChange, ReadingFilter, SeriesBatch, StoreError, open};
use sqlx::{Connection, Executor, PgConnection, SqliteConnection};

use super::Bed;
use super::samples::{at, interval, message, reading, run, tick};

pub(super) async fn a_ping_writes(bed: Bed) {
    bed.store.ping().await.unwrap();
    bed.sql("DELETE FROM store_meta").await;
    let error = bed.store.ping().await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt(_)), "{error}");
}

/// Nobody closes a store whose process is killed: what it acknowledged is there for the next one all the same.
pub(super) async fn what_was_acknowledged_survives_without_a_close(bed: Bed) {
    let run = run("a", at(0));
    bed.store.start_run(&run).await.unwrap();
    let (intervals, readings) = (vec![(run.id.clone(), interval(0))], vec![(Some(run.id.clone()), reading("shop", "app", at(0), 1.0))]);
    bed.store.append(&SeriesBatch { intervals, readings }).await.unwrap();
    bed.store.commit_alerts(&AlertChange { messages: vec![message("a", 1, "mail", at(0))], ..AlertChange::default() }).await.unwrap();
    let next = bed.opened_again().await;
    std::mem::forget(bed.store);
    assert_eq!(next.run("a").await.unwrap(), Some(run.clone()));
    assert_eq!(next.intervals(&run.id, 0, 9).await.unwrap(), [interval(0)]);
    assert_eq!(next.readings(&ReadingFilter::default()).await.unwrap(), [reading("shop", "app", at(0), 1.0)]);
    assert_eq!(next.messages(None, 0).await.unwrap(), [message("a", 1, "mail", at(0))]);
}

pub(super) async fn a_closed_store_refuses(bed: Bed) {
    bed.store.close().await;
    let error = bed.store.ping().await.unwrap_err();
    assert!(matches!(error, StoreError::Gone(_)), "{error}");
    bed.opened_again().await.ping().await.unwrap();
}

pub(super) async fn a_newer_schema_is_refused(bed: Bed) {
    bed.sql("UPDATE _sqlx_migrations SET version = 9000 + version").await;
    let error = open(&bed.url).await.err().unwrap();
    assert!(matches!(error, StoreError::TooNew { found: 9001.., known: 1.. }), "{error}");
    let text = error.to_string();
    assert!(text.starts_with("the database has schema version 90") && text.contains("use the newer program"), "{text}");
}

pub(super) async fn damaged_rows_are_named(bed: Bed) {
    let run = run("a", at(0));
    bed.store.start_run(&run).await.unwrap();
    bed.store.append(&SeriesBatch { intervals: vec![(run.id.clone(), interval(0))], readings: Vec::new() }).await.unwrap();
    bed.sql("UPDATE step_intervals SET service_ok = waiting, checks = '[[1]]' WHERE step = 3").await;
    let error = bed.store.intervals(&run.id, 0, 9).await.unwrap_err().to_string();
    assert!(error.starts_with("stored data is damaged: ") && error.contains("column checks: "), "{error}");
    bed.sql("UPDATE runs SET verdict = 'splendid'").await;
    let error = bed.store.run("a").await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt(_)), "{error}");
    assert!(error.to_string().ends_with("column verdict: unknown word `splendid`"), "{error}");
}

pub(super) async fn texts_survive_whatever_they_hold(bed: Bed) {
    let mut run = run("a'; DROP TABLE runs; --", at(0));
    run.digest = "\"quoted\" \\ äöü 🚢 \u{202e} \r\n\t".into();
    run.reasons = vec!["a NUL \0 in JSON".into()];
    bed.store.start_run(&run).await.unwrap();
    assert_eq!(bed.store.run(&run.id.0).await.unwrap(), Some(run));
    let mut tick = tick("nightly", at(0), TickOutcome::Refused);
    tick.reason = "a NUL \0 in a text".into();
    bed.store.record_tick(&tick).await.unwrap();
    assert_eq!(bed.store.ticks(None, 0).await.unwrap()[0].reason, "a NUL \u{fffd} in a text");
}

/// Somebody else holds the lock for longer than we wait.
pub(super) async fn a_lock_held_too_long_is_busy(bed: Bed) {
    let error = if bed.url.starts_with("sqlite") {
        let mut other = SqliteConnection::connect(&bed.url).await.unwrap();
        other.execute("BEGIN EXCLUSIVE").await.unwrap();
        bed.store.ping().await.unwrap_err()
    } else {
        let mut other = PgConnection::connect(&bed.url).await.unwrap();
        other.execute("BEGIN; LOCK TABLE store_meta").await.unwrap();
        bed.store.ping().await.unwrap_err()
    };
    assert!(matches!(error, StoreError::Busy(_)) && error.is_passing(), "{error}");
    bed.store.ping().await.unwrap();
}
