//! A real SMTP server (tests/tools/smtp_sink.py on aiosmtpd) that demands STARTTLS under a certificate of our own authority, and a
//! login. Its mailbox is a folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value as Json;
use tempfile::TempDir;

use super::{Child, PATIENCE, program, python, reported_port, sorted_json, temp_dir, wait_until};

/// User that the server knows.
pub(crate) const USER: &str = "user";
/// Its password.
pub(crate) const PASSWORD: &str = "secret";

/// A running server; it ends with the guard, its mailbox too.
#[derive(Debug)]
pub(crate) struct SmtpSink {
    /// Port on 127.0.0.1.
    pub(crate) port: u16,
    dir: TempDir,
    _child: Child,
}

impl SmtpSink {
    /// Starts a server on a free port; `options` as in the head of smtp_sink.py.
    pub(crate) async fn start(options: &[&str]) -> Self {
        Self::start_on(0, options).await
    }

    /// Starts a server on `port`.
    pub(crate) async fn start_on(port: u16, options: &[&str]) -> Self {
        let dir = temp_dir();
        make_certificates(dir.path());
        let mailbox = dir.path().join("mailbox");
        std::fs::create_dir(&mailbox).expect("a folder for the mailbox");
        let mut command = Command::new(python());
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/smtp_sink.py"));
        command.arg(port.to_string()).arg(&mailbox).arg(dir.path().join("server.crt")).arg(dir.path().join("server.key")).args(options);
        // The last option: the authority is made here.
        if options.last() == Some(&"--client-ca") {
            command.arg(dir.path().join("ca.crt"));
        }
        let child = Child::spawn("smtp_sink", dir.path(), &mut command);
        let port = reported_port("the SMTP server", &child).await;
        Self { port, dir, _child: child }
    }

    /// The certificate of the authority that vouches for the server.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.dir.path().join("ca.crt")
    }

    /// A certificate of the same authority, and its private key, for clients.
    pub(crate) fn client_files(&self) -> [PathBuf; 2] {
        ["server.crt", "server.key"].map(|name| self.dir.path().join(name))
    }

    /// What has arrived so far, oldest first: `from`, `to`, `tls`, `user`, `headers`, `parts`, `defects`.
    pub(crate) fn mails(&self) -> Vec<Json> {
        sorted_json(&self.dir.path().join("mailbox"))
    }

    /// Waits until so many mails have arrived, and returns them.
    pub(crate) async fn wait_for(&self, count: usize) -> Vec<Json> {
        wait_until(&format!("{count} mails"), PATIENCE * 2, async || Some(self.mails()).filter(|mails| mails.len() >= count)).await
    }

    /// Waits until an incident was told to its end, and checks how: its fire and its resolve, or both in one mail when the fire could not be
    /// delivered before it was over. Returns what was told, oldest first.
    pub(crate) async fn story(&self) -> Vec<Json> {
        let state = |mail: &Json| mail["headers"]["X-Plimsoll-State"].as_str().unwrap_or_default().to_owned();
        let ended = |mails: &Vec<Json>| mails.iter().any(|mail| state(mail) == "resolved");
        let mails = wait_until("a mail of the end", PATIENCE * 4, async || Some(self.mails()).filter(ended)).await;
        if mails.len() == 1 {
            assert!(mails[0].to_string().contains("Fired and resolved within"), "{mails:?}");
        } else {
            assert_eq!((state(&mails[0]).as_str(), state(&mails[mails.len() - 1]).as_str()), ("firing", "resolved"), "{mails:?}");
        }
        mails
    }
}

/// An authority, and a certificate for 127.0.0.1 and localhost that it signed.
fn make_certificates(dir: &Path) {
    let openssl = |arguments: &str| {
        let done = Command::new(program("openssl")).args(arguments.split(' ')).current_dir(dir).output().expect("openssl");
        assert!(done.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&done.stderr));
    };
    std::fs::write(dir.join("names"), "subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\n").expect("a file");
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&format!("req -x509 {key} -keyout ca.key -out ca.crt -days 2 -subj /CN=plimsoll-test-authority"));
    openssl(&format!("req {key} -keyout server.key -out server.csr -subj /CN=127.0.0.1"));
    openssl("x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out server.crt -days 2 -extfile names");
}
