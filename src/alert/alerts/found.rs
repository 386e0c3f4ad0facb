//! Rules about what analysis concludes of a run: leaks, and a capacity that dropped. While a run goes on a conclusion may open an
//! incident; only the end of a run closes one, because only then everything was seen.

use super::super::RunContext;
use super::super::group::{run_labels, selects_run};
use super::super::machine::Input;
use super::Alerts;
use crate::alert::ITSELF;
use crate::model::Labels;
use crate::model::analysed::{Resource, Sureness, TrendFound, TrendVerdict};
use crate::model::run::{Run, RunId};
use crate::model::threshold::{Condition, Found, show_unit};
use crate::model::units::{Timestamp, format_percent, trim_decimal};

/// A run that is looked at.
struct Looked<'a> {
    id: Option<&'a RunId>,
    profile: &'a str,
    target: &'a str,
    /// It goes on.
    meanwhile: bool,
}

impl Alerts {
    /// Takes what analysis says of the resources of a run that goes on.
    pub fn observe_trends(&mut self, run: &RunContext<'_>, trends: &[TrendFound], now: Timestamp) {
        self.trends(&Looked { id: Some(run.id), profile: run.profile, target: run.target, meanwhile: true }, trends, now);
    }

    /// Takes what analysis says of the daemon's own process: heard by rules that select `target:plimsoll`, and by no others.
    pub fn observe_itself(&mut self, trends: &[TrendFound], now: Timestamp) {
        self.trends(&Looked { id: None, profile: ITSELF, target: ITSELF, meanwhile: false }, trends, now);
    }

    /// Judges what was concluded of a run that ended.
    pub(super) fn judge_found(&mut self, run: &Run, now: Timestamp) {
        let Some(summary) = &run.summary else { return };
        let looked = Looked { id: Some(&run.id), profile: &run.profile, target: &run.target, meanwhile: false };
        self.trends(&looked, &summary.analysed.trends, now);
        self.capacity(&looked, now);
    }

    fn trends(&mut self, run: &Looked<'_>, trends: &[TrendFound], now: Timestamp) {
        for rule in self.rules.values().cloned().collect::<Vec<_>>() {
            let Condition::Found(Found::Leak { selector, resource, sureness }) = &rule.when else { continue };
            if !selects_run(selector, run.profile, run.target) {
                continue;
            }
            if run.id.is_none() && !selector.contains_key("target") {
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
                self.step(&key, input, now, run.id);
            }
        }
    }

