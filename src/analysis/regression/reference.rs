//! The nights that tonight is compared with: their level, their scatter, and how much they resemble their neighbours. Outliers are pulled
//! in, so that one bad night neither moves the level nor hides the next one. The scatter between nights is the only error bar that is
//! valid between nights; that between the requests of one night is far too small (docs/methods.md).

use super::errors::share_of;
use crate::analysis::numbers::{lag_one, mad, mean, median, variance};
use crate::analysis::stats::distribution::t_above;

/// Autocorrelation beyond this is not believed.
const MOST_ALIKE: f64 = 0.6;
/// Outliers are pulled in to this many robust standard deviations from the median.
const REACH: f64 = 3.0;
/// Least standard deviation, as a share of the robust one.
const FLOOR: f64 = 0.7;
/// Variance of a median relative to that of a mean, of many and of few nights.
const OF_A_LONG_MEDIAN: f64 = 1.25;
const OF_A_SHORT_MEDIAN: f64 = 1.57;

/// Level and scatter of a stretch of nights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reference {
    /// Number of nights.
    pub nights: usize,
    /// Median.
    pub median: f64,
    /// Robust standard deviation between nights, without a floor: 0 when more than half of the nights are equal.
    pub scatter: f64,
    /// Standard deviation between nights that tests use: never less than the metric's resolution.
    pub sd: f64,
    /// Share of the nights that count as independent, from the autocorrelation.
    pub independent: f64,
    /// Degrees of freedom of `sd`.
    pub freedom: f64,
}

impl Reference {
    /// Of some nights; `resolution` is the least standard deviation that can be believed.
    pub(super) fn of(nights: &[f64], resolution: f64) -> Self {
        let (middle, scatter) = (median(nights), mad(nights));
        let robust = scatter.max(resolution).max(1e-12);
        let inside: Vec<f64> = nights.iter().map(|value| value.clamp(middle - REACH * robust, middle + REACH * robust)).collect();
        // The estimate is too low by about one over the number of nights.
        let alike = lag_one(&inside, mean(&inside)) + 1.0 / inside.len().max(1) as f64;
        let alike = alike.clamp(0.0, MOST_ALIKE);
        let independent = (1.0 - alike) / (1.0 + alike);
        Self {
            nights: nights.len(),
            median: middle,
            scatter,
            sd: variance(&inside, 1).sqrt().max(FLOOR * robust),
            independent,
            freedom: (nights.len() as f64 * independent - 1.0).max(3.0),
        }
    }

    /// With the scatter of an older, longer stretch: a new level of a few nights knows its median, not yet its scatter.
    pub(super) fn with_scatter_of(self, older: &Self) -> Self {
        Self { scatter: older.scatter, sd: older.sd, independent: older.independent, freedom: older.freedom, ..self }
    }

    /// Standard error of the difference between this level and that of `nights` other nights.
    pub(super) fn error(&self, nights: usize) -> f64 {
        let own = OF_A_LONG_MEDIAN / (self.nights as f64 * self.independent).max(1.0);
        let kind = if nights > 2 { OF_A_SHORT_MEDIAN } else { 1.0 };
        self.sd * (own + kind / (nights as f64 * self.independent).max(1.0)).sqrt()
    }

    /// One-sided p-value of `nights` other nights having a median that is `shift` beyond this one by chance.
    pub(super) fn p_of(&self, shift: f64, nights: usize) -> f64 {
        t_above(shift / self.error(nights).max(1e-12), self.freedom)
    }

    /// Of stabilised shares of failures, as shares: the scatter by the slope of the transformation at the level.
    pub(super) fn in_shares(self) -> Self {
        let slope = (self.median.sin() / 2.0).abs();
        Self { median: share_of(self.median), scatter: self.scatter * slope, sd: self.sd * slope, ..self }
    }
}
