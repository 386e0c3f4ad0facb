//! Ninety days of a daemon, on a clock that the test turns: three profiles every night, readings between them, roll-ups and retention
//! every day. What is kept stays within what the policies say, row by row and byte by byte, and says what it said on its first day.

use std::collections::BTreeMap;
use std::time::Duration;

use plimsoll::engine::summary::Fold;
use plimsoll::engine::upkeep::{pin, retain};
use plimsoll::model::catalog::{Catalog, ScenarioMeta, StepMeta};
use plimsoll::model::failure::Reason;
use plimsoll::model::histogram::LatencyHistogram;
use plimsoll::model::history::Pinned;
use plimsoll::model::measure::{Interval, ScenarioInterval, StepInterval};
use plimsoll::model::retention::{Pin, Policies, Policy};
use plimsoll::model::rollup::{Resolution, durations_of};
use plimsoll::model::run::{LatencySummary, Run, RunStatus, Verdict};
use plimsoll::model::schedule::{Tick, TickOutcome};
use plimsoll::model::series::Reading;
use plimsoll::model::units::Timestamp;
use plimsoll::store::{ReadingFilter, ReadingQuery, SeriesBatch, Store};
use sqlx::{Connection, SqliteConnection};

use super::Bed;
use super::samples::{reading, run};

const DAYS: u64 = 90;
const DAY: u64 = 86_400;
/// Readings between runs: every half hour from 03:00 on.
const IDLE: u64 = 42;
/// Series of a reading, steps of a run.
const SERIES: u64 = 3;
const STEPS: u16 = 2;
/// What the process may grow by from the 30th day to the 90th.
const GROWTH_BYTES: u64 = 4 << 20;

/// A profile: minutes after 02:00 and seconds of its run, how many days which resolution is kept, how many runs, the night that is pinned.
struct Nightly {
    profile: &'static str,
    minute: u64,
    seconds: u32,
    days: [u64; 3],
    runs: u64,
    pinned: Option<u64>,
}

/// The default policy, but minutes go within the ninety days; one profile with less of everything, one with thirty runs.
const NIGHTLY: [Nightly; 3] = [
    Nightly { profile: "sustained", minute: 0, seconds: 61, days: [7, 30, 60], runs: 5_000, pinned: Some(5) },
    Nightly { profile: "spike", minute: 10, seconds: 30, days: [2, 5, 20], runs: 5_000, pinned: None },
    Nightly { profile: "soak", minute: 20, seconds: 62, days: [7, 30, 60], runs: 30, pinned: Some(3) },
];

fn moment(day: u64, seconds: u64) -> Timestamp {
    Timestamp::parse("2026-08-24T00:00:00Z").unwrap().plus(Duration::from_secs(day * DAY + seconds))
}

fn policies() -> Policies {
    let policy = |one: &Nightly| {
        let [seconds, tens, minutes] = one.days.map(|days| Some(Duration::from_secs(days * DAY)));
        Policy { series: [seconds, tens, minutes, None], runs: Some(one.runs as u32) }
    };
    let profiles = NIGHTLY.iter().map(|one| (one.profile.to_owned(), policy(one))).collect();
    Policies { default: policy(&NIGHTLY[0]), profiles, ..Policies::default() }
}

impl Nightly {
    /// Days of a resolution that are kept.
    fn keeps(&self, resolution: Resolution) -> u64 {
        self.days.get(resolution as usize).copied().unwrap_or(u64::MAX)
    }

    /// Whether a night's run has this resolution at the end of a day.
    fn holds(&self, night: u64, day: u64, resolution: Resolution) -> bool {
        night <= day && (self.pinned == Some(night) || (day - night < self.keeps(resolution) && self.has(night, day)))
    }

    /// Whether a night's run is there at the end of a day; the pinned one does not count.
    fn has(&self, night: u64, day: u64) -> bool {
        let newer = day - night - u64::from(self.pinned.is_some_and(|pinned| pinned > night && pinned <= day));
        self.pinned == Some(night) || newer < self.runs
    }

    fn nights(&self, day: u64, resolution: Resolution) -> u64 {
        (0..=day).filter(|night| self.holds(*night, day, resolution)).count() as u64
    }

    fn spans(&self, resolution: Resolution) -> u64 {
        u64::from(self.seconds.div_ceil(resolution.seconds()))
    }
}

