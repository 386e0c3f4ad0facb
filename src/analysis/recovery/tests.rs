//! Recoveries with a known truth, and everything that must not be called one.

use super::*;
use crate::analysis::cases;

const SPIKE: Spike = Spike { from_s: 300.0, to_s: 360.0 };

fn shock(at: usize) -> f64 {
    [0.02, -0.05, 0.08, -0.01, 0.04, -0.09, 0.0, 0.06, -0.03, 0.01, -0.04][at % 11]
}

/// A reading every 5 seconds for 20 minutes; `of` gives the share above the baseline of 120 at a time after the spike's begin.
fn readings(of: impl Fn(f64) -> f64) -> Vec<Reading> {
    let value = |at: usize| {
        let at_s = at as f64 * 5.0;
        let beyond = if at_s < SPIKE.from_s { 0.0 } else { of(at_s - SPIKE.to_s) };
        Reading { at_s, value: Some(120.0 * (1.0 + beyond) * (1.0 + shock(at))), requests: Some(500) }
    };
    (0..240).map(value).collect()
}

fn judged(readings: &[Reading]) -> Recovery {
    recovery(readings, SPIKE, Bad::High, &Rules::default())
}

fn after_s(found: &Recovery) -> f64 {
    let State::Recovered { after_s } = found.state else { panic!("{found:?}") };
    after_s
}

#[test]
fn reference_cases_agree() {
    for name in ["recovery_exp40_1", "recovery_none_4", "recovery_partial_3", "recovery_rebound_2"] {
        let case = cases::read(name);
        let readings: Vec<Reading> = case
            .column("t_s")
            .into_iter()
            .zip(case.column("p95_ms"))
            .map(|(at_s, value)| Reading { at_s, value: Some(value), requests: None })
            .collect();
        let found = judged(&readings);
        match case.json["truth"]["true_recovery_s"].as_f64() {
            Some(truth) => assert!((after_s(&found) - truth).abs() <= (0.25 * truth).max(45.0), "{name}: {found:?}"),
            None => assert!(matches!(found.state, State::StaysWorse { .. }), "{name}: {found:?}"),
        }
    }
}

#[test]
fn a_decay_is_timed_and_its_damage_counted() {
    let found = judged(&readings(|since| if since < 0.0 { 4.0 } else { 4.0 * (-since / 40.0).exp() }));
    // The undisturbed curve is within 10 % after 40 ln 40 = 148 s.
    assert!((after_s(&found) - 148.0).abs() < 30.0 && found.relapses.is_empty(), "{found:?}");
    assert!((found.worst.unwrap() - 5.0).abs() < 0.5 && (found.baseline - 120.0).abs() < 5.0);
    // 60 s at four times beyond, and the area under the decay.
    assert!((found.excess_s().unwrap() - (60.0 * 4.0 + 40.0 * 4.0)).abs() < 60.0, "{:?}", found.excess_s());
}

#[test]
fn a_relapse_is_told_and_the_recovery_is_after_it() {
    let found = judged(&readings(|since| match since {
        since if since < 0.0 => 3.0,
        since if (120.0..240.0).contains(&since) => 0.8,
        _ => 0.0,
    }));
    assert!((after_s(&found) - 240.0).abs() < 30.0, "{found:?}");
    assert_eq!(found.relapses.len(), 1);
    assert!((found.relapses[0] - 120.0).abs() < 30.0, "{found:?}");
}

#[test]
fn a_plateau_that_stays_worse_is_not_recovered() {
    for (plateau, at_most) in [(0.25, 0.32), (0.6, 0.7)] {
        let found = judged(&readings(|since| if since < 0.0 { 4.0 } else { plateau }));
        let State::StaysWorse { by, observed_s } = found.state else { panic!("{found:?}") };
        assert!(by > plateau - 0.08 && by < at_most && observed_s > 800.0, "{found:?}");
    }
    // It was back for minutes, and is worse at the end.
    let late = judged(&readings(|since| if (0.0..=500.0).contains(&since) { 0.0 } else { 0.7 }));
    assert!(matches!(late.state, State::StaysWorse { .. }) && late.relapses.len() == 1, "{late:?}");
}

#[test]
fn a_target_without_load_has_not_recovered() {
    let mut gone = readings(|since| if since < 0.0 { 4.0 } else { 0.0 });
    gone.iter_mut().filter(|one| one.at_s > 500.0).for_each(|one| one.requests = Some(5));
    let State::Inconclusive(doubt) = judged(&gone).state else { panic!("the load was gone") };
    assert_eq!(doubt.to_string(), "after the spike there was only 1 % of the load of before");
}

#[test]
fn nothing_measured_is_not_recovered() {
    let mut silent = readings(|since| if since < 0.0 { 4.0 } else { 0.0 });
    silent.iter_mut().filter(|one| one.at_s > 500.0 && one.at_s < 800.0).for_each(|one| one.value = None);
    let State::Inconclusive(doubt) = judged(&silent).state else { panic!("nothing was measured") };
    assert_eq!(doubt.to_string(), "nothing was measured from 140 s to 440 s after the spike");
    silent.iter_mut().filter(|one| one.at_s > SPIKE.to_s).for_each(|one| one.value = None);
    assert!(matches!(judged(&silent).state, State::Inconclusive(Doubt::Silent { .. })));
    // The series simply ends: too short, not silent.
    let short: Vec<Reading> = readings(|_| 0.0).into_iter().filter(|one| one.at_s < 460.0).collect();
    assert!(matches!(judged(&short).state, State::Inconclusive(Doubt::TooShort { .. })), "{:?}", judged(&short).state);
}

