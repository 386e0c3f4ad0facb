//! Promises about the seconds of a run.

use std::slice::from_ref;
use std::time::Duration;

use plimsoll::model::failure::{Phase, Reason};
use plimsoll::model::histogram::{HIGHEST_US, LatencyHistogram};
use plimsoll::model::measure::{Accounting, CheckCount, Interval, PhaseSums, ScenarioInterval, StepInterval};
use plimsoll::model::message::{Messages, Said};
use plimsoll::model::rollup::Resolution;
use plimsoll::model::run::{Run, RunId, RunStatus};
use plimsoll::store::{MOST_SECONDS, ReadingFilter, SeriesBatch, StoreError};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::runtime::Handle;
use tokio::task::block_in_place;

use super::Bed;
use super::samples::{at, interval, reading, run};

/// What a database's whole numbers hold.
fn count() -> impl Strategy<Value = u64> {
    prop_oneof![0..1_000_u64, 0..=i64::MAX as u64, Just(0), Just(i64::MAX as u64)]
}

/// What is hardly ever more than 0.
fn rarely() -> impl Strategy<Value = u64> {
    prop_oneof![3 => Just(0), 1 => count()]
}

fn histogram() -> impl Strategy<Value = LatencyHistogram> {
    vec(1..=HIGHEST_US, 0..40).prop_map(LatencyHistogram::from_us)
}

fn reason() -> impl Strategy<Value = Reason> {
    prop_oneof![
        Just(Reason::Reset),
        Just(Reason::Timeout(Phase::Waiting)),
        (100..600_u16).prop_map(Reason::Status),
        "[ -~äöü:“]{0,12}".prop_map(Reason::Check),
    ]
}

fn messages() -> impl Strategy<Value = Messages> {
    let said = (count(), "\\PC{0,30}").prop_map(|(count, sample)| Said { count, sample });
    (btree_map("\\PC{0,20}", said, 0..4), count()).prop_map(|(by, beyond)| Messages { by, beyond })
}

prop_compose! {
    fn phases()(us in proptest::array::uniform7(0..1_u64 << 50)) -> PhaseSums {
        let [blocked_us, dns_us, connecting_us, tls_us, sending_us, waiting_us, receiving_us] = us;
        PhaseSums { blocked_us, dns_us, connecting_us, tls_us, sending_us, waiting_us, receiving_us }
    }
}

prop_compose! {
    fn step()(
        ok in count(),
        failures in btree_map(reason(), 1..1_000_000_u64, 0..4),
        messages in btree_map(reason(), messages(), 0..3),
        histograms in proptest::array::uniform5(histogram()),
        phases in phases(),
        bytes in (count(), count(), count()),
        rare in (rarely(), rarely(), rarely()),
        checks in vec((count(), count()), 0..4),
    ) -> StepInterval {
        let [response_ok, response_failed, service_ok, service_failed, waiting] = histograms;
        let (bytes_sent, bytes_received, connections) = bytes;
        let checks = checks.into_iter().map(|(passed, failed)| CheckCount { passed, failed }).collect();
        StepInterval { step: 0, ok, failures, messages, response_ok, response_failed, service_ok, service_failed, waiting, phases, bytes_sent, bytes_received, connections, checks, resent: rare.0, unheard: rare.1, unanswered: rare.2 }
    }
}

prop_compose! {
    fn scenario()(broke_off in btree_map(reason(), 1..1_000_000_u64, 0..3), counts in proptest::array::uniform7(count()), vus in (count(), count(), count()), histograms in proptest::array::uniform3(histogram())) -> ScenarioInterval {
        let [scheduled, started, completed, failed, interrupted, dropped, unsent] = counts;
        let [iteration_duration, dropped_wait, start_lag] = histograms;
        let counts = Accounting { scheduled, started, completed, failed, interrupted, dropped, unsent };
        ScenarioInterval { scenario: 0, counts, vus: vus.0, vus_busy: vus.1, with_failed_check: vus.2, broke_off, iteration_duration, dropped_wait, start_lag }
    }
}

prop_compose! {
    fn any_interval()(
        steps in btree_map(any::<u16>(), step(), 0..4),
        scenarios in btree_map(any::<u16>(), scenario(), 0..3),
        groups in btree_map(any::<u16>(), histogram(), 0..3),
        stall_us in 0..1_u64 << 40,
        cpu in proptest::option::of(prop::num::f64::POSITIVE | prop::num::f64::ZERO),
        shards in any::<u32>(),
    ) -> Interval {
        Interval {
            second: 0,
            steps: steps.into_iter().map(|(index, step)| (index, StepInterval { step: index, ..step })).collect(),
            scenarios: scenarios.into_iter().map(|(index, scenario)| (index, ScenarioInterval { scenario: index, ..scenario })).collect(),
            groups,
            generator_stall: Duration::from_micros(stall_us),
            generator_busiest: None,
            generator_cpu: cpu,
            shards,
        }
    }
}

