//! Which channels an alert goes to: the first route that matches, and further ones where a route says to carry on.
//! An alert that no route matches goes to every channel: a gap in the routes must not be silence.

use super::Channel;
use crate::model::Labels;
use crate::model::alerting::{Route, Severity};

/// Names of the channels for an alert, each once, in the order of the routes. A route that names no channel silences what it matches.
pub fn channels_for(routes: &[Route], channels: &[Channel], severity: Severity, labels: &Labels) -> Vec<String> {
    let mut chosen: Vec<String> = Vec::new();
    let mut matched = false;
    for route in routes.iter().filter(|route| matches(route, severity, labels)) {
        matched = true;
        for name in &route.send {
            if !chosen.contains(name) && channels.iter().any(|channel| channel.name == *name) {
                chosen.push(name.clone());
            }
        }
        if !route.carry_on {
            break;
        }
    }
    if matched { chosen } else { channels.iter().map(|channel| channel.name.clone()).collect() }
}

fn matches(route: &Route, severity: Severity, labels: &Labels) -> bool {
    (route.severities.is_empty() || route.severities.contains(&severity))
        && route.labels.iter().all(|(key, value)| labels.get(key) == Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(severities: &[Severity], team: Option<&str>, send: &[&str], carry_on: bool) -> Route {
        Route {
            severities: severities.to_vec(),
            labels: team.map(|team| ("team".to_owned(), team.to_owned())).into_iter().collect(),
            send: send.iter().map(|&name| name.to_owned()).collect(),
            carry_on,
        }
    }

    #[test]
    fn the_first_match_decides_unless_it_carries_on() {
        let channels: Vec<Channel> = ["mail", "slack", "hook"].map(|name| Channel { name: name.into(), send_resolved: true }).into();
        let critical = route(&[Severity::Critical], None, &["slack", "mail"], false);
        let shop = route(&[], Some("shop"), &["hook"], true);
        let rest = route(&[], None, &["mail"], false);
        let nobody = route(&[Severity::Low], None, &[], false);
        let unknown = route(&[], None, &["gone"], false);
        for (sentence, routes, severity, team, expected) in [
            ("no routes: everyone", vec![], Severity::Low, "shop", vec!["mail", "slack", "hook"]),
            ("severity decides", vec![&critical, &rest], Severity::Critical, "shop", vec!["slack", "mail"]),
            ("the rest", vec![&critical, &rest], Severity::High, "shop", vec!["mail"]),
            ("carries on, each once", vec![&shop, &critical, &rest], Severity::Critical, "shop", vec!["hook", "slack", "mail"]),
            ("labels must be equal", vec![&shop, &rest], Severity::High, "bank", vec!["mail"]),
            ("nothing matches: everyone", vec![&critical], Severity::High, "shop", vec!["mail", "slack", "hook"]),
            ("silence on purpose", vec![&nobody, &rest], Severity::Low, "shop", vec![]),
            ("a channel that is gone is left out", vec![&unknown], Severity::Low, "shop", vec![]),
        ] {
            let routes: Vec<Route> = routes.into_iter().cloned().collect();
            let labels = [("team".to_owned(), team.to_owned())].into();
            assert_eq!(channels_for(&routes, &channels, severity, &labels), expected, "{sentence}");
        }
    }
}
