//! The deed of retention: removes what a plan names, a bounded stretch at a time. Looks again before each stretch: what was pinned or
//! came late since the plan was made stays, and seconds that roll-ups do not hold are rolled up instead of deleted.

use super::dialect::{Columns, Dialect, Value, params};
use super::runs::Key;
use super::shared::{SqlStore, Tx, limit_or_default};
use super::{StoreResult, retention_sql as sql, rollup_sql};
use crate::model::retention::{KeptRun, Pin, Record, Removal};
use crate::model::rollup::Resolution;
use crate::model::run::{RunId, RunStatus};
use crate::model::units::Timestamp;

/// Time of a run of which everything is deleted in one transaction: ten minutes of seconds.
const STRETCH: i64 = 600 * SECOND;
/// The same of readings between runs.
const IDLE_STRETCH: i64 = 86_400 * SECOND;
/// Records that are deleted in one transaction.
const RECORDS: u32 = 2_000;
const SECOND: i64 = 1_000_000;

/// What one batch of a removal did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Batch {
    /// Rows that were deleted.
    pub rows: u64,
    /// Nothing is left to remove.
    pub done: bool,
}

pub(super) async fn kept_runs<D: Dialect>(tx: &mut Tx<'_, D>, after: Option<&RunId>, limit: u32) -> StoreResult<Vec<KeptRun>> {
    let values = [Value::from(after.map(|run| run.0.as_str())), limit_or_default(limit)];
    tx.list(sql::KEPT_RUNS, &values, read).await
}

fn read<D: Dialect>(row: &mut Columns<'_, D>) -> StoreResult<KeptRun> {
    let (id, profile) = (RunId(row.string()?), row.string()?);
    let (started_at, ended_at, rolled) = (row.time()?, row.opt_time()?, row.int()? != 0);
    let (finest, pin, status) = (Resolution::of_seconds(row.number()?), row.opt_word(Pin::parse)?, row.word(RunStatus::parse)?);
    let going = status == RunStatus::Running;
    Ok(KeptRun { id, profile, started_at, ended_at: ended_at.filter(|_| !going), rolled, finest, pin })
}

pub(super) async fn pin<D: Dialect>(tx: &mut Tx<'_, D>, run: &RunId, pin: Option<Pin>) -> StoreResult<bool> {
    Ok(tx.execute(sql::PIN, params![run, pin.map(Pin::as_str)]).await? > 0)
}

pub(super) async fn pinned<D: Dialect>(tx: &mut Tx<'_, D>, run: &RunId) -> StoreResult<Option<Pin>> {
    Ok(tx.first(sql::PINNED, params![run], |row| row.opt_word(Pin::parse)).await?.flatten())
}

/// Removes a part of what `removal` names.
pub(super) async fn remove<D: Dialect>(store: &SqlStore<D>, removal: &Removal) -> StoreResult<Batch> {
    let mut tx = store.writing().await?;
    let batch = match removal {
        Removal::Readings { resolution, before } => readings(&mut tx, *resolution, *before).await?,
        Removal::Records { record, before } => records(&mut tx, *record, *before).await?,
        Removal::Series { run, up_to, .. } => series(&mut tx, &run.id, *up_to, true).await?,
        Removal::Run { run, .. } => {
            let batch = series(&mut tx, &run.id, Resolution::Hour, false).await?;
            if batch.done { whole(&mut tx, &run.id).await? } else { batch }
        }
    };
    tx.commit().await?;
    Ok(batch)
}

async fn records<D: Dialect>(tx: &mut Tx<'_, D>, record: Record, before: Timestamp) -> StoreResult<Batch> {
    let statement = match record {
        Record::Ticks => sql::DELETE_TICKS,
        Record::Alerts => sql::DELETE_TRANSITIONS,
        Record::Messages => sql::DELETE_MESSAGES,
    };
    let rows = tx.execute(statement, params![before, RECORDS]).await?;
    Ok(Batch { rows, done: rows < u64::from(RECORDS) })
}

async fn whole<D: Dialect>(tx: &mut Tx<'_, D>, run: &RunId) -> StoreResult<Batch> {
    let Some(key) = removable(tx, run).await?.map(|(key, ..)| key) else { return Ok(Batch { rows: 0, done: true }) };
    Ok(Batch { rows: tx.execute(sql::DELETE_RUN, params![key.num]).await?, done: true })
}

/// The key of a run that may still be touched, its finest resolution, and whether all of it is rolled up.
async fn removable<D: Dialect>(tx: &mut Tx<'_, D>, run: &RunId) -> StoreResult<Option<(Key, Option<Resolution>, bool)>> {
    let Some(key) = Key::find(tx, run).await? else { return Ok(None) };
    let state = tx.first(sql::STATE, params![key.num], |row| Ok((Resolution::of_seconds(row.number()?), row.int()? != 0))).await?;
    Ok(state.map(|(finest, rolled)| (key, finest, rolled)))
}

