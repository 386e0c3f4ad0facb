//! What steering does to start times, VU numbers and phases: by hand, and for random profiles and random decisions.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::executor::schedule::{Leaving, stages_to};
use crate::model::profile::VuPool;
use crate::model::staircase::Staircase;

const MS: Duration = Duration::from_millis(1);

fn scenario(executor: Executor) -> Scenario {
    Scenario {
        name: "main".into(),
        executor,
        start_time: Duration::ZERO,
        start_after: None,
        spacing: crate::model::profile::Spacing::default(),
        when_busy: crate::model::profile::WhenBusy::default(),
        graceful_stop: Duration::ZERO,
        pace: None,
        tags: BTreeMap::new(),
        data: Vec::new(),
        http: crate::model::request::HttpOptions::default(),
        flow: Vec::new(),
    }
}

fn stage(ms: u64, target: f64) -> Stage {
    Stage { duration: Duration::from_millis(ms), target, name: None }
}

/// Starts at a constant rate for ten seconds.
fn constant(per_second: f64) -> Course {
    let vus = VuPool { pre_allocated: 1, max: 1 };
    let executor = Executor::ConstantArrivalRate { rate: Rate::per_second(per_second), duration: Duration::from_secs(10), vus };
    Course::new(&scenario(executor))
}

fn vus(start_vus: u64, stages: Vec<Stage>) -> Course {
    Course::new(&scenario(Executor::RampingVus { start_vus, stages, graceful_ramp_down: Duration::ZERO }))
}

fn steer(course: &mut Course, ms: u64, mode: Mode, scale: Option<Scale>) {
    course.change(Change { at: Duration::from_millis(ms), mode, scale });
}

fn starts(course: &Course) -> Vec<u64> {
    (0..100_000).map_while(|n| course.start_of(n)).map(|at| (at.as_secs_f64() * 1e3).round() as u64).collect()
}

#[test]
fn what_is_not_steered_is_the_profile() {
    let course = constant(2.0);
    assert_eq!((course.begin(), course.end()), (Some(Duration::ZERO), Some(Duration::from_secs(10))));
    assert_eq!(starts(&course), (0..20).map(|n| n * 500).collect::<Vec<_>>());
    let mut later = scenario(Executor::ConstantVus { vus: 3, duration: Duration::from_secs(4) });
    later.start_time = Duration::from_secs(2);
    let course = Course::new(&later);
    let seen: Vec<u64> = (0..8).map(|second| course.vus_at(Duration::from_secs(second))).collect();
    assert_eq!(seen, [0, 0, 3, 3, 3, 3, 0, 0]);
    assert_eq!(course.next_change(Duration::ZERO), Some(Duration::from_secs(2)));
}

#[test]
fn a_pause_moves_what_comes_after_it() {
    let mut course = constant(1.0);
    steer(&mut course, 2_500, Mode::Paused, None);
    assert_eq!((starts(&course), course.end()), (vec![0, 1_000, 2_000], None));
    steer(&mut course, 7_000, Mode::Running, None);
    assert_eq!(starts(&course), [0, 1_000, 2_000, 7_500, 8_500, 9_500, 10_500, 11_500, 12_500, 13_500]);
    assert_eq!(course.end(), Some(Duration::from_millis(14_500)));
    assert!(course.is_paused_at(2_500 * MS) && course.is_paused_at(6_999 * MS) && !course.is_paused_at(7_000 * MS));
}

#[test]
fn a_held_ramp_goes_on_at_its_level() {
    let mut course = vus(0, vec![stage(10_000, 10.0)]);
    steer(&mut course, 4_000, Mode::Held, None);
    assert_eq!([3_999, 4_000, 90_000].map(|ms| course.vus_at(ms * MS)), [3, 4, 4]);
    steer(&mut course, 100_000, Mode::Running, None);
    assert_eq!([100_999, 101_000, 105_999].map(|ms| course.vus_at(ms * MS)), [4, 5, 9]);
    assert_eq!(course.end(), Some(Duration::from_secs(106)));
    let mut rate = Course::new(&scenario(Executor::RampingArrivalRate {
        start_rate: Rate::per_second(0.0),
        stages: vec![stage(10_000, 10.0)],
        vus: VuPool { pre_allocated: 1, max: 1 },
    }));
    // Two starts a second are due at second 2, after an area of two starts.
    steer(&mut rate, 2_000, Mode::Held, None);
    assert_eq!(starts(&rate)[..6], [1_414, 2_000, 2_500, 3_000, 3_500, 4_000]);
}

