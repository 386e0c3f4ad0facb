//! Reads the probes of all targets: in every second on the run's clock while a target is loaded, slower between runs. One task per
//! probe; a tick that comes while the former reading is still going on is skipped, never queued, so that a probe cannot amplify trouble.
//!
//! Starts of a constant rate come at the same places of every second. Readings that came at one place, too, would meet a pool always
//! just after its requests, or always just before: so each second has its own place for them, the same one for all probes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::setup::TargetSetup;
use super::snapshots::{Kept, Snapshots, Wanted};
use crate::clock::SharedClock;
use crate::metrics::Metrics;
use crate::model::run::RunId;
use crate::model::series::Reading;
use crate::probe::{Probe, ProbeError, ProbeParts, ProbeSpec};

/// Longest time for one reading, whatever the probe's own limit.
const LONGEST_READING: Duration = Duration::from_secs(10);
/// How much of a second readings are spread over; the rest is for timers that are late, so that no second has two.
const SPREAD: f64 = 0.95;
/// The golden ratio's part after the point. Multiples of it, taken modulo 1, fill the unit interval more evenly than random numbers do, for
/// any number of them, and neighbours are never close (Weyl 1916; Knuth, The Art of Computer Programming 3, 6.4).
const GOLDEN: f64 = 0.618_033_988_749_895;

/// The run that a target is loaded by, and its clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveRun {
    /// The run.
    pub id: RunId,
    /// Its offset 0.
    pub start: Instant,
}

/// Targets that are loaded at present.
pub type ActiveRuns = BTreeMap<String, ActiveRun>;

/// A reading and the run it belongs to.
pub type Taken = (Option<RunId>, Arc<Reading>);

/// All probes of one configuration; dropped, they stop.
pub struct Prober {
    stop: CancellationToken,
    _tasks: tokio::task::JoinSet<()>,
}

/// What probe tasks share.
#[derive(Clone)]
pub struct ProberParts {
    /// For opening probes.
    pub probe: ProbeParts,
    /// The wall clock.
    pub clock: SharedClock,
    /// For the durations of readings.
    pub metrics: Arc<Metrics>,
    /// Where readings go.
    pub readings: mpsc::Sender<Taken>,
    /// Which targets are loaded.
    pub active: watch::Receiver<ActiveRuns>,
    /// Where runs ask for what databases did.
    pub snapshots: Snapshots,
}

impl Prober {
    /// Starts one task per probe.
    pub fn start<'t>(targets: impl IntoIterator<Item = &'t TargetSetup>, parts: &ProberParts) -> Self {
        let stop = CancellationToken::new();
        let mut tasks = tokio::task::JoinSet::new();
        for target in targets {
            for spec in &target.probes {
                let wanted = spec.settings.takes_snapshots().then(|| parts.snapshots.subscribe());
                let task = Task {
                    wanted,
                    target: target.target.name.clone(),
                    spec: spec.clone(),
                    idle: target.idle_interval,
                    parts: parts.clone(),
                    stop: stop.clone(),
                };
                tasks.spawn(task.run());
            }
        }
        Self { stop, _tasks: tasks }
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

struct Task {
    /// What runs ask of probes that take snapshots.
    wanted: Option<broadcast::Receiver<Arc<Wanted>>>,
    target: String,
    spec: ProbeSpec,
    idle: Duration,
    parts: ProberParts,
    stop: CancellationToken,
}

impl Task {
    async fn run(mut self) {
        let mut probe = self.spec.settings.open(&self.parts.probe);
        let mut due = Instant::now();
        let mut reads = Reads::default();
        let mut kept = Kept::default();
        let mut wanted = self.wanted.take();
        loop {
            let active = self.parts.active.borrow_and_update().get(&self.target).cloned();
            if let Some(active) = &active {
                due = reads.next(active);
            }
            tokio::select! {
                () = sleep_until(due) => {}
                changed = self.parts.active.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    continue;
                }
                asked = next(&mut wanted) => {
                    if asked.target == self.target {
                        kept.take(&asked, &self.spec.name, &mut *probe).await;
                    }
                    continue;
                }
                () = self.stop.cancelled() => return,
            }
            let taken = self.take(&mut *probe, active.as_ref()).await;
            if self.parts.readings.send(taken).await.is_err() {
                return;
            }
            match &active {
                Some(_) => reads.taken(),
                None => due = Instant::now() + self.idle,
            }
        }
    }

    async fn take(&self, probe: &mut dyn Probe, active: Option<&ActiveRun>) -> Taken {
        let began = Instant::now();
        let at = self.parts.clock.now();
        let second = active.map(|active| began.saturating_duration_since(active.start).as_secs() as u32);
        let read = match timeout(LONGEST_READING, probe.read()).await {
            Ok(read) => read,
            Err(_) => Err(ProbeError { reason: "timeout", detail: format!("no reading within {} s", LONGEST_READING.as_secs()) }),
        };
        let took = began.elapsed();
        self.parts.metrics.probe_duration(&self.target, &self.spec.name, took);
        let points = read.map_err(|error| error.to_string()).map(|points| {
            let add = |mut point: crate::model::series::Point| {
                point.labels.insert("target".into(), self.target.clone());
                point.labels.insert("probe".into(), self.spec.name.clone());
                point
            };
            let took = crate::model::series::Point::new("probe_time", took.as_secs_f64());
            points.into_iter().filter(|point| point.value.is_finite()).chain([took]).map(add).collect()
        });
        let reading = Reading { target: self.target.clone(), probe: self.spec.name.clone(), at, second, points };
        (active.map(|active| active.id.clone()), Arc::new(reading))
    }
}

