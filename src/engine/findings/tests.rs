//! Runs that never were, driven second by second through the code that real runs go through.

use super::testing::{Noise, catalog, phase, reading, run, second};
use super::*;
use crate::model::alerting::Severity;
use crate::model::analysed::{Resource, Sureness, TrendFound, TrendVerdict};
use crate::model::series::{Point, Reading};
use crate::model::threshold::parse_series;

const MIB: f64 = 1_048_576.0;

/// Two minutes of ramp, then 40 minutes of constant load, then down again; memory as `memory` says it (second, noise), in MiB.
fn soak(memory: impl Fn(u32, f64) -> f64) -> (Observed, Run) {
    let catalog = catalog(&[phase("up", 0, 120, true), phase("hold", 120, 2_520, false), phase("down", 2_520, 2_640, true)]);
    let run = run(catalog.clone());
    let mut observed = Observed::default();
    let mut noise = Noise(7);
    for at in 0..2_640 {
        let load = f64::from(at.min(120)) / 120.0 * f64::from((2_640 - at).min(120)) / 120.0;
        observed.interval(&catalog, &[], &second(at, (30.0 * load) as u64, 0, 20_000));
        let points = vec![
            Point::new("process_memory", memory(at, noise.next()) * MIB),
            Point::new("process_cpu", 0.3),
            Point::new("process_descriptors", 60.0 + 100.0 * load + noise.next()),
            Point::new("process_descriptors_ratio", (60.0 + 100.0 * load) / 1024.0),
            Point::new("process_threads", 12.0),
            Point::new("pool_in_use", 6.0 * load + noise.next().abs()).with("pool", "main"),
            Point::new("pool_limit", 20.0).with("pool", "main"),
            Point::new("pool_waiting", 0.0).with("pool", "main"),
        ];
        observed.reading(&reading(at, points));
    }
    (observed, run)
}

fn asked() -> Asked {
    Asked::of_bounds(vec![(parse_series("process_memory: max < 1GiB").unwrap(), Severity::High)])
}

fn of(looked: &Looked, resource: Resource) -> &TrendFound {
    looked.analysed.trends.iter().find(|trend| trend.resource == resource).unwrap_or_else(|| panic!("{resource}: {looked:#?}"))
}

#[test]
fn a_soak_without_a_leak_says_so_of_every_resource() {
    let (observed, run) = soak(|at, noise| 200.0 + 100.0 * f64::from(at.min(120)) / 120.0 + 2.0 * noise);
    let looked = observed.look(&run, &asked(), Timestamp(0));
    let told: Vec<(Resource, TrendVerdict)> = looked.analysed.trends.iter().map(|trend| (trend.resource, trend.verdict)).collect();
    assert_eq!(told.len(), 7, "{told:?}");
    assert!(told.iter().all(|(_, verdict)| *verdict == TrendVerdict::NoLeak), "{told:?}");
    let memory = of(&looked, Resource::Memory);
    assert!(memory.title.starts_with("No leak of memory of `app` is seen in the 36m judged. A growth of"), "{}", memory.title);
    assert!(memory.detectable.is_some_and(|least| least < 20.0 * MIB), "{memory:?}");
    assert_eq!(memory.limit, Some(1024.0 * MIB), "the threshold is the limit");
    assert_eq!(of(&looked, Resource::Connections).limit, Some(20.0));
    assert!(looked.findings.iter().all(|finding| finding.kind == "no_leak" && finding.severity == Severity::Low), "{:#?}", looked.findings);
}

