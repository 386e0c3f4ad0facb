//! Promises about runs.

use plimsoll::model::run::{EndedBy, RunId, RunLine, RunStatus, Verdict};
use plimsoll::store::{RunFilter, SeriesBatch, StoreError};

use super::Bed;
use super::samples::{at, ended, interval, run};

pub(super) async fn a_run_is_read_back_whole(bed: Bed) {
    let begun = run("20261121-020000-soak-7k3f", at(0));
    bed.store.start_run(&begun).await.unwrap();
    assert_eq!(bed.store.run(&begun.id.0).await.unwrap(), Some(begun.clone()));
    let ended = ended(begun);
    bed.store.update_run(&ended).await.unwrap();
    assert_eq!(bed.opened_again().await.run(&ended.id.0).await.unwrap(), Some(ended));
}

pub(super) async fn starting_a_run_twice_is_a_duplicate(bed: Bed) {
    let first = run("a", at(0));
    bed.store.start_run(&first).await.unwrap();
    let second = bed.store.start_run(&ended(run("a", at(1)))).await;
    assert!(matches!(&second, Err(StoreError::Duplicate(text)) if text == "run a"), "{second:?}");
    assert_eq!(bed.store.run("a").await.unwrap(), Some(first));
}

pub(super) async fn an_update_replaces_everything_but_id_and_start(bed: Bed) {
    bed.store.start_run(&ended(run("a", at(0)))).await.unwrap();
    bed.store.start_run(&run("b", at(5))).await.unwrap();
    let mut other = run("a", at(9));
    other.profile = "spike".into();
    other.target = "bank".into();
    other.trigger.name = None;
    other.catalog.steps.clear();
    bed.store.update_run(&other).await.unwrap();
    other.started_at = at(0);
    assert_eq!(bed.store.run("a").await.unwrap(), Some(other));
    assert_eq!(bed.store.run("b").await.unwrap(), Some(run("b", at(5))));
}

pub(super) async fn updating_a_run_that_is_not_stored_fails(bed: Bed) {
    let error = bed.store.update_run(&run("a", at(0))).await.unwrap_err();
    assert_eq!(error.to_string(), "the database refused: run a is not stored");
    assert_eq!(bed.store.run("a").await.unwrap(), None);
}

pub(super) async fn the_load_of_a_run_begins_before_its_first_second(bed: Bed) {
    let begun = run("a", at(0));
    bed.store.start_run(&begun).await.unwrap();
    bed.store.load_begins(&begun.id, at(7)).await.unwrap();
    assert_eq!(bed.store.run("a").await.unwrap().unwrap().started_at, at(7));
    bed.store.append(&SeriesBatch { intervals: vec![(begun.id.clone(), interval(0))], readings: Vec::new() }).await.unwrap();
    assert!(bed.store.load_begins(&begun.id, at(9)).await.is_err(), "its series are counted from where it began");
    assert_eq!(bed.store.run("a").await.unwrap().unwrap().started_at, at(7));
    assert!(bed.store.load_begins(&RunId("b".into()), at(9)).await.is_err());
}

pub(super) async fn a_summary_that_could_not_be_read_back_is_refused(bed: Bed) {
    let begun = run("a", at(0));
    bed.store.start_run(&begun).await.unwrap();
    let mut broken = ended(begun.clone());
    broken.summary.as_mut().unwrap().seconds = f64::NAN;
    let error = bed.store.update_run(&broken).await.unwrap_err().to_string();
    assert!(error.contains("the summary of run a cannot be stored"), "{error}");
    assert_eq!(bed.store.run("a").await.unwrap(), Some(begun));
}

pub(super) async fn orphans_become_interrupted_at_the_end_of_their_last_second(bed: Bed) {
    let finished = ended(run("finished", at(0)));
    let mut orphan = run("orphan", at(100));
    orphan.reasons.push("a reason from before".into());
    for run in [&finished, &orphan] {
        bed.store.start_run(run).await.unwrap();
    }
    let intervals = [0, 1, 6].map(|second| (orphan.id.clone(), interval(second))).to_vec();
    bed.store.append(&SeriesBatch { intervals, readings: Vec::new() }).await.unwrap();
    assert_eq!(bed.store.interrupt_orphans(at(5_000)).await.unwrap(), [RunId("orphan".into())]);
    let found = bed.store.run("orphan").await.unwrap().unwrap();
    assert_eq!((found.status, found.ended_by), (RunStatus::Interrupted, Some(EndedBy::Crash)));
    assert_eq!((found.ended_at, found.verdict), (Some(at(107)), None));
    assert_eq!(found.reasons[0], "a reason from before");
    assert!(found.reasons[1].starts_with("Plimsoll stopped while this run was going on"), "{:?}", found.reasons);
    assert_eq!(bed.store.run("finished").await.unwrap(), Some(finished));
    assert_eq!(bed.store.interrupt_orphans(at(6_000)).await.unwrap(), []);
}

