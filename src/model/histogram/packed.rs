//! Histograms as bytes, the way stores keep them: three forms, told apart by their first byte, of which the shortest is written.
//! docs/storage.md ("Histograms") describes them for other programs. Reading checks everything: bytes may come from anywhere.

use super::{HIGHEST_US, index_of};

/// Index and count of a bucket that is not empty.
pub(super) type Bucket = (u32, u64);

/// Distances and counts, a word of bytes each.
const WORDS: u8 = 1;
/// Distances and counts as Rice codes (Rice and Plaunt 1971): few bits where buckets are close together and counts alike.
const BITS: u8 = 2;
/// By how many buckets each latency lies beside one of another histogram.
const BESIDE: u8 = 3;
/// Zeros before the end of a Rice code; so many of them, and no one, announce 64 bits as they are.
const MOST_ZEROS: u32 = 24;
/// Most bits of a Rice code's remainder: with the zeros it is seen at once.
const MOST_REMAINDER: u32 = 24;
/// Bits that are certainly seen at once.
const LOOK: u32 = 57;
/// Changes that are part of their word, in the order of their codes; another one follows its word.
const NEAR: [i64; 6] = [-3, -2, -1, 1, 2, 3];
const FAR: u64 = 6;

/// The shortest form of `buckets`. One that is told by its distance from `beside` can be read only with the same `beside`.
pub(super) fn write(buckets: &[Bucket], beside: Option<&[Bucket]>) -> Vec<u8> {
    let shifts = beside.and_then(|beside| shifts(buckets, beside));
    if let Some(shifts) = &shifts
        && shifts.len() <= 2
    {
        // No other form is as short as that.
        return shifts.clone();
    }
    let mut shortest = words(buckets);
    if let Some(codes) = Codes::of(buckets).filter(|codes| codes.bytes() < shortest.len()) {
        shortest = codes.write(buckets);
    }
    shifts.filter(|shifts| shifts.len() < shortest.len()).unwrap_or(shortest)
}

/// Reads any form into `out`, whose former content goes; `None` when the bytes are none, `out` then holds anything.
pub(super) fn read(bytes: &[u8], beside: Option<&[Bucket]>, out: &mut Vec<Bucket>) -> Option<()> {
    out.clear();
    match (bytes, beside) {
        ([BESIDE], Some(beside)) if !beside.is_empty() => {
            out.extend_from_slice(beside);
            Some(())
        }
        ([BESIDE, ..], _) => each(bytes, beside, |index, count| {
            // A bucket may come in parts.
            match out.last_mut() {
                Some(last) if last.0 == index => last.1 = last.1.checked_add(count)?,
                _ => out.push((index, count)),
            }
            Some(())
        }),
        _ => each(bytes, beside, |index, count| {
            out.push((index, count));
            Some(())
        }),
    }
}

/// Shows the buckets of any form in ascending order to `take`, some in parts; `None` when the bytes are none, or as soon as `take` says so.
pub(super) fn each(bytes: &[u8], beside: Option<&[Bucket]>, take: impl FnMut(u32, u64) -> Option<()>) -> Option<()> {
    match bytes {
        [WORDS, rest @ ..] => read_words(rest, take),
        [BITS, rest @ ..] => read_codes(rest, take),
        [BESIDE, rest @ ..] => read_shifts(rest, beside.filter(|beside| !beside.is_empty())?, take),
        _ => None,
    }
}

/// True when the form tells nothing but that the histogram is the one beside it.
pub(super) fn is_same(bytes: &[u8]) -> bool {
    bytes == [BESIDE]
}

/// True when a form begins so.
pub(super) fn is_form(first: u8) -> bool {
    (WORDS..=BESIDE).contains(&first)
}

/// For each bucket the distance from the one before times two, plus one when a count follows (else it is 1), and the count.
fn words(buckets: &[Bucket]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + buckets.len() * 2);
    bytes.push(WORDS);
    let mut before = 0;
    for (index, count) in buckets {
        write_leb128(&mut bytes, (u64::from(index - before) << 1) | u64::from(*count != 1));
        if *count != 1 {
            write_leb128(&mut bytes, *count);
        }
        before = *index;
    }
    bytes
}

