//! Nights: 60 of them around a level of 100 with a standard deviation of 3, in six kinds, judged again every night as it is done in earnest,
//! so that false alarms add up. In half of the histories the level rises at night 30.

use std::io;

use plimsoll::analysis::change_point::{OtavaSettings, otava};
use plimsoll::analysis::regression::{History, Rules, State, judge, metric};
use rand::RngExt;
use rand_distr::{Distribution, StudentT};

use crate::goal::{Goals, dice, line, noise};

const NIGHTS: usize = 60;
const CHANGE: usize = 30;
const LEVEL: f64 = 100.0;
const SD: f64 = 3.0;
/// White noise, AR(1) of 0.3, 4 % one-night outliers, both, slower weekends, Student's t with 4 degrees of freedom.
const KINDS: [&str; 6] = ["white", "ar", "out", "ar+out", "week", "t4"];

/// What a detector says after a night: the first nights of the rises that it sees now, and whether it raises an alarm tonight.
type Detector = fn(&[f64]) -> (Vec<usize>, bool);

fn history(kind: &str, run: u64, sds: f64) -> Vec<f64> {
    let mut dice = dice(kind, run.wrapping_mul(31).wrapping_add((sds * 10.0) as u64));
    let phi = if kind.contains("ar") { 0.3 } else { 0.0 };
    let mut values = noise(&mut dice, NIGHTS, phi);
    if kind == "t4"
        && let Ok(heavy) = StudentT::new(4.0)
    {
        values = (0..NIGHTS).map(|_| heavy.sample(&mut dice) / 2.0_f64.sqrt()).collect();
    }
    for (night, value) in values.iter_mut().enumerate() {
        *value = LEVEL + SD * *value;
        if kind.contains("out") && dice.random::<f64>() < 0.04 {
            *value += 15.0 + 25.0 * dice.random::<f64>();
        }
        if kind == "week" && night % 7 >= 5 {
            *value += 4.0;
        }
        if night >= CHANGE {
            *value += sds * SD;
        }
    }
    values
}

fn plimsoll(values: &[f64]) -> (Vec<usize>, bool) {
    let days: Vec<u8> = (0..values.len()).map(|night| (night % 7) as u8).collect();
    let judged = judge(&History { values, days: &days, borders: &[] }, &metric::METRICS[1], &Rules::default());
    let rises = judged.changes.iter().filter(|change| change.worse).map(|change| change.index).collect();
    (rises, judged.state == State::Confirmed { worse: true })
}

/// Otava alarms when its last rise is one that it has not told of; here, when yesterday's history did not have it.
fn otava_default(values: &[f64]) -> (Vec<usize>, bool) {
    let rises = |values: &[f64]| -> Vec<usize> {
        let found = otava(values, &OtavaSettings::default()).points;
        found.iter().filter(|point| point.mean_after > point.mean_before).map(|point| point.index).collect()
    };
    let (now, before) = (rises(values), rises(&values[..values.len() - 1]));
    let fresh = now.last().is_some_and(|last| !before.iter().any(|old| old.abs_diff(*last) <= 2));
    (now, fresh)
}

fn ten_percent(values: &[f64]) -> (Vec<usize>, bool) {
    let last = values.len() - 1;
    let alarm = last > 0 && values[last] > 1.1 * values[last - 1];
    (if alarm { vec![last] } else { Vec::new() }, alarm)
}

const DETECTORS: [(&str, Detector); 3] = [("plimsoll", plimsoll), ("Otava, default", otava_default), ("> 10 % vs yesterday", ten_percent)];

/// False alarms per 100 nights.
fn false_alarms(detector: Detector, kind: &str, runs: u64) -> f64 {
    let mut alarms = 0;
    for run in 0..runs {
        let values = history(kind, run, 0.0);
        alarms += (8..=NIGHTS).filter(|nights| detector(&values[..*nights]).1).count();
    }
    100.0 * alarms as f64 / runs as f64 / (NIGHTS - 7) as f64
}

/// Shares of changes found within 5 and 30 nights, at most 2 nights off, and of those that were placed at their night.
fn found(detector: Detector, sds: f64, runs: u64) -> (f64, f64, f64) {
    let (mut soon, mut ever, mut exact) = (0_u64, 0_u64, 0_u64);
    for run in 0..runs {
        let values = history("ar+out", 1_000_000 + run, sds);
        let near = |nights: usize| detector(&values[..nights]).0.into_iter().rev().find(|night| night.abs_diff(CHANGE) <= 2);
        if let Some((nights, place)) = (CHANGE + 1..=NIGHTS).find_map(|nights| Some((nights, near(nights)?))) {
            soon += u64::from(nights - CHANGE <= 5);
            ever += 1;
            exact += u64::from(place == CHANGE);
        }
    }
    (soon as f64 / runs as f64, ever as f64 / runs as f64, exact as f64 / ever.max(1) as f64)
}

pub(crate) fn run(runs: u64, goals: &mut Goals) -> io::Result<()> {
    line(&format!("Nights: {runs} histories of {NIGHTS} nights each\n"))?;
    line(&format!("{:<22}{}", "false alarms / 100", KINDS.map(|kind| format!("{kind:>8}")).concat()))?;
    for (name, detector) in DETECTORS {
        let alarms = KINDS.map(|kind| false_alarms(detector, kind, runs));
        line(&format!("{name:<22}{}", alarms.map(|alarms| format!("{alarms:>8.2}")).concat()))?;
        if name == "plimsoll" {
            for (kind, alarms) in KINDS.iter().zip(alarms) {
                goals.at_most(&format!("G7 false alarms per 100 nights, {kind}"), alarms, 0.5);
            }
        }
    }
    line(&format!("\n{:<22}{:>30}{:>30}{:>30}", "found in 5 / 30 nights", "2 sd", "3 sd", "5 sd"))?;
    for (name, detector) in DETECTORS {
        let rows = [2.0, 3.0, 5.0].map(|sds| found(detector, sds, runs));
        let shown = rows.map(|(soon, ever, exact)| {
            format!("{:>30}", format!("{:.0} / {:.0} %, night exact {:.0} %", 100.0 * soon, 100.0 * ever, 100.0 * exact))
        });
        line(&format!("{name:<22}{}", shown.concat()))?;
        if name == "plimsoll" {
            goals.at_least("G7 3 sd found within 30 nights", rows[1].1, 0.9);
            goals.at_least("G7 5 sd found within 5 nights", rows[2].0, 0.9);
            goals.at_least("G7 5 sd, night exact", rows[2].2, 0.7);
        }
    }
    Ok(())
}
