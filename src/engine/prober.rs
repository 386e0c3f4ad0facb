//! Reads the probes of all targets: every second on the run's clock while a target is loaded, slower between runs. One task per
//! probe; a tick that comes while the former reading is still going on is skipped, never queued, so that a probe cannot amplify trouble.

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
/// Time between readings while a target is loaded.
const RUN_INTERVAL: Duration = Duration::from_secs(1);

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
        let mut kept = Kept::default();
        let mut wanted = self.wanted.take();
        loop {
            let active = self.parts.active.borrow_and_update().get(&self.target).cloned();
            if let Some(active) = &active {
                due = due.min(next_second(active.start));
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
            due = match &active {
                Some(active) => next_second(active.start),
                None => Instant::now() + self.idle,
            };
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

/// The next full second of a run's clock.
fn next_second(start: Instant) -> Instant {
    let passed = start.elapsed();
    start + Duration::from_secs(passed.as_secs()) + RUN_INTERVAL
}
