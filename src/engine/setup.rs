//! Everything the configuration says, resolved: what the engine works from. Replaced as a whole on reload.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::model::alerting::{Route, Rule};
use crate::model::digest::Digest;
use crate::model::muting::{Inhibit, MuteWindow};
use crate::model::profile::{Profile, Target};
use crate::model::retention::Policies;
use crate::model::schedule::Schedule;
use crate::model::suite::{Gate, Suite};
use crate::model::threshold::Series;
use crate::notify::{ChannelSpec, MessageTemplate};
use crate::probe::ProbeSpec;
use crate::probe::capture::CaptureSpec;
use crate::registry::Secret;

/// A resolved configuration.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// Targets by name.
    pub targets: BTreeMap<String, TargetSetup>,
    /// Profiles by name.
    pub profiles: BTreeMap<String, Profile>,
    /// What is captured during the runs of profiles, by profile.
    pub captures: BTreeMap<String, Vec<CaptureSpec>>,
    /// Where the load of production is read, by target.
    pub production: BTreeMap<String, ProductionLoad>,
    /// Programs may be run to see how a target does.
    pub allow_commands: bool,
    /// Schedules by name.
    pub schedules: BTreeMap<String, Schedule>,
    /// Alert rules: the user's and those of the default set that are on.
    pub rules: Vec<Rule>,
    /// Channels by name.
    pub channels: BTreeMap<String, ChannelSpec>,
    /// Routes in order.
    pub routes: Vec<Route>,
    /// Least time between two messages of one open incident (reminders).
    pub repeat_interval: Duration,
    /// Alerts that say nothing new while others fire.
    pub inhibit: Vec<Inhibit>,
    /// Times in which nobody is told, and schedules may stand still.
    pub maintenance: Vec<MuteWindow>,
    /// Times that routes name, in which they tell nothing.
    pub mute_timings: Vec<MuteWindow>,
    /// What is told of a day or a week.
    pub digests: Vec<Digest>,
    /// Messages in the user's own words, by channel.
    pub templates: BTreeMap<String, Arc<MessageTemplate>>,
    /// Where runs are kept.
    pub storage: StorageSetup,
    /// The HTTP server.
    pub server: ServerSetup,
    /// Logs.
    pub log: LogSetup,
    /// Load generation.
    pub load: LoadSetup,
    /// What is made of many runs.
    pub history: HistorySetup,
    /// What passes only after passes in a row, by name.
    pub gates: BTreeMap<String, Gate>,
    /// Tests with one verdict, by name.
    pub suites: BTreeMap<String, Suite>,
}

impl Setup {
    /// Targets with the names of their probes.
    pub fn probe_names(&self) -> Vec<(String, Vec<String>)> {
        let names = |target: &TargetSetup| target.probes.iter().map(|probe| probe.name.clone()).collect();
        self.targets.iter().map(|(name, target)| (name.clone(), names(target))).collect()
    }

    /// Makes every series that this configuration names appear on `/metrics`.
    pub fn seed(&self, metrics: &crate::metrics::Metrics) {
        metrics.seed(&crate::metrics::Known {
            profiles: &self.profiles,
            schedules: &self.schedules,
            rules: &self.rules,
            probes: &self.probe_names(),
            channels: &self.channels.keys().cloned().collect::<Vec<_>>(),
        });
    }
}

/// A series of a probe that says how much load production puts on a target, in requests a second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProductionLoad {
    /// Probe of the target.
    pub probe: String,
    /// Metric that it reads.
    pub metric: String,
    /// Labels of the series; those of several are added up.
    pub labels: BTreeMap<String, String>,
}

impl TargetSetup {
    /// The first host of a production target among those that load on this one may name.
    pub fn reaches_production(&self) -> Option<&ProductionHost> {
        let hosts = self.target.hosts();
        self.production.iter().find(|other| hosts.contains(&other.host))
    }
}

/// A host of a production target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProductionHost {
    /// Name of the target.
    pub target: String,
    /// `host:port` in lower case.
    pub host: String,
}

/// A target with its probes and guards.
#[derive(Debug, Clone)]
pub struct TargetSetup {
    /// The target.
    pub target: Target,
    /// Hosts of the production targets of this configuration, those of this one included: what they resolve to is loaded with the profile's
    /// opt-in only.
    pub production: Vec<ProductionHost>,
    /// Its probes.
    pub probes: Vec<ProbeSpec>,
    /// Conditions on which the load is stopped: the text as written and the condition that is bad.
    pub guards: Vec<(String, Series)>,
    /// Time between readings while no run is going on.
    pub idle_interval: Duration,
}

/// Where runs are kept.
#[derive(Debug, Clone)]
pub struct StorageSetup {
    /// `sqlite://PATH` or `postgres://…`; secret because it may hold a password.
    pub url: Secret,
    /// Folder for files of the daemon (mailboxes, spool).
    pub data_dir: PathBuf,
    /// How long what is kept.
    pub retention: Policies,
    /// Folder for what the database does not take.
    pub spool: PathBuf,
    /// Most bytes there.
    pub spool_limit: u64,
}

impl Default for StorageSetup {
    fn default() -> Self {
        Self {
            url: Secret::new("sqlite://plimsoll.db"),
            data_dir: PathBuf::from("."),
            retention: Policies::default(),
            spool: PathBuf::from("spool"),
            spool_limit: 256 << 20,
        }
    }
}

/// The HTTP server.
#[derive(Debug, Clone)]
pub struct ServerSetup {
    /// Address and port; port 0 = any free one.
    pub listen: String,
    /// How people reach it, for links in messages; `None`: `http://LISTEN`.
    pub external_url: Option<url::Url>,
    /// SHA-256 of each token that may start and cancel runs, with its name.
    pub tokens: Vec<(String, [u8; 32])>,
    /// Listen on a public address without tokens.
    pub insecure: bool,
}

impl Default for ServerSetup {
    fn default() -> Self {
        Self { listen: "127.0.0.1:9611".into(), external_url: None, tokens: Vec::new(), insecure: false }
    }
}

/// Logs.
#[derive(Debug, Clone)]
pub struct LogSetup {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a tracing filter.
    pub level: String,
    /// JSON lines instead of text.
    pub json: bool,
}

impl Default for LogSetup {
    fn default() -> Self {
        Self { level: "info".into(), json: false }
    }
}

/// What is made of many runs.
#[derive(Debug, Clone)]
pub struct HistorySetup {
    /// Runs of a profile that a run is compared with, at most.
    pub runs: u32,
    /// Re-runs of a profile within 24 hours, at most, when one run lies apart; 0: none.
    pub reruns: u32,
}

impl Default for HistorySetup {
    fn default() -> Self {
        Self { runs: 200, reruns: 2 }
    }
}

/// Load generation.
#[derive(Debug, Clone, Copy)]
pub struct LoadSetup {
    /// Threads that send load.
    pub threads: usize,
    /// Longest time that in-flight work may take when the daemon stops.
    pub drain: Duration,
}

impl Default for LoadSetup {
    fn default() -> Self {
        Self { threads: 1, drain: Duration::from_secs(10) }
    }
}
