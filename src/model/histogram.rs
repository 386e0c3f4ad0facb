//! Latency histograms. Recording happens in hdrhistogram's dense form, one per shard; what is handed on, merged, stored
//! and asked is `LatencyHistogram`: the same buckets, only those that are not empty. Merging is exact. It is stored packed
//! (docs/storage.md, "Histograms"); HDR's V2 encoding is read as well, and written for other programs.
//! Buckets: 3 significant digits, 1 us to 1 h (HdrHistogram, Gil Tene).

mod dense;
mod packed;

use std::time::Duration;

pub use dense::Dense;
use serde::{Deserialize, Serialize};

/// Longest latency that is told apart: longer ones count as this.
pub const HIGHEST_US: u64 = 3_600_000_000;
/// Buckets of equal width below the first doubling (2048 for 3 significant digits).
const SUB_BUCKETS: u64 = 2048;
const HALF: u64 = SUB_BUCKETS / 2;
const HALF_MAGNITUDE: u32 = 10;
/// First four bytes of HDR's V2 encoding (cookie base 0x1c849303, one word size digit set).
const V2_COOKIE: u32 = 0x1c84_9313;
const V2_HEADER: usize = 40;

/// The dense recorder of one shard: hdrhistogram with 32-bit counts.
pub struct Recorder {
    inner: hdrhistogram::Histogram<u32>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

impl Recorder {
    /// An empty recorder (about 94 kB).
    pub fn new() -> Self {
        let inner =
            hdrhistogram::Histogram::new_with_bounds(1, HIGHEST_US, 3).unwrap_or_else(|_| unreachable!("constant bounds are valid"));
        Self { inner }
    }

    /// Records one latency.
    pub fn record(&mut self, latency: Duration) {
        self.record_us(u64::try_from(latency.as_micros()).unwrap_or(HIGHEST_US));
    }

    /// Records one latency in microseconds; 0 counts as 1, more than an hour as an hour.
    pub fn record_us(&mut self, us: u64) {
        self.inner.saturating_record(us.clamp(1, HIGHEST_US));
    }

    /// True when nothing was recorded since the last `take`.
    pub fn is_empty(&self) -> bool {
        self.inner.is_empty()
    }

    /// What was recorded since the last call; the recorder is empty afterwards.
    pub fn take(&mut self) -> LatencyHistogram {
        if self.inner.is_empty() {
            return LatencyHistogram::default();
        }
        let buckets =
            self.inner.iter_recorded().map(|value| (index_of(value.value_iterated_to()), u64::from(value.count_at_value()))).collect();
        self.inner.reset();
        LatencyHistogram { buckets }
    }
}

/// Index of the bucket that holds `us`.
fn index_of(us: u64) -> u32 {
    let us = us.clamp(1, HIGHEST_US);
    let doubling = 64 - (us | (SUB_BUCKETS - 1)).leading_zeros() - (HALF_MAGNITUDE + 1);
    let sub = us >> doubling;
    ((u64::from(doubling) + 1) * HALF + sub - HALF) as u32
}

/// Lowest and highest microseconds that share the bucket `index`.
fn bounds_of(index: u32) -> (u64, u64) {
    let index = u64::from(index);
    if index < SUB_BUCKETS {
        return (index, index);
    }
    let doubling = index / HALF - 1;
    let sub = index % HALF + HALF;
    let low = sub << doubling;
    (low, low + (1 << doubling) - 1)
}

/// A histogram of latencies: bucket indexes and counts, sorted, none empty. Equal contents are equal values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LatencyHistogram {
    buckets: Vec<(u32, u64)>,
}

impl LatencyHistogram {
    /// From single latencies in microseconds, for tests and small sets.
    pub fn from_us(values: impl IntoIterator<Item = u64>) -> Self {
        let mut recorder = Recorder::new();
        for value in values {
            recorder.record_us(value);
        }
        recorder.take()
    }

