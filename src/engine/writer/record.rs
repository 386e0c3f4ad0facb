//! What the writer writes, and its form in the spool: JSON, one object per thing. A later version reads what an earlier one wrote as
//! far as the model does.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::model::audit::Deed;
use crate::model::control::Standstill;
use crate::model::finding::Finding;
use crate::model::history::{Deploy, Pinned};
use crate::model::measure::Interval;
use crate::model::run::{Run, RunId};
use crate::model::schedule::Tick;
use crate::model::series::Reading;

/// Something to write.
#[derive(Debug, Clone)]
pub(super) enum Write {
    Interval(RunId, Arc<Interval>),
    Reading(Option<RunId>, Arc<Reading>),
    RunEnd(Box<Run>, Vec<Finding>),
    /// What was found of a run that goes on.
    Findings(RunId, Vec<Finding>),
    /// What changed about a run that goes on.
    RunChange(Box<Run>),
    Tick(Box<Tick>),
    /// Whether all load stands still.
    Standstill(Option<Standstill>),
    /// Everything was stopped.
    Stop(Standstill),
    /// As earlier versions left it in a spool; now it is in the database before anybody is told so.
    Deploy(Box<Deploy>),
    /// The same: the run that a profile is compared with, or that it has none any more.
    Pin(String, Option<Box<Pinned>>),
    /// What somebody did.
    Deed(Box<Deed>),
}

/// What the writer is handed.
#[derive(Debug)]
pub(super) enum Handed {
    Write(Write),
    /// Answer when everything before has been tried.
    Flush(oneshot::Sender<()>),
}

#[derive(Serialize, Deserialize)]
enum Spooled<'w> {
    Interval(Cow<'w, RunId>, Cow<'w, Interval>),
    Reading(Option<Cow<'w, RunId>>, Cow<'w, Reading>),
    RunEnd(Cow<'w, Run>, Cow<'w, [Finding]>),
    Findings(Cow<'w, RunId>, Cow<'w, [Finding]>),
    RunChange(Cow<'w, Run>),
    Tick(Cow<'w, Tick>),
    Standstill(Option<Standstill>),
    Stop(Standstill),
    Deploy(Cow<'w, Deploy>),
    Pin(Cow<'w, str>, Option<Cow<'w, Pinned>>),
    Deed(Cow<'w, Deed>),
}

impl Write {
    /// Part of a series: one of many, and the first to go when there is too much.
    pub(super) fn is_series(&self) -> bool {
        matches!(self, Self::Interval(..) | Self::Reading(..))
    }

    /// What it is, for figures; see `metrics::storage`.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Interval(..) => "interval",
            Self::Reading(..) => "reading",
            Self::RunEnd(..) => "run_end",
            Self::Findings(..) => "findings",
            Self::RunChange(_) => "run_change",
            Self::Tick(_) => "tick",
            Self::Standstill(_) | Self::Stop(_) => "standstill",
            Self::Deploy(_) => "deploy",
            Self::Pin(..) => "baseline",
            Self::Deed(_) => "deed",
        }
    }

    /// Its form in the spool.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        let spooled = match self {
            Self::Interval(run, interval) => Spooled::Interval(Cow::Borrowed(run), Cow::Borrowed(interval)),
            Self::Reading(run, reading) => Spooled::Reading(run.as_ref().map(Cow::Borrowed), finite(reading)),
            Self::RunEnd(run, findings) => Spooled::RunEnd(Cow::Borrowed(run), Cow::Borrowed(findings)),
            Self::Findings(run, findings) => Spooled::Findings(Cow::Borrowed(run), Cow::Borrowed(findings)),
            Self::RunChange(run) => Spooled::RunChange(Cow::Borrowed(run)),
            Self::Tick(tick) => Spooled::Tick(Cow::Borrowed(tick)),
            Self::Standstill(standstill) => Spooled::Standstill(standstill.clone()),
            Self::Stop(stop) => Spooled::Stop(stop.clone()),
            Self::Deploy(deploy) => Spooled::Deploy(Cow::Borrowed(deploy)),
            Self::Pin(profile, pinned) => Spooled::Pin(Cow::Borrowed(profile), pinned.as_deref().map(Cow::Borrowed)),
            Self::Deed(deed) => Spooled::Deed(Cow::Borrowed(deed)),
        };
        serde_json::to_vec(&spooled)
    }

    /// Back from the spool.
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        Ok(match serde_json::from_slice(bytes)? {
            Spooled::Interval(run, interval) => Self::Interval(run.into_owned(), Arc::new(interval.into_owned())),
            Spooled::Reading(run, reading) => Self::Reading(run.map(Cow::into_owned), Arc::new(reading.into_owned())),
            Spooled::RunEnd(run, findings) => Self::RunEnd(Box::new(run.into_owned()), findings.into_owned()),
            Spooled::Findings(run, findings) => Self::Findings(run.into_owned(), findings.into_owned()),
            Spooled::RunChange(run) => Self::RunChange(Box::new(run.into_owned())),
            Spooled::Tick(tick) => Self::Tick(Box::new(tick.into_owned())),
            Spooled::Standstill(standstill) => Self::Standstill(standstill),
            Spooled::Stop(stop) => Self::Stop(stop),
            Spooled::Deploy(deploy) => Self::Deploy(Box::new(deploy.into_owned())),
            Spooled::Pin(profile, pinned) => Self::Pin(profile.into_owned(), pinned.map(|pinned| Box::new(pinned.into_owned()))),
            Spooled::Deed(deed) => Self::Deed(Box::new(deed.into_owned())),
        })
    }
}

