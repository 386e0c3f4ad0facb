//! What holds of messages whatever is silenced, grouped, inhibited and acknowledged, in whatever order, with restarts and crashes at any
//! point: the fire comes first, the resolve last and once; nothing repeats inside its interval; what nobody was told of, the history explains.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::properties::{Stored, policy, rule};
use super::{Alerts, OpenWindow, Policy, Quiet};
use crate::model::alerting::{AlertState, MessageKind, Outgoing, Route, Rule, Transition};
use crate::model::muting::{Ack, Inhibit, Matcher, Silence};
use crate::model::series::Point;
use crate::model::units::Timestamp;

#[derive(Debug, Clone)]
enum Event {
    /// Pool `a`, `b` or `c` is read.
    Reading(usize, f64),
    /// The probe can be read, or not.
    Up(bool),
    Pass(u64),
    Silence(u64),
    Maintenance(bool),
    MuteTiming(bool),
    Ack(usize),
    Restart,
    /// The next decision is lost with the process.
    Crash,
    Reload,
}

const POOLS: [&str; 3] = ["a", "b", "c"];

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        8 => (0_usize..3, prop_oneof![Just(0.2), Just(1.0)]).prop_map(|(pool, value)| Event::Reading(pool, value)),
        2 => any::<bool>().prop_map(Event::Up),
        4 => (1_u64..100).prop_map(Event::Pass),
        2 => (1_u64..120).prop_map(Event::Silence),
        1 => any::<bool>().prop_map(Event::Maintenance),
        1 => any::<bool>().prop_map(Event::MuteTiming),
        2 => (0_usize..3).prop_map(Event::Ack),
        1 => Just(Event::Restart),
        1 => Just(Event::Crash),
        1 => Just(Event::Reload),
    ];
    proptest::collection::vec(event, 0..100)
}

fn policies() -> impl Strategy<Value = Policy> {
    let by = prop_oneof![Just(None), Just(Some(vec![])), Just(Some(vec!["target".to_owned()])), Just(Some(vec!["pool".to_owned()]))];
    (by, 0_u64..40, 10_u64..60, prop_oneof![Just(0_u64), Just(60)]).prop_map(|(group_by, wait, interval, repeat)| {
        let route = Route {
            send: vec!["mail".into()],
            group_by,
            group_wait: Duration::from_secs(wait),
            group_interval: Duration::from_secs(interval),
            mute: vec!["nights".into()],
            ..Route::default()
        };
        let inhibit = Inhibit {
            name: "target-down".into(),
            source: vec![Matcher::equal("alertname", "probe-down")],
            target: vec![Matcher::equal("alertname", "pool-nearly-full")],
            equal: vec!["target".into()],
        };
        Policy { routes: vec![route], inhibit: vec![inhibit], ..policy(repeat) }
    })
}

fn rules() -> Vec<Rule> {
    vec![rule("pool_utilization: max > 80%"), Rule { name: "probe-down".into(), ..rule("probe_up: value < 1") }]
        .into_iter()
        .map(|rule| Rule { no_data: crate::model::alerting::NoData::Keep, ..rule })
        .collect()
}

/// The world as the alerts see it.
struct World {
    now: Timestamp,
    policy: Policy,
    alerts: Alerts,
    stored: Stored,
    history: Vec<Transition>,
    quiet: Quiet,
    crash: bool,
    /// Messages that were written while their alert was silenced.
    against_silence: Vec<String>,
}

impl World {
    fn new(policy: Policy) -> Self {
        let stored = Stored::default();
        Self {
            now: Timestamp::parse("2026-11-21T02:00:00Z").unwrap(),
            alerts: stored.restart(rules(), policy.clone()),
            policy,
            stored,
            history: Vec::new(),
            quiet: Quiet::default(),
            crash: false,
            against_silence: Vec::new(),
        }
    }

    fn tick(&mut self) {
        self.now = self.now.plus(Duration::from_secs(1));
    }

