//! What a rule does over a run, between runs, across restarts and reloads.

use std::fmt::Write;

use super::*;
use crate::alert::outgoing;
use crate::alert::properties::{Stored, policy, rule};
use crate::model::alerting::{AlertState, MessageKind, Severity};
use crate::model::catalog::{Catalog, PhaseWindow, ScenarioMeta, StepMeta};
use crate::model::measure::StepInterval;
use crate::model::run::{RunStatus, Trigger, Verdict};
use crate::model::threshold::parse_bound;

fn start() -> Timestamp {
    Timestamp::parse("2026-11-21T02:03:00Z").unwrap()
}

fn at(second: u64) -> Timestamp {
    start().plus(Duration::from_secs(second))
}

fn pool(value: f64) -> Point {
    Point::new("pool_utilization", value).with("pool", "main").with("probe", "app").with("target", "shop")
}

fn with_recover(when: &str, recover: &str) -> Rule {
    let mut rule = rule(when);
    let Condition::Series(series) = &rule.when else { unreachable!() };
    rule.recover = Some(parse_bound(recover, series).unwrap());
    rule
}

fn catalog() -> Catalog {
    let phase = |name: &str, start, end| PhaseWindow {
        name: name.into(),
        start: Duration::from_secs(start),
        end: Duration::from_secs(end),
        ramp: false,
    };
    Catalog {
        groups: vec![],
        seed: None,
        scenarios: vec![ScenarioMeta {
            name: "users".into(),
            executor: "ramping-vus".into(),
            open: false,
            tags: std::collections::BTreeMap::new(),
            phases: vec![phase("up", 0, 10), phase("hold", 10, 40)],
            start: Duration::ZERO,
            duration: Duration::from_secs(40),
        }],
        steps: vec![StepMeta {
            scenario: 0,
            name: "login".into(),
            protocol: "http".into(),
            title: "GET /login".into(),
            checks: Vec::new(),
        }],
    }
}

fn second(second: u32, ok: u64, failed: u64) -> Interval {
    let failures = if failed > 0 { [(crate::model::failure::Reason::Status(500), failed)].into() } else { BTreeMap::new() };
    let step = StepInterval { ok, failures, ..StepInterval::default() };
    Interval { second, steps: [(0, step)].into(), ..Interval::default() }
}

fn run(id: &str, minute: u64, verdict: Option<Verdict>) -> Run {
    Run {
        id: RunId(id.into()),
        profile: "soak".into(),
        target: "shop".into(),
        trigger: Trigger { by: "schedule".into(), name: None },
        digest: String::new(),
        target_version: None,
        started_at: at(minute * 60),
        ended_at: None,
        status: RunStatus::Finished,
        ended_by: None,
        verdict,
        reasons: Vec::new(),
        catalog: catalog(),
        summary: None,
        thresholds: Vec::new(),
        controls: Vec::new(),
    }
}

/// The history as lines: second, change and reason; messages with an arrow.
#[derive(Default)]
struct Log(String, Stored);

impl Log {
    fn judge(&mut self, alerts: &mut Alerts, second: u64) {
        let decision = alerts.judge(at(second));
        for change in &decision.transitions {
            let _ = writeln!(self.0, "{second:>4} {} -> {}: {}", change.from, change.to, change.reason);
        }
        for row in outgoing(&decision, at(second), &|_| Some("http://localhost/runs/r1".into())) {
            let _ = writeln!(self.0, "     => {} | {} | {}", row.id, row.message.subject, row.message.headline);
        }
        self.1.commit(&decision, at(second));
    }
}

#[test]
fn a_pool_fills_and_empties() {
    let rule = with_recover("pool_utilization{pool:main}: max > 80% over 5s for 10s", "< 70%");
    let mut alerts = Alerts::new(vec![rule], Vec::new(), policy(3600));
    let mut log = Log::default();
    let run = run("r1", 0, None);
    alerts.run_started(&RunContext::of(&run), at(0));
    for second in 0..60 {
        let value = match second {
            0..5 => 0.3,
            5..30 => 1.0,
            30..40 => 0.75,
            _ => 0.35,
        };
        alerts.observe_points("shop", &[pool(value), Point::new("pool_utilization", 1.0).with("pool", "other")], at(second));
        log.judge(&mut alerts, second);
    }
    insta::assert_snapshot!(log.0);
    insta::assert_json_snapshot!(log.1.outbox[0].message);
}

