//! Runs: one row each. What lists filter and sort by are columns; the rest (catalog, summary, thresholds) is JSON.
//! A run's start never changes: the times of its series are counted from it.

use std::collections::HashMap;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::dialect::{Columns, Dialect, Value, params};
use super::shared::{Tx, json};
use super::{Owner, RunFilter, StoreError, StoreResult, lines, sql};
use crate::model::run::{EndedBy, Run, RunId, RunStatus, Trigger, Verdict};
use crate::model::units::Timestamp;

/// Reason of a run that the daemon did not survive.
const INTERRUPTED: &str = "Plimsoll stopped while this run was going on; the run was marked as interrupted at the next start";

/// What series know of their run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    /// The number that stands for its id in series.
    pub(super) num: i64,
    /// Start of second 0.
    pub(super) started_at: Timestamp,
}

impl Key {
    /// The key of a run; `None` when it is not stored.
    pub(super) async fn find<D: Dialect>(tx: &mut Tx<'_, D>, run: &RunId) -> StoreResult<Option<Self>> {
        tx.first(sql::RUN_KEY, params![run], |row| Ok(Self { num: row.int()?, started_at: row.time()? })).await
    }

    /// The key of a run that has to be stored.
    pub(super) async fn of<D: Dialect>(tx: &mut Tx<'_, D>, run: &RunId) -> StoreResult<Self> {
        Self::find(tx, run).await?.ok_or_else(|| unknown(run))
    }

    /// Start of a second of the run.
    pub(super) fn at(self, second: u32) -> Timestamp {
        self.started_at.plus(Duration::from_secs(second.into()))
    }
}

/// Keys looked up in one transaction.
#[derive(Default)]
pub(super) struct Keys(HashMap<RunId, Key>);

impl Keys {
    /// The key of a run that has to be stored.
    pub(super) async fn of<D: Dialect>(&mut self, tx: &mut Tx<'_, D>, run: &RunId) -> StoreResult<Key> {
        if let Some(key) = self.0.get(run) {
            return Ok(*key);
        }
        let key = Key::of(tx, run).await?;
        self.0.insert(run.clone(), key);
        Ok(key)
    }
}

fn unknown(run: &RunId) -> StoreError {
    StoreError::Other(format!("run {run} is not stored"))
}

/// JSON that is sure to be read back as the same type: a number that is not finite would not.
fn readable_json<T: Serialize + DeserializeOwned>(run: &RunId, what: &str, value: &T) -> StoreResult<String> {
    let text = json(value)?;
    match serde_json::from_str::<T>(&text) {
        Ok(_) => Ok(text),
        Err(error) => Err(StoreError::Other(format!("{what} of run {run} cannot be stored: {error}"))),
    }
}

/// Values of all columns but `started_at`, in the order of the statements, with the place where `started_at` goes.
fn values(run: &Run) -> StoreResult<(Vec<Value<'_>>, usize)> {
    let mut values = params![
        &run.id,
        &run.profile,
        &run.target,
        &run.trigger.by,
        &run.trigger.name,
        &run.digest,
        &run.target_version,
        run.ended_at,
        run.status.as_str(),
        run.ended_by.map(EndedBy::as_str),
        run.verdict.map(Verdict::as_str),
    ]
    .to_vec();
    values.push(json(&run.reasons)?.into());
    values.push(json(&run.catalog)?.into());
    values.push(run.summary.as_ref().map(|summary| readable_json(&run.id, "the summary", summary)).transpose()?.into());
    values.push(readable_json(&run.id, "the list of thresholds", &run.thresholds)?.into());
    values.push(readable_json(&run.id, "what was done to it", &run.controls)?.into());
    Ok((values, 7))
}

pub(super) async fn start<D: Dialect>(tx: &mut Tx<'_, D>, run: &Run, owner: Option<&Owner>) -> StoreResult<()> {
    let (mut values, start) = values(run)?;
    values.insert(start, run.started_at.into());
    values.push(owner.map(|owner| owner.id.as_str()).into());
    match tx.execute(sql::INSERT_RUN, &values).await {
        Ok(_) if run.summary.is_some() => lines::save(tx, &run.id, run.summary.as_ref()).await,
        Ok(_) => Ok(()),
        Err(StoreError::Duplicate(_)) => Err(StoreError::Duplicate(format!("run {}", run.id))),
        Err(other) => Err(other),
    }
}

pub(super) async fn update<D: Dialect>(tx: &mut Tx<'_, D>, run: &Run) -> StoreResult<()> {
    match tx.execute(sql::UPDATE_RUN, &values(run)?.0).await? {
        0 => Err(unknown(&run.id)),
        _ => lines::save(tx, &run.id, run.summary.as_ref()).await,
    }
}

pub(super) async fn load_begins<D: Dialect>(tx: &mut Tx<'_, D>, run: &RunId, at: Timestamp) -> StoreResult<()> {
    match tx.execute(sql::LOAD_BEGINS, params![&run.0, at]).await? {
        0 => Err(unknown(run)),
        _ => Ok(()),
    }
}

pub(super) async fn interrupt_orphans<D: Dialect>(tx: &mut Tx<'_, D>, at: Timestamp) -> StoreResult<Vec<RunId>> {
    let orphans =
        tx.list(sql::ORPHANS, &[], |row| Ok((row.int()?, RunId(row.string()?), row.json::<Vec<String>>()?, row.opt_time()?))).await?;
    let mut ids = Vec::new();
    for (num, id, mut reasons, last) in orphans {
        let ended_at = last.map_or(at, |last| last.plus(Duration::from_secs(1)));
        reasons.push(INTERRUPTED.into());
        tx.execute(sql::INTERRUPT, params![num, ended_at, json(&reasons)?]).await?;
        ids.push(id);
    }
    Ok(ids)
}

pub(super) async fn find<D: Dialect>(tx: &mut Tx<'_, D>, id: &str) -> StoreResult<Option<Run>> {
    if id == "last" {
        return tx.first(sql::RUN_LAST, &[], read).await;
    }
    if let Some(run) = tx.first(sql::RUN_BY_ID, params![id], read).await? {
        return Ok(Some(run));
    }
    if id.is_empty() {
        return Ok(None);
    }
    let mut found = tx.list(sql::RUN_BY_PART, params![id], read).await?;
    Ok(if found.len() == 1 { found.pop() } else { None })
}

pub(super) async fn list<D: Dialect>(tx: &mut Tx<'_, D>, filter: &RunFilter) -> StoreResult<Vec<Run>> {
    let (statement, values) = lines::listed(&sql::RUNS, filter);
    tx.list(statement, &values, read).await
}

fn read<D: Dialect>(row: &mut Columns<'_, D>) -> StoreResult<Run> {
    Ok(Run {
        id: RunId(row.string()?),
        profile: row.string()?,
        target: row.string()?,
        trigger: Trigger { by: row.string()?, name: row.opt_string()? },
        digest: row.string()?,
        target_version: row.opt_string()?,
        started_at: row.time()?,
        ended_at: row.opt_time()?,
        status: row.word(RunStatus::parse)?,
        ended_by: row.opt_word(EndedBy::parse)?,
        verdict: row.opt_word(Verdict::parse)?,
        reasons: row.json()?,
        catalog: row.json()?,
        summary: row.opt_json()?,
        thresholds: row.json()?,
        controls: row.json()?,
    })
}
