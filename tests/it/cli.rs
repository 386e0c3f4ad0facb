//! The command line as users meet it: help, checks, runs and what is remembered of them, health, the demo. What people read is held by
//! snapshots, with times, ids and figures redacted.
#![expect(clippy::unwrap_used, reason = "a step that fails, fails the test")]

use std::path::Path;
use std::process::Output;

use plimsoll::model::run::RunStatus;
use serde_json::Value as Json;

use crate::servers::bed::{Bed, errors, finish, printed, profile, run_that_is, with_token};
use crate::servers::daemon::{Daemon, plimsoll};
use crate::servers::{free_port, temp_dir};

const COMMANDS: &[&str] = &[
    "demo",
    "serve",
    "run",
    "check",
    "probe",
    "control",
    "stop",
    "resume",
    "runs",
    "show",
    "audit",
    "demo-target",
    "schema",
    "migrate",
    "db",
    "healthcheck",
    "healthcheck",
    "compare",
    "history",
    "suite",
    "deploy",
    "baseline",
    "digest",
];

async fn call(arguments: &[&str]) -> Output {
    finish(plimsoll(arguments)).await
}

/// Everything that differs from run to run becomes a word.
fn redacted() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    for (pattern, word) in [
        (r"plimsoll-test-[A-Za-z0-9]+", "FOLDER"),
        (r"\d{8}-\d{6}-([a-z]+)-[0-9a-z]{4}", "RUN-$1"),
        (r"127\.0\.0\.1:\d+", "ADDRESS"),
        (r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(\.\d+)?Z?( UTC)?", "TIME"),
        (r"\d[0-9,]*(\.\d+)? ?(us|µs|ms|s|/s|%|KiB|MiB|B)\b?", "N"),
        (r"\b\d[\d,.]*\b", "N"),
        (r" +", " "),
        // A column that has no value in a very short run.
        (r"(?m) (N|-)$", " N"),
    ] {
        settings.add_filter(pattern, word);
    }
    settings
}

#[tokio::test]
async fn every_command_explains_itself() {
    let whole = call(&["--help"]).await;
    assert_eq!(whole.status.code(), Some(0));
    let text = printed(&whole);
    assert!(text.contains("Examples:"), "{text}");
    let mut report = format!("plimsoll --help\n{text}");
    for command in COMMANDS {
        assert!(text.contains(&format!("\n  {command} ")), "{command} is not listed: {text}");
        let output = call(&[command, "--help"]).await;
        assert_eq!(output.status.code(), Some(0), "{command}");
        assert!(printed(&output).contains("Examples:"), "{command} has no examples");
        report += &format!("\nplimsoll {command} --help\n{}", printed(&output));
    }
    insta::assert_snapshot!(report);
    let nothing = call(&[]).await;
    assert_eq!(nothing.status.code(), Some(2));
    assert!(errors(&nothing).contains("Usage:"), "{}", errors(&nothing));
    let unknown = call(&["rnu"]).await;
    assert_eq!(unknown.status.code(), Some(2));
    assert!(errors(&unknown).contains("run"), "{}", errors(&unknown));
}

#[tokio::test]
async fn check_tells_good_from_bad() {
    let good = call(&["check", "config/plimsoll.yaml"]).await;
    assert_eq!(good.status.code(), Some(0), "{}", errors(&good));
    insta::assert_snapshot!("check_good", printed(&good));
    let bad = call(&["check", "tests/it/bad_config/two-mistakes.yaml"]).await;
    assert_eq!(bad.status.code(), Some(104));
    insta::assert_snapshot!("check_bad", errors(&bad));
    let nowhere = call(&["check", "nowhere.yaml"]).await;
    assert_eq!(nowhere.status.code(), Some(104));
    insta::assert_snapshot!("check_nowhere", errors(&nowhere));
}

