//! Promises about processes that share a database: who owns what, who is in charge, and what is freed when one is gone.

use std::time::Duration;

use plimsoll::model::alerting::{AlertState, OutboxState, Outgoing};
use plimsoll::model::run::{RunId, RunStatus};
use plimsoll::model::schedule::{Tick, TickOutcome};
use plimsoll::store::{AlertChange, CHARGE, Owner, SeriesBatch, Settlement, Store, StoreError};

use super::Bed;
use super::samples::{at, ended, finding, message, run, tick, transition};

fn owner(id: &str) -> Owner {
    Owner { id: id.into(), host: "box".into(), pid: 7, process: format!("boot pid:[1]:{id}"), started_at: at(1) }
}

/// The same database as another process sees it.
async fn process(bed: &Bed, id: &str) -> std::sync::Arc<dyn Store> {
    let store = bed.opened_again().await;
    store.enlist(&owner(id)).await.unwrap();
    store
}

async fn dismiss(store: &dyn Store, id: &str) -> usize {
    let gone = store.owners().await.unwrap().into_iter().find(|seen| seen.owner.id == id).unwrap();
    store.dismiss(&[(gone.owner.id, gone.beat)]).await.unwrap()
}

fn started(run: &str) -> Tick {
    Tick { run: Some(RunId(run.into())), ..tick("nightly", at(60), TickOutcome::Started) }
}

pub(super) async fn a_process_is_enlisted_until_it_resigns(bed: Bed) {
    let one = process(&bed, "one").await;
    let _two = process(&bed, "two").await;
    let seen = bed.store.owners().await.unwrap();
    assert_eq!(seen.iter().map(|seen| seen.owner.clone()).collect::<Vec<_>>(), [owner("one"), owner("two")]);
    assert!(seen.iter().all(|seen| seen.now.since(seen.beat) < Duration::from_secs(60)), "{seen:?}");
    one.resign().await.unwrap();
    assert_eq!(bed.store.owners().await.unwrap().len(), 1);
    // Its heart beats once more: it is there again.
    one.beat().await.unwrap();
    assert_eq!(bed.store.owners().await.unwrap().len(), 2);
}

pub(super) async fn only_runs_of_processes_that_are_gone_are_orphans(bed: Bed) {
    let (one, two) = (process(&bed, "one").await, process(&bed, "two").await);
    one.start_run(&run("of-one", at(1))).await.unwrap();
    two.start_run(&run("of-two", at(2))).await.unwrap();
    bed.store.start_run(&run("of-nobody", at(3))).await.unwrap();
    assert_eq!(two.interrupt_orphans(at(9)).await.unwrap(), [RunId("of-nobody".into())]);
    assert_eq!(dismiss(&*two, "one").await, 1);
    assert_eq!(two.interrupt_orphans(at(9)).await.unwrap(), [RunId("of-one".into())]);
    assert_eq!(two.run("of-two").await.unwrap().unwrap().status, RunStatus::Running);
    // It was only slow: what it says about its run counts.
    one.end_run(&ended(run("of-one", at(1))), &["leak/1"], &[finding(&RunId("of-one".into()), "leak", "memory grows", at(8))])
        .await
        .unwrap();
    assert_eq!(two.run("of-one").await.unwrap().unwrap().status, RunStatus::Finished);
}

pub(super) async fn who_shows_life_is_not_dismissed(bed: Bed) {
    let (one, two) = (process(&bed, "one").await, process(&bed, "two").await);
    let seen = two.owners().await.unwrap().into_iter().find(|seen| seen.owner.id == "one").unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    one.beat().await.unwrap();
    assert_eq!(two.dismiss(&[("one".into(), seen.beat), ("nobody".into(), at(1))]).await.unwrap(), 0);
    assert_eq!(two.owners().await.unwrap().len(), 2);
}

pub(super) async fn one_process_has_a_lease_until_it_is_gone(bed: Bed) {
    assert!(bed.store.hold(CHARGE).await.is_err(), "nobody has enlisted");
    let (one, two) = (process(&bed, "one").await, process(&bed, "two").await);
    assert_eq!(one.hold(CHARGE).await.unwrap(), None);
    assert_eq!(one.hold(CHARGE).await.unwrap(), None);
    let holder = two.hold(CHARGE).await.unwrap().unwrap();
    assert_eq!((holder.id.as_str(), holder.host.as_str(), holder.pid), ("one", "box", 7));
    assert_eq!(two.hold("another lease").await.unwrap(), None);
    assert_eq!(dismiss(&*two, "one").await, 1);
    assert_eq!(two.hold(CHARGE).await.unwrap(), None);
    one.beat().await.unwrap();
    assert_eq!(one.hold(CHARGE).await.unwrap().unwrap().id, "two");
}

