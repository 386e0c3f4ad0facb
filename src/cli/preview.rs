//! `plimsoll alerts preview` and `plimsoll digest`: messages as they would be sent, with made-up figures or those of an incident. Nothing is
//! sent, and nothing is written but the files that are asked for.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};

use super::terminal::{say_line, warn_line};
use super::{ConfigArguments, Exit, Failure, Outcome, load};
use crate::alert::{example_message, example_of};
use crate::app;
use crate::clock::{Clock, SystemClock};
use crate::engine::digests;
use crate::engine::setup::Setup;
use crate::model::alerting::{Message, MessageKind};
use crate::notify::Words;
use crate::registry::suggest;

/// Messages of the store that are looked through for an incident.
const LOOKED_THROUGH: u32 = 2_000;

/// Arguments of `alerts preview`.
#[derive(Debug, clap::Args)]
pub(super) struct PreviewArguments {
    /// Only as this channel tells it
    #[arg(long, value_name = "NAME")]
    channel: Option<String>,
    /// An example of this rule
    #[arg(long, value_name = "NAME", conflicts_with = "incident")]
    rule: Option<String>,
    /// What was told of a real incident: its id or the end of it, or `last`
    #[arg(long, value_name = "ID")]
    incident: Option<String>,
    /// Write the HTML of each message into this folder
    #[arg(long, value_name = "FOLDER")]
    html: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArguments,
}

/// Arguments of `digest`.
#[derive(Debug, clap::Args)]
pub(super) struct DigestArguments {
    /// Digest; all of them, when it is not given
    name: Option<String>,
    /// Write the HTML of each into this folder
    #[arg(long, value_name = "FOLDER")]
    html: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArguments,
}

pub(super) async fn preview(arguments: PreviewArguments) -> Outcome {
    let setup = load(&arguments.config.config)?;
    let known: Vec<&str> = setup.channels.keys().map(String::as_str).collect();
    let channels: Vec<&str> = match &arguments.channel {
        Some(channel) if known.contains(&channel.as_str()) => vec![channel],
        Some(channel) => return Err(unknown("channel", channel, known.into_iter())),
        None => known,
    };
    if channels.is_empty() {
        return Err(anyhow!("the configuration has no channels").into());
    }
    let mut messages = match (&arguments.incident, &arguments.rule) {
        (Some(incident), _) => told(&setup, incident).await?,
        (None, rule) => examples(&setup, rule.as_deref())?,
    };
    messages.sort_by_key(|message| (message.incident.clone(), message.seq));
    messages.dedup_by(|one, other| (&one.incident, one.seq) == (&other.incident, other.seq));
    for channel in channels {
        for message in &messages {
            show(&setup, channel, message, arguments.html.as_deref())?;
        }
    }
    Ok(Exit::Passed)
}

pub(super) async fn digest(arguments: DigestArguments) -> Outcome {
    let setup = load(&arguments.config.config)?;
    let names = || setup.digests.iter().map(|digest| digest.name.as_str());
    if let Some(name) = arguments.name.as_ref().filter(|name| !names().any(|known| known == name.as_str())) {
        return Err(unknown("digest", name, names()));
    }
    let wanted: Vec<_> = setup.digests.iter().filter(|digest| arguments.name.as_ref().is_none_or(|name| *name == digest.name)).collect();
    if wanted.is_empty() {
        return Err(anyhow!("the configuration has no digests: add `digests` to `alerts`").into());
    }
    let store = app::open_store(&setup).await?;
    for digest in wanted {
        let message = digests::preview(store.as_ref(), &setup, digest, SystemClock.now()).await.map_err(anyhow::Error::from)?;
        for channel in &digest.send {
            show(&setup, channel, &message, arguments.html.as_deref())?;
        }
    }
    Ok(Exit::Passed)
}

fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str> + Clone) -> Failure {
    let hint = suggest(name, known);
    anyhow!("there is no {what} `{name}`: {hint}").into()
}

/// What was told of an incident, whatever the channel.
async fn told(setup: &Setup, incident: &str) -> Result<Vec<Message>, Failure> {
    let store = app::open_store(setup).await?;
    let all = store.messages(None, LOOKED_THROUGH).await.map_err(anyhow::Error::from)?;
    let newest = all.first().map(|outgoing| outgoing.message.incident.clone());
    let is_it = |message: &Message| match incident {
        "last" => newest.as_ref() == Some(&message.incident),
        incident => message.incident.ends_with(incident),
    };
    let found: Vec<Message> = all.into_iter().map(|outgoing| outgoing.message).filter(is_it).collect();
    if found.is_empty() {
        return Err(anyhow!("nothing was told of an incident `{incident}`").into());
    }
    Ok(found)
}

/// A made-up fire and its resolve.
fn examples(setup: &Setup, rule: Option<&str>) -> Result<Vec<Message>, Failure> {
    let now = SystemClock.now();
    let kinds = [MessageKind::Fired, MessageKind::Resolved];
    let Some(name) = rule else { return Ok(kinds.map(|kind| example_message(kind, now)).into()) };
    match setup.rules.iter().find(|rule| rule.name == name) {
        Some(rule) => Ok(kinds.map(|kind| example_of(rule, kind, now)).into()),
        None => Err(unknown("rule", name, setup.rules.iter().map(|rule| rule.name.as_str()))),
    }
}

/// Prints a message in the words of a channel.
fn show(setup: &Setup, channel: &str, message: &Message, folder: Option<&Path>) -> Result<(), Failure> {
    let template = setup.templates.get(channel);
    let (message, words) = match template.map(|template| template.apply(message)) {
        Some(Ok(written)) => written,
        Some(Err(why)) => {
            let name = template.map(|template| template.name()).unwrap_or_default();
            warn_line!("{channel}: template `{name}` could not be filled in ({why}); these are the built-in words");
            (message.clone(), Words::default())
        }
        None => (message.clone(), Words::default()),
    };
    let preview = crate::notify::preview(&message, &words);
    let place = setup.channels.get(channel).map(|spec| spec.settings.describe()).unwrap_or_default();
    say_line!("=== {channel} ({place}): {}", message.kind);
    say_line!("Subject: {}", preview.subject);
    say_line!("");
    say_line!("{}", preview.text);
    if let Some(folder) = folder {
        let path = folder.join(format!("{channel}-{}-{}.html", message.kind, message.seq));
        std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(&path, &preview.html))
            .with_context(|| format!("{} cannot be written", path.display()))?;
        say_line!("HTML: {}", path.display());
    }
    Ok(())
}
