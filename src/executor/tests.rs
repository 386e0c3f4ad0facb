//! The drivers under paused time: how many iterations start, where they go, what a stall leaves behind.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use proptest::prelude::*;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::control::{Controls, LEAD};
use super::schedule::{Change, Mode};
use super::shard::Shard;
use super::{Drive, FEWEST_VUS, Iteration, IterationEnd, Part, Workload, drive};
use crate::model::control::Scale;
use crate::model::measure::{Interval, ScenarioInterval};
use crate::model::profile::{Executor, Scenario, Spacing, Stage, VuPool, WhenBusy};
use crate::model::staircase::{StairUnit, Staircase};
use crate::model::units::Rate;

/// Iterations that take a fixed time, and never return before the stall is over.
struct Sleeper {
    takes: Duration,
    /// VUs with these numbers take ten times as long.
    slow: fn(u64) -> bool,
    by_vu: std::cell::RefCell<std::collections::BTreeMap<u64, u64>>,
    stall: (Instant, Instant),
    /// The thread stands still for so long when it begins the iteration of this number.
    blocks: Option<(u64, Duration)>,
    /// How long after its intended start each iteration began.
    waits: std::cell::RefCell<Vec<Duration>>,
    most: Cell<u64>,
    now: Cell<u64>,
    /// Iterations for which there is something to work with.
    rows: Cell<u64>,
}

impl Workload for Rc<Sleeper> {
    type Vu = u64;
    fn vu(&self, number: u64) -> u64 {
        number
    }
    fn has_work(&self, _vu: &mut u64) -> bool {
        let left = self.rows.get().checked_sub(1);
        self.rows.set(left.unwrap_or(0));
        left.is_some()
    }
    async fn iterate(&self, vu: &mut u64, iteration: Iteration) -> IterationEnd {
        self.waits.borrow_mut().push(iteration.intended.elapsed());
        if let Some((_, still)) = self.blocks.filter(|(number, _)| iteration.number == *number) {
            // Time jumps, as for a thread that gets no CPU: nothing that is due in between is seen before its end.
            tokio::time::advance(still).await;
        }
        *self.by_vu.borrow_mut().entry(*vu).or_default() += 1;
        self.now.set(self.now.get() + 1);
        self.most.set(self.most.get().max(self.now.get()));
        let began = Instant::now();
        sleep(if (self.slow)(*vu) { self.takes * 10 } else { self.takes }).await;
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
    /// Iterations that each VU began.
    by_vu: Vec<u64>,
    waits: Vec<Duration>,
}

/// How a scenario is played.
#[derive(Clone)]
struct Play {
    /// Load threads, all on this one.
    threads: u64,
    /// What an iteration takes.
    takes: Duration,
    slow: fn(u64) -> bool,
    /// From which millisecond to which the target stands still.
    stall: (u64, u64),
    blocks: Option<(u64, Duration)>,
    stop_after: Option<Duration>,
    kill_after: Option<Duration>,
    /// Decisions, each told `LEAD` before it takes effect.
    decisions: Vec<Change>,
    rows: u64,
}

impl Default for Play {
    fn default() -> Self {
        Self {
            threads: 1,
            takes: 100 * MS,
            slow: |_| false,
            stall: CALM,
            blocks: None,
            stop_after: None,
            kill_after: None,
            decisions: Vec::new(),
            rows: u64::MAX,
        }
    }
}

fn at(ms: u64, mode: Mode, scale: Option<Scale>) -> Change {
    Change { at: ms as u32 * MS, mode, scale }
}

/// Plays a scenario to its end; the run is stopped after `stop_after` and killed after `kill_after`, if given.
fn play(scenario: &Scenario, takes: Duration, stall: (u64, u64), stop_after: Option<Duration>, kill_after: Option<Duration>) -> Played {
    Play { takes, stall, stop_after, kill_after, ..Play::default() }.of(scenario)
}

impl Play {
    fn of(self, scenario: &Scenario) -> Played {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        LocalSet::new().block_on(&runtime, self.on_this_thread(scenario.clone()))
    }

