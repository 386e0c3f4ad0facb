//! Exports and imports: from SQLite to PostgreSQL and back, compared table by table; and what is refused.

use std::collections::BTreeMap;

use plimsoll::model::alerting::AlertState;
use plimsoll::model::control::Standstill;
use plimsoll::model::history::{Deploy, NightNumbers, Pinned};
use plimsoll::model::run::RunId;
use plimsoll::model::schedule::TickOutcome;
use plimsoll::store::{AlertChange, RunFilter, SeriesBatch, StoreError, care};

use super::Bed;
use super::samples::{alert, at, ended, finding, interval, message, reading, run, tick, transition};

/// Puts something into every table.
async fn fill(bed: &Bed) {
    let store = &bed.store;
    for (id, start) in [("a", 1), ("b", 100)] {
        let begun = run(id, at(start));
        store.start_run(&begun).await.unwrap();
        let intervals = (0..3).map(|second| (begun.id.clone(), interval(second))).collect();
        let mut failed = reading("shop", "pg", at(start + 1), 0.0);
        failed.points = Err("refused".into());
        let readings = vec![(Some(begun.id.clone()), reading("shop", "app", at(start), 17.5)), (None, failed)];
        store.append(&SeriesBatch { intervals, readings }).await.unwrap();
        store.end_run(&ended(begun.clone()), &[], &[finding(&begun.id, "leak", "memory “grows”\n", at(start + 3))]).await.unwrap();
    }
    let values = [(String::new(), [("p95".to_owned(), 0.125)].into())].into();
    let numbers = NightNumbers { method: "night/1".into(), values, requests: [(String::new(), (1, 300))].into() };
    store.save_night(&RunId("a".into()), &numbers).await.unwrap();
    store.save_capture(&RunId("a".into()), &super::captures::captured(1, None), Some(b"\x00\xff content")).await.unwrap();
    store.record_deploy(&Deploy { target: "shop".into(), version: "1.5.0".into(), at: at(5), by: "ci".into() }).await.unwrap();
    let pinned = Pinned { profile: "nightly".into(), run: RunId("a".into()), at: at(6), by: "ann".into() };
    store.pin_baseline(&pinned).await.unwrap();
    while store.roll_up(100).await.unwrap() > 0 {}
    store.record_tick(&tick("nightly", at(60), TickOutcome::Missed)).await.unwrap();
    store.set_standstill(Some(&Standstill { at: at(7), by: "the page".into() })).await.unwrap();
    store.record_stop(&Standstill { at: at(7), by: "ann".into() }).await.unwrap();
    let change = AlertChange {
        instances: vec![alert("a", AlertState::Firing)],
        transitions: vec![transition("a", at(1), AlertState::Pending, AlertState::Firing)],
        messages: vec![message("a-1", 1, "mail", at(1)), message("a-1", 2, "mail", at(2))],
        threads: vec![super::telling::thread("a-1", 2)],
        ..AlertChange::default()
    };
    store.save_silence(&super::telling::silence("one", 10)).await.unwrap();
    store.save_channel_health(&super::audit::channel_health("slack")).await.unwrap();
    store.record_deed(&super::audit::deed(8, "one")).await.unwrap();
    store.commit_alerts(&change).await.unwrap();
    store.keep_posted("slack", "a-1", "{\"ts\":\"1.2\"}", at(3)).await.unwrap();
}

async fn exported(url: &str) -> String {
    let mut out = Vec::new();
    care::export(url, &mut out).await.unwrap();
    String::from_utf8(out).unwrap()
}

/// Rows of each table, sorted.
fn rows(export: &str) -> BTreeMap<String, Vec<String>> {
    let mut tables: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut table = String::new();
    for line in export.lines().skip(1) {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        if let Some(name) = value["table"].as_str() {
            name.clone_into(&mut table);
            tables.entry(table.clone()).or_default().push(format!("columns {}", sorted(&value["columns"])));
        } else if value.is_array() {
            tables.get_mut(&table).unwrap().push(line.to_owned());
        }
    }
    // Counts how often the store was opened and asked: not the same twice.
    tables.remove("store_meta");
    for rows in tables.values_mut() {
        rows.sort();
    }
    tables
}

fn sorted(columns: &serde_json::Value) -> String {
    let mut names: Vec<&str> = columns.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    names.sort_unstable();
    names.join(" ")
}

