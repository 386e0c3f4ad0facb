//! Promises about roll-ups: they say what the seconds say, whatever the resolution and the window.

use std::time::Duration;

use plimsoll::model::failure::Reason;
use plimsoll::model::histogram::LatencyHistogram;
use plimsoll::model::measure::{Accounting, Interval, ScenarioInterval, StepInterval};
use plimsoll::model::rollup::{Figures, Resolution};
use plimsoll::model::run::{Run, RunId, RunStatus};
use plimsoll::store::{FigureQuery, ReadingQuery, SeriesBatch, Store};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::runtime::Handle;
use tokio::task::block_in_place;

use super::Bed;
use super::samples::{at, reading, run};

/// Pieces that are more than any test needs.
const ALL: u32 = 10_000;

/// A second of two steps.
fn second(second: u32, latencies: &[u64], vus: u64) -> Interval {
    let step = |step: u16, failed: u64| StepInterval {
        step,
        ok: latencies.len() as u64,
        failures: if failed > 0 { [(Reason::Status(500), failed)].into() } else { [].into() },
        service_ok: LatencyHistogram::from_us(latencies.iter().map(|us| us * (u64::from(step) + 1))),
        waiting: LatencyHistogram::from_us(latencies.iter().copied()),
        bytes_sent: 10,
        resent: u64::from(second % 7 == 3) * failed,
        unheard: u64::from(second.is_multiple_of(5)) * 40,
        ..StepInterval::default()
    };
    let counts = Accounting { started: 5, dropped: u64::from(second % 2), ..Accounting::default() };
    let scenario = ScenarioInterval { counts, vus, vus_busy: vus / 2, ..ScenarioInterval::default() };
    Interval {
        second,
        steps: [(0, step(0, 0)), (1, step(1, u64::from(second % 3)))].into(),
        scenarios: [(0, scenario)].into(),
        groups: [(0, LatencyHistogram::from_us([1_000 + u64::from(second)]))].into(),
        generator_stall: Duration::from_micros(u64::from(second)),
        generator_busiest: None,
        generator_cpu: Some(0.25),
        shards: 2,
    }
}

async fn write(store: &dyn Store, run: &Run, seconds: &[Interval]) {
    for part in seconds.chunks(500) {
        let intervals = part.iter().map(|interval| (run.id.clone(), interval.clone())).collect();
        store.append(&SeriesBatch { intervals, readings: Vec::new() }).await.unwrap();
    }
}

async fn end(store: &dyn Store, run: &Run) {
    store.update_run(&Run { status: RunStatus::Finished, ended_at: Some(run.started_at), ..run.clone() }).await.unwrap();
}

fn figures(run: &Run, resolution: Resolution, from: u32, to: u32) -> FigureQuery {
    FigureQuery { run: run.id.clone(), step: None, resolution, from, to }
}