#[test]
fn a_leak_is_found_with_its_speed_and_its_end() {
    // 300 MiB at the end of the ramp, 60 MiB an hour; 1 GiB is reached about 11 h after the hold.
    let (observed, run) = soak(|at, noise| 300.0 + 60.0 * (f64::from(at) - 120.0).max(0.0) / 3600.0 + 2.0 * noise);
    let looked = observed.look(&run, &asked(), Timestamp(0));
    let memory = of(&looked, Resource::Memory);
    assert_eq!((memory.verdict, memory.sureness), (TrendVerdict::Leak, Some(Sureness::Certain)));
    let per_hour = memory.per_hour.unwrap();
    assert!((per_hour.value / MIB - 60.0).abs() < 6.0 && per_hour.low < per_hour.value, "{per_hour:?}");
    let truth = (1024.0 - 300.0 - 60.0 * 2_400.0 / 3600.0) / 60.0 * 3600.0;
    let left = memory.exhausted_in_s.unwrap();
    assert!((left.value / truth - 1.0).abs() < 0.2 && left.low < truth && left.high.is_some_and(|high| high > truth), "{left:?} {truth}");
    assert_eq!((looked.findings[0].kind.as_str(), looked.findings[0].severity), ("leak", Severity::High), "what matters comes first");
    assert!(looked.analysed.trends.iter().skip(1).all(|trend| trend.verdict == TrendVerdict::NoLeak), "{:#?}", looked.analysed.trends);
}

#[test]
fn a_restart_in_the_middle_hides_no_leak_and_makes_none() {
    for (leaks, verdict) in [(true, TrendVerdict::Leak), (false, TrendVerdict::NoLeak)] {
        // Seen only by what it does to the figures: the counters begin anew, memory falls.
        let catalog = catalog(&[phase("main", 0, 2_640, false)]);
        let mut observed = Observed::default();
        let mut noise = Noise(11);
        for at in 0..2_640 {
            observed.interval(&catalog, &[], &second(at, 30, 0, 20_000));
            let since = if at < 1_300 { at } else { at - 1_300 };
            let grown = if leaks { 300.0 * f64::from(since) / 3600.0 } else { 0.0 };
            let mut points = vec![Point::new("process_memory", (200.0 + grown + 2.0 * noise.next()) * MIB)];
            if at == 1_300 {
                points[0].value = 100.0 * MIB;
            } else {
                points.push(Point::new("process_cpu", 0.3));
            }
            observed.reading(&reading(at, points));
        }
        let looked = observed.look(&run(catalog), &Asked::default(), Timestamp(0));
        let memory = of(&looked, Resource::Memory);
        assert_eq!(memory.verdict, verdict, "{memory:#?}");
        let evidence = looked.findings.iter().flat_map(|finding| &finding.evidence).find(|one| one.name == "restarts of the target");
        assert!(evidence.is_some(), "{:#?}", looked.findings);
    }
}

#[test]
fn what_is_too_short_says_nothing_or_that_it_is() {
    let short = catalog(&[phase("main", 0, 200, false)]);
    let mut observed = Observed::default();
    for at in 0..200 {
        observed.interval(&short, &[], &second(at, 30, 0, 20_000));
        observed.reading(&reading(at, vec![Point::new("process_memory", f64::from(at) * MIB)]));
    }
    assert!(observed.look(&run(short), &Asked::default(), Timestamp(0)).findings.is_empty(), "no soak");
    // Ten minutes, but memory was read in the first of them only.
    let long = catalog(&[phase("main", 0, 600, false)]);
    let mut observed = Observed::default();
    for at in 0..600 {
        observed.interval(&long, &[], &second(at, 30, 0, 20_000));
        if at < 60 {
            observed.reading(&reading(at, vec![Point::new("process_memory", 300.0 * MIB)]));
        }
    }
    let looked = observed.look(&run(long), &Asked::default(), Timestamp(0));
    assert_eq!(of(&looked, Resource::Memory).verdict, TrendVerdict::Unknown);
    let memory = looked.findings.iter().find(|finding| finding.title.contains("memory")).unwrap();
    assert_eq!(memory.kind, "leak_unknown");
    assert!(memory.title.contains("are too few, 20 are needed"), "{}", memory.title);
}

