//! Keeps every alert and feeds it: seconds of runs, readings of probes, verdicts, and the passing of time. Each observation goes
//! through the state machine at once; `judge` hands out what has to be stored and told since the last call.
//! Pure: no clock and no store. A decision that could not be stored must be stored later, in order, by the caller.

mod found;
mod storage;
mod telling;
mod watched;

pub use telling::NotAcked;
pub(super) use telling::head_of;
pub use watched::Instants;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::fingerprint::{fingerprint, group_labels};
use super::group::{Group, LiveRun, all_labels, covers, is_run_bound, point_labels, run_labels, selects_run};
use super::history::{History, Standing};
use super::machine::{Incident, Input, advance};
use super::quiet::Quiet;
use super::threads::Threads;
use super::{Decision, Policy, RunContext, reason};
use crate::model::Labels;
use crate::model::alerting::{AlertInstance, NoData, Rule, Transition};
use crate::model::measure::Interval;
use crate::model::muting::AlertThread;
use crate::model::run::{Run, RunId};
use crate::model::series::Point;
use crate::model::threshold::{Aggregate, Condition, Series, Source};
use crate::model::units::Timestamp;

/// Most alerts of one rule; beyond it new series are not watched (and counted), so that a label that never repeats cannot fill the memory.
const MOST_PER_RULE: usize = 1000;

/// A step back of the clock that is longer than any reading takes.
const CLOCK_SET: Duration = Duration::from_secs(30);

/// Every alert, with what is needed to judge it.
#[derive(Debug, Default)]
pub struct Alerts {
    rules: BTreeMap<String, Arc<Rule>>,
    policy: Policy,
    groups: BTreeMap<String, Group>,
    live: BTreeMap<String, LiveRun>,
    history: History,
    verdicts_due: bool,
    orphans: BTreeSet<String>,
    decision: Decision,
    changed: BTreeSet<String>,
    threads: Threads,
    quiet: Quiet,
    issued: Vec<(Timestamp, String)>,
    /// Last moment seen, and how far the axis of windows is ahead of the clock because that went back.
    axis: (Timestamp, Duration),
    overflow: u64,
    /// The run that ended last, and what its target said of failures.
    said: Option<(RunId, String)>,
    /// Latest `pool_limit` by target, probe and pool.
    capacities: BTreeMap<[String; 3], f64>,
    /// Runs of each schedule that did not happen since the last one that did.
    missed: BTreeMap<String, u32>,
}

impl Alerts {
    /// Begins with the rules in force and what the store remembers. Evaluation starts empty: a firing alert stays firing until data
    /// says otherwise, and an alert whose rule is gone is resolved at the first `judge`.
    pub fn new(rules: Vec<Rule>, stored: Vec<AlertInstance>, policy: Policy) -> Self {
        let threads = Threads::restored(Vec::new(), stored.iter());
        let groups = stored.into_iter().map(|instance| (instance.fingerprint.clone(), Group::restored(instance))).collect();
        let mut alerts = Self { groups, threads, ..Self::default() };
        alerts.replace_rules(rules, policy);
        alerts
    }

    /// Takes what the store remembers of messages, too.
    #[must_use]
    pub fn with_threads(mut self, threads: Vec<AlertThread>) -> Self {
        self.threads = Threads::restored(threads, self.groups.values().map(|group| &group.instance));
        self
    }

    /// Takes a new configuration. State is kept by fingerprint; an alert that no rule covers any more is resolved at the next `judge`.
    pub fn replace_rules(&mut self, rules: Vec<Rule>, policy: Policy) {
        let rules: BTreeMap<String, Arc<Rule>> = rules.into_iter().map(|rule| (rule.name.clone(), Arc::new(rule))).collect();
        self.orphans.clear();
        for (key, group) in &mut self.groups {
            let name = &group.instance.rule;
            let labels = group_labels(key, name);
            match (rules.get(name).filter(|rule| covers(rule, &labels)), self.rules.get(name)) {
                (Some(new), old) if old.is_none_or(|old| measures_the_same(old, new)) => {
                    group.instance.labels = all_labels(new, &labels);
                    if old.is_none_or(|old| old.when != new.when) {
                        group.evaluator = None;
                    }
                }
                _ => {
                    self.orphans.insert(key.clone());
                }
            }
        }
        self.rules = rules;
        self.policy = policy;
        self.verdicts_due = true;
    }

