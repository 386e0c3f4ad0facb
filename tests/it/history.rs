//! What is made of many runs, put through real stores: a step is found and tied to its deploy, noise does not cry, runs that are left
//! out are named; two runs compared; deploys and baselines remembered.
#![expect(clippy::unwrap_used, reason = "a step that fails, fails the test")]

mod made;

use std::sync::Arc;

use made::{DAY_US, Night, noise, start_of};
use plimsoll::analysis::comparison::Outcome;
use plimsoll::analysis::regression::State;
use plimsoll::analysis::regression::past::PastJudged;
use plimsoll::engine::history::compare::{SideName, compare_runs};
use plimsoll::engine::history::historian::judge_stored;
use plimsoll::model::history::{Deploy, NightNumbers, Pinned};
use plimsoll::model::run::{EndedBy, Run, Verdict};
use plimsoll::model::units::Timestamp;
use plimsoll::store::{Store, StoreError, open};
use tempfile::TempDir;

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
