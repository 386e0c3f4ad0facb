//! What is known after each night, in the order of the nights: learning, steady, suspect, confirmed. A change is *confirmed* when at least
//! three nights (or re-runs) after some split lie apart from the nights before it by more than their scatter and by more than is worth
//! telling; only that alarms. A confirmed change starts a new level; while it is young, later nights still tell when it happened, and
//! withdraw it when the level turns out to be the old one. Never reads a night before its turn. Source of the rule: docs/methods.md.

use super::Rules;
use super::level::{Level, locate};
use super::reference::Reference;
use crate::analysis::numbers::{median, median_in_place};

/// Splits further back than this many nights are not asked for any more: what was no change then is none now.
const LOOK_BACK: usize = 25;
/// Share of few nights after a change that must lie beyond the old level; of more than `FEW` the test decides alone.
const BEYOND: f64 = 0.8;
const FEW: usize = 5;
/// Nights after a change during which it is still moved or withdrawn.
const YOUNG: usize = 14;
/// A young change whose p-value rises above this is withdrawn.
const WITHDRAWN_P: f64 = 0.05;

/// A series and what is worth telling of it.
pub(super) struct Series<'a> {
    /// One number a night, in order; all are numbers.
    pub(super) values: &'a [f64],
    /// Standard deviation below which no scatter is believed, given the level.
    pub(super) resolution: &'a dyn Fn(f64) -> f64,
    /// Whether going from one level to another is worth telling.
    pub(super) matters: &'a dyn Fn(f64, f64) -> bool,
    /// Ascending indices at which another series begins for a known reason.
    pub(super) borders: &'a [usize],
}

/// A change that was confirmed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Step {
    /// First night of the new level.
    pub(super) index: usize,
    /// First and last index that the change may as well have happened at.
    pub(super) likely: (usize, usize),
    /// The night on which it was confirmed.
    pub(super) confirmed_at: usize,
    /// The nights it was compared with.
    pub(super) nights_before: Vec<f64>,
    /// What they come to.
    pub(super) before: Reference,
    /// Median of the nights after it, up to the one that was looked at last.
    pub(super) after: f64,
    /// One-sided p-value.
    pub(super) p_value: f64,
}

/// How far off tonight is in one direction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Odd {
    /// One-sided p-value.
    pub(super) p_value: f64,
    /// Whether such a difference is worth telling.
    pub(super) matters: bool,
}

/// What is known after the last night.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Known {
    /// Confirmed changes that still stand, ascending.
    pub(super) steps: Vec<Step>,
    /// Nights of confirmation of changes that were withdrawn.
    pub(super) withdrawn: Vec<usize>,
    /// First night of the current level.
    pub(super) from: usize,
    /// Nights before tonight in it.
    pub(super) nights: usize,
    /// What they come to; `None` while there are too few.
    pub(super) reference: Option<Reference>,
    /// Tonight against them, upwards and downwards.
    pub(super) tonight: Option<(Odd, Odd)>,
}

/// Goes through the nights one by one.
pub(super) fn follow(series: &Series, rules: &Rules) -> Known {
    let mut walk = Walk { series, rules, level: Level::default(), former: None, steps: Vec::new(), withdrawn: Vec::new() };
    for night in 0..series.values.len() {
        if night > 0 && series.borders.contains(&night) {
            walk.begin(night);
        }
        walk.settle(night + 1);
        if let Some(step) = walk.confirmed(night + 1) {
            walk.change(step);
        }
    }
    let last = series.values.len().saturating_sub(1);
    let reference = walk.level.reference(last, series, rules);
    let tonight = reference.zip(series.values.last());
    let tonight = tonight.map(|(reference, value)| (odd(series, &reference, *value, 1.0), odd(series, &reference, *value, -1.0)));
    let nights = last.saturating_sub(walk.level.from) + walk.level.earlier.len();
    Known { steps: walk.steps, withdrawn: walk.withdrawn, from: walk.level.from, nights, reference, tonight }
}

