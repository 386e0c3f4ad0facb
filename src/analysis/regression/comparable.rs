//! Which former runs tonight's may be compared with: of the same profile content and target, that ended by themselves, with a generator
//! that was well. Each run that is left out has a reason that can be told. A change of the runner does not leave runs out; it is a border.

use std::collections::BTreeMap;
use std::fmt;

use super::errors::Counts;
use crate::model::run::{EndedBy, Run, RunId, Verdict};
use crate::model::units::Timestamp;

/// What is remembered of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Night {
    /// The run.
    pub run: RunId,
    /// When it started.
    pub at: Timestamp,
    /// Digest of the profile's content.
    pub digest: String,
    /// Target that was loaded.
    pub target: String,
    /// Version that the target told.
    pub version: Option<String>,
    /// The machine that made the load, where it is known.
    pub runner: Option<String>,
    /// Why it ended; `None` while it is going on.
    pub ended_by: Option<EndedBy>,
    /// What it came to.
    pub verdict: Option<Verdict>,
    /// One robust number per metric, by its name (`regression::metric`), in base units.
    pub values: BTreeMap<String, f64>,
    /// Failed and all requests.
    pub counts: Option<Counts>,
}

impl Night {
    /// From a stored run and the numbers of its night.
    pub fn of(run: &Run, values: BTreeMap<String, f64>, counts: Option<Counts>) -> Self {
        Self {
            run: run.id.clone(),
            at: run.started_at,
            digest: run.digest.clone(),
            target: run.target.clone(),
            version: run.target_version.clone(),
            runner: None,
            ended_by: run.ended_by,
            verdict: run.verdict,
            values,
            counts,
        }
    }
}

/// Why a run is not compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The profile said something else then.
    OtherProfile,
    /// Another target was loaded.
    OtherTarget(String),
    /// It was cut short.
    CutShort(EndedBy),
    /// It has not ended.
    NotEnded,
    /// The generator was late, or the load was not delivered.
    Invalid,
    /// No request was made.
    NothingMeasured,
    /// It was never judged.
    NotJudged,
    /// It started after the run in question.
    Later,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherProfile => f.write_str("the profile was another then"),
            Self::OtherTarget(target) => write!(f, "it loaded the target `{target}`"),
            Self::CutShort(by) => write!(f, "it was cut short ({by})"),
            Self::NotEnded => f.write_str("it has not ended"),
            Self::Invalid => f.write_str("the generator was late or the load was not delivered"),
            Self::NothingMeasured => f.write_str("nothing was measured"),
            Self::NotJudged => f.write_str("it was never judged"),
            Self::Later => f.write_str("it started later"),
        }
    }
}

/// A run that is not compared, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// The run.
    pub run: RunId,
    /// The reason.
    pub why: Why,
}

/// The runs that can be compared, oldest first; tonight's is the last when it is among them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Comparable {
    /// Runs with numbers that mean the same.
    pub nights: Vec<Night>,
    /// The others.
    pub left_out: Vec<LeftOut>,
    /// Indices in `nights` at which another runner made the load.
    pub borders: Vec<usize>,
}

/// Sorts out the runs that can be compared with `tonight`, which may be among them.
pub fn comparable(runs: Vec<Night>, tonight: &Night) -> Comparable {
    let mut found = Comparable::default();
    for night in runs {
        match why_not(&night, tonight) {
            Some(why) => found.left_out.push(LeftOut { run: night.run, why }),
            None => found.nights.push(night),
        }
    }
    found.nights.sort_by(|one, other| (one.at, &one.run).cmp(&(other.at, &other.run)));
    let mut last: Option<&String> = None;
    for (at, night) in found.nights.iter().enumerate() {
        if let (Some(before), Some(now)) = (last, &night.runner)
            && before != now
        {
            found.borders.push(at);
        }
        last = night.runner.as_ref().or(last);
    }
    found
}

