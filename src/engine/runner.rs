//! One run from its first row to its last: load threads and probes on one clock, folded, stored, shown, judged against thresholds
//! and guards every second, summed up at the end. What steers it while it goes on is in `steering`, its analysis in `looking`.

mod looking;
mod steering;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::alerting::AlertWish;
use super::captures::{Captures, peak_of};
use super::catalog::cut;
use super::climb::{Climber, climbers};
use super::findings::{Asked, Observed};
use super::ground::{Laid, tear_down};
use super::handle::{Event, LiveRun};
use super::load::{Load, LoadPlan, start};
use super::recorder::Recorder;
use super::setup::TargetSetup;
use super::snapshots::Snapshots;
use super::steer::{Helm, SteerOrder};
use super::summary::Fold;
use super::verdict::{judge, saturated};
use super::watchers::Watchers;
use super::writer::Writer;
use crate::clock::SharedClock;
use crate::executor::schedule::Course;
use crate::metrics::Metrics;
use crate::model::analysed::TrendFound;
use crate::model::database::DatabaseWork;
use crate::model::finding::Finding;
use crate::model::measure::Interval;
use crate::model::profile::{Limits, Profile};
use crate::model::progress::{PoolNow, Progress};
use crate::model::run::{DataEnd, EndedBy, Run, RunId, RunStatus, Summary, Verdict};
use crate::model::series::{Point, Reading};

/// A wish to end a run early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndRequest {
    /// Cancelled or told to stop.
    pub by: EndedBy,
    /// Who, for the run's reasons.
    pub who: String,
    /// Longest time for iterations that are going on; zero: cut them off.
    pub drain: Duration,
    /// Who asked, if somebody did: kept with the run.
    pub asked_by: Option<String>,
}

/// What alerting hears of runs.
#[derive(Debug)]
pub enum RunNews {
    /// A run began.
    Started(Arc<Run>),
    /// One second of it.
    Second(Arc<Run>, Arc<Interval>),
    /// What analysis says of its resources while it goes on.
    Looked(Arc<Run>, Arc<Vec<TrendFound>>),
    /// It ended.
    Ended(Arc<Run>),
    /// An instant of a schedule at which nothing was started.
    Missed(TickNews),
    /// Not of a run: somebody wants something of the alerts.
    Asked(AlertWish),
    /// Not of a run: what the daemon's own readings show.
    Own(Vec<TrendFound>),
    /// It was compared with its history: points of the metric `regression`, one per metric that could be judged.
    Judged {
        /// The run.
        run: RunId,
        /// Its target.
        target: String,
        /// What it came to.
        points: Vec<Point>,
    },
}

/// Instants of a schedule at which nothing was started.
#[derive(Debug, Clone)]
pub struct TickNews {
    /// The schedule.
    pub schedule: String,
    /// Its profile.
    pub profile: String,
    /// The target of that; empty when it is not configured.
    pub target: String,
    /// How many.
    pub count: u32,
    /// Why.
    pub reason: String,
}

/// What a runner works with.
#[derive(Clone)]
pub struct RunnerParts {
    /// The wall clock.
    pub clock: SharedClock,
    /// For live figures.
    pub metrics: Arc<Metrics>,
    /// For series and the end of the run.
    pub writer: Writer,
    /// For everyone who looks on.
    pub events: broadcast::Sender<Event>,
    /// For alert rules.
    pub news: mpsc::Sender<RunNews>,
    /// Asks the probes what databases did.
    pub snapshots: Snapshots,
    /// Runs going on, with their latest second.
    pub live: Arc<Mutex<BTreeMap<RunId, LiveRun>>>,
}

