//! What a person reads when a store cannot be opened, and what a server that comes and goes does to an open one.

use std::fs;
use std::path::Path;

use plimsoll::store::{StoreError, open};
use sqlx::{Connection, Executor, PgConnection, SqliteConnection};

use super::samples::{at, run};
use crate::servers::postgres::Postgres;

/// What opening `url` says, with `hidden` replaced.
async fn refusal(url: &str, hidden: &[(&str, &str)]) -> String {
    let error = open(url).await.err().unwrap_or_else(|| panic!("{url} was opened"));
    let kind = format!("{error:?}");
    let mut text = format!("{}: {error}", kind.split(['(', ' ']).next().unwrap());
    for (secret, shown) in hidden {
        text = text.replace(secret, shown);
    }
    text
}

#[tokio::test]
async fn addresses_that_are_not_stores() {
    let mut report = String::new();
    for url in ["", "plimsoll.db", "mysql://root@127.0.0.1/x", "sqlite://", "sqlite://x.db?mode=ro", "postgres://a:b@127.0.0.1:port/x"] {
        report += &format!("{url}\n  {}\n", refusal(url, &[]).await);
    }
    report += &format!("sslmode\n  {}\n", refusal("postgres://u:s3cret@127.0.0.1/x?sslmode=maybe", &[]).await);
    report += &format!("unknown parameter\n  {}\n", refusal("postgres://u@127.0.0.1/x?passwd=s3cret", &[]).await);
    assert!(!report.contains("s3cret"), "{report}");
    insta::assert_snapshot!(report);
}

#[tokio::test]
async fn files_that_are_not_stores() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().display().to_string();
    let at = |name: &str| format!("sqlite://{base}/{name}");
    fs::create_dir(folder.path().join("folder")).unwrap();
    fs::write(folder.path().join("notes.txt"), "these are notes, not a database").unwrap();
    fs::write(folder.path().join("empty.db"), "").unwrap();
    foreign(&folder.path().join("foreign.db")).await;
    open(&at("torn.db")).await.unwrap().close().await;
    tear(&folder.path().join("torn.db"));

    let hidden = [(base.as_str(), "DIR")];
    let mut report = String::new();
    for name in ["folder", "nowhere/plimsoll.db", "notes.txt", "foreign.db", "torn.db"] {
        report += &format!("{name}\n  {}\n", refusal(&at(name), &hidden).await);
    }
    // A folder in which nobody, not even root, can create a file.
    report += &format!("read-only\n  {}\n", refusal("sqlite:///proc/self/plimsoll.db", &hidden).await);
    insta::assert_snapshot!(report);
    open(&at("empty.db")).await.unwrap().ping().await.unwrap();
}

async fn foreign(path: &Path) {
    let mut connection = SqliteConnection::connect(&format!("sqlite://{}?mode=rwc", path.display())).await.unwrap();
    connection.execute("CREATE TABLE customers (id INTEGER)").await.unwrap();
}

/// Overwrites the inside of the file's first page, where the schema is, and leaves the header.
fn tear(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes[100..4_000].fill(0xa5);
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn a_file_locked_by_another_process_is_busy() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/plimsoll.db", folder.path().display());
    open(&url).await.unwrap().close().await;
    let mut other = SqliteConnection::connect(&url).await.unwrap();
    other.execute("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE").await.unwrap();
    let error = open(&url).await.err().unwrap();
    assert!(matches!(error, StoreError::Busy(_)), "{error}");
    other.close().await.unwrap();
    open(&url).await.unwrap();
}

#[tokio::test]
async fn a_store_in_memory_lives_as_long_as_it_is_open() {
    let (one, other) = (open("sqlite::memory:").await.unwrap(), open("sqlite::memory:").await.unwrap());
    one.start_run(&run("a", at(0))).await.unwrap();
    assert!(one.run("a").await.unwrap().is_some() && other.run("a").await.unwrap().is_none());
}

#[tokio::test]
async fn servers_that_refuse() {
    let cluster = Postgres::shared().await;
    let url = cluster.database().await;
    let database = url.rsplit('/').next().unwrap().to_owned();
    let port = cluster.port().to_string();
    let hidden = [(port.as_str(), "PORT"), (database.as_str(), "DATABASE")];
    cluster.admin(&format!("CREATE ROLE guest_{database} LOGIN PASSWORD 'g'")).await;
    // As it is from PostgreSQL 15 on.
    let mut admin = PgConnection::connect(&cluster.admin_url(&database)).await.unwrap();
    admin.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC").await.unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();

    let mut report = String::new();
    let wrong = url.replace(Postgres::PASSWORD, "wr0ng-s3cret");
    report += &format!("wrong password\n  {}\n", refusal(&wrong, &hidden).await);
    report += &format!("no such database\n  {}\n", refusal(&cluster.url("nowhere"), &hidden).await);
    let nobody = format!("postgres://plimsoll:wr0ng-s3cret@127.0.0.1:{free}/x");
    report += &format!("nobody listens\n  {}\n", refusal(&nobody, &[(free.to_string().as_str(), "PORT")]).await);
    let guest = format!("postgres://guest_{database}:g@127.0.0.1:{port}/{database}");
    report += &format!("missing rights\n  {}\n", refusal(&guest, &hidden).await);
    cluster.admin(&format!("CREATE DATABASE {database}_latin OWNER plimsoll ENCODING 'LATIN1' TEMPLATE template0")).await;
    report += &format!("not UTF-8\n  {}\n", refusal(&cluster.url(&format!("{database}_latin")), &hidden).await);
    assert!(!report.contains("s3cret"), "{report}");
    insta::assert_snapshot!(report);
}

#[tokio::test]
async fn a_server_that_restarts_is_gone_and_found_again() {
    let cluster = Postgres::private().await;
    let url = cluster.database().await;
    let store = open(&url).await.unwrap();
    store.start_run(&run("before", at(0))).await.unwrap();
    cluster.stop();
    let error = store.start_run(&run("meanwhile", at(1))).await.unwrap_err();
    assert!(matches!(error, StoreError::Gone(_)), "{error}");
    assert!(matches!(store.run("before").await.unwrap_err(), StoreError::Gone(_)));
    cluster.start().await;
    store.start_run(&run("after", at(2))).await.unwrap();
    assert!(store.run("before").await.unwrap().is_some() && store.run("meanwhile").await.unwrap().is_none());
}

#[tokio::test]
async fn connections_that_the_server_ends_are_replaced() {
    let cluster = Postgres::shared().await;
    let url = cluster.database().await;
    let store = open(&url).await.unwrap();
    let database = url.rsplit('/').next().unwrap();
    cluster
        .admin(&format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}' AND application_name = 'plimsoll'"
        ))
        .await;
    store.ping().await.unwrap();
}

/// Two daemons that start at the same time on an empty database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn some_that_open_an_empty_database_at_once_all_succeed() {
    let folder = tempfile::tempdir().unwrap();
    for url in [format!("sqlite://{}/plimsoll.db", folder.path().display()), Postgres::fresh_database().await] {
        let opened = futures_util::future::join_all((0..3).map(|_| open(&url))).await;
        let stores: Vec<_> = opened.into_iter().map(Result::unwrap).collect();
        stores[0].start_run(&run("a", at(0))).await.unwrap();
        for store in &stores {
            assert!(store.run("a").await.unwrap().is_some());
        }
    }
}
