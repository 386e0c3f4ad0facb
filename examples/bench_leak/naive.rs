//! What is usually done instead: a p-value below 5 % and a slope above 0, of a straight line, of Mann-Kendall, of Hamed and Rao.

use plimsoll::analysis::stats::kendall::mann_kendall;
use plimsoll::analysis::stats::linear::line;
use plimsoll::analysis::stats::modified_kendall::hamed_rao;

/// Level of these tests.
const LEVEL: f64 = 0.05;

/// Names, in the order of [`alarms`].
pub(crate) const NAMES: [&str; 3] = ["line", "MK", "Hamed-Rao"];

/// Which of them cry leak; the first tenth is cut off for them too.
pub(crate) fn alarms(times: &[f64], values: &[f64]) -> [bool; 3] {
    let (Some(first), Some(last)) = (times.first(), times.last()) else { return [false; 3] };
    let from = times.partition_point(|time| *time < first + 0.1 * (last - first));
    let (times, values) = (&times[from..], &values[from..]);
    let straight = line(times, values).is_ok_and(|line| line.p < LEVEL && line.slope > 0.0);
    let kendall = mann_kendall(values).is_ok_and(|test| test.p < LEVEL && test.s > 0);
    let modified = hamed_rao(values, LEVEL, None).is_ok_and(|test| test.s > 0 && test.outcome.is_ok_and(|outcome| outcome.p < LEVEL));
    [straight, kendall, modified]
}
