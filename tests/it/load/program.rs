//! `plimsoll run --json` on a configuration of the test's own: what it printed, how it ended, and that the books are kept.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that failed")]

use std::path::{Path, PathBuf};

use plimsoll::model::run::{Run, Verdict};

use crate::servers::daemon::plimsoll;
use crate::servers::{Child, temp_dir};

/// What a finished command left behind.
pub(crate) struct Done {
    /// Exit code.
    pub(crate) code: i32,
    /// The run as printed.
    pub(crate) run: Run,
}

/// A configuration with one target `shop` and one profile `main`.
pub(crate) struct Plan<'a> {
    pub(crate) base_url: &'a str,
    /// Further keys of the target, in flow style, each line with its indent of 4.
    pub(crate) target: &'a str,
    /// `scenarios:` as one flow mapping.
    pub(crate) scenarios: &'a str,
    /// Further keys of the profile, each line with its indent of 4.
    pub(crate) profile: &'a str,
    /// Top level keys.
    pub(crate) top: &'a str,
}

impl Plan<'_> {
    /// The configuration file in `folder`.
    pub(crate) fn write(&self, folder: &Path) -> PathBuf {
        let Self { base_url, target, scenarios, profile, top } = self;
        let path = folder.join("plimsoll.yaml");
        let text = format!(
            "storage: {{ url: \"sqlite://{}/plimsoll.db\" }}\n{top}\ntargets:\n  shop:\n    base_url: {base_url}\n{target}\nprofiles:\n  main:\n    target: shop\n    scenarios: {scenarios}\n{profile}\n",
            folder.display()
        );
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Runs it to its end; the run must be there and its books must be kept.
    pub(crate) async fn run(&self) -> Done {
        let folder = temp_dir();
        let config = self.write(folder.path());
        let (code, stdout, stderr) = execute(&config).await;
        let run = serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("exit code {code}, {error}:\n{stdout}\n{stderr}"));
        check_books(&run);
        Done { code, run }
    }

    /// Starts it and leaves it running.
    pub(crate) fn spawn(&self, folder: &Path) -> Child {
        let config = self.write(folder);
        Child::spawn("run", folder, &mut plimsoll(&["run", "main", "--json", "--config", config.to_str().unwrap()]))
    }
}

/// Exit code, standard output and standard error of a run.
pub(crate) async fn execute(config: &Path) -> (i32, String, String) {
    let mut command = plimsoll(&["run", "main", "--json", "--config", config.to_str().unwrap()]);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// The run in what a child printed.
pub(crate) fn printed_run(output: &str) -> Run {
    let line = output.lines().find(|line| line.starts_with("{\"")).unwrap_or_else(|| panic!("no run in:\n{output}"));
    let run = serde_json::from_str(line).unwrap();
    check_books(&run);
    run
}

/// Nothing vanishes: what every run has in common, whatever happened to it.
pub(crate) fn check_books(run: &Run) {
    let summary = run.summary.as_ref().unwrap();
    for scenario in &summary.scenarios {
        assert_eq!(scenario.counts.breach(), None, "{scenario:?}");
        let open = run.catalog.scenarios.iter().any(|meta| meta.name == scenario.scenario && meta.open);
        assert_eq!(scenario.censored, if open { scenario.counts.dropped } else { 0 }, "{scenario:?}");
        assert!(scenario.with_failed_check <= scenario.counts.completed + scenario.counts.failed, "{scenario:?}");
    }
    for step in summary.steps.iter().chain([&summary.total]) {
        assert_eq!(step.reasons.values().sum::<u64>(), step.failed, "{step:?}");
        let ok = step.requests - step.failed;
        let answered: u64 = step.reasons.iter().filter(|(reason, _)| reason.has_answer()).map(|(_, count)| count).sum();
        assert_eq!(step.service.map_or(0, |service| service.count), ok + answered, "{step:?}");
        assert!(step.messages.keys().all(|reason| step.reasons.contains_key(reason)), "{step:?}");
    }
    let sum = |count: fn(&plimsoll::model::run::StepSummary) -> u64| summary.steps.iter().map(count).sum::<u64>();
    let total = &summary.total;
    assert_eq!((sum(|step| step.requests), sum(|step| step.failed)), (total.requests, total.failed));
    assert_eq!((sum(|step| step.connections), sum(|step| step.bytes_received)), (total.connections, total.bytes_received));
    assert_eq!(summary.intervals_lost, 0);
}

impl Done {
    /// Exit code and verdict, with what to read when they are not as wanted.
    pub(crate) fn assert(&self, code: i32, verdict: Option<Verdict>) {
        let Run { reasons, thresholds, summary, .. } = &self.run;
        assert_eq!((self.code, self.run.verdict), (code, verdict), "{reasons:?}\n{thresholds:?}\n{summary:?}");
    }
}
