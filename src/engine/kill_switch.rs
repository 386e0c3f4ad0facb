//! The kill switch where no daemon is asked: what stops everything, or lets load start again, is written to the database, and every process
//! on it looks there each second. Everything that is done so is in the audit log, as what a daemon is asked for is.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::handle::counted;
use super::owner::{is_gone, life_of};
use crate::model::audit::{Deed, DeedKind};
use crate::model::control::Standstill;
use crate::model::run::{RunId, RunStatus};
use crate::model::units::Timestamp;
use crate::store::{Store, StoreResult};

/// How often is looked whether a run has ended.
const LOOK: Duration = Duration::from_millis(200);
/// How this was done, for the audit log.
const WAY: &str = "in the database, past any daemon";

/// What all processes that work on the database have going on; of one that is gone nothing goes on.
///
/// # Errors
/// When the store cannot be read.
pub async fn going_on(store: &dyn Store) -> StoreResult<Vec<RunId>> {
    let mut runs = Vec::new();
    for seen in store.owners().await?.into_iter().filter(|seen| !is_gone(seen, life_of(&seen.owner))) {
        runs.extend(store.loads(&seen.owner.id).await?.into_iter().map(|loading| loading.run));
    }
    Ok(runs)
}

/// Tells every process on the database to end its runs; with `hold` nothing starts until [`resume`]. Returns the runs that are told so:
/// they end within a second or two.
///
/// # Errors
/// When the store cannot be read or written; whether anything was written is not known then.
pub async fn stop_all(store: &dyn Store, by: &str, hold: bool, now: Timestamp) -> StoreResult<Vec<RunId>> {
    let stop = Standstill { at: now, by: by.into() };
    // First what keeps others from starting, then what ends those that go on.
    if hold {
        store.set_standstill(Some(&stop)).await?;
    }
    let runs = going_on(store).await?;
    store.record_stop(&stop).await?;
    let (held, still) = if hold { ("hold; ", ", nothing starts until somebody resumes") } else { ("", "") };
    let detail = format!("{held}{} told to end{still}; {WAY}", counted(runs.len(), "run"));
    store.record_deed(&deed(by, DeedKind::Stop, detail, None, now)).await?;
    Ok(runs)
}

/// Lets load start again; false when nothing was held.
///
/// # Errors
/// When the store cannot be read or written.
pub async fn resume(store: &dyn Store, by: &str, now: Timestamp) -> StoreResult<bool> {
    let held = store.standstill().await?.is_some();
    if held {
        store.set_standstill(None).await?;
    }
    let refused = (!held).then(|| "nothing is held".to_owned());
    store.record_deed(&deed(by, DeedKind::Resume, WAY.into(), refused, now)).await?;
    Ok(held)
}

/// Waits until runs have ended, at most `patience`; returns those that have not.
///
/// # Errors
/// When the store cannot be read.
pub async fn not_ended(store: &dyn Store, mut runs: Vec<RunId>, patience: Duration) -> StoreResult<Vec<RunId>> {
    let began = Instant::now();
    loop {
        let mut still = Vec::new();
        for id in runs {
            if store.run(&id.0).await?.is_some_and(|run| run.status == RunStatus::Running) {
                still.push(id);
            }
        }
        if still.is_empty() || began.elapsed() > patience {
            return Ok(still);
        }
        runs = still;
        sleep(LOOK).await;
    }
}

fn deed(by: &str, what: DeedKind, detail: String, refused: Option<String>, at: Timestamp) -> Deed {
    Deed { at, by: by.into(), what, object: String::new(), detail, refused }
}
