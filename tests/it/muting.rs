//! Silences, acknowledgements, maintenance and the trying of channels, as people use them: the real program, its API and its commands.

use std::process::Output;

use plimsoll::model::schedule::TickOutcome;
use serde_json::Value as Json;

use crate::servers::bed::{Bed, LONG, errors, finish, printed, profile, with_token};
use crate::servers::daemon::{Daemon, plimsoll};
use crate::servers::{closed_port, wait_until};

/// A command against the daemon, with its token.
async fn ask(daemon: &Daemon, arguments: &[&str]) -> Output {
    let server = format!("http://{}", daemon.address);
    let mut command = plimsoll(arguments);
    command.args(["--server", &server]).env("PLIMSOLL_TOKEN", "let-me-in-please");
    finish(command).await
}

/// Messages in the mailbox: kind and headline.
fn told(bed: &Bed) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(bed.folder.path().join("box.jsonl")).unwrap_or_default();
    let read = |line: &str| {
        let line: Json = serde_json::from_str(line).ok()?;
        let field = |name: &str| line["message"][name].as_str().map(str::to_owned);
        Some((field("kind")?, field("headline")?))
    };
    text.lines().filter_map(read).collect()
}

fn alerts(rule: &str) -> String {
    format!(
        r"
profiles:{}
alerts:
  channels: {{ box: {{ type: file, path: box.jsonl, format: json }} }}
  defaults: {{ probe-down: off, storage-failing: off, self-leak: off }}
  rules: {{ {rule} }}
",
        profile("short", "shop", "1s"),
    )
}

const IDLE: &str = r#"idle: { when: "pool_utilization: max >= 0%", labels: { team: shop } }"#;

