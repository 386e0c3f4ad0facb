//! The knee of a curve as Kneedle sees it (Satopaa et al. 2011), the way the Python package kneed 0.9 does it. For pictures only: the knee
//! depends on the range that is shown, and of an exact M/M/10 it lies at 80 % of the capacity. No verdict is made from it.

/// What the curve looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Rises ever less: throughput over load.
    ConcaveIncreasing,
    /// Rises ever more: latency over load.
    ConvexIncreasing,
    /// Falls ever more.
    ConcaveDecreasing,
    /// Falls ever less.
    ConvexDecreasing,
}

/// The x of the first knee of points in the order of x; `sensitivity` is Kneedle's S, how far the curve has to fall after it (1 in the
/// paper). `None` when there is none, or fewer than 3 points, or nothing varies.
pub fn knee(points: &[(f64, f64)], shape: Shape, sensitivity: f64) -> Option<f64> {
    let last = points.len().checked_sub(1).filter(|last| *last >= 2)?;
    let x = normalised(points.iter().map(|(x, _)| *x))?;
    let mut y = normalised(points.iter().map(|(_, y)| *y))?;
    match shape {
        Shape::ConcaveIncreasing => {}
        Shape::ConvexDecreasing => y = upside_down(&y),
        Shape::ConcaveDecreasing => y.reverse(),
        Shape::ConvexIncreasing => {
            y = upside_down(&y);
            y.reverse();
        }
    }
    let difference: Vec<f64> = y.iter().zip(&x).map(|(y, x)| y - x).collect();
    let beside = |at: usize| (difference[at.saturating_sub(1)], difference[(at + 1).min(last)]);
    let is_maximum = |at: usize| difference[at] >= beside(at).0 && difference[at] >= beside(at).1;
    let is_minimum = |at: usize| difference[at] <= beside(at).0 && difference[at] <= beside(at).1;
    let fall = sensitivity / last as f64;
    let mut threshold: Option<(f64, usize)> = None;
    for at in 0..last {
        if is_maximum(at) {
            threshold = Some((difference[at] - fall, at));
        }
        let Some((value, place)) = threshold else { continue };
        let value = if is_minimum(at) { 0.0 } else { value };
        threshold = Some((value, place));
        if difference[at + 1] < value {
            let place = if matches!(shape, Shape::ConvexIncreasing | Shape::ConcaveDecreasing) { last - place } else { place };
            return Some(points[place].0);
        }
    }
    None
}

fn upside_down(values: &[f64]) -> Vec<f64> {
    values.iter().map(|value| 1.0 - value).collect()
}

/// Stretched to 0 to 1; `None` when nothing varies or something is no number.
fn normalised(values: impl Iterator<Item = f64>) -> Option<Vec<f64>> {
    let values: Vec<f64> = values.collect();
    if !values.iter().all(|value| super::numbers::is_number(*value)) {
        return None;
    }
    let least = values.iter().copied().reduce(f64::min)?;
    let range = values.iter().copied().reduce(f64::max)? - least;
    (range > 0.0).then(|| values.iter().map(|value| (value - least) / range).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::cases;

    #[test]
    fn agrees_with_kneed() {
        for (name, shape) in [("knee_kneedle_paper_fig2", Shape::ConcaveIncreasing), ("knee_mmc10_latency", Shape::ConvexIncreasing)] {
            let case = cases::read(name);
            let points: Vec<(f64, f64)> = case.column("x").into_iter().zip(case.column("y")).collect();
            for (setting, sensitivity) in [("S=1", 1.0), ("S=2", 2.0), ("S=5", 5.0)] {
                let expected = case.json["expected"]["kneedle"][setting]["knee"].as_f64();
                let found = knee(&points, shape, sensitivity);
                let close = |one: f64, other: f64| (one - other).abs() < 1e-6 * other.abs();
                assert!(
                    found.zip(expected).map_or(found.is_none() && expected.is_none(), |(one, other)| close(one, other)),
                    "{name} {setting}: {found:?}"
                );
            }
        }
    }

    #[test]
    fn mirrored_curves_have_the_mirrored_knee() {
        let rising: Vec<(f64, f64)> = (0..11_i32).map(|at| (f64::from(at), 1.0 - (-f64::from(at) / 2.0).exp())).collect();
        let found = knee(&rising, Shape::ConcaveIncreasing, 1.0).unwrap();
        let falling: Vec<(f64, f64)> = rising.iter().map(|(x, y)| (*x, -y)).collect();
        assert_eq!(knee(&falling, Shape::ConvexDecreasing, 1.0), Some(found));
        let backwards: Vec<(f64, f64)> = rising.iter().rev().map(|(x, y)| (10.0 - x, *y)).collect();
        assert_eq!(knee(&backwards, Shape::ConcaveDecreasing, 1.0), Some(10.0 - found));
    }

    #[test]
    fn says_nothing_of_what_has_no_knee() {
        let line: Vec<(f64, f64)> = (0..9_i32).map(|at| (f64::from(at), f64::from(at))).collect();
        assert_eq!(knee(&line, Shape::ConcaveIncreasing, 1.0), None);
        for points in [&[][..], &line[..2], &[(1.0, 1.0); 5], &[(1.0, f64::NAN), (2.0, 1.0), (3.0, 4.0)]] {
            assert_eq!(knee(points, Shape::ConvexIncreasing, 1.0), None);
        }
    }
}