#[test]
fn the_state_of_a_run_is_held_until_the_next_run_says_otherwise() {
    let mut alerts = Alerts::new(vec![rule("http_req_failed: rate > 10% over 5s for 5s")], Vec::new(), policy(0));
    let mut log = Log::default();
    let first = run("r1", 0, Some(Verdict::Fail));
    alerts.run_started(&RunContext::of(&first), at(0));
    for now in 0..20_u32 {
        alerts.observe_interval(&RunContext::of(&first), &second(now, 5, 5), at(now.into()));
        log.judge(&mut alerts, now.into());
    }
    alerts.run_ended(&first, at(20));
    log.judge(&mut alerts, 20);
    // Hours later, after a restart: still firing, not "no data".
    let mut alerts = log.1.restart(vec![rule("http_req_failed: rate > 10% over 5s for 5s")], policy(0));
    log.judge(&mut alerts, 7200);
    let next = run("r2", 120, None);
    alerts.run_started(&RunContext::of(&next), at(7201));
    alerts.observe_interval(&RunContext::of(&next), &second(0, 10, 0), at(7202));
    log.judge(&mut alerts, 7202);
    insta::assert_snapshot!(log.0);
}

#[test]
fn a_wait_does_not_span_two_runs() {
    let mut alerts = Alerts::new(vec![rule("http_req_failed: rate > 10% over 5s for 30s")], Vec::new(), policy(0));
    let mut log = Log::default();
    for (id, begin) in [("r1", 0_u64), ("r2", 40)] {
        let run = run(id, 0, None);
        alerts.run_started(&RunContext::of(&run), at(begin));
        for now in 0..20_u32 {
            alerts.observe_interval(&RunContext::of(&run), &second(now, 0, 5), at(begin + u64::from(now)));
            log.judge(&mut alerts, begin + u64::from(now));
        }
        alerts.run_ended(&run, at(begin + 20));
        log.judge(&mut alerts, begin + 20);
    }
    insta::assert_snapshot!(log.0);
}

#[test]
fn only_time_under_load_counts_as_silence_of_a_run() {
    let mut rule = rule("http_req_failed{phase:hold}: rate > 10%");
    rule.no_data_after = Duration::from_secs(25);
    let mut alerts = Alerts::new(vec![rule], Vec::new(), policy(0));
    let mut log = Log::default();
    for (id, begin) in [("r1", 0_u64), ("r2", 3600)] {
        let run = run(id, 0, None);
        alerts.run_started(&RunContext::of(&run), at(begin));
        for now in 0..30_u32 {
            alerts.observe_interval(&RunContext::of(&run), &second(now, 0, 0), at(begin + u64::from(now)));
            log.judge(&mut alerts, begin + u64::from(now));
        }
        alerts.run_ended(&run, at(begin + 30));
        log.judge(&mut alerts, begin + 1800);
    }
    // 10 s of each ramp do not count: 20 s of the first run and 5 s of the second.
    insta::assert_snapshot!(log.0);
}

#[test]
fn a_probe_that_falls_silent_is_told_and_comes_back() {
    let mut alerts = Alerts::new(vec![rule("pool_utilization: max > 80%")], Vec::new(), policy(0));
    let mut log = Log::default();
    for now in 0..200 {
        if !(20..100).contains(&now) {
            alerts.observe_points("shop", &[pool(0.2)], at(now));
        }
        log.judge(&mut alerts, now);
    }
    insta::assert_snapshot!(log.0);
    assert_eq!(log.1.outbox[0].message.lines[0].1, "no data (the last was 20 %)");
}

#[test]
fn three_failed_runs_in_a_row() {
    let rule = rule("verdict{profile:soak} == fail for 3 runs");
    let mut alerts = Alerts::new(vec![rule.clone()], Vec::new(), policy(0));
    let mut log = Log::default();
    alerts.seed_history(&[run("r2", 2, Some(Verdict::Fail)), run("r1", 1, Some(Verdict::Fail))]);
    log.judge(&mut alerts, 0);
    for (number, verdict) in [None, Some(Verdict::Fail), Some(Verdict::Fail)].into_iter().enumerate() {
        let minute = number as u64 + 3;
        alerts.run_ended(&run(&format!("r{minute}"), minute, verdict), at(minute * 60));
        log.judge(&mut alerts, minute * 60);
    }
    // A restart that knows only one failed run does not end it; a run that passes does.
    let mut alerts = log.1.restart(vec![rule], policy(0));
    alerts.seed_history(&[run("r5", 5, Some(Verdict::Fail))]);
    log.judge(&mut alerts, 310);
    alerts.run_ended(&run("r6", 6, Some(Verdict::Pass)), at(360));
    log.judge(&mut alerts, 360);
    insta::assert_snapshot!(log.0);
}

#[test]
fn a_failed_run_is_told_with_what_the_server_said() {
    let told = crate::model::run::MessageSummary {
        reason: crate::model::failure::Reason::Status(500),
        fingerprint: String::new(),
        count: 96,
        first: 5,
        last: 41,
        sample: "500 Internal Server Error: {\"error\":\"sorry, too many clients already\"}".into(),
    };
    let total = crate::model::run::StepSummary { failed: 100, told: vec![told], ..Default::default() };
    let summary = crate::model::run::Summary { total, ..Default::default() };
    let mut alerts = Alerts::new(vec![rule("verdict{profile:soak} == fail")], Vec::new(), policy(0));
    let mut log = Log::default();
    alerts.run_ended(&Run { summary: Some(summary), ..run("r1", 1, Some(Verdict::Fail)) }, at(60));
    log.judge(&mut alerts, 60);
    let value = &log.1.outbox[0].message.lines[0].1;
    assert_eq!(value, "fail; 96 of 100 failed requests say `sorry, too many clients already` (status_500)");
}

