//! Probe readings: one row per reading, its points as `[[series, value], …]`. Names and labels of a series are kept once,
//! in the tables `probes` and `series`; their numbers are remembered here, so that a reading costs one statement.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::dialect::{Columns, Dialect, params};
use super::runs::Key;
use super::shared::{Tx, json, room};
use super::{MOST_ROWS, ReadingFilter, StoreError, StoreResult, sql};
use crate::model::Labels;
use crate::model::series::{Point, Reading};
use crate::model::units::Timestamp;

/// Most series whose numbers are remembered; beyond that (labels that never repeat) remembering starts anew.
const MOST_REMEMBERED: usize = 50_000;

type Probe = (String, String);
type Series = (i64, String, String);

#[derive(Debug, Clone, Default)]
struct Numbers {
    probes: HashMap<Probe, i64>,
    series: HashMap<Series, i64>,
}

/// Numbers of probes and series that are known to be stored.
#[derive(Default)]
pub(super) struct SeriesKeys(Mutex<Arc<Numbers>>);

/// Numbers as one transaction sees them: those known before, and those it made.
pub(super) struct NewKeys {
    known: Arc<Numbers>,
    new: Numbers,
}

impl SeriesKeys {
    pub(super) fn begin(&self) -> NewKeys {
        NewKeys { known: self.0.lock().unwrap_or_else(PoisonError::into_inner).clone(), new: Numbers::default() }
    }

    /// Remembers what a transaction made, once it is committed.
    pub(super) fn learn(&self, keys: NewKeys) {
        if keys.new.series.is_empty() && keys.new.probes.is_empty() {
            return;
        }
        drop(keys.known);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let numbers = Arc::make_mut(&mut known);
        if numbers.series.len() > MOST_REMEMBERED {
            *numbers = Numbers::default();
        }
        numbers.probes.extend(keys.new.probes);
        numbers.series.extend(keys.new.series);
    }
}

impl NewKeys {
    async fn probe<D: Dialect>(&mut self, tx: &mut Tx<'_, D>, reading: &Reading) -> StoreResult<i64> {
        let key = (reading.target.clone(), reading.probe.clone());
        if let Some(num) = self.known.probes.get(&key).or_else(|| self.new.probes.get(&key)) {
            return Ok(*num);
        }
        let num = tx.number(sql::PROBE_KEY, params![&key.0, &key.1]).await?;
        self.new.probes.insert(key, num);
        Ok(num)
    }

    async fn series<D: Dialect>(&mut self, tx: &mut Tx<'_, D>, probe: i64, point: &Point) -> StoreResult<i64> {
        let key = (probe, point.metric.clone(), json(&point.labels)?);
        if let Some(num) = self.known.series.get(&key).or_else(|| self.new.series.get(&key)) {
            return Ok(*num);
        }
        let num = tx.number(sql::SERIES_KEY, params![probe, &key.1, &key.2]).await?;
        self.new.series.insert(key, num);
        Ok(num)
    }
}

/// Writes a reading; one of the same probe and moment is replaced. Points that are not finite were not measured: they are left out.
/// Returns the number of its probe.
pub(super) async fn save<D: Dialect>(tx: &mut Tx<'_, D>, keys: &mut NewKeys, run: Option<i64>, reading: &Reading) -> StoreResult<i64> {
    let probe = keys.probe(tx, reading).await?;
    let (points, error) = match &reading.points {
        Err(error) => (None, Some(error.as_str())),
        Ok(points) => {
            let mut pairs = Vec::with_capacity(points.len());
            for point in points.iter().filter(|point| point.value.is_finite()) {
                pairs.push((keys.series(tx, probe, point).await?, point.value));
            }
            (Some(json(&pairs)?), None)
        }
    };
    tx.execute(sql::SAVE_READING, params![probe, reading.at, run, reading.second, points, error]).await?;
    Ok(probe)
}

/// Readings that `filter` asks for, ascending in time.
pub(super) async fn list<D: Dialect>(tx: &mut Tx<'_, D>, filter: &ReadingFilter) -> StoreResult<Vec<Reading>> {
    let mut readings = Vec::new();
    let mut keep = |reading| {
        room(readings.len(), MOST_ROWS)?;
        readings.push(reading);
        Ok(())
    };
    each(tx, filter, &mut keep).await?;
    Ok(readings)
}

/// Shows them to `take`, whose error ends it.
pub(super) async fn each<D: Dialect>(
    tx: &mut Tx<'_, D>,
    filter: &ReadingFilter,
    take: &mut (dyn FnMut(Reading) -> StoreResult<()> + Send),
) -> StoreResult<()> {
    let series: HashMap<i64, (String, Labels)> = tx
        .list(sql::SERIES, params![&filter.target, &filter.metric], |row| Ok((row.int()?, (row.string()?, row.json()?))))
        .await?
        .into_iter()
        .collect();
    let span = [filter.from.unwrap_or(Timestamp(i64::MIN)), filter.to.unwrap_or(Timestamp(i64::MAX))];
    let mut values = params![&filter.target, &filter.metric, span[0], span[1]].to_vec();
    let mut statement = sql::READINGS;
    if let Some(run) = &filter.run {
        let Some(run) = Key::find(tx, run).await? else { return Ok(()) };
        values.push(run.num.into());
        statement = sql::READINGS_OF_RUN;
    }
    let some_only = filter.metric.is_some();
    tx.each(statement, &values, |row| {
        let reading = read(row, &series, some_only)?;
        if !some_only || reading.points.as_ref().is_ok_and(|points| !points.is_empty()) {
            take(reading)?;
        }
        Ok(())
    })
    .await
}

fn read<D: Dialect>(row: &mut Columns<'_, D>, series: &HashMap<i64, (String, Labels)>, some_only: bool) -> StoreResult<Reading> {
    let (target, probe, at, second) = (row.string()?, row.string()?, row.time()?, row.opt_number()?);
    let pairs: Option<Vec<(i64, f64)>> = row.opt_json()?;
    let error = row.opt_string()?;
    let points = match (pairs, error) {
        (None, error) => Err(error.unwrap_or_default()),
        (Some(pairs), _) => {
            let mut points = Vec::with_capacity(pairs.len());
            for (num, value) in pairs {
                match series.get(&num) {
                    Some((metric, labels)) => points.push(Point { metric: metric.clone(), labels: labels.clone(), value }),
                    None if some_only => {}
                    None => return Err(StoreError::Corrupt(format!("a reading names series {num}, which does not exist"))),
                }
            }
            Ok(points)
        }
    };
    Ok(Reading { target, probe, at, second, points })
}
