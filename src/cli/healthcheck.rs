//! `plimsoll healthcheck`: asks a running daemon whether it is ready; for containers without curl.

use anyhow::Context;

use super::terminal::say;
use super::{Exit, Outcome};
use crate::app;

/// Arguments of `healthcheck`.
#[derive(Debug, clap::Args)]
pub(super) struct HealthArguments {
    /// Address of the daemon
    #[arg(long, default_value = "http://127.0.0.1:9611")]
    url: url::Url,
}

pub(super) async fn healthcheck(arguments: HealthArguments) -> Outcome {
    let url = arguments.url.join("/-/ready").context("the address cannot be used")?;
    let answer = app::http_client()?.get(url.clone()).send().await.with_context(|| format!("{url} does not answer"))?;
    let status = answer.status();
    let text = answer.text().await.unwrap_or_default();
    say!("{text}");
    Ok(if status.is_success() { Exit::Passed } else { Exit::Failed })
}
