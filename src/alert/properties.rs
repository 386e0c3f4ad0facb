//! What holds whatever happens, in whatever order, with restarts at any point: a resolve follows every fire, none comes before its
//! fire, nothing repeats inside the repeat interval, no id is used twice. The clock is a number that the test moves.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::{Alerts, Channel, Decision, Policy, RunContext, outgoing};
use crate::model::Labels;
use crate::model::alerting::{AlertInstance, MessageKind, NoData, Outgoing, Rule, Severity};
use crate::model::catalog::Catalog;
use crate::model::muting::AlertThread;
use crate::model::run::RunId;
use crate::model::series::Point;
use crate::model::threshold::{Condition, parse_bound, parse_condition};
use crate::model::units::Timestamp;

/// A rule with usual settings.
pub(super) fn rule(when: &str) -> Rule {
    Rule {
        name: "pool-nearly-full".into(),
        when: parse_condition(when).unwrap(),
        recover: None,
        severity: Severity::High,
        runbook: Some("https://wiki/pools".into()),
        labels: Labels::new(),
        keep_firing_for: Duration::ZERO,
        no_data: NoData::Alert,
        no_data_after: Duration::from_secs(60),
    }
}

/// A policy with one channel that is told everything.
pub(super) fn policy(repeat: u64) -> Policy {
    Policy {
        routes: Vec::new(),
        channels: vec![Channel { name: "mail".into(), send_resolved: true }],
        repeat_interval: Duration::from_secs(repeat),
        inhibit: Vec::new(),
    }
}

/// Instances and messages as a store would keep them.
#[derive(Default)]
pub(super) struct Stored {
    pub(super) instances: BTreeMap<String, AlertInstance>,
    pub(super) threads: BTreeMap<String, AlertThread>,
    pub(super) outbox: Vec<Outgoing>,
}

impl Stored {
    pub(super) fn commit(&mut self, decision: &Decision, now: Timestamp) {
        for instance in &decision.instances {
            // Through JSON, as stores keep it.
            let text = serde_json::to_string(instance).unwrap();
            self.instances.insert(instance.fingerprint.clone(), serde_json::from_str(&text).unwrap());
        }
        for key in &decision.forgotten {
            self.instances.remove(key);
        }
        for thread in &decision.threads {
            let text = serde_json::to_string(thread).unwrap();
            self.threads.insert(thread.id.clone(), serde_json::from_str(&text).unwrap());
        }
        for id in &decision.threads_forgotten {
            self.threads.remove(id);
        }
        self.outbox.extend(outgoing(decision, now, &|_| None));
    }

    pub(super) fn restart(&self, rules: Vec<Rule>, policy: Policy) -> Alerts {
        Alerts::new(rules, self.instances.values().cloned().collect(), policy).with_threads(self.threads.values().cloned().collect())
    }
}

#[derive(Debug, Clone)]
enum Event {
    /// The pool `a` or `b` is read.
    Reading(bool, f64),
    Pass(u64),
    Restart,
    RunStarts,
    Reload,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        6 => (any::<bool>(), prop_oneof![Just(0.2), Just(0.75), Just(1.0)]).prop_map(|(pool, value)| Event::Reading(pool, value)),
        2 => (1_u64..200).prop_map(Event::Pass),
        1 => Just(Event::Restart),
        1 => Just(Event::RunStarts),
        1 => Just(Event::Reload),
    ];
    proptest::collection::vec(event, 0..120)
}

fn rules() -> impl Strategy<Value = Rule> {
    let no_data = prop_oneof![Just(NoData::Alert), Just(NoData::Keep), Just(NoData::Ok)];
    (0_u64..5, prop_oneof![Just(""), Just(" over 4s")], 0_u64..10, any::<bool>(), no_data).prop_map(
        |(hold, over, keep, recovers, no_data)| {
            let hold = if hold == 0 { String::new() } else { format!(" for {hold}s") };
            let mut rule = rule(&format!("pool_utilization: max > 80%{over}{hold}"));
            let Condition::Series(series) = &rule.when else { unreachable!() };
            rule.recover = recovers.then(|| parse_bound("< 70%", series).unwrap());
            rule.keep_firing_for = Duration::from_secs(keep);
            rule.no_data = no_data;
            rule
        },
    )
}

