//! Roll-ups: seconds of a run, or readings of a probe, added up to longer spans. Counts and histograms add up exactly, so
//! percentiles of a roll-up are those of all its requests; of what stands at a moment (VUs) the most is kept. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use super::catalog::Catalog;
use super::histogram::{Dense, LatencyHistogram};
use super::measure::{Interval, ScenarioInterval, StepInterval};
use crate::choice;

choice! {
    /// Length of the spans of a series.
    #[derive(PartialOrd, Ord)]
    pub enum Resolution {
        /// As it was measured.
        Second = "1s",
        /// Ten seconds.
        TenSeconds = "10s",
        /// One minute.
        Minute = "1m",
        /// One hour.
        Hour = "1h",
    }
}

impl Resolution {
    /// Length in seconds.
    pub fn seconds(self) -> u32 {
        match self {
            Self::Second => 1,
            Self::TenSeconds => 10,
            Self::Minute => 60,
            Self::Hour => 3_600,
        }
    }

    /// The resolution of so many seconds.
    pub fn of_seconds(seconds: u32) -> Option<Self> {
        Self::ALL.iter().copied().find(|resolution| resolution.seconds() == seconds)
    }

    /// The next finer one, from which it is added up.
    pub fn finer(self) -> Option<Self> {
        match self {
            Self::Second => None,
            Self::TenSeconds => Some(Self::Second),
            Self::Minute => Some(Self::TenSeconds),
            Self::Hour => Some(Self::Minute),
        }
    }

    /// The next coarser one.
    pub fn coarser(self) -> Option<Self> {
        Self::ALL.iter().copied().find(|other| other.finer() == Some(self))
    }

    /// First second of the span that holds `second`.
    pub fn floor(self, second: u32) -> u32 {
        second - second % self.seconds()
    }

    /// The finest of those from `finest` on that shows `seconds` in at most `points` spans; the coarsest when none does.
    pub fn fitting(finest: Self, seconds: u32, points: u32) -> Self {
        let fits = |resolution: &Self| *resolution >= finest && seconds.div_ceil(resolution.seconds()) <= points;
        Self::ALL.iter().copied().find(fits).unwrap_or(Self::Hour)
    }
}

/// A span of a run: its seconds added up.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rolled {
    /// Figures; `second` is the span's first, CPU is the sum of its seconds, stall, threads and VUs the most.
    pub interval: Interval,
    /// Seconds of it that are stored.
    pub seconds: u32,
    /// Most VUs of all scenarios at one time.
    pub vus: u64,
}

impl From<Interval> for Rolled {
    fn from(interval: Interval) -> Self {
        let vus = interval.scenarios.values().map(|scenario| scenario.vus).sum();
        Self { interval, seconds: 1, vus }
    }
}

impl Rolled {
    /// Adds what came later; exact. (Shards of the same second are merged by [`Interval::merge`].)
    pub fn follow(&mut self, later: &Self) {
        later.interval.steps.values().for_each(|step| self.step(step));
        later.interval.scenarios.values().for_each(|scenario| self.scenario(scenario));
        later.interval.groups.iter().for_each(|(group, duration)| self.group(*group, duration));
        self.head(later);
    }

    fn step(&mut self, later: &StepInterval) {
        let empty = || StepInterval { step: later.step, ..StepInterval::default() };
        self.interval.steps.entry(later.step).or_insert_with(empty).merge(later);
    }

    fn scenario(&mut self, later: &ScenarioInterval) {
        let empty = || ScenarioInterval { scenario: later.scenario, ..ScenarioInterval::default() };
        let sum = self.interval.scenarios.entry(later.scenario).or_insert_with(empty);
        // Merging adds VUs up; over time the most counts.
        let most = (sum.vus.max(later.vus), sum.vus_busy.max(later.vus_busy));
        sum.merge(later);
        (sum.vus, sum.vus_busy) = most;
    }

    fn group(&mut self, group: u16, duration: &LatencyHistogram) {
        self.interval.groups.entry(group).or_default().merge(duration);
    }

