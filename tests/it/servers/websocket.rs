//! A real WebSocket server (tests/tools/websocket_sink.py on the package websockets), plain or over TLS.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::{Child, PATIENCE, python, reported_port, temp_dir, wait_until};

/// A running server; it ends with the guard.
#[derive(Debug)]
pub(crate) struct SocketServer {
    /// Port on 127.0.0.1.
    pub(crate) port: u16,
    /// The certificate that vouches for it, in PEM; empty without TLS.
    pub(crate) certificate: String,
    child: Child,
    _dir: TempDir,
}

impl SocketServer {
    /// Starts a server on a free port.
    pub(crate) async fn start(tls: bool) -> Self {
        let dir = temp_dir();
        let mut command = Command::new(python());
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/websocket_sink.py")).arg("0");
        let mut certificate = String::new();
        if tls {
            let own = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into(), "localhost".into()]).expect("a certificate");
            certificate = own.cert.pem();
            let (cert, key) = (dir.path().join("server.crt"), dir.path().join("server.key"));
            std::fs::write(&cert, &certificate).expect("a file");
            std::fs::write(&key, own.signing_key.serialize_pem()).expect("a file");
            command.args([cert, key]);
        }
        let child = Child::spawn("websocket_sink", dir.path(), &mut command);
        let port = reported_port("the WebSocket server", &child).await;
        Self { port, certificate, child, _dir: dir }
    }

    /// Waits until it has printed this line.
    pub(crate) async fn wait_for(&self, line: &str) {
        let printed = async || self.child.output().lines().any(|printed| printed == line).then_some(());
        wait_until(line, PATIENCE, printed).await;
    }
}
