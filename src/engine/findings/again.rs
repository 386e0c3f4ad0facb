//! Analyses a stored run once more, with the methods of this program: its seconds and readings go through the same code as when it ran.
//! What older versions of the methods said is replaced.

use std::time::Duration;

use super::{Asked, Looked, METHODS, Observed};
use crate::analysis::attribution;
use crate::model::finding::Finding;
use crate::model::run::{Run, RunStatus};
use crate::model::units::Timestamp;
use crate::store::{ReadingFilter, Store, StoreError};

/// Seconds that are read at once.
const PAGE: u32 = 600;

/// Last seconds of a run that goes on in which causes are looked for.
const RECENT: u32 = 1_800;

/// Why a run could not be analysed again.
#[derive(Debug, thiserror::Error)]
pub enum NotAnalysed {
    /// It goes on: the one who runs it analyses it.
    #[error("run {0} is going on; it is analysed while it runs and at its end")]
    GoingOn(String),
    /// No figures are kept of it.
    #[error("nothing is stored of the seconds of run {0}")]
    Nothing(String),
    /// The store could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Analyses `run` again, stores what is found, and returns the run as it is stored now with its findings.
pub async fn analyse(store: &dyn Store, run: &Run, at: Timestamp) -> Result<(Run, Looked), NotAnalysed> {
    if run.status == RunStatus::Running {
        return Err(NotAnalysed::GoingOn(run.id.0.clone()));
    }
    let observed = observe(store, run, all_of(run)).await?;
    let asked = Asked::of_run(run);
    let looking = run.clone();
    let looked = tokio::task::spawn_blocking(move || observed.look(&looking, &asked, at)).await;
    let looked = looked.map_err(|error| StoreError::Other(format!("analysis broke off; this is a bug in Plimsoll: {error}")))?;
    let mut run = run.clone();
    if let Some(summary) = &mut run.summary {
        summary.analysed = looked.analysed.clone();
        store.update_run(&run).await?;
    }
    store.replace_findings(&run.id, METHODS, &looked.findings).await?;
    Ok((run, looked))
}

/// Why requests of a run failed or were slow up to a moment, by what is stored of it: also of one that goes on. Of a long run only the
/// last half hour is looked at. Stores nothing.
pub async fn causes(store: &dyn Store, run: &Run, until: Timestamp) -> Result<Vec<Finding>, NotAnalysed> {
    if run.status != RunStatus::Running {
        let mut findings = store.findings(Some(&run.id), 0).await?;
        // Of an older version, too.
        findings.retain(|finding| finding.method.split('/').next() == attribution::METHOD.split('/').next());
        return Ok(findings);
    }
    let end = until.since(run.started_at).as_secs() as u32;
    let observed = observe(store, run, (end.saturating_sub(RECENT), end)).await?;
    let looking = run.clone();
    let found = tokio::task::spawn_blocking(move || observed.causes(&looking, until)).await;
    found.map_err(|error| StoreError::Other(format!("analysis broke off; this is a bug in Plimsoll: {error}")).into())
}

/// The seconds of a run that may hold something.
fn all_of(run: &Run) -> (u32, u32) {
    let end = run.catalog.scenarios.iter().map(|scenario| scenario.start + scenario.duration).max().unwrap_or_default().as_secs() as u32;
    let measured = run.summary.as_ref().map_or(0, |summary| summary.seconds.ceil() as u32);
    // Requests may end after the regular end.
    (0, end.max(measured) + PAGE)
}

/// Everything that was seen of a run in these seconds, in the order in which it was.
async fn observe(store: &dyn Store, run: &Run, (mut from, end): (u32, u32)) -> Result<Observed, NotAnalysed> {
    let mut observed = Observed::default();
    let mut seen = 0;
    while from <= end {
        let [begin, until] = [from, from + PAGE].map(|second| run.started_at.plus(Duration::from_secs(second.into())));
        let filter = ReadingFilter { run: Some(run.id.clone()), from: Some(begin), to: Some(until), ..ReadingFilter::default() };
        for reading in &store.readings(&filter).await? {
            observed.reading(reading);
        }
        let page = store.intervals(&run.id, from, from + PAGE).await?;
        seen += page.len();
        for interval in &page {
            observed.interval(&run.catalog, &run.controls, interval);
        }
        from += PAGE;
    }
    if seen == 0 { Err(NotAnalysed::Nothing(run.id.0.clone())) } else { Ok(observed) }
}
