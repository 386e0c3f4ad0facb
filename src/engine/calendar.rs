//! When schedules fire: the next instant of a cron text in its time zone, computed here because the ticking crate is an hour off
//! across a DST change. A fixed time in the hour that does not exist fires when the clock has moved on; in the hour that exists
//! twice it fires once, wildcards in both (croner, Open Cron Pattern Specification). Pure.

use std::time::Duration;

use croner::Cron;
use croner::parser::{CronParser, Seconds};

use crate::model::schedule::{Missed, Schedule};
use crate::model::units::Timestamp;

/// Reads five or six cron fields, or a nickname such as `@daily`.
pub fn parse(text: &str) -> Result<Cron, String> {
    CronParser::builder().seconds(Seconds::Optional).build().parse(text).map_err(|error| error.to_string())
}

/// The first instant of `schedule` after `after`; `None` when there is none.
pub fn next_after(schedule: &Schedule, after: Timestamp) -> Option<Timestamp> {
    let cron = parse(&schedule.cron).ok()?;
    let local = after.to_utc().with_timezone(&schedule.timezone);
    let next = cron.find_next_occurrence(&local, false).ok()?;
    // Whoever asks again from the answer must get on.
    Some(Timestamp::from_utc(next.with_timezone(&chrono::Utc))).filter(|next| *next > after)
}

/// The last instant of a cron text at or before `until`; `None` when there is none.
pub fn last_instant(cron: &str, timezone: chrono_tz::Tz, until: Timestamp) -> Option<Timestamp> {
    let cron = parse(cron).ok()?;
    let local = until.to_utc().with_timezone(&timezone);
    let last = cron.find_previous_occurrence(&local, true).ok()?;
    Some(Timestamp::from_utc(last.with_timezone(&chrono::Utc)))
}

/// The last instant in `(after, until]` and how many there are, counted up to `limit`; `None` when there is none.
pub fn missed_between(schedule: &Schedule, after: Timestamp, until: Timestamp, limit: usize) -> Option<(Timestamp, usize)> {
    let mut last = None;
    let mut at = after;
    for count in 1..=limit {
        match next_after(schedule, at).filter(|next| *next <= until) {
            Some(next) => {
                last = Some((next, count));
                at = next;
            }
            None => return last,
        }
    }
    // There may be more than were counted; what is made up for is the last of them.
    last.map(|(counted, count)| (last_instant(&schedule.cron, schedule.timezone, until).map_or(counted, |last| last.max(counted)), count))
}

/// Whether an instant that passed while the daemon was down is made up for now.
pub fn runs_late(missed: Missed, due: Timestamp, now: Timestamp) -> bool {
    match missed {
        Missed::Skip => false,
        Missed::RunWithin(limit) => now.since(due) <= limit,
    }
}

