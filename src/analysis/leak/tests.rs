//! What the detector says of soaks with a known truth, and of everything that can go wrong with the readings.

use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, StandardNormal};

use super::*;
use crate::model::alerting::Severity;
use crate::model::run::RunId;
use crate::model::threshold::Unit;
use crate::model::units::Timestamp;

/// `n` values 10 s apart: `value` of the share of the soak that is over, with noise of about +-4.
fn soak(n: usize, seed: u64, value: impl Fn(f64) -> f64) -> Soak {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut sample = |at: usize| (at as f64 * 10.0, value(at as f64 / (n - 1) as f64) + random.random_range(-7.0..7.0));
    Soak { samples: (0..n).map(&mut sample).collect(), ..Soak::default() }
}

fn leaking(seed: u64) -> Soak {
    soak(360, seed, |part| 512.0 + 40.0 * part)
}

fn flat(seed: u64) -> Soak {
    soak(360, seed, |_| 512.0)
}

#[test]
fn a_steady_leak_is_found_with_its_slope_and_its_end() {
    let trend = judge(&Soak { limit: Some(1024.0), ..leaking(1) });
    assert_eq!((trend.verdict, trend.kind, trend.confidence), (Verdict::Leak, Some(Kind::Steady), Some(Confidence::Certain)));
    let growth = trend.growth.unwrap();
    assert!(growth.low < 40.1 && 40.1 < growth.high && (growth.per_hour - 40.1).abs() < 4.0, "{growth:?}");
    // From 552 to 1024 at 40 an hour.
    let exhaustion = trend.exhaustion.unwrap();
    assert!((exhaustion.hours - 11.8).abs() < 1.2 && exhaustion.earliest < 11.8 && exhaustion.latest.unwrap() > 11.8, "{exhaustion:?}");
    assert!(trend.detectable.unwrap() < 15.0 && trend.p < 1e-6, "{trend:?}");
    assert_eq!((trend.basis.points, trend.basis.envelope), (48, Some(Envelope::BlockMedians)));
}

#[test]
fn no_leak_says_what_would_have_shown() {
    for seed in 0..20 {
        let trend = judge(&flat(seed));
        assert_eq!((trend.verdict, trend.growth, trend.kind), (Verdict::NoLeak, None, None), "seed {seed}");
        assert!((5.0..15.0).contains(&trend.detectable.unwrap()), "{trend:?}");
    }
}

#[test]
fn constant_series_have_no_leak() {
    let trend = judge(&Soak { samples: (0..60).map(|at| (f64::from(at), 512.0)).collect(), ..Soak::default() });
    assert_eq!((trend.verdict, trend.p, trend.confidence), (Verdict::NoLeak, 1.0, None));
    assert!((trend.detectable.unwrap() - 5.12).abs() < 1e-9);
}

#[test]
fn too_little_is_no_answer() {
    for n in [0, 1, 5, 21] {
        let mut soak = leaking(1);
        soak.samples.truncate(n);
        let trend = judge(&soak);
        assert_eq!((trend.verdict, trend.detectable), (Verdict::Inconclusive, None), "{n} samples");
        assert!(matches!(trend.why, Some(Why::TooFewSamples { needed: 20, found }) if found < 20), "{n}: {:?}", trend.why);
    }
    let one_moment = Soak { samples: vec![(5.0, 1.0); 40], ..Soak::default() };
    assert_eq!(judge(&one_moment).verdict, Verdict::Inconclusive);
}

#[test]
fn steps_and_warm_ups_are_no_leaks() {
    let step = judge(&soak(360, 2, |part| if part > 0.6 { 560.0 } else { 512.0 }));
    assert_eq!(step.verdict, Verdict::Step);
    let (at, by) = step.step.unwrap();
    assert!((at - 2160.0).abs() < 100.0 && (by - 48.0).abs() < 3.0, "{step:?}");
    let warm = judge(&soak(360, 3, |part| 512.0 - 100.0 * (-part / 0.05).exp()));
    assert_ne!(warm.verdict, Verdict::Leak, "{warm:?}");
    let slow = judge(&soak(360, 3, |part| 512.0 - 200.0 * (-part / 0.4).exp()));
    assert_eq!(slow.verdict, Verdict::Levelling, "{slow:?}");
    let both = judge(&soak(360, 4, |part| 512.0 - 100.0 * (-part / 0.05).exp() + 40.0 * part));
    assert_eq!(both.verdict, Verdict::Leak, "{both:?}");
}

