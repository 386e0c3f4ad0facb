//! The SQL views: the same columns and the same values on both databases, and what the run itself says.

use std::time::Duration;

use plimsoll::model::run::{Run, RunStatus};
use plimsoll::store::SeriesBatch;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, SqliteConnection};

use super::Bed;
use super::samples::{at, ended, finding, interval, reading, run};

/// Views with their columns: `t` text, `i` whole number, `r` number.
const VIEWS: &[(&str, &str, &str)] = &[
    (
        "v_runs",
        "run:t profile:t target:t trigger_by:t trigger_name:t target_version:t started_at:r ended_at:r status:t ended_by:t verdict:t pinned:t \
         seconds:r requests:i failed:i requests_per_second:r p50_ms:r p95_ms:r p99_ms:r max_ms:r findings:i",
        "run",
    ),
    (
        "v_run_metrics",
        "run:t profile:t target:t target_version:t started_at:r verdict:t scenario:t step:t probe:t labels:t metric:t stat:t unit:t value:r",
        "run, scenario, step, probe, metric, stat",
    ),
    (
        "v_intervals",
        "run:t profile:t target:t resolution_s:i time:r second:i seconds:i scenario:t step:t requests:i failed:i requests_per_second:r p50_ms:r \
         p95_ms:r p99_ms:r vus:i dropped:i",
        "run, resolution_s, second, step",
    ),
    (
        "v_pool",
        "run:t target:t probe:t metric:t pool:t labels:t resolution_s:i time:r samples:i min_value:r mean_value:r max_value:r last_value:r",
        "run, metric, resolution_s, time",
    ),
    ("v_findings", "run:t profile:t target:t time:r kind:t severity:t title:t method:t evidence:t", "run, time"),
];

/// A run with everything, one that goes on, and readings between them.
async fn fill(bed: &Bed) {
    let store = &bed.store;
    let mut first = run("20261121-020000-soak-7k3f", at(0));
    // As many steps as the seconds below name.
    let step = first.catalog.steps[0].clone();
    first.catalog.steps = (0..10).map(|n| plimsoll::model::catalog::StepMeta { name: format!("step {n}"), ..step.clone() }).collect();
    store.start_run(&first).await.unwrap();
    let mut batch = SeriesBatch::default();
    for second in 0..75_u32 {
        batch.intervals.push((first.id.clone(), interval(second)));
        let mut one = reading("shop", "app", at(second.into()), f64::from(second) / 7.0);
        one.second = Some(second);
        batch.readings.push((Some(first.id.clone()), one));
    }
    for minute in 0..5_u64 {
        batch.readings.push((None, reading("shop", "app", at(600 + minute * 30), minute as f64 / 3.0)));
    }
    store.append(&batch).await.unwrap();
    let whole = ended(first.clone());
    store.update_run(&Run { ended_at: Some(at(75)), ..whole }).await.unwrap();
    store.save_findings(&first.id, &[finding(&first.id, "pool", "“it” was full", at(80))]).await.unwrap();
    store.pin(&first.id, Some(plimsoll::model::retention::Pin::Baseline)).await.unwrap();
    let going = run("20261121-030000-soak-aaaa", at(3_600));
    store.start_run(&going).await.unwrap();
    assert_eq!(going.status, RunStatus::Running);
    store.roll_up(1_000).await.unwrap();
}

/// A value as text, numbers with twelve digits; `column` ends with its kind.
fn text<R: Row>(row: &R, index: usize, column: &str) -> String
where
    usize: sqlx::ColumnIndex<R>,
    for<'r> Option<String>: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
    for<'r> Option<i64>: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
    for<'r> Option<f64>: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
{
    let none = || "NULL".to_owned();
    let text = match column.rsplit(':').next().unwrap() {
        "t" => row.try_get::<Option<String>, _>(index).map(|value| value.unwrap_or_else(none)),
        "i" => row.try_get::<Option<i64>, _>(index).map(|value| value.map_or_else(none, |value| value.to_string())),
        _ => row.try_get::<Option<f64>, _>(index).map(|value| value.map_or_else(none, |value| format!("{value:.12e}"))),
    };
    text.unwrap_or_else(|error| panic!("{column}: {error}"))
}

/// All rows of a view as text.
macro_rules! rows {
    ($connection:expr, $view:expr, $columns:expr, $order:expr) => {{
        let names: Vec<&str> = $columns.split_whitespace().map(|column| column.split(':').next().unwrap()).collect();
        let query = AssertSqlSafe(format!("SELECT {} FROM {} ORDER BY {}", names.join(", "), $view, $order));
        let rows = sqlx::query(query).fetch_all(&mut $connection).await.unwrap();
        let shown = |row| $columns.split_whitespace().enumerate().map(|(index, column)| text(row, index, column)).collect::<Vec<_>>();
        rows.iter().map(|row| shown(row).join(" | ")).collect::<Vec<String>>()
    }};
}

