//! Who is not told, and when: routes with their matchers and groups, maintenance windows, mute timings and inhibitions. Labels that no
//! alert can have are refused, and so are inhibitions that go in a circle.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Resolver;
use crate::alert::fixed_labels;
use crate::config::raw::alerts::{RawAlerts, RawInhibit, RawRoute, RawTiming, RawWindow};
use crate::engine::setup::Setup;
use crate::model::alerting::{Route, Rule};
use crate::model::muting::{Inhibit, Matcher, MuteWindow, WindowTime};
use crate::model::threshold::{Condition, Source, Unit, tags_of};
use crate::model::units::Timestamp;
use crate::registry::{Span, Spanned, suggest};

/// The inhibition that is on without being written.
pub(super) const TARGET_DOWN: &str = "target-down";
/// Least `group_interval`: below it a group is a flood again.
const FLOOR: Duration = Duration::from_secs(10);
const GROUP_WAIT: Duration = Duration::from_secs(30);
const GROUP_INTERVAL: Duration = Duration::from_secs(300);
/// Labels that alerts can have, whatever is measured.
const LABELS: [&str; 10] = ["alertname", "severity", "target", "probe", "pool", "profile", "schedule", "channel", "resource", "name"];

/// A target whose page cannot be read mutes what would be said of its pools and times: they follow from it.
pub(super) fn default_inhibition(rules: &[Rule]) -> impl Iterator<Item = Inhibit> {
    let follows = |rule: &&Rule| match &rule.when {
        Condition::Series(series) => {
            let timed = series.metric.unit == Unit::Time && series.metric.source == Source::Step;
            timed || series.metric.name.starts_with("pool_")
        }
        Condition::Verdict { .. } | Condition::Found(_) => false,
    };
    let target = Matcher::one_of("alertname", rules.iter().filter(follows).map(|rule| rule.name.as_str()));
    let source = rules.iter().any(|rule| rule.name == "probe-down");
    target.filter(|_| source).into_iter().map(|target| Inhibit {
        name: TARGET_DOWN.into(),
        source: vec![Matcher::equal("alertname", "probe-down")],
        target: vec![target],
        equal: vec!["target".into()],
    })
}

