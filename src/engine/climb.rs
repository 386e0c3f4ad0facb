//! Judges the levels of staircases while they are climbed: what a level's gate comes to decides the next level, which is told to
//! all load threads at once. Levels follow from the seconds of the run alone, so that a merged run is judged like any other.

use std::time::Duration;

use super::watchers::Watchers;
use crate::executor::control::{Controls, LEAD};
use crate::executor::schedule::{Climb, Course, Leaving, stages_to};
use crate::model::alerting::Severity;
use crate::model::catalog::{Catalog, PhaseWindow};
use crate::model::measure::{Accounting, Interval};
use crate::model::profile::{Executor, Profile};
use crate::model::run::{ThresholdResult, Verdict};
use crate::model::series::Reading;
use crate::model::staircase::{ClimbSummary, LevelResult, StairUnit, Staircase};
use crate::model::units::{Rate, format_percent};

/// One staircase of a run that is going on.
#[derive(Debug)]
pub(super) struct Climber {
    /// Index of its scenario.
    scenario: usize,
    name: String,
    stairs: Staircase,
    climb: Climb,
    /// Follows the gate on the present level.
    gate: Watchers,
    /// Where the starts of the present level went.
    counts: Accounting,
    /// Share of starts that may be dropped or unsent.
    max_undelivered: f64,
    levels: Vec<LevelResult>,
    /// Nothing is left to judge.
    over: bool,
}

/// The staircases of a profile whose levels are judged.
pub(super) fn climbers(profile: &Profile) -> Vec<Climber> {
    let staircase = |(scenario, stairs): (usize, &Staircase), name: &str| Climber {
        scenario,
        name: name.to_owned(),
        climb: Climb::new(stairs),
        gate: Watchers::new(&stairs.gate, &[]),
        stairs: stairs.clone(),
        counts: Accounting::default(),
        max_undelivered: profile.max_undelivered,
        levels: Vec::new(),
        over: false,
    };
    let scenarios = profile.scenarios.iter().enumerate();
    scenarios
        .filter_map(|(index, scenario)| match &scenario.executor {
            Executor::Staircase(stairs) if !stairs.gate.is_empty() => Some(staircase((index, stairs), &scenario.name)),
            Executor::Staircase(_)
            | Executor::ConstantVus { .. }
            | Executor::RampingVus { .. }
            | Executor::ConstantArrivalRate { .. }
            | Executor::RampingArrivalRate { .. }
            | Executor::PerVuIterations { .. }
            | Executor::SharedIterations { .. }
            | Executor::ExternallyControlled { .. } => None,
        })
        .collect()
}

impl Climber {
    /// Takes one second; when it was the last of the level, judges it and decides what comes next. `now` is the offset in the run.
    pub(super) fn interval(&mut self, catalog: &Catalog, interval: &Interval, controls: &Controls, now: Duration) {
        if self.over {
            return;
        }
        if self.is_on_level(catalog, interval.second) {
            self.gate.interval(catalog, interval);
            if let Some(scenario) = interval.scenarios.get(&(self.scenario as u16)) {
                self.counts += scenario.counts;
            }
        }
        let Some(course) = controls.course(self.scenario) else { return };
        // A second belongs to where its middle lies: the level is complete when the middle of the next second lies beyond it.
        let next_middle = Duration::from_millis(u64::from(interval.second) * 1_000 + 1_500);
        if self.held_until(&course).is_some_and(|end| end <= next_middle) {
            self.judge(&course, controls, now);
        }
    }

    /// Takes one reading of a probe.
    pub(super) fn reading(&mut self, catalog: &Catalog, reading: &Reading) {
        if !self.over && reading.second.is_some_and(|second| self.is_on_level(catalog, second)) {
            self.gate.reading(catalog, reading);
        }
    }

    /// What the climb came to.
    pub(super) fn summary(&self) -> ClimbSummary {
        let unit = match self.stairs.unit {
            StairUnit::Vus => "VUs".to_owned(),
            StairUnit::Rate { per, .. } => Rate { count: 1.0, per }.to_string().trim_start_matches('1').to_owned(),
        };
        ClimbSummary {
            scenario: self.name.clone(),
            unit,
            levels: self.levels.clone(),
            passed: self.climb.passed(),
            failed: self.climb.failed(),
            resolution: self.stairs.resolution,
        }
    }