#[tokio::test]
async fn the_printed_schema_is_the_one_in_the_project() {
    let output = call(&["schema"]).await;
    assert_eq!(output.status.code(), Some(0));
    let printed: Json = serde_json::from_slice(&output.stdout).unwrap();
    let stored: Json = serde_json::from_slice(&std::fs::read("config/plimsoll.schema.json").unwrap()).unwrap();
    assert_eq!(printed, stored);
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_failure() {
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "{ \"$0\" schema; echo \"code $?\" >&2; } | head -n 1", env!("CARGO_BIN_EXE_plimsoll")]);
    let output = finish(command).await;
    assert_eq!(printed(&output), "{\n");
    assert_eq!(errors(&output), "code 0\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_made_listed_and_shown() {
    let bed = Bed::new().await;
    bed.configure(&format!("profiles:{}    thresholds: [\"http_req_failed: rate < 1%\"]", profile("short", "shop", "2s")));
    let config = bed.config().display().to_string();
    let with = async |arguments: &[&str]| call(&[arguments, &["--config", &config]].concat()).await;
    let settings = redacted();
    let none = with(&["runs"]).await;
    assert_eq!((none.status.code(), printed(&none).as_str()), (Some(0), "no runs yet; start one with `plimsoll run PROFILE`\n"));

    let unknown = with(&["run", "shrot"]).await;
    assert_eq!(unknown.status.code(), Some(104));
    assert!(errors(&unknown).contains("there is no profile `shrot`") && errors(&unknown).contains("`short`"), "{}", errors(&unknown));

    let ran = with(&["run", "short"]).await;
    assert_eq!(ran.status.code(), Some(0), "{}{}", printed(&ran), errors(&ran));
    assert!(printed(&ran).contains("begins: profile short on target shop"), "{}", printed(&ran));
    // Pools and resources depend on how many readings there were; the report has tests of its own.
    let text = printed(&ran);
    let summary = &text[text.find("PASS").unwrap()..text.find("\nPools").unwrap()];
    settings.bind(|| insta::assert_snapshot!("run_summary", summary));
    let run = run_that_is(&*bed.store().await, RunStatus::Finished).await;
    assert_eq!((run.trigger.by.as_str(), run.trigger.name.as_deref()), ("cli", None));

    let listed = with(&["runs"]).await;
    settings.bind(|| insta::assert_snapshot!("runs_table", printed(&listed)));
    let shown = with(&["show", "last"]).await;
    assert_eq!(shown.status.code(), Some(0));
    let text = printed(&shown);
    assert!(text.contains(&run.id.0), "{text}");
    let tail = run.id.0.rsplit('-').next().unwrap();
    for part in [run.id.0.as_str(), &run.id.0[..15], tail] {
        assert_eq!(printed(&with(&["show", part]).await), text, "{part}");
    }
    let unknown = with(&["show", "nothing"]).await;
    assert_eq!(unknown.status.code(), Some(1));
    insta::assert_snapshot!("show_unknown", errors(&unknown));

    let json: Json = serde_json::from_slice(&with(&["show", "last", "--json"]).await.stdout).unwrap();
    assert_eq!((json["id"].as_str(), json["verdict"].as_str()), (Some(run.id.0.as_str()), Some("pass")));
    let rows: Json = serde_json::from_slice(&with(&["runs", "--json"]).await.stdout).unwrap();
    assert_eq!((rows.as_array().unwrap().len(), rows[0]["id"].as_str()), (1, Some(run.id.0.as_str())));
    let filtered: Json = serde_json::from_slice(&with(&["runs", "--json", "--verdict", "fail"]).await.stdout).unwrap();
    assert_eq!(filtered, Json::Array(Vec::new()));
    let pinned = with(&["runs", "pin", "last", "--baseline"]).await;
    assert!(printed(&pinned).ends_with(": baseline, kept whatever its age\n"), "{}", printed(&pinned));
    assert_eq!(with(&["runs", "unpin", "last"]).await.status.code(), Some(0));
    assert_eq!(with(&["runs", "pin", "nobody"]).await.status.code(), Some(1));
    let planned = printed(&with(&["db", "retain", "--dry-run"]).await);
    assert!(planned.starts_with("PROFILE") && !planned.contains("series up to"), "the run is young: {planned}");
    let wrong = with(&["runs", "--verdict", "green"]).await;
    assert_eq!(wrong.status.code(), Some(2));

    // With --json nothing else is on standard output.
    let machine = with(&["run", "short", "--json"]).await;
    let json: Json = serde_json::from_slice(&machine.stdout).unwrap();
    assert_eq!(json["verdict"], "pass");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_threshold_is_the_exit_code() {
    let bed = Bed::new().await;
    bed.configure(&format!("profiles:{}    thresholds: [\"http_req_duration: p(95) < 1us\"]", profile("short", "shop", "1s")));
    let ran = call(&["run", "short", "--config", &bed.config().display().to_string()]).await;
    assert_eq!(ran.status.code(), Some(99), "{}", printed(&ran));
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_asked_of_a_running_daemon() {
    let bed = Bed::new().await;
    bed.configure(&format!("profiles:{}", profile("endless", "shop", "10m")));
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let silent = call(&["healthcheck", "--url", &nobody]).await;
    assert_eq!(silent.status.code(), Some(1));
    assert!(errors(&silent).contains("does not answer"), "{}", errors(&silent));
    let daemon = bed.serve().await;
    let url = format!("http://{}", daemon.address);
    let healthy = call(&["healthcheck", "--url", &url]).await;
    assert_eq!(healthy.status.code(), Some(0), "{}", printed(&healthy));
    assert!(printed(&healthy).ends_with("ready\n"), "{}", printed(&healthy));
    assert_eq!(with_token(&daemon, "POST", "/-/reload", "").await.status, 200);
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code().await, Some(0));
    assert_eq!(call(&["healthcheck", "--url", &url]).await.status.code(), Some(1));
}

/// glibc reads the number of its arenas before `main`: the daemon starts itself anew with it, in the same process and without a word.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_keeps_one_arena_unless_somebody_chose() {
    let bed = Bed::new().await;
    bed.configure(&format!("profiles:{}", profile("endless", "shop", "10m")));
    let config = bed.config().display().to_string();
    for (name, value, kept) in [("", "", "1"), ("MALLOC_ARENA_MAX", "3", "3"), ("GLIBC_TUNABLES", "glibc.malloc.arena_max=2", "")] {
        let mut command = plimsoll(&["serve", "--config", &config]);
        command.env_remove("MALLOC_ARENA_MAX").env_remove("GLIBC_TUNABLES");
        if !name.is_empty() {
            command.env(name, value);
        }
        let daemon = Daemon::spawn(bed.folder.path(), &mut command).await;
        let of_process = |what: &str| std::fs::read(format!("/proc/{}/{what}", daemon.id())).unwrap();
        let environment = String::from_utf8(of_process("environ")).unwrap();
        let arenas = environment.split('\0').find_map(|entry| entry.strip_prefix("MALLOC_ARENA_MAX="));
        assert_eq!(arenas.unwrap_or_default(), kept, "{name}");
        // What people look for in a list of processes.
        assert_eq!(of_process("comm"), b"plimsoll\n");
        assert_eq!(of_process("cmdline"), format!("{}\0serve\0--config\0{config}\0", env!("CARGO_BIN_EXE_plimsoll")).as_bytes());
        daemon.signal("TERM");
        assert_eq!(daemon.exit_code().await, Some(0));
    }
}

