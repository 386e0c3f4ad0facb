//! A user's own rules put to the test: series in, expected alerts out, as `promtool test rules` does it. The same code judges as in the
//! daemon, under a clock that the trial moves second by second. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Alerts, Policy, RunContext, group_labels};
use crate::model::Labels;
use crate::model::alerting::{AlertInstance, AlertState, Rule};
use crate::model::catalog::{Catalog, ScenarioMeta, StepMeta};
use crate::model::failure::Reason;
use crate::model::histogram::LatencyHistogram;
use crate::model::measure::{Interval, StepInterval};
use crate::model::muting::Matcher;
use crate::model::run::{Run, RunId, RunStatus, Trigger, Verdict};
use crate::model::series::Point;
use crate::model::threshold::{MetricKind, Source, find_metric};
use crate::model::units::{Timestamp, format_duration};

/// Requests of a second in which a share of them fails.
const REQUESTS: f64 = 1000.0;
/// Most values of one series.
const MOST_VALUES: usize = 100_000;

/// What a series has at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sample {
    /// A number, in base units.
    Number(f64),
    /// What a run came to.
    Verdict(Verdict),
}

/// A series that is put in.
#[derive(Debug, Clone, PartialEq)]
pub struct TrialSeries {
    /// Metric of the rules, or `verdict`.
    pub metric: String,
    /// Its labels.
    pub labels: Labels,
    /// Its values, one an interval; `None`: nothing was measured.
    pub values: Vec<Option<Sample>>,
}

/// Alerts that are expected at a moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Expectation {
    /// When, from the start.
    pub at: Duration,
    /// Of this rule.
    pub rule: String,
    /// State and labels of each alert that is not inactive; labels that are not named may have any value.
    pub alerts: Vec<(AlertState, Labels)>,
}

/// One test.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// What it shows.
    pub name: String,
    /// Time between two values.
    pub interval: Duration,
    /// What is put in.
    pub series: Vec<TrialSeries>,
    /// What is expected.
    pub expected: Vec<Expectation>,
}

/// Reads `pool_utilization{pool="main", target="shop"}`. `Err` says what is wrong.
pub fn parse_series(text: &str) -> Result<(String, Labels), String> {
    let (name, rest) = text.split_once('{').unwrap_or((text, "}"));
    let name = name.trim().to_owned();
    let inner = rest.trim().strip_suffix('}').ok_or_else(|| format!("the selector of `{text}` is not closed: add `}}`"))?;
    let mut labels = Labels::new();
    for part in inner.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let matcher = Matcher::parse(part)?;
        let value = matcher.only_value().ok_or_else(|| format!("`{part}`: a series has values, write `label=\"value\"`"))?;
        labels.insert(matcher.label().to_owned(), value.to_owned());
    }
    let known = name == "verdict" || find_metric(&name).is_some();
    if known { Ok((name, labels)) } else { Err(format!("there is no metric `{name}`")) }
}

/// Reads values in promtool's notation: `1 2 _ 0.5x3 1+0.1x4 5-1x4 _x5`, where `AxN` is A and N more, and `_` is nothing; of verdicts their
/// words. `Err` says what is wrong.
pub fn parse_values(text: &str) -> Result<Vec<Option<Sample>>, String> {
    let mut values = Vec::new();
    for word in text.split_whitespace() {
        let (head, times) = match word.rsplit_once('x') {
            Some((head, times)) => (head, times.parse::<usize>().map_err(|_| format!("`{word}`: `{times}` is not how often"))?),
            None => (word, 0),
        };
        if times > MOST_VALUES || values.len() > MOST_VALUES {
            return Err(format!("`{word}` makes more than {MOST_VALUES} values"));
        }
        if head == "_" {
            // As promtool has it: `_x5` is five.
            values.extend(std::iter::repeat_n(None, times.max(1)));
        } else if let Some(verdict) = Verdict::parse(head) {
            values.extend(std::iter::repeat_n(Some(Sample::Verdict(verdict)), times + 1));
        } else {
            let (start, step) =
                stepped(head).ok_or_else(|| format!("`{word}` is not a value: write `0.5`, `0.5x10`, `0.5+0.1x4` or `_`"))?;
            values.extend((0..=times).map(|number| Some(Sample::Number(start + step * number as f64))));
        }
    }
    Ok(values)
}

