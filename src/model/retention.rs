//! How long what is kept: policies per profile, and the plan that follows from them and the present state. Pure: the deed is the
//! store's. Finer resolutions go before coarser ones; a run that is pinned, a baseline, or not rolled up yet loses nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use super::rollup::Resolution;
use super::run::RunId;
use super::units::{Timestamp, format_duration};
use crate::choice;

const DAY: u64 = 86_400;

choice! {
    /// Why a run is kept whatever its age.
    pub enum Pin {
        /// Somebody asked for it.
        Pinned = "pinned",
        /// Others are compared with it.
        Baseline = "baseline",
    }
}

/// How long what is kept, counted from the end of a run or from the reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Per resolution, from the finest on; `None` = for ever.
    pub series: [Option<Duration>; 4],
    /// Most runs of one profile; the oldest go with everything about them. `None` = all.
    pub runs: Option<u32>,
}

impl Default for Policy {
    fn default() -> Self {
        let days = |days| Some(Duration::from_secs(days * DAY));
        Self { series: [days(7), days(30), days(180), None], runs: Some(5_000) }
    }
}

impl Policy {
    /// How long `resolution` is kept: at least as long as every finer one, because those are answered from it.
    pub fn keeps(&self, resolution: Resolution) -> Option<Duration> {
        let finer = self.series.iter().take(resolution as usize + 1);
        finer.copied().reduce(|a, b| a.zip(b).map(|(a, b)| a.max(b))).flatten()
    }
}

choice! {
    /// What is written down once and told later: neither series nor runs.
    pub enum Record {
        /// What became of the instants of schedules; the newest of each schedule stays.
        Ticks = "ticks",
        /// Changes of alerts; those of an incident that is open stay.
        Alerts = "alerts",
        /// Messages that were sent or given up; those of an incident that is open stay.
        Messages = "messages",
    }
}

/// How long records are kept, in the order of [`Record`]; `None` = for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Records(pub [Option<Duration>; 3]);

impl Default for Records {
    fn default() -> Self {
        Self([400, 400, 90].map(|days| Some(Duration::from_secs(days * DAY))))
    }
}

/// The policies in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policies {
    /// Of everything that has no own.
    pub default: Policy,
    /// Of profiles.
    pub profiles: BTreeMap<String, Policy>,
    /// Of records.
    pub records: Records,
}

impl Policies {
    /// The policy of a profile.
    pub fn of(&self, profile: &str) -> &Policy {
        self.profiles.get(profile).unwrap_or(&self.default)
    }
}

/// What retention knows of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptRun {
    /// The run.
    pub id: RunId,
    /// Its profile.
    pub profile: String,
    /// Its start.
    pub started_at: Timestamp,
    /// Its end; `None` while it goes on.
    pub ended_at: Option<Timestamp>,
    /// All of it is rolled up.
    pub rolled: bool,
    /// The finest resolution that is kept; `None` = no series any more.
    pub finest: Option<Resolution>,
    /// Why it is kept whatever its age.
    pub pin: Option<Pin>,
}

/// Something that goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal {
    /// A run with everything about it.
    Run {
        /// The run.
        run: KeptRun,
        /// Why.
        reason: String,
    },
    /// The series of a run from its finest resolution up to this one.
    Series {
        /// The run.
        run: KeptRun,
        /// The coarsest that goes.
        up_to: Resolution,
        /// Why.
        reason: String,
    },
    /// Readings taken between runs.
    Readings {
        /// Their resolution.
        resolution: Resolution,
        /// Those from before this moment.
        before: Timestamp,
    },
    /// Records.
    Records {
        /// Which.
        record: Record,
        /// Those from before this moment.
        before: Timestamp,
    },
}

/// What goes now: first readings and records, then series, then runs.
pub fn plan(runs: &[KeptRun], policies: &Policies, now: Timestamp) -> Vec<Removal> {
    let mut plan = Vec::new();
    for resolution in Resolution::ALL {
        if let Some(keep) = policies.default.keeps(*resolution) {
            plan.push(Removal::Readings { resolution: *resolution, before: now.minus(keep) });
        }
    }
    for (record, keep) in Record::ALL.iter().zip(policies.records.0) {
        if let Some(keep) = keep {
            plan.push(Removal::Records { record: *record, before: now.minus(keep) });
        }
    }
    let mut newest: Vec<&KeptRun> = runs.iter().collect();
    newest.sort_by(|a, b| b.started_at.cmp(&a.started_at).then_with(|| b.id.cmp(&a.id)));
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    let mut whole = Vec::new();
    for run in newest {
        let policy = policies.of(&run.profile);
        let rank = seen.entry(&run.profile).or_default();
        *rank += 1;
        if run.pin.is_some() {
            // Pinned runs do not use up the number of others.
            *rank -= 1;
            continue;
        }
        let Some(ended_at) = run.ended_at else { continue };
        if let Some(most) = policy.runs.filter(|most| *rank > *most) {
            whole.push(Removal::Run { run: run.clone(), reason: format!("more than {most} runs of `{}`", run.profile) });
            continue;
        }
        if run.rolled {
            plan.extend(series_of(run, policy, ended_at, now));
        }
    }
    plan.extend(whole);
    plan
}

