//! What is written once and read as lists: findings of analysis, and what became of each instant of a schedule. And whether all load
//! stands still.

use std::collections::BTreeSet;

use super::dialect::{Columns, Dialect, Value, params};
use super::runs::Key;
use super::shared::{Tx, json, limit_or_default};
use super::{CHARGE, Owner, StoreResult, sql};
use crate::model::alerting::Severity;
use crate::model::control::Standstill;
use crate::model::finding::Finding;
use crate::model::run::RunId;
use crate::model::schedule::{Tick, TickOutcome};

pub(super) async fn save_findings<D: Dialect>(tx: &mut Tx<'_, D>, run: &RunId, findings: &[Finding]) -> StoreResult<()> {
    replace_findings(tx, run, &[], findings).await
}

pub(super) async fn replace_findings<D: Dialect>(
    tx: &mut Tx<'_, D>,
    run: &RunId,
    methods: &[&str],
    findings: &[Finding],
) -> StoreResult<()> {
    let run = Key::of(tx, run).await?.num;
    // What stands before the version is the method.
    let family = |method: &str| method.rsplit_once('/').map_or_else(|| method.to_owned(), |(name, _)| name.to_owned());
    for name in methods.iter().copied().map(family).collect::<BTreeSet<_>>() {
        let versions = format!("{name}/");
        tx.execute(sql::DELETE_FINDINGS_OF_ALL_VERSIONS, params![run, &name, &versions]).await?;
    }
    for method in findings.iter().map(|finding| &finding.method).collect::<BTreeSet<_>>() {
        tx.execute(sql::DELETE_FINDINGS, params![run, method]).await?;
    }
    for finding in findings {
        let evidence = json(&finding.evidence)?;
        let values = params![run, &finding.kind, finding.severity.as_str(), &finding.title, evidence, &finding.method, finding.at];
        tx.execute(sql::INSERT_FINDING, values).await?;
    }
    Ok(())
}

pub(super) async fn findings<D: Dialect>(tx: &mut Tx<'_, D>, run: Option<&RunId>, limit: u32) -> StoreResult<Vec<Finding>> {
    let values = [Value::from(run.map(|run| run.0.as_str())), limit_or_default(limit)];
    tx.list(sql::FINDINGS, &values, |row| {
        Ok(Finding {
            run: RunId(row.string()?),
            kind: row.string()?,
            severity: row.word(Severity::parse)?,
            title: row.string()?,
            evidence: row.json()?,
            method: row.string()?,
            at: row.time()?,
        })
    })
    .await
}

pub(super) async fn standstill<D: Dialect>(tx: &mut Tx<'_, D>) -> StoreResult<Option<Standstill>> {
    tx.first(sql::STANDSTILL, &[], |row| Ok(Standstill { at: row.time()?, by: row.string()? })).await
}

pub(super) async fn save_standstill<D: Dialect>(tx: &mut Tx<'_, D>, standstill: Option<&Standstill>) -> StoreResult<()> {
    match standstill {
        Some(standstill) => tx.execute(sql::SAVE_STANDSTILL, params![standstill.at, &standstill.by]).await.map(drop),
        None => tx.execute(sql::DELETE_STANDSTILL, &[]).await.map(drop),
    }
}

pub(super) async fn last_stop<D: Dialect>(tx: &mut Tx<'_, D>) -> StoreResult<Option<Standstill>> {
    tx.first(sql::LAST_STOP, &[], |row| Ok(Standstill { at: row.time()?, by: row.string()? })).await
}

pub(super) async fn save_stop<D: Dialect>(tx: &mut Tx<'_, D>, stop: &Standstill) -> StoreResult<()> {
    tx.execute(sql::SAVE_STOP, params![stop.at, &stop.by]).await.map(drop)
}

/// Records what became of an instant; 0 when a run was started for it already, and this is not that run, or when somebody else, who is in
/// charge by now, has recorded it.
pub(super) async fn save_tick<D: Dialect>(tx: &mut Tx<'_, D>, tick: &Tick, owner: Option<&Owner>) -> StoreResult<u64> {
    let owner = owner.map(|owner| owner.id.as_str());
    let values =
        params![&tick.schedule, tick.due, &tick.profile, tick.decided, tick.outcome.as_str(), &tick.reason, &tick.run, CHARGE, owner];
    tx.execute(sql::SAVE_TICK, values).await
}

pub(super) async fn ticks<D: Dialect>(tx: &mut Tx<'_, D>, schedule: Option<&str>, limit: u32) -> StoreResult<Vec<Tick>> {
    tx.list(sql::TICKS, &[Value::from(schedule), limit_or_default(limit)], read_tick).await
}

fn read_tick<D: Dialect>(row: &mut Columns<'_, D>) -> StoreResult<Tick> {
    Ok(Tick {
        schedule: row.string()?,
        profile: row.string()?,
        due: row.time()?,
        decided: row.time()?,
        outcome: row.word(TickOutcome::parse)?,
        reason: row.string()?,
        run: row.opt_run()?,
    })
}
