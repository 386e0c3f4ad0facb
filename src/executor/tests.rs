//! The drivers under paused time: how many iterations start, where they go, what a stall leaves behind.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use proptest::prelude::*;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::shard::Shard;
use super::{Drive, Iteration, IterationEnd, Part, Workload, drive};
use crate::model::measure::{Interval, ScenarioInterval};
use crate::model::profile::{Executor, Scenario, Stage, VuPool};
use crate::model::units::Rate;

/// Iterations that take a fixed time, and never return before `stalled_until`.
struct Sleeper {
    takes: Duration,
    stall: (Instant, Instant),
    most: Cell<u64>,
    now: Cell<u64>,
}

impl Workload for Rc<Sleeper> {
    type Vu = ();
    fn vu(&self, _number: u64) {}
    async fn iterate(&self, (): &mut (), _iteration: Iteration) -> IterationEnd {
        self.now.set(self.now.get() + 1);
        self.most.set(self.most.get().max(self.now.get()));
        let began = Instant::now();
        sleep(self.takes).await;
        if began >= self.stall.0 && began < self.stall.1 {
            sleep_until(self.stall.1).await;
        }
        self.now.set(self.now.get() - 1);
        IterationEnd::Completed { with_failed_check: false }
    }
}

struct Played {
    figures: ScenarioInterval,
    took: Duration,
    most_at_once: u64,
}

/// Plays a scenario to its end; the run is stopped after `stop_after` and killed after `kill_after`, if given.
fn play(scenario: Scenario, takes: Duration, stall: (u64, u64), stop_after: Option<Duration>, kill_after: Option<Duration>) -> Played {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, async move {
        let start = Instant::now();
        let stall = (start + Duration::from_millis(stall.0), start + Duration::from_millis(stall.1));
        let sleeper = Rc::new(Sleeper { takes, stall, most: Cell::new(0), now: Cell::new(0) });
        let (stop, kill) = (CancellationToken::new(), CancellationToken::new());
        for (token, after) in [(stop.clone(), stop_after), (kill.clone(), kill_after)] {
            if let Some(after) = after {
                tokio::task::spawn_local(async move {
                    sleep(after).await;
                    token.cancel();
                });
            }
        }
        let shard = Shard::new(&[], 1, 0);
        let parts = Drive { scenario: 0, run_start: start, part: Part::WHOLE, shard: shard.clone(), stop, kill };
        drive(&scenario, Rc::new(sleeper.clone()), parts).await;
        let mut whole = Interval::default();
        whole.merge(&shard.borrow_mut().take(0));
        let figures = whole.scenarios.remove(&0).unwrap_or_default();
        Played { figures, took: start.elapsed(), most_at_once: sleeper.most.get() }
    })
}

fn scenario(executor: Executor) -> Scenario {
    Scenario {
        name: "main".into(),
        executor,
        start_time: Duration::ZERO,
        graceful_stop: Duration::from_secs(30),
        pace: None,
        tags: std::collections::BTreeMap::new(),
        data: vec![],
        http: crate::model::request::HttpOptions::default(),
        flow: vec![],
    }
}

fn rate(per_second: f64, seconds: u64, pre_allocated: u64, max: u64) -> Executor {
    let vus = VuPool { pre_allocated, max };
    Executor::ConstantArrivalRate { rate: Rate::per_second(per_second), duration: Duration::from_secs(seconds), vus }
}

const MS: Duration = Duration::from_millis(1);
const CALM: (u64, u64) = (0, 0);

#[test]
fn constant_vus_loop_until_the_deadline_and_finish() {
    let played = play(scenario(Executor::ConstantVus { vus: 5, duration: Duration::from_secs(10) }), 300 * MS, CALM, None, None);
    // 34 iterations of 300 ms begin within 10 s; the last ends at 10.2 s.
    assert_eq!((played.figures.counts.started, played.figures.counts.completed), (170, 170));
    assert_eq!((played.took.as_millis(), played.most_at_once), (10_200, 5));
    assert_eq!(played.figures.counts.breach(), None);
}

#[test]
fn pace_is_the_least_time_between_two_starts_of_a_vu() {
    let mut paced = scenario(Executor::ConstantVus { vus: 2, duration: Duration::from_secs(60) });
    paced.pace = Some(Duration::from_secs(30));
    let played = play(paced, 100 * MS, CALM, None, None);
    assert_eq!(played.figures.counts.completed, 4);
}

#[test]
fn iterations_that_outlive_the_graceful_stop_are_interrupted() {
    let mut short = scenario(Executor::ConstantVus { vus: 3, duration: Duration::from_secs(1) });
    short.graceful_stop = Duration::from_secs(2);
    let played = play(short, Duration::from_secs(60), CALM, None, None);
    assert_eq!((played.figures.counts.started, played.figures.counts.interrupted, played.figures.counts.completed), (3, 3, 0));
    assert_eq!((played.took.as_secs(), played.figures.counts.breach()), (3, None));
}

#[test]
fn ramping_vus_follow_the_stages() {
    let stages = vec![
        Stage { duration: Duration::from_secs(10), target: 10.0, name: None },
        Stage { duration: Duration::from_secs(10), target: 0.0, name: None },
    ];
    let ramp = scenario(Executor::RampingVus { start_vus: 0, stages, graceful_ramp_down: Duration::from_secs(30) });
    let played = play(ramp, 100 * MS, CALM, None, None);
    assert_eq!(played.most_at_once, 10);
    // The area under the ramp is 100 VU-seconds of 10 iterations each; VUs finish what they began.
    assert!((960..=1_060).contains(&played.figures.counts.completed), "{:?}", played.figures.counts);
    assert_eq!((played.figures.counts.interrupted, played.figures.counts.breach()), (0, None));
}

