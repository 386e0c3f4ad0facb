//! The page of one run: verdict and reasons first, then thresholds, steps, failures, and the charts they come from.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, PreEscaped, html};

use super::super::error::ApiError;
use super::super::load::{self, CHART_POINTS, ChartSeries, LIVE_SECONDS, ProbeSeries};
use super::super::{Parts, stored};
use super::parts::{badge, fact, progress, prose, run_path, steering, time, verdict, whole};
use super::{failed, not_found, page, respond};
use crate::model::finding::Finding;
use crate::model::measure::Accounting;
use crate::model::progress::Progress;
use crate::model::rollup::{Figures, Resolution};
use crate::model::run::{LatencySummary, Run, RunStatus, StepSummary, Summary, ThresholdResult};
use crate::model::staircase::ClimbSummary;
use crate::model::threshold::{Unit, parse_series};
use crate::model::units::{format_percent, trim_decimal};
use crate::report::chart::{Chart, Line, Scale};
use crate::report::{count, decimal, is_quiet, latency, rare, share};

pub(in super::super) async fn run(State(parts): State<Parts>, Path(id): Path<String>) -> Response {
    match whole_page(&parts, &id).await {
        Ok(Some(response)) => response,
        Ok(None) => not_found(&parts, "There is no such run."),
        Err(error) => failed(&error),
    }
}

async fn whole_page(parts: &Parts, id: &str) -> Result<Option<Response>, ApiError> {
    let Some(run) = stored(parts.store.run(id)).await? else { return Ok(None) };
    if run.id.0 != id {
        return Ok(Some(Redirect::temporary(&run_path(&run.id.0)).into_response()));
    }
    let findings = stored(parts.store.findings(Some(&run.id), 50)).await?;
    let captures = stored(parts.store.captures(&run.id)).await?;
    let end = load::seconds_of(parts, &run);
    // A page that reloads every few seconds shows the last quarter of an hour; the whole run is there once it has ended.
    let from = if run.status == RunStatus::Running { end.saturating_sub(LIVE_SECONDS) } else { 0 };
    let resolution = load::resolution(parts, &run, end - from, CHART_POINTS).await?;
    let series = ChartSeries::read(parts, &run, (from, end), resolution).await?;
    let pools = load::probe_lines(parts, &run, "pool_utilization", (from, end), resolution).await?;
    let waiting = load::probe_lines(parts, &run, "pool_waiting", (from, end), resolution).await?;
    let memory = load::probe_lines(parts, &run, "process_memory", (from, end), resolution).await?;
    let status = parts.engine.status();
    let going = status.running.iter().find(|live| live.id == run.id);
    let live = going.and_then(|live| live.progress.as_ref());
    let body = html! {
        (head(&run))
        @if let Some(going) = going { section { h2 { "Now" (steering(going)) } @if let Some(live) = live { (progress(live)) } } }
        (controls(&run))
        (key_figures(&run, live))
        (findings_section(&findings))
        (super::captures::captures(&run.id.0, &captures))
        (thresholds(&run.thresholds))
        @if let Some(summary) = &run.summary { (levels(&summary.climbs)) @if let Some(found) = &summary.analysed.capacity { (super::load_line::load_line(found)) } (super::needs::needs(&summary.analysed.needs)) }
        section { h2 { @if resolution == Resolution::Second { "Second by second" } @else { "Over time, in spans of " (resolution) } }
            @if from > 0 { p.muted { "The last " (whole(std::time::Duration::from_secs(u64::from(end - from)))) " of the run." } }
            div.charts { @for chart in charts(&run, &series, [pools, waiting, memory]) { (PreEscaped(chart.svg())) } }
        }
        @if let Some(summary) = &run.summary { (steps(summary)) (groups(summary)) (super::failures::failures(summary)) (iterations(summary)) (pools_table(summary)) (super::database::databases(summary)) }
    };
    let refresh = (run.status == RunStatus::Running).then_some(5);
    Ok(Some(respond(StatusCode::OK, page(&format!("{} {}", run.profile, run.id), refresh, &body))))
}

