//! `plimsoll migrate` and `plimsoll db`: what they do, what they say, and when they refuse.
#![expect(clippy::unwrap_used, reason = "a step that fails, fails the test")]

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use plimsoll::clock::{Clock, SystemClock};
use plimsoll::model::series::{Point, Reading};
use plimsoll::store::{self, SeriesBatch};
use sqlx::{AssertSqlSafe, Connection, Executor, SqliteConnection};

use crate::servers::bed::{Bed, errors, finish, printed, profile, runs};
use crate::servers::daemon::plimsoll;
use crate::servers::postgres::Postgres;

/// Runs a command on the bed's configuration.
async fn call(bed: &Bed, arguments: &[&str]) -> Output {
    let config = bed.config().display().to_string();
    finish(plimsoll(&[arguments, &["--config", &config]].concat())).await
}

async fn done(bed: &Bed, arguments: &[&str]) -> String {
    let output = call(bed, arguments).await;
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", errors(&output));
    printed(&output)
}

async fn refused(bed: &Bed, arguments: &[&str]) -> String {
    let output = call(bed, arguments).await;
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {} {}", printed(&output), errors(&output));
    errors(&output)
}

async fn with_a_run() -> Bed {
    let bed = Bed::new().await;
    bed.configure(&format!("profiles:{}", profile("short", "shop", "1s")));
    done(&bed, &["run", "short"]).await;
    bed
}

