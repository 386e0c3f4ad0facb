//! Scenarios: executors with exact rates in one unit, stages with names, VU bounds that fit together.

use std::time::Duration;

use super::Resolver;
use super::profile::InProfile;
use crate::config::raw::scenario::{
    ArrivalsName, ConstantRateKeys, ConstantVusKeys, ControlledKeys, PerVuKeys, RampingRateKeys, RampingVusKeys, RawExecutor, RawRate,
    RawScenario, SharedKeys, WhenBusyName,
};
use crate::model::profile::{Executor, Scenario, Spacing, Stage, VuPool, WhenBusy};
use crate::model::threshold::{Source, tags_of};
use crate::model::units::{Rate, trim_decimal};
use crate::registry::{Span, Spanned};

/// The seed of a scenario that names none: of its name (FNV-1a, 64 bits), so that two scenarios do not start at the same moments.
fn seed_of(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

impl Resolver<'_> {
    pub(super) fn scenario(&mut self, name: &Spanned<String>, raw: &RawScenario, profile: &mut InProfile<'_>) -> Option<Scenario> {
        let executor = match &raw.executor {
            RawExecutor::ConstantVus(keys) => self.constant_vus(name, keys),
            RawExecutor::RampingVus(keys) => self.ramping_vus(keys),
            RawExecutor::ConstantRate(keys) => self.constant_rate(keys),
            RawExecutor::RampingRate(keys) => self.ramping_rate(keys),
            RawExecutor::PerVu(keys) => self.per_vu(name, keys),
            RawExecutor::Shared(keys) => self.shared(name, keys),
            RawExecutor::Controlled(keys) => self.controlled(keys),
            RawExecutor::Staircase(keys) => self.staircase(name, keys),
        };
        let load = self.iteration(name, &raw.common, executor.as_ref().map(Executor::max_vus), profile);
        let executor = executor?;
        if let Some(pace) = &raw.common.pace
            && executor.is_open()
        {
            let message = format!("`{}` has no key `pace`: its starts are paced by the rate", executor.name());
            self.mistake("key-of-another-executor", pace.span, message, "it belongs to executors whose VUs loop, such as `constant-vus`");
        }
        let begins = self.start_after(name, raw, profile);
        self.own_tags(raw);
        let ((spacing, when_busy), load) = (self.starts(&name.value, raw), load?);
        Some(Scenario {
            name: name.value.clone(),
            executor,
            start_time: raw.common.start_time,
            start_after: begins.ok()?,
            spacing: spacing?,
            when_busy,
            graceful_stop: raw.common.graceful_stop,
            pace: raw.common.pace.as_ref().map(|pace| pace.value),
            tags: raw.common.tags.iter().map(|(name, value)| (name.value.clone(), value.clone())).collect(),
            data: load.data,
            http: load.http,
            flow: load.flow,
        })
    }

    /// The index of the scenario that this one waits for; `Err`: a mistake was told.
    fn start_after(&mut self, name: &Spanned<String>, raw: &RawScenario, profile: &InProfile<'_>) -> Result<Option<usize>, ()> {
        let Some(wanted) = &raw.common.start_after else { return Ok(None) };
        let names: Vec<String> = profile.scenarios.iter().map(|(name, _)| name.clone()).collect();
        if !self.known("unknown-scenario", "scenario", wanted, &names) {
            return Err(());
        }
        // Through all that it waits for; a circle comes back to it, or never ends.
        let mut next = Some(wanted.value.as_str());
        for _ in 0..=names.len() {
            let Some(other) = next else { return Ok(names.iter().position(|other| *other == wanted.value)) };
            if other == name.value {
                break;
            }
            next = profile.scenarios.iter().find(|(known, _)| known == other).and_then(|(_, after)| after.as_deref());
        }
        let message = format!("scenario `{}` would wait for itself", name.value);
        self.mistake("out-of-range", wanted.span, message, "let one of the scenarios that wait for each other begin by itself");
        Err(())
    }

    /// Tags of its own may not hide those that every scenario has.
    fn own_tags(&mut self, raw: &RawScenario) {
        for (tag, _) in raw.common.tags.iter() {
            self.check_label(tag, "tag");
            if tags_of(Source::Step).contains(&tag.value.as_str()) || tag.value == "group" {
                let message = format!("every figure has a tag `{}` already", tag.value);
                self.mistake("duplicate-name", tag.span, message, "choose another name");
            }
        }
    }

    /// How starts that are due by the clock are spread, and what becomes of them when no VU is free.
    fn starts(&mut self, name: &str, raw: &RawScenario) -> (Option<Spacing>, WhenBusy) {
        let (arrivals, seed, when_busy) = match &raw.executor {
            RawExecutor::ConstantRate(keys) => (keys.arrivals, keys.seed.as_ref(), keys.when_busy),
            RawExecutor::RampingRate(keys) => (keys.arrivals, keys.seed.as_ref(), keys.when_busy),
            RawExecutor::Staircase(keys) => (
                keys.arrivals.as_ref().map_or(ArrivalsName::Even, |arrivals| arrivals.value),
                keys.seed.as_ref(),
                keys.when_busy.as_ref().map_or(WhenBusyName::Drop, |when_busy| when_busy.value),
            ),
            RawExecutor::ConstantVus(_)
            | RawExecutor::RampingVus(_)
            | RawExecutor::PerVu(_)
            | RawExecutor::Shared(_)
            | RawExecutor::Controlled(_) => (ArrivalsName::Even, None, WhenBusyName::Drop),
        };
        let spacing = match (arrivals, seed) {
            (ArrivalsName::Even, None) => Some(Spacing::Even),
            (ArrivalsName::Even, Some(seed)) => {
                self.mistake("conflicting-keys", seed.span, "even starts have nothing random", "remove `seed`, or add `arrivals: poisson`");
                None
            }
            (ArrivalsName::Poisson, seed) => Some(Spacing::Poisson { seed: seed.map_or_else(|| seed_of(name), |seed| seed.value) }),
        };
        let when_busy = match when_busy {
            WhenBusyName::Drop => WhenBusy::Drop,
            WhenBusyName::Queue => WhenBusy::Queue,
        };
        (spacing, when_busy)
    }

    fn constant_vus(&mut self, name: &Spanned<String>, keys: &ConstantVusKeys) -> Option<Executor> {
        let some = self.some(name, "vus", "VUs", keys.vus);
        let duration = self.positive(&keys.duration, "a duration")?;
        some.then_some(Executor::ConstantVus { vus: keys.vus, duration })
    }

    fn per_vu(&mut self, name: &Spanned<String>, keys: &PerVuKeys) -> Option<Executor> {
        let &PerVuKeys { vus, iterations, max_duration } = keys;
        let some = self.some(name, "vus", "VUs", vus) & self.some(name, "iterations", "iterations", iterations);
        let time = self.time_to_run(name, max_duration);
        (some && time).then_some(Executor::PerVuIterations { vus, iterations, max_duration })
    }

    fn shared(&mut self, name: &Spanned<String>, keys: &SharedKeys) -> Option<Executor> {
        let &SharedKeys { vus, iterations, max_duration } = keys;
        let some = self.some(name, "vus", "VUs", vus) & self.some(name, "iterations", "iterations", iterations);
        let time = self.time_to_run(name, max_duration);
        if some && iterations < vus {
            let message = format!("scenario `{}` has {vus} VUs for {iterations} iterations in all", name.value);
            self.mistake("out-of-range", name.span, message, format!("write `iterations: {vus}` or more, or fewer VUs"));
            return None;
        }
        (some && time).then_some(Executor::SharedIterations { vus, iterations, max_duration })
    }

    fn controlled(&mut self, keys: &ControlledKeys) -> Option<Executor> {
        let duration = self.positive(&keys.duration, "a duration")?;
        let max_vus = keys.max_vus.as_ref().map_or(keys.vus, |max| max.value);
        let span = keys.max_vus.as_ref().map_or(keys.duration.span, |max| max.span);
        if max_vus == 0 || max_vus < keys.vus {
            let message =
                if max_vus == 0 { "there is never a VU".into() } else { format!("`maxVUs` {max_vus} is less than `vus` {}", keys.vus) };
            self.mistake("out-of-range", span, message, format!("write `maxVUs: {}` or more", keys.vus.max(1)));
            return None;
        }
        Some(Executor::ExternallyControlled { vus: keys.vus, max_vus, duration })
    }

    /// Reports a number that may not be 0.
    fn some(&mut self, name: &Spanned<String>, key: &str, what: &str, number: u64) -> bool {
        if number == 0 {
            let message = format!("scenario `{}` has no {what}", name.value);
            self.mistake("out-of-range", name.span, message, format!("write `{key}: 1` or more"));
        }
        number > 0
    }

    fn time_to_run(&mut self, name: &Spanned<String>, max_duration: Duration) -> bool {
        if max_duration.is_zero() {
            let message = format!("scenario `{}` has no time", name.value);
            self.mistake("out-of-range", name.span, message, "write `maxDuration: 10m`");
        }
        !max_duration.is_zero()
    }

    fn ramping_vus(&mut self, keys: &RampingVusKeys) -> Option<Executor> {
        let stages: Vec<Stage> = keys
            .stages
            .value
            .iter()
            .map(|stage| Stage {
                duration: stage.duration,
                target: stage.target as f64,
                name: stage.name.as_ref().map(|name| name.value.clone()),
            })
            .collect();
        let names: Vec<Option<&Spanned<String>>> = keys.stages.value.iter().map(|stage| stage.name.as_ref()).collect();
        self.stages(keys.stages.span, &stages, &names)?;
        if keys.start_vus == 0 && stages.iter().all(|stage| stage.target <= 0.0) {
            self.mistake("out-of-range", keys.stages.span, "there is never a VU", "give a stage a `target` above 0");
            return None;
        }
        Some(Executor::RampingVus { start_vus: keys.start_vus, stages, graceful_ramp_down: keys.graceful_ramp_down })
    }

    fn constant_rate(&mut self, keys: &ConstantRateKeys) -> Option<Executor> {
        let rate = self.rate(&keys.rate, keys.time_unit.as_ref());
        let vus = self.vu_pool(&keys.pre_allocated_vus, keys.max_vus.as_ref());
        let duration = self.positive(&keys.duration, "a duration")?;
        let rate = rate?;
        if rate.count <= 0.0 {
            self.mistake("out-of-range", keys.rate.span, "a constant rate must be above 0", "write a rate such as `50/s`");
            return None;
        }
        Some(Executor::ConstantArrivalRate { rate, duration, vus: vus? })
    }

    fn ramping_rate(&mut self, keys: &RampingRateKeys) -> Option<Executor> {
        let unit = keys.time_unit.as_ref();
        let start = keys.start_rate.as_ref().map(|rate| self.rate(rate, unit));
        let rates: Vec<Option<Rate>> = keys.stages.value.iter().map(|stage| self.rate(&stage.target, unit)).collect();
        let vus = self.vu_pool(&keys.pre_allocated_vus, keys.max_vus.as_ref());
        let rates: Vec<Rate> = rates.into_iter().collect::<Option<_>>()?;
        let first_unit = rates.iter().find(|rate| rate.count > 0.0).map_or(Duration::from_secs(1), |rate| rate.per);
        let start_rate = match start {
            Some(rate) => rate.map(|rate| if rate.count > 0.0 { rate } else { Rate { count: 0.0, per: first_unit } })?,
            None => Rate { count: 0.0, per: first_unit },
        };
        let stages: Vec<Stage> = keys
            .stages
            .value
            .iter()
            .zip(&rates)
            .map(|(stage, rate)| Stage {
                duration: stage.duration,
                target: per(*rate, start_rate.per),
                name: stage.name.as_ref().map(|name| name.value.clone()),
            })
            .collect();
        let names: Vec<Option<&Spanned<String>>> = keys.stages.value.iter().map(|stage| stage.name.as_ref()).collect();
        self.stages(keys.stages.span, &stages, &names)?;
        if start_rate.count <= 0.0 && stages.iter().all(|stage| stage.target <= 0.0) {
            self.mistake("out-of-range", keys.stages.span, "nothing is ever started", "give a stage a `target` above `0/s`");
            return None;
        }
        Some(Executor::RampingArrivalRate { start_rate, stages, vus: vus? })
    }

    fn stages(&mut self, span: Span, stages: &[Stage], names: &[Option<&Spanned<String>>]) -> Option<()> {
        for name in names.iter().flatten() {
            self.check_label(name, "stage");
        }
        // A name that another stage has by its number would be two phases under one name.
        let automatic = names
            .iter()
            .enumerate()
            .filter(|(_, name)| name.is_none())
            .map(|(index, _)| Spanned { value: format!("stage-{}", index + 1), span });
        let automatic: Vec<Spanned<String>> = automatic.collect();
        self.check_unique("stage", automatic.iter().chain(names.iter().flatten().copied()));
        if stages.iter().map(|stage| stage.duration).sum::<Duration>().is_zero() {
            self.mistake("out-of-range", span, "the stages take no time", "give a stage a `duration` above 0");
            return None;
        }
        Some(())
    }

    fn rate(&mut self, raw: &Spanned<RawRate>, unit: Option<&Spanned<Duration>>) -> Option<Rate> {
        match (raw.value, unit) {
            (RawRate::Whole(rate), None) => Some(rate),
            (RawRate::Whole(_), Some(unit)) => {
                let message = "the rates have their unit already";
                self.mistake("conflicting-keys", unit.span, message, "remove `timeUnit`, or write the rates as bare numbers");
                None
            }
            (RawRate::Bare(count), Some(unit)) => self.positive(unit, "a unit of time").map(|per| Rate { count, per }),
            (RawRate::Bare(count), None) if count <= 0.0 => Some(Rate::per_second(0.0)),
            (RawRate::Bare(count), None) => {
                let count = trim_decimal(count, 3);
                self.mistake("missing-unit", raw.span, "a rate needs a unit", format!("write `{count}/s` or `{count}/min`"));
                None
            }
        }
    }

    pub(super) fn vu_pool(&mut self, pre_allocated: &Spanned<u64>, max: Option<&Spanned<u64>>) -> Option<VuPool> {
        let pool = VuPool { pre_allocated: pre_allocated.value, max: max.map_or(pre_allocated.value, |max| max.value) };
        if pool.max == 0 {
            let span = max.map_or(pre_allocated.span, |max| max.span);
            self.mistake("out-of-range", span, "there is never a VU", "write 1 or more");
            return None;
        }
        if pool.pre_allocated > pool.max {
            let span = max.map_or(pre_allocated.span, |max| max.span);
            let message = format!("`maxVUs` {} is less than `preAllocatedVUs` {}", pool.max, pool.pre_allocated);
            self.mistake("out-of-range", span, message, format!("write {} or more", pool.pre_allocated));
            return None;
        }
        Some(pool)
    }

    pub(super) fn positive(&mut self, time: &Spanned<Duration>, what: &str) -> Option<Duration> {
        if time.value.is_zero() {
            self.mistake("out-of-range", time.span, format!("{what} must be above 0"), "write a time such as `30s`");
            return None;
        }
        Some(time.value)
    }
}

/// `rate` counted per `unit`; exact when it is counted so already.
fn per(rate: Rate, unit: Duration) -> f64 {
    if rate.per == unit { rate.count } else { rate.count * unit.as_secs_f64() / rate.per.as_secs_f64() }
}
