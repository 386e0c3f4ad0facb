//! From text to setup.

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::kinds;
use crate::config::resolve::DEFAULT_RULES;
use crate::config::{Report, load_text, load_with};
use crate::engine::setup::Setup;
use crate::model::alerting::{NoData, Severity};
use crate::model::flow::{CheckKind, FlowNode, Pause};
use crate::model::profile::{Executor, Stage, VuPool};
use crate::model::request::{Auth, Body, Hidden};
use crate::model::schedule::{Missed, Overlap};
use crate::model::template::{Encoding, Template};
use crate::model::units::Rate;

const SHOP: &str = r#"
storage: { url: "sqlite://runs.db" }
targets:
  shop:
    base_url: http://shop.internal:8080/base/
    environment: staging
    allow: ["Other.internal:80"]
    limits: { rate: 2000/s, vus: 2000, duration: 2h }
    version: { header: X-Version, path: /health }
    probes:
      app: { type: prometheus, url: "http://shop.internal:8080/metrics" }
    guard: ["pool_utilization: max > 97% over 10s"]
profiles:
  soak:
    target: shop
    scenarios:
      sessions:
        executor: ramping-vus
        stages:
          - { duration: 5m, target: 100, name: ramp-up }
          - { duration: 30m, target: 100 }
        gracefulRampDown: 5s
        pace: 30s
        flow:
          - step: login
            post: /api/login
            json: { user: "a", n: 1, nested: [true, null] }
            bearer: secret-token
            check: { status: [200, 201], duration: < 200ms, body: json, "json $.token": exists, "json $.n": 3, body_contains: "ok" }
          - choose:
              - { weight: 80, do: [{ step: read, get: "http://other.internal/x?y=1", timeout: 5s }] }
              - { weight: 20, do: [{ pause: 1s }] }
          - pause: { uniform: [500ms, 2s] }
      events:
        executor: constant-arrival-rate
        rate: 200/min
        duration: 30m
        startTime: 10s
        preAllocatedVUs: 50
        maxVUs: 1000
        flow: [{ step: update, put: /u, body: "x=1", headers: { X-A: b } }]
      wave:
        executor: ramping-arrival-rate
        startRate: 60/min
        stages: [{ duration: 10s, target: 50/s }]
        preAllocatedVUs: 5
        flow: [{ step: wave, delete: / }]
    thresholds:
      - "http_req_duration{step:login, phase:ramp-up}: p(95) < 200ms"
      - { expr: "http_req_failed{phase:stage-2}: rate < 1% over 1m for 3m", abortOnFail: true, severity: low, delayAbortEval: 10s, excludeRamp: true }
      - "pool_utilization{pool:main}: max < 80% over 30s"
schedules:
  nightly: { profile: soak, cron: "0 2 * * *", timezone: Europe/Berlin, jitter: 2m, overlap: queue, missed: { run_within: 4h } }
alerts:
  channels:
    ops: { type: email, to: [a@example.org], smtp: { host: mail.example.org } }
    chat: { type: slack, webhook_url: "https://example.org/x" }
  routes:
    - { match: { severity: [critical, high], team: web }, send: [chat, ops], continue: true }
  defaults: { requests-failing: off }
  rules:
    pool-nearly-full: { when: "pool_utilization: max > 90% over 1m", recover: "< 80%", severity: critical, no_data: alert, labels: { team: web } }
    gate: { when: "verdict{profile:soak} == fail for 2 runs" }
"#;

fn shop() -> Setup {
    load_text("shop.yaml", SHOP, Path::new("/conf"), &kinds()).unwrap()
}

fn refused(text: &str) -> Report {
    load_text("x.yaml", text, Path::new("/conf"), &kinds()).unwrap_err()
}

fn codes(report: &Report) -> Vec<&'static str> {
    report.mistakes().iter().map(|mistake| mistake.code).collect()
}

#[test]
fn targets_have_hosts_limits_probes_and_guards() {
    let setup = shop();
    let shop = &setup.targets["shop"];
    assert_eq!(shop.target.allow, ["other.internal:80"]);
    assert_eq!(shop.target.limits.rate.map(Rate::as_per_second), Some(2000.0));
    assert_eq!((shop.probes[0].name.as_str(), shop.probes[0].kind), ("app", "prometheus"));
    assert_eq!(shop.guards[0].0, "pool_utilization: max > 97% over 10s");
    assert_eq!(shop.idle_interval, Duration::from_secs(15));
    assert_eq!(setup.storage.url.expose(), "sqlite:///conf/runs.db");
}

