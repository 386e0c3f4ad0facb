//! Every profile of every example is really run: by the real program, in fast motion, against a demo target.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use plimsoll::demo::{self, ErrorFault, Faults};
use plimsoll::model::control::Action;
use plimsoll::model::run::{EndedBy, Run, RunStatus, Verdict};
use serde_json::json;

use crate::servers::bed::{LONG, errors, finish, metric, start_run};
use crate::servers::daemon::{Daemon, plimsoll};
use crate::servers::tls::Front;
use crate::servers::{http, temp_dir, wait_until};

/// How an example is run.
struct Example {
    folder: &'static str,
    /// Size of the demo target's pool, as the head of the file says.
    pool: u32,
    /// Profiles, each with a time scale that leaves a few seconds of it.
    profiles: &'static [(&'static str, &'static str)],
}

const EXAMPLES: &[Example] = &[
    Example { folder: "quickstart", pool: 20, profiles: &[("nightly", "0.05")] },
    Example { folder: "gate", pool: 20, profiles: &[("gate", "0.005"), ("retest", "0.01")] },
    Example { folder: "challenge", pool: 100, profiles: &[("challenge", "0.003")] },
    Example { folder: "trio", pool: 20, profiles: &[("sustained", "0.005"), ("spike", "0.02"), ("soak", "0.002")] },
    Example {
        folder: "executors",
        pool: 20,
        profiles: &[("iterations", "0.5"), ("staircase", "0.05"), ("steps", "0.05"), ("visitors", "0.1"), ("controlled", "0.05")],
    },
    Example { folder: "safety", pool: 20, profiles: &[("careful", "0.03"), ("jobs", "0.03")] },
    Example { folder: "flow-control", pool: 20, profiles: &[("visitors", "0.05")] },
    Example { folder: "data-and-templates", pool: 20, profiles: &[("payments", "0.05")] },
    Example { folder: "extraction-and-checks", pool: 20, profiles: &[("account", "0.05")] },
    Example { folder: "auth", pool: 20, profiles: &[("accounts", "0.05")] },
    Example { folder: "http-options", pool: 20, profiles: &[("clients", "0.05"), ("behind-tls", "0.05"), ("unverified", "0.05")] },
    Example { folder: "grpc", pool: 20, profiles: &[("events", "0.05")] },
    Example { folder: "websocket", pool: 20, profiles: &[("chats", "0.05")] },
    Example { folder: "messages", pool: 20, profiles: &[("checkout", "0.05")] },
    Example { folder: "probes", pool: 20, profiles: &[("visits", "0.1")] },
    Example { folder: "setup-teardown", pool: 20, profiles: &[("orders", "0.05")] },
    Example {
        folder: "battery",
        pool: 20,
        profiles: &[("registrations", "0.5"), ("endpoints", "0.02"), ("cache", "0.05"), ("stress", "0.02")],
    },
    Example { folder: "ladder", pool: 20, profiles: &[("users", "0.0015"), ("messages", "0.003"), ("hold", "0.005")] },
];

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples")
}

/// A copy of an example, whose target is `target` instead of the address that its files name.
struct Copy {
    folder: tempfile::TempDir,
    target: demo::Running,
    _front: Front,
}

impl Copy {
    async fn of(example: &Example) -> Self {
        let target = demo::start(demo::Settings { pool: example.pool, ..demo::Settings::default() }).await.unwrap();
        let front = Front::start(target.addr, "wallet.internal").await;
        let folder = temp_dir();
        copy(&examples().join(example.folder), folder.path(), target.addr.port(), &front);
        Self { folder, target, _front: front }
    }

    async fn run(&self, profile: &str, scale: &str) -> (Output, Run) {
        let config = self.folder.path().to_str().unwrap();
        let mut command = plimsoll(&["run", profile, "--config", config, "--time-scale", scale, "--json"]);
        let running = tokio::task::spawn_blocking(move || command.output().unwrap());
        let output = tokio::time::timeout(Duration::from_secs(120), running).await.expect("a run of seconds ends").unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let run = serde_json::from_str(said.trim());
        let run = run.unwrap_or_else(|error| panic!("{profile}: {error}: {said}{}", String::from_utf8_lossy(&output.stderr)));
        (output, run)
    }
}