#[test]
fn a_response_time_that_rises_is_told_as_such() {
    let catalog = catalog(&[phase("main", 0, 3_600, false)]);
    let mut observed = Observed::default();
    for at in 0..3_600 {
        observed.interval(&catalog, &[], &second(at, 30, 0, 20_000 + u64::from(at) * 4));
    }
    let asked = Asked::of_bounds(vec![(parse_series("http_req_duration: p(95) < 100ms").unwrap(), Severity::High)]);
    let looked = observed.look(&run(catalog), &asked, Timestamp(0));
    let p95 = of(&looked, Resource::P95);
    assert_eq!(p95.verdict, TrendVerdict::Leak, "{p95:#?}");
    assert!(p95.title.starts_with("P95 of the response time grows by") && p95.title.contains(": an upward trend, "), "{}", p95.title);
    assert!(p95.exhausted_in_s.is_some());
    assert_eq!(of(&looked, Resource::Errors).verdict, TrendVerdict::NoLeak);
}

#[test]
fn a_run_that_goes_on_is_looked_at_every_five_minutes_and_with_doubt() {
    let (observed, run) = soak(|at, noise| 300.0 + 60.0 * f64::from(at) / 3600.0 + 2.0 * noise);
    assert!(observed.is_due(600) && !observed.is_due(601) && !Observed::default().is_due(600));
    let looked = observed.look_meanwhile(&run, &asked(), Timestamp(0));
    assert_eq!(of(&looked, Resource::Memory).sureness, Some(Sureness::Certain));
}

/// One reading of the pool `main` of 20 connections.
fn pool(second: u32, in_use: f64) -> Reading {
    let point = |metric: &str, value: f64| Point::new(metric, value).with("pool", "main");
    reading(second, vec![point("pool_in_use", in_use), point("pool_limit", 20.0), point("pool_waiting", 0.0)])
}

/// Levels of so many requests a second, 120 s each; a request holds a connection for `service_s`, and beyond `most` requests a second a
/// fifth of them fail and all are slow.
fn climb(levels: &[u64], service_s: f64, most: u64) -> (Observed, Run) {
    let phases = levels.iter().enumerate().map(|(at, load)| phase(&format!("m{load}"), at as u64 * 120, at as u64 * 120 + 120, false));
    let phases: Vec<_> = phases.collect();
    let catalog = catalog(&phases);
    let mut observed = Observed::default();
    let mut noise = Noise(3);
    for (level, load) in levels.iter().enumerate() {
        for at in level as u32 * 120..level as u32 * 120 + 120 {
            let broken = *load > most;
            let (failed, us) = if broken { (load / 5, 900_000) } else { (0, 20_000 + load * 200) };
            observed.interval(&catalog, &[], &second(at, *load, failed, us));
            let in_use = if broken { 20.0 } else { *load as f64 * service_s + 0.3 * noise.next() };
            observed.reading(&pool(at, in_use));
        }
    }
    (observed, run(catalog))
}

fn p95_below(limit: &str) -> Asked {
    Asked::of_bounds(vec![(parse_series(&format!("http_req_duration: p(95) < {limit}")).unwrap(), Severity::High)])
}