#[test]
fn a_plateau_that_is_reached_late_needs_a_longer_soak() {
    let trend = judge(&soak(360, 5, |part| 512.0 - 300.0 * (-part / 0.25).exp()));
    assert_eq!(trend.verdict, Verdict::Levelling);
    if let Some(Why::Warming { needed_s }) = trend.why {
        assert!((6000.0..14000.0).contains(&needed_s), "{trend:?}");
    }
}

#[test]
fn kinds_of_leaks() {
    let stairs = judge(&soak(360, 6, |part| 512.0 + 30.0 * (part * 5.0).floor()));
    assert_eq!((stairs.verdict, stairs.kind), (Verdict::Leak, Some(Kind::Stepwise)));
    let faster = judge(&soak(360, 7, |part| 512.0 + 200.0 * part.powi(4)));
    assert_eq!((faster.verdict, faster.kind), (Verdict::Leak, Some(Kind::Accelerating)));
    let late = judge(&soak(360, 8, |part| 512.0 + 60.0 * (part - 0.5).max(0.0) / 0.5));
    assert_eq!(late.verdict, Verdict::Leak);
}

#[test]
fn a_saw_tooth_is_judged_by_its_floors() {
    let tooth = |part: f64| 120.0 * (part * 20.0).fract();
    let healthy = judge(&soak(360, 9, |part| 512.0 + tooth(part)));
    assert_eq!((healthy.verdict, healthy.basis.envelope), (Verdict::NoLeak, Some(Envelope::CycleFloors)));
    let leaking = judge(&Soak { limit: Some(1024.0), ..soak(360, 9, |part| 512.0 + 64.0 * part + tooth(part)) });
    assert_eq!(leaking.verdict, Verdict::Leak);
    // The peaks reach the limit well before the floors.
    let exhaustion = leaking.exhaustion.unwrap();
    assert!(exhaustion.earliest < 0.78 * exhaustion.hours, "{exhaustion:?}");
}

#[test]
fn a_restart_that_is_known_does_not_hide_a_leak() {
    let value = |part: f64| 512.0 + 120.0 * if part < 0.5 { part } else { part - 0.5 };
    let told = Soak { restarts: vec![1797.0], limit: Some(1024.0), ..soak(360, 10, value) };
    let trend = judge(&told);
    assert_eq!((trend.verdict, trend.basis.restarts_s.as_slice()), (Verdict::Leak, [1797.0].as_slice()));
    let growth = trend.growth.unwrap();
    assert!(growth.low < 120.0 && 120.0 < growth.high, "{growth:?}");
    assert!((trend.exhaustion.unwrap().hours - 3.77).abs() < 0.4, "{:?}", trend.exhaustion);
    // Not told, it might as well be a slow collection of garbage: no answer, but not "no leak".
    let trend = judge(&Soak { restarts: vec![], ..told });
    assert_eq!(trend.verdict, Verdict::Inconclusive);
    assert!(matches!(trend.why, Some(Why::Fell { at_s, by }) if (at_s - 1800.0).abs() < 20.0 && (by - 60.0).abs() < 15.0), "{trend:?}");
}

#[test]
fn a_leak_before_a_restart_is_told_too() {
    let value = |part: f64| if part < 0.7 { 512.0 + 120.0 * part } else { 512.0 };
    let trend = judge(&Soak { restarts: vec![2515.0], limit: Some(1024.0), ..soak(360, 11, value) });
    assert_eq!(trend.verdict, Verdict::Leak);
    assert!(trend.basis.to_s < 2520.0, "{trend:?}");
    // It fills up from the level after the restart.
    assert!((trend.exhaustion.unwrap().hours - 512.0 / 120.0).abs() < 0.5, "{:?}", trend.exhaustion);
}

