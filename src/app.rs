//! The composition root: puts concrete parts together and starts them in the right order; stops them in the reverse one.
//! The only file that knows every part.

mod digests;
mod names;
pub(crate) mod surroundings;

use std::future::IntoFuture;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clock::{SharedClock, SystemClock};
use crate::config::{self, Kinds};
use crate::engine::alerting::{Alerting, AlertingParts};
use crate::engine::daemon::{Daemon, DaemonParts, Loader};
use crate::engine::duty::{Duty, Watch, WatchParts};
use crate::engine::handle::{EngineHandle, EngineStatus, Event};
use crate::engine::headroom::{self, HeadroomParts};
use crate::engine::history::historian::{Historian, HistorianParts};
use crate::engine::outbox::{Outbox, OutboxParts};
use crate::engine::own::{self, OwnParts};
use crate::engine::owner;
use crate::engine::prober::{ActiveRuns, ProberParts, Taken};
use crate::engine::runner::{RunNews, RunnerParts};
use crate::engine::scheduler::Ticker;
use crate::engine::setup::Setup;
use crate::engine::snapshots::Snapshots;
use crate::engine::spool::SpoolPlace;
use crate::engine::taps::{Taps, hand_on};
use crate::engine::upkeep::{self, UpkeepParts};
use crate::engine::writer::{Writer, WriterView};
use crate::metrics::Metrics;
use crate::model::alerting::AlertInstance;
use crate::model::channel::ChannelHealth;
use crate::notify::NotifyParts;
use crate::probe::process::ProcessSettings;
use crate::probe::{ProbeParts, ProbeSettings};
use crate::protocol::tls::default_tls;
use crate::server::{self, ServerParts};
use crate::store::{self, OutboxStats, Store};
use surroundings::{RandomNumbers, data_dir, hostname, link_base, random_numbers, spool_of};

/// The tables of kinds that configurations choose from.
pub const KINDS: Kinds = Kinds { probes: crate::probe::KINDS, channels: crate::notify::KINDS };

/// Longest time for outgoing messages when the daemon stops.
const OUTBOX_DRAIN: Duration = Duration::from_secs(8);
/// Longest time for rolling up the runs that ended last when the program stops.
const UPKEEP_DRAIN: Duration = Duration::from_secs(5);
/// How long the database may take to be told that this process ends.
const FAREWELL: Duration = Duration::from_secs(10);

/// What is started.
pub struct Options {
    /// The configuration.
    pub setup: Setup,
    /// Reads it again.
    pub loader: Loader,
    /// Serve HTTP.
    pub serve: bool,
    /// Judge alert rules and send messages. A single `plimsoll run` does not: the daemon's alerts are not its business.
    pub alerting: bool,
    /// Take charge of the store when nobody has, and mark runs of processes that are gone as interrupted.
    pub own_store: bool,
}

/// A running program.
pub struct App {
    /// Commands, status and events.
    pub engine: EngineHandle,
    /// The memory, for reading.
    pub store: Arc<dyn Store>,
    /// The address of the server, when it serves.
    pub address: Option<SocketAddr>,
    /// Stop gracefully.
    pub stop: CancellationToken,
    /// Stop now.
    pub stop_now: CancellationToken,
    /// Runs of a daemon that died, marked as interrupted.
    pub orphans: usize,
    tasks: Tasks,
}

/// Tasks in the order in which they stop.
struct Tasks {
    daemon: JoinSet<&'static str>,
    alerting: JoinSet<&'static str>,
    tail: JoinSet<&'static str>,
    watch: JoinSet<&'static str>,
    stop_watch: CancellationToken,
    stop_alerting: CancellationToken,
    stop_outbox: CancellationToken,
    stop_server: CancellationToken,
}

