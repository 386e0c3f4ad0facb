//! Locks of a database before and after a run: what sessions waited for, deadlocks, and what is held. Servers count deadlocks, and nothing
//! else of locks: waits are added up from the readings of the probe, each for the time since the reading before. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Waits and modes that are kept.
const MOST_KEPT: usize = 10;

/// Sessions seen waiting, since the probe began.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct WaitCounts {
    /// Sessions that were waiting, counted anew at every reading.
    pub seen: f64,
    /// Seconds that they waited together, as far as readings can tell.
    pub seconds: f64,
}

/// Locks at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LockCounts {
    /// Locks that are held now, by mode; no counter.
    pub held: BTreeMap<String, f64>,
    /// Deadlocks since the statistics of the database began.
    pub deadlocks: Option<f64>,
    /// Waits by what is locked (a table, or a kind of lock) and by the mode that is wanted (`row` for a row of the table).
    pub waits: BTreeMap<(String, String), WaitCounts>,
}

/// What happened to the locks of a database during a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LockWork {
    /// Deadlocks; `None` when the server does not tell.
    pub deadlocks: Option<f64>,
    /// What was waited for, longest first.
    pub waits: Vec<LockWait>,
    /// What was held.
    pub held: Vec<LockHeld>,
}

/// Waits for one lock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LockWait {
    /// A table, or the kind of lock.
    pub what: String,
    /// Mode that was wanted; `row`: a row of the table.
    pub mode: String,
    /// Sessions seen waiting, counted anew at every reading.
    pub seen: f64,
    /// Seconds that they waited together.
    pub seconds: f64,
}

/// Locks of a mode before and after.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LockHeld {
    /// Mode.
    pub mode: String,
    /// Before the load.
    pub before: f64,
    /// After it.
    pub after: f64,
}

/// What happened between two moments.
pub(super) fn difference(before: &LockCounts, after: &LockCounts) -> LockWork {
    let grown = |(key, now): (&(String, String), &WaitCounts)| {
        let was = before.waits.get(key).copied().unwrap_or_default();
        let (what, mode) = key.clone();
        LockWait { what, mode, seen: (now.seen - was.seen).max(0.0), seconds: (now.seconds - was.seconds).max(0.0) }
    };
    let mut waits: Vec<LockWait> = after.waits.iter().map(grown).filter(|wait| wait.seen > 0.0).collect();
    waits.sort_by(|a, b| b.seconds.total_cmp(&a.seconds).then(b.seen.total_cmp(&a.seen)));
    waits.truncate(MOST_KEPT);
    let modes: std::collections::BTreeSet<&String> = before.held.keys().chain(after.held.keys()).collect();
    let at = |held: &BTreeMap<String, f64>, mode: &String| held.get(mode).copied().unwrap_or(0.0);
    let held = modes.into_iter().map(|mode| LockHeld { mode: mode.clone(), before: at(&before.held, mode), after: at(&after.held, mode) });
    LockWork {
        // A counter that went down was reset.
        deadlocks: after.deadlocks.map(|now| before.deadlocks.filter(|was| *was <= now).map_or(now, |was| now - was)),
        waits,
        held: held.take(MOST_KEPT).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(rows: &[(&str, &str, f64, f64)]) -> BTreeMap<(String, String), WaitCounts> {
        rows.iter()
            .map(|(what, mode, seen, seconds)| (((*what).into(), (*mode).into()), WaitCounts { seen: *seen, seconds: *seconds }))
            .collect()
    }

    #[test]
    fn waits_and_deadlocks_are_what_they_grew_and_held_locks_stand_side_by_side() {
        let before = LockCounts {
            held: [("AccessShareLock".to_owned(), 3.0)].into(),
            deadlocks: Some(2.0),
            waits: waits(&[("orders", "row", 5.0, 5.0), ("stock", "row", 9.0, 9.0)]),
        };
        let after = LockCounts {
            held: [("ExclusiveLock".to_owned(), 1.0)].into(),
            deadlocks: Some(5.0),
            waits: waits(&[("orders", "row", 15.0, 17.0), ("stock", "row", 9.0, 9.0), ("orders", "AccessExclusiveLock", 1.0, 30.0)]),
        };
        let work = difference(&before, &after);
        let told: Vec<_> = work.waits.iter().map(|wait| (wait.what.as_str(), wait.mode.as_str(), wait.seen, wait.seconds)).collect();
        assert_eq!(told, [("orders", "AccessExclusiveLock", 1.0, 30.0), ("orders", "row", 10.0, 12.0)]);
        assert_eq!(work.deadlocks, Some(3.0));
        let held: Vec<_> = work.held.iter().map(|one| (one.mode.as_str(), one.before, one.after)).collect();
        assert_eq!(held, [("AccessShareLock", 3.0, 0.0), ("ExclusiveLock", 0.0, 1.0)]);
        // The statistics began anew: all that is shown came since. A server that does not tell has none.
        let reset = LockCounts { deadlocks: Some(1.0), ..LockCounts::default() };
        assert_eq!(difference(&before, &reset).deadlocks, Some(1.0));
        assert_eq!(difference(&before, &LockCounts::default()).deadlocks, None);
    }
}
