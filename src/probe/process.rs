//! Probe `process`: memory, CPU, descriptors and threads of a process of this machine and its children, found by pid, name, listening
//! port or systemd unit. Looked up again when the process is gone, so that a restart is survived. Reads `/proc`, never signals or traces.
//! Meaning: docs/probes.md.

use std::collections::{BTreeMap, BTreeSet};
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
    summary: "Reads memory, CPU, descriptors and threads of a process of this machine and its children, by pid, name, listening port or systemd unit.",
    decode: |node, cx| ProcessSettings::decode(node, cx).map(|settings| Arc::new(settings) as Arc<dyn ProbeSettings>),
    keys: ProcessSettings::keys,
};

settings! {
    /// Reads a process of this machine. Give one of `pid`, `name`, `port`, `unit`.
    struct ProcessKeys titled "the probe" {
        /// Number of the process.
        pid: optional u32,
        /// Name of the program; the oldest process of that name is read.
        name: optional String,
        /// TCP port that the process listens on.
        port: optional u16,
        /// Unit of systemd: `shop.service`; all its processes are read.
        unit: optional String,
        /// Add up the process and all its children.
        children: default bool = true,
    }
}

/// Which processes are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessSettings {
    find: Find,
    children: bool,
}

/// How the process is found.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Find {
    /// By number.
    Pid(i32),
    /// By the name of its program.
    Name(String),
    /// By the TCP port it listens on.
    Port(u16),
    /// By the systemd unit it belongs to.
    Unit(String),
}

impl ProcessSettings {
    /// The keys of the settings, for the schema and the reference.
    pub fn keys() -> Vec<KeyDoc> {
        ProcessKeys::keys()
    }

    /// One process without its children.
    pub fn of_pid(pid: i32) -> Self {
        Self { find: Find::Pid(pid), children: false }
    }
}

/// A process number as it is written.
pub(super) fn checked_pid(pid: u32, node: &Node, cx: &mut Context<'_>) -> Option<i32> {
    let checked = i32::try_from(pid).ok();
    if checked.is_none() {
        let message = format!("{pid} is not the number of a process");
        cx.diagnostics.push("out-of-range", node.span, message, "at most 2147483647");
    }
    checked
}

/// The one thing of several that is given; none or more than one is reported.
pub(super) fn only_one<T>(mut found: Vec<T>, keys: &[&str], node: &Node, cx: &mut Context<'_>) -> Option<T> {
    let listed = || match keys {
        [most @ .., last] => format!("`{}` or `{last}`", most.join("`, `")),
        [] => String::new(),
    };
    match found.len() {
        1 => found.pop(),
        // A key that was given but could not be read has been reported already.
        0 if keys.iter().any(|key| node.get(key).is_some()) => None,
        0 => {
            cx.diagnostics.push("missing-key", node.span, format!("the probe lacks the key {}", listed()), "add one of them");
            None
        }
        _ => {
            cx.diagnostics.push("conflicting-keys", node.span, format!("more than one of {} is given", listed()), "keep one of them");
            None
        }
    }
}

impl Decode for ProcessSettings {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let keys = ProcessKeys::decode(node, cx)?;
        let mut found = Vec::new();
        found.extend(keys.pid.and_then(|pid| checked_pid(pid, node, cx)).map(Find::Pid));
        found.extend(keys.name.map(Find::Name));
        found.extend(keys.port.map(Find::Port));
        found.extend(keys.unit.map(|unit| Find::Unit(unit_name(&unit))));
        let find = only_one(found, &["pid", "name", "port", "unit"], node, cx)?;
        Some(Self { find, children: keys.children })
    }

    fn schema() -> Json {
        ProcessKeys::schema()
    }
}

/// A unit as the kernel shows it: `shop` is `shop.service`.
pub(super) fn unit_name(unit: &str) -> String {
    if unit.contains('.') { unit.to_owned() } else { format!("{unit}.service") }
}

impl ProbeSettings for ProcessSettings {
    fn open(&self, _parts: &ProbeParts) -> Box<dyn Probe> {
        Box::new(ProcessProbe { settings: self.clone(), known: None, cpu: None })
    }

    fn describe(&self) -> String {
        match &self.find {
            Find::Pid(pid) => format!("process {pid}"),
            Find::Name(name) => format!("process `{name}`"),
            Find::Port(port) => format!("process listening on port {port}"),
            Find::Unit(unit) => format!("unit {unit}"),
        }
    }
}

/// Which process it is: numbers are used again, start times (in ticks since boot) are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Identity {
    pid: i32,
    started: u64,
}

/// An open probe.
struct ProcessProbe {
    settings: ProcessSettings,
    known: Option<Identity>,
    /// CPU ticks of each process at the former reading of the same first process.
    cpu: Option<(Instant, BTreeMap<Identity, u64>)>,
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
        if self.known != Some(seen.first) {
            (self.known, self.cpu) = (Some(seen.first), None);
        }
        let mut points = seen.points();
        let ticks: BTreeMap<Identity, u64> = seen.processes.iter().map(|process| (process.identity, process.ticks)).collect();
        if let Some((former_at, former)) = self.cpu.replace((at, ticks.clone())) {
            let passed = at.saturating_duration_since(former_at).as_secs_f64();
            // What began since counts in full; what has ended took its ticks along.
            let grown = |(identity, ticks): (&Identity, &u64)| ticks.saturating_sub(former.get(identity).copied().unwrap_or(0));
            let used = ticks.iter().map(grown).sum::<u64>() as f64 / procfs::ticks_per_second() as f64;
            if passed > 0.0 {
                points.push(Point::new("process_cpu", used / passed));
            }
        }
        Ok(points)
    }
}

