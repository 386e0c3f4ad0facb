//! Several messages as one, for a channel that could not be reached before it was all over: it fired, and it is over. Pure.

use std::collections::BTreeMap;

use super::message::group_lines;
use super::reason::plain_time;
use crate::model::alerting::{Message, MessageAlert, MessageKind};

/// The fire and the resolve of one incident as one message.
pub fn merged(fired: &Message, resolved: &Message) -> Message {
    let said = |message: &Message| message.headline.split_once(": ").map_or_else(|| message.headline.clone(), |(_, said)| said.to_owned());
    let headline = format!("{}: {}; then {}", over(fired, resolved), said(fired), said(resolved));
    Message { kind: MessageKind::FiredAndResolved, headline, started_at: fired.started_at, ..resolved.clone() }
}

/// All messages of a group, from its fire to its resolve and in their order, as one. `None` without any.
pub fn merged_group(messages: &[&Message]) -> Option<Message> {
    let (first, last) = (messages.first()?, messages.last()?);
    let mut alerts: Vec<MessageAlert> = Vec::new();
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for alert in messages.iter().flat_map(|message| &message.alerts) {
        match places.get(alert.incident.as_str()).and_then(|place| alerts.get_mut(*place)) {
            // What was said when it fired says more than what was said when it was over.
            Some(known) => known.ended_at = alert.ended_at.or(known.ended_at),
            None => {
                places.insert(&alert.incident, alerts.len());
                alerts.push(MessageAlert { kind: MessageKind::FiredAndResolved, ..alert.clone() });
            }
        }
    }
    let many = if alerts.len() == 1 { "1 alert".to_owned() } else { format!("{} alerts", alerts.len()) };
    Some(Message {
        kind: MessageKind::FiredAndResolved,
        severity: alerts.iter().map(|alert| alert.severity).max().unwrap_or(last.severity),
        headline: format!("{}: {many}", over(first, last)),
        lines: group_lines(&alerts),
        started_at: first.started_at,
        link: first.link.clone().or_else(|| last.link.clone()),
        alerts,
        ..(*last).clone()
    })
}

fn over(fired: &Message, resolved: &Message) -> String {
    let lasted = plain_time(resolved.ended_at.unwrap_or(resolved.at).since(fired.started_at));
    format!("Fired and resolved within {lasted}, while this channel could not be reached")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::alert::properties::{policy, rule};
    use crate::alert::{Alerts, outgoing};
    use crate::model::alerting::{Outgoing, Route, Severity};
    use crate::model::series::Point;
    use crate::model::units::Timestamp;

    #[test]
    fn a_group_from_its_fire_to_its_resolve_is_one_message() {
        let mut policy = policy(0);
        policy.routes = vec![Route {
            send: vec!["mail".into()],
            group_by: Some(vec!["target".into()]),
            group_interval: Duration::from_secs(10),
            ..Route::default()
        }];
        let mut alerts = Alerts::new(vec![rule("pool_utilization: max > 80%")], Vec::new(), policy);
        let start = Timestamp::parse("2026-11-21T02:00:00Z").unwrap();
        let mut rows: Vec<Outgoing> = Vec::new();
        for second in 0..60_u64 {
            let now = start.plus(Duration::from_secs(second));
            let level = |full: bool| if full { 1.0 } else { 0.2 };
            let point = |pool: &str, full| Point::new("pool_utilization", level(full)).with("pool", pool).with("probe", "app");
            let points = [point("a", second < 12), point("b", (5..25).contains(&second))];
            alerts.observe_points("shop", &points, now);
            rows.extend(outgoing(&alerts.judge(now), now, &|_| None));
        }
        let messages: Vec<&Message> = rows.iter().map(|row| &row.message).collect();
        let kinds: Vec<MessageKind> = messages.iter().map(|message| message.kind).collect();
        assert_eq!((kinds.first(), kinds.last()), (Some(&MessageKind::Fired), Some(&MessageKind::Resolved)), "{kinds:?}");
        assert!(kinds.len() > 2, "{kinds:?}");
        let whole = merged_group(&messages).unwrap();
        assert_eq!((whole.kind, whole.severity, whole.seq), (MessageKind::FiredAndResolved, Severity::High, kinds.len() as u32));
        assert!(whole.headline.ends_with("while this channel could not be reached: 2 alerts"), "{}", whole.headline);
        assert_eq!((whole.incident.as_str(), &whole.subject), (messages[0].incident.as_str(), &messages[0].subject));
        assert_eq!(whole.started_at, messages[0].started_at);
        let told: Vec<_> = whole.alerts.iter().map(|one| (one.labels["pool"].as_str(), one.kind, one.ended_at.is_some())).collect();
        assert_eq!(told, [("a", MessageKind::FiredAndResolved, true), ("b", MessageKind::FiredAndResolved, true)]);
        assert!(whole.lines.iter().all(|(word, said)| word == "Fired and resolved" && said.contains("100 %")), "{:?}", whole.lines);
        assert_eq!(merged_group(&[]), None);
    }
}