/// Removes a stretch of the finest resolution of a run, up to `up_to`; `careful`: only what coarser ones hold.
async fn series<D: Dialect>(tx: &mut Tx<'_, D>, run: &RunId, up_to: Resolution, careful: bool) -> StoreResult<Batch> {
    let nothing = Batch { rows: 0, done: true };
    let Some((key, finest, rolled)) = removable(tx, run).await? else { return Ok(nothing) };
    let Some(finest) = finest.filter(|finest| *finest <= up_to) else { return Ok(nothing) };
    if careful && finest == Resolution::Second && (!rolled || !held(tx, run).await?) {
        return Ok(nothing);
    }
    let first = first(tx, key, finest).await?;
    let Some(first) = first else {
        let next = finest.coarser();
        tx.execute(sql::COARSER, params![key.num, next.map_or(0, Resolution::seconds)]).await?;
        return Ok(Batch { rows: 0, done: next.is_none_or(|next| next > up_to) });
    };
    let span = params![key.num, first, Timestamp(first.0 + STRETCH * i64::from(finest.seconds()))];
    let mut rows = 0;
    if finest == Resolution::Second {
        for delete in sql::DELETE_SECONDS.into_iter().chain([sql::DELETE_READINGS]) {
            rows += tx.execute(delete, span).await?;
        }
    } else {
        let values = [span.as_slice(), params![finest.seconds()]].concat();
        for delete in rollup_sql::DELETE_SPANS {
            rows += tx.execute(delete, &values).await?;
        }
    }
    Ok(Batch { rows, done: false })
}

/// The moment at which what is kept of a resolution begins.
async fn first<D: Dialect>(tx: &mut Tx<'_, D>, key: Key, resolution: Resolution) -> StoreResult<Option<Timestamp>> {
    let (seconds, readings) = if resolution == Resolution::Second {
        let run = params![key.num];
        (tx.maybe(sql::FIRST_SECOND, run).await?, tx.maybe(sql::FIRST_READING, run).await?)
    } else {
        let run = params![key.num, resolution.seconds()];
        (tx.maybe(sql::FIRST_SPAN, run).await?, tx.maybe(sql::FIRST_READING_SPAN, run).await?)
    };
    Ok(seconds.into_iter().chain(readings).min().map(Timestamp))
}

/// True when roll-ups hold every second that is stored; else they are made again, and the seconds stay until the next round. What a
/// round has begun to delete is less than what they hold.
pub(super) async fn held<D: Dialect>(tx: &mut Tx<'_, D>, run: &RunId) -> StoreResult<bool> {
    let key = Key::of(tx, run).await?;
    let stored = tx.number(sql::SECONDS, params![key.num]).await?;
    let rolled = tx.number(sql::ROLLED_SECONDS, params![key.num]).await?;
    if stored > rolled {
        tracing::warn!(run_id = %run, stored, rolled, "seconds are not in the roll-ups of their run; it is rolled up again");
        tx.execute(sql::ROLL_AGAIN, params![key.num]).await?;
    }
    Ok(stored <= rolled)
}

/// Removes a stretch of readings between runs.
async fn readings<D: Dialect>(tx: &mut Tx<'_, D>, resolution: Resolution, before: Timestamp) -> StoreResult<Batch> {
    if resolution != Resolution::Second {
        let first = tx.maybe::<i64>(sql::FIRST_READING_SPAN, params![0_u32, resolution.seconds()]).await?;
        let Some(first) = first.filter(|first| *first < before.0) else { return Ok(Batch { rows: 0, done: true }) };
        let end = before.0.min(first + IDLE_STRETCH);
        let rows = tx.execute(sql::DELETE_IDLE_SPANS, params![resolution.seconds(), first, end]).await?;
        return Ok(Batch { rows, done: false });
    }
    let probes = tx.list(rollup_sql::PROBES, &[], |row| Ok((row.int()?, row.int()?, row.int()?))).await?;
    for (probe, rolled_until, kept_since) in probes {
        // Only whole days, so that a round every hour does not go over the same day each time; only what is rolled up.
        let end = before.0.min(rolled_until) / IDLE_STRETCH * IDLE_STRETCH;
        if kept_since >= end {
            continue;
        }
        let first = tx.maybe::<i64>(rollup_sql::FIRST_READING_SINCE, params![probe, kept_since]).await?.unwrap_or(end);
        let stop = end.min(first.max(kept_since) / IDLE_STRETCH * IDLE_STRETCH + IDLE_STRETCH);
        let rows = tx.execute(sql::DELETE_IDLE_READINGS, params![probe, kept_since, stop]).await?;
        tx.execute(sql::KEPT_SINCE, params![probe, stop]).await?;
        return Ok(Batch { rows, done: false });
    }
    Ok(Batch { rows: 0, done: true })
}
