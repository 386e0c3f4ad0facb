//! trio, the spike: how much worse it was, when it was back, and that what stays worse is not called back.

use std::time::Duration;

use plimsoll::engine::findings::{Asked, Looked};
use plimsoll::model::analysed::{RecoveryFound, RecoveryState};
use plimsoll::model::units::Timestamp;
use serde_json::json;

use super::watched::{Phase, Target, Watched};

/// Four requests a second, twice as many for a minute, and four again.
const SPIKE: [Phase; 4] = [("before", 200, 4, false), ("spike", 60, 8, false), ("tail", 40, 4, false), ("after", 240, 4, false)];

/// The run with queries slower by so many milliseconds during the spike, and in the 40 s and the four minutes after it.
async fn run(target: &mut Target, slow: [u64; 3]) -> Looked {
    let mut watched = Watched::new("spike", &SPIKE, Timestamp(1_790_820_000_000_000), 7);
    target.fault(&json!({ "slow_ms": 0 })).await;
    watched.phase(target).await;
    for slow_ms in slow {
        target.fault(&json!({ "slow_ms": slow_ms })).await;
        watched.phase(target).await;
    }
    watched.observed.look(&watched.run, &Asked::default(), Timestamp(0))
}

fn p95(looked: &Looked) -> &RecoveryFound {
    let recoveries = &looked.analysed.recoveries;
    recoveries.iter().find(|found| found.what == "p95").unwrap_or_else(|| panic!("{looked:#?}"))
}

fn title<'a>(looked: &'a Looked, kind: &str) -> &'a str {
    let finding = looked.findings.iter().find(|finding| finding.kind == kind);
    &finding.unwrap_or_else(|| panic!("no {kind}: {looked:#?}")).title
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spike_is_told_with_its_damage_and_its_recovery() {
    let mut target = Target::start(20, Duration::from_millis(20)).await;
    // Four times as slow during the spike, and for 40 s after it.
    let slow = run(&mut target, [60, 60, 0]).await;
    let found = p95(&slow);
    assert_eq!(found.state, RecoveryState::Recovered, "{slow:#?}");
    assert!((found.after_s.unwrap() - 40.0).abs() <= 30.0 && (found.worst.unwrap() - 4.0).abs() < 0.4, "{found:?}");
    assert!((found.spike_from_s - 200.0).abs() <= 5.0 && (found.spike_to_s - 260.0).abs() <= 5.0, "{found:?}");
    let told = title(&slow, "recovered");
    assert!(told.contains(" after the spike. At worst it was ") && told.contains(" times the baseline (+"), "{told}");
    // It stays half again as slow: the load is gone, the damage is not.
    let worse = run(&mut target, [60, 10, 10]).await;
    assert_eq!(p95(&worse).state, RecoveryState::StaysWorse, "{worse:#?}");
    assert!(!title(&worse, "not_recovered").is_empty());
    // Without the fault twice the load does nothing to it.
    let well = run(&mut target, [0, 0, 0]).await;
    let found = p95(&well);
    assert_eq!(found.state, RecoveryState::Recovered, "{well:#?}");
    assert!(found.after_s.unwrap() < 30.0 && found.worst.unwrap() < 1.1, "{found:?}");
    assert!(!well.findings.iter().any(|finding| finding.kind == "not_recovered"), "{well:#?}");
}
