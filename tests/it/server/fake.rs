//! A store in memory that holds the sample run, an engine that answers by hand, and a client that shows every byte.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use plimsoll::clock::TestClock;
use plimsoll::engine::alerting::AlertWish;
use plimsoll::engine::handle::{Command, EngineHandle, EngineStatus, LiveRun, NextFire, Refusal};
use plimsoll::engine::setup::{Setup, TargetSetup};
use plimsoll::engine::steer::Steer;
use plimsoll::metrics::Metrics;
use plimsoll::model::Labels;
use plimsoll::model::alerting::{AlertInstance, AlertState, OutboxState, Outgoing, Transition};
use plimsoll::model::audit::{Deed, DeedKind};
use plimsoll::model::capture::Captured;
use plimsoll::model::channel::ChannelHealth;
use plimsoll::model::control::{Action, ControlEntry, Standstill};
use plimsoll::model::finding::Finding;
use plimsoll::model::history::{Deploy, NightNumbers, PastRun, Pinned};
use plimsoll::model::measure::Interval;
use plimsoll::model::muting::{AlertThread, Matcher, Silence, show_matchers};
use plimsoll::model::profile::{Executor, Limits, Profile, Scenario, Target};
use plimsoll::model::request::{HttpOptions, TlsOptions};
use plimsoll::model::retention::{KeptRun, Pin, Removal};
use plimsoll::model::rollup::{Figures, ReadingRoll, Resolution, Rolled, roll_up};
use plimsoll::model::run::{Run, RunId};
use plimsoll::model::schedule::{Missed, Overlap, Schedule, Tick, TickOutcome};
use plimsoll::model::series::Reading;
use plimsoll::model::units::Timestamp;
use plimsoll::probe::{Probe, ProbeParts, ProbeSettings, ProbeSpec};
use plimsoll::server::{ServerParts, serve};
use plimsoll::store::{
    AlertChange, Archive, Audit, Batch, FigureQuery, Kept, Loading, OutboxStats, Owner, Ownership, ReadingFilter, ReadingQuery,
    ReadingSeries, ReadingSpan, Returned, RunFilter, Seen, SeriesBatch, Settlement, Store, StoreError, StoreResult, Telling, Window,
};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::sample;
use crate::servers::http::{Answer, ask};

pub(crate) const TOKEN: &str = "a-token-for-tests";

/// A store that holds what it is given and can be taken away.
#[derive(Default)]
pub(crate) struct FakeStore {
    pub(crate) runs: Mutex<Vec<Run>>,
    pub(crate) gone: AtomicBool,
    pub(crate) filters: Mutex<Vec<RunFilter>>,
    /// Readings besides those of the sample run.
    pub(crate) extra: Mutex<Vec<Reading>>,
}

impl FakeStore {
    fn here<T>(&self, value: T) -> StoreResult<T> {
        if self.gone.load(Ordering::SeqCst) { Err(StoreError::Gone("postgres://user:hunter2@db is away".into())) } else { Ok(value) }
    }
}

/// Nothing is silenced, nothing waits.
#[async_trait]
impl Telling for FakeStore {
    async fn alert_threads(&self) -> StoreResult<Vec<AlertThread>> {
        self.here(Vec::new())
    }
    async fn silences(&self, _after: Timestamp) -> StoreResult<Vec<Silence>> {
        self.here(vec![silence()])
    }
    async fn save_silence(&self, _silence: &Silence) -> StoreResult<()> {
        unreachable!("the server never writes")
    }
    async fn due_channels(&self, _now: Timestamp) -> StoreResult<Vec<String>> {
        unreachable!("the server sends nothing")
    }
    async fn lease_for(&self, _channel: &str, _now: Timestamp, _lease: Duration, _limit: u32) -> StoreResult<Vec<Outgoing>> {
        unreachable!("the server sends nothing")
    }
    async fn keep_lease(&self, _id: &str, _now: Timestamp, _lease: Duration) -> StoreResult<bool> {
        unreachable!("the server sends nothing")
    }
    async fn messages_of(&self, _incident: &str, _channel: &str) -> StoreResult<Vec<Outgoing>> {
        unreachable!("the server sends nothing")
    }
    async fn posted(&self, _channel: &str, _incident: &str) -> StoreResult<Option<String>> {
        unreachable!("the server sends nothing")
    }
    async fn keep_posted(&self, _channel: &str, _incident: &str, _kept: &str, _now: Timestamp) -> StoreResult<()> {
        unreachable!("the server sends nothing")
    }
    async fn merge_messages(&self, _whole: &Outgoing, _replaced: &[String], _now: Timestamp, _lease: Duration) -> StoreResult<bool> {
        unreachable!("the server sends nothing")
    }
}

