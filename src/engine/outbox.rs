//! Sends what the store says is to be sent: leases, sends, settles. At least once: after a crash, a lease runs out and the message
//! goes again under the same id. Each channel has its own queue, its own places and its own pace, so that none ever blocks another.

mod again;
mod chart;
mod health;
mod memory;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use self::again::Again;
use self::health::Health;
use self::memory::Remembered;
use super::duty::Duty;
use super::fail_point::FailPoint;
use super::handle::Event;
use super::setup::Setup;
use crate::alert::{merged, merged_group};
use crate::clock::SharedClock;
use crate::metrics::Metrics;
use crate::model::alerting::{Message, MessageKind, OutboxState, Outgoing};
use crate::model::channel::ChannelHealth;
use crate::notify::{Bucket, Chart, Delivery, Extras, LONGEST_ATTEMPT, Notifier, NotifyParts, Rate, Words, retry};
use crate::store::{OutboxStats, Settlement, Store, StoreResult};

/// How long a message is leased; longer than `LONGEST_ATTEMPT`, or two would send it at once. When its sender is gone, it is free as soon as that is noticed.
const LEASE: Duration = Duration::from_secs(90);
/// A lease that is so old is looked at again before anything is sent: the process may have been held up, and be taken for gone
/// (`duty::SILENCE` is longer).
const FRESH: Duration = Duration::from_secs(10);
/// Messages on their way to one channel at one time.
const AT_ONCE: u32 = 8;
/// A fire that has waited so long, or was tried in vain, is told together with its resolve when that waits, too.
const LATE: Duration = Duration::from_secs(60);

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
    /// How the channels fare.
    pub health: watch::Sender<Vec<ChannelHealth>>,
    /// Where tests let the process die.
    pub fail_point: FailPoint,
}

/// What became of an attempt.
struct Ended {
    channel: String,
    /// `None` when nothing was tried, because the message is somebody else's by now.
    delivery: Option<Delivery>,
    dropped: bool,
}

/// The place of one channel.
struct Lane {
    bucket: Bucket,
    on_the_way: u32,
}

/// The sender.
pub struct Outbox {
    parts: OutboxParts,
    notifiers: BTreeMap<String, Result<Arc<dyn Notifier>, String>>,
    on_the_way: JoinSet<Ended>,
    lanes: BTreeMap<String, Lane>,
    health: Health,
    again: Again,
    /// Times of buckets count from here.
    began: Instant,
    /// The store could not be read the last time; said once.
    unreadable: bool,
}

impl Outbox {
    /// A sender with a notifier for each channel of the configuration.
    pub fn new(parts: OutboxParts) -> Self {
        let mut outbox = Self {
            parts,
            notifiers: BTreeMap::new(),
            on_the_way: JoinSet::new(),
            lanes: BTreeMap::new(),
            health: Health::default(),
            again: Again::default(),
            began: Instant::now(),
            unreadable: false,
        };
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
        for (name, spec) in &setup.channels {
            let rate = spec.settings.rate();
            let lane = self.lanes.entry(name.clone()).or_insert_with(|| Lane { bucket: Bucket::new(rate), on_the_way: 0 });
            lane.bucket.change(rate);
        }
        self.health.retain(|channel| setup.channels.contains_key(channel));
        self.parts.health.send_replace(self.health.all());
    }

