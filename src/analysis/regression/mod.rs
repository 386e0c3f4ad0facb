//! Has a profile's metric regressed from night to night: since which night, by how much, how sure? Every night is judged with the nights
//! before it (`sequential`): learning, steady, suspect, confirmed; only a confirmed change alarms. Beside it stands what the whole history
//! says in retrospect (`change_point`). Which runs may be compared: `comparable`. All metrics of a night together: `incident`.
//! Needs 7 nights before it says anything of the eighth. Method and figures: docs/methods.md.

pub mod baseline;
pub mod comparable;
pub mod deploy;
mod errors;
pub mod finding;
pub mod flaky;
pub mod incident;
mod level;
pub mod metric;
pub mod night;
pub mod past;
mod reference;
mod sequential;
mod size;
mod weekday;

use super::change_point::{self, ChangePoint, change_points};
use super::numbers::{Span, is_number};
pub use errors::Counts;
pub use metric::{Metric, Worse};
pub use reference::Reference;
use sequential::{Known, Odd, Series, Step, follow};
pub use weekday::{Weekday, weekday};

/// Name and version of the method, for findings.
pub const METHOD: &str = "nights/1";

/// Share of a level below which its scatter is not believed.
const RESOLUTION: f64 = 0.005;

/// When a difference between nights counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// Nights before anything is said.
    pub reference: usize,
    /// Nights (or re-runs) that a change needs to be confirmed.
    pub confirm: usize,
    /// One-sided p-value below which one night is suspect.
    pub suspect_p: f64,
    /// The same for a change to be confirmed.
    pub confirm_p: f64,
    /// Least difference of the medians in standard deviations between nights.
    pub effect: f64,
}

impl Default for Rules {
    fn default() -> Self {
        Self { reference: 7, confirm: 3, suspect_p: 0.002, confirm_p: 0.001, effect: 1.0 }
    }
}

/// The nights of one metric, oldest first.
#[derive(Debug, Clone, Copy, Default)]
pub struct History<'a> {
    /// One number a night (or re-run); NaN where there is none. The last is tonight's.
    pub values: &'a [f64],
    /// Day of the week of each night ([`weekday`]); empty when a weekly pattern is not to be looked for.
    pub days: &'a [u8],
    /// Indices at which another runner or host took over: what came before says nothing of the level any more.
    pub borders: &'a [usize],
}

/// What is known after tonight.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum State {
    /// Tonight has no number.
    NotMeasured,
    /// Too few nights on this level yet.
    Learning {
        /// Nights before tonight.
        have: usize,
        /// Nights that are needed.
        need: usize,
    },
    /// Nothing new.
    Steady,
    /// Tonight alone lies apart: run again before anybody is told.
    Suspect {
        /// One-sided p-value.
        p_value: f64,
        /// True when it lies apart to the bad side.
        worse: bool,
    },
    /// Tonight's number confirmed a change, the last of `changes`.
    Confirmed {
        /// True when it is a change for the worse.
        worse: bool,
    },
}

/// A confirmed change of level.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// First night of the new level.
    pub index: usize,
    /// First and last night that it may as well have been.
    pub likely: (usize, usize),
    /// The night that confirmed it.
    pub confirmed_at: usize,
    /// True when it is for the worse.
    pub worse: bool,
    /// The level before.
    pub before: Reference,
    /// Median of the nights after, up to the next change.
    pub after: f64,
    /// Number of nights after, up to the next change.
    pub nights_after: usize,
    /// Hodges-Lehmann shift, in the metric's unit.
    pub shift: f64,
    /// Its 95 % interval.
    pub interval: Span,
    /// One-sided p-value.
    pub p_value: f64,
}

impl Change {
    /// The shift as a share of the level before; `None` when that level is 0.
    pub fn relative(&self) -> Option<f64> {
        (self.before.median.abs() > 0.0).then(|| self.shift / self.before.median.abs())
    }

