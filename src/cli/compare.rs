//! `plimsoll compare`: two runs, or two phases, figure by figure.

use anyhow::anyhow;

use super::terminal::{say, say_line};
use super::{ConfigArguments, Exit, Outcome, load};
use crate::app;
use crate::engine::history::baselines::compare_any;
use crate::engine::history::compare::SideName;
use crate::report::comparison::{comparison_json, comparison_text};

/// Arguments of `compare`.
#[derive(Debug, clap::Args)]
pub(super) struct CompareArguments {
    /// What is compared with: a run (id, its beginning or end, or `last`), with `:PHASE` a part of it
    #[arg(value_name = "A[:PHASE]")]
    first: SideName,
    /// What is compared: likewise. One of the two may be `baseline` (the pinned run), `last-7` or `previous-version`
    #[arg(value_name = "B[:PHASE]")]
    second: SideName,
    #[command(flatten)]
    config: ConfigArguments,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn compare(arguments: CompareArguments) -> Outcome {
    let store = app::open_store(&load(&arguments.config.config)?).await?;
    let compared = compare_any(store.as_ref(), &arguments.first, &arguments.second).await.map_err(|error| anyhow!("{error}"))?;
    if arguments.json {
        say_line!("{}", comparison_json(&compared));
    } else {
        say!("{}", comparison_text(&compared));
    }
    Ok(Exit::Passed)
}
