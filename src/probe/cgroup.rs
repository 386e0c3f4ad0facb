//! Probe `cgroup`: a group of processes of this machine (a container, a systemd unit) as the kernel accounts for it (cgroup v2): CPU and
//! throttling, memory of its limit, pressure. Reads files only. A figure whose controller is off is absent.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use procfs::process::Process;
use serde_json::Value as Json;
use tokio::time::Instant;

use super::process::{checked_pid, only_one, unit_name};
use super::rates::{Rates, push};
use super::{Probe, ProbeError, ProbeParts, ProbeSettings};
use crate::model::series::Point;
use crate::registry::{Context, Decode, KeyDoc, Kind, Node};
use crate::settings;

/// The line of this kind in the table of probes.
pub(super) const KIND: Kind<dyn ProbeSettings> = Kind {
    name: "cgroup",
    summary: "Reads a container or systemd unit as the kernel accounts for it: CPU, throttling, memory of its limit, pressure.",
    decode: |node, cx| CgroupSettings::decode(node, cx).map(|settings| Arc::new(settings) as Arc<dyn ProbeSettings>),
    keys: CgroupSettings::keys,
};

settings! {
    /// Reads a group of processes (cgroup v2). Give one of `path`, `pid`, `unit`.
    struct CgroupKeys titled "the probe" {
        /// Its folder: absolute, or below where the groups are mounted.
        path: optional String,
        /// The group of this process.
        pid: optional u32,
        /// The group of this systemd unit: `shop.service`.
        unit: optional String,
        /// Where the groups are mounted; when not given, what the kernel says.
        root: optional String,
    }
}

/// How the group is found.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Find {
    Path(String),
    Pid(i32),
    Unit(String),
}

/// The settings, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupSettings {
    find: Find,
    root: Option<PathBuf>,
}

impl CgroupSettings {
    /// The keys of the settings, for the schema and the reference.
    pub fn keys() -> Vec<KeyDoc> {
        CgroupKeys::keys()
    }
}

impl Decode for CgroupSettings {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let keys = CgroupKeys::decode(node, cx)?;
        let mut found = Vec::new();
        found.extend(keys.path.map(Find::Path));
        found.extend(keys.pid.and_then(|pid| checked_pid(pid, node, cx)).map(Find::Pid));
        found.extend(keys.unit.map(|unit| Find::Unit(unit_name(&unit))));
        let find = only_one(found, &["path", "pid", "unit"], node, cx)?;
        Some(Self { find, root: keys.root.map(PathBuf::from) })
    }

    fn schema() -> Json {
        CgroupKeys::schema()
    }
}

impl ProbeSettings for CgroupSettings {
    fn open(&self, _parts: &ProbeParts) -> Box<dyn Probe> {
        Box::new(CgroupProbe { settings: self.clone(), rates: Rates::default() })
    }

    fn describe(&self) -> String {
        match &self.find {
            Find::Path(path) => format!("group {path}"),
            Find::Pid(pid) => format!("group of process {pid}"),
            Find::Unit(unit) => format!("group of unit {unit}"),
        }
    }
}

/// An open probe.
struct CgroupProbe {
    settings: CgroupSettings,
    rates: Rates,
}

#[async_trait]
impl Probe for CgroupProbe {
    async fn read(&mut self) -> Result<Vec<Point>, ProbeError> {
        let settings = self.settings.clone();
        let read = tokio::task::spawn_blocking(move || settings.folder().and_then(|folder| Files::read(&folder))).await;
        let files = match read {
            Ok(files) => files?,
            Err(error) => return Err(ProbeError { reason: "parse", detail: format!("reading the group was broken off: {error}") }),
        };
        Ok(points(&files, &mut self.rates, Instant::now()))
    }
}

impl CgroupSettings {
    /// The folder of the group. Looked for every time: a unit that began anew may have another.
    fn folder(&self) -> Result<PathBuf, ProbeError> {
        let missing = |detail: String| ProbeError { reason: "missing", detail };
        let root = match &self.root {
            Some(root) => root.clone(),
            None => mount().ok_or_else(|| missing("this machine has no cgroups of version 2".into()))?,
        };
        match &self.find {
            Find::Path(path) => Ok(root.join(path)),
            Find::Pid(pid) => {
                let groups = Process::new(*pid).and_then(|process| process.cgroups());
                let groups = groups.map_err(|error| missing(format!("process {pid} has no group that can be read: {error}")))?;
                let group = groups.into_iter().find(|group| group.hierarchy == 0);
                let path = group.ok_or_else(|| missing(format!("process {pid} is in no group of version 2")))?.pathname;
                Ok(root.join(path.trim_start_matches('/')))
            }
            Find::Unit(unit) => find(&root, unit, 6).ok_or_else(|| missing(format!("no group is called {unit} below {}", root.display()))),
        }
    }
}

