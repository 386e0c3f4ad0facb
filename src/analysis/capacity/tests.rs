//! The load line of a chat bot, from the figures its team measured by hand, and of systems with a known capacity.

use super::*;
use crate::analysis::cases;

const GB: f64 = 1_073_741_824.0;

fn used(resource: &str, kind: Kind, used: f64, limit: f64) -> Used {
    Used { resource: resource.into(), kind, used, limit }
}

/// 10, 50 and 100 users for 15 minutes each, who send two commands a minute.
fn users() -> Vec<Level> {
    let level = |load: f64, requests: u64, failed: u64, p95_s: f64, cpu: f64, memory: f64, connections: f64| Level {
        load,
        seconds: 900.0,
        requests,
        failed,
        throughput: load / 30.0,
        p95_s: Some(p95_s),
        resources: vec![
            used("cpu", Kind::Servers, cpu, 1.0),
            used("memory", Kind::Store, memory * GB, 2.5 * GB),
            used("connections", Kind::Servers, connections, 20.0),
        ],
        ..Level::default()
    };
    vec![
        level(10.0, 1_000, 0, 1.2, 0.12, 0.65, 3.0),
        level(50.0, 5_000, 7, 2.4, 0.32, 1.1, 8.0),
        level(100.0, 10_000, 120, 3.5, 0.68, 1.8, 18.0),
    ]
}

/// 200 to 1,000 messages a minute, two minutes each; resources were read at the top only.
fn messages() -> Vec<Level> {
    let p95 = [1.2, 1.4, 1.6, 1.8, 2.0, 2.4, 2.8, 3.2, 3.8];
    let failed = [0.0, 0.0, 0.0005, 0.001, 0.002, 0.003, 0.006, 0.009, 0.012];
    let level = |(at, (p95_s, failed)): (usize, (f64, f64))| {
        let load = 200.0 + 100.0 * at as f64;
        let requests = load * 2.0;
        Level {
            load,
            seconds: 120.0,
            requests: requests as u64,
            failed: (requests * failed).round() as u64,
            offered: Some(load / 60.0),
            throughput: load / 60.0 * (1.0 - failed),
            p95_s: Some(p95_s),
            resources: if load < 1000.0 {
                Vec::new()
            } else {
                vec![
                    used("cpu", Kind::Servers, 0.72, 1.0),
                    used("memory", Kind::Store, 1.9 * GB, 2.5 * GB),
                    used("connections", Kind::Servers, 19.0, 20.0),
                ]
            },
            ..Level::default()
        }
    };
    p95.into_iter().zip(failed).enumerate().map(level).collect()
}

/// What the team called safe, per ladder.
fn plan(unit: &str, p95_s: Option<f64>) -> Plan {
    let most = [("connections", 10.0), ("memory", 1.2 * GB), ("cpu", 0.4)];
    Plan {
        unit: unit.into(),
        p95_s,
        failed: 0.005,
        most: most.map(|(name, most)| (name.to_owned(), most)).into(),
        broken_p95_s: Some(6.0),
        ..Plan::default()
    }
}

fn estimates(line: &LoadLine) -> &[Estimate] {
    match line.breaking.as_ref().unwrap() {
        Breaking::Beyond { estimates, .. } => estimates,
        Breaking::Measured { .. } => panic!("nothing broke in the test"),
    }
}

#[test]
fn the_ladder_of_users_gives_the_table_made_by_hand() {
    let line = load_line(&users(), &plan("users", None));
    let (safe, peak) = (line.safe.clone().unwrap(), line.peak.clone().unwrap());
    assert_eq!((safe.load, safe.interval.high, peak.load, peak.reached), (50.0, 100.0, 100.0, false));
    // The level above missed every single one of the team's limits.
    let missed: Vec<String> = safe.missed.iter().map(|criterion| format!("{:?}", criterion.what)).collect();
    assert_eq!(missed, ["Failed", "InUse(\"cpu\")", "InUse(\"memory\")", "InUse(\"connections\")"]);
    // "> 120 (estimated)": the pool is full first.
    let first = &estimates(&line)[0];
    assert_eq!(first.what, What::Utilisation("connections".into()));
    assert!(first.interval.contains(120.0) && first.load > 100.0 && first.load < 125.0, "{first:?}");
    assert_eq!(line.bottlenecks.iter().map(|one| one.resource.as_str()).collect::<Vec<_>>()[0], "connections");
    assert!((line.bottlenecks[0].utilisation - 0.9).abs() < 1e-9);
}

