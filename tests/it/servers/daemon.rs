//! The real program, as users start it: `plimsoll serve` and `plimsoll run` on a configuration of the test's own.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that failed")]

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value as Json;

use super::http::{Answer, ask, try_ask};
use super::{Child, PATIENCE, wait_until};

/// A running daemon.
pub(crate) struct Daemon {
    child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

/// The program with these arguments.
pub(crate) fn plimsoll(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
    command.args(arguments);
    command
}

impl Daemon {
    /// Starts `plimsoll serve` on a configuration that listens on port 0; returns when it serves.
    pub(crate) async fn start(folder: &Path, config: &Path) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("daemon-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        Self::spawn_as(&name, folder, &mut plimsoll(&["serve", "--config", config.to_str().unwrap()])).await
    }

    /// The same by a command of one's own; what it prints is in `daemon.log`.
    pub(crate) async fn spawn(folder: &Path, command: &mut Command) -> Self {
        Self::spawn_as("daemon", folder, command).await
    }

    async fn spawn_as(name: &str, folder: &Path, command: &mut Command) -> Self {
        let mut child = Child::spawn(name, folder, command);
        let address = wait_until("the daemon's address", PATIENCE, async || {
            assert!(child.status().is_none(), "the daemon ended:\n{}", child.output());
            let output = child.output();
            let line = output.lines().find_map(|line| line.strip_prefix("page     http://"))?;
            line.trim_end_matches('/').parse().ok()
        })
        .await;
        Self { child, address }
    }

    /// What it has printed so far.
    pub(crate) fn output(&self) -> String {
        self.child.output()
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: &str) {
        self.child.signal(signal);
    }

    /// Waits for its end; returns its exit code.
    pub(crate) async fn exit_code(mut self) -> Option<i32> {
        self.child.wait().await.code()
    }

    /// `kill -9`, and waits until it is gone.
    pub(crate) async fn kill(mut self) {
        self.child.signal("KILL");
        self.child.wait().await;
    }

    /// A JSON answer of the API.
    pub(crate) async fn api(&self, path: &str) -> Json {
        ask(self.address, "GET", &format!("/api/v1{path}"), "", "").await.json()
    }

    /// Any answer; `None` while it cannot be reached.
    pub(crate) async fn try_get(&self, path: &str) -> Option<Answer> {
        try_ask(self.address, "GET", path, "", "").await.ok()
    }
}