#[test]
fn the_load_is_scaled_by_a_factor_or_replaced() {
    let mut course = constant(1.0);
    steer(&mut course, 4_000, Mode::Running, Some(Scale::Factor(2.0)));
    steer(&mut course, 6_000, Mode::Running, Some(Scale::Rate(Rate::per_second(4.0))));
    steer(&mut course, 7_000, Mode::Running, None);
    assert_eq!(starts(&course), [0, 1_000, 2_000, 3_000, 4_000, 4_500, 5_000, 5_500, 6_000, 6_250, 6_500, 6_750, 7_000, 8_000, 9_000]);
    assert_eq!(course.end(), Some(Duration::from_secs(10)), "the clock of the profile runs as ever");
    let rates = [3_000, 5_000, 6_500, 8_000, 11_000].map(|ms| course.rate_at(ms * MS).unwrap().round());
    assert_eq!(rates.map(|rate| rate as u64), [1, 2, 4, 1, 0]);
    let mut course = vus(8, vec![stage(10_000, 8.0)]);
    steer(&mut course, 1_000, Mode::Running, Some(Scale::Factor(0.25)));
    steer(&mut course, 2_000, Mode::Running, Some(Scale::Vus(30)));
    steer(&mut course, 3_000, Mode::Paused, Some(Scale::Vus(30)));
    assert_eq!([0, 1_000, 2_000, 3_000].map(|ms| course.vus_at(ms * MS)), [8, 2, 30, 30]);
    assert_eq!(course.next_change(1_500 * MS), Some(2_000 * MS));
}

#[test]
fn a_vu_that_has_its_own_iterations_is_not_multiplied() {
    let max_duration = Duration::from_secs(10);
    let mut course = Course::new(&scenario(Executor::PerVuIterations { vus: 4, iterations: 2, max_duration }));
    steer(&mut course, 1_000, Mode::Running, Some(Scale::Vus(9)));
    steer(&mut course, 2_000, Mode::Running, Some(Scale::Vus(1)));
    assert_eq!([0, 1_000, 2_000].map(|ms| course.vus_at(ms * MS)), [4, 4, 1]);
}

#[test]
fn a_pause_before_the_begin_delays_it() {
    let mut later = scenario(Executor::ConstantVus { vus: 1, duration: Duration::from_secs(1) });
    later.start_time = Duration::from_secs(5);
    let mut course = Course::new(&later);
    steer(&mut course, 2_000, Mode::Paused, None);
    assert_eq!((course.begin(), course.end()), (None, None));
    steer(&mut course, 4_000, Mode::Running, None);
    assert_eq!((course.begin(), course.end()), (Some(Duration::from_secs(7)), Some(Duration::from_secs(8))));
}

#[test]
fn phases_follow_the_run() {
    let mut course = vus(0, vec![Stage { name: Some("up".into()), ..stage(4_000, 4.0) }, stage(4_000, 4.0)]);
    let shown = |course: &Course| -> Vec<(String, u64, u64, bool)> {
        let windows = course.windows().into_iter();
        windows.map(|one| (one.name, one.start.as_millis() as u64, one.end.as_millis() as u64, one.ramp)).collect()
    };
    assert_eq!(shown(&course), [("up".into(), 0, 4_000, true), ("stage-2".into(), 4_000, 8_000, false)]);
    steer(&mut course, 2_000, Mode::Held, None);
    steer(&mut course, 3_000, Mode::Running, None);
    steer(&mut course, 6_000, Mode::Paused, None);
    let held = [("up".into(), 0, 2_000, true), ("up".into(), 2_000, 3_000, false), ("up".into(), 3_000, 5_000, true)];
    assert_eq!(shown(&course)[..3], held);
    assert_eq!(shown(&course)[3], ("stage-2".into(), 5_000, 6_000, false));
    assert_eq!((shown(&course)[4].0.as_str(), shown(&course)[4].3), ("paused", true));
    steer(&mut course, 9_000, Mode::Running, None);
    assert_eq!(shown(&course)[4..], [("paused".into(), 6_000, 9_000, true), ("stage-2".into(), 9_000, 12_000, false)]);
}

fn decide(course: &mut Course, decisions: &[Change]) {
    for change in decisions {
        course.change(*change);
    }
}

