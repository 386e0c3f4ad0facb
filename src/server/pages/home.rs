//! The overview: what is wrong, what is going on, what comes next, what was.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};

use super::super::headroom::left;
use super::super::{Parts, stored};
use super::headroom::headroom;
use super::parts::{alert_labels, badge, progress, run_path, runs, steering, time, until, whole};
use super::{page, respond};
use crate::engine::handle::EngineStatus;
use crate::model::alerting::AlertState;
use crate::model::run::RunLine;
use crate::model::schedule::{Tick, TickOutcome};
use crate::model::series::Reading;
use crate::model::units::{Timestamp, format_percent};
use crate::store::{ReadingFilter, RunFilter};

/// Runs in the list.
const RUNS: u32 = 20;
/// Instants that are looked at of each schedule, and shown of all.
const TICKS: u32 = 10;
/// An instant that did not run is shown for so long.
const NOT_RUN_FOR: std::time::Duration = std::time::Duration::from_secs(7 * 86_400);
/// A reading older than this is not "now" any more.
const FRESH: std::time::Duration = std::time::Duration::from_secs(120);

pub(in super::super) async fn home(State(parts): State<Parts>) -> Response {
    let status = parts.engine.status();
    let now = parts.clock.now();
    let filter = RunFilter { limit: RUNS, ..RunFilter::default() };
    let last = stored(parts.store.run_lines(&filter)).await;
    let filter = ReadingFilter { metric: Some("pool_utilization".into()), from: Some(now.minus(FRESH)), ..ReadingFilter::default() };
    let pools = stored(parts.store.readings(&filter)).await.unwrap_or_default();
    let left = left(&parts).await;
    let body = html! {
        h1 { "Overview" a.button.danger.right href="/stop" { "Stop everything" } }
        (banners(&status, last.is_err()))
        (alerts(&status, now))
        (headroom(&status, &left))
        (running(&status))
        (next(&status, now))
        (not_run(&not_run_of(&parts, &status, now).await))
        section {
            h2 { "Last runs" }
            @match &last {
                Ok(last) if ended_first(last).is_empty() => { p.muted { "No run has ended yet." } }
                Ok(last) => { (runs(&ended_first(last))) }
                Err(_) => { p.muted { "The list is not available: the database cannot be read." } }
            }
        }
        (targets(&status, &pools))
    };
    let refresh = if status.running.is_empty() { 30 } else { 3 };
    respond(StatusCode::OK, page("Overview", Some(refresh), &body))
}

/// Runs going on have their own place above.
fn ended_first(runs: &[RunLine]) -> Vec<RunLine> {
    runs.iter().filter(|run| run.status != crate::model::run::RunStatus::Running).cloned().collect()
}

fn banners(status: &EngineStatus, unreadable: bool) -> Markup {
    html! {
        @if status.storage_error.is_some() || unreadable {
            div.banner { strong { "The database is not available." } " Runs go on in memory; what cannot be kept is counted as lost." }
        }
        @if status.lost.all() > 0 {
            div class="banner warn" {
                strong { "Not everything could be stored" } " since this daemon started at " (time(status.started_at)) ": "
                (status.lost.series) " seconds and readings, " (status.lost.ticks) " records of instants of schedules, "
                (status.lost.records) " other records are lost. The log says why."
            }
        }
        @if let Some((at, Some(_))) = &status.last_reload {
            div class="banner warn" { strong { "The last reload failed" } " at " (time(*at)) "; the former configuration is in force. The log says why." }
        }
        @if let Some(standstill) = &status.standstill {
            div class="banner warn" { strong { "All load is stopped" } " by " (standstill.by) " since " (time(standstill.at)) "; nothing starts. " a.button href="/stop" { "Let it start again" } }
        }
        @for channel in &status.channels {
            @if channel.broken || channel.dropped > 0 {
                div class={ @if channel.broken { "banner" } @else { "banner warn" } } {
                    strong { "Channel " (channel.channel) @if channel.broken { " is broken" } @else if channel.failing_since.is_some() { " is failing" } @else { " gave messages up" } } ": "
                    @if let Some(since) = channel.failing_since { "nothing arrived since " (time(since)) "; " }
                    @if channel.dropped > 0 { (channel.dropped) @if channel.dropped == 1 { " message was given up. " } @else { " messages were given up. " } }
                    (channel.error)
                }
            } @else if let Some(since) = channel.failing_since {
                div class="banner warn" { strong { "Channel " (channel.channel) " is failing" } " since " (time(since)) ": " (channel.error) }
            }
        }
        @if status.stopping { div class="banner warn" { "Plimsoll is stopping." } }
    }
}

/// The latest instants of schedules whose run did not happen though nobody wanted that, newest first.
async fn not_run_of(parts: &Parts, status: &EngineStatus, now: Timestamp) -> Vec<Tick> {
    let mut found = Vec::new();
    for schedule in status.setup.schedules.keys() {
        // Where the database cannot be read the page says so above.
        found.extend(parts.store.ticks(Some(schedule), TICKS).await.unwrap_or_default());
    }
    found.retain(|tick| matches!(tick.outcome, TickOutcome::Missed | TickOutcome::Refused) && now.since(tick.due) < NOT_RUN_FOR);
    found.sort_by_key(|tick| std::cmp::Reverse(tick.due));
    found.truncate(TICKS as usize);
    found
}

