//! The load line of a system: how much load is safe, how much is the most it can do, from where on it breaks, and what gives way first. From
//! the levels of a staircase, each at least a minute long. What was measured is told as the interval between two levels, never a point
//! between; what lies beyond the last level is an estimate and says so. Method and figures: docs/methods.md.

mod beyond;
mod bottleneck;
mod criteria;
mod demand;
pub mod finding;
mod zones;

pub use beyond::Estimate;
pub use bottleneck::{Bottleneck, Demand, Law, Refused};
pub use criteria::{Criterion, Outcome, What};
pub use zones::{Breaking, Peak, Safe};

use super::queueing::{Little, PoolAsked, PoolSize, pool_size};

/// Name and version of the method, for findings.
pub const METHOD: &str = "load-line/1";

/// What a resource is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Servers that requests hold for a time: connections of a pool, cores, worker threads. The number of busy ones grows with the load.
    Servers,
    /// A store that fills: memory, descriptors. It has a level without load.
    Store,
}

/// A resource during one level.
#[derive(Debug, Clone, PartialEq)]
pub struct Used {
    /// Name, the same at every level.
    pub resource: String,
    /// See [`Kind`].
    pub kind: Kind,
    /// How much was in use on average over the level.
    pub used: f64,
    /// How much there is.
    pub limit: f64,
}

/// A part of a level: ten seconds, say.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Window {
    /// Requests a second that succeeded.
    pub throughput: f64,
    /// Response time, in seconds.
    pub p95_s: Option<f64>,
    /// Mean wait for a connection, in seconds.
    pub wait_s: Option<f64>,
}

/// One level of load as it was measured, ramps left out.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Level {
    /// Load in the unit of the ladder: users, messages a minute.
    pub load: f64,
    /// How long it lasted, in seconds.
    pub seconds: f64,
    /// Requests a second that were due; `None` in a closed loop, where the target sets the pace.
    pub offered: Option<f64>,
    /// Requests that ended.
    pub requests: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Requests a second that succeeded.
    pub throughput: f64,
    /// Response time, in seconds.
    pub p95_s: Option<f64>,
    /// Mean response time, in seconds.
    pub mean_s: Option<f64>,
    /// Mean number of requests in flight.
    pub in_flight: Option<f64>,
    /// Resources that were read.
    pub resources: Vec<Used>,
    /// Parts of it, in order; fewer than six say nothing of its steadiness.
    pub windows: Vec<Window>,
}

impl Level {
    fn failed_share(&self) -> f64 {
        self.failed as f64 / self.requests.max(1) as f64
    }

    fn resource(&self, name: &str) -> Option<&Used> {
        self.resources.iter().find(|used| used.resource == name)
    }
}

/// What is asked of a level.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Unit of the load: "users".
    pub unit: String,
    /// Safe below this response time, in seconds.
    pub p95_s: Option<f64>,
    /// Safe with at most this share of failed requests.
    pub failed: f64,
    /// Safe with at most this share of any resource in use, unless `most` says otherwise.
    pub utilisation: f64,
    /// Safe with less than so much of a resource in use, in its unit.
    pub most: Vec<(String, f64)>,
    /// Broken with more than this share of failed requests.
    pub broken_failed: f64,
    /// Broken from this response time on, in seconds.
    pub broken_p95_s: Option<f64>,
}

impl Default for Plan {
    fn default() -> Self {
        Self { unit: "load".into(), p95_s: None, failed: 0.01, utilisation: 0.8, most: Vec::new(), broken_failed: 0.05, broken_p95_s: None }
    }
}

/// A level with what it met and did not meet.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// Its load.
    pub load: f64,
    /// What a safe level has to meet.
    pub criteria: Vec<Criterion>,
    /// What has given way; empty when nothing has.
    pub broken: Vec<Criterion>,
    /// Little's law, where the requests in flight were read.
    pub little: Option<Little>,
}

/// What a staircase says.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadLine {
    /// Unit of the loads.
    pub unit: String,
    /// Every level, ascending.
    pub levels: Vec<Judged>,
    /// Highest safe level; `None` when no level is safe.
    pub safe: Option<Safe>,
    /// Highest throughput; `None` without levels.
    pub peak: Option<Peak>,
    /// From where on it breaks; `None` without levels.
    pub breaking: Option<Breaking>,
    /// Resources by how soon they give way, the first first.
    pub bottlenecks: Vec<Bottleneck>,
    /// Load per request and second where the target keeps up, to read a capacity in the ladder's unit.
    pub load_per_request: Option<f64>,
}

impl LoadLine {
    /// The resource that gives way first, when its law is known.
    pub fn first(&self) -> Option<&Bottleneck> {
        self.bottlenecks.iter().find(|bottleneck| bottleneck.demand.is_ok())
    }

    /// Requests a second that the first bottleneck allows: the number by which nights are compared.
    pub fn capacity(&self) -> Option<f64> {
        self.first().and_then(|first| first.demand.as_ref().ok()).map(|demand| demand.capacity)
    }

    /// The size that a pool needs for a load, with at most 80 % of it busy and a mean wait of at most `wait_s`, and the resource that
    /// gives way next: a larger pool gains nothing beyond that one's capacity.
    pub fn pool_for(&self, resource: &str, per_second: f64, wait_s: Option<f64>) -> Option<(PoolSize, Option<&Bottleneck>)> {
        let pool = self.bottlenecks.iter().find(|bottleneck| bottleneck.resource == resource && bottleneck.kind == Kind::Servers)?;
        let asked = PoolAsked { per_second, service_s: pool.per_request_s?, variation: 1.0, utilisation: 0.8, wait_s };
        let next = self.bottlenecks.iter().find(|bottleneck| bottleneck.resource != resource && bottleneck.demand.is_ok());
        Some((pool_size(&asked)?, next))
    }
}

/// Judges the levels of a staircase or ladder, in any order. A level whose figures are no numbers is left out.
pub fn load_line(levels: &[Level], plan: &Plan) -> LoadLine {
    let sound = |level: &&Level| [level.load, level.throughput].iter().all(|value| super::numbers::is_number(*value) && *value >= 0.0);
    let mut levels: Vec<&Level> = levels.iter().filter(sound).collect();
    levels.sort_by(|one, other| one.load.total_cmp(&other.load));
    let goodput = levels.iter().map(|level| level.throughput).fold(0.0, f64::max);
    let judged: Vec<Judged> = levels.iter().enumerate().map(|(at, level)| criteria::judge(level, &levels[..at], goodput, plan)).collect();
    let load_per_request = bottleneck::load_per_request(&levels);
    let bottlenecks = bottleneck::ranked(&levels, load_per_request);
    LoadLine {
        unit: plan.unit.clone(),
        safe: zones::safe(&judged),
        peak: zones::peak(&levels),
        breaking: zones::breaking(&levels, &judged, &bottlenecks, plan),
        levels: judged,
        bottlenecks,
        load_per_request,
    }
}

#[cfg(test)]
mod tests;
