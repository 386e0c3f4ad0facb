//! The seconds of a run as series for charts: one value per second, absent where nothing was measured.

use serde::Serialize;

use crate::model::catalog::Catalog;
use crate::model::histogram::LatencyHistogram;
use crate::model::measure::{Interval, StepInterval};

/// Series of a run; every list has one entry per second from `from` on.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct RunSeries {
    /// First second.
    pub from: u32,
    /// Requests that ended; absent where the second is not stored.
    pub requests: Vec<Option<u64>>,
    /// Of them failed.
    pub failed: Vec<Option<u64>>,
    /// Median of `http_req_duration` in microseconds; absent where nothing was answered.
    pub p50_us: Vec<Option<u64>>,
    /// 95th percentile.
    pub p95_us: Vec<Option<u64>>,
    /// 99th percentile.
    pub p99_us: Vec<Option<u64>>,
    /// VUs that exist.
    pub vus: Vec<Option<u64>>,
    /// Starts that found no free VU.
    pub dropped: Vec<Option<u64>>,
}

impl RunSeries {
    /// From intervals in ascending order, for the seconds `from <= second < to`.
    pub fn of(catalog: &Catalog, intervals: &[Interval], from: u32, to: u32) -> Self {
        let mut series = Self { from, ..Self::default() };
        let mut rest = intervals.iter().skip_while(|interval| interval.second < from).peekable();
        for second in from..to {
            series.push(catalog, rest.next_if(|interval| interval.second == second));
        }
        series
    }

    /// Adds the seconds that follow.
    pub fn append(&mut self, mut later: Self) {
        self.requests.append(&mut later.requests);
        self.failed.append(&mut later.failed);
        self.p50_us.append(&mut later.p50_us);
        self.p95_us.append(&mut later.p95_us);
        self.p99_us.append(&mut later.p99_us);
        self.vus.append(&mut later.vus);
        self.dropped.append(&mut later.dropped);
    }

    /// Seconds from the first to the last that is stored.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// True without any second.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    fn push(&mut self, catalog: &Catalog, interval: Option<&Interval>) {
        let sum = |pick: fn(&StepInterval) -> u64| interval.map(|interval| interval.steps.values().map(pick).sum());
        self.requests.push(sum(StepInterval::requests));
        self.failed.push(sum(StepInterval::failed));
        let duration = interval.map(|interval| duration_of(catalog, interval)).unwrap_or_default();
        let at = |quantile| duration.quantile(quantile).map(|latency| latency.as_micros() as u64);
        self.p50_us.push(at(0.5));
        self.p95_us.push(at(0.95));
        self.p99_us.push(at(0.99));
        self.vus.push(interval.map(|interval| interval.scenarios.values().map(|scenario| scenario.vus).sum()));
        self.dropped.push(interval.map(|interval| interval.scenarios.values().map(|scenario| scenario.counts.dropped).sum()));
    }
}

/// All `http_req_duration` values of a second: response time in open scenarios, service time in closed ones.
fn duration_of(catalog: &Catalog, interval: &Interval) -> LatencyHistogram {
    let mut all = LatencyHistogram::default();
    for (index, step) in &interval.steps {
        let scenario = catalog.steps.get(usize::from(*index)).and_then(|step| catalog.scenarios.get(usize::from(step.scenario)));
        let open = scenario.is_some_and(|scenario| scenario.open);
        let parts = if open { [&step.response_ok, &step.response_failed] } else { [&step.service_ok, &step.service_failed] };
        for part in parts {
            all.merge(part);
        }
    }
    all
}

/// Values for a chart.
pub fn floats(values: &[Option<u64>], factor: f64) -> Vec<Option<f64>> {
    values.iter().map(|value| value.map(|value| value as f64 * factor)).collect()
}
