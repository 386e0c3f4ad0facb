//! A profile in fast motion, to try a long one in seconds: every time of the load, its thresholds and its guards becomes shorter, rates
//! and VUs stay. Such a run is another load: it has a digest of its own and carries a note, so that nobody takes it for the real
//! thing. Pure. See docs/methods.md, "Fast motion".

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::setup::Setup;
use crate::model::capture::Moment;
use crate::model::flow::{FlowNode, Pause};
use crate::model::profile::{Executor, Profile, Scenario, Stage};
use crate::model::threshold::Series;
use crate::model::units::trim_decimal;

/// What the digest of a profile in fast motion has behind the profile's own.
const MARK: &str = "-time-scale-";

/// Whether a run with this digest was in fast motion.
pub fn is_scaled(digest: &str) -> bool {
    digest.contains(MARK)
}

/// Stages and executors do not become shorter than this, unless they were.
const SHORTEST_STAGE: Duration = Duration::from_millis(100);
/// Levels of a staircase are held for seconds that can be judged.
const SHORTEST_HOLD: Duration = Duration::from_secs(2);
/// Nor does the rest after a level that was too much, because targets do not recover faster.
const SHORTEST_REST: Duration = Duration::from_secs(2);
/// Windows do not become shorter than the interval of the figures.
const SHORTEST_WINDOW: Duration = Duration::from_secs(1);
/// Nor the time in which iterations may end, because requests do not get faster themselves.
const SHORTEST_GRACE: Duration = Duration::from_secs(5);

/// By how much times are multiplied: above 0, at most 1 (as they are).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TimeScale(f64);

/// Not a time scale.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a time scale is a number above 0 and at most 1, such as 0.05")]
pub struct BadTimeScale;

impl FromStr for TimeScale {
    type Err = BadTimeScale;

    fn from_str(text: &str) -> Result<Self, BadTimeScale> {
        let factor: f64 = text.trim().parse().map_err(|_| BadTimeScale)?;
        if factor > 0.0 && factor <= 1.0 { Ok(Self(factor)) } else { Err(BadTimeScale) }
    }
}

impl fmt::Display for TimeScale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&trim_decimal(self.0, 9))
    }
}

/// `setup` with the times of all its profiles and guards multiplied. With a scale of 1 it is `setup` as it was.
pub fn scaled(mut setup: Setup, scale: TimeScale) -> Setup {
    if scale.0 >= 1.0 {
        return setup;
    }
    setup.profiles.values_mut().for_each(|profile| scale.profile(profile));
    for capture in setup.captures.values_mut().flatten() {
        if let Moment::At(at) = &mut capture.moment {
            *at = scale.time(*at, Duration::ZERO);
        }
    }
    for target in setup.targets.values_mut() {
        target.guards.iter_mut().for_each(|(_, series)| scale.series(series));
    }
    setup
}

impl TimeScale {
    fn profile(self, profile: &mut Profile) {
        profile.scenarios.iter_mut().for_each(|scenario| self.scenario(scenario));
        for threshold in &mut profile.thresholds {
            self.series(&mut threshold.series);
            threshold.delay_abort_eval = self.time(threshold.delay_abort_eval, SHORTEST_WINDOW);
        }
        profile.digest = format!("{}{MARK}{self}", profile.digest);
        profile.notes.push(format!(
            "in fast motion (time scale {self}): stages, pauses, pace and the windows of thresholds are shorter than the profile says, \
             so this is not the load of `{}`",
            profile.name
        ));
    }

    fn scenario(self, scenario: &mut Scenario) {
        scenario.start_time = self.time(scenario.start_time, Duration::ZERO);
        scenario.graceful_stop = self.time(scenario.graceful_stop, SHORTEST_GRACE);
        scenario.pace = scenario.pace.map(|pace| self.time(pace, Duration::ZERO));
        match &mut scenario.executor {
            Executor::ConstantVus { duration, .. }
            | Executor::ConstantArrivalRate { duration, .. }
            | Executor::ExternallyControlled { duration, .. } => {
                *duration = self.time(*duration, SHORTEST_STAGE);
            }
            Executor::RampingVus { stages, graceful_ramp_down, .. } => {
                self.stages(stages);
                *graceful_ramp_down = self.time(*graceful_ramp_down, SHORTEST_GRACE);
            }
            Executor::RampingArrivalRate { stages, .. } => self.stages(stages),
            // As many iterations take as long as before: a shorter limit would only drop some of them.
            Executor::PerVuIterations { .. } | Executor::SharedIterations { .. } => {}
            Executor::Staircase(stairs) => {
                stairs.hold = self.time(stairs.hold, SHORTEST_HOLD);
                stairs.ramp = self.time(stairs.ramp, SHORTEST_STAGE);
                stairs.rest = self.time(stairs.rest, SHORTEST_REST);
                stairs.gate.iter_mut().for_each(|threshold| self.series(&mut threshold.series));
            }
        }
        self.flow(&mut scenario.flow);
    }