    /// The interval as shares of the level before.
    pub fn relative_interval(&self) -> Option<Span> {
        let level = self.before.median.abs();
        (level > 0.0).then(|| Span { low: self.interval.low / level, high: self.interval.high / level })
    }

    /// Difference of the medians in standard deviations between nights.
    pub fn effect(&self) -> f64 {
        (self.after - self.before.median).abs() / self.before.sd.max(f64::MIN_POSITIVE)
    }
}

/// Everything that a history says of one metric.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// Nights with a number.
    pub nights: usize,
    /// After tonight.
    pub state: State,
    /// Tonight's one-sided p-value to the bad side, for [`incident::tonight`]; `None` while learning.
    pub p_worse: Option<f64>,
    /// Tonight's number, a weekly pattern taken off.
    pub tonight: Option<f64>,
    /// The nights that tonight is compared with.
    pub reference: Option<Reference>,
    /// First night of the current level.
    pub level_from: usize,
    /// Confirmed changes that still stand, ascending.
    pub changes: Vec<Change>,
    /// Nights whose confirmed change was withdrawn by later nights.
    pub withdrawn: Vec<usize>,
    /// The whole history in retrospect.
    pub retrospect: Vec<ChangePoint>,
    /// A weekly pattern that was taken off.
    pub weekday: Option<Weekday>,
    /// Of failures: by how much the variance between nights exceeds chance among requests.
    pub overdispersion: Option<f64>,
}

/// Judges the nights of a metric that is one number a night.
pub fn judge(history: &History, metric: &Metric, rules: &Rules) -> Judgement {
    let nights = Nights::of(history);
    let weekday = weekday::weekly(&nights.values, &nights.days);
    let values: Vec<f64> = match &weekday {
        Some(weekly) => nights.values.iter().zip(&nights.days).map(|(value, day)| value - weekly.effects[usize::from(*day) % 7]).collect(),
        None => nights.values.clone(),
    };
    let scale = Scale {
        back: &|value| value,
        resolution: &|level: f64| (RESOLUTION * level.abs()).max(metric.resolution),
        matters: &|from, to| metric.matters(from, to),
    };
    let relative = metric.least_relative;
    Judgement { weekday, ..concluded(&nights, &values, &scale, metric.worse, rules, relative) }
}

/// Judges the failed requests of every night (`None`: nothing was measured); more failures are worse. Levels, shifts and intervals are
/// shares, 0 to 1. `history.values` is not read.
pub fn judge_failures(counts: &[Option<Counts>], history: &History, metric: &Metric, rules: &Rules) -> Judgement {
    let stabilised: Vec<f64> = counts.iter().map(|counts| counts.and_then(|counts| counts.stabilised()).unwrap_or(f64::NAN)).collect();
    let history = History { values: &stabilised, ..*history };
    let nights = Nights::of(&history);
    let chance = errors::by_chance(counts);
    let scale = Scale {
        back: &errors::share_of,
        resolution: &|_| chance,
        matters: &|from, to| metric.matters(errors::share_of(from), errors::share_of(to)),
    };
    let judged = concluded(&nights, &nights.values, &scale, Worse::Higher, rules, 0.0);
    let scatter = judged.reference.map(|reference| reference.sd);
    let overdispersion = scatter.map(|sd| (sd / chance).powi(2).max(1.0));
    judged.in_shares(overdispersion)
}

/// How numbers are compared, and how they are read.
struct Scale<'a> {
    /// From the number that is compared to that of the metric.
    back: &'a dyn Fn(f64) -> f64,
    resolution: &'a dyn Fn(f64) -> f64,
    matters: &'a dyn Fn(f64, f64) -> bool,
}

/// The nights that have a number.
struct Nights {
    /// Their indices in the history.
    places: Vec<usize>,
    values: Vec<f64>,
    /// As many as values, or none.
    days: Vec<u8>,
    borders: Vec<usize>,
    tonight: bool,
}

