//! Which channels an alert goes to, in which company and how often: the first route that matches, and further ones where a route says
//! to carry on. An alert that no route matches goes to every channel: a gap in the routes must not be silence.

use std::time::Duration;

use super::{Channel, Policy};
use crate::model::Labels;
use crate::model::alerting::{Route, Severity};
use crate::model::muting::all_fit;

/// A way that an alert takes to people: one route that matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Way {
    /// Channels that no earlier route names; never empty.
    pub(super) channels: Vec<String>,
    /// Told together with alerts that are equal in these labels; `None`: by itself.
    pub(super) group_by: Option<Vec<String>>,
}

/// How often messages of a way may come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Timing {
    /// How long the first message waits.
    pub(super) group_wait: Duration,
    /// Least time between two messages of a group.
    pub(super) group_interval: Duration,
    /// Least time between two reminders; zero: none.
    pub(super) repeat_interval: Duration,
    /// Names of mute timings.
    pub(super) mute: Vec<String>,
}

impl Policy {
    /// The ways that an alert takes. None when a route without channels silences it. A channel never hears of itself.
    pub(super) fn ways(&self, labels: &Labels) -> Vec<Way> {
        let mut taken: Vec<&str> = Vec::new();
        let mut ways = Vec::new();
        let mut matched = false;
        let itself = |name: &str| labels.get("channel").is_some_and(|channel| channel == name);
        let known = |name: &str| self.channels.iter().any(|channel| channel.name == name) && !itself(name);
        for route in self.routes.iter().filter(|route| matches(route, severity_of(labels), labels)) {
            matched = true;
            let mut channels: Vec<String> = Vec::new();
            for name in &route.send {
                if !taken.contains(&name.as_str()) && known(name) {
                    taken.push(name);
                    channels.push(name.clone());
                }
            }
            if !channels.is_empty() {
                ways.push(Way { channels, group_by: route.group_by.clone() });
            }
            if !route.carry_on {
                break;
            }
        }
        let everyone = || self.channels.iter().map(|channel| channel.name.clone()).filter(|name| known(name)).collect::<Vec<_>>();
        if !matched && !everyone().is_empty() {
            ways.push(Way { channels: everyone(), group_by: None });
        }
        ways
    }

    /// How often these channels may hear of an alert: by the first route that leads to one of them now.
    pub(super) fn timing(&self, labels: &Labels, channels: &[String]) -> Timing {
        let leads = |route: &&Route| matches(route, severity_of(labels), labels) && route.send.iter().any(|name| channels.contains(name));
        match self.routes.iter().find(leads) {
            Some(route) => Timing {
                group_wait: route.group_wait,
                group_interval: route.group_interval,
                repeat_interval: route.repeat_interval.unwrap_or(self.repeat_interval),
                mute: route.mute.clone(),
            },
            None => Timing { repeat_interval: self.repeat_interval, ..Timing::default() },
        }
    }
}

fn severity_of(labels: &Labels) -> Severity {
    labels.get("severity").and_then(|word| Severity::parse(word)).unwrap_or(Severity::High)
}

/// Names of all channels that an alert goes to, in the order of the routes.
pub fn channels_for(routes: &[Route], channels: &[Channel], severity: Severity, labels: &Labels) -> Vec<String> {
    let policy = Policy { routes: routes.to_vec(), channels: channels.to_vec(), ..Policy::default() };
    let mut labels = labels.clone();
    labels.insert("severity".into(), severity.as_str().into());
    policy.ways(&labels).into_iter().flat_map(|way| way.channels).collect()
}

fn matches(route: &Route, severity: Severity, labels: &Labels) -> bool {
    (route.severities.is_empty() || route.severities.contains(&severity))
        && route.labels.iter().all(|(key, value)| labels.get(key) == Some(value))
        && all_fit(&route.matchers, labels)
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
            ..Route::default()
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