    /// Whether it came as high as it must, as a result beside those of the thresholds; `None` when nothing is asked.
    pub(super) fn must_reach(&self) -> Option<ThresholdResult> {
        let wanted = self.stairs.must_reach?;
        let passed = self.climb.passed();
        let (verdict, is) = match passed {
            Some(passed) if passed >= wanted - 1e-9 => (Verdict::Pass, format!("passed up to {}", self.stairs.show(passed))),
            Some(passed) => (Verdict::Fail, format!("passed up to {} only", self.stairs.show(passed))),
            None if self.levels.is_empty() => (Verdict::NoData, "held no level to its end".to_owned()),
            None => (Verdict::Fail, "passed no level".to_owned()),
        };
        let asked = self.stairs.show(wanted);
        Some(ThresholdResult {
            text: format!("{} must reach {asked}", self.name),
            verdict,
            actual: passed,
            shown: passed.map_or_else(|| "none".into(), |passed| self.stairs.show(passed)),
            reason: format!("`{}` {is}, asked for {asked}", self.name),
            severity: Severity::High,
            first_breach: None,
        })
    }

    fn phase(&self) -> String {
        self.stairs.level_name(self.climb.present())
    }

    fn is_on_level(&self, catalog: &Catalog, second: u32) -> bool {
        let phase = catalog.scenarios.get(self.scenario).and_then(|scenario| scenario.phase_at(second));
        phase.is_some_and(|phase| phase.name == self.phase())
    }

    /// When the present level is held to its end; `None`: not known yet, because the run is paused or held.
    fn held_until(&self, course: &Course) -> Option<Duration> {
        course.end_of_phase(&self.phase())
    }

    fn judge(&mut self, course: &Course, controls: &Controls, now: Duration) {
        let level = self.result(course);
        tracing::info!(scenario = self.name, level = level.shown, verdict = level.verdict.as_str(), "a level was judged");
        let (present, pass) = (level.level, level.verdict == Verdict::Pass);
        self.levels.push(level);
        let next = self.climb.judged(pass);
        self.over = next.is_none();
        if self.stairs.is_decided_on_the_way() {
            controls.decide(self.scenario, |course| {
                let judged_for = course.clock_at(now + LEAD).unwrap_or_default().saturating_sub(course.climbed());
                let leaving = Leaving { level: present, judged_for, rests: !pass };
                course.extend(&stages_to(&self.stairs, Some(leaving), next), next.is_none());
            });
        }
        self.gate = Watchers::new(&self.stairs.gate, &[]);
        self.counts = Accounting::default();
    }

    /// What the present level came to.
    fn result(&self, course: &Course) -> LevelResult {
        let phase = self.phase();
        let windows: Vec<PhaseWindow> = course.windows().into_iter().filter(|window| window.name == phase).collect();
        let from = windows.first().map_or(Duration::ZERO, |window| window.start);
        let to = windows.last().map_or(from, |window| window.end);
        let gate = self.gate.results();
        let mut reasons = Vec::new();
        if course.is_scaled_within(from, to) {
            reasons.push("the load was scaled while the level was held".to_owned());
        }
        let lost = self.counts.dropped + self.counts.unsent;
        let share = lost as f64 / self.counts.scheduled.max(1) as f64;
        if share > self.max_undelivered {
            reasons.push(format!("{} of its starts were not delivered ({lost} of {})", format_percent(share), self.counts.scheduled));
        }
        let of = |verdict: Verdict| gate.iter().filter(move |result| result.verdict == verdict);
        let verdict = match (of(Verdict::Fail).next(), reasons.is_empty(), of(Verdict::NoData).next()) {
            (Some(_), ..) => Verdict::Fail,
            (None, false, _) => Verdict::Invalid,
            (None, true, Some(_)) => Verdict::NoData,
            (None, true, None) => Verdict::Pass,
        };
        // What failed comes first.
        let mut why: Vec<String> = of(Verdict::Fail).chain(of(Verdict::NoData)).map(|result| result.reason.clone()).collect();
        why.append(&mut reasons);
        let level = self.climb.present();
        let whole = |moment: Duration| (moment.as_millis() + 500) as u32 / 1_000;
        let (shown, from, to) = (self.stairs.show(level), whole(from), whole(to));
        LevelResult { level, shown, phase, from, to, verdict, reasons: why, gate }
    }
}