fn batch(run: &RunId, intervals: &[Interval]) -> SeriesBatch {
    SeriesBatch { intervals: intervals.iter().map(|interval| (run.clone(), interval.clone())).collect(), readings: Vec::new() }
}

pub(super) async fn intervals_survive_exactly(bed: Bed) {
    let random = btree_map(prop_oneof![0..1_000_u32, Just(u32::MAX - 1)], any_interval(), 1..5);
    let id = std::cell::Cell::new(0);
    let mut runner = TestRunner::new(Config { cases: 24, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&random, |seconds| {
        let run = run(&format!("run-{}", id.replace(id.get() + 1)), at(0));
        let intervals: Vec<_> = seconds.into_iter().map(|(second, interval)| Interval { second, ..interval }).collect();
        let found = block_in_place(|| {
            Handle::current().block_on(async {
                bed.store.start_run(&run).await.unwrap();
                bed.store.append(&batch(&run.id, &intervals)).await.unwrap();
                bed.store.intervals(&run.id, 0, u32::MAX).await.unwrap()
            })
        });
        prop_assert_eq!(found, intervals);
        Ok(())
    });
    outcome.unwrap();
}

pub(super) async fn seconds_come_in_order_from_up_to(bed: Bed) {
    let (one, other) = (run("one", at(0)), run("other", at(3)));
    for run in [&one, &other] {
        bed.store.start_run(run).await.unwrap();
    }
    bed.store.append(&batch(&one.id, &[5, 3, 9, 4].map(interval))).await.unwrap();
    bed.store.append(&batch(&other.id, &[0, 1, 2, 3, 4].map(interval))).await.unwrap();
    bed.store.append(&batch(&one.id, &[interval(8)])).await.unwrap();
    for (from, to, expected) in [(0, 100, vec![3, 4, 5, 8, 9]), (4, 8, vec![4, 5]), (4, 9, vec![4, 5, 8]), (6, 8, vec![]), (9, 3, vec![])] {
        let found = bed.store.intervals(&one.id, from, to).await.unwrap();
        assert_eq!(found, expected.into_iter().map(interval).collect::<Vec<_>>(), "from {from} to {to}");
    }
}

pub(super) async fn the_same_second_again_replaces_it(bed: Bed) {
    let run = run("a", at(0));
    bed.store.start_run(&run).await.unwrap();
    bed.store.append(&batch(&run.id, &[interval(0), interval(1)])).await.unwrap();
    let mut smaller = interval(1);
    smaller.steps.remove(&3);
    smaller.scenarios.clear();
    smaller.shards = 7;
    smaller.generator_cpu = None;
    bed.store.append(&batch(&run.id, from_ref(&smaller))).await.unwrap();
    assert_eq!(bed.store.intervals(&run.id, 0, 10).await.unwrap(), [interval(0), smaller]);
}

pub(super) async fn a_batch_with_an_unknown_run_changes_nothing(bed: Bed) {
    let known = run("known", at(0));
    bed.store.start_run(&known).await.unwrap();
    let mut mixed = batch(&known.id, &[interval(0)]);
    mixed.readings.push((None, reading("shop", "app", at(0), 5.0)));
    mixed.intervals.push((RunId("unknown".into()), interval(0)));
    let error = bed.store.append(&mixed).await.unwrap_err();
    assert_eq!(error.to_string(), "the database refused: run unknown is not stored");
    assert_eq!(bed.store.intervals(&known.id, 0, 10).await.unwrap(), []);
    assert_eq!(bed.store.readings(&ReadingFilter::default()).await.unwrap(), []);
}

pub(super) async fn a_run_that_is_not_stored_has_no_seconds(bed: Bed) {
    let unknown = RunId("unknown".into());
    assert_eq!(bed.store.intervals(&unknown, 0, 10).await.unwrap(), []);
    assert_eq!(bed.store.readings(&ReadingFilter { run: Some(unknown), ..ReadingFilter::default() }).await.unwrap(), []);
    bed.store.append(&SeriesBatch::default()).await.unwrap();
}

/// Databases of earlier versions hold HDR's V2 encoding, and an empty histogram is NULL.
pub(super) async fn histograms_of_both_forms_are_read(bed: Bed) {
    let run = run("a", at(0));
    bed.store.start_run(&run).await.unwrap();
    bed.store.append(&batch(&run.id, &[interval(0)])).await.unwrap();
    bed.sql("UPDATE step_intervals SET response_failed = response_ok, response_ok = NULL WHERE step = 3 AND waiting IS NULL").await;
    let found = bed.store.intervals(&run.id, 0, 1).await.unwrap();
    let expected = interval(0).steps[&3].response_ok.clone();
    assert_eq!((&found[0].steps[&3].response_ok, &found[0].steps[&3].response_failed), (&LatencyHistogram::default(), &expected));
    bed.sql(&format!("UPDATE step_intervals SET response_failed = {} WHERE step = 3", bed.literal(&expected.to_v2()))).await;
    assert_eq!(bed.store.intervals(&run.id, 0, 1).await.unwrap()[0].steps[&3].response_failed, expected);
}

/// Response time of a closed scenario is service time; waiting is nearly all of it. With failures, waiting is of all answered requests.
pub(super) async fn latencies_that_tell_the_same_are_stored_once(bed: Bed) {
    let run = run("a", at(0));
    bed.store.start_run(&run).await.unwrap();
    let of = |from: u64, count: u64| LatencyHistogram::from_us((0..count).map(|number| from + number * 777));
    let step = StepInterval {
        step: 3,
        ok: 100,
        response_ok: of(20_000, 100),
        response_failed: of(900_000, 20),
        service_ok: of(20_000, 100),
        service_failed: of(900_000, 20),
        waiting: LatencyHistogram::from_us(
            (0..100).map(|number| 19_999 + number * 777).chain((0..20).map(|number| 899_999 + number * 777)),
        ),
        ..StepInterval::default()
    };
    let open = StepInterval { step: 4, response_ok: of(31_000, 90), ..step.clone() };
    let second = Interval { steps: [(3, step), (4, open)].into(), shards: 1, ..Interval::default() };
    bed.store.append(&batch(&run.id, std::slice::from_ref(&second))).await.unwrap();
    assert_eq!(bed.store.intervals(&run.id, 0, 1).await.unwrap(), std::slice::from_ref(&second));
    assert_eq!(bed.store.merged(&run.id, 0, 1).await.unwrap().unwrap().interval().steps, second.steps, "added up, it is the same");
    bed.holds("SELECT CAST(length(response_ok) + length(response_failed) AS BIGINT) FROM step_intervals WHERE step = 3", 2).await;
    bed.holds("SELECT count(*) FROM step_intervals WHERE step = 3 AND length(waiting) * 2 < length(service_ok)", 1).await;
    let whole = Run { status: RunStatus::Finished, ended_at: Some(at(1)), ..run };
    bed.store.update_run(&whole).await.unwrap();
    bed.store.roll_up(10).await.unwrap();
    let hour = bed.store.rolled(&whole.id, Resolution::Hour, 0, 10).await.unwrap();
    assert_eq!(hour[0].interval.steps, second.steps);
    // What is told by another cannot be read without it.
    bed.sql("UPDATE step_intervals SET service_ok = NULL WHERE step = 3").await;
    let error = bed.store.intervals(&whole.id, 0, 1).await.unwrap_err().to_string();
    assert!(error.contains("column response_ok: is not a histogram"), "{error}");
    bed.sql("UPDATE runs SET rolled_seconds = 0, rolled = 0").await;
    let error = bed.store.merged(&whole.id, 0, 1).await.unwrap_err().to_string();
    assert!(error.contains("step 3 of a second is damaged"), "{error}");
}

/// What hardly ever happens is stored where it did; a row without it is what an older program wrote, too.
pub(super) async fn what_hardly_ever_happens_is_counted(bed: Bed) {
    let run = run("a", at(0));
    bed.store.start_run(&run).await.unwrap();
    let step =
        |step, resent, unheard| (step, StepInterval { step, ok: 5, resent, unheard, unanswered: unheard / 30, ..StepInterval::default() });
    let second = |second, steps: [(u16, StepInterval); 3]| Interval { second, steps: steps.into(), shards: 1, ..Interval::default() };
    let seconds = [second(0, [step(0, 0, 0), step(1, 2, 0), step(2, 0, 0)]), second(1, [step(0, 0, 0), step(1, 1, 30), step(2, 0, 310)])];
    bed.store.append(&batch(&run.id, &seconds)).await.unwrap();
    assert_eq!(bed.store.intervals(&run.id, 0, 2).await.unwrap(), seconds);
    bed.holds("SELECT count(*) FROM step_intervals WHERE rare IS NULL", 3).await;
    let counts = |steps: &std::collections::BTreeMap<u16, StepInterval>| {
        steps.values().map(|step| (step.ok, step.resent, step.unheard, step.unanswered)).collect::<Vec<_>>()
    };
    let both = [(10, 0, 0, 0), (10, 3, 30, 1), (10, 0, 310, 10)];
    assert_eq!(counts(&bed.store.merged(&run.id, 0, 2).await.unwrap().unwrap().interval().steps), both);
    let ended = Run { status: RunStatus::Finished, ended_at: Some(at(2)), ..run };
    bed.store.update_run(&ended).await.unwrap();
    bed.store.roll_up(10).await.unwrap();
    for resolution in [Resolution::TenSeconds, Resolution::Minute, Resolution::Hour] {
        let spans = bed.store.rolled(&ended.id, resolution, 0, 10).await.unwrap();
        assert_eq!(spans.iter().map(|span| counts(&span.interval.steps)).collect::<Vec<_>>(), [both], "{resolution}");
    }
    bed.holds("SELECT count(*) FROM step_rollups WHERE rare IS NULL", 3).await;
    bed.sql("UPDATE step_intervals SET rare = '{\"resent\": \"often\"}' WHERE step = 2").await;
    let error = bed.store.intervals(&ended.id, 0, 2).await.unwrap_err().to_string();
    assert!(error.starts_with("stored data is damaged: ") && error.contains("column rare: "), "{error}");
}

/// Small and huge numbers, with and without failures and connections: sums are made of other forms of the rows.
pub(super) async fn seconds_add_up_whatever_their_numbers(bed: Bed) {
    let number = || prop_oneof![Just(0), 1..100_000_u64, 1_u64 << 31..1 << 37, 1_u64 << 50..1 << 55];
    let numbers = vec((0..3_u16, proptest::array::uniform10(number()), vec((0..9_u64, number()), 0..3), any::<bool>()), 1..8);
    let id = std::cell::Cell::new(0);
    let mut runner = TestRunner::new(Config { cases: 16, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&numbers, |seconds| {
        let run = run(&format!("run-{}", id.replace(id.get() + 1)), at(0));
        let step = |(step, n, checks, connected): &(u16, [u64; 10], Vec<(u64, u64)>, bool)| StepInterval {
            step: *step * 30_000,
            ok: n[0],
            phases: PhaseSums {
                connecting_us: if *connected { n[1] } else { 0 },
                sending_us: n[2],
                waiting_us: n[3],
                receiving_us: n[4],
                ..PhaseSums::default()
            },
            bytes_sent: n[5],
            bytes_received: n[6],
            connections: if *connected { n[7] } else { 0 },
            service_ok: LatencyHistogram::from_us([n[8]]),
            failures: if n[9] == 0 { [(Reason::Status(500), 2)].into() } else { [].into() },
            checks: checks.iter().map(|(passed, failed)| CheckCount { passed: *passed, failed: *failed }).collect(),
            ..StepInterval::default()
        };
        let steps: Vec<StepInterval> = seconds.iter().map(step).collect();
        let mut expected = std::collections::BTreeMap::new();
        for one in &steps {
            expected.entry(one.step).or_insert_with(|| StepInterval { step: one.step, ..StepInterval::default() }).merge(one);
        }
        let second =
            |(second, one): (u32, &StepInterval)| Interval { second, steps: [(one.step, one.clone())].into(), ..Interval::default() };
        let intervals: Vec<Interval> = (0..).zip(&steps).map(second).collect();
        let found = block_in_place(|| {
            Handle::current().block_on(async {
                bed.store.start_run(&run).await.unwrap();
                bed.store.append(&batch(&run.id, &intervals)).await.unwrap();
                bed.store.merged(&run.id, 0, 100).await.unwrap().unwrap()
            })
        });
        prop_assert_eq!(&found.interval().steps, &expected);
        Ok(())
    });
    outcome.unwrap();
}

/// Whoever asks for more seconds than are held in memory is told so.
pub(super) async fn more_seconds_than_fit_are_refused_not_cut(bed: Bed) {
    let run = run("a", at(0));
    bed.store.start_run(&run).await.unwrap();
    let most = MOST_SECONDS as u32;
    let seconds: Vec<Interval> = (0..=most).map(|second| Interval { second, shards: 1, ..Interval::default() }).collect();
    bed.store.append(&batch(&run.id, &seconds)).await.unwrap();
    assert_eq!(bed.store.intervals(&run.id, 1, u32::MAX).await.unwrap(), seconds[1..]);
    let error = bed.store.intervals(&run.id, 0, u32::MAX).await.unwrap_err();
    assert!(matches!(error, StoreError::TooMany(MOST_SECONDS)) && !error.is_passing(), "{error}");
    assert_eq!(bed.store.rolled(&run.id, Resolution::Second, 0, most).await.unwrap().len(), MOST_SECONDS);
    assert!(matches!(bed.store.rolled(&run.id, Resolution::Second, 0, most + 1).await, Err(StoreError::TooMany(MOST_SECONDS))));
    assert_eq!(bed.store.merged(&run.id, 0, u32::MAX).await.unwrap().unwrap().sum.seconds, most + 1, "a sum is of as many as there are");
}
