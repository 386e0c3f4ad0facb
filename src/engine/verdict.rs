//! What a run comes to. Never green when blind: nothing measured is `no_data`, load that was not delivered is `invalid`. Pure.

use std::collections::BTreeMap;

use crate::model::failure::Reason;
use crate::model::run::{EndedBy, Summary, ThresholdResult, Verdict};
use crate::model::staircase::ClimbSummary;
use crate::model::units::{format_percent, trim_decimal};

/// Start lag at the 99th percentile above which the generator was too late for its figures to count.
const LATE_P99_US: u64 = 250_000;
/// Longest time a load thread may stand still.
const STALL_US: u64 = 2_000_000;

/// Share of a run's seconds in which a load thread may use its core up and be late.
const SATURATED_SHARE: f64 = 0.1;
/// So many such seconds are an exception, however short the run.
const LEAST_SECONDS: u32 = 3;

/// A verdict with its reasons, most important first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// `None` when the run ended before it could be judged.
    pub verdict: Option<Verdict>,
    /// One sentence each.
    pub reasons: Vec<String>,
}

/// Judges a run that has ended. `guarded` is what the target's guards did to it, one sentence each.
///
/// The generator comes first: if it was late or stood still, nothing it measured counts (`invalid`). Then what failed (`fail`), then
/// load that was not delivered (`invalid`), then what was not measured (`no_data`). Only what is left has passed.
pub fn judge(summary: &Summary, thresholds: &[ThresholdResult], ended: EndedBy, guarded: &[String], max_undelivered: f64) -> Judgement {
    if ended == EndedBy::Setup {
        return Judgement { verdict: Some(Verdict::Invalid), reasons: vec!["no load was sent".into()] };
    }
    let unfit = generator_unfit(summary);
    let failures = failures(summary, thresholds, guarded);
    if ended == EndedBy::Cancelled || ended == EndedBy::Signal {
        let mut reasons = vec!["the run was ended early".to_owned()];
        let failed = !failures.is_empty() && thresholds.iter().any(|threshold| threshold.verdict == Verdict::Fail);
        reasons.extend(failures);
        return Judgement { verdict: failed.then_some(Verdict::Fail), reasons };
    }
    let undelivered = undelivered(summary, max_undelivered);
    let blind = blind(summary, thresholds);
    for (verdict, reasons) in
        [(Verdict::Invalid, unfit), (Verdict::Fail, failures), (Verdict::Invalid, undelivered), (Verdict::NoData, blind)]
    {
        if !reasons.is_empty() {
            return Judgement { verdict: Some(verdict), reasons };
        }
    }
    let reason = match thresholds.len() {
        0 => "requests succeeded; the profile has no thresholds".to_owned(),
        1 => "the threshold holds".to_owned(),
        count => format!("all {count} thresholds hold"),
    };
    Judgement { verdict: Some(Verdict::Pass), reasons: vec![reason] }
}

fn generator_unfit(summary: &Summary) -> Vec<String> {
    let mut reasons = Vec::new();
    for scenario in &summary.scenarios {
        if let Some(lag) = scenario.start_lag.filter(|lag| lag.p99_us > LATE_P99_US) {
            reasons.push(format!(
                "the load generator was late: 1 % of the starts of `{}` were more than {} ms behind; use more load threads or a machine with more CPU",
                scenario.scenario,
                lag.p99_us / 1000
            ));
        }
    }
    let generator = &summary.generator;
    if is_worth_saying(generator.late_seconds, summary.seconds) {
        reasons.push(format!(
            "the load generator was at its limit: in {} of {:.0} seconds a load thread used its core up and saw answers up to {} ms late; \
             use more load threads, a machine with more CPU, or less load",
            generator.late_seconds,
            summary.seconds.ceil(),
            generator.late_max_us / 1_000
        ));
    }
    if summary.generator.stall_max_us > STALL_US {
        let seconds = trim_decimal(summary.generator.stall_max_us as f64 / 1e6, 1);
        reasons.push(format!("the load generator stood still for {seconds} s; its own machine is overloaded"));
    }
    reasons
}

