//! What the engine makes of several runs: compares two of them, judges each against the history of its profile, puts the latest of
//! several profiles together as a suite. Reads series in pieces, so that no run stands in memory as a whole. The arithmetic is in
//! `analysis::comparison` and `analysis::regression`.

pub mod baselines;
pub mod compare;
pub mod historian;
pub mod nights;
mod suite_asks;
pub mod suites;
pub mod view;
