//! `plimsoll captures RUN`: what was captured during a run, and one of it into a file.

use std::path::PathBuf;

use super::terminal::{say, say_line, warn_line};
use super::{ConfigArguments, Exit, Failure, Outcome, load};
use crate::app;
use crate::report;

/// Arguments of `captures`.
#[derive(Debug, clap::Args)]
pub(super) struct CapturesArguments {
    /// Id of the run, the beginning or end of one, or `last`
    run: String,
    /// Number of a capture whose content is written into a file
    #[arg(long)]
    get: Option<u32>,
    /// File for it; by default its own name, in this folder
    #[arg(long, requires = "get")]
    to: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArguments,
    /// Print JSON
    #[arg(long, conflicts_with = "get")]
    json: bool,
}

pub(super) async fn captures(arguments: CapturesArguments) -> Outcome {
    let store = app::open_store(&load(&arguments.config.config)?).await?;
    let Some(run) = store.run(&arguments.run).await.map_err(anyhow::Error::from)? else {
        warn_line!("error: there is no run `{}`, or more than one begins or ends so; `plimsoll runs` lists them", arguments.run);
        return Err(Failure::Exit(Exit::Failed));
    };
    let Some(number) = arguments.get else {
        let captures = store.captures(&run.id).await.map_err(anyhow::Error::from)?;
        if arguments.json {
            say_line!("{}", serde_json::json!({ "run": run.id, "captures": captures }));
        } else {
            say!("{}", report::captures_table(&captures));
        }
        return Ok(Exit::Passed);
    };
    let Some((captured, content)) = store.capture(&run.id, number).await.map_err(anyhow::Error::from)? else {
        warn_line!("error: run {} has no capture {number}", run.id);
        return Err(Failure::Exit(Exit::Failed));
    };
    if let Some(error) = captured.error {
        warn_line!("error: capture {number} failed: {error}");
        return Err(Failure::Exit(Exit::Failed));
    }
    let path = arguments.to.unwrap_or_else(|| PathBuf::from(&captured.file));
    // Never over a file that is there.
    let written = tokio::fs::OpenOptions::new().write(true).create_new(true).open(&path).await;
    let written = match written {
        Ok(mut file) => tokio::io::AsyncWriteExt::write_all(&mut file, &content).await,
        Err(error) => Err(error),
    };
    if let Err(error) = written {
        warn_line!("error: {} cannot be written: {error}", path.display());
        return Err(Failure::Exit(Exit::Failed));
    }
    say_line!("{}", path.display());
    Ok(Exit::Passed)
}
