//! What the store needs from time to time: roll-ups every few seconds, retention and space every hour. In small pieces, so that the
//! writer of series is never held up, and on the wall clock of the daemon. What fails is said once and tried again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::duty::Duty;
use super::setup::Setup;
use crate::clock::SharedClock;
use crate::metrics::Metrics;
use crate::model::retention::{KeptRun, Pin, Policies, Removal, plan};
use crate::model::run::RunId;
use crate::model::units::Timestamp;
use crate::store::{Returned, Store, StoreResult};

/// Time between looks for what can be rolled up.
const ROLL_UP_EVERY: Duration = Duration::from_secs(15);
/// Pieces in one look; a backlog (an upgrade, a database that was away) is worked off over many looks.
const PIECES: u32 = 40;
/// Time between two rounds of retention.
const RETAIN_EVERY: Duration = Duration::from_secs(3_600);
/// The first round comes this long after the start.
const FIRST_RETAIN: Duration = Duration::from_secs(120);
/// Runs read at a time for the plan.
const PAGE: u32 = 1_000;

/// What upkeep works with.
pub struct UpkeepParts {
    /// The memory.
    pub store: Arc<dyn Store>,
    /// The wall clock.
    pub clock: SharedClock,
    /// For figures.
    pub metrics: Arc<Metrics>,
    /// The configuration in force.
    pub setup: watch::Receiver<Arc<Setup>>,
    /// Whether this daemon is in charge: the others roll up and remove nothing.
    pub duty: watch::Receiver<Duty>,
}

/// Keeps the store small and fast until `stop`.
pub async fn run(parts: UpkeepParts, stop: CancellationToken) {
    let mut every = interval(ROLL_UP_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut retained = parts.clock.now().minus(RETAIN_EVERY).plus(FIRST_RETAIN);
    let mut trouble = false;
    loop {
        tokio::select! {
            _ = every.tick() => {}
            () = stop.cancelled() => return,
        }
        // A transaction that is cut off here is rolled back, and done after the next start.
        let done = tokio::select! {
            done = look(&parts, &mut retained) => done,
            () = stop.cancelled() => return,
        };
        match done {
            Ok(()) => trouble = false,
            Err(error) => {
                parts.metrics.storage_error("upkeep");
                if !std::mem::replace(&mut trouble, true) {
                    tracing::warn!(%error, "roll-ups and retention have to wait for the store");
                }
            }
        }
    }
}

async fn look(parts: &UpkeepParts, retained: &mut Timestamp) -> StoreResult<()> {
    if !parts.duty.borrow().in_charge {
        return Ok(());
    }
    let now = parts.clock.now();
    let backlog = parts.store.roll_up(PIECES).await? >= PIECES;
    // The clock may have gone backwards; then the hour is counted anew.
    if now < *retained {
        *retained = now;
    }
    if backlog || now.since(*retained) < RETAIN_EVERY {
        return Ok(());
    }
    *retained = now;
    let policies = parts.setup.borrow().storage.retention.clone();
    let done = retain(&*parts.store, &policies, now).await?;
    if done.partitions > 0 || !done.removals.is_empty() || done.space.returned_bytes > 0 {
        let (removed, returned_bytes) = (done.removals.len(), done.space.returned_bytes);
        tracing::info!(removed, rows = done.rows, returned_bytes, "retention: what is too old was removed");
    }
    Ok(())
}

/// What a round of retention did.
#[derive(Debug, Clone, Default)]
pub struct Retained {
    /// What was removed; parts that had nothing to remove are left out.
    pub removals: Vec<Removal>,
    /// Rows that were deleted; those of dropped partitions are not counted.
    pub rows: u64,
    /// Partitions that were dropped.
    pub partitions: u64,
    /// What became of the space.
    pub space: Returned,
}

/// All runs, as retention sees them.
pub async fn kept_runs(store: &dyn Store) -> StoreResult<Vec<KeptRun>> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = store.kept_runs(after.as_ref(), PAGE).await?;
        let last = page.len() < PAGE as usize;
        after = page.last().map(|run| run.id.clone());
        all.extend(page);
        if last {
            return Ok(all);
        }
    }
}

/// What would go now.
pub async fn retention_plan(store: &dyn Store, policies: &Policies, now: Timestamp) -> StoreResult<Vec<Removal>> {
    Ok(plan(&kept_runs(store).await?, policies, now))
}

/// Removes what is too old, in bounded batches, and gives its space back.
pub async fn retain(store: &dyn Store, policies: &Policies, now: Timestamp) -> StoreResult<Retained> {
    let mut done = Retained::default();
    store.prepare_partitions(now).await?;
    let plan = retention_plan(store, policies, now).await?;
    done.partitions = store.drop_partitions(&plan).await?;
    for removal in plan {
        let mut rows = 0;
        loop {
            let batch = store.remove(&removal).await?;
            rows += batch.rows;
            if batch.done {
                break;
            }
        }
        if rows > 0 || !matches!(removal, Removal::Readings { .. } | Removal::Records { .. }) {
            done.removals.push(removal);
        }
        done.rows += rows;
    }
    done.space = store.give_back().await?;
    Ok(done)
}

/// Keeps a run whatever its age, or no longer; false when there is no such run.
pub async fn pin(store: &dyn Store, run: &RunId, pin: Option<Pin>) -> StoreResult<bool> {
    store.pin(run, pin).await
}

/// Rolls up what ended, as far as there is time: before a program ends that ran only once. On a task of its own, so that it has the memory
/// that roll-ups before it had.
pub async fn finish(store: Arc<dyn Store>, patience: Duration) {
    let mut all = JoinSet::new();
    all.spawn(async move {
        while store.roll_up(1).await? > 0 {}
        StoreResult::Ok(())
    });
    match tokio::time::timeout(patience, all.join_next()).await {
        Ok(None | Some(Ok(Ok(())))) => {}
        Ok(Some(Ok(Err(error)))) => tracing::warn!(%error, "roll-ups are left to the next start"),
        Ok(Some(Err(error))) => tracing::error!(%error, "roll-ups broke off; this is a bug in Plimsoll"),
        Err(_) => tracing::info!("roll-ups are not complete; the next start goes on with them"),
    }
}