#[test]
fn a_climb_goes_on_at_its_level_until_the_next_is_decided() {
    let pool = VuPool { pre_allocated: 1, max: 1 };
    for (unit, gate) in [(StairUnit::Vus, true), (StairUnit::Rate { per: Duration::from_secs(1), vus: pool }, true)] {
        let threshold = crate::model::threshold::Threshold {
            text: "http_req_failed: rate < 1%".into(),
            series: crate::model::threshold::parse_series("http_req_failed: rate < 1%").unwrap(),
            abort_on_fail: false,
            delay_abort_eval: Duration::ZERO,
            exclude_ramp: false,
            severity: crate::model::alerting::Severity::High,
        };
        let stairs = Staircase {
            unit,
            levels: vec![10.0, 20.0, 30.0],
            hold: Duration::from_secs(5),
            ramp: Duration::from_secs(2),
            rest: Duration::ZERO,
            gate: if gate { vec![threshold] } else { vec![] },
            stop_on_fail: true,
            resolution: None,
            must_reach: None,
        };
        let mut course = Course::new(&scenario(Executor::Staircase(Box::new(stairs.clone()))));
        let level = |course: &Course, ms: u32| course.rate_at(ms * MS).map_or(course.vus_at(ms * MS), |rate| rate.round() as u64);
        assert_eq!((course.end(), level(&course, 900_000)), (None, 10), "nobody has decided yet");
        let before = until(&course, 6 * Duration::from_secs(1));
        // At 6.5 s it is decided to go on; the level was judged for 1.5 s.
        let wait = course.clock_at(6_500 * MS).unwrap().saturating_sub(course.climbed());
        course.extend(&stages_to(&stairs, Some(Leaving { level: 10.0, judged_for: wait, rests: false }), Some(20.0)), false);
        assert_eq!([6_499, 7_500, 8_500, 13_499, 60_000].map(|ms| level(&course, ms)), [10, 15, 20, 20, 20]);
        let moved = before.iter().zip(until(&course, 6 * Duration::from_secs(1))).any(|(old, new)| old.abs_diff(new) > MS / 1_000);
        assert!(!moved, "what was before the decision is as it was");
        // A pause within a level makes it longer by the pause.
        steer(&mut course, 10_000, Mode::Paused, None);
        steer(&mut course, 12_000, Mode::Running, None);
        assert_eq!(course.when(course.climbed()), Some(15_500 * MS));
        let wait = course.clock_at(17_000 * MS).unwrap().saturating_sub(course.climbed());
        course.extend(&stages_to(&stairs, Some(Leaving { level: 20.0, judged_for: wait, rests: false }), None), true);
        assert_eq!((course.end(), level(&course, 17_001)), (Some(17_000 * MS), 0));
        let names: Vec<String> = course.windows().into_iter().map(|window| window.name).collect();
        let unit = if unit == StairUnit::Vus { "" } else { "/s" };
        let level = |level: u64| format!("level-{level}{unit}");
        let expected = [level(10), "judging".into(), format!("ramp-20{unit}"), level(20), "paused".into(), level(20), "judging".into()];
        assert_eq!(names, expected);
        assert!(!course.is_scaled_within(Duration::ZERO, 17_000 * MS));
    }
}

fn modes() -> impl Strategy<Value = Mode> {
    prop_oneof![3 => Just(Mode::Running), 1 => Just(Mode::Held), 1 => Just(Mode::Paused)]
}

fn scales() -> impl Strategy<Value = Option<Scale>> {
    prop_oneof![
        2 => Just(None),
        1 => (0.1..3.0_f64).prop_map(|factor| Some(Scale::Factor(factor))),
        1 => (0.5..40.0_f64).prop_map(|rate| Some(Scale::Rate(Rate::per_second(rate)))),
        1 => (0_u64..30).prop_map(|vus| Some(Scale::Vus(vus))),
    ]
}

/// Random decisions, ascending in time.
fn decisions() -> impl Strategy<Value = Vec<Change>> {
    prop::collection::vec((1_u64..4_000, modes(), scales()), 0..7).prop_map(|decisions| {
        let mut at = Duration::ZERO;
        let change = |(after, mode, scale)| {
            at += Duration::from_millis(after);
            Change { at, mode, scale }
        };
        decisions.into_iter().map(change).collect()
    })
}

fn executors() -> impl Strategy<Value = Executor> {
    let stages = prop::collection::vec((0_u64..6_000, 0_u32..40), 1..5);
    (0..3, stages, 0_u32..30, 1_u64..9_000).prop_map(|(kind, stages, first, ms)| {
        let stages: Vec<Stage> = stages.into_iter().map(|(ms, target)| stage(ms, f64::from(target))).collect();
        let vus = VuPool { pre_allocated: 1, max: 1 };
        let rate = Rate::per_second(f64::from(first) + 0.5);
        match kind {
            0 => Executor::ConstantArrivalRate { rate, duration: Duration::from_millis(ms), vus },
            1 => Executor::RampingArrivalRate { start_rate: rate, stages, vus },
            _ => Executor::RampingVus { start_vus: u64::from(first), stages, graceful_ramp_down: Duration::ZERO },
        }
    })
}

/// Starts of an open course until it is at its end, or beyond every decision.
fn until(course: &Course, limit: Duration) -> Vec<Duration> {
    (0..).map_while(|n| course.start_of(n)).take_while(|at| *at <= limit).collect()
}

