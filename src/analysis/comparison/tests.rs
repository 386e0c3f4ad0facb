//! Comparisons of made-up runs: what is there is found, what is not is not, and what cannot be known is said.

use std::time::Duration;

use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::model::catalog::{Catalog, PhaseWindow, ScenarioMeta, StepMeta};
use crate::model::failure::Reason;
use crate::model::histogram::LatencyHistogram;
use crate::model::measure::{Accounting, Interval, ScenarioInterval, StepInterval};
use crate::model::run::{EndedBy, Run, RunStatus, Summary, Trigger, Verdict};
use crate::model::series::{Point, Reading};
use crate::model::units::Timestamp;

/// What a made-up run is like.
#[derive(Debug, Clone)]
struct Shape {
    id: &'static str,
    seconds: u32,
    /// Median latency in milliseconds at a second.
    level: fn(u32) -> f64,
    rate: u64,
    /// Failures a second, of the requests.
    failed: u64,
    reason: Reason,
    /// Connections in use.
    pool: f64,
    seed: u64,
}

const QUIET: Shape = Shape { id: "a", seconds: 600, level: |_| 100.0, rate: 40, failed: 0, reason: Reason::Reset, pool: 8.0, seed: 1 };

fn run(shape: &Shape) -> Run {
    let window = |name: &str, from: u32, to: u32| PhaseWindow {
        name: name.into(),
        start: Duration::from_secs(from.into()),
        end: Duration::from_secs(to.into()),
        ramp: false,
    };
    let half = shape.seconds / 2;
    let scenario = ScenarioMeta {
        name: "users".into(),
        executor: "constant-vus".into(),
        open: false,
        tags: std::collections::BTreeMap::new(),
        phases: vec![window("cold", 0, half), window("warm", half, shape.seconds)],
        start: Duration::ZERO,
        duration: Duration::from_secs(shape.seconds.into()),
    };
    let step = StepMeta { scenario: 0, name: "feed".into(), protocol: "http".into(), title: "GET /feed".into(), checks: vec![] };
    Run {
        id: RunId(shape.id.into()),
        profile: "soak".into(),
        target: "shop".into(),
        trigger: Trigger { by: "cli".into(), name: None },
        digest: "d".into(),
        target_version: None,
        started_at: Timestamp(0),
        ended_at: Some(Timestamp(1)),
        status: RunStatus::Finished,
        ended_by: Some(EndedBy::Completed),
        verdict: Some(Verdict::Pass),
        reasons: vec![],
        catalog: Catalog { scenarios: vec![scenario], steps: vec![step], groups: vec![], seed: None },
        summary: Some(Summary { seconds: f64::from(shape.seconds), ..Summary::default() }),
        thresholds: vec![],
        controls: vec![],
    }
}

fn side_of(shape: &Shape, part: Option<&str>) -> Side {
    let run = run(shape);
    let mut side = Side::new(&run, Part::of(&run, part).unwrap());
    let mut dice = SmallRng::seed_from_u64(shape.seed);
    for second in 0..shape.seconds {
        let level = (shape.level)(second) * 1e3;
        let mut drawn = |count: u64| LatencyHistogram::from_us((0..count).map(|_| (level * dice.random_range(0.6..1.8)) as u64));
        let step = StepInterval {
            step: 0,
            ok: shape.rate - shape.failed,
            failures: if shape.failed > 0 { [(shape.reason.clone(), shape.failed)].into() } else { BTreeMap::new() },
            service_ok: drawn(shape.rate - shape.failed),
            ..StepInterval::default()
        };
        let counts = Accounting { scheduled: shape.rate, ..Accounting::default() };
        let scenario = ScenarioInterval { vus: 10, counts, ..ScenarioInterval::default() };
        side.interval(
            &run.catalog,
            &Interval { second, steps: [(0, step)].into(), scenarios: [(0, scenario)].into(), ..Interval::default() },
        );
        let points =
            vec![Point::new("pool_in_use", shape.pool + f64::from(second % 3)).with("pool", "main"), Point::new("pool_waiting", 0.0)];
        side.reading(&Reading { target: "shop".into(), probe: "app".into(), at: Timestamp(0), second: Some(second), points: Ok(points) });
    }
    side
}

fn found(comparison: &Comparison, figure: &str) -> Row {
    comparison.rows.iter().find(|row| row.figure == figure).cloned().unwrap()
}

