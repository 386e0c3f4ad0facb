//! The same experiment with Alertmanager, the real one: killed with `-9` before its fires are out, while its alerts clear, and not at
//! all; and with a receiver that fails. Its client goes on telling it what fires and what is over, as Prometheus does.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::sink::{Sink, Trouble};
use crate::servers::bed::LONG;
use crate::servers::http::try_ask;
use crate::servers::{Child, free_port, program, temp_dir, wait_for_port, wait_until};

/// How often its client tells it, as often as it is asked to: Prometheus does so every minute, its `group_interval` is 5 minutes by
/// default; here both are a twelfth of that and less.
const TOLD_EVERY: Duration = Duration::from_secs(1);
/// How long the client goes on after the last thing happened: three times its `group_interval`.
const TOLD_FOR: u32 = 15;

/// When it is killed, counted from the moment in which its client told it.
#[derive(Clone, Copy)]
enum Killed {
    Never,
    WhileFiring(u64),
    WhileClearing(u64),
}

impl Killed {
    const ALL: [Self; 8] = [
        Self::Never,
        Self::WhileFiring(100),
        Self::WhileFiring(500),
        Self::WhileClearing(0),
        Self::WhileClearing(500),
        Self::WhileClearing(1500),
        Self::WhileClearing(3000),
        Self::WhileClearing(12_000),
    ];

    fn name(self) -> String {
        match self {
            Self::Never => "not killed".into(),
            Self::WhileFiring(after) => format!("killed {after:>5} ms after they fired"),
            Self::WhileClearing(after) => format!("killed {after:>5} ms after they cleared"),
        }
    }
}

/// Runs it, prints its rows of the table.
pub(super) async fn alertmanager(count: usize) {
    println!("\nAlertmanager, {count} incidents in each row, killed with -9 once");
    for killed in Killed::ALL {
        let rival = Rival::start(count).await;
        print_row(&killed.name(), rival.lives(killed).await);
    }
    let rival = Rival::start(count).await;
    rival.sink.expect(&Trouble::ALL);
    print_row("not killed, the receiver fails six times", rival.lives(Killed::Never).await);
}

fn print_row(name: &str, (fired, resolved): (usize, usize)) {
    println!("  {name:<42} {fired:>4} fires, {resolved:>4} resolves arrived, {:>4} lost", fired - resolved);
}

/// An Alertmanager and what it tells of.
pub(super) struct Rival {
    folder: TempDir,
    sink: Sink,
    config: PathBuf,
    /// Where it listens.
    pub(super) address: SocketAddr,
    count: usize,
}

impl Rival {
    pub(super) async fn start(count: usize) -> Self {
        let (folder, sink) = (temp_dir(), Sink::start().await);
        let config = folder.path().join("alertmanager.yml");
        let text = format!(
            "route: {{ receiver: hook, group_by: ['...'], group_wait: 1s, group_interval: 5s, repeat_interval: 1h }}\nreceivers: [{{ name: hook, webhook_configs: [{{ url: '{}' }}] }}]\n",
            sink.url()
        );
        std::fs::write(&config, text).expect("a configuration");
        Self { folder, sink, config, address: SocketAddr::from(([127, 0, 0, 1], free_port())), count }
    }

    pub(super) async fn process(&self, name: &str) -> Child {
        let mut command = Command::new(program("prometheus-alertmanager"));
        command
            .arg(format!("--config.file={}", self.config.display()))
            .arg(format!("--storage.path={}", self.folder.path().join("data").display()))
            .arg(format!("--web.listen-address={}", self.address))
            .arg("--cluster.listen-address=");
        let child = Child::spawn(name, self.folder.path(), &mut command);
        wait_for_port("Alertmanager", self.address.port()).await;
        child
    }

    /// Tells it of everything; that nobody listens is what a client has to live with.
    async fn tell(&self, over: bool) {
        let end = if over { "2026-01-01T00:00:01Z" } else { "2099-01-01T00:00:00Z" };
        let alert = |number: usize| json!({ "labels": { "alertname": "full", "pool": format!("p{number:03}") }, "startsAt": "2026-01-01T00:00:00Z", "endsAt": end });
        let body = Json::from((0..self.count).map(alert).collect::<Vec<_>>()).to_string();
        let _ = try_ask(self.address, "POST", "/api/v2/alerts", "Content-Type: application/json\r\n", &body).await;
    }

    fn seen(&self, kind: &str) -> usize {
        let arrived = self.sink.arrived();
        arrived.iter().filter(|one| one.kind == kind).map(|one| one.incident.clone()).collect::<BTreeSet<_>>().len()
    }

    /// Fires and resolves that arrived.
    async fn lives(&self, killed: Killed) -> (usize, usize) {
        let mut child = self.process("alertmanager-1").await;
        self.tell(false).await;
        if let Killed::WhileFiring(after) = killed {
            child = self.again(child, after).await;
        }
        wait_until("its fires", LONG * 2, async || {
            tokio::time::sleep(TOLD_EVERY).await;
            self.tell(false).await;
            (self.seen("firing") == self.count).then_some(())
        })
        .await;
        self.tell(true).await;
        if let Killed::WhileClearing(after) = killed {
            child = self.again(child, after).await;
        }
        for _ in 0..TOLD_FOR {
            self.tell(true).await;
            tokio::time::sleep(TOLD_EVERY).await;
        }
        drop(child);
        (self.seen("firing"), self.seen("resolved"))
    }

    /// Kills it after so many milliseconds, and starts it again on the same data.
    async fn again(&self, mut child: Child, after_ms: u64) -> Child {
        tokio::time::sleep(Duration::from_millis(after_ms)).await;
        child.signal("KILL");
        child.wait().await;
        self.process("alertmanager-2").await
    }
}
