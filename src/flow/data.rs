//! What the VUs of a run share, on all its threads: counts, the variables of its setup, the positions of its feeders.
//! No locks on the way of a request: positions and counts are atomic, a shuffled order is computed and not stored.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use serde_json::Value;

use crate::clock::SharedClock;
use crate::model::flow::{AtEnd, Feeder, Pick};
use crate::model::random::mix;
use crate::model::run::DataEnd;

/// What all scenarios of a run share.
#[derive(Debug)]
pub struct RunData {
    seed: u64,
    clock: SharedClock,
    unnamed: AtomicU64,
    named: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
    setup: OnceLock<Vec<(String, Value)>>,
    ended: Mutex<Vec<DataEnd>>,
}

impl RunData {
    /// Data of a run; the same seed gives the same random values. The clock is read where a template has `${now}`.
    pub fn new(seed: u64, clock: SharedClock) -> Arc<Self> {
        let (unnamed, named, setup) = (AtomicU64::new(0), Mutex::default(), OnceLock::new());
        Arc::new(Self { seed, clock, unnamed, named, setup, ended: Mutex::default() })
    }

    /// The data that came to their end while somebody needed another row, in this order.
    pub fn ended(&self) -> Vec<DataEnd> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes these the variables of the run's setup, `${setup.NAME}` from now on; they are set once.
    pub fn set_setup(&self, variables: impl IntoIterator<Item = (String, Value)>) {
        self.setup.get_or_init(|| variables.into_iter().collect());
    }