/// What is to be run.
pub struct Order {
    /// The run as stored at its start.
    pub run: Run,
    /// Its profile.
    pub profile: Arc<Profile>,
    /// Its target.
    pub target: TargetSetup,
    /// Load threads.
    pub threads: usize,
    /// Seed of all random numbers.
    pub seed: u64,
    /// Wishes to end early.
    pub end: watch::Receiver<Option<EndRequest>>,
    /// Wishes to steer it.
    pub(super) steers: mpsc::Receiver<SteerOrder>,
    /// Readings of the target's probes.
    pub readings: mpsc::Receiver<Arc<Reading>>,
    /// What is captured of the target meanwhile.
    pub captures: Captures,
    /// Called with offset 0 once the load begins.
    pub began: Box<dyn FnOnce(Instant) + Send>,
}

/// Runs `order` to its end on the ground that was laid for it, and holds it against the run `before` it; the run that is returned has been handed to the writer.
pub async fn execute(order: Order, laid: Result<Laid, String>, before: Option<Arc<Run>>, parts: RunnerParts) -> Run {
    let threads = order.threads.max(1);
    let run = Arc::new(order.run);
    parts.metrics.run_started(&run);
    // Nobody may be looking on; that is fine.
    let _ = parts.events.send(Event::RunStarted(Box::new(Run::clone(&run))));
    send_news(&parts, RunNews::Started(run.clone())).await;
    let mut going = Going {
        watchers: Watchers::new(&order.profile.thresholds, &order.target.guards),
        asked: Asked::of_profile(&order.profile, &order.target.guards),
        lost_before: parts.writer.lost(),
        run,
        climbers: climbers(&order.profile),
        profile: order.profile,
        parts,
        helm: None,
        courses: Vec::new(),
        fold: Fold::default(),
        observed: Observed::default(),
        pools: BTreeMap::new(),
        ended: None,
        aborted_by: None,
        guarded: Vec::new(),
        limits: order.target.target.limits,
        began: None,
        notes: Vec::new(),
        databases: Vec::new(),
        data_ended: Vec::new(),
        captures: order.captures,
        before,
    };
    match laid {
        Ok(laid) => {
            // What was stopped before it began does not begin.
            let stopped = order.end.borrow().clone();
            let (profile, catalog) = (going.profile.clone(), Arc::new(going.run.catalog.clone()));
            going.parts.snapshots.before(&going.run.target, &going.run.id).await;
            let plan = LoadPlan { profile, catalog, ground: laid.ground.clone(), threads };
            match stopped.map_or_else(|| Ok(start(&plan)), Err) {
                Ok(Ok(load)) => {
                    (order.began)(load.start);
                    going.began = Some(load.start);
                    going.tell_the_peak();
                    going.helm = Some(Helm::new(load.controls.clone(), going.profile.clone(), order.target.target.limits));
                    let ears = Ears { end: order.end, steers: order.steers, readings: order.readings };
                    going.follow(load, threads, ears).await;
                    going.databases = going.parts.snapshots.after(&going.run.target, &going.run.id).await;
                }
                Ok(Err(error)) => going.ended = Some((EndedBy::Cancelled, format!("the load could not be started: {error}"))),
                Err(request) => going.end_requested(request),
            }
            going.notes.extend(laid.notes.into_iter().chain(laid.ground.cap.as_ref().and_then(|cap| cap.sentence())));
            going.data_ended = laid.ground.data.ended();
            going.notes.extend(tear_down(&going.profile, laid.ground).await);
        }
        Err(why) => {
            let asked = order.end.borrow().clone();
            going.ended = Some(asked.map_or((EndedBy::Setup, why), |request| (request.by, request.who)));
        }
    }
    going.finish().await
}

/// What a run of this summary says whatever its verdict: how high it climbed, and that its generator had no more to give.
fn tell_besides(reasons: &mut Vec<String>, summary: &Summary) {
    reasons.extend(saturated(summary));
    for climb in &summary.climbs {
        let sentence = climb.sentence();
        // It may be what the verdict rests on, and is the first reason then.
        if !reasons.contains(&sentence) {
            reasons.push(sentence);
        }
    }
}

async fn send_news(parts: &RunnerParts, news: RunNews) {
    if parts.news.send(news).await.is_err() {
        tracing::debug!("alerting has ended; a run goes on without it");
    }
}

