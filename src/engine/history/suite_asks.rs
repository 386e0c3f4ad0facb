//! Tests of a suite that ask what analysis concluded of a run: whether it recovered from its spike in time, whether something leaks. What
//! analysis could not tell is "no data", never passed. Pure.

use std::time::Duration;

use crate::model::analysed::{Analysed, RecoveryState, Resource, TrendVerdict};
use crate::model::run::Verdict;
use crate::model::suite::TestResult;
use crate::model::units::format_duration;

/// Names in a row: `memory and connections`.
pub(super) fn listed(resources: &[Resource]) -> String {
    let names: Vec<&str> = resources.iter().map(|resource| resource.as_str()).collect();
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        Some((last, _)) => (*last).to_owned(),
        None => "anything".into(),
    }
}

/// Whether every figure that could be judged was back in time.
pub(super) fn recovers(analysed: &[Analysed], within: Duration, base: TestResult) -> TestResult {
    let mut measured = Vec::new();
    let mut late = Vec::new();
    for found in analysed.iter().flat_map(|analysed| &analysed.recoveries) {
        match (found.state, found.after_s) {
            (RecoveryState::Recovered, Some(after)) => {
                measured.push(format!("{} {}", found.what, format_duration(Duration::from_secs_f64(after.max(0.0)))));
                if after > within.as_secs_f64() {
                    late.push(format!("{} was back too late", found.what));
                }
            }
            (RecoveryState::StaysWorse, _) => {
                measured.push(format!("{} not back", found.what));
                late.push(format!("{} was still worse at the end", found.what));
            }
            (RecoveryState::Unknown | RecoveryState::Recovered, _) => {}
        }
    }
    if measured.is_empty() {
        return TestResult { note: Some("no spike was seen that the run has figures before and after of".into()), ..base };
    }
    let verdict = if late.is_empty() { Verdict::Pass } else { Verdict::Fail };
    TestResult { verdict, measured: measured.join(", "), note: Some(late.join("; ")).filter(|note| !note.is_empty()), ..base }
}

/// Whether none of `resources` leaks; each of them has to have been followed.
pub(super) fn steady(analysed: &[Analysed], resources: &[Resource], base: TestResult) -> TestResult {
    let (mut measured, mut bad, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
    for resource in resources {
        let trends = analysed.iter().flat_map(|analysed| &analysed.trends).filter(|trend| trend.resource == *resource);
        let mut told = false;
        for trend in trends {
            match trend.verdict {
                TrendVerdict::Leak => {
                    told = true;
                    bad.push(trend.title.clone());
                    measured.push(format!("{resource} leaks"));
                }
                TrendVerdict::NoLeak | TrendVerdict::Levelling | TrendVerdict::Tiny | TrendVerdict::Step => {
                    told = true;
                    measured.push(format!("{resource} {}", trend.verdict.as_str().replace('_', " ")));
                }
                TrendVerdict::Unknown => {}
            }
        }
        if !told {
            unknown.push(format!("nothing could be told of {resource}"));
        }
    }
    let verdict = match (bad.is_empty(), unknown.is_empty()) {
        (false, _) => Verdict::Fail,
        (true, false) => Verdict::NoData,
        (true, true) => Verdict::Pass,
    };
    let note = Some([bad, unknown].concat().join("; ")).filter(|note| !note.is_empty());
    let measured = if measured.is_empty() { "-".into() } else { measured.join(", ") };
    TestResult { verdict, measured, note, ..base }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Labels;
    use crate::model::alerting::Severity;
    use crate::model::analysed::{RecoveryFound, TrendFound};

    fn base() -> TestResult {
        TestResult {
            test: "t".into(),
            profile: "p".into(),
            priority: Severity::Medium,
            verdict: Verdict::NoData,
            run: None,
            at: None,
            measured: "-".into(),
            target: String::new(),
            note: None,
        }
    }

    fn recovery(what: &str, state: RecoveryState, after_s: Option<f64>) -> RecoveryFound {
        RecoveryFound { what: what.into(), state, after_s, worst: None, spike_from_s: 10.0, spike_to_s: 20.0 }
    }

    fn trend(resource: Resource, verdict: TrendVerdict) -> TrendFound {
        TrendFound {
            resource,
            probe: None,
            labels: Labels::new(),
            verdict,
            sureness: None,
            per_hour: None,
            limit: None,
            exhausted_in_s: None,
            detectable: None,
            detectable_per_hour: None,
            from_s: 0.0,
            to_s: 60.0,
            title: format!("{resource} grows by 1 MB/h"),
        }
    }

    #[test]
    fn back_in_time_is_passed_late_or_not_at_all_is_failed_and_silence_is_neither() {
        let within = Duration::from_secs(5);
        for (found, verdict, measured) in [
            (vec![recovery("p95", RecoveryState::Recovered, Some(4.0))], Verdict::Pass, "p95 4s"),
            (vec![recovery("p95", RecoveryState::Recovered, Some(6.0))], Verdict::Fail, "p95 6s"),
            (vec![recovery("p95", RecoveryState::StaysWorse, None)], Verdict::Fail, "p95 not back"),
            (
                vec![recovery("p95", RecoveryState::Recovered, Some(1.0)), recovery("failures", RecoveryState::StaysWorse, None)],
                Verdict::Fail,
                "p95 1s, failures not back",
            ),
            (vec![recovery("p95", RecoveryState::Unknown, None)], Verdict::NoData, "-"),
            (vec![], Verdict::NoData, "-"),
        ] {
            let result = recovers(&[Analysed { recoveries: found, ..Analysed::default() }], within, base());
            assert_eq!((result.verdict, result.measured.as_str()), (verdict, measured));
        }
    }

    #[test]
    fn a_leak_fails_and_what_was_not_followed_is_no_data() {
        let both = [Resource::Memory, Resource::Connections];
        for (found, verdict) in [
            (vec![trend(Resource::Memory, TrendVerdict::NoLeak), trend(Resource::Connections, TrendVerdict::Tiny)], Verdict::Pass),
            (vec![trend(Resource::Memory, TrendVerdict::NoLeak)], Verdict::NoData),
            (vec![trend(Resource::Memory, TrendVerdict::NoLeak), trend(Resource::Connections, TrendVerdict::Unknown)], Verdict::NoData),
            (vec![trend(Resource::Memory, TrendVerdict::Leak)], Verdict::Fail),
        ] {
            let result = steady(&[Analysed { trends: found, ..Analysed::default() }], &both, base());
            assert_eq!(result.verdict, verdict, "{result:?}");
        }
        assert_eq!(listed(&both), "memory and connections");
    }
}