#[test]
fn the_levels_of_a_run_give_its_load_line() {
    // 20 connections, 0.2 s each: full at 100 requests a second. Broken at 110.
    let (observed, run) = climb(&[10, 30, 50, 70, 90, 110], 0.2, 100);
    let looked = observed.look(&run, &p95_below("36ms"), Timestamp(0));
    let capacity = looked.analysed.capacity.as_ref().expect("a load line");
    assert_eq!((capacity.unit.as_str(), capacity.scenario.as_str(), capacity.from_ramp), ("starts/s", "main", false));
    assert_eq!((capacity.safe, capacity.unsafe_from, capacity.peak, capacity.breaking), (Some(50.0), Some(70.0), Some(90.0), Some(110.0)));
    assert!(capacity.peak_reached);
    let full = capacity.per_second.unwrap();
    assert!((full.value / 100.0 - 1.0).abs() < 0.05, "{full:?}");
    assert_eq!(capacity.bottlenecks[0].resource, "pool `main`");
    let outcomes: Vec<&str> = capacity.levels.iter().map(|level| level.outcome.as_str()).collect();
    assert_eq!(outcomes, ["safe", "safe", "safe", "unsafe", "unsafe", "broken"]);
    assert!(capacity.levels[3].missed[0].starts_with("p95 "), "{:?}", capacity.levels[3]);
    assert!(capacity.levels[5].missed[0].starts_with("broken: "), "{:?}", capacity.levels[5]);
    let finding = looked.findings.iter().find(|finding| finding.kind == "load_line").unwrap();
    assert!(finding.title.starts_with("Safe up to 50 starts/s (at 70: p95 "), "{}", finding.title);
    let advice = finding.evidence.iter().find(|one| one.name == "size for one and a half times the peak").unwrap();
    assert!(advice.value.starts_with("34 of pool `main` (now 20)"), "135 a second of 0.2 s at 80 %: {}", advice.value);
}

#[test]
fn what_did_not_break_is_estimated_and_marked_as_such() {
    let (observed, run) = climb(&[10, 20, 30, 40, 50, 70], 0.2, 1_000);
    let looked = observed.look(&run, &p95_below("1s"), Timestamp(0));
    let capacity = looked.analysed.capacity.as_ref().expect("a load line");
    assert_eq!((capacity.safe, capacity.unsafe_from, capacity.breaking, capacity.peak_reached), (Some(70.0), None, None, false));
    let estimate = capacity.breaking_estimate.unwrap();
    assert!((estimate.value / 100.0 - 1.0).abs() < 0.05 && estimate.low <= 100.0, "70 % of the capacity was tested: {estimate:?}");
    let finding = looked.findings.iter().find(|finding| finding.kind == "load_line").unwrap();
    assert!(finding.title.contains("at an estimated ") && finding.title.contains("not tested"), "{}", finding.title);
    // It can be stored: what is infinite is absent.
    let text = serde_json::to_string(&looked.analysed).unwrap();
    let back: Analysed = serde_json::from_str(&text).unwrap();
    assert_eq!(back, looked.analysed);
}

#[test]
fn a_long_ramp_has_to_do_where_no_levels_were_held() {
    let catalog = catalog(&[phase("up", 0, 600, true), phase("top", 600, 640, false)]);
    let mut observed = Observed::default();
    for at in 0..640 {
        let load = u64::from(at.min(600)) / 6;
        observed.interval(&catalog, &[], &second(at, load, 0, 20_000));
        observed.reading(&pool(at, load as f64 * 0.15));
    }
    let looked = observed.look(&run(catalog), &Asked::default(), Timestamp(0));
    let capacity = looked.analysed.capacity.as_ref().expect("a load line");
    assert!(capacity.from_ramp && capacity.levels.len() >= 18, "{capacity:#?}");
    assert!(looked.findings[0].evidence.iter().any(|one| one.name == "levels" && one.value.contains("pieces of a ramp")));
}

#[test]
fn two_loads_are_no_ladder() {
    let (observed, run) = climb(&[10, 30], 0.2, 100);
    assert_eq!(observed.look(&run, &Asked::default(), Timestamp(0)).analysed.capacity, None);
}

/// 50 requests a second, a spike of 500 for two minutes after five, then 50 again for ten; p95 by second in microseconds.
fn spiky(p95_us: impl Fn(u32) -> u64, after: u64) -> (Observed, Run) {
    let phases =
        [phase("before", 0, 300, false), phase("up", 300, 310, true), phase("spike", 310, 430, false), phase("down", 430, 440, true)];
    let catalog = catalog(&[phases.as_slice(), &[phase("after", 440, 1_040, false)]].concat());
    let mut observed = Observed::default();
    for at in 0..1_040 {
        let load = if at < 300 {
            50
        } else if at < 440 {
            500
        } else {
            after
        };
        observed.interval(&catalog, &[], &second(at, load, 0, p95_us(at)));
    }
    (observed, run(catalog))
}