/// Two things were done.
#[async_trait]
impl Audit for FakeStore {
    async fn channel_health(&self) -> StoreResult<Vec<ChannelHealth>> {
        unreachable!("the server asks the engine")
    }
    async fn save_channel_health(&self, _health: &ChannelHealth) -> StoreResult<()> {
        unreachable!("the server never writes")
    }
    async fn record_deed(&self, _deed: &Deed) -> StoreResult<()> {
        unreachable!("the server never writes")
    }
    async fn deeds(&self, _limit: u32) -> StoreResult<Vec<Deed>> {
        let deed = |what, object: &str, refused: Option<&str>| Deed {
            at: sample::START,
            by: "api token ci".into(),
            what,
            object: object.into(),
            detail: "<team>=\"shop\"".into(),
            refused: refused.map(str::to_owned),
        };
        self.here(vec![deed(DeedKind::SilenceAdd, "1a2b3c4d", None), deed(DeedKind::RunStart, "busy", Some("shop is being loaded"))])
    }
}

/// Seconds as they are; nothing is rolled up.
#[async_trait]
impl Archive for FakeStore {
    async fn roll_up(&self, _pieces: u32) -> StoreResult<u32> {
        unreachable!("the server never writes")
    }
    async fn kept(&self, _run: &RunId) -> StoreResult<Option<Kept>> {
        self.here(Some(Kept { finest: Some(Resolution::Second), rolled_seconds: 0 }))
    }
    async fn figures(&self, query: &FigureQuery) -> StoreResult<Vec<Figures>> {
        let spans = self.rolled(&query.run, query.resolution, query.from, query.to).await?;
        Ok(spans.iter().map(|span| span.figures(&sample::finished().catalog, query.step)).collect())
    }
    async fn reading_series(&self, query: &ReadingQuery) -> StoreResult<Vec<ReadingSeries>> {
        let mut all: BTreeMap<(String, Labels), Vec<ReadingSpan>> = BTreeMap::new();
        let filter = ReadingFilter { metric: Some(query.metric.clone()), ..ReadingFilter::default() };
        for reading in self.readings(&filter).await? {
            let (Some(second), Ok(points)) = (reading.second, reading.points) else { continue };
            if second < query.resolution.floor(query.from) || second >= query.to {
                continue;
            }
            let second = query.resolution.floor(second);
            for point in points {
                let spans = all.entry((reading.probe.clone(), point.labels)).or_default();
                match spans.last_mut() {
                    Some(span) if span.second == second => span.roll.follow(&ReadingRoll::one(point.value)),
                    _ => spans.push(ReadingSpan { second, roll: ReadingRoll::one(point.value) }),
                }
            }
        }
        Ok(all.into_iter().map(|((probe, labels), spans)| ReadingSeries { probe, labels, spans }).collect())
    }
    async fn rolled(&self, run: &RunId, resolution: Resolution, from: u32, to: u32) -> StoreResult<Vec<Rolled>> {
        let seconds = self.intervals(run, resolution.floor(from), to).await?;
        Ok(roll_up(seconds.into_iter().map(Rolled::from), resolution))
    }
    async fn merged(&self, _run: &RunId, _from: u32, _to: u32) -> StoreResult<Option<Window>> {
        unreachable!("no page asks for a window")
    }
    async fn kept_runs(&self, _after: Option<&RunId>, _limit: u32) -> StoreResult<Vec<KeptRun>> {
        unreachable!("the server plans no retention")
    }
    async fn pin(&self, _run: &RunId, _pin: Option<Pin>) -> StoreResult<bool> {
        unreachable!("the server never writes")
    }
    async fn pinned(&self, _run: &RunId) -> StoreResult<Option<Pin>> {
        self.here(None)
    }
    async fn remove(&self, _removal: &Removal) -> StoreResult<Batch> {
        unreachable!("the server never writes")
    }
    async fn prepare_partitions(&self, _now: Timestamp) -> StoreResult<u64> {
        unreachable!("the server never writes")
    }
    async fn drop_partitions(&self, _plan: &[Removal]) -> StoreResult<u64> {
        unreachable!("the server never writes")
    }
    async fn give_back(&self) -> StoreResult<Returned> {
        unreachable!("the server never writes")
    }
    async fn compact(&self) -> StoreResult<()> {
        unreachable!("the server never writes")
    }
}

