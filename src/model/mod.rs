//! The vocabulary of Plimsoll: what a target, profile, sample, interval, run, verdict, threshold and finding are.
//! Pure: imports nothing of ours, does no I/O, reads no clock.

pub mod alerting;
pub mod analysed;
pub mod audit;
pub mod capture;
pub mod catalog;
pub mod channel;
pub mod control;
pub mod database;
pub mod digest;
pub mod failure;
pub mod finding;
pub mod flow;
pub mod histogram;
pub mod history;
pub mod measure;
pub mod message;
pub mod muting;
pub mod network;
pub mod profile;
pub mod progress;
pub mod random;
pub mod request;
pub mod retention;
pub mod rollup;
pub mod run;
pub mod schedule;
pub mod series;
pub mod staircase;
pub mod storage;
pub mod suite;
pub mod template;
pub mod threshold;
pub mod units;

#[cfg(test)]
use crate as plimsoll;

/// A made-up run with everything in it, for unit tests; the integration tests include the same file.
#[cfg(test)]
#[path = "../../tests/it/server/sample.rs"]
pub(crate) mod sample;

/// Labels of a series or an alert: sorted, so that equal sets print and hash alike.
pub type Labels = std::collections::BTreeMap<String, String>;
