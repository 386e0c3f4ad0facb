//! What a channel remembers of an incident between its messages: kept in the store, so that a restart goes on in the same thread.

use std::sync::Arc;

use async_trait::async_trait;

use crate::clock::SharedClock;
use crate::notify::Memory;
use crate::store::Store;

/// The memory of one channel about one incident.
pub(super) struct Remembered {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: SharedClock,
    pub(super) channel: String,
    pub(super) incident: String,
}

#[async_trait]
impl Memory for Remembered {
    async fn recall(&self) -> Result<Option<String>, String> {
        self.store.posted(&self.channel, &self.incident).await.map_err(|error| error.to_string())
    }

    async fn keep(&self, text: &str) -> Result<(), String> {
        self.store.keep_posted(&self.channel, &self.incident, text, self.clock.now()).await.map_err(|error| error.to_string())
    }
}
