//! What one iteration does, whatever the protocol: which step comes next, how long to think, what must hold of an answer.
//! Knows no protocol and no clock; the engine joins a flow with a protocol.

pub mod check;
pub mod feeder;
pub mod walk;