    fn restart(&mut self) {
        self.alerts = self.stored.restart(rules(), self.policy.clone());
        self.alerts.keep_quiet(self.quiet.clone());
    }

    fn happens(&mut self, event: &Event) {
        let target = |point: Point| point.with("target", "shop");
        match event {
            Event::Reading(pool, value) => {
                let point = target(Point::new("pool_utilization", *value).with("pool", POOLS[*pool]));
                self.alerts.observe_points("shop", &[point], self.now);
            }
            Event::Up(up) => self.alerts.observe_points("shop", &[target(Point::new("probe_up", f64::from(u8::from(*up))))], self.now),
            Event::Pass(seconds) => self.now = self.now.plus(Duration::from_secs(*seconds)),
            Event::Silence(seconds) => self.quiet.silences.push(Silence {
                id: format!("{:08}", self.quiet.silences.len()),
                matchers: vec![Matcher::equal("pool", "a")],
                author: "ann".into(),
                comment: "deploy".into(),
                created_at: self.now,
                starts_at: self.now,
                ends_at: self.now.plus(Duration::from_secs(*seconds)),
                ended_by: None,
            }),
            Event::Maintenance(on) => {
                let window = OpenWindow {
                    name: "w".into(),
                    until: self.now.plus(Duration::from_secs(3600)),
                    matchers: vec![Matcher::equal("pool", "b")],
                };
                self.quiet.maintenance = if *on { vec![window] } else { Vec::new() };
            }
            Event::MuteTiming(on) => {
                self.quiet.timings = if *on { [("nights".to_owned(), self.now)].into() } else { BTreeMap::new() };
            }
            Event::Ack(number) => {
                let open: Vec<String> = self.alerts.instances().filter_map(|alert| alert.incident.clone()).collect();
                if let Some(incident) = open.get(*number) {
                    let ack = Ack { by: "ann".into(), at: self.now, comment: String::new() };
                    let _ = self.alerts.acknowledge(incident, &ack);
                }
            }
            Event::Restart => self.restart(),
            Event::Crash => self.crash = true,
            Event::Reload => self.alerts.replace_rules(rules(), self.policy.clone()),
        }
        self.judge();
    }

    fn judge(&mut self) {
        self.alerts.keep_quiet(self.quiet.clone());
        let decision = self.alerts.judge(self.now);
        if std::mem::take(&mut self.crash) {
            self.restart();
            return;
        }
        let quiet = &self.quiet;
        let wrong = decision.messages.iter().flat_map(|told| &told.alerts).filter(|alert| {
            let new = matches!(alert.kind, MessageKind::Fired | MessageKind::Reminder);
            new && quiet.reason(&alert.instance.labels, self.now).is_some()
        });
        self.against_silence.extend(wrong.map(|alert| format!("{} {}", alert.instance.fingerprint, alert.kind)));
        self.history.extend(decision.transitions.iter().cloned());
        self.stored.commit(&decision, self.now);
    }

    /// Everything is fine, nothing is silenced, until everything that waits was told.
    fn calm_down(&mut self) {
        self.quiet = Quiet::default();
        for _ in 0..150 {
            self.tick();
            let fine: Vec<Point> =
                POOLS.iter().map(|pool| Point::new("pool_utilization", 0.1).with("pool", *pool).with("target", "shop")).collect();
            self.alerts.observe_points("shop", &fine, self.now);
            self.alerts.observe_points("shop", &[Point::new("probe_up", 1.0).with("target", "shop")], self.now);
            self.judge();
        }
    }
}

/// What was said of each incident, in order: kind, and when.
fn by_incident(outbox: &[Outgoing]) -> BTreeMap<String, Vec<(MessageKind, Timestamp)>> {
    let mut said: BTreeMap<String, Vec<(MessageKind, Timestamp)>> = BTreeMap::new();
    for row in outbox {
        let message = &row.message;
        if message.alerts.is_empty() {
            said.entry(message.incident.clone()).or_default().push((message.kind, row.created_at));
        }
        for alert in &message.alerts {
            said.entry(alert.incident.clone()).or_default().push((alert.kind, row.created_at));
        }
    }
    said
}

