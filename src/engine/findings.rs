//! Gathers, second by second, what analysis wants to know of a run, and asks it: at the end, now and then while the run goes on, and
//! again later from what is stored (`again`). Bounded in memory. The methods are in `analysis`; what is said of them is in docs/analysis.md.

mod again;
mod asked;
mod levels;
mod load_line;
mod needs;
mod own;
mod pools;
mod reasons;
mod spikes;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod timeline;
mod tracks;
mod trends;

pub use again::{NotAnalysed, analyse, causes};
pub use asked::Asked;
pub use own::{WINDOWS as OWN_WINDOWS, own_trends};

use pools::Pools;
use reasons::Reasons;
use timeline::Timeline;
use tracks::Tracks;

use crate::analysis::{capacity, leak, recovery};
use crate::model::analysed::Analysed;
use crate::model::catalog::Catalog;
use crate::model::control::ControlEntry;
use crate::model::finding::Finding;
use crate::model::measure::Interval;
use crate::model::run::Run;
use crate::model::series::Reading;
use crate::model::units::Timestamp;

/// Methods that are asked about one run, by name and version.
pub const METHODS: &[&str] = &[pools::METHOD, pools::METHOD_SUM, reasons::METHOD, leak::METHOD, capacity::METHOD, recovery::METHOD];
/// Seconds between two looks at a run that goes on.
const EVERY: u32 = 300;

/// What analysis says of a run: in words, and as numbers.
#[derive(Debug, Clone, Default)]
pub struct Looked {
    /// In words, what matters first.
    pub findings: Vec<Finding>,
    /// As numbers, for the run's summary.
    pub analysed: Analysed,
}

/// What was seen of a run so far.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    pools: Pools,
    reasons: Reasons,
    timeline: Timeline,
    tracks: Tracks,
    /// How much was done to the run when the last second came.
    controls: usize,
}

impl Observed {
    /// Adds one second; they come in order. `controls` is what was done to the run so far.
    pub fn interval(&mut self, catalog: &Catalog, controls: &[ControlEntry], interval: &Interval) {
        let done = controls.iter().filter(|entry| entry.second < f64::from(interval.second + 1)).count();
        let steered = done > self.controls;
        self.controls = done.max(self.controls);
        self.pools.interval(interval);
        self.reasons.interval(catalog, interval);
        self.timeline.second(catalog, interval, steered);
    }

    /// Adds one reading.
    pub fn reading(&mut self, reading: &Reading) {
        self.pools.reading(reading);
        self.reasons.reading(reading);
        self.tracks.reading(reading);
    }

    /// Whether it is time to look at the run that goes on: every five minutes, once the load has been constant for as long as a soak.
    pub fn is_due(&self, second: u32) -> bool {
        let soaking = self.timeline.longest().is_some_and(|stretch| stretch.length() >= trends::SOAK);
        soaking && second > 0 && second.is_multiple_of(EVERY)
    }

    /// What analysis says of the run as a whole.
    pub fn look(&self, run: &Run, asked: &Asked, at: Timestamp) -> Looked {
        let told = self.reasons.told(&run.id, at, &self.pools);
        let mut findings = told.findings;
        findings.extend(self.pools.findings(&run.id, at, &told.pools));
        let seen = (&self.timeline, &self.tracks);
        let (line, capacity) = load_line::capacity((run, at), seen, asked).unzip();
        findings.extend(line);
        let (after, recoveries) = spikes::recoveries((run, at), &self.timeline);
        findings.extend(after);
        let (leaks, trends) = trends::trends((&run.id, at), seen, asked, false);
        findings.extend(leaks);
        // What matters first.
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        Looked { findings, analysed: Analysed { trends, capacity, recoveries, causes: told.causes, needs: told.needs } }
    }

    /// Why requests failed or were slow, so far.
    pub fn causes(&self, run: &Run, at: Timestamp) -> Vec<Finding> {
        self.reasons.told(&run.id, at, &self.pools).findings
    }

    /// What it says of leaks while the run goes on.
    pub fn look_meanwhile(&self, run: &Run, asked: &Asked, at: Timestamp) -> Looked {
        let (findings, trends) = trends::trends((&run.id, at), (&self.timeline, &self.tracks), asked, true);
        Looked { findings, analysed: Analysed { trends, ..Analysed::default() } }
    }
}