/// True when so many seconds of a run are more than an exception.
fn is_worth_saying(seconds: u32, of: f64) -> bool {
    seconds >= LEAST_SECONDS && f64::from(seconds) > of * SATURATED_SHARE
}

/// What has to be known of a run whose generator had no CPU left, and that was not late for that: who asks for as much as it can give gets
/// a throughput that is the generator's.
pub fn saturated(summary: &Summary) -> Option<String> {
    let generator = &summary.generator;
    let worth = is_worth_saying(generator.saturated_seconds, summary.seconds) && !is_worth_saying(generator.late_seconds, summary.seconds);
    worth.then(|| {
        format!(
            "a load thread used its core up in {} of {:.0} seconds: more throughput needs more load threads or more CPU; response times hold up to {} ms of its own delay",
            generator.saturated_seconds,
            summary.seconds.ceil(),
            trim_decimal(f64::from(generator.late_max_us) / 1_000.0, 1)
        )
    })
}

fn failures(summary: &Summary, thresholds: &[ThresholdResult], guarded: &[String]) -> Vec<String> {
    let mut reasons: Vec<String> =
        thresholds.iter().filter(|result| result.verdict == Verdict::Fail).map(|result| result.reason.clone()).collect();
    reasons.extend_from_slice(guarded);
    reasons.extend(without_success(summary));
    reasons.extend(not_climbed(summary, Verdict::Fail));
    if !reasons.is_empty() {
        reasons.extend(summary.total.said());
    }
    reasons
}

/// Who asked and never got what it asked for: everything together, or else each scenario of its own.
fn without_success(summary: &Summary) -> Vec<String> {
    let sentence = |requests: u64, of: &str, counted: BTreeMap<&Reason, u64>| {
        let most = counted.into_iter().max_by_key(|(_, count)| *count);
        let most = most.map(|(reason, count)| format!(" ({reason}: {count})")).unwrap_or_default();
        format!("none of {requests} requests{of} succeeded{most}")
    };
    let total = &summary.total;
    if total.requests > 0 && total.requests == total.failed {
        return vec![sentence(total.requests, "", total.reasons.iter().map(|(reason, count)| (reason, *count)).collect())];
    }
    let mut scenarios: BTreeMap<&str, (u64, u64, BTreeMap<&Reason, u64>)> = BTreeMap::new();
    for step in &summary.steps {
        let (requests, failed, reasons) = scenarios.entry(&step.scenario).or_default();
        (*requests, *failed) = (*requests + step.requests, *failed + step.failed);
        step.reasons.iter().for_each(|(reason, count)| *reasons.entry(reason).or_default() += count);
    }
    // What was only cut off at the end was not refused: such a scenario completed nothing, and is not delivered. Nor is it the target
    // that refuses when the flow cannot be filled in or finds nothing to extract: such a run proves nothing.
    let others = |reason: &Reason| matches!(reason, Reason::Interrupted | Reason::Script(_) | Reason::Extract(_));
    let by_target = |reasons: &BTreeMap<&Reason, u64>| reasons.keys().any(|reason| !others(reason));
    let refused = scenarios.into_iter().filter(|(_, (requests, failed, why))| *requests > 0 && requests == failed && by_target(why));
    refused.map(|(name, (requests, _, reasons))| sentence(requests, &format!(" of `{name}`"), reasons)).collect()
}

/// Staircases of which no level passed, and that come to this verdict: what no level could be measured of has not failed.
fn not_climbed(summary: &Summary, wanted: Verdict) -> Vec<String> {
    let none_passed = summary.climbs.iter().filter(|climb| climb.passed.is_none());
    none_passed
        .filter(|climb| {
            let any = |verdict: Verdict| climb.levels.iter().any(|level| level.verdict == verdict);
            let comes_to = match (any(Verdict::Fail), any(Verdict::Invalid)) {
                (true, _) => Verdict::Fail,
                (false, true) => Verdict::Invalid,
                (false, false) => Verdict::NoData,
            };
            comes_to == wanted
        })
        .map(ClimbSummary::sentence)
        .collect()
}

