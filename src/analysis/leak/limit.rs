//! What a soak could have shown, and when a resource is used up. The smallest growth that is found follows from what a leak has to meet;
//! `scripts/bench-leak` measures that it is found. For the time to exhaustion the line is followed to the limit. Its interval is the union of the intervals of all windows that show
//! growth, and never narrower than 20 % on both sides: the statistics know nothing of how the growth will change.

use serde::{Deserialize, Serialize};

use super::points::Points;
use super::window::{Window, look, wanders};
use crate::analysis::stats::autocorrelation::effective_size;
use crate::analysis::stats::distribution::t_quantile;
use crate::analysis::stats::order::median_of;

/// Least width of the interval on each side, as a share of the time.
const MODEL_ERROR: f64 = 0.20;
/// Points at the end whose median is the value now.
const NOW: usize = 5;
/// Last parts that are asked whether the speed has changed, as shares of the recent samples, and their fewest points.
const LAST_PARTS: [f64; 3] = [1.0, 0.5, 0.25];
const FEWEST_IN_PART: usize = 12;
/// Half widths of a 95 % interval beyond which a slope is another: 99.7 %.
const BEYOND_DOUBT: f64 = 1.5;
/// Windows with a smaller p-value speak of the interval.
const SPEAKS: f64 = 0.05;

/// The chance with which each demand is met, so that all of them together are met with a chance of 80 %: they mostly fail together.
const EACH: f64 = 0.87;
/// Error of the slope of the second half, relative to that of the whole: half of the points on half of the time.
const HALF: f64 = 2.828_427;
/// How exactly a median deviation tells the noise, relative to a standard deviation of as many points.
const OF_A_MEDIAN_DEVIATION: f64 = 0.37;
/// Most autocorrelation that is counted with.
const MOST_ALIKE: f64 = 0.95;
/// What noise that is nearly a random walk costs beyond its error: it is easily taken for two levels, or for levelling off. Measured.
const WANDERS_COST: f64 = 0.9;

/// The smallest growth over the window that is found with a chance of 80 %, when its p-value has to be below `alpha`, growth below `least`
/// does not count, and `leftover` of a warm-up may still be in it. Everything that a leak has to meet counts: the test (Cohen 1988: the
/// critical value and the quantile of the power, times the error of the growth), the second half that has to go on growing, the
/// least growth. Noise and autocorrelation are estimates of few points; both are taken one standard error larger than they were found,
/// because what is stated is a promise.
pub(super) fn detectable(window: &Window, leftover: Option<f64>, alpha: f64, least: f64) -> f64 {
    let points = window.points as f64;
    let freedom = (points - 2.0).max(1.0);
    let quantile = |p: f64| t_quantile(p, freedom).unwrap_or(3.0);
    let more = |worth: f64| 1.0 + (2.0 * worth * points).sqrt().recip();
    let phi = (window.phi + ((1.0 - window.phi * window.phi).max(0.0) / points).sqrt()).min(MOST_ALIKE);
    let wanders = wanders(phi);
    let cost = 1.0 + WANDERS_COST * (wanders - 1.0);
    let effective = effective_size(window.points, phi);
    // The median deviation of few points from their own line is too small.
    let by_noise = more(OF_A_MEDIAN_DEVIATION) * window.noise * (12.0 / effective).sqrt() * points / freedom;
    // That of whole numbers is, too, when most are the same.
    let by_squares = more(1.0) * window.growth_error * (window.effective() / effective).max(1.0).sqrt();
    let error = cost * by_noise.max(by_squares);
    let each = quantile(EACH) * error;
    let tested = quantile(1.0 - alpha / wanders / 2.0) * error + each;
    let goes_on = HALF * each;
    let counts = least.max(window.noise) + each;
    let warm = leftover.map_or(0.0, |leftover| leftover + quantile(0.975) * wanders * error + each);
    tested.max(goes_on).max(counts).max(warm)
}

