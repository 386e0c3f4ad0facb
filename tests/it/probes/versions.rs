//! The probe `postgres`, its snapshots and the capture `postgres` against other versions than Debian's: columns come, go and change their
//! names, and what is chosen by version has to be there.

use std::sync::Arc;
use std::time::Duration;

use plimsoll::model::database::difference;
use plimsoll::probe::capture::{CaptureSpec, Source};
use plimsoll::registry::Secret;
use serde_json::json;
use sqlx::{Connection, Executor, PgConnection};
use tokio::time::sleep;

use super::super::demo::client;
use super::{figures, is, open};
use crate::servers::postgres::Postgres;
use crate::servers::{PATIENCE, wait_until};

/// Everything that is asked of a server, of this version.
async fn whole(major: u32) {
    let cluster = Postgres::of_version(major, "-c shared_preload_libraries=pg_stat_statements").await;
    for sql in ["CREATE ROLE watcher LOGIN PASSWORD 'geheim'", "GRANT pg_monitor TO watcher", "CREATE DATABASE shop OWNER plimsoll"] {
        cluster.admin(sql).await;
    }
    let mut admin = PgConnection::connect(&cluster.admin_url("shop")).await.unwrap();
    admin.execute("CREATE EXTENSION pg_stat_statements").await.unwrap();
    let mut owner = PgConnection::connect(&format!("{}?application_name=shop", cluster.url("shop"))).await.unwrap();
    owner
        .execute("CREATE TABLE orders (id int PRIMARY KEY, note text); INSERT INTO orders SELECT n, 'x' FROM generate_series(1, 500) n")
        .await
        .unwrap();
    let url = format!("postgres://watcher:geheim@127.0.0.1:{}/shop", cluster.port());
    let mut probe = open(&json!({"type": "postgres", "url": url}));
    let first = figures(&probe.read().await.unwrap());
    is(&first, "pool_limit", 197.0);
    let before = Arc::new(probe.snapshot(None).await.unwrap().expect("a snapshot"));

    // One waits for a row of another, and calls are counted.
    let mut holder = PgConnection::connect(&cluster.url("shop")).await.unwrap();
    holder.execute("BEGIN; UPDATE orders SET note = 'held' WHERE id = 1").await.unwrap();
    let mut waiting = tokio::task::JoinSet::new();
    waiting.spawn(async move { owner.execute("UPDATE orders SET note = 'waited' WHERE id = 1").await.map(|_| owner) });
    wait_until("a session that is seen waiting twice", PATIENCE, async || {
        let seen = figures(&probe.read().await.unwrap()).get("pg_lock_waiting") == Some(&1.0);
        sleep(Duration::from_millis(300)).await;
        (seen && figures(&probe.read().await.unwrap()).get("pg_lock_waiting") == Some(&1.0)).then_some(())
    })
    .await;
    holder.execute("COMMIT").await.unwrap();
    let mut owner = waiting.join_next().await.unwrap().unwrap().unwrap();
    for _ in 0..5 {
        owner.execute("SELECT note FROM orders WHERE note = 'x'").await.unwrap();
    }
    let rates = wait_until("the rates of what was written", PATIENCE, async || {
        owner.execute("UPDATE orders SET note = 'y' WHERE id = 2").await.unwrap();
        let numbers = figures(&probe.read().await.unwrap());
        sleep(Duration::from_millis(200)).await;
        numbers.get("pg_rows_written").is_some_and(|rate| *rate > 0.0).then_some(numbers)
    })
    .await;
    for metric in ["pg_commits", "pg_checkpoints", "pg_checkpoint_blocks", "pg_blocks_read", "pg_temp_written"] {
        assert!(rates.contains_key(metric), "PostgreSQL {major} has no {metric}: {rates:?}");
    }
    // Both came with 14.
    assert_eq!((rates.contains_key("pg_wal_written"), rates.contains_key("pg_sessions_lost")), (major >= 14, major >= 14), "{rates:?}");

    let after = probe.snapshot(Some(before.clone())).await.unwrap().expect("a snapshot");
    let work = difference("database", &before, &after);
    assert_eq!(work.incomplete, [] as [String; 0]);
    let select = work.statements.iter().find(|one| one.text == "SELECT note FROM orders WHERE note = $1");
    assert!(select.is_some_and(|one| (one.calls - 5.0).abs() < 1e-9), "{work:#?}");
    let locks = work.locks.unwrap();
    assert!(
        locks.deadlocks.is_some() && locks.waits.iter().any(|wait| wait.what == "orders" && wait.mode == "row" && wait.seconds > 0.0),
        "{locks:#?}"
    );
    captured(major, &url).await;
}

/// What is captured at one moment.
async fn captured(major: u32, url: &str) {
    let source = Source::Postgres(Secret::new(url.to_owned()));
    let moment = plimsoll::model::capture::Moment::Peak;
    let spec = CaptureSpec { name: "database".into(), moment, source, timeout: Duration::from_secs(30), limit: 1 << 20 };
    let taken = spec.take(&client()).await.unwrap();
    let snapshot: serde_json::Value = serde_json::from_slice(&taken.data).unwrap();
    assert!(snapshot["server"]["version"].as_str().is_some_and(|version| version.starts_with(&major.to_string())), "{snapshot:#}");
    assert!(snapshot["sessions"].is_array() && snapshot["blocked"].is_array() && snapshot["sessions_by_state"].is_array(), "{snapshot:#}");
    assert!(snapshot["statements"].as_array().is_some_and(|statements| !statements.is_empty()), "{snapshot:#}");
}

#[tokio::test]
async fn postgresql_13_is_read() {
    whole(13).await;
}

#[tokio::test]
async fn postgresql_17_is_read() {
    whole(17).await;
}

#[tokio::test]
async fn postgresql_18_is_read() {
    whole(18).await;
}
