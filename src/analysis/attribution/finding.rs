//! What is concluded of a burst, as a sentence with its figures: "From second 5 to 41 pool `main` was full (100 of 100, 61 waiting). 96 % of
//! all failures fall into these seconds; their message is 'sorry, too many clients already'." Or that no resource explains it.

use super::{Attribution, Cause, Harm, METHOD, Why};
use crate::model::alerting::Severity;
use crate::model::finding::{Evidence, Finding};
use crate::model::run::RunId;
use crate::model::threshold::{Unit, show_unit};
use crate::model::units::{Timestamp, format_percent, trim_decimal};

/// Chance below which an overlap is called certain.
const CERTAIN: f64 = 0.02;

/// What else is known of it.
#[derive(Debug, Clone, Default)]
pub struct Beside {
    /// What the server said most often of the failures, in its words, and the share of the failures that say it.
    pub said: Option<(String, f64)>,
    /// The size that the resource would need: a sentence for the title, and its figures.
    pub need: Option<(String, Vec<Evidence>)>,
}

/// The finding about an attribution: `pool_exhausted` when the cause is a pool, of failures and of slowness alike; else `failures_caused`
/// or `slowdown_caused`; `failures_unexplained` or `slowdown_unexplained` without a cause.
pub fn of_attribution(run: &RunId, at: Timestamp, found: &Attribution, is_pool: bool, beside: &Beside) -> Finding {
    let kind = match (found.harm, &found.cause) {
        (_, Some(_)) if is_pool => "pool_exhausted",
        (Harm::Failures, Some(_)) => "failures_caused",
        (Harm::Failures, None) => "failures_unexplained",
        (Harm::Slowness, Some(_)) => "slowdown_caused",
        (Harm::Slowness, None) => "slowdown_unexplained",
    };
    let severity = match (found.harm, &found.cause) {
        (Harm::Failures, Some(_)) => Severity::High,
        (Harm::Failures, None) | (Harm::Slowness, Some(_)) => Severity::Medium,
        (Harm::Slowness, None) => Severity::Low,
    };
    let mut title = match &found.cause {
        Some(cause) => caused(found, cause, beside),
        None => unexplained(found, beside),
    };
    if let Some((need, _)) = beside.need.as_ref().filter(|_| found.cause.is_some()) {
        title.push_str(&format!(" {need}"));
    }
    let mut evidence = found.cause.as_ref().map(|cause| figures(found, cause)).unwrap_or_default();
    if let Some((_, figures)) = beside.need.as_ref().filter(|_| found.cause.is_some()) {
        evidence.extend(figures.iter().cloned());
    }
    evidence.extend(found.others.iter().map(|(name, why)| figure(&format!("not {name}"), told(*why, found.harm))));
    Finding { kind: kind.into(), run: run.clone(), severity, title, evidence, method: METHOD.into(), at }
}

/// What a cause of failures did to the response times besides, as a figure beside them: slowness with the same cause is not told twice.
pub fn slowness_beside(found: &Attribution, cause: &Cause) -> Evidence {
    let share = format_percent((found.of_all * cause.share * 100.0).round() / 100.0);
    let span =
        if found.from == found.to { format!("in second {}", found.from) } else { format!("from second {} to {}", found.from, found.to) };
    figure(
        "responses",
        format!("slow in {} seconds {span}{}; {share} of all slow seconds are those in which it was full", found.seconds, times(found)),
    )
}

fn figure(name: &str, value: String) -> Evidence {
    Evidence { name: name.into(), value }
}

/// "From second 5 to 41" or "In second 5".
fn span(from: u32, to: u32) -> String {
    if from == to { format!("In second {from}") } else { format!("From second {from} to {to}") }
}

fn caused(found: &Attribution, cause: &Cause, beside: &Beside) -> String {
    let mut title = format!("{} {} was full{}.", span(cause.from, cause.to), cause.name, size(cause));
    let these = if cause.from == cause.to { "this second" } else { "these seconds" };
    match found.harm {
        Harm::Failures => {
            // The share of all failures, not of those that were looked at.
            let share = format_percent((found.of_all * cause.share * 100.0).round() / 100.0);
            title.push_str(&format!(" {share} of all failures fall into {these}{}.", said(beside)));
        }
        Harm::Slowness => {
            let share = format_percent((found.of_all * cause.share * 100.0).round() / 100.0);
            title.push_str(&format!(" {share} of all slow seconds are among them{}.", times(found)));
        }
    }
    if !cause.alike.is_empty() {
        title.push_str(&format!(" In about the same seconds {} was full too: the two cannot be told apart.", cause.alike.join(", ")));
    }
    title
}