/// What the policies leave in each table at the end of a day.
fn rows(day: u64) -> BTreeMap<&'static str, u64> {
    let spans = |resolution| NIGHTLY.iter().map(|one| one.nights(day, resolution) * one.spans(resolution)).sum::<u64>();
    let seconds = spans(Resolution::Second);
    let rolled: u64 = [Resolution::TenSeconds, Resolution::Minute, Resolution::Hour].into_iter().map(spans).sum();
    let days = day + 1;
    // The last reading, and the last hour, are not complete until there is a later one.
    let idle = (days.min(NIGHTLY[0].days[2]) * IDLE - 1) + (days * IDLE / 2 - 1);
    let runs: u64 = NIGHTLY.iter().map(|one| (0..=day).filter(|night| one.has(*night, day)).count() as u64).sum();
    [
        ("intervals", seconds),
        ("step_intervals", seconds * u64::from(STEPS)),
        ("scenario_intervals", seconds),
        ("readings", seconds + days.min(NIGHTLY[0].days[0]) * IDLE),
        ("rollups", rolled),
        ("step_rollups", rolled * u64::from(STEPS)),
        ("scenario_rollups", rolled),
        ("reading_rollups", (rolled + idle) * SERIES),
        ("runs", runs),
        ("ticks", days * NIGHTLY.len() as u64),
    ]
    .into()
}

/// Everything that is written, made again from its night whenever it is asked for, so that the test holds nothing.
struct Made {
    days: u64,
    catalog: Catalog,
    latencies: Vec<LatencyHistogram>,
}

impl Made {
    fn new(days: u64) -> Self {
        let (name, executor) = ("buyers".to_owned(), "constant-vus".to_owned());
        let (start, duration) = (Duration::ZERO, Duration::from_secs(120));
        let scenario = ScenarioMeta { name, executor, open: false, tags: BTreeMap::new(), phases: Vec::new(), start, duration };
        let step = |name: &str| StepMeta {
            scenario: 0,
            name: name.into(),
            protocol: "http".into(),
            title: format!("GET /{name}"),
            checks: Vec::new(),
        };
        let catalog = Catalog { scenarios: vec![scenario], steps: vec![step("browse"), step("checkout")], groups: Vec::new(), seed: None };
        let latencies = (1..38_u64).map(|number| LatencyHistogram::from_us((1..9).map(|one| 700 * number * one))).collect();
        Self { days, catalog, latencies }
    }

    fn second(&self, profile: usize, night: u64, second: u32) -> Interval {
        let at = |shift: u64| &self.latencies[((night * 11 + u64::from(second) * 5 + shift) % self.latencies.len() as u64) as usize];
        let step = |step: u16| {
            let shift = profile as u64 * 7 + u64::from(step) * 3;
            let failed = second % 20 == 7;
            let service_failed = if failed { LatencyHistogram::from_us([250_000]) } else { LatencyHistogram::default() };
            let failures = if failed { [(Reason::Status(503), 1)].into() } else { [].into() };
            let (service_ok, waiting) = (at(shift).clone(), at(shift + 1).clone());
            StepInterval {
                step,
                ok: service_ok.count(),
                failures,
                service_ok,
                service_failed,
                waiting,
                bytes_sent: 90,
                ..StepInterval::default()
            }
        };
        let scenario = ScenarioInterval { vus: 10 + night % 3, iteration_duration: at(4).clone(), ..ScenarioInterval::default() };
        let steps = (0..STEPS).map(|index| (index, step(index))).collect();
        Interval { second, steps, scenarios: [(0, scenario)].into(), generator_cpu: Some(0.25), shards: 2, ..Interval::default() }
    }

    fn reading(profile: usize, night: u64, started_at: Timestamp, second: u32) -> Reading {
        let in_use = (night + u64::from(second) * (profile as u64 + 1)) % 20;
        let taken = reading("shop", "app", started_at.plus(Duration::from_secs(second.into())), in_use as f64);
        Reading { second: Some(second), ..taken }
    }

    /// The run of a night as it is when it begins.
    fn begun(&self, profile: usize, night: u64) -> Run {
        let one = &NIGHTLY[profile];
        let begun = run(&format!("{}-{night}", one.profile), moment(night, 7_200 + one.minute * 60));
        Run { profile: one.profile.into(), catalog: self.catalog.clone(), ..begun }
    }

    /// The same when it has ended, with its summary.
    fn ended(&self, profile: usize, night: u64) -> Run {
        let (begun, seconds) = (self.begun(profile, night), NIGHTLY[profile].seconds);
        let mut fold = Fold::default();
        for second in 0..seconds {
            fold.interval(&self.catalog, &self.second(profile, night, second));
            fold.reading(&Self::reading(profile, night, begun.started_at, second));
        }
        let summary = Some(fold.summary(&self.catalog, f64::from(seconds)));
        let ended_at = Some(begun.started_at.plus(Duration::from_secs(seconds.into())));
        Run { status: RunStatus::Finished, ended_at, verdict: Some(Verdict::Pass), summary, ..begun }
    }