/// These appear in this order, each on a line of its own.
fn assert_in_order(text: &str, wanted: &[&str]) {
    let mut rest = text;
    for one in wanted {
        let Some(at) = rest.find(one) else { panic!("`{one}` is missing, or not after what comes before it in {wanted:?}:\n{text}") };
        rest = &rest[at + one.len()..];
    }
}

fn mails(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path()).collect();
    names.sort();
    names.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_tells_the_whole_story_once() {
    let folder = temp_dir();
    let data = folder.path().join("demo");
    let output = call(&["demo", "--once", "--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()]).await;
    let text = printed(&output);
    // Sixty users on a pool of twenty: the threshold on the pool fails, and the demo ends with the run's code.
    assert_eq!(output.status.code(), Some(99), "{text}{}", errors(&output));
    assert_in_order(
        &text,
        &[
            "page     http://127.0.0.1:",
            "metrics  http://",
            "api      http://",
            "begins: profile rush-hour",
            "alert fired",
            "told by channel `mailbox`",
        ],
    );
    assert_in_order(&text, &["begins: profile rush-hour", "FAIL  rush-hour on demo", "pool_utilization{pool:main}: max < 80% over 5s"]);
    assert_in_order(&text, &["alert fired", "alert resolved", "resolved `pool-nearly-full` told by channel `mailbox`"]);
    assert_eq!(text.matches("begins: profile").count(), 1, "once is once, also across a full minute: {text}");
    assert!(errors(&output).is_empty(), "{}", errors(&output));
    let mails = mails(&data.join("mailbox"));
    assert_eq!(mails.len(), 2, "{mails:?}");
    assert!(mails[0].contains("X-Plimsoll-State: firing") && mails[1].contains("X-Plimsoll-State: resolved"), "{mails:?}");
    assert!(data.join("plimsoll.db").is_file());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_that_is_interrupted_ends_cleanly_and_leaves_nothing() {
    let folder = temp_dir();
    let mut command = plimsoll(&["demo", "--listen", "127.0.0.1:0"]);
    command.env("TMPDIR", folder.path());
    let logs = temp_dir();
    let mut child = crate::servers::Child::spawn("demo", logs.path(), &mut command);
    crate::servers::wait_until("the demo's run", crate::servers::bed::LONG, async || child.output().contains("begins:").then_some(()))
        .await;
    child.signal("INT");
    assert_eq!(child.wait().await.code(), Some(0), "{}", child.output());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the temporary folder is removed");
}
