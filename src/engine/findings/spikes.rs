//! Spikes in the load of a run, found by its phases and by the load that they had, and what became of response times, failures and
//! throughput after each (`analysis::recovery`). Pure.

use super::timeline::{SLOT, Slot, Stretch, Timeline};
use crate::analysis::recovery::finding::of_recovery;
use crate::analysis::recovery::{Bad, Reading, Recovery, Rules, Spike, State, recovery};
use crate::model::analysed::{RecoveryFound, RecoveryState};
use crate::model::catalog::Catalog;
use crate::model::finding::{Evidence, Finding};
use crate::model::run::Run;
use crate::model::threshold::Unit;
use crate::model::units::Timestamp;

/// A spike has at least this many times the load of before.
const SPIKE: f64 = 1.5;
/// The load is back when it is at most this many times that of before, and gone below this share.
const BACK: f64 = 1.25;
const GONE: f64 = 0.5;
/// Shortest stretch of a load that counts as that of before, in seconds.
const BEFORE: u32 = 20;
/// Failures of so many of all requests more than before are still like before.
const FAILURES: f64 = 0.01;

/// What became of each figure after the first spike of the run; nothing when there was none.
pub(super) fn recoveries((run, at): (&Run, Timestamp), timeline: &Timeline) -> (Vec<Finding>, Vec<RecoveryFound>) {
    let Some(spike) = spike(&run.catalog, timeline) else { return Default::default() };
    let slots = timeline.all_slots();
    let failed = slots.iter().any(|slot| slot.failed > 0);
    let mut told = vec![one(run, at, &slots, spike, &P95)];
    if failed {
        told.push(one(run, at, &slots, spike, &FAILED));
    }
    told.push(one(run, at, &slots, spike, &THROUGHPUT));
    told.into_iter().unzip()
}

/// A figure that is followed.
struct Figure {
    name: &'static str,
    /// For people, at the beginning of a sentence.
    title: &'static str,
    unit: Unit,
    bad: Bad,
    absolute: f64,
    of: fn(&Slot) -> Option<f64>,
}

const P95: Figure =
    Figure { name: "p95", title: "p95 of the response time", unit: Unit::Time, bad: Bad::High, absolute: 0.0, of: |slot| slot.p95_s };
const FAILED: Figure = Figure {
    name: "failures",
    title: "The share of failed requests",
    unit: Unit::Ratio,
    bad: Bad::High,
    absolute: FAILURES,
    of: |slot| (slot.requests > 0).then(|| slot.failed as f64 / slot.requests as f64),
};
const THROUGHPUT: Figure = Figure {
    name: "throughput",
    title: "Throughput (successful requests a second)",
    unit: Unit::Count,
    bad: Bad::Low,
    absolute: 0.0,
    of: |slot| Some(slot.requests.saturating_sub(slot.failed) as f64 / f64::from(slot.seconds.max(1))),
};

fn one(run: &Run, at: Timestamp, slots: &[Slot], spike: Spike, figure: &Figure) -> (Finding, RecoveryFound) {
    let rules = Rules { tolerance_absolute: figure.absolute, ..Rules::default() };
    let reading =
        |slot: &Slot| Reading { at_s: f64::from(slot.at) + f64::from(SLOT) / 2.0, value: (figure.of)(slot), requests: Some(slot.requests) };
    let readings: Vec<Reading> = slots.iter().map(reading).collect();
    let found = recovery(&readings, spike, figure.bad, &rules);
    let mut finding = of_recovery(&run.id, at, figure.title, figure.unit, &found);
    let seconds = |value: f64| crate::model::units::trim_decimal(value, 0);
    finding.evidence.push(Evidence {
        name: "spike".into(),
        value: format!("seconds {} to {} of the run, by its phases", seconds(spike.from_s), seconds(spike.to_s)),
    });
    finding.evidence.extend(degradation(&readings, spike, figure));
    (finding, numbers(&found, spike, figure))
}