    async fn night(&self, store: &dyn Store, profile: usize, night: u64) {
        let begun = self.begun(profile, night);
        store.start_run(&begun).await.unwrap();
        let (schedule, profile_name) = (format!("nightly-{profile}"), begun.profile.clone());
        let (due, reason) = (begun.started_at, "it was due".to_owned());
        let (outcome, run) = (TickOutcome::Started, Some(begun.id.clone()));
        store.record_tick(&Tick { schedule, profile: profile_name, due, decided: due, outcome, reason, run }).await.unwrap();
        for start in (0..NIGHTLY[profile].seconds).step_by(45) {
            let seconds = start..NIGHTLY[profile].seconds.min(start + 45);
            let intervals = seconds.clone().map(|second| (begun.id.clone(), self.second(profile, night, second))).collect();
            let readings = seconds.map(|at| (Some(begun.id.clone()), Self::reading(profile, night, begun.started_at, at))).collect();
            store.append(&SeriesBatch { intervals, readings }).await.unwrap();
            // The daemon does it every few seconds.
            store.roll_up(40).await.unwrap();
        }
        store.update_run(&self.ended(profile, night)).await.unwrap();
        store.roll_up(40).await.unwrap();
        if NIGHTLY[profile].pinned == Some(night) && profile == 0 {
            assert!(pin(store, &begun.id, Some(Pin::Pinned)).await.unwrap());
        } else if NIGHTLY[profile].pinned == Some(night) {
            let (profile, at, by) = (begun.profile, begun.started_at, "ann".to_owned());
            store.pin_baseline(&Pinned { profile, run: begun.id, at, by }).await.unwrap();
        }
    }

    /// A day, from midnight to midnight.
    async fn day(&self, store: &dyn Store, day: u64) {
        for profile in 0..NIGHTLY.len() {
            self.night(store, profile, day).await;
        }
        let idle = |half: u64| (None, reading("shop", "app", moment(day, 10_800 + half * 1_800), (half % 9) as f64));
        store.append(&SeriesBatch { intervals: Vec::new(), readings: (0..IDLE).map(idle).collect() }).await.unwrap();
        assert!(store.roll_up(40).await.unwrap() < 40, "nothing piles up");
        let done = retain(store, &policies(), moment(day + 1, 0)).await.unwrap();
        assert_eq!(done.space.free_bytes, 0, "on day {day}: {done:?}");
    }

    async fn all_still_right(&self, store: &dyn Store) {
        for profile in 0..NIGHTLY.len() {
            for night in 0..self.days {
                self.still_right(store, profile, night).await;
            }
        }
    }

    /// A run of a night says what it said when it ended, from whatever is left of its series.
    async fn still_right(&self, store: &dyn Store, profile: usize, night: u64) {
        let one = &NIGHTLY[profile];
        let expected = self.ended(profile, night);
        let found = store.run(&expected.id.0).await.unwrap();
        if !one.has(night, self.days - 1) {
            assert_eq!(found, None, "{}", expected.id);
            return;
        }
        let summary = expected.summary.clone().unwrap();
        assert_eq!(found.as_ref(), Some(&expected));
        let finest = Resolution::ALL.iter().copied().find(|resolution| one.holds(night, self.days - 1, *resolution));
        assert_eq!(store.kept(&expected.id).await.unwrap().unwrap().finest, finest, "{}", expected.id);
        let whole = store.merged(&expected.id, 0, one.seconds).await.unwrap().unwrap();
        assert_eq!(whole.sum.seconds, one.seconds);
        for (step, of) in whole.interval().steps.values().zip(&summary.steps) {
            assert_eq!(LatencySummary::of(&durations_of(&self.catalog, step)), of.duration, "{} {}", expected.id, of.step);
            assert_eq!((step.requests(), &step.failures, step.bytes_sent), (of.requests, &of.reasons, of.bytes_sent));
        }
        let query =
            ReadingQuery { run: expected.id.clone(), metric: "pool_in_use".into(), resolution: Resolution::Hour, from: 0, to: one.seconds };
        let roll = store.reading_series(&query).await.unwrap()[0].spans[0].roll;
        let of = summary.series.iter().find(|series| series.metric == "pool_in_use").unwrap();
        assert_eq!((roll.samples, roll.min, roll.max, roll.last), (of.samples, of.min, of.max, of.last));
        if one.pinned == Some(night) {
            let seconds: Vec<Interval> = (0..one.seconds).map(|second| self.second(profile, night, second)).collect();
            assert_eq!(store.intervals(&expected.id, 0, u32::MAX).await.unwrap(), seconds, "a pinned run is kept whole");
            let taken: Vec<Reading> = (0..one.seconds).map(|at| Self::reading(profile, night, expected.started_at, at)).collect();
            let filter = ReadingFilter { run: Some(expected.id), ..ReadingFilter::default() };
            assert_eq!(store.readings(&filter).await.unwrap(), taken);
        }
    }
}

