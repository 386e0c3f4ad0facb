//! Nonlinear least squares with bounds: Levenberg-Marquardt (the crate of that name, a port of MINPACK) for the free parameters, and
//! every way to hold bounded ones at a bound. Few parameters only. With standard errors from the curvature at the best point.

use levenberg_marquardt::{LeastSquaresProblem, LevenbergMarquardt};
use nalgebra::storage::Owned;
use nalgebra::{DMatrix, DVector, Dyn};

use super::distribution::t_quantile;
use super::{Unusable, finite, usable};

/// Most parameters: three ways for each of them are tried.
pub const MOST_PARAMETERS: usize = 5;

/// A parameter: where to begin, and between which bounds it may lie (infinite: none).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Parameter {
    /// Where to begin.
    pub start: f64,
    /// Least value.
    pub low: f64,
    /// Greatest value.
    pub high: f64,
}

impl Parameter {
    /// A parameter that may be anything.
    pub fn free(start: f64) -> Self {
        Self { start, low: f64::NEG_INFINITY, high: f64::INFINITY }
    }

    /// A parameter that is not less than `low`.
    pub fn at_least(start: f64, low: f64) -> Self {
        Self { start, low, high: f64::INFINITY }
    }
}

/// The best parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    /// In the order given.
    pub parameters: Vec<f64>,
    /// Standard errors; `None` when the data do not tell the parameters apart, or there are no more points than parameters.
    pub errors: Option<Vec<f64>>,
    /// Sum of the squared residuals.
    pub squares: f64,
    /// Points minus parameters.
    pub freedom: usize,
    /// True for a parameter that lies at one of its bounds.
    pub held: Vec<bool>,
}

impl Fit {
    /// Interval of a parameter for a `confidence` such as 0.95, by Student's t with n - p degrees of freedom.
    pub fn interval(&self, parameter: usize, confidence: f64) -> Result<(f64, f64), Unusable> {
        let error = self.errors.as_ref().ok_or(Unusable::Constant)?.get(parameter).ok_or(Unusable::Parameter)?;
        let reach = t_quantile(f64::midpoint(1.0, confidence), self.freedom as f64)? * error;
        let value = self.parameters[parameter];
        Ok((finite(value - reach)?, finite(value + reach)?))
    }
}

/// Finds the parameters with the least sum of squares of `residuals`, a function of the parameters that returns one number per point
/// (always as many; a number that is none ends the search on that path). Several starts may be given; the best end counts.
pub fn least_squares(residuals: &dyn Fn(&[f64]) -> Vec<f64>, starts: &[Vec<Parameter>]) -> Result<Fit, Unusable> {
    let mut best: Option<(f64, Vec<f64>, &[Parameter])> = None;
    for start in starts {
        let values: Vec<f64> = start.iter().map(|parameter| parameter.start).collect();
        usable(&values, 1)?;
        let sound = |parameter: &Parameter| parameter.low <= parameter.start && parameter.start <= parameter.high;
        if start.len() > MOST_PARAMETERS || !start.iter().all(sound) {
            return Err(Unusable::Parameter);
        }
        for holding in holdings(start) {
            let Some((squares, end)) = descend(residuals, start, &holding) else { continue };
            if best.as_ref().is_none_or(|(least, ..)| squares < *least) {
                best = Some((squares, end, start));
            }
        }
    }
    let (squares, parameters, start) = best.ok_or(Unusable::NoFit)?;
    let points = residuals(&parameters).len();
    let freedom = points.saturating_sub(parameters.len());
    let errors = (freedom > 0).then(|| standard_errors(residuals, &parameters, squares / freedom as f64)).flatten();
    let held = start.iter().zip(&parameters).map(|(bounds, value)| *value <= bounds.low || *value >= bounds.high).collect();
    Ok(Fit { parameters, errors, squares, freedom, held })
}

/// All ways to leave each parameter free (`None`) or hold it at one of its bounds.
fn holdings(start: &[Parameter]) -> Vec<Vec<Option<f64>>> {
    let mut ways: Vec<Vec<Option<f64>>> = vec![vec![]];
    for parameter in start {
        let mut choices = vec![None];
        choices.extend([parameter.low, parameter.high].into_iter().filter(|bound| bound.is_finite()).map(Some));
        ways = ways.into_iter().flat_map(|way| choices.iter().map(move |choice| way.iter().copied().chain([*choice]).collect())).collect();
    }
    ways
}

