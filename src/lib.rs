//! Plimsoll finds the load line of services: it runs scheduled load profiles, watches resources on the same clock,
//! stores both, and says when the line moves.
//!
//! Layers, each importing only those below (kept by `tests/it/architecture.rs`; see ARCHITECTURE.md):
//! 0 `model`, `registry`, `clock` – 1 `analysis`, `alert`, `executor::schedule` – 2 `executor`, `flow`, `protocol`, `probe`,
//! `notify`, `store`, `metrics`, `report`, `demo` – 3 `engine` – 4 `config`, `server` – 5 `app`, `cli`.

pub mod alert;
pub mod analysis;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod demo;
pub mod engine;
pub mod executor;
pub mod flow;
pub mod metrics;
pub mod model;
pub mod notify;
pub mod probe;
pub mod protocol;
pub mod registry;
pub mod report;
pub mod server;
pub mod store;
