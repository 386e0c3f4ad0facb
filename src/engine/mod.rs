//! The daemon's life: decides what runs when, runs it, folds, stores, judges and tells. The only writer of the store.
//! Knows parts through their traits only; `app` puts the concrete ones together.

pub mod admission;
pub mod alerting;
pub mod calendar;
mod cap;
pub mod catalog;
mod climb;
pub mod daemon;
pub mod duty;
pub mod findings;
pub mod ground;
pub mod handle;
pub mod history;
mod launch;
pub mod load;
pub mod outbox;
pub mod own;
pub mod owner;
pub mod prober;
pub mod recorder;
mod reload;
pub mod runner;
pub mod scheduler;
pub mod setup;
pub mod snapshots;
pub mod spool;
pub mod steer;
pub mod summary;
pub mod taps;
pub mod time_scale;
pub mod told;
pub mod upkeep;
pub mod verdict;
pub mod watchers;
pub mod workload;
pub mod writer;
