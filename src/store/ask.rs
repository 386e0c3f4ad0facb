//! Questions about the series of a run: figures for charts, readings beside them, sums over any window. Long spans are answered from
//! roll-ups; what is not rolled up yet (the last minute of a run that goes on) is added up from seconds, a few minutes at a time.

use std::collections::BTreeMap;

use super::archive::{FigureQuery, Kept, ReadingQuery, ReadingSeries, ReadingSpan, Window};
use super::dialect::{Columns, Dialect, params};
use super::runs::Key;
use super::shared::{Tx, room};
use super::{MOST_ROWS, MOST_SECONDS, StoreResult, rollup, rollup_sql as sql, series};
use crate::model::Labels;
use crate::model::catalog::Catalog;
use crate::model::rollup::{Figures, ReadingRoll, Resolution, Rolled, Sum, roll_up};
use crate::model::run::RunId;

/// Seconds that stand in memory with their histograms at one time.
const PIECE: u32 = 300;

/// The key of a run and what is kept of its series.
pub(super) async fn kept<D: Dialect>(tx: &mut Tx<'_, D>, run: &RunId) -> StoreResult<Option<(Key, Kept)>> {
    let Some(key) = Key::find(tx, run).await? else { return Ok(None) };
    let read = |row: &mut Columns<'_, D>| Ok((Resolution::of_seconds(row.number()?), row.number()?));
    let found = tx.first(sql::FINEST, params![key.num], read).await?;
    Ok(found.map(|(finest, rolled_seconds)| (key, Kept { finest, rolled_seconds })))
}

impl Kept {
    /// Where spans of a resolution end: up to there they are stored as such, from there on they are made from seconds.
    fn stored_until(self, resolution: Resolution) -> u32 {
        if self.finest == Some(Resolution::Second) { resolution.floor(self.rolled_seconds) } else { u32::MAX }
    }

    fn has(self, resolution: Resolution) -> bool {
        self.finest.is_some_and(|finest| resolution >= finest)
    }
}

pub(super) async fn figures<D: Dialect>(tx: &mut Tx<'_, D>, query: &FigureQuery) -> StoreResult<Vec<Figures>> {
    let Some((key, kept)) = kept(tx, &query.run).await? else { return Ok(Vec::new()) };
    let (from, to, resolution) = (query.resolution.floor(query.from), query.to, query.resolution);
    let mut all = Vec::new();
    if !kept.has(resolution) {
        return Ok(all);
    }
    let stored = if resolution == Resolution::Second { from } else { kept.stored_until(resolution).clamp(from, to.max(from)) };
    if from < stored {
        let mut values = params![key.num, key.at(from), key.at(stored), resolution.seconds()].to_vec();
        let mut statement = sql::FIGURES;
        if let Some(step) = query.step {
            values.push(step.into());
            statement = sql::STEP_FIGURES;
        }
        all = tx.at_most(MOST_ROWS, statement, &values, read_figures).await?;
    }
    if stored < to {
        let catalog = catalog(tx, key).await?;
        let wanted = |span: &Rolled| query.step.is_none_or(|step| span.interval.steps.contains_key(&step));
        for_each_span(tx, key, resolution, (stored, to), |span| {
            if wanted(&span) {
                room(all.len(), MOST_ROWS)?;
                all.push(span.figures(&catalog, query.step));
            }
            Ok(())
        })
        .await?;
    }
    Ok(all)
}

async fn catalog<D: Dialect>(tx: &mut Tx<'_, D>, key: Key) -> StoreResult<Catalog> {
    #[expect(clippy::redundant_closure_for_method_calls, reason = "the bare method is not general over the row's lifetime")]
    let found = tx.first(sql::CATALOG, params![key.num], |row| row.json()).await?;
    Ok(found.unwrap_or_default())
}

