//! Rolls up what is stored: seconds of runs into 10 s, 1 min and 1 h, readings beside them on the run's clock, readings between runs
//! on the wall clock. Piece by piece, each in one transaction that claims it, so that nothing is done twice and nothing half.
//! A piece is complete when something later is stored (the writer keeps the order); what comes late is rolled up again.

use std::collections::BTreeMap;

use super::dialect::{Columns, Dialect, Value, params};
use super::rollup_sql as sql;
use super::runs::Key;
use super::shared::{SqlStore, Tx};
use super::{MOST_SECONDS, StoreError, StoreResult, bundles, series, sql as raw};
use crate::model::catalog::Catalog;
use crate::model::measure::StepInterval;
use crate::model::rollup::{ReadingRoll, Resolution, Rolled, Rolling, Sum, durations_of};
use crate::model::run::{RunId, RunStatus};
use crate::model::series::Reading;
use crate::model::units::Timestamp;

/// Seconds of a run in one transaction.
const PIECE: u32 = 300;
/// Seconds that a run that goes on keeps back: its probes may answer late.
const LAG: u32 = 30;
/// Time between runs in one transaction.
const IDLE_PIECE: i64 = 6 * HOUR;
const MINUTE: i64 = 60_000_000;
const HOUR: i64 = 3_600_000_000;

/// A run that is not rolled up to its end.
struct Work {
    key: Key,
    ended: bool,
    from: u32,
    catalog: Catalog,
}

/// Rolls up at most `pieces`; returns how many were done: fewer when nothing is left.
pub(super) async fn work<D: Dialect>(store: &SqlStore<D>, pieces: u32) -> StoreResult<u32> {
    let mut done = 0;
    let mut after = 0;
    while done < pieces {
        let next = store.reading().await?.first(sql::UNROLLED, params![after], read_work).await?;
        let Some(work) = next else { break };
        after = work.key.num;
        done += run(store, work, pieces - done).await?;
    }
    if done < pieces {
        done += idle(store, pieces - done).await?;
    }
    Ok(done)
}

fn read_work<D: Dialect>(row: &mut Columns<'_, D>) -> StoreResult<Work> {
    let num = row.int()?;
    let _id = RunId(row.string()?);
    let key = Key { num, started_at: row.time()? };
    let status = row.word(RunStatus::parse)?;
    Ok(Work { key, ended: status != RunStatus::Running, from: row.number()?, catalog: row.json()? })
}

/// Rolls up one run as far as it is complete.
async fn run<D: Dialect>(store: &SqlStore<D>, work: Work, pieces: u32) -> StoreResult<u32> {
    let mut tx = store.reading().await?;
    let after = |second: Option<u32>| second.map_or(0, |second| second.saturating_add(1));
    let seconds = after(tx.maybe::<u32>(sql::LAST_SECOND, params![work.key.num]).await?);
    let readings = after(tx.maybe::<u32>(sql::LAST_READING, params![work.key.num]).await?);
    drop(tx);
    let until = if work.ended { seconds.max(readings) } else { Resolution::TenSeconds.floor(seconds.saturating_sub(LAG)) };
    let mut from = work.from;
    let mut done = 0;
    while done < pieces && (from < until || (work.ended && done == 0)) {
        let start = next(&mut store.reading().await?, work.key, from).await?.unwrap_or(until).clamp(from, until.max(from));
        let to = until.min(start.saturating_add(PIECE)).max(from);
        let all = work.ended && to == until;
        if !piece(store, &work, (from, start, to), all).await? {
            break;
        }
        from = to;
        done += 1;
    }
    Ok(done)
}

/// Beginning of the ten seconds in which the first second or reading of a run from `from` on lies.
async fn next<D: Dialect>(tx: &mut Tx<'_, D>, key: Key, from: u32) -> StoreResult<Option<u32>> {
    let second = tx.maybe::<u32>(sql::NEXT_SECOND, params![key.num, key.at(from)]).await?;
    let reading = tx.maybe::<u32>(sql::NEXT_READING, params![key.num, from]).await?;
    Ok(second.into_iter().chain(reading).min().map(|second| Resolution::TenSeconds.floor(second)))
}

