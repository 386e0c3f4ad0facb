//! A load that climbs in levels, each held and judged by a gate: how it is configured, and what each level came to. Pure; which level
//! comes next is decided in `executor::schedule`. Method: docs/methods.md, "Staircase".

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::profile::VuPool;
use super::run::{ThresholdResult, Verdict};
use super::threshold::Threshold;
use super::units::{Rate, trim_decimal};

/// Name of the phase in which a level goes on while its gate is judged.
pub const JUDGING: &str = "judging";
/// Name of the phase in which the target may recover before the search goes on.
pub const REST: &str = "rest";
/// How long judging a level takes at most, for the longest duration of a climb: the seconds of all load threads have to come in.
const JUDGING_TIME: Duration = Duration::from_secs(5);

/// A climb as configured.
#[derive(Debug, Clone, PartialEq)]
pub struct Staircase {
    /// What the levels count.
    pub unit: StairUnit,
    /// The levels, ascending.
    pub levels: Vec<f64>,
    /// How long each level is held.
    pub hold: Duration,
    /// How long the way from one level to the next takes.
    pub ramp: Duration,
    /// How long nothing is sent after a level that did not pass, before the search goes on.
    pub rest: Duration,
    /// What must hold on a level for it to be passed. Nothing: levels are not judged.
    pub gate: Vec<Threshold>,
    /// Goes no higher than the first level that fails.
    pub stop_on_fail: bool,
    /// How exactly the level between the last that passed and the first that failed is searched for; `None`: not at all.
    pub resolution: Option<f64>,
    /// The run fails when this level was not passed.
    pub must_reach: Option<f64>,
}

/// What levels count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StairUnit {
    /// VUs that loop.
    Vus,
    /// Starts.
    Rate {
        /// In so much time.
        per: Duration,
        /// The VUs that take them.
        vus: VuPool,
    },
}

impl Staircase {
    /// A level for people: `50 VUs`, `50/s`.
    pub fn show(&self, level: f64) -> String {
        match self.unit {
            StairUnit::Vus => format!("{} {}", trim_decimal(level, 0), if level > 1.0 { "VUs" } else { "VU" }),
            StairUnit::Rate { per, .. } => Rate { count: level, per }.to_string(),
        }
    }

    /// Name of the phase in which a level is held: `level-50`, `level-50/s`.
    pub fn level_name(&self, level: f64) -> String {
        format!("level-{}", self.short(level))
    }

    /// Name of the phase that leads to a level: `ramp-50`, `ramp-50/s`.
    pub fn ramp_name(&self, level: f64) -> String {
        format!("ramp-{}", self.short(level))
    }

    fn short(&self, level: f64) -> String {
        match self.unit {
            StairUnit::Vus => trim_decimal(level, 0),
            StairUnit::Rate { .. } => self.show(level),
        }
    }

    /// True when the next level depends on what the present one comes to.
    pub fn is_decided_on_the_way(&self) -> bool {
        !self.gate.is_empty() && self.stop_on_fail
    }

    /// The longest time that the climb can take.
    pub fn longest(&self) -> Duration {
        let levels = self.levels.len() as u32;
        let searched = self.resolution.map_or(0, |resolution| {
            let widest = self.levels.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
            (widest / resolution).max(1.0).log2().ceil() as u32 + 1
        });
        let judging = if self.is_decided_on_the_way() { JUDGING_TIME } else { Duration::ZERO };
        let all = levels + searched;
        self.hold * all + self.ramp * all.saturating_sub(1) + judging * all + self.rest * searched
    }
}

/// What a climb came to, stored with its run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClimbSummary {
    /// Scenario.
    pub scenario: String,
    /// What levels count: `VUs`, `/s`, `/min` …
    pub unit: String,
    /// Levels that were held to their end, in the order in which they were climbed.
    pub levels: Vec<LevelResult>,
    /// The highest level that passed.
    pub passed: Option<f64>,
    /// The lowest level that did not pass.
    pub failed: Option<f64>,
    /// How exactly the level in between was searched for.
    pub resolution: Option<f64>,
}

