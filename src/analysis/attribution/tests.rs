//! Runs that never were: what is blamed, what is not, and what is said of it.

use proptest::prelude::*;

use super::*;

/// A run of steady load: (requests, failed, p95 in ms) by second.
fn load(of: impl Fn(u32) -> (u64, u64, u64), seconds: u32) -> Vec<Second> {
    (0..seconds)
        .map(|second| {
            let (requests, failed, p95_ms) = of(second);
            Second { second, requests, failed, p95_s: Some(p95_ms as f64 / 1000.0), load: 1.0 }
        })
        .collect()
}

/// A resource of 20 that is full in these seconds, and at 8 otherwise.
fn resource(name: &str, seconds: u32, full: impl Fn(u32) -> bool) -> Resource {
    let seen = |second| {
        let saturated = full(second);
        let used = if saturated { 20.0 } else { 8.0 };
        (second, Seen { saturated, used: Some(used), limit: Some(20.0), waiting: Some(if saturated { 31.0 } else { 0.0 }) })
    };
    Resource { name: name.into(), seen: (0..seconds).map(seen).collect() }
}

fn one(seconds: &[Second], resources: &[Resource]) -> Attribution {
    let mut found = attribute(seconds, resources, 1);
    assert_eq!(found.len(), 1, "{found:#?}");
    found.remove(0)
}

#[test]
fn a_full_pool_that_failures_follow_is_their_cause() {
    let full = |second: u32| (5..=41).contains(&second);
    let seconds = load(|second| if full(second) { (100, 40, 20) } else { (100, u64::from(second == 80), 20) }, 120);
    let found = one(&seconds, &[resource("pool `main`", 120, full), resource("pool `other`", 120, |_| false)]);
    let cause = found.cause.unwrap();
    assert_eq!((cause.name.as_str(), cause.from, cause.to, cause.seconds, cause.lead_s), ("pool `main`", 5, 41, 37, 0));
    assert!(cause.share > 0.99 && found.of_all > 0.99 && cause.p < 0.05, "{cause:?}");
    let contrast = cause.contrast.unwrap();
    assert!(contrast.with > 0.35 && contrast.without < 0.01, "{contrast:?}");
    assert_eq!(found.others, [("pool `other`".to_owned(), Why::Never)]);
    assert_eq!((cause.used, cause.limit, cause.waiting), (Some(20.0), Some(20.0), Some(31.0)));
}

#[test]
fn slow_or_failing_without_saturation_is_explained_by_nothing() {
    let bad = |second: u32| (30..60).contains(&second);
    let failing = load(|second| (100, if bad(second) { 30 } else { 0 }, 20), 120);
    let found = one(&failing, &[resource("pool `main`", 120, |_| false)]);
    assert_eq!((found.cause, found.harm, found.from, found.to, found.amount), (None, Harm::Failures, 30, 59, 900.0));
    let slow = load(|second| (100, 0, if bad(second) { 900 } else { 20 }), 120);
    let found = one(&slow, &[resource("pool `main`", 120, |_| false)]);
    assert_eq!((found.cause, found.harm, found.seconds, found.p95_s), (None, Harm::Slowness, 30, Some((0.9, 0.02))));
}

#[test]
fn slowness_that_settles_just_below_what_it_began_with_is_one_burst() {
    // As of a pool that callers queue for: the first seconds are the worst, the others hardly better, and it ends with the saturation.
    let full = |second: u32| (9..33).contains(&second);
    let p95 = |second: u32| match second {
        10..15 => 220,
        15..33 => 140,
        _ => 80,
    };
    let found = one(&load(|second| (200, 0, p95(second)), 60), &[resource("pool `main`", 60, full)]);
    assert_eq!((found.harm, found.from, found.to, found.seconds), (Harm::Slowness, 10, 32, 23));
    assert_eq!(found.cause.map(|cause| (cause.name, cause.from, cause.to)), Some(("pool `main`".into(), 9, 32)));
    // Seconds that are half as slow again, and none that is more, are no burst.
    let seconds = load(|second| (200, 0, if full(second) { 140 } else { 80 }), 60);
    assert!(attribute(&seconds, &[resource("pool `main`", 60, full)], 1).is_empty());
}