#[test]
fn a_restart_without_a_leak_is_no_leak() {
    for restarts in [vec![], vec![1795.0]] {
        let value = |part: f64| if part < 0.5 { 572.0 } else { 512.0 };
        let trend = judge(&Soak { restarts, ..soak(360, 12, value) });
        assert_eq!(trend.verdict, Verdict::NoLeak, "{trend:?}");
    }
}

#[test]
fn two_slow_teeth_are_not_taken_for_a_leak() {
    for seed in 0..10 {
        let trend = judge(&soak(360, seed, |part| 512.0 + 120.0 * (part * 2.5 + 0.3).fract()));
        assert_ne!(trend.verdict, Verdict::Leak, "seed {seed}: {trend:?}");
    }
}

#[test]
fn readings_that_are_no_numbers_and_gaps_are_left_out() {
    let mut broken = leaking(13);
    let mut random = SmallRng::seed_from_u64(14);
    broken.samples.retain(|(time, _)| !(1000.0..1500.0).contains(time) && random.random_bool(0.85));
    for at in [3, 50, 51, 120] {
        broken.samples[at].1 = [f64::NAN, f64::INFINITY][at % 2];
    }
    let trend = judge(&broken);
    assert_eq!((trend.verdict, trend.basis.dropped), (Verdict::Leak, 4));
    let growth = trend.growth.unwrap();
    assert!(growth.low < 40.0 && 40.0 < growth.high, "{growth:?}");
    // Two short pieces far apart are no soak.
    let mut torn = leaking(13);
    torn.samples.retain(|(time, _)| *time < 600.0 || *time > 3000.0);
    let trend = judge(&torn);
    assert_eq!(trend.verdict, Verdict::Inconclusive);
    assert!(matches!(trend.why, Some(Why::Holes { measured }) if measured < 0.4), "{trend:?}");
}

#[test]
fn a_clock_that_is_set_back_changes_nothing() {
    let straight = judge(&leaking(15));
    let mut stepped = leaking(15);
    for sample in &mut stepped.samples[200..] {
        sample.0 -= 1500.0;
    }
    let trend = judge(&stepped);
    assert_eq!((trend.verdict, trend.basis.clock_steps), (Verdict::Leak, 1));
    assert_eq!(trend.growth, straight.growth);
}

#[test]
fn the_sampling_rate_may_change() {
    let mut random = SmallRng::seed_from_u64(16);
    let times = (0..180).map(|at| f64::from(at) * 10.0).chain((0..1800).map(|at| 1800.0 + f64::from(at)));
    let mut noisy = |growth: f64| -> Soak {
        let samples = times.clone().map(|time| (time, 512.0 + growth * time / 3600.0 + random.random_range(-7.0..7.0))).collect();
        Soak { samples, ..Soak::default() }
    };
    assert_eq!(judge(&noisy(0.0)).verdict, Verdict::NoLeak);
    let trend = judge(&noisy(40.0));
    assert_eq!(trend.verdict, Verdict::Leak);
    let growth = trend.growth.unwrap();
    assert!(growth.low < 40.0 && 40.0 < growth.high, "{growth:?}");
}

#[test]
fn response_times_are_judged_by_their_ratio() {
    let mut random = SmallRng::seed_from_u64(17);
    let samples = (0..60).map(|at| (f64::from(at) * 60.0, 0.2 * (0.3 * f64::from(at) / 59.0 + random.random_range(-0.03..0.03)).exp()));
    let slower = Soak { samples: samples.collect(), scale: Scale::Ratio, limit: Some(1.0), ..Soak::default() };
    let trend = judge(&slower);
    let growth = trend.growth.unwrap();
    // 30 % (in logarithms) over 59 minutes.
    assert!(trend.verdict == Verdict::Leak && (growth.per_hour - 0.357).abs() < 0.06, "{trend:?}");
    assert!((trend.basis.level - 0.23).abs() < 0.03 && trend.detectable.unwrap() < 0.2, "{trend:?}");
    // From exp(0.3) * 0.2 to 1 s: ln(3.7) / 0.305 hours.
    assert!((trend.exhaustion.unwrap().hours - 4.29).abs() < 0.8, "{:?}", trend.exhaustion);
    assert_eq!(judge(&Soak { limit: Some(-1.0), ..slower }).exhaustion, None);
}

