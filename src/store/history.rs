//! What a profile's runs are remembered by: numbers per run, deploys of targets, pinned runs; with the statements that read and write
//! them, the same on both databases.

use super::dialect::{Columns, Dialect, Value, params};
use super::runs::Key;
use super::shared::{Tx, json, limit_or_default};
use super::{StoreError, StoreResult};
use crate::model::history::{Deploy, NightNumbers, PastRun, Pinned};
use crate::model::run::{EndedBy, RunId, RunStatus, Trigger, Verdict};
use crate::model::units::Timestamp;

const SAVE_NIGHT: &str = "INSERT INTO nights (run, method, numbers) VALUES ($1, $2, $3) \
    ON CONFLICT (run) DO UPDATE SET method = excluded.method, numbers = excluded.numbers";
// Without summary and catalog: a history of hundreds of runs is read after each run.
const PAST_RUNS: &str = "SELECT r.id, r.profile, r.digest, r.target, r.target_version, r.trigger_by, r.trigger_name, r.started_at, \
    r.status, r.ended_by, r.verdict, n.numbers FROM runs r LEFT JOIN nights n ON n.run = r.num WHERE r.profile = $1 \
    AND ($2 IS NULL OR r.started_at < $2) ORDER BY r.started_at DESC, r.num DESC LIMIT $3";
const INSERT_DEPLOY: &str = "INSERT INTO deploys (target, version, at, by_whom) VALUES ($1, $2, $3, $4)";
const DEPLOYS: &str =
    "SELECT target, version, at, by_whom FROM deploys WHERE ($1 IS NULL OR target = $1) ORDER BY at DESC, num DESC LIMIT $2";
const PIN: &str = "INSERT INTO baselines (profile, run, at, by_whom) VALUES ($1, $2, $3, $4) \
    ON CONFLICT (profile) DO UPDATE SET run = excluded.run, at = excluded.at, by_whom = excluded.by_whom";
const UNPIN: &str = "DELETE FROM baselines WHERE profile = $1";
const PINNED: &str = "SELECT profile, run, at, by_whom FROM baselines WHERE profile = $1";

pub(super) async fn save_night<D: Dialect>(tx: &mut Tx<'_, D>, run: &RunId, numbers: &NightNumbers) -> StoreResult<()> {
    let finite = |values: &std::collections::BTreeMap<String, f64>| values.values().all(|value| value.is_finite());
    if !numbers.values.values().all(finite) {
        // JSON has no such numbers: it could not be read back.
        return Err(StoreError::Other(format!("a number of run {run} is not finite")));
    }
    let key = Key::of(tx, run).await?.num;
    tx.execute(SAVE_NIGHT, params![key, &numbers.method, json(numbers)?]).await.map(drop)
}

pub(super) async fn past_runs<D: Dialect>(
    tx: &mut Tx<'_, D>,
    profile: &str,
    before: Option<Timestamp>,
    limit: u32,
) -> StoreResult<Vec<PastRun>> {
    let mut values = params![profile, before].to_vec();
    values.push(limit_or_default(limit));
    tx.list(PAST_RUNS, &values, read_past).await
}

fn read_past<D: Dialect>(row: &mut Columns<'_, D>) -> StoreResult<PastRun> {
    Ok(PastRun {
        id: RunId(row.string()?),
        profile: row.string()?,
        digest: row.string()?,
        target: row.string()?,
        version: row.opt_string()?,
        trigger: Trigger { by: row.string()?, name: row.opt_string()? },
        started_at: row.time()?,
        status: row.word(RunStatus::parse)?,
        ended_by: row.opt_word(EndedBy::parse)?,
        verdict: row.opt_word(Verdict::parse)?,
        numbers: row.opt_json()?,
    })
}

pub(super) async fn record_deploy<D: Dialect>(tx: &mut Tx<'_, D>, deploy: &Deploy) -> StoreResult<()> {
    tx.execute(INSERT_DEPLOY, params![&deploy.target, &deploy.version, deploy.at, &deploy.by]).await.map(drop)
}

pub(super) async fn deploys<D: Dialect>(tx: &mut Tx<'_, D>, target: Option<&str>, limit: u32) -> StoreResult<Vec<Deploy>> {
    tx.list(DEPLOYS, &[Value::from(target), limit_or_default(limit)], |row| {
        Ok(Deploy { target: row.string()?, version: row.string()?, at: row.time()?, by: row.string()? })
    })
    .await
}

pub(super) async fn pin<D: Dialect>(tx: &mut Tx<'_, D>, pinned: &Pinned) -> StoreResult<()> {
    Key::of(tx, &pinned.run).await?;
    tx.execute(PIN, params![&pinned.profile, &pinned.run, pinned.at, &pinned.by]).await.map(drop)
}

pub(super) async fn unpin<D: Dialect>(tx: &mut Tx<'_, D>, profile: &str) -> StoreResult<bool> {
    Ok(tx.execute(UNPIN, params![profile]).await? > 0)
}

pub(super) async fn pinned<D: Dialect>(tx: &mut Tx<'_, D>, profile: &str) -> StoreResult<Option<Pinned>> {
    tx.first(PINNED, params![profile], |row| {
        Ok(Pinned { profile: row.string()?, run: RunId(row.string()?), at: row.time()?, by: row.string()? })
    })
    .await
}
