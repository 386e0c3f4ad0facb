//! How runs end, and with which exit code.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that failed")]

use plimsoll::model::control::Action;
use plimsoll::model::run::{EndedBy, Verdict};

use super::misfits::Misfits;
use super::program::{Plan, printed_run};
use crate::servers::{PATIENCE, temp_dir, wait_until};

/// Many users with slow answers: something is always in flight.
const BUSY: &str = "{ users: { executor: constant-vus, vus: 40, duration: 60s, flow: [{ step: get, get: /wait/300 }] } }";

fn plan<'a>(base_url: &'a str, target: &'a str, profile: &'a str) -> Plan<'a> {
    Plan { base_url, target, scenarios: BUSY, profile, top: "" }
}

#[tokio::test]
async fn failed_thresholds_are_99() {
    let server = Misfits::start().await;
    let scenarios = "{ users: { executor: constant-vus, vus: 2, duration: 1s, flow: [{ step: get, get: /wait/50 }] } }";
    let profile = "    thresholds: [\"http_req_duration: p(95) < 1ms\", \"http_req_failed: rate < 1%\"]";
    let done = Plan { scenarios, ..plan(&server.url(), "", profile) }.run().await;
    done.assert(99, Some(Verdict::Fail));
    let verdicts: Vec<Verdict> = done.run.thresholds.iter().map(|result| result.verdict).collect();
    assert_eq!((verdicts, done.run.ended_by), (vec![Verdict::Fail, Verdict::Pass], Some(EndedBy::Completed)));
}

#[tokio::test]
async fn abort_on_fail_ends_the_run_at_once_and_what_it_cuts_off_fails_no_other_threshold() {
    let server = Misfits::start().await;
    let profile = "    thresholds:\n      - { expr: \"http_req_duration: p(95) < 100ms\", abortOnFail: true, delayAbortEval: 1s }\n      - \"http_req_failed: rate < 1%\"";
    let done = plan(&server.url(), "", profile).run().await;
    done.assert(99, Some(Verdict::Fail));
    let summary = done.run.summary.as_ref().unwrap();
    assert_eq!(done.run.ended_by, Some(EndedBy::Threshold));
    assert!(summary.seconds < 30.0 && summary.scenarios[0].counts.interrupted > 0, "{summary:?}");
    assert_eq!(done.run.thresholds[1].verdict, Verdict::Pass, "{:?}", done.run.thresholds);
}

#[tokio::test]
async fn a_guard_is_108_when_no_threshold_failed() {
    let server = Misfits::start().await;
    let guard = "    guard: [\"http_req_duration: p(95) > 100ms over 2s\"]";
    let done = plan(&server.url(), guard, "    thresholds: [\"http_req_failed: rate < 1%\"]").run().await;
    done.assert(108, Some(Verdict::Fail));
    let summary = done.run.summary.as_ref().unwrap();
    assert_eq!((done.run.ended_by, done.run.thresholds[0].verdict), (Some(EndedBy::Guard), Verdict::Pass));
    assert!(summary.seconds < 45.0 && summary.scenarios[0].counts.interrupted > 0, "{summary:?}");
    // Half the load did not help, and so it was stopped.
    let [halved, ended] = &done.run.reasons[..] else { panic!("{:?}", done.run.reasons) };
    assert!(halved.starts_with("the target's guard `http_req_duration: p(95) > 100ms over 2s` halved the load at second "), "{halved}");
    assert_eq!(ended, "the target's guard `http_req_duration: p(95) > 100ms over 2s` ended the run");
    let [entry] = &done.run.controls[..] else { panic!("{:?}", done.run.controls) };
    assert_eq!((entry.by.as_str(), entry.action), ("guard `http_req_duration: p(95) > 100ms over 2s`", Action::Scale));
}

#[tokio::test]
async fn half_the_load_may_be_enough_and_the_run_fails_all_the_same() {
    let server = Misfits::start().await;
    // Twelve VUs send up to 120 requests a second, six up to 60.
    let scenarios = "{ users: { executor: constant-vus, vus: 12, duration: 14s, flow: [{ step: get, get: /wait/100 }] } }";
    let guard = "    guard: [\"http_reqs: rate > 80/s over 3s\"]";
    let done = Plan { scenarios, ..plan(&server.url(), guard, "    thresholds: [\"http_req_failed: rate < 1%\"]") }.run().await;
    done.assert(99, Some(Verdict::Fail));
    assert_eq!((done.run.ended_by, done.run.controls.len()), (Some(EndedBy::Completed), 1));
    assert!(done.run.reasons[0].contains("halved the load at second"), "{:?}", done.run.reasons);
}

