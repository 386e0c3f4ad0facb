//! Pieces that several pages use: badges, times, tables of runs, pools.

use std::time::Duration;

use maud::{Markup, html};

use crate::engine::handle::LiveRun;
use crate::model::alerting::AlertInstance;
use crate::model::progress::{PoolNow, Progress};
use crate::model::run::{RunLine, RunStatus, Verdict};
use crate::model::units::{Timestamp, format_duration, format_percent, trim_decimal};
use crate::report::{ABSENT, count, latency, share};

/// A sentence whose names in backticks are shown as names: ``pool `main` was full``. A backtick without another one stays what it is.
pub(super) fn prose(text: &str) -> Markup {
    let parts: Vec<&str> = text.split('`').collect();
    if parts.len().is_multiple_of(2) {
        return html! { (text) };
    }
    html! { @for (at, part) in parts.iter().enumerate() { @if at.is_multiple_of(2) { (part) } @else { code { (part) } } } }
}

/// A word in its colour; words come from our own choices, never from outside.
pub(super) fn badge(word: &str) -> Markup {
    html! { span class={ "badge " (word) } { (word.replace('_', " ")) } }
}

/// The verdict of a run, or its state while it has none.
pub(super) fn verdict(verdict: Option<Verdict>, status: RunStatus) -> Markup {
    badge(verdict.map_or(status.as_str(), Verdict::as_str))
}

/// `2026-11-21 02:00:00`, with the full moment for machines.
pub(super) fn time(at: Timestamp) -> Markup {
    html! { time datetime=(at) { (at.to_utc().format("%Y-%m-%d %H:%M:%S")) } }
}

/// A length in whole seconds.
pub(super) fn whole(duration: Duration) -> String {
    format_duration(Duration::from_secs(duration.as_secs()))
}

/// `in 3m12s`, or `now`.
pub(super) fn until(now: Timestamp, at: Timestamp) -> String {
    let left = at.since(now);
    if left.as_secs() == 0 { "now".into() } else { format!("in {}", whole(left)) }
}

/// Address of a run's page.
pub(super) fn run_path(id: &str) -> String {
    let path: String = url::form_urlencoded::byte_serialize(id.as_bytes()).collect();
    format!("/runs/{path}")
}

/// Runs as a table, newest first as given.
pub(super) fn runs(runs: &[RunLine]) -> Markup {
    html! {
        div.scroll { table {
            thead { tr {
                th { "Verdict" } th { "Run" } th { "Target" } th { "Started" } th.number { "Length" } th.number { "Requests" }
                th.number { "Failed" } th.number { "p95" } th.number { "Pool peak" }
            } }
            tbody { @for run in runs {
                @let headline = run.headline;
                tr {
                    td { (verdict(run.verdict, run.status)) }
                    td.wide { a href=(run_path(&run.id.0)) { (run.profile) } @if let Some(reason) = run.reasons.first() { br; small.muted { (reason) } } }
                    td { (run.target) }
                    td.tight { (time(run.started_at)) }
                    td.number { (headline.map_or(ABSENT.into(), |headline| whole(Duration::from_secs_f64(headline.seconds.max(0.0))))) }
                    td.number { (headline.map_or(ABSENT.into(), |headline| count(headline.requests))) }
                    td.number { (headline.map_or(ABSENT.into(), |headline| share(headline.failed, headline.requests))) }
                    td.number { (latency(headline.and_then(|headline| headline.p95_us))) }
                    td.number { (headline.and_then(|headline| headline.pool_peak).map_or(ABSENT.into(), format_percent)) }
                }
            } }
        } }
    }
}

/// The latest second of a running run.
pub(super) fn progress(progress: &Progress) -> Markup {
    let done = f64::from(progress.second + 1).min(f64::from(progress.total_seconds.max(1)));
    html! {
        progress.whole max=(progress.total_seconds.max(1)) value=(done) aria-label="progress" { (progress.second + 1) " s" }
        dl.facts {
            (fact("Stage", &html! { (if progress.phase.is_empty() { ABSENT } else { &progress.phase }) }))
            (fact("Time", &html! { (progress.second + 1) " s" small { " of " (progress.total_seconds) " s" } }))
            (fact("VUs", &html! { (count(progress.vus)) }))
            (fact("Requests a second", &html! { (count(progress.requests)) }))
            (fact("p95, last 5 s", &html! { (latency(progress.p95_us)) }))
            (fact("Failed", &html! { (count(progress.failed_total)) small { " " (share(progress.failed_total, progress.requests_total)) } }))
            @if progress.dropped_total > 0 { (fact("Dropped starts", &html! { (count(progress.dropped_total)) })) }
        }
        @if !progress.pools.is_empty() { p { @for pool in &progress.pools { (pool_now(pool)) } } }
    }
}

/// How a running run is steered, and the way to the page that does it.
pub(super) fn steering(live: &LiveRun) -> Markup {
    html! {
        @if !live.steered.is_empty() { " " span.badge.pending { (live.steered) } }
        a.button.right href={ (run_path(&live.id.0)) "/control" } { "Pause, hold, scale, stop" }
    }
}

/// A name with a figure below it.
pub(super) fn fact(name: &str, value: &Markup) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}

fn pool_now(pool: &PoolNow) -> Markup {
    let shown = |value: Option<f64>| value.map_or_else(|| ABSENT.to_owned(), |value| trim_decimal(value, 0));
    html! {
        span { "Pool " strong { (pool.pool) } " "
            @if let (Some(in_use), Some(limit)) = (pool.in_use, pool.limit) {
                @if limit > 0.0 { meter min="0" max=(limit) low=(limit * 0.8) high=(limit * 0.99) optimum="0" value=(in_use) { } " " }
            }
            (shown(pool.in_use)) " of " (shown(pool.limit)) " in use"
            @if let Some(waiting) = pool.waiting.filter(|waiting| *waiting > 0.0) { ", " (trim_decimal(waiting, 0)) " waiting" }
            " "
        }
    }
}

/// Labels of an alert without those that stand elsewhere.
pub(super) fn alert_labels(alert: &AlertInstance) -> String {
    let labels = alert.labels.iter().filter(|(name, _)| !matches!(name.as_str(), "alertname" | "severity"));
    labels.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_a_sentence_are_shown_as_names() {
        assert_eq!(prose("Pool `main` of `a<b>` was full.").into_string(), "Pool <code>main</code> of <code>a&lt;b&gt;</code> was full.");
        for text in ["", "nothing", "it said ` and", "`one` and `"] {
            assert_eq!(prose(text).into_string(), text);
        }
    }
}