/// Rolls up `from <= second < to`, where nothing is before `start`; false when somebody else did, or something came late meanwhile.
async fn piece<D: Dialect>(store: &SqlStore<D>, work: &Work, (from, start, to): (u32, u32, u32), all: bool) -> StoreResult<bool> {
    let key = work.key;
    let mut tx = store.reading().await?;
    let spans = rolled(&mut tx, key, (start, to), Resolution::TenSeconds).await?;
    let readings = readings_of(&mut tx, key, start, to).await?;
    drop(tx);
    let mut tx = store.writing().await?;
    if tx.execute(sql::CLAIM, params![key.num, from, to, u32::from(all)]).await? == 0 {
        return Ok(false);
    }
    replace(&mut tx, work, Resolution::TenSeconds, (from, to), &spans).await?;
    save_readings(&mut tx, key.num, Resolution::TenSeconds, &readings).await?;
    for resolution in [Resolution::Minute, Resolution::Hour] {
        // Spans that are complete now; of a run that has ended also the last one.
        let length = resolution.seconds();
        let (first, end) = (resolution.floor(from), if all { to.div_ceil(length).saturating_mul(length) } else { resolution.floor(to) });
        if first < end {
            coarser(&mut tx, work, resolution, (first, end)).await?;
        }
    }
    tx.commit().await?;
    Ok(true)
}

/// Makes the spans of `resolution` from those of the next finer one.
async fn coarser<D: Dialect>(tx: &mut Tx<'_, D>, work: &Work, resolution: Resolution, (from, to): (u32, u32)) -> StoreResult<()> {
    let Some(finer) = resolution.finer() else { return Ok(()) };
    let spans = rolled(tx, work.key, (from, to), resolution).await?;
    let span = params![work.key.num, work.key.at(from), work.key.at(to), finer.seconds()];
    let mut readings = Readings::new();
    let started_at = work.key.started_at.0;
    for (series, at, roll) in tx.list(sql::READING_SPANS, span, read_span).await? {
        let second = u32::try_from((at.0 - started_at) / 1_000_000).unwrap_or(0);
        follow(&mut readings, work.key.at(resolution.floor(second)), series, roll);
    }
    replace(tx, work, resolution, (from, to), &spans).await?;
    save_readings(tx, work.key.num, resolution, &readings).await
}

/// Where spans of a resolution are read, and how many of the values each statement takes.
struct Tables {
    heads: &'static str,
    scenarios: &'static str,
    groups: &'static str,
    steps: &'static str,
    values: usize,
}

impl Tables {
    fn of(resolution: Resolution) -> Self {
        if resolution == Resolution::Second {
            let (heads, scenarios, groups, steps) = (raw::INTERVALS, raw::SCENARIOS, raw::GROUPS, raw::STEPS);
            return Self { heads, scenarios, groups, steps, values: 3 };
        }
        Self { heads: sql::HEADS, scenarios: sql::SCENARIOS, groups: sql::GROUPS, steps: sql::STEPS, values: 4 }
    }

    /// Spans without their steps, scenarios and groups; of a second the VUs are not known yet.
    async fn heads<D: Dialect>(&self, tx: &mut Tx<'_, D>, values: &[Value<'_>]) -> StoreResult<Vec<Rolled>> {
        let raw = self.values == 3;
        tx.at_most(MOST_SECONDS, self.heads, values, |row| {
            let interval = series::read_head(row)?;
            let (seconds, vus) = if raw { (1, 0) } else { (row.number()?, row.number()?) };
            Ok(Rolled { interval, seconds, vus })
        })
        .await
    }
}