    /// Number of latencies.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// Adds all of `other`; exact.
    pub fn merge(&mut self, other: &Self) {
        if other.buckets.is_empty() {
            return;
        }
        if self.buckets.is_empty() {
            self.buckets.clone_from(&other.buckets);
            return;
        }
        // Buckets that both have are added up where they stand; room is made only for those that are new, from the back.
        let (mut at, mut missing) = (0, 0);
        for (index, count) in &other.buckets {
            at += self.buckets[at..].iter().take_while(|mine| mine.0 < *index).count();
            match self.buckets.get_mut(at) {
                Some(mine) if mine.0 == *index => mine.1 += count,
                Some(_) | None => missing += 1,
            }
        }
        let mut left = self.buckets.len();
        let mut free = left + missing;
        self.buckets.resize(free, (0, 0));
        for (index, count) in other.buckets.iter().rev() {
            // All that are left stand where they belong.
            if free == left {
                break;
            }
            while left > 0 && self.buckets[left - 1].0 > *index {
                (left, free) = (left - 1, free - 1);
                self.buckets[free] = self.buckets[left];
            }
            if left == 0 || self.buckets[left - 1].0 != *index {
                free -= 1;
                self.buckets[free] = (*index, *count);
            }
        }
    }

    /// The latency that `quantile` (0 to 1) of all latencies do not exceed, as the highest of its bucket; `None` when empty.
    pub fn quantile(&self, quantile: f64) -> Option<Duration> {
        let total = self.count();
        if total == 0 {
            return None;
        }
        let wanted = ((quantile.clamp(0.0, 1.0) * total as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, count) in &self.buckets {
            seen += count;
            if seen >= wanted {
                return Some(Duration::from_micros(bounds_of(*index).1));
            }
        }
        self.max()
    }

    /// Smallest latency (lowest of its bucket).
    pub fn min(&self) -> Option<Duration> {
        self.buckets.first().map(|(index, _)| Duration::from_micros(bounds_of(*index).0))
    }

    /// Largest latency (highest of its bucket).
    pub fn max(&self) -> Option<Duration> {
        self.buckets.last().map(|(index, _)| Duration::from_micros(bounds_of(*index).1))
    }

    /// Mean latency, each bucket at its middle.
    pub fn mean(&self) -> Option<Duration> {
        let total = self.count();
        let sum: f64 = self
            .buckets
            .iter()
            .map(|(index, count)| {
                let (low, high) = bounds_of(*index);
                f64::midpoint(low as f64, high as f64) * *count as f64
            })
            .sum();
        (total > 0).then(|| Duration::from_secs_f64(sum / total as f64 / 1e6))
    }

    /// How many latencies are at most `limit` (buckets that straddle it count as above).
    pub fn count_at_most(&self, limit: Duration) -> u64 {
        let limit = limit.as_micros() as u64;
        self.buckets.iter().take_while(|(index, _)| bounds_of(*index).1 <= limit).map(|(_, count)| count).sum()
    }

    /// Buckets as (highest microseconds, count), ascending.
    pub fn iter_us(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.buckets.iter().map(|(index, count)| (bounds_of(*index).1, *count))
    }

    /// The shortest form that stores keep (docs/storage.md).
    pub fn to_packed(&self) -> Vec<u8> {
        packed::write(&self.buckets, None)
    }

    /// The same; shorter when each latency lies close to one of `beside`, with which it must be read then.
    pub fn to_packed_beside(&self, beside: &Self) -> Vec<u8> {
        packed::write(&self.buckets, Some(&beside.buckets))
    }

    /// Reads what `to_packed` or `to_v2` wrote; `None` when the bytes are neither.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut read = Self::default();
        read.read(bytes, None)?;
        Some(read)
    }

    /// Becomes what `to_packed`, `to_packed_beside` or `to_v2` wrote, without new memory where there is enough; `None` when the bytes are
    /// none of these.
    pub fn read(&mut self, bytes: &[u8], beside: Option<&Self>) -> Option<()> {
        if bytes.first().is_some_and(|first| packed::is_form(*first)) {
            return packed::read(bytes, beside.map(|beside| beside.buckets.as_slice()), &mut self.buckets);
        }
        *self = Self::from_v2(bytes)?;
        Some(())
    }

    /// True when what `to_packed_beside` wrote tells that it is the same as the one beside it.
    pub fn is_same(bytes: &[u8]) -> bool {
        packed::is_same(bytes)
    }

    /// Becomes empty, keeping its memory.
    pub fn clear(&mut self) {
        self.buckets.clear();
    }

