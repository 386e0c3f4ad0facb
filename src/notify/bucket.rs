//! How fast a channel may be sent to: a token bucket. What a receiver asks for with Retry-After holds the whole channel, not only the
//! message that was put off. Pure: time is an argument, counted from any moment.

use std::time::Duration;

/// How many messages a channel takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// At once, after a rest.
    pub burst: u32,
    /// A second, lastingly.
    pub per_second: f64,
}

impl Default for Rate {
    fn default() -> Self {
        Self { burst: 20, per_second: 10.0 }
    }
}

/// A token bucket.
#[derive(Debug, Clone)]
pub struct Bucket {
    rate: Rate,
    tokens: f64,
    at: Duration,
    held_until: Duration,
}

impl Bucket {
    /// A full bucket.
    pub fn new(rate: Rate) -> Self {
        Self { rate, tokens: f64::from(rate.burst), at: Duration::ZERO, held_until: Duration::ZERO }
    }

    /// Takes another rate; what is in it stays.
    pub fn change(&mut self, rate: Rate) {
        self.rate = rate;
        self.tokens = self.tokens.min(f64::from(rate.burst));
    }

    /// How many messages may be sent now.
    pub fn available(&mut self, now: Duration) -> u32 {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.tokens = (self.tokens + passed * self.rate.per_second).min(f64::from(self.rate.burst));
        if now < self.held_until { 0 } else { self.tokens as u32 }
    }

    /// So many were taken.
    pub fn take(&mut self, count: u32) {
        self.tokens = (self.tokens - f64::from(count)).max(0.0);
    }

    /// The receiver wants nothing for so long.
    pub fn hold(&mut self, now: Duration, wait: Duration) {
        self.held_until = self.held_until.max(now.saturating_add(wait));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn one_a_second_after_the_burst() {
        let mut bucket = Bucket::new(Rate { burst: 2, per_second: 1.0 });
        assert_eq!(bucket.available(at(0)), 2);
        bucket.take(2);
        let seen: Vec<u32> = [0, 999, 1000, 1500, 9000].into_iter().map(|ms| bucket.available(at(ms))).collect();
        assert_eq!(seen, [0, 0, 1, 1, 2]);
    }

    #[test]
    fn a_receiver_that_asks_for_time_gets_it() {
        let mut bucket = Bucket::new(Rate::default());
        bucket.hold(at(1000), Duration::from_secs(30));
        bucket.hold(at(2000), Duration::from_secs(1));
        assert_eq!((bucket.available(at(30_999)), bucket.available(at(31_000))), (0, 20));
    }

    proptest! {
        #[test]
        fn never_more_than_the_rate(steps in proptest::collection::vec((0_u64..3000, 0_u32..5), 1..200)) {
            let rate = Rate { burst: 3, per_second: 1.0 };
            let mut bucket = Bucket::new(rate);
            let (mut now, mut sent) = (0, 0_u32);
            for (wait, wish) in steps {
                now += wait;
                let taken = wish.min(bucket.available(at(now)));
                bucket.take(taken);
                sent += taken;
                prop_assert!(f64::from(sent) <= 3.0 + now as f64 / 1000.0 + 1e-6);
            }
        }
    }
}
