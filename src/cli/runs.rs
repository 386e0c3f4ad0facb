//! `plimsoll runs` and `plimsoll show`: what the store remembers.

use super::terminal::{say, say_line, warn_line};
use super::{ConfigArguments, Exit, Failure, Outcome, load};
use crate::app;
use crate::engine::upkeep;
use crate::model::retention::Pin;
use crate::model::run::{Run, Verdict};
use crate::report;
use crate::store::{RunFilter, Store};

/// Arguments of `runs`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct RunsArguments {
    #[command(subcommand)]
    command: Option<RunsCommand>,
    #[command(flatten)]
    config: ConfigArguments,
    /// Only runs of this profile
    #[arg(long)]
    profile: Option<String>,
    /// Only runs on this target
    #[arg(long)]
    target: Option<String>,
    /// Only runs with this verdict: pass, fail, no_data or invalid
    #[arg(long, value_parser = verdict)]
    verdict: Option<Verdict>,
    /// At most so many
    #[arg(long, default_value_t = 20)]
    limit: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum RunsCommand {
    /// Keep a run whatever its age
    Pin(PinArguments),
    /// Keep it no longer than others
    Unpin(UnpinArguments),
}

#[derive(Debug, clap::Args)]
struct PinArguments {
    /// Id of the run, the beginning or end of one, or `last`
    run: String,
    /// It is what others are compared with
    #[arg(long)]
    baseline: bool,
    #[command(flatten)]
    config: ConfigArguments,
}

#[derive(Debug, clap::Args)]
struct UnpinArguments {
    /// Id of the run, the beginning or end of one, or `last`
    run: String,
    #[command(flatten)]
    config: ConfigArguments,
}

/// Arguments of `show`.
#[derive(Debug, clap::Args)]
pub(super) struct ShowArguments {
    /// Id of the run, the beginning or end of one, or `last`
    run: String,
    #[command(flatten)]
    config: ConfigArguments,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn verdict(word: &str) -> Result<Verdict, String> {
    Verdict::parse(word).ok_or_else(|| "use pass, fail, no_data or invalid".into())
}

pub(super) async fn runs(arguments: RunsArguments) -> Outcome {
    match arguments.command {
        Some(RunsCommand::Pin(PinArguments { run, baseline, config })) => {
            return set_pin(&config, &run, Some(if baseline { Pin::Baseline } else { Pin::Pinned })).await;
        }
        Some(RunsCommand::Unpin(UnpinArguments { run, config })) => return set_pin(&config, &run, None).await,
        None => {}
    }
    let store = app::open_store(&load(&arguments.config.config)?).await?;
    let filter = RunFilter {
        profile: arguments.profile,
        target: arguments.target,
        verdict: arguments.verdict,
        limit: arguments.limit,
        ..RunFilter::default()
    };
    let runs = store.run_lines(&filter).await.map_err(anyhow::Error::from)?;
    if arguments.json {
        let rows: Vec<serde_json::Value> = runs.iter().map(report::run_row_json).collect();
        say_line!("{}", serde_json::Value::from(rows));
    } else if runs.is_empty() {
        say_line!("no runs yet; start one with `plimsoll run PROFILE`");
    } else {
        say!("{}", report::runs_table(&runs));
    }
    Ok(Exit::Passed)
}

async fn find(store: &dyn Store, id: &str) -> Result<Run, Failure> {
    store.run(id).await.map_err(anyhow::Error::from)?.ok_or_else(|| {
        warn_line!("error: there is no run `{id}`, or more than one begins or ends so; `plimsoll runs` lists them");
        Failure::Exit(Exit::Failed)
    })
}

async fn set_pin(config: &ConfigArguments, id: &str, pin: Option<Pin>) -> Outcome {
    let store = app::open_store(&load(&config.config)?).await?;
    let run = find(&*store, id).await?;
    upkeep::pin(&*store, &run.id, pin).await.map_err(anyhow::Error::from)?;
    match pin {
        Some(pin) => say_line!("{}: {pin}, kept whatever its age", run.id),
        None => say_line!("{}: kept no longer than others", run.id),
    }
    Ok(Exit::Passed)
}

pub(super) async fn show(arguments: ShowArguments) -> Outcome {
    let store = app::open_store(&load(&arguments.config.config)?).await?;
    let run = find(&*store, &arguments.run).await?;
    let findings = store.findings(Some(&run.id), 50).await.map_err(anyhow::Error::from)?;
    if arguments.json {
        say_line!("{}", report::run_json(&run));
    } else {
        say!("{}", report::summary_text(&run, &findings));
    }
    Ok(Exit::Passed)
}
