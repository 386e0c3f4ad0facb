//! Alerts: the default rules with the user's over them, channels by their kinds, routes to channels that exist.

use std::time::Duration;

use super::Resolver;
use super::expression::Selectable;
use super::muting::{TARGET_DOWN, default_inhibition};
use crate::config::raw::alerts::{RawAlerts, RawRule, Switch};
use crate::engine::setup::Setup;
use crate::model::alerting::{NoData, Route, Rule, Severity};
use crate::model::threshold::{Aggregation, Comparison, Condition, Series, Source, Unit, parse_bound, parse_condition};
use crate::notify::{ChannelSpec, check_timeout, exec};
use crate::registry::{Spanned, decode_kind, suggest};

/// A rule that is on without being written.
pub(crate) struct DefaultRule {
    /// Name, by which it is switched off or replaced.
    pub(crate) name: &'static str,
    /// What is bad.
    pub(crate) when: &'static str,
    /// When it is over; empty: when `when` no longer holds.
    pub(crate) recover: &'static str,
    /// How bad.
    pub(crate) severity: Severity,
    /// What happens when nothing is measured.
    pub(crate) no_data: NoData,
}

/// The default rules: what nearly everybody wants to know.
pub(crate) const DEFAULT_RULES: [DefaultRule; 14] = [
    DefaultRule {
        name: "pool-nearly-full",
        when: "pool_utilization: max > 80% over 1m for 3m",
        recover: "< 70%",
        severity: Severity::High,
        no_data: NoData::Keep,
    },
    // Once the load is gone nothing fails any more: the verdict of the run has its own rule.
    DefaultRule {
        name: "requests-failing",
        when: "requests_failed: rate > 1% over 1m for 2m",
        recover: "",
        severity: Severity::High,
        no_data: NoData::Ok,
    },
    // Everything but a pass: a run that measured nothing, or could not load, is as much a reason to look as one that failed.
    DefaultRule { name: "runs-failing", when: "verdict != pass for 2 runs", recover: "", severity: Severity::High, no_data: NoData::Keep },
    // A probe that cannot be read is blind, and blind is not green.
    DefaultRule { name: "probe-down", when: "probe_up: value < 1 for 2m", recover: "", severity: Severity::Medium, no_data: NoData::Keep },
    // What Plimsoll does not store, nobody can look at later.
    DefaultRule {
        name: "storage-failing",
        when: "storage failing for 1m",
        recover: "",
        severity: Severity::Critical,
        no_data: NoData::Keep,
    },
    // The dead-man's switch: a run that does not happen says nothing by itself.
    DefaultRule { name: "run-missed", when: "missed runs >= 2", recover: "", severity: Severity::High, no_data: NoData::Keep },
    // Who is not told must be told that.
    DefaultRule { name: "channel-failing", when: "channel failing for 5m", recover: "", severity: Severity::High, no_data: NoData::Keep },
    // What the machine of the load could not send was not measured.
    DefaultRule { name: "generator-unfit", when: "verdict == invalid", recover: "", severity: Severity::Medium, no_data: NoData::Keep },
    DefaultRule { name: "leak-likely", when: "leak(any) at least likely", recover: "", severity: Severity::High, no_data: NoData::Keep },
    DefaultRule {
        name: "memory-grown",
        when: "regression(memory_peak) > 20%",
        recover: "",
        severity: Severity::Medium,
        no_data: NoData::Keep,
    },
    // At the limit the kernel kills it. Of containers and units; what has no limit of its own has no share of it.
    DefaultRule {
        name: "memory-nearly-out",
        when: "cgroup_memory_working_ratio: max > 90% over 1m for 2m",
        recover: "< 85%",
        severity: Severity::High,
        no_data: NoData::Keep,
    },
    DefaultRule { name: "capacity-dropped", when: "capacity drop > 10%", recover: "", severity: Severity::High, no_data: NoData::Keep },
    // Files, sockets: what runs out is refused at once, and seldom says why.
    DefaultRule {
        name: "descriptors-nearly-out",
        when: "process_descriptors_ratio: max > 80%",
        recover: "< 70%",
        severity: Severity::High,
        no_data: NoData::Keep,
    },
    // Who looks for leaks of others should have none.
    DefaultRule {
        name: "self-leak",
        when: "leak(any){target:plimsoll} at least likely",
        recover: "",
        severity: Severity::Medium,
        no_data: NoData::Keep,
    },
];