fn point(pool: bool, value: f64) -> Point {
    Point::new("pool_utilization", value).with("pool", if pool { "a" } else { "b" }).with("probe", "app").with("target", "shop")
}

/// Checks the messages of each incident in the order in which they were written.
fn check(outbox: &[Outgoing], repeat: u64) -> Result<(), TestCaseError> {
    let mut ids = BTreeSet::new();
    let mut incidents: BTreeMap<&str, Vec<&Outgoing>> = BTreeMap::new();
    for row in outbox {
        prop_assert!(ids.insert(&row.id), "id used twice: {}", row.id);
        incidents.entry(&row.message.incident).or_default().push(row);
    }
    for (incident, rows) in incidents {
        let kinds: Vec<MessageKind> = rows.iter().map(|row| row.message.kind).collect();
        prop_assert_eq!(kinds.first(), Some(&MessageKind::Fired), "{} begins with its fire", incident);
        prop_assert_eq!(kinds.last(), Some(&MessageKind::Resolved), "{} ends with its resolve", incident);
        let middle = &kinds[1..kinds.len() - 1];
        prop_assert!(middle.iter().all(|kind| *kind == MessageKind::Reminder), "{}: {:?}", incident, kinds);
        for (number, row) in rows.iter().enumerate() {
            prop_assert_eq!(row.message.seq as usize, number + 1);
            prop_assert_eq!(&row.message.subject, &rows[0].message.subject);
            prop_assert!(row.message.lines.len() <= 8);
        }
        for pair in rows[..rows.len() - 1].windows(2) {
            prop_assert!(pair[1].created_at.since(pair[0].created_at) >= Duration::from_secs(repeat), "{} repeats too soon", incident);
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn nothing_is_lost_and_nothing_repeats(rule in rules(), events in events(), repeat in prop_oneof![Just(0_u64), Just(60)]) {
        let mut now = Timestamp::parse("2026-11-21T02:00:00Z").unwrap();
        let mut stored = Stored::default();
        let mut alerts = stored.restart(vec![rule.clone()], policy(repeat));
        let catalog = Catalog::default();
        for event in events {
            now = now.plus(Duration::from_secs(1));
            match event {
                Event::Reading(pool, value) => alerts.observe_points("shop", &[point(pool, value)], now),
                Event::Pass(seconds) => now = now.plus(Duration::from_secs(seconds)),
                // What was decided but not stored is lost with the process, and decided again.
                Event::Restart => alerts = stored.restart(vec![rule.clone()], policy(repeat)),
                Event::RunStarts => {
                    let run = RunContext { id: &RunId("r".into()), profile: "soak", target: "shop", catalog: &catalog };
                    alerts.run_started(&run, now);
                }
                Event::Reload => alerts.replace_rules(vec![rule.clone()], policy(repeat)),
            }
            stored.commit(&alerts.judge(now), now);
            let open = stored.instances.values().filter(|alert| alert.incident.is_some()).count();
            let firing = alerts.instances().filter(|alert| alert.incident.is_some()).count();
            prop_assert_eq!(open, firing, "the store knows of every open incident");
        }
        // At last everything is fine for a while.
        for _ in 0..20 {
            now = now.plus(Duration::from_secs(1));
            alerts.observe_points("shop", &[point(true, 0.1), point(false, 0.1)], now);
            stored.commit(&alerts.judge(now), now);
        }
        check(&stored.outbox, repeat)?;
    }

    #[test]
    fn a_crash_before_the_decision_is_stored_loses_nothing(crashes in proptest::collection::vec(any::<bool>(), 40)) {
        let rule = rule("pool_utilization: max > 80%");
        let mut now = Timestamp::parse("2026-11-21T02:00:00Z").unwrap();
        let mut stored = Stored::default();
        let mut alerts = stored.restart(vec![rule.clone()], policy(0));
        for (second, crash) in crashes.into_iter().chain([false, false]).enumerate() {
            now = now.plus(Duration::from_secs(1));
            let value = if second < 20 { 1.0 } else { 0.1 };
            alerts.observe_points("shop", &[point(true, value)], now);
            let decision = alerts.judge(now);
            if crash {
                alerts = stored.restart(vec![rule.clone()], policy(0));
            } else {
                stored.commit(&decision, now);
            }
        }
        check(&stored.outbox, 0)?;
    }
}
