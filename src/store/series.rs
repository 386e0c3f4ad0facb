//! Intervals: a row per second, one per step and one per scenario of the second. Counts are columns, histograms are blobs
//! in the packed form, failures and checks compact JSON. Merging seconds exactly is the reader's business.

use std::collections::BTreeMap;
use std::time::Duration;

use super::dialect::{Columns, Dialect, Value, params};
use super::rare::Rare;
use super::runs::Key;
use super::shared::{Tx, json};
use super::{MOST_SECONDS, StoreResult, latencies, sql};
use crate::model::measure::{Accounting, CheckCount, Interval, PhaseSums, ScenarioInterval, StepInterval};
use crate::model::run::RunId;

/// Writes one second of a run, replacing it if it was written before.
pub(super) async fn save<D: Dialect>(tx: &mut Tx<'_, D>, run: Key, interval: &Interval) -> StoreResult<()> {
    let at = run.at(interval.second);
    let stall_us = u64::try_from(interval.generator_stall.as_micros()).unwrap_or(u64::MAX);
    let head = params![run.num, at, interval.second, stall_us, interval.generator_cpu, interval.shards];
    if tx.execute(sql::INSERT_INTERVAL, head).await? == 0 {
        for delete in [sql::DELETE_STEPS, sql::DELETE_SCENARIOS, sql::DELETE_GROUPS, sql::DELETE_INTERVAL] {
            tx.execute(delete, params![run.num, at]).await?;
        }
        tx.execute(sql::INSERT_INTERVAL, head).await?;
    }
    for (index, step) in &interval.steps {
        tx.execute(sql::INSERT_STEP, &step_values(run, interval.second, *index, step)?).await?;
    }
    for (index, scenario) in &interval.scenarios {
        tx.execute(sql::INSERT_SCENARIO, &scenario_values(run, interval.second, *index, scenario)?).await?;
    }
    for (index, duration) in &interval.groups {
        let mut values = params![run.num, run.at(interval.second), interval.second, *index].to_vec();
        values.push(Value::histogram(duration));
        tx.execute(sql::INSERT_GROUP, &values).await?;
    }
    Ok(())
}

pub(super) fn step_values(run: Key, second: u32, index: u16, step: &StepInterval) -> StoreResult<Vec<Value<'static>>> {
    let failures = if step.failures.is_empty() { None } else { Some(json(&step.failures)?) };
    let messages = if step.messages.is_empty() { None } else { Some(json(&step.messages)?) };
    let checks = if step.checks.is_empty() {
        None
    } else {
        Some(json(&step.checks.iter().map(|check| (check.passed, check.failed)).collect::<Vec<_>>())?)
    };
    let mut values = params![run.num, run.at(second), second, index, step.ok, step.failed(), failures, messages].to_vec();
    values.extend(latencies::values(step));
    let phases = &step.phases;
    values.extend_from_slice(params![
        phases.blocked_us,
        phases.dns_us,
        phases.connecting_us,
        phases.tls_us,
        phases.sending_us,
        phases.waiting_us,
        phases.receiving_us,
        step.bytes_sent,
        step.bytes_received,
        step.connections,
        checks,
        Rare::text(step)?,
    ]);
    Ok(values)
}

pub(super) fn scenario_values(run: Key, second: u32, index: u16, scenario: &ScenarioInterval) -> StoreResult<Vec<Value<'static>>> {
    let counts = &scenario.counts;
    let broke_off = if scenario.broke_off.is_empty() { None } else { Some(json(&scenario.broke_off)?) };
    let mut values = params![
        run.num,
        run.at(second),
        second,
        index,
        counts.scheduled,
        counts.started,
        counts.completed,
        counts.failed,
        counts.interrupted,
        counts.dropped,
        counts.unsent,
        scenario.vus,
        scenario.vus_busy,
        scenario.with_failed_check,
        broke_off,
    ]
    .to_vec();
    values.extend([&scenario.iteration_duration, &scenario.dropped_wait, &scenario.start_lag].map(Value::histogram));
    Ok(values)
}

/// Seconds `from <= second < to` of a run, ascending; none when the run is not stored.
pub(super) async fn list<D: Dialect>(tx: &mut Tx<'_, D>, run: &RunId, from: u32, to: u32) -> StoreResult<Vec<Interval>> {
    let Some(run) = Key::find(tx, run).await? else { return Ok(Vec::new()) };
    list_of(tx, run, from, to).await
}