/// When the schedule fires that is due at `due`: up to its jitter later; `random` is 0 to 1.
pub fn with_jitter(schedule: &Schedule, due: Timestamp, random: f64) -> Timestamp {
    due.plus(Duration::from_secs_f64(schedule.jitter.as_secs_f64() * random.clamp(0.0, 1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::schedule::Overlap;

    fn berlin(cron: &str) -> Schedule {
        Schedule {
            name: "s".into(),
            profile: "p".into(),
            cron: cron.into(),
            timezone: chrono_tz::Europe::Berlin,
            jitter: Duration::from_secs(60),
            overlap: Overlap::Skip,
            missed: Missed::Skip,
            run_at_start: false,
        }
    }

    fn fires(cron: &str, from: &str, count: usize) -> Vec<String> {
        let schedule = berlin(cron);
        let mut at = Timestamp::parse(from).unwrap();
        let mut seen = Vec::new();
        for _ in 0..count {
            at = next_after(&schedule, at).unwrap();
            seen.push(at.to_utc().format("%m-%d %H:%M").to_string());
        }
        seen
    }

    #[test]
    fn a_nightly_run_keeps_its_local_time_across_dst() {
        // 02:00 in Berlin is 01:00 UTC in winter; on 2026-03-29 there is no 02:00, the run comes at 03:00 = 01:00 UTC; then 00:00 UTC.
        assert_eq!(fires("0 2 * * *", "2026-03-27T12:00:00Z", 4), ["03-28 01:00", "03-29 01:00", "03-30 00:00", "03-31 00:00"]);
        // On 2026-10-25 the hour from 02:00 exists twice; the run comes once.
        assert_eq!(fires("30 2 * * *", "2026-10-24T12:00:00Z", 3), ["10-25 00:30", "10-26 01:30", "10-27 01:30"]);
    }

    #[test]
    fn a_fixed_time_in_the_missing_hour_fires_once_when_the_clock_has_moved_on() {
        assert_eq!(fires("30 2 * * *", "2026-03-28T12:00:00Z", 2), ["03-29 01:00", "03-30 00:30"]);
    }

    #[test]
    fn hourly_runs_come_every_hour_of_the_real_clock() {
        assert_eq!(fires("0 * * * *", "2026-10-24T23:30:00Z", 4), ["10-25 00:00", "10-25 01:00", "10-25 02:00", "10-25 03:00"]);
        assert_eq!(fires("0 * * * *", "2026-03-29T00:00:00Z", 3), ["03-29 01:00", "03-29 02:00", "03-29 03:00"]);
    }

    #[test]
    fn every_instant_is_later_than_the_one_before_it_across_dst() {
        // Ten days around each change: no instant twice, none left out.
        for from in ["2026-03-24T00:00:00Z", "2026-10-20T00:00:00Z"] {
            let from = Timestamp::parse(from).unwrap();
            for (cron, count) in [("*/15 * * * *", 960), ("30 1 * * *", 10), ("30 2 * * *", 10), ("0 0 * * *", 10)] {
                let mut at = from;
                for number in 0..count {
                    let next = next_after(&berlin(cron), at).unwrap();
                    assert!(next > at, "{cron}: {number} at {at} leads to {next}");
                    at = next;
                }
                // The change moves local times by an hour; less than that, so that an hour left out is seen.
                let tenth_day = from.plus(Duration::from_secs(9 * 86_400 - 1_800))..=from.plus(Duration::from_secs(10 * 86_400 + 1_800));
                assert!(tenth_day.contains(&at), "{cron}: {count} instants from {from} end at {at}");
            }
        }
    }

    #[test]
    fn counts_what_was_missed_and_says_whether_to_make_up_for_it() {
        let schedule = berlin("0 * * * *");
        let at = |text| Timestamp::parse(text).unwrap();
        let missed = missed_between(&schedule, at("2026-11-21T00:00:00Z"), at("2026-11-21T05:30:00Z"), 100);
        assert_eq!(missed, Some((at("2026-11-21T05:00:00Z"), 5)));
        assert_eq!(missed_between(&schedule, at("2026-11-21T05:00:00Z"), at("2026-11-21T05:30:00Z"), 100), None);
        // More than are counted: still the last one.
        let many = missed_between(&schedule, at("2026-10-01T00:00:00Z"), at("2026-11-21T05:30:00Z"), 100);
        assert_eq!(many, Some((at("2026-11-21T05:00:00Z"), 100)));
        assert!(runs_late(Missed::RunWithin(Duration::from_secs(3600)), at("2026-11-21T05:00:00Z"), at("2026-11-21T05:30:00Z")));
        assert!(!runs_late(Missed::RunWithin(Duration::from_secs(60)), at("2026-11-21T05:00:00Z"), at("2026-11-21T05:30:00Z")));
        assert!(!runs_late(Missed::Skip, at("2026-11-21T05:00:00Z"), at("2026-11-21T05:00:01Z")));
    }

    #[test]
    fn jitter_delays_by_a_part_of_itself_and_never_more() {
        let schedule = berlin("0 * * * *");
        let due = Timestamp::parse("2026-11-21T05:00:00Z").unwrap();
        for (random, seconds) in [(0.0, 0), (0.5, 30), (1.0, 60), (-3.0, 0), (7.0, 60)] {
            assert_eq!(with_jitter(&schedule, due, random), due.plus(Duration::from_secs(seconds)), "{random}");
        }
    }

    #[test]
    fn an_impossible_date_never_fires() {
        assert_eq!(next_after(&berlin("0 0 30 2 *"), Timestamp::parse("2026-01-01T00:00:00Z").unwrap()), None);
        assert!(parse("61 * * * *").is_err());
    }
}
