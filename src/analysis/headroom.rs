//! How much of a target's safe capacity is left at the load that production puts on it, and when it will be used up if that goes on growing
//! as it does: Theil and Sen's slope over the peaks of days. One busy day does not move it; a growth that is not proved has no end. Needs a
//! day for the first, a week for the second.

use super::numbers::{Span, is_number, median};
use super::stats::theil_sen::theil_sen;

/// Fewest days for a growth.
const DAYS: usize = 7;
/// Days back that count as the present.
const PRESENT: f64 = 7.0;
/// The time that is left is never told more exactly than this share on either side.
const FLOOR: f64 = 0.2;

/// The highest load of one day.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Day {
    /// Number of the day, counted from any one.
    pub day: f64,
    /// Load, in the unit of the capacity.
    pub peak: f64,
}

/// What is left.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Headroom {
    /// Share of the capacity that is free at the highest load of the last week; negative when it is more than is safe.
    pub free: f64,
    /// That load.
    pub load: f64,
    /// Growth a day with its 95 % interval; `None` with less than a week.
    pub growth: Option<(f64, Span)>,
    /// Days until the line of growth reaches the capacity, with an interval; `None` when it does not grow for sure.
    pub days: Option<(f64, Span)>,
    /// Days it rests on.
    pub seen: usize,
}

/// By the peaks of the days, in order, the last one being the present. `None` without a day or a capacity that means something.
pub fn headroom(capacity: f64, days: &[Day]) -> Option<Headroom> {
    let days: Vec<Day> = days.iter().filter(|day| is_number(day.peak) && is_number(day.day) && day.peak >= 0.0).copied().collect();
    let now = days.last()?.day;
    if !is_number(capacity) || capacity <= 0.0 {
        return None;
    }
    let load = days.iter().filter(|day| day.day > now - PRESENT).map(|day| day.peak).fold(0.0, f64::max);
    let (times, peaks): (Vec<f64>, Vec<f64>) = days.iter().map(|day| (day.day - now, day.peak)).unzip();
    let line = if days.len() >= DAYS { theil_sen(&times, &peaks, 0.95).ok() } else { None };
    let growth = line.map(|line| (line.slope, Span { low: line.low, high: line.high }));
    let left = line.filter(|line| line.low > 0.0).map(|line| {
        let residuals: Vec<f64> = times.iter().zip(&peaks).map(|(time, peak)| peak - line.slope * time).collect();
        let room = (capacity - median(&residuals)).max(0.0);
        let days = room / line.slope;
        let span = Span { low: (room / line.high).min(days * (1.0 - FLOOR)), high: (room / line.low).max(days * (1.0 + FLOOR)) };
        (days, span)
    });
    Some(Headroom { free: 1.0 - load / capacity, load, growth, days: left, seen: days.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn days(count: u32, peak: impl Fn(f64) -> f64) -> Vec<Day> {
        (0..count).map(|day| Day { day: f64::from(day), peak: peak(f64::from(day)) }).collect()
    }

    #[test]
    fn growth_leads_to_a_day_with_its_interval() {
        // 100/s and 2/s more every day, weekends a tenth less; 200/s are safe.
        let wave = |day: f64| if (day % 7.0) >= 5.0 { 0.9 } else { 1.0 };
        let found = headroom(200.0, &days(28, |day| (100.0 + 2.0 * day) * wave(day))).unwrap();
        assert!((found.load - 150.0).abs() < 1e-9 && (found.free - 0.25).abs() < 1e-9, "{found:?}");
        let (left, span) = found.days.unwrap();
        assert!((left - 23.0).abs() < 4.0 && span.contains(23.0) && span.low <= 0.8 * left && span.high >= 1.2 * left, "{found:?}");
    }

    #[test]
    fn what_does_not_grow_for_sure_has_no_end() {
        let still = headroom(200.0, &days(28, |day| 100.0 + if (day as u32).is_multiple_of(2) { 5.0 } else { -5.0 })).unwrap();
        assert_eq!((still.days, still.seen), (None, 28));
        assert!(still.growth.is_some_and(|(_, span)| span.low <= 0.0), "{still:?}");
        let falls = headroom(200.0, &days(28, |day| 150.0 - day)).unwrap();
        assert!(falls.days.is_none() && falls.growth.is_some_and(|(slope, _)| slope < 0.0), "{falls:?}");
    }

    #[test]
    fn little_says_little_and_too_much_is_negative() {
        let one = headroom(200.0, &days(1, |_| 50.0)).unwrap();
        assert_eq!((one.free, one.growth, one.days), (0.75, None, None));
        let beyond = headroom(100.0, &days(10, |day| 110.0 + day)).unwrap();
        assert!(beyond.free < -0.1 && beyond.days.is_some_and(|(left, _)| left <= 0.0), "{beyond:?}");
        assert_eq!((headroom(0.0, &days(9, |_| 1.0)), headroom(10.0, &[]), headroom(f64::NAN, &days(9, |_| 1.0))), (None, None, None));
    }
}
