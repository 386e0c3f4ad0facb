//! Alerts and the outbox: the state of each alert, its history, and the messages that tell of it, written in one transaction.
//! Messages are leased by senders; of one incident and channel only the earliest that is not done is ever given out.

use std::collections::BTreeMap;
use std::time::Duration;

use super::dialect::{Columns, Dialect, Value, params};
use super::shared::{Tx, json, limit_or_default};
use super::{AlertChange, OutboxStats, Settlement, StoreError, StoreResult, sql, telling};
use crate::model::alerting::{AlertInstance, AlertState, MessageKind, OutboxState, Outgoing, Transition};
use crate::model::units::Timestamp;

pub(super) async fn commit<D: Dialect>(tx: &mut Tx<'_, D>, change: &AlertChange) -> StoreResult<()> {
    for fingerprint in &change.forgotten {
        tx.execute(sql::FORGET_ALERT, params![fingerprint]).await?;
    }
    for instance in &change.instances {
        save_instance(tx, instance).await?;
    }
    for transition in &change.transitions {
        let values = params![
            &transition.fingerprint,
            &transition.rule,
            &transition.incident,
            transition.from.as_str(),
            transition.to.as_str(),
            transition.at,
            &transition.reason,
            transition.value,
        ];
        tx.execute(sql::INSERT_TRANSITION, values).await?;
    }
    for message in &change.messages {
        save_message(tx, message).await?;
    }
    telling::commit(tx, &change.threads, &change.threads_forgotten).await
}

async fn save_instance<D: Dialect>(tx: &mut Tx<'_, D>, instance: &AlertInstance) -> StoreResult<()> {
    let values = params![
        &instance.fingerprint,
        &instance.rule,
        json(&instance.labels)?,
        instance.state.as_str(),
        instance.since,
        instance.active_since,
        instance.clear_since,
        instance.last_data,
        instance.value,
        &instance.shown,
        &instance.incident,
        instance.opened_at,
        json(&instance.told)?,
        instance.messages,
        instance.last_message,
        &instance.run,
        &instance.muted,
        instance.acked.as_ref().map(json).transpose()?,
    ];
    tx.execute(sql::SAVE_ALERT, values).await.map(drop)
}

async fn save_message<D: Dialect>(tx: &mut Tx<'_, D>, outgoing: &Outgoing) -> StoreResult<()> {
    let values = params![
        &outgoing.id,
        &outgoing.channel,
        &outgoing.message.incident,
        outgoing.message.seq,
        json(&outgoing.message)?,
        outgoing.state.as_str(),
        outgoing.attempts,
        outgoing.created_at,
        outgoing.not_before,
        outgoing.leased_until,
        outgoing.done_at,
        &outgoing.detail,
    ];
    tx.execute(sql::INSERT_MESSAGE, values).await.map(drop)
}

pub(super) async fn list<D: Dialect>(tx: &mut Tx<'_, D>) -> StoreResult<Vec<AlertInstance>> {
    tx.list(sql::ALERTS, &[], |row| {
        Ok(AlertInstance {
            fingerprint: row.string()?,
            rule: row.string()?,
            labels: row.json()?,
            state: row.word(AlertState::parse)?,
            since: row.time()?,
            active_since: row.opt_time()?,
            clear_since: row.opt_time()?,
            last_data: row.opt_time()?,
            value: row.opt_real()?,
            shown: row.string()?,
            incident: row.opt_string()?,
            opened_at: row.opt_time()?,
            told: row.json()?,
            messages: row.number()?,
            last_message: row.opt_time()?,
            run: row.opt_run()?,
            muted: row.opt_string()?,
            acked: row.opt_json()?,
        })
    })
    .await
}

pub(super) async fn transitions<D: Dialect>(tx: &mut Tx<'_, D>, fingerprint: Option<&str>, limit: u32) -> StoreResult<Vec<Transition>> {
    tx.list(sql::TRANSITIONS, &[Value::from(fingerprint), limit_or_default(limit)], |row| {
        Ok(Transition {
            fingerprint: row.string()?,
            rule: row.string()?,
            incident: row.opt_string()?,
            from: row.word(AlertState::parse)?,
            to: row.word(AlertState::parse)?,
            at: row.time()?,
            reason: row.string()?,
            value: row.opt_real()?,
        })
    })
    .await
}

