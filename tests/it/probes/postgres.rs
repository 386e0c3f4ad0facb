//! The probe `postgres` against a real server: busy, blocked, full, without privileges, stopped, and back again.

use std::time::Duration;

use plimsoll::model::series::Point;
use plimsoll::probe::Probe;
use serde_json::json;
use sqlx::{Connection, Executor, PgConnection, Row};
use tokio::time::sleep;

use super::{figures, is, open, until_read};
use crate::servers::postgres::Postgres;
use crate::servers::{PATIENCE, wait_until};

fn probe(url: &str) -> Box<dyn Probe> {
    open(&json!({"type": "postgres", "url": url}))
}

/// A cluster whose role `plimsoll` may look.
async fn cluster(options: &str) -> Postgres {
    let cluster = Postgres::with(options).await;
    cluster.admin("GRANT pg_monitor TO plimsoll").await;
    cluster
}

fn labelled<'p>(points: &'p [Point], metric: &str) -> Vec<&'p Point> {
    points.iter().filter(|point| point.metric == metric).collect()
}

/// Sessions of the probe, as another session sees them: their process ids.
async fn sessions_of_probe(admin: &mut PgConnection) -> Vec<i32> {
    let rows = admin.fetch_all("SELECT pid FROM pg_stat_activity WHERE application_name = 'plimsoll'").await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// Sends a signal to a process that this test has started.
fn signal(name: &str, pid: u32) {
    let status = std::process::Command::new("kill").args([format!("-{name}"), pid.to_string()]).status().unwrap();
    assert!(status.success());
}

/// Established connections of this machine to `port`.
fn connections_to(port: u16) -> usize {
    let entries = procfs::net::tcp().unwrap();
    let to_port =
        |entry: &&procfs::net::TcpNetEntry| entry.remote_address.port() == port && entry.state == procfs::net::TcpState::Established;
    entries.iter().filter(to_port).count()
}

#[tokio::test]
async fn a_busy_server_shows_connections_rates_and_who_blocks_whom() {
    let cluster = cluster("").await;
    let url = cluster.database().await;
    let mut client = PgConnection::connect(&format!("{url}?application_name=shop")).await.unwrap();
    client
        .execute("CREATE TABLE orders (id int PRIMARY KEY, note text); INSERT INTO orders SELECT n, 'x' FROM generate_series(1, 1000) n")
        .await
        .unwrap();
    let mut probe = probe(&url);
    let first = probe.read().await.unwrap();
    let numbers = figures(&first);
    is(&numbers, "pool_limit", 197.0);
    is(&numbers, "pool_in_use", 2.0);
    is(&numbers, "pool_utilization", 2.0 / 197.0);
    is(&numbers, "pg_lock_waiting", 0.0);
    assert!(!numbers.contains_key("pg_commits") && !numbers.contains_key("pg_wal_written"), "the first reading has no rates: {numbers:?}");
    let clients = labelled(&first, "pg_clients");
    assert_eq!((clients.len(), clients[0].labels["application"].as_str(), clients[0].labels["user"].as_str()), (1, "shop", "plimsoll"));

    // One holds a row, two wait for it.
    client.execute("BEGIN; UPDATE orders SET note = 'held' WHERE id = 1").await.unwrap();
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let mut other = PgConnection::connect(&format!("{url}?application_name=worker")).await.unwrap();
        waiting.spawn(async move { other.execute("UPDATE orders SET note = 'waited' WHERE id = 1").await.unwrap() });
    }
    let blocked = wait_until("two sessions that wait", PATIENCE, async || {
        let points = probe.read().await.unwrap();
        (figures(&points).get("pg_lock_waiting") == Some(&2.0)).then_some(points)
    })
    .await;
    let blockers = labelled(&blocked, "pg_blocked");
    assert_eq!(blockers[0].labels["application"], "shop", "{blockers:?}");
    assert!(blockers[0].value >= 1.0);
    let open = labelled(&blocked, "pg_connections");
    assert!(open.iter().any(|point| point.labels["state"] == "idle in transaction" && point.value > 0.5), "{open:?}");
    assert!(figures(&blocked)["pg_lock_wait"] > 0.0 && figures(&blocked)["pg_oldest_transaction"] > 0.0);

    client.execute("COMMIT").await.unwrap();
    waiting.join_all().await;
    client.execute("INSERT INTO orders SELECT n, 'y' FROM generate_series(2000, 4000) n").await.unwrap();
    // Servers tell their statistics a moment later.
    let rates = wait_until("the rates of what was written", PATIENCE, async || {
        let numbers = figures(&probe.read().await.unwrap());
        sleep(Duration::from_millis(200)).await;
        numbers.get("pg_rows_written").is_some_and(|rate| *rate > 0.0).then_some(numbers)
    })
    .await;
    assert!(
        rates.contains_key("pg_commits") && rates.contains_key("pg_wal_written") && rates.contains_key("pg_checkpoint_blocks"),
        "{rates:?}"
    );
}