#[async_trait]
impl Ownership for FakeStore {
    async fn enlist(&self, _owner: &Owner) -> StoreResult<()> {
        unreachable!("the server owns nothing")
    }
    async fn beat(&self) -> StoreResult<()> {
        unreachable!("the server owns nothing")
    }
    async fn owners(&self) -> StoreResult<Vec<Seen>> {
        self.here(Vec::new())
    }
    async fn dismiss(&self, _gone: &[(String, Timestamp)]) -> StoreResult<usize> {
        unreachable!("the server owns nothing")
    }
    async fn resign(&self) -> StoreResult<()> {
        unreachable!("the server owns nothing")
    }
    async fn hold(&self, _lease: &str) -> StoreResult<Option<Owner>> {
        unreachable!("the server owns nothing")
    }
    async fn release(&self, _lease: &str) -> StoreResult<()> {
        unreachable!("the server owns nothing")
    }
    async fn loads(&self, _owner: &str) -> StoreResult<Vec<Loading>> {
        self.here(Vec::new())
    }
    async fn start_due(&self, _run: &Run, _tick: &Tick) -> StoreResult<()> {
        unreachable!("the server never writes")
    }
    async fn end_run(&self, _run: &Run, _methods: &[&str], _findings: &[Finding]) -> StoreResult<()> {
        unreachable!("the server never writes")
    }
}

