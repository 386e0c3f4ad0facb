//! Runs every reference case of a folder through the project's own functions and prints how far they agree (`scripts/check-cases`).
//! A folder has an `index.json` with the names and kinds of its cases; a case is `NAME.csv` (the input) and `NAME.json` (what other
//! implementations say of it). One module per kind checks the cases of that kind; a kind that nobody checks is a disagreement.
//! Exit code: 0 all agree, 1 some do not, 2 the folder cannot be read.

mod capacity;
mod case;
mod change_point;
mod check;
mod knee;
mod recovery;
mod trend;
mod usl;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use case::Case;
use check::Check;

/// Compares one case with what is expected of it.
type Kind = fn(&Case) -> Result<Vec<Check>, String>;

/// The kinds of cases, and what checks them.
const KINDS: &[(&str, Kind)] = &[
    ("capacity", capacity::check),
    ("change_point", change_point::check),
    ("knee", knee::check),
    ("recovery", recovery::check),
    ("trend", trend::check),
    ("usl", usl::check),
];

/// How many cases and figures of a kind agree.
#[derive(Default)]
struct Tally {
    cases: usize,
    cases_agree: usize,
    figures: usize,
    figures_agree: usize,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(folder), None) = (arguments.next(), arguments.next()) else {
        let _ = writeln!(io::stderr(), "Usage: check_cases FOLDER");
        return ExitCode::from(2);
    };
    match run(Path::new(&folder), &mut io::stdout().lock()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::from(2)
        }
    }
}

/// Checks all cases of the folder; true when all agree.
pub(crate) fn run(folder: &Path, out: &mut impl Write) -> Result<bool, String> {
    let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
    for entry in case::index(folder)? {
        let checks = look(folder, &entry);
        let agree = checks.iter().filter(|check| check.agrees).count();
        let tally = tallies.entry(entry.kind.clone()).or_default();
        tally.cases += 1;
        tally.figures += checks.len();
        tally.figures_agree += agree;
        tally.cases_agree += usize::from(agree == checks.len());
        let word = if agree == checks.len() { "agrees" } else { "DIFFERS" };
        print(out, &format!("{:<36} {:<12} {word:<8} {agree} of {}", entry.name, entry.kind, checks.len()))?;
        for check in checks.iter().filter(|check| check.noted || !check.agrees) {
            let note = if check.noted { "note: " } else { "" };
            print(out, &format!("    {note}{}: ours {}, expected {}", check.what, check.ours, check.expected))?;
        }
    }
    print(out, "")?;
    for (kind, tally) in &tallies {
        let cases = format!("{} of {} cases agree", tally.cases_agree, tally.cases);
        print(out, &format!("{kind:<12} {cases}, {} of {} figures", tally.figures_agree, tally.figures))?;
    }
    Ok(tallies.values().all(|tally| tally.cases_agree == tally.cases))
}

/// What is said of one case; what cannot be checked is one failed check.
fn look(folder: &Path, entry: &case::Entry) -> Vec<Check> {
    let Some((_, kind)) = KINDS.iter().find(|(name, _)| *name == entry.kind) else {
        return vec![Check::fails("kind", "nothing checks it", &entry.kind)];
    };
    match Case::read(folder, entry).and_then(|case| kind(&case)) {
        Ok(checks) if checks.is_empty() => vec![Check::fails("figures", "nothing was compared", "at least one")],
        Ok(checks) => checks,
        Err(error) => vec![Check::fails("case", &error, "a case that can be read")],
    }
}

fn print(out: &mut impl Write, line: &str) -> Result<(), String> {
    writeln!(out, "{line}").map_err(|error| format!("cannot write: {error}"))
}
