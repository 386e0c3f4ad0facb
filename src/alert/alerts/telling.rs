//! Incidents and what is told of them: they open and close here, are muted and acknowledged, and `threads` says what is told when.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::fingerprint::{group_labels, incident_id};
use super::super::quiet::{Quiet, inhibited};
use super::super::threads::{Said, Surroundings};
use super::super::{RuleNote, Told, ToldAlert};
use super::{Alerts, place_of};
use crate::model::alerting::{AlertInstance, MessageKind, Transition};
use crate::model::muting::Ack;
use crate::model::run::RunId;
use crate::model::units::Timestamp;

/// Why an incident was not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAcked {
    /// No open incident has this id.
    #[error("no open incident is called `{0}`")]
    Unknown(String),
    /// Several begin or end so.
    #[error("several open incidents begin or end with `{0}`")]
    Ambiguous(String),
    /// It is acknowledged.
    #[error("{0} takes care of it already")]
    Already(String),
}

/// Why it was muted, without until when and what for.
pub(in super::super) fn head_of(muted: &str) -> &str {
    muted.split_once(" until ").map_or(muted, |(head, _)| head)
}

impl Alerts {
    /// Takes what keeps alerts quiet from now on; looked at by the next `judge`.
    pub fn keep_quiet(&mut self, quiet: Quiet) {
        self.quiet = quiet;
    }

    /// Somebody takes care of an incident, named by its id, the beginning or end of one, or of all incidents of a group. They are not
    /// repeated any more. Returns the ids.
    pub fn acknowledge(&mut self, id: &str, ack: &Ack) -> Result<Vec<String>, NotAcked> {
        let open = |group: &super::Group| group.instance.incident.clone().map(|incident| (incident, group.instance.fingerprint.clone()));
        let open: Vec<(String, String)> = self.groups.values().filter_map(open).collect();
        let under = self.threads.incidents_under(id);
        let mut found: Vec<&(String, String)> = open.iter().filter(|(incident, _)| incident == id || under.contains(incident)).collect();
        if found.is_empty() && !id.is_empty() {
            found = open.iter().filter(|(incident, _)| incident.starts_with(id) || incident.ends_with(id)).collect();
            if found.len() > 1 {
                return Err(NotAcked::Ambiguous(id.into()));
            }
        }
        let mut taken = Vec::new();
        let mut already = None;
        for (incident, key) in &found {
            let Some(group) = self.groups.get_mut(key) else { continue };
            if let Some(former) = &group.instance.acked {
                already = Some(former.by.clone());
                continue;
            }
            group.instance.acked = Some(ack.clone());
            taken.push(incident.clone());
            let comment = if ack.comment.is_empty() { String::new() } else { format!(": {}", ack.comment) };
            self.note(key, format!("acknowledged by {}{comment}", ack.by), ack.at);
        }
        match already {
            _ if found.is_empty() => Err(NotAcked::Unknown(id.into())),
            Some(by) if taken.is_empty() => Err(NotAcked::Already(by)),
            Some(_) | None => Ok(taken),
        }
    }

    /// Writes into the history what is no change of state.
    fn note(&mut self, key: &str, reason: String, at: Timestamp) {
        let Some(alert) = self.groups.get(key).map(|group| &group.instance) else { return };
        self.changed.insert(key.to_owned());
        self.decision.transitions.push(Transition {
            fingerprint: alert.fingerprint.clone(),
            rule: alert.rule.clone(),
            incident: alert.incident.clone(),
            from: alert.state,
            to: alert.state,
            at,
            reason,
            value: alert.value,
        });
    }

    pub(super) fn open(&mut self, key: &str, reason: &str, now: Timestamp, run: Option<&RunId>) {
        self.issued.retain(|(at, _)| now.since(*at) < Duration::from_secs(2));
        let taken: BTreeSet<&str> = self.groups.values().filter_map(|group| group.instance.incident.as_deref()).collect();
        let Some(alert) = self.groups.get(key).map(|group| &group.instance) else { return };
        let issued = &self.issued;
        let id = incident_id(key, &alert.rule, now, |id| taken.contains(id) || issued.iter().any(|(_, old)| old == id));
        let ways = self.policy.ways(&alert.labels);
        self.issued.push((now, id.clone()));
        let Some(group) = self.groups.get_mut(key) else { return };
        group.instance.incident = Some(id);
        group.instance.opened_at = Some(now);
        group.instance.run = run.cloned();
        // One that is over before time passes is muted all the same.
        let muted = self.quiet.reason(&group.instance.labels, now);
        self.threads.open(&group.instance, reason, muted.as_deref(), ways, now);
    }

