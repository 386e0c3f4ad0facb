//! Promises about alerts and the outbox.

use std::collections::BTreeSet;
use std::slice::from_ref;
use std::time::Duration;

use plimsoll::model::alerting::{AlertState, MessageKind, OutboxState, Outgoing};
use plimsoll::model::units::Timestamp;
use plimsoll::store::{AlertChange, OutboxStats, Settlement, Store};

use super::Bed;
use super::samples::{alert, at, message, transition};

const LEASE: Duration = Duration::from_secs(30);

async fn write(bed: &Bed, messages: &[Outgoing]) {
    bed.store.commit_alerts(&AlertChange { messages: messages.to_vec(), ..AlertChange::default() }).await.unwrap();
}

async fn leased(store: &dyn Store, now: Timestamp) -> Vec<String> {
    store.lease_messages(now, LEASE, 100).await.unwrap().into_iter().map(|outgoing| outgoing.id).collect()
}

fn settlement(id: &str, state: OutboxState, at: Timestamp) -> Settlement {
    Settlement { id: id.into(), state, not_before: at.plus(Duration::from_secs(60)), at, detail: format!("now {state}") }
}

pub(super) async fn an_alert_is_read_back_whole_replaced_and_forgotten(bed: Bed) {
    let mut bare = alert("b", AlertState::Pending);
    (bare.active_since, bare.clear_since, bare.last_data, bare.value) = (None, None, None, None);
    (bare.incident, bare.last_message, bare.run) = (None, None, None);
    let instances = vec![bare.clone(), alert("a", AlertState::Pending), alert("c", AlertState::NoData)];
    bed.store.commit_alerts(&AlertChange { instances, ..AlertChange::default() }).await.unwrap();
    let mut firing = alert("a", AlertState::Firing);
    firing.messages = 9;
    let change = AlertChange { instances: vec![firing.clone()], forgotten: vec!["c".into(), "nobody".into()], ..AlertChange::default() };
    bed.store.commit_alerts(&change).await.unwrap();
    assert_eq!(bed.opened_again().await.alerts().await.unwrap(), [firing, bare]);
}

pub(super) async fn transitions_come_newest_first(bed: Bed) {
    let fired = transition("a", at(1), AlertState::Pending, AlertState::Firing);
    let mut resolved = transition("a", at(2), AlertState::Firing, AlertState::Inactive);
    resolved.incident = Some("a-1".into());
    resolved.value = None;
    let other = transition("b", at(2), AlertState::Inactive, AlertState::NoData);
    let transitions = vec![fired.clone(), resolved.clone(), other.clone()];
    bed.store.commit_alerts(&AlertChange { transitions, ..AlertChange::default() }).await.unwrap();
    assert_eq!(bed.store.transitions(None, 0).await.unwrap(), [other, resolved.clone(), fired.clone()]);
    assert_eq!(bed.store.transitions(Some("a"), 0).await.unwrap(), [resolved.clone(), fired]);
    assert_eq!(bed.store.transitions(Some("a"), 1).await.unwrap(), [resolved]);
}

pub(super) async fn a_decision_is_stored_whole_or_not_at_all(bed: Bed) {
    let change = AlertChange {
        instances: vec![alert("a", AlertState::Firing)],
        forgotten: vec!["b".into()],
        transitions: vec![transition("a", at(1), AlertState::Pending, AlertState::Firing)],
        messages: vec![message("a-1", 1, "mail", at(1))],
        ..AlertChange::default()
    };
    let before = alert("b", AlertState::Pending);
    bed.store.commit_alerts(&AlertChange { instances: vec![before.clone()], ..AlertChange::default() }).await.unwrap();
    bed.sql("ALTER TABLE outbox RENAME TO elsewhere").await;
    bed.store.commit_alerts(&change).await.unwrap_err();
    bed.sql("ALTER TABLE elsewhere RENAME TO outbox").await;
    assert_eq!(bed.store.alerts().await.unwrap(), [before]);
    assert_eq!(bed.store.transitions(None, 0).await.unwrap(), []);
    bed.store.commit_alerts(&change).await.unwrap();
    assert_eq!(bed.store.alerts().await.unwrap(), change.instances);
    assert_eq!(bed.store.transitions(None, 0).await.unwrap(), change.transitions);
    assert_eq!(bed.store.messages(None, 0).await.unwrap(), change.messages);
}

pub(super) async fn a_message_that_exists_is_left_as_it_is(bed: Bed) {
    let first = message("a-1", 1, "mail", at(1));
    write(&bed, from_ref(&first)).await;
    let mut again = message("a-1", 1, "mail", at(9));
    again.message.headline = "another text".into();
    write(&bed, &[again, message("a-1", 1, "slack", at(9))]).await;
    assert_eq!(bed.store.messages(None, 0).await.unwrap(), [message("a-1", 1, "slack", at(9)), first]);
}