fn check_incidents(outbox: &[Outgoing]) -> Result<(), TestCaseError> {
    for (incident, said) in by_incident(outbox) {
        let kinds: Vec<MessageKind> = said.iter().map(|(kind, _)| *kind).collect();
        if kinds == [MessageKind::FiredAndResolved] {
            continue;
        }
        prop_assert_eq!(kinds.first(), Some(&MessageKind::Fired), "{} begins with its fire: {:?}", &incident, &kinds);
        prop_assert_eq!(kinds.last(), Some(&MessageKind::Resolved), "{} ends with its resolve: {:?}", &incident, &kinds);
        let middle = &kinds[1..kinds.len() - 1];
        let still = |kind: &MessageKind| matches!(kind, MessageKind::Reminder | MessageKind::Acknowledged);
        prop_assert!(middle.iter().all(still), "{}: {:?}", &incident, &kinds);
        prop_assert!(middle.iter().filter(|kind| **kind == MessageKind::Acknowledged).count() <= 1, "{}: {:?}", &incident, &kinds);
    }
    Ok(())
}

fn check_threads(outbox: &[Outgoing], policy: &Policy) -> Result<(), TestCaseError> {
    let mut threads: BTreeMap<&str, Vec<&Outgoing>> = BTreeMap::new();
    for row in outbox {
        threads.entry(&row.message.incident).or_default().push(row);
    }
    let grouped = policy.routes[0].group_by.is_some();
    for (thread, rows) in threads {
        for (number, row) in rows.iter().enumerate() {
            prop_assert_eq!(row.message.seq as usize, number + 1, "{}", thread);
            prop_assert_eq!(&row.message.subject, &rows[0].message.subject);
            prop_assert!(row.message.lines.len() <= 9);
        }
        for pair in rows.windows(2) {
            let gap = pair[1].created_at.since(pair[0].created_at);
            if grouped {
                prop_assert!(gap >= policy.routes[0].group_interval, "{} speaks too often: {:?}", thread, gap);
            }
            if pair[1].message.kind == MessageKind::Reminder {
                prop_assert!(gap >= policy.repeat_interval, "{} repeats too soon: {:?}", thread, gap);
            }
        }
        let mut acked = false;
        for row in rows.iter().filter(|_| !grouped) {
            prop_assert!(!acked || row.message.kind != MessageKind::Reminder, "{} is repeated although it is acknowledged", thread);
            acked |= row.message.lines.iter().any(|(key, _)| key == "Taken by");
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn nothing_is_lost_by_muting(policy in policies(), events in events()) {
        let mut world = World::new(policy.clone());
        for event in &events {
            world.tick();
            world.happens(event);
            let open = world.stored.instances.values().filter(|alert| alert.incident.is_some()).count();
            let firing = world.alerts.instances().filter(|alert| alert.incident.is_some()).count();
            prop_assert_eq!(open, firing, "the store knows of every open incident");
        }
        world.calm_down();
        prop_assert!(world.against_silence.is_empty(), "{:?}", world.against_silence);
        prop_assert!(world.stored.threads.is_empty(), "nothing waits for ever: {:?}", world.stored.threads);
        check_incidents(&world.stored.outbox)?;
        check_threads(&world.stored.outbox, &policy)?;
        let said = by_incident(&world.stored.outbox);
        for opened in world.history.iter().filter(|change| change.from == AlertState::Inactive && change.to == AlertState::Firing) {
            let incident = opened.incident.clone().unwrap();
            let explained = world.history.iter().any(|change| change.incident.as_ref() == Some(&incident) && change.reason.contains("nobody was told: "));
            prop_assert!(said.contains_key(&incident) != explained, "{} is told, or the history says why not", incident);
        }
        let ids: std::collections::BTreeSet<&String> = world.stored.outbox.iter().map(|row| &row.id).collect();
        prop_assert_eq!(ids.len(), world.stored.outbox.len(), "no id is used twice");
    }
}
