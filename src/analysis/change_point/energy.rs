//! Where a series splits best: the energy statistic of E-divisive (Matteson & James 2014) in the form of Hunter (Fleming et al., ICPE
//! 2023), over all splits tau and all ends kappa. Sums are formed in the order of Apache Otava's calculator, so that ties of rounded
//! values fall the same way. Needs 2 values; time and memory grow with the square of the length, so it is asked of windows.

/// The best split of a stretch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Split {
    /// First index of the right part.
    pub index: usize,
    /// The statistic: how different the parts are; in units of the values.
    pub strength: f64,
}

/// Distances between all values of a window, ready to be asked for the best split of any stretch of it.
#[derive(Debug)]
pub(super) struct Energy {
    length: usize,
    /// |x_i - x_j|, row by row.
    distances: Vec<f64>,
    /// `across[i][j]` = sum of the distances of i to i+1 ..= j.
    across: Vec<f64>,
    /// `down[j]` = sum of the distances of j to 0 .. j.
    down: Vec<f64>,
}

impl Energy {
    pub(super) fn new(values: &[f64]) -> Self {
        let length = values.len();
        let distances: Vec<f64> = values.iter().flat_map(|one| values.iter().map(move |other| (one - other).abs())).collect();
        let mut across = vec![0.0; length * length];
        let mut down = vec![0.0; length];
        for i in 0..length {
            let mut sum = 0.0;
            for j in i + 1..length {
                sum += distances[i * length + j];
                across[i * length + j] = sum;
                down[j] += distances[i * length + j];
            }
        }
        Self { length, distances, across, down }
    }

    /// The best split of `from .. to`: the first one with the highest strength. `None` with fewer than 2 values.
    pub(super) fn best_split(&self, from: usize, to: usize) -> Option<Split> {
        let count = to.min(self.length).checked_sub(from).filter(|count| *count >= 2)?;
        let left = self.sums_left(from, count);
        let right = self.sums_right(from, count);
        // Sums over t in from .. tau of across(t, kappa).
        let mut rows = vec![0.0; count];
        let mut best = Split { index: from + 1, strength: f64::NEG_INFINITY };
        for tau in 1..count {
            let row = &self.across[(from + tau - 1) * self.length + from..];
            for kappa in tau + 1..=count {
                rows[kappa - 1] += row[kappa - 1];
                let (n, m) = (tau as f64, (kappa - tau) as f64);
                let between = 2.0 / (n + m) * (rows[kappa - 1] - left[tau - 1]);
                let within_left = if tau > 1 { 2.0 * m / ((n + m) * (n - 1.0)) * left[tau - 1] } else { 0.0 };
                let within_right = if kappa - tau > 1 { 2.0 * n / ((n + m) * (m - 1.0)) * right[tau * count + kappa - 1] } else { 0.0 };
                let strength = between - within_left - within_right;
                if strength > best.strength {
                    best = Split { index: from + tau, strength };
                }
            }
        }
        Some(best)
    }

    /// Per tau - 1: the sum of the distances within `from .. from + tau`.
    fn sums_left(&self, from: usize, count: usize) -> Vec<f64> {
        let mut sum = 0.0;
        let of = |at: usize| {
            let before: f64 = (0..from).map(|row| self.distances[row * self.length + from + at]).sum();
            sum += if at == 0 { 0.0 } else { self.down[from + at] - before };
            sum
        };
        (0..count).map(of).collect()
    }

    /// Per tau and kappa - 1: the sum of the distances within `from + tau .. from + kappa`, row by row from tau.
    fn sums_right(&self, from: usize, count: usize) -> Vec<f64> {
        let mut sums = vec![0.0; (count + 1) * count];
        for tau in (0..count).rev() {
            for last in tau + 1..count {
                sums[tau * count + last] = sums[(tau + 1) * count + last] + self.across[(from + tau) * self.length + from + last];
            }
        }
        sums
    }
}

/// The best split of a whole series; `None` with fewer than 2 values.
pub fn best_split(values: &[f64]) -> Option<Split> {
    Energy::new(values).best_split(0, values.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The formula as it stands in the paper.
    fn strength(left: &[f64], right: &[f64]) -> f64 {
        let (n, m) = (left.len() as f64, right.len() as f64);
        let between: f64 = left.iter().flat_map(|x| right.iter().map(move |y| (x - y).abs())).sum();
        let within = |part: &[f64]| -> f64 {
            (0..part.len()).flat_map(|i| (0..i).map(move |k| (i, k))).map(|(i, k)| (part[i] - part[k]).abs()).sum()
        };
        let mut total = 2.0 / (n + m) * between;
        if n > 1.0 {
            total -= 2.0 * m / ((n + m) * (n - 1.0)) * within(left);
        }
        if m > 1.0 {
            total -= 2.0 * n / ((n + m) * (m - 1.0)) * within(right);
        }
        total
    }

    #[test]
    fn agrees_with_the_formula_on_every_stretch() {
        let values: Vec<f64> = (0..23_i32).map(|at| f64::from((at * 37) % 11) + if at > 12 { 4.5 } else { 0.0 }).collect();
        let energy = Energy::new(&values);
        for from in 0..values.len() - 1 {
            for to in from + 2..=values.len() {
                let mut best = (0, f64::NEG_INFINITY);
                for tau in from + 1..to {
                    for kappa in tau + 1..=to {
                        let strength = strength(&values[from..tau], &values[tau..kappa]);
                        if strength > best.1 + 1e-9 {
                            best = (tau, strength);
                        }
                    }
                }
                let found = energy.best_split(from, to).unwrap();
                assert!((found.strength - best.1).abs() < 1e-9, "{from}..{to}");
                assert_eq!(found.index, best.0, "{from}..{to}");
            }
        }
    }

    #[test]
    fn says_nothing_of_less_than_two() {
        assert_eq!(best_split(&[]), None);
        assert_eq!(best_split(&[1.0]), None);
        assert_eq!(best_split(&[2.0, 2.0]), Some(Split { index: 1, strength: 0.0 }));
    }
}
