//! The store fails in mid-run, or cannot be opened: a server that stops, a file that is locked, a disk that is full.

use std::process::Command;

use plimsoll::model::run::{EndedBy, Run, RunId, RunStatus, Verdict};
use plimsoll::store::{self, Store};
use sqlx::{AssertSqlSafe, Connection, Executor, SqliteConnection};

use crate::servers::bed::{
    Bed, LONG, assert_nothing_is_lost, errors, finish, metric, profile, run_that_is, run_with_seconds, start_run, with_token,
};
use crate::servers::daemon::{Daemon, plimsoll};
use crate::servers::postgres::Postgres;
use crate::servers::{free_port, wait_until};

const REQUESTS: &str = "plimsoll_requests_total{";

/// Waits until the daemon says that it cannot store, and shows that the load and `/metrics` go on all the same.
async fn assert_goes_on_without_store(daemon: &Daemon) {
    let ready = wait_until("the daemon to say that it cannot store", LONG, async || {
        daemon.try_get("/-/ready").await.filter(|ready| ready.body.contains("[-] storage"))
    })
    .await;
    assert_eq!(ready.status, 503, "{ready:?}");
    assert!(!ready.body.contains(Postgres::PASSWORD), "{ready:?}");
    wait_until("the error to be counted", LONG, async || {
        metric(daemon, "plimsoll_storage_errors_total{operation=\"append\"}").await.filter(|count| *count > 0.0)
    })
    .await;
    let before = metric(daemon, REQUESTS).await.unwrap();
    wait_until("the load to go on", LONG, async || metric(daemon, REQUESTS).await.filter(|count| *count > before + 20.0)).await;
}

/// The store is back: the run ends with everything that happened meanwhile.
async fn assert_recovers(daemon: Daemon, store: &dyn Store, run: &Run) {
    let ended = run_that_is(store, RunStatus::Finished).await;
    assert_eq!((&ended.id, ended.verdict), (&run.id, Some(Verdict::Pass)), "{:?}", ended.reasons);
    assert_nothing_is_lost(store, &run.id).await;
    wait_until("the daemon to be ready again", LONG, async || daemon.try_get("/-/ready").await.filter(|ready| ready.status == 200)).await;
    assert_eq!(metric(&daemon, "plimsoll_intervals_lost_total").await, Some(0.0));
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_stops_in_mid_run_and_nothing_is_lost() {
    let cluster = Postgres::private().await;
    let mut bed = Bed::new().await;
    bed.storage = cluster.database().await;
    bed.configure(&format!("profiles:{}", profile("patient", "shop", "45s")));
    let daemon = bed.serve().await;
    let store = bed.store().await;
    start_run(&daemon, "patient").await;
    let run = run_with_seconds(&*store, 2).await;
    cluster.stop();
    assert_goes_on_without_store(&daemon).await;
    cluster.start().await;
    assert_recovers(daemon, &*store, &run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_cannot_be_stored_is_not_started_and_the_reason_is_kept() {
    let cluster = Postgres::private().await;
    let mut bed = Bed::new().await;
    bed.storage = cluster.database().await;
    bed.configure(&format!(
        "profiles:{}\nschedules: {{ often: {{ profile: short, cron: \"*/2 * * * * *\", timezone: UTC }} }}",
        profile("short", "shop", "1s")
    ));
    let daemon = bed.serve().await;
    let store = bed.store().await;
    run_that_is(&*store, RunStatus::Finished).await;
    cluster.stop();
    wait_until("a refused run", LONG, async || {
        metric(&daemon, "plimsoll_schedule_ticks_total{outcome=\"refused\",schedule=\"often\"}").await.filter(|count| *count > 0.0)
    })
    .await;
    cluster.start().await;
    let refused = wait_until("the record of the refusal", LONG, async || {
        let ticks = store.ticks(Some("often"), 1_000).await.ok()?;
        ticks.into_iter().find(|tick| tick.outcome.as_str() == "refused")
    })
    .await;
    assert!(refused.reason.starts_with("the run could not be stored, so nothing was loaded") && refused.run.is_none(), "{refused:?}");
    assert!(!refused.reason.contains(Postgres::PASSWORD));
    let page = daemon.try_get("/").await.unwrap().body;
    assert!(page.contains("Instants that did not run") && page.contains("so nothing was loaded"), "{page}");
    assert_eq!(daemon.api("/schedules").await["lost_ticks"], 0, "each has its record");
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code().await, Some(0));
}

/// What is told by the API is in the database when it is answered, and what cannot be there is refused.
#[tokio::test(flavor = "multi_thread")]
async fn deploys_and_baselines_are_stored_before_they_are_acknowledged() {
    let cluster = Postgres::private().await;
    let mut bed = Bed::new().await;
    bed.storage = cluster.database().await;
    bed.configure(&format!("profiles:{}", profile("short", "shop", "1s")));
    let daemon = bed.serve().await;
    let store = bed.store().await;
    let id = start_run(&daemon, "short").await;
    run_that_is(&*store, RunStatus::Finished).await;
    let (deploys, baseline) = ("/api/v1/targets/shop/deploys", "/api/v1/profiles/short/baseline");
    let run = format!("{{\"run\": \"{id}\"}}");
    for (version, count) in [("1.5.0", 1), ("1.5.1", 2)] {
        let answer = with_token(&daemon, "POST", deploys, &format!("{{\"version\": \"{version}\"}}")).await;
        assert_eq!((answer.status, &answer.json()["version"]), (201, &version.into()), "{answer:?}");
        let stored = store.deploys(Some("shop"), 0).await.unwrap();
        assert_eq!((stored.len(), stored[0].version.as_str()), (count, version), "it is there at once");
    }
    assert_eq!(with_token(&daemon, "PUT", baseline, &run).await.status, 200);
    assert_eq!(store.baseline("short").await.unwrap().unwrap().run, id);
    assert_eq!(with_token(&daemon, "DELETE", baseline, "").await.status, 200);
    assert_eq!(store.baseline("short").await.unwrap(), None);
    assert_eq!(with_token(&daemon, "POST", "/api/v1/targets/nowhere/deploys", "{\"version\": \"1\"}").await.status, 404);

    cluster.stop();
    for (method, path, body) in [("POST", deploys, "{\"version\": \"1.6.0\"}"), ("DELETE", baseline, "")] {
        let answer = with_token(&daemon, method, path, body).await;
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (503, &"storage_unavailable".into()), "{answer:?}");
        assert!(answer.body.contains("nothing was stored") || answer.body.contains("did not answer"), "{answer:?}");
        assert!(!answer.body.contains(Postgres::PASSWORD), "{answer:?}");
    }
    cluster.start().await;
    wait_until("the deploy to be taken", LONG, async || {
        let answer = with_token(&daemon, "POST", deploys, "{\"version\": \"1.7.0\"}").await;
        (answer.status == 201).then_some(())
    })
    .await;
    let versions: Vec<String> = store.deploys(Some("shop"), 0).await.unwrap().into_iter().map(|deploy| deploy.version).collect();
    assert_eq!(versions, ["1.7.0", "1.5.1", "1.5.0"], "what was refused is not written later");
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code().await, Some(0));
}

