//! Part of the overview: how much of each target's capacity production leaves free, and the day on which it runs out.

use maud::{Markup, html};

use super::super::error::ApiError;
use super::super::headroom::Left;
use crate::engine::handle::EngineStatus;
use crate::model::units::{Timestamp, format_percent};
use crate::report::{ABSENT, decimal};

/// Free shares below which a bar is coloured.
const LOW: f64 = 0.2;

/// The section; nothing when no target says where its production load is read.
pub(super) fn headroom(status: &EngineStatus, left: &Result<Vec<Left>, ApiError>) -> Markup {
    let production = &status.setup.production;
    if production.is_empty() {
        return html! {};
    }
    let left = left.as_deref().unwrap_or_default();
    html! { section { h2 { "Headroom" }
        @if !left.is_empty() { div.scroll { table {
            thead { tr {
                th { "Target" } th { "Resource" } th.number { "Free" } th { "" } th.number { "Safe" } th.number { "Production" } th { "Runs out" } th { "Between" }
            } }
            tbody { @for one in left { tr {
                td { strong { (one.target) } } td.wide { (one.resource) }
                td.number { (format_percent(one.free)) }
                td { meter min="0" max="1" low=(LOW) high=(LOW * 2.0) optimum="1" value=(one.free.clamp(0.0, 1.0)) { } }
                td.number { (per_second(one.capacity)) } td.number { (per_second(one.load)) }
                td.tight { @match one.runs_out {
                    Some(at) => { strong { (day(at)) } }
                    None => { span.muted { "no growth that is certain" } }
                } }
                td.tight { @match (one.runs_out, one.earliest, one.latest) {
                    (Some(_), Some(low), Some(high)) => { (day(low)) " and " (day(high)) }
                    (Some(_), Some(low), None) => { (day(low)) " and never" }
                    _ => { (ABSENT) }
                } }
            } } }
        } }
        p.muted { "Requests a second: what was safe when it was last measured, and the peak of the last seven days. The day is that at the present growth, with its interval of 95 %." } }
        @for (target, load) in production.iter().filter(|(target, _)| !left.iter().any(|one| one.target == **target)) {
            p.muted { strong { (target) } ": not known yet. It takes a run that measured a capacity, and readings of " code { (load.metric) } " by probe " (load.probe) " outside of runs." }
        }
    } }
}

fn per_second(value: Option<f64>) -> String {
    value.map_or_else(|| ABSENT.into(), |value| format!("{}/s", decimal(Some(value), 1)))
}

/// `2027-01-12`.
fn day(at: Timestamp) -> Markup {
    html! { time datetime=(at) { (at.to_utc().format("%Y-%m-%d")) } }
}
