//! What people see of probes: `plimsoll probe detect` and `plimsoll probe test`, and what a database did during a run.

use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use plimsoll::model::database::{DatabaseWork, difference};
use plimsoll::model::run::Run;
use serde_json::json;
use sqlx::{Connection, Executor, PgConnection};

use super::{PageServer, open, target};
use crate::servers::daemon::plimsoll;
use crate::servers::postgres::Postgres;
use crate::servers::{PATIENCE, temp_dir, wait_until};

async fn call(arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = plimsoll(arguments);
    let output: Output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// A cluster that counts statements, a database `shop` in it with a table, and a role of its own for the probe.
async fn cluster() -> (Postgres, String) {
    let cluster = Postgres::with("-c shared_preload_libraries=pg_stat_statements").await;
    cluster.admin("CREATE ROLE watcher LOGIN PASSWORD 'geheim'").await;
    cluster.admin("GRANT pg_monitor TO watcher").await;
    cluster.admin("CREATE DATABASE shop OWNER plimsoll").await;
    let mut admin = PgConnection::connect(&cluster.admin_url("shop")).await.unwrap();
    admin.execute("CREATE EXTENSION pg_stat_statements").await.unwrap();
    let mut owner = PgConnection::connect(&cluster.url("shop")).await.unwrap();
    owner
        .execute("CREATE TABLE orders (id int PRIMARY KEY, note text); INSERT INTO orders SELECT n, 'x' FROM generate_series(1, 500) n")
        .await
        .unwrap();
    let url = format!("postgres://watcher:geheim@127.0.0.1:{}/shop", cluster.port());
    (cluster, url)
}

#[tokio::test]
async fn statements_are_the_difference_of_two_snapshots() {
    let (cluster, url) = cluster().await;
    let mut client = PgConnection::connect(&cluster.url("shop")).await.unwrap();
    let mut probe = open(&json!({"type": "postgres", "url": url}));
    let before = Arc::new(probe.snapshot(None).await.unwrap().expect("a snapshot"));
    for _ in 0..7 {
        client.execute("SELECT note FROM orders WHERE note = 'x'").await.unwrap();
        probe.read().await.unwrap();
    }
    let after = probe.snapshot(Some(before.clone())).await.unwrap().expect("a snapshot");
    let work: DatabaseWork = difference("database", &before, &after);
    assert_eq!((work.database.as_str(), work.incomplete.as_slice()), ("shop", [].as_slice()));
    let select =
        work.statements.iter().find(|one| one.text == "SELECT note FROM orders WHERE note = $1").unwrap_or_else(|| panic!("{work:#?}"));
    assert!((select.calls - 7.0).abs() < 1e-9 && (select.rows - 3500.0).abs() < 1e-9, "{select:?}");
    assert!(work.statements.iter().all(|one| !one.text.contains("pg_stat_activity")), "the probe does not count itself: {work:#?}");

    // Forgotten meanwhile: it is said.
    let mut admin = PgConnection::connect(&cluster.admin_url("shop")).await.unwrap();
    admin.execute("SELECT pg_stat_statements_reset()").await.unwrap();
    let later = probe.snapshot(Some(before.clone())).await.unwrap().unwrap();
    assert!(difference("database", &before, &later).incomplete[0].contains("were reset"));
}

/// Two wait for a row, two who wait for each other are parted by the server, and somebody keeps a lock.
#[tokio::test]
async fn locks_are_told_by_what_was_waited_for_and_what_is_held() {
    let (cluster, url) = cluster().await;
    let shop = cluster.url("shop");
    let mut probe = open(&json!({"type": "postgres", "url": url}));
    probe.read().await.unwrap();
    let before = Arc::new(probe.snapshot(None).await.unwrap().expect("a snapshot"));
    let connect = async || PgConnection::connect(&shop).await.unwrap();
    let mut holder = connect().await;
    holder.execute("BEGIN; UPDATE orders SET note = 'held' WHERE id = 1").await.unwrap();
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let mut other = connect().await;
        waiting.spawn(async move { other.execute("UPDATE orders SET note = 'waited' WHERE id = 1").await.is_ok() });
    }
    let mut seen = 0;
    wait_until("three readings that saw two sessions wait", PATIENCE, async || {
        let points = probe.read().await.ok()?;
        seen += u32::from(points.iter().any(|point| point.metric == "pg_lock_waiting" && point.value > 1.5));
        (seen >= 3).then_some(())
    })
    .await;
    holder.execute("COMMIT").await.unwrap();
    assert!(waiting.join_all().await.iter().all(|done| *done));
    // A deadlock: the server ends one of the two after a second.
    let (mut one, mut two) = (connect().await, connect().await);
    one.execute("BEGIN; UPDATE orders SET note = 'a' WHERE id = 11").await.unwrap();
    two.execute("BEGIN; UPDATE orders SET note = 'b' WHERE id = 12").await.unwrap();
    let ended =
        tokio::join!(one.execute("UPDATE orders SET note = 'a' WHERE id = 12"), two.execute("UPDATE orders SET note = 'b' WHERE id = 11"));
    assert!(ended.0.is_err() != ended.1.is_err(), "{ended:?}");
    one.execute("ROLLBACK").await.unwrap();
    two.execute("ROLLBACK").await.unwrap();
    holder.execute("BEGIN; LOCK TABLE orders IN EXCLUSIVE MODE").await.unwrap();
    // Servers tell their statistics a moment later.
    let work = wait_until("the deadlock in the statistics", PATIENCE, async || {
        let after = probe.snapshot(Some(before.clone())).await.unwrap().unwrap();
        let work = difference("database", &before, &after);
        work.locks.as_ref().is_some_and(|locks| locks.deadlocks.is_some_and(|dead| dead > 0.5)).then_some(work)
    })
    .await;
    let locks = work.locks.as_ref().unwrap();
    let row = locks.waits.iter().find(|wait| wait.what == "orders" && wait.mode == "row").unwrap_or_else(|| panic!("{locks:#?}"));
    assert!(row.seen > 3.5 && row.seconds > 0.0, "{locks:#?}");
    let held = locks.held.iter().find(|held| held.mode == "ExclusiveLock").unwrap_or_else(|| panic!("{locks:#?}"));
    assert!(held.before < 0.5 && held.after > 0.5, "{locks:#?}");
    let notes = plimsoll::report::database::notes(&work).join("\n");
    assert!(notes.contains("1 deadlock") && notes.contains("ExclusiveLock 0 before, 1 after"), "{notes}");
}