/// A scatter that was measured over eleven nights.
fn known(relative: f64) -> Scatter {
    let figures = ["p50", "p95", "p99", "throughput", "error_rate", "pool_in_use"];
    Scatter { runs: 11, relative: figures.into_iter().map(|figure| (figure.to_owned(), relative)).collect() }
}

#[test]
fn a_slower_build_is_worse_by_its_ratio_and_the_rest_is_the_same() {
    let slower = Shape { id: "b", level: |_| 125.0, seed: 2, ..QUIET };
    let told = compare(&side_of(&QUIET, None), &side_of(&slower, None), Some(&known(0.01)));
    let p95 = found(&told, "p95");
    let ratio = p95.ratio.unwrap();
    assert_eq!((told.outcome, p95.outcome), (Outcome::Worse, Outcome::Worse));
    assert!((ratio.value - 1.25).abs() < 0.02 && ratio.low > 1.1 && ratio.low < 1.25 && ratio.high > 1.25 && ratio.high < 1.4, "{ratio:?}");
    assert_eq!(
        [found(&told, "throughput").outcome, found(&told, "error_rate").outcome, found(&told, "pool_in_use").outcome],
        [Outcome::Same; 3]
    );
    assert!(told.sentence.starts_with("Worse: p50 +25") && told.doubt.contains("11 comparable runs"), "{} {}", told.sentence, told.doubt);
    // And the other way round it is better.
    let back = compare(&side_of(&slower, None), &side_of(&QUIET, None), Some(&known(0.01)));
    assert_eq!(back.outcome, Outcome::Better);
}

#[test]
fn two_nights_of_the_same_build_are_the_same_or_cannot_be_told_apart() {
    // Nights differ by more than requests within them: 4 % here, with a scatter of 3 % between nights.
    let another = Shape { id: "b", level: |_| 104.0, seed: 3, ..QUIET };
    for scatter in [None, Some(&known(0.03))] {
        let told = compare(&side_of(&QUIET, None), &side_of(&another, None), scatter);
        assert!(matches!(told.outcome, Outcome::CannotTell | Outcome::Same), "{}", told.sentence);
        assert_eq!(found(&told, "p95").outcome, Outcome::CannotTell);
    }
    let again = Shape { id: "b", seed: 4, ..QUIET };
    let told = compare(&side_of(&QUIET, None), &side_of(&again, None), Some(&known(0.01)));
    assert!(told.outcome == Outcome::Same && told.warnings.iter().all(|warning| warning.kind == "short"), "{told:?}");
}

#[test]
fn phases_of_one_run_need_no_scatter_between_runs() {
    let cache = Shape { level: |second| if second < 300 { 100.0 } else { 94.0 }, ..QUIET };
    let told = compare(&side_of(&cache, Some("cold")), &side_of(&cache, Some("warm")), None);
    let p50 = found(&told, "p50");
    assert_eq!((p50.outcome, told.second.part.as_deref(), told.second.seconds), (Outcome::Better, Some("warm"), 300));
    assert!((p50.ratio.unwrap().value - 0.94).abs() < 0.02 && told.doubt.contains("both are of one run"), "{told:?}");
    let unknown = Part::of(&run(&cache), Some("hot")).unwrap_err();
    assert_eq!(unknown.to_string(), "run a has no phase `hot`; it has cold, users, warm");
    assert_eq!(side_of(&cache, Some("users/warm")).seconds(), 300);
}

#[test]
fn a_shape_that_both_runs_share_is_no_doubt() {
    // Latency climbs tenfold over the run; blocks drawn in pairs do not mind.
    let climbing = Shape { level: |second| 20.0 + f64::from(second) / 3.0, ..QUIET };
    let slower = Shape { id: "b", level: |second| 24.0 + f64::from(second) / 2.5, seed: 5, ..QUIET };
    let told = compare(&side_of(&climbing, None), &side_of(&slower, None), Some(&known(0.01)));
    let ratio = found(&told, "p50").ratio.unwrap();
    assert!(ratio.low > 1.1 && ratio.high < 1.32, "{ratio:?}");
}

