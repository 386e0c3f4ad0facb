//! `plimsoll demo` and `plimsoll demo-target`: see Plimsoll at work with nothing else installed.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use super::signals::{Asked, Signals};
use super::terminal::{complain, say_line};
use super::watch::Printer;
use super::{Exit, Failure, Outcome, logging};
use crate::app::{self, App, Options};
use crate::config;
use crate::demo as target_system;
use crate::engine::handle::Event;
use crate::engine::setup::{LogSetup, Setup};
use crate::model::run::{Run, Trigger};

/// The configuration of the demo; the addresses and the data folder are filled in.
const CONFIGURATION: &str = include_str!("demo.yaml");
/// The profile of the demo.
const PROFILE: &str = "rush-hour";
/// How long a request of the demo holds its connection: 20 connections serve about 330 requests a second, 60 users ask for more.
const HOLD: Duration = Duration::from_millis(60);
/// How long `--once` waits after its run for open alerts to resolve and for messages to be delivered.
const EPILOGUE: Duration = Duration::from_secs(45);

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
pub(super) struct DemoArguments {
    /// Stop after the first run, with that run's exit code
    #[arg(long)]
    once: bool,
    /// Keep the data in this folder (otherwise a temporary one, removed at the end)
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where the page, the API and /metrics listen; any free port when this one is taken
    #[arg(long, default_value = "127.0.0.1:9611")]
    listen: SocketAddr,
    /// Size of the target's connection pool
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pool: u32,
}

/// Arguments of `demo-target`.
#[derive(Debug, clap::Args)]
pub(super) struct TargetArguments {
    /// Port on 127.0.0.1; 0 = any free one
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Size of the connection pool
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pool: u32,
    /// How long a request holds its connection, in milliseconds
    #[arg(long, default_value_t = 20)]
    hold_ms: u64,
}

pub(super) async fn target(arguments: TargetArguments) -> Outcome {
    logging::start(&LogSetup::default());
    let settings = target_system::Settings {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, arguments.port)),
        pool: arguments.pool,
        hold: Duration::from_millis(arguments.hold_ms),
        ..target_system::Settings::default()
    };
    let mut signals = Signals::listen()?;
    let running = target_system::start(settings).await.context("the demo target cannot be started")?;
    say_line!("demo target on {} with a pool of {}", running.url("/"), arguments.pool);
    say_line!("gRPC on the same port: events.v1.Events, health and reflection");
    say_line!("metrics {}   faults: curl -X POST {} -d '{{\"slow_ms\": 500}}'", running.url("/metrics"), running.url("/faults"));
    while signals.next().await != Asked::Stop {}
    running.stop().await;
    Ok(Exit::Passed)
}

pub(super) async fn demo(arguments: DemoArguments) -> Outcome {
    logging::start(&LogSetup { level: "error".into(), json: false });
    let mut signals = Signals::listen()?;
    let temporary = if arguments.data.is_none() { Some(tempfile::tempdir().context("no temporary folder")?) } else { None };
    let folder = match (&arguments.data, &temporary) {
        (Some(folder), _) => {
            std::fs::create_dir_all(folder).with_context(|| format!("the folder {} cannot be made", folder.display()))?;
            folder.canonicalize().with_context(|| format!("the folder {} cannot be used", folder.display()))?
        }
        (None, Some(temporary)) => temporary.path().to_path_buf(),
        (None, None) => PathBuf::from("."),
    };
    let settings = target_system::Settings { pool: arguments.pool, hold: HOLD, ..target_system::Settings::default() };
    let target = target_system::start(settings).await.context("the demo target cannot be started")?;
    let mut setup = configure(&target.url("/"), &folder, free_address(arguments.listen).await)?;
    if arguments.once {
        // One run, started by hand: the schedule would begin a second one while the first one's alert resolves.
        setup.schedules.clear();
    }
    let again = setup.clone();
    let loader = Box::new(move || Ok(again.clone()));
    let app = app::start(Options { setup, loader, serve: true, alerting: true, own_store: true }).await?;
    let mut printer = Printer::new();
    introduce(&app, &target, &folder, temporary.is_none());
    let exit = watch(&app, &mut printer, &mut signals, arguments.once).await;
    printer.line("stopping");
    app.stop.cancel();
    let stop_now = app.stop_now.clone();
    let ended = {
        let running = app.run();
        tokio::pin!(running);
        loop {
            tokio::select! {
                ended = &mut running => break ended,
                asked = signals.next() => if asked == Asked::Stop { stop_now.cancel() },
            }
        }
    };
    target.stop().await;
    ended?;
    Ok(exit)
}

