//! The finding about a recovery: how much worse it got, when it was back or that it is not, with the rule it was judged by.

use super::{METHOD, Recovery, State};
use crate::analysis::numbers::significant;
use crate::model::alerting::Severity;
use crate::model::finding::{Evidence, Finding};
use crate::model::run::RunId;
use crate::model::threshold::{Unit, show_unit};
use crate::model::units::{Timestamp, trim_decimal};

/// The finding `recovered`, `not_recovered` or `recovery_unknown` about one series called `what`.
pub fn of_recovery(run: &RunId, at: Timestamp, what: &str, unit: Unit, found: &Recovery) -> Finding {
    let shown = |value: f64| show_unit(unit, significant(value));
    let degraded = found.worst.map_or_else(String::new, |worst| {
        let percent = (worst - 1.0) * 100.0;
        let sign = if percent < 0.0 { "-" } else { "+" };
        format!(" At worst it was {} times the baseline ({sign}{} %).", trim_decimal(worst, 1), trim_decimal(percent.abs(), 0))
    });
    let (kind, severity, title) = match &found.state {
        State::Recovered { after_s } if *after_s <= 0.0 => {
            ("recovered", Severity::Low, format!("{what} was back as soon as the spike was over.{degraded}"))
        }
        State::Recovered { after_s } => {
            ("recovered", Severity::Low, format!("{what} was back {} after the spike.{degraded}", seconds(*after_s)))
        }
        State::StaysWorse { by, observed_s } => {
            let by = if found.baseline.abs() > 0.0 { format!("{} % ", trim_decimal(by * 100.0, 0)) } else { String::new() };
            let title =
                format!("{what} has not recovered: {} after the spike it is {by}worse than before.{degraded}", seconds(*observed_s));
            ("not_recovered", Severity::High, title)
        }
        State::Inconclusive(doubt) => {
            ("recovery_unknown", Severity::Medium, format!("Whether {what} recovered cannot be said: {doubt}.{degraded}"))
        }
    };
    let figure = |name: &str, value: String| Evidence { name: name.into(), value };
    let mut evidence = Vec::new();
    if found.baseline.abs() > 0.0 || found.back_at.abs() > 0.0 {
        evidence.push(figure(
            "before the spike",
            format!("{} (rolling median, standard deviation {})", shown(found.baseline), shown(found.scatter)),
        ));
        evidence.push(figure(
            "counts as back at",
            format!("{}; away again beyond {} for a minute", shown(found.back_at), shown(found.away_at)),
        ));
    }
    if let Some(seconds) = found.excess_s() {
        evidence.push(figure("excess", format!("{} s at the height of the baseline", trim_decimal(seconds, 0))));
    }
    if !found.relapses.is_empty() {
        let times: Vec<String> = found.relapses.iter().map(|relapse| seconds(*relapse)).collect();
        evidence.push(figure("relapses after the spike", times.join(", ")));
    }
    Finding { kind: kind.into(), run: run.clone(), severity, title, evidence, method: METHOD.into(), at }
}

fn seconds(value: f64) -> String {
    format!("{} s", trim_decimal(value, 0))
}