    /// Sends until `stop`; then what is due is tried once more within `drain`.
    pub async fn run(mut self, stop: CancellationToken, drain: Duration) {
        let mut every = interval(Duration::from_millis(500));
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // Stopping comes first: with the database away the next tick is always due.
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = every.tick() => self.send_due().await,
                Some(ended) = self.on_the_way.join_next() => self.ended(ended),
                Ok(()) = self.parts.setup.changed() => self.reconfigure(),
            }
        }
        let rest = async {
            self.send_due().await;
            while let Some(ended) = self.on_the_way.join_next().await {
                self.ended(ended);
            }
            // What cannot be stored now is found again by the next attempt.
            let _ = self.keep_health().await;
        };
        if timeout(drain, rest).await.is_err() {
            tracing::warn!("messages are still on their way; they are sent after the next start");
        }
    }

    /// An attempt is over: its place is free again, and the channel may have asked for time.
    fn ended(&mut self, ended: Result<Ended, tokio::task::JoinError>) {
        let Ended { channel, delivery, dropped } = match ended {
            Ok(ended) => ended,
            Err(error) => {
                tracing::error!(%error, "sending a message broke off; this is a bug in Plimsoll. It is sent again when its lease runs out");
                // Whose it was is not known: all places are free again.
                self.lanes.values_mut().for_each(|lane| lane.on_the_way = 0);
                return;
            }
        };
        if let Some(lane) = self.lanes.get_mut(&channel) {
            lane.on_the_way = lane.on_the_way.saturating_sub(1);
        }
        let Some(delivery) = delivery else { return };
        if let Some(lane) = self.lanes.get_mut(&channel)
            && let Delivery::Retry { after: Some(after), .. } = &delivery
        {
            lane.bucket.hold(self.began.elapsed(), (*after).min(retry::LONGEST));
        }
        self.health.note(&channel, &delivery, dropped, self.parts.clock.now());
        self.parts.health.send_replace(self.health.all());
    }

    /// Reads how the channels fared before, once this daemon is in charge, and writes what has changed of it. What fails is tried again.
    async fn keep_health(&mut self) -> StoreResult<()> {
        if !self.parts.duty.borrow().in_charge {
            // Another one sends by now, and stores how that goes.
            self.health = Health::default();
            return Ok(());
        }
        if !self.health.restored {
            let stored = self.parts.store.channel_health().await?;
            let setup = self.parts.setup.borrow().clone();
            self.health.restore(stored, |channel| setup.channels.contains_key(channel));
            self.parts.health.send_replace(self.health.all());
        }
        for health in self.health.unsaved() {
            self.parts.store.save_channel_health(&health).await?;
            self.health.saved(&health);
        }
        Ok(())
    }

    async fn send_due(&mut self) {
        if self.parts.duty.borrow().in_charge
            && let Err(error) = self.lease_and_send().await
        {
            if !std::mem::replace(&mut self.unreadable, true) {
                tracing::warn!(%error, "the outbox cannot be read; nothing is sent until it can");
            }
            self.parts.metrics.storage_error("lease_messages");
        }
        if self.parts.duty.borrow().in_charge
            && let Err(error) = self.again.turn(&self.parts, &self.notifiers, self.began.elapsed()).await
        {
            tracing::debug!(%error, "what is to be told again cannot be read");
        }
        if let Err(error) = self.keep_health().await {
            tracing::debug!(%error, "how the channels fare cannot be stored at present");
            self.parts.metrics.storage_error("channel_health");
        }
        if let Ok(stats) = self.parts.store.outbox_stats().await {
            self.parts.metrics.outbox(stats.waiting, stats.oldest);
            self.parts.stats.send_replace(stats);
        }
    }

    /// Of each channel takes as many messages as have room there, and sends them.
    async fn lease_and_send(&mut self) -> StoreResult<()> {
        let now = self.parts.clock.now();
        let channels = self.parts.store.due_channels(now).await?;
        if std::mem::take(&mut self.unreadable) {
            tracing::info!("the outbox can be read again");
        }
        for channel in channels {
            let since = self.began.elapsed();
            let lane = self.lanes.entry(channel.clone()).or_insert_with(|| Lane { bucket: Bucket::new(Rate::default()), on_the_way: 0 });
            let room = AT_ONCE.saturating_sub(lane.on_the_way).min(lane.bucket.available(since));
            if room == 0 {
                continue;
            }
            let leased = Instant::now();
            let messages = self.parts.store.lease_for(&channel, now, LEASE, room).await?;
            let taken = messages.len() as u32;
            lane.bucket.take(taken);
            lane.on_the_way += taken;
            for message in messages {
                self.parts.fail_point.reached("after-lease");
                self.send(message, leased);
            }
        }
        Ok(())
    }

    fn send(&mut self, message: Outgoing, leased: Instant) {
        let notifier = self.notifiers.get(&message.channel).cloned();
        let parts = self.parts.clone();
        self.on_the_way.spawn(async move {
            let message = whole(&parts, message).await;
            parts.fail_point.reached("before-send");
            if leased.elapsed() > FRESH && !is_still_ours(&parts, &message).await {
                return Ended { channel: message.channel, delivery: None, dropped: false };
            }
            let delivery = match notifier {
                Some(Ok(notifier)) => attempt(&parts, notifier.as_ref(), &message).await,
                Some(Err(reason)) => Delivery::Retry { class: "client_error", reason, after: None },
                None => Delivery::GiveUp { class: "client_error", reason: "the channel is no longer configured".into() },
            };
            parts.fail_point.reached("after-send");
            let dropped = settle(&parts, &message, &delivery).await == OutboxState::Dropped;
            parts.fail_point.reached("after-settle");
            Ended { channel: message.channel, delivery: Some(delivery), dropped }
        });
    }
}

