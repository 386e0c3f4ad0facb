//! Whether the daemon itself leaks: its own readings of a day and of a week, judged by the same detector as a run's. They are looked at day
//! after day, so that only what is certain counts. Pure.

use std::time::Duration;

use super::tracks::Tracks;
use super::trends::of_itself;
use crate::model::analysed::{TrendFound, TrendVerdict};
use crate::model::series::Reading;
use crate::model::units::Timestamp;

/// Times that are judged, the longest first.
pub const WINDOWS: [Duration; 2] = [Duration::from_secs(7 * 86_400), Duration::from_secs(86_400)];

/// What the daemon's own resources did until `now`; nothing while there is less than half of a day. `readings` are in their order.
pub fn own_trends(readings: &[Reading], now: Timestamp) -> Vec<TrendFound> {
    let mut all: Vec<TrendFound> = Vec::new();
    for window in WINDOWS {
        let from = now.minus(window);
        let inside: Vec<&Reading> = readings.iter().filter(|reading| reading.at >= from && reading.at <= now).collect();
        let span = inside.first().map_or(Duration::ZERO, |first| now.since(first.at));
        if span < window / 2 {
            continue;
        }
        for found in judge(&inside, from, window) {
            match all.iter_mut().find(|known| known.resource == found.resource && known.probe == found.probe) {
                Some(known) if matters(&found) > matters(known) => *known = found,
                Some(_) => {}
                None => all.push(found),
            }
        }
    }
    all
}

/// A leak before anything else that is known, and an answer before none.
fn matters(found: &TrendFound) -> (bool, bool, Option<u8>) {
    let sure = found.sureness.map(|sureness| sureness as u8);
    (found.verdict == TrendVerdict::Leak, found.verdict != TrendVerdict::Unknown, sure)
}

fn judge(readings: &[&Reading], from: Timestamp, window: Duration) -> Vec<TrendFound> {
    let mut tracks = Tracks::default();
    let mut restarts: Vec<(String, f64)> = Vec::new();
    for reading in readings {
        let second = reading.at.since(from).as_secs();
        // The first reading of a process has no rate of CPU yet.
        let first = reading.points.as_ref().is_ok_and(|points| points.iter().all(|point| point.metric != "process_cpu"));
        if first {
            restarts.push((reading.probe.clone(), second as f64));
        }
        tracks.reading(&Reading { second: u32::try_from(second).ok(), ..Reading::clone(reading) });
    }
    of_itself(&tracks, window.as_secs_f64(), &restarts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::analysed::{Resource, Sureness};
    use crate::model::series::Point;

    const MINUTE: u64 = 60;
    const DAY: u64 = 86_400;
    const MIB: f64 = 1_048_576.0;

    fn at(second: u64) -> Timestamp {
        Timestamp(1_700_000_000_000_000).plus(Duration::from_secs(second))
    }

    /// Readings every minute for so many days: memory as given by the second, with the waves of the day and the noise of allocation.
    fn recorded(days: f64, restarts: &[u64], memory: impl Fn(u64) -> f64, descriptors: impl Fn(u64) -> f64) -> Vec<Reading> {
        let minutes = (days * 1_440.0) as u64;
        let reading = |minute: u64| {
            let second = minute * MINUTE;
            let noise = (minute * 7_919 % 101) as f64 / 101.0 - 0.5;
            let day = (second as f64 / DAY as f64 * std::f64::consts::TAU).sin();
            let mut points = vec![
                Point::new("process_memory", (memory(second) + 2.0 * noise + day) * MIB),
                Point::new("process_descriptors", (descriptors(second) + (minute * 31 % 5) as f64).round()),
                Point::new("process_threads", 12.0),
            ];
            if minute > 0 && !restarts.contains(&second) {
                points.push(Point::new("process_cpu", 0.1));
            }
            Reading { target: "plimsoll".into(), probe: "here".into(), at: at(second), second: None, points: Ok(points) }
        };
        (0..minutes).map(reading).collect()
    }

    fn of(found: &[TrendFound], resource: Resource) -> (TrendVerdict, Option<Sureness>) {
        let found = found.iter().find(|found| found.resource == resource).unwrap();
        (found.verdict, found.sureness)
    }

    #[test]
    fn memory_that_grows_for_days_is_found() {
        let readings = recorded(7.0, &[], |second| 80.0 + second as f64 / 3_600.0 * 0.5, |_| 40.0);
        let found = own_trends(&readings, at(7 * DAY));
        assert_eq!(of(&found, Resource::Memory), (TrendVerdict::Leak, Some(Sureness::Certain)), "{found:#?}");
        assert_ne!(of(&found, Resource::Descriptors).0, TrendVerdict::Leak, "{found:#?}");
        assert_ne!(of(&found, Resource::Threads).0, TrendVerdict::Leak, "{found:#?}");
        let per_hour = found.iter().find(|found| found.resource == Resource::Memory).unwrap().per_hour.unwrap().value;
        assert!((per_hour / MIB - 0.5).abs() < 0.1, "{per_hour}");
    }

    #[test]
    fn descriptors_that_stay_open_are_found_within_a_day() {
        let readings = recorded(1.0, &[], |_| 80.0, |second| 40.0 + second as f64 / 600.0);
        let found = own_trends(&readings, at(DAY));
        assert_eq!(of(&found, Resource::Descriptors), (TrendVerdict::Leak, Some(Sureness::Certain)), "{found:#?}");
        assert_ne!(of(&found, Resource::Memory).0, TrendVerdict::Leak, "{found:#?}");
    }

    #[test]
    fn flat_use_is_quiet_also_over_a_restart() {
        for restarts in [vec![], vec![3 * DAY + 600]] {
            let readings = recorded(7.0, &restarts, |_| 80.0, |_| 40.0);
            let found = own_trends(&readings, at(7 * DAY));
            assert!(!found.is_empty() && found.iter().all(|found| found.verdict != TrendVerdict::Leak), "{restarts:?} {found:#?}");
        }
    }

    #[test]
    fn nothing_is_said_of_less_than_half_a_day() {
        let readings = recorded(0.3, &[], |second| 80.0 + second as f64 / 60.0, |_| 40.0);
        assert_eq!(own_trends(&readings, at(26_000)).len(), 0);
    }
}