/// One look at the processes; the first is the one that was found.
struct Seen {
    first: Identity,
    processes: Vec<Figures>,
}

/// The figures of one process. What may not be read (descriptors of another user's process) is absent.
struct Figures {
    identity: Identity,
    ticks: u64,
    memory_bytes: f64,
    descriptors: Option<f64>,
    descriptors_ratio: Option<f64>,
    threads: f64,
}

impl Seen {
    /// Sums, and of the share of descriptors the worst: each process has a limit of its own.
    fn points(&self) -> Vec<Point> {
        let mut points = vec![Point::new("process_memory", self.processes.iter().map(|process| process.memory_bytes).sum())];
        let descriptors: Option<Vec<f64>> = self.processes.iter().map(|process| process.descriptors).collect();
        points.extend(descriptors.map(|all| Point::new("process_descriptors", all.iter().sum())));
        let worst = self
            .processes
            .iter()
            .filter_map(|process| process.descriptors_ratio)
            .fold(None, |worst: Option<f64>, ratio| Some(worst.map_or(ratio, |worst| worst.max(ratio))));
        points.extend(worst.map(|worst| Point::new("process_descriptors_ratio", worst)));
        points.push(Point::new("process_threads", self.processes.iter().map(|process| process.threads).sum()));
        points
    }
}

/// Looks at the process that is known, or finds it anew, and at its children.
fn observe(settings: &ProcessSettings, known: Option<Identity>) -> Result<Seen, ProbeError> {
    if let Find::Unit(unit) = &settings.find {
        let members = of_unit(unit)?;
        let oldest = members.iter().map(|(process, stat)| (stat.starttime, process.pid())).min();
        let Some((started, pid)) = oldest else {
            return Err(ProbeError { reason: "missing", detail: format!("no process belongs to the unit {unit}") });
        };
        return Ok(Seen {
            first: Identity { pid, started },
            processes: members.iter().map(|(process, stat)| look(process, stat)).collect(),
        });
    }
    let (process, stat) = first(settings, known)?;
    let mut processes = vec![look(&process, &stat)];
    if settings.children {
        processes.extend(descendants(process.pid())?.iter().map(|(process, stat)| look(process, stat)));
    }
    Ok(Seen { first: Identity { pid: process.pid(), started: stat.starttime }, processes })
}

/// The process that is known, if it lives, or found anew.
fn first(settings: &ProcessSettings, known: Option<Identity>) -> Result<(Process, Stat), ProbeError> {
    if let Some(known) = known
        && let Ok((process, stat)) = alive(known.pid)
        && stat.starttime == known.started
    {
        return Ok((process, stat));
    }
    match &settings.find {
        Find::Pid(pid) if known.is_some() => Err(ProbeError { reason: "missing", detail: format!("process {pid} has ended") }),
        Find::Pid(pid) => alive(*pid).map_err(|error| explain(&error, &format!("process {pid}"))),
        Find::Name(name) => by_name(name),
        Find::Port(port) => by_port(*port),
        Find::Unit(unit) => Err(ProbeError { reason: "missing", detail: format!("no process belongs to the unit {unit}") }),
    }
}

/// Everything that the process started, and what that started.
fn descendants(pid: i32) -> Result<Vec<(Process, Stat)>, ProbeError> {
    let mut all: Vec<(Process, Stat)> = all()?.collect();
    let mut family = BTreeSet::from([pid]);
    // A child may have a lower number than its parent, so that one pass is not enough.
    while all.iter().any(|(process, stat)| family.contains(&stat.ppid) && family.insert(process.pid())) {}
    all.retain(|(process, _)| process.pid() != pid && family.contains(&process.pid()));
    Ok(all)
}

/// The processes of a systemd unit: the kernel shows the unit in the path of their group.
fn of_unit(unit: &str) -> Result<Vec<(Process, Stat)>, ProbeError> {
    let belongs = |process: &Process| {
        process.cgroups().is_ok_and(|groups| groups.into_iter().any(|group| group.pathname.split('/').any(|part| part == unit)))
    };
    Ok(all()?.filter(|(process, _)| belongs(process)).collect())
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

/// The figures of a process.
fn look(process: &Process, stat: &Stat) -> Figures {
    let descriptors = process.fd_count().ok().map(|open| open as f64);
    let most = process.limits().ok().and_then(|limits| match limits.max_open_files.soft_limit {
        LimitValue::Value(most @ 1..) => Some(most as f64),
        LimitValue::Value(_) | LimitValue::Unlimited => None,
    });
    Figures {
        identity: Identity { pid: process.pid(), started: stat.starttime },
        ticks: stat.utime + stat.stime,
        memory_bytes: stat.rss_bytes().get() as f64,
        descriptors,
        descriptors_ratio: descriptors.zip(most).map(|(open, most)| open / most),
        threads: stat.num_threads as f64,
    }
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
        let find = |keys: &Json| decode::<ProcessSettings>(keys).find;
        assert_eq!(find(&json!({"port": 8080})), Find::Port(8080));
        assert_eq!(find(&json!({"name": "nginx"})), Find::Name("nginx".into()));
        assert_eq!(find(&json!({"unit": "nginx"})), Find::Unit("nginx.service".into()));
        assert_eq!(find(&json!({"unit": "user.slice"})), Find::Unit("user.slice".into()));
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
