//! What stands beside a decision in its message: the likely cause, by what is stored of the run, and what was deployed before. It is asked
//! for when the decision is made, so that what is stored is what is sent; and never for long: a decision does not wait for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::alert::{Told, ToldAlert};
use crate::engine::findings;
use crate::engine::setup::Setup;
use crate::model::alerting::{MessageKind, Rule};
use crate::model::finding::Finding;
use crate::model::history::Deploy;
use crate::model::run::RunId;
use crate::model::threshold::{Condition, Source};
use crate::model::units::{Timestamp, format_duration};
use crate::store::Store;

/// Longest time for all messages of a decision together.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long before an incident a deploy is of interest.
const RECENT: Duration = Duration::from_secs(24 * 3600);
/// Longest cause in characters.
const CAUSE_CHARS: usize = 300;
/// Kinds of findings that name a cause.
const CAUSED: [&str; 3] = ["pool_exhausted", "failures_caused", "slowdown_caused"];

/// Adds what is known to the messages of single incidents; a group has a line for each of its alerts.
pub(super) async fn add(store: &Arc<dyn Store>, setup: &Setup, messages: &mut [Told], now: Timestamp) {
    let mut single: Vec<&mut ToldAlert> = messages
        .iter_mut()
        .filter(|told| told.group.is_none() && told.kind != MessageKind::Acknowledged)
        .flat_map(|told| &mut told.alerts)
        .collect();
    if single.is_empty() {
        return;
    }
    let known = timeout(PATIENCE, async {
        let mut causes: BTreeMap<RunId, Option<String>> = BTreeMap::new();
        for alert in &mut single {
            let rule = setup.rules.iter().find(|rule| rule.name == alert.instance.rule);
            if let Some(run) = alert.instance.run.clone().filter(|_| rule.is_some_and(may_be_caused)) {
                if !causes.contains_key(&run) {
                    let cause = cause_of(store, &run, now).await;
                    causes.insert(run.clone(), cause);
                }
                alert.beside.extend(causes.get(&run).cloned().flatten().map(|cause| ("Likely cause".to_owned(), cause)));
            }
            alert.beside.extend(changed(store, alert, now).await.map(|changed| ("Changed".to_owned(), changed)));
        }
    });
    if known.await.is_err() {
        tracing::warn!("the causes of alerts could not be looked up in time; they are told without");
    }
}

/// Rules about what a run does to its target; a missed run or a leak has other causes than failing requests have.
fn may_be_caused(rule: &Rule) -> bool {
    match &rule.when {
        Condition::Series(series) => match series.metric.source {
            Source::Step | Source::Scenario | Source::Group => true,
            Source::Probe => series.metric.name.starts_with("pool_"),
            Source::History => false,
        },
        Condition::Verdict { .. } => true,
        Condition::Found(_) => false,
    }
}

async fn cause_of(store: &Arc<dyn Store>, run: &RunId, now: Timestamp) -> Option<String> {
    let stored = store.run(&run.0).await.ok().flatten()?;
    let found = findings::causes(store.as_ref(), &stored, now).await;
    // A run of which nothing is stored yet has no causes yet.
    cause(&found.unwrap_or_default())
}

/// The gravest finding that names a cause.
fn cause(findings: &[Finding]) -> Option<String> {
    let named = findings.iter().filter(|finding| CAUSED.contains(&finding.kind.as_str()));
    let finding = named.reduce(|best, next| if next.severity > best.severity { next } else { best })?;
    let title = plain(&finding.title);
    if title.chars().count() <= CAUSE_CHARS {
        return Some(title);
    }
    Some(title.chars().take(CAUSE_CHARS - 1).chain(['…']).collect())
}

/// The sentence without how the size was reckoned: "Needed at this load: about 47 connections." The finding has the rest.
fn plain(title: &str) -> String {
    const NEEDED: &str = "Needed at this load: ";
    let Some((before, (size, _))) = title.split_once(NEEDED).and_then(|(before, after)| Some((before, after.split_once(" (")?))) else {
        return title.to_owned();
    };
    format!("{before}{NEEDED}{size}.")
}

/// The last deploy of the alert's target within a day before the incident.
async fn changed(store: &Arc<dyn Store>, alert: &ToldAlert, now: Timestamp) -> Option<String> {
    let target = alert.instance.labels.get("target")?;
    let deploys = store.deploys(Some(target), 20).await.ok()?;
    deployed(&deploys, alert.instance.opened_at.unwrap_or(now))
}

fn deployed(deploys: &[Deploy], opened: Timestamp) -> Option<String> {
    let before = |deploy: &&Deploy| deploy.at <= opened && opened.since(deploy.at) <= RECENT;
    let deploy = deploys.iter().filter(before).max_by_key(|deploy| deploy.at)?;
    let ago = format_duration(Duration::from_secs(opened.since(deploy.at).as_secs()));
    Some(format!("version {} was deployed {ago} before, {}", deploy.version, deploy.at.to_utc().format("%Y-%m-%d %H:%M:%S UTC")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::alerting::Severity;

    fn finding(kind: &str, severity: Severity, title: &str) -> Finding {
        Finding {
            kind: kind.into(),
            run: RunId("r".into()),
            severity,
            title: title.into(),
            evidence: Vec::new(),
            method: "attribution/1".into(),
            at: Timestamp(0),
        }
    }

    #[test]
    fn the_gravest_finding_that_names_a_cause_is_told() {
        let found = [
            finding("failures_unexplained", Severity::Critical, "nobody knows"),
            finding("slowdown_caused", Severity::Medium, "slow"),
            finding("pool_exhausted", Severity::High, "full"),
            finding("failures_caused", Severity::High, "another"),
        ];
        assert_eq!(cause(&found).as_deref(), Some("full"));
        assert_eq!(cause(&found[..1]), None, "what is not known is not said");
        let sized = "Pool `main` was full (20 of 20). Needed at this load: about 47 connections (31 to 57; Little's law, hold time 98ms).";
        let told = cause(&[finding("pool_exhausted", Severity::High, sized)]);
        assert_eq!(told.as_deref(), Some("Pool `main` was full (20 of 20). Needed at this load: about 47 connections."));
        let long = cause(&[finding("pool_exhausted", Severity::High, &"ä".repeat(400))]).unwrap();
        assert_eq!((long.chars().count(), long.ends_with('…')), (CAUSE_CHARS, true));
    }

    #[test]
    fn a_deploy_counts_for_a_day_and_never_afterwards() {
        let at = |hour: u64| Timestamp::parse("2026-11-21T00:00:00Z").unwrap().plus(Duration::from_secs(hour * 3600));
        let deploy = |version: &str, hour| Deploy { target: "shop".into(), version: version.into(), at: at(hour), by: "ci".into() };
        let deploys = [deploy("3", 40), deploy("2", 30), deploy("1", 2)];
        let told = Some("version 2 was deployed 2h before, 2026-11-22 06:00:00 UTC".to_owned());
        assert_eq!(deployed(&deploys, at(32)), told);
        assert_eq!(deployed(&deploys[2..], at(32)), None);
        assert_eq!(deployed(&deploys[2..], at(1)), None);
    }
}
