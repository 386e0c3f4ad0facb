//! Tells again what a receiver forgets that is not told again, as Alertmanager does: what fires, as often as it wants; what is over, for
//! a quarter of an hour, so that one that was away hears of it. Nothing of this is counted or stored: the messages have arrived once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::OutboxParts;
use crate::notify::{Delivery, LONGEST_ATTEMPT, Notifier};
use crate::store::StoreResult;

/// How long what is over is told again.
const OVER_FOR: Duration = Duration::from_secs(15 * 60);

/// When which channel was told again.
#[derive(Default)]
pub(super) struct Again {
    last: BTreeMap<String, Duration>,
    busy: BTreeSet<String>,
    on_the_way: JoinSet<String>,
}

impl Again {
    /// Begins to tell every channel whose time has come; `since` is the time since the outbox began.
    pub(super) async fn turn(
        &mut self,
        parts: &OutboxParts,
        notifiers: &BTreeMap<String, Result<Arc<dyn Notifier>, String>>,
        since: Duration,
    ) -> StoreResult<()> {
        while let Some(ended) = self.on_the_way.try_join_next() {
            match ended {
                Ok(channel) => drop(self.busy.remove(&channel)),
                Err(error) => {
                    tracing::error!(%error, "telling a channel again broke off; this is a bug in Plimsoll");
                    self.busy.clear();
                }
            }
        }
        let setup = parts.setup.borrow().clone();
        for (channel, spec) in &setup.channels {
            let (Some(every), Some(Ok(notifier))) = (spec.settings.tell_again(), notifiers.get(channel)) else { continue };
            let is_due = self.last.get(channel).is_none_or(|last| since.saturating_sub(*last) >= every);
            if !is_due || self.busy.contains(channel) {
                continue;
            }
            let told = parts.store.told(channel, parts.clock.now().minus(OVER_FOR)).await?;
            self.last.insert(channel.clone(), since);
            if told.is_empty() {
                continue;
            }
            self.busy.insert(channel.clone());
            let (channel, notifier, store) = (channel.clone(), notifier.clone(), parts.store.clone());
            self.on_the_way.spawn(async move {
                for message in told {
                    // What is on its way by now says more, and a fire after its resolve would open it again.
                    let Ok(all) = store.messages_of(&message.message.incident, &channel).await else { break };
                    if all.last().is_none_or(|last| last.id != message.id) {
                        continue;
                    }
                    let told = timeout(LONGEST_ATTEMPT, notifier.send(&message)).await;
                    if !matches!(told, Ok(Delivery::Delivered(_))) {
                        // The next turn comes soon, and whoever is away now need not be asked for each.
                        tracing::debug!(channel, id = message.id, ?told, "a channel could not be told again");
                        break;
                    }
                }
                channel
            });
        }
        Ok(())
    }
}
