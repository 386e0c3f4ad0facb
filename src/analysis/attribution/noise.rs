//! Simulated runs in which nothing is wrong: response times that swing from second to second, pauses of a garbage collector, a pool that is
//! full now and then. No cause may be named in them, and hardly ever may they be called slow. And runs with a queue in the same noise, in
//! which it must be found.

use super::*;

/// Seconds of a run, and runs of each kind.
const SECONDS: u32 = 300;
const RUNS: u64 = 150;

/// Numbers that repeat themselves with the seed.
struct Dice(u64);

impl Dice {
    /// Between 0 and 1.
    fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Normal, of standard deviation 1 (Box and Muller 1958).
    fn normal(&mut self) -> f64 {
        let (one, other) = (1.0 - self.share(), self.share());
        (-2.0 * one.ln()).sqrt() * (std::f64::consts::TAU * other).cos()
    }
}

/// How the runs of a kind are.
#[derive(Debug, Clone, Copy)]
struct Kind {
    /// Standard deviation of the logarithm of p95 from second to second.
    swing: f64,
    /// How much of it stays for the next second.
    stays: f64,
    /// Share of seconds with a pause, which makes them three to eight times as slow.
    pauses: f64,
    /// The pool is full in the seconds of the pauses, as everybody waits for them, and not at random.
    with_pauses: bool,
    /// Seconds in which there is a queue for the pool: so many times as slow.
    queue: Option<(u32, u32, f64)>,
}

const QUIET: Kind = Kind { swing: 0.1, stays: 0.0, pauses: 0.0, with_pauses: false, queue: None };

/// One run: its load, and a pool that is full for a second now and then.
fn drawn(kind: Kind, seed: u64) -> (Vec<Second>, Resource) {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    for _ in 0..20 {
        // Neighbouring seeds begin alike.
        dice.share();
    }
    let mut level = dice.normal();
    let mut pool = Resource { name: "pool `main`".into(), ..Resource::default() };
    let mut seconds = Vec::new();
    for second in 0..SECONDS {
        level = kind.stays * level + (1.0 - kind.stays * kind.stays).sqrt() * dice.normal();
        let paused = dice.share() < kind.pauses;
        let times = if paused { 3.0 + 5.0 * dice.share() } else { 1.0 };
        let queued = kind.queue.filter(|(from, to, _)| (*from..*to).contains(&second));
        let p95 = 0.05 * (kind.swing * level).exp() * times * queued.map_or(1.0, |(.., times)| times);
        seconds.push(Second { second, requests: 100, failed: 0, p95_s: Some(p95), load: 1.0 });
        let full = dice.share() < 0.04;
        let saturated = queued.is_some() || if kind.with_pauses { paused } else { full };
        pool.seen.insert(second, Seen { saturated, used: Some(if saturated { 20.0 } else { 9.0 }), limit: Some(20.0), waiting: None });
    }
    (seconds, pool)
}

/// In how many of the runs a cause is named, and in how many slowness is told of at all.
fn told(kind: Kind) -> (u64, u64) {
    let (mut caused, mut slow) = (0, 0);
    for seed in 1..=RUNS {
        let (seconds, pool) = drawn(kind, seed);
        let found = attribute(&seconds, &[pool], 1);
        caused += u64::from(found.iter().any(|one| one.cause.is_some()));
        slow += u64::from(!found.is_empty());
    }
    (caused, slow)
}

#[test]
fn no_cause_is_named_where_nothing_is_wrong() {
    for swing in [0.02, 0.1, 0.2, 0.35, 0.5] {
        for (pauses, with_pauses) in [(0.0, false), (0.03, false), (0.03, true), (0.1, true)] {
            for stays in [0.0, 0.6] {
                let kind = Kind { swing, stays, pauses, with_pauses, queue: None };
                let (caused, slow) = told(kind);
                // Pauses that fill the pool, three and more of them in a row by chance, are a slow target with a full pool.
                let few = if with_pauses { RUNS / 25 } else { 0 };
                assert!(caused <= few, "a cause in {caused} of {RUNS} of {kind:?}");
                assert!(slow <= RUNS / 25, "slow in {slow} of {RUNS} of {kind:?}");
            }
        }
    }
}

#[test]
fn a_queue_is_found_in_the_same_noise() {
    for (swing, times) in [(0.02, 2.3), (0.1, 2.4), (0.15, 2.6), (0.2, 3.5), (0.35, 8.0)] {
        for (pauses, with_pauses) in [(0.0, false), (0.03, true)] {
            // A quarter of the run, and most of it.
            for (from, to) in [(100, 175), (60, 260)] {
                let kind = Kind { swing, pauses, with_pauses, queue: Some((from, to, times)), ..QUIET };
                let (caused, _) = told(kind);
                assert!(caused * 10 >= RUNS * 9, "{caused} of {RUNS} of {kind:?}");
            }
        }
    }
}
