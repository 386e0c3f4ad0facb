//! Suites and gates: the latest runs of several profiles against what is asked of each, as one result. Reads the store only.

use super::compare::{CannotCompare, read_side};
use super::nights::past_as_stored;
use super::suite_asks::{listed, recovers, steady};
use crate::analysis::comparison::{Outcome, Row, compare};
use crate::analysis::regression::flaky::gate;
use crate::engine::watchers::Watchers;
use crate::model::alerting::Severity;
use crate::model::analysed::Analysed;
use crate::model::run::{EndedBy, Run, RunStatus, ThresholdResult, Verdict};
use crate::model::suite::{Ask, Gate, GateResult, PhaseRatio, Suite, SuiteResult, SuiteTest, TestResult};
use crate::model::threshold::{Series, Threshold};
use crate::model::units::{format_duration, format_percent};
use crate::store::{ReadingFilter, RunFilter, Store, StoreResult};

/// Runs among which the latest that counts is looked for.
const LATEST: u32 = 20;
/// Runs that a gate looks at.
const GATE_RUNS: u32 = 100;
/// Seconds read at a time.
const PIECE: u32 = 300;

/// How a gate stands.
pub async fn gate_result(store: &dyn Store, asked: &Gate) -> StoreResult<GateResult> {
    Ok(gate(asked, &past_as_stored(store, &asked.profile, None, GATE_RUNS).await?))
}

/// What a suite comes to by the latest runs of its profiles.
pub async fn suite_result(store: &dyn Store, suite: &Suite) -> Result<SuiteResult, CannotCompare> {
    let mut results = Vec::new();
    for test in &suite.tests {
        results.push(test_result(store, test).await?);
    }
    Ok(judged(suite, results))
}

fn judged(suite: &Suite, results: Vec<TestResult>) -> SuiteResult {
    let passed = results.iter().filter(|result| result.verdict == Verdict::Pass).count();
    let tests = results.len();
    let score = passed as f64 / tests.max(1) as f64;
    let mut by_priority = Vec::new();
    for priority in Severity::ALL.iter().rev() {
        let of: Vec<&TestResult> = results.iter().filter(|result| result.priority == *priority).collect();
        if !of.is_empty() {
            by_priority.push((*priority, of.iter().filter(|result| result.verdict == Verdict::Pass).count(), of.len()));
        }
    }
    let failed = |result: &&TestResult| result.verdict == Verdict::Fail;
    let critical = results.iter().find(|result| result.priority == Severity::Critical && result.verdict == Verdict::Fail);
    let unknown = results.iter().filter(|result| matches!(result.verdict, Verdict::NoData | Verdict::Invalid)).count();
    // What could not be judged may still have passed.
    let best = (passed + unknown) as f64 / tests.max(1) as f64;
    let verdict = if critical.is_some() || best + 1e-9 < suite.pass {
        Verdict::Fail
    } else if unknown > 0
        && (score + 1e-9 < suite.pass || results.iter().any(|one| one.priority == Severity::Critical && one.verdict != Verdict::Pass))
    {
        Verdict::NoData
    } else {
        Verdict::Pass
    };
    let mut sentence = format!("{passed} of {tests} tests passed ({}); {} must.", format_percent(score), format_percent(suite.pass));
    let worst: Vec<&str> = results.iter().filter(failed).map(|result| result.test.as_str()).collect();
    if !worst.is_empty() {
        sentence.push_str(&format!(" Failed: {}.", worst.join(", ")));
    }
    if unknown > 0 {
        sentence.push_str(&format!(" {unknown} could not be judged."));
    }
    SuiteResult {
        suite: suite.name.clone(),
        description: suite.description.clone(),
        verdict,
        passed,
        tests,
        score,
        by_priority,
        sentence,
        results,
    }
}

/// The latest run that says something: one that nobody ended early.
async fn latest(store: &dyn Store, profile: &str) -> StoreResult<Option<Run>> {
    let filter = RunFilter { profile: Some(profile.into()), status: Some(RunStatus::Finished), limit: LATEST, ..RunFilter::default() };
    let runs = store.runs(&filter).await?;
    let counts = |run: &Run| !matches!(run.ended_by, Some(EndedBy::Cancelled | EndedBy::Signal | EndedBy::Crash) | None);
    Ok(runs.into_iter().find(counts))
}