fn not_run(ticks: &[Tick]) -> Markup {
    html! {
        @if !ticks.is_empty() {
            section {
                h2 { "Instants that did not run" }
                div.scroll { table {
                    thead { tr { th { "Due" } th { "Schedule" } th { "Profile" } th { "" } th { "Why" } } }
                    tbody { @for tick in ticks { tr {
                        td.tight { (time(tick.due)) } td { (tick.schedule) } td { (tick.profile) }
                        td { (badge(tick.outcome.as_str())) } td.wide { (tick.reason) }
                    } } }
                } }
            }
        }
    }
}

fn alerts(status: &EngineStatus, now: Timestamp) -> Markup {
    let mut alerts: Vec<_> = status.alerts.iter().filter(|alert| alert.state != AlertState::Inactive).collect();
    alerts.sort_by_key(|alert| (alert.state != AlertState::Firing, alert.since));
    html! {
        section {
            h2 { "Alerts" }
            @if alerts.is_empty() { p.muted { "Nothing is firing." } } @else {
                div.scroll { table {
                    thead { tr { th { "State" } th { "Alert" } th { "Severity" } th { "Value" } th { "Since" } th { "Run" } } }
                    tbody { @for alert in alerts { tr {
                        td { (badge(alert.state.as_str())) }
                        td.wide { strong { (alert.rule) } br; small.muted { (alert_labels(alert)) }
                            @if let Some(muted) = &alert.muted { br; small { (muted) } }
                            @if let Some(ack) = &alert.acked { br; small { "taken by " (ack.by) } }
                        }
                        td { (alert.labels.get("severity").map_or("", String::as_str)) }
                        td.tight { (alert.shown) }
                        td.tight { (time(alert.since)) br; small.muted { "for " (whole(now.since(alert.since))) } }
                        td.wide { @if let Some(run) = &alert.run { a href=(run_path(&run.0)) { (run) } } @else { "-" } }
                    } } }
                } }
            }
            p { a href="/silences" { "Silences, and who takes care of what" } }
            @if status.outbox_waiting > 0 { p { (status.outbox_waiting) @if status.outbox_waiting == 1 { " message waits" } @else { " messages wait" } " to be sent." } }
        }
    }
}

fn running(status: &EngineStatus) -> Markup {
    html! {
        @for live in &status.running {
            section {
                h2 { (badge("running")) " " a href=(run_path(&live.id.0)) { (live.profile) } " on " (live.target) (steering(live)) }
                @match &live.progress {
                    Some(now) => { (progress(now)) }
                    None => { p.muted { "Started " (time(live.started_at)) ", first second not over yet." } }
                }
            }
        }
        @if !status.queued.is_empty() { section { h2 { "Waiting for their target" } p { (status.queued.join(", ")) } } }
    }
}

fn next(status: &EngineStatus, now: Timestamp) -> Markup {
    html! {
        section {
            h2 { "Scheduled" }
            @if status.next.is_empty() { p.muted { "Nothing is scheduled." } } @else {
                div.scroll { table {
                    thead { tr { th { "Next" } th { "" } th { "Schedule" } th { "Profile" } th { "Cron" } } }
                    tbody { @for next in &status.next { tr {
                        td.tight { @match next.at { Some(at) => { (time(at)) } None => { "-" } } }
                        td.tight { @if let Some(at) = next.at { (until(now, at)) } }
                        td { (next.schedule) } td { (next.profile) } td { code { (next.cron) } }
                    } } }
                } }
            }
        }
    }
}

/// The newest utilization of each pool of a target: `main 35 %`.
fn pools_of(target: &str, readings: &[Reading]) -> String {
    let mut newest = std::collections::BTreeMap::new();
    for reading in readings.iter().filter(|reading| reading.target == target) {
        for point in reading.points.iter().flatten() {
            let name = point.labels.get("pool").unwrap_or(&reading.probe);
            newest.insert(name.clone(), point.value);
        }
    }
    let shown: Vec<String> = newest.iter().map(|(name, value)| format!("{name} {}", format_percent(*value))).collect();
    if shown.is_empty() { "-".into() } else { shown.join(", ") }
}

fn targets(status: &EngineStatus, pools: &[Reading]) -> Markup {
    html! {
        section {
            h2 { "Targets" a.right href="/itself" { "Plimsoll itself" } }
            @if status.setup.targets.is_empty() { p.muted { "No target is configured." } } @else {
                div.scroll { table {
                    thead { tr { th { "Target" } th { "Environment" } th { "Pools now" } th { "Probes" } } }
                    tbody { @for (name, target) in &status.setup.targets { tr {
                        td { strong { (name) } } td { (target.target.environment) }
                        td.tight { (pools_of(name, pools)) }
                        td.wide { ul.plain { @for probe in &target.probes { li { (probe.name) " " small.muted { (probe.kind) " · " (probe.settings.describe()) } } } } }
                    } } }
                } }
            }
        }
    }
}
