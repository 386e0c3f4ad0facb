//! What sessions wait for, added up from one reading to the next: servers do not count it. Asked only while somebody waits, because it
//! looks at every lock of the server.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::simple::Row;
use crate::model::database::WaitCounts;

/// Who waits for a row waits for the transaction that has it: what is locked is the table whose row the same session keeps its place for.
pub(super) const WAITS: &str = "SELECT CASE WHEN COALESCE(t.relation, w.relation) IS NOT NULL AND COALESCE(t.database, w.database) = d.oid \
     THEN COALESCE(t.relation, w.relation)::regclass::text ELSE w.locktype END AS what, \
     CASE WHEN w.locktype IN ('transactionid', 'tuple') THEN 'row' ELSE w.mode END AS mode, count(DISTINCT w.pid) AS sessions \
     FROM pg_locks w CROSS JOIN (SELECT oid FROM pg_database WHERE datname = current_database()) d \
     LEFT JOIN pg_locks t ON t.pid = w.pid AND t.locktype = 'tuple' AND t.granted AND w.locktype = 'transactionid' \
     WHERE NOT w.granted AND EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock') \
     GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT 10";

/// Readings further apart than this say nothing of the time between them.
const LONGEST: Duration = Duration::from_secs(20);
/// Locks that are told apart.
const MOST: usize = 200;

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct Waits {
    all: BTreeMap<(String, String), WaitCounts>,
    last: Option<Instant>,
}

impl Waits {
    /// Adds the rows of a reading.
    pub(super) fn add(&mut self, rows: &[Row], at: Instant) {
        let sessions = rows.iter().filter_map(|row| Some(((row.text("what")?, row.text("mode")?), row.number("sessions")?)));
        self.seen(sessions, at);
    }

    fn seen(&mut self, sessions: impl Iterator<Item = ((String, String), f64)>, at: Instant) {
        let since = self.last.replace(at).map(|last| at.saturating_duration_since(last)).filter(|since| *since <= LONGEST);
        for (key, sessions) in sessions {
            if self.all.len() >= MOST && !self.all.contains_key(&key) {
                continue;
            }
            let counts = self.all.entry(key).or_default();
            counts.seen += sessions;
            counts.seconds += sessions * since.unwrap_or_default().as_secs_f64();
        }
    }

    /// The sums since the probe began.
    pub(super) fn so_far(&self) -> BTreeMap<(String, String), WaitCounts> {
        self.all.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_count_for_the_time_since_the_reading_before() {
        let (mut waits, began) = (Waits::default(), Instant::now());
        let key = || ("orders".to_owned(), "row".to_owned());
        for (second, sessions) in [(0, 1.0), (1, 3.0), (2, 0.0), (3, 2.0), (100, 5.0)] {
            let rows = (sessions > 0.0).then(|| (key(), sessions));
            waits.seen(rows.into_iter(), began + Duration::from_secs(second));
        }
        // Of the first reading nobody knows for how long, nor of one after a long gap.
        assert_eq!(waits.so_far()[&key()], WaitCounts { seen: 11.0, seconds: 5.0 });
    }
}