impl Resolver<'_> {
    /// Routes, windows, timings and inhibitions; the rules are there already.
    pub(super) fn muting(&mut self, raw: &RawAlerts, off: &[&str], setup: &mut Setup) {
        let labels = labels_of(&setup.rules, setup);
        setup.inhibit = default_inhibition(&setup.rules).filter(|inhibit| !off.contains(&inhibit.name.as_str())).collect();
        for (name, timing) in raw.mute_timings.iter() {
            self.check_name(name, "mute timing");
            setup.mute_timings.extend(self.timing(name, timing));
        }
        for (name, window) in raw.maintenance.iter() {
            self.check_name(name, "maintenance window");
            setup.maintenance.extend(self.window(name, window, &labels));
        }
        let timings: Vec<String> = raw.mute_timings.iter().map(|(name, _)| name.value.clone()).collect();
        setup.routes = raw.routes.iter().map(|route| self.route(route, &labels, &timings)).collect();
        let mut places = Vec::new();
        for (name, inhibit) in raw.inhibit.iter() {
            self.check_name(name, "inhibition");
            setup.inhibit.retain(|other| other.name != name.value);
            let inhibit = self.inhibit(name, inhibit, &labels);
            setup.inhibit.push(inhibit);
            places.push((name.value.clone(), name.span));
        }
        self.no_circle(setup, &places);
    }

    fn route(&mut self, raw: &RawRoute, labels: &BTreeSet<String>, timings: &[String]) -> Route {
        let declared = self.declared.channels.clone();
        for channel in &raw.send {
            self.known("unknown-channel", "channel", channel, &declared);
        }
        for timing in &raw.mute {
            self.known("unknown-window", "mute timing", timing, timings);
        }
        let (severities, equal) = raw.matching.as_ref().map(|found| (found.severities.clone(), found.labels.clone())).unwrap_or_default();
        for name in equal.iter().map(|(name, _)| name).chain(raw.group_by.iter().flatten()) {
            self.known_label(&name.value, name.span, labels);
        }
        let grouped = raw.group_by.is_some();
        if let Some(interval) = raw.group_interval.as_ref().filter(|interval| interval.value < FLOOR) {
            let message = "groups may not speak that often";
            self.mistake("out-of-range", interval.span, message, "write at least `10s`: what comes faster is a flood, not news");
        }
        if let Some(interval) = raw.group_interval.as_ref().filter(|_| !grouped) {
            self.mistake(
                "conflicting-keys",
                interval.span,
                "`group_interval` without `group_by` does nothing",
                "add `group_by: []`, or remove it",
            );
        }
        Route {
            severities,
            labels: equal.into_iter().map(|(name, value)| (name.value, value)).collect(),
            matchers: self.matchers(&raw.matchers, labels),
            send: raw.send.iter().map(|channel| channel.value.clone()).collect(),
            carry_on: raw.carry_on,
            group_by: raw.group_by.as_ref().map(|by| by.iter().map(|name| name.value.clone()).collect()),
            group_wait: raw.group_wait.unwrap_or(if grouped { GROUP_WAIT } else { Duration::ZERO }),
            group_interval: raw.group_interval.as_ref().map_or(GROUP_INTERVAL, |interval| interval.value),
            repeat_interval: raw.repeat_interval,
            mute: raw.mute.iter().map(|name| name.value.clone()).collect(),
        }
    }

    fn matchers(&mut self, raw: &[Spanned<String>], labels: &BTreeSet<String>) -> Vec<Matcher> {
        let mut matchers = Vec::new();
        for text in raw {
            match Matcher::parse(&text.value) {
                Ok(matcher) => {
                    self.known_label(matcher.label(), text.span, labels);
                    matchers.push(matcher);
                }
                Err(why) => self.mistake("bad-matcher", text.span, why, "write `label=value`, `!=`, `=~` or `!~`"),
            }
        }
        matchers
    }

    /// Reports a label that no alert can have: what looks for it would never fit.
    fn known_label(&mut self, label: &str, span: Span, labels: &BTreeSet<String>) {
        if !labels.contains(label) {
            let hint = suggest(label, labels.iter().map(String::as_str));
            self.mistake("unknown-label", span, format!("no alert has the label `{label}`"), hint);
        }
    }

    fn timing(&mut self, name: &Spanned<String>, raw: &RawTiming) -> Option<MuteWindow> {
        let time = self.recurring(&raw.cron, raw.timezone.as_ref(), &raw.duration)?;
        Some(MuteWindow { name: name.value.clone(), time, matchers: Vec::new(), pause_schedules: false })
    }

    fn recurring(
        &mut self,
        cron: &Spanned<String>,
        timezone: Option<&Spanned<String>>,
        duration: &Spanned<Duration>,
    ) -> Option<WindowTime> {
        let timezone = timezone.map_or(Some(chrono_tz::UTC), |zone| self.timezone(zone));
        let cron = self.cron(cron, timezone.unwrap_or(chrono_tz::UTC));
        if duration.value.is_zero() {
            self.mistake("out-of-range", duration.span, "a window of no length is never open", "write how long it lasts, such as `2h`");
            return None;
        }
        Some(WindowTime::Recurring { cron: cron?, timezone: timezone?, duration: duration.value })
    }

    fn window(&mut self, name: &Spanned<String>, raw: &RawWindow, labels: &BTreeSet<String>) -> Option<MuteWindow> {
        const HINT: &str = "write `cron` and `duration`, or `from` and `to`";
        let matchers = self.matchers(&raw.matching, labels);
        let time = match (&raw.cron, &raw.duration, &raw.from, &raw.to) {
            (Some(cron), Some(duration), None, None) => self.recurring(cron, raw.timezone.as_ref(), duration),
            (None, None, Some(from), Some(to)) => self.single(from, to),
            (Some(_), _, Some(other), _) | (Some(_), _, None, Some(other)) => {
                self.mistake("conflicting-keys", other.span, format!("`{}` comes again and again, and once", name.value), HINT);
                None
            }
            (_, _, _, _) => {
                self.mistake("missing-key", name.span, format!("it is not said when `{}` is", name.value), HINT);
                None
            }
        };
        Some(MuteWindow { name: name.value.clone(), time: time?, matchers, pause_schedules: raw.pause_schedules })
    }

    fn single(&mut self, from: &Spanned<String>, to: &Spanned<String>) -> Option<WindowTime> {
        let mut read = |text: &Spanned<String>| {
            let found = Timestamp::parse(&text.value);
            if found.is_none() {
                let message = format!("`{}` is not a time", text.value);
                self.mistake(
                    "bad-time",
                    text.span,
                    message,
                    "write it with its zone, as in `2026-11-21T02:00:00Z` or `2026-11-21T03:00:00+01:00`",
                );
            }
            found
        };
        let (begins, ends) = (read(from), read(to));
        let (begins, ends) = (begins?, ends?);
        if ends <= begins {
            self.mistake("out-of-range", to.span, "the window ends before it begins", format!("it begins at {begins}"));
            return None;
        }
        if let Some(now) = self.now.filter(|now| ends <= *now) {
            let message = format!("the window is over since {ends}: it silences nothing");
            self.mistake("window-over", to.span, message, format!("it is {now}: remove it, or write when it comes again"));
        }
        Some(WindowTime::Once { from: begins, to: ends })
    }

    fn inhibit(&mut self, name: &Spanned<String>, raw: &RawInhibit, labels: &BTreeSet<String>) -> Inhibit {
        for (what, list) in [("source", &raw.source), ("target", &raw.target)] {
            if list.is_empty() {
                let message = format!("`{what}` of inhibition `{}` is empty: it would be everything", name.value);
                self.mistake("missing-value", name.span, message, "write which alerts, such as `[\"alertname=probe-down\"]`");
            }
        }
        for label in &raw.equal {
            self.known_label(&label.value, label.span, labels);
        }
        Inhibit {
            name: name.value.clone(),
            source: self.matchers(&raw.source, labels),
            target: self.matchers(&raw.target, labels),
            equal: raw.equal.iter().map(|label| label.value.clone()).collect(),
        }
    }

    /// Rules whose alerts could mute each other in a circle: nobody would be sure to be told.
    fn no_circle(&mut self, setup: &Setup, places: &[(String, Span)]) {
        let rules = &setup.rules;
        let could = |matchers: &[Matcher], rule: &Rule| matchers.iter().all(|matcher| could_fit(matcher, rule));
        let mut edges: Vec<Edge<'_>> = Vec::new();
        for inhibit in &setup.inhibit {
            for (source, _) in rules.iter().enumerate().filter(|(_, rule)| could(&inhibit.source, rule)) {
                let targets = rules.iter().enumerate().filter(|(_, rule)| could(&inhibit.target, rule));
                edges.extend(targets.map(|(target, _)| (source, target, inhibit.name.as_str())));
            }
        }
        let Some((start, way)) = circle(rules.len(), &edges) else { return };
        let names: Vec<String> = way.iter().map(|(_, target, by)| format!("`{}` (by `{by}`)", rules[*target].name)).collect();
        let message = format!("inhibitions go in a circle: `{}` mutes {}", rules[start].name, names.join(", which mutes "));
        let span = places.iter().rev().find(|(name, _)| way.iter().any(|(_, _, by)| by == name)).map(|(_, span)| *span);
        self.mistake("inhibition-loop", span.unwrap_or_default(), message, "let `source` and `target` be alerts of different names");
    }
}

