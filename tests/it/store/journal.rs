//! Promises about findings, ticks and the standstill of all load.

use std::slice::from_ref;

use plimsoll::model::control::Standstill;
use plimsoll::model::run::RunId;
use plimsoll::model::schedule::{Tick, TickOutcome};

use super::Bed;
use super::samples::{at, finding, run, tick};

pub(super) async fn findings_of_the_same_method_are_replaced(bed: Bed) {
    let (one, other) = (run("one", at(0)), run("other", at(0)));
    for run in [&one, &other] {
        bed.store.start_run(run).await.unwrap();
        let findings = [finding(&run.id, "pool/1", "full", at(1)), finding(&run.id, "leak/1", "leaks", at(1))];
        bed.store.save_findings(&run.id, &findings).await.unwrap();
    }
    let better = finding(&one.id, "pool/1", "full for 12 s", at(2));
    bed.store.save_findings(&one.id, from_ref(&better)).await.unwrap();
    bed.store.save_findings(&one.id, &[]).await.unwrap();
    assert_eq!(bed.store.findings(Some(&one.id), 0).await.unwrap(), [better, finding(&one.id, "leak/1", "leaks", at(1))]);
    assert_eq!(bed.store.findings(Some(&other.id), 0).await.unwrap().len(), 2);
}

pub(super) async fn findings_come_newest_first(bed: Bed) {
    let run = run("a", at(0));
    bed.store.start_run(&run).await.unwrap();
    for second in [2, 3, 1] {
        bed.store.save_findings(&run.id, &[finding(&run.id, &format!("m/{second}"), "full", at(second))]).await.unwrap();
    }
    let found = bed.store.findings(None, 2).await.unwrap();
    assert_eq!(found.iter().map(|finding| finding.method.as_str()).collect::<Vec<_>>(), ["m/3", "m/2"]);
    assert_eq!(bed.store.findings(None, 0).await.unwrap().len(), 3);
}

pub(super) async fn findings_of_an_unknown_run_are_refused(bed: Bed) {
    let run = RunId("unknown".into());
    let error = bed.store.save_findings(&run, &[finding(&run, "m/1", "full", at(0))]).await.unwrap_err();
    assert_eq!(error.to_string(), "the database refused: run unknown is not stored");
}

pub(super) async fn the_same_instant_of_a_schedule_again_replaces_it(bed: Bed) {
    bed.store.record_tick(&tick("nightly", at(0), TickOutcome::Queued)).await.unwrap();
    bed.store.record_tick(&tick("hourly", at(0), TickOutcome::Skipped)).await.unwrap();
    let started = Tick { run: Some(RunId("a".into())), profile: "spike".into(), ..tick("nightly", at(0), TickOutcome::Started) };
    bed.store.record_tick(&started).await.unwrap();
    assert_eq!(bed.store.ticks(None, 0).await.unwrap(), [tick("hourly", at(0), TickOutcome::Skipped), started]);
}

pub(super) async fn ticks_come_newest_first(bed: Bed) {
    for second in [20, 30, 10] {
        bed.store.record_tick(&tick("nightly", at(second), TickOutcome::Missed)).await.unwrap();
    }
    bed.store.record_tick(&tick("hourly", at(40), TickOutcome::Refused)).await.unwrap();
    let nightly = [30, 20].map(|second| tick("nightly", at(second), TickOutcome::Missed));
    assert_eq!(bed.store.ticks(Some("nightly"), 2).await.unwrap(), nightly);
    assert_eq!(bed.store.ticks(None, 1).await.unwrap(), [tick("hourly", at(40), TickOutcome::Refused)]);
}

pub(super) async fn a_standstill_is_remembered_until_it_ends(bed: Bed) {
    assert_eq!(bed.store.standstill().await.unwrap(), None);
    for by in ["api token ci", "the page"] {
        let standstill = Standstill { at: at(7), by: by.into() };
        bed.store.set_standstill(Some(&standstill)).await.unwrap();
        assert_eq!(bed.opened_again().await.standstill().await.unwrap(), Some(standstill));
    }
    bed.store.set_standstill(None).await.unwrap();
    bed.store.set_standstill(None).await.unwrap();
    assert_eq!(bed.opened_again().await.standstill().await.unwrap(), None);
}

pub(super) async fn the_last_stop_is_remembered(bed: Bed) {
    assert_eq!(bed.store.last_stop().await.unwrap(), None);
    // Also one of a clock that was set back: whoever stops everything is heard.
    for second in [7, 9, 8] {
        let stop = Standstill { at: at(second), by: format!("ann {second}") };
        bed.store.record_stop(&stop).await.unwrap();
        assert_eq!(bed.opened_again().await.last_stop().await.unwrap(), Some(stop));
    }
    assert_eq!(bed.store.standstill().await.unwrap(), None, "load may start again at once");
    bed.store.set_standstill(None).await.unwrap();
    assert!(bed.store.last_stop().await.unwrap().is_some());
}
