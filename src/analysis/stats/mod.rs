//! The arithmetic behind the verdicts: robust location and spread, autocorrelation, trend tests, two-sample tests, many tests at
//! once, resampling, curve fitting. Every function names its source, and answers any input: a number that means something, or
//! [`Unusable`] with the reason; never NaN, never a panic. Agreement with other implementations: `scripts/check-cases`.

pub mod autocorrelation;
pub mod bootstrap;
pub mod distribution;
pub mod fit;
pub mod gls;
pub mod kendall;
pub mod linear;
pub mod modified_kendall;
pub mod multiple;
pub mod order;
pub mod rank_sum;
pub mod t_test;
pub mod theil_sen;

/// Magnitude beyond which a number is refused: sums of squares of larger ones would overflow.
pub const LARGEST: f64 = 1e100;

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum Unusable {
    /// Too little was measured.
    #[error("{found} values are too few, {needed} are needed")]
    TooFew {
        /// Least number of values.
        needed: usize,
        /// How many there are.
        found: usize,
    },
    /// The method compares all pairs, and there are too many.
    #[error("{found} values are too many for a method that compares all pairs, {most} are possible")]
    TooMany {
        /// Largest number of values.
        most: usize,
        /// How many there are.
        found: usize,
    },
    /// A value is NaN or infinite, or too large to be squared and summed.
    #[error("value {at} is not a number that can be calculated with")]
    NotFinite {
        /// Index of the first such value.
        at: usize,
    },
    /// Two series that belong together have different lengths.
    #[error("{left} and {right} values do not belong together")]
    Lengths {
        /// Values on the left.
        left: usize,
        /// Values on the right.
        right: usize,
    },
    /// Nothing varies, so that the question has no answer.
    #[error("all values are the same")]
    Constant,
    /// All times are the same.
    #[error("all times are the same")]
    NoTime,
    /// A parameter lies outside what it may be.
    #[error("a parameter is out of range")]
    Parameter,
    /// The corrected variance of a modified Mann-Kendall test is negative: the method has no answer for this series.
    #[error("the corrected variance is negative")]
    NegativeVariance,
    /// The search for the best parameters did not come to an end.
    #[error("the fit did not converge")]
    NoFit,
    /// The result is not a number that a computer can hold.
    #[error("the result is out of range")]
    OutOfRange,
}

/// At least `needed` values, all of them numbers below [`LARGEST`].
pub fn usable(values: &[f64], needed: usize) -> Result<(), Unusable> {
    if values.len() < needed {
        return Err(Unusable::TooFew { needed, found: values.len() });
    }
    match values.iter().position(|value| !value.is_finite() || value.abs() > LARGEST) {
        Some(at) => Err(Unusable::NotFinite { at }),
        None => Ok(()),
    }
}

/// Two usable series of one length.
fn usable_pairs(left: &[f64], right: &[f64], needed: usize) -> Result<(), Unusable> {
    if left.len() != right.len() {
        return Err(Unusable::Lengths { left: left.len(), right: right.len() });
    }
    usable(left, needed)?;
    usable(right, needed)
}

/// The number, unless it is none.
fn finite(value: f64) -> Result<f64, Unusable> {
    if value.is_finite() { Ok(value) } else { Err(Unusable::OutOfRange) }
}
