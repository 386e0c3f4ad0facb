//! What the store costs, beside its goals: bytes and CPU of what is written, time and memory of what is read, a night of five systems
//! and what a year of such nights comes to. `scripts/bench-store` runs it. `--small` only shows that it works: a short soak, few runs,
//! a night a hundred times as short, no judgement. `--merge FILE` only merges the soak from its seconds, again and again, and keeps it in
//! FILE, so that two versions of the program can be compared.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement prints, and a step that fails ends it")]

mod bed;
mod made;
mod night;
mod runs;
mod soak;
mod table;

use std::process::ExitCode;

use table::Table;

/// How much is measured.
#[derive(Clone, Copy)]
struct Size {
    /// Seconds of the soak.
    soak: u32,
    /// Runs to list among.
    runs: u32,
    /// By how much the night is shortened.
    shorter: u32,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let small = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => false,
        ["--small"] => true,
        ["--merge", file] => {
            soak::merge_again(file).await;
            return ExitCode::SUCCESS;
        }
        _ => {
            println!("usage: bench_store [--small | --merge FILE]");
            return ExitCode::from(2);
        }
    };
    let whole = Size { soak: soak::LONG, runs: 10_000, shorter: 1 };
    let size = if small { Size { soak: 90, runs: 200, shorter: 100 } } else { whole };
    let judged = !small && !cfg!(debug_assertions);
    let mut table = Table::new(judged);
    soak::measure(size, &mut table).await;
    runs::measure(size, &mut table).await;
    night::measure(size, &mut table).await;
    table.print();
    if !judged {
        println!("\nNothing was judged: the goals are for the whole measurement in a release build.");
    }
    if table.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
