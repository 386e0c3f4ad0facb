//! A night of five systems and the day after it, as it is stored, and as it is left at each age; a year is so many of each.

use std::time::Duration;

use plimsoll::engine::upkeep::retain;
use plimsoll::model::retention::Policies;
use plimsoll::model::units::Timestamp;
use plimsoll::store::SeriesBatch;

use crate::Size;
use crate::bed::Bed;
use crate::made::{Made, reading};
use crate::table::Table;

/// Midnight of 2027-01-04, a Monday.
const MIDNIGHT: Timestamp = Timestamp(1_799_020_800_000_000);
const DAY: u64 = 86_400;
/// Seconds between readings when nothing runs.
const IDLE: u64 = 15;

/// A profile: its length, its steps, its requests a second in all steps together.
struct System {
    profile: &'static str,
    seconds: u32,
    steps: u16,
    per_second: f64,
}

const SYSTEMS: [System; 7] = [
    System { profile: "gate", seconds: 780, steps: 3, per_second: 54.0 },
    System { profile: "challenge", seconds: 1_800, steps: 8, per_second: 525.0 },
    System { profile: "battery", seconds: 600, steps: 11, per_second: 22.0 },
    System { profile: "trio-sustained", seconds: 840, steps: 5, per_second: 500.0 },
    System { profile: "trio-spike", seconds: 220, steps: 5, per_second: 500.0 },
    System { profile: "trio-soak", seconds: 2_400, steps: 5, per_second: 500.0 },
    System { profile: "ladder", seconds: 4_020, steps: 1, per_second: 17.0 },
];
/// What is probed all day.
const TARGETS: [&str; 5] = ["gate", "challenge", "battery", "trio", "ladder"];

pub(crate) async fn measure(size: Size, table: &mut Table) {
    let mut bed = Bed::new().await;
    let empty = bed.bytes().await;
    let mut start = MIDNIGHT;
    for System { profile, seconds, steps, per_second } in SYSTEMS {
        let seconds = seconds / size.shorter;
        let made = Made::new(profile, start, seconds, steps, per_second / f64::from(steps));
        made.write(&*bed.store).await;
        bed.store.update_run(&made.ended()).await.unwrap();
        start = start.plus(Duration::from_secs(u64::from(seconds) + 60));
    }
    let runs = bed.bytes().await - empty;
    let until = MIDNIGHT.plus(Duration::from_secs(DAY));
    let every = Duration::from_secs(IDLE * u64::from(size.shorter));
    while start < until {
        let readings = TARGETS.iter().map(|target| (None, reading(target, start, None))).collect();
        bed.store.append(&SeriesBatch { intervals: Vec::new(), readings }).await.unwrap();
        start = start.plus(every);
    }
    // The day is complete when there is something of the next one.
    let next = until.plus(Duration::from_secs(7_200));
    let readings = TARGETS.iter().map(|target| (None, reading(target, next, None))).collect();
    bed.store.append(&SeriesBatch { intervals: Vec::new(), readings }).await.unwrap();
    bed.roll_up_all().await;
    let mut left = vec![bed.bytes().await];
    // The default policies take seconds after 7 days, ten seconds after 30, minutes after 180.
    for days in [9, 32, 182] {
        retain(&*bed.store, &Policies::default(), MIDNIGHT.plus(Duration::from_secs(days * DAY))).await.unwrap();
        left.push(bed.bytes().await);
    }
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    table.tell("a night of five systems, seconds only", megabytes(runs), "MB");
    table.tell("with its day's readings and all roll-ups", megabytes(left[0] - empty), "MB");
    let mut year = megabytes(empty);
    let names = ["1 s, kept for 7 days", "10 s, kept for 30 days", "1 min, kept for 180 days", "1 h and summaries, kept for ever"];
    for (index, (name, days)) in names.into_iter().zip([7.0, 30.0, 180.0, 365.0]).enumerate() {
        let next = left.get(index + 1).copied().unwrap_or(empty);
        let each = megabytes(left[index].saturating_sub(next));
        year += each * days;
        table.tell(format!("of it {name}"), each, "MB a day");
    }
    table.tell("a year of such nights at the default retention (extrapolated)", year, "MB");
    let systems = SYSTEMS.map(|one| format!("{} {} s, {} steps, {}/s", one.profile, one.seconds, one.steps, one.per_second)).join("; ");
    table.note(format!(
        "night (sizes assumed): {systems}; a reading of 8 series a second in runs, every {IDLE} s of 5 targets between them"
    ));
    table.note(
        "year: bytes that retention gives back at each age, times the days for which each resolution is kept; free pages are left out",
    );
}
