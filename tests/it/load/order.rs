//! Scenarios that wait for each other, starts that wait for a VU, and labels that thresholds select.

use plimsoll::model::run::Verdict;

use super::misfits::Misfits;
use super::program::Plan;

#[tokio::test(flavor = "multi_thread")]
async fn a_scenario_begins_when_the_one_before_it_has_ended() {
    let server = Misfits::start().await;
    let scenarios = "{ main: { executor: constant-arrival-rate, startAfter: warm-up, startTime: 1s, rate: 50/s, duration: 2s, \
        arrivals: poisson, preAllocatedVUs: 20, tags: { kind: people }, flow: [{ step: get, get: /well/plain }] }, \
        warm-up: { executor: shared-iterations, vus: 3, iterations: 30, maxDuration: 5m, tags: { kind: technical }, \
        flow: [{ step: warm, get: /wait/20 }] } }";
    let url = server.url();
    let profile = "    thresholds: [\"http_reqs{kind:people}: count >= 50\", \"http_reqs{kind:technical}: count == 30\"]";
    let done = Plan { base_url: &url, target: "", scenarios, profile, top: "load: { threads: 3 }" }.run().await;
    done.assert(0, Some(Verdict::Pass));
    let [main, warm_up] = &done.run.catalog.scenarios[..] else { panic!("{:?}", done.run.catalog) };
    assert_eq!((main.name.as_str(), warm_up.name.as_str()), ("main", "warm-up"));
    // Not after its five minutes, but after its last iteration and a second: its regular end is not what the other waited for.
    assert!(main.start.as_secs_f64() > 1.0 && main.start.as_secs_f64() < 200.0, "{main:?}");
    assert_eq!(main.phases[0].start, main.start);
    let counts = done.run.summary.as_ref().unwrap().scenarios[0].counts;
    assert_eq!((counts.dropped, counts.unsent, counts.failed), (0, 0, 0));
    assert_eq!(server.requests(), counts.completed + 30);
}

#[tokio::test]
async fn a_start_that_waits_for_a_vu_is_not_dropped_and_its_wait_counts() {
    let server = Misfits::start().await;
    // Two VUs for twenty starts within a second, each taking 200 ms: the last waits for about a second.
    let scenarios = "{ main: { executor: ramping-arrival-rate, startRate: 20/s, stages: [{ duration: 1s, target: 20/s }, \
        { duration: 3s, target: 0/s }], preAllocatedVUs: 2, whenBusy: queue, flow: [{ step: get, get: /wait/200 }] } }";
    let url = server.url();
    let done =
        Plan { base_url: &url, target: "", scenarios, profile: "    max_undelivered: 100%", top: "load: { threads: 1 }" }.run().await;
    let scenario = &done.run.summary.as_ref().unwrap().scenarios[0];
    let step = &done.run.summary.as_ref().unwrap().steps[0];
    assert!(scenario.counts.started >= 10 && scenario.counts.started < scenario.counts.scheduled, "{scenario:?}");
    let (response, service) = (step.response.unwrap(), step.service.unwrap());
    assert!(response.p50_us > service.p50_us + 300_000, "{response:?} {service:?}");
    // Waiting for a VU is not the generator's lateness: the run is judged, and not unfit.
    assert!(!done.run.reasons.iter().any(|reason| reason.contains("generator was late")), "{:?}", done.run.reasons);
}
