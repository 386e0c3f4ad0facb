//! Runs, seconds, readings and messages for the suite.

use std::time::Duration;

use plimsoll::model::alerting::{AlertInstance, AlertState, Message, MessageKind, OutboxState, Outgoing, Severity, Transition};
use plimsoll::model::catalog::{Catalog, PhaseWindow, ScenarioMeta, StepMeta};
use plimsoll::model::control::{Action, ControlEntry, Scale};
use plimsoll::model::failure::Reason;
use plimsoll::model::finding::{Evidence, Finding};
use plimsoll::model::histogram::LatencyHistogram;
use plimsoll::model::measure::{CheckCount, Interval, ScenarioInterval, StepInterval};
use plimsoll::model::message::Messages;
use plimsoll::model::muting::Ack;
use plimsoll::model::run::{
    EndedBy, LatencySummary, MessageSummary, Run, RunId, RunStatus, ScenarioSummary, SeriesSummary, StepSummary, Summary, ThresholdResult,
    Trigger, Verdict,
};
use plimsoll::model::schedule::{Tick, TickOutcome};
use plimsoll::model::series::{Point, Reading};
use plimsoll::model::staircase::{ClimbSummary, LevelResult};
use plimsoll::model::units::Timestamp;

/// 2026-11-21T02:00:00Z and so many seconds.
pub(super) fn at(seconds: u64) -> Timestamp {
    Timestamp::parse("2026-11-21T02:00:00Z").unwrap().plus(Duration::from_secs(seconds))
}

/// A run that begins.
pub(super) fn run(id: &str, started_at: Timestamp) -> Run {
    Run {
        id: RunId(id.into()),
        profile: "soak".into(),
        target: "shop".into(),
        trigger: Trigger { by: "schedule".into(), name: Some("nightly".into()) },
        digest: "sha256:1f".into(),
        target_version: None,
        started_at,
        ended_at: None,
        status: RunStatus::Running,
        ended_by: None,
        verdict: None,
        reasons: Vec::new(),
        catalog: catalog(),
        summary: None,
        thresholds: Vec::new(),
        controls: Vec::new(),
    }
}

fn catalog() -> Catalog {
    let phase = PhaseWindow { name: "main".into(), start: Duration::ZERO, end: Duration::from_micros(40_000_001), ramp: true };
    let scenario = ScenarioMeta {
        name: "buyers".into(),
        executor: "ramping-vus".into(),
        open: false,
        tags: std::collections::BTreeMap::new(),
        phases: vec![phase],
        start: Duration::ZERO,
        duration: Duration::from_secs(40),
    };
    let step = StepMeta {
        scenario: 0,
        name: "checkout".into(),
        protocol: "http".into(),
        title: "POST /checkout".into(),
        checks: vec!["status is 201".into(), "“ok” = true".into()],
    };
    Catalog { scenarios: vec![scenario], steps: vec![step], groups: vec![], seed: None }
}

/// What was said of one failure.
fn timed_out() -> MessageSummary {
    MessageSummary {
        reason: Reason::Status(503),
        fingerprint: "503 Service Unavailable: pool timed out".into(),
        count: 1,
        first: 3,
        last: 3,
        sample: "503 Service Unavailable: pool timed out".into(),
    }
}

