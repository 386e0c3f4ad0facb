//! The task that judges each run against the history of its profile once it has ended: makes its numbers, compares, stores findings,
//! shows them on `/metrics`, tells alerting, and asks for another run where one night lies apart. It listens to events and never holds
//! up the daemon; what it misses (it was slow, the store was away, the daemon died) it makes up for from the store.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::nights;
use crate::analysis::regression::deploy::Marker;
use crate::analysis::regression::past::{PastJudged, judge_run, regression_of};
use crate::analysis::regression::{METHOD, Rules, State};
use crate::clock::SharedClock;
use crate::engine::handle::{EngineHandle, Event, Refusal};
use crate::engine::runner::RunNews;
use crate::engine::setup::Setup;
use crate::metrics::{Metrics, RegressionFigure};
use crate::model::finding::Finding;
use crate::model::history::{Deploy, PastRun};
use crate::model::run::{Run, RunId, RunStatus};
use crate::model::series::Point;
use crate::model::units::Timestamp;
use crate::store::{RunFilter, Store, StoreResult};

/// How often what could not be judged is tried again.
const RETRY: Duration = Duration::from_secs(10);
/// How often a run is tried before it is given up.
const TRIES: u32 = 30;
/// Runs that wait to be judged; the oldest are given up.
const WAITING: usize = 256;
/// Deploys that are looked through.
const DEPLOYS: u32 = 500;
/// What a night is, for the number of re-runs.
const NIGHT: Duration = Duration::from_secs(24 * 3_600);
/// Runs looked at after events were missed.
const MISSED: u32 = 50;

/// What the task works with.
pub struct HistorianParts {
    /// Where runs, numbers and findings are.
    pub store: Arc<dyn Store>,
    /// The wall clock.
    pub clock: SharedClock,
    /// For regressions.
    pub metrics: Arc<Metrics>,
    /// Runs that end.
    pub events: broadcast::Receiver<Event>,
    /// For alert rules.
    pub news: mpsc::Sender<RunNews>,
    /// The configuration in force.
    pub setup: watch::Receiver<Arc<Setup>>,
    /// For re-runs.
    pub engine: EngineHandle,
}

/// Judges `run` against the history of its profile: what is known of the runs before it, and the deploys of its target. Stores the
/// numbers of runs that have none, and nothing else.
pub async fn judge_stored(store: &dyn Store, run: &Run, runs: u32, at: Timestamp) -> StoreResult<(Vec<PastRun>, PastJudged)> {
    // The run itself is read with its numbers: one microsecond after its start is before any other.
    let past = nights::past(store, &run.profile, Some(Timestamp(run.started_at.0.saturating_add(1))), runs).await?;
    let markers = markers(&store.deploys(Some(&run.target), DEPLOYS).await?);
    let Some(own) = past.iter().find(|other| other.id == run.id).cloned() else { return Ok((past, PastJudged::default())) };
    let judged = judge_run(&past, &own, &markers, &Rules::default(), at);
    Ok((past, judged))
}

/// Deploys as the analysis knows them.
pub fn markers(deploys: &[Deploy]) -> Vec<Marker> {
    deploys.iter().map(|deploy| Marker { at: deploy.at, version: deploy.version.clone() }).collect()
}

/// The task.
pub struct Historian {
    parts: HistorianParts,
    waiting: VecDeque<(RunId, u32)>,
}

impl Historian {
    /// A historian that has judged nothing yet.
    pub fn new(parts: HistorianParts) -> Self {
        Self { parts, waiting: VecDeque::new() }
    }