    /// Adds what is not of a step, a scenario or a group.
    fn head(&mut self, later: &Self) {
        let (mine, theirs) = (&mut self.interval, &later.interval);
        mine.generator_stall = mine.generator_stall.max(theirs.generator_stall);
        mine.generator_cpu = match (mine.generator_cpu, theirs.generator_cpu) {
            (Some(a), Some(b)) => Some(a + b),
            (one, other) => one.or(other),
        };
        mine.shards = mine.shards.max(theirs.shards);
        self.seconds += later.seconds;
        self.vus = self.vus.max(later.vus);
    }

    /// Starts that found no free VU.
    pub fn dropped(&self) -> u64 {
        self.interval.scenarios.values().map(|scenario| scenario.counts.dropped).sum()
    }

    /// Figures of all steps together, or of one, for charts.
    pub fn figures(&self, catalog: &Catalog, step: Option<u16>) -> Figures {
        let steps = self.interval.steps.values().filter(|one| step.is_none_or(|step| step == one.step));
        let mut durations = LatencyHistogram::default();
        let (mut requests, mut failed) = (0, 0);
        for one in steps {
            requests += one.requests();
            failed += one.failed();
            durations.merge(&durations_of(catalog, one));
        }
        let (vus, dropped) = if step.is_none() { (Some(self.vus), Some(self.dropped())) } else { (None, None) };
        let at = |quantile| durations.quantile(quantile).map(|latency| latency.as_micros() as u64);
        let (p50_us, p95_us, p99_us) = (at(0.5), at(0.95), at(0.99));
        Figures { second: self.interval.second, seconds: self.seconds, requests, failed, p50_us, p95_us, p99_us, vus, dropped }
    }
}

/// A step of a [`Sum`].
#[derive(Debug, Clone, Default)]
pub struct StepSum {
    counts: StepInterval,
    /// Its histograms, in the order of [`StepInterval::latencies`].
    pub latencies: [Dense; 5],
    /// Response times that are service times, too, of those that succeeded and that failed: they count as both.
    pub same: [Dense; 2],
}

impl StepSum {
    fn finish(self) -> StepInterval {
        let (mut step, mut latencies) = (self.counts, self.latencies);
        for (outcome, same) in self.same.iter().enumerate() {
            latencies[outcome].add_sum(same);
            latencies[outcome + 2].add_sum(same);
        }
        for (histogram, sum) in step.latencies_mut().into_iter().zip(latencies) {
            *histogram = sum.sum();
        }
        step
    }
}

/// Many spans added up, of any length: as [`Rolled::follow`] does, but what it costs does not grow with the sum.
#[derive(Debug, Clone, Default)]
pub struct Sum {
    rest: Option<Rolled>,
    steps: BTreeMap<u16, StepSum>,
    scenarios: BTreeMap<u16, [Dense; 3]>,
    groups: BTreeMap<u16, Dense>,
}

impl Sum {
    /// Adds a span; its steps may also come alone.
    pub fn span(&mut self, mut span: Rolled) {
        for step in std::mem::take(&mut span.interval.steps).into_values() {
            self.step(&step);
        }
        for (index, scenario) in &mut span.interval.scenarios {
            let sums = self.scenarios.entry(*index).or_default();
            for (sum, one) in sums.iter_mut().zip(scenario.latencies_mut()) {
                sum.add(one);
                one.clear();
            }
        }
        for (index, group) in std::mem::take(&mut span.interval.groups) {
            self.groups.entry(index).or_default().add(&group);
        }
        match &mut self.rest {
            Some(rest) => rest.follow(&span),
            None => self.rest = Some(span),
        }
    }

    /// Adds a step of a span.
    pub fn step(&mut self, step: &StepInterval) {
        for (sum, one) in self.counted(step).latencies.iter_mut().zip(step.latencies()) {
            sum.add(one);
        }
    }

