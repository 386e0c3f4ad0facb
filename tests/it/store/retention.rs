//! Promises about what goes with age: only what is too old, only what roll-ups hold, and its space with it.

use std::time::Duration;

use plimsoll::engine::upkeep::{Retained, kept_runs, retain, retention_plan};
use plimsoll::model::alerting::{AlertState, OutboxState, Transition};
use plimsoll::model::history::Pinned;
use plimsoll::model::measure::Interval;
use plimsoll::model::retention::{Pin, Policies, Policy, Records, Removal};
use plimsoll::model::rollup::Resolution;
use plimsoll::model::run::{Run, RunStatus};
use plimsoll::model::schedule::TickOutcome;
use plimsoll::model::units::Timestamp;
use plimsoll::store::{AlertChange, FigureQuery, ReadingFilter, SeriesBatch, Settlement, Store, open};
use sqlx::migrate::Migrator;
use sqlx::{Connection, Executor, PgConnection, SqliteConnection};

use super::Bed;
use super::samples::{alert, at, finding, interval, message, reading, run, tick, transition};
use crate::servers::postgres::Postgres;

const ALL: u32 = 10_000;
const DAY: u64 = 86_400;

fn day(days: u64) -> Timestamp {
    at(days * DAY)
}

/// A run of 130 seconds with a reading each, ended and rolled up.
async fn stored(store: &dyn Store, id: &str, started_at: Timestamp) -> Run {
    let run = run(id, started_at);
    store.start_run(&run).await.unwrap();
    let mut batch = SeriesBatch::default();
    for second in 0..130_u32 {
        batch.intervals.push((run.id.clone(), interval(second)));
        let mut one = reading("shop", "app", started_at.plus(Duration::from_secs(second.into())), f64::from(second));
        one.second = Some(second);
        batch.readings.push((Some(run.id.clone()), one));
    }
    store.append(&batch).await.unwrap();
    let ended = Run { status: RunStatus::Finished, ended_at: Some(started_at.plus(Duration::from_secs(130))), ..run };
    store.update_run(&ended).await.unwrap();
    store.roll_up(ALL).await.unwrap();
    ended
}

async fn spans(store: &dyn Store, run: &Run) -> [usize; 4] {
    let mut counts = [0; 4];
    for (count, resolution) in counts.iter_mut().zip(Resolution::ALL) {
        let query = FigureQuery { run: run.id.clone(), step: None, resolution: *resolution, from: 0, to: 1_000 };
        *count = store.figures(&query).await.unwrap().len();
    }
    counts
}

async fn round(store: &dyn Store, policies: &Policies, now: Timestamp) -> Retained {
    retain(store, policies, now).await.unwrap()
}

pub(super) async fn each_resolution_goes_at_its_age_and_the_next_answers(bed: Bed) {
    let (store, policies) = (&*bed.store, Policies::default());
    let (old, new) = (stored(store, "old", day(0)).await, stored(store, "new", day(6)).await);
    let whole = store.merged(&old.id, 0, 130).await.unwrap().unwrap();
    for (now, expected) in [(5, [130, 13, 3, 1]), (8, [0, 13, 3, 1]), (31, [0, 0, 3, 1]), (190, [0, 0, 0, 1]), (9_000, [0, 0, 0, 1])] {
        round(store, &policies, day(now)).await;
        assert_eq!(spans(store, &old).await, expected, "on day {now}");
        let still = store.merged(&old.id, 0, 130).await.unwrap().unwrap();
        assert_eq!(still.sum, whole.sum, "what is added up stays the same");
        assert!(round(store, &policies, day(now)).await.removals.is_empty(), "a second round has nothing to do");
        if now == 8 {
            assert_eq!(spans(store, &new).await, [130, 13, 3, 1], "a younger run loses nothing");
            assert_eq!(store.readings(&ReadingFilter { run: Some(old.id.clone()), ..ReadingFilter::default() }).await.unwrap(), []);
        }
    }
    assert_eq!(store.run("old").await.unwrap(), Some(old), "the run itself stays");
}