#[tokio::test]
async fn vus_that_loop_are_held_back_by_the_targets_limit() {
    let server = Misfits::start().await;
    let one = "flow: [{ step: get, get: /well/plain }]";
    let three = "flow: [{ parallel: [{ step: a, get: /well/plain }, { step: b, get: /well/plain }, { step: c, get: /well/plain }] }]";
    for (vus, flow) in [(10, one), (4, three)] {
        held_back(&server, vus, flow).await;
    }
}

async fn held_back(server: &Misfits, vus: u64, flow: &str) {
    let scenarios = format!("{{ users: {{ executor: constant-vus, vus: {vus}, duration: 4s, {flow} }} }}");
    let limits = "    limits: { rate: 40/s, vus: 10 }";
    let thresholds = "    thresholds: [\"http_req_failed: rate < 1%\"]";
    let done = Plan { scenarios: &scenarios, ..plan(&server.url(), limits, thresholds) }.run().await;
    done.assert(0, Some(Verdict::Pass));
    let total = &done.run.summary.as_ref().unwrap().total;
    // Four seconds, what may come early, and the requests of each VU that waited for their turn at the end.
    assert!((80..=4 * 40 + 4 + 12).contains(&total.requests), "{total:?}");
    assert!(done.run.reasons.iter().any(|reason| reason.starts_with("the target's limit of 40/s held back ")), "{:?}", done.run.reasons);
    // Waiting for its turn is not the target's time.
    assert!(total.response.unwrap().p50_us < 50_000 && total.service.unwrap().p50_us < 50_000, "{total:?}");
}

#[tokio::test]
async fn a_guard_is_99_when_a_threshold_failed_too() {
    let server = Misfits::start().await;
    let guard = "    guard: [\"http_req_duration: p(95) > 100ms over 2s\"]";
    let done = plan(&server.url(), guard, "    thresholds: [\"http_req_duration: p(95) < 100ms\"]").run().await;
    done.assert(99, Some(Verdict::Fail));
    assert_eq!(done.run.ended_by, Some(EndedBy::Guard));
}

#[tokio::test]
async fn a_signal_in_mid_run_is_105_and_lets_iterations_end() {
    let server = Misfits::start().await;
    let folder = temp_dir();
    let mut child = plan(&server.url(), "", "    thresholds: [\"http_req_failed: rate < 1%\"]").spawn(folder.path());
    wait_until("requests to arrive", PATIENCE, async || (server.requests() > 80).then_some(())).await;
    child.signal("INT");
    assert_eq!(child.wait().await.code(), Some(105), "{}", child.output());
    let run = printed_run(&child.output());
    let counts = run.summary.unwrap().scenarios[0].counts;
    assert_eq!((run.ended_by, run.verdict, counts.interrupted), (Some(EndedBy::Signal), None, 0));
    assert!(counts.completed >= 40, "{counts:?}");
}

#[tokio::test]
async fn a_second_signal_cuts_off_what_is_going_on() {
    let server = Misfits::start().await;
    let folder = temp_dir();
    let scenarios = "{ users: { executor: constant-vus, vus: 5, duration: 60s, flow: [{ step: get, get: /silence }] } }";
    let mut child = Plan { scenarios, top: "load: { drain: 50s }", ..plan(&server.url(), "", "") }.spawn(folder.path());
    wait_until("requests to arrive", PATIENCE, async || (server.requests() == 5).then_some(())).await;
    child.signal("INT");
    wait_until("the first signal to be heard", PATIENCE, async || child.output().contains("again to stop at once").then_some(())).await;
    child.signal("TERM");
    assert_eq!(child.wait().await.code(), Some(105), "{}", child.output());
    let run = printed_run(&child.output());
    let summary = run.summary.unwrap();
    assert_eq!(summary.scenarios[0].counts.interrupted, 5);
    assert!(summary.seconds < 40.0, "{summary:?}");
}
