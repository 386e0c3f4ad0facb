//! What is told of incidents that are silenced, in maintenance, inhibited, grouped and acknowledged: as a log of history and messages.

use std::fmt::Write;
use std::time::Duration;

use super::properties::{Stored, policy, rule};
use super::{Alerts, NotAcked, OpenWindow, Policy, Quiet, outgoing};
use crate::model::alerting::{NoData, Route, Rule, Severity};
use crate::model::muting::{Ack, Inhibit, Matcher, Silence};
use crate::model::series::Point;
use crate::model::units::Timestamp;

fn at(second: u64) -> Timestamp {
    Timestamp::parse("2026-11-21T02:03:00Z").unwrap().plus(Duration::from_secs(second))
}

fn pool(name: &str, value: f64) -> Point {
    Point::new("pool_utilization", value).with("pool", name).with("target", "shop")
}

fn pool_rule() -> Rule {
    Rule { no_data: NoData::Keep, ..rule("pool_utilization: max > 80%") }
}

fn silence(from: u64, to: u64) -> Silence {
    Silence {
        id: "3f9a2c1d".into(),
        matchers: vec![Matcher::equal("pool", "a")],
        author: "ann".into(),
        comment: "deploy".into(),
        created_at: at(from),
        starts_at: at(from),
        ends_at: at(to),
        ended_by: None,
    }
}

fn grouped(wait: u64, interval: u64) -> Policy {
    let route = Route {
        send: vec!["mail".into()],
        group_by: Some(vec!["target".into()]),
        group_wait: Duration::from_secs(wait),
        group_interval: Duration::from_secs(interval),
        ..Route::default()
    };
    Policy { routes: vec![route], ..policy(600) }
}

/// Alerts with a log of all that is decided.
struct Bench {
    alerts: Alerts,
    stored: Stored,
    log: String,
}

impl Bench {
    fn new(rules: Vec<Rule>, policy: Policy) -> Self {
        Self { alerts: Alerts::new(rules, Vec::new(), policy), stored: Stored::default(), log: String::new() }
    }

    fn read(&mut self, second: u64, points: &[Point]) {
        self.alerts.observe_points("shop", points, at(second));
        self.judge(second);
    }

    fn judge(&mut self, second: u64) {
        let decision = self.alerts.judge(at(second));
        for change in &decision.transitions {
            let _ = writeln!(self.log, "{second:>4} {} -> {}: {}", change.from, change.to, change.reason);
        }
        for row in outgoing(&decision, at(second), &|_| None) {
            let message = &row.message;
            let _ = writeln!(self.log, "{second:>4} => {} {} | {} | {}", message.kind, message.seq, message.subject, message.headline);
            for (key, value) in message.lines.iter().filter(|_| !message.alerts.is_empty()) {
                let _ = writeln!(self.log, "            {key}: {value}");
            }
        }
        self.stored.commit(&decision, at(second));
    }

    fn silence(&mut self, silences: Vec<Silence>) {
        self.alerts.keep_quiet(Quiet { silences, ..Quiet::default() });
    }
}

#[test]
fn a_silenced_incident_is_told_when_the_silence_ends() {
    let mut bench = Bench::new(vec![pool_rule()], policy(0));
    bench.silence(vec![silence(0, 60)]);
    for second in 5..=70 {
        bench.read(second, &[pool("a", 1.0), pool("b", if second < 8 { 1.0 } else { 0.0 })]);
    }
    bench.read(71, &[pool("a", 0.1)]);
    insta::assert_snapshot!(bench.log);
}

#[test]
fn what_is_over_before_the_silence_is_stays_in_the_history_and_a_resolve_of_what_was_told_is_sent_all_the_same() {
    let mut bench = Bench::new(vec![pool_rule()], policy(10));
    bench.silence(vec![silence(20, 60)]);
    bench.read(5, &[pool("a", 1.0)]);
    for second in 6..40 {
        bench.judge(second);
    }
    bench.read(40, &[pool("a", 0.1)]);
    bench.read(50, &[pool("a", 1.0)]);
    bench.read(55, &[pool("a", 0.1)]);
    bench.judge(70);
    insta::assert_snapshot!(bench.log);
}

#[test]
fn maintenance_and_mute_timings_hold_back() {
    let mut mute = policy(0);
    mute.routes = vec![Route { send: vec!["mail".into()], mute: vec!["nights".into()], ..Route::default() }];
    let mut bench = Bench::new(vec![pool_rule()], mute);
    let window = OpenWindow { name: "nightly".into(), until: at(30), matchers: vec![Matcher::equal("pool", "a")] };
    bench.alerts.keep_quiet(Quiet { maintenance: vec![window], timings: [("nights".to_owned(), at(60))].into(), ..Quiet::default() });
    bench.read(5, &[pool("a", 1.0), pool("b", 1.0)]);
    bench.alerts.keep_quiet(Quiet { timings: [("nights".to_owned(), at(60))].into(), ..Quiet::default() });
    bench.judge(30);
    bench.alerts.keep_quiet(Quiet::default());
    bench.judge(60);
    bench.read(61, &[pool("a", 0.0), pool("b", 0.0)]);
    insta::assert_snapshot!(bench.log);
}