fn unexplained(found: &Attribution, beside: &Beside) -> String {
    let span = span(found.from, found.to).to_lowercase();
    let mut title = match found.harm {
        Harm::Failures => format!("{} requests failed {span}{}.", trim_decimal(found.amount, 0), said(beside)),
        Harm::Slowness => format!("Responses were slow in {} seconds {span}{}.", found.seconds, times(found)),
    };
    title.push_str(" No resource that was read explains this.");
    title
}

/// " (100 of 100, 61 waiting)".
fn size(cause: &Cause) -> String {
    let number = |value: f64| trim_decimal(value, if value.fract().abs() > 1e-9 && value < 10.0 { 2 } else { 0 });
    let of = match (cause.used, cause.limit) {
        (Some(used), Some(limit)) => Some(format!("{} of {}", number(used), number(limit))),
        (Some(used), None) => Some(number(used)),
        (None, Some(limit)) => Some(format!("limit {}", number(limit))),
        (None, None) => None,
    };
    let waiting = cause.waiting.filter(|waiting| *waiting > 0.0).map(|waiting| format!("{} waiting", number(waiting)));
    let parts: Vec<String> = of.into_iter().chain(waiting).collect();
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
}

/// "; their message is 'sorry, too many clients already'".
fn said(beside: &Beside) -> String {
    match &beside.said {
        Some((said, share)) if *share >= 0.95 => format!("; their message is '{said}'"),
        Some((said, share)) => format!("; {} of them say '{said}'", format_percent((share * 100.0).round() / 100.0)),
        None => String::new(),
    }
}

/// " (p95 up to 1.2s, 80ms before)".
fn times(found: &Attribution) -> String {
    let shown = |seconds: f64| show_unit(Unit::Time, crate::analysis::numbers::significant(seconds));
    found.p95_s.map_or_else(String::new, |(worst, usual)| format!(" (p95 up to {}, else {})", shown(worst), shown(usual)))
}

fn figures(found: &Attribution, cause: &Cause) -> Vec<Evidence> {
    let harm = match found.harm {
        Harm::Failures => "failures",
        Harm::Slowness => "slow seconds",
    };
    let mut told = vec![
        figure(&format!("{harm} in full seconds"), format_percent(cause.share)),
        figure("time full", format!("{} of the run, {} of {} readings around it", format_percent(cause.time), cause.seconds, cause.read)),
        figure("came first", came_first(cause.lead_s, found.harm)),
    ];
    told.push(match cause.contrast {
        Some(contrast) => figure("at equal load", compared(&contrast, found.harm)),
        None => figure("at equal load", "no such seconds without it: the load alone cannot be ruled out".into()),
    });
    let sure = match (cause.contrast.is_some(), cause.p < CERTAIN) {
        (true, true) => "certain",
        (true, false) | (false, true) => "likely",
        (false, false) => "possible",
    };
    told.push(figure("sureness", format!("{sure} (by chance in at most {} of all cases)", format_percent(cause.p))));
    told
}

fn came_first(lead_s: i64, harm: Harm) -> String {
    let harm = match harm {
        Harm::Failures => "failures",
        Harm::Slowness => "slowness",
    };
    match lead_s {
        0 => format!("full in the second in which the {harm} began"),
        lead if lead > 0 => format!("full {lead} s before the {harm} began"),
        lead => format!("read as full {} s after the {harm} began: within the accuracy of readings", -lead),
    }
}

fn compared(contrast: &super::Contrast, harm: Harm) -> String {
    let what = match harm {
        Harm::Failures => "of requests failed",
        Harm::Slowness => "of seconds were slow",
    };
    let [with, without] = [contrast.with, contrast.without].map(|share| format_percent((share * 1000.0).round() / 1000.0));
    format!("{with} {what} while it was full, {without} while it was not ({} s compared)", contrast.seconds)
}

/// Why a resource is not the cause, in words.
fn told(why: Why, harm: Harm) -> String {
    let percent = |share: f64| format_percent((share * 100.0).round() / 100.0);
    let harm_word = match harm {
        Harm::Failures => "failures",
        Harm::Slowness => "slow seconds",
    };
    match why {
        Why::Never => "never full".into(),
        Why::Unread => "could not be read in those seconds".into(),
        Why::Covers(share) => format!("full in only {} of the {harm_word}", percent(share)),
        Why::Always(share) => format!("full in {} of the seconds without harm, too", percent(share)),
        Why::Throughout => "full whenever it was read: there is nothing to compare with".into(),
        Why::Later(seconds) => format!("full only {seconds} s after it began: a consequence, not the cause"),
        Why::SameWithout(contrast) => format!("not full, at equal load, it is as bad: {}", compared(&contrast, harm)),
        Why::Less => "explains it less well".into(),
    }
}
