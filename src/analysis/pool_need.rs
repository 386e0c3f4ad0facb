//! How large a pool would have to be for the load that was there: connections busy at a time = requests a second × seconds that one holds
//! a connection (Little 1961), with the spread of both; beside it the rule of thumb that people use, shown as such. What callers were seen
//! in line is counted too. Needs at least 5 seconds in which requests got through.

use super::numbers::{bootstrap, is_number, quantile, sorted};
use rand::RngExt;

/// Fewest seconds.
const SECONDS: usize = 5;
/// Rounds of the resampling, seconds that are drawn together, and its seed.
const ROUNDS: usize = 400;
const BLOCK: usize = 5;
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
/// Largest need that means something.
const MOST: f64 = 1e6;

/// One second of a pool and of the load on it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Held {
    /// Connections checked out.
    pub in_use: f64,
    /// Callers waiting; `None` when it is not known.
    pub waiting: Option<f64>,
    /// Requests that succeeded in this second: each held a connection for a while.
    pub served: f64,
    /// Requests that were due: also those that failed or could not be started.
    pub due: f64,
}

impl Held {
    /// Seconds that a request holds a connection, on average over this second; `None` when none got through.
    fn hold_s(&self) -> Option<f64> {
        (self.served > 0.0 && is_number(self.in_use)).then(|| self.in_use / self.served).filter(|hold| is_number(*hold))
    }
}

/// What a pool would need.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Need {
    /// Connections: enough for the requests that were due in all but the worst twentieth of the seconds.
    pub connections: u32,
    /// Lower and upper end of the 95 % interval of that, by resampling.
    pub low: u32,
    /// See `low`.
    pub high: u32,
    /// Connections busy on average, had all requests been served: less than that never suffices.
    pub busy: f64,
    /// Requests a second that were due, on average.
    pub per_second: f64,
    /// Seconds that a request holds a connection: mean over the requests.
    pub hold_s: f64,
    /// The same in all but the worst twentieth of the seconds.
    pub hold_p95_s: f64,
    /// In use and waiting together, in all but the worst twentieth of the seconds: what was seen in line.
    pub in_line: Option<f64>,
    /// Seconds it rests on.
    pub seconds: usize,
}

/// The need by these seconds, those in which the pool was full if it was. `callers` are VUs of closed
/// loops, each of which waits for its answer before it asks again, and requests a second of open ones: more than these cannot be in line. Without
/// closed loops it is `None`. `None`: too little got through, or the figures mean nothing.
pub fn need(seconds: &[Held], callers: Option<(f64, f64)>) -> Option<Need> {
    let usable: Vec<Held> = seconds.iter().filter(|second| second.hold_s().is_some() && is_number(second.due)).copied().collect();
    if usable.len() < SECONDS {
        return None;
    }
    let size = |seconds: &[Held]| {
        let (busy, p95, _, hold_p95_s, _) = demand(seconds)?;
        let most = p95.max(busy).max(in_line(seconds).unwrap_or(0.0));
        Some(callers.map_or(most, |(vus, open)| most.min((vus + open * hold_p95_s).max(1.0)))).filter(|size| (0.0..MOST).contains(size))
    };
    let (busy, _, hold_s, hold_p95_s, per_second) = demand(&usable)?;
    let value = size(&usable)?;
    let blocks = usable.len().div_ceil(BLOCK);
    let span = bootstrap(ROUNDS, 0.95, SEED, |dice| {
        let drawn: Vec<Held> = (0..blocks)
            .flat_map(|_| {
                let from = dice.random_range(0..usable.len());
                (from..from + BLOCK).map(|at| usable[at % usable.len()]).collect::<Vec<_>>()
            })
            .collect();
        size(&drawn)
    })?;
    let whole = |size: f64| (size - 1e-9).ceil().max(1.0) as u32;
    Some(Need {
        connections: whole(value),
        low: whole(span.low.min(value)),
        high: whole(span.high.max(value)),
        busy,
        per_second,
        hold_s,
        hold_p95_s,
        in_line: in_line(&usable),
        seconds: usable.len(),
    })
}

/// Connections busy on average and by the 95th percentile of the hold time; mean hold time, its percentile, requests due a second.
fn demand(seconds: &[Held]) -> Option<(f64, f64, f64, f64, f64)> {
    let (in_use, served, due) =
        seconds.iter().fold((0.0, 0.0, 0.0), |(in_use, served, due), one| (in_use + one.in_use, served + one.served, due + one.due));
    if served <= 0.0 {
        return None;
    }
    let hold_s = in_use / served;
    let p95 = quantile(&sorted(&seconds.iter().filter_map(Held::hold_s).collect::<Vec<_>>()), 0.95);
    let per_second = due / seconds.len().max(1) as f64;
    Some((per_second * hold_s, per_second * p95, hold_s, p95, per_second))
}