/// What goes of the series of a run.
fn series_of(run: &KeptRun, policy: &Policy, ended_at: Timestamp, now: Timestamp) -> Option<Removal> {
    let age = now.since(ended_at);
    let kept = Resolution::ALL.iter().copied().filter(|resolution| run.finest.is_some_and(|finest| *resolution >= finest));
    let (up_to, keep) = kept.map_while(|one| policy.keeps(one).filter(|keep| age > *keep).map(|keep| (one, keep))).last()?;
    let reason = format!("{up_to} is kept for {}", format_duration(keep));
    Some(Removal::Series { run: run.clone(), up_to, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000_000);

    fn days(days: u64) -> Duration {
        Duration::from_secs(days * DAY)
    }

    fn run(id: &str, profile: &str, age: u64) -> KeptRun {
        KeptRun {
            id: RunId(id.into()),
            profile: profile.into(),
            started_at: NOW.minus(days(age) + Duration::from_secs(3_600)),
            ended_at: Some(NOW.minus(days(age))),
            rolled: true,
            finest: Some(Resolution::Second),
            pin: None,
        }
    }

    /// The plan in short: readings left out.
    fn short(runs: &[KeptRun], policies: &Policies) -> Vec<String> {
        let line = |removal| match removal {
            Removal::Run { run, .. } => Some(format!("{} whole", run.id)),
            Removal::Series { run, up_to, .. } => Some(format!("{} {up_to}", run.id)),
            Removal::Readings { .. } | Removal::Records { .. } => None,
        };
        plan(runs, policies, NOW).into_iter().filter_map(line).collect()
    }

    #[test]
    fn each_resolution_goes_at_its_age() {
        let runs = [run("a", "p", 1), run("b", "p", 8), run("c", "p", 31), run("d", "p", 181), run("e", "p", 9_000)];
        assert_eq!(short(&runs, &Policies::default()), ["b 1s", "c 10s", "d 1m", "e 1m"]);
    }

    #[test]
    fn what_is_gone_does_not_go_again() {
        let gone = KeptRun { finest: Some(Resolution::TenSeconds), ..run("a", "p", 8) };
        let nothing_left = KeptRun { finest: None, ..run("b", "p", 9_000) };
        assert!(short(&[gone, nothing_left], &Policies::default()).is_empty());
    }

    #[test]
    fn pinned_running_and_unrolled_runs_lose_nothing() {
        let runs = [
            KeptRun { pin: Some(Pin::Pinned), ..run("a", "p", 900) },
            KeptRun { pin: Some(Pin::Baseline), ..run("b", "p", 900) },
            KeptRun { ended_at: None, ..run("c", "p", 900) },
            KeptRun { rolled: false, ..run("d", "p", 900) },
        ];
        assert!(short(&runs, &Policies::default()).is_empty());
    }

    #[test]
    fn of_too_many_runs_the_oldest_go_and_pinned_ones_do_not_count() {
        let two = Policy { runs: Some(2), ..Policy::default() };
        let policies = Policies { profiles: [("p".to_owned(), two)].into(), ..Policies::default() };
        let pinned = KeptRun { pin: Some(Pin::Pinned), ..run("pinned", "p", 0) };
        let runs = [run("old", "p", 4), run("other", "q", 4), run("new", "p", 1), pinned, run("middle", "p", 2), run("oldest", "p", 5)];
        assert_eq!(short(&runs, &policies), ["old whole", "oldest whole"]);
    }

    #[test]
    fn a_coarser_resolution_stays_at_least_as_long_as_a_finer_one() {
        let odd = Policy { series: [Some(days(30)), Some(days(7)), None, Some(days(1))], runs: None };
        let keeps: Vec<_> = Resolution::ALL.iter().map(|resolution| odd.keeps(*resolution)).collect();
        assert_eq!(keeps, [Some(days(30)), Some(days(30)), None, None]);
    }

    #[test]
    fn readings_between_runs_follow_the_default() {
        let plan = plan(&[], &Policies::default(), NOW);
        let hour = plan.iter().any(|one| matches!(one, Removal::Readings { resolution: Resolution::Hour, .. }));
        assert_eq!((plan.len(), hour), (6, false), "{plan:?}");
        assert_eq!(plan[0], Removal::Readings { resolution: Resolution::Second, before: NOW.minus(days(7)) });
    }

    #[test]
    fn records_go_at_their_own_age_or_never() {
        let records = Records([None, Some(days(2)), Some(days(1))]);
        let plan = plan(&[], &Policies { records, ..Policies::default() }, NOW);
        let expected = [(Record::Alerts, 2), (Record::Messages, 1)];
        assert_eq!(plan[3..], expected.map(|(record, age)| Removal::Records { record, before: NOW.minus(days(age)) }));
    }
}