/// Where the kernel says that groups of version 2 are mounted.
fn mount() -> Option<PathBuf> {
    let mounts = procfs::process::Process::myself().ok()?.mountinfo().ok()?;
    mounts.into_iter().find(|mount| mount.fs_type == "cgroup2").map(|mount| mount.mount_point)
}

/// The folder called `name` at most `depth` below `root`.
fn find(root: &Path, name: &str, depth: u32) -> Option<PathBuf> {
    let direct = root.join(name);
    if direct.is_dir() {
        return Some(direct);
    }
    if depth == 0 {
        return None;
    }
    let folders = std::fs::read_dir(root).ok()?.flatten().map(|entry| entry.path()).filter(|path| path.is_dir() && !path.is_symlink());
    folders.into_iter().find_map(|folder| find(&folder, name, depth - 1))
}

/// The texts of a group's files; `None` for those that it does not have.
#[derive(Debug, Default)]
struct Files {
    cpu_stat: Option<String>,
    cpu_max: Option<String>,
    memory_current: Option<String>,
    memory_max: Option<String>,
    memory_events: Option<String>,
    memory_stat: Option<String>,
    pressures: Vec<(&'static str, String)>,
}

impl Files {
    fn read(folder: &Path) -> Result<Self, ProbeError> {
        let text = |name: &str| match std::fs::read_to_string(folder.join(name)) {
            Ok(text) => Ok(Some(text)),
            // ENODEV and EOPNOTSUPP: the controller, or pressure, is off.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Err(ProbeError { reason: "permission", detail: format!("{} may not be read", folder.join(name).display()) })
            }
            Err(_) => Ok(None),
        };
        let mut pressures = Vec::new();
        for (resource, name) in [("cpu", "cpu.pressure"), ("memory", "memory.pressure"), ("io", "io.pressure")] {
            pressures.extend(text(name)?.map(|text| (resource, text)));
        }
        let files = Self {
            cpu_stat: text("cpu.stat")?,
            cpu_max: text("cpu.max")?,
            memory_current: text("memory.current")?,
            memory_max: text("memory.max")?,
            memory_events: text("memory.events")?,
            memory_stat: text("memory.stat")?,
            pressures,
        };
        if files.cpu_stat.is_none() && files.memory_current.is_none() {
            let detail = format!("{} is no group of version 2, or has ended", folder.display());
            return Err(ProbeError { reason: "missing", detail });
        }
        Ok(files)
    }
}

