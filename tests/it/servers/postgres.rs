//! A real PostgreSQL for tests: one cluster per test binary, a fresh database per test, and private clusters that a test may
//! stop and start. Needs `initdb` and `postgres` on PATH or under /usr/lib/postgresql; their absence fails the test.
//!
//! Each server runs under a small `sh` that holds a pipe from this process: when the pipe closes, however we ended, the server
//! is stopped and its folder removed. PostgreSQL refuses to run as root, so root uses the user `postgres` or `nobody`.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sqlx::{Connection, Executor, PgConnection};
use tokio::sync::OnceCell;

/// Stops the server when stdin closes, and removes its folder unless a file `keep` is in it. `$1` binary, `$2` folder, `$3` port,
/// `$4` further options; the server's process id is in the file `pid`.
const WATCHDOG: &str = r#"
"$1" -D "$2/data" -p "$3" -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off -c full_page_writes=off \
    -c max_connections=200 -c logging_collector=off $4 >>"$2/log" 2>&1 &
server=$!
echo $server >"$2/pid"
cat >/dev/null
kill -INT $server 2>/dev/null
wait $server
[ -e "$2/keep" ] || rm -rf "$2"
"#;

const START_LIMIT: Duration = Duration::from_secs(120);
static SHARED: OnceCell<Postgres> = OnceCell::const_new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// A PostgreSQL cluster on 127.0.0.1, stopped when it is dropped or this process ends.
#[derive(Debug)]
pub(crate) struct Postgres {
    folder: PathBuf,
    port: u16,
    options: String,
    /// Where its programs are; `None`: where Debian puts them.
    programs: Option<PathBuf>,
    server: Mutex<Option<Child>>,
}

impl Postgres {
    /// The password of the role `plimsoll`, which owns the databases and has no special rights.
    pub(crate) const PASSWORD: &'static str = "pl1msoll-t3st";

