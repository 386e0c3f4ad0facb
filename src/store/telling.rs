//! What is told of incidents and when: threads of messages, silences, and the part of the outbox that belongs to one channel.

use std::time::Duration;

use async_trait::async_trait;

use super::dialect::{Dialect, Value, params};
use super::shared::{SqlStore, Tx, json};
use super::{StoreResult, alerts};
use crate::model::alerting::Outgoing;
use crate::model::muting::{AlertThread, Silence};
use crate::model::units::Timestamp;

const THREADS: &str = "SELECT thread FROM alert_threads ORDER BY id";
const SAVE_THREAD: &str = "INSERT INTO alert_threads (id, thread) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET thread = excluded.thread";
const FORGET_THREAD: &str = "DELETE FROM alert_threads WHERE id = $1";
const SILENCES: &str = "SELECT id, matchers, author, comment, created_at, starts_at, ends_at, ended_by FROM silences \
    WHERE ends_at > $1 ORDER BY ends_at DESC, id";
const SAVE_SILENCE: &str = "INSERT INTO silences (id, matchers, author, comment, created_at, starts_at, ends_at, ended_by) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO UPDATE SET ends_at = excluded.ends_at, ended_by = excluded.ended_by";
const DUE_CHANNELS: &str = "SELECT DISTINCT channel FROM outbox WHERE state = 'waiting' AND not_before <= $1 ORDER BY channel";
const REPLACE_MESSAGE: &str = "UPDATE outbox SET message = $2, leased_until = $3, owner = $4 WHERE id = $1 AND state = 'waiting'";
const KEEP_LEASE: &str = "UPDATE outbox SET leased_until = $2 WHERE id = $1 AND state = 'waiting' AND leased_until IS NOT NULL \
    AND ($3 IS NULL OR owner = $3)";
const POSTED: &str = "SELECT kept FROM posted WHERE channel = $1 AND incident = $2";
const KEEP_POSTED: &str = "INSERT INTO posted (channel, incident, kept, at) VALUES ($1, $2, $3, $4) \
    ON CONFLICT (channel, incident) DO UPDATE SET kept = excluded.kept, at = excluded.at";
/// What was not touched for so long, of incidents that are over.
const FORGET_POSTED: &str = "DELETE FROM posted WHERE at < $1 AND NOT EXISTS \
    (SELECT 1 FROM alert_instances a WHERE a.incident = posted.incident)";
/// How long what a channel remembers of an incident is kept.
const POSTED_KEPT: Duration = Duration::from_secs(90 * 24 * 3600);
const MERGE_MESSAGE: &str =
    "UPDATE outbox SET state = 'merged', leased_until = NULL, done_at = $2, detail = $3 WHERE id = $1 AND state = 'waiting'";

/// What a store keeps of who is told what, and when.
#[async_trait]
pub trait Telling: Send + Sync {
    /// Threads that have open members.
    async fn alert_threads(&self) -> StoreResult<Vec<AlertThread>>;
    /// Silences that end after a moment, those that end last first.
    async fn silences(&self, after: Timestamp) -> StoreResult<Vec<Silence>>;
    /// Writes a silence; of one that exists only its end, and who ended it, can change.
    async fn save_silence(&self, silence: &Silence) -> StoreResult<()>;
    /// Channels that have messages which are due.
    async fn due_channels(&self, now: Timestamp) -> StoreResult<Vec<String>>;
    /// The same as `lease_messages`, of one channel.
    async fn lease_for(&self, channel: &str, now: Timestamp, lease: Duration, limit: u32) -> StoreResult<Vec<Outgoing>>;
    /// Prolongs the lease of a message that waits; false when this process does not have it any more.
    async fn keep_lease(&self, id: &str, now: Timestamp, lease: Duration) -> StoreResult<bool>;
    /// All messages of one incident and channel, in their order.
    async fn messages_of(&self, incident: &str, channel: &str) -> StoreResult<Vec<Outgoing>>;
    /// Gives a message that waits this text, leased to the caller, and marks those that it replaces as merged: all or nothing. False,
    /// and nothing is changed, when one of them does not wait any more.
    async fn merge_messages(&self, whole: &Outgoing, replaced: &[String], now: Timestamp, lease: Duration) -> StoreResult<bool>;
    /// What a channel remembers of an incident.
    async fn posted(&self, channel: &str, incident: &str) -> StoreResult<Option<String>>;
    /// Keeps this instead; what was not touched for a season, of incidents that are over, is forgotten.
    async fn keep_posted(&self, channel: &str, incident: &str, kept: &str, now: Timestamp) -> StoreResult<()>;
}