#[test]
fn executors_keep_exact_rates_and_named_stages() {
    let setup = shop();
    let profile = &setup.profiles["soak"];
    let [sessions, events, wave] = &profile.scenarios[..] else { panic!() };
    let Executor::RampingVus { start_vus: 1, stages, graceful_ramp_down } = &sessions.executor else { panic!() };
    assert_eq!(stages[0], Stage { duration: Duration::from_secs(300), target: 100.0, name: Some("ramp-up".into()) });
    assert_eq!((*graceful_ramp_down, sessions.pace), (Duration::from_secs(5), Some(Duration::from_secs(30))));
    let Executor::ConstantArrivalRate { rate, vus, .. } = &events.executor else { panic!() };
    assert_eq!(*rate, Rate { count: 200.0, per: Duration::from_secs(60) }, "the two numbers as written");
    assert_eq!((*vus, events.start_time), (VuPool { pre_allocated: 50, max: 1000 }, Duration::from_secs(10)));
    let Executor::RampingArrivalRate { start_rate, stages, vus } = &wave.executor else { panic!() };
    assert_eq!((start_rate.count, start_rate.per, stages[0].target), (60.0, Duration::from_secs(60), 3000.0), "one unit for all stages");
    assert_eq!(vus.max, 5);
}

#[test]
fn rates_can_be_written_the_way_of_k6() {
    let scenario = "executor: ramping-arrival-rate, startRate: 100, timeUnit: 1m, preAllocatedVUs: 1, stages: [{ duration: 1s, target: 300 }], flow: [{ step: a, get: / }]";
    let text =
        format!("targets: {{ t: {{ base_url: http://t }} }}\nprofiles: {{ p: {{ target: t, scenarios: {{ s: {{ {scenario} }} }} }} }}\n");
    let setup = load_text("x", &text, Path::new("/"), &kinds()).unwrap();
    let Executor::RampingArrivalRate { start_rate, stages, .. } = &setup.profiles["p"].scenarios[0].executor else { panic!() };
    assert_eq!((start_rate.count, start_rate.per.as_secs(), stages[0].target), (100.0, 60, 300.0));
    assert_eq!(codes(&refused(&text.replace("timeUnit: 1m, ", ""))), ["missing-unit", "missing-unit"]);
    assert_eq!(codes(&refused(&text.replace("startRate: 100,", "startRate: 100/s,"))), ["conflicting-keys"]);
}

