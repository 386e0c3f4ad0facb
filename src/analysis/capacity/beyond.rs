//! Where a system would break beyond what was tested: an estimate with its interval, never told as measured. Of a resource by its law
//! (`bottleneck`), of the response time and of failures by the line and by the exponential through the upper levels, each also without any
//! one of them. Nothing is estimated further than one and a half times the highest level.

use super::bottleneck::{Bottleneck, Law};
use super::criteria::What;
use super::{Level, Plan};
use crate::analysis::numbers::{Span, is_number};

/// Multiple of the highest level beyond which nothing is estimated, and beyond which an upper end is not known.
const FAR: f64 = 1.5;
const TOO_FAR: f64 = 2.0;
/// Fewest levels that a curve goes through.
const LEVELS: usize = 3;

/// An estimate of the load at which something gives way.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// What gives way.
    pub what: What,
    /// The limit that it reaches there.
    pub limit: f64,
    /// The load, in the unit of the ladder.
    pub load: f64,
    /// Interval of the load; the upper end is infinite when it is not known.
    pub interval: Span,
    /// The law of a resource; `None` when a curve was drawn on.
    pub law: Option<Law>,
    /// Number of levels that it rests on.
    pub levels: usize,
}

/// Everything that would give way beyond the highest level, the first first.
pub(super) fn estimates(levels: &[&Level], bottlenecks: &[Bottleneck], plan: &Plan) -> Vec<Estimate> {
    let Some(top) = levels.last().map(|level| level.load).filter(|top| *top > 0.0) else { return Vec::new() };
    let mut found: Vec<Estimate> = bottlenecks.iter().filter_map(|bottleneck| of_resource(bottleneck, top)).collect();
    let p95 = points(levels, |level| level.p95_s);
    found.extend(plan.broken_p95_s.and_then(|limit| drawn_on(What::P95, &p95, limit, top)));
    let failed = points(levels, |level| (level.requests > 0).then(|| level.failed_share()));
    found.extend(drawn_on(What::Failed, &failed, plan.broken_failed, top));
    found.sort_by(|one, other| one.load.total_cmp(&other.load));
    found
}

fn points(levels: &[&Level], of: fn(&Level) -> Option<f64>) -> Vec<(f64, f64)> {
    levels.iter().filter_map(|level| Some((level.load, of(level)?))).filter(|(_, value)| is_number(*value)).collect()
}

fn of_resource(bottleneck: &Bottleneck, top: f64) -> Option<Estimate> {
    let demand = bottleneck.demand.as_ref().ok()?;
    let (load, interval) = (demand.load?, demand.load_interval?);
    // The highest level was survived: what the law says below it is refuted.
    let estimate = Estimate {
        what: What::Utilisation(bottleneck.resource.clone()),
        limit: 1.0,
        load: load.max(top),
        interval: Span { low: interval.low.max(top), high: interval.high },
        law: Some(demand.law),
        levels: demand.levels,
    };
    bounded(estimate, top)
}

/// Draws on what grows with the load until it reaches its limit.
fn drawn_on(what: What, points: &[(f64, f64)], limit: f64, top: f64) -> Option<Estimate> {
    let upper = &points[points.len() - (points.len().div_ceil(2)).max(LEVELS).min(points.len())..];
    if upper.len() < LEVELS {
        return None;
    }
    let both = |points: &[(f64, f64)]| [reaches(points, limit, |value| value), reaches(points, limit, f64::ln)];
    let whole = both(upper);
    let mut ends: Vec<f64> = whole.iter().flatten().copied().collect();
    if upper.len() > LEVELS {
        for left_out in 0..upper.len() {
            let rest: Vec<(f64, f64)> = upper.iter().enumerate().filter(|(at, _)| *at != left_out).map(|(_, point)| *point).collect();
            ends.extend(both(&rest).iter().flatten());
        }
    }
    let load = match whole {
        // Between the two, nearer to the earlier one as ratios go.
        [Some(line), Some(exponential)] => (line.max(top) * exponential.max(top)).sqrt(),
        [line, exponential] => line.or(exponential)?.max(top),
    };
    let low = ends.iter().copied().fold(load, f64::min).max(top);
    let high = ends.iter().copied().fold(load, f64::max);
    bounded(Estimate { what, limit, load, interval: Span { low, high }, law: None, levels: upper.len() }, top)
}

/// The load at which a straight line through points on a scale reaches the limit; `None` when it does not rise.
fn reaches(points: &[(f64, f64)], limit: f64, scale: fn(f64) -> f64) -> Option<f64> {
    let scaled: Vec<(f64, f64)> = points.iter().map(|(x, y)| (*x, scale(*y))).filter(|(_, y)| y.is_finite()).collect();
    let count = scaled.len() as f64;
    if scaled.len() < 2 {
        return None;
    }
    let (x, y) = (scaled.iter().map(|(x, _)| x).sum::<f64>() / count, scaled.iter().map(|(_, y)| y).sum::<f64>() / count);
    let xx: f64 = scaled.iter().map(|(at, _)| (at - x).powi(2)).sum();
    let slope = scaled.iter().map(|(at, value)| (at - x) * (value - y)).sum::<f64>() / xx;
    let at = x + (scale(limit) - y) / slope;
    (slope > 0.0 && at.is_finite()).then_some(at)
}

fn bounded(estimate: Estimate, top: f64) -> Option<Estimate> {
    let Span { low, high } = estimate.interval;
    if low > FAR * top || !estimate.load.is_finite() {
        return None;
    }
    let high = if high > TOO_FAR * top { f64::INFINITY } else { high };
    Some(Estimate { load: estimate.load.min(TOO_FAR * top), interval: Span { low, high }, ..estimate })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_is_drawn_on_but_not_far() {
        let growing: Vec<(f64, f64)> = (1..=8_i32).map(|at| (f64::from(at) * 100.0, 0.2 * (f64::from(at) * 0.25).exp())).collect();
        let found = drawn_on(What::P95, &growing, 2.0, 800.0).unwrap();
        // The exponential that it is reaches 2 at 921.
        assert!(found.interval.contains(921.1) && found.interval.low >= 800.0 && found.load < 1100.0, "{found:?}");
        assert_eq!(drawn_on(What::P95, &growing, 200.0, 800.0), None);
        let flat: Vec<(f64, f64)> = growing.iter().map(|(x, _)| (*x, 0.2)).collect();
        assert_eq!(drawn_on(What::P95, &flat, 2.0, 800.0), None);
        assert_eq!(drawn_on(What::P95, &growing[..2], 2.0, 200.0), None);
        assert_eq!(drawn_on(What::Failed, &[(1.0, 0.0), (2.0, 0.0), (3.0, 0.0)], 0.05, 3.0), None);
    }
}
