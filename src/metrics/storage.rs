//! Figures of what the database did not take: seconds and readings, and the few other records that are written between them.

use super::Metrics;
use crate::model::storage::Lost;

/// Kinds of records that are neither seconds nor readings; `tick` is what became of an instant of a schedule.
pub(crate) const RECORD_KINDS: [&str; 8] = ["tick", "run_end", "findings", "run_change", "standstill", "deploy", "baseline", "deed"];

impl Metrics {
    /// So many seconds of runs could not be stored.
    pub fn intervals_lost(&self, count: u64) {
        self.families.intervals_lost.with_label_values::<&str>(&[]).inc_by(count);
    }

    /// A record of one of `RECORD_KINDS` could not be stored.
    pub fn record_lost(&self, kind: &str) {
        self.families.records_lost.with_label_values(&[kind]).inc();
    }

    /// What was lost so far.
    pub fn lost(&self) -> Lost {
        let of = |kind: &str| self.families.records_lost.with_label_values(&[kind]).get();
        Lost {
            series: self.families.intervals_lost.with_label_values::<&str>(&[]).get(),
            ticks: of("tick"),
            records: RECORD_KINDS.iter().copied().filter(|kind| *kind != "tick").map(of).sum(),
        }
    }
}
