//! What is told of incidents, to whom and when: the second state machine, above `machine`. Every incident stands in one thread for each
//! way that its routes take; a route with `group_by` puts several into one thread. Pure: time is an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Policy;
use super::fingerprint::incident_id;
use super::quiet::Quiet;
use super::route::{Timing, Way};
use crate::model::Labels;
use crate::model::alerting::{AlertInstance, MessageKind};
use crate::model::muting::{AlertThread, ThreadMember};
use crate::model::units::Timestamp;

// One member of a thread. Its incident is open in the first five rows. "due" is: `group_wait` after the incident opened, for the first
// message of a thread; `group_interval` after the last message, for the further ones of a group; at once, for those of one incident.
//
// |              | due                     | muted        | no longer muted          | acknowledged       | closes                      |
// |--------------|-------------------------|--------------|--------------------------|--------------------|-----------------------------|
// | untold       | fired -> told           | untold,muted | -                        | stays, quiet after | over, untold                |
// | untold,muted | stays                   | stays        | untold (due from opening)| stays, quiet after | forgotten, in the history   |
// | told         | reminder, every `repeat`| told, muted  | -                        | says so -> quiet   | over, told                  |
// | told, muted  | stays                   | stays        | told, told again         | says so -> quiet   | over, told                  |
// | quiet        | stays                   | stays        | stays                    | stays              | over, told                  |
// | over, untold | fired and resolved -> - | forgotten    | -                        | -                  | -                           |
// | over, told   | resolved -> -           | resolved -> -| -                        | -                  | -                           |
//
// So every fire that was written is followed by exactly one resolve, whatever mutes it by then; what was never told is never resolved;
// and nothing but a mute, which the history names, keeps an incident from being told.

/// What is said of an incident in a message.
#[derive(Debug, Clone)]
pub(super) struct SaidOf {
    pub(super) member: ThreadMember,
    pub(super) kind: MessageKind,
}

/// A message of a thread, before it is composed.
#[derive(Debug, Clone)]
pub(super) struct Said {
    pub(super) incident: String,
    pub(super) group: Option<Labels>,
    pub(super) seq: u32,
    pub(super) kind: MessageKind,
    pub(super) channels: Vec<String>,
    pub(super) opened_at: Timestamp,
    /// Those that changed first.
    pub(super) of: Vec<SaidOf>,
}

/// What the threads look at when time passes.
pub(super) struct Surroundings<'a> {
    pub(super) now: Timestamp,
    pub(super) policy: &'a Policy,
    pub(super) quiet: &'a Quiet,
    /// Open alerts by incident.
    pub(super) open: BTreeMap<&'a str, &'a AlertInstance>,
}

/// All threads.
#[derive(Debug, Default)]
pub(super) struct Threads {
    all: BTreeMap<String, AlertThread>,
    changed: BTreeSet<String>,
    forgotten: Vec<String>,
}

