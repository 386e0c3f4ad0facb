//! Steering the real daemon while it loads a real target: over the API and by the command line, one run and everything at once. What was
//! done is kept with the run, and nothing is lost by it.
#![expect(clippy::unwrap_used, reason = "a step that fails, fails the test")]

use plimsoll::model::audit::DeedKind;
use plimsoll::model::control::Action;
use plimsoll::model::measure::{Accounting, Interval};
use plimsoll::model::run::{EndedBy, Run, RunId, RunStatus, Verdict};
use plimsoll::model::schedule::TickOutcome;
use plimsoll::store::Store;
use serde_json::Value as Json;

use crate::servers::bed::{Bed, LONG, errors, finish, printed, profile, run_that_is, run_with_seconds, start_run, with_token};
use crate::servers::daemon::{Daemon, plimsoll};
use crate::servers::{Child, wait_until};

/// Runs a command of the program against this daemon, with the token of its configuration.
async fn ask(daemon: &Daemon, arguments: &[&str]) -> (Option<i32>, String) {
    let server = format!("http://{}", daemon.address);
    let mut command = plimsoll(arguments);
    command.args(["--server", &server]).env("PLIMSOLL_TOKEN", "let-me-in-please");
    let output = finish(command).await;
    (output.status.code(), format!("{}{}", printed(&output), errors(&output)))
}

/// Asks and must be obeyed.
async fn tell(daemon: &Daemon, arguments: &[&str]) -> String {
    let (code, said) = ask(daemon, arguments).await;
    assert_eq!(code, Some(0), "{arguments:?}: {said}");
    said
}

async fn patch(daemon: &Daemon, id: &RunId, body: &str) -> (u16, Json) {
    let answer = with_token(daemon, "PATCH", &format!("/api/v1/runs/{id}/control"), body).await;
    (answer.status, answer.json())
}

/// Waits for a second of the run that fits, and returns it.
async fn second(store: &dyn Store, id: &RunId, what: &str, fits: impl Fn(&Interval) -> bool) -> Interval {
    wait_until(what, LONG, async || store.intervals(id, 0, 100_000).await.ok()?.into_iter().rfind(&fits)).await
}

async fn ended(store: &dyn Store, id: &RunId) -> Run {
    wait_until("the end of the run", LONG, async || store.run(&id.0).await.ok()?.filter(|run| run.status == RunStatus::Finished)).await
}

fn counts(run: &Run) -> Accounting {
    let counts = run.summary.as_ref().unwrap().scenarios[0].counts;
    assert_eq!(counts.breach(), None);
    counts
}

/// What was done and by whom.
fn deeds(run: &Run) -> Vec<(String, &str)> {
    run.controls.iter().map(|entry| (entry.what(), entry.by.as_str())).collect()
}

const RATE: &str = "
profiles:
  events:
    target: shop
    scenarios:
      starts: { executor: constant-arrival-rate, rate: 40/s, duration: 6s, gracefulStop: 2s, preAllocatedVUs: 20, flow: [{ step: get, get: /api/v1/wallet/balance }] }
  users:
    target: shop
    scenarios:
      people: { executor: externally-controlled, vus: 2, maxVUs: 8, duration: 10m, gracefulStop: 2s, flow: [{ step: get, get: /api/v1/wallet/balance }, { pause: 50ms }] }
