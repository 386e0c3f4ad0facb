//! Seconds for sums: all steps of a second in one row, which the database puts together as bytes. Half a million rows of 24 columns take
//! many seconds to be handed over one by one; what is in them is read in one.

use super::dialect::Dialect;
use super::runs::Key;
use super::shared::Tx;
use super::{StoreError, StoreResult, dialect::params, latencies};
use crate::model::histogram::LatencyHistogram;
use crate::model::measure::{CheckCount, PhaseSums, StepInterval};
use crate::model::rollup::Sum;

/// Texts and blobs of a step.
const PARTS: usize = 8;

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
            length!("response_ok"),
            length!("response_failed"),
            length!("service_ok"),
            length!("service_failed"),
            length!("waiting"),
            "'')"
        )
    };
}
/// Of a number its low 16 bits and the others.
macro_rules! halves {
    ($column:literal) => {
        concat!($column, " & 65535, ", $column, " >> 16, ")
    };
}
/// The same where nothing failed and no connection had to be waited for, as it nearly always is: a `!`, then each number (most in halves) as
/// the character of that code. That costs a third of making digits.
macro_rules! usual_numbers {
    () => {
        concat!(
            "char(33, step, ",
            halves!("ok"),
            halves!("sending_us"),
            halves!("waiting_us"),
            halves!("receiving_us"),
            halves!("bytes_sent"),
            halves!("bytes_received"),
            halves!("connections"),
            "octet_length(checks), octet_length(response_ok), octet_length(service_ok), octet_length(waiting))"
        )
    };
}
/// What can be told so: no half and no length is more than the highest code, 0x10ffff (a histogram has at most 0.4 MB), none is negative.
macro_rules! is_usual {
    () => {
        "COALESCE(failures, messages, response_failed, service_failed) IS NULL AND (blocked_us | dns_us | connecting_us | tls_us) = 0 \
         AND (ok | sending_us | waiting_us | receiving_us | bytes_sent | bytes_received | connections) >> 36 = 0 \
         AND COALESCE(octet_length(checks), 0) < 65536"
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
    ", failures, messages, checks, response_ok, response_failed, service_ok, service_failed, waiting) END, '') AS BLOB)",
    of_seconds!()
);
/// The same.
pub(super) const POSTGRES: &str = concat!(
    "SELECT string_agg(convert_to(",
    numbers!(),
    ", 'UTF8') || COALESCE(convert_to(failures, 'UTF8'), ''::bytea) || COALESCE(convert_to(messages, 'UTF8'), ''::bytea) \
     || COALESCE(convert_to(checks, 'UTF8'), ''::bytea) || COALESCE(response_ok, ''::bytea) || COALESCE(response_failed, ''::bytea) \
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
    let [failures, messages, checks, latencies @ ..] = parts;
    step.failures = json(failures)?;
    step.messages = json(messages)?;
    step.checks.clear();
    let counts: Vec<(u64, u64)> = json(checks)?;
    step.checks.extend(counts.into_iter().map(|(passed, failed)| CheckCount { passed, failed }));
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
    step.step = u16::try_from(character(rest)?).ok()?;
    let mut whole = || Some(u64::from(character(rest)?) | u64::from(character(rest)?) << 16);
    step.ok = whole()?;
    step.phases = PhaseSums { sending_us: whole()?, waiting_us: whole()?, receiving_us: whole()?, ..PhaseSums::default() };
    (step.bytes_sent, step.bytes_received, step.connections) = (whole()?, whole()?, whole()?);
    let mut length = || character(rest).map(u64::from);
    let (checks, response_ok, service_ok, waiting) = (length()?, length()?, length()?, length()?);
    Some([0, 0, checks, response_ok, 0, service_ok, 0, waiting])
}

/// The code of a character in UTF-8, also of those that are none (surrogates): SQLite writes numbers so.
fn character(rest: &mut &[u8]) -> Option<u32> {
    let more = |byte: &u8| (byte & 0xc0 == 0x80).then_some(u32::from(byte & 0x3f));
    let (code, tail) = match *rest {
        [a @ ..0x80, tail @ ..] => (u32::from(*a), tail),
        [a @ 0xc0..0xe0, b, tail @ ..] => (u32::from(a & 0x1f) << 6 | more(b)?, tail),
        [a @ 0xe0..0xf0, b, c, tail @ ..] => (u32::from(a & 0x0f) << 12 | more(b)? << 6 | more(c)?, tail),
        [a @ 0xf0..0xf8, b, c, d, tail @ ..] => (u32::from(a & 0x07) << 18 | more(b)? << 12 | more(c)? << 6 | more(d)?, tail),
        _ => return None,
    };
    *rest = tail;
    Some(code)
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
    use sqlx::{Connection, SqliteConnection};

    use super::*;

    #[test]
    fn steps_are_read_one_after_the_other_or_refused() {
        let mut step = StepInterval::default();
        let one = b"3,98,1,0,0,0,5,6,7,4000,0,2,0,0,7,1,0,4,0,0,[[1,2]]\x03\x01\x06\x0f\x02";
        let both = [one.as_slice(), b"!\x04\x01\x02", &[0; 16], b"4,1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,"].concat();
        let mut rest = both.as_slice();
        let packed = read(&mut rest, &mut step);
        assert_eq!(packed, Some([Some(b"\x03".as_slice()), None, Some(b"\x01\x06\x0f\x02"), None, None]));
        assert_eq!((step.step, step.ok, step.phases.sending_us, step.bytes_sent, step.connections), (3, 98, 5, 4_000, 2));
        assert_eq!(step.checks[0].failed, 2);
        assert_eq!(read(&mut rest, &mut step), Some([None; 5]));
        assert_eq!((step.step, step.ok, step.checks.len()), (4, 0x2_0001, 0));
        assert_eq!(read(&mut rest, &mut step), Some([None; 5]));
        assert_eq!((step.step, step.ok, rest.len()), (4, 1, 0));
        for length in 0..one.len() {
            assert_eq!(read(&mut &one[..length], &mut step), None, "the first {length} bytes");
        }
        for (wrong, at) in [(b'x', 2), (b',', 0), (b'8', 40), (b'}', 45)] {
            let mut damaged = one.to_vec();
            damaged[at] = wrong;
            assert_eq!(read(&mut damaged.as_slice(), &mut step), None, "{wrong} at {at}");
        }
    }

    #[test]
    fn what_is_no_character_is_refused() {
        for wrong in [b"".as_slice(), b"\x80", b"\xc3", b"\xc3a", b"\xe2\x82", b"\xf0\x9f\x98", b"\xff\x80\x80\x80"] {
            assert_eq!(character(&mut &*wrong), None, "{wrong:?}");
        }
    }

    /// Those that stand for no character are no texts, but the same bytes come back.
    #[tokio::test]
    async fn sqlite_tells_every_number_as_a_character() {
        let mut connection = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        let numbers = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 1114111) \
            SELECT CAST(group_concat(char(i), '') AS BLOB) FROM n";
        let bytes: Vec<u8> = sqlx::query_scalar(numbers).fetch_one(&mut connection).await.unwrap();
        let mut rest = bytes.as_slice();
        for expected in 0..=0x0010_ffff {
            assert_eq!(character(&mut rest), Some(expected));
        }
        assert!(rest.is_empty());
    }
}
