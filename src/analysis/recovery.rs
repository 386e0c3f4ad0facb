//! After a spike of load: how bad was it, when was it over, did it stay over? A rolling median against the baseline before the spike, with
//! two thresholds so that it does not flicker, and a look at the end, so that a plateau that stays worse is not called recovered, nor a
//! relapse overlooked. "The first value below the threshold" gets both wrong (docs/methods.md). Needs 2 minutes of baseline and 3 minutes
//! after the spike. Says nothing recovered when nothing was measured or the load was gone.

pub mod finding;

use super::numbers::{is_number, lag_one, mad, median, median_in_place};

/// Name and version of the method, for findings.
pub const METHOD: &str = "recovery/1";

/// What scatters around the tolerance itself is on both sides of it: so much of the tolerance, and at least one standard deviation of the
/// rolling median, counts as back.
const BACK: f64 = 1.2;
/// So much of the tolerance at the end, which is told more exactly: in between what is back and what stays worse by twice the tolerance.
const ENDS: f64 = 1.3;
/// Twice the tolerance, and at least so many standard deviations, counts as away again.
const AWAY: f64 = 2.0;
const AWAY_DEVIATIONS: f64 = 4.0;
/// The longer a recovery takes the slower it is, and the less exact its end: the window grows to this share of the time since the spike.
const SHARE_OF_TIME: f64 = 0.3;
/// The end is this share of the time since the spike, when that is longer.
const SHARE_OF_END: f64 = 1.0 / 3.0;
/// Variance of a median relative to that of a mean.
const OF_A_MEDIAN: f64 = 1.57;
/// Autocorrelation beyond this is not believed.
const MOST_ALIKE: f64 = 0.8;

/// Which direction is bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bad {
    /// Response times, failures.
    High,
    /// Throughput.
    Low,
}

/// How a recovery is judged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// Recovered within this share of the baseline; twice that ends a recovery again.
    pub tolerance: f64,
    /// The same as a difference, for what may be 0 before the spike; in the unit of the values.
    pub tolerance_absolute: f64,
    /// Seconds that the rolling median spans.
    pub window_s: f64,
    /// Seconds from the start of the run that are no baseline.
    pub warm_up_s: f64,
    /// Least seconds of baseline.
    pub baseline_s: f64,
    /// Seconds at the end that must be back.
    pub end_s: f64,
    /// Seconds above the upper threshold that are a relapse.
    pub relapse_s: f64,
    /// Least requests within the window for a value to count.
    pub requests: u64,
    /// Share of the baseline's load below which the load is gone.
    pub load: f64,
}

impl Recovery {
    /// The area beyond the baseline in seconds: 60 is a minute at twice the baseline, or two at one and a half times. `None` when the
    /// baseline is 0.
    pub fn excess_s(&self) -> Option<f64> {
        (self.baseline.abs() > 0.0).then(|| self.excess / self.baseline.abs())
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            tolerance: 0.1,
            tolerance_absolute: 0.0,
            window_s: 45.0,
            warm_up_s: 60.0,
            baseline_s: 120.0,
            end_s: 180.0,
            relapse_s: 60.0,
            requests: 100,
            load: 0.5,
        }
    }
}

/// One reading of the run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// Seconds since the start of the run.
    pub at_s: f64,
    /// What is judged; `None` when nothing was measured.
    pub value: Option<f64>,
    /// Requests behind the value; `None` when not known.
    pub requests: Option<u64>,
}

/// From when to when the spike lasted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spike {
    /// Seconds since the start of the run.
    pub from_s: f64,
    /// The load is back from here on.
    pub to_s: f64,
}

/// Whether and when it recovered.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum State {
    /// Back, and it stayed back.
    Recovered {
        /// Seconds after the spike.
        after_s: f64,
    },
    /// Still worse at the end.
    StaysWorse {
        /// By which share of the baseline, at the end.
        by: f64,
        /// It had not recovered so many seconds after the spike.
        observed_s: f64,
    },
    /// Nothing can be said.
    Inconclusive(Doubt),
}