pub(super) async fn pinned_runs_stay_until_they_are_not(bed: Bed) {
    let store = &*bed.store;
    let one = Policy { series: [Some(Duration::from_secs(DAY)); 4], runs: Some(1) };
    let policies = Policies { profiles: [("soak".to_owned(), one)].into(), ..Policies::default() };
    let (pinned, baseline) = (stored(store, "pinned", day(0)).await, stored(store, "baseline", day(1)).await);
    let compared = stored(store, "compared", day(1)).await;
    let with = Pinned { profile: "soak".into(), run: compared.id.clone(), at: day(1), by: "ann".into() };
    store.pin_baseline(&with).await.unwrap();
    let gone = stored(store, "gone", day(2)).await;
    stored(store, "newest", day(3)).await;
    store.save_findings(&gone.id, &[finding(&gone.id, "pool", "it was full", day(2))]).await.unwrap();
    assert!(store.pin(&pinned.id, Some(Pin::Pinned)).await.unwrap() && store.pin(&baseline.id, Some(Pin::Baseline)).await.unwrap());
    assert!(!store.pin(&plimsoll::model::run::RunId("nobody".into()), None).await.unwrap());
    let planned = retention_plan(store, &policies, day(100)).await.unwrap();
    assert!(planned.iter().any(|one| matches!(one, Removal::Run { run, .. } if run.id == gone.id)), "{planned:?}");
    round(store, &policies, day(100)).await;
    let ids = |runs: Vec<plimsoll::model::retention::KeptRun>| runs.into_iter().map(|run| run.id.0).collect::<Vec<_>>();
    assert_eq!(ids(kept_runs(store).await.unwrap()), ["pinned", "baseline", "compared", "newest"]);
    assert_eq!(store.findings(None, 10).await.unwrap(), [], "its findings go with it");
    assert_eq!((spans(store, &pinned).await, spans(store, &baseline).await), ([130, 13, 3, 1], [130, 13, 3, 1]));
    bed.holds("SELECT count(*) FROM step_intervals", 3 * 2 * 130).await;
    assert_eq!(store.pinned(&baseline.id).await.unwrap(), Some(Pin::Baseline));
    assert_eq!(store.pinned(&compared.id).await.unwrap(), Some(Pin::Baseline));
    store.pin(&baseline.id, None).await.unwrap();
    store.unpin_baseline("soak").await.unwrap();
    round(store, &policies, day(100)).await;
    assert_eq!(ids(kept_runs(store).await.unwrap()), ["pinned", "newest"]);
}

pub(super) async fn seconds_that_no_roll_up_holds_are_not_deleted(bed: Bed) {
    let (store, policies) = (&*bed.store, Policies::default());
    let run = stored(store, "a", day(0)).await;
    bed.sql("DELETE FROM rollups WHERE resolution = 10 AND second = 50").await;
    round(store, &policies, day(8)).await;
    assert_eq!(spans(store, &run).await, [130, 13, 3, 1], "answered from the seconds");
    assert!(!store.kept_runs(None, 1).await.unwrap()[0].rolled, "it will be rolled up again");
    store.roll_up(ALL).await.unwrap();
    round(store, &policies, day(8)).await;
    assert_eq!(spans(store, &run).await, [0, 13, 3, 1]);
}

pub(super) async fn readings_between_runs_go_by_whole_days(bed: Bed) {
    let (store, policies) = (&*bed.store, Policies::default());
    // Twice a day for twenty days, from 02:00 on.
    let readings = (0..40_u64).map(|half| (None, reading("shop", "app", at(half * DAY / 2), half as f64))).collect();
    store.append(&SeriesBatch { intervals: Vec::new(), readings }).await.unwrap();
    store.roll_up(ALL).await.unwrap();
    round(store, &policies, day(15)).await;
    let left = store.readings(&ReadingFilter::default()).await.unwrap();
    assert_eq!(left.first().map(|reading| reading.at), Some(day(8)), "everything before midnight of the eighth day went");
    bed.holds("SELECT count(*) FROM reading_rollups WHERE resolution = 60", 39 * 3).await;
    round(store, &policies, day(35)).await;
    bed.holds("SELECT count(*) FROM reading_rollups WHERE resolution = 60", 39 * 3).await;
    round(store, &policies, day(181)).await;
    bed.holds("SELECT count(*) FROM reading_rollups WHERE resolution = 60 AND at < 0", 0).await;
    // Hours are kept for ever, minutes for 180 days.
    bed.holds("SELECT count(DISTINCT at) FROM reading_rollups WHERE resolution = 60", 37).await;
    bed.holds("SELECT count(DISTINCT at) FROM reading_rollups WHERE resolution = 3600", 39).await;
}

const RUN: &str = "INSERT INTO runs (id, profile, target, trigger_by, digest, started_at, ended_at, status, reasons, catalog, thresholds) \
    VALUES ('old', 'soak', 'shop', 'cli', '', 1790000000000000, 1790000002000000, 'finished', '[]', '{\"scenarios\":[],\"steps\":[]}', '[]')";
const SECONDS: &str = "INSERT INTO intervals (run, at, second, stall_us, shards) \
    VALUES (1, 1790000000000000, 0, 0, 1), (1, 1790000001000000, 1, 0, 1), (1, 1790604800000000, 604800, 0, 1)";

