//! What is decided is told: the daemon is killed with `-9` at every step of a message's way, while the receiver is down, slow, refuses,
//! answers half, and the database is away. At the end every fire and every resolve has arrived at least once, in order, and what came
//! twice has the same id. `scripts/prove-delivery` does it with 200 incidents and prints what came of it.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a step that fails, fails the test; the table is for people")]

mod again;
mod rivals;
mod sink;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use plimsoll::engine::fail_point::STEPS;
use plimsoll::store::Store;
use sink::{Arrived, Pools, Sink, Trouble};

use crate::servers::bed::{Bed, LONG};
use crate::servers::daemon::{Daemon, plimsoll};
use crate::servers::wait_until;

/// Longer than hundreds of pools take to be stored for the first time on a machine that is busy with other things.
const PATIENT: Duration = LONG.saturating_mul(5);

#[expect(clippy::disallowed_methods, reason = "the number of incidents is chosen by scripts/prove-delivery")]
fn incidents() -> Option<usize> {
    std::env::var("PLIMSOLL_INCIDENTS").ok().and_then(|text| text.parse().ok())
}

/// One way through everything, of so many pools that fill and empty.
struct Proof {
    bed: Bed,
    sink: Sink,
    pools: Pools,
    full: Arc<AtomicBool>,
    kills: BTreeMap<String, u32>,
}

impl Proof {
    async fn begin(count: usize) -> Self {
        Self::routed(count, "").await
    }

    /// With something more under `alerts`.
    async fn routed(count: usize, more: &str) -> Self {
        let full = Arc::new(AtomicBool::new(true));
        let (bed, sink, pools) = (Bed::new().await, Sink::start().await, Pools::start(count, full.clone()).await);
        let text = format!(
            r#"
storage: {{ url: "{}" }}
server: {{ listen: "127.0.0.1:0", tokens_file: tokens.yaml }}
targets:
  shop:
    base_url: {}
    idle_interval: 1s
    probes:
      app: {{ type: prometheus, url: "{}", pools: [{{ preset: go-sql }}] }}
alerts:
  channels: {{ hook: {{ type: webhook, url: "{}", timeout: 3s }} }}
  defaults: {{ probe-down: off, pool-nearly-full: off, storage-failing: off, channel-failing: off }}
  rules: {{ full: {{ when: "pool_utilization: max > 80%" }} }}
{more}
"#,
            bed.storage,
            bed.target_url(),
            pools.url(),
            sink.url(),
        );
        std::fs::write(bed.config(), text).unwrap();
        Self { bed, sink, pools, full, kills: BTreeMap::new() }
    }

    /// Lets the daemon run into the step, as often as it takes until it dies there.
    async fn die_at(&mut self, step: &str, count: u32) {
        let mut command = plimsoll(&["serve", "--config", self.bed.config().to_str().unwrap()]);
        command.env("PLIMSOLL_FAIL_POINT", format!("{step}:{count}"));
        let mut child = crate::servers::Child::spawn(&format!("dies-{step}-{}", self.kills.len()), self.bed.folder.path(), &mut command);
        wait_until(&format!("the end at {step}"), PATIENT, async || child.status()).await;
        let status = child.status().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{step}: {status}\n{}", child.output());
        *self.kills.entry(step.to_owned()).or_default() += 1;
    }

    /// Every pool has an incident of its own that is open, or none has.
    async fn judged(&self, daemon: &Daemon, open: usize) {
        wait_until(&format!("{open} open incidents"), PATIENT, async || {
            let alerts = daemon.try_get("/api/v1/alerts").await?;
            let alerts = alerts.json();
            let found =
                alerts["alerts"].as_array()?.iter().filter(|alert| alert["rule"] == "full" && alert["incident"].is_string()).count();
            (found == open).then_some(())
        })
        .await;
    }

    /// Everything that was decided is told.
    async fn told(&self, store: &dyn Store) {
        wait_until("an empty outbox", PATIENT, async || (store.outbox_stats().await.ok()?.waiting == 0).then_some(())).await;
    }
}

/// Holds the lock of the database for longer than anybody waits for it.
async fn without_database(bed: &Bed) {
    use sqlx::{ConnectOptions, Connection, Executor};
    let file = bed.folder.path().join("plimsoll.db");
    let mut connection =
        sqlx::sqlite::SqliteConnectOptions::new().filename(file).busy_timeout(Duration::from_secs(30)).connect().await.unwrap();
    connection.execute("BEGIN EXCLUSIVE").await.unwrap();
    tokio::time::sleep(Duration::from_secs(8)).await;
    connection.execute("ROLLBACK").await.unwrap();
    connection.close().await.unwrap();
}

/// What arrived of each incident: kinds in the order in which each message came first.
fn by_incident(arrived: &[Arrived]) -> BTreeMap<&str, Vec<&Arrived>> {
    let mut seen = BTreeSet::new();
    let mut incidents: BTreeMap<&str, Vec<&Arrived>> = BTreeMap::new();
    for one in arrived.iter().filter(|one| seen.insert(one.id.as_str())) {
        incidents.entry(&one.incident).or_default().push(one);
    }
    incidents
}

