//! Probe `process`: memory, CPU, descriptors and threads of a process of this machine, found by pid, name or listening port.
//! Looked up again when the process is gone, so that a restart is survived. Reads `/proc`, never signals or traces. Meaning: docs/probes.md.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use procfs::process::{FDTarget, LimitValue, ProcState, Process, Stat};
use procfs::{ProcError, WithCurrentSystemInfo};
use serde_json::Value as Json;
use tokio::time::Instant;

use super::{Probe, ProbeError, ProbeParts, ProbeSettings};
use crate::model::series::Point;
use crate::registry::{Context, Decode, KeyDoc, Kind, Node};
use crate::settings;

/// The line of this kind in the table of probes.
pub(super) const KIND: Kind<dyn ProbeSettings> = Kind {
    name: "process",
    summary: "Reads memory, CPU, descriptors and threads of a process of this machine, by pid, name or listening port.",
    decode: |node, cx| ProcessSettings::decode(node, cx).map(|settings| Arc::new(settings) as Arc<dyn ProbeSettings>),
    keys: ProcessSettings::keys,
};

settings! {
    /// Reads a process of this machine. Give one of the keys.
    struct ProcessKeys titled "the probe" {
        /// Number of the process.
        pid: optional u32,
        /// Name of the program; the oldest process of that name is read.
        name: optional String,
        /// TCP port that the process listens on.
        port: optional u16,
    }
}

/// How the process is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProcessSettings {
    /// By number.
    Pid(i32),
    /// By the name of its program.
    Name(String),
    /// By the TCP port it listens on.
    Port(u16),
}

impl ProcessSettings {
    /// The keys of the settings, for the schema and the reference.
    pub fn keys() -> Vec<KeyDoc> {
        ProcessKeys::keys()
    }
}

impl Decode for ProcessSettings {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let keys = ProcessKeys::decode(node, cx)?;
        let mut found = Vec::new();
        if let Some(pid) = keys.pid {
            match i32::try_from(pid) {
                Ok(pid) => found.push(Self::Pid(pid)),
                Err(_) => {
                    let message = format!("{pid} is not the number of a process");
                    cx.diagnostics.push("out-of-range", node.span, message, "at most 2147483647");
                }
            }
        }
        found.extend(keys.name.map(Self::Name));
        found.extend(keys.port.map(Self::Port));
        match found.len() {
            1 => found.pop(),
            // A key that was given but could not be read has been reported already.
            0 if ["pid", "name", "port"].iter().any(|key| node.get(key).is_some()) => None,
            0 => {
                cx.diagnostics.push("missing-key", node.span, "the probe lacks the key `pid`, `name` or `port`", "add one of them");
                None
            }
            _ => {
                cx.diagnostics.push(
                    "conflicting-keys",
                    node.span,
                    "more than one of `pid`, `name` and `port` is given",
                    "keep one of them",
                );
                None
            }
        }
    }

    fn schema() -> Json {
        ProcessKeys::schema()
    }
}

impl ProbeSettings for ProcessSettings {
    fn open(&self, _parts: &ProbeParts) -> Box<dyn Probe> {
        Box::new(ProcessProbe { settings: self.clone(), known: None, cpu: None })
    }

    fn describe(&self) -> String {
        match self {
            Self::Pid(pid) => format!("process {pid}"),
            Self::Name(name) => format!("process `{name}`"),
            Self::Port(port) => format!("process listening on port {port}"),
        }
    }
}

/// Which process it is: numbers are used again, start times (in ticks since boot) are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    pid: i32,
    started: u64,
}

/// An open probe.
struct ProcessProbe {
    settings: ProcessSettings,
    known: Option<Identity>,
    /// CPU ticks at the former reading of the same process.
    cpu: Option<(Instant, u64)>,
}

#[async_trait]
impl Probe for ProcessProbe {
    async fn read(&mut self) -> Result<Vec<Point>, ProbeError> {
        let (settings, known) = (self.settings.clone(), self.known);
        // Finding a process walks through /proc, which may take a while on a machine with many.
        let read = tokio::task::spawn_blocking(move || observe(&settings, known)).await;
        let seen = match read {
            Ok(seen) => seen,
            Err(error) => Err(ProbeError { reason: "parse", detail: format!("reading /proc was broken off: {error}") }),
        };
        let seen = seen.inspect_err(|_| self.cpu = None)?;
        let at = Instant::now();
        if self.known != Some(seen.identity) {
            (self.known, self.cpu) = (Some(seen.identity), None);
        }
        let mut points = seen.points;
        if let Some((former_at, former)) = self.cpu.replace((at, seen.ticks)) {
            let passed = at.saturating_duration_since(former_at).as_secs_f64();
            let used = seen.ticks.saturating_sub(former) as f64 / procfs::ticks_per_second() as f64;
            if passed > 0.0 {
                points.push(Point::new("process_cpu", used / passed));
            }
        }
        Ok(points)
    }
}

/// One look at the process.
struct Seen {
    identity: Identity,
    ticks: u64,
    points: Vec<Point>,
}

/// Looks at the process that is known, or finds it anew.
fn observe(settings: &ProcessSettings, known: Option<Identity>) -> Result<Seen, ProbeError> {
    if let Some(known) = known
        && let Ok((process, stat)) = alive(known.pid)
        && stat.starttime == known.started
    {
        return Ok(look(&process, &stat));
    }
    let (process, stat) = match settings {
        ProcessSettings::Pid(pid) if known.is_some() => {
            return Err(ProbeError { reason: "missing", detail: format!("process {pid} has ended") });
        }
        ProcessSettings::Pid(pid) => alive(*pid).map_err(|error| explain(&error, &format!("process {pid}")))?,
        ProcessSettings::Name(name) => by_name(name)?,
        ProcessSettings::Port(port) => by_port(*port)?,
    };
    Ok(look(&process, &stat))
}

