//! The sentence behind every change of state: what was measured, against which limit, for how long. Read by people in the history,
//! on the page and in messages; kept by tests.

use std::time::Duration;

use super::machine::Why;
use crate::model::alerting::{AlertInstance, Rule};
use crate::model::run::Verdict;
use crate::model::threshold::{Bound, Condition, Series};
use crate::model::units::format_duration;

/// Why the alert changed. `silence`: how long nothing was measured.
pub(super) fn sentence(alert: &AlertInstance, rule: Option<&Rule>, why: Why, silence: Duration) -> String {
    let Some(rule) = rule.filter(|_| why != Why::Gone) else {
        return "the rule, or what it watched, is no longer configured".into();
    };
    match why {
        Why::Holds(held) => format!("{}{}", holds(alert, rule), for_so_long(held)),
        Why::Ended(clear) => format!("{}{}", ended(alert, rule), for_so_long(clear)),
        Why::NoData => format!("{}: nothing was measured for {}", subject(rule), plain_time(silence)),
        Why::NoDataIsFine => {
            format!("{}: nothing was measured for {}, which this rule counts as fine", subject(rule), plain_time(silence))
        }
        Why::BackAndBad => format!("there is data again: {}", holds(alert, rule)),
        Why::BackAndFine => format!("there is data again: {} {}", subject(rule), alert.shown),
        Why::RunBroke(held) => {
            let asked = format_duration(super::machine::hold(rule));
            format!("{} when a run began or ended, after {} of the {asked} asked for", holds(alert, rule), plain_time(held))
        }
        Why::Gone => String::new(),
    }
}

/// The limit of a rule as a sentence part: "> 80 % over 30s for 1m, until < 70 %".
pub(super) fn limit(rule: &Rule) -> String {
    let mut text = match &rule.when {
        Condition::Series(series) => {
            let over = series.window.map(|window| format!(" over {}", format_duration(window))).unwrap_or_default();
            let hold = series.hold.map(|hold| format!(" for {}", format_duration(hold))).unwrap_or_default();
            format!("{}{over}{hold}", bound(series, series.bound))
        }
        Condition::Verdict { equal, verdict, runs, .. } => {
            let runs = if *runs == 1 { "1 run".to_owned() } else { format!("{runs} runs") };
            format!("{} for {runs}", compared(*equal, *verdict))
        }
        Condition::Found(found) => found.limit(),
    };
    if let (Condition::Series(series), Some(recover)) = (&rule.when, rule.recover) {
        text.push_str(&format!(", until {}", bound(series, recover)));
    }
    text
}

/// What the rule measures: "pool_utilization max".
fn subject(rule: &Rule) -> String {
    match &rule.when {
        Condition::Series(series) => format!("{} {}", series.metric.name, series.aggregation.text()),
        Condition::Verdict { .. } => "verdict".into(),
        Condition::Found(found) => found.subject(),
    }
}

fn bound(series: &Series, bound: Bound) -> String {
    format!("{} {}", bound.op.as_str(), series.show(bound.value))
}

fn compared(equal: bool, verdict: Verdict) -> String {
    format!("{} {verdict}", if equal { "==" } else { "!=" })
}

/// The condition holds: "pool_utilization max 100 % > 80 %".
fn holds(alert: &AlertInstance, rule: &Rule) -> String {
    match &rule.when {
        Condition::Series(series) => match rule.recover.filter(|_| !bad_now(alert, series)) {
            Some(recover) => format!("{} {} is not yet {}", subject(rule), alert.shown, bound(series, recover)),
            None => format!("{} {} {}", subject(rule), alert.shown, bound(series, series.bound)),
        },
        Condition::Verdict { equal, verdict, .. } => format!("verdict {}: {}", compared(*equal, *verdict), alert.shown),
        Condition::Found(found) => format!("{} {}: {}", found.subject(), found.limit(), alert.shown),
    }
}

/// It no longer holds: "pool_utilization max 35 % is no longer > 80 %", "… 65 % < 70 %".
fn ended(alert: &AlertInstance, rule: &Rule) -> String {
    match (&rule.when, rule.recover) {
        (Condition::Series(series), Some(recover)) if alert.value.is_some_and(|value| recover.op.holds(value, recover.value)) => {
            format!("{} {} {}", subject(rule), alert.shown, bound(series, recover))
        }
        (Condition::Series(series), _) => format!("{} {} is no longer {}", subject(rule), alert.shown, bound(series, series.bound)),
        (Condition::Verdict { equal, verdict, .. }, _) => {
            format!("verdict is no longer {}: {}", compared(*equal, *verdict), alert.shown)
        }
        (Condition::Found(found), _) => format!("{} is no longer {}: {}", found.subject(), found.limit(), alert.shown),
    }
}

fn bad_now(alert: &AlertInstance, series: &Series) -> bool {
    alert.value.is_some_and(|value| series.bound.op.holds(value, series.bound.value))
}

fn for_so_long(time: Duration) -> String {
    if time.as_secs() == 0 { String::new() } else { format!(" for {}", plain_time(time)) }
}

/// A length of time in whole seconds: readings are seconds apart, fractions would be noise.
pub(super) fn plain_time(time: Duration) -> String {
    format_duration(Duration::from_secs(time.as_secs()))
}