fn head(run: &Run) -> Markup {
    html! {
        h1 { (verdict(run.verdict, run.status)) a href={ "/profiles/" (run.profile) } { (run.profile) } " on " (run.target) }
        p.muted {
            "Run " (run.id) " · started " (time(run.started_at)) " by " (run.trigger.by) @if let Some(name) = &run.trigger.name { " " (name) }
            @if let Some(version) = &run.target_version { " · version " (version) }
            @if let Some(by) = run.ended_by { " · ended: " (by) }
            @if let Some(seed) = run.catalog.seed { " · seed " (seed) }
        }
        @if !run.reasons.is_empty() { div class={ "banner" @if run.verdict.is_none() { " warn" } } { ul.plain { @for reason in &run.reasons { li { (prose(reason)) } } } } }
    }
}

/// What was done to the run while it was going on.
fn controls(run: &Run) -> Markup {
    html! { @if !run.controls.is_empty() { section { h2 { "Steered" } div.scroll { table {
        thead { tr { th { "When" } th.number { "Second" } th { "What" } th { "Who" } } }
        tbody { @for entry in run.controls.iter().rev().take(100) { tr {
            td.tight { (time(entry.at)) } td.number { (trim_decimal(entry.second, 1)) } td.wide { (entry.what()) } td.wide { (entry.by) }
        } } }
    } } } } }
}

fn key_figures(run: &Run, live: Option<&Progress>) -> Markup {
    let Some(summary) = &run.summary else {
        return html! { @if live.is_none() { section { p.muted { "No figures yet." } } } };
    };
    let total = &summary.total;
    let (checks_failed, checks) = checks_of(total);
    let ended: u64 = summary.scenarios.iter().map(|one| one.counts.completed + one.counts.failed).sum();
    let with_failed: u64 = summary.scenarios.iter().map(|one| one.with_failed_check).sum();
    html! {
        section { h2 { "Figures" } dl.facts {
            (fact("Requests", &html! { (count(total.requests)) small { " " (decimal(Some(total.per_second), 1)) "/s" } }))
            (fact("p50", &html! { (latency(total.duration.map(|d| d.p50_us))) }))
            (fact("p95", &html! { (latency(total.duration.map(|d| d.p95_us))) }))
            (fact("p99", &html! { (latency(total.duration.map(|d| d.p99_us))) }))
            (fact("Requests failed", &html! { (share(total.failed, total.requests)) small { " " (count(total.failed)) } }))
            (fact("Checks failed", &html! { (share(checks_failed, checks)) small { " " (count(checks_failed)) } }))
            (fact("Iterations with a failed check", &html! { (share(with_failed, ended)) small { " " (count(with_failed)) } }))
        } }
    }
}

fn findings_section(findings: &[Finding]) -> Markup {
    html! {
        @if !findings.is_empty() { section { h2 { "Findings" } ul.plain { @for finding in findings { li {
            (badge(finding.severity.as_str())) " " strong { (prose(&finding.title)) }
            @if !finding.evidence.is_empty() && !is_quiet(finding) { br; small.muted {
                (prose(&finding.evidence.iter().map(|one| format!("{}: {}", one.name, one.value)).collect::<Vec<_>>().join(" · ")))
            } }
        } } } } }
    }
}

fn thresholds(thresholds: &[ThresholdResult]) -> Markup {
    html! {
        @if !thresholds.is_empty() { section { h2 { "Thresholds" } div.scroll { table {
            thead { tr { th { "" } th { "Threshold" } th.number { "Actual" } th { "" } th.number { "First failed" } } }
            tbody { @for one in thresholds { tr {
                td { (badge(one.verdict.as_str())) } td.wide { code { (one.text) } } td.number { (one.shown) } td.wide { (one.reason) }
                td.number { @match one.first_breach { Some(second) => { "second " (second) } None => { "-" } } }
            } } }
        } } } }
    }
}

