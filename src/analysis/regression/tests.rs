//! Histories with a known answer, through the whole of the room: judged, put together, told.

use super::comparable::{Comparable, Night, comparable, sample};
use super::deploy::Marker;
use super::finding::{Context, of_incident, of_suspect};
use super::incident::{Judged, tonight};
use super::*;
use crate::analysis::cases;
use crate::model::alerting::Severity;
use crate::model::units::Timestamp;

const SCATTER: [f64; 9] = [0.5, -2.0, 3.0, -0.5, 1.5, -3.0, 0.0, 2.0, -1.0];

/// Nights around levels, with a repeatable scatter of about 2 % of 100.
fn of(parts: &[(f64, usize)]) -> Vec<f64> {
    let levels = parts.iter().flat_map(|(level, count)| std::iter::repeat_n(*level, *count));
    levels.enumerate().map(|(at, level)| level + SCATTER[at % 9]).collect()
}

fn judged(values: &[f64], name: &str) -> Judgement {
    judge(&History { values, ..History::default() }, metric::find(name).unwrap(), &Rules::default())
}

#[test]
fn the_states_follow_each_other() {
    let mut values = of(&[(100.0, 20), (125.0, 3)]);
    for (nights, expected) in
        [(0, "NotMeasured"), (1, "Learning"), (7, "Learning"), (8, "Steady"), (20, "Steady"), (21, "Suspect"), (23, "Confirmed")]
    {
        let state = judged(&values[..nights], "p95").state;
        assert!(format!("{state:?}").starts_with(expected), "after {nights}: {state:?}");
    }
    assert_eq!(judged(&values[..8], "throughput").state, State::Steady);
    assert!(matches!(judged(&values, "p95").state, State::Confirmed { worse: true }));
    assert!(matches!(judged(&values, "throughput").state, State::Confirmed { worse: false }));
    values.push(f64::NAN);
    assert_eq!(judged(&values, "p95").state, State::NotMeasured);
}

#[test]
fn the_change_tells_since_when_how_big_and_how_sure() {
    let found = judged(&of(&[(100.0, 25), (120.0, 15)]), "p95");
    let change = found.changes[0];
    assert_eq!((found.changes.len(), change.index, change.nights_after, change.worse), (1, 25, 15, true));
    assert!((change.relative().unwrap() - 0.2).abs() < 0.02 && change.relative_interval().unwrap().contains(0.2));
    assert!(change.p_value < 1e-6 && change.effect() > 5.0 && change.likely == (25, 25));
    assert_eq!(found.retrospect.iter().map(|point| point.index).collect::<Vec<_>>(), [25]);
    assert_eq!((found.level_from, found.nights, found.reference.unwrap().nights), (25, 40, 14));
}

#[test]
fn six_nights_up_and_down_again_are_both_confirmed() {
    let found = judged(&cases::read("cp_syn_up_down").column("value"), "p95");
    let told: Vec<(usize, bool)> = found.changes.iter().map(|change| (change.index, change.worse)).collect();
    assert_eq!(told, [(30, true), (36, false)]);
    // The nights before the excursion count again.
    assert!(found.reference.unwrap().nights > 80);
    assert_eq!(judged(&cases::read("cp_syn_none_ar50").column("value"), "p95").changes, []);
}

#[test]
fn missing_nights_keep_their_places() {
    let mut values = of(&[(100.0, 20), (130.0, 8)]);
    values.splice(5..5, [f64::NAN, f64::INFINITY, 1e200]);
    let found = judged(&values, "p95");
    assert_eq!((found.nights, found.changes[0].index, found.retrospect[0].index), (28, 23, 23));
}

#[test]
fn a_change_too_small_to_tell_is_not_told() {
    let fine: Vec<f64> = of(&[(100.0, 20), (120.0, 10)]).iter().map(|value| 1.0 + value / 1000.0).collect();
    assert_eq!(judged(&fine, "p95").changes, []);
    // Fractions of a connection are no change either.
    let pool: Vec<f64> = (0..30).map(|at| if at < 20 { 4.0 } else { 4.9 }).collect();
    assert_eq!(judged(&pool, "pool_peak").changes, []);
}

