//! How a channel fares: whether messages arrive there. Kept by the outbox, shown on the page, told of through the other channels.

use serde::{Deserialize, Serialize};

use super::units::Timestamp;

/// How one channel fares, restarts included.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelHealth {
    /// Name in the configuration.
    pub channel: String,
    /// Since when no message has arrived although some were tried; `None` after one that did.
    pub failing_since: Option<Timestamp>,
    /// The last message was refused for good (an address or a token that is not accepted): trying again does not help.
    pub broken: bool,
    /// What the receiver said last, without secrets; empty after a success.
    pub error: String,
    /// When a message last arrived.
    pub delivered_at: Option<Timestamp>,
    /// Messages that were given up.
    pub dropped: u64,
}

impl ChannelHealth {
    /// A message arrived.
    pub fn delivered(&mut self, now: Timestamp) {
        (self.failing_since, self.broken, self.delivered_at) = (None, false, Some(now));
        self.error.clear();
    }

    /// A message did not arrive; `for_good`: and never will, `broken`: because of what the receiver says.
    pub fn failed(&mut self, error: &str, for_good: bool, broken: bool, now: Timestamp) {
        self.failing_since.get_or_insert(now);
        error.clone_into(&mut self.error);
        self.broken = broken;
        self.dropped += u64::from(for_good);
    }
}