    pub(super) fn close(&mut self, key: &str) {
        let Some(group) = self.groups.get_mut(key) else { return };
        let former = group.instance.clone();
        group.instance = AlertInstance {
            incident: None,
            opened_at: None,
            told: Vec::new(),
            muted: None,
            acked: None,
            messages: 0,
            last_message: None,
            run: None,
            ..former
        };
    }

    /// Says why each open incident is muted, or that it is not any more.
    fn mute(&mut self, now: Timestamp) {
        let open = || self.groups.values().map(|group| &group.instance).filter(|alert| alert.incident.is_some());
        let inhibited = inhibited(&self.policy.inhibit, open());
        let muted = |alert: &AlertInstance| self.quiet.reason(&alert.labels, now).or_else(|| inhibited.get(&alert.fingerprint).cloned());
        let changes: Vec<(String, Option<String>)> = open()
            .map(|alert| (alert, muted(alert)))
            .filter(|(alert, why)| alert.muted != *why)
            .map(|(alert, why)| (alert.fingerprint.clone(), why))
            .collect();
        for (key, why) in changes {
            let Some(group) = self.groups.get_mut(&key) else { continue };
            let former = std::mem::replace(&mut group.instance.muted, why.clone());
            let ended = former.map(|former| format!("no longer {}", head_of(&former)));
            self.note(&key, why.or(ended).unwrap_or_default(), now);
        }
    }

    /// Lets the threads say what is due.
    pub(super) fn speak(&mut self, now: Timestamp) {
        self.mute(now);
        let open = self.groups.values().map(|group| &group.instance);
        let open = open.filter_map(|alert| alert.incident.as_deref().map(|incident| (incident, alert))).collect();
        let (said, notes) = self.threads.turn(&Surroundings { now, policy: &self.policy, quiet: &self.quiet, open });
        let key_of = |incident: &str| {
            let found = self.groups.values().find(|group| group.instance.incident.as_deref() == Some(incident));
            found.map(|group| group.instance.fingerprint.clone())
        };
        let notes: Vec<(String, String)> = notes.into_iter().filter_map(|(incident, text)| Some((key_of(&incident)?, text))).collect();
        for (key, text) in notes {
            self.note(&key, text, now);
        }
        for said in said {
            self.tell(said, now);
        }
    }

    /// Writes a message for the channels of a thread that still exist and want it.
    fn tell(&mut self, said: Said, now: Timestamp) {
        let keys: Vec<String> = said.of.iter().map(|of| of.member.instance.fingerprint.clone()).collect();
        for (key, of) in keys.iter().zip(&said.of) {
            let told = self.threads.told(&of.member.incident);
            let Some(group) = self.groups.get_mut(key).filter(|group| group.instance.incident.as_ref() == Some(&of.member.incident)) else {
                continue;
            };
            group.instance.messages += 1;
            group.instance.last_message = Some(now);
            group.instance.told = told;
            self.changed.insert(key.clone());
        }
        let only_resolves = said.of.iter().all(|of| of.kind == MessageKind::Resolved);
        let wants = |name: &&String| {
            let known = self.policy.channels.iter().find(|channel| channel.name == **name);
            known.is_some_and(|channel| !only_resolves || channel.send_resolved)
        };
        let channels = said.channels.iter().filter(wants).cloned().collect();
        let alerts = said.of.into_iter().map(|of| {
            let present = matches!(of.kind, MessageKind::Reminder | MessageKind::Acknowledged);
            let reason = if present { self.present(&of.member.instance) } else { of.member.reason };
            // An open incident speaks of its present value, a closed one of that at its end.
            let open = self.groups.get(&of.member.instance.fingerprint).map(|group| &group.instance);
            let live = open.filter(|_| of.member.ended_at.is_none() && of.kind != MessageKind::Fired).cloned();
            let instance = live.unwrap_or(of.member.instance);
            let capacity = self.capacities.get(&place_of(&group_labels(&instance.fingerprint, &instance.rule))).copied();
            let rule = self.rules.get(&instance.rule).map(|rule| RuleNote::of(rule));
            ToldAlert {
                kind: of.kind,
                reason,
                after: of.member.owed,
                ended_at: of.member.ended_at,
                rule,
                capacity,
                instance,
                beside: Vec::new(),
            }
        });
        self.decision.messages.push(Told {
            incident: said.incident,
            seq: said.seq,
            kind: said.kind,
            opened_at: said.opened_at,
            at: now,
            channels,
            group: said.group,
            alerts: alerts.collect(),
        });
    }

    /// How an open alert is now, as a sentence.
    fn present(&self, former: &AlertInstance) -> String {
        self.groups.get(&former.fingerprint).map(|group| self.last_reason(&group.instance)).unwrap_or_default()
    }
}