#[test]
fn steps_are_whole_requests_with_checks() {
    let setup = shop();
    let flow = &setup.profiles["soak"].scenarios[0].flow;
    let [FlowNode::Step(login), FlowNode::Choose(branches), FlowNode::Pause(pause)] = &flow[..] else { panic!() };
    let request = login.http().unwrap();
    assert_eq!((request.method.as_str(), request.address.origin.as_str()), ("POST", "http://shop.internal:8080/"));
    assert_eq!(request.address.path.source(), "/base/api/login");
    let Body::Text(body) = &request.body else { panic!() };
    assert_eq!(body.source(), r#"{"user":"a","n":1,"nested":[true,null]}"#);
    let headers: Vec<(&str, String)> = request.headers.iter().map(|(name, value)| (name.as_str(), value.source())).collect();
    assert_eq!(headers, [("content-type", "application/json".to_owned())]);
    assert_eq!(request.auth, Some(Auth::Bearer(Hidden(Template::literal("secret-token", Encoding::Header)))));
    let names: Vec<&str> = login.checks.iter().map(|check| check.name.as_str()).collect();
    let expected =
        ["status is 200 or 201", "duration < 200ms", "body is JSON", "json $.token exists", "json $.n == 3", "body contains \"ok\""];
    assert_eq!(names, expected);
    assert_eq!(login.checks[0].kind, CheckKind::Status(vec![200, 201]));
    assert_eq!(login.timeout, Duration::from_secs(60));
    assert_eq!((branches[0].0, branches.len()), (80.0, 2));
    assert_eq!(*pause, Pause::Uniform(Duration::from_millis(500), Duration::from_secs(2)));
}

#[test]
fn thresholds_schedules_and_alerts_are_read() {
    let setup = shop();
    let thresholds = &setup.profiles["soak"].thresholds;
    assert_eq!((thresholds[0].abort_on_fail, thresholds[0].severity), (false, Severity::High));
    assert_eq!((thresholds[1].abort_on_fail, thresholds[1].exclude_ramp, thresholds[1].severity), (true, true, Severity::Low));
    let nightly = &setup.schedules["nightly"];
    assert_eq!((nightly.timezone, nightly.overlap), (chrono_tz::Europe::Berlin, Overlap::Queue));
    assert_eq!(nightly.missed, Missed::RunWithin(Duration::from_secs(4 * 3600)));
    let rules: Vec<&str> = setup.rules.iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(
        rules,
        [
            "runs-failing",
            "probe-down",
            "storage-failing",
            "run-missed",
            "channel-failing",
            "generator-unfit",
            "leak-likely",
            "memory-grown",
            "memory-nearly-out",
            "capacity-dropped",
            "descriptors-nearly-out",
            "self-leak",
            "p95-over-gate-soak",
            "pool-nearly-full",
            "gate"
        ],
        "one default is off, one replaced"
    );
    let full = setup.rules.iter().find(|rule| rule.name == "pool-nearly-full").unwrap();
    assert_eq!((full.severity, full.no_data), (Severity::Critical, NoData::Alert));
    let route = &setup.routes[0];
    assert_eq!((route.severities.len(), route.labels["team"].as_str(), route.carry_on), (2, "web", true));
    assert_eq!(setup.repeat_interval, Duration::from_secs(4 * 3600));
}

#[test]
fn nothing_at_all_is_a_configuration_with_the_default_rules() {
    let setup = load_text("x", "", Path::new("/c"), &kinds()).unwrap();
    assert_eq!(setup.rules.len(), 14);
    let inhibit = &setup.inhibit[0];
    assert_eq!((inhibit.name.as_str(), inhibit.target[0].to_string().as_str()), ("target-down", "alertname=~\"pool\\\\-nearly\\\\-full\""));
    assert_eq!((setup.server.listen.as_str(), setup.storage.url.expose()), ("127.0.0.1:9611", "sqlite:///c/plimsoll.db"));
}

#[test]
fn every_default_rule_is_switched_off_alone_and_has_its_likeness_for_prometheus() {
    let rules = std::fs::read_to_string("deploy/prometheus/rules/plimsoll.yml").unwrap();
    let docs = std::fs::read_to_string("docs/alerting.md").unwrap();
    let names = |text: &str| {
        let setup = load_text("x", text, Path::new("/c"), &kinds()).unwrap();
        setup.rules.iter().map(|rule| rule.name.clone()).collect::<Vec<_>>()
    };
    let all = names(GATED);
    let switches: Vec<&str> = DEFAULT_RULES.iter().map(|rule| rule.name).chain(["p95-over-gate"]).collect();
    for name in switches {
        let left = names(&format!("{GATED}\nalerts: {{ defaults: {{ {name}: off }} }}\n"));
        let gone: Vec<&String> = all.iter().filter(|rule| !left.contains(rule)).collect();
        assert!(gone.len() == 1 && gone[0].starts_with(name), "{name}: {gone:?}");
        let line =
            docs.lines().find(|line| line.starts_with(&format!("| `{name}` |"))).unwrap_or_else(|| panic!("{name} is not in the table"));
        let alert = line.split('`').rev().nth(1).unwrap();
        assert!(rules.contains(&format!("- alert: {alert}\n")), "{name}: there is no alert {alert}");
        if let Some(rule) = DEFAULT_RULES.iter().find(|rule| rule.name == name) {
            assert!(line.contains(rule.when), "{name}: {line}");
        }
    }
}

/// A profile with a gate on its p95.
const GATED: &str = r#"
targets: { shop: { base_url: "http://127.0.0.1:1" } }
profiles:
  soak:
    target: shop
    scenarios: { users: { executor: constant-vus, vus: 1, duration: 1s, flow: [{ step: home, get: / }] } }
    thresholds: ["http_req_duration: p(95) < 250ms"]
"#;

#[test]
fn without_routes_every_channel_gets_everything() {
    let setup = load_text("x", "alerts: { channels: { a: { type: file }, b: { type: file } } }", Path::new("/c"), &kinds()).unwrap();
    assert_eq!(setup.routes[0].send, ["a", "b"]);
}

#[test]
fn the_digest_changes_with_the_load_and_with_nothing_else() {
    let digest = |text: &str| load_text("x", text, Path::new("/c"), &kinds()).unwrap().profiles["soak"].digest.clone();
    let first = digest(SHOP);
    for same in [
        SHOP.replace("p(95) < 200ms", "p(95) < 300ms"),
        SHOP.replace("secret-token", "rotated"),
        SHOP.replace("name: ramp-up", "name: up").replace("phase:ramp-up", "phase:up"),
    ] {
        assert_eq!(digest(&same), first);
    }
    for other in [SHOP.replace("target: 100 }", "target: 101 }"), SHOP.replace("n: 1,", "n: 2,"), SHOP.replace("pace: 30s", "pace: 31s")] {
        assert_ne!(digest(&other), first);
    }
    insta::assert_snapshot!(first, @"2a4882b3d278ce61fd713f7ce6dd595fbaf7cf897315dccda65192272f6d59f4");
}

#[test]
fn tokens_are_kept_as_digests() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("main.yaml", "server: { listen: \"0.0.0.0:0\", tokens_file: tokens.yaml }\n");
    write("token", "abc\n");
    write("tokens.yaml", "ci: ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\nman: { token_file: token }\n");
    let load = || load_with(&dir.path().join("main.yaml"), &kinds(), &|_| None);
    let setup = load().unwrap();
    assert_eq!(setup.server.tokens.len(), 2);
    assert_eq!(setup.server.tokens[0].1, setup.server.tokens[1].1, "SHA-256 of `abc`");
    write("tokens.yaml", "ci: abc\nman: { token: abc }\n");
    assert_eq!(codes(&load().unwrap_err()), ["bad-token", "plain-token"]);
    std::fs::remove_file(dir.path().join("tokens.yaml")).unwrap();
    assert_eq!(codes(&load().unwrap_err()), ["unreadable-file"]);
}

