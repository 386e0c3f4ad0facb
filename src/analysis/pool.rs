//! Was a pool exhausted, since when, for how long, and how many of the failures fall into those seconds? A utilization of 0.99 or more
//! makes a second an exhausted one, and so does a caller that had to wait: a pool that is read once a second can be full between two
//! readings, its counters of waits miss nothing (docs/probes.md, "Pools"). Needs at least 5 readings.

use std::collections::BTreeSet;

/// Utilization from which on a pool counts as full.
const FULL: f64 = 0.99;
/// Least number of readings.
const MINIMUM: usize = 5;
/// Least number of exhausted seconds worth telling.
const LEAST_FULL: usize = 2;

/// One second of a pool, as read.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PoolSecond {
    /// Second of the run.
    pub second: u32,
    /// 0 to 1; `None` when the maximum is not known.
    pub utilization: Option<f64>,
    /// Checked out.
    pub in_use: Option<f64>,
    /// Configured maximum.
    pub limit: Option<f64>,
    /// Callers waiting.
    pub waiting: Option<f64>,
    /// Waits that began, or that ended in vain, per second.
    pub waits: Option<f64>,
}

impl PoolSecond {
    /// At its limit, or somebody had to wait.
    pub fn is_exhausted(&self) -> bool {
        let some = |value: Option<f64>| value.is_some_and(|value| value > 0.0);
        self.utilization.is_some_and(|utilization| utilization >= FULL) || some(self.waiting) || some(self.waits)
    }
}

/// A pool that was exhausted.
#[derive(Debug, Clone, PartialEq)]
pub struct FullPool {
    /// First exhausted second.
    pub from: u32,
    /// Last exhausted second.
    pub to: u32,
    /// Number of exhausted seconds.
    pub seconds: usize,
    /// Number of readings.
    pub readings: usize,
    /// Highest number checked out in those seconds.
    pub in_use: Option<f64>,
    /// Configured maximum in those seconds.
    pub limit: Option<f64>,
    /// Most callers waiting at one time.
    pub waiting: Option<f64>,
    /// True when a reading saw it full; else it is known only from callers that had to wait.
    pub seen_full: bool,
    /// Share of the run's failures that fall into exhausted seconds (or the second after); `None` without failures.
    pub failures_share: Option<f64>,
}

/// Looks at one pool; `failures` are (second, failed requests). `None`: it was not exhausted, or too little was read.
pub fn full_pool(readings: &[PoolSecond], failures: &[(u32, u64)]) -> Option<FullPool> {
    if readings.len() < MINIMUM {
        return None;
    }
    let full: BTreeSet<u32> = readings.iter().filter(|reading| reading.is_exhausted()).map(|reading| reading.second).collect();
    if full.len() < LEAST_FULL {
        return None;
    }
    // Of the exhausted seconds: the size may have been another one before and after.
    let exhausted = || readings.iter().filter(|reading| full.contains(&reading.second));
    let most = |value: fn(&PoolSecond) -> Option<f64>| exhausted().filter_map(value).reduce(f64::max);
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
        seen_full: most(|reading| reading.utilization).is_some_and(|most| most >= FULL),
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
                utilization: Some(*value),
                in_use: Some(value * 20.0),
                ..PoolSecond::default()
            })
            .collect()
    }

    #[test]
    fn says_from_when_to_when_and_what_it_explains() {
        let found = full_pool(&readings(&[0.2, 0.9, 1.0, 1.0, 1.0, 0.4]), &[(0, 1), (3, 6), (5, 3)]).unwrap();
        assert_eq!((found.from, found.to, found.seconds, found.readings, found.in_use), (2, 4, 3, 6, Some(20.0)));
        assert_eq!((found.failures_share, found.seen_full), (Some(0.9), true));
    }

    #[test]
    fn callers_that_waited_tell_of_an_exhaustion_between_two_readings() {
        let mut seen = readings(&[0.2, 0.9, 0.95, 0.9, 0.3, 0.2]);
        assert_eq!(full_pool(&seen, &[]), None);
        (seen[1].waits, seen[2].waits, seen[3].waits) = (Some(12.0), Some(0.0), Some(3.0));
        let found = full_pool(&seen, &[(1, 5), (5, 5)]).unwrap();
        assert_eq!((found.from, found.to, found.seconds, found.seen_full, found.failures_share), (1, 3, 2, false, Some(0.5)));
        // Also of a pool whose maximum is not known.
        for second in &mut seen {
            second.utilization = None;
        }
        assert_eq!(full_pool(&seen, &[]).map(|found| found.seconds), Some(2));
    }

    #[test]
    fn is_silent_without_enough_data_or_saturation() {
        assert_eq!(full_pool(&readings(&[1.0, 1.0, 1.0, 1.0]), &[]), None);
        assert_eq!(full_pool(&readings(&[0.5, 0.9, 0.95, 1.0, 0.9, 0.4]), &[]), None);
        assert_eq!(full_pool(&readings(&[1.0; 6]), &[]).unwrap().failures_share, None);
    }
}
