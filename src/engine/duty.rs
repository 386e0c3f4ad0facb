//! Which of several daemons on one database is in charge. Each process shows that it lives; each daemon looks at the others, frees
//! what belongs to those that are gone, and takes charge when nobody has it. Silence is measured by this process's own monotonic
//! clock while the database answers, so that neither a clock that jumps nor a database that was away makes a process look dead.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::owner::{Life, SILENCE, is_gone, life_of};
use super::spool::SpoolPlace;
use super::writer::take_over;
use crate::clock::SharedClock;
use crate::metrics::Metrics;
use crate::model::control::Standstill;
use crate::model::run::RunId;
use crate::model::units::Timestamp;
use crate::store::{CHARGE, Owner, Seen, Store, StoreResult};

/// How often a process shows that it lives and looks at the others.
const BEAT: Duration = Duration::from_secs(3);
/// How often it looks whether everything was stopped; a part of [`BEAT`].
const LOOK: Duration = Duration::from_secs(1);

/// Whether this daemon is in charge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Duty {
    /// It fires schedules, judges alerts, sends messages and keeps house.
    pub in_charge: bool,
    /// Who does instead: "HOST (process PID)".
    pub other: Option<String>,
    /// When everything was stopped while this process looked on, by whichever process.
    pub stopped: Option<Standstill>,
    /// Since when and by whom all load is held, as the database has it.
    pub held: Option<Standstill>,
}

impl Duty {
    fn of(holder: Option<&Owner>, before: &Self) -> Self {
        let other = holder.map(|owner| format!("{} (process {})", owner.host, owner.pid));
        Self { in_charge: holder.is_none(), other, stopped: before.stopped.clone(), held: before.held.clone() }
    }

    /// Why this daemon does nothing by itself at present; `None` when it is in charge.
    pub fn standing_by(&self) -> Option<String> {
        if self.in_charge {
            return None;
        }
        let other = self.other.as_deref().unwrap_or("another daemon");
        Some(format!("this daemon stands by: {other} is in charge of the database; ask there"))
    }
}

/// What the watch works with.
pub struct WatchParts {
    /// Where owners are enlisted.
    pub store: Arc<dyn Store>,
    /// The wall clock.
    pub clock: SharedClock,
    /// For figures.
    pub metrics: Arc<Metrics>,
    /// Whether this process may take charge: a daemon may, a single run may not.
    pub daemon: bool,
    /// Whether it is in charge.
    pub duty: watch::Sender<Duty>,
    /// Where processes that are gone may have left what the database did not take.
    pub spool: Option<SpoolPlace>,
}

/// Shows that this process lives, and looks at the others.
pub struct Watch {
    parts: WatchParts,
    others: Others,
    /// The stop that was there when this process began; what comes after it concerns its runs.
    first_stop: Option<Standstill>,
    /// Spools have to be looked for.
    look_for_spools: bool,
    unreachable: bool,
}

impl Watch {
    /// Enlists this process. A daemon frees what belongs to processes that are gone, and takes charge if it can; then it marks runs
    /// of processes that are gone as interrupted and returns them.
    pub async fn begin(parts: WatchParts, this: &Owner) -> StoreResult<(Self, Vec<RunId>)> {
        let first_stop = parts.store.last_stop().await?;
        let held = parts.store.standstill().await?;
        parts.duty.send_modify(|duty| duty.held = held);
        let mut watch = Self { parts, others: Others::default(), first_stop, look_for_spools: true, unreachable: false };
        watch.parts.store.enlist(this).await?;
        if !watch.parts.daemon {
            let before = watch.parts.duty.borrow().clone();
            watch.tell(&Duty::of(None, &before));
            return Ok((watch, Vec::new()));
        }
        let gone = |seen: &Seen| seen.owner.id != this.id && is_gone(seen, life_of(&seen.owner));
        let gone = watch.parts.store.owners().await?.into_iter().filter(gone).collect();
        let orphans = watch.take_over(gone).await?;
        Ok((watch, orphans))
    }