/// The same of a run whose key is known.
pub(super) async fn list_of<D: Dialect>(tx: &mut Tx<'_, D>, run: Key, from: u32, to: u32) -> StoreResult<Vec<Interval>> {
    let mut seconds = without_steps(tx, run, from, to).await?;
    tx.each(sql::STEPS, params![run.num, run.at(from), run.at(to)], |row| {
        let (second, step) = (row.number()?, read_step(row)?);
        if let Some(interval) = seconds.get_mut(&second) {
            interval.steps.insert(step.step, step);
        }
        Ok(())
    })
    .await?;
    Ok(seconds.into_values().collect())
}

/// The same without their steps, by their second.
async fn without_steps<D: Dialect>(tx: &mut Tx<'_, D>, run: Key, from: u32, to: u32) -> StoreResult<BTreeMap<u32, Interval>> {
    let span = params![run.num, run.at(from), run.at(to)];
    let heads = tx.at_most(MOST_SECONDS, sql::INTERVALS, span, read_head).await?;
    let mut seconds: BTreeMap<u32, Interval> = heads.into_iter().map(|interval| (interval.second, interval)).collect();
    tx.each(sql::SCENARIOS, span, |row| {
        let (second, scenario) = (row.number()?, read_scenario(row)?);
        if let Some(interval) = seconds.get_mut(&second) {
            interval.scenarios.insert(scenario.scenario, scenario);
        }
        Ok(())
    })
    .await?;
    tx.each(sql::GROUPS, span, |row| {
        let (second, group): (u32, u16) = (row.number()?, row.number()?);
        let duration = row.histogram()?;
        if let Some(interval) = seconds.get_mut(&second) {
            interval.groups.insert(group, duration);
        }
        Ok(())
    })
    .await?;
    Ok(seconds)
}

pub(super) fn read_head<D: Dialect>(row: &mut Columns<'_, D>) -> StoreResult<Interval> {
    Ok(Interval {
        second: row.number()?,
        generator_stall: Duration::from_micros(row.number()?),
        generator_busiest: None,
        generator_cpu: row.opt_real()?,
        shards: row.number()?,
        ..Interval::default()
    })
}

pub(super) fn read_step<D: Dialect>(row: &mut Columns<'_, D>) -> StoreResult<StepInterval> {
    let mut step = StepInterval::default();
    read_step_into(row, &mut step)?;
    Ok(step)
}

/// The same into one that is there: its histograms keep their memory.
pub(super) fn read_step_into<D: Dialect>(row: &mut Columns<'_, D>, step: &mut StepInterval) -> StoreResult<()> {
    step.step = row.number()?;
    step.ok = row.number()?;
    step.failures = row.opt_json()?.unwrap_or_default();
    step.messages = row.opt_json()?.unwrap_or_default();
    latencies::read(row, step)?;
    step.phases = PhaseSums {
        blocked_us: row.number()?,
        dns_us: row.number()?,
        connecting_us: row.number()?,
        tls_us: row.number()?,
        sending_us: row.number()?,
        waiting_us: row.number()?,
        receiving_us: row.number()?,
    };
    step.bytes_sent = row.number()?;
    step.bytes_received = row.number()?;
    step.connections = row.number()?;
    step.checks.clear();
    for (passed, failed) in row.opt_json::<Vec<(u64, u64)>>()?.unwrap_or_default() {
        step.checks.push(CheckCount { passed, failed });
    }
    row.opt_json::<Rare>()?.unwrap_or_default().fill(step);
    Ok(())
}

pub(super) fn read_scenario<D: Dialect>(row: &mut Columns<'_, D>) -> StoreResult<ScenarioInterval> {
    Ok(ScenarioInterval {
        scenario: row.number()?,
        counts: Accounting {
            scheduled: row.number()?,
            started: row.number()?,
            completed: row.number()?,
            failed: row.number()?,
            interrupted: row.number()?,
            dropped: row.number()?,
            unsent: row.number()?,
        },
        vus: row.number()?,
        vus_busy: row.number()?,
        with_failed_check: row.number()?,
        broke_off: row.opt_json()?.unwrap_or_default(),
        iteration_duration: row.histogram()?,
        dropped_wait: row.histogram()?,
        start_lag: row.histogram()?,
    })
}