/// What a run listens to while it goes on.
struct Ears {
    end: watch::Receiver<Option<EndRequest>>,
    steers: mpsc::Receiver<SteerOrder>,
    readings: mpsc::Receiver<Arc<Reading>>,
}

/// A run that is going on.
struct Going {
    run: Arc<Run>,
    profile: Arc<Profile>,
    parts: RunnerParts,
    watchers: Watchers,
    climbers: Vec<Climber>,
    /// `None` before the load has begun.
    helm: Option<Helm>,
    /// The courses that the catalog of the run tells of.
    courses: Vec<Arc<Course>>,
    fold: Fold,
    observed: Observed,
    asked: Asked,
    pools: BTreeMap<String, PoolNow>,
    /// Why it was ended early, and the reason in words.
    ended: Option<(EndedBy, String)>,
    /// The `abortOnFail` threshold that ended the run.
    aborted_by: Option<String>,
    /// What the target's guards did to it.
    guarded: Vec<String>,
    limits: Limits,
    /// Offset 0 on the clock that does not jump.
    began: Option<Instant>,
    lost_before: u64,
    captures: Captures,
    /// What people should know besides: of the setup, of the teardown.
    notes: Vec<String>,
    /// What the databases of the target did.
    databases: Vec<DatabaseWork>,
    /// Data of its scenarios that came to their end.
    data_ended: Vec<DataEnd>,
    /// The run before.
    before: Option<Arc<Run>>,
}

impl Going {
    /// Tells the captures when the load is highest.
    fn tell_the_peak(&mut self) {
        let courses: Vec<Course> = self.profile.scenarios.iter().map(Course::new).collect();
        if let Some(peak) = peak_of(&courses.iter().collect::<Vec<_>>()) {
            self.captures.peak_is(peak);
        }
    }

    async fn follow(&mut self, mut load: Load, threads: usize, mut ears: Ears) {
        let mut recorder = Recorder::new(threads);
        let mut kill_at: Option<Instant> = None;
        let mut listening = true;
        while !recorder.is_done() {
            let far = Instant::now() + Duration::from_secs(3_600);
            tokio::select! {
                report = load.reports.recv() => {
                    let Some(report) = report else {
                        self.ended.get_or_insert((EndedBy::Cancelled, "a load thread broke off; this is a bug in Plimsoll".into()));
                        break;
                    };
                    for interval in recorder.take(report) {
                        self.second(Arc::new(interval)).await;
                    }
                }
                Some(reading) = ears.readings.recv() => self.reading(&reading),
                Some((steer, answer)) = ears.steers.recv() => {
                    // Whoever asked may have gone; the deed is done all the same.
                    let _ = answer.send(self.steer(&steer));
                }
                changed = ears.end.changed(), if listening => {
                    listening = changed.is_ok();
                    let request = ears.end.borrow_and_update().clone();
                    if let Some(request) = request {
                        kill_at = Some(Instant::now() + request.drain);
                        self.end_requested(request);
                    }
                }
                () = sleep_until(kill_at.unwrap_or(far)), if !load.kill.is_cancelled() => load.kill.cancel(),
            }
            if self.ended.is_some() {
                load.stop.cancel();
                kill_at.get_or_insert_with(Instant::now);
            }
        }
        while let Ok(reading) = ears.readings.try_recv() {
            self.reading(&reading);
        }
        for error in recorder.errors {
            tracing::error!(run_id = %self.run.id, error, "a load thread failed");
            self.ended.get_or_insert((EndedBy::Cancelled, error));
        }
    }

