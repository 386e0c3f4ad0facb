//! The change points that Apache Otava 0.8.0 (before: Hunter) reports, for comparison: its candidates, and its way of dropping them. On
//! histories that people annotated it finds more than people do (docs/methods.md); the verdicts of Plimsoll come from `verify`.

use super::candidates::{WINDOW, candidates, student_p};
use crate::analysis::numbers::{is_number, mean, variance};

/// What is tested again after a point was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Neighbours {
    /// As Otava 0.8.0 does: the right neighbour and the one after it. The left neighbour keeps figures from before.
    #[default]
    AsOtava,
    /// Both neighbours.
    Both,
}

/// Otava's settings, with its defaults.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Length of a window, in points.
    pub window: usize,
    /// Points with a p-value of this or more are dropped.
    pub max_p: f64,
    /// Points whose levels differ by this share or less are dropped.
    pub min_magnitude: f64,
    /// See [`Neighbours`].
    pub neighbours: Neighbours,
}

impl Default for Settings {
    fn default() -> Self {
        Self { window: WINDOW, max_p: 0.001, min_magnitude: 0.0, neighbours: Neighbours::AsOtava }
    }
}

/// A change point with Otava's figures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// First index of the new level.
    pub index: usize,
    /// Two-sided p of Student's t between the segments beside it.
    pub p_value: f64,
    /// Mean of the segment before.
    pub mean_before: f64,
    /// Mean of the segment after.
    pub mean_after: f64,
    /// Standard deviation (of a population) before.
    pub sd_before: f64,
    /// The same after.
    pub sd_after: f64,
}

impl Point {
    fn of(values: &[f64], from: usize, index: usize, to: usize) -> Self {
        let (left, right) = (&values[from..index], &values[index..to]);
        Self {
            index,
            p_value: student_p(left, right),
            mean_before: mean(left),
            mean_after: mean(right),
            sd_before: variance(left, 0).sqrt(),
            sd_after: variance(right, 0).sqrt(),
        }
    }

    /// The greater of the relative changes forward and backward; 0 for a mean of 0.
    pub fn magnitude(&self) -> f64 {
        let change = |from: f64, to: f64| if from.abs() > 0.0 { (to / from - 1.0).abs() } else { 0.0 };
        change(self.mean_before, self.mean_after).max(change(self.mean_after, self.mean_before))
    }
}

/// What Otava reports.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// Change points, ascending.
    pub points: Vec<Point>,
    /// Candidates ("weak" points) before any was dropped.
    pub weak: Vec<usize>,
}

/// Runs Otava's method over `values`, which must be numbers (a value that is none counts as 0).
pub fn otava(values: &[f64], settings: &Settings) -> Report {
    let values: Vec<f64> = values.iter().map(|value| if is_number(*value) { *value } else { 0.0 }).collect();
    let first_pass = match settings.max_p {
        p if p < 0.05 => p * 10.0,
        p if p < 0.5 => p * 2.0,
        p => p,
    };
    let weak = candidates(&values, settings.window, first_pass);
    Report { points: merge(&values, &weak, settings), weak }
}

/// Drops the weakest point until all have an acceptable p-value and magnitude.
fn merge(values: &[f64], weak: &[usize], settings: &Settings) -> Vec<Point> {
    let mut borders: Vec<usize> = [0].into_iter().chain(weak.iter().copied()).chain([values.len()]).collect();
    let mut points: Vec<Point> = borders.windows(3).map(|part| Point::of(values, part[0], part[1], part[2])).collect();
    while let Some(weakest) = weakest(&points, settings) {
        points.remove(weakest);
        borders.remove(weakest + 1);
        let again = match settings.neighbours {
            Neighbours::AsOtava => [Some(weakest), Some(weakest + 1)],
            Neighbours::Both => [weakest.checked_sub(1), Some(weakest)],
        };
        for at in again.into_iter().flatten() {
            if let Some(point) = points.get_mut(at) {
                *point = Point::of(values, borders[at], borders[at + 1], borders[at + 2]);
            }
        }
    }
    points
}

/// The point to drop next; `None` when all can stay.
fn weakest(points: &[Point], settings: &Settings) -> Option<usize> {
    let first_by = |better: fn(&Point, &Point) -> bool| {
        (0..points.len()).reduce(|best, at| if better(&points[at], &points[best]) { at } else { best })
    };
    let by_p = first_by(|one, other| one.p_value > other.p_value)?;
    if points[by_p].p_value >= settings.max_p {
        return Some(by_p);
    }
    let by_magnitude = first_by(|one, other| one.magnitude() < other.magnitude())?;
    (points[by_magnitude].magnitude() <= settings.min_magnitude).then_some(by_magnitude)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(at: i32) -> f64 {
        f64::from((at * 7919) % 13) / 13.0
    }

    #[test]
    fn finds_a_rise_and_a_fall() {
        let values: Vec<f64> = (0..90).map(|at| noise(at) + if (30..36).contains(&at) { 110.0 } else { 100.0 }).collect();
        let report = otava(&values, &Settings::default());
        assert_eq!(report.points.iter().map(|point| point.index).collect::<Vec<_>>(), [30, 36]);
        assert!(report.points.iter().all(|point| point.p_value < 1e-6 && (point.magnitude() - 0.1).abs() < 0.01));
        let large = Settings { min_magnitude: 0.2, ..Settings::default() };
        assert!(otava(&values, &large).points.is_empty());
    }

    #[test]
    fn nothing_in_comes_to_nothing() {
        for values in [&[][..], &[1.0], &[1.0, 9.0], &[5.0; 120], &[f64::NAN; 9]] {
            assert_eq!(otava(values, &Settings::default()).points, []);
        }
    }
}
