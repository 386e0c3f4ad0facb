//! The load line on the page of a run: the table of safe, peak and breaking load, what gives way first, and every level with what it met.

use maud::{Markup, html};

use super::parts::badge;
use crate::model::analysed::CapacityFound;
use crate::model::units::{format_percent, trim_decimal};
use crate::report::{latency, level_share, level_why};

pub(super) fn load_line(found: &CapacityFound) -> Markup {
    html! { section { h2 { "Load line of " (found.scenario) }
        @if found.from_ramp { p.muted { "From pieces of a ramp: the load moved on within each." } }
        div.scroll { table {
            thead { tr { th { "" } th { "Safe" } th { "Peak" } th { "Breaking" } } }
            tbody { @for row in &found.table { tr { td.tight { (row.name) } td { (row.safe) } td { (row.peak) } td.wide { (row.breaking) } } } }
        } }
        @if !found.bottlenecks.is_empty() { h3 { "What gives way first" } div.scroll { table {
            thead { tr { th { "Resource" } th.number { "Used at most" } th.number { "Full at" } } }
            tbody { @for one in &found.bottlenecks { tr {
                td.tight { (one.resource) } td.number { (format_percent((one.utilization * 100.0).round() / 100.0)) }
                td.number { @match one.per_second { Some(number) => { (trim_decimal(number.value, 1)) " requests/s" } None => { "-" } } }
            } } }
        } } }
        h3 { "Levels" }
        div.scroll { table {
            thead { tr { th.number { (found.unit) } th { "" } th.number { "Seconds" } th.number { "Requests/s" } th.number { "p95" } th.number { "Failed" } th { "" } } }
            tbody { @for level in &found.levels { tr {
                td.number { (trim_decimal(level.load, 1)) } td { (badge(level.outcome.as_str())) } td.number { (trim_decimal(level.seconds, 0)) }
                td.number { (trim_decimal(level.per_second, 2)) } td.number { (latency(level.p95_s.map(|seconds| (seconds * 1e6) as u64))) }
                td.number { (level_share(level.failed)) } td.wide { (level_why(level)) }
            } } }
        } }
    } }
}