/// Asks for the lease once more. Without an answer nothing is sent: the message waits, and goes when its lease is over.
async fn is_still_ours(parts: &OutboxParts, message: &Outgoing) -> bool {
    match parts.store.keep_lease(&message.id, parts.clock.now(), LEASE).await {
        Ok(true) => true,
        Ok(false) => {
            tracing::warn!(
                id = message.id,
                "this process was held up for so long that a message is somebody else's by now; it is not sent here"
            );
            false
        }
        Err(error) => {
            tracing::warn!(%error, id = message.id, "it is not known whether a message is still ours; it is not sent now");
            parts.metrics.storage_error("keep_lease");
            false
        }
    }
}

/// One attempt, with what goes along.
async fn attempt(parts: &OutboxParts, notifier: &dyn Notifier, message: &Outgoing) -> Delivery {
    let setup = parts.setup.borrow().clone();
    let chart = if notifier.takes_charts() { chart::of(&parts.store, &setup, &message.message).await } else { Chart::None };
    let memory = Arc::new(Remembered {
        store: parts.store.clone(),
        clock: parts.clock.clone(),
        channel: message.channel.clone(),
        incident: message.message.incident.clone(),
    });
    let (own, words) = match setup.templates.get(&message.channel) {
        Some(template) => template.apply_or_say(&message.message),
        None => (message.message.clone(), Words::default()),
    };
    let message = &Outgoing { message: own, ..message.clone() };
    let extras = Extras { chart, words, memory: Some(memory) };
    match timeout(LONGEST_ATTEMPT, notifier.send_with(message, &extras)).await {
        Ok(delivery) => delivery,
        Err(_) => Delivery::Retry { class: "timeout", reason: format!("no answer within {} s", LONGEST_ATTEMPT.as_secs()), after: None },
    }
}

/// What is sent in place of a message: a fire that could not be delivered before its incident was over, and its resolve, are one message,
/// under the id of the resolve. So is a resolve whose fire was given up. Anything else is sent as it is, also what cannot be merged now.
async fn whole(parts: &OutboxParts, message: Outgoing) -> Outgoing {
    let now = parts.clock.now();
    let late = message.attempts > 0 || now.since(message.created_at) >= LATE;
    let asks = match message.message.kind {
        MessageKind::Fired => late,
        MessageKind::Resolved => true,
        MessageKind::Reminder
        | MessageKind::FiredAndResolved
        | MessageKind::Acknowledged
        | MessageKind::Changed
        | MessageKind::Digest
        | MessageKind::Test => false,
    };
    if !asks {
        return message;
    }
    let Ok(all) = parts.store.messages_of(&message.message.incident, &message.channel).await else { return message };
    let (Some(fire), Some(last)) = (all.first(), all.last()) else { return message };
    let was_told = all.iter().any(|one| one.state == OutboxState::Sent);
    if was_told || fire.message.kind != MessageKind::Fired || last.message.kind != MessageKind::Resolved {
        return message;
    }
    let together = if fire.message.alerts.is_empty() {
        merged(&fire.message, &last.message)
    } else {
        let parts: Vec<&Message> = all.iter().map(|one| &one.message).collect();
        merged_group(&parts).unwrap_or_else(|| last.message.clone())
    };
    let whole = Outgoing { message: together, ..last.clone() };
    if message.id == last.id {
        return Outgoing { message: whole.message, ..message };
    }
    let waits = |one: &&Outgoing| one.state == OutboxState::Waiting && one.id != last.id;
    let replaced: Vec<String> = all.iter().filter(waits).map(|one| one.id.clone()).collect();
    match parts.store.merge_messages(&whole, &replaced, now, LEASE).await {
        Ok(true) => whole,
        Ok(false) => message,
        Err(error) => {
            tracing::warn!(%error, id = message.id, "a fire and its resolve could not be made one message");
            parts.metrics.storage_error("merge_messages");
            message
        }
    }
}

/// Records what became of an attempt.
async fn settle(parts: &OutboxParts, message: &Outgoing, delivery: &Delivery) -> OutboxState {
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
    next.state
}

/// A number from 0 to 1 that spreads retries of many messages.
#[expect(clippy::disallowed_methods, reason = "spreading retries needs no reproducible numbers")]
fn parts_random() -> f64 {
    rand::rng().random()
}