/// What one level came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LevelResult {
    /// The level.
    pub level: f64,
    /// The level for people: `50/s`.
    pub shown: String,
    /// Name of its phase: `level-50/s`.
    pub phase: String,
    /// Second of the run in which it began to be held.
    pub from: u32,
    /// First second after it.
    pub to: u32,
    /// Pass, fail, no data, or invalid when the level was not what it should have been.
    pub verdict: Verdict,
    /// Why it did not pass, one sentence each.
    pub reasons: Vec<String>,
    /// The gate.
    pub gate: Vec<ThresholdResult>,
}

impl ClimbSummary {
    /// One sentence on how high it came.
    pub fn sentence(&self) -> String {
        let at = |level: Option<f64>| level.and_then(|level| self.levels.iter().find(|one| one.level.to_bits() == level.to_bits()));
        let name = &self.scenario;
        match (at(self.passed), at(self.failed)) {
            (None, None) => format!("`{name}`: no level was held to its end"),
            (Some(passed), None) => format!("`{name}` passed every level, up to {}", passed.shown),
            (None, Some(failed)) => format!("`{name}` passed no level; {} did not pass{}", failed.shown, why(failed)),
            (Some(passed), Some(failed)) => {
                format!("`{name}` passed up to {}; {} did not pass{}", passed.shown, failed.shown, why(failed))
            }
        }
    }
}

fn why(level: &LevelResult) -> String {
    level.reasons.first().map(|reason| format!(": {reason}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stairs(unit: StairUnit) -> Staircase {
        Staircase {
            unit,
            levels: vec![50.0, 100.0, 150.0],
            hold: Duration::from_secs(60),
            ramp: Duration::from_secs(10),
            rest: Duration::from_secs(5),
            gate: Vec::new(),
            stop_on_fail: true,
            resolution: None,
            must_reach: None,
        }
    }

    #[test]
    fn phases_are_named_after_their_level() {
        let vus = stairs(StairUnit::Vus);
        assert_eq!((vus.level_name(50.0), vus.ramp_name(100.0), vus.show(1.0)), ("level-50".into(), "ramp-100".into(), "1 VU".into()));
        let pool = VuPool { pre_allocated: 1, max: 1 };
        let rate = stairs(StairUnit::Rate { per: Duration::from_secs(60), vus: pool });
        assert_eq!((rate.level_name(12.5), rate.show(50.0)), ("level-12.5/min".into(), "50/min".into()));
    }

    #[test]
    fn the_longest_climb_searches_the_widest_gap() {
        let plain = stairs(StairUnit::Vus);
        assert_eq!(plain.longest(), Duration::from_secs(3 * 60 + 2 * 10));
        let gate = vec![];
        let search = Staircase { resolution: Some(10.0), gate, ..plain };
        // 50 in steps of 10: at most three levels more, and one for what does not divide evenly.
        assert_eq!(search.longest(), Duration::from_secs(7 * 60 + 6 * 10 + 4 * 5));
    }

    fn level(level: f64, verdict: Verdict) -> LevelResult {
        let reasons = if verdict == Verdict::Pass { vec![] } else { vec!["it was slow".into()] };
        let shown = format!("{level}/s");
        LevelResult { level, phase: format!("level-{shown}"), shown, from: 0, to: 1, verdict, reasons, gate: vec![] }
    }

    #[test]
    fn a_sentence_says_how_high_it_came() {
        let (low, high) = (level(50.0, Verdict::Pass), level(100.0, Verdict::Fail));
        let climb = |levels: Vec<LevelResult>, passed, failed| ClimbSummary {
            scenario: "climb".into(),
            unit: "/s".into(),
            levels,
            passed,
            failed,
            resolution: None,
        };
        for (summary, sentence) in [
            (climb(vec![], None, None), "`climb`: no level was held to its end"),
            (climb(vec![low.clone()], Some(50.0), None), "`climb` passed every level, up to 50/s"),
            (climb(vec![high.clone()], None, Some(100.0)), "`climb` passed no level; 100/s did not pass: it was slow"),
            (climb(vec![low, high], Some(50.0), Some(100.0)), "`climb` passed up to 50/s; 100/s did not pass: it was slow"),
        ] {
            assert_eq!(summary.sentence(), sentence);
        }
    }
}