    /// A variable of the run's setup.
    pub(super) fn setup(&self, name: &str) -> Option<&Value> {
        self.setup.get()?.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// The next number of the count without a name, from 1.
    pub(super) fn next(&self) -> u64 {
        self.unnamed.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The count of this name; asked for once per VU, not per number.
    pub(super) fn count(&self, name: &str) -> Arc<AtomicU64> {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        named.entry(name.to_owned()).or_default().clone()
    }

    pub(super) fn clock(&self) -> &SharedClock {
        &self.clock
    }
}

/// What all VUs of a scenario share.
#[derive(Debug)]
pub struct ScenarioData {
    name: String,
    pub(super) run: Arc<RunData>,
    pub(super) feeders: Vec<SharedFeeder>,
    seed: u64,
    by_number: bool,
}

impl ScenarioData {
    /// Data of a scenario. When starts are due by the clock (`open`), which VU takes one is chance, so that random values follow the
    /// iteration's number; otherwise they follow the VU and its own count of iterations.
    pub fn new(run: Arc<RunData>, name: &str, open: bool, feeders: &[Feeder]) -> Arc<Self> {
        let seed = mix(run.seed ^ hash(name));
        let feeders = feeders.iter().map(|feeder| SharedFeeder::new(feeder, seed)).collect();
        Arc::new(Self { name: name.to_owned(), run, feeders, seed, by_number: open })
    }

    /// Takes note, once, that this feeder has no row for somebody who needs one.
    pub(super) fn has_ended(&self, shared: &SharedFeeder) {
        if !shared.told.swap(true, Ordering::Relaxed) {
            let (scenario, data, rows) = (self.name.clone(), shared.feeder.name.clone(), shared.feeder.rows.len() as u64);
            self.run.ended.lock().unwrap_or_else(PoisonError::into_inner).push(DataEnd { scenario, data, rows });
        }
    }

    /// The seed of an iteration's random values.
    pub(super) fn seed_of(&self, vu: u64, own: u64, number: u64) -> u64 {
        if self.by_number { mix(self.seed ^ mix(number)) } else { mix(mix(self.seed ^ mix(vu)) ^ own) }
    }
}

/// A feeder with its position.
#[derive(Debug)]
pub(super) struct SharedFeeder {
    pub(super) feeder: Feeder,
    seed: u64,
    taken: AtomicU64,
    /// Its end was noted.
    told: AtomicBool,
}

impl SharedFeeder {
    fn new(feeder: &Feeder, seed: u64) -> Self {
        Self { feeder: feeder.clone(), seed: mix(seed ^ hash(&feeder.name)), taken: AtomicU64::new(0), told: AtomicBool::new(false) }
    }

    /// The index of the row for an iteration of this VU; `None` when there is none left. `random` is asked for a number below
    /// its argument.
    pub(super) fn take(&self, vu: u64, random: impl FnOnce(u64) -> u64) -> Option<usize> {
        let rows = self.feeder.rows.len() as u64;
        if rows == 0 {
            return None;
        }
        let (position, shuffled) = match self.feeder.pick {
            Pick::Random => return Some(random(rows) as usize),
            Pick::Unique => (self.feeder.first + vu, false),
            Pick::Sequential => (self.taken.fetch_add(1, Ordering::Relaxed), false),
            Pick::Shuffled => (self.taken.fetch_add(1, Ordering::Relaxed), true),
        };
        let (round, index) = (position / rows, position % rows);
        if round > 0 && self.feeder.at_end == AtEnd::Stop {
            return None;
        }
        Some(if shuffled { shuffle(index, rows, mix(self.seed ^ round)) } else { index } as usize)
    }
}

/// The number that stands at place `index` of a shuffled `0..size`: a Feistel network of six rounds over the least even number of bits
/// that holds `size`, walked along its cycle until it is below `size` (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002).
fn shuffle(index: u64, size: u64, seed: u64) -> u64 {
    let half = (u64::BITS - (size - 1).leading_zeros()).div_ceil(2).max(1);
    let mask = (1 << half) - 1;
    let mut number = index;
    loop {
        let (mut left, mut right) = (number >> half, number & mask);
        for round in 0..6 {
            (left, right) = (right, left ^ (mix(seed ^ mix(right ^ (round << 40))) & mask));
        }
        number = (left << half) | right;
        if number < size {
            return number;
        }
    }
}

/// FNV-1a: the same on every machine and in every version.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;
    use crate::clock::TestClock;
    use crate::model::units::Timestamp;

    fn shared(rows: usize, pick: Pick, at_end: AtEnd, seed: u64) -> SharedFeeder {
        let rows = Arc::new((0..rows).map(|row| vec![Value::from(row)]).collect());
        SharedFeeder::new(&Feeder { name: "users".into(), columns: vec!["id".into()], rows, pick, at_end, first: 0 }, seed)
    }

    /// What `threads` threads take, `each` times each.
    fn taken(feeder: &SharedFeeder, threads: u64, each: u64) -> Vec<Option<usize>> {
        std::thread::scope(|scope| {
            let take = |thread| move || (0..each).map(|_| feeder.take(thread, |_| 0)).collect::<Vec<_>>();
            let workers: Vec<_> = (0..threads).map(|thread| scope.spawn(take(thread))).collect();
            workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
        })
    }

    #[test]
    fn threads_take_every_row_once_per_round() {
        for pick in [Pick::Sequential, Pick::Shuffled] {
            let mut counts = BTreeMap::new();
            for row in taken(&shared(500, pick, AtEnd::Recycle, 3), 4, 500) {
                *counts.entry(row.unwrap()).or_insert(0) += 1;
            }
            assert_eq!(counts.len(), 500);
            assert!(counts.values().all(|count| *count == 4), "{pick:?}: {counts:?}");
            let ending = taken(&shared(500, pick, AtEnd::Stop, 3), 4, 200);
            assert_eq!(ending.iter().flatten().collect::<BTreeSet<_>>().len(), 500);
            assert_eq!(ending.iter().filter(|row| row.is_none()).count(), 300);
        }
    }

    #[test]
    fn a_vu_keeps_its_row_and_shares_it_with_none() {
        let feeder = shared(10, Pick::Unique, AtEnd::Stop, 3);
        for vu in 0..10 {
            assert_eq!((feeder.take(vu, |_| 0), feeder.take(vu, |_| 0)), (Some(vu as usize), Some(vu as usize)));
        }
        assert_eq!(feeder.take(10, |_| 0), None);
        assert_eq!(shared(10, Pick::Unique, AtEnd::Recycle, 3).take(13, |_| 0), Some(3));
        assert_eq!(shared(10, Pick::Random, AtEnd::Stop, 3).take(0, |rows| rows - 1), Some(9));
        assert_eq!(shared(0, Pick::Random, AtEnd::Recycle, 3).take(0, |rows| rows - 1), None);
    }

    #[test]
    fn every_row_comes_first_about_equally_often() {
        for size in [2, 3, 5, 8, 10] {
            let mut first = vec![0_u32; size as usize];
            (0..10_000).for_each(|seed| first[shuffle(0, size, mix(seed)) as usize] += 1);
            let expected = 10_000.0 / size as f64;
            assert!(first.iter().all(|count| (f64::from(*count) / expected - 1.0).abs() < 0.15), "{size}: {first:?}");
        }
    }

    #[test]
    fn counts_give_every_number_once() {
        let run = RunData::new(1, TestClock::at(Timestamp(0)));
        let mut numbers: Vec<u64> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4).map(|_| scope.spawn(|| (0..100).map(|_| run.next()).collect::<Vec<_>>())).collect();
            workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
        });
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=400).collect::<Vec<_>>());
        run.count("orders").fetch_add(5, Ordering::Relaxed);
        assert_eq!(run.count("orders").load(Ordering::Relaxed), 5);
        assert_eq!(run.count("others").load(Ordering::Relaxed), 0);
    }

    proptest! {
        #[test]
        fn a_shuffled_round_is_a_permutation(size in 1_u64..2_000, seed: u64) {
            let seen: BTreeSet<u64> = (0..size).map(|index| shuffle(index, size, seed)).collect();
            prop_assert_eq!(seen.len() as u64, size);
            prop_assert!(seen.iter().all(|number| *number < size));
        }

        #[test]
        fn the_seed_decides_the_order(rows in 30_usize..300, seed: u64) {
            let order = |seed| {
                let feeder = shared(rows, Pick::Shuffled, AtEnd::Recycle, seed);
                (0..2 * rows).map(|_| feeder.take(0, |_| 0).unwrap()).collect::<Vec<_>>()
            };
            let first = order(seed);
            prop_assert_eq!(&first, &order(seed));
            prop_assert_ne!(&first, &order(seed ^ 1));
            prop_assert_ne!(&first[..rows], &first[rows..]);
        }
    }
}
