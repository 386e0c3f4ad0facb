//! The same stall seen with few and with many VUs: response times tell the truth whatever the number of VUs.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that failed")]

use std::time::Duration;

use tokio::time::sleep;

use super::misfits::Misfits;
use super::program::{Done, Plan};
use crate::servers::{PATIENCE, wait_until};

const PER_SECOND: f64 = 200.0;
const STARTS: u64 = 1_600;
/// Whoever asks for the step gets the truth of the step.
const PROFILE: &str = r#"    max_undelivered: 90%
    thresholds: ["http_req_duration{step:get}: p(95) < 20s", "service_time{step:get}: p(95) < 20s"]"#;

/// 8 s at 200/s; from about second 3.5 the server stands still for 1 s. Returns the run and how long the server really stood still.
async fn stalled(vus: u32) -> (Done, Duration) {
    let server = Misfits::start().await;
    let scenarios = format!(
        "{{ starts: {{ executor: constant-arrival-rate, rate: 200/s, duration: 8s, preAllocatedVUs: {vus}, flow: [{{ step: get, get: /well/plain }}] }} }}"
    );
    let url = server.url();
    let plan = Plan { base_url: &url, target: "", scenarios: &scenarios, profile: PROFILE, top: "" };
    let stall = async {
        wait_until("the load to begin", PATIENCE, async || (server.requests() > 0).then_some(())).await;
        sleep(Duration::from_millis(3_500)).await;
        server.stand_still(Duration::from_secs(1)).await
    };
    tokio::join!(plan.run(), stall)
}

async fn assert_truth(vus: u32) {
    let (done, stood_still) = stalled(vus).await;
    let summary = done.run.summary.as_ref().unwrap();
    let (scenario, total) = (&summary.scenarios[0], &summary.total);
    assert_eq!(scenario.counts.scheduled, STARTS, "{scenario:?}");
    assert_eq!(scenario.counts.started + scenario.counts.dropped, STARTS, "{scenario:?}");
    let response = total.response.unwrap();
    assert_eq!((response.count, total.failed), (STARTS, 0), "{total:?}");
    // Every start within the stall waits until its end: the slowest 5 % of all are those that had to wait longest.
    let truth = stood_still.as_secs_f64() - 0.05 * STARTS as f64 / PER_SECOND;
    let seen = response.p95_us as f64 / 1e6;
    assert!((seen - truth).abs() <= truth * 0.1 + 0.03, "{vus} VUs: p95 {seen} s, truth {truth} s; {scenario:?}");
    let asked: Vec<f64> = done.run.thresholds.iter().filter_map(|threshold| threshold.actual).collect();
    assert!((asked[0] - seen).abs() < 1e-6 && asked[1] <= asked[0], "a selector by step hides nothing: {asked:?}");
    assert_eq!(summary.steps[0].response, total.response, "nor does the line of the step");
    // Service time is what only the requests that were sent saw: never more than response time.
    let service = total.service.unwrap();
    assert!(service.p95_us <= response.p95_us && service.mean_us <= response.mean_us, "{total:?}");
    if vus < 100 {
        assert!(scenario.counts.dropped > 100, "{scenario:?}");
    } else {
        assert_eq!((scenario.counts.dropped, scenario.censored), (0, 0), "{scenario:?}");
    }
    done.assert(0, done.run.verdict);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stall_is_seen_with_20_vus() {
    assert_truth(20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stall_is_seen_with_400_vus() {
    assert_truth(400).await;
}
