//! Reads what two sides of a comparison are made of from the store, and compares them.

use std::str::FromStr;
use std::time::Duration;

use crate::analysis::comparison::since::is_comparable;
use crate::analysis::comparison::{Comparison, NoSuchPart, Part, Scatter, Side, changes, compare};
use crate::model::run::{Run, RunStatus};
use crate::model::units::Timestamp;
use crate::store::{ReadingFilter, RunFilter, Store, StoreError};

/// Seconds read at a time.
const PIECE: u32 = 300;

/// Runs among which the one before is looked for, and how long a run that begins waits for it.
const BEFORE: u32 = 5;
const PATIENCE: Duration = Duration::from_secs(3);

/// A side as people write it: `RUN`, or `RUN:PHASE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SideName {
    /// Id of a run, its beginning or end, or `last`.
    pub run: String,
    /// A phase, a scenario, or `scenario/phase`.
    pub part: Option<String>,
}

impl FromStr for SideName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (run, part) = text.split_once(':').map_or((text, None), |(run, part)| (run, Some(part)));
        if run.is_empty() || part.is_some_and(str::is_empty) {
            return Err(format!("`{text}` is not a run: write `RUN` or `RUN:PHASE`"));
        }
        Ok(Self { run: run.into(), part: part.map(Into::into) })
    }
}

/// Why there is no comparison.
#[derive(Debug, thiserror::Error)]
pub enum CannotCompare {
    /// No such run, or several.
    #[error("there is no run `{0}`, or more than one begins or ends so")]
    UnknownRun(String),
    /// No such phase.
    #[error(transparent)]
    UnknownPart(#[from] NoSuchPart),
    /// It is going on.
    #[error("run {0} is still going on; compare it when it has ended")]
    NotEnded(String),
    /// A baseline was compared with a baseline.
    #[error("name a run: what it is compared with may be `baseline`, `last-N` or `previous-version`, but not both sides")]
    NoRun,
    /// No run is pinned.
    #[error("profile `{0}` has no pinned run; pin one with `plimsoll baseline set {0} RUN`")]
    NoBaseline(String),
    /// The numbers of the run are not stored.
    #[error("run {0} has no stored numbers: the daemon makes them when a run has ended")]
    NoNumbers(String),
    /// There are no runs to compare with.
    #[error("there is nothing to compare with: {0}")]
    NoNights(String),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Finds a run that has ended.
pub async fn ended_run(store: &dyn Store, id: &str) -> Result<Run, CannotCompare> {
    let run = store.run(id).await?.ok_or_else(|| CannotCompare::UnknownRun(id.chars().take(80).collect()))?;
    if run.status == RunStatus::Running {
        return Err(CannotCompare::NotEnded(run.id.0));
    }
    Ok(run)
}

/// Reads one side.
pub async fn read_side(store: &dyn Store, run: &Run, part: Option<&str>) -> Result<Side, CannotCompare> {
    let part = Part::of(run, part)?;
    let (from, to) = part.span();
    let to = to.min(last_second(run));
    let mut side = Side::new(run, part);
    let mut start = from;
    while start < to {
        let end = start.saturating_add(PIECE).min(to);
        for interval in store.intervals(&run.id, start, end).await? {
            side.interval(&run.catalog, &interval);
        }
        let moment = |second: u32| run.started_at.plus(Duration::from_secs(second.into()));
        let span: (Timestamp, Timestamp) = (moment(start), moment(end));
        let filter = ReadingFilter { run: Some(run.id.clone()), from: Some(span.0), to: Some(span.1), ..ReadingFilter::default() };
        for reading in store.readings(&filter).await? {
            side.reading(&reading);
        }
        start = end;
    }
    Ok(side)
}

/// The second after the last of a run that has ended.
fn last_second(run: &Run) -> u32 {
    let by_the_clock = run.ended_at.map_or(0.0, |ended| ended.since(run.started_at).as_secs_f64());
    let seconds = run.summary.as_ref().map_or(by_the_clock, |summary| summary.seconds);
    (seconds.ceil() as u32).saturating_add(1)
}

/// Compares `second` with `first`.
pub async fn compare_runs(store: &dyn Store, first: &SideName, second: &SideName) -> Result<Comparison, CannotCompare> {
    let (a, b) = (ended_run(store, &first.run).await?, ended_run(store, &second.run).await?);
    compared(store, (&a, first), (&b, second), None).await
}

/// Compares two runs that have been read; with what changed inside of the target when both are whole.
pub(super) async fn compared(
    store: &dyn Store,
    (a, first): (&Run, &SideName),
    (b, second): (&Run, &SideName),
    scatter: Option<&Scatter>,
) -> Result<Comparison, CannotCompare> {
    let sides = (read_side(store, a, first.part.as_deref()).await?, read_side(store, b, second.part.as_deref()).await?);
    let mut comparison = compare(&sides.0, &sides.1, scatter);
    if first.part.is_none() && second.part.is_none() {
        comparison.changes = changes(a, b);
    }
    Ok(comparison)
}

/// The run of the same profile on the same target before `run` that it can be held against; `None` when there is none, or the store does
/// not answer in time.
pub async fn run_before(store: &dyn Store, run: &Run) -> Option<Run> {
    let filter = RunFilter {
        profile: Some(run.profile.clone()),
        target: Some(run.target.clone()),
        status: Some(RunStatus::Finished),
        before: Some(run.started_at),
        limit: BEFORE,
        ..RunFilter::default()
    };
    match tokio::time::timeout(PATIENCE, store.runs(&filter)).await {
        Ok(Ok(runs)) => runs.into_iter().find(|other| other.id != run.id && is_comparable(other)),
        Ok(Err(error)) => {
            tracing::warn!(run_id = %run.id, %error, "it is not known what changed since the run before");
            None
        }
        Err(_) => {
            tracing::warn!(run_id = %run.id, "it is not known what changed since the run before: the store took too long");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_are_written_as_a_run_and_a_phase() {
        let of = |text: &str| text.parse::<SideName>().map(|name| (name.run, name.part));
        assert_eq!(of("last"), Ok(("last".into(), None)));
        assert_eq!(of("7k3f:users/hold"), Ok(("7k3f".into(), Some("users/hold".into()))));
        assert!(of("").is_err() && of("last:").is_err() && of(":hold").is_err());
    }
}
