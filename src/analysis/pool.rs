//! Was a pool full, since when, for how long, and how many of the failures fall into those seconds? A utilization of 0.99 or more,
//! or callers that began to wait, makes a second a full one (docs/methods.md, "Pools"). Needs at least 5 readings.

use std::collections::BTreeSet;

/// Utilization from which on a pool counts as full.
const FULL: f64 = 0.99;
/// Least number of readings.
const MINIMUM: usize = 5;
/// Least number of full seconds worth telling.
const LEAST_FULL: usize = 2;

/// One second of a pool, as read.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PoolSecond {
    /// Second of the run.
    pub second: u32,
    /// 0 to 1.
    pub utilization: f64,
    /// Checked out.
    pub in_use: Option<f64>,
    /// Configured maximum.
    pub limit: Option<f64>,
    /// Callers waiting.
    pub waiting: Option<f64>,
    /// Waits that began, per second.
    pub waits: Option<f64>,
}

/// A pool that was full.
#[derive(Debug, Clone, PartialEq)]
pub struct FullPool {
    /// First full second.
    pub from: u32,
    /// Last full second.
    pub to: u32,
    /// Number of full seconds.
    pub seconds: usize,
    /// Number of readings.
    pub readings: usize,
    /// Highest number checked out.
    pub in_use: Option<f64>,
    /// Configured maximum.
    pub limit: Option<f64>,
    /// Most callers waiting at one time.
    pub waiting: Option<f64>,
    /// Share of the run's failures that fall into full seconds (or the second after); `None` without failures.
    pub failures_share: Option<f64>,
}

/// Looks at one pool; `failures` are (second, failed requests). `None`: it was not full, or too little was read.
pub fn full_pool(readings: &[PoolSecond], failures: &[(u32, u64)]) -> Option<FullPool> {
    if readings.len() < MINIMUM {
        return None;
    }
    let full: BTreeSet<u32> = readings.iter().filter(|reading| reading.utilization >= FULL).map(|reading| reading.second).collect();
    if full.len() < LEAST_FULL {
        return None;
    }
    let most = |value: fn(&PoolSecond) -> Option<f64>| readings.iter().filter_map(value).reduce(f64::max);
    let total: u64 = failures.iter().map(|(_, failed)| failed).sum();
    // A request that waited in vain fails after its wait: the second after a full one counts too.
    let within = |second: u32| full.contains(&second) || second > 0 && full.contains(&(second - 1));
    let explained: u64 = failures.iter().filter(|(second, _)| within(*second)).map(|(_, failed)| failed).sum();
    Some(FullPool {
        from: *full.first()?,
        to: *full.last()?,
        seconds: full.len(),
        readings: readings.len(),
        in_use: most(|reading| reading.in_use),
        limit: most(|reading| reading.limit),
        waiting: most(|reading| reading.waiting),
        failures_share: (total > 0).then(|| explained as f64 / total as f64),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readings(values: &[f64]) -> Vec<PoolSecond> {
        values
            .iter()
            .enumerate()
            .map(|(second, value)| PoolSecond {
                second: second as u32,
                utilization: *value,
                in_use: Some(value * 20.0),
                ..PoolSecond::default()
            })
            .collect()
    }

    #[test]
    fn says_from_when_to_when_and_what_it_explains() {
        let found = full_pool(&readings(&[0.2, 0.9, 1.0, 1.0, 1.0, 0.4]), &[(0, 1), (3, 6), (5, 3)]).unwrap();
        assert_eq!((found.from, found.to, found.seconds, found.readings, found.in_use), (2, 4, 3, 6, Some(20.0)));
        assert_eq!(found.failures_share, Some(0.9));
    }

    #[test]
    fn is_silent_without_enough_data_or_saturation() {
        assert_eq!(full_pool(&readings(&[1.0, 1.0, 1.0, 1.0]), &[]), None);
        assert_eq!(full_pool(&readings(&[0.5, 0.9, 0.95, 1.0, 0.9, 0.4]), &[]), None);
        assert_eq!(full_pool(&readings(&[1.0; 6]), &[]).unwrap().failures_share, None);
    }
}
