//! Tonight against a chosen baseline: a pinned run, the last nights, or the nights of the version before. The error bar is always the
//! scatter between nights; a pinned run alone has none, and borrows that of the history. Says "cannot tell" rather than guess.

use super::comparable::Night;
use super::metric::Metric;
use super::reference::Reference;
use super::size::CONFIDENCE;
use crate::analysis::numbers::{Span, is_number, t_quantile};
use crate::model::run::RunId;

/// Least nights whose scatter can be believed.
const LEAST_NIGHTS: usize = 4;
/// As in the other comparisons of nights.
const RESOLUTION: f64 = 0.005;

/// What tonight is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Baseline {
    /// One run.
    Pinned(RunId),
    /// The last nights before tonight.
    Last(usize),
    /// The nights of the version that ran before tonight's.
    PreviousVersion,
}

/// What a comparison comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compared {
    /// For the worse, beyond the scatter and worth telling.
    Worse,
    /// For the better, likewise.
    Better,
    /// The interval of the difference lies within what is not worth telling.
    Same,
    /// The nights scatter too much to say.
    CannotTell,
}

/// Tonight against a baseline.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Against {
    /// Number of nights in the baseline.
    pub nights: usize,
    /// Number of nights the scatter is taken from.
    pub scatter_from: usize,
    /// The baseline's number.
    pub baseline: f64,
    /// Tonight's: of a version the median of its nights.
    pub tonight: f64,
    /// Nights on tonight's side.
    pub nights_tonight: usize,
    /// Tonight minus baseline.
    pub difference: f64,
    /// 95 % interval of the difference.
    pub interval: Span,
    /// What it comes to.
    pub compared: Compared,
}

impl Against {
    /// Tonight as a multiple of the baseline; `None` when that is 0.
    pub fn ratio(&self) -> Option<f64> {
        (self.baseline.abs() > 0.0).then(|| self.tonight / self.baseline)
    }
}

/// Why there is nothing to compare with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoBaseline {
    /// Tonight has no number.
    #[error("tonight has no such number")]
    NotMeasured,
    /// The pinned run cannot be compared or has no such number.
    #[error("the run {0} is not among those that can be compared")]
    NotThere(RunId),
    /// No former version.
    #[error("no night of another version is known")]
    OneVersion,
    /// Not enough nights.
    #[error("{have} nights are too few to know their scatter, {need} are needed")]
    TooFew {
        /// Nights there are.
        have: usize,
        /// Nights that are needed.
        need: usize,
    },
}

/// Compares the last of `nights` (oldest first, all comparable) with a baseline.
pub fn against(nights: &[Night], metric: &Metric, baseline: &Baseline) -> Result<Against, NoBaseline> {
    let value = |night: &Night| night.values.get(metric.name).copied().filter(|value| is_number(*value));
    let (last, before) = nights.split_last().ok_or(NoBaseline::NotMeasured)?;
    let tonight = value(last).ok_or(NoBaseline::NotMeasured)?;
    let history: Vec<f64> = before.iter().filter_map(value).collect();
    match baseline {
        Baseline::Last(count) => {
            let chosen = &history[history.len().saturating_sub(*count)..];
            compare(chosen, chosen, &[tonight], metric)
        }
        Baseline::Pinned(run) => {
            let pinned = before.iter().find(|night| night.run == *run).and_then(value).ok_or_else(|| NoBaseline::NotThere(run.clone()))?;
            compare(&[pinned], &history, &[tonight], metric)
        }
        Baseline::PreviousVersion => {
            let now = last.version.as_ref().ok_or(NoBaseline::OneVersion)?;
            let other = |night: &&Night| night.version.as_ref().is_some_and(|version| version != now);
            let at = before.iter().rposition(|night| other(&night)).ok_or(NoBaseline::OneVersion)?;
            let version = before[at].version.as_ref();
            let from = before[..=at].iter().rposition(|night| night.version.is_some() && night.version.as_ref() != version);
            let chosen: Vec<f64> = before[from.map_or(0, |from| from + 1)..=at].iter().filter_map(value).collect();
            let since: Vec<f64> = nights[at + 1..].iter().filter_map(value).collect();
            compare(&chosen, &chosen, &since, metric)
        }
    }
}

