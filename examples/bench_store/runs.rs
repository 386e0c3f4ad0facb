//! Lists among many runs.

use std::time::Duration;

use plimsoll::engine::upkeep::kept_runs;
use plimsoll::model::run::{Run, RunId};
use plimsoll::model::units::Timestamp;
use plimsoll::store::RunFilter;
use tokio::time::Instant;

use crate::Size;
use crate::bed::Bed;
use crate::made::Made;
use crate::table::Table;

const TIMES: usize = 9;
const PROFILES: u32 = 10;

pub(crate) async fn measure(size: Size, table: &mut Table) {
    let mut bed = Bed::new().await;
    let empty = bed.bytes().await;
    let ended = Made::new("many", Timestamp(1_700_000_000_000_000), 60, 20, 5.0).ended();
    for number in 0..size.runs {
        let started_at = ended.started_at.plus(Duration::from_secs(u64::from(number) * 3_600));
        let id = RunId(format!("run-{number}"));
        let profile = format!("profile-{}", number % PROFILES);
        let ended_at = Some(started_at.plus(Duration::from_secs(60)));
        bed.store.start_run(&Run { id, profile, started_at, ended_at, ..ended.clone() }).await.unwrap();
    }
    let bytes = bed.bytes().await.saturating_sub(empty) as f64;
    table.tell("a run with its summary of 20 steps stored", bytes / f64::from(size.runs), "bytes");
    let middle = ended.started_at.plus(Duration::from_secs(u64::from(size.runs) * 1_800));
    let newest = RunFilter::default();
    let earlier = RunFilter { before: Some(middle), ..RunFilter::default() };
    let of_one = RunFilter { profile: Some("profile-3".into()), before: Some(middle), ..RunFilter::default() };
    let expected = 50.min(size.runs / 2);
    for (what, filter) in [("the newest", newest), ("those before a moment", earlier), ("those of a profile before it", of_one)] {
        let mut times = Vec::new();
        for _ in 0..TIMES {
            let started = Instant::now();
            let found = bed.store.run_lines(&filter).await.unwrap();
            times.push(started.elapsed().as_secs_f64() * 1e3);
            let all = filter.profile.is_none() || size.runs / 2 / PROFILES >= expected;
            assert!(!all || found.len() == expected as usize, "{what}: {}", found.len());
        }
        times.sort_by(f64::total_cmp);
        table.tell(format!("50 of {} runs, {what} (median of {TIMES})", size.runs), times[TIMES / 2], "ms");
    }
    let started = Instant::now();
    assert_eq!(kept_runs(&*bed.store).await.unwrap().len(), size.runs as usize);
    table.tell(format!("all {} runs for a plan of retention", size.runs), started.elapsed().as_secs_f64() * 1e3, "ms");
}