#[test]
fn the_ladder_of_messages_gives_the_table_made_by_hand() {
    let line = load_line(&messages(), &plan("messages/min", Some(2.0)));
    let (safe, peak) = (line.safe.clone().unwrap(), line.peak.clone().unwrap());
    assert_eq!((safe.load, safe.interval.high, peak.load, peak.reached), (500.0, 600.0, 1000.0, false));
    assert_eq!((safe.missed[0].what.clone(), safe.missed[0].measured, safe.missed[0].limit), (What::P95, 2.0, 2.0));
    // 400 messages without a failure do not prove 0.5 %.
    assert_eq!(safe.unsure, [200.0]);
    // "> 1,200": it is an estimate, from the response times.
    let first = &estimates(&line)[0];
    assert_eq!((first.what.clone(), first.law), (What::P95, None));
    assert!(first.load > 1200.0 && first.load < 1500.0 && first.interval.low > 1100.0, "{first:?}");
    // Read once: no law, but 95 % of the pool was in use, which is nearest to its end.
    let told: Vec<(&str, String)> =
        line.bottlenecks.iter().map(|one| (one.resource.as_str(), one.demand.as_ref().unwrap_err().to_string())).collect();
    assert_eq!(told[0].0, "connections");
    assert!(told[0].1.contains("was read: 1,"), "{told:?}");
    assert_eq!(line.capacity(), None);
}

#[test]
fn with_its_own_limit_on_response_times_fewer_users_are_safe() {
    // The table made by hand calls 50 users safe and 2 s the limit; with 50 users p95 was 2.4 s.
    let line = load_line(&users(), &plan("users", Some(2.0)));
    let safe = line.safe.unwrap();
    assert_eq!((safe.load, safe.interval.high), (10.0, 50.0));
    assert_eq!((safe.missed[0].what.clone(), safe.missed[0].measured), (What::P95, 2.4));
}

#[test]
fn the_pool_that_is_needed_and_what_gives_way_next() {
    let line = load_line(&users(), &plan("users", None));
    // Twice the users: the team wrote 40, which would be 90 % full.
    let (size, next) = line.pool_for("connections", 200.0 / 30.0, None).unwrap();
    assert!((40..=46).contains(&size.servers), "{size:?}");
    assert_eq!(next.unwrap().resource, "cpu");
    assert_eq!(line.pool_for("memory", 1.0, None), None);
    assert_eq!(line.pool_for("nothing", 1.0, None), None);
}

/// The steps of a simulated system whose capacity is known.
fn simulated(name: &str) -> (Vec<Level>, serde_json::Value) {
    let case = cases::read(name);
    let column = |name: &str| case.column(name);
    let (offered, throughput, errors) = (column("offered_rps"), column("throughput_rps"), column("error_rate"));
    let (mean, p95, pool, size) = (column("mean_ms"), column("p95_ms"), column("pool_busy_mean"), column("pool_size"));
    let (cpu, cores) = (column("cpu_util"), column("cores"));
    let level = |at: usize| Level {
        load: offered[at],
        seconds: 35.0,
        offered: Some(offered[at]),
        requests: (offered[at] * 35.0) as u64,
        failed: (offered[at] * 35.0 * errors[at]) as u64,
        throughput: throughput[at],
        p95_s: Some(p95[at] / 1e3),
        mean_s: Some(mean[at] / 1e3),
        resources: vec![used("pool", Kind::Servers, pool[at], size[at]), used("cpu", Kind::Servers, cpu[at] * cores[at], cores[at])],
        ..Level::default()
    };
    ((0..offered.len()).map(level).collect(), case.json)
}

#[test]
fn capacity_and_bottleneck_of_simulated_systems() {
    for name in ["capacity_pool10_1", "capacity_cpu4_2"] {
        let (levels, json) = simulated(name);
        let truth = json["truth"]["capacity_rps"].as_f64().unwrap();
        let line = load_line(&levels[..7], &Plan::default());
        let first = line.first().unwrap();
        let demand = first.demand.as_ref().unwrap();
        assert_eq!(first.resource, json["truth"]["bottleneck"].as_str().unwrap());
        assert!((demand.capacity / truth - 1.0).abs() < 0.05 && demand.interval.contains(truth), "{name}: {demand:?}");
        assert!((demand.load.unwrap() / truth - 1.0).abs() < 0.05);
        // With all steps, the truth lies where it breaks.
        let whole = load_line(&levels, &Plan::default());
        let Some(Breaking::Measured { interval, .. }) = &whole.breaking else { panic!("{name} broke") };
        assert!(interval.low <= truth && truth <= interval.high, "{name}: {interval:?}");
        assert!(whole.peak.unwrap().reached);
        assert!((whole.safe.unwrap().load / truth - 0.8).abs() < 0.11, "{name}");
    }
}

