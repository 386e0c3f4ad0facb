//! ladder and challenge: how much load is safe, what gives way first and how large it would have to be, what the failures come from; of runs
//! of the real daemon against the demo target, with a pool that is large enough and with one that is not. The nightly number drops with
//! it, and the rule that watches it tells somebody.
#![expect(clippy::unwrap_used, reason = "a step that fails, fails the test")]

use std::time::Duration;

use plimsoll::demo::Settings;
use plimsoll::model::analysed::CapacityFound;
use plimsoll::model::finding::Finding;
use plimsoll::model::run::{Run, RunStatus, Verdict};
use plimsoll::store::Store;
use serde_json::json;

use super::mailbox;
use crate::servers::bed::{Bed, LONG, metric, start_run};
use crate::servers::daemon::Daemon;
use crate::servers::http::ask;
use crate::servers::wait_until;

/// A request holds its connection for 100 ms: a pool of 4 serves less than 40 a second, one of 14 less than 140, whatever the machine; and
/// a machine that makes it twice as long changes no verdict.
const CONFIG: &str = r#"
history: { reruns: 0 }
profiles:
  climb:
    target: shop
    scenarios:
      users:
        executor: staircase
        levels: [5/s, 10/s, 20/s, 60/s]
        hold: 27s
        preAllocatedVUs: 100
        maxVUs: 400
        flow: [{ step: balance, get: /api/v1/wallet/balance, check: { status: 200 } }]
    thresholds: ["http_req_failed: rate < 1%"]
alerts:
  channels: { box: { type: file, path: box.jsonl, format: json } }
  rules: { less: { when: "capacity drop > 5%", severity: high } }
"#;

/// One run to its end, and what was found. Where the machine spoilt it, which the run says itself, it is made again.
async fn climb(daemon: &Daemon, store: &dyn Store) -> (Run, Vec<Finding>) {
    for _ in 0..5 {
        let id = start_run(daemon, "climb").await;
        let ended = async || store.run(&id.0).await.ok().flatten().filter(|run| run.status != RunStatus::Running && run.summary.is_some());
        let run = wait_until("the end of the climb", Duration::from_secs(400), ended).await;
        if run.verdict != Some(Verdict::Invalid) {
            let findings = store.findings(Some(&run.id), 50).await.unwrap();
            return (run, findings);
        }
    }
    panic!("five times the load generator was late: this machine is too busy to measure anything");
}

fn capacity(run: &Run) -> &CapacityFound {
    run.summary.as_ref().and_then(|summary| summary.analysed.capacity.as_ref()).unwrap_or_else(|| panic!("{run:#?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_load_line_names_the_pool_that_gives_way_and_its_drop_is_told() {
    let bed = Bed::with(Settings { hold: Duration::from_millis(100), pool: 14, ..Settings::default() }).await;
    bed.configure(CONFIG);
    let (store, daemon) = (bed.store().await, bed.serve().await);

    // With a pool of 14 nothing gives way.
    let (run, findings) = climb(&daemon, store.as_ref()).await;
    let (found, all) = (capacity(&run), format!("{:#?}\n{findings:#?}\n{:#?}", run.reasons, capacity(&run)));
    assert_eq!((found.unit.as_str(), found.breaking, run.summary.as_ref().unwrap().total.failed), ("starts/s", None, 0), "{all}");
    let large = found.per_second.unwrap_or_else(|| panic!("{all}")).value;
    assert!((60.0..200.0).contains(&large), "{all}");
    assert!(!findings.iter().any(|finding| finding.kind == "pool_exhausted"), "{all}");

    // With a pool of 4 the last level does.
    let faults = json!({ "pool": 4 }).to_string();
    assert_eq!(ask(bed.target.addr, "POST", "/faults", "Content-Type: application/json\r\n", &faults).await.status, 200);
    let (run, findings) = climb(&daemon, store.as_ref()).await;
    let (found, all) = (capacity(&run), format!("{:#?}\n{findings:#?}\n{:#?}", run.reasons, capacity(&run)));
    assert!(found.safe.is_some_and(|safe| safe <= 21.0), "{all}");
    assert!(found.breaking.is_some_and(|breaking| (55.0..65.0).contains(&breaking)), "{all}");
    assert_eq!(found.bottlenecks.first().map(|first| first.resource.as_str()), Some("pool `main`"), "{all}");
    // A pool of 4 has five values only: its share is known roughly from the readings of a level. The range that is told says so, and holds the truth.
    let capacity = found.per_second.unwrap_or_else(|| panic!("{all}"));
    let small = capacity.value;
    assert!(capacity.low < 42.0 && small < 60.0 && small < 0.9 * large, "{large}: {all}");
    let line = findings.iter().find(|finding| finding.kind == "load_line").unwrap_or_else(|| panic!("{all}"));
    assert!(!line.evidence.is_empty(), "the evidence of each limit: {all}");
    // The failures are explained by the same pool, with its size and what it would need.
    let why = findings.iter().find(|finding| finding.kind == "pool_exhausted").unwrap_or_else(|| panic!("{all}"));
    assert!(why.title.contains("pool `main` was full (4 of 4"), "{all}");
    let needs = &run.summary.as_ref().unwrap().analysed.needs;
    let need = needs.iter().find(|need| need.pool == "main").unwrap_or_else(|| panic!("{all}"));
    assert!(need.connections.value > 4.0 && need.connections.value <= 40.0, "{all}");

    // The number of the night dropped: on /metrics, and told.
    let shown = wait_until("the capacity on /metrics", LONG, async || metric(&daemon, "plimsoll_capacity_requests_per_second").await).await;
    assert!((shown - small).abs() < 1.0, "{shown}: {all}");
    let headline = wait_until("the alert", LONG, async || mailbox::fired(bed.folder.path(), "less")).await;
    assert!(headline.contains("capacity"), "{headline}");
    bed.target.stop().await;
}
