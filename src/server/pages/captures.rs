//! What was captured during a run, with links to the contents.

use maud::{Markup, html};

use crate::model::capture::Captured;
use crate::model::units::format_bytes;

pub(super) fn captures(run: &str, captures: &[Captured]) -> Markup {
    html! { @if !captures.is_empty() { section { h2 { "Captures" } div.scroll { table {
        thead { tr { th { "Capture" } th { "What" } th { "When" } th.number { "Second" } th.number { "Took" } th.number { "Size" } th { "" } } }
        tbody { @for one in captures { tr {
            td { (one.name) } td.wide { (one.what) } td.wide { (one.why) } td.number { (one.second) } td.number { (one.took_ms) " ms" }
            @match &one.error {
                Some(error) => { td {} td.wide { "failed: " (error) } }
                None => {
                    td.number { (format_bytes(one.bytes as f64)) }
                    td { a href={ "/api/v1/runs/" (run) "/captures/" (one.number) } { (one.file) } }
                }
            }
        } } }
    } } } } }
}