#[test]
fn twice_as_slow_is_slow_but_not_a_few_milliseconds_nor_pauses_with_quiet_between() {
    let full = |second: u32| (20..40).contains(&second);
    let slow = |usual: u64, then: u64| {
        attribute(&load(|second| (200, 0, if full(second) { then } else { usual }), 60), &[resource("pool `main`", 60, full)], 1).len()
    };
    assert_eq!((slow(80, 165), slow(80, 155)), (1, 0));
    assert_eq!((slow(2, 11), slow(2, 13)), (0, 1), "10 ms more at least");
    // Every fourth second a pause, and the pool full with it.
    let paused = |second: u32| second % 4 == 3;
    let seconds = load(|second| (200, 0, if paused(second) { 400 } else { 80 }), 60);
    assert!(attribute(&seconds, &[resource("pool `main`", 60, paused)], 0).is_empty());
}

#[test]
fn at_a_load_without_any_harm_nothing_is_compared() {
    // The queue forms at the higher load only; at the lower one the pool is full for a moment, and nothing is slow with it or without.
    let high = |second: u32| (20..40).contains(&second);
    let seconds: Vec<Second> = load(|second| (200, 0, if high(second) { 300 } else { 80 }), 60)
        .into_iter()
        .map(|second| Second { load: if high(second.second) { 1.0 } else { 0.1 }, ..second })
        .collect();
    let cause = one(&seconds, &[resource("pool `main`", 60, |second| (19..41).contains(&second))]).cause.unwrap();
    assert_eq!((cause.contrast, cause.lead_s), (None, 1));
}

#[test]
fn saturated_without_harm_is_no_attribution() {
    let seconds = load(|_| (100, 0, 20), 120);
    assert!(attribute(&seconds, &[resource("pool `main`", 120, |second| second > 20)], 1).is_empty());
}

#[test]
fn of_two_saturated_resources_the_one_that_is_not_always_so_is_the_cause() {
    let bad = |second: u32| (50..60).contains(&second);
    let seconds = load(|second| (100, if bad(second) { 50 } else { 0 }, 20), 120);
    let resources = [resource("pool `busy`", 120, |second| second > 10), resource("pool `main`", 120, bad)];
    let found = one(&seconds, &resources);
    assert_eq!(found.cause.unwrap().name, "pool `main`");
    assert!(matches!(found.others[..], [(_, Why::Always(share))] if share > 0.7), "{:?}", found.others);
    // Whichever is read first.
    let [one_, other] = resources;
    assert_eq!(one(&seconds, &[other, one_]).cause.unwrap().name, "pool `main`");
}

#[test]
fn a_pool_that_was_full_before_without_a_queue_is_the_cause_once_it_has_one() {
    // A staircase: at the third level the pool is just full and two wait now and then, at the fourth thirty wait and give up.
    let bad = |second: u32| (83..=108).contains(&second);
    let full = |second: u32| bad(second) || (55..83).contains(&second) && !second.is_multiple_of(3);
    let seconds: Vec<Second> = load(|second| (if bad(second) { 60 } else { 30 }, if bad(second) { 20 } else { 0 }, 120), 112)
        .into_iter()
        .map(|second| Second { load: f64::from(second.second / 28 + 1) / 4.0, ..second })
        .collect();
    let mut pool = resource("pool `main`", 112, full);
    let queue = |pool: &mut Resource, before: f64| {
        pool.seen.iter_mut().filter(|(_, seen)| seen.saturated).for_each(|(second, seen)| {
            seen.waiting = Some(if bad(*second) { 30.0 } else { before });
        });
    };
    queue(&mut pool, 2.0);
    let cause = one(&seconds, std::slice::from_ref(&pool)).cause.unwrap();
    assert_eq!((cause.name.as_str(), cause.from, cause.to, cause.lead_s), ("pool `main`", 83, 108, 0));
    assert!(cause.share > 0.99 && cause.p <= 0.05, "{cause:?}");
    // Where as many waited before and nothing failed, something else is the matter.
    queue(&mut pool, 30.0);
    let found = one(&seconds, &[pool]);
    assert_eq!(found.cause, None);
    assert!(matches!(found.others[..], [(_, Why::Always(_))]), "{:?}", found.others);
}

