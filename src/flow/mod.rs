//! What one iteration does, whatever the protocol: which step comes next, how long to think, what is sent, what must hold of an answer
//! and what is taken from it. Knows no protocol, and no clock but the one that is passed in; the engine joins a flow with a protocol.
//! The language: docs/flows.md.

pub mod answer;
pub mod check;
pub mod compare;
mod condition;
pub mod data;
pub mod extract;
pub mod feeder;
mod generate;
mod json;
pub mod render;
pub mod scope;
#[cfg(test)]
mod testing;
pub mod walk;

#[cfg(test)]
mod properties;

use crate::model::failure::Reason;

/// A template, an extraction or a loop that failed, and why. Names what was asked for, never a value: reasons are counted by their text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Script(pub String);

impl From<Script> for Reason {
    fn from(script: Script) -> Self {
        Self::Script(script.0)
    }
}
