//! How large a pool would have to be for the load that was there: connections busy at a time = requests a second × seconds that one holds
//! a connection (Little 1961), with the spread of both; of closed loops as many requests as they would make if they had not to wait
//! (`closed`). Beside it the rule of thumb that people use, shown as such. What callers of an open load were seen in line is counted too.
//! Needs at least 5 seconds in which requests got through.

mod closed;
#[cfg(test)]
mod simulated;

pub use closed::{Cycle, Loops, Other};

use super::numbers::{bootstrap, is_number, quantile, sorted};
use rand::RngExt;
use rand::rngs::Xoshiro256PlusPlus;

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
    /// Requests of open scenarios that were due: also those that failed or could not be started.
    pub due: f64,
    /// Closed loops.
    pub loops: Loops,
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
    /// Requests a second that were due, on average, and would be of closed loops.
    pub per_second: f64,
    /// What closed loops would do; `None` without them.
    pub cycle: Option<Cycle>,
    /// Seconds that a request holds a connection: mean over the requests.
    pub hold_s: f64,
    /// The same in all but the worst twentieth of the seconds.
    pub hold_p95_s: f64,
    /// In use and waiting together, in all but the worst twentieth of the seconds: what was seen in line.
    pub in_line: Option<f64>,
    /// Seconds it rests on.
    pub seconds: usize,
}

/// The need by these seconds, those in which the pool was full if it was; `quiet` are seconds of the same run in which nobody had to wait for
/// it. `None`: too little got through, or the figures mean nothing.
pub fn need(seconds: &[Held], quiet: &[Held]) -> Option<Need> {
    let usable: Vec<Held> = seconds.iter().filter(|second| second.hold_s().is_some() && is_number(second.due)).copied().collect();
    if usable.len() < SECONDS {
        return None;
    }
    let demand = Demand::of(&usable, quiet)?;
    let value = demand.connections(&usable)?;
    let span = bootstrap(ROUNDS, 0.95, SEED, |dice| {
        let drawn = blocks(&usable, dice);
        Demand::of(&drawn, &blocks(quiet, dice))?.connections(&drawn)
    })?;
    // What was not seen of closed loops leaves everything open between what they did and what they could do.
    let unknown = demand.cycle.filter(|cycle| cycle.other == Other::Unknown);
    let least = unknown.map_or(value, |cycle| cycle.least() + demand.open * demand.hold_s);
    let whole = |size: f64| (size - 1e-9).ceil().max(1.0) as u32;
    Some(Need {
        connections: whole(value),
        low: whole(span.low.min(value).min(least)),
        high: whole(span.high.max(value)),
        busy: demand.busy(),
        per_second: demand.per_second(),
        cycle: demand.cycle,
        hold_s: demand.hold_s,
        hold_p95_s: demand.hold_p95_s,
        in_line: in_line(&usable),
        seconds: usable.len(),
    })
}

/// As many seconds as there are, drawn a block at a time: neighbours are alike.
fn blocks(seconds: &[Held], dice: &mut Xoshiro256PlusPlus) -> Vec<Held> {
    let count = if seconds.is_empty() { 0 } else { seconds.len().div_ceil(BLOCK) };
    let mut drawn = Vec::with_capacity(count * BLOCK);
    for _ in 0..count {
        let from = dice.random_range(0..seconds.len());
        drawn.extend((from..from + BLOCK).map(|at| seconds[at % seconds.len()]));
    }
    drawn
}

/// What is asked of a pool.
struct Demand {
    /// Requests of open scenarios a second.
    open: f64,
    cycle: Option<Cycle>,
    /// Seconds that a request holds a connection: mean over the requests, and in all but the worst twentieth of the seconds.
    hold_s: f64,
    hold_p95_s: f64,
}

impl Demand {
    fn of(seconds: &[Held], quiet: &[Held]) -> Option<Self> {
        let sum = |value: fn(&Held) -> f64| seconds.iter().map(value).sum::<f64>();
        let (in_use, served) = (sum(|one| one.in_use), sum(|one| one.served));
        if served <= 0.0 {
            return None;
        }
        let hold_s = in_use / served;
        let hold_p95_s = quantile(&sorted(&seconds.iter().filter_map(Held::hold_s).collect::<Vec<_>>()), 0.95);
        let open = sum(|one| one.due) / seconds.len().max(1) as f64;
        Some(Self { open, cycle: Cycle::of(seconds, quiet, hold_s), hold_s, hold_p95_s })
    }

    fn per_second(&self) -> f64 {
        self.open + self.cycle.map_or(0.0, |cycle| cycle.per_second())
    }

