//! The load threads: each has its own single-threaded runtime, its part of every scenario, and its shard, which it hands over
//! once a second. Apart from the daemon's runtime, so that neither disturbs the other's clock.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::catalog::firsts;
use super::ground::Ground;
use super::workload::{FlowWorkload, Places, Plan};
use crate::executor::control::Controls;
use crate::executor::shard::{Shard, SharedShard};
use crate::executor::{Drive, Part, drive};
use crate::flow::data::ScenarioData;
use crate::model::catalog::Catalog;
use crate::model::measure::Interval;
use crate::model::profile::{Profile, Scenario};

/// How often a load thread looks whether its event loop turns.
const PULSE: Duration = Duration::from_millis(20);

/// What a load thread reports. Threads are told apart by their index.
#[derive(Debug)]
pub enum Report {
    /// One second of this thread.
    Second(usize, Box<Interval>),
    /// The thread has ended, after its last second; the text says what went wrong, if anything.
    Done(usize, Option<String>),
}

/// A load that is going on.
#[derive(Debug)]
pub struct Load {
    /// What the threads report.
    pub reports: mpsc::Receiver<Report>,
    /// Stop starting; running iterations get their graceful stop.
    pub stop: CancellationToken,
    /// Stop now.
    pub kill: CancellationToken,
    /// Offset 0.
    pub start: Instant,
    /// The courses of its scenarios.
    pub controls: Arc<Controls>,
}

/// What the threads share.
#[derive(Clone)]
pub struct LoadPlan {
    /// The profile.
    pub profile: Arc<Profile>,
    /// Its catalog.
    pub catalog: Arc<Catalog>,
    /// What its flows stand on.
    pub ground: Ground,
    /// Number of threads, at least 1.
    pub threads: usize,
}

/// What the threads share.
struct Shared {
    controls: Arc<Controls>,
    /// Of each scenario.
    data: Vec<Arc<ScenarioData>>,
}

/// Starts the load threads; `Err` says why a thread cannot be made.
pub fn start(plan: &LoadPlan) -> std::io::Result<Load> {
    let (sender, reports) = mpsc::channel(plan.threads * 8);
    let (stop, kill) = (CancellationToken::new(), CancellationToken::new());
    let start = Instant::now();
    let controls = Arc::new(Controls::new(&plan.profile.scenarios, plan.threads));
    let data =
        |scenario: &Scenario| ScenarioData::new(plan.ground.data.clone(), &scenario.name, scenario.executor.is_open(), &scenario.data);
    let shared = Arc::new(Shared { controls: controls.clone(), data: plan.profile.scenarios.iter().map(data).collect() });
    for index in 0..plan.threads {
        let (plan, shared, sender, stop, kill) = (plan.clone(), shared.clone(), sender.clone(), stop.clone(), kill.clone());
        std::thread::Builder::new().name(format!("load-{index}")).spawn(move || {
            let error = thread_main(&plan, index, &sender, (start, &shared), (&stop, &kill));
            // The receiver is gone only when the run was abandoned; then nobody needs the report.
            let _ = sender.blocking_send(Report::Done(index, error));
        })?;
    }
    Ok(Load { reports, stop, kill, start, controls })
}

/// Tells of the end of a thread's part of a scenario, also when it broke off: others may wait for it.
struct Ends {
    controls: Arc<Controls>,
    scenario: usize,
    start: Instant,
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.controls.ended(self.scenario, self.start.elapsed());
    }
}