/// Least time between two messages about one open incident, unless configured.
const REPEAT_INTERVAL: Duration = Duration::from_secs(14_400);
/// How long there may be no data, for default rules.
const NO_DATA_AFTER: Duration = Duration::from_secs(300);

/// Default rules of the profiles' own gates: one for each profile that has a threshold on a percentile of a duration.
const OVER_GATE: &str = "p95-over-gate";

/// Fires while the profile runs and its percentile is over the threshold: before the verdict says so. Named after the profile.
fn over_gate(profile: &crate::model::profile::Profile) -> Option<Rule> {
    let on_duration = |threshold: &&crate::model::threshold::Threshold| {
        let series = &threshold.series;
        let below = matches!(series.bound.op, Comparison::Less | Comparison::LessOrEqual);
        series.metric.unit == Unit::Time
            && series.metric.source == Source::Step
            && matches!(series.aggregation, Aggregation::Quantile(_))
            && below
    };
    let gate = profile.thresholds.iter().find(on_duration)?;
    let mut series = gate.series.clone();
    series.bound.op = if series.bound.op == Comparison::Less { Comparison::GreaterOrEqual } else { Comparison::Greater };
    series.selector.insert("profile".into(), profile.name.clone());
    (series.window, series.hold) = (Some(Duration::from_secs(60)), Some(Duration::from_secs(60)));
    Some(Rule {
        name: format!("{OVER_GATE}-{}", profile.name),
        when: Condition::Series(series),
        recover: None,
        severity: Severity::Medium,
        runbook: None,
        labels: crate::model::Labels::new(),
        keep_firing_for: Duration::ZERO,
        no_data: NoData::Ok,
        no_data_after: NO_DATA_AFTER,
    })
}

impl DefaultRule {
    fn rule(&self) -> Option<Rule> {
        let when = parse_condition(self.when).ok()?;
        let recover = match &when {
            Condition::Series(series) if !self.recover.is_empty() => parse_bound(self.recover, series).ok(),
            Condition::Series(_) | Condition::Verdict { .. } | Condition::Found(_) => None,
        };
        Some(Rule {
            name: self.name.into(),
            when,
            recover,
            severity: self.severity,
            runbook: None,
            labels: crate::model::Labels::new(),
            keep_firing_for: Duration::ZERO,
            no_data: self.no_data,
            no_data_after: NO_DATA_AFTER,
        })
    }
}