/// Descends over the free parameters; `None` when the search ends at no number or outside of the bounds.
fn descend(residuals: &dyn Fn(&[f64]) -> Vec<f64>, start: &[Parameter], holding: &[Option<f64>]) -> Option<(f64, Vec<f64>)> {
    let at: Vec<f64> = start.iter().zip(holding).map(|(parameter, held)| held.unwrap_or(parameter.start)).collect();
    let free: Vec<usize> = (0..at.len()).filter(|at| holding[*at].is_none()).collect();
    let mut end = at.clone();
    if !free.is_empty() {
        let scales = free.iter().map(|index| at[*index].abs().max(1e-6)).collect();
        let problem = Problem { residuals, at, free, scales };
        if problem.residuals()?.len() < problem.free.len() {
            return None;
        }
        let (problem, _) = LevenbergMarquardt::new().with_patience(200).minimize(problem);
        end = problem.at;
    }
    let inside = |(parameter, value): (&Parameter, &f64)| value.is_finite() && parameter.low <= *value && *value <= parameter.high;
    let squares: f64 = residuals(&end).iter().map(|residual| residual * residual).sum();
    (squares.is_finite() && start.iter().zip(&end).all(inside)).then_some((squares, end))
}

/// What the library asks for; parameters are given to it in units of their starts.
struct Problem<'a> {
    residuals: &'a dyn Fn(&[f64]) -> Vec<f64>,
    at: Vec<f64>,
    free: Vec<usize>,
    scales: Vec<f64>,
}

impl LeastSquaresProblem<f64, Dyn, Dyn> for Problem<'_> {
    type ResidualStorage = Owned<f64, Dyn>;
    type JacobianStorage = Owned<f64, Dyn, Dyn>;
    type ParameterStorage = Owned<f64, Dyn>;

    fn set_params(&mut self, x: &DVector<f64>) {
        for ((index, scale), value) in self.free.iter().zip(&self.scales).zip(x.iter()) {
            self.at[*index] = value * scale;
        }
    }

    fn params(&self) -> DVector<f64> {
        DVector::from_iterator(self.free.len(), self.free.iter().zip(&self.scales).map(|(index, scale)| self.at[*index] / scale))
    }

    fn residuals(&self) -> Option<DVector<f64>> {
        let found = (self.residuals)(&self.at);
        (!found.is_empty() && found.iter().all(|residual| residual.is_finite())).then(|| DVector::from_vec(found))
    }

    fn jacobian(&self) -> Option<DMatrix<f64>> {
        let mut matrix = jacobian(self.residuals, &self.at, &self.free)?;
        for (mut column, scale) in matrix.column_iter_mut().zip(&self.scales) {
            column *= *scale;
        }
        Some(matrix)
    }
}

/// Slopes of the residuals by central differences; `None` where they are no numbers.
fn jacobian(residuals: &dyn Fn(&[f64]) -> Vec<f64>, at: &[f64], parameters: &[usize]) -> Option<DMatrix<f64>> {
    let mut columns = Vec::with_capacity(parameters.len());
    for index in parameters {
        let step = f64::EPSILON.cbrt() * at[*index].abs().max(1e-6);
        let moved = |by: f64| {
            let mut there = at.to_vec();
            there[*index] += by;
            residuals(&there)
        };
        let (above, below) = (moved(step), moved(-step));
        if above.len() != below.len() || above.is_empty() {
            return None;
        }
        columns.push(DVector::from_iterator(above.len(), above.iter().zip(&below).map(|(above, below)| (above - below) / (2.0 * step))));
    }
    let matrix = DMatrix::from_columns(&columns);
    matrix.iter().all(|slope| slope.is_finite()).then_some(matrix)
}

