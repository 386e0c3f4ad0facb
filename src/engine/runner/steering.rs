//! What steers a run while it goes on: people, and the levels of its staircases. Every deed is kept with the run, and the run's catalog
//! tells of the phases as they really were.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::super::catalog::scenario_of;
use super::super::handle::{Event, Refusal};
use super::super::steer::{Helm, Steer};
use super::{EndRequest, Going};
use crate::executor::schedule::Course;
use crate::model::control::{Action, ControlEntry};
use crate::model::measure::Interval;
use crate::model::profile::begins;
use crate::model::run::EndedBy;
use crate::model::units::format_duration;

/// How long a target has to recover after its guard halved the load, before its guards look at it again.
const SETTLE: Duration = Duration::from_secs(5);

impl Going {
    /// Offset in the run.
    pub(super) fn elapsed(&self) -> Duration {
        self.began.map_or(Duration::ZERO, |began| began.elapsed())
    }

    /// Steers the run, or says why not.
    pub(super) fn steer(&mut self, steer: &Steer) -> Result<ControlEntry, Refusal> {
        let (now, at) = (self.elapsed(), self.parts.clock.now());
        let helm = self.helm.as_mut().filter(|_| self.ended.is_none());
        let helm = helm.ok_or_else(|| Refusal::NotNow("the run is ending".into()))?;
        let entry = helm.steer(steer, now, at)?;
        tracing::info!(run_id = %self.run.id, by = entry.by, what = entry.what(), "the run is steered");
        self.steered(entry.clone());
        Ok(entry)
    }

    /// Tells everybody that the run is steered.
    fn steered(&mut self, entry: ControlEntry) {
        let steered = self.helm.as_ref().map(Helm::state).unwrap_or_default();
        if let Some(live) = self.parts.live.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&self.run.id) {
            live.steered = steered;
        }
        self.keep(entry);
        self.follow_courses();
    }

    /// Halves the load of everything that goes on; false when nothing does.
    pub(super) fn halve(&mut self, guard: &str) -> bool {
        let (now, at) = (self.elapsed(), self.parts.clock.now());
        let Some(entry) = self.helm.as_mut().and_then(|helm| helm.halve(format!("guard `{guard}`"), now, at)) else { return false };
        let second = entry.second.floor();
        tracing::warn!(run_id = %self.run.id, guard, "a guard of the target halves the load");
        self.guarded.push(format!("the target's guard `{guard}` halved the load at second {second}"));
        self.watchers.guards_anew(second + 1.0 + SETTLE.as_secs_f64());
        self.steered(entry);
        true
    }

    /// Why the run is to end when it goes on for longer than its target allows: pauses and holds can make it so long.
    pub(super) fn too_long(&self) -> Option<String> {
        let limit = self.limits.duration?;
        // Scenarios that wait for each other may need the grace of each.
        let grace: Duration = self.profile.scenarios.iter().map(|scenario| scenario.graceful_stop).sum();
        let over = self.elapsed() > limit + grace;
        over.then(|| format!("it went on for longer than the {} that target `{}` allows", format_duration(limit), self.profile.target))
    }

    /// Keeps a deed with the run.
    fn keep(&mut self, entry: ControlEntry) {
        Arc::make_mut(&mut self.run).controls.push(entry.clone());
        // Nobody may be looking on; that is fine.
        let _ = self.parts.events.send(Event::Controlled(self.run.id.clone(), Box::new(entry)));
    }

    /// Somebody wants the run to end.
    pub(super) fn end_requested(&mut self, request: EndRequest) {
        if self.ended.is_some() {
            return;
        }
        if let Some(by) = request.asked_by {
            let (at, second) = (self.parts.clock.now(), self.elapsed().as_secs_f64());
            self.keep(ControlEntry { at, second, by, action: Action::Stop, scale: None, scenario: None });
        }
        self.ended = Some((request.by, request.who));
    }

    /// Keeps the catalog of the run true when something was decided about its scenarios.
    pub(super) fn follow_courses(&mut self) {
        let Some(helm) = &self.helm else { return };
        let courses: Vec<Arc<Course>> = (0..helm.controls.len()).filter_map(|scenario| helm.controls.course(scenario)).collect();
        let first = self.courses.is_empty();
        let same = courses.iter().zip(&self.courses).all(|(one, other)| Arc::ptr_eq(one, other));
        if first || !same {
            let run = Arc::make_mut(&mut self.run);
            let scenarios = self.profile.scenarios.iter().zip(&courses).zip(begins(&self.profile.scenarios));
            run.catalog.scenarios = scenarios.map(|((scenario, course), begin)| scenario_of(scenario, course, begin.latest)).collect();
            self.courses = courses;
        }
        if !first && !same {
            self.parts.writer.run_changed(&self.run);
        }
    }

    /// Judges the levels of staircases; what comes next is told to the load threads.
    pub(super) fn climb(&mut self, interval: &Interval) {
        let now = self.elapsed();
        let Some(helm) = &self.helm else { return };
        for climber in &mut self.climbers {
            climber.interval(&self.run.catalog, interval, &helm.controls, now);
        }
    }

    /// How it ended, as long as nothing else is said: by itself.
    pub(super) fn ended_by(&self) -> EndedBy {
        self.ended.as_ref().map_or(EndedBy::Completed, |(by, _)| *by)
    }
}