    fn stages(self, stages: &mut [Stage]) {
        for stage in stages {
            stage.duration = self.time(stage.duration, SHORTEST_STAGE);
        }
    }

    fn flow(self, nodes: &mut [FlowNode]) {
        for node in nodes {
            match node {
                FlowNode::Pause(Pause::Fixed(time) | Pause::Exponential(time)) | FlowNode::Pace(time) => {
                    *time = self.time(*time, Duration::ZERO);
                }
                FlowNode::Pause(Pause::Uniform(first, second) | Pause::Normal(first, second)) => {
                    *first = self.time(*first, Duration::ZERO);
                    *second = self.time(*second, Duration::ZERO);
                }
                FlowNode::Step(_)
                | FlowNode::Sequence(_)
                | FlowNode::Choose(_)
                | FlowNode::Repeat { .. }
                | FlowNode::While { .. }
                | FlowNode::If { .. }
                | FlowNode::Group { .. }
                | FlowNode::Parallel(_)
                | FlowNode::Session(_)
                | FlowNode::Set(_) => {}
            }
            node.children_mut().into_iter().for_each(|flow| self.flow(flow));
        }
    }

    /// Windows and holds, in whole seconds: figures come once a second.
    fn series(self, series: &mut Series) {
        for time in [&mut series.window, &mut series.hold].into_iter().flatten() {
            let shorter = self.time(*time, SHORTEST_WINDOW);
            *time = Duration::from_secs_f64(shorter.as_secs_f64().ceil()).min(*time);
        }
    }

