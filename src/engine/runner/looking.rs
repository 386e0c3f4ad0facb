//! Analysis of a run that goes on, and at its end. It takes tens of milliseconds, on a thread of its own: seconds that come in
//! meanwhile wait on their channel.

use std::sync::Arc;

use super::super::findings::{Looked, Observed};
use super::{Going, RunNews, send_news};
use crate::analysis::comparison::since::since;
use crate::model::run::Run;

impl Going {
    /// Looks at the run that goes on: what is found of leaks is stored, shown and told.
    pub(super) async fn look_meanwhile(&mut self) {
        let run = Run::clone(&self.run);
        let Looked { findings, analysed } = self.looked(&run, true).await;
        if findings.is_empty() {
            return;
        }
        self.parts.writer.findings(&run.id, findings);
        self.parts.metrics.trends(&run, &analysed.trends);
        send_news(&self.parts, RunNews::Looked(self.run.clone(), Arc::new(analysed.trends))).await;
    }

    /// What analysis says of the run; at its end also what changed since the run before.
    pub(super) async fn looked(&self, run: &Run, meanwhile: bool) -> Looked {
        let at = self.parts.clock.now();
        let (observed, asked, run) = (self.observed.clone(), self.asked.clone(), run.clone());
        let before = self.before.clone().filter(|_| !meanwhile);
        let look = move || {
            let look = if meanwhile { Observed::look_meanwhile } else { Observed::look };
            let mut looked = look(&observed, &run, &asked, at);
            looked.findings.extend(before.and_then(|before| since(&before, &run, at)));
            looked
        };
        tokio::task::spawn_blocking(look).await.unwrap_or_else(|error| {
            tracing::error!(run_id = %self.run.id, %error, "analysis broke off; this is a bug in Plimsoll");
            Looked::default()
        })
    }
}