#[test]
fn a_target_that_is_down_mutes_what_follows_from_it() {
    let down = Rule { name: "probe-down".into(), ..rule("probe_up: value < 1") };
    let inhibit = Inhibit {
        name: "target-down".into(),
        source: vec![Matcher::equal("alertname", "probe-down")],
        target: vec![Matcher::parse("alertname=~pool-.*").unwrap()],
        equal: vec!["target".into()],
    };
    let mut bench = Bench::new(vec![pool_rule(), down], Policy { inhibit: vec![inhibit], ..policy(0) });
    let up = |value: f64| Point::new("probe_up", value).with("target", "shop");
    bench.read(5, &[up(0.0), pool("a", 1.0)]);
    bench.read(20, &[up(1.0)]);
    bench.read(25, &[pool("a", 0.0)]);
    insta::assert_snapshot!(bench.log);
}

#[test]
fn a_group_is_told_together_and_each_of_its_incidents_is_resolved_once() {
    let mut bench = Bench::new(vec![pool_rule()], grouped(30, 60));
    bench.read(0, &[pool("a", 1.0)]);
    bench.read(10, &[pool("b", 1.0)]);
    for second in 11..=40 {
        bench.judge(second);
    }
    bench.read(45, &[pool("a", 0.0)]);
    bench.read(50, &[pool("c", 1.0)]);
    for second in 51..=100 {
        bench.judge(second);
    }
    bench.read(101, &[pool("b", 0.0), pool("c", 0.0)]);
    for second in 102..=170 {
        bench.judge(second);
    }
    insta::assert_snapshot!(bench.log);
    assert!(bench.stored.threads.is_empty(), "{:?}", bench.stored.threads);
}

#[test]
fn one_that_comes_and_goes_while_its_group_waits_is_not_lost() {
    let mut bench = Bench::new(vec![pool_rule()], grouped(30, 60));
    bench.read(0, &[pool("a", 1.0)]);
    bench.read(10, &[pool("a", 0.0)]);
    bench.judge(29);
    assert!(!bench.log.contains("=>"), "{}", bench.log);
    bench.judge(30);
    assert!(bench.log.contains("=> fired_and_resolved 1 | alerts: shop | Fired and resolved within 30s: 1 alert"), "{}", bench.log);
}

#[test]
fn many_alerts_of_a_group_fit_into_one_message() {
    let mut bench = Bench::new(vec![pool_rule()], grouped(0, 60));
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    bench.read(0, &names.map(|name| pool(name, 1.0)));
    let message = &bench.stored.outbox[0].message;
    assert_eq!((message.lines.len(), message.alerts.len(), message.severity), (8, 10, Severity::High));
    assert_eq!(message.lines[7], ("More".to_owned(), "3 further alerts".to_owned()));
    assert_eq!(message.labels.get("pool"), None, "only what all have in common");
    assert_eq!(message.labels.get("target").map(String::as_str), Some("shop"));
}

#[test]
fn an_acknowledged_incident_is_not_repeated() {
    let mut bench = Bench::new(vec![pool_rule()], policy(10));
    bench.read(0, &[pool("a", 1.0)]);
    bench.judge(10);
    let ack = Ack { by: "ann".into(), at: at(12), comment: "on it".into() };
    let incident = bench.alerts.instances().find_map(|alert| alert.incident.clone()).unwrap();
    assert_eq!(bench.alerts.acknowledge("nobody-knows", &ack), Err(NotAcked::Unknown("nobody-knows".into())));
    assert_eq!(bench.alerts.acknowledge(&incident[incident.len() - 4..], &ack), Ok(vec![incident.clone()]));
    assert_eq!(bench.alerts.acknowledge(&incident, &ack), Err(NotAcked::Already("ann".into())));
    bench.judge(12);
    // It survives a restart.
    bench.alerts = bench.stored.restart(vec![pool_rule()], policy(10));
    for second in 13..100 {
        bench.judge(second);
    }
    bench.read(100, &[pool("a", 0.0)]);
    bench.read(200, &[pool("a", 1.0)]);
    bench.judge(210);
    insta::assert_snapshot!(bench.log);
    let resolve = &bench.stored.outbox[3].message;
    assert!(resolve.lines.contains(&("Taken by".into(), "ann at 2026-11-21 02:03:12 UTC".into())), "{resolve:?}");
}

#[test]
fn incidents_of_an_older_version_are_resolved_where_they_were_told() {
    let mut bench = Bench::new(vec![pool_rule()], policy(0));
    bench.read(0, &[pool("a", 1.0)]);
    bench.stored.threads.clear();
    bench.alerts = bench.stored.restart(vec![pool_rule()], policy(0));
    bench.read(5, &[pool("a", 0.0)]);
    let ids: Vec<&str> = bench.stored.outbox.iter().map(|row| row.id.rsplit_once('-').unwrap().0).collect();
    let incident = bench.stored.outbox[0].message.incident.as_str();
    assert_eq!(ids, [format!("{incident}-1"), format!("{incident}-2")]);
}

#[test]
fn two_routes_tell_in_their_own_way() {
    let mut two = grouped(0, 60);
    two.channels.push(super::Channel { name: "pager".into(), send_resolved: true });
    two.routes[0].carry_on = true;
    two.routes.push(Route { send: vec!["pager".into()], repeat_interval: Some(Duration::from_secs(20)), ..Route::default() });
    let mut bench = Bench::new(vec![pool_rule()], two);
    bench.read(0, &[pool("a", 1.0)]);
    for second in 1..=25 {
        bench.judge(second);
    }
    bench.read(26, &[pool("a", 0.0)]);
    for second in 27..=60 {
        bench.judge(second);
    }
    let told: Vec<String> =
        bench.stored.outbox.iter().map(|row| format!("{} {} {}", row.channel, row.message.kind, row.message.seq)).collect();
    assert_eq!(told, ["mail fired 1", "pager fired 1", "pager reminder 2", "pager resolved 3", "mail resolved 2"]);
}
