//! Cases of the kind `trend`: a series in time order.

use crate::case::Case;
use crate::check::Check;

/// Compares the functions of `analysis::stats` with what other implementations say.
pub(crate) fn check(case: &Case) -> Result<Vec<Check>, String> {
    let (times, values) = (case.column("t_s")?, case.column("value")?);
    let read = times.iter().zip(&values).filter(|(time, value)| time.is_some() && value.is_some()).count();
    Ok(case.number("/n").map(|n| Check::number("n", Some(read as f64), n, 0.0, 0.0)).into_iter().collect())
}
