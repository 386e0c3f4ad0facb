//! Thresholds, guards, rules: texts in the grammar of model::threshold, read with the place of every mistake within the text, and
//! the names in their selectors looked up. What can be selected is only what the profile has.

use std::collections::BTreeMap;

use super::Resolver;
use crate::model::Labels;
use crate::model::flow::{groups_of, steps_of};
use crate::model::profile::{Executor, Scenario};
use crate::model::staircase::{JUDGING, REST};
use crate::model::threshold::{
    Bound, Condition, METRICS, Metric, ParseError, Series, Source, parse_bound, parse_condition, parse_series, tags_of,
};
use crate::registry::{Span, Spanned, suggest};

/// The names that selectors of one profile, or of all, may use.
#[derive(Debug, Default)]
pub(super) struct Selectable {
    pub(super) steps: Vec<String>,
    pub(super) groups: Vec<String>,
    pub(super) scenarios: Vec<String>,
    pub(super) phases: Vec<String>,
    pub(super) profiles: Vec<String>,
    pub(super) targets: Vec<String>,
    /// Tags that scenarios have of their own, with their values.
    pub(super) tags: BTreeMap<String, Vec<String>>,
    /// Scenario, step and protocol of every request.
    pub(super) requests: Vec<(String, String, &'static str)>,
}

impl Selectable {
    /// Adds the names of a scenario.
    pub(super) fn add(&mut self, scenario: &Scenario) {
        self.scenarios.push(scenario.name.clone());
        for (tag, value) in &scenario.tags {
            self.tags.entry(tag.clone()).or_default().push(value.clone());
        }
        for step in steps_of(&scenario.flow) {
            self.steps.push(step.name.clone());
            self.requests.push((scenario.name.clone(), step.name.clone(), step.request.protocol()));
        }
        self.groups.extend(groups_of(&scenario.flow).into_iter().map(str::to_owned));
        self.phases.extend(phases(&scenario.executor));
    }

    fn of(&self, tag: &str) -> Option<(&'static str, &[String])> {
        Some(match tag {
            "step" => ("unknown-step", &self.steps),
            "group" => ("unknown-group", &self.groups),
            "scenario" => ("unknown-scenario", &self.scenarios),
            "phase" => ("unknown-phase", &self.phases),
            "profile" => ("unknown-profile", &self.profiles),
            "target" => ("unknown-target", &self.targets),
            _ => ("unknown-tag", self.tags.get(tag)?),
        })
    }
}

/// Names of the phases of an executor, as the catalog of a run has them.
pub(super) fn phases(executor: &Executor) -> Vec<String> {
    match executor {
        Executor::ConstantVus { .. }
        | Executor::ConstantArrivalRate { .. }
        | Executor::PerVuIterations { .. }
        | Executor::SharedIterations { .. }
        | Executor::ExternallyControlled { .. } => vec!["main".into()],
        Executor::RampingVus { stages, .. } | Executor::RampingArrivalRate { stages, .. } => {
            let numbered = stages.iter().enumerate();
            numbered.map(|(index, stage)| stage.name.clone().unwrap_or_else(|| format!("stage-{}", index + 1))).collect()
        }
        // Those that a search adds are known only when it comes to them.
        Executor::Staircase(stairs) => {
            let levels = stairs.levels.iter();
            let names = levels.flat_map(|level| [stairs.level_name(*level), stairs.ramp_name(*level)]);
            names.chain([JUDGING, REST].map(str::to_owned)).collect()
        }
    }
}

impl Resolver<'_> {
    /// A series expression.
    pub(super) fn series(&mut self, text: &Spanned<String>) -> Option<Series> {
        parse_series(&text.value).map_err(|error| self.refuse(text, error)).ok()
    }

    /// A condition of a rule.
    pub(super) fn condition(&mut self, text: &Spanned<String>) -> Option<Condition> {
        parse_condition(&text.value).map_err(|error| self.refuse(text, error)).ok()
    }

    /// A bound such as `< 70%` for a series.
    pub(super) fn bound(&mut self, text: &Spanned<String>, series: &Series) -> Option<Bound> {
        parse_bound(&text.value, series).map_err(|error| self.refuse(text, error)).ok()
    }

    fn refuse(&mut self, text: &Spanned<String>, error: ParseError) {
        let span = self.sources.within(text.span, &text.value, error.at, error.len);
        self.mistake(error.code, span, error.message, error.hint);
    }