    /// Adds a step of a span without its histograms; they are to be added to what is returned.
    pub fn counted(&mut self, step: &StepInterval) -> &mut StepSum {
        let sum = self.steps.entry(step.step).or_default();
        sum.counts.step = step.step;
        sum.counts.merge_counts(step);
        sum
    }

    /// The sum as a span that begins at `second`; `None` when no span was added.
    pub fn finish(self, second: u32) -> Option<Rolled> {
        let mut all = self.rest?;
        all.interval.second = second;
        all.interval.steps.extend(self.steps.into_iter().map(|(index, step)| (index, step.finish())));
        for (index, latencies) in self.scenarios {
            let Some(scenario) = all.interval.scenarios.get_mut(&index) else { continue };
            for (histogram, sum) in scenario.latencies_mut().into_iter().zip(latencies) {
                *histogram = sum.sum();
            }
        }
        all.interval.groups = self.groups.into_iter().map(|(index, sum)| (index, sum.sum())).collect();
        Some(all)
    }
}

/// What thresholds call `http_req_duration` of a step: response time in open scenarios, service time in closed ones; answered requests.
pub fn durations_of(catalog: &Catalog, step: &StepInterval) -> LatencyHistogram {
    let scenario = catalog.steps.get(usize::from(step.step)).and_then(|meta| catalog.scenarios.get(usize::from(meta.scenario)));
    let open = scenario.is_some_and(|scenario| scenario.open);
    let [ok, failed] = if open { [&step.response_ok, &step.response_failed] } else { [&step.service_ok, &step.service_failed] };
    let mut all = ok.clone();
    all.merge(failed);
    all
}

/// Adds spans of one resolution, ascending, up to those of a coarser one.
pub fn roll_up(finer: impl IntoIterator<Item = Rolled>, into: Resolution) -> Vec<Rolled> {
    let mut spans: Vec<Rolled> = Vec::new();
    for one in finer {
        let first = into.floor(one.interval.second);
        match spans.last_mut() {
            Some(last) if last.interval.second == first => last.follow(&one),
            _ => {
                let mut interval = one.interval;
                interval.second = first;
                spans.push(Rolled { interval, ..one });
            }
        }
    }
    spans
}

/// Spans while what they are added up from comes piece by piece: heads first, the rest in any order. What came is not kept, so that it
/// takes as much memory as the spans, however much there is. The same as [`roll_up`].
#[derive(Debug)]
pub struct Rolling {
    into: Resolution,
    spans: BTreeMap<u32, Rolled>,
    /// VUs of what came, by its first second.
    vus: BTreeMap<u32, u64>,
}

impl Rolling {
    /// Nothing yet; from spans of the next finer resolution.
    pub fn new(into: Resolution) -> Self {
        Self { into, spans: BTreeMap::new(), vus: BTreeMap::new() }
    }

    /// Adds a finer span without its steps, scenarios and groups. What follows of spans whose head did not come is left out.
    pub fn head(&mut self, head: &Rolled) {
        let (second, first) = (head.interval.second, self.into.floor(head.interval.second));
        self.vus.insert(second, head.vus);
        let empty = || Rolled { interval: Interval { second: first, ..Interval::default() }, ..Rolled::default() };
        self.spans.entry(first).or_insert_with(empty).head(head);
    }

    /// Adds a step of the finer span that begins at `second`.
    pub fn step(&mut self, second: u32, step: &StepInterval) {
        if let Some(span) = self.span(second) {
            span.step(step);
        }
    }

    /// The same of a scenario. The VUs of a second are those of its scenarios.
    pub fn scenario(&mut self, second: u32, scenario: &ScenarioInterval) {
        if self.into.finer() == Some(Resolution::Second)
            && let Some(vus) = self.vus.get_mut(&second)
        {
            *vus += scenario.vus;
        }
        if let Some(span) = self.span(second) {
            span.scenario(scenario);
        }
    }

    /// The same of a group.
    pub fn group(&mut self, second: u32, group: u16, duration: &LatencyHistogram) {
        if let Some(span) = self.span(second) {
            span.group(group, duration);
        }
    }

