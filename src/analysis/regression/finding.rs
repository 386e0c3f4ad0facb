//! Findings about nights: the sentence that a person reads, with the figures it rests on and the doubt that is left. An incident is told
//! once, by its most significant metric; the others stand behind it.

use super::comparable::Night;
use super::deploy::{Marker, Suspected, suspected};
use super::incident::{Incident, Judged};
use super::{Change, METHOD, State};
use crate::analysis::numbers::{Span, significant};
use crate::model::alerting::Severity;
use crate::model::finding::{Evidence, Finding};
use crate::model::run::RunId;
use crate::model::threshold::show_unit;
use crate::model::units::{Timestamp, trim_decimal};

/// Relative worsening from which on a regression is grave.
const GRAVE: f64 = 0.25;
/// Nights after a change below which its size is preliminary.
const PRELIMINARY: usize = 7;

/// Where and when a finding is made: tonight's run, and the comparable nights that were judged.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// Tonight's run.
    pub run: &'a RunId,
    /// Now.
    pub at: Timestamp,
    /// The nights, oldest first; indices of changes are theirs.
    pub nights: &'a [Night],
    /// Number of runs that were left out.
    pub left_out: usize,
}

/// The finding of an incident that tonight confirmed: `regression`, or `improvement` when nothing got worse.
pub fn of_incident(context: &Context, judged: &[Judged], incident: &Incident, markers: &[Marker]) -> Option<Finding> {
    // A regression is told by a metric that got worse, even when another got better more clearly.
    let worst = incident.changes.iter().find(|(_, change)| change.worse);
    let (at, change) = worst.or(incident.changes.first())?;
    let metric = judged.get(*at)?;
    let deploys = suspected(change, context.nights, markers);
    let mut title = format!("{} {}", named(metric), moved(metric, change));
    title.push_str(&format!(" since {}", night(context, change)));
    title.push_str(&format!(", confirmed by {} nights against {}.", change.nights_after, change.before.nights));
    let others: Vec<String> = incident
        .changes
        .iter()
        .filter(|(other, _)| other != at)
        .filter_map(|(other, change)| Some(format!("{} {}", named(judged.get(*other)?), by(judged.get(*other)?, change))))
        .collect();
    if !others.is_empty() {
        title.push_str(&format!(" With it: {}.", others.join(", ")));
    }
    if let Some(deploy) = deploys.first() {
        title.push_str(&format!(" {} falls into that time.", capital(&deployed(deploy))));
    }
    let severity = match (change.worse, change.relative()) {
        (false, _) => Severity::Low,
        (true, Some(relative)) if relative.abs() < GRAVE => Severity::Medium,
        (true, _) => Severity::High,
    };
    let kind = if incident.is_regression() { "regression" } else { "improvement" };
    let evidence = evidence(context, metric, change, &deploys);
    Some(Finding {
        kind: kind.into(),
        run: context.run.clone(),
        severity,
        title: capital(&title),
        evidence,
        method: METHOD.into(),
        at: context.at,
    })
}

/// The finding that one night alone lies apart: `regression_suspected`. It is a reason to run again, not to tell people.
pub fn of_suspect(context: &Context, metric: &Judged) -> Option<Finding> {
    let State::Suspect { p_value, worse: true } = metric.judgement.state else { return None };
    let reference = metric.judgement.reference?;
    let unit = metric.metric.unit;
    let title = format!(
        "{} lies apart tonight: {} against {} over {} nights. One night is no regression; the profile should run again.",
        named(metric),
        show_unit(unit, significant(metric.judgement.tonight?)),
        show_unit(unit, significant(reference.median)),
        reference.nights,
    );
    let evidence = vec![
        figure("level before", &show_unit(unit, significant(reference.median))),
        figure("scatter between nights", &scatter(metric, reference.sd)),
        figure("p-value, one-sided", &probability(p_value)),
    ];
    let severity = Severity::Low;
    Some(Finding {
        kind: "regression_suspected".into(),
        run: context.run.clone(),
        severity,
        title: capital(&title),
        evidence,
        method: METHOD.into(),
        at: context.at,
    })
}