    /// Keeps only alerts whose labels (`target`, `probe`, `profile` …) still lead to something configured; the others are resolved at
    /// the next `judge`. To be called after `new` and `replace_rules`.
    pub fn retain(&mut self, is_configured: impl Fn(&Labels) -> bool) {
        for (key, group) in &self.groups {
            if !is_configured(&group.instance.labels) {
                self.orphans.insert(key.clone());
            }
        }
    }

    /// Every alert as it is now, with live values.
    pub fn instances(&self) -> impl Iterator<Item = &AlertInstance> {
        self.groups.values().map(|group| &group.instance)
    }

    /// Observations that were not watched because their rule has too many series.
    pub fn overflow(&self) -> u64 {
        self.overflow
    }

    /// A run begins: figures of its profile begin anew.
    pub fn run_started(&mut self, run: &RunContext<'_>, now: Timestamp) {
        let live = LiveRun { id: run.id.clone(), profile: run.profile.into(), catalog: run.catalog.clone(), second: 0 };
        self.live.insert(run.target.into(), live);
        self.break_run(run.profile, run.target, now);
    }

    /// A run ended and came to its verdict (or to none). The state of its alerts is held until the next run.
    pub fn run_ended(&mut self, run: &Run, now: Timestamp) {
        self.live.retain(|_, live| live.id != run.id);
        self.break_run(&run.profile, &run.target, now);
        self.history.add(run);
        self.said = run.summary.as_ref().and_then(|summary| summary.total.said()).map(|said| (run.id.clone(), said));
        self.judge_verdicts(now);
        self.judge_found(run, now);
    }

    /// Takes runs that ended before the program started, in any order, so that rows of verdicts go on.
    pub fn seed_history(&mut self, recent: &[Run]) {
        let mut runs: Vec<&Run> = recent.iter().collect();
        runs.sort_by_key(|run| run.started_at);
        for run in runs {
            self.history.add(run);
        }
        self.verdicts_due = true;
    }

    /// Takes one second of a run.
    pub fn observe_interval(&mut self, run: &RunContext<'_>, interval: &Interval, now: Timestamp) {
        if let Some(live) = self.live.get_mut(run.target) {
            live.second = interval.second;
        }
        for rule in self.rules.values().cloned().collect::<Vec<_>>() {
            let Condition::Series(series) = &rule.when else { continue };
            if !is_run_bound(series) || !selects_run(&series.selector, run.profile, run.target) {
                continue;
            }
            if series.metric.source == Source::Probe {
                self.second_under_load(&rule, series, run);
                continue;
            }
            // Nothing at all means that the second is outside the rule's phase or scenario.
            let Some(measured) = series.measure(run.catalog, interval, &[], false) else { continue };
            let labels = run_labels(&series.selector, run.profile, run.target);
            let Some(key) = self.group(&rule, &labels) else { continue };
            let Some(group) = self.groups.get_mut(&key) else { continue };
            let input = group.measure(series, &rule, f64::from(interval.second), &measured);
            if input == Input::Quiet {
                group.silent_under_load += Duration::from_secs(1);
            }
            self.step(&key, input, now, Some(run.id));
        }
    }

    /// Takes a reading of a probe; the labels of its points already have `probe` and `target`.
    pub fn observe_points(&mut self, target: &str, points: &[Point], now: Timestamp) {
        let at = self.axis(now);
        for point in points.iter().filter(|point| point.metric == "pool_limit") {
            self.capacities.insert(place_of(&point.labels), point.value);
        }
        let live = self.live.get(target).cloned();
        for rule in self.rules.values().cloned().collect::<Vec<_>>() {
            let Condition::Series(series) = &rule.when else { continue };
            if series.metric.source != Source::Probe {
                continue;
            }
            for point in points.iter().filter(|point| series.selects(point)) {
                let measured = match &live {
                    None if is_run_bound(series) => None,
                    Some(live) if is_run_bound(series) && !selects_run(&series.selector, &live.profile, target) => None,
                    None => series.measure_points(std::slice::from_ref(point)),
                    Some(live) => {
                        let second = Interval { second: live.second, ..Interval::default() };
                        series.measure(&live.catalog, &second, std::slice::from_ref(point), false)
                    }
                };
                let Some(measured) = measured else { continue };
                let Some(key) = self.group(&rule, &point_labels(series, point, target)) else { continue };
                let Some(group) = self.groups.get_mut(&key) else { continue };
                let input = group.measure(series, &rule, at, &measured);
                self.step(&key, input, now, live.as_ref().map(|live| &live.id));
            }
        }
    }

