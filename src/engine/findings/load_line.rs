//! The load line of one run: what is asked of its levels, what `analysis::capacity` says of them, and that as a finding and as numbers for
//! the run's summary. Pure.

use super::asked::Asked;
use super::levels::{Ladder, ladder, resource_name};
use super::timeline::Timeline;
use super::tracks::Tracks;
use crate::analysis::capacity::finding::{Row, of_load_line, shown, table};
use crate::analysis::capacity::{Breaking, Criterion, Judged, Level, LoadLine, Outcome, Plan, load_line};
use crate::analysis::usl;
use crate::model::alerting::Severity;
use crate::model::analysed::{BottleneckFound, CapacityFound, CapacityRow, LevelFound, LevelOutcome, Ranged, Resource};
use crate::model::finding::{Evidence, Finding};
use crate::model::run::Run;
use crate::model::units::{Timestamp, trim_decimal};

/// What the levels of the run say; `None` when it did not climb.
pub(super) fn capacity(
    (run, at): (&Run, Timestamp),
    (timeline, tracks): (&Timeline, &Tracks),
    asked: &Asked,
) -> Option<(Finding, CapacityFound)> {
    let ladder = ladder(run, timeline, tracks, asked)?;
    let line = load_line(&ladder.levels, &plan(&ladder, tracks, asked));
    let mut finding = of_load_line(&run.id, at, &line, &ladder.levels)?;
    finding.evidence.extend(remarks(&ladder));
    Some((finding, found(&ladder, &line)))
}

/// What is asked of a safe level, and what counts as broken: by thresholds, gates and guards, else the defaults. The tightest bound is
/// that of a safe level; a critical one that is wider is where it is broken.
fn plan(ladder: &Ladder, tracks: &Tracks, asked: &Asked) -> Plan {
    let tightest = |bounds: &[(f64, Severity)]| bounds.iter().map(|(bound, _)| *bound).reduce(f64::min);
    let critical = |bounds: &[(f64, Severity)]| {
        let wide = bounds.iter().filter(|(bound, severity)| *severity == Severity::Critical && Some(*bound) > tightest(bounds));
        wide.map(|(bound, _)| *bound).reduce(f64::min)
    };
    let (p95, failed) = (asked.p95(), asked.failed());
    let standard = Plan::default();
    let safe_failed = tightest(&failed).unwrap_or(standard.failed);
    let most = tracks.resources().filter_map(|(key, resource, _, _)| {
        let wanted = matches!(resource, Resource::Connections | Resource::Memory | Resource::Descriptors);
        wanted.then(|| asked.limit_of(resource)).flatten().map(|most| (resource_name(tracks, key), most))
    });
    Plan {
        unit: ladder.unit.clone(),
        p95_s: tightest(&p95),
        failed: safe_failed,
        utilisation: asked.most("pool_utilization").unwrap_or(standard.utilisation),
        most: most.collect(),
        broken_failed: critical(&failed).unwrap_or(standard.broken_failed).max(safe_failed),
        broken_p95_s: critical(&p95),
    }
}

/// What is worth knowing besides.
fn remarks(ladder: &Ladder) -> Vec<Evidence> {
    let figure = |name: &str, value: String| Evidence { name: name.into(), value };
    let mut remarks = Vec::new();
    if ladder.from_ramp {
        let value = format!("{} pieces of a ramp of 30 s each: the load moved on within each", ladder.levels.len());
        remarks.push(figure("levels", value));
    }
    if ladder.unit == "VUs" {
        remarks.extend(scalability(&ladder.levels).map(|told| figure("scalability law, a description only", told)));
    }
    remarks
}

