//! Tail probabilities and quantiles of the normal, Student's t and F distributions, for any argument. The functions are statrs';
//! the quantile of t is sharpened here by Newton steps (statrs' inverse of the incomplete beta function has six digits).

use statrs::distribution::{Continuous, ContinuousCDF, FisherSnedecor, Normal, StudentsT};

use super::Unusable;

/// Probability that a standard normal value lies above `z`. An unusable `z` has the probability 1.
pub fn normal_above(z: f64) -> f64 {
    if z.is_nan() { 1.0 } else { Normal::standard().sf(z) }
}

/// Probability of a standard normal value at least as far from 0 as `z`.
pub fn normal_two_sided(z: f64) -> f64 {
    (2.0 * normal_above(z.abs())).min(1.0)
}

/// The standard normal value below which a share `p` lies.
pub fn normal_quantile(p: f64) -> Result<f64, Unusable> {
    if p > 0.0 && p < 1.0 { Ok(Normal::standard().inverse_cdf(p)) } else { Err(Unusable::Parameter) }
}

/// Probability that Student's t with `freedom` degrees of freedom lies above `t`. Unusable arguments have the probability 1.
pub fn t_above(t: f64, freedom: f64) -> f64 {
    if t.is_nan() {
        return 1.0;
    }
    if t.is_infinite() {
        return if t > 0.0 { 0.0 } else { 1.0 };
    }
    // The square of a larger t overflows; its tail is 0 for all that a double can tell.
    if t.abs() > 1e150 {
        return if t > 0.0 { 0.0 } else { 1.0 };
    }
    match StudentsT::new(0.0, 1.0, freedom) {
        Ok(student) => student.sf(t).clamp(0.0, 1.0),
        Err(_) => 1.0,
    }
}

/// Probability of a t at least as far from 0.
pub fn t_two_sided(t: f64, freedom: f64) -> f64 {
    (2.0 * t_above(t.abs(), freedom)).min(1.0)
}

/// The t below which a share `p` lies.
pub fn t_quantile(p: f64, freedom: f64) -> Result<f64, Unusable> {
    let student = StudentsT::new(0.0, 1.0, freedom).map_err(|_| Unusable::Parameter)?;
    if !(p > 0.0 && p < 1.0) {
        return Err(Unusable::Parameter);
    }
    let tail = p.min(1.0 - p);
    let mut t = student.inverse_cdf(1.0 - tail);
    if !t.is_finite() {
        return Err(Unusable::OutOfRange);
    }
    for _ in 0..8 {
        let density = student.pdf(t);
        if density <= f64::MIN_POSITIVE {
            break;
        }
        let step = (student.sf(t) - tail) / density;
        // In the far tail the tangent overshoots; half of the way is always enough to come nearer.
        t += step.clamp(-0.5 * t.abs().max(1.0), 0.5 * t.abs().max(1.0));
    }
    if t.is_finite() { Ok(if p < 0.5 { -t } else { t }) } else { Err(Unusable::OutOfRange) }
}

/// Probability that F with the two degrees of freedom lies above `f`. Unusable arguments have the probability 1.
pub fn f_above(f: f64, freedom: (f64, f64)) -> f64 {
    if f.is_nan() || f <= 0.0 {
        return 1.0;
    }
    if f > 1e150 {
        return 0.0;
    }
    FisherSnedecor::new(freedom.0, freedom.1).map_or(1.0, |fisher| fisher.sf(f).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Figures of scipy 1.17.
    #[test]
    fn agrees_with_scipy() {
        let near = |ours: f64, scipy: f64| assert!((ours - scipy).abs() <= 1e-9 * scipy.abs(), "{ours:e} {scipy:e}");
        near(normal_two_sided(2.845_512_041), 0.004_434_008_303_184_363);
        near(normal_quantile(0.975).unwrap(), 1.959_963_984_540_054);
        near(t_two_sided(2.5, 3.0), 0.087_706_647_008_065_55);
        near(t_quantile(0.975, 8.0).unwrap(), 2.306_004_135_204_166);
        near(t_quantile(0.025, 2.0).unwrap(), -4.302_652_729_749_464);
        near(t_quantile(0.999_95, 5.0).unwrap(), 11.177_710_070_278_87);
        near(f_above(4.2, (2.0, 17.0)), 0.032_940_428_206_389_21);
    }

    #[test]
    fn answers_anything() {
        for x in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e300, 0.0, 1e-300] {
            for freedom in [f64::NAN, -1.0, 0.0, 1e-9, 1.0, 1e9, f64::INFINITY] {
                for p in [normal_two_sided(x), t_two_sided(x, freedom), t_above(x, freedom), f_above(x, (2.0, freedom))] {
                    assert!((0.0..=1.0).contains(&p), "{x} {freedom} {p}");
                }
                assert!(t_quantile(x, freedom).is_ok_and(f64::is_finite) || t_quantile(x, freedom).is_err());
            }
        }
    }
}
