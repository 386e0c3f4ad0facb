//! Promises about probe readings.

use std::slice::from_ref;
use std::time::Duration;

use plimsoll::model::run::RunId;
use plimsoll::model::series::{Point, Reading};
use plimsoll::store::{MOST_ROWS, ReadingFilter, SeriesBatch, StoreError};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::runtime::Handle;
use tokio::task::block_in_place;

use super::Bed;
use super::samples::{at, reading, run};

async fn append(bed: &Bed, run: Option<&RunId>, readings: &[Reading]) {
    let readings = readings.iter().map(|reading| (run.cloned(), reading.clone())).collect();
    bed.store.append(&SeriesBatch { intervals: Vec::new(), readings }).await.unwrap();
}

pub(super) async fn readings_survive_exactly(bed: Bed) {
    let value =
        prop::num::f64::POSITIVE | prop::num::f64::NEGATIVE | prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO;
    let point = ("[a-z_]{1,8}", proptest::collection::btree_map("[a-z]{1,4}", "[^\0]{0,8}", 0..3), value)
        .prop_map(|(metric, labels, value)| Point { metric, labels, value });
    let seconds = std::cell::Cell::new(0);
    let mut runner = TestRunner::new(Config { cases: 24, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&vec(point, 0..12), |points| {
        seconds.set(seconds.get() + 1);
        let at = at(seconds.get());
        let reading = Reading { target: "shop".into(), probe: "app".into(), at, second: Some(seconds.get() as u32), points: Ok(points) };
        let filter = ReadingFilter { from: Some(at), ..ReadingFilter::default() };
        let found = block_in_place(|| {
            Handle::current().block_on(async {
                append(&bed, None, from_ref(&reading)).await;
                bed.store.readings(&filter).await.unwrap()
            })
        });
        prop_assert_eq!(found, [reading]);
        Ok(())
    });
    outcome.unwrap();
}

pub(super) async fn failed_readings_keep_their_reason(bed: Bed) {
    let failed = Reading { points: Err("connection refused".into()), ..reading("shop", "app", at(1), 0.0) };
    let empty = Reading { points: Ok(Vec::new()), ..reading("shop", "app", at(2), 0.0) };
    append(&bed, None, &[failed.clone(), empty.clone()]).await;
    assert_eq!(bed.store.readings(&ReadingFilter::default()).await.unwrap(), [failed, empty]);
}

pub(super) async fn readings_are_found_by_target_and_time(bed: Bed) {
    let readings = [("shop", "db", 3), ("shop", "app", 3), ("bank", "app", 1), ("shop", "app", 2), ("shop", "app", 1)]
        .map(|(target, probe, second)| reading(target, probe, at(second), 1.0));
    append(&bed, None, &readings).await;
    let found = async |target: Option<&str>, from, to| {
        let filter = ReadingFilter { target: target.map(Into::into), from, to, ..ReadingFilter::default() };
        let found = bed.opened_again().await.readings(&filter).await.unwrap();
        found.iter().map(|reading| (reading.target.clone() + "/" + &reading.probe, reading.at.since(at(0)).as_secs())).collect::<Vec<_>>()
    };
    let named = |names: &[(&str, u64)]| names.iter().map(|(name, second)| ((*name).to_owned(), *second)).collect::<Vec<_>>();
    let all = named(&[("bank/app", 1), ("shop/app", 1), ("shop/app", 2), ("shop/app", 3), ("shop/db", 3)]);
    assert_eq!(found(None, None, None).await, all);
    assert_eq!(found(Some("bank"), None, None).await, named(&[("bank/app", 1)]));
    assert_eq!(found(Some("shop"), Some(at(2)), Some(at(3))).await, named(&[("shop/app", 2)]));
    assert_eq!(found(Some("shop"), Some(at(2)), None).await, named(&[("shop/app", 2), ("shop/app", 3), ("shop/db", 3)]));
    assert_eq!(found(Some("nobody"), None, None).await, []);
}

pub(super) async fn readings_are_found_by_run(bed: Bed) {
    let (one, other) = (run("one", at(0)), run("other", at(0)));
    for run in [&one, &other] {
        bed.store.start_run(run).await.unwrap();
    }
    let mine = [1, 2].map(|second| Reading { second: Some(second), ..reading("shop", "app", at(second.into()), 2.0) });
    append(&bed, Some(&one.id), &mine).await;
    append(&bed, Some(&other.id), &[reading("bank", "app", at(1), 3.0)]).await;
    append(&bed, None, &[reading("shop", "app", at(3), 4.0)]).await;
    let filter = ReadingFilter { run: Some(one.id), ..ReadingFilter::default() };
    assert_eq!(bed.store.readings(&filter).await.unwrap(), mine);
    assert_eq!(bed.store.readings(&ReadingFilter { from: Some(at(2)), ..filter.clone() }).await.unwrap(), mine[1..]);
    assert_eq!(bed.store.readings(&ReadingFilter { target: Some("bank".into()), ..filter }).await.unwrap(), []);
}

pub(super) async fn of_a_metric_only_its_points_are_given(bed: Bed) {
    let failed = Reading { points: Err("timeout".into()), ..reading("shop", "app", at(2), 0.0) };
    let without = Reading { points: Ok(vec![Point::new("other", 1.0)]), ..reading("shop", "app", at(3), 0.0) };
    append(&bed, None, &[reading("shop", "app", at(1), 5.0), failed, without, reading("bank", "app", at(4), 10.0)]).await;
    let filter = ReadingFilter { metric: Some("pool_utilization".into()), ..ReadingFilter::default() };
    let expected =
        |reading: Reading, value| Reading { points: Ok(vec![Point::new("pool_utilization", value).with("pool", "main")]), ..reading };
    let found = bed.store.readings(&filter).await.unwrap();
    assert_eq!(found, [expected(reading("shop", "app", at(1), 0.0), 0.25), expected(reading("bank", "app", at(4), 0.0), 0.5)]);
    let none = ReadingFilter { metric: Some("pool".into()), ..ReadingFilter::default() };
    assert_eq!(bed.store.readings(&none).await.unwrap(), []);
}

pub(super) async fn the_same_moment_of_a_probe_again_replaces_it(bed: Bed) {
    let run = run("a", at(0));
    bed.store.start_run(&run).await.unwrap();
    append(&bed, None, &[reading("shop", "app", at(1), 5.0)]).await;
    let again = Reading { points: Err("gone".into()), second: Some(1), ..reading("shop", "app", at(1), 0.0) };
    append(&bed, Some(&run.id), from_ref(&again)).await;
    assert_eq!(bed.store.readings(&ReadingFilter { run: Some(run.id), ..ReadingFilter::default() }).await.unwrap(), from_ref(&again));
    assert_eq!(bed.store.readings(&ReadingFilter::default()).await.unwrap(), [again]);
}

pub(super) async fn numbers_that_are_not_finite_are_left_out(bed: Bed) {
    let points = [f64::NAN, 1.0, f64::INFINITY].map(|value| Point::new("process_cpu", value)).to_vec();
    append(&bed, None, &[Reading { points: Ok(points), ..reading("shop", "app", at(1), 0.0) }]).await;
    let found = bed.store.readings(&ReadingFilter::default()).await.unwrap();
    assert_eq!(found[0].points, Ok(vec![Point::new("process_cpu", 1.0)]));
}

/// The numbers of series are remembered only once they are stored for good.
pub(super) async fn series_of_a_batch_that_failed_are_made_again(bed: Bed) {
    let first = reading("shop", "app", at(1), 5.0);
    let readings = vec![(None, first.clone()), (Some(RunId("unknown".into())), reading("shop", "db", at(1), 5.0))];
    bed.store.append(&SeriesBatch { intervals: Vec::new(), readings }).await.unwrap_err();
    append(&bed, None, from_ref(&first)).await;
    assert_eq!(bed.store.readings(&ReadingFilter::default()).await.unwrap(), from_ref(&first));
    assert_eq!(bed.opened_again().await.readings(&ReadingFilter::default()).await.unwrap(), [first]);
}

/// Whoever asks for more readings than are held in memory is told so, and can have them one by one.
pub(super) async fn more_readings_than_fit_are_shown_one_by_one(bed: Bed) {
    append(&bed, None, &[reading("shop", "app", at(0), 5.0)]).await;
    bed.sql(&format!(
        "INSERT INTO readings (probe, at, points) WITH RECURSIVE more(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM more WHERE i < {MOST_ROWS}) \
         SELECT r.probe, r.at + i, r.points FROM readings r, more"
    ))
    .await;
    let filter = ReadingFilter { target: Some("shop".into()), ..ReadingFilter::default() };
    let (mut shown, mut before) = (0, None);
    let mut take = |reading: Reading| {
        assert!(before < Some(reading.at) && reading.points.is_ok_and(|points| points.len() == 3));
        (shown, before) = (shown + 1, Some(reading.at));
    };
    bed.store.each_reading(&filter, &mut take).await.unwrap();
    assert_eq!(shown, MOST_ROWS + 1);
    let error = bed.store.readings(&filter).await.unwrap_err();
    assert!(matches!(error, StoreError::TooMany(MOST_ROWS)), "{error}");
    let fewer = ReadingFilter { from: Some(at(0).plus(Duration::from_micros(1))), ..filter };
    assert_eq!(bed.store.readings(&fewer).await.unwrap().len(), MOST_ROWS);
}
