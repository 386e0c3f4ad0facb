//! Slack's Web API (tests/tools/slack_sink.py) with Slack's own manners: it answers 200 also when it refuses.

use std::path::Path;
use std::process::Command;

use serde_json::Value as Json;
use tempfile::TempDir;

use super::{Child, python, reported_port, sorted_json, temp_dir};

/// A running API; it ends with the guard.
#[derive(Debug)]
pub(crate) struct SlackSink {
    /// Port on 127.0.0.1.
    pub(crate) port: u16,
    dir: TempDir,
    _child: Child,
}

impl SlackSink {
    /// Starts one on a free port; `options` as in the head of slack_sink.py.
    pub(crate) async fn start(options: &[&str]) -> Self {
        let dir = temp_dir();
        let calls = dir.path().join("calls");
        std::fs::create_dir(&calls).expect("a folder for calls");
        let mut command = Command::new(python());
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/slack_sink.py")).arg("0").arg(&calls).args(options);
        let child = Child::spawn("slack_sink", dir.path(), &mut command);
        let port = reported_port("Slack's API", &child).await;
        Self { port, dir, _child: child }
    }

    /// Where the API is.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/api/", self.port)
    }

    /// What was asked so far, oldest first: `method`, what was `given`, the `answer`.
    pub(crate) fn calls(&self) -> Vec<Json> {
        sorted_json(&self.dir.path().join("calls"))
    }

    /// The same as names of methods.
    pub(crate) fn methods(&self) -> Vec<String> {
        self.calls().iter().map(|call| call["method"].as_str().unwrap_or_default().to_owned()).collect()
    }
}