/// When the limit is reached. Hours count from the last sample.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Exhaustion {
    /// The limit.
    pub limit: f64,
    /// Hours until it is reached.
    pub hours: f64,
    /// Hours until it is reached at the earliest; the peaks of a saw-tooth count.
    pub earliest: f64,
    /// Hours until it is reached at the latest; `None`: perhaps never.
    pub latest: Option<f64>,
}

/// The value now: the last of these points, moved along the slope to the moment `end`.
pub(super) fn value_now(points: &Points, slope: f64, end: f64) -> f64 {
    let from = points.len().saturating_sub(NOW);
    median_of((from..points.len()).map(|at| points.values[at] + slope * (end - points.times[at])))
}

/// How fast it grows at the end, per second: as in the window, or as in the last parts of the recent samples where they are steeper or
/// flatter beyond doubt. The second number is the interval: that of the window and of all others that show growth.
pub(super) fn speed(window: &Window, windows: &[Window], recent: &Points) -> (f64, (f64, f64)) {
    let end = recent.times.last().copied().unwrap_or(0.0);
    let mut speaking: Vec<Window> = windows.iter().copied().filter(|other| other.p < SPEAKS && other.slope > 0.0).collect();
    let mut slope = window.slope;
    for share in LAST_PARTS {
        let part = recent.since(end - share * recent.span());
        if part.len() < FEWEST_IN_PART {
            continue;
        }
        let Ok(last) = look(&part) else { continue };
        let steeper = slope < last.slope - BEYOND_DOUBT * (last.slope - last.low);
        let flatter = slope > last.slope + BEYOND_DOUBT * (last.high - last.slope);
        if last.slope > 0.0 && last.p < SPEAKS && (steeper || flatter) {
            slope = last.slope;
            speaking.push(last);
        }
    }
    let interval = speaking.iter().fold((window.low, window.high), |(low, high), other| (low.min(other.low), high.max(other.high)));
    (slope, interval)
}

/// Follows the line to the limit; all values on the scale that is judged, `slope` (above 0) and its interval per second, `limit` also as
/// it is told.
pub(super) fn exhaustion(limit: (f64, f64), now: f64, teeth: f64, slope: f64, interval: (f64, f64)) -> Option<Exhaustion> {
    let (told, limit) = limit;
    let left = (limit - now).max(0.0);
    let hours = left / slope / 3600.0;
    let earliest = (left - teeth).max(0.0) / interval.1.max(slope) / 3600.0;
    let latest = (interval.0 > 0.0).then(|| left / interval.0 / 3600.0).filter(|latest| latest.is_finite());
    (hours.is_finite() && earliest.is_finite()).then(|| Exhaustion {
        limit: told,
        hours,
        earliest: earliest.min(hours * (1.0 - MODEL_ERROR)),
        latest: latest.map(|latest| latest.max(hours * (1.0 + MODEL_ERROR))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_line_to_the_limit() {
        let found = exhaustion((1000.0, 1000.0), 280.0, 0.0, 0.02, (0.01, 0.04)).unwrap();
        assert!((found.hours - 10.0).abs() < 1e-9 && (found.earliest - 5.0).abs() < 1e-9 && found.latest == Some(20.0), "{found:?}");
        // Never narrower than 20 %.
        let sure = exhaustion((1000.0, 1000.0), 280.0, 0.0, 0.02, (0.02, 0.02)).unwrap();
        assert!((sure.earliest - 8.0).abs() < 1e-9 && sure.latest.is_some_and(|latest| (latest - 12.0).abs() < 1e-9));
        assert_eq!(exhaustion((1000.0, 1000.0), 280.0, 0.0, 0.02, (-0.01, 0.04)).unwrap().latest, None);
        // The peaks reach it first; a limit that is passed is passed now.
        assert!((exhaustion((1000.0, 1000.0), 280.0, 360.0, 0.02, (0.02, 0.02)).unwrap().earliest - 5.0).abs() < 1e-9);
        assert_eq!(exhaustion((100.0, 100.0), 280.0, 0.0, 0.02, (0.01, 0.04)).map(|found| found.hours), Some(0.0));
        assert_eq!(exhaustion((1e99, 1e99), 280.0, 0.0, 1e-290, (0.0, 1.0)), None);
    }
}
