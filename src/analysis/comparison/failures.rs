//! Shares of failed requests on two sides: the interval of the difference (Newcombe 1998, method 10: from the Wilson limits of both),
//! which holds when one side has no failure at all; widened by how much more the failures cluster in time than chance among requests
//! would have them. And which reasons are new, and which are gone.

use std::collections::BTreeMap;

use serde::Serialize;

use super::side::Steps;
use crate::analysis::numbers::Span;
use crate::analysis::stats::distribution::normal_quantile;
use crate::choice;
use crate::model::failure::Reason;

/// Failures of a reason that would have had to be expected for their absence to mean something.
pub(super) const EXPECTED: f64 = 3.0;

choice! {
    /// What became of a reason.
    pub enum Fate {
        /// Only the second side has it, and the first would have shown it.
        New = "new",
        /// Only the first side has it, and the second would have shown it.
        Gone = "gone",
        /// Its share rose beyond chance.
        More = "more",
        /// Its share fell beyond chance.
        Fewer = "fewer",
        /// Nothing that could be told.
        Same = "same",
        /// One side has it, and the other made too few requests to have shown it.
        CannotTell = "cannot_tell",
    }
}

/// A reason on both sides.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReasonRow {
    /// The reason.
    pub reason: Reason,
    /// Failures on the first side.
    pub first: u64,
    /// Failures on the second side.
    pub second: u64,
    /// What became of it.
    pub fate: Fate,
    /// Steps that have it on the side that has it (on both: the second).
    pub steps: Vec<String>,
}

/// Events and requests of a side, and how much the events cluster.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    events: f64,
    requests: f64,
    /// Variance over that by chance, at least 1.
    clustering: f64,
}

impl Share {
    pub(super) fn of(steps: &Steps) -> Self {
        Self { events: steps.failed() as f64, requests: steps.requests() as f64, clustering: clustering(steps) }
    }

    pub(super) fn value(&self) -> Option<f64> {
        (self.requests > 0.0).then(|| self.events / self.requests)
    }

    /// Wilson limits with as many requests as the clustering leaves.
    fn wilson(&self, z: f64) -> (f64, f64, f64) {
        let n = (self.requests / self.clustering).max(1.0);
        let share = self.events / self.requests.max(1.0);
        let middle = (share + z * z / (2.0 * n)) / (1.0 + z * z / n);
        let reach = z / (1.0 + z * z / n) * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
        (share, (middle - reach).max(0.0), (middle + reach).min(1.0))
    }
}

/// Pearson's chi-square of the blocks over its degrees of freedom.
fn clustering(steps: &Steps) -> f64 {
    let (events, requests) = (steps.failed() as f64, steps.requests() as f64);
    let share = events / requests.max(1.0);
    let filled: Vec<_> = steps.blocks.iter().filter(|block| block.requests > 0).collect();
    if filled.len() < 2 || share <= 0.0 || share >= 1.0 {
        return 1.0;
    }
    let of = |count: f64, expected: f64| (count - expected).powi(2) / expected;
    let sum: f64 = filled
        .iter()
        .map(|block| {
            let (all, failed) = (block.requests as f64, block.failed as f64);
            of(failed, all * share) + of(all - failed, all * (1.0 - share))
        })
        .sum();
    (sum / (filled.len() - 1) as f64).max(1.0)
}

/// The difference of the shares, second minus first, with its interval.
pub(super) fn difference(first: &Share, second: &Share, confidence: f64) -> Option<(f64, Span)> {
    if first.requests <= 0.0 || second.requests <= 0.0 {
        return None;
    }
    let z = normal_quantile(0.5 + confidence / 2.0).ok()?;
    let ((a, a_low, a_high), (b, b_low, b_high)) = (first.wilson(z), second.wilson(z));
    let low = (b - a) - ((b - b_low).powi(2) + (a_high - a).powi(2)).sqrt();
    let high = (b - a) + ((b_high - b).powi(2) + (a - a_low).powi(2)).sqrt();
    Some((b - a, Span { low, high }))
}

/// Every reason that one side has, the ones that changed first.
pub(super) fn reasons(
    (first, first_steps): (&Steps, &BTreeMap<(String, String), Steps>),
    (second, second_steps): (&Steps, &BTreeMap<(String, String), Steps>),
    confidence: f64,
) -> Vec<ReasonRow> {
    let mut all: Vec<&Reason> = first.reasons.keys().chain(second.reasons.keys()).collect();
    all.sort_unstable();
    all.dedup();
    let count = |steps: &Steps, reason: &Reason| steps.reasons.get(reason).copied().unwrap_or(0);
    let row = |reason: &Reason| {
        let (a, b) = (count(first, reason), count(second, reason));
        let side =
            |events: u64, steps: &Steps| Share { events: events as f64, requests: steps.requests() as f64, clustering: clustering(steps) };
        let expected = |events: u64, has: &Steps, other: &Steps| events as f64 / has.requests().max(1) as f64 * other.requests() as f64;
        let fate = match (a, b) {
            (0, _) if expected(b, second, first) >= EXPECTED => Fate::New,
            (_, 0) if expected(a, first, second) >= EXPECTED => Fate::Gone,
            (0, _) | (_, 0) => Fate::CannotTell,
            _ => match difference(&side(a, first), &side(b, second), confidence) {
                Some((_, span)) if span.low > 0.0 => Fate::More,
                Some((_, span)) if span.high < 0.0 => Fate::Fewer,
                Some(_) | None => Fate::Same,
            },
        };
        let of = if b > 0 { second_steps } else { first_steps };
        let steps = of.iter().filter(|(_, steps)| count(steps, reason) > 0).map(|((_, step), _)| step.clone()).collect();
        ReasonRow { reason: reason.clone(), first: a, second: b, fate, steps }
    };
    let mut rows: Vec<ReasonRow> = all.into_iter().map(row).collect();
    rows.sort_by_key(|row| (matches!(row.fate, Fate::Same | Fate::CannotTell), std::cmp::Reverse(row.first.max(row.second))));
    rows
}