/// The number behind a word: `nr_throttled 12`.
fn field(text: Option<&str>, name: &str) -> Option<f64> {
    text?.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// The figures of one reading.
fn points(files: &Files, rates: &mut Rates, at: Instant) -> Vec<Point> {
    let mut points = Vec::new();
    let stat = files.cpu_stat.as_deref();
    let cores = rates.rate("cpu", at, field(stat, "usage_usec").map(|us| us / 1e6));
    push(&mut points, "cgroup_cpu", cores);
    let limit = files.cpu_max.as_deref().and_then(|text| {
        let (quota, period) = text.trim().split_once(' ')?;
        Some(quota.parse::<f64>().ok()? / period.parse::<f64>().ok().filter(|period| *period > 0.0)?)
    });
    push(&mut points, "cgroup_cpu_utilization", cores.zip(limit).filter(|(_, limit)| *limit > 0.0).map(|(cores, limit)| cores / limit));
    push(&mut points, "cgroup_throttled", rates.mean("throttled", at, field(stat, "nr_throttled"), field(stat, "nr_periods")));
    let number = |text: &Option<String>| text.as_deref().and_then(|text| text.trim().parse::<f64>().ok());
    let memory = number(&files.memory_current);
    push(&mut points, "cgroup_memory", memory);
    let most = number(&files.memory_max).filter(|most| *most > 0.0);
    push(&mut points, "cgroup_memory_ratio", memory.zip(most).map(|(memory, most)| memory / most));
    // What Kubernetes calls the working set, and evicts by: file cache that nobody has used for a while is given back when it is needed.
    let idle_cache = field(files.memory_stat.as_deref(), "inactive_file");
    let working = memory.zip(idle_cache).map(|(memory, cache)| (memory - cache).max(0.0));
    push(&mut points, "cgroup_memory_working_ratio", working.zip(most).map(|(working, most)| working / most));
    for event in ["high", "max", "oom", "oom_kill"] {
        let rate = rates.rate(&format!("memory/{event}"), at, field(files.memory_events.as_deref(), event));
        points.extend(rate.map(|rate| Point::new("cgroup_memory_events", rate).with("event", event)));
    }
    for (resource, text) in &files.pressures {
        for kind in ["some", "full"] {
            let total = text.lines().find_map(|line| line.strip_prefix(kind)?.rsplit_once("total=")?.1.trim().parse::<f64>().ok());
            let share = rates.rate(&format!("{resource}/{kind}"), at, total.map(|us| us / 1e6));
            let point = |share: f64| Point::new("cgroup_pressure", share.min(1.0)).with("resource", *resource).with("kind", kind);
            points.extend(share.map(point));
        }
    }
    points
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::probe::tests::{decode, diagnostics};

    #[test]
    fn exactly_one_way_to_find_the_group_is_given() {
        assert_eq!(decode::<CgroupSettings>(&json!({"unit": "shop"})).find, Find::Unit("shop.service".into()));
        assert!(diagnostics::<CgroupSettings>(&json!({}))[0].starts_with("missing-key"));
        assert!(diagnostics::<CgroupSettings>(&json!({"path": "a", "pid": 1}))[0].starts_with("conflicting-keys"));
    }

    #[test]
    fn throttling_limits_and_pressure_are_made_of_growth() {
        let files = |usage: u32, periods: u32, throttled: u32, waited: u32, kills: u32| Files {
            cpu_stat: Some(format!("usage_usec {usage}\nuser_usec 1\nnr_periods {periods}\nnr_throttled {throttled}\nthrottled_usec 5\n")),
            cpu_max: Some("50000 100000\n".into()),
            memory_current: Some("536870912\n".into()),
            memory_max: Some("1073741824\n".into()),
            memory_events: Some(format!("low 0\nhigh 0\nmax 7\noom 0\noom_kill {kills}\n")),
            memory_stat: Some("anon 1\nfile 1\ninactive_anon 5\nactive_file 2\ninactive_file 268435456\n".into()),
            pressures: vec![("cpu", format!("some avg10=0.00 avg60=0.00 avg300=0.00 total={waited}\n"))],
        };
        let (mut rates, start) = (Rates::default(), Instant::now());
        let first = points(&files(1_000_000, 100, 10, 0, 0), &mut rates, start);
        let expected = [("cgroup_memory", 536_870_912.0), ("cgroup_memory_ratio", 0.5), ("cgroup_memory_working_ratio", 0.25)]
            .map(|(name, value)| Point::new(name, value));
        assert_eq!(first, expected);
        let second = points(&files(1_500_000, 110, 18, 250_000, 1), &mut rates, start + Duration::from_secs(1));
        for point in [
            Point::new("cgroup_cpu", 0.5),
            Point::new("cgroup_cpu_utilization", 1.0),
            Point::new("cgroup_throttled", 0.8),
            Point::new("cgroup_memory_events", 1.0).with("event", "oom_kill"),
            Point::new("cgroup_memory_events", 0.0).with("event", "max"),
            Point::new("cgroup_pressure", 0.25).with("resource", "cpu").with("kind", "some"),
        ] {
            assert!(second.contains(&point), "{point:?} is not in {second:?}");
        }
    }

    #[test]
    fn without_limits_there_is_no_share() {
        let files = Files {
            cpu_stat: Some("usage_usec 5\n".into()),
            cpu_max: Some("max 100000\n".into()),
            memory_current: Some("5\n".into()),
            memory_max: Some("max\n".into()),
            ..Files::default()
        };
        let (mut rates, start) = (Rates::default(), Instant::now());
        points(&files, &mut rates, start);
        let names: Vec<String> = points(&files, &mut rates, start + Duration::from_secs(1)).into_iter().map(|point| point.metric).collect();
        assert_eq!(names, ["cgroup_cpu", "cgroup_memory"]);
    }
}