#[test]
fn figures_that_contradict_littles_law_are_told() {
    let level =
        |in_flight| Level { load: 1.0, throughput: 90.0, requests: 1000, failed: 100, mean_s: Some(0.1), in_flight, ..Level::default() };
    let line = load_line(&[level(Some(10.0)), level(Some(14.0)), level(None)], &Plan::default());
    let agrees: Vec<Option<bool>> = line.levels.iter().map(|level| level.little.map(|little| little.agrees())).collect();
    assert_eq!(agrees, [Some(true), Some(false), None]);
}

#[test]
fn a_system_past_its_peak_is_broken_and_a_flat_one_has_reached_it() {
    let level = |load: f64, throughput: f64| Level { load, throughput, requests: 10_000, ..Level::default() };
    let retrograde = load_line(&[level(10.0, 100.0), level(20.0, 180.0), level(30.0, 150.0)], &Plan::default());
    let Some(Breaking::Measured { load, broken, .. }) = &retrograde.breaking else { panic!("it broke") };
    assert_eq!((*load, broken[0].what.clone()), (30.0, What::Retrograde));
    let peak = retrograde.peak.unwrap();
    assert!((peak.load - 20.0).abs() < 1e-9 && peak.reached);
    let flat = load_line(&[level(10.0, 100.0), level(20.0, 180.0), level(30.0, 181.0)], &Plan::default());
    assert!((flat.peak.as_ref().unwrap().load - 20.0).abs() < 1e-9 && flat.peak.unwrap().reached);
}

#[test]
fn nothing_in_gives_nothing_out() {
    let none = load_line(&[], &Plan::default());
    assert_eq!((none.safe, none.peak, none.breaking, none.bottlenecks), (None, None, None, vec![]));
    let bad = Level { load: f64::NAN, throughput: 1.0, ..Level::default() };
    assert_eq!(load_line(&[bad], &Plan::default()).peak, None);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(128))]

    #[test]
    fn no_ladder_breaks_it(
        figures in proptest::collection::vec((-1.0..1e3_f64, -1.0..1e3_f64, -1.0..30.0_f64, proptest::option::of(-1.0..1e9_f64), 0_u64..2000, 0_usize..9), 0..12),
        odd in proptest::sample::select(vec![0.0, f64::NAN, f64::INFINITY, 1e300, -1e300, 1e-300]),
    ) {
        let level = |(load, throughput, busy, p95_s, failed, windows): &(f64, f64, f64, Option<f64>, u64, usize)| Level {
            load: *load,
            throughput: *throughput,
            offered: Some(load * 1.01),
            requests: 1000,
            failed: *failed,
            p95_s: *p95_s,
            mean_s: Some(odd),
            in_flight: Some(*busy),
            resources: vec![used("a", Kind::Servers, *busy, 10.0), used("b", Kind::Store, odd, 5.0), used("c", Kind::Store, *busy, odd)],
            windows: vec![Window { throughput: odd, p95_s: *p95_s, wait_s: Some(odd) }; *windows],
            ..Level::default()
        };
        let levels: Vec<Level> = figures.iter().map(level).collect();
        let line = load_line(&levels, &Plan { p95_s: Some(1.0), broken_p95_s: Some(2.0), ..Plan::default() });
        for one in &line.bottlenecks {
            if let Ok(demand) = &one.demand {
                assert!(demand.capacity > 0.0 && !demand.interval.low.is_nan() && !demand.interval.high.is_nan(), "{demand:?}");
            }
        }
        if let Some(Breaking::Beyond { estimates, .. }) = &line.breaking {
            assert!(estimates.iter().all(|one| one.load.is_finite() && one.interval.low <= one.load && one.load <= one.interval.high));
        }
        for one in finding::table(&line, &levels) {
            assert!(!one.name.is_empty());
        }
    }
}

#[test]
fn a_load_line_is_told_in_one_sentence_and_one_table() {
    let mut told = String::new();
    for (levels, plan) in
        [(users(), plan("users", None)), (messages(), plan("messages/min", Some(2.0))), (simulated("capacity_pool10_1").0, Plan::default())]
    {
        let line = load_line(&levels, &plan);
        let finding =
            finding::of_load_line(&crate::model::run::RunId("r".into()), crate::model::units::Timestamp(0), &line, &levels).unwrap();
        told.push_str(&finding.title);
        for figure in &finding.evidence {
            told.push_str(&format!("\n  {}: {}", figure.name, figure.value));
        }
        told.push_str("\n\n");
    }
    insta::assert_snapshot!(told);
}
