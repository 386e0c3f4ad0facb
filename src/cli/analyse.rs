//! `plimsoll analyse RUN`: what analysis says of a stored run, with the methods of this program.

use super::terminal::{say, say_line, warn_line};
use super::{ConfigArguments, Exit, Failure, Outcome, load};
use crate::app;
use crate::clock::{Clock, SystemClock};
use crate::engine::findings::{NotAnalysed, analyse as analyse_run};
use crate::report;

/// Arguments of `analyse`.
#[derive(Debug, clap::Args)]
pub(super) struct AnalyseArguments {
    /// Id of the run, the beginning or end of one, or `last`
    run: String,
    #[command(flatten)]
    config: ConfigArguments,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn analyse(arguments: AnalyseArguments) -> Outcome {
    let store = app::open_store(&load(&arguments.config.config)?).await?;
    let Some(run) = store.run(&arguments.run).await.map_err(anyhow::Error::from)? else {
        warn_line!("error: there is no run `{}`, or more than one begins or ends so; `plimsoll runs` lists them", arguments.run);
        return Err(Failure::Exit(Exit::Failed));
    };
    let (run, looked) = match analyse_run(store.as_ref(), &run, SystemClock.now()).await {
        Ok(analysed) => analysed,
        Err(error @ (NotAnalysed::GoingOn(_) | NotAnalysed::Nothing(_))) => {
            warn_line!("error: {error}");
            return Err(Failure::Exit(Exit::Failed));
        }
        Err(NotAnalysed::Store(error)) => return Err(anyhow::Error::from(error).into()),
    };
    if arguments.json {
        let findings: Vec<serde_json::Value> = looked.findings.iter().map(report::finding_json).collect();
        say_line!("{}", serde_json::json!({ "run": run.id, "findings": findings, "analysed": looked.analysed }));
    } else {
        say!("{}", report::analysis_text(&run, &looked.findings));
    }
    Ok(Exit::Passed)
}