#[test]
fn what_is_full_because_of_the_failures_is_not_their_cause() {
    let bad = |second: u32| (50..70).contains(&second);
    let seconds = load(|second| (100, if bad(second) { 50 } else { 0 }, 20), 120);
    let retries = resource("pool `retries`", 120, |second| (55..72).contains(&second));
    let found = one(&seconds, std::slice::from_ref(&retries));
    assert_eq!((found.cause, &found.others[..]), (None, &[("pool `retries`".to_owned(), Why::Later(5))][..]));
    let found = one(&seconds, &[retries, resource("pool `main`", 120, |second| (49..69).contains(&second))]);
    assert_eq!(found.cause.map(|cause| (cause.name, cause.lead_s)), Some(("pool `main`".into(), 1)));
}

#[test]
fn a_resource_that_rises_with_the_load_is_none_however_well_it_goes_with_failures() {
    // The load doubles; failures come with it, CPU rises to 70 % and is never at its limit.
    let seconds: Vec<Second> = load(|second| if second < 60 { (100, 0, 20) } else { (200, 60, 20) }, 120)
        .into_iter()
        .map(|second| Second { load: if second.second < 60 { 0.5 } else { 1.0 }, ..second })
        .collect();
    let mut cpu = resource("CPU", 120, |_| false);
    cpu.seen.iter_mut().for_each(|(second, seen)| seen.used = Some(if *second < 60 { 7.0 } else { 14.0 }));
    assert_eq!(one(&seconds, &[cpu]).cause, None);
}

#[test]
fn at_its_limit_with_the_load_but_just_as_bad_at_equal_load_without_it() {
    // Failures from second 40 on. The pool is full from 40 to 59, and not at all from 60 to 119, where as much fails.
    let seconds = load(|second| (100, if second >= 40 { 30 } else { 0 }, 20), 120);
    let found = one(&seconds, &[resource("pool `main`", 120, |second| (40..60).contains(&second))]);
    assert_eq!(found.cause, None);
    assert!(matches!(found.others[..], [(_, Why::Covers(share))] if share < 0.3), "{:?}", found.others);
}

#[test]
fn without_equal_load_the_cause_is_named_with_its_doubt() {
    // A ramp that ends where the pool is full: no such load without it.
    let seconds: Vec<Second> = (0..120)
        .map(|second| {
            let load = f64::from(second / 30 + 1) / 4.0;
            let failed = if second >= 90 { 20 } else { 0 };
            Second { second, requests: 100, failed, p95_s: Some(0.02), load: load * load }
        })
        .collect();
    let cause = one(&seconds, &[resource("pool `main`", 120, |second| second >= 90)]).cause.unwrap();
    assert_eq!((cause.contrast, cause.from), (None, 90));
}

#[test]
fn seconds_that_were_not_read_count_neither_way() {
    let bad = |second: u32| (20..40).contains(&second);
    let seconds = load(|second| (100, if bad(second) { 40 } else { 0 }, 20), 120);
    let mut main = resource("pool `main`", 120, bad);
    // Every other reading is missing, and all of a stretch without failures.
    main.seen.retain(|second, _| second % 2 == 0 && !(60..90).contains(second));
    let cause = one(&seconds, &[main.clone()]).cause.unwrap();
    assert!(cause.share > 0.99 && cause.seconds == 10 && cause.read == 10, "{cause:?}");
    // It fell silent just when it mattered.
    main.seen.retain(|second, _| *second < 24 || *second > 44);
    let found = one(&seconds, &[main]);
    assert_eq!((found.cause, &found.others[..]), (None, &[("pool `main`".to_owned(), Why::Unread)][..]));
    // Nothing was read at all.
    assert!(attribute(&seconds, &[Resource { name: "pool `main`".into(), ..Resource::default() }], 1).is_empty());
}

