//! Profiles: their scenarios together, the target's limits, thresholds with the names they select.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Resolver;
use super::digest::{Load, digest};
use super::expression::Selectable;
use super::flow::{Known, Line, Names, Scope, set_by};
use super::iteration::http_options;
use crate::config::raw::flow::RawNodes;
use crate::config::raw::profile::{RawProfile, RawThreshold};
use crate::config::raw::scenario::{RawExecutor, RawScenario};
use crate::engine::setup::TargetSetup;
use crate::model::flow::FlowNode;
use crate::model::profile::{Limits, MOST_SEED, Profile, Scenario, Target, begins};
use crate::model::request::{HttpOptions, HttpVersion, TlsOptions, TokenSource};
use crate::model::threshold::{Series, Source, Threshold, parse_series};
use crate::model::units::{Rate, format_duration};
use crate::registry::{Span, Spanned};

/// What the flows of one profile share.
#[derive(Default)]
pub(super) struct InProfile<'t> {
    /// `None` when it is unknown or wrong.
    pub(super) target: Option<&'t Target>,
    /// Variables that the setup leaves.
    pub(super) setup: Known,
    /// All scenarios, and which of them waits for which.
    pub(super) scenarios: Vec<(String, Option<String>)>,
    /// Tokens that VUs share.
    pub(super) tokens: Vec<TokenSource>,
    /// How its flows connect where they do not say it.
    pub(super) http: Option<HttpOptions>,
}

impl<'t> InProfile<'t> {
    /// What is known before its flows are read.
    fn of(raw: &RawProfile, target: Option<&'t TargetSetup>) -> Self {
        let http = raw.http.as_ref().map(http_options);
        Self { target: target.map(|setup| &setup.target), http, ..Self::default() }
    }
}

/// How the flows connect that are walked once, where the profile does not say it: as browsers do, in the version of HTTP that all
/// scenarios speak.
fn as_scenarios(scenarios: &[Scenario]) -> HttpOptions {
    let mut versions = scenarios.iter().map(|scenario| scenario.http.version);
    let first = versions.next().unwrap_or(HttpVersion::Auto);
    let version = if versions.all(|version| version == first) { first } else { HttpVersion::Auto };
    HttpOptions { version, ..HttpOptions::default() }
}

/// The variables that a setup leaves.
fn left_by(setup: Option<&Spanned<RawNodes>>) -> Known {
    setup.map_or_else(Known::default, |setup| Known {
        names: set_by(&setup.value).into_iter().map(|name| name.value.clone()).collect(),
        uncertain: setup.value.flawed,
    })
}

/// Whose limits a target has, for a sentence that puts it in backquotes: a host of production among its own brings that one's.
fn bound_by(setup: &TargetSetup) -> String {
    let own = &setup.target.name;
    match setup.reaches_production().filter(|reached| reached.target != *own) {
        Some(reached) => format!("{own}`, bound by `{}", reached.target),
        None => own.clone(),
    }
}

