//! What analysis concluded of a run, as numbers: kept in the run's summary, shown on `/metrics`, asked by alert rules. The same in words
//! are its findings. A number that could not be told is absent.

use serde::{Deserialize, Serialize};

use super::Labels;
use super::threshold::Unit;
use crate::choice;

/// Everything that was concluded.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Analysed {
    /// One for each resource that was followed under constant load.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trends: Vec<TrendFound>,
    /// What the levels of a staircase or ramp say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<CapacityFound>,
    /// What became of each figure after a spike of load.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recoveries: Vec<RecoveryFound>,
    /// Why requests failed or were slow.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<CauseFound>,
    /// The size that pools would need for the load of the run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<NeedFound>,
}

impl Analysed {
    /// True when nothing was concluded.
    pub fn is_empty(&self) -> bool {
        self.trends.is_empty() && self.capacity.is_none() && self.recoveries.is_empty() && self.causes.is_empty() && self.needs.is_empty()
    }
}

choice! {
    /// A resource that may grow without end.
    #[derive(PartialOrd, Ord)]
    pub enum Resource {
        /// Memory of a process.
        Memory = "memory",
        /// Connections of a pool that are checked out.
        Connections = "connections",
        /// Open file descriptors of a process.
        Descriptors = "descriptors",
        /// Threads of a process.
        Threads = "threads",
        /// Callers that wait for a connection of a pool.
        Queue = "queue",
        /// 95th percentile of the response times.
        P95 = "p95",
        /// Share of requests that failed.
        Errors = "errors",
    }
}

impl Resource {
    /// What its values are.
    pub fn unit(self) -> Unit {
        match self {
            Self::Memory => Unit::Bytes,
            Self::Connections | Self::Descriptors | Self::Threads | Self::Queue => Unit::Count,
            Self::P95 => Unit::Time,
            Self::Errors => Unit::Ratio,
        }
    }
}

choice! {
    /// What a trend comes to.
    pub enum TrendVerdict {
        /// It grows, and goes on growing.
        Leak = "leak",
        /// It grew, and levels off.
        Levelling = "levelling",
        /// It jumped once.
        Step = "step",
        /// It grows by less than matters.
        Tiny = "tiny",
        /// No growth is seen.
        NoLeak = "no_leak",
        /// The data do not answer.
        Unknown = "unknown",
    }
}

choice! {
    /// How sure a leak is.
    #[derive(PartialOrd, Ord)]
    pub enum Sureness {
        /// Worth watching.
        Possible = "possible",
        /// Significant at 2 % over all resources of the run.
        Likely = "likely",
        /// The same at 0.1 %.
        Certain = "certain",
    }
}

/// A number with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Ranged {
    /// The number.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end; `None`: nothing limits it.
    pub high: Option<f64>,
}

impl Ranged {
    /// A number with its interval; an upper end that is not finite is none. `None` when the number or the lower end is not finite.
    pub fn new(value: f64, low: f64, high: f64) -> Option<Self> {
        (value.is_finite() && low.is_finite()).then(|| Self { value, low, high: Some(high).filter(|high| high.is_finite()) })
    }
}

/// What one resource did under constant load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrendFound {
    /// Which.
    pub resource: Resource,
    /// Probe that read it; `None`: figures of the load itself.
    pub probe: Option<String>,
    /// Labels of the series, without target and probe: `pool`, `replica` …
    pub labels: Labels,
    /// What it comes to.
    pub verdict: TrendVerdict,
    /// How sure a leak is; `None`: none is suspected.
    pub sureness: Option<Sureness>,
    /// Growth per hour in base units; of `p95` as a share.
    pub per_hour: Option<Ranged>,
    /// The limit, when one is known, in base units.
    pub limit: Option<f64>,
    /// Seconds until the limit is reached if it goes on like this.
    pub exhausted_in_s: Option<Ranged>,
    /// Growth over the time judged that would have been found with a chance of 80 %.
    pub detectable: Option<f64>,
    /// The same per hour.
    #[serde(default)]
    pub detectable_per_hour: Option<f64>,
    /// First second judged.
    pub from_s: f64,
    /// Last second judged.
    pub to_s: f64,
    /// The same in words.
    pub title: String,
}

/// The load line of a run: what a staircase or ramp says of the target's capacity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CapacityFound {
    /// Scenario that climbed.
    pub scenario: String,
    /// What loads count: `VUs`, `starts/min`.
    pub unit: String,
    /// Whether the levels are pieces of a ramp, not levels that were held.
    pub from_ramp: bool,
    /// Highest safe load that was tested.
    pub safe: Option<f64>,
    /// The load above it that is not safe; `None`: all that were tested are.
    pub unsafe_from: Option<f64>,
    /// Load with the highest throughput.
    pub peak: Option<f64>,
    /// That throughput in successful requests a second.
    pub peak_per_second: Option<f64>,
    /// Whether more load was tried and brought no more.
    pub peak_reached: bool,
    /// First load at which it broke.
    pub breaking: Option<f64>,
    /// Estimate of the load at which it would break, beyond what was tested.
    pub breaking_estimate: Option<Ranged>,
    /// Requests a second that the first bottleneck allows: the number by which nights are compared.
    pub per_second: Option<Ranged>,
    /// Resources by how soon they give way.
    pub bottlenecks: Vec<BottleneckFound>,
    /// Every level with what it met.
    pub levels: Vec<LevelFound>,
    /// The table that people make by hand: a row for each criterion.
    pub table: Vec<CapacityRow>,
}