impl Resolver<'_> {
    pub(super) fn alerts(&mut self, raw: Option<&RawAlerts>, setup: &mut Setup) {
        setup.repeat_interval = raw.map_or(REPEAT_INTERVAL, |raw| raw.repeat_interval);
        let off: Vec<&str> = raw.map(|raw| self.switched_off(raw)).unwrap_or_default();
        let replaced = |name: &str| raw.is_some_and(|raw| raw.rules.get(name).is_some());
        setup.rules =
            DEFAULT_RULES.iter().filter(|rule| !off.contains(&rule.name) && !replaced(rule.name)).filter_map(DefaultRule::rule).collect();
        if !off.contains(&OVER_GATE) {
            setup.rules.extend(setup.profiles.values().filter_map(over_gate));
        }
        setup.inhibit.extend(default_inhibition(&setup.rules).filter(|inhibit| !off.contains(&inhibit.name.as_str())));
        let Some(raw) = raw else { return };
        let mut known =
            Selectable { profiles: self.declared.profiles.clone(), targets: self.declared.targets.clone(), ..Selectable::default() };
        setup.profiles.values().flat_map(|profile| &profile.scenarios).for_each(|scenario| known.add(scenario));
        // With a profile missing that is wrong, the names in it cannot be told.
        let complete = setup.profiles.len() == self.declared.profiles.len();
        for (name, rule) in raw.rules.iter() {
            self.check_name(name, "rule");
            setup.rules.extend(self.rule(name, rule, &known, complete));
        }
        for (name, node) in raw.channels.iter() {
            self.check_name(name, "channel");
            self.cx.name = Some(name.value.clone());
            let decoded = decode_kind(node, "channel", self.kinds.channels, &mut self.cx);
            check_timeout(node, &mut self.cx);
            self.cx.name = None;
            if let Some((kind, settings)) = decoded {
                if kind == exec::NAME && !setup.allow_commands {
                    let hint = "add `allow_commands: true` at the top of the configuration, if programs may be run on this machine";
                    self.mistake("commands-not-allowed", name.span, "programs are not run unless that is allowed", hint);
                }
                setup.channels.insert(name.value.clone(), ChannelSpec { name: name.value.clone(), kind, settings });
            }
        }
        self.muting(raw, &off, setup);
        self.telling(raw, setup);
        if setup.routes.is_empty() && !setup.channels.is_empty() {
            let send = setup.channels.keys().cloned().collect();
            setup.routes.push(Route { send, ..Route::default() });
        }
    }

    fn switched_off<'r>(&mut self, raw: &'r RawAlerts) -> Vec<&'r str> {
        let mut off = Vec::new();
        for (name, switch) in raw.defaults.iter() {
            if !DEFAULT_RULES.iter().any(|rule| rule.name == name.value) && ![TARGET_DOWN, OVER_GATE].contains(&name.value.as_str()) {
                let hint = suggest(&name.value, DEFAULT_RULES.iter().map(|rule| rule.name));
                self.mistake("unknown-rule", name.span, format!("there is no default rule `{}`", name.value), hint);
            }
            if switch.value == Switch::Off {
                off.push(name.value.as_str());
            }
        }
        off
    }

    fn rule(&mut self, name: &Spanned<String>, raw: &RawRule, known: &Selectable, complete: bool) -> Option<Rule> {
        let when = self.condition(&raw.when)?;
        let recover = match &when {
            Condition::Series(series) => {
                if complete {
                    self.check_selector(&raw.when, &series.selector, series.metric.source, known);
                }
                match &raw.recover {
                    Some(text) => Some(self.recover(text, series)?),
                    None => None,
                }
            }
            Condition::Verdict { selector, .. } => {
                self.check_verdict_selector(&raw.when, selector, known);
                if let Some(text) = &raw.recover {
                    let message = format!("rule `{}` looks at verdicts, which have no `recover`", name.value);
                    self.mistake("conflicting-keys", text.span, message, "remove it: the rule recovers with the next run that is fine");
                }
                None
            }
            Condition::Found(found) => {
                // Probes and pools are the target's own, whatever they are called; one target is the daemon itself.
                if found.selector().get("target").is_none_or(|name| name != crate::alert::ITSELF) {
                    self.check_selector(&raw.when, found.selector(), Source::Scenario, known);
                }
                if let Some(text) = &raw.recover {
                    let message = format!("rule `{}` looks at what was concluded, which has no `recover`", name.value);
                    self.mistake(
                        "conflicting-keys",
                        text.span,
                        message,
                        "remove it: the rule recovers with the next conclusion that is fine",
                    );
                }
                None
            }
        };
        Some(Rule {
            name: name.value.clone(),
            when,
            recover,
            severity: raw.severity,
            runbook: raw.runbook.clone(),
            labels: raw.labels.iter().map(|(name, value)| (name.value.clone(), value.clone())).collect(),
            keep_firing_for: raw.keep_firing_for,
            no_data: raw.no_data,
            no_data_after: raw.no_data_after,
        })
    }

    /// The bound of the recovery; it may not hold where the rule would fire at the same time.
    fn recover(&mut self, text: &Spanned<String>, series: &Series) -> Option<crate::model::threshold::Bound> {
        let bound = self.bound(text, series)?;
        if bound.op.holds(series.bound.value, bound.value) && series.bound.op.holds(bound.value, series.bound.value) {
            let message = "the recovery begins where the rule still fires";
            self.mistake("out-of-range", text.span, message, "recover on the other side of the limit, as in `> 80%` and `< 70%`");
            return None;
        }
        Some(bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_rule_can_be_read() {
        for rule in &DEFAULT_RULES {
            let read = rule.rule().unwrap();
            assert_eq!(read.recover.is_some(), !rule.recover.is_empty(), "{}", rule.name);
        }
    }
}
