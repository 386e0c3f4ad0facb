//! The same experiment with Alertmanager, the real one: killed with `-9` while its alerts clear. Its client goes on telling it that they
//! are over, as Prometheus does.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::sink::Sink;
use crate::servers::bed::LONG;
use crate::servers::http::try_ask;
use crate::servers::{Child, free_port, program, temp_dir, wait_for_port, wait_until};

/// Kills at each of so many moments after the alerts are over.
const KILLED_AFTER: [u64; 4] = [0, 500, 1500, 3000];

fn body(count: usize, over: bool) -> String {
    let end = if over { "2026-01-01T00:00:01Z" } else { "2099-01-01T00:00:00Z" };
    let alert = |number: usize| json!({ "labels": { "alertname": "full", "pool": format!("p{number:03}") }, "startsAt": "2026-01-01T00:00:00Z", "endsAt": end });
    Json::from((0..count).map(alert).collect::<Vec<_>>()).to_string()
}

/// Runs it, prints its rows of the table.
pub(super) async fn alertmanager(count: usize) {
    println!("\nAlertmanager, {count} incidents, killed with -9 while they clear");
    for after in KILLED_AFTER {
        let (fired, resolved) = killed(count, after).await;
        println!("  killed {after:>4} ms after they cleared: {fired} fires, {resolved} resolves arrived, {} lost", fired - resolved);
    }
}

async fn killed(count: usize, after_ms: u64) -> (usize, usize) {
    let (folder, sink, port) = (temp_dir(), Sink::start().await, free_port());
    let config = format!(
        "route: {{ receiver: hook, group_by: ['...'], group_wait: 1s, group_interval: 5s, repeat_interval: 1h }}\nreceivers: [{{ name: hook, webhook_configs: [{{ url: '{}' }}] }}]\n",
        sink.url()
    );
    let file = folder.path().join("alertmanager.yml");
    std::fs::write(&file, config).expect("a configuration");
    let start = |name: &str| {
        let mut command = Command::new(program("prometheus-alertmanager"));
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--cluster.listen-address=");
        Child::spawn(name, folder.path(), &mut command)
    };
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let tell = async |over: bool| {
        let _ = try_ask(address, "POST", "/api/v2/alerts", "Content-Type: application/json\r\n", &body(count, over)).await;
    };
    let seen = |kind: &str| {
        let arrived = sink.arrived();
        arrived.iter().filter(|one| one.kind == kind).map(|one| one.incident.clone()).collect::<BTreeSet<_>>().len()
    };
    let mut child = start("alertmanager-1");
    wait_for_port("Alertmanager", port).await;
    tell(false).await;
    wait_until("its fires", LONG, async || (seen("firing") == count).then_some(())).await;
    tell(true).await;
    tokio::time::sleep(Duration::from_millis(after_ms)).await;
    child.signal("KILL");
    child.wait().await;
    let _again = start("alertmanager-2");
    wait_for_port("Alertmanager", port).await;
    // Prometheus sends what is over again for a quarter of an hour; here as often, in less time.
    for _ in 0..15 {
        tell(true).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    (seen("firing"), seen("resolved"))
}
