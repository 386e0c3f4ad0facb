//! Steering a run that is going on: whether what is asked for can be done, and the decision about each scenario that follows from
//! it. Takes effect a moment later on all load threads at once. Nothing is loaded beyond the target's limits.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::handle::Refusal;
use crate::executor::control::{Controls, LEAD};
use crate::executor::schedule::{Change, Course, Mode};
use crate::model::control::{Action, ControlEntry, Scale};
use crate::model::profile::{Executor, Limits, Profile};
use crate::model::units::{Rate, Timestamp};

/// Most that a factor may multiply.
const MOST_TIMES: f64 = 1_000.0;
/// Most entries of one run.
const MOST_ENTRIES: usize = 10_000;

/// What somebody asks of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Steer {
    /// What.
    pub action: Action,
    /// By how much, for `scale`.
    pub scale: Option<Scale>,
    /// Of this scenario only.
    pub scenario: Option<String>,
    /// Who.
    pub by: String,
}

/// The same on its way to the run, with the way back.
pub(super) type SteerOrder = (Steer, oneshot::Sender<Result<ControlEntry, Refusal>>);

/// The wheel of one run.
#[derive(Debug)]
pub(super) struct Helm {
    /// The courses of its scenarios.
    pub(super) controls: Arc<Controls>,
    profile: Arc<Profile>,
    limits: Limits,
    entries: usize,
}

impl Helm {
    /// Steers these courses, which are those of `profile`, within the limits of its target.
    pub(super) fn new(controls: Arc<Controls>, profile: Arc<Profile>, limits: Limits) -> Self {
        Self { controls, profile, limits, entries: 0 }
    }

    /// Does what is asked for, or says why not. `now` is the offset in the run, `at` the same moment on the wall clock.
    pub(super) fn steer(&mut self, steer: &Steer, now: Duration, at: Timestamp) -> Result<ControlEntry, Refusal> {
        if self.entries >= MOST_ENTRIES {
            return Err(Refusal::NotNow(format!("this run has been steered {MOST_ENTRIES} times; that is enough")));
        }
        let chosen = self.chosen(steer, now)?;
        let from = now + LEAD;
        let mut changes = Vec::new();
        for (index, course) in &chosen {
            let latest = course.latest();
            let (mode, scale) = match steer.action {
                Action::Pause => (Mode::Paused, latest.scale),
                Action::Hold => (Mode::Held, latest.scale),
                Action::Resume => (Mode::Running, latest.scale),
                Action::Scale => (latest.mode, steer.scale.filter(|scale| *scale != Scale::Factor(1.0))),
                Action::Stop => return Err(Refusal::BadRequest("a run is stopped by cancelling it".into())),
            };
            if (mode, scale) != (latest.mode, latest.scale) {
                changes.push((*index, Change { at: from, mode, scale }));
            }
        }
        if changes.is_empty() {
            return Err(Refusal::NotNow("that is how it is already".into()));
        }
        if steer.action == Action::Scale {
            self.within_limits(&changes, now)?;
        }
        for (index, change) in changes {
            self.controls.decide(index, |course| course.change(change));
        }
        self.entries += 1;
        let Steer { action, scale, scenario, by } = steer.clone();
        Ok(ControlEntry { at, second: from.as_secs_f64(), by, action, scale, scenario })
    }

    /// Halves the load of every scenario that goes on, because `by` says so; `None` when none does.
    pub(super) fn halve(&mut self, by: String, now: Duration, at: Timestamp) -> Option<ControlEntry> {
        let from = now + LEAD;
        let going = (0..self.controls.len()).filter_map(|index| Some((index, self.controls.course(index)?)));
        let going: Vec<_> = going.filter(|(_, course)| course.end().is_none_or(|end| from < end)).collect();
        if going.is_empty() {
            return None;
        }
        for (index, course) in going {
            let latest = course.latest();
            let scale = Some(latest.scale.unwrap_or(Scale::Factor(1.0)).halved());
            self.controls.decide(index, |course| course.change(Change { at: from, mode: latest.mode, scale }));
        }
        self.entries += 1;
        Some(ControlEntry { at, second: from.as_secs_f64(), by, action: Action::Scale, scale: Some(Scale::Factor(0.5)), scenario: None })
    }