fn evidence(context: &Context, metric: &Judged, change: &Change, deploys: &[Suspected]) -> Vec<Evidence> {
    let unit = metric.metric.unit;
    let mut told = vec![
        figure("before", &format!("{} over {} nights", show_unit(unit, significant(change.before.median)), change.before.nights)),
        figure("after", &format!("{} over {} nights", show_unit(unit, significant(change.after)), change.nights_after)),
        figure("shift, 95 % interval", &span(metric, change)),
        figure("scatter between nights", &scatter(metric, change.before.sd)),
        figure("difference in standard deviations", &trim_decimal(change.effect(), 1)),
        figure("p-value, one-sided", &probability(change.p_value)),
    ];
    if let (Some(first), Some(last)) = (context.nights.get(change.likely.0), context.nights.get(change.likely.1)) {
        told.push(figure("first night of the new level", &format!("between {} and {}", first.run, last.run)));
    }
    told.extend(deploys.iter().map(|deploy| figure("deployed", &deployed(deploy))));
    if let Some(weekly) = &metric.judgement.weekday {
        told.push(figure("weekly pattern taken off", &format!("{} % of the variance", trim_decimal(weekly.share * 100.0, 0))));
    }
    if let Some(over) = metric.judgement.overdispersion {
        told.push(figure("variance between nights over chance", &format!("{} times", trim_decimal(over, 1))));
    }
    let near = |point: &crate::analysis::change_point::ChangePoint| point.index.abs_diff(change.index) <= 3;
    let agrees = if metric.judgement.retrospect.iter().any(near) { "yes" } else { "not yet" };
    told.push(figure("also seen in retrospect", agrees));
    if change.nights_after < PRELIMINARY {
        told.push(figure("doubt", &format!("the size rests on {} nights", change.nights_after)));
    }
    if context.left_out > 0 {
        told.push(figure("runs not compared", &context.left_out.to_string()));
    }
    told
}

fn figure(name: &str, value: &str) -> Evidence {
    Evidence { name: name.into(), value: value.into() }
}

fn named(metric: &Judged) -> String {
    metric.subject.as_ref().map_or_else(|| metric.metric.label.to_owned(), |subject| format!("{} of {subject}", metric.metric.label))
}

/// "rose from 200ms to 251ms (+25.4 %; 95 %: +22 % to +29 %)".
fn moved(metric: &Judged, change: &Change) -> String {
    let unit = metric.metric.unit;
    let way = if change.shift >= 0.0 { "rose" } else { "fell" };
    let (from, to) = (show_unit(unit, significant(change.before.median)), show_unit(unit, significant(change.after)));
    format!("{way} from {from} to {to} ({}; 95 %: {})", by(metric, change), span(metric, change))
}

/// The shift in percent of the level, or in its unit when the level is 0 or a share.
fn by(metric: &Judged, change: &Change) -> String {
    change.relative().filter(|_| !is_share(metric)).map_or_else(|| signed(metric, change.shift), percent)
}

fn span(metric: &Judged, change: &Change) -> String {
    let (shown, Span { low, high }): (&dyn Fn(f64) -> String, Span) = match change.relative_interval() {
        Some(span) if !is_share(metric) => (&percent, span),
        _ => (&|value| signed(metric, value), change.interval),
    };
    format!("{} to {}", shown(low), shown(high))
}

/// Percent of percent is misread.
fn is_share(metric: &Judged) -> bool {
    metric.metric.unit == crate::model::threshold::Unit::Ratio
}

fn percent(share: f64) -> String {
    format!("{}{} %", sign(share), trim_decimal((share * 100.0).abs(), 1))
}

fn signed(metric: &Judged, value: f64) -> String {
    let points = if is_share(metric) { " points" } else { "" };
    format!("{}{}{points}", sign(value), show_unit(metric.metric.unit, significant(value.abs())))
}

fn sign(value: f64) -> &'static str {
    if value < 0.0 { "-" } else { "+" }
}

fn scatter(metric: &Judged, sd: f64) -> String {
    format!("{} (standard deviation)", show_unit(metric.metric.unit, significant(sd)))
}

/// "the run R of 2026-11-14 or one of the nights around it".
fn night(context: &Context, change: &Change) -> String {
    let Some(night) = context.nights.get(change.index) else { return format!("night {}", change.index) };
    let around = if change.likely.0 == change.likely.1 { "" } else { " (or a night beside it)" };
    format!("the run {} of {}{around}", night.run, night.at.to_utc().format("%Y-%m-%d"))
}

fn deployed(deploy: &Suspected) -> String {
    let at = deploy.at.map_or_else(String::new, |at| format!(" at {}", at.to_utc().format("%Y-%m-%d %H:%M UTC")));
    let exact = if deploy.exact { "" } else { ", a night off" };
    format!("deploy `{}`{at}{exact}", deploy.version)
}

fn probability(p: f64) -> String {
    if p >= 0.001 { trim_decimal(p, 4) } else { format!("{p:.0e}") }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