/// Makes rustls use ring, once per process.
pub fn install_crypto() {
    // A second call finds it installed; that is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// HTTP client for probes, webhooks and version questions: bounded in time, no redirects, no way to metadata services, public roots.
pub fn http_client() -> anyhow::Result<reqwest::Client> {
    install_crypto();
    reqwest::Client::builder()
        .tls_backend_preconfigured(rustls::ClientConfig::clone(&default_tls()))
        .redirect(reqwest::redirect::Policy::none())
        .dns_resolver(Arc::new(names::Names::default()))
        .connect_timeout(Duration::from_secs(5))
        .timeout(Duration::from_secs(15))
        .pool_idle_timeout(Duration::from_secs(30))
        .user_agent(concat!("plimsoll/", env!("CARGO_PKG_VERSION")))
        .build()
        .context("the HTTP client cannot be made")
}

/// Opens the store of a configuration.
pub async fn open_store(setup: &Setup) -> anyhow::Result<Arc<dyn Store>> {
    install_crypto();
    Ok(store::open(setup.storage.url.expose()).await?)
}

/// What notifiers need, for somebody who sends without a daemon.
pub fn notify_parts(setup: &Setup) -> anyhow::Result<NotifyParts> {
    Ok(NotifyParts { http: http_client()?, clock: Arc::new(SystemClock), hostname: hostname(), data_dir: data_dir(setup) })
}

/// Everything between the store and the daemon that is made once.
struct Wiring {
    clock: SharedClock,
    metrics: Arc<Metrics>,
    setup: watch::Sender<Arc<Setup>>,
    events: broadcast::Sender<Event>,
    probe: ProbeParts,
    notify: NotifyParts,
    duty: watch::Receiver<Duty>,
    spool: Option<SpoolPlace>,
}

/// Starts everything; `Err` says what could not be started.
pub async fn start(options: Options) -> anyhow::Result<App> {
    // First, because a second daemon on the same address must not touch the runs of the first one.
    let listener = listen(&options).await?;
    let store = open_store(&options.setup).await.context("the store cannot be opened")?;
    let clock: SharedClock = Arc::new(SystemClock);
    let metrics = Arc::new(Metrics::new());
    let mut random = random_numbers();
    let this = owner::this_process(&hostname(), random(), clock.now());
    let (duty, duty_in) = watch::channel(Duty::default());
    let spool = spool_of(&options.setup, &this.id);
    let (store_, clock_, metrics_) = (store.clone(), clock.clone(), metrics.clone());
    let parts = WatchParts { store: store_, clock: clock_, metrics: metrics_, daemon: options.own_store, duty, spool: spool.clone() };
    let (watching, orphans) = Watch::begin(parts, &this).await?;
    let orphans = orphans.len();
    let address = listener.as_ref().map(TcpListener::local_addr).transpose()?;
    let http = http_client()?;
    let wiring = Wiring {
        metrics,
        setup: watch::Sender::new(Arc::new(options.setup.clone())),
        events: broadcast::Sender::new(1_024),
        probe: ProbeParts { http: http.clone(), clock: clock.clone() },
        notify: NotifyParts { http, clock: clock.clone(), hostname: hostname(), data_dir: data_dir(&options.setup) },
        clock,
        duty: duty_in,
        spool,
    };
    options.setup.seed(&wiring.metrics);
    wiring.metrics.config_reload(true, wiring.clock.now());
    let link_base = watch::Sender::new(link_base(&options.setup, address));
    let mut tasks = Tasks {
        daemon: JoinSet::new(),
        alerting: JoinSet::new(),
        tail: JoinSet::new(),
        watch: JoinSet::new(),
        stop_watch: CancellationToken::new(),
        stop_alerting: CancellationToken::new(),
        stop_outbox: CancellationToken::new(),
        stop_server: CancellationToken::new(),
    };
    let (stop, stop_now) = (CancellationToken::new(), CancellationToken::new());
    let stop_watch = tasks.stop_watch.clone();
    tasks.watch.spawn(async move {
        watching.run(stop_watch).await;
        "watch"
    });
    let engine = assemble(options, &wiring, &store, link_base, &mut tasks, (&stop, &stop_now), random).await?;
    if let Some(listener) = listener {
        let parts =
            ServerParts { store: store.clone(), engine: engine.clone(), metrics: wiring.metrics.clone(), clock: wiring.clock.clone() };
        let shutdown = tasks.stop_server.clone();
        tasks.tail.spawn(async move {
            if let Err(error) = server::serve(listener, parts, shutdown).await {
                tracing::error!(%error, "the server broke off");
            }
            "server"
        });
    }
    Ok(App { engine, store, address, stop, stop_now, orphans, tasks })
}

/// What runs work with.
fn runner_parts(wiring: &Wiring, writer: Writer, news: mpsc::Sender<RunNews>, snapshots: Snapshots) -> RunnerParts {
    let Wiring { clock, metrics, events, .. } = wiring;
    let live = Arc::default();
    RunnerParts { clock: clock.clone(), metrics: metrics.clone(), writer, events: events.clone(), news, live, snapshots }
}

/// What the tasks of probes work with.
fn prober_parts(wiring: &Wiring, readings: mpsc::Sender<Taken>, active: watch::Receiver<ActiveRuns>, snapshots: Snapshots) -> ProberParts {
    let Wiring { probe, clock, metrics, .. } = wiring;
    ProberParts { probe: probe.clone(), clock: clock.clone(), metrics: metrics.clone(), readings, active, snapshots }
}

/// Makes channels and tasks of the engine and starts them.
async fn assemble(
    options: Options,
    wiring: &Wiring,
    store: &Arc<dyn Store>,
    link_base: watch::Sender<Option<String>>,
    tasks: &mut Tasks,
    (stop, stop_now): (&CancellationToken, &CancellationToken),
    random: RandomNumbers,
) -> anyhow::Result<EngineHandle> {
    let Wiring { clock, metrics, setup, events, probe, .. } = wiring;
    let writer = Writer::start(store.clone(), metrics.clone(), wiring.spool.clone(), &mut tasks.tail);
    let (readings, readings_in) = mpsc::channel(1_024);
    let (alert_readings, alert_readings_in) = mpsc::channel(1_024);
    let (news, news_in) = mpsc::channel(1_024);
    let (active, active_in) = watch::channel(ActiveRuns::new());
    let (alerts, alerts_in) = watch::channel(Vec::new());
    let ((stats, stats_in), (health, health_in)) = (watch::channel(OutboxStats::default()), watch::channel(Vec::new()));
    let (status, status_in) = watch::channel(Arc::new(EngineStatus { setup: setup.borrow().clone(), ..EngineStatus::default() }));
    let (commands, commands_in) = mpsc::channel(64);
    let taps = Taps::default();
    spawn_hand(hand_on(readings_in, taps.clone(), writer.clone(), metrics.clone(), alert_readings), tasks);
    if options.alerting {
        let hears = (news_in, alert_readings_in, writer.view(), health_in.clone());
        spawn_alerting(wiring, store, hears, alerts, link_base.subscribe(), tasks).await?;
        spawn_outbox(wiring, store, (stats, health), tasks);
    } else {
        tasks.tail.spawn(discard(news_in, alert_readings_in));
    }
    let (own, judged) = ((writer.clone(), news.clone(), readings.clone()), news.clone());
    let snapshots = Snapshots::default();
    let parts = DaemonParts {
        store: store.clone(),
        clock: clock.clone(),
        metrics: metrics.clone(),
        writer: writer.clone(),
        runner: runner_parts(wiring, writer, news, snapshots.clone()),
        probe: probe.clone(),
        prober: prober_parts(wiring, readings, active_in, snapshots),
        active,
        taps,
        loader: options.loader,
        setup: setup.clone(),
        status,
        events: events.clone(),
        alerts: alerts_in,
        outbox: stats_in,
        channels: health_in,
        duty: wiring.duty.clone(),
        random,
    };
    spawn_upkeep(wiring, store, stop.clone(), tasks);
    let ticker = Ticker::start().await.context("the scheduler cannot be started")?;
    let running = Daemon::new(parts, commands_in).run(ticker, stop.clone(), stop_now.clone());
    tasks.daemon.spawn(async move {
        // The links in messages need an address for as long as the daemon lives.
        let _links = link_base;
        running.await;
        "daemon"
    });
    let engine = EngineHandle::new(commands, status_in, events.clone());
    if options.alerting {
        spawn_own((wiring, store), own, stop, tasks);
        spawn_historian(wiring, store, judged, &engine, stop, tasks);
    }
    Ok(engine)
}

fn spawn_hand(hand: impl Future<Output = ()> + Send + 'static, tasks: &mut Tasks) {
    tasks.tail.spawn(async move {
        hand.await;
        "readings"
    });
}

fn spawn_historian(
    wiring: &Wiring,
    store: &Arc<dyn Store>,
    news: mpsc::Sender<RunNews>,
    engine: &EngineHandle,
    stop: &CancellationToken,
    tasks: &mut Tasks,
) {
    let historian = Historian::new(HistorianParts {
        store: store.clone(),
        clock: wiring.clock.clone(),
        metrics: wiring.metrics.clone(),
        events: wiring.events.subscribe(),
        news,
        setup: wiring.setup.subscribe(),
        engine: engine.clone(),
    });
    let stop = stop.clone();
    tasks.daemon.spawn(async move {
        historian.run(stop).await;
        "historian"
    });
}

/// What production leaves of the capacity of targets. It gives up its end of the channel when the daemon stops.
fn spawn_headroom(wiring: &Wiring, store: &Arc<dyn Store>, readings: mpsc::Sender<Taken>, stop: &CancellationToken, tasks: &mut Tasks) {
    let parts = HeadroomParts {
        store: store.clone(),
        clock: wiring.clock.clone(),
        setup: wiring.setup.subscribe(),
        readings,
        duty: wiring.duty.clone(),
    };
    let stop = stop.clone();
    tasks.daemon.spawn(async move {
        headroom::run(parts, stop).await;
        "headroom"
    });
}

/// The daemon watches itself, and what is left of its targets.
fn spawn_own(
    (wiring, store): (&Wiring, &Arc<dyn Store>),
    (writer, news, readings): (Writer, mpsc::Sender<RunNews>, mpsc::Sender<Taken>),
    stop: &CancellationToken,
    tasks: &mut Tasks,
) {
    spawn_headroom(wiring, store, readings, stop, tasks);
    let parts = OwnParts {
        store: store.clone(),
        clock: wiring.clock.clone(),
        metrics: wiring.metrics.clone(),
        writer,
        news,
        name: hostname(),
        duty: wiring.duty.clone(),
    };
    let probe = ProcessSettings::of_pid(i32::try_from(std::process::id()).unwrap_or(i32::MAX)).open(&wiring.probe);
    let stop = stop.clone();
    tasks.tail.spawn(async move {
        own::run(parts, probe, stop).await;
        "own"
    });
}

async fn spawn_alerting(
    wiring: &Wiring,
    store: &Arc<dyn Store>,
    (news, readings, writer, channels): (mpsc::Receiver<RunNews>, mpsc::Receiver<Taken>, WriterView, Channels),
    active: watch::Sender<Vec<AlertInstance>>,
    link_base: watch::Receiver<Option<String>>,
    tasks: &mut Tasks,
) -> anyhow::Result<()> {
    let digest_links = link_base.clone();
    let parts = AlertingParts {
        store: store.clone(),
        clock: wiring.clock.clone(),
        metrics: wiring.metrics.clone(),
        events: wiring.events.clone(),
        news,
        readings,
        setup: wiring.setup.subscribe(),
        active,
        link_base,
        writer,
        duty: wiring.duty.clone(),
        channels,
        fail_point: config::fail_point(),
    };
    let alerting = Alerting::restore(parts).await.context("the state of alerts cannot be read")?;
    let stop = tasks.stop_alerting.clone();
    tasks.alerting.spawn(async move {
        alerting.run(stop).await;
        "alerting"
    });
    digests::spawn(wiring, store, digest_links, tasks);
    Ok(())
}

/// How channels fare, as the outbox says it.
type Channels = watch::Receiver<Vec<ChannelHealth>>;

fn spawn_outbox(
    wiring: &Wiring,
    store: &Arc<dyn Store>,
    (stats, health): (watch::Sender<OutboxStats>, watch::Sender<Vec<ChannelHealth>>),
    tasks: &mut Tasks,
) {
    let outbox = Outbox::new(OutboxParts {
        store: store.clone(),
        clock: wiring.clock.clone(),
        metrics: wiring.metrics.clone(),
        events: wiring.events.clone(),
        notify: wiring.notify.clone(),
        setup: wiring.setup.subscribe(),
        stats,
        duty: wiring.duty.clone(),
        health,
        fail_point: config::fail_point(),
    });
    let stop = tasks.stop_outbox.clone();
    tasks.tail.spawn(async move {
        outbox.run(stop, OUTBOX_DRAIN).await;
        "outbox"
    });
}

fn spawn_upkeep(wiring: &Wiring, store: &Arc<dyn Store>, stop: CancellationToken, tasks: &mut Tasks) {
    let (store, clock, metrics) = (store.clone(), wiring.clock.clone(), wiring.metrics.clone());
    let parts = UpkeepParts { store, clock, metrics, setup: wiring.setup.subscribe(), duty: wiring.duty.clone() };
    tasks.tail.spawn(async move {
        upkeep::run(parts, stop).await;
        "upkeep"
    });
}

/// Takes what alerting would have taken.
async fn discard<A: Send, B: Send>(mut news: mpsc::Receiver<A>, mut readings: mpsc::Receiver<B>) -> &'static str {
    let news = async { while news.recv().await.is_some() {} };
    let readings = async { while readings.recv().await.is_some() {} };
    futures_util::future::join(news.into_future(), readings.into_future()).await;
    "discard"
}

