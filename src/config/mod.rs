//! The configuration.

mod diagnostics;
mod environment;
mod sources;
mod yaml;
