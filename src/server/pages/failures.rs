//! The failures of a run: how many, of which step, why, in which seconds, and what the server said.

use maud::{Markup, html};

use crate::model::run::{StepSummary, Summary};
use crate::report::count;

/// Most rows.
const ROWS: usize = 50;

/// One row.
struct Row<'a> {
    failed: u64,
    step: &'a str,
    reason: String,
    /// First and last second.
    seconds: Option<(u32, u32)>,
    message: &'a str,
}

pub(super) fn failures(summary: &Summary) -> Markup {
    let mut rows: Vec<Row<'_>> = summary.steps.iter().flat_map(rows).collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.failed));
    let rest: u64 = rows.iter().skip(ROWS).map(|row| row.failed).sum();
    html! { @if !rows.is_empty() { section { h2 { "Failures" } div.scroll { table {
        thead { tr { th.number { "Requests" } th { "Step" } th { "Reason" } th.number { "First" } th.number { "Last" } th { "For example" } } }
        tbody { @for row in rows.iter().take(ROWS) { tr {
            td.number { (count(row.failed)) } td { (row.step) } td.tight { code { (row.reason) } }
            @match row.seconds {
                Some((first, last)) => { td.number { "second " (first) } td.number { "second " (last) } }
                None => { td {} td {} }
            }
            td.wide { (row.message) }
        } } }
    } } @if rest > 0 { p.muted { "and " (count(rest)) " more for other reasons or with other messages" } } } } }
}

fn rows(step: &StepSummary) -> Vec<Row<'_>> {
    let row = |failed, reason: String, seconds, message| Row { failed, step: &step.step, reason, seconds, message };
    if step.told.is_empty() && step.told_beyond == 0 {
        // As earlier versions stored it.
        let message = |reason| step.messages.get(reason).map_or("", String::as_str);
        return step.reasons.iter().map(|(reason, failed)| row(*failed, reason.to_string(), None, message(reason))).collect();
    }
    let told = step.told.iter().map(|one| row(one.count, one.reason.to_string(), Some((one.first, one.last)), one.sample.as_str()));
    let beyond = (step.told_beyond > 0).then(|| row(step.told_beyond, "various".into(), None, "too many different messages to tell apart"));
    told.chain(beyond).collect()
}