    async fn on_this_thread(self, scenario: Scenario) -> Played {
        let start = Instant::now();
        let stall = (start + Duration::from_millis(self.stall.0), start + Duration::from_millis(self.stall.1));
        let (most, now, by_vu) = (Cell::new(0), Cell::new(0), std::cell::RefCell::default());
        let blocks = self.blocks;
        let sleeper = Rc::new(Sleeper {
            takes: self.takes,
            slow: self.slow,
            by_vu,
            waits: std::cell::RefCell::default(),
            stall,
            blocks,
            most,
            now,
            rows: Cell::new(self.rows),
        });
        let (stop, kill) = (CancellationToken::new(), CancellationToken::new());
        for (token, after) in [(stop.clone(), self.stop_after), (kill.clone(), self.kill_after)] {
            if let Some(after) = after {
                tokio::task::spawn_local(async move {
                    sleep(after).await;
                    token.cancel();
                });
            }
        }
        let controls = Rc::new(Controls::new(std::slice::from_ref(&scenario), self.threads as usize));
        let (decides, decisions) = (controls.clone(), self.decisions.clone());
        tokio::task::spawn_local(async move {
            for decision in decisions {
                sleep_until(start + decision.at.saturating_sub(LEAD)).await;
                decides.decide(0, |course| course.change(decision));
            }
        });
        let mut threads = tokio::task::JoinSet::new();
        let mut shards = Vec::new();
        for index in 0..self.threads {
            let shard = Shard::new(&[], 1, 0);
            shards.push(shard.clone());
            let part = Part { index, count: self.threads };
            let (course, budget) = (controls.follow(0).unwrap(), controls.budget(0));
            let (stop, kill) = (stop.clone(), kill.clone());
            let parts = Drive { scenario: 0, run_start: start, part, shard, course, budget, exact: false, stop, kill };
            let (scenario, sleeper) = (scenario.clone(), sleeper.clone());
            threads.spawn_local(async move { drive(&scenario, Rc::new(sleeper), parts).await });
        }
        while let Some(ended) = threads.join_next().await {
            ended.unwrap();
        }
        let mut whole = Interval::default();
        for shard in &shards {
            whole.merge(&shard.borrow_mut().take(0));
        }
        let figures = whole.scenarios.remove(&0).unwrap_or_default();
        let by_vu = sleeper.by_vu.borrow().values().copied().collect();
        let waits = sleeper.waits.take();
        Played { figures, took: start.elapsed(), most_at_once: sleeper.most.get(), by_vu, waits }
    }
}

fn scenario(executor: Executor) -> Scenario {
    Scenario {
        name: "main".into(),
        executor,
        start_time: Duration::ZERO,
        start_after: None,
        spacing: crate::model::profile::Spacing::default(),
        when_busy: crate::model::profile::WhenBusy::default(),
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
fn what_has_nothing_more_to_work_with_ends_or_is_dropped() {
    let (vus, hour) = (5, Duration::from_secs(3600));
    for threads in [1, 2] {
        for (executor, scheduled, ends_early) in [
            (Executor::ConstantVus { vus, duration: hour }, 12, true),
            (Executor::PerVuIterations { vus, iterations: 10, max_duration: hour }, 50, true),
            (Executor::SharedIterations { vus, iterations: 50, max_duration: hour }, 50, true),
            (rate(10.0, 10, 5, 5), 100, false),
        ] {
            let name = format!("{} on {threads}", executor.name());
            let played = Play { threads, rows: 12, ..Play::default() }.of(&scenario(executor));
            let counts = played.figures.counts;
            assert_eq!((counts.completed, counts.failed, counts.interrupted, counts.unsent), (12, 0, 0, 0), "{name}");
            assert_eq!((counts.scheduled, counts.dropped), (scheduled, scheduled - 12), "{name}");
            assert_eq!(counts.breach(), None, "{name}");
            assert!(!ends_early || played.took < Duration::from_secs(60), "{name} took {:?}", played.took);
        }
    }
}

#[test]
fn constant_vus_loop_until_the_deadline_and_finish() {
    let played = play(&scenario(Executor::ConstantVus { vus: 5, duration: Duration::from_secs(10) }), 300 * MS, CALM, None, None);
    // 34 iterations of 300 ms begin within 10 s; the last ends at 10.2 s.
    assert_eq!((played.figures.counts.started, played.figures.counts.completed), (170, 170));
    assert_eq!((played.took.as_millis(), played.most_at_once), (10_200, 5));
    assert_eq!(played.figures.counts.breach(), None);
}

#[test]
fn pace_is_the_least_time_between_two_starts_of_a_vu() {
    let mut paced = scenario(Executor::ConstantVus { vus: 2, duration: Duration::from_secs(60) });
    paced.pace = Some(Duration::from_secs(30));
    let played = play(&paced, 100 * MS, CALM, None, None);
    assert_eq!(played.figures.counts.completed, 4);
}

#[test]
fn iterations_that_outlive_the_graceful_stop_are_interrupted() {
    let mut short = scenario(Executor::ConstantVus { vus: 3, duration: Duration::from_secs(1) });
    short.graceful_stop = Duration::from_secs(2);
    let played = play(&short, Duration::from_secs(60), CALM, None, None);
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
    let played = play(&ramp, 100 * MS, CALM, None, None);
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
    let played = play(&ramp, Duration::from_secs(10), CALM, None, None);
    // Three VUs are in the middle of 10 s when their 3 s of grace are over; the fourth goes on.
    assert_eq!(played.figures.counts.interrupted, 3);
    assert_eq!(played.figures.counts.breach(), None);
}

#[test]
fn every_vu_does_its_iterations_and_the_scenario_ends_with_the_last() {
    let executor = Executor::PerVuIterations { vus: 5, iterations: 7, max_duration: Duration::from_secs(600) };
    for threads in [1, 3, 8] {
        let played = Play { threads, slow: |vu| vu == 2, ..Play::default() }.of(&scenario(executor.clone()));
        assert_eq!(played.by_vu, [7; 5]);
        assert_eq!((played.figures.counts.completed, played.figures.counts.dropped), (35, 0));
        assert_eq!((played.took.as_millis(), played.most_at_once, played.figures.counts.breach()), (7_000, 5, None));
    }
}

#[test]
fn of_shared_iterations_faster_vus_do_more() {
    let executor = Executor::SharedIterations { vus: 4, iterations: 62, max_duration: Duration::from_secs(600) };
    for threads in [1, 2, 3, 8] {
        let played = Play { threads, slow: |vu| vu == 0, ..Play::default() }.of(&scenario(executor.clone()));
        // In 2 s the slow one does two, each of the others twenty; nothing waits for a VU that is busy.
        assert_eq!((played.by_vu.iter().sum::<u64>(), played.by_vu[0], played.took.as_millis()), (62, 2, 2_000), "{:?}", played.by_vu);
        assert_eq!((played.figures.counts.completed, played.figures.counts.breach()), (62, None));
    }
}

#[test]
fn what_is_not_started_by_the_deadline_is_dropped() {
    let max_duration = Duration::from_secs(3);
    let own = Executor::PerVuIterations { vus: 4, iterations: 10, max_duration };
    let shared = Executor::SharedIterations { vus: 4, iterations: 40, max_duration };
    for executor in [own, shared] {
        for threads in [1, 3, 6] {
            let mut slow = scenario(executor.clone());
            slow.graceful_stop = 500 * MS;
            let played = Play { threads, takes: 1_200 * MS, ..Play::default() }.of(&slow);
            let counts = played.figures.counts;
            // Started at 0, 1.2 and 2.4 s; those of 2.4 s would end at 3.6 s and are cut off at 3.5 s.
            assert_eq!((counts.scheduled, counts.completed, counts.interrupted, counts.dropped), (40, 8, 4, 28));
            assert_eq!((played.took.as_millis(), counts.breach()), (3_500, None));
        }
    }
}

#[test]
fn pace_holds_between_the_iterations_of_a_vu_and_not_after_the_last() {
    let mut paced = scenario(Executor::PerVuIterations { vus: 2, iterations: 3, max_duration: Duration::from_secs(600) });
    paced.pace = Some(Duration::from_secs(10));
    let played = Play::default().of(&paced);
    assert_eq!((played.figures.counts.completed, played.took.as_millis()), (6, 20_100));
}

#[test]
fn an_open_executor_starts_on_the_clock_and_loses_nothing() {
    let played = play(&scenario(rate(50.0, 10, 5, 5)), 20 * MS, CALM, None, None);
    let counts = played.figures.counts;
    assert_eq!((counts.scheduled, counts.completed, counts.dropped, counts.unsent), (500, 500, 0, 0));
}

#[test]
fn what_a_starved_generator_did_not_send_is_counted() {
    // 50 starts a second for 10 s; at the start of second 2 the thread stands still.
    let open = rate(50.0, 10, 5, 50);
    for (still, unsent) in [
        // Beyond the end: what was due meanwhile was never sent.
        (9_000, 399),
        // To just before the end, and to the moment that a timer may be late: it is sent, however late.
        (7_900, 0),
        (8_050, 0),
    ] {
        for threads in [1, 2] {
            let blocks = Some((100, still as u32 * MS));
            let played = Play { threads, takes: MS, blocks, ..Play::default() }.of(&scenario(open.clone()));
            let counts = played.figures.counts;
            assert_eq!(
                (counts.scheduled, counts.unsent, counts.breach()),
                (500, unsent, None),
                "{still} ms, {threads} threads: {counts:?}"
            );
            assert_eq!(counts.started + counts.dropped, 500 - unsent, "{counts:?}");
            // Who is told of these figures sees that it was the generator.
            let lag = played.figures.start_lag.quantile(1.0).unwrap_or_default();
            assert!(unsent > 0 || lag > Duration::from_secs(5), "{lag:?}");
        }
    }
}

#[test]
fn vus_are_made_up_to_the_maximum_then_starts_are_dropped() {
    let played = play(&scenario(rate(10.0, 10, 0, 2)), Duration::from_secs(1), CALM, None, None);
    let counts = played.figures.counts;
    assert_eq!((counts.scheduled, played.most_at_once, counts.breach()), (100, 2, None));
    assert!((18..=22).contains(&counts.started), "{counts:?}");
    assert_eq!(played.figures.dropped_wait.count(), counts.dropped);
}

#[test]
fn a_stall_shows_in_the_response_times_whatever_the_number_of_vus() {
    // 200 starts a second for 20 s, the target stands still from second 10 to 13.
    let p95 = |vus: u64| {
        let played = play(&scenario(rate(200.0, 20, vus, vus)), MS, (10_000, 13_000), None, None);
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
fn a_start_that_finds_no_vu_waits_for_one_where_it_may() {
    // 200 starts a second for 20 s, the target stands still from second 10 to 13; four VUs can do up to 4,000 a second.
    let mut queueing = scenario(rate(200.0, 20, 4, 4));
    queueing.when_busy = WhenBusy::Queue;
    let played = play(&queueing, MS, (10_000, 13_000), None, None);
    let counts = played.figures.counts;
    assert_eq!((counts.scheduled, counts.completed, counts.dropped), (4_000, 4_000, 0));
    let mut waits = played.waits.clone();
    waits.sort_unstable();
    assert_eq!(waits.len(), 4_000);
    // Those that came in the first second of the stall waited at least two, and some that came later waited for their turn besides.
    let long = waits.iter().filter(|wait| **wait >= Duration::from_secs(2)).count();
    assert!((190..=260).contains(&long), "{long}");
    // Waiting for a VU is not the generator's lateness.
    assert!(played.figures.start_lag.quantile(1.0).unwrap() < Duration::from_millis(5));
}

#[test]
fn what_still_waits_at_the_end_never_got_a_vu() {
    let mut queueing = scenario(rate(10.0, 10, 1, 1));
    queueing.when_busy = WhenBusy::Queue;
    let played = play(&queueing, Duration::from_secs(1), CALM, None, None);
    let counts = played.figures.counts;
    assert_eq!((counts.scheduled, counts.started, counts.completed, counts.dropped, counts.unsent), (100, 10, 10, 90, 0));
    assert_eq!(played.figures.dropped_wait.count(), 90);
    // The queue is served in order: the tenth iteration begins at second 9 and was due at 0.9 s.
    assert_eq!(played.waits.last().map(Duration::as_millis), Some(8_100));
}

#[test]
fn what_waits_is_not_started_in_a_pause() {
    let mut queueing = scenario(rate(10.0, 10, 1, 1));
    queueing.when_busy = WhenBusy::Queue;
    let decisions = vec![at(3_000, Mode::Paused, None), at(33_000, Mode::Running, None)];
    let played = Play { takes: Duration::from_secs(1), decisions, ..Play::default() }.of(&queueing);
    let counts = played.figures.counts;
    assert_eq!((counts.scheduled, counts.breach()), (100, None));
    // Three before the pause, seven after it, none in its thirty seconds.
    assert!((9..=11).contains(&counts.started), "{counts:?}");
}

#[test]
fn poisson_starts_lose_nothing_either() {
    let mut random = scenario(rate(100.0, 60, 50, 50));
    random.spacing = Spacing::Poisson { seed: 7 };
    let played = Play { threads: 3, takes: 10 * MS, ..Play::default() }.of(&random);
    let counts = played.figures.counts;
    // 6,000 are expected, give or take four standard deviations.
    assert!((5_690..=6_310).contains(&counts.scheduled), "{counts:?}");
    assert_eq!((counts.completed, counts.breach()), (counts.scheduled, None));
}

#[test]
fn stopping_and_killing_keep_the_books() {
    let stopped = play(&scenario(rate(100.0, 60, 10, 10)), 50 * MS, CALM, Some(Duration::from_millis(5_005)), None);
    assert_eq!((stopped.figures.counts.completed, stopped.figures.counts.breach()), (501, None));
    let long = play(&scenario(rate(100.0, 60, 10, 10)), Duration::from_secs(40), CALM, Some(5 * MS), Some(1_000 * MS));
    assert_eq!((long.figures.counts.interrupted, long.took.as_millis()), (1, 1_000));
}

#[test]
fn nothing_starts_in_a_pause_and_nothing_is_lost_by_it() {
    // Ten seconds of load with a pause of half a minute in the middle of it.
    let decisions = vec![at(5_000, Mode::Paused, None), at(35_000, Mode::Running, None)];
    let mut paced = scenario(Executor::ConstantVus { vus: 3, duration: Duration::from_secs(10) });
    paced.pace = Some(2 * 400 * MS);
    for (scenario, expected) in [
        (scenario(rate(20.0, 10, 9, 9)), 200),
        (scenario(Executor::ConstantVus { vus: 3, duration: Duration::from_secs(10) }), 3 * 25),
        (paced, 3 * 13),
        (scenario(Executor::SharedIterations { vus: 2, iterations: 37, max_duration: Duration::from_secs(600) }), 37),
    ] {
        for threads in [1, 2] {
            let played = Play { threads, takes: 400 * MS, decisions: decisions.clone(), ..Play::default() }.of(&scenario);
            let counts = played.figures.counts;
            // A VU whose iteration went on when the pause began starts again with its end, not in step.
            assert!(counts.completed.abs_diff(expected) <= 3, "{counts:?}, expected {expected}");
            assert_eq!((counts.dropped, counts.unsent, counts.interrupted, counts.breach()), (0, 0, 0, None));
            assert!(played.took >= Duration::from_secs(37), "{:?}", played.took);
            // What was due in the pause was not due: nobody is late for it.
            assert!(played.figures.start_lag.max().unwrap() < 10 * MS, "{:?}", played.figures.start_lag.max());
        }
    }
}

#[test]
fn a_scenario_that_is_held_goes_on_until_it_is_resumed() {
    let decisions = vec![at(5_000, Mode::Held, None), at(25_000, Mode::Running, None)];
    let stages = vec![Stage { duration: Duration::from_secs(10), target: 10.0, name: None }];
    let ramp = scenario(Executor::RampingVus { start_vus: 0, stages: stages.clone(), graceful_ramp_down: Duration::ZERO });
    let played = Play { threads: 2, decisions: decisions.clone(), ..Play::default() }.of(&ramp);
    // Five VUs for twenty seconds more than the area of the ramp.
    assert!((1_440..=1_560).contains(&played.figures.counts.completed), "{:?}", played.figures.counts);
    assert_eq!((played.most_at_once, played.took.as_secs(), played.figures.counts.breach()), (9, 30, None));
    let vus = VuPool { pre_allocated: 4, max: 4 };
    let ramp = scenario(Executor::RampingArrivalRate { start_rate: Rate::per_second(0.0), stages, vus });
    let played = Play { threads: 2, decisions, ..Play::default() }.of(&ramp);
    assert_eq!((played.figures.counts.completed, played.figures.counts.breach()), (150, None));
}

#[test]
fn the_load_is_scaled_while_it_goes_on() {
    let decisions =
        vec![at(2_000, Mode::Running, Some(Scale::Factor(2.0))), at(4_000, Mode::Running, Some(Scale::Rate(Rate::per_second(5.0))))];
    let played = Play { threads: 3, decisions, ..Play::default() }.of(&scenario(rate(10.0, 10, 9, 9)));
    assert_eq!(played.figures.counts.completed, 20 + 40 + 30);
    let mut users = scenario(Executor::ConstantVus { vus: 2, duration: Duration::from_secs(10) });
    users.graceful_stop = Duration::from_secs(3);
    let decisions = vec![at(2_000, Mode::Running, Some(Scale::Vus(8))), at(6_000, Mode::Running, Some(Scale::Vus(1)))];
    let played = Play { threads: 3, takes: Duration::from_secs(1), decisions, ..Play::default() }.of(&users);
    // Those who are too many finish their iteration: none is cut off.
    assert_eq!((played.figures.counts.completed, played.most_at_once), (2 * 2 + 8 * 4 + 4, 8));
    assert_eq!((played.figures.counts.interrupted, played.figures.counts.breach()), (0, None));
}

#[test]
fn iterations_of_ones_own_wait_for_their_vu() {
    let executor = Executor::PerVuIterations { vus: 4, iterations: 10, max_duration: Duration::from_secs(600) };
    let decisions = vec![at(450, Mode::Running, Some(Scale::Vus(1))), at(60_000, Mode::Running, None)];
    let played = Play { threads: 2, decisions, ..Play::default() }.of(&scenario(executor));
    assert_eq!((played.by_vu, played.figures.counts.dropped), (vec![10; 4], 0));
    assert_eq!((played.took.as_millis(), played.figures.counts.breach()), (60_500, None));
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
fn few_vus_stay_together_and_take_every_start() {
    for (threads, vus, takers) in [(4, 0, 1), (4, 1, 1), (4, 5, 1), (4, 15, 1), (4, 16, 2), (4, 31, 3), (4, 32, 4), (2, 50, 2), (1, 50, 1)]
    {
        for scenario in 0..9 {
            let of = |index| Part { index, count: threads }.of_starts(vus, scenario);
            let mut parts: Vec<Part> = (0..threads).filter_map(of).collect();
            assert_eq!(parts.len(), takers, "{vus} VUs on {threads} threads");
            assert_eq!(of((threads - u64::from(scenario) % threads) % threads).map(|part| part.index), Some(0), "scenarios take turns");
            parts.sort_by_key(|part| part.index);
            let shares: Vec<u64> = parts.iter().map(|part| part.share(vus)).collect();
            assert_eq!(shares.iter().sum::<u64>(), vus);
            assert!(shares[0] - shares[takers - 1] <= 1 && shares[takers - 1] >= vus.min(FEWEST_VUS), "{shares:?}");
            let mut starts: Vec<u64> = parts.iter().flat_map(|part| (0..part.share(100)).map(|local| part.number(local))).collect();
            starts.sort_unstable();
            assert_eq!(starts, (0..100).collect::<Vec<_>>());
        }
    }
}

/// At most four of the five VUs are busy at a time, on however many threads.
#[test]
fn no_start_is_dropped_while_a_vu_is_free() {
    for threads in 1..=6 {
        let played = Play { threads, slow: |vu| vu % 2 == 1, ..Play::default() }.of(&scenario(rate(10.0, 10, 5, 5)));
        let counts = played.figures.counts;
        assert_eq!((counts.completed, counts.dropped, counts.breach()), (100, 0, None), "{threads} threads");
    }
}

/// A staircase that nobody judges, of the targets of these stages.
fn stairs(unit: StairUnit, stages: &[Stage], ramp_ms: u64) -> Executor {
    let mut levels: Vec<f64> = stages.iter().map(|stage| stage.target + 1.0).collect();
    levels.sort_by(f64::total_cmp);
    levels.dedup();
    Executor::Staircase(Box::new(Staircase {
        unit,
        levels,
        hold: Duration::from_secs(2),
        ramp: Duration::from_millis(ramp_ms),
        rest: Duration::ZERO,
        gate: Vec::new(),
        stop_on_fail: true,
        resolution: None,
        must_reach: None,
    }))
}

/// Random decisions, ascending in time; the last makes the scenario go on, or it would never end.
fn decisions() -> impl Strategy<Value = Vec<Change>> {
    let mode = prop_oneof![2 => Just(Mode::Running), 1 => Just(Mode::Held), 1 => Just(Mode::Paused)];
    let scale = prop_oneof![
        2 => Just(None),
        1 => (0.1..3.0_f64).prop_map(|factor| Some(Scale::Factor(factor))),
        1 => (0.5..40.0_f64).prop_map(|rate| Some(Scale::Rate(Rate::per_second(rate)))),
        1 => (0_u64..30).prop_map(|vus| Some(Scale::Vus(vus))),
    ];
    prop::collection::vec((1_u64..4_000, mode, scale), 0..6).prop_map(|decisions| {
        let mut time = 0;
        let mut decisions: Vec<Change> = decisions
            .into_iter()
            .map(|(after, mode, scale)| {
                time += after;
                at(time, mode, scale)
            })
            .collect();
        if let Some(last) = decisions.last().copied() {
            decisions.push(Change { at: last.at + MS * 700, mode: Mode::Running, ..last });
        }
        decisions
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn nothing_vanishes_whatever_the_profile(
        kind in 0..9,
        decisions in decisions(),
        threads in 1_u64..4,
        iterations in 0_u64..60,
        stages in prop::collection::vec((0_u64..6, 0_u32..40), 1..4),
        first in 0_u32..20,
        pre in 0_u64..5,
        more in 0_u64..20,
        takes in 1_u64..3_000,
        grace in 0_u64..3_000,
        stop in prop::option::of(1_u64..9_000),
        kill in prop::option::of(1_u64..9_000),
        stall in (0_u64..5_000, 0_u64..9_000),
        (queue, poisson) in (any::<bool>(), any::<bool>()),
        blocks in prop::option::of((0_u64..80, 1_u64..9_000)),
    ) {
        let stages: Vec<Stage> = stages.into_iter()
            .map(|(seconds, target)| Stage { duration: Duration::from_secs(seconds), target: f64::from(target), name: None })
            .collect();
        let planned = match kind {
            2 => Some(u64::from(first) * (iterations / 4)),
            3 => Some(u64::from(first) + iterations),
            _ => None,
        };
        let max_duration: Duration = stages.iter().map(|stage| stage.duration).sum();
        let vus = u64::from(first);
        let executor = match kind {
            0 => {
                let vus = VuPool { pre_allocated: pre, max: pre + more };
                Executor::RampingArrivalRate { start_rate: Rate::per_second(f64::from(first)), stages, vus }
            }
            1 => Executor::RampingVus { start_vus: vus, stages, graceful_ramp_down: Duration::from_millis(grace) },
            2 => Executor::PerVuIterations { vus, iterations: iterations / 4, max_duration },
            4 => Executor::ConstantVus { vus, duration: max_duration },
            6 => Executor::ExternallyControlled { vus, max_vus: vus + more, duration: max_duration },
            7 => stairs(StairUnit::Vus, &stages, takes),
            8 => stairs(StairUnit::Rate { per: Duration::from_secs(1), vus: VuPool { pre_allocated: pre, max: pre + more } }, &stages, takes),
            5 => rate(f64::from(first) + 0.5, max_duration.as_secs(), pre, pre + more),
            _ => Executor::SharedIterations { vus, iterations: vus + iterations, max_duration },
        };
        let mut random = scenario(executor);
        random.when_busy = if queue { WhenBusy::Queue } else { WhenBusy::Drop };
        random.spacing = if poisson { Spacing::Poisson { seed: stall.0 } } else { Spacing::Even };
        random.graceful_stop = Duration::from_millis(grace);
        let ms = Duration::from_millis;
        // Decisions are told in time; a thread that stands still would hear them late, which the clock of a run does not let happen.
        let decisions = if blocks.is_some() { Vec::new() } else { decisions };
        let (stop_after, kill_after) = (stop.map(ms), kill.map(ms));
        let played = Play { threads, takes: ms(takes), slow: |vu| vu % 3 == 1, stall, blocks: blocks.map(|(number, still)| (number, ms(still))), stop_after, kill_after, decisions, rows: u64::MAX }.of(&random);
        prop_assert_eq!(played.figures.counts.breach(), None);
        match planned {
            // Every iteration that was asked for is accounted for, whatever ended the scenario.
            Some(planned) => prop_assert_eq!(played.figures.counts.scheduled, planned),
            None => prop_assert_eq!(played.figures.dropped_wait.count(), played.figures.counts.dropped),
        }
        prop_assert_eq!((played.figures.vus, played.figures.vus_busy), (0, 0));
    }
}