    /// Takes what a run came to against the history of its profile; the labels of its points name profile, target and metric.
    pub fn observe_judgement(&mut self, run: &RunId, target: &str, points: &[Point], now: Timestamp) {
        let at = self.axis(now);
        for rule in self.rules.values().cloned().collect::<Vec<_>>() {
            let Condition::Series(series) = &rule.when else { continue };
            if series.metric.source != Source::History {
                continue;
            }
            let selected = |point: &&Point| {
                point.metric == series.metric.name && series.selector.iter().all(|(tag, value)| point.labels.get(tag) == Some(value))
            };
            for point in points.iter().filter(selected) {
                let Some(key) = self.group(&rule, &point_labels(series, point, target)) else { continue };
                let Some(group) = self.groups.get_mut(&key) else { continue };
                let measured = Aggregate::Level(point.value, 1, point.value, point.value, point.value);
                let input = group.measure(series, &rule, at, &measured);
                self.step(&key, input, now, Some(run));
            }
        }
    }

    /// Lets time pass and hands out everything that has to be stored and told since the last call.
    pub fn judge(&mut self, now: Timestamp) -> Decision {
        for key in std::mem::take(&mut self.orphans) {
            self.step(&key, Input::Gone, now, None);
            self.forget(&key);
        }
        if std::mem::take(&mut self.verdicts_due) {
            self.judge_verdicts(now);
        }
        for key in self.groups.keys().cloned().collect::<Vec<_>>() {
            self.pass_time(&key, now);
        }
        self.speak(now);
        let mut decision = std::mem::take(&mut self.decision);
        let changed = std::mem::take(&mut self.changed);
        decision.instances = changed.iter().filter_map(|key| self.groups.get(key)).map(|group| group.instance.clone()).collect();
        (decision.threads, decision.threads_forgotten) = self.threads.take_changes();
        decision
    }

    fn pass_time(&mut self, key: &str, now: Timestamp) {
        let Some(group) = self.groups.get_mut(key) else { return };
        let Some(rule) = self.rules.get(&group.instance.rule) else { return };
        let missing = group.is_missing(rule, now);
        let forget = missing && rule.no_data == NoData::Ok && matches!(&rule.when, Condition::Series(series) if !is_run_bound(series));
        self.step(key, if missing { Input::Missing } else { Input::Quiet }, now, None);
        if forget {
            self.forget(key);
        }
    }

    /// The state of an open incident as a sentence.
    fn last_reason(&self, alert: &AlertInstance) -> String {
        let rule = self.rules.get(&alert.rule).map(Arc::as_ref);
        match rule.map(|rule| &rule.when) {
            Some(_) if alert.active_since.is_some() => {
                reason::sentence(alert, rule, super::machine::Why::Holds(Duration::ZERO), Duration::ZERO)
            }
            _ => "nothing is measured".into(),
        }
    }

    /// One input for one alert, with everything that follows from it.
    fn step(&mut self, key: &str, input: Input, now: Timestamp, run: Option<&RunId>) {
        let Some(group) = self.groups.get_mut(key) else { return };
        let rule = self.rules.get(&group.instance.rule).map(Arc::as_ref);
        let turn = advance(&mut group.instance, rule, input, now);
        let silence = rule.map_or(Duration::ZERO, |rule| group.silence(rule, now));
        if matches!(input, Input::Bad | Input::Between | Input::Good) {
            group.heard(now);
        }
        let Some(turn) = turn else { return };
        let mut sentence = reason::sentence(&group.instance, rule, turn.why, silence);
        match turn.incident {
            Incident::Same => {}
            Incident::Opens => self.open(key, &sentence, now, run),
            Incident::Closes => {
                if let Some(muted) = self.threads.close(&group.instance, &sentence, now) {
                    sentence = format!("{sentence}; nobody was told: {muted}");
                }
            }
        }
        let Some(alert) = self.groups.get(key).map(|group| &group.instance) else { return };
        self.decision.transitions.push(Transition {
            fingerprint: alert.fingerprint.clone(),
            rule: alert.rule.clone(),
            incident: alert.incident.clone(),
            from: turn.from,
            to: turn.to,
            at: now,
            reason: sentence,
            value: alert.value,
        });
        self.changed.insert(key.to_owned());
        if turn.incident == Incident::Closes {
            self.close(key);
        }
    }