/// Every answer about a run against what its seconds say, computed here.
async fn agrees(store: &dyn Store, run: &Run, seconds: &[Interval], windows: &[(u32, u32)]) -> Result<(), TestCaseError> {
    let latencies = |seconds: &[&Interval], step: Option<u16>| {
        let mut all = LatencyHistogram::default();
        for interval in seconds {
            interval.steps.values().filter(|one| step.is_none_or(|step| step == one.step)).for_each(|one| all.merge(&one.service_ok));
        }
        all
    };
    let p95 = |histogram: &LatencyHistogram| histogram.quantile(0.95).map(|latency| latency.as_micros() as u64);
    for resolution in [Resolution::Second, Resolution::TenSeconds, Resolution::Minute, Resolution::Hour] {
        for step in [None, Some(1)] {
            let query = FigureQuery { step, ..figures(run, resolution, 0, u32::MAX) };
            let found = store.figures(&query).await.unwrap();
            let mut firsts: Vec<u32> = seconds.iter().map(|interval| resolution.floor(interval.second)).collect();
            firsts.dedup();
            prop_assert_eq!(found.iter().map(|one| one.second).collect::<Vec<_>>(), firsts, "{} {:?}", resolution, step);
            for one in found {
                let of: Vec<&Interval> = seconds.iter().filter(|interval| resolution.floor(interval.second) == one.second).collect();
                let steps =
                    || of.iter().flat_map(|interval| interval.steps.values()).filter(|other| step.is_none_or(|step| step == other.step));
                prop_assert_eq!(one.seconds as usize, of.len());
                prop_assert_eq!(one.requests, steps().map(StepInterval::requests).sum::<u64>());
                prop_assert_eq!(one.failed, steps().map(StepInterval::failed).sum::<u64>());
                prop_assert_eq!(one.p95_us, p95(&latencies(&of, step)), "{} {:?} {}", resolution, step, one.second);
                let vus = of.iter().map(|interval| interval.scenarios[&0].vus).max();
                prop_assert_eq!(one.vus, if step.is_none() { vus } else { None });
            }
        }
    }
    for (from, to) in windows {
        let of: Vec<&Interval> = seconds.iter().filter(|interval| (*from..*to).contains(&interval.second)).collect();
        let Some(window) = store.merged(&run.id, *from, *to).await.unwrap() else {
            prop_assert!(of.is_empty(), "from {} to {}", from, to);
            continue;
        };
        prop_assert_eq!((window.from, window.to, window.sum.seconds as usize), (*from, *to, of.len()));
        for (index, step) in &window.interval().steps {
            prop_assert_eq!(&step.service_ok, &latencies(&of, Some(*index)));
            prop_assert_eq!(step.requests(), of.iter().map(|interval| interval.steps[index].requests()).sum::<u64>());
            prop_assert_eq!(step.bytes_sent, 10 * of.len() as u64);
            prop_assert_eq!(step.resent, of.iter().map(|interval| interval.steps[index].resent).sum::<u64>());
            prop_assert_eq!(step.unheard, of.iter().map(|interval| interval.steps[index].unheard).sum::<u64>());
        }
        let dropped: u64 = of.iter().map(|interval| u64::from(interval.second % 2)).sum();
        prop_assert_eq!(window.sum.dropped(), dropped);
        prop_assert_eq!(window.interval().groups[&0].count(), of.len() as u64);
        prop_assert_eq!(window.interval().generator_cpu, Some(0.25 * of.len() as f64));
    }
    Ok(())
}