/// Why nothing can be said.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum Doubt {
    /// Too little before the spike.
    #[error("only {have_s:.0} s of baseline were measured before the spike, {need_s:.0} s are needed")]
    Baseline {
        /// Seconds with values.
        have_s: f64,
        /// Seconds that are needed.
        need_s: f64,
    },
    /// Too little after it.
    #[error("only {have_s:.0} s were measured after the spike, {need_s:.0} s are needed")]
    TooShort {
        /// Seconds with values.
        have_s: f64,
        /// Seconds that are needed.
        need_s: f64,
    },
    /// After the spike nothing was measured for so long that it may have been anything.
    #[error("nothing was measured from {from_s:.0} s to {to_s:.0} s after the spike")]
    Silent {
        /// Seconds after the spike.
        from_s: f64,
        /// Seconds after the spike.
        to_s: f64,
    },
    /// A target without load is always fast.
    #[error("after the spike there was only {:.0} % of the load of before", share * 100.0)]
    LoadGone {
        /// Requests after the spike as a share of those before.
        share: f64,
    },
}

/// What a spike did.
#[derive(Debug, Clone, PartialEq)]
pub struct Recovery {
    /// See [`State`].
    pub state: State,
    /// Middle of the baseline; 0 when there is none.
    pub baseline: f64,
    /// Scatter of its rolling median (standard deviation).
    pub scatter: f64,
    /// Back below this (above, when low is bad).
    pub back_at: f64,
    /// Away again beyond this.
    pub away_at: f64,
    /// Worst median of three neighbouring values during or after the spike, as a multiple of the baseline; `None` when not known.
    pub worst: Option<f64>,
    /// Area beyond the baseline from the spike's begin on, in the unit of the values times seconds: of failures a second, how many failed
    /// more than before.
    pub excess: f64,
    /// Times after the spike, in seconds, at which it had been back and was away again for at least a minute.
    pub relapses: Vec<f64>,
}

/// Judges what a spike did to one series, in the order of time.
pub fn recovery(readings: &[Reading], spike: Spike, bad: Bad, rules: &Rules) -> Recovery {
    let series = Series::of(readings, spike, bad, rules);
    let before = series.baseline(spike, rules);
    let (middle, scatter) = (median(&before), mad(&before));
    let sign = if bad == Bad::High { 1.0 } else { -1.0 };
    let reach = |times: f64, deviations: f64| {
        times * (rules.tolerance * middle.abs()).max(rules.tolerance_absolute).max(deviations / times * scatter)
    };
    let mut found = Recovery {
        state: State::Inconclusive(Doubt::Baseline { have_s: series.covered(rules.warm_up_s, spike.from_s), need_s: rules.baseline_s }),
        baseline: middle,
        scatter,
        back_at: middle + sign * reach(BACK, 1.0),
        away_at: middle + sign * reach(AWAY, AWAY_DEVIATIONS),
        worst: None,
        excess: 0.0,
        relapses: Vec::new(),
    };
    if before.is_empty() || series.covered(rules.warm_up_s, spike.from_s) < rules.baseline_s {
        return found;
    }
    (found.worst, found.excess) = series.damage(spike, middle, sign);
    if let Some(doubt) = series.doubt(spike, rules) {
        found.state = State::Inconclusive(doubt);
        return found;
    }
    series.follow(spike, sign, rules, &mut found);
    found
}

/// The system has recovered when its slowest part has; what stays worse or cannot be told outweighs what recovered.
pub fn slowest(parts: &[State]) -> Option<State> {
    let rank = |state: &State| match state {
        State::StaysWorse { .. } => (2, 0.0),
        State::Inconclusive(_) => (1, 0.0),
        State::Recovered { after_s } => (0, *after_s),
    };
    parts.iter().copied().reduce(|worst, next| {
        let (one, other) = (rank(&worst), rank(&next));
        if other.0 > one.0 || other.0 == one.0 && other.1 > one.1 { next } else { worst }
    })
}

/// How readings scatter.
struct Noise {
    /// How many there were.
    readings: usize,
    /// Standard deviation.
    spread: f64,
    /// How many independent ones one is worth: neighbours are alike.
    worth: f64,
}

impl Noise {
    /// Standard error of the difference between the medians of so many and so many readings.
    fn error(&self, some: usize, others: usize) -> f64 {
        let independent = |count: usize| (count as f64 * self.worth).max(1.0);
        self.spread * (OF_A_MEDIAN * (1.0 / independent(some) + 1.0 / independent(others))).sqrt()
    }
}

/// The readings that count.
struct Series {
    times: Vec<f64>,
    values: Vec<f64>,
    /// Requests of every reading, also of those without a value.
    requests: Vec<(f64, u64)>,
    /// Distance between readings, in seconds.
    step_s: f64,
    end_s: f64,
}