/// How far off one night is.
fn odd(series: &Series, reference: &Reference, value: f64, sign: f64) -> Odd {
    let shift = sign * (value - reference.median);
    Odd { p_value: reference.p_of(shift, 1), matters: shift > 0.0 && (series.matters)(reference.median, value) }
}

/// The state of [`follow`] between two nights.
struct Walk<'a> {
    series: &'a Series<'a>,
    rules: &'a Rules,
    level: Level,
    /// The level before the last change.
    former: Option<Level>,
    steps: Vec<Step>,
    withdrawn: Vec<usize>,
}

impl Walk<'_> {
    /// Another series begins at `index` for a known reason.
    fn begin(&mut self, index: usize) {
        let lender = self.level.reference(index, self.series, self.rules).or(self.level.lender);
        self.level = Level::new(index, lender, Vec::new());
        self.former = None;
    }

    /// A new level begins; when it is the one before the last change, the excursion is over and its nights count again.
    fn change(&mut self, step: Step) {
        let mut earlier = Vec::new();
        if let Some(former) = &mut self.former
            && let Some(reference) = former.reference(self.level.from, self.series, self.rules)
            && (step.after - reference.median).abs() <= reference.sd
        {
            earlier = former.nights(self.level.from, self.series);
        }
        let next = Level::new(step.index, Some(step.before), earlier);
        self.former = Some(std::mem::replace(&mut self.level, next));
        self.steps.push(step);
    }

    /// More nights tell better when a young change happened, and whether it happened at all.
    fn settle(&mut self, end: usize) {
        let Some((index, confirmed_at)) = self.steps.last().map(|step| (step.index, step.confirmed_at)) else { return };
        if index != self.level.from || end - index > YOUNG {
            return;
        }
        let Some(former) = &mut self.former else { return };
        let Some(settled) = step(self.series, self.rules, former, index, end) else { return };
        let worth = (self.series.matters)(settled.before.median, settled.after);
        if worth && settled.p_value < self.rules.confirm_p {
            if settled.index != index {
                let earlier = std::mem::take(&mut self.level.earlier);
                self.level = Level::new(settled.index, Some(settled.before), earlier);
            }
            if let Some(last) = self.steps.last_mut() {
                *last = Step { confirmed_at, ..settled };
            }
        } else if !worth || settled.p_value > WITHDRAWN_P {
            self.level = std::mem::take(former);
            self.former = None;
            self.steps.pop();
            self.withdrawn.push(confirmed_at);
        }
    }

    /// The change that the nights before `end` confirm.
    fn confirmed(&mut self, end: usize) -> Option<Step> {
        let split = self.best_split(end)?;
        step(self.series, self.rules, &mut self.level, split, end)
    }

    /// The split with the least p-value among those that pass.
    fn best_split(&mut self, end: usize) -> Option<usize> {
        let first = (self.level.from + 1).max(end.saturating_sub(LOOK_BACK));
        let mut best: Option<(f64, usize)> = None;
        for split in first..=end.saturating_sub(self.rules.confirm) {
            let Some(before) = self.level.reference(split, self.series, self.rules) else { continue };
            let mut after = self.series.values[split..end].to_vec();
            let nights = after.len();
            let level = median_in_place(&mut after);
            let shift = level - before.median;
            if shift.abs() <= self.rules.effect * before.sd || !(self.series.matters)(before.median, level) {
                continue;
            }
            let p = before.p_of(shift.abs(), nights);
            let line = 0.5 * before.scatter;
            let beyond = after.iter().filter(|value| shift.signum() * (**value - before.median) > line).count() as f64;
            let together = nights > FEW || beyond >= BEYOND * nights as f64;
            if p < self.rules.confirm_p && together && best.is_none_or(|(least, _)| p < least) {
                best = Some((p, split));
            }
        }
        best.map(|(_, split)| split)
    }
}

