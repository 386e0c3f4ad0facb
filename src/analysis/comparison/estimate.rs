//! From a figure on both sides to what it comes to: the ratio with its interval, in which the doubt within the runs and the scatter
//! between runs stand together, and the word for it.

use serde::Serialize;

use super::draw::{Drawn, drawn};
use super::{Direction, Outcome};
use crate::analysis::numbers::Span;
use crate::analysis::stats::distribution::normal_quantile;

/// A change by less than this, either way, is called the same.
pub const SAME: f64 = 0.10;

/// z of the two one-sided tests at 5 % that make "the same" (Schuirmann 1987): their interval is that of 90 %.
const EQUIVALENCE_Z: f64 = 1.645;

/// A figure with its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// As measured.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// How much a figure differs between runs of the same thing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Noise {
    /// Standard deviation between runs, as a share of the figure.
    pub(super) relative: f64,
    /// Half width of the interval in standard deviations.
    pub(super) reach: f64,
}

impl Noise {
    /// Half width of the interval of a difference of two runs, relative.
    pub(super) fn half(&self) -> f64 {
        self.reach * self.relative * std::f64::consts::SQRT_2
    }
}

/// From which change on it is worth telling.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Least {
    /// As a share of the first.
    pub(super) relative: f64,
    /// In base units.
    pub(super) absolute: f64,
}

/// What comes of a figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Told {
    pub(super) ratio: Option<Estimate>,
    pub(super) difference: Option<Estimate>,
    pub(super) outcome: Outcome,
}

/// The word for an interval of the difference with some confidence; `from` is the first side's figure.
pub(super) fn outcome(from: f64, change: f64, (span, confidence): (Span, f64), least: Least, direction: Direction) -> Outcome {
    let worth = |change: f64| change.abs() > least.relative * from.abs() && change.abs() >= least.absolute;
    let small = |change: f64| change.abs() <= SAME * from.abs() || change.abs() < least.absolute;
    if !span.contains(0.0) && worth(change) {
        return match direction {
            Direction::HigherIsWorse if change > 0.0 => Outcome::Worse,
            Direction::LowerIsWorse if change < 0.0 => Outcome::Worse,
            Direction::HigherIsWorse | Direction::LowerIsWorse => Outcome::Better,
            Direction::Neither => Outcome::Changed,
        };
    }
    let narrower = EQUIVALENCE_Z / normal_quantile(0.5 + confidence / 2.0).unwrap_or(EQUIVALENCE_Z);
    let end = |end: f64| change + (end - change) * narrower;
    if small(end(span.low)) && small(end(span.high)) { Outcome::Same } else { Outcome::CannotTell }
}

/// Compares the figures of two sides, one per figure that they have.
pub(super) fn figures(
    (first, second): (&dyn Drawn, &dyn Drawn),
    paired: bool,
    confidence: f64,
    rules: &[(Noise, Least, Direction)],
) -> Vec<(f64, f64, Told)> {
    let whole = |side: &dyn Drawn| side.figures(&(0..side.len()).collect::<Vec<_>>());
    let (a, b) = (whole(first), whole(second));
    let ratios = drawn((first, second), paired, confidence, |a, b| (b / a).ln());
    let differences = drawn((first, second), paired, confidence, |a, b| b - a);
    let mut found = Vec::new();
    for (at, (noise, least, direction)) in rules.iter().enumerate() {
        let (a, b) = (a[at], b[at]);
        let told = if a > 0.0 && b > 0.0 {
            by_ratio((a, b), (ratios[at], confidence), *noise, *least, *direction)
        } else {
            by_difference((a, b), (differences[at], confidence), *least, *direction)
        };
        found.push((a, b, told));
    }
    found
}

fn by_ratio((a, b): (f64, f64), (ends, confidence): (Option<(f64, f64)>, f64), noise: Noise, least: Least, direction: Direction) -> Told {
    let point = (b / a).ln();
    let Some((low, high)) = ends else {
        let value = b / a;
        let outcome = Outcome::CannotTell;
        return Told { ratio: Some(Estimate { value, low: f64::NAN, high: f64::NAN }), difference: None, outcome };
    };
    let half = noise.half();
    let low = (point - (point - low).max(0.0).hypot(half)).exp();
    let high = (point + (high - point).max(0.0).hypot(half)).exp();
    let span = Span { low: a * (low - 1.0), high: a * (high - 1.0) };
    let difference = Estimate { value: b - a, low: span.low, high: span.high };
    Told {
        ratio: Some(Estimate { value: b / a, low, high }),
        difference: Some(difference),
        outcome: outcome(a, b - a, (span, confidence), least, direction),
    }
}

/// Where one side is 0 there is no ratio.
fn by_difference((a, b): (f64, f64), (ends, confidence): (Option<(f64, f64)>, f64), least: Least, direction: Direction) -> Told {
    let none = Told { ratio: None, difference: None, outcome: Outcome::CannotTell };
    let (Some((low, high)), true) = (ends, a.is_finite() && b.is_finite()) else { return none };
    let change = b - a;
    let span = Span { low: low.min(change), high: high.max(change) };
    let difference = Estimate { value: change, low: span.low, high: span.high };
    // From 0, every change that is worth telling in its unit is.
    let least = Least { relative: 0.0, ..least };
    Told { ratio: None, difference: Some(difference), outcome: outcome(a, change, (span, confidence), least, direction) }
}