#[tokio::test]
async fn a_full_server_is_a_reading_of_1_whether_we_were_in_before_or_not() {
    let cluster = cluster("-c max_connections=12 -c superuser_reserved_connections=2").await;
    let url = cluster.url("postgres");
    let mut before = probe(&url);
    is(&figures(&before.read().await.unwrap()), "pool_limit", 10.0);
    let mut taken = Vec::new();
    while let Ok(connection) = PgConnection::connect(&url).await {
        taken.push(connection);
    }
    let inside = figures(&before.read().await.unwrap());
    is(&inside, "pool_utilization", 1.0);
    is(&inside, "pool_in_use", 10.0);
    let mut outside = probe(&url);
    assert_eq!(outside.read().await.unwrap(), [Point::new("pool_utilization", 1.0).with("pool", "postgres")]);
    // Readings of a full server are not slowed down by pauses.
    assert_eq!(outside.read().await.unwrap().len(), 1);
    for connection in taken {
        connection.close().await.unwrap();
    }
    let after = wait_until("places that are free again", PATIENCE, async || {
        let numbers = figures(&outside.read().await.unwrap());
        numbers.contains_key("pool_in_use").then_some(numbers)
    })
    .await;
    assert!(after["pool_utilization"] < 1.0, "{after:?}");
}

/// A connection that has told who it is, and is asked for its password for ever.
async fn half_open(port: u16) -> tokio::net::TcpStream {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let parameters = b"user\0plimsoll\0database\0postgres\0\0";
    let mut startup = (parameters.len() as u32 + 8).to_be_bytes().to_vec();
    startup.extend(196_608_u32.to_be_bytes());
    startup.extend(parameters);
    stream.write_all(&startup).await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'R', "the server asks for the password");
    stream
}

