//! The history of a profile as people see it: its runs with their numbers, what each metric says, deploys, the pinned run, how often the
//! verdict flips. Reads the store only.

use serde::Serialize;

use super::historian::markers;
use super::nights::past_as_stored;
use super::suites::gate_result;
use crate::analysis::regression::deploy::{Marker, suspected};
use crate::analysis::regression::flaky::{Flips, flips};
use crate::analysis::regression::incident::Judged;
use crate::analysis::regression::past::{PastJudged, judge_run, standing};
use crate::analysis::regression::{Rules, State};
use crate::engine::setup::Setup;
use crate::model::history::{Deploy, Pinned};
use crate::model::run::{RunId, Verdict};
use crate::model::suite::GateResult;
use crate::model::threshold::show_unit;
use crate::model::units::{Timestamp, trim_decimal};
use crate::store::{Store, StoreResult};

/// Deploys that are shown.
const DEPLOYS: u32 = 100;

/// A run in the history.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunView {
    /// Identity.
    pub run: RunId,
    /// Start.
    pub at: Timestamp,
    /// Version that the target told.
    pub version: Option<String>,
    /// What it came to.
    pub verdict: Option<Verdict>,
    /// Median over the run of the 95th percentile, in seconds.
    pub p95: Option<f64>,
    /// Requests a second.
    pub throughput: Option<f64>,
    /// Share of requests that failed.
    pub error_rate: Option<f64>,
    /// Why it is not compared, if it is not.
    pub left_out: Option<String>,
    /// Deploys since the run before it.
    pub deploys: Vec<String>,
}

/// What the history says of one metric.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MetricView {
    /// Stable name.
    pub metric: &'static str,
    /// Of what; `None`: of the whole run.
    pub subject: Option<String>,
    /// `learning`, `steady`, `suspect`, `confirmed`, `regressed` (confirmed before, and fresh) or `not_measured`.
    pub state: &'static str,
    /// The newest run, with its unit.
    pub newest: String,
    /// The level before it, with its unit.
    pub level: String,
    /// Confirmed changes, the newest last: since which run, how big, with what deploy.
    pub changes: Vec<String>,
}

/// The history of a profile.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HistoryView {
    /// Profile.
    pub profile: String,
    /// Newest first.
    pub runs: Vec<RunView>,
    /// What each metric says after the newest run.
    pub metrics: Vec<MetricView>,
    /// How often the verdict flips without a change.
    pub flips: Flips,
    /// Whether that makes it flaky.
    pub flaky: bool,
    /// The run it is compared with.
    pub baseline: Option<Pinned>,
    /// Its gates.
    pub gates: Vec<GateResult>,
    /// Deploys of its target, newest first.
    pub deploys: Vec<Deploy>,
}

/// The history of `profile`.
pub async fn view(store: &dyn Store, setup: &Setup, profile: &str, now: Timestamp) -> StoreResult<HistoryView> {
    let past = past_as_stored(store, profile, None, setup.history.runs).await?;
    let newest = past.iter().find(|run| run.numbers.is_some()).or(past.first());
    let target = setup.profiles.get(profile).map(|profile| profile.target.as_str()).or(newest.map(|run| run.target.as_str()));
    let deploys = store.deploys(target, DEPLOYS).await?;
    let markers = markers(&deploys);
    let judged = newest.map(|newest| judge_run(&past, newest, &markers, &Rules::default(), now)).unwrap_or_default();
    let mut runs: Vec<RunView> = Vec::new();
    for (index, run) in past.iter().enumerate() {
        let number = |metric: &str| run.numbers.as_ref()?.values.get("")?.get(metric).copied();
        let before = past.get(index + 1).map_or(Timestamp(i64::MIN), |before| before.started_at);
        let since = deploys.iter().filter(|deploy| deploy.target == run.target && before < deploy.at && deploy.at <= run.started_at);
        runs.push(RunView {
            run: run.id.clone(),
            at: run.started_at,
            version: run.version.clone(),
            verdict: run.verdict,
            p95: number("p95"),
            throughput: number("throughput"),
            error_rate: number("error_rate"),
            left_out: judged.comparable.left_out.iter().find(|left| left.run == run.id).map(|left| left.why.to_string()),
            deploys: since.map(|deploy| deploy.version.clone()).collect(),
        });
    }
    let metrics = metrics(&judged, &markers);
    let flips = flips(&past);
    let mut gates = Vec::new();
    for gate in setup.gates.values().filter(|gate| gate.profile == profile) {
        gates.push(gate_result(store, gate).await?);
    }
    let baseline = store.baseline(profile).await?;
    Ok(HistoryView { profile: profile.into(), runs, metrics, flips, flaky: flips.is_flaky(), baseline, gates, deploys })
}

fn metrics(judged: &PastJudged, markers: &[Marker]) -> Vec<MetricView> {
    let nights = &judged.comparable.nights;
    let of = |one: &Judged| {
        let judgement = &one.judgement;
        let shown = |value: Option<f64>| value.map_or_else(|| "-".into(), |value| show_unit(one.metric.unit, three(value)));
        let told = judgement.changes.iter().map(|change| {
            let since = nights.get(change.index).map(|night| night.run.0.clone()).unwrap_or_default();
            let signed = |share: f64| format!("{}{} %", if share < 0.0 { "-" } else { "+" }, trim_decimal(share.abs() * 100.0, 1));
            let by = change.relative().map_or_else(|| shown(Some(change.after)), signed);
            let deploys = suspected(change, nights, markers);
            let deploy = deploys.first().map(|deploy| format!(", deploy `{}`", deploy.version)).unwrap_or_default();
            format!("{by} since {since} ({}){deploy}", if change.worse { "worse" } else { "better" })
        });
        let fresh = standing(judgement, nights.len()).is_some();
        let state = match judgement.state {
            State::NotMeasured => "not_measured",
            State::Learning { .. } => "learning",
            State::Suspect { worse: true, .. } => "suspect",
            State::Confirmed { worse: true } => "confirmed",
            State::Steady | State::Suspect { .. } | State::Confirmed { .. } if fresh => "regressed",
            State::Steady | State::Suspect { .. } | State::Confirmed { .. } => "steady",
        };
        MetricView {
            metric: one.metric.name,
            subject: one.subject.clone(),
            state,
            newest: shown(judgement.tonight),
            level: shown(judgement.reference.map(|reference| reference.median)),
            changes: told.collect(),
        }
    };
    judged.judged.iter().map(of).collect()
}

fn three(value: f64) -> f64 {
    if value.abs() < f64::MIN_POSITIVE || !value.is_finite() {
        return 0.0;
    }
    let scale = 10_f64.powi(2 - value.abs().log10().floor() as i32);
    if scale.is_finite() && scale > 0.0 { (value * scale).round() / scale } else { value }
}
