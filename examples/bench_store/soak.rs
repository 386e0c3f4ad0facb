//! A soak of eight hours with 20 steps, 100 requests a second each: written, merged, rolled up, shown.

use plimsoll::model::measure::StepInterval;
use plimsoll::model::rollup::Resolution;
use plimsoll::model::run::RunId;
use plimsoll::model::units::Timestamp;
use plimsoll::store::{FigureQuery, ReadingQuery, Store};
use tokio::time::Instant;

use crate::Size;
use crate::bed::{Bed, Peak, cpu};
use crate::made::Made;
use crate::table::Table;

const STEPS: u16 = 20;
const PER_SECOND: f64 = 100.0;
/// What the page of a run asks for: so many points at most.
const CHART_POINTS: u32 = 1_000;
const TIMES: usize = 5;
/// Seconds of the soak.
pub(crate) const LONG: u32 = 28_800;

pub(crate) async fn measure(size: Size, table: &mut Table) {
    let made = Made::new("soak", Timestamp(1_800_000_000_000_000), size.soak, STEPS, PER_SECOND);
    let mut bed = Bed::new().await;
    let empty = bed.bytes().await;
    let used = cpu();
    made.write(&*bed.store).await;
    let used = cpu().saturating_sub(used).as_secs_f64();
    let bytes = bed.bytes().await.saturating_sub(empty) as f64;
    let seconds = f64::from(size.soak);
    table.tell("seconds stored, a step and second", bytes / seconds / f64::from(STEPS), "bytes");
    table.judge("seconds stored, a request", bytes / made.requests() as f64, "bytes", 4.0, 2.5);
    table.judge("writer at a transaction a second", used / seconds * 100.0, "% of a core", 0.3, 0.1);
    merge(&*bed.store, &made, size.soak, "seconds", table).await;
    bed.store.update_run(&made.ended()).await.unwrap();
    let (started, used) = (Instant::now(), cpu());
    bed.roll_up_all().await;
    let used = cpu().saturating_sub(used).as_secs_f64();
    table.tell("roll-ups of the soak made", started.elapsed().as_secs_f64(), "s");
    table.tell("roll-ups at the pace of the soak", used / seconds * 100.0, "% of a core");
    let rolled = bed.bytes().await.saturating_sub(empty) as f64;
    table.tell("roll-ups stored, a request", (rolled - bytes) / made.requests() as f64, "bytes");
    merge(&*bed.store, &made, size.soak, "roll-ups", table).await;
    chart(&*bed.store, &made.run.id, size.soak, table).await;
    table.note(format!(
        "soak: {} s, {STEPS} steps of {PER_SECOND} requests a second, a reading of 8 series a second; every second a transaction, \
         as fast as they go; their CPU is that of the whole process",
        size.soak
    ));
}

/// Merges a soak from its seconds some times; it is written to `file` when that is not there yet.
pub(crate) async fn merge_again(file: &str) {
    let made = Made::new("soak", Timestamp(1_800_000_000_000_000), LONG, STEPS, PER_SECOND);
    let is_there = std::path::Path::new(file).exists();
    let store = plimsoll::store::open(&format!("sqlite://{file}")).await.unwrap();
    if !is_there {
        made.write(&*store).await;
    }
    for _ in 0..TIMES {
        let (started, used) = (Instant::now(), cpu());
        let window = store.merged(&made.run.id, 0, LONG).await.unwrap().unwrap();
        let (took, used) = (started.elapsed().as_secs_f64(), cpu().saturating_sub(used).as_secs_f64());
        let counted: u64 = window.interval().steps.values().map(|step| step.service_ok.count()).sum();
        assert_eq!(counted, made.requests(), "what was merged is everything");
        println!("merged in {took:.3} s, {used:.2} s of CPU");
    }
}

async fn merge(store: &dyn Store, made: &Made, seconds: u32, from: &str, table: &mut Table) {
    let (peak, started) = (Peak::mark(), Instant::now());
    let window = store.merged(&made.run.id, 0, seconds).await.unwrap().unwrap();
    let (took, most) = (started.elapsed().as_secs_f64(), peak.megabytes());
    let requests: u64 = window.interval().steps.values().map(StepInterval::requests).sum();
    assert_eq!(requests, made.requests(), "what was merged is everything");
    let counted: u64 = window.interval().steps.values().map(|step| step.service_ok.count()).sum();
    assert_eq!(counted, made.requests(), "in the histograms, too");
    if from == "seconds" {
        // A question that no daemon asks: it rolls up half a minute behind a run. The goal is for the answer, wherever it comes from.
        table.tell("everything merged from seconds, nothing rolled up", took, "s");
    } else {
        table.judge(format!("everything merged, as a daemon keeps it ({from})"), took, "s", 1.5, 0.5);
    }
    table.judge(format!("memory that it takes from {from}"), most, "MB", 50.0, 50.0);
}

/// What the page of the run asks for.
async fn chart(store: &dyn Store, run: &RunId, seconds: u32, table: &mut Table) {
    let mut times = Vec::new();
    for _ in 0..TIMES {
        let started = Instant::now();
        let finest = store.kept(run).await.unwrap().and_then(|kept| kept.finest).unwrap_or(Resolution::Hour);
        let resolution = Resolution::fitting(finest, seconds, CHART_POINTS);
        let figures = FigureQuery { run: run.clone(), step: None, resolution, from: 0, to: seconds };
        assert!(!store.figures(&figures).await.unwrap().is_empty());
        let readings = ReadingQuery { run: run.clone(), metric: "pool_utilization".into(), resolution, from: 0, to: seconds };
        assert_eq!(store.reading_series(&readings).await.unwrap().len(), 1);
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    table.judge(format!("its chart, with the pool (median of {TIMES})"), times[TIMES / 2], "ms", 300.0, 100.0);
}
