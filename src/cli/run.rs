//! `plimsoll run PROFILE`: one run now; the exit code is its verdict.

use tokio::sync::broadcast::error::RecvError;

use super::signals::{Asked, Signals};
use super::terminal::{say_line, warn_line};
use super::watch::Printer;
use super::{ConfigArguments, Exit, Failure, Outcome, load, logging};
use crate::app::{self, App, Options};
use crate::engine::handle::{Event, Refusal};
use crate::engine::setup::Setup;
use crate::engine::time_scale::{self, TimeScale};
use crate::model::profile::MOST_SEED;
use crate::model::run::{Run, RunId, Trigger};
use crate::registry::suggest;
use crate::report;

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub(super) struct RunArguments {
    /// Name of the profile
    profile: String,
    #[command(flatten)]
    config: ConfigArguments,
    /// Print the finished run as JSON instead of text
    #[arg(long)]
    json: bool,
    /// Fast motion, to try a long profile: multiply stages, pauses, pace and windows by this, above 0 and at most 1; rates and VUs stay
    #[arg(long, value_name = "FACTOR")]
    time_scale: Option<TimeScale>,
    /// Seed of its random values, as an earlier run has told it: what is drawn is the same again
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(..=MOST_SEED))]
    seed: Option<u64>,
}

pub(super) async fn run(arguments: RunArguments) -> Outcome {
    let mut setup = load(&arguments.config.config)?;
    logging::start(&setup.log);
    if !setup.profiles.contains_key(&arguments.profile) {
        let hint = suggest(&arguments.profile, setup.profiles.keys().map(String::as_str));
        warn_line!("error: there is no profile `{}` in {}: {hint}", arguments.profile, arguments.config.config.display());
        return Err(Failure::Exit(Exit::ConfigurationInvalid));
    }
    reduce(&mut setup, &arguments.profile);
    if let Some(scale) = arguments.time_scale {
        setup = time_scale::scaled(setup, scale);
    }
    if let (Some(seed), Some(profile)) = (arguments.seed, setup.profiles.get_mut(&arguments.profile)) {
        profile.seed = Some(seed);
    }
    let again = setup.clone();
    let loader = Box::new(move || Ok(again.clone()));
    let mut signals = Signals::listen()?;
    let app = app::start(Options { setup, loader, serve: false, alerting: false, own_store: false }).await?;
    let mut printer = Printer::new();
    let ended = follow(&app, &arguments, &mut signals, &mut printer).await;
    let findings = match &ended {
        Ok(run) => app.store.findings(Some(&run.id), 50).await.unwrap_or_default(),
        Err(_) => Vec::new(),
    };
    app.stop.cancel();
    app.run().await?;
    let run = ended?;
    if arguments.json {
        say_line!("{}", report::run_json(&run));
    } else {
        printer.run_ended(&run, &findings);
    }
    Ok(Exit::of(&run))
}

/// Leaves only what one run of `profile` needs: its target's probes, no schedules.
fn reduce(setup: &mut Setup, profile: &str) {
    setup.schedules.clear();
    let target = setup.profiles.get(profile).map(|profile| profile.target.clone());
    setup.targets.retain(|name, _| target.as_ref() == Some(name));
    setup.profiles.retain(|_, profile| target.as_ref() == Some(&profile.target));
}

/// Starts the run and prints what happens until it has ended.
async fn follow(app: &App, arguments: &RunArguments, signals: &mut Signals, printer: &mut Printer) -> Result<Run, Failure> {
    let mut events = app.engine.events();
    let trigger = Trigger { by: "cli".into(), name: None };
    let id = app.engine.start_run(&arguments.profile, trigger).await.map_err(explain)?;
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Ok(Event::RunEnded(run)) if run.id == id => return Ok(*run),
                Ok(event) if !arguments.json => printer.event(&event),
                // A terminal that is slower than the run: the lines in between are lost, not the run.
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Err(gone(&id)),
            },
            asked = signals.next() => if asked == Asked::Stop {
                if app.stop.is_cancelled() {
                    app.stop_now.cancel();
                } else {
                    printer.line("stopping: iterations that are going on may end; again to stop at once");
                    app.stop.cancel();
                }
            },
        }
    }
}

fn explain(refusal: Refusal) -> Failure {
    Failure::Error(anyhow::Error::new(refusal).context("the run was not started"))
}

fn gone(id: &RunId) -> Failure {
    Failure::Error(anyhow::anyhow!("the engine ended before run {id} did"))
}