impl Series {
    fn of(readings: &[Reading], spike: Spike, bad: Bad, rules: &Rules) -> Self {
        let mut sorted: Vec<&Reading> = readings.iter().filter(|reading| is_number(reading.at_s)).collect();
        sorted.sort_by(|one, other| one.at_s.total_cmp(&other.at_s));
        let mut steps: Vec<f64> = sorted.windows(2).map(|pair| pair[1].at_s - pair[0].at_s).filter(|step| *step > 0.0).collect();
        let step_s = if steps.is_empty() { 1.0 } else { median_in_place(&mut steps) };
        let of_window = |at: f64| -> Option<u64> {
            let within = sorted.iter().filter(|other| (other.at_s - at).abs() <= rules.window_s / 2.0);
            within.map(|other| other.requests).sum::<Option<u64>>()
        };
        // A stop of all requests lowers no throughput below what it is: that is the measurement itself.
        let enough = |reading: &&&Reading| bad == Bad::Low || of_window(reading.at_s).is_none_or(|requests| requests >= rules.requests);
        let counted =
            sorted.iter().filter(enough).filter_map(|reading| Some((reading.at_s, reading.value.filter(|value| is_number(*value))?)));
        let (times, values) = counted.unzip();
        let requests = sorted.iter().filter_map(|reading| Some((reading.at_s, reading.requests?))).collect();
        let end_s = sorted.last().map_or(spike.to_s, |last| last.at_s);
        Self { times, values, requests, step_s, end_s }
    }

    /// Rolling medians of the time before the spike, without the warm-up; their windows do not reach into the spike.
    fn baseline(&self, spike: Spike, rules: &Rules) -> Vec<f64> {
        let end = self.times.partition_point(|time| *time < spike.from_s);
        let last = spike.from_s - rules.window_s / 2.0;
        let wanted = (0..end).filter(|at| self.times[*at] >= rules.warm_up_s && self.times[*at] < last);
        wanted.map(|at| self.median_around(at, 0..end, rules.window_s)).collect()
    }

    /// Median of the readings of a window around one, of those whose index lies within a range.
    fn median_around(&self, at: usize, within: std::ops::Range<usize>, window_s: f64) -> f64 {
        let (from, to) = (self.times[at] - window_s / 2.0, self.times[at] + window_s / 2.0);
        let first = self.times.partition_point(|time| *time <= from).max(within.start);
        let end = self.times.partition_point(|time| *time < to).min(within.end);
        self.values.get(first..end).filter(|values| !values.is_empty()).map_or(self.values[at], median)
    }

    /// How the single readings before the spike scatter.
    fn noise(&self, spike: Spike, rules: &Rules) -> Noise {
        let inside = |time: &f64| *time >= rules.warm_up_s && *time < spike.from_s;
        let before: Vec<f64> = self.times.iter().zip(&self.values).filter(|(time, _)| inside(time)).map(|(_, value)| *value).collect();
        let (middle, spread) = (median(&before), mad(&before));
        let inside: Vec<f64> = before.iter().map(|value| value.clamp(middle - 3.0 * spread, middle + 3.0 * spread)).collect();
        let alike = lag_one(&inside, middle).clamp(0.0, MOST_ALIKE);
        Noise { readings: before.len(), spread, worth: (1.0 - alike) / (1.0 + alike) }
    }

    /// Where it ended: the median of the readings of the last minutes, and how many they are. The longer the time after the spike, the more
    /// of it counts, as long as its earlier part does not differ from the last minutes beyond chance: few readings are easily a tenth
    /// off by chance.
    fn end(&self, spike: Spike, rules: &Rules, noise: &Noise) -> (f64, usize) {
        let since = |seconds: f64| self.times.partition_point(|time| *time < (self.end_s - seconds).max(spike.to_s));
        let (longer, last) = (since(rules.end_s.max(SHARE_OF_END * (self.end_s - spike.to_s))), since(rules.end_s));
        let (earlier, latest) = (&self.values[longer..last], &self.values[last..]);
        let alike = !earlier.is_empty() && (median(earlier) - median(latest)).abs() <= 2.0 * noise.error(earlier.len(), latest.len());
        let counts = &self.values[if alike { longer } else { last }..];
        (median(counts), counts.len())
    }

    /// Seconds with values between two times.
    fn covered(&self, from: f64, to: f64) -> f64 {
        self.times.iter().filter(|time| **time >= from && **time < to).count() as f64 * self.step_s
    }

    /// How bad it was, as a multiple of the baseline, and the area beyond it.
    fn damage(&self, spike: Spike, middle: f64, sign: f64) -> (Option<f64>, f64) {
        let from = self.times.partition_point(|time| *time < spike.from_s);
        let after = &self.values[from..];
        let worst = after.windows(3).map(median).reduce(|one, other| if sign * other > sign * one { other } else { one });
        let excess: f64 = after.iter().map(|value| (sign * (value - middle)).max(0.0)).sum();
        (worst.map(|worst| worst / middle).filter(|worst| worst.is_finite()), excess * self.step_s)
    }