#[test]
fn recovery_is_told_with_its_rule_and_nothing_less_is_called_one() {
    use crate::model::analysed::RecoveryState;
    let back = |at: u32| match at {
        300..440 => 90_000,
        440..500 => 60_000,
        _ => 20_000,
    };
    let plateau = |at: u32| {
        if at < 300 {
            20_000
        } else if at < 440 {
            90_000
        } else {
            30_000
        }
    };
    for (p95_us, after, state) in [
        (&back as &dyn Fn(u32) -> u64, 50, RecoveryState::Recovered),
        (&plateau, 50, RecoveryState::StaysWorse),
        // The load is gone: a target without load is always fast.
        (&back, 2, RecoveryState::Unknown),
    ] {
        let (observed, run) = spiky(p95_us, after);
        let looked = observed.look(&run, &Asked::default(), Timestamp(0));
        if after == 2 {
            // Two requests a second are no load like that of before: no end of a spike is seen.
            assert!(looked.analysed.recoveries.iter().all(|one| one.state != RecoveryState::Recovered), "{looked:#?}");
            continue;
        }
        let p95 = &looked.analysed.recoveries[0];
        assert_eq!((p95.what.as_str(), p95.state), ("p95", state), "{p95:#?}");
        assert!((p95.spike_from_s - 300.0).abs() < 1e-9 && (p95.spike_to_s - 440.0).abs() < 1e-9, "{p95:?}");
        let finding = looked.findings.iter().find(|finding| finding.method.starts_with("recovery")).unwrap();
        let told: Vec<&str> = finding.evidence.iter().map(|one| one.name.as_str()).collect();
        assert!(told.contains(&"counts as back at") && told.contains(&"spike") && told.contains(&"median"), "{told:?}");
        if state == RecoveryState::Recovered {
            let after = p95.after_s.unwrap();
            assert!((after - 60.0).abs() <= 45.0, "{after}");
            assert!(p95.worst.is_some_and(|worst| worst > 3.5), "{p95:?}");
        }
    }
}

#[test]
fn a_spike_without_enough_before_it_is_told_with_how_much_worse_it_was() {
    let phases = [phase("before", 0, 30, false), phase("up", 30, 40, true), phase("spike", 40, 160, false), phase("down", 160, 190, true)];
    let catalog = catalog(&[phases.as_slice(), &[phase("end", 190, 220, true)]].concat());
    let mut observed = Observed::default();
    for at in 0..220_u32 {
        let load = if at < 30 {
            50
        } else if at < 160 {
            500
        } else {
            50 - u64::from(at.saturating_sub(190))
        };
        observed.interval(&catalog, &[], &second(at, load, 0, if (30..160).contains(&at) { 60_000 } else { 20_000 }));
    }
    let looked = observed.look(&run(catalog), &Asked::default(), Timestamp(0));
    let finding = looked.findings.iter().find(|finding| finding.method.starts_with("recovery")).expect("a spike");
    assert_eq!(finding.kind, "recovery_unknown");
    let median = finding.evidence.iter().find(|one| one.name == "median").unwrap();
    assert!(median.value.contains("before") && median.value.contains('%'), "{}", median.value);
}

/// The pool `main` of 20 in a second: (in use, waiting).
fn busy_pool(second: u32, in_use: f64, waiting: f64) -> Reading {
    let point = |metric: &str, value| Point::new(metric, value).with("pool", "main");
    let points = vec![
        point("pool_in_use", in_use),
        point("pool_limit", 20.0),
        point("pool_utilization", in_use / 20.0),
        point("pool_waiting", waiting),
    ];
    reading(second, points)
}

