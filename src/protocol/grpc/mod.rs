//! gRPC: one call over HTTP/2, and what became of it. The schema is read from `.proto` files or asked of the server; messages are
//! written as JSON.

mod answers;
mod client;
mod link;
mod method;
mod misfit;
mod ready;
mod reflection;
pub mod schema;
pub mod settings;
pub mod status;
mod talk;

pub use client::{GrpcClient, GrpcExchange};
pub use link::GrpcPool;
pub use method::Method;
pub use misfit::{Hop, Misfit};
pub use ready::{Call, Ready, check_metadata};
pub use reflection::{ReflectionError, reflect};
