//! The daemon watches itself: reads its own memory, descriptors and threads every minute, stores them like the readings of any target (so
//! that they are rolled up and retained), and judges them once a day with the detector that judges runs.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::duty::Duty;
use super::findings::{OWN_WINDOWS, own_trends};
use super::runner::RunNews;
use super::writer::Writer;
use crate::alert::ITSELF;
use crate::clock::SharedClock;
use crate::metrics::Metrics;
use crate::model::analysed::{TrendFound, TrendVerdict};
use crate::model::series::Reading;
use crate::model::units::Timestamp;
use crate::probe::Probe;
use crate::store::{ReadingFilter, Store, StoreResult};

/// Time between two readings.
const EVERY: Duration = Duration::from_secs(60);
/// The first judgement comes this long after the start: a program that is started every day is judged, too.
const FIRST: Duration = Duration::from_secs(600);
/// Time between two judgements.
const JUDGE_EVERY: Duration = Duration::from_secs(86_400);
/// When the store could not be read it is tried again after this time.
const AGAIN: Duration = Duration::from_secs(3_600);
/// Readings are asked for in pieces of this length.
const PIECE: Duration = Duration::from_secs(21_600);

/// What it works with.
pub struct OwnParts {
    /// Where readings are kept.
    pub store: Arc<dyn Store>,
    /// The wall clock.
    pub clock: SharedClock,
    /// For what was concluded.
    pub metrics: Arc<Metrics>,
    /// Takes the readings.
    pub writer: Writer,
    /// Tells alerting.
    pub news: mpsc::Sender<RunNews>,
    /// What this process is called among those on the same database: its host.
    pub name: String,
    /// Only who is in charge judges.
    pub duty: watch::Receiver<Duty>,
}

/// Reads this process with `probe` and judges it until `stop`.
pub async fn run(parts: OwnParts, mut probe: Box<dyn Probe>, stop: CancellationToken) {
    let mut every = interval(EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut due = parts.clock.now().plus(FIRST);
    loop {
        tokio::select! {
            _ = every.tick() => {}
            () = stop.cancelled() => return,
        }
        parts.read(&mut *probe).await;
        let now = parts.clock.now();
        // A clock that was set back must not put it off for long.
        due = due.min(now.plus(JUDGE_EVERY));
        if now >= due && parts.duty.borrow().in_charge {
            due = now.plus(tokio::select! {
                wait = parts.judge(now) => wait,
                () = stop.cancelled() => return,
            });
        }
    }
}

impl OwnParts {
    async fn read(&self, probe: &mut dyn Probe) {
        let at = self.clock.now();
        let points = probe.read().await.map_err(|error| error.to_string()).map(|points| {
            let named = |point: crate::model::series::Point| point.with("target", ITSELF).with("probe", &self.name);
            points.into_iter().filter(|point| point.value.is_finite()).map(named).collect()
        });
        let reading = Reading { target: ITSELF.into(), probe: self.name.clone(), at, second: None, points };
        self.writer.reading(None, Arc::new(reading));
    }

    /// Judges, tells, and returns the time until the next judgement.
    async fn judge(&self, now: Timestamp) -> Duration {
        let readings = match own_readings(&*self.store, now).await {
            Ok(readings) => readings,
            Err(error) => {
                tracing::warn!(%error, "the daemon's own readings cannot be read; it is judged later");
                self.metrics.storage_error("readings");
                return AGAIN;
            }
        };
        let Ok(trends) = tokio::task::spawn_blocking(move || own_trends(&readings, now)).await else {
            tracing::error!("judging the daemon's own readings broke off; this is a bug in Plimsoll");
            return JUDGE_EVERY;
        };
        self.tell(trends).await;
        JUDGE_EVERY
    }

    async fn tell(&self, trends: Vec<TrendFound>) {
        for trend in trends.iter().filter(|trend| trend.verdict == TrendVerdict::Leak) {
            tracing::warn!(resource = trend.resource.as_str(), process = trend.probe, "Plimsoll itself leaks: {}", trend.title);
        }
        self.metrics.trends_of(ITSELF, &trends);
        if self.news.send(RunNews::Own(trends)).await.is_err() {
            tracing::debug!("alerting has ended; nobody is told of the daemon's own use");
        }
    }
}

/// The readings that every daemon on this database took of itself in the longest window.
async fn own_readings(store: &dyn Store, now: Timestamp) -> StoreResult<Vec<Reading>> {
    let mut readings = Vec::new();
    let mut from = now.minus(OWN_WINDOWS[0]);
    while from <= now {
        let to = from.plus(PIECE);
        let filter = ReadingFilter { target: Some(ITSELF.into()), from: Some(from), to: Some(to), ..ReadingFilter::default() };
        readings.extend(store.readings(&filter).await?);
        from = to;
    }
    readings.sort_by_key(|reading| reading.at);
    Ok(readings)
}