fn read_words(mut rest: &[u8], mut take: impl FnMut(u32, u64) -> Option<()>) -> Option<()> {
    let highest = index_of(HIGHEST_US);
    let mut before = None;
    while !rest.is_empty() {
        let word = read_leb128(&mut rest)?;
        let distance = u32::try_from(word >> 1).ok()?;
        let count = if word & 1 == 1 { read_leb128(&mut rest)? } else { 1 };
        if count == 0 || (distance == 0 && before.is_some()) {
            return None;
        }
        let index = before.unwrap_or(0_u32).checked_add(distance).filter(|index| *index <= highest)?;
        take(index, count)?;
        before = Some(index);
    }
    Some(())
}

/// What the second form begins with: how many buckets, the bits of both remainders, the first index; and how many bits follow.
struct Codes {
    head: Vec<u8>,
    distances: u32,
    counts: u32,
    bits: u64,
}

/// Buckets that lie between one and the one before; how often a bucket holds more than one.
fn between(buckets: &[Bucket]) -> impl Iterator<Item = u64> + Clone + '_ {
    buckets.windows(2).map(|pair| u64::from(pair[1].0 - pair[0].0 - 1))
}

fn more(buckets: &[Bucket]) -> impl Iterator<Item = u64> + Clone + '_ {
    buckets.iter().map(|(_, count)| count - 1)
}

impl Codes {
    fn of(buckets: &[Bucket]) -> Option<Self> {
        let (first, _) = buckets.first()?;
        let ((distances, a), (counts, b)) = (remainder(&between(buckets)), remainder(&more(buckets)));
        let mut head = vec![BITS];
        write_leb128(&mut head, buckets.len() as u64);
        head.extend([distances as u8, counts as u8]);
        write_leb128(&mut head, u64::from(*first));
        Some(Self { head, distances, counts, bits: a + b })
    }

    fn bytes(&self) -> usize {
        self.head.len() + usize::try_from(self.bits.div_ceil(8)).unwrap_or(usize::MAX - self.head.len())
    }

    fn write(self, buckets: &[Bucket]) -> Vec<u8> {
        let mut out = BitWriter { bytes: self.head, pending: 0, filled: 0 };
        let mut distances = between(buckets);
        for (number, count) in more(buckets).enumerate() {
            if number > 0 {
                out.rice(distances.next().unwrap_or(0), self.distances);
            }
            out.rice(count, self.counts);
        }
        out.finish()
    }
}

/// The number of remainder bits that makes Rice codes of these numbers short, and their bits together.
fn remainder(numbers: &(impl Iterator<Item = u64> + Clone)) -> (u32, u64) {
    let (count, sum) = numbers.clone().fold((0_u64, 0_u64), |(count, sum), number| (count + 1, sum.saturating_add(number)));
    let near = (sum / count.max(1)).checked_ilog2().unwrap_or(0).min(MOST_REMAINDER - 1);
    let length = |remainder| numbers.clone().map(|number| length(number, remainder)).sum();
    let tried = (near.saturating_sub(1)..=near + 1).map(|remainder| (remainder, length(remainder)));
    tried.min_by_key(|(_, bits)| *bits).unwrap_or((0, 0))
}

/// Bits of the Rice code of a number.
fn length(number: u64, remainder: u32) -> u64 {
    let zeros = number >> remainder;
    if zeros < u64::from(MOST_ZEROS) { zeros + 1 + u64::from(remainder) } else { u64::from(MOST_ZEROS) + 64 }
}

