//! The ticker: tokio-cron-scheduler wakes the engine once a second and does nothing else. Which schedule is due is computed in
//! `calendar`, from the clock that the engine was given.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

/// A running ticker.
pub struct Ticker {
    scheduler: JobScheduler,
    /// One message per tick; a tick that finds the engine busy is dropped, the next one does its work.
    pub ticks: mpsc::Receiver<()>,
}

impl Ticker {
    /// Starts ticking once a second.
    pub async fn start() -> Result<Self, JobSchedulerError> {
        let scheduler = JobScheduler::new().await?;
        let (sender, ticks) = mpsc::channel(1);
        let job = Job::new_repeated_async(Duration::from_secs(1), move |_, _| {
            let sender = sender.clone();
            Box::pin(async move {
                // Full: the engine has not yet taken the former tick, and one is enough.
                let _ = sender.try_send(());
            })
        })?;
        scheduler.add(job).await?;
        scheduler.start().await?;
        Ok(Self { scheduler, ticks })
    }

    /// Stops ticking.
    pub async fn stop(mut self) {
        if let Err(error) = self.scheduler.shutdown().await {
            tracing::debug!(%error, "the ticker did not stop cleanly");
        }
    }
}