#[async_trait]
impl Store for FakeStore {
    async fn ping(&self) -> StoreResult<()> {
        self.here(())
    }
    async fn start_run(&self, _run: &Run) -> StoreResult<()> {
        unreachable!("the server never writes")
    }
    async fn load_begins(&self, _run: &RunId, _at: Timestamp) -> StoreResult<()> {
        unreachable!("the server begins no load")
    }
    async fn update_run(&self, _run: &Run) -> StoreResult<()> {
        unreachable!("the server never writes")
    }
    async fn interrupt_orphans(&self, _at: Timestamp) -> StoreResult<Vec<RunId>> {
        unreachable!("the server never writes")
    }
    async fn run(&self, id: &str) -> StoreResult<Option<Run>> {
        let runs = self.runs.lock().unwrap();
        self.here(runs.iter().find(|run| run.id.0 == id || (id == "last") || run.id.0.ends_with(id)).cloned())
    }
    async fn runs(&self, filter: &RunFilter) -> StoreResult<Vec<Run>> {
        self.filters.lock().unwrap().push(filter.clone());
        let runs = self.runs.lock().unwrap();
        let wanted = |run: &&Run| filter.profile.as_ref().is_none_or(|profile| *profile == run.profile);
        self.here(runs.iter().filter(wanted).take(filter.limit as usize).cloned().collect())
    }
    async fn append(&self, _batch: &SeriesBatch) -> StoreResult<()> {
        unreachable!("the server never writes")
    }
    async fn intervals(&self, _run: &RunId, from: u32, to: u32) -> StoreResult<Vec<Interval>> {
        self.here((from..to.min(sample::SECONDS)).filter(|second| *second != 20).map(sample::interval).collect())
    }
    async fn readings(&self, filter: &ReadingFilter) -> StoreResult<Vec<Reading>> {
        let mut all: Vec<Reading> = (0..sample::SECONDS).flat_map(sample::readings).collect();
        all.extend(self.extra.lock().unwrap().iter().cloned());
        for reading in &mut all {
            if let (Some(metric), Ok(points)) = (&filter.metric, &mut reading.points) {
                points.retain(|point| point.metric == *metric);
            }
        }
        self.here(all)
    }
    async fn save_findings(&self, _run: &RunId, _findings: &[Finding]) -> StoreResult<()> {
        unreachable!("the server never writes")
    }
    async fn replace_findings(&self, _run: &RunId, _methods: &[&str], _findings: &[Finding]) -> StoreResult<()> {
        unreachable!("the server never writes")
    }
    async fn findings(&self, _run: Option<&RunId>, _limit: u32) -> StoreResult<Vec<Finding>> {
        self.here(sample::findings())
    }
    async fn record_tick(&self, _tick: &Tick) -> StoreResult<()> {
        unreachable!("the server never writes")
    }
    async fn ticks(&self, schedule: Option<&str>, _limit: u32) -> StoreResult<Vec<Tick>> {
        self.here(vec![Tick {
            schedule: schedule.unwrap_or("nightly").into(),
            profile: "checkout".into(),
            due: sample::START,
            decided: sample::START,
            outcome: TickOutcome::Skipped,
            reason: "shop was being loaded by another run".into(),
            run: None,
        }])
    }
    async fn save_night(&self, _run: &RunId, _numbers: &NightNumbers) -> StoreResult<()> {
        unreachable!("the server never writes")
    }
    async fn past_runs(&self, profile: &str, _before: Option<Timestamp>, _limit: u32) -> StoreResult<Vec<PastRun>> {
        let runs = self.runs.lock().unwrap();
        self.here(runs.iter().filter(|run| run.profile == profile).map(PastRun::of).collect())
    }
    async fn record_deploy(&self, _deploy: &Deploy) -> StoreResult<()> {
        unreachable!("the server never writes")
    }
    async fn deploys(&self, _target: Option<&str>, _limit: u32) -> StoreResult<Vec<Deploy>> {
        self.here(vec![Deploy { target: "shop".into(), version: "1.5.0".into(), at: sample::START, by: "ci".into() }])
    }
    async fn pin_baseline(&self, _pinned: &Pinned) -> StoreResult<()> {
        unreachable!("the server never writes")
    }
    async fn unpin_baseline(&self, _profile: &str) -> StoreResult<bool> {
        unreachable!("the server never writes")
    }
    async fn save_capture(&self, _run: &RunId, _captured: &Captured, _content: Option<&[u8]>) -> StoreResult<()> {
        Ok(())
    }
    async fn captures(&self, _run: &RunId) -> StoreResult<Vec<Captured>> {
        Ok(vec![captured()])
    }
    async fn capture(&self, _run: &RunId, number: u32) -> StoreResult<Option<(Captured, Vec<u8>)>> {
        Ok((number == 1).then(|| (captured(), b"profile".to_vec())))
    }
    async fn baseline(&self, _profile: &str) -> StoreResult<Option<Pinned>> {
        self.here(None)
    }
    async fn standstill(&self) -> StoreResult<Option<Standstill>> {
        self.here(None)
    }
    async fn set_standstill(&self, _standstill: Option<&Standstill>) -> StoreResult<()> {
        unreachable!("the server never writes")
    }
    async fn last_stop(&self) -> StoreResult<Option<Standstill>> {
        self.here(None)
    }
    async fn record_stop(&self, _stop: &Standstill) -> StoreResult<()> {
        unreachable!("the server never writes")
    }
    async fn alerts(&self) -> StoreResult<Vec<AlertInstance>> {
        self.here(vec![sample::alert()])
    }
    async fn commit_alerts(&self, _change: &AlertChange) -> StoreResult<()> {
        unreachable!("the server never writes")
    }
    async fn transitions(&self, _fingerprint: Option<&str>, _limit: u32) -> StoreResult<Vec<Transition>> {
        self.here(vec![Transition {
            fingerprint: sample::alert().fingerprint,
            rule: "pool-nearly-full".into(),
            incident: Some("inc-1".into()),
            from: AlertState::Pending,
            to: AlertState::Firing,
            at: sample::START,
            reason: "pool_utilization max 100 % > 80 % for 12s".into(),
            value: Some(1.0),
        }])
    }
    async fn lease_messages(&self, _now: Timestamp, _lease: Duration, _limit: u32) -> StoreResult<Vec<Outgoing>> {
        unreachable!("the server never writes")
    }
    async fn settle_message(&self, _settlement: &Settlement) -> StoreResult<()> {
        unreachable!("the server never writes")
    }
    async fn messages(&self, _state: Option<OutboxState>, _limit: u32) -> StoreResult<Vec<Outgoing>> {
        self.here(Vec::new())
    }
    async fn told(&self, _channel: &str, _since: Timestamp) -> StoreResult<Vec<Outgoing>> {
        unreachable!("the server sends nothing")
    }
    async fn outbox_stats(&self) -> StoreResult<OutboxStats> {
        self.here(OutboxStats { waiting: 1, oldest: Some(sample::START) })
    }
}