    fn span(&mut self, second: u32) -> Option<&mut Rolled> {
        self.spans.get_mut(&self.into.floor(second)).filter(|_| self.vus.contains_key(&second))
    }

    /// The spans, ascending.
    pub fn finish(mut self) -> Vec<Rolled> {
        for (second, vus) in self.vus {
            if let Some(span) = self.spans.get_mut(&self.into.floor(second)) {
                span.vus = span.vus.max(vus);
            }
        }
        self.spans.into_values().collect()
    }
}

/// Figures of a span of a run, for charts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// First second.
    pub second: u32,
    /// Seconds of it that are stored.
    pub seconds: u32,
    /// Requests that ended.
    pub requests: u64,
    /// Of them failed.
    pub failed: u64,
    /// Median of the duration in microseconds; absent where nothing was answered.
    pub p50_us: Option<u64>,
    /// 95th percentile.
    pub p95_us: Option<u64>,
    /// 99th percentile.
    pub p99_us: Option<u64>,
    /// Most VUs at one time; absent for a single step.
    pub vus: Option<u64>,
    /// Starts that found no free VU; absent for a single step.
    pub dropped: Option<u64>,
}

/// Readings of one series in one span.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ReadingRoll {
    /// Readings.
    pub samples: u64,
    /// Least.
    pub min: f64,
    /// Greatest.
    pub max: f64,
    /// Sum.
    pub sum: f64,
    /// The newest.
    pub last: f64,
}

impl ReadingRoll {
    /// One reading.
    pub fn one(value: f64) -> Self {
        Self { samples: 1, min: value, max: value, sum: value, last: value }
    }

    /// Adds what came later.
    pub fn follow(&mut self, later: &Self) {
        self.samples += later.samples;
        self.min = self.min.min(later.min);
        self.max = self.max.max(later.max);
        self.sum += later.sum;
        self.last = later.last;
    }

