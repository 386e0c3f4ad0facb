//! What tests need to run real servers: a free port, a folder, waiting for a condition, and a child process that is gone
//! when its guard is dropped. Each server has a file of its own below; none here may depend on how fast the machine is.

pub(crate) mod bed;
pub(crate) mod daemon;
pub(crate) mod databases;
pub(crate) mod hook;
pub(crate) mod http;
pub(crate) mod postgres;
pub(crate) mod prometheus;
pub(crate) mod slack;
pub(crate) mod smtp;
pub(crate) mod tls;
pub(crate) mod websocket;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use tokio::time::Instant;

/// How long a server may take to come up, or to go away, before a test gives up. Generous: machines are shared.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A TCP port of 127.0.0.1 that nobody listens on. Somebody else may still take it: prefer port 0 where a server reports its port.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port of 127.0.0.1");
    listener.local_addr().expect("the address of a bound listener").port()
}

/// A TCP port of 127.0.0.1 that refuses every connection, and that nobody else gets as long as the guard lives.
pub(crate) struct ClosedPort {
    /// Its number.
    pub(crate) port: u16,
    _socket: tokio::net::TcpSocket,
}

/// Binds a port and does not listen on it.
pub(crate) fn closed_port() -> ClosedPort {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind(std::net::SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port of 127.0.0.1");
    let port = socket.local_addr().expect("the address of a bound socket").port();
    ClosedPort { port, _socket: socket }
}

/// A new folder that is deleted with the guard; every user may look into it, because some servers refuse to run as root.
pub(crate) fn temp_dir() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::Builder::new().prefix("plimsoll-test-").tempdir().expect("a temporary folder");
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).expect("its permissions");
    dir
}

/// Asks `look` again and again until it answers, and returns the answer. Panics with `what` after `limit`.
pub(crate) async fn wait_until<T>(what: &str, limit: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {limit:?} in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until somebody accepts connections on `port` of 127.0.0.1.
pub(crate) async fn wait_for_port(what: &str, port: u16) {
    wait_until(&format!("{what} on port {port}"), PATIENCE, async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()).await;
}

/// The program called `name`, on the path or in one of the folders where Debian puts servers. Panics with how to get it: a server
/// that is missing is a failed test, never a skipped one.
pub(crate) fn program(name: &str) -> PathBuf {
    let on_path = read_environment("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&on_path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")]).collect();
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        let mut found: Vec<PathBuf> = versions.flatten().map(|entry| entry.path().join("bin")).collect();
        found.sort();
        folders.extend(found.into_iter().rev());
    }
    let hit = folders.into_iter().map(|folder| folder.join(name)).find(|path| path.is_file());
    hit.unwrap_or_else(|| panic!("`{name}` is not installed; scripts/test-tools installs what the tests need"))
}

/// The Python interpreter that has the packages of scripts/requirements.txt. `scripts/test` names it in `PLIMSOLL_TEST_PYTHON`;
/// without that, the one that `scripts/test-tools` has made in the target folder.
pub(crate) fn python() -> PathBuf {
    if let Some(path) = read_environment("PLIMSOLL_TEST_PYTHON") {
        return PathBuf::from(path);
    }
    let target = Path::new(env!("CARGO_BIN_EXE_plimsoll")).ancestors().nth(2).expect("the target folder");
    let path = target.join("test-venv/bin/python");
    assert!(path.is_file(), "{} is missing; scripts/test-tools makes it", path.display());
    path
}

#[expect(clippy::disallowed_methods, reason = "tests are told where their tools are by the environment")]
fn read_environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// A process that a test has started. Dropping the guard kills that process, by its id, and waits for it; nothing else is touched.
#[derive(Debug)]
pub(crate) struct Child {
    name: String,
    inner: std::process::Child,
    log: PathBuf,
}

impl Child {
    /// Starts `command` with no input; what it prints goes to the new file `NAME.log` in `dir`.
    pub(crate) fn spawn(name: &str, dir: &Path, command: &mut Command) -> Self {
        let log = dir.join(format!("{name}.log"));
        let out = File::create(&log).expect("a log file");
        let err = out.try_clone().expect("a second handle on the log file");
        let inner = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn();
        let inner = inner.unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        Self { name: name.into(), inner, log }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.inner.id()
    }

