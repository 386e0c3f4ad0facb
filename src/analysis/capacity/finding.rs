//! The finding about a load line: one sentence with the three loads and what gives way first, the table that people make by hand, and the
//! figures behind both. What is an estimate is called one.

use super::{Bottleneck, Breaking, Criterion, Estimate, Kind, Level, LoadLine, METHOD, Outcome, What};
use crate::analysis::numbers::{Span, significant};
use crate::model::alerting::Severity;
use crate::model::finding::{Evidence, Finding};
use crate::model::run::RunId;
use crate::model::units::{Timestamp, format_percent, trim_decimal};

/// Load for which a size is advised, as a multiple of the peak.
const MORE: f64 = 1.5;

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What it shows.
    pub name: String,
    /// At the safe level.
    pub safe: String,
    /// At the peak.
    pub peak: String,
    /// Where it breaks, or what is estimated.
    pub breaking: String,
}

/// The table: load, response time, failures, and every resource, at the safe level, at the peak and where it breaks. `levels` are
/// those that the line was made from.
pub fn table(line: &LoadLine, levels: &[Level]) -> Vec<Row> {
    let at = |load: Option<f64>| levels.iter().find(|level| load.is_some_and(|load| (level.load - load).abs() <= 0.0));
    let broke = match &line.breaking {
        Some(Breaking::Measured { load, .. }) => Some(*load),
        Some(Breaking::Beyond { .. }) | None => None,
    };
    let columns = [at(line.safe.as_ref().map(|safe| safe.load)), at(line.peak.as_ref().map(|peak| peak.load)), at(broke)];
    let row = |name: &str, of: &dyn Fn(&Level) -> Option<String>| {
        let [safe, peak, breaking] = columns.map(|level| level.and_then(of).unwrap_or_else(|| "-".into()));
        Row { name: name.into(), safe, peak, breaking }
    };
    let mut loads = row(&line.unit, &|level| Some(number(level.load)));
    loads.breaking = breaking_load(line);
    if line.peak.as_ref().is_some_and(|peak| !peak.reached) {
        loads.peak.push_str(" (highest tested)");
    }
    let mut rows = vec![loads];
    rows.push(row("p95", &|level| level.p95_s.map(seconds)));
    rows.push(row("failed", &|level| (level.requests > 0).then(|| format_percent(level.failed_share()))));
    for (row, what) in rows.iter_mut().skip(1).zip([What::P95, What::Failed]) {
        if let Some(one) = beyond(line).iter().find(|one| one.what == what) {
            let limit = if what == What::P95 { seconds(one.limit) } else { percent(one.limit) };
            row.breaking = format!("{limit} at an estimated {} ({})", number(one.load), span_of(one.interval));
        }
    }
    for bottleneck in &line.bottlenecks {
        let of = |level: &Level| level.resource(&bottleneck.resource).map(|used| in_use(bottleneck, used.used));
        let mut row = row(&bottleneck.resource, &of);
        if let (Ok(demand), None) = (&bottleneck.demand, broke)
            && let (Some(load), Some(span)) = (demand.load, demand.load_interval)
        {
            row.breaking = format!("full at an estimated {} ({})", number(load), span_of(span));
        }
        rows.push(row);
    }
    rows
}

