//! trio, the soak, in its real length: the daemon loads a target that leaks, the rule `leak(memory) at least likely` of its configuration
//! hears it, and what is told, shown and exported says the same. A rule on something that does not leak stays silent.

use std::time::Duration;

use plimsoll::model::analysed::{Resource, Sureness, TrendVerdict};
use plimsoll::model::run::RunStatus;
use serde_json::json;

use super::mailbox;
use crate::servers::bed::{Bed, LONG, metric, start_run};
use crate::servers::daemon::plimsoll;
use crate::servers::http::ask;
use crate::servers::{Child, free_port, wait_for_port, wait_until};

/// Four requests a second, 60 kB each that are never given back: 844 MiB an hour, eighteen hours from 16 GiB.
const LEAK: u64 = 60_000;
const PER_HOUR: f64 = 4.0 * LEAK as f64 * 3_600.0;
const LIMIT: f64 = 16.0 * 1_073_741_824.0;

fn config(port: u16) -> String {
    format!(
        r#"
  leaky:
    base_url: http://127.0.0.1:{port}
    probes:
      app: {{ type: prometheus, url: "http://127.0.0.1:{port}/metrics", pools: [{{ preset: go-sql }}] }}
profiles:
  soak:
    target: leaky
    scenarios:
      users:
        executor: constant-arrival-rate
        rate: 4/s
        duration: 345s
        preAllocatedVUs: 20
        maxVUs: 100
        flow: [{{ step: balance, get: /api/v1/wallet/balance, check: {{ status: 200 }} }}]
    thresholds: ["http_req_failed: rate < 1%", "process_memory: max < 16GiB"]
alerts:
  channels: {{ box: {{ type: file, path: box.jsonl, format: json }} }}
  rules:
    leaks: {{ when: "leak(memory) at least likely", severity: high }}
    connections: {{ when: "leak(connections) at least likely", severity: high }}
"#
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leak_is_told_from_the_file_to_the_message() {
    let (bed, port) = (Bed::new().await, free_port());
    let (folder, port_text) = (bed.folder.path(), port.to_string());
    let mut target = plimsoll(&["demo-target", "--port", &port_text, "--pool", "20", "--hold-ms", "5"]);
    let _target = Child::spawn("demo-target", folder, &mut target);
    wait_for_port("the demo target", port).await;
    let address = ([127, 0, 0, 1], port).into();
    let fault = json!({ "memory_leak_bytes": LEAK }).to_string();
    assert_eq!(ask(address, "POST", "/faults", "Content-Type: application/json\r\n", &fault).await.status, 200);
    bed.configure(&config(port));
    let (store, daemon) = (bed.store().await, bed.serve().await);

    let id = start_run(&daemon, "soak").await;
    let told = wait_until("the alert", Duration::from_secs(900), async || mailbox::fired(folder, "leaks")).await;
    assert!(told.contains("leak(memory)"), "{told}");
    let ended = async || store.run(&id.0).await.ok().flatten().filter(|run| run.status != RunStatus::Running && run.summary.is_some());
    let run = wait_until("the end of the soak", Duration::from_secs(600), ended).await;
    let analysed = &run.summary.as_ref().unwrap().analysed;
    let memory = analysed.trends.iter().find(|trend| trend.resource == Resource::Memory).unwrap_or_else(|| panic!("{analysed:#?}"));
    assert_eq!(memory.verdict, TrendVerdict::Leak, "{memory:#?}");
    assert!(memory.sureness >= Some(Sureness::Likely), "{memory:#?}");
    // A quarter beside the truth at most: the allocator rounds up, and pages come in pieces.
    let growth = memory.per_hour.unwrap().value;
    assert!((0.75..1.35).contains(&(growth / PER_HOUR)), "{growth} of {PER_HOUR}: {memory:#?}");
    let left = memory.exhausted_in_s.unwrap().value;
    assert!((0.65..1.45).contains(&(left / (LIMIT / PER_HOUR * 3_600.0))), "{left}: {memory:#?}");
    let finding = store.findings(Some(&run.id), 50).await.unwrap().into_iter().find(|finding| finding.title == memory.title);
    assert!(finding.is_some(), "what was concluded is stored as it is told: {memory:#?}");

    let shown = wait_until("the leak on /metrics", LONG, async || {
        metric(&daemon, "plimsoll_leak_growth_per_hour{pool=\"\",probe=\"app\",profile=\"soak\",resource=\"memory\"}").await
    })
    .await;
    assert!((shown / growth - 1.0).abs() < 0.01, "{shown} of {growth}");
    let page = daemon.try_get(&format!("/runs/{}", run.id)).await.unwrap();
    assert!(page.body.contains("Memory of <code>app</code> grows by "), "{}", page.body);
    assert_eq!(mailbox::fired(folder, "connections"), None, "nothing is said of what does not leak");
    bed.target.stop().await;
}