    /// The key of the alert with these labels, made when it is new; `None` when it is not watched.
    fn group(&mut self, rule: &Rule, labels: &Labels) -> Option<String> {
        let key = fingerprint(&rule.name, labels);
        if self.orphans.contains(&key) {
            return None;
        }
        if !self.groups.contains_key(&key) {
            if self.groups.values().filter(|group| group.instance.rule == rule.name).count() >= MOST_PER_RULE {
                self.overflow += 1;
                return None;
            }
            self.groups.insert(key.clone(), Group::new(rule, labels));
        }
        Some(key)
    }

    fn forget(&mut self, key: &str) {
        self.groups.remove(key);
        self.changed.remove(key);
        self.decision.forgotten.push(key.to_owned());
    }

    /// A run of the profile began or ended.
    fn break_run(&mut self, profile: &str, target: &str, now: Timestamp) {
        let mut broken = Vec::new();
        for (key, group) in &mut self.groups {
            let Some(rule) = self.rules.get(&group.instance.rule) else { continue };
            let Condition::Series(series) = &rule.when else { continue };
            if is_run_bound(series) && group.is_about(profile, target) {
                group.evaluator = None;
                broken.push(key.clone());
            }
        }
        for key in broken {
            self.step(&key, Input::RunBreak, now, None);
        }
    }

    /// A second of load in which a probe may or may not be read.
    fn second_under_load(&mut self, rule: &Rule, series: &Series, run: &RunContext<'_>) {
        if series.selector.contains_key("phase") {
            return;
        }
        for group in self.groups.values_mut().filter(|group| group.instance.rule == rule.name && group.is_about(run.profile, run.target)) {
            group.silent_under_load += Duration::from_secs(1);
        }
    }

    fn judge_verdicts(&mut self, now: Timestamp) {
        for rule in self.rules.values().cloned().collect::<Vec<_>>() {
            let Condition::Verdict { selector, equal, verdict, runs } = &rule.when else { continue };
            let standings =
                self.history.standings(|profile, target| selects_run(selector, profile, target), |found| (found == *verdict) == *equal);
            for Standing { profile, target, run, came_to, row, known } in standings {
                let Some(key) = self.group(&rule, &run_labels(selector, &profile, &target)) else { continue };
                let Some(group) = self.groups.get_mut(&key) else { continue };
                group.instance.value = Some(f64::from(row));
                group.instance.shown = if row > 1 { format!("{came_to}, {row} runs in a row") } else { came_to.to_string() };
                if let Some((_, said)) = self.said.as_ref().filter(|(of, _)| row > 0 && *of == run) {
                    group.instance.shown.push_str(&format!("; {said}"));
                }
                let input = if row >= *runs {
                    Input::Bad
                } else if row > 0 && group.instance.incident.is_some() && known == row {
                    // The row is as long as the memory: it may have begun before.
                    Input::Quiet
                } else {
                    Input::Good
                };
                self.step(&key, input, now, Some(&run));
            }
        }
    }

    /// `now` as seconds on an axis that never goes back, whatever the wall clock does.
    fn axis(&mut self, now: Timestamp) -> f64 {
        let (last, ahead) = &mut self.axis;
        // A reading carries the moment at which it began: a few seconds back is the order of things, not a clock that was set.
        if last.since(now) < CLOCK_SET {
            *last = now.max(*last);
            return last.plus(*ahead).as_seconds();
        }
        *ahead += last.since(now);
        *last = now;
        now.plus(*ahead).as_seconds()
    }
}

/// Whether two versions of a rule speak of the same thing, so that its alerts go on.
fn measures_the_same(old: &Rule, new: &Rule) -> bool {
    match (&old.when, &new.when) {
        (Condition::Series(old), Condition::Series(new)) => old.metric.name == new.metric.name,
        (Condition::Verdict { .. }, Condition::Verdict { .. }) => true,
        (Condition::Found(old), Condition::Found(new)) => old.subject() == new.subject(),
        (Condition::Series(_) | Condition::Verdict { .. } | Condition::Found(_), _) => false,
    }
}

/// Target, probe and pool of a series; empty where a label is absent.
fn place_of(labels: &Labels) -> [String; 3] {
    ["target", "probe", "pool"].map(|label| labels.get(label).cloned().unwrap_or_default())
}

#[cfg(test)]
#[path = "alerts_tests.rs"]
mod tests;