pub(super) async fn only_due_messages_are_leased(bed: Bed) {
    let mut sent = message("c", 1, "mail", at(1));
    sent.state = OutboxState::Sent;
    write(&bed, &[message("a", 1, "mail", at(10)), message("b", 1, "mail", at(20)), sent, message("d", 1, "mail", at(5))]).await;
    assert_eq!(leased(&*bed.store, at(4)).await, <[&str; 0]>::default());
    let one = bed.store.lease_messages(at(10), LEASE, 1).await.unwrap();
    let expected = Outgoing { leased_until: Some(at(40)), ..message("a", 1, "mail", at(10)) };
    assert_eq!(one, [expected], "the oldest written first");
    assert_eq!(leased(&*bed.store, at(10)).await, ["d-1-mail"]);
    assert_eq!(leased(&*bed.store, at(20)).await, ["b-1-mail"]);
}

pub(super) async fn a_leased_message_is_not_given_out_again_until_the_lease_ends(bed: Bed) {
    write(&bed, &[message("a", 1, "mail", at(0))]).await;
    let other = bed.opened_again().await;
    assert_eq!(leased(&*bed.store, at(0)).await, ["a-1-mail"]);
    assert_eq!(leased(&*other, at(29)).await, <[&str; 0]>::default());
    assert_eq!(leased(&*other, at(30)).await, ["a-1-mail"]);
}

pub(super) async fn of_an_incident_and_channel_only_the_earliest_is_given_out(bed: Bed) {
    // Written in the wrong order on purpose: the number within the incident counts.
    write(&bed, &[message("a", 2, "mail", at(0)), message("a", 2, "slack", at(0)), message("b", 2, "mail", at(0))]).await;
    write(&bed, &[message("a", 1, "mail", at(0)), message("a", 3, "mail", at(0))]).await;
    assert_eq!(leased(&*bed.store, at(0)).await, ["a-2-slack", "b-2-mail", "a-1-mail"]);
    assert_eq!(leased(&*bed.store, at(1)).await, <[&str; 0]>::default());
    // The first one fails and has to wait: those behind it wait, too.
    bed.store.settle_message(&settlement("a-1-mail", OutboxState::Waiting, at(2))).await.unwrap();
    assert_eq!(leased(&*bed.store, at(3)).await, <[&str; 0]>::default());
    assert_eq!(leased(&*bed.store, at(62)).await, ["a-2-slack", "b-2-mail", "a-1-mail"]);
    bed.store.settle_message(&settlement("a-1-mail", OutboxState::Sent, at(63))).await.unwrap();
    assert_eq!(leased(&*bed.store, at(64)).await, ["a-2-mail"]);
    bed.store.settle_message(&settlement("a-2-mail", OutboxState::Merged, at(65))).await.unwrap();
    assert_eq!(leased(&*bed.store, at(66)).await, ["a-3-mail"]);
}

pub(super) async fn a_message_waits_for_its_next_attempt(bed: Bed) {
    write(&bed, &[message("a", 1, "mail", at(0))]).await;
    leased(&*bed.store, at(0)).await;
    bed.store.settle_message(&settlement("a-1-mail", OutboxState::Waiting, at(1))).await.unwrap();
    assert_eq!(leased(&*bed.store, at(60)).await, <[&str; 0]>::default());
    assert_eq!(leased(&*bed.store, at(61)).await, ["a-1-mail"]);
}

pub(super) async fn settling_counts_attempts_and_ends_the_lease(bed: Bed) {
    let written = message("a", 1, "mail", at(0));
    write(&bed, from_ref(&written)).await;
    leased(&*bed.store, at(0)).await;
    bed.store.settle_message(&settlement("a-1-mail", OutboxState::Waiting, at(1))).await.unwrap();
    let waiting = Outgoing { attempts: 1, not_before: at(61), detail: "now waiting".into(), ..written };
    assert_eq!(bed.store.messages(None, 0).await.unwrap(), from_ref(&waiting));
    leased(&*bed.store, at(61)).await;
    bed.store.settle_message(&settlement("a-1-mail", OutboxState::Dropped, at(62))).await.unwrap();
    let dropped = Outgoing { attempts: 2, state: OutboxState::Dropped, done_at: Some(at(62)), detail: "now dropped".into(), ..waiting };
    assert_eq!(bed.store.messages(None, 0).await.unwrap(), [dropped]);
}

/// A sender whose lease ran out comes back after another one has delivered the message.
pub(super) async fn a_message_that_is_done_stays_as_it_is(bed: Bed) {
    write(&bed, &[message("a", 1, "mail", at(0))]).await;
    bed.store.settle_message(&settlement("a-1-mail", OutboxState::Sent, at(1))).await.unwrap();
    let sent = bed.store.messages(None, 0).await.unwrap();
    bed.store.settle_message(&settlement("a-1-mail", OutboxState::Waiting, at(2))).await.unwrap();
    assert_eq!(bed.store.messages(None, 0).await.unwrap(), sent);
    assert_eq!((sent[0].state, sent[0].attempts, sent[0].done_at), (OutboxState::Sent, 1, Some(at(1))));
}

