//! Alertmanager, the real one, forgets what it is not told again: killed with `-9` and started on the same data, it knows of what fires
//! within the interval of its channel, and of its end when that comes.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use serde_json::Value as Json;

use super::Proof;
use super::rivals::Rival;
use crate::servers::bed::LONG;
use crate::servers::http::try_ask;
use crate::servers::wait_until;

/// Alerts that an Alertmanager takes for firing.
async fn active(address: SocketAddr) -> Option<usize> {
    let answer = try_ask(address, "GET", "/api/v2/alerts?active=true", "", "").await.ok().filter(|answer| answer.status == 200)?;
    Some(answer.json().as_array()?.iter().filter(|alert: &&Json| alert["labels"]["alertname"] == "full").count())
}

async fn shows(address: SocketAddr, count: usize) {
    wait_until(&format!("{count} alerts at Alertmanager"), LONG, async || (active(address).await == Some(count)).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn alertmanager_is_told_again_what_it_forgot() {
    let count = 3;
    let rival = Rival::start(count).await;
    let mut process = rival.process("alertmanager-1").await;
    let proof = Proof::routed(count, "  routes: [{ send: [am] }]\n  repeat_interval: 0s").await;
    let config = std::fs::read_to_string(proof.bed.config()).unwrap();
    let channel = format!("channels: {{ am: {{ type: alertmanager, urls: \"http://{}\", every: 5s }}, hook:", rival.address);
    std::fs::write(proof.bed.config(), config.replace("channels: { hook:", &channel)).unwrap();
    let daemon = proof.bed.serve().await;
    proof.judged(&daemon, count).await;
    shows(rival.address, count).await;
    process.signal("KILL");
    process.wait().await;
    let _process = rival.process("alertmanager-2").await;
    // Nothing has changed, so only what is told again can say it.
    shows(rival.address, count).await;
    proof.full.store(false, Ordering::SeqCst);
    shows(rival.address, 0).await;
    let messages = proof.bed.store().await.messages(None, 100).await.unwrap();
    assert_eq!(messages.len(), 2 * count, "what is told again is no message of its own: {messages:#?}");
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code().await, Some(0));
}