/// Rolls the next finer spans with `from <= second < to` up to those of `into`, row by row: it takes the memory of what comes out only.
async fn rolled<D: Dialect>(tx: &mut Tx<'_, D>, run: Key, (from, to): (u32, u32), into: Resolution) -> StoreResult<Vec<Rolled>> {
    let Some(finer) = into.finer() else { return Ok(Vec::new()) };
    let tables = Tables::of(finer);
    let span = params![run.num, run.at(from), run.at(to), finer.seconds()];
    let values = &span[..tables.values];
    let mut rolling = Rolling::new(into);
    tables.heads(tx, values).await?.iter().for_each(|head| rolling.head(head));
    tx.each(tables.scenarios, values, |row| {
        rolling.scenario(row.number()?, &series::read_scenario(row)?);
        Ok(())
    })
    .await?;
    tx.each(tables.groups, values, |row| {
        rolling.group(row.number()?, row.number()?, &row.histogram()?);
        Ok(())
    })
    .await?;
    let mut step = StepInterval::default();
    tx.each(tables.steps, values, |row| {
        let second = row.number()?;
        series::read_step_into(row, &mut step)?;
        rolling.step(second, &step);
        Ok(())
    })
    .await?;
    Ok(rolling.finish())
}

/// Spans of a run that begin at `from <= second < to`, ascending.
pub(super) async fn list<D: Dialect>(tx: &mut Tx<'_, D>, run: Key, resolution: Resolution, from: u32, to: u32) -> StoreResult<Vec<Rolled>> {
    let mut spans = spans(tx, run, resolution, from, to).await?;
    let tables = Tables::of(resolution);
    let span = params![run.num, run.at(from), run.at(to), resolution.seconds()];
    tx.each(tables.steps, &span[..tables.values], |row| {
        let (second, step): (u32, _) = (row.number()?, series::read_step(row)?);
        if let Some(span) = spans.get_mut(&second) {
            span.interval.steps.insert(step.step, step);
        }
        Ok(())
    })
    .await?;
    Ok(spans.into_values().collect())
}

/// The same without their steps, by their first second.
async fn spans<D: Dialect>(tx: &mut Tx<'_, D>, run: Key, resolution: Resolution, from: u32, to: u32) -> StoreResult<BTreeMap<u32, Rolled>> {
    let tables = Tables::of(resolution);
    let span = params![run.num, run.at(from), run.at(to), resolution.seconds()];
    let values = &span[..tables.values];
    let heads = tables.heads(tx, values).await?;
    let mut spans: BTreeMap<u32, Rolled> = heads.into_iter().map(|span| (span.interval.second, span)).collect();
    tx.each(tables.scenarios, values, |row| {
        let (second, scenario): (u32, _) = (row.number()?, series::read_scenario(row)?);
        if let Some(span) = spans.get_mut(&second) {
            if resolution == Resolution::Second {
                span.vus += scenario.vus;
            }
            span.interval.scenarios.insert(scenario.scenario, scenario);
        }
        Ok(())
    })
    .await?;
    tx.each(tables.groups, values, |row| {
        let (second, group): (u32, u16) = (row.number()?, row.number()?);
        let duration = row.histogram()?;
        if let Some(span) = spans.get_mut(&second) {
            span.interval.groups.insert(group, duration);
        }
        Ok(())
    })
    .await?;
    Ok(spans)
}

/// Adds spans of a run that begin at `from <= second < to`; steps one by one, without keeping them.
pub(super) async fn add<D: Dialect>(
    tx: &mut Tx<'_, D>,
    run: Key,
    resolution: Resolution,
    (from, to): (u32, u32),
    sum: &mut Sum,
) -> StoreResult<()> {
    for span in spans(tx, run, resolution, from, to).await?.into_values() {
        sum.span(span);
    }
    if resolution == Resolution::Second {
        return bundles::add(tx, run, (from, to), sum).await;
    }
    let span = params![run.num, run.at(from), run.at(to), resolution.seconds()];
    let mut step = StepInterval::default();
    tx.each(sql::STEPS, span, |row| {
        let _second: u32 = row.number()?;
        series::read_step_into(row, &mut step)?;
        sum.step(&step);
        Ok(())
    })
    .await
}