    /// Busy on average.
    fn busy(&self) -> f64 {
        self.per_second() * self.hold_s
    }

    /// Enough in 19 of 20 seconds; of closed loops, in which chance decides who holds a connection in a moment, in 19 of 20 moments too.
    fn connections(&self, seconds: &[Held]) -> Option<f64> {
        let open = self.open * self.hold_p95_s.max(self.hold_s);
        let size = match &self.cycle {
            Some(cycle) => cycle.connections(self.open * self.hold_s).max(open + cycle.busy(self.hold_p95_s)),
            // Of a mixed load nobody knows who stands in line.
            None => open.max(in_line(seconds).unwrap_or(0.0)),
        };
        Some(size.max(self.busy())).filter(|size| (0.0..MOST).contains(size))
    }
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
        let steady: Vec<Held> =
            (0..40).map(|_| Held { in_use: 100.0, waiting: Some(20.0), served: 100.0, due: 150.0, ..Held::default() }).collect();
        let found = need(&steady, &[]).unwrap();
        assert_eq!((found.connections, found.low, found.high), (150, 150, 150));
        assert!((found.busy - 150.0).abs() < 1e-9 && (found.hold_s - 1.0).abs() < 1e-9 && found.in_line == Some(120.0));
        // A tenth of the seconds hold for twice as long: the size is that of the slow ones, and the interval says how sure.
        let varied: Vec<Held> =
            (0..40).map(|at| Held { served: if at % 13 == 0 { 50.0 } else { 100.0 }, waiting: None, ..steady[0] }).collect();
        let found = need(&varied, &[]).unwrap();
        assert!(found.busy > 157.0 && found.busy < 159.0 && found.connections == 300, "{found:?}");
        assert!(found.low <= found.connections && found.high >= found.connections && found.low < 300, "{found:?}");
        // Sixty users cannot hold more than sixty, though they come back at once and the connections are slow.
        let loops = Loops { users: 60.0, asked: 150.0, answer_s: 150.0 };
        let users: Vec<Held> = varied.iter().map(|one| Held { due: 0.0, loops, ..*one }).collect();
        assert_eq!(need(&users, &[]).unwrap().connections, 60);
    }

    #[test]
    fn who_stands_in_line_counts() {
        let line: Vec<Held> =
            (0..20).map(|_| Held { in_use: 100.0, waiting: Some(61.0), served: 100.0, due: 100.0, ..Held::default() }).collect();
        assert_eq!(need(&line, &[]).unwrap().connections, 161);
    }

    #[test]
    fn nothing_is_said_of_too_little() {
        let one = Held { in_use: 20.0, waiting: None, served: 0.0, due: 10.0, ..Held::default() };
        assert_eq!(need(&[one; 40], &[]), None, "nobody got through");
        assert_eq!(need(&[Held { served: 10.0, ..one }; 4], &[]), None, "too few seconds");
        assert_eq!(need(&[Held { served: 10.0, in_use: f64::NAN, ..one }; 40], &[]), None);
    }

    #[test]
    fn the_rule_of_thumb_is_what_people_reckon() {
        assert_eq!((rule_of_thumb(150.0, 500.0), rule_of_thumb(f64::NAN, 1.0)), (Some(330), None));
        let found = need(&[Held { in_use: 20.0, waiting: None, served: 10.0, due: 20.0, ..Held::default() }; 10], &[]).unwrap();
        let fits = Fits::new(&found, 60.0, 97.0).unwrap();
        assert!(!fits.fits() && (fits.together - 100.0).abs() < 1e-9);
        assert_eq!(Fits::new(&found, f64::NAN, 97.0), None);
    }

    proptest! {
        #[test]
        fn the_need_lies_in_its_interval(
            seconds in prop::collection::vec((0.0_f64..200.0, 1.0_f64..500.0, 0.0_f64..2.0, prop::option::of(0.0_f64..100.0)), 5..60),
            loops in prop::collection::vec((0.0_f64..200.0, 0.0_f64..500.0, 0.0_f64..20.0), 60),
            quiet in 0_usize..20,
        ) {
            let seconds: Vec<Held> = seconds
                .into_iter()
                .zip(loops)
                .map(|((in_use, served, more, waiting), (users, asked, answer_s))| {
                    let loops = Loops { users, asked, answer_s: answer_s * asked };
                    Held { in_use, waiting, served, due: served * (1.0 + more), loops }
                })
                .collect();
            let quiet = &seconds[..quiet.min(seconds.len())];
            let found = need(&seconds, quiet).unwrap();
            prop_assert!(found.low <= found.connections && found.connections <= found.high && f64::from(found.connections) + 1e-6 >= found.busy);
        }
    }
}
