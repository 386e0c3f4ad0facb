//! Candidates for change points: E-divisive inside windows that slide along the series (Hunter, Fleming et al., ICPE 2023). A window is
//! split where it splits best, as long as Student's t finds the two parts different; what comes out is a superset to be verified.

use super::energy::Energy;
use crate::analysis::numbers::{mean, variance};
use crate::analysis::stats::distribution::t_above;

/// Length of a window; half of it is the step.
pub(super) const WINDOW: usize = 50;

/// Indices at which a new level may begin, ascending. `max_p` is the p-value up to which a split is accepted.
pub(super) fn candidates(values: &[f64], window: usize, max_p: f64) -> Vec<usize> {
    let window = window.max(2);
    let (mut found, mut start) = (Vec::new(), 0);
    while start < values.len() {
        let end = (start + window).min(values.len());
        let inside = within(&values[start..end], max_p);
        let last = inside.last().map_or(0, |last| start + last);
        for index in inside.into_iter().map(|index| start + index) {
            if !found.contains(&index) {
                found.push(index);
            }
        }
        start = last.max(start + window / 2);
    }
    found.sort_unstable();
    found
}

/// The splits of one window, ascending.
fn within(values: &[f64], max_p: f64) -> Vec<usize> {
    let energy = Energy::new(values);
    let mut borders = vec![0, values.len()];
    loop {
        // The strongest split of all stretches; of equals the first.
        let splits = borders.windows(2).filter_map(|stretch| Some((energy.best_split(stretch[0], stretch[1])?, stretch)));
        let strongest = splits.reduce(|best, next| if next.0.strength > best.0.strength { next } else { best });
        let Some((split, stretch)) = strongest else { break };
        if student_p(&values[stretch[0]..split.index], &values[split.index..stretch[1]]) > max_p {
            break;
        }
        borders.push(split.index);
        borders.sort_unstable();
    }
    borders[1..borders.len() - 1].to_vec()
}

/// Two-sided p of Student's t with pooled variance of *populations* (the deviations are divided by n, as Otava does); 1 with fewer than 3
/// values, or when nothing varies and nothing differs.
pub(super) fn student_p(left: &[f64], right: &[f64]) -> f64 {
    let (n, m) = (left.len() as f64, right.len() as f64);
    let freedom = n + m - 2.0;
    if freedom <= 0.0 || left.is_empty() || right.is_empty() {
        return 1.0;
    }
    let pooled = ((n - 1.0) * variance(left, 0) + (m - 1.0) * variance(right, 0)) / freedom;
    let (difference, error) = (mean(left) - mean(right), (pooled * (1.0 / n + 1.0 / m)).sqrt());
    if difference.abs() <= 0.0 {
        return 1.0;
    }
    2.0 * t_above((difference / error).abs(), freedom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_is_a_candidate_and_a_flat_line_has_none() {
        let jump: Vec<f64> = (0..80).map(|at| f64::from(at % 5) + if at >= 33 { 20.0 } else { 0.0 }).collect();
        assert!(candidates(&jump, WINDOW, 0.01).contains(&33));
        assert_eq!(candidates(&[7.5; 90], WINDOW, 0.01), Vec::<usize>::new());
        assert_eq!(candidates(&[], WINDOW, 0.01), Vec::<usize>::new());
    }

    #[test]
    fn students_p_as_scipy_gives_it() {
        // scipy.stats.ttest_ind_from_stats with numpy.std (ddof 0) of both sides.
        let p = student_p(&[1.0, 2.0, 3.0, 4.0], &[3.0, 5.0, 4.0]);
        assert!((p - 0.108_977_2).abs() < 1e-6, "{p}");
        assert!((student_p(&[1.0], &[5.0]) - 1.0).abs() < f64::EPSILON);
        assert!(student_p(&[1.0, 1.0], &[5.0]).abs() < f64::EPSILON);
    }
}