async fn test_result(store: &dyn Store, test: &SuiteTest) -> Result<TestResult, CannotCompare> {
    let target = match &test.asks {
        Ask::Verdict => "the run passes".to_owned(),
        Ask::Holds(text, _) => text.clone(),
        Ask::Ratio(ratio) => ratio_words(ratio),
        Ask::Recovers(within) => format!("back within {} of the spike", format_duration(*within)),
        Ask::Steady(resources) => format!("no leak of {}", listed(resources)),
    };
    let run = latest(store, &test.profile).await?;
    let base = TestResult {
        test: test.name.clone(),
        profile: test.profile.clone(),
        priority: test.priority,
        verdict: Verdict::NoData,
        run: run.as_ref().map(|run| run.id.clone()),
        at: run.as_ref().map(|run| run.started_at),
        measured: "-".into(),
        target,
        note: None,
    };
    let Some(run) = run else { return Ok(TestResult { note: Some(format!("`{}` has not run yet", test.profile)), ..base }) };
    if run.verdict == Some(Verdict::Invalid) {
        return Ok(TestResult { verdict: Verdict::Invalid, note: run.reasons.first().cloned(), ..base });
    }
    Ok(match &test.asks {
        Ask::Verdict => {
            let verdict = run.verdict.unwrap_or(Verdict::NoData);
            TestResult {
                verdict,
                measured: verdict.to_string(),
                note: run.reasons.first().cloned().filter(|_| verdict != Verdict::Pass),
                ..base
            }
        }
        Ask::Holds(text, series) => {
            let found = replay(store, &run, text, series).await?;
            let measured = found.as_ref().map_or_else(|| "-".into(), |found| found.shown.clone());
            let verdict = found.as_ref().map_or(Verdict::NoData, |found| found.verdict);
            TestResult { verdict, measured, note: found.map(|found| found.reason).filter(|_| verdict != Verdict::Pass), ..base }
        }
        Ask::Ratio(asked) => ratio(store, &run, asked, base).await?,
        Ask::Recovers(within) => recovers(analysed(&run), *within, base),
        Ask::Steady(resources) => steady(analysed(&run), resources, base),
    })
}

fn analysed(run: &Run) -> &[Analysed] {
    run.summary.as_ref().map(|summary| std::slice::from_ref(&summary.analysed)).unwrap_or_default()
}

/// A threshold over the stored seconds of a run that has ended.
async fn replay(store: &dyn Store, run: &Run, text: &str, series: &Series) -> Result<Option<ThresholdResult>, CannotCompare> {
    let threshold = Threshold {
        text: text.into(),
        series: series.clone(),
        abort_on_fail: false,
        delay_abort_eval: std::time::Duration::ZERO,
        exclude_ramp: false,
        severity: Severity::Medium,
    };
    let mut watchers = Watchers::new(&[threshold], &[]);
    let end = run.summary.as_ref().map_or(0, |summary| summary.seconds.ceil() as u32 + 1);
    let mut start = 0;
    while start < end {
        let to = start.saturating_add(PIECE).min(end);
        for interval in store.intervals(&run.id, start, to).await? {
            watchers.interval(&run.catalog, &interval);
        }
        let moment = |second: u32| run.started_at.plus(std::time::Duration::from_secs(second.into()));
        let filter =
            ReadingFilter { run: Some(run.id.clone()), from: Some(moment(start)), to: Some(moment(to)), ..ReadingFilter::default() };
        for reading in store.readings(&filter).await? {
            watchers.reading(&run.catalog, &reading);
        }
        start = to;
    }
    Ok(watchers.results().pop())
}

fn ratio_words(asked: &PhaseRatio) -> String {
    let step = asked.step.as_ref().map(|step| format!(" of {step}")).unwrap_or_default();
    format!(
        "{}{step} in {} over {} {} {}",
        asked.figure,
        asked.phase,
        asked.with,
        asked.bound.op.as_str(),
        format_percent(asked.bound.value)
    )
}

async fn ratio(store: &dyn Store, run: &Run, asked: &PhaseRatio, base: TestResult) -> Result<TestResult, CannotCompare> {
    let sides = (read_side(store, run, Some(&asked.with)).await, read_side(store, run, Some(&asked.phase)).await);
    let (first, second) = match sides {
        (Ok(first), Ok(second)) => (first, second),
        (Err(CannotCompare::UnknownPart(error)), _) | (_, Err(CannotCompare::UnknownPart(error))) => {
            return Ok(TestResult { note: Some(error.to_string()), ..base });
        }
        (Err(error), _) | (_, Err(error)) => return Err(error),
    };
    let compared = compare(&first, &second, None);
    let of_step = |row: &&Row| match (&asked.step, &row.subject) {
        (None, None) => true,
        (Some(step), Some(subject)) => subject.split_once('/').is_some_and(|(_, name)| name == step),
        // A probe's metric is of a probe, whatever it is called.
        (None, Some(_)) => row.figure != "p50" && row.figure != "p95" && row.figure != "p99" && row.figure != "throughput",
        (Some(_), None) => false,
    };
    let row = compared.rows.iter().filter(of_step).find(|row| row.figure == asked.figure);
    let Some(found) = row.and_then(|row| row.ratio) else {
        return Ok(TestResult { note: Some("the figure was not measured in both phases".into()), ..base });
    };
    let holds = |value: f64| asked.bound.op.holds(value, asked.bound.value);
    let sure = found.low.is_finite() && holds(found.low) == holds(found.value) && holds(found.high) == holds(found.value);
    let span =
        if found.low.is_finite() { format!(" ({} to {})", format_percent(found.low), format_percent(found.high)) } else { String::new() };
    let same = row.is_some_and(|row| row.outcome == Outcome::Same);
    let note = match (sure, same) {
        (false, _) => Some("the interval of the ratio reaches across the target".to_owned()),
        (true, true) => Some("the two phases are the same within a tenth".to_owned()),
        (true, false) => None,
    };
    let verdict = if holds(found.value) { Verdict::Pass } else { Verdict::Fail };
    Ok(TestResult { verdict, measured: format!("{}{span}", format_percent(found.value)), note, ..base })
}