fn undelivered(summary: &Summary, limit: f64) -> Vec<String> {
    let mut reasons = not_climbed(summary, Verdict::Invalid);
    // A staircase with a gate looks for the level at which it is not delivered any more: there it is judged level by level.
    let climbs = |name: &str| summary.climbs.iter().any(|climb| climb.scenario == name);
    for scenario in &summary.scenarios {
        let counts = &scenario.counts;
        let lost = counts.dropped + counts.unsent;
        let share = lost as f64 / counts.scheduled.max(1) as f64;
        // Starts that are due by the clock are censored when they are dropped; iterations that time did not suffice for are not.
        let ended = summary.data_ended.iter().any(|end| end.scenario == scenario.scenario);
        let (why, what_to_do) = if counts.dropped > 0 && scenario.censored == 0 && ended {
            ("for which the data had no row left", "add rows, ask for less, or write `at_end: recycle`")
        } else if counts.dropped > 0 && scenario.censored == 0 {
            ("not started in time", "raise maxDuration or lower the number of iterations")
        } else {
            ("dropped for want of a free VU", "raise maxVUs or lower the rate")
        };
        if share > limit && !climbs(&scenario.scenario) {
            reasons.push(format!(
                "{} of the starts of `{}` were not delivered ({} {why}, {} not sent); more than {} is invalid: {what_to_do}",
                format_percent(share),
                scenario.scenario,
                counts.dropped,
                counts.unsent,
                format_percent(limit)
            ));
        }
        if counts.started > 0 && counts.completed == 0 {
            reasons.push(format!(
                "no iteration of `{}` was completed: {} broke off, {} were cut off at the end",
                scenario.scenario, counts.failed, counts.interrupted
            ));
        }
        if counts.failed * 2 > counts.started {
            reasons.push(format!("{} of {} iterations of `{}` broke off", counts.failed, counts.started, scenario.scenario));
        }
    }
    reasons
}

