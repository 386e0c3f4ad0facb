//! What goes along with a message to channels that have a place for it: the chart of what the rule looked at, and what the channel
//! remembers of the incident.

use std::sync::Arc;

use async_trait::async_trait;

use super::template::Words;

/// A picture with words for those who do not see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    /// The file.
    pub png: Vec<u8>,
    /// What it shows.
    pub alt: String,
}

/// The chart of a message.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Chart {
    /// There is nothing to draw: the message is not about a series.
    #[default]
    None,
    /// Here it is.
    Drawn(Arc<Image>),
    /// It could not be drawn, and why; the message goes without it and says so.
    Missing(String),
}

/// What a channel remembers of an incident between its messages, over restarts: where it stands at the receiver.
#[async_trait]
pub trait Memory: Send + Sync {
    /// What was kept last; `Err` when the store cannot be asked.
    async fn recall(&self) -> Result<Option<String>, String>;
    /// Keeps this instead; `Err` when the store does not take it.
    async fn keep(&self, text: &str) -> Result<(), String>;
}

/// What goes along with a message.
#[derive(Clone, Default)]
pub struct Extras {
    /// The chart of what the rule looked at.
    pub chart: Chart,
    /// What a template wrote in the place of the built-in words.
    pub words: Words,
    /// The channel's memory of the incident; `None` for somebody who sends without a store.
    pub memory: Option<Arc<dyn Memory>>,
}
