//! What the pages and the API show of the inside of a target: what its databases did during a run, what changed between two runs, and how
//! much production leaves free. Names that come from outside stay text.

use std::sync::Arc;
use std::time::Duration;

use plimsoll::engine::setup::ProductionLoad;
use plimsoll::model::database::{BlockedSession, DatabaseWork, LockHeld, LockWait, LockWork, StatementWork, TableWork};
use plimsoll::model::run::{Run, RunId};
use plimsoll::model::series::{Point, Reading};

use super::browser::dump;
use super::fake::{Served, busy};
use super::sample;

const HOSTILE: &str = "SELECT '<script>alert(1)</script>' FROM orders WHERE id = $1";

fn statement(text: &str, calls: f64, rows: f64) -> StatementWork {
    StatementWork { text: text.into(), calls, rows, seconds: calls / 1000.0, blocks_hit: 0.0, blocks_read: 10.0, temp_written: 0.0 }
}

/// What a database did: one statement that every request makes, and one more.
fn database(per_request: f64, other: &str, waited: f64) -> DatabaseWork {
    let requests = sample::finished().summary.unwrap().total.requests as f64;
    let (first, second) = (statement(HOSTILE, requests * per_request, requests * per_request), statement(other, 50.0, 100.0));
    DatabaseWork {
        probe: "database".into(),
        database: "shop".into(),
        seconds: 44.0,
        total: Some(statement("", first.calls + second.calls, first.rows + second.rows)),
        statements: vec![first, second],
        tables: vec![TableWork {
            table: "public.<orders>".into(),
            scans: 7.0,
            scanned_rows: 3500.0,
            index_scans: 12.0,
            written: 9.0,
            dead: 4.0,
        }],
        blocked: vec![BlockedSession {
            who: "shop web".into(),
            by: "shop migration".into(),
            seconds: 3.5,
            statement: "UPDATE orders".into(),
        }],
        locks: Some(LockWork {
            deadlocks: Some(2.0),
            waits: vec![LockWait { what: "orders".into(), mode: "row".into(), seen: waited, seconds: waited }],
            held: vec![LockHeld { mode: "ShareLock".into(), before: 0.0, after: 1.0 }],
        }),
        incomplete: vec!["the server forgot rare statements 3 times meanwhile".into()],
    }
}

/// The sample run, with what its database did.
fn run(id: &str, database: DatabaseWork) -> Run {
    let mut run = Run { id: RunId(id.into()), ..sample::finished() };
    run.summary.as_mut().unwrap().databases.push(database);
    run
}

async fn served() -> Served {
    let served = Served::start().await;
    let runs = [run("before", database(1.0, "SELECT old", 40.0)), run("after", database(2.0, "SELECT new", 4.0))];
    served.store.runs.lock().unwrap().extend(runs);
    served
}

#[tokio::test]
async fn the_page_of_a_run_shows_what_its_database_did() {
    let served = served().await;
    let page = served.get("/runs/before").await.body;
    for part in [
        "What happened in the database shop",
        "by probe database",
        "&lt;script&gt;alert(1)&lt;/script&gt;",
        "rows per request",
        "all statements",
        "public.&lt;orders&gt;",
        "rows scanned per request",
        "waited together",
        "40 s",
        "2 deadlocks",
        "ShareLock 0 before, 1 after",
        "shop web had waited 3.5 s for shop migration: UPDATE orders",
        "the server forgot rare statements 3 times meanwhile",
    ] {
        assert!(page.contains(part), "{part} is not on the page:\n{page}");
    }
    assert!(!page.contains("<script") && !page.contains("<orders>"), "what a database says stays text");
    // A run without snapshots has no such section.
    assert!(!served.get("/runs/20261121-020000-checkout-7k3f").await.body.contains("What happened in the database"));
    let seen = dump(&format!("http://{}/runs/before", served.address), None, false).await;
    assert!(seen.contains("What happened in the database shop") && seen.contains("40 s"), "{seen}");
}

