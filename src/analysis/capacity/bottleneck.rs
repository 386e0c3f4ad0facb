//! Which resource gives way first, and at which load: of servers by the utilisation law (`demand`), of stores by the line they fill along.
//! Levels with failures are left out; a resource that was hardly used says nothing of its capacity and is refused.

use super::demand::{fit, interval};
use super::{Kind, Level, Used};
use crate::analysis::numbers::{Span, is_number, median};
use crate::analysis::stats::theil_sen::theil_sen;

/// Fewest usable levels.
const LEVELS: usize = 3;
/// Share of failed requests from which on a level is left out; with too few levels, levels with more failures have to do.
const MOST_FAILED: f64 = 0.01;
const MANY_FAILED: f64 = 0.05;
/// Least utilisation at the highest usable level.
const LEAST_USED: f64 = 0.3;
/// Levels up to this share of the capacity (80 %, and what the capacity may be off) tell the demand that pools are sized by.
const UNDISTURBED: f64 = 0.83;
/// Share of the offered load that a target delivers while it keeps up.
const KEEPS_UP: f64 = 0.98;

/// By which law a capacity was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Law {
    /// Busy servers = throughput times demand, which may grow.
    Utilisation,
    /// A line from what is in use without load.
    Line,
}

/// What a resource costs and can do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Demand {
    /// See [`Law`].
    pub law: Law,
    /// By how much the demand of a request grows with each further request a second.
    pub growth: f64,
    /// Requests a second at which the resource is used up.
    pub capacity: f64,
    /// 95 % interval of it.
    pub interval: Span,
    /// The same in the unit of the load, when that is known.
    pub load: Option<f64>,
    /// Interval of the load.
    pub load_interval: Option<Span>,
    /// Number of levels it rests on.
    pub levels: usize,
    /// Highest share of failed requests among them: above 1 % only for want of other levels.
    pub failed: f64,
}

/// Why there is no capacity of a resource.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum Refused {
    /// Too few levels without failures.
    #[error("usable levels at which it was read: {have}, needed: {need}")]
    TooFewLevels {
        /// Levels there are.
        have: usize,
        /// Levels that are needed.
        need: usize,
    },
    /// Hardly used.
    #[error("at most {:.0} % of it was used: nothing can be said below 30 %", most * 100.0)]
    HardlyUsed {
        /// Highest share in use.
        most: f64,
    },
    /// It does not grow with the load.
    #[error("its use does not grow with the load")]
    DoesNotGrow,
    /// No limit is known.
    #[error("its limit is not known")]
    NoLimit,
}

/// A resource and how near it is to its end.
#[derive(Debug, Clone, PartialEq)]
pub struct Bottleneck {
    /// Name.
    pub resource: String,
    /// See [`Kind`].
    pub kind: Kind,
    /// How much there is.
    pub limit: f64,
    /// Most in use at any level.
    pub most_used: f64,
    /// Share in use at the level where it was most.
    pub utilisation: f64,
    /// Seconds that a request holds a server, over the levels that no queue disturbs; `None` of a store.
    pub per_request_s: Option<f64>,
    /// Capacity by its law.
    pub demand: Result<Demand, Refused>,
}

/// Load per request and second while the target keeps up: the median over the levels; `None` without throughput.
pub(super) fn load_per_request(levels: &[&Level]) -> Option<f64> {
    let keeps_up = |level: &&&Level| {
        level.throughput > 0.0 && level.load > 0.0 && level.offered.is_none_or(|offered| level.throughput >= KEEPS_UP * offered)
    };
    let ratios: Vec<f64> = levels.iter().filter(keeps_up).map(|level| level.load / level.throughput).collect();
    (!ratios.is_empty()).then(|| median(&ratios)).filter(|ratio| ratio.is_finite())
}

/// All resources, the one that gives way first first: by the capacity where its law is known, otherwise by the share in use.
pub(super) fn ranked(levels: &[&Level], load_per_request: Option<f64>) -> Vec<Bottleneck> {
    let mut names: Vec<&str> = Vec::new();
    for used in levels.iter().flat_map(|level| &level.resources) {
        if !names.contains(&used.resource.as_str()) {
            names.push(&used.resource);
        }
    }
    let highest = levels.iter().map(|level| level.throughput).fold(0.0, f64::max);
    let mut found: Vec<Bottleneck> = names.into_iter().filter_map(|name| bottleneck(levels, name, load_per_request)).collect();
    // Head-room as a multiple of what was tested.
    let room = |bottleneck: &Bottleneck| match &bottleneck.demand {
        Ok(demand) => demand.capacity / highest.max(f64::MIN_POSITIVE),
        Err(_) => 1.0 / bottleneck.utilisation.max(f64::MIN_POSITIVE),
    };
    found.sort_by(|one, other| room(one).total_cmp(&room(other)));
    let capacity =
        found.iter().filter_map(|bottleneck| bottleneck.demand.as_ref().ok()).map(|demand| demand.capacity).fold(f64::INFINITY, f64::min);
    for bottleneck in found.iter_mut().filter(|bottleneck| bottleneck.kind == Kind::Servers) {
        bottleneck.per_request_s = per_request_s(levels, &bottleneck.resource, capacity);
    }
    found
}

