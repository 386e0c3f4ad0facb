//! How each channel fares, by what became of the messages that were sent there.

use std::collections::BTreeMap;

use crate::model::channel::ChannelHealth;
use crate::model::units::Timestamp;
use crate::notify::Delivery;

/// Health of all channels that anything was sent to.
#[derive(Debug, Default)]
pub(super) struct Health(BTreeMap<String, ChannelHealth>);

impl Health {
    /// Takes what became of an attempt; `dropped`: the message was given up.
    pub(super) fn note(&mut self, channel: &str, delivery: &Delivery, dropped: bool, now: Timestamp) {
        let fresh = || ChannelHealth { channel: channel.to_owned(), ..ChannelHealth::default() };
        let health = self.0.entry(channel.to_owned()).or_insert_with(fresh);
        match delivery {
            Delivery::Delivered(_) => health.delivered(now),
            Delivery::Retry { reason, .. } => health.failed(reason, dropped, false, now),
            Delivery::GiveUp { reason, .. } => health.failed(reason, dropped, true, now),
        }
    }

    /// Forgets channels that are no longer configured.
    pub(super) fn retain(&mut self, is_configured: impl Fn(&str) -> bool) {
        self.0.retain(|channel, _| is_configured(channel));
    }

    /// Everything, by name.
    pub(super) fn all(&self) -> Vec<ChannelHealth> {
        self.0.values().cloned().collect()
    }
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
}