fn read_codes(mut rest: &[u8], mut take: impl FnMut(u32, u64) -> Option<()>) -> Option<()> {
    let highest = u64::from(index_of(HIGHEST_US));
    let buckets = read_leb128(&mut rest).filter(|buckets| *buckets > 0 && *buckets <= highest + 1)?;
    let [distances, counts, tail @ ..] = rest else { return None };
    let (distances, counts) = (u32::from(*distances), u32::from(*counts));
    if distances > MOST_REMAINDER || counts > MOST_REMAINDER {
        return None;
    }
    rest = tail;
    let mut index = read_leb128(&mut rest).filter(|index| *index <= highest)?;
    let mut bits = BitReader { bytes: rest, at: 0 };
    take(index as u32, bits.rice(counts)?.checked_add(1)?)?;
    let mut left = buckets - 1;
    while left > 0 {
        // Nearly always a look shows several pairs of codes.
        let window = bits.window();
        let mut used = 0;
        while let Some((between, more, end)) = pair(window, used, distances, counts).filter(|_| left > 0) {
            index += between + 1;
            if index > highest {
                return None;
            }
            take(index as u32, more + 1)?;
            (used, left) = (end, left - 1);
        }
        bits.skip(used)?;
        if used == 0 {
            let (between, more) = (bits.rice(distances)?, bits.rice(counts)?);
            index = index.checked_add(between)?.checked_add(1).filter(|index| *index <= highest)?;
            take(index as u32, more.checked_add(1)?)?;
            left -= 1;
        }
    }
    (bits.at.div_ceil(8) == rest.len()).then_some(())
}

/// The two numbers whose codes begin after `used` bits of a look, and where they end in it; `None` when it does not show all of both.
#[inline]
fn pair(window: u64, used: u32, first: u32, second: u32) -> Option<(u64, u64, u32)> {
    let low = |bits: u64, count: u32| bits & ((1 << count) - 1);
    let one = window >> used;
    let zeros = one.trailing_zeros().min(MOST_ZEROS);
    let other = one >> (zeros + 1 + first);
    let other_zeros = other.trailing_zeros().min(MOST_ZEROS);
    let end = used + zeros + 1 + first + other_zeros + 1 + second;
    if zeros == MOST_ZEROS || other_zeros == MOST_ZEROS || end > LOOK {
        return None;
    }
    let between = (u64::from(zeros) << first) | low(one >> (zeros + 1), first);
    Some((between, (u64::from(other_zeros) << second) | low(other >> (other_zeros + 1), second), end))
}

/// Bits from the lowest of the first byte on.
struct BitWriter {
    bytes: Vec<u8>,
    pending: u64,
    filled: u32,
}

impl BitWriter {
    /// The low `count` (at most 32) bits of `value`.
    fn put(&mut self, value: u64, count: u32) {
        self.pending |= (value & ((1 << count) - 1)) << self.filled;
        self.filled += count;
        while self.filled >= 8 {
            self.bytes.push(self.pending as u8);
            self.pending >>= 8;
            self.filled -= 8;
        }
    }

    fn rice(&mut self, number: u64, remainder: u32) {
        let zeros = number >> remainder;
        if zeros < u64::from(MOST_ZEROS) {
            self.put(1 << zeros, zeros as u32 + 1);
            self.put(number, remainder);
        } else {
            self.put(0, MOST_ZEROS);
            self.put(number, 32);
            self.put(number >> 32, 32);
        }
    }

    fn finish(mut self) -> Vec<u8> {
        if self.filled > 0 {
            self.bytes.push(self.pending as u8);
        }
        self.bytes
    }
}

struct BitReader<'b> {
    bytes: &'b [u8],
    /// Bits that are read.
    at: usize,
}

impl BitReader<'_> {
    /// The next [`LOOK`] bits at least, zeros after the end.
    fn window(&self) -> u64 {
        let from = self.at / 8;
        let word = match self.bytes.get(from..).and_then(<[u8]>::first_chunk::<8>) {
            Some(whole) => u64::from_le_bytes(*whole),
            None => {
                let rest = self.bytes.get(from..).unwrap_or_default();
                let mut last = [0; 8];
                last[..rest.len()].copy_from_slice(rest);
                u64::from_le_bytes(last)
            }
        };
        word >> (self.at % 8)
    }

    /// Goes on by so many bits.
    fn skip(&mut self, bits: u32) -> Option<()> {
        self.at += bits as usize;
        (self.at <= self.bytes.len() * 8).then_some(())
    }

    fn rice(&mut self, remainder: u32) -> Option<u64> {
        let window = self.window();
        let zeros = window.trailing_zeros();
        let number = if zeros < MOST_ZEROS {
            self.at += (zeros + 1 + remainder) as usize;
            (u64::from(zeros) << remainder) | ((window >> (zeros + 1)) & ((1 << remainder) - 1))
        } else {
            self.at += MOST_ZEROS as usize;
            let low = self.window() & u64::from(u32::MAX);
            self.at += 32;
            let high = self.window() & u64::from(u32::MAX);
            self.at += 32;
            (high << 32) | low
        };
        (self.at <= self.bytes.len() * 8).then_some(number)
    }
}