/// Whether alerts of a rule could fit: what is known of them beforehand does not speak against it.
fn could_fit(matcher: &Matcher, rule: &Rule) -> bool {
    let fixed = fixed_labels(rule);
    !fixed.contains_key(matcher.label()) || matcher.fits(&fixed)
}

/// One rule mutes another: their places, and the inhibition.
type Edge<'e> = (usize, usize, &'e str);

/// A circle among edges: where it begins, and its edges.
fn circle<'e>(nodes: usize, edges: &[Edge<'e>]) -> Option<(usize, Vec<Edge<'e>>)> {
    for start in 0..nodes {
        let mut ways: Vec<Vec<Edge<'_>>> = edges.iter().filter(|edge| edge.0 == start).map(|edge| vec![*edge]).collect();
        let mut seen = BTreeSet::new();
        // The shortest first: it is what people can follow.
        while !ways.is_empty() {
            let way = ways.remove(0);
            let end = way.last()?.1;
            if end == start {
                return Some((start, way));
            }
            if seen.insert(end) {
                ways.extend(edges.iter().filter(|edge| edge.0 == end).map(|edge| way.iter().copied().chain([*edge]).collect()));
            }
        }
    }
    None
}

/// Labels that alerts can have: those of all measurements, of the rules, and tags of scenarios.
fn labels_of(rules: &[Rule], setup: &Setup) -> BTreeSet<String> {
    let mut labels: BTreeSet<String> = LABELS.iter().map(|label| (*label).to_owned()).collect();
    for source in [Source::Step, Source::Scenario, Source::Group, Source::Probe, Source::History] {
        labels.extend(tags_of(source).iter().map(|tag| (*tag).to_owned()));
    }
    for rule in rules {
        labels.extend(fixed_labels(rule).into_keys());
    }
    let scenarios = setup.profiles.values().flat_map(|profile| &profile.scenarios);
    labels.extend(scenarios.flat_map(|scenario| scenario.tags.keys().cloned()));
    labels
}
