//! Maintenance windows and mute timings: which are open at a moment, and whether schedules stand still. Pure.

use std::time::Duration;

use super::calendar;
use super::setup::Setup;
use crate::alert::{OpenWindow, Quiet};
use crate::model::Labels;
use crate::model::muting::{MuteWindow, Silence, WindowTime, all_fit};
use crate::model::units::Timestamp;

/// Until when a window is open that is open at `now`; `None` when it is shut.
pub fn open_until(time: &WindowTime, now: Timestamp) -> Option<Timestamp> {
    let until = match time {
        WindowTime::Once { from, to } => (*from <= now).then_some(*to)?,
        WindowTime::Recurring { cron, timezone, duration } => calendar::last_instant(cron, *timezone, now)?.plus(*duration),
    };
    (now < until).then_some(until)
}

/// What keeps alerts quiet at `now`.
pub fn quiet(setup: &Setup, silences: &[Silence], now: Timestamp) -> Quiet {
    let open = |window: &MuteWindow| {
        let until = open_until(&window.time, now)?;
        Some(OpenWindow { name: window.name.clone(), until, matchers: window.matchers.clone() })
    };
    let on = |timing: &MuteWindow| open_until(&timing.time, now).map(|until| (timing.name.clone(), until));
    Quiet {
        silences: silences.iter().filter(|silence| silence.is_active(now)).cloned().collect(),
        maintenance: setup.maintenance.iter().filter_map(open).collect(),
        timings: setup.mute_timings.iter().filter_map(on).collect(),
    }
}

/// Why a schedule stands still at `now`: the first window that pauses schedules and fits these labels.
pub fn paused(windows: &[MuteWindow], labels: &Labels, now: Timestamp) -> Option<String> {
    let fits = |window: &&MuteWindow| window.pause_schedules && all_fit(&window.matchers, labels);
    let open = windows.iter().filter(fits).find_map(|window| open_until(&window.time, now).map(|until| (window, until)));
    open.map(|(window, until)| format!("maintenance window `{}` until {until}", window.name))
}

/// How long silences that are over are shown.
pub const SHOWN_FOR: Duration = Duration::from_secs(7 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::muting::Matcher;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    fn nightly() -> WindowTime {
        let cron = "0 2 * * *".into();
        WindowTime::Recurring { cron, timezone: chrono_tz::Europe::Berlin, duration: Duration::from_secs(5400) }
    }

    #[test]
    fn a_recurring_window_is_open_from_each_instant_on_for_its_duration() {
        // 02:00 in Berlin is 01:00 UTC in winter.
        let until = Some(at("2026-11-21T02:30:00Z"));
        for (now, expected) in [
            ("2026-11-21T00:59:59Z", None),
            ("2026-11-21T01:00:00Z", until),
            ("2026-11-21T02:29:59Z", until),
            ("2026-11-21T02:30:00Z", None),
            // In summer it is 00:00 UTC.
            ("2026-07-01T00:30:00Z", Some(at("2026-07-01T01:30:00Z"))),
            ("2026-07-01T01:30:00Z", None),
        ] {
            assert_eq!(open_until(&nightly(), at(now)), expected, "{now}");
        }
    }

    #[test]
    fn a_single_window_is_open_once() {
        let once = WindowTime::Once { from: at("2026-11-21T02:00:00Z"), to: at("2026-11-21T03:00:00Z") };
        for (now, open) in [("2026-11-21T01:59:59Z", false), ("2026-11-21T02:00:00Z", true), ("2026-11-21T03:00:00Z", false)] {
            assert_eq!(open_until(&once, at(now)).is_some(), open, "{now}");
        }
    }

    #[test]
    fn only_windows_that_say_so_pause_schedules_that_they_fit() {
        let window = |name: &str, pause_schedules, target: &str| MuteWindow {
            name: name.into(),
            time: nightly(),
            matchers: vec![Matcher::equal("target", target)],
            pause_schedules,
        };
        let labels: Labels = [("target".to_owned(), "shop".to_owned()), ("schedule".to_owned(), "nightly".to_owned())].into();
        let windows = [window("talk", false, "shop"), window("bank", true, "bank"), window("deploy", true, "shop")];
        let now = at("2026-11-21T01:30:00Z");
        assert_eq!(paused(&windows, &labels, now).unwrap(), "maintenance window `deploy` until 2026-11-21T02:30:00.000Z");
        assert_eq!(paused(&windows[..2], &labels, now), None);
        assert_eq!(paused(&windows, &labels, at("2026-11-21T12:00:00Z")), None);
    }
}
