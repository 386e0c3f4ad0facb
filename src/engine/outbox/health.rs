//! How each channel fares, by what became of the messages that were sent there. What a restart has to know of it is kept in the store:
//! since when a channel fails and why, not when each message arrived.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::channel::ChannelHealth;
use crate::model::units::Timestamp;
use crate::notify::Delivery;

/// Health of all channels that anything was sent to.
#[derive(Debug, Default)]
pub(super) struct Health {
    all: BTreeMap<String, ChannelHealth>,
    /// Channels of which the store does not know how they fare.
    unsaved: BTreeSet<String>,
    /// What an earlier process has stored is in here.
    pub(super) restored: bool,
}

impl Health {
    /// Takes what became of an attempt; `dropped`: the message was given up.
    pub(super) fn note(&mut self, channel: &str, delivery: &Delivery, dropped: bool, now: Timestamp) {
        let fresh = || ChannelHealth { channel: channel.to_owned(), ..ChannelHealth::default() };
        let health = self.all.entry(channel.to_owned()).or_insert_with(fresh);
        let before = health.clone();
        match delivery {
            Delivery::Delivered(_) => health.delivered(now),
            Delivery::Retry { reason, .. } => health.failed(reason, dropped, false, now),
            Delivery::GiveUp { reason, .. } => health.failed(reason, dropped, true, now),
        }
        if lasting(&before) != lasting(health) {
            self.unsaved.insert(channel.to_owned());
        }
    }

    /// Takes what an earlier process has stored of channels that are still configured. What has happened since is newer.
    pub(super) fn restore(&mut self, stored: Vec<ChannelHealth>, is_configured: impl Fn(&str) -> bool) {
        self.restored = true;
        for health in stored.into_iter().filter(|health| is_configured(&health.channel)) {
            let Some(newer) = self.all.get_mut(&health.channel) else {
                self.all.insert(health.channel.clone(), health);
                continue;
            };
            newer.dropped += health.dropped;
            // It fails on: since then, unless something arrived in between.
            if newer.delivered_at.is_none() && newer.failing_since.is_some() {
                newer.failing_since = health.failing_since.or(newer.failing_since);
            }
        }
    }

    /// Forgets channels that are no longer configured.
    pub(super) fn retain(&mut self, is_configured: impl Fn(&str) -> bool) {
        self.all.retain(|channel, _| is_configured(channel));
        self.unsaved.retain(|channel| is_configured(channel));
    }

    /// Everything, by name.
    pub(super) fn all(&self) -> Vec<ChannelHealth> {
        self.all.values().cloned().collect()
    }

    /// What the store does not know yet.
    pub(super) fn unsaved(&self) -> Vec<ChannelHealth> {
        self.unsaved.iter().filter_map(|channel| self.all.get(channel)).cloned().collect()
    }

    /// The store knows this; newer news of the channel stay unsaved.
    pub(super) fn saved(&mut self, health: &ChannelHealth) {
        if self.all.get(&health.channel).is_none_or(|now| lasting(now) == lasting(health)) {
            self.unsaved.remove(&health.channel);
        }
    }
}

/// What a restart has to know.
fn lasting(health: &ChannelHealth) -> (Option<Timestamp>, bool, &str, u64) {
    (health.failing_since, health.broken, &health.error, health.dropped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_broken_until_something_arrives() {
        let at = |second: i64| Timestamp(second * 1_000_000);
        let mut health = Health::default();
        let retry = Delivery::Retry { class: "network", reason: "refused".into(), after: None };
        health.note("slack", &retry, false, at(1));
        health.note("slack", &retry, true, at(2));
        let one = health.all().remove(0);
        assert_eq!((one.failing_since, one.broken, one.dropped, one.error.as_str()), (Some(at(1)), false, 1, "refused"));
        health.note("slack", &Delivery::GiveUp { class: "client_error", reason: "404".into() }, true, at(3));
        assert!(health.all()[0].broken && health.all()[0].dropped == 2);
        health.note("slack", &Delivery::Delivered("there".into()), false, at(4));
        let one = health.all().remove(0);
        assert_eq!((one.failing_since, one.broken, one.delivered_at, one.error.as_str()), (None, false, Some(at(4)), ""));
        health.retain(|channel| channel != "slack");
        assert_eq!(health.all(), []);
    }

    #[test]
    fn what_failed_before_a_restart_fails_since_then() {
        let at = |second: i64| Timestamp(second * 1_000_000);
        let retry = Delivery::Retry { class: "network", reason: "refused".into(), after: None };
        let arrived = Delivery::Delivered("there".into());
        let mut before = Health::default();
        for channel in ["slack", "mail", "gone"] {
            before.note(channel, &retry, true, at(1));
        }
        before.note("chat", &arrived, false, at(1));
        let stored = before.unsaved();
        assert_eq!(stored.len(), 3, "what arrives need not be stored");
        for health in &stored {
            before.saved(health);
        }
        assert_eq!(before.unsaved(), []);
        before.note("slack", &retry, false, at(2));
        assert_eq!(before.unsaved(), [], "nothing new");

        let mut health = Health::default();
        health.note("mail", &arrived, false, at(9));
        health.restore(stored.clone(), |channel| channel != "gone");
        health.note("slack", &retry, false, at(10));
        let since = |health: &Health| health.all().into_iter().map(|one| (one.channel, one.failing_since)).collect::<Vec<_>>();
        assert_eq!(since(&health), [("mail".into(), None), ("slack".into(), Some(at(1)))], "mail has arrived in between");
        let mut late = Health::default();
        late.note("slack", &retry, false, at(10));
        late.restore(stored, |_| true);
        assert_eq!((late.all()[2].failing_since, late.all()[2].dropped), (Some(at(1)), 1), "read only after the next attempt");
    }
}