/// `0.5+0.1`: a start and a step.
fn stepped(text: &str) -> Option<(f64, f64)> {
    let sign = text.char_indices().skip(1).filter(|(at, c)| matches!(c, '+' | '-') && !text[..*at].ends_with(['e', 'E'])).last();
    match sign {
        None => Some((text.parse().ok()?, 0.0)),
        Some((at, _)) => Some((text[..at].parse().ok()?, text[at..].parse().ok()?)),
    }
}

/// Judges a trial by rules. Returns what is not as expected, for people; nothing when all is.
pub fn judge_trial(trial: &Trial, rules: &[Rule]) -> Vec<String> {
    let mut wrong = Vec::new();
    let start = Timestamp(1_700_000_000_000_000);
    let mut alerts = Alerts::new(rules.to_vec(), Vec::new(), Policy::default());
    let end = trial.expected.iter().map(|one| one.at).max().unwrap_or_default().as_secs();
    let mut runs = RunSeries::of(trial);
    runs.begin(&mut alerts, start);
    for second in 0..=end {
        let now = start.plus(Duration::from_secs(second));
        runs.second(&mut alerts, trial, second, now);
        feed(&mut alerts, trial, second, now);
        alerts.judge(now);
        for expected in trial.expected.iter().filter(|one| one.at.as_secs() == second) {
            wrong.extend(differs(expected, rules, alerts.instances()));
        }
    }
    wrong
}

/// The value of a series at a second; `None` when it has none then.
fn at(trial: &Trial, series: &TrialSeries, second: u64) -> Option<Sample> {
    let step = trial.interval.as_secs().max(1);
    series.values.get(usize::try_from(second / step).unwrap_or(usize::MAX)).copied().flatten()
}

/// Puts in what comes at single moments: readings, verdicts, judgements.
fn feed(alerts: &mut Alerts, trial: &Trial, second: u64, now: Timestamp) {
    if !second.is_multiple_of(trial.interval.as_secs().max(1)) {
        return;
    }
    for series in &trial.series {
        let target = series.labels.get("target").cloned().unwrap_or_default();
        let source = find_metric(&series.metric).map(|metric| metric.source);
        match (at(trial, series, second), source) {
            (Some(Sample::Verdict(verdict)), None) => alerts.run_ended(&run(series, second, Some(verdict), now), now),
            (Some(Sample::Number(value)), Some(source @ (Source::Probe | Source::History))) => {
                let mut point = Point::new(find_metric(&series.metric).map_or("", |metric| metric.name), value);
                point.labels.clone_from(&series.labels);
                if source == Source::Probe {
                    alerts.observe_points(&target, &[point], now);
                } else {
                    alerts.observe_judgement(&RunId(format!("run-{second}")), &target, &[point], now);
                }
            }
            (_, _) => {}
        }
    }
}

fn run(series: &TrialSeries, second: u64, verdict: Option<Verdict>, now: Timestamp) -> Run {
    let label = |name: &str| series.labels.get(name).cloned().unwrap_or_default();
    Run {
        id: RunId(format!("{}-{second}", label("profile"))),
        profile: label("profile"),
        target: label("target"),
        trigger: Trigger { by: "trial".into(), name: None },
        digest: String::new(),
        target_version: None,
        started_at: now,
        ended_at: Some(now),
        status: RunStatus::Finished,
        ended_by: None,
        verdict,
        reasons: Vec::new(),
        catalog: Catalog::default(),
        summary: None,
        thresholds: Vec::new(),
        controls: Vec::new(),
    }
}

/// Series of requests, by profile and target: each is a run that goes on from the start.
struct RunSeries<'t>(BTreeMap<(String, String), (Run, Vec<&'t TrialSeries>)>);

impl<'t> RunSeries<'t> {
    fn of(trial: &'t Trial) -> Self {
        let mut runs: BTreeMap<(String, String), (Run, Vec<&TrialSeries>)> = BTreeMap::new();
        for series in &trial.series {
            let Some(metric) = find_metric(&series.metric).filter(|metric| metric.source == Source::Step) else { continue };
            let label = |name: &str| series.labels.get(name).cloned().unwrap_or_default();
            let made = || (run(series, 0, None, Timestamp::default()), Vec::new());
            let (run, all) = runs.entry((label("profile"), label("target"))).or_insert_with(made);
            let named = |name: &str, otherwise: &str| series.labels.get(name).cloned().unwrap_or_else(|| otherwise.to_owned());
            let protocol = metric.protocols.first().copied().unwrap_or("http");
            run.catalog.scenarios = vec![ScenarioMeta {
                name: named("scenario", "users"),
                executor: "constant-vus".into(),
                open: false,
                tags: BTreeMap::new(),
                phases: Vec::new(),
                start: Duration::ZERO,
                duration: Duration::MAX,
            }];
            let step = StepMeta {
                scenario: 0,
                name: named("step", &format!("step {}", all.len())),
                protocol: protocol.into(),
                title: String::new(),
                checks: Vec::new(),
            };
            run.catalog.steps.push(step);
            all.push(series);
        }
        Self(runs)
    }

