//! Rules about what analysis concludes of a run: leaks, and a capacity that dropped. While a run goes on a conclusion may open an
//! incident; only the end of a run closes one, because only then everything was seen.

use super::super::RunContext;
use super::super::group::{run_labels, selects_run};
use super::super::machine::Input;
use super::Alerts;
use crate::model::Labels;
use crate::model::analysed::{Resource, Sureness, TrendFound, TrendVerdict};
use crate::model::run::{Run, RunId};
use crate::model::threshold::{Condition, Found, show_unit};
use crate::model::units::{Timestamp, format_percent, trim_decimal};

/// A run that is looked at.
struct Looked<'a> {
    id: &'a RunId,
    profile: &'a str,
    target: &'a str,
    /// It goes on.
    meanwhile: bool,
}

impl Alerts {
    /// Takes what analysis says of the resources of a run that goes on.
    pub fn observe_trends(&mut self, run: &RunContext<'_>, trends: &[TrendFound], now: Timestamp) {
        self.trends(&Looked { id: run.id, profile: run.profile, target: run.target, meanwhile: true }, trends, now);
    }

    /// Judges what was concluded of a run that ended.
    pub(super) fn judge_found(&mut self, run: &Run, now: Timestamp) {
        let Some(summary) = &run.summary else { return };
        let looked = Looked { id: &run.id, profile: &run.profile, target: &run.target, meanwhile: false };
        self.trends(&looked, &summary.analysed.trends, now);
        self.capacity(&looked, now);
    }

    fn trends(&mut self, run: &Looked<'_>, trends: &[TrendFound], now: Timestamp) {
        for rule in self.rules.values().cloned().collect::<Vec<_>>() {
            let Condition::Found(Found::Leak { selector, resource, sureness }) = &rule.when else { continue };
            if !selects_run(selector, run.profile, run.target) {
                continue;
            }
            for trend in trends.iter().filter(|trend| selects(selector, *resource, trend)) {
                let input = leak(trend, *sureness);
                if run.meanwhile && input != Input::Bad {
                    continue;
                }
                let mut labels = run_labels(selector, run.profile, run.target);
                labels.insert("resource".into(), trend.resource.as_str().into());
                labels.extend(trend.probe.clone().map(|probe| ("probe".to_owned(), probe)));
                labels.extend(trend.labels.clone());
                let Some(key) = self.group(&rule, &labels) else { continue };
                let Some(group) = self.groups.get_mut(&key) else { continue };
                group.instance.value = trend.per_hour.map(|per_hour| per_hour.value);
                group.instance.shown = shown(trend);
                self.step(&key, input, now, Some(run.id));
            }
        }
    }

    fn capacity(&mut self, run: &Looked<'_>, now: Timestamp) {
        for rule in self.rules.values().cloned().collect::<Vec<_>>() {
            let Condition::Found(Found::CapacityDrop { selector, by }) = &rule.when else { continue };
            let Some((capacity, before, runs)) = self.history.capacity(run.profile, run.id) else { continue };
            if !selects_run(selector, run.profile, run.target) {
                continue;
            }
            let Some(key) = self.group(&rule, &run_labels(selector, run.profile, run.target)) else { continue };
            let Some(group) = self.groups.get_mut(&key) else { continue };
            let drop = 1.0 - capacity / before;
            let [now_shown, before_shown] = [capacity, before].map(|number| trim_decimal(number, 1));
            let how = if drop >= 0.0 { format!("{} below", percent(drop)) } else { format!("{} above", percent(-drop)) };
            let of = if runs == 1 { "the run before".to_owned() } else { format!("the median of the {runs} runs before") };
            group.instance.value = Some(drop);
            group.instance.shown = format!("{now_shown} requests/s, {how} {of} ({before_shown} requests/s)");
            self.step(&key, if drop > *by { Input::Bad } else { Input::Good }, now, Some(run.id));
        }
    }
}

fn percent(share: f64) -> String {
    format_percent((share * 1000.0).round() / 1000.0)
}

fn selects(selector: &Labels, resource: Option<Resource>, trend: &TrendFound) -> bool {
    let is = |label: &str, found: Option<&String>| selector.get(label).is_none_or(|wanted| found == Some(wanted));
    resource.is_none_or(|wanted| wanted == trend.resource) && is("probe", trend.probe.as_ref()) && is("pool", trend.labels.get("pool"))
}

/// What a trend means for a rule that asks for at least this sureness. Data that do not answer leave the alert as it is.
fn leak(trend: &TrendFound, wanted: Sureness) -> Input {
    match trend.verdict {
        TrendVerdict::Unknown => Input::Quiet,
        TrendVerdict::Leak | TrendVerdict::Levelling | TrendVerdict::Step | TrendVerdict::Tiny | TrendVerdict::NoLeak => {
            if trend.sureness.is_some_and(|sureness| sureness >= wanted) { Input::Bad } else { Input::Good }
        }
    }
}

/// "certain, 24 MiB an hour".
fn shown(trend: &TrendFound) -> String {
    let sure = trend.sureness.map_or("none is seen", Sureness::as_str);
    let per_hour = trend.per_hour.filter(|_| trend.sureness.is_some()).map(|per_hour| match trend.resource {
        Resource::P95 => format!(", {} an hour", percent(per_hour.value)),
        Resource::Memory | Resource::Connections | Resource::Descriptors | Resource::Threads | Resource::Queue | Resource::Errors => {
            format!(", {} an hour", show_unit(trend.resource.unit(), per_hour.value))
        }
    });
    format!("{sure}{}", per_hour.unwrap_or_default())
}
