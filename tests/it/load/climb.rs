//! Staircases against the demo target, whose pool sets a limit that can be reckoned: connections divided by how long a request holds one.

use std::time::Duration;

use plimsoll::demo::{self, Settings};
use plimsoll::model::run::Verdict;
use plimsoll::model::staircase::{ClimbSummary, LevelResult};

use super::program::{Done, Plan};

/// About 95 requests a second: four connections, each held for 40 ms and a little more.
async fn target() -> demo::Running {
    demo::start(Settings { pool: 4, hold: Duration::from_millis(40), ..Settings::default() }).await.expect("a demo target")
}

const FLOW: &str = "flow: [{ step: balance, get: /api/v1/wallet/balance, timeout: 20s }]";

async fn run(target: &demo::Running, keys: &str) -> Done {
    let url = target.url("").trim_end_matches('/').to_owned();
    let scenarios = format!("{{ climb: {{ executor: staircase, {keys}, {FLOW} }} }}");
    Plan { base_url: &url, target: "", scenarios: &scenarios, profile: "", top: "load: { threads: 2 }" }.run().await
}

fn climb(done: &Done) -> ClimbSummary {
    done.run.summary.as_ref().map(|summary| summary.climbs[0].clone()).unwrap_or_else(|| panic!("{:#?}", done.run))
}

/// The levels as they were climbed, with whether they passed.
fn climbed(climb: &ClimbSummary) -> Vec<(u64, bool)> {
    climb.levels.iter().map(|level: &LevelResult| (level.level as u64, level.verdict == Verdict::Pass)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_is_narrowed_down_by_bisection() {
    let target = target().await;
    let keys = "levels: [15/s, 45/s, 285/s], preAllocatedVUs: 20, maxVUs: 120, hold: 4s, rest: 3s, search: bisect, resolution: 60/s, \
                gate: [\"http_req_duration: p(95) < 600ms\", \"http_req_failed: rate < 1%\"], mustReach: 45/s";
    let done = run(&target, keys).await;
    let climb = climb(&done);
    // 285/s is three times the limit; between 45 and 285, 165 is too much, and whether 105 is depends on the machine.
    assert_eq!(climbed(&climb)[..4], [(15, true), (45, true), (285, false), (165, false)], "{climb:#?}");
    let (passed, failed) = (climb.passed.unwrap_or_default(), climb.failed.unwrap_or_default());
    assert!(passed >= 45.0 && failed <= 165.0 && failed - passed <= 60.0, "{climb:#?}");
    assert_eq!(climb.levels.len(), 5);
    // A level that fails ends the climb and not the run; what must be reached was reached.
    let busy_machine = done.run.reasons[0].starts_with("the load generator");
    assert!(busy_machine || done.run.verdict == Some(Verdict::Pass), "{:?}", done.run.reasons);
    assert!(done.run.reasons.contains(&climb.sentence()), "{:?}", done.run.reasons);
    let must = done.run.thresholds.iter().find(|result| result.text == "climb must reach 45/s");
    assert_eq!(must.map(|must| must.verdict), Some(Verdict::Pass));
    // The phases in the catalog are the levels as they were really climbed, one after the other and without gaps.
    let phases = &done.run.catalog.scenarios[0].phases;
    assert!(phases.windows(2).all(|pair| pair[0].end == pair[1].start), "{phases:?}");
    // While a level is judged it may go on.
    let names: Vec<&str> = phases.iter().map(|phase| phase.name.as_str()).filter(|name| *name != "judging").collect();
    assert_eq!(names[..6], ["level-15/s", "level-45/s", "level-285/s", "rest", "level-165/s", "rest"]);
    for level in &climb.levels {
        let phase = phases.iter().find(|phase| phase.name == level.phase).unwrap_or_else(|| panic!("{} in {phases:?}", level.phase));
        assert_eq!(phase.end.saturating_sub(phase.start), Duration::from_secs(4), "every level is held for the same time");
    }
    let failed = climb.levels.iter().find(|level| level.level as u64 == 285).map(|level| level.reasons.clone()).unwrap_or_default();
    assert!(failed[0].contains("http_req_duration"), "{failed:?}");
    target.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_climb_no_higher_than_the_gate_lets_them() {
    let target = target().await;
    // 12 users who do not think want three times what four connections give: each waits for about 120 ms.
    let keys = "levels: [1, 12, 40], hold: 3s, gate: [\"http_req_duration: p(95) < 100ms\"], mustReach: 12";
    let done = run(&target, keys).await;
    let climb = climb(&done);
    assert_eq!(climbed(&climb), [(1, true), (12, false)], "{climb:#?}");
    assert_eq!((climb.passed, climb.failed, climb.unit.as_str()), (Some(1.0), Some(12.0), "VUs"));
    done.assert(99, Some(Verdict::Fail));
    assert!(done.run.reasons.iter().any(|reason| reason == "`climb` passed up to 1 VU only, asked for 12 VUs"), "{:?}", done.run.reasons);
    let most = done.run.summary.as_ref().map(|summary| summary.scenarios[0].vus_max);
    assert_eq!(most, Some(12), "the third level was never climbed");
    target.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_level_that_was_not_delivered_has_not_passed() {
    let target = target().await;
    // One VU cannot take 60 starts a second of 40 ms each; what it takes is quick.
    let keys = "levels: [5/s, 60/s], preAllocatedVUs: 1, hold: 3s, stopOnFail: false, gate: [\"http_req_failed: rate < 1%\"]";
    let mut done = run(&target, keys).await;
    let mut climb = climb(&done);
    // The first level leaves 160 ms between a request and the next; a machine that stands still for longer is asked again.
    for _ in 0..8 {
        if climb.levels[0].verdict == Verdict::Pass {
            break;
        }
        done = run(&target, keys).await;
        climb = self::climb(&done);
    }
    // How high it came is the result: a level passed.
    done.assert(0, Some(Verdict::Pass));
    assert_eq!(climb.levels[1].verdict, Verdict::Invalid, "{climb:#?}");
    assert!(climb.levels[1].reasons.iter().any(|reason| reason.contains("were not delivered")), "{:?}", climb.levels[1].reasons);
    assert_eq!((climb.levels.len(), climb.failed), (2, Some(60.0)));
    target.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_climb_of_which_no_level_was_delivered_is_not_green() {
    let target = target().await;
    // Nothing must be reached, nothing failed: nine of ten starts were never sent.
    let keys = "levels: [60/s], preAllocatedVUs: 1, hold: 3s, gate: [\"http_req_failed: rate < 1%\"]";
    let done = run(&target, keys).await;
    let climb = climb(&done);
    assert_eq!((climb.levels[0].verdict, climb.passed), (Verdict::Invalid, None), "{climb:#?}");
    done.assert(98, Some(Verdict::Invalid));
    let sentence = climb.sentence();
    let said: Vec<&String> = done.run.reasons.iter().filter(|reason| **reason == sentence).collect();
    assert_eq!(said.len(), 1, "it is said once: {:?}", done.run.reasons);
    target.stop().await;
}
