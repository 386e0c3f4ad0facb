//! Simulates what Plimsoll has to judge and knows the truth of: nights with and without a change, load steps of systems with a known
//! capacity, curves with known coefficients, recoveries after a spike. Prints what comes out beside simpler methods, and goal by goal
//! whether it holds (docs/methods.md). `bench_nights [nights|load|usl|recovery|cost] [RUNS]`. Exit code 1 when a goal is missed.

mod capacity;
mod cost;
mod goal;
mod nights;
mod queue;
mod recovery;
mod usl;

use std::process::ExitCode;

use goal::Goals;

/// A part of the bench, with its number of runs when none is given.
type Part = (&'static str, fn(u64, &mut Goals) -> std::io::Result<()>, u64);

const PARTS: &[Part] = &[
    ("nights", nights::run, 500),
    ("load", capacity::run, 8),
    ("usl", usl::run, 1000),
    ("recovery", recovery::run, 500),
    ("cost", cost::run, 9),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runs = arguments.iter().find_map(|argument| argument.parse().ok());
    let wanted: Vec<&String> = arguments.iter().filter(|argument| argument.parse::<u64>().is_err()).collect();
    if let Some(unknown) = wanted.iter().find(|name| !PARTS.iter().any(|(part, ..)| part == *name)) {
        goal::complain(&format!("there is no part `{unknown}`; the parts are: nights load usl recovery cost"));
        return ExitCode::from(2);
    }
    let mut goals = Goals::default();
    for (name, part, usual) in PARTS {
        if !wanted.is_empty() && !wanted.iter().any(|one| one == name) {
            continue;
        }
        if let Err(error) = part(runs.unwrap_or(*usual), &mut goals) {
            goal::complain(&format!("cannot write: {error}"));
            return ExitCode::from(2);
        }
    }
    match goals.print() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) | Err(_) => ExitCode::from(1),
    }
}