#[test]
fn a_vu_that_is_ramped_down_is_cut_off_after_its_grace() {
    let stages = vec![
        Stage { duration: Duration::from_secs(2), target: 4.0, name: None },
        Stage { duration: Duration::ZERO, target: 1.0, name: None },
        Stage { duration: Duration::from_secs(20), target: 1.0, name: None },
    ];
    let ramp = scenario(Executor::RampingVus { start_vus: 4, stages, graceful_ramp_down: Duration::from_secs(3) });
    let played = play(ramp, Duration::from_secs(10), CALM, None, None);
    // Three VUs are in the middle of 10 s when their 3 s of grace are over; the fourth goes on.
    assert_eq!(played.figures.counts.interrupted, 3);
    assert_eq!(played.figures.counts.breach(), None);
}

#[test]
fn an_open_executor_starts_on_the_clock_and_loses_nothing() {
    let played = play(scenario(rate(50.0, 10, 5, 5)), 20 * MS, CALM, None, None);
    let counts = played.figures.counts;
    assert_eq!((counts.scheduled, counts.completed, counts.dropped, counts.unsent), (500, 500, 0, 0));
}

#[test]
fn vus_are_made_up_to_the_maximum_then_starts_are_dropped() {
    let played = play(scenario(rate(10.0, 10, 0, 2)), Duration::from_secs(1), CALM, None, None);
    let counts = played.figures.counts;
    assert_eq!((counts.scheduled, played.most_at_once, counts.breach()), (100, 2, None));
    assert!((18..=22).contains(&counts.started), "{counts:?}");
    assert_eq!(played.figures.dropped_wait.count(), counts.dropped);
}

#[test]
fn a_stall_shows_in_the_response_times_whatever_the_number_of_vus() {
    // 200 starts a second for 20 s, the target stands still from second 10 to 13.
    let p95 = |vus: u64| {
        let played = play(scenario(rate(200.0, 20, vus, vus)), MS, (10_000, 13_000), None, None);
        let figures = played.figures;
        assert_eq!((figures.counts.scheduled, figures.counts.breach()), (4_000, None));
        let mut all = figures.iteration_duration.clone();
        all.merge(&figures.dropped_wait);
        all.quantile(0.95).unwrap().as_millis()
    };
    let (few, many) = (p95(20), p95(700));
    // 600 of 4,000 starts fall into the stall; the 200 slowest waited at least 2 s.
    assert!((1_950..2_050).contains(&few) && (1_950..2_050).contains(&many), "{few} {many}");
}

#[test]
fn stopping_and_killing_keep_the_books() {
    let stopped = play(scenario(rate(100.0, 60, 10, 10)), 50 * MS, CALM, Some(Duration::from_millis(5_005)), None);
    assert_eq!((stopped.figures.counts.completed, stopped.figures.counts.breach()), (501, None));
    let long = play(scenario(rate(100.0, 60, 10, 10)), Duration::from_secs(40), CALM, Some(5 * MS), Some(1_000 * MS));
    assert_eq!((long.figures.counts.interrupted, long.took.as_millis()), (1, 1_000));
}

#[test]
fn parts_share_every_start_and_every_vu() {
    for total in 0..40 {
        let shares: u64 = (0..3).map(|index| Part { index, count: 3 }.share(total)).sum();
        assert_eq!(shares, total);
    }
    assert_eq!((0..3).map(|local| Part { index: 1, count: 3 }.number(local)).collect::<Vec<_>>(), [1, 4, 7]);
}

#[test]
fn a_thread_without_a_vu_takes_no_starts() {
    for (threads, vus, takers) in [(4, 1, 1), (4, 3, 3), (2, 2, 2), (2, 50, 2)] {
        let parts: Vec<Part> = (0..threads).filter_map(|index| Part { index, count: threads }.of_starts(vus)).collect();
        assert_eq!(parts.len(), takers);
        let mut starts: Vec<u64> = parts.iter().flat_map(|part| (0..part.share(100)).map(|local| part.number(local))).collect();
        starts.sort_unstable();
        assert_eq!(starts, (0..100).collect::<Vec<_>>());
        assert_eq!(parts.iter().map(|part| part.share(vus)).sum::<u64>(), vus);
        assert!(parts.iter().all(|part| part.share(vus) > 0));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn nothing_vanishes_whatever_the_profile(
        open in any::<bool>(),
        stages in prop::collection::vec((0_u64..6, 0_u32..40), 1..4),
        first in 0_u32..20,
        pre in 0_u64..5,
        more in 0_u64..20,
        takes in 1_u64..3_000,
        grace in 0_u64..3_000,
        stop in prop::option::of(1_u64..9_000),
        kill in prop::option::of(1_u64..9_000),
        stall in (0_u64..5_000, 0_u64..9_000),
    ) {
        let stages: Vec<Stage> = stages.into_iter()
            .map(|(seconds, target)| Stage { duration: Duration::from_secs(seconds), target: f64::from(target), name: None })
            .collect();
        let executor = if open {
            let vus = VuPool { pre_allocated: pre, max: pre + more };
            Executor::RampingArrivalRate { start_rate: Rate::per_second(f64::from(first)), stages, vus }
        } else {
            Executor::RampingVus { start_vus: u64::from(first), stages, graceful_ramp_down: Duration::from_millis(grace) }
        };
        let mut random = scenario(executor);
        random.graceful_stop = Duration::from_millis(grace);
        let ms = Duration::from_millis;
        let played = play(random, ms(takes), stall, stop.map(ms), kill.map(ms));
        prop_assert_eq!(played.figures.counts.breach(), None);
        prop_assert_eq!(played.figures.dropped_wait.count(), played.figures.counts.dropped);
        prop_assert_eq!((played.figures.vus, played.figures.vus_busy), (0, 0));
    }
}