/// Everything is stopped and held while the database is away, and the daemon is killed at once: the next one knows it.
#[tokio::test(flavor = "multi_thread")]
async fn a_standstill_that_was_acknowledged_survives_a_kill() {
    let cluster = Postgres::private().await;
    let mut bed = Bed::new().await;
    bed.storage = cluster.database().await;
    bed.configure(&format!("profiles:{}", profile("short", "shop", "1s")));
    let daemon = bed.serve().await;
    cluster.stop();
    let answer = with_token(&daemon, "POST", "/api/v1/stop", "{\"hold\": true}").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    daemon.kill().await;
    cluster.start().await;
    let daemon = bed.serve().await;
    let refused = with_token(&daemon, "POST", "/api/v1/runs", "{\"profile\": \"short\"}").await;
    assert_eq!(refused.status, 409, "{refused:?}");
    assert!(bed.store().await.standstill().await.unwrap().is_some());
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_somebody_else_locks_loses_nothing() {
    let bed = Bed::new().await;
    bed.configure(&format!("profiles:{}", profile("patient", "shop", "45s")));
    let daemon = bed.serve().await;
    let store = bed.store().await;
    start_run(&daemon, "patient").await;
    let run = run_with_seconds(&*store, 2).await;
    let mut other = SqliteConnection::connect(&bed.storage).await.unwrap();
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    assert_goes_on_without_store(&daemon).await;
    other.execute("ROLLBACK").await.unwrap();
    assert_recovers(daemon, &*store, &run).await;
}

/// The daemon may write files of at most `blocks` (of 512 bytes) until [`unlimited`] is called for it.
fn with_limited_files(config: &str, blocks: u64) -> Command {
    let mut command = Command::new("sh");
    // A write beyond the limit is an error, not the end of the process.
    let script = format!("trap '' XFSZ; ulimit -S -f {blocks}; exec \"$0\" \"$@\"");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_plimsoll"), "serve", "--config", config]);
    command
}

fn unlimited(id: u32) {
    let done = Command::new("prlimit").args(["--pid", &id.to_string(), "--fsize=unlimited:unlimited"]).status();
    assert!(done.is_ok_and(|status| status.success()), "`prlimit` (package util-linux) is needed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_takes_no_more_stops_nothing_and_loses_nothing_once_there_is_room() {
    let bed = Bed::new().await;
    bed.configure(&format!("profiles:{}", profile("patient", "shop", "40s")));
    store::open(&bed.storage).await.unwrap().close().await;
    let config = bed.config();
    let daemon = Daemon::spawn(bed.folder.path(), &mut with_limited_files(config.to_str().unwrap(), 640)).await;
    let store = bed.store().await;
    start_run(&daemon, "patient").await;
    let run = run_with_seconds(&*store, 1).await;
    assert_goes_on_without_store(&daemon).await;
    assert!(daemon.output().contains("the store does not take data; it is kept until it does"), "{}", daemon.output());
    unlimited(daemon.id());
    assert_recovers(daemon, &*store, &run).await;
}

/// What makes a process see mounts of its own. A small file system cannot be had without: where the kernel lets nobody here mount one, the
/// test fails and says what it needs.
fn apart() -> &'static [&'static str] {
    let mut why = String::new();
    for way in [["-m"].as_slice(), &["-Urm"]] {
        match Command::new("unshare").args(way).args(["mount", "-t", "tmpfs", "tmpfs", "/mnt"]).output() {
            Ok(output) if output.status.success() => return way,
            Ok(output) => why = errors(&output),
            Err(error) => why = error.to_string(),
        }
    }
    panic!(
        "a full disk is tested on a small tmpfs of the test's own: run it as root, or where `unshare -Urm` (package util-linux) may mount: {why}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_file_system_stops_nothing_and_loses_nothing_once_there_is_room() {
    let way = apart();
    let mut bed = Bed::new().await;
    let small = bed.folder.path().join("small");
    std::fs::create_dir(&small).unwrap();
    bed.storage = format!("sqlite://{}/plimsoll.db", small.display());
    let config = bed.configure(&format!("profiles:{}", profile("patient", "shop", "40s")));
    let mut command = Command::new("unshare");
    let script = "mount -t tmpfs -o size=16m tmpfs \"$0\" && exec \"$@\"";
    command.args(way).args(["sh", "-c", script, small.to_str().unwrap(), env!("CARGO_BIN_EXE_plimsoll"), "serve", "--config"]).arg(config);
    let daemon = Daemon::spawn(bed.folder.path(), &mut command).await;
    let id = start_run(&daemon, "patient").await;
    wait_until("a stored second", LONG, async || {
        let seconds = daemon.try_get("/api/v1/runs/last/intervals").await?.json();
        seconds["series"]["requests"].as_array()?.iter().find(|count| count.as_u64().is_some_and(|count| count > 0)).cloned()
    })
    .await;
    // The daemon's file system, seen from here.
    let filler = format!("/proc/{}/root{}/filler", daemon.id(), small.display());
    let mut file = std::fs::File::create(&filler).unwrap();
    for size in [1 << 16, 1 << 12, 1] {
        while std::io::Write::write_all(&mut file, &vec![b'x'; size]).is_ok() {}
    }
    assert_goes_on_without_store(&daemon).await;
    assert!(daemon.output().contains("the store does not take data; it is kept until it does"), "{}", daemon.output());
    drop(file);
    std::fs::remove_file(&filler).unwrap();
    let ended = wait_until("the end of the run to be stored", LONG, async || {
        let run = daemon.try_get("/api/v1/runs/last").await?.json();
        (run["run"]["status"] == "finished").then_some(run)
    })
    .await;
    assert_eq!(ended["run"]["verdict"], "pass", "{ended}");
    assert_eq!(metric(&daemon, "plimsoll_intervals_lost_total").await, Some(0.0));
    let copy = bed.folder.path().join("copy.db");
    let mut inside = Command::new("nsenter");
    let entered: &[&str] = if way.contains(&"-Urm") { &["-U", "-m", "--preserve-credentials"] } else { &["-m"] };
    inside.args(["-t", &daemon.id().to_string()]).args(entered).args([env!("CARGO_BIN_EXE_plimsoll"), "db", "backup", "--config"]);
    let output = finish({
        inside.arg(bed.config()).arg("--to").arg(&copy);
        inside
    })
    .await;
    assert!(output.status.success(), "{}", errors(&output));
    let store = store::open(&format!("sqlite://{}", copy.display())).await.unwrap();
    assert_nothing_is_lost(&*store, &id).await;
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code().await, Some(0));
}

/// Stops a daemon whose database takes no more; returns the run, the store and what the daemon said.
async fn stopped_while_full(bed: &Bed) -> (RunId, std::sync::Arc<dyn Store>, String) {
    store::open(&bed.storage).await.unwrap().close().await;
    let config = bed.config();
    let daemon = Daemon::spawn(bed.folder.path(), &mut with_limited_files(config.to_str().unwrap(), 640)).await;
    let store = bed.store().await;
    let id = start_run(&daemon, "endless").await;
    assert_goes_on_without_store(&daemon).await;
    let log = bed.folder.path().join("daemon.log");
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code().await, Some(0));
    assert_eq!(store.run(&id.0).await.unwrap().unwrap().status, RunStatus::Running);
    (id, store, std::fs::read_to_string(log).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_while_the_database_is_full_loses_nothing_where_there_is_a_spool() {
    let bed = Bed::new().await;
    bed.configure(&format!("profiles:{}", profile("endless", "shop", "10m")));
    let (id, store, said) = stopped_while_full(&bed).await;
    assert!(said.contains("the next start writes the rest"), "{said}");
    let daemon = bed.serve().await;
    let run = store.run(&id.0).await.unwrap().unwrap();
    assert_eq!((run.status, run.ended_by), (RunStatus::Finished, Some(EndedBy::Signal)));
    assert_nothing_is_lost(&*store, &id).await;
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_while_nothing_can_be_written_says_what_was_not_stored() {
    let bed = Bed::new().await;
    bed.configure(&format!("profiles:{}", profile("endless", "shop", "10m")));
    let text = std::fs::read_to_string(bed.config()).unwrap();
    // A file where the folder of the spool would be.
    std::fs::write(bed.config(), text.replace("storage: { ", "storage: { spool: tokens.yaml, ")).unwrap();
    let (id, store, said) = stopped_while_full(&bed).await;
    assert!(said.contains("the store did not take everything before the end") && said.contains(&id.0), "{said}");
    assert!(said.contains("cannot all be kept in the spool"), "{said}");
    // The next start finds the truth: it never came to its end.
    let daemon = bed.serve().await;
    assert_eq!(store.run(&id.0).await.unwrap().unwrap().status, RunStatus::Interrupted);
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code().await, Some(0));
}

/// What `serve` says about a store that it cannot open, and its exit code.
async fn refusal(bed: &Bed, storage: &str, hidden: &[(&str, &str)]) -> String {
    let text = std::fs::read_to_string(bed.config()).unwrap();
    let config = bed.folder.path().join("broken.yaml");
    std::fs::write(&config, text.replace(&bed.storage, storage)).unwrap();
    let output = finish(plimsoll(&["serve", "--config", config.to_str().unwrap()])).await;
    let mut said = format!("{:?} {}", output.status.code(), errors(&output));
    for (secret, shown) in hidden {
        said = said.replace(secret, shown);
    }
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_cannot_be_opened_is_said_at_the_start() {
    let bed = Bed::new().await;
    bed.configure(&format!("profiles:{}", profile("short", "shop", "1s")));
    let folder = bed.folder.path().display().to_string();
    let nobody = free_port().to_string();
    let hidden = [(folder.as_str(), "DIR"), (nobody.as_str(), "PORT")];
    let mut report = String::new();
    let down = format!("postgres://plimsoll:s3cret@127.0.0.1:{nobody}/plimsoll");
    report += &format!("database down\n  {}\n", refusal(&bed, &down, &hidden).await);
    report += &format!("read-only folder\n  {}\n", refusal(&bed, "sqlite:///proc/self/plimsoll.db", &hidden).await);
    std::fs::write(bed.folder.path().join("file"), "").unwrap();
    report += &format!("below a file\n  {}\n", refusal(&bed, &format!("sqlite://{folder}/file/plimsoll.db"), &hidden).await);
    store::open(&bed.storage).await.unwrap().close().await;
    let mut newer = SqliteConnection::connect(&bed.storage).await.unwrap();
    let version =
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'later', 1, x'00', 0)";
    newer.execute(AssertSqlSafe(version.to_owned())).await.unwrap();
    newer.close().await.unwrap();
    report += &format!("newer than the program\n  {}\n", refusal(&bed, &bed.storage, &hidden).await);
    assert!(!report.contains("s3cret"), "{report}");
    insta::with_settings!({ filters => [(r"up to \d+:", "up to N:")] }, {
        insta::assert_snapshot!("stores_that_cannot_be_opened", report);
    });
}