#[test]
fn one_second_is_enough() {
    let seconds = load(|second| (100, if second == 33 { 25 } else { 0 }, 20), 60);
    let found = one(&seconds, &[resource("pool `main`", 60, |second| second == 33), resource("pool `other`", 60, |second| second == 12)]);
    let cause = found.cause.unwrap();
    assert_eq!((cause.name.as_str(), cause.from, cause.to), ("pool `main`", 33, 33));
    assert_eq!(found.others, [("pool `other`".to_owned(), Why::Covers(0.0))]);
    // Fewer failures than are worth explaining.
    let few = load(|second| (100, if second == 33 { 3 } else { 0 }, 20), 60);
    assert!(attribute(&few, &[resource("pool `main`", 60, |second| second == 33)], 1).is_empty());
}

#[test]
fn what_waited_in_vain_fails_after_its_wait() {
    let seconds = load(|second| (100, if (25..45).contains(&second) { 40 } else { 0 }, 20), 120);
    let main = [resource("pool `main`", 120, |second| (20..40).contains(&second))];
    let mut found = attribute(&seconds, &main, 5);
    let cause = found.remove(0).cause.unwrap();
    assert_eq!((cause.from, cause.lead_s), (20, 5));
    assert!(cause.share > 0.99, "{cause:?}");
}

#[test]
fn the_second_before_it_was_read_as_full_says_nothing_against_it() {
    // The flood came just after the reading; later it stays full without harm.
    let seconds = load(
        |second| {
            (if second == 12 { 2_000 } else { 100 }, if second == 12 { 1_000 } else { 60 * u64::from((13..27).contains(&second)) }, 20)
        },
        60,
    );
    let cause = one(&seconds, &[resource("pool `server`", 60, |second| (13..46).contains(&second))]).cause;
    assert_eq!(cause, None, "more than half of the harm came before");
    let seconds = load(
        |second| (if second == 12 { 500 } else { 100 }, if second == 12 { 250 } else { 60 * u64::from((13..27).contains(&second)) }, 20),
        60,
    );
    let cause = one(&seconds, &[resource("pool `server`", 60, |second| (13..46).contains(&second))]).cause.unwrap();
    assert!(cause.lead_s == -1 && cause.contrast.is_some_and(|contrast| contrast.without <= 0.0), "{cause:?}");
}

#[test]
fn bursts_with_different_causes_are_told_apart_and_those_with_one_are_put_together() {
    let first = |second: u32| (20..30).contains(&second) || (70..80).contains(&second);
    let other = |second: u32| (100..115).contains(&second);
    let seconds = load(|second| (100, if first(second) || other(second) { 40 } else { 0 }, 20), 180);
    let found = attribute(&seconds, &[resource("pool `a`", 180, first), resource("pool `b`", 180, other)], 1);
    let told: Vec<_> =
        found.iter().map(|one| (one.cause.as_ref().map(|cause| (cause.name.as_str(), cause.from, cause.to)), one.seconds)).collect();
    assert_eq!(told, [(Some(("pool `a`", 20, 79)), 20), (Some(("pool `b`", 100, 114)), 15)]);
    assert!((found[0].of_all - 800.0 / 1400.0).abs() < 1e-9);
}

#[test]
fn two_that_were_full_in_the_same_seconds_cannot_be_told_apart() {
    let bad = |second: u32| (50..60).contains(&second);
    let seconds = load(|second| (100, if bad(second) { 50 } else { 0 }, 20), 120);
    let cause =
        one(&seconds, &[resource("pool `a`", 120, bad), resource("pool `b`", 120, |second| (49..60).contains(&second))]).cause.unwrap();
    assert_eq!((cause.name.as_str(), &cause.alike[..]), ("pool `b`", &["pool `a`".to_owned()][..]));
}