/// The process with this number, unless it is dead and only waits to be reaped.
fn alive(pid: i32) -> Result<(Process, Stat), ProcError> {
    let process = Process::new(pid)?;
    let stat = process.stat()?;
    if matches!(stat.state()?, ProcState::Zombie | ProcState::Dead) {
        return Err(ProcError::NotFound(None));
    }
    Ok((process, stat))
}

/// The figures of a process. What may not be read (descriptors of another user's process) is absent.
fn look(process: &Process, stat: &Stat) -> Seen {
    let mut points = vec![Point::new("process_memory", stat.rss_bytes().get() as f64)];
    if let Ok(open) = process.fd_count() {
        points.push(Point::new("process_descriptors", open as f64));
        if let Ok(limits) = process.limits()
            && let LimitValue::Value(most @ 1..) = limits.max_open_files.soft_limit
        {
            points.push(Point::new("process_descriptors_ratio", open as f64 / most as f64));
        }
    }
    points.push(Point::new("process_threads", stat.num_threads as f64));
    Seen { identity: Identity { pid: process.pid(), started: stat.starttime }, ticks: stat.utime + stat.stime, points }
}

/// Every process that can be looked at.
fn all() -> Result<impl Iterator<Item = (Process, Stat)>, ProbeError> {
    let processes = procfs::process::all_processes().map_err(|error| explain(&error, "/proc"))?;
    Ok(processes.filter_map(Result::ok).filter_map(|process| alive(process.pid()).ok()))
}

/// The oldest process of a program. The kernel keeps 15 bytes of the name; the rest is compared with the file and the command line.
fn by_name(name: &str) -> Result<(Process, Stat), ProbeError> {
    let is_named = |process: &Process, stat: &Stat| {
        if stat.comm == name {
            return true;
        }
        let file_name = |path: &Path| path.file_name().is_some_and(|file| file == name);
        let command = || process.cmdline().ok().and_then(|words| words.into_iter().next());
        process.exe().is_ok_and(|path| file_name(&path)) || command().is_some_and(|word| file_name(Path::new(&word)))
    };
    let oldest = all()?.filter(|(process, stat)| is_named(process, stat)).min_by_key(|(process, stat)| (stat.starttime, process.pid()));
    oldest.ok_or_else(|| ProbeError { reason: "missing", detail: format!("no process is called `{name}`") })
}

/// The process that listens on a TCP port: socket tables give the socket, the descriptors of all processes its owner.
fn by_port(port: u16) -> Result<(Process, Stat), ProbeError> {
    let tables = [procfs::net::tcp(), procfs::net::tcp6()];
    if let [Err(error), Err(_)] = &tables {
        return Err(explain(error, "the table of TCP sockets"));
    }
    let sockets: Vec<u64> = tables
        .into_iter()
        .flat_map(Result::unwrap_or_default)
        .filter(|entry| entry.state == procfs::net::TcpState::Listen && entry.local_address.port() == port)
        .map(|entry| entry.inode)
        .collect();
    if sockets.is_empty() {
        return Err(ProbeError { reason: "missing", detail: format!("no process listens on port {port}") });
    }
    let owns = |process: &Process| {
        process.fd().is_ok_and(|mut fds| {
            fds.any(|fd| matches!(fd, Ok(fd) if matches!(fd.target, FDTarget::Socket(inode) if sockets.contains(&inode))))
        })
    };
    let owner = all()?.filter(|(process, _)| owns(process)).min_by_key(|(process, stat)| (stat.starttime, process.pid()));
    owner.ok_or_else(|| ProbeError {
        reason: "permission",
        detail: format!("somebody listens on port {port}, but the process may not be seen; run as the same user or give `name`"),
    })
}

fn explain(error: &ProcError, what: &str) -> ProbeError {
    match error {
        ProcError::NotFound(_) => ProbeError { reason: "missing", detail: format!("{what} does not exist") },
        ProcError::PermissionDenied(_) => ProbeError { reason: "permission", detail: format!("{what} may not be read") },
        ProcError::Incomplete(_) | ProcError::Io(..) | ProcError::Other(_) | ProcError::InternalError(_) => {
            ProbeError { reason: "parse", detail: format!("{what} cannot be read: {error}") }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::probe::tests::{decode, diagnostics};

    #[test]
    fn exactly_one_way_to_find_the_process_is_given() {
        assert_eq!(decode::<ProcessSettings>(&json!({"port": 8080})), ProcessSettings::Port(8080));
        assert_eq!(decode::<ProcessSettings>(&json!({"name": "nginx"})), ProcessSettings::Name("nginx".into()));
        for (keys, code) in [
            (json!({}), "missing-key"),
            (json!({"pid": 1, "port": 2}), "conflicting-keys"),
            (json!({"pid": 4_000_000_000_u32}), "out-of-range"),
            (json!({"port": 70000}), "out-of-range"),
            (json!({"prot": 1}), "unknown-key"),
        ] {
            let found = diagnostics::<ProcessSettings>(&keys);
            assert!(found[0].starts_with(code), "{keys}: {found:?}");
        }
    }
}
