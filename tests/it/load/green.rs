//! Five runs that k6 calls green with exit code 0, and that must not be green here; and what must be.

use plimsoll::demo::{self, Settings};
use plimsoll::model::failure::Reason;
use plimsoll::model::run::Verdict;

use super::misfits::Misfits;
use super::program::{Plan, execute};
use crate::servers::{free_port, temp_dir};

const LATENCY: &str = r#"    thresholds: ["http_req_duration: p(95) < 500ms"]"#;

fn plan<'a>(base_url: &'a str, scenarios: &'a str, profile: &'a str) -> Plan<'a> {
    Plan { base_url, target: "", scenarios, profile, top: "" }
}

#[tokio::test]
async fn a_target_that_refuses_all_connections_is_not_green() {
    let base = format!("http://127.0.0.1:{}", free_port());
    let scenarios = "{ users: { executor: constant-vus, vus: 2, duration: 1s, pace: 50ms, flow: [{ step: get, get: /well/plain }] } }";
    let done = plan(&base, scenarios, LATENCY).run().await;
    done.assert(99, Some(Verdict::Fail));
    let total = &done.run.summary.as_ref().unwrap().total;
    assert!(total.requests > 0 && total.reasons.keys().eq([&Reason::ConnectRefused]), "{total:?}");
    assert_eq!((total.duration, done.run.thresholds[0].verdict), (None, Verdict::NoData));
}

#[tokio::test]
async fn a_scenario_that_is_refused_everything_is_not_green_beside_a_healthy_one() {
    let server = Misfits::start().await;
    let nobody = format!("127.0.0.1:{}", free_port());
    let scenarios = format!(
        "{{ users: {{ executor: constant-vus, vus: 2, duration: 2s, pace: 50ms, flow: [{{ step: get, get: /well/plain }}] }}, \
            others: {{ executor: constant-vus, vus: 1, duration: 2s, pace: 100ms, flow: [{{ step: gone, get: \"http://{nobody}/\" }}] }} }}"
    );
    let target = format!("    allow: [\"{nobody}\"]");
    // Latency is judged of what was answered, and that was quick.
    let done = Plan { target: &target, ..plan(&server.url(), &scenarios, LATENCY) }.run().await;
    done.assert(99, Some(Verdict::Fail));
    assert_eq!(done.run.thresholds[0].verdict, Verdict::Pass);
    let said = &done.run.reasons[0];
    assert!(said.starts_with("none of ") && said.contains(" requests of `others` succeeded (connect_refused: "), "{said}");
}

#[tokio::test]
async fn a_run_in_which_every_iteration_breaks_is_not_green() {
    let server = Misfits::start().await;
    let scenarios = "{ users: { executor: constant-vus, vus: 2, duration: 1s, pace: 50ms, flow: [{ step: get, get: /500 }] } }";
    let done = plan(&server.url(), scenarios, LATENCY).run().await;
    done.assert(99, Some(Verdict::Fail));
    assert_eq!(done.run.thresholds[0].verdict, Verdict::Pass);
    assert!(done.run.reasons[0].starts_with("none of ") && done.run.reasons[0].contains("status_500"), "{:?}", done.run.reasons);
}

#[tokio::test]
async fn a_run_that_drops_92_of_100_iterations_is_not_green() {
    let server = Misfits::start().await;
    // One VU that is busy for more than a second starts 2 of 24 iterations.
    let scenarios = "{ starts: { executor: constant-arrival-rate, rate: 12/s, duration: 2s, preAllocatedVUs: 1, flow: [{ step: get, get: /wait/1000 }] } }";
    let done = plan(&server.url(), scenarios, "    thresholds: [\"http_req_failed: rate < 1%\"]").run().await;
    done.assert(98, Some(Verdict::Invalid));
    let counts = done.run.summary.as_ref().unwrap().scenarios[0].counts;
    assert_eq!(counts.scheduled, 24);
    assert!((22..=23).contains(&counts.dropped) && counts.completed == counts.started, "{counts:?}");
    assert!(done.run.reasons[0].contains("were not delivered"), "{:?}", done.run.reasons);
}