/// The demo's configuration with its addresses filled in.
fn configure(target: &str, folder: &Path, listen: SocketAddr) -> Result<Setup, Failure> {
    let text = CONFIGURATION
        .replace("TARGET_URL", target.trim_end_matches('/'))
        .replace("DATA_DIR", &folder.display().to_string())
        .replace("LISTEN", &listen.to_string());
    config::load_text("demo.yaml", &text, folder, &app::KINDS).map_err(|report| {
        complain(format_args!("{report}"), "");
        Failure::Exit(Exit::ConfigurationInvalid)
    })
}

/// The wanted address, or one with any free port when it is taken.
async fn free_address(wanted: SocketAddr) -> SocketAddr {
    match tokio::net::TcpListener::bind(wanted).await {
        Ok(_) => wanted,
        Err(_) => SocketAddr::new(wanted.ip(), 0),
    }
}

fn introduce(app: &App, target: &target_system::Running, folder: &Path, kept: bool) {
    say_line!("Plimsoll demo: a target with a connection pool, loaded every minute until the pool is full.\n");
    say_line!("  target   {}  (pool of {})", target.url("/"), target.pool().limit);
    if let Some(address) = app.address {
        say_line!("  page     http://{address}/");
        say_line!("  metrics  http://{address}/metrics");
        say_line!("  api      http://{address}/api/v1/runs");
    }
    say_line!("  data     {}{}", folder.display(), if kept { "" } else { "  (removed at the end; keep it with --data DIR)" });
    say_line!("  mailbox  {}", folder.join("mailbox").display());
    say_line!("\nCtrl-C ends it.\n");
}

/// Prints what happens until the user has enough, or with `once`, until the first run and its alerts are over.
async fn watch(app: &App, printer: &mut Printer, signals: &mut Signals, once: bool) -> Exit {
    let mut events = app.engine.events();
    if once && let Err(refusal) = app.engine.start_run(PROFILE, Trigger { by: "demo".into(), name: None }).await {
        printer.line(&format!("the run was not started: {refusal}"));
        return Exit::Failed;
    }
    let mut first: Option<(Exit, Instant)> = None;
    let mut look = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Ok(Event::RunEnded(run)) => {
                    print_run(app, printer, &run).await;
                    if first.is_none() {
                        first = Some((Exit::of(&run), Instant::now()));
                    }
                }
                Ok(event) => printer.event(&event),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Exit::Failed,
            },
            asked = signals.next() => if asked == Asked::Stop {
                return if once { Exit::Interrupted } else { Exit::Passed };
            },
            _ = look.tick() => {
                if let Some((exit, ended)) = first.filter(|_| once)
                    && (ended.elapsed() > EPILOGUE || is_quiet(app) && ended.elapsed() > Duration::from_secs(3))
                {
                    return exit;
                }
            }
        }
    }
}

/// No alert is open and no message is waiting.
fn is_quiet(app: &App) -> bool {
    let status = app.engine.status();
    status.alerts.iter().all(|alert| alert.incident.is_none()) && status.outbox_waiting == 0
}

async fn print_run(app: &App, printer: &mut Printer, run: &Run) {
    // Findings that cannot be read are missing from the print, not from the store.
    let findings = app.store.findings(Some(&run.id), 50).await.unwrap_or_default();
    printer.run_ended(run, &findings);
    if let Some(address) = app.address {
        printer.line(&format!("  the run as a page: http://{address}/runs/{}\n", run.id));
    }
}
