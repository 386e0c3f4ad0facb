//! Files of rule tests: YAML in promtool's shape, series in and expected alerts out. The rules themselves come from the configuration.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::alert::{Expectation, Trial, TrialSeries, parse_trial_series, parse_trial_values};
use crate::model::Labels;
use crate::model::alerting::AlertState;
use crate::model::units::parse_duration;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    /// The configuration, relative to this file.
    configuration: Option<String>,
    tests: Vec<RawTest>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTest {
    name: String,
    interval: String,
    input_series: Vec<RawSeries>,
    alert_rule_test: Vec<RawExpectation>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSeries {
    series: String,
    values: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawExpectation {
    eval_time: String,
    alertname: String,
    #[serde(default)]
    exp_alerts: Vec<RawAlert>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAlert {
    #[serde(default)]
    exp_labels: Labels,
    exp_state: Option<String>,
}

/// The tests of a file.
#[derive(Debug)]
pub struct RuleTests {
    /// The configuration that the file names.
    pub configuration: Option<PathBuf>,
    /// In their order.
    pub trials: Vec<Trial>,
}

/// Reads a file of rule tests. `Err` says what is wrong, and where.
pub fn rule_tests(path: &Path) -> Result<RuleTests, String> {
    let text = super::sources::read_text(path).map_err(|why| format!("{} cannot be read: {why}", path.display()))?;
    let raw: RawFile = serde_saphyr::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let trials: Result<Vec<Trial>, String> = raw.tests.into_iter().map(trial).collect();
    Ok(RuleTests {
        configuration: raw.configuration.map(|name| folder.join(name)),
        trials: trials.map_err(|why| format!("{}: {why}", path.display()))?,
    })
}

fn trial(raw: RawTest) -> Result<Trial, String> {
    let name = raw.name.clone();
    let within = |why: String| format!("test `{name}`: {why}");
    let interval = time("interval", &raw.interval).map_err(&within)?;
    if interval.as_secs() == 0 || interval.subsec_nanos() != 0 {
        return Err(within(format!("`interval: {}`: write whole seconds, at least `1s`", raw.interval)));
    }
    let series = raw.input_series.iter().map(series).collect::<Result<_, _>>().map_err(&within)?;
    let expected = raw.alert_rule_test.into_iter().map(expectation).collect::<Result<_, _>>().map_err(&within)?;
    Ok(Trial { name: raw.name, interval, series, expected })
}

fn time(key: &str, text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| format!("`{key}: {text}`: {}; {}", error.message, error.hint))
}

fn series(raw: &RawSeries) -> Result<TrialSeries, String> {
    let (metric, labels) = parse_trial_series(&raw.series)?;
    let values = parse_trial_values(&raw.values).map_err(|why| format!("values of `{}`: {why}", raw.series))?;
    Ok(TrialSeries { metric, labels, values })
}

fn expectation(raw: RawExpectation) -> Result<Expectation, String> {
    let at = time("eval_time", &raw.eval_time)?;
    let alert = |alert: RawAlert| {
        let word = alert.exp_state.unwrap_or_else(|| AlertState::Firing.as_str().into());
        let state = AlertState::parse(&word).filter(|state| *state != AlertState::Inactive);
        let state = state.ok_or_else(|| format!("`exp_state: {word}`: write `firing`, `pending` or `no_data`"))?;
        Ok((state, alert.exp_labels))
    };
    let alerts: Result<Vec<_>, String> = raw.exp_alerts.into_iter().map(alert).collect();
    Ok(Expectation { at: Duration::from_secs(at.as_secs()), rule: raw.alertname, alerts: alerts? })
}