fn read_figures<D: Dialect>(row: &mut Columns<'_, D>) -> StoreResult<Figures> {
    Ok(Figures {
        second: row.number()?,
        seconds: row.number()?,
        requests: row.number()?,
        failed: row.number()?,
        p50_us: row.opt_number()?,
        p95_us: row.opt_number()?,
        p99_us: row.opt_number()?,
        vus: row.opt_number()?,
        dropped: row.opt_number()?,
    })
}

/// Makes spans from seconds, a piece at a time; `from` is the beginning of one.
async fn for_each_span<D: Dialect>(
    tx: &mut Tx<'_, D>,
    key: Key,
    resolution: Resolution,
    (from, to): (u32, u32),
    mut take: impl FnMut(Rolled) -> StoreResult<()> + Send,
) -> StoreResult<()> {
    let end = to.div_ceil(resolution.seconds()).saturating_mul(resolution.seconds());
    let last = tx.maybe::<u32>(sql::LAST_SECOND, params![key.num]).await?;
    let end = end.min(last.map_or(0, |last| last.saturating_add(1)));
    let mut open: Option<Rolled> = None;
    let mut start = from;
    while start < end {
        let next = tx.maybe::<u32>(sql::NEXT_SECOND, params![key.num, key.at(start)]).await?;
        start = next.unwrap_or(end).clamp(start, end);
        let stop = start.saturating_add(PIECE).min(end);
        let seconds = series::list_of(tx, key, start, stop).await?;
        for span in roll_up(seconds.into_iter().map(Rolled::from), resolution) {
            match &mut open {
                Some(before) if before.interval.second == span.interval.second => before.follow(&span),
                _ => {
                    if let Some(whole) = open.replace(span) {
                        take(whole)?;
                    }
                }
            }
        }
        start = stop;
    }
    if let Some(whole) = open {
        take(whole)?;
    }
    Ok(())
}

pub(super) async fn rolled<D: Dialect>(
    tx: &mut Tx<'_, D>,
    run: &RunId,
    resolution: Resolution,
    from: u32,
    to: u32,
) -> StoreResult<Vec<Rolled>> {
    let Some((key, kept)) = kept(tx, run).await?.filter(|(_, kept)| kept.has(resolution)) else { return Ok(Vec::new()) };
    let from = resolution.floor(from);
    let stored = if resolution == Resolution::Second { from } else { kept.stored_until(resolution).clamp(from, to.max(from)) };
    let mut all = rollup::list(tx, key, resolution, from, stored).await?;
    if stored < to {
        for_each_span(tx, key, resolution, (stored, to), |span| {
            room(all.len(), MOST_SECONDS)?;
            all.push(span);
            Ok(())
        })
        .await?;
    }
    Ok(all)
}

pub(super) async fn merged<D: Dialect>(tx: &mut Tx<'_, D>, run: &RunId, from: u32, to: u32) -> StoreResult<Option<Window>> {
    let Some((key, kept)) = kept(tx, run).await? else { return Ok(None) };
    let Some(finest) = kept.finest else { return Ok(None) };
    let from = finest.floor(from);
    let to = to.div_ceil(finest.seconds()).saturating_mul(finest.seconds());
    let mut sum = Sum::default();
    let stored = kept.stored_until(Resolution::TenSeconds).min(to);
    let mut start = from;
    while start < stored {
        let (resolution, end) = stretch(finest, start, stored);
        // Coarse spans are few; of fine ones there is at most an hour.
        rollup::add(tx, key, resolution, (start, end), &mut sum).await?;
        start = end;
    }
    while start < to {
        // Second by second: the window need not end where a span does.
        let Some(next) = tx.maybe::<u32>(sql::NEXT_SECOND, params![key.num, key.at(start)]).await?.filter(|next| *next < to) else { break };
        let end = next.saturating_add(PIECE).min(to);
        rollup::add(tx, key, Resolution::Second, (next, end), &mut sum).await?;
        start = end;
    }
    Ok(sum.finish(from).map(|sum| Window { from, to, sum }))
}