#[derive(Debug)]
struct PageProbe;

impl ProbeSettings for PageProbe {
    fn open(&self, _parts: &ProbeParts) -> Box<dyn Probe> {
        unreachable!("the server opens no probes")
    }
    fn describe(&self) -> String {
        "http://127.0.0.1:8080/metrics".into()
    }
}

/// A configuration with one of everything, and secrets that must not show.
pub(crate) fn setup() -> Setup {
    let target = Target {
        name: "shop".into(),
        base_url: Some("http://ops:hunter2@127.0.0.1:8080/api?key=hunter2".parse().unwrap()),
        environment: "staging".into(),
        allow: vec!["127.0.0.1:8080".into()],
        limits: Limits { vus: Some(100), ..Limits::default() },
        version: None,
        tls: TlsOptions::default(),
    };
    let executor = Executor::ConstantVus { vus: 60, duration: Duration::from_secs(40) };
    let scenario = Scenario {
        name: "shoppers".into(),
        executor,
        start_time: Duration::ZERO,
        start_after: None,
        spacing: plimsoll::model::profile::Spacing::default(),
        when_busy: plimsoll::model::profile::WhenBusy::default(),
        graceful_stop: Duration::from_secs(5),
        pace: None,
        tags: BTreeMap::new(),
        data: Vec::new(),
        http: HttpOptions::default(),
        flow: Vec::new(),
    };
    let profile = Profile {
        name: "checkout".into(),
        target: "shop".into(),
        description: Some("browse and buy".into()),
        allow_production: false,
        http: plimsoll::model::request::HttpOptions::default(),
        seed: None,
        setup: Vec::new(),
        teardown: Vec::new(),
        tokens: Vec::new(),
        scenarios: vec![scenario],
        thresholds: Vec::new(),
        max_undelivered: 0.0,
        digest: "5f1c".into(),
        notes: Vec::new(),
    };
    let schedule = Schedule {
        name: "nightly".into(),
        profile: "checkout".into(),
        cron: "0 2 * * *".into(),
        timezone: chrono_tz::Europe::Zurich,
        jitter: Duration::ZERO,
        overlap: Overlap::Skip,
        missed: Missed::RunWithin(Duration::from_secs(3600)),
        run_at_start: false,
    };
    let probes = vec![ProbeSpec { name: "metrics".into(), kind: "prometheus", settings: Arc::new(PageProbe) }];
    let mut setup = Setup::default();
    setup.targets.insert(
        "shop".into(),
        TargetSetup { target, production: Vec::new(), probes, guards: Vec::new(), idle_interval: Duration::from_secs(15) },
    );
    setup.profiles.insert("checkout".into(), profile);
    setup.schedules.insert("nightly".into(), schedule);
    setup.server.tokens = vec![("other".into(), [7; 32]), ("ci".into(), Sha256::digest(TOKEN.as_bytes()).into())];
    setup
}