async fn statement(file: &Path, sql: &str) {
    let mut connection = SqliteConnection::connect(&format!("sqlite://{}", file.display())).await.unwrap();
    connection.execute(AssertSqlSafe(sql.to_owned())).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn migrate_says_what_it_did() {
    let bed = Bed::new().await;
    bed.configure(&format!("profiles:{}", profile("short", "shop", "1s")));
    assert!(refused(&bed, &["db", "check"]).await.contains("there is no database yet"));
    assert!(done(&bed, &["migrate"]).await.starts_with("a new database of version "));
    assert!(done(&bed, &["migrate"]).await.contains("already"));
    let file = bed.folder.path().join("plimsoll.db");
    // As if the last migration had not been there yet.
    for table in ["step_intervals", "step_rollups"] {
        statement(&file, &format!("ALTER TABLE {table} DROP COLUMN rare")).await;
    }
    statement(&file, "DELETE FROM _sqlx_migrations WHERE version = (SELECT max(version) FROM _sqlx_migrations)").await;
    let said = done(&bed, &["migrate"]).await;
    let copy = said.lines().find_map(|line| line.strip_prefix("a copy of the former one is ")).unwrap();
    assert!(said.contains("was brought from version ") && Path::new(copy).is_file(), "{said}");
    assert!(done(&bed, &["db", "check"]).await.starts_with("the database is whole"));
    let newer =
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'later', 1, x'00', 0)";
    statement(&file, newer).await;
    for command in [vec!["migrate"], vec!["db", "check"], vec!["db", "export", "never"]] {
        let said = refused(&bed, &command).await;
        assert!(said.contains("schema version 9999") && said.contains("use the newer program"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_put_back() {
    let bed = with_a_run().await;
    let copy = bed.folder.path().join("copy.db").display().to_string();
    assert_eq!(done(&bed, &["db", "backup", "--to", &copy]).await.trim(), copy);
    assert!(refused(&bed, &["db", "backup", "--to", &copy]).await.contains("exists already"));
    assert!(done(&bed, &["db", "backup"]).await.contains("plimsoll-backup-"));
    done(&bed, &["run", "short"]).await;
    let said = done(&bed, &["db", "restore", &copy]).await;
    let former = said.lines().find_map(|line| line.strip_prefix("the former database is ")).unwrap();
    assert_eq!(runs(&*bed.store().await).await.len(), 1);
    assert_eq!(runs(&*store::open(&format!("sqlite://{former}")).await.unwrap()).await.len(), 2, "nothing is lost");
    let tokens = bed.folder.path().join("tokens.yaml").display().to_string();
    assert!(refused(&bed, &["db", "restore", &tokens]).await.contains("is not an SQLite file"));
    assert_eq!(runs(&*bed.store().await).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_in_use_is_copied_and_not_replaced() {
    let bed = with_a_run().await;
    let daemon = bed.serve().await;
    let (copy, export) = (bed.folder.path().join("copy.db"), bed.folder.path().join("all.jsonl.gz"));
    let (copy, export) = (copy.display().to_string(), export.display().to_string());
    done(&bed, &["db", "backup", "--to", &copy]).await;
    done(&bed, &["db", "export", &export]).await;
    assert!(done(&bed, &["db", "check"]).await.contains("1 runs"));
    for command in [["db", "restore", &copy], ["db", "restore", &export], ["db", "import", &export]] {
        let said = refused(&bed, &command).await;
        assert!(said.contains(&format!("process {} on ", daemon.id())) && said.contains("stop it first"), "{said}");
    }
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code().await, Some(0));
    done(&bed, &["db", "restore", &export]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_moves_to_postgres() {
    let bed = with_a_run().await;
    let export = bed.folder.path().join("all.jsonl.gz").display().to_string();
    let said = done(&bed, &["db", "export", &export]).await;
    assert!(said.contains("1 runs"), "{said}");
    let mut other = Bed::new().await;
    other.storage = Postgres::fresh_database().await;
    other.configure(&format!("profiles:{}", profile("short", "shop", "1s")));
    done(&other, &["db", "import", &export]).await;
    assert!(refused(&other, &["db", "import", &export]).await.contains("the database is not empty"));
    done(&other, &["db", "import", &export, "--replace"]).await;
    assert_eq!(runs(&*other.store().await).await, runs(&*bed.store().await).await);
    let backup = done(&other, &["db", "backup"]).await;
    assert!(backup.trim().ends_with(".jsonl.gz"), "{backup}");
    done(&other, &["run", "short"]).await;
    done(&other, &["db", "restore", backup.trim()]).await;
    assert_eq!(runs(&*other.store().await).await.len(), 1);
    // Cut in the middle: nothing is changed.
    let bytes = std::fs::read(&export).unwrap();
    std::fs::write(&export, &bytes[..bytes.len() / 2]).unwrap();
    assert!(refused(&other, &["db", "import", &export, "--replace"]).await.contains("nothing was changed"));
    assert_eq!(runs(&*other.store().await).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_found() {
    let bed = with_a_run().await;
    bed.store().await.close().await;
    let file = bed.folder.path().join("plimsoll.db");
    let mut bytes = std::fs::read(&file).unwrap();
    // Everything after the catalog.
    let pages = bytes.len() / 4096;
    bytes[4096 * (pages / 2)..4096 * (pages / 2 + 2)].fill(0xa5);
    std::fs::write(&file, bytes).unwrap();
    let said = refused(&bed, &["db", "check"]).await;
    assert!(said.contains("the database is damaged: restore a backup"), "{said}");
    std::fs::write(&file, "nonsense").unwrap();
    let said = refused(&bed, &["db", "check"]).await;
    assert!(said.contains("is not an SQLite file"), "{said}");
}

/// The daemon is judged by what it stored of itself, whether it runs or not.
#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_is_asked_about_itself() {
    let bed = Bed::new().await;
    bed.configure(&format!("profiles:{}", profile("short", "shop", "1s")));
    assert!(done(&bed, &["analyse", "self"]).await.contains("less than half a day"));
    let store = bed.store().await;
    let now = SystemClock.now();
    let reading = |minute: u32| {
        let noise = f64::from(minute * 31 % 101) * 5_000.0;
        let points = vec![
            Point::new("process_memory", 80e6 + f64::from(minute) * 10_000.0 + noise),
            Point::new("process_descriptors", f64::from(40 + minute % 3)),
            Point::new("process_cpu", 0.1),
        ];
        let at = now.minus(Duration::from_secs(2 * 86_400)).plus(Duration::from_secs(u64::from(minute) * 60));
        (None, Reading { target: "plimsoll".into(), probe: "here".into(), at, second: None, points: Ok(points) })
    };
    let readings = (0..2 * 1_440).map(reading).collect();
    store.append(&SeriesBatch { readings, ..SeriesBatch::default() }).await.unwrap();
    let output = call(&bed, &["analyse", "self"]).await;
    let said = printed(&output);
    assert_eq!(output.status.code(), Some(1), "a leak is not a pass: {said}");
    let leaks: Vec<&str> = said.lines().filter(|line| line.starts_with("leak ")).collect();
    assert!(matches!(leaks[..], [memory] if memory.contains("memory") && memory.contains("here: ")), "{said}");
    let json: serde_json::Value = serde_json::from_str(&printed(&call(&bed, &["analyse", "self", "--json"]).await)).unwrap();
    assert!(json["trends"].as_array().unwrap().iter().any(|trend| trend["verdict"] == "leak"), "{json}");
}