    /// The scenarios that are meant and still go on.
    fn chosen(&self, steer: &Steer, now: Duration) -> Result<Vec<(usize, Arc<Course>)>, Refusal> {
        check_scale(steer)?;
        let names = || self.profile.scenarios.iter().map(|scenario| scenario.name.as_str());
        if let Some(wanted) = &steer.scenario
            && !names().any(|name| name == wanted)
        {
            let known: Vec<&str> = names().collect();
            return Err(Refusal::Unknown(format!("there is no scenario `{wanted}`; known: {}", known.join(", "))));
        }
        let meant = names().enumerate().filter(|(_, name)| steer.scenario.as_deref().is_none_or(|wanted| wanted == *name));
        let going = |(index, _): (usize, &str)| {
            let course = self.controls.course(index)?;
            course.end().is_none_or(|end| now < end).then_some((index, course))
        };
        let going: Vec<(usize, Arc<Course>)> = meant.filter_map(going).collect();
        if going.is_empty() {
            return Err(Refusal::NotNow("its regular end has passed; nothing starts any more".into()));
        }
        match steer.scale {
            Some(scale) => self.scalable(going, scale),
            None => Ok(going),
        }
    }

    /// Those that such a scale means something for. An absolute one is for one scenario.
    fn scalable(&self, going: Vec<(usize, Arc<Course>)>, scale: Scale) -> Result<Vec<(usize, Arc<Course>)>, Refusal> {
        let name = |index: usize| self.profile.scenarios.get(index).map(|scenario| scenario.name.clone()).unwrap_or_default();
        let fit: Vec<(usize, Arc<Course>)> = going.into_iter().filter(|(_, course)| course.takes(scale)).collect();
        let what = match scale {
            Scale::Factor(_) => return Ok(fit),
            Scale::Vus(_) => "VUs that loop",
            Scale::Rate(_) => "a rate",
        };
        match fit.as_slice() {
            [] => Err(Refusal::BadRequest(format!("no scenario that goes on has {what}"))),
            [(index, course)] => match (scale, course.most_vus()) {
                (Scale::Vus(vus), Some(most)) if vus > most => {
                    Err(Refusal::NotNow(format!("scenario `{}` has at most {most} VUs", name(*index))))
                }
                (Scale::Vus(_) | Scale::Rate(_) | Scale::Factor(_), _) => Ok(fit),
            },
            several => {
                let names: Vec<String> = several.iter().map(|(index, _)| format!("`{}`", name(*index))).collect();
                Err(Refusal::BadRequest(format!("say which scenario: {} have {what}", names.join(" and "))))
            }
        }
    }

    /// Refuses what could load the target beyond its limits. Scenarios that go on count with the most that they can come to.
    fn within_limits(&self, changes: &[(usize, Change)], now: Duration) -> Result<(), Refusal> {
        let sum = |of: &dyn Fn(&Executor, Option<Scale>) -> f64, changed: bool| -> f64 {
            let scenarios = self.profile.scenarios.iter().enumerate();
            let most = scenarios.filter_map(|(index, scenario)| {
                let course = self.controls.course(index)?;
                let new = changes.iter().find(|(other, _)| changed && *other == index).map(|(_, change)| change.scale);
                course.end().is_none_or(|end| now < end).then(|| of(&scenario.executor, new.unwrap_or(course.latest().scale)))
            });
            most.sum()
        };
        let too_much = |limit: Option<f64>, of: &dyn Fn(&Executor, Option<Scale>) -> f64| {
            let most = sum(of, true);
            limit.filter(|limit| most > limit * (1.0 + 1e-9) && most > sum(of, false)).map(|limit| (limit, most))
        };
        let target = &self.profile.target;
        if let Some((limit, most)) = too_much(self.limits.vus.map(|vus| vus as f64), &most_vus) {
            return Err(Refusal::NotNow(format!("target `{target}` allows {limit} VUs, and this would be up to {most}")));
        }
        if let Some((_, most)) = too_much(self.limits.rate.map(Rate::as_per_second), &most_starts)
            && let Some(limit) = self.limits.rate
        {
            let most = Rate { count: most * limit.per.as_secs_f64(), per: limit.per };
            return Err(Refusal::NotNow(format!("target `{target}` allows {limit}, and this would be up to {most}")));
        }
        Ok(())
    }

