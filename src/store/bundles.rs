//! Seconds for sums: all steps of a second in one row, which the database puts together as bytes. Half a million rows of 24 columns take
//! many seconds to be handed over one by one; what is in them is read in one.

use super::dialect::Dialect;
use super::rare::Rare;
use super::runs::Key;
use super::shared::Tx;
use super::{StoreError, StoreResult, dialect::params, latencies};
use crate::model::histogram::LatencyHistogram;
use crate::model::measure::{CheckCount, PhaseSums, StepInterval};
use crate::model::rollup::Sum;

/// Texts and blobs of a step.
const PARTS: usize = 9;

/// Length of a text or blob in bytes; 0 where there is none.
macro_rules! length {
    ($column:literal) => {
        concat!("COALESCE(octet_length(", $column, "), 0), ")
    };
}
/// Of a step: its numbers and the lengths of its texts and blobs, in digits with a comma after each.
macro_rules! numbers {
    () => {
        concat!(
            "concat_ws(',', step, ok, blocked_us, dns_us, connecting_us, tls_us, sending_us, waiting_us, receiving_us, bytes_sent, \
             bytes_received, connections, ",
            length!("failures"),
            length!("messages"),
            length!("checks"),
            length!("rare"),
            length!("response_ok"),
            length!("response_failed"),
            length!("service_ok"),
            length!("service_failed"),
            length!("waiting"),
            "'')"
        )
    };
}
/// The same after a `!` where nothing failed, no connection was opened and nothing rare happened, as it nearly always is, without what is 0 then. `format` makes
/// digits of numbers; other functions want each as a text before.
macro_rules! usual_numbers {
    () => {
        "format('!%d,%d,%d,%d,%d,%d,%d,%d,%d,%d,%d,', step, ok, sending_us, waiting_us, receiving_us, bytes_sent, bytes_received, \
         octet_length(checks), octet_length(response_ok), octet_length(service_ok), octet_length(waiting))"
    };
}
macro_rules! is_usual {
    () => {
        "COALESCE(failures, messages, response_failed, service_failed, rare) IS NULL \
         AND (blocked_us | dns_us | connecting_us | tls_us | connections) = 0"
    };
}
macro_rules! of_seconds {
    () => {
        " FROM step_intervals WHERE run = $1 AND at >= $2 AND at < $3 GROUP BY at ORDER BY at"
    };
}
/// The numbers of each step, then its texts and blobs, one behind the other. SQLite's functions take blobs for texts, byte by byte: nothing
/// is said about what the bytes are.
pub(super) const SQLITE: &str = concat!(
    "SELECT CAST(group_concat(CASE WHEN ",
    is_usual!(),
    " THEN concat(",
    usual_numbers!(),
    ", checks, response_ok, service_ok, waiting) ELSE concat(",
    numbers!(),
    ", failures, messages, checks, rare, response_ok, response_failed, service_ok, service_failed, waiting) END, '') AS BLOB)",
    of_seconds!()
);
/// The same.
pub(super) const POSTGRES: &str = concat!(
    "SELECT string_agg(convert_to(",
    numbers!(),
    ", 'UTF8') || COALESCE(convert_to(failures, 'UTF8'), ''::bytea) || COALESCE(convert_to(messages, 'UTF8'), ''::bytea) \
     || COALESCE(convert_to(checks, 'UTF8'), ''::bytea) || COALESCE(convert_to(rare, 'UTF8'), ''::bytea) || COALESCE(response_ok, ''::bytea) || COALESCE(response_failed, ''::bytea) \
     || COALESCE(service_ok, ''::bytea) || COALESCE(service_failed, ''::bytea) || COALESCE(waiting, ''::bytea), ''::bytea)",
    of_seconds!()
);

/// Adds the steps of `from <= second < to` to a sum.
pub(super) async fn add<D: Dialect>(tx: &mut Tx<'_, D>, run: Key, (from, to): (u32, u32), sum: &mut Sum) -> StoreResult<()> {
    let mut step = StepInterval::default();
    let mut service = <[LatencyHistogram; 2]>::default();
    tx.each(D::BUNDLES, params![run.num, run.at(from), run.at(to)], |row| {
        let mut rest = row.opt_blob()?.unwrap_or_default();
        while !rest.is_empty() {
            let read = read(&mut rest, &mut step);
            let added = read.and_then(|packed| latencies::add(packed, sum.counted(&step), &mut service).ok());
            added.ok_or_else(|| StoreError::Corrupt(format!("step {} of a second is damaged", step.step)))?;
        }
        Ok(())
    })
    .await
}

