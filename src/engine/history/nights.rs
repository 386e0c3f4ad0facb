//! The numbers that runs are remembered by: made from the stored seconds of a run once it has ended, and for runs that ended while
//! nobody was there to make them.

use super::compare::{CannotCompare, read_side};
use crate::analysis::regression::night::{METHOD, numbers};
use crate::model::history::PastRun;
use crate::model::run::{Run, RunStatus, Verdict};
use crate::model::units::Timestamp;
use crate::store::{Store, StoreResult};

/// Runs whose numbers are made up for at a time; the newest first.
const MAKE_UP: usize = 20;

/// Makes and stores the numbers of a run that has ended; false when nothing of it is stored.
pub async fn remember(store: &dyn Store, run: &Run) -> Result<bool, CannotCompare> {
    let side = read_side(store, run, None).await?;
    if side.seconds() == 0 {
        return Ok(false);
    }
    store.save_night(&run.id, &numbers(&side, run.summary.as_ref())).await?;
    Ok(true)
}

/// Whether the numbers of a run have to be made: it has ended, was measured, and has none of this method.
fn lacks_numbers(run: &PastRun) -> bool {
    let measured = matches!(run.verdict, Some(Verdict::Pass | Verdict::Fail | Verdict::NoData));
    run.status == RunStatus::Finished && measured && run.numbers.as_ref().is_none_or(|numbers| numbers.method != METHOD)
}

/// The runs of a profile up to a moment, newest first, with their numbers; what can be made up for, is.
pub async fn past(store: &dyn Store, profile: &str, before: Option<Timestamp>, limit: u32) -> StoreResult<Vec<PastRun>> {
    let mut runs = store.past_runs(profile, before, limit).await?;
    let mut made = 0;
    for run in runs.iter().filter(|run| lacks_numbers(run)).take(MAKE_UP) {
        let Some(whole) = store.run(&run.id.0).await? else { continue };
        match remember(store, &whole).await {
            Ok(true) => made += 1,
            Ok(false) => {}
            Err(error) => tracing::warn!(run_id = %run.id, %error, "the numbers of a run cannot be made"),
        }
    }
    if made > 0 {
        runs = store.past_runs(profile, before, limit).await?;
    }
    // Numbers of another method mean something else.
    for run in &mut runs {
        run.numbers = run.numbers.take().filter(|numbers| numbers.method == METHOD);
    }
    Ok(runs)
}

/// The same without writing anything: for those who only read.
pub async fn past_as_stored(store: &dyn Store, profile: &str, before: Option<Timestamp>, limit: u32) -> StoreResult<Vec<PastRun>> {
    let mut runs = store.past_runs(profile, before, limit).await?;
    for run in &mut runs {
        run.numbers = run.numbers.take().filter(|numbers| numbers.method == METHOD);
    }
    Ok(runs)
}