/// Fails unless every fire has its resolve, in order, and duplicates are the same message.
fn assert_complete(arrived: &[Arrived], count: usize) {
    let mut bodies: BTreeMap<&str, &Arrived> = BTreeMap::new();
    for one in arrived {
        let first = bodies.entry(&one.id).or_insert(one);
        assert_eq!(
            (&first.incident, &first.kind, &first.body),
            (&one.incident, &one.kind, &one.body),
            "{} came twice, differently",
            one.id
        );
    }
    let incidents = by_incident(arrived);
    assert!(incidents.len() >= count, "{} of {count} incidents were told", incidents.len());
    for (incident, messages) in &incidents {
        let kinds: Vec<&str> = messages.iter().map(|one| one.kind.as_str()).collect();
        let fine = kinds == ["fired_and_resolved"] || kinds == ["fired", "resolved"] || kinds == ["fired", "fired_and_resolved"];
        assert!(fine, "{incident}: {kinds:?}");
    }
}

fn print_table(proof: &Proof, arrived: &[Arrived], count: usize) {
    let incidents = by_incident(arrived);
    let distinct: BTreeSet<&str> = arrived.iter().map(|one| one.id.as_str()).collect();
    let resolved = incidents.values().filter(|messages| messages.last().is_some_and(|one| one.kind != "fired")).count();
    println!("\nPlimsoll, {count} incidents");
    println!("  the database locked for    8 s, once");
    for (step, kills) in &proof.kills {
        println!("  killed with -9 at {step:<14} {kills}");
    }
    for (trouble, times) in proof.sink.troubles() {
        println!("  receiver: {trouble:<22} {times}");
    }
    println!("  incidents told          {} of {count}", incidents.len());
    println!("  resolves that arrived   {resolved} of {}", incidents.len());
    println!(
        "  messages                {} distinct, {} arrivals, {} of them duplicates with the same id",
        distinct.len(),
        arrived.len(),
        arrived.len() - distinct.len()
    );
    println!("  lost                    {}", incidents.len() - resolved);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fire_and_every_resolve_arrives_whatever_dies_on_the_way() {
    let count = incidents().unwrap_or(24);
    let mut proof = Proof::begin(count).await;
    let store = proof.bed.store().await;
    for full in [true, false] {
        proof.full.store(full, Ordering::SeqCst);
        for step in STEPS {
            // All pools fill in one decision. In the long form each step is met twice, early and late.
            let meetings: &[u32] = if step.ends_with("commit") { &[1] } else { &[2, 9][..if incidents().is_some() { 2 } else { 1 }] };
            for count in meetings {
                proof.die_at(step, *count).await;
            }
        }
        proof.sink.expect(&Trouble::ALL);
        let daemon = proof.bed.serve().await;
        if full {
            proof.judged(&daemon, count).await;
        } else {
            without_database(&proof.bed).await;
            proof.judged(&daemon, 0).await;
        }
        proof.told(&*store).await;
        daemon.kill().await;
    }
    // Both before anybody can be reached: one message tells of it.
    proof.full.store(true, Ordering::SeqCst);
    proof.sink.down(true);
    let daemon = proof.bed.serve().await;
    proof.judged(&daemon, count).await;
    wait_until("attempts in vain", LONG, async || (proof.sink.refused() > 0).then_some(())).await;
    proof.full.store(false, Ordering::SeqCst);
    proof.judged(&daemon, 0).await;
    proof.sink.down(false);
    proof.told(&*store).await;
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code().await, Some(0));

    let arrived = proof.sink.arrived();
    if incidents().is_some() {
        print_table(&proof, &arrived, 2 * count);
        rivals::alertmanager(count).await;
    }
    assert_complete(&arrived, 2 * count);
    assert!(arrived.iter().any(|one| one.kind == "fired_and_resolved"), "what was over before it could be told is one message");
    drop(proof.pools);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_was_over_before_anybody_could_be_told_is_one_message() {
    let count = 5;
    let proof = Proof::routed(count, "  routes: [{ send: [hook], group_by: [target], group_wait: 1s, group_interval: 10s }]").await;
    let store = proof.bed.store().await;
    proof.sink.down(true);
    let daemon = proof.bed.serve().await;
    proof.judged(&daemon, count).await;
    wait_until("attempts in vain", LONG, async || (proof.sink.refused() > 0).then_some(())).await;
    proof.full.store(false, Ordering::SeqCst);
    proof.judged(&daemon, 0).await;
    let resolve = wait_until("the end of the group", LONG, async || {
        let messages = store.messages(None, 100).await.ok()?;
        messages.into_iter().find(|one| one.message.kind == plimsoll::model::alerting::MessageKind::Resolved)
    })
    .await;
    proof.sink.down(false);
    proof.told(&*store).await;
    let arrived = proof.sink.arrived();
    let first = &arrived[0];
    assert!(arrived.iter().all(|one| (&one.id, &one.body) == (&first.id, &first.body)), "{arrived:#?}");
    assert_eq!((first.id.as_str(), first.kind.as_str()), (resolve.id.as_str(), "fired_and_resolved"));
    let alerts = first.body["alerts"].as_array().unwrap();
    assert_eq!(alerts.len(), count);
    assert!(alerts.iter().all(|alert| alert["status"] == "resolved"), "{alerts:#?}");
    let said = first.body["plimsoll"]["headline"].as_str().unwrap();
    assert!(said.contains("while this channel could not be reached: 5 alerts"), "{said}");
}