#[tokio::test]
async fn views_have_the_same_columns_and_values_on_both_databases() {
    let (lite, postgres) = (Bed::sqlite().await, Bed::postgres().await);
    fill(&lite).await;
    fill(&postgres).await;
    let mut of_lite = SqliteConnection::connect(&lite.url).await.unwrap();
    let mut of_postgres = PgConnection::connect(&postgres.url).await.unwrap();
    for (view, columns, order) in VIEWS {
        let mut left = rows!(of_lite, view, columns, order);
        let mut right = rows!(of_postgres, view, columns, order);
        // Texts are sorted by other rules on each.
        left.sort();
        right.sort();
        assert!(!left.is_empty(), "{view} is empty");
        assert_eq!(left, right, "{view}");
    }
    what_they_say(&mut of_lite).await;
}

async fn what_they_say(connection: &mut SqliteConnection) {
    let number = async |connection: &mut SqliteConnection, sql: &'static str| {
        sqlx::query_scalar::<_, f64>(sql).fetch_one(connection).await.unwrap_or_else(|error| panic!("{sql}: {error}"))
    };
    let started = Duration::from_micros(u64::try_from(at(0).0).unwrap()).as_secs_f64();
    for (sql, expected) in [
        ("SELECT started_at FROM v_runs WHERE pinned = 'baseline'", started),
        ("SELECT p95_ms FROM v_runs WHERE verdict = 'fail'", 45.023),
        ("SELECT value FROM v_run_metrics WHERE step = 'checkout' AND metric = 'duration' AND stat = 'p95'", 45.023),
        ("SELECT value FROM v_run_metrics WHERE metric = 'pool_utilization' AND stat = 'max'", 1.0),
        ("SELECT requests * 1.0 FROM v_intervals WHERE resolution_s = 3600 AND step = ''", 75.0 * 101.0),
        ("SELECT requests * 1.0 FROM v_intervals WHERE resolution_s = 60 AND second = 60 AND step = 'step 3'", 1_500.0),
        ("SELECT requests_per_second FROM v_intervals WHERE resolution_s = 60 AND second = 60 AND step = 'step 3'", 100.0),
        ("SELECT requests * 1.0 FROM v_intervals WHERE resolution_s = 1 AND second = 74 AND step = 'step 3'", 100.0),
        ("SELECT requests_per_second FROM v_intervals WHERE resolution_s = 1 AND second = 74 AND step = ''", 101.0),
        ("SELECT sum(failed) * 1.0 FROM v_intervals WHERE resolution_s = 1 AND step = ''", 150.0),
        ("SELECT max(vus) * 1.0 FROM v_intervals WHERE resolution_s = 1", 60.0),
        ("SELECT count(p95_ms) * 1.0 FROM v_intervals WHERE resolution_s = 1", 0.0),
        ("SELECT max_value FROM v_pool WHERE resolution_s = 10 AND metric = 'pool_in_use' ORDER BY time LIMIT 1", 9.0 / 7.0),
        ("SELECT count(*) * 1.0 FROM v_pool WHERE run IS NULL AND resolution_s = 60", 4.0),
    ] {
        let found = number(connection, sql).await;
        assert!((found - expected).abs() < 1e-6, "{sql}: {found}, not {expected}");
    }
}

/// Every query of the dashboard gives rows on both databases, whichever data source it is used with.
#[tokio::test]
async fn the_dashboard_on_the_views_has_data() {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("grafana/sql/history.json");
    let dashboard: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let of_panels = panels.iter().flat_map(|panel| {
        assert!(panel["description"].is_string() && panel["fieldConfig"]["defaults"]["unit"].is_string(), "{}", panel["title"]);
        panel["targets"].as_array().unwrap().iter().map(|target| target["rawSql"].as_str().unwrap())
    });
    let of_variables = dashboard["templating"]["list"].as_array().unwrap().iter().filter_map(|one| one["query"].as_str());
    let queries: Vec<String> = of_panels.chain(of_variables.filter(|query| query.starts_with("SELECT"))).map(filled).collect();
    assert!(queries.len() >= 8, "{}", queries.len());
    let (lite, postgres) = (Bed::sqlite().await, Bed::postgres().await);
    fill(&lite).await;
    fill(&postgres).await;
    let mut of_lite = SqliteConnection::connect(&lite.url).await.unwrap();
    let mut of_postgres = PgConnection::connect(&postgres.url).await.unwrap();
    for query in queries {
        let left =
            sqlx::query(AssertSqlSafe(query.clone())).fetch_all(&mut of_lite).await.unwrap_or_else(|error| panic!("{query}: {error}"));
        let right = sqlx::query(AssertSqlSafe(query.clone())).fetch_all(&mut of_postgres).await;
        let right = right.unwrap_or_else(|error| panic!("{query}: {error}"));
        assert!(!left.is_empty() && left.len() == right.len(), "{query}: {} and {} rows", left.len(), right.len());
    }
}

/// A query as Grafana would send it.
fn filled(query: &str) -> String {
    let filter = regex::Regex::new(r"\$__unixEpochFilter\((\w+)\)").unwrap();
    let query = filter.replace_all(query, "$1 >= 1 AND $1 <= 9999999999");
    let query = query.replace("$profile", "soak").replace("$run", "20261121-020000-soak-7k3f").replace("$resolution", "10");
    assert!(!query.contains('$'), "a variable that the test does not know: {query}");
    query
}