pub(super) async fn settling_an_unknown_message_fails(bed: Bed) {
    let error = bed.store.settle_message(&settlement("nobody", OutboxState::Sent, at(0))).await.unwrap_err();
    assert_eq!(error.to_string(), "the database refused: message nobody is not stored");
}

pub(super) async fn two_senders_never_get_the_same_message(bed: Bed) {
    let messages: Vec<_> = (0..60).map(|number| message(&format!("i{number}"), 1, "mail", at(0))).collect();
    write(&bed, &messages).await;
    let mut seen = BTreeSet::new();
    let (one, other) = (bed.store.clone(), bed.opened_again().await);
    while seen.len() < 60 {
        let take = async |store: &dyn Store| store.lease_messages(at(1), LEASE, 4).await.unwrap();
        let (a, b, c, d) = tokio::join!(take(&*one), take(&*other), take(&*one), take(&*other));
        let taken: Vec<_> = [a, b, c, d].concat();
        assert!(!taken.is_empty(), "{} of 60 messages were given out", seen.len());
        for outgoing in taken {
            assert!(seen.insert(outgoing.id.clone()), "{} was given out twice", outgoing.id);
        }
    }
}

pub(super) async fn messages_are_listed_by_state_newest_first(bed: Bed) {
    write(&bed, &[message("a", 1, "mail", at(1)), message("b", 1, "mail", at(3)), message("c", 1, "mail", at(2))]).await;
    bed.store.settle_message(&settlement("c-1-mail", OutboxState::Sent, at(4))).await.unwrap();
    let ids = async |state, limit| {
        let found = bed.store.messages(state, limit).await.unwrap();
        found.into_iter().map(|outgoing| outgoing.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(None, 0).await, ["b-1-mail", "c-1-mail", "a-1-mail"]);
    assert_eq!(ids(Some(OutboxState::Waiting), 0).await, ["b-1-mail", "a-1-mail"]);
    assert_eq!(ids(Some(OutboxState::Sent), 0).await, ["c-1-mail"]);
    assert_eq!(ids(None, 1).await, ["b-1-mail"]);
}

pub(super) async fn the_outbox_tells_how_much_waits(bed: Bed) {
    assert_eq!(bed.store.outbox_stats().await.unwrap(), OutboxStats { waiting: 0, oldest: None });
    write(&bed, &[message("a", 1, "mail", at(7)), message("b", 1, "mail", at(3)), message("c", 1, "mail", at(5))]).await;
    leased(&*bed.store, at(9)).await;
    assert_eq!(bed.store.outbox_stats().await.unwrap(), OutboxStats { waiting: 3, oldest: Some(at(3)) });
    bed.store.settle_message(&settlement("b-1-mail", OutboxState::Sent, at(9))).await.unwrap();
    assert_eq!(bed.store.outbox_stats().await.unwrap(), OutboxStats { waiting: 2, oldest: Some(at(5)) });
}

pub(super) async fn of_each_open_incident_the_last_message_that_arrived_is_known(bed: Bed) {
    let mut open = alert("open", AlertState::Firing);
    open.incident = Some("open".into());
    let mut messages = vec![
        message("open", 1, "am", at(1)),
        message("open", 2, "am", at(2)),
        message("open", 3, "am", at(3)),
        message("open", 1, "mail", at(1)),
        message("over", 1, "am", at(1)),
        message("over", 2, "am", at(2)),
        message("closed", 1, "am", at(1)),
        message("old", 1, "am", at(1)),
    ];
    for (place, kind) in [(1, MessageKind::Reminder), (7, MessageKind::Resolved)] {
        messages[place].message.kind = kind;
    }
    let change = AlertChange { instances: vec![open], messages, ..AlertChange::default() };
    bed.store.commit_alerts(&change).await.unwrap();
    let arrived =
        [("open-1-am", 5), ("open-2-am", 6), ("open-1-mail", 6), ("over-1-am", 8), ("over-2-am", 20), ("closed-1-am", 21), ("old-1-am", 9)];
    for (id, second) in arrived {
        bed.store.settle_message(&settlement(id, OutboxState::Sent, at(second))).await.unwrap();
    }
    let told = bed.store.told("am", at(10)).await.unwrap();
    let ids: Vec<&str> = told.iter().map(|one| one.id.as_str()).collect();
    // Of `closed` nobody was told that it is over: it is not told to fire either.
    assert_eq!(ids, ["open-2-am", "over-2-am"]);
}