#[test]
fn full_all_the_time_proves_nothing() {
    let seconds = load(|_| (100, 20, 20), 60);
    let found = one(&seconds, &[resource("pool `main`", 60, |_| true)]);
    assert_eq!((found.cause, &found.others[..]), (None, &[("pool `main`".to_owned(), Why::Throughout)][..]));
}

#[test]
fn sentences() {
    use crate::model::run::RunId;
    use crate::model::units::Timestamp;
    let full = |second: u32| (5..=41).contains(&second);
    let seconds = load(|second| if full(second) { (100, 40, 20) } else { (100, 5 * u64::from(second % 60 == 55), 20) }, 180);
    let found = one(&seconds, &[resource("pool `main`", 180, full), resource("pool `other`", 180, |second| second == 100)]);
    let beside = finding::Beside {
        said: Some(("sorry, too many clients already".into(), 1.0)),
        need: Some(("Needed at this load: about 160 connections.".into(), Vec::new())),
    };
    let told = |found: &Attribution| {
        let finding = finding::of_attribution(&RunId("r".into()), Timestamp(0), found, true, &beside);
        let evidence: Vec<String> = finding.evidence.iter().map(|one| format!("  {}: {}", one.name, one.value)).collect();
        format!("{} {}\n{}\n{}\n", finding.kind, finding.severity.as_str(), finding.title, evidence.join("\n"))
    };
    insta::assert_snapshot!(told(&found));
    let none = one(&seconds, &[resource("pool `other`", 180, |second| second == 100)]);
    insta::assert_snapshot!(told(&none));
}

proptest! {
    /// Whatever was measured, shares are shares, nothing panics, and no cause covers less than half of the harm.
    #[test]
    fn any_run_is_answered(
        seconds in prop::collection::vec((0_u64..200, 0_u64..200, prop::option::of(0.0_f64..10.0), 0.0_f64..1.0), 0..80),
        states in prop::collection::vec(prop::collection::vec(prop::option::of(any::<bool>()), 80), 0..4),
        lag in 0_u32..12,
    ) {
        let seconds: Vec<Second> = seconds
            .into_iter()
            .enumerate()
            .map(|(second, (requests, failed, p95_s, load))| Second { second: second as u32, requests, failed: failed.min(requests), p95_s, load })
            .collect();
        let seen = |states: &Vec<Option<bool>>| {
            let each = states.iter().enumerate().filter_map(|(second, state)| Some((second as u32, Seen { saturated: (*state)?, ..Seen::default() })));
            each.collect()
        };
        let resources: Vec<Resource> = states.iter().map(|states| Resource { name: "r".into(), seen: seen(states) }).collect();
        for found in attribute(&seconds, &resources, lag) {
            prop_assert!((0.0..=1.0 + 1e-9).contains(&found.of_all) && found.from <= found.to);
            if let Some(cause) = found.cause {
                prop_assert!((0.5..=1.0 + 1e-9).contains(&cause.share) && (0.0..=1.0).contains(&cause.time), "{:?}", cause);
                prop_assert!(cause.from <= cause.to && cause.lead_s >= -1 && cause.p <= 0.1);
            }
        }
    }
}

/// Noise that has nothing to do with the failures is rarely taken for their cause.
#[test]
fn a_resource_that_is_full_at_random_explains_nothing() {
    let mut state = 1_u64;
    let mut draw = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / f64::from(1_u32 << 31)
    };
    let mut blamed = 0;
    for _ in 0..400 {
        let full: Vec<bool> = (0..120).map(|_| draw() < 0.2).collect();
        let begins = 20 + (draw() * 60.0) as u32;
        let seconds = load(|second| (100, if (begins..begins + 20).contains(&second) { 40 } else { 0 }, 20), 120);
        blamed += u32::from(one(&seconds, &[resource("pool `main`", 120, |second| full[second as usize])]).cause.is_some());
    }
    // One in twenty.
    assert!(blamed <= 20, "{blamed} of 400");
}