    /// How the run is steered at present, in words; empty when it goes by its profile.
    pub(super) fn state(&self) -> String {
        let said: Vec<(&str, String)> = (0..self.controls.len())
            .filter_map(|index| Some((self.profile.scenarios.get(index)?.name.as_str(), self.controls.course(index)?)))
            .map(|(name, course)| (name, words(course.latest())))
            .collect();
        match said.first() {
            Some((_, first)) if said.iter().all(|(_, words)| words == first) => first.clone(),
            Some(_) | None => {
                let steered = said.iter().filter(|(_, words)| !words.is_empty());
                steered.map(|(name, words)| format!("`{name}` {words}")).collect::<Vec<_>>().join(", ")
            }
        }
    }
}

/// What a scale must be to mean something.
fn check_scale(steer: &Steer) -> Result<(), Refusal> {
    let bad = |text: &str| Err(Refusal::BadRequest(text.into()));
    match (steer.action, steer.scale) {
        (Action::Scale, None) => bad("say by how much: a factor, a number of VUs or a rate"),
        (Action::Scale, Some(Scale::Factor(factor))) if !(factor > 0.0 && factor <= MOST_TIMES) => {
            bad("a factor is above 0 and at most 1000; pause the run if nothing is to start")
        }
        (Action::Scale, Some(Scale::Rate(rate))) if !(rate.count > 0.0 && rate.count.is_finite()) => {
            bad("a rate is above 0; pause the run if nothing is to start")
        }
        (Action::Pause | Action::Resume | Action::Hold | Action::Stop, Some(_)) => bad("only `scale` has an amount"),
        (Action::Scale, Some(_)) | (_, None) => Ok(()),
    }
}

fn words(change: Change) -> String {
    let mut words: Vec<String> = Vec::new();
    match change.mode {
        Mode::Running => {}
        Mode::Held => words.push("held".into()),
        Mode::Paused => words.push("paused".into()),
    }
    words.extend(change.scale.map(|scale| format!("scaled to {scale}")));
    words.join(", ")
}

fn most_vus(executor: &Executor, scale: Option<Scale>) -> f64 {
    let most = executor.max_vus();
    let scaled = scale.filter(|_| !executor.is_open()).map_or(most, |scale| scale.of_vus(most));
    scaled as f64
}