/// Fails unless each table has the rows that the policies leave.
async fn rows_are_those_of_the_plan(bed: &Bed, day: u64) {
    for (table, expected) in rows(day) {
        bed.holds(&format!("SELECT count(*) FROM {table} -- on day {day}"), expected as i64).await;
    }
}

/// Bytes of each table with its indexes, and of the file.
async fn sizes(url: &str) -> (BTreeMap<String, u64>, u64) {
    let mut connection = SqliteConnection::connect(url).await.unwrap();
    let tables = "SELECT s.tbl_name, sum(d.pgsize) FROM dbstat d JOIN sqlite_schema s ON s.name = d.name GROUP BY 1";
    let tables: Vec<(String, i64)> = sqlx::query_as(tables).fetch_all(&mut connection).await.unwrap();
    let pages = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";
    let file: i64 = sqlx::query_scalar(pages).fetch_one(&mut connection).await.unwrap();
    (tables.into_iter().map(|(table, bytes)| (table, bytes as u64)).collect(), file as u64)
}

fn resident_bytes() -> u64 {
    let pages = procfs::process::Process::myself().and_then(|process| process.statm()).unwrap().resident;
    pages * procfs::page_size()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "ninety_days_on_sqlite runs it in a process of its own, because it compares that process's memory"]
async fn ninety_days_alone() {
    let (bed, made) = (Bed::sqlite().await, Made::new(DAYS));
    let mut after_30 = None;
    for day in 0..DAYS {
        made.day(&*bed.store, day).await;
        if day == 29 {
            rows_are_those_of_the_plan(&bed, day).await;
            after_30 = Some((sizes(&bed.url).await, resident_bytes()));
        }
    }
    let ((tables, file), resident) = after_30.unwrap();
    rows_are_those_of_the_plan(&bed, DAYS - 1).await;
    let (then, now) = (rows(29), rows(DAYS - 1));
    // A row weighs on the 90th day what it weighed on the 30th; how many there are, the policies say.
    let planned = now.iter().map(|(table, rows)| tables[*table] as f64 * *rows as f64 / then[table] as f64).sum::<f64>();
    let others = file - now.keys().map(|table| tables[*table]).sum::<u64>();
    let (after_90, size) = sizes(&bed.url).await;
    let plan = planned + others as f64;
    assert!((size as f64) < plan * 1.1, "{size} bytes, planned {plan:.0}; after 30 days {tables:#?}, now {after_90:#?}");
    for table in ["intervals", "step_intervals", "scenario_intervals", "readings"] {
        assert!(after_90[table] < tables[table] * 5 / 4, "seconds do not grow with the days: {table} {tables:#?}, now {after_90:#?}");
    }
    let grown = resident_bytes().saturating_sub(resident);
    assert!(grown < GROWTH_BYTES, "the process grew by {grown} bytes, from {resident}");
    made.all_still_right(&*bed.store).await;
}

#[tokio::test]
async fn ninety_days_on_sqlite() {
    let mut alone = tokio::process::Command::new(std::env::current_exe().unwrap());
    alone.args(["--exact", "store::long_life::ninety_days_alone", "--ignored"]).kill_on_drop(true);
    let done = tokio::time::timeout(Duration::from_secs(900), alone.output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && said.contains("1 passed"), "{said}");
}

/// The same row by row, for as long as minutes need to go; space goes with partitions, of which only those stay that hold something.
#[tokio::test]
async fn twenty_four_days_on_postgres() {
    let days = 24;
    let (bed, made) = (Bed::postgres().await, Made::new(days));
    for day in 0..days {
        made.day(&*bed.store, day).await;
    }
    rows_are_those_of_the_plan(&bed, days - 1).await;
    // Of the weeks that have ended there is that of the pinned runs, and the last one.
    let ended = format!("SELECT count(*) AS weeks FROM series_partitions WHERE ends <= {} GROUP BY parent", moment(days, 0).0);
    bed.holds(&format!("SELECT max(weeks) FROM ({ended}) w"), 2).await;
    made.all_still_right(&*bed.store).await;
}
