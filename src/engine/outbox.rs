//! Sends what the store says is to be sent: leases, sends, settles. At least once: after a crash, a lease runs out and the message
//! goes again under the same id. Each message is sent on its own, so that one channel never blocks another.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::duty::Duty;
use super::handle::Event;
use super::setup::Setup;
use crate::clock::SharedClock;
use crate::metrics::Metrics;
use crate::model::alerting::{OutboxState, Outgoing};
use crate::notify::{Delivery, Notifier, NotifyParts, retry};
use crate::store::{OutboxStats, Settlement, Store};

/// How long a message is leased; longer than the longest attempt. When its sender is gone, it is free as soon as that is noticed.
const LEASE: Duration = Duration::from_secs(90);
/// Longest time for one attempt, whatever the channel's own limit.
const LONGEST_ATTEMPT: Duration = Duration::from_secs(60);
/// Messages on their way at one time.
const AT_ONCE: usize = 200;

/// What the outbox works with.
#[derive(Clone)]
pub struct OutboxParts {
    /// Where messages are kept.
    pub store: Arc<dyn Store>,
    /// The wall clock.
    pub clock: SharedClock,
    /// For figures.
    pub metrics: Arc<Metrics>,
    /// For everyone who looks on.
    pub events: broadcast::Sender<Event>,
    /// For making notifiers.
    pub notify: NotifyParts,
    /// The configuration in force.
    pub setup: watch::Receiver<Arc<Setup>>,
    /// Figures for status.
    pub stats: watch::Sender<OutboxStats>,
    /// Whether this daemon is in charge: the others send nothing.
    pub duty: watch::Receiver<Duty>,
}

/// The sender.
pub struct Outbox {
    parts: OutboxParts,
    notifiers: BTreeMap<String, Result<Arc<dyn Notifier>, String>>,
    on_the_way: JoinSet<()>,
    /// The store could not be read the last time; said once.
    unreadable: bool,
}

impl Outbox {
    /// A sender with a notifier for each channel of the configuration.
    pub fn new(parts: OutboxParts) -> Self {
        let mut outbox = Self { parts, notifiers: BTreeMap::new(), on_the_way: JoinSet::new(), unreadable: false };
        outbox.reconfigure();
        outbox
    }

    fn reconfigure(&mut self) {
        let setup = self.parts.setup.borrow_and_update().clone();
        self.notifiers = setup.channels.iter().map(|(name, spec)| (name.clone(), spec.settings.connect(&self.parts.notify))).collect();
        for (channel, notifier) in &self.notifiers {
            if let Err(error) = notifier {
                tracing::error!(channel, error, "a channel cannot be used");
            }
        }
    }

    /// Sends until `stop`; then what is due is tried once more within `drain`.
    pub async fn run(mut self, stop: CancellationToken, drain: Duration) {
        let mut every = interval(Duration::from_millis(500));
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = every.tick() => self.send_due().await,
                Some(_) = self.on_the_way.join_next() => {}
                Ok(()) = self.parts.setup.changed() => self.reconfigure(),
                () = stop.cancelled() => break,
            }
        }
        let rest = async {
            self.send_due().await;
            while self.on_the_way.join_next().await.is_some() {}
        };
        if timeout(drain, rest).await.is_err() {
            tracing::warn!("messages are still on their way; they are sent after the next start");
        }
    }

    async fn send_due(&mut self) {
        let in_charge = self.parts.duty.borrow().in_charge;
        let room = if in_charge { AT_ONCE.saturating_sub(self.on_the_way.len()) } else { 0 };
        if room > 0 {
            match self.parts.store.lease_messages(self.parts.clock.now(), LEASE, room as u32).await {
                Ok(messages) => {
                    if std::mem::take(&mut self.unreadable) {
                        tracing::info!("the outbox can be read again");
                    }
                    for message in messages {
                        self.send(message);
                    }
                }
                Err(error) => {
                    if !std::mem::replace(&mut self.unreadable, true) {
                        tracing::warn!(%error, "the outbox cannot be read; nothing is sent until it can");
                    }
                    self.parts.metrics.storage_error("lease_messages");
                }
            }
        }
        if let Ok(stats) = self.parts.store.outbox_stats().await {
            self.parts.metrics.outbox(stats.waiting, stats.oldest);
            self.parts.stats.send_replace(stats);
        }
    }

    fn send(&mut self, message: Outgoing) {
        let notifier = self.notifiers.get(&message.channel).cloned();
        let parts = self.parts.clone();
        self.on_the_way.spawn(async move {
            let delivery = match notifier {
                Some(Ok(notifier)) => match timeout(LONGEST_ATTEMPT, notifier.send(&message)).await {
                    Ok(delivery) => delivery,
                    Err(_) => Delivery::Retry {
                        class: "timeout",
                        reason: format!("no answer within {} s", LONGEST_ATTEMPT.as_secs()),
                        after: None,
                    },
                },
                Some(Err(reason)) => Delivery::Retry { class: "client_error", reason, after: None },
                None => Delivery::GiveUp { class: "client_error", reason: "the channel is no longer configured".into() },
            };
            settle(&parts, &message, &delivery).await;
        });
    }
}

/// Records what became of an attempt.
async fn settle(parts: &OutboxParts, message: &Outgoing, delivery: &Delivery) {
    let now = parts.clock.now();
    let jitter = parts_random();
    let next = retry::next(delivery, message.attempts + 1, message.created_at, now, jitter);
    let settlement =
        Settlement { id: message.id.clone(), state: next.state, not_before: next.not_before, at: now, detail: next.detail.clone() };
    let class = match delivery {
        Delivery::Delivered(_) => "",
        Delivery::Retry { class, .. } | Delivery::GiveUp { class, .. } => class,
    };
    let event = match next.state {
        OutboxState::Sent => {
            tracing::info!(channel = message.channel, id = message.id, detail = next.detail, "message sent");
            parts.metrics.notification(&message.channel, "sent", class);
            Event::Delivered(message.channel.clone(), Box::new(message.message.clone()), next.detail.clone())
        }
        OutboxState::Dropped => {
            tracing::error!(channel = message.channel, id = message.id, detail = next.detail, "message given up");
            parts.metrics.notification(&message.channel, "dropped", class);
            Event::NotDelivered(message.channel.clone(), next.detail.clone(), None)
        }
        OutboxState::Waiting | OutboxState::Merged => {
            let wait = next.not_before.since(now);
            tracing::warn!(
                channel = message.channel,
                id = message.id,
                detail = next.detail,
                wait_s = wait.as_secs(),
                "message not sent yet"
            );
            parts.metrics.notification(&message.channel, "failed", class);
            Event::NotDelivered(message.channel.clone(), next.detail.clone(), Some(wait))
        }
    };
    if let Err(error) = parts.store.settle_message(&settlement).await {
        // The lease runs out and the message goes again, under the same id.
        tracing::error!(%error, id = message.id, "the outcome of a message could not be stored");
        parts.metrics.storage_error("settle_message");
    }
    // Nobody may be looking on; that is fine.
    let _ = parts.events.send(event);
}

/// A number from 0 to 1 that spreads retries of many messages.
#[expect(clippy::disallowed_methods, reason = "spreading retries needs no reproducible numbers")]
fn parts_random() -> f64 {
    rand::rng().random()
}