fn blind(summary: &Summary, thresholds: &[ThresholdResult]) -> Vec<String> {
    if summary.total.requests == 0 {
        return vec!["no request was made".into()];
    }
    let nothing = thresholds.iter().filter(|result| result.verdict == Verdict::NoData).map(|result| result.reason.clone());
    nothing.chain(not_climbed(summary, Verdict::NoData)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::alerting::Severity;
    use crate::model::measure::Accounting;
    use crate::model::run::{GeneratorSummary, LatencySummary, ScenarioSummary, StepSummary};
    use crate::model::staircase::LevelResult;

    fn threshold(verdict: Verdict) -> ThresholdResult {
        ThresholdResult {
            text: "http_req_duration: p(95) < 200ms".into(),
            verdict,
            actual: None,
            shown: String::new(),
            reason: "the reason".into(),
            severity: Severity::High,
            first_breach: None,
        }
    }

    fn summary(requests: u64, failed: u64, counts: Accounting) -> Summary {
        Summary {
            total: StepSummary { requests, failed, reasons: [(Reason::ConnectRefused, failed)].into(), ..StepSummary::default() },
            scenarios: vec![ScenarioSummary { scenario: "main".into(), counts, ..ScenarioSummary::default() }],
            ..Summary::default()
        }
    }

    fn done(completed: u64) -> Accounting {
        Accounting { scheduled: completed, started: completed, completed, ..Accounting::default() }
    }

    fn verdict(summary: &Summary, thresholds: &[ThresholdResult]) -> Option<Verdict> {
        judge(summary, thresholds, EndedBy::Completed, &[], 0.05).verdict
    }

    #[test]
    fn the_false_greens_are_not_green() {
        // The target refuses everything and there is only a latency threshold, which therefore has no data.
        assert_eq!(verdict(&summary(10, 10, done(10)), &[threshold(Verdict::NoData)]), Some(Verdict::Fail));
        // Every iteration throws.
        let thrown = Accounting { scheduled: 10, started: 10, failed: 10, ..Accounting::default() };
        assert_eq!(verdict(&summary(10, 0, thrown), &[threshold(Verdict::Pass)]), Some(Verdict::Invalid));
        // 92 % of the iterations are dropped.
        let dropped = Accounting { scheduled: 100, started: 8, completed: 8, dropped: 92, ..Accounting::default() };
        assert_eq!(verdict(&summary(8, 0, dropped), &[threshold(Verdict::Pass)]), Some(Verdict::Invalid));
        // Every iteration is interrupted.
        let interrupted = Accounting { scheduled: 10, started: 10, interrupted: 10, ..Accounting::default() };
        assert_eq!(verdict(&summary(5, 0, interrupted), &[threshold(Verdict::Pass)]), Some(Verdict::Invalid));
        // Nothing was sent at all.
        assert_eq!(verdict(&summary(0, 0, Accounting::default()), &[]), Some(Verdict::NoData));
    }

    #[test]
    fn a_healthy_run_passes_and_a_breach_fails() {
        let summary = summary(10, 0, done(10));
        assert_eq!(verdict(&summary, &[threshold(Verdict::Pass)]), Some(Verdict::Pass));
        assert_eq!(verdict(&summary, &[threshold(Verdict::Pass), threshold(Verdict::NoData)]), Some(Verdict::NoData));
        assert_eq!(verdict(&summary, &[threshold(Verdict::Fail), threshold(Verdict::NoData)]), Some(Verdict::Fail));
    }

    #[test]
    fn a_scenario_that_is_refused_everything_is_not_hidden_behind_a_healthy_one() {
        let mut both = summary(20, 10, done(20));
        let step = |scenario: &str, requests, failed| StepSummary {
            scenario: scenario.into(),
            step: "call".into(),
            requests,
            failed,
            reasons: [(Reason::ConnectRefused, failed)].into(),
            ..StepSummary::default()
        };
        both.steps = vec![step("http", 10, 0), step("grpc", 6, 6), step("grpc", 4, 4)];
        let judged = judge(&both, &[threshold(Verdict::Pass)], EndedBy::Completed, &[], 0.05);
        assert_eq!(judged.verdict, Some(Verdict::Fail));
        assert_eq!(judged.reasons[0], "none of 10 requests of `grpc` succeeded (connect_refused: 10)");
        both.steps[2].failed = 3;
        assert_eq!(verdict(&both, &[threshold(Verdict::Pass)]), Some(Verdict::Pass));
    }

    #[test]
    fn a_staircase_of_which_no_level_passed_has_not_passed() {
        let level = |verdict| LevelResult {
            level: 60.0,
            shown: "60/s".into(),
            phase: "level-60/s".into(),
            from: 0,
            to: 3,
            verdict,
            reasons: vec!["why".into()],
            gate: vec![],
        };
        let dropped = Accounting { scheduled: 100, started: 8, completed: 8, dropped: 92, ..Accounting::default() };
        for (levels, passed, expected) in [
            (vec![Verdict::Invalid], None, Verdict::Invalid),
            (vec![Verdict::Invalid, Verdict::Invalid], None, Verdict::Invalid),
            (vec![Verdict::Invalid, Verdict::Fail], None, Verdict::Fail),
            (vec![Verdict::Fail], None, Verdict::Fail),
            (vec![Verdict::NoData], None, Verdict::NoData),
            (vec![], None, Verdict::NoData),
            (vec![Verdict::Pass, Verdict::Fail], Some(50.0), Verdict::Pass),
            (vec![Verdict::Pass, Verdict::Invalid], Some(50.0), Verdict::Pass),
        ] {
            let failed = levels.iter().any(|verdict| *verdict != Verdict::Pass).then_some(60.0);
            let levels: Vec<LevelResult> = levels.into_iter().map(level).collect();
            let climb = ClimbSummary { scenario: "main".into(), unit: "/s".into(), levels, passed, failed, resolution: None };
            let climbed = Summary { climbs: vec![climb], ..summary(8, 0, dropped) };
            let judged = judge(&climbed, &[], EndedBy::Completed, &[], 0.01);
            assert_eq!(judged.verdict, Some(expected), "{:?}: {:?}", climbed.climbs, judged.reasons);
        }
    }

    #[test]
    fn load_that_lacked_data_says_so() {
        let counts = Accounting { scheduled: 100, started: 12, completed: 12, dropped: 88, ..Accounting::default() };
        let mut summary = summary(12, 0, counts);
        summary.data_ended = vec![crate::model::run::DataEnd { scenario: "main".into(), data: "users".into(), rows: 12 }];
        let judged = judge(&summary, &[threshold(Verdict::Pass)], EndedBy::Completed, &[], 0.05);
        assert_eq!(judged.verdict, Some(Verdict::Invalid));
        assert!(judged.reasons[0].contains("88 for which the data had no row left"), "{:?}", judged.reasons);
        // VUs that loop until the data are used were asked for no more than that.
        summary.scenarios[0].counts = done(12);
        assert_eq!(verdict(&summary, &[threshold(Verdict::Pass)]), Some(Verdict::Pass));
    }

    #[test]
    fn a_late_generator_makes_everything_it_measured_invalid() {
        let mut summary = summary(10, 0, done(10));
        summary.scenarios[0].start_lag = Some(LatencySummary { p99_us: 400_000, ..LatencySummary::default() });
        let judged = judge(&summary, &[threshold(Verdict::Fail)], EndedBy::Completed, &[], 0.05);
        assert_eq!(judged.verdict, Some(Verdict::Invalid));
        assert!(judged.reasons[0].starts_with("the load generator was late"), "{:?}", judged.reasons);
    }

    #[test]
    fn a_generator_at_its_limit_spoils_what_it_was_late_for_and_nothing_else() {
        for (seconds, saturated_seconds, late_seconds, expected, says) in [
            // A closed loop that asks for all it can get, and still sees answers when they come.
            (60.0, 60, 0, Verdict::Pass, true),
            (60.0, 60, 6, Verdict::Pass, true),
            (60.0, 60, 7, Verdict::Invalid, false),
            (60.0, 7, 7, Verdict::Invalid, false),
            (60.0, 6, 6, Verdict::Pass, false),
            // Two seconds of a short run are where it begins and ends.
            (5.0, 2, 2, Verdict::Pass, false),
            (5.0, 3, 3, Verdict::Invalid, false),
            (60.0, 0, 0, Verdict::Pass, false),
        ] {
            let generator = GeneratorSummary { saturated_seconds, late_seconds, late_max_us: 120_000, ..GeneratorSummary::default() };
            let run = Summary { seconds, generator, ..summary(10, 0, done(10)) };
            let judged = judge(&run, &[threshold(Verdict::Pass)], EndedBy::Completed, &[], 0.05);
            assert_eq!(judged.verdict, Some(expected), "{generator:?}");
            assert_eq!(saturated(&run).is_some(), says, "{generator:?}");
            if expected == Verdict::Invalid {
                assert!(judged.reasons[0].contains("at its limit") && judged.reasons[0].contains("120 ms"), "{:?}", judged.reasons);
            }
        }
    }

    #[test]
    fn a_run_that_was_ended_early_is_judged_only_by_what_failed_already() {
        let summary = summary(10, 0, done(10));
        let guarded = ["the target's guard `g` halved the load at second 3".to_owned()];
        let halved = judge(&summary, &[threshold(Verdict::Pass)], EndedBy::Completed, &guarded, 0.05);
        assert_eq!((halved.verdict, halved.reasons), (Some(Verdict::Fail), guarded.to_vec()));
        assert_eq!(judge(&summary, &[threshold(Verdict::Pass)], EndedBy::Setup, &[], 0.05).verdict, Some(Verdict::Invalid));
        assert_eq!(judge(&summary, &[threshold(Verdict::Pass)], EndedBy::Cancelled, &[], 0.05).verdict, None);
        assert_eq!(judge(&summary, &[threshold(Verdict::Fail)], EndedBy::Signal, &[], 0.05).verdict, Some(Verdict::Fail));
    }
}
