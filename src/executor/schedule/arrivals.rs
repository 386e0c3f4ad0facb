//! Which starts of an open scenario are one load thread's, in order: thread `index` of `count` takes every start whose number
//! leaves that remainder. A cursor: it can be kept and replayed, so that no list of starts is ever needed.

use std::time::Duration;

use super::course::Course;

/// The starts of one thread, from the next one on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Arrivals {
    number: u64,
    step: u64,
}

impl Arrivals {
    /// All starts of thread `index` of `count`.
    pub fn new(index: u64, count: u64) -> Self {
        Self { number: index, step: count.max(1) }
    }

    /// Number of the next start, over all threads.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// When the next start is due; `None`: there is none, as far as is decided.
    pub fn due(&self, course: &Course) -> Option<Duration> {
        course.start_of(self.number)
    }

    /// Goes on to the start after it.
    pub fn advance(&mut self) {
        self.number += self.step;
    }
}