pub(super) async fn of_many_that_want_a_lease_one_gets_it(bed: Bed) {
    let mut wishes = tokio::task::JoinSet::new();
    for id in ["a", "b", "c", "d"] {
        let store = process(&bed, id).await;
        wishes.spawn(async move { store.hold(CHARGE).await.unwrap().is_none() });
    }
    let mut got = 0;
    while let Some(has) = wishes.join_next().await {
        got += u32::from(has.unwrap());
    }
    assert_eq!(got, 1);
}

pub(super) async fn a_lease_is_given_back_by_its_holder_only(bed: Bed) {
    bed.store.release("load shop:80").await.unwrap();
    let (one, two) = (process(&bed, "one").await, process(&bed, "two").await);
    assert_eq!(one.hold("load shop:80").await.unwrap(), None);
    assert_eq!(one.hold("load other:80").await.unwrap(), None);
    two.release("load shop:80").await.unwrap();
    assert_eq!(two.hold("load shop:80").await.unwrap().unwrap().id, "one");
    one.release("load shop:80").await.unwrap();
    one.release("load shop:80").await.unwrap();
    assert_eq!(two.hold("load shop:80").await.unwrap(), None);
    assert_eq!(one.hold("load shop:80").await.unwrap().unwrap().id, "two");
    assert_eq!(two.hold("load other:80").await.unwrap().unwrap().id, "one", "only what was named is given back");
}

pub(super) async fn what_a_process_has_going_on_is_told(bed: Bed) {
    let (one, two) = (process(&bed, "one").await, process(&bed, "two").await);
    one.start_run(&run("early", at(1))).await.unwrap();
    one.start_run(&run("late", at(5))).await.unwrap();
    one.start_run(&run("over", at(6))).await.unwrap();
    one.end_run(&ended(run("over", at(6))), &[], &[]).await.unwrap();
    two.start_run(&run("other", at(2))).await.unwrap();
    let loads = two.loads("one").await.unwrap();
    assert_eq!(loads.iter().map(|one| one.run.0.as_str()).collect::<Vec<_>>(), ["late", "early"]);
    assert_eq!((loads[0].target.as_str(), loads[0].started_at), (run("late", at(5)).target.as_str(), at(5)));
    assert_eq!(two.loads("nobody").await.unwrap(), []);
}

pub(super) async fn an_instant_starts_one_run(bed: Bed) {
    let (one, two) = (process(&bed, "one").await, process(&bed, "two").await);
    one.record_tick(&tick("nightly", at(60), TickOutcome::Queued)).await.unwrap();
    one.start_due(&run("a", at(61)), &started("a")).await.unwrap();
    let error = two.start_due(&run("b", at(61)), &started("b")).await.unwrap_err();
    assert!(matches!(error, StoreError::Duplicate(_)), "{error}");
    assert_eq!(two.run("b").await.unwrap(), None, "neither the run nor the record");
    two.record_tick(&tick("nightly", at(60), TickOutcome::Missed)).await.unwrap();
    one.record_tick(&started("a")).await.unwrap();
    assert_eq!(bed.store.ticks(None, 9).await.unwrap(), [started("a")]);
}

pub(super) async fn messages_of_a_process_that_is_gone_are_free_at_once(bed: Bed) {
    let (one, two) = (process(&bed, "one").await, process(&bed, "two").await);
    let messages = ["x-1", "y-1"].map(|incident| message(incident, 1, "mail", at(1))).to_vec();
    one.commit_alerts(&AlertChange { messages, ..AlertChange::default() }).await.unwrap();
    let ids = |leased: Vec<Outgoing>| leased.into_iter().map(|outgoing| outgoing.id).collect::<Vec<_>>();
    let first = ids(one.lease_messages(at(2), Duration::from_secs(90), 1).await.unwrap());
    let second = ids(two.lease_messages(at(2), Duration::from_secs(90), 9).await.unwrap());
    assert_eq!((first.len(), second.len()), (1, 1));
    assert_eq!(ids(two.lease_messages(at(3), Duration::from_secs(90), 9).await.unwrap()), [] as [String; 0]);
    dismiss(&*two, "one").await;
    assert_eq!(ids(two.lease_messages(at(3), Duration::from_secs(90), 9).await.unwrap()), first);
}