/// The finding `load_line` of a run; `None` when there was no level.
pub fn of_load_line(run: &RunId, at: Timestamp, line: &LoadLine, levels: &[Level]) -> Option<Finding> {
    let (peak, breaking) = (line.peak.as_ref()?, line.breaking.as_ref()?);
    let unit = &line.unit;
    let mut title = match &line.safe {
        Some(safe) => {
            let next = if safe.interval.high.is_finite() {
                format!(" (at {}: {})", number(safe.interval.high), list(&safe.missed))
            } else {
                " (nothing was missed at the highest level)".into()
            };
            format!("Safe up to {} {unit}{next}", number(safe.load))
        }
        None => format!("No level is safe ({})", line.levels.first().map_or_else(String::new, |level| list(&missed(&level.criteria)))),
    };
    let reached = if peak.reached { "" } else { ", the highest tested" };
    title.push_str(&format!("; most {} {unit}{reached} ({} requests/s)", number(peak.load), number(peak.throughput)));
    title.push_str(&match breaking {
        Breaking::Measured { interval, broken, .. } => {
            format!("; breaks between {} and {} ({}).", number(interval.low), number(interval.high), list(broken))
        }
        Breaking::Beyond { tested, estimates } => match estimates.first() {
            Some(first) => format!("; did not break up to {}; {}.", number(*tested), estimate(first)),
            None => format!("; did not break up to {}, and no estimate is possible beyond.", number(*tested)),
        },
    });
    if let Some(first) = line.bottlenecks.first() {
        title.push_str(&format!(" First to give way: {} ({} used).", first.resource, format_percent(whole(first.utilisation))));
    }
    let severity = if line.safe.is_some() { Severity::Low } else { Severity::Medium };
    let evidence = evidence(line, levels);
    Some(Finding { kind: "load_line".into(), run: run.clone(), severity, title, evidence, method: METHOD.into(), at })
}

fn evidence(line: &LoadLine, levels: &[Level]) -> Vec<Evidence> {
    let figure = |name: &str, value: String| Evidence { name: name.into(), value };
    let mut told: Vec<Evidence> = table(line, levels)
        .into_iter()
        .map(|row| figure(&row.name, format!("safe {}, peak {}, breaking {}", row.safe, row.peak, row.breaking)))
        .collect();
    for (rank, bottleneck) in line.bottlenecks.iter().enumerate() {
        let law = match &bottleneck.demand {
            Ok(demand) => {
                let grows = if demand.growth > 0.0 { ", demand grows with the load" } else { "" };
                let failures = if demand.failed > 0.01 { format!(", one with {} failures", percent(demand.failed)) } else { String::new() };
                let (capacity, span) = (number(demand.capacity), span_of(demand.interval));
                format!("capacity {capacity} requests/s (95 %: {span}) from {} levels{failures}{grows}", demand.levels)
            }
            Err(refused) => format!("no capacity, {refused}"),
        };
        told.push(figure(&format!("bottleneck {}", rank + 1), format!("{}: {law}", bottleneck.resource)));
    }
    told.extend(pool_advice(line).map(|advice| figure("size for one and a half times the peak", advice)));
    told.extend(beyond(line).iter().map(|one| figure("estimate beyond the test", estimate(one))));
    if let Some(safe) = line.safe.as_ref().filter(|safe| !safe.unsure.is_empty()) {
        let loads: Vec<String> = safe.unsure.iter().map(|load| number(*load)).collect();
        told.push(figure("too few requests to say", loads.join(", ")));
    }
    for level in &line.levels {
        if let Some(little) = level.little.filter(|little| !little.agrees()) {
            let off = format!("{} in flight, {} expected", number(little.inside), number(little.expected));
            told.push(figure(&format!("Little's law fails at {}", number(level.load)), format!("{off}: the figures cannot be right")));
        }
    }
    told
}

/// What the first bottleneck would have to be, when it is a pool, and where the gain ends.
fn pool_advice(line: &LoadLine) -> Option<String> {
    let first = line.first().filter(|first| first.kind == Kind::Servers)?;
    let (size, next) = line.pool_for(&first.resource, MORE * line.peak.as_ref()?.throughput, None)?;
    let ends = next.and_then(|next| Some((next, next.demand.as_ref().ok()?.capacity)));
    let ends = ends.map_or_else(String::new, |(next, capacity)| {
        format!("; the gain ends at {} requests/s, where {} is full", number(capacity), next.resource)
    });
    Some(format!(
        "{} of {} (now {}), {} of them busy{ends}",
        size.servers,
        first.resource,
        number(first.limit),
        percent(whole(size.utilisation))
    ))
}

