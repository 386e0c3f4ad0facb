//! What is made of many runs: `plimsoll history`, `deploy` and `baseline`.

use reqwest::Method;
use serde_json::{Value, json};

use super::control::ServerArguments;
use super::terminal::{say_line, warn_line};
use super::{ConfigArguments, Exit, Failure, Outcome, load};
use crate::app;
use crate::clock::{Clock, SystemClock};
use crate::engine::history::view::view;
use crate::registry::suggest;

/// Arguments of `history`.
#[derive(Debug, clap::Args)]
pub(super) struct HistoryArguments {
    /// Profile
    profile: String,
    #[command(flatten)]
    config: ConfigArguments,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `deploy`.
#[derive(Debug, clap::Args)]
pub(super) struct DeployArguments {
    /// Target that was deployed to
    target: String,
    /// What was deployed: a version, a commit, a word
    version: String,
    /// When, as 2026-11-21T02:00:00Z; now, when it is not given
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    #[command(flatten)]
    server: ServerArguments,
}

/// Arguments of `baseline`.
#[derive(Debug, clap::Args)]
pub(super) struct BaselineArguments {
    #[command(subcommand)]
    what: BaselineCommand,
}

#[derive(Debug, clap::Subcommand)]
enum BaselineCommand {
    /// Compare runs of a profile with this one from now on
    Set {
        /// Profile
        profile: String,
        /// Id of the run, its beginning or end, or `last`
        run: String,
        #[command(flatten)]
        server: ServerArguments,
    },
    /// Forget the pinned run of a profile
    Clear {
        /// Profile
        profile: String,
        #[command(flatten)]
        server: ServerArguments,
    },
}

pub(super) fn there_is_none(what: &str, name: &str, hint: &str) -> Failure {
    warn_line!("error: there is no {what} `{name}`: {hint}");
    Failure::Exit(Exit::ConfigurationInvalid)
}

pub(super) async fn history(arguments: HistoryArguments) -> Outcome {
    let setup = load(&arguments.config.config)?;
    if !setup.profiles.contains_key(&arguments.profile) {
        let hint = suggest(&arguments.profile, setup.profiles.keys().map(String::as_str));
        return Err(there_is_none("profile", &arguments.profile, &hint));
    }
    let store = app::open_store(&setup).await?;
    let found = view(store.as_ref(), &setup, &arguments.profile, SystemClock.now()).await.map_err(anyhow::Error::from)?;
    if arguments.json {
        say_line!("{}", serde_json::to_value(&found).unwrap_or_default());
        return Ok(Exit::Passed);
    }
    let flaky = if found.flaky { " (flaky)" } else { "" };
    say_line!(
        "{}: {} runs; the verdict flipped {} times in {} pairs without a change{flaky}",
        found.profile,
        found.runs.len(),
        found.flips.flips,
        found.flips.pairs
    );
    if let Some(pinned) = &found.baseline {
        say_line!("baseline: run {}, pinned by {}", pinned.run, pinned.by);
    }
    for gate in &found.gates {
        say_line!("gate {}: {} - {}", gate.gate, gate.verdict, gate.sentence);
    }
    for metric in &found.metrics {
        let of = metric.subject.as_ref().map(|subject| format!(" of {subject}")).unwrap_or_default();
        say_line!("  {}{of}: {}, newest {}, level {}", metric.metric, metric.state, metric.newest, metric.level);
        for change in &metric.changes {
            say_line!("      {change}");
        }
    }
    for run in found.runs.iter().filter(|run| run.left_out.is_some()) {
        say_line!("  not compared: {}: {}", run.run, run.left_out.as_deref().unwrap_or_default());
    }
    Ok(Exit::Passed)
}

pub(super) async fn deploy(arguments: DeployArguments) -> Outcome {
    let DeployArguments { target, version, at, server } = arguments;
    let mut body = json!({ "version": version });
    if let Some(at) = at {
        body["at"] = at.into();
    }
    let answer = server.ask(&Method::POST, &["targets", &target, "deploys"], &body).await?;
    say_line!("{} on {target} at {}", text(&answer["version"]), text(&answer["at"]));
    Ok(Exit::Passed)
}

pub(super) async fn baseline(arguments: BaselineArguments) -> Outcome {
    match arguments.what {
        BaselineCommand::Set { profile, run, server } => {
            let answer = server.ask(&Method::PUT, &["profiles", &profile, "baseline"], &json!({ "run": run })).await?;
            say_line!("runs of {profile} are compared with {}", text(&answer["run"]));
        }
        BaselineCommand::Clear { profile, server } => {
            server.ask(&Method::DELETE, &["profiles", &profile, "baseline"], &json!({})).await?;
            say_line!("{profile} has no pinned run any more");
        }
    }
    Ok(Exit::Passed)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