    /// What it has printed so far.
    pub(crate) fn output(&self) -> String {
        std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// How it ended, when it has.
    pub(crate) fn status(&mut self) -> Option<ExitStatus> {
        self.inner.try_wait().expect("the state of a child process")
    }

    /// Sends it a signal by name: `TERM`, `HUP`, `KILL`.
    pub(crate) fn signal(&self, signal: &str) {
        let done = Command::new("sh").args(["-c", &format!("kill -{signal} {}", self.id())]).status();
        assert!(done.is_ok_and(|status| status.success()), "{} does not take the signal {signal}", self.name);
    }

    /// Waits for it to end by itself; panics with what it printed when it does not.
    pub(crate) async fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.status() {
                return status;
            }
            assert!(Instant::now() < deadline, "{} does not end; it printed:\n{}", self.name, self.output());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let output = self.output();
            let tail: Vec<&str> = output.lines().rev().take(40).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            #[expect(clippy::print_stderr, reason = "a failed test shows what its servers said")]
            {
                eprintln!("--- last lines of {} ---\n{}", self.name, tail.join("\n"));
            }
        }
        // Both fail only when the process has ended already and was waited for.
        let _ = self.inner.kill();
        let _ = self.inner.wait();
    }
}

/// The port in the line `{"port": N}` that a server prints once it listens on a port of its own choice.
pub(crate) async fn reported_port(what: &str, child: &Child) -> u16 {
    let port = async || {
        let output = child.output();
        let line = output.lines().find(|line| line.starts_with("{\"port\""))?;
        serde_json::from_str::<serde_json::Value>(line).ok()?["port"].as_u64()
    };
    let port = wait_until(&format!("{what} to listen"), PATIENCE, port).await;
    u16::try_from(port).expect("a port")
}

/// The JSON files of a folder, in the order of their names.
pub(crate) fn sorted_json(folder: &Path) -> Vec<serde_json::Value> {
    let entries = std::fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|extension| extension == "json")).collect();
    files.sort();
    files.iter().map(|path| serde_json::from_slice(&std::fs::read(path).expect("a file")).expect("JSON")).collect()
}

mod tests {
    use super::*;

    fn exists(id: u32) -> bool {
        Path::new(&format!("/proc/{id}")).exists()
    }

    #[test]
    fn a_dropped_guard_ends_its_own_process_only() {
        let dir = temp_dir();
        let one = Child::spawn("one", dir.path(), Command::new("sleep").arg("600"));
        let two = Child::spawn("two", dir.path(), Command::new("sleep").arg("600"));
        let (first, second) = (one.id(), two.id());
        assert!(exists(first) && exists(second));
        drop(one);
        assert!(!exists(first), "the guard must wait for its process");
        assert!(exists(second), "the other process must live on");
    }

    #[tokio::test]
    async fn a_child_is_signalled_read_and_waited_for() {
        let dir = temp_dir();
        let script = "trap 'echo told; exit 7' TERM; echo ready; while :; do sleep 0.05; done";
        let mut child = Child::spawn("shell", dir.path(), Command::new("sh").args(["-c", script]));
        wait_until("the shell to be ready", PATIENCE, async || child.output().contains("ready").then_some(())).await;
        assert!(child.status().is_none());
        child.signal("TERM");
        assert_eq!(child.wait().await.code(), Some(7));
        assert!(child.output().ends_with("told\n"), "{}", child.output());
    }

    #[tokio::test]
    async fn waiting_for_a_port_sees_the_listener() {
        let port = free_port();
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        wait_for_port("a listener", port).await;
        drop(listener);
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "waited 5s in vain for: rain")]
    async fn waiting_in_vain_says_for_what() {
        wait_until("rain", Duration::from_secs(5), async || None::<()>).await;
    }

    #[test]
    fn tools_are_found_where_they_are() {
        assert!(program("sh").is_file());
        let status = Command::new(python())
            .args(["-c", "import aiosmtpd, microsoft_teams.cards, pagerduty, slack_sdk, standardwebhooks, websockets"])
            .status()
            .unwrap();
        assert!(status.success(), "{} lacks packages of scripts/requirements.txt", python().display());
    }
}