impl App {
    /// Runs until it is told to stop and everything has ended. `Err`: a part ended by itself, which it never should.
    pub async fn run(mut self) -> anyhow::Result<()> {
        let unasked = tokio::select! {
            Some(ended) = self.tasks.daemon.join_next() => ended,
            Some(ended) = self.tasks.alerting.join_next() => ended,
            Some(ended) = self.tasks.tail.join_next() => ended,
            Some(ended) = self.tasks.watch.join_next() => ended,
        };
        let broken = (!self.stop.is_cancelled()).then(|| match unasked {
            Ok(name) => anyhow::anyhow!("the part `{name}` ended by itself"),
            Err(error) => anyhow::anyhow!("a part broke off: {error}"),
        });
        self.stop.cancel();
        while self.tasks.daemon.join_next().await.is_some() {}
        self.tasks.stop_alerting.cancel();
        while self.tasks.alerting.join_next().await.is_some() {}
        self.tasks.stop_outbox.cancel();
        self.tasks.stop_server.cancel();
        // The writer ends when the last handle on it is gone; all of them were the daemon's.
        drop(self.engine);
        let rest = async { while self.tasks.tail.join_next().await.is_some() {} };
        if tokio::time::timeout(Duration::from_secs(20), rest).await.is_err() {
            tracing::warn!("some parts did not end in time; they are cut off");
        }
        upkeep::finish(self.store.clone(), UPKEEP_DRAIN).await;
        self.tasks.stop_watch.cancel();
        while self.tasks.watch.join_next().await.is_some() {}
        // A database that does not answer holds nobody up.
        if tokio::time::timeout(FAREWELL, farewell(&*self.store)).await.is_err() {
            tracing::warn!("the database did not answer in time; its connections are cut off");
        }
        broken.map_or(Ok(()), Err)
    }
}

/// Others need not wait to see that this process is gone; when they cannot be told, they see it.
async fn farewell(store: &dyn Store) {
    if let Err(error) = store.resign().await {
        tracing::warn!(%error, "this process could not give back what it held");
    }
    store.close().await;
}

async fn listen(options: &Options) -> anyhow::Result<Option<TcpListener>> {
    if !options.serve {
        return Ok(None);
    }
    let server = &options.setup.server;
    let listener = TcpListener::bind(&server.listen).await.with_context(|| {
        format!("cannot listen on {}: is another program using this port? set `server: {{ listen: … }}`", server.listen)
    })?;
    let address = listener.local_addr()?;
    if !address.ip().is_loopback() && server.tokens.is_empty() && !server.insecure {
        anyhow::bail!(
            "{address} can be reached from other machines and there are no tokens: set `server: {{ tokens_file: … }}`, or `insecure: true` if that is what you want"
        );
    }
    Ok(Some(listener))
}
