//! Logs go to standard error through tracing, as text or JSON.

use super::terminal::warn_line;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::engine::setup::LogSetup;

/// Starts logging; a filter that cannot be read is said and replaced by `info`.
pub(super) fn start(log: &LogSetup) {
    // The ticking crate tells of its own start, which says nothing to a user.
    let filter = EnvFilter::try_new(format!("tokio_cron_scheduler=warn,{}", log.level)).unwrap_or_else(|error| {
        warn_line!("warning: log level `{}` cannot be read ({error}); using info", log.level);
        EnvFilter::new("info")
    });
    // A log that nobody reads any more must not end the program.
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).log_internal_errors(false);
    // Tests start several programs in one process: the first one's logger stays.
    let _ = if log.json { builder.json().finish().try_init() } else { builder.with_ansi(false).finish().try_init() };
}
