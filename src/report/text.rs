//! Numbers and tables as people read them: thousands apart, units behind, columns in line, `-` where nothing was measured.

use std::time::Duration;

use super::ABSENT;
use crate::model::units::{format_duration, format_percent, trim_decimal};

/// A whole number with its thousands apart: `42,554`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A latency in microseconds: three figures and a unit, or `-`.
pub fn latency(us: Option<u64>) -> String {
    let Some(us) = us else { return ABSENT.into() };
    let step = 10_u64.pow(us.max(1).ilog10().saturating_sub(2));
    format_duration(Duration::from_micros((us + step / 2) / step * step))
}

/// `part` of `whole` in percent, or `-` when there is no whole. A part that is there never reads `0 %`.
pub fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return ABSENT.into();
    }
    let ratio = part as f64 / whole as f64;
    if part > 0 && ratio < 0.000_05 {
        return "< 0.01 %".into();
    }
    if part < whole && ratio > 0.999_95 {
        return "> 99.99 %".into();
    }
    format_percent(ratio)
}

/// A number with at most `digits` decimals and its thousands apart, or `-`.
pub fn decimal(value: Option<f64>, digits: usize) -> String {
    let Some(value) = value.filter(|value| value.is_finite()) else { return ABSENT.into() };
    let text = trim_decimal(value.abs(), digits);
    let (whole, rest) = text.split_once('.').map_or((text.as_str(), ""), |(whole, rest)| (whole, rest));
    let sign = if value < 0.0 && text != "0" { "-" } else { "" };
    let whole = whole.parse().map_or_else(|_| whole.to_owned(), count);
    if rest.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{rest}") }
}

/// Text from outside on one line of a terminal: control characters become spaces, at most `width` characters are kept.
pub(super) fn plain(text: &str, width: usize) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    cut(&clean, width)
}

/// At most `width` characters, the last one `…` when something was cut off.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut kept: String = text.chars().take(width.saturating_sub(1)).collect();
    kept.push('…');
    kept
}

/// Rows in columns: the first `left` columns are aligned left, the others right; two spaces before and between.
pub(super) fn table(rows: &[Vec<String>], left: usize) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let padding = " ".repeat(widths[column] - cell.chars().count());
            let (before, after) = if column < left { ("", padding.as_str()) } else { (padding.as_str(), "") };
            line.push_str(&format!("  {before}{cell}{after}"));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A row of texts.
pub(super) fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (42_554, "42,554"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), text);
        }
        for (us, text) in [(None, "-"), (Some(421), "421us"), (Some(4_023), "4.02ms"), (Some(621_740), "622ms"), (Some(1_159_999), "1.16s")]
        {
            assert_eq!(latency(us), text);
        }
        for (value, text) in [(None, "-"), (Some(f64::NAN), "-"), (Some(1234.56), "1,234.6"), (Some(-4.25), "-4.2"), (Some(0.0), "0")] {
            assert_eq!(decimal(value, 1), text);
        }
    }

    #[test]
    fn a_share_is_never_rounded_to_none_or_all() {
        for (part, whole, text) in [
            (0, 0, "-"),
            (0, 10, "0 %"),
            (1, 1_000_000, "< 0.01 %"),
            (999_999, 1_000_000, "> 99.99 %"),
            (10, 10, "100 %"),
            (8766, 42_554, "20.6 %"),
        ] {
            assert_eq!(share(part, whole), text);
        }
    }

    #[test]
    fn text_from_outside_cannot_steer_the_terminal() {
        assert_eq!(plain("a\u{1b}[31mb\nc", 80), "a [31mb c");
        assert_eq!(plain("äöüäöü", 4), "äöü…");
    }
}