pub(super) async fn lease<D: Dialect>(
    tx: &mut Tx<'_, D>,
    now: Timestamp,
    lease: Duration,
    limit: u32,
    owner: Option<&str>,
    channel: Option<&str>,
) -> StoreResult<Vec<Outgoing>> {
    let mut leased = tx.list(D::LEASE, params![now, now.plus(lease), limit, owner, channel], read_message).await?;
    leased.sort_by_key(|(num, _)| *num);
    Ok(leased.into_iter().map(|(_, outgoing)| outgoing).collect())
}

/// Records the outcome of an attempt. A message that is done stays as it is: its lease ran out and another sender was quicker.
pub(super) async fn settle<D: Dialect>(tx: &mut Tx<'_, D>, settlement: &Settlement) -> StoreResult<()> {
    let done_at = (settlement.state != OutboxState::Waiting).then_some(settlement.at);
    // A message that was merged into another was not tried.
    let attempts = u32::from(settlement.state != OutboxState::Merged);
    let values = params![&settlement.id, settlement.state.as_str(), attempts, settlement.not_before, done_at, &settlement.detail];
    if tx.execute(sql::SETTLE, values).await? == 0 && tx.number(sql::MESSAGE_EXISTS, params![&settlement.id]).await? == 0 {
        return Err(StoreError::Other(format!("message {} is not stored", settlement.id)));
    }
    Ok(())
}

pub(super) async fn messages<D: Dialect>(tx: &mut Tx<'_, D>, state: Option<OutboxState>, limit: u32) -> StoreResult<Vec<Outgoing>> {
    let values = [Value::from(state.map(OutboxState::as_str)), limit_or_default(limit)];
    Ok(tx.list(sql::MESSAGES, &values, read_message).await?.into_iter().map(|(_, outgoing)| outgoing).collect())
}

/// All messages of one incident and channel, in their order.
pub(super) async fn messages_of<D: Dialect>(tx: &mut Tx<'_, D>, incident: &str, channel: &str) -> StoreResult<Vec<Outgoing>> {
    let found = tx.list(sql::MESSAGES_OF, params![incident, channel], read_message).await?;
    Ok(found.into_iter().map(|(_, outgoing)| outgoing).collect())
}

/// Of each incident the last message that arrived: while it is open, and its resolve when that arrived at `since` or later.
pub(super) async fn told<D: Dialect>(tx: &mut Tx<'_, D>, channel: &str, since: Timestamp) -> StoreResult<Vec<Outgoing>> {
    let found = tx.list(sql::TOLD, params![channel, since], |row| Ok((read_message(row)?.1, row.int()? != 0))).await?;
    let mut last: BTreeMap<String, (Outgoing, bool)> = BTreeMap::new();
    for (outgoing, is_open) in found {
        last.insert(outgoing.message.incident.clone(), (outgoing, is_open));
    }
    let holds = |(outgoing, is_open): &(Outgoing, bool)| match outgoing.message.kind {
        MessageKind::Fired | MessageKind::Reminder | MessageKind::Acknowledged | MessageKind::Changed => *is_open,
        MessageKind::Resolved => outgoing.done_at.is_some_and(|at| at >= since),
        MessageKind::FiredAndResolved | MessageKind::Digest | MessageKind::Test => false,
    };
    Ok(last.into_values().filter(holds).map(|(outgoing, _)| outgoing).collect())
}

pub(super) async fn stats<D: Dialect>(tx: &mut Tx<'_, D>) -> StoreResult<OutboxStats> {
    let stats = tx.first(sql::OUTBOX_STATS, &[], |row| Ok(OutboxStats { waiting: row.number()?, oldest: row.opt_time()? })).await?;
    Ok(stats.unwrap_or_default())
}

fn read_message<D: Dialect>(row: &mut Columns<'_, D>) -> StoreResult<(i64, Outgoing)> {
    let num = row.int()?;
    let outgoing = Outgoing {
        id: row.string()?,
        channel: row.string()?,
        message: row.json()?,
        state: row.word(OutboxState::parse)?,
        attempts: row.number()?,
        created_at: row.time()?,
        not_before: row.time()?,
        leased_until: row.opt_time()?,
        done_at: row.opt_time()?,
        detail: row.string()?,
    };
    Ok((num, outgoing))
}
