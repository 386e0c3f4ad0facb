//! What the last run of a profile came to against the history of the profile; replaced as a whole with each run.

use super::Metrics;
use super::record::remove_where;

/// What one metric came to.
#[derive(Debug, Clone, PartialEq)]
pub struct RegressionFigure {
    /// Metric.
    pub metric: &'static str,
    /// Of what; empty: of the whole run.
    pub subject: String,
    /// How much worse, as a share; 0 when it is not.
    pub value: f64,
    /// This run alone lies apart to the bad side.
    pub suspect: bool,
}

impl Metrics {
    /// Shows what the last run of `profile` came to: how many runs it was compared with, how many were left out, and each metric.
    pub fn history(&self, profile: &str, runs: usize, left_out: usize, figures: &[RegressionFigure]) {
        let families = &self.families;
        families.history_runs.with_label_values(&[profile]).set(runs as f64);
        families.history_left_out.with_label_values(&[profile]).set(left_out as f64);
        for family in [&families.regression, &families.regression_suspected] {
            remove_where(family, &[("profile", profile)]);
        }
        for figure in figures {
            let labels = [profile, figure.metric, figure.subject.as_str()];
            families.regression.with_label_values(&labels).set(figure.value);
            families.regression_suspected.with_label_values(&labels).set(f64::from(u8::from(figure.suspect)));
        }
    }

    /// Forgets what is known of a profile that is gone.
    pub(super) fn forget_history(&self, profile: &str) {
        let families = &self.families;
        for family in [&families.history_runs, &families.history_left_out, &families.regression, &families.regression_suspected] {
            remove_where(family, &[("profile", profile)]);
        }
    }
}
