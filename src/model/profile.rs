//! What to load and how: targets with their limits, profiles with scenarios, executors, flows and thresholds.
//! Made by `config`, never changed afterwards; a run keeps the profile it began with.

use std::collections::BTreeMap;
use std::time::Duration;

use super::flow::{Feeder, FlowNode};
use super::request::{HttpOptions, TlsOptions, TokenSource};
use super::staircase::{StairUnit, Staircase};
use super::threshold::Threshold;
use super::units::Rate;

/// A system that may be loaded.
#[derive(Debug, Clone)]
pub struct Target {
    /// Name in the configuration.
    pub name: String,
    /// Start of every relative address.
    pub base_url: Option<url::Url>,
    /// `production`, `staging` …; `production` needs an opt-in per profile.
    pub environment: String,
    /// Hosts that load may reach: `host:port`. The base address is always allowed. Networks among them, such as `10.2.0.0/16`, bound
    /// the addresses that all these names may lead to.
    pub allow: Vec<String>,
    /// Upper bounds on the load.
    pub limits: Limits,
    /// Where the target tells its version, if it does.
    pub version: Option<VersionSource>,
    /// TLS towards it.
    pub tls: TlsOptions,
}

impl Limits {
    /// Both at once: of each bound the lower one.
    #[must_use]
    pub fn strictest(self, other: Self) -> Self {
        let lower = |one: Rate, two: Rate| if two.as_per_second() < one.as_per_second() { two } else { one };
        Self {
            rate: self.rate.zip(other.rate).map(|(one, two)| lower(one, two)).or(self.rate).or(other.rate),
            vus: self.vus.into_iter().chain(other.vus).min(),
            duration: self.duration.into_iter().chain(other.duration).min(),
        }
    }
}

impl Target {
    /// True for a production environment, however it is written.
    pub fn is_production(&self) -> bool {
        let word = self.environment.trim().to_ascii_lowercase();
        matches!(word.as_str(), "production" | "prod" | "prd" | "live")
    }

    /// Every `host:port` that load on it may name, the base address first.
    pub fn hosts(&self) -> Vec<String> {
        let base = self.base_url.as_ref().and_then(|url| Some(format!("{}:{}", url.host_str()?, url.port_or_known_default()?)));
        base.into_iter()
            .chain(self.allow.iter().filter(|text| !text.contains('/')).cloned())
            .map(|host| host.to_ascii_lowercase())
            .collect()
    }
}

/// Upper bounds on the load of one target; `None` = no bound given.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// Requests or iterations a second.
    pub rate: Option<Rate>,
    /// VUs at one time.
    pub vus: Option<u64>,
    /// Length of a run.
    pub duration: Option<Duration>,
}

/// How to ask a target for its version.
#[derive(Debug, Clone)]
pub struct VersionSource {
    /// Path to get.
    pub path: String,
    /// Header that holds the version; `None`: the body, trimmed.
    pub header: Option<String>,
}

/// One load profile.
#[derive(Debug, Clone)]
pub struct Profile {
    /// Name in the configuration.
    pub name: String,
    /// Name of the target.
    pub target: String,
    /// One line for people.
    pub description: Option<String>,
    /// Loads a production target on purpose.
    pub allow_production: bool,
    /// In the order of the file.
    pub scenarios: Vec<Scenario>,
    /// Walked once before the load, by one VU; its variables are `${setup.NAME}` in every scenario. Counted apart.
    pub setup: Vec<FlowNode>,
    /// Walked once after the load, also when it was ended early. Counted apart.
    pub teardown: Vec<FlowNode>,
    /// How setup, teardown and shared logins connect.
    pub http: HttpOptions,
    /// The seed of its random values, where it is to be the same in every run.
    pub seed: Option<u64>,
    /// Tokens that all VUs share; an [`Auth::Shared`](super::request::Auth::Shared) refers to them by index.
    pub tokens: Vec<TokenSource>,
    /// What must hold.
    pub thresholds: Vec<Threshold>,
    /// Share of starts that may be dropped or unsent before the run is invalid.
    pub max_undelivered: f64,
    /// Digest of everything that decides what the load is; runs with equal digests can be compared.
    pub digest: String,
    /// What everybody who looks at a run of it must know, one sentence each; stands before the run's reasons.
    pub notes: Vec<String>,
}

/// Greatest seed: what every reader of JSON takes for the same number.
pub const MOST_SEED: u64 = (1 << 53) - 1;