    /// Reports names in the selector that do not exist.
    pub(super) fn check_selector(&mut self, text: &Spanned<String>, selector: &Labels, source: Source, known: &Selectable) {
        self.check_tags(text, selector, source, known);
        for (tag, value) in selector {
            let Some((code, names)) = known.of(tag) else { continue };
            // Labels of probes are the probe's own, whatever they are called.
            if source == Source::Probe || names.contains(value) {
                continue;
            }
            let span = self.selector_value(text, tag, value);
            self.mistake(code, span, format!("there is no {tag} `{value}`"), suggest(value, names.iter().map(String::as_str)));
        }
    }

    /// Reports tags by which a series of such a source cannot be selected.
    pub(super) fn check_tags(&mut self, text: &Spanned<String>, selector: &Labels, source: Source, known: &Selectable) {
        let builtin = tags_of(source);
        let strange = |tag: &&String| !builtin.is_empty() && !builtin.contains(&tag.as_str()) && !known.tags.contains_key(*tag);
        for tag in selector.keys().filter(strange) {
            let hint = suggest(tag, builtin.iter().copied().chain(known.tags.keys().map(String::as_str)));
            let span = self.selector_tag(text, tag);
            self.mistake("unknown-tag", span, format!("this metric has no tag `{tag}`"), hint);
        }
    }

    /// The place of a tag in `{tag:value}`.
    fn selector_tag(&self, text: &Spanned<String>, tag: &str) -> Span {
        let at = text.value.find('{').and_then(|open| text.value[open..].find(tag).map(|at| open + at)).unwrap_or(0);
        self.sources.within(text.span, &text.value, text.value[..at].chars().count(), tag.chars().count())
    }

    /// Reports a metric of requests that are not made, or of groups that there are not: it would never have a value.
    pub(super) fn check_measured(&mut self, text: &Spanned<String>, series: &Series, known: &Selectable) {
        let metric = series.metric;
        if metric.source == Source::Group && known.groups.is_empty() && !series.selector.contains_key("group") {
            let message = format!("`{}` is of groups, and the profile has none", metric.name);
            self.mistake("nothing-to-measure", text.span, message, "put the nodes into one: `{ group: NAME, do: [...] }`");
        }
        let wanted = |tag: &str, name: &str| series.selector.get(tag).is_none_or(|wanted| wanted == name);
        let mut selected =
            known.requests.iter().filter(|(scenario, step, _)| wanted("scenario", scenario) && wanted("step", step)).peekable();
        // Names that there are not were told already.
        let Some((_, _, spoken)) = selected.peek().copied() else { return };
        if metric.source != Source::Step || selected.any(|(_, _, protocol)| metric.counts(protocol)) {
            return;
        }
        let same = |other: &&Metric| {
            (other.kind, other.unit, other.source) == (metric.kind, metric.unit, metric.source)
                && other.counts(spoken)
                && !other.protocols.is_empty()
        };
        let hint = METRICS.iter().find(same).map_or_else(|| "remove it".to_owned(), |other| format!("write `{}`", other.name));
        let message = format!("`{}` has no value: no request that it is about is made", metric.name);
        self.mistake("nothing-to-measure", text.span, message, hint);
    }

    /// Reports what a verdict cannot be selected by.
    pub(super) fn check_verdict_selector(&mut self, text: &Spanned<String>, selector: &Labels, known: &Selectable) {
        for tag in selector.keys().filter(|tag| !matches!(tag.as_str(), "profile" | "target")) {
            let span = self.selector_tag(text, tag);
            self.mistake("unknown-tag", span, format!("verdicts have no tag `{tag}`"), suggest(tag, ["profile", "target"]));
        }
        self.check_selector(text, selector, Source::Scenario, known);
    }

    /// The place of `value` in `{tag:value}`.
    fn selector_value(&self, text: &Spanned<String>, tag: &str, value: &str) -> Span {
        let whole = &text.value;
        let found = whole.find('{').and_then(|open| whole[open..].find(tag).map(|at| open + at + tag.len()));
        let found = found.and_then(|after| whole[after..].find(value).map(|at| after + at));
        match found {
            Some(at) => self.sources.within(text.span, whole, whole[..at].chars().count(), value.chars().count()),
            None => text.span,
        }
    }
}