load: { threads: 2 }
";

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_loses_nothing_and_is_kept_with_the_run() {
    let bed = Bed::new().await;
    bed.configure(RATE);
    let (daemon, store) = (bed.serve().await, bed.store().await);
    let id = start_run(&daemon, "events").await;
    run_with_seconds(&*store, 2).await;
    let (status, answer) = patch(&daemon, &id, r#"{"action":"pause"}"#).await;
    assert_eq!((status, answer["what"].as_str()), (200, Some("pause")), "{answer}");
    let quiet = |interval: &Interval| interval.scenarios.values().all(|one| one.counts.scheduled == 0 && one.counts.started == 0);
    let still = second(&*store, &id, "a second without a start", quiet).await;
    let live = daemon.api("/runs/last").await;
    assert_eq!(live["run"]["controls"][0]["by"], "api token ci", "{live}");
    let page = daemon.try_get(&format!("/runs/{id}")).await.unwrap().body;
    assert!(page.contains("paused") && page.contains("api token ci"), "{page}");
    let (status, answer) = patch(&daemon, &id, r#"{"action":"pause"}"#).await;
    assert_eq!((status, answer["error"]["code"].as_str()), (409, Some("not_now")), "{answer}");
    assert!(tell(&daemon, &["control", "last", "resume"]).await.contains(&format!("run {id}: resume from second ")));
    let run = ended(&*store, &id).await;
    // Six seconds at 40/s: the clock of the profile stood still, so that every start was due all the same.
    assert_eq!((counts(&run).scheduled, counts(&run).unsent), (240, 0));
    assert_eq!(deeds(&run), [("pause".into(), "api token ci"), ("resume".into(), "api token ci")]);
    let summary = run.summary.as_ref().unwrap();
    let phases = &run.catalog.scenarios[0].phases;
    let names: Vec<&str> = phases.iter().map(|phase| phase.name.as_str()).collect();
    assert_eq!(names, ["main", "paused", "main"], "{phases:?}");
    assert!(run.catalog.scenarios[0].phase_at(still.second).is_some_and(|phase| phase.name == "paused"), "{phases:?}");
    let paused = phases[1].end.saturating_sub(phases[1].start).as_secs_f64();
    assert!(summary.seconds > 5.9 + paused, "{} s with a pause of {paused} s", summary.seconds);
    assert_eq!(run.ended_by, Some(EndedBy::Completed));
    bed.target.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_made_more_and_fewer_by_the_command_line() {
    let bed = Bed::new().await;
    bed.configure(RATE);
    let (daemon, store) = (bed.serve().await, bed.store().await);
    let id = start_run(&daemon, "users").await;
    let vus = |interval: &Interval| interval.scenarios.values().map(|one| one.vus).sum::<u64>();
    second(&*store, &id, "two users", |interval| vus(interval) == 2).await;
    assert!(tell(&daemon, &["control", &id.0, "scale", "7", "--scenario", "people"]).await.contains("scale `people` to 7 VUs"));
    second(&*store, &id, "seven users", |interval| vus(interval) == 7).await;
    tell(&daemon, &["control", &id.0, "scale", "50%"]).await;
    second(&*store, &id, "half of two users", |interval| vus(interval) == 1).await;
    for (arguments, said) in [
        (vec!["control", &id.0, "scale", "9"], "scenario `people` has at most 8 VUs"),
        (vec!["control", &id.0, "scale", "20/s"], "no scenario that goes on has a rate"),
        (vec!["control", &id.0, "pause", "--scenario", "peple"], "there is no scenario `peple`; known: people"),
        (vec!["control", "nothing", "pause"], "there is no run `nothing`"),
    ] {
        let (code, text) = ask(&daemon, &arguments).await;
        assert!(code == Some(1) && text.contains(said), "{arguments:?}: {code:?} {text}");
    }
    tell(&daemon, &["control", &id.0, "stop"]).await;
    let run = ended(&*store, &id).await;
    let actions: Vec<Action> = run.controls.iter().map(|entry| entry.action).collect();
    assert_eq!(actions, [Action::Scale, Action::Scale, Action::Stop], "{:?}", run.controls);
    assert_eq!((run.ended_by, run.verdict), (Some(EndedBy::Cancelled), None));
    assert!(run.reasons.contains(&"stopped by api token ci".to_owned()), "{:?}", run.reasons);
    assert_eq!(run.summary.as_ref().unwrap().scenarios[0].vus_max, 7);
    counts(&run);
    bed.target.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kill_switch_ends_every_run_and_lets_nothing_start() {
    let bed = Bed::new().await;
    let other = plimsoll::demo::start(plimsoll::demo::Settings::default()).await.unwrap();
    let second_target = format!("  depot:\n    base_url: {}\n    environment: test\n", other.url("").trim_end_matches('/'));
    let profiles = format!("{}{}", profile("one", "shop", "10m"), profile("two", "depot", "10m"));
    let schedules = "schedules:\n  often: { profile: one, cron: \"* * * * * *\", overlap: skip }\n";
    bed.configure(&format!("{second_target}\nprofiles:{profiles}\n{schedules}"));
    let (daemon, store) = (bed.serve().await, bed.store().await);
    let first = run_that_is(&*store, RunStatus::Running).await.id;
    let second = start_run(&daemon, "two").await;
    let said = tell(&daemon, &["stop", "--all", "--hold"]).await;
    for id in [&first, &second] {
        assert!(said.contains(&format!("run {id} is stopped")), "{said}");
        let run = ended(&*store, id).await;
        assert_eq!(run.ended_by, Some(EndedBy::Cancelled));
        assert_eq!(deeds(&run), [("stop".into(), "api token ci")]);
        assert!(run.reasons.contains(&"everything was stopped by api token ci".to_owned()), "{:?}", run.reasons);
    }
    let held = |why: &str| why.starts_with("all load was stopped by api token ci at ");
    let answer = with_token(&daemon, "POST", "/api/v1/runs", r#"{"profile": "two"}"#).await;
    assert!(answer.status == 409 && held(answer.json()["error"]["message"].as_str().unwrap()), "{answer:?}");
    wait_until("an instant that was skipped", LONG, async || {
        let ticks = store.ticks(Some("often"), 50).await.ok()?;
        ticks.into_iter().find(|tick| tick.outcome == TickOutcome::Skipped && held(&tick.reason))
    })
    .await;
    // It is remembered, even if the daemon dies.
    daemon.kill().await;
    let daemon = bed.serve().await;
    let still = wait_until("what was remembered", LONG, async || {
        let answer = daemon.api("/stop").await;
        (!answer["standstill"].is_null()).then_some(answer)
    })
    .await;
    assert_eq!(still["standstill"]["by"], "api token ci", "{still}");
    assert!(daemon.try_get("/").await.unwrap().body.contains("All load is stopped"));
    assert!(store.runs(&plimsoll::store::RunFilter { status: Some(RunStatus::Running), ..Default::default() }).await.unwrap().is_empty());
    tell(&daemon, &["resume"]).await;
    let (code, said) = ask(&daemon, &["resume"]).await;
    assert!(code == Some(1) && said.contains("nothing is held"), "{said}");
    wait_until("load may start", LONG, async || daemon.api("/stop").await["standstill"].is_null().then_some(())).await;
    start_run(&daemon, "two").await;
    let runs = run_that_is(&*store, RunStatus::Running).await;
    assert!(runs.started_at > ended(&*store, &second).await.started_at);
    tell(&daemon, &["stop", "--all"]).await;
    bed.target.stop().await;
    other.stop().await;
}

/// Runs a command where no daemon listens, with the configuration of the bed; `token` as for a daemon that is away.
async fn past_daemons(bed: &Bed, arguments: &[&str], token: Option<&str>) -> (Option<i32>, String) {
    let config = bed.config().display().to_string();
    let mut command = plimsoll(arguments);
    command.args(["--config", &config, "--server", &format!("http://127.0.0.1:{}", crate::servers::free_port())]);
    command.env_remove("PLIMSOLL_TOKEN");
    if let Some(token) = token {
        command.env("PLIMSOLL_TOKEN", token);
    }
    let output = finish(command).await;
    (output.status.code(), format!("{}{}", printed(&output), errors(&output)))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kill_switch_works_without_a_daemon() {
    let bed = Bed::new().await;
    bed.configure(&format!("profiles:{}{}", profile("endless", "shop", "10m"), profile("short", "shop", "1s")));
    let store = bed.store().await;
    let config = bed.config().display().to_string();
    let run = |name: &str| Child::spawn(name, bed.folder.path(), &mut plimsoll(&["run", name, "--config", &config]));
    let mut alone = run("endless");
    let going = run_with_seconds(&*store, 1).await.id;
    // A daemon that is away is asked first; then nobody needs a token.
    let (code, said) = past_daemons(&bed, &["stop", "--all", "--hold"], Some("let-me-in-please")).await;
    assert!(code == Some(0) && said.contains(&format!("run {going} is stopped")), "{said}");
    assert!(said.contains("no daemon answers at") && said.contains("written to the database"), "{said}");
    assert_eq!(alone.wait().await.code(), Some(1), "{}", alone.output());
    let stopped = store.run(&going.0).await.unwrap().unwrap();
    assert_eq!((stopped.status, stopped.ended_by, stopped.verdict), (RunStatus::Finished, Some(EndedBy::Cancelled), None));
    assert!(stopped.reasons.iter().any(|reason| reason.starts_with("everything was stopped by the command line on ")), "{stopped:?}");
    let mut refused = run("short");
    assert_eq!(refused.wait().await.code(), Some(1), "{}", refused.output());
    assert!(refused.output().contains("all load was stopped by the command line on "), "{}", refused.output());
    let (code, said) = past_daemons(&bed, &["stop", "--all"], None).await;
    assert!(code == Some(0) && said.contains("no run was going on"), "{said}");
    let (code, said) = past_daemons(&bed, &["resume"], None).await;
    assert!(code == Some(0) && said.contains("load may start again") && said.contains("PLIMSOLL_TOKEN"), "{said}");
    let mut again = run("short");
    assert_eq!(again.wait().await.code(), Some(0), "{}", again.output());
    let (code, said) = past_daemons(&bed, &["resume"], None).await;
    assert!(code == Some(1) && said.contains("nothing is held"), "{said}");
    let mut deeds = store.deeds(20).await.unwrap();
    deeds.retain(|deed| deed.what != DeedKind::RunStart);
    let told: Vec<(&str, bool)> = deeds.iter().rev().map(|deed| (deed.what.as_str(), deed.refused.is_none())).collect();
    assert_eq!(told, [("stop", true), ("stop", true), ("resume", true), ("resume", false)], "{deeds:?}");
    assert!(deeds.iter().all(|deed| deed.by.starts_with("the command line on ") && deed.detail.contains("past any daemon")), "{deeds:?}");
    assert!(deeds[3].detail.starts_with("hold; 1 run told to end"), "{deeds:?}");
    bed.target.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_hears_of_what_was_held_past_it() {
    let bed = Bed::new().await;
    let schedules = "schedules:\n  often: { profile: one, cron: \"* * * * * *\", overlap: skip }\n";
    bed.configure(&format!("profiles:{}{schedules}", profile("one", "shop", "10m")));
    let (daemon, store) = (bed.serve().await, bed.store().await);
    let going = run_that_is(&*store, RunStatus::Running).await.id;
    let (code, said) = past_daemons(&bed, &["stop", "--all", "--hold"], None).await;
    assert!(code == Some(0) && said.contains(&format!("run {going} is stopped")), "{said}");
    let held = wait_until("the daemon to hear of it", LONG, async || {
        let answer = daemon.api("/stop").await;
        answer["standstill"]["by"].as_str().map(str::to_owned)
    })
    .await;
    assert!(held.starts_with("the command line on "), "{held}");
    wait_until("an instant that was skipped", LONG, async || {
        let ticks = store.ticks(Some("often"), 50).await.ok()?;
        ticks
            .into_iter()
            .find(|tick| tick.outcome == TickOutcome::Skipped && tick.reason.starts_with("all load was stopped by the command"))
    })
    .await;
    assert_eq!(past_daemons(&bed, &["resume"], None).await.0, Some(0));
    let next = run_that_is(&*store, RunStatus::Running).await;
    assert_ne!(next.id, going, "load goes on");
    // What the daemon itself is told stays as it was told.
    tell(&daemon, &["stop", "--all", "--hold"]).await;
    assert_eq!(ended(&*store, &next.id).await.ended_by, Some(EndedBy::Cancelled));
    tell(&daemon, &["resume"]).await;
    run_that_is(&*store, RunStatus::Running).await;
    bed.target.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_the_way_is_said_in_plain_words() {
    let server = format!("http://127.0.0.1:{}", crate::servers::free_port());
    let call = async |arguments: &[&str], token: Option<&str>| {
        let mut command = plimsoll(arguments);
        command.args(["--server", &server]).env_remove("PLIMSOLL_TOKEN");
        if let Some(token) = token {
            command.env("PLIMSOLL_TOKEN", token);
        }
        let output = finish(command).await;
        (output.status.code(), errors(&output))
    };
    let (code, said) = call(&["control", "last", "pause"], Some("x")).await;
    assert!(code == Some(1) && said.contains("no daemon answers at") && said.contains("--server"), "{said}");
    let (code, said) = call(&["stop", "--all"], None).await;
    assert!(code == Some(1) && said.contains("PLIMSOLL_TOKEN") && said.contains("--token-file"), "{said}");
    let (code, said) = call(&["stop"], Some("x")).await;
    assert!(code == Some(1) && said.contains("say which run is to stop, or `--all`"), "{said}");
    let (code, said) = call(&["stop", "x", "--hold"], Some("x")).await;
    assert!(code == Some(1) && said.contains("`--hold` goes with `--all`"), "{said}");
    let (code, said) = call(&["resume", "--token-file", "nowhere"], None).await;
    assert!(code == Some(1) && said.contains("the token cannot be read from nowhere"), "{said}");
    for (arguments, hint) in [
        (vec!["control", "last", "scale", "fast"], "`50%`"),
        (vec!["control", "last", "faster"], "use pause, hold, resume, scale or stop"),
        (vec!["stop", "x", "--all"], "--all"),
    ] {
        let (code, said) = call(&arguments, Some("x")).await;
        assert!(code == Some(2) && said.contains(hint), "{arguments:?}: {said}");
    }
    let bed = Bed::new().await;
    bed.configure(RATE);
    let daemon = bed.serve().await;
    let mut command = plimsoll(&["stop", "--all"]);
    command.args(["--server", &format!("http://{}", daemon.address)]).env("PLIMSOLL_TOKEN", "wrong");
    let output = finish(command).await;
    assert!(output.status.code() == Some(1) && errors(&output).contains("the daemon does not know this token"), "{}", errors(&output));
    bed.target.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_held_beyond_what_its_target_allows_is_ended_and_fails() {
    let bed = Bed::new().await;
    let people = "executor: constant-vus, vus: 1, duration: 3s, gracefulStop: 1s, flow: [{ step: get, get: /api/v1/wallet/balance }, { pause: 50ms }]";
    bed.configure(&format!(
        "    limits: {{ duration: 4s }}\nprofiles:\n  short: {{ target: shop, scenarios: {{ people: {{ {people} }} }} }}\nload: {{ threads: 2 }}"
    ));
    let (daemon, store) = (bed.serve().await, bed.store().await);
    let id = start_run(&daemon, "short").await;
    tell(&daemon, &["control", &id.0, "hold"]).await;
    let run = ended(&*store, &id).await;
    assert_eq!((run.ended_by, run.verdict), (Some(EndedBy::Guard), Some(Verdict::Fail)), "{:?}", run.reasons);
    assert!(run.reasons.contains(&"it went on for longer than the 4s that target `shop` allows".to_owned()), "{:?}", run.reasons);
    bed.target.stop().await;
}