#[tokio::test]
async fn without_the_extension_there_are_tables_and_the_reason() {
    let cluster = Postgres::with("").await;
    cluster.admin("GRANT pg_monitor TO plimsoll").await;
    let mut probe = open(&json!({"type": "postgres", "url": cluster.url("postgres")}));
    let snapshot = probe.snapshot(None).await.unwrap().unwrap();
    assert!(snapshot.statements.unwrap_err().contains("CREATE EXTENSION pg_stat_statements"));
    // There, but not loaded into the server.
    cluster.admin("CREATE EXTENSION pg_stat_statements").await;
    let snapshot = probe.snapshot(None).await.unwrap().unwrap();
    assert!(snapshot.statements.unwrap_err().contains("shared_preload_libraries"));
}

/// The demo target for load, and a real PostgreSQL beside it that somebody works in meanwhile.
fn configuration(folder: &Path, port: u16, url: &str) {
    std::fs::write(folder.join("url"), url).unwrap();
    let text = format!(
        "targets:\n  shop:\n    base_url: http://127.0.0.1:{port}\n    probes:\n      database: {{ type: postgres, url_file: url }}\n      \
         page: {{ type: prometheus, url: \"http://127.0.0.1:{port}/metrics\" }}\n\
         profiles:\n  visits:\n    target: shop\n    scenarios:\n      users:\n        executor: constant-vus\n        vus: 2\n        duration: 4s\n        \
         flow: [{{ step: balance, get: /api/v1/wallet/balance }}]\n    thresholds: [\"probe_time: max < 60s\"]\n"
    );
    std::fs::write(folder.join("plimsoll.yaml"), text).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_tells_what_each_statement_did_per_request() {
    let (cluster, url) = cluster().await;
    let service = target(5, 0).await;
    let folder = temp_dir();
    configuration(folder.path(), service.addr.port(), &url);
    let config = folder.path().join("plimsoll.yaml").display().to_string();
    let (stop, url) = (Arc::new(AtomicBool::new(false)), cluster.url("shop"));
    let stopped = stop.clone();
    let mut worker = tokio::task::JoinSet::new();
    worker.spawn(async move {
        let mut client = PgConnection::connect(&url).await.unwrap();
        while !stopped.load(Ordering::SeqCst) {
            client.execute("UPDATE orders SET note = 'y' WHERE id = 3").await.unwrap();
        }
    });
    let (code, out, err) = call(&["run", "visits", "--config", &config, "--json"]).await;
    stop.store(true, Ordering::SeqCst);
    worker.join_all().await;
    let run: Run = serde_json::from_str(out.trim()).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
    assert_eq!(code, Some(0), "{run:#?}");
    let summary = run.summary.as_ref().unwrap();
    let [work] = summary.databases.as_slice() else { panic!("{:#?}", summary.databases) };
    assert_eq!((work.probe.as_str(), work.database.as_str(), work.incomplete.as_slice()), ("database", "shop", [].as_slice()));
    let update = work.statements.iter().find(|one| one.text == "UPDATE orders SET note = $1 WHERE id = $2");
    assert!(update.is_some_and(|update| update.calls > 0.0 && (update.rows - update.calls).abs() < 1e-9), "{work:#?}");
    // What the probes cost is with the run, for each of them.
    let timed: Vec<&str> = summary.series.iter().filter(|one| one.metric == "probe_time").map(|one| one.probe.as_str()).collect();
    assert_eq!(timed, ["database", "page"]);
    let (_, shown, _) = call(&["show", "last", "--config", &config]).await;
    assert!(shown.contains("\nDatabases\n") && shown.contains("UPDATE orders SET note = $1") && shown.contains("per request"), "{shown}");

    let (code, out, err) = call(&["probe", "test", "shop", "--config", &config]).await;
    assert_eq!(code, Some(0), "{out}{err}");
    for line in [
        "database  postgres  postgres://127.0.0.1:",
        "took ",
        "pool_limit{pool=\"postgres\"}",
        "pg_commits",
        "page  prometheus",
        "pool_utilization{pool=\"main\"}",
    ] {
        assert!(out.contains(line), "{line} is not in:\n{out}");
    }
    assert!(!out.contains("geheim") && !err.contains("geheim"));
    service.stop().await;
    // One of two cannot be read any more.
    let (code, out, _) = call(&["probe", "test", "shop", "--config", &config]).await;
    assert!(code == Some(1) && out.contains("no reading: connect"), "{out}");
    let (code, out, _) = call(&["probe", "test", "shop", "--config", &config, "--probe", "database"]).await;
    assert_eq!(code, Some(0), "{out}");
    let (code, _, err) = call(&["probe", "test", "shpo", "--config", &config]).await;
    assert!(code == Some(1) && err.contains("did you mean `shop`?"), "{err}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn detect_says_what_is_there_as_settings_to_paste() {
    let page = PageServer::start(include_str!("../pages/go-sql.txt")).await;
    let (code, out, err) = call(&["probe", "detect", page.url.trim_end_matches("/metrics")]).await;
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("    - { preset: go-sql }\n") && out.contains(&format!("  url: \"{}\"\n", page.url)), "{out}");
    // What is said can be used as it is.
    let folder = temp_dir();
    let indented: Vec<String> = out.lines().map(|line| format!("      {line}")).collect();
    let indented = indented.join("\n");
    let text = format!("targets:\n  shop:\n    base_url: http://127.0.0.1:1\n    probes:\n{indented}");
    std::fs::write(folder.path().join("plimsoll.yaml"), text).unwrap();
    let config = folder.path().join("plimsoll.yaml").display().to_string();
    let (code, out, err) = call(&["probe", "test", "shop", "--config", &config]).await;
    assert!(code == Some(0) && out.contains("pool_utilization{pool=\"orders\"}"), "{out}{err}");

    *page.page.lock().unwrap() = "my_pool_size 5\nhttp_requests_total 7\n".into();
    let (code, out, _) = call(&["probe", "detect", &page.url]).await;
    assert!(code == Some(1) && out.contains("my_pool_size"), "{out}");
    let (code, _, err) = call(&["probe", "detect", "ftp://ann:geheim@host/"]).await;
    assert!(code == Some(1) && err.contains("nothing is known that speaks `ftp://`") && !err.contains("geheim"), "{err}");

    let cluster = Postgres::with("").await;
    cluster.admin("GRANT pg_monitor TO plimsoll").await;
    let (code, out, err) = call(&["probe", "detect", &cluster.url("postgres")]).await;
    assert_eq!(code, Some(0), "{err}");
    assert!(
        out.contains("type: postgres") && out.contains("# pool_limit{pool=\"postgres\"}") && !out.contains(Postgres::PASSWORD),
        "{out}"
    );
}