/// How much worse it was during the spike, also when nothing can be said of the time after it.
fn degradation(readings: &[Reading], spike: Spike, figure: &Figure) -> Option<Evidence> {
    let middle = |from: f64, to: f64| {
        let inside = readings.iter().filter(|reading| reading.at_s >= from && reading.at_s < to);
        let mut values: Vec<f64> = inside.filter_map(|reading| reading.value).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    };
    let (before, during) = (middle(0.0, spike.from_s)?, middle(spike.from_s, spike.to_s)?);
    let shown = |value: f64| match figure.unit {
        Unit::Time => format!("{} ms", crate::model::units::trim_decimal(value * 1000.0, 1)),
        Unit::Ratio => crate::model::units::format_percent((value * 1000.0).round() / 1000.0),
        Unit::Bytes | Unit::Count => crate::model::units::trim_decimal(value, 1),
    };
    let change =
        if before > 0.0 && figure.unit == Unit::Time { format!(" ({:+.0} %)", (during / before - 1.0) * 100.0) } else { String::new() };
    let value = format!("{} before, {} during the spike{change}", shown(before), shown(during));
    Some(Evidence { name: "median".into(), value })
}

fn numbers(found: &Recovery, spike: Spike, figure: &Figure) -> RecoveryFound {
    let (state, after_s) = match &found.state {
        State::Recovered { after_s } => (RecoveryState::Recovered, Some(*after_s)),
        State::StaysWorse { .. } => (RecoveryState::StaysWorse, None),
        State::Inconclusive(_) => (RecoveryState::Unknown, None),
    };
    RecoveryFound {
        what: figure.name.into(),
        state,
        after_s,
        worst: found.worst.filter(|worst| worst.is_finite()),
        spike_from_s: spike.from_s,
        spike_to_s: spike.to_s,
    }
}

/// The first spike: a steady load, then at least one and a half times as much in a stretch that is held or ramped, then no more than
/// before. The way up and the way down belong to it.
fn spike(catalog: &Catalog, timeline: &Timeline) -> Option<Spike> {
    let loads: Vec<(&Stretch, f64)> = timeline.stretches.iter().map(|stretch| (stretch, load(catalog, stretch))).collect();
    for (at, (before, base)) in loads.iter().enumerate() {
        if !before.steady || before.length() < BEFORE || *base <= 0.0 {
            continue;
        }
        let rest = &loads[at + 1..];
        let high = rest.iter().position(|(_, load)| *load >= SPIKE * base)?;
        // A load that was held in between is a level of a staircase, and the one before the spike is that.
        if rest[..high].iter().any(|(stretch, _)| stretch.steady && stretch.length() >= BEFORE) {
            continue;
        }
        let back = rest[high..].iter().find(|(stretch, load)| stretch.steady && *load <= BACK * base && *load >= GONE * base);
        let Some((back, _)) = back else {
            // It never came back to a load like that of before: where the load was no longer higher is the end of the spike.
            let end = rest[high..].iter().find(|(_, load)| *load <= BACK * base).map(|(stretch, _)| stretch.from);
            return end.filter(|_| is_short(before, rest)).map(|end| Spike { from_s: f64::from(before.to), to_s: f64::from(end) });
        };
        return Some(Spike { from_s: f64::from(before.to), to_s: f64::from(back.from) });
    }
    None
}

/// A load that is only higher once and then ends is a profile that climbs, not a spike: unless it comes down to about that of before.
fn is_short(before: &Stretch, rest: &[(&Stretch, f64)]) -> bool {
    let higher: u32 = rest.iter().filter(|(stretch, _)| stretch.steady).map(|(stretch, _)| stretch.length()).sum();
    higher <= 8 * before.length() && rest.last().is_some_and(|(last, _)| !last.steady)
}

/// The load of all scenarios together: VUs of closed ones, starts a second of open ones. Only compared with itself.
fn load(catalog: &Catalog, stretch: &Stretch) -> f64 {
    let seconds = f64::from(stretch.seconds.max(1));
    let each = stretch.scenarios.iter().filter_map(|(index, load)| Some((catalog.scenarios.get(usize::from(*index))?, load)));
    each.map(|(meta, load)| if meta.open { load.scheduled as f64 / seconds } else { load.vus(stretch.seconds) }).sum()
}
