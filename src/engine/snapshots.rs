//! Snapshots of databases before and after a run. The run asks; the tasks that hold the probes of its target take them on their one
//! connection, between readings, and answer with the difference. Bounded in time: a database that does not answer delays no run for long.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc};
use tokio::time::{Instant, timeout_at};

use crate::model::database::{DatabaseSnapshot, DatabaseWork, difference};
use crate::model::run::RunId;
use crate::probe::Probe;

/// Longest that the load waits for the snapshots before it, and the end of the run for those after it.
const PATIENCE: Duration = Duration::from_secs(8);
/// Requests that may wait for a task that is busy.
const WAITING: usize = 16;

/// When a snapshot is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// Before the load.
    Before,
    /// After it; the difference is answered.
    After,
}

/// What a run asks of the probes of its target.
#[derive(Debug)]
pub(super) struct Wanted {
    /// Whose probes are asked.
    pub(super) target: String,
    run: RunId,
    moment: Moment,
    /// Closed when everybody has answered.
    answers: mpsc::Sender<DatabaseWork>,
}

/// Connects runs with the tasks of probes; clones are the same.
#[derive(Debug, Clone)]
pub struct Snapshots(broadcast::Sender<Arc<Wanted>>);

impl Default for Snapshots {
    fn default() -> Self {
        Self(broadcast::Sender::new(WAITING))
    }
}

impl Snapshots {
    /// For the task of a probe that takes snapshots.
    pub(super) fn subscribe(&self) -> broadcast::Receiver<Arc<Wanted>> {
        self.0.subscribe()
    }

    /// Has the snapshots before a run taken, and waits until they are.
    pub(super) async fn before(&self, target: &str, run: &RunId) {
        self.ask(target, run, Moment::Before).await;
    }

    /// What the databases of a target did since.
    pub(super) async fn after(&self, target: &str, run: &RunId) -> Vec<DatabaseWork> {
        self.ask(target, run, Moment::After).await
    }

    async fn ask(&self, target: &str, run: &RunId, moment: Moment) -> Vec<DatabaseWork> {
        let (answers, mut answered) = mpsc::channel(WAITING);
        let wanted = Wanted { target: target.to_owned(), run: run.clone(), moment, answers };
        let mut works = Vec::new();
        // An error: no probe takes snapshots.
        if self.0.send(Arc::new(wanted)).is_err() {
            return works;
        }
        let until = Instant::now() + PATIENCE;
        while let Ok(Some(work)) = timeout_at(until, answered.recv()).await {
            works.push(work);
        }
        works.sort_by(|a, b| a.probe.cmp(&b.probe));
        works
    }
}

/// The snapshot before the run that goes on, in the task of a probe: of which run, and the snapshot or why there is none.
#[derive(Debug, Default)]
pub(super) struct Kept(Option<(RunId, Result<Arc<DatabaseSnapshot>, String>)>);

impl Kept {
    /// Does what is wanted of the probe called `name`.
    pub(super) async fn take(&mut self, wanted: &Wanted, name: &str, probe: &mut dyn Probe) {
        match wanted.moment {
            Moment::Before => {
                self.0 = match probe.snapshot(None).await {
                    Ok(Some(snapshot)) => Some((wanted.run.clone(), Ok(Arc::new(snapshot)))),
                    Ok(None) => None,
                    Err(error) => Some((wanted.run.clone(), Err(error.to_string()))),
                };
            }
            Moment::After => {
                let before = self.0.take().filter(|(run, _)| *run == wanted.run).map(|(_, before)| before);
                let work = match before {
                    // The configuration was read again, or another daemon took over.
                    None => without(name, "the snapshot from before the run is gone, because its probes began anew".into()),
                    Some(Ok(before)) => match probe.snapshot(Some(before.clone())).await {
                        Ok(Some(after)) => difference(name, &before, &after),
                        Ok(None) => return,
                        Err(error) => without(name, format!("no snapshot could be taken after the run: {error}")),
                    },
                    Some(Err(error)) => without(name, format!("no snapshot could be taken before the run: {error}")),
                };
                // Who asked may have stopped waiting.
                let _ = wanted.answers.try_send(work);
            }
        }
    }
}

/// Nothing is known, and why.
fn without(probe: &str, why: String) -> DatabaseWork {
    DatabaseWork {
        probe: probe.into(),
        database: String::new(),
        seconds: 0.0,
        total: None,
        statements: Vec::new(),
        tables: Vec::new(),
        blocked: Vec::new(),
        locks: None,
        incomplete: vec![why],
    }
}
