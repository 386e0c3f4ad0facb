//! `plimsoll serve`: the daemon.

use std::path::{Path, PathBuf};

use super::signals::{Asked, Signals};
use super::terminal::say_line;
use super::{Exit, Outcome, load, logging};
use crate::app::{self, App, Options};
use crate::config;
use crate::engine::handle::EngineHandle;

pub(super) async fn serve(path: &Path) -> Outcome {
    let setup = load(path)?;
    logging::start(&setup.log);
    let mut signals = Signals::listen()?;
    let again: PathBuf = path.to_path_buf();
    let loader = Box::new(move || config::load(&again, &app::KINDS).map_err(|report| report.to_string()));
    let app = app::start(Options { setup, loader, serve: true, alerting: true, own_store: true }).await?;
    announce(&app);
    let (stop, stop_now) = (app.stop.clone(), app.stop_now.clone());
    let engine = app.engine.clone();
    let ended = {
        let running = app.run();
        tokio::pin!(running);
        let mut engine = Some(engine);
        loop {
            tokio::select! {
                ended = &mut running => break ended,
                asked = signals.next() => match asked {
                    Asked::Reload => if let Some(engine) = &engine {
                        reload(engine).await;
                    },
                    Asked::Stop if stop.is_cancelled() => stop_now.cancel(),
                    Asked::Stop => {
                        engine = None;
                        stop.cancel();
                    }
                },
            }
        }
    };
    ended?;
    tracing::info!("stopped");
    Ok(Exit::Passed)
}

fn announce(app: &App) {
    if app.orphans > 0 {
        tracing::warn!(runs = app.orphans, "runs that were going on when the daemon died are marked as interrupted");
    }
    let setup = &app.engine.status().setup;
    tracing::info!(
        targets = setup.targets.len(),
        profiles = setup.profiles.len(),
        schedules = setup.schedules.len(),
        rules = setup.rules.len(),
        channels = setup.channels.len(),
        "plimsoll {} serves",
        env!("CARGO_PKG_VERSION")
    );
    if let Some(address) = app.address {
        say_line!("page     http://{address}/");
        say_line!("metrics  http://{address}/metrics");
        say_line!("api      http://{address}/api/v1/runs");
    }
    if setup.channels.is_empty() {
        tracing::warn!("there are no alert channels: nobody is told of an alert");
    }
}

async fn reload(engine: &EngineHandle) {
    // The engine has logged the outcome; the last good configuration stays in force when it is invalid.
    let _ = engine.reload("signal HUP").await;
}