#[test]
fn a_full_pool_is_told_with_what_the_server_said_and_the_size_it_needs() {
    use crate::model::failure::Reason;
    use crate::model::message::{Messages, Said};
    let catalog = catalog(&[phase("hold", 0, 120, false)]);
    let mut observed = Observed::default();
    for at in 0..120 {
        let full = (20..50).contains(&at);
        let (requests, failed) = if full { (100, 60) } else { (100, 0) };
        let mut interval = second(at, requests, failed, 20_000);
        if full {
            let said = |count, sample: &str| Said { count, sample: sample.into() };
            let sample = "500 Internal Server Error: {\"error\":\"sorry, too many clients already\"}";
            let by = [("500 …".to_owned(), said(58, sample)), ("other".to_owned(), said(2, "boom"))].into();
            let step = interval.steps.get_mut(&0).unwrap();
            step.messages = [(Reason::Status(503), Messages { by, beyond: 0 })].into();
        }
        observed.interval(&catalog, &[], &interval);
        observed.reading(&if full { busy_pool(at, 20.0, 61.0) } else { busy_pool(at, 6.0, 0.0) });
    }
    let looked = observed.look(&run(catalog), &Asked::default(), Timestamp(0));
    let told: Vec<(&str, &str)> = looked.findings.iter().map(|one| (one.kind.as_str(), one.title.as_str())).collect();
    let title = "From second 20 to 49 pool `main` was full (20 of 20, 61 waiting). 100 % of all failures fall into these seconds; their message is \
        'sorry, too many clients already'. Needed at this load: about 81 connections (Little's law, p95 hold time 500ms).";
    assert_eq!(told, [("pool_exhausted", title)]);
    assert!(looked.findings[0].evidence.iter().any(|one| one.name == "rule of thumb"), "{:#?}", looked.findings);
    let [need] = &looked.analysed.needs[..] else { panic!("{:?}", looked.analysed.needs) };
    assert!((need.busy - 50.0).abs() < 1e-6 && need.in_line == Some(81.0) && need.limit == Some(20.0), "{need:?}");
    let [cause] = &looked.analysed.causes[..] else { panic!("{:?}", looked.analysed.causes) };
    assert_eq!((cause.full_from_s, cause.lead_s, cause.said.as_deref()), (Some(20), Some(0), Some("sorry, too many clients already")));
}

#[test]
fn failures_that_nothing_explains_are_told_as_that() {
    let catalog = catalog(&[phase("hold", 0, 120, false)]);
    let mut observed = Observed::default();
    for at in 0..120 {
        observed.interval(&catalog, &[], &second(at, 100, if (20..50).contains(&at) { 60 } else { 0 }, 20_000));
        observed.reading(&busy_pool(at, 6.0, 0.0));
    }
    let looked = observed.look(&run(catalog), &Asked::default(), Timestamp(0));
    let told: Vec<(&str, &str)> = looked.findings.iter().map(|one| (one.kind.as_str(), one.title.as_str())).collect();
    assert_eq!(told, [("failures_unexplained", "1800 requests failed from second 20 to 49. No resource that was read explains this.")]);
}

/// A minute of 100 requests a second: the pool is full from 20 to 39, and responses are slow meanwhile; of the requests `failed(second)` fail.
fn queued(failed: impl Fn(u32) -> u64) -> Looked {
    let catalog = catalog(&[phase("hold", 0, 60, false)]);
    let mut observed = Observed::default();
    for at in 0..60 {
        let full = (20..40).contains(&at);
        observed.interval(&catalog, &[], &second(at, 100, failed(at), if full { 160_000 } else { 40_000 }));
        observed.reading(&if full { busy_pool(at, 20.0, 6.0) } else { busy_pool(at, 6.0, 0.0) });
    }
    // Full again for two seconds, which nobody noticed.
    for at in 60..80 {
        observed.interval(&catalog, &[], &second(at, 100, failed(at), 40_000));
        observed.reading(&if at < 62 { busy_pool(at, 20.0, 0.0) } else { busy_pool(at, 6.0, 0.0) });
    }
    observed.look(&run(catalog), &Asked::default(), Timestamp(0))
}