/// Seconds that a request holds a server: busy servers over throughput, over the levels well below the capacity of the whole.
fn per_request_s(levels: &[&Level], name: &str, capacity: f64) -> Option<f64> {
    let undisturbed =
        |level: &&&Level| level.failed_share() < MOST_FAILED && level.offered.unwrap_or(level.throughput) <= UNDISTURBED * capacity;
    let points = levels.iter().filter(undisturbed).filter_map(|level| Some((level.throughput, level.resource(name)?.used)));
    let (together, squares) = points
        .filter(|(_, used)| is_number(*used))
        .fold((0.0, 0.0), |(together, squares), (x, busy)| (together + x * busy, squares + x * x));
    (squares > 0.0 && together > 0.0).then(|| together / squares)
}

fn bottleneck(levels: &[&Level], name: &str, load_per_request: Option<f64>) -> Option<Bottleneck> {
    let read = || levels.iter().filter_map(|level| Some((*level, level.resource(name)?)));
    let used = || read().map(|(_, used)| used.used).filter(|used| is_number(*used));
    let (_, first) = read().next()?;
    let limit = read().map(|(_, used)| used.limit).filter(|limit| is_number(*limit)).fold(0.0, f64::max);
    let most_used = used().fold(0.0, f64::max);
    let below = |most: f64| -> Vec<(&Level, &Used)> {
        let usable = |(level, used): &(&Level, &Used)| level.throughput > 0.0 && is_number(used.used) && used.used > 0.0;
        read().filter(usable).filter(|(level, _)| level.failed_share() < most).collect()
    };
    let mut usable = below(MOST_FAILED);
    if usable.len() < LEVELS {
        usable = below(MANY_FAILED);
    }
    let points: Vec<(f64, f64)> = usable.iter().map(|(level, used)| (level.throughput, used.used)).collect();
    let failed = usable.iter().map(|(level, _)| level.failed_share()).fold(0.0, f64::max);
    let demand = capacity(&points, first.kind, limit).map(|demand| Demand {
        failed,
        load: load_per_request.map(|ratio| ratio * demand.capacity),
        load_interval: load_per_request.map(|ratio| Span { low: ratio * demand.interval.low, high: ratio * demand.interval.high }),
        ..demand
    });
    let utilisation = if limit > 0.0 { most_used / limit } else { 0.0 };
    Some(Bottleneck { resource: name.into(), kind: first.kind, limit, most_used, utilisation, per_request_s: None, demand })
}

/// Capacity from points (throughput, in use).
fn capacity(points: &[(f64, f64)], kind: Kind, limit: f64) -> Result<Demand, Refused> {
    if limit <= 0.0 {
        return Err(Refused::NoLimit);
    }
    if points.len() < LEVELS {
        return Err(Refused::TooFewLevels { have: points.len(), need: LEVELS });
    }
    let most = points.iter().map(|(_, used)| used / limit).fold(0.0, f64::max);
    if most < LEAST_USED {
        return Err(Refused::HardlyUsed { most });
    }
    match kind {
        Kind::Servers => servers(points, limit),
        Kind::Store => store(points, limit),
    }
}

fn servers(points: &[(f64, f64)], limit: f64) -> Result<Demand, Refused> {
    let curve = fit(points).ok_or(Refused::DoesNotGrow)?;
    let capacity = curve.capacity(limit);
    Ok(Demand {
        law: Law::Utilisation,
        growth: curve.growth,
        capacity,
        interval: interval(points, &curve, limit),
        load: None,
        load_interval: None,
        levels: points.len(),
        failed: 0.0,
    })
}

/// A store fills along a line from what it holds without load.
fn store(points: &[(f64, f64)], limit: f64) -> Result<Demand, Refused> {
    let (x, used): (Vec<f64>, Vec<f64>) = points.iter().copied().unzip();
    let slope = theil_sen(&x, &used, 0.95).map_err(|_| Refused::DoesNotGrow)?;
    let middle = (median(&x), median(&used));
    let full_at = |slope: f64| if slope > 0.0 { middle.0 + (limit - middle.1) / slope } else { f64::INFINITY };
    let capacity = full_at(slope.slope);
    if !capacity.is_finite() || capacity <= 0.0 {
        return Err(Refused::DoesNotGrow);
    }
    let span = Span { low: full_at(slope.high).min(capacity), high: full_at(slope.low).max(capacity) };
    Ok(Demand { law: Law::Line, growth: 0.0, capacity, interval: span, load: None, load_interval: None, levels: points.len(), failed: 0.0 })
}
