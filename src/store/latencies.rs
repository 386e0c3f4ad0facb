//! The five histograms of a step in a row. Most of them tell nearly the same: response time is service time unless a request waited to be
//! sent, waiting is all of it but the last bytes. Those are written by what lies between, and read in the order that this needs.

use std::borrow::Cow;

use super::StoreResult;
use super::dialect::{Columns, Dialect, Value};
use crate::model::histogram::LatencyHistogram;
use crate::model::measure::StepInterval;
use crate::model::rollup::StepSum;

/// Values of the columns `response_ok`, `response_failed`, `service_ok`, `service_failed`, `waiting`.
pub(super) fn values(step: &StepInterval) -> [Value<'static>; 5] {
    [
        Value::histogram_beside(&step.response_ok, &step.service_ok),
        Value::histogram_beside(&step.response_failed, &step.service_failed),
        Value::histogram(&step.service_ok),
        Value::histogram(&step.service_failed),
        Value::histogram_beside(&step.waiting, &answered(&step.service_ok, &step.service_failed)),
    ]
}

/// Reads these columns into `step`, using the memory of what it holds.
pub(super) fn read<D: Dialect>(row: &mut Columns<'_, D>, step: &mut StepInterval) -> StoreResult<()> {
    let packed = [row.opt_blob()?, row.opt_blob()?, row.opt_blob()?, row.opt_blob()?, row.opt_blob()?];
    unpack(packed, step).map_err(|column| row.damaged_before(5 - column, "is not a histogram"))
}

/// Makes the histograms of what the columns hold; NULL is an empty one. The error is the column that is none.
pub(super) fn unpack(packed: [Option<&[u8]>; 5], step: &mut StepInterval) -> Result<(), usize> {
    one(&packed, 2, None, &mut step.service_ok)?;
    one(&packed, 3, None, &mut step.service_failed)?;
    one(&packed, 0, Some(&step.service_ok), &mut step.response_ok)?;
    one(&packed, 1, Some(&step.service_failed), &mut step.response_failed)?;
    one(&packed, 4, Some(&answered(&step.service_ok, &step.service_failed)), &mut step.waiting)
}

fn one(
    packed: &[Option<&[u8]>; 5],
    column: usize,
    beside: Option<&LatencyHistogram>,
    histogram: &mut LatencyHistogram,
) -> Result<(), usize> {
    let Some(bytes) = packed[column] else {
        histogram.clear();
        return Ok(());
    };
    histogram.read(bytes, beside).ok_or(column)
}

/// Adds the histograms of what the columns hold to a sum, making only those of them that others are told by, in `service`. The error is the
/// column that is none.
pub(super) fn add(packed: [Option<&[u8]>; 5], sum: &mut StepSum, service: &mut [LatencyHistogram; 2]) -> Result<(), usize> {
    for (outcome, service) in service.iter_mut().enumerate() {
        one(&packed, outcome + 2, None, service)?;
        if packed[outcome].is_some_and(LatencyHistogram::is_same) && !service.is_empty() {
            sum.same[outcome].add(service);
            continue;
        }
        sum.latencies[outcome + 2].add(service);
        if let Some(response) = packed[outcome] {
            sum.latencies[outcome].read(response, Some(service)).ok_or(outcome)?;
        }
    }
    let Some(waiting) = packed[4] else { return Ok(()) };
    let [ok, failed] = service;
    sum.latencies[4].read(waiting, Some(&answered(ok, failed))).ok_or(4_usize)
}

/// Service times of all answered requests, as waiting is of all of them.
fn answered<'h>(ok: &'h LatencyHistogram, failed: &'h LatencyHistogram) -> Cow<'h, LatencyHistogram> {
    if failed.is_empty() {
        return Cow::Borrowed(ok);
    }
    let mut both = ok.clone();
    both.merge(failed);
    Cow::Owned(both)
}
