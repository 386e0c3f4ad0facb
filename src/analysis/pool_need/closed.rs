//! What users of closed loops would ask of a pool that is large enough. Each of them waits for its answer before it asks again, so that a
//! small pool holds them back: what was measured is not what they would do. By the interactive response time law (Lazowska et al.,
//! Quantitative System Performance, 1984, ch. 3), X = N / (R + Z): without waiting a user needs its hold time, what else the answer takes
//! and the time between two requests for each, and holds a connection for the first part of that.

use super::Held;
use crate::analysis::numbers::{quantile, sorted};

/// Fewest seconds without waiting from which the rest of the answer's time is taken.
const QUIET: usize = 3;
/// 95 % of the moments: of the normal distribution.
const MOMENTS: f64 = 1.645;

/// Closed loops in one second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Loops {
    /// Users: virtual users that run in loops.
    pub users: f64,
    /// Requests of theirs that ended.
    pub asked: f64,
    /// Seconds that these took together, from asking to the answer.
    pub answer_s: f64,
}

/// The seconds of a user for one request, if nobody had to wait for the pool.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cycle {
    /// Users, in all but the fullest twentieth of the seconds.
    pub users: f64,
    /// Holding a connection.
    pub hold_s: f64,
    /// Until the answer, without a connection and without waiting for one.
    pub other_s: f64,
    /// Between an answer and the next request: pauses, and what the load generator does.
    pub between_s: f64,
    /// Where the second part comes from.
    pub other: Other,
    /// Requests a second that were measured.
    pub measured: f64,
    /// Users on average.
    pub mean_users: f64,
}

/// Where it is known from how long an answer takes besides the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Other {
    /// From seconds in which nobody waited.
    Quiet,
    /// From what was seen waiting, by Little's law.
    Waiting,
    /// Not at all: taken as none, so that the need is not told too small.
    Unknown,
}

impl Cycle {
    /// By seconds of a pool that is full, and those in which nobody waits for it. `None`: no closed loops, or they were not measured.
    pub(super) fn of(full: &[Held], quiet: &[Held], hold_s: f64) -> Option<Self> {
        let (users, asked, answer_s) = sums(full);
        if users <= 0.0 || asked <= 0.0 || hold_s.is_nan() {
            return None;
        }
        let seconds = full.len().max(1) as f64;
        let answer = answer_s / asked;
        // No more than the answer takes apart from the connection.
        let most = (answer - hold_s).max(0.0);
        let known = by_quiet(quiet).map(|other| (other, Other::Quiet)).or_else(|| Some((by_waiting(full, hold_s)?, Other::Waiting)));
        let (other_s, other) = known.unwrap_or((0.0, Other::Unknown));
        Some(Self {
            users: quantile(&sorted(&full.iter().map(|one| one.loops.users).collect::<Vec<_>>()), 0.95).max(users / seconds),
            hold_s,
            other_s: other_s.clamp(0.0, most),
            between_s: (users / asked - answer).max(0.0),
            other,
            measured: asked / seconds,
            mean_users: users / seconds,
        })
    }

    /// Seconds of a user for one request.
    pub fn whole_s(&self) -> f64 {
        (self.hold_s + self.other_s + self.between_s).max(f64::MIN_POSITIVE)
    }

    /// Requests a second that the users would make on average, were nothing to hold them back.
    pub fn per_second(&self) -> f64 {
        self.mean_users / self.whole_s()
    }

    /// Connections that the users hold on average, if each holds one for `hold_s`. No more than there are users.
    pub(super) fn busy(&self, hold_s: f64) -> f64 {
        let rest_s = self.other_s + self.between_s;
        self.users * (hold_s / (rest_s + hold_s).max(f64::MIN_POSITIVE)).clamp(0.0, 1.0)
    }

    /// Connections that are enough in 19 of 20 moments, beside so many that are busy with an open load. Every user holds one or does not,
    /// whatever the others do (binomial), and requests of an open load come at random (Poisson); both by their normal approximation.
    pub(super) fn connections(&self, open: f64) -> f64 {
        let busy = self.busy(self.hold_s);
        let chance = |variance: f64| MOMENTS * variance.max(0.0).sqrt();
        let all = busy + open + chance(busy * (1.0 - busy / self.users.max(f64::MIN_POSITIVE)) + open);
        all.min(self.users + open + chance(open))
    }

    /// The least that can be: a larger pool would make nobody faster.
    pub(super) fn least(&self) -> f64 {
        (self.measured * self.hold_s).min(self.users)
    }
}

fn sums(seconds: &[Held]) -> (f64, f64, f64) {
    let add = |sums: (f64, f64, f64), one: &Held| (sums.0 + one.loops.users, sums.1 + one.loops.asked, sums.2 + one.loops.answer_s);
    seconds.iter().fold((0.0, 0.0, 0.0), add)
}

/// What an answer took in seconds without waiting, less the connection.
fn by_quiet(quiet: &[Held]) -> Option<f64> {
    let usable: Vec<Held> = quiet.iter().filter(|one| one.loops.asked > 0.0 && one.hold_s().is_some()).copied().collect();
    let (_, asked, answer_s) = sums(&usable);
    let (in_use, served) = usable.iter().fold((0.0, 0.0), |sums, one| (sums.0 + one.in_use, sums.1 + one.served));
    (usable.len() >= QUIET && asked > 0.0 && served > 0.0).then(|| answer_s / asked - in_use / served)
}

/// What an answer took, less the connection and the wait for it: waiting ÷ requests a second (Little 1961).
fn by_waiting(full: &[Held], hold_s: f64) -> Option<f64> {
    let seen: Vec<Held> = full.iter().filter(|one| one.waiting.is_some()).copied().collect();
    let (_, asked, answer_s) = sums(&seen);
    let requests: f64 = seen.iter().map(|one| one.loops.asked + one.due).sum();
    let waiting: f64 = seen.iter().filter_map(|one| one.waiting).sum();
    (seen.len() * 2 >= full.len() && asked > 0.0 && requests > 0.0).then(|| answer_s / asked - waiting / requests - hold_s)
}
