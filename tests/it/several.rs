//! Several real processes on one database: who owns which run, who is in charge, and what the others do when one is killed.
#![expect(clippy::unwrap_used, reason = "a step that fails, fails the test")]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use plimsoll::engine::owner::this_process;
use plimsoll::model::run::{EndedBy, RunStatus};
use plimsoll::model::schedule::TickOutcome;
use plimsoll::model::units::Timestamp;
use plimsoll::store::Store;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::servers::bed::{Bed, LONG, metric, profile, run_that_is, run_with_seconds, runs, start_run, with_token};
use crate::servers::daemon::{Daemon, plimsoll};
use crate::servers::postgres::Postgres;
use crate::servers::{Child, PATIENCE, wait_until};

/// The longest time after which another daemon has taken over.
const TAKEN_OVER: Duration = Duration::from_secs(30);

async fn is_in_charge(daemon: &Daemon) -> bool {
    metric(daemon, "plimsoll_in_charge").await == Some(1.0)
}

/// A configuration of the same content under another name.
fn copied(bed: &Bed, name: &str) -> PathBuf {
    let path = bed.folder.path().join(name);
    std::fs::copy(bed.config(), &path).unwrap();
    path
}

/// Starts a daemon beside another one.
async fn another(bed: &Bed) -> Daemon {
    Daemon::start(bed.folder.path(), &copied(bed, "another.yaml")).await
}

async fn a_run_beside_the_daemon_is_left_alone(bed: Bed) {
    bed.configure(&format!("profiles:{}", profile("short", "shop", "8s")));
    let config = bed.config().display().to_string();
    let mut alone = Child::spawn("run", bed.folder.path(), &mut plimsoll(&["run", "short", "--config", &config]));
    let store = bed.store().await;
    let run = run_with_seconds(&*store, 1).await;
    let daemon = bed.serve().await;
    assert!(!daemon.output().contains("interrupted"), "{}", daemon.output());
    assert_eq!(store.run(&run.id.0).await.unwrap().unwrap().status, RunStatus::Running);
    assert!(is_in_charge(&daemon).await, "a single run is never in charge");
    assert_eq!(alone.wait().await.code(), Some(0), "{}", alone.output());
    assert_eq!(store.run(&run.id.0).await.unwrap().unwrap().status, RunStatus::Finished);

    // One that is killed is noticed while the daemon goes on.
    let mut alone = Child::spawn("killed", bed.folder.path(), &mut plimsoll(&["run", "short", "--config", &config]));
    let run = run_with_seconds(&*store, 1).await;
    alone.signal("KILL");
    alone.wait().await;
    let run = wait_until("the run to be marked", LONG, async || {
        store.run(&run.id.0).await.unwrap().filter(|run| run.status == RunStatus::Interrupted)
    })
    .await;
    assert_eq!(run.ended_by, Some(EndedBy::Crash));
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code().await, Some(0));
    assert_eq!(store.owners().await.unwrap(), [], "everybody has said goodbye");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_beside_the_daemon_is_left_alone_on_sqlite() {
    a_run_beside_the_daemon_is_left_alone(Bed::new().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_beside_the_daemon_is_left_alone_on_postgres() {
    let mut bed = Bed::new().await;
    bed.storage = Postgres::fresh_database().await;
    a_run_beside_the_daemon_is_left_alone(bed).await;
}

/// A receiver of webhooks that takes each request and never answers; returns its address and the requests so far.
#[expect(clippy::disallowed_methods, reason = "ends with the runtime of the test")]
async fn silent_receiver() -> (String, std::sync::Arc<std::sync::Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let kept = seen.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let kept = kept.clone();
            tokio::spawn(async move {
                let mut request = vec![0; 65_536];
                let count = stream.read(&mut request).await.unwrap_or(0);
                kept.lock().unwrap().push(String::from_utf8_lossy(&request[..count]).into_owned());
                let _ = stream.read_to_end(&mut Vec::new()).await;
            });
        }
    });
    (url, seen)
}