    /// The histogram in HDR's V2 encoding (not compressed), which hdrhistogram and HdrHistogram_py read.
    pub fn to_v2(&self) -> Vec<u8> {
        let mut payload = Vec::with_capacity(self.buckets.len() * 3);
        let mut next = 0;
        for (index, count) in &self.buckets {
            if *index > next {
                write_zigzag(&mut payload, -i64::from(index - next));
            }
            write_zigzag(&mut payload, *count as i64);
            next = index + 1;
        }
        let mut bytes = Vec::with_capacity(V2_HEADER + payload.len());
        bytes.extend_from_slice(&V2_COOKIE.to_be_bytes());
        bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes());
        bytes.extend_from_slice(&0_u32.to_be_bytes());
        bytes.extend_from_slice(&3_u32.to_be_bytes());
        bytes.extend_from_slice(&1_u64.to_be_bytes());
        bytes.extend_from_slice(&HIGHEST_US.to_be_bytes());
        bytes.extend_from_slice(&1.0_f64.to_be_bytes());
        bytes.extend_from_slice(&payload);
        bytes
    }

    /// Reads what `to_v2` wrote; `None` when the bytes are not such a histogram.
    pub fn from_v2(bytes: &[u8]) -> Option<Self> {
        if bytes.get(..4)? != V2_COOKIE.to_be_bytes() || bytes.get(12..16)? != 3_u32.to_be_bytes() {
            return None;
        }
        let length = u32::from_be_bytes(bytes.get(4..8)?.try_into().ok()?) as usize;
        let mut payload = bytes.get(V2_HEADER..V2_HEADER + length)?;
        let mut buckets = Vec::new();
        let mut index: u32 = 0;
        while !payload.is_empty() {
            let value = read_zigzag(&mut payload)?;
            if value < 0 {
                index = index.checked_add(u32::try_from(-value).ok()?)?;
            } else {
                if value > 0 {
                    if index > index_of(HIGHEST_US) {
                        return None;
                    }
                    buckets.push((index, value as u64));
                }
                index = index.checked_add(1)?;
            }
        }
        Some(Self { buckets })
    }
}

impl Serialize for LatencyHistogram {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.buckets.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for LatencyHistogram {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self { buckets: Vec::deserialize(deserializer)? })
    }
}

