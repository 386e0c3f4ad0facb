//! What the judgements cost: the median of some repetitions, in milliseconds.

use std::hint::black_box;
use std::io;

use plimsoll::analysis::capacity::{Plan, load_line};
use plimsoll::analysis::change_point::{Rules as ChangeRules, change_points};
use plimsoll::analysis::recovery::{Bad, Reading, Rules as RecoveryRules, Spike, recovery};
use plimsoll::analysis::regression::{History, Rules, judge, metric};
use tokio::time::Instant;

use crate::capacity::level;
use crate::goal::{Goals, dice, line, noise, quantile};
use crate::queue::SYSTEMS;

fn history(nights: usize) -> Vec<f64> {
    let shocks = noise(&mut dice("cost", 0), nights, 0.3);
    let level = |night: usize| 100.0 + 10.0 * (night * 4 / nights.max(1)) as f64;
    shocks.into_iter().enumerate().map(|(night, shock)| level(night) + 3.0 * shock).collect()
}

fn cost(runs: u64, mut work: impl FnMut()) -> f64 {
    let times: Vec<f64> = (0..runs.max(1))
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    quantile(&times, 0.5)
}

pub(crate) fn run(runs: u64, goals: &mut Goals) -> io::Result<()> {
    line("\nCost\n")?;
    let show = |what: &str, cost: f64| line(&format!("{what:<44}{cost:>10.2} ms"));
    let nights = history(500);
    let days: Vec<u8> = (0..500).map(|night| (night % 7) as u8).collect();
    let judged = cost(runs, || {
        let history = History { values: black_box(&nights), days: &days, borders: &[] };
        black_box(judge(&history, &metric::METRICS[1], &Rules::default()));
    });
    show("a metric of 500 nights with three changes", judged)?;
    let long = history(2000);
    let points = cost(runs, || {
        black_box(change_points(black_box(&long), &ChangeRules::default()));
    });
    show("change points of 2,000 values", points)?;
    let levels: Vec<_> = SYSTEMS[0].run(0).iter().map(|step| level(&SYSTEMS[0], step)).collect();
    show("a load line of 12 levels", cost(runs, || drop(black_box(load_line(black_box(&levels), &Plan::default())))))?;
    let readings: Vec<Reading> = history(1800)
        .into_iter()
        .enumerate()
        .map(|(at, value)| Reading { at_s: at as f64, value: Some(value), requests: Some(90) })
        .collect();
    let spike = Spike { from_s: 600.0, to_s: 660.0 };
    let recovered = cost(runs, || drop(black_box(recovery(black_box(&readings), spike, Bad::High, &RecoveryRules::default()))));
    show("a recovery of 30 minutes, second by second", recovered)?;
    goals.at_most("G12 milliseconds for a history of 500 nights", judged, 20.0);
    goals.at_most("G12 milliseconds for 2,000 values", points, 50.0);
    goals.at_most("G12 milliseconds for a recovery", recovered, 50.0);
    Ok(())
}
