//! The probes `pgbouncer`, `redis`, `mysql` and `promql` against real servers: busy, full, without privileges, stopped and continued.

use std::time::Duration;

use plimsoll::model::series::Point;
use plimsoll::probe::{Probe, describe_points};
use serde_json::{Value as Json, json};
use sqlx::{Connection, Executor, MySqlConnection, PgConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::{PageServer, figures, is, open, until_read};
use crate::servers::postgres::Postgres;
use crate::servers::prometheus::Prometheus;
use crate::servers::{PATIENCE, databases, wait_until};

/// The value of one figure of one pool.
fn of_pool(points: &[Point], metric: &str, pool: &str) -> Option<f64> {
    let mut found = points.iter().filter(|point| point.metric == metric && point.labels.get("pool").is_some_and(|name| name == pool));
    found.next().map(|point| point.value)
}

/// A reading in which `pool` has `metric` at `value`.
async fn until_pool(probe: &mut dyn Probe, pool: &str, metric: &str, value: f64) -> Vec<Point> {
    let what = format!("{metric} of {pool} at {value}");
    wait_until(&what, PATIENCE, async || {
        let points = probe.read().await.unwrap();
        of_pool(&points, metric, pool).is_some_and(|found| (found - value).abs() < 1e-9).then_some(points)
    })
    .await
}

#[tokio::test]
async fn pgbouncer_shows_the_pool_that_is_full_and_who_waits() {
    let cluster = Postgres::with("").await;
    let behind = format!("host=127.0.0.1 port={} dbname=postgres user=plimsoll password={}", cluster.port(), Postgres::PASSWORD);
    let pooler = databases::pgbouncer(&behind).await;
    let address = |user: &str| format!("postgres://{user}:geheim@127.0.0.1:{}", pooler.port);
    let mut probe = open(&json!({"type": "pgbouncer", "url": address("stats")}));
    let idle = until_read(&mut *probe).await;
    assert_eq!(of_pool(&idle, "pool_limit", "clients"), Some(10.0), "{}", describe_points(&idle));

    let shop = || async {
        let options: sqlx::postgres::PgConnectOptions = format!("{}/shop", address("shop")).parse().unwrap();
        sqlx::ConnectOptions::connect(&options.extra_float_digits(None)).await
    };
    let (mut first, mut second) = (shop().await.unwrap(), shop().await.unwrap());
    for connection in [&mut first, &mut second] {
        connection.execute(sqlx::raw_sql("SELECT 1")).await.unwrap();
    }
    let mut third = shop().await.unwrap();
    let mut waiting = tokio::task::JoinSet::new();
    waiting.spawn(async move {
        third.execute(sqlx::raw_sql("SELECT 2")).await.unwrap();
        third
    });
    let full = until_pool(&mut *probe, "shop/plimsoll", "pool_waiting", 1.0).await;
    assert_eq!(of_pool(&full, "pool_utilization", "shop/plimsoll"), Some(1.0), "{}", describe_points(&full));
    assert_eq!(of_pool(&full, "pool_in_use", "shop/plimsoll"), Some(2.0));
    assert_eq!(of_pool(&full, "pool_limit", "shop/plimsoll"), Some(2.0));
    assert!(of_pool(&full, "pool_wait_longest", "shop/plimsoll").is_some());
    first.close().await.unwrap();
    let _third = waiting.join_next().await;
    let after = until_pool(&mut *probe, "shop/plimsoll", "pool_waiting", 0.0).await;
    assert!(of_pool(&after, "pgbouncer_queries", "shop").is_some(), "{}", describe_points(&after));

    // Ten clients at most; the console is served beyond that.
    let mut taken = Vec::new();
    while let Ok(connection) = shop().await {
        taken.push(connection);
    }
    assert_eq!(of_pool(&probe.read().await.unwrap(), "pool_utilization", "clients"), Some(1.0));
    let mut outside = open(&json!({"type": "pgbouncer", "url": address("stats")}));
    assert!(of_pool(&outside.read().await.unwrap(), "pool_utilization", "clients").is_some_and(|full| full >= 1.0));
}

#[tokio::test]
async fn pgbouncer_refuses_who_may_not_ask() {
    let pooler = databases::pgbouncer("host=127.0.0.1 port=1").await;
    for user in ["shop:geheim", "stats:wrong"] {
        let error =
            open(&json!({"type": "pgbouncer", "url": format!("postgres://{user}@127.0.0.1:{}", pooler.port)})).read().await.unwrap_err();
        assert_eq!(error.reason, "permission", "{user}: {error}");
        assert!(!error.detail.contains("geheim") && !error.detail.contains("wrong@"), "{error}");
    }
}

async fn redis_says(port: u16, command: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(format!("{command}\r\n").as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn redis_shows_clients_memory_commands_and_hits() {
    let server = databases::redis(&["--maxmemory", "50mb", "--maxclients", "20"]).await;
    let mut probe = open(&json!({"type": "redis", "url": format!("redis://127.0.0.1:{}", server.port)}));
    let first = figures(&until_read(&mut *probe).await);
    is(&first, "pool_limit", 20.0);
    is(&first, "pool_in_use", 1.0);
    is(&first, "pool_utilization", 0.05);
    is(&first, "redis_slow_commands", 0.0);
    assert!(first["redis_memory_ratio"] > 0.0 && first["redis_memory_ratio"] < 0.5, "{first:?}");
    assert!(!first.contains_key("redis_commands") && !first.contains_key("redis_hits"), "{first:?}");
    let mut client = redis_says(server.port, "SET a 1\r\nGET a\r\nGET b\r\nGET a\r\nGET a").await;
    let mut answer = Vec::new();
    while !answer.windows(2).any(|pair| pair == b"-1") || String::from_utf8_lossy(&answer).matches('$').count() < 4 {
        assert!(client.read_buf(&mut answer).await.unwrap() > 0);
    }
    let second = figures(&probe.read().await.unwrap());
    is(&second, "redis_hits", 0.75);
    assert!(second["redis_commands"] > 0.0 && second.contains_key("process_cpu"), "{second:?}");
    // Somebody who waits in a blocking command.
    let _blocked = redis_says(server.port, "BLPOP nothing 0").await;
    wait_until("a client that is blocked", PATIENCE, async || {
        (figures(&probe.read().await.unwrap()).get("redis_blocked") == Some(&1.0)).then_some(())
    })
    .await;
    // Full: our own place is kept, and whoever comes now is told.
    let mut taken = Vec::new();
    wait_until("a full server", PATIENCE, async || {
        taken.push(TcpStream::connect(("127.0.0.1", server.port)).await.unwrap());
        let numbers = figures(&probe.read().await.unwrap());
        (numbers["pool_utilization"] >= 1.0).then_some(())
    })
    .await;
    let mut outside = open(&json!({"type": "redis", "url": format!("redis://127.0.0.1:{}", server.port)}));
    assert_eq!(outside.read().await.unwrap(), [Point::new("pool_utilization", 1.0).with("pool", "redis")]);
}

#[tokio::test]
async fn redis_wants_its_password_and_its_privileges() {
    let server = databases::redis(&["--requirepass", "geheim"]).await;
    let read = async |user: &str| open(&json!({"type": "redis", "url": format!("redis://{user}127.0.0.1:{}", server.port)})).read().await;
    assert_eq!(read("").await.unwrap_err().reason, "permission");
    let error = read(":falsch@").await.unwrap_err();
    assert!(error.reason == "permission" && !error.detail.contains("falsch"), "{error}");
    read(":geheim@").await.unwrap();
    let mut admin = redis_says(server.port, "AUTH geheim\r\nACL SETUSER little on >pw +ping").await;
    let mut answer = Vec::new();
    while String::from_utf8_lossy(&answer).matches('+').count() < 2 {
        assert!(admin.read_buf(&mut answer).await.unwrap() > 0, "{}", String::from_utf8_lossy(&answer));
    }
    let error = read("little:pw@").await.unwrap_err();
    assert!(error.reason == "permission" && error.detail.contains("ACL SETUSER"), "{error}");
}

#[tokio::test]
async fn redis_that_hangs_holds_one_connection_and_is_read_again() {
    let server = databases::redis(&[]).await;
    let mut probe = open(&json!({"type": "redis", "url": format!("redis://127.0.0.1:{}", server.port), "timeout": "200ms"}));
    until_read(&mut *probe).await;
    server.process.signal("STOP");
    for _ in 0..5 {
        assert_eq!(probe.read().await.unwrap_err().reason, "timeout");
    }
    server.process.signal("CONT");
    let numbers = figures(&until_read(&mut *probe).await);
    is(&numbers, "pool_in_use", 1.0);
}

#[tokio::test]
async fn mysql_shows_connections_locks_and_transactions_and_that_it_is_full() {
    let server = databases::mariadb().await;
    let url = |user: &str| format!("mysql://{user}@127.0.0.1:{}/shop", server.port);
    let mut probe = open(&json!({"type": "mysql", "url": url("plimsoll:geheim").replace("/shop", "")}));
    let first = figures(&until_read(&mut *probe).await);
    is(&first, "pool_limit", 10.0);
    is(&first, "pool_in_use", 1.0);
    is(&first, "mysql_lock_waiting", 0.0);
    assert!(!first.contains_key("mysql_queries") && !first.contains_key("mysql_oldest_transaction"), "{first:?}");

    let mut holder = MySqlConnection::connect(&url("admin:admin")).await.unwrap();
    for sql in ["CREATE TABLE t (id INT PRIMARY KEY, n INT)", "INSERT INTO t VALUES (1, 1)", "BEGIN", "UPDATE t SET n = 2 WHERE id = 1"] {
        holder.execute(sqlx::raw_sql(sql)).await.unwrap();
    }
    let mut other = MySqlConnection::connect(&url("admin:admin")).await.unwrap();
    let mut waiting = tokio::task::JoinSet::new();
    waiting.spawn(async move { other.execute(sqlx::raw_sql("UPDATE t SET n = 3 WHERE id = 1")).await.unwrap() });
    let blocked = wait_until("a session that waits for a row", PATIENCE, async || {
        sleep(Duration::from_millis(200)).await;
        let numbers = figures(&probe.read().await.unwrap());
        (numbers.get("mysql_lock_waiting") == Some(&1.0)).then_some(numbers)
    })
    .await;
    assert!(blocked["mysql_queries"] > 0.0 && blocked.contains_key("mysql_oldest_transaction"), "{blocked:?}");
    holder.execute(sqlx::raw_sql("COMMIT")).await.unwrap();
    waiting.join_all().await;

    let mut taken = Vec::new();
    while let Ok(connection) = MySqlConnection::connect(&url("nobody:geheim").replace("/shop", "")).await {
        taken.push(connection);
    }
    assert!(figures(&probe.read().await.unwrap())["pool_utilization"] >= 1.0);
    let mut outside = open(&json!({"type": "mysql", "url": url("plimsoll:geheim").replace("/shop", "")}));
    assert_eq!(outside.read().await.unwrap(), [Point::new("pool_utilization", 1.0).with("pool", "mysql")]);
}

#[tokio::test]
async fn mysql_without_its_privilege_or_password_says_what_to_do() {
    let server = databases::mariadb().await;
    let read = async |user: &str| open(&json!({"type": "mysql", "url": format!("mysql://{user}@127.0.0.1:{}", server.port)})).read().await;
    let error = wait_until("the users of the server", PATIENCE, async || {
        let error = read("nobody:geheim").await.unwrap_err();
        sleep(Duration::from_millis(100)).await;
        (!error.detail.contains("1045")).then_some(error)
    })
    .await;
    assert!(error.reason == "permission" && error.detail.contains("GRANT PROCESS ON *.*"), "{error}");
    let error = read("plimsoll:falsch").await.unwrap_err();
    assert!(error.reason == "permission" && !error.detail.contains("falsch"), "{error}");
}

#[tokio::test]
async fn mysql_that_hangs_holds_one_connection_and_is_read_again() {
    let server = databases::mariadb().await;
    let url = format!("mysql://plimsoll:geheim@127.0.0.1:{}", server.port);
    let mut probe = open(&json!({"type": "mysql", "url": url, "timeout": "500ms"}));
    until_read(&mut *probe).await;
    server.process.signal("STOP");
    for _ in 0..4 {
        assert_eq!(probe.read().await.unwrap_err().reason, "timeout");
    }
    server.process.signal("CONT");
    is(&figures(&until_read(&mut *probe).await), "pool_in_use", 1.0);
}

#[tokio::test]
async fn a_prometheus_server_answers_queries_with_one_number() {
    let page = PageServer::start("queue{q=\"a\"} 3\nqueue{q=\"b\"} 4\ndb_in_use 6\ndb_max 8\n").await;
    let address = page.url.trim_start_matches("http://").trim_end_matches("/metrics").parse().unwrap();
    let prometheus = Prometheus::scraping(address).await;
    let url = format!("http://{}", prometheus.address);
    let mut probe = open(&json!({
        "type": "promql", "url": url,
        "queries": {"queued": "sum(queue)", "constant": "42"},
        "pools": [{"name": "main", "in_use": "sum(db_in_use)", "limit": "sum(db_max)"}],
    }));
    let read = until_read(&mut *probe).await;
    insta::assert_snapshot!(describe_points(&read), @r#"
    custom{name="queued"}          7
    custom{name="constant"}        42
    pool_in_use{pool="main"}       6
    pool_limit{pool="main"}        8
    pool_utilization{pool="main"}  75 %
    "#);
    let refused = async |query: &str| {
        let keys: Json = json!({"type": "promql", "url": url, "queries": {"x": query}});
        open(&keys).read().await.unwrap_err()
    };
    for (query, reason, detail) in [
        ("gone", "missing", "has no series"),
        ("queue", "parse", "gives 2 series"),
        ("queue[1m]", "parse", "does not give a number"),
        ("sum(", "status", "400"),
        ("0/0", "missing", "NaN"),
    ] {
        let error = refused(query).await;
        assert!(error.reason == reason && error.detail.contains(detail), "{query}: {error}");
    }
}

#[tokio::test]
async fn replicas_are_summed_and_the_worst_is_told() {
    let page = |in_use: u32| {
        format!("go_sql_in_use_connections{{db_name=\"main\"}} {in_use}\ngo_sql_max_open_connections{{db_name=\"main\"}} 10\n")
    };
    let (first, second) = (PageServer::start(&page(10)).await, PageServer::start(&page(2)).await);
    let mut probe = open(&json!({"type": "prometheus", "urls": [first.url, second.url]}));
    let read = probe.read().await.unwrap();
    assert_eq!(of_pool(&read, "pool_utilization", "main"), Some(0.6));
    assert_eq!(of_pool(&read, "pool_utilization_worst", "main"), Some(1.0));
    // Without one of them there is no sum.
    *second.page.lock().unwrap() = "nonsense".into();
    let error = probe.read().await.unwrap_err();
    assert!(error.reason == "parse" && error.detail.contains(&second.url), "{error}");
}

/// A second look at what the tests above rely on: PostgreSQL really is behind PgBouncer there.
#[tokio::test]
async fn a_postgres_probe_may_go_through_a_pooler() {
    let cluster = Postgres::with("").await;
    cluster.admin("GRANT pg_monitor TO plimsoll").await;
    let behind = format!("host=127.0.0.1 port={} dbname=postgres user=plimsoll password={}", cluster.port(), Postgres::PASSWORD);
    let pooler = databases::pgbouncer(&behind).await;
    let url = format!("postgres://shop:geheim@127.0.0.1:{}/shop", pooler.port);
    let numbers = figures(&until_read(&mut *open(&json!({"type": "postgres", "url": url}))).await);
    is(&numbers, "pool_limit", 197.0);
    let mut admin = PgConnection::connect(&cluster.admin_url("postgres")).await.unwrap();
    admin.ping().await.unwrap();
}
