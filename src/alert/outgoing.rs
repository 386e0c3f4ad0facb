//! A decision written out for its channels: one row per message and channel, with an id that is the same whenever it is written again.

use super::message::{Links, compose};
use super::{Decision, Told};
use crate::model::alerting::{Message, OutboxState, Outgoing};
use crate::model::units::Timestamp;

/// The rows to store together with `decision`, which was made at `now`: `<incident>-<seq>-<channel>`.
pub fn outgoing(decision: &Decision, now: Timestamp, links: Links<'_>) -> Vec<Outgoing> {
    decision.messages.iter().flat_map(|told| rows(told, now, links)).collect()
}

fn rows(told: &Told, now: Timestamp, links: Links<'_>) -> Vec<Outgoing> {
    let Some(message) = compose(told, links) else { return Vec::new() };
    told.channels.iter().map(|channel| addressed(&message, channel, now)).collect()
}

/// A message for one channel, to be sent from `now` on: `<incident>-<seq>-<channel>`.
pub fn addressed(message: &Message, channel: &str, now: Timestamp) -> Outgoing {
    Outgoing {
        id: format!("{}-{}-{channel}", message.incident, message.seq),
        channel: channel.to_owned(),
        message: message.clone(),
        state: OutboxState::Waiting,
        attempts: 0,
        created_at: now,
        not_before: now,
        leased_until: None,
        done_at: None,
        detail: String::new(),
    }
}
