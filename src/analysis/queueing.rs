//! Waiting lines: how long one waits for one of c servers (Erlang C), how many servers a load needs, and Little's law as a check of the
//! figures. For random arrivals that go on for long; bursts wait longer. Sources: Erlang 1917, Little 1961; the correction for service
//! times that vary more or less than exponentially is that of Allen and Cunneen.

/// Most servers that are looked at.
const MOST_SERVERS: usize = 100_000;

/// Probability that an arrival has to wait with `servers` and an offered load of `erlangs` (arrivals a second times service time); 1 when
/// the load is not less than the servers can do.
pub fn erlang_c(servers: usize, erlangs: f64) -> f64 {
    let count = servers as f64;
    if erlangs.is_nan() || erlangs >= count || servers > MOST_SERVERS {
        return 1.0;
    }
    if erlangs <= 0.0 {
        return 0.0;
    }
    // Erlang B by its recursion, which neither overflows nor cancels.
    let blocked = (1..=servers).fold(1.0, |blocked, server| erlangs * blocked / (server as f64 + erlangs * blocked));
    blocked / (1.0 - erlangs / count * (1.0 - blocked))
}

/// Mean wait in seconds for a server, of all arrivals. `variation` is the coefficient of variation of the service time. Infinite when the
/// load is not less than the servers can do.
pub fn mean_wait_s(servers: usize, per_second: f64, service_s: f64, variation: f64) -> f64 {
    let erlangs = per_second * service_s;
    let free = servers as f64 - erlangs;
    if free.is_nan() || free <= 0.0 || variation.is_nan() {
        return f64::INFINITY;
    }
    erlang_c(servers, erlangs) * service_s / free * f64::midpoint(1.0, variation * variation)
}

/// What a pool must be for a load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PoolSize {
    /// Servers: connections, workers.
    pub servers: usize,
    /// Share of them that is busy at that load.
    pub utilisation: f64,
    /// Probability that one has to wait.
    pub waits: f64,
    /// Mean wait, in seconds.
    pub wait_s: f64,
}

/// What is asked of a pool.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PoolAsked {
    /// Requests a second.
    pub per_second: f64,
    /// Seconds that a request holds its server.
    pub service_s: f64,
    /// Coefficient of variation of that; 1 when not known.
    pub variation: f64,
    /// Highest share that may be busy.
    pub utilisation: f64,
    /// Longest mean wait, in seconds; `None` when only the utilisation is asked.
    pub wait_s: Option<f64>,
}

/// The least number of servers that keeps utilisation and wait; `None` when the figures mean nothing or no pool is large enough.
pub fn pool_size(asked: &PoolAsked) -> Option<PoolSize> {
    let erlangs = asked.per_second * asked.service_s;
    let sound = erlangs.is_finite() && erlangs > 0.0 && asked.utilisation > 0.0 && asked.utilisation <= 1.0 && asked.variation.is_finite();
    if !sound || erlangs / asked.utilisation > MOST_SERVERS as f64 {
        return None;
    }
    // 16 busy of 20 are 80 %, whatever the rounding of 0.8 makes of it.
    let first = (erlangs / asked.utilisation - 1e-9).ceil().max(1.0) as usize;
    let of = |servers: usize| PoolSize {
        servers,
        utilisation: erlangs / servers as f64,
        waits: erlang_c(servers, erlangs),
        wait_s: mean_wait_s(servers, asked.per_second, asked.service_s, asked.variation),
    };
    let enough = |size: &PoolSize| asked.wait_s.is_none_or(|most| size.wait_s <= most);
    // A wait falls by far more than half with every tenth server more; what does not come within four times as many never does.
    (first..=(first * 4 + 16).min(MOST_SERVERS)).map(of).find(enough)
}

/// Little's law: how many requests are inside against how many should be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Little {
    /// Requests in flight, as measured.
    pub inside: f64,
    /// Throughput times mean response time.
    pub expected: f64,
}

impl Little {
    /// By which share the two differ.
    pub fn off_by(&self) -> f64 {
        if self.expected > 0.0 { (self.inside / self.expected - 1.0).abs() } else { f64::INFINITY }
    }

    /// Whether they agree within 5 %; otherwise the generator or the figures are wrong.
    pub fn agrees(&self) -> bool {
        self.off_by() <= 0.05
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn erlang_c_by_its_sum() {
        // C(c, a) = a^c/c! c/(c-a) / (sum a^k/k! + a^c/c! c/(c-a))
        for (servers, erlangs) in [(1, 0.5), (3, 2.0), (10, 8.0), (20, 5.0)] {
            let term = |k: usize| (1..=k).fold(1.0, |term, k| term * erlangs / k as f64);
            let last = term(servers) * servers as f64 / (servers as f64 - erlangs);
            let expected = last / ((0..servers).map(term).sum::<f64>() + last);
            assert!((erlang_c(servers, erlangs) - expected).abs() < 1e-12, "{servers} {erlangs}");
        }
        for (servers, erlangs, expected) in [(0, 0.0, 1.0), (4, 4.0, 1.0), (4, 9.0, 1.0), (4, 0.0, 0.0), (4, f64::NAN, 1.0)] {
            assert!((erlang_c(servers, erlangs) - expected).abs() < 1e-12, "{servers} {erlangs}");
        }
        assert!(erlang_c(10_000, 9_900.0) < 1.0);
    }

    #[test]
    fn the_wait_of_one_server_is_that_of_the_book() {
        // M/M/1: rho/(1-rho) s; M/D/1 half of it.
        assert!((mean_wait_s(1, 8.0, 0.1, 1.0) - 0.4).abs() < 1e-12);
        assert!((mean_wait_s(1, 8.0, 0.1, 0.0) - 0.2).abs() < 1e-12);
        assert!(mean_wait_s(1, 10.0, 0.1, 1.0).is_infinite());
    }

    #[test]
    fn a_pool_is_large_enough_and_not_larger() {
        let asked = PoolAsked { per_second: 750.0, service_s: 0.02, variation: 1.0, utilisation: 0.8, wait_s: None };
        assert_eq!(pool_size(&asked).unwrap().servers, 19);
        assert_eq!(pool_size(&PoolAsked { per_second: 800.0, ..asked }).unwrap().servers, 20);
        let strict = pool_size(&PoolAsked { wait_s: Some(0.000_1), ..asked }).unwrap();
        let less = mean_wait_s(strict.servers - 1, 750.0, 0.02, 1.0);
        assert!(strict.servers > 19 && strict.wait_s <= 0.000_1 && less > 0.000_1, "{strict:?}");
        for bad in [
            PoolAsked { per_second: f64::NAN, ..asked },
            PoolAsked { service_s: 0.0, ..asked },
            PoolAsked { utilisation: 0.0, ..asked },
            PoolAsked { per_second: 1e12, ..asked },
            PoolAsked { wait_s: Some(-1.0), ..asked },
        ] {
            assert_eq!(pool_size(&bad), None, "{bad:?}");
        }
    }

    #[test]
    fn littles_law_tells_a_generator_that_lies() {
        assert!(Little { inside: 10.2, expected: 10.0 }.agrees());
        assert!(!Little { inside: 12.0, expected: 10.0 }.agrees() && !Little { inside: 1.0, expected: 0.0 }.agrees());
    }
}