/// Copies a folder; in its configuration the demo target's port 8080 becomes `port`, and 8443 that of the front, whose certificates take
/// the place of those that belong to nobody.
fn copy(from: &Path, to: &Path, port: u16, front: &Front) {
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy(&path, &target, port, front);
            if path.ends_with("certificates") {
                front.write_for_clients(&target);
            }
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text.replace("127.0.0.1:8443", &format!("127.0.0.1:{}", front.port));
        let text = text.replace("127.0.0.1:8080", &format!("127.0.0.1:{port}")).replace("port: 8080 ", &format!("port: {port} "));
        assert!(!text.contains("port: 8080"), "{} has a port that was not found", path.display());
        std::fs::write(target, text).unwrap();
    }
}

/// What must hold of every run, whatever its verdict: load was sent, nothing vanished, and nobody takes it for the real thing.
fn check(profile: &str, scale: &str, output: &Output, run: &Run) {
    let said = format!("{profile}: {run:#?}\n{}", String::from_utf8_lossy(&output.stderr));
    let expected = match run.verdict {
        Some(Verdict::Pass) => 0,
        Some(Verdict::Invalid | Verdict::NoData) => 98,
        // A guard or `abortOnFail` without a failed threshold would be 108.
        Some(Verdict::Fail) if run.thresholds.iter().any(|threshold| threshold.verdict == Verdict::Fail) => 99,
        Some(Verdict::Fail) if run.ended_by == Some(EndedBy::Guard) => 108,
        Some(Verdict::Fail) => 99,
        None => panic!("no verdict: {said}"),
    };
    assert_eq!(output.status.code(), Some(expected), "{said}");
    assert_eq!((run.profile.as_str(), run.status), (profile, RunStatus::Finished), "{said}");
    let summary = run.summary.as_ref().unwrap_or_else(|| panic!("no figures: {said}"));
    assert!(summary.total.requests > 0, "no requests: {said}");
    assert_eq!(summary.total.requests, summary.steps.iter().map(|step| step.requests).sum::<u64>(), "{said}");
    let misunderstood = summary.total.reasons.keys().find(|reason| reason.class() == "status_4xx");
    assert_eq!(misunderstood, None, "the example asks what the target does not know: {said}");
    for step in summary.steps.iter().chain([&summary.total]) {
        assert_eq!(step.failed, step.reasons.values().sum::<u64>(), "every failure has a reason: {said}");
    }
    for scenario in &summary.scenarios {
        assert!(scenario.counts.started > 0, "`{}` started nothing: {said}", scenario.scenario);
        assert_eq!(scenario.counts.breach(), None, "{said}");
    }
    assert!(summary.probe_errors.is_empty(), "a probe could not be read: {said}");
    assert!(run.digest.ends_with(&format!("-time-scale-{scale}")), "{said}");
    assert!(run.reasons.iter().any(|reason| reason.contains(&format!("time scale {scale}"))), "{said}");
}

/// Runs all profiles of one example, one after the other.
async fn run_all(name: &str) -> BTreeMap<&'static str, Run> {
    let example = EXAMPLES.iter().find(|example| example.folder == name).expect("an example of this name");
    let copy = Copy::of(example).await;
    let mut runs = BTreeMap::new();
    for (profile, scale) in example.profiles {
        let (output, run) = copy.run(profile, scale).await;
        check(profile, scale, &output, &run);
        runs.insert(*profile, run);
    }
    copy.target.stop().await;
    runs
}