    fn begin(&self, alerts: &mut Alerts, now: Timestamp) {
        for (run, _) in self.0.values() {
            alerts.run_started(&RunContext::of(run), now);
        }
    }

    /// One second of every run; a value holds until the next.
    fn second(&mut self, alerts: &mut Alerts, trial: &Trial, second: u64, now: Timestamp) {
        for (run, all) in self.0.values() {
            let steps =
                all.iter().enumerate().map(|(index, series)| (index as u16, measured(series, at(trial, series, second), index as u16)));
            let interval = Interval { second: u32::try_from(second).unwrap_or(u32::MAX), steps: steps.collect(), ..Interval::default() };
            alerts.observe_interval(&RunContext::of(run), &interval, now);
        }
    }
}

/// One second of requests that has this value.
fn measured(series: &TrialSeries, value: Option<Sample>, step: u16) -> StepInterval {
    let mut made = StepInterval { step, ..StepInterval::default() };
    let Some(Sample::Number(value)) = value else { return made };
    match find_metric(&series.metric).map(|metric| metric.kind) {
        Some(MetricKind::Rate) => {
            let failed = (value.clamp(0.0, 1.0) * REQUESTS).round();
            made.ok = (REQUESTS - failed) as u64;
            if failed > 0.0 {
                made.failures.insert(Reason::Status(500), failed as u64);
            }
        }
        Some(MetricKind::Trend) => {
            let time_us = (value.max(0.0) * 1e6).round() as u64;
            let all = LatencyHistogram::from_us(std::iter::repeat_n(time_us, 100));
            made.ok = 100;
            (made.response_ok, made.service_ok, made.waiting) = (all.clone(), all.clone(), all);
        }
        Some(MetricKind::Counter | MetricKind::Gauge) | None => made.ok = value.max(0.0) as u64,
    }
    made
}

/// What is not as expected at one moment.
fn differs<'a>(expected: &Expectation, rules: &[Rule], all: impl Iterator<Item = &'a AlertInstance>) -> Option<String> {
    let at = format_duration(expected.at);
    if !rules.iter().any(|rule| rule.name == expected.rule) {
        let hint = crate::registry::suggest(&expected.rule, rules.iter().map(|rule| rule.name.as_str()));
        return Some(format!("at {at}: there is no rule `{}`: {hint}", expected.rule));
    }
    let found: Vec<&AlertInstance> = all.filter(|alert| alert.rule == expected.rule && alert.state != AlertState::Inactive).collect();
    let mut left = found.clone();
    let mut missing = Vec::new();
    for (state, labels) in &expected.alerts {
        let fits = |alert: &&AlertInstance| alert.state == *state && labels.iter().all(|(key, value)| alert.labels.get(key) == Some(value));
        match left.iter().position(fits) {
            Some(index) => drop(left.remove(index)),
            None => missing.push(format!("{state} {}", shown(labels))),
        }
    }
    if missing.is_empty() && left.is_empty() {
        return None;
    }
    let got: Vec<String> = found
        .iter()
        .map(|alert| format!("{} {} ({})", alert.state, shown(&group_labels(&alert.fingerprint, &alert.rule)), alert.shown))
        .collect();
    let expected_all: Vec<String> = expected.alerts.iter().map(|(state, labels)| format!("{state} {}", shown(labels))).collect();
    let list = |list: &[String]| if list.is_empty() { "nothing".to_owned() } else { list.join("\n              ") };
    Some(format!("at {at}, rule `{}`:\n    expected: {}\n    got:      {}", expected.rule, list(&expected_all), list(&got)))
}

