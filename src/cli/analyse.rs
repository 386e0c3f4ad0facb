//! `plimsoll analyse RUN`: what analysis says of a stored run, with the methods of this program.

use super::terminal::{say, say_line, warn_line};
use super::{ConfigArguments, Exit, Failure, Outcome, load};
use crate::app;
use crate::clock::{Clock, SystemClock};
use crate::engine::findings::{NotAnalysed, analyse as analyse_run};
use crate::engine::own::judged;
use crate::model::analysed::TrendVerdict;
use crate::report;
use crate::store::Store;

/// The word for the daemon itself.
const ITSELF: &str = "self";

/// Arguments of `analyse`.
#[derive(Debug, clap::Args)]
pub(super) struct AnalyseArguments {
    /// Id of the run, the beginning or end of one, or `last`; `self`: the daemon's own memory, descriptors and threads
    run: String,
    #[command(flatten)]
    config: ConfigArguments,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn analyse(arguments: AnalyseArguments) -> Outcome {
    let store = app::open_store(&load(&arguments.config.config)?).await?;
    if arguments.run == ITSELF {
        return itself(store.as_ref(), arguments.json).await;
    }
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

/// What the readings that the daemon takes of itself come to.
async fn itself(store: &dyn Store, json: bool) -> Outcome {
    let trends = judged(store, SystemClock.now()).await.map_err(anyhow::Error::from)?;
    if json {
        say_line!("{}", serde_json::json!({ "trends": trends }));
    } else if trends.is_empty() {
        say_line!("the daemon has stored readings of itself of less than half a day: nothing can be said yet");
    }
    for trend in trends.iter().filter(|_| !json) {
        let process = trend.probe.as_deref().unwrap_or("-");
        say_line!("{:<8} {:<12} {process}: {}", trend.verdict.as_str(), trend.resource.as_str(), trend.title);
    }
    let leaks = trends.iter().any(|trend| trend.verdict == TrendVerdict::Leak);
    Ok(if leaks { Exit::Failed } else { Exit::Passed })
}
