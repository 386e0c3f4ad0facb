//! Do the nights of a week differ? A target that backs up on Sundays is slower every Sunday, and that is no regression. Compared are the
//! deviations from a running median over seven nights, which a weekly pattern cannot move. Needs four weeks; believed when the weekdays
//! explain at least a fifth of the variance (adjusted for their number) and an F test finds it (p < 0.1 %).

use crate::analysis::numbers::{mean, median};
use crate::analysis::stats::distribution::f_above;
use crate::model::units::Timestamp;

/// Nights that are needed.
const MINIMUM: usize = 28;
/// Nights of each weekday that are needed.
const OF_EACH: usize = 3;
/// Least share of the variance.
const LEAST_SHARE: f64 = 0.2;
const P: f64 = 0.001;
const DAYS: usize = 7;

/// A weekly pattern.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weekday {
    /// What Monday to Sunday are above or below the week's middle; taken off before nights are compared.
    pub effects: [f64; DAYS],
    /// Share of the variance of single nights that it explains, 0 to 1.
    pub share: f64,
    /// p-value of the F test.
    pub p_value: f64,
}

/// Day of the week in UTC: 0 is Monday.
pub fn weekday(at: Timestamp) -> u8 {
    const DAY_US: i64 = 86_400_000_000;
    // 1970-01-01 was a Thursday.
    (at.0.div_euclid(DAY_US) + 3).rem_euclid(7) as u8
}

/// The weekly pattern of a history; `None` when there is none to be believed. `days` are 0 (Monday) to 6, one per value.
pub(super) fn weekly(values: &[f64], days: &[u8]) -> Option<Weekday> {
    if values.len() < MINIMUM || days.len() != values.len() {
        return None;
    }
    let off: Vec<f64> = (0..values.len()).map(|at| values[at] - running_median(values, at)).collect();
    let of_day =
        |day: usize| -> Vec<f64> { off.iter().zip(days).filter(|(_, own)| usize::from(**own) == day).map(|(value, _)| *value).collect() };
    let groups: [Vec<f64>; DAYS] = std::array::from_fn(of_day);
    if groups.iter().any(|group| group.len() < OF_EACH) {
        return None;
    }
    let middles: [f64; DAYS] = std::array::from_fn(|day| median(&groups[day]));
    let center = mean(&middles);
    let (whole, rest) = (squares(&off, mean(&off)), groups.iter().zip(middles).map(|(group, middle)| squares(group, middle)).sum::<f64>());
    let (count, between) = (off.len() as f64, (DAYS - 1) as f64);
    let freedom = count - DAYS as f64;
    if whole <= 0.0 {
        return None;
    }
    let share = 1.0 - (rest / freedom) / (whole / (count - 1.0));
    let f = if rest > 0.0 { ((whole - rest) / between) / (rest / freedom) } else { f64::INFINITY };
    let p_value = f_above(f, (between, freedom));
    (share >= LEAST_SHARE && p_value < P).then(|| Weekday { effects: middles.map(|middle| middle - center), share, p_value })
}

/// Median of the seven nights around one; at the ends, of the first or last seven.
fn running_median(values: &[f64], at: usize) -> f64 {
    let first = at.saturating_sub(DAYS / 2).min(values.len().saturating_sub(DAYS));
    median(&values[first..(first + DAYS).min(values.len())])
}

fn squares(values: &[f64], middle: f64) -> f64 {
    values.iter().map(|value| (value - middle).powi(2)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(at: usize) -> f64 {
        [0.3, -1.2, 0.8, 1.6, -0.4, -1.9, 0.9, 0.1, -0.7, 1.1, -0.2][at % 11]
    }

    fn history(sunday: f64, nights: usize) -> (Vec<f64>, Vec<u8>) {
        let days: Vec<u8> = (0..nights).map(|at| (at % 7) as u8).collect();
        (days.iter().enumerate().map(|(at, day)| 100.0 + noise(at) + if *day == 6 { sunday } else { 0.0 }).collect(), days)
    }

    #[test]
    fn a_slow_sunday_is_seen_after_four_weeks() {
        let (values, days) = history(6.0, 35);
        let found = weekly(&values, &days).unwrap();
        assert!((found.effects[6] - found.effects[2] - 6.0).abs() < 2.0 && found.share > 0.4, "{found:?}");
        assert_eq!(weekly(&values[..27], &days[..27]), None);
    }

    #[test]
    fn noise_and_a_jump_are_no_pattern() {
        let (mut values, days) = history(0.0, 60);
        assert_eq!(weekly(&values, &days), None);
        values[30..].iter_mut().for_each(|value| *value += 30.0);
        assert_eq!(weekly(&values, &days), None);
        assert_eq!(weekly(&[4.0; 60], &days), None);
    }

    #[test]
    fn days_are_counted_from_monday() {
        assert_eq!(weekday(Timestamp(0)), 3);
        assert_eq!(weekday(Timestamp::parse("2026-11-21T02:00:00Z").unwrap()), 5);
        assert_eq!(weekday(Timestamp(-1)), 2);
    }
}
