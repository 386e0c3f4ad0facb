//! Linear least squares: the straight line with its t-test, and the best mix of given columns.

use nalgebra::{DMatrix, DVector};

use super::distribution::t_two_sided;
use super::{Unusable, finite, usable, usable_pairs};

/// A straight line through points.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line {
    /// Value at time 0.
    pub intercept: f64,
    /// Values per unit of time.
    pub slope: f64,
    /// Standard error of the slope; the values taken for independent.
    pub slope_error: f64,
    /// Two-sided p-value of a slope of 0, Student's t with n - 2 degrees of freedom.
    pub p: f64,
    /// Share of the variance that the line explains.
    pub r_squared: f64,
}

/// Ordinary least squares on at least 3 points. A series that is flat has the p-value 1.
pub fn line(times: &[f64], values: &[f64]) -> Result<Line, Unusable> {
    usable_pairs(times, values, 3)?;
    let n = times.len() as f64;
    let mean = |values: &[f64]| values.iter().sum::<f64>() / n;
    let (middle, level) = (mean(times), mean(values));
    let (mut sxx, mut sxy, mut syy) = (0.0, 0.0, 0.0);
    for (time, value) in times.iter().zip(values) {
        let (x, y) = (time - middle, value - level);
        sxx += x * x;
        sxy += x * y;
        syy += y * y;
    }
    if sxx <= f64::MIN_POSITIVE {
        return Err(Unusable::NoTime);
    }
    let slope = finite(sxy / sxx)?;
    let intercept = finite(level - slope * middle)?;
    if syy <= f64::MIN_POSITIVE {
        return Ok(Line { intercept, slope: 0.0, slope_error: 0.0, p: 1.0, r_squared: 0.0 });
    }
    let r = (sxy / sxx.sqrt() / syy.sqrt()).clamp(-1.0, 1.0);
    let r_squared = r * r;
    let slope_error = finite(((1.0 - r_squared) * syy / sxx / (n - 2.0)).max(0.0).sqrt())?;
    // 1 - r², written so that it does not vanish for a line that is almost perfect.
    let t = r * ((n - 2.0) / ((1.0 - r) * (1.0 + r)).max(f64::MIN_POSITIVE)).sqrt();
    Ok(Line { intercept, slope, slope_error, p: t_two_sided(t, n - 2.0), r_squared })
}

/// A mix of columns that comes nearest to the values.
#[derive(Debug, Clone, PartialEq)]
pub struct Mix {
    /// Weight of each column.
    pub weights: Vec<f64>,
    /// Value minus mix, for each value.
    pub residuals: Vec<f64>,
    /// Sum of the squared residuals.
    pub squares: f64,
    /// Inverse of the matrix of the columns' products: times the residual variance it is the covariance of the weights.
    inverse: DMatrix<f64>,
}

impl Mix {
    /// Standard error of a weight when each value has this variance of its own; `None` when there is no such column.
    pub fn error(&self, column: usize, variance: f64) -> Option<f64> {
        (column < self.weights.len()).then(|| (self.inverse[(column, column)] * variance).max(0.0).sqrt())
    }
}

/// Least squares over columns of one length, by normal equations on columns scaled to length 1; columns that say the same are
/// refused as [`Unusable::Constant`].
pub fn mix(columns: &[&[f64]], values: &[f64]) -> Result<Mix, Unusable> {
    usable(values, columns.len().max(1))?;
    for column in columns {
        usable_pairs(column, values, 1)?;
    }
    let (n, k) = (values.len(), columns.len());
    let scales: Vec<f64> = columns.iter().map(|column| column.iter().map(|x| x * x).sum::<f64>().sqrt()).collect();
    if k == 0 || scales.iter().any(|scale| *scale <= f64::MIN_POSITIVE) {
        return Err(Unusable::Constant);
    }
    let matrix = DMatrix::from_fn(n, k, |row, column| columns[column][row] / scales[column]);
    let target = DVector::from_column_slice(values);
    let products = matrix.tr_mul(&matrix);
    let inverse = products.cholesky().ok_or(Unusable::Constant)?.inverse();
    let solve = |target: &DVector<f64>| &inverse * matrix.tr_mul(target);
    let mut weights = solve(&target);
    // One step of refinement: normal equations alone lose half of the digits.
    weights += solve(&(&target - &matrix * &weights));
    let residuals = &target - &matrix * &weights;
    let squares = finite(residuals.norm_squared())?;
    let weights: Vec<f64> = weights.iter().zip(&scales).map(|(weight, scale)| weight / scale).collect();
    if weights.iter().any(|weight| !weight.is_finite()) {
        return Err(Unusable::OutOfRange);
    }
    let inverse = DMatrix::from_fn(k, k, |row, column| inverse[(row, column)] / scales[row] / scales[column]);
    Ok(Mix { weights, residuals: residuals.as_slice().to_vec(), squares, inverse })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_by_hand() {
        // scipy.stats.linregress 1.17.
        let found = line(&[0.0, 1.0, 2.0, 3.0], &[1.0, 3.0, 2.0, 5.0]).unwrap();
        assert!((found.slope - 1.1).abs() < 1e-12 && (found.intercept - 1.1).abs() < 1e-12);
        assert!((found.slope_error - 0.519_615_242).abs() < 1e-8 && (found.p - 0.168_478_16).abs() < 1e-6, "{found:?}");
    }

    #[test]
    fn lines_that_are_none() {
        assert_eq!(line(&[1.0; 5], &[1.0, 2.0, 3.0, 4.0, 5.0]), Err(Unusable::NoTime));
        let flat = line(&[1.0, 2.0, 3.0], &[4.0; 3]).unwrap();
        assert_eq!((flat.slope, flat.p), (0.0, 1.0));
        let perfect = line(&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0]).unwrap();
        assert!(perfect.p < 1e-6 && perfect.slope_error < 1e-6);
        assert_eq!(mix(&[&[1.0, 1.0], &[2.0, 2.0]], &[1.0, 2.0]), Err(Unusable::Constant));
    }

    proptest! {
        #[test]
        fn a_mix_of_a_constant_and_time_is_the_line(values in prop::collection::vec(-1e3..1e3_f64, 4..50)) {
            let times: Vec<f64> = (0..values.len()).map(|at| at as f64).collect();
            let (line, mix) = (line(&times, &values).unwrap(), mix(&[&vec![1.0; values.len()], &times], &values).unwrap());
            prop_assert!((line.slope - mix.weights[1]).abs() < 1e-8);
            let error = mix.error(1, mix.squares / (values.len() as f64 - 2.0)).unwrap();
            prop_assert!((error - line.slope_error).abs() < 1e-6 * error.max(1.0));
        }
    }
}