/// Writes the threads of a decision.
pub(super) async fn commit<D: Dialect>(tx: &mut Tx<'_, D>, threads: &[AlertThread], forgotten: &[String]) -> StoreResult<()> {
    for id in forgotten {
        tx.execute(FORGET_THREAD, params![id]).await?;
    }
    for thread in threads {
        tx.execute(SAVE_THREAD, params![&thread.id, json(thread)?]).await?;
    }
    Ok(())
}

#[async_trait]
impl<D: Dialect> Telling for SqlStore<D> {
    async fn alert_threads(&self) -> StoreResult<Vec<AlertThread>> {
        #[expect(clippy::redundant_closure_for_method_calls, reason = "the bare method is not general over the row's lifetime")]
        let threads = self.reading().await?.list(THREADS, &[], |row| row.json()).await?;
        Ok(threads)
    }

    async fn silences(&self, after: Timestamp) -> StoreResult<Vec<Silence>> {
        let mut tx = self.reading().await?;
        tx.list(SILENCES, params![after], |row| {
            Ok(Silence {
                id: row.string()?,
                matchers: row.json()?,
                author: row.string()?,
                comment: row.string()?,
                created_at: row.time()?,
                starts_at: row.time()?,
                ends_at: row.time()?,
                ended_by: row.opt_string()?,
            })
        })
        .await
    }

    async fn save_silence(&self, silence: &Silence) -> StoreResult<()> {
        let mut tx = self.writing().await?;
        let values = params![
            &silence.id,
            json(&silence.matchers)?,
            &silence.author,
            &silence.comment,
            silence.created_at,
            silence.starts_at,
            silence.ends_at,
            &silence.ended_by,
        ];
        tx.execute(SAVE_SILENCE, values).await?;
        tx.commit().await
    }

    async fn due_channels(&self, now: Timestamp) -> StoreResult<Vec<String>> {
        let mut tx = self.reading().await?;
        #[expect(clippy::redundant_closure_for_method_calls, reason = "the bare method is not general over the row's lifetime")]
        let channels = tx.list(DUE_CHANNELS, params![now], |row| row.string()).await?;
        Ok(channels)
    }

    async fn lease_for(&self, channel: &str, now: Timestamp, lease: Duration, limit: u32) -> StoreResult<Vec<Outgoing>> {
        let mut tx = self.writing().await?;
        let owner = self.owner();
        let messages = alerts::lease(&mut tx, now, lease, limit, owner.as_ref().map(|owner| owner.id.as_str()), Some(channel)).await?;
        tx.commit().await?;
        Ok(messages)
    }

    async fn keep_lease(&self, id: &str, now: Timestamp, lease: Duration) -> StoreResult<bool> {
        let mut tx = self.writing().await?;
        let owner = self.owner();
        let owner = owner.as_ref().map(|owner| owner.id.as_str());
        let kept = tx.execute(KEEP_LEASE, params![id, now.plus(lease), owner]).await? > 0;
        tx.commit().await?;
        Ok(kept)
    }

    async fn messages_of(&self, incident: &str, channel: &str) -> StoreResult<Vec<Outgoing>> {
        alerts::messages_of(&mut self.reading().await?, incident, channel).await
    }

    async fn merge_messages(&self, whole: &Outgoing, replaced: &[String], now: Timestamp, lease: Duration) -> StoreResult<bool> {
        let mut tx = self.writing().await?;
        let owner = self.owner();
        let owner = owner.as_ref().map(|owner| owner.id.as_str());
        let values = params![&whole.id, json(&whole.message)?, now.plus(lease), Value::from(owner)];
        let mut changed = tx.execute(REPLACE_MESSAGE, values).await?;
        let detail = format!("told together with {}", whole.id);
        for id in replaced {
            changed += tx.execute(MERGE_MESSAGE, params![id, now, &detail]).await?;
        }
        if changed != replaced.len() as u64 + 1 {
            return Ok(false);
        }
        tx.commit().await?;
        Ok(true)
    }

    async fn posted(&self, channel: &str, incident: &str) -> StoreResult<Option<String>> {
        #[expect(clippy::redundant_closure_for_method_calls, reason = "the bare method is not general over the row's lifetime")]
        let kept = self.reading().await?.first(POSTED, params![channel, incident], |row| row.string()).await?;
        Ok(kept)
    }

    async fn keep_posted(&self, channel: &str, incident: &str, kept: &str, now: Timestamp) -> StoreResult<()> {
        let mut tx = self.writing().await?;
        tx.execute(FORGET_POSTED, params![now.minus(POSTED_KEPT)]).await?;
        tx.execute(KEEP_POSTED, params![channel, incident, kept, now]).await?;
        tx.commit().await
    }
}