#[tokio::test]
async fn a_comparison_shows_statements_and_locks_that_changed() {
    let served = served().await;
    let answer = served.get("/api/v1/compare?a=before&b=after").await.json();
    let changes = &answer["changes"];
    let fate = |list: &str, key: &str, value: &str| {
        let found = changes[list].as_array().unwrap().iter().find(|one| one[key] == value);
        found.unwrap_or_else(|| panic!("{list} {value}: {changes:#}"))["fate"].as_str().unwrap().to_owned()
    };
    let told = [HOSTILE, "SELECT old", "SELECT new"].map(|text| fate("statements", "statement", text));
    assert_eq!(told, ["more", "gone", "new"]);
    assert_eq!(fate("locks", "lock", "orders, row"), "fewer");
    assert_eq!(changes["pools"][0]["pool"], "main", "{changes:#}");
    let page = served.get("/compare?a=before&b=after").await.body;
    for part in
        ["Statements, per request", "all of database", "SELECT new", "Locks", "orders, row", "waited together", "What was said of failures"]
    {
        assert!(page.contains(part), "{part} is not on the page:\n{page}");
    }
    assert!(!page.contains("<script"), "what a database says stays text");
    // Of parts of runs nobody knows what the database did.
    assert!(served.get("/api/v1/compare?a=before:hold&b=after:hold").await.json()["changes"].is_null());
}

/// What the engine told of headroom at one moment.
fn told(seconds_ago: u64, free: f64) -> Reading {
    let point =
        |metric: &str, value: f64| Point::new(metric, value).with("resource", "safe load").with("target", "shop").with("probe", "headroom");
    let day = 86_400.0;
    let pool = Point::new("headroom", 0.6).with("resource", "pool <main>").with("target", "shop").with("probe", "headroom");
    let points = vec![
        pool,
        point("headroom", free),
        point("headroom_capacity", 200.0),
        point("headroom_load", 200.0 * (1.0 - free)),
        point("headroom_time", 52.0 * day),
        point("headroom_time_low", 40.0 * day),
        point("headroom_time_high", 71.0 * day),
    ];
    let at = sample::START.plus(Duration::from_secs(45)).minus(Duration::from_secs(seconds_ago));
    Reading { target: "shop".into(), probe: "headroom".into(), at, second: None, points: Ok(points) }
}

#[tokio::test]
async fn the_overview_says_what_production_leaves_and_on_which_day_it_runs_out() {
    let served = Served::start().await;
    assert!(!served.get("/").await.body.contains("Headroom"), "nobody said where the load of production is read");
    let mut status = busy();
    let mut setup = (*status.setup).clone();
    let load = ProductionLoad { probe: "edge".into(), metric: "custom".into(), labels: [("name".to_owned(), "rps".to_owned())].into() };
    setup.production.insert("shop".into(), load);
    status.setup = Arc::new(setup);
    served.status.send_replace(Arc::new(status));
    let page = served.get("/").await.body;
    assert!(page.contains("Headroom") && page.contains("not known yet") && page.contains("by probe edge"), "{page}");

    served.store.extra.lock().unwrap().extend([told(900, 0.5), told(300, 0.25)]);
    let answer = served.get("/api/v1/headroom").await.json();
    let whole = &answer["headroom"][0];
    assert_eq!(
        (whole["resource"].as_str(), whole["free"].as_f64(), whole["load"].as_f64()),
        (Some("safe load"), Some(0.25), Some(150.0)),
        "{answer:#}"
    );
    // The last reading counts; the day is counted from when it was told, 2026-11-21.
    assert!(whole["runs_out"].as_str().unwrap().starts_with("2027-01-12"), "{answer:#}");
    assert!(answer["headroom"][1]["runs_out"].is_null() && answer["headroom"].as_array().unwrap().len() == 2, "{answer:#}");
    let page = served.get("/").await.body;
    for part in ["25 %", "200/s", "150/s", "2027-01-12", "2026-12-31", "2027-01-31", "pool &lt;main&gt;", "no growth that is certain"] {
        assert!(page.contains(part), "{part} is not on the page:\n{page}");
    }
    assert!(!page.contains("not known yet"), "{page}");
    if let Some(folder) = std::env::var_os("PLIMSOLL_SCREENSHOTS") {
        let file = std::path::Path::new(&folder).join("headroom.png");
        dump(&format!("http://{}/", served.address), Some(&file), false).await;
    }
}