impl Resolver<'_> {
    pub(super) fn profile(&mut self, name: &Spanned<String>, raw: &RawProfile, targets: &BTreeMap<String, TargetSetup>) -> Option<Profile> {
        let declared = self.declared.targets.clone();
        let target = if self.known("unknown-target", "target", &raw.target, &declared) { targets.get(&raw.target.value) } else { None };
        if raw.scenarios.value.0.is_empty() {
            self.mistake("missing-key", raw.scenarios.span, "a profile needs at least one scenario", "add one below `scenarios:`");
        }
        let mut inside = InProfile::of(raw, target);
        let setup = self.once(raw.setup.as_ref(), "the setup", &mut inside);
        inside.setup = left_by(raw.setup.as_ref());
        let after = |scenario: &RawScenario| scenario.common.start_after.as_ref().map(|other| other.value.clone());
        let names = raw.scenarios.value.iter().map(|(name, scenario)| (name.value.clone(), scenario.0.as_ref().and_then(after)));
        inside.scenarios = names.collect();
        let mut scenarios = Vec::new();
        for (scenario_name, scenario) in raw.scenarios.value.iter() {
            self.check_label(scenario_name, "scenario");
            if let Some(scenario) = &scenario.0
                && let Some(scenario) = self.scenario(scenario_name, scenario, &mut inside)
            {
                scenarios.push((scenario_name.span, scenario));
            }
        }
        let teardown = self.once(raw.teardown.as_ref(), "the teardown", &mut inside);
        let complete = scenarios.len() == raw.scenarios.value.0.len();
        if let Some(setup) = target {
            self.check_production(name, raw, setup);
            // With a scenario missing, the others cannot be told to wait for it.
            if complete {
                self.check_limits(name, &bound_by(setup), setup.target.limits, &scenarios);
            }
        }
        let mut scenarios: Vec<Scenario> = scenarios.into_iter().map(|(_, scenario)| scenario).collect();
        let notes = self.share_out(raw, &mut scenarios);
        let http = inside.http.unwrap_or_else(|| as_scenarios(&scenarios));
        let seed = raw.seed.as_ref().filter(|seed| self.check_seed(seed)).map(|seed| seed.value);
        let mut known = Selectable { profiles: vec![name.value.clone()], targets: vec![raw.target.value.clone()], ..Selectable::default() };
        for scenario in &scenarios {
            known.add(scenario);
        }
        let without_probes = target.filter(|setup| setup.probes.is_empty()).map(|setup| setup.target.name.clone());
        let thresholds =
            raw.thresholds.iter().filter_map(|raw| self.threshold(raw, complete.then_some(&known), without_probes.as_deref())).collect();
        self.check_gates(raw, complete.then_some(&known), without_probes.as_deref());
        let (setup, teardown, tokens) = (setup?, teardown?, inside.tokens);
        let tls = target.map_or_else(TlsOptions::default, |setup| setup.target.tls.clone());
        let load = Load { scenarios: &scenarios, setup: &setup, teardown: &teardown, tokens: &tokens, tls: &tls };
        let digest = complete.then(|| digest(&load))?;
        Some(Profile {
            name: name.value.clone(),
            target: raw.target.value.clone(),
            description: raw.description.clone(),
            allow_production: raw.allow_production,
            setup,
            teardown,
            tokens,
            digest,
            scenarios,
            thresholds,
            max_undelivered: raw.max_undelivered.0,
            notes,
            http,
            seed,
        })
    }

    /// Whoever loads production, by its target or by one of its hosts, has to say so.
    fn check_production(&mut self, name: &Spanned<String>, raw: &RawProfile, setup: &TargetSetup) {
        if raw.allow_production {
            return;
        }
        if setup.target.is_production() {
            let message = format!("profile `{}` loads the production target `{}`", name.value, raw.target.value);
            self.mistake("production-not-allowed", raw.target.span, message, "if that is meant, add `allow_production: true`");
        } else if let Some(reached) = setup.reaches_production() {
            let message =
                format!("profile `{}` may load {}, which belongs to the production target `{}`", name.value, reached.host, reached.target);
            let hint = format!("if that is meant, add `allow_production: true`; else take it out of what `{}` allows", raw.target.value);
            self.mistake("production-not-allowed", raw.target.span, message, hint);
        }
    }

    fn check_seed(&mut self, seed: &Spanned<u64>) -> bool {
        if seed.value > MOST_SEED {
            self.mistake("out-of-range", seed.span, format!("{} is too large for a seed", seed.value), format!("at most {MOST_SEED}"));
        }
        seed.value <= MOST_SEED
    }

    /// The names in the gates of staircases.
    fn check_gates(&mut self, raw: &RawProfile, known: Option<&Selectable>, without_probes: Option<&str>) {
        for (_, scenario) in raw.scenarios.value.iter() {
            if let Some(RawExecutor::Staircase(keys)) = scenario.0.as_ref().map(|scenario| &scenario.executor) {
                let gate = keys.gate.iter().filter_map(|text| parse_series(&text.value).ok().map(|series| (text, series)));
                for (text, series) in gate {
                    self.check_names(text, &series, known, without_probes);
                }
            }
        }
    }

    /// A flow that is walked once; `None` when a mistake was told in it.
    fn once(&mut self, raw: Option<&Spanned<RawNodes>>, owner: &str, inside: &mut InProfile<'_>) -> Option<Vec<FlowNode>> {
        let Some(raw) = raw else { return Some(Vec::new()) };
        let mut scope = Scope {
            owner: owner.to_owned(),
            target: inside.target,
            auth: self.inherited(None, inside.target),
            redirects: inside.http.as_ref().map_or(super::REDIRECTS, |http| http.redirects),
            names: Names::at_start_of(&raw.value, inside.setup.clone()),
            tokens: Some(&mut inside.tokens),
            socket: Line::None,
        };
        self.flow(raw, &mut scope)
    }

    /// `known` is `None` when a scenario is wrong, so that names in it cannot be told; `without_probes` names a target that has none.
    fn threshold(&mut self, raw: &RawThreshold, known: Option<&Selectable>, without_probes: Option<&str>) -> Option<Threshold> {
        let keys = &raw.0;
        let series = self.series(&keys.expr)?;
        if let Some(known) = known {
            self.check_measured(&keys.expr, &series, known);
        }
        self.check_names(&keys.expr, &series, known, without_probes);
        Some(Threshold {
            text: keys.expr.value.clone(),
            series,
            abort_on_fail: keys.abort_on_fail,
            delay_abort_eval: keys.delay_abort_eval,
            exclude_ramp: keys.exclude_ramp,
            severity: keys.severity,
        })
    }

    fn check_names(&mut self, text: &Spanned<String>, series: &Series, known: Option<&Selectable>, without_probes: Option<&str>) {
        if let Some(known) = known {
            self.check_selector(text, &series.selector, series.metric.source, known);
        }
        if let Some(target) = without_probes
            && series.metric.source == Source::Probe
        {
            let message = format!("`{}` is read by a probe, and the target `{target}` has none", series.metric.name);
            self.mistake("no-probe", text.span, message, "add a probe to the target, or remove the threshold");
        }
    }

    fn check_limits(&mut self, profile: &Spanned<String>, target: &str, limits: Limits, scenarios: &[(Span, Scenario)]) {
        if let Some(limit) = limits.rate {
            let load = peak(scenarios, |scenario| scenario.executor.max_rate().unwrap_or(0.0) * most_requests(&scenario.flow) as f64);
            let shown = |rate: f64| Rate { count: rate * limit.per.as_secs_f64(), per: limit.per }.to_string();
            self.over(profile, target, &load, limit.as_per_second(), shown, "sends up to");
            let closed = scenarios.iter().find(|(_, scenario)| !scenario.executor.is_open());
            if let (Some((span, scenario)), None) = (closed, limits.vus) {
                let message =
                    format!("how often scenario `{}` asks depends on the target, so a limit on the rate does not bound it", scenario.name);
                self.mistake("missing-limits", *span, message, format!("add `vus:` to the limits of target `{target}`"));
            }
        }
        if let Some(limit) = limits.vus {
            let load = peak(scenarios, |scenario| scenario.executor.max_vus() as f64);
            self.over(profile, target, &load, limit as f64, |vus| format!("{vus} VUs"), "has up to");
        }
        if let Some(limit) = limits.duration {
            let all: Vec<Scenario> = scenarios.iter().map(|(_, scenario)| scenario.clone()).collect();
            let ends =
                scenarios.iter().zip(begins(&all)).map(|((span, scenario), begin)| (*span, begin.latest + scenario.executor.duration()));
            if let Some((span, longest)) = ends.max_by_key(|(_, end)| *end)
                && longest > limit
            {
                let message = format!("profile `{}` takes {}", profile.value, format_duration(longest));
                self.mistake("over-limits", span, message, format!("the target `{target}` allows {}", format_duration(limit)));
            }
        }
    }

    fn over(&mut self, profile: &Spanned<String>, target: &str, load: &Peak, limit: f64, shown: impl Fn(f64) -> String, verb: &str) {
        if load.sum <= limit * (1.0 + 1e-9) {
            return;
        }
        // One scenario alone is to blame, or all of them together.
        let span = load.largest.filter(|(_, value)| *value > limit).map_or(profile.span, |(span, _)| span);
        let message = format!("profile `{}` {verb} {}", profile.value, shown(load.sum));
        self.mistake("over-limits", span, message, format!("the target `{target}` allows {}", shown(limit)));
    }
}