fn evidence<'a>(finding: &'a crate::model::finding::Finding, name: &str) -> Option<&'a str> {
    finding.evidence.iter().find(|one| one.name == name).map(|one| one.value.as_str())
}

#[test]
fn a_pool_that_makes_responses_slow_is_told_once_and_as_a_full_pool() {
    let looked = queued(|_| 0);
    let [finding] = &looked.findings[..] else { panic!("{:#?}", looked.findings) };
    assert_eq!((finding.kind.as_str(), finding.severity), ("pool_exhausted", Severity::Medium));
    let begins = "From second 20 to 39 pool `main` was full (20 of 20, 6 waiting). 100 % of all slow seconds are among them (p95 up to 1";
    assert!(finding.title.starts_with(begins) && finding.title.contains("Needed at this load: about "), "{}", finding.title);
    assert_eq!(evidence(finding, "probe"), Some("app"));
    assert_eq!(evidence(finding, "full, or waited for, in the whole run"), Some("22 of 80 readings, from second 20 to 61"));
    assert!(finding.method.starts_with("attribution/") && evidence(finding, "failures in full seconds").is_none(), "{finding:#?}");
    assert_eq!((looked.analysed.causes.len(), looked.analysed.needs.len()), (1, 1), "{:#?}", looked.analysed);
}

#[test]
fn of_a_pool_that_makes_responses_slow_the_failures_in_its_time_are_not_forgotten() {
    // Too few to be explained as a burst, but all of them while it was full.
    let looked = queued(|second| u64::from(second == 30 || second == 31));
    let [finding] = &looked.findings[..] else { panic!("{:#?}", looked.findings) };
    assert_eq!((finding.kind.as_str(), finding.severity), ("pool_exhausted", Severity::High), "{finding:#?}");
    assert!(finding.title.ends_with(" 100 % of all failures fall into seconds in which it was full."), "{}", finding.title);
    assert_eq!(evidence(finding, "failures in full seconds"), Some("100 %"));
}

#[test]
fn slowness_before_failures_of_the_same_pool_is_a_figure_of_theirs() {
    let looked = queued(|second| if (25..40).contains(&second) { 30 } else { 0 });
    let [finding] = &looked.findings[..] else { panic!("{:#?}", looked.findings) };
    assert_eq!((finding.kind.as_str(), finding.severity), ("pool_exhausted", Severity::High));
    assert!(finding.title.contains("100 % of all failures fall into these seconds"), "{}", finding.title);
    let slow = evidence(finding, "responses").unwrap_or_else(|| panic!("{finding:#?}"));
    assert!(slow.starts_with("slow in 20 seconds from second 20 to 39 (p95 up to 1"), "{slow}");
    assert!(slow.ends_with("100 % of all slow seconds are those in which it was full"), "{slow}");
}

#[test]
fn what_makes_responses_slow_and_is_no_pool_is_no_full_pool() {
    let catalog = catalog(&[phase("hold", 0, 60, false)]);
    let mut observed = Observed::default();
    for at in 0..60 {
        let held = (20..40).contains(&at);
        observed.interval(&catalog, &[], &second(at, 100, 0, if held { 160_000 } else { 40_000 }));
        observed.reading(&reading(at, vec![Point::new("cgroup_throttled", if held { 0.6 } else { 0.0 })]));
        observed.reading(&busy_pool(at, 6.0, 0.0));
    }
    let looked = observed.look(&run(catalog), &Asked::default(), Timestamp(0));
    let told: Vec<(&str, bool)> = looked.findings.iter().map(|one| (one.kind.as_str(), one.title.contains("CPU quota of `app`"))).collect();
    assert_eq!(told, [("slowdown_caused", true)], "{:#?}", looked.findings);
}
