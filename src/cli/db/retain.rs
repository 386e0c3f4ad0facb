//! `plimsoll db retain`: removes what is older than its retention says, or shows what would go.

use std::collections::BTreeMap;

use super::super::terminal::{say, say_line};
use super::super::{ConfigArguments, Exit, Outcome, load};
use crate::app;
use crate::clock::{Clock, SystemClock};
use crate::engine::upkeep;
use crate::model::retention::{KeptRun, Record, Removal};
use crate::model::units::Timestamp;

#[derive(Debug, clap::Args)]
pub(super) struct RetainArguments {
    /// Show what would go, and remove nothing
    #[arg(long)]
    dry_run: bool,
    /// Then write a SQLite file anew, as small as can be; nobody can write meanwhile
    #[arg(long, conflicts_with = "dry_run")]
    compact: bool,
    #[command(flatten)]
    config: ConfigArguments,
}

pub(super) async fn retain(arguments: RetainArguments) -> Outcome {
    let setup = load(&arguments.config.config)?;
    let store = app::open_store(&setup).await?;
    let (policies, now) = (&setup.storage.retention, SystemClock.now());
    if arguments.dry_run {
        let plan = upkeep::retention_plan(&*store, policies, now).await.map_err(anyhow::Error::from)?;
        say!("{}", table(&plan));
        return Ok(Exit::Passed);
    }
    let done = upkeep::retain(&*store, policies, now).await.map_err(anyhow::Error::from)?;
    say!("{}", table(&done.removals));
    say_line!("{} rows deleted, {} partitions dropped", done.rows, done.partitions);
    if arguments.compact {
        store.compact().await.map_err(anyhow::Error::from)?;
        say_line!("the file was written anew");
    } else if done.space.needs_compacting {
        let free = done.space.free_bytes;
        say_line!("{free} bytes of the file are free and will be used again; `plimsoll db retain --compact` gives them back");
    } else if done.space.returned_bytes > 0 {
        say_line!("{} bytes given back", done.space.returned_bytes);
    }
    Ok(Exit::Passed)
}

/// One line of the table: runs of a profile that lose the same for the same reason.
struct Line {
    runs: usize,
    first: Timestamp,
    last: Timestamp,
}

/// What goes, in columns for people.
fn table(plan: &[Removal]) -> String {
    let mut groups: BTreeMap<(String, String, String), Line> = BTreeMap::new();
    let mut readings = Vec::new();
    for removal in plan {
        let (run, what, reason): (&KeptRun, String, &String) = match removal {
            Removal::Run { run, reason } => (run, "whole runs".into(), reason),
            Removal::Series { run, up_to, reason } => (run, format!("series up to {up_to}"), reason),
            Removal::Readings { resolution, before } => {
                readings.push([
                    "readings between runs".into(),
                    resolution.to_string(),
                    String::new(),
                    format!("before {before}"),
                    String::new(),
                ]);
                continue;
            }
            Removal::Records { record, before } => {
                let what = match record {
                    Record::Ticks => "instants of schedules",
                    Record::Alerts => "changes of alerts",
                    Record::Messages => "messages that are done",
                };
                readings.push(["records".into(), what.into(), String::new(), format!("before {before}"), String::new()]);
                continue;
            }
        };
        let at = run.started_at;
        let line = groups.entry((run.profile.clone(), what, reason.clone())).or_insert(Line { runs: 0, first: at, last: at });
        line.runs += 1;
        (line.first, line.last) = (line.first.min(at), line.last.max(at));
    }
    if groups.is_empty() && readings.is_empty() {
        return "nothing is too old\n".into();
    }
    let head = ["PROFILE", "WHAT", "RUNS", "STARTED", "WHY"].map(String::from);
    let rows = groups
        .into_iter()
        .map(|((profile, what, reason), line)| [profile, what, line.runs.to_string(), format!("{} to {}", line.first, line.last), reason]);
    let rows: Vec<[String; 5]> = std::iter::once(head).chain(rows).chain(readings).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 4] = std::array::from_fn(width);
    let line = |row: &[String; 5]| {
        let [a, b, c, d] = widths;
        format!("{:<a$}  {:<b$}  {:>c$}  {:<d$}  {}", row[0], row[1], row[2], row[3], row[4]).trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::rollup::Resolution;
    use crate::model::run::RunId;

    #[test]
    fn runs_that_lose_the_same_are_one_line() {
        let at = |text: &str| Timestamp::parse(text).unwrap();
        let run = |id: &str, started: &str| KeptRun {
            id: RunId(id.into()),
            profile: "soak".into(),
            started_at: at(started),
            ended_at: None,
            rolled: true,
            finest: Some(Resolution::Second),
            pin: None,
        };
        let series = |run| Removal::Series { run, up_to: Resolution::Second, reason: "1s is kept for 7d".into() };
        let plan = [
            Removal::Readings { resolution: Resolution::Second, before: at("2026-11-14T00:00:00Z") },
            Removal::Records { record: Record::Messages, before: at("2026-08-23T00:00:00Z") },
            series(run("a", "2026-11-02T02:00:00Z")),
            series(run("b", "2026-11-01T02:00:00Z")),
            Removal::Run { run: run("c", "2026-01-01T02:00:00Z"), reason: "more than 5000 runs of `soak`".into() },
        ];
        insta::assert_snapshot!(table(&plan), @r"
        PROFILE                WHAT                    RUNS  STARTED                                               WHY
        soak                   series up to 1s            2  2026-11-01T02:00:00.000Z to 2026-11-02T02:00:00.000Z  1s is kept for 7d
        soak                   whole runs                 1  2026-01-01T02:00:00.000Z to 2026-01-01T02:00:00.000Z  more than 5000 runs of `soak`
        readings between runs  1s                            before 2026-11-14T00:00:00.000Z
        records                messages that are done        before 2026-08-23T00:00:00.000Z
        ");
        assert_eq!(table(&[]), "nothing is too old\n");
    }
}
