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
            self.metrics.own_reading(&points);
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

/// What the stored readings of every daemon on this database come to until `now`, asked beside a daemon or without one. Nothing while they
/// are of less than half a day.
pub async fn judged(store: &dyn Store, now: Timestamp) -> StoreResult<Vec<TrendFound>> {
    Ok(own_trends(&own_readings(store, now).await?, now))
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

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use tokio::task::JoinSet;

    use super::*;
    use crate::clock::SystemClock;
    use crate::model::analysed::Resource;
    use crate::model::series::Point;
    use crate::probe::ProbeError;
    use crate::store::{self, SeriesBatch};

    struct Fixed;

    #[async_trait]
    impl Probe for Fixed {
        async fn read(&mut self) -> Result<Vec<Point>, ProbeError> {
            Ok(vec![Point::new("process_memory", 5.0), Point::new("process_cpu", f64::NAN)])
        }
    }

    async fn parts(tasks: &mut JoinSet<&'static str>) -> (OwnParts, mpsc::Receiver<RunNews>, watch::Sender<Duty>) {
        let store = store::open("sqlite::memory:").await.unwrap();
        let metrics = Arc::new(Metrics::new());
        let writer = Writer::start(store.clone(), metrics.clone(), None, tasks);
        let (news, heard) = mpsc::channel(8);
        let (in_charge, duty) = watch::channel(Duty { in_charge: true, ..Duty::default() });
        let parts = OwnParts { store, clock: Arc::new(SystemClock), metrics, writer, news, name: "here".into(), duty };
        (parts, heard, in_charge)
    }

    #[tokio::test]
    async fn what_it_reads_is_stored_under_its_own_name() {
        let mut tasks = JoinSet::new();
        let (parts, _heard, _duty) = parts(&mut tasks).await;
        parts.read(&mut Fixed).await;
        assert!(parts.writer.flush(Duration::from_secs(30)).await);
        let stored = own_readings(&*parts.store, parts.clock.now()).await.unwrap();
        let points = stored[0].points.clone().unwrap();
        assert_eq!((stored.len(), stored[0].probe.as_str(), points.len()), (1, "here", 1));
        assert_eq!((points[0].labels["target"].as_str(), points[0].value), (ITSELF, 5.0));
        let shown = parts.metrics.render();
        assert!(shown.contains("plimsoll_process_resident_memory_bytes 5\n") && !shown.contains("plimsoll_process_cpu_cores "), "{shown}");
    }

    #[tokio::test]
    async fn stored_days_of_growth_are_told_and_shown() {
        let mut tasks = JoinSet::new();
        let (parts, mut heard, _duty) = parts(&mut tasks).await;
        let now = parts.clock.now();
        let reading = |minute: u32| {
            let memory = 80e6 + f64::from(minute) * 10_000.0 + f64::from(minute * 31 % 101) * 5_000.0;
            let points = vec![Point::new("process_memory", memory), Point::new("process_descriptors", f64::from(40 + minute % 3))];
            let points = points.into_iter().chain([Point::new("process_cpu", 0.1)]).collect();
            let at = now.minus(Duration::from_secs(2 * 86_400)).plus(Duration::from_secs(u64::from(minute) * 60));
            (None, Reading { target: ITSELF.into(), probe: "here".into(), at, second: None, points: Ok(points) })
        };
        let batch = SeriesBatch { readings: (0..2 * 1_440).map(reading).collect(), ..SeriesBatch::default() };
        parts.store.append(&batch).await.unwrap();
        assert_eq!(parts.judge(now).await, JUDGE_EVERY);
        let Some(RunNews::Own(trends)) = heard.recv().await else { panic!("nothing was told") };
        let leaks: Vec<Resource> = trends.iter().filter(|trend| trend.verdict == TrendVerdict::Leak).map(|trend| trend.resource).collect();
        assert_eq!(leaks, [Resource::Memory], "{trends:#?}");
        let shown = parts.metrics.render();
        let line = "plimsoll_leak_confidence_level{pool=\"\",probe=\"here\",profile=\"plimsoll\",resource=\"memory\"} 3";
        assert!(shown.contains(line), "{shown}");
    }
}
