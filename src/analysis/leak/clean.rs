//! Takes out of the points what is no trend: one regular wave, and the rise of a warm-up.

use std::f64::consts::TAU;

use super::points::Points;
use crate::analysis::stats::autocorrelation::{autocorrelation, effective_size};
use crate::analysis::stats::distribution::f_above;
use crate::analysis::stats::linear::mix;

/// Fewest points in which a wave is looked for.
const FEWEST_FOR_WAVE: usize = 24;
/// Fewest points in which a warm-up is looked for.
const FEWEST_FOR_WARM_UP: usize = 16;
/// Fewest cycles of a wave: a slower one cannot be told from a trend.
const FEWEST_WAVES: f64 = 2.0;
/// Distance between the numbers of cycles that are tried.
const WAVE_STEP: f64 = 0.125;
/// Share of what is not a line that a wave has to make up.
const WAVE_SHARE: f64 = 0.6;
/// By how much the time constant of a warm-up may be longer than found.
const TAU_ERROR: f64 = 1.5;
/// A fit is about as good as another when its squares are at most this many residual variances more (a likelihood ratio of e).
const ABOUT_AS_WELL: f64 = 2.0;

/// Takes out one wave of 2 to a quarter as many cycles as points, if it makes up most of what is not a line. Returns how many cycles it
/// has.
pub(super) fn take_out_wave(points: &mut Points) -> Option<f64> {
    let count = points.len();
    if count < FEWEST_FOR_WAVE {
        return None;
    }
    let (one, place) = (vec![1.0; count], points.places());
    let line = mix(&[&one, &place], &points.values).ok()?.squares;
    let (mut least, mut best) = (line, None);
    let tries = ((count as f64 / 4.0 - FEWEST_WAVES) / WAVE_STEP + 1e-9) as usize;
    for cycles in (0..=tries).map(|at| FEWEST_WAVES + WAVE_STEP * at as f64) {
        let sine: Vec<f64> = place.iter().map(|place| (TAU * cycles * place).sin()).collect();
        let cosine: Vec<f64> = place.iter().map(|place| (TAU * cycles * place).cos()).collect();
        let Ok(found) = mix(&[&one, &place, &sine, &cosine], &points.values) else { continue };
        if found.squares < least {
            least = found.squares;
            best = Some((cycles, weighted(&sine, found.weights[2], &cosine, found.weights[3])));
        }
    }
    let (cycles, wave) = best.filter(|_| least <= (1.0 - WAVE_SHARE) * line)?;
    take_out(points, &wave);
    Some(cycles)
}

fn weighted(a: &[f64], wa: f64, b: &[f64], wb: f64) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a * wa + b * wb).collect()
}

fn take_out(points: &mut Points, what: &[f64]) {
    for (value, what) in points.values.iter_mut().zip(what) {
        *value -= what;
    }
}

/// A warm-up that was taken out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct WarmUp {
    /// First moment of the points.
    pub(super) began: f64,
    /// Time constant in seconds.
    pub(super) tau_s: f64,
    /// How much it adds after `began`.
    pub(super) height: f64,
}

impl WarmUp {
    /// What would still come after a moment if the time constant were longer than found by half.
    pub(super) fn leftover(&self, moment: f64) -> f64 {
        self.height * (-(moment - self.began) / (TAU_ERROR * self.tau_s)).exp()
    }
}

/// One try at a warm-up.
struct Try {
    tau: f64,
    squares: f64,
    height: f64,
    slope: f64,
    /// How many independent points the residuals are worth, as a share.
    worth: f64,
}

/// Takes out a warm-up, k exp(-t / tau) with k < 0, if it makes up more of the growth than the line and fits far better (F test, 1 %, with
/// the degrees of freedom that autocorrelation leaves).
pub(super) fn take_out_warm_up(points: &mut Points) -> Option<WarmUp> {
    let count = points.len();
    if count < FEWEST_FOR_WARM_UP {
        return None;
    }
    let (one, place) = (vec![1.0; count], points.places());
    let line = mix(&[&one, &place], &points.values).ok()?.squares;
    let tries: Vec<Try> = (0..15).filter_map(|at| attempt(&one, &place, &points.values, 0.02 * 1.2_f64.powi(at))).collect();
    let best = tries.iter().filter(|found| found.squares < line).min_by(|a, b| a.squares.total_cmp(&b.squares))?;
    let freedom = (count as f64 - 4.0) * best.worth;
    // The shortest warm-up that fits about as well as the best: a longer one would take a leak for a warm-up.
    let about = best.squares * (1.0 + ABOUT_AS_WELL / freedom);
    let Try { tau, squares, height, slope, .. } = *tries.iter().find(|found| found.squares <= about)?;
    let f = (line - squares) / 2.0 / (squares / freedom).max(f64::MIN_POSITIVE);
    if height < slope.max(0.0) || f_above(f, (2.0, freedom)) >= 0.01 {
        return None;
    }
    let warm_up: Vec<f64> = place.iter().map(|place| -height * (-place / tau).exp()).collect();
    take_out(points, &warm_up);
    Some(WarmUp { began: points.times[0], tau_s: tau * points.span(), height })
}

fn attempt(one: &[f64], place: &[f64], values: &[f64], tau: f64) -> Option<Try> {
    let decay: Vec<f64> = place.iter().map(|place| (-place / tau).exp()).collect();
    let found = mix(&[one, place, &decay], values).ok()?;
    let count = values.len() as f64;
    let phi = autocorrelation(&found.residuals, 1).map_or(0.0, |acf| acf[1]);
    // As in `stats::gls`, with one column more.
    let phi = (phi + (3.0 + 4.0 * phi) / count).clamp(0.0, 0.9);
    let worth = effective_size(values.len(), phi) / count;
    Some(Try { tau, squares: found.squares, height: -found.weights[2], slope: found.weights[1], worth }).filter(|found| found.height > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(value: impl Fn(f64) -> f64) -> Points {
        let values = (0..48).map(|at| value(f64::from(at) / 47.0) + f64::from(at * 31 % 7) * 0.1).collect();
        Points { times: (0..48).map(|at| f64::from(at) * 60.0).collect(), values }
    }

    #[test]
    fn a_wave_is_taken_out_and_a_line_stays() {
        let mut wave = points(|place| 100.0 + 10.0 * place + 8.0 * (TAU * 4.2 * place).sin());
        let cycles = take_out_wave(&mut wave).unwrap();
        assert!((cycles - 4.2).abs() < 0.2, "{cycles}");
        assert!((wave.values[47] - wave.values[0] - 10.0).abs() < 2.0, "{:?}", wave.values);
        let mut line = points(|place| 100.0 + 10.0 * place);
        assert_eq!(take_out_wave(&mut line), None);
        assert_eq!(take_out_wave(&mut Points::default()), None);
    }

    #[test]
    fn a_warm_up_is_taken_out_and_a_leak_stays() {
        let mut warm = points(|place| 100.0 - 50.0 * (-place / 0.08).exp() + 10.0 * place);
        let found = take_out_warm_up(&mut warm).unwrap();
        assert!((found.tau_s / 2820.0 - 0.08).abs() < 0.02, "{found:?}");
        assert!((warm.values[47] - warm.values[0] - 10.0).abs() < 3.0, "{:?}", warm.values);
        let mut line = points(|place| 100.0 + 10.0 * place);
        assert_eq!(take_out_warm_up(&mut line), None);
        let mut falling = points(|place| 100.0 + 50.0 * (-place / 0.08).exp());
        assert_eq!(take_out_warm_up(&mut falling), None);
    }
}
