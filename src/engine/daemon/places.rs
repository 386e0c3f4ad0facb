//! One run at a time loads a place, whatever its targets are called and whichever process runs it. What finds its place taken by another
//! process waits or is skipped, as its schedule says.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Daemon, Running};
use crate::engine::admission::Waiting;
use crate::engine::leases::place_of;
use crate::engine::runner::EndRequest;
use crate::model::run::EndedBy;
use crate::model::schedule::{Overlap, Tick, TickOutcome};
use crate::model::units::Timestamp;

/// How long something waits before it asks again for a place that another process loads.
const ASK_AGAIN: Duration = Duration::from_secs(3);
/// How often leases are looked at, in seconds.
const TIDY_EVERY: i64 = 5;

impl Daemon {
    /// What loads a target, or another target of the same address.
    pub(super) fn loading(&self, target: &str) -> Option<&Running> {
        self.running.get(target).or_else(|| {
            let place = place_of(&self.setup.targets.get(target)?.target);
            self.running.values().find(|running| running.place == place)
        })
    }

    /// Starts what waits for a target that is free now.
    pub(super) fn start_waiting(&mut self) {
        let now = self.parts.clock.now();
        let mut still = VecDeque::new();
        while let Some(waiting) = self.queue.pop_front() {
            let target = self.setup.profiles.get(&waiting.profile).map(|profile| profile.target.clone());
            match target {
                Some(_) if waiting.not_before.is_some_and(|at| at > now) => still.push_back(waiting),
                Some(target) if self.loading(&target).is_some() => still.push_back(waiting),
                Some(_) => self.start(waiting, None),
                None => {
                    self.record_waiting(&waiting, TickOutcome::Refused, "its profile is no longer configured", now);
                }
            }
        }
        self.queue = still;
    }

    /// A wish for a run whose target another process loads: it waits, unless its schedule says otherwise. What that process does is
    /// not replaced from here.
    pub(super) fn taken_elsewhere(&mut self, mut waiting: Waiting, who: &str) {
        let now = self.parts.clock.now();
        if self.stopping {
            self.record_waiting(&waiting, TickOutcome::Skipped, "the daemon stopped while it waited", now);
            return;
        }
        if let Some(standstill) = &self.standstill {
            let reason = standstill.to_string();
            self.record_waiting(&waiting, TickOutcome::Skipped, &reason, now);
            return;
        }
        let overlap = waiting.tick.as_ref().and_then(|(name, _)| self.setup.schedules.get(name)).map(|schedule| schedule.overlap);
        let waits_already = self.queue.iter().any(|other| other.profile == waiting.profile);
        let why = format!("waited until the target was free: {who}");
        let skipped = match overlap {
            Some(Overlap::Skip) => Some(who.to_owned()),
            Some(Overlap::Queue | Overlap::Replace) | None if waits_already => Some(format!("{who}, and this profile waits already")),
            Some(Overlap::Queue | Overlap::Replace) | None => None,
        };
        if let Some(reason) = skipped {
            tracing::warn!(profile = waiting.profile, reason, "a run does not happen");
            self.record_waiting(&waiting, TickOutcome::Skipped, &reason, now);
            return;
        }
        if waiting.why != why {
            tracing::info!(profile = waiting.profile, who, "a run waits");
            self.record_waiting(&waiting, TickOutcome::Queued, who, now);
            waiting.why = why;
        }
        waiting.not_before = Some(now.plus(ASK_AGAIN));
        self.queue.push_back(waiting);
    }

    /// Records what became of a wish that waited, if a schedule made it.
    pub(super) fn record_waiting(&mut self, waiting: &Waiting, outcome: TickOutcome, reason: &str, now: Timestamp) {
        let Some((name, due)) = &waiting.tick else { return };
        let tick = Tick {
            schedule: name.clone(),
            profile: waiting.profile.clone(),
            due: *due,
            decided: now,
            outcome,
            reason: reason.into(),
            run: None,
        };
        self.parts.writer.tick(tick);
    }

    /// Gives back what the database did not take, and ends runs whose place another process has taken: it took this process for gone,
    /// because it had been held up for long, and loads the target now.
    pub(super) fn tidy_leases(&mut self, now: Timestamp) {
        if now.0.div_euclid(1_000_000) % TIDY_EVERY != 0 || !self.chores.is_empty() {
            return;
        }
        let leases = self.leases.clone();
        let ends: Vec<_> = self.running.values().map(|running| (running.place.clone(), running.end.clone())).collect();
        self.chores.spawn(async move {
            for place in leases.tidy().await {
                let who = format!("another process loads {place} by now: this one had been held up, and was taken for gone");
                for (_, end) in ends.iter().filter(|(loaded, _)| *loaded == place) {
                    tracing::error!(place, "a run is ended: {who}");
                    end.send_replace(Some(EndRequest { by: EndedBy::Cancelled, who: who.clone(), drain: Duration::ZERO, asked_by: None }));
                }
            }
        });
    }
}