/// Reads the step that comes next into one that is there, but for its histograms; returns these as they are stored.
fn read<'b>(rest: &mut &'b [u8], step: &mut StepInterval) -> Option<[Option<&'b [u8]>; 5]> {
    let lengths = if let Some((b'!', usual)) = rest.split_first() {
        *rest = usual;
        read_usual_numbers(rest, step)?
    } else {
        read_numbers(rest, step)?
    };
    let mut parts = [None; PARTS];
    for (part, length) in parts.iter_mut().zip(lengths) {
        let (mine, others) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        *rest = others;
        *part = (length > 0).then_some(mine);
    }
    let [failures, messages, checks, rare, latencies @ ..] = parts;
    step.failures = json(failures)?;
    step.messages = json(messages)?;
    step.checks.clear();
    let counts: Vec<(u64, u64)> = json(checks)?;
    step.checks.extend(counts.into_iter().map(|(passed, failed)| CheckCount { passed, failed }));
    json::<Rare>(rare)?.fill(step);
    Some(latencies)
}

/// Reads what `numbers` tells; returns the lengths.
fn read_numbers(rest: &mut &[u8], step: &mut StepInterval) -> Option<[u64; PARTS]> {
    step.step = u16::try_from(number(rest)?).ok()?;
    step.ok = number(rest)?;
    step.phases = PhaseSums {
        blocked_us: number(rest)?,
        dns_us: number(rest)?,
        connecting_us: number(rest)?,
        tls_us: number(rest)?,
        sending_us: number(rest)?,
        waiting_us: number(rest)?,
        receiving_us: number(rest)?,
    };
    (step.bytes_sent, step.bytes_received, step.connections) = (number(rest)?, number(rest)?, number(rest)?);
    let mut lengths = [0; PARTS];
    for length in &mut lengths {
        *length = number(rest)?;
    }
    Some(lengths)
}

/// Reads what `usual_numbers` tells after the `!`.
fn read_usual_numbers(rest: &mut &[u8], step: &mut StepInterval) -> Option<[u64; PARTS]> {
    step.step = u16::try_from(number(rest)?).ok()?;
    step.ok = number(rest)?;
    let (sending_us, waiting_us, receiving_us) = (number(rest)?, number(rest)?, number(rest)?);
    step.phases = PhaseSums { sending_us, waiting_us, receiving_us, ..PhaseSums::default() };
    (step.bytes_sent, step.bytes_received, step.connections) = (number(rest)?, number(rest)?, 0);
    let (checks, response_ok, service_ok, waiting) = (number(rest)?, number(rest)?, number(rest)?, number(rest)?);
    Some([0, 0, checks, 0, response_ok, 0, service_ok, 0, waiting])
}

/// Digits up to a comma.
fn number(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for (at, byte) in rest.iter().enumerate() {
        match byte {
            b'0'..=b'9' => value = value.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?,
            b',' if at > 0 => {
                *rest = &rest[at + 1..];
                return Some(value);
            }
            _ => return None,
        }
    }
    None
}

/// Nothing is what is empty.
fn json<T: serde::de::DeserializeOwned + Default>(bytes: Option<&[u8]>) -> Option<T> {
    bytes.map_or_else(|| Some(T::default()), |bytes| serde_json::from_slice(bytes).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_read_one_after_the_other_or_refused() {
        let mut step = StepInterval::default();
        let one = b"3,98,1,0,0,0,5,6,7,4000,0,2,0,0,7,12,1,0,4,0,0,[[1,2]]{\"resent\":4}\x03\x01\x06\x0f\x02";
        let both = [one.as_slice(), b"!4,70000,0,9,0,0,8,0,0,0,0,", b"4,1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,"].concat();
        let mut rest = both.as_slice();
        let packed = read(&mut rest, &mut step);
        assert_eq!(packed, Some([Some(b"\x03".as_slice()), None, Some(b"\x01\x06\x0f\x02"), None, None]));
        assert_eq!((step.step, step.ok, step.phases.sending_us, step.bytes_sent, step.connections), (3, 98, 5, 4_000, 2));
        assert_eq!((step.checks[0].failed, step.resent), (2, 4));
        assert_eq!(read(&mut rest, &mut step), Some([None; 5]));
        assert_eq!((step.step, step.ok, step.phases.waiting_us, step.bytes_received), (4, 70_000, 9, 8));
        assert_eq!((step.connections, step.checks.len(), step.resent), (0, 0, 0), "nothing of the one before is left");
        assert_eq!(read(&mut rest, &mut step), Some([None; 5]));
        assert_eq!((step.step, step.ok, rest.len()), (4, 1, 0));
        for length in 0..one.len() {
            assert_eq!(read(&mut &one[..length], &mut step), None, "the first {length} bytes");
        }
        for (wrong, at) in [(b'x', 2), (b',', 0), (b'8', 43), (b'}', 48), (b'?', 56)] {
            let mut damaged = one.to_vec();
            damaged[at] = wrong;
            assert_eq!(read(&mut damaged.as_slice(), &mut step), None, "{wrong} at {at}");
        }
    }
}