/// A store whose schema is that of the program before roll-ups, with one run in it.
async fn before_roll_ups(url: &str, migrations: Migrator) {
    let old: Vec<_> = migrations.iter().filter(|migration| migration.version < 4).cloned().collect();
    assert_eq!(old.len(), 3);
    if url.starts_with("sqlite") {
        let mut connection = SqliteConnection::connect(&format!("{url}?mode=rwc")).await.unwrap();
        Migrator::with_migrations(old).run(&mut connection).await.unwrap();
        connection.execute(RUN).await.unwrap();
        connection.execute(SECONDS).await.unwrap();
    } else {
        let mut connection = PgConnection::connect(url).await.unwrap();
        Migrator::with_migrations(old).run(&mut connection).await.unwrap();
        connection.execute(RUN).await.unwrap();
        connection.execute(SECONDS).await.unwrap();
    }
}

async fn rolls_up_what_was_there(store: &dyn Store) {
    let run = store.run("old").await.unwrap().unwrap();
    let seconds = |intervals: Vec<Interval>| intervals.iter().map(|interval| interval.second).collect::<Vec<_>>();
    assert_eq!(seconds(store.intervals(&run.id, 0, u32::MAX).await.unwrap()), [0, 1, 604_800]);
    assert_eq!(store.roll_up(ALL).await.unwrap(), 2);
    let query = FigureQuery { run: run.id, step: None, resolution: Resolution::Minute, from: 0, to: u32::MAX };
    let found = store.figures(&query).await.unwrap();
    assert_eq!(found.iter().map(|one| (one.second, one.seconds)).collect::<Vec<_>>(), [(0, 2), (604_800, 1)]);
}

#[tokio::test]
async fn a_file_from_before_roll_ups_and_without_vacuum_works_and_can_be_compacted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plimsoll.db");
    let url = format!("sqlite://{}", file.display());
    before_roll_ups(&url, sqlx::migrate!("migrations/sqlite")).await;
    let store = open(&url).await.unwrap();
    rolls_up_what_was_there(&*store).await;
    for number in 0..20 {
        stored(&*store, &format!("run-{number}"), day(number)).await;
    }
    let size = async || {
        let mut connection = SqliteConnection::connect(&url).await.unwrap();
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").await.unwrap();
        std::fs::metadata(&file).unwrap().len()
    };
    let full = size().await;
    let done = round(&*store, &Policies::default(), day(100)).await;
    assert!(done.rows > 0 && done.space.needs_compacting && done.space.returned_bytes == 0, "{done:?}");
    assert!(done.space.free_bytes > full / 3, "{done:?} of {full}");
    assert_eq!(size().await, full, "the file keeps its size");
    store.compact().await.unwrap();
    let small = size().await;
    assert!(small < full * 2 / 3, "{small} of {full}");
    // From now on it shrinks by itself.
    for number in 0..20 {
        stored(&*store, &format!("later-{number}"), day(100 + number)).await;
    }
    let done = round(&*store, &Policies::default(), day(200)).await;
    assert!(done.space.returned_bytes > 0 && !done.space.needs_compacting && done.space.free_bytes == 0, "{done:?}");
    assert!(size().await < full, "back to about {small}");
    store.close().await;
}

/// Partitions of a table with the rows in each.
async fn partitions(url: &str, table: &str) -> Vec<(String, i64)> {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let names: Vec<String> = sqlx::query_scalar("SELECT named FROM series_partitions WHERE parent = $1 ORDER BY starts")
        .bind(table)
        .fetch_all(&mut connection)
        .await
        .unwrap();
    let mut all = Vec::new();
    for name in names {
        let count = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {name}"));
        let rows: i64 = sqlx::query_scalar(count).fetch_one(&mut connection).await.unwrap();
        all.push((name, rows));
    }
    all
}

#[tokio::test]
async fn rows_from_before_partitions_are_moved_into_theirs() {
    let url = Postgres::fresh_database().await;
    before_roll_ups(&url, sqlx::migrate!("migrations/postgres")).await;
    let store = open(&url).await.unwrap();
    rolls_up_what_was_there(&*store).await;
    let mut used = partitions(&url, "intervals").await;
    assert!(used.len() >= 7, "two weeks with rows and five from now on: {used:?}");
    used.retain(|(_, rows)| *rows > 0);
    assert_eq!(used, [("intervals_20260921".to_owned(), 2), ("intervals_20260928".to_owned(), 1)]);
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let rest: i64 = sqlx::query_scalar("SELECT count(*) FROM intervals_rest").fetch_one(&mut connection).await.unwrap();
    assert_eq!(rest, 0);
}

