//! How often the leak detector is right (`scripts/bench-leak`): made-up soaks of which the truth is known, 18 kinds without a leak and 13
//! with, beside a straight line, Mann-Kendall and Hamed-Rao. Prints the tables and whether the goals hold. Exit code: 0 all goals hold,
//! 1 one does not, 2 wrong arguments.

mod cell;
mod goals;
mod naive;
mod soaks;

use std::io::{self, Write};
use std::process::ExitCode;

use cell::Cell;
use plimsoll::analysis::leak::{Soak, judge};

/// What to simulate.
struct Options {
    runs: u64,
    samples: usize,
    seed: u64,
    kinds: Vec<String>,
}

/// Leaked over the run, in MB or connections; the noise has a standard deviation of 4.
const GROWTHS: [f64; 5] = [4.0, 8.0, 16.0, 32.0, 64.0];

fn main() -> ExitCode {
    let out = &mut io::stdout().lock();
    let Some(options) = options(std::env::args().skip(1)) else {
        let _ = writeln!(io::stderr(), "Usage: bench_leak [--runs N] [--samples N] [--seed N] [--kinds NAME,NAME]");
        return ExitCode::from(2);
    };
    match run(&options, out) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            let _ = writeln!(io::stderr(), "cannot write: {error}");
            ExitCode::from(2)
        }
    }
}

fn options(mut arguments: impl Iterator<Item = String>) -> Option<Options> {
    let mut options = Options { runs: 500, samples: 360, seed: 1, kinds: vec![] };
    while let Some(name) = arguments.next() {
        let value = arguments.next()?;
        match name.as_str() {
            "--runs" => options.runs = value.parse().ok().filter(|runs| *runs > 0)?,
            "--samples" => options.samples = value.parse().ok().filter(|samples| *samples >= 40)?,
            "--seed" => options.seed = value.parse().ok()?,
            "--kinds" => options.kinds = value.split(',').map(str::to_owned).collect(),
            _ => return None,
        }
    }
    Some(options)
}

/// Mean time of a whole decision over 2000 samples, in milliseconds.
fn took() -> f64 {
    let soaks: Vec<_> = ["ar80", "saw", "warmup", "restart"].iter().filter_map(|kind| soaks::make(kind, 1, 2000, 16.0)).collect();
    let begun = tokio::time::Instant::now();
    let rounds = 5;
    for soak in (0..rounds).flat_map(|_| &soaks) {
        let samples = soak.times.iter().copied().zip(soak.values.iter().copied()).collect();
        std::hint::black_box(judge(&Soak { samples, limit: Some(1024.0), ..Soak::default() }));
    }
    begun.elapsed().as_secs_f64() * 1000.0 / (rounds * soaks.len().max(1)) as f64
}

fn run(options: &Options, out: &mut impl Write) -> io::Result<bool> {
    let wanted = |kind: &&&str| options.kinds.is_empty() || options.kinds.iter().any(|name| name == **kind);
    writeln!(out, "{} runs a kind, {} samples, seed {}; percent of the runs", options.runs, options.samples, options.seed)?;
    writeln!(out, "\nWITHOUT A LEAK: called a leak by              this detector says")?;
    let head = format!("{:<15} {:>6} {:>6} {:>9} {:>6}", "", naive::NAMES[0], naive::NAMES[1], naive::NAMES[2], "THIS");
    writeln!(out, "{head} | watch  tiny  step  level.  unclear")?;
    let mut flat = Vec::new();
    for kind in soaks::FLAT.iter().filter(wanted) {
        let cell = Cell::simulate(kind, 0.0, options.runs, options.seed, options.samples);
        writeln!(out, "{}", cell.flat_line())?;
        flat.push(cell);
    }
    writeln!(out, "\nWITH A LEAK: found by                                     time to the limit")?;
    writeln!(out, "{:<15} {:>5} {} | found  interval holds  median error", "", "grows", &head[16..])?;
    let mut leaky = Vec::new();
    for kind in soaks::LEAKY.iter().filter(wanted) {
        for growth in GROWTHS {
            let cell = Cell::simulate(kind, growth, options.runs, options.seed, options.samples);
            writeln!(out, "{}", cell.leaky_line())?;
            leaky.push(cell);
        }
    }
    let head = "smallest growth that would have shown";
    writeln!(out, "\n{:<15} {head}; percent of such leaks, of those half as large, that are found", "")?;
    let mut shown = Vec::new();
    for cell in flat.iter().filter(|cell| soaks::LEAKY.contains(&cell.kind)) {
        let of = |share| cell.stated(share, options.seed, options.samples);
        let (Some((stated, found)), Some((_, half))) = (of(1.0), of(0.5)) else { continue };
        writeln!(out, "{:<15} {stated:>37.1} {found:>24.1} {half:>28.1}", cell.kind)?;
        shown.push((cell.kind, found));
    }
    let took = took();
    goals::print(&flat, &leaky, &shown, (options.samples, took), out)
}