    /// Why nothing can be said of the time after the spike.
    fn doubt(&self, spike: Spike, rules: &Rules) -> Option<Doubt> {
        let have_s = self.covered(spike.to_s, f64::INFINITY);
        let per_second = |from: f64, to: f64| {
            let within: Vec<u64> = self.requests.iter().filter(|(at, _)| *at >= from && *at < to).map(|(_, requests)| *requests).collect();
            (!within.is_empty()).then(|| within.iter().sum::<u64>() as f64 / within.len() as f64)
        };
        let before = per_second(rules.warm_up_s, spike.from_s).filter(|before| *before > 0.0);
        // Of the time that decides: a target that fails everything at first has no fast answers either, but it has requests.
        let after = per_second(self.end_s - rules.end_s, f64::INFINITY);
        if let (Some(before), Some(after)) = (before, after)
            && after < rules.load * before
        {
            return Some(Doubt::LoadGone { share: after / before });
        }
        if self.end_s - spike.to_s + self.step_s < rules.end_s {
            return Some(Doubt::TooShort { have_s: (self.end_s - spike.to_s + self.step_s).max(0.0), need_s: rules.end_s });
        }
        let marks = [spike.to_s].into_iter().chain(self.times.iter().copied().filter(|time| *time >= spike.to_s)).chain([self.end_s]);
        let marks: Vec<f64> = marks.collect();
        let gap = marks.windows(2).find(|pair| pair[1] - pair[0] > rules.relapse_s + self.step_s);
        if let Some(gap) = gap {
            return Some(Doubt::Silent { from_s: gap[0] - spike.to_s, to_s: gap[1] - spike.to_s });
        }
        (have_s < rules.end_s / 2.0).then_some(Doubt::TooShort { have_s, need_s: rules.end_s })
    }

    /// The time after the spike. The window of the rolling median does not reach back into it.
    fn follow(&self, spike: Spike, sign: f64, rules: &Rules, found: &mut Recovery) {
        let (back, away) = (found.back_at, found.away_at);
        let is_back = |value: f64| sign * value <= sign * back;
        let is_away = |value: f64| sign * value > sign * away;
        let observed_s = self.end_s - spike.to_s;
        let noise = self.noise(spike, rules);
        let (end, readings) = self.end(spike, rules, &noise);
        let error = noise.error(noise.readings, readings);
        let tolerated = (ENDS * (rules.tolerance * found.baseline.abs()).max(rules.tolerance_absolute)).max(2.0 * error);
        let ends_back = sign * (end - found.baseline) <= tolerated;
        let stays = State::StaysWorse { by: sign * (end - found.baseline) / found.baseline.abs().max(f64::MIN_POSITIVE), observed_s };
        let first = self.times.partition_point(|time| *time < spike.to_s);
        let smooth: Vec<f64> =
            (first..self.times.len()).map(|at| self.median_around(at, first..self.times.len(), rules.window_s)).collect();
        let times = &self.times[first..];
        let mut start = 0;
        for (from, to) in stretches(&smooth, is_away) {
            let long = times[to] - times[from] + self.step_s >= rules.relapse_s;
            if from == 0 || long {
                if smooth[start..from].iter().any(|value| is_back(*value)) {
                    found.relapses.push(times[from] - spike.to_s);
                }
                start = to + 1;
            }
        }
        let smoother = |at: usize| {
            let window_s = (SHARE_OF_TIME * (times[at] - spike.to_s)).max(rules.window_s);
            self.median_around(first + at, first..self.times.len(), window_s)
        };
        let after = (start..smooth.len()).find(|at| is_back(smoother(*at))).map(|at| times[at] - spike.to_s);
        found.state = match after {
            Some(after_s) if ends_back => State::Recovered { after_s },
            Some(_) | None => stays,
        };
    }
}

/// First and last index of every run of values for which something holds.
fn stretches(values: &[f64], holds: impl Fn(f64) -> bool) -> Vec<(usize, usize)> {
    let mut found: Vec<(usize, usize)> = Vec::new();
    for (at, _) in values.iter().enumerate().filter(|(_, value)| holds(**value)) {
        match found.last_mut() {
            Some(last) if last.1 + 1 == at => last.1 = at,
            _ => found.push((at, at)),
        }
    }
    found
}

#[cfg(test)]
mod tests;
