//! How the database takes what the program gives it, as the writer of series sees it.

/// A look at the writer. Records are seconds of runs, readings, and the few other things that are written between them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Writing {
    /// Why the database does not take data at present; `None` when it does.
    pub trouble: Option<String>,
    /// Records that the database did not take yet, in the spool and, where that cannot be used, in memory; 0 while all is well.
    pub waiting: u64,
    /// Bytes of them in the spool.
    pub bytes: u64,
    /// Records that were written after they had waited, since the start of the program.
    pub late: u64,
    /// Seconds, readings and other records that were lost since the start of the program.
    pub lost: u64,
}

/// What the database did not take and nothing could keep, since the start of the program.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Lost {
    /// Seconds of runs, and readings.
    pub series: u64,
    /// Records of what became of an instant of a schedule.
    pub ticks: u64,
    /// Everything else: ends and changes of runs, findings, whether load stands still.
    pub records: u64,
}

impl Lost {
    /// All together.
    pub fn all(&self) -> u64 {
        self.series + self.ticks + self.records
    }
}
