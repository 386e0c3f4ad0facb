//! The page that compares two runs, or two phases: what it comes to, what speaks against it, and every figure.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};

use super::super::api::compare::{CompareQuery, compared};
use super::super::error::ApiError;
use super::super::{Parts, stored};
use super::parts::{badge, run_path};
use super::{failed, page, respond};
use crate::analysis::comparison::{Changes, Comparison, Outcome, Row};
use crate::model::run::{RunLine, RunStatus};
use crate::report::changes::tables;
use crate::report::comparison::{change_words, fate_word, outcome_word, side_words, value_words};
use crate::report::count;
use crate::store::RunFilter;

/// Runs that the page offers.
const OFFERED: u32 = 50;

pub(in super::super) async fn compare(State(parts): State<Parts>, query: Result<Query<CompareQuery>, QueryRejection>) -> Response {
    let answer = async {
        let Query(query) = query.map_err(|rejection| ApiError::bad_request(rejection.body_text()))?;
        whole(&parts, query).await
    };
    answer.await.unwrap_or_else(|error| failed(&error))
}

async fn whole(parts: &Parts, query: CompareQuery) -> Result<Response, ApiError> {
    let asked = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
    let (a, b) = (asked(query.a), asked(query.b));
    let runs = stored(parts.store.run_lines(&RunFilter { limit: OFFERED, ..RunFilter::default() })).await?;
    let form = choose(a.as_deref(), b.as_deref(), &runs);
    let (Some(a), Some(b)) = (a, b) else {
        let body = html! { h1 { "Compare" } (form) };
        return Ok(respond(StatusCode::OK, page("Compare", None, &body)));
    };
    Ok(match compared(parts, &a, &b).await {
        Ok(comparison) => respond(StatusCode::OK, page("Compare", None, &html! { (told(&comparison)) (form) })),
        Err(error) => {
            let body = html! { h1 { "Compare" } div.banner { (error.message) } (form) };
            respond(error.status, page("Compare", None, &body))
        }
    })
}

fn choose(a: Option<&str>, b: Option<&str>, runs: &[RunLine]) -> Markup {
    html! { section { h2 { "Two runs" }
        form method="get" action="/compare" {
            p { label { "First " input name="a" list="runs" size="44" value=(a.unwrap_or_default()) required; } }
            p { label { "Second " input name="b" list="runs" size="44" value=(b.unwrap_or_default()) required; } }
            datalist id="runs" { @for run in runs.iter().filter(|run| run.status != RunStatus::Running) { option value=(run.id) {} } }
            p.muted { "A run is named by its id, the beginning or end of one, or " code { "last" } "; a part of it by " code { "RUN:PHASE" } "." }
            button { "Compare" }
        }
    } }
}

fn told(comparison: &Comparison) -> Markup {
    let changed = comparison.rows.iter().filter(|row| !matches!(row.outcome, Outcome::Same | Outcome::CannotTell));
    html! {
        h1 { (word(comparison.outcome)) "Compared" }
        div class={ "banner" @if comparison.outcome != Outcome::Worse { " warn" } } { (comparison.sentence) }
        section { dl.facts {
            @for (name, side) in [("First", &comparison.first), ("Second", &comparison.second)] {
                (super::parts::fact(name, &html! { a href=(run_path(&side.run.0)) { (side_words(side)) } }))
            }
        } }
        @if !comparison.warnings.is_empty() { section { h2 { "Speaks against it" } ul.plain { @for warning in &comparison.warnings {
            li { @if warning.grave { (badge("high")) " " } (warning.text) }
        } } } }
        section { h2 { "What changed" } (table(&changed.collect::<Vec<_>>())) }
        @if !comparison.reasons.is_empty() { section { h2 { "Failures" } div.scroll { table {
            thead { tr { th { "Reason" } th { "Steps" } th.number { "First" } th.number { "Second" } th { "" } } }
            tbody { @for row in &comparison.reasons { tr {
                td { (row.reason) } td.wide { (row.steps.join(", ")) } td.number { (count(row.first)) } td.number { (count(row.second)) }
                td { (fate_word(row.fate)) }
            } } }
        } } } }
        @if let Some(changes) = &comparison.changes { (inside(changes)) }
        section { h2 { "All figures" } (table(&comparison.rows.iter().collect::<Vec<_>>())) p.muted { (comparison.doubt) } }
    }
}

/// What changed inside of the target: pools, messages, statements, locks.
fn inside(changes: &Changes) -> Markup {
    html! {
        @for (title, shown) in tables(changes) { section { h2 { (title) } (super::database::table(&shown)) } }
        @if !changes.notes.is_empty() { section { h2 { "Not the whole truth" } ul { @for note in &changes.notes { li { (note) } } } } }
    }
}

fn word(outcome: Outcome) -> Markup {
    let colour = match outcome {
        Outcome::Worse => "fail",
        Outcome::Better | Outcome::Same => "pass",
        Outcome::Changed | Outcome::CannotTell => "no_data",
    };
    html! { span class={ "badge " (colour) } { (outcome_word(outcome)) } }
}

fn table(rows: &[&Row]) -> Markup {
    html! {
        @if rows.is_empty() { p.muted { "Nothing that stands out of the doubt." } } @else { div.scroll { table {
            thead { tr { th { "" } th { "Of" } th { "Figure" } th.number { "First" } th.number { "Second" } th.number { "Change" } th.number { "Interval" } } }
            tbody { @for row in rows {
                @let (change, span) = change_words(row);
                tr {
                    td { (word(row.outcome)) }
                    td.wide { (row.subject.as_deref().unwrap_or("all steps")) }
                    td { (row.figure) }
                    td.number { (value_words(row, row.first)) }
                    td.number { (value_words(row, row.second)) }
                    td.number { (change) }
                    td.number { (span) }
                }
            } }
        } } }
    }
}