fn levels(climbs: &[ClimbSummary]) -> Markup {
    html! { @for climb in climbs { section { h2 { "Levels of " (climb.scenario) } p { (climb.sentence()) } div.scroll { table {
        thead { tr { th { "" } th.number { "Level" } th.number { "Held in seconds" } th { "" } } }
        tbody { @for level in &climb.levels { tr {
            td { (badge(level.verdict.as_str())) } td.number { (level.shown) } td.number { (level.from) " to " (level.to) }
            td.wide { @for reason in &level.reasons { (reason) br; } }
        } } }
    } } } } }
}

/// Limits of a latency chart: what thresholds on all steps ask of response times.
fn limits(run: &Run, metric: &str, mut chart: Chart) -> Chart {
    for threshold in &run.thresholds {
        let Ok(series) = parse_series(&threshold.text) else { continue };
        if series.metric.name == metric && !series.selector.contains_key("step") {
            chart = chart.with_limit(series.bound.value, threshold.text.clone());
        }
    }
    chart
}

fn named(series: Vec<ProbeSeries>) -> Vec<Line> {
    let name = |one: &ProbeSeries| one.labels.get("pool").cloned().unwrap_or_else(|| one.probe.clone());
    series.into_iter().map(|one| Line::new(name(&one), one.values)).collect()
}

fn charts(run: &Run, series: &ChartSeries, [pools, waiting, memory]: [Vec<ProbeSeries>; 3]) -> Vec<Chart> {
    let time = Scale::Unit(Unit::Time);
    let whole = Scale::Unit(Unit::Count);
    let requests =
        vec![Line::new("requests", series.rates(|one| Some(one.requests))), Line::new("failed", series.rates(|one| Some(one.failed)))];
    let quantile =
        |name: &str, pick: fn(&Figures) -> Option<u64>| Line::new(name, series.values(|one| pick(one).map(|us| us as f64 * 1e-6)));
    let quantiles = vec![quantile("p50", |one| one.p50_us), quantile("p95", |one| one.p95_us), quantile("p99", |one| one.p99_us)];
    let mut charts = vec![
        Chart::new("Requests a second", Scale::PerSecond, requests),
        limits(run, "http_req_duration", Chart::new("Request duration", time, quantiles)),
        Chart::new("Virtual users", whole, vec![Line::new("VUs", series.values(|one| one.vus.map(|vus| vus as f64)))]),
    ];
    let dropped = series.rates(|one| one.dropped);
    if dropped.iter().flatten().any(|dropped| *dropped > 0.0) {
        charts.push(Chart::new("Dropped starts a second", Scale::PerSecond, vec![Line::new("dropped", dropped)]));
    }
    if !pools.is_empty() {
        let chart = Chart::new("Pool utilization", Scale::Unit(Unit::Ratio), named(pools));
        charts.push(limits(run, "pool_utilization", chart));
    }
    for (title, scale, lines) in
        [("Callers waiting for a connection", whole, waiting), ("Process memory", Scale::Unit(Unit::Bytes), memory)]
    {
        if !lines.is_empty() {
            charts.push(Chart::new(title, scale, named(lines)));
        }
    }
    for chart in &mut charts {
        chart.first_second = series.from;
    }
    charts
}

fn checks_of(step: &StepSummary) -> (u64, u64) {
    step.checks.values().fold((0, 0), |(failed, made), check| (failed + check.failed, made + check.passed + check.failed))
}

fn step_row(name: &str, title: Option<&str>, step: &StepSummary) -> Markup {
    let at = |pick: fn(&LatencySummary) -> u64| latency(step.duration.as_ref().map(pick));
    let (checks_failed, checks) = checks_of(step);
    html! { tr {
        td.wide { strong { (name) } @if let Some(title) = title { br; small.muted { (title) } } }
        td.number { (count(step.requests)) } td.number { (decimal(Some(step.per_second), 2)) }
        td.number { (count(step.failed)) " " small.muted { (share(step.failed, step.requests)) } }
        td.number { (share(checks_failed, checks)) }
        td.number { (at(|d| d.p50_us)) } td.number { (at(|d| d.p95_us)) } td.number { (at(|d| d.p99_us)) } td.number { (at(|d| d.max_us)) }
    } }
}

