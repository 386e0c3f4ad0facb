//! At which nights of a history did the level change? Candidates from E-divisive (`energy`, `candidates`), verified one by one (`verify`).
//! `otava` is what Apache Otava says of the same history. Retrospective: what it says of a night may change as later nights come in; what
//! alarms is `regression`. Needs 14 values.

mod candidates;
mod energy;
mod otava;
mod verify;

pub use energy::{Split, best_split};
pub use otava::{Neighbours, Point as OtavaPoint, Report as OtavaReport, Settings as OtavaSettings, otava};

use super::numbers::is_number;
use candidates::{WINDOW, candidates};

/// Least number of values.
pub const MINIMUM: usize = 14;

/// What a change must be to be one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// Highest two-sided p-value.
    pub p_value: f64,
    /// Least difference of the medians, in standard deviations within the segments.
    pub effect: f64,
    /// Least difference of the medians, as a share of the history's median.
    pub relative: f64,
    /// Least number of nights before and after.
    pub segment: usize,
    /// Distance from the median, in robust standard deviations, to which outliers are pulled in.
    pub winsor: f64,
    /// Least standard deviation of a segment, as a share of the noise between neighbours.
    pub floor: f64,
}

impl Default for Rules {
    fn default() -> Self {
        Self { p_value: 1e-4, effect: 1.2, relative: 0.005, segment: 4, winsor: 4.0, floor: 0.5 }
    }
}

/// A night from which on the level is another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChangePoint {
    /// Index of the first night of the new level.
    pub index: usize,
    /// Two-sided p-value.
    pub p_value: f64,
    /// Difference of the medians in standard deviations within the segments.
    pub effect: f64,
    /// Median of the segment before.
    pub before: f64,
    /// Median of the segment after.
    pub after: f64,
    /// Nights in the segment before.
    pub nights_before: usize,
    /// Nights in the segment after.
    pub nights_after: usize,
}

/// The change points of a history, ascending. Values that are no numbers are left out; indices are those of `values`. Empty for fewer than
/// [`MINIMUM`] numbers.
pub fn change_points(values: &[f64], rules: &Rules) -> Vec<ChangePoint> {
    let (places, numbers): (Vec<usize>, Vec<f64>) = values.iter().copied().enumerate().filter(|(_, value)| is_number(*value)).unzip();
    if numbers.len() < MINIMUM {
        return Vec::new();
    }
    let found = verify::verify(&numbers, &candidates(&numbers, WINDOW, 0.01), rules);
    found.into_iter().map(|point| ChangePoint { index: places[point.index], ..point }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::cases;

    fn indices(values: &[f64]) -> Vec<usize> {
        change_points(values, &Rules::default()).iter().map(|point| point.index).collect()
    }

    #[test]
    fn synthetic_histories_have_the_changes_that_were_put_in() {
        // Six nights up and down again (`cp_syn_up_down`) are too few for hindsight; night by night both are confirmed (`regression`).
        for (name, margin) in [("cp_syn_none_ar50", 0), ("cp_syn_one_step_3sd", 2)] {
            let case = cases::read(name);
            let truth: Vec<usize> =
                case.json["truth"]["change_points"].as_array().unwrap().iter().map(|index| index.as_u64().unwrap() as usize).collect();
            let found = indices(&case.column("value"));
            let near = |(one, other): (&usize, &usize)| one.abs_diff(*other) <= margin;
            assert!(found.len() == truth.len() && found.iter().zip(&truth).all(near), "{name}: {found:?}, in truth {truth:?}");
        }
    }

    #[test]
    fn otavas_points_are_otavas() {
        for name in ["cp_syn_none_ar50", "cp_syn_one_step_3sd", "cp_syn_up_down"] {
            let case = cases::read(name);
            let expected = case.json["expected"]["otava"]["otava_default"]["change_points"].as_array().unwrap();
            let found = otava(&case.column("value"), &OtavaSettings::default()).points;
            assert_eq!(found.len(), expected.len(), "{name}");
            for (found, expected) in found.iter().zip(expected) {
                let p = expected["pvalue"].as_f64().unwrap();
                assert!(found.index as u64 == expected["index"].as_u64().unwrap() && (found.p_value / p - 1.0).abs() < 1e-6, "{name}");
            }
        }
    }

    #[test]
    fn one_bad_night_is_no_change() {
        let mut values: Vec<f64> = (0..60_i32).map(|at| 100.0 + f64::from((at * 37) % 7)).collect();
        values[30] = 190.0;
        values[31] = 185.0;
        assert_eq!(indices(&values), Vec::<usize>::new());
        values[32..].iter_mut().for_each(|value| *value += 20.0);
        assert_eq!(indices(&values), [32]);
    }

    #[test]
    fn indices_are_those_of_the_whole_history() {
        let mut values: Vec<f64> = (0..60_i32).map(|at| f64::from((at * 37) % 7) + if at < 40 { 100.0 } else { 130.0 }).collect();
        values.splice(10..10, [f64::NAN; 5]);
        assert_eq!(indices(&values), [45]);
        assert_eq!(indices(&values[..13]), Vec::<usize>::new());
    }

    #[test]
    fn dropping_a_point_asks_both_neighbours_again() {
        let count = |neighbours| {
            let values: Vec<f64> = (0..120_i32).map(|at| f64::from((at * 7919) % 23) / 4.0 + f64::from(at % 40) / 9.0).collect();
            otava(&values, &OtavaSettings { neighbours, max_p: 1e-4, ..OtavaSettings::default() }).points.len()
        };
        assert!(count(Neighbours::Both) <= count(Neighbours::AsOtava));
    }
}