/// One executor with its flow.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Name in the profile.
    pub name: String,
    /// When iterations start.
    pub executor: Executor,
    /// Offset from the start of the run, or from the end of the scenario that it waits for.
    pub start_time: Duration,
    /// The scenario that it waits for, by its index in the profile: that one's last iteration has ended before this one begins.
    pub start_after: Option<usize>,
    /// How starts that are due by the clock are spread.
    pub spacing: Spacing,
    /// What becomes of a start that is due while no VU is free.
    pub when_busy: WhenBusy,
    /// How long running iterations may go on after the regular end.
    pub graceful_stop: Duration,
    /// Least time between the starts of two iterations of one VU (closed executors).
    pub pace: Option<Duration>,
    /// Labels of its own.
    pub tags: BTreeMap<String, String>,
    /// Rows that iterations take values from.
    pub data: Vec<Feeder>,
    /// How its VUs connect.
    pub http: HttpOptions,
    /// What one iteration does.
    pub flow: Vec<FlowNode>,
}

/// When a scenario begins, as far as its profile tells: offsets in the run. Both are the same unless it waits for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begin {
    /// If all that it waits for end as early as they can.
    pub earliest: Duration,
    /// If all that it waits for take their whole time, without their graceful stop.
    pub latest: Duration,
}

/// When each scenario of a profile begins. A circle of scenarios that wait for each other, which configuration refuses, begins as if
/// one of them did not wait.
pub fn begins(scenarios: &[Scenario]) -> Vec<Begin> {
    let of = |index: usize| {
        let mut begin = Begin { earliest: Duration::ZERO, latest: Duration::ZERO };
        let mut next = scenarios.get(index);
        // Through all that it waits for, at most once each.
        for step in 0..scenarios.len() {
            let Some(scenario) = next else { break };
            if step > 0 {
                begin.latest += scenario.executor.duration();
                begin.earliest += if scenario.executor.may_end_early() { Duration::ZERO } else { scenario.executor.duration() };
            }
            begin.earliest += scenario.start_time;
            begin.latest += scenario.start_time;
            next = scenario.start_after.and_then(|other| scenarios.get(other));
        }
        begin
    };
    (0..scenarios.len()).map(of).collect()
}

/// A stage of a ramping executor: by its end the value is `target`.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    /// Length; zero = a jump.
    pub duration: Duration,
    /// VUs, or starts per time unit, at its end.
    pub target: f64,
    /// Name for phases and gates.
    pub name: Option<String>,
}

/// How starts are spread whose rate is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Spacing {
    /// As evenly as the rate allows: k6's way.
    #[default]
    Even,
    /// At random, as of many users who do not know each other: the gaps are exponential and the mean rate is the same. The same seed
    /// gives the same starts.
    Poisson {
        /// Of the random numbers.
        seed: u64,
    },
}

/// What becomes of a start that is due while no VU is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenBusy {
    /// It is dropped at once and counted, as in k6.
    #[default]
    Drop,
    /// It waits for a VU; its response time counts from when it was due.
    Queue,
}

/// When iterations start: k6's executors.
#[derive(Debug, Clone, PartialEq)]
pub enum Executor {
    /// A fixed number of VUs loop.
    ConstantVus {
        /// Number of VUs.
        vus: u64,
        /// Regular duration.
        duration: Duration,
    },
    /// The number of VUs follows stages.
    RampingVus {
        /// VUs at the start.
        start_vus: u64,
        /// The stages.
        stages: Vec<Stage>,
        /// How long a VU that is ramped down may finish its iteration.
        graceful_ramp_down: Duration,
    },
    /// Starts at a fixed rate.
    ConstantArrivalRate {
        /// The rate.
        rate: Rate,
        /// Regular duration.
        duration: Duration,
        /// VUs made before the start, and upper bound.
        vus: VuPool,
    },
    /// Starts at a rate that follows stages.
    RampingArrivalRate {
        /// Rate at the start; stage targets count per the same time unit.
        start_rate: Rate,
        /// The stages.
        stages: Vec<Stage>,
        /// VUs made before the start, and upper bound.
        vus: VuPool,
    },
    /// Every VU does a number of iterations.
    PerVuIterations {
        /// Number of VUs.
        vus: u64,
        /// Iterations of each VU.
        iterations: u64,
        /// No iteration starts after it; what was not started by then is dropped.
        max_duration: Duration,
    },
    /// VUs share a number of iterations: faster ones do more.
    SharedIterations {
        /// Number of VUs.
        vus: u64,
        /// Iterations in all, at least as many as VUs.
        iterations: u64,
        /// No iteration starts after it; what was not started by then is dropped.
        max_duration: Duration,
    },
    /// A number of VUs that is changed while they loop, by whoever steers the run.
    ExternallyControlled {
        /// VUs at the start.
        vus: u64,
        /// Most VUs.
        max_vus: u64,
        /// Regular duration.
        duration: Duration,
    },
    /// The load climbs in levels, each held and judged.
    Staircase(Box<Staircase>),
}