/// Roots of the diagonal of (J'J)^-1 times the residual variance.
fn standard_errors(residuals: &dyn Fn(&[f64]) -> Vec<f64>, at: &[f64], variance: f64) -> Option<Vec<f64>> {
    let all: Vec<usize> = (0..at.len()).collect();
    let mut matrix = jacobian(residuals, at, &all)?;
    // Scaled to columns of length 1, so that parameters of very different size can be inverted together.
    let lengths: Vec<f64> = matrix.column_iter().map(|column| column.norm()).collect();
    if lengths.iter().any(|length| *length <= f64::MIN_POSITIVE) {
        return None;
    }
    for (mut column, length) in matrix.column_iter_mut().zip(&lengths) {
        column /= *length;
    }
    let inverse = matrix.tr_mul(&matrix).cholesky()?.inverse();
    let errors: Vec<f64> = lengths.iter().enumerate().map(|(at, length)| (inverse[(at, at)] * variance).max(0.0).sqrt() / length).collect();
    errors.iter().all(|error| error.is_finite()).then_some(errors)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_exponential_with_its_errors() {
        // y = 5 exp(-x / 3) with a known disturbance; figures of scipy.optimize.curve_fit 1.17.
        let x: Vec<f64> = (0..10).map(f64::from).collect();
        let y: Vec<f64> = x.iter().map(|x| 5.0 * (-x / 3.0).exp() + if (*x as u32).is_multiple_of(2) { 0.1 } else { -0.1 }).collect();
        let residuals = |p: &[f64]| x.iter().zip(&y).map(|(x, y)| p[0] * (-x / p[1]).exp() - y).collect::<Vec<_>>();
        let fit = least_squares(&residuals, &[vec![Parameter::free(1.0), Parameter::free(1.0)]]).unwrap();
        let near = |ours: f64, scipy: f64| assert!((ours - scipy).abs() < 1e-5 * scipy.abs(), "{ours} {scipy}");
        near(fit.parameters[0], 5.053_209_123_117);
        near(fit.parameters[1], 2.956_173_298_634);
        near(fit.errors.as_ref().unwrap()[0], 0.094_900_107_963);
        near(fit.errors.as_ref().unwrap()[1], 0.094_233_739_613);
        assert_eq!((fit.freedom, fit.held.as_slice()), (8, [false, false].as_slice()));
    }

    #[test]
    fn a_bound_holds() {
        // The best line through these falls; with a slope of at least 0 the best is flat.
        let residuals = |p: &[f64]| vec![p[0] - 3.0, p[0] + p[1] - 2.0, p[0] + 2.0 * p[1] - 1.0];
        let fit = least_squares(&residuals, &[vec![Parameter::free(0.0), Parameter::at_least(1.0, 0.0)]]).unwrap();
        assert!((fit.parameters[0] - 2.0).abs() < 1e-9 && fit.parameters[1] == 0.0 && fit.held[1]);
    }

    #[test]
    fn says_why_there_is_no_fit() {
        let free = || vec![vec![Parameter::free(1.0)]];
        assert_eq!(least_squares(&|_| vec![f64::NAN; 3], &free()), Err(Unusable::NoFit));
        assert_eq!(least_squares(&|_| vec![], &free()), Err(Unusable::NoFit));
        assert_eq!(least_squares(&|p| vec![p[0]], &[]), Err(Unusable::NoFit));
        assert_eq!(least_squares(&|p| vec![p[0]], &[vec![Parameter::at_least(0.0, 1.0)]]), Err(Unusable::Parameter));
        // Nothing depends on the parameter: there is a fit, but no error of it.
        assert_eq!(least_squares(&|_| vec![1.0; 4], &free()).unwrap().errors, None);
    }

    proptest! {
        #[test]
        fn finds_the_line_that_linear_least_squares_finds(values in prop::collection::vec(-100.0..100.0_f64, 4..30)) {
            let times: Vec<f64> = (0..values.len()).map(|at| at as f64).collect();
            let line = super::super::linear::line(&times, &values).unwrap();
            let residuals = |p: &[f64]| times.iter().zip(&values).map(|(x, y)| p[0] + p[1] * x - y).collect::<Vec<_>>();
            let fit = least_squares(&residuals, &[vec![Parameter::free(1.0), Parameter::free(1.0)]]).unwrap();
            prop_assert!((fit.parameters[1] - line.slope).abs() < 1e-6 * line.slope.abs().max(1.0));
            let error = fit.errors.clone().unwrap()[1];
            prop_assert!((error - line.slope_error).abs() < 1e-5 * error.max(1e-3));
            let (low, high) = fit.interval(1, 0.95).unwrap();
            prop_assert!(low <= line.slope && line.slope <= high);
        }
    }
}