/// Without points that are not finite: they were not measured, and JSON has no word for them.
fn finite(reading: &Reading) -> Cow<'_, Reading> {
    match &reading.points {
        Ok(points) if points.iter().any(|point| !point.value.is_finite()) => {
            let points = points.iter().filter(|point| point.value.is_finite()).cloned().collect();
            Cow::Owned(Reading { points: Ok(points), ..reading.clone() })
        }
        Ok(_) | Err(_) => Cow::Borrowed(reading),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::failure::Reason;
    use crate::model::histogram::LatencyHistogram;
    use crate::model::measure::StepInterval;
    use crate::model::message::Messages;
    use crate::model::series::Point;
    use crate::model::units::Timestamp;

    fn again(write: &Write) -> Write {
        Write::from_bytes(&write.to_bytes().unwrap()).unwrap()
    }

    #[test]
    fn a_second_survives_exactly() {
        let step = StepInterval {
            step: 3,
            ok: 2,
            failures: [(Reason::Status(503), 1), (Reason::Reset, 4)].into(),
            messages: [(Reason::Reset, Messages::example("\u{1f40c} \"gone\""))].into(),
            response_ok: LatencyHistogram::from_us([1, 900, 3_600_000_000]),
            ..StepInterval::default()
        };
        let interval = Interval {
            second: 7,
            steps: [(3, step)].into(),
            groups: [(0, LatencyHistogram::from_us([5]))].into(),
            generator_stall: std::time::Duration::from_micros(1_234_567),
            generator_busiest: None,
            generator_cpu: Some(0.1 + 0.2),
            shards: 2,
            ..Interval::default()
        };
        let Write::Interval(run, read) = again(&Write::Interval(RunId("r".into()), Arc::new(interval.clone()))) else { panic!() };
        assert_eq!((run, Interval::clone(&read)), (RunId("r".into()), interval));
    }

    #[test]
    fn a_reading_survives_without_what_was_not_measured() {
        let at = Timestamp(1_700_000_000_123_456);
        let mut reading = Reading {
            target: "t".into(),
            probe: "p".into(),
            at,
            second: Some(3),
            points: Ok(vec![Point::new("a", 0.3).with("pool", "main"), Point::new("b", f64::NAN)]),
        };
        let Write::Reading(None, read) = again(&Write::Reading(None, Arc::new(reading.clone()))) else { panic!() };
        reading.points.as_mut().unwrap().pop();
        assert_eq!(*read, reading);
        reading.points = Err("refused".into());
        let Write::Reading(Some(_), read) = again(&Write::Reading(Some(RunId("r".into())), Arc::new(reading.clone()))) else { panic!() };
        assert_eq!(*read, reading);
    }
}
