//! Verdicts in a row: how a gate stands that wants several passes, and whether a profile's verdict flips although nothing changed. A
//! profile is called flaky when, among runs that differ in nothing that is known (profile content, target, version), at least three and
//! at least a fifth of the neighbours came to different verdicts; at least seven such runs are needed.

use crate::model::history::PastRun;
use crate::model::run::Verdict;
use crate::model::suite::{Gate, GateResult};

/// Pairs of neighbours that are needed.
const LEAST_PAIRS: usize = 6;
/// Flips that are needed.
const LEAST_FLIPS: usize = 3;
/// Share of the pairs that flip.
const SHARE: f64 = 0.2;

/// How often a verdict flips without a change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Flips {
    /// Neighbouring runs with another verdict.
    pub flips: usize,
    /// Neighbouring runs between which nothing is known to have changed.
    pub pairs: usize,
}

impl Flips {
    /// Whether the profile is called flaky.
    pub fn is_flaky(self) -> bool {
        self.pairs >= LEAST_PAIRS && self.flips >= LEAST_FLIPS && self.flips as f64 >= SHARE * self.pairs as f64
    }
}

/// Whether a run passed; `None` when it says nothing of the target: invalid, no data, or without a verdict.
fn passed(run: &PastRun) -> Option<bool> {
    match run.verdict? {
        Verdict::Pass => Some(true),
        Verdict::Fail => Some(false),
        Verdict::NoData | Verdict::Invalid => None,
    }
}

/// Counts flips among runs of one profile, newest first.
pub fn flips(past: &[PastRun]) -> Flips {
    let mut found = Flips::default();
    let judged: Vec<(&PastRun, bool)> = past.iter().filter_map(|run| Some((run, passed(run)?))).collect();
    for pair in judged.windows(2) {
        let [(newer, one), (older, other)] = pair else { continue };
        if (&newer.digest, &newer.target, &newer.version) == (&older.digest, &older.target, &older.version) {
            found.pairs += 1;
            found.flips += usize::from(one != other);
        }
    }
    found
}

/// How a gate stands after the runs of its profile, newest first. A run that came to no verdict neither continues nor breaks a row; one
/// that is invalid or measured nothing breaks it: it proves nothing.
pub fn gate(gate: &Gate, past: &[PastRun]) -> GateResult {
    let verdicts: Vec<Verdict> = past.iter().filter_map(|run| run.verdict).collect();
    let row = verdicts.iter().take_while(|verdict| **verdict == Verdict::Pass).count();
    let row = u32::try_from(row).unwrap_or(u32::MAX);
    let verdict = match verdicts.first() {
        Some(Verdict::Pass) if row >= gate.passes => Verdict::Pass,
        Some(Verdict::Pass) | None => Verdict::NoData,
        Some(Verdict::Fail | Verdict::NoData | Verdict::Invalid) => Verdict::Fail,
    };
    let flips = flips(past);
    let flaky = if flips.is_flaky() {
        format!(" Its verdict is flaky: it flipped {} times in {} pairs of runs without a change.", flips.flips, flips.pairs)
    } else {
        String::new()
    };
    let stands = match verdicts.first() {
        None => "there is no run with a verdict yet".to_owned(),
        Some(newest) if row == 0 => format!("the newest run of `{}` came to {newest}", gate.profile),
        Some(_) => format!("the last {row} runs of `{}` passed", gate.profile),
    };
    let sentence = format!("{} of {} passes in a row: {stands}.{flaky}", row.min(gate.passes), gate.passes);
    GateResult { gate: gate.name.clone(), profile: gate.profile.clone(), verdict, row, passes: gate.passes, sentence }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::run::{EndedBy, RunId, RunStatus, Trigger};
    use crate::model::units::Timestamp;

    /// Newest first: P, F, I, N, or - for none; a digit changes the version from there on.
    fn runs(text: &str) -> Vec<PastRun> {
        let mut version = 0;
        let verdict = |letter: char| match letter {
            'P' => Some(Verdict::Pass),
            'F' => Some(Verdict::Fail),
            'I' => Some(Verdict::Invalid),
            'N' => Some(Verdict::NoData),
            _ => None,
        };
        let mut found = Vec::new();
        for letter in text.chars() {
            if let Some(digit) = letter.to_digit(10) {
                version = digit;
                continue;
            }
            found.push(PastRun {
                id: RunId(found.len().to_string()),
                profile: "soak".into(),
                digest: "d".into(),
                target: "shop".into(),
                version: Some(version.to_string()),
                trigger: Trigger { by: "cli".into(), name: None },
                started_at: Timestamp(-(found.len() as i64)),
                status: RunStatus::Finished,
                ended_by: Some(EndedBy::Completed),
                verdict: verdict(letter),
                numbers: None,
            });
        }
        found
    }

    #[test]
    fn a_gate_wants_passes_in_a_row() {
        let three = Gate { name: "release".into(), profile: "soak".into(), passes: 3 };
        for (verdicts, expected, row) in [
            ("", Verdict::NoData, 0),
            ("PP", Verdict::NoData, 2),
            ("PPP", Verdict::Pass, 3),
            ("PP-PF", Verdict::Pass, 3),
            ("PPFPP", Verdict::NoData, 2),
            ("FPPP", Verdict::Fail, 0),
            ("IPPP", Verdict::Fail, 0),
            ("PPIPP", Verdict::NoData, 2),
        ] {
            let found = gate(&three, &runs(verdicts));
            assert_eq!((found.verdict, found.row), (expected, row), "{verdicts}: {}", found.sentence);
        }
        assert_eq!(gate(&three, &runs("PPF")).sentence, "2 of 3 passes in a row: the last 2 runs of `soak` passed.");
    }

    #[test]
    fn a_verdict_that_flips_without_a_change_is_flaky() {
        for (verdicts, flips_found, pairs, flaky) in [
            ("PPPPPPP", 0, 6, false),
            ("PFPPFPP", 4, 6, true),
            ("PPPFFFF", 1, 6, false),
            ("P1F2P3F4P5F6P", 0, 0, false),
            ("PFPF", 3, 3, false),
            ("PIFNPIFNPPP", 4, 6, true),
        ] {
            let found = flips(&runs(verdicts));
            assert_eq!((found.flips, found.pairs, found.is_flaky()), (flips_found, pairs, flaky), "{verdicts}");
        }
    }
}
