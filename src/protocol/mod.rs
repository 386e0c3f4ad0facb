//! One request. One file per protocol; each returns an `Outcome` with phases, bytes and exactly one reason when it failed.
//! The guard is asked at every connection, with the address that was really resolved.

pub mod dial;
pub mod dns;
mod ending;
pub mod grpc;
pub mod guard;
pub mod http;
mod redact;
mod stream;
pub mod tls;
pub mod token;
pub mod websocket;
