//! One rule with one set of labels: the evaluator that follows its series, the clock of its silence, and its stored instance.
//! Turns measurements into inputs of the state machine. A second without a measurement is silence, never a value.

use std::time::Duration;

use super::fingerprint::fingerprint;
use super::machine::Input;
use crate::model::Labels;
use crate::model::alerting::{AlertInstance, AlertState, Rule};
use crate::model::run::RunId;
use crate::model::series::Point;
use crate::model::threshold::{Aggregate, Condition, Evaluator, Found, Series, Source};
use crate::model::units::Timestamp;

/// Selector tags that speak of the run, not of a probe's reading.
const RUN_TAGS: [&str; 3] = ["phase", "profile", "scenario"];

/// True when the series has figures only while a run is going on: its state is held between runs, and only time under load counts as silence.
pub(super) fn is_run_bound(series: &Series) -> bool {
    match series.metric.source {
        Source::Step | Source::Scenario | Source::Group => true,
        Source::Probe => series.selector.keys().any(|tag| RUN_TAGS.contains(&tag.as_str())),
        Source::History => false,
    }
}

/// Whether the rule looks at this profile and target.
pub(super) fn selects_run(selector: &Labels, profile: &str, target: &str) -> bool {
    selector.get("profile").is_none_or(|wanted| wanted == profile) && selector.get("target").is_none_or(|wanted| wanted == target)
}

/// Labels of an alert about a run: profile, target and what the rule selects.
pub(super) fn run_labels(selector: &Labels, profile: &str, target: &str) -> Labels {
    let mut labels = selector.clone();
    labels.insert("profile".into(), profile.into());
    labels.insert("target".into(), target.into());
    labels
}

/// Labels of an alert about a reading: those of the reading, and the tags of the run that the rule selects.
pub(super) fn point_labels(series: &Series, point: &Point, target: &str) -> Labels {
    let mut labels = point.labels.clone();
    labels.entry("target".into()).or_insert_with(|| target.into());
    for tag in RUN_TAGS {
        if let Some(value) = series.selector.get(tag) {
            labels.insert(tag.into(), value.clone());
        }
    }
    labels
}

/// Whether an alert with these labels can still come from this rule; not after its metric's source or its selector changed.
pub(super) fn covers(rule: &Rule, labels: &Labels) -> bool {
    let about_run = |selector: &Labels| {
        let (Some(profile), Some(target)) = (labels.get("profile"), labels.get("target")) else { return false };
        selects_run(selector, profile, target) && run_labels(selector, profile, target) == *labels
    };
    match &rule.when {
        Condition::Verdict { selector, .. } => about_run(selector),
        Condition::Found(Found::StorageFailing { .. }) => labels.is_empty(),
        Condition::Found(Found::ChannelFailing { .. }) => labels.contains_key("channel"),
        Condition::Found(Found::MissedRuns { selector, .. }) => {
            labels.contains_key("schedule") && selector.iter().all(|(tag, value)| labels.get(tag) == Some(value))
        }
        // What a conclusion speaks of besides (resource, probe, pool) is known when a run ends.
        Condition::Found(found) => {
            let of_run = |label: &str| labels.contains_key(label);
            of_run("profile") && of_run("target") && found.selector().iter().all(|(tag, value)| labels.get(tag) == Some(value))
        }
        Condition::Series(series) if matches!(series.metric.source, Source::Probe | Source::History) => {
            series.selector.iter().all(|(tag, value)| labels.get(tag) == Some(value))
        }
        Condition::Series(series) => about_run(&series.selector),
    }
}

/// One rule with one set of labels.
#[derive(Debug, Clone)]
pub(super) struct Group {
    /// What is stored.
    pub(super) instance: AlertInstance,
    /// Follows the series; `None` until the first measurement of a run, and after a restart.
    pub(super) evaluator: Option<Evaluator>,
    /// Seconds under load without a measurement since the last one.
    pub(super) silent_under_load: Duration,
    /// When a probe was last read, or when waiting for it began.
    pub(super) seen: Option<Timestamp>,
}

