//! Digests over a real store: once per period, over changes of the clock, restarts, and with two that write.

use super::*;
use crate::model::digest::Every;
use crate::model::history::NightNumbers;
use crate::model::run::{Run, RunId, Verdict};
use crate::model::sample;
use crate::model::schedule::Tick;
use crate::model::series::{Point, Reading};
use crate::store::{self, SeriesBatch};

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

fn digest(cron: &str) -> Digest {
    let timezone = chrono_tz::Europe::Berlin;
    Digest { name: "morning".into(), every: Every::Daily, cron: cron.into(), timezone, send: vec!["ops".into(), "slack".into()] }
}

fn known() -> Known {
    Known { profiles: vec![sample::running().profile], targets: vec!["shop".into()] }
}

async fn store() -> Arc<dyn Store> {
    store::open("sqlite::memory:").await.unwrap()
}

async fn ran(store: &dyn Store, id: &str, started: &str, verdict: Verdict, capacity: Option<f64>) {
    let run = Run { id: RunId(id.into()), started_at: at(started), verdict: Some(verdict), ..sample::finished() };
    store.start_run(&Run { verdict: None, ..run.clone() }).await.unwrap();
    store.update_run(&run).await.unwrap();
    if let Some(capacity) = capacity {
        let values = [(String::new(), [("capacity".to_owned(), capacity)].into())].into();
        store.save_night(&run.id, &NightNumbers { method: "night/1".into(), values, ..NightNumbers::default() }).await.unwrap();
    }
}

#[test]
fn periods_end_at_the_local_hour_and_are_an_hour_longer_or_shorter_when_the_clock_changes() {
    let digest = digest("0 8 * * *");
    for (now, from, to) in [
        ("2026-11-21T07:00:00Z", "2026-11-20T07:00:00Z", "2026-11-21T07:00:00Z"),
        ("2026-11-21T06:59:59Z", "2026-11-19T07:00:00Z", "2026-11-20T07:00:00Z"),
        // Summer time began on 2026-03-29: 23 hours. It ended on 2026-10-25: 25 hours.
        ("2026-03-29T06:30:00Z", "2026-03-28T07:00:00Z", "2026-03-29T06:00:00Z"),
        ("2026-10-25T07:30:00Z", "2026-10-24T06:00:00Z", "2026-10-25T07:00:00Z"),
    ] {
        assert_eq!(period(&digest, at(now)), Some((at(from), at(to))), "{now}");
    }
    // An hour that does not exist, and one that exists twice: once a day all the same.
    let night = self::digest("30 2 * * *");
    let mut instants = BTreeSet::new();
    for quarter in 0..10 * 96 {
        for start in ["2026-03-25T12:00:00Z", "2026-10-21T12:00:00Z"] {
            instants.insert(period(&night, at(start).plus(Duration::from_secs(quarter * 900))).unwrap().1);
        }
    }
    let lengths: BTreeSet<u64> =
        instants.iter().zip(instants.iter().skip(1)).map(|(one, next)| next.since(*one).as_secs() / 3600).collect();
    assert!(lengths.iter().all(|hours| (23..=25).contains(hours) || *hours > 1000), "{lengths:?}");
    let weekly = self::digest("0 8 * * 1");
    assert_eq!(period(&weekly, at("2026-11-21T12:00:00Z")), Some((at("2026-11-09T07:00:00Z"), at("2026-11-16T07:00:00Z"))));
}

#[tokio::test]
async fn a_period_is_told_once_whoever_writes_and_however_often() {
    let (store, digest) = (store().await, digest("0 8 * * *"));
    let known = known();
    ran(store.as_ref(), "r1", "2026-11-21T01:00:00Z", Verdict::Fail, None).await;
    let now = (at("2026-11-21T07:00:05Z"), Some("http://127.0.0.1:9611"));
    assert!(
        !write_due(store.as_ref(), &known, &digest, (at("2026-11-21T06:59:00Z"), None), &mut BTreeSet::new()).await.unwrap(),
        "too early"
    );
    // Two that know nothing of each other, one of them twice, and one after a crash.
    let mut mine = BTreeSet::new();
    assert!(write_due(store.as_ref(), &known, &digest, now, &mut mine).await.unwrap());
    assert!(!write_due(store.as_ref(), &known, &digest, now, &mut mine).await.unwrap());
    assert!(!write_due(store.as_ref(), &known, &digest, now, &mut BTreeSet::new()).await.unwrap());
    let messages = store.messages(None, 0).await.unwrap();
    let mut ids: Vec<&str> = messages.iter().map(|message| message.id.as_str()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["20261121T070000-digest-morning-1-ops", "20261121T070000-digest-morning-1-slack"]);
    assert_eq!(messages[0].message.headline, "Daily digest: 0 of 1 run passed");
    // Both wrote at the same moment: the ids are the same, and the second one changes nothing.
    let again = addressed(&message_of(store.as_ref(), &known, &digest, period(&digest, now.0).unwrap(), None).await.unwrap(), "ops", now.0);
    store.commit_alerts(&AlertChange { messages: vec![again], ..AlertChange::default() }).await.unwrap();
    assert_eq!(store.messages(None, 0).await.unwrap().len(), 2);
    // The next day is another one.
    let tomorrow = (at("2026-11-22T07:10:00Z"), None);
    assert!(write_due(store.as_ref(), &known, &digest, tomorrow, &mut mine).await.unwrap());
    assert_eq!(store.messages(None, 0).await.unwrap().len(), 4);
}