#[test]
fn several_metrics_share_the_chance_of_a_false_alarm() {
    // A leak that is just significant by itself is not any more beside many flat metrics, and is worth watching.
    let weak = (0..500).map(|seed| soak(360, seed, |part| 512.0 + 6.0 * part)).find(|soak| {
        let trend = judge(soak);
        trend.verdict == Verdict::Leak && (0.004..0.02).contains(&trend.p)
    });
    let weak = weak.unwrap();
    let mut soaks: Vec<Soak> = (100..119).map(flat).collect();
    soaks.push(weak.clone());
    soaks.push(Soak::default());
    let trends = judge_all(&soaks);
    assert_eq!(trends.len(), 21);
    assert_ne!(trends[19].verdict, Verdict::Leak);
    assert!(trends[19].p > judge(&weak).p * 10.0, "{:?}", trends[19]);
    assert_eq!(trends[20].verdict, Verdict::Inconclusive);
    // A clear one stays clear.
    soaks[19] = leaking(1);
    assert_eq!(judge_all(&soaks)[19].verdict, Verdict::Leak);
    assert_eq!(judge_all(&soaks[19..20]), [judge(&soaks[19])]);
    assert_eq!(judge_all(&[]), []);
}

/// An hour of a kind of noise, one value every ten seconds, and `growth` over it: white, AR(1) with a neighbour's share, or a saw-tooth of
/// 120 in about 20 cycles.
fn noisy(kind: Noisy, seed: u64, growth: f64) -> Soak {
    let mut random = SmallRng::seed_from_u64(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let mut former: f64 = StandardNormal.sample(&mut random);
    let (mut left, mut length) = (0.0, 1.0);
    let value = |at: u32| {
        let share = match kind {
            Noisy::Alike(share) => share,
            Noisy::Teeth => 0.0,
        };
        let shock: f64 = StandardNormal.sample(&mut random);
        former = share * former + (1.0 - share * share).sqrt() * shock;
        if left < 1.0 {
            length = random.random_range(13.0..23.0);
            left += length;
        }
        left -= 1.0;
        let tooth = if matches!(kind, Noisy::Teeth) { 120.0 * (1.0 - left / length) } else { 0.0 };
        (f64::from(at) * 10.0, 512.0 + 4.0 * former + tooth + growth * f64::from(at) / 359.0)
    };
    Soak { samples: (0..360).map(value).collect(), ..Soak::default() }
}

#[derive(Debug, Clone, Copy)]
enum Noisy {
    Alike(f64),
    Teeth,
}

#[test]
fn the_smallest_growth_that_is_stated_is_found_in_four_of_five_runs() {
    /// So many leaks scatter by 5 % of the runs.
    const RUNS: u64 = 60;
    const FEWEST: usize = 45;
    for kind in [Noisy::Alike(0.0), Noisy::Alike(0.5), Noisy::Alike(0.8), Noisy::Alike(0.95), Noisy::Teeth] {
        // What each run states, in the whole of another run of its kind.
        let found = |share: f64| {
            let stated = (0..RUNS).filter_map(|seed| judge(&noisy(kind, seed, 0.0)).detectable_per_hour);
            let leaks = stated.zip(1_000..).map(|(stated, seed)| judge(&noisy(kind, seed, share * stated * 3590.0 / 3600.0)));
            leaks.filter(|trend| trend.verdict == Verdict::Leak).count()
        };
        let whole = found(1.0);
        assert!(whole >= FEWEST, "{kind:?}: {whole} of {RUNS} leaks of the stated size are found");
        // And it is no number on the safe side of everything.
        if matches!(kind, Noisy::Alike(share) if share < 0.6) {
            let half = found(0.5);
            assert!(half * 2 < RUNS as usize, "{kind:?}: {half} of {RUNS} leaks of half the stated size are found");
        }
    }
}

#[test]
fn many_metrics_and_many_looks_make_the_smallest_growth_larger() {
    let soaks: Vec<Soak> = (0..20).map(|seed| noisy(Noisy::Alike(0.5), seed, 0.0)).collect();
    let alone = judge(&soaks[0]).detectable_per_hour.unwrap();
    let among = judge_all(&soaks)[0].detectable_per_hour.unwrap();
    let meanwhile = judge_meanwhile(&soaks)[0].detectable_per_hour.unwrap();
    assert!(alone * 1.1 < among && among * 1.05 < meanwhile, "{alone} {among} {meanwhile}");
    // And what is stated of one among twenty is found among twenty.
    let found = |leaky: u64| {
        let stated = judge_all(&soaks)[leaky as usize].detectable_per_hour?;
        let mut soaks = soaks.clone();
        soaks[leaky as usize] = noisy(Noisy::Alike(0.5), 500 + leaky, stated * 3590.0 / 3600.0);
        Some(judge_all(&soaks)[leaky as usize].verdict == Verdict::Leak)
    };
    let found: Vec<bool> = (0..10).filter_map(found).collect();
    assert!(found.len() == 10 && found.iter().filter(|found| **found).count() >= 7, "{found:?}");
}

#[test]
fn what_is_looked_at_again_and_again_must_be_certain() {
    let likely =
        (0..500).map(|seed| soak(360, seed, |part| 512.0 + 6.5 * part)).find(|soak| judge(soak).confidence == Some(Confidence::Likely));
    let likely = likely.unwrap();
    let [trend]: [Trend; 1] = judge_meanwhile(std::slice::from_ref(&likely)).try_into().unwrap();
    assert_eq!((trend.verdict, trend.confidence), (Verdict::NoLeak, Some(Confidence::Possible)));
    let [trend]: [Trend; 1] = judge_meanwhile(&[leaking(1)]).try_into().unwrap();
    assert_eq!((trend.verdict, trend.confidence), (Verdict::Leak, Some(Confidence::Certain)));
}

/// The trend as a finding of memory in MiB.
fn told(soak: &Soak) -> crate::model::finding::Finding {
    let mib = |value: f64| value * 1_048_576.0;
    let samples = soak.samples.iter().map(|(time, value)| (*time, mib(*value))).collect();
    let soak = Soak { samples, limit: soak.limit.map(mib), ..soak.clone() };
    let subject = Subject { series: "process_memory{probe=\"app\"}", name: "memory of `app`", unit: Unit::Bytes };
    finding(&RunId("r".into()), Timestamp(0), subject, &judge(&soak))
}

#[test]
fn findings_say_it_in_words() {
    let leak = told(&Soak { limit: Some(1024.0), ..leaking(1) });
    let title = "Memory of `app` grows by 40.8 MiB an hour (38.6 MiB to 43.1 MiB): a leak, certain. The limit of 1 GiB is reached in 11h32m \
                 (8h10m to 14h14m) if it goes on like this. A growth of 7.83 MiB an hour or more would have shown.";
    assert_eq!(leak.title, title);
    assert_eq!((leak.kind.as_str(), leak.severity, leak.method.as_str()), ("leak", Severity::High, METHOD));
    let evidence: Vec<String> = leak.evidence.iter().map(|evidence| format!("{}: {}", evidence.name, evidence.value)).collect();
    let expected = [
        "series: process_memory{probe=\"app\"}",
        "growth an hour: 40.8 MiB (38.6 MiB to 43.1 MiB, 95 %)",
        "time to the limit: 11h32m (8h10m to 14h14m)",
        "p-value: < 0.0001",
        "sample size: 324 samples, medians of 48 blocks",
        "worth of independent points: 48",
        "smallest growth that would have shown: 7.83 MiB an hour, 7.02 MiB over this time",
        "level: 533.7 MiB",
    ];
    assert_eq!(evidence, expected);
}

#[test]
fn every_verdict_has_its_words() {
    let none = told(&flat(1));
    assert_eq!((none.kind.as_str(), none.severity), ("no_leak", Severity::Low));
    for (soak, words) in [
        (flat(1), "No leak of memory of `app` is seen in the 54m judged. A growth of 7.5 MiB an hour or more would have shown."),
        (
            soak(360, 2, |part| if part > 0.6 { 560.0 } else { 512.0 }),
            "Memory of `app` jumped once, by 47.9 MiB at 36m50s, and stays: a single step, no leak. A growth of 7.76 MiB an hour or more would \
             have shown.",
        ),
        (
            Soak { samples: leaking(1).samples[..12].to_vec(), ..Soak::default() },
            "Whether memory of `app` leaks cannot be said: 10 samples under constant load are too few, 20 are needed.",
        ),
        (
            soak(360, 10, |part| 512.0 + 120.0 * if part < 0.5 { part } else { part - 0.5 }),
            "Whether memory of `app` leaks cannot be said: it rises, but it also fell by 55.6 MiB at 30m, and a leak with a restart looks \
             like a slow collection of garbage.",
        ),
        (
            soak(360, 3, |part| 512.0 - 200.0 * (-part / 0.4).exp()),
            "Memory of `app` was still warming up for most of the 54m judged: no leak is shown or ruled out. A soak of 2h16m would tell.",
        ),
        (
            soak(360, 8, |part| 512.0 + 60.0 * (part - 0.5).max(0.0) / 0.5),
            "Memory of `app` grows by 120.7 MiB an hour (113.8 MiB to 127.6 MiB) since 28m, faster than before: a leak, certain. A growth of \
             18.8 MiB an hour or more would have shown.",
        ),
        (
            soak(360, 6, |part| 512.0 + 30.0 * (part * 5.0).floor()),
            "Memory of `app` grows by 147.2 MiB an hour (141.8 MiB to 153.1 MiB) in steps: a leak, certain. A growth of 14.9 MiB an hour or more \
             would have shown.",
        ),
    ] {
        assert_eq!(told(&soak).title, words);
    }
}

fn any_number() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => -1e3..1e3_f64,
        2 => Just(0.0),
        1 => Just(f64::NAN),
        1 => Just(f64::INFINITY),
        1 => Just(1e100),
        1 => Just(-1e100),
        1 => Just(f64::MIN_POSITIVE),
        1 => Just(f64::MAX),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn any_readings_have_an_answer_without_nan(
        readings in prop::collection::vec((any_number(), any_number()), 0..120),
        even in any::<bool>(),
        limit in prop::option::of(any_number()),
        restarts in prop::collection::vec(any_number(), 0..3),
        ratio in any::<bool>(),
    ) {
        let time = |at: usize, time: f64| if even { at as f64 * 10.0 } else { time };
        let samples = readings.iter().enumerate().map(|(at, (moment, value))| (time(at, *moment), *value)).collect();
        let soak = Soak { samples, limit, restarts, scale: if ratio { Scale::Ratio } else { Scale::Plain } };
        let trend = judge(&soak);
        let text = serde_json::to_string(&trend).unwrap();
        // serde_json writes NaN and infinities as null; `p` and the basis have none of their own.
        let back: Trend = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&back, &trend);
        prop_assert!((0.0..=1.0).contains(&trend.p));
        prop_assert!(trend.detectable.is_none_or(f64::is_finite));
        prop_assert_eq!(trend.verdict == Verdict::Inconclusive, trend.why.is_some() && trend.verdict != Verdict::Levelling);
        let subject = Subject { series: "x", name: "x", unit: Unit::Time };
        let said = sentence(subject, &trend);
        prop_assert!(!said.contains("NaN") && !said.contains("inf"), "{}", said);
    }
}