/// An engine in the middle of things: a run at second 25, an alert, a schedule.
pub(crate) fn busy() -> EngineStatus {
    let run = sample::running();
    EngineStatus {
        setup: Arc::new(setup()),
        started_at: sample::START.minus(Duration::from_secs(7200)),
        running: vec![LiveRun {
            id: RunId("20261121-030000-checkout-m2q9".into()),
            profile: run.profile,
            target: run.target,
            started_at: sample::START,
            progress: Some(sample::progress(25)),
            steered: "held, scaled to 30 VUs".into(),
        }],
        queued: vec!["soak".into()],
        next: vec![NextFire {
            schedule: "nightly".into(),
            profile: "checkout".into(),
            cron: "0 2 * * * Europe/Zurich".into(),
            at: Some(sample::START.plus(Duration::from_secs(86_400 - 3600))),
        }],
        alerts: vec![sample::alert()],
        storage_error: None,
        scheduler_tick: Some(sample::START.plus(Duration::from_secs(44))),
        last_reload: None,
        outbox_waiting: 1,
        channels: Vec::new(),
        stopping: false,
        standstill: None,
        standing_by: None,
        lost: plimsoll::model::storage::Lost::default(),
    }
}

/// A server on a free port with its parts in our hands; stops when dropped.
pub(crate) struct Served {
    pub(crate) address: std::net::SocketAddr,
    pub(crate) store: Arc<FakeStore>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) status: watch::Sender<Arc<EngineStatus>>,
    /// What the engine was asked.
    pub(crate) asked: Arc<Mutex<Vec<String>>>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) tasks: JoinSet<()>,
}

impl Served {
    pub(crate) async fn start() -> Self {
        let store = Arc::new(FakeStore::default());
        store.runs.lock().unwrap().push(sample::finished());
        let metrics = Arc::new(Metrics::new());
        let (status, watched) = watch::channel(Arc::new(busy()));
        let (commands, mut asking) = mpsc::channel(8);
        let (events, _) = broadcast::channel(8);
        let asked = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        let log = asked.clone();
        tasks.spawn(async move {
            while let Some(command) = asking.recv().await {
                answer(command, &log);
            }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let clock = TestClock::at(sample::START.plus(Duration::from_secs(45)));
        let engine = EngineHandle::new(commands, watched, events);
        let parts = ServerParts { store: store.clone(), engine, metrics: metrics.clone(), clock };
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        tasks.spawn(async move { serve(listener, parts, stop).await.unwrap() });
        Self { address, store, metrics, status, asked, shutdown, tasks }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "", "").await
    }

    /// Sends a request with these further header lines (each with its line end) and shows the answer.
    pub(crate) async fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        ask(self.address, method, path, headers, body).await
    }
}

fn answer_wish(wish: AlertWish, log: &Mutex<Vec<String>>) {
    match wish {
        AlertWish::Silence(silence, answer) => {
            let _ = answer.send(silence.check(sample::START).map_err(Refusal::BadRequest).map(|()| (*silence).clone()));
            log.lock().unwrap().push(format!("silence {} {}", show_matchers(&silence.matchers), silence.author));
        }
        AlertWish::Expire(id, by, answer) => {
            let known = (id == "3f9a2c1d").then(silence);
            let _ = answer.send(known.ok_or_else(|| Refusal::Unknown(format!("there is no silence `{id}`"))));
            log.lock().unwrap().push(format!("expire {id} {by}"));
        }
        AlertWish::Acknowledge(incident, ack, answer) => {
            let _ = answer.send(Ok(vec![incident.clone()]));
            log.lock().unwrap().push(format!("acknowledge {incident} {} {}", ack.by, ack.comment));
        }
    }
}