/// The Universal Scalability Law through the levels of a closed loop. It describes; it is not asked for what was not measured.
fn scalability(levels: &[Level]) -> Option<String> {
    let points: Vec<(f64, f64)> = levels.iter().map(|level| (level.load, level.throughput)).collect();
    let law = usl::fit(&points).ok()?;
    let digits = |value: f64| trim_decimal(value, 5);
    let turns = law
        .peak()
        .filter(|peak| peak.believable)
        .map_or_else(|| "where it would turn was not measured".to_owned(), |peak| format!("it turns at {} VUs", trim_decimal(peak.n, 0)));
    Some(format!(
        "contention {}, coherency {}, {} requests/s of one VU, R² {}; {turns}",
        digits(law.alpha.value),
        digits(law.beta.value),
        trim_decimal(law.gamma.value, 2),
        trim_decimal(law.r_squared, 3)
    ))
}

fn found(ladder: &Ladder, line: &LoadLine) -> CapacityFound {
    let (safe, peak) = (line.safe.as_ref(), line.peak.as_ref());
    let (breaking, estimate) = match &line.breaking {
        Some(Breaking::Measured { load, .. }) => (Some(*load), None),
        Some(Breaking::Beyond { estimates, .. }) => {
            let first = estimates.first();
            (None, first.and_then(|first| Ranged::new(first.load, first.interval.low, first.interval.high)))
        }
        None => (None, None),
    };
    let bottlenecks = line.bottlenecks.iter().map(|bottleneck| BottleneckFound {
        resource: bottleneck.resource.clone(),
        utilization: bottleneck.utilisation,
        per_second: bottleneck
            .demand
            .as_ref()
            .ok()
            .and_then(|demand| Ranged::new(demand.capacity, demand.interval.low, demand.interval.high)),
    });
    let bottlenecks: Vec<BottleneckFound> = bottlenecks.collect();
    CapacityFound {
        scenario: ladder.scenario.clone(),
        unit: line.unit.clone(),
        from_ramp: ladder.from_ramp,
        safe: safe.map(|safe| safe.load),
        unsafe_from: safe.map(|safe| safe.interval.high).filter(|high| high.is_finite()),
        peak: peak.map(|peak| peak.load),
        peak_per_second: peak.map(|peak| peak.throughput),
        peak_reached: peak.is_some_and(|peak| peak.reached),
        breaking,
        breaking_estimate: estimate,
        per_second: bottlenecks.iter().find_map(|bottleneck| bottleneck.per_second),
        bottlenecks,
        levels: line.levels.iter().filter_map(|judged| level(judged, &ladder.levels)).collect(),
        table: table(line, &ladder.levels).into_iter().map(row).collect(),
    }
}

fn row(Row { name, safe, peak, breaking }: Row) -> CapacityRow {
    CapacityRow { name, safe, peak, breaking }
}

fn level(judged: &Judged, levels: &[Level]) -> Option<LevelFound> {
    let level = levels.iter().find(|level| (level.load - judged.load).abs() <= 0.0)?;
    let of = |wanted: Outcome| -> Vec<String> {
        let told = |criterion: &Criterion| match criterion.outcome {
            Outcome::Unsure => format!("{} (too few requests to say)", shown(criterion)),
            Outcome::Met | Outcome::Missed => shown(criterion),
        };
        judged.criteria.iter().filter(|criterion| criterion.outcome == wanted).map(told).collect()
    };
    let (missed, unsure) = (of(Outcome::Missed), of(Outcome::Unsure));
    let outcome = if !judged.broken.is_empty() {
        LevelOutcome::Broken
    } else if !missed.is_empty() {
        LevelOutcome::Unsafe
    } else if !unsure.is_empty() {
        LevelOutcome::Unsure
    } else {
        LevelOutcome::Safe
    };
    let mut against: Vec<String> = judged.broken.iter().map(|criterion| format!("broken: {}", shown(criterion))).collect();
    against.extend(missed);
    against.extend(unsure);
    Some(LevelFound {
        load: level.load,
        seconds: level.seconds,
        per_second: level.throughput,
        p95_s: level.p95_s,
        failed: level.failed as f64 / level.requests.max(1) as f64,
        outcome,
        met: of(Outcome::Met),
        missed: against,
    })
}