/// The run as it is when it has ended, with every field filled.
pub(super) fn ended(mut run: Run) -> Run {
    let latencies = LatencySummary::of(&LatencyHistogram::from_us([900, 1_200, 45_000]));
    let step = StepSummary {
        scenario: "buyers".into(),
        step: "checkout".into(),
        requests: 3,
        per_second: 0.1 + 0.2,
        failed: 1,
        reasons: [(Reason::Status(503), 1)].into(),
        messages: [(Reason::Status(503), "503 Service Unavailable: pool timed out".into())].into(),
        told: vec![timed_out()],
        duration: latencies,
        response: latencies,
        service: latencies,
        checks: [("status is 201".to_owned(), CheckCount { passed: 2, failed: 1 })].into(),
        bytes_sent: 300,
        bytes_received: u64::from(u32::MAX) * 3,
        connections: 1,
        resent: 2,
        ..StepSummary::default()
    };
    let series = SeriesSummary {
        probe: "app".into(),
        metric: "pool_utilization".into(),
        labels: [("pool".to_owned(), "main".to_owned())].into(),
        samples: 40,
        min: 0.05,
        mean: 1.0 / 3.0,
        p95: 0.949_999_999_999_999_9,
        max: 1.0,
        last: 2.225_073_858_507_201e-308,
        saturated: 12,
    };
    run.target_version = Some("1.4.2".into());
    run.ended_at = Some(run.started_at.plus(Duration::from_micros(40_123_457)));
    run.status = RunStatus::Finished;
    run.ended_by = Some(EndedBy::Threshold);
    run.verdict = Some(Verdict::Fail);
    run.reasons = vec!["pool_utilization reached 100 %".into()];
    run.summary = Some(Summary {
        seconds: 40.123_457,
        total: step.clone(),
        steps: vec![step],
        scenarios: vec![ScenarioSummary { scenario: "buyers".into(), vus_max: 60, ..ScenarioSummary::default() }],
        series: vec![series],
        probe_errors: [("app".to_owned(), (2, "connection refused".to_owned()))].into(),
        intervals_lost: 1,
        climbs: vec![climb()],
        ..Summary::default()
    });
    run.controls = vec![control()];
    run.thresholds = vec![ThresholdResult {
        text: "pool_utilization max < 90%".into(),
        verdict: Verdict::Fail,
        actual: Some(1.0),
        shown: "100 %".into(),
        reason: "asked for less than 90 %, was 100 %".into(),
        severity: Severity::High,
        first_breach: Some(7),
    }];
    run
}

/// What somebody did to a run.
fn control() -> ControlEntry {
    ControlEntry {
        at: at(3),
        second: 3.000_000_1,
        by: "api token ci".into(),
        action: Action::Scale,
        scale: Some(Scale::Factor(0.1 + 0.2)),
        scenario: Some("buyers".into()),
    }
}

/// How high a staircase came.
fn climb() -> ClimbSummary {
    let level = LevelResult {
        level: 12.5,
        shown: "12.5/s".into(),
        phase: "level-12.5/s".into(),
        from: 3,
        to: 9,
        verdict: Verdict::NoData,
        reasons: vec!["nothing was measured".into()],
        gate: Vec::new(),
    };
    let (scenario, unit) = ("buyers".to_owned(), "/s".to_owned());
    ClimbSummary { scenario, unit, levels: vec![level], passed: None, failed: Some(12.5), resolution: Some(0.1) }
}

/// A second with requests, failures, checks and a scenario.
pub(super) fn interval(second: u32) -> Interval {
    let step = StepInterval {
        step: 3,
        ok: 98,
        failures: [(Reason::Status(500), 1), (Reason::Check("body has id: yes".into()), 1)].into(),
        messages: [(Reason::Status(500), Messages::example("500: \"boom\"\n"))].into(),
        response_ok: LatencyHistogram::from_us((1..=98).map(|us| us * 371 + u64::from(second))),
        service_ok: LatencyHistogram::from_us([100, 200, 3_000_000]),
        bytes_sent: 4_000,
        resent: u64::from(second % 2),
        unheard: 340,
        checks: vec![CheckCount { passed: 97, failed: 2 }, CheckCount { passed: 0, failed: 0 }],
        ..StepInterval::default()
    };
    let scenario = ScenarioInterval { scenario: 1, vus: 60, vus_busy: 59, start_lag: LatencyHistogram::from_us([7]), ..Default::default() };
    Interval {
        second,
        steps: [(3, step), (9, StepInterval { step: 9, ok: 1, ..StepInterval::default() })].into(),
        scenarios: [(1, scenario)].into(),
        groups: [(2, LatencyHistogram::from_us([800_000, 1_200_000]))].into(),
        generator_stall: Duration::from_micros(1_234),
        generator_busiest: None,
        generator_cpu: Some(0.125),
        shards: 2,
    }
}