async fn import(bed: &Bed, export: &str, replace: bool) -> Result<(), StoreError> {
    care::import(&bed.url, &mut export.as_bytes(), replace).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_goes_to_postgres_and_back() {
    let (first, second, third) = (Bed::sqlite().await, Bed::postgres().await, Bed::sqlite().await);
    fill(&first).await;
    let original = exported(&first.url).await;
    let tables = rows(&original);
    // Every table has something in it: a new one needs a line in `fill`, or here.
    let empty: Vec<&String> = tables.iter().filter(|(_, rows)| rows.len() < 2).map(|(name, _)| name).collect();
    assert!(empty.iter().all(|name| ["group_intervals", "group_rollups", "reading_rollups"].contains(&name.as_str())), "{empty:?}");
    import(&second, &original, false).await.unwrap();
    let in_postgres = exported(&second.url).await;
    assert_eq!(rows(&in_postgres), tables);
    import(&third, &in_postgres, false).await.unwrap();
    assert_eq!(rows(&exported(&third.url).await), tables);
    for bed in [&second, &third] {
        let (was, is) = (first.store.run("a").await.unwrap(), bed.store.run("a").await.unwrap());
        assert_eq!(is, was);
        let run = was.unwrap().id;
        assert_eq!(bed.store.intervals(&run, 0, 9).await.unwrap(), first.store.intervals(&run, 0, 9).await.unwrap());
        // The database goes on counting where the other one stopped.
        bed.store.start_run(&super::samples::run("new", at(900))).await.unwrap();
        bed.store.append(&SeriesBatch { intervals: Vec::new(), readings: vec![(None, reading("other", "x", at(1), 1.0))] }).await.unwrap();
    }
}

async fn refused_and_unchanged(bed: &Bed, export: &str, replace: bool, why: &str) {
    let before = rows(&exported(&bed.url).await);
    let error = import(bed, export, replace).await.unwrap_err();
    assert!(error.to_string().contains(why), "{error}");
    assert_eq!(rows(&exported(&bed.url).await), before, "{why}");
}

pub(super) async fn an_import_is_whole_or_not_at_all(bed: Bed) {
    fill(&bed).await;
    let whole = exported(&bed.url).await;
    refused_and_unchanged(&bed, &whole, false, "the database is not empty").await;
    let lines: Vec<&str> = whole.lines().collect();
    let torn = lines[..lines.len() - 1].join("\n");
    refused_and_unchanged(&bed, &torn, true, "its end is missing").await;
    let shorter: Vec<&str> = lines.iter().enumerate().filter(|(index, _)| *index != lines.len() - 2).map(|(_, line)| *line).collect();
    refused_and_unchanged(&bed, &shorter.join("\n"), true, "its rows are not those that its end counts").await;
    refused_and_unchanged(&bed, "", true, "it is empty").await;
    refused_and_unchanged(&bed, "{\"format\": \"other\"}\n", true, "its first line is not that of an export").await;
    let newer = whole.replacen("\"schema\":", "\"schema\":99", 1);
    refused_and_unchanged(&bed, &newer, true, "use the newer program").await;
    let strange = whole.replace("\"table\":\"ticks\"", "\"table\":\"tocks\"");
    refused_and_unchanged(&bed, &strange, true, "this program has no table tocks").await;
    bed.store.start_run(&run("later", at(500))).await.unwrap();
    import(&bed, &whole, true).await.unwrap();
    assert_eq!(rows(&exported(&bed.url).await), rows(&whole));
}

/// Programs of before kept no headlines of runs beside their summaries.
pub(super) async fn an_export_without_headlines_is_read(bed: Bed) {
    fill(&bed).await;
    let (mut skipped, mut lines) = (false, Vec::new());
    for line in exported(&bed.url).await.lines() {
        let mut value: serde_json::Value = serde_json::from_str(line).unwrap();
        if let Some(table) = value["table"].as_str() {
            skipped = table == "headlines";
        }
        if let Some(end) = value.get_mut("end").and_then(serde_json::Value::as_object_mut) {
            assert_eq!(end.remove("headlines"), Some(2.into()));
            skipped = false;
        }
        if !skipped {
            lines.push(value.to_string());
        }
    }
    let before = bed.store.run_lines(&RunFilter::default()).await.unwrap();
    assert!(before.iter().all(|line| line.headline.is_some()), "{before:?}");
    import(&bed, &(lines.join("\n") + "\n"), true).await.unwrap();
    assert_eq!(bed.store.run_lines(&RunFilter::default()).await.unwrap(), before);
}
