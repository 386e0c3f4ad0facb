//! What is asked of several runs together: gates that count passes in a row, and suites of tests with a target and a priority each.

use std::time::Duration;

use serde::Serialize;

use super::alerting::Severity;
use super::analysed::Resource;
use super::run::{RunId, Verdict};
use super::threshold::{Bound, Series};
use super::units::Timestamp;

/// Passes only when the newest runs of a profile all passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    /// Name.
    pub name: String,
    /// Profile.
    pub profile: String,
    /// Passes in a row.
    pub passes: u32,
}

/// Several tests with one verdict.
#[derive(Debug, Clone, PartialEq)]
pub struct Suite {
    /// Name.
    pub name: String,
    /// One line for people.
    pub description: Option<String>,
    /// Share of the tests that must pass, 0 to 1. Whatever it is, a test of critical priority must.
    pub pass: f64,
    /// In the order of the file.
    pub tests: Vec<SuiteTest>,
}

impl Suite {
    /// The profiles whose runs it looks at, each once, in the order of the tests.
    pub fn profiles(&self) -> Vec<String> {
        let mut profiles: Vec<String> = Vec::new();
        for test in &self.tests {
            if !profiles.contains(&test.profile) {
                profiles.push(test.profile.clone());
            }
        }
        profiles
    }
}

/// One test: what the latest run of a profile must come to.
#[derive(Debug, Clone, PartialEq)]
pub struct SuiteTest {
    /// Name.
    pub name: String,
    /// Profile.
    pub profile: String,
    /// How much it matters.
    pub priority: Severity,
    /// What must hold.
    pub asks: Ask,
}

/// What a test asks.
#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    /// The verdict of the run.
    Verdict,
    /// A threshold over the run: the text as written, and what it says.
    Holds(String, Box<Series>),
    /// The ratio of a figure between two phases.
    Ratio(PhaseRatio),
    /// After a spike of load every figure is back within this time.
    Recovers(Duration),
    /// None of these resources leaks.
    Steady(Vec<Resource>),
}

/// A figure in one phase over the same figure in another.
#[derive(Debug, Clone, PartialEq)]
pub struct PhaseRatio {
    /// The phase above the line.
    pub phase: String,
    /// The phase below it.
    pub with: String,
    /// `p50`, `p95`, `p99`, `throughput`, or a metric of a probe.
    pub figure: String,
    /// Only this step.
    pub step: Option<String>,
    /// What must hold of the ratio.
    pub bound: Bound,
}

/// What one test came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TestResult {
    /// Name of the test.
    pub test: String,
    /// Profile.
    pub profile: String,
    /// How much it matters.
    pub priority: Severity,
    /// Pass, fail, no data or invalid.
    pub verdict: Verdict,
    /// The run it rests on.
    pub run: Option<RunId>,
    /// When that started.
    pub at: Option<Timestamp>,
    /// What was measured, for people.
    pub measured: String,
    /// What was asked for.
    pub target: String,
    /// One sentence more, where there is one: why it is so, how sure it is.
    pub note: Option<String>,
}

/// What a suite came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SuiteResult {
    /// Name.
    pub suite: String,
    /// One line for people.
    pub description: Option<String>,
    /// Pass, fail, or no data when tests could not be judged.
    pub verdict: Verdict,
    /// Tests that passed.
    pub passed: usize,
    /// All tests.
    pub tests: usize,
    /// Share that passed, 0 to 1.
    pub score: f64,
    /// Passed and all tests by priority, the gravest first.
    pub by_priority: Vec<(Severity, usize, usize)>,
    /// One sentence.
    pub sentence: String,
    /// Each test.
    pub results: Vec<TestResult>,
}

/// How a gate stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GateResult {
    /// Name.
    pub gate: String,
    /// Profile.
    pub profile: String,
    /// Pass, fail (the newest run did not pass), or no data (too few passes in a row yet).
    pub verdict: Verdict,
    /// Passes in a row at present.
    pub row: u32,
    /// Passes in a row that are needed.
    pub passes: u32,
    /// One sentence.
    pub sentence: String,
}
