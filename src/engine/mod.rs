//! The daemon's life: decides what runs when, runs it, folds, stores, judges and tells. The only writer of the store.
//! Knows parts through their traits only; `app` puts the concrete ones together.

pub mod catalog;
pub mod handle;
pub mod load;
pub mod recorder;
pub mod setup;
pub mod summary;
pub mod verdict;
pub mod workload;