pub(super) async fn an_orphan_without_seconds_ended_when_it_was_found(bed: Bed) {
    bed.store.start_run(&run("orphan", at(100))).await.unwrap();
    bed.store.interrupt_orphans(at(5_000)).await.unwrap();
    assert_eq!(bed.store.run("orphan").await.unwrap().unwrap().ended_at, Some(at(5_000)));
}

pub(super) async fn a_run_is_found_by_its_id_a_part_of_it_or_as_the_last(bed: Bed) {
    assert_eq!(bed.store.run("last").await.unwrap(), None);
    for (id, start) in
        [("20261121-020000-soak-7k3f", 7), ("20261121-020000-soak-9xyz", 9), ("20261122-020000-so%k_7k3", 8), ("20261121", 1)]
    {
        bed.store.start_run(&run(id, at(start))).await.unwrap();
    }
    for (asked, found) in [
        ("20261121-020000-soak-7k3f", Some("20261121-020000-soak-7k3f")),
        ("7k3f", Some("20261121-020000-soak-7k3f")),
        ("20261122", Some("20261122-020000-so%k_7k3")),
        ("20261121", Some("20261121")),
        ("20261121-0", None),
        ("20261121-020000-soak-9", Some("20261121-020000-soak-9xyz")),
        ("_7k3", Some("20261122-020000-so%k_7k3")),
        ("2026112_", None),
        ("%", None),
        ("soak", None),
        ("", None),
        ("20261121-020000-soak-7k3f-and-more", None),
        ("last", Some("20261121-020000-soak-9xyz")),
    ] {
        let run = bed.store.run(asked).await.unwrap();
        assert_eq!(run.as_ref().map(|run| run.id.0.as_str()), found, "asked for `{asked}`");
    }
}

pub(super) async fn runs_are_filtered_and_come_newest_first(bed: Bed) {
    let mut spike = run("spike", at(30));
    spike.profile = "spike".into();
    let mut bank = ended(run("bank", at(20)));
    bank.target = "bank".into();
    bank.verdict = Some(Verdict::Pass);
    for run in [ended(run("old", at(10))), bank, spike, ended(run("new", at(40)))] {
        bed.store.start_run(&run).await.unwrap();
    }
    let all = RunFilter::default;
    for (filter, expected) in [
        (all(), vec!["new", "spike", "bank", "old"]),
        (RunFilter { profile: Some("spike".into()), ..all() }, vec!["spike"]),
        (RunFilter { target: Some("bank".into()), ..all() }, vec!["bank"]),
        (RunFilter { status: Some(RunStatus::Finished), ..all() }, vec!["new", "bank", "old"]),
        (RunFilter { verdict: Some(Verdict::Fail), ..all() }, vec!["new", "old"]),
        (RunFilter { before: Some(at(30)), ..all() }, vec!["bank", "old"]),
        (RunFilter { limit: 2, ..all() }, vec!["new", "spike"]),
        (RunFilter { profile: Some("soak".into()), target: Some("shop".into()), limit: 1, before: Some(at(40)), ..all() }, vec!["old"]),
        (RunFilter { profile: Some("nobody".into()), ..all() }, vec![]),
    ] {
        let found = bed.store.runs(&filter).await.unwrap();
        assert_eq!(found.iter().map(|run| run.id.0.as_str()).collect::<Vec<_>>(), expected, "{filter:?}");
        assert_eq!(bed.store.run_lines(&filter).await.unwrap(), found.iter().map(RunLine::from).collect::<Vec<_>>(), "{filter:?}");
    }
}

pub(super) async fn without_a_limit_fifty_runs_are_listed(bed: Bed) {
    for number in 0..52 {
        bed.store.start_run(&run(&format!("run-{number:02}"), at(number))).await.unwrap();
    }
    let found = bed.store.runs(&RunFilter::default()).await.unwrap();
    assert_eq!((found.len(), found[0].id.0.as_str(), found[49].id.0.as_str()), (50, "run-51", "run-02"));
}

pub(super) async fn lists_show_of_each_run_what_it_shows_itself(bed: Bed) {
    let mut without = ended(run("without", at(20)));
    without.summary = None;
    for begun in [ended(run("whole", at(10))), without, run("going", at(30))] {
        bed.store.start_run(&begun).await.unwrap();
    }
    let lines = async || bed.store.run_lines(&RunFilter::default()).await.unwrap();
    let expected = async || bed.store.runs(&RunFilter::default()).await.unwrap().iter().map(RunLine::from).collect::<Vec<_>>();
    assert_eq!(lines().await, expected().await);
    bed.store.update_run(&ended(run("going", at(30)))).await.unwrap();
    let mut less = ended(run("whole", at(10)));
    less.summary = None;
    bed.store.update_run(&less).await.unwrap();
    let found = lines().await;
    assert_eq!(found, expected().await);
    let headlines: Vec<_> = found.iter().map(|line| line.headline.map(|headline| headline.p95_us)).collect();
    assert_eq!(headlines, [Some(Some(45_023)), None, None]);
}