#[test]
fn every_example_and_every_profile_of_it_is_run() {
    let folders = std::fs::read_dir(examples()).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let there: BTreeSet<String> = folders.map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect();
    assert_eq!(there, EXAMPLES.iter().map(|example| example.folder.to_owned()).collect(), "add the example to the list of this test");
    for example in EXAMPLES {
        let setup =
            plimsoll::config::load(&examples().join(example.folder), &plimsoll::app::KINDS).unwrap_or_else(|report| panic!("{report}"));
        let run: BTreeSet<&str> = example.profiles.iter().map(|(profile, _)| *profile).collect();
        assert_eq!(setup.profiles.keys().map(String::as_str).collect::<BTreeSet<_>>(), run, "the profiles of {}", example.folder);
        assert!(!setup.schedules.is_empty(), "{} runs on no schedule", example.folder);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quickstart() {
    run_all("quickstart").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gate() {
    run_all("gate").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn challenge() {
    let runs = run_all("challenge").await;
    let scenarios: Vec<&str> = runs["challenge"].summary.iter().flat_map(|s| &s.scenarios).map(|one| one.scenario.as_str()).collect();
    assert_eq!(scenarios, ["sessions", "events"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trio() {
    let runs = run_all("trio").await;
    assert!(runs.values().all(|run| run.target_version.is_some()), "the target tells its version");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn executors() {
    let runs = run_all("executors").await;
    let done: Vec<u64> = runs["iterations"].summary.iter().flat_map(|s| &s.scenarios).map(|one| one.counts.completed).collect();
    assert_eq!(done, [50, 40]);
    let climb = &runs["staircase"].summary.as_ref().unwrap().climbs[0];
    assert!(climb.levels.len() >= 3 || climb.failed.is_some(), "{climb:?}");
    assert!(runs["staircase"].reasons.contains(&climb.sentence()), "{:?}", runs["staircase"].reasons);
    let phases: Vec<&str> = runs["steps"].catalog.scenarios[0].phases.iter().map(|phase| phase.name.as_str()).collect();
    assert_eq!(phases, ["level-5/s", "ramp-10/s", "level-10/s", "ramp-20/s", "level-20/s"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn safety() {
    let runs = run_all("safety").await;
    let phases: Vec<&str> = runs["careful"].catalog.scenarios[0].phases.iter().map(|phase| phase.name.as_str()).collect();
    assert_eq!(phases, ["up", "steady", "down"]);
    // 600 a minute for nine seconds.
    assert_eq!(runs["jobs"].summary.as_ref().unwrap().scenarios[0].counts.scheduled, 90);
}

/// Without the opt-in nothing of it is loaded, whatever the environment is called.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn safety_needs_the_opt_in() {
    let example = EXAMPLES.iter().find(|example| example.folder == "safety").unwrap();
    let copy = Copy::of(example).await;
    let file = copy.folder.path().join("safety.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    for (from, to) in [("environment: production ", "environment: PRD "), ("allow_production: true ", "allow_production: false ")] {
        assert!(text.contains(from), "{from}");
        std::fs::write(&file, std::fs::read_to_string(&file).unwrap().replacen(from, to, 1)).unwrap();
    }
    let mut command = plimsoll(&["run", "careful", "--config", copy.folder.path().to_str().unwrap()]);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(104) && said.contains("production-not-allowed"), "{said}");
    copy.target.stop().await;
}

/// What `controlled` is there for: somebody steers it while it goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn controlled_is_steered() {
    let example = EXAMPLES.iter().find(|example| example.folder == "executors").unwrap();
    let copy = Copy::of(example).await;
    let file = copy.folder.path().join("executors.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let hash = "57f03a923bca2c5f747433c4f4d0cc1a2e65e27f51fca5946f740c376b366d33";
    std::fs::create_dir(copy.folder.path().join("secrets")).unwrap();
    std::fs::write(copy.folder.path().join("secrets/tokens.yaml"), format!("ci: {hash}\n")).unwrap();
    let server = "server: { listen: \"127.0.0.1:0\", tokens_file: secrets/tokens.yaml }";
    std::fs::write(&file, format!("{text}\n{server}\n")).unwrap();
    let daemon = Daemon::start(copy.folder.path(), &file).await;
    let id = start_run(&daemon, "controlled").await;
    let ask = async |arguments: &[&str]| {
        let mut command = plimsoll(arguments);
        command.args(["--server", &format!("http://{}", daemon.address)]).env("PLIMSOLL_TOKEN", "let-me-in-please");
        let output = finish(command).await;
        assert!(output.status.success(), "{arguments:?}: {}", errors(&output));
    };
    let busy = "plimsoll_run_active_vus{profile=\"controlled\"";
    wait_until("five users", LONG, async || metric(&daemon, busy).await.filter(|vus| *vus >= 5.0)).await;
    ask(&["control", &id.0, "scale", "20"]).await;
    wait_until("twenty users", LONG, async || metric(&daemon, busy).await.filter(|vus| *vus >= 20.0)).await;
    ask(&["control", &id.0, "pause"]).await;
    ask(&["control", &id.0, "resume"]).await;
    ask(&["stop", &id.0]).await;
    let run = wait_until("the end of the run", LONG, async || {
        let run: Run = serde_json::from_value(daemon.api(&format!("/runs/{id}")).await["run"].clone()).ok()?;
        (run.status == RunStatus::Finished).then_some(run)
    })
    .await;
    assert_eq!(run.summary.as_ref().unwrap().scenarios[0].vus_max, 20, "{run:#?}");
    let deeds: Vec<Action> = run.controls.iter().map(|entry| entry.action).collect();
    assert_eq!(deeds, [Action::Scale, Action::Pause, Action::Resume, Action::Stop], "{run:#?}");
    copy.target.stop().await;
}

/// The suite runs its four profiles and judges them: nobody had to start them one by one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn battery() {
    let example = EXAMPLES.iter().find(|example| example.folder == "battery").unwrap();
    let copy = Copy::of(example).await;
    let config = copy.folder.path().to_str().unwrap();
    let mut command = plimsoll(&["suite", "battery", "--config", config, "--run", "--time-scale", "0.02", "--json"]);
    let running = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = tokio::time::timeout(Duration::from_secs(300), running).await.expect("runs of seconds end").unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    let tests: BTreeMap<&str, &serde_json::Value> =
        result["results"].as_array().unwrap().iter().map(|test| (test["test"].as_str().unwrap(), test)).collect();
    assert_eq!((tests.len(), result["tests"].as_u64()), (12, Some(12)), "{said}");
    assert!(tests.values().all(|test| test["run"].is_string()), "{said}");
    for passed in ["registrations", "double-load", "cache-gain"] {
        assert_eq!(tests[passed]["verdict"], "pass", "{said}");
    }
    // Six seconds are too few to speak of leaks: that is said, not passed over.
    assert_eq!(tests["memory"]["verdict"], "no_data", "{said}");
    assert!(matches!(output.status.code(), Some(98 | 99)), "{said}");
    // Each run knows who asked for it.
    let run = tests["registrations"]["run"].as_str().unwrap().to_owned();
    let mut show = plimsoll(&["show", &run, "--config", config, "--json"]);
    let shown = tokio::task::spawn_blocking(move || show.output().unwrap()).await.unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("\"by\":\"suite\"") && shown.contains("\"name\":\"battery\""), "{shown}");
    copy.target.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn battery_profile_by_profile() {
    let runs = run_all("battery").await;
    let counts = &runs["registrations"].summary.as_ref().unwrap().scenarios[0].counts;
    assert_eq!((counts.completed, counts.failed), (500, 0), "no address came twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ladder() {
    run_all("ladder").await;
}

/// Examples of what flows can do: the demo target answers all of it, so that every request and every check must do what it is there for.
async fn run_without_failures(name: &str) -> BTreeMap<&'static str, Run> {
    let runs = run_all(name).await;
    for (profile, run) in &runs {
        let summary = run.summary.as_ref().unwrap();
        assert_eq!(summary.total.failed, 0, "{profile}: {:#?}", summary.steps);
        for (index, planned) in run.catalog.steps.iter().enumerate() {
            let scenario = &run.catalog.scenarios[usize::from(planned.scenario)].name;
            let done = summary.steps.iter().any(|step| step.step == planned.name && step.scenario == *scenario && step.requests > 0);
            assert!(done, "{profile}: step {index}, `{}` of `{scenario}`, was never done: {:#?}", planned.name, summary.steps);
        }
        for step in &summary.steps {
            let failed = step.checks.iter().find(|(name, count)| count.failed > 0 && !name.starts_with("duration"));
            assert_eq!(failed, None, "{profile}: {}", step.step);
        }
        assert_eq!(summary.scenarios.iter().map(|scenario| scenario.counts.failed).sum::<u64>(), 0, "{profile}: {:#?}", summary.scenarios);
    }
    runs
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flow_control() {
    run_without_failures("flow-control").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_and_templates() {
    let runs = run_without_failures("data-and-templates").await;
    let summary = runs["payments"].summary.as_ref().unwrap();
    let vouchers = summary.scenarios.iter().find(|scenario| scenario.scenario == "vouchers").unwrap();
    assert_eq!((vouchers.counts.completed, vouchers.counts.dropped), (6, 0), "every voucher once");
    assert_eq!(summary.data_ended.len(), 1, "{:?}", summary.data_ended);
    let told = runs["payments"].reasons.iter().any(|reason| reason.contains("the data `vouchers` of `vouchers` came to their end"));
    assert!(told, "{:?}", runs["payments"].reasons);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn extraction_and_checks() {
    run_without_failures("extraction-and-checks").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn auth() {
    run_without_failures("auth").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_options() {
    let runs = run_without_failures("http-options").await;
    let steps = &runs["clients"].summary.as_ref().unwrap().steps;
    let of = |name: &str| steps.iter().find(|step| step.step == name).unwrap();
    // Some may have been cut off at the end.
    assert!(of("followed").requests * 2 >= of("moved").requests * 3, "a redirect that is followed is a request of its own: {steps:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpc() {
    run_without_failures("grpc").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn websocket() {
    let runs = run_without_failures("websocket").await;
    let steps: BTreeSet<&str> = runs["chats"].summary.iter().flat_map(|summary| &summary.steps).map(|step| step.step.as_str()).collect();
    assert!(steps.contains("leave") && steps.contains("kicked"), "{steps:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes() {
    let runs = run_without_failures("probes").await;
    let read: BTreeSet<&str> = runs["visits"].summary.iter().flat_map(|s| &s.series).map(|series| series.probe.as_str()).collect();
    assert_eq!(read, BTreeSet::from(["faults", "load", "page", "service"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn setup_teardown() {
    let runs = run_without_failures("setup-teardown").await;
    let steps: Vec<&str> = runs["orders"].summary.iter().flat_map(|summary| &summary.steps).map(|step| step.step.as_str()).collect();
    assert_eq!(steps, ["account", "order"], "setup and teardown are counted apart");
}

/// The trading API as the team found it: every write answered 500, every read 200. The figures are those of the steps and rates, and
/// the three rates stay apart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gate_names_the_failing_steps() {
    let example = EXAMPLES.iter().find(|example| example.folder == "gate").unwrap();
    let copy = Copy::of(example).await;
    let broken = Faults { errors: vec![ErrorFault { prefix: "/api/bot".into(), status: 500, share: 1.0 }], ..Faults::default() };
    let body = json!({ "errors": broken.errors }).to_string();
    assert_eq!(http::ask(copy.target.addr, "POST", "/faults", "content-type: application/json\r\n", &body).await.status, 200);
    let (output, run) = copy.run("gate", "0.003").await;
    check("gate", "0.003", &output, &run);
    assert_eq!((output.status.code(), run.verdict), (Some(99), Some(Verdict::Fail)));
    let summary = run.summary.as_ref().unwrap();
    for step in &summary.steps {
        if step.step == "performance" {
            assert_eq!(step.failed, 0, "{step:#?}");
        } else {
            let all: BTreeMap<String, u64> = step.reasons.iter().map(|(reason, count)| (reason.to_string(), *count)).collect();
            assert_eq!(all, BTreeMap::from([("status_500".to_owned(), step.requests)]), "{step:#?}");
        }
    }
    let total = &summary.total;
    let requests = total.failed as f64 / total.requests as f64;
    let (failed, all) =
        total.checks.values().fold((0, 0), |(failed, all), check| (failed + check.failed, all + check.failed + check.passed));
    let scenario = &summary.scenarios[0];
    let iterations = scenario.with_failed_check as f64 / (scenario.counts.completed + scenario.counts.failed) as f64;
    assert!(requests > 0.1 && requests < 0.3, "one request in five fails: {requests}");
    let checks = failed as f64 / all as f64;
    assert!(checks > 0.0 && checks < iterations, "checks {checks}, iterations {iterations}");
    let gates: Vec<(&str, Verdict)> = run.thresholds.iter().map(|gate| (gate.text.as_str(), gate.verdict)).collect();
    assert!(gates.contains(&("http_req_failed: rate < 0.1%", Verdict::Fail)), "{gates:?}");
    let gate = run.thresholds.iter().find(|gate| gate.text == "http_req_failed: rate < 0.1%").unwrap();
    assert!(gate.reason.contains("asked for < 0.1 %") && gate.actual.is_some(), "{gate:?}");
    copy.target.stop().await;
}
