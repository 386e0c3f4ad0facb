//! `alerts.digests` and `alerts.templates` as written.

use crate::model::digest::{Every, Weekday};
use crate::registry::Spanned;
use crate::settings;

settings! {
    /// What a day or a week was, told without an alert.
    pub(crate) struct RawDigest titled "the digest" {
        /// How often.
        every: required Every,
        /// When, by the clock of `timezone`: `08:00`, when it is not given.
        at: optional Spanned<String>,
        /// On which day, with `every: weekly`; Monday, when it is not given.
        weekday: optional Spanned<Weekday>,
        /// The time zone; UTC, when it is not given.
        timezone: optional Spanned<String>,
        /// Channels.
        send: required Vec<Spanned<String>>,
    }
}

settings! {
    /// Messages in your own words: Jinja templates over the fields of a message. What is not given stays as it is built in.
    pub(crate) struct RawTemplate titled "the template" {
        /// Whose messages; without it: those of all channels.
        channels: default Vec<Spanned<String>>,
        /// The one line that is the same for the whole incident.
        subject: optional Spanned<String>,
        /// What a person reads first.
        headline: optional Spanned<String>,
        /// What stands below it, in mails and in Slack.
        text: optional Spanned<String>,
        /// The HTML of mails.
        html: optional Spanned<String>,
    }
}
