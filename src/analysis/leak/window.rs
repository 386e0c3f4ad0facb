//! One window of the points: is there a trend, how steep is it, and what shape has it? Two tests have to agree, because each is
//! fooled by another kind of noise: generalised least squares with AR(1) noise, and Mann-Kendall with its variance inflated for the
//! same autocorrelation.

use super::points::Points;
use crate::analysis::stats::distribution::normal_two_sided;
use crate::analysis::stats::kendall::{mann_kendall, z_of};
use crate::analysis::stats::order::{mad_of, median_of};
use crate::analysis::stats::theil_sen::PairSlopes;
use crate::analysis::stats::{Unusable, autocorrelation, gls};

/// Confidence of the slope's interval.
const CONFIDENCE: f64 = 0.95;
/// Most points for which the exact distribution of Mann-Kendall is used.
const MOST_EXACT: usize = 10;
/// From this autocorrelation on the noise is hard to tell from a random walk, and more evidence is asked for and the interval is wider:
/// twice from `WANDERS.1` on.
const WANDERS: (f64, f64) = (0.5, 0.85);

/// What a window says. Values in the unit of the points, times in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Window {
    /// First moment.
    pub(super) since: f64,
    /// Number of points.
    pub(super) points: usize,
    /// Two-sided p-value of no trend: the larger one of both tests.
    pub(super) p: f64,
    /// Growth per second (Theil-Sen) with its interval.
    pub(super) slope: f64,
    pub(super) low: f64,
    pub(super) high: f64,
    /// Length in seconds, growth over it, and the standard error of that growth by generalised least squares.
    pub(super) span: f64,
    pub(super) growth: f64,
    pub(super) growth_error: f64,
    /// Slope of its second half.
    pub(super) second_half: f64,
    /// Value of the line at the last point.
    pub(super) now: f64,
    /// Lag-one autocorrelation of the points around the line, bias taken out.
    pub(super) phi: f64,
    /// Scatter of the points around the line.
    pub(super) noise: f64,
    /// Squares around two levels, as a share of those around the line; and the first moment of the second level.
    pub(super) two_levels: f64,
    pub(super) step_at: f64,
    /// Second level minus first.
    pub(super) step: f64,
}

impl Window {
    /// Lower end of the growth over the window.
    pub(super) fn low_growth(&self) -> f64 {
        self.growth - (self.slope - self.low) * self.span
    }

    /// How many independent points it is worth.
    pub(super) fn effective(&self) -> f64 {
        autocorrelation::effective_size(self.points, self.phi.min(0.99))
    }
}

/// Looks at a window of at least 5 points.
pub(super) fn look(points: &Points) -> Result<Window, Unusable> {
    let (times, values) = (&points.times, &points.values);
    let trend = gls::trend(times, values)?;
    let wanders = wanders(trend.phi);
    let (p_kendall, variance) = kendall(values, trend.phi)?;
    let slopes = PairSlopes::new(times, values)?;
    let slope = slopes.median();
    let (low, high) = slopes.interval(variance * wanders * wanders, CONFIDENCE)?;
    let base = median_of(times.iter().zip(values).map(|(time, value)| value - slope * time));
    let residuals: Vec<f64> = times.iter().zip(values).map(|(time, value)| value - base - slope * time).collect();
    let half = points.since(times[0] + 0.5 * points.span());
    let second_half = if half.len() >= 4 { PairSlopes::new(&half.times, &half.values)?.median() } else { slope };
    let (both, cut) = best_split(values);
    let line: f64 = residuals.iter().map(|residual| residual * residual).sum();
    let step = median_of(values[cut..].iter().copied()) - median_of(values[..cut].iter().copied());
    Ok(Window {
        since: times[0],
        points: points.len(),
        p: (trend.p.max(p_kendall) * wanders).min(1.0),
        slope,
        low,
        high,
        span: points.span(),
        growth: slope * points.span(),
        growth_error: trend.slope_error * points.span(),
        second_half,
        now: base + slope * times[times.len() - 1],
        phi: trend.phi,
        noise: mad_of(&residuals),
        two_levels: if line > 0.0 { both / line } else { f64::INFINITY },
        step_at: times[cut],
        step,
    })
}

/// So many times the p-value counts: of noise that is nearly a random walk more evidence is asked for.
pub(super) fn wanders(phi: f64) -> f64 {
    1.0 + ((phi - WANDERS.0) / (WANDERS.1 - WANDERS.0)).clamp(0.0, 1.0)
}

/// Mann-Kendall's p-value and the variance of S, inflated for autocorrelation.
fn kendall(values: &[f64], phi: f64) -> Result<(f64, f64), Unusable> {
    let test = mann_kendall(values)?;
    let count = values.len() as f64;
    let worth = if phi < 1.0 { (1.0 + phi) / (1.0 - phi) } else { count };
    let inflation = worth.min(count / 6.0).max(1.0);
    let variance = test.variance * inflation;
    if variance <= 0.0 {
        return Ok((1.0, variance));
    }
    let normal = normal_two_sided(z_of(test.s, variance));
    if values.len() > MOST_EXACT {
        return Ok((normal, variance));
    }
    let exact = test.p_exact.unwrap_or(test.p);
    Ok((if inflation > 1.5 { exact.max(normal) } else { exact }, variance))
}

/// The split into two levels, each of at least two points, with the least squares around their medians: the squares, and the index of the
/// first point of the second level.
fn best_split(values: &[f64]) -> (f64, usize) {
    let squares = |values: &[f64]| {
        let middle = median_of(values.iter().copied());
        values.iter().map(|value| (value - middle) * (value - middle)).sum::<f64>()
    };
    (2..values.len().saturating_sub(1))
        .map(|cut| (squares(&values[..cut]) + squares(&values[cut..]), cut))
        .min_by(|a, b| a.0.total_cmp(&b.0))
        .unwrap_or((f64::INFINITY, values.len() / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(value: impl Fn(i32) -> f64) -> Points {
        let values = (0..40).map(|at| value(at) + f64::from(at * 17 % 11) * 0.1).collect();
        Points { times: (0..40).map(|at| f64::from(at) * 60.0).collect(), values }
    }

    #[test]
    fn a_line_has_its_slope_inside_of_its_interval() {
        let window = look(&points(|at| 10.0 + 0.5 * f64::from(at))).unwrap();
        let truth = 0.5 / 60.0;
        assert!(window.p < 1e-6 && window.low < truth && truth < window.high, "{window:?}");
        assert!((window.now - 29.5).abs() < 1.0 && (window.second_half / truth - 1.0).abs() < 0.2 && window.two_levels > 1.0);
    }

    #[test]
    fn a_step_is_two_levels() {
        let window = look(&points(|at| if at < 25 { 10.0 } else { 18.0 })).unwrap();
        assert!(window.two_levels < 0.2 && (window.step_at - 1500.0).abs() < 1.0 && (window.step - 8.0).abs() < 0.5, "{window:?}");
    }

    #[test]
    fn few_points_are_refused() {
        let few = Points { times: vec![1.0, 2.0, 3.0, 4.0], values: vec![1.0; 4] };
        assert_eq!(look(&few), Err(Unusable::TooFew { needed: 5, found: 4 }));
    }
}
