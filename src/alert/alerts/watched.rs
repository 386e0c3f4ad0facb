//! Rules about the program's own work: runs that did not happen (the dead-man's switch), and channels that nothing arrives at.

use super::super::machine::Input;
use super::Alerts;
use crate::model::Labels;
use crate::model::channel::ChannelHealth;
use crate::model::threshold::{Condition, Found};
use crate::model::units::Timestamp;

/// A schedule whose instants are watched.
#[derive(Debug, Clone, Copy)]
pub struct Instants<'a> {
    /// Its name.
    pub schedule: &'a str,
    /// The profile that it runs.
    pub profile: &'a str,
    /// The target of that.
    pub target: &'a str,
}

impl Instants<'_> {
    fn labels(&self) -> Labels {
        let all = [("schedule", self.schedule), ("profile", self.profile), ("target", self.target)];
        all.into_iter().filter(|(_, value)| !value.is_empty()).map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }
}

impl Alerts {
    /// Takes how many runs of a schedule did not happen since the last one that did, before the program started.
    pub fn seed_missed(&mut self, of: &Instants<'_>, count: u32) {
        self.missed.insert(of.schedule.to_owned(), count);
    }

    /// A run of a schedule has started.
    pub fn observe_start(&mut self, of: &Instants<'_>, now: Timestamp) {
        self.missed.insert(of.schedule.to_owned(), 0);
        self.judge_missed(of, "a run started", now);
    }

    /// So many runs of a schedule did not happen.
    pub fn observe_missed(&mut self, of: &Instants<'_>, count: u32, reason: &str, now: Timestamp) {
        let row = self.missed.entry(of.schedule.to_owned()).or_default();
        *row = row.saturating_add(count);
        self.judge_missed(of, reason, now);
    }

    fn judge_missed(&mut self, of: &Instants<'_>, reason: &str, now: Timestamp) {
        let row = self.missed.get(of.schedule).copied().unwrap_or_default();
        let labels = of.labels();
        for rule in self.rules.values().cloned().collect::<Vec<_>>() {
            let Condition::Found(Found::MissedRuns { selector, runs }) = &rule.when else { continue };
            if !selector.iter().all(|(key, value)| labels.get(key) == Some(value)) {
                continue;
            }
            let Some(key) = self.group(&rule, &labels) else { continue };
            let Some(group) = self.groups.get_mut(&key) else { continue };
            group.instance.value = Some(f64::from(row));
            group.instance.shown = match row {
                0 => reason.to_owned(),
                1 => format!("1 run did not happen: {reason}"),
                _ => format!("{row} runs in a row did not happen: {reason}"),
            };
            let input = if row >= *runs { Input::Bad } else { Input::Good };
            // Between the start of the program and the first run nothing is known that would end an incident.
            self.step(&key, input, now, None);
        }
    }