/// ZigZag LEB128 as HDR's V2 uses it: seven bits a byte, the ninth byte whole.
fn write_zigzag(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    for _ in 0..8 {
        if rest < 0x80 {
            out.push(rest as u8);
            return;
        }
        out.push((rest as u8 & 0x7f) | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn read_zigzag(bytes: &mut &[u8]) -> Option<i64> {
    let mut value = 0_u64;
    for position in 0..9 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        if position == 8 {
            value |= u64::from(*byte) << 56;
            break;
        }
        value |= u64::from(byte & 0x7f) << (7 * position);
        if byte & 0x80 == 0 {
            break;
        }
    }
    Some(((value >> 1) as i64) ^ -((value & 1) as i64))
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};
    use proptest::prelude::*;

    use super::*;

    fn reference(values: &[u64]) -> hdrhistogram::Histogram<u64> {
        let mut reference = hdrhistogram::Histogram::new_with_bounds(1, HIGHEST_US, 3).unwrap();
        for value in values {
            reference.record(*value).unwrap();
        }
        reference
    }

    proptest! {
        #[test]
        fn quantiles_and_bytes_agree_with_hdrhistogram(values in prop::collection::vec(1..HIGHEST_US, 1..300), quantile in 0.0..1.0_f64) {
            let ours = LatencyHistogram::from_us(values.iter().copied());
            let reference = reference(&values);
            prop_assert_eq!(ours.quantile(quantile).unwrap().as_micros() as u64, reference.value_at_quantile(quantile));
            prop_assert_eq!(ours.max().unwrap().as_micros() as u64, reference.max());
            let mut bytes = Vec::new();
            V2Serializer::new().serialize(&reference, &mut bytes).unwrap();
            prop_assert_eq!(LatencyHistogram::from_v2(&bytes).unwrap(), ours.clone());
            let read: hdrhistogram::Histogram<u64> = Deserializer::new().deserialize(&mut ours.to_v2().as_slice()).unwrap();
            prop_assert_eq!(read, reference);
            prop_assert_eq!(LatencyHistogram::from_bytes(&ours.to_packed()).unwrap(), ours.clone());
            prop_assert_eq!(LatencyHistogram::from_bytes(&ours.to_v2()).unwrap(), ours);
        }

        #[test]
        fn merging_is_recording_both(a in prop::collection::vec(1..HIGHEST_US, 0..100), b in prop::collection::vec(1..HIGHEST_US, 0..100)) {
            let mut merged = LatencyHistogram::from_us(a.iter().copied());
            merged.merge(&LatencyHistogram::from_us(b.iter().copied()));
            prop_assert_eq!(merged, LatencyHistogram::from_us(a.into_iter().chain(b)));
        }

        /// Against a plain sum by bucket; few different buckets, so that most are in several.
        #[test]
        fn merging_many_adds_up_each_bucket(all in prop::collection::vec(prop::collection::vec((0..60_u32, 1..1_000_u64), 0..40), 1..8)) {
            let mut plain = std::collections::BTreeMap::new();
            let mut merged = LatencyHistogram::default();
            for buckets in all {
                let one: std::collections::BTreeMap<u32, u64> = buckets.into_iter().collect();
                for (index, count) in &one {
                    *plain.entry(*index).or_default() += count;
                }
                merged.merge(&LatencyHistogram { buckets: one.into_iter().collect() });
                prop_assert_eq!(&merged.buckets, &plain.iter().map(|(index, count)| (*index, *count)).collect::<Vec<(u32, u64)>>());
            }
        }

        #[test]
        fn garbage_is_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = LatencyHistogram::from_v2(&bytes);
            let beside = LatencyHistogram::from_us((0..10).map(|number| number * 997));
            for first in 1..=3 {
                let packed: Vec<u8> = std::iter::once(first).chain(bytes.iter().copied()).collect();
                let mut read = LatencyHistogram::default();
                if read.read(&packed, Some(&beside)).is_some() && !read.is_empty() {
                    prop_assert_eq!(LatencyHistogram::from_bytes(&read.to_packed()), Some(read));
                }
            }
        }

        /// Few and many latencies, close together and far apart, once and often.
        #[test]
        fn whatever_is_packed_is_read_back(
            buckets in prop::collection::btree_map(0..=index_of(HIGHEST_US), prop_oneof![Just(1), 1..9_u64, 1..=1_u64 << 50], 1..300),
            dense in any::<bool>()
        ) {
            let squeezed = |(number, (index, count)): (usize, (u32, u64))| (if dense { 1_500 + number as u32 } else { index }, count);
            let one = LatencyHistogram { buckets: buckets.into_iter().enumerate().map(squeezed).collect() };
            prop_assert_eq!(LatencyHistogram::from_bytes(&one.to_packed()), Some(one));
        }

        /// As waiting lies beside the service time: each latency a little shorter, some not there.
        #[test]
        fn what_lies_beside_another_is_read_back_with_it(
            pairs in prop::collection::vec((1..2_000_000_u64, 0..40_u64), 1..300), far in any::<bool>(), missing in 0..2_usize
        ) {
            let beside = LatencyHistogram::from_us(pairs.iter().map(|(one, _)| *one));
            let shorter = |(one, shift): &(u64, u64)| one.saturating_sub(if far { shift * 50_000 } else { *shift });
            let one = LatencyHistogram::from_us(pairs.iter().skip(missing).map(shorter));
            let mut read = LatencyHistogram::from_us([7]);
            if one.is_empty() {
                return Ok(());
            }
            prop_assert_eq!(read.read(&one.to_packed_beside(&beside), Some(&beside)), Some(()));
            prop_assert_eq!(read, one);
        }
    }

    #[test]
    fn an_empty_histogram_has_no_numbers() {
        let empty = LatencyHistogram::default();
        assert_eq!((empty.quantile(0.95), empty.mean(), empty.max()), (None, None, None));
        assert_eq!(LatencyHistogram::from_v2(&empty.to_v2()), Some(empty.clone()));
        assert_eq!(LatencyHistogram::from_bytes(&empty.to_packed()), Some(empty));
    }

    #[test]
    fn the_forms_are_as_documented() {
        let three = LatencyHistogram::from_us([3, 10, 10]);
        assert_eq!(three.to_packed(), [1, 6, 15, 2]);
        assert_eq!(three.to_packed_beside(&three), [3], "the same");
        let later = LatencyHistogram::from_us([3, 12, 12]);
        assert_eq!(later.to_packed_beside(&three), [3, 1 << 3 | 4]);
        let close = LatencyHistogram { buckets: (100..130).map(|index| (index, 1 + u64::from(index % 2))).collect() };
        let bits = close.to_packed();
        assert_eq!((bits[0], bits.len()), (2, 5 + 10), "{bits:?}");
        assert_eq!(LatencyHistogram::from_bytes(&later.to_packed_beside(&three)), None, "it is told by another");
    }

    #[test]
    fn counts_under_a_limit() {
        let histogram = LatencyHistogram::from_us([100, 200, 300, 400_000]);
        assert_eq!(histogram.count_at_most(Duration::from_millis(1)), 3);
    }
}
