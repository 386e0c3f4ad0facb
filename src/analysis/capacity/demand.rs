//! The utilisation law with a demand that may grow (Denning & Buzen 1978): the mean number of busy servers is D1 X + D2 X², X being the
//! throughput. Capacity is the X at which all are busy. Growth is believed as far as the levels show it: its coefficient is shrunk by
//! 1 - 2/F (James & Stein 1961), F being the F test of the growth; without, a few noisy levels extrapolate a curve that is not there.

use rand::RngExt;
use rand_distr::StandardNormal;

use crate::analysis::numbers::{Span, bootstrap};

/// Shrinks growth that the levels hardly show.
const SHRINK: f64 = 2.0;
/// Resamples, confidence and seed of the interval.
const ROUNDS: usize = 400;
const CONFIDENCE: f64 = 0.95;
const SEED: u64 = 0x2545_F491_4F6C_DD1D;
/// The law itself is no better than this, whatever the levels say.
const LEAST_REACH: f64 = 0.02;

/// busy = `first` X + `growth` X².
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Curve {
    pub(super) first: f64,
    pub(super) growth: f64,
    /// Residual variance per busy server.
    variance: f64,
}

impl Curve {
    /// The throughput at which `servers` are busy.
    pub(super) fn capacity(&self, servers: f64) -> f64 {
        if self.growth > 0.0 {
            // The form that does not cancel when growth is small.
            2.0 * servers / (self.first + (self.first * self.first + 4.0 * self.growth * servers).sqrt())
        } else {
            servers / self.first
        }
    }

    fn busy(&self, x: f64) -> f64 {
        self.first * x + self.growth * x * x
    }
}

/// Fits the curve to points (throughput, busy servers), all above 0, at least 3. The scatter of a mean number of busy servers grows
/// with the number: squares are weighted by one over it.
pub(super) fn fit(points: &[(f64, f64)]) -> Option<Curve> {
    let sum = |of: &dyn Fn(f64, f64) -> f64| points.iter().map(|(x, busy)| of(*x, *busy)).sum::<f64>();
    let squares = |curve: &Curve| sum(&|x, busy| (curve.busy(x) - busy).powi(2) / busy);
    let line = |growth: f64| {
        let first = sum(&|x, busy| x * (busy - growth * x * x) / busy) / sum(&|x, busy| x * x / busy);
        Curve { first, growth, variance: 0.0 }
    };
    let straight = line(0.0);
    let (xx, xxx, xxxx) = (sum(&|x, busy| x * x / busy), sum(&|x, busy| x.powi(3) / busy), sum(&|x, busy| x.powi(4) / busy));
    let (x, x_squared) = (sum(&|x, _| x), sum(&|x, _| x * x));
    let determinant = xx * xxxx - xxx * xxx;
    let bent = Curve { first: (x * xxxx - x_squared * xxx) / determinant, growth: (xx * x_squared - xxx * x) / determinant, variance: 0.0 };
    let freedom = (points.len() as f64 - 2.0).max(1.0);
    let usable = bent.growth.is_finite() && bent.growth > 0.0;
    // Demand that is all growth has no first part; then the curve goes through the origin with its growth alone.
    let bent = if usable && bent.first < 0.0 { Curve { first: 0.0, growth: x_squared / xxxx, variance: 0.0 } } else { bent };
    let (of_straight, of_bent) = (squares(&straight), if usable { squares(&bent) } else { f64::INFINITY });
    let noise = of_bent.min(of_straight) / freedom;
    let f = (of_straight - of_bent) / noise.max(1e-12 * straight.first.abs());
    let believed = if usable { (1.0 - SHRINK / f).clamp(0.0, 1.0) } else { 0.0 };
    let shrunk = line(if usable { believed * bent.growth } else { 0.0 });
    let found = if usable && shrunk.first < 0.0 { bent } else { shrunk };
    let capacity = found.capacity(1.0);
    (found.first.is_finite() && capacity.is_finite() && capacity > 0.0).then_some(Curve { variance: noise, ..found })
}

/// 95 % interval of the capacity: the levels are drawn again around the curve with their scatter.
pub(super) fn interval(points: &[(f64, f64)], curve: &Curve, servers: f64) -> Span {
    let capacity = curve.capacity(servers);
    let drawn = bootstrap(ROUNDS, CONFIDENCE, SEED, |dice| {
        let again: Vec<(f64, f64)> = points
            .iter()
            .map(|(x, _)| {
                let busy = curve.busy(*x);
                let shock: f64 = dice.sample(StandardNormal);
                (*x, (busy + shock * (curve.variance * busy).sqrt()).max(0.01 * busy))
            })
            .collect();
        fit(&again).map(|curve| curve.capacity(servers))
    });
    let drawn = drawn.unwrap_or(Span { low: 0.0, high: f64::INFINITY });
    Span { low: drawn.low.min(capacity * (1.0 - LEAST_REACH)), high: drawn.high.max(capacity * (1.0 + LEAST_REACH)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(of: impl Fn(f64) -> f64) -> Vec<(f64, f64)> {
        (1..=7_i32).map(|at| f64::from(at) * 50.0).map(|x| (x, of(x))).collect()
    }

    #[test]
    fn exact_laws_come_back() {
        for (first, growth, servers) in [(0.02, 0.0, 10.0), (0.01, 2e-5, 20.0), (0.0, 1e-4, 40.0)] {
            let points = points(|x| first * x + growth * x * x);
            let curve = fit(&points).unwrap();
            assert!((curve.first - first).abs() < 1e-6 && (curve.growth - growth).abs() < 1e-8, "{curve:?}");
            let at = curve.capacity(servers);
            assert!((curve.busy(at) - servers).abs() < 1e-6);
            assert!(interval(&points, &curve, servers).contains(at));
        }
    }

    #[test]
    fn growth_that_is_only_noise_is_shrunk() {
        let noisy: Vec<(f64, f64)> = points(|x| 0.02 * x)
            .into_iter()
            .zip([0.99, 1.02, 0.98, 1.01, 0.99, 1.0, 1.015])
            .map(|((x, busy), off)| (x, busy * off))
            .collect();
        let capacity = fit(&noisy).unwrap().capacity(10.0);
        assert!((capacity / 500.0 - 1.0).abs() < 0.02, "{capacity}");
        // It grows by itself when there is growth.
        let grows = points(|x| 0.02 * x * (1.0 + x / 1000.0));
        assert!(fit(&grows).unwrap().capacity(10.0) < 400.0);
    }
}
