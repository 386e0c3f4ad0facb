//! Closed loops simulated event by event, with a pool that is too small: the size that is told must be the one from which on a larger pool
//! makes nobody faster.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::*;

/// A service with a pool, and users in a loop. Times in milliseconds.
#[derive(Debug, Clone, Copy)]
struct Bed {
    users: u32,
    /// Users in the first seconds.
    few: u32,
    between: u64,
    hold: u64,
    other: u64,
    /// Further requests a second, at random, that come whatever happens.
    open: f64,
}

/// Seconds with few users, and all.
const FEW: u64 = 20;
const ALL: u64 = 80;

/// Random numbers that repeat themselves.
struct Dice(u64);

impl Dice {
    fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// About as long, from half to one and a half times.
    fn about(&mut self, time: u64) -> u64 {
        (time as f64 * (0.5 + self.share()) * 1000.0) as u64
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A request comes: of a user or of nobody.
    Asks(Option<u32>),
    /// A connection is given back, of a request that came then.
    Releases(Option<u32>, u64),
    /// An answer arrives, of a request that came then.
    Answered(Option<u32>, u64),
    /// A second is over, and the pool is read.
    Read,
}

/// Second by second what is measured with `pool` connections; and the share of requests that had to wait, once all users are there.
fn simulate(bed: Bed, pool: u32, sees_waiting: bool) -> (Vec<Held>, f64) {
    let mut dice = Dice(42);
    let mut events = BinaryHeap::new();
    let at = |time: u64, event: Event| Reverse((time, event));
    for user in 0..bed.users {
        let begins = if user < bed.few { 0 } else { FEW * 1_000_000 };
        events.push(at(begins + dice.about(bed.between), Event::Asks(Some(user))));
    }
    if bed.open > 0.0 {
        events.push(at(0, Event::Asks(None)));
    }
    (1..=FEW + ALL).for_each(|second| events.push(at(second * 1_000_000, Event::Read)));
    let (mut in_use, mut line) = (0, VecDeque::new());
    let (mut seconds, mut now) = (Vec::new(), Held::default());
    let (mut waited, mut all) = (0.0, 0.0);
    while let Some(Reverse((time, event))) = events.pop() {
        match event {
            Event::Asks(user) => {
                line.push_back((user, time));
                if user.is_none() {
                    now.due += 1.0;
                    let next = -(1.0 - dice.share()).ln() / bed.open;
                    events.push(at(time + (next * 1e6) as u64, Event::Asks(None)));
                }
            }
            Event::Releases(user, came) => {
                in_use -= 1;
                events.push(at(time + dice.about(bed.other), Event::Answered(user, came)));
            }
            Event::Answered(user, came) => {
                now.served += 1.0;
                if let Some(user) = user {
                    now.loops.asked += 1.0;
                    now.loops.answer_s += (time - came) as f64 / 1e6;
                    events.push(at(time + dice.about(bed.between), Event::Asks(Some(user))));
                }
            }
            Event::Read => {
                now.in_use = f64::from(in_use);
                now.waiting = sees_waiting.then_some(line.len() as f64);
                now.loops.users = f64::from(if time <= FEW * 1_000_000 { bed.few } else { bed.users });
                seconds.push(std::mem::take(&mut now));
                if seconds.len() as u64 == FEW + ALL {
                    return (seconds, waited / all);
                }
            }
        }
        while in_use < pool
            && let Some((user, came)) = line.pop_front()
        {
            in_use += 1;
            if seconds.len() as u64 > FEW + 5 {
                all += 1.0;
                waited += f64::from(u8::from(came < time));
            }
            events.push(at(time + dice.about(bed.hold), Event::Releases(user, came)));
        }
    }
    (seconds, waited / all)
}

/// Requests of users a second with all of them there.
fn throughput(seconds: &[Held]) -> f64 {
    seconds.iter().skip(FEW as usize + 5).map(|one| one.loops.asked).sum::<f64>()
}

/// The smallest pool with which at most one request in twenty has to wait, and the users do 98 % of what they do with one that is never full.
fn enough(bed: Bed) -> u32 {
    let most = throughput(&simulate(bed, 10_000, false).0);
    let is_enough = |pool: &u32| {
        let (seconds, waited) = simulate(bed, *pool, false);
        waited <= 0.05 && throughput(&seconds) >= 0.98 * most
    };
    (1..10_000).find(is_enough).unwrap()
}

const BEDS: [Bed; 6] = [
    // As the demo: 60 users with short pauses.
    Bed { users: 60, few: 5, between: 50, hold: 60, other: 4, open: 0.0 },
    Bed { users: 100, few: 5, between: 200, hold: 100, other: 0, open: 0.0 },
    // Most of the answer's time is spent elsewhere.
    Bed { users: 200, few: 10, between: 100, hold: 20, other: 80, open: 0.0 },
    Bed { users: 40, few: 2, between: 1000, hold: 300, other: 50, open: 0.0 },
    // No pauses: as many as there are users.
    Bed { users: 30, few: 3, between: 0, hold: 80, other: 0, open: 0.0 },
    // Beside an open load.
    Bed { users: 60, few: 5, between: 50, hold: 60, other: 4, open: 50.0 },
];

fn near(told: u32, enough: u32) -> bool {
    (f64::from(told) - f64::from(enough)).abs() <= (0.15 * f64::from(enough)).max(1.0)
}

#[test]
fn the_size_told_is_the_one_from_which_on_nobody_waits() {
    for bed in BEDS {
        let enough = enough(bed);
        for pool in [enough / 3, enough / 2] {
            for sees_waiting in [false, true] {
                let (seconds, _) = simulate(bed, pool, sees_waiting);
                let (quiet, full) = seconds.split_at(FEW as usize);
                let found = need(&full[5..], quiet).unwrap();
                assert!(near(found.connections, enough), "{enough} are enough for {bed:?} with {pool}, told {found:?}");
                assert!(f64::from(found.connections) <= f64::from(bed.users) + bed.open, "{found:?}");
            }
        }
    }
}

#[test]
fn without_a_quiet_second_what_waits_tells_and_without_that_nothing_is_left_out() {
    let bed = BEDS[2];
    let enough = enough(bed);
    let found = need(&simulate(bed, enough / 2, true).0[25..], &[]).unwrap();
    assert!(near(found.connections, enough), "{enough} are enough, told {found:?}");
    assert_eq!(found.cycle.map(|cycle| cycle.other), Some(Other::Waiting));
    let pool = enough / 2;
    let found = need(&simulate(bed, pool, false).0[25..], &[]).unwrap();
    assert_eq!(found.cycle.map(|cycle| cycle.other), Some(Other::Unknown));
    assert!(found.low <= pool + 1 && found.connections >= enough && found.connections <= bed.users, "{enough} are enough, told {found:?}");
}

#[test]
fn a_pool_that_is_large_enough_needs_no_more_than_it_uses() {
    let bed = BEDS[0];
    let enough = enough(bed);
    let (seconds, _) = simulate(bed, 2 * enough, true);
    let found = need(&seconds[25..], &seconds[..20]).unwrap();
    assert!(near(found.connections, enough), "{enough} are enough, told {found:?}");
    assert!((found.per_second / (throughput(&seconds) / 75.0) - 1.0).abs() < 0.05, "what they did is what they would do: {found:?}");
}
