//! `plimsoll control`, `stop` and `resume`: steer what a running daemon does, over its API. The kill switch works without one, too: what
//! stops everything is written to the database then.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::terminal::{say_line, warn_line};
use super::{Exit, Failure, Outcome, load};
use crate::app;
use crate::clock::{Clock as _, SystemClock};
use crate::engine::kill_switch;
use crate::model::control::{Action, Scale};
use crate::model::run::RunId;
use crate::store::Store;

/// How long runs may take to end after the kill switch, before they are named.
const ENDS_WITHIN: Duration = Duration::from_secs(30);

/// Which daemon, and who asks.
#[derive(Debug, clap::Args)]
pub(super) struct ServerArguments {
    /// Address of the daemon
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9611", env = "PLIMSOLL_SERVER", hide_env_values = true)]
    server: url::Url,
    /// File that holds the token; without it, the environment variable PLIMSOLL_TOKEN
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Only from the environment: a command line can be read by others.
    #[arg(long, hide = true, env = "PLIMSOLL_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

/// Arguments of `control`.
#[derive(Debug, clap::Args)]
pub(super) struct ControlArguments {
    /// Id of the run, its beginning or end, or `last`
    run: String,
    /// What to do: pause, hold, resume, scale or stop
    #[arg(value_parser = action)]
    action: Action,
    /// For scale: `50%` or `2x` of what the profile says, `20` VUs, or `50/s`
    #[arg(value_name = "TO", value_parser = amount)]
    to: Option<String>,
    /// Only this scenario
    #[arg(long, value_name = "NAME")]
    scenario: Option<String>,
    #[command(flatten)]
    server: ServerArguments,
}

/// Arguments of `stop`.
#[derive(Debug, clap::Args)]
pub(super) struct StopArguments {
    /// Id of the run, its beginning or end, or `last`
    #[arg(conflicts_with = "all")]
    run: Option<String>,
    /// Every run
    #[arg(long)]
    all: bool,
    /// Let nothing start until `plimsoll resume`, also after a restart
    #[arg(long)]
    hold: bool,
    /// With `--all`: configuration whose database is written when no daemon can be asked
    #[arg(long, value_name = "PATH", requires = "all")]
    config: Option<PathBuf>,
    #[command(flatten)]
    server: ServerArguments,
}

/// Arguments of `resume`.
#[derive(Debug, clap::Args)]
pub(super) struct ResumeArguments {
    /// Configuration whose database is written when no daemon can be asked
    #[arg(long, value_name = "PATH")]
    config: Option<PathBuf>,
    #[command(flatten)]
    server: ServerArguments,
}

/// What became of a request.
enum Asked {
    Done(Value),
    /// Nobody could be asked, for this reason.
    Nobody(anyhow::Error),
}

fn action(word: &str) -> Result<Action, String> {
    Action::parse(word).ok_or_else(|| "use pause, hold, resume, scale or stop".into())
}

/// Checked here, so that a mistake is told without asking the daemon.
fn amount(text: &str) -> Result<String, String> {
    Scale::parse(text).map(|_| text.to_owned())
}

pub(super) async fn control(arguments: ControlArguments) -> Outcome {
    let ControlArguments { run, action, to, scenario, server } = arguments;
    let mut body = json!({ "action": action });
    for (key, value) in [("to", to), ("scenario", scenario)] {
        if let Some(value) = value {
            body[key] = value.into();
        }
    }
    let answer = server.ask(&Method::PATCH, &["runs", &run, "control"], &body).await?;
    let second = answer["entry"]["second"].as_f64().unwrap_or_default();
    say_line!("run {}: {} from second {second:.1} on", text(&answer["id"]), text(&answer["what"]));
    Ok(Exit::Passed)
}

pub(super) async fn stop(arguments: StopArguments) -> Outcome {
    let StopArguments { run, all, hold, config, server } = arguments;
    if hold && !all {
        return Err(anyhow!("`--hold` goes with `--all`: it lets nothing start").into());
    }
    if run.is_none() && !all {
        return Err(anyhow!("say which run is to stop, or `--all` for every one").into());
    }
    if let Some(run) = run {
        let answer = server.ask(&Method::POST, &["runs", &run, "cancel"], &json!({})).await?;
        say_line!("run {} is stopped", text(&answer["id"]));
        return Ok(Exit::Passed);
    }
    let answer = match server.try_ask(&Method::POST, &["stop"], &json!({ "hold": hold })).await? {
        Asked::Done(answer) => answer,
        Asked::Nobody(why) => {
            let Some(config) = config else { return Err(without_a_daemon(why).into()) };
            return stop_past_daemons(&config, hold, &why).await;
        }
    };
    let stopped: Vec<RunId> = serde_json::from_value(answer["stopped"].clone()).unwrap_or_default();
    if stopped.is_empty() {
        say_line!("no run was going on");
    }
    for run in stopped {
        say_line!("run {run} is stopped");
    }
    if hold {
        say_line!("nothing starts until `plimsoll resume`");
    }
    Ok(Exit::Passed)
}

pub(super) async fn resume(arguments: ResumeArguments) -> Outcome {
    let ResumeArguments { config, server } = arguments;
    if let Asked::Nobody(why) = server.try_ask(&Method::POST, &["resume"], &json!({})).await? {
        let Some(config) = config else { return Err(without_a_daemon(why).into()) };
        let store = database(&config, &why).await?;
        let resumed =
            kill_switch::resume(&*store, &app::surroundings::command_line(), SystemClock.now()).await.map_err(anyhow::Error::from)?;
        if !resumed {
            return Err(anyhow!("nothing is held: load may start as ever").into());
        }
    }
    say_line!("load may start again");
    Ok(Exit::Passed)
}

fn without_a_daemon(why: anyhow::Error) -> anyhow::Error {
    why.context(
        "no daemon could be asked; with --config PATH it is written to the database of that configuration, where every process looks",
    )
}

/// The database of a configuration, and why it is written itself.
async fn database(config: &Path, why: &anyhow::Error) -> Result<Arc<dyn Store>, Failure> {
    warn_line!("no daemon could be asked ({why}): this is written to the database, where every process looks each second");
    Ok(app::open_store(&load(config)?).await?)
}

/// The kill switch by way of the database: it reaches every process that works on it.
async fn stop_past_daemons(config: &Path, hold: bool, why: &anyhow::Error) -> Outcome {
    let store = database(config, why).await?;
    let by = app::surroundings::command_line();
    let runs = kill_switch::stop_all(&*store, &by, hold, SystemClock.now()).await.map_err(anyhow::Error::from)?;
    if runs.is_empty() {
        say_line!("no run was going on");
    }
    if hold {
        say_line!("nothing starts until `plimsoll resume`");
    }
    let still = kill_switch::not_ended(&*store, runs.clone(), ENDS_WITHIN).await.map_err(anyhow::Error::from)?;
    for run in runs.iter().filter(|run| !still.contains(run)) {
        say_line!("run {run} is stopped");
    }
    for run in &still {
        warn_line!("run {run} has not ended yet: its process is held up, or cannot reach the database; end that process");
    }
    Ok(if still.is_empty() { Exit::Passed } else { Exit::Failed })
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

impl ServerArguments {
    fn token(&self) -> anyhow::Result<String> {
        let token = match (&self.token_file, &self.token) {
            (Some(file), _) => {
                std::fs::read_to_string(file).with_context(|| format!("the token cannot be read from {}", file.display()))?
            }
            (None, Some(token)) => token.clone(),
            (None, None) => String::new(),
        };
        let token = token.trim().to_owned();
        if token.is_empty() {
            return Err(anyhow!(
                "who asks? put a token into the environment variable PLIMSOLL_TOKEN, or name its file with --token-file; tokens are configured under `server.tokens_file`"
            ));
        }
        Ok(token)
    }

    /// Asks the daemon; what it refuses becomes an error in its own words.
    pub(super) async fn ask(&self, method: &Method, path: &[&str], body: &Value) -> anyhow::Result<Value> {
        match self.try_ask(method, path, body).await? {
            Asked::Done(answer) => Ok(answer),
            Asked::Nobody(why) => Err(why),
        }
    }

    /// The same, told apart from a daemon that cannot be asked: it does not answer, or there is no token for it.
    async fn try_ask(&self, method: &Method, path: &[&str], body: &Value) -> anyhow::Result<Asked> {
        let token = match (self.token(), &self.token_file) {
            (Ok(token), _) => token,
            (Err(error), Some(_)) => return Err(error),
            (Err(error), None) => return Ok(Asked::Nobody(error)),
        };
        let mut url = self.server.clone();
        url.path_segments_mut()
            .map_err(|()| anyhow!("{} is not an address of a daemon", self.server))?
            .pop_if_empty()
            .extend(["api", "v1"])
            .extend(path);
        let request = app::http_client()?.request(method.clone(), url).bearer_auth(token).json(body);
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => {
                let why = if error.is_connect() { "no daemon answers at" } else { "there was no usable answer from" };
                let error = anyhow!("{why} {}; is `plimsoll serve` running there? say where with --server", self.server);
                return Ok(Asked::Nobody(error));
            }
        };
        let status = answer.status();
        let body: Value = answer.json().await.unwrap_or_default();
        if status.is_success() {
            return Ok(Asked::Done(body));
        }
        let message = body["error"]["message"].as_str().unwrap_or("it gave no reason");
        Err(match status {
            StatusCode::UNAUTHORIZED => anyhow!("the daemon does not know this token"),
            _ => anyhow!("the daemon refused: {message}"),
        })
    }
}
