//! Runs that do not happen: because of a window of maintenance, which is as it should be, or for a reason that alerting has to hear of.

use super::Daemon;
use crate::engine::runner::{RunNews, TickNews};
use crate::engine::windows;
use crate::model::Labels;
use crate::model::schedule::Schedule;
use crate::model::units::Timestamp;

impl Daemon {
    /// Why a schedule stands still at `now`, by the maintenance windows.
    pub(super) fn paused(&self, schedule: &Schedule, target: &str, now: Timestamp) -> Option<String> {
        let labels = [("schedule", schedule.name.as_str()), ("profile", schedule.profile.as_str()), ("target", target)];
        let labels: Labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        windows::paused(&self.setup.maintenance, &labels, now)
    }

    /// Tells alerting of runs that did not happen; never waits.
    pub(super) fn tell_missed(&self, schedule: &str, profile: &str, count: u32, reason: &str) {
        let target = self.setup.profiles.get(profile).map(|profile| profile.target.clone()).unwrap_or_default();
        let news = TickNews { schedule: schedule.into(), profile: profile.into(), target, count, reason: reason.into() };
        if self.parts.runner.news.try_send(RunNews::Missed(news)).is_err() {
            tracing::warn!(schedule, "alerting is busy and does not hear of a run that did not happen");
        }
    }
}