fn steps(summary: &Summary) -> Markup {
    let several = summary.scenarios.len() > 1;
    html! { section { h2 { "Steps" } div.scroll { table {
        thead { tr {
            th { "Step" } th.number { "Requests" } th.number { "/s" } th.number { "Failed" } th.number { "Checks failed" }
            th.number { "p50" } th.number { "p95" } th.number { "p99" } th.number { "max" }
        } }
        tbody {
            @for step in &summary.steps { (step_row(&step.step, several.then_some(step.scenario.as_str()), step)) }
            (step_row("all", None, &summary.total))
        }
    } } @for sentence in rare(summary) { p.muted { (sentence) } } } }
}

fn groups(summary: &Summary) -> Markup {
    html! { @if !summary.groups.is_empty() { section { h2 { "Groups" } div.scroll { table {
        thead { tr { th { "Group" } th { "Scenario" } th.number { "Times" } th.number { "p50" } th.number { "p95" } th.number { "p99" } th.number { "max" } } }
        tbody { @for one in &summary.groups { tr {
            td { (one.group) } td { (one.scenario) } td.number { (count(one.duration.count)) }
            @for us in [one.duration.p50_us, one.duration.p95_us, one.duration.p99_us, one.duration.max_us] { td.number { (latency(Some(us))) } }
        } } }
    } } } } }
}

fn iterations(summary: &Summary) -> Markup {
    html! { section { h2 { "Iterations" } div.scroll { table {
        thead { tr {
            th { "Scenario" } th.number { "Scheduled" } th.number { "Started" } th.number { "Completed" } th.number { "Failed" }
            th.number { "Interrupted" } th.number { "Dropped" } th.number { "Unsent" } th.number { "VUs max" } th.number { "Late p99" }
        } }
        tbody { @for one in &summary.scenarios {
            @let Accounting { scheduled, started, completed, failed, interrupted, dropped, unsent } = one.counts;
            tr { td { (one.scenario) }
                @for number in [scheduled, started, completed, failed, interrupted, dropped, unsent, one.vus_max] { td.number { (count(number)) } }
                td.number { (latency(one.start_lag.map(|lag| lag.p99_us))) }
            }
            @for (reason, broke) in &one.broke_off { tr { td {} td colspan="9" { (count(*broke)) " broke off between requests: " (reason) } } }
        } }
    } } } }
}

fn pools_table(summary: &Summary) -> Markup {
    let pools: Vec<_> = summary.series.iter().filter(|one| one.metric == "pool_utilization").collect();
    html! { @if !pools.is_empty() { section { h2 { "Pools" } div.scroll { table {
        thead { tr { th { "Pool" } th { "Probe" } th.number { "Peak" } th.number { "p95" } th.number { "Mean" } th.number { "Full" } } }
        tbody { @for one in pools { tr {
            td { (one.labels.get("pool").map_or("-", String::as_str)) } td { (one.probe) }
            td.number { (format_percent(one.max)) } td.number { (format_percent(one.p95)) } td.number { (format_percent(one.mean)) }
            td.number { (one.saturated) " of " (one.samples) " readings" }
        } } }
    } } } } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_again_stands_below_the_steps_where_it_was() {
        let mut summary = crate::model::sample::finished().summary.unwrap();
        assert!(!steps(&summary).into_string().contains("sent again"));
        (summary.total.resent, summary.steps[1].resent) = (12, 12);
        let page = steps(&summary).into_string();
        let (_, below) = page.split_once("</table>").unwrap();
        assert!(below.contains("12 requests were sent again on another connection: 12 in ") && !below.contains("not heard"), "{page}");
    }
}
