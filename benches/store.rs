//! What series cost in the store: bytes and CPU per step-second, and the time to read and merge a long run exactly.
//! `cargo bench --bench store [-- SECONDS [URL]]`; without a URL a SQLite file in a temporary folder. 20 steps, 100 requests a
//! second each, latencies drawn from a log-normal distribution. Compare ratios: single runs vary.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement prints, and a step that fails ends it")]

use std::sync::Arc;
use std::time::Duration;

use plimsoll::model::catalog::Catalog;
use plimsoll::model::histogram::LatencyHistogram;
use plimsoll::model::measure::{Interval, StepInterval};
use plimsoll::model::run::{Run, RunId, RunStatus, Trigger};
use plimsoll::model::units::Timestamp;
use plimsoll::store::{SeriesBatch, Store, open};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::Instant;

const STEPS: u16 = 20;
const PER_SECOND: usize = 100;

/// A latency around 20 ms with a long tail, in microseconds.
fn latency(random: &mut StdRng) -> u64 {
    let normal = (0..12).map(|_| random.random::<f64>()).sum::<f64>() - 6.0;
    (20_000.0 * (normal * 0.5).exp()) as u64
}

fn second(second: u32, random: &mut StdRng) -> Interval {
    let mut histogram = || LatencyHistogram::from_us((0..PER_SECOND).map(|_| latency(random)));
    let step = |index| StepInterval {
        step: index,
        ok: PER_SECOND as u64,
        response_ok: histogram(),
        service_ok: histogram(),
        waiting: histogram(),
        bytes_sent: 20_000,
        bytes_received: 400_000,
        ..StepInterval::default()
    };
    let steps = (0..STEPS).map(step).map(|step| (step.step, step)).collect();
    Interval { second, steps, shards: 1, generator_cpu: Some(0.4), ..Interval::default() }
}

/// CPU time of this process so far (Linux).
fn cpu() -> Duration {
    let stat = procfs::process::Process::myself().and_then(|process| process.stat()).unwrap();
    Duration::from_secs_f64((stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64)
}

async fn write(store: &Arc<dyn Store>, run: &Run, seconds: u32) {
    // The same 60 seconds again and again, so that making them up is not measured.
    let mut random = StdRng::seed_from_u64(1);
    let minute: Vec<Interval> = (0..60).map(|number| second(number, &mut random)).collect();
    let (started, used) = (Instant::now(), cpu());
    for number in 0..seconds {
        let interval = Interval { second: number, ..minute[number as usize % 60].clone() };
        store.append(&SeriesBatch { intervals: vec![(run.id.clone(), interval)], readings: Vec::new() }).await.unwrap();
    }
    let each = |duration: Duration| duration.as_secs_f64() * 1e3 / f64::from(seconds);
    println!("write: {:.2} ms a second of {STEPS} steps, {:.2} ms of CPU", each(started.elapsed()), each(cpu().saturating_sub(used)));
}

async fn read(store: &Arc<dyn Store>, run: &Run, seconds: u32) {
    let started = Instant::now();
    let mut merged = Interval::default();
    let mut from = 0;
    while from < seconds {
        for interval in store.intervals(&run.id, from, from + 600).await.unwrap() {
            merged.merge(&interval);
        }
        from += 600;
    }
    let requests: u64 = merged.steps.values().map(StepInterval::requests).sum();
    assert_eq!(requests, u64::from(seconds) * u64::from(STEPS) * PER_SECOND as u64);
    println!("read and merge all: {:.2} s for {} step-seconds", started.elapsed().as_secs_f64(), seconds * u32::from(STEPS));
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    // Under `cargo test` (no `--bench`) a few seconds show that it works.
    let (flags, arguments): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|argument| argument.starts_with("--"));
    let default = if flags.iter().any(|flag| flag == "--bench") { 600 } else { 5 };
    let seconds = arguments.first().map_or(default, |seconds| seconds.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plimsoll.db");
    let url = arguments.get(1).cloned().unwrap_or_else(|| format!("sqlite://{}", file.display()));
    let store = open(&url).await.unwrap();
    let run = Run {
        id: RunId::new(Timestamp(0), "bench", std::process::id()),
        profile: "bench".into(),
        target: "bench".into(),
        trigger: Trigger { by: "cli".into(), name: None },
        digest: String::new(),
        target_version: None,
        started_at: Timestamp(0),
        ended_at: None,
        status: RunStatus::Running,
        ended_by: None,
        verdict: None,
        reasons: Vec::new(),
        catalog: Catalog::default(),
        summary: None,
        thresholds: Vec::new(),
        controls: Vec::new(),
    };
    store.start_run(&run).await.unwrap();
    write(&store, &run, seconds).await;
    read(&store, &run, seconds).await;
    store.close().await;
    if let Ok(file) = std::fs::metadata(&file) {
        let each = file.len() as f64 / f64::from(seconds) / f64::from(STEPS);
        println!("file: {each:.0} bytes a step-second, {:.2} bytes a request", each / PER_SECOND as f64);
    }
}