fn shown(labels: &Labels) -> String {
    let pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{key}=\"{value}\"")).collect();
    format!("{{{}}}", pairs.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::properties::rule;

    fn numbers(text: &str) -> Vec<Option<f64>> {
        let number = |sample| if let Some(Sample::Number(value)) = sample { Some(value) } else { None };
        parse_values(text).unwrap().into_iter().map(number).collect()
    }

    #[test]
    fn values_are_read_as_promtool_does() {
        for (text, expected) in [
            ("1 2.5 _", vec![Some(1.0), Some(2.5), None]),
            ("1x2", vec![Some(1.0); 3]),
            ("1+2x2 _x2", vec![Some(1.0), Some(3.0), Some(5.0), None, None]),
            ("-2+4x1", vec![Some(-2.0), Some(2.0)]),
            ("5-2x2", vec![Some(5.0), Some(3.0), Some(1.0)]),
            ("1e-3x1", vec![Some(0.001); 2]),
            ("", vec![]),
        ] {
            assert_eq!(numbers(text), expected, "{text}");
        }
        assert_eq!(parse_values("failx1").unwrap(), [Some(Sample::Verdict(Verdict::Fail)); 2]);
        for text in ["soon", "1xx", "1x-2", "1x99999999"] {
            assert!(parse_values(text).is_err(), "{text}");
        }
        let (name, labels) = parse_series("pool_utilization{pool=\"main\", target=shop}").unwrap();
        assert_eq!((name.as_str(), labels.len(), labels["target"].as_str()), ("pool_utilization", 2, "shop"));
        for text in ["nonsense{a=b}", "pool_utilization{a=b", "pool_utilization{a!=b}"] {
            assert!(parse_series(text).is_err(), "{text}");
        }
    }

    fn trial(series: &str, values: &str, expected: &[(u64, &[(AlertState, &str)])]) -> Trial {
        let (metric, labels) = parse_series(series).unwrap();
        let labels_of = |text: &str| parse_series(&format!("verdict{{{text}}}")).unwrap().1;
        let expectation = |(at, alerts): &(u64, &[(AlertState, &str)])| Expectation {
            at: Duration::from_secs(*at),
            rule: "pool-nearly-full".into(),
            alerts: alerts.iter().map(|(state, labels)| (*state, labels_of(labels))).collect(),
        };
        Trial {
            name: "t".into(),
            interval: Duration::from_secs(5),
            series: vec![TrialSeries { metric, labels, values: parse_values(values).unwrap() }],
            expected: expected.iter().map(expectation).collect(),
        }
    }

    #[test]
    fn readings_verdicts_and_requests_are_judged() {
        use AlertState::{Firing, Pending};
        for (when, series, values, expected) in [
            (
                "pool_utilization: max > 80% for 10s",
                "pool_utilization{pool=main, target=shop}",
                "0.5x1 0.9x5 0.1x3",
                &[(9, &[][..]), (10, &[(Pending, "pool=main")][..]), (20, &[(Firing, "")][..]), (40, &[][..])][..],
            ),
            (
                "verdict != pass for 2 runs",
                "verdict{profile=soak, target=shop}",
                "fail invalid pass",
                &[(4, &[]), (5, &[(Firing, "profile=soak")]), (10, &[])],
            ),
            (
                "http_req_failed: rate > 1% over 5s",
                "http_req_failed{profile=soak, target=shop}",
                "0 0.05x2 0x3",
                &[(4, &[]), (6, &[(Firing, "")]), (25, &[])],
            ),
            (
                "http_req_duration: p(95) > 200ms over 5s",
                "http_req_duration{profile=soak, target=shop}",
                "0.1 0.3x2",
                &[(4, &[]), (11, &[(Firing, "")])],
            ),
            (
                "regression(p95) > 10%",
                "regression{of=total, metric=p95, profile=soak, target=shop}",
                "0 0.2",
                &[(4, &[]), (5, &[(Firing, "metric=p95")])],
            ),
        ] {
            let wrong = judge_trial(&trial(series, values, expected), &[rule(when)]);
            assert_eq!(wrong, Vec::<String>::new(), "{when}");
        }
    }

    #[test]
    fn what_is_not_as_expected_is_told_side_by_side() {
        let rules = [rule("pool_utilization: max > 80%")];
        let one = trial("pool_utilization{pool=main, target=shop}", "0.9x3", &[(5, &[(AlertState::Firing, "pool=side")])]);
        let said = "at 5s, rule `pool-nearly-full`:\n    expected: firing {pool=\"side\"}\n    got:      firing {pool=\"main\", target=\"shop\"} (90 %)";
        assert_eq!(judge_trial(&one, &rules), [said]);
        let mut unknown = one.clone();
        unknown.expected[0].rule = "pool-nearly-ful".into();
        assert_eq!(judge_trial(&unknown, &rules), ["at 5s: there is no rule `pool-nearly-ful`: did you mean `pool-nearly-full`?"]);
        let surprise = trial("pool_utilization{pool=main, target=shop}", "0.9x3", &[(5, &[])]);
        assert!(judge_trial(&surprise, &rules)[0].contains("expected: nothing"));
    }
}