/// A reading of the pool of 20.
pub(super) fn reading(target: &str, probe: &str, at: Timestamp, in_use: f64) -> Reading {
    let points = vec![
        Point::new("pool_utilization", in_use / 20.0).with("pool", "main"),
        Point::new("pool_in_use", in_use).with("pool", "main"),
        Point::new("process_memory", 1e9 + in_use),
    ];
    Reading { target: target.into(), probe: probe.into(), at, second: None, points: Ok(points) }
}

/// A finding of a method.
pub(super) fn finding(run: &RunId, method: &str, title: &str, at: Timestamp) -> Finding {
    let evidence = Evidence { name: "seconds at 100 %".into(), value: "12 s".into() };
    Finding {
        kind: "pool_exhausted".into(),
        run: run.clone(),
        severity: Severity::High,
        title: title.into(),
        evidence: vec![evidence],
        method: method.into(),
        at,
    }
}

/// What became of an instant of a schedule.
pub(super) fn tick(schedule: &str, due: Timestamp, outcome: TickOutcome) -> Tick {
    let (profile, reason) = ("soak".into(), "the target was being loaded".into());
    Tick { schedule: schedule.into(), profile, due, decided: due.plus(Duration::from_millis(3)), outcome, reason, run: None }
}

/// An alert with every field filled.
pub(super) fn alert(fingerprint: &str, state: AlertState) -> AlertInstance {
    AlertInstance {
        fingerprint: fingerprint.into(),
        rule: "pool-full".into(),
        labels: [("alertname".to_owned(), "pool-full".to_owned()), ("pool".to_owned(), "main".to_owned())].into(),
        state,
        since: at(1),
        active_since: Some(at(0)),
        clear_since: Some(at(2)),
        last_data: Some(at(3)),
        value: Some(1.0 / 3.0),
        shown: "33 %".into(),
        incident: Some("pool-full-1".into()),
        opened_at: Some(at(1)),
        told: vec!["ops".into(), "slack".into()],
        muted: Some("silenced by ann".into()),
        acked: Some(Ack { by: "ann".into(), at: at(5), comment: "on it".into() }),
        messages: 2,
        last_message: Some(at(4)),
        run: Some(RunId("20261121-020000-soak-7k3f".into())),
    }
}

/// A change of state.
pub(super) fn transition(fingerprint: &str, at: Timestamp, from: AlertState, to: AlertState) -> Transition {
    let reason = format!("{from} to {to}");
    Transition { fingerprint: fingerprint.into(), rule: "pool-full".into(), incident: None, from, to, at, reason, value: Some(0.9) }
}

/// A message that waits since `created_at`.
pub(super) fn message(incident: &str, seq: u32, channel: &str, created_at: Timestamp) -> Outgoing {
    let message = Message {
        incident: incident.into(),
        kind: if seq == 1 { MessageKind::Fired } else { MessageKind::Resolved },
        seq,
        severity: Severity::Critical,
        rule: "pool-full".into(),
        subject: "pool `main` of shop at 100 % of 20".into(),
        headline: "Fired: pool full".into(),
        lines: vec![("value".into(), "100 %".into())],
        labels: [("pool".to_owned(), "main".to_owned())].into(),
        started_at: at(0),
        at: created_at,
        ended_at: None,
        link: Some("http://127.0.0.1:9611/runs/1".into()),
        runbook: None,
        run: None,
        alerts: Vec::new(),
    };
    Outgoing {
        id: format!("{incident}-{seq}-{channel}"),
        channel: channel.into(),
        message,
        state: OutboxState::Waiting,
        attempts: 0,
        created_at,
        not_before: created_at,
        leased_until: None,
        done_at: None,
        detail: String::new(),
    }
}
