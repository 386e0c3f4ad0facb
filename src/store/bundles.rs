//! Seconds for sums: all steps of a second in one row, which the database puts together as text. Half a million rows of 24 columns take
//! many seconds to be handed over one by one; what is in them is read in one.

use super::dialect::Dialect;
use super::runs::Key;
use super::shared::Tx;
use super::{StoreError, StoreResult, dialect::params, latencies};
use crate::model::measure::{CheckCount, PhaseSums, StepInterval};
use crate::model::rollup::Sum;

/// The statement: steps parted by `;`, their columns by `,`; numbers as they are, texts and blobs in hexadecimal digits.
macro_rules! bundles {
    ($join:literal, ($text:literal, $text_end:literal), ($blob:literal, $end:literal)) => {
        concat!(
            "SELECT ", $join, "(step || ',' || ok || ',' || blocked_us || ',' || dns_us || ',' || connecting_us || ',' || tls_us || ',' || \
             sending_us || ',' || waiting_us || ',' || receiving_us || ',' || bytes_sent || ',' || bytes_received || ',' || connections",
            bundles!(@ $text, "failures", $text_end), bundles!(@ $text, "messages", $text_end), bundles!(@ $text, "checks", $text_end),
            bundles!(@ $blob, "response_ok", $end), bundles!(@ $blob, "response_failed", $end), bundles!(@ $blob, "service_ok", $end),
            bundles!(@ $blob, "service_failed", $end), bundles!(@ $blob, "waiting", $end),
            ", ';') FROM step_intervals WHERE run = $1 AND at >= $2 AND at < $3 GROUP BY at ORDER BY at"
        )
    };
    (@ $begin:literal, $column:literal, $end:literal) => {
        concat!(" || ',' || COALESCE(", $begin, $column, $end, ", '')")
    };
}
pub(super) const SQLITE: &str = bundles!("group_concat", ("hex(", ")"), ("hex(", ")"));
pub(super) const POSTGRES: &str = bundles!("string_agg", ("encode(convert_to(", ", 'UTF8'), 'hex')"), ("encode(", ", 'hex')"));

/// Adds the steps of `from <= second < to` to a sum.
pub(super) async fn add<D: Dialect>(tx: &mut Tx<'_, D>, run: Key, (from, to): (u32, u32), sum: &mut Sum) -> StoreResult<()> {
    let (mut step, mut scratch) = (StepInterval::default(), Scratch::default());
    tx.list(D::BUNDLES, params![run.num, run.at(from), run.at(to)], |row| {
        for one in row.text()?.split(';') {
            let read = read(one, &mut step, &mut scratch);
            read.ok_or_else(|| StoreError::Corrupt(format!("step {} of a second is damaged", step.step)))?;
            sum.step(&step);
        }
        Ok(())
    })
    .await
    .map(drop)
}

/// Bytes of the texts and blobs of a step, in the order of their columns.
#[derive(Default)]
struct Scratch([Vec<u8>; 8]);

fn read(one: &str, step: &mut StepInterval, scratch: &mut Scratch) -> Option<()> {
    let mut columns = one.split(',');
    step.step = columns.next()?.parse().ok()?;
    let mut number = || columns.next()?.parse::<u64>().ok();
    step.ok = number()?;
    step.phases = PhaseSums {
        blocked_us: number()?,
        dns_us: number()?,
        connecting_us: number()?,
        tls_us: number()?,
        sending_us: number()?,
        waiting_us: number()?,
        receiving_us: number()?,
    };
    (step.bytes_sent, step.bytes_received, step.connections) = (number()?, number()?, number()?);
    for bytes in &mut scratch.0 {
        unhex(columns.next()?.as_bytes(), bytes)?;
    }
    let [failures, messages, checks, latencies @ ..] = &scratch.0;
    step.failures = json(failures)?;
    step.messages = json(messages)?;
    step.checks.clear();
    let counts: Vec<(u64, u64)> = json(checks)?;
    step.checks.extend(counts.into_iter().map(|(passed, failed)| CheckCount { passed, failed }));
    let packed = latencies.each_ref().map(|bytes| Some(bytes.as_slice()).filter(|bytes| !bytes.is_empty()));
    latencies::unpack(packed, step).ok()
}

/// Nothing is what is empty.
fn json<T: serde::de::DeserializeOwned + Default>(bytes: &[u8]) -> Option<T> {
    if bytes.is_empty() { Some(T::default()) } else { serde_json::from_slice(bytes).ok() }
}

/// The value of each hexadecimal digit; 255 = none.
const DIGITS: [u8; 256] = {
    let mut digits = [255; 256];
    let mut value = 0;
    while value < 16 {
        digits[b"0123456789abcdef"[value] as usize] = value as u8;
        digits[b"0123456789ABCDEF"[value] as usize] = value as u8;
        value += 1;
    }
    digits
};

fn unhex(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    out.clear();
    out.reserve(text.len() / 2);
    let (pairs, rest) = text.as_chunks::<2>();
    for [high, low] in pairs {
        let (high, low) = (DIGITS[usize::from(*high)], DIGITS[usize::from(*low)]);
        if high > 15 || low > 15 {
            return None;
        }
        out.push(high << 4 | low);
    }
    rest.is_empty().then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_read_from_its_text_or_refused() {
        let (mut step, mut scratch) = (StepInterval::default(), Scratch::default());
        let whole = "3,98,1,0,0,0,5,6,7,4000,0,2,,,5b5b312c325d5d,03,,01060F02,,";
        assert_eq!(read(whole, &mut step, &mut scratch), Some(()));
        assert_eq!((step.step, step.ok, step.phases.sending_us, step.bytes_sent, step.connections), (3, 98, 5, 4_000, 2));
        assert_eq!((step.checks[0].failed, step.response_ok.count()), (2, 3));
        assert_eq!(step.response_ok, step.service_ok);
        for damaged in ["", "3", &whole.replace("98", "x"), &whole.replace("01060F02", "01060F0"), &whole.replace("01060F02", "zz")] {
            assert_eq!(read(damaged, &mut step, &mut scratch), None, "{damaged}");
        }
    }
}
