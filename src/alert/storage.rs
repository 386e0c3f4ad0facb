//! Times in which the database did not take data: when one began, what waited and was lost, when it was over. Such a time is kept until
//! it was told, because nothing can be recorded, and so nobody told, before the database is back. Pure.

use std::time::Duration;

use super::reason::plain_time;
use crate::model::storage::Writing;
use crate::model::units::{Timestamp, format_bytes};

/// A loss counts as going on for so long, so that losses one after another are one incident.
const LOSS_LASTS: Duration = Duration::from_secs(60);

/// A time in which data were not taken, or were lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outage {
    began: Timestamp,
    ended: Option<Timestamp>,
    /// What the database said last.
    error: Option<String>,
    waiting: u64,
    bytes: u64,
    /// `Writing::late` and `Writing::lost` when it began.
    before: (u64, u64),
    late: u64,
    lost: u64,
    last_loss: Option<Timestamp>,
}

/// Follows the writer.
#[derive(Debug, Clone, Default)]
pub struct StorageWatch {
    former: Writing,
    pub(super) outage: Option<Outage>,
}

impl StorageWatch {
    /// Looks at the writer; to be called about once a second, whether anything can be judged or not.
    pub fn look(&mut self, writing: &Writing, now: Timestamp) {
        let former = std::mem::replace(&mut self.former, writing.clone());
        let refused = writing.trouble.is_some() || writing.waiting > 0;
        let losing = writing.lost > former.lost;
        if refused || losing {
            let outage = self.outage.get_or_insert(Outage {
                began: now,
                ended: None,
                error: None,
                waiting: 0,
                bytes: 0,
                before: (former.late, former.lost),
                late: 0,
                lost: 0,
                last_loss: None,
            });
            outage.ended = None;
            outage.error = writing.trouble.clone().or(outage.error.take());
            outage.last_loss = if losing { Some(now) } else { outage.last_loss };
        }
        let Some(outage) = &mut self.outage else { return };
        (outage.waiting, outage.bytes) = (writing.waiting, writing.bytes);
        (outage.late, outage.lost) = (writing.late.saturating_sub(outage.before.0), writing.lost.saturating_sub(outage.before.1));
        let lost_lately = outage.last_loss.is_some_and(|at| now.since(at) < LOSS_LASTS);
        let goes_on = refused || losing || (lost_lately && outage.error.is_none());
        if !goes_on && outage.ended.is_none() {
            outage.ended = Some(now);
        }
    }
}

impl Outage {
    /// True when it is worth telling: it lasted for so long, or something was lost.
    pub(super) fn matters(&self, hold: Duration, now: Timestamp) -> bool {
        self.lost > 0 || self.lasted(now) >= hold
    }

    pub(super) fn is_over(&self) -> bool {
        self.ended.is_some()
    }

    pub(super) fn lasted(&self, now: Timestamp) -> Duration {
        self.ended.unwrap_or(now).since(self.began)
    }

    /// What, since when, how much: for people.
    pub(super) fn sentence(&self, now: Timestamp) -> String {
        let error = self.error.as_ref().map(|error| format!(" ({error})")).unwrap_or_default();
        let lost = format!("{} lost", self.lost);
        let began = show_time(self.began);
        match (self.ended, &self.error) {
            (Some(ended), _) => format!(
                "the database did not take all data from {began} to {} ({}){error}: {} were kept and written, {lost}",
                show_time(ended),
                plain_time(self.lasted(now)),
                records(self.late),
            ),
            (None, None) if self.waiting == 0 => format!("since {began} seconds, readings or other records could not be kept: {lost}"),
            (None, _) => {
                let waiting = records(self.waiting);
                format!(
                    "the database has not taken data since {began}{error}: {waiting} wait ({} spooled), {lost}",
                    format_bytes(self.bytes as f64)
                )
            }
        }
    }
}

fn records(count: u64) -> String {
    if count == 1 { "1 record".into() } else { format!("{count} records") }
}

