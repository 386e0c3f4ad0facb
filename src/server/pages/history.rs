//! The history of a profile, and the report of a suite.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};

use super::super::Parts;
use super::super::api::history::{history_of, result_of};
use super::parts::{badge, fact, run_path, time};
use super::{failed, page, respond};
use crate::engine::history::view::{HistoryView, MetricView, RunView};
use crate::model::suite::SuiteResult;
use crate::model::units::{format_percent, trim_decimal};
use crate::report::{ABSENT, latency};

/// Runs on the page.
const SHOWN: usize = 60;

pub(in super::super) async fn profile(State(parts): State<Parts>, Path(name): Path<String>) -> Response {
    match history_of(&parts, &name).await {
        Ok(view) => respond(StatusCode::OK, page(&format!("History of {name}"), None, &history(&view))),
        Err(error) => failed(&error),
    }
}

pub(in super::super) async fn suite(State(parts): State<Parts>, Path(name): Path<String>) -> Response {
    match result_of(&parts, &name).await {
        Ok(result) => respond(StatusCode::OK, page(&format!("Suite {name}"), None, &report(&result))),
        Err(error) => failed(&error),
    }
}

fn history(view: &HistoryView) -> Markup {
    html! {
        h1 { "History of " (view.profile) @if view.flaky { " " span.badge.pending { "flaky" } } }
        section { dl.facts {
            (fact("Runs", &html! { (view.runs.len()) }))
            (fact("Verdict flips without a change", &html! { (view.flips.flips) small { " of " (view.flips.pairs) } }))
            @if let Some(pinned) = &view.baseline { (fact("Baseline", &html! { a href=(run_path(&pinned.run.0)) { (pinned.run) } small { " by " (pinned.by) } })) }
        }
        @for gate in &view.gates { p { (badge(gate.verdict.as_str())) " " strong { (gate.gate) } ": " (gate.sentence) } } }
        (metrics(&view.metrics))
        (runs(&view.runs))
        @if !view.deploys.is_empty() { section { h2 { "Deploys" } ul.plain { @for deploy in view.deploys.iter().take(SHOWN) {
            li { (time(deploy.at)) " " strong { (deploy.version) } " " small.muted { (deploy.by) } }
        } } } }
    }
}

fn metrics(metrics: &[MetricView]) -> Markup {
    html! { section { h2 { "Metrics" }
        @if metrics.is_empty() { p.muted { "The newest run cannot be compared with others." } } @else { div.scroll { table {
            thead { tr { th { "" } th { "Metric" } th.number { "Newest" } th.number { "Level" } th { "Changes" } } }
            tbody { @for one in metrics { tr {
                td { (state(one.state)) }
                td.wide { (one.metric.replace('_', " ")) @if let Some(subject) = &one.subject { " of " (subject) } }
                td.number { (one.newest) } td.number { (one.level) }
                td.wide { @for change in &one.changes { (change) br; } }
            } } }
        } } }
    } }
}

fn state(word: &str) -> Markup {
    let colour = match word {
        "confirmed" | "regressed" => "fail",
        "suspect" => "pending",
        "steady" => "pass",
        _ => "no_data",
    };
    html! { span class={ "badge " (colour) } { (word.replace('_', " ")) } }
}

fn runs(runs: &[RunView]) -> Markup {
    html! { section { h2 { "Runs" } div.scroll { table {
        thead { tr { th { "" } th { "Run" } th { "Started" } th { "Version" } th.number { "p95" } th.number { "Requests/s" } th.number { "Failed" } th { "" } } }
        tbody { @for run in runs.iter().take(SHOWN) { tr {
            td { (badge(run.verdict.map_or("running", |verdict| verdict.as_str()))) }
            td { a href=(run_path(&run.run.0)) { (run.run) } }
            td.tight { (time(run.at)) }
            td { (run.version.as_deref().unwrap_or(ABSENT)) @for deploy in &run.deploys { " " span.badge.pending { "deploy " (deploy) } } }
            td.number { (latency(run.p95.map(|seconds| (seconds * 1e6) as u64))) }
            td.number { (run.throughput.map_or(ABSENT.into(), |rate| trim_decimal(rate, 1))) }
            td.number { (run.error_rate.map_or(ABSENT.into(), format_percent)) }
            td.wide { @if let Some(why) = &run.left_out { small.muted { "not compared: " (why) } } }
        } } }
    } } } }
}

fn report(result: &SuiteResult) -> Markup {
    html! {
        h1 { (badge(result.verdict.as_str())) "Suite " (result.suite) }
        @if let Some(description) = &result.description { p.muted { (description) } }
        div class={ "banner" @if result.verdict.as_str() == "pass" { " warn" } } { (result.sentence) }
        section { dl.facts {
            (fact("Score", &html! { (format_percent(result.score)) small { " " (result.passed) " of " (result.tests) } }))
            @for (priority, passed, tests) in &result.by_priority { (fact(priority.as_str(), &html! { (passed) small { " of " (tests) } })) }
        } }
        section { h2 { "Tests" } div.scroll { table {
            thead { tr { th { "" } th { "Test" } th { "Priority" } th { "Measured" } th { "Target" } th { "Run" } } }
            tbody { @for one in &result.results { tr {
                td { (badge(one.verdict.as_str())) }
                td.wide { (one.test) @if let Some(note) = &one.note { br; small.muted { (note) } } }
                td { (badge(one.priority.as_str())) } td { (one.measured) } td.wide { (one.target) }
                td { @if let Some(run) = &one.run { a href=(run_path(&run.0)) { (one.profile) } } @else { (one.profile) } }
            } } }
        } } }
    }
}
