//! A system with a known capacity: requests pass processor cores, then hold a connection of a pool; each of several loads is offered for 40
//! seconds. Open arrivals (Poisson); who waits too long for a connection fails. Capacity is the least of pool and cores.

use rand::RngExt;
use rand::rngs::Xoshiro256PlusPlus;
use rand_distr::{Distribution, Exp, LogNormal, Normal, Poisson};

use crate::goal::dice;

/// Seconds of a load, and seconds at its begin that are not looked at.
const LENGTH: f64 = 40.0;
const WARM_UP: f64 = 5.0;
/// Offered loads as shares of the capacity.
pub(crate) const SHARES: [f64; 12] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25];

/// A simulated system.
#[derive(Debug, Clone, Copy)]
pub(crate) struct System {
    pub(crate) name: &'static str,
    pub(crate) connections: usize,
    /// Seconds that a request holds its connection when nobody else is there.
    pub(crate) hold_s: f64,
    /// Its coefficient of variation.
    variation: f64,
    pub(crate) cores: usize,
    pub(crate) cpu_s: f64,
    /// By how much each other busy connection lengthens the hold.
    contention: f64,
    timeout_s: f64,
}

const fn system(name: &'static str, pool: (usize, f64, f64), cores: (usize, f64), contention: f64, timeout_s: f64) -> System {
    System { name, connections: pool.0, hold_s: pool.1, variation: pool.2, cores: cores.0, cpu_s: cores.1, contention, timeout_s }
}

pub(crate) const SYSTEMS: [System; 6] = [
    system("pool10", (10, 0.020, 1.0), (8, 0.004), 0.0, 1.0),
    system("pool20_cv2", (20, 0.050, 2.0), (16, 0.004), 0.0, 1.0),
    system("pool5_slow", (5, 0.100, 1.0), (8, 0.005), 0.0, 2.0),
    system("cpu4", (40, 0.010, 1.0), (4, 0.010), 0.0, 1.0),
    system("pool10_contention", (10, 0.020, 1.0), (8, 0.003), 0.02, 1.0),
    system("pool30_det", (30, 0.060, 0.3), (16, 0.005), 0.0, 1.0),
];

/// What was measured of one load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    pub(crate) offered: f64,
    pub(crate) throughput: f64,
    pub(crate) requests: u64,
    pub(crate) failed: u64,
    pub(crate) mean_s: f64,
    pub(crate) p95_s: f64,
    pub(crate) pool_busy: f64,
    pub(crate) cpu_busy: f64,
}

impl System {
    /// Requests a second, and what limits them.
    pub(crate) fn capacity(&self) -> (f64, &'static str) {
        let crowded = self.hold_s * (1.0 + self.contention * (self.connections - 1) as f64);
        let (pool, cpu) = (self.connections as f64 / crowded, self.cores as f64 / self.cpu_s);
        if pool <= cpu { (pool, "pool") } else { (cpu, "cpu") }
    }

    /// All loads of one run.
    pub(crate) fn run(&self, run: u64) -> Vec<Step> {
        let mut dice = dice(self.name, run);
        SHARES.iter().map(|share| self.step(&mut dice, share * self.capacity().0)).collect()
    }

    fn hold(&self, dice: &mut Xoshiro256PlusPlus) -> f64 {
        if self.variation > 0.35 {
            let spread = self.variation.mul_add(self.variation, 1.0).ln();
            LogNormal::new(self.hold_s.ln() - spread / 2.0, spread.sqrt()).map_or(self.hold_s, |held| held.sample(dice))
        } else {
            Normal::new(self.hold_s, self.variation * self.hold_s).map_or(self.hold_s, |held| held.sample(dice)).max(0.1 * self.hold_s)
        }
    }

    fn step(&self, dice: &mut Xoshiro256PlusPlus, rate: f64) -> Step {
        let count = Poisson::new(rate * LENGTH).map_or(0.0, |arrivals| arrivals.sample(dice)) as usize;
        let mut arrivals: Vec<f64> = (0..count).map(|_| dice.random::<f64>() * LENGTH).collect();
        arrivals.sort_unstable_by(f64::total_cmp);
        let mut cores = vec![0.0; self.cores];
        let (mut cpu_busy, mut through): (f64, Vec<(f64, f64)>) = (0.0, Vec::with_capacity(count));
        for arrival in arrivals {
            let core = earliest(&mut cores);
            let start = core.max(arrival);
            let end = start + Exp::new(1.0 / self.cpu_s).map_or(self.cpu_s, |work| work.sample(dice));
            *core = end;
            cpu_busy += observed(start, end);
            through.push((end, arrival));
        }
        through.sort_unstable_by(|one, other| one.0.total_cmp(&other.0));
        let mut pool = vec![0.0; self.connections];
        let (mut pool_busy, mut ended, mut requests, mut failed, mut latencies) = (0.0, 0_u64, 0_u64, 0_u64, Vec::new());
        for (ready, arrival) in through {
            let mut held = self.hold(dice);
            let start = pool.iter().copied().fold(f64::INFINITY, f64::min).max(ready);
            let counts = arrival >= WARM_UP;
            requests += u64::from(counts);
            if start - ready > self.timeout_s {
                failed += u64::from(counts);
                continue;
            }
            held *= 1.0 + self.contention * pool.iter().filter(|end| **end > start).count() as f64;
            let end = start + held;
            *earliest(&mut pool) = end;
            pool_busy += observed(start, end);
            ended += u64::from((WARM_UP..LENGTH).contains(&end));
            if counts {
                latencies.push(end - arrival);
            }
        }
        let seconds = LENGTH - WARM_UP;
        Step {
            offered: rate,
            throughput: ended as f64 / seconds,
            requests,
            failed,
            mean_s: latencies.iter().sum::<f64>() / latencies.len().max(1) as f64,
            p95_s: crate::goal::quantile(&latencies, 0.95),
            pool_busy: pool_busy / seconds,
            cpu_busy: cpu_busy / seconds,
        }
    }
}

/// The server that is free first.
fn earliest(servers: &mut [f64]) -> &mut f64 {
    let first = (0..servers.len()).reduce(|best, at| if servers[at] < servers[best] { at } else { best }).unwrap_or(0);
    &mut servers[first]
}

/// The part of a service that falls into the time that is looked at.
fn observed(start: f64, end: f64) -> f64 {
    (end.min(LENGTH) - start.max(WARM_UP)).max(0.0)
}