fn why_not(night: &Night, tonight: &Night) -> Option<Why> {
    if night.digest != tonight.digest {
        return Some(Why::OtherProfile);
    }
    if night.target != tonight.target {
        return Some(Why::OtherTarget(night.target.clone()));
    }
    match night.ended_by {
        Some(EndedBy::Completed) => {}
        Some(by) => return Some(Why::CutShort(by)),
        None => return Some(Why::NotEnded),
    }
    match night.verdict {
        Some(Verdict::Invalid) => Some(Why::Invalid),
        Some(Verdict::NoData) if night.values.is_empty() => Some(Why::NothingMeasured),
        // Of a run that could not be compared anyway, that is the reason.
        Some(Verdict::Pass | Verdict::Fail | Verdict::NoData) => (night.at > tonight.at).then_some(Why::Later),
        None => Some(Why::NotJudged),
    }
}

impl Comparable {
    /// The numbers of one metric, one per night; NaN where a night has none.
    pub fn values(&self, metric: &str) -> Vec<f64> {
        self.nights.iter().map(|night| night.values.get(metric).copied().unwrap_or(f64::NAN)).collect()
    }

    /// The failures of every night.
    pub fn counts(&self) -> Vec<Option<Counts>> {
        self.nights.iter().map(|night| night.counts).collect()
    }

    /// Day of the week of every night.
    pub fn days(&self) -> Vec<u8> {
        self.nights.iter().map(|night| super::weekday(night.at)).collect()
    }
}

#[cfg(test)]
pub(super) fn sample(day: i64, p95: f64) -> Night {
    Night {
        run: RunId(format!("run-{day:03}")),
        at: Timestamp(day * 86_400_000_000),
        digest: "d1".into(),
        target: "staging".into(),
        version: None,
        runner: None,
        ended_by: Some(EndedBy::Completed),
        verdict: Some(Verdict::Pass),
        values: [("p95".to_owned(), p95)].into(),
        counts: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_run_that_is_left_out_has_its_reason() {
        let tonight = sample(9, 0.2);
        let runs = vec![
            tonight.clone(),
            Night { digest: "d0".into(), ..sample(1, 0.2) },
            Night { target: "prod".into(), ..sample(2, 0.2) },
            Night { ended_by: Some(EndedBy::Threshold), ..sample(3, 0.2) },
            Night { ended_by: None, ..sample(4, 0.2) },
            Night { verdict: Some(Verdict::Invalid), ..sample(5, 0.2) },
            Night { verdict: Some(Verdict::NoData), values: BTreeMap::new(), ..sample(6, 0.2) },
            Night { verdict: None, ..sample(7, 0.2) },
            Night { verdict: Some(Verdict::Fail), ..sample(8, 0.2) },
            sample(10, 0.2),
        ];
        let found = comparable(runs, &tonight);
        assert_eq!(found.nights.iter().map(|night| night.run.0.as_str()).collect::<Vec<_>>(), ["run-008", "run-009"]);
        let told: Vec<String> = found.left_out.iter().map(|left| format!("{} {}", left.run, left.why)).collect();
        assert_eq!(
            told,
            [
                "run-001 the profile was another then",
                "run-002 it loaded the target `prod`",
                "run-003 it was cut short (threshold)",
                "run-004 it has not ended",
                "run-005 the generator was late or the load was not delivered",
                "run-006 nothing was measured",
                "run-007 it was never judged",
                "run-010 it started later",
            ]
        );
    }

    #[test]
    fn another_runner_is_a_border() {
        let on = |day, runner: Option<&str>| Night { runner: runner.map(Into::into), ..sample(day, 1.0) };
        let runs = vec![on(3, Some("b")), on(1, Some("a")), on(2, None), on(4, Some("b")), on(5, Some("a"))];
        let found = comparable(runs, &on(5, Some("a")));
        assert_eq!(found.borders, [2, 4]);
        assert!(found.values("p95").len() == 5 && found.values("p99").iter().all(|value| value.is_nan()));
    }
}
