//! Tests of the module above; what people read is held by snapshots.

use super::*;
use crate::model::alerting::{Message, MessageKind, Severity};
use crate::model::run::{EndedBy, RunStatus, Verdict};
use crate::model::sample;
use crate::model::staircase::{ClimbSummary, LevelResult};

#[test]
fn the_summary_of_a_failed_run() {
    insta::assert_snapshot!(summary_text(&sample::finished(), &sample::findings()));
}

#[test]
fn the_summary_of_a_run_without_figures_has_no_zeros() {
    let mut run = sample::finished();
    run.status = RunStatus::Interrupted;
    run.ended_by = Some(EndedBy::Crash);
    run.verdict = None;
    run.summary = None;
    run.thresholds.clear();
    run.reasons = vec!["the daemon died in second 17".into()];
    insta::assert_snapshot!(summary_text(&run, &[]));
}

#[test]
fn the_levels_of_a_staircase_stand_in_the_order_in_which_they_were_climbed() {
    let mut run = sample::finished();
    let level = |level: f64, verdict, from, reasons: &[&str]| LevelResult {
        level,
        shown: format!("{level}/s"),
        phase: format!("level-{level}/s"),
        from,
        to: from + 60,
        verdict,
        reasons: reasons.iter().map(|reason| (*reason).to_owned()).collect(),
        gate: Vec::new(),
    };
    let slow = "http_req_duration{scenario:climb} p(95) is 1.04s, asked for < 600ms: 73.2 % over";
    let levels = vec![level(50.0, Verdict::Pass, 0, &[]), level(100.0, Verdict::Fail, 62, &[slow]), level(75.0, Verdict::NoData, 129, &[])];
    let (scenario, unit, resolution) = ("climb".to_owned(), "/s".to_owned(), Some(10.0));
    run.summary.as_mut().unwrap().climbs.push(ClimbSummary { scenario, unit, levels, passed: Some(50.0), failed: Some(75.0), resolution });
    let text = summary_text(&run, &[]);
    let section: Vec<&str> = text.lines().skip_while(|line| *line != "Levels").take_while(|line| !line.is_empty()).collect();
    insta::assert_snapshot!(section.join("\n"));
}

#[test]
fn a_step_that_was_never_answered_has_dashes() {
    let mut run = sample::finished();
    let summary = run.summary.as_mut().unwrap();
    let step = &mut summary.steps[1];
    step.duration = None;
    step.checks.clear();
    step.requests = 0;
    step.failed = 0;
    step.per_second = 0.0;
    let text = summary_text(&run, &[]);
    let line = text.lines().find(|line| line.trim_start().starts_with("buy  ")).unwrap();
    assert_eq!(line.split_whitespace().collect::<Vec<_>>(), ["buy", "0", "0", "0", "-", "-", "-", "-", "-", "-"]);
}

#[test]
fn what_was_sent_again_and_not_heard_stands_below_the_steps() {
    let mut run = sample::finished();
    assert!(!summary_text(&run, &[]).contains("sent again"), "nothing was");
    let summary = run.summary.as_mut().unwrap();
    (summary.total.resent, summary.total.unheard, summary.steps[1].resent, summary.steps[0].unheard) = (12, 340, 12, 340);
    let text = summary_text(&run, &[]);
    let all = text.lines().skip_while(|line| !line.starts_with("  all ")).skip(1).take(2).collect::<Vec<_>>();
    let steps = [&run.summary.as_ref().unwrap().steps[1].step, &run.summary.as_ref().unwrap().steps[0].step];
    let again = format!("  12 requests were sent again on another connection: 12 in {}", steps[0]);
    assert_eq!(all, [again, format!("  340 messages were not heard: 340 in {}", steps[1])]);
}

#[test]
fn progress_lines_fit_the_terminal() {
    let lines: Vec<String> = [0, 11, 12, 25, 39].map(|second| progress_line(&sample::progress(second))).to_vec();
    insta::assert_snapshot!(lines.join("\n"));
    let mut wide = sample::progress(25);
    wide.phase = "a stage with a very long name".into();
    wide.dropped_total = 123_456;
    wide.pools = vec![wide.pools[0].clone(); 5];
    for line in lines.iter().chain([&progress_line(&wide)]) {
        assert!(line.chars().count() <= 100, "{line}");
    }
}

#[test]
fn a_list_of_runs() {
    let mut aborted = sample::finished();
    aborted.verdict = Some(Verdict::Pass);
    insta::assert_snapshot!(runs_table(&[&sample::running(), &sample::finished(), &aborted].map(crate::model::run::RunLine::from)));
}

#[test]
fn messages_say_what_happened() {
    let mut message = Message {
        incident: "inc-1".into(),
        kind: MessageKind::Fired,
        seq: 1,
        severity: Severity::High,
        rule: "pool-nearly-full".into(),
        subject: "pool `main` of shop at 100 % of 20".into(),
        headline: "Fired: pool `main` of shop at 100 % of 20 for 12s".into(),
        lines: vec![("value".into(), "100 %".into()), ("limit".into(), "80 %".into())],
        labels: crate::model::Labels::new(),
        started_at: sample::START,
        at: sample::START,
        ended_at: None,
        link: Some("http://127.0.0.1:9611/runs/20261121-020000-checkout-7k3f".into()),
        runbook: None,
        run: None,
        alerts: Vec::new(),
    };
    let fired = message_text(&message);
    message.kind = MessageKind::Resolved;
    message.headline = "Resolved after 3m12s: pool `main` of shop".into();
    insta::assert_snapshot!(format!("{fired}\n{}", message_text(&message)));
}

#[test]
fn a_run_survives_its_json() {
    let run = sample::finished();
    assert_eq!(serde_json::from_value::<crate::model::run::Run>(run_json(&run)).unwrap(), run);
    let row = run_row_json(&crate::model::run::RunLine::from(&sample::running()));
    assert!(row["requests"].is_null() && row["verdict"].is_null() && row["p95_us"].is_null(), "what was not measured is null: {row}");
}

#[test]
fn a_second_that_is_not_stored_is_absent_in_series() {
    let run = sample::running();
    let intervals: Vec<_> = [3, 4, 6].map(sample::interval).to_vec();
    let series = series::RunSeries::of(&run.catalog, &intervals, 2, 8);
    let present: Vec<bool> = series.p95_us.iter().map(Option::is_some).collect();
    assert_eq!(present, [false, true, true, false, true, false]);
    assert_eq!(series.requests.iter().map(Option::is_some).collect::<Vec<_>>(), present);
}
