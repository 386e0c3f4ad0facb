//! Puts the seconds of all load threads together: a second is complete when every thread has reported it or has ended.

use std::collections::BTreeMap;

use super::load::Report;
use crate::model::measure::Interval;

/// Seconds on their way to being complete.
#[derive(Debug)]
pub struct Recorder {
    pending: BTreeMap<u32, Interval>,
    /// Per thread: the first second it has not reported; `None` once it has ended.
    open: Vec<Option<u32>>,
    /// What went wrong in load threads.
    pub errors: Vec<String>,
}

impl Recorder {
    /// For so many threads.
    pub fn new(threads: usize) -> Self {
        Self { pending: BTreeMap::new(), open: vec![Some(0); threads], errors: Vec::new() }
    }

    /// Takes a report and returns the seconds that are complete now, ascending.
    pub fn take(&mut self, report: Report) -> Vec<Interval> {
        match report {
            Report::Second(thread, interval) => {
                if let Some(open) = self.open.get_mut(thread) {
                    *open = Some(interval.second + 1);
                }
                self.pending
                    .entry(interval.second)
                    .or_insert_with(|| Interval { second: interval.second, ..Interval::default() })
                    .merge(&interval);
            }
            Report::Done(thread, error) => {
                self.errors.extend(error);
                if let Some(open) = self.open.get_mut(thread) {
                    *open = None;
                }
            }
        }
        // Seconds below what every thread that is still going has reported are complete.
        let complete = self.open.iter().flatten().min().copied().unwrap_or(u32::MAX);
        let later = self.pending.split_off(&complete);
        std::mem::replace(&mut self.pending, later).into_values().collect()
    }

    /// True when all threads have ended.
    pub fn is_done(&self) -> bool {
        self.open.iter().all(Option::is_none)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(thread: usize, second: u32) -> Report {
        Report::Second(thread, Box::new(Interval { second, shards: 1, ..Interval::default() }))
    }

    #[test]
    fn a_second_is_complete_when_every_thread_has_reported_it_or_ended() {
        let mut recorder = Recorder::new(2);
        assert!(recorder.take(second(0, 0)).is_empty());
        assert!(recorder.take(second(0, 1)).is_empty());
        let complete = recorder.take(second(1, 0));
        assert_eq!(complete.iter().map(|interval| (interval.second, interval.shards)).collect::<Vec<_>>(), [(0, 2)]);
        let complete = recorder.take(Report::Done(1, None));
        assert_eq!(complete.iter().map(|interval| (interval.second, interval.shards)).collect::<Vec<_>>(), [(1, 1)]);
        assert!(!recorder.is_done());
        recorder.take(Report::Done(0, Some("broken".into())));
        assert!(recorder.is_done());
        assert_eq!(recorder.errors, ["broken"]);
    }
}