/// Both histograms in ascending order, latency beside latency: how many lie as far apart as those before, times eight, plus the code of
/// the change that comes then. `None` when they do not hold as many.
fn shifts(buckets: &[Bucket], beside: &[Bucket]) -> Option<Vec<u8>> {
    let total = |buckets: &[Bucket]| buckets.iter().map(|(_, count)| count).sum::<u64>();
    if buckets.is_empty() || total(buckets) != total(beside) || total(beside) >= 1 << 60 {
        return None;
    }
    let mut bytes = vec![BESIDE];
    let mut others = beside.iter().copied();
    let (mut other, mut others_left) = others.next()?;
    let (mut shift, mut run) = (0, 0);
    for (index, count) in buckets {
        let mut left = *count;
        while left > 0 {
            if others_left == 0 {
                (other, others_left) = others.next()?;
            }
            let change = i64::from(*index) - i64::from(other) - shift;
            if change != 0 {
                let code = NEAR.iter().position(|near| *near == change);
                write_leb128(&mut bytes, (run << 3) | code.map_or(FAR, |code| code as u64));
                if code.is_none() {
                    write_leb128(&mut bytes, ((change << 1) ^ (change >> 63)) as u64);
                }
                (shift, run) = (shift + change, 0);
            }
            let both = left.min(others_left);
            (left, others_left, run) = (left - both, others_left - both, run + both);
        }
    }
    Some(bytes)
}

fn read_shifts(mut rest: &[u8], beside: &[Bucket], mut take: impl FnMut(u32, u64) -> Option<()>) -> Option<()> {
    let highest = i64::from(index_of(HIGHEST_US));
    let (mut shift, mut before) = (0_i64, 0);
    let (mut run, mut waiting) = next_shift(&mut rest)?;
    for (index, count) in beside {
        let mut left = *count;
        while left > 0 {
            if run == 0 {
                shift = shift.checked_add(waiting)?;
                (run, waiting) = next_shift(&mut rest)?;
                continue;
            }
            let both = left.min(run);
            let at = i64::from(*index).checked_add(shift).filter(|at| (before..=highest).contains(at))?;
            take(at as u32, both)?;
            (before, left) = (at, left - both);
            run = if run == u64::MAX { run } else { run - both };
        }
    }
    (run == u64::MAX).then_some(())
}

/// How many lie as far apart as those before, and the change that comes then. After the end all do.
#[inline]
fn next_shift(rest: &mut &[u8]) -> Option<(u64, i64)> {
    let Some((first, tail)) = rest.split_first() else { return Some((u64::MAX, 0)) };
    if let Some(near) = NEAR.get(usize::from(*first & 7))
        && *first < 0x80
    {
        *rest = tail;
        return Some((u64::from(*first >> 3), *near));
    }
    let word = read_leb128(rest)?;
    if let Some(near) = NEAR.get((word & 7) as usize) {
        return Some((word >> 3, *near));
    }
    let far = (word & 7 == FAR).then(|| read_leb128(rest)).flatten()?;
    Some((word >> 3, ((far >> 1) as i64) ^ -((far & 1) as i64)))
}

/// LEB128: seven bits a byte, lowest first.
fn write_leb128(out: &mut Vec<u8>, mut rest: u64) {
    while rest >= 0x80 {
        out.push((rest as u8 & 0x7f) | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn read_leb128(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for position in 0..10 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        if position == 9 && bits > 1 {
            return None;
        }
        value |= bits << (7 * position);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