/// VUs of an open executor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VuPool {
    /// Made before the start.
    pub pre_allocated: u64,
    /// Made when needed, up to this.
    pub max: u64,
}

impl Executor {
    /// k6's name of the executor.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ConstantVus { .. } => "constant-vus",
            Self::RampingVus { .. } => "ramping-vus",
            Self::ConstantArrivalRate { .. } => "constant-arrival-rate",
            Self::RampingArrivalRate { .. } => "ramping-arrival-rate",
            Self::PerVuIterations { .. } => "per-vu-iterations",
            Self::SharedIterations { .. } => "shared-iterations",
            Self::ExternallyControlled { .. } => "externally-controlled",
            Self::Staircase { .. } => "staircase",
        }
    }

    /// True when starts are due by the clock, whatever the VUs do.
    pub fn is_open(&self) -> bool {
        self.pool().is_some()
    }

    /// The VUs that take starts which are due by the clock; `None` for closed executors.
    pub fn pool(&self) -> Option<VuPool> {
        match self {
            Self::ConstantArrivalRate { vus, .. } | Self::RampingArrivalRate { vus, .. } => Some(*vus),
            Self::Staircase(stairs) => match stairs.unit {
                StairUnit::Vus => None,
                StairUnit::Rate { vus, .. } => Some(vus),
            },
            Self::ConstantVus { .. }
            | Self::RampingVus { .. }
            | Self::PerVuIterations { .. }
            | Self::SharedIterations { .. }
            | Self::ExternallyControlled { .. } => None,
        }
    }

    /// Regular duration, without graceful stop; the longest one where it depends on the target.
    pub fn duration(&self) -> Duration {
        match self {
            Self::ConstantVus { duration, .. }
            | Self::ConstantArrivalRate { duration, .. }
            | Self::ExternallyControlled { duration, .. } => *duration,
            Self::PerVuIterations { max_duration, .. } | Self::SharedIterations { max_duration, .. } => *max_duration,
            Self::RampingVus { stages, .. } | Self::RampingArrivalRate { stages, .. } => stages.iter().map(|stage| stage.duration).sum(),
            Self::Staircase(stairs) => stairs.longest(),
        }
    }

    /// True when it may be over before its regular duration, because it has done what it was to do.
    pub fn may_end_early(&self) -> bool {
        match self {
            Self::PerVuIterations { .. } | Self::SharedIterations { .. } | Self::Staircase(_) => true,
            Self::ConstantVus { .. }
            | Self::RampingVus { .. }
            | Self::ConstantArrivalRate { .. }
            | Self::RampingArrivalRate { .. }
            | Self::ExternallyControlled { .. } => false,
        }
    }

    /// Most VUs that can exist at one time.
    pub fn max_vus(&self) -> u64 {
        match self {
            Self::ConstantVus { vus, .. } | Self::PerVuIterations { vus, .. } | Self::SharedIterations { vus, .. } => *vus,
            Self::RampingVus { start_vus, stages, .. } => stages.iter().map(|stage| stage.target as u64).max().unwrap_or(0).max(*start_vus),
            Self::ConstantArrivalRate { vus, .. } | Self::RampingArrivalRate { vus, .. } => vus.max,
            Self::ExternallyControlled { max_vus, .. } => *max_vus,
            Self::Staircase(stairs) => match stairs.unit {
                StairUnit::Vus => stairs.levels.iter().fold(0.0, |most: f64, level| most.max(*level)) as u64,
                StairUnit::Rate { vus, .. } => vus.max,
            },
        }
    }

    /// Highest rate of starts a second; `None` for closed executors, whose rate depends on the target.
    pub fn max_rate(&self) -> Option<f64> {
        match self {
            Self::ConstantVus { .. }
            | Self::RampingVus { .. }
            | Self::PerVuIterations { .. }
            | Self::SharedIterations { .. }
            | Self::ExternallyControlled { .. } => None,
            Self::ConstantArrivalRate { rate, .. } => Some(rate.as_per_second()),
            Self::RampingArrivalRate { start_rate, stages, .. } => {
                let top = stages.iter().map(|stage| stage.target).fold(start_rate.count, f64::max);
                Some(top / start_rate.per.as_secs_f64())
            }
            Self::Staircase(stairs) => match stairs.unit {
                StairUnit::Vus => None,
                StairUnit::Rate { per, .. } => Some(stairs.levels.iter().copied().fold(0.0, f64::max) / per.as_secs_f64()),
            },
        }
    }
}
