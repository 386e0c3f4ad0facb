//! The level that a history is on: which nights belong to it, what they come to, and at which night it was left. A new level of a few
//! nights borrows the scatter of the one before it; after an excursion the nights before it count again.

use super::Rules;
use super::reference::Reference;
use super::sequential::Series;
use crate::analysis::numbers::median;

/// Most nights of a reference; older ones say less about tonight than they cost.
const MOST_REFERENCE: usize = 90;
/// Least nights of a reference that borrows its scatter.
const LEAST_BORROWING: usize = 3;
/// Nights around the best split among which the night of a change is looked for.
const AROUND: usize = 6;

/// Nights that are taken to be of one level.
#[derive(Debug, Clone, Default)]
pub(super) struct Level {
    /// Nights of the same level before an excursion that is over.
    pub(super) earlier: Vec<f64>,
    /// First night of the stretch that goes on.
    pub(super) from: usize,
    /// The reference whose scatter is borrowed as long as there are few nights.
    pub(super) lender: Option<Reference>,
    /// What was computed, by the number of nights of the stretch.
    known: Vec<Option<Reference>>,
}

impl Level {
    pub(super) fn new(from: usize, lender: Option<Reference>, earlier: Vec<f64>) -> Self {
        Self { earlier, from, lender, known: Vec::new() }
    }

    /// Level and scatter of the nights before `end`; `None` while there are too few.
    pub(super) fn reference(&mut self, end: usize, series: &Series, rules: &Rules) -> Option<Reference> {
        let nights = end.checked_sub(self.from)?;
        if self.known.len() <= nights {
            self.known.resize(nights + 1, None);
        }
        if self.known[nights].is_none() {
            let values = self.nights(end, series);
            let own = || Reference::of(&values, (series.resolution)(median(&values)));
            self.known[nights] = match self.lender {
                _ if values.len() >= rules.reference => Some(own()),
                Some(lender) if values.len() >= LEAST_BORROWING => Some(own().with_scatter_of(&lender)),
                Some(_) | None => None,
            };
        }
        self.known[nights]
    }

    /// The newest nights of the level before `end`, at most [`MOST_REFERENCE`].
    pub(super) fn nights(&self, end: usize, series: &Series) -> Vec<f64> {
        let newest = end.saturating_sub(self.from).min(MOST_REFERENCE);
        let earlier = self.earlier.len().min(MOST_REFERENCE - newest);
        [&self.earlier[self.earlier.len() - earlier..], &series.values[end - newest..end]].concat()
    }
}

/// The night of a change near `split`, and the first and last night that it may as well have been: where the nights since `from` and those
/// after deviate least from their medians, and where they deviate hardly more (a likelihood ratio of e, for noise with Laplace's
/// distribution).
pub(super) fn locate(values: &[f64], from: usize, split: usize) -> (usize, (usize, usize)) {
    let begin = from.max(values.len().saturating_sub(2 * MOST_REFERENCE));
    let off = |part: &[f64]| {
        let middle = median(part);
        part.iter().map(|value| (value - middle).abs()).sum::<f64>()
    };
    let loss = |at: usize| off(&values[begin..at]) + off(&values[at..]);
    let range = split.saturating_sub(AROUND).max(begin + 1)..=(split + AROUND).min(values.len().saturating_sub(1));
    let losses: Vec<(usize, f64)> = range.map(|at| (at, loss(at))).collect();
    let Some(best) = losses.iter().copied().reduce(|best, next| if next.1 < best.1 { next } else { best }) else {
        return (split, (split, split));
    };
    let limit = best.1 * (1.0 / (values.len() - begin) as f64).exp();
    let near = || losses.iter().filter(|(_, loss)| *loss <= limit).map(|(at, _)| *at);
    (best.0, (near().min().unwrap_or(best.0), near().max().unwrap_or(best.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_located_with_the_nights_that_it_may_as_well_be() {
        let clear: Vec<f64> = (0..30).map(|at| f64::from(at % 3) + if at < 20 { 0.0 } else { 50.0 }).collect();
        assert_eq!(locate(&clear, 0, 18), (20, (20, 20)));
        // A night half way up may be the last of the old level or the first of the new.
        let mut doubtful = clear.clone();
        doubtful[20] = 26.0;
        assert_eq!(locate(&doubtful, 0, 18).1, (20, 21));
        assert_eq!(locate(&[], 0, 0), (0, (0, 0)));
        assert_eq!(locate(&[1.0], 0, 0), (0, (0, 0)));
    }
}