impl Threads {
    /// Threads as they were stored. Incidents that an older version told of, without threads, get one.
    pub(super) fn restored<'a>(stored: Vec<AlertThread>, instances: impl Iterator<Item = &'a AlertInstance>) -> Self {
        let mut threads = Self { all: stored.into_iter().map(|thread| (thread.id.clone(), thread)).collect(), ..Self::default() };
        for instance in instances {
            let Some(incident) = instance.incident.clone().filter(|_| !instance.told.is_empty()) else { continue };
            if threads.all.values().any(|thread| thread.members.iter().any(|member| member.incident == incident)) {
                continue;
            }
            let member = ThreadMember { told: true, ..member(instance, &incident, String::new()) };
            let thread = AlertThread {
                id: incident.clone(),
                incident: incident.clone(),
                group: None,
                labels: Labels::new(),
                channels: instance.told.clone(),
                opened_at: instance.opened_at.unwrap_or_default(),
                messages: instance.messages,
                last_message: instance.last_message,
                members: vec![member],
            };
            threads.changed.insert(incident.clone());
            threads.all.insert(incident, thread);
        }
        threads
    }

    /// An incident opened, `muted` for a reason or not: it joins the thread of its group, or begins one, on every way.
    pub(super) fn open(&mut self, instance: &AlertInstance, reason: &str, muted: Option<&str>, ways: Vec<Way>, now: Timestamp) {
        let Some(incident) = instance.incident.clone() else { return };
        for (number, way) in ways.into_iter().enumerate() {
            let member = ThreadMember { muted: muted.map(str::to_owned), ..member(instance, &incident, reason.to_owned()) };
            let group = way.group_by.as_ref().map(|by| group_of(&way.channels, by, &instance.labels));
            let existing = group.as_ref().and_then(|(key, _)| self.all.values_mut().find(|thread| thread.group.as_ref() == Some(key)));
            if let Some(thread) = existing {
                self.changed.insert(thread.id.clone());
                thread.members.push(member);
                continue;
            }
            let (id, under) = match &group {
                Some((key, labels)) => {
                    let name: Vec<&str> = labels.values().map(String::as_str).collect();
                    let id = incident_id(key, &format!("group {}", name.join(" ")), now, |id| self.all.contains_key(id));
                    (id.clone(), id)
                }
                None if number == 0 => (incident.clone(), incident.clone()),
                None => (format!("{incident}~{}", number + 1), incident.clone()),
            };
            let (group, labels) = group.map_or((None, Labels::new()), |(key, labels)| (Some(key), labels));
            let thread = AlertThread {
                id: id.clone(),
                incident: under,
                group,
                labels,
                channels: way.channels,
                opened_at: now,
                messages: 0,
                last_message: None,
                members: vec![member],
            };
            self.changed.insert(id.clone());
            self.all.insert(id, thread);
        }
    }

    /// An incident closed. `Some` when nobody was told of it: why.
    pub(super) fn close(&mut self, instance: &AlertInstance, reason: &str, now: Timestamp) -> Option<String> {
        let incident = instance.incident.as_deref().unwrap_or_default();
        let mut muted = None;
        let mut heard = false;
        for thread in self.all.values_mut() {
            for member in thread.members.iter_mut().filter(|member| member.incident == incident && member.ended_at.is_none()) {
                member.ended_at = Some(now);
                member.instance = instance.clone();
                reason.clone_into(&mut member.reason);
                heard |= member.told || member.muted.is_none();
                muted = member.muted.clone().filter(|_| !member.told).or(muted);
                self.changed.insert(thread.id.clone());
            }
        }
        muted.filter(|_| !heard)
    }

    /// Incidents that stand under a group's id, or the one itself.
    pub(super) fn incidents_under(&self, id: &str) -> Vec<String> {
        let under = self.all.values().filter(|thread| thread.incident == id).flat_map(|thread| &thread.members);
        under.map(|member| member.incident.clone()).collect()
    }

    /// Channels that were told of an incident.
    pub(super) fn told(&self, incident: &str) -> Vec<String> {
        let told = |thread: &&AlertThread| thread.members.iter().any(|member| member.incident == incident && member.told);
        self.all.values().filter(told).flat_map(|thread| thread.channels.iter().cloned()).collect()
    }

    /// Lets time pass: what is to be said now, and what the history is told of routes that are muted (incident and sentence).
    pub(super) fn turn(&mut self, around: &Surroundings<'_>) -> (Vec<Said>, Vec<(String, String)>) {
        let (mut said, mut notes) = (Vec::new(), Vec::new());
        let mut empty = Vec::new();
        for thread in self.all.values_mut() {
            let before = thread.clone();
            let timing = timing_of(thread, around);
            hear(thread, &timing, around, &mut notes);
            said.extend(speak(thread, &timing, around));
            if thread.members.is_empty() {
                empty.push(thread.id.clone());
            } else if *thread != before {
                self.changed.insert(thread.id.clone());
            }
        }
        for id in empty {
            self.all.remove(&id);
            self.changed.remove(&id);
            self.forgotten.push(id);
        }
        (said, notes)
    }

    /// Threads to store and to forget since the last call.
    pub(super) fn take_changes(&mut self) -> (Vec<AlertThread>, Vec<String>) {
        let changed = std::mem::take(&mut self.changed);
        (changed.iter().filter_map(|id| self.all.get(id)).cloned().collect(), std::mem::take(&mut self.forgotten))
    }
}

fn member(instance: &AlertInstance, incident: &str, reason: String) -> ThreadMember {
    ThreadMember {
        incident: incident.to_owned(),
        instance: instance.clone(),
        reason,
        told: false,
        ended_at: None,
        muted: None,
        owed: None,
        ack_told: false,
    }
}

/// Key and labels of the group that an alert belongs to. Channels are part of it: a message goes to all of them.
fn group_of(channels: &[String], by: &[String], labels: &Labels) -> (String, Labels) {
    let shared: Labels = by.iter().map(|name| (name.clone(), labels.get(name).cloned().unwrap_or_default())).collect();
    (super::fingerprint(&channels.join(","), &shared), shared.into_iter().filter(|(_, value)| !value.is_empty()).collect())
}

/// How often a thread may speak: by the routes in force.
fn timing_of(thread: &AlertThread, around: &Surroundings<'_>) -> Timing {
    let labels = thread.members.first().map(|member| &member.instance.labels);
    labels.map_or_else(Timing::default, |labels| around.policy.timing(labels, &thread.channels))
}

