//! A number of iterations over several real load threads: each is done once, and what time does not suffice for is dropped.

use plimsoll::model::run::Verdict;

use super::misfits::Misfits;
use super::program::{Done, Plan};

async fn run(server: &Misfits, executor: &str, path: &str) -> Done {
    let scenarios = format!("{{ jobs: {{ {executor}, flow: [{{ step: get, get: {path} }}] }} }}");
    let url = server.url();
    Plan { base_url: &url, target: "", scenarios: &scenarios, profile: "", top: "load: { threads: 3 }" }.run().await
}

#[tokio::test(flavor = "multi_thread")]
async fn shared_iterations_are_each_done_once() {
    let server = Misfits::start().await;
    let done = run(&server, "executor: shared-iterations, vus: 7, iterations: 400", "/well/plain").await;
    done.assert(0, Some(Verdict::Pass));
    let summary = done.run.summary.as_ref().unwrap();
    let counts = summary.scenarios[0].counts;
    assert_eq!((counts.scheduled, counts.completed, counts.dropped, server.requests()), (400, 400, 0, 400));
    assert_eq!(summary.generator.threads, 3);
    assert!(summary.seconds < 300.0, "it ends with the last iteration, not with maxDuration");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_vu_does_its_own_iterations() {
    let server = Misfits::start().await;
    // One VU for three threads, then more VUs than threads.
    for (vus, iterations) in [(1, 9), (5, 11)] {
        let executor = format!("executor: per-vu-iterations, vus: {vus}, iterations: {iterations}");
        let done = run(&server, &executor, "/well/plain").await;
        done.assert(0, Some(Verdict::Pass));
        let counts = done.run.summary.as_ref().unwrap().scenarios[0].counts;
        assert_eq!((counts.scheduled, counts.completed), (vus * iterations, vus * iterations));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_time_does_not_suffice_for_is_dropped_and_the_run_invalid() {
    let server = Misfits::start().await;
    let done = run(&server, "executor: shared-iterations, vus: 3, iterations: 90, maxDuration: 1s", "/wait/300").await;
    done.assert(98, Some(Verdict::Invalid));
    let counts = done.run.summary.as_ref().unwrap().scenarios[0].counts;
    assert_eq!((counts.scheduled, counts.started + counts.dropped), (90, 90));
    assert!(counts.started <= 12 && counts.completed == counts.started, "{counts:?}");
    assert!(
        done.run.reasons[0].contains("not started in time") && done.run.reasons[0].contains("raise maxDuration"),
        "{:?}",
        done.run.reasons
    );
}