/// The next request for a snapshot; never, for probes that take none.
async fn next(wanted: &mut Option<broadcast::Receiver<Arc<Wanted>>>) -> Arc<Wanted> {
    while let Some(receiver) = wanted {
        match receiver.recv().await {
            Ok(asked) => return asked,
            // Requests that were missed are not waited for any more.
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => *wanted = None,
        }
    }
    std::future::pending().await
}

/// Which seconds of a run a probe was read in.
#[derive(Default)]
struct Reads {
    /// The run, and the second that is read next.
    run: Option<(RunId, u64)>,
}

impl Reads {
    /// When the probe is to be read next: in the first second that has no reading yet and whose place is still to come.
    fn next(&mut self, active: &ActiveRun) -> Instant {
        let passed = active.start.elapsed();
        let first = match &self.run {
            Some((run, next)) if *run == active.id => *next,
            _ => 0,
        };
        let mut second = first.max(passed.as_secs());
        if place(second) < passed {
            second += 1;
        }
        self.run = Some((active.id.clone(), second));
        active.start + place(second)
    }

    /// The second that was asked for last has its reading.
    fn taken(&mut self) {
        if let Some((_, next)) = &mut self.run {
            *next += 1;
        }
    }
}

/// When the reading of a second is taken, from the begin of the run.
fn place(second: u64) -> Duration {
    Duration::from_secs(second) + Duration::from_secs_f64(((second + 1) as f64 * GOLDEN).fract() * SPREAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_second_has_one_place_and_together_they_fill_it() {
        let places: Vec<Duration> = (0..1_000).map(place).collect();
        assert!(places.iter().zip(0..).all(|(place, second)| place.as_secs() == second));
        let gaps = places.windows(2).map(|pair| pair[1].as_secs_f64() - pair[0].as_secs_f64());
        assert!(gaps.clone().all(|gap| gap > 0.63 && gap < 1.6), "{:?}", gaps.collect::<Vec<_>>());
        // Any hundred in a row find a request that holds a connection for the first tenth of every second in a tenth of all readings,
        // one in its last quarter in a quarter: as much as it does, within a few readings. On the second it were all, or none.
        for from in [0, 1, 77, 900] {
            let met = |begin: f64, end: f64| {
                let at = |place: &Duration| place.as_secs_f64().fract();
                places[from..from + 100].iter().filter(|place| at(place) >= begin && at(place) < end).count()
            };
            assert!((8..=13).contains(&met(0.0, 0.1)), "{}", met(0.0, 0.1));
            assert!((18..=27).contains(&met(0.75, 1.0)), "{}", met(0.75, 1.0));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reading_that_took_long_costs_the_seconds_it_took_and_no_more() {
        let active = ActiveRun { id: RunId("20261122-000000-a-0000".into()), start: Instant::now() };
        let mut reads = Reads::default();
        let mut seconds = Vec::new();
        for took in [0, 300, 900, 3_400, 0] {
            let due = reads.next(&active);
            assert_eq!(reads.next(&active), due, "asking changes nothing");
            sleep_until(due).await;
            seconds.push(active.start.elapsed().as_secs());
            tokio::time::sleep(Duration::from_millis(took)).await;
            reads.taken();
        }
        // Second 2 is read from 2.81 to 3.71, past the place of second 3 (3.45); second 4 from 4.09 to 7.49, and that of 7 (7.90) is still to come.
        assert_eq!(seconds, [0, 1, 2, 4, 7]);
        // Another run begins at its own second 0.
        let other = ActiveRun { id: RunId("20261122-000001-b-0000".into()), start: Instant::now() };
        assert_eq!(reads.next(&other), other.start + place(0));
    }
}