/// Most requests that one iteration can send; `while` is taken to go as far as it may.
fn most_requests(flow: &[FlowNode]) -> usize {
    let times = |count: u64, flow: &[FlowNode]| most_requests(flow).saturating_mul(usize::try_from(count).unwrap_or(usize::MAX));
    flow.iter().fold(0, |sum: usize, node| {
        sum.saturating_add(match node {
            FlowNode::Choose(branches) => branches.iter().map(|(_, flow)| most_requests(flow)).max().unwrap_or(0),
            FlowNode::If { then, otherwise, .. } => most_requests(then).max(most_requests(otherwise)),
            FlowNode::Repeat { times: (_, most), flow } => times(*most, flow),
            FlowNode::While { at_most, flow, .. } => times(*at_most, flow),
            FlowNode::Sequence(flow) | FlowNode::Group { flow, .. } => most_requests(flow),
            FlowNode::Step(_) => 1,
            FlowNode::Parallel(steps) => steps.len(),
            FlowNode::Session(session) => most_requests(&session.flow).saturating_add(1),
            FlowNode::Set(_) | FlowNode::Pause(_) | FlowNode::Pace(_) => 0,
        })
    })
}

/// The greatest load of all scenarios at one time.
struct Peak {
    sum: f64,
    /// The scenario with the greatest load of its own.
    largest: Option<(Span, f64)>,
}