    /// The cluster of this test binary.
    pub(crate) async fn shared() -> &'static Self {
        SHARED.get_or_init(Self::private).await
    }

    /// URL of an empty database of the shared cluster, owned by the role `plimsoll`.
    pub(crate) async fn fresh_database() -> String {
        Self::shared().await.database().await
    }

    /// A cluster of one's own.
    pub(crate) async fn private() -> Self {
        Self::with("").await
    }

    /// A cluster of one's own with further options: `-c max_connections=20`.
    pub(crate) async fn with(options: &str) -> Self {
        Self::begin(options, None).await
    }

    /// A cluster of another version than Debian's: one of those that `scripts/test-tools` fetches.
    pub(crate) async fn of_version(major: u32, options: &str) -> Self {
        let fetched = other_versions().join(major.to_string());
        assert!(fetched.join("bin/postgres").is_file(), "{} is missing; scripts/test-tools fetches it", fetched.display());
        // The user of the server need not be able to read the folder that it was fetched into.
        let programs = tempfile::Builder::new().prefix("plimsoll-postgres-programs-").tempdir().expect("a temporary folder").keep();
        fs::set_permissions(&programs, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("its permissions");
        let copied = Command::new("cp").arg("-a").arg(fetched.join(".")).arg(&programs).status().expect("cp");
        assert!(copied.success(), "the programs of PostgreSQL {major} cannot be copied");
        Self::begin(options, Some(programs)).await
    }

    async fn begin(options: &str, programs: Option<PathBuf>) -> Self {
        let folder = initialised(programs.as_deref());
        for _ in 0..5 {
            let (folder, programs) = (folder.clone(), programs.clone());
            let cluster = Self { folder, port: free_port(), options: options.into(), programs, server: Mutex::new(None) };
            if cluster.started().await {
                cluster.admin(&format!("CREATE ROLE plimsoll LOGIN PASSWORD '{}'", Self::PASSWORD)).await;
                return cluster;
            }
        }
        let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
        let _ = fs::remove_dir_all(&folder);
        panic!("PostgreSQL does not start:\n{log}");
    }

    /// Port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Process id of the server (postmaster).
    pub(crate) fn pid(&self) -> u32 {
        let text = fs::read_to_string(self.folder.join("pid")).expect("the server's process id");
        text.trim().parse().expect("a number")
    }

    /// URL of a database of this cluster for the role `plimsoll`.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://plimsoll:{}@127.0.0.1:{}/{database}", Self::PASSWORD, self.port)
    }

    /// URL of a database for the superuser `postgres`.
    pub(crate) fn admin_url(&self, database: &str) -> String {
        format!("postgres://postgres:{}@127.0.0.1:{}/{database}", Self::PASSWORD, self.port)
    }

    /// URL of a new, empty database of this cluster.
    pub(crate) async fn database(&self) -> String {
        let name = format!("test_{}", DATABASES.fetch_add(1, Ordering::SeqCst));
        self.admin(&format!("CREATE DATABASE {name} OWNER plimsoll")).await;
        self.url(&name)
    }

    /// Runs a statement as superuser.
    pub(crate) async fn admin(&self, sql: &str) {
        let mut connection = PgConnection::connect(&self.admin_url("postgres")).await.expect("connect as superuser");
        connection.execute(sqlx::AssertSqlSafe(sql.to_owned())).await.expect("statement of the superuser");
    }

    /// Stops the server (fast shutdown: connections are cut) and waits until it is gone.
    pub(crate) fn stop(&self) {
        fs::write(self.folder.join("keep"), "").expect("mark the folder to be kept");
        self.end();
    }

    /// Options for the next start.
    pub(crate) fn set_options(&mut self, options: &str) {
        options.clone_into(&mut self.options);
    }

    /// Starts the server again on the same port.
    pub(crate) async fn start(&self) {
        assert!(self.started().await, "PostgreSQL does not start again:\n{}", self.log());
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Closes the pipe and waits for the watchdog.
    fn end(&self) {
        if let Some(mut child) = self.server.lock().expect("not poisoned").take() {
            drop(child.stdin.take());
            let _ = child.wait();
        }
    }

    /// Starts the server; true once it answers, false when it ended (the port was taken).
    async fn started(&self) -> bool {
        let _ = fs::remove_file(self.folder.join("log"));
        let mut command = unprivileged("sh");
        command
            .args(["-c", WATCHDOG, "sh"])
            .arg(binary("postgres", self.programs.as_deref()))
            .arg(&self.folder)
            .arg(self.port.to_string())
            .arg(&self.options);
        // A group of its own, so that Ctrl-C ends only us, and the watchdog then ends the server.
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/").process_group(0);
        *self.server.lock().expect("not poisoned") = Some(command.spawn().expect("start PostgreSQL"));
        let answers = async {
            loop {
                match PgConnection::connect(&self.admin_url("postgres")).await {
                    Ok(_) => return true,
                    Err(_) if self.log().trim_end().ends_with("database system is shut down") => return false,
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        };
        let answered = tokio::time::timeout(START_LIMIT, answers).await.unwrap_or(false);
        if answered {
            let _ = fs::remove_file(self.folder.join("keep"));
        } else {
            self.stop();
        }
        answered
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.end();
        if let Some(programs) = &self.programs {
            let _ = fs::remove_dir_all(programs);
        }
    }
}

/// Where `scripts/test-tools` puts other versions: `PLIMSOLL_TEST_POSTGRES`, or the target folder.
fn other_versions() -> PathBuf {
    let named = std::env::var_os("PLIMSOLL_TEST_POSTGRES").map(PathBuf::from);
    let target = Path::new(env!("CARGO_BIN_EXE_plimsoll")).ancestors().nth(2).expect("the target folder");
    named.unwrap_or_else(|| target.join("test-postgres"))
}

/// A folder with a fresh cluster in `data`, owned by the user that will run it.
fn initialised(programs: Option<&Path>) -> PathBuf {
    let folder = tempfile::Builder::new().prefix("plimsoll-postgres-").tempdir().expect("a temporary folder").keep();
    let password = folder.join("password");
    fs::write(&password, Postgres::PASSWORD).expect("write the superuser's password");
    if let Some((uid, gid)) = other_user() {
        for path in [&folder, &password] {
            chown(path, Some(uid), Some(gid)).expect("give the folder to the user of the server");
        }
    }
    let mut command = unprivileged(&binary("initdb", programs).display().to_string());
    command.args(["--no-sync", "--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]);
    command.arg("--pwfile").arg(&password).arg("-D").arg(folder.join("data")).current_dir("/").stdin(Stdio::null());
    let output = command.output().expect("run initdb");
    assert!(output.status.success(), "initdb failed:\n{}", String::from_utf8_lossy(&output.stderr));
    folder
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

/// A program of PostgreSQL: of these, else from PATH, else the newest under /usr/lib/postgresql.
fn binary(name: &str, programs: Option<&Path>) -> PathBuf {
    if let Some(programs) = programs {
        return programs.join("bin").join(name);
    }
    let on_path = std::env::var_os("PATH").into_iter().flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort();
    let found =
        on_path.chain(versions.into_iter().rev().map(|(_, folder)| folder)).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| {
        panic!("`{name}` was not found: install PostgreSQL (Debian: apt-get install postgresql); tests need the real server")
    })
}

/// The user that runs the server when we are root.
pub(crate) fn other_user() -> Option<(u32, u32)> {
    use std::os::unix::fs::MetadataExt;
    if fs::metadata("/proc/self").expect("/proc").uid() != 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").expect("/etc/passwd");
    let find = |name: &str| {
        let mut fields =
            users.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields[0] == name)?.into_iter().skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    Some(find("postgres").or_else(|| find("nobody")).expect("a user `postgres` or `nobody`: PostgreSQL does not run as root"))
}

/// A command that runs as a user whom PostgreSQL accepts.
pub(crate) fn unprivileged(program: &str) -> Command {
    let Some((uid, gid)) = other_user() else { return Command::new(program) };
    assert!(
        Path::new("/usr/bin/setpriv").exists() || which("setpriv"),
        "`setpriv` (package util-linux) is needed to run PostgreSQL as root"
    );
    let mut command = Command::new("setpriv");
    command.arg(format!("--reuid={uid}")).arg(format!("--regid={gid}")).args(["--clear-groups", "--inh-caps=-all", "--", program]);
    command
}

fn which(name: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(name).is_file()))
}