#[test]
fn sundays_are_not_a_regression() {
    let days: Vec<u8> = (0..56).map(|at| (at % 7) as u8).collect();
    let values: Vec<f64> = of(&[(100.0, 56)]).iter().zip(&days).map(|(value, day)| value + if *day >= 5 { 12.0 } else { 0.0 }).collect();
    let metric = metric::find("p95").unwrap();
    let with = judge(&History { values: &values, days: &days, ..History::default() }, metric, &Rules::default());
    assert!(with.weekday.is_some() && with.changes.is_empty() && with.state == State::Steady, "{with:?}");
    // The same night of another weekday would be odd.
    let mut wednesday = values;
    let at = 51;
    wednesday.truncate(at + 1);
    wednesday[at] += 14.0;
    let odd = judge(&History { values: &wednesday, days: &days[..=at], ..History::default() }, metric, &Rules::default());
    assert!(matches!(odd.state, State::Suspect { worse: true, .. }), "{:?}", odd.state);
}

fn failures(nights: &[(u64, u64)]) -> Judgement {
    let counts: Vec<Option<Counts>> =
        nights.iter().map(|(failed, requests)| Some(Counts { failed: *failed, requests: *requests })).collect();
    judge_failures(&counts, &History::default(), metric::find("error_rate").unwrap(), &Rules::default())
}

#[test]
fn failures_from_nothing_are_seen() {
    let clean = vec![(0, 20_000); 14];
    assert_eq!(failures(&clean).state, State::Steady);
    let one = failures(&[&clean[..], &[(200, 20_000)]].concat());
    assert!(matches!(one.state, State::Suspect { worse: true, .. }), "{:?}", one.state);
    let three = failures(&[&clean[..], &[(200, 20_000), (210, 20_000), (190, 20_000)]].concat());
    let change = three.changes[0];
    assert!(change.worse && (change.after - 0.01).abs() < 0.001 && change.before.median < 0.000_1, "{change:?}");
    assert!(change.interval.low > 0.003 && change.interval.contains(change.shift));
}

#[test]
fn nights_that_scatter_more_than_chance_are_no_regression() {
    // A z-test on the counts of the last two nights alone would cry: 2.2 % against 1 % of 20,000.
    let wild: Vec<(u64, u64)> =
        [200, 430, 120, 310, 90, 380, 250, 150, 420, 110, 290, 340, 100, 200, 440].map(|failed| (failed, 20_000)).into();
    let found = failures(&wild);
    assert!(found.state == State::Steady && found.overdispersion.unwrap() > 20.0, "{found:?}");
    // A few more failures of very many requests are certain, and not worth telling.
    let tiny: Vec<(u64, u64)> = (0..20).map(|at| (if at < 14 { 100 } else { 160 }, 1_000_000)).collect();
    assert_eq!(failures(&tiny).changes, []);
    assert_eq!(failures(&[(0, 0); 20]).state, State::NotMeasured);
}

