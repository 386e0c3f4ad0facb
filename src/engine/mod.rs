//! The daemon's life: decides what runs when, runs it, folds, stores, judges and tells. The only writer of the store.
//! Knows parts through their traits only; `app` puts the concrete ones together.

pub mod handle;
pub mod setup;