async fn replace<D: Dialect>(
    tx: &mut Tx<'_, D>,
    work: &Work,
    resolution: Resolution,
    (from, to): (u32, u32),
    spans: &[Rolled],
) -> StoreResult<()> {
    let (run, length) = (work.key, resolution.seconds());
    for delete in sql::DELETE_SPANS {
        tx.execute(delete, params![run.num, run.at(from), run.at(to), length]).await?;
    }
    for span in spans {
        let (second, interval) = (span.interval.second, &span.interval);
        let figures = span.figures(&work.catalog, None);
        let stall_us = u64::try_from(interval.generator_stall.as_micros()).unwrap_or(u64::MAX);
        let mut head = params![run.num, length, run.at(second), second, span.seconds, stall_us, interval.generator_cpu].to_vec();
        head.extend_from_slice(params![interval.shards, figures.requests, figures.failed, span.vus, span.dropped()]);
        head.extend([figures.p50_us, figures.p95_us, figures.p99_us].map(microseconds));
        tx.execute(sql::INSERT_HEAD, &head).await?;
        for (index, step) in &interval.steps {
            let durations = durations_of(&work.catalog, step);
            let mut values = series::step_values(run, second, *index, step)?;
            values.push(length.into());
            values.extend([0.5, 0.95, 0.99].map(|at| microseconds(durations.quantile(at).map(|latency| latency.as_micros() as u64))));
            tx.execute(sql::INSERT_STEP, &values).await?;
        }
        for (index, scenario) in &interval.scenarios {
            let mut values = series::scenario_values(run, second, *index, scenario)?;
            values.push(length.into());
            tx.execute(sql::INSERT_SCENARIO, &values).await?;
        }
        for (index, duration) in &interval.groups {
            let mut values = params![run.num, run.at(second), second, *index].to_vec();
            values.extend([Value::histogram(duration), length.into()]);
            tx.execute(sql::INSERT_GROUP, &values).await?;
        }
    }
    Ok(())
}

fn microseconds(us: Option<u64>) -> Value<'static> {
    us.map_or(Value::Int(None), Value::from)
}

/// Readings by the start of their span and their series.
type Readings = BTreeMap<(Timestamp, i64), ReadingRoll>;

fn follow(readings: &mut Readings, at: Timestamp, series: i64, roll: ReadingRoll) {
    readings.entry((at, series)).and_modify(|sum| sum.follow(&roll)).or_insert(roll);
}

pub(super) fn read_span<D: Dialect>(row: &mut Columns<'_, D>) -> StoreResult<(i64, Timestamp, ReadingRoll)> {
    let (series, at) = (row.int()?, row.time()?);
    let samples = row.number()?;
    let mut real = || row.opt_real()?.ok_or_else(|| StoreError::Corrupt("a roll-up of readings holds NULL".into()));
    Ok((series, at, ReadingRoll { samples, min: real()?, max: real()?, sum: real()?, last: real()? }))
}

/// Readings of a run in spans of ten seconds of its clock.
async fn readings_of<D: Dialect>(tx: &mut Tx<'_, D>, run: Key, from: u32, to: u32) -> StoreResult<Readings> {
    let mut readings = Readings::new();
    tx.each(sql::RUN_READINGS, params![run.num, from, to], |row| {
        let second: u32 = row.number()?;
        for (series, value) in row.json::<Vec<(i64, f64)>>()? {
            follow(&mut readings, run.at(Resolution::TenSeconds.floor(second)), series, ReadingRoll::one(value));
        }
        Ok(())
    })
    .await?;
    Ok(readings)
}

async fn save_readings<D: Dialect>(tx: &mut Tx<'_, D>, run: i64, resolution: Resolution, readings: &Readings) -> StoreResult<()> {
    for ((at, series), roll) in readings {
        let numbers = [roll.min, roll.max, roll.sum, roll.last].map(|number| Value::from(Some(number)));
        let values = [params![run, resolution.seconds(), *at, *series, roll.samples].as_slice(), &numbers].concat();
        tx.execute(sql::INSERT_READING, &values).await?;
    }
    Ok(())
}