    fn capacity(&mut self, run: &Looked<'_>, now: Timestamp) {
        for rule in self.rules.values().cloned().collect::<Vec<_>>() {
            let Condition::Found(Found::CapacityDrop { selector, by }) = &rule.when else { continue };
            let Some((capacity, before, runs)) = run.id.and_then(|id| self.history.capacity(run.profile, id)) else { continue };
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
            self.step(&key, if drop > *by { Input::Bad } else { Input::Good }, now, run.id);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::properties::{policy, rule};
    use crate::model::alerting::AlertState;
    use crate::model::analysed::{Analysed, CapacityFound, Ranged};
    use crate::model::run::{Summary, Verdict};
    use crate::model::sample;

    fn trend(verdict: TrendVerdict, sureness: Option<Sureness>) -> TrendFound {
        TrendFound {
            resource: Resource::Memory,
            probe: Some("app".into()),
            labels: Labels::new(),
            verdict,
            sureness,
            per_hour: Ranged::new(25_165_824.0, 2e7, 3e7),
            limit: None,
            exhausted_in_s: None,
            detectable: None,
            detectable_per_hour: None,
            from_s: 0.0,
            to_s: 600.0,
            title: String::new(),
        }
    }

    /// A run that ended so many seconds after the first, with this conclusion.
    fn ended(number: u64, trends: Vec<TrendFound>, capacity: Option<f64>) -> Run {
        let capacity = capacity.map(|number| CapacityFound {
            scenario: "users".into(),
            unit: "VUs".into(),
            from_ramp: false,
            safe: None,
            unsafe_from: None,
            peak: None,
            peak_per_second: None,
            peak_reached: false,
            breaking: None,
            breaking_estimate: None,
            per_second: Ranged::new(number, number, number),
            bottlenecks: Vec::new(),
            levels: Vec::new(),
            table: Vec::new(),
        });
        let analysed = Analysed { trends, capacity, ..Analysed::default() };
        let summary = Some(Summary { analysed, ..Summary::default() });
        Run { id: RunId(format!("r{number}")), verdict: Some(Verdict::Pass), summary, ..sample::finished() }
    }

    /// Reasons of the changes that are told next.
    fn told(alerts: &mut Alerts, second: u64) -> Vec<String> {
        let at = Timestamp(0).plus(std::time::Duration::from_secs(second));
        alerts.judge(at).transitions.iter().map(|change| format!("{}: {}", change.to, change.reason)).collect()
    }

    #[test]
    fn a_leak_fires_while_the_run_goes_on_and_is_resolved_by_a_later_run() {
        let mut alerts = Alerts::new(vec![rule("leak(memory) at least likely")], Vec::new(), policy(3600));
        let run = sample::running();
        let context = RunContext::of(&run);
        alerts.observe_trends(&context, &[trend(TrendVerdict::NoLeak, Some(Sureness::Possible))], Timestamp(0));
        assert_eq!(told(&mut alerts, 1), Vec::<String>::new(), "only possible");
        alerts.observe_trends(&context, &[trend(TrendVerdict::Leak, Some(Sureness::Certain))], Timestamp(0));
        assert_eq!(told(&mut alerts, 2), ["firing: leak(memory) at least likely: certain, 24 MiB an hour"]);
        // Later in the run nothing is seen of it: only the end may say so; and data that do not answer say nothing.
        alerts.observe_trends(&context, &[trend(TrendVerdict::NoLeak, None)], Timestamp(0));
        alerts.run_ended(&ended(1, vec![trend(TrendVerdict::Unknown, None)], None), Timestamp(0));
        assert_eq!(told(&mut alerts, 3), Vec::<String>::new());
        alerts.run_ended(&ended(2, vec![trend(TrendVerdict::NoLeak, None)], None), Timestamp(0));
        assert_eq!(told(&mut alerts, 4), ["inactive: leak(memory) is no longer at least likely: none is seen"]);
    }

    #[test]
    fn a_leak_of_the_daemon_itself_is_heard_by_its_own_rule_only() {
        let own = "leak(any){target:plimsoll} at least likely";
        let leaks = [trend(TrendVerdict::Leak, Some(Sureness::Certain))];
        let mut alerts = Alerts::new(vec![rule(own)], Vec::new(), policy(3600));
        alerts.observe_itself(&leaks, Timestamp(0));
        assert_eq!(told(&mut alerts, 1), ["firing: leak(any) at least likely: certain, 24 MiB an hour"]);
        alerts.observe_itself(&[trend(TrendVerdict::Unknown, None)], Timestamp(0));
        assert_eq!(told(&mut alerts, 2), Vec::<String>::new());
        alerts.observe_itself(&[trend(TrendVerdict::NoLeak, None)], Timestamp(0));
        assert_eq!(told(&mut alerts, 3), ["inactive: leak(any) is no longer at least likely: none is seen"]);
        let mut others = Alerts::new(vec![rule("leak(any) at least likely")], Vec::new(), policy(3600));
        others.observe_itself(&leaks, Timestamp(0));
        assert_eq!(told(&mut others, 1), Vec::<String>::new());
    }

    #[test]
    fn leaks_are_selected_by_resource_and_place() {
        for (when, fires) in [
            ("leak(any) at least certain", true),
            ("leak(threads) at least possible", false),
            ("leak(memory){probe:app} at least likely", true),
            ("leak(memory){probe:other} at least likely", false),
            ("leak(memory){profile:other} at least likely", false),
        ] {
            let mut alerts = Alerts::new(vec![rule(when)], Vec::new(), policy(3600));
            alerts.run_ended(&ended(1, vec![trend(TrendVerdict::Leak, Some(Sureness::Certain))], None), Timestamp(0));
            assert_eq!(told(&mut alerts, 1).len(), usize::from(fires), "{when}");
            let stored = alerts.instances().filter(|alert| alert.state == AlertState::Firing).cloned().collect::<Vec<_>>();
            // Over a restart it goes on.
            let mut again = Alerts::new(vec![rule(when)], stored, policy(3600));
            assert_eq!(told(&mut again, 2), Vec::<String>::new(), "{when}");
        }
    }

    #[test]
    fn a_capacity_that_drops_is_told_against_the_runs_before() {
        let mut alerts = Alerts::new(vec![rule("capacity drop > 5%")], Vec::new(), policy(3600));
        let numbers = [Some(100.0), Some(102.0), None, Some(98.0), Some(97.0), Some(90.0), Some(99.0)];
        let mut said = Vec::new();
        for (number, capacity) in numbers.into_iter().enumerate() {
            alerts.run_ended(&ended(number as u64, Vec::new(), capacity), Timestamp(0));
            said.extend(told(&mut alerts, number as u64 + 1));
        }
        assert_eq!(
            said,
            [
                "firing: capacity drop > 5 %: 90 requests/s, 9.1 % below the median of the 4 runs before (99 requests/s)",
                "inactive: capacity is no longer drop > 5 %: 99 requests/s, 1 % above the median of the 5 runs before (98 requests/s)",
            ]
        );
        // Another load is no former run.
        let mut other = ended(9, Vec::new(), Some(10.0));
        other.digest = "another".into();
        alerts.run_ended(&other, Timestamp(0));
        assert_eq!(told(&mut alerts, 9), Vec::<String>::new());
    }
}
