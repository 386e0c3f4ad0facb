//! Runs as lists show them: their small columns and the headline of their summary, which is kept beside them.

use super::dialect::{Columns, Dialect, Value, params};
use super::shared::{Tx, limit_or_default};
use super::{RunFilter, StoreResult, sql};
use crate::model::run::{EndedBy, Headline, RunId, RunLine, RunStatus, Summary, Trigger, Verdict};
use crate::model::units::Timestamp;

/// Chooses the form of a statement that fits a filter, with its values.
pub(super) fn listed<'f>(forms: &[&'static str; 3], filter: &'f RunFilter) -> (&'static str, Vec<Value<'f>>) {
    let [any, of_profile, of_target] = *forms;
    let statement = match (&filter.profile, &filter.target) {
        (Some(_), _) => of_profile,
        (None, Some(_)) => of_target,
        (None, None) => any,
    };
    let (status, verdict) = (filter.status.map(RunStatus::as_str), filter.verdict.map(Verdict::as_str));
    let before = filter.before.unwrap_or(Timestamp(i64::MAX));
    let mut values = params![&filter.profile, &filter.target, status, verdict, before].to_vec();
    values.push(limit_or_default(filter.limit));
    (statement, values)
}

pub(super) async fn list<D: Dialect>(tx: &mut Tx<'_, D>, filter: &RunFilter) -> StoreResult<Vec<RunLine>> {
    let (statement, values) = listed(&sql::RUN_LINES, filter);
    tx.list(statement, &values, read).await
}

fn read<D: Dialect>(row: &mut Columns<'_, D>) -> StoreResult<RunLine> {
    Ok(RunLine {
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
        headline: read_headline(row)?,
    })
}

fn read_headline<D: Dialect>(row: &mut Columns<'_, D>) -> StoreResult<Option<Headline>> {
    let (seconds, requests, failed, per_second) = (row.opt_real()?, row.opt_number()?, row.opt_number()?, row.opt_real()?);
    let (p95_us, pool_peak) = (row.opt_number()?, row.opt_real()?);
    let (Some(seconds), Some(requests), Some(failed), Some(per_second)) = (seconds, requests, failed, per_second) else { return Ok(None) };
    Ok(Some(Headline { seconds, requests, failed, per_second, p95_us, pool_peak }))
}

/// Keeps the headline of a run's summary, or none.
pub(super) async fn save<D: Dialect>(tx: &mut Tx<'_, D>, run: &RunId, summary: Option<&Summary>) -> StoreResult<()> {
    let Some(headline) = summary.map(Headline::of) else {
        return tx.execute(sql::DELETE_HEADLINE, params![run]).await.map(drop);
    };
    let p95_us = headline.p95_us.map_or(Value::Int(None), Value::from);
    let mut values = params![run, Some(headline.seconds), headline.requests, headline.failed, Some(headline.per_second)].to_vec();
    values.extend([p95_us, Value::from(headline.pool_peak)]);
    tx.execute(sql::SAVE_HEADLINE, &values).await.map(drop)
}

/// Makes headlines of runs that have none, a few at a time.
pub(super) async fn make_missing<D: Dialect>(tx: &mut Tx<'_, D>) -> StoreResult<()> {
    loop {
        let found = tx.list(sql::WITHOUT_HEADLINE, &[], |row| Ok((RunId(row.string()?), row.json::<Summary>()?))).await?;
        if found.is_empty() {
            return Ok(());
        }
        for (run, summary) in found {
            save(tx, &run, Some(&summary)).await?;
        }
    }
}
