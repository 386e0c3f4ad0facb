//! Hands readings on: to the writer, the figures, alerting, and to the run that loads the target.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use super::prober::Taken;
use super::writer::Writer;
use crate::metrics::Metrics;
use crate::model::series::Reading;

/// The runs that want readings, by target.
#[derive(Clone, Default)]
pub struct Taps {
    open: Arc<Mutex<BTreeMap<String, mpsc::Sender<Arc<Reading>>>>>,
}

impl Taps {
    /// Opens the tap of a target.
    pub fn open(&self, target: &str) -> mpsc::Receiver<Arc<Reading>> {
        let (sender, receiver) = mpsc::channel(256);
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(target.into(), sender);
        receiver
    }

    /// Closes it.
    pub fn close(&self, target: &str) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(target);
    }

    fn give(&self, reading: &Arc<Reading>) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = open.get(&reading.target)
            && sender.try_send(reading.clone()).is_err()
        {
            tracing::warn!(target = reading.target, probe = reading.probe, "a run did not take a reading in time");
        }
    }
}

/// Hands every reading on until the probes are gone.
pub async fn hand_on(
    mut readings: mpsc::Receiver<Taken>,
    taps: Taps,
    writer: Writer,
    metrics: Arc<Metrics>,
    alerting: mpsc::Sender<Taken>,
) {
    while let Some((run, reading)) = readings.recv().await {
        metrics.reading(&reading);
        taps.give(&reading);
        writer.reading(run.clone(), reading.clone());
        if alerting.send((run, reading)).await.is_err() {
            tracing::debug!("alerting has ended; readings go on without it");
        }
    }
}