    /// Takes how the channels fare. What fires is told through the others: a channel is never told of itself.
    pub fn observe_channels(&mut self, channels: &[ChannelHealth], now: Timestamp) {
        for rule in self.rules.values().cloned().collect::<Vec<_>>() {
            let Condition::Found(Found::ChannelFailing { hold }) = &rule.when else { continue };
            for health in channels {
                let failing = health.failing_since.map(|since| now.since(since));
                let input = match failing {
                    Some(time) if health.broken || time >= *hold => Input::Bad,
                    None if health.delivered_at.is_some() => Input::Good,
                    Some(_) | None => continue,
                };
                let labels: Labels = [("channel".to_owned(), health.channel.clone())].into();
                let known = self.groups.contains_key(&super::fingerprint(&rule.name, &labels));
                if !known && input == Input::Good {
                    continue;
                }
                let Some(key) = self.group(&rule, &labels) else { continue };
                let Some(group) = self.groups.get_mut(&key) else { continue };
                group.instance.value = failing.map(|time| time.as_secs_f64());
                let dropped = match health.dropped {
                    0 => String::new(),
                    1 => "; 1 message was given up".into(),
                    many => format!("; {many} messages were given up"),
                };
                group.instance.shown = match (failing, health.broken) {
                    (Some(_), true) => format!("the receiver refuses: {}{dropped}", health.error),
                    (Some(_), false) => format!("nothing arrives: {}{dropped}", health.error),
                    (None, _) => "messages arrive".into(),
                };
                self.step(&key, input, now, None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::alert::properties::{policy, rule};
    use crate::alert::{Channel, outgoing};

    fn at(second: u64) -> Timestamp {
        Timestamp(1_700_000_000_000_000).plus(Duration::from_secs(second))
    }

    fn told(alerts: &mut Alerts, second: u64) -> Vec<String> {
        let rows = outgoing(&alerts.judge(at(second)), at(second), &|_| None);
        rows.iter().map(|row| format!("{} {}", row.channel, row.message.headline)).collect()
    }

    #[test]
    fn two_runs_that_did_not_happen_are_told_and_the_next_one_ends_it() {
        let mut alerts = Alerts::new(vec![rule("missed runs >= 2")], Vec::new(), policy(0));
        let nightly = Instants { schedule: "nightly", profile: "soak", target: "shop" };
        alerts.observe_missed(&nightly, 1, "the daemon was not running at 02:00", at(0));
        assert_eq!(told(&mut alerts, 0), Vec::<String>::new());
        alerts.observe_missed(&nightly, 1, "all load was stopped by ann", at(10));
        let said = "mail Fired: missed runs >= 2: 2 runs in a row did not happen: all load was stopped by ann";
        assert_eq!(told(&mut alerts, 10), [said]);
        alerts.observe_start(&nightly, at(20));
        assert_eq!(told(&mut alerts, 20), ["mail Resolved after 10s: missed runs is no longer >= 2: a run started"]);
        // Several at once, as after a long downtime, and what was missed before.
        alerts.seed_missed(&nightly, 1);
        alerts.observe_missed(&nightly, 1, "again", at(30));
        assert_eq!(told(&mut alerts, 30).len(), 1);
        let other = Instants { schedule: "hourly", ..nightly };
        alerts.observe_missed(&other, 5, "the daemon was down", at(40));
        assert_eq!(told(&mut alerts, 40).len(), 1);
    }

    #[test]
    fn a_selector_chooses_the_schedule() {
        let mut alerts = Alerts::new(vec![rule("missed runs{schedule:nightly} >= 1")], Vec::new(), policy(0));
        alerts.observe_missed(&Instants { schedule: "hourly", profile: "soak", target: "shop" }, 9, "down", at(0));
        assert_eq!(told(&mut alerts, 0), Vec::<String>::new());
        alerts.observe_missed(&Instants { schedule: "nightly", profile: "soak", target: "shop" }, 1, "down", at(1));
        assert_eq!(told(&mut alerts, 1).len(), 1);
    }

    #[test]
    fn a_channel_that_fails_is_told_through_the_others() {
        let mut two = policy(0);
        two.channels.push(Channel { name: "slack".into(), send_resolved: true });
        let mut alerts = Alerts::new(vec![rule("channel failing for 5m")], Vec::new(), two);
        let mut slack = ChannelHealth { channel: "slack".into(), ..ChannelHealth::default() };
        slack.failed("no route to host", false, false, at(0));
        alerts.observe_channels(&[slack.clone()], at(299));
        assert_eq!(told(&mut alerts, 299), Vec::<String>::new(), "not yet");
        alerts.observe_channels(&[slack.clone()], at(300));
        let said = "mail Fired: channel failing for 5m or refusing for good: nothing arrives: no route to host";
        assert_eq!(told(&mut alerts, 300), [said], "and not through itself");
        alerts.observe_channels(&[], at(301));
        assert_eq!(told(&mut alerts, 301), Vec::<String>::new(), "after a restart nothing is known yet");
        slack.delivered(at(310));
        alerts.observe_channels(&[slack.clone()], at(310));
        assert_eq!(told(&mut alerts, 310).len(), 1);
        slack.failed("404", true, true, at(320));
        alerts.observe_channels(&[slack], at(320));
        assert!(
            told(&mut alerts, 320)[0].contains("the receiver refuses: 404; 1 message was given up"),
            "at once when it is refused for good"
        );
    }
}
