//! Numbers in, findings out. Pure: no clock, no I/O, no logging; each method names its source and the data it needs.

pub mod attribution;
pub mod capacity;
#[cfg(test)]
mod cases;
pub mod change_point;
pub mod comparison;
pub mod headroom;
pub mod knee;
pub mod leak;
mod numbers;
pub mod pool;
pub mod pool_need;
pub mod queueing;
pub mod recovery;
pub mod regression;
pub mod stats;
pub mod usl;

pub(crate) use numbers::median;
