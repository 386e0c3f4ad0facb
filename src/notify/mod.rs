//! Tells people. One file per kind of channel; each owns its settings and renders the same `Message` its own way.
//! A notifier only says what became of one attempt; the engine's outbox retries. A new channel: one file, one line in `KINDS`.

pub mod alertmanager;
mod bucket;
pub mod email;
pub mod exec;
mod extras;
pub mod file;
mod http;
pub mod pagerduty;
mod render;
pub mod retry;
pub mod slack;
mod slack_api;
pub mod teams;
mod template;
pub mod webhook;

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
pub use bucket::{Bucket, Rate};
pub use extras::{Chart, Extras, Image, Memory};
pub use render::{Preview, preview};
pub use template::{MessageTemplate, Part, TemplateMistake, Words};

use crate::clock::SharedClock;
use crate::model::alerting::Outgoing;
use crate::model::units::parse_duration;
use crate::registry::{Context, Kind, Node};

/// Every kind of channel, by the word behind `type:`.
pub static KINDS: &[Kind<dyn ChannelSettings>] =
    &[email::KIND, slack::KIND, pagerduty::KIND, teams::KIND, alertmanager::KIND, webhook::KIND, exec::KIND, file::KIND];

/// Longest time for one attempt, whatever the channel's own limit. A message is leased to its sender for longer than that.
pub const LONGEST_ATTEMPT: Duration = Duration::from_secs(60);

/// Reports a `timeout` of a channel that an attempt cannot have: none at all, or more than [`LONGEST_ATTEMPT`]. One that is no time has
/// been reported by the channel itself.
pub fn check_timeout(channel: &Node, cx: &mut Context<'_>) {
    for settings in [Some(channel), channel.get("smtp")].into_iter().flatten() {
        let Some(node) = settings.get("timeout") else { continue };
        let Some(Ok(timeout)) = node.scalar().map(|text| parse_duration(&text)) else { continue };
        if timeout.is_zero() || timeout > LONGEST_ATTEMPT {
            let message = "an attempt to send takes a minute at most, and more than nothing: what takes longer would be sent twice at once";
            cx.diagnostics.push("out-of-range", node.span, message, "write `30s`");
        }
    }
}

/// What became of one attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum Delivery {
    /// It arrived; where, for people: "mail to ops@example.org via mail.example.org".
    Delivered(String),
    /// It did not; trying again can help.
    Retry {
        /// Class for metrics: `network`, `timeout`, `rate_limited`, `server_error`, `client_error`, `auth`.
        class: &'static str,
        /// What happened, without secrets.
        reason: String,
        /// The receiver's wish (Retry-After).
        after: Option<Duration>,
    },
    /// It did not and never will.
    GiveUp {
        /// Class for metrics.
        class: &'static str,
        /// What happened, without secrets.
        reason: String,
    },
}

/// A channel that is ready to send.
#[async_trait]
pub trait Notifier: Send + Sync {
    /// Makes one attempt, bounded in time.
    async fn send(&self, outgoing: &Outgoing) -> Delivery;

    /// The same with what goes along; a channel without a place for it leaves it out.
    async fn send_with(&self, outgoing: &Outgoing, _extras: &Extras) -> Delivery {
        self.send(outgoing).await
    }

    /// Whether it has a place for charts.
    fn takes_charts(&self) -> bool {
        false
    }
}

/// What notifiers need of the program.
#[derive(Clone)]
pub struct NotifyParts {
    /// HTTP client with our timeouts, following no redirects.
    pub http: reqwest::Client,
    /// The wall clock.
    pub clock: SharedClock,
    /// Right side of Message-IDs.
    pub hostname: String,
    /// Where a file mailbox with a relative path goes.
    pub data_dir: PathBuf,
}

/// The settings of one channel, as its kind reads them.
pub trait ChannelSettings: Debug + Send + Sync {
    /// Makes the notifier. Does not connect yet.
    fn connect(&self, parts: &NotifyParts) -> Result<Arc<dyn Notifier>, String>;
    /// Where it leads, for people, without secrets.
    fn describe(&self) -> String;
    /// Whether resolves are sent too.
    fn send_resolved(&self) -> bool {
        true
    }
    /// How often it wants to be told again what is firing, because it forgets what it is not told; `None`: never.
    fn tell_again(&self) -> Option<Duration> {
        None
    }
    /// Whether it can take a digest, which is no alert.
    fn takes_digests(&self) -> bool {
        true
    }
    /// How fast it may be sent to.
    fn rate(&self) -> Rate {
        Rate::default()
    }
}

/// A named channel.
#[derive(Debug, Clone)]
pub struct ChannelSpec {
    /// Name in the configuration.
    pub name: String,
    /// Its kind: `email`.
    pub kind: &'static str,
    /// Its settings.
    pub settings: Arc<dyn ChannelSettings>,
}
