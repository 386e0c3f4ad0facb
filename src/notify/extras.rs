//! What goes along with a message to channels that have a place for it: the chart of what the rule looked at.

use std::sync::Arc;

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

/// What goes along with a message.
#[derive(Debug, Clone, Default)]
pub struct Extras {
    /// The chart of what the rule looked at.
    pub chart: Chart,
}