impl CapacityFound {
    /// The number by which runs are compared, in requests a second, and what it is: that of the first bottleneck, else the peak.
    pub fn number(&self) -> Option<f64> {
        self.per_second.map(|number| number.value).or(self.peak_per_second)
    }
}

/// A resource and how near it is to its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BottleneckFound {
    /// Name.
    pub resource: String,
    /// Highest share in use at any level.
    pub utilization: f64,
    /// Requests a second at which it is used up; `None` when nothing can be said.
    pub per_second: Option<Ranged>,
}

choice! {
    /// What a level of load comes to.
    pub enum LevelOutcome {
        /// It met everything.
        Safe = "safe",
        /// Too little was measured to say.
        Unsure = "unsure",
        /// It missed something.
        Unsafe = "unsafe",
        /// The target broke.
        Broken = "broken",
    }
}

/// One level of load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LevelFound {
    /// Its load.
    pub load: f64,
    /// Seconds that count.
    pub seconds: f64,
    /// Successful requests a second.
    pub per_second: f64,
    /// 95th percentile of the response times in seconds.
    pub p95_s: Option<f64>,
    /// Share of requests that failed.
    pub failed: f64,
    /// What it comes to.
    pub outcome: LevelOutcome,
    /// Criteria that were met, in words.
    pub met: Vec<String>,
    /// Criteria that were not, or of which nothing can be said.
    pub missed: Vec<String>,
}

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapacityRow {
    /// What it shows.
    pub name: String,
    /// At the safe level.
    pub safe: String,
    /// At the peak.
    pub peak: String,
    /// Where it breaks, or what is estimated.
    pub breaking: String,
}

choice! {
    /// Whether a figure was back after a spike.
    pub enum RecoveryState {
        /// Back, and it stayed back.
        Recovered = "recovered",
        /// Still worse at the end.
        StaysWorse = "stays_worse",
        /// Nothing can be said.
        Unknown = "unknown",
    }
}

/// What became of one figure after a spike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecoveryFound {
    /// `p95`, `failures` or `throughput`.
    pub what: String,
    /// Whether it was back.
    pub state: RecoveryState,
    /// Seconds after the spike at which it was back.
    pub after_s: Option<f64>,
    /// How much worse at worst, as a multiple of the baseline.
    pub worst: Option<f64>,
    /// First second of the spike.
    pub spike_from_s: f64,
    /// Second from which on the load was back.
    pub spike_to_s: f64,
}

/// Why requests failed or were slow in some seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CauseFound {
    /// `failures` or `slowness`.
    pub harm: String,
    /// The resource that explains it; `None`: none that was read does.
    pub resource: Option<String>,
    /// First second of the harm.
    pub from_s: u32,
    /// Last second of it.
    pub to_s: u32,
    /// First second in which the resource was full.
    pub full_from_s: Option<u32>,
    /// Last second of that.
    pub full_to_s: Option<u32>,
    /// Share of all harm of the run that falls into these seconds.
    pub share: Option<f64>,
    /// Share of the run in which the resource was full.
    pub time: Option<f64>,
    /// Seconds by which it was full before the harm began.
    pub lead_s: Option<i64>,
    /// Chance of so much overlap without a connection.
    pub chance: Option<f64>,
    /// What the server said of the failures, most often.
    pub said: Option<String>,
}

/// The size that a pool would need for the load of the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NeedFound {
    /// Probe that read it.
    pub probe: String,
    /// Its name.
    pub pool: String,
    /// Its size in the run.
    pub limit: Option<f64>,
    /// Connections needed.
    pub connections: Ranged,
    /// Connections busy on average, had all requests been served.
    pub busy: f64,
    /// Requests a second that were due; of closed loops as many as they would make if they had not to wait for the pool.
    pub per_second: f64,
    /// The same of closed loops as it was measured; `None` without them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<f64>,
    /// Seconds of an answer in closed loops without the connection and the wait for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_s: Option<f64>,
    /// Seconds between an answer and the next request of a user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub between_s: Option<f64>,
    /// Seconds that a request holds a connection, on average.
    pub hold_s: f64,
    /// The same in all but the worst twentieth of the seconds.
    pub hold_p95_s: f64,
    /// Connections in use and callers waiting together.
    pub in_line: Option<f64>,
    /// So many can ask at one time: VUs of a closed loop.
    pub callers: Option<f64>,
    /// What the rule of thumb says: (VUs × 1.5 + requests a second / 10) + 20 %.
    pub rule_of_thumb: Option<f64>,
    /// Connections of this and all other pools together.
    pub together: Option<f64>,
    /// What the database server allows.
    pub server: Option<f64>,
    /// Seconds it rests on.
    pub seconds: u32,
}
