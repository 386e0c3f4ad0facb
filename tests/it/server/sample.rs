//! A made-up but consistent evening at a shop: a 40-second ramp to 60 VUs against a pool of 20, second by second,
//! and everything that follows from those seconds by merging. Used by the tests of metrics, reports, server and dashboards.

use std::collections::BTreeMap;
use std::time::Duration;

use super::plimsoll::model::alerting::{AlertInstance, AlertState, Severity};
use super::plimsoll::model::analysed::Analysed;
use super::plimsoll::model::catalog::{Catalog, GroupMeta, PhaseWindow, ScenarioMeta, StepMeta};
use super::plimsoll::model::failure::{Phase, Reason};
use super::plimsoll::model::finding::{Evidence, Finding};
use super::plimsoll::model::histogram::LatencyHistogram;
use super::plimsoll::model::measure::{Accounting, CheckCount, Interval, PhaseSums, ScenarioInterval, StepInterval};
use super::plimsoll::model::message::Messages;
use super::plimsoll::model::progress::{PoolNow, Progress};
use super::plimsoll::model::run::{
    EndedBy, GeneratorSummary, GroupSummary, LatencySummary, MessageSummary, Run, RunId, RunStatus, ScenarioSummary, SeriesSummary,
    StepSummary, Summary, ThresholdResult, Trigger, Verdict,
};
use super::plimsoll::model::series::{Point, Reading};
use super::plimsoll::model::units::Timestamp;

/// Seconds of the sample run.
pub(crate) const SECONDS: u32 = 40;

/// When the sample run starts: 2026-11-21T02:00:00Z.
pub(crate) const START: Timestamp = Timestamp(1_795_226_400_000_000);

/// Second 12 is the first in which the pool is full.
const FULL_FROM: u32 = 12;

fn catalog() -> Catalog {
    let phase = |name: &str, start, end, ramp| PhaseWindow {
        name: name.into(),
        start: Duration::from_secs(start),
        end: Duration::from_secs(end),
        ramp,
    };
    let step = |name: &str, title: &str, checks: &[&str]| StepMeta {
        scenario: 0,
        name: name.into(),
        protocol: "http".into(),
        title: title.into(),
        checks: checks.iter().map(ToString::to_string).collect(),
    };
    Catalog {
        scenarios: vec![ScenarioMeta {
            name: "shoppers".into(),
            executor: "ramping-vus".into(),
            open: false,
            tags: std::collections::BTreeMap::new(),
            phases: vec![phase("ramp-up", 0, 15, true), phase("hold", 15, 35, false), phase("ramp-down", 35, 40, true)],
            start: Duration::ZERO,
            duration: Duration::from_secs(40),
        }],
        steps: vec![
            step("browse", "GET /products", &["status is 200", "duration below 200ms"]),
            step("buy", "POST /orders", &["status is 201"]),
        ],
        groups: vec![GroupMeta { scenario: 0, name: "checkout".into() }],
        seed: None,
    }
}