/// Takes over what became of the incidents: muted or not, acknowledged or not.
fn hear(thread: &mut AlertThread, timing: &Timing, around: &Surroundings<'_>, notes: &mut Vec<(String, String)>) {
    let route = around.quiet.timing(&timing.mute);
    let to = thread.channels.join(", ");
    for member in thread.members.iter_mut().filter(|member| member.ended_at.is_none()) {
        let Some(alert) = around.open.get(member.incident.as_str()) else { continue };
        let muted = alert.muted.clone().or_else(|| route.clone());
        if muted != member.muted {
            let by_route = |why: &Option<String>| why.as_ref().is_some_and(|why| why.starts_with("mute timing"));
            match (&member.muted, &muted) {
                (_, Some(why)) if by_route(&muted) => notes.push((member.incident.clone(), format!("{why}: {to} hears nothing of it"))),
                (former, None) if by_route(former) => notes.push((member.incident.clone(), format!("the mute timing is over for {to}"))),
                (_, _) => {}
            }
            let former = std::mem::replace(&mut member.muted, muted);
            member.owed = if member.muted.is_none() { former } else { None };
        }
        if alert.acked != member.instance.acked {
            member.instance.acked.clone_from(&alert.acked);
        }
    }
    // What was over before anybody was told, because of a mute, stays in the history.
    thread.members.retain(|member| member.ended_at.is_none() || member.told || member.muted.is_none());
}

/// What is new of a member.
fn news(member: &ThreadMember) -> Option<MessageKind> {
    match (member.ended_at.is_some(), member.told) {
        (true, true) => Some(MessageKind::Resolved),
        (true, false) => Some(MessageKind::FiredAndResolved),
        (false, false) => member.muted.is_none().then_some(MessageKind::Fired),
        (false, true) => (member.instance.acked.is_some() && !member.ack_told).then_some(MessageKind::Acknowledged),
    }
}

/// The next message of a thread, when it is due.
fn speak(thread: &mut AlertThread, timing: &Timing, around: &Surroundings<'_>) -> Option<Said> {
    let now = around.now;
    let new: Vec<MessageKind> = thread.members.iter().filter_map(news).collect();
    let kind = if new.is_empty() {
        reminder_is_due(thread, timing, now).then_some(MessageKind::Reminder)?
    } else {
        let waits_since =
            thread.members.iter().filter(|member| news(member).is_some()).filter_map(|member| member.instance.opened_at).min();
        let due = match thread.last_message {
            None => waits_since.unwrap_or(now).plus(timing.group_wait),
            Some(last) if thread.group.is_some() => last.plus(timing.group_interval),
            Some(_) => now,
        };
        if now < due {
            return None;
        }
        kind_of(thread, &new)
    };
    thread.messages += 1;
    thread.last_message = Some(now);
    let mut of = Vec::new();
    for member in &mut thread.members {
        let news = news(member);
        // A muted member that has nothing new is not spoken of.
        let still = (member.told && member.muted.is_none()).then_some(MessageKind::Reminder);
        let Some(kind) = news.or(still) else { continue };
        of.push(SaidOf { member: member.clone(), kind });
        (member.told, member.owed) = (true, None);
        member.ack_told |= member.instance.acked.is_some();
    }
    of.sort_by_key(|said| said.kind == MessageKind::Reminder);
    thread.members.retain(|member| member.ended_at.is_none());
    Some(Said {
        incident: thread.incident.clone(),
        group: thread.group.is_some().then(|| thread.labels.clone()),
        seq: thread.messages,
        kind,
        channels: thread.channels.clone(),
        opened_at: thread.opened_at,
        of,
    })
}

/// What a message with these news is as a whole.
fn kind_of(thread: &AlertThread, new: &[MessageKind]) -> MessageKind {
    let open = thread.members.iter().any(|member| member.ended_at.is_none());
    let told = thread.members.iter().any(|member| member.told);
    let all = |kind| new.iter().all(|one| *one == kind);
    if all(MessageKind::Acknowledged) {
        MessageKind::Acknowledged
    } else if !open && !told {
        MessageKind::FiredAndResolved
    } else if !told {
        MessageKind::Fired
    } else if !open {
        MessageKind::Resolved
    } else {
        MessageKind::Changed
    }
}

/// Somebody has to be reminded: of what is open, not muted, and nobody's yet.
fn reminder_is_due(thread: &AlertThread, timing: &Timing, now: Timestamp) -> bool {
    let heard = |member: &&ThreadMember| member.told && member.muted.is_none() && member.instance.acked.is_none();
    let mut heard = thread.members.iter().filter(heard).peekable();
    let repeats = !timing.repeat_interval.is_zero();
    if heard.peek().is_none() || !(repeats || heard.any(|member| member.owed.is_some())) {
        return false;
    }
    let floor = if thread.group.is_some() { timing.group_interval } else { Duration::ZERO };
    thread.last_message.is_none_or(|last| now.since(last) >= timing.repeat_interval.max(floor))
}