    /// Judges runs as they end, until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut retry = interval(RETRY);
        retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.show_last_judgements().await;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                event = self.parts.events.recv() => match event {
                    Ok(Event::RunEnded(run)) => {
                        self.wait_for(run.id);
                        self.judge_waiting().await;
                    }
                    Ok(_) => {}
                    Err(broadcast::error::RecvError::Lagged(_)) => self.look_for_missed().await,
                    Err(broadcast::error::RecvError::Closed) => break,
                },
                _ = retry.tick() => self.judge_waiting().await,
            }
        }
    }

    fn wait_for(&mut self, run: RunId) {
        if self.waiting.iter().any(|(other, _)| *other == run) {
            return;
        }
        self.waiting.push_back((run, 0));
        if self.waiting.len() > WAITING
            && let Some((gone, _)) = self.waiting.pop_front()
        {
            tracing::warn!(run_id = %gone, "a run was not compared with its history: too many wait");
        }
    }

    /// After a restart `/metrics` and alert rules know what the last runs came to.
    async fn show_last_judgements(&mut self) {
        let setup = self.parts.setup.borrow().clone();
        for profile in setup.profiles.keys() {
            let last = RunFilter { profile: Some(profile.clone()), status: Some(RunStatus::Finished), limit: 1, ..RunFilter::default() };
            let judged = async {
                let Some(run) = self.parts.store.runs(&last).await?.pop() else { return Ok(()) };
                // One that ended while the daemon stopped was not judged then.
                let known = self.parts.store.past_runs(profile, None, 1).await?;
                let fresh = known.first().is_some_and(|newest| newest.id == run.id && newest.numbers.is_none());
                self.judge_one(&run, fresh).await
            };
            if let Err(error) = judged.await {
                tracing::warn!(%error, profile, "it is not known what the last run of this profile came to against its history");
            }
        }
    }

    async fn look_for_missed(&mut self) {
        match self.parts.store.run_lines(&RunFilter { status: Some(RunStatus::Finished), limit: MISSED, ..RunFilter::default() }).await {
            Ok(runs) => {
                for run in runs.into_iter().rev() {
                    match self.parts.store.past_runs(&run.profile, Some(Timestamp(run.started_at.0.saturating_add(1))), 1).await {
                        Ok(past) if past.iter().any(|other| other.id == run.id && other.numbers.is_none()) => self.wait_for(run.id),
                        Ok(_) => {}
                        Err(error) => tracing::warn!(%error, "it is not known which runs were missed"),
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "it is not known which runs were missed"),
        }
    }

    async fn judge_waiting(&mut self) {
        for _ in 0..self.waiting.len() {
            let Some((id, tries)) = self.waiting.pop_front() else { return };
            let error = match self.parts.store.run(&id.0).await {
                Ok(Some(run)) if run.status != RunStatus::Running => match self.judge_one(&run, true).await {
                    Ok(()) => continue,
                    Err(error) => error.to_string(),
                },
                Ok(_) => "its end is not stored yet".into(),
                Err(error) => error.to_string(),
            };
            if tries + 1 >= TRIES {
                tracing::error!(run_id = %id, error, "a run is not compared with its history; it is given up");
            } else {
                tracing::debug!(run_id = %id, error, "a run is not compared with its history yet");
                self.waiting.push_back((id, tries + 1));
            }
        }
    }

    /// Judges a run, and with `acts` stores what is found and asks for a re-run.
    async fn judge_one(&self, run: &Run, acts: bool) -> StoreResult<()> {
        let runs = self.parts.setup.borrow().history.runs;
        let now = self.parts.clock.now();
        let (past, mut judged) = judge_stored(self.parts.store.as_ref(), run, runs, now).await?;
        if acts {
            if !judged.tonight.suspects.is_empty() && judged.tonight.incidents.is_empty() {
                let told = self.run_again(run, &past).await;
                tell(&mut judged.findings, &told);
            }
            if !judged.findings.is_empty() {
                self.parts.store.save_findings(&run.id, &judged.findings).await?;
            }
        }
        self.show(run, &judged).await;
        Ok(())
    }

    /// Asks for another run of the profile after a night that lies apart; says what became of that.
    async fn run_again(&self, run: &Run, past: &[PastRun]) -> String {
        let most = self.parts.setup.borrow().history.reruns;
        let since = Timestamp(run.started_at.0.saturating_sub(i64::try_from(NIGHT.as_micros()).unwrap_or(i64::MAX)));
        let tonight = past.iter().filter(|other| other.trigger.by == RERUN && other.started_at > since).count();
        if tonight >= most as usize {
            return format!("no re-run: {tonight} of at most {most} a night were made");
        }
        match self.parts.engine.rerun(&run.profile, &run.id).await {
            Ok(()) => {
                tracing::info!(run_id = %run.id, profile = run.profile, "a night lies apart; the profile runs again");
                format!("re-run {} of at most {most} a night asked for", tonight + 1)
            }
            Err(Refusal::Stopped) => "no re-run: the daemon stops".into(),
            Err(error) => format!("no re-run: {error}"),
        }
    }

    async fn show(&self, run: &Run, judged: &PastJudged) {
        let nights = judged.comparable.nights.len();
        let mut figures = Vec::new();
        let mut points = Vec::new();
        for one in &judged.judged {
            let suspect = matches!(one.judgement.state, State::Suspect { worse: true, .. });
            let Some(value) = regression_of(one, nights) else { continue };
            let subject = one.subject.clone().unwrap_or_default();
            figures.push(RegressionFigure { metric: one.metric.name, subject: subject.clone(), value, suspect });
            let point =
                Point::new("regression", value).with("metric", one.metric.name).with("profile", &run.profile).with("target", &run.target);
            points.push(if subject.is_empty() { point } else { point.with("of", subject) });
        }
        self.parts.metrics.history(&run.profile, nights, judged.comparable.left_out.len(), &figures);
        let news = RunNews::Judged { run: run.id.clone(), target: run.target.clone(), points };
        if self.parts.news.send(news).await.is_err() {
            tracing::debug!("alerting has ended; a judgement is not heard");
        }
    }
}

/// How re-runs are triggered.
pub const RERUN: &str = "rerun";

/// Adds what became of the wish for a re-run to the findings that made it.
fn tell(findings: &mut [Finding], what: &str) {
    for finding in findings.iter_mut().filter(|finding| finding.kind == "regression_suspected" && finding.method == METHOD) {
        finding.evidence.push(crate::model::finding::Evidence { name: "next".into(), value: what.into() });
    }
}
