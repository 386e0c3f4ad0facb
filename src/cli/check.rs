//! `plimsoll check` and `plimsoll schema`.

use std::path::PathBuf;

use super::terminal::say_line;
use super::{DEFAULT_CONFIG, Exit, Outcome, checked};
use crate::app;
use crate::config;

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
pub(super) struct CheckArguments {
    /// Configuration: a file, or a folder of files
    #[arg(value_name = "PATH", default_value = DEFAULT_CONFIG)]
    path: PathBuf,
}

pub(super) fn check(arguments: &CheckArguments) -> Outcome {
    let setup = checked(&arguments.path)?;
    let plural = |count: usize, one: &str| if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") };
    say_line!(
        "{}: valid: {}, {}, {}, {}, {}",
        arguments.path.display(),
        plural(setup.targets.len(), "target"),
        plural(setup.profiles.len(), "profile"),
        plural(setup.schedules.len(), "schedule"),
        plural(setup.rules.len(), "alert rule"),
        plural(setup.channels.len(), "channel"),
    );
    for (profile, note) in setup.profiles.values().flat_map(|profile| profile.notes.iter().map(|note| (&profile.name, note))) {
        say_line!("note: profile `{profile}`: {note}");
    }
    if setup.channels.is_empty() {
        say_line!("note: there are no alert channels, so nobody is told; add `alerts: {{ channels: … }}`");
    }
    Ok(Exit::Passed)
}

pub(super) fn schema() -> Outcome {
    let schema = serde_json::to_string_pretty(&config::schema(&app::KINDS)).map_err(anyhow::Error::from)?;
    say_line!("{schema}");
    Ok(Exit::Passed)
}