#[tokio::test]
async fn weeks_in_which_everything_is_too_old_are_dropped_as_partitions() {
    let url = Postgres::fresh_database().await;
    let store = open(&url).await.unwrap();
    // 2030-01-07 is a Monday.
    let monday = Timestamp::parse("2030-01-07T00:00:00Z").unwrap();
    let week = |weeks: u64| monday.plus(Duration::from_secs(weeks * 7 * DAY + DAY));
    // Written before their partitions are there, and after.
    let first = stored(&*store, "first", week(0)).await;
    assert!(store.prepare_partitions(week(1)).await.unwrap() >= 5 * 6);
    assert_eq!(store.prepare_partitions(week(1)).await.unwrap(), 0, "they are there");
    let second = stored(&*store, "second", week(1)).await;
    let third = stored(&*store, "third", week(2)).await;
    store.pin(&second.id, Some(Pin::Pinned)).await.unwrap();
    let rows = |all: Vec<(String, i64)>| all.into_iter().filter(|(_, rows)| *rows > 0).collect::<Vec<_>>();
    let named = |weeks: &[&str]| weeks.iter().map(|week| (format!("step_intervals_{week}"), 260)).collect::<Vec<_>>();
    assert_eq!(rows(partitions(&url, "step_intervals").await), named(&["20300107", "20300114", "20300121"]));
    let done = retain(&*store, &Policies::default(), week(4)).await.unwrap();
    assert!(done.partitions >= 10, "five tables, two weeks with rows, and whatever was empty: {done:?}");
    assert_eq!(rows(partitions(&url, "step_intervals").await), named(&["20300114"]), "the pinned run holds its week");
    for (run, expected) in [(&first, [0, 13, 3, 1]), (&second, [130, 13, 3, 1]), (&third, [0, 13, 3, 1])] {
        assert_eq!(spans(&*store, run).await, expected, "{}", run.id);
    }
    // A week that was dropped can be written again: a clock that went backwards.
    let again = stored(&*store, "again", week(0)).await;
    assert_eq!(spans(&*store, &again).await, [130, 13, 3, 1]);
}

pub(super) async fn records_go_when_nothing_needs_them_any_more(bed: Bed) {
    let store = &*bed.store;
    for number in 0..3_u64 {
        store.record_tick(&tick("nightly", day(number), TickOutcome::Missed)).await.unwrap();
    }
    store.record_tick(&tick("retired", day(0), TickOutcome::Missed)).await.unwrap();
    let mut open = alert("open", AlertState::Firing);
    open.incident = Some("open-1".into());
    let of = |fingerprint: &str, incident: &str, number| Transition {
        incident: Some(incident.into()),
        ..transition(fingerprint, day(number), AlertState::Pending, AlertState::Firing)
    };
    let change = AlertChange {
        instances: vec![open],
        transitions: vec![of("open", "open-1", 0), of("open", "open-0", 0), of("gone", "gone-1", 0), of("gone", "gone-2", 2)],
        messages: vec![
            message("open-1", 1, "mail", day(0)),
            message("gone-1", 1, "mail", day(0)),
            message("gone-1", 2, "mail", day(0)),
            message("gone-2", 1, "mail", day(2)),
        ],
        ..AlertChange::default()
    };
    store.commit_alerts(&change).await.unwrap();
    for id in ["open-1-1-mail", "gone-1-1-mail", "gone-2-1-mail"] {
        let (id, state, detail) = (id.to_owned(), OutboxState::Sent, String::new());
        store.settle_message(&Settlement { id, state, not_before: day(0), at: day(0), detail }).await.unwrap();
    }
    let records = Records([Some(Duration::from_secs(DAY)); 3]);
    let policies = Policies { records, ..Policies::default() };
    let now = day(2).plus(Duration::from_secs(3_600));
    assert_eq!(round(store, &Policies::default(), now).await.rows, 0, "by default they stay for months");
    assert_eq!(round(store, &policies, now).await.rows, 2 + 2 + 1);
    let ticks: Vec<_> = store.ticks(None, 10).await.unwrap().into_iter().map(|tick| (tick.schedule, tick.due)).collect();
    assert_eq!(ticks, [("nightly".into(), day(2)), ("retired".into(), day(0))], "the newest of each says what was missed since");
    let mut incidents: Vec<_> = store.transitions(None, 10).await.unwrap().into_iter().filter_map(|one| one.incident).collect();
    incidents.sort();
    assert_eq!(incidents, ["gone-2", "open-1"]);
    let mut messages: Vec<_> = store.messages(None, 10).await.unwrap().into_iter().map(|message| message.id).collect();
    messages.sort();
    assert_eq!(messages, ["gone-1-2-mail", "gone-2-1-mail", "open-1-1-mail"], "what waits stays, and what belongs to an open incident");
    assert_eq!(round(store, &policies, now).await.rows, 0);
}