#[test]
fn reasons_are_new_gone_or_not_to_be_told() {
    let failing = Shape { id: "b", failed: 2, reason: Reason::Status(503), seed: 6, ..QUIET };
    let told = compare(&side_of(&QUIET, None), &side_of(&failing, None), None);
    let row = &told.reasons[0];
    assert_eq!((row.fate, row.first, row.second, row.steps.as_slice()), (Fate::New, 0, 1200, &["feed".to_owned()][..]));
    assert!(told.outcome == Outcome::Worse && told.sentence.contains("failures `status_503` are new"), "{}", told.sentence);
    let errors = found(&told, "error_rate");
    assert!(errors.outcome == Outcome::Worse && (errors.difference.unwrap().value - 0.05).abs() < 1e-9 && errors.ratio.is_none());
    let back = compare(&side_of(&failing, None), &side_of(&QUIET, None), None);
    assert_eq!((back.reasons[0].fate, found(&back, "error_rate").outcome), (Fate::Gone, Outcome::Better));
    // One failure of many thousand might as well have fallen to the other side.
    let mut once = side_of(&Shape { id: "c", ..QUIET }, None);
    for steps in [&mut once.total].into_iter().chain(once.steps.values_mut()) {
        steps.reasons.insert(Reason::Reset, 1);
        steps.blocks[3].failed = 1;
    }
    let told = compare(&side_of(&QUIET, None), &once, None);
    assert_eq!((told.reasons[0].fate, found(&told, "error_rate").outcome), (Fate::CannotTell, Outcome::Same));
}

#[test]
fn what_speaks_against_comparing_is_said() {
    let mut other = side_of(&Shape { id: "b", rate: 80, ..QUIET }, None);
    other.target = "prod".into();
    other.digest = "e".into();
    other.verdict = Some(Verdict::Invalid);
    other.ended_by = Some(EndedBy::Threshold);
    other.lost = 3;
    let told = compare(&side_of(&QUIET, None), &other, None);
    let kinds: Vec<&str> = told.warnings.iter().map(|warning| warning.kind).collect();
    assert_eq!(
        kinds,
        ["other_target", "other_profile", "generator_unfit", "cut_short", "seconds_lost", "short", "short", "other_load"],
        "{:#?}",
        told.warnings
    );
    assert_eq!(
        (told.outcome, told.sentence.as_str()),
        (Outcome::CannotTell, "The two cannot be compared; the figures are for reading only.")
    );
    let nothing = Side::new(&run(&QUIET), Part::of(&run(&QUIET), None).unwrap());
    let told = compare(&side_of(&QUIET, None), &nothing, None);
    assert!(told.outcome == Outcome::CannotTell && told.warnings.iter().any(|warning| warning.kind == "nothing_measured"));
}

#[test]
fn a_short_run_cannot_be_told() {
    let short = |id| side_of(&Shape { id, seconds: 4, ..QUIET }, None);
    let told = compare(&short("a"), &short("b"), None);
    assert_eq!((told.outcome, found(&told, "p95").outcome), (Outcome::CannotTell, Outcome::CannotTell));
    assert!(told.warnings.iter().any(|warning| warning.kind == "too_short"));
}

#[test]
fn what_was_nothing_and_is_something_has_a_difference_but_no_ratio() {
    let first = side_of(&QUIET, None);
    let mut second = side_of(&Shape { id: "b", ..QUIET }, None);
    let waiting = second.series.iter_mut().find(|((_, metric, _), _)| metric == "pool_waiting").unwrap().1;
    waiting.iter_mut().flatten().for_each(|value| *value = 6.0);
    let told = compare(&first, &second, None);
    let row = found(&told, "pool_waiting");
    assert!(row.outcome == Outcome::Worse && row.ratio.is_none() && (row.difference.unwrap().value - 6.0).abs() < 1e-9, "{row:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn intervals_hold_what_was_measured(seconds in 1_u32..90, rate in 1_u64..9, failed in 0_u64..9, seed in 0_u64..99) {
        let shape = Shape { seconds, rate, failed: failed.min(rate), seed, ..QUIET };
        let other = Shape { id: "b", seed: seed + 1, ..shape.clone() };
        let told = compare(&side_of(&shape, None), &side_of(&other, None), None);
        for row in &told.rows {
            for estimate in [row.ratio, row.difference].into_iter().flatten().filter(|one| one.low.is_finite()) {
                prop_assert!(estimate.low <= estimate.value + 1e-12 && estimate.value <= estimate.high + 1e-12, "{:?}", row);
            }
        }
        prop_assert!(serde_json::to_string(&told).is_ok());
    }
}