#[test]
fn a_rule_or_probe_that_is_gone_resolves_its_alerts_where_they_were_told() {
    let fire = |alerts: &mut Alerts, log: &mut Log| {
        alerts.observe_points("shop", &[pool(1.0)], at(0));
        log.judge(alerts, 0);
    };
    for case in ["rule", "selector", "metric", "probe", "restart"] {
        let mut alerts = Alerts::new(vec![rule("pool_utilization: max > 80%")], Vec::new(), policy(0));
        let mut log = Log::default();
        fire(&mut alerts, &mut log);
        match case {
            "rule" => alerts.replace_rules(Vec::new(), policy(0)),
            "selector" => alerts.replace_rules(vec![rule("pool_utilization{pool:x}: max > 80%")], policy(0)),
            "metric" => alerts.replace_rules(vec![rule("process_memory: max > 1GiB")], policy(0)),
            "probe" => alerts.retain(|labels| labels.get("probe").is_none_or(|probe| probe != "app")),
            _ => alerts = log.1.restart(Vec::new(), policy(0)),
        }
        log.judge(&mut alerts, 5);
        let kinds: Vec<_> = log.1.outbox.iter().map(|row| (row.message.kind, row.channel.as_str())).collect();
        assert_eq!(kinds, [(MessageKind::Fired, "mail"), (MessageKind::Resolved, "mail")], "{case}");
        assert!(log.1.instances.is_empty(), "{case}");
        assert_eq!(log.1.outbox[0].message.subject, log.1.outbox[1].message.subject, "{case}");
    }
}

#[test]
fn a_reload_keeps_the_incident_and_its_channels() {
    let mut alerts = Alerts::new(vec![rule("pool_utilization: max > 80%")], Vec::new(), policy(0));
    let mut log = Log::default();
    alerts.observe_points("shop", &[pool(1.0)], at(0));
    log.judge(&mut alerts, 0);
    let mut changed = rule("pool_utilization: max > 90%");
    changed.severity = Severity::Critical;
    let mut other = policy(0);
    other.channels.insert(0, crate::alert::Channel { name: "slack".into(), send_resolved: true });
    alerts.replace_rules(vec![changed], other);
    alerts.observe_points("shop", &[pool(0.85)], at(1));
    log.judge(&mut alerts, 1);
    let kinds: Vec<_> = log.1.outbox.iter().map(|row| (row.id.as_str(), row.message.severity)).collect();
    let incident = &log.1.outbox[0].message.incident;
    let ids = [format!("{incident}-1-mail"), format!("{incident}-2-mail")];
    assert_eq!(kinds, [(ids[0].as_str(), Severity::High), (ids[1].as_str(), Severity::Critical)]);
}

#[test]
fn a_channel_that_wants_no_resolves_gets_none_and_reminders_keep_their_distance() {
    let mut quiet = policy(60);
    quiet.channels[0].send_resolved = false;
    let mut alerts = Alerts::new(vec![rule("pool_utilization: max > 80%")], Vec::new(), quiet);
    let mut log = Log::default();
    for now in 0..130 {
        alerts.observe_points("shop", &[pool(if now < 125 { 1.0 } else { 0.0 })], at(now));
        log.judge(&mut alerts, now);
    }
    insta::assert_snapshot!(log.0);
}

#[test]
fn an_alert_that_stays_fine_is_never_written() {
    let mut alerts = Alerts::new(vec![rule("pool_utilization: max > 80%")], Vec::new(), policy(60));
    for now in 0..10 {
        alerts.observe_points("shop", &[pool(0.5)], at(now));
        assert!(alerts.judge(at(now)).is_empty());
    }
    let alert = alerts.instances().next().unwrap();
    assert_eq!((alert.state, alert.shown.as_str(), alert.last_data), (AlertState::Inactive, "50 %", Some(at(9))));
}

#[test]
fn a_label_that_never_repeats_cannot_fill_the_memory() {
    let mut alerts = Alerts::new(vec![rule("pool_utilization: max > 80%")], Vec::new(), policy(0));
    let points: Vec<Point> = (0..MOST_PER_RULE + 7).map(|n| Point::new("pool_utilization", 0.1).with("pool", n.to_string())).collect();
    alerts.observe_points("shop", &points, at(0));
    assert_eq!((alerts.instances().count(), alerts.overflow()), (MOST_PER_RULE, 7));
}