fn thread_main(
    plan: &LoadPlan,
    index: usize,
    reports: &mpsc::Sender<Report>,
    (start, shared): (Instant, &Shared),
    (stop, kill): (&CancellationToken, &CancellationToken),
) -> Option<String> {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Some(format!("a load thread cannot be made: {error}")),
    };
    let checks: Vec<usize> = plan.catalog.steps.iter().map(|step| step.checks.len()).collect();
    let shard = Shard::new(&checks, plan.catalog.scenarios.len(), plan.catalog.groups.len());
    let part = Part { index: index as u64, count: plan.threads as u64 };
    let local = LocalSet::new();
    let error = local.block_on(&runtime, async {
        let mut scenarios = tokio::task::JoinSet::new();
        for ((scenario, (first_step, first_group)), data) in plan.profile.scenarios.iter().zip(firsts(&plan.catalog)).zip(&shared.data) {
            let number = scenarios.len() as u16;
            let (http, open) = (&scenario.http, scenario.executor.is_open());
            let flow = Plan { name: &scenario.name, flow: &scenario.flow, data: &scenario.data, http, open };
            let places = Places { scenario: number, step: first_step, group: first_group };
            let workload = match FlowWorkload::new(flow, places, data.clone(), &plan.ground, shard.clone()) {
                Ok(workload) => workload,
                Err(error) => return Some(error),
            };
            let Some(course) = shared.controls.follow(scenarios.len()) else { continue };
            let (budget, shard, stop, kill) = (shared.controls.budget(scenarios.len()), shard.clone(), stop.clone(), kill.clone());
            let drive_parts = Drive { scenario: number, run_start: start, part, shard, course, budget, exact: true, stop, kill };
            let (scenario, ends) = (scenario.clone(), Ends { controls: shared.controls.clone(), scenario: usize::from(number), start });
            scenarios.spawn_local(async move {
                drive(&scenario, workload, drive_parts).await;
                drop(ends);
            });
        }
        report_until_done(&mut scenarios, &shard, reports, index, start).await
    });
    drop(local);
    // A name lookup that hangs cannot be cancelled; the end of the run does not wait for it.
    runtime.shutdown_background();
    error
}

/// Hands the shard over at every full second of the run until all scenarios have ended; returns what went wrong, if anything.
async fn report_until_done(
    scenarios: &mut tokio::task::JoinSet<()>,
    shard: &SharedShard,
    reports: &mpsc::Sender<Report>,
    index: usize,
    start: Instant,
) -> Option<String> {
    let mut error = None;
    let mut second = 0;
    let mut health = Health::new();
    while !scenarios.is_empty() {
        let boundary = start + Duration::from_secs(u64::from(second) + 1);
        let pulse = (Instant::now() + PULSE).min(boundary);
        tokio::select! {
            () = sleep_until(pulse) => health.pulse(pulse),
            Some(ended) = scenarios.join_next() => {
                if let Err(ended) = ended {
                    error = Some(format!("a scenario broke off: {ended}"));
                }
                continue;
            }
        }
        if Instant::now() < boundary {
            continue;
        }
        let interval = health.add_to(shard.borrow_mut().take(second));
        second += 1;
        if reports.send(Report::Second(index, Box::new(interval))).await.is_err() {
            return error;
        }
        // After a stall of more than a second the seconds in between are reported without events but with the VUs that there were, so
        // that time never shifts.
        while start + Duration::from_secs(u64::from(second) + 1) <= Instant::now() {
            let empty = shard.borrow_mut().take(second);
            second += 1;
            if reports.send(Report::Second(index, Box::new(empty))).await.is_err() {
                return error;
            }
        }
    }
    let last = health.add_to(shard.borrow_mut().take(second));
    // As above: nobody listens to an abandoned run.
    let _ = reports.send(Report::Second(index, Box::new(last))).await;
    error
}

/// The thread's own health within the current second.
struct Health {
    stall: Duration,
    cpu: Option<f64>,
}

impl Health {
    fn new() -> Self {
        Self { stall: Duration::ZERO, cpu: thread_cpu() }
    }

    fn pulse(&mut self, due: Instant) {
        self.stall = self.stall.max(due.elapsed());
    }

    fn add_to(&mut self, mut interval: Interval) -> Interval {
        let cpu = thread_cpu();
        interval.generator_stall = std::mem::take(&mut self.stall);
        interval.generator_cpu = cpu.zip(self.cpu).map(|(now, before)| now - before);
        interval.generator_busiest = interval.generator_cpu;
        self.cpu = cpu;
        interval
    }
}

/// CPU seconds used by this thread so far.
fn thread_cpu() -> Option<f64> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    (time.tv_sec >= 0).then(|| time.tv_sec as f64 + time.tv_nsec as f64 / 1e9)
}