fn most_starts(executor: &Executor, scale: Option<Scale>) -> f64 {
    let per_ns = executor.max_rate().unwrap_or(0.0) / 1e9;
    let scaled = scale.filter(|_| executor.is_open()).map_or(per_ns, |scale| scale.of_rate_per_ns(per_ns));
    scaled * 1e9
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::profile::{Scenario, VuPool};
    use crate::model::request::HttpOptions;

    const SECOND: Duration = Duration::from_secs(1);

    fn helm(executors: Vec<(&str, Executor)>, limits: Limits) -> Helm {
        let scenarios = executors.into_iter().map(|(name, executor)| Scenario {
            name: name.into(),
            executor,
            start_time: Duration::ZERO,
            start_after: None,
            spacing: crate::model::profile::Spacing::default(),
            when_busy: crate::model::profile::WhenBusy::default(),
            graceful_stop: Duration::ZERO,
            pace: None,
            tags: std::collections::BTreeMap::new(),
            flow: Vec::new(),
            data: Vec::new(),
            http: HttpOptions::default(),
        });
        let profile = Profile {
            name: "p".into(),
            target: "shop".into(),
            description: None,
            allow_production: false,
            scenarios: scenarios.collect(),
            thresholds: Vec::new(),
            max_undelivered: 0.0,
            http: crate::model::request::HttpOptions::default(),
            seed: None,
            setup: Vec::new(),
            teardown: Vec::new(),
            tokens: Vec::new(),
            digest: String::new(),
            notes: Vec::new(),
        };
        Helm::new(Arc::new(Controls::new(&profile.scenarios, 1)), Arc::new(profile), limits)
    }

    fn users(vus: u64) -> Executor {
        Executor::ConstantVus { vus, duration: 60 * SECOND }
    }

    fn events(rate: f64) -> Executor {
        Executor::ConstantArrivalRate { rate: Rate::per_second(rate), duration: 90 * SECOND, vus: VuPool { pre_allocated: 5, max: 5 } }
    }

    fn ask(helm: &mut Helm, action: Action, scale: Option<Scale>, scenario: Option<&str>, second: u32) -> Result<ControlEntry, Refusal> {
        let steer = Steer { action, scale, scenario: scenario.map(Into::into), by: "ann".into() };
        helm.steer(&steer, SECOND * second, Timestamp(0))
    }

    #[test]
    fn what_is_asked_for_is_decided_and_said() {
        let mut helm = helm(vec![("users", users(10)), ("events", events(20.0))], Limits::default());
        assert_eq!(helm.state(), "");
        let entry = ask(&mut helm, Action::Pause, None, None, 5).unwrap();
        assert_eq!((entry.second.to_bits(), entry.by.as_str(), entry.what().as_str()), (5.1_f64.to_bits(), "ann", "pause"));
        assert_eq!(helm.state(), "paused");
        assert!(matches!(ask(&mut helm, Action::Pause, None, None, 6), Err(Refusal::NotNow(_))), "it is paused already");
        ask(&mut helm, Action::Resume, None, Some("users"), 7).unwrap();
        assert_eq!(helm.state(), "`events` paused");
        ask(&mut helm, Action::Scale, Some(Scale::Vus(3)), None, 8).unwrap();
        ask(&mut helm, Action::Resume, None, None, 8).unwrap();
        assert_eq!(helm.state(), "`users` scaled to 3 VUs");
        let course = helm.controls.course(0).unwrap();
        assert_eq!((course.vus_at(8 * SECOND), course.vus_at(9 * SECOND)), (10, 3), "it takes effect a moment later");
        ask(&mut helm, Action::Scale, Some(Scale::Factor(1.0)), None, 9).unwrap();
        assert_eq!(helm.state(), "", "once the profile is the profile");
        ask(&mut helm, Action::Hold, None, None, 10).unwrap();
        assert_eq!(helm.state(), "held");
    }

    #[test]
    fn what_means_nothing_is_refused() {
        let own = Executor::PerVuIterations { vus: 4, iterations: 9, max_duration: 60 * SECOND };
        let mut helm = helm(vec![("users", users(10)), ("more", users(2)), ("own", own)], Limits::default());
        let vus = Some(Scale::Vus(5));
        for (action, scale, scenario, expected) in [
            (Action::Scale, None, None, "say by how much"),
            (Action::Scale, Some(Scale::Factor(0.0)), None, "a factor is above 0"),
            (Action::Scale, Some(Scale::Factor(f64::NAN)), None, "a factor is above 0"),
            (Action::Scale, Some(Scale::Rate(Rate::per_second(9.0))), None, "no scenario that goes on has a rate"),
            (Action::Scale, vus, None, "say which scenario: `users` and `more` and `own` have VUs that loop"),
            (Action::Scale, vus, Some("own"), "scenario `own` has at most 4 VUs"),
            (Action::Scale, vus, Some("user"), "there is no scenario `user`; known: users, more, own"),
            (Action::Pause, vus, None, "only `scale` has an amount"),
            (Action::Resume, None, None, "that is how it is already"),
        ] {
            let error = ask(&mut helm, action, scale, scenario, 1).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        let late = ask(&mut helm, Action::Pause, None, None, 60).unwrap_err().to_string();
        assert!(late.contains("regular end has passed"), "{late}");
        assert_eq!(helm.state(), "", "nothing was done");
    }

    #[test]
    fn the_limits_of_the_target_hold() {
        let limits = Limits { vus: Some(25), rate: Some(Rate { count: 1_800.0, per: 60 * SECOND }), duration: None };
        let mut helm = helm(vec![("users", users(10)), ("events", events(20.0))], limits);
        let error = ask(&mut helm, Action::Scale, Some(Scale::Vus(21)), None, 1).unwrap_err().to_string();
        assert_eq!(error, "target `shop` allows 25 VUs, and this would be up to 26");
        let error = ask(&mut helm, Action::Scale, Some(Scale::Factor(1.6)), None, 1).unwrap_err().to_string();
        assert_eq!(error, "target `shop` allows 1800/min, and this would be up to 1920/min");
        ask(&mut helm, Action::Scale, Some(Scale::Factor(1.5)), None, 1).unwrap();
        // Once the users have ended there is room for more of the others.
        ask(&mut helm, Action::Scale, Some(Scale::Rate(Rate::per_second(30.0))), Some("events"), 70).unwrap();
    }
}
