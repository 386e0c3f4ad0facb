//! What changed inside of a target between two runs: the same rows for the terminal and the page.

use super::ABSENT;
use super::comparison::fate_word;
use super::database::Shown;
use super::text::{count, decimal, plain, row};
use crate::analysis::comparison::{Changes, Fate, LockFigure, LockRow, PerRequest, PoolSeen, StatementRow};

/// Statements that are shown; all are in the JSON.
const STATEMENTS: usize = 15;

/// The tables with their titles; empty ones are left out.
pub fn tables(changes: &Changes) -> Vec<(&'static str, Shown)> {
    let all = [
        ("Pools", pools(changes)),
        ("What was said of failures", messages(changes)),
        ("Statements, per request", statements(changes)),
        ("Locks", locks(changes)),
    ];
    all.into_iter().filter(|(_, shown)| !shown.rows.is_empty()).collect()
}

fn pools(changes: &Changes) -> Shown {
    let titles = row(["pool", "probe", "size first", "second", "most in use first", "second", "full first", "second", ""]);
    let number = |value: Option<f64>| decimal(value, 0);
    let full = |seen: &PoolSeen| format!("{} of {} readings", seen.full, seen.readings);
    let rows = changes.pools.iter().map(|one| {
        let (a, b) = (&one.first, &one.second);
        let word = match (a.limit, b.limit) {
            (Some(a), Some(b)) if b - a > 0.5 => "larger",
            (Some(a), Some(b)) if a - b > 0.5 => "smaller",
            _ => "",
        };
        let mut cells = vec![plain(&one.pool, 40), plain(&one.probe, 40)];
        cells.extend([number(a.limit), number(b.limit), number(a.most), number(b.most), full(a), full(b), word.to_owned()]);
        cells
    });
    Shown { titles, rows: rows.collect(), left: 2 }
}

fn messages(changes: &Changes) -> Shown {
    let titles = row(["said", "reason", "first", "second", ""]);
    let rows = changes.messages.iter().map(|one| {
        let said = if one.said.is_empty() { "(nothing)".into() } else { plain(&one.said, 80) };
        vec![said, plain(&one.reason.to_string(), 60), count(one.first), count(one.second), fate_word(one.fate).into()]
    });
    Shown { titles, rows: rows.collect(), left: 2 }
}

fn statements(changes: &Changes) -> Shown {
    let titles =
        row(["statement", "calls first", "second", "rows first", "second", "blocks read first", "second", "mean first", "second", ""]);
    // What changed first; all together at the head of each probe.
    let mut shown: Vec<&StatementRow> = changes.statements.iter().collect();
    shown.sort_by_key(|one| (one.statement.is_some(), matches!(one.fate, Fate::Same | Fate::CannotTell)));
    let rows = shown.into_iter().take(STATEMENTS).map(|one| {
        let of = |side: &Option<PerRequest>, pick: fn(&PerRequest) -> f64, digits| decimal(side.as_ref().map(pick), digits);
        let mean = |side: &Option<PerRequest>| {
            side.as_ref().map_or_else(|| ABSENT.to_owned(), |side| format!("{} ms", decimal(Some(side.mean_s * 1000.0), 3)))
        };
        let mut cells = vec![one.statement.as_ref().map_or_else(|| format!("all of {}", plain(&one.probe, 40)), |text| plain(text, 70))];
        for pick in [(|one| one.calls) as fn(&PerRequest) -> f64, |one| one.rows, |one| one.blocks_read] {
            cells.extend([of(&one.first, pick, 2), of(&one.second, pick, 2)]);
        }
        cells.extend([mean(&one.first), mean(&one.second), fate_word(one.fate).to_owned()]);
        cells
    });
    Shown { titles, rows: rows.collect(), left: 1 }
}

fn locks(changes: &Changes) -> Shown {
    let titles = row(["lock", "", "first", "second", ""]);
    let cells = |one: &LockRow| {
        let (what, digits, unit) = match one.figure {
            LockFigure::Waited => ("waited together", 1, " s"),
            LockFigure::Deadlocks => ("in the run", 0, ""),
            LockFigure::Held => ("held when it had ended", 0, ""),
        };
        let number = |value: f64| format!("{}{unit}", decimal(Some(value), digits));
        vec![plain(&one.lock, 60), what.into(), number(one.first), number(one.second), fate_word(one.fate).into()]
    };
    Shown { titles, rows: changes.locks.iter().map(cells).collect(), left: 2 }
}
