//! What is made of many runs, put through real stores: a step is found and tied to its deploy, noise does not cry, runs that are left
//! out are named; two runs compared; deploys and baselines remembered.
#![expect(clippy::unwrap_used, reason = "a step that fails, fails the test")]

pub(crate) mod made;

use std::sync::Arc;
use std::time::Duration;

use made::{DAY_US, Night, noise, start_of};
use plimsoll::alert::{Alerts, Channel, Policy};
use plimsoll::analysis::comparison::Outcome;
use plimsoll::analysis::regression::State;
use plimsoll::analysis::regression::past::PastJudged;
use plimsoll::clock::SystemClock;
use plimsoll::engine::handle::{Command, EngineHandle, EngineStatus, Event};
use plimsoll::engine::history::baselines::compare_any;
use plimsoll::engine::history::compare::{SideName, compare_runs};
use plimsoll::engine::history::historian::{Historian, HistorianParts, RERUN, judge_stored};
use plimsoll::engine::history::suites::suite_result;
use plimsoll::engine::runner::RunNews;
use plimsoll::engine::setup::{HistorySetup, Setup};
use plimsoll::metrics::Metrics;
use plimsoll::model::Labels;
use plimsoll::model::alerting::{MessageKind, NoData, Rule, Severity};
use plimsoll::model::finding::Finding;
use plimsoll::model::history::{Deploy, NightNumbers, Pinned};
use plimsoll::model::run::{EndedBy, Run, RunId, Trigger, Verdict};
use plimsoll::model::series::Point;
use plimsoll::model::suite::{Ask, PhaseRatio, Suite, SuiteTest};
use plimsoll::model::threshold::{parse_bound, parse_condition, parse_series};
use plimsoll::model::units::Timestamp;
use plimsoll::store::{Store, StoreError, open};
use tempfile::TempDir;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::servers::postgres::Postgres;

struct Bed {
    store: Arc<dyn Store>,
    _folder: Option<TempDir>,
}

impl Bed {
    async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&format!("sqlite://{}/plimsoll.db", folder.path().display())).await.unwrap();
        Self { store, _folder: Some(folder) }
    }

    async fn postgres() -> Self {
        Self { store: open(&Postgres::fresh_database().await).await.unwrap(), _folder: None }
    }

    async fn judge(&self, run: &Run) -> PastJudged {
        judge_stored(self.store.as_ref(), run, 200, start_of(99)).await.unwrap().1
    }
}

macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod sqlite { $( #[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $name() { super::$name(super::Bed::sqlite().await).await; } )* }
        mod postgres { $( #[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $name() { super::$name(super::Bed::postgres().await).await; } )* }
    };
}

on_both! {
    a_step_of_a_tenth_is_found_and_tied_to_its_deploy,
    noise_does_not_cry_and_runs_left_out_are_named,
    numbers_deploys_and_baselines_are_remembered,
    two_runs_are_compared,
    a_run_is_compared_with_its_baselines,
    a_suite_judges_the_latest_runs,
    one_run_apart_runs_again_and_three_confirm,
}

async fn a_step_of_a_tenth_is_found_and_tied_to_its_deploy(bed: Bed) {
    let mut states = Vec::new();
    let deploy = Deploy { target: "shop".into(), version: "infra-77".into(), at: Timestamp(start_of(20).0 - DAY_US / 4), by: "ci".into() };
    bed.store.record_deploy(&deploy).await.unwrap();
    bed.store.record_deploy(&Deploy { target: "other".into(), ..deploy.clone() }).await.unwrap();
    let mut told = None;
    for day in 0..24 {
        let (level, version) = if day < 20 { (20_000.0, "1.4.2") } else { (22_000.0, "1.5.0") };
        let run = Night { day, level: level * (1.0 + noise(day)), version, ..Night::default() }.write(bed.store.as_ref()).await;
        let judged = bed.judge(&run).await;
        states.push(judged.judged.iter().find(|one| one.metric.name == "p95" && one.subject.is_none()).unwrap().judgement.state);
        if told.is_none() && judged.findings.iter().any(|finding| finding.kind == "regression") {
            told = Some((day, judged));
        }
    }
    assert!(states[..7].iter().all(|state| matches!(state, State::Learning { .. })), "{states:?}");
    assert!(states[7..20].iter().all(|state| *state == State::Steady), "{states:?}");
    assert!(matches!(states[20], State::Suspect { worse: true, .. }), "{states:?}");
    let (day, judged) = told.unwrap();
    assert_eq!(day, 22, "three nights confirm it");
    let finding = judged.findings.iter().find(|finding| finding.kind == "regression").unwrap();
    for part in ["rose from", "+9.9 %", "since the run 20261021-020000-soak-0020", "Deploy `1.4.2 → 1.5.0` falls into that time"] {
        assert!(finding.title.contains(part), "`{part}` is missing: {}", finding.title);
    }
    let deployed: Vec<&str> = finding.evidence.iter().filter(|one| one.name == "deployed").map(|one| one.value.as_str()).collect();
    assert_eq!(deployed, ["deploy `1.4.2 → 1.5.0`", "deploy `infra-77` at 2026-10-20 20:00 UTC"]);
    // What did not change is not told.
    assert!(!finding.title.contains("throughput") && !finding.title.contains("memory"), "{}", finding.title);
}

async fn noise_does_not_cry_and_runs_left_out_are_named(bed: Bed) {
    let odd = [
        Night { day: 3, digest: "d0", ..Night::default() },
        Night { day: 5, target: "prod", level: 90_000.0, ..Night::default() },
        Night { day: 9, verdict: Verdict::Invalid, level: 50_000.0, ..Night::default() },
        Night { day: 11, ended_by: EndedBy::Threshold, verdict: Verdict::Fail, level: 60_000.0, ..Night::default() },
    ];
    for day in 0..24 {
        let night = odd.iter().find(|night| night.day == day).cloned();
        let usual = Night { day, level: 20_000.0 * (1.0 + 2.0 * noise(day * 5)), ..Night::default() };
        let run = night.unwrap_or(usual).write(bed.store.as_ref()).await;
        let judged = bed.judge(&run).await;
        assert_eq!(judged.findings, [], "night {day}");
        if day == 23 {
            let told: Vec<String> = judged.comparable.left_out.iter().map(|left| format!("{} {}", &left.run.0[20..], left.why)).collect();
            assert_eq!(judged.comparable.nights.len(), 20);
            let mut told = told;
            told.sort();
            assert_eq!(
                told,
                [
                    "-0003 the profile was another then",
                    "-0005 it loaded the target `prod`",
                    "-0009 the generator was late or the load was not delivered",
                    "-0011 it was cut short (threshold)",
                ]
            );
        }
    }
    // A run that cannot be compared itself is not judged.
    let cut = Night { day: 30, ended_by: EndedBy::Cancelled, ..Night::default() }.write(bed.store.as_ref()).await;
    let judged = bed.judge(&cut).await;
    assert!(judged.judged.is_empty() && judged.findings.is_empty());
}

async fn numbers_deploys_and_baselines_are_remembered(bed: Bed) {
    let store = bed.store.as_ref();
    let (one, two) = (Night::default().write(store).await, Night { day: 1, ..Night::default() }.write(store).await);
    let mut numbers = NightNumbers { method: "m/1".into(), ..NightNumbers::default() };
    numbers.values.insert(String::new(), [("p95".to_owned(), 0.25)].into());
    numbers.requests.insert(String::new(), (3, 400));
    store.save_night(&one.id, &numbers).await.unwrap();
    numbers.requests.insert(String::new(), (4, 400));
    store.save_night(&one.id, &numbers).await.unwrap();
    let past = store.past_runs("soak", None, 0).await.unwrap();
    assert_eq!(
        past.iter().map(|run| (&run.id, run.numbers.clone())).collect::<Vec<_>>(),
        [(&two.id, None), (&one.id, Some(numbers.clone()))]
    );
    assert_eq!(
        (past[0].version.as_deref(), past[0].verdict, past[0].trigger.by.as_str()),
        (Some("1.4.2"), Some(Verdict::Pass), "schedule")
    );
    assert_eq!(store.past_runs("soak", Some(two.started_at), 5).await.unwrap().len(), 1);
    assert_eq!(store.past_runs("other", None, 5).await.unwrap(), []);
    numbers.values.insert("x".into(), [("p95".to_owned(), f64::NAN)].into());
    assert!(matches!(store.save_night(&one.id, &numbers).await, Err(StoreError::Other(_))));
    assert!(store.save_night(&Night { day: 9, ..Night::default() }.id(), &NightNumbers::default()).await.is_err());

    let deploy =
        |target: &str, version: &str, at| Deploy { target: target.into(), version: version.into(), at: Timestamp(at), by: "ci".into() };
    for one in [deploy("shop", "1", 10), deploy("shop", "2", 30), deploy("other", "9", 20)] {
        store.record_deploy(&one).await.unwrap();
    }
    let versions = |deploys: Vec<Deploy>| deploys.into_iter().map(|deploy| deploy.version).collect::<Vec<_>>();
    assert_eq!(versions(store.deploys(None, 0).await.unwrap()), ["2", "9", "1"]);
    assert_eq!(versions(store.deploys(Some("shop"), 1).await.unwrap()), ["2"]);

    let pinned = Pinned { profile: "soak".into(), run: one.id.clone(), at: Timestamp(5), by: "someone".into() };
    assert_eq!(store.baseline("soak").await.unwrap(), None);
    store.pin_baseline(&pinned).await.unwrap();
    let newer = Pinned { run: two.id.clone(), ..pinned.clone() };
    store.pin_baseline(&newer).await.unwrap();
    assert_eq!(store.baseline("soak").await.unwrap(), Some(newer));
    assert!(store.pin_baseline(&Pinned { run: Night { day: 9, ..Night::default() }.id(), ..pinned }).await.is_err());
    assert!(store.unpin_baseline("soak").await.unwrap() && !store.unpin_baseline("soak").await.unwrap());
}

async fn two_runs_are_compared(bed: Bed) {
    let store = bed.store.as_ref();
    let one = Night { warm: 0.5, ..Night::default() }.write(store).await;
    let two = Night { day: 1, level: 26_000.0, failed: 3, version: "1.5.0", ..Night::default() }.write(store).await;
    let side = |text: &str| text.parse::<SideName>().unwrap();
    let compared = compare_runs(store, &side(&one.id.0), &side("last")).await.unwrap();
    assert_eq!((compared.outcome, &compared.second.run), (Outcome::Worse, &two.id));
    let row = |figure: &str, subject: Option<&str>| {
        compared.rows.iter().find(|row| row.figure == figure && row.subject.as_deref() == subject).unwrap().clone()
    };
    assert!((row("p50", Some("users/browse")).ratio.unwrap().value - 1.7).abs() < 0.3, "{:?}", row("p50", Some("users/browse")));
    assert_eq!(row("pool_in_use", Some("app pool=main")).outcome, Outcome::Same);
    assert_eq!((compared.reasons[0].steps.as_slice(), compared.reasons[0].second), (&["pay".to_owned()][..], 180));
    let phases = compare_runs(store, &side(&format!("{}:cold", one.id)), &side(&format!("{}:warm", one.id))).await.unwrap();
    let p95 = phases.rows.iter().find(|row| row.figure == "p95").unwrap();
    assert!(p95.outcome == Outcome::Better && (p95.ratio.unwrap().value - 0.5).abs() < 0.02, "{p95:?}");
    for (a, why) in [("nothing", "there is no run `nothing`"), (&format!("{}:hot", one.id), "it has cold, users, warm")] {
        let error = compare_runs(store, &side(a), &side("last")).await.unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

async fn a_run_is_compared_with_its_baselines(bed: Bed) {
    let store = bed.store.as_ref();
    let side = |text: &str| text.parse::<SideName>().unwrap();
    for day in 0..8 {
        let night = Night { day, level: 20_000.0 * (1.0 + noise(day)), ..Night::default() };
        let run = night.write(store).await;
        bed.judge(&run).await;
    }
    let slower = Night { day: 8, level: 26_000.0, version: "1.5.0", ..Night::default() }.write(store).await;
    let without = compare_any(store, &side("last"), &side("last-7")).await.unwrap_err().to_string();
    assert!(without.contains("has no stored numbers"), "{without}");
    bed.judge(&slower).await;
    for (with, part) in [("last-7", "last 7 runs"), ("previous-version", "8 runs of the version before")] {
        let told = compare_any(store, &side("last"), &side(with)).await.unwrap();
        let p95 = told.rows.iter().find(|row| row.figure == "p95" && row.subject.is_none()).unwrap();
        assert_eq!((told.outcome, p95.outcome, told.first.part.as_deref()), (Outcome::Worse, Outcome::Worse, Some(part)));
        assert!((p95.ratio.unwrap().value - 1.3).abs() < 0.02, "{p95:?}");
    }
    let missing = compare_any(store, &side("last"), &side("baseline")).await.unwrap_err().to_string();
    assert!(missing.contains("plimsoll baseline set soak RUN"), "{missing}");
    let pinned = Pinned { profile: "soak".into(), run: Night { day: 2, ..Night::default() }.id(), at: Timestamp(5), by: "someone".into() };
    store.pin_baseline(&pinned).await.unwrap();
    let told = compare_any(store, &side("last"), &side("baseline")).await.unwrap();
    assert_eq!((told.outcome, told.first.run, &told.second.run), (Outcome::Worse, pinned.run, &slower.id));
    assert!(told.doubt.contains("9 comparable runs"), "{}", told.doubt);
    assert!(compare_any(store, &side("baseline"), &side("last-3")).await.is_err());
}

async fn a_suite_judges_the_latest_runs(bed: Bed) {
    let store = bed.store.as_ref();
    Night { profile: "cache", warm: 0.97, ..Night::default() }.write(store).await;
    Night { profile: "feed", verdict: Verdict::Fail, failed: 3, ..Night::default() }.write(store).await;
    // Somebody ended this one: it says nothing.
    Night { profile: "feed", day: 1, ended_by: EndedBy::Cancelled, ..Night::default() }.write(store).await;
    let holds = |text: &str| Ask::Holds(text.into(), Box::new(parse_series(text).unwrap()));
    let half = parse_bound("< 50%", &parse_series("checks: rate > 0%").unwrap()).unwrap();
    let ratio = PhaseRatio { phase: "warm".into(), with: "cold".into(), figure: "p50".into(), step: Some("browse".into()), bound: half };
    let test = |name: &str, profile: &str, priority, asks| SuiteTest { name: name.into(), profile: profile.into(), priority, asks };
    let mut suite = Suite {
        name: "battery".into(),
        description: None,
        pass: 0.4,
        tests: vec![
            test("feed passes", "feed", Severity::Medium, Ask::Verdict),
            test("feed rate", "feed", Severity::High, holds("http_reqs{step:browse}: rate > 29/s")),
            test("feed rate, all of it", "feed", Severity::High, holds("http_reqs{step:browse}: rate > 31/s")),
            test("pool", "feed", Severity::Medium, holds("pool_in_use{pool:main}: max < 10")),
            test("cache gain", "cache", Severity::Low, Ask::Ratio(ratio)),
        ],
    };
    let told = suite_result(store, &suite).await.unwrap();
    let verdicts: Vec<Verdict> = told.results.iter().map(|result| result.verdict).collect();
    assert_eq!(verdicts, [Verdict::Fail, Verdict::Pass, Verdict::Fail, Verdict::Pass, Verdict::Fail], "{told:#?}");
    assert_eq!((told.verdict, told.passed, told.tests), (Verdict::Pass, 2, 5));
    assert_eq!(told.by_priority, [(Severity::High, 1, 2), (Severity::Medium, 1, 2), (Severity::Low, 0, 1)]);
    assert!(told.results[4].measured.starts_with("97") && told.sentence.starts_with("2 of 5 tests passed (40 %)"), "{told:#?}");
    // A critical test decides alone; one that never ran is not passed.
    suite.tests[0].priority = Severity::Critical;
    assert_eq!(suite_result(store, &suite).await.unwrap().verdict, Verdict::Fail);
    suite.tests = vec![suite.tests[1].clone(), test("never", "never", Severity::Critical, Ask::Verdict)];
    let told = suite_result(store, &suite).await.unwrap();
    assert_eq!((told.verdict, told.results[1].note.as_deref()), (Verdict::NoData, Some("`never` has not run yet")));
}

/// Says yes to every re-run, and which were asked for.
async fn answered(mut asked: mpsc::Receiver<Command>) -> Vec<(String, RunId)> {
    let mut log = Vec::new();
    while let Some(command) = asked.recv().await {
        if let Command::Rerun(profile, after, answer) = command {
            log.push((profile, after));
            let _ = answer.send(Ok(()));
        }
    }
    log
}

/// The historian beside an engine that starts nothing and writes down what it is asked.
async fn one_run_apart_runs_again_and_three_confirm(bed: Bed) {
    let store = bed.store.clone();
    for day in 0..12 {
        Night { day, level: 20_000.0 * (1.0 + noise(day)), ..Night::default() }.write(store.as_ref()).await;
    }
    let (commands, asked) = mpsc::channel(8);
    let (news, mut heard) = mpsc::channel(64);
    let (_status, status) = watch::channel(Arc::new(EngineStatus::default()));
    let one = Setup { history: HistorySetup { reruns: 1, ..HistorySetup::default() }, ..Setup::default() };
    let (_setup, setup) = watch::channel(Arc::new(one));
    let events = broadcast::Sender::new(64);
    let metrics = Arc::new(Metrics::new());
    let engine = EngineHandle::new(commands, status, events.clone());
    let (clock, of_events) = (Arc::new(SystemClock), events.subscribe());
    let parts = HistorianParts { store: store.clone(), clock, metrics: metrics.clone(), events: of_events, news, setup, engine };
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let historian = Historian::new(parts).run(stop.clone());
    tasks.spawn(async move {
        historian.await;
        Vec::new()
    });
    tasks.spawn(answered(asked));
    let mut told = Vec::new();
    let night = Night { day: 12, level: 30_000.0, ..Night::default() };
    for again in 0..3_u64 {
        let mut run = night.run();
        if again > 0 {
            run.id = RunId(format!("{}-{again}", run.id));
            run.started_at = run.started_at.plus(Duration::from_secs(600 * again));
            run.trigger = Trigger { by: RERUN.into(), name: None };
        }
        let run = night.write_as(store.as_ref(), run).await;
        events.send(Event::RunEnded(Box::new(run.clone()))).unwrap();
        let Some(RunNews::Judged { run: judged, points, .. }) = heard.recv().await else { panic!("nothing was judged") };
        assert_eq!(judged, run.id);
        let p95 = points.iter().find(|point| point.labels["metric"] == "p95" && !point.labels.contains_key("of")).unwrap();
        assert!(if again < 2 { p95.value < 1e-9 } else { (p95.value - 0.5).abs() < 0.02 }, "{again}: {p95:?}");
        told.push(store.findings(Some(&run.id), 10).await.unwrap());
    }
    stop.cancel();
    let mut log = Vec::new();
    while let Some(done) = tasks.join_next().await {
        log.extend(done.unwrap());
    }
    assert_eq!(log, [("soak".to_owned(), night.id())], "one re-run a night is allowed");
    let next = |findings: &[Finding]| findings[0].evidence.last().map(|one| one.value.clone()).unwrap();
    assert!(told[..2].iter().all(|findings| findings.iter().all(|one| one.kind == "regression_suspected")), "{told:?}");
    assert_eq!(next(&told[0]), "re-run 1 of at most 1 a night asked for");
    assert_eq!(next(&told[1]), "no re-run: 1 of at most 1 a night were made");
    assert_eq!(told[2][0].kind, "regression");
    let page = metrics.render();
    assert!(page.contains("plimsoll_history_runs{profile=\"soak\"} 15"), "{page}");
    assert!(page.contains("plimsoll_regression_ratio{metric=\"p95\",of=\"\",profile=\"soak\"} 0."), "{page}");
}

#[test]
fn a_rule_fires_on_a_confirmed_regression_and_resolves_when_it_is_gone() {
    let rule = Rule {
        name: "slower".into(),
        when: parse_condition("regression(p95){profile:soak} > 10%").unwrap(),
        recover: None,
        severity: Severity::High,
        runbook: None,
        labels: Labels::new(),
        keep_firing_for: Duration::ZERO,
        no_data: NoData::Keep,
        no_data_after: Duration::from_secs(300),
    };
    let channels = vec![Channel { name: "ops".into(), send_resolved: true }];
    let mut alerts = Alerts::new(vec![rule], Vec::new(), Policy { channels, ..Policy::default() });
    let judged = |alerts: &mut Alerts, day: i64, profile: &str, value: f64| {
        let point = Point::new("regression", value).with("metric", "p95").with("profile", profile).with("target", "shop");
        alerts.observe_judgement(&Night { day, ..Night::default() }.id(), "shop", &[point], start_of(day));
        alerts.judge(start_of(day)).messages.into_iter().map(|told| told.kind).collect::<Vec<_>>()
    };
    assert_eq!(judged(&mut alerts, 0, "soak", 0.0), []);
    assert_eq!(judged(&mut alerts, 1, "other", 0.3), []);
    assert_eq!(judged(&mut alerts, 2, "soak", 0.12), [MessageKind::Fired]);
    assert_eq!(judged(&mut alerts, 3, "soak", 0.12), []);
    assert_eq!(judged(&mut alerts, 4, "soak", 0.0), [MessageKind::Resolved]);
    assert!(parse_condition("capacity drop > 5%").is_ok());
    for (text, why) in [
        ("regression > 5%", "say of which metric"),
        ("regression(p96) > 5%", "`p96` is not compared from run to run"),
        ("regression(p95) > 5", "unit"),
        ("regression(p95){step:pay} > 5%", "no tag `step`"),
    ] {
        let error = parse_condition(text).unwrap_err();
        assert!(error.message.contains(why), "{text}: {}", error.message);
    }
    assert!(parse_series("regression: value > 5%").is_err());
}