    /// Mean of the readings.
    pub fn mean(&self) -> f64 {
        self.sum / self.samples as f64
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::model::failure::Reason;
    use crate::model::measure::Accounting;

    /// Rolled up as a database gives it: the heads, then the rows of each table, here from the last to the first.
    fn in_pieces(finer: &[Rolled], into: Resolution) -> Vec<Rolled> {
        let mut rolling = Rolling::new(into);
        for Rolled { interval, seconds, vus } in finer {
            let head = Interval { steps: BTreeMap::new(), scenarios: BTreeMap::new(), groups: BTreeMap::new(), ..interval.clone() };
            // A second knows its VUs from its scenarios only.
            let vus = if into == Resolution::TenSeconds { 0 } else { *vus };
            rolling.head(&Rolled { interval: head, seconds: *seconds, vus });
        }
        for Rolled { interval, .. } in finer.iter().rev() {
            interval.steps.values().for_each(|step| rolling.step(interval.second, step));
            interval.scenarios.values().for_each(|scenario| rolling.scenario(interval.second, scenario));
            interval.groups.iter().for_each(|(group, duration)| rolling.group(interval.second, *group, duration));
        }
        let unknown = StepInterval { ok: 1_000, ..StepInterval::default() };
        rolling.step(4_000_000, &unknown);
        rolling.finish()
    }

    fn second(second: u32, latencies: &[u64], vus: u64) -> Rolled {
        let step = StepInterval {
            step: 0,
            ok: latencies.len() as u64,
            failures: [(Reason::Status(500), u64::from(second % 3))].into(),
            resent: u64::from(second % 4),
            unheard: u64::from(second % 5),
            unanswered: u64::from(second % 6),
            service_ok: LatencyHistogram::from_us(latencies.iter().copied()),
            ..StepInterval::default()
        };
        let counts = Accounting { started: vus, dropped: 1, ..Accounting::default() };
        let durations = LatencyHistogram::from_us(latencies.iter().map(|us| us * 3));
        let scenario =
            ScenarioInterval { counts, vus, vus_busy: vus / 2, iteration_duration: durations.clone(), ..ScenarioInterval::default() };
        let (steps, scenarios, groups) = ([(0, step)].into(), [(0, scenario)].into(), [(1, durations)].into());
        Interval { second, steps, scenarios, groups, generator_cpu: Some(0.5), shards: 2, ..Interval::default() }.into()
    }

    proptest! {
        #[test]
        fn steps_over_resolutions_end_where_one_leap_does(
            seconds in vec((vec(1..1_000_000_u64, 0..6), 0..50_u64, any::<bool>()), 1..400)
        ) {
            let kept = seconds.iter().enumerate().filter(|(_, (.., stored))| *stored);
            let raw: Vec<Rolled> = kept.map(|(at, (latencies, vus, _))| second(at as u32, latencies, *vus)).collect();
            let by_ten = roll_up(raw.clone(), Resolution::TenSeconds);
            let by_minute = roll_up(by_ten, Resolution::Minute);
            prop_assert_eq!(&by_minute, &roll_up(raw.clone(), Resolution::Minute));
            let by_hour = roll_up(by_minute.clone(), Resolution::Hour);
            prop_assert_eq!(&by_hour, &roll_up(raw.clone(), Resolution::Hour));
            let piece_by_piece = in_pieces(&raw, Resolution::TenSeconds);
            prop_assert_eq!(&piece_by_piece, &roll_up(raw.clone(), Resolution::TenSeconds));
            prop_assert_eq!(&in_pieces(&piece_by_piece, Resolution::Minute), &by_minute);
            prop_assert_eq!(by_hour.iter().map(|span| span.seconds).sum::<u32>(), raw.len() as u32);
            let mut sum = Sum::default();
            raw.iter().cloned().for_each(|one| sum.span(one));
            prop_assert_eq!(sum.finish(0), by_hour.first().cloned());
            let catalog = Catalog::default();
            let all = LatencyHistogram::from_us(seconds.iter().filter(|(.., stored)| *stored).flat_map(|(latencies, ..)| latencies.clone()));
            for span in by_hour {
                let p95 = span.figures(&catalog, None).p95_us;
                prop_assert_eq!(p95, all.quantile(0.95).map(|latency| latency.as_micros() as u64));
            }
        }
    }

    #[test]
    fn of_vus_the_most_counts_and_of_cpu_the_sum() {
        let spans = roll_up([second(10, &[], 4), second(11, &[], 9), second(12, &[], 6)], Resolution::TenSeconds);
        let [span] = spans.as_slice() else { panic!("{spans:?}") };
        let scenario = &span.interval.scenarios[&0];
        assert_eq!((span.interval.second, span.seconds, span.vus), (10, 3, 9));
        assert_eq!((scenario.vus, scenario.vus_busy, scenario.counts.started), (9, 4, 19));
        assert_eq!((span.interval.generator_cpu, span.interval.shards, span.dropped()), (Some(1.5), 2, 3));
    }

    #[test]
    fn the_finest_that_is_kept_and_fits() {
        for (finest, seconds, points, expected) in [
            (Resolution::Second, 600, 600, Resolution::Second),
            (Resolution::Second, 601, 600, Resolution::TenSeconds),
            (Resolution::Second, 28_800, 600, Resolution::Minute),
            (Resolution::Minute, 30, 600, Resolution::Minute),
            (Resolution::Second, u32::MAX, 10, Resolution::Hour),
        ] {
            assert_eq!(Resolution::fitting(finest, seconds, points), expected, "{finest} {seconds} {points}");
        }
    }

    #[test]
    fn readings_keep_least_greatest_and_last() {
        let mut roll = ReadingRoll::one(2.0);
        roll.follow(&ReadingRoll::one(5.0));
        roll.follow(&ReadingRoll::one(-1.0));
        assert_eq!(roll, ReadingRoll { samples: 3, min: -1.0, max: 5.0, sum: 6.0, last: -1.0 });
        assert!((roll.mean() - 2.0).abs() < 1e-12);
    }
}