    /// Everything that happens once a second.
    async fn second(&mut self, interval: Arc<Interval>) {
        self.follow_courses();
        self.fold.interval(&self.run.catalog, &interval);
        self.observed.interval(&self.run.catalog, &self.run.controls, &interval);
        self.parts.writer.interval(&self.run.id, interval.clone());
        let progress = self.progress(&interval);
        self.parts.metrics.run_second(&self.run, &interval, &progress);
        self.show(&progress);
        let _ = self.parts.events.send(Event::Progress(self.run.id.clone(), Box::new(progress)));
        send_news(&self.parts, RunNews::Second(self.run.clone(), interval.clone())).await;
        // A run that is being ended is not judged any further: requests that it cuts off itself are not the target's failures.
        if self.ended.is_none() {
            self.watchers.interval(&self.run.catalog, &interval);
            self.climb(&interval);
            self.look_for_the_end();
        }
        self.captures.second(interval.second, self.watchers.first_broken());
        if self.observed.is_due(interval.second) {
            self.look_meanwhile().await;
        }
    }

    fn reading(&mut self, reading: &Reading) {
        self.fold.reading(reading);
        self.observed.reading(reading);
        if let Ok(points) = &reading.points {
            for point in points {
                self.pool_now(point);
            }
        }
        if self.ended.is_none() {
            self.watchers.reading(&self.run.catalog, reading);
            self.climbers.iter_mut().for_each(|climber| climber.reading(&self.run.catalog, reading));
            self.look_for_the_end();
        }
    }

    fn pool_now(&mut self, point: &crate::model::series::Point) {
        let Some(pool) = point.labels.get("pool") else { return };
        let now =
            self.pools.entry(pool.clone()).or_insert_with(|| PoolNow { pool: pool.clone(), in_use: None, limit: None, waiting: None });
        match point.metric.as_str() {
            "pool_in_use" => now.in_use = Some(point.value),
            "pool_limit" => now.limit = Some(point.value),
            "pool_waiting" => now.waiting = Some(point.value),
            _ => {}
        }
    }

    /// Makes the load less or ends the run when a guard, the target's limit or an `abortOnFail` threshold says so.
    fn look_for_the_end(&mut self) {
        if let Some(guard) = self.watchers.tripped_guard().map(str::to_owned) {
            if self.guarded.is_empty() && self.halve(&guard) {
                return;
            }
            let sentence = format!("the target's guard `{guard}` ended the run");
            self.guarded.push(sentence.clone());
            self.ended = Some((EndedBy::Guard, sentence));
        } else if let Some(sentence) = self.too_long() {
            self.guarded.push(sentence.clone());
            self.ended = Some((EndedBy::Guard, sentence));
        } else if let Some(threshold) = self.watchers.abort() {
            self.ended = Some((EndedBy::Threshold, format!("`{threshold}` failed and has abortOnFail")));
            self.aborted_by = Some(threshold.to_owned());
        }
        if let Some((by, reason)) = &self.ended {
            tracing::warn!(run_id = %self.run.id, by = by.as_str(), reason, "the run is ended early");
        }
    }

    fn progress(&self, interval: &Interval) -> Progress {
        let (requests_total, failed_total) = self.fold.requests();
        let scenarios = &self.run.catalog.scenarios;
        let phase = scenarios.iter().find_map(|scenario| scenario.phase_at(interval.second)).map(|phase| phase.name.clone());
        let total = scenarios.iter().map(|scenario| scenario.start + scenario.duration).max().unwrap_or_default();
        Progress {
            second: interval.second,
            total_seconds: total.as_secs_f64().ceil() as u32,
            phase: phase.unwrap_or_else(|| "ending".into()),
            vus: interval.scenarios.values().map(|scenario| scenario.vus).sum(),
            requests: interval.steps.values().map(crate::model::measure::StepInterval::requests).sum(),
            failed: interval.steps.values().map(crate::model::measure::StepInterval::failed).sum(),
            p95_us: self.fold.recent().quantile(0.95).map(|time| time.as_micros() as u64),
            requests_total,
            failed_total,
            dropped_total: self.fold.accounting().dropped,
            pools: self.pools.values().cloned().collect(),
        }
    }

    fn show(&self, progress: &Progress) {
        let mut live = self.parts.live.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(live) = live.get_mut(&self.run.id) {
            live.progress = Some(progress.clone());
        }
    }