async fn started(store: &dyn Store) -> usize {
    let ticks = store.ticks(Some("often"), 1_000).await.unwrap();
    ticks.iter().filter(|tick| tick.outcome == TickOutcome::Started).count()
}

/// Ids of the messages in the mailbox.
fn told(bed: &Bed) -> Vec<String> {
    let text = std::fs::read_to_string(bed.folder.path().join("box.jsonl")).unwrap_or_default();
    let id = |line: &str| serde_json::from_str::<serde_json::Value>(line).ok()?["id"].as_str().map(str::to_owned);
    text.lines().filter_map(id).collect()
}

/// Every instant has one run at most, every run its own instant, and no message was told twice.
async fn assert_nothing_happened_twice(bed: &Bed, store: &dyn Store) {
    let ticks = store.ticks(Some("often"), 1_000).await.unwrap();
    let of_ticks: Vec<_> = ticks.iter().filter_map(|tick| tick.run.clone()).collect();
    let of_schedule: BTreeSet<_> = runs(store).await.into_iter().filter(|run| run.trigger.by == "schedule").map(|run| run.id).collect();
    assert_eq!(of_ticks.iter().cloned().collect::<BTreeSet<_>>(), of_schedule);
    assert_eq!(of_ticks.len(), of_schedule.len());
    let told = told(bed);
    assert!(!told.is_empty(), "something was told");
    assert_eq!(told.len(), told.iter().collect::<BTreeSet<_>>().len(), "told twice: {told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_daemons_one_works_and_the_other_takes_over_when_it_is_killed() {
    let (hook, seen) = silent_receiver().await;
    let mut bed = Bed::new().await;
    bed.storage = Postgres::fresh_database().await;
    bed.configure(&format!(
        r#"
profiles:{}
schedules: {{ often: {{ profile: short, cron: "*/2 * * * * *", timezone: UTC }} }}
alerts:
  channels: {{ box: {{ type: file, path: box.jsonl, format: json }}, hook: {{ type: webhook, url: "{hook}", timeout: 50s }} }}
  routes: [{{ send: [box, hook] }}]
  rules: {{ some-load: {{ when: "http_reqs: rate > 0.1/s over 1s", severity: high }} }}
"#,
        profile("short", "shop", "1s")
    ));
    let first = bed.serve().await;
    let second = another(&bed).await;
    let store = bed.store().await;
    assert!(is_in_charge(&first).await && !is_in_charge(&second).await);
    wait_until("some runs", LONG, async || (started(&*store).await >= 3).then_some(())).await;
    wait_until("a message in the mailbox", LONG, async || (!told(&bed).is_empty()).then_some(())).await;
    wait_until("the message to be on its way", LONG, async || (!seen.lock().unwrap().is_empty()).then_some(())).await;
    let refused = with_token(&second, "POST", "/api/v1/runs", "{\"profile\": \"short\"}").await;
    assert_eq!(refused.status, 409, "{refused:?}");
    assert!(refused.body.contains("stands by") && refused.body.contains(&first.id().to_string()), "{refused:?}");
    assert_eq!(second.try_get("/-/ready").await.unwrap().status, 200, "who stands by is ready to take over");
    assert_eq!(metric(&second, "plimsoll_requests_total{").await.unwrap_or(0.0).to_bits(), 0f64.to_bits());
    assert_nothing_happened_twice(&bed, &*store).await;

    let before = (started(&*store).await, seen.lock().unwrap().len());
    first.kill().await;
    let killed = Instant::now();
    wait_until("the other to be in charge", LONG, async || is_in_charge(&second).await.then_some(())).await;
    wait_until("a run by the other", LONG, async || (started(&*store).await > before.0).then_some(())).await;
    wait_until("the message to go again", LONG, async || (seen.lock().unwrap().len() > before.1).then_some(())).await;
    let took = killed.elapsed();
    assert!(took < TAKEN_OVER, "taken over after {took:?}");
    assert_nothing_happened_twice(&bed, &*store).await;
    let missed = store.ticks(Some("often"), 1_000).await.unwrap();
    assert!(missed.iter().all(|tick| !tick.reason.is_empty()));
    second.signal("TERM");
    assert_eq!(second.exit_code().await, Some(0));
    assert_eq!(store.owners().await.unwrap(), []);
}

/// True when the process is stopped (proc(5): the state stands behind the name).
fn stands_still(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, fields)| fields.trim_start().starts_with('T'))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_was_held_up_and_goes_on_does_nothing_a_second_time() {
    let mut bed = Bed::new().await;
    bed.storage = Postgres::fresh_database().await;
    let config = bed.configure(&format!(
        r#"
profiles:{}
schedules: {{ often: {{ profile: short, cron: "*/2 * * * * *", timezone: UTC }} }}
alerts:
  channels: {{ box: {{ type: file, path: box.jsonl, format: json }} }}
  routes: [{{ send: [box] }}]
  rules: {{ some-load: {{ when: "http_reqs: rate > 0.1/s over 1s", severity: high }} }}
"#,
        profile("short", "shop", "1s")
    ));
    // The first stands still (SIGSTOP) with its first message in its hand: leased, not sent.
    let mut command = plimsoll(&["serve", "--config", config.to_str().unwrap()]);
    let first = Daemon::spawn(bed.folder.path(), command.env("PLIMSOLL_FAIL_POINT", "before-send:1:stop")).await;
    wait_until("the first to stand still", LONG, async || stands_still(first.id()).then_some(())).await;
    let store = bed.store().await;
    let before = started(&*store).await;
    assert!(before > 0 && told(&bed).is_empty(), "{before} runs, nothing told");
    let second = another(&bed).await;
    wait_until("the other to be in charge", LONG, async || is_in_charge(&second).await.then_some(())).await;
    wait_until("runs by the other", LONG, async || (started(&*store).await > before + 1).then_some(())).await;
    wait_until("the message by the other", LONG, async || (!told(&bed).is_empty()).then_some(())).await;

    first.signal("CONT");
    wait_until("the first to see whose message it is", LONG, async || first.output().contains("somebody else's by now").then_some(()))
        .await;
    wait_until("the first to stand by", LONG, async || (metric(&first, "plimsoll_in_charge").await == Some(0.0)).then_some(())).await;
    let since = started(&*store).await;
    wait_until("more runs by the other", LONG, async || (started(&*store).await > since + 2).then_some(())).await;
    assert!(is_in_charge(&second).await);
    assert_nothing_happened_twice(&bed, &*store).await;
    for daemon in [first, second] {
        daemon.signal("TERM");
        assert_eq!(daemon.exit_code().await, Some(0));
    }
    assert_eq!(store.owners().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_ends_in_order_is_followed_at_once() {
    let mut bed = Bed::new().await;
    bed.storage = Postgres::fresh_database().await;
    bed.configure(&format!("profiles:{}", profile("endless", "shop", "10m")));
    let first = bed.serve().await;
    let second = another(&bed).await;
    let store = bed.store().await;
    let id = start_run(&first, "endless").await;
    run_with_seconds(&*store, 1).await;
    first.signal("TERM");
    assert_eq!(first.exit_code().await, Some(0));
    wait_until("the other to be in charge", PATIENCE, async || is_in_charge(&second).await.then_some(())).await;
    let run = store.run(&id.0).await.unwrap().unwrap();
    assert_eq!((run.status, run.ended_by), (RunStatus::Finished, Some(EndedBy::Signal)), "it ended its run itself");
    start_run(&second, "endless").await;
    run_that_is(&*store, RunStatus::Running).await;
    second.signal("TERM");
    assert_eq!(second.exit_code().await, Some(0));
}

/// `plimsoll run PROFILE` on the bed's configuration.
fn run_alone(bed: &Bed, name: &str) -> Child {
    let config = bed.config().display().to_string();
    Child::spawn(name, bed.folder.path(), &mut plimsoll(&["run", name, "--config", &config]))
}

async fn the_kill_switch_reaches_every_process(bed: Bed) {
    bed.configure(&format!("profiles:{}{}", profile("endless", "shop", "10m"), profile("short", "shop", "3s")));
    let daemon = bed.serve().await;
    let store = bed.store().await;
    let mut alone = run_alone(&bed, "endless");
    let run = run_with_seconds(&*store, 1).await;
    let answer = with_token(&daemon, "POST", "/api/v1/stop", "{}").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["stopped"], serde_json::json!([run.id.0]), "it is told which runs of other processes end");
    let code = alone.wait().await.code();
    let run = store.run(&run.id.0).await.unwrap().unwrap();
    assert_eq!((run.status, run.ended_by), (RunStatus::Finished, Some(EndedBy::Cancelled)), "exit code {code:?}");
    assert!(run.reasons.contains(&"everything was stopped by api token ci".to_owned()), "{:?}", run.reasons);
    // What begins afterwards is not concerned, neither there nor here.
    let mut alone = run_alone(&bed, "short");
    assert_eq!(alone.wait().await.code(), Some(0), "{}", alone.output());
    let id = start_run(&daemon, "short").await;
    let ended = wait_until("the daemon's own run to end", LONG, async || {
        store.run(&id.0).await.ok().flatten().filter(|run| run.status == RunStatus::Finished)
    })
    .await;
    assert_eq!(ended.ended_by, Some(EndedBy::Completed), "{:?}", ended.reasons);
    // With `hold` nothing starts any more, whoever wants to.
    assert_eq!(with_token(&daemon, "POST", "/api/v1/stop", "{\"hold\": true}").await.status, 200);
    let mut alone = run_alone(&bed, "short");
    assert_eq!(alone.wait().await.code(), Some(1), "{}", alone.output());
    assert!(alone.output().contains("all load was stopped by api token ci"), "{}", alone.output());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kill_switch_reaches_every_process_on_sqlite() {
    the_kill_switch_reaches_every_process(Bed::new().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kill_switch_reaches_every_process_on_postgres() {
    let mut bed = Bed::new().await;
    bed.storage = Postgres::fresh_database().await;
    the_kill_switch_reaches_every_process(bed).await;
}

async fn one_process_at_a_time_loads_a_target(bed: Bed) {
    // The same host under another name shares its limits.
    let twin = format!("  twin:\n    base_url: {}\n", bed.target_url());
    let profiles = [profile("endless", "shop", "10m"), profile("short", "shop", "1s"), profile("other", "twin", "1s")].concat();
    bed.configure(&format!("{twin}\nprofiles:{profiles}"));
    let store = bed.store().await;
    let mut alone = run_alone(&bed, "endless");
    let holder = run_with_seconds(&*store, 1).await;
    for name in ["short", "other"] {
        let mut refused = run_alone(&bed, name);
        assert_eq!(refused.wait().await.code(), Some(1), "{}", refused.output());
        let said = refused.output();
        assert!(said.contains(&format!("run {}, since ", holder.id)) && said.contains(&format!("(process {})", alone.id())), "{said}");
        assert!(said.contains("wait until it has ended"), "{said}");
    }
    // The daemon makes what is asked for now go away with the same words, and lets what its schedule asks for wait.
    let schedules = "schedules: { often: { profile: other, cron: \"* * * * * *\", timezone: UTC, overlap: queue } }";
    bed.configure(&format!("{twin}\nprofiles:{profiles}\n{schedules}"));
    let daemon = bed.serve().await;
    let answer = with_token(&daemon, "POST", "/api/v1/runs", "{\"profile\": \"short\"}").await;
    assert!(answer.status == 409 && answer.body.contains(&holder.id.0), "{answer:?}");
    let queued = wait_until("an instant that waits", LONG, async || {
        let ticks = store.ticks(Some("often"), 50).await.ok()?;
        ticks.into_iter().find(|tick| tick.outcome == TickOutcome::Queued)
    })
    .await;
    assert!(queued.reason.contains(&holder.id.0) && queued.reason.contains(&alone.id().to_string()), "{}", queued.reason);
    assert_eq!(started(&*store).await, 0, "nothing was loaded meanwhile");
    // A process that is gone loads nothing.
    alone.signal("KILL");
    alone.wait().await;
    wait_until("the run that waited", LONG, async || (started(&*store).await > 0).then_some(())).await;
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code().await, Some(0));
    // Whoever comes next finds the target free.
    let mut next = run_alone(&bed, "short");
    assert_eq!(next.wait().await.code(), Some(0), "{}", next.output());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_at_a_time_loads_a_target_on_sqlite() {
    one_process_at_a_time_loads_a_target(Bed::new().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_at_a_time_loads_a_target_on_postgres() {
    let mut bed = Bed::new().await;
    bed.storage = Postgres::fresh_database().await;
    one_process_at_a_time_loads_a_target(bed).await;
}

/// A process that was held up is taken for gone by another one, which loads its target from then on.
async fn a_run_whose_target_another_process_has_taken_ends(bed: Bed) {
    bed.configure(&format!("profiles:{}", profile("endless", "shop", "10m")));
    let store = bed.store().await;
    // The other process is this one.
    store.enlist(&this_process("other", 7, Timestamp::default())).await.unwrap();
    let mut alone = run_alone(&bed, "endless");
    let run = run_with_seconds(&*store, 1).await;
    let url = bed.target_url();
    let place = url.trim_start_matches("http://");
    let lease = format!("load {place}");
    assert_eq!(store.hold(&lease).await.unwrap().map(|holder| holder.pid), Some(alone.id()), "it is its own");
    wait_until("the target to be taken", LONG, async || {
        let owners = store.owners().await.ok()?;
        let held_up = owners.into_iter().find(|seen| seen.owner.pid == alone.id())?;
        store.dismiss(&[(held_up.owner.id, held_up.beat)]).await.ok()?;
        store.hold(&lease).await.ok()?.is_none().then_some(())
    })
    .await;
    assert_eq!(alone.wait().await.code(), Some(1), "{}", alone.output());
    let run = store.run(&run.id.0).await.unwrap().unwrap();
    assert_eq!((run.status, run.ended_by, run.verdict), (RunStatus::Finished, Some(EndedBy::Cancelled), None), "{:?}", run.reasons);
    let why = format!("another process loads {place} by now: this one had been held up, and was taken for gone");
    assert!(run.reasons.contains(&why), "{:?}", run.reasons);
    assert!(run.summary.is_some_and(|summary| summary.total.requests > 0), "what it measured is kept");
    assert_eq!(store.hold(&lease).await.unwrap(), None, "it did not give away what it had no more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_target_another_process_has_taken_ends_on_sqlite() {
    a_run_whose_target_another_process_has_taken_ends(Bed::new().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_target_another_process_has_taken_ends_on_postgres() {
    let mut bed = Bed::new().await;
    bed.storage = Postgres::fresh_database().await;
    a_run_whose_target_another_process_has_taken_ends(bed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_run_after_one_that_was_killed_finds_the_target_free() {
    let bed = Bed::new().await;
    bed.configure(&format!("profiles:{}{}", profile("endless", "shop", "10m"), profile("short", "shop", "1s")));
    let store = bed.store().await;
    let mut killed = run_alone(&bed, "endless");
    run_with_seconds(&*store, 1).await;
    killed.signal("KILL");
    killed.wait().await;
    // No daemon is there to notice.
    let mut next = run_alone(&bed, "short");
    assert_eq!(next.wait().await.code(), Some(0), "{}", next.output());
}
