//! What was said of a run's failures, second by second: by step, reason and fingerprint, when first and last and how often. So many
//! fingerprints are kept and no more; every failure is counted all the same. Pure.

use std::collections::BTreeMap;

use crate::model::failure::Reason;
use crate::model::measure::Interval;
use crate::model::message::Said;
use crate::model::run::MessageSummary;

/// Different fingerprints of a run that are kept, over all steps and reasons.
const MOST: usize = 200;

/// One of them.
#[derive(Debug, Clone)]
struct Line {
    said: Said,
    first: u32,
    last: u32,
}

/// Everything that was said.
#[derive(Debug, Clone, Default)]
pub struct Told {
    lines: BTreeMap<(u16, Reason, String), Line>,
    /// Per step, failures that said something else.
    beyond: BTreeMap<u16, u64>,
    breach: Option<String>,
}

impl Told {
    /// Adds one second; they come in order.
    pub fn second(&mut self, interval: &Interval) {
        for (index, step) in &interval.steps {
            if self.breach.is_none() {
                self.breach = step.breach().map(|breach| format!("second {}: {breach}", interval.second));
            }
            for (reason, messages) in &step.messages {
                self.add_beyond(*index, messages.beyond);
                for (print, said) in &messages.by {
                    self.add(*index, reason, print, said, interval.second);
                }
            }
        }
    }

    fn add(&mut self, step: u16, reason: &Reason, print: &str, said: &Said, second: u32) {
        let key = (step, reason.clone(), print.to_owned());
        if let Some(line) = self.lines.get_mut(&key) {
            line.said.count += said.count;
            line.last = line.last.max(second);
        } else if self.lines.len() < MOST {
            self.lines.insert(key, Line { said: said.clone(), first: second, last: second });
        } else {
            self.add_beyond(step, said.count);
        }
    }

    fn add_beyond(&mut self, step: u16, count: u64) {
        if count > 0 {
            *self.beyond.entry(step).or_default() += count;
        }
    }

    /// The first second in which failures and what was said of them do not add up; a bug in Plimsoll.
    pub fn breach(&self) -> Option<&str> {
        self.breach.as_deref()
    }

    /// What was said of a step, most often first, and failures beyond.
    pub fn of(&self, step: u16) -> (Vec<MessageSummary>, u64) {
        let own = self.lines.iter().filter(|((index, ..), _)| *index == step);
        (sorted(own.map(|((_, reason, print), line)| summary(reason, print, line)).collect()), self.beyond.get(&step).copied().unwrap_or(0))
    }

    /// The same of all steps together.
    pub fn all(&self) -> (Vec<MessageSummary>, u64) {
        let mut together: BTreeMap<(&Reason, &str), Line> = BTreeMap::new();
        for ((_, reason, print), line) in &self.lines {
            together
                .entry((reason, print))
                .and_modify(|all| {
                    all.said.count += line.said.count;
                    all.first = all.first.min(line.first);
                    all.last = all.last.max(line.last);
                })
                .or_insert_with(|| line.clone());
        }
        let lines = together.iter().map(|((reason, print), line)| summary(reason, print, line)).collect();
        (sorted(lines), self.beyond.values().sum())
    }
}

fn summary(reason: &Reason, print: &str, line: &Line) -> MessageSummary {
    MessageSummary {
        reason: reason.clone(),
        fingerprint: print.to_owned(),
        count: line.said.count,
        first: line.first,
        last: line.last,
        sample: line.said.sample.clone(),
    }
}

fn sorted(mut lines: Vec<MessageSummary>) -> Vec<MessageSummary> {
    lines.sort_by_key(|line| std::cmp::Reverse(line.count));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::measure::StepInterval;
    use crate::model::message::Messages;

    fn second(second: u32, step: u16, said: &[Option<&str>]) -> Interval {
        let mut messages = Messages::default();
        for message in said {
            messages.add(*message);
        }
        let failures = [(Reason::Status(500), said.len() as u64)].into();
        let step_interval = StepInterval { step, failures, messages: [(Reason::Status(500), messages)].into(), ..StepInterval::default() };
        Interval { second, steps: [(step, step_interval)].into(), ..Interval::default() }
    }

    #[test]
    fn the_same_in_other_words_is_counted_together_with_its_first_and_last_second() {
        let mut told = Told::default();
        told.second(&second(3, 0, &[Some("order 1 is gone"), Some("order 2 is gone"), None]));
        told.second(&second(5, 1, &[Some("order 3 is gone")]));
        told.second(&second(9, 0, &[Some("order 4 is gone")]));
        let (own, beyond) = told.of(0);
        let shown: Vec<_> = own.iter().map(|line| (line.fingerprint.as_str(), line.count, line.first, line.last, &*line.sample)).collect();
        assert_eq!((shown, beyond), (vec![("order # is gone", 3, 3, 9, "order 1 is gone"), ("", 1, 3, 3, "")], 0));
        assert_eq!(told.all().0.first().map(|line| (line.count, line.first, line.last)), Some((4, 3, 9)));
        assert_eq!(told.breach(), None);
    }

    #[test]
    fn what_is_too_much_is_counted_and_a_failure_that_is_not_told_of_is_a_bug() {
        let mut told = Told::default();
        for at in 0..300 {
            let word: String = [at / 26 % 26, at % 26].iter().map(|letter| char::from(b'a' + *letter as u8)).collect();
            told.second(&second(at, 0, &[Some(&word), Some(&word)]));
        }
        let (lines, beyond) = told.of(0);
        assert_eq!((lines.len(), beyond), (MOST, 200));
        assert_eq!(lines.iter().map(|line| line.count).sum::<u64>() + beyond, 600);
        let mut missing = second(300, 0, &[None]);
        missing.steps.get_mut(&0).unwrap().failures.insert(Reason::Reset, 2);
        told.second(&missing);
        assert_eq!(told.breach(), Some("second 300: 2 failed with `reset`, 0 of them are told of"));
    }
}