    /// Sums up, judges, stores.
    async fn finish(mut self) -> Run {
        let elapsed = self.elapsed();
        let ended_at = self.run.started_at.plus(elapsed);
        let ended_by = self.ended_by();
        self.fold.intervals_lost = self.parts.writer.lost().saturating_sub(self.lost_before);
        self.follow_courses();
        let mut run = Run::clone(&self.run);
        for (scenario, _) in run.catalog.scenarios.iter_mut().zip(&self.courses).filter(|(_, course)| course.is_decided_on_the_way()) {
            cut(scenario, elapsed);
        }
        let mut summary = self.fold.summary(&run.catalog, elapsed.as_secs_f64());
        summary.climbs = self.climbers.iter().map(Climber::summary).collect();
        summary.data_ended = std::mem::take(&mut self.data_ended);
        let mut thresholds = self.watchers.results();
        for broken in thresholds.iter_mut().filter(|result| self.aborted_by.as_ref() == Some(&result.text)) {
            // It was broken when it ended the run, wherever the last second took it.
            broken.verdict = Verdict::Fail;
        }
        thresholds.extend(self.climbers.iter().filter_map(Climber::must_reach));
        if ended_by == EndedBy::Cancelled || ended_by == EndedBy::Signal {
            // What was not broken when the run was ended early has not been proven to hold.
            thresholds.retain(|result| result.verdict != Verdict::NoData);
        }
        let mut judged = judge(&summary, &thresholds, ended_by, &self.guarded, self.profile.max_undelivered);
        for scenario in &summary.scenarios {
            if let Some(breach) = scenario.counts.breach() {
                tracing::error!(run_id = %run.id, scenario = scenario.scenario, breach, "iterations do not add up; this is a bug in Plimsoll");
                judged.verdict = Some(Verdict::Invalid);
                judged
                    .reasons
                    .insert(0, format!("iterations of `{}` do not add up ({breach}); this is a bug in Plimsoll", scenario.scenario));
            }
        }
        if let Some(breach) = self.fold.untold() {
            tracing::error!(run_id = %run.id, breach, "failures and what is told of them do not add up; this is a bug in Plimsoll");
            judged.verdict = Some(Verdict::Invalid);
            judged.reasons.insert(0, format!("failures and what is told of them do not add up ({breach}); this is a bug in Plimsoll"));
        }
        run.status = RunStatus::Finished;
        run.ended_at = Some(ended_at);
        run.ended_by = Some(ended_by);
        run.verdict = judged.verdict;
        // What spoils it stands in front; else what is known from the start (the profile's notes) does. Why it ended is said once.
        let at = if run.verdict == Some(Verdict::Pass) { run.reasons.len() } else { 0 };
        run.reasons.splice(at..at, judged.reasons);
        tell_besides(&mut run.reasons, &summary);
        run.reasons.extend(summary.data_ended.iter().map(DataEnd::sentence));
        if let Some((_, reason)) = self.ended.take().filter(|(_, reason)| !run.reasons.contains(reason)) {
            run.reasons.push(reason);
        }
        self.notes.extend(self.captures.end().await);
        run.reasons.append(&mut self.notes);
        summary.databases = std::mem::take(&mut self.databases);
        run.summary = Some(summary);
        run.thresholds = thresholds;
        let looked = self.looked(&run, false).await;
        if let Some(summary) = &mut run.summary {
            summary.analysed = looked.analysed;
        }
        self.publish(&run, looked.findings).await;
        run
    }

    async fn publish(&self, run: &Run, findings: Vec<Finding>) {
        self.parts.writer.run_ended(run.clone(), findings).await;
        if !self.parts.writer.flush(Duration::from_secs(5)).await {
            tracing::warn!(run_id = %run.id, "the end of the run is not stored yet; it is kept in memory and tried again");
        }
        self.parts.metrics.run_ended(run);
        send_news(&self.parts, RunNews::Ended(Arc::new(run.clone()))).await;
        self.parts.live.lock().unwrap_or_else(PoisonError::into_inner).remove(&run.id);
        let _ = self.parts.events.send(Event::RunEnded(Box::new(run.clone())));
    }
}
