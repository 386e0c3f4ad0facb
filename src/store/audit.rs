//! Who did what, and how the channels of messages fare. Deeds are only ever added: no statement here changes or deletes one.

use async_trait::async_trait;

use super::StoreResult;
use super::dialect::{Dialect, params};
use super::shared::{SqlStore, json, limit_or_default};
use crate::model::audit::{Deed, DeedKind};
use crate::model::channel::ChannelHealth;

// What a spool writes again is the same entry.
const RECORD: &str = "INSERT INTO deeds (at, by_whom, what, object, detail, refused) VALUES ($1, $2, $3, $4, $5, $6) \
    ON CONFLICT (at, by_whom, what, object) DO NOTHING";
const DEEDS: &str = "SELECT at, by_whom, what, object, detail, refused FROM deeds ORDER BY at DESC, num DESC LIMIT $1";
const HEALTH: &str = "SELECT health FROM channel_health ORDER BY channel";
const SAVE_HEALTH: &str =
    "INSERT INTO channel_health (channel, health) VALUES ($1, $2) ON CONFLICT (channel) DO UPDATE SET health = excluded.health";

/// What a store keeps of who did what, and of how channels fare.
#[async_trait]
pub trait Audit: Send + Sync {
    /// Adds what somebody did. The same moment, person, deed and object again adds nothing.
    async fn record_deed(&self, deed: &Deed) -> StoreResult<()>;
    /// What was done, newest first.
    async fn deeds(&self, limit: u32) -> StoreResult<Vec<Deed>>;
    /// How the channels fared when that was last stored, by name.
    async fn channel_health(&self) -> StoreResult<Vec<ChannelHealth>>;
    /// Writes how a channel fares.
    async fn save_channel_health(&self, health: &ChannelHealth) -> StoreResult<()>;
}

#[async_trait]
impl<D: Dialect> Audit for SqlStore<D> {
    async fn record_deed(&self, deed: &Deed) -> StoreResult<()> {
        let mut tx = self.writing().await?;
        let values = params![deed.at, &deed.by, deed.what.as_str(), &deed.object, &deed.detail, &deed.refused];
        tx.execute(RECORD, values).await?;
        tx.commit().await
    }

    async fn deeds(&self, limit: u32) -> StoreResult<Vec<Deed>> {
        let mut tx = self.reading().await?;
        tx.list(DEEDS, &[limit_or_default(limit)], |row| {
            Ok(Deed {
                at: row.time()?,
                by: row.string()?,
                what: row.word(DeedKind::parse)?,
                object: row.string()?,
                detail: row.string()?,
                refused: row.opt_string()?,
            })
        })
        .await
    }

    async fn channel_health(&self) -> StoreResult<Vec<ChannelHealth>> {
        #[expect(clippy::redundant_closure_for_method_calls, reason = "the bare method is not general over the row's lifetime")]
        let health = self.reading().await?.list(HEALTH, &[], |row| row.json()).await?;
        Ok(health)
    }

    async fn save_channel_health(&self, health: &ChannelHealth) -> StoreResult<()> {
        let mut tx = self.writing().await?;
        tx.execute(SAVE_HEALTH, params![&health.channel, json(health)?]).await?;
        tx.commit().await
    }
}
