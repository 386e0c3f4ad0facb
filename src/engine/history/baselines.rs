//! What a run is compared with when no other run is named: the pinned run of its profile, its last runs, or those of the version before.
//! Against several runs the error bar is the scatter between them, and nothing within the runs is read.

use super::compare::{CannotCompare, SideName, compared, ended_run};
use super::nights::past_as_stored;
use crate::analysis::comparison::{Comparison, Estimate, METHOD, Named, Outcome, Row, Scatter, Warning, overall, sentence};
use crate::analysis::regression::baseline::{Against, Baseline, Compared, against};
use crate::analysis::regression::comparable::Night;
use crate::analysis::regression::metric;
use crate::analysis::regression::past::{comparable_runs, scatter};
use crate::model::history::PastRun;
use crate::model::run::Run;
use crate::model::units::Timestamp;
use crate::store::Store;

/// Runs of a profile that are looked at.
const RUNS: u32 = 200;
/// Runs of `last` when no number is given.
const LAST: usize = 7;

/// One side of a comparison as asked for.
enum Wanted {
    Run(SideName),
    Pinned(Option<String>),
    Nights(Baseline),
}

fn wanted(side: &SideName) -> Wanted {
    match side.run.as_str() {
        "baseline" => Wanted::Pinned(side.part.clone()),
        "previous-version" => Wanted::Nights(Baseline::PreviousVersion),
        name => match name.strip_prefix("last-").map(|count| count.parse::<usize>().unwrap_or(LAST)) {
            Some(count) => Wanted::Nights(Baseline::Last(count)),
            None => Wanted::Run(side.clone()),
        },
    }
}

/// Compares two sides, of which one may be `baseline`, `last-N` or `previous-version`: that one is what is compared with.
pub async fn compare_any(store: &dyn Store, first: &SideName, second: &SideName) -> Result<Comparison, CannotCompare> {
    let (run, with) = match (wanted(first), wanted(second)) {
        (Wanted::Run(_), Wanted::Run(_)) => return with_scatter(store, first, second).await,
        (with, Wanted::Run(run)) | (Wanted::Run(run), with) => (run, with),
        _ => return Err(CannotCompare::NoRun),
    };
    let own = ended_run(store, &run.run).await?;
    match with {
        Wanted::Run(other) => with_scatter(store, &other, &run).await,
        Wanted::Pinned(part) => {
            let pinned = store.baseline(&own.profile).await?.ok_or_else(|| CannotCompare::NoBaseline(own.profile.clone()))?;
            let part = part.or_else(|| run.part.clone());
            with_scatter(store, &SideName { run: pinned.run.0, part }, &run).await
        }
        Wanted::Nights(baseline) => against_nights(store, &own, &baseline).await,
    }
}

async fn past_of(store: &dyn Store, run: &Run) -> Result<(Vec<PastRun>, Option<PastRun>), CannotCompare> {
    let past = past_as_stored(store, &run.profile, Some(Timestamp(run.started_at.0.saturating_add(1))), RUNS).await?;
    let own = past.iter().find(|other| other.id == run.id).cloned();
    Ok((past, own))
}

/// Two runs, with the scatter of the second's history where it is known.
async fn with_scatter(store: &dyn Store, first: &SideName, second: &SideName) -> Result<Comparison, CannotCompare> {
    let (a, b) = (ended_run(store, &first.run).await?, ended_run(store, &second.run).await?);
    let (past, own) = past_of(store, &b).await?;
    let known = own.filter(|own| own.numbers.is_some()).map(|own| {
        let (runs, mut relative) = scatter(&past, &own);
        for (of_night, of_series) in [("pool_peak", "pool_in_use"), ("memory_peak", "process_memory")] {
            if let Some(value) = relative.get(of_night).copied() {
                relative.insert(of_series.into(), value);
            }
        }
        Scatter { runs, relative }
    });
    compared(store, (&a, first), (&b, second), known.as_ref()).await
}

async fn against_nights(store: &dyn Store, run: &Run, baseline: &Baseline) -> Result<Comparison, CannotCompare> {
    let (past, own) = past_of(store, run).await?;
    let own = own.filter(|own| own.numbers.is_some()).ok_or_else(|| CannotCompare::NoNumbers(run.id.0.clone()))?;
    let found = comparable_runs(&past, &own);
    let mut rows = Vec::new();
    let (mut nights, mut why) = (0, None);
    for key in found.nights.last().map(|last| last.values.keys().cloned().collect::<Vec<_>>()).unwrap_or_default() {
        let (name, subject) = key.split_once(' ').map_or((key.as_str(), None), |(name, subject)| (name, Some(subject.to_owned())));
        let Some(metric) = metric::find(name) else { continue };
        // Each metric of each subject is a history of its own.
        let of = |night: &Night| {
            let values = night.values.get(&key).map(|value| (name.to_owned(), *value)).into_iter().collect();
            Night { values, ..night.clone() }
        };
        match against(&found.nights.iter().map(of).collect::<Vec<_>>(), metric, baseline) {
            Ok(told) => {
                nights = nights.max(told.nights);
                rows.push(row(subject, metric, &told));
            }
            Err(error) => why = Some(error.to_string()),
        }
    }
    if rows.is_empty() {
        return Err(CannotCompare::NoNights(why.unwrap_or_else(|| "the run cannot be compared with any other".into())));
    }
    let warnings: Vec<Warning> = found
        .left_out
        .iter()
        .map(|left| Warning { kind: "left_out", text: format!("run {} is left out: {}", left.run, left.why), grave: false })
        .collect();
    let outcome = overall(&rows, &[], false);
    let part = match baseline {
        Baseline::PreviousVersion => format!("{nights} runs of the version before"),
        Baseline::Last(_) | Baseline::Pinned(_) => format!("last {nights} runs"),
    };
    let second = Named {
        run: run.id.clone(),
        profile: run.profile.clone(),
        target: run.target.clone(),
        version: run.target_version.clone(),
        part: None,
        seconds: run.summary.as_ref().map_or(0, |summary| summary.seconds as u32),
    };
    let before = found.nights.iter().rev().nth(1);
    let first = Named {
        run: before.map_or_else(|| run.id.clone(), |night| night.run.clone()),
        version: before.and_then(|night| night.version.clone()),
        part: Some(part),
        ..second.clone()
    };
    let doubt = format!("Intervals of 95 % from the scatter between {nights} runs; one run that lies apart is no proof of a change.");
    let sentence = sentence(&rows, &[], outcome, false);
    Ok(Comparison { first, second, outcome, sentence, warnings, rows, reasons: Vec::new(), changes: None, doubt, method: METHOD })
}

fn row(subject: Option<String>, metric: &metric::Metric, told: &Against) -> Row {
    let share = |change: f64| 1.0 + change / told.baseline;
    let ratio = told.ratio().filter(|_| metric.name != "error_rate").map(|value| Estimate {
        value,
        low: share(told.interval.low),
        high: share(told.interval.high),
    });
    Row {
        subject,
        figure: metric.name.into(),
        unit: metric.unit,
        first: Some(told.baseline),
        second: Some(told.tonight),
        ratio,
        difference: Some(Estimate { value: told.difference, low: told.interval.low, high: told.interval.high }),
        outcome: match told.compared {
            Compared::Worse => Outcome::Worse,
            Compared::Better => Outcome::Better,
            Compared::Same => Outcome::Same,
            Compared::CannotTell => Outcome::CannotTell,
        },
    }
}