/// The sample run as it is when it starts.
pub(crate) fn running() -> Run {
    Run {
        id: RunId("20261121-020000-checkout-7k3f".into()),
        profile: "checkout".into(),
        target: "shop".into(),
        trigger: Trigger { by: "schedule".into(), name: Some("nightly".into()) },
        digest: "5f1c".into(),
        target_version: Some("1.8.2".into()),
        started_at: START,
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

fn vus(second: u32) -> u64 {
    match second {
        0..15 => u64::from(second + 1) * 4,
        15..35 => 60,
        _ => u64::from(40 - second) * 12,
    }
}

/// Latencies around `middle` with a tail, always the same.
fn latencies(count: u64, middle_us: u64) -> LatencyHistogram {
    LatencyHistogram::from_us((0..count).map(|n| {
        let spread = (n * 7919) % 101;
        middle_us / 2 + middle_us * spread / 100 + if spread > 94 { middle_us * (spread - 92) } else { 0 }
    }))
}

fn checks(step: u16, ok: u64, failed: u64) -> Vec<CheckCount> {
    let status = CheckCount { passed: ok, failed };
    if step == 0 { vec![status, CheckCount { passed: ok * 9 / 10, failed: ok - ok * 9 / 10 + failed }] } else { vec![status] }
}

/// A message that came so often.
fn said(sample: &str, count: u64) -> Messages {
    let mut messages = Messages::example(sample);
    messages.by.values_mut().for_each(|said| said.count = count);
    messages
}

fn step(index: u16, second: u32) -> StepInterval {
    let full = (FULL_FROM..36).contains(&second);
    let share = if index == 0 { 12 } else { 3 };
    let ok = if full { 48 * share } else { vus(second) * share };
    let mut failures = BTreeMap::new();
    let mut messages = BTreeMap::new();
    if full && index == 1 {
        failures.insert(Reason::Status(503), 21);
        messages.insert(Reason::Status(503), said("503 Service Unavailable: pool exhausted, no connection within 1s", 21));
        if second.is_multiple_of(5) {
            failures.insert(Reason::Timeout(Phase::Waiting), 2);
            messages.insert(Reason::Timeout(Phase::Waiting), said("no answer within 2s", 2));
        }
    }
    let answered_failures: u64 = failures.iter().filter(|(reason, _)| reason.has_answer()).map(|(_, count)| count).sum();
    let failed: u64 = failures.values().sum();
    let middle = if full { 95_000 } else { 18_000 } * (1 + u64::from(index));
    StepInterval {
        step: index,
        ok,
        response_ok: latencies(ok, middle),
        service_ok: latencies(ok, middle),
        response_failed: latencies(answered_failures, 1_000_000),
        service_failed: latencies(answered_failures, 1_000_000),
        waiting: latencies(ok, middle * 9 / 10),
        phases: PhaseSums { waiting_us: middle * ok * 9 / 10, receiving_us: middle * ok / 10, ..PhaseSums::default() },
        bytes_sent: (ok + failed) * 180,
        bytes_received: ok * 1400 + failed * 90,
        connections: if second < 15 { 4 } else { failed },
        checks: checks(index, ok, failed),
        failures,
        messages,
        ..StepInterval::default()
    }
}

/// One second of the sample run; second 20 is one in which nothing was measured (the store was away).
pub(crate) fn interval(second: u32) -> Interval {
    let steps: BTreeMap<u16, StepInterval> = (0..2).map(|index| (index, step(index, second))).collect();
    let failed: u64 = steps.values().map(StepInterval::failed).sum();
    let done: u64 = steps.values().map(StepInterval::requests).sum();
    let last = second + 1 == SECONDS;
    let scenario = ScenarioInterval {
        scenario: 0,
        counts: Accounting {
            scheduled: done,
            started: done,
            completed: done - if last { 4 } else { 0 },
            interrupted: if last { 4 } else { 0 },
            ..Accounting::default()
        },
        vus: vus(second),
        vus_busy: vus(second),
        with_failed_check: failed + steps[&0].checks[1].failed,
        iteration_duration: latencies(done, 140_000),
        broke_off: BTreeMap::new(),
        dropped_wait: LatencyHistogram::default(),
        start_lag: latencies(done, 60),
    };
    Interval {
        second,
        steps,
        scenarios: [(0, scenario)].into(),
        groups: [(0, latencies(done, 90_000))].into(),
        generator_stall: Duration::from_micros(900),
        generator_busiest: None,
        generator_cpu: Some(0.12),
        shards: 1,
    }
}

fn in_use(second: u32) -> f64 {
    if (FULL_FROM..36).contains(&second) { 20.0 } else { (vus(second) as f64 / 2.4).floor().min(19.0) }
}

/// What the probes read in a second: the pool through the service's page, and the process.
pub(crate) fn readings(second: u32) -> Vec<Reading> {
    let at = START.plus(Duration::from_secs(u64::from(second)));
    let used = in_use(second);
    let waiting = if used >= 20.0 { vus(second) as f64 - 20.0 } else { 0.0 };
    let pool = |metric: &str, value| Point::new(metric, value).with("pool", "main");
    let reading =
        |probe: &str, points| Reading { target: "shop".into(), probe: probe.into(), at, second: Some(second), points: Ok(points) };
    vec![
        reading(
            "metrics",
            vec![
                pool("pool_utilization", used / 20.0),
                pool("pool_in_use", used),
                pool("pool_idle", 20.0 - used),
                pool("pool_limit", 20.0),
                pool("pool_waiting", waiting),
                pool("pool_waits", waiting * 3.0),
                pool("pool_wait_time", waiting / 100.0),
                pool("pool_timeouts", if waiting > 0.0 { 21.0 } else { 0.0 }),
            ],
        ),
        reading(
            "process",
            vec![
                Point::new("process_memory", 84_000_000.0 + f64::from(second) * 250_000.0),
                Point::new("process_cpu", 0.08 + used / 40.0),
                Point::new("process_descriptors", 40.0 + vus(second) as f64),
                Point::new("process_descriptors_ratio", (40.0 + vus(second) as f64) / 1024.0),
                Point::new("process_threads", 6.0),
            ],
        ),
    ]
}

/// Progress as the engine tells it after a second.
pub(crate) fn progress(second: u32) -> Progress {
    let now = interval(second);
    let sum = |pick: fn(&StepInterval) -> u64, interval: &Interval| interval.steps.values().map(pick).sum::<u64>();
    let total = |pick: fn(&StepInterval) -> u64| (0..=second).map(|second| sum(pick, &interval(second))).sum();
    let mut recent = LatencyHistogram::default();
    for second in second.saturating_sub(4)..=second {
        interval(second).steps.values().for_each(|step| recent.merge(&step.service_ok));
    }
    let middle = Duration::from_millis(u64::from(second) * 1000 + 500);
    let catalog = catalog();
    let phase = catalog.scenarios[0].phases.iter().find(|phase| phase.start <= middle && middle < phase.end);
    Progress {
        second,
        total_seconds: SECONDS,
        phase: phase.map(|phase| phase.name.clone()).unwrap_or_default(),
        vus: vus(second),
        requests: sum(StepInterval::requests, &now),
        failed: sum(StepInterval::failed, &now),
        p95_us: recent.quantile(0.95).map(|latency| latency.as_micros() as u64),
        requests_total: total(StepInterval::requests),
        failed_total: total(StepInterval::failed),
        dropped_total: 0,
        pools: vec![PoolNow {
            pool: "main".into(),
            in_use: Some(in_use(second)),
            limit: Some(20.0),
            waiting: Some(if in_use(second) >= 20.0 { vus(second) as f64 - 20.0 } else { 0.0 }),
        }],
    }
}

/// What was said, all of it in the seconds in which the pool was full.
fn told(messages: &BTreeMap<Reason, Messages>) -> Vec<MessageSummary> {
    let each = messages.iter().flat_map(|(reason, messages)| messages.by.iter().map(move |(print, said)| (reason, print, said)));
    let mut told: Vec<MessageSummary> = each
        .map(|(reason, print, said)| MessageSummary {
            reason: reason.clone(),
            fingerprint: print.clone(),
            count: said.count,
            first: FULL_FROM,
            last: 35,
            sample: said.sample.clone(),
        })
        .collect();
    told.sort_by_key(|one| std::cmp::Reverse(one.count));
    told
}

fn step_summary(name: (&str, &str), merged: &StepInterval, checks: &[String]) -> StepSummary {
    let mut service = merged.service_ok.clone();
    service.merge(&merged.service_failed);
    StepSummary {
        scenario: name.0.into(),
        step: name.1.into(),
        requests: merged.requests(),
        per_second: merged.requests() as f64 / f64::from(SECONDS),
        failed: merged.failed(),
        reasons: merged.failures.clone(),
        messages: merged.messages.iter().filter_map(|(reason, said)| Some((reason.clone(), said.most()?.to_owned()))).collect(),
        told: told(&merged.messages),
        told_beyond: 0,
        duration: LatencySummary::of(&service),
        response: LatencySummary::of(&service),
        service: LatencySummary::of(&service),
        waiting: LatencySummary::of(&merged.waiting),
        checks: checks.iter().cloned().zip(merged.checks.iter().copied()).collect(),
        bytes_sent: merged.bytes_sent,
        bytes_received: merged.bytes_received,
        connections: merged.connections,
        resent: 0,
        unheard: 0,
        unanswered: 0,
    }
}

fn series_summaries() -> Vec<SeriesSummary> {
    let mut values: BTreeMap<(String, String), (Point, Vec<f64>)> = BTreeMap::new();
    for reading in (0..SECONDS).flat_map(readings) {
        for point in reading.points.unwrap() {
            let key = (reading.probe.clone(), point.metric.clone());
            values.entry(key).or_insert_with(|| (point.clone(), Vec::new())).1.push(point.value);
        }
    }
    let summary = |((probe, metric), (point, values)): ((String, String), (Point, Vec<f64>))| {
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        let saturated = if metric == "pool_utilization" { sorted.iter().filter(|value| **value >= 0.99).count() as u64 } else { 0 };
        SeriesSummary {
            probe,
            metric,
            labels: point.labels,
            samples: values.len() as u64,
            min: sorted[0],
            mean: values.iter().sum::<f64>() / values.len() as f64,
            p95: sorted[values.len() * 95 / 100],
            max: sorted[values.len() - 1],
            last: values[values.len() - 1],
            saturated,
        }
    };
    values.into_iter().map(summary).collect()
}

fn summary() -> Summary {
    let catalog = catalog();
    let mut whole = Interval::default();
    for second in 0..SECONDS {
        whole.merge(&interval(second));
    }
    let mut total = StepInterval::default();
    whole.steps.values().for_each(|step| total.merge(&StepInterval { checks: Vec::new(), ..step.clone() }));
    let steps: Vec<StepSummary> = whole
        .steps
        .iter()
        .map(|(index, step)| {
            let meta = &catalog.steps[usize::from(*index)];
            step_summary(("shoppers", &meta.name), step, &meta.checks)
        })
        .collect();
    let mut total = step_summary(("", ""), &total, &[]);
    for (name, count) in steps.iter().flat_map(|step| &step.checks) {
        let sum = total.checks.entry(name.clone()).or_default();
        sum.passed += count.passed;
        sum.failed += count.failed;
    }
    let scenario = &whole.scenarios[&0];
    Summary {
        seconds: f64::from(SECONDS),
        total,
        steps,
        scenarios: vec![ScenarioSummary {
            scenario: "shoppers".into(),
            counts: scenario.counts,
            with_failed_check: scenario.with_failed_check,
            broke_off: BTreeMap::new(),
            censored: 0,
            vus_max: 60,
            iteration_duration: LatencySummary::of(&scenario.iteration_duration),
            start_lag: LatencySummary::of(&scenario.start_lag),
        }],
        groups: LatencySummary::of(&whole.groups[&0])
            .map(|duration| GroupSummary { scenario: "shoppers".into(), group: "checkout".into(), duration })
            .into_iter()
            .collect(),
        series: series_summaries(),
        probe_errors: [("process".to_owned(), (1, "timeout: no answer within 1s".to_owned()))].into(),
        generator: GeneratorSummary { stall_max_us: 900, cpu_cores: Some(0.12), threads: 1, ..GeneratorSummary::default() },
        intervals_lost: 0,
        climbs: Vec::new(),
        data_ended: Vec::new(),
        databases: Vec::new(),
        analysed: Analysed::default(),
    }
}

fn threshold(text: &str, verdict: Verdict, actual: Option<f64>, shown: &str, reason: &str, first_breach: Option<u32>) -> ThresholdResult {
    ThresholdResult {
        text: text.into(),
        verdict,
        actual,
        shown: shown.into(),
        reason: reason.into(),
        severity: Severity::High,
        first_breach,
    }
}

/// The sample run at its end.
pub(crate) fn finished() -> Run {
    let summary = summary();
    let failed = summary.total.failed as f64 / summary.total.requests as f64;
    let percent = format!("{:.2} %", failed * 100.0);
    Run {
        ended_at: Some(START.plus(Duration::from_secs(u64::from(SECONDS)))),
        status: RunStatus::Finished,
        ended_by: Some(EndedBy::Completed),
        verdict: Some(Verdict::Fail),
        reasons: vec![
            format!("http_req_failed: rate < 1% does not hold: {percent}"),
            "pool_utilization{pool:main}: max < 80% does not hold: 100 %".into(),
        ],
        thresholds: vec![
            threshold(
                "http_req_failed: rate < 1%",
                Verdict::Fail,
                Some(failed),
                &percent,
                &format!("{percent}, asked for < 1 %"),
                Some(FULL_FROM),
            ),
            threshold(
                "http_req_duration{step:browse}: p(95) < 2s",
                Verdict::Pass,
                Some(0.3),
                "300ms",
                "300ms, asked for < 2s: 1.7s to spare",
                None,
            ),
            threshold(
                "pool_utilization{pool:main}: max < 80%",
                Verdict::Fail,
                Some(1.0),
                "100 %",
                "100 %, asked for < 80 %: 20 % too much",
                Some(10),
            ),
            threshold("process_memory{probe:sidecar}: max < 2GiB", Verdict::NoData, None, "-", "nothing was measured", None),
        ],
        summary: Some(summary),
        ..running()
    }
}

/// What analysis says about the sample run.
pub(crate) fn findings() -> Vec<Finding> {
    let evidence = |name: &str, value: &str| Evidence { name: name.into(), value: value.into() };
    vec![Finding {
        kind: "pool_exhausted".into(),
        run: running().id,
        severity: Severity::High,
        title: "pool main of 20 was exhausted from second 12 on; 100 % of the failures fall into seconds in which it was full".into(),
        evidence: vec![evidence("seconds at 100 %", "24 of 40"), evidence("callers waiting, peak", "40")],
        method: "pool-exhaustion/1".into(),
        at: START.plus(Duration::from_secs(41)),
    }]
}

/// A firing alert.
pub(crate) fn alert() -> AlertInstance {
    AlertInstance {
        fingerprint: "pool-nearly-full/pool=main,target=shop".into(),
        rule: "pool-nearly-full".into(),
        labels: [("alertname", "pool-nearly-full"), ("severity", "high"), ("target", "shop"), ("pool", "main")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        state: AlertState::Firing,
        since: START.plus(Duration::from_secs(24)),
        active_since: Some(START.plus(Duration::from_secs(12))),
        clear_since: None,
        last_data: Some(START.plus(Duration::from_secs(40))),
        value: Some(1.0),
        shown: "100 %".into(),
        incident: Some("inc-1".into()),
        opened_at: Some(START.plus(Duration::from_secs(24))),
        told: vec!["ops".into()],
        muted: None,
        acked: None,
        messages: 1,
        last_message: Some(START.plus(Duration::from_secs(24))),
        run: Some(running().id),
    }
}
