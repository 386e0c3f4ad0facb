//! Promises about threads of messages, silences, and the queues of channels.

use std::time::Duration;

use plimsoll::model::Labels;
use plimsoll::model::alerting::{AlertState, MessageKind, OutboxState};
use plimsoll::model::muting::{AlertThread, Matcher, Silence, ThreadMember};
use plimsoll::store::AlertChange;

use super::Bed;
use super::samples::{alert, at, message};

const LEASE: Duration = Duration::from_secs(30);

pub(super) fn thread(id: &str, messages: u32) -> AlertThread {
    let member = ThreadMember {
        incident: "pool-full-1".into(),
        instance: alert("a", AlertState::Firing),
        reason: "pool full".into(),
        told: true,
        ended_at: Some(at(9)),
        muted: Some("silenced by ann".into()),
        owed: None,
        ack_told: true,
    };
    AlertThread {
        id: id.into(),
        incident: "pool-full-1".into(),
        group: Some("mail{}".into()),
        labels: Labels::new(),
        channels: vec!["mail".into()],
        opened_at: at(1),
        messages,
        last_message: Some(at(4)),
        members: vec![member],
    }
}

pub(super) async fn threads_are_replaced_and_forgotten_with_a_decision(bed: Bed) {
    let change = AlertChange { threads: vec![thread("b", 1), thread("a", 1), thread("c", 1)], ..AlertChange::default() };
    bed.store.commit_alerts(&change).await.unwrap();
    let change =
        AlertChange { threads: vec![thread("a", 2)], threads_forgotten: vec!["c".into(), "nobody".into()], ..AlertChange::default() };
    bed.store.commit_alerts(&change).await.unwrap();
    assert_eq!(bed.opened_again().await.alert_threads().await.unwrap(), [thread("a", 2), thread("b", 1)]);
}

pub(super) fn silence(id: &str, end: u64) -> Silence {
    Silence {
        id: id.into(),
        matchers: vec![Matcher::parse("pool=~\"a|b\"").unwrap(), Matcher::equal("team", "x \"y\"")],
        author: "ann".into(),
        comment: "deploy\nof the database".into(),
        created_at: at(0),
        starts_at: at(1),
        ends_at: at(end),
        ended_by: None,
    }
}

pub(super) async fn silences_are_kept_until_they_are_over(bed: Bed) {
    for (id, end) in [("one", 10), ("two", 20), ("three", 30)] {
        bed.store.save_silence(&silence(id, end)).await.unwrap();
    }
    let ended = Silence { ended_by: Some("bob".into()), ..silence("two", 15) };
    bed.store.save_silence(&ended).await.unwrap();
    assert_eq!(bed.opened_again().await.silences(at(10)).await.unwrap(), [silence("three", 30), ended]);
    assert_eq!(bed.store.silences(at(30)).await.unwrap(), []);
}

pub(super) async fn each_channel_has_its_own_queue(bed: Bed) {
    let messages = vec![
        message("a", 1, "slow", at(1)),
        message("b", 1, "slow", at(1)),
        message("a", 1, "mail", at(1)),
        message("c", 1, "later", at(60)),
    ];
    bed.store.commit_alerts(&AlertChange { messages, ..AlertChange::default() }).await.unwrap();
    assert_eq!(bed.store.due_channels(at(5)).await.unwrap(), ["mail", "slow"]);
    let ids = async |channel: &str, limit| {
        let leased = bed.store.lease_for(channel, at(5), LEASE, limit).await.unwrap();
        leased.into_iter().map(|outgoing| outgoing.id).collect::<Vec<_>>()
    };
    assert_eq!(ids("slow", 1).await, ["a-1-slow"]);
    assert_eq!(ids("mail", 10).await, ["a-1-mail"]);
    assert_eq!(ids("slow", 10).await, ["b-1-slow"]);
    assert_eq!(ids("later", 10).await, Vec::<String>::new());
}

pub(super) async fn messages_become_one_or_stay_as_they_are(bed: Bed) {
    let messages = vec![
        message("a", 1, "mail", at(1)),
        message("a", 2, "mail", at(2)),
        message("a", 3, "mail", at(3)),
        message("a", 1, "slow", at(1)),
    ];
    bed.store.commit_alerts(&AlertChange { messages: messages.clone(), ..AlertChange::default() }).await.unwrap();
    let waiting_of = async |channel: &str| {
        let found = bed.store.messages_of("a", channel).await.unwrap();
        found.into_iter().filter(|one| one.state == OutboxState::Waiting).collect::<Vec<_>>()
    };
    assert_eq!(bed.store.messages_of("a", "mail").await.unwrap(), messages[..3]);
    let mut whole = messages[2].clone();
    whole.message.kind = MessageKind::FiredAndResolved;
    let replaced: Vec<String> = messages[..2].iter().map(|one| one.id.clone()).collect();
    assert!(bed.store.merge_messages(&whole, &replaced, at(5), LEASE).await.unwrap());
    let waiting = waiting_of("mail").await;
    assert_eq!((waiting.len(), waiting[0].id.as_str(), waiting[0].message.kind), (1, "a-3-mail", MessageKind::FiredAndResolved));
    let merged = bed.store.messages(Some(OutboxState::Merged), 0).await.unwrap();
    assert!(merged.len() == 2 && merged.iter().all(|one| one.detail == "told together with a-3-mail" && one.attempts == 0), "{merged:?}");
    assert!(bed.store.lease_for("mail", at(6), LEASE, 9).await.unwrap().is_empty(), "it is leased to who merged it");
    assert_eq!(bed.store.lease_for("mail", at(40), LEASE, 9).await.unwrap().len(), 1);
    // One of them is done already: nothing changes.
    assert!(!bed.store.merge_messages(&whole, &replaced, at(7), LEASE).await.unwrap());
    assert_eq!(waiting_of("slow").await.len(), 1);
}

pub(super) async fn what_was_posted_is_remembered_by_channel_and_incident(bed: Bed) {
    let store = &bed.store;
    assert_eq!(store.posted("slack", "a-1").await.unwrap(), None);
    let change = AlertChange { instances: vec![alert("a", AlertState::Firing)], ..AlertChange::default() };
    store.commit_alerts(&change).await.unwrap();
    let open = alert("a", AlertState::Firing).incident.unwrap();
    for (channel, incident, kept) in
        [("slack", "a-1", "one"), ("slack", open.as_str(), "open"), ("other", "a-1", "two"), ("slack", "a-1", "three")]
    {
        store.keep_posted(channel, incident, kept, at(1)).await.unwrap();
    }
    let again = bed.opened_again().await;
    assert_eq!(again.posted("slack", "a-1").await.unwrap().as_deref(), Some("three"));
    assert_eq!(again.posted("other", "a-1").await.unwrap().as_deref(), Some("two"));
    assert_eq!(again.posted("other", "b-1").await.unwrap(), None);
    // After a season only what is open still, and what is new, is left.
    again.keep_posted("slack", "c-1", "new", at(100 * 24 * 3600)).await.unwrap();
    assert_eq!(again.posted("slack", "a-1").await.unwrap(), None);
    assert_eq!(again.posted("slack", &open).await.unwrap().as_deref(), Some("open"));
}