/// Rolls up readings that were taken between runs.
async fn idle<D: Dialect>(store: &SqlStore<D>, pieces: u32) -> StoreResult<u32> {
    let probes = store.reading().await?.list(sql::PROBES, &[], |row| Ok((row.int()?, row.int()?))).await?;
    let mut newest = Vec::with_capacity(probes.len());
    for (probe, _) in &probes {
        newest.push(store.reading().await?.maybe::<i64>(sql::NEWEST_READING, params![*probe]).await?.unwrap_or(0));
    }
    let overall = newest.iter().copied().max().unwrap_or(0);
    let mut done = 0;
    for ((probe, mut from), newest) in probes.into_iter().zip(newest) {
        // A probe that fell silent while others went on will not complete its last span.
        let silent = newest < overall - HOUR && newest > 0;
        let until = if silent { (newest / HOUR + 1) * HOUR } else { newest / MINUTE * MINUTE };
        while from < until && done < pieces {
            let next = store.reading().await?.maybe::<i64>(sql::FIRST_READING_SINCE, params![probe, from]).await?;
            let start = next.unwrap_or(until) / HOUR * HOUR;
            let to = until.min(start.max(from) + IDLE_PIECE);
            if !idle_piece(store, probe, (from, start.max(from), to)).await? {
                break;
            }
            from = to;
            done += 1;
        }
    }
    Ok(done)
}

/// Rolls up a probe's readings between runs with `start <= at < to`; there are none from `claimed` to `start`.
async fn idle_piece<D: Dialect>(store: &SqlStore<D>, probe: i64, (claimed, start, to): (i64, i64, i64)) -> StoreResult<bool> {
    let mut minutes = Readings::new();
    let mut tx = store.reading().await?;
    tx.each(sql::IDLE_READINGS, params![probe, start, to], |row| {
        let at = Timestamp(row.int()? / MINUTE * MINUTE);
        for (series, value) in row.json::<Vec<(i64, f64)>>()? {
            follow(&mut minutes, at, series, ReadingRoll::one(value));
        }
        Ok(())
    })
    .await?;
    drop(tx);
    let mut tx = store.writing().await?;
    if tx.execute(sql::CLAIM_PROBE, params![probe, claimed, to]).await? == 0 {
        return Ok(false);
    }
    tx.execute(sql::DELETE_IDLE_SPANS, params![probe, start, to, Resolution::Minute.seconds()]).await?;
    save_readings(&mut tx, 0, Resolution::Minute, &minutes).await?;
    let (first, end) = (start / HOUR * HOUR, to / HOUR * HOUR);
    if first < end {
        let mut hours = Readings::new();
        for (series, at, roll) in tx.list(sql::IDLE_SPANS, params![probe, first, end, Resolution::Minute.seconds()], read_span).await? {
            follow(&mut hours, Timestamp(at.0 / HOUR * HOUR), series, roll);
        }
        tx.execute(sql::DELETE_IDLE_SPANS, params![probe, first, end, Resolution::Hour.seconds()]).await?;
        save_readings(&mut tx, 0, Resolution::Hour, &hours).await?;
    }
    tx.commit().await?;
    Ok(true)
}

/// What a batch brought: the earliest second of each run, and the earliest reading of each probe between runs.
#[derive(Default)]
pub(super) struct Came {
    runs: BTreeMap<i64, u32>,
    probes: BTreeMap<i64, Timestamp>,
}

impl Came {
    pub(super) fn second(&mut self, run: i64, second: u32) {
        self.runs.entry(run).and_modify(|first| *first = second.min(*first)).or_insert(second);
    }

    pub(super) fn reading(&mut self, run: Option<i64>, probe: i64, reading: &Reading) {
        match (run, reading.second) {
            (Some(run), Some(second)) => self.second(run, second),
            (Some(_), None) => {}
            (None, _) => {
                self.probes.entry(probe).and_modify(|first| *first = reading.at.min(*first)).or_insert(reading.at);
            }
        }
    }

    /// Notes what is rolled up already, so that it is done again.
    pub(super) async fn note<D: Dialect>(self, tx: &mut Tx<'_, D>) -> StoreResult<()> {
        for (run, second) in self.runs {
            tx.execute(sql::LATE, params![run, second]).await?;
        }
        for (probe, at) in self.probes {
            tx.execute(sql::LATE_READING, params![probe, at]).await?;
        }
        Ok(())
    }
}
