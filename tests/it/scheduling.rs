//! Schedules with the real program and real runs: what happens when a target is taken, what becomes of every instant, and what is made
//! up for after downtime.
#![expect(clippy::unwrap_used, reason = "a step that fails, fails the test")]

use std::collections::BTreeSet;
use std::time::Duration;

use plimsoll::clock::{Clock, SystemClock};
use plimsoll::demo;
use plimsoll::model::run::{EndedBy, Run, RunStatus};
use plimsoll::model::schedule::{Tick, TickOutcome};
use plimsoll::model::units::Timestamp;
use plimsoll::store::Store;

use crate::servers::bed::{Bed, LONG, profile, run_that_is, run_with_seconds, runs};
use crate::servers::wait_until;

/// Records of a schedule, oldest first.
async fn ticks(store: &dyn Store, schedule: &str) -> Vec<Tick> {
    let mut ticks = store.ticks(Some(schedule), 1_000).await.unwrap();
    ticks.reverse();
    ticks
}

fn of(ticks: &[Tick], outcome: TickOutcome) -> Vec<&Tick> {
    ticks.iter().filter(|tick| tick.outcome == outcome).collect()
}

/// Waits until a schedule has so many records of these outcomes; returns all of them.
async fn ticks_with(store: &dyn Store, schedule: &str, wanted: &[(TickOutcome, usize)]) -> Vec<Tick> {
    wait_until(&format!("{wanted:?} of {schedule}"), LONG, async || {
        let ticks = ticks(store, schedule).await;
        wanted.iter().all(|(outcome, count)| of(&ticks, *outcome).len() >= *count).then_some(ticks)
    })
    .await
}

/// Runs of one target never overlap.
fn assert_one_at_a_time(runs: &[Run]) {
    let mut runs: Vec<&Run> = runs.iter().collect();
    runs.sort_by_key(|run| run.started_at);
    for pair in runs.windows(2) {
        let ended = pair[0].ended_at.unwrap_or_else(|| panic!("{} goes on while {} begins", pair[0].id, pair[1].id));
        assert!(ended <= pair[1].started_at, "{} ended at {ended}, {} began at {}", pair[0].id, pair[1].id, pair[1].started_at);
    }
}