#[test]
fn without_a_baseline_nothing_is_said() {
    let late: Vec<Reading> = readings(|_| 0.0).into_iter().filter(|one| one.at_s > 200.0).collect();
    assert!(matches!(judged(&late).state, State::Inconclusive(Doubt::Baseline { .. })));
    for bad in [
        vec![],
        vec![Reading { at_s: f64::NAN, value: Some(1.0), requests: None }],
        vec![Reading { at_s: 1.0, value: Some(f64::NAN), requests: None }],
    ] {
        assert!(matches!(judged(&bad).state, State::Inconclusive(Doubt::Baseline { .. })));
    }
}

#[test]
fn failures_come_from_zero_and_go_back_to_it() {
    let rules = Rules { tolerance_absolute: 0.01, ..Rules::default() };
    let failures = |plateau: f64| -> Vec<Reading> {
        let value = |at_s: f64| match at_s - SPIKE.to_s {
            since if since < -60.0 => 0.0,
            since if since < 90.0 => 0.4,
            _ => plateau,
        };
        (0..240).map(|at| f64::from(at) * 5.0).map(|at_s| Reading { at_s, value: Some(value(at_s)), requests: Some(900) }).collect()
    };
    let found = recovery(&failures(0.002), SPIKE, Bad::High, &rules);
    assert!((after_s(&found) - 90.0).abs() < 30.0 && found.worst.is_none() && (found.excess - 0.4 * 150.0).abs() < 5.0, "{found:?}");
    assert!(matches!(recovery(&failures(0.05), SPIKE, Bad::High, &rules).state, State::StaysWorse { .. }));
}

#[test]
fn throughput_that_fell_recovers_upwards() {
    let goodput = |end: f64| -> Vec<Reading> {
        let value = |at: usize| match at as f64 * 5.0 {
            at_s if at_s < SPIKE.from_s => 500.0,
            at_s if at_s < SPIKE.to_s + 100.0 => 200.0,
            _ => end,
        };
        (0..240).map(|at| Reading { at_s: at as f64 * 5.0, value: Some(value(at) * (1.0 + shock(at) / 3.0)), requests: None }).collect()
    };
    let back = recovery(&goodput(500.0), SPIKE, Bad::Low, &Rules::default());
    assert!((after_s(&back) - 100.0).abs() < 30.0 && back.worst.unwrap() < 0.45 && back.back_at < back.baseline, "{back:?}");
    let State::StaysWorse { by, .. } = recovery(&goodput(400.0), SPIKE, Bad::Low, &Rules::default()).state else { panic!("it stays low") };
    assert!((by - 0.2).abs() < 0.05);
}

#[test]
fn the_slowest_part_decides() {
    let back = |after_s| State::Recovered { after_s };
    let worse = State::StaysWorse { by: 0.3, observed_s: 800.0 };
    let unknown = State::Inconclusive(Doubt::LoadGone { share: 0.1 });
    assert_eq!(slowest(&[back(20.0), back(90.0), back(5.0)]), Some(back(90.0)));
    assert_eq!(slowest(&[unknown, back(90.0)]), Some(unknown));
    assert_eq!(slowest(&[back(1.0), worse, unknown]), Some(worse));
    assert_eq!(slowest(&[]), None);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(96))]

    #[test]
    fn no_series_breaks_it(
        values in proptest::collection::vec(proptest::option::of(proptest::prop_oneof![6 => -1e3..1e3_f64, 1 => proptest::strategy::Just(f64::NAN), 1 => proptest::strategy::Just(1e300), 1 => proptest::strategy::Just(0.0)]), 0..250),
        step in proptest::sample::select(vec![0.0, 0.5, 5.0, -5.0, f64::NAN, 1e9]),
        requests in proptest::option::of(0_u64..300),
        from_s in -100.0..900.0_f64,
    ) {
        let readings: Vec<Reading> =
            values.iter().enumerate().map(|(at, value)| Reading { at_s: at as f64 * step, value: *value, requests }).collect();
        for bad in [Bad::High, Bad::Low] {
            let found = recovery(&readings, Spike { from_s, to_s: from_s + 50.0 }, bad, &Rules::default());
            let numbers = [found.baseline, found.scatter, found.back_at, found.away_at, found.excess];
            assert!(numbers.iter().all(|number| !number.is_nan()), "{found:?}");
            if let State::Recovered { after_s } = found.state {
                assert!(after_s.is_finite() && after_s >= 0.0);
            }
            finding::of_recovery(&crate::model::run::RunId("r".into()), crate::model::units::Timestamp(0), "p95", crate::model::threshold::Unit::Time, &found);
        }
    }
}

#[test]
fn recoveries_are_told() {
    let told = |readings: &[Reading]| {
        let in_seconds: Vec<Reading> = readings.iter().map(|one| Reading { value: one.value.map(|value| value / 1e3), ..*one }).collect();
        let found = judged(&in_seconds);
        let run = crate::model::run::RunId("r".into());
        let finding = finding::of_recovery(&run, crate::model::units::Timestamp(0), "p95", crate::model::threshold::Unit::Time, &found);
        let figures: Vec<String> = finding.evidence.iter().map(|figure| format!("  {}: {}", figure.name, figure.value)).collect();
        format!("{} [{}, {:?}]\n{}\n", finding.title, finding.kind, finding.severity, figures.join("\n"))
    };
    let decay = told(&readings(|since| if since < 0.0 { 4.0 } else { 4.0 * (-since / 40.0).exp() }));
    let relapse = told(&readings(|since| if since < 0.0 || (120.0..240.0).contains(&since) { 2.0 } else { 0.0 }));
    let plateau = told(&readings(|since| if since < 0.0 { 4.0 } else { 0.25 }));
    let nothing = told(&readings(|_| 0.0)[..80]);
    insta::assert_snapshot!([decay, relapse, plateau, nothing].join("\n"));
}