/// The coarsest resolution that begins at `start` and fits in before `end`, and how far it goes until a coarser one begins.
fn stretch(finest: Resolution, start: u32, end: u32) -> (Resolution, u32) {
    let begins = |one: &Resolution| one.floor(start) == start && end - start >= one.seconds();
    let resolution = Resolution::ALL.iter().rev().copied().filter(|one| *one >= finest).find(begins).unwrap_or(finest);
    let length = resolution.seconds();
    let far = (start + length..=end).step_by(length as usize).take(60);
    let reached = far.take_while(|at| resolution.coarser().is_none_or(|coarser| coarser.floor(at - length) == coarser.floor(start))).last();
    (resolution, reached.unwrap_or(end))
}

pub(super) async fn readings<D: Dialect>(tx: &mut Tx<'_, D>, query: &ReadingQuery) -> StoreResult<Vec<ReadingSeries>> {
    let Some((key, kept)) = kept(tx, &query.run).await?.filter(|(_, kept)| kept.has(query.resolution)) else { return Ok(Vec::new()) };
    let (from, to, resolution) = (query.resolution.floor(query.from), query.to, query.resolution);
    let series: BTreeMap<i64, (String, Labels)> = tx
        .list(sql::SERIES_OF_METRIC, params![&query.metric], |row| Ok((row.int()?, (row.string()?, row.json()?))))
        .await?
        .into_iter()
        .collect();
    let mut spans: BTreeMap<(i64, u32), ReadingRoll> = BTreeMap::new();
    let stored = if resolution == Resolution::Second { from } else { kept.stored_until(resolution).clamp(from, to.max(from)) };
    if from < stored {
        let span = params![key.num, key.at(from), key.at(stored), resolution.seconds()];
        let values = [span.as_slice(), params![&query.metric]].concat();
        tx.each(sql::READING_SPANS_OF_METRIC, &values, |row| {
            room(spans.len(), MOST_ROWS)?;
            let (series, at, roll) = rollup::read_span(row)?;
            spans.insert((series, u32::try_from((at.0 - key.started_at.0) / 1_000_000).unwrap_or(0)), roll);
            Ok(())
        })
        .await?;
    }
    if stored < to {
        let end = to.div_ceil(resolution.seconds()).saturating_mul(resolution.seconds());
        tx.each(sql::RUN_READINGS, params![key.num, stored, end], |row| {
            room(spans.len(), MOST_ROWS)?;
            let second: u32 = row.number()?;
            for (number, value) in row.json::<Vec<(i64, f64)>>()? {
                if series.contains_key(&number) {
                    let roll = ReadingRoll::one(value);
                    spans.entry((number, resolution.floor(second))).and_modify(|sum| sum.follow(&roll)).or_insert(roll);
                }
            }
            Ok(())
        })
        .await?;
    }
    let mut all: Vec<ReadingSeries> = Vec::new();
    let mut last = None;
    for ((number, second), roll) in spans {
        let Some((probe, labels)) = series.get(&number) else { continue };
        if last != Some(number) {
            all.push(ReadingSeries { probe: probe.clone(), labels: labels.clone(), spans: Vec::new() });
            last = Some(number);
        }
        if let Some(one) = all.last_mut() {
            one.spans.push(ReadingSpan { second, roll });
        }
    }
    all.sort_by(|a, b| (&a.probe, &a.labels).cmp(&(&b.probe, &b.labels)));
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_laid_out_in_the_coarsest_spans() {
        let mut start = 3_598;
        let mut all = Vec::new();
        while start < 7_995 {
            let (resolution, end) = stretch(Resolution::Second, start, 7_995);
            all.push((resolution.as_str(), start, end));
            start = end;
        }
        let expected = [("1s", 3_598, 3_600), ("1h", 3_600, 7_200), ("1m", 7_200, 7_980), ("10s", 7_980, 7_990), ("1s", 7_990, 7_995)];
        assert_eq!(all, expected);
        assert_eq!(stretch(Resolution::TenSeconds, 50, 100), (Resolution::TenSeconds, 60));
    }
}