proptest! {
    #[test]
    fn start_times_never_decrease_whatever_is_decided(executor in executors(), decisions in decisions(), delay in 0_u64..3_000) {
        let mut random = scenario(executor);
        random.start_time = Duration::from_millis(delay);
        let mut course = Course::new(&random);
        decide(&mut course, &decisions);
        let limit = Duration::from_secs(60);
        let times = until(&course, limit);
        prop_assert!(times.windows(2).all(|pair| pair[0] <= pair[1]));
        for at in &times {
            prop_assert!(course.begin().is_some_and(|begin| begin <= *at), "{:?} is before the begin", at);
            prop_assert!(course.end().is_none_or(|end| *at <= end), "{:?} is after the end", at);
            // It may fall on the very edge of a pause.
            let well_before = at.saturating_sub(Duration::from_nanos(10));
            prop_assert!(!course.is_paused_at(*at) || !course.is_paused_at(well_before), "{:?} is in a pause", at);
        }
        let evenly: Vec<Duration> = (1..40).map_while(|n| course.moment_of(f64::from(n))).collect();
        prop_assert!(evenly.windows(2).all(|pair| pair[0] <= pair[1]));
    }

    #[test]
    fn a_decision_changes_nothing_before_it(executor in executors(), decisions in decisions()) {
        let mut course = Course::new(&scenario(executor));
        for change in decisions {
            let before = until(&course, change.at.saturating_sub(Duration::from_micros(1)));
            let levels: Vec<u64> = (0..50).map(|part| course.vus_at(change.at * part / 50)).collect();
            course.change(change);
            let after = until(&course, change.at.saturating_sub(Duration::from_micros(1)));
            prop_assert_eq!(before.len(), after.len());
            for (old, new) in before.iter().zip(&after) {
                prop_assert!(old.abs_diff(*new) < Duration::from_micros(1), "{:?} {:?}", old, new);
            }
            prop_assert_eq!(levels, (0..50).map(|part| course.vus_at(change.at * part / 50)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn starts_follow_the_rate_that_is_wanted(executor in executors(), decisions in decisions()) {
        let mut course = Course::new(&scenario(executor));
        decide(&mut course, &decisions);
        let limit = course.end().unwrap_or(Duration::from_secs(40)).min(Duration::from_secs(40));
        if course.rate_at(Duration::ZERO).is_some() {
            // The area under the rate, by its middle in steps of a millisecond.
            let steps = limit.as_millis() as u32;
            let area: f64 = (0..steps).map(|ms| course.rate_at(MS * ms + MS / 2).unwrap_or(0.0) / 1e3).sum();
            let starts = until(&course, limit).len() as f64;
            prop_assert!((starts - area).abs() <= 1.5 + area * 0.01, "{} starts, area {}", starts, area);
        }
    }

    #[test]
    fn nothing_changes_between_two_changes(executor in executors(), decisions in decisions(), probes in prop::collection::vec(0_u64..30_000, 20)) {
        let mut course = Course::new(&scenario(executor));
        decide(&mut course, &decisions);
        for probe in probes {
            let moment = Duration::from_millis(probe);
            let next = course.next_change(moment).unwrap_or(moment + Duration::from_secs(10));
            prop_assert!(next > moment);
            let last = next.saturating_sub(Duration::from_nanos(1));
            prop_assert_eq!((course.vus_at(moment), course.is_paused_at(moment)), (course.vus_at(last), course.is_paused_at(last)));
        }
    }

    #[test]
    fn phases_cover_the_run_without_gaps(executor in executors(), decisions in decisions()) {
        let mut course = Course::new(&scenario(executor));
        decide(&mut course, &decisions);
        let windows = course.windows();
        prop_assert!(windows.windows(2).all(|pair| pair[0].end == pair[1].start && pair[0].start < pair[0].end));
        if let (Some(begin), Some(end)) = (course.begin(), course.end()) {
            prop_assert!(begin == end || windows.first().is_some_and(|first| first.start == begin));
            prop_assert!(begin == end || windows.last().is_some_and(|last| last.end == end));
        }
    }
}

#[test]
fn a_scenario_that_waits_begins_when_it_is_told() {
    let mut later = scenario(Executor::ConstantVus { vus: 3, duration: Duration::from_secs(4) });
    (later.start_after, later.start_time) = (Some(0), Duration::from_secs(2));
    let mut course = Course::new(&later);
    assert_eq!((course.begin(), course.end(), course.vus_at(Duration::from_secs(3))), (None, None, 0));
    // A pause before its begin is one while it waits; it counts from the end of the other.
    steer(&mut course, 1_000, Mode::Paused, None);
    steer(&mut course, 6_000, Mode::Running, None);
    course.begin_at(Duration::from_secs(5));
    course.begin_at(Duration::from_secs(50));
    assert_eq!((course.begin(), course.end()), (Some(Duration::from_secs(8)), Some(Duration::from_secs(12))));
    assert_eq!(course.vus_at(Duration::from_secs(9)), 3);
}