    /// Watches until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut every = interval(LOOK);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        every.reset();
        let mut beat = Instant::now();
        loop {
            // A database that is away makes each look longer than the time between them: the next one is due at once, and must not win.
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = every.tick() => {}
            }
            let due = beat.elapsed() + LOOK / 2 >= BEAT;
            if due {
                beat = Instant::now();
            }
            tokio::select! {
                () = self.look(due) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn look(&mut self, beat: bool) {
        match self.try_look(beat).await {
            Ok(()) => self.unreachable = false,
            Err(error) => {
                // Who was silent while nobody could speak is not gone for that.
                self.others.forget();
                self.parts.metrics.storage_error("beat");
                if !std::mem::replace(&mut self.unreachable, true) {
                    tracing::warn!(%error, "this process cannot show that it lives, nor see the others");
                }
            }
        }
    }

    async fn try_look(&mut self, beat: bool) -> StoreResult<()> {
        self.hear_of_stops().await?;
        if !beat {
            return Ok(());
        }
        self.parts.store.beat().await?;
        if !self.parts.daemon {
            return Ok(());
        }
        let gone = self.others.silent(self.parts.store.owners().await?, Instant::now(), life_of);
        let orphans = self.take_over(gone).await?;
        if !orphans.is_empty() {
            let runs: Vec<&str> = orphans.iter().map(|id| id.0.as_str()).collect();
            tracing::warn!(runs = runs.join(", "), "runs of a process that is gone are marked as interrupted");
        }
        Ok(())
    }

    /// Whoever stops everything stops the runs of all processes: each looks for itself, so that nobody has to be reached. What tells
    /// is that it changed, and not a clock.
    async fn hear_of_stops(&self) -> StoreResult<()> {
        let (last, held) = (self.parts.store.last_stop().await?, self.parts.store.standstill().await?);
        self.parts.duty.send_if_modified(|duty| {
            let before = (duty.stopped.clone(), duty.held.clone());
            if last.is_some() && last != self.first_stop {
                duty.stopped = last;
            }
            duty.held = held;
            before != (duty.stopped.clone(), duty.held.clone())
        });
        Ok(())
    }

    async fn take_over(&mut self, gone: Vec<Seen>) -> StoreResult<Vec<RunId>> {
        let store = &self.parts.store;
        if !gone.is_empty() {
            for seen in &gone {
                tracing::warn!(host = seen.owner.host, pid = seen.owner.pid, "a process that worked on this database is gone");
            }
            let gone: Vec<(String, Timestamp)> = gone.into_iter().map(|seen| (seen.owner.id, seen.beat)).collect();
            store.dismiss(&gone).await?;
            self.look_for_spools = true;
        }
        let before = self.parts.duty.borrow().clone();
        let duty = Duty::of(store.hold(CHARGE).await?.as_ref(), &before);
        if duty.in_charge && self.look_for_spools {
            // Before runs are marked as interrupted: their ends may be there.
            self.empty_spools().await?;
            self.look_for_spools = false;
        }
        let store = &self.parts.store;
        let orphans = if duty.in_charge { store.interrupt_orphans(self.parts.clock.now()).await? } else { Vec::new() };
        self.tell(&duty);
        Ok(orphans)
    }

    async fn empty_spools(&self) -> StoreResult<()> {
        let Some(place) = &self.parts.spool else { return Ok(()) };
        let (written, refused) = take_over(&self.parts.store, &self.parts.metrics, place).await?;
        if written + refused > 0 {
            tracing::info!(written, refused, "what an earlier process could not store is stored now");
        }
        Ok(())
    }

    fn tell(&self, duty: &Duty) {
        self.parts.metrics.in_charge(duty.in_charge);
        self.parts.duty.send_if_modified(|before| {
            let changed = before != duty;
            if changed && self.parts.daemon {
                match duty.standing_by() {
                    None => tracing::info!("this daemon is in charge of the database"),
                    Some(text) => tracing::info!("{text}"),
                }
            }
            before.clone_from(duty);
            changed
        });
    }
}

/// Since when which process has been silent.
#[derive(Debug, Default)]
struct Others(HashMap<String, (Timestamp, Instant)>);

impl Others {
    fn forget(&mut self) {
        self.0.clear();
    }

    /// Those that are gone: dead on this machine, or without a new heartbeat for too long.
    fn silent(&mut self, owners: Vec<Seen>, now: Instant, life: impl Fn(&Owner) -> Life) -> Vec<Seen> {
        let mut noted = HashMap::new();
        let mut gone = Vec::new();
        for seen in owners {
            let before = self.0.get(&seen.owner.id).filter(|(beat, _)| *beat == seen.beat);
            let since = before.map_or(now, |(_, since)| *since);
            noted.insert(seen.owner.id.clone(), (seen.beat, since));
            if now.duration_since(since) > SILENCE || life(&seen.owner) == Life::Dead {
                gone.push(seen);
            }
        }
        self.0 = noted;
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::super::owner::this_process;
    use super::*;

    fn seen(beat: i64) -> Seen {
        Seen { owner: this_process("other", 7, Timestamp(0)), beat: Timestamp(beat), now: Timestamp(0) }
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_is_gone_when_its_heartbeat_stands_still_while_we_look() {
        let mut others = Others::default();
        let alive = |_: &Owner| Life::Elsewhere;
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(others.silent(vec![seen(1)], at(0), alive).is_empty());
        // Its clock was set back: it lives all the same.
        assert!(others.silent(vec![seen(-900)], at(14), alive).is_empty());
        assert!(others.silent(vec![seen(-900)], at(28), alive).is_empty());
        // The database was away: nobody could speak.
        others.forget();
        assert!(others.silent(vec![seen(-900)], at(100), alive).is_empty());
        assert!(others.silent(vec![seen(-900)], at(115), alive).is_empty());
        assert_eq!(others.silent(vec![seen(-900)], at(116), alive).len(), 1);
        assert_eq!(others.silent(vec![seen(5)], at(200), |_| Life::Dead).len(), 1);
    }

    #[test]
    fn who_stands_by_says_who_is_in_charge() {
        let owner = this_process("db-1", 7, Timestamp(0));
        let text = Duty::of(Some(&owner), &Duty::default()).standing_by().unwrap();
        assert!(text.contains("db-1 (process ") && text.contains("is in charge"), "{text}");
        assert_eq!(Duty::of(None, &Duty::default()).standing_by(), None);
    }
}
