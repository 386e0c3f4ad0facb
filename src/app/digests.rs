//! Starts what tells of days and weeks. It ends with alerting, so that what it wrote is still sent.

use std::sync::Arc;

use tokio::sync::watch;

use super::{Tasks, Wiring};
use crate::engine::digests::{self, DigestParts};
use crate::store::Store;

/// Starts the task.
pub(super) fn spawn(wiring: &Wiring, store: &Arc<dyn Store>, link_base: watch::Receiver<Option<String>>, tasks: &mut Tasks) {
    let parts = DigestParts {
        store: store.clone(),
        clock: wiring.clock.clone(),
        metrics: wiring.metrics.clone(),
        setup: wiring.setup.subscribe(),
        duty: wiring.duty.clone(),
        link_base,
    };
    let stop = tasks.stop_alerting.clone();
    tasks.alerting.spawn(async move {
        digests::run(parts, stop).await;
        "digests"
    });
}
