//! Nights in which nothing changed: twenty soaks of the real demo target, each judged by itself and against those before it, with rules that
//! alarm at anything. At most one alarm in all of it. Then a fault is switched on, to see that the same rules hear it.
#![expect(clippy::unwrap_used, reason = "a step that fails, fails the test")]

use std::time::Duration;

use plimsoll::alert::{Alerts, Channel, Policy};
use plimsoll::analysis::regression::metric::METRICS;
use plimsoll::analysis::regression::past::regression_of;
use plimsoll::engine::findings::Asked;
use plimsoll::engine::history::historian::judge_stored;
use plimsoll::model::Labels;
use plimsoll::model::alerting::{MessageKind, NoData, Rule, Severity};
use plimsoll::model::run::Summary;
use plimsoll::model::series::Point;
use plimsoll::model::threshold::parse_condition;
use plimsoll::model::units::Timestamp;
use plimsoll::store::{Store, open};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use super::watched::{Phase, Target, Watched};

const NIGHTS: i64 = 20;
/// 2026-10-01T02:00:00Z, and a day.
const FIRST: i64 = 1_790_820_000_000_000;
const DAY_US: i64 = 86_400_000_000;
/// A soak of six minutes.
const NIGHT: [Phase; 1] = [("main", 360, 2, false)];

/// Alarms at any leak, any confirmed regression of any metric, any drop of the capacity.
fn alerts() -> Alerts {
    let mut rules = vec![("leak".to_owned(), "leak(any) at least likely".to_owned()), ("capacity".into(), "capacity drop > 5%".into())];
    rules.extend(METRICS.iter().filter_map(|metric| {
        let text = format!("regression({}) > 0%", metric.name);
        parse_condition(&text).is_ok().then(|| (format!("slower-{}", metric.name), text))
    }));
    assert!(rules.len() > 8, "{rules:?}");
    let rule = |(name, text): &(String, String)| Rule {
        name: name.clone(),
        when: parse_condition(text).unwrap(),
        recover: None,
        severity: Severity::High,
        runbook: None,
        labels: Labels::new(),
        keep_firing_for: Duration::ZERO,
        no_data: NoData::Keep,
        no_data_after: Duration::from_secs(300),
    };
    let channels = vec![Channel { name: "ops".into(), send_resolved: true }];
    Alerts::new(rules.iter().map(rule).collect(), Vec::new(), Policy { channels, ..Policy::default() })
}

/// One night: a run, what is found in it, what it comes to against the nights before; returns the rules that alarmed.
async fn night(target: &mut Target, store: &dyn Store, alerts: &mut Alerts, day: i64, level: f64) -> Vec<String> {
    let at = Timestamp(FIRST + day * DAY_US);
    let id = format!("{}-night-{day:04}", at.to_utc().format("%Y%m%d-%H%M%S"));
    let mut watched = Watched::new(&id, &NIGHT, at, day as u64);
    watched.level = level;
    store.start_run(&watched.run).await.unwrap();
    while watched.phase(target).await {}
    watched.end();
    store.append(&watched.batch).await.unwrap();
    let looked = watched.observed.look(&watched.run, &Asked::default(), at);
    let seconds = f64::from(watched.seconds());
    watched.run.summary = Some(Summary { seconds, analysed: looked.analysed, ..Summary::default() });
    let run = watched.run;
    store.update_run(&run).await.unwrap();
    store.save_findings(&run.id, &looked.findings).await.unwrap();
    let (_, judged) = judge_stored(store, &run, 200, at).await.unwrap();
    let nights = judged.comparable.nights.len();
    assert_eq!(nights as i64, day + 1, "every night is comparable: {:?}", judged.comparable.left_out);
    let points: Vec<Point> = judged
        .judged
        .iter()
        .filter_map(|one| {
            let point = Point::new("regression", regression_of(one, nights)?).with("metric", one.metric.name);
            let point = point.with("profile", &run.profile).with("target", &run.target);
            Some(one.subject.iter().fold(point, |point, subject| point.with("of", subject)))
        })
        .collect();
    let now = at.plus(Duration::from_secs(600));
    alerts.run_ended(&run, now);
    alerts.observe_judgement(&run.id, &run.target, &points, now);
    let told = alerts.judge(now).messages.into_iter().filter(|message| message.kind == MessageKind::Fired);
    told.map(|message| format!("night {day}: {message:?}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_nights_without_a_change_alarm_at_most_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&format!("sqlite://{}/plimsoll.db", folder.path().display())).await.unwrap();
    let mut target = Target::start(20, Duration::from_millis(2)).await;
    let mut alerts = alerts();
    let mut dice = SmallRng::seed_from_u64(20);
    let mut told = Vec::new();
    for day in 0..NIGHTS {
        // Nights of one build differ by some percent, whatever one does.
        let level = 1.0 + 0.02 * (dice.random::<f64>() + dice.random::<f64>() + dice.random::<f64>() - 1.5) / 0.5;
        told.extend(night(&mut target, store.as_ref(), &mut alerts, day, level).await);
    }
    assert!(told.len() <= 1, "{told:#?}");
    // The same rules are not deaf: a leak alarms in its first night, a third more response time within three.
    target.fault(&json!({ "memory_leak_bytes": 200_000 })).await;
    let leak = night(&mut target, store.as_ref(), &mut alerts, NIGHTS, 1.0).await;
    assert!(leak.iter().any(|message| message.contains("leak")), "{leak:#?}");
    target.fault(&json!({ "memory_leak_bytes": 0 })).await;
    let mut slower = Vec::new();
    for day in NIGHTS + 1..NIGHTS + 4 {
        slower.extend(night(&mut target, store.as_ref(), &mut alerts, day, 1.35).await);
    }
    assert!(slower.iter().any(|message| message.contains("slower-p95")), "{slower:#?}");
}