impl Nights {
    fn of(history: &History) -> Self {
        let (places, values): (Vec<usize>, Vec<f64>) =
            history.values.iter().copied().enumerate().filter(|(_, value)| is_number(*value)).unzip();
        let days = places.iter().filter_map(|place| history.days.get(*place).copied()).collect();
        let borders = history.borders.iter().map(|border| places.partition_point(|place| place < border)).collect();
        let tonight = places.last().is_some_and(|last| last + 1 == history.values.len());
        Self { places, values, days, borders, tonight }
    }

    fn place(&self, at: usize) -> usize {
        self.places.get(at).copied().unwrap_or(at)
    }
}

fn concluded(nights: &Nights, values: &[f64], scale: &Scale, worse: Worse, rules: &Rules, relative: f64) -> Judgement {
    let series = Series { values, resolution: scale.resolution, matters: scale.matters, borders: &nights.borders };
    let known = follow(&series, rules);
    let ends = known.steps.iter().skip(1).map(|step| step.index).chain([values.len()]);
    let changes: Vec<Change> =
        known.steps.iter().zip(ends).map(|(step, end)| change(step, &values[step.index..end.max(step.index + 1)], nights, worse)).collect();
    let retrospect = change_points(values, &change_point::Rules { relative, ..change_point::Rules::default() });
    let in_history = |point: ChangePoint| ChangePoint {
        index: nights.place(point.index),
        before: (scale.back)(point.before),
        after: (scale.back)(point.after),
        ..point
    };
    Judgement {
        nights: values.len(),
        state: state(&known, values.len(), nights.tonight, worse, rules),
        p_worse: known.tonight.filter(|_| nights.tonight).map(|(up, down)| if worse == Worse::Higher { up.p_value } else { down.p_value }),
        tonight: values.last().copied().filter(|_| nights.tonight).map(scale.back),
        reference: known.reference,
        level_from: nights.place(known.from),
        changes,
        withdrawn: known.withdrawn.iter().map(|at| nights.place(*at)).collect(),
        retrospect: retrospect.into_iter().map(in_history).collect(),
        weekday: None,
        overdispersion: None,
    }
}

fn state(known: &Known, count: usize, tonight: bool, worse: Worse, rules: &Rules) -> State {
    if !tonight {
        return State::NotMeasured;
    }
    if let Some(step) = known.steps.last().filter(|step| step.confirmed_at + 1 == count) {
        return State::Confirmed { worse: worse.is(step.after - step.before.median) };
    }
    let Some((up, down)) = known.tonight else { return State::Learning { have: known.nights, need: rules.reference } };
    let suspect = |odd: Odd, sign: f64| {
        (odd.matters && odd.p_value < rules.suspect_p).then(|| State::Suspect { p_value: odd.p_value, worse: worse.is(sign) })
    };
    suspect(up, 1.0).or_else(|| suspect(down, -1.0)).unwrap_or(State::Steady)
}

fn change(step: &Step, after: &[f64], nights: &Nights, worse: Worse) -> Change {
    let (shift, interval) = size::shift(&step.nights_before, after, &step.before);
    Change {
        index: nights.place(step.index),
        likely: (nights.place(step.likely.0), nights.place(step.likely.1)),
        confirmed_at: nights.place(step.confirmed_at),
        worse: worse.is(step.after - step.before.median),
        before: step.before,
        after: super::numbers::median(after),
        nights_after: after.len(),
        shift,
        interval,
        p_value: step.p_value,
    }
}

impl Judgement {
    /// From stabilised numbers to shares.
    fn in_shares(self, overdispersion: Option<f64>) -> Self {
        let changes = self.changes.into_iter().map(|change| {
            let from = change.before.median;
            let by = |shift: f64| errors::share_of(from + shift) - errors::share_of(from);
            Change {
                before: change.before.in_shares(),
                after: errors::share_of(change.after),
                shift: by(change.shift),
                interval: Span { low: by(change.interval.low), high: by(change.interval.high) },
                ..change
            }
        });
        let reference = self.reference.map(Reference::in_shares);
        Self { changes: changes.collect(), reference, overdispersion, ..self }
    }
}

#[cfg(test)]
mod tests;
