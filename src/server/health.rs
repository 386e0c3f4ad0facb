//! `/-/healthy`: the process answers. `/-/ready`: it can do its work: the store can be written, the scheduler turns, it is not
//! stopping. Neither looks at the systems under test: a target that is down is a finding, not an illness of Plimsoll.

use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;

use super::Parts;
use crate::engine::handle::EngineStatus;
use crate::model::channel::ChannelHealth;
use crate::model::storage::Lost;
use crate::model::units::{Timestamp, format_duration};

/// A scheduler that has not ticked for so long hangs; it ticks at least every second.
const SCHEDULER_LIMIT: Duration = Duration::from_secs(30);
/// Longest time to wait for the store.
const PING_TIMEOUT: Duration = Duration::from_secs(3);

const TEXT: [(header::HeaderName, &str); 1] = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];

/// Always 200 while the process answers.
pub(super) async fn healthy() -> impl IntoResponse {
    (TEXT, "Plimsoll is healthy.\n")
}

/// 200 or 503, one line for each part: `[+]` good, `[!]` worth a look, `[-]` the reason of the 503.
pub(super) async fn ready(State(parts): State<Parts>) -> impl IntoResponse {
    let status = parts.engine.status();
    let storage = match tokio::time::timeout(PING_TIMEOUT, parts.store.ping()).await {
        Ok(Ok(())) => status.storage_error.clone().map_or(Ok("can be written".to_owned()), Err),
        Ok(Err(error)) => {
            tracing::warn!(%error, "the store cannot be written");
            Err("cannot be written".to_owned())
        }
        Err(_) => Err(format!("did not answer within {}", format_duration(PING_TIMEOUT))),
    };
    let now = parts.clock.now();
    let checks = [("storage", storage), ("scheduler", scheduler(&status, now)), ("life", life(&status, now))];
    let ready = checks.iter().all(|(_, check)| check.is_ok());
    let mut text = String::new();
    for (name, check) in checks {
        match check {
            Ok(said) => text.push_str(&format!("[+] {name}: {said}\n")),
            Err(said) => text.push_str(&format!("[-] {name}: {said}\n")),
        }
    }
    text.push_str(&reload(&status, now));
    text.push_str(&lost(&status));
    text.push_str(&format!("[{}] outbox: {} waiting\n", if status.outbox_waiting == 0 { '+' } else { '!' }, status.outbox_waiting));
    for channel in &status.channels {
        text.push_str(&channel_line(channel, now));
    }
    text.push_str(if ready { "ready\n" } else { "not ready\n" });
    (if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, TEXT, text)
}

fn ago(now: Timestamp, at: Timestamp) -> String {
    let seconds = now.since(at).as_secs();
    format!("{} ago", format_duration(Duration::from_secs(seconds)))
}

fn scheduler(status: &EngineStatus, now: Timestamp) -> Result<String, String> {
    match status.scheduler_tick {
        Some(at) if now.since(at) <= SCHEDULER_LIMIT => Ok(format!("ticked {}", ago(now, at))),
        Some(at) => Err(format!("last ticked {}", ago(now, at))),
        None if status.setup.schedules.is_empty() => Ok("nothing is scheduled".into()),
        None => Err("has not ticked yet".into()),
    }
}

/// What is gone does not come back by a restart: worth a look, no reason to be not ready.
fn lost(status: &EngineStatus) -> String {
    let Lost { series, ticks, records } = status.lost;
    if status.lost.all() == 0 {
        return String::new();
    }
    format!("[!] lost: {series} seconds and readings, {ticks} records of instants of schedules, {records} others could not be stored\n")
}

fn life(status: &EngineStatus, now: Timestamp) -> Result<String, String> {
    if status.stopping { Err("stopping".into()) } else { Ok(format!("started {}", ago(now, status.started_at))) }
}

/// A channel that does not take messages is told, but no reason to be not ready: restarting would not help.
fn channel_line(health: &ChannelHealth, now: Timestamp) -> String {
    let name = &health.channel;
    match (health.failing_since, health.delivered_at) {
        (Some(since), _) if health.broken => format!("[!] channel {name}: broken since {}: {}\n", ago(now, since), health.error),
        (Some(since), _) => format!("[!] channel {name}: failing since {}: {}\n", ago(now, since), health.error),
        (None, Some(at)) => format!("[+] channel {name}: delivered {}\n", ago(now, at)),
        (None, None) => String::new(),
    }
}

/// A reload that failed leaves the last good configuration in force: told, but no reason to be not ready.
fn reload(status: &EngineStatus, now: Timestamp) -> String {
    match &status.last_reload {
        None => "[+] configuration: as at the start\n".into(),
        Some((at, None)) => format!("[+] configuration: reloaded {}\n", ago(now, *at)),
        Some((at, Some(_))) => format!("[!] configuration: reload failed {}, the former one is in force; see the log\n", ago(now, *at)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheduler_that_hangs_is_not_ready() {
        let now = Timestamp(1_000_000_000);
        let mut status = EngineStatus { scheduler_tick: Some(now.minus(Duration::from_secs(2))), ..EngineStatus::default() };
        assert_eq!(scheduler(&status, now), Ok("ticked 2s ago".into()));
        status.scheduler_tick = Some(now.minus(Duration::from_secs(31)));
        assert_eq!(scheduler(&status, now), Err("last ticked 31s ago".into()));
        status.scheduler_tick = None;
        assert_eq!(scheduler(&status, now), Ok("nothing is scheduled".into()));
    }
}
