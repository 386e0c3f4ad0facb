//! A comparison as text and JSON: what it comes to first, then what speaks against it, then the figures, then what changed inside.

use serde_json::{Value, json};

use super::ABSENT;
use super::lines::seconds;
use super::text::{count, plain, row, table};
use crate::analysis::comparison::{Comparison, Estimate, Fate, Named, Outcome, Row};
use crate::model::threshold::{Unit, show_unit};
use crate::model::units::trim_decimal;

/// The word for an outcome as people read it.
pub fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Worse => "worse",
        Outcome::Better => "better",
        Outcome::Changed => "changed",
        Outcome::Same => "same",
        Outcome::CannotTell => "can't tell",
    }
}

/// What became of a reason, as people read it.
pub fn fate_word(fate: Fate) -> &'static str {
    match fate {
        Fate::New => "new",
        Fate::Gone => "gone",
        Fate::More => "more",
        Fate::Fewer => "fewer",
        Fate::Same => "same",
        Fate::CannotTell => "can't tell",
    }
}

/// One side in words: `run 2026…, phase hold (5m), version 1.4`.
pub fn side_words(side: &Named) -> String {
    let part = side.part.as_ref().map(|part| format!(", {part}")).unwrap_or_default();
    let version = side.version.as_ref().map(|version| format!(", version {version}")).unwrap_or_default();
    plain(&format!("{}{part} ({}) of {} on {}{version}", side.run, seconds(f64::from(side.seconds)), side.profile, side.target), 300)
}

/// A figure in its unit.
pub fn value_words(row: &Row, value: Option<f64>) -> String {
    let Some(value) = value else { return ABSENT.into() };
    let rounded = if row.unit == Unit::Ratio || value.abs() < f64::MIN_POSITIVE { value } else { three_digits(value) };
    let shown = show_unit(row.unit, rounded);
    if row.figure == "throughput" { format!("{shown}/s") } else { shown }
}

fn three_digits(value: f64) -> f64 {
    // Of 0 the logarithm has no end.
    let scale = 10_f64.powi(2_i32.saturating_sub(value.abs().log10().floor() as i32));
    if scale.is_finite() && scale > 0.0 { (value * scale).round() / scale } else { value }
}

/// The ratio with its interval, or the difference where there is no ratio: `1.25 (1.18 to 1.33)`.
pub fn change_words(row: &Row) -> (String, String) {
    let spanned = |estimate: Estimate, shown: &dyn Fn(f64) -> String| {
        let span = if estimate.low.is_finite() { format!("{} to {}", shown(estimate.low), shown(estimate.high)) } else { ABSENT.into() };
        (shown(estimate.value), span)
    };
    let signed = |value: f64| {
        let sign = if value < 0.0 { "-" } else { "+" };
        let size = if row.unit == Unit::Ratio {
            format!("{} points", trim_decimal(value.abs() * 100.0, 2))
        } else {
            show_unit(row.unit, three_digits(value.abs()))
        };
        format!("{sign}{size}")
    };
    match (row.ratio, row.difference) {
        (Some(ratio), _) => spanned(ratio, &|value| format!("x{}", trim_decimal(value, 3))),
        (None, Some(difference)) => spanned(difference, &signed),
        (None, None) => (ABSENT.into(), ABSENT.into()),
    }
}

/// A comparison as text of several lines.
pub fn comparison_text(comparison: &Comparison) -> String {
    let mut text = format!("{}  {}\n", outcome_word(comparison.outcome).to_uppercase(), plain(&comparison.sentence, 400));
    text.push_str(&format!("  first   {}\n  second  {}\n", side_words(&comparison.first), side_words(&comparison.second)));
    if !comparison.warnings.is_empty() {
        text.push_str("\nSpeaks against it\n");
        for warning in &comparison.warnings {
            text.push_str(&format!("  {} {}\n", if warning.grave { "!" } else { "-" }, plain(&warning.text, 300)));
        }
    }
    let mut rows = vec![row(["of", "figure", "first", "second", "change", "interval", ""])];
    for one in &comparison.rows {
        let (change, span) = change_words(one);
        rows.push(vec![
            one.subject.as_ref().map_or_else(|| "all steps".into(), |subject| plain(subject, 48)),
            plain(&one.figure, 40),
            value_words(one, one.first),
            value_words(one, one.second),
            change,
            span,
            outcome_word(one.outcome).into(),
        ]);
    }
    text.push_str(&format!("\nFigures\n{}", table(&rows, 2)));
    if !comparison.reasons.is_empty() {
        let mut rows = vec![row(["reason", "steps", "first", "second", ""])];
        for reason in &comparison.reasons {
            let steps = plain(&reason.steps.join(", "), 60);
            rows.push(vec![
                plain(&reason.reason.to_string(), 60),
                steps,
                count(reason.first),
                count(reason.second),
                fate_word(reason.fate).into(),
            ]);
        }
        text.push_str(&format!("\nFailures\n{}", table(&rows, 2)));
    }
    if let Some(changes) = &comparison.changes {
        for (title, shown) in super::changes::tables(changes) {
            text.push_str(&format!("\n{title}\n{}", table(&[vec![shown.titles], shown.rows].concat(), shown.left)));
        }
        for note in &changes.notes {
            text.push_str(&format!("  note: {}\n", plain(note, 300)));
        }
    }
    text.push_str(&format!("\n{}\n", comparison.doubt));
    text
}

/// A comparison as JSON, the answer of `/api/v1/compare`.
pub fn comparison_json(comparison: &Comparison) -> Value {
    serde_json::to_value(comparison).unwrap_or_else(|error| json!({ "error": error.to_string() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_are_kept_of_whatever_there_is() {
        for (value, kept) in
            [(1234.0, 1230.0), (0.012_345, 0.0123), (0.0, 0.0), (-5.0, -5.0), (f64::MIN_POSITIVE / 4.0, f64::MIN_POSITIVE / 4.0)]
        {
            assert!((three_digits(value) - kept).abs() < 1e-9, "{value}: {}", three_digits(value));
        }
        assert!(three_digits(f64::INFINITY).is_infinite());
    }
}