fn in_line(seconds: &[Held]) -> Option<f64> {
    let line: Vec<f64> = seconds.iter().filter_map(|second| Some(second.in_use + second.waiting?)).collect();
    (line.len() * 2 >= seconds.len() && !line.is_empty()).then(|| quantile(&sorted(&line), 0.95))
}

/// The rule of thumb: (VUs × 1.5 + requests a second / 10) + 20 %. It knows nothing of how long a request holds its connection.
pub fn rule_of_thumb(vus: f64, per_second: f64) -> Option<u32> {
    let size = (vus * 1.5 + per_second / 10.0) * 1.2;
    (0.0..MOST).contains(&size).then(|| size.ceil() as u32)
}

/// Whether the pools of all replicas fit into what the server allows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fits {
    /// Connections that all pools could open with the pool at the size that it needs.
    pub together: f64,
    /// What the server allows.
    pub server: f64,
}

impl Fits {
    /// With this need, the limits of the other pools on the same server, and what the server allows.
    pub fn new(need: &Need, others: f64, server: f64) -> Option<Self> {
        let sound = is_number(others) && is_number(server) && others >= 0.0 && server > 0.0;
        sound.then(|| Self { together: f64::from(need.connections) + others, server })
    }

    /// True when there is room.
    pub fn fits(&self) -> bool {
        self.together <= self.server
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_need_is_littles_law_with_its_spread() {
        // 100 in use serve 100 a second: a second each. 150 a second were due: 150 busy on average.
        let steady: Vec<Held> = (0..40).map(|_| Held { in_use: 100.0, waiting: Some(20.0), served: 100.0, due: 150.0 }).collect();
        let found = need(&steady, None).unwrap();
        assert_eq!((found.connections, found.low, found.high), (150, 150, 150));
        assert!((found.busy - 150.0).abs() < 1e-9 && (found.hold_s - 1.0).abs() < 1e-9 && found.in_line == Some(120.0));
        // A tenth of the seconds hold for twice as long: the size is that of the slow ones, and the interval says how sure.
        let varied: Vec<Held> =
            (0..40).map(|at| Held { served: if at % 13 == 0 { 50.0 } else { 100.0 }, waiting: None, ..steady[0] }).collect();
        let found = need(&varied, None).unwrap();
        assert!(found.busy > 157.0 && found.busy < 159.0 && found.connections == 300, "{found:?}");
        assert!(found.low <= found.connections && found.high >= found.connections && found.low < 300, "{found:?}");
        // Sixty users cannot hold more than sixty.
        assert_eq!(need(&varied, Some((60.0, 0.0))).unwrap().connections, 60);
    }

    #[test]
    fn who_stands_in_line_counts() {
        let line: Vec<Held> = (0..20).map(|_| Held { in_use: 100.0, waiting: Some(61.0), served: 100.0, due: 100.0 }).collect();
        assert_eq!(need(&line, None).unwrap().connections, 161);
    }

    #[test]
    fn nothing_is_said_of_too_little() {
        let one = Held { in_use: 20.0, waiting: None, served: 0.0, due: 10.0 };
        assert_eq!(need(&[one; 40], None), None, "nobody got through");
        assert_eq!(need(&[Held { served: 10.0, ..one }; 4], None), None, "too few seconds");
        assert_eq!(need(&[Held { served: 10.0, in_use: f64::NAN, ..one }; 40], None), None);
    }

    #[test]
    fn the_rule_of_thumb_is_what_people_reckon() {
        assert_eq!((rule_of_thumb(150.0, 500.0), rule_of_thumb(f64::NAN, 1.0)), (Some(330), None));
        let found = need(&[Held { in_use: 20.0, waiting: None, served: 10.0, due: 20.0 }; 10], None).unwrap();
        let fits = Fits::new(&found, 60.0, 97.0).unwrap();
        assert!(!fits.fits() && (fits.together - 100.0).abs() < 1e-9);
        assert_eq!(Fits::new(&found, f64::NAN, 97.0), None);
    }

    proptest! {
        #[test]
        fn the_need_lies_in_its_interval(seconds in prop::collection::vec((0.0_f64..200.0, 1.0_f64..500.0, 0.0_f64..2.0, prop::option::of(0.0_f64..100.0)), 5..60)) {
            let seconds: Vec<Held> = seconds.into_iter().map(|(in_use, served, more, waiting)| Held { in_use, waiting, served, due: served * (1.0 + more) }).collect();
            let found = need(&seconds, None).unwrap();
            prop_assert!(found.low <= found.connections && found.connections <= found.high && f64::from(found.connections) + 1e-6 >= found.busy);
        }
    }
}
