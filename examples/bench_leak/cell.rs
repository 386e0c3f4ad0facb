//! Many soaks of one kind and growth, and what was said of them.

use plimsoll::analysis::leak::{Soak, Trend, Verdict, judge};

use crate::{naive, soaks};

/// Counts over the runs of one kind and growth.
pub(crate) struct Cell {
    pub(crate) kind: &'static str,
    pub(crate) growth: f64,
    runs: u64,
    naive: [u64; 3],
    leaks: u64,
    watched: u64,
    tiny: u64,
    steps: u64,
    levelling: u64,
    unclear: u64,
    /// The smallest growth that would have shown, as stated of each run, over the whole of it.
    stated: Vec<f64>,
    /// Relative errors of the time to the limit, and how many of the intervals held the truth.
    errors: Vec<f64>,
    held: u64,
}

impl Cell {
    /// Simulates and judges.
    pub(crate) fn simulate(kind: &'static str, growth: f64, runs: u64, seed: u64, samples: usize) -> Self {
        let mut cell = Self {
            kind,
            growth,
            runs,
            naive: [0; 3],
            leaks: 0,
            watched: 0,
            tiny: 0,
            steps: 0,
            levelling: 0,
            unclear: 0,
            stated: vec![],
            errors: vec![],
            held: 0,
        };
        for run in 0..runs {
            if let Some(soak) = soaks::make(kind, seed.wrapping_mul(1_000_003).wrapping_add(run), samples, growth) {
                cell.add(&soak);
            }
        }
        cell
    }

    fn add(&mut self, soak: &soaks::Soak) {
        for (count, alarm) in self.naive.iter_mut().zip(naive::alarms(&soak.times, &soak.values)) {
            *count += u64::from(alarm);
        }
        let limit = soaks::limit(self.kind);
        let trend = judged(soak, self.kind);
        match trend.verdict {
            Verdict::Leak => self.leaks += 1,
            Verdict::Tiny => self.tiny += 1,
            Verdict::Step => self.steps += 1,
            Verdict::Levelling => self.levelling += 1,
            Verdict::Inconclusive => self.unclear += 1,
            Verdict::NoLeak => self.watched += u64::from(trend.confidence.is_some()),
        }
        if let (Some(per_hour), Some(first), Some(last)) = (trend.detectable_per_hour, soak.times.first(), soak.times.last()) {
            self.stated.push(per_hour * (last - first) / 3600.0);
        }
        // Leaked connections are a random number: their true time to the limit is not known.
        if let Some(found) = trend.exhaustion.filter(|_| self.growth > 0.0 && self.kind != "conn_stairs") {
            let truth = (limit - soak.end) / soak.slope / 3600.0;
            self.errors.push((found.hours - truth).abs() / truth);
            self.held += u64::from(found.earliest <= truth && found.latest.is_none_or(|latest| truth <= latest));
        }
    }

    fn percent(&self, count: u64) -> f64 {
        count as f64 * 100.0 / self.runs as f64
    }

    /// Percent called a leak.
    pub(crate) fn leaks(&self) -> f64 {
        self.percent(self.leaks)
    }

    /// Percent called a leak by each of the naive tests.
    pub(crate) fn naive(&self) -> [f64; 3] {
        self.naive.map(|count| self.percent(count))
    }

    /// The median of what was stated as the smallest growth that would have shown, in the whole run; and percent of leaks of the stated
    /// sizes, times `share`, that are found in other runs of the kind.
    pub(crate) fn stated(&self, share: f64, seed: u64, samples: usize) -> Option<(f64, f64)> {
        let found = |(run, stated): (usize, &f64)| {
            let seed = seed.wrapping_mul(1_000_003).wrapping_add(0x5EED_0000 + run as u64);
            soaks::make(self.kind, seed, samples, share * stated).is_some_and(|soak| judged(&soak, self.kind).verdict == Verdict::Leak)
        };
        let count = self.stated.iter().enumerate().filter(|one| found(*one)).count();
        Some((median(&self.stated)?, count as f64 * 100.0 / self.stated.len() as f64))
    }

    /// How many times to the limit were stated, and percent of the intervals that held the truth.
    pub(crate) fn held(&self) -> Option<(usize, f64)> {
        let count = self.errors.len();
        (count > 0).then(|| (count, self.held as f64 * 100.0 / count as f64))
    }

    pub(crate) fn flat_line(&self) -> String {
        let [line, kendall, modified] = self.naive();
        let leaks = self.leaks();
        let rest: Vec<String> = [self.watched, self.tiny, self.steps, self.levelling, self.unclear]
            .iter()
            .zip([5, 5, 5, 7, 8])
            .map(|(count, width)| format!("{:>width$.1}", self.percent(*count)))
            .collect();
        format!("{:<15} {line:>6.1} {kendall:>6.1} {modified:>9.1} {leaks:>6.1} | {}", self.kind, rest.join(" "))
    }

    pub(crate) fn leaky_line(&self) -> String {
        let [line, kendall, modified] = self.naive();
        let time = self.held().map_or_else(String::new, |(count, held)| {
            format!("{count:>5} {held:>15.1} {:>13.1}", median(&self.errors).unwrap_or(0.0) * 100.0)
        });
        let (kind, growth, leaks) = (self.kind, self.growth, self.leaks());
        format!("{kind:<15} {growth:>5} {line:>6.1} {kendall:>6.1} {modified:>9.1} {leaks:>6.1} | {time}")
    }
}

fn judged(soak: &soaks::Soak, kind: &str) -> Trend {
    let samples = soak.times.iter().copied().zip(soak.values.iter().copied()).collect();
    judge(&Soak { samples, limit: Some(soaks::limit(kind)), ..Soak::default() })
}

fn median(values: &[f64]) -> Option<f64> {
    plimsoll::analysis::stats::order::median(values).ok()
}
