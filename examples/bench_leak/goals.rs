//! The goals that the detector has to meet on these soaks (docs/methods.md, "Leaks and trends").

use std::io::{self, Write};

use crate::cell::Cell;

/// The goals are stated for this many samples: an hour, one every ten seconds.
const SAMPLES: usize = 360;
/// Kinds whose false alarms may be more than 3 %, and how many.
const HARDER: &[(&str, f64)] = &[("warmup", 4.0), ("warmup_slow", 4.0), ("step", 4.0), ("stairs_plateau", 4.0), ("randwalk", 10.0)];
/// Most false alarms of any other kind.
const MOST: f64 = 3.0;
/// Most false alarms on average.
const MOST_MEAN: f64 = 1.5;
/// Kind, growth, and how many percent of such leaks have to be found.
const POWER: &[(&str, f64, f64)] = &[
    ("white", 16.0, 95.0),
    ("ar50", 16.0, 95.0),
    ("late", 16.0, 95.0),
    ("outliers", 16.0, 95.0),
    ("warmup", 16.0, 95.0),
    ("ar80", 16.0, 85.0),
    ("saw", 32.0, 85.0),
];
/// By how many points a larger leak may be found less often.
const FALLS: f64 = 5.0;
/// From this growth (four standard deviations of the noise) on the time to the limit is judged.
const TIMED: f64 = 16.0;
/// Percent of the intervals that have to hold the truth.
const HELD: f64 = 90.0;
/// Percent of leaks of the smallest size that is stated to show which have to be found.
const SHOWN: f64 = 80.0;
/// Most milliseconds for a decision over 2000 samples.
const MOST_MS: f64 = 50.0;
/// Fewest stated times from which a share is told.
const FEWEST_TIMES: usize = 50;

/// Prints whether the goals hold, as far as the kinds were simulated; true when all do. `shown`: percent of leaks of the stated smallest size
/// that are found, by kind; then the samples of a soak, and the milliseconds that a decision over 2000 took.
pub(crate) fn print(
    flat: &[Cell],
    leaky: &[Cell],
    shown: &[(&str, f64)],
    (samples, took_ms): (usize, f64),
    out: &mut impl Write,
) -> io::Result<bool> {
    writeln!(out, "\nGOALS")?;
    if samples != SAMPLES {
        writeln!(out, "are stated for {SAMPLES} samples; with {samples} they are only a comparison")?;
    }
    let mut all = true;
    let mut say = |name: &str, holds: bool, figure: String| -> io::Result<()> {
        all &= holds;
        writeln!(out, "{} {name}: {figure}", if holds { "holds " } else { "FAILS " })
    };
    if !flat.is_empty() {
        let mean = |of: &dyn Fn(&Cell) -> f64| flat.iter().map(of).sum::<f64>() / flat.len() as f64;
        let ours = mean(&Cell::leaks);
        let others: Vec<String> = (0..3).map(|at| format!("{} {:.1} %", crate::naive::NAMES[at], mean(&|cell| cell.naive()[at]))).collect();
        say("G2 mean of the false alarms", ours <= MOST_MEAN, format!("{ours:.2} % (at most {MOST_MEAN} %; {})", others.join(", ")))?;
        for cell in flat {
            let most = HARDER.iter().find(|(kind, _)| *kind == cell.kind).map_or(MOST, |(_, most)| *most);
            let name = format!("G2 false alarms, {}", cell.kind);
            say(&name, cell.leaks() <= most, format!("{:.1} % (at most {most} %)", cell.leaks()))?;
        }
    }
    for (kind, growth, least) in POWER {
        if let Some(cell) = leaky.iter().find(|cell| cell.kind == *kind && same(cell.growth, *growth)) {
            say(&format!("G3 found, {kind}, {growth}"), cell.leaks() >= *least, format!("{:.1} % (at least {least} %)", cell.leaks()))?;
        }
    }
    for pair in leaky.windows(2).filter(|pair| pair[0].kind == pair[1].kind) {
        let (small, large) = (pair[0].leaks(), pair[1].leaks());
        if large < small - FALLS {
            let name = format!("G3 larger leaks are found, {}", pair[0].kind);
            say(&name, false, format!("{small:.1} % of {}, {large:.1} % of {}", pair[0].growth, pair[1].growth))?;
        }
    }
    let timed = leaky.iter().filter(|cell| cell.growth >= TIMED).filter_map(|cell| cell.held().map(|held| (cell, held)));
    let worst = timed.filter(|(_, (count, _))| *count >= FEWEST_TIMES).min_by(|a, b| a.1.1.total_cmp(&b.1.1));
    if let Some((cell, (_, held))) = worst {
        let figure = format!("{held:.1} % ({}, {}; at least {HELD} %)", cell.kind, cell.growth);
        say("G4 intervals that hold the true time to the limit, worst kind", held >= HELD, figure)?;
    }
    if let Some((kind, found)) = shown.iter().min_by(|a, b| a.1.total_cmp(&b.1)) {
        let figure = format!("{found:.1} % ({kind}; at least {SHOWN} %)");
        say("G4 leaks of the smallest size that is stated to show are found, worst kind", *found >= SHOWN, figure)?;
    }
    say("G12 one decision over 2000 samples", took_ms < MOST_MS, format!("{took_ms:.1} ms (at most {MOST_MS} ms)"))?;
    Ok(all)
}

fn same(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-9
}
