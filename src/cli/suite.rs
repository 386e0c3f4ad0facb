//! `plimsoll suite NAME`: the latest runs of several profiles as one report, and with `--run` the runs themselves, here and now.

use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::sync::broadcast::error::RecvError;

use super::history::there_is_none;
use super::signals::{Asked, Signals};
use super::terminal::{say, say_line};
use super::watch::Printer;
use super::{ConfigArguments, Exit, Outcome, load, logging};
use crate::app::{self, App, Options};
use crate::engine::handle::Event;
use crate::engine::history::suites::suite_result;
use crate::engine::setup::Setup;
use crate::engine::time_scale::{self, TimeScale};
use crate::model::run::{Trigger, Verdict};
use crate::model::suite::Suite;
use crate::registry::suggest;
use crate::report::history::suite_text;

/// How often it is looked whether all runs have ended: a run that could not be started sends no word of it.
const LOOK: Duration = Duration::from_millis(500);

/// Arguments of `suite`.
#[derive(Debug, clap::Args)]
pub(super) struct SuiteArguments {
    /// Suite
    suite: String,
    #[command(flatten)]
    config: ConfigArguments,
    /// Run its profiles first, one after the other where they share a target
    #[arg(long)]
    run: bool,
    /// With --run: fast motion, to try long profiles: multiply stages, pauses, pace and windows by this
    #[arg(long, value_name = "FACTOR", requires = "run")]
    time_scale: Option<TimeScale>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn suite(arguments: SuiteArguments) -> Outcome {
    let setup = load(&arguments.config.config)?;
    let Some(suite) = setup.suites.get(&arguments.suite).cloned() else {
        return Err(there_is_none("suite", &arguments.suite, &suggest(&arguments.suite, setup.suites.keys().map(String::as_str))));
    };
    let result = if arguments.run {
        logging::start(&setup.log);
        let mut signals = Signals::listen()?;
        let app = start(setup, &suite, arguments.time_scale).await?;
        let ended = follow(&app, &suite, arguments.json, &mut signals).await;
        // The store is closed with the rest.
        let result = suite_result(app.store.as_ref(), &suite).await;
        app.stop.cancel();
        app.run().await?;
        ended?;
        result
    } else {
        suite_result(app::open_store(&setup).await?.as_ref(), &suite).await
    };
    let result = result.map_err(|error| anyhow!("{error}"))?;
    if arguments.json {
        say_line!("{}", serde_json::to_value(&result).unwrap_or_default());
    } else {
        say!("{}", suite_text(&result));
    }
    Ok(match result.verdict {
        Verdict::Pass => Exit::Passed,
        Verdict::Fail => Exit::ThresholdsFailed,
        Verdict::NoData | Verdict::Invalid => Exit::InvalidOrNoData,
    })
}

/// The engine, with what the suite's runs need and no schedules.
async fn start(mut setup: Setup, suite: &Suite, scale: Option<TimeScale>) -> anyhow::Result<App> {
    setup.schedules.clear();
    let profiles = suite.profiles();
    setup.profiles.retain(|name, _| profiles.contains(name));
    let targets: Vec<String> = setup.profiles.values().map(|profile| profile.target.clone()).collect();
    setup.targets.retain(|name, _| targets.contains(name));
    if let Some(scale) = scale {
        setup = time_scale::scaled(setup, scale);
    }
    let again = setup.clone();
    let loader = Box::new(move || Ok(again.clone()));
    app::start(Options { setup, loader, serve: false, alerting: false, own_store: false }).await
}

/// Starts the runs and prints what happens until the last one has ended.
async fn follow(app: &App, suite: &Suite, quiet: bool, signals: &mut Signals) -> anyhow::Result<()> {
    let (mut events, mut printer) = (app.engine.events(), Printer::new());
    // What was just begun is in the status a moment later.
    let mut look = tokio::time::interval_at(tokio::time::Instant::now() + LOOK, LOOK);
    let trigger = Trigger { by: "suite".into(), name: Some(suite.name.clone()) };
    app.engine.run_suite(&suite.name, trigger).await.context("the suite was not started")?;
    loop {
        tokio::select! {
            // What happened before is told first.
            biased;
            event = events.recv() => match event {
                Ok(Event::RunEnded(run)) if !quiet => {
                    let findings = app.store.findings(Some(&run.id), 50).await.unwrap_or_default();
                    printer.run_ended(&run, &findings);
                }
                Ok(event) if !quiet => printer.event(&event),
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Ok(()),
            },
            _ = look.tick() => {
                let status = app.engine.status();
                if status.running.is_empty() && status.queued.is_empty() {
                    return Ok(());
                }
            }
            asked = signals.next() => if asked == Asked::Stop {
                if app.stop.is_cancelled() {
                    app.stop_now.cancel();
                } else {
                    printer.line("stopping: the run that is going on may end; again to stop at once");
                    app.stop.cancel();
                }
            },
        }
    }
}
