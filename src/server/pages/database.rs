//! Part of a run's page: what the databases of its target did, by statement, table and lock.

use maud::{Markup, html};

use crate::model::run::Summary;
use crate::report::database::{Shown, locks, notes, statements, tables};

/// A section for each probe that took snapshots.
pub(super) fn databases(summary: &Summary) -> Markup {
    let requests = summary.total.requests;
    html! { @for work in &summary.databases { section {
        h2 { "What happened in the database " (work.database) }
        p.muted { "Difference of two snapshots, before the load and after it, by probe " (work.probe) "." }
        (table(&statements(work, requests)))
        (table(&tables(work, requests)))
        (table(&locks(work, requests)))
        @let notes = notes(work);
        @if !notes.is_empty() { ul { @for note in &notes { li { (note) } } } }
    } } }
}

/// Rows that the report made, as a table.
pub(super) fn table(shown: &Shown) -> Markup {
    html! { @if !shown.rows.is_empty() { div.scroll { table {
        thead { tr { @for (at, title) in shown.titles.iter().enumerate() { th.number[at >= shown.left] { (title) } } } }
        tbody { @for row in &shown.rows { tr { @for (at, cell) in row.iter().enumerate() {
            td.number[at >= shown.left].wide[at < shown.left] { (cell) }
        } } } }
    } } } }
}