fn answer(command: Command, log: &Mutex<Vec<String>>) {
    match command {
        Command::Start(profile, trigger, answer) => {
            log.lock().unwrap().push(format!("start {profile} by {} {}", trigger.by, trigger.name.unwrap_or_default()));
            let _ = answer.send(match profile.as_str() {
                "checkout" => Ok(RunId("20261121-020100-checkout-aaaa".into())),
                "busy" => Err(Refusal::NotNow("shop is being loaded".into())),
                _ => Err(Refusal::Unknown(format!("there is no profile `{profile}`"))),
            });
        }
        Command::Cancel(id, by, answer) => {
            log.lock().unwrap().push(format!("cancel {id} by {by}"));
            let _ = answer.send(Ok(()));
        }
        Command::Control(id, steer, answer) => {
            let Steer { action, scale, scenario, by } = steer;
            let entry = ControlEntry { at: sample::START, second: 26.1, by, action, scale, scenario };
            log.lock().unwrap().push(format!("{} of {id} by {}", entry.what(), entry.by));
            let refused = entry.action == Action::Hold;
            let _ = answer.send(if refused { Err(Refusal::NotNow("that is how it is already".into())) } else { Ok(entry) });
        }
        Command::StopAll(by, hold, answer) => {
            log.lock().unwrap().push(format!("stop all by {by}, hold {hold}"));
            let _ = answer.send(Ok(vec![RunId("20261121-030000-checkout-m2q9".into())]));
        }
        Command::Resume(by, answer) => {
            log.lock().unwrap().push(format!("resume by {by}"));
            let _ = answer.send(Ok(()));
        }
        Command::Analyse(_, answer) => {
            let _ = answer.send(Ok(0));
        }
        Command::Deploy(deploy, answer) => {
            log.lock().unwrap().push(format!("deploy {} to {} by {}", deploy.version, deploy.target, deploy.by));
            let _ = answer.send(Ok(()));
        }
        Command::Pin(profile, pinned, answer) => {
            log.lock().unwrap().push(format!("pin {profile} {}", pinned.map_or("nothing".into(), |pinned| pinned.run.0)));
            let _ = answer.send(Ok(()));
        }
        Command::Suite(suite, trigger, answer) => {
            log.lock().unwrap().push(format!("suite {suite} by {} {}", trigger.by, trigger.name.unwrap_or_default()));
            let _ = answer.send(match suite.as_str() {
                "battery" => Ok(vec!["checkout".into(), "cache".into()]),
                _ => Err(Refusal::Unknown(format!("there is no suite `{suite}`"))),
            });
        }
        Command::Keep(id, pin, answer) => {
            log.lock().unwrap().push(format!("keep {id} {}", pin.map_or("no longer", Pin::as_str)));
            let _ = answer.send(Ok(()));
        }
        Command::Alerting(wish) => answer_wish(wish, log),
        Command::Rerun(_, _, answer) => {
            let _ = answer.send(Ok(()));
        }
        Command::Note(_) => {}
        Command::Reload(answer) => {
            log.lock().unwrap().push("reload".into());
            let _ = answer.send(Err(Refusal::BadConfiguration("plimsoll.yaml:3:5: unknown key".into())));
        }
    }
}

/// A capture of the sample run.
fn captured() -> Captured {
    Captured {
        number: 1,
        name: "cpu".into(),
        kind: "pprof".into(),
        what: "cpu profile of http://shop:6060 over 10s".into(),
        why: "at the first breach (`http_req_failed: rate < 1%`)".into(),
        second: 13,
        at: sample::START.plus(Duration::from_secs(13)),
        took_ms: 10_012,
        content_type: "application/octet-stream".into(),
        file: "01-cpu.pb.gz".into(),
        bytes: 7,
        error: None,
    }
}

/// A silence that holds.
pub(crate) fn silence() -> Silence {
    Silence {
        id: "3f9a2c1d".into(),
        matchers: vec![Matcher::equal("target", "shop"), Matcher::equal("pool", "<main>")],
        author: "ann (api token ci)".into(),
        comment: "deploy of the database & more".into(),
        created_at: sample::START,
        starts_at: sample::START,
        ends_at: sample::START.plus(Duration::from_secs(7200)),
        ended_by: None,
    }
}