/// `scatter` are the nights that tell the scatter.
fn compare(baseline: &[f64], scatter: &[f64], tonight: &[f64], metric: &Metric) -> Result<Against, NoBaseline> {
    if scatter.len() < LEAST_NIGHTS || baseline.is_empty() {
        return Err(NoBaseline::TooFew { have: scatter.len(), need: LEAST_NIGHTS });
    }
    let resolution = |values: &[f64]| (RESOLUTION * crate::analysis::numbers::median(values).abs()).max(metric.resolution);
    let spread = Reference::of(scatter, resolution(scatter));
    let old = Reference::of(baseline, resolution(baseline)).with_scatter_of(&spread);
    let new = crate::analysis::numbers::median(tonight);
    let difference = new - old.median;
    let reach = t_quantile((1.0 - CONFIDENCE) / 2.0, spread.freedom) * old.error(tonight.len());
    let interval = Span { low: difference - reach, high: difference + reach };
    let tells = |end: f64| metric.matters(old.median, old.median + end);
    let compared = if !interval.contains(0.0) && tells(difference) {
        if metric.worse.is(difference) { Compared::Worse } else { Compared::Better }
    } else if !tells(interval.low) && !tells(interval.high) {
        Compared::Same
    } else {
        Compared::CannotTell
    };
    Ok(Against {
        nights: baseline.len(),
        scatter_from: scatter.len(),
        baseline: old.median,
        tonight: new,
        nights_tonight: tonight.len(),
        difference,
        interval,
        compared,
    })
}

#[cfg(test)]
mod tests {
    use super::super::comparable::sample;
    use super::super::metric::find;
    use super::*;

    fn nights(values: &[f64]) -> Vec<Night> {
        values.iter().enumerate().map(|(day, value)| sample(day as i64, *value)).collect()
    }

    #[test]
    fn the_scatter_between_nights_decides() {
        let p95 = find("p95").unwrap();
        let quiet = [0.200, 0.201, 0.199, 0.202, 0.198, 0.200, 0.201];
        let noisy = [0.200, 0.260, 0.150, 0.240, 0.170, 0.210, 0.190];
        for (history, tonight, expected) in [
            (quiet, 0.2005, Compared::Same),
            (quiet, 0.230, Compared::Worse),
            (quiet, 0.170, Compared::Better),
            (noisy, 0.230, Compared::CannotTell),
            (noisy, 0.205, Compared::CannotTell),
        ] {
            let all = nights(&[&history[..], &[tonight]].concat());
            let last = against(&all, p95, &Baseline::Last(7)).unwrap();
            assert_eq!((last.compared, last.nights), (expected, 7), "{tonight}: {last:?}");
            let pinned = against(&all, p95, &Baseline::Pinned(RunId("run-000".into()))).unwrap();
            assert_eq!((pinned.compared, pinned.nights, pinned.scatter_from), (expected, 1, 7), "{tonight}: {pinned:?}");
            assert!(pinned.interval.high - pinned.interval.low > last.interval.high - last.interval.low);
        }
    }

    #[test]
    fn the_former_version_is_that_before_tonights() {
        let mut all = nights(&[0.1, 0.1, 0.200, 0.201, 0.199, 0.200, 0.240, 0.242]);
        for (at, version) in [(0, "1"), (1, "1"), (2, "2"), (3, "2"), (5, "2"), (6, "3"), (7, "3")] {
            all[at].version = Some(version.into());
        }
        let found = against(&all, find("p95").unwrap(), &Baseline::PreviousVersion).unwrap();
        assert_eq!((found.nights, found.nights_tonight, found.compared), (4, 2, Compared::Worse));
        assert!((found.ratio().unwrap() - 1.2).abs() < 0.01);
    }

    #[test]
    fn without_a_baseline_it_says_why() {
        let p95 = find("p95").unwrap();
        let all = nights(&[0.1, 0.2, 0.3]);
        let told = |nights: &[Night], baseline| against(nights, p95, &baseline).unwrap_err().to_string();
        assert_eq!(told(&all, Baseline::Last(7)), "2 nights are too few to know their scatter, 4 are needed");
        assert_eq!(told(&all, Baseline::Pinned(RunId("x".into()))), "the run x is not among those that can be compared");
        assert_eq!(told(&all, Baseline::PreviousVersion), "no night of another version is known");
        assert_eq!(told(&[], Baseline::Last(3)), "tonight has no such number");
        assert_eq!(told(&nights(&[0.1, f64::NAN]), Baseline::Last(3)), "tonight has no such number");
    }
}