fn peak(scenarios: &[(Span, Scenario)], load: impl Fn(&Scenario) -> f64) -> Peak {
    let all: Vec<Scenario> = scenarios.iter().map(|(_, scenario)| scenario.clone()).collect();
    let windows: Vec<(Duration, Duration)> = all
        .iter()
        .zip(begins(&all))
        .map(|(scenario, begin)| {
            (begin.earliest, begin.latest + grace_before(&all, scenario) + scenario.executor.duration() + scenario.graceful_stop)
        })
        .collect();
    // The sum can only grow where a scenario may start.
    let at = |time: Duration| -> f64 {
        let roots = (0..all.len()).filter(|index| all[*index].start_after.is_none());
        roots
            .map(|root| {
                together(&all, root, &|index| if windows[index].0 <= time && time < windows[index].1 { load(&all[index]) } else { 0.0 })
            })
            .sum()
    };
    Peak {
        sum: windows.iter().map(|(begin, _)| at(*begin)).fold(0.0, f64::max),
        largest: scenarios.iter().map(|(span, scenario)| (*span, load(scenario))).max_by(|a, b| a.1.total_cmp(&b.1)),
    }
}

/// The most of a scenario and of those that wait for it: it has ended before they begin.
fn together(all: &[Scenario], index: usize, load: &dyn Fn(usize) -> f64) -> f64 {
    let followers = (0..all.len()).filter(|other| all[*other].start_after == Some(index));
    load(index).max(followers.map(|other| together(all, other, load)).sum())
}

/// How much longer all that it waits for may take for their iterations to end.
fn grace_before(all: &[Scenario], scenario: &Scenario) -> Duration {
    let mut grace = Duration::ZERO;
    let mut next = scenario.start_after;
    for _ in 0..all.len() {
        let Some(before) = next.and_then(|index| all.get(index)) else { break };
        grace += before.graceful_stop;
        next = before.start_after;
    }
    grace
}
