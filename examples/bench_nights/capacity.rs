//! Capacity and bottleneck of simulated systems, predicted from their lower loads only.

use std::io;

use plimsoll::analysis::capacity::{Kind, Level, LoadLine, Plan, Used, load_line};
use plimsoll::analysis::usl;

use crate::goal::{Goals, line, quantile};
use crate::queue::{SHARES, SYSTEMS, Step, System};

/// Error that a prediction may have.
const WITHIN: f64 = 0.05;

/// How a level of a system is read.
pub(crate) fn level(system: &System, step: &Step) -> Level {
    let used = |resource: &str, used: f64, limit: usize| Used { resource: resource.into(), kind: Kind::Servers, used, limit: limit as f64 };
    Level {
        load: step.offered,
        seconds: 35.0,
        offered: Some(step.offered),
        requests: step.requests,
        failed: step.failed,
        throughput: step.throughput,
        p95_s: Some(step.p95_s),
        mean_s: Some(step.mean_s),
        resources: vec![used("pool", step.pool_busy, system.connections), used("cpu", step.cpu_busy, system.cores)],
        ..Level::default()
    }
}

#[derive(Default)]
struct Tally {
    errors: Vec<f64>,
    named: u64,
    covered: u64,
    sized: u64,
    of_usl: Vec<f64>,
}

/// The pool that is needed for a load, from all steps below 80 % of the true capacity.
fn size_by_hand(steps: &[Step], capacity: f64, load: f64) -> usize {
    let usable = || steps.iter().filter(|step| step.offered <= 0.8 * capacity + 1e-9);
    let demand =
        usable().map(|step| step.throughput * step.pool_busy).sum::<f64>() / usable().map(|step| step.throughput.powi(2)).sum::<f64>();
    (load * demand / 0.8).ceil() as usize
}

fn look(tally: &mut Tally, system: &System, steps: &[Step], found: &LoadLine, upto: f64) {
    let (truth, bottleneck) = system.capacity();
    let Some(first) = found.first() else {
        tally.errors.push(f64::INFINITY);
        return;
    };
    let Ok(demand) = &first.demand else { return };
    tally.errors.push((demand.capacity / truth - 1.0).abs());
    tally.named += u64::from(first.resource == bottleneck);
    tally.covered += u64::from(demand.interval.contains(truth));
    let all: Vec<Level> = steps.iter().map(|step| level(system, step)).collect();
    let size = load_line(&all, &Plan::default()).pool_for("pool", 1.5 * truth, None).map(|(size, _)| size.servers);
    tally.sized += u64::from(size == Some(size_by_hand(steps, truth, 1.5 * truth)));
    let curve: Vec<(f64, f64)> = steps
        .iter()
        .zip(SHARES)
        .filter(|(_, share)| *share <= upto + 1e-9)
        .map(|(step, _)| ((step.throughput * step.mean_s).max(1.0), step.throughput))
        .collect();
    let of_usl = usl::fit(&curve).ok().and_then(|usl| usl.peak().map(|peak| peak.throughput).or(usl.limit()));
    tally.of_usl.push(of_usl.map_or(f64::INFINITY, |capacity| (capacity / truth - 1.0).abs()));
}

pub(crate) fn run(runs: u64, goals: &mut Goals) -> io::Result<()> {
    line(&format!("\nLoad lines: {} systems, {runs} runs each\n", SYSTEMS.len()))?;
    line(&format!(
        "{:<20}{:>8}{:>14}{:>14}{:>12}{:>14}{:>12}{:>14}",
        "system", "steps to", "median error", "worst error", "bottleneck", "in interval", "pool size", "USL, worst"
    ))?;
    let (mut within, mut named, mut sized, mut covered, mut all) = (0, 0, 0, 0, 0);
    for system in &SYSTEMS {
        let simulated: Vec<Vec<Step>> = (0..runs).map(|run| system.run(run)).collect();
        for upto in [0.5, 0.7, 0.9] {
            let mut tally = Tally::default();
            for steps in &simulated {
                let lower = steps.iter().zip(SHARES).filter(|(_, share)| *share <= upto + 1e-9);
                let levels: Vec<Level> = lower.map(|(step, _)| level(system, step)).collect();
                look(&mut tally, system, steps, &load_line(&levels, &Plan::default()), upto);
            }
            let percent = |share: f64| format!("{:.1} %", 100.0 * share);
            let of_runs = |count: u64| format!("{count} of {runs}");
            let most = |errors: &[f64]| quantile(errors, 1.0);
            line(&format!(
                "{:<20}{:>8}{:>14}{:>14}{:>12}{:>14}{:>12}{:>14}",
                system.name,
                percent(upto),
                percent(quantile(&tally.errors, 0.5)),
                percent(most(&tally.errors)),
                of_runs(tally.named),
                of_runs(tally.covered),
                of_runs(tally.sized),
                percent(most(&tally.of_usl)),
            ))?;
            if (upto - 0.7).abs() < 1e-9 {
                within += tally.errors.iter().filter(|error| **error <= WITHIN).count();
                (named, sized, covered, all) = (named + tally.named, sized + tally.sized, covered + tally.covered, all + runs);
            }
        }
    }
    let share = |count: u64| count as f64 / all.max(1) as f64;
    goals.at_least("G8 capacity within 5 % from steps up to 70 % of it, share of runs", share(within as u64), 0.98);
    goals.at_least("G8 bottleneck named right, share of runs", share(named), 1.0);
    goals.at_least("G8 pool size for 1.5 times the capacity as by hand, share of runs", share(sized), 1.0);
    goals.at_least("G8 truth within the interval, share of runs", share(covered), 0.9);
    Ok(())
}