fn history(metrics: &[(&'static str, &[f64])]) -> (Comparable, Vec<Judged>) {
    let count = metrics[0].1.len();
    let nights: Vec<Night> = (0..count)
        .map(|day| Night {
            values: metrics.iter().map(|(name, values)| ((*name).to_owned(), values[day])).collect(),
            version: Some(if day < 20 { "1.4.2" } else { "1.5.0" }.into()),
            ..sample(20_000 + day as i64, 0.0)
        })
        .collect();
    let last = nights[count - 1].clone();
    let found = comparable(nights, &last);
    let judged = metrics.iter().map(|(name, _)| {
        let values = found.values(name);
        let history = History { values: &values, ..History::default() };
        Judged {
            metric: metric::find(name).unwrap(),
            subject: None,
            judgement: judge(&history, metric::find(name).unwrap(), &Rules::default()),
        }
    });
    let judged = judged.collect();
    (found, judged)
}

#[test]
fn one_night_is_one_incident_told_in_one_sentence() {
    let p95: Vec<f64> = of(&[(200.0, 20), (251.0, 3)]).iter().map(|ms| ms / 1e3).collect();
    let rate: Vec<f64> = of(&[(500.0, 20), (450.0, 3)]);
    let memory: Vec<f64> = of(&[(400.0, 23)]).iter().map(|mib| mib * 1_048_576.0).collect();
    let (found, judged) = history(&[("throughput", &rate), ("p95", &p95), ("memory_peak", &memory)]);
    let together = tonight(&judged);
    assert_eq!((together.incidents.len(), together.incidents[0].changes.len(), together.suspects.len()), (1, 2, 0));
    let last = &found.nights[22];
    let context = Context { run: &last.run, at: Timestamp(0), nights: &found.nights, left_out: 2 };
    let marker = Marker { at: Timestamp(found.nights[20].at.0 - 3_600_000_000), version: "infra-77".into() };
    let told = of_incident(&context, &judged, &together.incidents[0], &[marker]).unwrap();
    assert_eq!((told.kind.as_str(), told.severity, told.method.as_str()), ("regression", Severity::High, "nights/1"));
    insta::assert_snapshot!(text(&told));
}

#[test]
fn a_suspect_night_asks_for_another_run() {
    let p95: Vec<f64> = of(&[(200.0, 20), (240.0, 1)]).iter().map(|ms| ms / 1e3).collect();
    let (found, judged) = history(&[("p95", &p95)]);
    let together = tonight(&judged);
    assert_eq!((together.suspects.as_slice(), together.incidents.len()), (&[0][..], 0));
    let context = Context { run: &found.nights[20].run, at: Timestamp(0), nights: &found.nights, left_out: 0 };
    insta::assert_snapshot!(text(&of_suspect(&context, &judged[0]).unwrap()));
    assert_eq!(of_incident(&context, &judged, &incident::Incident { index: 0, changes: vec![] }, &[]), None);
}

#[test]
fn among_many_metrics_a_weak_suspect_is_chance() {
    let quiet = of(&[(100.0, 21)]);
    let mut odd = quiet.clone();
    odd[20] = 107.0;
    let (_, alone) = history(&[("p95", &odd)]);
    assert_eq!(tonight(&alone).suspects, [0]);
    let mut many: Vec<Judged> = (0..80).map(|_| history(&[("p95", &quiet)]).1.remove(0)).collect();
    many.push(alone[0].clone());
    assert_eq!(tonight(&many).suspects, Vec::<usize>::new());
}

fn text(finding: &crate::model::finding::Finding) -> String {
    let evidence = finding.evidence.iter().map(|figure| format!("\n  {}: {}", figure.name, figure.value));
    std::iter::once(finding.title.clone()).chain(evidence).collect()
}

/// Numbers as bad as they come, in any order.
fn anything() -> impl proptest::strategy::Strategy<Value = Vec<f64>> {
    use proptest::prelude::*;
    let value = prop_oneof![
        6 => -1e3..1e3_f64,
        2 => Just(0.0),
        1 => Just(f64::NAN),
        1 => Just(f64::INFINITY),
        1 => Just(1e300),
        1 => Just(-1e99),
        1 => Just(1e-300),
    ];
    proptest::collection::vec(value, 0..70)
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    #[test]
    fn no_history_breaks_it(values in anything(), borders in proptest::collection::vec(0_usize..80, 0..4)) {
        let days: Vec<u8> = (0..values.len()).map(|at| (at % 7) as u8).collect();
        let history = History { values: &values, days: &days, borders: &borders };
        for metric in metric::METRICS {
            let found = judge(&history, metric, &Rules::default());
            for change in &found.changes {
                assert!(change.index < values.len() && change.likely.0 <= change.likely.1);
                for number in [change.shift, change.interval.low, change.interval.high, change.p_value, change.effect(), change.after] {
                    assert!(!number.is_nan(), "{change:?}");
                }
            }
        }
        let counts: Vec<Option<Counts>> =
            values.iter().map(|value| value.is_finite().then(|| Counts { failed: value.abs() as u64, requests: 900 })).collect();
        judge_failures(&counts, &history, &metric::METRICS[4], &Rules::default());
    }
}