fn show_time(at: Timestamp) -> String {
    at.to_utc().format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::super::Alerts;
    use super::*;
    use crate::alert::properties::{policy, rule};
    use crate::model::alerting::AlertState;

    fn second(second: u64) -> Timestamp {
        Timestamp(1_700_000_000_000_000).plus(Duration::from_secs(second))
    }

    fn refusing(waiting: u64) -> Writing {
        Writing { trouble: Some("database is locked".into()), waiting, bytes: waiting * 512, ..Writing::default() }
    }

    /// Looks at the writer and judges; what changed.
    fn told(alerts: &mut Alerts, watch: &mut StorageWatch, writing: &Writing, at: u64) -> Vec<String> {
        watch.look(writing, second(at));
        judged(alerts, watch, at)
    }

    fn judged(alerts: &mut Alerts, watch: &mut StorageWatch, at: u64) -> Vec<String> {
        alerts.observe_storage(watch, second(at));
        alerts.judge(second(at)).transitions.iter().map(|change| format!("{}: {}", change.to, change.reason)).collect()
    }

    fn alerts() -> Alerts {
        Alerts::new(vec![rule("storage failing for 1m")], Vec::new(), policy(3600))
    }

    #[test]
    fn a_database_that_is_away_for_a_minute_is_told_and_resolved_with_what_became_of_it() {
        let (mut alerts, mut watch) = (alerts(), StorageWatch::default());
        for at in 0..60 {
            assert_eq!(told(&mut alerts, &mut watch, &refusing(at + 1), at), Vec::<String>::new(), "second {at}");
        }
        assert_eq!(
            told(&mut alerts, &mut watch, &refusing(61), 60),
            ["firing: storage failing for 1m or losing data: the database has not taken data since 2023-11-14 22:13:20 UTC \
              (database is locked): 61 records wait (30.5 KiB spooled), 0 lost"]
        );
        // It answers again, but not everything is written.
        let catching_up = Writing { waiting: 20, bytes: 512, late: 41, ..Writing::default() };
        assert_eq!(told(&mut alerts, &mut watch, &catching_up, 61), Vec::<String>::new());
        let back = Writing { late: 61, ..Writing::default() };
        assert_eq!(
            told(&mut alerts, &mut watch, &back, 62),
            ["inactive: storage is no longer failing for 1m or losing data: the database did not take all data from \
              2023-11-14 22:13:20 UTC to 2023-11-14 22:14:22 UTC (1m2s) (database is locked): 61 records were kept and written, 0 lost"]
        );
        assert_eq!(told(&mut alerts, &mut watch, &back, 63), Vec::<String>::new());
        assert!(watch.outage.is_none());
    }

    #[test]
    fn a_short_refusal_without_loss_is_not_told() {
        let (mut alerts, mut watch) = (alerts(), StorageWatch::default());
        for at in 0..300 {
            let writing = if at % 10 < 5 { refusing(3) } else { Writing::default() };
            assert_eq!(told(&mut alerts, &mut watch, &writing, at), Vec::<String>::new(), "second {at}");
        }
        assert_eq!(alerts.instances().filter(|alert| alert.state != AlertState::Inactive).count(), 0);
    }

    #[test]
    fn what_is_lost_is_told_at_once_and_over_when_nothing_more_is() {
        let (mut alerts, mut watch) = (alerts(), StorageWatch::default());
        let lost = |lost| Writing { lost, ..Writing::default() };
        assert_eq!(told(&mut alerts, &mut watch, &lost(0), 0), Vec::<String>::new());
        let fired = told(&mut alerts, &mut watch, &lost(2), 1);
        assert!(fired.len() == 1 && fired[0].starts_with("firing") && fired[0].ends_with("could not be kept: 2 lost"), "{fired:?}");
        // A second loss belongs to the same incident, which then lasts on.
        for at in 2..90 {
            assert_eq!(told(&mut alerts, &mut watch, &lost(if at < 31 { 2 } else { 5 }), at), Vec::<String>::new(), "second {at}");
        }
        let resolved = told(&mut alerts, &mut watch, &lost(5), 91);
        assert!(resolved.len() == 1 && resolved[0].starts_with("inactive") && resolved[0].ends_with("5 lost"), "{resolved:?}");
        assert_eq!(told(&mut alerts, &mut watch, &lost(5), 200), Vec::<String>::new(), "the same loss is not told twice");
    }

    #[test]
    fn an_outage_that_nobody_could_judge_is_told_when_somebody_can() {
        let mut watch = StorageWatch::default();
        for at in 0..90 {
            watch.look(&refusing(at), second(at));
        }
        for at in 90..95 {
            watch.look(&Writing { late: 90, lost: 3, ..Writing::default() }, second(at));
        }
        // The state of alerts comes anew from the store.
        let mut alerts = alerts();
        let fired = judged(&mut alerts, &mut watch, 95);
        assert!(
            fired.len() == 1 && fired[0].starts_with("firing") && fired[0].contains("90 records were kept and written, 3 lost"),
            "{fired:?}"
        );
        let resolved = judged(&mut alerts, &mut watch, 96);
        assert!(resolved.len() == 1 && resolved[0].starts_with("inactive") && resolved[0].contains("(1m31s)"), "{resolved:?}");
        assert_eq!(judged(&mut alerts, &mut watch, 97), Vec::<String>::new());
    }

    #[test]
    fn an_incident_of_a_process_that_is_gone_is_resolved_by_the_next() {
        let (mut alerts, mut watch) = (alerts(), StorageWatch::default());
        (0..70).for_each(|at| drop(told(&mut alerts, &mut watch, &refusing(1), at)));
        let stored: Vec<_> = alerts.instances().cloned().collect();
        let mut again = Alerts::new(vec![rule("storage failing for 1m")], stored, policy(3600));
        let resolved = told(&mut again, &mut StorageWatch::default(), &Writing::default(), 80);
        assert!(resolved.len() == 1 && resolved[0].ends_with("the database takes data"), "{resolved:?}");
    }
}