#[tokio::test]
async fn what_is_too_late_or_from_before_the_first_day_is_not_told() {
    let (store, digest) = (store().await, digest("0 8 * * *"));
    let known = known();
    let write = async |now: &str| write_due(store.as_ref(), &known, &digest, (at(now), None), &mut BTreeSet::new()).await.unwrap();
    assert!(!write("2026-11-21T08:00:00Z").await, "there was no daemon yet");
    ran(store.as_ref(), "r1", "2026-11-21T08:30:00Z", Verdict::Pass, None).await;
    assert!(!write("2026-11-21T09:00:00Z").await, "the first run came after the instant");
    assert!(!write("2026-11-22T20:00:00Z").await, "thirteen hours late");
    assert!(write("2026-11-23T10:00:00Z").await, "three hours late");
}

#[tokio::test]
async fn the_facts_are_those_of_the_period_and_what_was_not_measured_is_absent() {
    let (store, digest) = (store().await, digest("0 8 * * *"));
    for (number, (day, capacity)) in [("18", 100.0), ("19", 104.0), ("20", 96.0)].into_iter().enumerate() {
        ran(store.as_ref(), &format!("old{number}"), &format!("2026-11-{day}T01:00:00Z"), Verdict::Pass, Some(capacity)).await;
    }
    ran(store.as_ref(), "new", "2026-11-21T01:00:00Z", Verdict::Pass, Some(90.0)).await;
    ran(store.as_ref(), "later", "2026-11-21T07:30:00Z", Verdict::Fail, None).await;
    let tick = |due: &str, outcome| Tick {
        schedule: "nightly".into(),
        profile: "p".into(),
        due: at(due),
        decided: at(due),
        outcome,
        reason: "the daemon was down".into(),
        run: None,
    };
    for (due, outcome) in [
        ("2026-11-20T06:00:00Z", TickOutcome::Missed),
        ("2026-11-21T02:00:00Z", TickOutcome::Missed),
        ("2026-11-21T03:00:00Z", TickOutcome::Skipped),
        ("2026-11-21T04:00:00Z", TickOutcome::Refused),
    ] {
        store.record_tick(&tick(due, outcome)).await.unwrap();
    }
    let reading = |when: &str, free: f64| {
        let point = |metric: &str, resource: &str, value| Point::new(metric, value).with("resource", resource).with("target", "shop");
        let points =
            vec![point("headroom", "safe load", 0.9), point("headroom", "pool main", free), point("headroom_time", "pool main", 864_000.0)];
        Reading { target: "shop".into(), probe: headroom::PROBE.into(), at: at(when), second: None, points: Ok(points) }
    };
    let readings = vec![(None, reading("2026-11-20T12:00:00Z", 0.5)), (None, reading("2026-11-21T06:00:00Z", 0.4))];
    store.append(&SeriesBatch { readings, ..SeriesBatch::default() }).await.unwrap();
    let facts = facts(store.as_ref(), &known(), period(&digest, at("2026-11-21T07:00:00Z")).unwrap()).await.unwrap();
    let profile = sample::running().profile;
    assert_eq!(facts.runs, [(profile.clone(), Some(Verdict::Pass))]);
    assert_eq!(facts.missed.iter().map(|missed| missed.due).collect::<Vec<_>>(), [at("2026-11-21T02:00:00Z"), at("2026-11-21T04:00:00Z")]);
    assert_eq!(facts.capacity, [CapacityTold { profile, per_second: 90.0, before: Some((100.0, 3)) }]);
    let left = Some(Duration::from_secs(864_000));
    assert_eq!(facts.headroom, [HeadroomTold { target: "shop".into(), resource: "pool main".into(), free: 0.4, left }]);
    assert_eq!((facts.flaky.len(), facts.regressions.len(), facts.incidents.len()), (0, 0, 0));
}

#[test]
fn incidents_count_when_they_were_open_in_the_period() {
    let change = |incident: &str, when: &str, to| Transition {
        fingerprint: incident.into(),
        rule: format!("rule-{incident}"),
        incident: Some(incident.into()),
        from: AlertState::Pending,
        to,
        at: at(when),
        reason: String::new(),
        value: None,
    };
    let mut changes = vec![
        change("over", "2026-11-20T01:00:00Z", AlertState::Firing),
        change("over", "2026-11-20T02:00:00Z", AlertState::Inactive),
        change("long", "2026-11-20T03:00:00Z", AlertState::Firing),
        change("long", "2026-11-20T09:00:00Z", AlertState::Inactive),
        change("open", "2026-11-21T01:00:00Z", AlertState::Firing),
        change("open", "2026-11-21T07:30:00Z", AlertState::Inactive),
        change("later", "2026-11-21T08:00:00Z", AlertState::Firing),
    ];
    changes.reverse();
    let found = incidents(&changes, (at("2026-11-20T07:00:00Z"), at("2026-11-21T07:00:00Z")));
    let shown: Vec<(&str, bool)> = found.iter().map(|told| (told.rule.as_str(), told.closed_at.is_some())).collect();
    assert_eq!(shown, [("rule-open", false), ("rule-long", true)], "what closed after the period was open at its end");
}
