//! What a new configuration changes and what it does not, for the daemon's reload. Pure but for the log.

use super::setup::Setup;
use crate::model::schedule::Schedule;

/// Whether two versions of a schedule fire at the same instants.
pub(super) fn same_instants((one, other): (&Schedule, &Schedule)) -> bool {
    one.cron == other.cron && one.timezone == other.timezone && one.jitter == other.jitter
}

/// What a reload does not change.
pub(super) fn say_what_needs_a_restart(before: &Setup, after: &Setup) {
    for (part, changed) in [
        ("storage", before.storage.url.expose() != after.storage.url.expose() || before.storage.data_dir != after.storage.data_dir),
        ("server.listen", before.server.listen != after.server.listen),
        ("log", before.log.level != after.log.level || before.log.json != after.log.json),
    ] {
        if changed {
            tracing::warn!("`{part}` has changed; that takes effect at the next start");
        }
    }
}
