//! The Universal Scalability Law (Gunther 2007): X(N) = gamma N / (1 + alpha (N-1) + beta N (N-1)). It describes a curve that was measured
//! in a closed loop; as a forecast of a peak it is wrong by any factor (docs/methods.md), so a peak is believed only when the
//! measurement comes near it. Bounded least squares; intervals by Student's t with n - 3 degrees of freedom. Needs 6 points.

use super::numbers::Span;
use super::stats::Unusable;
use super::stats::fit::{Fit, Parameter, least_squares};

/// Least number of points.
pub const MINIMUM: usize = 6;
/// Share of the peak's N that must have been measured for the peak to be believed.
const NEAR: f64 = 0.7;
const CONFIDENCE: f64 = 0.95;

/// A coefficient with what is known of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Coefficient {
    /// Best value.
    pub value: f64,
    /// Standard error; `None` when the points do not tell the coefficients apart.
    pub error: Option<f64>,
    /// 95 % interval. It may reach below 0, where the coefficient itself may not.
    pub interval: Option<Span>,
}

/// A fitted curve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usl {
    /// Contention: the share that cannot be done in parallel.
    pub alpha: Coefficient,
    /// Coherency: what agreeing costs every pair.
    pub beta: Coefficient,
    /// Throughput of one.
    pub gamma: Coefficient,
    /// Share of the variance that the curve explains.
    pub r_squared: f64,
    /// Standard deviation of the residuals, in units of throughput.
    pub sigma: f64,
    /// Number of points.
    pub points: usize,
    /// Highest N that was measured.
    pub measured_to: f64,
}

/// Where a curve turns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Peak {
    /// N of the highest throughput.
    pub n: f64,
    /// That throughput.
    pub throughput: f64,
    /// Whether it is more than the form of the equation: N was measured near it, and beta is not 0 by its interval.
    pub believable: bool,
}

impl Usl {
    /// Throughput at N.
    pub fn throughput(&self, n: f64) -> f64 {
        curve(n, self.alpha.value, self.beta.value, self.gamma.value)
    }

    /// Where the curve turns; `None` when it does not (beta is 0).
    pub fn peak(&self) -> Option<Peak> {
        let n = ((1.0 - self.alpha.value) / self.beta.value).sqrt();
        let surely_turns = self.beta.interval.is_some_and(|span| span.low > 0.0);
        let believable = surely_turns && self.measured_to >= NEAR * n;
        (n.is_finite() && self.beta.value > 0.0).then(|| Peak { n, throughput: self.throughput(n), believable })
    }

    /// Throughput that contention alone allows at any N; `None` when there is no contention.
    pub fn limit(&self) -> Option<f64> {
        (self.alpha.value > 0.0).then(|| self.gamma.value / self.alpha.value).filter(|limit| limit.is_finite())
    }
}

fn curve(n: f64, alpha: f64, beta: f64, gamma: f64) -> f64 {
    gamma * n / (1.0 + alpha * (n - 1.0) + beta * n * (n - 1.0))
}

/// Fits the curve to points (N, throughput), N at least 1; alpha within 0 and 1, beta not below 0.
pub fn fit(points: &[(f64, f64)]) -> Result<Usl, Unusable> {
    let (ns, throughputs): (Vec<f64>, Vec<f64>) = points.iter().copied().unzip();
    super::stats::usable(&ns, MINIMUM)?;
    super::stats::usable(&throughputs, MINIMUM)?;
    let per_one = points.iter().map(|(n, throughput)| throughput / n).fold(0.0, f64::max);
    if ns.iter().any(|n| *n < 1.0) || !per_one.is_finite() || per_one <= 0.0 {
        return Err(Unusable::Parameter);
    }
    let most = ns.iter().copied().fold(1.0, f64::max);
    let residuals = |p: &[f64]| -> Vec<f64> { points.iter().map(|(n, throughput)| curve(*n, p[0], p[1], p[2]) - throughput).collect() };
    let begin = |alpha: f64, bent: f64| {
        let alpha = Parameter { start: alpha, low: 0.0, high: 1.0 };
        vec![alpha, Parameter::at_least(bent / (most * most), 0.0), Parameter::at_least(per_one, 0.0)]
    };
    let starts: Vec<Vec<Parameter>> = [0.001, 0.05, 0.4].into_iter().flat_map(|alpha| [0.01, 1.0].map(|bent| begin(alpha, bent))).collect();
    let fit = least_squares(&residuals, &starts)?;
    let middle = throughputs.iter().sum::<f64>() / throughputs.len() as f64;
    let whole: f64 = throughputs.iter().map(|throughput| (throughput - middle).powi(2)).sum();
    Ok(Usl {
        alpha: coefficient(&fit, 0),
        beta: coefficient(&fit, 1),
        gamma: coefficient(&fit, 2),
        r_squared: if whole > 0.0 { 1.0 - fit.squares / whole } else { 0.0 },
        sigma: (fit.squares / fit.freedom.max(1) as f64).sqrt(),
        points: points.len(),
        measured_to: most,
    })
}

fn coefficient(fit: &Fit, at: usize) -> Coefficient {
    let interval = fit.interval(at, CONFIDENCE).ok().map(|(low, high)| Span { low, high });
    Coefficient { value: fit.parameters[at], error: fit.errors.as_ref().map(|errors| errors[at]), interval }
}

/// A pool that saturates hard, for comparison: X(N) = min(N / R, C).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HardLimit {
    /// Throughput of one.
    pub per_one: f64,
    /// Throughput that is never exceeded.
    pub limit: f64,
    /// By how much its corrected Akaike criterion is better (positive) than that of the scalability law.
    pub better_by: f64,
}