    /// Multiplied, but not below `shortest` unless it was; a time above zero stays above zero.
    fn time(self, time: Duration, shortest: Duration) -> Duration {
        let shortest = shortest.max(Duration::from_micros(1)).min(time);
        time.mul_f64(self.0).max(shortest)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::engine::setup::TargetSetup;
    use crate::model::alerting::Severity;
    use crate::model::profile::{Limits, Target, VuPool};
    use crate::model::request::{HttpOptions, TlsOptions};
    use crate::model::threshold::{Threshold, parse_series};
    use crate::model::units::{Rate, parse_duration};

    fn time(text: &str) -> Duration {
        parse_duration(text).unwrap()
    }

    fn stage(duration: &str, target: f64) -> Stage {
        Stage { duration: time(duration), target, name: None }
    }

    fn scenario(name: &str, executor: Executor, flow: Vec<FlowNode>) -> Scenario {
        Scenario {
            name: name.into(),
            executor,
            start_time: time("2m"),
            start_after: None,
            spacing: crate::model::profile::Spacing::default(),
            when_busy: crate::model::profile::WhenBusy::default(),
            graceful_stop: time("3m"),
            pace: Some(time("30s")),
            tags: BTreeMap::new(),
            data: Vec::new(),
            http: HttpOptions::default(),
            flow,
        }
    }

    fn setup() -> Setup {
        let pauses = vec![
            FlowNode::Pause(Pause::Fixed(time("1s"))),
            FlowNode::Choose(vec![(1.0, vec![FlowNode::Pause(Pause::Uniform(time("500ms"), time("2s")))])]),
        ];
        let vus = VuPool { pre_allocated: 5, max: 10 };
        let rate = Rate::per_second(50.0);
        let stages = || vec![stage("0s", 3.0), stage("1s", 5.0), stage("50ms", 5.0), stage("10m", 100.0)];
        let scenarios = vec![
            scenario("ramping", Executor::RampingVus { start_vus: 4, stages: stages(), graceful_ramp_down: time("10s") }, pauses),
            scenario("constant", Executor::ConstantVus { vus: 7, duration: time("40m") }, Vec::new()),
            scenario("rate", Executor::ConstantArrivalRate { rate, duration: time("40m"), vus }, Vec::new()),
            scenario("rates", Executor::RampingArrivalRate { start_rate: rate, stages: stages(), vus }, Vec::new()),
        ];
        let threshold = Threshold {
            text: "as written".into(),
            series: parse_series("http_req_failed: rate < 1% over 1m for 3m").unwrap(),
            abort_on_fail: true,
            delay_abort_eval: time("5m"),
            exclude_ramp: false,
            severity: Severity::High,
        };
        let profile = Profile {
            name: "soak".into(),
            target: "shop".into(),
            description: None,
            allow_production: false,
            http: crate::model::request::HttpOptions::default(),
            seed: None,
            setup: Vec::new(),
            teardown: Vec::new(),
            tokens: Vec::new(),
            scenarios,
            thresholds: vec![threshold],
            max_undelivered: 0.01,
            digest: "5f1c".into(),
            notes: Vec::new(),
        };
        let target = Target {
            name: "shop".into(),
            base_url: None,
            environment: "test".into(),
            allow: Vec::new(),
            limits: Limits::default(),
            version: None,
            tls: TlsOptions::default(),
        };
        let guards = vec![("as written".to_owned(), parse_series("http_req_failed: rate > 50% over 10s").unwrap())];
        let mut setup = Setup::default();
        setup.profiles.insert("soak".into(), profile);
        setup
            .targets
            .insert("shop".into(), TargetSetup { target, production: Vec::new(), probes: Vec::new(), guards, idle_interval: time("15s") });
        setup
    }

    fn soak(scale: &str) -> Profile {
        scaled(setup(), scale.parse().unwrap()).profiles.remove("soak").unwrap()
    }

    fn stages(executor: &Executor) -> Vec<(Duration, f64)> {
        let (Executor::RampingVus { stages, .. } | Executor::RampingArrivalRate { stages, .. }) = executor else {
            panic!("{executor:?} has no stages");
        };
        stages.iter().map(|stage| (stage.duration, stage.target)).collect()
    }

    #[test]
    fn times_become_shorter_and_loads_stay() {
        let profile = soak("0.05");
        let shorter = vec![(time("0s"), 3.0), (time("100ms"), 5.0), (time("50ms"), 5.0), (time("30s"), 100.0)];
        for index in [0, 3] {
            assert_eq!(stages(&profile.scenarios[index].executor), shorter, "a stage is not below 100 ms, unless it was");
        }
        let Executor::RampingVus { start_vus: 4, graceful_ramp_down, .. } = profile.scenarios[0].executor else { panic!() };
        assert_eq!(graceful_ramp_down, time("5s"), "500 ms would cut iterations off");
        assert_eq!(profile.scenarios[1].executor, Executor::ConstantVus { vus: 7, duration: time("2m") });
        let vus = VuPool { pre_allocated: 5, max: 10 };
        let rate = Rate::per_second(50.0);
        assert_eq!(profile.scenarios[2].executor, Executor::ConstantArrivalRate { rate, duration: time("2m"), vus });
        for scenario in &profile.scenarios {
            let times = (scenario.start_time, scenario.graceful_stop, scenario.pace);
            assert_eq!(times, (time("6s"), time("9s"), Some(time("1.5s"))), "{}", scenario.name);
        }
        let [FlowNode::Pause(fixed), FlowNode::Choose(branches)] = profile.scenarios[0].flow.as_slice() else { panic!() };
        assert_eq!(*fixed, Pause::Fixed(time("50ms")));
        let [FlowNode::Pause(uniform)] = branches[0].1.as_slice() else { panic!() };
        assert_eq!(*uniform, Pause::Uniform(time("25ms"), time("100ms")));
        assert!((profile.max_undelivered - setup().profiles["soak"].max_undelivered).abs() < f64::EPSILON);
    }

    #[test]
    fn windows_become_shorter_in_whole_seconds() {
        for (scale, window, hold, delay, guard) in
            [("0.5", "30s", "1m30s", "2m30s", "5s"), ("0.01", "1s", "2s", "3s", "1s"), ("0.0001", "1s", "1s", "1s", "1s")]
        {
            let setup = scaled(setup(), scale.parse().unwrap());
            let threshold = &setup.profiles["soak"].thresholds[0];
            assert_eq!(threshold.series.window, Some(time(window)), "{scale}");
            assert_eq!(threshold.series.hold, Some(time(hold)), "{scale}");
            assert_eq!(threshold.delay_abort_eval, time(delay), "{scale}");
            assert_eq!(setup.targets["shop"].guards[0].1.window, Some(time(guard)), "{scale}");
        }
    }

    #[test]
    fn what_had_no_time_gets_none_and_what_had_some_keeps_some() {
        let smallest: TimeScale = "0.000000001".parse().unwrap();
        assert_eq!(smallest.time(Duration::ZERO, SHORTEST_STAGE), Duration::ZERO);
        assert_eq!(smallest.time(time("1ms"), Duration::ZERO), Duration::from_micros(1));
        let mut series = parse_series("http_req_duration: p(95) < 200ms").unwrap();
        smallest.series(&mut series);
        assert_eq!((series.window, series.hold), (None, None));
    }

    #[test]
    fn such_a_run_cannot_be_taken_for_the_real_one() {
        let (real, half, tenth) = (setup().profiles["soak"].clone(), soak("0.5"), soak("0.1"));
        assert_eq!(half.digest, "5f1c-time-scale-0.5");
        assert_eq!(tenth.digest, "5f1c-time-scale-0.1");
        assert!(real.notes.is_empty());
        assert!(tenth.notes[0].starts_with("in fast motion (time scale 0.1)"), "{:?}", tenth.notes);
    }

    #[test]
    fn a_scale_of_one_changes_nothing() {
        assert_eq!(format!("{:?}", scaled(setup(), "1".parse().unwrap())), format!("{:?}", setup()));
    }

    #[test]
    fn only_a_share_of_the_time_is_a_scale() {
        for bad in ["", "0", "-1", "1.01", "5%", "NaN", "inf", "x"] {
            assert_eq!(bad.parse::<TimeScale>(), Err(BadTimeScale), "{bad}");
        }
        assert_eq!("0.005".parse::<TimeScale>().unwrap().to_string(), "0.005");
    }
}
