//! Runs that never were, driven second by second through the code that real runs go through.

use super::testing::{Noise, catalog, phase, reading, run, second};
use super::*;
use crate::model::alerting::Severity;
use crate::model::analysed::{Resource, Sureness, TrendFound, TrendVerdict};
use crate::model::series::Point;
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
    Asked::of_series(vec![(parse_series("process_memory: max < 1GiB").unwrap(), Severity::High)])
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
    assert!(memory.title.starts_with("No leak of memory of `app` is seen in the 36m judged. Growth of"), "{}", memory.title);
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
    let asked = Asked::of_series(vec![(parse_series("http_req_duration: p(95) < 100ms").unwrap(), Severity::High)]);
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
