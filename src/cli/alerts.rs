//! `plimsoll alerts`: what can be done with alert rules without a daemon.

use std::path::{Path, PathBuf};

use anyhow::anyhow;

use super::preview::{PreviewArguments, preview};
use super::terminal::{say_line, warn_line};
use super::{DEFAULT_CONFIG, Exit, Failure, Outcome, load};
use crate::alert::judge_trial;
use crate::config;

/// Arguments of `alerts`.
#[derive(Debug, clap::Args)]
pub(super) struct AlertsArguments {
    #[command(subcommand)]
    what: AlertsCommand,
}

#[derive(Debug, clap::Subcommand)]
enum AlertsCommand {
    /// Put the rules to the test: series in, expected alerts out
    Test {
        /// File of tests
        file: PathBuf,
        /// Configuration with the rules; else the one that the file names
        #[arg(short, long, value_name = "PATH")]
        config: Option<PathBuf>,
    },
    /// Print messages as they would be sent, in the words of each channel
    Preview(PreviewArguments),
}

pub(super) async fn alerts(arguments: AlertsArguments) -> Outcome {
    match arguments.what {
        AlertsCommand::Test { file, config } => test(&file, config),
        AlertsCommand::Preview(arguments) => preview(arguments).await,
    }
}

fn test(file: &Path, config: Option<PathBuf>) -> Outcome {
    let tests = config::rule_tests(file).map_err(|why| Failure::Error(anyhow!(why)))?;
    let setup = load(&config.or(tests.configuration).unwrap_or_else(|| DEFAULT_CONFIG.into()))?;
    let mut failed = 0;
    for trial in &tests.trials {
        let wrong = judge_trial(trial, &setup.rules);
        failed += u32::from(!wrong.is_empty());
        say_line!("{} {}", if wrong.is_empty() { "ok    " } else { "FAILED" }, trial.name);
        for wrong in wrong {
            warn_line!("  {wrong}");
        }
    }
    if failed > 0 {
        return Err(anyhow!("{failed} of {} tests failed", tests.trials.len()).into());
    }
    say_line!("{} tests passed", tests.trials.len());
    Ok(Exit::Passed)
}
