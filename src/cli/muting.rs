//! `plimsoll silence` and `plimsoll ack`: keep a running daemon from telling, over its API; and `plimsoll notify`: try a channel.

use anyhow::anyhow;
use reqwest::Method;
use serde_json::{Value, json};

use super::control::ServerArguments;
use super::terminal::say_line;
use super::{ConfigArguments, Exit, Failure, Outcome, load};
use crate::alert::test_message;
use crate::app;
use crate::clock::{Clock, SystemClock};
use crate::model::alerting::{OutboxState, Outgoing};
use crate::model::muting::Matcher;
use crate::model::units::parse_duration;
use crate::notify::Delivery;
use crate::registry::suggest;

/// Arguments of `silence`.
#[derive(Debug, clap::Args)]
pub(super) struct SilenceArguments {
    #[command(subcommand)]
    what: SilenceCommand,
}

#[derive(Debug, clap::Subcommand)]
enum SilenceCommand {
    /// Silence alerts for a while
    Add {
        /// What must fit: `target=shop`, `pool!=main`, `pool=~main|side`, `pool!~test.*`
        #[arg(required = true, value_parser = matcher)]
        matchers: Vec<String>,
        /// How long, such as 2h
        #[arg(long = "for", value_name = "TIME", value_parser = duration, required_unless_present = "until")]
        duration: Option<String>,
        /// Until when, such as 2026-11-21T06:00:00Z
        #[arg(long, value_name = "WHEN", conflicts_with = "duration")]
        until: Option<String>,
        /// From when on; now, when it is not given
        #[arg(long, value_name = "WHEN")]
        from: Option<String>,
        /// Why
        #[arg(long, value_name = "TEXT")]
        comment: String,
        /// Who wants it; the name of the token, when it is not given
        #[arg(long, value_name = "NAME", default_value = "")]
        author: String,
        #[command(flatten)]
        server: ServerArguments,
    },
    /// List silences, those of the last week too
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: ServerArguments,
    },
    /// End a silence now
    Expire {
        /// Its id
        id: String,
        #[command(flatten)]
        server: ServerArguments,
    },
}

/// Arguments of `ack`.
#[derive(Debug, clap::Args)]
pub(super) struct AckArguments {
    /// Id of the incident or group, or the beginning or end of one
    incident: String,
    /// What the others should know
    #[arg(long, value_name = "TEXT", default_value = "")]
    comment: String,
    /// Who takes care of it; the name of the token, when it is not given
    #[arg(long, value_name = "NAME", default_value = "")]
    author: String,
    #[command(flatten)]
    server: ServerArguments,
}

/// Arguments of `notify`.
#[derive(Debug, clap::Args)]
pub(super) struct NotifyArguments {
    #[command(subcommand)]
    what: NotifyCommand,
}

#[derive(Debug, clap::Subcommand)]
enum NotifyCommand {
    /// Send a test message through a channel of the configuration, once and at once
    Test {
        /// Channel
        channel: String,
        #[command(flatten)]
        config: ConfigArguments,
    },
}

/// Checked here, so that a mistake is told without asking the daemon.
fn matcher(text: &str) -> Result<String, String> {
    Matcher::parse(text).map(|_| text.to_owned())
}

fn duration(text: &str) -> Result<String, String> {
    parse_duration(text).map(|_| text.to_owned()).map_err(|error| format!("{}; {}", error.message, error.hint))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn matchers(silence: &Value) -> String {
    silence["matchers"].as_array().into_iter().flatten().map(text).collect::<Vec<_>>().join(", ")
}

pub(super) async fn silence(arguments: SilenceArguments) -> Outcome {
    match arguments.what {
        SilenceCommand::Add { matchers: wanted, duration, until, from, comment, author, server } => {
            let mut body = json!({ "matchers": wanted, "comment": comment, "author": author });
            for (key, value) in [("duration", duration), ("ends_at", until), ("starts_at", from)] {
                if let Some(value) = value {
                    body[key] = value.into();
                }
            }
            let made = server.ask(&Method::POST, &["silences"], &body).await?;
            say_line!("silence {}: {} until {}", text(&made["id"]), matchers(&made), text(&made["ends_at"]));
        }
        SilenceCommand::List { json, server } => {
            let answer = server.ask(&Method::GET, &["silences"], &json!({})).await?;
            if json {
                say_line!("{answer}");
                return Ok(Exit::Passed);
            }
            let silences = answer["silences"].as_array().cloned().unwrap_or_default();
            if silences.is_empty() {
                say_line!("nothing is silenced, and nothing was in the last week");
            }
            for silence in silences {
                let ended = silence["ended_by"].as_str().map(|by| format!(", ended by {by}")).unwrap_or_default();
                let (id, state, until) = (text(&silence["id"]), text(&silence["state"]), text(&silence["ends_at"]));
                say_line!("{id} {state}: {} until {until}{ended}", matchers(&silence));
                say_line!("    {}: {}", text(&silence["author"]), text(&silence["comment"]));
            }
        }
        SilenceCommand::Expire { id, server } => {
            let ended = server.ask(&Method::DELETE, &["silences", &id], &json!({})).await?;
            say_line!("silence {} is over: {}", text(&ended["id"]), matchers(&ended));
        }
    }
    Ok(Exit::Passed)
}

pub(super) async fn ack(arguments: AckArguments) -> Outcome {
    let AckArguments { incident, comment, author, server } = arguments;
    let body = json!({ "comment": comment, "author": author });
    let answer = server.ask(&Method::POST, &["incidents", &incident, "ack"], &body).await?;
    for id in answer["incidents"].as_array().into_iter().flatten() {
        say_line!("{}: taken by {}; it is not repeated any more", text(id), text(&answer["acked"]["by"]));
    }
    Ok(Exit::Passed)
}

pub(super) async fn notify(arguments: NotifyArguments) -> Outcome {
    let NotifyCommand::Test { channel, config } = arguments.what;
    let setup = load(&config.config)?;
    let Some(spec) = setup.channels.get(&channel) else {
        let hint = suggest(&channel, setup.channels.keys().map(String::as_str));
        return Err(anyhow!("there is no channel `{channel}`: {hint}").into());
    };
    let now = SystemClock.now();
    let message = test_message(&channel, now);
    let outgoing = Outgoing {
        id: format!("{}-1-{channel}", message.incident),
        channel: channel.clone(),
        message,
        state: OutboxState::Waiting,
        attempts: 0,
        created_at: now,
        not_before: now,
        leased_until: None,
        done_at: None,
        detail: String::new(),
    };
    let notifier = spec.settings.connect(&app::notify_parts(&setup)?).map_err(|error| anyhow!(error))?;
    match notifier.send(&outgoing).await {
        Delivery::Delivered(place) => {
            say_line!("{channel}: delivered: {place}");
            Ok(Exit::Passed)
        }
        Delivery::Retry { reason, .. } => Err(Failure::Error(anyhow!("{channel}: {reason}; a daemon would try again"))),
        Delivery::GiveUp { reason, .. } => Err(Failure::Error(anyhow!("{channel}: {reason}; a daemon would give it up"))),
    }
}