fn beyond(line: &LoadLine) -> &[Estimate] {
    match &line.breaking {
        Some(Breaking::Beyond { estimates, .. }) => estimates,
        Some(Breaking::Measured { .. }) | None => &[],
    }
}

fn missed(criteria: &[Criterion]) -> Vec<Criterion> {
    criteria.iter().filter(|criterion| criterion.outcome != Outcome::Met).cloned().collect()
}

fn list(criteria: &[Criterion]) -> String {
    criteria.iter().map(shown).collect::<Vec<_>>().join(", ")
}

/// A criterion with its figure and limit: "p95 2.4s, limit 2s".
pub fn shown(criterion: &Criterion) -> String {
    let (measured, limit) = (criterion.measured, criterion.limit);
    match &criterion.what {
        What::Delivered => format!("{} of the offered load delivered, limit {}", percent(measured), percent(limit)),
        What::Steady => format!("p95 grew by {} within the level", percent(measured)),
        What::Waits => format!("waits grew to {} times within the level", trim_decimal(measured, 1)),
        What::P95 => format!("p95 {}, limit {}", seconds(measured), seconds(limit)),
        What::Failed => format!("{} failed, limit {}", percent(measured), percent(limit)),
        What::Utilisation(resource) => format!("{} of {resource} used, limit {}", percent(measured), percent(limit)),
        What::InUse(resource) => format!("{resource} {}, limit {}", amount(measured), amount(limit)),
        What::Retrograde => format!("throughput fell to {} of the peak", percent(measured)),
    }
}

fn estimate(estimate: &Estimate) -> String {
    let what = match &estimate.what {
        What::Utilisation(resource) => format!("{resource} would be full"),
        What::P95 => format!("p95 would reach {}", seconds(estimate.limit)),
        What::Failed => format!("{} would fail", percent(estimate.limit)),
        What::Delivered | What::Steady | What::Waits | What::InUse(_) | What::Retrograde => "it would give way".into(),
    };
    format!("{what} at an estimated {} ({}, not tested)", number(estimate.load), span_of(estimate.interval))
}

fn breaking_load(line: &LoadLine) -> String {
    match &line.breaking {
        Some(Breaking::Measured { interval, .. }) => format!("{} to {}", number(interval.low), number(interval.high)),
        Some(Breaking::Beyond { tested, estimates }) => match estimates.first() {
            Some(first) => format!("> {} (estimated {}, {})", number(*tested), number(first.load), span_of(first.interval)),
            None => format!("> {}", number(*tested)),
        },
        None => "-".into(),
    }
}

fn span_of(span: Span) -> String {
    if span.high.is_finite() { format!("{} to {}", number(span.low), number(span.high)) } else { format!("{} or more", number(span.low)) }
}

fn in_use(bottleneck: &Bottleneck, used: f64) -> String {
    let shown = match bottleneck.kind {
        Kind::Servers => trim_decimal(used, 2),
        Kind::Store => amount(used),
    };
    let limit = if bottleneck.kind == Kind::Servers { trim_decimal(bottleneck.limit, 2) } else { amount(bottleneck.limit) };
    format!("{shown} of {limit}")
}

/// Large amounts are bytes as far as anybody reads them.
fn amount(value: f64) -> String {
    if value.abs() >= 1e6 { crate::model::units::format_bytes(value) } else { trim_decimal(value, 2) }
}

fn seconds(value: f64) -> String {
    crate::model::threshold::show_unit(crate::model::threshold::Unit::Time, significant(value))
}

fn percent(share: f64) -> String {
    format_percent(share)
}

fn whole(share: f64) -> f64 {
    (share * 100.0).round() / 100.0
}

/// Three digits that count, and no decimals above a hundred.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => trim_decimal(value, 0),
        size if size >= 10.0 => trim_decimal(value, 1),
        _ => trim_decimal(value, 2),
    }
}