#[tokio::test]
async fn a_misspelt_thresholds_key_is_not_green() {
    let scenarios = "{ users: { executor: constant-vus, vus: 1, duration: 1s, flow: [{ step: get, get: / }] } }";
    let folder = temp_dir();
    let config = plan("http://127.0.0.1:9", scenarios, "    treshholds: [\"http_req_failed: rate < 1%\"]").write(folder.path());
    let (code, stdout, stderr) = execute(&config).await;
    assert_eq!((code, stdout.as_str()), (104, ""));
    assert!(stderr.contains("unknown key `treshholds`") && stderr.contains("did you mean `thresholds`?"), "{stderr}");
}

#[tokio::test]
async fn a_run_in_which_every_iteration_is_cut_off_in_its_request_is_not_green() {
    let server = Misfits::start().await;
    let scenarios = "{ users: { executor: constant-vus, vus: 3, duration: 1s, gracefulStop: 0s, flow: [{ step: get, get: /silence }] } }";
    let done = plan(&server.url(), scenarios, LATENCY).run().await;
    done.assert(99, Some(Verdict::Fail));
    let summary = done.run.summary.as_ref().unwrap();
    assert_eq!((summary.scenarios[0].counts.interrupted, summary.total.reasons[&Reason::Interrupted]), (3, 3));
}

#[tokio::test]
async fn a_run_in_which_every_iteration_is_cut_off_while_it_thinks_is_not_green() {
    let server = Misfits::start().await;
    let flow = "[{ step: get, get: /well/plain }, { pause: 60s }]";
    let scenarios = format!("{{ users: {{ executor: constant-vus, vus: 3, duration: 1s, gracefulStop: 0s, flow: {flow} }} }}");
    let done = plan(&server.url(), &scenarios, LATENCY).run().await;
    done.assert(98, Some(Verdict::Invalid));
    let summary = done.run.summary.as_ref().unwrap();
    assert_eq!((summary.scenarios[0].counts.interrupted, summary.total.requests, summary.total.failed), (3, 3, 0));
}

#[tokio::test]
async fn a_run_that_holds_is_green_and_its_numbers_are_the_targets() {
    let target = demo::start(Settings::default()).await.unwrap();
    let base = target.url("");
    let scenarios = "{ users: { executor: constant-vus, vus: 4, duration: 2s, pace: 100ms, flow: [{ step: balance, get: /api/v1/wallet/balance, check: { status: 200, \"json $.cents\": exists } }] } }";
    let done =
        plan(base.trim_end_matches('/'), scenarios, "    thresholds: [\"http_req_failed: rate < 1%\", \"checks: rate > 99%\"]").run().await;
    done.assert(0, Some(Verdict::Pass));
    let total = &done.run.summary.as_ref().unwrap().total;
    // Every connection is opened once and used again.
    assert!(total.requests >= 20 && total.connections == 4, "{total:?}");
    assert!(total.checks.values().all(|check| check.passed == total.requests && check.failed == 0), "{total:?}");
    target.stop().await;
}

#[tokio::test]
async fn two_threads_share_the_starts_exactly() {
    let server = Misfits::start().await;
    let scenarios = "{ starts: { executor: constant-arrival-rate, rate: 101/s, duration: 3s, preAllocatedVUs: 30, flow: [{ step: get, get: /well/plain }] }, \
        one: { executor: constant-arrival-rate, rate: 5/s, duration: 3s, preAllocatedVUs: 1, flow: [{ step: alone, get: /well/plain }] } }";
    let plan = Plan { top: "load: { threads: 2 }", ..plan(&server.url(), scenarios, "    max_undelivered: 50%") }.run().await;
    plan.assert(0, Some(Verdict::Pass));
    let summary = plan.run.summary.as_ref().unwrap();
    let counts = |name: &str| summary.scenarios.iter().find(|scenario| scenario.scenario == name).unwrap().counts;
    assert_eq!((summary.generator.threads, counts("starts").scheduled, counts("one").scheduled), (2, 303, 15));
    // The only VU belongs to one thread; the other takes none of the starts that it would have to drop.
    assert!(counts("one").completed > 8, "{:?}", counts("one"));
    let completed = counts("starts").completed + counts("one").completed;
    assert_eq!((summary.total.requests, server.requests()), (completed, completed));
    assert_eq!(summary.total.connections, server.connections());
}