/// The change near `split` between `level` and the nights up to `end`; `None` when too few nights come after its best place.
fn step(series: &Series, rules: &Rules, level: &mut Level, split: usize, end: usize) -> Option<Step> {
    let (index, likely) = locate(&series.values[..end], level.from, split);
    let nights = end.checked_sub(index).filter(|nights| *nights >= rules.confirm)?;
    let before = level.reference(index, series, rules)?;
    let after = median(&series.values[index..end]);
    let p_value = before.p_of((after - before.median).abs(), nights);
    Some(Step { index, likely, confirmed_at: end - 1, nights_before: level.nights(index, series), before, after, p_value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(values: &[f64], borders: &[usize]) -> Known {
        let series = Series {
            values,
            resolution: &|level| 0.005 * level.abs(),
            matters: &|from, to| (to - from).abs() > 0.03 * from.abs(),
            borders,
        };
        follow(&series, &Rules::default())
    }

    /// Nights around a level, with a repeatable scatter of about 2.
    fn nights(level: f64, count: usize) -> impl Iterator<Item = f64> {
        (0..count).map(move |at| level + [0.5, -2.0, 3.0, -0.5, 1.5, -3.0, 0.0, 2.0, -1.0][at % 9])
    }

    fn of(parts: &[(f64, usize)]) -> Vec<f64> {
        parts.iter().flat_map(|(level, count)| nights(*level, *count)).collect()
    }

    #[test]
    fn three_nights_confirm_and_two_do_not() {
        let values = of(&[(100.0, 20), (115.0, 3)]);
        assert_eq!(known(&values[..22], &[]).steps, []);
        let found = known(&values, &[]).steps;
        assert_eq!((found.len(), found[0].index, found[0].confirmed_at, found[0].before.nights), (1, 20, 22, 20));
        assert!(found[0].p_value < 1e-3 && found[0].likely.0 <= 20 && found[0].likely.1 >= 20);
    }

    #[test]
    fn one_odd_night_is_odd_and_no_change() {
        let mut values = of(&[(100.0, 20)]);
        values.push(140.0);
        let now = known(&values, &[]);
        let (up, down) = now.tonight.unwrap();
        assert!(up.p_value < 1e-3 && up.matters && !down.matters && now.steps.is_empty());
        values.extend(nights(100.0, 6));
        assert_eq!(known(&values, &[]).steps, []);
    }

    #[test]
    fn a_new_level_is_a_reference_of_its_own() {
        let found = known(&of(&[(100.0, 20), (120.0, 12), (110.0, 6)]), &[]);
        assert_eq!(found.steps.iter().map(|step| step.index).collect::<Vec<_>>(), [20, 32]);
        assert_eq!((found.from, found.reference.unwrap().nights), (32, 5));
        // Its scatter is that of the level before: five nights know too little of it.
        assert!((found.reference.unwrap().sd - found.steps[1].before.sd).abs() < 1e-12);
    }

    #[test]
    fn a_few_bad_nights_that_pass_are_withdrawn() {
        let bad = of(&[(100.0, 20), (130.0, 3)]);
        assert_eq!(known(&bad, &[]).steps.len(), 1);
        let over = of(&[(100.0, 20), (130.0, 3), (100.0, 9)]);
        let now = known(&over, &[]);
        let standing: Vec<usize> = now.steps.iter().map(|step| step.index).collect();
        assert!(standing.is_empty() && now.withdrawn == [22] || standing == [20, 23], "{now:?}");
        assert!(now.reference.unwrap().nights >= 20, "the nights before count again");
    }

    #[test]
    fn a_known_border_starts_anew_without_an_alarm() {
        let values = of(&[(100.0, 20), (150.0, 15)]);
        assert_eq!(known(&values, &[]).steps.len(), 1);
        let now = known(&values, &[20]);
        assert_eq!((now.steps.len(), now.from), (0, 20));
    }

    #[test]
    fn nothing_breaks_it() {
        for values in [&[][..], &[1.0], &[0.0; 40], &[1e300, -1e300, 1e300, 1e-300, 0.0, 0.0, 0.0, 0.0, 1e300, 1e300, 1e300]] {
            let now = known(values, &[0, 1, 2, 99]);
            assert!(now.steps.len() < 2, "{values:?}");
        }
        let mut flat_then_step = vec![5.0; 20];
        flat_then_step.extend([6.0; 4]);
        assert_eq!(known(&flat_then_step, &[]).steps.len(), 1);
    }
}