#[test]
fn values_of_variables_stay_out_of_reports() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.yaml");
    std::fs::write(&file, "targets: { t: { base_url: \"ftp://u:${PASSWORD}@h\", probes: { p: { type: \"${MISSING}\" } } } }\n").unwrap();
    let report = load_with(&file, &kinds(), &|name| (name == "PASSWORD").then(|| "hunter22".to_owned())).unwrap_err();
    assert_eq!(codes(&report), ["bad-url", "unset-variable"], "{report}");
    assert!(!report.to_string().contains("hunter22") && report.to_string().contains("${PASSWORD}"), "{report}");
}

#[test]
fn a_wrong_definition_is_one_mistake_not_several() {
    let report = refused(
        "targets: { t: { base_ur: x } }\nprofiles: { p: { target: t, scenarios: { s: { executor: constant-vus, duration: 3, flow: [{ step: a, get: / }] } }, thresholds: [\"http_reqs{step:a}: count > 1\"] } }\nschedules: { n: { profile: p, cron: \"@daily\" } }\n",
    );
    assert_eq!(codes(&report), ["unknown-key", "missing-unit"], "{report}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_text_panics(text in "\\PC{0,80}") {
        let _ = load_text("x", &text, Path::new("/"), &kinds());
    }

    /// Bits of a real file in any order: deep enough to reach every decoder.
    #[test]
    fn no_mutation_of_a_real_file_panics(at in 0_usize..SHOP.len(), len in 0_usize..200, with in "[a-z0-9:{}\\[\\], \n$%/<>.-]{0,12}") {
        let mut text = SHOP.to_owned();
        let end = (at + len).min(SHOP.len());
        prop_assume!(text.is_char_boundary(at) && text.is_char_boundary(end));
        text.replace_range(at..end, &with);
        if let Err(report) = load_text("x", &text, Path::new("/"), &kinds()) {
            prop_assert!(report.count() > 0 && !report.to_string().is_empty());
        }
    }
}