pub(super) async fn who_is_not_in_charge_decides_nothing(bed: Bed) {
    let (one, two) = (process(&bed, "one").await, process(&bed, "two").await);
    let decision = |second| {
        let transitions = vec![transition("a", at(second), AlertState::Pending, AlertState::Firing)];
        AlertChange { transitions, ..AlertChange::default() }
    };
    assert_eq!(one.hold(CHARGE).await.unwrap(), None);
    one.commit_alerts(&decision(1)).await.unwrap();
    let error = two.commit_alerts(&decision(2)).await.unwrap_err();
    assert!(error.to_string().contains("another daemon is in charge") && !error.is_passing(), "{error}");
    assert_eq!(bed.store.transitions(None, 9).await.unwrap().len(), 1);
}

pub(super) async fn who_is_not_in_charge_starts_nothing(bed: Bed) {
    let (held_up, other) = (process(&bed, "held up").await, process(&bed, "other").await);
    assert_eq!(other.hold(CHARGE).await.unwrap(), None);
    let missed = tick("nightly", at(60), TickOutcome::Missed);
    other.record_tick(&missed).await.unwrap();
    let error = held_up.start_due(&run("a", at(61)), &started("a")).await.unwrap_err();
    assert!(matches!(error, StoreError::NotInCharge) && !error.is_passing(), "{error}");
    assert_eq!(held_up.run("a").await.unwrap(), None, "neither the run nor the record");
    held_up.record_tick(&tick("nightly", at(60), TickOutcome::Skipped)).await.unwrap();
    assert_eq!(bed.store.ticks(None, 9).await.unwrap(), [missed], "what is recorded by who is in charge stays");
    let earlier = tick("nightly", at(30), TickOutcome::Refused);
    held_up.record_tick(&earlier).await.unwrap();
    other.start_due(&run("b", at(61)), &started("b")).await.unwrap();
    assert_eq!(bed.store.ticks(None, 9).await.unwrap(), [started("b"), earlier]);
}

pub(super) async fn a_lease_is_prolonged_only_by_who_has_it(bed: Bed) {
    let (one, two) = (process(&bed, "one").await, process(&bed, "two").await);
    one.commit_alerts(&AlertChange { messages: vec![message("x-1", 1, "mail", at(1))], ..AlertChange::default() }).await.unwrap();
    let lease = Duration::from_secs(90);
    let id = one.lease_messages(at(2), lease, 9).await.unwrap().remove(0).id;
    assert!(one.keep_lease(&id, at(50), lease).await.unwrap());
    assert!(!two.keep_lease(&id, at(50), lease).await.unwrap());
    assert_eq!(two.lease_messages(at(100), lease, 9).await.unwrap().len(), 0, "it was prolonged");
    dismiss(&*two, "one").await;
    assert!(!one.keep_lease(&id, at(101), lease).await.unwrap(), "free, though nobody has it yet");
    assert_eq!(two.lease_messages(at(101), lease, 9).await.unwrap().len(), 1);
    assert!(!one.keep_lease(&id, at(102), lease).await.unwrap());
    assert!(two.keep_lease(&id, at(102), lease).await.unwrap());
    let sent = Settlement { id: id.clone(), state: OutboxState::Sent, not_before: at(103), at: at(103), detail: "there".into() };
    two.settle_message(&sent).await.unwrap();
    assert!(!two.keep_lease(&id, at(104), lease).await.unwrap());
}

pub(super) async fn a_clock_that_goes_back_frees_and_loses_nothing(bed: Bed) {
    let (one, two) = (process(&bed, "one").await, process(&bed, "two").await);
    one.commit_alerts(&AlertChange { messages: vec![message("x-1", 1, "mail", at(100))], ..AlertChange::default() }).await.unwrap();
    assert_eq!(one.lease_messages(at(200), Duration::from_secs(90), 9).await.unwrap().len(), 1);
    assert_eq!(two.lease_messages(at(50), Duration::from_secs(90), 9).await.unwrap().len(), 0, "it is still on its way");
    one.start_due(&run("a", at(100)), &started("a")).await.unwrap();
    let seconds = (0..3).map(|second| (RunId("a".into()), super::samples::interval(second))).collect();
    one.append(&SeriesBatch { intervals: seconds, readings: Vec::new() }).await.unwrap();
    // The same instant comes again.
    let error = two.start_due(&run("b", at(60)), &started("b")).await.unwrap_err();
    assert!(matches!(error, StoreError::Duplicate(_)), "{error}");
    dismiss(&*two, "one").await;
    two.interrupt_orphans(at(50)).await.unwrap();
    assert_eq!(two.run("a").await.unwrap().unwrap().ended_at, Some(at(103)), "not before its last second");
}
