//! Real servers beside PostgreSQL that probes ask: PgBouncer, Redis, MariaDB. Each in a folder of its own on a free port of 127.0.0.1, run
//! by an unprivileged user where it refuses to be root, and gone when it is dropped.

use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Command;

use super::postgres::{other_user, unprivileged};
use super::{Child, free_port, program, temp_dir, wait_for_port};

/// A server that runs.
pub(crate) struct Server {
    pub(crate) port: u16,
    pub(crate) process: Child,
    _folder: tempfile::TempDir,
}

/// A folder that the user of the server may write to.
fn folder() -> tempfile::TempDir {
    let folder = temp_dir();
    give(folder.path());
    folder
}

fn give(path: &Path) {
    if let Some((uid, gid)) = other_user() {
        chown(path, Some(uid), Some(gid)).expect("give the folder to the user of the server");
    }
}

/// Starts until the port that was free is still free; `command` makes the command for a port.
async fn start(name: &str, folder: tempfile::TempDir, command: impl Fn(&Path, u16) -> Command) -> Server {
    let mut said = String::new();
    for _ in 0..5 {
        let port = free_port();
        let mut process = Child::spawn(name, folder.path(), &mut command(folder.path(), port));
        tokio::select! {
            () = wait_for_port(name, port) => return Server { port, process, _folder: folder },
            () = ended(&mut process) => said = process.output(),
        }
    }
    panic!("{name} does not start:\n{said}");
}

async fn ended(process: &mut Child) {
    while process.status().is_none() {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

/// Redis with these options.
pub(crate) async fn redis(options: &[&str]) -> Server {
    start("redis-server", temp_dir(), |folder, port| {
        let mut command = Command::new(program("redis-server"));
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--daemonize", "no"]);
        command.args(options).current_dir(folder);
        command
    })
    .await
}

/// PgBouncer before a PostgreSQL server: database `shop`, two server connections, ten clients. The user `stats` may ask the console, the
/// user `shop` may not; both have the password `geheim`.
pub(crate) async fn pgbouncer(server: &str) -> Server {
    let server = server.to_owned();
    let folder = folder();
    std::fs::write(folder.path().join("users.txt"), "\"stats\" \"geheim\"\n\"shop\" \"geheim\"\n").expect("the file of users");
    start("pgbouncer", folder, move |folder, port| {
        let file = folder.join("pgbouncer.ini");
        let text = format!(
            "[databases]\nshop = {server}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = plain\nauth_file = {}\nstats_users = stats\npool_mode = session\ndefault_pool_size = 2\nreserve_pool_size = 0\n\
             max_client_conn = 10\nstats_period = 1\n",
            folder.join("users.txt").display()
        );
        std::fs::write(&file, text).expect("the configuration of PgBouncer");
        let mut command = unprivileged(&program("pgbouncer").display().to_string());
        command.arg(file);
        command
    })
    .await
}

/// MariaDB with at most ten connections. `plimsoll` (password `geheim`) may see processes, `nobody` (`geheim`) may not, `admin` (`admin`)
/// may do everything.
pub(crate) async fn mariadb() -> Server {
    let folder = folder();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).expect("a folder for the data");
    give(&data);
    let statements = "CREATE DATABASE shop;\nCREATE USER 'plimsoll'@'%' IDENTIFIED BY 'geheim';\nGRANT PROCESS ON *.* TO 'plimsoll'@'%';\n\
                      CREATE USER 'nobody'@'%' IDENTIFIED BY 'geheim';\nCREATE USER 'admin'@'%' IDENTIFIED BY 'admin';\n\
                      GRANT ALL ON *.* TO 'admin'@'%' WITH GRANT OPTION;\n";
    std::fs::write(folder.path().join("users.sql"), statements).expect("the first statements");
    let mut install = unprivileged(&program("mariadb-install-db").display().to_string());
    install.args(["--no-defaults", "--skip-test-db", "--auth-root-authentication-method=normal", "--innodb-flush-log-at-trx-commit=0"]);
    let installed = install.arg(format!("--datadir={}", data.display())).current_dir("/").output().expect("run mariadb-install-db");
    assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
    start("mariadbd", folder, |folder, port| {
        let mut command = unprivileged(&program("mariadbd").display().to_string());
        command.args(["--no-defaults", "--bind-address=127.0.0.1", "--skip-log-bin", "--max-connections=10", "--skip-name-resolve"]);
        command.args(["--innodb-buffer-pool-size=16M", "--innodb-flush-log-at-trx-commit=0"]);
        command.arg(format!("--datadir={}", folder.join("data").display())).arg(format!("--port={port}"));
        command.arg(format!("--socket={}", folder.join("data/socket").display()));
        command.arg(format!("--init-file={}", folder.join("users.sql").display())).current_dir("/");
        command
    })
    .await
}
