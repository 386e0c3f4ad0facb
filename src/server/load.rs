//! Reads the series of a run from the store in pieces, so that a run of many hours never stands in memory as histograms. Charts take
//! the finest resolution that is kept and gives no more points than can be seen.

use std::collections::BTreeMap;

use super::error::ApiError;
use super::{Parts, stored};
use crate::model::Labels;
use crate::model::rollup::{Figures, Resolution};
use crate::model::run::Run;
use crate::report::series::RunSeries;
use crate::store::{FigureQuery, ReadingFilter, ReadingQuery, ReadingSeries};

/// Seconds read at a time.
const PIECE: u32 = 600;
/// Most seconds in one answer: 4 hours.
pub(super) const MAX_SECONDS: u32 = 14_400;

/// Seconds on the page of a run that is going on.
pub(super) const LIVE_SECONDS: u32 = 900;

/// Most points of a chart.
pub(super) const CHART_POINTS: u32 = 1_000;

/// The resolution in which `seconds` of a run are shown in at most `points`.
pub(super) async fn resolution(parts: &Parts, run: &Run, seconds: u32, points: u32) -> Result<Resolution, ApiError> {
    let kept = stored(parts.store.kept(&run.id)).await?;
    Ok(Resolution::fitting(kept.and_then(|kept| kept.finest).unwrap_or(Resolution::Hour), seconds, points))
}

/// Figures of a run for charts, one value per second: those of a longer span stand for each of its seconds.
pub(super) struct ChartSeries {
    pub(super) from: u32,
    pub(super) resolution: Resolution,
    length: usize,
    figures: Vec<Figures>,
}

impl ChartSeries {
    /// Reads `from <= second < to`.
    pub(super) async fn read(parts: &Parts, run: &Run, (from, to): (u32, u32), resolution: Resolution) -> Result<Self, ApiError> {
        let query = FigureQuery { run: run.id.clone(), step: None, resolution, from, to };
        let figures = stored(parts.store.figures(&query)).await?;
        Ok(Self { from, resolution, length: (to - from) as usize, figures })
    }

    /// Counts of events as rates per second.
    pub(super) fn rates(&self, pick: impl Fn(&Figures) -> Option<u64>) -> Vec<Option<f64>> {
        self.values(|one| pick(one).map(|count| count as f64 / f64::from(one.seconds.max(1))))
    }

    /// One value per second.
    pub(super) fn values(&self, pick: impl Fn(&Figures) -> Option<f64>) -> Vec<Option<f64>> {
        let spans = self.figures.iter().map(|one| (one.second, pick(one)));
        spread(spans, (self.from, self.length), self.resolution)
    }
}

/// Lays out values of spans second by second.
fn spread(spans: impl Iterator<Item = (u32, Option<f64>)>, (from, length): (u32, usize), resolution: Resolution) -> Vec<Option<f64>> {
    let mut values = vec![None; length];
    for (second, value) in spans {
        let start = (second.saturating_sub(from) as usize).min(length);
        let end = (second.saturating_add(resolution.seconds()).saturating_sub(from) as usize).min(length);
        values[start..end].fill(value);
    }
    values
}

/// Readings of one metric for a chart, one value per second: of a longer span the greatest.
pub(super) async fn probe_lines(
    parts: &Parts,
    run: &Run,
    metric: &str,
    (from, to): (u32, u32),
    resolution: Resolution,
) -> Result<Vec<ProbeSeries>, ApiError> {
    let query = ReadingQuery { run: run.id.clone(), metric: metric.to_owned(), resolution, from, to };
    let all = stored(parts.store.reading_series(&query)).await?;
    let line = |one: ReadingSeries| {
        let spans = one.spans.iter().map(|span| (span.second, Some(span.roll.max)));
        let values = spread(spans, (from, (to - from) as usize), resolution);
        ProbeSeries { probe: one.probe, metric: metric.to_owned(), labels: one.labels, values }
    };
    Ok(all.into_iter().map(line).collect())
}

/// Readings of one probe series as one value per second.
#[derive(Debug, serde::Serialize)]
pub(super) struct ProbeSeries {
    pub(super) probe: String,
    pub(super) metric: String,
    pub(super) labels: Labels,
    pub(super) values: Vec<Option<f64>>,
}

/// Seconds that a run has, or has had so far.
pub(super) fn seconds_of(parts: &Parts, run: &Run) -> u32 {
    if let Some(summary) = &run.summary {
        return (summary.seconds.ceil() as u32).max(1);
    }
    let until = run.ended_at.unwrap_or_else(|| parts.clock.now());
    u32::try_from(until.since(run.started_at).as_secs() + 1).unwrap_or(u32::MAX)
}

/// Series of requests for `from <= second < to`.
pub(super) async fn series(parts: &Parts, run: &Run, from: u32, to: u32) -> Result<RunSeries, ApiError> {
    let mut whole = RunSeries { from, ..RunSeries::default() };
    let mut start = from;
    while start < to {
        let end = start.saturating_add(PIECE).min(to);
        let intervals = stored(parts.store.intervals(&run.id, start, end)).await?;
        whole.append(RunSeries::of(&run.catalog, &intervals, start, end));
        start = end;
    }
    Ok(whole)
}

/// Series of one probe metric for `from <= second < to`.
pub(super) async fn readings(parts: &Parts, run: &Run, metric: &str, from: u32, to: u32) -> Result<Vec<ProbeSeries>, ApiError> {
    // A second of slack on both sides: readings carry their own moment.
    let moment = |second: u32| run.started_at.plus(std::time::Duration::from_secs(u64::from(second)));
    let (since, until) = (moment(from.saturating_sub(1)), moment(to.saturating_add(2)));
    let filter = ReadingFilter {
        run: Some(run.id.clone()),
        metric: Some(metric.to_owned()),
        from: Some(since),
        to: Some(until),
        ..ReadingFilter::default()
    };
    let readings = stored(parts.store.readings(&filter)).await?;
    let length = (to - from) as usize;
    let mut all: BTreeMap<(String, Labels), Vec<Option<f64>>> = BTreeMap::new();
    for reading in readings {
        let (Some(second), Ok(points)) = (reading.second, reading.points) else { continue };
        let Some(position) = second.checked_sub(from).map(|offset| offset as usize).filter(|offset| *offset < length) else { continue };
        for point in points.into_iter().filter(|point| point.metric == metric) {
            let values = all.entry((reading.probe.clone(), point.labels)).or_insert_with(|| vec![None; length]);
            values[position] = Some(point.value);
        }
    }
    let series = |((probe, labels), values)| ProbeSeries { probe, metric: metric.to_owned(), labels, values };
    Ok(all.into_iter().map(series).collect())
}