async fn reload(bed: &Bed, daemon: &Daemon, rule: &str) {
    bed.configure(&alerts(rule));
    assert_eq!(with_token(daemon, "POST", "/-/reload", "").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silence_is_made_kept_over_a_restart_and_ended_and_an_incident_is_taken_over() {
    let bed = Bed::new().await;
    bed.configure(&alerts(""));
    let daemon = bed.serve().await;
    let past = ask(&daemon, &["silence", "add", "team=shop", "--until", "2020-01-01T00:00:00Z", "--comment", "late"]).await;
    assert!(!past.status.success() && errors(&past).contains("is in the past"), "{}", errors(&past));
    let wrong = ask(&daemon, &["silence", "add", "team~shop", "--for", "1h", "--comment", "x"]).await;
    assert!(errors(&wrong).contains("compares nothing"), "{}", errors(&wrong));
    let made = ask(&daemon, &["silence", "add", "team=shop", "--for", "1h", "--comment", "deploy", "--author", "ann"]).await;
    assert!(made.status.success() && printed(&made).contains("team=\"shop\" until "), "{}{}", printed(&made), errors(&made));
    let id = printed(&made).split_whitespace().nth(1).unwrap().trim_end_matches(':').to_owned();

    reload(&bed, &daemon, IDLE).await;
    let muted = async |daemon: &Daemon| {
        let alerts = daemon.api("/alerts").await;
        let alert = alerts["alerts"].as_array()?.iter().find(|alert| alert["rule"] == "idle" && alert["muted"].is_string())?;
        Some((alert["incident"].as_str()?.to_owned(), alert["muted"].as_str()?.to_owned()))
    };
    let (incident, why) = wait_until("a silenced incident", LONG, async || muted(&daemon).await).await;
    assert!(why.starts_with("silenced by ann (api token ci) until ") && why.ends_with(": deploy"), "{why}");
    daemon.kill().await;
    let daemon = bed.serve().await;
    wait_until("the silence after a restart", LONG, async || muted(&daemon).await).await;
    assert_eq!(told(&bed), []);

    let list = printed(&ask(&daemon, &["silence", "list"]).await);
    assert!(list.contains(&format!("{id} active: team=\"shop\"")) && list.contains("ann (api token ci): deploy"), "{list}");
    let ended = ask(&daemon, &["silence", "expire", &id]).await;
    assert!(printed(&ended).contains("is over"), "{}{}", printed(&ended), errors(&ended));
    wait_until("the fire after the silence", LONG, async || (!told(&bed).is_empty()).then_some(())).await;
    assert!(told(&bed)[0].0 == "fired" && told(&bed)[0].1.contains("until now: silenced by ann"), "{:?}", told(&bed));

    let taken = ask(&daemon, &["ack", &incident[incident.len() - 4..], "--comment", "on it"]).await;
    assert!(printed(&taken).contains(&format!("{incident}: taken by api token ci")), "{}{}", printed(&taken), errors(&taken));
    let again = ask(&daemon, &["ack", &incident]).await;
    assert!(errors(&again).contains("takes care of it already"), "{}", errors(&again));
    reload(&bed, &daemon, "").await;
    wait_until("the resolve", LONG, async || (told(&bed).len() >= 3).then_some(())).await;
    let kinds: Vec<String> = told(&bed).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["fired", "acknowledged", "resolved"]);
    let history = daemon.api("/alerts?limit=500").await["transitions"].to_string();
    assert!(history.contains("no longer silenced by ann") && history.contains("acknowledged by api token ci: on it"), "{history}");
}

#[tokio::test(flavor = "multi_thread")]
async fn maintenance_lets_schedules_stand_still_and_says_so() {
    let bed = Bed::new().await;
    bed.configure(&format!(
        r#"
profiles:{}
schedules:
  often: {{ profile: short, cron: "*/2 * * * * *", timezone: UTC }}
alerts:
  channels: {{ box: {{ type: file, path: box.jsonl, format: json }} }}
  defaults: {{ probe-down: off }}
  rules: {{ {IDLE} }}
  maintenance:
    always: {{ cron: "* * * * *", duration: 2h, match: ["target=shop"], pause_schedules: true }}
"#,
        profile("short", "shop", "1s"),
    ));
    let daemon = bed.serve().await;
    let store = bed.store().await;
    let ticks = wait_until("instants that were skipped", LONG, async || {
        let ticks = store.ticks(Some("often"), 500).await.ok()?;
        (ticks.iter().filter(|tick| tick.outcome == TickOutcome::Skipped).count() >= 3).then_some(ticks)
    })
    .await;
    for tick in &ticks {
        assert!(tick.run.is_none() && tick.outcome != TickOutcome::Started, "{tick:?}");
        // An instant that a busy machine slept through says so, and not why it would have been skipped.
        assert!(tick.outcome != TickOutcome::Skipped || tick.reason.starts_with("maintenance window `always` until "), "{tick:?}");
    }
    wait_until("a muted incident", LONG, async || {
        let alerts = daemon.api("/alerts").await;
        alerts["alerts"]
            .as_array()?
            .iter()
            .any(|alert| alert["muted"].as_str().is_some_and(|why| why.starts_with("maintenance")))
            .then_some(())
    })
    .await;
    assert_eq!(told(&bed), []);
    let missed = daemon.api("/alerts").await["alerts"].to_string();
    assert!(!missed.contains("run-missed"), "what is paused on purpose is not missed: {missed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_is_tried() {
    let bed = Bed::new().await;
    let config = bed.configure(&alerts("")).display().to_string();
    let tried = finish(plimsoll(&["notify", "test", "box", "--config", &config])).await;
    assert!(tried.status.success() && printed(&tried).contains("box: delivered: "), "{}{}", printed(&tried), errors(&tried));
    assert_eq!(told(&bed)[0].0, "test");
    let unknown = finish(plimsoll(&["notify", "test", "bx", "--config", &config])).await;
    assert!(!unknown.status.success() && errors(&unknown).contains("did you mean `box`"), "{}", errors(&unknown));
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_are_put_to_the_test() {
    let passed = finish(plimsoll(&["alerts", "test", "config/alerts.test.yaml"])).await;
    assert!(passed.status.success() && printed(&passed).contains("3 tests passed"), "{}{}", printed(&passed), errors(&passed));
    let folder = crate::servers::temp_dir();
    let text = std::fs::read_to_string("config/alerts.test.yaml").unwrap();
    let config = std::path::absolute("config/plimsoll.yaml").unwrap();
    let text = text.replace("configuration: plimsoll.yaml", &format!("configuration: {}", config.display()));
    for (was, is, says) in [
        ("exp_state: pending }", "exp_state: firing }", "got:      pending {pool=\"main\", probe=\"app\", target=\"shop\"}"),
        (
            "alertname: generator-unfit",
            "alertname: generator-unfitt",
            "there is no rule `generator-unfitt`: did you mean `generator-unfit`?",
        ),
        ("0.9x47", "0.9x47 soon", "`soon` is not a value"),
        ("interval: 5s", "interval: 5", "`interval: 5`"),
        ("input_series:", "input_serie:", "input_serie"),
    ] {
        let file = folder.path().join("wrong.yaml");
        std::fs::write(&file, text.replacen(was, is, 1)).unwrap();
        let failed = finish(plimsoll(&["alerts", "test", file.to_str().unwrap()])).await;
        assert!(failed.status.code() == Some(1) && errors(&failed).contains(says), "{is}: {}{}", printed(&failed), errors(&failed));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_did_what_is_kept_over_a_restart_and_shown() {
    let bed = Bed::new().await;
    bed.configure(&alerts(IDLE));
    let daemon = bed.serve().await;
    let add = ["silence", "add", "team=shop", "--for", "1h", "--comment", "deploy", "--author", "ann"];
    let made = printed(&ask(&daemon, &add).await);
    let id = made.split_whitespace().nth(1).unwrap().trim_end_matches(':').to_owned();
    ask(&daemon, &["silence", "add", "team=shop", "--until", "2020-01-01T00:00:00Z", "--comment", "late"]).await;
    ask(&daemon, &["silence", "expire", &id]).await;
    assert_eq!(with_token(&daemon, "POST", "/api/v1/runs", "{\"profile\": \"shrt\"}").await.status, 404);
    assert_eq!(with_token(&daemon, "POST", "/api/v1/stop", "{\"hold\": true}").await.status, 200);
    assert_eq!(with_token(&daemon, "POST", "/api/v1/resume", "").await.status, 200);
    bed.configure("profiles: { broken: 1 }");
    assert_eq!(with_token(&daemon, "POST", "/-/reload", "").await.status, 422);
    bed.configure(&alerts(IDLE));
    daemon.signal("HUP");
    let store = bed.store().await;
    wait_until("eight deeds", LONG, async || Some(store.deeds(100).await.ok()?).filter(|deeds| deeds.len() >= 8)).await;
    daemon.kill().await;

    let daemon = bed.serve().await;
    let answer = daemon.api("/audit?limit=100").await;
    let mut deeds: Vec<Json> = answer["deeds"].as_array().unwrap().clone();
    deeds.reverse();
    let text = |deed: &Json, key: &str| deed[key].as_str().unwrap_or_default().to_owned();
    let whats: Vec<String> = deeds.iter().map(|deed| text(deed, "what")).collect();
    assert_eq!(whats, ["silence.add", "silence.add", "silence.expire", "run.start", "stop", "resume", "reload", "reload"], "{answer}");
    let refused: Vec<bool> = deeds.iter().map(|deed| deed["refused"].is_string()).collect();
    assert_eq!(refused, [false, true, false, true, false, false, true, false], "{answer}");
    assert_eq!((text(&deeds[0], "by"), text(&deeds[0], "object")), ("ann (api token ci)".into(), id));
    assert!(text(&deeds[0], "detail").starts_with("team=\"shop\" until ") && text(&deeds[0], "detail").ends_with(": deploy"), "{answer}");
    assert!(text(&deeds[3], "refused").contains("shrt") && text(&deeds[4], "detail").contains("nothing starts until somebody resumes"));
    assert_eq!((text(&deeds[6], "by"), text(&deeds[7], "by")), ("api token ci".into(), "signal HUP".into()));
    assert!(!answer.to_string().contains("let-me-in"), "the token itself is nowhere");

    let config = bed.config().display().to_string();
    let listed = printed(&finish(plimsoll(&["audit", "--config", &config])).await);
    assert_eq!(listed.lines().count(), 8, "{listed}");
    assert!(listed.contains("ann (api token ci)  silence.add") && listed.contains("refused: "), "{listed}");
    let page = daemon.try_get("/silences").await.unwrap();
    assert!(page.body.contains("Who did what") && page.body.contains("silence.expire"), "{}", page.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_failed_before_a_restart_is_known_as_failing_after_it() {
    let bed = Bed::new().await;
    let gone = closed_port();
    let text = alerts(IDLE).replace(
        "channels: { ",
        &format!("channels: {{ pager: {{ type: webhook, url: \"http://127.0.0.1:{}/x\", timeout: 2s }}, ", gone.port),
    );
    bed.configure(&text.replace("self-leak: off", "self-leak: off, channel-failing: off"));
    let daemon = bed.serve().await;
    let store = bed.store().await;
    let failing = async || store.channel_health().await.ok()?.into_iter().find(|one| one.channel == "pager" && one.failing_since.is_some());
    let before = wait_until("a channel that fails", LONG, async || failing().await).await;
    daemon.kill().await;
    let daemon = bed.serve().await;
    let shown = wait_until("the channel after the restart", LONG, async || {
        let page = daemon.try_get("/-/ready").await?;
        page.body.lines().find(|line| line.contains("channel pager: failing since")).map(str::to_owned)
    })
    .await;
    assert!(shown.contains("cannot be reached"), "{shown}");
    // Attempts of the second daemon change nothing about since when.
    wait_until("an attempt after the restart", LONG, async || {
        let messages = store.messages(None, 100).await.ok()?;
        messages.iter().any(|one| one.channel == "pager" && one.attempts >= 2).then_some(())
    })
    .await;
    assert_eq!(failing().await.unwrap().failing_since, before.failing_since);
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code().await, Some(0));
}
