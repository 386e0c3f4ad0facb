//! Who this process is, and whether another one of this machine still lives. A process id alone tells neither: ids are used again, and
//! each container counts from 1. So a process is named by the boot of its machine, its space of process ids, and its start since boot
//! (proc(5): /proc/sys/kernel/random/boot_id, /proc/PID/ns/pid, field 22 of /proc/PID/stat).

use std::time::Duration;

use crate::model::units::Timestamp;
use crate::store::{Owner, Seen};

/// A process that has not shown life for so long is gone.
pub const SILENCE: Duration = Duration::from_secs(15);

/// What can be said of a process from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// It runs on this machine.
    Alive,
    /// It ran on this machine, and does not any more.
    Dead,
    /// It is on another machine or in another container.
    Elsewhere,
}

/// This process, for the store. `random` makes the id unique.
pub fn this_process(host: &str, random: u64, now: Timestamp) -> Owner {
    let pid = std::process::id();
    let process = format!("{}:{}", place(), started(pid).unwrap_or_default());
    Owner { id: format!("{host}-{pid}-{random:016x}"), host: host.into(), pid, process, started_at: now }
}

/// Whether the process lives, as far as this machine can say.
pub fn life_of(owner: &Owner) -> Life {
    judge(owner, &place(), started(owner.pid))
}

fn judge(owner: &Owner, here: &str, started_now: Option<u64>) -> Life {
    let Some((place, started)) = owner.process.rsplit_once(':') else { return Life::Elsewhere };
    if place != here || here.is_empty() {
        return Life::Elsewhere;
    }
    if started_now.is_some_and(|now| now.to_string() == started) { Life::Alive } else { Life::Dead }
}

/// True when a process is gone, judged by one look: it is dead here, or it has been silent for too long and is not known to live here.
/// A heartbeat that lies in the future is one from before the clock was set back.
pub fn is_gone(seen: &Seen, life: Life) -> bool {
    match life {
        Life::Alive => false,
        Life::Dead => true,
        Life::Elsewhere => seen.now.since(seen.beat) > SILENCE || seen.beat.since(seen.now) > SILENCE,
    }
}

/// Boot and space of process ids; empty where there is no `/proc`, and then only heartbeats count.
fn place() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let space = std::fs::read_link("/proc/self/ns/pid").map(|link| link.display().to_string()).unwrap_or_default();
    if boot.is_empty() || space.is_empty() { String::new() } else { format!("{} {space}", boot.trim()) }
}

/// Start of a process in ticks since boot; `None` when there is none, or only what a parent has not taken note of (a zombie).
fn started(pid: u32) -> Option<u64> {
    start_in(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn start_in(stat: &str) -> Option<u64> {
    // The name of the program stands in parentheses and may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(beat: i64, now: i64) -> Seen {
        Seen { owner: this_process("h", 1, Timestamp(0)), beat: Timestamp(beat * 1_000_000), now: Timestamp(now * 1_000_000) }
    }

    #[test]
    fn this_process_lives_and_another_start_of_its_id_does_not() {
        let owner = this_process("h", 1, Timestamp(0));
        assert_eq!(life_of(&owner), Life::Alive);
        let (place, started) = owner.process.rsplit_once(':').unwrap();
        let earlier = Owner { process: format!("{place}:{}", started.parse::<u64>().unwrap() - 1), ..owner.clone() };
        assert_eq!(life_of(&earlier), Life::Dead, "the id is used again");
        let other = Owner { process: format!("other boot:{started}"), ..owner.clone() };
        assert_eq!(life_of(&other), Life::Elsewhere);
        assert_eq!(judge(&owner, place, None), Life::Dead);
    }

    #[test]
    fn the_name_of_a_program_does_not_confuse_and_a_zombie_is_dead() {
        let stat = |state: &str| format!("77 (a) b (c) {state} 1 77 77 0 -1 4194304 1 0 0 0 5 3 0 0 20 0 4 0 987654 1 2");
        assert_eq!(start_in(&stat("S")), Some(987_654));
        assert_eq!(start_in(&stat("Z")), None);
        assert_eq!(start_in("nonsense"), None);
    }

    #[test]
    fn silence_counts_only_for_those_that_cannot_be_looked_at() {
        for (beat, now, life, gone) in [
            (100, 110, Life::Elsewhere, false),
            (100, 116, Life::Elsewhere, true),
            (116, 100, Life::Elsewhere, true),
            (110, 100, Life::Elsewhere, false),
            (100, 9_000, Life::Alive, false),
            (100, 100, Life::Dead, true),
        ] {
            assert_eq!(is_gone(&seen(beat, now), life), gone, "{beat} {now} {life:?}");
        }
    }
}