pub(super) async fn percentiles_and_counts_of_roll_ups_are_those_of_the_seconds(bed: Bed) {
    // Around the beginning of an hour, with gaps, and one second far away.
    let seconds = vec((1..4_u32, vec(1..2_000_000_u64, 0..5), 0..40_u64), 1..60);
    // Windows that begin and end among them, at no border of a span.
    let random = (3_500..3_620_u32, seconds, any::<bool>(), vec((3_000..3_650_u32, 1..700_u32), 8));
    let id = std::cell::Cell::new(0);
    let mut runner = TestRunner::new(Config { cases: 12, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&random, |(first, seconds, far, windows)| {
        let run = run(&format!("run-{}", id.replace(id.get() + 1)), at(0));
        let mut now = first;
        let mut intervals = Vec::new();
        for (gap, latencies, vus) in seconds {
            now += gap;
            intervals.push(second(now, &latencies, vus));
        }
        if far {
            intervals.push(second(3_000_000, &[7], 1));
        }
        let windows: Vec<(u32, u32)> = windows.into_iter().map(|(from, length)| (from, from + length)).collect();
        block_in_place(|| {
            Handle::current().block_on(async {
                let store = &*bed.store;
                store.start_run(&run).await.unwrap();
                write(store, &run, &intervals).await;
                agrees(store, &run, &intervals, &windows).await?;
                end(store, &run).await;
                store.roll_up(ALL).await.unwrap();
                agrees(store, &run, &intervals, &windows).await?;
                let counted = store.kept(&run.id).await.unwrap().unwrap();
                prop_assert_eq!(counted.rolled_seconds, intervals.last().map_or(0, |last| last.second + 1));
                prop_assert_eq!(store.roll_up(ALL).await.unwrap(), 0, "nothing is left");
                Ok(())
            })
        })
    });
    outcome.unwrap();
}

pub(super) async fn a_run_that_goes_on_is_rolled_up_behind_it_and_answers_to_its_end(bed: Bed) {
    let (run, store) = (run("a", at(0)), &*bed.store);
    let seconds: Vec<Interval> = (0..400).map(|at| second(at, &[u64::from(at) + 1], 3)).collect();
    store.start_run(&run).await.unwrap();
    for part in [0..100, 100..333, 333..400] {
        let until = part.end;
        write(store, &run, &seconds[part.clone()]).await;
        store.roll_up(ALL).await.unwrap();
        let rolled = store.kept(&run.id).await.unwrap().unwrap().rolled_seconds;
        assert_eq!(rolled as usize, (until - 30) / 10 * 10, "thirty seconds are kept back for late probes");
        agrees(store, &run, &seconds[..until], &[(0, 400), (7, 200)]).await.unwrap();
    }
    let minute = store.figures(&figures(&run, Resolution::Minute, 61, 120)).await.unwrap();
    assert_eq!(minute.iter().map(|one| (one.second, one.seconds)).collect::<Vec<_>>(), [(60, 60)], "the span that holds `from` is given");
    end(store, &run).await;
    store.roll_up(ALL).await.unwrap();
    agrees(store, &run, &seconds, &[(0, 400), (399, 400), (500, 600)]).await.unwrap();
}

pub(super) async fn what_comes_late_is_rolled_up_again(bed: Bed) {
    let (run, store) = (run("a", at(0)), &*bed.store);
    let mut seconds: Vec<Interval> = (0..130).map(|at| second(at, &[500], 1)).collect();
    store.start_run(&run).await.unwrap();
    let late = [seconds.remove(129), seconds.remove(45)];
    write(store, &run, &seconds).await;
    end(store, &run).await;
    store.roll_up(ALL).await.unwrap();
    agrees(store, &run, &seconds, &[(0, 130)]).await.unwrap();
    for one in late {
        write(store, &run, std::slice::from_ref(&one)).await;
        seconds.push(one);
        seconds.sort_by_key(|interval| interval.second);
        assert!(store.roll_up(ALL).await.unwrap() > 0);
        agrees(store, &run, &seconds, &[(0, 130), (40, 50)]).await.unwrap();
    }
}

async fn pools(store: &dyn Store, run: &RunId, resolution: Resolution) -> Vec<(u32, u64, f64, f64, f64, f64)> {
    let query = ReadingQuery { run: run.clone(), metric: "pool_in_use".into(), resolution, from: 0, to: 10_000 };
    let found = store.reading_series(&query).await.unwrap();
    assert!(found.len() <= 1 && found.iter().all(|one| one.probe == "app" && one.labels["pool"] == "main"), "{found:?}");
    let row = |span: &plimsoll::store::ReadingSpan| {
        (span.second, span.roll.samples, span.roll.min, span.roll.max, span.roll.mean(), span.roll.last)
    };
    found.iter().flat_map(|one| one.spans.iter().map(row)).collect()
}

pub(super) async fn readings_are_rolled_up_on_the_clock_of_their_run(bed: Bed) {
    // Starts in the middle of a minute of the wall clock.
    let (run, store) = (run("a", at(17)), &*bed.store);
    store.start_run(&run).await.unwrap();
    let mut batch = SeriesBatch::default();
    for number in 0..65_u32 {
        batch.intervals.push((run.id.clone(), second(number, &[9], 1)));
        let mut one = reading("shop", "app", at(17 + u64::from(number)), f64::from(number));
        one.second = Some(number);
        batch.readings.push((Some(run.id.clone()), one));
    }
    store.append(&batch).await.unwrap();
    let by_ten = [
        (0, 10, 0.0, 9.0, 4.5, 9.0),
        (10, 10, 10.0, 19.0, 14.5, 19.0),
        (20, 10, 20.0, 29.0, 24.5, 29.0),
        (30, 10, 30.0, 39.0, 34.5, 39.0),
        (40, 10, 40.0, 49.0, 44.5, 49.0),
        (50, 10, 50.0, 59.0, 54.5, 59.0),
        (60, 5, 60.0, 64.0, 62.0, 64.0),
    ];
    let by_minute = [(0, 60, 0.0, 59.0, 29.5, 59.0), (60, 5, 60.0, 64.0, 62.0, 64.0)];
    let answers = async || (pools(store, &run.id, Resolution::TenSeconds).await, pools(store, &run.id, Resolution::Minute).await);
    assert_eq!(answers().await, (by_ten.to_vec(), by_minute.to_vec()), "before anything is rolled up");
    store.roll_up(ALL).await.unwrap();
    assert_eq!(answers().await, (by_ten.to_vec(), by_minute.to_vec()), "the last half minute is not");
    end(store, &run).await;
    store.roll_up(ALL).await.unwrap();
    assert_eq!(answers().await, (by_ten.to_vec(), by_minute.to_vec()), "all is");
    assert_eq!(pools(store, &run.id, Resolution::Second).await.len(), 65);
}

pub(super) async fn readings_between_runs_are_rolled_up_by_minute_and_hour(bed: Bed) {
    let store = &*bed.store;
    // Every quarter of a minute, from two minutes before an hour until five seconds after the second minute of it; `at(0)` is 02:00.
    let taken: Vec<_> = (0..17_u64).map(|number| (None, reading("shop", "app", at(3_480 + 15 * number), number as f64))).collect();
    let (late, taken) = (taken[2].clone(), [&taken[..2], &taken[3..]].concat());
    store.append(&SeriesBatch { intervals: Vec::new(), readings: taken }).await.unwrap();
    store.roll_up(ALL).await.unwrap();
    bed.holds("SELECT count(*) FROM reading_rollups WHERE run = 0 AND resolution = 60", 12).await;
    bed.holds("SELECT count(*) FROM reading_rollups WHERE run = 0 AND resolution = 3600", 3).await;
    store.append(&SeriesBatch { intervals: Vec::new(), readings: vec![late] }).await.unwrap();
    store.roll_up(ALL).await.unwrap();
    let minute = format!(
        "SELECT CAST(sum(samples * 1000000 + sum_value * 1000 + last_value) AS BIGINT) FROM reading_rollups \
         WHERE at = {} AND resolution = 60 AND series = (SELECT num FROM series WHERE metric = 'pool_in_use')",
        at(3_480).0
    );
    bed.holds(&minute, 4_006_003).await;
    bed.holds("SELECT CAST(sum(samples) AS BIGINT) FROM reading_rollups WHERE resolution = 3600", 8 * 3).await;
    bed.holds("SELECT CAST(sum(samples) AS BIGINT) FROM reading_rollups WHERE resolution = 60", 16 * 3).await;
}

pub(super) async fn two_that_roll_up_at_once_do_it_once(bed: Bed) {
    let (run, store, other) = (run("a", at(0)), &bed.store, bed.opened_again().await);
    let seconds: Vec<Interval> = (0..700).map(|at| second(at, &[u64::from(at) + 1], 3)).collect();
    store.start_run(&run).await.unwrap();
    write(&**store, &run, &seconds).await;
    end(&**store, &run).await;
    let (one, two) = tokio::join!(store.roll_up(ALL), other.roll_up(ALL));
    assert!(one.unwrap() + two.unwrap() >= 3);
    let third: Vec<Figures> = store.figures(&figures(&run, Resolution::Minute, 0, 10_000)).await.unwrap();
    assert_eq!(third.len(), 12);
    agrees(&**store, &run, &seconds, &[(0, 700)]).await.unwrap();
}
