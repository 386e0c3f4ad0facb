//! gRPC: one call over HTTP/2, and what became of it. The schema is read from `.proto` files or asked of the server; messages are
//! written as JSON.

mod method;
mod misfit;
pub mod schema;
pub mod settings;

pub use method::Method;
pub use misfit::{Hop, Misfit};
