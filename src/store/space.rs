//! Space that deleted rows leave: SQLite gives pages back in small steps (incremental vacuum), PostgreSQL drops partitions of whole
//! weeks. A SQLite file that was made without that keeps its size and uses the pages again, until it is compacted once.

use sqlx::{Postgres, Sqlite};

use super::dialect::{Columns, Dialect, params};
use super::shared::{SqlStore, Tx};
use super::{StoreResult, retention, retention_sql as sql};
use crate::model::retention::{KeptRun, Removal};
use crate::model::rollup::Resolution;
use crate::model::units::Timestamp;

/// Weeks for which partitions are made ahead.
const WEEKS_AHEAD: u32 = 4;
/// Steps of an incremental vacuum in one call: with pages of 4 kB, 400 MB.
const STEPS: u32 = 100;
/// Runs read at a time.
const PAGE: u32 = 1_000;
/// `PRAGMA auto_vacuum` of a file that gives pages back in steps.
const INCREMENTAL: i64 = 2;

/// How a database keeps its space.
pub(super) trait Space {
    /// Series are in partitions by time.
    const PARTITIONS: bool;
    /// Free pages are given back in steps.
    const PAGES: bool;
}

impl Space for Sqlite {
    const PARTITIONS: bool = false;
    const PAGES: bool = true;
}

impl Space for Postgres {
    const PARTITIONS: bool = true;
    const PAGES: bool = false;
}

/// What became of the space of deleted rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Returned {
    /// Bytes that went back to the file system.
    pub returned_bytes: u64,
    /// Bytes of the file that are free and used again before it grows.
    pub free_bytes: u64,
    /// The file cannot shrink until it is compacted once.
    pub needs_compacting: bool,
}

/// Gives free pages back, a bounded number.
pub(super) async fn give_back<D: Dialect>(store: &SqlStore<D>) -> StoreResult<Returned> {
    if !D::PAGES {
        return Ok(Returned::default());
    }
    let mut tx = store.reading().await?;
    let (mode, size) = (tx.number(sql::AUTO_VACUUM, &[]).await?, tx.number(sql::PAGE_SIZE, &[]).await?);
    let before = tx.number(sql::FREE_PAGES, &[]).await?;
    drop(tx);
    let bytes = |pages: i64| u64::try_from(pages * size).unwrap_or(0);
    let mut left = before;
    for _ in 0..STEPS {
        if mode != INCREMENTAL || left == 0 {
            break;
        }
        let mut tx = store.writing().await?;
        tx.list(sql::VACUUM_STEP, &[], |_| Ok(())).await?;
        let now = tx.number(sql::FREE_PAGES, &[]).await?;
        tx.commit().await?;
        if now >= left {
            break;
        }
        left = now;
    }
    let needs_compacting = mode != INCREMENTAL && left > 0;
    Ok(Returned { returned_bytes: bytes(before - left), free_bytes: bytes(left), needs_compacting })
}

/// Writes a SQLite file anew, without free pages, and so that it can give pages back from now on. Needs as much free space as the
/// file is large, and nobody can write meanwhile.
pub(super) async fn compact<D: Dialect>(store: &SqlStore<D>) -> StoreResult<()> {
    if !D::PAGES {
        return Ok(());
    }
    store.alone(&[sql::VACUUM_FROM_NOW_ON, sql::VACUUM]).await
}

/// Makes the partitions of the coming weeks, and of what was written before they were there.
pub(super) async fn prepare_partitions<D: Dialect>(store: &SqlStore<D>, now: Timestamp) -> StoreResult<u64> {
    if !D::PARTITIONS {
        return Ok(0);
    }
    let mut tx = store.writing().await?;
    let made = tx.number(sql::PARTITION_AHEAD, params![now, WEEKS_AHEAD]).await?;
    tx.commit().await?;
    Ok(u64::try_from(made).unwrap_or(0))
}

/// A partition with nothing but the past in it.
struct Partition {
    parent: String,
    named: String,
    starts: Timestamp,
    ends: Timestamp,
}

/// Drops partitions in which everything is to go. What a plan does not name stays, and so does what no roll-up holds.
pub(super) async fn drop_partitions<D: Dialect>(store: &SqlStore<D>, plan: &[Removal]) -> StoreResult<u64> {
    let before = plan.iter().find_map(|removal| match removal {
        Removal::Readings { resolution: Resolution::Second, before } => Some(*before),
        Removal::Readings { .. } | Removal::Run { .. } | Removal::Series { .. } | Removal::Records { .. } => None,
    });
    let Some(before) = before.filter(|_| D::PARTITIONS) else { return Ok(0) };
    let mut tx = store.writing().await?;
    // Readings between runs that are not rolled up hold their week.
    let unrolled = tx.maybe::<i64>(sql::FIRST_UNROLLED, params![before]).await?;
    let before = unrolled.map_or(before, |unrolled| before.min(Timestamp(unrolled)));
    let read =
        |row: &mut Columns<'_, D>| Ok(Partition { parent: row.string()?, named: row.string()?, starts: row.time()?, ends: row.time()? });
    let partitions = tx.list(sql::PARTITIONS, params![before], read).await?;
    let stays = if partitions.is_empty() { Vec::new() } else { staying(&mut tx, plan).await? };
    let mut dropped = 0;
    for partition in partitions {
        if !stays.iter().any(|run| run.started_at < partition.ends && run.ended_at.is_none_or(|end| end >= partition.starts)) {
            dropped += tx.number(sql::DROP_PARTITION, params![&partition.parent, &partition.named]).await?;
        }
    }
    tx.commit().await?;
    Ok(u64::try_from(dropped).unwrap_or(0))
}

/// Runs that keep their seconds.
async fn staying<D: Dialect>(tx: &mut Tx<'_, D>, plan: &[Removal]) -> StoreResult<Vec<KeptRun>> {
    let (mut stays, mut after) = (Vec::new(), None);
    loop {
        let page = retention::kept_runs(tx, after.as_ref(), PAGE).await?;
        after = page.last().map(|run| run.id.clone());
        for run in page {
            if run.finest == Some(Resolution::Second) && !goes(tx, &run, plan).await? {
                stays.push(run);
            }
        }
        if after.is_none() {
            return Ok(stays);
        }
    }
}

/// True when the plan takes the seconds of a run, and may.
async fn goes<D: Dialect>(tx: &mut Tx<'_, D>, run: &KeptRun, plan: &[Removal]) -> StoreResult<bool> {
    let named = plan.iter().find(|removal| match removal {
        Removal::Run { run: other, .. } | Removal::Series { run: other, .. } => other.id == run.id,
        Removal::Readings { .. } | Removal::Records { .. } => false,
    });
    match named {
        Some(Removal::Run { .. }) => Ok(run.pin.is_none() && run.ended_at.is_some()),
        Some(Removal::Series { .. }) => Ok(run.pin.is_none() && run.rolled && retention::held(tx, &run.id).await?),
        Some(Removal::Readings { .. } | Removal::Records { .. }) | None => Ok(false),
    }
}