impl Group {
    /// An alert that has not been evaluated yet.
    pub(super) fn new(rule: &Rule, labels: &Labels) -> Self {
        let instance = AlertInstance {
            fingerprint: fingerprint(&rule.name, labels),
            rule: rule.name.clone(),
            labels: all_labels(rule, labels),
            state: AlertState::Inactive,
            since: Timestamp::default(),
            active_since: None,
            clear_since: None,
            last_data: None,
            value: None,
            shown: "no data".into(),
            incident: None,
            opened_at: None,
            told: Vec::new(),
            muted: None,
            acked: None,
            messages: 0,
            last_message: None,
            run: None,
        };
        Self::restored(instance)
    }

    /// An alert as it was stored.
    pub(super) fn restored(instance: AlertInstance) -> Self {
        Self { instance, evaluator: None, silent_under_load: Duration::ZERO, seen: None }
    }

    /// Takes what was measured at `at` (seconds on the series' axis) and says what it means.
    pub(super) fn measure(&mut self, series: &Series, rule: &Rule, at: f64, measured: &Aggregate) -> Input {
        let fresh = measured.value(series.aggregation);
        // Without a window a reading stands for itself, while figures of a run add up from its start.
        let actual = if series.window.is_none() && matches!(series.metric.source, Source::Probe | Source::History) {
            fresh
        } else {
            let evaluator = self.evaluator.get_or_insert_with(|| Evaluator::new(series.clone(), false));
            evaluator.push(at, Some(measured.clone())).actual
        };
        if let Some(actual) = actual {
            self.instance.value = Some(actual);
            self.instance.shown = series.show(actual);
        }
        match (actual, fresh) {
            (Some(actual), Some(_)) if series.bound.op.holds(actual, series.bound.value) => Input::Bad,
            (Some(actual), Some(_)) if rule.recover.is_some_and(|bound| !bound.op.holds(actual, bound.value)) => Input::Between,
            (Some(_), Some(_)) => Input::Good,
            (_, None) | (None, _) => Input::Quiet,
        }
    }

    /// Whether nothing has been measured for too long. Starts waiting at the first call.
    pub(super) fn is_missing(&mut self, rule: &Rule, now: Timestamp) -> bool {
        match &rule.when {
            // Verdicts and judgements come when runs end; a run that did not happen is not missing data.
            Condition::Verdict { .. } | Condition::Found(_) => false,
            Condition::Series(series) if series.metric.source == Source::History => false,
            Condition::Series(series) if is_run_bound(series) => {
                !rule.no_data_after.is_zero() && self.silent_under_load >= rule.no_data_after
            }
            Condition::Series(_) => {
                let seen = *self.seen.get_or_insert(now);
                !rule.no_data_after.is_zero() && now.since(seen) >= rule.no_data_after
            }
        }
    }

    /// For how long nothing has been measured.
    pub(super) fn silence(&self, rule: &Rule, now: Timestamp) -> Duration {
        match &rule.when {
            Condition::Series(series) if !is_run_bound(series) => self.seen.map_or(Duration::ZERO, |seen| now.since(seen)),
            Condition::Series(_) | Condition::Verdict { .. } | Condition::Found(_) => self.silent_under_load,
        }
    }

    /// Notes that something was measured.
    pub(super) fn heard(&mut self, now: Timestamp) {
        self.instance.last_data = Some(now);
        self.seen = Some(now);
        self.silent_under_load = Duration::ZERO;
    }

    /// True when the alert is about this target, and about this profile if about any.
    pub(super) fn is_about(&self, profile: &str, target: &str) -> bool {
        let labels = &self.instance.labels;
        labels.get("target").is_some_and(|found| found == target) && labels.get("profile").is_none_or(|found| found == profile)
    }
}

/// Labels as they are shown and routed: those of the group, the rule's own, `alertname` and `severity`.
pub(super) fn all_labels(rule: &Rule, group: &Labels) -> Labels {
    let mut labels = rule.labels.clone();
    labels.extend(group.clone());
    labels.insert("alertname".into(), rule.name.clone());
    labels.insert("severity".into(), rule.severity.as_str().into());
    labels
}

/// Labels that every alert of a rule has, and their values.
pub fn fixed_labels(rule: &Rule) -> Labels {
    let selector = match &rule.when {
        Condition::Series(series) => &series.selector,
        Condition::Verdict { selector, .. } => selector,
        Condition::Found(found) => found.selector(),
    };
    all_labels(rule, selector)
}

/// A run that is going on.
#[derive(Debug, Clone)]
pub(super) struct LiveRun {
    pub(super) id: RunId,
    pub(super) profile: String,
    pub(super) catalog: crate::model::catalog::Catalog,
    pub(super) second: u32,
}