/// Every instant has exactly one record.
fn assert_no_instant_is_missing(ticks: &[Tick], step: Duration) {
    for pair in ticks.windows(2) {
        assert_eq!(pair[1].due, pair[0].due.plus(step), "between these nothing is known: {pair:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn skip_runs_when_the_target_is_free_and_says_why_it_did_not() {
    let bed = Bed::new().await;
    let profiles = profile("short", "shop", "3s");
    bed.configure(&format!(
        "profiles:{profiles}\nschedules: {{ often: {{ profile: short, cron: \"*/2 * * * * *\", timezone: UTC, overlap: skip }} }}"
    ));
    let daemon = bed.serve().await;
    let store = bed.store().await;
    let ticks = ticks_with(&*store, "often", &[(TickOutcome::Started, 3), (TickOutcome::Skipped, 2)]).await;
    assert_no_instant_is_missing(&ticks, Duration::from_secs(2));
    for tick in of(&ticks, TickOutcome::Skipped) {
        assert!(tick.reason.ends_with("is loading target `shop`") && tick.run.is_none(), "{tick:?}");
    }
    for tick in of(&ticks, TickOutcome::Started) {
        let run = store.run(&tick.run.as_ref().unwrap().0).await.unwrap().unwrap();
        assert_eq!((run.trigger.by.as_str(), run.trigger.name.as_deref()), ("schedule", Some("often")));
        assert!(run.started_at >= tick.due && tick.decided >= tick.due, "{tick:?}");
    }
    assert_one_at_a_time(&runs(&*store).await);
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_holds_one_run_of_a_profile_and_starts_it_when_the_target_is_free() {
    let bed = Bed::new().await;
    let profiles = profile("long", "shop", "4s");
    bed.configure(&format!(
        "profiles:{profiles}\nschedules: {{ often: {{ profile: long, cron: \"* * * * * *\", timezone: UTC, overlap: queue }} }}"
    ));
    let daemon = bed.serve().await;
    let store = bed.store().await;
    let ticks = ticks_with(&*store, "often", &[(TickOutcome::Started, 3), (TickOutcome::Skipped, 2)]).await;
    assert_no_instant_is_missing(&ticks, Duration::from_secs(1));
    assert!(of(&ticks, TickOutcome::Skipped).iter().all(|tick| tick.reason.ends_with("this profile waits already")), "{ticks:#?}");
    let waited: Vec<&Tick> = of(&ticks, TickOutcome::Started).into_iter().filter(|tick| tick.reason.starts_with("waited until")).collect();
    assert!(waited.len() >= 2, "{ticks:#?}");
    assert_one_at_a_time(&runs(&*store).await);
    // What still waits when the daemon stops is not forgotten either.
    wait_until("a run that waits", LONG, async || {
        let ticks = store.ticks(Some("often"), 5).await.ok()?;
        ticks.iter().any(|tick| tick.outcome == TickOutcome::Queued).then_some(())
    })
    .await;
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code().await, Some(0));
    let ticks = self::ticks(&*store, "often").await;
    assert!(of(&ticks, TickOutcome::Queued).is_empty(), "{ticks:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn replace_ends_the_run_that_is_going_on() {
    let bed = Bed::new().await;
    let profiles = profile("endless", "shop", "10m");
    bed.configure(&format!(
        "profiles:{profiles}\nschedules: {{ often: {{ profile: endless, cron: \"*/3 * * * * *\", timezone: UTC, overlap: replace }} }}"
    ));
    let daemon = bed.serve().await;
    let store = bed.store().await;
    let ticks = ticks_with(&*store, "often", &[(TickOutcome::Started, 4)]).await;
    assert_no_instant_is_missing(&ticks, Duration::from_secs(3));
    let replaced: Vec<Run> = runs(&*store).await.into_iter().filter(|run| run.status == RunStatus::Finished).collect();
    assert!(replaced.len() >= 3, "{replaced:?}");
    for run in &replaced {
        assert_eq!(run.ended_by, Some(EndedBy::Cancelled));
        assert!(run.reasons.iter().any(|reason| reason == "schedule `often` replaced it"), "{:?}", run.reasons);
    }
    let later = &of(&ticks, TickOutcome::Started)[1..];
    assert!(later.iter().all(|tick| tick.reason.starts_with("replaced run ")), "{ticks:#?}");
    assert_one_at_a_time(&runs(&*store).await);
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_targets_are_loaded_side_by_side() {
    let bed = Bed::new().await;
    let other = demo::start(demo::Settings::default()).await.unwrap();
    let profiles = profile("one", "shop", "10m") + &profile("two", "bank", "10m");
    let config = bed.configure(&format!(
        "  bank: {{ base_url: \"{}\" }}\nprofiles:{profiles}\nschedules:\n  a: {{ profile: one, cron: \"*/3 * * * * *\", overlap: skip }}\n  b: {{ profile: two, cron: \"*/3 * * * * *\", overlap: skip }}",
        other.url("/")
    ));
    assert!(config.is_file());
    let daemon = bed.serve().await;
    let running: BTreeSet<String> = wait_until("two runs at the same time", LONG, async || {
        let runs = daemon.api("/runs?status=running").await;
        let targets: BTreeSet<String> =
            runs["runs"].as_array()?.iter().map(|run| run["target"].as_str().unwrap_or_default().to_owned()).collect();
        (targets.len() == 2).then_some(targets)
    })
    .await;
    assert_eq!(running, ["bank".to_owned(), "shop".to_owned()].into());
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code().await, Some(0));
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jitter_loses_no_instant_and_none_comes_early() {
    let bed = Bed::new().await;
    let profiles = profile("short", "shop", "1s");
    bed.configure(&format!(
        "profiles:{profiles}\nschedules: {{ often: {{ profile: short, cron: \"* * * * * *\", timezone: UTC, overlap: skip, jitter: 4s }} }}"
    ));
    let daemon = bed.serve().await;
    let store = bed.store().await;
    let ticks = ticks_with(&*store, "often", &[(TickOutcome::Started, 3)]).await;
    assert_no_instant_is_missing(&ticks, Duration::from_secs(1));
    assert!(ticks.iter().all(|tick| tick.decided >= tick.due), "{ticks:#?}");
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code().await, Some(0));
}

/// The last of the instants that passed while nobody was there: half an hour ago, on a full minute.
fn half_an_hour_ago() -> Timestamp {
    let minute = 60 * 1_000_000;
    Timestamp(SystemClock.now().0 / minute * minute - 30 * minute)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_missed_is_recorded_or_made_up_for_once() {
    for (missed, made_up_for) in [("skip", false), ("{ run_within: 2h }", true), ("{ run_within: 1us }", false)] {
        let bed = Bed::new().await;
        let profiles = profile("short", "shop", "1s");
        let due = half_an_hour_ago();
        let cron = due.to_utc().format("%-M %-H * * *");
        bed.configure(&format!(
            "profiles:{profiles}\nschedules: {{ daily: {{ profile: short, cron: \"{cron}\", timezone: UTC, missed: {missed} }} }}"
        ));
        let store = bed.store().await;
        let last = due.minus(Duration::from_secs(2 * 86_400));
        let (schedule, profile, reason) = ("daily".into(), "short".into(), "on schedule".into());
        let before = Tick { schedule, profile, due: last, decided: last, outcome: TickOutcome::Started, reason, run: None };
        store.record_tick(&before).await.unwrap();
        let daemon = bed.serve().await;
        let tick = wait_until("a record of what was missed", LONG, async || {
            store.ticks(Some("daily"), 10).await.ok()?.into_iter().find(|tick| tick.due == due)
        })
        .await;
        if made_up_for {
            assert_eq!(tick.outcome, TickOutcome::Started, "{tick:?}");
            assert!(
                tick.reason.starts_with("made up for: the daemon was down at") && tick.reason.ends_with("(2 instants passed)"),
                "{tick:?}"
            );
            run_that_is(&*store, RunStatus::Finished).await;
        } else {
            assert_eq!((tick.outcome, tick.run.clone()), (TickOutcome::Missed, None), "{tick:?}");
            assert!(tick.reason.starts_with("the daemon was not running at"), "{tick:?}");
        }
        daemon.signal("TERM");
        assert_eq!(daemon.exit_code().await, Some(0));
        // The next start makes up for nothing again.
        let daemon = bed.serve().await;
        wait_until("the daemon to tick", LONG, async || {
            daemon.try_get("/-/ready").await.filter(|ready| ready.body.contains("[+] scheduler: ticked"))
        })
        .await;
        daemon.signal("TERM");
        assert_eq!(daemon.exit_code().await, Some(0));
        assert_eq!(runs(&*store).await.len(), usize::from(made_up_for));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waited_when_the_daemon_died_is_recorded_as_missed() {
    let bed = Bed::new().await;
    let profiles = profile("endless", "shop", "10m");
    bed.configure(&format!(
        "profiles:{profiles}\nschedules: {{ often: {{ profile: endless, cron: \"*/2 * * * * *\", timezone: UTC, overlap: queue }} }}"
    ));
    let daemon = bed.serve().await;
    let store = bed.store().await;
    let ticks = ticks_with(&*store, "often", &[(TickOutcome::Queued, 1)]).await;
    let due = of(&ticks, TickOutcome::Queued)[0].due;
    run_with_seconds(&*store, 1).await;
    daemon.kill().await;
    let daemon = bed.serve().await;
    let tick = wait_until("the record of what waited", LONG, async || {
        store.ticks(Some("often"), 1_000).await.ok()?.into_iter().find(|tick| tick.due == due && tick.outcome == TickOutcome::Missed)
    })
    .await;
    assert_eq!(tick.reason, "the daemon died while it waited for its target");
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code().await, Some(0));
}