#[tokio::test]
async fn sessions_that_are_still_being_opened_have_their_place() {
    let cluster = cluster("-c max_connections=12 -c superuser_reserved_connections=0 -c authentication_timeout=600").await;
    let mut probe = probe(&cluster.url("postgres"));
    is(&figures(&probe.read().await.unwrap()), "pool_in_use", 1.0);
    let mut taken = Vec::new();
    for _ in 0..6 {
        taken.push(PgConnection::connect(&cluster.url("postgres")).await.unwrap());
    }
    let mut opening = Vec::new();
    for _ in 0..5 {
        opening.push(half_open(cluster.port()).await);
    }
    assert!(PgConnection::connect(&cluster.url("postgres")).await.unwrap_err().to_string().contains("too many clients"));
    let full = figures(&probe.read().await.unwrap());
    is(&full, "pool_in_use", 12.0);
    is(&full, "pool_utilization", 1.0);
    drop(opening);
    wait_until("the places that were given up", PATIENCE, async || {
        (figures(&probe.read().await.unwrap())["pool_in_use"] < 7.5).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_role_limit_is_ours_alone_and_not_a_full_server() {
    let cluster = cluster("").await;
    cluster.admin("ALTER ROLE plimsoll CONNECTION LIMIT 1").await;
    let url = cluster.url("postgres");
    let _taken = PgConnection::connect(&url).await.unwrap();
    let error = probe(&url).read().await.unwrap_err();
    assert!(error.reason == "connect" && error.detail.contains("too many connections for role"), "{error}");
}

#[tokio::test]
async fn without_privileges_the_message_has_the_grant_to_run() {
    let cluster = Postgres::with("").await;
    let mut probe = probe(&cluster.url("postgres"));
    let error = probe.read().await.unwrap_err();
    assert_eq!(error.reason, "permission");
    assert!(error.detail.contains("GRANT pg_monitor TO \"plimsoll\";"), "{error}");
    cluster.admin("GRANT pg_monitor TO \"plimsoll\"").await;
    until_read(&mut *probe).await;
}

#[tokio::test]
async fn the_password_is_wrong_or_the_database_not_there() {
    let cluster = cluster("").await;
    let wrong = cluster.url("postgres").replace(Postgres::PASSWORD, "geheim");
    let error = probe(&wrong).read().await.unwrap_err();
    assert!(error.reason == "permission" && error.detail.contains("password authentication failed"), "{error}");
    assert!(!error.detail.contains("geheim"), "{error}");
    let error = probe(&cluster.url("nowhere")).read().await.unwrap_err();
    assert!(error.reason == "missing" && error.detail.contains("nowhere"), "{error}");
}

#[tokio::test]
async fn a_server_that_went_away_is_read_again_when_it_is_back() {
    let cluster = cluster("").await;
    let mut probe = probe(&cluster.url("postgres"));
    probe.read().await.unwrap();
    cluster.stop();
    for _ in 0..3 {
        let error = probe.read().await.unwrap_err();
        assert_eq!(error.reason, "connect", "{error}");
    }
    cluster.start().await;
    let numbers = figures(&until_read(&mut *probe).await);
    is(&numbers, "pool_limit", 197.0);
}

/// The session of the probe is stopped (as by a server that swaps, or a virtual machine that is held): it stays the only one.
#[tokio::test]
async fn a_session_that_hangs_is_never_doubled() {
    let cluster = cluster("").await;
    let mut admin = PgConnection::connect(&cluster.admin_url("postgres")).await.unwrap();
    let mut probe = open(&json!({"type": "postgres", "url": cluster.url("postgres"), "timeout": "300ms"}));
    until_read(&mut *probe).await;
    let [session] = sessions_of_probe(&mut admin).await[..] else { panic!("one session") };
    signal("STOP", session as u32);
    for _ in 0..6 {
        let error = probe.read().await.unwrap_err();
        assert_eq!(error.reason, "timeout", "{error}");
        assert_eq!(sessions_of_probe(&mut admin).await, [session]);
    }
    signal("CONT", session as u32);
    until_read(&mut *probe).await;
    assert_eq!(sessions_of_probe(&mut admin).await, [session]);
}

/// The server accepts nobody (its postmaster is stopped): attempts do not pile up either.
#[tokio::test]
async fn a_server_that_accepts_nobody_sees_one_attempt() {
    let cluster = cluster("").await;
    let mut inside = probe(&cluster.url("postgres"));
    until_read(&mut *inside).await;
    let held = connections_to(cluster.port());
    signal("STOP", cluster.pid());
    let mut outside = open(&json!({"type": "postgres", "url": cluster.url("postgres"), "timeout": "200ms"}));
    for _ in 0..8 {
        assert_eq!(outside.read().await.unwrap_err().reason, "timeout");
        assert!(connections_to(cluster.port()) <= held + 1);
    }
    // Who is in already can still read.
    until_read(&mut *inside).await;
    signal("CONT", cluster.pid());
    until_read(&mut *outside).await;
    assert_eq!(connections_to(cluster.port()), held + 1);
}

/// A storm of locks: fifteen sessions behind one that holds the table exclusively.
#[tokio::test]
async fn a_storm_of_locks_is_read_over_one_connection() {
    let cluster = cluster("").await;
    let url = cluster.database().await;
    let mut holder = PgConnection::connect(&format!("{url}?application_name=migration")).await.unwrap();
    for sql in ["CREATE TABLE t (id int)", "BEGIN", "LOCK TABLE t IN ACCESS EXCLUSIVE MODE"] {
        holder.execute(sql).await.unwrap();
    }
    let mut storm = tokio::task::JoinSet::new();
    for _ in 0..15 {
        let url = url.clone();
        storm.spawn(async move {
            let mut connection = PgConnection::connect(&url).await.unwrap();
            connection.execute("SELECT count(*) FROM t").await.unwrap();
        });
    }
    let mut probe = probe(&url);
    let points = wait_until("fifteen sessions that wait", PATIENCE, async || {
        let points = probe.read().await.ok()?;
        (figures(&points).get("pg_lock_waiting") == Some(&15.0)).then_some(points)
    })
    .await;
    let blockers = labelled(&points, "pg_blocked");
    assert_eq!((blockers[0].labels["application"].as_str(), blockers[0].value), ("migration", 10.0), "{blockers:?}");
    let mut admin = PgConnection::connect(&cluster.admin_url("postgres")).await.unwrap();
    for _ in 0..5 {
        until_read(&mut *probe).await;
        assert_eq!(sessions_of_probe(&mut admin).await.len(), 1);
    }
    holder.execute("ROLLBACK").await.unwrap();
    storm.join_all().await;
}