/// Whether a hard limit describes the points better than the law, by the corrected Akaike criterion: a pool that is simply full bends a
/// curve in a way that the law mistakes for a peak far away. `None` when there are too few points.
pub fn hard_limit(points: &[(f64, f64)], usl: &Usl) -> Option<HardLimit> {
    let mut sorted: Vec<(f64, f64)> = points.to_vec();
    sorted.sort_by(|one, other| one.0.total_cmp(&other.0));
    // Every place at which the line may meet the plateau.
    let best = (1..sorted.len()).map(|bend| {
        let (rising, flat) = sorted.split_at(bend);
        let per_one =
            rising.iter().map(|(n, x)| n * x).sum::<f64>() / rising.iter().map(|(n, _)| n * n).sum::<f64>().max(f64::MIN_POSITIVE);
        let limit = flat.iter().map(|(_, x)| x).sum::<f64>() / flat.len() as f64;
        let squares: f64 = sorted.iter().map(|(n, x)| ((n * per_one).min(limit) - x).powi(2)).sum();
        (squares, per_one, limit)
    });
    let (squares, per_one, limit) = best.reduce(|best, next| if next.0 < best.0 { next } else { best })?;
    let count = points.len() as f64;
    let law = usl.sigma.powi(2) * (count - 3.0);
    let akaike = |squares: f64, free: f64| {
        let k = free + 1.0;
        count * (squares / count).max(f64::MIN_POSITIVE).ln() + 2.0 * k + 2.0 * k * (k + 1.0) / (count - k - 1.0)
    };
    (count > 5.0).then(|| HardLimit { per_one, limit, better_by: akaike(law, 3.0) - akaike(squares, 2.0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(alpha: f64, beta: f64, gamma: f64, ns: &[f64]) -> Vec<(f64, f64)> {
        ns.iter().map(|n| (*n, curve(*n, alpha, beta, gamma))).collect()
    }

    #[test]
    fn coefficients_come_back() {
        let ns = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];
        // Published: SPEC SDM91, Oracle, Cisco, ray tracer (Gunther 2007; CRAN usl), and two without any loss.
        for (alpha, beta, gamma) in [
            (0.027_728_5, 0.000_104_4, 89.995),
            (0.4414, 0.0453, 3.386),
            (0.026_716, 7.691e-4, 995.65),
            (0.057_77, 0.0, 21.849),
            (0.0, 0.0, 12.0),
            (0.0, 0.001, 1.0),
        ] {
            let found = fit(&exact(alpha, beta, gamma, &ns)).unwrap();
            let close = |found: f64, truth: f64| (found - truth).abs() <= 1e-4 * truth.max(1e-3);
            assert!(close(found.alpha.value, alpha) && close(found.gamma.value, gamma), "{alpha} {beta} {gamma}: {found:?}");
            assert!((found.beta.value - beta).abs() <= 1e-4 * beta.max(1e-4), "{alpha} {beta} {gamma}: {found:?}");
            assert!(found.r_squared > 0.999_999);
        }
    }

    #[test]
    fn a_peak_far_from_what_was_measured_is_not_believed() {
        let noisy = |points: Vec<(f64, f64)>| -> Vec<(f64, f64)> {
            points.into_iter().enumerate().map(|(at, (n, x))| (n, x * (1.0 + [0.01, -0.02, 0.015, -0.005][at % 4]))).collect()
        };
        let far = fit(&noisy(exact(0.02, 1e-4, 50.0, &[1.0, 4.0, 8.0, 12.0, 16.0, 20.0, 24.0, 28.0]))).unwrap();
        assert!(far.peak().is_none_or(|peak| !peak.believable), "{far:?}");
        let near = fit(&noisy(exact(0.02, 1e-3, 50.0, &[1.0, 4.0, 8.0, 16.0, 24.0, 32.0, 48.0, 64.0]))).unwrap();
        let peak = near.peak().unwrap();
        assert!(peak.believable && (peak.n - 31.3).abs() < 4.0, "{near:?}");
    }

    #[test]
    fn a_full_pool_is_a_hard_limit_and_a_bent_curve_is_not() {
        let ns: [f64; 9] = [1.0, 2.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0];
        let wobble = |at: usize| 1.0 + [0.004, -0.006, 0.003, -0.002, 0.005][at % 5];
        let pool: Vec<(f64, f64)> = ns.iter().enumerate().map(|(at, n)| (*n, (n * 50.0).min(500.0) * wobble(at))).collect();
        let limit = hard_limit(&pool, &fit(&pool).unwrap()).unwrap();
        assert!(limit.better_by > 5.0 && (limit.limit - 500.0).abs() < 5.0, "{limit:?}");
        let bent: Vec<(f64, f64)> = exact(0.05, 0.001, 50.0, &ns).into_iter().enumerate().map(|(at, (n, x))| (n, x * wobble(at))).collect();
        assert!(hard_limit(&bent, &fit(&bent).unwrap()).unwrap().better_by < 0.0);
    }

    #[test]
    fn what_cannot_be_fitted_is_refused() {
        assert_eq!(fit(&[(1.0, 1.0); 5]), Err(Unusable::TooFew { needed: 6, found: 5 }));
        assert_eq!(fit(&[(0.0, 1.0); 6]), Err(Unusable::Parameter));
        assert_eq!(fit(&[(1.0, 0.0); 6]), Err(Unusable::Parameter));
        assert!(matches!(fit(&[(1.0, f64::NAN); 6]), Err(Unusable::NotFinite { .. })));
        // One N only: the coefficients cannot be told apart, and no interval is made up.
        if let Ok(found) = fit(&[(4.0, 10.0); 7]) {
            assert_eq!((found.alpha.interval, found.beta.interval), (None, None));
        }
    }
}
