//! A real HTTP endpoint (tests/tools/hook_sink.py) that keeps every request and fails on demand: what Slack and webhooks are sent to.

use std::path::Path;
use std::process::Command;

use serde_json::Value as Json;
use tempfile::TempDir;

use super::{Child, PATIENCE, python, reported_port, sorted_json, temp_dir, wait_until};

/// A running endpoint; it ends with the guard.
#[derive(Debug)]
pub(crate) struct HookSink {
    /// Port on 127.0.0.1.
    pub(crate) port: u16,
    dir: TempDir,
    _child: Child,
}

impl HookSink {
    /// Starts an endpoint on a free port; `options` as in the head of hook_sink.py.
    pub(crate) async fn start(options: &[&str]) -> Self {
        let dir = temp_dir();
        let requests = dir.path().join("requests");
        std::fs::create_dir(&requests).expect("a folder for requests");
        let mut command = Command::new(python());
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/hook_sink.py")).arg("0").arg(&requests).args(options);
        let child = Child::spawn("hook_sink", dir.path(), &mut command);
        let port = reported_port("the HTTP endpoint", &child).await;
        Self { port, dir, _child: child }
    }

    /// Its address with this path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// What has arrived so far, oldest first: `path`, `status` given, `headers`, `body`.
    pub(crate) fn requests(&self) -> Vec<Json> {
        sorted_json(&self.dir.path().join("requests"))
    }

    /// Waits until so many requests have arrived, and returns them.
    pub(crate) async fn wait_for(&self, count: usize) -> Vec<Json> {
        wait_until(&format!("{count} requests"), PATIENCE * 2, async || Some(self.requests()).filter(|seen| seen.len() >= count)).await
    }
}
